package enroll

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"sync"
	"time"

	"callsign/internal/ca"
)

// What a worker is started with.
type commission struct {
	login  *ca.Login
	fresh  bool // the caller has just inserted the row and had reserved it before: there is nothing newer to read
	placed bool // a place in the authority's pool was taken already
	turn   bool // the turn of the authority's pace was taken already
}

// start gives t's row a worker. Engine.mu is held, t has none, and the engine is not closing.
func (e *Engine) start(ctx context.Context, t *track, c commission) {
	// The exchange with the authority outlives the caller (spec: a client that breaks off does not cancel it).
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t.working, t.cancel = true, cancel
	t.idle = make(chan struct{})
	row := t.row
	row.Login = c.login
	e.workers.Go(func() {
		defer cancel()
		e.work(ctx, t, row, c)
	})
}

// work is the life of a worker: wait for the rate and for a free place, make one attempt, tell the result.
func (e *Engine) work(ctx context.Context, t *track, row Enrolment, c commission) {
	pace := e.paced(&row)
	yield := func() {} // gives the turn to another worker
	if pace != nil {
		if !c.turn && !e.acquire(pace.turn, t) {
			return
		}
		yield = sync.OnceFunc(func() {
			<-pace.turn
			e.next(ctx, row.Authority)
		})
		defer yield()
		if !e.await(ctx, pace, &row) {
			e.leave(t, row)
			return
		}
	}
	slots := e.slots[row.Authority] // nil for an authority that is not configured: never free
	if slots != nil {
		if !c.placed && !e.acquire(slots, t) {
			return // the row is due and the sweep or the next call will take it
		}
		defer func() {
			<-slots
			e.next(ctx, row.Authority)
		}()
	}
	// Whoever waits here for another attempt does it without the turn: the whole authority would wait with it.
	waited := false
	done, ok := e.ask(ctx, row.Key(), func() { waited = true; yield() })
	if !ok {
		e.leave(t, row)
		return
	}
	defer done()
	if waited && pace != nil { // the turn is somebody else's by now, and the row is still due
		e.leave(t, row)
		return
	}
	due := true
	if !c.fresh {
		// What the caller read may be older than what another worker wrote just before.
		if now, err := e.Journal.Get(ctx, row.ID); err == nil {
			now.Login = row.Login
			row, due = now, e.wanted(&now, row.Login)
		} else {
			e.log.LogAttrs(ctx, slog.LevelError, "enrolment cannot be read", attrs("enroll.journal", &row, slog.Any("err", err))...)
			e.leave(t, row)
			return
		}
	}
	if due && row.State.Open() {
		switch now := e.paced(&row); {
		case now == nil:
		case pace == nil: // it was pending when this worker began: it has no turn
			e.leave(t, row)
			return
		default:
			now.take(e.clock())
		}
		yield()
		row = e.attempt(ctx, row)
	}
	e.leave(t, row)
}

// acquire waits for a place in the pool. It gives up, and t has no worker any more, when nobody waits for the row any longer or the engine is
// closing: so the number of goroutines is bounded by the number of callers, and everything else waits in the journal.
func (e *Engine) acquire(slots chan struct{}, t *track) bool {
	begun := func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		t.idle = nil
		return true
	}
	select {
	case slots <- struct{}{}:
		return begun()
	default:
	}
	for {
		e.mu.Lock()
		idle := t.idle
		if idle == nil && t.waiters > 0 { // somebody came back
			idle = make(chan struct{})
			t.idle = idle
		}
		if idle == nil || e.closing {
			t.working, t.idle = false, nil
			t.set(t.row)
			e.drop(t)
			e.mu.Unlock()
			return false
		}
		e.mu.Unlock()
		select {
		case slots <- struct{}{}:
			return begun()
		case <-idle:
		case <-e.closed:
		}
	}
}

// ask waits until no attempt for the same request is under way, and makes it this worker's turn until done is called. Rows of one request can meet here
// when the older was superseded during its attempt: the newer must not look for the older one's answer before that attempt is over, nor ask beside it.
// Before it waits it calls wait.
func (e *Engine) ask(ctx context.Context, key [32]byte, wait func()) (done func(), ok bool) {
	mine := make(chan struct{})
	for {
		e.mu.Lock()
		other, busy := e.asking[key]
		if !busy {
			e.asking[key] = mine
			e.mu.Unlock()
			return func() {
				e.mu.Lock()
				defer e.mu.Unlock()
				delete(e.asking, key)
				close(mine)
			}, true
		}
		e.mu.Unlock()
		wait()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, false
		}
	}
}

// leave ends t's worker and tells who waits.
func (e *Engine) leave(t *track, row Enrolment) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t.working = false
	if row.Version < t.row.Version {
		row = t.row
	}
	t.set(row)
	e.drop(t)
}

