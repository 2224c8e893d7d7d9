package cmc

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"
	"time"
)

// Limits of messages, from the rules of the registration authority.
const (
	MaxMessage      = 64 << 10 // octets of a request or response
	MaxDepth        = 20       // nesting of ASN.1 values
	MaxControls     = 16
	MaxCertificates = 16
	MaxSigners      = 4
)

// Message is a SignedData, read but trusted by nobody.
type Message struct {
	Version      int
	EContentType asn1.ObjectIdentifier
	EContent     []byte              // content octets; nil when absent
	Certificates []*x509.Certificate // in the order received
	CRLs         [][]byte            // DER, in the order received
	Signers      []Signer            // in the order received
}

// SIDForm is how a SignerInfo names its signer.
type SIDForm int

// The two forms of a SignerIdentifier.
const (
	ByIssuerSerial SIDForm = iota + 1
	ByKeyID
)

// Signer is one SignerInfo.
type Signer struct {
	Version int
	Form    SIDForm
	Issuer  []byte   // DER Name, with ByIssuerSerial
	Serial  *big.Int // with ByIssuerSerial
	KeyID   []byte   // with ByKeyID

	// NoSignature is set for id-alg-noSignature: the value is a bare hash and proves nothing about anybody. No
	// certificate is looked up for it.
	NoSignature bool
	// Certificate is the certificate of the message that the signer names; nil when it is not there.
	Certificate *x509.Certificate
	// Err is nil when contentType, messageDigest and the signature (of a no-signature signer: the hash) are right. It is
	// ErrNoCertificate when there is nothing to check the signature with. It says nothing about trust.
	Err error

	SigningTime        time.Time // zero when absent
	Digest             crypto.Hash
	SignatureAlgorithm asn1.ObjectIdentifier
	Attributes         []Attribute // signed attributes, in the order received; nil when absent

	signedAttrs []byte // DER SET OF, what the signature covers; nil when there are none
	signature   []byte
}

// Attribute is a signed attribute.
type Attribute struct {
	Type   asn1.ObjectIdentifier
	Values [][]byte // DER, each one value
}

// NameValue is Microsoft's name-value pair (szOID_ENROLLMENT_NAME_VALUE_PAIR).
type NameValue struct{ Name, Value string }

// ErrNoCertificate is the Err of a Signer whose certificate is not in the message.
var ErrNoCertificate = errors.New("the signer's certificate is not in the message")

// Open reads a SignedData in DER or BER and checks the signatures of its signers with the certificates inside. It trusts
// nobody: a Message may have no signers, and the Err of each must be looked at. Errors are *Problem with CodeMalformed;
// HTTP is 413 for a message over MaxMessage octets.
func Open(msg []byte) (*Message, error) {
	return nil, errors.ErrUnsupported
}

// CheckSignature checks the content attributes and the signature of s, a signer of m, with the key of c, for a signer whose
// certificate did not come with the message. For a no-signature signer c is ignored and may be nil.
func (m *Message) CheckSignature(s *Signer, c *x509.Certificate) error {
	return errors.ErrUnsupported
}

// Attribute returns the values of the first signed attribute of the given type, nil when there is none.
func (s *Signer) Attribute(t asn1.ObjectIdentifier) [][]byte {
	return nil
}

// NameValues returns Microsoft's name-value pairs among the signed attributes, e.g. RequesterName of a PKCS #7 request on
// behalf of somebody. The error is *Problem with CodeMalformed.
func (s *Signer) NameValues() ([]NameValue, error) {
	return nil, errors.ErrUnsupported
}

// Names reports whether c is the certificate that s names.
func (s *Signer) Names(c *x509.Certificate) bool {
	return false
}
