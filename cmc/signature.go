package cmc

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha1" //nolint:gosec // the no-signature form of RFC 5272 C.1 is defined with it and protects nothing
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Sizes of RSA keys that may sign, in bits.
const (
	minRSABits = 2048
	maxRSABits = 4096
)

// errWeakKey is why a key may not sign although its signature may be right.
var errWeakKey = errors.New("the key may not sign: only RSA 2048 to 4096 and P-256, P-384, P-521 may")

// hashByOID returns the digest of that name, or 0.
func hashByOID(oid asn1.ObjectIdentifier) crypto.Hash {
	switch {
	case oid.Equal(oidSHA1):
		return crypto.SHA1
	case oid.Equal(oidSHA256):
		return crypto.SHA256
	case oid.Equal(oidSHA384):
		return crypto.SHA384
	case oid.Equal(oidSHA512):
		return crypto.SHA512
	}
	return 0
}

// sum returns the digest of b.
func sum(h crypto.Hash, b []byte) []byte {
	d := h.New()
	d.Write(b)
	return d.Sum(nil)
}

// checkKey returns errWeakKey for a key that may not sign.
func checkKey(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n >= minRSABits && n <= maxRSABits {
			return nil
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() || k.Curve == elliptic.P521() {
			return nil
		}
	}
	return errWeakKey
}

// checkWithOwn checks s with the certificates of the message. When several of them bear the name, one that verifies wins:
// otherwise anybody could hide the right one behind a wrong one.
func (m *Message) checkWithOwn(s *Signer) error {
	if s.NoSignature {
		return m.CheckSignature(s, nil)
	}
	var first error
	for _, c := range m.Certificates {
		if !s.Names(c) {
			continue
		}
		err := m.CheckSignature(s, c)
		if err == nil {
			s.Certificate = c
			return nil
		}
		if s.Certificate == nil {
			s.Certificate, first = c, err
		}
	}
	if s.Certificate == nil {
		return ErrNoCertificate
	}
	return first
}

// CheckSignature checks the content attributes and the signature of s, a signer of m, with the key of c, for a signer whose
// certificate did not come with the message. For a no-signature signer c is ignored and may be nil.
func (m *Message) CheckSignature(s *Signer, c *x509.Certificate) error {
	if s.Digest == 0 || s.Digest == crypto.SHA1 && !s.NoSignature {
		return errors.New("the digest algorithm is not SHA-256, SHA-384 or SHA-512")
	}
	covered := s.signedAttrs
	if covered == nil {
		if !m.EContentType.Equal(OIDData) {
			return errors.New("signed attributes are missing, which only id-data allows")
		}
		covered = m.EContent
	} else if err := m.checkContentAttributes(s); err != nil {
		return err
	}
	if s.NoSignature {
		if !s.sigParamsOK || subtle.ConstantTimeCompare(sum(s.Digest, covered), s.signature) != 1 {
			return errors.New("the hash in place of a signature is wrong")
		}
		return nil
	}
	if c == nil {
		return ErrNoCertificate
	}
	alg := s.algorithm(c)
	if alg == x509.UnknownSignatureAlgorithm {
		return fmt.Errorf("the signature algorithm %v does not fit the key and the digest", s.SignatureAlgorithm)
	}
	if err := checkKey(c.PublicKey); err != nil {
		return err
	}
	if err := c.CheckSignature(alg, covered, s.signature); err != nil {
		return fmt.Errorf("the signature is wrong: %w", err)
	}
	return nil
}

// checkContentAttributes checks contentType and messageDigest (RFC 5652 sections 11.1 and 11.2): each once, with one value.
func (m *Message) checkContentAttributes(s *Signer) error {
	ct, n := s.only(oidContentType)
	// PKCS #7 clients of AD CS leave it out, and AD CS does not mind; everything else must have it.
	if n != 0 || !m.EContentType.Equal(OIDData) {
		in := cryptobyte.String(ct)
		var t asn1.ObjectIdentifier
		if n != 1 || !in.ReadASN1ObjectIdentifier(&t) || !in.Empty() || !t.Equal(m.EContentType) {
			return errors.New("the contentType attribute is missing or differs from the content's type")
		}
	}
	md, n := s.only(oidMessageDigest)
	in := cryptobyte.String(md)
	var digest cryptobyte.String
	if n != 1 || !in.ReadASN1(&digest, casn1.OCTET_STRING) || !in.Empty() || m.EContent == nil ||
		subtle.ConstantTimeCompare(digest, sum(s.Digest, m.EContent)) != 1 {
		return errors.New("the messageDigest attribute is missing or differs from the content's digest")
	}
	if _, n := s.only(oidSigningTime); n > 1 {
		return errors.New("the signingTime attribute appears more than once")
	}
	return nil
}

