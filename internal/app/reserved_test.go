package app_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"callsign/est"
	"callsign/internal/certfile"
	"callsign/internal/config"
)

// estClient is the user of EST that init makes.
func (p *product) estClient() *est.Client {
	p.t.Helper()
	roots, err := certfile.LoadPool(p.c.EST.LabCAFile)
	if err != nil {
		p.t.Fatal(err)
	}
	password, err := os.ReadFile(p.c.EST.LabPasswordFile)
	if err != nil {
		p.t.Fatal(err)
	}
	return &est.Client{
		URL: p.a.Endpoints().EST, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, User: p.c.EST.LabUser,
		Password: est.Password(strings.TrimSpace(string(password))),
	}
}

// TestOwnNamesAreReserved: a user of the EST listener gets no certificate for the listeners' names.
func TestOwnNamesAreReserved(t *testing.T) {
	t.Parallel()
	p := newProduct(t, config.IssuerLocal, nil)
	p.start()
	client := p.estClient()
	defer client.Close()
	capfCerts, err := certfile.LoadCertificates(p.c.CAPF.CertificateFile)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, request := range map[string]x509.CertificateRequest{
		"EST name":    {Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"LocalHost"}},
		"EST address": {Subject: pkix.Name{CommonName: "x"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}},
		"CAPF name":   {Subject: pkix.Name{CommonName: capfCerts[0].Subject.CommonName}},
		"":            {Subject: pkix.Name{CommonName: "printer.example.com"}, DNSNames: []string{"printer.example.com"}},
	} {
		csr, err := x509.CreateCertificateRequest(rand.Reader, &request, key)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.SimpleEnroll(t.Context(), csr)
		if name == "" {
			if err != nil {
				t.Errorf("another name: %v", err)
			}
			continue
		}
		var refused *est.ClientError
		if !errors.As(err, &refused) || refused.Status != 403 {
			t.Errorf("%s: %v, want 403", name, err)
		}
	}
}
