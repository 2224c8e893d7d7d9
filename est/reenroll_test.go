package est_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"

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
