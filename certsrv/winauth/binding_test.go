package winauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/md5" //nolint:gosec // as in binding.go
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"math/big"
	"testing"
	"time"
)

// TestBindingReference compares with a value that was computed elsewhere (Python's hashlib and struct).
func TestBindingReference(t *testing.T) {
	t.Parallel()
	data := []byte(endPoint)
	for i := range 32 {
		data = append(data, byte(i))
	}
	got := bindingOf(data)
	if want := "8f1214c9c9cab8dc3bf866da9aba57a7"; hex.EncodeToString(got[:]) != want {
		t.Errorf("binding %x, want %s", got, want)
	}
}

// signed makes a certificate with a signature of this algorithm.
func signed(t *testing.T, a x509.SignatureAlgorithm, key crypto.Signer) *x509.Certificate {
	t.Helper()
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), SignatureAlgorithm: a}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestChannelBinding(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sum256 := func(b []byte) []byte { h := sha256.Sum256(b); return h[:] }
	sum384 := func(b []byte) []byte { h := sha512.Sum384(b); return h[:] }
	sum512 := func(b []byte) []byte { h := sha512.Sum512(b); return h[:] }
	old := signed(t, x509.SHA256WithRSA, rsaKey) // nobody signs with these any more; only the name of the algorithm counts
	md5Cert, sha1Cert := *old, *old
	md5Cert.SignatureAlgorithm, sha1Cert.SignatureAlgorithm = x509.MD5WithRSA, x509.SHA1WithRSA
	for name, tt := range map[string]struct {
		cert *x509.Certificate
		hash func([]byte) []byte // nil: no binding
	}{
		"MD5":               {&md5Cert, sum256},
		"SHA-1":             {&sha1Cert, sum256},
		"RSA SHA-256":       {old, sum256},
		"RSA SHA-384":       {signed(t, x509.SHA384WithRSA, rsaKey), sum384},
		"RSA SHA-512":       {signed(t, x509.SHA512WithRSA, rsaKey), sum512},
		"RSA-PSS SHA-256":   {signed(t, x509.SHA256WithRSAPSS, rsaKey), sum256},
		"RSA-PSS SHA-384":   {signed(t, x509.SHA384WithRSAPSS, rsaKey), sum384},
		"RSA-PSS SHA-512":   {signed(t, x509.SHA512WithRSAPSS, rsaKey), sum512},
		"ECDSA SHA-256":     {signed(t, x509.ECDSAWithSHA256, ecKey), sum256},
		"ECDSA SHA-384":     {signed(t, x509.ECDSAWithSHA384, ecKey), sum384},
		"ECDSA SHA-512":     {signed(t, x509.ECDSAWithSHA512, ecKey), sum512},
		"Ed25519":           {signed(t, x509.PureEd25519, edKey), nil},
		"unknown to crypto": {&x509.Certificate{Raw: old.Raw}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ChannelBinding(tt.cert)
			if tt.hash == nil {
				if !errors.Is(err, ErrNoChannelBinding) || got != [16]byte{} {
					t.Errorf("binding %x, %v", got, err)
				}
				return
			}
			// Written out, so that a slip in the length or in the prefix of ours shows.
			sum := tt.hash(tt.cert.Raw)
			gss := append(make([]byte, 16), byte(21+len(sum)), 0, 0, 0)
			gss = append(append(gss, "tls-server-end-point:"...), sum...)
			if want := md5.Sum(gss); err != nil || got != want { //nolint:gosec // as in binding.go
				t.Errorf("binding %x, %v, want %x", got, err, want)
			}
		})
	}
}
