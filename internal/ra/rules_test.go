package ra_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/ra"
)

var (
	oidEKU = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}
)

var rsaKeys = sync.OnceValue(func() map[int]*rsa.PrivateKey {
	keys := map[int]*rsa.PrivateKey{}
	for _, bits := range []int{1024, 2048, 3072} {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		keys[bits] = k
	}
	return keys
})

// asked is a parsed request.
func asked(t testing.TB, k crypto.Signer, template x509.CertificateRequest) *x509.CertificateRequest {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, k)
	check(t, err)
	csr, err := x509.ParseCertificateRequest(der)
	check(t, err)
	return csr
}

func extension(t testing.TB, oid asn1.ObjectIdentifier, value any) pkix.Extension {
	t.Helper()
	der, err := asn1.Marshal(value)
	check(t, err)
	return pkix.Extension{Id: oid, Value: der}
}

func mustHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	check(t, err)
	return b
}

func TestRules(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(t, err)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	check(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	cn := func(names ...string) x509.CertificateRequest {
		s := pkix.Name{}
		for _, n := range names {
			s.ExtraNames = append(s.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: n})
		}
		return x509.CertificateRequest{Subject: s}
	}
	of := func(change func(*x509.CertificateRequest)) x509.CertificateRequest {
		r := cn("SEP001122334455")
		change(&r)
		return r
	}
	dns := func(names ...string) x509.CertificateRequest {
		return of(func(r *x509.CertificateRequest) { r.DNSNames = names })
	}
	uri := func(s string) x509.CertificateRequest {
		return of(func(r *x509.CertificateRequest) {
			u, err := url.Parse(s)
			check(t, err)
			r.URIs = []*url.URL{u}
		})
	}
	ip := func(s string) x509.CertificateRequest {
		return of(func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{net.ParseIP(s)} })
	}
	mail := func(s string) x509.CertificateRequest {
		return of(func(r *x509.CertificateRequest) { r.EmailAddresses = []string{s} })
	}
	ext := func(exts ...pkix.Extension) x509.CertificateRequest {
		return of(func(r *x509.CertificateRequest) { r.ExtraExtensions = exts })
	}
	eku := func(oids ...asn1.ObjectIdentifier) x509.CertificateRequest { return ext(extension(t, oidEKU, oids)) }
	upn := pkix.Extension{Id: oidSAN, Value: mustHex(t, "30 1f a0 1d 06 0a 2b 06 01 04 01 82 37 14 02 03 a0 0f 0c 0d 61 64 6d 69 6e 40 61 2e 6c 6f 63 61 6c")}
	const phone = `SEP[0-9A-F]{12}`
	tests := []struct {
		name  string
		rules ra.Rules
		key   crypto.Signer
		csr   x509.CertificateRequest
		who   string // the client's name; empty: SEP001122334455
		other bool
		code  string // empty: allowed
		text  string // of the refusal
	}{
		{name: "no rules", csr: dns("anything.example.com")},
		{name: "no rules, no common name", csr: x509.CertificateRequest{Subject: pkix.Name{Organization: []string{"x"}}}},

		{name: "subject fits", rules: ra.Rules{Subject: phone}, csr: cn("SEP001122334455")},
		{name: "subject is matched as a whole", rules: ra.Rules{Subject: phone}, csr: cn("xSEP001122334455"), code: ra.CodeSubjectDenied, text: "xSEP001122334455"},
		{name: "subject with a line behind it", rules: ra.Rules{Subject: phone}, csr: cn("SEP001122334455\nx"), code: ra.CodeSubjectDenied, text: phone},
		{name: "alternatives are matched as a whole", rules: ra.Rules{Subject: "a|b"}, csr: cn("ax"), code: ra.CodeSubjectDenied, text: "a|b"},
		{name: "two common names", rules: ra.Rules{Subject: phone}, csr: cn("SEP001122334455", "SEP001122334455"), code: ra.CodeSubjectDenied, text: "2 common names"},
		{name: "no common name", rules: ra.Rules{Subject: ".*"}, csr: x509.CertificateRequest{Subject: pkix.Name{Organization: []string{"x"}}}, code: ra.CodeSubjectDenied, text: "0 common names"},
		{name: "common name that is no text", rules: ra.Rules{Subject: ".*"}, csr: of(func(r *x509.CertificateRequest) {
			r.RawSubject = mustHex(t, "30 0f 31 0d 30 0b 06 03 55 04 03 1c 04 00 00 00 41")
		}), code: ra.CodeSubjectDenied, text: "no text"},

		{name: "subject is the client's name", rules: ra.Rules{SubjectIsName: true}, csr: cn("SEP001122334455")},
		{name: "subject is another's name", rules: ra.Rules{SubjectIsName: true}, csr: cn("SEP000000000000"), code: ra.CodeSubjectDenied, text: `must be "SEP001122334455"`},
		{name: "client without a name", rules: ra.Rules{SubjectIsName: true}, csr: cn(""), who: "-", code: ra.CodeSubjectDenied, text: "client's name"},
		{name: "for another, by a registrar", rules: ra.Rules{SubjectIsName: true}, csr: cn("SEP000000000000"), other: true},
		{name: "pattern holds for a registrar, too", rules: ra.Rules{SubjectIsName: true, Subject: phone}, csr: cn("x"), other: true, code: ra.CodeSubjectDenied, text: phone},

		{name: "has", rules: ra.Rules{SubjectHas: []string{"O=Example", "c = DE"}}, csr: x509.CertificateRequest{Subject: pkix.Name{CommonName: "x", Organization: []string{"Example"}, Country: []string{"DE"}}}},
		{name: "has not", rules: ra.Rules{SubjectHas: []string{"O=Example"}}, csr: cn("x"), code: ra.CodeSubjectDenied, text: "no O=Example"},
		{name: "has another one besides", rules: ra.Rules{SubjectHas: []string{"O=Example"}}, csr: x509.CertificateRequest{Subject: pkix.Name{Organization: []string{"Example", "Evil"}}}, code: ra.CodeSubjectDenied, text: "O=Evil"},
		{name: "one of several values", rules: ra.Rules{SubjectHas: []string{"2.5.4.11=Voice", "OU=Floor 2"}}, csr: x509.CertificateRequest{Subject: pkix.Name{OrganizationalUnit: []string{"Voice", "Floor 2"}}}},

		{name: "no names, and none", rules: ra.Rules{Names: []string{"none"}}, csr: cn("x")},
		{name: "no names, and one", rules: ra.Rules{Names: []string{"none"}}, csr: dns("a.example.com"), code: ra.CodeNameDenied, text: "no subjectAltName"},
		{name: "any name", rules: ra.Rules{Names: []string{"any"}}, csr: ext(upn)},
		{name: "a user principal name", rules: ra.Rules{Names: []string{"dns:*"}}, csr: ext(upn), code: ra.CodeNameDenied, text: "otherName(1.3.6.1.4.1.311.20.2.3):admin@a.local"},
		{name: "host", rules: ra.Rules{Names: []string{"dns:*.example.com"}}, csr: dns("a.EXAMPLE.com", "b.c.example.com")},
		{name: "one host of two", rules: ra.Rules{Names: []string{"dns:*.example.com"}}, csr: dns("a.example.com", "a.example.org"), code: ra.CodeNameDenied, text: "dns:a.example.org"},
		{name: "a wildcard", rules: ra.Rules{Names: []string{"dns:*.example.com"}}, csr: dns("*.example.com"), code: ra.CodeNameDenied, text: "dns:*.example.com"},
		{name: "a host with a path before it", rules: ra.Rules{Names: []string{"dns:*.example.com"}}, csr: dns("evil.org/.example.com"), code: ra.CodeNameDenied},
		{name: "a host with a zero in it", rules: ra.Rules{Names: []string{"dns:*.example.com"}}, csr: dns("evil.org\x00.example.com"), code: ra.CodeNameDenied},
		{name: "address", rules: ra.Rules{Names: []string{"ip:192.0.2.0/24"}}, csr: ip("192.0.2.7")},
		{name: "address in six", rules: ra.Rules{Names: []string{"ip:2001:db8::/32"}}, csr: ip("2001:db8::7")},
		{name: "address outside", rules: ra.Rules{Names: []string{"ip:192.0.2.7", "ip:2001:db8::/32"}}, csr: ip("192.0.2.8"), code: ra.CodeNameDenied, text: "ip:192.0.2.8"},
		{name: "mail", rules: ra.Rules{Names: []string{"email:*@example.com"}}, csr: mail("a.b@example.com")},
		{name: "mail for two", rules: ra.Rules{Names: []string{"email:*@example.com"}}, csr: mail("a@evil.org@example.com"), code: ra.CodeNameDenied},
		{name: "uri", rules: ra.Rules{Names: []string{"uri:urn:phone:*"}}, csr: uri("urn:phone:17")},
		{name: "uri of the subject", rules: ra.Rules{Names: []string{"subject"}}, csr: uri("SEP001122334455")},
		{name: "uri of another", rules: ra.Rules{Names: []string{"subject"}}, csr: uri("SEP001122334456"), code: ra.CodeNameDenied, text: "uri:SEP001122334456"},
		{name: "host of the subject", rules: ra.Rules{Names: []string{"subject"}}, csr: dns("sep001122334455")},
		{name: "a security identifier", rules: ra.Rules{Names: []string{"dns:*"}}, csr: ext(pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 25, 2}, Value: []byte{5, 0}}), code: ra.CodeNameDenied, text: "security identifier"},

		{name: "default keys", key: p384, csr: cn("x")},
		{name: "default keys, Ed25519", key: ed, csr: cn("x")},
		{name: "odd curve", key: p224, csr: cn("x"), code: ra.CodeKeyDenied, text: "EC P-224"},
		{name: "curve", rules: ra.Rules{Keys: []string{"P-256"}}, csr: cn("x")},
		{name: "other curve", rules: ra.Rules{Keys: []string{"p-256"}}, key: p384, csr: cn("x"), code: ra.CodeKeyDenied, text: "EC P-384"},
		{name: "RSA", rules: ra.Rules{Keys: []string{"rsa:2048-4096"}}, key: rsaKeys()[3072], csr: cn("x")},
		{name: "RSA of one length", rules: ra.Rules{Keys: []string{"rsa:2048"}}, key: rsaKeys()[3072], csr: cn("x"), code: ra.CodeKeyDenied, text: "RSA 3072"},
		{name: "short RSA", rules: ra.Rules{Keys: []string{"rsa:1024-2048"}}, key: rsaKeys()[1024], csr: cn("x")},
		{name: "short RSA by default", key: rsaKeys()[1024], csr: cn("x"), code: ra.CodeKeyDenied, text: "rsa:2048-8192"},
		{name: "EC instead of RSA", rules: ra.Rules{Keys: []string{"rsa:2048-4096"}}, csr: cn("x"), code: ra.CodeKeyDenied},

		{name: "usage", rules: ra.Rules{Usages: []string{"clientAuth", "1.2.3.4"}}, csr: eku(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}, asn1.ObjectIdentifier{1, 2, 3, 4})},
		{name: "no usage", rules: ra.Rules{Usages: []string{"clientAuth"}}, csr: cn("x")},
		{name: "another usage", rules: ra.Rules{Usages: []string{"clientAuth"}}, csr: eku(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}), code: ra.CodeUsageDenied, text: "serverAuth may not"},
		{name: "any usage", rules: ra.Rules{Usages: []string{"clientAuth"}}, csr: eku(asn1.ObjectIdentifier{2, 5, 29, 37, 0}), code: ra.CodeUsageDenied, text: "2.5.29.37.0"},
		{name: "usage that cannot be read", rules: ra.Rules{Usages: []string{"clientAuth"}}, csr: ext(pkix.Extension{Id: oidEKU, Value: []byte{0x30, 0}}), code: ra.CodeUsageDenied},
	}
	sections := map[string]string{ra.CodeNameDenied: "names", ra.CodeKeyDenied: "keys", ra.CodeUsageDenied: "usages", ra.CodeSubjectDenied: "subject"}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			key, who := tt.key, tt.who
			if key == nil {
				key = k
			}
			switch who {
			case "":
				who = "SEP001122334455"
			case "-":
				who = ""
			}
			e, err := tt.rules.Refusal(asked(t, key, tt.csr), who, tt.other)
			check(t, err)
			if tt.code == "" {
				if e != nil {
					t.Fatalf("refused: %v", e)
				}
				return
			}
			if e == nil || e.ErrCode != tt.code || e.Status != 403 {
				t.Fatalf("got %v, want %s", e, tt.code)
			}
			mustContain(t, e.Text, tt.text)
			mustContain(t, e.Fix, "[label.phones] "+sections[tt.code])
			if strings.ContainsAny(e.Text, "\n\r\x00") {
				t.Errorf("the text breaks the line: %q", e.Text)
			}
		})
	}
}

