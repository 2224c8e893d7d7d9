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
	sigParamsOK bool // the parameters of the signature algorithm are absent or NULL
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
