package demo

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"callsign/internal/config"
)

// peerRuns is how often each of strongSwan's operations must succeed: an answer that is sometimes split over two TLS
// records fails about a quarter of the time.
const peerRuns = 40

// script is what a script reads from endpoints.json.
type script struct {
	dir, ca, est, url, userpass string
}

func newScript(t *testing.T) script {
	t.Helper()
	d := startDemo(t, 1, config.IssuerOnlineCA)
	e := d.Endpoints
	return script{
		dir: t.TempDir(), ca: filepath.Join(d.Dir, e.ESTCAFile), est: e.EST, url: strings.TrimSuffix(e.EST, "/.well-known/est"),
		userpass: e.ESTUser + ":" + strings.TrimSpace(readFile(t, filepath.Join(d.Dir, e.ESTPasswordFile))),
	}
}

// anchors writes the certificates of ca.pem one a file, as strongSwan wants them.
func (s script) anchors(t *testing.T) []string {
	t.Helper()
	var args []string
	rest := []byte(readFile(t, s.ca))
	for i := 0; ; i++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return args
		}
		path := filepath.Join(s.dir, "anchor"+strconv.Itoa(i)+".pem")
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--cacert", path)
	}
}

func (s script) verify(t *testing.T, openssl, certificate string) {
	t.Helper()
	mustRun(t, nil, openssl, "verify", "-CAfile", s.ca, "-purpose", "sslclient", certificate)
}

// TestStrongSwan enrols with strongSwan at the RA of the demo, and fetches its CA certificates, again and again.
func TestStrongSwan(t *testing.T) {
	t.Parallel()
	pki, openssl := needProgram(t, "pki", "strongswan-pki"), needProgram(t, "openssl", "openssl")
	s := newScript(t)
	anchors := s.anchors(t)
	key := filepath.Join(s.dir, "key.pem")
	if err := os.WriteFile(key, mustRun(t, nil, pki, "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	together(t, &wg, "est", func(t *testing.T) {
		serials := map[string]bool{}
		for i := range peerRuns {
			name := "swan" + strconv.Itoa(i)
			csr := mustRun(t, nil, pki, "--req", "--in", key, "--type", "ecdsa", "--dn", "CN="+name)
			out := mustRun(t, csr, pki, append([]string{"--est", "--url", s.url, "--userpass", s.userpass, "--outform", "pem"}, anchors...)...)
			cert := parsePEM(t, out)
			serials[cert.SerialNumber.String()] = true
			if cert.Subject.CommonName != name {
				t.Fatalf("run %d: certificate of %s", i, cert.Subject)
			}
			path := filepath.Join(s.dir, name+".pem")
			if err := os.WriteFile(path, out, 0o600); err != nil {
				t.Fatal(err)
			}
			s.verify(t, openssl, path)
		}
		if len(serials) != peerRuns {
			t.Errorf("%d different certificates in %d runs", len(serials), peerRuns)
		}
	})
	together(t, &wg, "estca", func(t *testing.T) {
		want := readFile(t, s.ca)
		for i := range peerRuns {
			out := filepath.Join(s.dir, "chain.pem")
			mustRun(t, nil, pki, append([]string{"--estca", "--url", s.url, "--caout", out, "--outform", "pem", "--force"}, anchors...)...)
			files, err := filepath.Glob(filepath.Join(s.dir, "chain*.pem"))
			if err != nil || len(files) != 2 {
				t.Fatalf("run %d: strongSwan wrote %v, %v; want issuing CA and root", i, files, err)
			}
			for _, f := range files {
				if c := parsePEM(t, []byte(readFile(t, f))); !strings.Contains(want, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))) {
					t.Errorf("run %d: %s is not in ca.pem", i, c.Subject)
				}
			}
		}
	})
}

// TestStrongSwanRenews renews with strongSwan at the RA of the demo, again and again: each certificate authenticates the next one,
// which is for another key.
func TestStrongSwanRenews(t *testing.T) {
	t.Parallel()
	pki, openssl := needProgram(t, "pki", "strongswan-pki"), needProgram(t, "openssl", "openssl")
	s := newScript(t)
	anchors := s.anchors(t)
	file := func(name string, content []byte) string {
		t.Helper()
		path := filepath.Join(s.dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	newKey := func(name string) (path string, csr []byte) {
		t.Helper()
		path = file(name, mustRun(t, nil, pki, "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem"))
		return path, mustRun(t, nil, pki, "--req", "--in", path, "--type", "ecdsa", "--dn", "CN=gateway", "--san", "gateway.example.com")
	}
	ask := func(csr []byte, auth ...string) []byte {
		t.Helper()
		return mustRun(t, csr, pki, append(append([]string{"--est", "--url", s.url, "--outform", "pem"}, auth...), anchors...)...)
	}
	key, csr := newKey("key0.pem")
	cert := file("cert0.pem", ask(csr, "--userpass", s.userpass))
	serials := map[string]bool{}
	for i := range peerRuns {
		next, csr := newKey("key" + strconv.Itoa(i+1) + ".pem")
		out := ask(csr, "--cert", cert, "--key", key)
		c := parsePEM(t, out)
		serials[c.SerialNumber.String()] = true
		if c.Subject.CommonName != "gateway" || len(c.DNSNames) != 1 {
			t.Fatalf("run %d: certificate of %s, %q", i, c.Subject, c.DNSNames)
		}
		key, cert = next, file("cert"+strconv.Itoa(i+1)+".pem", out)
		s.verify(t, openssl, cert)
	}
	if len(serials) != peerRuns {
		t.Errorf("%d different certificates in %d renewals", len(serials), peerRuns)
	}
}

// TestCurlAndOpenSSL enrols as a shell script does.
func TestCurlAndOpenSSL(t *testing.T) {
	t.Parallel()
	curl, openssl := needProgram(t, "curl", "curl"), needProgram(t, "openssl", "openssl")
	s := newScript(t)
	in := func(name string) string { return filepath.Join(s.dir, name) }
	mustRun(t, nil, openssl, "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", in("key.pem"), "-subj", "/CN=printer1", "-outform", "der", "-out", in("csr.der"))
	mustRun(t, nil, openssl, "base64", "-in", in("csr.der"), "-out", in("csr.b64"))
	mustRun(t, nil, curl, "-sS", "--fail", "--cacert", s.ca, "-u", s.userpass, "-H", "Content-Type: application/pkcs10", "-H", "Content-Transfer-Encoding: base64",
		"--data-binary", "@"+in("csr.b64"), "-o", in("answer.b64"), s.est+"/simpleenroll")
	mustRun(t, nil, openssl, "base64", "-d", "-in", in("answer.b64"), "-out", in("answer.p7"))
	out := mustRun(t, nil, openssl, "pkcs7", "-inform", "der", "-in", in("answer.p7"), "-print_certs")
	cert := parsePEM(t, out)
	if cert.Subject.CommonName != "printer1" || cert.PublicKeyAlgorithm != x509.RSA {
		t.Errorf("certificate of %s", cert.Subject)
	}
	if err := os.WriteFile(in("cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	s.verify(t, openssl, in("cert.pem"))
	// Without the password there is no certificate.
	status := mustRun(t, nil, curl, "-sS", "--cacert", s.ca, "-u", "device:guess", "-H", "Content-Type: application/pkcs10", "-H", "Content-Transfer-Encoding: base64",
		"--data-binary", "@"+in("csr.b64"), "-o", in("refusal"), "-w", "%{http_code}", s.est+"/simpleenroll")
	if string(status) != "401" {
		t.Errorf("a wrong password: status %s", status)
	}
}
