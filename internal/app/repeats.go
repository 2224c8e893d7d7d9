package app

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"time"
)

// How failures that repeat are summarised: of identical ones within repeatWithin the first repeatShown are logged as they
// come and the others in one line at the end. Two are identical when they say the same of the same object and peer.
// Beyond maxRepeating kinds at a time, objects and peers are not told apart: then somebody makes names up.
const (
	repeatWithin = time.Minute
	repeatShown  = 5
	maxRepeating = 20000
)

// repeats is a slog.Handler that summarises failures which repeat: a phone that is refused calls again and again, and
// whoever wants to fill a disk calls as some phone a thousand times a second.
type repeats struct {
	next  slog.Handler
	under string // groups and attributes of With, as part of a kind
	kinds *kinds
}

// kinds are the failures of the last minute.
type kinds struct {
	mu  sync.Mutex
	all map[string]*kind
}

// kind is one failure that may repeat.
type kind struct {
	began time.Time
	count int
	last  slog.Record // of those left out
	next  slog.Handler
	timer *time.Timer
}

func newRepeats(next slog.Handler) *repeats {
	return &repeats{next: next, kinds: &kinds{all: map[string]*kind{}}}
}

// Enabled implements [slog.Handler].
func (h *repeats) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

// WithAttrs implements [slog.Handler].
func (h *repeats) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &repeats{next: h.next.WithAttrs(attrs), under: h.under + fmt.Sprint(attrs), kinds: h.kinds}
}

// WithGroup implements [slog.Handler].
func (h *repeats) WithGroup(name string) slog.Handler {
	return &repeats{next: h.next.WithGroup(name), under: h.under + name + ".", kinds: h.kinds}
}

// Handle implements [slog.Handler].
func (h *repeats) Handle(ctx context.Context, r slog.Record) error {
	what, whose, failure := kindOf(&r)
	if !failure {
		return h.next.Handle(ctx, r)
	}
	what = h.under + what
	if h.kinds.count(ctx, what, whose, r, h.next) > repeatShown {
		return nil
	}
	return h.next.Handle(ctx, r)
}

// kindOf says what a record says and of what, and whether it tells of a failure: by its level, or by the code of a
// problem.
func kindOf(r *slog.Record) (what, whose string, failure bool) {
	failure = r.Level >= slog.LevelWarn
	var a, b strings.Builder
	fmt.Fprint(&a, r.Level, r.Message)
	r.Attrs(func(attr slog.Attr) bool {
		switch attr.Key {
		case "code":
			failure = true
			fmt.Fprint(&a, "\x00", attr)
		case "event":
			fmt.Fprint(&a, "\x00", attr)
		case "session", "request_id", "duration_ms", "duration", "bytes", "hex", "err", "cause", "remedy", "text":
			// Another one for each call, or words that have an address or a time in them.
		case "peer", "remote":
			host, _, err := net.SplitHostPort(attr.Value.String())
			if err != nil {
				host = attr.Value.String()
			}
			fmt.Fprint(&b, "\x00", host)
		default:
			fmt.Fprint(&b, "\x00", attr)
		}
		return true
	})
	return a.String(), b.String(), failure
}

// count counts a failure and keeps it when it is one too many.
func (k *kinds) count(ctx context.Context, what, whose string, r slog.Record, next slog.Handler) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	name := what + "\x00" + whose
	one := k.all[name]
	if one == nil && len(k.all) >= maxRepeating {
		name = what
		one = k.all[name]
	}
	if one == nil {
		one = &kind{began: time.Now()}
		ctx := context.WithoutCancel(ctx)
		one.timer = time.AfterFunc(repeatWithin, func() { k.summarise(ctx, name, one) })
		k.all[name] = one
	}
	if one.count++; one.count > repeatShown {
		one.last, one.next = r.Clone(), next
	}
	return one.count
}

// summarise ends a kind, with one line when some of its records were left out.
func (k *kinds) summarise(ctx context.Context, name string, one *kind) {
	k.mu.Lock()
	if k.all[name] != one { // done already
		k.mu.Unlock()
		return
	}
	delete(k.all, name)
	one.timer.Stop()
	k.mu.Unlock()
	left := one.count - repeatShown
	if left <= 0 {
		return
	}
	r := one.last
	r.Message = fmt.Sprintf("%s (repeated %d times in %s)", r.Message, left, time.Since(one.began).Round(time.Second))
	r.AddAttrs(slog.Int("repeated", left))
	_ = one.next.Handle(ctx, r)
}

// close summarises what there is.
func (h *repeats) close(ctx context.Context) {
	h.kinds.mu.Lock()
	all := maps.Clone(h.kinds.all)
	h.kinds.mu.Unlock()
	for name, one := range all {
		h.kinds.summarise(ctx, name, one)
	}
}
