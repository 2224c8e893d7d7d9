package cmc

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// defaultWindow is how far signingTime may be from the clock.
const defaultWindow = 5 * time.Minute

// judgement is one run of Verify.
type judgement struct {
	*Verifier
	m      *Message
	signer *Signer
	data   *PKIData
	out    *Verified
}

// Verify makes the checks of steps 3 to 24 and stops at the first that fails. Step 1 is Open, step 2 (the same bytes again)
// the caller's before Open or Verify, step 25 the caller's afterwards. Exactly one of the results is nil.
func (v *Verifier) Verify(ctx context.Context, m *Message) (*Verified, *Problem) {
	j := &judgement{Verifier: v, m: m, out: new(Verified)}
	for _, step := range []func(context.Context) *Problem{
		j.contentType, // 3
		j.oneSigner,   // 4
		j.signature,   // 5, 6
		j.chain,       // 7
		j.clock,       // 8
		j.pkiData,     // 9
		j.bodyIDs,     // 10
		j.voucher,     // 11
		j.controls,    // 12
		j.nested,      // 13
		j.nonces,      // 14, 15
		j.transaction, // 16
		j.replay,      // 17
		j.query,       // 18
		j.oneRequest,  // 19, 20
		j.witness,     // 21
		j.possession,  // 22
		j.policy,      // 23
		j.reuse,       // 24
	} {
		if p := step(ctx); p != nil {
			j.echo(p)
			return nil, p
		}
	}
	return j.out, nil
}

// echo puts what the response has to return into a refusal, once the PKIData could be read.
func (j *judgement) echo(p *Problem) {
	if j.data == nil {
		return
	}
	// Errors leave the field nil: a control that cannot be read cannot be returned.
	p.TransactionID, _ = j.data.Control(OIDTransactionID).integer()
	p.SenderNonce, _ = j.data.Control(OIDSenderNonce).octets()
	p.DataReturn, _ = j.data.Control(OIDDataReturn).octets()
}

// contentType is step 3.
func (j *judgement) contentType(context.Context) *Problem {
	switch {
	case !j.m.EContentType.Equal(OIDPKIData):
		return failed(CodeNotPKIData, BadRequest, fmt.Sprintf("the content is of type %v, not PKIData", j.m.EContentType))
	case j.m.EContent == nil:
		return failed(CodeNotPKIData, BadRequest, "the message has no content")
	}
	return nil
}

// oneSigner is step 4.
func (j *judgement) oneSigner(context.Context) *Problem {
	var p *Problem
	j.signer, p = onlySigner(j.m)
	return p
}

// onlySigner returns the one signer with a signature.
func onlySigner(m *Message) (*Signer, *Problem) {
	var only *Signer
	for i := range m.Signers {
		switch s := &m.Signers[i]; {
		case s.NoSignature:
		case only != nil:
			return nil, failed(CodeSignerCount, BadRequest, "the message has more than one signer")
		default:
			only = s
		}
	}
	if only == nil {
		return nil, failed(CodeNoSigner, BadMessageCheck, "nobody signed the message")
	}
	return only, nil
}

// signature is steps 5 and 6.
func (j *judgement) signature(context.Context) *Problem {
	err := j.signer.Err
	j.out.Voucher = j.signer.Certificate
	if errors.Is(err, ErrNoCertificate) {
		for _, c := range j.Certificates {
			if !j.signer.Names(c) {
				continue
			}
			j.out.Voucher = c
			if err = j.m.CheckSignature(j.signer, c); err == nil {
				break
			}
		}
	}
	return signatureProblem(err)
}

// signatureProblem turns a Signer's Err into a Problem.
func signatureProblem(err error) *Problem {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNoCertificate):
		return failed(CodeSignerUnknown, BadMessageCheck, "the signer's certificate is not in the message")
	case errors.Is(err, errWeakKey):
		p := failed(CodeSignerUntrusted, BadMessageCheck, "the signer's key is not acceptable").because(err)
		p.HTTP = http.StatusForbidden
		return p
	}
	return failed(CodeBadSignature, BadMessageCheck, "the signature of the message is not right").because(err)
}

// chain is step 7.
func (j *judgement) chain(ctx context.Context) *Problem {
	chain, p := signerChain(j.out.Voucher, j.Anchors, slices.Concat(j.m.Certificates, j.Certificates), j.Now())
	if p != nil {
		return p
	}
	if j.Revoked != nil {
		if err := j.Revoked(ctx, chain); err != nil {
			return untrusted("a certificate of the signer %s is revoked, or that cannot be found out", j.out.Voucher).because(err)
		}
	}
	j.out.Chain = chain
	return nil
}

