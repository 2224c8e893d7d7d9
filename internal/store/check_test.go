package store_test

import (
	"os"
	"path/filepath"
	"testing"

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
