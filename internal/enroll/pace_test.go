package enroll_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"callsign/internal/ca"
	"callsign/internal/enroll"
	"callsign/internal/enroll/enrolltest"
)

func TestParseRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		rate     enroll.Rate
		interval time.Duration
		shown    string
	}{
		"":          {},
		"10/s":      {enroll.Rate{Count: 10, Per: time.Second}, 100 * time.Millisecond, "10/s"},
		"600/h":     {enroll.Rate{Count: 600, Per: time.Hour}, 6 * time.Second, "600/h"},
		" 30 / m ":  {enroll.Rate{Count: 30, Per: time.Minute}, 2 * time.Second, "30/m"},
		"1/10s":     {enroll.Rate{Count: 1, Per: 10 * time.Second}, 10 * time.Second, "1/10s"},
		"7/s":       {enroll.Rate{Count: 7, Per: time.Second}, 142857143, "7/s"}, // 7 intervals are not less than a second
		"100/d":     {enroll.Rate{Count: 100, Per: 24 * time.Hour}, 864 * time.Second, "100/d"},
		"1000000/s": {enroll.Rate{Count: 1_000_000, Per: time.Second}, time.Microsecond, "1000000/s"},
	} {
		got, err := enroll.ParseRate(text)
		if err != nil || got != want.rate || got.Interval() != want.interval || got.String() != want.shown {
			t.Errorf("ParseRate(%q) = %+v, %v, interval %v, shown %q; want %+v", text, got, err, got.Interval(), got.String(), want)
		}
	}
	for _, text := range []string{"10", "/s", "0/s", "-1/s", "1.5/s", "10/", "10/x", "10/0s", "10/-1s", "1000001/s", "10/s/s", "ten/s"} {
		if got, err := enroll.ParseRate(text); err == nil {
			t.Errorf("ParseRate(%q) = %+v, want an error", text, got)
		}
	}
}

// recorder notes when its authority is asked.
type recorder struct {
	mu    sync.Mutex
	times []time.Time
	asked map[string]int // by row ID
}

func (r *recorder) took(req ca.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked == nil {
		r.asked = make(map[string]int)
	}
	r.times = append(r.times, time.Now())
	r.asked[req.ID]++
}

// check fails when two asks were closer than the interval.
func (r *recorder) check(t *testing.T, interval time.Duration, since time.Time) {
	t.Helper()
	last := since
	for i, at := range r.times {
		if gap := at.Sub(last); gap < interval {
			t.Errorf("ask %d came %v after the one before, want at least %v", i, gap, interval)
		}
		last = at
	}
}

// TestRateOverRestart is a crowd of phones at an authority of 10 a second, whose server is started anew in the middle.
func TestRateOverRestart(t *testing.T) {
	t.Parallel()
	const phones, interval = 1000, 100 * time.Millisecond
	for name, private := range map[string]bool{"an authority elsewhere": false, "a private authority": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				far, seen, j := newCenter(t, "fake"), &recorder{}, &enrolltest.Memory{}
				far.took = seen.took
				var authority ca.Authority = far
				if private {
					authority = &discreet{center: far}
				}
				boot := func() (e *enroll.Engine, stop func()) {
					e = &enroll.Engine{
						Journal: j, Authorities: map[string]ca.Authority{"fake": authority},
						Rates: map[string]enroll.Rate{"fake": {Count: 10, Per: time.Second}}, Workers: 4,
					}
					ctx, cancel := context.WithCancel(t.Context())
					ended := make(chan error)
					go func() { ended <- e.Run(ctx) }()
					return e, func() {
						cancel()
						if err := <-ended; err != nil {
							t.Errorf("Run: %v", err)
						}
					}
				}
				keys := make([][]byte, phones)
				for i := range keys {
					keys[i] = newKey(t)
				}
				// call lets every phone call once and wait for 20 seconds; it returns how many got their certificate.
				call := func(e *enroll.Engine) (served int) {
					var wg sync.WaitGroup
					var mu sync.Mutex
					for i, k := range keys {
						wg.Go(func() {
							ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
							defer cancel()
							r := request(k)
							r.Owner = fmt.Sprintf("phone:SEP%012d", i)
							row, err := e.Enroll(ctx, r)
							if err != nil {
								t.Error(err)
							}
							mu.Lock()
							defer mu.Unlock()
							if row.State == enroll.Issued {
								served++
							}
						})
					}
					wg.Wait()
					return served
				}
				began := time.Now()
				first, stop := boot()
				if n := call(first); n < 190 || n > 200 {
					t.Errorf("%d phones served within 20s at 10 a second", n)
				}
				time.Sleep(20 * time.Second) // nobody waits: the sweep goes on at the same pace
				stop()
				if n := far.count(); !private && (n < 390 || n > 400) {
					t.Errorf("%d issued within 40s at 10 a second", n)
				}
				second, stop := boot()
				time.Sleep(70 * time.Second)
				if n := call(second); n != phones {
					t.Errorf("%d of %d phones got their certificate at their last call", n, phones)
				}
				stop()
				seen.check(t, interval, began)
				if len(seen.times) != phones || len(seen.asked) != phones {
					t.Errorf("%d asks for %d rows, want %d for as many", len(seen.times), len(seen.asked), phones)
				}
				for _, row := range j.All() {
					if row.State != enroll.Issued {
						t.Errorf("row of %s is %s", row.Owner, row.State)
					}
				}
			})
		})
	}
}

