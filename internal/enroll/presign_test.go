package enroll_test

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"callsign/internal/ca"
	"callsign/internal/enroll"
	"callsign/internal/enroll/enrolltest"
)

// discreet is a private authority: it signs from memory and keeps nothing. What it signed is noted for the test only.
type discreet struct {
	*center
	alive  func() error // nil: always
	signed func(der []byte)
	public bool // its key is in a token: the promise does not hold
	mu     sync.Mutex
	n      int
}

func (d *discreet) Private() bool { return !d.public }

func (d *discreet) Issue(_ context.Context, r ca.Request, _ ca.Ledger) (ca.Outcome, error) {
	if d.alive != nil {
		if err := d.alive(); err != nil {
			return ca.Outcome{}, err
		}
	}
	d.mu.Lock()
	d.n++
	n := d.n
	d.mu.Unlock()
	if d.took != nil {
		d.took(r)
	}
	b := issues
	if d.behave != nil {
		b = d.behave()
	}
	switch b {
	case denies:
		return ca.Outcome{Status: ca.Denied, Denial: &ca.Error{ErrCode: "fake.denied", Detail: "weak key", Final: true}}, nil
	case unreachable, losesAnswer:
		return ca.Outcome{}, errBroken
	case finalFault:
		return ca.Outcome{}, &ca.Error{ErrCode: "fake.dates", Detail: "out of dates", Final: true}
	default:
	}
	der := d.sign(r.PublicKey, n)
	if d.signed != nil {
		d.signed(der)
	}
	return ca.Outcome{Status: ca.Issued, Certificate: der, POP: ca.POPSession}, nil
}

func (d *discreet) asked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

// inPrivate runs test with a private authority.
func inPrivate(t *testing.T, edit func(*bench, *discreet), test func(*bench, *discreet)) {
	t.Helper()
	var d *discreet
	inBubble(t, func(b *bench) {
		d = &discreet{center: b.center}
		b.engine.Authorities = map[string]ca.Authority{"fake": d}
		if edit != nil {
			edit(b, d)
		}
	}, func(b *bench) { test(b, d) })
}

func TestPrivateRowBeginsIssued(t *testing.T) {
	inPrivate(t, nil, func(b *bench, d *discreet) {
		r := request(newKey(b))
		r.Login = &ca.Login{User: "u", Password: []byte("p")}
		first := b.enroll(r, time.Minute)
		r.Login = nil
		b.want(first, enroll.Issued)
		if first.Version != 1 || first.Login != nil || !first.NextAttempt.IsZero() || first.Serial == "" || first.POP != ca.POPSession {
			b.Errorf("the row is %+v, want one write, no login, not due, with serial and proof", first)
		}
		again := b.enroll(r, time.Minute)
		if again.ID != first.ID || string(again.Certificate) != string(first.Certificate) {
			b.Error("the same request got another row or certificate")
		}
		if _, err := b.engine.Confirm(b.Context(), first.ID); err != nil {
			b.Error(err)
		}
		if n := d.asked(); n != 1 {
			b.Errorf("the authority was asked %d times, want once: a live row answers", n)
		}
		want := []string{"[issued]", "enroll.issued", "[open]", "[confirm]", "enroll.confirmed"}
		if got := b.events(); !slices.Equal(got, want) {
			b.Errorf("events are %q, want %q", got, want)
		}
		if next := b.enroll(r, time.Minute); next.ID == first.ID || next.State != enroll.Issued {
			b.Errorf("after the confirmation the request got row %s (%s), want a new one", next.ID, next.State)
		}
	})
}

