package enroll_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"callsign/internal/ca"
	"callsign/internal/enroll"
	"callsign/internal/enroll/enrolltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A bench is an engine with its sweep in a bubble of fake time.
type bench struct {
	*testing.T
	journal *enrolltest.Memory
	center  *center
	engine  *enroll.Engine
	log     *bytes.Buffer // JSON lines
	logMu   sync.Mutex
}

func (b *bench) Write(p []byte) (int, error) {
	b.logMu.Lock()
	defer b.logMu.Unlock()
	return b.log.Write(p)
}

// inBubble runs test with an engine that is running. edit changes it before.
func inBubble(t *testing.T, edit func(*bench), test func(*bench)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, journal: &enrolltest.Memory{}, center: newCenter(t, "fake"), log: new(bytes.Buffer)}
		b.engine = &enroll.Engine{
			Journal:     b.journal,
			Authorities: map[string]ca.Authority{"fake": b.center},
			Log:         slog.New(slog.NewJSONHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Backoff:     enroll.Backoff{Jitter: -1},
		}
		if edit != nil {
			edit(b)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- b.engine.Run(ctx) }()
		synctest.Wait()
		test(b)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// script makes the authority do these things one after the other, then issue.
func (b *bench) script(list ...behaviour) {
	var mu sync.Mutex
	b.center.behave = func() behaviour {
		mu.Lock()
		defer mu.Unlock()
		if len(list) == 0 {
			return issues
		}
		next := list[0]
		list = list[1:]
		return next
	}
}

func (b *bench) enroll(r enroll.Request, patience time.Duration) enroll.Enrolment {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	row, err := b.engine.Enroll(ctx, r)
	if err != nil {
		b.Fatalf("Enroll: %v", err)
	}
	return row
}

func (b *bench) want(row enroll.Enrolment, state enroll.State) {
	b.Helper()
	if row.State != state {
		b.Errorf("row is %s (failure %+v), want %s", row.State, row.Failure, state)
	}
	kept, err := b.engine.Get(b.Context(), row.ID)
	if err != nil {
		b.Fatal(err)
	}
	if diff := cmp.Diff(kept, row); diff != "" {
		b.Errorf("what was returned is not what is in the journal (-journal +returned):\n%s", diff)
	}
}

func (b *bench) text() string {
	b.logMu.Lock()
	defer b.logMu.Unlock()
	return b.log.String()
}

func (b *bench) events() []string {
	var list []string
	for line := range strings.Lines(b.text()) {
		_, after, _ := strings.Cut(line, `"event":"`)
		name, _, _ := strings.Cut(after, `"`)
		if name == "enroll.write" {
			_, after, _ = strings.Cut(line, `"write":"`)
			name, _, _ = strings.Cut(after, `"`)
			name = "[" + name + "]"
		}
		list = append(list, name)
	}
	return list
}

func TestIssue(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		r := request(newKey(t))
		r.Login = &ca.Login{User: "u", Password: []byte("s3cret")}
		var seen *ca.Login
		b.center.took = func(r ca.Request) { seen = r.Login }
		row := b.enroll(r, time.Second)
		b.want(row, enroll.Issued)
		if row.Serial != "0a01" || row.Issuer != "CN=Fake CA" || row.POP != ca.POPSigned || row.NotAfter.Year() != 2040 || len(row.Chain) != 1 {
			b.Errorf("row is not filled: serial %q issuer %q pop %q until %v chain %d", row.Serial, row.Issuer, row.POP, row.NotAfter, len(row.Chain))
		}
		if seen == nil || string(seen.Password) != "s3cret" {
			b.Error("the authority did not get the login")
		}
		if row.Login != nil || strings.Contains(b.text(), "s3cret") {
			b.Error("the login was kept")
		}
		// The lost answer: the owner asks again and gets the same.
		again := b.enroll(request(r.PublicKey), time.Second)
		if diff := cmp.Diff(row, again); diff != "" {
			b.Errorf("second call (-first +second):\n%s", diff)
		}
		confirmed, err := b.engine.Confirm(b.Context(), row.ID)
		if err != nil {
			b.Fatal(err)
		}
		b.want(confirmed, enroll.Confirmed)
		want := []string{"[open]", "enroll.requested", "[record]", "enroll.submitted", "[record]", "enroll.recorded", "[issued]", "enroll.issued", "[open]", "[confirm]", "enroll.confirmed"}
		if diff := cmp.Diff(want, b.events()); diff != "" {
			b.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestManyCallersOneSubmission(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.script(slowToAnswer)
		r := request(newKey(t))
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if row := b.enroll(r, 10*time.Second); row.State != enroll.Issued {
					b.Errorf("row is %s", row.State)
				}
			})
		}
		wg.Wait()
		if n := b.center.count(); n != 1 {
			b.Errorf("the authority got %d submissions, want 1", n)
		}
	})
}

