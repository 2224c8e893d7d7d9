package winauth

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind is what went wrong.
type Kind int

// The kinds of failure.
const (
	KindCredentials      Kind = iota + 1 // the credentials cannot be presented at all; nothing was sent
	KindResolve                          // the host name has no address
	KindConnect                          // no TCP connection
	KindTLS                              // the TLS handshake failed, or the certificate was not accepted
	KindTimeout                          // the time of the phase was over
	KindLost                             // the connection broke
	KindCanceled                         // the caller's context was cancelled
	KindNotAuthenticated                 // 401: the server did not accept the login
	KindForbidden                        // 403: the server knows the user and refuses
	KindNotAsked                         // the server answered without asking who is there, so nothing was proven
	KindProtocol                         // the answer is not HTTP, or the NTLM challenge is malformed
	KindTooLarge                         // the answer is larger than the limit
	KindKDC                              // no domain controller of the realm answers
	KindKDCRefused                       // a domain controller gives no ticket, for a reason that has no kind of its own
	KindWrongPassword                    // the domain controller does not accept the password or the key of the keytab
	KindUnknownUser                      // the domain controller knows no such account
	KindAccountUnusable                  // the account is disabled, locked or expired
	KindPasswordExpired                  // the password has to be changed
	KindClockSkew                        // this machine's clock and the other's are too far apart
	KindUnknownService                   // the domain controller knows no such web server (service principal name)
	KindNoEncryption                     // no encryption type that both sides allow
	KindKeytab                           // the keytab has no key that fits
)

