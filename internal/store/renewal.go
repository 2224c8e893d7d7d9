package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"callsign/internal/fleet"
)

const (
	selectRenewal = `SELECT policy, at FROM renewal`
	writeRenewal  = `INSERT INTO renewal (one, policy, at) VALUES (1, ?, ?)
		ON CONFLICT (one) DO UPDATE SET policy = excluded.policy, at = excluded.at`
	// The conditions are those of the index device_renew, word for word.
	dueForRenewal = ` FROM device WHERE renew_at IS NOT NULL AND operation = 'none' AND lsc_issuer_id IS NOT NULL AND renew_at <= ?`
	anyToRenew    = `SELECT EXISTS (SELECT 1` + dueForRenewal + `)`
	renewDevices  = `SELECT ` + deviceColumns + dueForRenewal + ` ORDER BY renew_at, name LIMIT ?`
	replanDevices = `SELECT ` + deviceColumns + ` FROM device WHERE lsc_issuer_id IS NOT NULL AND name > ? ORDER BY name LIMIT ?`
)

// replanBatch is how many phones are looked at in one transaction: others who write wait that long.
const replanBatch = 500

// RenewalState implements fleet.Store.
func (r *Devices) RenewalState(ctx context.Context) (fleet.RenewalState, error) {
	return renewalState(ctx, r.s.read)
}

// renewalState works on the readers and inside of a write.
func renewalState(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
},
) (fleet.RenewalState, error) {
	var st fleet.RenewalState
	var at sql.NullInt64
	err := q.QueryRowContext(ctx, selectRenewal).Scan(&st.Policy, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return fleet.RenewalState{}, nil
	}
	if err != nil {
		return st, fmt.Errorf("read the state of the renewal: %w", err)
	}
	st.At = timeOf(at)
	return st, nil
}

func leaveRenewal(ctx context.Context, tx *tx, st fleet.RenewalState) error {
	if _, err := tx.ExecContext(ctx, writeRenewal, st.Policy, millis(st.At)); err != nil {
		return fmt.Errorf("write the state of the renewal: %w", err)
	}
	return nil
}

// Renew implements fleet.Store.
func (r *Devices) Renew(
	ctx context.Context, now time.Time, plan func(fleet.RenewalState) (int, fleet.RenewalState), change func(*fleet.Device) error,
) ([]fleet.Device, error) {
	// Asked on a reader: in most minutes nothing is due, and nobody who writes has to wait.
	var due bool
	if err := r.s.read.QueryRowContext(ctx, anyToRenew, now.UnixMilli()).Scan(&due); err != nil || !due {
		return nil, explain(r.s.path, err)
	}
	var changed []fleet.Device
	err := r.s.write(ctx, func(ctx context.Context, tx *tx) error {
		st, err := renewalState(ctx, tx)
		if err != nil {
			return err
		}
		n, next := plan(st)
		if n > 0 {
			if changed, err = listDevices(ctx, tx, renewDevices, now.UnixMilli(), n); err != nil {
				return err
			}
		}
		at := r.s.now()
		for i := range changed {
			if err := changeDevice(ctx, tx, &changed[i], at, change); err != nil {
				return err
			}
		}
		if len(changed) == 0 && (n > 0 || next == st) {
			return errNothing // another process was faster, or the pace lets nobody through
		}
		return leaveRenewal(ctx, tx, next)
	})
	if err != nil && !errors.Is(err, errNothing) {
		return nil, err
	}
	return changed, nil
}

// Replan implements fleet.Store.
func (r *Devices) Replan(ctx context.Context, policy string, renewAt func(*fleet.Device) time.Time) (int, error) {
	st, err := r.RenewalState(ctx)
	if err != nil || st.Policy == policy {
		return 0, err
	}
	looked, after := 0, ""
	for more := true; more; {
		var batch []fleet.Device
		err := r.s.write(ctx, func(ctx context.Context, tx *tx) error {
			var err error
			if batch, err = listDevices(ctx, tx, replanDevices, after, replanBatch); err != nil {
				return err
			}
			for i := range batch {
				d := &batch[i]
				at := millis(renewAt(d))
				if at == millis(d.RenewAt) {
					continue
				}
				if _, err := tx.ExecContext(ctx, updateRenewAt, at, d.Name); err != nil {
					return fmt.Errorf("write device %s: %w", d.Name, err)
				}
			}
			if len(batch) == replanBatch {
				return nil
			}
			// The last ones go with the policy; what a step left beside it meanwhile stays.
			st, err := renewalState(ctx, tx)
			if err != nil {
				return err
			}
			st.Policy = policy
			return leaveRenewal(ctx, tx, st)
		})
		if err != nil {
			return looked, err
		}
		looked += len(batch)
		if more = len(batch) == replanBatch; more {
			after = batch[len(batch)-1].Name
		}
	}
	return looked, nil
}