func TestCallerLeaves(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.script(slowToAnswer)
		r := request(newKey(t))
		began := time.Now()
		row := b.enroll(r, time.Second)
		b.want(row, enroll.Submitted)
		if d := time.Since(began); d != time.Second {
			b.Errorf("returned after %v, want at the end of the context", d)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		row, err := b.engine.Get(b.Context(), row.ID)
		if err != nil {
			b.Fatal(err)
		}
		b.want(row, enroll.Issued)
	})
}

func TestRetry(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.script(unreachable, losesAnswer)
		row := b.enroll(request(newKey(t)), time.Millisecond)
		b.want(row, enroll.Submitted)
		if row.Failure == nil || row.Failure.Code != "fake.unreachable" || row.Attempts != 1 {
			b.Errorf("failure %+v after %d attempts", row.Failure, row.Attempts)
		}
		if d := row.NextAttempt.Sub(row.Updated); d != time.Second {
			b.Errorf("next attempt after %v, want 1s", d)
		}
		row, err := b.engine.Wait(b.Context(), row.ID)
		if err != nil {
			b.Fatal(err)
		}
		b.want(row, enroll.Issued)
		if row.Failure != nil || row.Attempts != 0 {
			b.Errorf("issued with failure %+v and %d attempts", row.Failure, row.Attempts)
		}
		if b.center.count() != 1 {
			b.Errorf("%d submissions arrived, want 1: the lost answer was not looked for", b.center.count())
		}
	})
}

func TestBackoff(t *testing.T) {
	inBubble(t, func(b *bench) { b.engine.MaxAttempts = 9 }, func(b *bench) {
		b.center.behave = func() behaviour { return unreachable }
		var times []time.Time
		b.center.took = func(ca.Request) { times = append(times, time.Now()) }
		row, err := b.engine.Enroll(b.Context(), request(newKey(t)))
		if err != nil {
			b.Fatal(err)
		}
		b.want(row, enroll.Failed)
		if !strings.Contains(row.Failure.Detail, "gave up after 9 attempts") || row.Failure.Code != "enroll.authority-error" {
			b.Errorf("failure %+v", row.Failure)
		}
		var pauses []string
		for i := 1; i < len(times); i++ {
			pauses = append(pauses, times[i].Sub(times[i-1]).String())
		}
		if diff := cmp.Diff([]string{"1s", "2s", "4s", "8s", "16s", "32s", "1m0s", "1m0s"}, pauses); diff != "" {
			b.Errorf("pauses (-want +got):\n%s", diff)
		}
	})
}

func TestGiveUpByTime(t *testing.T) {
	inBubble(t, func(b *bench) { b.engine.GiveUpAfter = time.Hour }, func(b *bench) {
		b.center.behave = func() behaviour { return unreachable }
		row, err := b.engine.Enroll(b.Context(), request(newKey(t)))
		if err != nil {
			b.Fatal(err)
		}
		b.want(row, enroll.Failed)
		if d := row.Updated.Sub(row.Created); d < time.Hour || d > time.Hour+time.Minute {
			b.Errorf("gave up after %v", d)
		}
	})
}

func TestPending(t *testing.T) {
	inBubble(t, func(b *bench) { b.engine.PendingPoll = time.Hour }, func(b *bench) {
		b.script(pends)
		began := time.Now()
		row := b.enroll(request(newKey(t)), time.Minute)
		b.want(row, enroll.Pending)
		if time.Since(began) != 0 || row.RetryAfter != time.Hour || row.Progress.RequestID != "1" {
			b.Errorf("returned after %v with retry after %v, request %q", time.Since(began), row.RetryAfter, row.Progress.RequestID)
		}
		// Asking again does not make the engine ask before its time.
		trips := b.center.asked()
		b.want(b.enroll(request(row.PublicKey), time.Minute), enroll.Pending)
		if b.center.asked() != trips {
			b.Error("the authority was asked before its time")
		}
		time.Sleep(90 * time.Minute)
		b.center.approve()
		time.Sleep(31 * time.Minute)
		row = b.enroll(request(row.PublicKey), time.Minute)
		b.want(row, enroll.Issued)
		if b.center.count() != 1 {
			b.Errorf("%d submissions, want 1", b.center.count())
		}
	})
}