// String returns a few words.
func (k Kind) String() string {
	switch k {
	case KindCredentials:
		return "unusable user name or method"
	case KindResolve:
		return "host name not resolved"
	case KindConnect:
		return "cannot connect"
	case KindTLS:
		return "TLS failed"
	case KindTimeout:
		return "timed out"
	case KindLost:
		return "connection lost"
	case KindCanceled:
		return "cancelled"
	case KindNotAuthenticated:
		return "login not accepted"
	case KindForbidden:
		return "forbidden"
	case KindNotAsked:
		return "server did not ask for a login"
	case KindProtocol:
		return "malformed answer"
	case KindTooLarge:
		return "answer too large"
	case KindKDC:
		return "domain controller not reached"
	case KindKDCRefused:
		return "domain controller gave no ticket"
	case KindWrongPassword:
		return "domain controller refused the password"
	case KindUnknownUser:
		return "account unknown to the domain controller"
	case KindAccountUnusable:
		return "account disabled, locked or expired"
	case KindPasswordExpired:
		return "password expired"
	case KindClockSkew:
		return "clocks too far apart"
	case KindUnknownService:
		return "web server unknown to the domain controller"
	case KindNoEncryption:
		return "no common encryption type"
	case KindKeytab:
		return "no usable key in the keytab"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Phase is when it went wrong.
type Phase string

// The phases of a connection's life.
const (
	PhaseConnect Phase = "connect" // name lookup and TCP
	PhaseTLS     Phase = "tls"
	PhaseLogin   Phase = "login"   // the authentication handshake
	PhaseRequest Phase = "request" // a request and its answer after the login
)

// Sentinels for errors.Is. Each matches every *Error of the kind.
var (
	ErrNotAuthenticated = errors.New("not authenticated")
	ErrForbidden        = errors.New("forbidden")
	ErrTimeout          = errors.New("timeout")
	ErrConnectionLost   = errors.New("connection lost")
	ErrTLS              = errors.New("tls failure")
)

// Error is every failure of this package.
type Error struct {
	Kind    Kind
	Phase   Phase
	URL     string   // what was asked for, with explicit port; empty before that is known
	User    string   // who logged in; empty outside a login
	Status  int      // HTTP status of the answer, 0 for none
	Offered []string // authentication schemes that the server offered with a 401
	KDC     string   // the domain controller that answered, or those that did not; empty without Kerberos
	SPN     string   // the service that a ticket was asked for, with KindUnknownService
	// Sent tells whether any octet of the request may have reached the server. When false the server has not seen it.
	Sent     bool
	Received int           // octets of the answer's body that came
	Elapsed  time.Duration // since the phase began
	// Location is where an answer that is no login redirects to; empty for none. It is not followed.
	Location string
	// Body is what the server wrote with a 401 or 403, at most 4 KiB; the page holds a substatus at times.
	Body []byte
	Err  error // cause, may be nil

	fix   string // the remedy, where the kind does not tell it
	bound bool   // the login was tied to the TLS connection
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	if e.URL != "" {
		b.WriteString(e.URL + ": ")
	}
	b.WriteString(e.Kind.String())
	if e.SPN != "" {
		b.WriteString(": " + e.SPN)
	}
	if e.KDC != "" {
		b.WriteString(" (KDC " + e.KDC + ")")
	}
	switch {
	case e.Kind == KindTimeout:
		fmt.Fprintf(&b, " during %s after %s", e.Phase, e.Elapsed.Round(time.Millisecond))
	case e.Status != 0:
		fmt.Fprintf(&b, " (HTTP %d)", e.Status)
	}
	if e.User != "" {
		fmt.Fprintf(&b, " for user %s", e.User)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is matches the sentinels of this package.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrNotAuthenticated:
		switch e.Kind {
		case KindNotAuthenticated, KindWrongPassword, KindUnknownUser, KindAccountUnusable, KindPasswordExpired:
			return true
		}
		return false
	case ErrForbidden:
		return e.Kind == KindForbidden
	case ErrTimeout:
		return e.Kind == KindTimeout
	case ErrConnectionLost:
		return e.Kind == KindLost
	case ErrTLS:
		return e.Kind == KindTLS
	}
	return false
}

// Timeout implements net.Error's method of that name.
func (e *Error) Timeout() bool { return e.Kind == KindTimeout }

// Code returns the stable code of the kind.
func (e *Error) Code() string {
	switch e.Kind {
	case KindCredentials:
		return "winauth.bad-credentials"
	case KindResolve:
		return "winauth.name-not-resolved"
	case KindConnect:
		return "winauth.cannot-connect"
	case KindTLS:
		return "winauth.tls-failed"
	case KindTimeout:
		return "winauth.timeout"
	case KindLost:
		return "winauth.connection-lost"
	case KindCanceled:
		return "winauth.cancelled"
	case KindNotAuthenticated:
		return "winauth.not-authenticated"
	case KindForbidden:
		return "winauth.forbidden"
	case KindNotAsked:
		return "winauth.login-not-asked"
	case KindTooLarge:
		return "winauth.answer-too-large"
	case KindKDC:
		return "winauth.kdc-unreachable"
	case KindKDCRefused:
		return "winauth.kdc-refused"
	case KindWrongPassword:
		return "winauth.wrong-password"
	case KindUnknownUser:
		return "winauth.unknown-user"
	case KindAccountUnusable:
		return "winauth.account-unusable"
	case KindPasswordExpired:
		return "winauth.password-expired"
	case KindClockSkew:
		return "winauth.clock-skew"
	case KindUnknownService:
		return "winauth.unknown-service"
	case KindNoEncryption:
		return "winauth.no-common-encryption"
	case KindKeytab:
		return "winauth.keytab-unusable"
	case KindProtocol:
	}
	return "winauth.malformed-answer"
}

// Remedy returns what to do.
func (e *Error) Remedy() string {
	if e.fix != "" {
		return e.fix
	}
	switch e.Kind {
	case KindCredentials:
		return `give a user name as DOMAIN\user, user@REALM or user, and a password`
	case KindResolve:
		return "check the host name and the DNS server of this machine"
	case KindConnect:
		return "check host, port and the firewall between this machine and the web server, and that the web site is started"
	case KindTLS:
		return "import the root and intermediate certificates of the web server's certificate into the trust store, and use a name that is in the certificate"
	case KindTimeout:
		return "find out why the server is slow in the phase " + string(e.Phase) + ", or raise its timeout"
	case KindLost:
		return "check for a proxy or load balancer between this machine and the web server: a login needs one connection from end to end"
	case KindCanceled:
		return "none: the caller gave up"
	case KindNotAuthenticated:
		return e.loginRemedy()
	case KindForbidden:
		return "let the account use the page (permissions of the web site), and use https"
	case KindNotAsked:
		return "switch Anonymous Authentication off for the virtual directory and Windows Authentication on"
	case KindTooLarge:
		return "check that the URL is that of the web server that is meant"
	case KindKDC:
		return "check that the domain controller runs, and that a firewall lets TCP port 88 through"
	case KindKDCRefused:
		return "read the domain controller's event log (Security, events 4768, 4769 and 4771) at this time"
	case KindWrongPassword:
		return "correct the password file; after a few more tries the account may be locked"
	case KindUnknownUser:
		return "check the user name and its realm: user@REALM with the DNS name of the Active Directory domain in capital letters"
	case KindAccountUnusable:
		return "look the account up in Active Directory Users and Computers, tab Account: enable or unlock it, and check its expiry and logon hours"
	case KindPasswordExpired:
		return "set a new password and write it into the password file, or export a new keytab; for an account of a service set Password never expires"
	case KindClockSkew:
		return "synchronise this machine, the domain controllers and the web server with the same time servers (timedatectl, w32tm /resync); Kerberos tolerates 5 minutes"
	case KindUnknownService:
		return "use the host name in the URL under which the web server has joined the domain, or register the name for its account: setspn -S " + e.SPN + " MACHINE$"
	case KindNoEncryption:
		return "allow AES for the account (Active Directory, tab Account: This account supports Kerberos AES 256 bit encryption), then set its password anew"
	case KindKeytab:
		return "export a new keytab for the account: ktpass /crypto AES256-SHA1 /ptype KRB5_NT_PRINCIPAL"
	case KindProtocol:
	}
	return "check that the URL is that of a web server that speaks HTTP/1.1"
}

// loginRemedy is for a login that the web server refused.
func (e *Error) loginRemedy() string {
	offered := ""
	if e.Offered != nil {
		offered = "the server offers " + strings.Join(e.Offered, ", ") + "; "
	}
	return offered + `check user name (DOMAIN\user or user@REALM), password, and that the account is not locked, disabled or expired; ` +
		"when these are right, the server may refuse NTLM, or require Extended Protection: " + e.protection()
}

// protection says what the login was for a server with Extended Protection.
func (e *Error) protection() string {
	if e.bound {
		return "this login was tied to its TLS connection (channel binding), which no proxy that ends TLS in between lets through"
	}
	return "this login was not tied to its TLS connection (channel binding): switch that on"
}
