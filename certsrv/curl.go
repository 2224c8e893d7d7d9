package certsrv

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"syscall"
	"time"

	"callsign/certsrv/winauth"
)

// curlResult is a failure in the terms of libcurl: readers of registration authority logs know it by these.
type curlResult struct {
	code  int
	text  string
	bytes int
}

// The libcurl codes that occur.
const (
	curlResolve      = 6
	curlConnect      = 7
	curlPartial      = 18
	curlHTTPStatus   = 22
	curlTimeout      = 28
	curlTLSConnect   = 35
	curlTLSName      = 51
	curlEmptyReply   = 52
	curlReceive      = 56
	curlUntrusted    = 60
	curlTooLarge     = 63
	curlLoginDenied  = 67
	curlAborted      = 42
	curlBadContent   = 61
	curlIssuerAbsent = "SSL certificate problem: unable to get local issuer certificate"
)

// CertificateFault is what a check of the server's certificate that the caller has put into Client.TLS (VerifyConnection)
// may return to be explained in full: in the Problem, in the log, and in the terms of libcurl. Errors of crypto/x509 are
// explained, too; any other error of such a check is CodeTLSFailed.
type CertificateFault interface {
	error
	// Code says what is wrong; "name_mismatch" (CodeWrongName) that the server has another name than the one that was asked
	// for. Everything else is CodeUntrusted.
	Code() string
	// Remedy says what to do.
	Remedy() string
	// CurlCode and CurlText are the failure in the terms of libcurl: 60, "SSL certificate problem: certificate has expired".
	CurlCode() int
	CurlText() string
	// LogAttrs are more attributes for the record of the failure, which has "code", "err" and "remedy" already.
	LogAttrs() []slog.Attr
}

// nameMismatch is the Code of a CertificateFault that stands for another name.
const nameMismatch = "name_mismatch"

// curlOf expresses err as libcurl would. now is for telling "expired" from "not yet valid".
func curlOf(err error, now time.Time) curlResult {
	var w *winauth.Error
	if !errors.As(err, &w) {
		var p *Problem
		if errors.As(err, &p) && p.HTTPStatus >= 400 {
			return curlResult{code: curlHTTPStatus, text: fmt.Sprintf("The requested URL returned error: %d", p.HTTPStatus)}
		}
		return curlResult{code: curlBadContent, text: err.Error()}
	}
	r := curlResult{bytes: w.Received}
	host := hostOf(w.URL)
	switch w.Kind {
	case winauth.KindResolve:
		r.code, r.text = curlResolve, "Could not resolve: "+host+" (Domain name not found)"
	case winauth.KindConnect:
		r.code, r.text = curlConnect, "Failed to connect to "+host+" port "+portOf(w.URL)+": "+reason(w.Err)
	case winauth.KindTLS:
		r.code, r.text = curlTLS(w, now)
	case winauth.KindTimeout:
		r.code = curlTimeout
		if w.Phase == winauth.PhaseConnect || w.Phase == winauth.PhaseTLS {
			r.text = fmt.Sprintf("Connection timed out after %d milliseconds", w.Elapsed.Milliseconds())
		} else {
			r.text = fmt.Sprintf("Operation timed out after %d milliseconds with %d bytes received", w.Elapsed.Milliseconds(), w.Received)
		}
	case winauth.KindLost:
		switch {
		case w.Status == 0 && !errors.Is(w.Err, syscall.ECONNRESET):
			r.code, r.text = curlEmptyReply, "Empty reply from server"
		case w.Status != 0 && !errors.Is(w.Err, syscall.ECONNRESET):
			r.code, r.text = curlPartial, "transfer closed with outstanding read data remaining"
		default:
			r.code, r.text = curlReceive, "Recv failure: Connection reset by peer"
		}
	case winauth.KindCanceled:
		r.code, r.text = curlAborted, "Operation was aborted by an application callback"
	case winauth.KindTooLarge:
		r.code, r.text = curlTooLarge, "Maximum file size exceeded"
	case winauth.KindCredentials, winauth.KindKeytab, winauth.KindKDC, winauth.KindKDCRefused, winauth.KindWrongPassword, winauth.KindUnknownUser,
		winauth.KindAccountUnusable, winauth.KindPasswordExpired, winauth.KindClockSkew, winauth.KindUnknownService, winauth.KindNoEncryption:
		// Nothing was sent to the web server: libcurl has this code for every failure to make a login.
		r.code, r.text = curlLoginDenied, "Login denied"
	case winauth.KindNotAuthenticated, winauth.KindForbidden, winauth.KindNotAsked, winauth.KindProtocol:
		r.code, r.text = curlHTTPStatus, fmt.Sprintf("The requested URL returned error: %d", w.Status)
		if w.Status < 400 {
			r.code, r.text = curlBadContent, w.Kind.String()
		}
	}
	return r
}