func TestDenied(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.script(denies)
		r := request(newKey(t))
		row := b.enroll(r, time.Second)
		b.want(row, enroll.Denied)
		if diff := cmp.Diff(&enroll.Failure{Code: "fake.denied", Detail: "denied by policy module", Remedy: "ask", HResult: 0x80094012}, row.Failure); diff != "" {
			b.Errorf("failure (-want +got):\n%s", diff)
		}
		last, err := b.engine.Last(b.Context(), r.Authority, r.Owner, r.Label, r.Subject, r.PublicKey)
		if err != nil || last.ID != row.ID {
			b.Errorf("Last: %s, %v", last.ID, err)
		}
		var coded interface{ Remedy() string }
		if !errors.As(row.Failure.Err(), &coded) || coded.Remedy() != "ask" {
			b.Errorf("Err: %v", row.Failure.Err())
		}
		b.want(b.enroll(r, time.Second), enroll.Issued) // a new request, after the administrator's correction
	})
}

func TestFinalFault(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.script(finalFault)
		row := b.enroll(request(newKey(t)), time.Minute)
		b.want(row, enroll.Failed)
		if row.Failure.Code != "fake.account-locked" || row.Attempts != 1 {
			b.Errorf("failure %+v after %d attempts", row.Failure, row.Attempts)
		}
	})
}

// answer is an authority that gives one answer.
type answer struct {
	*center
	issue func(context.Context, ca.Request, ca.Ledger) (ca.Outcome, error)
}

func (a answer) Issue(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
	return a.issue(ctx, r, l)
}

func TestAnswersThatAreRefused(t *testing.T) {
	t.Parallel()
	wrong := newCenter(t, "x").sign(newKey(t), 7)
	for name, c := range map[string]struct {
		out   ca.Outcome
		err   error
		panic bool
		state enroll.State
		code  string
	}{
		"another key":       {out: ca.Outcome{Status: ca.Issued, Certificate: wrong}, state: enroll.Failed, code: "enroll.wrong-key"},
		"no certificate":    {out: ca.Outcome{Status: ca.Issued, Certificate: []byte("x")}, state: enroll.Failed, code: "enroll.bad-certificate"},
		"nothing":           {out: ca.Outcome{Status: ca.Issued}, state: enroll.Requested, code: "enroll.authority-error"},
		"no status":         {out: ca.Outcome{}, state: enroll.Requested, code: "enroll.authority-error"},
		"plain error":       {err: errBroken, state: enroll.Requested, code: "enroll.authority-error"},
		"panic":             {panic: true, state: enroll.Requested, code: "enroll.internal"},
		"denied, no reason": {out: ca.Outcome{Status: ca.Denied}, state: enroll.Denied, code: "enroll.denied"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				b.engine.Authorities["fake"] = answer{center: b.center, issue: func(context.Context, ca.Request, ca.Ledger) (ca.Outcome, error) {
					if c.panic {
						panic("boom")
					}
					return c.out, c.err
				}}
			}, func(b *bench) {
				row := b.enroll(request(newKey(t)), time.Millisecond)
				b.want(row, c.state)
				if row.Failure == nil || row.Failure.Code != c.code {
					b.Errorf("failure %+v, want code %s", row.Failure, c.code)
				}
			})
		})
	}
}

func TestTimeoutAndAfter(t *testing.T) {
	inBubble(t, func(b *bench) { b.engine.AttemptTimeout = 5 * time.Second }, func(b *bench) {
		b.script(hangs)
		row := b.enroll(request(newKey(t)), 5500*time.Millisecond)
		b.want(row, enroll.Submitted)
		if row.Failure == nil || !row.Failure.Timeout {
			b.Errorf("failure %+v, want a timeout", row.Failure)
		}
	})
}

func TestAuthorityAsksForAPause(t *testing.T) {
	var calls atomic.Int32
	inBubble(t, func(b *bench) {
		b.engine.Authorities["fake"] = answer{center: b.center, issue: func(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
			if calls.Add(1) == 1 {
				return ca.Outcome{}, &ca.Error{ErrCode: "fake.busy", Detail: "busy", After: time.Hour}
			}
			return b.center.Issue(ctx, r, l)
		}}
	}, func(b *bench) {
		row := b.enroll(request(newKey(t)), time.Minute)
		b.want(row, enroll.Requested)
		if d := row.NextAttempt.Sub(row.Created); d != time.Hour {
			b.Errorf("next attempt after %v, want 1h", d)
		}
		b.enroll(request(row.PublicKey), time.Minute) // does not hurry it
		if n := calls.Load(); n != 1 {
			b.Errorf("the authority was asked %d times", n)
		}
		time.Sleep(time.Hour)
		b.want(b.enroll(request(row.PublicKey), time.Minute), enroll.Issued)
	})
}

