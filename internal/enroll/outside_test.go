package enroll_test

import (
	"errors"
	"testing"
	"time"

	"callsign/internal/ca"
	"callsign/internal/enroll"
)

// TestSettle brings answers of an authority by another way, through an engine of another process.
func TestSettle(t *testing.T) {
	cases := map[string]struct {
		out   func(b *bench, spki []byte) ca.Outcome
		state enroll.State
		code  string // of the error; empty: none
		again error  // of the same answer once more
	}{
		"a certificate": {
			out: func(b *bench, spki []byte) ca.Outcome {
				return ca.Outcome{Status: ca.Issued, Certificate: b.center.sign(spki, 1), Chain: [][]byte{b.center.cert.Raw}, POP: ca.POPSession}
			},
			state: enroll.Issued, again: enroll.ErrState,
		},
		"a refusal": {
			out: func(*bench, []byte) ca.Outcome {
				return ca.Outcome{Status: ca.Denied, Denial: &ca.Error{ErrCode: "fake.denied", Detail: "no", Final: true}}
			},
			state: enroll.Denied, again: enroll.ErrState,
		},
		"a certificate for another key": {
			out: func(b *bench, _ []byte) ca.Outcome {
				return ca.Outcome{Status: ca.Issued, Certificate: b.center.sign(newKey(b), 1)}
			},
			state: enroll.Pending, code: "enroll.wrong-key",
		},
		"no certificate at all": {
			out:   func(*bench, []byte) ca.Outcome { return ca.Outcome{Status: ca.Issued, Certificate: []byte("hello")} },
			state: enroll.Pending, code: "enroll.bad-certificate",
		},
		"an answer that is none": {
			out:   func(*bench, []byte) ca.Outcome { return ca.Outcome{Status: ca.Pending} },
			state: enroll.Pending, code: "enroll.bad-request",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) { b.script(pends, pends, pends) }, func(b *bench) {
				spki := newKey(b)
				before := b.enroll(request(spki), time.Minute)
				b.want(before, enroll.Pending)
				command := &enroll.Engine{Journal: b.journal} // that of a command, which asks nobody
				out := tc.out(b, spki)
				row, err := command.Settle(b.Context(), before.ID, out)
				var coded interface{ Code() string }
				switch {
				case tc.code == "" && err != nil:
					b.Fatalf("Settle: %v", err)
				case tc.code != "" && (!errors.As(err, &coded) || coded.Code() != tc.code):
					b.Fatalf("Settle: %v, want code %s", err, tc.code)
				case tc.code == "" && row.State != tc.state:
					b.Errorf("Settle returned a row that is %s, want %s", row.State, tc.state)
				}
				kept, err := b.engine.Get(b.Context(), before.ID)
				if err != nil || kept.State != tc.state {
					b.Errorf("the row is %s (%v), want %s", kept.State, err, tc.state)
				}
				if tc.code != "" && kept.Version != before.Version {
					b.Errorf("a refused answer changed the row to version %d", kept.Version)
				}
				if tc.again != nil {
					if _, err := command.Settle(b.Context(), before.ID, out); !errors.Is(err, tc.again) {
						b.Errorf("the same answer again: %v, want %v", err, tc.again)
					}
				}
				if tc.state == enroll.Issued {
					// The engine that runs has the row as pending in its memory at most; the owner's next call gets the certificate.
					got := b.enroll(request(spki), time.Minute)
					if got.ID != before.ID || len(got.Certificate) == 0 || got.Serial == "" || got.NotAfter.IsZero() || got.Failure != nil {
						b.Errorf("the next call got %s row %s", got.State, got.ID)
					}
				}
			})
		})
	}
}

