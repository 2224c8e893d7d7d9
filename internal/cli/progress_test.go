package cli

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

func TestProgressOffTerminal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		p := (&env{err: &b}).newProgress("Enrolling", 5000)
		for i := range 25 { // seconds
			time.Sleep(time.Second)
			p.show(10*(i+1), i/10)
		}
		want := "Enrolling  100/5000  10/s  eta 8m10s  0 failed\nEnrolling  200/5000  10/s  eta 8m0s  1 failed\n"
		if got := b.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestPace(t *testing.T) {
	t.Parallel()
	if got := pace(0, 0, 10, time.Second); got != "" {
		t.Errorf("nothing done: %q", got)
	}
	if got, want := pace(10, 1, 10, 4*time.Second), "  2/s  eta 0s  1 failed"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
