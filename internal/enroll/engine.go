package enroll

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"callsign/internal/ca"
)

// Backoff says how long the engine waits after an attempt that failed for the time being.
type Backoff struct {
	Min    time.Duration // after the first failure; 0 means 1 second
	Max    time.Duration // at most; 0 means 1 minute
	Factor float64       // growth from failure to failure; below 1 means 2
	Jitter float64       // random part, 0 to 1: 0.2 spreads by up to 20 percent more; negative means none, 0 means 0.2
}

// Engine works the rows of a journal. Set the fields, then use it; they must not change afterwards. Journal and
// Authorities are required, everything else has a default.
type Engine struct {
	Journal     Journal
	Authorities map[string]ca.Authority // by the name that requests use
	Log         *slog.Logger            // nil discards
	Now         func() time.Time        // nil means time.Now
	Random      io.Reader               // row IDs and jitter; nil means crypto/rand

	// Workers is how many rows are worked at the same time for each authority; 0 means 16. It is a bound for each
	// authority, so that a silent one does not hold up the others.
	Workers int
	// Rates bound, by authority, how often a new request may be put to it: never two closer together than Rate.Interval, and after a start
	// the first one an interval later. Every attempt counts that may submit, whether it succeeds or not; asking for what is pending does not (see
	// PendingPoll and what the authority itself says). Requests that wait for their time stay requested and are taken up by [Engine.Run]
	// when nobody waits for them any more. An authority without an entry, or with the zero Rate, is without limit.
	Rates map[string]Rate
	// AttemptTimeout ends an attempt that an authority does not end itself; 0 means 5 minutes.
	AttemptTimeout time.Duration
	// Backoff is the pause between attempts.
	Backoff Backoff
	// MaxAttempts is after how many failed attempts in a row a request fails for good; 0 is without limit.
	MaxAttempts int
	// GiveUpAfter is how long an authority may go on failing before a request fails for good; 0 means 7 days, negative is
	// without limit. Waiting as pending does not count.
	GiveUpAfter time.Duration
	// HeldFor is how long a held request waits for a decision before it fails with [CodeNotApproved]; 0 means 30 days, negative is
	// without limit. Counted from the request; the same request begins anew after that, held again.
	HeldFor time.Duration
	// PendingPoll is how often a pending request is asked for when its authority does not say; 0 means 5 minutes.
	PendingPoll time.Duration
	// Interval is how often Run looks for rows that are due; 0 means 1 second.
	Interval time.Duration
	// Grace is how long Run waits at its end for attempts under way; 0 means 3 seconds.
	Grace time.Duration

	once   sync.Once
	log    *slog.Logger
	slots  map[string]chan struct{} // by authority: a bounded pool
	paces  map[string]*pace         // by authority: those with a rate
	wake   chan struct{}            // buffered, 1
	closed chan struct{}            // closed by Shutdown

	randomMu sync.Mutex // Random need not be safe for concurrent use

	mu       sync.Mutex
	closing  bool
	tracks   map[string]*track          // by row ID: rows with a worker or a waiter
	asking   map[[32]byte]chan struct{} // by Request.Key: an attempt is under way until the channel is closed
	backlog  map[string][]Enrolment     // by authority: rows that the last sweep found no free worker for
	queued   map[string][]Enrolment     // by authority: the first of the rows that wait for its rate
	queueing int                        // how many rows the last sweep left to the rates
	workers  sync.WaitGroup
}

// A track is what the process knows about a row while somebody works on it or waits for it. Guarded by Engine.mu.
type track struct {
	row     Enrolment
	changed chan struct{} // closed and replaced with every change of row or working
	waiters int
	working bool
	cancel  context.CancelFunc // ends the worker's attempt
	idle    chan struct{}      // closed when the last waiter leaves a worker that has not begun
}