// TestRateLeavesPollsAlone: requests that wait for the rate keep nobody from asking what became of the pending ones, even with one place.
func TestRateLeavesPollsAlone(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.engine.Workers = 1
		b.engine.PendingPoll = time.Minute
		b.engine.Rates = map[string]enroll.Rate{"fake": {Count: 1, Per: time.Hour}}
		b.script(pends)
	}, func(b *bench) {
		pending := b.enroll(request(newKey(b)), 2*time.Hour)
		b.want(pending, enroll.Pending)
		if d := time.Since(epoch); d != time.Hour {
			b.Errorf("the first request was made after %v, want an hour after the start", d)
		}
		for range 300 { // more than a sweep reads
			r := request(newKey(b))
			row := b.enroll(r, time.Millisecond)
			if row.State != enroll.Requested {
				b.Fatalf("row is %s, want requested", row.State)
			}
		}
		b.center.approve()
		time.Sleep(2 * time.Minute)
		row, err := b.engine.Get(b.Context(), pending.ID)
		if err != nil || row.State != enroll.Issued {
			b.Errorf("the approved request is %s (%v), want issued", row.State, err)
		}
		time.Sleep(3 * time.Hour)
		if n := b.center.count(); n != 4 {
			b.Errorf("%d requests made in 4 hours at 1 an hour", n)
		}
	})
}

// TestRateCountsFailures: an attempt that fails has used its time.
func TestRateCountsFailures(t *testing.T) {
	seen := &recorder{}
	inBubble(t, func(b *bench) {
		b.engine.Rates = map[string]enroll.Rate{"fake": {Count: 30, Per: time.Minute}}
		b.center.took = seen.took
		b.script(unreachable, losesAnswer, unreachable)
	}, func(b *bench) {
		var wg sync.WaitGroup
		for range 5 {
			r := request(newKey(b))
			wg.Go(func() { b.want(b.enroll(r, time.Hour), enroll.Issued) })
		}
		wg.Wait()
		seen.check(b.T, 2*time.Second, epoch)
		if len(seen.times) != 8 {
			b.Errorf("%d asks, want 5 and 3 after failures", len(seen.times))
		}
	})
}

// TestRateAtShutdown: who waits for the rate does not hold up the end.
func TestRateAtShutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far, j := newCenter(t, "fake"), &enrolltest.Memory{}
		e := &enroll.Engine{Journal: j, Authorities: map[string]ca.Authority{"fake": far}, Rates: map[string]enroll.Rate{"fake": {Count: 1, Per: time.Hour}}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- e.Run(ctx) }()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if row, err := e.Enroll(t.Context(), request(newKey(t))); err != nil || row.State != enroll.Requested {
					t.Errorf("Enroll: %s, %v", row.State, err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		wg.Wait()
		if d := time.Since(began); d != 0 {
			t.Errorf("the end took %v", d)
		}
	})
}

// TestRateOfAnInjectedClock: a clock that leaps, as that of a simulated month, and one that is set back.
func TestRateOfAnInjectedClock(t *testing.T) {
	var mu sync.Mutex
	offset := time.Duration(0)
	leap := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		offset += d
	}
	inBubble(t, func(b *bench) {
		b.engine.Rates = map[string]enroll.Rate{"fake": {Count: 1, Per: time.Hour}}
		b.engine.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(offset)
		}
	}, func(b *bench) {
		b.enroll(request(newKey(b)), time.Second)
		leap(time.Hour)
		time.Sleep(2 * time.Second)
		if n := b.center.count(); n != 1 {
			b.Errorf("%d requests made after the clock went on an hour, want 1", n)
		}
		leap(-24 * time.Hour)
		r := request(newKey(b))
		b.want(b.enroll(r, 2*time.Hour), enroll.Issued)
		if d := time.Since(epoch); d > time.Hour+10*time.Second {
			b.Errorf("the second request was made after %v, want an hour or little more", d)
		}
	})
}