// TestPrivateIsToldWhatIsProven: that the caller has checked the signature reaches the authority while the caller waits, and
// nobody later: a row that has been read from the journal proves nothing.
func TestPrivateIsToldWhatIsProven(t *testing.T) {
	var told []bool
	inPrivate(t, func(_ *bench, d *discreet) {
		d.took = func(r ca.Request) { told = append(told, r.Proven) }
		answers := []behaviour{denies, denies}
		d.behave = func() behaviour {
			if len(answers) == 0 {
				return issues
			}
			b := answers[0]
			answers = answers[1:]
			return b
		}
	}, func(b *bench, _ *discreet) {
		r := request(newKey(b))
		r.Proven, r.Unknown = true, true
		if row := b.enroll(r, time.Minute); row.State != enroll.Denied || row.Proven || row.Unknown {
			b.Errorf("the row is %+v, want it denied, with nothing of what the caller said", row)
		}
		if want := []bool{true, false}; !slices.Equal(told, want) {
			b.Errorf("the authority was told %v, want %v: before the row, and of the row", told, want)
		}
	})
}

// TestPrivateUnknownIsNoPromise: a row that came up after the caller had looked answers all the same.
func TestPrivateUnknownIsNoPromise(t *testing.T) {
	inPrivate(t, nil, func(b *bench, d *discreet) {
		r := request(newKey(b))
		first := b.enroll(r, time.Minute)
		r.Unknown = true
		if again := b.enroll(r, time.Minute); again.ID != first.ID || string(again.Certificate) != string(first.Certificate) {
			b.Errorf("the request got row %s, want %s with its certificate", again.ID, first.ID)
		}
		if n := d.asked(); n != 2 {
			b.Errorf("the authority signed %d times, want twice, once for nobody", n)
		}
	})
}

// TestPrivatePromiseBroken: with its key in a token the same authority is asked after the row is written.
func TestPrivatePromiseBroken(t *testing.T) {
	inPrivate(t, func(b *bench, d *discreet) {
		d.public = true
		d.took = func(r ca.Request) {
			if _, err := b.journal.Get(context.Background(), r.ID); err != nil {
				b.Errorf("the authority was asked before its row was there: %v", err)
			}
		}
	}, func(b *bench, _ *discreet) {
		b.want(b.enroll(request(newKey(b)), time.Minute), enroll.Issued)
	})
}

func TestPrivateNotIssued(t *testing.T) {
	cases := map[string]struct {
		script []behaviour // each way asks: once before the row and once with it
		want   enroll.State
		rows   int
	}{
		"denied":              {[]behaviour{denies, denies}, enroll.Denied, 1},
		"failed for good":     {[]behaviour{finalFault, finalFault}, enroll.Failed, 1},
		"tried again":         {[]behaviour{unreachable, unreachable}, enroll.Issued, 1},
		"failed before a row": {[]behaviour{unreachable}, enroll.Issued, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			inPrivate(t, func(b *bench, _ *discreet) { b.script(c.script...) }, func(b *bench, _ *discreet) {
				row := b.enroll(request(newKey(b)), time.Minute)
				b.want(row, c.want)
				if c.want != enroll.Issued && (row.Failure == nil || len(row.Certificate) > 0) {
					b.Errorf("row has failure %v and %d bytes of certificate", row.Failure, len(row.Certificate))
				}
				if n := len(b.journal.All()); n != c.rows {
					b.Errorf("there are %d rows, want %d", n, c.rows)
				}
			})
		})
	}
}

// TestPrivateRace: another call's row comes between the look into the journal and the insertion. Ours is dropped.
func TestPrivateRace(t *testing.T) {
	for name, state := range map[string]enroll.State{"issued meanwhile": enroll.Issued, "requested meanwhile": enroll.Requested} {
		t.Run(name, func(t *testing.T) {
			var other enroll.Enrolment
			var once sync.Once
			inPrivate(t, func(b *bench, d *discreet) {
				d.took = func(r ca.Request) {
					once.Do(func() {
						now := time.Now().UTC()
						e := enroll.Enrolment{ID: "00000000000000000000000000000001", Request: request(r.PublicKey), State: state, NextAttempt: now, Created: now, Updated: now}
						if state == enroll.Issued {
							e.Certificate, e.Serial, e.NextAttempt = d.sign(r.PublicKey, 99), "63", time.Time{}
						}
						var err error
						if other, _, err = b.journal.Open(context.Background(), e); err != nil {
							b.Error(err)
						}
					})
				}
			}, func(b *bench, _ *discreet) {
				row := b.enroll(request(newKey(b)), time.Minute)
				b.want(row, enroll.Issued)
				if row.ID != other.ID || len(b.journal.All()) != 1 {
					b.Errorf("got row %s of %d, want the other call's alone", row.ID, len(b.journal.All()))
				}
				if state == enroll.Issued && string(row.Certificate) != string(other.Certificate) {
					b.Error("a certificate was handed out that is not on record")
				}
			})
		})
	}
}