func (e *Engine) init() {
	e.once.Do(func() {
		e.log = e.Log
		if e.log == nil {
			e.log = slog.New(slog.DiscardHandler)
		}
		n := e.Workers
		if n <= 0 {
			n = 16
		}
		e.slots = make(map[string]chan struct{}, len(e.Authorities))
		for name := range e.Authorities {
			e.slots[name] = make(chan struct{}, n)
		}
		e.wake = make(chan struct{}, 1)
		e.closed = make(chan struct{})
		e.tracks = make(map[string]*track)
		e.backlog = make(map[string][]Enrolment)
		e.queued = make(map[string][]Enrolment)
		e.paces = make(map[string]*pace, len(e.Rates))
		for name, r := range e.Rates {
			if !r.IsZero() {
				e.paces[name] = newPace(r, e.clock())
			}
		}
		e.asking = make(map[[32]byte]chan struct{})
	})
}

func orDefault[T int | time.Duration](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

// now is the engine's clock at the journal's resolution.
func (e *Engine) now() time.Time {
	return e.clock().UTC().Truncate(time.Millisecond)
}

func (e *Engine) random(b []byte) error {
	if e.Random == nil {
		_, err := rand.Read(b)
		return err
	}
	e.randomMu.Lock()
	defer e.randomMu.Unlock()
	_, err := io.ReadFull(e.Random, b)
	return err
}

// Enroll opens the row of r, or finds the one that is live, makes sure that it is being worked on, and waits until the row is issued, denied,
// failed, held or pending, or ctx ends. It returns the row as it is then; its state tells.
//
// The work goes on when ctx ends: the exchange with the authority is not cut off, and the next Enroll of the same request gets
// what came of it. A temporary failure of the authority is not an end: Enroll waits for the next attempt (which [Engine.Run] makes) as
// long as ctx allows, and the row's Failure says what went wrong so far. A row that is waiting to be tried again is tried at once if the last
// attempt is at least Backoff.Min ago and the authority did not ask for a longer pause. A pending row is returned at once unless the time
// to ask for it has come; a held one always is.
//
// The error is nil unless the journal failed, the request cannot be taken (*[Error] with code enroll.unknown-authority or
// enroll.bad-request) or the engine was shut down (enroll.closed); or ctx ended before the row was opened.
func (e *Engine) Enroll(ctx context.Context, r Request) (Enrolment, error) {
	e.init()
	if err := e.check(&r); err != nil {
		return Enrolment{}, err
	}
	id, err := e.newID()
	if err != nil {
		return Enrolment{}, err
	}
	now := e.now()
	login, hold := r.Login, r.Hold
	told := knowledge{proven: r.Proven, unknown: r.Unknown}
	r.Login, r.Hold, r.Proven, r.Unknown = nil, false, false, false // never stored, and never returned
	row := Enrolment{ID: id, Request: r, State: Requested, NextAttempt: now, Created: now, Updated: now}
	if hold {
		row.State, row.NextAttempt = Held, time.Time{}
	}
	if signed, ok := e.presign(ctx, row, login, told); ok {
		return e.openIssued(ctx, signed, login)
	}
	e.writing(ctx, "open", &row)
	opening := e.reserve(row)
	row, created, err := e.Journal.Open(ctx, row)
	if err != nil {
		e.release(opening)
		return Enrolment{}, fmt.Errorf("open an enrolment for %s: %w", r.Owner, err)
	}
	switch {
	case !created:
		e.release(opening)
		opening = nil
	case row.State == Held:
		e.release(opening)
		e.log.LogAttrs(ctx, slog.LevelInfo, "request waits for an administrator", attrs("enroll.held", &row)...)
		return row, nil
	default:
		e.log.LogAttrs(ctx, slog.LevelDebug, "enrolment requested", attrs("enroll.requested", &row)...)
	}
	return e.follow(ctx, row, login, opening), nil
}

// reserve takes the row that is about to be opened for this call: once it is in the journal the sweep, or a second call for the
// same request, could find it before Open returns, and begin what this call begins as well.
func (e *Engine) reserve(row Enrolment) *track {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.track(row)
	t.working = true
	return t
}

// release gives a reserved row up. Should it be in the journal all the same, the sweep takes it.
func (e *Engine) release(t *track) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t.working = false
	t.set(t.row)
	e.drop(t)
}

// Wait is Enroll for a row that exists: it makes sure that the row is worked on when it is due, waits in the same way and returns the row.
func (e *Engine) Wait(ctx context.Context, id string) (Enrolment, error) {
	e.init()
	row, err := e.Get(ctx, id)
	if err != nil {
		return Enrolment{}, err
	}
	return e.follow(ctx, row, nil, nil), nil
}

