package enroll_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"callsign/internal/ca"
	"callsign/internal/enroll"
)

// slowOpen is a journal whose Open returns only a while after the row is there for everybody to see, as it is when a
// commit was slow or the caller's goroutine does not get its turn.
type slowOpen struct {
	enroll.Journal
	late   time.Duration
	opened func(enroll.Enrolment)
}

func (j *slowOpen) Open(ctx context.Context, e enroll.Enrolment) (enroll.Enrolment, bool, error) {
	row, created, err := j.Journal.Open(ctx, e)
	if err == nil && created {
		if j.opened != nil {
			j.opened(row)
		}
		time.Sleep(j.late)
	}
	return row, created, err
}

// quiet is an authority without a ledger, as the local one is: what keeps it from issuing twice is the engine alone.
type quiet struct {
	*center
	asked atomic.Int32
}

func (q *quiet) Issue(_ context.Context, r ca.Request, _ ca.Ledger) (ca.Outcome, error) {
	n := q.asked.Add(1)
	return ca.Outcome{Status: ca.Issued, Certificate: q.sign(r.PublicKey, int(n)), POP: ca.POPSession}, nil
}

func TestRowFoundBeforeItsOpenReturns(t *testing.T) {
	cases := map[string]func(b *bench, j *slowOpen, r enroll.Request) func(){
		"by the sweep": func(*bench, *slowOpen, enroll.Request) func() { return func() {} },
		"by the same request": func(b *bench, j *slowOpen, r enroll.Request) func() {
			var wg sync.WaitGroup
			j.opened = func(first enroll.Enrolment) {
				wg.Go(func() {
					if row := b.enroll(r, time.Minute); row.ID != first.ID || row.State != enroll.Issued {
						b.Errorf("the second request got row %s, which is %s, want %s issued", row.ID, row.State, first.ID)
					}
				})
			}
			return wg.Wait
		},
		"by its number": func(b *bench, j *slowOpen, _ enroll.Request) func() {
			var wg sync.WaitGroup
			j.opened = func(first enroll.Enrolment) {
				wg.Go(func() {
					row, err := b.engine.Wait(b.Context(), first.ID)
					if err != nil || row.State != enroll.Issued {
						b.Errorf("Wait: row is %s, error %v, want issued", row.State, err)
					}
				})
			}
			return wg.Wait
		},
	}
	for name, prepare := range cases {
		t.Run(name, func(t *testing.T) {
			var q *quiet
			var j *slowOpen
			inBubble(t, func(b *bench) {
				q = &quiet{center: b.center}
				j = &slowOpen{Journal: b.journal, late: 3 * time.Second}
				b.engine.Journal, b.engine.Authorities = j, map[string]ca.Authority{"fake": q}
			}, func(b *bench) {
				r := request(newKey(b))
				wait := prepare(b, j, r)
				b.want(b.enroll(r, time.Minute), enroll.Issued)
				wait()
				synctest.Wait()
				if n := q.asked.Load(); n != 1 {
					b.Errorf("the authority was asked %d times for one row, want once", n)
				}
			})
		})
	}
}

// TestOpenFailsAfterItsCommit: the row is in the journal although Open failed. The sweep takes it.
func TestOpenFailsAfterItsCommit(t *testing.T) {
	var q *quiet
	inBubble(t, func(b *bench) {
		q = &quiet{center: b.center}
		b.engine.Journal, b.engine.Authorities = &lostOpen{Journal: b.journal}, map[string]ca.Authority{"fake": q}
	}, func(b *bench) {
		r := request(newKey(b))
		if _, err := b.engine.Enroll(b.Context(), r); err == nil {
			b.Fatal("Enroll succeeded although the journal failed")
		}
		time.Sleep(3 * time.Second)
		row, err := b.engine.Last(b.Context(), r.Authority, r.Owner, r.Label, r.Subject, r.PublicKey)
		if err != nil {
			b.Fatal(err)
		}
		b.want(row, enroll.Issued)
		if n := q.asked.Load(); n != 1 {
			b.Errorf("the authority was asked %d times, want once", n)
		}
	})
}

// lostOpen inserts the row and says that it could not.
type lostOpen struct{ enroll.Journal }

func (j *lostOpen) Open(ctx context.Context, e enroll.Enrolment) (enroll.Enrolment, bool, error) {
	if _, _, err := j.Journal.Open(ctx, e); err != nil {
		return enroll.Enrolment{}, false, err
	}
	return enroll.Enrolment{}, false, errBroken
}