func TestPrivateManyCallers(t *testing.T) {
	inPrivate(t, func(b *bench, _ *discreet) {
		b.engine.Journal, b.engine.Workers = &slowOpen{Journal: b.journal, late: time.Second}, 3
	}, func(b *bench, _ *discreet) {
		r := request(newKey(b))
		var mu sync.Mutex
		got := map[string]int{}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				row := b.enroll(r, time.Minute)
				mu.Lock()
				defer mu.Unlock()
				got[string(row.Certificate)]++
			})
		}
		wg.Wait()
		if len(got) != 1 || len(b.journal.All()) != 1 {
			b.Errorf("20 calls for one request got %d certificates from %d rows, want one", len(got), len(b.journal.All()))
		}
	})
}

func TestPrivateJournalFails(t *testing.T) {
	t.Run("with the row stored", func(t *testing.T) {
		inPrivate(t, func(b *bench, _ *discreet) { b.engine.Journal = &lostOpen{Journal: b.journal} }, func(b *bench, d *discreet) {
			r := request(newKey(b))
			if _, err := b.engine.Enroll(b.Context(), r); !errors.Is(err, errBroken) {
				b.Fatalf("Enroll: %v, want the journal's error", err)
			}
			row, err := b.engine.Last(b.Context(), r.Authority, r.Owner, r.Label, r.Subject, r.PublicKey)
			if err != nil {
				b.Fatal(err)
			}
			b.want(row, enroll.Issued)
			time.Sleep(time.Minute)
			if n := d.asked(); n != 1 {
				b.Errorf("the authority was asked %d times, want once", n)
			}
		})
	})
	t.Run("without", func(t *testing.T) {
		inPrivate(t, func(b *bench, _ *discreet) {
			broken := true
			b.journal.Fault = func(method string) error {
				if method == "Open" && broken {
					broken = false
					return errBroken
				}
				return nil
			}
		}, func(b *bench, _ *discreet) {
			r := request(newKey(b))
			if row, err := b.engine.Enroll(b.Context(), r); !errors.Is(err, errBroken) || row.Certificate != nil {
				b.Fatalf("Enroll: %v with %d bytes of certificate, want the journal's error and none", err, len(row.Certificate))
			}
			b.want(b.enroll(r, time.Minute), enroll.Issued)
			if n := len(b.journal.All()); n != 1 {
				b.Errorf("there are %d rows, want one", n)
			}
		})
	})
}

// TestPrivateExactlyOnce runs random histories of callers and crashes at every write over a private authority: at any time there is one live row for a
// request, whoever gets a certificate gets the one on record, and a certificate that was signed for a row that never came is seen by nobody. What
// has to be approved is not signed before.
func TestPrivateExactlyOnce(t *testing.T) {
	t.Parallel()
	keys := [][]byte{newKey(t), newKey(t)}
	far := newCenter(t, "fake")
	rapid.Check(t, func(rt *rapid.T) {
		var thrown any
		synctest.Test(t, func(*testing.T) {
			defer func() { thrown = recover() }()
			privateHistory(rt, far, keys)
		})
		if thrown != nil {
			panic(thrown)
		}
	})
}

