package store

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "callsign.db"), Options{})
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

func TestOpen(t *testing.T) {
	t.Parallel()
	s := open(t)
	var n int
	if err := s.read.QueryRowContext(t.Context(), "SELECT count(*) FROM enrolment").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if _, err := s.read.ExecContext(t.Context(), "DELETE FROM enrolment"); err == nil {
		t.Error("a reader's connection took a DELETE")
	}
}
