package probe_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"callsign/internal/probe"
)

// opensslServer starts openssl s_server with a certificate and key, and returns its address.
func opensslServer(t *testing.T, cert tls.Certificate, args ...string) string {
	t.Helper()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is not installed (Debian package openssl)")
		}
		t.Skip("openssl is not installed (Debian package openssl)")
	}
	certs := certificateFile(t, cert)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, openssl, append([]string{"s_server", "-accept", "127.0.0.1:0", "-cert", certs, "-cert_chain", certs, "-key", keyFile(t, cert)}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe() // at the end of its input it would end
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		in.Close()
		<-drained
		_ = cmd.Wait() // killed
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "ACCEPT "); ok {
			go func() {
				defer close(drained)
				for lines.Scan() {
				}
			}()
			return address
		}
	}
	close(drained)
	cancel()
	t.Fatalf("openssl s_server did not start: %s", stderr.String())
	return ""
}

// certificateFile writes the chain as PEM.
func certificateFile(t *testing.T, cert tls.Certificate) string {
	t.Helper()
	var text bytes.Buffer
	for _, der := range cert.Certificate {
		_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return write(t, "cert.pem", text.Bytes())
}

// keyFile writes the key as PEM.
func keyFile(t *testing.T, cert tls.Certificate) string {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
}

func write(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenSSL(t *testing.T) {
	t.Parallel()
	good := pair(t)
	bad := good
	bad.Certificate = [][]byte{negativeSerial(t, good.Certificate[0])}
	for _, tc := range []struct {
		name    string
		cert    tls.Certificate
		args    []string
		version uint16
		client  probe.ClientCertificate
		code    string // of Incomplete
	}{
		{"TLS 1.0", good, []string{"-tls1", "-cipher", "ALL:@SECLEVEL=0"}, tls.VersionTLS10, probe.NotRequested, ""},
		{"TLS 1.2", good, []string{"-tls1_2"}, tls.VersionTLS12, probe.NotRequested, ""},
		{"TLS 1.3", good, []string{"-tls1_3"}, tls.VersionTLS13, probe.NotRequested, ""},
		{"asks, TLS 1.2", good, []string{"-tls1_2", "-verify", "1"}, tls.VersionTLS12, probe.Requested, ""},
		{"asks, TLS 1.3", good, []string{"-tls1_3", "-verify", "1"}, tls.VersionTLS13, probe.Requested, ""},
		{"demands, TLS 1.2", good, []string{"-tls1_2", "-Verify", "1"}, tls.VersionTLS12, probe.Demanded, probe.CodeTLSFailed},
		{"demands, TLS 1.3", good, []string{"-tls1_3", "-Verify", "1"}, tls.VersionTLS13, probe.Demanded, probe.CodeTLSFailed},
		{"unreadable, TLS 1.2", bad, []string{"-tls1_2"}, tls.VersionTLS12, probe.NotRequested, probe.CodeCertificateUnreadable},
		{"unreadable, TLS 1.3 preferred", bad, nil, tls.VersionTLS12, probe.NotRequested, probe.CodeCertificateUnreadable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p, err := probe.Handshake(t.Context(), probe.Target{Address: opensslServer(t, tc.cert, tc.args...)})
			if err != nil {
				t.Fatal(err)
			}
			if p.Version != tc.version || p.ClientCertificate != tc.client || !bytes.Equal(p.Certificates[0], tc.cert.Certificate[0]) {
				t.Errorf("got %+v", p)
			}
			got := ""
			if p.Incomplete != nil {
				got = problem(t, p.Incomplete).Code()
			}
			if got != tc.code {
				t.Errorf("incomplete: got %v, want %s", p.Incomplete, tc.code)
			}
		})
	}
}

// TestOpenSSLHidden: what only TLS 1.3 presents and crypto/tls does not read cannot be seen.
func TestOpenSSLHidden(t *testing.T) {
	t.Parallel()
	bad := pair(t)
	bad.Certificate = [][]byte{negativeSerial(t, bad.Certificate[0])}
	_, err := probe.Handshake(t.Context(), probe.Target{Address: opensslServer(t, bad, "-tls1_3")})
	checkHidden(t, err)
}

func TestOpenSSLRefuses(t *testing.T) {
	t.Parallel()
	cert := pair(t)
	for _, tc := range []struct {
		name, want string
		args       []string
	}{
		{"name", "does not know the name other.test: alert unrecognized_name(112)", []string{"-servername", "server.test", "-servername_fatal"}},
		{"suite", "alert handshake_failure(40)", []string{"-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			args := tc.args
			if tc.name == "name" {
				// s_server compares names only when it has a second certificate for the one that it knows.
				args = append(args, "-cert2", certificateFile(t, cert), "-key2", keyFile(t, cert))
			}
			_, err := probe.Handshake(t.Context(), probe.Target{Address: "other.test:443", ConnectTo: opensslServer(t, cert, args...)})
			if e := problem(t, err); e.Code() != probe.CodeTLSFailed || !strings.Contains(e.Error(), tc.want) {
				t.Errorf("got %s: %v, want ...%s", e.Code(), e, tc.want)
			}
		})
	}
}
