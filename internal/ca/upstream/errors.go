package upstream

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"callsign/cmc"
	"callsign/est"
	"callsign/internal/ca"
)

// Codes of this authority. Besides them every est.Code constant of the EST client appears with "upstream." in place of
// "est.": "upstream.timeout", "upstream.connect", "upstream.server-untrusted", ...
const (
	CodeNoVoucher   = "upstream.no-voucher"  // a bare key, and no voucher is configured
	CodeMessage     = "upstream.message"     // the CMC request could not be made
	CodeAnswer      = "upstream.answer"      // the answer cannot be believed
	CodeClock       = "upstream.clock"       // the RA does not accept our time
	CodeRefused     = "upstream.refused"     // the RA or its CA refused
	CodeTryLater    = "upstream.unavailable" // the RA's CA is down
	CodeCertificate = "upstream.certificate" // the certificate does not chain to the RA's CA
)

// failure turns an error of the EST client into ours.
func failure(err error) *ca.Error {
	var e *est.ClientError
	if !errors.As(err, &e) {
		out := &ca.Error{
			ErrCode: "upstream.failed", Detail: "the request to the RA failed", Err: err,
			Timeout: errors.Is(err, context.DeadlineExceeded), Fix: "look at the cause, and run: callsign check",
		}
		if coded, ok := errors.AsType[interface {
			Code() string
			Remedy() string
			error
		}](err); ok {
			out.ErrCode, out.Fix = "upstream."+strings.TrimPrefix(coded.Code(), "est."), coded.Remedy()
		}
		return out
	}
	out := &ca.Error{
		ErrCode: "upstream." + strings.TrimPrefix(e.ErrCode, "est."), Detail: "the RA could not be asked", Fix: remedy(e),
		Timeout: e.Timeout, After: e.RetryAfter, Err: err,
	}
	switch e.ErrCode {
	case est.CodeUnauthorized, est.CodeChallenge, est.CodeNotImplemented, est.CodeClientConfig, est.CodeRedirect:
		out.Final = true
	case est.CodeRefused:
		out.Final = e.Status != 408 && e.Status != 423 && e.Status != 425 && e.Status != 429
		if e.Text != "" {
			out.Detail = "the RA refused: " + e.Text
			if code := codeIn(e.Text); code != "" {
				out.Fix = meant(code)
			}
		} else {
			out.Detail = "the RA refused"
		}
	}
	return out
}

// remedy is the client's remedy with the keys of the configuration to set. That for an untrusted certificate names its key
// itself.
func remedy(e *est.ClientError) string {
	switch e.ErrCode {
	case est.CodeResolve, est.CodeConnect, est.CodeServerName, est.CodeTLS, est.CodeRedirect, est.CodeClientConfig,
		est.CodeAnswerType, est.CodeAnswerTooLarge, est.CodeNotImplemented:
		return e.Fix + " (capf.ra_url)"
	case est.CodeTimeout:
		return e.Fix + " (ra.answer_within at the RA)"
	}
	return e.Fix
}

// LibEST returns the number and name under which the original logs a failure with this code and these words, as far as they
// tell (the EST error inside of a ca.Error has the method LibEST and knows the HTTP status, too): "Enrollment rv = 35
// (EST_ERR_SSL_READ)". It is 94 EST_ERR_UNKNOWN for a code that is not one of ours.
func LibEST(code, detail string) (number int, name string) {
	n := est.LibESTUnknown
	switch strings.TrimPrefix(code, "upstream.") {
	case "refused":
		// A template that the account may not enrol with is a failed login there: nobody was told the difference.
		if strings.HasSuffix(codeIn(detail), ".template-not-offered") {
			n = est.LibESTAuthFail
		}
	case "":
		n = est.LibESTNone
	case "timeout", "broken":
		n = est.LibESTSSLRead
	case "connect":
		n = est.LibESTIPConnect
	case "resolve":
		n = est.LibESTIPGetAddr
	case "tls", "server-untrusted":
		n = est.LibESTSSLConnect
	case "server-name":
		n = est.LibESTFQDNMismatch
	case "empty-answer", "not-implemented":
		n = est.LibESTHTTPNotFound
	case "answer-type":
		n = est.LibESTHTTPUnsupported
	case "answer-too-large":
		n = est.LibESTReadBufferTooSmall
	case "answer-body":
		n = est.LibESTBadBase64
	case "answer-certificate":
		n = est.LibESTNoCertificate
	case "retry-after":
		n = est.LibESTInvalidRetryValue
	case "unauthorized", "challenge-unknown":
		n = est.LibESTAuthFail
	case "client-config":
		n = est.LibESTInvalidParameters
	case "message", "no-voucher":
		n = est.LibESTNoCSR
	case "certificate", "answer":
		n = est.LibESTCACertVerification
	}
	return int(n), n.String()
}

// codeAtEnd is how an RA of ours names the code of a refusal.
var codeAtEnd = regexp.MustCompile(`\(([a-z]{2,16}\.[a-z0-9-]{2,40})\)\s*$`)

// codeIn returns the code that the RA's words end with; empty when they have none.
func codeIn(text string) string {
	if m := codeAtEnd.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// meant is what to do about a refusal with this code at the RA.
func meant(code string) string {
	return "correct at the RA what it says (callsign explain " + code + " tells how), then start the enrolment again"
}

// refusalOf turns a verified refusal into ours: temporary when the RA says so.
func refusalOf(resp *cmc.Response, err error) *ca.Error {
	// The RA's own words are in err, so they are not said twice.
	out := &ca.Error{
		ErrCode: CodeRefused, Detail: "the RA refused", Err: err,
		Fix: "look at the RA's log for the transaction id of this request (the journal row's id)",
	}
	var p *cmc.Problem
	if code := codeIn(resp.Text); code != "" {
		out.Fix = meant(code)
	} else if errors.As(err, &p) && p.Remedy() != "" {
		out.Fix += "; " + p.Remedy()
	}
	switch {
	case resp.Status == cmc.StatusFailed && resp.FailInfo == cmc.TryLater:
		out.ErrCode, out.Detail = CodeTryLater, "the RA's CA is not available"
	case resp.Status == cmc.StatusFailed && resp.FailInfo == cmc.InternalCAError:
		out.Detail = "the RA failed"
	case resp.Status == cmc.StatusFailed && resp.FailInfo == cmc.BadTime:
		out.ErrCode, out.Fix = CodeClock, "set the clocks of this server and of the RA by the same time source"
	default:
		out.Final = true
	}
	return out
}
