package cmc

import (
	"crypto/x509"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Limits of certs-only messages, which carry whole CA chains and sometimes CRLs.
const (
	maxCertsOnly    = 2_000_000
	maxCertificates = 256
)

// CertsOnly returns the DER of a certs-only message (degenerate SignedData, RFC 5272 section 4.1, RFC 7030 section 4.1.3)
// with the certificates in the order given. At least one is needed.
func CertsOnly(certs ...*x509.Certificate) ([]byte, error) {
	if len(certs) == 0 {
		return nil, unusable("a certs-only message needs a certificate")
	}
	return marshal(func(b *cryptobyte.Builder) {
		addContentInfo(b, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(1)
			b.AddASN1(casn1.SET, func(*cryptobyte.Builder) {})
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(OIDData) })
			b.AddASN1(context0Constructed, func(b *cryptobyte.Builder) {
				for _, c := range certs {
					b.AddBytes(c.Raw)
				}
			})
			b.AddASN1(casn1.SET, func(*cryptobyte.Builder) {})
		})
	})
}

// ParseCertsOnly returns the certificates of a certs-only message in the order received, duplicates included. It accepts
// BER, an empty or filled crls field, and digest algorithms although nobody signed. Base64, white space and trailing NULs
// are the caller's to remove. A message is refused (*Problem: CodeMalformed, CodeNoCertificate) when it is longer than
// 2,000,000 octets, holds no certificate or more than 256, has content or signers, or when octets follow it. Nothing in
// it is trusted: a self-signed certificate in the bag is only a certificate.
func ParseCertsOnly(msg []byte) ([]*x509.Certificate, error) {
	m, err := readSignedData(msg, limits{maxCertsOnly, maxCertificates, MaxSigners})
	if err != nil {
		return nil, err
	}
	if p := m.checkCertsOnly(); p != nil {
		return nil, p
	}
	return m.Certificates, nil
}

// checkCertsOnly makes sure that m is a certs-only message with something in it. An empty eContent, which some tools
// write, counts as none.
func (m *Message) checkCertsOnly() *Problem {
	switch {
	case !m.EContentType.Equal(OIDData) || len(m.EContent) > 0 || len(m.Signers) > 0:
		return malformed("the SignedData has content of type %v or signers; it is not certs-only", m.EContentType)
	case len(m.Certificates) == 0:
		return failed(CodeNoCertificate, BadRequest, "the certs-only message holds no certificate")
	}
	return nil
}
