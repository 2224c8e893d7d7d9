package ra_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"callsign/internal/ra"
)

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	check(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestUsersCheck(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users")
	line, err := ra.UserLine("capf", []byte("secret"), bcrypt.MinCost)
	check(t, err)
	domain, err := ra.UserLine(`LAB\ra`, []byte("päss"), bcrypt.MinCost)
	check(t, err)
	writeFile(t, path, "\ufeff# users\n\n"+line+"broken line\nnobody:plain\nCN=x:"+strings.SplitN(line, ":", 2)[1]+domain)
	var log bytes.Buffer
	u := &ra.Users{Path: path, Log: slog.New(slog.NewTextHandler(&log, nil))}
	tests := []struct {
		name, user, password string
		known, ok            bool
	}{
		{"right", "capf", "secret", true, true},
		{"right, from memory", "capf", "secret", true, true},
		{"wrong password", "capf", "Secret", true, false},
		{"empty password", "capf", "", true, false},
		{"unknown user", "fpac", "secret", false, false},
		{"empty user", "", "", false, false},
		{"domain user", `LAB\ra`, "päss", true, true},
		{"user without bcrypt hash", "nobody", "plain", false, false},
		{"name that looks like a subject", "CN=x", "secret", false, false},
	}
	for _, tt := range tests {
		known, ok, err := u.Check(t.Context(), tt.user, []byte(tt.password))
		if known != tt.known || ok != tt.ok || err != nil {
			t.Errorf("%s: Check = %v, %v, %v", tt.name, known, ok, err)
		}
	}
	mustContain(t, log.String(), "line 4", "line 5", "line 6")
	if strings.Contains(log.String(), "$2a$") {
		t.Error("a hash is in the log")
	}
}

func TestUsersFileChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users")
	writeUsers(t, path, "a", "old password")
	u := &ra.Users{Path: path}
	ok := func(user, password string) bool {
		_, ok, err := u.Check(t.Context(), user, []byte(password))
		return ok && err == nil
	}
	if !ok("a", "old password") {
		t.Fatal("right password refused")
	}
	writeUsers(t, path, "a", "new password")
	later := time.Now().Add(time.Minute)
	check(t, os.Chtimes(path, later, later))
	if ok("a", "old password") || !ok("a", "new password") {
		t.Error("the new file does not count, or the memory of the old password does")
	}
	check(t, os.Remove(path))
	if _, ok, err := u.Check(t.Context(), "a", []byte("new password")); ok || err == nil {
		t.Error("without the file somebody got in")
	}
}

func TestUsersCacheEnds(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "users")
	line, err := ra.UserLine("a", []byte("pw"), 9)
	check(t, err)
	writeFile(t, path, line)
	u := &ra.Users{Path: path, CacheFor: time.Minute, Now: func() time.Time { return now }}
	cost := func() time.Duration {
		begin := time.Now()
		if _, ok, err := u.Check(t.Context(), "a", []byte("pw")); !ok || err != nil {
			t.Fatal("refused")
		}
		return time.Since(begin)
	}
	first, second := cost(), cost()
	for range 20 { // the least of many: on a busy machine any single one may have been interrupted
		second = min(second, cost())
	}
	now = now.Add(2 * time.Minute)
	third := cost()
	if second > first/4 || third < second*4 {
		t.Errorf("hashing %s, from memory %s, after the memory's end %s", first, second, third)
	}
}

// TestLoginsWait: passwords are hashed a few at a time; who has to wait too long is told, and one that was checked before
// does not wait at all.
func TestLoginsWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "users")
		writeUsers(t, path, "a", "pw")
		u := &ra.Users{Path: path}
		if _, ok, err := u.Check(t.Context(), "a", []byte("pw")); !ok || err != nil {
			t.Fatal("refused", err)
		}
		var ends []func()
		for range max(1, runtime.GOMAXPROCS(0)/2) {
			done, err := u.Enter(t.Context())
			check(t, err)
			ends = append(ends, done)
		}
		began := time.Now()
		if _, _, err := u.Check(t.Context(), "a", []byte("wrong")); !errors.Is(err, ra.ErrBusy) || time.Since(began) != 5*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if _, ok, err := u.Check(t.Context(), "a", []byte("pw")); !ok || err != nil {
			t.Error("a remembered password waited", err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := u.Check(gone, "a", []byte("wrong")); !errors.Is(err, context.Canceled) {
			t.Error("a client that left waits", err)
		}
		time.AfterFunc(time.Second, ends[0])
		if _, ok, err := u.Check(t.Context(), "a", []byte("wrong")); ok || err != nil {
			t.Error("no turn after the place was free", err)
		}
	})
}

func TestUserLineRefuses(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a:b", "CN=a", "a/b", "a\nb", strings.Repeat("x", 256), "\xff"} {
		if _, err := ra.UserLine(name, []byte("x"), bcrypt.MinCost); err == nil {
			t.Errorf("name %q accepted", name)
		}
	}
	for _, pw := range []string{"", strings.Repeat("x", 73)} {
		if _, err := ra.UserLine("a", []byte(pw), bcrypt.MinCost); err == nil {
			t.Errorf("password of %d bytes accepted", len(pw))
		}
	}
}

func FuzzParseUsers(f *testing.F) {
	f.Add("a:$2a$04$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu\n# c\n\nb")
	f.Add("\ufeffx:y:z\r\n")
	f.Add(":$2a$04$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu\n")
	nameless := regexp.MustCompile(`(?m)^\x{feff}?:`)
	f.Fuzz(func(t *testing.T, text string) {
		hashes, _, err := ra.ParseUsers(strings.NewReader(text))
		if err != nil {
			return
		}
		for name, h := range hashes {
			if _, err := bcrypt.Cost(h); err != nil || name == "" && !nameless.MatchString(text) || strings.ContainsAny(name, "=:/\n") {
				t.Fatalf("user %q, hash %q", name, h)
			}
		}
	})
}

// TestEqualLoginsAreOne: many devices with one user, all at once, cost one hash; one that leaves does not take the others with it.
func TestEqualLoginsAreOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "users")
		writeUsers(t, path, "a", "pw")
		u := &ra.Users{Path: path}
		var ends []func()
		for range max(1, runtime.GOMAXPROCS(0)/2) {
			done, err := u.Enter(t.Context())
			check(t, err)
			ends = append(ends, done)
		}
		first, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := u.Check(first, "a", []byte("pw")); !errors.Is(err, context.Canceled) {
				t.Error("who left got", err)
			}
		})
		synctest.Wait()
		for range 20 {
			wg.Go(func() {
				if _, ok, err := u.Check(t.Context(), "a", []byte("pw")); !ok || err != nil {
					t.Error("refused", err)
				}
			})
		}
		synctest.Wait()
		if n := u.UnderWay(); n != 1 {
			t.Errorf("%d hashes for one password", n)
		}
		leave()
		synctest.Wait()
		if n := u.UnderWay(); n != 1 {
			t.Errorf("%d hashes after the first has left", n)
		}
		ends[0]()
		wg.Wait()
	})
}
