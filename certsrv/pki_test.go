package certsrv

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"callsign/cmc"
)

// epoch is when everything in these tests happens.
func epoch() time.Time { return time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC) }

type testCA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newTestCA(t testing.TB, name string) *testCA {
	t.Helper()
	return makeCA(t, nil, name, newKey(t), epoch().AddDate(-1, 0, 0), epoch().AddDate(9, 0, 0))
}

// makeCA makes a CA certificate under parent, a root when that is nil.
func makeCA(t testing.TB, parent *testCA, name string, key crypto.Signer, from, to time.Time) *testCA {
	t.Helper()
	tpl := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if parent == nil {
		parent = &testCA{cert: tpl, key: key}
	}
	return &testCA{cert: sign(t, tpl, parent, key.Public()), key: key}
}

func (ca *testCA) leaf(t testing.TB, name string) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	key := newKey(t)
	return sign(t, &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: epoch().AddDate(0, -1, 0), NotAfter: epoch().AddDate(1, 0, 0),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, key.Public()), key
}

func (ca *testCA) p7b(t testing.TB, certs ...*x509.Certificate) []byte {
	t.Helper()
	b, err := cmc.CertsOnly(certs...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sign(t testing.TB, tpl *x509.Certificate, parent *testCA, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tpl, parent.cert, pub, parent.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func serial(t testing.TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	return n.Add(n, big.NewInt(1))
}

func pemOf(der []byte) []byte {
	return []byte(toCRLF(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))))
}

func newCSR(t testing.TB, name string) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// serverTLS is a server identity for a name, and the settings of a client that trusts it at the epoch.
func serverTLS(t testing.TB, ca *testCA, name string) (server, client *tls.Config) {
	t.Helper()
	cert, key := ca.leaf(t, name)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}},
		&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, Time: epoch}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func toCRLF(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