func TestRateOfOneAuthority(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.engine.Authorities["quick"] = newCenter(b, "quick")
		b.engine.Rates = map[string]enroll.Rate{"fake": {Count: 1, Per: time.Hour}, "quick": {}}
	}, func(b *bench) {
		b.enroll(request(newKey(b)), time.Millisecond)
		var states []enroll.State
		for range 20 {
			r := request(newKey(b))
			r.Authority = "quick"
			states = append(states, b.enroll(r, time.Millisecond).State)
		}
		if slices.ContainsFunc(states, func(s enroll.State) bool { return s != enroll.Issued }) {
			b.Errorf("requests to an authority without a rate are %v", states)
		}
	})
}

// TestRateBesideSilence: a request whose former row is still being asked for keeps nobody else from the authority.
func TestRateBesideSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far, silence := newCenter(t, "fake"), make(chan struct{})
		var asked atomic.Int32
		far.took = func(ca.Request) {
			if asked.Add(1) == 1 {
				<-silence
			}
		}
		e := &enroll.Engine{
			Journal: &enrolltest.Memory{}, Authorities: map[string]ca.Authority{"fake": far},
			Rates: map[string]enroll.Rate{"fake": {Count: 1, Per: time.Second}},
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- e.Run(ctx) }()
		call := func(key []byte, owner string, wait time.Duration) enroll.Enrolment {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			r := request(key)
			r.Owner = owner
			row, err := e.Enroll(ctx, r)
			if err != nil {
				t.Error(err)
			}
			return row
		}
		key := newKey(t)
		first := call(key, "phone:SEP1", 3*time.Second)
		if _, err := e.Supersede(t.Context(), first.ID); err != nil {
			t.Fatal(err)
		}
		if again := call(key, "phone:SEP1", 3*time.Second); again.ID == first.ID || !again.State.Open() {
			t.Errorf("the request made again is row %s, %s", again.ID, again.State)
		}
		for i := range 3 {
			if row := call(newKey(t), fmt.Sprintf("phone:SEP1%d", i), 5*time.Second); row.State != enroll.Issued {
				t.Errorf("another phone's request is %s while the authority is silent about one", row.State)
			}
		}
		close(silence)
		if row := call(key, "phone:SEP1", 10*time.Second); row.State != enroll.Issued {
			t.Errorf("after the silence the request is %s", row.State)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// slowJournal is one whose rows take time to read.
type slowJournal struct {
	*enrolltest.Memory
	mu   sync.Mutex
	read int           // rows
	took time.Duration // for all of them
}

func (j *slowJournal) Due(ctx context.Context, now time.Time, limit int) ([]enroll.Enrolment, error) {
	rows, err := j.Memory.Due(ctx, now, limit)
	pause := time.Duration(len(rows)) * 200 * time.Microsecond
	time.Sleep(pause)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.read += len(rows)
	j.took += pause
	return rows, err
}

// TestRateOfManyWaiting: thousands of requests that wait for a rate cost little while they wait, and the rate is used.
func TestRateOfManyWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const waiting, span = 2000, 30 * time.Second
		far, j := newCenter(t, "fake"), &slowJournal{Memory: &enrolltest.Memory{}}
		key, now := newKey(t), time.Now()
		for i := range waiting {
			r := request(key)
			r.Owner = fmt.Sprintf("phone:SEP%012d", i)
			_, _, err := j.Open(t.Context(), enroll.Enrolment{ID: fmt.Sprintf("%032x", i), Request: r, State: enroll.Requested, NextAttempt: now, Created: now, Updated: now})
			if err != nil {
				t.Fatal(err)
			}
		}
		e := &enroll.Engine{
			Journal: j, Authorities: map[string]ca.Authority{"fake": far}, Rates: map[string]enroll.Rate{"fake": {Count: 20, Per: time.Second}},
		}
		ctx, cancel := context.WithTimeout(t.Context(), span)
		defer cancel()
		if err := e.Run(ctx); err != nil {
			t.Error(err)
		}
		if n := far.count(); n < 20*30-40 || n > 20*30 {
			t.Errorf("%d issued in %s at 20 a second", n, span)
		}
		if j.took > span/10 {
			t.Errorf("%d rows were read, which took %s of %s", j.read, j.took, span)
		}
	})
}
