package probe_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"callsign/internal/probe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// certificate makes a certificate for a new key. parent and signer are nil for a self-signed one.
func certificate(t testing.TB, name string, parent *x509.Certificate, signer crypto.Signer) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(0x11), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: parent == nil,
	}
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c, key
}

// pair is a leaf with its issuer, and the leaf's key.
func pair(t testing.TB) tls.Certificate {
	t.Helper()
	ca, caKey := certificate(t, "Test CA", nil, nil)
	leaf, key := certificate(t, "server.test", ca, caKey)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, ca.Raw}, PrivateKey: key}
}

// negativeSerial makes the serial number of the certificates of pair negative, which crypto/x509 refuses.
func negativeSerial(t testing.TB, der []byte) []byte {
	t.Helper()
	const positive, negative = "\xa0\x03\x02\x01\x02\x02\x01\x11", "\xa0\x03\x02\x01\x02\x02\x01\x91"
	bad := strings.Replace(string(der), positive, negative, 1)
	if _, err := x509.ParseCertificate([]byte(bad)); err == nil || !strings.Contains(err.Error(), "negative serial") {
		t.Fatalf("the certificate is not as bad as it should be: %v", err)
	}
	return []byte(bad)
}

// listen serves every connection with do until the test ends, and returns the address.
func listen(t testing.TB, do func(net.Conn)) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			do(c)
			c.Close()
		}
	}()
	return l.Addr().String()
}

// serve is a TLS server that reads until the client is gone.
func serve(t testing.TB, config *tls.Config) string {
	t.Helper()
	return listen(t, func(c net.Conn) {
		s := tls.Server(c, config)
		if s.Handshake() == nil {
			_, _ = io.Copy(io.Discard, s)
		}
		s.Close()
	})
}

// problem returns err as an *Error and checks that it is complete.
func problem(t *testing.T, err error) *probe.Error {
	t.Helper()
	e, ok := errors.AsType[*probe.Error](err)
	if !ok {
		t.Fatalf("got %v, want a *probe.Error", err)
	}
	if e.Remedy() == "" || e.Detail == "" || !strings.HasPrefix(e.Code(), "probe.") {
		t.Errorf("incomplete error: %+v", e)
	}
	return e
}
