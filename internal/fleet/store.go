package fleet

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"time"
)

// Store keeps the records of phones. Every write is on disk when the method returns. Times are kept to the millisecond,
// in UTC. Safe for concurrent use, also by several processes. Implementations pass fleettest.RunStore.
type Store interface {
	// Device returns a record; ErrNotFound when there is none with this name.
	Device(ctx context.Context, name string) (Device, error)
	// AddDevices stores new records; all or none. ErrExists, wrapped with the name, when one is there already.
	AddDevices(ctx context.Context, devices []Device) error
	// UpdateDevice reads a record, lets change alter it and writes it back, with nobody between. What change returns
	// is returned, and nothing written, when it is not nil. change may be called more than once.
	UpdateDevice(ctx context.Context, name string, change func(*Device) error) (Device, error)
	// FinishDevice does the same and, in the same transaction, what f says. enroll.ErrNotFound or enroll.ErrState, and
	// nothing written, when the enrolment of f cannot be confirmed.
	FinishDevice(ctx context.Context, name string, f Finish, change func(*Device) error) (Device, error)
	// ApplyDevices makes many changes in one transaction, adding records that are not there yet. The result has an error
	// for each change, nil for those that went well. When one went wrong nothing is written, unless partial is set: then
	// the others are. The second error is the store's own.
	ApplyDevices(ctx context.Context, changes []Change, partial bool) ([]error, error)
	// Devices returns the records that q picks in the order of their names, and how many there are whatever q.Limit and
	// q.After say.
	Devices(ctx context.Context, q Query) (devices []Device, total int, err error)
	// Summarise counts the phones at a time.
	Summarise(ctx context.Context, now time.Time) (Summary, error)
	// Attempts returns a phone's last attempts, newest first, at most limit (0: all that are kept). None for an unknown
	// phone.
	Attempts(ctx context.Context, name string, limit int) ([]Attempt, error)
	// Issuers returns the certificates that issued LSCs, with how many phones hold one of each, in the order in which they
	// were first seen. One that no phone holds an LSC of any more stays, with 0 Phones.
	Issuers(ctx context.Context) ([]Issuer, error)
	// Issuer returns one by its ID; ErrNotFound when there is none.
	Issuer(ctx context.Context, id string) (Issuer, error)
	// CertificateOwners returns the owners of the enrolments that brought a certificate, each once and in order; none when
	// the journal does not have it.
	CertificateOwners(ctx context.Context, x *x509.Certificate) ([]string, error)
	// KeyOwner returns the owner of an enrolment with this public key (DER SubjectPublicKeyInfo) that is not owner;
	// empty when there is none.
	KeyOwner(ctx context.Context, spki []byte, owner string) (string, error)
	// Renew takes one step of the renewal of LSCs, in one transaction. Due are phones whose operation is none, which have
	// an LSC and whose RenewAt is set and not after now; when there is none, nothing is done. Otherwise plan is told the
	// state that the step before left and says how many phones may be scheduled and which state to leave; change is applied
	// to that many of those that are due, those with the earliest RenewAt first and then by name. It returns the changed
	// records. An error of change ends the step, and nothing is written.
	Renew(ctx context.Context, now time.Time, plan func(RenewalState) (int, RenewalState), change func(*Device) error) ([]Device, error)
	// Replan makes RenewAt anew for every phone with an LSC, in one or more transactions, and then leaves policy in the
	// state. It does nothing when the state has this policy already. It returns how many phones it looked at.
	Replan(ctx context.Context, policy string, renewAt func(*Device) time.Time) (int, error)
	// RenewalState returns what the last step left; the zero value before the first.
	RenewalState(ctx context.Context) (RenewalState, error)
}

// Finish is what is written together with the end of a call.
type Finish struct {
	Enrolment string   // journal row to be confirmed; empty: none
	Attempt   *Attempt // goes to the phone's story, or is counted in its last attempt (Attempt.Repeated); nil: none
	// Issuer is the certificate (DER) that issued the LSC which the change puts on record; it is kept when it is new.
	// Empty: none.
	Issuer []byte
}

// Change is one change of ApplyDevices.
type Change struct {
	Name string
	// Apply alters the record; found is false for a new one, which begins as NewDevice. It may be called more than once.
	Apply func(d *Device, found bool) error
}

// Query picks phones. The zero value picks all; several fields must all fit.
type Query struct {
	Text      string // part of name, model or description, without regard to case
	Operation Operation
	Status    Status
	Auth      AuthMode
	Origin    Origin // only OriginRenewal picks
	Model     string
	LSC       LSCState
	// ExpiresBefore picks phones with an LSC that ends before this time; zero: any.
	ExpiresBefore time.Time
	IssuerID      string // of the LSC on record
	After         string // only names after this one
	Limit         int    // 0: all
}

// LSCState picks phones by whether there is an LSC on record.
type LSCState string

// The states that a Query may ask for.
const (
	LSCAny     LSCState = ""
	LSCPresent LSCState = "present"
	LSCMissing LSCState = "none"
)

// Summary counts phones.
type Summary struct {
	Phones     int
	Operations map[Operation]int
	Statuses   map[Status]int
	Auths      map[AuthMode]int
	LSCs       int // phones with an LSC on record
	Expired    int // of those, expired
	In30Days   int // of those, valid now and no longer in 30 days
	Renewing   int // operation set by the renewal schedule and still due
	Locked     int // locked by wrong strings: an operation is due and its status is a failure
}

// Issuer is a certificate that has issued LSCs.
type Issuer struct {
	ID       string // of IssuerID: SHA-256 of DER in lower-case hex
	DER      []byte
	Subject  string // RFC 4514 form
	NotAfter time.Time
	Added    time.Time // when its first LSC was put on record
	Phones   int       // phones whose LSC on record is from it
}

// IssuerID is the ID of an Issuer with this certificate (DER).
func IssuerID(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// RenewalState is what a step of the renewal leaves for the next one.
type RenewalState struct {
	Policy string    // the settings by which RenewAt was made, in a form of the schedule's own
	At     time.Time // when phones were scheduled last
}

// Errors for control flow.
var (
	ErrNotFound = errors.New("no such device")
	ErrExists   = errors.New("device exists already")
)
