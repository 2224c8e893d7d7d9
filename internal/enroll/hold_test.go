package enroll_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/ca"
	"callsign/internal/enroll"
)

// held is a request that needs an approval.
func held(spki []byte) enroll.Request {
	r := request(spki)
	r.Hold = true
	return r
}

var root = enroll.Decision{By: "root", Note: "ours"}

// command is the engine of another process: one that asks nobody.
func (b *bench) command() *enroll.Engine { return &enroll.Engine{Journal: b.journal} }

func (b *bench) get(id string) enroll.Enrolment {
	b.Helper()
	row, err := b.engine.Get(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	return row
}

func TestHeldWaitsForApproval(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		r := held(newKey(b))
		r.Login = &ca.Login{User: "u", Password: []byte("p")}
		begun := time.Now()
		row := b.enroll(r, time.Hour)
		b.want(row, enroll.Held)
		if !row.NextAttempt.IsZero() || row.Hold || row.Login != nil || row.Decision != nil {
			b.Errorf("the row is %+v, want one that is not due and keeps neither login nor hold", row)
		}
		again := b.enroll(held(row.PublicKey), time.Hour)
		waited, err := b.engine.Wait(b.Context(), row.ID)
		if err != nil || again.ID != row.ID || waited.ID != row.ID {
			b.Errorf("the same request has the rows %s and %s, want %s (%v)", again.ID, waited.ID, row.ID, err)
		}
		// One that need not be approved does not set free what waits.
		if free := b.enroll(request(row.PublicKey), time.Hour); free.ID != row.ID || free.State != enroll.Held {
			b.Errorf("without hold the request got row %s, which is %s", free.ID, free.State)
		}
		if !time.Now().Equal(begun) {
			b.Errorf("the calls took %s, want no time", time.Since(begun))
		}
		time.Sleep(time.Hour)
		if n := b.center.asked(); n != 0 {
			b.Fatalf("the authority was asked %d times before the approval", n)
		}

		// By another process, which the sweep of this one notices within its interval.
		approved, err := b.command().Approve(b.Context(), row.ID, root)
		if err != nil || approved.State != enroll.Requested || !approved.NextAttempt.Equal(time.Now().UTC()) {
			b.Fatalf("Approve: %v, row is %s, due at %v", err, approved.State, approved.NextAttempt)
		}
		want := &enroll.Decision{Approved: true, By: "root", Note: "ours", At: time.Now().UTC()}
		if diff := cmp.Diff(want, approved.Decision); diff != "" {
			b.Errorf("decision (-want +got):\n%s", diff)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		got := b.enroll(held(row.PublicKey), time.Hour)
		b.want(got, enroll.Issued)
		if diff := cmp.Diff(want, got.Decision); diff != "" || got.ID != row.ID {
			b.Errorf("row %s; its decision (-want +got):\n%s", got.ID, diff)
		}
		first := got.Decision.At
		if got, err = b.engine.Approve(b.Context(), row.ID, enroll.Decision{By: "somebody", Note: "too"}); err != nil || got.State != enroll.Issued || got.Decision.By != "root" || !got.Decision.At.Equal(first) {
			b.Errorf("Approve again: %v, %s, decision %+v; want the first one", err, got.State, got.Decision)
		}
		if _, err := b.engine.Deny(b.Context(), row.ID, root); !errors.Is(err, enroll.ErrState) {
			b.Errorf("Deny after the approval: %v, want ErrState", err)
		}
		if n := b.center.count(); n != 1 {
			b.Errorf("%d certificates, want 1", n)
		}
		events := b.events()
		if !slices.Contains(events, "enroll.held") || slices.Contains(events, "enroll.requested") {
			b.Errorf("events are %q", events)
		}
	})
}

// TestApproveHere approves in the process that serves: its sweep need not wait for the interval.
func TestApproveHere(t *testing.T) {
	inBubble(t, func(b *bench) { b.engine.Interval = time.Hour }, func(b *bench) {
		row := b.enroll(held(newKey(b)), time.Minute)
		if _, err := b.engine.Approve(b.Context(), row.ID, root); err != nil {
			b.Fatal(err)
		}
		synctest.Wait()
		if got := b.get(row.ID); got.State != enroll.Issued {
			b.Errorf("the row is %s, want issued at once", got.State)
		}
		if text := b.text(); !strings.Contains(text, `"event":"enroll.approved"`) || !strings.Contains(text, `"decided_by":"root"`) || !strings.Contains(text, `"note":"ours"`) {
			b.Errorf("the log does not say who approved:\n%s", text)
		}
	})
}

