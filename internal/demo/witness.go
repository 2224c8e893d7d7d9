package demo

import (
	"context"
	"log/slog"
	"sync"
)

// Problem is a failure in the words of the service that met it.
type Problem struct {
	What    string `json:"error"`           // what failed, on which object
	ErrCode string `json:"code"`            // stable code
	Why     string `json:"cause,omitempty"` // with names and values
	Fix     string `json:"fix,omitempty"`   // what to do
}

// Error implements error.
func (p *Problem) Error() string { return p.What + ": " + p.Why }

// Cause returns why it failed.
func (p *Problem) Cause() string { return p.Why }

// Code returns the stable code.
func (p *Problem) Code() string { return p.ErrCode }

// Remedy returns what to do.
func (p *Problem) Remedy() string { return p.Fix }

// witness passes on the log of the services and keeps what the registration authority says when it does not get the
// CA's certificates: that it says nowhere else.
type witness struct {
	slog.Handler
	seen *testimony
}

type testimony struct {
	once    sync.Once
	failed  chan struct{} // closed when problem is set
	problem *Problem
}

func newWitness(h slog.Handler) *witness {
	return &witness{Handler: h, seen: &testimony{failed: make(chan struct{})}}
}

// Enabled implements slog.Handler: the warning that is waited for comes, whatever the level of the log.
func (w *witness) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || w.Handler.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (w *witness) Handle(ctx context.Context, r slog.Record) error {
	p := Problem{What: "the registration authority does not get the certificates of the CA"}
	event := ""
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "event":
			event = a.Value.String()
		case "code":
			p.ErrCode = a.Value.String()
		case "err":
			p.Why = a.Value.String()
		case "remedy":
			p.Fix = a.Value.String()
		}
		return true
	})
	if event == "ra.chain_failed" && r.Level >= slog.LevelWarn {
		w.seen.once.Do(func() {
			w.seen.problem = &p
			close(w.seen.failed)
		})
	}
	if !w.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return w.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (w *witness) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &witness{Handler: w.Handler.WithAttrs(attrs), seen: w.seen}
}

// WithGroup implements slog.Handler.
func (w *witness) WithGroup(name string) slog.Handler {
	return &witness{Handler: w.Handler.WithGroup(name), seen: w.seen}
}
