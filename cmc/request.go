package cmc

import (
	"crypto"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"time"
)

// Request is what a full request says: to a writer what to send, to a reader what came.
type Request struct {
	TransactionID *big.Int // 128 bits unsigned: the id of the journal row
	SenderNonce   []byte   // 8 octets or more; 16 are sent
	CSR           []byte   // DER PKCS#10, unsigned or really signed; nil when PendToken is set

	Witnessed         bool // lraPOPWitness: the RA authenticated the requester out of band
	IdentityWitnessed bool // raIdentityWitness (RFC 6402)

	RegInfo    []byte // information only, never authority; see RegInfo
	DataReturn []byte // the server returns it unchanged

	PendToken      []byte // queryPending: ask after an earlier request instead of making one
	RecipientNonce []byte // the server's last senderNonce, only with PendToken
}

// Sign returns the DER of the full request, signed by s, whose certificate is chain[0] (EKU id-kp-cmcRA, key usage
// digitalSignature); the rest of chain are the intermediates up to, not including, the anchor. signingTime is now.
//
// When SenderNonce is empty Sign fills it with 16 octets of random, when TransactionID is nil with 128 bits: the caller
// writes both and the bytes returned into its journal before they are sent, and repeats the same bytes after a broken
// connection. An unsigned CSR without Witnessed is refused. Errors are *Problem with CodeUnusable, or of random and s.
func (r *Request) Sign(now time.Time, random io.Reader, s crypto.Signer, chain []*x509.Certificate) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// PKIData returns the content of the request: body part 1 is the CSR, the controls follow.
func (r *Request) PKIData() (*PKIData, error) {
	return nil, errors.ErrUnsupported
}

// RegInfo renders pairs as "name=value&name=value&", in order, with "%", "&" and "=" percent-encoded: the text that CAPF
// puts into Request.RegInfo, e.g. device and auth.
func RegInfo(pairs ...NameValue) []byte {
	return nil
}

// ParseRegInfo reads what RegInfo writes and Microsoft's form of the same; pairs without "=" have an empty value. Percent
// sequences that are none stay as they are.
func ParseRegInfo(b []byte) []NameValue {
	return nil
}
