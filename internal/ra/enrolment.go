package ra

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"callsign/est"
	"callsign/internal/ca"
	"callsign/internal/enroll"
)

// Enroll implements est.Backend: one PKCS#10 that is really signed, by simpleenroll, simplereenroll or serverkeygen.
func (a *RA) Enroll(ctx context.Context, r est.EnrollRequest) (est.EnrollResult, error) {
	l, asked, refused := a.admit(ctx, r)
	if refused != nil {
		return est.EnrollResult{}, refused
	}
	req := enroll.Request{
		Authority: l.Authority.Name(), Owner: owner(r.Label, r.Identity.Name), Label: r.Label,
		PublicKey: asked.RawSubjectPublicKeyInfo, Subject: asked.RawSubject, Extensions: asked.Extensions, CSR: r.CSR.Raw,
		Hold: l.Approval, Reuse: a.c.Keep,
	}
	if len(r.Identity.Password) > 0 {
		req.Login = &ca.Login{User: r.Identity.User, Password: r.Identity.Password, Label: r.Label, Checked: true}
	}
	last, err := a.last(ctx, req)
	if err != nil {
		return est.EnrollResult{}, a.internal(ctx, r.RequestID, err)
	}
	req.Proven, req.Unknown = true, last == nil // the Handler has checked the signature, or made it
	if refused := a.allow(l, req, last); refused != nil {
		return est.EnrollResult{}, refused
	}
	row, err := a.enroll(ctx, req, last)
	if err != nil {
		return est.EnrollResult{}, a.internal(ctx, r.RequestID, err)
	}
	v := a.judge(row, req.Login != nil)
	op := r.Operation
	if op == "" {
		op = "simpleenroll"
	}
	a.record(ctx, op, r.RequestID, v)
	switch v.status {
	case http.StatusOK:
		c, err := x509.ParseCertificate(row.Certificate)
		if err != nil {
			return est.EnrollResult{}, a.internal(ctx, r.RequestID, fmt.Errorf("read issued certificate: %w", err))
		}
		a.noticeIssuer(r.Label, c)
		return est.EnrollResult{Certificate: c}, nil
	case http.StatusAccepted:
		return est.EnrollResult{RetryAfter: v.retryAfter, Text: v.text}, nil
	}
	return est.EnrollResult{}, v.est()
}

// Judge implements est.Judge: all that Enroll would refuse whatever the key, the rate among it, because a key that is made now
// begins a new request.
func (a *RA) Judge(ctx context.Context, r est.EnrollRequest) error {
	l, _, refused := a.admit(ctx, r)
	if refused != nil {
		return refused
	}
	if wait := l.limit.wait(owner(r.Label, r.Identity.Name), a.c.Now()); wait > 0 {
		return a.tooMany(l, wait)
	}
	return nil
}

// admit judges what a request asks for, and returns it as it is to be certified.
func (a *RA) admit(ctx context.Context, r est.EnrollRequest) (*label, *x509.CertificateRequest, *est.Error) {
	l, refused := a.label(r.Label)
	if refused != nil {
		return nil, nil, refused
	}
	if refused := a.ready(ctx, r.Label); refused != nil {
		return nil, nil, explained(refused) // the caller is authenticated
	}
	asked, err := effective(r)
	if err != nil {
		return nil, nil, &est.Error{
			Status: http.StatusBadRequest, ErrCode: CodeNameDenied, Text: "the names that changeSubjectName asks for cannot be read", Err: err,
			Fix: "make a new PKCS#10 request with the device's tool",
		}
	}
	if p := a.reserved.check(asked); p != nil {
		return nil, nil, &est.Error{Status: http.StatusForbidden, ErrCode: p.ErrCode, Text: p.Detail, Fix: p.Remedy()}
	}
	return l, asked, l.rules.check(asked, l.clientOf(r.Identity), r.Identity.Relays)
}

