package certsrv

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"callsign/certsrv/winauth"
)

// The stable codes of a Problem.
const (
	CodeBadConfiguration   = "certsrv.bad-configuration"    // the Client's own settings; nothing was sent
	CodeBadRequest         = "certsrv.bad-request"          // a Submission that cannot be sent; nothing was sent
	CodeNotResolved        = "certsrv.name-not-resolved"    // DNS
	CodeCannotConnect      = "certsrv.cannot-connect"       // TCP
	CodeUntrusted          = "certsrv.tls-untrusted"        // the server certificate is not accepted
	CodeWrongName          = "certsrv.tls-wrong-name"       // the server certificate has another name
	CodeTLSFailed          = "certsrv.tls-failed"           // any other failure of the handshake
	CodeTimeout            = "certsrv.timeout"              // no answer in time; nothing was submitted
	CodeConnectionLost     = "certsrv.connection-lost"      // the connection broke; nothing was submitted
	CodeCancelled          = "certsrv.cancelled"            // the caller's context ended
	CodeKDCUnreachable     = "certsrv.kdc-unreachable"      // no domain controller gives a ticket
	CodeClockSkew          = "certsrv.clock-skew"           // Kerberos: this machine's clock is wrong, or the other's
	CodeNoTicket           = "certsrv.no-ticket"            // Kerberos: a domain controller refuses a ticket for the web server
	CodeAnswerLost         = "certsrv.answer-lost"          // submitted, and the CA's answer is not known
	CodeNotAuthenticated   = "certsrv.not-authenticated"    // 401
	CodeLoginNotAsked      = "certsrv.login-not-asked"      // the server lets anyone in
	CodeForbidden          = "certsrv.forbidden"            // 403
	CodeRedirected         = "certsrv.redirected"           // the answer leads elsewhere; nothing is followed
	CodeNotFound           = "certsrv.role-missing"         // 404: no such page on this server
	CodeServerError        = "certsrv.server-error"         // 5xx
	CodeUnexpectedPage     = "certsrv.unexpected-page"      // nobody understands the page
	CodeTooLarge           = "certsrv.answer-too-large"     // more than the client reads
	CodeTemplateNotOffered = "certsrv.template-not-offered" // certrqxt.asp does not list it
	CodeDenied             = "certsrv.denied"               // the CA's word
	CodeRevoked            = "certsrv.revoked"              // the certificate of the request was revoked
	CodeFailed             = "certsrv.request-failed"       // the CA's error page
	CodeCAUnavailable      = "certsrv.ca-unavailable"       // the web server does not reach the CA
	CodeUnknownRequest     = "certsrv.unknown-request"      // no such request id
	CodeNoCRL              = "certsrv.no-crl"               // the CA has no such CRL
	CodeNotDelivered       = "certsrv.issued-not-delivered" // issued, but the certificate does not come
)

// ErrAnswerLost tells, with errors.Is, that a request was posted and that the CA's answer is not known: it may have
// issued. Nothing must be posted again before the certificate was looked for.
var ErrAnswerLost = errors.New("the answer to the submitted request was lost")

// Problem is a failure that a user can act on.
type Problem struct {
	ErrCode    string   // one of the Code constants
	Op         string   // what was done: "login", "templates", "submit", "fetch", "cacerts", "crl"
	URL        string   // of the request, with explicit port
	Detail     string   // what happened, with names and values; the peer's words unchanged
	Fix        string   // what to do
	HResult    HResult  // the CA's status, 0 for none
	HTTPStatus int      // 0 for none
	Retryable  bool     // trying again can help without anyone acting
	Timeout    bool     // the peer did not answer in time
	AnswerLost bool     // see ErrAnswerLost
	Offered    []string // with CodeTemplateNotOffered: the templates that are offered
	Nearest    string   // with CodeTemplateNotOffered: the offered template whose name is nearest, empty for none
	Err        error    // cause, may be nil
}

// Error implements error.
func (p *Problem) Error() string {
	s := p.Detail
	if p.Op != "" {
		s = p.Op + ": " + s
	}
	return s
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Err }

// Is matches ErrAnswerLost.
func (p *Problem) Is(target error) bool { return target == ErrAnswerLost && p.AnswerLost }

// Code returns the stable code.
func (p *Problem) Code() string { return p.ErrCode }

// Remedy returns what to do.
func (p *Problem) Remedy() string { return p.Fix }

