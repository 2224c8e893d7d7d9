package cmc

import (
	"crypto/x509/pkix"
	"errors"
)

// Form is what stands where a PKCS#10 has its signature.
type Form int

// The forms of a PKCS#10.
const (
	// Signed is a real signature by the requested key.
	Signed Form = iota + 1
	// RFC is id-alg-noSignature with the SHA-1 of the CertificationRequestInfo (RFC 5272 appendix C.1): what CAPF sends
	// to the RA.
	RFC
	// Microsoft is the null signature of MS-WCCE 2.2.2.6.5, a digest algorithm and the digest: what the RA sends to AD CS.
	Microsoft
)

// String returns "signed", "rfc" or "microsoft".
func (f Form) String() string {
	switch f {
	case Signed:
		return "signed"
	case RFC:
		return "rfc"
	case Microsoft:
		return "microsoft"
	}
	return "unknown"
}

// NullSigned returns the DER of a PKCS#10 for a key that nobody here can sign with. spki is the DER
// SubjectPublicKeyInfo; exts go into extensionRequest, a SubjectKeyIdentifier (SHA-1 of the key bits) is added when they
// have none. form is RFC or Microsoft. Errors are *Problem with CodeUnusable.
func NullSigned(spki []byte, subject pkix.Name, exts []pkix.Extension, form Form) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// NullSignedRaw is NullSigned with the subject as a DER Name, which is kept byte for byte.
func NullSignedRaw(spki, subject []byte, exts []pkix.Extension, form Form) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// RenullSigned changes an unsigned PKCS#10 from one null form into another. The CertificationRequestInfo keeps its bytes.
// A PKCS#10 that is really signed is refused, for it must be passed through; so is one that CheckNullSignature refuses.
func RenullSigned(csr []byte, form Form) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// CheckNullSignature tells which form csr (DER) has and checks what stands in place of the signature: the hash of the null
// forms (SHA-1 only in the RFC form, SHA-256, SHA-384, SHA-512; raw or wrapped in one OCTET STRING), or the real
// signature. Errors are *Problem: CodeNullSignatureMismatch, CodePOPFailed (real signature wrong), CodeMalformed; the
// Form is valid with the first two.
func CheckNullSignature(csr []byte) (Form, error) {
	return 0, errors.ErrUnsupported
}

// SubjectKeyID returns the key identifier of a DER SubjectPublicKeyInfo: the SHA-1 of the contents of its BIT STRING (RFC
// 5280 section 4.2.1.2, method 1), as EST and Microsoft expect it.
func SubjectKeyID(spki []byte) ([]byte, error) {
	return nil, errors.ErrUnsupported
}
