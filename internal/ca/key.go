package ca

import (
	"bytes"
	"crypto"
	"crypto/x509"
)

// CertifiesKey tells whether cert is for the key of a DER SubjectPublicKeyInfo. Keys are compared by value when their
// encodings differ: authorities write the parameters of an RSA key, or the points of a curve, anew. False for a nil
// certificate and for a key that cannot be read.
func CertifiesKey(cert *x509.Certificate, spki []byte) bool {
	if cert == nil {
		return false
	}
	if bytes.Equal(cert.RawSubjectPublicKeyInfo, spki) {
		return true
	}
	want, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return false
	}
	have, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && have.Equal(want)
}
