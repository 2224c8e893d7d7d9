package demo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"callsign/internal/app"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/enterprise"
	"callsign/internal/fleet"
	"callsign/internal/handset"
)

// Options say which world to make.
type Options struct {
	Phones int    // how many; at least 1
	Issuer string // config.IssuerOnlineCA or config.IssuerLocal
	Dir    string // kept; empty: a temporary directory that Close removes
	// Handler gets the structured log of all services; nil discards it.
	Handler slog.Handler
	// Step is told what has been done, one line each; Enrolled after each phone. Both may be nil and are never called
	// concurrently.
	Step     func(line string)
	Enrolled func(done, failed, total int)
}

// Phone is how a phone fared.
type Phone struct {
	Name        string `json:"name"`
	State       string `json:"state"` // "issued" or "failed"
	Serial      string `json:"serial"`
	Issuer      string `json:"issuer"`
	NotAfter    string `json:"not_after"`
	Mode        string `json:"mode"`
	RequestID   string `json:"request_id"` // the CA's number; empty with the local issuer
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
	Error       string `json:"error,omitempty"`
}

// Report is what came of the phones.
type Report struct {
	Phones   int     `json:"phones"`
	Issued   int     `json:"issued"`
	Failed   int     `json:"failed"`
	Duration float64 `json:"duration_seconds"`
	Items    []Phone `json:"items"`
}

// Demo is a running world.
type Demo struct {
	Dir       string
	Endpoints app.Endpoints
	Report    Report

	w *world
}

type world struct {
	o          Options
	dir        string
	temporary  bool
	enterprise *enterprise.Enterprise
	capf, est  net.Listener
	app        *app.App
}

// Start makes the world and lets every phone enrol. It returns when the last phone is done; the world goes on until
// Close. A phone that fails is in the Report, not in the error.
func Start(ctx context.Context, o Options) (*Demo, error) {
	if o.Phones < 1 {
		return nil, errors.New("a demo needs at least one phone")
	}
	if o.Handler == nil {
		o.Handler = slog.DiscardHandler
	}
	w := &world{o: o}
	d, err := w.start(ctx)
	if err != nil {
		return nil, errors.Join(err, w.close(ctx))
	}
	return d, nil
}

func (w *world) start(ctx context.Context) (*Demo, error) {
	began := time.Now()
	if err := w.makeDir(); err != nil {
		return nil, err
	}
	c, err := w.deployment(ctx)
	if err != nil {
		return nil, err
	}
	if w.enterprise != nil {
		w.step("AD CS (simulated)  %s, template %s", w.enterprise.URL, w.enterprise.Templates[0])
	}
	w.app, err = app.Start(ctx, app.Options{Config: c, Handler: w.o.Handler, CAPF: w.capf, EST: w.est})
	if err != nil {
		return nil, err
	}
	w.capf, w.est = nil, nil // the App closes them now
	d := &Demo{Dir: w.dir, Endpoints: w.app.Endpoints(), w: w}
	w.step("EST (RA)           %s", d.Endpoints.EST)
	w.step("CAPF               %s", d.Endpoints.CAPF)
	if err := w.app.WaitReady(ctx); err != nil {
		return nil, err
	}
	names, err := w.addPhones(ctx)
	if err != nil {
		return nil, err
	}
	d.Report = w.enrol(ctx, names, d.Endpoints.CAPF)
	d.Report.Duration = time.Since(began).Seconds()
	return d, ctx.Err()
}

func (w *world) step(format string, args ...any) {
	if w.o.Step != nil {
		w.o.Step(fmt.Sprintf(format, args...))
	}
}

