package chain_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"callsign/chain"

	"github.com/google/go-cmp/cmp"
)

// TestOrder: trust first, then dates, name, usage and key, rules of form last; of one code the leaf's first.
func TestOrder(t *testing.T) {
	t.Parallel()
	wrong := []edit{
		valid(noon.AddDate(-2, 0, 0), noon.AddDate(-1, 0, 0)), with(unknownExtension(true), altDNS("www_1.other.net"), extended(clientEKU), usage(x509.KeyUsageKeyAgreement)),
		forKey(inventedRSA(1024)), signedAs(ecdsaSHA1),
	}
	for _, c := range []conformance{
		{
			name: "everything, unknown issuer", want: verdicts{
				"issuer_found@0 critical_extension@0 pinned@0 validity_end@0 reference_name@0 extended_key_usage@0 key_usage@0 key_strength@0 signature_algorithm@0",
				"issuer_found@0 critical_extension@0 pinned@0 validity_end@0 reference_name@0 extended_key_usage@0 key_usage@0 key_strength@0 signature_algorithm@0 dns_syntax@0",
				"issuer_found@0 critical_extension@0 pinned@0 validity_end@0 reference_name@0 extended_key_usage@0 key_usage@0 key_strength@0 signature_algorithm@0 dns_syntax@0 common_name@0",
			},
			set:  pins("stranger"),
			make: func() sample { return sample{presented: [][]byte{root("Root").leaf(wrong...)}} },
		},
		{
			name: "by code, then by depth", want: since(chain.Deployment, "critical_extension@0 critical_extension@1 validity_end@0 validity_end@1 validity_begin@2"),
			root:   []edit{valid(noon.Add(time.Hour), noon.AddDate(1, 0, 0))},
			middle: []edit{past, with(unknownExtension(true))}, leaf: []edit{past, with(unknownExtension(true))},
		},
		{
			name: "unreadable issuer before dates", want: always("algorithm_match@1{issuer_found@0} validity_end@0"),
			middle: []edit{func(w *writing) { w.outer = ecdsaSHA384.id }}, leaf: []edit{past},
		},
		{
			name: "issuer with a critical key identifier before dates", want: always("subject_key_identifier@1{issuer_found@0} validity_end@0"),
			middle: []edit{with(critical(subjectKey([]byte("middle"))))}, leaf: []edit{past},
		},
		{
			name: "issuer with an unreadable key before dates", want: always("key_type@1{issuer_found@0} validity_end@0"),
			middle: []edit{forKey(spkiOnCurve(secp256k1, 32))}, leaf: []edit{past},
		},
		{
			name: "damaged leaf, and everything above", want: always("signature@0{ca_basic_constraints@1 critical_extension@1 validity_end@2} reference_name@0"), target: "www.other.net",
			root: []edit{past}, middle: []edit{with(basic(true, false, -1), unknownExtension(true))}, leaf: []edit{damaged},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := c.sample()
			for p := chain.Deployment; p <= chain.WebPKI; p++ {
				r := c.verifier(&s, p).Verify(chain.ParseAll(s.presented), c.reference())
				if diff := cmp.Diff(c.want[p], found(r.Faults)); diff != "" {
					t.Errorf("%s (-want +got)\n%s", p, diff)
				}
				complete(t, r)
			}
		})
	}
}

// TestCodesInOrder: Codes is the order of the report.
func TestCodesInOrder(t *testing.T) {
	t.Parallel()
	want := []chain.Code{
		"no_certificate", "malformed", "too_complex", "self_signed", "unknown_root", "unknown_issuer", "incomplete_anchor", "bad_signature", "issuer_not_ca", "path_length",
		"name_constraints", "unknown_critical_extension", "revoked", "no_crl", "stale_crl", "pin_mismatch", "expired", "not_yet_valid", "name_mismatch", "wrong_usage", "weak_key",
		"weak_signature",
	}
	if diff := cmp.Diff(want, chain.Codes()); diff != "" {
		t.Errorf("codes (-want +got)\n%s", diff)
	}
}