// attempt asks the authority once and writes what came of it.
func (e *Engine) attempt(ctx context.Context, row Enrolment) Enrolment {
	l := &ledger{engine: e, row: row}
	var out ca.Outcome
	authority, ok := e.Authorities[row.Authority]
	err := error(&Error{
		ErrCode: "enroll.unknown-authority", Detail: fmt.Sprintf("no issuing authority %q is configured any more", row.Authority),
		Fix: "configure it again, or cancel the request",
	})
	if ok {
		out, err = e.issue(ctx, authority, l)
	}
	l.mu.Lock()
	defer l.mu.Unlock() // an authority that keeps the ledger for longer than its call must not write after this
	l.closed = true
	row = l.row
	switch {
	case l.lost:
		return e.reload(ctx, row)
	case !gone(row.State):
		return e.settle(ctx, row, out, err)
	case err == nil && out.Status == ca.Issued && row.accept(out) == nil:
		row.State, row.Updated = Issued, e.now()
		return e.merge(ctx, row)
	default:
		return row // nobody wants to know any more
	}
}

// issue calls the authority, with a deadline, and turns a panic into an error: one bad request must not end the service.
func (e *Engine) issue(ctx context.Context, authority ca.Authority, l *ledger) (out ca.Outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, orDefault(e.AttemptTimeout, 5*time.Minute))
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			e.log.LogAttrs(ctx, slog.LevelError, "authority code panicked", attrs("enroll.panic", &l.row, slog.Any("err", p), slog.String("stack", string(debug.Stack())))...)
			err = &internalError{cause: p}
		}
	}()
	r := &l.row.Request
	return authority.Issue(ctx, ca.Request{
		ID:         l.row.ID,
		Owner:      r.Owner,
		Label:      r.Label,
		PublicKey:  r.PublicKey,
		Subject:    r.Subject,
		Extensions: r.Extensions,
		CSR:        r.CSR,
		Proven:     r.Proven,
		Vouch:      r.Vouch,
		Login:      r.Login,
	}, l)
}

// settle writes the authority's answer into the row.
func (e *Engine) settle(ctx context.Context, row Enrolment, out ca.Outcome, err error) Enrolment {
	now := e.now()
	row.Updated = now
	if err == nil && out.RequestID != "" {
		row.Progress.RequestID = out.RequestID
	}
	if err == nil && out.Status == ca.Issued {
		err = row.accept(out)
	} else if err == nil && out.Status != ca.Pending && out.Status != ca.Denied {
		err = fmt.Errorf("authority %s gave an answer of unknown status %d", row.Authority, out.Status)
	}
	if err != nil {
		return e.fail(ctx, row, judge(err))
	}
	if out.Status != ca.Pending {
		row.conclude(out)
		next, ok := e.save(ctx, string(row.State), row)
		if ok {
			e.logConclusion(ctx, &next)
		}
		return next
	}
	row.Attempts, row.Failure = 0, nil
	row.State, row.Progress.Submitted = Pending, true
	row.RetryAfter = out.RetryAfter
	if row.RetryAfter <= 0 {
		row.RetryAfter = orDefault(e.PendingPoll, 5*time.Minute)
	}
	row.NextAttempt = now.Add(row.RetryAfter)
	next, ok := e.save(ctx, "pending", row)
	if ok {
		e.log.LogAttrs(ctx, slog.LevelInfo, "authority keeps the request pending", attrs("enroll.pending", &next)...)
	}
	return next
}

// fail writes a failed attempt: the row is tried again later, or has failed for good.
func (e *Engine) fail(ctx context.Context, row Enrolment, v verdict) Enrolment {
	select {
	case <-e.closed:
		if ctx.Err() != nil {
			// Shutdown cut the attempt off. That says nothing about the authority, and the next process is to begin at once.
			return e.reload(ctx, row)
		}
	default:
	}
	now := row.Updated
	row.Attempts++
	f := v.failure
	f.Since = now
	if row.Failure != nil && !row.Failure.Since.IsZero() {
		f.Since = row.Failure.Since
	}
	row.Failure = &f
	limit := orDefault(e.GiveUpAfter, 7*24*time.Hour)
	tooMany := e.MaxAttempts > 0 && row.Attempts >= e.MaxAttempts
	tooLong := limit > 0 && now.Sub(f.Since) >= limit
	if v.final || tooMany || tooLong {
		if !v.final {
			f.Detail = fmt.Sprintf("gave up after %d attempts in %s: %s", row.Attempts, now.Sub(f.Since).Round(time.Second), f.Detail)
		}
		row.State, row.NextAttempt, row.RetryAfter = Failed, time.Time{}, 0
		next, ok := e.save(ctx, "failed", row)
		if ok {
			e.log.LogAttrs(ctx, slog.LevelError, "enrolment failed", attrs("enroll.failed", &next)...)
		}
		return next
	}
	row.RetryAfter = v.after
	row.NextAttempt = now.Add(max(v.after, e.pause(row.Attempts)))
	next, ok := e.save(ctx, "retry", row)
	if ok {
		e.log.LogAttrs(ctx, slog.LevelWarn, "enrolment will be tried again", attrs("enroll.retry", &next)...)
	}
	return next
}