// A call is reason enough to try again a row that waits in back-off.
func TestCallEndsBackoff(t *testing.T) {
	inBubble(t, func(b *bench) { b.engine.Backoff.Min, b.engine.Backoff.Max = 10*time.Second, time.Hour }, func(b *bench) {
		b.script(unreachable, unreachable, unreachable, unreachable, unreachable)
		r := request(newKey(t))
		b.enroll(r, 2*time.Minute)
		began, trips := time.Now(), b.center.asked()
		row := b.enroll(r, time.Minute)
		if b.center.asked() == trips {
			b.Fatalf("nothing was tried; next attempt in %v", row.NextAttempt.Sub(began))
		}
	})
}

func TestSupersedeDuringAttempt(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.script(slowToIssue)
		r := request(newKey(t))
		old := b.enroll(r, time.Second)
		b.want(old, enroll.Submitted)
		if _, err := b.engine.Supersede(b.Context(), old.ID); err != nil {
			b.Fatal(err)
		}
		// The same request again, while the first attempt is still out: it waits for that, finds the answer, and asks for no second certificate.
		row := b.enroll(r, time.Minute)
		b.want(row, enroll.Issued)
		if row.ID == old.ID || b.center.count() != 1 {
			b.Errorf("row %s after %s, %d submissions, want a new row and 1", row.ID, old.ID, b.center.count())
		}
		old, err := b.engine.Get(b.Context(), old.ID)
		if err != nil {
			b.Fatal(err)
		}
		b.want(old, enroll.Stale)
		if len(old.Certificate) == 0 || old.Serial != row.Serial {
			b.Errorf("the stale row has serial %q, the new one %q", old.Serial, row.Serial)
		}
	})
}

func TestSupersedeBeforeSubmission(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.engine.Journal = b.journal
		gate := make(chan struct{})
		b.center.took = func(ca.Request) { <-gate }
		row := b.enroll(request(newKey(t)), time.Second)
		b.want(row, enroll.Requested)
		if _, err := b.engine.Supersede(b.Context(), row.ID); err != nil {
			b.Fatal(err)
		}
		close(gate)
		time.Sleep(time.Minute)
		row, err := b.engine.Get(b.Context(), row.ID)
		if err != nil {
			b.Fatal(err)
		}
		b.want(row, enroll.Stale)
		if b.center.count() != 0 || row.Attempts != 0 {
			b.Errorf("%d submissions and %d attempts after the row was superseded", b.center.count(), row.Attempts)
		}
	})
}

func TestCancel(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.script(pends)
		row := b.enroll(request(newKey(t)), time.Second)
		row, err := b.engine.Cancel(b.Context(), row.ID, enroll.Failure{Detail: "too late"})
		if err != nil {
			b.Fatal(err)
		}
		b.want(row, enroll.Failed)
		if row.Failure.Code != "enroll.cancelled" || row.Failure.Detail != "too late" {
			b.Errorf("failure %+v", row.Failure)
		}
		if _, err := b.engine.Confirm(b.Context(), row.ID); !errors.Is(err, enroll.ErrState) {
			b.Errorf("Confirm of a cancelled row: %v, want ErrState", err)
		}
		issued := b.enroll(request(newKey(t)), time.Second)
		if _, err := b.engine.Cancel(b.Context(), issued.ID, enroll.Failure{}); !errors.Is(err, enroll.ErrState) {
			b.Errorf("Cancel of an issued row: %v, want ErrState", err)
		}
		if _, err := b.engine.Confirm(b.Context(), "nothing"); !errors.Is(err, enroll.ErrNotFound) {
			b.Errorf("Confirm of no row: %v, want ErrNotFound", err)
		}
	})
}

// A certificate is handed out only when it is on disk, and a passing fault of the disk does not lose it.
func TestJournalFault(t *testing.T) {
	var broken atomic.Pointer[func(method string) error]
	inBubble(t, func(b *bench) {
		b.journal.Fault = func(m string) error {
			if f := broken.Load(); f != nil {
				return (*f)(m)
			}
			return nil
		}
		b.engine.Authorities["fake"] = answer{center: b.center, issue: func(_ context.Context, r ca.Request, _ ca.Ledger) (ca.Outcome, error) {
			until := time.Now().Add(2 * time.Second)
			fault := func(m string) error {
				if m == "Update" && time.Now().Before(until) {
					return errors.New("disk full")
				}
				return nil
			}
			broken.Store(&fault)
			return ca.Outcome{Status: ca.Issued, Certificate: b.center.sign(r.PublicKey, 5)}, nil
		}}
	}, func(b *bench) {
		began := time.Now()
		b.want(b.enroll(request(newKey(t)), time.Second), enroll.Requested)
		b.want(b.enroll(request(newKey(t)), time.Minute), enroll.Issued)
		if d := time.Since(began); d < 2*time.Second {
			b.Errorf("a certificate was handed out after %v", d)
		}
		full := func(string) error { return errors.New("disk full") }
		broken.Store(&full)
		if _, err := b.engine.Enroll(b.Context(), request(newKey(t))); err == nil || !strings.Contains(err.Error(), "disk full") {
			b.Errorf("Enroll with a broken journal: %v", err)
		}
		broken.Store(nil)
	})
}

