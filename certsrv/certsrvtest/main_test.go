package certsrvtest

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is where the fixtures stand.
var clock = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

const (
	testUser     = `LAB\ra`
	testPassword = "Pässw0rd!"
)

// honestCA is a root with issuing CAs below it, one per renewal; the last one issues.
type honestCA struct {
	chains [][]*x509.Certificate
	key    crypto.Signer

	mu     sync.Mutex
	serial int64
	fail   error
	asked  []Issuance
}

func newCA(t *testing.T, renewals int) *honestCA {
	t.Helper()
	root, rootKey := newCertificate(t, "Test Root", nil, nil)
	ca := &honestCA{serial: 1000}
	for range renewals + 1 {
		c, key := newCertificate(t, "LAB-DC-RTP", root, rootKey)
		ca.chains, ca.key = append(ca.chains, []*x509.Certificate{c, root}), key
	}
	return ca
}

func newCertificate(t *testing.T, cn string, parent *x509.Certificate, parentKey crypto.Signer) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: cn}, NotBefore: clock.AddDate(-1, 0, 0), NotAfter: clock.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	if strings.Contains(cn, ".") || cn == "localhost" {
		tmpl.IsCA, tmpl.DNSNames, tmpl.IPAddresses = false, []string{cn}, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	if parent == nil {
		parent, parentKey = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

func (c *honestCA) Issue(_ context.Context, r Issuance) ([]byte, error) {
	c.mu.Lock()
	c.serial++
	serial, fail := c.serial, c.fail
	c.asked = append(c.asked, r)
	c.mu.Unlock()
	if fail != nil {
		return nil, fail
	}
	key, err := x509.ParsePKIXPublicKey(r.PublicKey)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), RawSubject: r.RawSubject, NotBefore: clock.Add(-time.Minute), NotAfter: clock.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, ExtraExtensions: r.Extensions,
	}
	if r.CA {
		tmpl.ExtKeyUsage = nil
	}
	return x509.CreateCertificate(rand.Reader, tmpl, c.chains[len(c.chains)-1][0], key, c.key)
}

func (c *honestCA) Certificates() [][]*x509.Certificate { return c.chains }

// crlCA can make CRLs too.
type crlCA struct{ *honestCA }

func (c crlCA) CRL(_ context.Context, renewal int, delta bool) ([]byte, error) {
	number := int64(10 + renewal)
	if delta {
		number += 100
	}
	tmpl := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: clock, NextUpdate: clock.AddDate(0, 0, 7)}
	return x509.CreateRevocationList(rand.Reader, tmpl, c.chains[len(c.chains)-1][0], c.key)
}

// config is what most tests start from: one user, the three templates of the fixtures, the fixed clock.
func config(t *testing.T, renewals int) Config {
	t.Helper()
	return Config{
		CA: newCA(t, renewals), Users: []User{{Name: testUser, Password: testPassword}, {Name: `LAB\second`, Password: "o"}},
		Basic: true, NTLM: true, Now: func() time.Time { return clock },
		Templates: []Template{
			{Name: "CiscoRA", DisplayName: "Cisco RA"},
			{Name: "WebServer", DisplayName: "Web Server"},
			{Name: "User", BuildFromAD: true},
			{Name: "Machine", MachineType: true},
		},
	}
}

// site is a server on a loopback port.
type site struct {
	*Server
	url  string // https://localhost:PORT
	addr string
	tls  *tls.Config
	cert *x509.Certificate
	ca   *honestCA
}

func start(t *testing.T, c Config) *site {
	t.Helper()
	return startAs(t, c, "localhost")
}

// startAs starts a server whose certificate has this name.
func startAs(t *testing.T, c Config, host string) *site {
	t.Helper()
	cert, key := newCertificate(t, host, nil, nil)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	s, addr := serve(t, c, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}})
	ca, _ := c.CA.(*honestCA)
	_, port, _ := net.SplitHostPort(addr)
	return &site{
		Server: s, url: "https://localhost:" + port, addr: addr, cert: cert, ca: ca,
		tls: &tls.Config{RootCAs: roots, ServerName: host, Time: func() time.Time { return clock }, MinVersion: tls.VersionTLS12},
	}
}