// pause is how long to wait after so many failures in a row.
func (e *Engine) pause(failures int) time.Duration {
	least, most, factor, jitter := orDefault(e.Backoff.Min, time.Second), orDefault(e.Backoff.Max, time.Minute), e.Backoff.Factor, e.Backoff.Jitter
	if factor < 1 {
		factor = 2
	}
	d := min(float64(least)*math.Pow(factor, float64(failures-1)), float64(max(least, most)))
	if jitter == 0 {
		jitter = 0.2
	}
	if jitter > 0 {
		var b [8]byte
		if e.random(b[:]) == nil { // without randomness there is no spread, which is no reason to fail
			d += d * min(jitter, 1) * float64(binary.BigEndian.Uint64(b[:])>>11) / (1 << 53)
		}
	}
	return time.Duration(d).Truncate(time.Millisecond)
}

const (
	saveTimeout = 30 * time.Second       // for one write; the journal may wait for another process's lock
	saveTries   = 5                      // for a write that fails
	savePause   = 100 * time.Millisecond // after the first failed write, then four times as long each time
)

// save writes a row with an authority's answer, which must not be lost to a passing fault of the journal. ok tells whether the row was written as wanted.
// When somebody else changed the row meanwhile, the journal's row is returned; a certificate that arrived for a row that was superseded or cancelled
// is put into it.
func (e *Engine) save(ctx context.Context, write string, row Enrolment) (_ Enrolment, ok bool) {
	pause := savePause
	for try := 1; ; try++ {
		e.writing(ctx, write, &row)
		next, err := e.update(ctx, row)
		switch {
		case err == nil:
			e.publish(next)
			return next, true
		case errors.Is(err, ErrConflict):
			return e.merge(ctx, row), false
		}
		e.log.LogAttrs(ctx, slog.LevelError, "enrolment journal cannot be written", attrs("enroll.journal", &row, slog.String("write", write), slog.Any("err", err))...)
		if errors.Is(err, ErrNotFound) || try == saveTries {
			// The row on disk is as it was before the attempt, and due: the next attempt goes on from what the ledger recorded.
			return e.reload(ctx, row), false
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-e.closed: // no time left to wait
			timer.Stop()
		}
		pause *= 4
	}
}

// update is Journal.Update, not to be cut off by the end of the attempt.
func (e *Engine) update(ctx context.Context, row Enrolment) (Enrolment, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	row.Login = nil
	return e.Journal.Update(ctx, row)
}

// merge brings what an attempt learned into a row that somebody else changed during the attempt.
func (e *Engine) merge(ctx context.Context, row Enrolment) Enrolment {
	for {
		now := e.reload(ctx, row)
		if !gone(now.State) || row.State != Issued || len(now.Certificate) > 0 {
			return now
		}
		now.Progress, now.POP = row.Progress, row.POP
		now.Certificate, now.Chain = row.Certificate, row.Chain
		now.Serial, now.Issuer, now.NotAfter = row.Serial, row.Issuer, row.NotAfter
		now.Updated = row.Updated
		if now.State == Failed { // cancelled, and yet there is a certificate: it belongs on the list of stale ones
			now.State = Stale
		}
		e.writing(ctx, "stale", &now)
		next, err := e.update(ctx, now)
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			e.log.LogAttrs(ctx, slog.LevelError, "enrolment journal cannot be written", attrs("enroll.journal", &now, slog.Any("err", err))...)
			return now
		}
		e.publish(next)
		e.log.LogAttrs(ctx, slog.LevelWarn, "certificate arrived for a superseded request", attrs("enroll.stale", &next)...)
		return next
	}
}

// reload returns the journal's row, or row when it cannot be read.
func (e *Engine) reload(ctx context.Context, row Enrolment) Enrolment {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	now, err := e.Journal.Get(ctx, row.ID)
	if err != nil {
		e.log.LogAttrs(ctx, slog.LevelError, "enrolment cannot be read", attrs("enroll.journal", &row, slog.Any("err", err))...)
		e.mu.Lock()
		defer e.mu.Unlock()
		if t := e.tracks[row.ID]; t != nil {
			return t.row
		}
		return row
	}
	return now
}
