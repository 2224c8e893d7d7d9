package enroll

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"time"

	"callsign/internal/ca"
)

// Request is what the engine is asked for. Two requests with the same Authority, Owner, Label, Subject and PublicKey
// are the same request as long as the first one's row is live.
type Request struct {
	Authority  string // name of a registered ca.Authority
	Owner      string // "phone:SEP001122334455", "est:LABEL/IDENTITY"
	Label      string
	PublicKey  []byte // DER SubjectPublicKeyInfo
	Subject    []byte // DER Name
	Extensions []pkix.Extension
	CSR        []byte    // really signed PKCS#10, or nil
	Vouch      string    // how the owner of a bare key was authenticated
	Login      *ca.Login // not stored
	Proven     bool      // the caller has checked the signature of CSR a moment ago; not stored, and no row has it
	// Unknown tells that the caller has just asked [Engine.Last] for the request and there was no row. It saves the engine from
	// looking again; the journal decides all the same. Not stored, and no row has it.
	Unknown bool
	// Hold keeps a new request from its authority until an administrator lets it go: its row begins as Held. It is no part
	// of what makes two requests the same one, it is not stored, and no row has it: the state says it. See [Admit].
	Hold bool
	// Reuse limits how long an issued certificate that nobody confirmed answers the same request: the row of a certificate issued longer ago
	// becomes stale and the request begins anew. 0 is without limit, for owners that confirm. For owners that never do (EST
	// clients) it is how long a lost answer can be fetched again. An expired certificate never answers.
	Reuse time.Duration
}

// State is where a row stands.
type State string

// The states of a row (design decision 2).
const (
	Held      State = "held"      // row written, authority not asked: waits for an administrator of ours, Engine.Approve or Engine.Deny
	Requested State = "requested" // row written, authority not asked yet
	Submitted State = "submitted" // authority may have been asked; its answer is not known
	Pending   State = "pending"   // authority has it and wants time; RequestID is known
	Issued    State = "issued"    // certificate on record, not confirmed by the owner
	Confirmed State = "confirmed" // owner has stored it
	Denied    State = "denied"    // authority refused; Failure says why
	Failed    State = "failed"    // gave up; Failure says why
	Stale     State = "stale"     // superseded: another key or another certificate took its place
)

// Enrolment is one row of the journal.
type Enrolment struct {
	ID string // 32 lower-case hex digits, random
	Request
	State       State
	Progress    ca.Progress
	Certificate []byte   // DER, from Issued on
	Chain       [][]byte // DER, issuing CA first; may be empty
	Serial      string   // lower-case hex, no colons
	Issuer      string   // RFC 4514 form
	NotAfter    time.Time
	POP         ca.POP
	Failure     *Failure      // last failure; set in Denied and Failed, kept as a note while the row is retried
	Attempts    int           // attempts that failed since the authority last answered
	NextAttempt time.Time     // when the sweep looks at it again; zero: not due
	RetryAfter  time.Duration // what the authority asked for, when Pending or when it was too busy; 0: nothing
	Created     time.Time
	Updated     time.Time
	Dismissed   time.Time // when an administrator took it off the list of stale certificates; zero: never
	Decision    *Decision // what an administrator said about a request that was held; nil: nobody has yet, or it was not held
	Version     int64     // grows by one with every change; Journal.Update refuses a stale one
}

// Decision is an administrator's word about a held request.
type Decision struct {
	Approved bool      `json:"approved"`
	By       string    `json:"by"` // who said it: an account of the operating system; never empty
	At       time.Time `json:"at"`
	Note     string    `json:"note,omitempty"` // of a denial the client gets it
}

// Failure is what went wrong, as kept in a row.
type Failure struct {
	Code    string `json:"code"`
	Detail  string `json:"detail"`
	Remedy  string `json:"remedy"`
	HResult uint32 `json:"hresult,omitempty"`
	Timeout bool   `json:"timeout,omitempty"`
	// Since is when the authority's failures began, without an answer in between; zero for a refusal.
	Since time.Time `json:"since,omitzero"`
}

// Err returns f as an error with the methods Code and Remedy: a *ca.Error. It returns nil for a nil f.
func (f *Failure) Err() error {
	if f == nil {
		return nil
	}
	return &ca.Error{ErrCode: f.Code, Detail: f.Detail, Fix: f.Remedy, HResult: f.HResult, Timeout: f.Timeout}
}

// Journal is the storage that the engine needs. Every write is on disk when the method returns. Times are kept to the
// millisecond, in UTC. Implementations are safe for concurrent use, also by several processes, and pass enrolltest.RunJournal.
type Journal interface {
	// Open returns the live row (see [State.Live]), or the one that an administrator denied, with the same authority, owner,
	// label, subject and public key as e, or stores e and returns it; created tells which. What it does with an older row of
	// the same request is the decision of [Admit], carried out in one transaction; e.Created is the time of the call.
	// Neither Login nor Hold is kept, nor what the caller says of itself (Proven, Unknown).
	Open(ctx context.Context, e Enrolment) (row Enrolment, created bool, err error)
	// Update replaces the row with e.ID when its version is e.Version, and returns it with the new version. It may
	// leave the fields of e.Request and e.Created alone: they never change.
	// ErrConflict when the version is another, ErrNotFound when there is no such row.
	Update(ctx context.Context, e Enrolment) (Enrolment, error)
	// Get returns a row; ErrNotFound when there is none.
	Get(ctx context.Context, id string) (Enrolment, error)
	// Last returns the newest row, in any state, with the same authority, owner, label, subject and public key as r;
	// ErrNotFound when there is none.
	Last(ctx context.Context, r Request) (Enrolment, error)
	// ByOwner returns the owner's rows, newest first.
	ByOwner(ctx context.Context, owner string) ([]Enrolment, error)
	// Due returns rows in state requested, submitted or pending whose NextAttempt is not after now, oldest first. Held ones are never due.
	Due(ctx context.Context, now time.Time, limit int) ([]Enrolment, error)
	// HighestRequestID returns the highest numeric request id recorded for the authority, 0 for none.
	HighestRequestID(ctx context.Context, authority string) (int64, error)
	// Find returns the rows that f picks in the order of their arrival, and how many there are whatever f.Limit says.
	Find(ctx context.Context, f Filter) (rows []Enrolment, total int, err error)
}

// Filter picks rows of a Journal. The zero value picks all; several fields must all fit.
type Filter struct {
	Authority   string
	OwnerPrefix string   // e.g. "phone:"
	Labels      []string // any of them, "" is a label like others; empty: all
	States      []State  // any of them; empty: all
	Certified   bool     // only rows with a certificate
	Undismissed bool     // only rows that nobody has dismissed
	Limit       int      // 0: all
}

// Errors for control flow.
var (
	ErrNotFound = errors.New("no such enrolment")
	ErrConflict = errors.New("enrolment was changed meanwhile")
	ErrState    = errors.New("enrolment is in a state that does not allow this")
)