// serve runs a server until the end of the test and returns it with its address. conf nil: plain HTTP.
func serve(t *testing.T, c Config, conf *tls.Config) (*Server, string) {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l, conf) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != http.ErrServerClosed { //nolint:errorlint // net/http returns exactly this
			t.Errorf("Serve: %v", err)
		}
	})
	return s, l.Addr().String()
}

// wire is a client that owns one connection and says exactly what a test wants.
type wire struct {
	t     *testing.T
	conn  net.Conn
	r     *bufio.Reader
	host  string
	agent string
	user  string // Basic, when set
	pass  string
}

func (s *site) dial(t *testing.T, agent string) *wire {
	t.Helper()
	conn, err := tls.Dial("tcp", s.addr, s.tls)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &wire{t: t, conn: conn, r: bufio.NewReader(conn), host: "lab-dc-iis.michamen.com:443", agent: agent}
}

// basic is dial with the test user's Basic credentials on each request.
func (s *site) basic(t *testing.T, agent string) *wire {
	w := s.dial(t, agent)
	w.user, w.pass = testUser, testPassword
	return w
}

// answer is a response without its body.
type answer struct {
	StatusCode int
	Header     http.Header
}

// do sends one request and returns the answer with its body. A failed read fails the test.
func (w *wire) do(method, target, body string, header ...string) (*answer, string) {
	w.t.Helper()
	resp, text, err := w.try(method, target, body, header...)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, target, err)
	}
	return resp, text
}

func (w *wire) try(method, target, body string, header ...string) (*answer, string, error) {
	req := method + " " + target + " HTTP/1.1\r\nHost: " + w.host + "\r\nUser-Agent: " + w.agent + "\r\n"
	if method == http.MethodPost {
		req += "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: " + big.NewInt(int64(len(body))).String() + "\r\n"
	}
	if w.user != "" {
		req += "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(w.user+":"+w.pass)) + "\r\n"
	}
	for _, h := range header {
		req += h + "\r\n"
	}
	if err := w.conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return nil, "", err
	}
	if _, err := io.WriteString(w.conn, req+"\r\n"+body); err != nil {
		return nil, "", err
	}
	resp, err := http.ReadResponse(w.r, &http.Request{Method: method})
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return &answer{resp.StatusCode, resp.Header}, string(text), err
}

// get is a GET of a page that must be a 200.
func (w *wire) get(target string) string {
	w.t.Helper()
	resp, text := w.do(http.MethodGet, target, "")
	if resp.StatusCode != http.StatusOK {
		w.t.Fatalf("GET %s: status %d", target, resp.StatusCode)
	}
	return text
}

// submit posts a request for a template and returns the page.
func (w *wire) submit(csr []byte, template string) string {
	w.t.Helper()
	_, text := w.do(http.MethodPost, "/certsrv/certfnsh.asp", submission(csr, template))
	return text
}

func submission(csr []byte, template string) string {
	return url.Values{
		"Mode": {"newreq"}, "CertRequest": {base64.StdEncoding.EncodeToString(csr)}, "CertAttrib": {"CertificateTemplate:" + template + "\r\n"},
		"TargetStoreFlags": {"0"}, "SaveCert": {"yes"}, "ThumbPrint": {""}, "FriendlyType": {"Saved-Request Certificate"},
	}.Encode()
}

// newCSR returns a signed PKCS #10 and its key.
func newCSR(t *testing.T, cn string, exts ...pkix.Extension) ([]byte, crypto.Signer) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}, ExtraExtensions: exts}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

func readFile(t *testing.T, parts ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{"testdata"}, parts...)...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readPEM(t *testing.T, parts ...string) []byte {
	t.Helper()
	b, _ := pem.Decode(readFile(t, parts...))
	if b == nil {
		t.Fatalf("no PEM in %v", parts)
	}
	return b.Bytes
}

// rows reads a table with a header line.
func rows(t *testing.T, parts ...string) [][]string {
	t.Helper()
	var table [][]string
	for i, line := range strings.Split(strings.TrimSpace(string(readFile(t, parts...))), "\n") {
		if i > 0 {
			table = append(table, strings.Split(strings.TrimRight(line, "\r"), "\t"))
		}
	}
	return table
}

func publicKey(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return spki
}

// parseLeaf reads the PEM of certnew.cer.
func parseLeaf(t *testing.T, text string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("no PEM: %s", text)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newJar(t *testing.T) http.CookieJar {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return jar
}
