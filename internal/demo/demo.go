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
	// Behaviour is what goes wrong; with the issuer config.IssuerOnlineCA only.
	Behaviour Behaviour
	// Handler gets the structured log of all services; nil discards it.
	Handler slog.Handler
	// Step is told what has been done, one line each; Enrolled after each phone. Both may be nil and are never called
	// concurrently.
	Step     func(line string)
	Enrolled func(done, failed, total int)
	// Troubled is told, before the phones call, that the registration authority cannot work and why. May be nil.
	Troubled func(*Problem)
}

// Phone is how a phone fared.
type Phone struct {
	Name        string `json:"name"`
	State       string `json:"state"` // one of the State constants
	Serial      string `json:"serial"`
	Issuer      string `json:"issuer"`
	NotAfter    string `json:"not_after"`
	Mode        string `json:"mode"`
	RequestID   string `json:"request_id"` // the CA's number; empty with the local issuer
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
	Error       string `json:"error,omitempty"` // what the phone saw
	// Problem is what is on record of its last call; nil when there is no trouble, or nothing on record.
	Problem *Problem `json:"problem,omitempty"`
}

// Report is what came of the phones.
type Report struct {
	Phones   int     `json:"phones"`
	Issued   int     `json:"issued"`
	Pending  int     `json:"pending,omitempty"`
	Failed   int     `json:"failed"`
	Duration float64 `json:"duration_seconds"`
	Items    []Phone `json:"items"`
	// RA tells why the registration authority could not work when the phones called; nil when it could.
	RA *Problem `json:"ra_problem,omitempty"`
}

// Demo is a running world.
type Demo struct {
	Dir       string
	Endpoints app.Endpoints
	Manager   string // URL for the manager of the simulated CA, as enterprise.Enterprise has it; empty when the CA does nothing wrong
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
	witness    *witness
	ra         *Problem // see Report.RA
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
	if !o.Behaviour.IsZero() && o.Issuer != config.IssuerOnlineCA {
		return nil, fmt.Errorf("nothing can go wrong with AD CS when the issuer is %s", o.Issuer)
	}
	w := &world{o: o, witness: newWitness(o.Handler)}
	w.o.Handler = w.witness
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
	if w.enterprise != nil {
		d.Manager = w.enterprise.Manager
	}
	w.step("EST (RA)           %s", d.Endpoints.EST)
	w.step("CAPF               %s", d.Endpoints.CAPF)
	if err := w.waitReady(ctx); err != nil {
		return nil, err
	}
	names, err := w.addPhones(ctx)
	if err != nil {
		return nil, err
	}
	d.Report = w.enrol(ctx, names, d.Endpoints.CAPF)
	d.Report.Duration, d.Report.RA = time.Since(began).Seconds(), w.ra
	return d, ctx.Err()
}

// readyWithin bounds the wait for a registration authority that has its CA's certificates. It is longer than each of the
// timeouts with which the CA is asked, so that the authority itself can say what is wrong.
const readyWithin = 45 * time.Second

// waitReady returns when the phones may call: when the CA's chain is known, or, where things go wrong on purpose, when it
// is known why it is not. A real RA would be up and useless as well.
func (w *world) waitReady(ctx context.Context) error {
	if w.o.Behaviour.IsZero() {
		return w.app.WaitReady(ctx)
	}
	waiting, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- w.app.WaitReady(waiting) }()
	select {
	case err := <-ready:
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			w.ra = &Problem{
				What: "the registration authority does not get the certificates of the CA", ErrCode: "ra.chain-unknown",
				Why: fmt.Sprintf("the CA has said nothing for %s", readyWithin), Fix: "run callsign check with the configuration of this demo",
			}
			break
		}
		return err
	case <-w.witness.seen.failed:
		w.ra = w.witness.seen.problem
		cancel()
		<-ready //nolint:errcheck // it was told to end
	}
	if w.o.Troubled != nil {
		w.o.Troubled(w.ra)
	}
	return nil
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
			switch p.State {
			case StateIssued:
				r.Issued++
			case StatePending:
				r.Pending++
			default:
				r.Failed++
			}
			if w.o.Enrolled != nil {
				w.o.Enrolled(r.Issued, r.Pending+r.Failed, r.Phones)
			}
			return nil
		})
	}
	_ = g.Wait() // failures are in the report
	return r
}

// The states of a Phone.
const (
	StateIssued  = "issued"
	StatePending = "pending" // the CA waits for approval
	StateFailed  = "failed"
)

// call is one phone, with the retries that phones make when the CA needs longer than they wait.
func (w *world) call(ctx context.Context, name, server string) Phone {
	p := Phone{Name: name, State: StateFailed, Mode: w.o.Issuer}
	tc, err := handset.TLSConfig(filepath.Join(w.dir, "capf.pem"))
	if err != nil {
		p.Error = err.Error()
		return p
	}
	h := handset.Phone{Name: name, Server: server, Dir: filepath.Join(w.dir, "phones"), TLS: tc, Retries: 3, RetryInterval: time.Second, Log: slog.New(w.o.Handler)}
	if w.ra != nil {
		h.Retries = 0 // once is enough to see it
	}
	r, err := h.Enroll(ctx)
	switch {
	case err != nil:
		p.Error = err.Error()
	case r.Certificate == nil:
		p.Error = fmt.Sprintf("session ended with reason %d and no certificate", r.Reason)
	}
	if p.Error != "" {
		w.explain(ctx, &p)
		return p
	}
	p.State = StateIssued
	p.Serial, p.Issuer, p.NotAfter = hex.EncodeToString(r.Certificate.SerialNumber.Bytes()), r.Certificate.Issuer.String(), r.Certificate.NotAfter.UTC().Format(time.RFC3339)
	if !w.temporary {
		p.Certificate, p.Key = r.CertificatePath, r.KeyPath
	}
	rows, err := w.app.Records.Journal.ByOwner(ctx, fleet.Owner(name))
	if err != nil {
		p.State, p.Error = StateFailed, err.Error()
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

// explain adds to a phone without certificate what is on record of it.
func (w *world) explain(ctx context.Context, p *Phone) {
	d, err := w.app.Records.Phones.Device(ctx, p.Name)
	if err != nil || d.Note == nil {
		return // what the phone saw must do
	}
	p.Problem = &Problem{What: p.Name + " has no certificate", ErrCode: d.Note.Code, Why: d.Note.Detail, Fix: d.Note.Remedy}
	if rows, err := w.app.Records.Journal.ByOwner(ctx, fleet.Owner(p.Name)); err == nil && len(rows) > 0 {
		p.RequestID = rows[0].Progress.RequestID
		if rows[0].State == enroll.Pending && d.Note.Code == "fleet.approval-pending" {
			p.State = StatePending
		}
	}
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
