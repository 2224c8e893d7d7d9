package cmc

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// knownControls are those that a request may carry.
func knownControls() []asn1.ObjectIdentifier {
	return []asn1.ObjectIdentifier{
		OIDDataReturn, OIDTransactionID, OIDSenderNonce, OIDRecipientNonce, OIDLRAPOPWitness, OIDRegInfo, OIDQueryPending,
		OIDRAIdentityWitness,
	}
}

// controls is step 12. CMC has no criticality: the final server fails the whole message when it does not know a control, and
// names all offenders (RFC 5272 section 3.2.1.1).
func (j *judgement) controls(context.Context) *Problem {
	known := knownControls()
	var offenders []uint32
	var detail string
	offend := func(c Control, what string) {
		offenders = append(offenders, c.BodyPartID)
		if detail == "" {
			detail = fmt.Sprintf("control %v %s", c.Type, what)
		}
	}
	for i, c := range j.data.Controls {
		isSame := func(o Control) bool { return o.Type.Equal(c.Type) }
		switch {
		case !slices.ContainsFunc(known, c.Type.Equal):
			offend(c, "is not known")
		case len(c.Values) != 1:
			offend(c, "has not exactly one value")
		case !c.Type.Equal(OIDRAIdentityWitness) && slices.ContainsFunc(j.data.Controls[:i], isSame):
			offend(c, "appears more than once")
		}
	}
	if offenders != nil {
		return failed(CodeControlUnknown, BadRequest, detail, offenders...)
	}
	return j.values()
}

// values reads the values of the controls, of which step 12 left each at most once.
func (j *judgement) values() *Problem {
	r := &j.out.Request
	octets := map[string]*[]byte{
		OIDDataReturn.String(): &r.DataReturn, OIDSenderNonce.String(): &r.SenderNonce, OIDRegInfo.String(): &r.RegInfo,
		OIDRecipientNonce.String(): &r.RecipientNonce, OIDQueryPending.String(): &r.PendToken,
	}
	for i := range j.data.Controls {
		c := &j.data.Controls[i]
		var err error
		switch to := octets[c.Type.String()]; {
		case to != nil:
			*to, err = c.octets()
			if *to == nil {
				*to = []byte{}
			}
		case c.Type.Equal(OIDTransactionID):
			r.TransactionID, err = c.integer()
		}
		if err != nil {
			return failed(CodeMalformed, BadRequest, fmt.Sprintf("the value of control %v is not well-formed", c.Type), c.BodyPartID).because(err)
		}
	}
	return nil
}

// nested is step 13.
func (j *judgement) nested(context.Context) *Problem {
	var ids []uint32
	for _, e := range slices.Concat(j.data.CMS, j.data.Other) {
		ids = append(ids, e.BodyPartID)
	}
	if ids == nil {
		return nil
	}
	return noSupport(CodeNested, "the request holds other messages", ids...)
}

// noSupport is the Problem about something that is legal in CMC and not offered here.
func noSupport(code, detail string, ids ...uint32) *Problem {
	p := failed(code, NoFailInfo, detail, ids...)
	p.Status = StatusNoSupport
	return p
}

// control returns the body part of the control of type t, 0 when there is none.
func (j *judgement) control(t asn1.ObjectIdentifier) uint32 {
	if c := j.data.Control(t); c != nil {
		return c.BodyPartID
	}
	return 0
}

// nonces is steps 14 and 15.
func (j *judgement) nonces(context.Context) *Problem {
	r := &j.out.Request
	if r.RecipientNonce != nil && r.PendToken == nil {
		return failed(CodeControlMisplaced, BadRequest, "a first message cannot answer a nonce of the server", j.control(OIDRecipientNonce))
	}
	if len(r.SenderNonce) < minNonceOctets {
		return failed(CodeNonceMissing, BadRequest, fmt.Sprintf("the senderNonce has %d octets, at least %d are needed",
			len(r.SenderNonce), minNonceOctets), j.control(OIDSenderNonce))
	}
	return nil
}

// transaction is step 16.
func (j *judgement) transaction(context.Context) *Problem {
	if j.out.TransactionID == nil {
		return failed(CodeTransactionMissing, BadRequest, "the message has no transactionId")
	}
	return nil
}

// errNoMemory is the mistake of a Verifier without Memory: it could not notice a replay.
var errNoMemory = errors.New("the Verifier has no Memory")

// replay is step 17.
func (j *judgement) replay(ctx context.Context) *Problem {
	if j.Memory == nil {
		return internal("earlier messages are not known", errNoMemory)
	}
	seen, err := j.Memory.Replayed(ctx, j.out.Voucher.RawSubjectPublicKeyInfo, j.out.SenderNonce)
	switch {
	case err != nil:
		return internal("earlier messages are not known", err)
	case seen:
		return failed(CodeNonceReplayed, BadRequest, "the senderNonce was used in another message", j.control(OIDSenderNonce))
	}
	return nil
}

