package ra_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"io"
	"net/http"
	"testing"

	"callsign/cmc"
	"callsign/internal/ca/local"
	"callsign/internal/ra"
)

// post sends a PKCS#10 with a client certificate.
func (w *world) post(op string, as *local.Leaf, csr []byte) (int, []byte) {
	w.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(w.root.Certificate)
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: pool, MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: as.Presented(), PrivateKey: as.Signer}},
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url+"/.well-known/est/"+op, bytes.NewBufferString(base64.StdEncoding.EncodeToString(csr)))
	check(w.t, err)
	req.Header.Set("Content-Type", "application/pkcs10")
	resp, err := (&http.Client{Transport: transport}).Do(req)
	check(w.t, err)
	body, err := io.ReadAll(resp.Body)
	check(w.t, err)
	check(w.t, resp.Body.Close())
	return resp.StatusCode, body
}

// TestRenewalOverTLS: enrolled with a maker's certificate, then renewed with the certificate itself, with the same key and with another one.
func TestRenewalOverTLS(t *testing.T) {
	t.Parallel()
	maker := newCA(t, "Maker")
	w := newWorld(t, func(c *ra.Config) {
		c.Labels[0].ClientCAs = []*x509.Certificate{maker.Certificate}
		c.Labels[0].ClientName = `SEP[0-9A-F]{12}`
		c.Labels[0].Rules = ra.Rules{SubjectIsName: true}
	}).ready()
	mic, err := maker.NewLeaf(t.Context(), local.LeafOptions{Purpose: local.TLSClient, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "CP-8865-SEP001122334455"}}})
	check(t, err)
	key := newKey(t)
	issued := func(status int, body []byte) *x509.Certificate {
		t.Helper()
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		der, err := base64.StdEncoding.DecodeString(string(bytes.Map(func(r rune) rune {
			if r == '\r' || r == '\n' {
				return -1
			}
			return r
		}, body)))
		check(t, err)
		certs, err := cmc.ParseCertsOnly(der)
		check(t, err)
		return certs[0]
	}
	status, body := w.post("simpleenroll", mic, newCSR(t, key, "SEP001122334455"))
	first := issued(status, body)
	status, body = w.post("simpleenroll", mic, newCSR(t, newKey(t), "SEP000000000000"))
	if status != http.StatusForbidden {
		t.Errorf("another's name: %d %s", status, body)
	}
	mustContain(t, string(body), `must be "SEP001122334455"`)
	status, body = w.post("simplereenroll", mic, newCSR(t, newKey(t), "CP-8865-SEP001122334455"))
	if status != http.StatusForbidden {
		t.Errorf("a renewal of the maker's certificate: %d %s", status, body)
	}
	mustContain(t, string(body), "CN=Maker", "simpleenroll")

	lsc := &local.Leaf{Certificate: first, Signer: key}
	renewed := issued(w.post("simplereenroll", lsc, newCSR(t, key, "SEP001122334455")))
	next := newKey(t)
	rekeyed := issued(w.post("simplereenroll", lsc, newCSR(t, next, "SEP001122334455")))
	if renewed.SerialNumber.Cmp(first.SerialNumber) == 0 || bytes.Equal(rekeyed.RawSubjectPublicKeyInfo, first.RawSubjectPublicKeyInfo) {
		t.Error("the old certificate again")
	}
	rows, err := w.engine.ByOwner(t.Context(), "est:/cert:"+hashOf(w.sub.Certificate)+"/SEP001122334455")
	check(t, err)
	if len(rows) != 2 {
		t.Errorf("%d renewals on record", len(rows))
	}
}