func TestDeny(t *testing.T) {
	inBubble(t, func(b *bench) { b.engine.Interval = time.Hour }, func(b *bench) {
		r := held(newKey(b))
		row := b.enroll(r, time.Minute)
		at := time.Now().Add(-time.Minute)
		denied, err := b.command().Deny(b.Context(), row.ID, enroll.Decision{By: "root", At: at, Note: "not our host", Approved: true})
		if err != nil {
			b.Fatal(err)
		}
		b.want(denied, enroll.Denied)
		if diff := cmp.Diff(&enroll.Decision{By: "root", At: at.UTC(), Note: "not our host"}, denied.Decision); diff != "" {
			b.Errorf("decision (-want +got):\n%s", diff)
		}
		if f := denied.Failure; f == nil || f.Code != enroll.CodeRequestDenied || f.Detail != "the request was denied by an administrator: not our host" || !strings.Contains(f.Remedy, row.ID) || strings.Contains(f.Detail, "root") {
			b.Errorf("failure is %+v", f)
		}
		if !denied.Rejected() {
			b.Error("the row does not know that it was an administrator who denied it")
		}
		time.Sleep(60 * 24 * time.Hour)
		for _, again := range []enroll.Request{r, request(r.PublicKey)} {
			if got := b.enroll(again, time.Minute); got.ID != row.ID || got.State != enroll.Denied {
				b.Errorf("the same request with hold %t got row %s (%s), want the denied one", again.Hold, got.ID, got.State)
			}
		}
		if got, err := b.engine.Deny(b.Context(), row.ID, enroll.Decision{By: "x"}); err != nil || got.Decision.By != "root" {
			b.Errorf("Deny again: %v, decision %+v", err, got.Decision)
		}
		if n := b.center.asked(); n != 0 {
			b.Errorf("the authority was asked %d times", n)
		}

		// A change of mind.
		lifted, err := b.command().Approve(b.Context(), row.ID, enroll.Decision{By: "alice"})
		if err != nil {
			b.Fatal(err)
		}
		b.want(lifted, enroll.Stale)
		if lifted, err = b.engine.Approve(b.Context(), row.ID, root); err != nil || lifted.Decision.By != "alice" {
			b.Errorf("Approve again: %v, %+v", err, lifted.Decision)
		}
		if _, err := b.engine.Deny(b.Context(), row.ID, root); !errors.Is(err, enroll.ErrState) {
			b.Errorf("Deny of what is over: %v, want ErrState", err)
		}
		got := b.enroll(r, time.Minute)
		b.want(got, enroll.Issued)
		if got.ID == row.ID || got.Decision == nil || got.Decision.By != "alice" {
			b.Errorf("row %s with decision %+v, want a new one, approved by alice", got.ID, got.Decision)
		}
	})
}

// TestDecideNothing: decisions that cannot be.
func TestDecideNothing(t *testing.T) {
	inBubble(t, func(b *bench) { b.script(pends, denies) }, func(b *bench) {
		pending, denied := b.enroll(request(newKey(b)), time.Minute), b.enroll(request(newKey(b)), time.Minute)
		b.want(pending, enroll.Pending)
		b.want(denied, enroll.Denied)
		issued := b.enroll(request(newKey(b)), time.Minute)
		for _, row := range []enroll.Enrolment{pending, denied, issued} {
			for name, decide := range map[string]func(context.Context, string, enroll.Decision) (enroll.Enrolment, error){"approve": b.engine.Approve, "deny": b.engine.Deny} {
				got, err := decide(b.Context(), row.ID, root)
				if !errors.Is(err, enroll.ErrState) || got.State != row.State || got.Decision != nil {
					b.Errorf("%s of a row that is %s: %v, row is %s with decision %v", name, row.State, err, got.State, got.Decision)
				}
				b.want(got, row.State)
			}
		}
		if denied.Rejected() {
			b.Error("the authority's denial counts as an administrator's")
		}
		if _, err := b.engine.Approve(b.Context(), strings.Repeat("0", 32), root); !errors.Is(err, enroll.ErrNotFound) {
			b.Errorf("Approve of nothing: %v", err)
		}
		var coded *enroll.Error
		if _, err := b.engine.Approve(b.Context(), pending.ID, enroll.Decision{}); !errors.As(err, &coded) || coded.Code() != "enroll.bad-request" {
			b.Errorf("Approve by nobody: %v", err)
		}
	})
}

