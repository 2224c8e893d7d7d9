package est_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/cmc"
	"callsign/est"
)

// attrs reads a fixture, or returns nil for no name.
func attrs(t testing.TB, name string) *est.CSRAttrs {
	t.Helper()
	if name == "" {
		return nil
	}
	a, err := est.ParseCSRAttrs(attrsFixture(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func rdn(t testing.TB, n pkix.Name) []byte {
	t.Helper()
	der, err := asn1.Marshal(n.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// requestMeaning is what a request asks for, in words.
type requestMeaning struct {
	Subject, Signed string
	Extensions      []string
	Notes           []string
}

func TestBuildCSR(t *testing.T) {
	t.Parallel()
	p256, err := est.KeySpec{Algorithm: "ec", Curve: "p-256"}.Generate()
	if err != nil {
		t.Fatal(err)
	}
	p384, err := est.KeySpec{Algorithm: "ec", Curve: "p-384"}.Generate()
	if err != nil {
		t.Fatal(err)
	}
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	device := pkix.Name{CommonName: "device 1"}
	full := est.CSRWish{
		Subject: rdn(t, pkix.Name{CommonName: "device 1", Organization: []string{"Example"}}), DNSNames: []string{"www.myServer.com", "b.example"},
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1), net.ParseIP("2001:db8::1")},
		URIs:        []*url.URL{{Scheme: "urn", Opaque: "x"}}, EmailAddresses: []string{"a@b.example"},
	}
	macAddress := asn1.ObjectIdentifier{1, 3, 6, 1, 1, 1, 1, 22}
	for _, tt := range []struct {
		name  string
		key   crypto.Signer
		wish  est.CSRWish
		attrs string
		want  requestMeaning
	}{
		{"nothing", p256, est.CSRWish{}, "", requestMeaning{Signed: "ECDSA-SHA256"}},
		{"names", p256, full, "", requestMeaning{
			Subject: "CN=device 1,O=Example", Signed: "ECDSA-SHA256",
			Extensions: []string{"2.5.29.17 dns:www.myServer.com dns:b.example ip:192.0.2.1 ip:2001:db8::1 uri:urn:x email:a@b.example"},
		}},
		{"names without a subject are critical", p256, est.CSRWish{DNSNames: []string{"a"}}, "empty", requestMeaning{
			Signed: "ECDSA-SHA256", Extensions: []string{"2.5.29.17 critical dns:a"},
		}},
		{"RSA", rsa2048, est.CSRWish{Subject: rdn(t, device)}, "", requestMeaning{Subject: "CN=device 1", Signed: "SHA256-RSA"}},
		{"Ed25519 with a challenge", ed, est.CSRWish{Subject: rdn(t, device), Challenge: "secret"}, "", requestMeaning{Subject: "CN=device 1", Signed: "Ed25519"}},
		{"a named algorithm", p384, est.CSRWish{Subject: rdn(t, device)}, "rfc9908-s5.2-csrattrs", requestMeaning{Subject: "CN=device 1", Signed: "ECDSA-SHA384"}},
		{"the malformed example", p384, est.CSRWish{Subject: rdn(t, device)}, "rfc7030-s4.5.2-csrattrs", requestMeaning{Subject: "CN=device 1", Signed: "ECDSA-SHA384"}},
		{"names that the server sets", p256, est.CSRWish{Subject: rdn(t, device), DNSNames: []string{"phone.example.com", "other"}}, "oids-and-attributes", requestMeaning{
			Subject: "CN=device 1", Signed: "ECDSA-SHA256", Extensions: []string{"2.5.29.17 dns:phone.example.com"},
			Notes: []string{"dns:other is left out: the server says which alternative names the certificate has"},
		}},
		{"an otherName that the server sets", p256, est.CSRWish{
			Subject: rdn(t, device), Extensions: []pkix.Extension{{Id: macAddress, Value: []byte{5, 0}}},
		}, "rfc9908-s5.1-csrattrs", requestMeaning{
			Subject: "CN=device 1", Signed: "ECDSA-SHA256", Extensions: []string{"2.5.29.17 critical other", macAddress.String() + " 0500"},
		}},
		{"a template", p256, full, "template-and-legacy", requestMeaning{
			Subject: "CN=device 1,OU=myDept+OU=myGroup", Signed: "ECDSA-SHA256",
			Extensions: []string{"2.5.29.17 dns:www.myServer.com ip:192.0.2.1 ip:2001:db8::1", "2.5.29.15 critical 03020388"},
			Notes: []string{
				"O of the wished subject is left out: the server's template has no place for it",
				"dns:b.example is left out: the server says which alternative names the certificate has",
				"uri:urn:x is left out: the server says which alternative names the certificate has",
				"email:a@b.example is left out: the server says which alternative names the certificate has",
				"the server leaves the value of the extension 2.5.29.37 to the client, who has none: it is left out",
			},
		}},
		{"a template with a value of ours", p256, est.CSRWish{
			Subject: full.Subject, IPAddresses: full.IPAddresses[:1], Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: []byte{0x30, 0}}},
		}, "template", requestMeaning{
			Subject: "CN=device 1,OU=myDept+OU=myGroup", Signed: "ECDSA-SHA256",
			Extensions: []string{"2.5.29.17 dns:www.myServer.com ip:192.0.2.1", "2.5.29.15 critical 03020388", "2.5.29.37 3000"},
			Notes:      []string{"O of the wished subject is left out: the server's template has no place for it"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			der, notes, err := est.BuildCSR(tt.key, tt.wish, attrs(t, tt.attrs))
			if err != nil {
				t.Fatal(err)
			}
			csr, err := est.CSRPolicy{AllowEmptySubject: true}.CheckCSR(der)
			if err != nil {
				t.Fatal(err)
			}
			got := requestMeaning{Subject: csr.Subject.String(), Signed: csr.SignatureAlgorithm.String(), Notes: notes}
			for _, e := range csr.Extensions {
				got.Extensions = append(got.Extensions, extensionWords(csr, e))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// extensionWords says what an extension of a request holds.
func extensionWords(csr *x509.CertificateRequest, e pkix.Extension) string {
	words := []string{e.Id.String()}
	if e.Critical {
		words = append(words, "critical")
	}
	if !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
		return strings.Join(append(words, hex.EncodeToString(e.Value)), " ")
	}
	n := len(words)
	for _, name := range csr.DNSNames {
		words = append(words, "dns:"+name)
	}
	for _, ip := range csr.IPAddresses {
		words = append(words, "ip:"+ip.String())
	}
	for _, u := range csr.URIs {
		words = append(words, "uri:"+u.String())
	}
	for _, m := range csr.EmailAddresses {
		words = append(words, "email:"+m)
	}
	if len(words) == n {
		words = append(words, "other")
	}
	return strings.Join(words, " ")
}

func TestBuildCSRDemands(t *testing.T) {
	t.Parallel()
	p256, err := est.KeySpec{Algorithm: "ec"}.Generate()
	if err != nil {
		t.Fatal(err)
	}
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cn := rdn(t, pkix.Name{CommonName: "x"})
	for _, tt := range []struct {
		name  string
		key   crypto.Signer
		wish  est.CSRWish
		attrs string
		want  string
	}{
		{"another length", rsa2048, est.CSRWish{}, "rsa3072", "wants a key of kind rsa:3072, and this one is rsa:2048"},
		{"another algorithm", rsa2048, est.CSRWish{}, "template-and-legacy", "wants a key of kind p-256"},
		{"a curve that is not known", p256, est.CSRWish{}, "rfc7030-a2-csrattrs", "1.3.36.3.3.2.8.1.1.11, and this one is p-256"},
		{"another signature", ed, est.CSRWish{}, "oids", "signed with ECDSA-SHA256, which no ed25519 key does"},
		{"no common name", p256, est.CSRWish{IPAddresses: []net.IP{net.IPv4(1, 1, 1, 1)}}, "template", "leaves CN of the subject to the client"},
		{"no address", p256, est.CSRWish{Subject: cn}, "template", "alternative name (ip)"},
		{"link and challenge", p256, est.CSRWish{Link: "AAAA", Challenge: "x"}, "", "no room for another"},
		{"long challenge", p256, est.CSRWish{Challenge: strings.Repeat("x", 256)}, "", "too long"},
		{"name outside ASCII", p256, est.CSRWish{DNSNames: []string{"bücher.example"}}, "", "outside ASCII"},
		{"name of nothing", p256, est.CSRWish{EmailAddresses: []string{""}}, "", "empty"},
		{"bad address", p256, est.CSRWish{IPAddresses: []net.IP{{1, 2, 3}}}, "", "neither 4 nor 16"},
		{"bad subject", p256, est.CSRWish{Subject: []byte{1}}, "template", "no DER Name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := est.BuildCSR(tt.key, tt.wish, attrs(t, tt.attrs)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			} else if e, ok := errors.AsType[*est.CSRDemandError](err); ok && (e.Code() != est.CodeCSRAttrsDemand || e.Remedy() == "") {
				t.Errorf("code %q, remedy %q", e.Code(), e.Remedy())
			}
		})
	}
}

// TestBuildCSRLink: the link stands where the server looks for it.
func TestBuildCSRLink(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	const (
		challengePasswordDER = "06092a864886f70d010907"
		identityLinkingDER   = "060b2a864886f70d010910023a"
	)
	for _, tt := range []struct {
		name  string
		wish  est.CSRWish
		attrs string
		has   []string
		lacks []string
	}{
		{"challengePassword", est.CSRWish{Link: "+rrCir/7+EYu50T4"}, "", []string{challengePasswordDER + "31121310" + hex.EncodeToString([]byte("+rrCir/7+EYu50T4"))}, []string{identityLinkingDER}},
		{"estIdentityLinking", est.CSRWish{Link: "AAAA"}, "link-both", []string{identityLinkingDER + "31061304" + "41414141"}, []string{challengePasswordDER}},
		{
			"beside a challenge of the CA's",
			est.CSRWish{Link: "AAAA", Challenge: "häh", OTP: "1", Revocation: "2"},
			"link-both",
			[]string{identityLinkingDER, challengePasswordDER + "31060c0468c3a468", "060b2a864886f70d0109100238310313" + "0131", "060b2a864886f70d0109100239310313" + "0132"},
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.wish.Subject = rdn(t, pkix.Name{CommonName: "x"})
			tt.wish.DNSNames = []string{"x"}
			der, _, err := est.BuildCSR(key, tt.wish, attrs(t, tt.attrs))
			if err != nil {
				t.Fatal(err)
			}
			csr, err := x509.ParseCertificateRequest(der)
			if err != nil || csr.CheckSignature() != nil || len(csr.DNSNames) != 1 {
				t.Fatalf("%x: %v", der, err)
			}
			for _, want := range tt.has {
				if !strings.Contains(hex.EncodeToString(der), want) {
					t.Errorf("%x lacks %s", der, want)
				}
			}
			for _, not := range tt.lacks {
				if strings.Contains(hex.EncodeToString(der), not) {
					t.Errorf("%x has %s", der, not)
				}
			}
		})
	}
}

// TestBuildCSRRenew: a renewal has the names of its certificate, whatever is said.
func TestBuildCSRRenew(t *testing.T) {
	t.Parallel()
	ca := newTestCA(t)
	cert := makeCert(t, &x509.Certificate{Subject: pkix.Name{CommonName: "old"}, DNSNames: []string{"old.example"}}, ca.issuing, newKey(t).Public(), ca.key)
	der, notes, err := est.BuildCSR(newKey(t), est.CSRWish{Subject: rdn(t, pkix.Name{CommonName: "new"}), DNSNames: []string{"new.example"}, Renew: cert}, attrs(t, "template"))
	if err != nil {
		t.Fatal(err)
	}
	csr, err := est.CSRPolicy{}.CheckCSR(der)
	if err != nil {
		t.Fatal(err)
	}
	if subject, alternative := est.SameNames(csr, cert); !subject || !alternative {
		t.Errorf("names %s %q", csr.Subject, csr.DNSNames)
	}
	if !slices.ContainsFunc(csr.Extensions, func(e pkix.Extension) bool { return e.Id.String() == "2.5.29.15" && e.Critical }) {
		t.Errorf("extensions %v, notes %q", csr.Extensions, notes)
	}
}

// TestBuildCSREncryption: the request names the key that a made key is to be encrypted for.
func TestBuildCSREncryption(t *testing.T) {
	t.Parallel()
	ca := newTestCA(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	to := makeCert(t, &x509.Certificate{Subject: pkix.Name{CommonName: "to"}}, ca.issuing, key.Public(), ca.key)
	der, _, err := est.BuildCSR(newKey(t), est.CSRWish{Subject: to.RawSubject, EncryptTo: to}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (est.CSRPolicy{}).CheckCSR(der); err != nil {
		t.Fatal(err)
	}
	id, err := cmc.KeyID(to)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"060b2a864886f70d0109100236" + "31160414" + hex.EncodeToString(id), "06092a864886f70d01090f"} {
		if !strings.Contains(hex.EncodeToString(der), want) {
			t.Errorf("%x lacks %s", der, want)
		}
	}
}

func TestChooseKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ attrs, wish, want string }{
		{"", "", "p-256"},
		{"", "rsa", "rsa:2048"},
		{"oids", "", "ec"},
		{"rsa3072", "", "rsa:3072"},
		{"rsa3072", "rsa:3072", "rsa:3072"},
		{"rsa3072", "p-256", ""},
		{"key-any-size", "", "rsa"},
		{"key-any-size", "rsa:4096", "rsa:4096"},
		{"template-and-legacy", "", "p-256"},
		{"template-rsa3072", "", "rsa:3072"},
		{"rfc7030-a2-csrattrs", "", ""},
	} {
		var wish est.KeySpec
		if tt.wish != "" {
			var err error
			if wish, err = est.ParseKeySpec(tt.wish); err != nil {
				t.Fatal(err)
			}
		}
		got, err := attrs(t, tt.attrs).ChooseKey(wish)
		if got.String() != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s with %q: %q, %v, want %q", tt.attrs, tt.wish, got, err, tt.want)
		}
	}
}

// TestBuildCSRLongChallenge: the bound of a challenge counts characters, for who writes it and for who reads it.
func TestBuildCSRLongChallenge(t *testing.T) {
	t.Parallel()
	wish := est.CSRWish{Subject: rdn(t, pkix.Name{CommonName: "x"}), Challenge: strings.Repeat("é", 255)}
	der, _, err := est.BuildCSR(newKey(t), wish, attrs(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (est.CSRPolicy{}).CheckCSR(der); err != nil {
		t.Error(err)
	}
}
