package capf

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseKeySpec(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]KeySpec{
		"rsa:512": {KeyRSA, 512}, "rsa:2048": {KeyRSA, 2048}, "rsa:4096": {KeyRSA, 4096},
		"ec:256": {KeyEC, 256}, "ec:384": {KeyEC, 384}, "ec:521": {KeyEC, 521},
	} {
		got, err := ParseKeySpec(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "rsa", "rsa:", "rsa:2047", "ec:255", "RSA:2048", "dsa:1024", "rsa:2048:", "rsa:+2048", "rsa:02048", "2048"} {
		if got, err := ParseKeySpec(bad); err == nil {
			t.Errorf("%q: accepted as %v", bad, got)
		}
	}
}

// TestKeyRequest compares with the bytes of the specification.
func TestKeyRequest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		key     KeySpec
		version uint8
		want    []byte
	}{
		{"RSA 2048, capfd", KeySpec{KeyRSA, 2048}, 3, []byte{10, 0, 2, 8, 0, 17, 0, 1, 0}},
		{"RSA 2048, CUCM to Jabber", KeySpec{KeyRSA, 2048}, 2, []byte{10, 0, 2, 8, 0}},
		{"EC secp384r1", KeySpec{KeyEC, 384}, 3, []byte{17, 0, 1, 1, 18, 0, 1, 1}},
		{"EC secp521r1", KeySpec{KeyEC, 521}, 3, []byte{17, 0, 1, 1, 18, 0, 1, 2}},
	}
	for _, tt := range tests {
		m := Message{Command: KeyGenerateRequest, SessionID: 1, Elements: tt.key.elements(tt.version)}
		b, err := m.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, b[headerLength:]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if got, err := keySpecOf(m); err != nil || got != tt.key {
			t.Errorf("%s reads as %v, %v", tt.name, got, err)
		}
	}
	for name, elements := range map[string][]Element{
		"odd size":      {{TagKeySize, []byte{8, 1}}},
		"unknown type":  {byteElement(TagKeyType, 2)},
		"no curve":      {byteElement(TagKeyType, 1)},
		"unknown curve": {byteElement(TagKeyType, 1), byteElement(TagCurve, 3)},
	} {
		if got, err := keySpecOf(Message{Elements: elements}); err == nil {
			t.Errorf("%s reads as %v", name, got)
		}
	}
}

// pkcs1 encodes an RSA public key that crypto/x509 would not make.
func pkcs1(t *testing.T, n *big.Int, e int) []byte {
	t.Helper()
	b, err := asn1.Marshal(struct {
		N *big.Int
		E int
	}{n, e})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParsePublicKey(t *testing.T) {
	t.Parallel()
	a, err := rsaAuthority()
	if err != nil {
		t.Fatal(err)
	}
	pub := a.key.Public().(*rsa.PublicKey)
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"SubjectPublicKeyInfo": spki, "PKCS#1": x509.MarshalPKCS1PublicKey(pub)} {
		got, k, err := ParsePublicKey(b)
		if err != nil || k != (KeySpec{KeyRSA, 2048}) || !bytes.Equal(got, spki) {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
	small := new(big.Int).Lsh(big.NewInt(1), 511)
	small.SetBit(small, 0, 1)
	if _, k, err := ParsePublicKey(pkcs1(t, small, 3)); err != nil || k != (KeySpec{KeyRSA, 512}) {
		t.Errorf("RSA 512: %v, %v", k, err)
	}

	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := GenerateKey(KeySpec{KeyEC, 256})
	if err != nil {
		t.Fatal(err)
	}
	onCurve, err := x509.MarshalPKIXPublicKey(p256.Public())
	if err != nil {
		t.Fatal(err)
	}
	offCurve := bytes.Clone(onCurve)
	offCurve[len(offCurve)-1] ^= 1
	must := func(pub any) []byte {
		b, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, b := range map[string][]byte{
		"empty": {}, "garbage": []byte("no key"), "left over": append(bytes.Clone(spki), 0),
		"exponent 1": pkcs1(t, pub.N, 1), "exponent 2": pkcs1(t, pub.N, 2), "exponent 65536": pkcs1(t, pub.N, 65536),
		"exponent -3": pkcs1(t, pub.N, -3), "even modulus": pkcs1(t, new(big.Int).Lsh(pub.N, 1), 3),
		"negative modulus": pkcs1(t, new(big.Int).Neg(pub.N), 3), "small modulus": pkcs1(t, big.NewInt(35), 3),
		"huge modulus": pkcs1(t, new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 9000), big.NewInt(1)), 3),
		"P-224":        must(&p224.PublicKey), "Ed25519": must(ed), "point off the curve": offCurve,
	} {
		_, k, err := ParsePublicKey(b)
		p, ok := errors.AsType[*ProtocolError](err)
		if !ok || p.Code() != CodeBadPublicKey {
			t.Errorf("%s: got %v, %v; want %s", name, k, err, CodeBadPublicKey)
		}
	}
}

func TestGenerateKey(t *testing.T) {
	t.Parallel()
	for _, want := range []KeySpec{{KeyEC, 256}, {KeyEC, 384}, {KeyEC, 521}, {KeyRSA, 1024}} {
		key, err := GenerateKey(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := KeySpecOf(key.Public()); err != nil || got != want {
			t.Errorf("%v: made %v, %v", want, got, err)
		}
	}
	if _, err := GenerateKey(KeySpec{KeyRSA, 2047}); err == nil {
		t.Error("made a key of 2047 bits")
	}
}
