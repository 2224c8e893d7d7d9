//go:build unix

package store

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestLockServer(t *testing.T) {
	t.Parallel()
	s := open(t)
	release, err := s.LockServer()
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.LockServer()
	var e *Error
	if !errors.As(err, &e) || e.Code() != "store.in-use" || !strings.Contains(e.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Fatalf("a second server: %v, want store.in-use with the process id", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	release, err = s.LockServer()
	if err != nil {
		t.Fatalf("after the first one has ended: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
}