// A silent authority takes its own workers only, and rows that find none wait in the journal.
func TestPoolPerAuthority(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.engine.Workers = 2
		b.engine.AttemptTimeout = time.Minute
		silent := newCenter(t, "silent")
		silent.behave = func() behaviour { return hangs }
		b.engine.Authorities["silent"] = silent
	}, func(b *bench) {
		var wg sync.WaitGroup
		for range 10 {
			r := request(newKey(t))
			r.Authority = "silent"
			wg.Go(func() { b.enroll(r, time.Second) })
		}
		wg.Wait()
		b.want(b.enroll(request(newKey(t)), time.Second), enroll.Issued)
		states := make(map[enroll.State]int)
		for _, r := range b.journal.All() {
			states[r.State]++
		}
		if diff := cmp.Diff(map[enroll.State]int{enroll.Submitted: 2, enroll.Requested: 8, enroll.Issued: 1}, states); diff != "" {
			b.Errorf("states (-want +got):\n%s", diff)
		}
	})
}

func TestResumeAtStart(t *testing.T) {
	const rows = 700 // more than one sweep reads
	inBubble(t, func(b *bench) {
		b.engine.Workers = 4
		spki := newKey(t)
		for i := range rows {
			r := request(spki)
			r.Label = strings.Repeat("x", i+1)
			e := enroll.Enrolment{ID: strings.Repeat("0", 29) + string([]byte{'0' + byte(i/100), '0' + byte(i/10%10), '0' + byte(i%10)}), Request: r, State: enroll.Requested, NextAttempt: epoch, Created: epoch, Updated: epoch}
			if _, _, err := b.journal.Open(b.Context(), e); err != nil {
				b.Fatal(err)
			}
		}
	}, func(b *bench) {
		synctest.Wait() // no time passes: each free worker takes the next row at once
		issued := 0
		for _, r := range b.journal.All() {
			if r.State == enroll.Issued {
				issued++
			}
		}
		if issued != rows {
			b.Errorf("%d of %d rows issued", issued, rows)
		}
	})
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far := newCenter(t, "fake")
		far.behave = func() behaviour { return hangs }
		j := &enrolltest.Memory{}
		e := &enroll.Engine{Journal: j, Authorities: map[string]ca.Authority{"fake": far}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- e.Run(ctx) }()
		began := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			row, err := e.Enroll(t.Context(), request(newKey(t)))
			if err != nil || row.State != enroll.Submitted {
				t.Errorf("Enroll during the shutdown: %s, %v", row.State, err)
			}
		})
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		wg.Wait()
		if d := time.Since(began); d != 3*time.Second {
			t.Errorf("ended after %v, want the grace of 3s", d)
		}
		row := j.All()[0]
		if row.Attempts != 0 || row.NextAttempt.After(began) {
			t.Errorf("the attempt that was cut off counts as failed: %+v", row)
		}
		_, err := e.Enroll(t.Context(), request(newKey(t)))
		var coded *enroll.Error
		if !errors.As(err, &coded) || coded.Code() != "enroll.closed" {
			t.Errorf("Enroll after the shutdown: %v", err)
		}
	})
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	e := &enroll.Engine{Journal: &enrolltest.Memory{}, Authorities: map[string]ca.Authority{"fake": newCenter(t, "fake")}}
	for code, change := range map[string]func(*enroll.Request){
		"enroll.unknown-authority": func(r *enroll.Request) { r.Authority = "offline" },
		"enroll.bad-request":       func(r *enroll.Request) { r.PublicKey = nil },
	} {
		r := request(newKey(t))
		change(&r)
		_, err := e.Enroll(t.Context(), r)
		var coded *enroll.Error
		if !errors.As(err, &coded) || coded.Code() != code || coded.Remedy() == "" {
			t.Errorf("%v, want code %s", err, code)
		}
	}
}
