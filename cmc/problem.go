package cmc

import (
	"fmt"
	"math/big"
	"net/http"
)

// Status is CMCStatus (RFC 5272 section 6.1.1).
type Status int

// The statuses of CMC; 1 is reserved.
const (
	StatusSuccess         Status = 0
	StatusFailed          Status = 2
	StatusPending         Status = 3
	StatusNoSupport       Status = 4
	StatusConfirmRequired Status = 5
	StatusPOPRequired     Status = 6
	StatusPartial         Status = 7
)

// String returns the name and number used in RFC 5272, e.g. "failed(2)".
func (s Status) String() string {
	names := map[Status]string{
		StatusSuccess: "success", StatusFailed: "failed", StatusPending: "pending", StatusNoSupport: "noSupport",
		StatusConfirmRequired: "confirmRequired", StatusPOPRequired: "popRequired", StatusPartial: "partial",
	}
	return named(names[s], int(s))
}

// FailInfo is CMCFailInfo (RFC 5272 section 6.1.4). Its zero value is badAlg; use NoFailInfo for none.
type FailInfo int

// The reasons of a failure. 1000 to 1999 are private.
const (
	NoFailInfo      FailInfo = -1
	BadAlg          FailInfo = 0
	BadMessageCheck FailInfo = 1
	BadRequest      FailInfo = 2
	BadTime         FailInfo = 3
	BadCertID       FailInfo = 4
	UnsupportedExt  FailInfo = 5
	MustArchiveKeys FailInfo = 6
	BadIdentity     FailInfo = 7
	POPRequired     FailInfo = 8
	POPFailed       FailInfo = 9
	NoKeyReuse      FailInfo = 10
	InternalCAError FailInfo = 11
	TryLater        FailInfo = 12
	AuthDataFail    FailInfo = 13
)

// String returns the name and number used in RFC 5272, e.g. "badRequest(2)", and nothing for NoFailInfo.
func (f FailInfo) String() string {
	if f == NoFailInfo {
		return ""
	}
	names := []string{
		"badAlg", "badMessageCheck", "badRequest", "badTime", "badCertId", "unsupportedExt", "mustArchiveKeys",
		"badIdentity", "popRequired", "popFailed", "noKeyReuse", "internalCAError", "tryLater", "authDataFail",
	}
	if f < 0 || int(f) >= len(names) {
		return named("", int(f))
	}
	return named(names[f], int(f))
}

// named renders a name and its number; an unknown number gets the name "unknown".
func named(name string, n int) string {
	if name == "" {
		name = "unknown"
	}
	return fmt.Sprintf("%s(%d)", name, n)
}

// The codes of this package, as Problem.Code returns them. A policy adds its own with Deny.
const (
	CodeMalformed             = "cmc.malformed"
	CodeNotPKIData            = "cmc.not-pkidata"
	CodeNoSigner              = "cmc.no-signer"
	CodeSignerCount           = "cmc.signer-count"
	CodeSignerUnknown         = "cmc.signer-unknown"
	CodeBadSignature          = "cmc.bad-signature"
	CodeSignerUntrusted       = "cmc.signer-untrusted"
	CodeSignerExpired         = "cmc.signer-expired"
	CodeTime                  = "cmc.time"
	CodeBodyID                = "cmc.body-id"
	CodeNotRA                 = "cmc.not-ra"
	CodeControlUnknown        = "cmc.control-unknown"
	CodeNested                = "cmc.nested"
	CodeControlMisplaced      = "cmc.control-misplaced"
	CodeNonceMissing          = "cmc.nonce-missing"
	CodeTransactionMissing    = "cmc.transaction-missing"
	CodeNonceReplayed         = "cmc.nonce-replayed"
	CodeRequestCount          = "cmc.request-count"
	CodeTokenUnknown          = "cmc.token-unknown" //nolint:gosec // the name of a problem, no credential
	CodeRequestType           = "cmc.request-type"
	CodeWitnessMismatch       = "cmc.witness-mismatch"
	CodePOPFailed             = "cmc.pop-failed"
	CodePOPMissing            = "cmc.pop-missing"
	CodeNullSignatureMismatch = "cmc.null-signature-mismatch"
	CodeSubjectDenied         = "cmc.subject-denied"
	CodeKeyDenied             = "cmc.key-denied"
	CodeTransactionReused     = "cmc.transaction-reused"
	CodeInternal              = "cmc.internal"

	// Only on the client's side, about a response.
	CodeNotPKIResponse      = "cmc.not-pkiresponse"
	CodeNonceMismatch       = "cmc.nonce-mismatch"
	CodeTransactionMismatch = "cmc.transaction-mismatch"
	CodeNoCertificate       = "cmc.no-certificate"
	CodeCertificateInvalid  = "cmc.certificate-invalid"
	CodeRefused             = "cmc.refused"
	CodeTryLater            = "cmc.try-later"
	CodeUnsupportedStatus   = "cmc.unsupported-status"

	// Only when writing.
	CodeUnusable = "cmc.unusable"
)

// Problem is why a message is refused: our code for the user, CMC's status for the response, and the HTTP status.
type Problem struct {
	ErrCode  string   // "cmc.nonce-replayed"
	Status   Status   // what the response says; StatusFailed or StatusNoSupport
	FailInfo FailInfo // NoFailInfo with StatusNoSupport
	BodyList []uint32 // body parts at fault; 0 is the whole message
	HTTP     int      // HTTP status of the answer
	Detail   string   // what is wrong, with names and values
	Fix      string   // what to do; empty takes the remedy of the code
	Err      error    // cause, may be nil; for the log

	// What the response has to return, as far as the request could be read and its signature was right.
	TransactionID *big.Int
	SenderNonce   []byte
	DataReturn    []byte
}

// Error implements error.
func (p *Problem) Error() string {
	if p.Err != nil {
		return p.Detail + ": " + p.Err.Error()
	}
	return p.Detail
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Err }

// Code returns the stable code, one of the Code constants or a policy's own.
func (p *Problem) Code() string { return p.ErrCode }

// Remedy returns what to do.
func (p *Problem) Remedy() string {
	if p.Fix != "" {
		return p.Fix
	}
	return remedy(p.ErrCode)
}

// Deny returns the Problem of a policy that refuses a readable request (step 23): status failed, HTTP 403. The Verifier
// fills in the body list. An empty remedy takes the one of the code.
func Deny(code string, fail FailInfo, detail, remedy string) *Problem {
	return &Problem{ErrCode: code, Status: StatusFailed, FailInfo: fail, HTTP: http.StatusForbidden, Detail: detail, Fix: remedy}
}

// failed returns a Problem with status failed and HTTP 400 about the given body parts; none means the whole message.
func failed(code string, fail FailInfo, detail string, ids ...uint32) *Problem {
	if len(ids) == 0 {
		ids = []uint32{0}
	}
	return &Problem{ErrCode: code, Status: StatusFailed, FailInfo: fail, BodyList: ids, HTTP: http.StatusBadRequest, Detail: detail}
}

// malformed is failed with cmc.malformed and badRequest.
func malformed(format string, a ...any) *Problem {
	return failed(CodeMalformed, BadRequest, fmt.Sprintf(format, a...))
}

// unusable reports input that a writer cannot turn into a message: a mistake of the caller or of its configuration.
func unusable(format string, a ...any) *Problem {
	p := failed(CodeUnusable, InternalCAError, fmt.Sprintf(format, a...))
	p.HTTP = http.StatusInternalServerError
	return p
}

// because adds a cause.
func (p *Problem) because(err error) *Problem {
	p.Err = err
	return p
}
