package local

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"io"
	"math/big"

	"callsign/internal/ca"
)

// KeyKind names a key type and size: "rsa:2048", "rsa:3072", "rsa:4096", "ec:256", "ec:384" or "ec:521".
type KeyKind string

// The kinds that GenerateKey makes.
const (
	RSA2048 KeyKind = "rsa:2048"
	RSA3072 KeyKind = "rsa:3072"
	RSA4096 KeyKind = "rsa:4096"
	P256    KeyKind = "ec:256"
	P384    KeyKind = "ec:384"
	P521    KeyKind = "ec:521"
)

// GenerateKey makes a private key. An empty kind means P256.
func GenerateKey(random io.Reader, k KeyKind) (crypto.Signer, error) {
	switch k {
	case RSA2048:
		return rsa.GenerateKey(random, 2048)
	case RSA3072:
		return rsa.GenerateKey(random, 3072)
	case RSA4096:
		return rsa.GenerateKey(random, 4096)
	case P256, "":
		return ecdsa.GenerateKey(elliptic.P256(), random)
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), random)
	case P521:
		return ecdsa.GenerateKey(elliptic.P521(), random)
	}
	return nil, fmt.Errorf("key kind %q: want rsa:2048, rsa:3072, rsa:4096, ec:256, ec:384 or ec:521", k)
}

// KeyPolicy says which public keys are certified. The zero value takes RSA of 2048 to 4096 bits and the curves P-256,
// P-384 and P-521.
type KeyPolicy struct {
	// MinRSABits is the smallest RSA modulus; 0 means 2048. Phones can make keys from 512 bits on, so an old fleet may
	// need 1024 here; below 512 is never accepted.
	MinRSABits int
	// MaxRSABits is the largest; 0 means 4096.
	MaxRSABits int
}

const smallestRSA = 512

// Check returns why pub may not be certified, or nil. The errors are final.
func (p KeyPolicy) Check(pub any) *ca.Error {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return p.checkRSA(k)
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return &ca.Error{
			ErrCode: CodeKeyType, Final: true,
			Detail: fmt.Sprintf("the key is on curve %s; P-256, P-384 and P-521 are certified", k.Params().Name),
			Fix:    "choose another EC key size in the phone's CAPF settings and repeat the operation",
		}
	}
	return &ca.Error{
		ErrCode: CodeKeyType, Final: true,
		Detail: fmt.Sprintf("the key is a %T; only RSA and EC keys are certified", pub),
		Fix:    "choose RSA or EC as key type in the phone's CAPF settings and repeat the operation",
	}
}

func (p KeyPolicy) checkRSA(k *rsa.PublicKey) *ca.Error {
	low, high := p.MinRSABits, p.MaxRSABits
	if low == 0 {
		low = 2048
	}
	if high == 0 {
		high = 4096
	}
	low = max(low, smallestRSA)
	bits := k.N.BitLen()
	switch {
	case bits < low:
		return &ca.Error{
			ErrCode: CodeKeyWeak, Final: true,
			Detail: fmt.Sprintf("the RSA key has %d bits; the local CA asks for %d or more", bits, low),
			Fix: fmt.Sprintf("set Key Size to %d in the phone's CAPF settings and repeat the operation, "+
				"or lower ca.min_rsa_bits for phones that cannot make longer keys", low),
		}
	case bits > high:
		return &ca.Error{
			ErrCode: CodeKeyLarge, Final: true,
			Detail: fmt.Sprintf("the RSA key has %d bits; the local CA takes at most %d", bits, high),
			Fix:    fmt.Sprintf("set Key Size to %d or less in the phone's CAPF settings and repeat the operation", high),
		}
	case k.E < 3 || k.E%2 == 0:
		return &ca.Error{
			ErrCode: CodeKeyWeak, Final: true,
			Detail: fmt.Sprintf("the RSA key has the public exponent %d; it must be odd and 3 or more", k.E),
			Fix:    "the phone made a broken key: repeat the operation; if it comes again, update the phone's firmware",
		}
	case k.N.Bit(0) == 0:
		return &ca.Error{
			ErrCode: CodeKeyWeak, Final: true,
			Detail: "the RSA modulus is even: its private key can be computed from it",
			Fix:    "the phone made a broken key: repeat the operation; if it comes again, update the phone's firmware",
		}
	}
	return nil
}

// NewSerial returns a serial number of 128 random bits, never zero (RFC 5280 4.1.2.2 wants it positive).
func NewSerial(random io.Reader) (*big.Int, error) {
	b := make([]byte, 16)
	for range 4 {
		if _, err := io.ReadFull(random, b); err != nil {
			return nil, fmt.Errorf("read random serial number: %w", err)
		}
		if n := new(big.Int).SetBytes(b); n.Sign() > 0 {
			return n, nil
		}
	}
	return nil, fmt.Errorf("random source gives zeros only")
}
