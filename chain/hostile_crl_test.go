package chain_test

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"callsign/chain"
)

// many makes one CRL a day for so many days, the oldest first, as a directory of old CRLs has them. The oldest is still valid.
func (a *authority) many(days int, edits ...crlEdit) []*x509.RevocationList {
	var all []*x509.RevocationList
	for day := days; day > 0; day-- {
		all = append(all, a.crl(append([]crlEdit{updated(noon.AddDate(0, 0, -day), noon.AddDate(0, 1, 0))}, edits...)...))
	}
	return all
}

// entries fills a CRL with entries.
func entries(n int) crlEdit {
	return func(r *revocations) {
		for i := range n {
			r.entries = append(r.entries, seqOf(intDER(int64(i)+1<<40), timeDER(noon)))
		}
	}
}

// TestOldCRLs has more CRLs of one CA at hand than signatures may be verified. It takes only those from which something follows.
func TestOldCRLs(t *testing.T) {
	t.Parallel()
	const days = 120
	top, serial := root("Root"), nextSerial()
	leaf := []*chain.Certificate{chain.Parse(top.leaf(numbered(serial)))}
	expired := updated(noon.AddDate(0, -2, 0), noon.AddDate(0, -1, 0))
	for name, tc := range map[string]struct {
		crls   []*x509.RevocationList
		want   string
		checks int // beside the leaf's own signature
	}{
		"good":                            {top.many(days), "", 1},
		"good, the newest damaged":        {append(top.many(days), top.crl(crlDamaged)), "", 2},
		"good, all of the same day":       {repeatedCRL(days, top), "", 1},
		"revoked in all":                  {top.many(days, listing(serial, 1)), "not_revoked@0", 1},
		"revoked in the oldest":           {append(top.many(days), top.crl(listing(serial, 1), expired)), "not_revoked@0", 1},
		"on hold in all":                  {top.many(days, listing(serial, 6)), "not_revoked@0", 1},
		"on hold in all but the newest":   {append(top.many(days, listing(serial, 6)), top.crl()), "", 2},
		"on hold in the oldest":           {append(top.many(days), top.crl(listing(serial, 6), expired)), "", 2},
		"on hold and revoked long before": {append(top.many(days, listing(serial, 6)), top.crl(), top.crl(listing(serial, 4), expired)), "not_revoked@0", 1},
		"in many delta CRLs":              {append(top.many(days, deltaOf(1), listing(big.NewInt(1), 1)), top.crl(expired), top.crl()), "", 1},
		"in many CRLs of other points":    {append(top.many(days, point(fullName(gnURI(shard1)))), top.crl()), "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, required := range []bool{false, true} {
				v := verifierOf(top.cert)
				v.CRLs, v.RequireCRL = tc.crls, required
				r := judged(t, v, leaf, host)
				if found(r.Faults) != tc.want || r.SignatureChecks != 1+tc.checks || len(r.Notes) > 0 {
					t.Errorf("required %v: faults %v, notes %v, %d signatures; want %s and %d", required, texts(r), r.Notes, r.SignatureChecks, tc.want, 1+tc.checks)
				}
			}
		})
	}
}

func repeatedCRL(n int, a *authority) []*x509.RevocationList {
	all := make([]*x509.RevocationList, n)
	for i := range all {
		all[i] = a.crl()
	}
	return all
}

// TestCRLsOnManyPaths: a CRL is verified once for all paths and all certificates of the same CA.
func TestCRLsOnManyPaths(t *testing.T) {
	t.Parallel()
	top := root("Root")
	middle := top.ca("Middle")
	twins := certs(middle, top.ca("Middle"), top.ca("Middle"), top.ca("Middle"))
	v := verifierOf(top.cert)
	v.CRLs = append(append(middle.many(30, crlDamaged), middle.crl(ago(60))), top.many(30, crlDamaged)...)
	v.CRLs = append(v.CRLs, top.crl(ago(60)))
	v.RequireCRL = true
	// The name is wrong, so that every path is judged.
	r := judged(t, v, chain.ParseAll(append([][]byte{middle.leaf()}, twins...)), "www.other.net")
	if want := 2*len(twins) + 2*31; found(r.Faults) != "reference_name@0" || r.SignatureChecks != want {
		t.Errorf("faults %v, %d signatures, want %d", texts(r), r.SignatureChecks, want)
	}
}

