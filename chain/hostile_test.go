package chain_test

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"callsign/chain"
)

// judged verifies with a guard against hanging, and checks what holds for every result.
func judged(t *testing.T, v *chain.Verifier, presented []*chain.Certificate, name string) *chain.Result {
	t.Helper()
	done := make(chan *chain.Result, 1)
	go func() { done <- v.Verify(presented, name) }()
	select {
	case r := <-done:
		complete(t, r)
		bounded(t, r.Faults)
		return r
	case <-time.After(30 * time.Second):
		t.Fatal("no verdict within 30 s")
		return nil
	}
}

// bounded checks that no text of a report grows with what a peer sends.
func bounded(t testing.TB, faults []chain.Fault) {
	t.Helper()
	const most = 8 << 10
	for i := range faults {
		f := &faults[i]
		for _, text := range append([]string{f.Subject, f.Detail, f.Actual, f.Expected, f.Remedy}, f.NearMisses...) {
			if len(text) > most {
				t.Errorf("fault %s has a text of %d octets: %s...", f.Rule, len(text), text[:200])
			}
		}
		bounded(t, f.Consequences)
	}
}

func verifierOf(store ...[]byte) *chain.Verifier {
	return &chain.Verifier{Anchors: storeOf(store...), Now: at(noon)}
}

// TestCutOff cuts every certificate of a list at many places. The rest of the list is used all the same.
func TestCutOff(t *testing.T) {
	t.Parallel()
	top := root("Root")
	upper := top.ca("Upper")
	lower := upper.ca("Lower")
	list := append([][]byte{lower.leaf()}, certs(lower, upper, top)...)
	v := verifierOf(top.cert)
	for position := range list {
		for n := 0; n < len(list[position]); n += 13 {
			presented := slices.Clone(list)
			presented[position] = presented[position][:n]
			r := judged(t, v, chain.ParseAll(presented), host)
			want := map[int]string{0: "syntax@0", 1: "issuer_found@0", 2: "issuer_found@1", 3: ""}[position]
			if got := found(r.Faults); got != want {
				t.Fatalf("certificate %d cut at %d: %s, want %s", position, n, got, want)
			}
		}
	}
}

// TestFlipped changes every octet of a leaf and of its issuer: nothing of that is accepted.
func TestFlipped(t *testing.T) {
	t.Parallel()
	top := root("Root")
	middle := top.ca("Middle")
	list := [][]byte{middle.leaf(), middle.cert}
	v := verifierOf(top.cert)
	for position := range list {
		for i := range list[position] {
			for _, mask := range []byte{0x01, 0x20, 0x80} {
				presented := slices.Clone(list)
				presented[position] = bytes.Clone(presented[position])
				presented[position][i] ^= mask
				if r := judged(t, v, chain.ParseAll(presented), host); r.OK() {
					t.Errorf("octet %d of certificate %d with %#x: accepted", i, position, mask)
				}
			}
		}
	}
}

// crowd are many CAs of different names. Nobody has signed them, which nobody looks at.
var crowd = sync.OnceValue(func() [][]byte {
	all := make([][]byte, 10_000)
	for i := range all {
		all[i] = root(fmt.Sprintf("Stranger %d", i), reKeyed(ecKey("stranger").Public()), signedAs(unknownScheme)).cert
	}
	return all
})

// TestCrowd: certificates that have nothing to do with the path do not matter, wherever they are.
func TestCrowd(t *testing.T) {
	t.Parallel()
	top := root("Root")
	middle := top.ca("Middle")
	leaf := middle.leaf()
	strangers := chain.ParseAll(crowd())
	good := chain.ParseAll([][]byte{leaf, middle.cert})
	for name, set := range map[string]func(v *chain.Verifier, presented *[]*chain.Certificate){
		"presented": func(_ *chain.Verifier, presented *[]*chain.Certificate) {
			*presented = slices.Concat(good[:1], strangers, good[1:])
		},
		"intermediates": func(v *chain.Verifier, presented *[]*chain.Certificate) {
			*presented = good[:1]
			v.Intermediates = append(slices.Clip(strangers), good[1])
		},
		"store": func(v *chain.Verifier, presented *[]*chain.Certificate) {
			*presented = good
			v.Anchors = chain.NewStore(append(slices.Clip(strangers), chain.Parse(top.cert))...)
		},
		"one certificate again and again": func(_ *chain.Verifier, presented *[]*chain.Certificate) {
			*presented = slices.Concat(good[:1], slices.Repeat(good, 5000))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := verifierOf(top.cert)
			var presented []*chain.Certificate
			set(v, &presented)
			if r := judged(t, v, presented, host); !r.OK() || r.SignatureChecks != 2 {
				t.Errorf("faults %v, %d signatures", texts(r), r.SignatureChecks)
			}
		})
	}
}

