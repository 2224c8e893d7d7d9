package demo

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"callsign/capf"
	"callsign/certsrv/certsrvtest"
	"callsign/internal/app"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/enterprise"
	"callsign/internal/fleet"
	"callsign/internal/handset"
)

// product is the whole product in this process, on a deployment with short patience.
type product struct {
	t          *testing.T
	c          *config.Config
	enterprise *enterprise.Enterprise
	capf, est  net.Listener
	a          *app.App
	handler    slog.Handler // of the structured log; nil discards it
	mu         sync.Mutex
	phones     map[string]*handset.Phone
}

// listen takes a port and keeps it, so that no other test can have it.
func listen(t *testing.T) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// newProduct makes a deployment whose clients and CA are given up on quickly. Nothing runs yet but the simulated AD CS.
func newProduct(t *testing.T, issuer string, change func(*config.Config)) *product {
	t.Helper()
	return newTroubled(t, issuer, Behaviour{}, change)
}

// newTroubled is newProduct in a world in which something is wrong.
func newTroubled(t *testing.T, issuer string, b Behaviour, change func(*config.Config)) *product {
	t.Helper()
	p := &product{t: t, capf: listen(t), est: listen(t), phones: map[string]*handset.Phone{}}
	c, e := misbehaving(t, issuer, b, func(c *config.Config) {
		c.CAPF.Listen, c.EST.Listen = p.capf.Addr().String(), p.est.Addr().String()
		if issuer == config.IssuerOnlineCA {
			c.CAPF.RAURL = "https://" + c.EST.Listen + "/.well-known/est"
		}
		c.RA.RetryAfter, c.RA.PendingRetryAfter = time.Second, time.Second
		if change != nil {
			change(c)
		}
	})
	p.enterprise = e
	var err error
	if p.c, err = config.Load(c.Path); err != nil {
		t.Fatal(err)
	}
	return p
}

// impatience lets phones and EST clients go without an answer soon: for a CA that does not answer at all.
func impatience(c *config.Config) {
	c.CAPF.AnswerWithin, c.RA.AnswerWithin = 900*time.Millisecond, 700*time.Millisecond
}

// patience lets phones and EST clients wait for what fails by itself, which takes its time on a busy machine. They wait to the
// end where the CA is to be asked again.
func patience(c *config.Config) {
	c.CAPF.RATimeout, c.CAPF.AnswerWithin, c.RA.AnswerWithin = 20*time.Second, 5*time.Second, 4*time.Second
}

// start runs the product until the test ends or stop is called.
func (p *product) start() {
	p.t.Helper()
	var err error
	if p.capf == nil { // started again: on the ports of before, which the deployment's files name
		var lc net.ListenConfig
		if p.capf, err = lc.Listen(p.t.Context(), "tcp", p.c.CAPF.Listen); err != nil {
			p.t.Fatal(err)
		}
		if p.est, err = lc.Listen(p.t.Context(), "tcp", p.c.EST.Listen); err != nil {
			p.t.Fatal(err)
		}
	}
	a, err := app.Start(p.t.Context(), app.Options{Config: p.c, CAPF: p.capf, EST: p.est, Handler: p.handler})
	if err != nil {
		p.t.Fatal(err)
	}
	p.capf, p.est, p.a = nil, nil, a
	p.t.Cleanup(func() { p.stop() })
}

func (p *product) stop() {
	p.t.Helper()
	if err := p.a.Stop(context.WithoutCancel(p.t.Context())); err != nil {
		p.t.Errorf("stop: %v", err)
	}
}

// ready waits until the CA's chain is known.
func (p *product) ready() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	if err := p.a.WaitReady(ctx); err != nil {
		p.t.Fatalf("not ready: %v", err)
	}
}

// add puts phones on record that are to install, with keys that are made quickly.
func (p *product) add(names ...string) {
	p.t.Helper()
	for _, name := range names {
		addPhone(p.t, p.c, name)
	}
}

// call is one call of a phone, which keeps its key from call to call.
func (p *product) call(name string) (handset.Result, error) {
	p.mu.Lock()
	h := p.phones[name]
	if h == nil {
		h = &handset.Phone{Name: name, Server: p.c.CAPF.Listen, Timeout: time.Minute}
		p.phones[name] = h
	}
	p.mu.Unlock()
	return h.Enroll(p.t.Context())
}

// refused is a call that must end with this reason and no certificate.
func (p *product) refused(name string, want capf.Reason) {
	p.t.Helper()
	r, err := p.call(name)
	var end *capf.EndError
	if !errors.As(err, &end) || end.Reason != want || r.Certificate != nil {
		p.t.Fatalf("the call of %s: %+v, %v; want the end with reason %d", name, r.Outcome, err, want)
	}
}

// certified calls until the phone has its certificate.
func (p *product) certified(name string) handset.Result {
	p.t.Helper()
	var last error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		r, err := p.call(name)
		if err == nil && r.Certificate != nil {
			return r
		}
		last = err
	}
	d, rows := p.record(name)
	p.t.Fatalf("%s has no certificate after a minute: last call %v; operation %s, status %s, note %+v%s", name, last, d.Operation, d.Status, d.Note, states(rows))
	return handset.Result{}
}

// record is what phone show prints of.
func (p *product) record(name string) (fleet.Device, []enroll.Enrolment) {
	p.t.Helper()
	d, err := p.a.Records.Phones.Device(p.t.Context(), name)
	if err != nil {
		p.t.Fatal(err)
	}
	rows, err := p.a.Records.Journal.ByOwner(p.t.Context(), fleet.Owner(name))
	if err != nil {
		p.t.Fatal(err)
	}
	return d, rows
}

func states(rows []enroll.Enrolment) string {
	var b strings.Builder
	for _, r := range rows {
		b.WriteString("; row " + string(r.State) + " at " + r.Authority + ", request " + r.Progress.RequestID)
		if f := r.Failure; f != nil {
			b.WriteString(", " + f.Code + ": " + f.Detail + " (" + f.Remedy + ")")
		}
	}
	return b.String()
}

// issuedBy returns what the simulated CA has issued to a phone.
func (p *product) issuedBy(name string) []certsrvtest.Record {
	var out []certsrvtest.Record
	for _, r := range p.enterprise.Server().Issued() {
		if strings.Contains(r.Subject, name) {
			out = append(out, r)
		}
	}
	return out
}

// settled demands that a phone and its record agree on one certificate, and that the CA has issued no other.
func (p *product) settled(name string, got handset.Result) {
	p.t.Helper()
	d, rows := p.record(name)
	if d.Operation != fleet.OperationNone || d.Status != fleet.StatusUpgradeSuccess || d.Note != nil {
		p.t.Errorf("%s: operation %s, status %s, note %+v", name, d.Operation, d.Status, d.Note)
	}
	if d.LSC == nil || string(d.LSC.DER) != string(got.Certificate.Raw) {
		p.t.Errorf("%s: the LSC on record is not the phone's", name)
	}
	certificates := 0
	for _, r := range rows {
		if len(r.Certificate) > 0 {
			certificates++
		}
	}
	if certificates != 1 || rows[0].State != enroll.Confirmed {
		p.t.Errorf("%s: %d certificates in the journal%s", name, certificates, states(rows))
	}
	if p.enterprise != nil {
		if n := len(p.issuedBy(name)); n != 1 {
			p.t.Errorf("%s: the CA issued %d certificates, want 1", name, n)
		}
	}
}

// trace returns a compatible trace, read while its writer lives.
func (p *product) trace(name string) string {
	p.t.Helper()
	return readFile(p.t, filepath.Join(p.c.Trace.Dir, name))
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
