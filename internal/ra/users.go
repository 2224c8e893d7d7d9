package ra

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
)

// Limits of the users file.
const (
	maxUsersFile = 4 << 20 // bytes
	maxUserName  = 255     // what libEST sends at most
	maxPassword  = 72      // bytes that bcrypt looks at
)

// loginWait is how long a login waits for a processor; see Users.
const loginWait = 5 * time.Second

// ErrBusy tells that too many passwords are being checked at the same time.
var ErrBusy = errors.New("too many logins at the same time")

// DefaultUserCache is how long a checked password is taken without hashing it again.
const DefaultUserCache = 10 * time.Minute

// Users are the HTTP users of the registration authority, from a file with one "NAME:BCRYPT-HASH" a line (the format of
// htpasswd -B; empty lines and lines that begin with # are skipped). The file is read again when its size or time
// changes, so users come and go without a restart. A line that cannot be used is logged and skipped; the others count. A line that begins
// with the colon is the password of clients that send no user name (RFC 7030 section 3.2.3): all of them are one client.
//
// A password that was right is remembered by a keyed hash for CacheFor, because bcrypt is slow on purpose and EST
// clients log in with each request. A wrong one is never remembered. The same one is checked once for all who wait for it. An unknown user costs the same work as a known one.
//
// No more than half of the processors (at least one) hash passwords at a time, so that guessing them does not stop the
// phones; who has not had his turn within 5 seconds gets ErrBusy.
//
// The zero value with Path set is ready for use, also by several goroutines; the fields must not change after first use.
type Users struct {
	Path     string           // the file; empty: no users at all
	CacheFor time.Duration    // 0 means 10 minutes, negative means never
	Now      func() time.Time // nil means time.Now
	Log      *slog.Logger     // nil: nothing is logged

	mu     sync.Mutex
	size   int64
	mtime  time.Time
	hashes map[string][]byte
	decoy  []byte // hash that is compared for unknown users
	salt   []byte // key of the cache
	good   map[[sha256.Size]byte]time.Time
	under  map[[sha256.Size]byte]*comparison // under way

	once sync.Once
	busy chan struct{} // one place for each hash that is computed
}

// Check tells whether the user is in the file (known) and the password is his (ok). An error means that the file
// cannot be read, that there are too many logins (ErrBusy), or that ctx ended; nobody is let in then.
func (u *Users) Check(ctx context.Context, user string, password []byte) (known, ok bool, err error) {
	if u == nil || u.Path == "" {
		return false, false, nil
	}
	hash, known, key, fresh, err := u.look(user, password)
	if err != nil || fresh {
		return known, fresh, err
	}
	return u.compare(ctx, user, password, hash, known, key)
}

// comparison is a hash that is being computed, for everybody who waits for the same one.
type comparison struct {
	done chan struct{} // closed when ok and err are there
	ok   bool
	err  error
}

// compare computes the hash. Who asks for the same one meanwhile waits for it: devices that share a user all call after a restart.
func (u *Users) compare(ctx context.Context, user string, password, hash []byte, known bool, key [sha256.Size]byte) (_, ok bool, err error) {
	for {
		u.mu.Lock()
		c := u.under[key]
		if c == nil {
			c = &comparison{done: make(chan struct{})}
			u.under[key] = c
			u.mu.Unlock()
			c.ok, c.err = u.hash(ctx, user, password, hash, known, key)
			u.mu.Lock()
			delete(u.under, key)
			u.mu.Unlock()
			close(c.done)
			return known, c.ok, c.err
		}
		u.mu.Unlock()
		select {
		case <-c.done:
			if c.err == nil {
				return known, c.ok, nil
			}
			// The other one has left, or has not had its turn: that says nothing about this one.
			if errors.Is(c.err, ErrBusy) {
				return known, false, c.err
			}
		case <-ctx.Done():
			return known, false, ctx.Err()
		}
	}
}

