package cmc

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"time"
)

// Response is what a full response says: to a writer what to send, to a reader what came.
type Response struct {
	Status   Status
	FailInfo FailInfo  // NoFailInfo unless StatusFailed
	Text     string    // statusString; details such as an HRESULT go here
	BodyList []uint32  // what the status is about; empty is written as 0, the whole message
	Pending  *PendInfo // with StatusPending

	TransactionID  *big.Int // of the request; nil when it could not be read
	SenderNonce    []byte   // the server's own; Sign fills it when empty and RecipientNonce is set
	RecipientNonce []byte   // the request's senderNonce
	DataReturn     []byte   // the request's

	// Certificates are, to a writer, the issued certificate and its CA chain; to a reader, everything in the bag.
	Certificates []*x509.Certificate
	// Certificate is the one for the wanted key, found and verified by VerifyResponse.
	Certificate *x509.Certificate
	// Simple is set by a reader for a Simple PKI Response (certs-only), which nobody signed.
	Simple bool
	// Statuses are all status controls that a reader found; Status and its companions are of the worst of them. Empty
	// means success.
	Statuses []StatusInfo
}

// PendInfo says how to ask after a pending request.
type PendInfo struct {
	Token []byte
	Time  time.Time // when to ask; whole seconds
}

// StatusInfo is a CMCStatusInfoV2, or the old CMCStatusInfo in the same shape.
type StatusInfo struct {
	Old      bool // id-cmc-statusInfo
	Status   Status
	BodyList []uint32 // the last id of each reference
	Text     string
	FailInfo FailInfo // NoFailInfo when absent
	Pending  *PendInfo
	Extended *ExtendedFailInfo
}

// ExtendedFailInfo is a failure reason outside of RFC 5272. It is read, never sent.
type ExtendedFailInfo struct {
	Type  asn1.ObjectIdentifier
	Value []byte // DER
}

// Response returns what to answer to a verified request, with the returned values filled in. The caller adds Status,
// Certificates or Pending.
func (v *Verified) Response() *Response {
	return nil
}

// Response returns the refusal as a response. Text is Detail, without Err.
func (p *Problem) Response() *Response {
	return nil
}

// Sign returns the DER of the full response, signed by s, whose certificate is chain[0] (EKU id-kp-cmcRA); the rest of
// chain are its intermediates. signingTime is now.
func (r *Response) Sign(now time.Time, random io.Reader, s crypto.Signer, chain []*x509.Certificate) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// Unsigned returns the DER of a response without a signer that says internalCAError and text: the last resort of a server
// that cannot sign. It proves nothing, and a client takes it for a fault of the transport.
func Unsigned(text string) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// Wanted is what a client expects of the answer to its request.
type Wanted struct {
	TransactionID *big.Int
	SenderNonce   []byte // of the request
	PublicKey     []byte // DER SubjectPublicKeyInfo of the requested certificate
	// Anchors are those of the RA's responder certificate. Nil trusts nobody.
	Anchors *x509.CertPool
	// Issuers verify the issued certificate, with the certificates in the answer as intermediates. Nil leaves that to the
	// caller.
	Issuers *x509.CertPool
	Now     time.Time
}

// ParseResponse reads a Full or Simple PKI Response without judging signature or nonces.
func ParseResponse(msg []byte) (*Response, error) {
	return nil, errors.ErrUnsupported
}

// VerifyResponse judges the answer to a request in the client's order (spec/cmc.md section 6): one signer, its signature,
// chain and purpose id-kp-cmcRA or id-kp-cmcCA; recipientNonce; transactionId; status; the certificate for the wanted key.
// A refusal by the RA is no error here: see Response.Err. A Simple PKI Response has no signer, the caller's TLS connection
// vouches for it. Errors are *Problem.
func VerifyResponse(msg []byte, w Wanted) (*Response, error) {
	return nil, errors.ErrUnsupported
}

// Err returns nil for success and pending, and otherwise a *Problem that says what the RA said: CodeRefused, CodeTryLater or
// CodeUnsupportedStatus.
func (r *Response) Err() error {
	return errors.ErrUnsupported
}
