package est_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"callsign/cmc"
	"callsign/est"
)

// rawAnswer is an answer as libEST's parser sees it: header names as spelled.
type rawAnswer struct {
	status int
	header map[string]string
	count  int
	body   []byte
}

// rawExchange writes text on a new TLS 1.2 connection, where it shows its certificates, and reads until the server ends
// it, as libEST does.
func rawExchange(t *testing.T, ca *testCA, address, text string, own ...tls.Certificate) rawAnswer {
	t.Helper()
	return rawRecords(t, ca, address, []string{text}, own...)
}

// rawRecords is rawExchange for a request that is written in pieces, each in a TLS record of its own.
func rawRecords(t *testing.T, ca *testCA, address string, pieces []string, own ...tls.Certificate) rawAnswer {
	t.Helper()
	config := clientTLS(ca)
	config.Certificates = own
	config.MaxVersion = tls.VersionTLS12
	config.CurvePreferences = []tls.CurveID{tls.CurveP256}
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, piece := range pieces {
		if _, err := io.WriteString(conn, piece); err != nil {
			t.Fatal(err)
		}
	}
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("connection did not end with close_notify: %v", err)
	}
	return parseRaw(t, all)
}

func parseRaw(t *testing.T, all []byte) rawAnswer {
	t.Helper()
	head, body, ok := bytes.Cut(all, []byte("\r\n\r\n"))
	if !ok {
		t.Fatalf("no header in %q", all)
	}
	if len(head) > 1000 {
		t.Errorf("header of %d bytes; strongSwan reads 1024 at most", len(head))
	}
	a := rawAnswer{header: map[string]string{}, body: body}
	for i, line := range strings.Split(string(head), "\r\n") {
		if i == 0 {
			if _, err := fmt.Sscanf(line, "HTTP/1.1 %d", &a.status); err != nil {
				t.Fatalf("status line %q", line)
			}
			continue
		}
		name, value, _ := strings.Cut(line, ": ")
		a.header[name] = value
		a.count++
	}
	if a.count >= 16 {
		t.Errorf("%d header fields; libEST reads 16 at most", a.count)
	}
	length, err := strconv.Atoi(a.header["Content-Length"])
	if a.status == http.StatusNoContent {
		length, err = 0, nil // RFC 9110 section 8.6 forbids the field here
	}
	if err != nil || length != len(body) {
		t.Errorf("Content-Length %q over a body of %d", a.header["Content-Length"], len(body))
	}
	if _, chunked := a.header["Transfer-Encoding"]; chunked {
		t.Error("answer is chunked")
	}
	return a
}

// libESTRequest is a request word for word as libEST's client writes it.
func libESTRequest(path string, csr []byte, auth string) string {
	var b strings.Builder
	method := "GET"
	if csr != nil {
		method = "POST"
	}
	fmt.Fprintf(&b, "%s /.well-known/est/%s HTTP/1.1\r\nUser-Agent: Cisco EST client 1.0\r\nConnection: close\r\nHost: 127.0.0.1:8443\r\nAccept: */*\r\n", method, path)
	var body []byte
	if csr != nil {
		body = wrap64(csr)
		fmt.Fprintf(&b, "Content-Type: application/pkcs10\r\nContent-Length: %d\r\n", len(body))
	}
	if auth != "" {
		fmt.Fprintf(&b, "Authorization: %s\r\n", auth)
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.String()
}

func wrap64(der []byte) []byte {
	text := base64.StdEncoding.EncodeToString(der)
	var b bytes.Buffer
	for len(text) > 0 {
		n := min(64, len(text))
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return b.Bytes()
}

func basic(password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("estuser:"+password))
}

// certsIn decodes a body strictly by lines when broken is set (as libEST and OpenSSL do), else as one line without any
// white space (as strongSwan does).
func certsIn(t *testing.T, body []byte, broken bool) []*x509.Certificate {
	t.Helper()
	text := string(body)
	if broken {
		if !strings.HasSuffix(text, "\n") {
			t.Error("last line is not terminated")
		}
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		for _, line := range lines {
			if len(line) > 76 {
				t.Errorf("line of %d characters", len(line))
			}
		}
		text = strings.Join(lines, "")
	}
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatalf("body %.100q: %v", body, err)
	}
	if !broken && strings.ContainsAny(text, "\r\n \t") {
		t.Errorf("white space in %.100q", text)
	}
	certs, err := cmc.ParseCertsOnly(der)
	if err != nil {
		t.Fatal(err)
	}
	return certs
}

