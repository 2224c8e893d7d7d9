package ra

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"strings"

	"callsign/cmc"
	"callsign/est"
	"callsign/internal/enroll"
)

// voucherGate judges and answers full CMC requests.
type voucherGate struct {
	a        *RA
	v        *Vouching
	verifier cmc.Verifier // Memory and Window are set for each message
}

func newVoucherGate(a *RA) (*voucherGate, error) {
	v := a.c.Vouching
	if v == nil {
		return nil, nil // no vouching: FullCMC refuses
	}
	switch {
	case v.Memory == nil:
		return nil, errors.New("registration authority: vouching needs a memory of messages")
	case v.Responder == nil || len(v.ResponderChain) == 0:
		return nil, errors.New("registration authority: vouching needs a responder certificate and key")
	case len(v.Anchors) == 0:
		return nil, errors.New("registration authority: vouching needs an anchor for the vouchers' certificates")
	}
	allowed, err := allowList("vouchers", v.Allow)
	if err != nil {
		return nil, fmt.Errorf("registration authority: [ra] %w", err)
	}
	pool := x509.NewCertPool()
	for _, c := range v.Anchors {
		pool.AddCert(c)
	}
	return &voucherGate{a: a, v: v, verifier: cmc.Verifier{
		Anchors: pool, Certificates: v.Certificates, Allowed: allowed, Revoked: v.Revoked, Now: a.c.Now, Window: v.Window,
		Policy: func(csr *x509.CertificateRequest, _ *x509.Certificate) *cmc.Problem { return a.mayVouch(v.Policy, csr) },
	}}, nil
}

// microsoftExtensions is the contents of the attribute type 1.3.6.1.4.1.311.2.1.14, under which AD CS takes extensions, too. The length before it can
// be written in more ways than one.
var microsoftExtensions = []byte{0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 1, 14}

// mayVouch returns why nobody may vouch for the request, or nil.
func (a *RA) mayVouch(p *Policy, csr *x509.CertificateRequest) *cmc.Problem {
	if bytes.Contains(csr.RawTBSCertificateRequest, microsoftExtensions) {
		// The parser does not read them, so the policy would not see what the CA sees.
		return cmc.Deny(CodeExtension, cmc.UnsupportedExt, "extensions under Microsoft's attribute 1.3.6.1.4.1.311.2.1.14 may not be asked for here",
			"put the extensions under PKCS #9's attribute extensionRequest")
	}
	if problem := a.reserved.check(csr); problem != nil {
		return problem
	}
	return p.Check(csr)
}

// allowList makes a test of a configured list of certificates; key is where it stands.
func allowList(key string, entries []string) (func(*x509.Certificate) bool, error) {
	prints, subjects := map[string]bool{}, map[string]bool{}
	for _, e := range entries {
		e = strings.TrimSpace(e)
		if strings.Contains(e, "=") {
			subjects[e] = true
			continue
		}
		fp := strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(e))
		if b, err := hex.DecodeString(fp); err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("%s: %q is neither a SHA-256 fingerprint nor a subject such as CN=capf-ra,O=Example", key, e)
		}
		prints[fp] = true
	}
	return func(c *x509.Certificate) bool {
		return prints[fingerprint(c)] || subjects[subjectOf(c)] || subjects[c.Subject.String()] && showsAll(c)
	}, nil
}

// showsAll tells whether pkix.Name shows the whole subject, if in the order of its own that other programs have as well. Of two common names or
// serial numbers it shows the last.
func showsAll(c *x509.Certificate) bool {
	return len(namesOfType(c, oidCommonName)) <= 1 && len(namesOfType(c, oidSerialNumber)) <= 1
}

