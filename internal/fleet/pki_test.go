package fleet_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the protocol has it
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"callsign/capf"
)

// The keys of phones that sign SUDI data; making one takes too long for each test.
var (
	rsaOnce  = sync.OnceValue(func() *rsa.PrivateKey { return mustRSA(2048) })
	rsaOther = sync.OnceValue(func() *rsa.PrivateKey { return mustRSA(1024) })
)

func mustRSA(bits int) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return k
}

// failer is what helpers need of a test, also of one of rapid's.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// identity is a certificate with its key.
type identity struct {
	x   *x509.Certificate
	key crypto.Signer
}

var serials atomic.Int64

// issue makes a certificate; by is nil for a self-signed one. change alters the template, nil: not.
func issue(t failer, cn string, by *identity, key crypto.Signer, change func(*x509.Certificate)) *identity {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serials.Add(1)), Subject: pkix.Name{CommonName: cn},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if change != nil {
		change(c)
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.x, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	x, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &identity{x, key}
}

func newCA(t failer, cn string) *identity {
	t.Helper()
	return issue(t, cn, nil, ecKey(t), func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
}

func ecKey(t failer) crypto.Signer {
	t.Helper()
	k, err := capf.GenerateKey(capf.KeySpec{Type: capf.KeyEC, Bits: 256})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sign makes a signature in the form of CAPF: RSA around the bare digest, or ECDSA.
func sign(t failer, key crypto.Signer, digest []byte) []byte {
	t.Helper()
	var sig []byte
	var err error
	switch k := key.(type) {
	case *rsa.PrivateKey:
		sig, err = rsa.SignPKCS1v15(nil, k, crypto.Hash(0), digest)
	case *ecdsa.PrivateKey:
		sig, err = ecdsa.SignASN1(rand.Reader, k, digest)
	default:
		t.Fatalf("key of the type %T", key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// credential is what a phone sends that authenticates by certificate.
func credential(t failer, device string, id *identity) *capf.Credential {
	t.Helper()
	signed := capf.SignedBytes(device, id.x.Raw)
	s1, s512 := sha1.Sum(signed), sha512.Sum512(signed) //nolint:gosec // the protocol has it
	sha2, err := capf.SHA2Signature{Digest: capf.DigestSHA512, Signature: sign(t, id.key, s512[:])}.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &capf.Credential{Certificate: id.x.Raw, SignedData: sign(t, id.key, s1[:]), SHA2SignedData: sha2}
}

// sudiData is the value of element 16 for a session.
func sudiData(t failer, session uint32, id *identity) []byte {
	t.Helper()
	s := capf.SUDI{Certificate: id.x.Raw}
	signed := s.SignedBytes(session)
	s1, s512 := sha1.Sum(signed), sha512.Sum512(signed) //nolint:gosec // the protocol has it
	s.SHA1Signature, s.SHA512Signature = sign(t, id.key, s1[:]), sign(t, id.key, s512[:])
	b, err := s.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func uri(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.URIs = []*url.URL{{Path: name}} }
}
