package store

import (
	"bytes"
	"context"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"callsign/capf"
	"callsign/internal/fleet"
)

var _ fleet.Store = (*Devices)(nil)

// Devices implements [fleet.Store].
type Devices struct{ s *Store }

// Devices returns the phones' records.
func (s *Store) Devices() *Devices { return &Devices{s: s} }

// The columns of a record. SQLite writes an index anew whenever one of its columns is named by an UPDATE, also for the
// value that is there; so the columns are in groups, and only those groups are named in which something changed. The name
// is in none of them: SQLite would take the row out and put it in anew.
const (
	stateFields = `operation, origin, status, auth_string, wrong_tries, completes_by, scheduled, result, note, shown, offered, updated`
	lscFields   = `lsc, lsc_serial, lsc_issuer, lsc_issuer_id, lsc_not_before, lsc_not_after, renew_at`
	setFields   = `model, description, auth, key_order, rsa_bits, ec_bits, no_mic, created`

	deviceColumns = `name, ` + stateFields + `, ` + lscFields + `, ` + setFields
)

const (
	selectDevice  = `SELECT ` + deviceColumns + ` FROM device WHERE name = ?`
	updateRenewAt = `UPDATE device SET renew_at = ? WHERE name = ?`
	// A certificate has the key that was asked for; in a SubjectPublicKeyInfo the key is at the end, however it is written.
	selectCertificateOwners = `SELECT owner FROM enrolment
		WHERE substr(public_key, -32) = substr(?1, -32) AND certificate = ?2`
	selectKeyOwner = `SELECT owner FROM enrolment
		WHERE substr(public_key, -32) = substr(?1, -32) AND public_key = ?1 AND owner <> ?2 AND owner LIKE 'phone:%' LIMIT 1`
)

var (
	insertDevice = `INSERT INTO device (` + deviceColumns + `, search) VALUES (` + marksFor(deviceColumns) + `, ?) ON CONFLICT (name) DO NOTHING`
	// By which groups changed besides the state.
	updateDevice       = updateOf(stateFields)
	updateDeviceLSC    = updateOf(stateFields + `, ` + lscFields)
	updateDeviceSet    = updateOf(stateFields + `, ` + setFields + `, search`)
	updateDeviceLSCSet = updateOf(stateFields + `, ` + lscFields + `, ` + setFields + `, search`)
)

func marksFor(columns string) string {
	return "?" + strings.Repeat(", ?", strings.Count(columns, ","))
}

func updateOf(columns string) string {
	return `UPDATE device SET (` + columns + `) = (` + marksFor(columns) + `) WHERE name = ?`
}

// Device implements fleet.Store.
func (r *Devices) Device(ctx context.Context, name string) (fleet.Device, error) {
	st, err := r.s.prepared(ctx, selectDevice) //nolint:sqlclosecheck // kept, closed by Close
	if err != nil {
		return fleet.Device{}, fmt.Errorf("read device %s: %w", name, err)
	}
	d, err := scanDevice(st.QueryRowContext(ctx, name))
	if err != nil && !errors.Is(err, fleet.ErrNotFound) {
		return d, fmt.Errorf("read device %s: %w", name, err)
	}
	return d, err
}

// AddDevices implements fleet.Store.
func (r *Devices) AddDevices(ctx context.Context, devices []fleet.Device) error {
	return r.s.write(ctx, func(ctx context.Context, tx *tx) error {
		now := r.s.now()
		for i := range devices {
			d := devices[i]
			if err := addDevice(ctx, tx, &d, now); err != nil {
				return err
			}
		}
		return nil
	})
}

func addDevice(ctx context.Context, tx *tx, d *fleet.Device, now time.Time) error {
	d.Updated = now
	if d.Created.IsZero() {
		d.Created = now
	}
	cut(d)
	args, err := stateArgs([]any{d.Name}, d)
	if err != nil {
		return err
	}
	args = append(setArgs(lscArgs(args, d), d), search(d))
	res, err := tx.ExecContext(ctx, insertDevice, args...)
	if err != nil {
		return fmt.Errorf("add device %s: %w", d.Name, err)
	}
	if n, err := res.RowsAffected(); err != nil {
		return fmt.Errorf("add device %s: %w", d.Name, err)
	} else if n == 0 {
		return fmt.Errorf("%s: %w", d.Name, fleet.ErrExists)
	}
	return nil
}

// UpdateDevice implements fleet.Store.
func (r *Devices) UpdateDevice(ctx context.Context, name string, change func(*fleet.Device) error) (fleet.Device, error) {
	return r.FinishDevice(ctx, name, fleet.Finish{}, change)
}