// TestUselessCRLsBeyondTheLimit: a limit that CRLs use up is told as one, where there is anything to decide at all.
func TestUselessCRLsBeyondTheLimit(t *testing.T) {
	t.Parallel()
	top, serial := root("Root"), nextSerial()
	leaf := []*chain.Certificate{chain.Parse(top.leaf(numbered(serial)))}
	v := verifierOf(top.cert)
	v.CRLs = top.many(150, crlDamaged)
	if r := judged(t, v, leaf, host); !r.OK() || len(r.Notes) == 0 || r.SignatureChecks > 10 {
		t.Errorf("no CRL demanded: faults %v, notes %v, %d signatures", texts(r), r.Notes, r.SignatureChecks)
	}
	limits := func(name, want string) {
		t.Helper()
		r := judged(t, v, leaf, host)
		if found(r.Faults) != want || r.SignatureChecks != chain.MaxSignatureChecks {
			t.Fatalf("%s: faults %v, %d signatures", name, texts(r), r.SignatureChecks)
		}
		f := &r.Faults[0]
		if detail := "the CRLs of CN=Root,O=Voice Lab,C=BE were not all verified within the limit of 100 signature checks"; f.Detail != detail {
			t.Errorf("%s: detail %q, want %q", name, f.Detail, detail)
		}
		if remedy := "keep only the current CRL of CN=Root,O=Voice Lab,C=BE at hand"; !strings.HasPrefix(f.Remedy, remedy) {
			t.Errorf("%s: remedy %q, want %q", name, f.Remedy, remedy)
		}
	}
	v.RequireCRL = true
	limits("CRLs demanded", "limits@0{crl_available@0}")
	// Whether the leaf is revoked, nobody knows then.
	v.CRLs, v.RequireCRL = top.many(150, crlDamaged, listing(serial, 1)), false
	limits("all of them list the leaf", "limits@0")
}

// impostors are CAs with the name of a true one, each issued by all those above it. Nothing but their signatures tells them
// from it. They come with a leaf.
func impostors(name []byte, u x509.KeyUsage) [][]byte {
	const levels, forked = 17, 6
	up := &authority{subject: name, key: ecKey("impostor 0"), issuer: name, serial: nextSerial()}
	var all [][]byte
	for level := range levels {
		width := 1
		if level < forked {
			width = 2
		}
		var ca *authority
		serial := nextSerial()
		for i := range width {
			ca = up.caWithKey(name, ecKey(fmt.Sprintf("impostor %d", level+1)), numbered(serial), without(14), with(usage(u), authorityKey(nil, up.issuer, up.serial)),
				valid(noon.AddDate(-1, 0, i), noon.AddDate(1, 0, 0)))
			all = append(all, ca.cert)
		}
		up = ca
	}
	return append([][]byte{up.leaf(with(authorityKey(nil, up.issuer, up.serial)))}, all...)
}

// TestLargeCRLAndImpostors: what a large CRL costs does not grow with the paths that a peer makes up.
func TestLargeCRLAndImpostors(t *testing.T) {
	t.Parallel()
	top := root("Root")
	v := verifierOf(top.cert)
	v.CRLs = []*x509.RevocationList{top.crl(entries(200_000))}
	fastest := func(presented [][]byte, want string) time.Duration {
		parsed := chain.ParseAll(presented)
		least := time.Hour
		for range 3 { // others run at the same time
			begin := time.Now()
			r := judged(t, v, parsed, host)
			least = min(least, time.Since(begin))
			if !strings.HasPrefix(found(r.Faults), want) {
				t.Errorf("faults %v, want %s", texts(r), want)
			}
		}
		return least
	}
	good := fastest([][]byte{top.leaf()}, "")
	// Before the CRL was looked through once for all paths, the impostors took 400 times as long as a good leaf.
	const most = 40
	if bad := fastest(impostors(top.subject, x509.KeyUsageCertSign), "key_identifier@"); bad > most*good {
		t.Errorf("impostors without cRLSign: %s, a good leaf %s", bad, good)
	}
}

// TestLargeCRLAndImpostorsWhoSign: the octets of CRLs that are verified are limited.
func TestLargeCRLAndImpostorsWhoSign(t *testing.T) {
	t.Parallel()
	top := root("Root")
	v := verifierOf(top.cert)
	large := unknownExtension(false)
	large.value = make([]byte, 40<<20)
	v.CRLs, v.RequireCRL = []*x509.RevocationList{top.crl(crlWith(large))}, true
	presented := chain.ParseAll(impostors(top.subject, x509.KeyUsageCertSign|x509.KeyUsageCRLSign))
	r := judged(t, v, presented, host)
	if len(r.Faults) != 1 || r.Faults[0].Rule != "limits" || !strings.HasSuffix(r.Faults[0].Detail, "were not all verified within the limit of 512 MiB of CRLs") {
		t.Errorf("faults %v", texts(r))
	}
	// Nobody has to know that when CRLs are not demanded.
	v.RequireCRL = false
	if r := judged(t, v, presented, host); !strings.HasPrefix(found(r.Faults), "key_identifier@") {
		t.Errorf("faults %v", texts(r))
	}
	v.RequireCRL = true
	if r := judged(t, v, []*chain.Certificate{chain.Parse(top.leaf())}, host); !r.OK() {
		t.Errorf("a good leaf: faults %v", texts(r))
	}
}