// namesakes are CAs of one name, each with a key of its own. Without key identifiers each may be the issuer looked for.
func namesakes(n int, edits ...edit) [][]byte {
	var all [][]byte
	for i := range n {
		all = append(all, root("Root", append([]edit{reKeyed(ecKey(fmt.Sprintf("Namesake %d", i)).Public()), without(14)}, edits...)...).cert)
	}
	return all
}

// TestNamesakes: which of many CAs of one name has issued a certificate is found out as long as that is bearable.
func TestNamesakes(t *testing.T) {
	t.Parallel()
	top := root("Root", without(14))
	newest := root("Root", without(14), valid(noon.AddDate(-1, 0, 0), noon.AddDate(1, 0, 0)))
	leaf := chain.ParseAll([][]byte{top.leaf(noAKI)})
	identified := root("Root")
	many := namesakes(200)
	for name, tc := range map[string]struct {
		store, presented [][]byte
		leaf             *chain.Certificate
		want             string
	}{
		"none of 200": {many, nil, leaf[0], "limits@0"},
		// What can be said of the leaf alone is said.
		"none of 200, and expired":    {many, nil, chain.Parse(top.leaf(noAKI, past)), "limits@0 validity_end@0"},
		"none of 90":                  {many[:90], nil, leaf[0], "signature@0"},
		"the last of 90":              {append(slices.Clone(many[:90]), top.cert), nil, leaf[0], ""},
		"the last of 201":             {append(slices.Clone(many), top.cert), nil, leaf[0], "limits@0"},
		"the newest of 201":           {append(slices.Clone(many), newest.cert), nil, leaf[0], ""},
		"200 presented, one stored":   {certs(top), many, leaf[0], ""},
		"200 presented":               {nil, many, leaf[0], "limits@0"},
		"told by the key identifier":  {append(slices.Clone(many), identified.cert), nil, chain.Parse(identified.leaf()), ""},
		"10,000 of other identifiers": {nil, slices.Repeat(namesakes(1, with(subjectKey([]byte("other")))), 10_000), chain.Parse(identified.leaf()), "key_identifier@0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := judged(t, verifierOf(tc.store...), append([]*chain.Certificate{tc.leaf}, chain.ParseAll(tc.presented)...), host)
			if got := found(r.Faults); got != tc.want {
				t.Errorf("%s, want %s: %v", got, tc.want, texts(r))
			}
		})
	}
}

// mesh are CAs that all certify each other.
func mesh(n int, edits ...edit) ([]*authority, [][]byte) {
	var cas []*authority
	for i := range n {
		cas = append(cas, root(fmt.Sprintf("Mesh %d", i)))
	}
	var crossed [][]byte
	for _, issuer := range cas {
		for _, subject := range cas {
			if issuer != subject {
				crossed = append(crossed, issuer.cross(subject, edits...).cert)
			}
		}
	}
	return cas, crossed
}

// TestMesh: CAs that certify each other are no way out, nor do they hide one.
func TestMesh(t *testing.T) {
	t.Parallel()
	top := root("Root")
	for _, tc := range []struct {
		size int
		by   int // that the root has certified, -1 for none
		want string
	}{
		{2, -1, "issuer_found@2"},
		{3, -1, "issuer_found@3"},
		{12, -1, "limits@0"},
		{2, 1, ""},
		{3, 2, ""},
		{12, 0, ""},
		{12, 1, ""},
		{12, 11, ""},
	} {
		t.Run(fmt.Sprintf("%d CAs, the root certifies %d", tc.size, tc.by), func(t *testing.T) {
			t.Parallel()
			cas, crossed := mesh(tc.size)
			if tc.by >= 0 {
				crossed = append(crossed, top.cross(cas[tc.by]).cert)
			}
			r := judged(t, verifierOf(top.cert), chain.ParseAll(append([][]byte{cas[0].leaf()}, crossed...)), host)
			// Where nothing leads to an anchor, how far one got does not matter.
			if got, _, _ := strings.Cut(found(r.Faults), "{"); got != tc.want || tc.want != "" && r.Anchor != nil {
				t.Errorf("%s, want %s; %d signatures", got, tc.want, r.SignatureChecks)
			}
		})
	}
}