// TestSettleDuringAnAttempt: an answer from outside arrives while the authority is being asked. The certificate that came first stays.
func TestSettleDuringAnAttempt(t *testing.T) {
	inBubble(t, func(b *bench) { b.script(slowToAnswer) }, func(b *bench) {
		spki := newKey(b)
		b.enroll(request(spki), time.Second)
		row := b.journal.All()[0]
		command := &enroll.Engine{Journal: b.journal}
		settled, err := command.Settle(b.Context(), row.ID, ca.Outcome{Status: ca.Issued, Certificate: b.center.sign(spki, 77)})
		if err != nil {
			b.Fatal(err)
		}
		time.Sleep(time.Minute)
		got := b.enroll(request(spki), time.Minute)
		if got.State != enroll.Issued || got.Serial != settled.Serial {
			b.Errorf("the row is %s with serial %s, want the one that was brought: %s", got.State, got.Serial, settled.Serial)
		}
	})
}

func TestDismiss(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		row := b.enroll(request(newKey(b)), time.Minute)
		if _, err := b.engine.Dismiss(b.Context(), row.ID); !errors.Is(err, enroll.ErrState) {
			b.Errorf("Dismiss of an issued row: %v, want ErrState", err)
		}
		if _, err := b.engine.Supersede(b.Context(), row.ID); err != nil {
			b.Fatal(err)
		}
		filter := enroll.Filter{States: []enroll.State{enroll.Stale}, Certified: true, Undismissed: true}
		if rows, total, err := b.engine.Find(b.Context(), filter); err != nil || total != 1 || len(rows) != 1 {
			b.Errorf("Find: %d rows of %d, %v; want the stale one", len(rows), total, err)
		}
		first, err := b.engine.Dismiss(b.Context(), row.ID)
		if err != nil || first.Dismissed.IsZero() || len(first.Certificate) == 0 {
			b.Fatalf("Dismiss: %v, dismissed %v", err, first.Dismissed)
		}
		time.Sleep(time.Hour)
		again, err := b.engine.Dismiss(b.Context(), row.ID)
		if err != nil || !again.Dismissed.Equal(first.Dismissed) {
			b.Errorf("Dismiss again: %v, %v; want the first time, %v", again.Dismissed, err, first.Dismissed)
		}
		if rows, total, err := b.engine.Find(b.Context(), filter); err != nil || total != 0 || len(rows) != 0 {
			b.Errorf("Find after the dismissal: %d rows of %d, %v", len(rows), total, err)
		}
		if _, err := b.engine.Dismiss(b.Context(), "0123456789abcdef0123456789abcdef"); !errors.Is(err, enroll.ErrNotFound) {
			b.Errorf("Dismiss of nothing: %v", err)
		}
	})
}

// TestUnanswered: a request whose answer was lost, and whose owner came back with another key, can be seen and taken off
// the list; one whose authority was never asked cannot.
func TestUnanswered(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		ctx := b.Context()
		open := func(id string, submitted bool) enroll.Enrolment {
			row, _, err := b.journal.Open(ctx, enroll.Enrolment{
				ID: id, Request: request(newKey(b)), State: enroll.Requested, Created: time.Now(), Updated: time.Now(),
			})
			if err != nil {
				b.Fatal(err)
			}
			row.Progress.Submitted = submitted
			if row, err = b.journal.Update(ctx, row); err != nil {
				b.Fatal(err)
			}
			if row.Unanswered() {
				b.Error("a live row is still waited for")
			}
			if row, err = b.engine.Supersede(ctx, id); err != nil {
				b.Fatal(err)
			}
			return row
		}
		lost, never := open("0000000000000000000000000000000a", true), open("0000000000000000000000000000000b", false)
		if !lost.Unanswered() || never.Unanswered() {
			b.Errorf("unanswered: %t and %t, want true and false", lost.Unanswered(), never.Unanswered())
		}
		lost.State = enroll.Failed
		if !lost.Unanswered() {
			b.Error("a row that gave up after its answer was lost is unanswered, too")
		}
		failed, err := b.journal.Update(ctx, lost)
		if err != nil {
			b.Fatal(err)
		}
		if row, err := b.engine.Dismiss(ctx, failed.ID); err != nil || row.Dismissed.IsZero() {
			b.Errorf("Dismiss: %v, %v", row.Dismissed, err)
		}
	})
}
