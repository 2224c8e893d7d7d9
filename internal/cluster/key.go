package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
)

// KeyHash is the SHA-256 of a SubjectPublicKeyInfo in DER, in lower-case hexadecimal: how keys are shown and compared.
func KeyHash(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// keyKind returns the kind of a key and its length in bits.
func keyKind(key crypto.PublicKey, a x509.PublicKeyAlgorithm) (kind string, bits int) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return "RSA", k.N.BitLen()
	case *ecdsa.PublicKey:
		return "EC", k.Curve.Params().BitSize
	case ed25519.PublicKey:
		return "Ed25519", 0
	default:
		return a.String(), 0
	}
}