// TestLongChains: a path has at most 20 certificates.
func TestLongChains(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{19: "", 20: "", 21: "limits@19", 60: "limits@19"} {
		s := long(n)
		if r := judged(t, verifierOf(s.store...), chain.ParseAll(s.presented), host); found(r.Faults) != want {
			t.Errorf("%d certificates: %v, want %q", n, texts(r), want)
		}
	}
}

// TestSubtreeBomb: constraints times names are too many to compare.
func TestSubtreeBomb(t *testing.T) {
	t.Parallel()
	const n = 2000
	domains, directories, addresses := make(subtrees, n), make(subtrees, n), make(subtrees, n)
	names, directoryNames := make([][]byte, n), make([][]byte, n)
	for i := range n {
		domains[i] = gnDNS(fmt.Sprintf("n%d.other.net", i))
		directories[i] = gnDirectory(nameOf(printable(10, fmt.Sprintf("Lab %d", i))))
		addresses[i] = gnRange(fmt.Sprintf("10.%d.%d.0/24", i/256, i%256))
		names[i] = gnDNS(fmt.Sprintf("n%d.voice-lab.net", i))
		directoryNames[i] = gnDirectory(usualName(fmt.Sprintf("Phone %d", i)))
	}
	names = append(names, gnDNS(host))
	directoryNames = append(directoryNames, gnDNS(host))
	for name, tc := range map[string]struct {
		permitted, excluded subtrees
		names               [][]byte
		want                string
	}{
		"excluded domains":          {nil, domains, names, "limits@0"},
		"permitted domains":         {domains, nil, names, "limits@0"},
		"excluded directory names":  {nil, directories, directoryNames, "limits@0"},
		"names of another type":     {nil, addresses, names, "limits@0"},
		"many subtrees, few names":  {nil, domains, names[:10], "reference_name@0"},
		"few subtrees, many names":  {nil, domains[:10], names, ""},
		"few of either, and caught": {nil, append(domains[:10:10], gnDNS("voice-lab.net")), names, "names_excluded@0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := root("Root")
			middle := top.ca("Middle", with(constrain(tc.permitted, tc.excluded)))
			r := judged(t, verifierOf(top.cert), chain.ParseAll([][]byte{middle.leaf(with(alt(tc.names...))), middle.cert}), host)
			if got := found(r.Faults); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

// TestPolicyBomb: policies that multiply along the path.
func TestPolicyBomb(t *testing.T) {
	t.Parallel()
	var ids []int
	var pairs [][2]int
	for i := 1; i <= 250; i++ {
		ids = append(ids, i)
		pairs = append(pairs, [2]int{i, i%16 + 1})
	}
	for want, own := range map[string][]int{"certificate_policy@0": ids, "": append(ids, 0)} {
		a := root("Root")
		s := sample{store: certs(a)}
		for i := range 18 {
			a = a.ca(fmt.Sprintf("Level %d", i), with(policies(own...), mappings(pairs...), demand(0, nothing)))
			s.presented = append([][]byte{a.cert}, s.presented...)
		}
		s.presented = append([][]byte{a.leaf(with(policies(9999)))}, s.presented...)
		if r := judged(t, verifierOf(s.store...), chain.ParseAll(s.presented), host); found(r.Faults) != want {
			t.Errorf("faults %v, want %q", texts(r), want)
		}
	}
}

// TestLarge: size alone is no fault, and does not get into the report.
func TestLarge(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("Voice ", 20_000)
	var names [][]byte
	var criticals []exten
	for i := range 10_000 {
		names = append(names, gnDNS(fmt.Sprintf("n%d.voice-lab.net", i)))
	}
	for i := range 1000 {
		criticals = append(criticals, exten{asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 4, i}, true, []byte{5, 0}})
	}
	var rdns []attribute
	for i := range 5000 {
		rdns = append(rdns, printable(11, fmt.Sprintf("Unit %d", i)))
	}
	for name, tc := range map[string]struct {
		edits  []edit
		target string
		want   string
	}{
		"extension of 100 KiB":          {[]edit{with(exten{unknownExtension(false).oid, false, make([]byte, 100<<10)})}, host, ""},
		"10,000 names, the last":        {[]edit{with(alt(names...))}, "n9999.voice-lab.net", ""},
		"10,000 names, none of them":    {[]edit{with(alt(names...))}, host, "reference_name@0"},
		"1000 critical extensions":      {[]edit{with(criticals...)}, host, "critical_extension@0"},
		"name of 100 KiB":               {[]edit{with(altDNS(huge))}, host, "reference_name@0"},
		"subject of 100 KiB":            {[]edit{named(nameOf(utf8String(3, huge)))}, "www.other.net", "reference_name@0"},
		"subject of 100 KiB of umlauts": {[]edit{named(nameOf(utf8String(3, "x"+strings.Repeat("ü", 50_000)))), past}, host, "validity_end@0"},
		"subject of 100 KiB, expired":   {[]edit{named(nameOf(utf8String(3, huge))), past}, host, "validity_end@0"},
		"subject of 5000 RDNs":          {[]edit{named(nameOf(rdns...)), past}, host, "validity_end@0"},
		"URI of 100 KiB of no form":     {[]edit{with(alt(gnURI("http://" + huge)))}, host, "syntax@0"},
		"issuer of 100 KiB, unknown":    {[]edit{issuedBy(nameOf(utf8String(3, huge))), noAKI}, host, "issuer_found@0"},
		"key identifier of 100 KiB":     {[]edit{with(authorityKey([]byte(huge), nil, nil))}, host, "key_identifier@0"},
		"serial number of 100 KiB":      {[]edit{numbered(power(800_000, 0)), past}, host, "validity_end@0"},
		"negative serial number":        {[]edit{numbered(power(800_000, 0).Neg(power(800_000, 0)))}, host, "serial_negative@0"},
		"extended key usages":           {[]edit{with(extended(slices.Repeat([]int{codeEKU}, 10_000)...))}, host, "extended_key_usage@0"},
		"where its issuer can be had":   {[]edit{issuedBy(plain), noAKI, with(issuerAt("http://" + huge))}, host, "issuer_found@0"},
		"where the CRL can be had":      {[]edit{with(crlAt("http://" + huge))}, host, "crl_available@0"},
		"10,000 names outside":          {[]edit{with(alt(names...)), issuedBy(usualName("Constrained"))}, "n1.voice-lab.net", "issuer_found@0"},
		"modulus of 100 KiB":            {[]edit{forKey(inventedRSA(800_000))}, host, "key_size_limit@0"},
		"reference name of 100 KiB":     {nil, huge, "reference_name@0"},
		"reference name of many dots":   {nil, strings.Repeat(".", 100_000), "reference_name@0"},
		"reference name of U-labels":    {nil, strings.Repeat("ü.", 20_000), "reference_name@0"},
		"10,000 policies":               {[]edit{with(policies(make([]int, 0)...)), with(manyPolicies(10_000))}, host, ""},
		"common names, 1000 of them":    {[]edit{without(17), named(nameOf(slices.Repeat([]attribute{printable(3, "www.other.net")}, 1000)...))}, host, "reference_name@0"},
		"directory name of 5000 RDNs":   {[]edit{with(alt(gnDNS(host), gnDirectory(nameOf(rdns...))))}, host, ""},
		"key identifier of the issuer":  {nil, host, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := root("Root")
			v := verifierOf(top.cert)
			if strings.Contains(name, "CRL") {
				v.RequireCRL = true
			}
			for p := chain.Deployment; p <= chain.WebPKI; p++ {
				v.Profile = p
				r := judged(t, v, []*chain.Certificate{chain.Parse(top.leaf(tc.edits...))}, tc.target)
				if got := found(r.Faults); p == chain.Deployment && got != tc.want {
					t.Errorf("%s, want %s", got, tc.want)
				}
				if err := r.Err(); err != nil && len(err.Error()) > 8<<10 {
					t.Errorf("an error of %d octets", len(err.Error()))
				}
			}
		})
	}
}

func manyPolicies(n int) exten {
	var ids []int
	for i := range n {
		ids = append(ids, i+1)
	}
	return policies(ids...)
}

// issuerAt is authorityInfoAccess with the place of the issuer's certificate.
func issuerAt(url string) exten {
	return exten{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 1}, false, seqOf(seqOf(oidDER(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 2}), gnURI(url)))}
}