func (e *Engine) check(r *Request) error {
	if _, ok := e.Authorities[r.Authority]; !ok {
		return &Error{
			ErrCode: "enroll.unknown-authority", Detail: fmt.Sprintf("no issuing authority %q is configured", r.Authority),
			Fix: "configure it, or let the request name one that is",
		}
	}
	if r.Owner == "" || len(r.PublicKey) == 0 {
		return &Error{ErrCode: "enroll.bad-request", Detail: "an enrolment needs an owner and a public key", Fix: "this is a defect of the program: report it"}
	}
	if e.isClosed() {
		return &Error{ErrCode: "enroll.closed", Detail: "the enrolment engine is shutting down", Fix: "ask again when the service runs"}
	}
	return nil
}

func (e *Engine) isClosed() bool {
	select {
	case <-e.closed:
		return true
	default:
		return false
	}
}

func (e *Engine) newID() (string, error) {
	var b [16]byte
	if err := e.random(b[:]); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// follow starts work on row when it is due and waits as Enroll says. opened is the reserved track of a row that this call has
// inserted, nil for any other.
func (e *Engine) follow(ctx context.Context, row Enrolment, login *ca.Login, opened *track) Enrolment {
	if !row.State.Open() {
		return row
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if opened != nil {
		opened.working = false
	}
	t := e.track(row)
	t.waiters++
	if !t.working && !e.closing && e.wanted(&t.row, login) {
		e.start(ctx, t, commission{login: login, fresh: opened != nil})
	}
	for waiting := true; waiting && !t.settled(e.closing); {
		changed := t.changed
		e.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			waiting = false
		}
		e.mu.Lock()
	}
	t.waiters--
	if t.waiters == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
	e.drop(t)
	return t.row
}

// settled tells whether there is nothing to wait for. Engine.mu is held.
func (t *track) settled(closing bool) bool {
	switch {
	case !t.row.State.Open():
		return true
	case t.working:
		return false
	default:
		return t.row.State == Pending || closing
	}
}

// wanted tells whether a call for row is reason enough to work on it now. login are the credentials that the call brings.
func (e *Engine) wanted(row *Enrolment, login *ca.Login) bool {
	if row.NextAttempt.IsZero() {
		return false
	}
	if login != nil && row.Failure != nil && row.Failure.Code == ca.CodeLoginNeeded {
		return true // what the row has been waiting for
	}
	now := e.now()
	if !row.NextAttempt.After(now) {
		return true
	}
	return row.State != Pending && row.RetryAfter == 0 && !now.Before(row.Updated.Add(orDefault(e.Backoff.Min, time.Second)))
}

// track returns the track of row, with row in it unless it knows a newer version. Engine.mu is held.
func (e *Engine) track(row Enrolment) *track {
	t := e.tracks[row.ID]
	if t == nil {
		t = &track{row: row, changed: make(chan struct{})}
		e.tracks[row.ID] = t
	} else if row.Version > t.row.Version {
		t.set(row)
	}
	return t
}

// set changes the row and wakes who waits for it. Engine.mu is held.
func (t *track) set(row Enrolment) {
	row.Login = nil
	t.row = row
	close(t.changed)
	t.changed = make(chan struct{})
}

// drop forgets a track that nobody needs. Engine.mu is held.
func (e *Engine) drop(t *track) {
	if t.waiters == 0 && !t.working {
		delete(e.tracks, t.row.ID)
	}
}

// publish tells waiters about a row that was written.
func (e *Engine) publish(row Enrolment) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.tracks[row.ID]; t != nil && row.Version >= t.row.Version {
		t.set(row)
	}
}

// Get returns a row; [ErrNotFound] when there is none.
func (e *Engine) Get(ctx context.Context, id string) (Enrolment, error) {
	row, err := e.Journal.Get(ctx, id)
	if err != nil {
		return Enrolment{}, fmt.Errorf("read enrolment %s: %w", id, err)
	}
	return row, nil
}

// ByOwner returns the owner's rows, newest first.
func (e *Engine) ByOwner(ctx context.Context, owner string) ([]Enrolment, error) {
	rows, err := e.Journal.ByOwner(ctx, owner)
	if err != nil {
		return nil, fmt.Errorf("read the enrolments of %s: %w", owner, err)
	}
	return rows, nil
}