// TestLibESTDialect goes through an enrolment as libEST's client does it: cacerts, a request without credentials, and
// the same on a second connection with credentials.
func TestLibESTDialect(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	address := strings.TrimPrefix(serve(t, &est.Handler{Backend: a}, a.ca.server), "https://")
	csr, _ := newCSR(t, "SEP001122334455")

	got := rawExchange(t, a.ca, address, libESTRequest("cacerts", nil, ""))
	if got.status != 200 || !strings.HasPrefix(got.header["Content-Type"], "application/pkcs7-mime") {
		t.Fatalf("cacerts: %d %v", got.status, got.header)
	}
	if n := len(certsIn(t, got.body, true)); n != 2 {
		t.Errorf("%d CA certificates, want 2", n)
	}

	got = rawExchange(t, a.ca, address, libESTRequest("simpleenroll", csr, ""))
	if got.status != 401 || got.header["WWW-Authenticate"] != `Basic realm="estrealm"` || got.header["Connection"] != "close" {
		t.Fatalf("challenge: %d %v", got.status, got.header)
	}
	if len(a.requests()) != 0 {
		t.Error("the backend saw a request without credentials")
	}

	got = rawExchange(t, a.ca, address, libESTRequest("simpleenroll", csr, basic("wrong")))
	if got.status != 401 || got.header["WWW-Authenticate"] == "" {
		t.Fatalf("wrong password: %d %v", got.status, got.header)
	}

	got = rawExchange(t, a.ca, address, libESTRequest("phones/simpleenroll", csr, basic("estpwd")))
	if got.status != 200 || got.header["Content-Type"] != "application/pkcs7-mime; smime-type=certs-only" ||
		got.header["Content-Transfer-Encoding"] != "base64" {
		t.Fatalf("enroll: %d %v", got.status, got.header)
	}
	certs := certsIn(t, got.body, true)
	if len(certs) != 1 || certs[0].Subject.CommonName != "SEP001122334455" {
		t.Fatalf("certificates %v, want the issued one alone", certs)
	}
	if r := a.requests()[0]; r.Label != "phones" || r.Identity.Name != "estuser" || r.TLS == nil || r.Peer == nil {
		t.Errorf("request %+v", r)
	}
	opensslVerify(t, a.ca, certs[0])
}

