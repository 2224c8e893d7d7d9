package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
)

// An interruption ends a question that nobody answers.
func TestConfirmInterrupted(t *testing.T) {
	t.Parallel()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil || !isTerminal(terminal) {
		t.Skipf("no pseudo terminal: %v", err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	e := &env{in: terminal, err: &out}
	if err := e.confirm(ctx, false, "delete it?"); !errors.Is(err, context.Canceled) {
		t.Errorf("confirm = %v, want the error of the context", err)
	}
	if got, want := out.String(), "delete it? [y/N] \n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}