// hash compares the password with the hash, and remembers that it was right.
func (u *Users) hash(ctx context.Context, user string, password, hash []byte, known bool, key [sha256.Size]byte) (bool, error) {
	done, err := u.enter(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	// Outside the lock: this is slow, and those who are remembered must not wait for it.
	ok := bcrypt.CompareHashAndPassword(hash, password) == nil && known && len(password) > 0
	if ok && u.cacheFor() > 0 {
		u.mu.Lock()
		defer u.mu.Unlock()
		if bytes.Equal(u.hashes[user], hash) { // not when the file changed meanwhile
			u.prune()
			u.good[key] = u.now().Add(u.cacheFor())
		}
	}
	return ok, nil
}

// enter waits for a place to hash a password.
func (u *Users) enter(ctx context.Context) (done func(), err error) {
	u.once.Do(func() { u.busy = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)) })
	select {
	case u.busy <- struct{}{}:
		return func() { <-u.busy }, nil
	default:
	}
	wait := time.NewTimer(loginWait)
	defer wait.Stop()
	select {
	case u.busy <- struct{}{}:
		return func() { <-u.busy }, nil
	case <-wait.C:
		return nil, ErrBusy
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// look finds the hash to compare with, or the fresh result of an earlier comparison.
func (u *Users) look(user string, password []byte) (hash []byte, known bool, key [sha256.Size]byte, fresh bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.reload(); err != nil {
		return nil, false, key, false, err
	}
	hash, known = u.hashes[user]
	if !known {
		hash = u.decoy
	}
	mac := hmac.New(sha256.New, u.salt)
	// The stored hash is part of the key: a new password in the file ends the memory of the old one.
	mac.Write(fmt.Appendf(nil, "%d:%s%d:%s", len(user), user, len(hash), hash))
	mac.Write(password)
	mac.Sum(key[:0])
	until, there := u.good[key]
	return hash, known, key, known && there && u.now().Before(until), nil
}

// prune bounds the cache: what is too old goes, and when there are still too many, everything.
func (u *Users) prune() {
	const limit = 10_000
	if len(u.good) < limit {
		return
	}
	now := u.now()
	for k, until := range u.good {
		if !now.Before(until) {
			delete(u.good, k)
		}
	}
	if len(u.good) >= limit {
		clear(u.good)
	}
}

// reload reads the file when it has changed. The caller holds the lock.
func (u *Users) reload() error {
	fi, err := os.Stat(u.Path)
	if err != nil {
		return fmt.Errorf("read users file: %w", err)
	}
	if u.hashes != nil && fi.Size() == u.size && fi.ModTime().Equal(u.mtime) {
		return nil
	}
	f, err := os.Open(u.Path) // #nosec G304 -- the path is the administrator's setting
	if err != nil {
		return fmt.Errorf("read users file: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	hashes, faults, err := ParseUsers(io.LimitReader(f, maxUsersFile))
	if err != nil {
		return fmt.Errorf("read users file %s: %w", u.Path, err)
	}
	for _, fault := range faults {
		u.log().Warn("line of the users file skipped", slog.String("path", u.Path), slog.String("err", fault.Error()))
	}
	if err := u.prepare(hashes); err != nil {
		return err
	}
	u.hashes, u.size, u.mtime = hashes, fi.Size(), fi.ModTime()
	return nil
}

// prepare makes the decoy as costly as the costliest real hash, so that time does not tell who is a user.
func (u *Users) prepare(hashes map[string][]byte) error {
	if u.salt == nil {
		u.salt = make([]byte, 32)
		if _, err := rand.Read(u.salt); err != nil {
			return fmt.Errorf("make salt: %w", err)
		}
		u.good = make(map[[sha256.Size]byte]time.Time)
		u.under = make(map[[sha256.Size]byte]*comparison)
	}
	cost := 0
	for _, h := range hashes {
		if c, err := bcrypt.Cost(h); err == nil {
			cost = max(cost, c)
		}
	}
	if cost == 0 {
		cost = bcrypt.DefaultCost
	}
	if have, err := bcrypt.Cost(u.decoy); err == nil && have == cost {
		return nil
	}
	decoy, err := bcrypt.GenerateFromPassword(u.salt, cost)
	if err != nil {
		return fmt.Errorf("make decoy: %w", err)
	}
	u.decoy = decoy
	return nil
}

func (u *Users) cacheFor() time.Duration {
	if u.CacheFor == 0 {
		return DefaultUserCache
	}
	return u.CacheFor
}

func (u *Users) now() time.Time {
	if u.Now == nil {
		return time.Now()
	}
	return u.Now()
}

func (u *Users) log() *slog.Logger {
	if u.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return u.Log
}

// ParseUsers reads the users file. It returns the hashes by name, what is wrong with each line that cannot be used (the
// hash is never quoted), and an error when r fails.
func ParseUsers(r io.Reader) (hashes map[string][]byte, faults []error, err error) {
	hashes = make(map[string][]byte)
	sc := bufio.NewScanner(r)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimRight(sc.Text(), " \t\r")
		if n == 1 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		if !ok {
			faults = append(faults, fmt.Errorf("line %d: no colon between name and hash", n))
			continue
		}
		if err := checkUserName(name); err != nil && name != "" {
			faults = append(faults, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		if _, err := bcrypt.Cost([]byte(hash)); err != nil {
			faults = append(faults, fmt.Errorf("line %d: user %q has no bcrypt hash (make the line with: htpasswd -nB %s)", n, name, name))
			continue
		}
		if _, twice := hashes[name]; twice {
			faults = append(faults, fmt.Errorf("line %d: user %q is there twice; the first line counts", n, name))
			continue
		}
		hashes[name] = []byte(hash)
	}
	return hashes, faults, sc.Err()
}

// checkUserName refuses what could be mistaken for something else in an owner "est:LABEL/NAME": certificate subjects
// hold "=", which no user name may.
func checkUserName(name string) error {
	switch {
	case name == "":
		return errors.New("empty user name")
	case len(name) > maxUserName:
		return fmt.Errorf("user name of %d bytes; %d are allowed", len(name), maxUserName)
	case !utf8.ValidString(name):
		return errors.New("user name is not UTF-8")
	case strings.ContainsAny(name, "=:/"):
		return fmt.Errorf("user name %q holds one of = : /", name)
	}
	for _, c := range name {
		if c < 0x20 || c == 0x7f {
			return errors.New("user name holds a control character")
		}
	}
	return nil
}

// MinCost is the least cost of a hash: for passwords that nobody can guess, because they are random.
const MinCost = bcrypt.MinCost

// UserLine returns a line for the users file, with the line end; an empty name is that of clients that send none. The cost is bcrypt's; 0 means its default.
func UserLine(name string, password []byte, cost int) (string, error) {
	if err := checkUserName(name); err != nil && name != "" {
		return "", err
	}
	if len(password) == 0 || len(password) > maxPassword {
		return "", fmt.Errorf("password of %d bytes; 1 to %d are allowed", len(password), maxPassword)
	}
	if cost == 0 {
		cost = bcrypt.DefaultCost
	}
	hash, err := bcrypt.GenerateFromPassword(password, cost)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return name + ":" + string(hash) + "\n", nil
}
