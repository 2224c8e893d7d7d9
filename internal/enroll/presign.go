package enroll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"callsign/internal/ca"
)

// A row is written before its authority is asked so that a certificate which the authority issued is never forgotten. Of a [ca.Private]
// authority nothing can be forgotten: a certificate that is not on record was never seen by anybody. Such an authority signs
// first, and the row begins with its certificate, which saves a commit. Two calls for one request may both sign then; the journal lets only
// one of the rows in (see [Admit]), and the other certificate is dropped unseen.

// knowledge is what the caller has found out about a request already.
type knowledge struct{ proven, unknown bool }

// presign asks a private authority for the certificate of a row that is not in the journal yet, and returns the row as issued. ok is
// false when the row has to go the long way: it is to be held, the authority is not private, has a rate to keep or all its places are taken, there is a live row of the same request or
// one whose answer was never seen, or the authority has not issued. A refusal or a failure is thus found once more, and recorded, by the
// worker of an ordinary row.
func (e *Engine) presign(ctx context.Context, row Enrolment, login *ca.Login, told knowledge) (_ Enrolment, ok bool) {
	if row.State != Requested {
		return row, false // nothing is signed before it is approved
	}
	authority := e.Authorities[row.Authority]
	if private, is := authority.(ca.Private); !is || !private.Private() || e.paces[row.Authority] != nil {
		return row, false
	}
	if !told.unknown && !e.mayBegin(ctx, row) {
		return row, false
	}
	slots := e.slots[row.Authority]
	select {
	case slots <- struct{}{}:
	default:
		return row, false
	}
	l := &ledger{engine: e, row: row, closed: true} // there is no row to record anything in
	l.row.Login, l.row.Proven = login, told.proven
	out, err := e.issue(ctx, authority, l)
	<-slots
	e.next(ctx, row.Authority)
	if err != nil || out.Status != ca.Issued || row.accept(out) != nil {
		return row, false
	}
	row.Progress.RequestID = out.RequestID // as settle does; a private authority has no numbers, what wraps one may
	row.State, row.NextAttempt, row.Updated = Issued, time.Time{}, e.now()
	return row, true
}

// mayBegin tells whether the request begins anew, as far as the journal knows now.
func (e *Engine) mayBegin(ctx context.Context, row Enrolment) bool {
	last, err := e.Journal.Last(ctx, row.Request)
	if err != nil {
		return errors.Is(err, ErrNotFound)
	}
	admitted, how := Admit(row, last)
	return how != Existing && admitted.State == Requested
}

// openIssued puts a row with its certificate into the journal. When another call for the same request was there first, its row is followed and
// this certificate is dropped: it has not left this function.
func (e *Engine) openIssued(ctx context.Context, row Enrolment, login *ca.Login) (Enrolment, error) {
	e.writing(ctx, "issued", &row)
	owner := row.Owner
	row, created, err := e.Journal.Open(ctx, row)
	if err != nil {
		return Enrolment{}, fmt.Errorf("open an enrolment for %s: %w", owner, err)
	}
	if created {
		e.log.LogAttrs(ctx, slog.LevelInfo, "certificate issued", attrs("enroll.issued", &row)...)
	}
	return e.follow(ctx, row, login, nil), nil
}