// TestHeldOtherEnds: what else may become of a held request.
func TestHeldOtherEnds(t *testing.T) {
	cases := map[string]struct {
		end   func(b *bench, row enroll.Enrolment) (enroll.Enrolment, error)
		state enroll.State
		code  string
		next  enroll.State // of the same request
	}{
		"superseded": {
			end: func(b *bench, row enroll.Enrolment) (enroll.Enrolment, error) {
				return b.engine.Supersede(b.Context(), row.ID)
			},
			state: enroll.Stale, next: enroll.Held,
		},
		"cancelled": {
			end: func(b *bench, row enroll.Enrolment) (enroll.Enrolment, error) {
				return b.engine.Cancel(b.Context(), row.ID, enroll.Failure{})
			},
			state: enroll.Failed, code: "enroll.cancelled", next: enroll.Held,
		},
		"a certificate from outside": {
			end: func(b *bench, row enroll.Enrolment) (enroll.Enrolment, error) {
				return b.command().Settle(b.Context(), row.ID, ca.Outcome{Status: ca.Issued, Certificate: b.center.sign(row.PublicKey, 1)})
			},
			state: enroll.Issued, next: enroll.Issued,
		},
		"a refusal from outside": {
			end: func(b *bench, row enroll.Enrolment) (enroll.Enrolment, error) {
				return b.command().Settle(b.Context(), row.ID, ca.Outcome{Status: ca.Denied})
			},
			state: enroll.Denied, code: "enroll.denied", next: enroll.Held,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(b *bench) {
				row := b.enroll(held(newKey(b)), time.Minute)
				got, err := tc.end(b, row)
				if err != nil {
					b.Fatal(err)
				}
				b.want(got, tc.state)
				if tc.code != "" && (got.Failure == nil || got.Failure.Code != tc.code) {
					b.Errorf("failure is %+v, want code %s", got.Failure, tc.code)
				}
				if _, err := b.engine.Approve(b.Context(), row.ID, root); !errors.Is(err, enroll.ErrState) {
					b.Errorf("Approve after the end: %v, want ErrState", err)
				}
				next := b.enroll(held(row.PublicKey), time.Minute)
				b.want(next, tc.next)
				if b.center.asked() != 0 {
					b.Error("the authority was asked")
				}
			})
		})
	}
}

func TestHeldFor(t *testing.T) {
	for name, tc := range map[string]struct {
		limit time.Duration // Engine.HeldFor
		at    time.Duration // the last moment
		words string
	}{
		"default":   {0, 30 * 24 * time.Hour, "30 days"},
		"a day":     {24 * time.Hour, 24 * time.Hour, "24h0m0s"},
		"no limit":  {-1, 0, ""},
		"many rows": {time.Hour, time.Hour, "1h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) { b.engine.HeldFor, b.engine.Interval = tc.limit, 10*time.Minute }, func(b *bench) {
				n := 1
				if name == "many rows" {
					n = 300 // more than are read at once
				}
				spki := newKey(b)
				var rows []enroll.Enrolment
				for i := range n {
					r := held(spki)
					r.Subject = []byte{0x30, byte(i), byte(i >> 8)}
					rows = append(rows, b.enroll(r, time.Minute))
				}
				if tc.limit < 0 {
					time.Sleep(90 * 24 * time.Hour)
					b.want(b.get(rows[0].ID), enroll.Held)
					return
				}
				time.Sleep(tc.at - time.Minute)
				late := b.enroll(held(newKey(b)), time.Minute)
				b.want(b.get(rows[0].ID), enroll.Held)
				time.Sleep(20 * time.Minute)
				for _, row := range rows {
					got := b.get(row.ID)
					if got.State != enroll.Failed || got.Failure.Code != enroll.CodeNotApproved || !strings.Contains(got.Failure.Detail, tc.words) || got.Decision != nil {
						b.Fatalf("the row is %s, failure %+v", got.State, got.Failure)
					}
				}
				b.want(b.get(late.ID), enroll.Held)
				if next := b.enroll(held(spki), time.Minute); next.State != enroll.Held {
					b.Errorf("asked again, the request is %s, want held", next.State)
				}
				if b.center.asked() != 0 {
					b.Error("the authority was asked")
				}
			})
		})
	}
}

