package cmc

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Sizes of what Sign draws, and the least that a reader takes.
const (
	nonceOctets       = 16
	minNonceOctets    = 8
	transactionOctets = 16
)

// requestID is the body part of the one request that we send; controls follow it.
const requestID = 1

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
// connection. An unsigned CSR without Witnessed is refused. Errors are *Problem with CodeUnusable, also for a failing
// random or s, or of CheckNullSignature.
func (r *Request) Sign(now time.Time, random io.Reader, s crypto.Signer, chain []*x509.Certificate) ([]byte, error) {
	if len(r.SenderNonce) == 0 {
		nonce, err := draw(random, nonceOctets)
		if err != nil {
			return nil, err
		}
		r.SenderNonce = nonce
	}
	if r.TransactionID == nil {
		id, err := draw(random, transactionOctets)
		if err != nil {
			return nil, err
		}
		r.TransactionID = new(big.Int).SetBytes(id)
	}
	d, err := r.PKIData()
	if err != nil {
		return nil, err
	}
	der, err := d.Marshal()
	if err != nil {
		return nil, err
	}
	c := content{OIDPKIData, der, chain, now}
	return signOnce(&c, random, s, chain)
}

// draw returns n octets of random.
func draw(random io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, unusable("no random octets").because(err)
	}
	return b, nil
}

// PKIData returns the content of the request: body part 1 is the CSR, the controls follow. It refuses what a server would
// refuse: a request beside PendToken or neither, a short nonce, an unsigned CSR without Witnessed.
func (r *Request) PKIData() (*PKIData, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	w := controlWriter{next: requestID + 1}
	w.addInteger(OIDTransactionID, r.TransactionID)
	w.addOctets(OIDSenderNonce, r.SenderNonce)
	w.addOctets(OIDRecipientNonce, r.RecipientNonce)
	w.addOctets(OIDQueryPending, r.PendToken)
	if r.Witnessed {
		w.add(OIDLRAPOPWitness, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(0)
				addIDs(b, requestID)
			})
		})
	}
	if r.IdentityWitnessed {
		w.add(OIDRAIdentityWitness, func(b *cryptobyte.Builder) { addIDs(b, requestID) })
	}
	w.addOctets(OIDDataReturn, r.DataReturn)
	w.addOctets(OIDRegInfo, r.RegInfo)
	if w.err != nil {
		return nil, w.err
	}
	d := &PKIData{Controls: w.controls}
	if r.CSR != nil {
		d.Requests = []TaggedRequest{{Kind: TCR, BodyPartID: requestID, Raw: r.CSR}}
	}
	return d, nil
}

// check refuses what no server would take.
func (r *Request) check() error {
	switch {
	case r.TransactionID == nil || r.TransactionID.Sign() < 0:
		return unusable("the request has no transactionId, or a negative one")
	case len(r.SenderNonce) < minNonceOctets:
		return unusable("the senderNonce has %d octets, at least %d are needed", len(r.SenderNonce), minNonceOctets)
	case r.CSR != nil && r.PendToken != nil:
		return unusable("a question after a pending request cannot carry a request")
	case r.CSR == nil && r.PendToken == nil:
		return unusable("there is nothing to request")
	case r.RecipientNonce != nil && r.PendToken == nil:
		return unusable("recipientNonce goes only with a pendToken")
	case r.CSR == nil && (r.Witnessed || r.IdentityWitnessed):
		return unusable("there is no request to be witnessed")
	case r.CSR == nil:
		return nil
	}
	form, err := CheckNullSignature(r.CSR)
	if err != nil {
		return err
	}
	if form != Signed && !r.Witnessed {
		return unusable("the PKCS#10 is not signed and nobody witnesses it")
	}
	return nil
}

// RegInfo renders pairs as "name=value&name=value&", in order, with "%", "&" and "=" percent-encoded: the text that CAPF
// puts into Request.RegInfo, e.g. device and auth.
func RegInfo(pairs ...NameValue) []byte {
	escape := strings.NewReplacer("%", "%25", "&", "%26", "=", "%3D")
	var b strings.Builder
	for _, p := range pairs {
		fmt.Fprintf(&b, "%s=%s&", escape.Replace(p.Name), escape.Replace(p.Value))
	}
	return []byte(b.String())
}

// ParseRegInfo reads what RegInfo writes and Microsoft's form of the same; pairs without "=" have an empty value. A name or
// value with a broken percent sequence stays as it is.
func ParseRegInfo(b []byte) []NameValue {
	var pairs []NameValue
	for pair := range strings.SplitSeq(string(b), "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		pairs = append(pairs, NameValue{unescape(name), unescape(value)})
	}
	return pairs
}

// unescape resolves percent sequences.
func unescape(s string) string {
	u, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return u
}
