package trace

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// Options say where the lines go. The zero value writes nothing.
type Options struct {
	CAPF     io.Writer // CAPF trace (capf.txt); nil: not written
	RAStart  io.Writer // start log of the RA (nginx.txt); nil: not written
	ErrorLog io.Writer // nginx's error.log; nil: not written
	// Certificates is the directory for the certificates that phones show for Troubleshoot, one file each:
	// DEVICE-lsc-TIME.pem or DEVICE-mic-TIME.pem. Empty: not written.
	Certificates string

	Now      func() time.Time // time of a line; nil: the record's
	Location *time.Location   // zone of the printed times; nil: time.Local
	PID      int              // process number in error.log; 0: os.Getpid()
	Server   string           // the RA's address in error.log; empty: 0.0.0.0:8084, the original's
}

// Handler renders events as lines. Make one with New or Files.Handler.
type Handler struct {
	core  *core
	attrs []slog.Attr // of the logger; only those outside of groups
	group bool        // attributes of records go into a group, so the event's are not ours
}

var _ slog.Handler = (*Handler)(nil)

// New returns a Handler that writes to o's writers.
func New(o Options) *Handler {
	if o.Location == nil {
		o.Location = time.Local
	}
	if o.PID == 0 {
		o.PID = os.Getpid()
	}
	if o.Server == "" {
		o.Server = "0.0.0.0:8084"
	}
	return &Handler{core: &core{Options: o, starting: true, conns: map[string]int{}}}
}

// Enabled implements slog.Handler: debug and above, whatever the level of the structured log, because the original's
// trace has no levels.
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelDebug }

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if h.group || len(attrs) == 0 {
		return h
	}
	return &Handler{core: h.core, attrs: append(slices.Clip(h.attrs), attrs...)}
}

// WithGroup implements slog.Handler. Attributes in a group are not part of the contract.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &Handler{core: h.core, attrs: h.attrs, group: true}
}

// Handle implements slog.Handler. It returns the writers' errors.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	if h.group {
		return nil
	}
	name := ""
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "event" {
			return true
		}
		name = a.Value.String()
		return false
	})
	render := renderer(name)
	if render == nil {
		return nil
	}
	at := r.Time
	if h.core.Now != nil {
		at = h.core.Now()
	}
	return h.core.write(render, event{record: r, attrs: h.attrs, at: at.In(h.core.Location)})
}

// core is what the handlers of one New share.
type core struct {
	Options

	mu       sync.Mutex
	starting bool           // the RA has not got the CA's chain yet
	anchors  []string       // named since ra.start, for their second listing
	conns    map[string]int // number of each client's connection, by address
	lastConn int
}

func (c *core) write(render func(*core, *page, event), e event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var p page
	render(c, &p, e)
	var errs []error
	for _, f := range []struct {
		to    io.Writer
		lines *bytes.Buffer
	}{{c.CAPF, &p.capf}, {c.RAStart, &p.start}, {c.ErrorLog, &p.errors}} {
		if f.to == nil || f.lines.Len() == 0 {
			continue
		}
		if _, err := f.to.Write(f.lines.Bytes()); err != nil {
			errs = append(errs, err)
		}
	}
	if c.Certificates != "" && len(p.certificate) > 0 {
		errs = append(errs, p.writeCertificate(c.Certificates))
	}
	return errors.Join(errs...)
}

// page collects the lines of one event for each file.
type page struct {
	capf, start, errors bytes.Buffer
	certificate         []byte // PEM, goes into a file of its own
	certificateName     string
}

// renderer returns what writes the lines of an event, nil when there are none.
func renderer(name string) func(*core, *page, event) {
	if f := capfRenderer(name); f != nil {
		return f
	}
	return raRenderer(name)
}