// TestNearMisses: what was nearly the certificate looked for is said, and what keeps it from being it.
func TestNearMisses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		make func() sample
		code chain.Code
		want []string // parts of the near misses, in order
	}{
		{"issuer stored under another key identifier", func() sample {
			top := root("Root", with(subjectKey([]byte{0xAB, 0xCD})))
			return sample{presented: [][]byte{top.leaf(with(authorityKey([]byte{0x12, 0x34}, nil, nil)))}, store: certs(top)}
		}, chain.UnknownIssuer, []string{"is in the trust store, its key identifier differs: ABCD, looked for 1234; its key did sign the certificate, so the identifier is wrong"}},
		{"issuer presented under another key identifier, with another key", func() sample {
			return sample{presented: [][]byte{root("Root").leaf(with(authorityKey([]byte{0x12}, nil, nil)), signedWith(ecKey("stranger"))), root("Root").cert}}
		}, chain.UnknownIssuer, []string{"is among the presented certificates, its key identifier differs"}},
		{"issuer with another serial number", func() sample {
			top := root("Root")
			return sample{presented: [][]byte{top.leaf(with(authorityKey(top.ski, top.subject, nextSerial())))}, store: certs(top)}
		}, chain.UnknownIssuer, []string{"its issuer and serial number are not those in the authority key identifier"}},
		{"key identifier stored under another name", func() sample {
			return sample{presented: [][]byte{root("Root").leaf()}, store: certs((*authority)(nil).caWithKey(usualName("Another"), ecKey("Root")))}
		}, chain.UnknownIssuer, []string{"a certificate with this key identifier is in the trust store, its subject differs: CN=Another"}},
		{"issuer stored that does not parse", func() sample {
			return sample{presented: [][]byte{root("Root").leaf()}, store: certs(root("Root", versioned(4)))}
		}, chain.UnknownIssuer, []string{"is in the trust store, but it does not parse: invalid version"}},
		{"leaf stored that is not self-signed", func() sample {
			leaf := root("Root").leaf()
			return sample{presented: [][]byte{leaf}, store: [][]byte{leaf}}
		}, chain.UnknownIssuer, []string{"this very certificate is in the trust store, but it is not self-signed"}},
		{"self-signed, the renewed one stored", func() sample {
			return sample{presented: [][]byte{(*authority)(nil).leaf()}, store: [][]byte{(*authority)(nil).leaf()}}
		}, chain.SelfSigned, []string{"a certificate with this subject and key is in the trust store, but it is not this one"}},
		{"self-signed, one of another key stored", func() sample {
			return sample{presented: [][]byte{(*authority)(nil).leaf()}, store: [][]byte{(*authority)(nil).leafWithKey(ecKey("new"))}}
		}, chain.SelfSigned, []string{"a certificate with this subject is in the trust store, with another key"}},
		{"root of the same name stored", func() sample {
			top := root("Root")
			return sample{presented: [][]byte{top.leaf(), top.cert}, store: certs((*authority)(nil).caWithKey(top.subject, ecKey("Other")))}
		}, chain.UnknownRoot, []string{"with another key"}},
		{"root presented above a stored intermediate", storedAs(func(_, middle *authority, _ []byte) [][]byte { return certs(middle) }), chain.IncompleteAnchor, []string{"CN=Root,O=Voice Lab,C=BE was presented (SHA256 "}},
		{"eight of them", func() sample {
			s := sample{presented: [][]byte{root("Root").leaf(with(authorityKey([]byte("another"), nil, nil)))}}
			for range 8 {
				s.store = append(s.store, root("Root").cert)
			}
			return s
		}, chain.UnknownIssuer, []string{"differs", "differs", "differs", "differs", "differs", "and 3 more"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := tc.make()
			v := &chain.Verifier{Anchors: storeOf(s.store...), Now: at(noon)}
			r := v.Verify(chain.ParseAll(s.presented), "")
			if len(r.Faults) != 1 || r.Faults[0].Code != tc.code {
				t.Fatalf("faults %v, want %s", texts(r), tc.code)
			}
			near := r.Faults[0].NearMisses
			if len(near) != len(tc.want) {
				t.Fatalf("near misses %q, want %q", near, tc.want)
			}
			for i, want := range tc.want {
				if !strings.Contains(near[i], want) {
					t.Errorf("near miss %q, want %q in it", near[i], want)
				}
			}
		})
	}
}