// FinishDevice implements fleet.Store.
func (r *Devices) FinishDevice(ctx context.Context, name string, f fleet.Finish, change func(*fleet.Device) error) (fleet.Device, error) {
	var d fleet.Device
	var issuer string // when it is not known yet
	err := r.s.write(ctx, func(ctx context.Context, tx *tx) error {
		now := r.s.now()
		var err error
		if d, err = scanDevice(tx.QueryRowContext(ctx, selectDevice, name)); err != nil {
			return err
		}
		if err := changeDevice(ctx, tx, &d, now, change); err != nil {
			return err
		}
		if f.Attempt != nil {
			if err := addAttempt(ctx, tx, name, f.Attempt); err != nil {
				return err
			}
		}
		if len(f.Issuer) > 0 {
			if issuer, err = r.s.addIssuer(ctx, tx, f.Issuer, now); err != nil {
				return err
			}
		}
		if f.Enrolment == "" {
			return nil
		}
		return confirmEnrolment(ctx, tx, f.Enrolment, now)
	})
	if err == nil && issuer != "" {
		r.s.issuers.Store(issuer, nil)
	}
	return d, err
}

// changeDevice lets change alter a record that was read in this transaction, and writes what is different.
func changeDevice(ctx context.Context, tx *tx, d *fleet.Device, now time.Time, change func(*fleet.Device) error) error {
	name := d.Name
	oldLSC, oldSet := lscArgs(nil, d), setArgs(nil, d)
	if err := change(d); err != nil {
		return err
	}
	d.Name, d.Updated = name, now
	cut(d)
	args, err := stateArgs(nil, d)
	if err != nil {
		return err
	}
	query := updateDevice
	newLSC, newSet := lscArgs(nil, d), setArgs(nil, d)
	changedLSC, changedSet := !sameArgs(oldLSC, newLSC), !sameArgs(oldSet, newSet)
	switch {
	case changedLSC && changedSet:
		query = updateDeviceLSCSet
	case changedLSC:
		query = updateDeviceLSC
	case changedSet:
		query = updateDeviceSet
	}
	if changedLSC {
		args = append(args, newLSC...)
	}
	if changedSet {
		args = append(append(args, newSet...), search(d))
	}
	if _, err := tx.ExecContext(ctx, query, append(args, name)...); err != nil {
		return fmt.Errorf("write device %s: %w", name, err)
	}
	return nil
}

// cut makes a record what it will be when it is read: times cut to the millisecond, in UTC. What the caller's record
// points to stays the caller's.
func cut(d *fleet.Device) {
	for _, t := range []*time.Time{&d.CompletesBy, &d.Scheduled, &d.RenewAt, &d.Created, &d.Updated} {
		*t = timeOf(millis(*t))
	}
	if d.LSC != nil {
		c := *d.LSC
		c.NotBefore, c.NotAfter = timeOf(millis(c.NotBefore)), timeOf(millis(c.NotAfter))
		d.LSC = &c
	}
	if d.Note != nil {
		n := *d.Note
		n.At = timeOf(millis(n.At))
		d.Note = &n
	}
}

// errNothing rolls a transaction back whose work is done: the caller hears the reason in another way.
var errNothing = errors.New("nothing is to be written")

// ApplyDevices implements fleet.Store.
func (r *Devices) ApplyDevices(ctx context.Context, changes []fleet.Change, partial bool) ([]error, error) {
	results := make([]error, len(changes))
	caller := ctx
	err := r.s.write(ctx, func(ctx context.Context, tx *tx) error {
		now, refused := r.s.now(), false
		for i, c := range changes {
			if err := caller.Err(); err != nil {
				return err // many changes take long, and nothing of them is written yet
			}
			err, own := applyDevice(ctx, tx, c, now)
			if own != nil {
				return own
			}
			results[i] = err
			refused = refused || err != nil
		}
		if refused && !partial {
			return errNothing
		}
		return nil
	})
	if errors.Is(err, errNothing) {
		err = nil
	}
	return results, err
}

// applyDevice makes one change; refusal is the change's own error.
func applyDevice(ctx context.Context, tx *tx, c fleet.Change, now time.Time) (refusal, err error) {
	fresh := fleet.NewDevice(c.Name)
	d, err := scanDevice(tx.QueryRowContext(ctx, selectDevice, fresh.Name))
	if errors.Is(err, fleet.ErrNotFound) {
		d = fresh
		if refusal := c.Apply(&d, false); refusal != nil {
			return refusal, nil
		}
		d.Name = fresh.Name
		return nil, addDevice(ctx, tx, &d, now)
	}
	if err != nil {
		return nil, err
	}
	err = changeDevice(ctx, tx, &d, now, func(d *fleet.Device) error {
		refusal = c.Apply(d, true)
		return refusal
	})
	if refusal != nil {
		return refusal, nil
	}
	return nil, err
}

// CertificateOwners implements fleet.Store.
func (r *Devices) CertificateOwners(ctx context.Context, x *x509.Certificate) (owners []string, err error) {
	st, err := r.s.prepared(ctx, selectCertificateOwners) //nolint:sqlclosecheck // kept, closed by Close
	if err != nil {
		return nil, fmt.Errorf("find the owners of a certificate: %w", err)
	}
	rows, err := st.QueryContext(ctx, x.RawSubjectPublicKeyInfo, x.Raw)
	if err != nil {
		return nil, fmt.Errorf("find the owners of a certificate: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var owner string
		if err := rows.Scan(&owner); err != nil {
			return nil, fmt.Errorf("find the owners of a certificate: %w", err)
		}
		owners = append(owners, owner)
	}
	slices.Sort(owners)
	return slices.Compact(owners), rows.Err()
}

// KeyOwner implements fleet.Store.
func (r *Devices) KeyOwner(ctx context.Context, spki []byte, owner string) (string, error) {
	st, err := r.s.prepared(ctx, selectKeyOwner) //nolint:sqlclosecheck // kept, closed by Close
	if err != nil {
		return "", fmt.Errorf("find the owner of a key: %w", err)
	}
	var other string
	err = st.QueryRowContext(ctx, spki, owner).Scan(&other)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("find the owner of a key: %w", err)
	}
	return other, nil
}

