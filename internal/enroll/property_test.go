package enroll_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"callsign/internal/ca"
	"callsign/internal/enroll"
	"callsign/internal/enroll/enrolltest"
)

var errDead = errors.New("this process is dead")

// A life is one process: an engine whose journal and authority answer nothing any more once it has crashed. What the journal did before
// the crash stays, as on a disk.
type life struct {
	journal *enrolltest.Memory
	engine  *enroll.Engine
	stop    context.CancelFunc
	ended   chan struct{}

	mu    sync.Mutex
	dead  bool
	calls int // journal writes until the crash; negative: none planned
	after bool
}

func (l *life) alive() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return errDead
	}
	return nil
}

// write runs a durable write, and the planned crash just before or just after it.
func (l *life) write(do func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return errDead
	}
	if l.calls > 0 {
		if l.calls--; l.calls == 0 {
			l.dead = true
			if l.after {
				_ = do()
			}
			return errDead
		}
	}
	return do()
}

func (l *life) Open(ctx context.Context, e enroll.Enrolment) (row enroll.Enrolment, created bool, err error) {
	err = l.write(func() error {
		row, created, err = l.journal.Open(ctx, e)
		return err
	})
	return row, created, err
}

func (l *life) Update(ctx context.Context, e enroll.Enrolment) (row enroll.Enrolment, err error) {
	err = l.write(func() error {
		row, err = l.journal.Update(ctx, e)
		return err
	})
	return row, err
}

func (l *life) Get(ctx context.Context, id string) (enroll.Enrolment, error) {
	if err := l.alive(); err != nil {
		return enroll.Enrolment{}, err
	}
	return l.journal.Get(ctx, id)
}

func (l *life) Last(ctx context.Context, r enroll.Request) (enroll.Enrolment, error) {
	if err := l.alive(); err != nil {
		return enroll.Enrolment{}, err
	}
	return l.journal.Last(ctx, r)
}

func (l *life) ByOwner(ctx context.Context, owner string) ([]enroll.Enrolment, error) {
	if err := l.alive(); err != nil {
		return nil, err
	}
	return l.journal.ByOwner(ctx, owner)
}

func (l *life) Due(ctx context.Context, now time.Time, limit int) ([]enroll.Enrolment, error) {
	if err := l.alive(); err != nil {
		return nil, err
	}
	return l.journal.Due(ctx, now, limit)
}

func (l *life) HighestRequestID(ctx context.Context, authority string) (int64, error) {
	if err := l.alive(); err != nil {
		return 0, err
	}
	return l.journal.HighestRequestID(ctx, authority)
}

func (l *life) Find(ctx context.Context, f enroll.Filter) ([]enroll.Enrolment, int, error) {
	if err := l.alive(); err != nil {
		return nil, 0, err
	}
	return l.journal.Find(ctx, f)
}

// A world is an authority and a journal with processes that come and go.
type world struct {
	journal *enrolltest.Memory
	center  *center
	life    *life
	settle  func(*enroll.Engine)
	wg      sync.WaitGroup // callers
}

func (w *world) boot() {
	l := &life{journal: w.journal, ended: make(chan struct{})}
	// Each process has a client of its own to the one authority.
	l.engine = &enroll.Engine{Journal: l, Authorities: map[string]ca.Authority{"fake": &client{center: w.center, alive: l.alive}}, AttemptTimeout: 10 * time.Second, PendingPoll: time.Minute, Workers: 3}
	w.settle(l.engine)
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	go func() {
		defer close(l.ended)
		_ = l.engine.Run(ctx)
	}()
	w.life = l
}

// crash makes everything that the process still does fail, and starts another one.
func (w *world) crash() {
	w.kill()
	w.boot()
}

func (w *world) kill() {
	w.life.mu.Lock()
	w.life.dead = true
	w.life.mu.Unlock()
	w.life.stop()
	<-w.life.ended
}

// A client is one process's way to the authority.
type client struct {
	*center
	alive func() error
}

func (c *client) Issue(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
	return c.issue(ctx, r, l, c.alive)
}

// An office decides on held requests from another process, and knows what the authority may be asked.
type office struct {
	world *world
	hold  bool // requests are held

	mu       sync.Mutex
	approved map[string]enroll.Request // by the note of the approval: what was approved
	breach   string                    // what went wrong where nobody can be told
}

func newOffice(w *world, hold bool) *office {
	o := &office{world: w, hold: hold, approved: map[string]enroll.Request{}}
	w.center.took = o.took
	return o
}

// request is one of several with the same key: they are the same request, and not the same thing to approve.
func (o *office) request(spki []byte, csr byte) enroll.Request {
	r := request(spki)
	r.Hold, r.CSR = o.hold, []byte{0x30, csr}
	return r
}