// query is step 18.
func (j *judgement) query(ctx context.Context) *Problem {
	if j.out.PendToken == nil {
		return nil
	}
	if len(j.data.Requests) > 0 {
		return failed(CodeRequestCount, BadRequest, "a question after a pending request carries a request", j.requestIDs()...)
	}
	known, err := j.Memory.TokenKnown(ctx, j.out.Voucher.RawSubjectPublicKeyInfo, j.out.PendToken)
	switch {
	case err != nil:
		return internal("pending requests are not known", err)
	case !known:
		return failed(CodeTokenUnknown, BadRequest, "no pending request of this signer has this token", j.control(OIDQueryPending))
	}
	j.out.Query = true
	return nil
}

// oneRequest is steps 19 and 20.
func (j *judgement) oneRequest(context.Context) *Problem {
	if j.out.Query {
		return nil
	}
	if n := len(j.data.Requests); n != 1 {
		return failed(CodeRequestCount, BadRequest, fmt.Sprintf("the message has %d requests instead of one", n), j.requestIDs()...)
	}
	r := j.data.Requests[0]
	if r.Kind != TCR {
		return noSupport(CodeRequestType, "the request is no PKCS#10", r.BodyPartID)
	}
	j.out.CSR, j.out.BodyPartID = r.Raw, r.BodyPartID
	return nil
}

// witness is step 21. raIdentityWitness, which may appear more than once, has to name the request as well.
func (j *judgement) witness(context.Context) *Problem {
	for i := range j.data.Controls {
		c := &j.data.Controls[i]
		switch {
		case c.Type.Equal(OIDLRAPOPWitness):
			w, err := c.witness()
			if err != nil || w.pkiDataBodyID != 0 || !j.isRequest(w.bodyIDs) {
				return failed(CodeWitnessMismatch, BadRequest, "the lraPOPWitness does not name the request", c.BodyPartID).because(err)
			}
			j.out.Witnessed = true
		case c.Type.Equal(OIDRAIdentityWitness):
			path, err := c.path()
			if err != nil || !j.isRequest(path) {
				return failed(CodeWitnessMismatch, BadRequest, "the raIdentityWitness does not name the request", c.BodyPartID).because(err)
			}
			j.out.IdentityWitnessed = true
		}
	}
	return nil
}

// isRequest reports whether ids are exactly the one request.
func (j *judgement) isRequest(ids []uint32) bool {
	return !j.out.Query && len(ids) == 1 && ids[0] == j.out.BodyPartID
}

// possession is step 22.
func (j *judgement) possession(context.Context) *Problem {
	if j.out.Query {
		return nil
	}
	id := j.out.BodyPartID
	parsed, err := x509.ParseCertificateRequest(j.out.CSR)
	if err != nil || parsed.Version != 0 {
		return failed(CodeMalformed, BadRequest, "the PKCS#10 is not well-formed", id).because(err)
	}
	p10, err := readP10(j.out.CSR)
	if err != nil {
		return failed(CodeMalformed, BadRequest, "the PKCS#10 is not well-formed", id).because(err)
	}
	if p10.form() != Signed && !j.out.Witnessed {
		return failed(CodePOPMissing, POPRequired, "the PKCS#10 is not signed and no lraPOPWitness speaks for it", id)
	}
	if j.out.Form, err = CheckNullSignature(j.out.CSR); err != nil {
		p := asProblem(err)
		p.BodyList = []uint32{id}
		return p
	}
	j.out.Parsed = parsed
	return nil
}

// policy is step 23. A changeSubjectName attribute is legal only where the names of the request match a certificate (RFC
// 6402 section 2.8), which a voucher's requests never claim.
func (j *judgement) policy(context.Context) *Problem {
	if j.out.Query {
		return nil
	}
	p := j.policyProblem()
	if p == nil {
		return nil
	}
	if len(p.BodyList) == 0 {
		p.BodyList = []uint32{j.out.BodyPartID}
	}
	if p.HTTP == 0 {
		p.HTTP = http.StatusForbidden
	}
	if p.Status == StatusSuccess {
		p.Status = StatusFailed // the zero value of a Problem made by hand must not say success
	}
	return p
}

// policyProblem asks the policy.
func (j *judgement) policyProblem() *Problem {
	if hasAttribute(j.out.Parsed.RawTBSCertificateRequest, oidChangeSubjectName) {
		return Deny(CodeSubjectDenied, BadRequest, "the request wants to change a subject name", "")
	}
	if j.Policy == nil {
		return Deny(CodeSubjectDenied, BadRequest, "no policy allows this voucher anything", "")
	}
	return j.Policy(j.out.Parsed, j.out.Voucher)
}

// reuse is step 24.
func (j *judgement) reuse(ctx context.Context) *Problem {
	if j.out.Query {
		return nil
	}
	used, err := j.Memory.TransactionUsed(ctx, j.out.TransactionID, j.out.CSR)
	switch {
	case err != nil:
		return internal("earlier transactions are not known", err)
	case used:
		return failed(CodeTransactionReused, BadRequest, "another request has this transactionId", j.control(OIDTransactionID))
	}
	return nil
}