// voucherName is the name of a voucher as the list of vouchers may have it.
func voucherName(c *x509.Certificate) string {
	if showsAll(c) {
		return c.Subject.String()
	}
	return subjectOf(c)
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// FullCMC implements est.FullCMC.
func (a *RA) FullCMC(ctx context.Context, r est.CMCRequest) est.CMCReply {
	g := a.vouch
	if g == nil {
		// cmc.md 6: never 404 or 501 for a refusal, and nobody can sign the answer.
		body, err := cmc.Unsigned("vouched requests are not accepted here")
		if err != nil {
			body = nil
		}
		return est.CMCReply{Status: http.StatusForbidden, Body: body, Code: CodeVoucherOff}
	}
	l, refused := a.label(r.Label)
	if refused != nil {
		return g.refuse(ctx, r, refusal(refused), refused)
	}
	digest := sha256.Sum256(r.Body)
	earlier, again, err := g.v.Memory.Find(ctx, digest)
	if err != nil {
		return g.internal(ctx, r, nil, err)
	}
	m, err := cmc.Open(r.Body)
	if err != nil {
		return g.problem(ctx, r, asProblem(err))
	}
	verifier := g.verifier
	mem := &messageMemory{m: g.v.Memory}
	verifier.Memory = mem
	if again {
		// Step 2: the same bytes were judged when they came first; now only who signed them and what they ask is read, and
		// time and nonce have nothing to say.
		mem.again = true
		verifier.Window = -1
	}
	v, p := verifier.Verify(ctx, m)
	if p != nil {
		return g.problem(ctx, r, p)
	}
	if again && earlier.Label != r.Label {
		return g.problem(ctx, r, refusedFor(v, cmc.CodeNonceReplayed, "the same message was sent to another label"))
	}
	if !again && !v.Query {
		if p := checkLink(r, l, v); p != nil {
			return g.problem(ctx, r, p)
		}
	}
	// After the signature: only who may vouch is told what is wrong with the CA. Nothing is remembered yet, so the same bytes
	// are good later.
	if refused := a.ready(ctx, r.Label); refused != nil {
		return g.refuse(ctx, r, v.Response(), explained(refused))
	}
	if v.Query {
		return g.query(ctx, r, v, digest)
	}
	return g.request(ctx, r, l, v, digest, earlier)
}

// checkLink refuses a request whose PKCS#10 has a link that is not that of the connection, where the label compares links: CMC calls that
// popFailed (RFC 7030 section 3.5). None is demanded: a voucher cannot make one for a phone, and is let off by section 3.7.
func checkLink(r est.CMCRequest, l *label, v *cmc.Verified) *cmc.Problem {
	if l.EST.Link == est.LinkOff {
		return nil
	}
	present, right := est.CompareLink(v.Parsed, r.TLS)
	if !present || right && !r.Forwarded {
		return nil
	}
	p := refusedFor(v, cmc.CodePOPFailed, "the challengePassword of the PKCS#10 is not the value of this TLS connection")
	p.FailInfo = cmc.POPFailed
	if v.BodyPartID != 0 {
		p.BodyList = []uint32{v.BodyPartID}
	}
	p.Fix = fmt.Sprintf("leave the attribute out, or make it for the connection on which the request is sent; to compare no links under this label set %s = \"off\"", l.key("link"))
	return p
}

// request answers a verified request for a certificate.
func (g *voucherGate) request(ctx context.Context, r est.CMCRequest, l *label, v *cmc.Verified, digest [sha256.Size]byte, earlier Message) est.CMCReply {
	// By subject: a renewed certificate is the same voucher, and gets the same row for the same request. Replays are told by
	// the signer's key. "voucher:" is in no user name and begins no subject, so no other caller has this owner.
	req := vouched(r.Label, l, owner(r.Label, "voucher:"+voucherName(v.Voucher)), v, g.a)
	if earlier.Time.IsZero() {
		last, err := g.a.last(ctx, req)
		if err != nil {
			return g.internal(ctx, r, v, err)
		}
		if e := g.a.allow(l, req, last); e != nil {
			return g.refuse(ctx, r, v.Response(), e)
		}
		if p := g.remember(ctx, r, v, digest); p != nil {
			return g.problem(ctx, r, p)
		}
	}
	row, err := g.row(ctx, earlier, req)
	if err != nil {
		return g.internal(ctx, r, v, err)
	}
	if earlier.Enrolment != row.ID {
		if err := g.v.Memory.Bind(context.WithoutCancel(ctx), digest, row.ID); err != nil {
			return g.internal(ctx, r, v, err)
		}
	}
	return g.answer(ctx, r, v, row)
}

// row is the row that an earlier copy of the message was bound to, or the one that the engine opens.
func (g *voucherGate) row(ctx context.Context, earlier Message, req enroll.Request) (enroll.Enrolment, error) {
	if earlier.Enrolment != "" {
		wait, cancel := context.WithTimeout(ctx, g.a.c.AnswerWithin)
		defer cancel()
		row, err := g.a.c.Engine.Wait(wait, earlier.Enrolment)
		gone := errors.Is(err, enroll.ErrNotFound) || err == nil && row.State == enroll.Stale
		if !gone {
			return row, err
		}
	}
	last, err := g.a.last(ctx, req)
	if err != nil {
		return enroll.Enrolment{}, err
	}
	return g.a.enroll(ctx, req, last)
}

// vouched is the engine's request for a verified message.
func vouched(label string, l *label, owner string, v *cmc.Verified, a *RA) enroll.Request {
	req := enroll.Request{
		Authority: l.Authority.Name(), Owner: owner, Label: label, PublicKey: v.Parsed.RawSubjectPublicKeyInfo,
		Subject: v.Parsed.RawSubject, Extensions: v.Parsed.Extensions, Hold: l.Approval, Reuse: a.c.Keep,
	}
	if v.Form == cmc.Signed {
		req.CSR = v.CSR
	} else {
		req.Vouch = voucherName(v.Voucher)
	}
	return req
}

func (g *voucherGate) remember(ctx context.Context, r est.CMCRequest, v *cmc.Verified, digest [sha256.Size]byte) *cmc.Problem {
	m := Message{
		Digest: digest, Signer: sha256.Sum256(v.Voucher.RawSubjectPublicKeyInfo), Nonce: v.SenderNonce,
		Transaction: v.TransactionID.Bytes(), Label: r.Label, Time: g.a.c.Now(),
	}
	if v.Parsed != nil {
		m.Request = sha256.Sum256(v.Parsed.RawTBSCertificateRequest)
	} else {
		m.Enrolment = string(v.PendToken)
	}
	// The verifier has asked already; this is for two messages at the same moment.
	switch err := g.v.Memory.Remember(context.WithoutCancel(ctx), m); {
	case err == nil:
		return nil
	case errors.Is(err, ErrNonceReplayed):
		return refusedFor(v, cmc.CodeNonceReplayed, "the nonce was used before")
	case errors.Is(err, ErrTransactionReused):
		return refusedFor(v, cmc.CodeTransactionReused, "the transaction was used for another request")
	default:
		p := refusedFor(v, CodeInternal, "internal error")
		p.HTTP, p.FailInfo, p.Err = http.StatusInternalServerError, cmc.InternalCAError, err
		return p
	}
}

// query answers after the state of an earlier request (step 18: the verifier knows that the token is this signer's).
func (g *voucherGate) query(ctx context.Context, r est.CMCRequest, v *cmc.Verified, digest [sha256.Size]byte) est.CMCReply {
	if p := g.remember(ctx, r, v, digest); p != nil {
		return g.problem(ctx, r, p)
	}
	wait, cancel := context.WithTimeout(ctx, g.a.c.AnswerWithin)
	defer cancel()
	row, err := g.a.c.Engine.Wait(wait, string(v.PendToken))
	if err != nil {
		return g.internal(ctx, r, v, err)
	}
	if row.State == enroll.Stale {
		return g.problem(ctx, r, refusedFor(v, CodeSuperseded, "another request took the place of this one; send the request again"))
	}
	return g.answer(ctx, r, v, row)
}

// answer puts a row into a signed response.
func (g *voucherGate) answer(ctx context.Context, r est.CMCRequest, v *cmc.Verified, row enroll.Enrolment) est.CMCReply {
	verdict := g.a.judge(row, false)
	g.a.record(ctx, "fullcmc", r.RequestID, verdict)
	response := v.Response()
	verdict.fill(response, []byte(row.ID), g.a.c.Now())
	if v.BodyPartID != 0 {
		response.BodyList = []uint32{v.BodyPartID}
	}
	if verdict.status == http.StatusOK {
		certs, err := certificates(row)
		if err != nil {
			return g.internal(ctx, r, v, err)
		}
		response.Certificates = certs
		g.a.noticeIssuer(r.Label, certs[0])
	}
	return g.sign(ctx, r, response, est.CMCReply{Status: verdict.status, RetryAfter: verdict.retryAfter, Code: verdict.code})
}

// certificates returns the issued certificate and its CA chain.
func certificates(row enroll.Enrolment) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for _, der := range append([][]byte{row.Certificate}, row.Chain...) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("read certificate of enrolment %s: %w", row.ID, err)
		}
		out = append(out, c)
	}
	return out, nil
}

