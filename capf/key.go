package capf

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strconv"
	"strings"
)

// KeyType is the value of element 17.
type KeyType uint8

// The key types.
const (
	KeyRSA KeyType = 0
	KeyEC  KeyType = 1
)

// String returns "rsa" or "ec".
func (t KeyType) String() string {
	switch t {
	case KeyRSA:
		return "rsa"
	case KeyEC:
		return "ec"
	}
	return fmt.Sprintf("keytype(%d)", uint8(t))
}

// KeySpec is a kind of key. Its zero value is no key.
type KeySpec struct {
	Type KeyType
	// Bits is the size of an RSA modulus, or 256, 384 or 521 for the NIST curve.
	Bits int
}

// ParseKeySpec reads "rsa:2048" (512, 1024, 2048, 3072, 4096) or "ec:256" (256, 384, 521).
func ParseKeySpec(s string) (KeySpec, error) {
	kind, size, ok := strings.Cut(s, ":")
	bits, err := strconv.Atoi(size)
	if !ok || err != nil {
		return KeySpec{}, fmt.Errorf("key %q: want TYPE:BITS, for example rsa:2048 or ec:256", s)
	}
	k := KeySpec{Bits: bits}
	switch kind {
	case "rsa":
	case "ec":
		k.Type = KeyEC
	default:
		return KeySpec{}, fmt.Errorf("key %q: unknown type %q: want rsa or ec", s, kind)
	}
	if !k.Valid() || strconv.Itoa(bits) != size {
		return KeySpec{}, fmt.Errorf("key %q: want rsa:512, 1024, 2048, 3072 or 4096, or ec:256, 384 or 521", s)
	}
	return k, nil
}

// Valid reports whether the key is one that the protocol can ask for.
func (k KeySpec) Valid() bool {
	switch k.Type {
	case KeyRSA:
		switch k.Bits {
		case 512, 1024, 2048, 3072, 4096:
			return true
		}
	case KeyEC:
		_, ok := k.curveNumber()
		return ok
	}
	return false
}

// String returns the form that ParseKeySpec reads.
func (k KeySpec) String() string { return fmt.Sprintf("%v:%d", k.Type, k.Bits) }

// MarshalText implements encoding.TextMarshaler with the form of String; the zero value is empty text.
func (k KeySpec) MarshalText() ([]byte, error) {
	if k == (KeySpec{}) {
		return nil, nil
	}
	return []byte(k.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler; empty text is the zero value.
func (k *KeySpec) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*k = KeySpec{}
		return nil
	}
	v, err := ParseKeySpec(string(b))
	if err != nil {
		return err
	}
	*k = v
	return nil
}

// curveNumber is the value of element 18.
func (k KeySpec) curveNumber() (uint8, bool) {
	switch k.Bits {
	case 256:
		return 0, true
	case 384:
		return 1, true
	case 521:
		return 2, true
	}
	return 0, false
}

// elements are those of KEY_GENERATE_REQUEST for a client of the given version. Clients of version 2 know no element
// 17 and no EC keys.
func (k KeySpec) elements(version uint8) []Element {
	if k.Type == KeyEC {
		n, _ := k.curveNumber()
		return []Element{byteElement(TagKeyType, uint8(KeyEC)), byteElement(TagCurve, n)}
	}
	size := Element{Tag: TagKeySize, Value: []byte{byte(k.Bits >> 8), byte(k.Bits)}}
	if version < 3 {
		return []Element{size}
	}
	return []Element{size, byteElement(TagKeyType, uint8(KeyRSA))}
}

