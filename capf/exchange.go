package capf

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// finishWithin bounds the last call of a Session: it must get through even when the session's own context has ended,
// because it puts on record what the phone did.
const finishWithin = 5 * time.Second

// exchange is the server's side of one session.
type exchange struct {
	*conn
	caller  Caller
	session Session // nil until the Service has opened one
	task    Task
	over    bool   // the last call of session was made
	verdict string // how it ended, for a recording
}

// run conducts the session and closes it.
func (x *exchange) run(ctx context.Context) {
	x.event(ctx, slog.LevelDebug, "session begins", "capf.session", slog.String("peer", x.peer),
		slog.String("tls", tlsVersionName(x.caller.TLSVersion)), slog.String("cipher", cipherName(x.caller.Cipher)))
	reason, err := x.operate(ctx)
	if err != nil {
		reason = x.fail(ctx, err)
	}
	x.event(ctx, slog.LevelDebug, "session ends", "capf.ending", slog.Int("reason", int(reason)))
	var sent error
	switch {
	case errors.Is(err, errHangUp):
		sent = err
	case x.later(err) > 0:
		sent = x.end(RetryLater, retryElement(x.later(err)))
	default:
		sent = x.end(EndSession, reasonElement(reason))
	}
	x.logEnd(ctx, reason, err, sent == nil)
	x.verdict = fmt.Sprintf("ended with reason %d (%v)", uint8(reason), reason)
	if err != nil {
		x.verdict = "failed: " + withoutMark(err)
	}
	if sent == nil {
		x.linger()
	}
}

// later is when the phone is asked to call again instead of being turned away; 0 when it is not.
func (x *exchange) later(err error) time.Duration {
	if refusal, refused := errors.AsType[*Refusal](err); refused {
		return refusal.RetryLater
	}
	if errors.Is(err, ErrNotReady) && !errors.Is(err, ErrServerClosed) {
		return x.task.RetryLater
	}
	return 0
}

// retryElement is element 12: whole seconds, at least one.
func retryElement(d time.Duration) Element {
	seconds := min(max((d+time.Second-1)/time.Second, 1), math.MaxUint32)
	return Element{Tag: TagRetryDelay, Value: binary.BigEndian.AppendUint32(nil, uint32(seconds))}
}

// logEnd writes the one line per session that is on at info level.
func (x *exchange) logEnd(ctx context.Context, reason Reason, err error, told bool) {
	attrs := []slog.Attr{
		slog.Int("reason", int(reason)), slog.String("reason_name", reason.String()), slog.String("peer", x.peer),
		slog.String("operation", x.task.Operation.String()), slog.Int("version", int(x.caller.Version)),
		slog.String("tls", tlsVersionName(x.caller.TLSVersion)), slog.String("cipher", cipherName(x.caller.Cipher)), x.elapsed(),
	}
	if delay := x.later(err); delay > 0 {
		attrs = append(attrs, slog.Float64("retry_later_s", delay.Seconds()))
	}
	if !told {
		attrs = append(attrs, slog.Bool("told", false))
	}
	if err != nil {
		code, _ := describe(err)
		attrs = append(attrs, slog.String("code", code))
	}
	x.event(ctx, slog.LevelInfo, "session ended", "capf.end_session", attrs...)
}

// fail tells the Session and the log why the operation did not come about, and returns the reason for the phone.
func (x *exchange) fail(ctx context.Context, err error) Reason {
	reason := ReasonInvalidElement
	refusal, refused := errors.AsType[*Refusal](err)
	if refused {
		reason = refusal.wireReason()
	}
	level := slog.LevelWarn
	if refused || errors.Is(err, ErrNotReady) {
		level = slog.LevelDebug // the Service's own decision, and its own log line
	}
	code, remedy := describe(err)
	x.event(ctx, level, "session failed", "capf.session_failed", slog.String("peer", x.peer), slog.String("code", code),
		slog.String("err", withoutMark(err)), slog.String("remedy", remedy))
	if x.session != nil && !x.over && x.task.Operation != OperationNone {
		x.last(ctx, func(ctx context.Context) error { //nolint:errcheck // Abort has no error
			x.session.Abort(ctx, err)
			return nil
		})
		x.event(ctx, slog.LevelDebug, "operation not done", "capf.aborted_session")
	}
	return reason
}

// withoutMark is the text of err without that of errHangUp, which is meant for the program only.
func withoutMark(err error) string {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range j.Unwrap() {
			if !errors.Is(e, errHangUp) {
				return e.Error()
			}
		}
	}
	return err.Error()
}

// last makes the last call of the session, with a context that outlives the session's own.
func (x *exchange) last(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
	defer cancel()
	x.over = true
	return call(ctx)
}

// operate goes from AUTH_REQUEST to the message before END_SESSION. A panic of the Service ends the session as an
// internal error, so that the phone is told and the operation is aborted.
func (x *exchange) operate(ctx context.Context) (reason Reason, err error) {
	defer func() {
		if v := recover(); v != nil {
			x.logPanic(ctx, v)
			reason, err = ReasonInvalidElement, problemf(CodeInternalError, "internal error")
		}
	}()
	if err := x.greet(ctx); err != nil {
		return 0, err
	}
	x.setStage(busy)
	x.session, err = x.srv.Service.Open(ctx, x.caller)
	if err != nil {
		return 0, err
	}
	x.limit = MaxBody
	x.task = x.session.Task()
	x.event(ctx, slog.LevelDebug, "phone accepted", "capf.accepted", slog.String("operation", x.task.Operation.String()))
	switch x.task.Operation {
	case OperationNone:
		return ReasonNoAction, nil
	case OperationInstall:
		return ReasonUpdateCertificate, x.install(ctx)
	case OperationTroubleshoot:
		return ReasonNoAction, x.fetch(ctx)
	case OperationDelete:
		return ReasonUpdateCertificate, x.remove(ctx)
	}
	return 0, problemf(CodeInternalError, "task with the unknown operation %d", x.task.Operation)
}

