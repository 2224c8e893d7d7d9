package fleet

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"callsign/capf"
	"callsign/internal/ca"
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
	// WrongStrings is after how many wrong strings an operation is locked. 0: 5.
	WrongStrings int
	// AcceptOtherKey takes keys of another type or size than asked for.
	AcceptOtherKey bool
	// LibEST gives the libEST number and name under which a failed enrolment is traced. Nil: 94, EST_ERR_UNKNOWN.
	LibEST func(*enroll.Failure) (int, string)
	Log    *slog.Logger     // nil: no log
	Now    func() time.Time // nil: time.Now

	claims sync.Map // SHA-256 of a public key -> name of the device that is enrolling it
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
	if !d.CompletesBy.IsZero() && s.now().After(d.CompletesBy) {
		return nil, s.late(ctx, d)
	}
	if err := s.authenticate(ctx, c, d); err != nil {
		return nil, err
	}
	t, offered, err := s.task(ctx, &d)
	if err != nil {
		return nil, err
	}
	return &session{s: s, d: d, caller: c, task: t, enrolment: offered, offering: len(t.Offer) > 0}, nil
}

// errAuthentic ends the judging of a string without a change to the record: the string is right.
var errAuthentic = errors.New("the authentication string is right")

// authenticate judges the phone's string and counts a wrong one. Judging and counting are one transaction: however many
// calls come at once, no more strings are judged than the limit allows.
func (s *Service) authenticate(ctx context.Context, c capf.Caller, d Device) error {
	if d.Auth == AuthNull {
		return nil
	}
	var p *Problem
	_, err := s.Store.UpdateDevice(ctx, d.Name, func(now *Device) error {
		p = nil
		switch {
		case now.Auth != d.Auth || now.Operation != d.Operation || !now.Scheduled.Equal(d.Scheduled):
			return errSuperseded
		case now.WrongTries >= s.wrongLimit():
			p = locked(now, c)
			return p
		case sameString(now.AuthString, c.String):
			return errAuthentic
		}
		now.WrongTries++
		now.Result, now.HasResult = capf.ResultInvalidAuthString, true
		p = problem("fleet.wrong-string", fmt.Sprintf("wrong authentication string for %s from %s, attempt %d of %d", now.Name, c.Peer, now.WrongTries, s.wrongLimit()),
			"type the string again on the phone, or set a new one with: callsign phone set "+now.Name+" --auth-string-file FILE")
		if now.WrongTries >= s.wrongLimit() {
			p = locked(now, c)
			now.Status = finalStatus(now.Operation, false)
		}
		now.Note = &Note{Code: p.ErrCode, Detail: p.Detail, Remedy: p.Fix, At: s.now()}
		return nil
	})
	switch {
	case errors.Is(err, errAuthentic):
		return nil
	case p != nil && (err == nil || errors.Is(err, p)):
		return s.refuse(ctx, d.Name, capf.ReasonInvalidElement, capf.ResultInvalidAuthString, p)
	default:
		return fmt.Errorf("judge the authentication string of %s: %w", d.Name, err)
	}
}

