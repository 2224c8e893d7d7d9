package est

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// KeySpec is a kind of key. The zero value is no kind.
type KeySpec struct {
	// Algorithm is "rsa", "ec", "ed25519", or the object identifier of one that is not known here.
	Algorithm string
	// Bits is the length of an RSA modulus; 0 for any.
	Bits int
	// Curve is "p-256", "p-384", "p-521", or the object identifier of a curve that is not known here; empty for any.
	Curve string
}

// Algorithms of a KeySpec.
const (
	keyRSA     = "rsa"
	keyEC      = "ec"
	keyEd25519 = "ed25519"
)

// Object identifiers of keys.
const (
	oidKeyRSA = "1.2.840.113549.1.1.1"
	oidKeyEC  = "1.2.840.10045.2.1"
)

// curve is a curve with its names.
type curve struct {
	name, oid string
	curve     elliptic.Curve
}

// curves are those that keys can be made on. The slice is never modified.
var curves = []curve{
	{"p-256", "1.2.840.10045.3.1.7", elliptic.P256()},
	{"p-384", "1.3.132.0.34", elliptic.P384()},
	{"p-521", "1.3.132.0.35", elliptic.P521()},
}

// otherCurves are curves that servers name and crypto/x509 has no keys on. The slice is never modified.
var otherCurves = []string{
	"1.3.132.0.33", "1.3.132.0.10", // secp224r1, secp256k1
	"1.3.36.3.3.2.8.1.1.7", "1.3.36.3.3.2.8.1.1.11", "1.3.36.3.3.2.8.1.1.13", // brainpoolP256r1, P384r1, P512r1
}

// Bounds of an RSA modulus in a KeySpec, in bits.
const (
	leastSpecBits = 1024
	mostSpecBits  = 8192
)

// ParseKeySpec reads "rsa:3072", "rsa" (2048 bits when it is made), "p-256", "p-384", "p-521" or "ed25519".
func ParseKeySpec(s string) (KeySpec, error) {
	switch kind, size, sized := strings.Cut(s, ":"); {
	case kind == keyRSA && !sized:
		return KeySpec{Algorithm: keyRSA}, nil
	case kind == keyRSA:
		bits, err := strconv.Atoi(size)
		if err != nil || bits < leastSpecBits || bits > mostSpecBits {
			return KeySpec{}, fmt.Errorf("%q is no length of an RSA key: use %d to %d bits", size, leastSpecBits, mostSpecBits)
		}
		return KeySpec{Algorithm: keyRSA, Bits: bits}, nil
	case s == keyEd25519:
		return KeySpec{Algorithm: keyEd25519}, nil
	case slices.ContainsFunc(curves, func(c curve) bool { return c.name == s }):
		return KeySpec{Algorithm: keyEC, Curve: s}, nil
	}
	return KeySpec{}, fmt.Errorf("%q is no kind of key: use rsa:2048 (or another length), p-256, p-384, p-521 or ed25519", s)
}

// KeySpecOf returns the kind of a public key; the zero value for one that is not known here.
func KeySpecOf(key crypto.PublicKey) KeySpec {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return KeySpec{Algorithm: keyRSA, Bits: k.N.BitLen()}
	case *ecdsa.PublicKey:
		for _, c := range curves {
			if c.curve == k.Curve {
				return KeySpec{Algorithm: keyEC, Curve: c.name}
			}
		}
	case ed25519.PublicKey:
		return KeySpec{Algorithm: keyEd25519}
	}
	return KeySpec{}
}

// String returns what ParseKeySpec reads, or the object identifiers of what is not known here.
func (k KeySpec) String() string {
	switch {
	case k.Algorithm == keyRSA && k.Bits != 0:
		return keyRSA + ":" + strconv.Itoa(k.Bits)
	case k.Algorithm == keyEC && k.Curve != "":
		return k.Curve
	}
	return k.Algorithm
}

// Accepts tells whether a key of kind other is one of kind k. A length or curve that k leaves open accepts every one.
func (k KeySpec) Accepts(other KeySpec) bool {
	return k.Algorithm == other.Algorithm && (k.Bits == 0 || k.Bits == other.Bits) && (k.Curve == "" || k.Curve == other.Curve)
}

// Usual lengths and curves, where a KeySpec leaves them open.
const (
	usualRSABits = 2048
	usualCurve   = "p-256"
)

