package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"callsign/capf"
	"callsign/internal/fleet"
)

var _ fleet.Store = (*Devices)(nil)

// Devices implements [fleet.Store].
type Devices struct{ s *Store }

// Devices returns the phones' records.
func (s *Store) Devices() *Devices { return &Devices{s: s} }

const deviceColumns = `name, ` + deviceFields

// deviceFields are the columns that a change writes. The name is not among them: SQLite would take the row out and put it in anew.
const deviceFields = `model, operation, status, auth, auth_string, wrong_tries, key_order, rsa_bits, ec_bits,
	completes_by, scheduled, result, note, lsc, lsc_serial, lsc_issuer, lsc_not_after, shown, offered, created, updated`

const (
	selectDevice   = `SELECT ` + deviceColumns + ` FROM device WHERE name = ?`
	selectKeyOwner = `SELECT owner FROM enrolment
		WHERE substr(public_key, -32) = substr(?1, -32) AND public_key = ?1 AND owner <> ?2 AND owner LIKE 'phone:%' LIMIT 1`
)

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
		for i := range devices {
			d := devices[i]
			d.Updated = r.s.now()
			if d.Created.IsZero() {
				d.Created = d.Updated
			}
			args, err := deviceArgs(&d)
			if err != nil {
				return err
			}
			res, err := tx.ExecContext(ctx, `INSERT INTO device (`+deviceColumns+`) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (name) DO NOTHING`, args...)
			if err != nil {
				return fmt.Errorf("add device %s: %w", d.Name, err)
			}
			if n, err := res.RowsAffected(); err != nil {
				return fmt.Errorf("add device %s: %w", d.Name, err)
			} else if n == 0 {
				return fmt.Errorf("%s: %w", d.Name, fleet.ErrExists)
			}
		}
		return nil
	})
}

// UpdateDevice implements fleet.Store.
func (r *Devices) UpdateDevice(ctx context.Context, name string, change func(*fleet.Device) error) (fleet.Device, error) {
	return r.update(ctx, name, "", change)
}

// FinishDevice implements fleet.Store.
func (r *Devices) FinishDevice(ctx context.Context, name, enrolment string, change func(*fleet.Device) error) (fleet.Device, error) {
	return r.update(ctx, name, enrolment, change)
}

func (r *Devices) update(ctx context.Context, name, enrolment string, change func(*fleet.Device) error) (fleet.Device, error) {
	var d fleet.Device
	err := r.s.write(ctx, func(ctx context.Context, tx *tx) error {
		var err error
		if d, err = scanDevice(tx.QueryRowContext(ctx, selectDevice, name)); err != nil {
			return err
		}
		if err := change(&d); err != nil {
			return err
		}
		d.Updated = r.s.now()
		args, err := deviceArgs(&d)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE device SET (`+deviceFields+`) = (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) WHERE name = ?`, append(args[1:], name)...); err != nil {
			return fmt.Errorf("write device %s: %w", name, err)
		}
		if enrolment == "" {
			return nil
		}
		return confirmEnrolment(ctx, tx, enrolment, d.Updated)
	})
	return d, err
}

// Devices implements fleet.Store.
func (r *Devices) Devices(ctx context.Context, limit int) (devices []fleet.Device, total int, err error) {
	if err := r.s.read.QueryRowContext(ctx, `SELECT count(*) FROM device`).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count devices: %w", err)
	}
	if limit <= 0 {
		limit = -1
	}
	rows, err := r.s.read.QueryContext(ctx, `SELECT `+deviceColumns+` FROM device ORDER BY name LIMIT ?`, limit)
	if err != nil {
		return nil, 0, fmt.Errorf("list devices: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		d, err := scanDevice(rows)
		if err != nil {
			return nil, 0, fmt.Errorf("list devices: %w", err)
		}
		devices = append(devices, d)
	}
	return devices, total, rows.Err()
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

func deviceArgs(d *fleet.Device) ([]any, error) {
	note, err := jsonText(d.Note, d.Note != nil)
	if err != nil {
		return nil, fmt.Errorf("encode the note of %s: %w", d.Name, err)
	}
	shown, err := jsonText(d.Shown, len(d.Shown) > 0)
	if err != nil {
		return nil, fmt.Errorf("encode the certificates shown by %s: %w", d.Name, err)
	}
	var result, lsc, serial, issuer, notAfter any
	if d.HasResult {
		result = int64(d.Result)
	}
	if d.LSC != nil {
		lsc, serial, issuer, notAfter = d.LSC.DER, d.LSC.Serial, d.LSC.Issuer, millis(d.LSC.NotAfter)
	}
	var str any
	if len(d.AuthString) > 0 {
		str = []byte(d.AuthString)
	}
	return []any{
		d.Name, d.Model, string(d.Operation), string(d.Status), string(d.Auth), str, d.WrongTries, string(d.KeyOrder), d.RSABits, d.ECBits,
		millis(d.CompletesBy), millis(d.Scheduled), result, note, lsc, serial, issuer, notAfter, shown, d.Offered, millis(d.Created), millis(d.Updated),
	}, nil
}

func scanDevice(row interface{ Scan(...any) error }) (fleet.Device, error) {
	var (
		d                                                 fleet.Device
		str, lsc                                          []byte
		note, shown, serial, issuer                       sql.NullString
		completes, scheduled, created, updated, lscEnd, r sql.NullInt64
	)
	err := row.Scan(&d.Name, &d.Model, &d.Operation, &d.Status, &d.Auth, &str, &d.WrongTries, &d.KeyOrder, &d.RSABits, &d.ECBits,
		&completes, &scheduled, &r, &note, &lsc, &serial, &issuer, &lscEnd, &shown, &d.Offered, &created, &updated)
	if errors.Is(err, sql.ErrNoRows) {
		return d, fleet.ErrNotFound
	}
	if err != nil {
		return d, err
	}
	d.AuthString = str
	d.CompletesBy, d.Scheduled, d.Created, d.Updated = timeOf(completes), timeOf(scheduled), timeOf(created), timeOf(updated)
	d.Result, d.HasResult = capf.Result(r.Int64), r.Valid
	if lsc != nil {
		d.LSC = &fleet.Certificate{DER: lsc, Serial: serial.String, Issuer: issuer.String, NotAfter: timeOf(lscEnd)}
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
