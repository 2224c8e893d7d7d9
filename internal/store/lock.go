//go:build unix

package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// LockServer makes this process the one that works the database's journal: two would ask the same authority for the same
// row. Commands do not need it. The lock is a flock on PATH.lock, which holds the process id for a person to read; it goes
// away with the process, however that ends. release gives it back.
//
// When another process has it the error is an [Error] with code store.in-use.
func (s *Store) LockServer() (release func() error, err error) {
	path := s.path + ".lock"
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // #nosec G304 -- beside the database
	if err != nil {
		return nil, fault("store.open", path, "the lock file "+path+" cannot be opened", "let the account that runs the product own it", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := "another process"
		if b, readErr := io.ReadAll(io.LimitReader(f, 32)); readErr == nil && len(b) > 0 {
			holder = "process " + strings.TrimSpace(string(b))
		}
		_ = f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fault("store.open", path, "the lock file "+path+" cannot be locked", "keep the database on a local file system", err)
		}
		return nil, fault("store.in-use", s.path, "the database "+s.path+" is being served by "+holder,
			"stop that server first, or give this one a database of its own (store.path)", nil)
	}
	if err := errors.Join(f.Truncate(0), writePID(f)); err != nil {
		return nil, errors.Join(fault("store.open", path, "the lock file "+path+" cannot be written", "check the file system", err), f.Close())
	}
	return f.Close, nil
}

func writePID(f *os.File) error {
	_, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}