func (g *voucherGate) problem(ctx context.Context, r est.CMCRequest, p *cmc.Problem) est.CMCReply {
	g.a.log.WarnContext(ctx, "vouched request refused", slog.String("op", "fullcmc"), slog.Any("peer", r.Peer),
		slog.String("request_id", r.RequestID), slog.String("code", p.Code()), slog.String("err", p.Error()),
		slog.String("remedy", p.Remedy()), slog.Int("status", p.HTTP), slog.String("cmc_status", p.Status.String()))
	return g.sign(ctx, r, p.Response(), est.CMCReply{Status: p.HTTP, Code: p.Code()})
}

// refuse answers with one of EST's refusals in CMC's words.
func (g *voucherGate) refuse(ctx context.Context, r est.CMCRequest, response *cmc.Response, e *est.Error) est.CMCReply {
	response.Status, response.FailInfo, response.Text = cmc.StatusFailed, cmc.BadRequest, e.Text
	status := e.Status
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		response.FailInfo = cmc.TryLater
	}
	if status == http.StatusNotFound {
		status = http.StatusBadRequest // a client would read 404 as "operation not implemented"
	}
	g.a.log.WarnContext(ctx, "vouched request refused", slog.String("op", "fullcmc"), slog.String("request_id", r.RequestID),
		slog.String("code", e.ErrCode), slog.String("err", e.Error()), slog.Int("status", status))
	return g.sign(ctx, r, response, est.CMCReply{Status: status, RetryAfter: e.RetryAfter, Code: e.ErrCode})
}

