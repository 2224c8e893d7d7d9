package enroll

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"callsign/internal/ca"
)

// Find returns the rows that f picks in the order of their arrival, and how many there are whatever f.Limit says.
func (e *Engine) Find(ctx context.Context, f Filter) (rows []Enrolment, total int, err error) {
	if rows, total, err = e.Journal.Find(ctx, f); err != nil {
		return nil, 0, fmt.Errorf("look for enrolments: %w", err)
	}
	return rows, total, nil
}

// Settle brings the answer of an authority that came by another way than [ca.Authority].Issue: a certificate that a person had signed elsewhere,
// or that person's refusal. The row must be held, requested, submitted or pending, otherwise the error is [ErrState] and the row says in which state it is.
// The answer is looked at as one of the authority's own; a certificate that is refused (a *[ca.Error]: enroll.wrong-key,
// enroll.bad-certificate) leaves the row as it was. out.Status is [ca.Issued] or [ca.Denied].
//
// The engine of another process may work on the same journal: the row is written at its version, and an attempt that is under way there gives
// way. The owner gets the certificate with the next [Engine.Enroll] of the same request.
func (e *Engine) Settle(ctx context.Context, id string, out ca.Outcome) (Enrolment, error) {
	if out.Status != ca.Issued && out.Status != ca.Denied {
		return Enrolment{}, &Error{
			ErrCode: "enroll.bad-request", Detail: fmt.Sprintf("an answer from outside is a certificate or a refusal, not status %d", out.Status),
			Fix: "this is a defect of the program: report it",
		}
	}
	write := "issued"
	if out.Status == ca.Denied {
		write = "denied"
	}
	row, changed, err := e.change(ctx, id, write, func(row *Enrolment) error {
		if !row.State.unsettled() {
			return ErrState
		}
		next := *row
		if out.Status == ca.Issued {
			if err := next.accept(out); err != nil {
				return err
			}
		}
		next.conclude(out)
		*row = next
		return nil
	})
	if changed {
		e.logConclusion(ctx, &row, slog.Bool("settled", true))
	}
	return row, err
}

// conclude makes the row issued or denied. What was accepted of the answer is in the row already.
func (e *Enrolment) conclude(out ca.Outcome) {
	if out.RequestID != "" {
		e.Progress.RequestID = out.RequestID
	}
	e.Attempts, e.NextAttempt, e.RetryAfter, e.Failure = 0, time.Time{}, 0, nil
	if out.Status == ca.Issued {
		e.State = Issued
		return
	}
	f := refusal(out.Denial)
	e.State, e.Failure = Denied, &f
}

// logConclusion tells that a row was issued or denied.
func (e *Engine) logConclusion(ctx context.Context, row *Enrolment, more ...slog.Attr) {
	if row.State == Issued {
		e.log.LogAttrs(ctx, slog.LevelInfo, "certificate issued", attrs("enroll.issued", row, more...)...)
		return
	}
	e.log.LogAttrs(ctx, slog.LevelWarn, "authority denied the request", attrs("enroll.denied", row, more...)...)
}

// Unanswered tells that the authority may have issued a certificate for a row that is over, and that nobody has seen its answer.
// Another row of the same request may have found it since: see [Admit].
func (e *Enrolment) Unanswered() bool {
	return (e.State == Stale || e.State == Failed || e.Rejected()) && e.Progress.Submitted && len(e.Certificate) == 0
}

// Dismiss takes a stale row, or one that is [Enrolment.Unanswered], off the list of stale certificates. The journal keeps it, with its
// certificate and the time of the dismissal. Dismissing again is harmless; a row in any other state is [ErrState].
func (e *Engine) Dismiss(ctx context.Context, id string) (Enrolment, error) {
	row, changed, err := e.change(ctx, id, "dismiss", func(row *Enrolment) error {
		switch {
		case row.State != Stale && !row.Unanswered():
			return ErrState
		case !row.Dismissed.IsZero():
			return errUnchanged
		}
		row.Dismissed = e.now()
		return nil
	})
	if changed {
		e.log.LogAttrs(ctx, slog.LevelInfo, "stale certificate dismissed", attrs("enroll.dismissed", &row)...)
	}
	return row, err
}
