package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
)

const (
	queueLength = 1024 // writes that may wait; more callers wait to enter the queue
	batchLimit  = 256  // writes in one transaction, which bounds how long another process waits for the lock
)

// A writing is one call of write: waiting, then claimed by the writer or withdrawn by its caller, never both.
type writing struct {
	ctx    context.Context
	fn     func(context.Context, *tx) error
	state  atomic.Int32 // waiting, claimed, withdrawn
	result chan error   // buffered: the writer never waits for a caller
	err    error        // result of fn
	panics any          // what fn panicked with
}

const (
	waiting int32 = iota
	claimed
	withdrawn
)

func (w *writing) claim() bool { return w.state.CompareAndSwap(waiting, claimed) }

// stats counts what the writer did, for benchmarks and tests.
type stats struct {
	commits atomic.Int64
	writes  atomic.Int64
}

// write runs fn in the writer's next transaction and returns when that is on disk or was rolled back.
//
// An error of fn is returned unchanged, after what fn did has been rolled back; the other writes of the transaction are not touched.
// When ctx ends before the writer took the write, nothing was done and the error is ctx's. After that the outcome is
// waited for, whatever ctx does, so that the caller never wonders; fn therefore gets a context that is not cancelled (SQLite
// would roll back the whole group with an interrupted statement).
func (s *Store) write(ctx context.Context, fn func(context.Context, *tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &writing{ctx: ctx, fn: fn, result: make(chan error, 1)}
	select {
	case <-s.stop: // checked first: select picks at random when several cases are ready
		return s.closed()
	default:
	}
	select {
	case s.queue <- w:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stop:
		return s.closed()
	}
	var err error
	select {
	case err = <-w.result:
	case <-ctx.Done():
		if w.state.CompareAndSwap(waiting, withdrawn) {
			return ctx.Err()
		}
		err = <-w.result
	case <-s.done:
		// The writer has ended. It emptied the queue before; only a write that slipped in after that is left without a result.
		if w.state.CompareAndSwap(waiting, withdrawn) {
			return s.closed()
		}
		err = <-w.result
	}
	if w.panics != nil {
		panic(w.panics) // where it belongs: in the caller's goroutine
	}
	return err
}

func (s *Store) closed() error {
	return fault("store.closed", s.path, "the database "+s.path+" is closed", "the program is stopping; try again when it runs", nil)
}

// tx is the transaction that a write function works in. Its methods are those of *sql.Tx, on statements that are prepared
// once and kept on the writer's connection. It is valid only while the function runs.
type tx struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

func (t *tx) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if st, ok := t.stmts[query]; ok {
		return st, nil
	}
	st, err := t.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	t.stmts[query] = st
	return st, nil
}

// ExecContext is like (*sql.Tx).ExecContext, for one statement.
func (t *tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	st, err := t.stmt(ctx, query) //nolint:sqlclosecheck // kept for the life of the connection
	if err != nil {
		return nil, err
	}
	return st.ExecContext(ctx, args...)
}

// QueryContext is like (*sql.Tx).QueryContext. Close the rows before the next statement.
func (t *tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	st, err := t.stmt(ctx, query) //nolint:sqlclosecheck // kept for the life of the connection
	if err != nil {
		return nil, err
	}
	return st.QueryContext(ctx, args...)
}

// QueryRowContext is like (*sql.Tx).QueryRowContext.
func (t *tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	st, err := t.stmt(ctx, query) //nolint:sqlclosecheck // kept for the life of the connection
	if err != nil {
		// *sql.Row cannot be made with an error from outside; the connection gives the same error again.
		return t.conn.QueryRowContext(ctx, query, args...)
	}
	return st.QueryRowContext(ctx, args...)
}

func (t *tx) control(ctx context.Context, query string) error {
	_, err := t.ExecContext(ctx, query)
	return err
}

func (t *tx) close() {
	for _, st := range t.stmts {
		_ = st.Close() // the connection is closed next
	}
	_ = t.conn.Close()
}