func curlTLS(w *winauth.Error, now time.Time) (int, string) {
	var (
		fault     CertificateFault
		hostname  x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
	)
	switch {
	case errors.As(w.Err, &fault):
		return fault.CurlCode(), oneLine(fault.CurlText())
	case errors.As(w.Err, &hostname):
		return curlTLSName, fmt.Sprintf("SSL: certificate subject name '%s' does not match target host name '%s'",
			hostname.Certificate.Subject.CommonName, hostname.Host)
	case errors.As(w.Err, &invalid) && invalid.Reason == x509.Expired:
		if invalid.Cert != nil && now.Before(invalid.Cert.NotBefore) {
			return curlUntrusted, "SSL certificate problem: certificate is not yet valid"
		}
		return curlUntrusted, "SSL certificate problem: certificate has expired"
	case errors.As(w.Err, &authority):
		if c := authority.Cert; c != nil && selfSigned(c) && len(unverified(w.Err)) == 1 {
			return curlUntrusted, "SSL certificate problem: self signed certificate"
		}
		return curlUntrusted, curlIssuerAbsent
	case errors.As(w.Err, &invalid), errors.As(w.Err, &verify):
		return curlUntrusted, "SSL certificate problem: " + oneLine(w.Err.Error())
	}
	return curlTLSConnect, "SSL connect error: " + oneLine(w.Err.Error())
}

// explainTLS gives a Problem, which is CodeTLSFailed, the words for a refused server certificate.
func explainTLS(p *Problem, w *winauth.Error) {
	var (
		fault     CertificateFault
		hostname  x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
	)
	switch {
	case errors.As(w.Err, &fault):
		p.ErrCode, p.Detail, p.Fix = CodeUntrusted, w.URL+": "+oneLine(fault.Error()), oneLine(fault.Remedy())
		if fault.Code() == nameMismatch {
			p.ErrCode = CodeWrongName
		}
	case errors.As(w.Err, &hostname):
		p.ErrCode = CodeWrongName
		p.Detail = fmt.Sprintf("%s: the server's certificate is for %s, not for %s", w.URL, certificateNames(hostname.Certificate), hostname.Host)
		p.Fix = "use one of the certificate's names in the URL, or give the web site a certificate with this name"
	case errors.As(w.Err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		p.ErrCode = CodeUntrusted
		p.Detail = fmt.Sprintf("%s: certificate %s is valid from %s to %s: %s", w.URL, invalid.Cert.Subject,
			invalid.Cert.NotBefore.UTC().Format(time.RFC3339), invalid.Cert.NotAfter.UTC().Format(time.RFC3339), invalid.Error())
		p.Fix = "renew the certificate, or correct the clock of this machine"
	case errors.As(w.Err, &authority):
		p.ErrCode = CodeUntrusted
		top := authority.Cert
		if presented := unverified(w.Err); len(presented) > 0 {
			top = presented[len(presented)-1]
		}
		if top != nil {
			p.Detail = fmt.Sprintf("%s: no trusted issuer for certificate %s, issued by %s", w.URL, top.Subject, top.Issuer)
			p.Fix = fmt.Sprintf("import the certificate of %s (key id %X) and its issuers up to the root into the trust store", top.Issuer, top.AuthorityKeyId)
			if selfSigned(top) {
				p.Fix = fmt.Sprintf("import the certificate of %s into the trust store, if it is the right one", top.Subject)
			}
		}
	case errors.As(w.Err, &invalid), errors.As(w.Err, &verify):
		p.ErrCode = CodeUntrusted
	case handshakeEnded(w.Err):
		// A restart of the server or the network does this, too; what is wrong for good meets the next attempt as well.
		p.Retryable = true
		p.Fix = "check that the web site has a certificate in its https binding and that no firewall or proxy ends the connection: openssl s_client -connect " + hostOf(w.URL) + ":" + portOf(w.URL)
	default:
		p.Fix = "check that a web server with TLS 1.2 or later and a readable certificate answers at this address: openssl s_client -connect " + hostOf(w.URL) + ":" + portOf(w.URL)
	}
}

// handshakeEnded tells whether the connection ended during the handshake with no word of TLS about why.
func handshakeEnded(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func unverified(err error) []*x509.Certificate {
	if verify, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return verify.UnverifiedCertificates
	}
	return nil
}

func certificateNames(c *x509.Certificate) string {
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no name (subject " + c.Subject.String() + ")"
	}
	return strings.Join(names, ", ")
}

func reason(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		if errno == syscall.ECONNREFUSED {
			return "Connection refused"
		}
		return errno.Error()
	}
	if err == nil {
		return "unknown error"
	}
	return oneLine(err.Error())
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	return u.Hostname()
}

func portOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Port()
}
