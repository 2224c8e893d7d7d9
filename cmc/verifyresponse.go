package cmc

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

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

// ParseResponse reads a Full or Simple PKI Response without judging signature or nonces. Errors are *Problem.
func ParseResponse(msg []byte) (*Response, error) {
	m, err := Open(msg)
	if err != nil {
		return nil, err
	}
	return m.response()
}

// response reads the content of m.
func (m *Message) response() (*Response, error) {
	r := &Response{FailInfo: NoFailInfo, Certificates: m.Certificates}
	if m.EContentType.Equal(OIDData) && len(m.EContent) == 0 && len(m.Signers) == 0 {
		if p := m.checkCertsOnly(); p != nil {
			return nil, p
		}
		r.Simple = true
		return r, nil
	}
	if !m.EContentType.Equal(OIDPKIResponse) || m.EContent == nil {
		return nil, failed(CodeNotPKIResponse, BadRequest, fmt.Sprintf("the content is of type %v, not PKIResponse", m.EContentType))
	}
	d, err := ParsePKIResponse(m.EContent)
	if err != nil {
		return nil, err
	}
	for i := range d.Controls {
		c := &d.Controls[i]
		var err error
		switch {
		case c.Type.Equal(OIDStatusInfoV2), c.Type.Equal(OIDStatusInfo):
			var s StatusInfo
			s, err = c.status()
			r.Statuses = append(r.Statuses, s)
		case c.Type.Equal(OIDTransactionID):
			r.TransactionID, err = c.integer()
		case c.Type.Equal(OIDSenderNonce):
			r.SenderNonce, err = c.octets()
		case c.Type.Equal(OIDRecipientNonce):
			r.RecipientNonce, err = c.octets()
		case c.Type.Equal(OIDDataReturn):
			r.DataReturn, err = c.octets()
		}
		if err != nil {
			return nil, malformed("control %v of the response is not well-formed", c.Type).because(err)
		}
	}
	r.summarize()
	return r, nil
}

// summarize puts the worst status into the response's own fields.
func (r *Response) summarize() {
	if len(r.Statuses) == 0 {
		return
	}
	rank := func(s StatusInfo) int {
		return slices.Index([]Status{
			StatusFailed, StatusNoSupport, StatusPOPRequired, StatusConfirmRequired, StatusPartial, StatusPending, StatusSuccess,
		}, s.Status)
	}
	// Unknown statuses rank before all others; of equals the first counts.
	worst := slices.MinFunc(r.Statuses, func(a, b StatusInfo) int { return cmp.Compare(rank(a), rank(b)) })
	r.Status, r.FailInfo, r.Text, r.BodyList, r.Pending = worst.Status, worst.FailInfo, worst.Text, worst.BodyList, worst.Pending
}

// errStatus is why a status control cannot be read.
var errStatus = errors.New("not a CMCStatusInfo")

// status reads CMCStatusInfoV2 and the old CMCStatusInfo, which is a special case of it.
func (c *Control) status() (StatusInfo, error) {
	s := StatusInfo{Old: c.Type.Equal(OIDStatusInfo), FailInfo: NoFailInfo}
	if len(c.Values) != 1 {
		return s, errNoValue
	}
	in := cryptobyte.String(c.Values[0])
	var seq, body cryptobyte.String
	var status int
	if !in.ReadASN1(&seq, casn1.SEQUENCE) || !in.Empty() || !seq.ReadASN1Integer(&status) || !seq.ReadASN1(&body, casn1.SEQUENCE) {
		return s, errStatus
	}
	s.Status = Status(status)
	for !body.Empty() {
		id, ok := readReference(&body)
		if !ok {
			return s, errStatus
		}
		s.BodyList = append(s.BodyList, id)
	}
	if seq.PeekASN1Tag(casn1.UTF8String) {
		var text cryptobyte.String
		if !seq.ReadASN1(&text, casn1.UTF8String) || !utf8.Valid(text) {
			return s, errStatus
		}
		s.Text = string(text)
	}
	if seq.Empty() {
		return s, nil
	}
	if !s.readOther(&seq) || !seq.Empty() {
		return s, errStatus
	}
	return s, nil
}

// readReference reads a BodyPartReference: an id, or a path whose last id counts.
func readReference(s *cryptobyte.String) (uint32, bool) {
	if s.PeekASN1Tag(casn1.INTEGER) {
		return readBodyPartID(s)
	}
	ids, ok := readIDs(s)
	if !ok || len(ids) == 0 {
		return 0, false
	}
	return ids[len(ids)-1], true
}

// readOther reads otherInfo, whose alternatives differ by tag. The text of RFC 5272 leaves extendedFailInfo without the [1]
// of its module, so the first tag inside tells it from pendInfo.
func (s *StatusInfo) readOther(in *cryptobyte.String) bool {
	var seq cryptobyte.String
	switch {
	case in.PeekASN1Tag(casn1.INTEGER):
		var n int
		ok := in.ReadASN1Integer(&n)
		s.FailInfo = FailInfo(n)
		return ok && n >= 0
	case in.PeekASN1Tag(context1Constructed):
		return in.ReadASN1(&seq, context1Constructed) && s.readExtended(&seq)
	case !in.ReadASN1(&seq, casn1.SEQUENCE):
		return false
	case seq.PeekASN1Tag(casn1.OBJECT_IDENTIFIER):
		return s.readExtended(&seq)
	}
	var token cryptobyte.String
	var t time.Time
	ok := seq.ReadASN1(&token, casn1.OCTET_STRING) && seq.ReadASN1GeneralizedTime(&t) && seq.Empty()
	s.Pending = &PendInfo{Token: token, Time: t}
	return ok
}

