package enroll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Run resumes rows that are due, at once and then every Interval and at every [Engine.Wake], less often while very many wait for a rate, and
// ends held ones whose time is over (see [Engine].HeldFor), until ctx ends; then it shuts the engine down, waiting up to Grace for
// the attempts under way, and returns nil, or an error when some did not end. Journal errors are logged and tried again.
// Run it once for each engine.
func (e *Engine) Run(ctx context.Context) error {
	e.init()
	ticker := time.NewTicker(orDefault(e.Interval, time.Second))
	defer ticker.Stop()
	var rest, expiry time.Time // before them the journal is not read: for due rows, for held ones
	for ctx.Err() == nil {
		if begun := time.Now(); !begun.Before(expiry) {
			expiry = begun.Add(heldEvery)
			if err := e.expire(ctx); err != nil && ctx.Err() == nil {
				e.log.LogAttrs(ctx, slog.LevelError, "enrolment journal cannot be read", slog.String("event", "enroll.journal"), slog.String("op", "expire"), slog.Any("err", err))
			}
		}
		if begun := time.Now(); !begun.Before(rest) {
			if err := e.sweep(ctx); err != nil && ctx.Err() == nil {
				e.log.LogAttrs(ctx, slog.LevelError, "enrolment journal cannot be read", slog.String("event", "enroll.journal"), slog.String("op", "sweep"), slog.Any("err", err))
			}
			if e.crowded() {
				rest = time.Now().Add(min(sweepRest*time.Since(begun), sweepRestMax))
			}
		}
		select {
		case <-ticker.C:
		case <-e.wake:
		case <-ctx.Done():
		}
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), orDefault(e.Grace, 3*time.Second))
	defer cancel()
	return e.Shutdown(grace)
}

// Wake makes Run look for due rows now.
func (e *Engine) Wake() {
	e.init()
	select {
	case e.wake <- struct{}{}:
	default: // it will look anyway
	}
}

const (
	sweepRows    = 256     // rows read at once
	sweepRowsMax = 1 << 14 // when many rows of a busy authority stand before those of another
	queueRowsMax = 1 << 16 // rows that wait for a rate and are read over to get at those behind them
	queueRows    = 1 << 12 // of those, how many are kept for each authority: for the time of a rest at a high rate

	// Rows that wait for a rate may be many, and nothing comes of reading them: as many times as long as it took, no
	// more is read then.
	sweepRest    = 20
	sweepRestMax = 10 * time.Second
)

// crowded tells whether more rows wait for a rate than a sweep reads in passing.
func (e *Engine) crowded() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.queueing > sweepRows
}

// sweep starts a worker for every due row whose authority has a free one and may be asked. The others are kept, for workers that get free, and
// for turns that come, before the next sweep.
func (e *Engine) sweep(ctx context.Context) error {
	e.mu.Lock()
	e.forget()
	// Rows under work are due, too, until they are written, and so are those that wait for a rate.
	limit := sweepRows + len(e.tracks) + min(e.queueing, queueRowsMax)
	e.mu.Unlock()
	for {
		rows, err := e.Journal.Due(ctx, e.now(), limit)
		if err != nil {
			return fmt.Errorf("look for due enrolments: %w", err)
		}
		e.mu.Lock()
		e.forget()
		e.queueing = 0
		for _, row := range rows {
			if !e.resume(ctx, row) {
				e.keep(row)
			}
		}
		e.mu.Unlock()
		if len(rows) < limit || limit >= sweepRowsMax || !e.anyFree() {
			return nil
		}
		limit *= 4
	}
}

// forget drops what the last sweep kept. Engine.mu is held.
func (e *Engine) forget() {
	clear(e.backlog)
	clear(e.queued)
}

// keep notes a row that could not be resumed. Of those that wait for a rate the first ones are enough: they go one by one. Engine.mu is held.
func (e *Engine) keep(row Enrolment) {
	if e.paced(&row) == nil {
		e.backlog[row.Authority] = append(e.backlog[row.Authority], row)
		return
	}
	e.queueing++
	if len(e.queued[row.Authority]) < queueRows {
		e.queued[row.Authority] = append(e.queued[row.Authority], row)
	}
}

// next gives a worker's free place to a row of the backlog, and a free turn to one that waits for it. After the last one the sweep
// looks whether there are more.
func (e *Engine) next(ctx context.Context, authority string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, kept := range []map[string][]Enrolment{e.backlog, e.queued} {
		rows := kept[authority]
		if len(rows) == 0 {
			continue
		}
		for len(rows) > 0 && e.resume(ctx, rows[0]) {
			rows = rows[1:]
		}
		kept[authority] = rows
		if len(rows) == 0 {
			e.Wake()
		}
	}
}

// resume starts a worker for row, unless it has one. It returns false when there is no free place, or no free turn. Engine.mu is held.
func (e *Engine) resume(ctx context.Context, row Enrolment) bool {
	if t := e.tracks[row.ID]; e.closing || t != nil && t.working {
		return true
	}
	if pace := e.paced(&row); pace != nil {
		select {
		case pace.turn <- struct{}{}:
		default:
			return false
		}
		e.start(ctx, e.track(row), commission{turn: true})
		return true
	}
	if slots := e.slots[row.Authority]; slots != nil {
		select {
		case slots <- struct{}{}:
		default:
			return false
		}
	}
	e.start(ctx, e.track(row), commission{placed: true})
	return true
}

func (e *Engine) anyFree() bool {
	for _, slots := range e.slots {
		if len(slots) < cap(slots) {
			return true
		}
	}
	return false
}

// errWorkers is what Shutdown answers when attempts outlive it.
var errWorkers = errors.New("attempts at an authority did not end in time; their rows are resumed at the next start")

// Shutdown takes no more work, lets everybody who waits in Enroll go, and waits for the attempts under way until ctx ends; then it cancels them and gives them
// one more second. Nothing is lost: unfinished rows are due and are resumed at the next start.
func (e *Engine) Shutdown(ctx context.Context) error {
	e.init()
	e.mu.Lock()
	if !e.closing {
		e.closing = true
		close(e.closed)
		for _, t := range e.tracks {
			t.set(t.row)
		}
	}
	e.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		e.workers.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	e.mu.Lock()
	for _, t := range e.tracks {
		if t.cancel != nil {
			t.cancel()
		}
	}
	e.mu.Unlock()
	last := time.NewTimer(time.Second)
	defer last.Stop()
	select {
	case <-ended:
		return nil
	case <-last.C:
		return errWorkers
	}
}
