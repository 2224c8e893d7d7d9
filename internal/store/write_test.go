package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lock takes a lock on the file as another process does, and returns what gives it back.
func lock(t *testing.T, path, begin string) (release func()) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), begin); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	release = func() {
		once.Do(func() {
			_, _ = conn.ExecContext(context.Background(), "ROLLBACK")
			if err := errors.Join(conn.Close(), db.Close()); err != nil {
				t.Errorf("release the lock: %v", err)
			}
		})
	}
	t.Cleanup(release)
	return release
}

// hold keeps the writer busy until the returned function is called, so that writes pile up behind it.
func hold(t *testing.T, s *Store) (release func()) {
	t.Helper()
	began, gate, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.write(context.Background(), func(context.Context, *tx) error {
			close(began)
			<-gate
			return nil
		})
	}()
	<-began
	var once sync.Once
	release = func() {
		once.Do(func() {
			close(gate)
			if err := <-done; err != nil {
				t.Errorf("the held write: %v", err)
			}
		})
	}
	t.Cleanup(release)
	return release
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestGroup runs good and bad writes in one transaction: the bad ones are rolled back alone.
func TestGroup(t *testing.T) {
	t.Parallel()
	s := marks(t, open(t))
	release := hold(t, s)
	commits, writes := s.stats.commits.Load(), s.stats.writes.Load()
	mine := errors.New("mine")
	results := make([]error, 9)
	panicked := make([]any, len(results))
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			defer func() { panicked[i] = recover() }()
			results[i] = s.write(t.Context(), func(ctx context.Context, tx *tx) error {
				if err := insertMark(fmt.Sprintf("w%d", i))(ctx, tx); err != nil {
					return err
				}
				switch i % 3 {
				case 1:
					return mine
				case 2:
					panic(i)
				}
				return nil
			})
		})
	}
	waitFor(t, "the queue to fill", func() bool { return len(s.queue) == len(results) })
	release()
	wg.Wait()
	for i, err := range results {
		var wantErr error
		var wantPanic any
		switch i % 3 {
		case 1:
			wantErr = mine
		case 2:
			wantPanic = i
		}
		if !errors.Is(err, wantErr) || panicked[i] != wantPanic {
			t.Errorf("write %d: error %v, panic %v", i, err, panicked[i])
		}
	}
	if diff := cmp.Diff(map[string]bool{"w0": true, "w3": true, "w6": true}, markNames(t, s)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if c, w := s.stats.commits.Load()-commits, s.stats.writes.Load()-writes; c != 2 || w != 4 {
		t.Errorf("%d commits for %d writes, want 2 (the held one, the group) for 4", c, w)
	}
}

func TestWriteWithdrawn(t *testing.T) {
	t.Parallel()
	s := marks(t, open(t))
	release := hold(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { result <- s.write(ctx, insertMark("withdrawn")) }()
	waitFor(t, "the write to be queued", func() bool { return len(s.queue) == 1 })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("write: %v, want context.Canceled", err)
	}
	release()
	if err := s.write(t.Context(), insertMark("next")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{"next": true}, markNames(t, s)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// A context that ends while the write runs changes nothing: it is finished, and the caller hears so.
func TestWriteFinishes(t *testing.T) {
	t.Parallel()
	s := marks(t, open(t))
	ctx, cancel := context.WithCancel(t.Context())
	err := s.write(ctx, func(ctx context.Context, tx *tx) error {
		cancel()
		return insertMark("done")(ctx, tx)
	})
	if err != nil {
		t.Errorf("write: %v", err)
	}
	if !markNames(t, s)["done"] {
		t.Error("the write is not there")
	}
}

// TestWriteWhileLocked waits for another process's lock as long as the caller does.
func TestWriteWhileLocked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "callsign.db")
	s := marks(t, openAt(t, path, Options{}))
	err := s.write(t.Context(), func(ctx context.Context, tx *tx) error { // SQLite's own waiting made short, so that the writer begins several times
		_, err := tx.ExecContext(ctx, "PRAGMA busy_timeout = 20")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	release := lock(t, path, "BEGIN IMMEDIATE")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.write(ctx, insertMark("gave up")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("write while locked: %v, want context.DeadlineExceeded", err)
	}
	result := make(chan error)
	go func() { result <- s.write(t.Context(), insertMark("patient")) }()
	time.AfterFunc(100*time.Millisecond, release)
	if err := <-result; err != nil {
		t.Errorf("patient write: %v", err)
	}
	if diff := cmp.Diff(map[string]bool{"patient": true}, markNames(t, s)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "callsign.db")
	s := marks(t, openAt(t, path, Options{}))
	release := hold(t, s)
	results := make(chan error, 5)
	for i := range cap(results) {
		go func() { results <- s.write(context.Background(), insertMark(fmt.Sprint(i))) }()
	}
	waitFor(t, "the queue to fill", func() bool { return len(s.queue) == cap(results) })
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	<-s.stop
	release()
	for range cap(results) {
		if err := <-results; err != nil {
			t.Errorf("a write that waited: %v", err)
		}
	}
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
	var coded *Error
	if err := s.write(t.Context(), insertMark("late")); !errors.As(err, &coded) || coded.Code() != "store.closed" {
		t.Errorf("write after Close: %v", err)
	}
	if n := len(markNames(t, openAt(t, path, Options{}))); n != cap(results) {
		t.Errorf("%d rows after Close, want %d", n, cap(results))
	}
}

// TestReadersSeeCommits reads beside the writer: what was acknowledged is seen at once.
func TestReadersSeeCommits(t *testing.T) {
	t.Parallel()
	s := marks(t, open(t))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				name := fmt.Sprintf("%d-%d", g, i)
				if err := s.write(t.Context(), insertMark(name)); err != nil {
					t.Errorf("write: %v", err)
					return
				}
				var n int
				if err := s.read.QueryRowContext(t.Context(), "SELECT count(*) FROM mark WHERE name = ?", name).Scan(&n); err != nil || n != 1 {
					t.Errorf("row %s: %d, %v", name, n, err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkWrite(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("goroutines=%d", writers), func(b *testing.B) {
			s := marks(b, open(b))
			b.ReportAllocs()
			commits := s.stats.commits.Load()
			b.ResetTimer()
			var wg sync.WaitGroup
			for g := range writers {
				wg.Go(func() {
					for i := g; i < b.N; i += writers {
						if err := s.write(b.Context(), insertMark(fmt.Sprint(i))); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(s.stats.commits.Load()-commits)/float64(b.N), "commits/write")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}
