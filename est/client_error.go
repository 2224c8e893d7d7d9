package est

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// ClientError is why a Client's call failed.
type ClientError struct {
	ErrCode    string        // one of the Code constants
	Op         string        // "simpleenroll", ...
	URL        string        // what was asked; empty when nothing was
	Status     int           // HTTP status; 0 when there was no answer
	Text       string        // the server's own words, one line; may be empty
	RequestID  string        // the server's X-Request-Id; may be empty
	RetryAfter time.Duration // the server's, with 429 and 503; 0 for none
	Timeout    bool          // nothing, or not all, came in time
	Fix        string        // what to do
	Err        error         // cause; may be nil

	number LibESTError
}

// Error implements error.
func (e *ClientError) Error() string {
	var b strings.Builder
	b.WriteString("EST " + e.Op)
	if e.URL != "" {
		b.WriteString(" at " + e.URL)
	}
	switch {
	case e.Err != nil:
		if e.Status != 0 {
			b.WriteString(": status " + strconv.Itoa(e.Status))
		}
		b.WriteString(": " + e.Err.Error())
	case e.Status != 0:
		b.WriteString(": server answered " + strconv.Itoa(e.Status))
	}
	if e.Text != "" {
		b.WriteString(": " + e.Text)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *ClientError) Unwrap() error { return e.Err }

// Code returns the stable code.
func (e *ClientError) Code() string { return e.ErrCode }

// Remedy returns what to do.
func (e *ClientError) Remedy() string { return e.Fix }

// LibEST returns the number and name that libEST's client reports for this failure.
func (e *ClientError) LibEST() (number int, name string) { return int(e.number), e.number.String() }

// RetryError tells that the server accepted a request and wants to be asked again, with the same request.
type RetryError struct {
	After     time.Duration // wait at least this long
	Text      string        // the server's own words; may be empty
	RequestID string        // the server's X-Request-Id; may be empty
}

// Error implements error.
func (e *RetryError) Error() string {
	s := "certificate not ready, ask again in " + e.After.String()
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// Code returns "est.retry-later".
func (e *RetryError) Code() string { return CodeRetryLater }

// Remedy returns what to do.
func (e *RetryError) Remedy() string { return "send the same request again after " + e.After.String() }

// LibEST returns 26, EST_ERR_CA_ENROLL_RETRY.
func (e *RetryError) LibEST() (number int, name string) {
	return int(LibESTCAEnrollRetry), LibESTCAEnrollRetry.String()
}

// Steps of a request, in order.
const (
	stepStart int32 = iota
	stepResolved
	stepConnected // TCP
	stepSecure    // TLS: from here on we wait for the server's answer
	stepAnswer    // first byte of the answer
)

// progress is how far a request got. Its hooks may run in several goroutines.
type progress struct{ step atomic.Int32 }

// watch returns ctx with hooks that keep p up to date.
func (p *progress) watch(ctx context.Context) context.Context {
	at := func(step int32) { p.step.Store(max(p.step.Load(), step)) }
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		ConnectStart: func(string, string) { at(stepResolved) },
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				at(stepConnected)
			}
		},
		GotConn:              func(httptrace.GotConnInfo) { at(stepSecure) },
		GotFirstResponseByte: func() { at(stepAnswer) },
	})
}

// classify turns a failed round trip into a ClientError.
func classify(err error, p *progress, a *answer) *ClientError {
	e := a.problem(CodeBroken, LibESTSSLRead, stripURL(err), "look at the EST server's log and the network between")
	e.Timeout = isTimeout(err)
	step := p.step.Load()
	var (
		resolve  *net.DNSError
		name     x509.HostnameError
		verify   *tls.CertificateVerificationError
		redirect *redirectError
		fault    interface {
			error
			Code() string
			Remedy() string
		}
	)
	switch {
	case errors.Is(err, context.Canceled):
		e.ErrCode, e.Fix = CodeCanceled, "start again"
	case errors.As(err, &redirect):
		e.ErrCode, e.number = CodeRedirect, LibESTUnknown
		e.Fix = "set the URL to where the server really is, if that server is to be trusted"
	case errors.Is(err, errAnswerTooLarge):
		e.ErrCode, e.number = CodeAnswerTooLarge, LibESTReadBufferTooSmall
		e.Fix = "check that the URL leads to an EST server"
	case errors.As(err, &resolve):
		e.ErrCode, e.number = CodeResolve, LibESTIPGetAddr
		e.Fix = "correct the host name in the EST URL, or the name server's data"
	case errors.As(err, &name):
		e.ErrCode, e.number = CodeServerName, LibESTFQDNMismatch
		e.Fix = fmt.Sprintf("use a name of the server's certificate in the EST URL (it has %s), or give the server a certificate for %s",
			names(name.Certificate), name.Host)
	case errors.As(err, &verify):
		e.ErrCode, e.number = CodeServerUntrusted, LibESTSSLConnect
		e.Fix = "add the issuer of the server's certificate to the EST client's trust anchors" + untrusted(verify)
	case step < stepSecure && errors.As(err, &fault):
		// The caller's own check of the certificate: see Client.TLS.
		e.ErrCode, e.number, e.Fix = CodeServerUntrusted, LibESTSSLConnect, fault.Remedy()
		if fault.Code() == "name_mismatch" {
			e.ErrCode, e.number = CodeServerName, LibESTFQDNMismatch
		}
	case step < stepConnected:
		e.ErrCode, e.number = CodeConnect, LibESTIPConnect
		e.Fix = "check that the EST server runs and that the port is reachable"
	case step < stepSecure:
		e.ErrCode, e.number = CodeTLS, LibESTSSLConnect
		e.Fix = "check that the port speaks TLS 1.2 or later, and the client certificate if the server demands one"
	case e.Timeout:
		e.ErrCode = CodeTimeout
		e.Fix = "find out why the EST server is slow; it should answer with 202 before clients give up"
	case step < stepAnswer && errors.Is(err, io.EOF):
		e.ErrCode, e.number = CodeEmptyAnswer, LibESTHTTPNotFound
	case step >= stepAnswer && a.status != 0 && errors.Is(err, io.ErrUnexpectedEOF):
		e.number = LibESTHTTPUnsupported // libEST: length mismatch
	case step >= stepAnswer && a.status == 0 && !isNetwork(err):
		e.ErrCode, e.number = CodeAnswerType, LibESTHTTPUnsupported // no HTTP
		e.Fix = "check that the URL leads to an EST server"
	}
	return e
}

// isTimeout tells whether err is a deadline of ours.
func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// isNetwork tells whether err comes from the connection and not from what came over it.
func isNetwork(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// stripURL removes the method and URL that net/http puts in front of an error; ClientError names them itself.
func stripURL(err error) error {
	if outer, ok := errors.AsType[*url.Error](err); ok {
		return outer.Err
	}
	return err
}

// names lists what a certificate is for.
func names(cert *x509.Certificate) string {
	if cert == nil {
		return "none"
	}
	all := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "none"
	}
	return clip(strings.Join(all, ", "), 200)
}

// untrusted names the certificate that failed.
func untrusted(e *tls.CertificateVerificationError) string {
	if len(e.UnverifiedCertificates) == 0 {
		return ""
	}
	leaf := e.UnverifiedCertificates[0]
	return fmt.Sprintf(" (subject %s, issuer %s)", clip(leaf.Subject.String(), 120), clip(leaf.Issuer.String(), 120))
}
