package est_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"callsign/est"
)

// testCA is a root, an issuing CA and a TLS server certificate, made for one test.
type testCA struct {
	root, issuing *x509.Certificate
	key           crypto.Signer
	rootKey       crypto.Signer
	server        tls.Certificate
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newSerial(t testing.TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func newTestCA(t testing.TB) *testCA {
	t.Helper()
	ca := &testCA{key: newKey(t), rootKey: newKey(t)}
	ca.root = makeCert(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "Test Root CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil, ca.rootKey.Public(), ca.rootKey)
	ca.issuing = makeCert(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "Test Issuing CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, ca.root, ca.key.Public(), ca.rootKey)
	key := newKey(t)
	leaf := makeCert(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca.issuing, key.Public(), ca.key)
	ca.server = tls.Certificate{Certificate: [][]byte{leaf.Raw, ca.issuing.Raw}, PrivateKey: key}
	return ca
}

func makeCert(t testing.TB, template, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	template.SerialNumber = newSerial(t)
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(24 * time.Hour)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// clientCert issues a certificate for TLS client authentication.
func (ca *testCA) clientCert(t testing.TB, cn string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	leaf := makeCert(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: cn}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.issuing, key.Public(), ca.key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, ca.issuing.Raw}, PrivateKey: key, Leaf: leaf}
}

func (ca *testCA) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.root)
	return pool
}

// writePEM stores the root and the issuing CA for other programs and returns both paths.
func (ca *testCA) writePEM(t testing.TB, dir string) (root, issuing string) {
	t.Helper()
	root, issuing = filepath.Join(dir, "root.pem"), filepath.Join(dir, "issuing.pem")
	for path, cert := range map[string]*x509.Certificate{root: ca.root, issuing: ca.issuing} {
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
		if err := os.WriteFile(path, block, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root, issuing
}

// authority is a small honest Backend on a testCA: it checks passwords and client certificates, and really issues.
type authority struct {
	ca       *testCA
	chain    []*x509.Certificate // cacerts; nil for issuing and root
	users    map[string]string
	anyone   bool                   // any client certificate is good
	relays   bool                   // every client is a registrar
	profile  est.Profile            // of every label
	profiles map[string]est.Profile // when set: by label, and no other is served

	// Overrides of single tests.
	enroll  func(ctx context.Context, r est.EnrollRequest) (est.EnrollResult, error)
	caCerts func(ctx context.Context, label string) ([]*x509.Certificate, error)

	mu     sync.Mutex
	asked  []est.EnrollRequest
	issued []*x509.Certificate
}

func (a *authority) CACerts(ctx context.Context, label string) ([]*x509.Certificate, error) {
	if a.caCerts != nil {
		return a.caCerts(ctx, label)
	}
	if a.chain != nil {
		return a.chain, nil
	}
	return []*x509.Certificate{a.ca.issuing, a.ca.root}, nil
}

func (a *authority) Authenticate(_ context.Context, c est.Credentials) (est.Identity, error) {
	refused := &est.Error{Status: http.StatusUnauthorized, Text: "The server was unable to authorize the request."}
	if c.HasPassword && !a.anyone {
		want, ok := a.users[c.User]
		if !ok || subtle.ConstantTimeCompare([]byte(want), c.Password) != 1 {
			return est.Identity{}, refused
		}
		return est.Identity{Name: c.User, User: c.User, Password: c.Password}, nil
	}
	if len(c.Certificates) == 0 {
		return est.Identity{}, refused
	}
	if a.anyone {
		return est.Identity{Name: c.Certificates[0].Subject.String(), Certificate: c.Certificates[0], Relays: a.relays}, nil
	}
	leaf := c.Certificates[0]
	intermediates := x509.NewCertPool()
	for _, cert := range c.Certificates[1:] {
		intermediates.AddCert(cert)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: a.ca.pool(), Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		refused.Err = err
		return est.Identity{}, refused
	}
	return est.Identity{Name: leaf.Subject.String(), Certificate: leaf}, nil
}

func (a *authority) Profile(label string) (est.Profile, bool) {
	if a.profiles == nil {
		return a.profile, true
	}
	p, ok := a.profiles[label]
	return p, ok
}

func (a *authority) Enroll(ctx context.Context, r est.EnrollRequest) (est.EnrollResult, error) {
	a.mu.Lock()
	a.asked = append(a.asked, r)
	a.mu.Unlock()
	if a.enroll != nil {
		return a.enroll(ctx, r)
	}
	cert, err := a.issue(r)
	if err != nil {
		return est.EnrollResult{}, err
	}
	return est.EnrollResult{Certificate: cert}, nil
}

func (a *authority) issue(r est.EnrollRequest) (*x509.Certificate, error) {
	sum := sha256.Sum256(r.CSR.Raw)
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(sum[:16]), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		RawSubject: r.CSR.RawSubject, DNSNames: r.CSR.DNSNames, IPAddresses: r.CSR.IPAddresses,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if c := r.ChangeSubject; c != nil {
		template.DNSNames, template.IPAddresses, template.RawSubject = nil, nil, []byte{0x30, 0}
		if c.Subject != nil {
			template.RawSubject = c.Subject
		}
		if c.SubjectAlt != nil {
			template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: c.Subject == nil, Value: c.SubjectAlt}}
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.ca.issuing, r.CSR.PublicKey, a.ca.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.issued = append(a.issued, cert)
	a.mu.Unlock()
	return cert, nil
}

func (a *authority) requests() []est.EnrollRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]est.EnrollRequest(nil), a.asked...)
}

// cmcAuthority is an authority that also answers full CMC requests.
type cmcAuthority struct {
	*authority
	reply func(r est.CMCRequest) est.CMCReply
}

func (a cmcAuthority) FullCMC(_ context.Context, r est.CMCRequest) est.CMCReply { return a.reply(r) }

// newAuthority returns an authority with one user.
func newAuthority(t testing.TB) *authority {
	t.Helper()
	return &authority{ca: newTestCA(t), users: map[string]string{"estuser": "estpwd"}}
}

// logLines collects structured log lines.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logLines) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// serve starts h on loopback and returns its base URL, "https://127.0.0.1:PORT". It ends with the test.
func serve(t testing.TB, h *est.Handler, cert tls.Certificate) string {
	t.Helper()
	return serveWith(t, est.NewServer(h, &tls.Config{Certificates: []tls.Certificate{cert}}, h.Log))
}

func serveWith(t testing.TB, server *http.Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ServeTLS(listener, "", "") // ends with ErrServerClosed
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
		<-done
	})
	return "https://" + listener.Addr().String()
}

// newCSR makes a signed request for cn.
func newCSR(t testing.TB, cn string) (der []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	key = newKey(t)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: cn}, DNSNames: []string{cn + ".example.com"},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

func clientTLS(ca *testCA) *tls.Config {
	return &tls.Config{RootCAs: ca.pool(), MinVersion: tls.VersionTLS12}
}

func refuseAll(*x509.CertificateRequest) error {
	return &est.Error{Status: http.StatusForbidden, ErrCode: "x.no", Text: "no"}
}