// sameString compares in constant time, whatever the lengths. A phone without a string on record is never authentic.
func sameString(want, got capf.Secret) bool {
	a, b := sha256.Sum256(want), sha256.Sum256(got)
	return len(want) > 0 && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func locked(d *Device, c capf.Caller) *Problem {
	return problem("fleet.locked", fmt.Sprintf("%s is locked after %d wrong authentication strings, the last one from %s", d.Name, d.WrongTries, c.Peer),
		fmt.Sprintf("find out who tried, then run: callsign phone set %s --operation %s --auth-string-file FILE", d.Name, d.Operation))
}

// late ends an operation whose time has passed.
func (s *Service) late(ctx context.Context, d Device) error {
	p := problem("fleet.late", fmt.Sprintf("%s called after %s, the time by which its operation was to complete", d.Name, d.CompletesBy.UTC().Format(time.RFC3339)),
		"schedule it again: callsign phone set "+d.Name+" --operation "+string(d.Operation))
	_, err := s.Store.UpdateDevice(ctx, d.Name, func(d *Device) error {
		d.finish(d.Operation, false, capf.ResultLateRequest)
		d.Note = &Note{Code: p.ErrCode, Detail: p.Detail, Remedy: p.Fix, At: s.now()}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record late call of %s: %w", d.Name, err)
	}
	return s.refuse(ctx, d.Name, capf.ReasonInvalidElement, capf.ResultLateRequest, p)
}

// task makes the work order of an authenticated phone. An install may begin with a certificate that an earlier call
// did not confirm; its enrolment is the second result.
func (s *Service) task(ctx context.Context, d *Device) (capf.Task, string, error) {
	switch d.Operation {
	case OperationDelete:
		return capf.Task{Operation: capf.OperationDelete}, "", nil
	case OperationTroubleshoot:
		return capf.Task{Operation: capf.OperationTroubleshoot}, "", nil
	}
	t := capf.Task{Operation: capf.OperationInstall, Keys: []capf.KeySpec{d.keySpec()}, AcceptOtherKey: s.AcceptOtherKey}
	rows, err := s.Engine.ByOwner(ctx, Owner(d.Name))
	if err != nil {
		return t, "", fmt.Errorf("read enrolments of %s: %w", d.Name, err)
	}
	for i, e := range rows {
		switch {
		case i == 0 && deniedMeanwhile(*d, e):
			return t, "", s.denied(ctx, *d, e)
		case e.Authority != s.Authority:
			// Asked of another authority, before the issuer was switched: superseded when the phone brings its key.
		case e.State == enroll.Pending && !e.Created.Before(d.Scheduled):
			// The CA waits for a person. Asking for another key would only make another request of it.
			return t, "", s.stillPending(ctx, *d, e)
		case e.State == enroll.Issued && e.ID != d.Offered && e.NotAfter.After(s.now()):
			t.Offer = e.Certificate
			return t, e.ID, nil
		}
	}
	return t, "", nil
}

// deniedMeanwhile tells that the newest request of a due operation was refused while no phone was there to hear it.
func deniedMeanwhile(d Device, row enroll.Enrolment) bool {
	return (row.State == enroll.Denied || row.State == enroll.Failed) && row.Failure != nil && !ownFault(row.Failure) && row.Created.After(d.Scheduled)
}

// ownFault tells that the authority refused our own account, which is no verdict on the phone: it may ask again.
func ownFault(f *enroll.Failure) bool { return f.Code == ca.CodeLoginRefused }

// denied ends an operation whose request was refused after the phone had hung up. To ask again would be another request
// at the CA at each call.
func (s *Service) denied(ctx context.Context, d Device, row enroll.Enrolment) error {
	f := row.Failure
	_, err := s.Store.UpdateDevice(ctx, d.Name, func(d *Device) error {
		d.finish(d.Operation, false, capf.ResultFail)
		d.Note = &Note{Code: f.Code, Detail: f.Detail, Remedy: f.Remedy, At: s.now()}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record the refusal of %s: %w", d.Name, err)
	}
	return s.refuse(ctx, d.Name, capf.ReasonInvalidElement, capf.ResultFail, problem(f.Code, f.Detail, f.Remedy))
}

// stillPending refuses a phone whose request the authority keeps, and puts that on record unless it is there already.
func (s *Service) stillPending(ctx context.Context, d Device, row enroll.Enrolment) error {
	p := approvalPending(d.Name, row)
	if d.Note == nil || d.Note.Code != p.ErrCode {
		_, err := s.Store.UpdateDevice(ctx, d.Name, func(d *Device) error {
			d.Note = &Note{Code: p.ErrCode, Detail: p.Detail, Remedy: p.Fix, At: s.now()}
			return nil
		})
		if err != nil {
			return fmt.Errorf("record what %s waits for: %w", d.Name, err)
		}
	}
	return s.refuse(ctx, d.Name, capf.ReasonInvalidElement, capf.ResultFail, p)
}

// approvalPending says what a phone waits for whose request is pending.
func approvalPending(name string, row enroll.Enrolment) *Problem {
	if row.Progress.RequestID == "" { // an RA that works on it, as far as is known
		return problem("fleet.deferred", fmt.Sprintf("the RA has not answered for %s yet and is asked again at %s", name, row.NextAttempt.UTC().Format(time.RFC3339)),
			"nothing, unless it stays so: then look at the RA's log")
	}
	return problem("fleet.approval-pending", fmt.Sprintf("the CA has not decided request %s of %s yet", row.Progress.RequestID, name),
		"ask the CA's manager to issue or deny the request; the phone gets its certificate at its next call")
}

func (d *Device) keySpec() capf.KeySpec {
	if d.KeyOrder == KeyOrderEC {
		return capf.KeySpec{Type: capf.KeyEC, Bits: d.ECBits}
	}
	return capf.KeySpec{Type: capf.KeyRSA, Bits: d.RSABits}
}

// refuse logs a refusal and wraps it for the protocol.
func (s *Service) refuse(ctx context.Context, device string, reason capf.Reason, result capf.Result, p *Problem) error {
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
func noteOf(err error, now time.Time) *Note {
	n := &Note{Code: "fleet.failed", Detail: err.Error(), At: now}
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
