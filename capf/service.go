package capf

import (
	"context"
	"errors"
	"net"
	"time"
)

// Caller is what a server knows of the phone once AUTH_RESPONSE has arrived (spec: message 2). Nothing in it is
// verified: the Service decides what it is worth.
type Caller struct {
	Session    uint32   // session id chosen by the server
	Peer       net.Addr // remote address
	TLSVersion uint16   // tls.VersionTLS12, ...; 0 on a plain listener
	Cipher     uint16   // TLS cipher suite; 0 on a plain listener
	Version    uint8    // protocol version the phone announced (element 7), 1 to 3; larger ones are reported as 3
	Device     string   // device name (element 13) without its NUL
	String     Secret   // authentication string (element 11) without its NUL; empty for a null string and when absent
	Credential *Credential
}

// Credential is what a phone that authenticates by certificate sends besides its name: elements 4, 6, 20 and 16,
// undecoded. Nil in a Caller when the phone sent none of them.
type Credential struct {
	Certificate    []byte // DER from the certificate package (element 4)
	SignedData     []byte // element 6
	SHA2SignedData []byte // element 20, whole value
	SUDIData       []byte // element 16, whole value
}

// Secret is an authentication string. It never shows itself in logs or formatted output.
type Secret []byte

// Task is what a Service wants done with an authenticated phone.
type Task struct {
	Operation Operation
	// Keys are the keys asked for by an install, in order: the next one is asked for when the phone answers message 4
	// with a reason instead of a key. At least one for OperationInstall, ignored otherwise.
	Keys []KeySpec
	// AcceptOtherKey takes a key of another type or size than was asked for (CapfWrapper always makes RSA 2048).
	AcceptOtherKey bool
	// Offer is the DER of a certificate that was issued earlier and never confirmed. It is sent at once in message 9,
	// without message 3; when the phone refuses it the install goes on with message 3 in the same session.
	Offer []byte
	// Progress tells the phone by REQUEST_IN_PROGRESS, every 3 s, that the server is at work while Session.Issue is. Off by
	// default: the open clients fail on that message.
	Progress bool
	// AnswerWithin is how long Session.Issue may take for a phone that is told of the progress; 0, and less than
	// Server.AnswerWithin, mean Server.AnswerWithin. Ignored without Progress, and never longer than the session may last.
	AnswerWithin time.Duration
	// RetryLater, when not 0, ends a session whose certificate is not ready (ErrNotReady) with RETRY_LATER and this
	// delay, in whole seconds and at least one, instead of END_SESSION. 0 by default: the open clients fail on that
	// message, and its bytes are inferred.
	RetryLater time.Duration
}

// Service decides what phones may do and does what needs storage or an authority. One Service serves many sessions at
// once. Methods get a context that ends with the session; a Session's last call gets one of its own that ends after 5 s,
// because what a phone did must go on record also when the session is cut.
type Service interface {
	// Open is asked when AUTH_RESPONSE has arrived. It returns a *Refusal for a phone that is turned away: unknown
	// device, wrong string, request that waits for a person. Any other error ends the session with ReasonInvalidElement.
	Open(ctx context.Context, c Caller) (Session, error)
}

// Session is one phone's operation in progress. Its methods are called in the order of the protocol and never
// concurrently: for an install Stored for the Task's Offer if there is one, then Issue and Stored, for the other
// operations Fetched or Deleted. Exactly one of Stored with ReasonUpdateCertificate, Fetched, Deleted or Abort is the last call;
// for OperationNone no method but Task is called.
type Session interface {
	Task() Task
	// Issue returns the DER certificate for the phone's public key (DER SubjectPublicKeyInfo, already checked against
	// the Task's keys). ctx carries the answer deadline. ErrNotReady keeps the operation pending: the session ends
	// with ReasonInvalidElement, or as Task.RetryLater says, and the phone calls again. A *Refusal ends it with its reason.
	Issue(ctx context.Context, spki []byte) ([]byte, error)
	// Stored is called with the phone's answer to message 9: r is ReasonUpdateCertificate when it stored the
	// certificate, anything else when it refused: then the session goes on with message 3 if der was the Offer, and
	// else Abort follows with a *PhoneError. The phone is answered only after Stored returned; with an error it is told
	// ReasonInvalidElement.
	Stored(ctx context.Context, der []byte, r Reason) error
	// Fetched is called with the phone's answer to message 11: r is ReasonUpdateCertificate, or ReasonInvalidElement
	// with empty certs when the phone has none. An error as in Stored.
	Fetched(ctx context.Context, certs []CertificateEntry, r Reason) error
	// Deleted is called with the phone's answer to message 13: r is ReasonUpdateCertificate, or ReasonInvalidElement
	// when there was nothing to delete. An error as in Stored.
	Deleted(ctx context.Context, r Reason) error
	// Abort is called when the session ends before the operation did: connection lost, deadline passed, bad message,
	// key refused, Issue failed. cause is never nil: a *PhoneError when the phone itself reported a failure, a
	// *ProtocolError when the connection or a message was at fault, ErrServerClosed when the server stops, and what Issue
	// or Stored returned. A session that was out of time wraps ErrNotReady.
	Abort(ctx context.Context, cause error)
}

// ErrNotReady is returned by Session.Issue when the authority has not answered in time; the operation stays pending.
var ErrNotReady = errors.New("certificate not ready")