func TestBadRules(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rules ra.Rules
		want  string
	}{
		{ra.Rules{Subject: "("}, `subject: "(" is no regular expression`},
		{ra.Rules{SubjectHas: []string{"Example"}}, `subject_has: "Example" is not of the form`},
		{ra.Rules{SubjectHas: []string{"X=y"}}, `subject_has: "X=y"`},
		{ra.Rules{SubjectHas: []string{"O="}}, `subject_has: "O="`},
		{ra.Rules{Names: []string{"any", "dns:x"}}, `names: "any" stands alone`},
		{ra.Rules{Names: []string{"none:x"}}, `names: "none" stands alone`},
		{ra.Rules{Names: []string{"subject:x"}}, `names: "subject:x"`},
		{ra.Rules{Names: []string{"dns:"}}, `names: "dns:" is none of`},
		{ra.Rules{Names: []string{"otherName:x"}}, `names: "otherName:x" is none of`},
		{ra.Rules{Names: []string{"ip:10.0.0.0/99"}}, `names: "ip:10.0.0.0/99"`},
		{ra.Rules{Keys: []string{"rsa:512"}}, `keys: "rsa:512"`},
		{ra.Rules{Keys: []string{"rsa:4096-2048"}}, `keys: "rsa:4096-2048"`},
		{ra.Rules{Keys: []string{"rsa:2048-99999"}}, `keys: "rsa:2048-99999"`},
		{ra.Rules{Keys: []string{"p-224"}}, `keys: "p-224"`},
		{ra.Rules{Usages: []string{"clientauth", "anything"}}, `usages: "anything"`},
		{ra.Rules{Usages: []string{"3.1"}}, `usages: "3.1"`},
		{ra.Rules{Usages: []string{"1.02.3"}}, `usages: "1.02.3"`},
	} {
		if err := ra.CheckRules(tt.rules); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %s", tt.rules, err, tt.want)
		}
	}
	for _, tt := range []struct {
		name                string
		clients, registrars []string
		want                string
	}{
		{"(", nil, nil, "client_name:"},
		{"(a)(b)", nil, nil, "client_name:"},
		{"", []string{" "}, nil, "clients:"},
		{"", nil, []string{"abc"}, `registrars: "abc"`},
	} {
		if err := ra.CheckClients(tt.name, tt.clients, tt.registrars); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	check(t, ra.CheckClients(`^(SEP[0-9A-F]{12})$`, []string{"SEP*"}, []string{"CN=ra,O=Example", strings.Repeat("aB", 32)}))
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"*", "", true},
		{"*", "x", true},
		{"?", "", false},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"SEP*", "SEP001122334455", true},
		{"SEP*", "xSEP", false},
		{"*a*b", "xaxb", true},
		{"*a*b", "xbxa", false},
		{"a*b*c", "abbbc", true},
		{"a*b*c", "abbb", false},
		{"[a]", "a", false},
		{"ü?", "üß", true},
	} {
		if got := ra.Glob(tt.pattern, tt.s); got != tt.want {
			t.Errorf("%q, %q: %v", tt.pattern, tt.s, got)
		}
	}
	// Nothing that takes for ever.
	if ra.Glob(strings.Repeat("*a", 200)+"b", strings.Repeat("a", 5000)) {
		t.Error("fits")
	}
}

