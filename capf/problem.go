package capf

import (
	"errors"
	"fmt"
	"time"
)

// The stable codes of this package's errors.
const (
	CodeBadProtocolID      = "capf.bad-protocol-id"     // first byte of a message is not 85
	CodeWrongSessionID     = "capf.wrong-session-id"    // message of another session
	CodeMessageTooLong     = "capf.message-too-long"    // body over the limit
	CodeElementOverEnd     = "capf.element-over-end"    // element runs over the end of the body
	CodeElementLength      = "capf.element-length"      // element with a wrong fixed length
	CodeDuplicateElement   = "capf.duplicate-element"   // known element twice
	CodeMissingElement     = "capf.missing-element"     // element that the message must carry
	CodeBadElement         = "capf.bad-element"         // element with a value that makes no sense
	CodeUnexpectedCommand  = "capf.unexpected-command"  // command out of place
	CodeSilentPeer         = "capf.silent-peer"         // peer said nothing in time
	CodeConnectionLost     = "capf.connection-lost"     // connection closed or reset within a session
	CodeHandshakeFailed    = "capf.handshake-failed"    // TLS did not come up
	CodeOldTLS             = "capf.old-tls"             // peer offers TLS 1.1 or RSA key exchange at best, and the listener wants more
	CodeBadPublicKey       = "capf.bad-public-key"      // element 9 is no usable key
	CodeOtherKey           = "capf.other-key"           // key of another type or size than was asked for
	CodeNoUsableKey        = "capf.no-usable-key"       // phone can make none of the keys that are wanted
	CodePhoneFailure       = "capf.phone-failure"       // phone reported that it could not do it
	CodeNotReady           = "capf.not-ready"           // authority has not answered in time; operation stays pending
	CodeServerStopping     = "capf.server-stopping"     // server was stopped within the session
	CodeInternalError      = "capf.internal-error"      // defect in the server
	CodeUnknownDevice      = "capf.unknown-device"      // device name not configured
	CodeRefused            = "capf.refused"             // server ended the session with a reason that is no success
	CodeRetryLater         = "capf.retry-later"         // server asked to call again later
	CodeUnreachable        = "capf.unreachable"         // no connection to the server
	CodeCertificateMisfit  = "capf.certificate-misfit"  // certificate for a key that the phone does not hold
	CodeBadSignature       = "capf.bad-signature"       // signature that does not fit the certificate shown
	CodeSignatureMissing   = "capf.signature-missing"   // certificate shown without the signature that is wanted
	CodeNoCertificate      = "capf.no-certificate"      // fetch: the phone has none
	CodeFailed             = "capf.failed"              // CAPF_OP_FAIL
	CodeInvalidAuthString  = "capf.invalid-auth-string" // CAPF_OP_FAIL_INVALID_AUTH_STR
	CodeInvalidLSC         = "capf.invalid-lsc"         // CAPF_OP_FAIL_INVALID_LSC
	CodeInvalidMIC         = "capf.invalid-mic"         // CAPF_OP_FAIL_INVALID_MIC
	CodeInvalidCredentials = "capf.invalid-credentials" //nolint:gosec // the name of a fault (CAPF_OP_FAIL_INVALID_CRENDENTIALS), no secret
	CodePhoneComm          = "capf.phone-communication" // CAPF_OP_FAIL_PHONE_COMM_ERROR
	CodeTimedOut           = "capf.timed-out"           // CAPF_OP_FAIL_OP_TIMED_OUT
	CodeLateRequest        = "capf.late-request"        // CAPF_OP_FAIL_LATE_REQUEST

	// Certificate authentication that is malformed or has no certificate.
	CodeBadCredential = "capf.bad-credential" //nolint:gosec // the name of a fault, no secret
)

