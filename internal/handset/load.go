package handset

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"callsign/capf"
)

// DefaultFirst is the first name of a load.
const DefaultFirst = "SEP000000000000"

// LoadConfig says who calls.
type LoadConfig struct {
	Server      string        // HOST:PORT. Required.
	Count       int           // phones; each calls once. Required.
	Concurrency int           // phones at a time; 0 means 16
	First       string        // first name; the others count up in hexadecimal. Empty means DefaultFirst.
	Key         capf.KeySpec  // made for each phone before the clock starts; zero means rsa:2048
	TLS         *tls.Config   // see TLSConfig; nil checks nothing
	Version     uint8         // protocol version; 0 means 3
	String      capf.Secret   // the same authentication string for all; empty for a null string
	Timeout     time.Duration // how long the server may be silent; 0 means capf.DefaultClientTimeout
	Silent      int           // connections that hang on the server during the calls and say nothing, besides the phones
	Log         *slog.Logger  // nil discards
	// Progress is told how far the load is, from several goroutines but never twice at the same time: during
	// Preparing for each key, during Calling for each phone. May be nil.
	Progress func(Progress)
}

// Stage is a part of a load.
type Stage string

// The stages of a load.
const (
	Preparing Stage = "keys"  // keys are made, the clock does not run
	Calling   Stage = "calls" // phones call
)

// Progress is how far a load is.
type Progress struct {
	Stage   Stage
	Done    int
	Total   int
	Failed  int
	Elapsed time.Duration // since the stage began
}

// LoadReport is what a load measured. Times are those of a whole session as the phone sees it, connecting included, over the phones
// that got through.
type LoadReport struct {
	Count           int            `json:"count"`
	Concurrency     int            `json:"concurrency"`
	OK              int            `json:"ok"`
	Failed          int            `json:"failed"`
	FailedByReason  map[string]int `json:"failed_by_reason"`       // by code, for refusals with the reason: "capf.refused:7"
	FailedNames     []string       `json:"failed_names,omitempty"` // in order, at most 100
	DurationSeconds float64        `json:"duration_seconds"`
	Rate            float64        `json:"rate_per_second"` // phones that got through, per second
	P50Seconds      float64        `json:"p50_seconds"`
	P99Seconds      float64        `json:"p99_seconds"`
	MaxSeconds      float64        `json:"max_seconds"`
	// Silent is how many connections hung on the server during the calls and said nothing. SilentRefused counts attempts
	// to open one that failed, SilentClosed those that the server closed; both are tried again.
	Silent        int `json:"silent,omitempty"`
	SilentRefused int `json:"silent_refused,omitempty"`
	SilentClosed  int `json:"silent_closed,omitempty"`
}

// NothingToDo is the key in LoadReport.FailedByReason for phones whose session ended well without a certificate: the
// server had no install for them.
const NothingToDo = "no-operation"

// Load makes the phones call and reports how they fared. An error means that the load did not take place or was
// cancelled; the report then has what was measured until then.
func Load(ctx context.Context, c LoadConfig) (LoadReport, error) {
	if c.Count <= 0 {
		return LoadReport{}, errors.New("a load needs at least one phone")
	}
	names, err := Names(c.First, c.Count)
	if err != nil {
		return LoadReport{}, err
	}
	if c.Concurrency <= 0 {
		c.Concurrency = 16
	}
	if c.Key == (capf.KeySpec{}) {
		c.Key = capf.KeySpec{Type: capf.KeyRSA, Bits: 2048}
	}
	keys, err := c.prepare(ctx)
	if err != nil {
		return LoadReport{}, fmt.Errorf("make keys: %w", err)
	}
	l := &load{LoadConfig: c, names: names, keys: keys, results: make([]result, c.Count)}
	return l.run(ctx)
}

// prepare makes the keys on all processors.
func (c *LoadConfig) prepare(ctx context.Context) ([]crypto.Signer, error) {
	keys := make([]crypto.Signer, c.Count)
	tell := c.reporter(Preparing)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range keys {
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			var err error
			keys[i], err = capf.GenerateKey(c.Key)
			tell(false)
			return err
		})
	}
	return keys, g.Wait()
}

// reporter returns a function that counts one more and calls Progress.
func (c *LoadConfig) reporter(stage Stage) func(failed bool) {
	if c.Progress == nil {
		return func(bool) {}
	}
	began := time.Now()
	turn := make(chan Progress, 1)
	turn <- Progress{Stage: stage, Total: c.Count}
	return func(failed bool) {
		p := <-turn
		p.Done++
		if failed {
			p.Failed++
		}
		p.Elapsed = time.Since(began)
		c.Progress(p)
		turn <- p
	}
}

