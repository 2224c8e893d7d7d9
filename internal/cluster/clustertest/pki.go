package clustertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
	"time"

	"callsign/internal/cluster"
	"callsign/internal/cluster/upload"
)

// Noon is when certificates of this package begin to be valid. They end a year later.
var Noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// A Key is a private key on P-256, which is made in microseconds.
type Key struct{ private *ecdsa.PrivateKey }

// NewKey makes a key.
func NewKey(t testing.TB) Key {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return Key{k}
}

// PKCS8 returns the key as stores take it.
func (k Key) PKCS8(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	must(t, err)
	return der
}

// Hash returns the hash of the public key.
func (k Key) Hash(t testing.TB) string {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(k.private.Public())
	must(t, err)
	return upload.KeyHash(spki)
}

// Certificate makes a self-signed certificate of the key. No two are equal.
func (k Key) Certificate(t testing.TB, subject pkix.Name) ([]byte, cluster.Record) {
	t.Helper()
	template := &x509.Certificate{Subject: subject, NotBefore: Noon, NotAfter: Noon.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.private.Public(), k.private)
	must(t, err)
	x, err := x509.ParseCertificate(der)
	must(t, err)
	return der, cluster.NewRecord(x)
}

// Identity makes an identity certificate of the key.
func (k Key) Identity(t testing.TB, purpose, name string) cluster.Identity {
	t.Helper()
	der, record := k.Certificate(t, pkix.Name{CommonName: name})
	return cluster.Identity{Purpose: purpose, DER: der, Record: record, Description: "Certificate of " + name}
}

// Request makes a request with the key.
func (k Key) Request(t testing.TB, purpose, node string) cluster.NewRequest {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: node}}, k.private)
	must(t, err)
	return cluster.NewRequest{Request: cluster.Request{Purpose: purpose, Node: node, DER: der, KeyHash: k.Hash(t)}, Key: k.PKCS8(t)}
}

// Trust makes a certificate for a trust store.
func (k Key) Trust(t testing.TB, store, node string, subject pkix.Name) cluster.Trust {
	t.Helper()
	der, record := k.Certificate(t, subject)
	return cluster.Trust{Store: store, Node: node, DER: der, Record: record, Origin: cluster.Uploaded}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