// TestHeldIsNotPaced: a held request takes no turn of an authority with a rate, and keeps nobody from it.
func TestHeldIsNotPaced(t *testing.T) {
	inBubble(t, func(b *bench) { b.engine.Rates = map[string]enroll.Rate{"fake": {Count: 1, Per: time.Minute}} }, func(b *bench) {
		for range 20 {
			b.want(b.enroll(held(newKey(b)), time.Second), enroll.Held)
		}
		begun := time.Now()
		b.want(b.enroll(request(newKey(b)), time.Hour), enroll.Issued)
		if d := time.Since(begun); d > time.Minute+time.Second {
			b.Errorf("the request that need not wait for an approval took %s", d)
		}
		row := b.enroll(held(newKey(b)), time.Second)
		if _, err := b.engine.Approve(b.Context(), row.ID, root); err != nil {
			b.Fatal(err)
		}
		b.want(b.enroll(held(row.PublicKey), time.Hour), enroll.Issued)
	})
}

// TestPrivateHeld: a private authority signs nothing before the approval, neither before the row is there nor after.
func TestPrivateHeld(t *testing.T) {
	inPrivate(t, nil, func(b *bench, d *discreet) {
		row := b.enroll(held(newKey(b)), time.Minute)
		b.want(row, enroll.Held)
		b.want(b.enroll(request(row.PublicKey), time.Minute), enroll.Held)
		time.Sleep(time.Hour)
		if n := d.asked(); n != 0 {
			b.Fatalf("it has signed %d times before the approval", n)
		}
		if _, err := b.engine.Approve(b.Context(), row.ID, root); err != nil {
			b.Fatal(err)
		}
		got := b.enroll(held(row.PublicKey), time.Minute)
		b.want(got, enroll.Issued)

		denied := b.enroll(held(newKey(b)), time.Minute)
		if _, err := b.engine.Deny(b.Context(), denied.ID, root); err != nil {
			b.Fatal(err)
		}
		b.want(b.enroll(request(denied.PublicKey), time.Minute), enroll.Denied)
		if n := d.asked(); n != 1 {
			b.Errorf("it has signed %d times, want once", n)
		}
	})
}

// TestApprovedTriesAgain: an approved request is retried, resumed and looked for like any other, and not held again.
func TestApprovedTriesAgain(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.script(unreachable, losesAnswer, unreachable, finalFault)
		b.engine.MaxAttempts = 3
	}, func(b *bench) {
		r := held(newKey(b))
		row := b.enroll(r, time.Minute)
		if _, err := b.engine.Approve(b.Context(), row.ID, root); err != nil {
			b.Fatal(err)
		}
		time.Sleep(time.Hour)
		failed := b.get(row.ID)
		if failed.State != enroll.Failed || !failed.Progress.Submitted || failed.Decision == nil {
			b.Fatalf("the row is %s, %+v, want failed after its answer was lost, with the decision", failed.State, failed.Progress)
		}
		// Other extensions under the same key and name are another thing to approve.
		other := r
		other.CSR = []byte{0x30, 0}
		waits := b.enroll(other, time.Minute)
		b.want(waits, enroll.Held)
		if !waits.Progress.Submitted {
			b.Error("the lost answer was forgotten")
		}
		if _, err := b.engine.Deny(b.Context(), waits.ID, root); err != nil {
			b.Fatal(err)
		}
		if got := b.get(waits.ID); !got.Unanswered() {
			b.Error("the denied row has forgotten that the authority may have issued")
		}
		if _, err := b.engine.Approve(b.Context(), waits.ID, root); err != nil {
			b.Fatal(err)
		}
		got := b.enroll(other, time.Minute)
		b.want(got, enroll.Issued)
		if n := b.center.count(); n != 1 {
			b.Errorf("%d certificates, want the lost one alone", n)
		}
		if !bytes.Equal(got.Certificate, b.center.issued[0].cert) {
			b.Error("it is another certificate")
		}
	})
}

// TestApproveAtOnce: two processes decide at the same moment; the journal takes one decision.
func TestApproveAtOnce(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		for range 20 {
			row := b.enroll(held(newKey(b)), time.Minute)
			results := make(chan error, 2)
			go func() {
				_, err := b.command().Approve(b.Context(), row.ID, root)
				results <- err
			}()
			go func() {
				_, err := b.command().Deny(b.Context(), row.ID, root)
				results <- err
			}()
			for range 2 {
				// An approval after the denial is a change of mind.
				if err := <-results; err != nil && !errors.Is(err, enroll.ErrState) {
					b.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
			got := b.get(row.ID)
			if got.Decision == nil || !got.Decision.Approved || got.State != enroll.Issued && got.State != enroll.Stale {
				b.Errorf("the row is %s, decision %+v", got.State, got.Decision)
			}
		}
	})
}
