package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"callsign/internal/fleet"
)

const (
	lastAttempt    = `SELECT coalesce(max(number), 0) FROM attempt WHERE device = ?`
	lastStory      = `SELECT number, story FROM attempt WHERE device = ? ORDER BY number DESC LIMIT 1`
	updateAttempt  = `UPDATE attempt SET story = ? WHERE device = ? AND number = ?`
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

// encodeAttempt cuts times to the millisecond, as everywhere in the store.
func encodeAttempt(device string, a *fleet.Attempt) (string, error) {
	w := story{Attempt: *a, Duration: a.Duration}
	w.Began = timeOf(millis(a.Began))
	if !a.Latest.IsZero() {
		w.Latest = timeOf(millis(a.Latest))
	}
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
		return "", fmt.Errorf("encode an attempt of %s: %w", device, err)
	}
	return string(text), nil
}

func decodeAttempt(device, text string) (fleet.Attempt, error) {
	var w story
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		return fleet.Attempt{}, fmt.Errorf("decode an attempt of %s: %w", device, err)
	}
	a := w.Attempt
	a.Duration = w.Duration
	for _, s := range w.Steps {
		s.Step.Duration = s.Duration
		a.Steps = append(a.Steps, s.Step)
	}
	return a, nil
}

func addAttempt(ctx context.Context, tx *tx, device string, a *fleet.Attempt) error {
	if !a.OK {
		if counted, err := countAttempt(ctx, tx, device, a); counted || err != nil {
			return err
		}
	}
	text, err := encodeAttempt(device, a)
	if err != nil {
		return err
	}
	var last int64
	if err := tx.QueryRowContext(ctx, lastAttempt, device).Scan(&last); err != nil {
		return fmt.Errorf("count the attempts of %s: %w", device, err)
	}
	if _, err := tx.ExecContext(ctx, insertAttempt, device, last+1, text); err != nil {
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

// countAttempt counts a call in the last attempt when that was turned away in the same way.
func countAttempt(ctx context.Context, tx *tx, device string, a *fleet.Attempt) (counted bool, err error) {
	var number int64
	var text string
	err = tx.QueryRowContext(ctx, lastStory, device).Scan(&number, &text)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the last attempt of %s: %w", device, err)
	}
	last, err := decodeAttempt(device, text)
	if err != nil || !last.Repeated(a) {
		return false, err
	}
	if text, err = encodeAttempt(device, &last); err != nil {
		return false, err
	}
	if _, err := tx.ExecContext(ctx, updateAttempt, text, device, number); err != nil {
		return false, fmt.Errorf("count an attempt of %s: %w", device, err)
	}
	return true, nil
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
		if err := rows.Scan(&text); err != nil {
			return nil, fmt.Errorf("read the attempts of %s: %w", name, err)
		}
		a, err := decodeAttempt(name, text)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, rows.Err()
}