// keySpecOf reads what a KEY_GENERATE_REQUEST asks for. Without a key type it is RSA, without a size RSA 2048.
func keySpecOf(m Message) (KeySpec, error) {
	t, _ := m.Uint8(TagKeyType)
	switch KeyType(t) {
	case KeyRSA:
		k := KeySpec{Type: KeyRSA, Bits: 2048}
		if v, ok := m.Element(TagKeySize); ok {
			k.Bits = int(v[0])<<8 | int(v[1])
		}
		if !k.Valid() {
			return k, problemf(CodeBadElement, "asked for an RSA key of %d bits", k.Bits)
		}
		return k, nil
	case KeyEC:
		n, ok := m.Uint8(TagCurve)
		if !ok {
			return KeySpec{}, problemf(CodeMissingElement, "%v for EC without CURVE (18)", m.Command)
		}
		bits := [...]int{256, 384, 521}
		if int(n) >= len(bits) {
			return KeySpec{}, problemf(CodeBadElement, "asked for the unknown curve %d", n)
		}
		return KeySpec{Type: KeyEC, Bits: bits[n]}, nil
	}
	return KeySpec{}, problemf(CodeBadElement, "asked for the unknown key type %d", t)
}

// Bounds of an RSA modulus that is worth looking at; what was asked for is checked besides.
const (
	minRSABits = 512
	maxRSABits = 8192
)

// ParsePublicKey reads the value of element 9: a DER SubjectPublicKeyInfo, or for RSA the bare PKCS#1 RSAPublicKey. It
// returns the key as canonical SubjectPublicKeyInfo and its kind. Keys that must not be certified are refused with
// CodeBadPublicKey: other algorithms and curves, points off the curve, RSA exponents that are even or below 3, moduli
// that are even or have less than 512 or more than 8192 bits.
func ParsePublicKey(b []byte) (spki []byte, k KeySpec, err error) {
	pub, err := x509.ParsePKIXPublicKey(b)
	if err != nil {
		inner, err1 := x509.ParsePKCS1PublicKey(b)
		if err1 != nil {
			return nil, k, &ProtocolError{ErrCode: CodeBadPublicKey, Detail: "public key does not parse", Err: err}
		}
		pub = inner
	}
	k, err = KeySpecOf(pub)
	if err != nil {
		return nil, k, err
	}
	if p, ok := pub.(*rsa.PublicKey); ok {
		switch {
		case p.N.BitLen() < minRSABits || p.N.BitLen() > maxRSABits:
			return nil, k, problemf(CodeBadPublicKey, "RSA modulus of %d bits", p.N.BitLen())
		case p.N.Bit(0) == 0:
			return nil, k, problemf(CodeBadPublicKey, "RSA modulus is even")
		case p.E < 3 || p.E%2 == 0:
			return nil, k, problemf(CodeBadPublicKey, "RSA exponent %d", p.E)
		}
	}
	spki, err = x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, k, &ProtocolError{ErrCode: CodeBadPublicKey, Detail: "public key cannot be encoded", Err: err}
	}
	return spki, k, nil
}

// KeySpecOf returns the kind of an RSA or EC public key. Other keys and curves are refused with CodeBadPublicKey.
func KeySpecOf(pub crypto.PublicKey) (KeySpec, error) {
	switch p := pub.(type) {
	case *rsa.PublicKey:
		return KeySpec{Type: KeyRSA, Bits: p.N.BitLen()}, nil
	case *ecdsa.PublicKey:
		k := KeySpec{Type: KeyEC, Bits: p.Curve.Params().BitSize}
		if !k.Valid() {
			return KeySpec{}, problemf(CodeBadPublicKey, "EC key on the curve %s", p.Curve.Params().Name)
		}
		return k, nil
	}
	return KeySpec{}, problemf(CodeBadPublicKey, "key of the type %T", pub)
}

// GenerateKey makes a new key. RSA keys below 1024 bits need a program built with rsa1024min=0.
func GenerateKey(k KeySpec) (crypto.Signer, error) {
	if !k.Valid() {
		return nil, fmt.Errorf("cannot make a key %v", k)
	}
	if k.Type == KeyRSA {
		return rsa.GenerateKey(rand.Reader, k.Bits)
	}
	curve := map[int]elliptic.Curve{256: elliptic.P256(), 384: elliptic.P384(), 521: elliptic.P521()}[k.Bits]
	return ecdsa.GenerateKey(curve, rand.Reader)
}