func refusal(e *est.Error) *cmc.Response { return &cmc.Response{BodyList: []uint32{0}, Text: e.Text} }

func (g *voucherGate) internal(ctx context.Context, r est.CMCRequest, v *cmc.Verified, err error) est.CMCReply {
	e := g.a.internal(ctx, r.RequestID, err)
	response := refusal(e)
	if v != nil {
		response = v.Response()
	}
	response.Status, response.FailInfo, response.Text = cmc.StatusFailed, cmc.InternalCAError, e.Text
	return g.sign(ctx, r, response, est.CMCReply{Status: e.Status, Code: e.ErrCode})
}

// sign completes the reply with the signed response.
func (g *voucherGate) sign(ctx context.Context, r est.CMCRequest, response *cmc.Response, reply est.CMCReply) est.CMCReply {
	body, err := response.Sign(g.a.c.Now(), g.a.c.Random, g.v.Responder, g.v.ResponderChain)
	if err != nil {
		g.a.log.ErrorContext(ctx, "CMC response not signed", slog.String("request_id", r.RequestID), slog.String("err", err.Error()))
		reply = est.CMCReply{Status: http.StatusInternalServerError, Code: CodeInternal}
		if body, err = cmc.Unsigned("the response could not be signed"); err != nil {
			body = nil
		}
	}
	reply.Body = body
	return reply
}

// refusedFor is a refusal about a message that the verifier let pass.
func refusedFor(v *cmc.Verified, code, detail string) *cmc.Problem {
	return &cmc.Problem{
		ErrCode: code, Status: cmc.StatusFailed, FailInfo: cmc.BadRequest, BodyList: []uint32{0}, HTTP: http.StatusBadRequest,
		Detail: detail, TransactionID: v.TransactionID, SenderNonce: v.SenderNonce, DataReturn: v.DataReturn,
	}
}

func asProblem(err error) *cmc.Problem {
	if p, ok := errors.AsType[*cmc.Problem](err); ok {
		return p
	}
	return &cmc.Problem{
		ErrCode: cmc.CodeMalformed, Status: cmc.StatusFailed, FailInfo: cmc.BadRequest, BodyList: []uint32{0},
		HTTP: http.StatusBadRequest, Detail: "the message cannot be read", Err: err,
	}
}

// messageMemory answers the verifier's questions about earlier messages.
type messageMemory struct {
	m     Memory
	again bool // the message itself is remembered
}

// Replayed implements cmc.Memory.
func (m *messageMemory) Replayed(ctx context.Context, signer, nonce []byte) (bool, error) {
	if m.again {
		return false, nil
	}
	return m.m.NonceSeen(ctx, sha256.Sum256(signer), nonce)
}

// TransactionUsed implements cmc.Memory. Two requests are the same when their CertificationRequestInfo is: the form in
// place of the signature may differ.
func (m *messageMemory) TransactionUsed(ctx context.Context, id *big.Int, csr []byte) (bool, error) {
	earlier, ok, err := m.m.TransactionRequest(ctx, id.Bytes())
	if err != nil || !ok {
		return false, err
	}
	parsed, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return false, fmt.Errorf("read PKCS#10: %w", err)
	}
	return earlier != sha256.Sum256(parsed.RawTBSCertificateRequest), nil
}

// TokenKnown implements cmc.Memory.
func (m *messageMemory) TokenKnown(ctx context.Context, signer, token []byte) (bool, error) {
	if len(token) == 0 || bytes.IndexByte(token, 0) >= 0 {
		return false, nil
	}
	return m.m.VouchedBy(ctx, sha256.Sum256(signer), string(token))
}
