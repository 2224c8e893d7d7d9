package app_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"callsign/est"
	"callsign/internal/certfile"
)

// TestRevokedClient: a certificate in a CRL is refused as soon as the file says so, and again taken when it does no more.
func TestRevokedClient(t *testing.T) {
	t.Parallel()
	p := labelled(t, "[est]\nclient_ca_file = \"ca.pem\"\n")
	csr, key := newRequest(t, "device-1")
	cert, err := p.client().SimpleEnroll(t.Context(), csr)
	if err != nil {
		t.Fatal(err)
	}
	p.stop()
	issuing, err := certfile.LoadKeyPair(p.c.CA.CertificateFile, p.c.CA.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(p.c.Dir, "clients.crl")
	write := func(number int64, revoked ...*x509.Certificate) {
		t.Helper()
		list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
		for _, c := range revoked {
			list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
		}
		der, err := x509.CreateRevocationList(rand.Reader, list, issuing.Leaf(), issuing.Key)
		if err != nil {
			t.Fatal(err)
		}
		if err := certfile.WriteFile(file, der, 0o644); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(number) * time.Second) // another time whatever the file system's clock is
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write(1)
	p.c.EST.CRLFiles = []string{file}
	p.start()
	enrol := func() int {
		t.Helper()
		lab := p.client()
		config := lab.TLS.Clone()
		config.Certificates = []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
		c := &est.Client{URL: lab.URL, TLS: config}
		defer c.Close()
		_, err := c.SimpleEnroll(t.Context(), csr)
		if fault, ok := errors.AsType[*est.ClientError](err); ok {
			return fault.Status
		}
		if err != nil {
			t.Fatal(err)
		}
		return http.StatusOK
	}
	for i, step := range []struct {
		revoked []*x509.Certificate
		want    int
	}{{nil, http.StatusOK}, {[]*x509.Certificate{cert}, http.StatusForbidden}, {nil, http.StatusOK}} {
		write(int64(i+2), step.revoked...)
		if got := enrol(); got != step.want {
			t.Errorf("step %d: status %d, want %d", i, got, step.want)
		}
	}
	// A file that is broken leaves what was known in force.
	write(9, cert)
	if got := enrol(); got != http.StatusForbidden {
		t.Fatalf("status %d", got)
	}
	if err := os.WriteFile(file, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := enrol(); got != http.StatusForbidden {
		t.Errorf("after the file broke: status %d", got)
	}
}
