package app_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/certsrv/certsrvtest"
	"callsign/internal/app"
	"callsign/internal/ca/local"
	"callsign/internal/certfile"
	"callsign/internal/config"
)

// renewable is a root CA that issues, and that can be renewed with a new key.
type renewable struct {
	mu    sync.Mutex
	roots []*signed // the newest last
}

// Issue implements certsrvtest.CA.
func (r *renewable) Issue(_ context.Context, i certsrvtest.Issuance) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	issuer := r.roots[len(r.roots)-1]
	key, err := x509.ParsePKIXPublicKey(i.PublicKey)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, RawSubject: i.RawSubject, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().AddDate(0, 1, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, issuer.cert, key, issuer.key)
}

// Certificates implements certsrvtest.CA.
func (r *renewable) Certificates() [][]*x509.Certificate {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all [][]*x509.Certificate
	for _, root := range r.roots {
		all = append(all, []*x509.Certificate{root.cert})
	}
	return all
}

func (r *renewable) renew(root *signed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.roots = append(r.roots, root)
}

// TestRenewedCA: after the enterprise CA has got a new key, a client that knows the old root alone learns the new one through
// NewWithOld and in no other way, and a client that knows the new one alone goes on trusting old certificates through OldWithNew.
func TestRenewedCA(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is not installed (Debian package openssl)")
		}
		t.Skip("openssl is not installed (Debian package openssl)")
	}
	name := authority("Enterprise Root")
	name.NotAfter = time.Now().AddDate(1, 0, 0)
	oldRoot := sign(t, nil, name)
	later := name
	later.NotBefore, later.NotAfter = time.Now().Add(-time.Minute), time.Now().AddDate(5, 0, 0)
	newRoot := sign(t, nil, later)
	ca := &renewable{roots: []*signed{oldRoot}}

	iis := sign(t, nil, webServer(peerHost))
	c := raOf(t, "", iis)
	password, err := os.ReadFile(c.ADCS.PasswordFile)
	if err != nil {
		t.Fatal(err)
	}
	c.ADCS.ConnectTo = enrollmentPages(t, ca, iis, strings.TrimSpace(string(password)))
	c.RA.CompatSequence = false
	c.EST.LabCAFile = filepath.Join(c.Dir, "est-ca.pem") // ca.pem is where the server writes the CA's chain
	if lab, err := certfile.LoadCertificates(filepath.Join(c.Dir, app.CAFile)); err != nil {
		t.Fatal(err)
	} else if err := certfile.WriteCertificates(c.EST.LabCAFile, lab...); err != nil {
		t.Fatal(err)
	}

	p := &product{t: t, c: c}
	a, err := app.Start(t.Context(), app.Options{Config: c, Load: func() (*config.Config, error) {
		next := *c
		next.RA.RolloverFiles = []string{filepath.Join(c.Dir, "cross.pem")}
		return &next, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	p.a = a
	t.Cleanup(func() { p.stop() })
	enrol := func(name string) *x509.Certificate {
		t.Helper()
		csr, _ := newRequest(t, name)
		cert, err := p.client().SimpleEnroll(t.Context(), csr)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	oldLeaf := enrol("device-old")

	ca.renew(newRoot)
	oldWithNew, newWithOld, err := local.Rollover(oldRoot.cert, oldRoot.key, newRoot.cert, newRoot.key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := certfile.WriteCertificates(filepath.Join(c.Dir, "cross.pem"), oldWithNew, newWithOld); err != nil { // as AD CS leaves them in CertEnroll
		t.Fatal(err)
	}
	if _, err := a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	newLeaf := enrol("device-new")
	want := []string{serial(newRoot.cert), serial(oldWithNew), serial(newWithOld), serial(oldRoot.cert)}
	var received []*x509.Certificate
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) { // the RA asks the CA again after the reload
		if received, err = p.client().CACerts(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(received) == len(want) || time.Now().After(deadline) {
			break
		}
	}
	var got []string
	for _, c := range received {
		got = append(got, serial(c))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("cacerts (-want +got): %s", diff)
	}

	dir := t.TempDir()
	file := func(name string, certs ...*x509.Certificate) string {
		path := filepath.Join(dir, name)
		if err := certfile.WriteCertificates(path, certs...); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// OpenSSL does not go back from a self-signed certificate that it does not trust, so it gets those alone that are not.
	verifies := func(anchor, leaf *x509.Certificate, with []*x509.Certificate) bool {
		with = slices.DeleteFunc(slices.Clone(with), func(c *x509.Certificate) bool { return c.CheckSignatureFrom(c) == nil })
		args := []string{"verify", "-CAfile", file("anchor.pem", anchor)}
		if len(with) > 0 {
			args = append(args, "-untrusted", file("with.pem", with...))
		}
		return exec.CommandContext(t.Context(), openssl, append(args, file("leaf.pem", leaf))...).Run() == nil
	}
	without := func(left *x509.Certificate) (rest []*x509.Certificate) {
		for _, c := range received {
			if !c.Equal(left) {
				rest = append(rest, c)
			}
		}
		return rest
	}
	for _, tt := range []struct {
		name         string
		anchor, leaf *x509.Certificate
		with         []*x509.Certificate
		want         bool
	}{
		{"old client, new certificate", oldRoot.cert, newLeaf, received, true},
		{"old client, new certificate, without NewWithOld", oldRoot.cert, newLeaf, without(newWithOld), false},
		{"old client, old certificate", oldRoot.cert, oldLeaf, nil, true},
		{"new client, old certificate", newRoot.cert, oldLeaf, received, true},
		{"new client, old certificate, without OldWithNew", newRoot.cert, oldLeaf, without(oldWithNew), false},
		{"new client, new certificate", newRoot.cert, newLeaf, nil, true},
	} {
		if got := verifies(tt.anchor, tt.leaf, tt.with); got != tt.want {
			t.Errorf("%s: openssl verifies %v", tt.name, got)
		}
		roots, above := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(tt.anchor)
		for _, c := range tt.with {
			above.AddCert(c)
		}
		_, err := tt.leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: above, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if (err == nil) != tt.want {
			t.Errorf("%s: crypto/x509: %v", tt.name, err)
		}
	}
}

func serial(c *x509.Certificate) string { return c.SerialNumber.Text(16) }