// Last returns the newest row of the request, in any state, so that a denial can be remembered; [ErrNotFound] when there is none.
// subject and publicKey are DER.
func (e *Engine) Last(ctx context.Context, authority, owner, label string, subject, publicKey []byte) (Enrolment, error) {
	row, err := e.Journal.Last(ctx, Request{Authority: authority, Owner: owner, Label: label, Subject: subject, PublicKey: publicKey})
	if err != nil {
		return Enrolment{}, fmt.Errorf("read the last enrolment of %s: %w", owner, err)
	}
	return row, nil
}

// Confirm notes that the owner has stored the certificate of an issued row. Confirming again is harmless; any other state is [ErrState].
func (e *Engine) Confirm(ctx context.Context, id string) (Enrolment, error) {
	row, changed, err := e.change(ctx, id, "confirm", func(row *Enrolment) error {
		switch row.State {
		case Issued:
			row.State = Confirmed
			return nil
		case Confirmed:
			return errUnchanged
		default:
			return ErrState
		}
	})
	if changed {
		e.log.LogAttrs(ctx, slog.LevelInfo, "certificate confirmed by its owner", attrs("enroll.confirmed", &row)...)
	}
	return row, err
}

// Supersede makes a live row stale: another key or another certificate took its place, or the owner refused the certificate.
// When the authority is being asked meanwhile, the certificate that it still issues is kept in the stale row. A row that is denied, failed or
// stale already stays as it is; a confirmed one is [ErrState].
func (e *Engine) Supersede(ctx context.Context, id string) (Enrolment, error) {
	row, changed, err := e.change(ctx, id, "stale", func(row *Enrolment) error {
		switch {
		case row.State.Live():
			row.State, row.NextAttempt = Stale, time.Time{}
			return nil
		case row.State == Confirmed:
			return ErrState
		default:
			return errUnchanged
		}
	})
	if changed {
		e.log.LogAttrs(ctx, slog.LevelInfo, "enrolment superseded", attrs("enroll.stale", &row)...)
	}
	return row, err
}

// Cancel gives a row up that is held, requested, submitted or pending: it becomes failed with the failure why, whose empty Code means
// enroll.cancelled. A row that is denied, failed or stale already stays as it is; an issued or confirmed one is [ErrState].
func (e *Engine) Cancel(ctx context.Context, id string, why Failure) (Enrolment, error) {
	if why.Code == "" {
		why.Code = "enroll.cancelled"
	}
	if why.Detail == "" {
		why.Detail = "the request was cancelled"
	}
	row, changed, err := e.change(ctx, id, "fail", func(row *Enrolment) error {
		switch {
		case row.State.unsettled():
			row.State, row.NextAttempt, row.Failure = Failed, time.Time{}, &why
			return nil
		case row.State == Issued, row.State == Confirmed:
			return ErrState
		default:
			return errUnchanged
		}
	})
	if changed {
		e.log.LogAttrs(ctx, slog.LevelWarn, "enrolment cancelled", attrs("enroll.failed", &row)...)
	}
	return row, err
}

// errUnchanged tells change that the row is as wanted already.
var errUnchanged = errors.New("unchanged")

// change reads, edits and writes a row, again when somebody else wrote it meanwhile.
func (e *Engine) change(ctx context.Context, id, write string, edit func(*Enrolment) error) (row Enrolment, changed bool, err error) {
	e.init()
	for {
		row, err := e.Get(ctx, id)
		if err != nil {
			return Enrolment{}, false, err
		}
		switch err := edit(&row); {
		case errors.Is(err, errUnchanged):
			return row, false, nil
		case err != nil && !errors.Is(err, ErrState):
			return row, false, err
		case err != nil:
			return row, false, fmt.Errorf("enrolment %s is %s: %w", id, row.State, err)
		}
		row.Updated = e.now()
		e.writing(ctx, write, &row)
		next, err := e.Journal.Update(ctx, row)
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return row, false, fmt.Errorf("write enrolment %s: %w", id, err)
		}
		e.publish(next)
		return next, true, nil
	}
}
