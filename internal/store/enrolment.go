package store

import (
	"bytes"
	"context"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/asn1"
	"errors"
	"fmt"
	"strconv"
	"time"

	"callsign/internal/ca"
	"callsign/internal/enroll"
)

// Journal is the enrolment journal in the store: an [enroll.Journal].
type Journal struct{ s *Store }

// Journal returns the enrolment journal.
func (s *Store) Journal() *Journal { return &Journal{s: s} }

var _ enroll.Journal = (*Journal)(nil)

// The columns of a row in the order in which scanEnrolment reads them.
const enrolmentColumns = `id, authority, owner, label, public_key, subject, extensions, csr, vouch, reuse_ms, created,
	state, submitted, resubmitted, ca_request, mark, certificate, chain, serial, issuer, not_after, pop, failure,
	attempts, next_attempt, retry_after_ms, dismissed, decision, updated, version`

const (
	insertEnrolment = `INSERT INTO enrolment (id, authority, owner, label, public_key, subject, extensions, csr, vouch, reuse_ms, created, request_hash,
		state, submitted, resubmitted, ca_request, ca_number, mark, certificate, chain, serial, issuer, not_after, pop, failure,
		attempts, next_attempt, retry_after_ms, dismissed, decision, updated, version)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	updateEnrolment = `UPDATE enrolment SET state = ?, submitted = ?, resubmitted = ?, ca_request = ?, ca_number = ?, mark = ?,
		certificate = ?, chain = ?, serial = ?, issuer = ?, not_after = ?, pop = ?, failure = ?,
		attempts = ?, next_attempt = ?, retry_after_ms = ?, dismissed = ?, decision = ?, updated = ?, version = ?
		WHERE id = ? AND version = ?`
	lastEnrolment = `SELECT ` + enrolmentColumns + ` FROM enrolment WHERE request_hash = ? ORDER BY seq DESC LIMIT 1`
	getEnrolment  = `SELECT ` + enrolmentColumns + ` FROM enrolment WHERE id = ?`
	hasEnrolment  = `SELECT state FROM enrolment WHERE id = ?`

	enrolmentsByOwner = `SELECT ` + enrolmentColumns + ` FROM enrolment WHERE owner = ? ORDER BY seq DESC`
	dueEnrolments     = `SELECT ` + enrolmentColumns + ` FROM enrolment
		WHERE state IN ('requested', 'submitted', 'pending') AND next_attempt <= ? ORDER BY next_attempt, seq LIMIT ?`
	highestCANumber = `SELECT max(ca_number) FROM enrolment WHERE authority = ? AND ca_number IS NOT NULL`
)

// Open implements [enroll.Journal].
func (j *Journal) Open(ctx context.Context, e enroll.Enrolment) (row enroll.Enrolment, created bool, err error) {
	err = j.s.write(ctx, func(ctx context.Context, tx *tx) error {
		row, created, err = openEnrolment(ctx, tx, e)
		return err
	})
	if err != nil {
		return enroll.Enrolment{}, false, explain(j.s.path, err)
	}
	return row, created, nil
}

func openEnrolment(ctx context.Context, tx *tx, e enroll.Enrolment) (enroll.Enrolment, bool, error) {
	key := e.Key()
	last, err := scanEnrolment(tx.QueryRowContext(ctx, lastEnrolment, key[:]))
	switch {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return enroll.Enrolment{}, false, err
	default:
		row, admission := enroll.Admit(e, last)
		switch admission {
		case enroll.Existing:
			return row, false, nil
		case enroll.Replace:
			if _, err := tx.ExecContext(ctx, `UPDATE enrolment SET state = 'stale', updated = ?, version = version + 1 WHERE id = ?`, millis(e.Created), last.ID); err != nil {
				return enroll.Enrolment{}, false, err
			}
		case enroll.Fresh:
		}
		e = row
	}
	e.Login, e.Hold, e.Version = nil, false, 1
	c, err := columns(&e)
	if err != nil {
		return enroll.Enrolment{}, false, err
	}
	var extensions []byte
	if len(e.Extensions) > 0 {
		if extensions, err = asn1.Marshal(e.Extensions); err != nil {
			return enroll.Enrolment{}, false, fmt.Errorf("encode the extensions of enrolment %s: %w", e.ID, err)
		}
	}
	args := append([]any{
		e.ID, e.Authority, e.Owner, e.Label, blob(e.PublicKey), blob(e.Subject), extensions, e.CSR, e.Vouch,
		e.Reuse.Milliseconds(), millis(e.Created), key[:],
	}, c...)
	if _, err := tx.ExecContext(ctx, insertEnrolment, append(args, e.Version)...); err != nil {
		return enroll.Enrolment{}, false, err
	}
	cutTimes(&e)
	return e, true, nil
}

// columns are the values of the columns that change, from state to updated.
func columns(e *enroll.Enrolment) ([]any, error) {
	failure, err := jsonOf(e.Failure)
	if err != nil {
		return nil, fmt.Errorf("encode the failure of enrolment %s: %w", e.ID, err)
	}
	decision, err := jsonOf(cutDecision(e.Decision))
	if err != nil {
		return nil, fmt.Errorf("encode the decision on enrolment %s: %w", e.ID, err)
	}
	var number sql.NullInt64
	if n, err := strconv.ParseInt(e.Progress.RequestID, 10, 64); err == nil && n > 0 {
		number = sql.NullInt64{Int64: n, Valid: true}
	}
	return []any{
		string(e.State), e.Progress.Submitted, e.Progress.Resubmitted, e.Progress.RequestID, number, e.Progress.Mark,
		e.Certificate, bytes.Join(e.Chain, nil), e.Serial, e.Issuer, millis(e.NotAfter), string(e.POP), failure,
		e.Attempts, millis(e.NextAttempt), e.RetryAfter.Milliseconds(), millis(e.Dismissed), decision, millis(e.Updated),
	}, nil
}

// Update implements [enroll.Journal].
func (j *Journal) Update(ctx context.Context, e enroll.Enrolment) (enroll.Enrolment, error) {
	var row enroll.Enrolment
	err := j.s.write(ctx, func(ctx context.Context, tx *tx) error {
		c, err := columns(&e)
		if err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, updateEnrolment, append(c, e.Version+1, e.ID, e.Version)...)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if n == 1 {
			return nil
		}
		var state string
		err = tx.QueryRowContext(ctx, hasEnrolment, e.ID).Scan(&state)
		if errors.Is(err, sql.ErrNoRows) {
			return enroll.ErrNotFound
		}
		if err != nil {
			return err
		}
		return enroll.ErrConflict
	})
	if err != nil {
		return enroll.Enrolment{}, explain(j.s.path, err)
	}
	row = e
	row.Login, row.Hold, row.Version = nil, false, e.Version+1
	cutTimes(&row)
	return row, nil
}

// cutTimes makes the times of a row as they will be read: cut to the millisecond, in UTC.
func cutTimes(e *enroll.Enrolment) {
	for _, t := range []*time.Time{&e.Created, &e.Updated, &e.NextAttempt, &e.NotAfter, &e.Dismissed} {
		*t = timeOf(millis(*t))
	}
	e.Decision = cutDecision(e.Decision)
}

// cutDecision is a copy of d with its time cut.
func cutDecision(d *enroll.Decision) *enroll.Decision {
	if d == nil {
		return nil
	}
	c := *d
	c.At = timeOf(millis(c.At))
	return &c
}

// confirmEnrolment notes in a transaction, together with what the caller writes there, that the owner has stored the certificate of an issued row.
// Confirming again is harmless. It returns [enroll.ErrNotFound] when there is no such row and [enroll.ErrState] when it is in another state.
func confirmEnrolment(ctx context.Context, tx *tx, id string, now time.Time) error {
	res, err := tx.ExecContext(ctx, `UPDATE enrolment SET state = 'confirmed', updated = ?, version = version + 1 WHERE id = ? AND state = 'issued'`, millis(now), id)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil || n == 1 {
		return err
	}
	var state enroll.State
	err = tx.QueryRowContext(ctx, hasEnrolment, id).Scan(&state)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("confirm enrolment %s: %w", id, enroll.ErrNotFound)
	case err != nil:
		return err
	case state == enroll.Confirmed:
		return nil
	default:
		return fmt.Errorf("confirm enrolment %s, which is %s: %w", id, state, enroll.ErrState)
	}
}

// Get implements [enroll.Journal].
func (j *Journal) Get(ctx context.Context, id string) (enroll.Enrolment, error) {
	return j.one(ctx, getEnrolment, id)
}

// Last implements [enroll.Journal].
func (j *Journal) Last(ctx context.Context, r enroll.Request) (enroll.Enrolment, error) {
	key := r.Key()
	return j.one(ctx, lastEnrolment, key[:])
}

func (j *Journal) one(ctx context.Context, query string, arg any) (enroll.Enrolment, error) {
	st, err := j.s.prepared(ctx, query) //nolint:sqlclosecheck // kept, closed by Close
	if err != nil {
		return enroll.Enrolment{}, err
	}
	row, err := scanEnrolment(st.QueryRowContext(ctx, arg))
	if errors.Is(err, sql.ErrNoRows) {
		return enroll.Enrolment{}, enroll.ErrNotFound
	}
	return row, explain(j.s.path, err)
}

// ByOwner implements [enroll.Journal].
func (j *Journal) ByOwner(ctx context.Context, owner string) ([]enroll.Enrolment, error) {
	return j.list(ctx, enrolmentsByOwner, owner)
}

// Due implements [enroll.Journal].
func (j *Journal) Due(ctx context.Context, now time.Time, limit int) ([]enroll.Enrolment, error) {
	return j.list(ctx, dueEnrolments, now.UnixMilli(), limit)
}

func (j *Journal) list(ctx context.Context, query string, args ...any) (list []enroll.Enrolment, err error) {
	st, err := j.s.prepared(ctx, query) //nolint:sqlclosecheck // kept, closed by Close
	if err != nil {
		return nil, err
	}
	rows, err := st.QueryContext(ctx, args...)
	return j.collect(rows, err)
}

// collect reads the rows of a query, whose error it hands on, and closes them.
func (j *Journal) collect(rows *sql.Rows, failure error) (list []enroll.Enrolment, err error) {
	if failure != nil {
		return nil, explain(j.s.path, failure)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		row, err := scanEnrolment(rows)
		if err != nil {
			return nil, explain(j.s.path, err)
		}
		list = append(list, row)
	}
	return list, explain(j.s.path, rows.Err())
}

// HighestRequestID implements [enroll.Journal].
func (j *Journal) HighestRequestID(ctx context.Context, authority string) (int64, error) {
	var n sql.NullInt64
	err := j.s.read.QueryRowContext(ctx, highestCANumber, authority).Scan(&n)
	return n.Int64, explain(j.s.path, err)
}

// scanEnrolment reads a row of enrolmentColumns.
func scanEnrolment(row interface{ Scan(...any) error }) (enroll.Enrolment, error) {
	var (
		e                                    enroll.Enrolment
		extensions, chain                    []byte
		reuse, retryAfter                    int64
		created, updated, notAfter, nextAtMs sql.NullInt64
		dismissed                            sql.NullInt64
		state, pop                           string
		failure, decision                    sql.NullString
	)
	err := row.Scan(&e.ID, &e.Authority, &e.Owner, &e.Label, &e.PublicKey, &e.Subject, &extensions, &e.CSR, &e.Vouch, &reuse, &created,
		&state, &e.Progress.Submitted, &e.Progress.Resubmitted, &e.Progress.RequestID, &e.Progress.Mark,
		&e.Certificate, &chain, &e.Serial, &e.Issuer, &notAfter, &pop, &failure,
		&e.Attempts, &nextAtMs, &retryAfter, &dismissed, &decision, &updated, &e.Version)
	if err != nil {
		return enroll.Enrolment{}, err
	}
	e.State, e.POP = enroll.State(state), ca.POP(pop)
	e.Reuse, e.RetryAfter = time.Duration(reuse)*time.Millisecond, time.Duration(retryAfter)*time.Millisecond
	e.Created, e.Updated, e.NotAfter, e.NextAttempt = timeOf(created), timeOf(updated), timeOf(notAfter), timeOf(nextAtMs)
	e.Dismissed = timeOf(dismissed)
	if len(extensions) > 0 {
		var list []pkix.Extension
		if rest, err := asn1.Unmarshal(extensions, &list); err != nil || len(rest) > 0 {
			return enroll.Enrolment{}, fmt.Errorf("decode the extensions of enrolment %s: %w", e.ID, errors.Join(err, errTrailing(rest)))
		}
		e.Extensions = list
	}
	for len(chain) > 0 {
		var one asn1.RawValue
		rest, err := asn1.Unmarshal(chain, &one)
		if err != nil {
			return enroll.Enrolment{}, fmt.Errorf("decode the chain of enrolment %s: %w", e.ID, err)
		}
		e.Chain = append(e.Chain, one.FullBytes)
		chain = rest
	}
	if e.Failure, err = fromJSON[enroll.Failure](failure); err != nil {
		return enroll.Enrolment{}, fmt.Errorf("decode the failure of enrolment %s: %w", e.ID, err)
	}
	if e.Decision, err = fromJSON[enroll.Decision](decision); err != nil {
		return enroll.Enrolment{}, fmt.Errorf("decode the decision on enrolment %s: %w", e.ID, err)
	}
	return e, nil
}

func errTrailing(rest []byte) error {
	if len(rest) == 0 {
		return nil
	}
	return fmt.Errorf("%d bytes too many", len(rest))
}