// Codes returns every code that an error of this package may carry.
func Codes() []string {
	return []string{
		CodeBadProtocolID, CodeWrongSessionID, CodeMessageTooLong, CodeElementOverEnd, CodeElementLength,
		CodeDuplicateElement, CodeMissingElement, CodeBadElement, CodeUnexpectedCommand, CodeSilentPeer,
		CodeConnectionLost, CodeHandshakeFailed, CodeOldTLS, CodeBadPublicKey, CodeOtherKey, CodeNoUsableKey, CodePhoneFailure,
		CodeNotReady, CodeServerStopping, CodeInternalError, CodeUnknownDevice, CodeRefused, CodeRetryLater,
		CodeUnreachable, CodeCertificateMisfit, CodeBadCredential, CodeBadSignature, CodeSignatureMissing, CodeNoCertificate, CodeFailed, CodeInvalidAuthString, CodeInvalidLSC,
		CodeInvalidMIC, CodeInvalidCredentials, CodePhoneComm, CodeTimedOut, CodeLateRequest,
	}
}

// remedyOf says what to do about the codes that have no Result.
func remedyOf(code string) string {
	switch code {
	case CodeBadProtocolID, CodeWrongSessionID, CodeMessageTooLong, CodeElementOverEnd, CodeElementLength,
		CodeDuplicateElement, CodeMissingElement, CodeBadElement, CodeUnexpectedCommand:
		return "the peer does not speak CAPF as known here: check what it is (model, firmware) and keep this log line as evidence"
	case CodeSilentPeer:
		return "check that the peer is a phone and that it is not overloaded; it calls again by itself"
	case CodeConnectionLost:
		return "look at the network between phone and server; the operation stays as it was and the phone calls again"
	case CodeHandshakeFailed:
		return "check that the phone trusts the CAPF certificate (role CAPF in its ITL or CTL file) and which TLS versions it offers"
	case CodeOldTLS:
		return "if these are phones of the 7900 series, or others as old, give them a listener of their own (capf.legacy_listen); it is off by default"
	case CodeBadPublicKey:
		return "the phone made a key that must not be certified: reset the phone so that it makes a new one"
	case CodeOtherKey:
		return "set the phone's key order and size to what it makes, or allow other keys for it (capf.accept_other_key)"
	case CodeNoUsableKey:
		return "choose the key order RSA for this phone; EC needs firmware with CAPF version 3"
	case CodePhoneFailure:
		return "reset the phone and let it call again; if it fails again look at the phone's own status messages"
	case CodeNotReady:
		return "nothing now: the operation stays pending and the phone gets the certificate when it calls again; if this recurs check the authority"
	case CodeServerStopping:
		return "start the server again; the phone calls again by itself"
	case CodeInternalError:
		return "report this defect with the log lines of the session"
	case CodeUnknownDevice:
		return "add the phone under exactly this name"
	case CodeRefused:
		return "see the server's log for this device: it tells the cause (wrong authentication string, key that does not fit, authority failed, no operation pending)"
	case CodeRetryLater:
		return "call again after the delay that the server gave"
	case CodeUnreachable:
		return "check the server's address and port (3804) and that it is running"
	case CodeCertificateMisfit:
		return "call again: the server then asks for a new key"
	case CodeBadCredential:
		return "let the phone authenticate another way (null string, authentication string) and install a new certificate; keep the log line as evidence"
	case CodeBadSignature:
		return "delete the phone's certificate and install a new one by another authentication mode; if other phones are affected too somebody replays what they sent"
	case CodeSignatureMissing:
		return "update the phone's firmware, or allow SHA-1 signatures (capf.allow_sha1_auth) if it knows no better"
	}
	return ""
}

// ProtocolError is a fault of the peer, of the connection to it, or of a message.
type ProtocolError struct {
	ErrCode string // one of the Code constants
	Detail  string // what happened, with numbers and names
	Err     error  // cause, may be nil
}

