package cmc

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"io"
	"math/big"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
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

// Response returns what to answer to a verified request, with the returned values filled in. The caller sets Status and adds
// Certificates or Pending.
func (v *Verified) Response() *Response {
	r := &Response{
		FailInfo: NoFailInfo, TransactionID: v.TransactionID, RecipientNonce: v.SenderNonce, DataReturn: v.DataReturn,
	}
	if !v.Query {
		r.BodyList = []uint32{v.BodyPartID}
	}
	return r
}

// Response returns the refusal as a response. Text is Detail, without Err.
func (p *Problem) Response() *Response {
	return &Response{
		Status: p.Status, FailInfo: p.FailInfo, Text: p.Detail, BodyList: p.BodyList,
		TransactionID: p.TransactionID, RecipientNonce: p.SenderNonce, DataReturn: p.DataReturn,
	}
}

// Sign returns the DER of the full response, signed by s, whose certificate is chain[0] (EKU id-kp-cmcRA); the rest of
// chain are its intermediates. signingTime is now. Errors are *Problem with CodeUnusable.
func (r *Response) Sign(now time.Time, random io.Reader, s crypto.Signer, chain []*x509.Certificate) ([]byte, error) {
	if len(r.SenderNonce) == 0 && r.RecipientNonce != nil {
		nonce, err := draw(random, nonceOctets)
		if err != nil {
			return nil, err
		}
		r.SenderNonce = nonce
	}
	c, err := r.content()
	if err != nil {
		return nil, err
	}
	c.signingTime = now
	c.certificates = append(c.certificates, chain...)
	return signOnce(c, random, s, chain)
}

// Unsigned returns the DER of a response without a signer that says internalCAError and text: the last resort of a server
// that cannot sign. It proves nothing, and a client takes it for a fault of the transport.
func Unsigned(text string) ([]byte, error) {
	r := Response{Status: StatusFailed, FailInfo: InternalCAError, Text: text}
	c, err := r.content()
	if err != nil {
		return nil, err
	}
	return c.marshal()
}

// content returns the SignedData to be signed.
func (r *Response) content() (*content, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	w := controlWriter{next: 1}
	w.add(OIDStatusInfoV2, r.addStatus)
	w.addInteger(OIDTransactionID, r.TransactionID)
	w.addOctets(OIDSenderNonce, r.SenderNonce)
	w.addOctets(OIDRecipientNonce, r.RecipientNonce)
	w.addOctets(OIDDataReturn, r.DataReturn)
	if w.err != nil {
		return nil, w.err
	}
	der, err := (&PKIResponse{Controls: w.controls}).Marshal()
	if err != nil {
		return nil, err
	}
	return &content{eContentType: OIDPKIResponse, eContent: der, certificates: append([]*x509.Certificate{}, r.Certificates...)}, nil
}

// check refuses a response that contradicts itself: failInfo goes only with failed, pendInfo only with pending.
func (r *Response) check() error {
	switch {
	case (r.Status == StatusFailed) != (r.FailInfo != NoFailInfo):
		return unusable("a response with status %v has the reason %q", r.Status, r.FailInfo)
	case (r.Status == StatusPending) != (r.Pending != nil):
		return unusable("a response with status %v has pendInfo, or pending has none", r.Status)
	case r.Status == StatusSuccess && len(r.Certificates) == 0:
		return unusable("a response with status success has no certificate")
	}
	return nil
}

// addStatus adds the CMCStatusInfoV2 (RFC 5272 section 6.1).
func (r *Response) addStatus(b *cryptobyte.Builder) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(int64(r.Status))
		if len(r.BodyList) == 0 {
			addIDs(b, 0)
		} else {
			addIDs(b, r.BodyList...)
		}
		if r.Text != "" {
			b.AddASN1(casn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(strings.ToValidUTF8(r.Text, "\uFFFD"))) })
		}
		switch {
		case r.FailInfo != NoFailInfo:
			b.AddASN1Int64(int64(r.FailInfo))
		case r.Pending != nil:
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1OctetString(r.Pending.Token)
				b.AddASN1GeneralizedTime(r.Pending.Time.UTC().Truncate(time.Second))
			})
		}
	})
}