// took looks at a request that has come to the authority.
func (o *office) took(r ca.Request) {
	row, err := o.world.journal.Get(context.Background(), r.ID)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.hold && (err != nil || !o.covers(&row)) {
		o.breach = fmt.Sprintf("the authority was asked for row %s, which is %s with decision %+v (%v)", r.ID, row.State, row.Decision, err)
	}
}

// covers tells whether what a row asks for was approved. office.mu is held.
func (o *office) covers(row *enroll.Enrolment) bool {
	if row.Decision == nil || !row.Decision.Approved {
		return false
	}
	r, ok := o.approved[row.Decision.Note]
	return ok && bytes.Equal(r.PublicKey, row.PublicKey) && bytes.Equal(r.CSR, row.CSR)
}

// decide says a word about a row that is held, or was denied.
func (o *office) decide(t *rapid.T, row enroll.Enrolment, approve bool) {
	engine := &enroll.Engine{Journal: o.world.journal} // another process, which does not crash
	o.mu.Lock()
	defer o.mu.Unlock()
	word := enroll.Decision{By: "root", Note: fmt.Sprint(len(o.approved))}
	var err error
	if approve {
		o.approved[word.Note] = row.Request
		_, err = engine.Approve(context.Background(), row.ID, word)
	} else {
		_, err = engine.Deny(context.Background(), row.ID, word)
	}
	if err != nil {
		t.Fatalf("decide on row %s, which is %s: %v", row.ID, row.State, err)
	}
}

// undecided are the rows that wait for a word; with denied also those on which it may be taken back. Of a request whose newest row is
// another one nothing is to be taken back.
func (o *office) undecided(denied bool) (rows []enroll.Enrolment) {
	newest := map[[32]byte]enroll.Enrolment{}
	for _, r := range o.world.journal.All() {
		newest[r.Key()] = r
	}
	for _, r := range o.world.journal.All() {
		if r.State == enroll.Held || denied && r.Rejected() && newest[r.Key()].ID == r.ID {
			rows = append(rows, r)
		}
	}
	return rows
}

// step decides on one row, or on none.
func (o *office) step(t *rapid.T) {
	approve := rapid.IntRange(0, 2).Draw(t, "approve") > 0
	if rows := o.undecided(approve); len(rows) > 0 {
		o.decide(t, rapid.SampledFrom(rows).Draw(t, "held row"), approve)
	}
}

func (o *office) approveAll(t *rapid.T) {
	for _, r := range o.undecided(false) {
		o.decide(t, r, true)
	}
}

// audit looks back when all is over: nothing without an approval, nothing after a denial, and no more than was approved.
func (o *office) audit(t *rapid.T, issued [][]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.breach != "" {
		t.Error(o.breach)
	}
	if !o.hold {
		return
	}
	certificates := map[string]int{}
	for _, spki := range issued {
		certificates[string(spki)]++
	}
	approvals := map[string]int{}
	for _, r := range o.approved {
		approvals[string(r.PublicKey)]++
	}
	for spki, n := range certificates {
		if n > approvals[spki] {
			t.Errorf("%d certificates for a key that was approved %d times", n, approvals[spki])
		}
	}
	for _, r := range o.world.journal.All() {
		if r.State == enroll.Held {
			t.Errorf("row %s is still held", r.ID)
		}
		if len(r.Certificate) > 0 && !o.covers(&r) {
			t.Errorf("row %s has a certificate and decision %+v", r.ID, r.Decision)
		}
	}
}

// TestExactlyOnce runs random histories of callers, an authority that fails in every way, crashes at every write, and administrators who have to
// approve, and holds the engine to its promise: one certificate for each request, on record, none that nobody approved, and every row ends.
func TestExactlyOnce(t *testing.T) {
	t.Parallel()
	keys := [][]byte{newKey(t), newKey(t), newKey(t)}
	far := newCenter(t, "fake")
	rapid.Check(t, func(rt *rapid.T) {
		// A bubble for each history, not around all: rapid limits the time of a test, and here years pass. What rapid throws
		// must be caught in the goroutine of the bubble and go on outside.
		var thrown any
		synctest.Test(t, func(*testing.T) {
			defer func() { thrown = recover() }()
			history(rt, far, keys)
		})
		if thrown != nil {
			panic(thrown)
		}
	})
}

