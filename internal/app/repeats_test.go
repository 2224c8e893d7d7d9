package app //nolint:testpackage // the handler is not exported

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns the lines since the last time.
func (l *logText) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.TrimSpace(l.b.String())
	l.b.Reset()
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func repeatsFor(t *testing.T) (*slog.Logger, *logText, *repeats) {
	t.Helper()
	text := &logText{}
	h := newRepeats(slog.NewTextHandler(text, &slog.HandlerOptions{Level: slog.LevelInfo}))
	return slog.New(h), text, h
}

// TestRepeatsAreSummarised: of identical failures some come through, and one line tells of the others.
func TestRepeatsAreSummarised(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, text, _ := repeatsFor(t)
		ctx := context.Background()
		for i := range 417 {
			log.WarnContext(ctx, "phone refused", "event", "capf.refused", "device", "SEP1", "code", "fleet.locked", "session", i)
			log.InfoContext(ctx, "session ended", "device", "SEP1", "code", "fleet.locked", "peer", fmt.Sprintf("192.0.2.1:%d", 50000+i))
			log.InfoContext(ctx, "certificate issued", "device", "SEP1") // no failure
		}
		log.WarnContext(ctx, "phone refused", "event", "capf.refused", "device", "SEP2", "code", "fleet.locked")
		log.WarnContext(ctx, "phone refused", "event", "capf.refused", "device", "SEP1", "code", "fleet.late")
		log.DebugContext(ctx, "not on", "code", "fleet.late")
		if n := len(text.take()); n != 5+5+417+2 {
			t.Errorf("%d lines", n)
		}
		time.Sleep(repeatWithin)
		synctest.Wait()
		lines := text.take()
		if len(lines) != 2 {
			t.Fatalf("summary:\n%s", strings.Join(lines, "\n"))
		}
		for _, l := range lines {
			if !strings.Contains(l, "(repeated 412 times in 1m0s)") || !strings.Contains(l, "repeated=412") || !strings.Contains(l, "device=SEP1") || !strings.Contains(l, "code=fleet.locked") {
				t.Error(l)
			}
		}
		log.WarnContext(ctx, "phone refused", "event", "capf.refused", "device", "SEP1", "code", "fleet.locked")
		if len(text.take()) != 1 {
			t.Error("the next minute does not begin anew")
		}
		time.Sleep(repeatWithin)
		synctest.Wait()
		if lines := text.take(); len(lines) != 0 {
			t.Errorf("summary of nothing: %q", lines)
		}
	})
}

// TestRepeatsAtTheEnd: who stops the server still hears what was left out.
func TestRepeatsAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, text, h := repeatsFor(t)
		for range 8 {
			log.With("label", "x").WithGroup("g").Error("no", "code", "x.y")
			log.With("label", "y").Error("no", "code", "x.y")
		}
		h.close(t.Context())
		h.close(t.Context())
		if lines := text.take(); len(lines) != 12 || !strings.Contains(lines[10]+lines[11], "label=x") || !strings.Contains(lines[10]+lines[11], "label=y") {
			t.Errorf("%s", strings.Join(lines, "\n"))
		}
	})
}

// TestRepeatsOfInventedNames: names without end take neither memory nor disk without end.
func TestRepeatsOfInventedNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, text, h := repeatsFor(t)
		for i := range maxRepeating + 1000 {
			log.Warn("phone refused", "device", fmt.Sprintf("SEP%012X", i), "code", "fleet.unknown-device")
		}
		if n := len(text.take()); n != maxRepeating+repeatShown || len(h.kinds.all) != maxRepeating+1 {
			t.Errorf("%d lines, %d kinds", n, len(h.kinds.all))
		}
		h.close(t.Context())
		if lines := text.take(); len(lines) != 1 || !strings.Contains(lines[0], "repeated=995") {
			t.Errorf("%q", lines)
		}
	})
}