// TestCurlEnrolls runs what administrators' scripts do: openssl makes the request, curl sends it, openssl reads the
// answer.
func TestCurlEnrolls(t *testing.T) {
	t.Parallel()
	curl, openssl := needProgram(t, "curl", "curl"), needProgram(t, "openssl", "openssl")
	a := newAuthority(t)
	url := serve(t, &est.Handler{Backend: a}, a.ca.server) + "/.well-known/est"
	dir := t.TempDir()
	root, _ := a.ca.writePEM(t, dir)
	key, pemFile, derFile := filepath.Join(dir, "key.pem"), filepath.Join(dir, "csr.pem"), filepath.Join(dir, "csr.der")
	mustRun(t, nil, openssl, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
		"-subj", "/O=Example Corp/CN=script", "-out", pemFile)
	mustRun(t, nil, openssl, "req", "-in", pemFile, "-outform", "der", "-out", derFile)
	client := a.ca.clientCert(t, "curl-client")
	certFile, keyFile := writePair(t, dir, client)
	wrapped := mustRun(t, nil, openssl, "base64", "-in", derFile)
	oneLine := mustRun(t, nil, openssl, "base64", "-A", "-in", derFile)
	password := []string{"-u", "estuser:estpwd"}
	for _, tt := range []struct {
		name   string
		auth   []string
		body   []byte
		caller string
	}{
		{"lines of 64", password, wrapped, "estuser"},
		{"one line", password, oneLine, "estuser"},
		{"PEM", password, mustRead(t, pemFile), "estuser"},
		{"raw DER", password, mustRead(t, derFile), "estuser"},
		{"client certificate", []string{"--cert", certFile, "--key", keyFile}, wrapped, "CN=curl-client"},
		{"TLS 1.2", append([]string{"--tls-max", "1.2"}, password...), wrapped, "estuser"},
		{"HTTP/1.1", append([]string{"--http1.1"}, password...), wrapped, "estuser"},
	} {
		args := append([]string{
			"-sS", "--fail", "--cacert", root, "-H", "Content-Type: application/pkcs10", "--data-binary", "@-",
			url + "/simpleenroll",
		}, tt.auth...)
		text := mustRun(t, tt.body, curl, args...)
		der := mustRun(t, text, openssl, "base64", "-d")
		out := mustRun(t, der, openssl, "pkcs7", "-inform", "der", "-print_certs")
		block, rest := pem.Decode(out[bytes.Index(out, []byte("-----BEGIN")):])
		if block == nil || bytes.Contains(rest, []byte("BEGIN")) {
			t.Fatalf("%s: not exactly one certificate:\n%s", tt.name, out)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		opensslVerify(t, a.ca, cert)
		asked := a.requests()
		if got := asked[len(asked)-1].Identity.Name; got != tt.caller {
			t.Errorf("%s: caller %q, want %q", tt.name, got, tt.caller)
		}
	}
	chain := mustRun(t, mustRun(t, mustRun(t, nil, curl, "-sS", "--fail", "--cacert", root, url+"/cacerts"), openssl, "base64", "-d"),
		openssl, "pkcs7", "-inform", "der", "-print_certs")
	if n := bytes.Count(chain, []byte("BEGIN CERTIFICATE")); n != 2 {
		t.Errorf("%d CA certificates, want 2:\n%s", n, chain)
	}
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writePair(t *testing.T, dir string, pair tls.Certificate) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, c := range pair.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	if err := os.WriteFile(cert, chain, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// TestBodyIsOneRecord holds what strongSwan depends on: tls.Conn.Read returns one record at a time, and the body comes
// whole in the record of the header or in the one after it.
func TestBodyIsOneRecord(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 2, 8, 14} {
		t.Run(strconv.Itoa(n)+" more certificates", func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			a.chain = []*x509.Certificate{a.ca.issuing, a.ca.root}
			for range n {
				a.chain = append(a.chain, newTestCA(t).root)
			}
			address := strings.TrimPrefix(serve(t, &est.Handler{Backend: a}, a.ca.server), "https://")
			conn, err := tls.Dial("tcp", address, clientTLS(a.ca))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, "GET /.well-known/est/cacerts HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			record := make([]byte, 32<<10)
			size, err := conn.Read(record)
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(record[:size])), nil)
			if err != nil {
				t.Fatalf("header is not in the first record: %v", err)
			}
			defer response.Body.Close()
			_, rest, _ := bytes.Cut(record[:size], []byte("\r\n\r\n"))
			if len(rest) == 0 {
				if size, err = conn.Read(record); err != nil {
					t.Fatal(err)
				}
				rest = record[:size]
			}
			if int64(len(rest)) != response.ContentLength {
				t.Fatalf("%d bytes of a body of %d came in one record", len(rest), response.ContentLength)
			}
			if got := len(certsIn(t, rest, false)); got != n+2 {
				t.Errorf("%d certificates, want %d", got, n+2)
			}
		})
	}
}