// crlAt is cRLDistributionPoints with one place.
func crlAt(url string) exten {
	return exten{ce(31), false, seqOf(seqOf(tagged(context(0).Constructed(), tagged(context(0).Constructed(), gnURI(url)))))}
}

// TestManyCRLs: each CRL costs a signature check, and those are limited.
func TestManyCRLs(t *testing.T) {
	t.Parallel()
	top := root("Root")
	leaf := []*chain.Certificate{chain.Parse(top.leaf())}
	v := verifierOf(top.cert)
	v.RequireCRL = true
	for range 150 {
		v.CRLs = append(v.CRLs, top.crl(crlDamaged))
	}
	if r := judged(t, v, leaf, host); found(r.Faults) != "limits@0{crl_available@0}" || r.SignatureChecks != chain.MaxSignatureChecks {
		t.Errorf("faults %v, %d signatures", texts(r), r.SignatureChecks)
	}
	v.CRLs = append([]*x509.RevocationList{top.crl()}, v.CRLs[:50]...)
	if r := judged(t, v, leaf, host); !r.OK() {
		t.Errorf("faults %v", texts(r))
	}
}

// TestEmpty: nothing at all is an answer, too.
func TestEmpty(t *testing.T) {
	t.Parallel()
	empty := &chain.Verifier{Now: at(noon)}
	leaf := chain.Parse(root("Root").leaf())
	for name, tc := range map[string]struct {
		presented []*chain.Certificate
		want      string
	}{
		"nothing":              {nil, "presented@0"},
		"no certificates":      {[]*chain.Certificate{}, "presented@0"},
		"no octets":            {[]*chain.Certificate{chain.Parse(nil)}, "syntax@0"},
		"no octets, and more":  {[]*chain.Certificate{chain.Parse(nil), leaf}, "syntax@0"},
		"a leaf":               {[]*chain.Certificate{leaf}, "issuer_found@0"},
		"a leaf and no octets": {[]*chain.Certificate{leaf, chain.Parse(nil), chain.Parse([]byte{})}, "issuer_found@0"},
	} {
		for _, v := range []*chain.Verifier{empty, {Now: at(noon), Anchors: chain.NewStore()}, {Now: at(noon), Anchors: storeOf(nil)}, {Now: at(noon), Anchors: &chain.Store{}}} {
			for p := chain.Deployment; p <= chain.WebPKI; p++ {
				v.Profile = p
				if got := found(judged(t, v, tc.presented, "").Faults); !strings.HasPrefix(got, tc.want) {
					t.Errorf("%s: %s, want %s", name, got, tc.want)
				}
			}
		}
	}
	// An empty SEQUENCE as a certificate, and a certificate of empty names.
	nameless := (*authority)(nil).leaf(named(nameOf()), issuedBy(nameOf()), bare)
	for want, der := range map[string][]byte{"syntax@0": seqOf(), "self_signed_stored@0": nameless} {
		if got := found(judged(t, &chain.Verifier{Now: at(noon)}, []*chain.Certificate{chain.Parse(der)}, "").Faults); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if r := judged(t, verifierOf(nameless), []*chain.Certificate{chain.Parse(nameless)}, ""); !r.OK() {
		t.Errorf("faults %v", texts(r))
	}
}

// TestRepeated presents the leaf again and again.
func TestRepeated(t *testing.T) {
	t.Parallel()
	top := root("Root")
	middle := top.ca("Middle")
	leaf, self := middle.leaf(), (*authority)(nil).leaf()
	for name, tc := range map[string]struct {
		presented [][]byte
		want      string
	}{
		"leaf":                        {append(slices.Repeat([][]byte{leaf}, 50), middle.cert), ""},
		"leaf alone":                  {slices.Repeat([][]byte{leaf}, 50), "issuer_found@0"},
		"self-signed leaf":            {slices.Repeat([][]byte{self}, 50), "self_signed_stored@0"},
		"intermediate":                {append([][]byte{leaf}, slices.Repeat([][]byte{middle.cert}, 50)...), ""},
		"leaf with other signatures":  {append([][]byte{leaf}, repeated(50, func() []byte { return middle.leaf() })...), "issuer_found@0"},
		"self-signed, other serials":  {repeated(50, func() []byte { return (*authority)(nil).leaf() }), "self_signed_stored@0"},
		"intermediate, other serials": {append([][]byte{leaf}, repeated(50, func() []byte { return top.ca("Middle").cert })...), ""},
		"unreadable":                  {append([][]byte{leaf}, slices.Repeat([][]byte{middle.cert[:50]}, 50)...), "issuer_found@0"},
		"unreadable, with its name":   {append([][]byte{leaf}, repeated(50, func() []byte { return top.ca("Middle", versioned(4)).cert })...), "syntax@1{issuer_found@0}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := found(judged(t, verifierOf(top.cert), chain.ParseAll(tc.presented), host).Faults); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func repeated(n int, f func() []byte) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = f()
	}
	return all
}