// untrusted is the Problem about a signer that may not be believed; format has one verb for its subject.
func untrusted(format string, c *x509.Certificate) *Problem {
	p := failed(CodeSignerUntrusted, BadMessageCheck, fmt.Sprintf(format, c.Subject))
	p.HTTP = http.StatusForbidden
	return p
}

// signerChain returns a path from c to an anchor. Key purposes are left to the caller: crypto/x509 would demand them of
// every CA on the way.
func signerChain(c *x509.Certificate, anchors *x509.CertPool, others []*x509.Certificate, now time.Time) ([]*x509.Certificate, *Problem) {
	if anchors == nil {
		anchors = x509.NewCertPool() // nil would mean the system's
	}
	intermediates := x509.NewCertPool()
	for _, o := range others {
		// A key beyond our limits costs more time to check than the message is worth.
		if checkKey(o.PublicKey) == nil {
			intermediates.AddCert(o)
		}
	}
	options := x509.VerifyOptions{
		Roots: anchors, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	chains, err := c.Verify(options)
	if err != nil {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			// Whether its dates are all that is wrong shows at a moment when they are right.
			options.CurrentTime = c.NotAfter
			if _, err := c.Verify(options); err == nil {
				p := failed(CodeSignerExpired, BadMessageCheck, fmt.Sprintf("the certificate of the signer %s is valid from %s to %s",
					c.Subject, c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339)))
				p.HTTP = http.StatusForbidden
				return nil, p
			}
		}
		return nil, untrusted("the certificate of the signer %s does not lead to an anchor", c).because(err)
	}
	if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, untrusted("the key usage of the signer %s does not allow signatures", c)
	}
	return chains[0], nil
}

// clock is step 8.
func (j *judgement) clock(context.Context) *Problem {
	j.out.SigningTime = j.signer.SigningTime
	window := j.Window
	if window == 0 {
		window = defaultWindow
	}
	if window < 0 || j.signer.SigningTime.IsZero() {
		return nil
	}
	if off := j.Now().Sub(j.signer.SigningTime).Abs(); off > window {
		return failed(CodeTime, BadTime, fmt.Sprintf("the message was signed at %s, which is %s from the clock here; %s are allowed",
			j.signer.SigningTime.UTC().Format(time.RFC3339), off.Round(time.Second), window))
	}
	return nil
}

// pkiData is step 9.
func (j *judgement) pkiData(context.Context) *Problem {
	d, err := ParsePKIData(j.m.EContent)
	if err != nil {
		return asProblem(err)
	}
	j.data = d
	return nil
}

// asProblem returns the Problem in err.
func asProblem(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	return internal("the message cannot be judged", err)
}

// internal is the Problem about ourselves.
func internal(detail string, err error) *Problem {
	p := failed(CodeInternal, InternalCAError, detail).because(err)
	p.HTTP = http.StatusInternalServerError
	return p
}

// bodyIDs is step 10.
func (j *judgement) bodyIDs(context.Context) *Problem {
	seen := make(map[uint32]bool)
	var p *Problem
	check := func(id uint32) {
		switch {
		case p != nil:
		case id == 0:
			p = failed(CodeBodyID, BadRequest, "a body part has the number 0, which means the whole message", id)
		case seen[id]:
			p = failed(CodeBodyID, BadRequest, fmt.Sprintf("two body parts have the number %d", id), id)
		}
		seen[id] = true
	}
	for _, c := range j.data.Controls {
		check(c.BodyPartID)
	}
	for _, r := range j.data.Requests {
		check(r.BodyPartID)
	}
	for _, e := range slices.Concat(j.data.CMS, j.data.Other) {
		check(e.BodyPartID)
	}
	return p
}

// voucher is step 11.
func (j *judgement) voucher(context.Context) *Problem {
	c := j.out.Voucher
	var detail string
	switch {
	case !HasKeyPurpose(c, OIDKeyPurposeCMCRA):
		detail = fmt.Sprintf("the extended key usage of the signer %s does not name id-kp-cmcRA", c.Subject)
	case j.Allowed == nil || !j.Allowed(c):
		detail = fmt.Sprintf("the signer %s is not on the list of vouchers", c.Subject)
	default:
		return nil
	}
	p := failed(CodeNotRA, POPFailed, detail, j.requestIDs()...)
	p.HTTP = http.StatusForbidden
	return p
}

// requestIDs returns the body parts of all requests.
func (j *judgement) requestIDs() []uint32 {
	var ids []uint32
	for _, r := range j.data.Requests {
		ids = append(ids, r.BodyPartID)
	}
	return ids
}
