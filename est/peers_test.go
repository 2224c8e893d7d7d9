package est_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"callsign/est"
)

// needProgram returns the path of a program that a test talks to. Without it the test is skipped, and fails under CI.
func needProgram(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed (Debian package %s)", name, pkg)
	}
	t.Skipf("%s is not installed (Debian package %s)", name, pkg)
	return ""
}

// run starts a program and returns its standard output.
func run(t *testing.T, stdin []byte, name string, args ...string) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		t.Logf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, stderr.String())
	}
	return stdout.Bytes(), err
}

func mustRun(t *testing.T, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	out, err := run(t, stdin, name, args...)
	if err != nil {
		t.FailNow()
	}
	return out
}

// opensslVerify lets openssl judge a certificate for TLS client use.
func opensslVerify(t *testing.T, ca *testCA, cert *x509.Certificate) {
	t.Helper()
	openssl := needProgram(t, "openssl", "openssl")
	dir := t.TempDir()
	root, issuing := ca.writePEM(t, dir)
	leaf := filepath.Join(dir, "leaf.pem")
	if err := os.WriteFile(leaf, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, nil, openssl, "verify", "-purpose", "sslclient", "-CAfile", root, "-untrusted", issuing, leaf)
}

// strongSwanRuns is how often each of strongSwan's operations must succeed in a row: a body that is sometimes split over
// two TLS records fails about a quarter of the time.
const strongSwanRuns = 40

func TestStrongSwanEnrolls(t *testing.T) {
	t.Parallel()
	pki := needProgram(t, "pki", "strongswan-pki")
	a := newAuthority(t)
	url := serve(t, &est.Handler{Backend: a}, a.ca.server)
	dir := t.TempDir()
	root, issuing := a.ca.writePEM(t, dir)
	for i := range strongSwanRuns {
		csr, key := newCSR(t, "swan"+strconv.Itoa(i))
		base := url
		if i%4 == 3 {
			base += "/phones" // strongSwan puts a path before the well-known one
		}
		der := mustRun(t, csr, pki, "--est", "--url", base, "--cacert", root, "--cacert", issuing, "--userpass", "estuser:estpwd")
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatalf("run %d: %v", i, err)
		}
		if !key.PublicKey.Equal(cert.PublicKey) {
			t.Fatalf("run %d: certificate for another key", i)
		}
		if want := map[bool]string{true: "phones"}[i%4 == 3]; a.requests()[i].Label != want {
			t.Fatalf("run %d: label %q, want %q", i, a.requests()[i].Label, want)
		}
		if i == 0 {
			opensslVerify(t, a.ca, cert)
		}
	}
}

func TestStrongSwanFetchesCACerts(t *testing.T) {
	t.Parallel()
	pki := needProgram(t, "pki", "strongswan-pki")
	for _, tt := range []struct {
		name  string
		chain func(*testing.T, *testCA) []*x509.Certificate
	}{
		{"two certificates", func(_ *testing.T, ca *testCA) []*x509.Certificate { return []*x509.Certificate{ca.issuing, ca.root} }},
		{"over net/http's buffers", func(t *testing.T, ca *testCA) []*x509.Certificate {
			chain := []*x509.Certificate{ca.issuing, ca.root}
			for range 14 { // about 7 KB of base64, more than net/http writes at once
				c := newTestCA(t)
				chain = append(chain, c.root)
			}
			return chain
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			a.chain = tt.chain(t, a.ca)
			url := serve(t, &est.Handler{Backend: a}, a.ca.server)
			dir := t.TempDir()
			root, issuing := a.ca.writePEM(t, dir)
			for i := range strongSwanRuns / 2 {
				out := filepath.Join(dir, "out.pem")
				mustRun(t, nil, pki, "--estca", "--url", url, "--cacert", root, "--cacert", issuing, "--caout", out, "--outform", "pem", "--force")
				if i > 0 {
					continue
				}
				files, err := filepath.Glob(filepath.Join(dir, "out*.pem"))
				if err != nil || len(files) < 1 {
					t.Fatalf("strongSwan wrote %v, %v", files, err)
				}
			}
		})
	}
}

// TestStrongSwanPolls: a 202 with a readable body makes strongSwan come back for its certificate, not before Retry-After.
// It waits for the longer of Retry-After and its own --interval, 60 s by default.
func TestStrongSwanPolls(t *testing.T) {
	t.Parallel()
	pki := needProgram(t, "pki", "strongswan-pki")
	a := newAuthority(t)
	a.enroll = func(_ context.Context, r est.EnrollRequest) (est.EnrollResult, error) {
		if len(a.requests()) == 1 {
			return est.EnrollResult{RetryAfter: 2 * time.Second, Text: "Request 4711 waits for an officer."}, nil
		}
		cert, err := a.issue(r)
		return est.EnrollResult{Certificate: cert}, err
	}
	url := serve(t, &est.Handler{Backend: a}, a.ca.server)
	root, issuing := a.ca.writePEM(t, t.TempDir())
	csr, key := newCSR(t, "patient")
	start := time.Now()
	der := mustRun(t, csr, pki, "--est", "--url", url, "--cacert", root, "--cacert", issuing, "--userpass", "estuser:estpwd", "--interval", "1")
	cert, err := x509.ParseCertificate(der)
	if err != nil || !key.PublicKey.Equal(cert.PublicKey) {
		t.Fatalf("certificate %v, %v", cert, err)
	}
	if n, d := len(a.requests()), time.Since(start); n != 2 || d < 2*time.Second {
		t.Errorf("%d requests in %v, want 2 with 2 s between", n, d)
	}
}

// TestStrongSwanIsRefused: a refusal ends strongSwan with an error and not with a certificate.
func TestStrongSwanIsRefused(t *testing.T) {
	t.Parallel()
	pki := needProgram(t, "pki", "strongswan-pki")
	a := newAuthority(t)
	url := serve(t, &est.Handler{Backend: a}, a.ca.server)
	root, issuing := a.ca.writePEM(t, t.TempDir())
	csr, _ := newCSR(t, "intruder")
	if out, err := run(t, csr, pki, "--est", "--url", url, "--cacert", root, "--cacert", issuing, "--userpass", "estuser:guess"); err == nil {
		t.Errorf("strongSwan got %d bytes with a wrong password", len(out))
	}
	if n := len(a.requests()); n != 0 {
		t.Errorf("%d requests reached the authority", n)
	}
}
