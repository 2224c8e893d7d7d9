package enroll

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"callsign/internal/ca"
)

// A ledger is an authority's page in the journal during one attempt: one row.
type ledger struct {
	engine *Engine
	mu     sync.Mutex
	row    Enrolment
	lost   bool // another process works on the row: this attempt must not write any more
	closed bool // the attempt is over
}

// errSuperseded stops an attempt whose row was given up before the authority was asked.
var errSuperseded = errors.New("the request was superseded before the authority was asked")

// Progress implements [ca.Ledger].
func (l *ledger) Progress() ca.Progress {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.row.Progress
	p.Mark = bytes.Clone(p.Mark)
	return p
}

// HighestRequestID implements [ca.Ledger].
func (l *ledger) HighestRequestID(ctx context.Context) (int64, error) {
	return l.engine.Journal.HighestRequestID(ctx, l.row.Authority)
}

// Record implements [ca.Ledger]. The write is not cut off with ctx: the request id of an answer that has just arrived is worth more than the deadline.
//
// When the row was superseded or cancelled meanwhile, the progress is still kept in it, so that a certificate which the authority issues is
// found; only an attempt that has not asked the authority yet is stopped, with an error.
func (l *ledger) Record(ctx context.Context, p ca.Progress) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.lost {
		return fmt.Errorf("record progress of enrolment %s: %w", l.row.ID, ErrConflict)
	}
	e := l.engine
	for {
		row := l.row
		before := row.Progress
		row.Progress = p
		row.Progress.Mark = bytes.Clone(p.Mark)
		row.Updated = e.now()
		asked := p.Submitted && row.State == Requested
		if asked {
			row.State = Submitted
		}
		e.writing(ctx, "record", &row)
		next, err := e.update(ctx, row)
		if err == nil {
			next.Login = l.row.Login
			l.row = next
			e.publish(next)
			if asked {
				e.log.LogAttrs(ctx, slog.LevelInfo, "enrolment submitted", attrs("enroll.submitted", &next)...)
			} else {
				e.log.LogAttrs(ctx, slog.LevelInfo, "progress at the authority recorded", attrs("enroll.recorded", &next)...)
			}
			if gone(next.State) && !before.Submitted {
				return errSuperseded
			}
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return fmt.Errorf("record progress of enrolment %s: %w", row.ID, err)
		}
		now, rerr := e.Journal.Get(context.WithoutCancel(ctx), row.ID)
		if rerr != nil {
			return fmt.Errorf("record progress of enrolment %s: %w", row.ID, errors.Join(err, rerr))
		}
		if !gone(now.State) {
			l.lost = true
			return fmt.Errorf("record progress of enrolment %s: %w", row.ID, err)
		}
		if !before.Submitted {
			now.Login = l.row.Login
			l.row = now
			return errSuperseded
		}
		now.Login = l.row.Login
		l.row = now
	}
}

// gone tells whether a row was given up by its owner or an administrator.
func gone(s State) bool { return s == Stale || s == Failed }