func TestNamesOf(t *testing.T) {
	t.Parallel()
	csr := asked(t, newKey(t), x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"a.example.com"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}, EmailAddresses: []string{"a@example.com"},
	})
	got, err := ra.NamesOf(csr.Extensions)
	check(t, err)
	if d := cmp.Diff([]string{"dns:a.example.com", "email:a@example.com", "ip:10.0.0.1"}, got); d != "" {
		t.Error(d)
	}
	for _, tt := range []struct{ name, der, want string }{
		{"a user principal name", "30 1f a0 1d 06 0a 2b 06 01 04 01 82 37 14 02 03 a0 0f 0c 0d 61 64 6d 69 6e 40 61 2e 6c 6f 63 61 6c", "otherName(1.3.6.1.4.1.311.20.2.3):admin@a.local"},
		{"another name of no text", "30 0c a0 0a 06 03 2a 03 04 a0 03 02 01 05", "otherName(1.2.3.4):020105"},
		{"another name that cannot be read", "30 04 a0 02 05 00", "otherName:0500"},
		{"a directory name", "30 0e a4 0c 30 0a 31 08 30 06 06 03 55 04 03 0c ff", ""},
		{"a directory name of one letter", "30 11 a4 0f 30 0d 31 0b 30 09 06 03 55 04 03 0c 02 61 62", "directoryName:CN=ab"},
		{"a registered ID", "30 05 88 03 2a 03 04", "registeredID:2a0304"},
		{"a name with a line end", "30 05 82 03 61 0a 62", `dns:"a\nb"`},
		{"no sequence", "05 00", ""},
		{"empty", "30 00", ""},
		{"a tag of no meaning", "30 02 89 00", ""},
		{"a tag of more octets", "30 04 9f 81 01 00", ""},
		{"a constructed DNS name", "30 03 a2 01 61", ""},
		{"universal", "30 02 05 00", ""},
	} {
		got, err := ra.GeneralNames(mustHex(t, tt.der))
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s: %v", tt.name, got)
			}
			continue
		}
		if err != nil || len(got) != 1 || got[0] != tt.want {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
	if got, err := ra.NamesOf(nil); got != nil || err != nil {
		t.Error(got, err)
	}
}

func TestUsageOIDs(t *testing.T) {
	t.Parallel()
	got, err := ra.UsageOIDs([]string{"clientAuth", "1.2.3"})
	check(t, err)
	if d := cmp.Diff([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}, {1, 2, 3}}, got); d != "" {
		t.Error(d)
	}
}
