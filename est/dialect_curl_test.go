package est_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callsign/est"
)

// TestCurlScript is what a script asks beside the enrolment itself: the challenge, when to come back, what to put into a
// request, and a renewal with the certificate that it replaces.
func TestCurlScript(t *testing.T) {
	t.Parallel()
	curl, openssl := needProgram(t, "curl", "curl"), needProgram(t, "openssl", "openssl")
	a := newAuthority(t)
	a.profile.Attributes = []byte{0x30, 0x0b, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 7}
	url := serve(t, &est.Handler{Backend: a}, a.ca.server) + "/.well-known/est"
	dir := t.TempDir()
	root, _ := a.ca.writePEM(t, dir)
	csr, key := newCSR(t, "script")
	wrapped := mustRun(t, csr, openssl, "base64")
	enrol := []string{"-sS", "--cacert", root, "-H", "Content-Type: application/pkcs10", "--data-binary", "@-", url + "/simpleenroll"}
	status := func(args ...string) string {
		t.Helper()
		return string(mustRun(t, wrapped, curl, append(append([]string{"-o", filepath.Join(dir, "answer"), "-w", "%{http_code} %header{retry-after}"}, enrol...), args...)...))
	}
	if got := status(); got != "401 " {
		t.Errorf("without credentials: %q", got)
	}
	a.enroll = func(context.Context, est.EnrollRequest) (est.EnrollResult, error) {
		return est.EnrollResult{RetryAfter: 90 * time.Second, Text: "Request 4711 waits for an officer."}, nil
	}
	if got := status("-u", "estuser:estpwd"); got != "202 90" || !strings.HasPrefix(string(mustRead(t, filepath.Join(dir, "answer"))), "Request 4711") {
		t.Errorf("not ready: %q", got)
	}
	a.enroll = nil
	attributes := mustRun(t, mustRun(t, nil, curl, "-sS", "--fail", "--cacert", root, url+"/csrattrs"), openssl, "base64", "-d")
	if !bytes.Equal(attributes, a.profile.Attributes) {
		t.Errorf("attributes %x", attributes)
	}
	cert := issuedTo(t, openssl, mustRun(t, wrapped, curl, append(enrol, "--fail", "-u", "estuser:estpwd")...))
	certFile, keyFile := writePair(t, dir, tls.Certificate{Certificate: [][]byte{cert.Raw, a.ca.issuing.Raw}, PrivateKey: key})
	// openssl makes the request of a renewal out of the certificate itself, names included.
	again := mustRun(t, nil, openssl, "x509", "-x509toreq", "-copy_extensions", "copyall", "-in", certFile, "-signkey", keyFile)
	renew := []string{"-sS", "--fail", "--cacert", root, "-H", "Content-Type: application/pkcs10", "--data-binary", "@-", "--cert", certFile, "--key", keyFile, url + "/simplereenroll"}
	renewed := issuedTo(t, openssl, mustRun(t, again, curl, renew...))
	if renewed.SerialNumber.Cmp(cert.SerialNumber) == 0 || renewed.DNSNames[0] != cert.DNSNames[0] {
		t.Errorf("renewed: %s %q", renewed.SerialNumber, renewed.DNSNames)
	}
}

// issuedTo lets openssl read the answer to an enrolment, which has one certificate.
func issuedTo(t *testing.T, openssl string, answer []byte) *x509.Certificate {
	t.Helper()
	out := mustRun(t, mustRun(t, answer, openssl, "base64", "-d"), openssl, "pkcs7", "-inform", "der", "-print_certs")
	block, rest := pem.Decode(out[bytes.Index(out, []byte("-----BEGIN")):])
	if block == nil || bytes.Contains(rest, []byte("BEGIN")) {
		t.Fatalf("not exactly one certificate:\n%s", out)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
