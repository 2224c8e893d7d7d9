// Package ca declares what an issuing authority is: the request it gets, the outcome it gives, and the record it keeps
// so that a crash never makes it issue twice. Its sub-packages implement it: local (CAPF's own CA), adcs (Microsoft AD
// CS web enrollment), upstream (an RA by EST), offline (a CA whose requests and certificates are carried by people).
package ca

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"time"
)

// Authority turns a request into a certificate. Implementations are safe for concurrent use.
type Authority interface {
	// Name is what records and logs call this authority: "local", "adcs", "upstream", "offline".
	Name() string
	// Chain returns the authority's certificates, issuing CA first, up to the root. It may ask a peer.
	Chain(ctx context.Context) ([]*x509.Certificate, error)
	// Issue asks for the certificate of r, or goes on where an earlier attempt of the same request stopped: l holds
	// what that attempt recorded. A nil error means the Outcome is the authority's word. A *Error tells whether trying
	// again can help; every other error is taken as temporary.
	Issue(ctx context.Context, r Request, l Ledger) (Outcome, error)
}

// Checker is the optional power of an Authority to say at start-up whether it could issue: reachable, account accepted,
// template offered. A failure is a *Error.
type Checker interface {
	Check(ctx context.Context) error
}

// Private is the optional promise of an Authority that nobody learns of a certificate from its signing: it asks no peer and no device,
// keeps no list and no number, uses no Ledger, and answers from its own memory without waiting. A certificate that it signed and
// that nobody recorded is as if it had never been, so it may be asked before there is a row in the journal, as long as
// the certificate is on record before it is handed out.
type Private interface {
	// Private tells whether the promise holds, which may depend on where the key is. The answer never changes. What wraps a
	// private authority, and waits or keeps something, answers false.
	Private() bool
}

// LoginChecker is the optional power of an Authority to check credentials that came with a request, and whether their
// owner may enroll. nil means yes; a *Error with CodeLoginRefused or CodeTemplateNotOffered means no.
type LoginChecker interface {
	CheckLogin(ctx context.Context, l *Login) error
}

// Codes that callers of an Authority tell apart, whichever authority reports them.
const (
	CodeLoginRefused       = "certsrv.not-authenticated"    // user name or password not accepted
	CodeTemplateNotOffered = "certsrv.template-not-offered" // the account may not enroll with the template, or there is none
	CodeUnexpectedAnswer   = "certsrv.unexpected-page"      // the authority answered, and nobody understands it
	CodeOtherKey           = "adcs.other-key"               // the authority's certificate is for another key
	CodeNotResolved        = "certsrv.name-not-resolved"    // the authority's host has no address
	CodeCannotConnect      = "certsrv.cannot-connect"       // no connection to the authority
	// CodeLoginNeeded: the request began with the credentials of the client (Request.Login), which are not stored, and can
	// only go on in a call that brings them again. Nothing was asked; a call with a Login is worth an attempt at once.
	CodeLoginNeeded = "ca.login-needed"
)

// Request is what an authority is asked to certify.
type Request struct {
	ID         string           // journal row: 32 lower-case hex digits (128 bits)
	Owner      string           // "phone:SEP001122334455", "est:LABEL/IDENTITY"
	Label      string           // EST label, empty for none; of requests by EST alone it chooses the profile, see [ByEST]
	PublicKey  []byte           // DER SubjectPublicKeyInfo
	Subject    []byte           // DER Name
	Extensions []pkix.Extension // requested extensions (subjectAltName, key usage, ...)
	CSR        []byte           // DER PKCS#10 really signed by the key; nil for a bare key; see [Request.Renamed]
	// Proven tells that this process has checked the signature of CSR, these very bytes, for this very call. An authority may do
	// without checking it again. Never stored.
	Proven bool
	// Vouch tells for a bare key how its owner was authenticated: "string", "null", "lsc", "mic", or the voucher's name
	// when a registration authority vouched. Empty when CSR is set.
	Vouch string
	// Login are credentials that the EST client sent and that the authority itself is to check (ra.compat_sequence);
	// nil to use the authority's own. Never stored.
	Login *Login
}

// ByEST tells whether the owner of a request is an EST client: its label is then that of a profile of the registration
// authority, which can have a template or validity of its own. Requests of phones have no label and no such profile.
func ByEST(owner string) bool { return strings.HasPrefix(owner, "est:") }

// Login is a user name and password that came with a request. It never shows the password when printed.
type Login struct {
	User     string
	Password []byte
	// Label is the EST label that they came under: it can mean another template.
	Label string
	// Checked is set when CheckLogin said yes to these credentials for this very request a moment ago.
	Checked bool
}

// String implements fmt.Stringer without the password.
func (l *Login) String() string { return l.User + ":[redacted]" }

// Ledger is the authority's page in the journal: what it must find again after a crash.
type Ledger interface {
	// Progress returns what was recorded by earlier attempts; the zero value before the first.
	Progress() Progress
	// Record replaces it. When Record returns nil the record is on disk.
	Record(ctx context.Context, p Progress) error
	// HighestRequestID returns the highest numeric request id ever recorded for this authority, by any row; 0 for none.
	HighestRequestID(ctx context.Context) (int64, error)
}

// Progress is how far a request got at its authority.
type Progress struct {
	// Submitted is set before the authority is asked: from then on it may have issued.
	Submitted bool
	// Resubmitted is set when a lost answer could not be found and the request was sent again.
	Resubmitted bool
	// RequestID is the authority's own number for the request, as soon as it is known.
	RequestID string
	// Mark is the implementation's own note, e.g. the exact bytes sent or the request id to search from.
	Mark []byte
}

// Status is how an authority answered.
type Status int

// The answers of an authority.
const (
	Issued  Status = iota + 1 // Outcome.Certificate is set
	Pending                   // the authority wants a person's or its own time; ask again after RetryAfter
	Denied                    // final until an administrator acts; Outcome.Denial says why
)

// POP says what was proven about the private key.
type POP string

// What the certificate record says about proof of possession (design decision 1).
const (
	POPSigned  POP = "signed"  // the PKCS#10 was signed by the key and passed through unchanged
	POPVouched POP = "vouched" // a registration authority vouched for a bare key by CMC
	// POPSession: signed from the key that an authenticated CAPF session delivered, by the local CA, or by people at an offline one.
	POPSession POP = "session"
)

// Outcome is an authority's answer.
type Outcome struct {
	Status      Status
	Certificate []byte   // DER, when Issued
	Chain       [][]byte // DER, issuing CA first; may be empty
	RequestID   string   // the authority's number; empty for the local CA
	POP         POP
	RetryAfter  time.Duration // when Pending; 0 leaves it to the engine
	Denial      *Error        // when Denied
}

// Error is a failure at an authority that a user can act on.
type Error struct {
	ErrCode string // "certsrv.template-not-offered", "upstream.timeout"
	Detail  string // what happened, with names and values; the peer's words unchanged
	Fix     string // what to do, with the exact object and command
	HResult uint32 // AD CS status code, 0 for none
	Final   bool   // true: trying again cannot help until an administrator acts
	Timeout bool   // the peer did not answer in time
	After   time.Duration
	Err     error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Code returns the stable code.
func (e *Error) Code() string { return e.ErrCode }

// Remedy returns what to do.
func (e *Error) Remedy() string { return e.Fix }
