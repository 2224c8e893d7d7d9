package est_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"callsign/est"
)

// renewer is an HTTP client with a client certificate.
func renewer(t *testing.T, ca *testCA, cert tls.Certificate) *http.Client {
	t.Helper()
	config := clientTLS(ca)
	config.Certificates = []tls.Certificate{cert}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// TestRenewalFixtures posts every request of testdata/reenroll as the holder of current.pem.
func TestRenewalFixtures(t *testing.T) {
	t.Parallel()
	current, err := tls.LoadX509KeyPair("testdata/reenroll/current.pem", "testdata/reenroll/current.key")
	if err != nil {
		t.Fatal(err)
	}
	for _, allowed := range []bool{false, true} {
		a := newAuthority(t)
		a.anyone = true
		a.profile.ChangeSubject = allowed
		url := serve(t, &est.Handler{Backend: a}, a.ca.server) + "/.well-known/est/simplereenroll"
		client := renewer(t, a.ca, current)
		for _, f := range fixtures(t, "reenroll") {
			want := f.HTTP
			if f.Verdict == "policy" && !allowed {
				want = http.StatusForbidden
			}
			response, body := send(t, client, http.MethodPost, url, readFile(t, f.File), map[string]string{"Content-Type": pkcs10})
			if response.StatusCode != want {
				t.Errorf("%s: status %d, want %d (%s)\n%s", f.File, response.StatusCode, want, f.Note, body)
			}
		}
		for _, r := range a.requests() {
			if r.Operation != "simplereenroll" {
				t.Errorf("operation %q", r.Operation)
			}
		}
	}
}

// TestRenewalWithoutCertificate: a password alone renews nothing; a registrar renews for others.
func TestRenewalWithoutCertificate(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	url := serve(t, &est.Handler{Backend: a}, a.ca.server) + "/.well-known/est/simplereenroll"
	csr, _ := newCSR(t, "other")
	header := map[string]string{"Content-Type": pkcs10}
	response, body := send(t, httpClient(t, a.ca), http.MethodPost, url, wrap64(csr), header)
	if response.StatusCode != http.StatusForbidden || !strings.Contains(string(body), "connect with the certificate") {
		t.Errorf("with a password: status %d: %s", response.StatusCode, body)
	}
	b := newAuthority(t)
	b.anyone, b.relays = true, true
	b.profile.Link = est.LinkRequired
	url = serve(t, &est.Handler{Backend: b}, b.ca.server) + "/.well-known/est/simplereenroll"
	response, body = send(t, renewer(t, b.ca, b.ca.clientCert(t, "registrar")), http.MethodPost, url, wrap64(csr), header)
	if response.StatusCode != http.StatusOK {
		t.Errorf("a registrar: status %d: %s", response.StatusCode, body)
	}
}

// TestSameNames: the pairs that the fixtures do not have.
func TestSameNames(t *testing.T) {
	t.Parallel()
	ca := newTestCA(t)
	cert := ca.clientCert(t, "device").Leaf
	csr, err := x509.ParseCertificateRequest(func() []byte { der, _ := newCSR(t, "device"); return der }())
	if err != nil {
		t.Fatal(err)
	}
	subject, alternative := est.SameNames(csr, cert)
	if !subject || alternative {
		t.Errorf("subject %v, alternative names %v: the request has a DNS name and the certificate none", subject, alternative)
	}
}

// commonName is the DER of a name with one common name.
func commonName(t *testing.T, tag casn1.Tag, value string) []byte {
	t.Helper()
	return build(t, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) {
				b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{2, 5, 4, 3})
					b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(value)) })
				})
			})
		})
	})
}

// TestSameSubject: the type of a string makes no other name, and no two names are taken for one because of their types.
func TestSameSubject(t *testing.T) {
	t.Parallel()
	const bmp = casn1.Tag(30)
	for _, tt := range []struct {
		name string
		tagA casn1.Tag
		a    string
		tagB casn1.Tag
		b    string
		same bool
	}{
		{"PrintableString and UTF8String", casn1.PrintableString, "device", casn1.UTF8String, "device", true},
		{"BMPString and UTF8String", bmp, "\x00d\x00\xe9", casn1.UTF8String, "d\u00e9", true},
		{"T61String and UTF8String", casn1.T61String, "d\xe9", casn1.UTF8String, "d\u00e9", true},
		{"T61String of the octets of UTF-8", casn1.T61String, "\xc3\xa9", casn1.UTF8String, "\u00e9", false},
		{"IA5String of the octets of UTF-8", casn1.IA5String, "\xc3\xa9", casn1.UTF8String, "\u00e9", false},
		{"surrogates that differ", bmp, "\xd8\x00", bmp, "\xd8\x01", false},
		{"a surrogate and the sign for what is no text", bmp, "\xd8\x00", casn1.UTF8String, "\ufffd", false},
		{"octets that are no text", casn1.UTF8String, "\xff", casn1.UTF8String, "\xfe", false},
		{"a tag that is the letter of our own mark", casn1.Tag('s'), "device", casn1.UTF8String, "device", false},
		{"case", casn1.UTF8String, "device", casn1.UTF8String, "Device", false},
		{"a blank more", casn1.UTF8String, "device", casn1.UTF8String, "device ", false},
	} {
		csr := &x509.CertificateRequest{RawSubject: commonName(t, tt.tagA, tt.a)}
		cert := &x509.Certificate{RawSubject: commonName(t, tt.tagB, tt.b)}
		if same, _ := est.SameNames(csr, cert); same != tt.same {
			t.Errorf("%s: same is %t", tt.name, same)
		}
	}
}
