package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// Error is a server that could not be looked at.
type Error struct {
	Address string // as it was asked for
	ErrCode string // "probe.timeout", ...; see the constants
	Detail  string // what happened, without the address
	Reason  string // why, in the words of the system or of the peer; empty when Detail says it all
	Fix     string // what to do
	Alert   Alert  // with which the server ended the handshake; 0 for none
	// Connected tells that there was a TCP connection: what failed came after it.
	Connected bool
	Err       error // underlying error, or nil
}

// The codes of an Error.
const (
	CodeBadAddress            = "probe.bad-address"            // the target is not HOST:PORT
	CodeNotResolved           = "probe.name-not-resolved"      // the name servers give no address
	CodeCannotConnect         = "probe.cannot-connect"         // no TCP connection
	CodeTimeout               = "probe.timeout"                // no answer in time, to the connection or to the greeting
	CodeNotTLS                = "probe.not-tls"                // another protocol answers
	CodeTLSFailed             = "probe.tls-failed"             // the handshake failed
	CodeCertificateUnreadable = "probe.certificate-unreadable" // the handshake failed because a certificate does not parse
)

// Error implements error.
func (e *Error) Error() string {
	text := e.Address + ": " + e.Detail
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

// Unwrap returns the underlying error.
func (e *Error) Unwrap() error { return e.Err }

// Code returns the stable code.
func (e *Error) Code() string { return e.ErrCode }

// Cause returns why it failed, in the words of the system or of the peer.
func (e *Error) Cause() string { return e.Reason }

// Remedy returns what to do.
func (e *Error) Remedy() string { return e.Fix }

func badAddress(address, why string) *Error {
	return &Error{
		Address: address, ErrCode: CodeBadAddress, Detail: why,
		Fix: "write HOST:PORT, for example cucm.example.com:8443, 192.0.2.10:8443 or [2001:db8::10]:8443",
	}
}

// dialError says why there is no connection.
func dialError(t *Target, g *greeting, err error) *Error {
	e := &Error{Address: t.Address, Err: err}
	host, port, _ := net.SplitHostPort(g.connect)
	to := ""
	if t.ConnectTo != "" {
		to = " to " + g.connect
	}
	dns, unresolved := errors.AsType[*net.DNSError](err)
	switch {
	case unresolved:
		e.ErrCode, e.Detail, e.Reason = CodeNotResolved, "the name "+host+" cannot be resolved", dns.Err
		e.Fix = "check the spelling of " + host + ", and that this machine's name servers know it: getent ahosts " + host
		if dns.IsTimeout || dns.IsTemporary {
			e.Fix = "check that this machine's name servers can be reached (/etc/resolv.conf), or use the IP address"
		}
	case late(err):
		e.ErrCode, e.Detail = CodeTimeout, fmt.Sprintf("no answer when connecting%s within %s", to, g.timeout)
		e.Fix = "check that " + host + " is up, and that no firewall on the way drops connections to port " + port
	default:
		e.ErrCode, e.Detail, e.Reason = CodeCannotConnect, "cannot connect"+to, systemWords(err)
		e.Fix = "check the route to " + host + ", and that no firewall on the way refuses port " + port
		if errors.Is(err, syscall.ECONNREFUSED) {
			e.Fix = "nothing listens on port " + port + " of " + host + ": check the port, and that the service runs"
		}
	}
	return e
}

// late reports whether an error is that of a time limit.
func late(err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || ok && network.Timeout()
}

// systemWords returns the system's own words, without what was done to which address.
func systemWords(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err.Error()
	}
	return err.Error()
}

// handshakeError says why the handshake failed. received is what the server had sent until then.
func handshakeError(t *Target, g *greeting, p *Presented, received []byte, err error) *Error {
	e := &Error{Address: t.Address, ErrCode: CodeTLSFailed, Err: err, Alert: alertIn(err), Connected: true}
	switch {
	case late(err):
		e.timeout(g.timeout, received)
	case len(received) > 0 && received[0] != recordHandshake && received[0] != recordAlert:
		e.notTLS(received)
	case p.ClientCertificate == Demanded:
		e.Detail, e.Reason = "the server demands a client certificate", e.Alert.String()
		e.Fix = "nothing is wrong with the server's certificate because of this; a client needs a certificate that the server trusts"
	case e.Alert != 0:
		e.explainAlert(p.ServerName)
	case refusesCertificate(err):
		e.refusedCertificate(p.Version)
	case closed(err):
		e.Detail, e.Reason = "the server closed the connection during the handshake", systemWords(err)
		e.Fix = "look into the server's log; a server that speaks another protocol, refuses this client's address, or has no certificate ends like this"
	default:
		e.Detail, e.Reason = "the TLS handshake failed", strings.TrimPrefix(systemWords(err), "tls: ")
		e.Fix = "look into the server's log; update its TLS library if it is old"
	}
	return e
}

