package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"callsign/internal/fleet"
)

// where collects conditions and their values.
type where struct {
	terms []string
	args  []any
}

func (w *where) add(present bool, term string, args ...any) {
	if present {
		w.terms = append(w.terms, term)
		w.args = append(w.args, args...)
	}
}

// in picks the rows whose column has one of some values; all rows when there are none.
func in[T ~string](w *where, column string, values []T) {
	if len(values) == 0 {
		return
	}
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = string(v)
	}
	w.add(true, column+` IN (?`+strings.Repeat(`, ?`, len(args)-1)+`)`, args...)
}

func (w *where) String() string {
	if len(w.terms) == 0 {
		return ""
	}
	return ` WHERE ` + strings.Join(w.terms, ` AND `)
}

// searching picks by a part of the column search, read from its index rather than from the records.
const searching = `name IN (SELECT name FROM device INDEXED BY device_search WHERE instr(search, ?) > 0)`

func deviceWhere(q *fleet.Query) *where {
	w := &where{}
	w.add(q.Text != "", searching, strings.ToLower(q.Text))
	w.add(q.Operation != "", `operation = ?`, string(q.Operation))
	// Said once more in the words of the index device_due, so that it can be used.
	w.add(q.Operation != "" && q.Operation != fleet.OperationNone, `operation <> 'none'`)
	w.add(q.Status != "", `status = ?`, string(q.Status))
	w.add(q.Auth != "", `auth = ?`, string(q.Auth))
	w.add(q.Origin != "", `origin = ?`, string(q.Origin))
	w.add(q.Model != "", searching+` AND model = ?`, strings.ToLower(searchMark+q.Model+searchMark), q.Model)
	w.add(q.LSC == fleet.LSCPresent, `lsc_issuer_id IS NOT NULL`)
	w.add(q.LSC == fleet.LSCMissing, `lsc_issuer_id IS NULL`)
	// As with the text: left to itself SQLite would read every record rather than sort.
	w.add(!q.ExpiresBefore.IsZero(), `name IN (SELECT name FROM device INDEXED BY device_expiry WHERE lsc_not_after < ?)`, q.ExpiresBefore.UnixMilli())
	w.add(q.IssuerID != "", `lsc_issuer_id = ?`, q.IssuerID)
	return w
}

// Devices implements fleet.Store.
func (r *Devices) Devices(ctx context.Context, q fleet.Query) (devices []fleet.Device, total int, err error) {
	w := deviceWhere(&q)
	if err := r.s.read.QueryRowContext(ctx, `SELECT count(*) FROM device`+w.String(), w.args...).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count devices: %w", err)
	}
	w.add(q.After != "", `name > ?`, q.After)
	limit := q.Limit
	if limit <= 0 {
		limit = -1
	}
	devices, err = listDevices(ctx, r.s.read, `SELECT `+deviceColumns+` FROM device`+w.String()+` ORDER BY name LIMIT ?`, append(w.args, limit)...)
	return devices, total, err
}

// A querier asks: the readers, a transaction of theirs, or a write.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// listOf reads every row of a query, on the readers and inside of a write.
func listOf[T any](ctx context.Context, q querier, scan func(*sql.Rows) (T, error), query string, args ...any) (list []T, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// listDevices works as listOf does. The query gives rows of deviceColumns.
func listDevices(ctx context.Context, q querier, query string, args ...any) ([]fleet.Device, error) {
	devices, err := listOf(ctx, q, func(row *sql.Rows) (fleet.Device, error) { return scanDevice(row) }, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	return devices, nil
}

// Summarise implements fleet.Store. Each count is made in an index.
func (r *Devices) Summarise(ctx context.Context, now time.Time) (fleet.Summary, error) {
	sum := fleet.Summary{Operations: map[fleet.Operation]int{}, Statuses: map[fleet.Status]int{}, Auths: map[fleet.AuthMode]int{}}
	// One transaction, so that the counts fit each other.
	tx, err := r.s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return sum, fmt.Errorf("count devices: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	count := func(to *int, query string, args ...any) {
		if err == nil {
			err = tx.QueryRowContext(ctx, query, args...).Scan(to)
		}
	}
	group := func(query string, add func(value string, n int)) {
		if err == nil {
			err = eachCount(ctx, tx, query, add)
		}
	}
	count(&sum.Phones, `SELECT count(*) FROM device`)
	group(`SELECT operation, count(*) FROM device WHERE operation <> 'none' GROUP BY operation`, func(v string, n int) { sum.Operations[fleet.Operation(v)] = n })
	group(`SELECT status, count(*) FROM device GROUP BY status`, func(v string, n int) { sum.Statuses[fleet.Status(v)] = n })
	group(`SELECT auth, count(*) FROM device GROUP BY auth`, func(v string, n int) { sum.Auths[fleet.AuthMode(v)] = n })
	at, soon := now.UnixMilli(), now.AddDate(0, 0, 30).UnixMilli()
	count(&sum.LSCs, `SELECT count(*) FROM device WHERE lsc_issuer_id IS NOT NULL`)
	count(&sum.Expired, `SELECT count(*) FROM device WHERE lsc_not_after < ?`, at)
	count(&sum.In30Days, `SELECT count(*) FROM device WHERE lsc_not_after >= ? AND lsc_not_after < ? AND coalesce(lsc_not_before, 0) <= ?`, at, soon, at)
	count(&sum.Renewing, `SELECT count(*) FROM device WHERE operation <> 'none' AND origin = 'renewal'`)
	count(&sum.Locked, `SELECT count(*) FROM device INDEXED BY device_due WHERE operation <> 'none' AND status IN ('upgrade_failed', 'delete_failed', 'troubleshoot_failed')`)
	if err != nil {
		return fleet.Summary{}, fmt.Errorf("count devices: %w", err)
	}
	due := 0
	for _, n := range sum.Operations {
		due += n
	}
	if idle := sum.Phones - due; idle > 0 {
		sum.Operations[fleet.OperationNone] = idle
	}
	return sum, nil
}

func eachCount(ctx context.Context, tx *sql.Tx, query string, add func(value string, n int)) (err error) {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var value string
		var n int
		if err := rows.Scan(&value, &n); err != nil {
			return err
		}
		add(value, n)
	}
	return rows.Err()
}