// only returns the first value of attribute t and how many values it has in all its appearances; an appearance without
// a value counts as two, for it is as wrong.
func (s *Signer) only(t asn1.ObjectIdentifier) (value []byte, n int) {
	for _, a := range s.Attributes {
		if !a.Type.Equal(t) {
			continue
		}
		if len(a.Values) == 0 {
			n += 2
			continue
		}
		if value == nil {
			value = a.Values[0]
		}
		n += len(a.Values)
	}
	return value, n
}

// algorithm returns the signature algorithm of s for the key of c, or 0 when they do not fit. The digest of the signature
// has to be that of the content; rsaEncryption leaves it to the digest algorithm.
func (s *Signer) algorithm(c *x509.Certificate) x509.SignatureAlgorithm {
	if !s.sigParamsOK {
		return x509.UnknownSignatureAlgorithm
	}
	_, isRSA := c.PublicKey.(*rsa.PublicKey)
	for _, a := range signatureAlgorithms {
		if a.hash != s.Digest || a.rsa != isRSA {
			continue
		}
		if a.oid.Equal(s.SignatureAlgorithm) || isRSA && s.SignatureAlgorithm.Equal(oidRSAEncryption) {
			return a.alg
		}
	}
	return x509.UnknownSignatureAlgorithm
}

// signatureAlgorithms are those that signers may use.
var signatureAlgorithms = []struct {
	oid  asn1.ObjectIdentifier
	hash crypto.Hash
	rsa  bool
	alg  x509.SignatureAlgorithm
}{
	{oidSHA256WithRSA, crypto.SHA256, true, x509.SHA256WithRSA},
	{oidSHA384WithRSA, crypto.SHA384, true, x509.SHA384WithRSA},
	{oidSHA512WithRSA, crypto.SHA512, true, x509.SHA512WithRSA},
	{oidECDSAWithSHA256, crypto.SHA256, false, x509.ECDSAWithSHA256},
	{oidECDSAWithSHA384, crypto.SHA384, false, x509.ECDSAWithSHA384},
	{oidECDSAWithSHA512, crypto.SHA512, false, x509.ECDSAWithSHA512},
}

// Attribute returns the values of the first signed attribute of the given type, nil when there is none.
func (s *Signer) Attribute(t asn1.ObjectIdentifier) [][]byte {
	for _, a := range s.Attributes {
		if a.Type.Equal(t) {
			return a.Values
		}
	}
	return nil
}

// Names reports whether c is the certificate that s names. A certificate without a key identifier is named by the one
// that SubjectKeyID computes.
func (s *Signer) Names(c *x509.Certificate) bool {
	if s.Form == ByIssuerSerial {
		return bytes.Equal(s.Issuer, c.RawIssuer) && s.Serial.Cmp(c.SerialNumber) == 0
	}
	id := c.SubjectKeyId
	if len(id) == 0 {
		var err error
		if id, err = SubjectKeyID(c.RawSubjectPublicKeyInfo); err != nil {
			return false
		}
	}
	return bytes.Equal(s.KeyID, id)
}

// NameValues returns Microsoft's name-value pairs among the signed attributes, e.g. RequesterName of a PKCS #7 request on
// behalf of somebody. The error is *Problem with CodeMalformed.
func (s *Signer) NameValues() ([]NameValue, error) {
	var pairs []NameValue
	for _, v := range s.Attribute(OIDNameValuePair) {
		in := cryptobyte.String(v)
		var seq, name, value cryptobyte.String
		if !in.ReadASN1(&seq, casn1.SEQUENCE) || !in.Empty() || !seq.ReadASN1(&name, tagBMPString) ||
			!seq.ReadASN1(&value, tagBMPString) || !seq.Empty() {
			return nil, malformed("a name-value pair is not two BMPStrings")
		}
		n, okName := readBMP(name)
		t, okValue := readBMP(value)
		if !okName || !okValue {
			return nil, malformed("a name-value pair is not two BMPStrings")
		}
		pairs = append(pairs, NameValue{n, t})
	}
	return pairs, nil
}