// last is the newest row of the same request; nil when there is none.
func (a *RA) last(ctx context.Context, r enroll.Request) (*enroll.Enrolment, error) {
	row, err := a.c.Engine.Last(ctx, r.Authority, r.Owner, r.Label, r.Subject, r.PublicKey)
	switch {
	case errors.Is(err, enroll.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &row, nil
}

// enroll hands the request to the engine and waits for at most AnswerWithin. A fresh refusal of the same request is
// repeated without asking the CA again, unless somebody vouches for it: who vouches has operations that end with a
// refusal, and asks again only when an administrator has ordered it, having mended the cause. last is the newest row of
// the request, if any.
func (a *RA) enroll(ctx context.Context, r enroll.Request, last *enroll.Enrolment) (enroll.Enrolment, error) {
	if r.Vouch == "" && a.remembered(last) {
		return *last, nil
	}
	wait, cancel := context.WithTimeout(ctx, a.c.AnswerWithin)
	defer cancel()
	// What is under way may be refused at this very moment. To open a row then would ask the CA, or an administrator, once
	// more, and the client would never be told. Only a call with a login brings the engine something new.
	if last != nil && last.State.Open() && r.Login == nil {
		row, err := a.c.Engine.Wait(wait, last.ID)
		if err == nil && row.State != enroll.Stale && row.State != enroll.Confirmed {
			return row, nil
		}
	}
	return a.c.Engine.Enroll(wait, r)
}

// remembered tells whether a row is a refusal that is repeated. One by an administrator of ours is none: the engine keeps it until it
// is lifted. Nor is a request that nobody decided upon: it is held anew.
func (a *RA) remembered(row *enroll.Enrolment) bool {
	if row == nil || a.c.DenialMemory <= 0 || row.State != enroll.Denied && row.State != enroll.Failed || row.Rejected() {
		return false
	}
	if row.Failure != nil && row.Failure.Code == enroll.CodeNotApproved {
		return false
	}
	return row.Updated.After(a.started) && a.c.Now().Before(row.Updated.Add(a.c.DenialMemory))
}

// record writes the one line of an answered enrolment.
func (a *RA) record(ctx context.Context, op, requestID string, v verdict) {
	attrs := []slog.Attr{
		slog.String("op", op), slog.String("request_id", requestID), slog.String("enrolment", v.row.ID),
		slog.String("owner", v.row.Owner), slog.String("ca", v.row.Authority), slog.Int("status", v.status),
	}
	if id := v.row.Progress.RequestID; id != "" {
		attrs = append(attrs, slog.String("ca_request", id))
	}
	switch v.status {
	case http.StatusOK:
		attrs = append(attrs, slog.String("serial", v.row.Serial), slog.String("issuer", v.row.Issuer), slog.String("pop", string(v.row.POP)))
		a.log.LogAttrs(ctx, slog.LevelInfo, "certificate handed out", attrs...)
	case http.StatusAccepted:
		attrs = append(attrs, slog.Duration("retry_after", v.retryAfter))
		a.log.LogAttrs(ctx, slog.LevelInfo, "enrolment not finished", attrs...)
	default:
		attrs = append(attrs, slog.String("code", v.code), slog.String("remedy", v.fix))
		if v.row.Failure != nil {
			attrs = append(attrs, slog.String("err", v.row.Failure.Detail))
		}
		a.log.LogAttrs(ctx, slog.LevelWarn, "enrolment refused", attrs...)
	}
}

// internal is the answer to a failure of this server.
func (a *RA) internal(ctx context.Context, requestID string, err error) *est.Error {
	a.log.ErrorContext(ctx, "enrolment failed inside", slog.String("request_id", requestID), slog.String("code", CodeInternal),
		slog.String("err", err.Error()))
	return &est.Error{
		Status: http.StatusInternalServerError, ErrCode: CodeInternal, Text: "internal error", Err: err,
		Fix: "look at the server's log for this request id; a full disk or a damaged database (store.path) is the usual cause",
	}
}

// allow applies the label's rate to a request. To ask again for what is under way, issued or refused costs nothing: clients are told
// to. last is the newest row of the request, if any.
func (a *RA) allow(l *label, r enroll.Request, last *enroll.Enrolment) *est.Error {
	now := a.c.Now()
	if last != nil {
		again := last.State.Open() || last.State == enroll.Held || last.Rejected() || r.Vouch == "" && a.remembered(last) ||
			(last.State == enroll.Issued || last.State == enroll.Confirmed) && now.Before(last.Updated.Add(a.c.Keep))
		if again {
			return nil
		}
	}
	wait := l.limit.take(r.Owner, now)
	if wait <= 0 {
		return nil
	}
	return a.tooMany(l, wait)
}

func (*RA) tooMany(l *label, wait time.Duration) *est.Error {
	return &est.Error{
		Status: http.StatusTooManyRequests, ErrCode: CodeRate, RetryAfter: max(wait, time.Second),
		Text: fmt.Sprintf("too many requests; %s are allowed here, repeat it later", l.Rate),
		Fix:  "let the client wait as long as Retry-After says, or raise " + l.key("rate"),
	}
}
