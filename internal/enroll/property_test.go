package enroll_test

import (
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

// TestExactlyOnce runs random histories of callers, an authority that fails in every way, and crashes at every write, and holds the engine to its
// promise: one certificate for each request, on record, and every row ends.
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
	call := func(spki []byte, patience time.Duration) {
		engine, life := w.life.engine, w.life
		w.wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			row, err := engine.Enroll(ctx, request(spki))
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
		switch rapid.IntRange(0, 9).Draw(t, "step") {
		case 0, 1, 2, 3:
			call(rapid.SampledFrom(keys).Draw(t, "key"), rapid.SampledFrom([]time.Duration{time.Millisecond, 6 * time.Second}).Draw(t, "patience"))
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
			if row, ok := pick(enroll.Requested, enroll.Submitted, enroll.Pending, enroll.Issued); ok {
				_, _ = w.life.engine.Supersede(context.Background(), row.ID)
			}
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
	time.Sleep(10 * time.Minute)
	c.approve()
	time.Sleep(10 * time.Minute)
	for _, spki := range keys {
		call(spki, 6*time.Second)
	}
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
	for _, s := range c.issued {
		if s.state == ca.Issued && !recorded[string(s.cert)] {
			t.Errorf("request %d: the authority issued a certificate that no row has: lost, or issued twice", s.id)
		}
	}
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
