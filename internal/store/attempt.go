package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"callsign/internal/fleet"
)

const (
	lastAttempt    = `SELECT coalesce(max(number), 0) FROM attempt WHERE device = ?`
	insertAttempt  = `INSERT INTO attempt (device, number, story) VALUES (?, ?, ?)`
	forgetAttempts = `DELETE FROM attempt WHERE device = ? AND number <= ?`
	selectAttempts = `SELECT story FROM attempt WHERE device = ? ORDER BY number DESC LIMIT ?`
)

// story is how an attempt is written: with its durations, which the attempt's own JSON leaves to who shows it.
type story struct {
	fleet.Attempt

	Duration time.Duration `json:"ns"`
	Steps    []storyStep   `json:"steps"`
}

type storyStep struct {
	fleet.Step

	Duration time.Duration `json:"ns"`
}

func addAttempt(ctx context.Context, tx *tx, device string, a *fleet.Attempt) error {
	w := story{Attempt: *a, Duration: a.Duration}
	w.Began = timeOf(millis(a.Began))
	if a.Note != nil {
		note := *a.Note
		note.At = timeOf(millis(note.At))
		w.Note = &note
	}
	for _, s := range a.Steps {
		w.Steps = append(w.Steps, storyStep{Step: s, Duration: s.Duration})
	}
	text, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("encode an attempt of %s: %w", device, err)
	}
	var last int64
	if err := tx.QueryRowContext(ctx, lastAttempt, device).Scan(&last); err != nil {
		return fmt.Errorf("count the attempts of %s: %w", device, err)
	}
	if _, err := tx.ExecContext(ctx, insertAttempt, device, last+1, string(text)); err != nil {
		return fmt.Errorf("add an attempt of %s: %w", device, err)
	}
	if last < fleet.AttemptsKept {
		return nil
	}
	if _, err := tx.ExecContext(ctx, forgetAttempts, device, last+1-fleet.AttemptsKept); err != nil {
		return fmt.Errorf("forget old attempts of %s: %w", device, err)
	}
	return nil
}

// Attempts implements fleet.Store.
func (r *Devices) Attempts(ctx context.Context, name string, limit int) (list []fleet.Attempt, err error) {
	if limit <= 0 {
		limit = fleet.AttemptsKept
	}
	rows, err := r.s.read.QueryContext(ctx, selectAttempts, name, limit)
	if err != nil {
		return nil, fmt.Errorf("read the attempts of %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var text string
		var w story
		if err := rows.Scan(&text); err != nil {
			return nil, fmt.Errorf("read the attempts of %s: %w", name, err)
		}
		if err := json.Unmarshal([]byte(text), &w); err != nil {
			return nil, fmt.Errorf("decode an attempt of %s: %w", name, err)
		}
		a := w.Attempt
		a.Duration = w.Duration
		for _, s := range w.Steps {
			s.Step.Duration = s.Duration
			a.Steps = append(a.Steps, s.Step)
		}
		list = append(list, a)
	}
	return list, rows.Err()
}