// stateArgs appends the values of stateFields.
func stateArgs(args []any, d *fleet.Device) ([]any, error) {
	note, err := jsonText(d.Note, d.Note != nil)
	if err != nil {
		return nil, fmt.Errorf("encode the note of %s: %w", d.Name, err)
	}
	shown, err := jsonText(d.Shown, len(d.Shown) > 0)
	if err != nil {
		return nil, fmt.Errorf("encode the certificates shown by %s: %w", d.Name, err)
	}
	var result, str any
	if d.HasResult {
		result = int64(d.Result)
	}
	if len(d.AuthString) > 0 {
		str = []byte(d.AuthString)
	}
	return append(args, string(d.Operation), string(d.Origin), string(d.Status), str, d.WrongTries,
		millis(d.CompletesBy), millis(d.Scheduled), result, note, shown, d.Offered, millis(d.Updated)), nil
}

// lscArgs appends the values of lscFields.
func lscArgs(args []any, d *fleet.Device) []any {
	if d.LSC == nil {
		return append(args, nil, nil, nil, nil, nil, nil, millis(d.RenewAt))
	}
	c := d.LSC
	return append(args, blob(c.DER), c.Serial, c.Issuer, c.IssuerID, millis(c.NotBefore), millis(c.NotAfter), millis(d.RenewAt))
}

// setArgs appends the values of setFields.
func setArgs(args []any, d *fleet.Device) []any {
	return append(args, d.Model, d.Description, string(d.Auth), string(d.KeyOrder), d.RSABits, d.ECBits, d.NoMIC, millis(d.Created))
}

// searchMark stands between the fields in the column search. It is typed by nobody, so that no text fits across two fields.
const searchMark = "\x1f"

// search is what a text is looked for in.
func search(d *fleet.Device) string {
	return strings.ToLower(d.Name + searchMark + d.Model + searchMark + d.Description)
}

func sameArgs(a, b []any) bool {
	for i := range a {
		if x, ok := a[i].([]byte); ok {
			y, ok := b[i].([]byte)
			if !ok || !bytes.Equal(x, y) {
				return false
			}
		} else if _, ok := b[i].([]byte); ok || a[i] != b[i] {
			return false
		}
	}
	return true
}

// scanDevice reads a row of deviceColumns.
func scanDevice(row interface{ Scan(...any) error }) (fleet.Device, error) {
	var (
		d                                             fleet.Device
		str, lsc                                      []byte
		note, shown, serial, issuer, issuerID         sql.NullString
		completes, scheduled, created, updated, renew sql.NullInt64
		lscBegin, lscEnd, r                           sql.NullInt64
	)
	err := row.Scan(&d.Name,
		&d.Operation, &d.Origin, &d.Status, &str, &d.WrongTries, &completes, &scheduled, &r, &note, &shown, &d.Offered, &updated,
		&lsc, &serial, &issuer, &issuerID, &lscBegin, &lscEnd, &renew,
		&d.Model, &d.Description, &d.Auth, &d.KeyOrder, &d.RSABits, &d.ECBits, &d.NoMIC, &created)
	if errors.Is(err, sql.ErrNoRows) {
		return d, fleet.ErrNotFound
	}
	if err != nil {
		return d, err
	}
	d.AuthString = str
	d.CompletesBy, d.Scheduled, d.Created, d.Updated, d.RenewAt = timeOf(completes), timeOf(scheduled), timeOf(created), timeOf(updated), timeOf(renew)
	d.Result, d.HasResult = capf.Result(r.Int64), r.Valid
	if issuerID.Valid { // not the certificate itself: the driver reads an empty one as NULL
		d.LSC = &fleet.Certificate{
			DER: lsc, Serial: serial.String, Issuer: issuer.String, IssuerID: issuerID.String,
			NotBefore: timeOf(lscBegin), NotAfter: timeOf(lscEnd),
		}
	}
	if note.Valid {
		if err := json.Unmarshal([]byte(note.String), &d.Note); err != nil {
			return d, fmt.Errorf("decode the note of %s: %w", d.Name, err)
		}
	}
	if shown.Valid {
		if err := json.Unmarshal([]byte(shown.String), &d.Shown); err != nil {
			return d, fmt.Errorf("decode the certificates shown by %s: %w", d.Name, err)
		}
	}
	return d, nil
}

// jsonText encodes v, or gives NULL when there is nothing to encode.
func jsonText(v any, present bool) (any, error) {
	if !present {
		return nil, nil //nolint:nilnil // NULL is the value
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return string(b), nil
}