func (w *world) makeDir() error {
	if w.o.Dir != "" {
		w.dir = w.o.Dir
		return nil
	}
	dir, err := os.MkdirTemp("", "callsign-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	w.dir, w.temporary = dir, true
	return nil
}

// firstPhone is the MAC address of the first demo phone; 00:11:22:33:44 is nobody's.
const firstPhone = 0x001122334455

func (w *world) addPhones(ctx context.Context) ([]string, error) {
	now := time.Now()
	names := make([]string, w.o.Phones)
	devices := make([]fleet.Device, w.o.Phones)
	for i := range devices {
		names[i] = fmt.Sprintf("SEP%012X", firstPhone+i)
		devices[i] = fleet.NewDevice(names[i])
		devices[i].Model = "8865"
		devices[i].Schedule(fleet.OperationInstall, now)
	}
	if err := w.app.Records.Phones.AddDevices(ctx, devices); err != nil {
		return nil, fmt.Errorf("add the phones: %w", err)
	}
	return names, nil
}

// enrol lets the phones call, a few at a time: each makes its own key first, which is what takes the time.
func (w *world) enrol(ctx context.Context, names []string, server string) Report {
	r := Report{Phones: len(names), Items: make([]Phone, len(names))}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(2 * runtime.GOMAXPROCS(0))
	for i, name := range names {
		g.Go(func() error {
			p := w.call(ctx, name, server)
			mu.Lock()
			defer mu.Unlock()
			r.Items[i] = p
			if p.State == stateIssued {
				r.Issued++
			} else {
				r.Failed++
			}
			if w.o.Enrolled != nil {
				w.o.Enrolled(r.Issued, r.Failed, r.Phones)
			}
			return nil
		})
	}
	_ = g.Wait() // failures are in the report
	return r
}

const (
	stateIssued = "issued"
	stateFailed = "failed"
)

// call is one phone, with the retries that phones make when the CA needs longer than they wait.
func (w *world) call(ctx context.Context, name, server string) Phone {
	p := Phone{Name: name, State: stateFailed, Mode: w.o.Issuer}
	tc, err := handset.TLSConfig(filepath.Join(w.dir, "capf.pem"))
	if err != nil {
		p.Error = err.Error()
		return p
	}
	h := handset.Phone{Name: name, Server: server, Dir: filepath.Join(w.dir, "phones"), TLS: tc, Retries: 3, RetryInterval: time.Second, Log: slog.New(w.o.Handler)}
	r, err := h.Enroll(ctx)
	switch {
	case err != nil:
		p.Error = err.Error()
		return p
	case r.Certificate == nil:
		p.Error = fmt.Sprintf("session ended with reason %d and no certificate", r.Reason)
		return p
	}
	p.State = stateIssued
	p.Serial, p.Issuer, p.NotAfter = hex.EncodeToString(r.Certificate.SerialNumber.Bytes()), r.Certificate.Issuer.String(), r.Certificate.NotAfter.UTC().Format(time.RFC3339)
	if !w.temporary {
		p.Certificate, p.Key = r.CertificatePath, r.KeyPath
	}
	rows, err := w.app.Records.Journal.ByOwner(ctx, fleet.Owner(name))
	if err != nil {
		p.State, p.Error = stateFailed, err.Error()
		return p
	}
	for _, row := range rows {
		if row.State == enroll.Confirmed && row.Serial == p.Serial {
			p.RequestID = row.Progress.RequestID
		}
	}
	if w.o.Issuer == config.IssuerLocal {
		p.RequestID = ""
	}
	return p
}

// Wait returns when ctx ends, or with the error of a service that failed.
func (d *Demo) Wait(ctx context.Context) error { return d.w.app.Wait(ctx) }

// Close ends the world and removes a temporary directory.
func (d *Demo) Close(ctx context.Context) error { return d.w.close(ctx) }

func (w *world) close(ctx context.Context) error {
	var errs []error
	if w.app != nil {
		errs = append(errs, w.app.Stop(ctx))
	}
	for _, l := range []net.Listener{w.capf, w.est} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	if w.enterprise != nil {
		errs = append(errs, w.enterprise.Close())
	}
	if w.temporary {
		errs = append(errs, os.RemoveAll(w.dir))
	}
	return errors.Join(errs...)
}
