package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"callsign/capf"
	"callsign/internal/ca"
	"callsign/internal/ca/offline"
	"callsign/internal/enroll"
)

// Enroller is what the fleet needs of the enrolment engine.
type Enroller interface {
	// Enroll opens or continues the row of r and waits until it is decided or ctx ends; the row tells which.
	Enroll(ctx context.Context, r enroll.Request) (enroll.Enrolment, error)
	// ByOwner returns the owner's rows, newest first.
	ByOwner(ctx context.Context, owner string) ([]enroll.Enrolment, error)
	// Supersede makes a row stale.
	Supersede(ctx context.Context, id string) (enroll.Enrolment, error)
}

// Service decides what phones may do: the capf.Service of the product.
type Service struct {
	Store  Store
	Engine Enroller
	// Authority is the name of the authority that signs, e.g. "local" or "upstream".
	Authority string
	// Mode is what the CAPF trace calls it: "CAPF" or "OnlineCA". Traces of an online CA have their EST lines
	// whether CAPF reaches the RA by EST or in its own process.
	Mode string
	// Subject makes the DER subject of a phone's certificate. Nil: CN = device name and nothing else.
	Subject func(Device) ([]byte, error)
	// SubjectFor are the subjects of groups of phones; the first that fits goes before Subject.
	SubjectFor []SubjectRule
	// WrongStrings is after how many wrong strings an operation is locked. 0: 5.
	WrongStrings int
	// Trust is what the certificates are judged by with which phones authenticate.
	Trust Trust
	// RequireSUDI turns a phone away that authenticates by certificate and sends no SUDI data, which alone is bound to the
	// session. Phones that authenticate by string or null string send none and are not asked for it.
	RequireSUDI bool
	// AllowSHA1Auth accepts what old phones can do: a signature with SHA-1 alone (protocol version 2), and an RSA key below
	// 1024 bits in the phone's own certificate, which cannot carry any other. Whoever wants to can find such a key out.
	AllowSHA1Auth bool
	// MICBesideLSC accepts a MIC in mode lsc although an LSC is on record, as after a factory reset.
	MICBesideLSC bool
	// Progress are phones that are told by REQUEST_IN_PROGRESS to wait for the authority, and ProgressWithin is how long
	// they do. 0: a minute.
	Progress       Group
	ProgressWithin time.Duration
	// RetryLater are phones that are told by RETRY_LATER when to call again while the authority has not decided, and
	// RetryLaterAfter is when. 0: nobody is told.
	RetryLater      Group
	RetryLaterAfter time.Duration
	// RenewAt says when the schedule of renewals is to look at a phone again whose LSC has just been put on record. Nil: the
	// zero time, never.
	RenewAt func(*Device) time.Time
	// AcceptOtherKey takes keys of another type or size than asked for.
	AcceptOtherKey bool
	// LibEST gives the libEST number and name under which a failed enrolment is traced. Nil: 94, EST_ERR_UNKNOWN.
	LibEST func(*enroll.Failure) (int, string)
	Log    *slog.Logger     // nil: no log
	Now    func() time.Time // nil: time.Now

	claims sync.Map // SHA-256 of a public key -> name of the device that is enrolling it
	trust  trustCache
}

// Owner is the journal's owner of a phone's enrolments.
func Owner(device string) string { return "phone:" + device }

func (s *Service) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

func (s *Service) log() *slog.Logger {
	if s.Log != nil {
		return s.Log
	}
	return slog.New(slog.DiscardHandler)
}

func (s *Service) wrongLimit() int {
	if s.WrongStrings > 0 {
		return s.WrongStrings
	}
	return 5
}

func (s *Service) progressWithin() time.Duration {
	if s.ProgressWithin > 0 {
		return s.ProgressWithin
	}
	return time.Minute
}