// writeLoop is the writer: the only goroutine that uses conn. It ends when Close was called and the queue is empty.
func (s *Store) writeLoop(conn *sql.Conn) {
	defer close(s.done)
	t := &tx{conn: conn, stmts: make(map[string]*sql.Stmt)}
	defer t.close()
	for {
		select {
		case w := <-s.queue:
			s.group(t, w)
		case <-s.stop:
			for {
				select {
				case w := <-s.queue:
					s.group(t, w)
				default:
					return
				}
			}
		}
	}
}

// group runs one transaction: first, and every write that is waiting by the time the transaction has begun.
func (s *Store) group(t *tx, first *writing) {
	ctx := context.Background()
	batch := []*writing{first}
	// Callers of the last group have just been answered, and others are on their way here: with few processors they get no turn
	// before the fsync of this group begins, and every write would have a commit of its own. So whoever is ready runs first, once.
	// Not after BEGIN, which would hold the lock against other processes meanwhile.
	runtime.Gosched()
	for {
		err := t.control(ctx, "BEGIN IMMEDIATE")
		if err == nil {
			break
		}
		// Nothing was claimed yet, so callers whose context has ended are gone already. The lock is another process's: begin
		// again for those who still wait. (SQLite has waited busyTimeout in the statement, so this does not spin.)
		live := batch[:0]
		for _, w := range batch {
			switch {
			case w.state.Load() == withdrawn:
			case !isBusy(err) || s.stopped():
				w.finish(explain(s.path, err))
			default:
				live = append(live, w)
			}
		}
		if batch = live; len(batch) == 0 {
			return
		}
		s.log.Warn("database is locked by another process", "event", "store.locked", "op", "write", "waiting", len(s.queue)+len(batch), "err", err)
	}
	for more := true; more && len(batch) < batchLimit; {
		select {
		case w := <-s.queue:
			batch = append(batch, w)
		default:
			more = false
		}
	}
	ran := batch[:0]
	for _, w := range batch {
		if w.claim() {
			ran = append(ran, w)
		}
	}
	if err := s.transact(ctx, t, ran); err != nil {
		for _, w := range ran {
			w.result <- err
		}
		return
	}
	for _, w := range ran {
		w.result <- w.err
	}
}

// finish answers a write that never ran, unless its caller has gone.
func (w *writing) finish(err error) {
	if w.claim() {
		w.result <- err
	}
}

func (s *Store) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// transact runs the functions of ran in the transaction that has begun and commits. An error means that nothing of it is in the database.
func (s *Store) transact(ctx context.Context, t *tx, ran []*writing) (err error) {
	defer func() {
		if err != nil {
			// Harmless when SQLite has rolled back already, needed when it has not.
			_, _ = t.conn.ExecContext(ctx, "ROLLBACK")
			err = explain(s.path, err)
		}
	}()
	kept := 0
	for _, w := range ran {
		if err := t.control(ctx, "SAVEPOINT w"); err != nil {
			return fmt.Errorf("begin savepoint: %w", err)
		}
		w.run(t) //nolint:contextcheck // the context of the write is its caller's, not the writer's
		if w.err != nil || w.panics != nil {
			// Some errors (disk full, I/O) roll back the whole transaction; then this fails and so does the group.
			if err := t.control(ctx, "ROLLBACK TO w"); err != nil {
				return errors.Join(w.err, err)
			}
		} else {
			kept++
		}
		if err := t.control(ctx, "RELEASE w"); err != nil {
			return fmt.Errorf("release savepoint: %w", err)
		}
	}
	if kept == 0 {
		return t.control(ctx, "ROLLBACK")
	}
	if err := t.control(ctx, "COMMIT"); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	s.stats.commits.Add(1)
	s.stats.writes.Add(int64(kept))
	return nil
}

func (w *writing) run(t *tx) {
	defer func() { w.panics = recover() }()
	w.err = w.fn(context.WithoutCancel(w.ctx), t)
}
