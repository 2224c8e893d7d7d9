package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain runs the tests, or, in a process that a test started, what that test wants done from outside.
func TestMain(m *testing.M) {
	if path := os.Getenv("CALLSIGN_STORE_CHILD"); path != "" {
		if err := child(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// child opens the store at path and writes marks from several goroutines until it is killed or has written as many as it was told; it
// prints each one after the write is acknowledged.
func child(path string) error {
	s, err := Open(context.Background(), path, Options{})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	limit := 1 << 30
	if n := os.Getenv("CALLSIGN_STORE_WRITES"); n != "" {
		if _, err := fmt.Sscan(n, &limit); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	var out sync.Mutex
	for g := range 4 {
		wg.Go(func() {
			for i := range limit / 4 {
				mark := fmt.Sprintf("%d-%d-%d", os.Getpid(), g, i)
				if err := s.write(context.Background(), insertMark(mark)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				out.Lock()
				fmt.Println(mark)
				out.Unlock()
			}
		})
	}
	wg.Wait()
	return nil
}

func startChild(t *testing.T, path string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0]) // #nosec G204 -- the test binary itself
	cmd.Env = append(os.Environ(), append(env, "CALLSIGN_STORE_CHILD="+path)...)
	cmd.Stderr = os.Stderr
	return cmd
}

func open(t testing.TB) *Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "callsign.db"), Options{})
}

func openAt(t testing.TB, path string, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// marks makes a table for tests.
func marks(t testing.TB, s *Store) *Store {
	t.Helper()
	err := s.write(t.Context(), func(ctx context.Context, tx *tx) error {
		_, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS mark (name TEXT NOT NULL PRIMARY KEY) STRICT")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func insertMark(name string) func(context.Context, *tx) error {
	return func(ctx context.Context, tx *tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO mark (name) VALUES (?)", name)
		return err
	}
}

func markNames(t *testing.T, s *Store) map[string]bool {
	t.Helper()
	rows, err := s.read.QueryContext(t.Context(), "SELECT name FROM mark")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	names := make(map[string]bool)
	for rows.Next() {
		var n string
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
		names[n] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestOpen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a b?c#d%41.db") // one file name, whatever a URI would make of it
	s := openAt(t, path, Options{})
	for _, suffix := range []string{"", "-wal"} {
		fi, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", fi.Name(), fi.Mode())
		}
	}
	for name, want := range map[string]string{"journal_mode": "wal", "foreign_keys": "1", "query_only": "1"} {
		var got string
		if err := s.read.QueryRowContext(t.Context(), "PRAGMA "+name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q (%v) for readers, want %q", name, got, err, want)
		}
	}
	err := s.write(t.Context(), func(ctx context.Context, tx *tx) error {
		for name, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000"} {
			var got string
			if err := tx.QueryRowContext(ctx, "PRAGMA "+name).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q (%v) for the writer, want %q", name, got, err, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.read.ExecContext(t.Context(), "DELETE FROM enrolment"); err == nil {
		t.Error("a reader's connection took a DELETE")
	}
	if s.Path() != path {
		t.Errorf("Path is %q", s.Path())
	}
	openAt(t, path, Options{}) // again, while it is open
}

func TestOpenFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(t *testing.T, dir string) string
		code    string
		detail  string
	}{
		"no directory": {code: "store.open", detail: "does not exist", prepare: func(_ *testing.T, dir string) string {
			return filepath.Join(dir, "absent", "callsign.db")
		}},
		"directory is a file": {code: "store.open", prepare: func(t *testing.T, dir string) string {
			put(t, filepath.Join(dir, "file"), "x")
			return filepath.Join(dir, "file", "callsign.db")
		}},
		"path is a directory": {code: "store.open", prepare: func(_ *testing.T, dir string) string { return dir }},
		"read-only directory": {code: "store.open", prepare: func(t *testing.T, dir string) string {
			if os.Geteuid() == 0 {
				// Nobody can forbid root to write, except a file system that takes no files.
				if _, err := os.Stat("/proc/self"); err != nil {
					t.Skip("root, and no /proc to try in")
				}
				return "/proc/callsign.db"
			}
			dir = filepath.Join(dir, "ro")
			if err := os.Mkdir(dir, 0o500); err != nil { // #nosec G301 -- read-only is the point
				t.Fatal(err)
			}
			return filepath.Join(dir, "callsign.db")
		}},
		"another kind of file": {code: "store.corrupt", prepare: func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "callsign.db")
			put(t, path, strings.Repeat("this is no database\n", 500))
			return path
		}},
		"damaged file": {code: "store.corrupt", prepare: func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "callsign.db")
			s, err := Open(t.Context(), path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path) // #nosec G304 -- the test's own file
			if err != nil {
				t.Fatal(err)
			}
			for i := 100; i < len(b); i++ { // everything but the header
				b[i] = 0xa5
			}
			put(t, path, string(b))
			return path
		}},
		"newer schema": {code: "store.newer-schema", detail: "schema version 9999", prepare: func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "callsign.db")
			s, err := Open(t.Context(), path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			err = s.write(t.Context(), func(ctx context.Context, tx *tx) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
				return err
			})
			if err := errors.Join(err, s.Close()); err != nil {
				t.Fatal(err)
			}
			return path
		}},
		"locked": {code: "store.locked", prepare: func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "callsign.db")
			lock(t, path, "BEGIN EXCLUSIVE")
			return path
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := c.prepare(t, t.TempDir())
			wait := time.Minute
			if c.code == "store.locked" {
				wait = 300 * time.Millisecond
			}
			s, err := Open(t.Context(), path, Options{OpenWait: wait})
			if err == nil {
				_ = s.Close()
				t.Fatal("it opened")
			}
			var coded *Error
			if !errors.As(err, &coded) {
				t.Fatalf("%v has no code", err)
			}
			if coded.Code() != c.code || coded.Remedy() == "" || !strings.Contains(coded.Detail, c.detail) {
				t.Errorf("code %s, %v, remedy %q; want code %s and %q", coded.Code(), err, coded.Remedy(), c.code, c.detail)
			}
		})
	}
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestOpenTogether lets many processes (here: stores) make the same new database.
func TestOpenTogether(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "callsign.db")
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			s, err := Open(t.Context(), path, Options{OpenWait: 30 * time.Second})
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	wg.Wait()
}