func privateHistory(t *rapid.T, far *center, keys [][]byte) {
	var mu sync.Mutex
	script := rapid.SliceOfN(rapid.SampledFrom([]behaviour{issues, issues, issues, denies, unreachable, finalFault}), 0, 8).Draw(t, "authority")
	c := &center{name: far.name, key: far.key, cert: far.cert, behave: func() behaviour {
		mu.Lock()
		defer mu.Unlock()
		if len(script) == 0 {
			return issues
		}
		next := script[0]
		script = script[1:]
		return next
	}}
	w := &world{journal: &enrolltest.Memory{}, center: c}
	w.settle = func(e *enroll.Engine) {
		l, ok := e.Journal.(*life)
		if !ok {
			panic("the engine has another journal")
		}
		e.Authorities = map[string]ca.Authority{"fake": &discreet{center: c, alive: l.alive}}
	}
	o := newOffice(w, rapid.Bool().Draw(t, "hold"))
	w.boot()
	defer func() {
		w.kill()
		w.wg.Wait()
	}()
	call := func(spki []byte, csr int) {
		engine, journal := w.life.engine, w.journal
		w.wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 6*time.Second)
			defer cancel()
			row, err := engine.Enroll(ctx, o.request(spki, byte(csr)))
			if err != nil || row.State != enroll.Issued {
				return
			}
			kept, err := journal.Get(context.Background(), row.ID)
			if err != nil || string(kept.Certificate) != string(row.Certificate) {
				panic("a certificate was handed out that the journal does not have")
			}
		})
	}
	for range rapid.IntRange(1, 20).Draw(t, "steps") {
		switch rapid.IntRange(0, 8).Draw(t, "step") {
		case 0, 1, 2:
			call(rapid.SampledFrom(keys).Draw(t, "key"), rapid.IntRange(0, 1).Draw(t, "csr"))
			if rapid.Bool().Draw(t, "let it run") {
				synctest.Wait()
			}
		case 3:
			time.Sleep(rapid.SampledFrom([]time.Duration{time.Millisecond, 20 * time.Second}).Draw(t, "time"))
		case 4:
			w.life.mu.Lock()
			w.life.calls, w.life.after = rapid.IntRange(1, 3).Draw(t, "crash at write"), rapid.Bool().Draw(t, "after it")
			w.life.mu.Unlock()
		case 5:
			for _, r := range w.journal.All() {
				if r.State == enroll.Issued {
					_, _ = w.life.engine.Confirm(context.Background(), r.ID)
					break
				}
			}
		case 6, 7, 8:
			o.step(t)
		}
		if w.life.alive() != nil {
			w.crash()
		}
		oneLiveRow(t, w.journal)
	}
	// From here on everybody behaves, and every client comes back once more.
	mu.Lock()
	script = nil
	mu.Unlock()
	w.crash()
	o.approveAll(t)
	time.Sleep(10 * time.Minute)
	for _, spki := range keys {
		call(spki, 0)
	}
	synctest.Wait()
	o.approveAll(t)
	time.Sleep(10 * time.Minute)
	w.wg.Wait()
	w.kill()
	synctest.Wait()
	oneLiveRow(t, w.journal)
	var issued [][]byte
	for _, r := range w.journal.All() {
		if len(r.Certificate) > 0 {
			issued = append(issued, r.PublicKey)
		}
	}
	o.audit(t, issued)
	have := map[string]bool{}
	for _, r := range w.journal.All() {
		if r.State.Open() {
			t.Errorf("row %s did not end: %s", r.ID, r.State)
		}
		if r.State == enroll.Issued || r.State == enroll.Confirmed {
			cert, err := x509.ParseCertificate(r.Certificate)
			if err != nil || string(cert.RawSubjectPublicKeyInfo) != string(r.PublicKey) {
				t.Errorf("row %s is %s without a certificate for its key: %v", r.ID, r.State, err)
			}
			have[string(r.PublicKey)] = true
		}
		if r.Rejected() {
			have[string(r.PublicKey)] = true // has its answer
		}
	}
	for _, spki := range keys {
		if !have[string(spki)] {
			t.Error("a client that came back has no certificate")
		}
	}
}
