package cmc_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"callsign/cmc"
)

// selfSigned is a certificate with the key in it.
func selfSigned(t testing.TB, name string, public, private any) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestSealKey: what is sealed for a certificate is opened with its key, and with no other.
func TestSealKey(t *testing.T) {
	t.Parallel()
	recipientKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	strangerKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signerKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	recipient := selfSigned(t, "recipient", recipientKey.Public(), recipientKey)
	signer := selfSigned(t, "signer", signerKey.Public(), signerKey)
	made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(made)
	if err != nil {
		t.Fatal(err)
	}
	for name, encryption := range map[string][]int{"AES-256": cmc.OIDAES256CBC, "AES-128": cmc.OIDAES128CBC} {
		sealed, err := cmc.SealKey(time.Now(), nil, pkcs8, signerKey, []*x509.Certificate{signer}, recipient, encryption)
		if err != nil {
			t.Fatal(err)
		}
		opened, by, err := cmc.OpenKey(sealed, recipientKey)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(opened, pkcs8) || by == nil || !by.Equal(signer) {
			t.Errorf("%s: another key or signer came out", name)
		}
		if _, _, err := cmc.OpenKey(sealed, strangerKey); err == nil {
			t.Errorf("%s: a stranger's key opens it", name)
		}
		if bytes.Contains(sealed, pkcs8[len(pkcs8)-32:]) {
			t.Errorf("%s: the key is readable", name)
		}
	}
	if _, err := cmc.SealKey(time.Now(), nil, pkcs8, signerKey, []*x509.Certificate{signer}, signer, cmc.OIDAES256CBC); err == nil {
		t.Error("sealed for an EC key")
	}
	if _, err := cmc.SealKey(time.Now(), nil, pkcs8, signerKey, []*x509.Certificate{signer}, recipient, cmc.OIDData); err == nil {
		t.Error("sealed with a cipher that is none")
	}
}

// enveloped is the envelope of testdata/envelope.
func enveloped(t testing.TB) (der []byte, key *rsa.PrivateKey) {
	t.Helper()
	text, err := os.ReadFile("testdata/envelope/key.b64")
	if err != nil {
		t.Fatal(err)
	}
	if der, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(text)), "")); err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile("testdata/envelope/recipient.key")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return der, parsed.(*rsa.PrivateKey)
}

// TestOpenForeignKey: an envelope that another program has made.
func TestOpenForeignKey(t *testing.T) {
	t.Parallel()
	der, key := enveloped(t)
	pkcs8, signer, err := cmc.OpenKey(der, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x509.ParsePKCS8PrivateKey(pkcs8); err != nil {
		t.Error(err)
	}
	if signer == nil || signer.Subject.CommonName != "CAPF RA" {
		t.Errorf("signed by %v", signer)
	}
	for _, n := range []int{0, 1, 20, len(der) / 2, len(der) - 1} {
		if _, _, err := cmc.OpenKey(der[:n], key); err == nil {
			t.Errorf("cut at %d: opened", n)
		}
	}
}

// FuzzOpenKey: no envelope, however broken, ends in anything but a key or an error.
func FuzzOpenKey(f *testing.F) {
	der, key := enveloped(f)
	f.Add(der)
	f.Add(der[:len(der)-1])
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, der []byte) {
		pkcs8, _, err := cmc.OpenKey(der, key)
		if (err == nil) != (len(pkcs8) > 0) {
			t.Errorf("key of %d octets with error %v", len(pkcs8), err)
		}
	})
}