func history(t *rapid.T, far *center, keys [][]byte) {
	script := rapid.SliceOfN(rapid.IntRange(0, int(behaviours)-1), 1, 12).Draw(t, "authority")
	attempts := rapid.SampledFrom([]int{0, 2}).Draw(t, "max attempts")
	rate := rapid.SampledFrom([]enroll.Rate{{}, {Count: 1, Per: 3 * time.Second}}).Draw(t, "rate")
	var mu sync.Mutex
	next, kind := 0, true // after the script it issues
	c := &center{name: far.name, key: far.key, cert: far.cert, behave: func() behaviour {
		mu.Lock()
		defer mu.Unlock()
		if !kind || next >= len(script) {
			return issues
		}
		next++
		return behaviour(script[next-1])
	}}
	w := &world{journal: &enrolltest.Memory{}, center: c, settle: func(e *enroll.Engine) {
		e.MaxAttempts = attempts
		e.Rates = map[string]enroll.Rate{"fake": rate}
	}}
	o := newOffice(w, rapid.Bool().Draw(t, "hold"))
	w.boot()
	defer func() {
		w.kill()
		w.wg.Wait()
	}()

	pick := func(states ...enroll.State) (enroll.Enrolment, bool) {
		var fit []enroll.Enrolment
		for _, r := range w.journal.All() {
			for _, s := range states {
				if r.State == s {
					fit = append(fit, r)
				}
			}
		}
		if len(fit) == 0 {
			return enroll.Enrolment{}, false
		}
		return rapid.SampledFrom(fit).Draw(t, "row"), true
	}
	call := func(spki []byte, csr int, patience time.Duration) {
		engine, life := w.life.engine, w.life
		w.wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			row, err := engine.Enroll(ctx, o.request(spki, byte(csr)))
			if err != nil || row.State != enroll.Issued {
				return
			}
			// What a caller is given is on disk, whatever happened since.
			kept, err := life.journal.Get(context.Background(), row.ID)
			if err != nil || string(kept.Certificate) != string(row.Certificate) {
				panic(fmt.Sprintf("a certificate was handed out that the journal does not have: %v", err))
			}
		})
	}
	steps := rapid.IntRange(1, 25).Draw(t, "steps")
	for range steps {
		switch rapid.IntRange(0, 12).Draw(t, "step") {
		case 0, 1, 2, 3:
			call(rapid.SampledFrom(keys).Draw(t, "key"), rapid.IntRange(0, 1).Draw(t, "csr"), rapid.SampledFrom([]time.Duration{time.Millisecond, 6 * time.Second}).Draw(t, "patience"))
			if rapid.Bool().Draw(t, "let it run") {
				synctest.Wait()
			}
		case 4:
			time.Sleep(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 20 * time.Second, 10 * time.Minute}).Draw(t, "time"))
		case 5:
			w.life.mu.Lock()
			w.life.calls, w.life.after = rapid.IntRange(1, 4).Draw(t, "crash at write"), rapid.Bool().Draw(t, "after it")
			w.life.mu.Unlock()
		case 6:
			w.crash()
		case 7:
			c.approve()
		case 8:
			if row, ok := pick(enroll.Issued); ok {
				_, _ = w.life.engine.Confirm(context.Background(), row.ID)
			}
		case 9:
			if row, ok := pick(enroll.Held, enroll.Requested, enroll.Submitted, enroll.Pending, enroll.Issued); ok {
				_, _ = w.life.engine.Supersede(context.Background(), row.ID)
			}
		case 10, 11, 12:
			o.step(t)
		}
		if w.life.alive() != nil {
			w.crash()
		}
		oneLiveRow(t, w.journal)
	}

	// From here on everybody behaves, and every client comes back once more.
	mu.Lock()
	kind = false
	mu.Unlock()
	w.crash()
	o.approveAll(t)
	time.Sleep(10 * time.Minute)
	c.approve()
	time.Sleep(10 * time.Minute)
	for _, spki := range keys {
		call(spki, 0, 6*time.Second)
	}
	synctest.Wait()
	o.approveAll(t)
	time.Sleep(10 * time.Minute)
	c.approve()
	time.Sleep(10 * time.Minute)
	w.wg.Wait()
	w.kill()
	synctest.Wait()

	oneLiveRow(t, w.journal)
	recorded := make(map[string]bool)
	for _, r := range w.journal.All() {
		if r.State.Open() {
			t.Errorf("row %s did not end: %s, failure %+v", r.ID, r.State, r.Failure)
		}
		if r.State == enroll.Issued && len(r.Certificate) == 0 {
			t.Errorf("row %s is issued without a certificate", r.ID)
		}
		recorded[string(r.Certificate)] = true
	}
	var issued [][]byte
	for _, s := range c.issued {
		if s.state == ca.Issued {
			issued = append(issued, s.spki)
		}
		if s.state == ca.Issued && !recorded[string(s.cert)] {
			t.Errorf("request %d: the authority issued a certificate that no row has: lost, or issued twice", s.id)
		}
	}
	o.audit(t, issued)
}

func oneLiveRow(t *rapid.T, j *enrolltest.Memory) {
	live := make(map[[32]byte]string)
	for _, r := range j.All() {
		if !r.State.Live() {
			continue
		}
		if other, ok := live[r.Key()]; ok {
			t.Fatalf("rows %s and %s of one request are live", other, r.ID)
		}
		live[r.Key()] = r.ID
	}
}