// TestKill kills a process in the middle of its writes: every write that it was told is done is there.
func TestKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "callsign.db")
	s := marks(t, openAt(t, path, Options{}))
	var acknowledged []string
	for round := range 3 {
		cmd := startChild(t, path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		scan := bufio.NewScanner(out)
		killAt := len(acknowledged) + 50 + 37*round
		for scan.Scan() {
			acknowledged = append(acknowledged, scan.Text())
			if len(acknowledged) == killAt {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		if len(acknowledged) < killAt {
			t.Fatalf("the child acknowledged %d writes only", len(acknowledged))
		}
	}
	have := markNames(t, s)
	for _, name := range acknowledged {
		if !have[name] {
			t.Errorf("write %s was acknowledged and is lost", name)
		}
	}
	var verdict string
	if err := s.read.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity check: %s, %v", verdict, err)
	}
}

// TestTwoProcesses writes from another process and from this one at the same time.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "callsign.db")
	s := marks(t, openAt(t, path, Options{}))
	const writes = 200
	cmd := startChild(t, path, fmt.Sprintf("CALLSIGN_STORE_WRITES=%d", writes))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range writes / 4 {
				if err := s.write(t.Context(), insertMark(fmt.Sprintf("here-%d-%d", g, i))); err != nil {
					t.Errorf("write: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the other process: %v", err)
	}
	if n := len(markNames(t, s)); n != 2*writes {
		t.Errorf("%d rows, want %d", n, 2*writes)
	}
}
