package certsrv

import (
	"crypto"
	"crypto/x509"
	"testing"
)

// For the tests of package certsrv_test, which talk to the simulated server.
var (
	NewCSR    = newCSR
	NewKey    = newKey
	ServerTLS = serverTLS
	NewTestCA = newTestCA
	MakeCA    = makeCA
	Listen    = listen
	Epoch     = epoch
)

// TestCA is a CA of the tests.
type TestCA = testCA

// Certificate returns the CA's certificate.
func (ca *testCA) Certificate() *x509.Certificate { return ca.cert }

// Sign signs a template.
func (ca *testCA) Sign(t testing.TB, tpl *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	tpl.SerialNumber = serial(t)
	return sign(t, tpl, ca, pub)
}