// level is how a failure is logged: what the caller gave up himself is nothing that anybody has to look at.
func (p *Problem) level() slog.Level {
	if p.ErrCode == CodeCancelled {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// transportProblem turns an error of winauth into a Problem. posted tells that the request was a submission: whatever
// may have reached the server then counts as submitted.
func transportProblem(op string, err error, posted bool) *Problem {
	if own, ok := errors.AsType[*Problem](err); ok {
		return own
	}
	var w *winauth.Error
	if !errors.As(err, &w) {
		return &Problem{ErrCode: CodeConnectionLost, Op: op, Detail: err.Error(), Fix: "try again", Retryable: true, Err: err}
	}
	p := &Problem{Op: op, URL: w.URL, Detail: w.Error(), Fix: w.Remedy(), HTTPStatus: w.Status, Err: err}
	switch w.Kind {
	case winauth.KindCredentials:
		p.ErrCode = CodeBadConfiguration
	case winauth.KindResolve:
		p.ErrCode, p.Retryable = CodeNotResolved, true
	case winauth.KindConnect:
		p.ErrCode, p.Retryable = CodeCannotConnect, true
	case winauth.KindTLS:
		p.ErrCode = CodeTLSFailed
		explainTLS(p, w)
	case winauth.KindTimeout:
		p.ErrCode, p.Retryable, p.Timeout = CodeTimeout, true, true
		if w.Phase == winauth.PhaseRequest {
			p.Fix += "; the row 200 0 64 in the web server's log means that it answered after this program had gone"
		}
	case winauth.KindCanceled:
		p.ErrCode, p.Retryable = CodeCancelled, true
	case winauth.KindNotAuthenticated:
		p.ErrCode = CodeNotAuthenticated
		if !strings.Contains(p.Fix, loginRows) {
			p.Fix += "; " + loginRows
		}
	case winauth.KindWrongPassword, winauth.KindUnknownUser, winauth.KindAccountUnusable, winauth.KindPasswordExpired:
		p.ErrCode = CodeNotAuthenticated
	case winauth.KindKeytab:
		p.ErrCode = CodeBadConfiguration
	case winauth.KindKDC:
		p.ErrCode, p.Retryable = CodeKDCUnreachable, true
	case winauth.KindClockSkew:
		p.ErrCode, p.Retryable = CodeClockSkew, true
	case winauth.KindKDCRefused, winauth.KindUnknownService, winauth.KindNoEncryption:
		p.ErrCode = CodeNoTicket
	case winauth.KindForbidden:
		p.ErrCode = CodeForbidden
		p.Fix = refusalFix(http.StatusForbidden, w.Body)
	case winauth.KindNotAsked:
		p.ErrCode = CodeLoginNotAsked
		if isRedirect(w.Status) && !leadsToPages(w.URL, w.Location) {
			p = redirectProblem(op, w.URL, w.Status, w.Location)
			p.Err = err
		}
	case winauth.KindTooLarge:
		p.ErrCode = CodeTooLarge
	case winauth.KindLost:
		p.ErrCode, p.Retryable = CodeConnectionLost, true
	case winauth.KindProtocol:
		p.ErrCode = CodeUnexpectedPage
		if w.Status >= 300 {
			p = statusProblem(op, w.URL, &winauth.Response{Status: w.Status, Body: w.Body})
			p.Err = err
		}
	}
	if posted && w.Sent {
		p.lost()
	}
	return p
}

// lost marks a problem as one after which the CA may have issued.
func (p *Problem) lost() {
	p.AnswerLost = true
	p.Retryable = true
	if p.ErrCode != CodeServerError {
		p.ErrCode = CodeAnswerLost
	}
	p.Detail = "the request was sent and the CA's answer is not known: " + p.Detail
	p.Fix = "look for the certificate by request id before anything is posted again"
	if p.Timeout {
		p.Fix += "; raise the submit timeout when the CA is slow (the web server's log then has a row 200 0 64 for certfnsh.asp)"
	}
}

// statusProblem explains an HTTP status that is not what a page of web enrollment comes with.
func statusProblem(op, url string, resp *winauth.Response) *Problem {
	status := resp.Status
	if isRedirect(status) {
		return redirectProblem(op, url, status, resp.Header.Get("Location"))
	}
	p := &Problem{
		Op: op, URL: url, HTTPStatus: status,
		Detail: fmt.Sprintf("%s answered %d %s", url, status, http.StatusText(status)),
	}
	switch {
	case status == http.StatusUnauthorized:
		p.ErrCode, p.Fix = CodeNotAuthenticated, refusalFix(status, resp.Body)
	case status == http.StatusForbidden:
		p.ErrCode, p.Fix = CodeForbidden, refusalFix(status, resp.Body)
	case status == http.StatusNotFound:
		p.ErrCode, p.Fix = CodeNotFound, refusalFix(status, resp.Body)
	case status >= http.StatusInternalServerError:
		p.ErrCode, p.Fix, p.Retryable = CodeServerError, refusalFix(status, resp.Body), true
	default:
		p.ErrCode = CodeUnexpectedPage
		p.Fix = "check that the URL is that of the web enrollment pages, and that no proxy is between"
	}
	return p
}

// oneLine makes a peer's words fit for a log line or an error: no control characters, single spaces, at most 600
// characters.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 600 {
		s = string(r[:600]) + "..."
	}
	return s
}