// TestNotes: what is worth knowing refuses nothing.
func TestNotes(t *testing.T) {
	t.Parallel()
	soft := func(edits ...crlEdit) func() sample { return withoutLeaf(edits...) }
	for _, c := range []struct {
		conformance
		depth int
		note  string
	}{
		{conformance{name: "common name", leaf: []edit{without(17)}}, 0, "known by its common name " + host + " only"},
		{conformance{name: "CRL out of date", make: soft(updated(noon.AddDate(0, -2, 0), noon.AddDate(0, -1, 0)))}, 0, "the CRL of CN=Middle,O=Voice Lab,C=BE is not within its dates: from 2026-09-20T12:00:00Z to 2026-10-20T12:00:00Z"},
		{conformance{name: "CRL damaged", make: soft(crlDamaged)}, 0, "a CRL of CN=Middle,O=Voice Lab,C=BE was not used: its signature does not verify with the CA's key"},
		{conformance{name: "delta CRL", make: soft(deltaOf(1))}, 0, "was not used: it is a delta CRL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := c.sample()
			r := c.verifier(&s, chain.Deployment).Verify(chain.ParseAll(s.presented), c.reference())
			if !r.OK() || !slices.ContainsFunc(r.Notes, func(n chain.Note) bool { return n.Depth == c.depth && strings.Contains(n.Text, c.note) }) {
				t.Errorf("faults %v, notes %+v, want %q", texts(r), r.Notes, c.note)
			}
		})
	}
}

// TestValidityNote: how long public CAs may issue for depends on the day of issue.
func TestValidityNote(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		from  time.Time
		days  int
		noted bool
	}{
		{time.Date(2020, 8, 31, 0, 0, 0, 0, time.UTC), 825, false},
		{time.Date(2020, 9, 1, 0, 0, 0, 0, time.UTC), 398, false},
		{time.Date(2020, 9, 1, 0, 0, 0, 0, time.UTC), 399, true},
		{time.Date(2026, 3, 14, 23, 59, 59, 0, time.UTC), 398, false},
		{time.Date(2026, 3, 15, 0, 0, 0, 0, time.UTC), 200, false},
		{time.Date(2026, 3, 15, 0, 0, 0, 0, time.UTC), 201, true},
		{time.Date(2027, 3, 15, 0, 0, 0, 0, time.UTC), 100, false},
		{time.Date(2027, 3, 15, 0, 0, 0, 0, time.UTC), 101, true},
		{time.Date(2029, 3, 15, 0, 0, 0, 0, time.UTC), 47, false},
		{time.Date(2029, 3, 15, 0, 0, 0, 0, time.UTC), 48, true},
		{time.Date(2029, 3, 15, 0, 0, 0, 0, time.UTC), 106_752, true}, // longer than a time.Duration
		{time.Date(2029, 3, 15, 0, 0, 0, 0, time.UTC), 2_911_000, true},
	} {
		top := root("Root", valid(noon.AddDate(-10, 0, 0), noon.AddDate(10, 0, 0)))
		// Both ends belong to the time: a whole number of days ends one second early.
		leaf := top.leaf(valid(tc.from, tc.from.AddDate(0, 0, tc.days).Add(-time.Second)))
		v := &chain.Verifier{Anchors: storeOf(top.cert), Profile: chain.WebPKI, Now: at(tc.from)}
		r := v.Verify([]*chain.Certificate{chain.Parse(leaf)}, host)
		noted := slices.ContainsFunc(r.Notes, func(n chain.Note) bool {
			return strings.HasPrefix(n.Text, fmt.Sprintf("the certificate is valid for %d days; public CAs may issue for at most ", tc.days))
		})
		if !r.OK() || noted != tc.noted {
			t.Errorf("%s for %d days: faults %v, notes %v, want one: %v", tc.from, tc.days, texts(r), r.Notes, tc.noted)
		}
	}
}

