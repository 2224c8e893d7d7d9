package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callsign/internal/enroll"
	"callsign/internal/store"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.db")
	if v, _, err := store.Check(t.Context(), path); v != 0 || err != nil {
		t.Errorf("no file: version %d, %v", v, err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Fatal("a check made the file")
	}
	s, err := store.Open(t.Context(), path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"while it is open", "after it was closed"} {
		v, newest, err := store.Check(t.Context(), path)
		if err != nil || v == 0 || v != newest {
			t.Errorf("%s: version %d, newest %d, %v", when, v, newest, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("a check left files behind: %v, %v", left, err)
	}
	if err := os.WriteFile(path, []byte("this is a letter and no database, and long enough to be told from an empty file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Check(t.Context(), path); err == nil {
		t.Error("a letter passed for a database")
	}
}

// TestHighestRequestIDOfAFile: the number is read beside a running server and without one, and reading leaves nothing behind.
func TestHighestRequestIDOfAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.db")
	see := func(when string, want int64) {
		t.Helper()
		if n, err := store.HighestRequestID(t.Context(), path, "adcs"); n != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", when, n, err, want)
		}
	}
	see("no file", 0)
	s, err := store.Open(t.Context(), path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	see("no row", 0)
	row, _, err := s.Journal().Open(t.Context(), enroll.Enrolment{
		ID: strings.Repeat("a", 32), State: enroll.Requested, Created: time.Now(), Updated: time.Now(), Request: enroll.Request{Authority: "adcs", Owner: "est:/x", PublicKey: []byte{1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	row.Progress.RequestID = "4711"
	if _, err := s.Journal().Update(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	see("while it is open", 4711)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	see("after it was closed", 4711)
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("files were left behind: %v, %v", left, err)
	}
	if err := os.WriteFile(path, []byte("this is a letter and no database, and long enough to be told from an empty file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.HighestRequestID(t.Context(), path, "adcs"); err == nil {
		t.Error("a letter passed for a database")
	}
}