// Error implements error.
func (e *ProtocolError) Error() string {
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

// Unwrap returns the cause.
func (e *ProtocolError) Unwrap() error { return e.Err }

// Code returns the stable code.
func (e *ProtocolError) Code() string { return e.ErrCode }

// Remedy returns what to do.
func (e *ProtocolError) Remedy() string { return remedyOf(e.ErrCode) }

func problemf(code, format string, args ...any) *ProtocolError {
	return &ProtocolError{ErrCode: code, Detail: fmt.Sprintf(format, args...)}
}

// Refusal is how a Service turns a phone away.
type Refusal struct {
	// Reason is what END_SESSION tells the phone. ReasonNoAction, the zero value, is sent as ReasonInvalidElement: a
	// refusal is never "nothing to do".
	Reason Reason
	// Result is the operation's result code for records and traces.
	Result Result
	// RetryLater, when not 0, ends the session with RETRY_LATER and this delay instead of END_SESSION, as Task.RetryLater
	// does: for a phone whose certificate is known not to be ready before its task is.
	RetryLater time.Duration
	// Err is the cause; may be nil. When it has methods Code and Remedy of its own they are the refusal's.
	Err error
}

// Error implements error.
func (r *Refusal) Error() string {
	text := r.Result.Meaning()
	switch {
	case r.Reason == ReasonUnknownDevice:
		text = "the device is not known"
	case r.Result == ResultSuccess || text == "":
		text = "refused"
	}
	if r.Err != nil {
		return text + ": " + r.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// Code returns the stable code: the cause's own when it has one, else that of the reason or the result.
func (r *Refusal) Code() string {
	if c, ok := errors.AsType[coder](r.Err); ok {
		return c.Code()
	}
	if r.Reason == ReasonUnknownDevice {
		return CodeUnknownDevice
	}
	if t, ok := r.Result.text(); ok && r.Result != ResultSuccess {
		return t.code
	}
	return CodeRefused
}

// Remedy returns what to do: the cause's own words when it has them, else those of the reason or the result.
func (r *Refusal) Remedy() string {
	if c, ok := errors.AsType[coder](r.Err); ok {
		return c.Remedy()
	}
	if r.Reason == ReasonUnknownDevice {
		return remedyOf(CodeUnknownDevice)
	}
	if t, ok := r.Result.text(); ok && r.Result != ResultSuccess {
		return t.remedy
	}
	return remedyOf(CodeRefused)
}

// wireReason is the reason that END_SESSION carries.
func (r *Refusal) wireReason() Reason {
	if r.Reason == ReasonNoAction {
		return ReasonInvalidElement
	}
	return r.Reason
}

// PhoneError is a failure that the phone itself reported.
type PhoneError struct {
	Command Command // message that carried the report
	Reason  Reason  // element 1; 0 when the phone gave none
	Info    string  // element 2, printable part; usually empty
}

// Error implements error.
func (e *PhoneError) Error() string {
	s := fmt.Sprintf("the phone reported a failure in %v: reason %d (%v)", e.Command, uint8(e.Reason), e.Reason)
	if e.Info != "" {
		s += fmt.Sprintf(", %q", e.Info)
	}
	return s
}

// Code returns the stable code.
func (e *PhoneError) Code() string { return CodePhoneFailure }

// Remedy returns what to do.
func (e *PhoneError) Remedy() string { return remedyOf(CodePhoneFailure) }

// coder is an error that a user can act on.
type coder interface {
	error
	Code() string
	Remedy() string
}

// describe returns code and remedy of any error that ends a session.
func describe(err error) (code, remedy string) {
	if c, ok := errors.AsType[coder](err); ok {
		return c.Code(), c.Remedy()
	}
	switch {
	case errors.Is(err, ErrNotReady):
		return CodeNotReady, remedyOf(CodeNotReady)
	case errors.Is(err, ErrServerClosed):
		return CodeServerStopping, remedyOf(CodeServerStopping)
	}
	return CodeFailed, ResultFail.Remedy()
}