// TestResult is what a result says beside its faults.
func TestResult(t *testing.T) {
	t.Parallel()
	top := root("Root")
	upper := top.ca("Upper")
	lower := upper.ca("Lower")
	leaf := lower.leaf()
	store := storeOf(root("Other").cert, top.cert)
	v := &chain.Verifier{Anchors: store, Now: at(noon)}
	presented := chain.ParseAll(append([][]byte{leaf}, certs(root("Other"), top, upper, lower)...))
	r := v.Verify(presented, "CUCM.voice-lab.net.")
	if !r.OK() || r.Err() != nil || r.Name != host || !r.Time.Equal(noon) || r.SignatureChecks != 3 {
		t.Errorf("result %+v", r)
	}
	var subjects []string
	for _, c := range r.Path {
		subjects = append(subjects, c.X509().Subject.CommonName)
	}
	if diff := cmp.Diff([]string{host, "Lower", "Upper", "Root"}, subjects); diff != "" {
		t.Errorf("path (-want +got)\n%s", diff)
	}
	if r.Anchor == nil || !bytes.Equal(r.Anchor.Certificate.Raw(), top.cert) {
		t.Errorf("anchor %+v", r.Anchor)
	}

	v = &chain.Verifier{Anchors: storeOf(root("Other").cert).Named("adcs.ca_file (ca.pem)"), Now: at(noon.AddDate(1, 0, 0))}
	r = v.Verify(presented[:1], "www.other.net")
	refused, ok := errors.AsType[*chain.Error](r.Err())
	if !ok || refused.Code() != "unknown_issuer" || !strings.Contains(refused.Remedy(), "into adcs.ca_file (ca.pem)") {
		t.Errorf("error %v", r.Err())
	}
	if want := "(also: expired, name_mismatch)"; !strings.HasSuffix(refused.Error(), want) || refused.Leaf != presented[0] || refused.Name != "www.other.net" {
		t.Errorf("error %q of %v for %q, want %q", refused, refused.Leaf, refused.Name, want)
	}
	if !r.Has(chain.Expired) || r.Has(chain.Revoked) || len(r.FaultsAt(0)) != 3 || len(r.FaultsAt(1)) != 0 || r.Anchor != nil {
		t.Errorf("result %+v", r)
	}
}

// TestStore: certificates are told apart by themselves, and settings can be changed.
func TestStore(t *testing.T) {
	t.Parallel()
	top := root("Root")
	leaf := top.leaf(forKey(inventedRSA(1024)))
	store := storeOf(top.cert, top.cert, root("Root").cert, []byte("rubbish"))
	if store.Len() != 3 || len(store.Certificates()) != 3 || store.String() != "the trust store" {
		t.Errorf("%d certificates in %s", store.Len(), store)
	}
	v := &chain.Verifier{Anchors: store, Now: at(noon)}
	if r := v.Verify([]*chain.Certificate{chain.Parse(leaf)}, host); !r.Has(chain.WeakKey) {
		t.Errorf("faults %v, want a weak key", texts(r))
	}
	// One of two anchors of the same name and key is marked: the path ends in the one that accepts more.
	store.Add(chain.Anchor{Certificate: chain.Parse(top.cert), MinRSABits: 1024})
	if store.Len() != 3 {
		t.Errorf("%d certificates", store.Len())
	}
	if r := v.Verify([]*chain.Certificate{chain.Parse(leaf)}, host); !r.OK() || r.Anchor.MinRSABits != 1024 {
		t.Errorf("faults %v", texts(r))
	}
	var none *chain.Store
	if none.Len() != 0 || none.Certificates() != nil || none.String() == "" {
		t.Error("a store that is nil is not empty")
	}
	var zero chain.Store
	zero.Add(chain.Anchor{Certificate: chain.Parse(top.cert)})
	if r := (&chain.Verifier{Anchors: &zero, Now: at(noon)}).Verify([]*chain.Certificate{chain.Parse(top.leaf())}, host); !r.OK() {
		t.Errorf("faults %v", texts(r))
	}
	if r := (&chain.Verifier{}).Verify([]*chain.Certificate{chain.Parse(top.cert)}, ""); !r.Has(chain.SelfSigned) {
		t.Errorf("faults %v", texts(r))
	}
}

