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

// Enroll implements est.Backend: one PKCS#10 that is really signed.
func (a *RA) Enroll(ctx context.Context, r est.EnrollRequest) (est.EnrollResult, error) {
	l, refused := a.label(r.Label)
	if refused != nil {
		return est.EnrollResult{}, refused
	}
	if refused := a.ready(ctx, r.Label); refused != nil {
		return est.EnrollResult{}, explained(refused) // the caller is authenticated
	}
	if refused := a.allow("est:" + r.Label + "/" + r.Identity.Name); refused != nil {
		return est.EnrollResult{}, refused
	}
	if p := a.reserved.check(r.CSR); p != nil {
		return est.EnrollResult{}, &est.Error{Status: http.StatusForbidden, ErrCode: p.ErrCode, Text: p.Detail, Fix: p.Remedy()}
	}
	if l.Policy != nil {
		if p := l.Policy.Check(r.CSR); p != nil {
			return est.EnrollResult{}, &est.Error{Status: http.StatusForbidden, ErrCode: p.ErrCode, Text: p.Detail, Fix: p.Remedy()}
		}
	}
	req := enroll.Request{
		Authority: l.Authority.Name(), Owner: "est:" + r.Label + "/" + r.Identity.Name, Label: r.Label,
		PublicKey: r.CSR.RawSubjectPublicKeyInfo, Subject: r.CSR.RawSubject, Extensions: r.CSR.Extensions, CSR: r.CSR.Raw,
		Reuse: a.c.Keep,
	}
	if len(r.Identity.Password) > 0 {
		req.Login = &ca.Login{User: r.Identity.User, Password: r.Identity.Password, Checked: true}
	}
	row, err := a.enroll(ctx, req)
	if err != nil {
		return est.EnrollResult{}, a.internal(ctx, r.RequestID, err)
	}
	v := a.judge(row, req.Login != nil)
	a.record(ctx, "simpleenroll", r.RequestID, v)
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

// enroll hands the request to the engine and waits for at most AnswerWithin. A fresh refusal of the same request is
// repeated without asking the CA again, unless somebody vouches for it: who vouches has operations that end with a
// refusal, and asks again only when an administrator has ordered it, having mended the cause.
func (a *RA) enroll(ctx context.Context, r enroll.Request) (enroll.Enrolment, error) {
	if a.c.DenialMemory > 0 && r.Vouch == "" {
		last, err := a.c.Engine.Last(ctx, r.Authority, r.Owner, r.Label, r.Subject, r.PublicKey)
		switch {
		case err != nil && !errors.Is(err, enroll.ErrNotFound):
			return enroll.Enrolment{}, err
		case err == nil && a.remembered(last):
			return last, nil
		}
	}
	wait, cancel := context.WithTimeout(ctx, a.c.AnswerWithin)
	defer cancel()
	return a.c.Engine.Enroll(wait, r)
}

func (a *RA) remembered(row enroll.Enrolment) bool {
	if row.State != enroll.Denied && row.State != enroll.Failed {
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

// allow applies the rate limit.
func (a *RA) allow(owner string) *est.Error {
	wait := a.limit.take(owner, a.c.Now())
	if wait <= 0 {
		return nil
	}
	return &est.Error{
		Status: http.StatusTooManyRequests, ErrCode: CodeRate, Text: "too many requests; repeat it later",
		Fix: "let the client wait as long as Retry-After says", RetryAfter: max(wait, time.Second),
	}
}