// Open implements capf.Service: device known, operation due, not locked, in time, authenticated.
func (s *Service) Open(ctx context.Context, c capf.Caller) (capf.Session, error) {
	name := strings.ToUpper(c.Device)
	d, err := s.Store.Device(ctx, name)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, s.refuse(ctx, c.Device, capf.ReasonUnknownDevice, capf.ResultFail, problem("fleet.unknown-device",
			fmt.Sprintf("no phone %q is configured", c.Device), "if it is yours, run: callsign phone add "+printable(c.Device)))
	case err != nil:
		return nil, fmt.Errorf("read device %s: %w", name, err)
	}
	// Without a due operation nothing is granted and no string is judged, so nobody learns by guessing.
	if d.Operation == OperationNone {
		return &session{s: s, d: d, caller: c, task: capf.Task{Operation: capf.OperationNone}}, nil
	}
	t := s.tell(c, &d)
	if !d.CompletesBy.IsZero() && s.now().After(d.CompletesBy) {
		return nil, s.late(ctx, &d, t)
	}
	if err := s.authenticate(ctx, c, &d, t); err != nil {
		return nil, err
	}
	task, offered, err := s.task(ctx, &d, t)
	if err != nil {
		return nil, err
	}
	return newSession(s, d, c, t, task, offered), nil
}

// turning is how a phone is turned away whose operation is due.
type turning struct {
	step       StepName // that failed
	result     capf.Result
	problem    *Problem
	ends       bool          // the operation; else it stays due
	noteResult bool          // the result goes into the record although the operation stays due
	retryLater time.Duration // when the phone is told to call again; 0: it is not
}

// turnAway refuses a phone and puts that on record. What an administrator has set meanwhile stays.
func (s *Service) turnAway(ctx context.Context, t *story, d *Device, how turning) error {
	note := s.noteOf(how.problem)
	_, err := s.Store.FinishDevice(ctx, d.Name, Finish{Attempt: t.fail(how.step, how.result, note)}, func(now *Device) error {
		if !sameOperation(now, d) {
			return nil
		}
		switch {
		case how.ends:
			now.finish(now.Operation, false, how.result)
		case how.noteResult:
			now.Result, now.HasResult = how.result, true
		}
		now.Note = note
		return nil
	})
	if err != nil {
		return fmt.Errorf("record why %s was turned away: %w", d.Name, err)
	}
	refusal := s.refuse(ctx, d.Name, capf.ReasonInvalidElement, how.result, how.problem)
	refusal.RetryLater = how.retryLater
	return refusal
}

// sameOperation reports whether the operation that was due is still the one that is: nobody has set another meanwhile.
func sameOperation(now, then *Device) bool {
	return now.Operation == then.Operation && now.Scheduled.Equal(then.Scheduled)
}

// late ends an operation whose time has passed.
func (s *Service) late(ctx context.Context, d *Device, t *story) error {
	return s.turnAway(ctx, t, d, turning{step: StepAuthenticate, result: capf.ResultLateRequest, ends: true, problem: problem("fleet.late",
		fmt.Sprintf("%s called after %s, the time by which its operation was to complete", d.Name, d.CompletesBy.UTC().Format(time.RFC3339)),
		"schedule it again: callsign phone set "+d.Name+" --operation "+string(d.Operation))})
}

// task makes the work order of an authenticated phone. An install may begin with a certificate that an earlier call
// did not confirm; its row is the second result.
func (s *Service) task(ctx context.Context, d *Device, t *story) (capf.Task, *enroll.Enrolment, error) {
	switch d.Operation {
	case OperationDelete:
		return capf.Task{Operation: capf.OperationDelete}, nil, nil
	case OperationTroubleshoot:
		return capf.Task{Operation: capf.OperationTroubleshoot}, nil, nil
	}
	task := capf.Task{Operation: capf.OperationInstall, Keys: d.keySpecs(), AcceptOtherKey: s.AcceptOtherKey}
	if s.Progress.Has(d) {
		task.Progress, task.AnswerWithin = true, s.progressWithin()
	}
	if s.RetryLater.Has(d) {
		task.RetryLater = s.RetryLaterAfter
	}
	rows, err := s.Engine.ByOwner(ctx, Owner(d.Name))
	if err != nil {
		return task, nil, fmt.Errorf("read enrolments of %s: %w", d.Name, err)
	}
	for i := range rows {
		e := &rows[i]
		switch {
		case i == 0 && deniedMeanwhile(*d, *e):
			// To ask again would be another request at the CA at each call.
			t.a.Enrolment = e.ID
			return task, nil, s.turnAway(ctx, t, d, turning{
				step: StepIssue, result: capf.ResultFail, ends: true,
				problem: problem(e.Failure.Code, e.Failure.Detail, e.Failure.Remedy),
			})
		case e.Authority != s.Authority:
			// Asked of another authority, before the issuer was switched: superseded when the phone brings its key.
		case e.State == enroll.Pending && !e.Created.Before(d.Scheduled):
			// The CA waits for a person. Asking for another key would only make another request of it.
			t.a.Enrolment = e.ID
			return task, nil, s.turnAway(ctx, t, d, turning{
				step: StepIssue, result: capf.ResultFail, problem: approvalPending(d.Name, *e), retryLater: task.RetryLater,
			})
		case e.State == enroll.Issued && e.ID != d.Offered && e.NotAfter.After(s.now()) && s.wantsKey(d, e.PublicKey):
			task.Offer = e.Certificate
			return task, e, nil
		}
	}
	return task, nil, nil
}