// TestLoop: that the issuer was not presented would be wrong to say where it was, and leads nowhere.
func TestLoop(t *testing.T) {
	t.Parallel()
	a, b := root("A"), root("B")
	r := verifierOf(root("Root").cert).Verify(chain.ParseAll(append([][]byte{a.leaf()}, certs(b.cross(a), a.cross(b))...)), host)
	if len(r.Faults) != 1 || !strings.Contains(r.Faults[0].Detail, "certify each other") || !strings.Contains(r.Faults[0].Remedy, "import the root above CN=A,") {
		t.Errorf("faults %+v", r.Faults)
	}
}

// TestMICRemedy: the way out for a manufacturing certificate is another one than for others.
func TestMICRemedy(t *testing.T) {
	t.Parallel()
	s := unmarked(mic(rsaSHA1))()
	v := &chain.Verifier{Anchors: chain.NewStore(s.anchors[0].Certificate).Named("CAPF-trust"), Usage: chain.MIC, Now: at(noon)}
	r := v.Verify(chain.ParseAll(s.presented), "")
	if len(r.Faults) != 1 || !strings.Contains(r.Faults[0].Remedy, "mark its root as a MIC issuer in CAPF-trust") {
		t.Errorf("faults %+v", r.Faults)
	}
}

// TestSyntaxError: what can be made out of a certificate that does not parse is told.
func TestSyntaxError(t *testing.T) {
	t.Parallel()
	top := root("Root")
	c := chain.Parse(top.leaf(numbered(nextSerial().Neg(nextSerial()))))
	if c.X509() != nil || c.Err() == nil || c.Err().Rule.Name != "serial_negative" || c.Subject() != "CN="+host+",O=Voice Lab" || c.Issuer() != "CN=Root,O=Voice Lab,C=BE" || c.Err().Serial[0] != '-' {
		t.Errorf("%+v", c.Err())
	}
	if c := chain.Parse([]byte("rubbish")); c.Subject() != "(unreadable)" || c.Issuer() != "(unreadable)" || c.Err().Error() == "" || errors.Unwrap(c.Err()) == nil {
		t.Errorf("%+v", c.Err())
	}
	if c := chain.Parse(top.leaf(named(nameOf()))); c.Err() != nil || c.Subject() != "(empty subject, for "+host+")" {
		t.Errorf("%s, %v", c.Subject(), c.Err())
	}
}

