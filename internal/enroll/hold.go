package enroll

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// The codes of held requests that got no certificate, in Failure.Code.
const (
	CodeRequestDenied = "ra.request-denied"   // denied by an administrator of ours
	CodeNotApproved   = "enroll.not-approved" // nobody decided in time
)

const (
	defaultHeldFor = 30 * 24 * time.Hour
	heldEvery      = time.Minute // how often Run looks for held rows whose time is over
	heldBatch      = 256         // of them, how many are read at once
)

// Approve lets a held request go to its authority: the row becomes requested, or submitted when its progress says that
// the authority may have been asked before, and is due. d.Approved need not be set; a zero d.At is now. The engine of
// another process may work on the same journal: its [Engine.Run] finds the row within its Interval.
//
// Approving again is harmless, and the first decision stays. A request that an administrator denied may be approved after all:
// its row becomes stale, and the next [Engine.Enroll] of the same request goes to the authority without being held. Any
// other row is [ErrState]. Without d.By the error is an *[Error] with code enroll.bad-request.
func (e *Engine) Approve(ctx context.Context, id string, d Decision) (Enrolment, error) {
	d.Approved = true
	row, changed, err := e.decide(ctx, id, "approve", d, func(row *Enrolment, denied bool) error {
		switch {
		case row.State == Held && row.Progress.Submitted:
			row.State, row.NextAttempt = Submitted, e.now()
		case row.State == Held:
			row.State, row.NextAttempt = Requested, e.now()
		case denied:
			row.State = Stale
		default:
			return ErrState
		}
		return nil
	})
	if changed {
		e.log.LogAttrs(ctx, slog.LevelInfo, "request approved", attrs("enroll.approved", &row)...)
		e.Wake()
	}
	return row, err
}

// Deny refuses a held request: the row becomes denied, with the failure [CodeRequestDenied], which has d.Note for the client.
// d.Approved is ignored; a zero d.At is now. The same request gets the same answer from now on, see [Admit].
// Denying again is harmless, and the first decision stays; a row in any other state is [ErrState]. Without d.By the error is an *[Error] with
// code enroll.bad-request.
func (e *Engine) Deny(ctx context.Context, id string, d Decision) (Enrolment, error) {
	d.Approved = false
	row, changed, err := e.decide(ctx, id, "deny", d, func(row *Enrolment, _ bool) error {
		if row.State != Held {
			return ErrState
		}
		f := Failure{
			Code: CodeRequestDenied, Detail: "the request was denied by an administrator",
			Remedy: "let the client ask for something else, or with another key; after a change of mind: callsign ra request approve " + row.ID,
		}
		if d.Note != "" {
			f.Detail += ": " + d.Note
		}
		row.State, row.Failure = Denied, &f
		return nil
	})
	if changed {
		e.log.LogAttrs(ctx, slog.LevelWarn, "administrator denied the request", attrs("enroll.denied", &row)...)
	}
	return row, err
}

// decide puts a decision into a row, and makes of the row what follows from it. follow gets the row with the decision, and
// whether an administrator had denied it before.
func (e *Engine) decide(ctx context.Context, id, write string, d Decision, follow func(row *Enrolment, denied bool) error) (Enrolment, bool, error) {
	if d.By == "" {
		return Enrolment{}, false, &Error{
			ErrCode: "enroll.bad-request", Detail: "a decision needs to say who made it", Fix: "this is a defect of the program: report it",
		}
	}
	return e.change(ctx, id, write, func(row *Enrolment) error {
		if row.Decision != nil && row.Decision.Approved == d.Approved {
			return errUnchanged
		}
		decision := d
		if decision.At.IsZero() {
			decision.At = e.now()
		}
		decision.At = decision.At.UTC().Truncate(time.Millisecond)
		now := *row
		now.Decision = &decision
		if err := follow(&now, row.Rejected()); err != nil {
			return err
		}
		*row = now
		return nil
	})
}

// expire fails the held rows that nobody decided on in time.
func (e *Engine) expire(ctx context.Context) error {
	limit := orDefault(e.HeldFor, defaultHeldFor)
	if limit < 0 {
		return nil
	}
	for {
		rows, _, err := e.Journal.Find(ctx, Filter{States: []State{Held}, Limit: heldBatch})
		if err != nil {
			return fmt.Errorf("look for held enrolments: %w", err)
		}
		expired := 0
		for i := range rows {
			if e.now().Sub(rows[i].Created) < limit {
				continue
			}
			expired++
			if err := e.expireRow(ctx, rows[i].ID, limit); err != nil {
				return err
			}
		}
		// They come in the order of their arrival: behind one that has time left there are none without.
		if expired < heldBatch {
			return nil
		}
	}
}

func (e *Engine) expireRow(ctx context.Context, id string, limit time.Duration) error {
	row, changed, err := e.change(ctx, id, "expire", func(row *Enrolment) error {
		if row.State != Held {
			return errUnchanged // decided at the last moment
		}
		row.State = Failed
		row.Failure = &Failure{
			Code: CodeNotApproved, Detail: fmt.Sprintf("nobody approved the request within %s", span(limit)),
			Remedy: "let the client ask again, and decide then: callsign ra request list",
		}
		return nil
	})
	if changed {
		e.log.LogAttrs(ctx, slog.LevelWarn, "held request was not approved in time", attrs("enroll.failed", &row)...)
	}
	return err
}

// span is a duration as people say it.
func span(d time.Duration) string {
	if day := 24 * time.Hour; d >= 2*day && d%day == 0 {
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}