// deniedMeanwhile tells that the newest request of a due operation was refused while no phone was there to hear it.
func deniedMeanwhile(d Device, row enroll.Enrolment) bool {
	return (row.State == enroll.Denied || row.State == enroll.Failed) && row.Failure != nil && !ownFault(row.Failure) && row.Created.After(d.Scheduled)
}

// ownFault tells that the authority refused our own account, which is no verdict on the phone: it may ask again.
func ownFault(f *enroll.Failure) bool { return f.Code == ca.CodeLoginRefused }

// approvalPending says what a phone waits for whose request is pending.
func approvalPending(name string, row enroll.Enrolment) *Problem {
	if row.Progress.RequestID == "" { // an RA that works on it, as far as is known
		return problem("fleet.deferred", fmt.Sprintf("the RA has not answered for %s yet and is asked again at %s", name, row.NextAttempt.UTC().Format(time.RFC3339)),
			"nothing, unless it stays so: then look at the RA's log")
	}
	fix := "ask the CA's manager to issue or deny the request; the phone gets its certificate at its next call"
	if row.Authority == offline.Name {
		fix = "write the requests to files: callsign capf csr export --out DIR; have them signed, and bring the certificates back: callsign capf csr import DIR"
	}
	return problem("fleet.approval-pending", fmt.Sprintf("the CA has not decided request %s of %s yet", row.Progress.RequestID, name), fix)
}

// keySpecs are the keys to ask for, in order. A client that knows no EC keys is asked for the RSA key at once, and one
// that answers with a reason is asked for the next (spec: CAPF section 9).
func (d *Device) keySpecs() []capf.KeySpec {
	ec, rsa := capf.KeySpec{Type: capf.KeyEC, Bits: d.ECBits}, capf.KeySpec{Type: capf.KeyRSA, Bits: d.RSABits}
	switch d.KeyOrder {
	case KeyOrderEC:
		return []capf.KeySpec{ec}
	case KeyOrderECRSA:
		return []capf.KeySpec{ec, rsa}
	default:
		return []capf.KeySpec{rsa}
	}
}

// wantsKey reports whether the key of an earlier request is one that the phone would be asked for now: an administrator who
// has set another size since is not served with the old one.
func (s *Service) wantsKey(d *Device, spki []byte) bool {
	_, k, err := capf.ParsePublicKey(spki)
	return err == nil && (s.AcceptOtherKey || slices.Contains(d.keySpecs(), k))
}

// refuse logs a refusal and wraps it for the protocol.
func (s *Service) refuse(ctx context.Context, device string, reason capf.Reason, result capf.Result, p *Problem) *capf.Refusal {
	s.log().WarnContext(ctx, "phone refused", slog.String("event", "capf.refused"), slog.String("device", printable(device)),
		slog.Int("result", result.Number()), slog.String("result_name", result.Name()),
		slog.String("code", p.ErrCode), slog.String("cause", p.Detail), slog.String("remedy", p.Fix))
	return &capf.Refusal{Reason: reason, Result: result, Err: p}
}

// printable shows a name that came from a peer: no control characters, bounded.
func printable(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// noteOf keeps an error for a person to read.
func (s *Service) noteOf(err error) *Note {
	n := &Note{
		Code: "fleet.failed", Detail: err.Error(), At: s.now(),
		Remedy: "the operation stays due and the phone calls again; if this recurs, look into the server's log at this time",
	}
	type coder interface {
		error
		Code() string
		Remedy() string
	}
	if coded, ok := errors.AsType[coder](err); ok {
		n.Code, n.Detail, n.Remedy = coded.Code(), coded.Error(), coded.Remedy()
	}
	return n
}