// Generate makes a key: RSA of 2048 bits and P-256 where the kind leaves it open. A kind that is not known is an error.
func (k KeySpec) Generate() (crypto.Signer, error) {
	switch k.Algorithm {
	case keyRSA:
		bits := k.Bits
		if bits == 0 {
			bits = usualRSABits
		}
		if bits < leastSpecBits || bits > mostSpecBits {
			return nil, fmt.Errorf("RSA keys of %d bits are not made here", bits)
		}
		return rsa.GenerateKey(rand.Reader, bits)
	case keyEC:
		for _, c := range curves {
			if c.name == k.Curve || k.Curve == "" && c.name == usualCurve {
				return ecdsa.GenerateKey(c.curve, rand.Reader)
			}
		}
		return nil, fmt.Errorf("keys on the curve %s are not made here", k.Curve)
	case keyEd25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("keys of kind %q are not made here", k.Algorithm)
}

// known tells whether Generate can make it.
func (k KeySpec) known() bool {
	switch k.Algorithm {
	case keyRSA:
		return k.Bits == 0 || k.Bits >= leastSpecBits && k.Bits <= mostSpecBits
	case keyEC:
		return k.Curve == "" || slices.ContainsFunc(curves, func(c curve) bool { return c.name == k.Curve })
	}
	return k.Algorithm == keyEd25519
}

// curveName is the name of a curve's object identifier, or that itself.
func curveName(oid string) string {
	for _, c := range curves {
		if c.oid == oid {
			return c.name
		}
	}
	return oid
}

// keyDemand reads an attribute whose type is an algorithm of keys (RFC 9908 section 3.2): each value is a choice, and none
// leaves the size open. It is nil for any other attribute, and for values that make no sense.
func keyDemand(e *CSRAttr) []KeySpec {
	kind := KeySpec{}
	switch e.Type.String() {
	case oidKeyRSA:
		kind.Algorithm = keyRSA
	case oidKeyEC:
		kind.Algorithm = keyEC
	case signatureOIDEd25519:
		kind.Algorithm = keyEd25519
	default:
		return nil
	}
	if len(e.Values) == 0 || kind.Algorithm == keyEd25519 {
		return []KeySpec{kind}
	}
	var out []KeySpec
	for _, v := range e.Values {
		value := cryptobyte.String(v)
		one := kind
		var bits int
		var oid x509.OID
		switch {
		case kind.Algorithm == keyRSA && value.ReadASN1Integer(&bits) && bits > 0:
			one.Bits = bits
		case kind.Algorithm == keyEC && readOID(&value, &oid):
			one.Curve = curveName(oid.String())
		default:
			continue
		}
		out = append(out, one)
	}
	return out
}

const signatureOIDEd25519 = "1.3.101.112"

// namedKey is the kind of key that an object identifier alone names.
func namedKey(oid string) (KeySpec, bool) {
	switch oid {
	case oidKeyRSA:
		return KeySpec{Algorithm: keyRSA}, true
	case oidKeyEC:
		return KeySpec{Algorithm: keyEC}, true
	case signatureOIDEd25519:
		return KeySpec{Algorithm: keyEd25519}, true
	}
	if name := curveName(oid); name != oid || slices.Contains(otherCurves, oid) {
		return KeySpec{Algorithm: keyEC, Curve: name}, true
	}
	return KeySpec{}, false
}

// dropGeneral leaves out "any curve" where curves are named beside it.
func dropGeneral(named []KeySpec) []KeySpec {
	curves := slices.ContainsFunc(named, func(k KeySpec) bool { return k.Curve != "" })
	return slices.DeleteFunc(named, func(k KeySpec) bool { return curves && k.Algorithm == keyEC && k.Curve == "" })
}

// KeyAttr is the element that demands one kind of key (RFC 9908 section 3.2).
func KeyAttr(k KeySpec) (CSRAttr, error) {
	var b cryptobyte.Builder
	oid := ""
	switch k.Algorithm {
	case keyRSA:
		if oid = oidKeyRSA; k.Bits != 0 {
			b.AddASN1Int64(int64(k.Bits))
		}
	case keyEC:
		if oid = oidKeyEC; k.Curve != "" {
			i := slices.IndexFunc(curves, func(c curve) bool { return c.name == k.Curve })
			if i < 0 {
				return CSRAttr{}, badAttrs("the curve %s is not known", k.Curve)
			}
			addOID(&b, mustOID(curves[i].oid))
		}
	case keyEd25519:
		oid = signatureOIDEd25519
	default:
		return CSRAttr{}, badAttrs("keys of kind %q are not known", k.Algorithm)
	}
	value, err := b.Bytes()
	if err != nil {
		return CSRAttr{}, &CSRAttrsError{Detail: "cannot be written", Err: err}
	}
	e := CSRAttr{Type: mustOID(oid), Values: [][]byte{}}
	if len(value) > 0 {
		e.Values = append(e.Values, value)
	}
	return e, nil
}

// mustOID is the object identifier of a constant.
func mustOID(s string) x509.OID {
	oid, err := x509.ParseOID(s)
	if err != nil {
		panic(err) // only constants come here
	}
	return oid
}

// parseKeyTemplate reads the contents of [0] of a template: the algorithm and, where an RSA length is demanded, a placeholder.
func parseKeyTemplate(in cryptobyte.String) (*KeySpec, error) {
	var algorithm cryptobyte.String
	var oid x509.OID
	if !in.ReadASN1(&algorithm, casn1.SEQUENCE) || !readOID(&algorithm, &oid) {
		return nil, badAttrs("the key of the template has no algorithm")
	}
	var placeholder asn1.BitString
	given := !in.Empty()
	if given && (!in.ReadASN1BitString(&placeholder) || !in.Empty()) {
		return nil, badAttrs("the key of the template is malformed")
	}
	k := &KeySpec{Algorithm: oid.String()}
	switch k.Algorithm {
	case oidKeyRSA:
		if k.Algorithm = keyRSA; given {
			key, err := x509.ParsePKCS1PublicKey(placeholder.RightAlign())
			if err != nil {
				return nil, &CSRAttrsError{Detail: "the placeholder of the template is no RSA key", Err: err}
			}
			k.Bits = key.N.BitLen()
		}
	case oidKeyEC:
		var named x509.OID
		if k.Algorithm = keyEC; algorithm.Empty() {
			break
		}
		if !readOID(&algorithm, &named) {
			return nil, badAttrs("the curve of the template has no name")
		}
		k.Curve = curveName(named.String())
	case signatureOIDEd25519:
		k.Algorithm = keyEd25519
	}
	return k, nil
}

// addKeyTemplate writes what parseKeyTemplate reads.
func addKeyTemplate(b *cryptobyte.Builder, k KeySpec) {
	params := []byte{5, 0}
	oid := k.Algorithm
	switch k.Algorithm {
	case keyRSA:
		oid = oidKeyRSA
	case keyEC:
		oid, params = oidKeyEC, nil
		if k.Curve != "" {
			name := k.Curve
			if i := slices.IndexFunc(curves, func(c curve) bool { return c.name == k.Curve }); i >= 0 {
				name = curves[i].oid
			}
			params = derOID(b, name)
		}
	case keyEd25519:
		oid, params = signatureOIDEd25519, nil
	default:
		params = nil
	}
	b.AddASN1(casn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(derOID(b, oid))
			b.AddBytes(params)
		})
		if k.Algorithm == keyRSA && k.Bits != 0 {
			b.AddASN1BitString(placeholder(b, k.Bits))
		}
	})
}

// derOID encodes an object identifier from its text; what is none becomes an error of b.
func derOID(b *cryptobyte.Builder, text string) []byte {
	oid, err := x509.ParseOID(text)
	if err != nil {
		b.SetError(err)
		return nil
	}
	var one cryptobyte.Builder
	addOID(&one, oid)
	der, err := one.Bytes()
	if err != nil {
		b.SetError(err)
	}
	return der
}

// placeholder is an RSAPublicKey of that length which is nobody's: all ones.
func placeholder(b *cryptobyte.Builder, bits int) []byte {
	if bits < 1 || bits > 1<<16 {
		b.SetError(errors.New("no length of an RSA key"))
		return nil
	}
	n := make([]byte, (bits+7)/8)
	for i := range n {
		n[i] = 0xff
	}
	n[0] >>= (8 - bits%8) % 8
	var one cryptobyte.Builder
	one.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.INTEGER, func(b *cryptobyte.Builder) {
			if n[0]&0x80 != 0 {
				b.AddUint8(0)
			}
			b.AddBytes(n)
		})
		b.AddASN1Int64(65537)
	})
	der, err := one.Bytes()
	if err != nil {
		b.SetError(err)
	}
	return der
}