// readExtended reads the fields of extendedFailInfo.
func (s *StatusInfo) readExtended(seq *cryptobyte.String) bool {
	var t asn1.ObjectIdentifier
	if !seq.ReadASN1ObjectIdentifier(&t) {
		return false
	}
	v, ok := readAny(seq)
	s.Extended = &ExtendedFailInfo{Type: t, Value: v}
	return ok && seq.Empty()
}

// VerifyResponse judges the answer to a request in the client's order: one signer, its signature, chain and purpose
// id-kp-cmcRA or id-kp-cmcCA; recipientNonce; transactionId; status; the certificate for the wanted key. A refusal by the
// RA is no error here: see Response.Err. A Simple PKI Response has no signer, the caller's TLS connection vouches for it.
// Errors are *Problem.
func VerifyResponse(msg []byte, w Wanted) (*Response, error) {
	m, err := Open(msg)
	if err != nil {
		return nil, err
	}
	r, err := m.response()
	if err != nil {
		return nil, err
	}
	if !r.Simple {
		if p := w.checkSigner(m); p != nil {
			return nil, p
		}
		if p := w.checkNonces(r); p != nil {
			return nil, p
		}
	}
	if r.Status != StatusSuccess {
		return r, nil
	}
	var p *Problem
	if r.Certificate, p = w.pick(r.Certificates); p != nil {
		return nil, p
	}
	return r, nil
}

// checkSigner makes sure that one responder of the RA signed.
func (w *Wanted) checkSigner(m *Message) *Problem {
	s, p := onlySigner(m)
	if p != nil {
		return p
	}
	if p := signatureProblem(s.Err); p != nil {
		return p
	}
	if _, p := signerChain(s.Certificate, w.Anchors, m.Certificates, w.Now); p != nil {
		return p
	}
	if !HasKeyPurpose(s.Certificate, OIDKeyPurposeCMCRA) && !HasKeyPurpose(s.Certificate, OIDKeyPurposeCMCCA) {
		p := failed(CodeNotRA, BadMessageCheck, fmt.Sprintf(
			"the extended key usage of the responder %s names neither id-kp-cmcRA nor id-kp-cmcCA", s.Certificate.Subject))
		p.HTTP = http.StatusForbidden
		return p
	}
	return nil
}

// checkNonces compares recipientNonce and transactionId. Both may miss in a refusal: a server that could not read the
// request has nothing to return, and some leave them out of every refusal. Nothing is gained by forging one, since the
// same bytes are sent again.
func (w *Wanted) checkNonces(r *Response) *Problem {
	refused := r.Status == StatusFailed || r.Status == StatusNoSupport
	if refused && r.RecipientNonce == nil && r.TransactionID == nil {
		return nil
	}
	if !bytes.Equal(r.RecipientNonce, w.SenderNonce) || len(w.SenderNonce) == 0 {
		return failed(CodeNonceMismatch, BadRequest, "the recipientNonce of the response is not the nonce that was sent")
	}
	if r.TransactionID == nil || w.TransactionID == nil || r.TransactionID.Cmp(w.TransactionID) != 0 {
		return failed(CodeTransactionMismatch, BadRequest, "the transactionId of the response is not that of the request")
	}
	return nil
}

// pick returns the certificate for the wanted key that leads to an issuer, and passes over everything else in the bag.
func (w *Wanted) pick(bag []*x509.Certificate) (*x509.Certificate, *Problem) {
	var last *Problem
	for _, c := range bag {
		if !bytes.Equal(c.RawSubjectPublicKeyInfo, w.PublicKey) {
			continue
		}
		if w.Issuers == nil {
			return c, nil
		}
		intermediates := x509.NewCertPool()
		for _, o := range bag {
			intermediates.AddCert(o)
		}
		_, err := c.Verify(x509.VerifyOptions{
			Roots: w.Issuers, Intermediates: intermediates, CurrentTime: w.Now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err == nil {
			return c, nil
		}
		last = failed(CodeCertificateInvalid, BadRequest, fmt.Sprintf("the certificate of %s does not lead to the CA", c.Subject)).because(err)
	}
	if last != nil {
		return nil, last
	}
	return nil, failed(CodeNoCertificate, BadRequest, fmt.Sprintf("none of the %d certificates in the response is for the requested key", len(bag)))
}

// Err returns nil for success and pending, and otherwise a *Problem that says what the RA said: CodeRefused, CodeTryLater or
// CodeUnsupportedStatus.
func (r *Response) Err() error {
	p := &Problem{Status: r.Status, FailInfo: r.FailInfo, BodyList: r.BodyList, TransactionID: r.TransactionID}
	switch {
	case r.Status == StatusSuccess || r.Status == StatusPending:
		return nil
	case r.Status == StatusFailed && r.FailInfo == TryLater:
		p.ErrCode = CodeTryLater
	case r.Status == StatusFailed || r.Status == StatusNoSupport:
		p.ErrCode = CodeRefused
	default:
		p.ErrCode = CodeUnsupportedStatus
	}
	said := []string{r.Status.String()}
	if r.FailInfo != NoFailInfo {
		said = append(said, r.FailInfo.String())
	}
	p.Detail = "the RA answers " + strings.Join(said, " ")
	if r.Text != "" {
		p.Detail += ": " + r.Text
	}
	for _, s := range r.Statuses {
		if s.Extended != nil {
			p.Detail += fmt.Sprintf(" (%v: %X)", s.Extended.Type, s.Extended.Value)
		}
	}
	return p
}