// TestLargeCRLOfManyCertificates looks up more certificates of one CA than are worth it without an index: a path of CAs of the
// same name, of which one is revoked.
func TestLargeCRLOfManyCertificates(t *testing.T) {
	t.Parallel()
	const levels = 8
	for revoked := range levels {
		top := root("Root", without(14))
		up, presented, serial := top, [][]byte{}, big.NewInt(0)
		for level := range levels {
			up = up.caWithKey(top.subject, ecKey(fmt.Sprintf("same name %d", level)), without(14), with(authorityKey(nil, up.issuer, up.serial)))
			presented = append([][]byte{up.cert}, presented...)
			if level == revoked {
				serial = up.serial
			}
		}
		presented = append([][]byte{up.leaf(with(authorityKey(nil, up.issuer, up.serial)))}, presented...)
		v := verifierOf(top.cert)
		// Every CA signs the same list with its own key.
		v.CRLs = append(v.CRLs, top.crl(entries(1000), listing(serial, 1)))
		for level := range levels {
			a := &authority{subject: top.subject, key: ecKey(fmt.Sprintf("same name %d", level))}
			v.CRLs = append(v.CRLs, a.crl(entries(1000), listing(serial, 1)))
		}
		r := judged(t, v, chain.ParseAll(presented), host)
		if want := fmt.Sprintf("not_revoked@%d", levels-revoked); found(r.Faults) != want {
			t.Errorf("faults %v, want %s", texts(r), want)
		}
	}
}

// FuzzDistributionPoints writes arbitrary distribution points into a CRL and into the certificate. A list in which the
// certificate is never accepts it, and one that names a distribution point counts only when the certificate has the name.
func FuzzDistributionPoints(f *testing.F) {
	for _, seed := range [][2][]byte{
		{seqOf(fullName(gnURI(shard2))), crlAt(shard2).value},
		{seqOf(fullName(gnURI(shard1), gnDirectory(usualName("Root"))), isTrue(1)), crlAt(shard2).value},
		{seqOf(relativeName(), isTrue(2), isTrue(4)), crlPoints(append(fullName(gnURI(shard2)), tagged(context(2).Constructed(), gnDirectory(usualName("Root")))...)).value},
		{seqOf(tagged(context(3), []byte{0, 0x40})), crlPoints(append(fullName(gnDNS("a")), tagged(context(1), []byte{0, 0x40})...)).value},
		{seqOf(fullName(gnURI(shard1))), crlAt(shard2).value},
		{seqOf(), crlPoints().value},
	} {
		for _, reason := range []int{noReason, 6, 8, 99} {
			f.Add(seed[0], seed[1], reason)
		}
	}
	top, serial := root("Root"), nextSerial()
	f.Fuzz(func(t *testing.T, ofCRL, ofLeaf []byte, reason int) {
		if len(ofCRL)+len(ofLeaf) > 1<<14 {
			return
		}
		leaf := chain.Parse(top.leaf(numbered(serial), with(exten{ce(31), false, ofLeaf})))
		list := crlWith(exten{ce(28), true, ofCRL})
		v := verifierOf(top.cert)
		v.RequireCRL = true
		v.CRLs = []*x509.RevocationList{top.crl(list)}
		r := v.Verify([]*chain.Certificate{leaf}, host)
		complete(t, r)
		bounded(t, r.Faults)
		if r.OK() {
			var point struct {
				Name struct {
					Full []asn1.RawValue `asn1:"optional,tag:0"`
				} `asn1:"optional,tag:0"`
			}
			_, _ = asn1.Unmarshal(ofCRL, &point)
			has := func(name asn1.RawValue) bool {
				return bytes.Contains(ofLeaf, name.FullBytes) || name.Tag == 4
			}
			if names := point.Name.Full; len(names) > 0 && !slices.ContainsFunc(names, has) {
				t.Errorf("accepted with a CRL of %x", names[0].FullBytes)
			}
		}
		accepted := r.OK()
		// The same list with the certificate in it.
		const removed = 8
		v.CRLs = []*x509.RevocationList{top.crl(list, listing(serial, reason%128))}
		if r = v.Verify([]*chain.Certificate{leaf}, host); r.OK() != (accepted && reason%128 == removed) {
			t.Errorf("listed for reason %d: %v, not listed: accepted %v", reason%128, texts(r), accepted)
		}
	})
}

// BenchmarkLargeCRL judges a good leaf with a CRL of a million entries at hand.
func BenchmarkLargeCRL(b *testing.B) {
	top := root("Root")
	leaf := []*chain.Certificate{chain.Parse(top.leaf())}
	v := verifierOf(top.cert)
	v.CRLs = []*x509.RevocationList{top.crl(entries(1_000_000))}
	b.SetBytes(int64(len(v.CRLs[0].Raw)))
	b.ReportAllocs()
	for b.Loop() {
		if r := v.Verify(leaf, host); !r.OK() {
			b.Fatal(r.Err())
		}
	}
}