// greet sends AUTH_REQUEST and reads who the phone says it is.
func (x *exchange) greet(ctx context.Context) error {
	if err := x.send(AuthRequest, byteElement(TagVersion, ProtocolVersion), byteElement(TagAuthType, uint8(AuthNone))); err != nil {
		return err
	}
	m, err := x.await(ctx, AuthResponse, or(x.srv.IdleTimeout, DefaultIdleTimeout))
	if err != nil {
		return err
	}
	if err := x.caller.fill(m); err != nil {
		return err
	}
	x.device = x.caller.Device
	if v, _ := m.Uint8(TagVersion); v > ProtocolVersion {
		x.event(ctx, slog.LevelWarn, "unknown protocol version", "capf.unknown_version", slog.Int("version", int(v)))
	}
	x.event(ctx, slog.LevelDebug, "phone says who it is", "capf.hello", slog.Int("version", int(x.caller.Version)))
	return nil
}

// fetch asks for the phone's certificates.
func (x *exchange) fetch(ctx context.Context) error {
	x.event(ctx, slog.LevelDebug, "asking for the certificates", "capf.fetch")
	if err := x.send(FetchCertificateRequest); err != nil {
		return err
	}
	m, err := x.await(ctx, FetchCertificateResponse, or(x.srv.IdleTimeout, DefaultIdleTimeout))
	if err != nil {
		return err
	}
	var certs []CertificateEntry
	if v, ok := m.Element(TagCertificate); ok {
		if certs, err = ParseCertificatePackage(v); err != nil {
			return err
		}
	}
	r, ok := m.Reason()
	switch {
	case !ok && len(certs) > 0:
		r = ReasonUpdateCertificate
	case !ok:
		return missing(m, TagReason)
	case r == ReasonUpdateCertificate && len(certs) == 0:
		return missing(m, TagCertificate)
	case r == ReasonInvalidElement:
		certs = nil
	case r != ReasonUpdateCertificate:
		return &PhoneError{Command: m.Command, Reason: r, Info: m.info()}
	}
	x.event(ctx, slog.LevelDebug, "certificates received", "capf.fetch_answered", slog.Int("reason", int(r)), slog.Int("count", len(certs)))
	if err := x.last(ctx, func(ctx context.Context) error { return x.session.Fetched(ctx, certs, r) }); err != nil {
		return err
	}
	x.event(ctx, slog.LevelDebug, "fetch recorded", "capf.fetch_done", slog.Int("reason", int(r)))
	return nil
}

// remove asks the phone to delete its certificate.
func (x *exchange) remove(ctx context.Context) error {
	x.event(ctx, slog.LevelDebug, "asking to delete the certificate", "capf.delete")
	if err := x.send(DeleteCertificateRequest); err != nil {
		return err
	}
	m, err := x.await(ctx, DeleteCertificateResponse, or(x.srv.IdleTimeout, DefaultIdleTimeout))
	if err != nil {
		return err
	}
	r, ok := m.Reason()
	switch {
	case !ok:
		return missing(m, TagReason)
	case r != ReasonUpdateCertificate && r != ReasonInvalidElement:
		return &PhoneError{Command: m.Command, Reason: r, Info: m.info()}
	}
	x.event(ctx, slog.LevelDebug, "delete answered", "capf.delete_answered", slog.Int("reason", int(r)))
	if err := x.last(ctx, func(ctx context.Context) error { return x.session.Deleted(ctx, r) }); err != nil {
		return err
	}
	x.event(ctx, slog.LevelDebug, "delete recorded", "capf.delete_done", slog.Int("reason", int(r)))
	return nil
}

func missing(m Message, t Tag) error {
	return problemf(CodeMissingElement, "%v without element %v", m.Command, t)
}

func tlsVersionName(v uint16) string {
	if v == 0 {
		return ""
	}
	return tls.VersionName(v)
}

func cipherName(v uint16) string {
	if v == 0 {
		return ""
	}
	if name, ok := cipherNames()[v]; ok {
		return name
	}
	return tls.CipherSuiteName(v)
}

// cipherNames are the names of the suites. crypto/tls makes its list anew for each question.
var cipherNames = sync.OnceValue(func() map[uint16]string {
	names := map[uint16]string{}
	for _, c := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		names[c.ID] = c.Name
	}
	return names
})

// logPanic logs a panic of the Service with its stack.
func (x *exchange) logPanic(ctx context.Context, v any) {
	x.event(ctx, slog.LevelError, "service panicked", "capf.panic", slog.String("peer", x.peer),
		slog.String("code", CodeInternalError), slog.String("err", fmt.Sprint(v)),
		slog.String("remedy", remedyOf(CodeInternalError)), slog.String("stack", string(debug.Stack())))
}