// TestPreference: of several certificates that could all have issued one, the path goes through the likeliest.
func TestPreference(t *testing.T) {
	t.Parallel()
	top := root("Root")
	older, newer := root("Root", valid(noon.AddDate(-3, 0, 0), noon.AddDate(9, 0, 0))), root("Root")
	unnamed := root("Root", without(14), valid(noon.AddDate(-1, 0, 0), noon.AddDate(1, 0, 0)))
	other := root("Other")
	stored, sent := top.ca("Middle", valid(noon.AddDate(-3, 0, 0), noon.AddDate(9, 0, 0))), top.ca("Middle")
	old, unusable, good := top.ca("Middle", past), top.ca("Middle", with(unknownExtension(true))), top.ca("Middle", with(unknownExtension(false)))
	twofold := top.ca("Middle", past, with(basic(true, false, -1)))
	for name, tc := range map[string]struct {
		leaf        []byte
		sent, store []*authority
		want        *authority // depth 1
		faults      string
	}{
		"the newest":                       {top.leaf(), nil, []*authority{older, newer}, newer, ""},
		"the newest, in another order":     {top.leaf(), nil, []*authority{newer, older}, newer, ""},
		"the key identifier before dates":  {top.leaf(), nil, []*authority{unnamed, older}, older, ""},
		"the stored one":                   {stored.leaf(), []*authority{sent}, []*authority{top, stored}, stored, ""},
		"the one that leads to the store":  {other.leaf(), []*authority{root("Nobody").cross(other), top.cross(other)}, []*authority{top}, nil, ""},
		"a valid one":                      {old.leaf(), []*authority{old, good}, []*authority{top}, good, ""},
		"one without unknown extensions":   {unusable.leaf(), []*authority{unusable, good}, []*authority{top}, good, ""},
		"the one with fewer faults":        {old.leaf(), []*authority{twofold, old}, []*authority{top}, old, "validity_end@1"},
		"the one with fewer faults, first": {old.leaf(), []*authority{old, twofold}, []*authority{top}, old, "validity_end@1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := &chain.Verifier{Anchors: storeOf(certs(tc.store...)...), Now: at(noon)}
			r := v.Verify(chain.ParseAll(append([][]byte{tc.leaf}, certs(tc.sent...)...)), host)
			if found(r.Faults) != tc.faults {
				t.Fatalf("faults %v, want %q", texts(r), tc.faults)
			}
			if tc.want != nil && !bytes.Equal(r.Path[1].Raw(), tc.want.cert) {
				t.Errorf("the path goes through %s, serial %x", r.Path[1].Subject(), r.Path[1].X509().SerialNumber)
			}
		})
	}
}

// TestConcurrent: one verifier serves many connections.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	s := usual(permits(gnDNS("net")), []edit{with(policies(1))}, nil)
	v := &chain.Verifier{Anchors: storeOf(s.store...), Now: at(noon), Profile: chain.Strict}
	presented := chain.ParseAll(s.presented)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 20 {
				if r := v.Verify(presented, host); !r.OK() {
					t.Errorf("faults %v", texts(r))
				}
			}
		})
	}
	wg.Wait()
}

// TestStrings are the names that the command line knows.
func TestStrings(t *testing.T) {
	t.Parallel()
	var got []string
	for u := chain.Server; u <= chain.MIC; u++ {
		got = append(got, u.String())
	}
	for p := chain.Deployment; p <= chain.WebPKI; p++ {
		got = append(got, p.String())
	}
	if diff := cmp.Diff([]string{"server", "client", "ca", "any", "mic", "deployment", "strict", "webpki"}, got); diff != "" {
		t.Errorf("names (-want +got)\n%s", diff)
	}
	x := []*x509.Certificate{parsed(t, root("Root").cert)}
	if s := chain.NewStoreX509(x); s.Len() != 1 || s.Certificates()[0].X509() != x[0] || s.Certificates()[0].SHA256() != chain.Of(x[0]).SHA256() {
		t.Errorf("store %v", s.Certificates())
	}
	for want, key := range map[string][]byte{"RSA 2048": inventedRSA(2048), "EC P-256": spkiOf(ecKey("leaf").Public()), "Ed25519": spkiOf(ed().Public()), "DSA": spkiDSA()} {
		x := parsed(t, root("Root").leaf(forKey(key)))
		if got := chain.KeyText(x.PublicKey, x.PublicKeyAlgorithm); got != want {
			t.Errorf("key %s, want %s", got, want)
		}
	}
}
