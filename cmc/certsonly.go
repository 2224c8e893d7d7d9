package cmc

import (
	"crypto/x509"
	"errors"
)

// CertsOnly returns the DER of a certs-only message (degenerate SignedData, RFC 5272 section 4.1, RFC 7030 section 4.1.3)
// with the certificates in the order given. At least one is needed.
func CertsOnly(certs ...*x509.Certificate) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// ParseCertsOnly returns the certificates of a certs-only message in the order received, duplicates included. It accepts
// BER, an empty or filled crls field, and digest algorithms although nobody signed. Base64, white space and trailing NULs
// are the caller's to remove. A message is refused (*Problem: CodeMalformed, CodeNoCertificate) when it is longer than
// 2,000,000 octets, holds no certificate or more than 256, has content or signers, or when octets follow it. Nothing in
// it is trusted: a self-signed certificate in the bag is only a certificate.
func ParseCertsOnly(msg []byte) ([]*x509.Certificate, error) {
	return nil, errors.ErrUnsupported
}
