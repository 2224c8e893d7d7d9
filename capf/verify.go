package capf

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the protocol has it in elements 6 and 16
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"math/big"
)

// ParseCertificate reads the certificate of element 4. It fails with CodeBadCredential when the phone sent none or when
// it does not parse. Nothing is said about who issued it.
func (c *Credential) ParseCertificate() (*x509.Certificate, error) {
	if c == nil || len(c.Certificate) == 0 {
		return nil, problemf(CodeBadCredential, "the phone sent no certificate (element %v)", TagCertificate)
	}
	return parseShown(c.Certificate, "certificate of the phone")
}

// VerifySignatures checks that the phone holds the key of the certificate that it shows: the signatures in elements 6
// (SHA-1) and 20 (SHA-512) over device name, NUL and certificate, RSA PKCS#1 v1.5 around the bare digest or ECDSA.
// Element 20 must be there; with allowSHA1 element 6 alone will do, as phones of protocol version 2 send it. Whatever
// is there must verify.
//
// Neither the certificate's issuer and dates nor the name in it are looked at. The signatures are not bound to the
// session: whoever has read them once can show them again, see SUDI.
//
// Errors carry CodeBadCredential (no certificate, malformed element, key of an unusable kind), CodeSignatureMissing or
// CodeBadSignature.
func (c *Credential) VerifySignatures(device string, allowSHA1 bool) error {
	cert, err := c.ParseCertificate()
	if err != nil {
		return err
	}
	switch {
	case c.SHA2SignedData == nil && c.SignedData == nil:
		return problemf(CodeSignatureMissing, "the phone showed a certificate and no signature (elements %v and %v)",
			TagSignedData, TagSHA2SignedData)
	case c.SHA2SignedData == nil && !allowSHA1:
		return problemf(CodeSignatureMissing, "the phone signed with SHA-1 only (element %v without %v)", TagSignedData, TagSHA2SignedData)
	}
	signed := SignedBytes(device, c.Certificate)
	if c.SHA2SignedData != nil {
		s, err := ParseSHA2Signature(c.SHA2SignedData)
		if err != nil {
			return badCredential(err, TagSHA2SignedData)
		}
		if s.Digest != DigestSHA512 {
			return problemf(CodeBadCredential, "element %v is over the unknown digest %d", TagSHA2SignedData, s.Digest)
		}
		if err := verifyDigest(cert.PublicKey, sha512Sum(signed), s.Signature, TagSHA2SignedData.String()); err != nil {
			return err
		}
	}
	if c.SignedData != nil {
		return verifyDigest(cert.PublicKey, sha1Sum(signed), c.SignedData, TagSignedData.String())
	}
	return nil
}

// SUDI reads the value of element 16; present is false when the phone sent none. Malformed data is a CodeBadCredential.
func (c *Credential) SUDI() (s SUDI, present bool, err error) {
	if c == nil || c.SUDIData == nil {
		return SUDI{}, false, nil
	}
	s, err = ParseSUDI(c.SUDIData)
	if err != nil {
		return SUDI{}, true, badCredential(err, TagSUDIData)
	}
	return s, true, nil
}

// ParseCertificate reads the certificate of the SUDI data; CodeBadCredential when it does not parse.
func (s SUDI) ParseCertificate() (*x509.Certificate, error) {
	return parseShown(s.Certificate, "certificate of the SUDI data")
}

// Verify checks that the phone holds the key of the SUDI certificate now: both signatures over this session's id and
// the certificate. Only RSA keys can make them. Issuer, dates and name of the certificate are not looked at.
// Errors carry CodeBadCredential or CodeBadSignature.
func (s SUDI) Verify(session uint32) error {
	cert, err := s.ParseCertificate()
	if err != nil {
		return err
	}
	if _, ok := cert.PublicKey.(*rsa.PublicKey); !ok {
		return problemf(CodeBadCredential, "the certificate of the SUDI data has a key of the type %v, and SUDI data is made with RSA keys only",
			cert.PublicKeyAlgorithm)
	}
	signed := s.SignedBytes(session)
	if err := verifyDigest(cert.PublicKey, sha512Sum(signed), s.SHA512Signature, "the SUDI data, SHA-512"); err != nil {
		return err
	}
	return verifyDigest(cert.PublicKey, sha1Sum(signed), s.SHA1Signature, "the SUDI data, SHA-1")
}

// parseShown parses a certificate that the phone showed.
func parseShown(der []byte, what string) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, &ProtocolError{ErrCode: CodeBadCredential, Detail: what + " does not parse", Err: err}
	}
	return cert, nil
}

// badCredential is an element of certificate authentication that does not parse.
func badCredential(err error, t Tag) error {
	return &ProtocolError{ErrCode: CodeBadCredential, Detail: "element " + t.String() + " is malformed", Err: err}
}

// verifyDigest checks a signature over a digest without DigestInfo. what names the signature.
func verifyDigest(pub crypto.PublicKey, digest, sig []byte, what string) error {
	ok := false
	switch p := pub.(type) {
	case *rsa.PublicKey:
		if n := p.N.BitLen(); n < minRSABits || n > maxRSABits {
			return problemf(CodeBadCredential, "the certificate has an RSA key of %d bits, want %d to %d", n, minRSABits, maxRSABits)
		}
		ok = verifyRSA(p, digest, sig)
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(p, digest, sig)
	default:
		return problemf(CodeBadCredential, "the certificate has a key of the type %T, want RSA or EC", pub)
	}
	if !ok {
		return problemf(CodeBadSignature, "the signature in %s does not verify with the key of the phone's certificate", what)
	}
	return nil
}

// smallestStandardRSA is the size below which crypto/rsa refuses to work.
const smallestStandardRSA = 1024

// verifyRSA checks the whole padding, PKCS#1 v1.5 type 1.
func verifyRSA(p *rsa.PublicKey, digest, sig []byte) bool {
	if p.N.BitLen() >= smallestStandardRSA {
		return rsa.VerifyPKCS1v15(p, crypto.Hash(0), digest, sig) == nil
	}
	// Phones may have LSCs of 512 bits. Nothing here is secret.
	if len(sig) != p.Size() || p.E < 3 || p.N.Bit(0) == 0 {
		return false
	}
	want := padRSA(p.Size(), digest)
	s := new(big.Int).SetBytes(sig)
	if want == nil || s.Cmp(p.N) >= 0 {
		return false
	}
	s.Exp(s, big.NewInt(int64(p.E)), p.N)
	return subtle.ConstantTimeCompare(s.FillBytes(make([]byte, p.Size())), want) == 1
}

// padRSA is 00 01 FF.. 00 digest in size bytes; nil when the digest does not fit.
func padRSA(size int, digest []byte) []byte {
	pad := size - len(digest) - 3
	if pad < 8 {
		return nil
	}
	b := make([]byte, size)
	b[1] = 1
	for i := range pad {
		b[2+i] = 0xff
	}
	copy(b[3+pad:], digest)
	return b
}

func sha1Sum(b []byte) []byte {
	h := sha1.Sum(b) //nolint:gosec // the protocol has it
	return h[:]
}

func sha512Sum(b []byte) []byte {
	h := sha512.Sum512(b)
	return h[:]
}
