package cmc

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// TestOpenSSLVerifies lets another implementation verify what we write. Continuous integration has to have it.
func TestOpenSSLVerifies(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is needed for this test in continuous integration")
		}
		t.Skip("openssl is not installed")
	}
	for _, c := range []struct{ name, signer, csr string }{
		{"rsa", "capf-ra-rsa", "p10/nosig-rsa2048.der"},
		{"p256", "capf-ra-p256", "p10/nosig-p256.der"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := &Request{CSR: load(t, c.csr), Witnessed: true}
			msg, err := r.Sign(clock(), rand.Reader, loadKey(t, c.signer), []*x509.Certificate{loadCert(t, c.signer)})
			if err != nil {
				t.Fatal(err)
			}
			file, out := filepath.Join(t.TempDir(), "request.der"), filepath.Join(t.TempDir(), "content")
			if err := os.WriteFile(file, msg, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), openssl, "cms", "-verify", "-inform", "der", "-binary", "-in", file,
				"-CAfile", filepath.Join("testdata", "certs", "anchor-ra.pem"), "-purpose", "any",
				"-attime", strconv.FormatInt(clock().Unix(), 10), "-out", out)
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("openssl: %v\n%s", err, text)
			}
			got, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			m, err := Open(msg)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, m.EContent) {
				t.Error("openssl reads other content")
			}
		})
	}
}
