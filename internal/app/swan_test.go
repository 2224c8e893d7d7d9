package app_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"callsign/internal/app"
	"callsign/internal/certfile"
	"callsign/internal/enroll"
)

// swanRuns is how often each of strongSwan's operations must succeed in a row: an answer that is sometimes split over two
// TLS records fails about a quarter of the time.
const swanRuns = 40

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

// swan is strongSwan's pki at a product.
type swan struct {
	*product
	pki, dir, url, login string
	anchors              []string // its arguments
}

func newSwan(t *testing.T, sections string) *swan {
	t.Helper()
	pki := needProgram(t, "pki", "strongswan-pki")
	p := labelled(t, sections)
	e := p.a.Endpoints()
	password, err := os.ReadFile(filepath.Join(p.c.Dir, e.ESTPasswordFile))
	if err != nil {
		t.Fatal(err)
	}
	s := &swan{
		product: p, pki: pki, dir: t.TempDir(), url: strings.TrimSuffix(e.EST, "/.well-known/est"),
		login: e.ESTUser + ":" + strings.TrimSpace(string(password)),
	}
	for i, name := range []string{e.ESTCAFile, e.CAFile} {
		certs, err := certfile.LoadCertificates(filepath.Join(p.c.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for j, c := range certs { // it reads one of each file
			s.anchors = append(s.anchors, "--cacert", s.write("anchor"+strconv.Itoa(i)+"-"+strconv.Itoa(j)+".pem", certfile.EncodeCertificates(c)))
		}
	}
	return s
}

func (s *swan) write(name string, b []byte) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// run calls pki and returns its standard output.
func (s *swan) run(stdin []byte, args ...string) ([]byte, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.pki, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, errors.Join(err, errors.New(stderr.String()))
	}
	return stdout.Bytes(), nil
}

func (s *swan) must(stdin []byte, args ...string) []byte {
	s.t.Helper()
	out, err := s.run(stdin, args...)
	if err != nil {
		s.t.Fatalf("pki %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// key makes a key and returns its file.
func (s *swan) key(name string) string {
	s.t.Helper()
	return s.write(name+".key", s.must(nil, "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem"))
}

// enrol asks for a certificate; prefix goes before the well-known path.
func (s *swan) enrol(prefix, key, name string, more ...string) *x509.Certificate {
	s.t.Helper()
	csr := s.must(nil, "--req", "--in", key, "--type", "ecdsa", "--dn", "CN="+name)
	args := append([]string{"--est", "--url", s.url + prefix, "--outform", "pem"}, s.anchors...)
	out := s.must(csr, append(args, more...)...)
	block, _ := pem.Decode(out)
	if block == nil {
		s.t.Fatalf("no certificate in %q", out)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		s.t.Fatal(err)
	}
	if c.Subject.CommonName != name {
		s.t.Errorf("certificate of %s, want %s", c.Subject, name)
	}
	return c
}

// TestStrongSwanAtTheProduct: enrolment, renewal with the certificate, and CA certificates, again and again; every other
// time under a label, whose name strongSwan puts before the well-known path.
func TestStrongSwanAtTheProduct(t *testing.T) {
	t.Parallel()
	s := newSwan(t, "[label.gateways]\nvalidity_days = 30\n")
	key, next := s.key("gateway"), s.key("next")
	serials := map[string]bool{}
	for i := range swanRuns {
		prefix, name := "", "gw"+strconv.Itoa(i)
		if i%2 == 1 {
			prefix = "/gateways"
		}
		first := s.enrol(prefix, key, name, "--userpass", s.login)
		if short := time.Until(first.NotAfter) < 31*24*time.Hour; short != (prefix != "") {
			t.Fatalf("run %d: valid until %v, prefix %q", i, first.NotAfter, prefix)
		}
		// No password: the certificate that is to be renewed authenticates. The new one is for another key.
		file := s.write(name+".pem", certfile.EncodeCertificates(first))
		second := s.enrol(prefix, next, name, "--cert", file, "--key", key)
		serials[first.SerialNumber.String()], serials[second.SerialNumber.String()] = true, true
		s.must(nil, append([]string{"--estca", "--url", s.url + prefix, "--caout", filepath.Join(s.dir, "ca.pem"), "--outform", "pem", "--force"}, s.anchors...)...)
	}
	if len(serials) != 2*swanRuns {
		t.Errorf("%d different certificates, want %d", len(serials), 2*swanRuns)
	}
	// Not for other names, whatever the certificate is.
	csr := s.must(nil, "--req", "--in", next, "--type", "ecdsa", "--dn", "CN=gw1")
	args := append([]string{"--est", "--url", s.url, "--cert", filepath.Join(s.dir, "gw0.pem"), "--key", key}, s.anchors...)
	if out, err := s.run(csr, args...); err == nil {
		t.Errorf("renewed for another name: %d bytes", len(out))
	}
}

// TestStrongSwanWaitsForApproval: strongSwan comes back for a request that an administrator has yet to approve, and gets
// its certificate after that. Without --interval it would come back after a minute at the earliest.
func TestStrongSwanWaitsForApproval(t *testing.T) {
	t.Parallel()
	s := newSwan(t, "[ra]\napproval = true\npending_retry_after = \"1s\"\n")
	key := s.key("patient")
	approved := make(chan time.Time, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() {
		defer close(approved)
		for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
			if s.approveOne(ctx) {
				approved <- time.Now()
				return
			}
		}
	}()
	s.enrol("", key, "patient", "--userpass", s.login, "--interval", "1", "--maxpolltime", "20")
	got := time.Now()
	at, ok := <-approved
	if !ok || got.Before(at) {
		t.Errorf("certificate at %v, approval at %v (%v)", got, at, ok)
	}
	if d := got.Sub(at); d > 10*time.Second {
		t.Errorf("the certificate came %v after the approval", d)
	}
}

// approveOne approves what is held, as callsign ra request approve does beside the server; false when nothing is.
func (p *product) approveOne(ctx context.Context) bool {
	r, err := app.OpenRecords(ctx, p.c)
	if err != nil {
		return false
	}
	defer r.Close()
	rows, _, err := r.Journal.Find(ctx, enroll.Filter{States: []enroll.State{enroll.Held}})
	if err != nil || len(rows) != 1 {
		return false
	}
	_, err = (&enroll.Engine{Journal: r.Journal}).Approve(ctx, rows[0].ID, enroll.Decision{By: "admin"})
	return err == nil
}

// TestStrongSwanForgetsItsLabel holds what docs/est/strongswan.md warns of: told to come back, strongSwan repeats the
// request without the path that it was given, so that the profile without a label decides on it.
func TestStrongSwanForgetsItsLabel(t *testing.T) {
	t.Parallel()
	s := newSwan(t, "[ra]\npending_retry_after = \"1s\"\n[label.gateways]\napproval = true\nvalidity_days = 30\n")
	c := s.enrol("/gateways", s.key("gw"), "gw", "--userpass", s.login, "--interval", "1", "--maxpolltime", "20")
	if time.Until(c.NotAfter) < 31*24*time.Hour {
		t.Errorf("valid until %v: strongSwan remembers its label now; say so in docs/est/strongswan.md", c.NotAfter)
	}
	s.command(func(r *app.Records) {
		rows, _, err := r.Journal.Find(t.Context(), enroll.Filter{States: []enroll.State{enroll.Held}})
		if err != nil || len(rows) != 1 {
			t.Errorf("%d requests held, %v; want that of the label", len(rows), err)
		}
	})
}