// crypto/tls has no types for the errors of the certificates that it refuses before its callers see them: they are known by
// their words.
const (
	wordsUnparsed    = "tls: failed to parse certificate from server: "
	wordsKeyTooLarge = "tls: server sent certificate containing RSA key larger than "
)

// refusesCertificate reports whether crypto/tls has ended the handshake because of a certificate.
func refusesCertificate(err error) bool {
	text := err.Error()
	return strings.HasPrefix(text, wordsUnparsed) || strings.HasPrefix(text, wordsKeyTooLarge)
}

// refusedCertificate explains what refusesCertificate recognises, in the version that was agreed on.
func (e *Error) refusedCertificate(version uint16) {
	text, with := e.Err.Error(), "with "+tls.VersionName(version)
	if why, ok := strings.CutPrefix(text, wordsUnparsed); ok {
		e.ErrCode, e.Detail = CodeCertificateUnreadable, with+" a certificate that the server presents does not parse"
		e.Reason = strings.TrimPrefix(why, "x509: ")
		e.Fix = "have the certificate issued again, in the form of RFC 5280; TLS 1.3 encrypts it, so to see it let the server use TLS 1.2, or look at its file: callsign cert inspect FILE"
		return
	}
	e.Detail, e.Reason = with+" a certificate that the server presents cannot be used", strings.TrimPrefix(text, "tls: ")
	e.Fix = "have the certificate issued again for a smaller key; many clients refuse keys as large as this"
}

func (e *Error) timeout(limit time.Duration, received []byte) {
	e.ErrCode = CodeTimeout
	if len(received) > 0 {
		e.Detail = fmt.Sprintf("the server began the TLS handshake and did not end it within %s", limit)
		e.Fix = "try again with more time; when it happens every time, a device on the way may drop large packets (path MTU)"
		return
	}
	e.Detail = fmt.Sprintf("connected, but the server says nothing within %s", limit)
	e.Fix = "check that the port speaks TLS from the first octet: servers with STARTTLS, and services that hang, are silent like this"
}

// maxQuote bounds how much of a foreign greeting is quoted.
const maxQuote = 60

// notTLS quotes what answers in place of TLS.
func (e *Error) notTLS(received []byte) {
	e.ErrCode, e.Detail = CodeNotTLS, "the server does not speak TLS on this port"
	line := received
	if i := strings.IndexAny(string(line), "\r\n"); i >= 0 {
		line = line[:i]
	}
	if len(line) > maxQuote {
		line = line[:maxQuote]
	}
	if printable(line) {
		e.Reason = fmt.Sprintf("it answers %q", line)
	} else {
		e.Reason = fmt.Sprintf("it answers with the octets % x", received[:min(len(received), maxQuote/6)])
	}
	switch {
	case strings.HasPrefix(string(line), "HTTP/"):
		e.Fix = "the port speaks HTTP without TLS: name the HTTPS port, often 443 or 8443"
	case strings.HasPrefix(string(line), "SSH-"):
		e.Fix = "this is an SSH server: name the port of the TLS service"
	default:
		e.Fix = "name the port of the TLS service; STARTTLS is not spoken here"
	}
}

// printable reports whether the octets are text of some kind.
func printable(b []byte) bool {
	if len(b) == 0 || !utf8.Valid(b) {
		return false
	}
	return strings.IndexFunc(string(b), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7F }) < 0
}

func (e *Error) explainAlert(serverName string) {
	e.Detail, e.Reason = "the server refuses the TLS handshake", "alert "+e.Alert.String()
	switch e.Alert {
	case AlertUnrecognizedName:
		e.Detail = fmt.Sprintf("the server does not know the name %s", serverName)
		e.Fix = fmt.Sprintf("ask for a name that the server is configured for, or add %s to its configuration", serverName)
		if serverName == "" {
			e.Detail = "the server wants to be asked for a name, and addresses cannot be sent as one"
			e.Fix = "use the server's DNS name in place of its address"
		}
	case AlertProtocolVersion:
		e.Fix = "the server wants a version of SSL or TLS other than 1.0 to 1.3, or none: update it, and look into its log"
	case AlertHandshakeFailure, AlertInsufficientSecurity:
		e.Fix = "server and client have no cipher suite, curve or kind of certificate in common (finite-field DHE is not offered here), or the server has no certificate for this name: look into its log"
	case AlertInternalError:
		e.Fix = "look into the server's log; often its certificate or key is missing or cannot be read"
	case AlertAccessDenied:
		e.Fix = "the server refuses this client: check its access rules for this machine's address"
	default:
		e.Fix = "look into the server's log at this time for its own reason"
	}
}

// unreadable says which presented certificate does not parse.
func unreadable(t *Target, index int, err error) *Error {
	return &Error{
		Address: t.Address, ErrCode: CodeCertificateUnreadable, Err: err, Connected: true,
		Detail: fmt.Sprintf("certificate %d that the server presents does not parse", index+1),
		Reason: strings.TrimPrefix(err.Error(), "x509: "),
		Fix:    "have the certificate issued again, in the form of RFC 5280; clients that are stricter than others refuse this one",
	}
}