type load struct {
	LoadConfig
	names   []string
	keys    []crypto.Signer
	results []result
}

type result struct {
	took   time.Duration
	reason string // empty for success
	called bool
}

func (l *load) run(ctx context.Context) (LoadReport, error) {
	var silent *crowd
	if l.Silent > 0 {
		timeout := l.Timeout
		if timeout <= 0 {
			timeout = capf.DefaultClientTimeout
		}
		silent = gather(ctx, l.Server, l.Silent, timeout)
	}
	var next atomic.Int64
	tell := l.reporter(Calling)
	began := time.Now()
	var g errgroup.Group
	for range min(l.Concurrency, l.Count) {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= l.Count || ctx.Err() != nil {
					return ctx.Err()
				}
				l.results[i] = l.call(ctx, i)
				tell(l.results[i].reason != "")
			}
		})
	}
	err := g.Wait()
	r := l.report(time.Since(began))
	if silent != nil {
		r.Silent = l.Silent
		r.SilentRefused, r.SilentClosed = silent.disperse()
	}
	return r, err
}

// call is one phone's session.
func (l *load) call(ctx context.Context, i int) result {
	key := l.keys[i]
	p := Phone{
		Name: l.names[i], Server: l.Server, String: l.String, Version: l.Version, TLS: l.TLS, Timeout: l.Timeout, Log: l.Log,
		keeper: &capf.Memory{Generate: func(capf.KeySpec) (crypto.Signer, error) { return key, nil }},
	}
	r, err := p.Enroll(ctx)
	out := result{took: r.Duration, called: true}
	switch {
	case err != nil:
		out.reason = reasonOf(err)
	case r.Certificate == nil:
		out.reason = NothingToDo
	}
	return out
}

// reasonOf is the key under which a failure is counted.
func reasonOf(err error) string {
	if e, ok := errors.AsType[*capf.EndError](err); ok {
		return fmt.Sprintf("%s:%d", e.Code(), uint8(e.Reason))
	}
	if c, ok := errors.AsType[interface {
		error
		Code() string
	}](err); ok {
		return c.Code()
	}
	return "other"
}

func (l *load) report(took time.Duration) LoadReport {
	const named = 100
	r := LoadReport{Concurrency: l.Concurrency, FailedByReason: map[string]int{}, DurationSeconds: took.Seconds()}
	var times []time.Duration
	for i, x := range l.results {
		switch {
		case !x.called:
			continue
		case x.reason == "":
			r.OK++
			times = append(times, x.took)
		default:
			r.Failed++
			r.FailedByReason[x.reason]++
			if len(r.FailedNames) < named {
				r.FailedNames = append(r.FailedNames, l.names[i])
			}
		}
		r.Count++
	}
	if took > 0 {
		r.Rate = float64(r.OK) / took.Seconds()
	}
	slices.Sort(times)
	r.P50Seconds, r.P99Seconds, r.MaxSeconds = percentile(times, 0.50), percentile(times, 0.99), percentile(times, 1)
	return r
}

// percentile is the smallest time that the share of all times does not exceed, in seconds; 0 without times.
func percentile(sorted []time.Duration, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := int(math.Ceil(share*float64(len(sorted)))) - 1
	return sorted[max(i, 0)].Seconds()
}

// Names returns count device names: first, and on from there by counting its hexadecimal digits up. The digits are those
// after the leading letters SEP, CSF and the like, 12 of them in a phone's name; they may not run over.
func Names(first string, count int) ([]string, error) {
	if first == "" {
		first = DefaultFirst
	}
	digits := 12
	if len(first) < digits+1 {
		return nil, fmt.Errorf("first name %q: want a prefix and 12 hexadecimal digits, for example %s", first, DefaultFirst)
	}
	prefix, tail := first[:len(first)-digits], first[len(first)-digits:]
	n, err := strconv.ParseUint(tail, 16, 64)
	if err != nil {
		return nil, fmt.Errorf("first name %q: want a prefix and 12 hexadecimal digits, for example %s", first, DefaultFirst)
	}
	if count < 0 || n+uint64(count) > 1<<48 {
		return nil, fmt.Errorf("%d names from %q do not fit into 12 hexadecimal digits", count, first)
	}
	names := make([]string, count)
	for i := range names {
		names[i] = prefix + fmt.Sprintf("%012X", n+uint64(i))
	}
	return names, nil
}
