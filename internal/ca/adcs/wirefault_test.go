package adcs_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"callsign/certsrv"
	"callsign/certsrv/certsrvtest"
	"callsign/internal/ca"
	"callsign/internal/ca/adcs"
)

// impatient makes the client give up soon on what says nothing.
func impatient(_ *certsrvtest.Config, c *certsrv.Client) {
	c.ConnectTimeout, c.LoginTimeout, c.FetchTimeout, c.SubmitTimeout = patience, patience, patience, patience
}

// anew gives w a client that has neither connections nor a list of templates.
func (w *world) anew() {
	o := w.client
	check(w.t, o.Close())
	w.client = &certsrv.Client{
		URL: o.URL, Auth: o.Auth, TLS: o.TLS, Compat: o.Compat, Log: o.Log,
		ConnectTimeout: o.ConnectTimeout, LoginTimeout: o.LoginTimeout, FetchTimeout: o.FetchTimeout, SubmitTimeout: o.SubmitTimeout,
	}
}

// mostAttempts is more than any list of faults here needs.
const mostAttempts = 40

// enrolled drives one request as the engine does: the same journal row, again and again, no earlier than it is told to. It
// returns the certificate.
func (w *world) enrolled(t interface{ Fatalf(string, ...any) }, a *adcs.Authority, r ca.Request, l *page) []byte {
	for range mostAttempts {
		out, err := a.Issue(w.t.Context(), r, l)
		if err == nil && out.Status == ca.Issued {
			return out.Certificate
		}
		var e *ca.Error
		if !errors.As(err, &e) {
			t.Fatalf("Issue = %+v, %v", out, err)
		}
		if e.Final {
			t.Fatalf("given up for ever: %v", e)
		}
		// Seconds go by until the next attempt, by the clock of the test: time enough for the CA to end what it is at.
		for end := time.Now().Add(time.Minute); w.sim.InFlight() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the CA does not end what it is at")
			}
		}
		w.now = w.now.Add(max(e.After, time.Second))
	}
	t.Fatalf("not issued in %d attempts", mostAttempts)
	return nil
}

// oneCertificate demands that the CA issued one certificate for the key of r, and that it is this one.
func (w *world) oneCertificate(t interface{ Errorf(string, ...any) }, r ca.Request, certificate []byte) {
	sum := sha256.Sum256(r.PublicKey)
	n := 0
	for _, rec := range w.sim.Issued() {
		if rec.PublicKeyHash == hex.EncodeToString(sum[:]) {
			n++
			if !bytes.Equal(rec.Certificate, certificate) {
				t.Errorf("the client has another certificate than that of request %d", rec.ID)
			}
		}
	}
	if n != 1 {
		t.Errorf("%d certificates for one key", n)
	}
}

// faultsOf are all faults of one kind of harm.
func faultsOf(h harm) []fault {
	var all []fault
	for _, page := range append([]string{""}, pages...) {
		for at := range places {
			if f := (fault{page, at, h}); f.possible() {
				all = append(all, f)
			}
		}
	}
	return all
}

// TestFaultsOnTheWire does each harm to each class of octets of each exchange: the key gets one certificate in every case.
func TestFaultsOnTheWire(t *testing.T) {
	t.Parallel()
	var cases []fault
	for h := range harms {
		cases = append(cases, faultsOf(h)...)
	}
	for _, compat := range []bool{false, true} {
		w := newWorld(t, func(s *certsrvtest.Config, c *certsrv.Client) {
			impatient(s, c)
			c.Compat = compat
		})
		x := startWire(t, w)
		for _, f := range cases {
			w.anew()
			a := w.authority(nil)
			x.expect(f)
			r, l := bare(t), w.page()
			certificate := w.enrolled(&named{t, f.String()}, a, r, l)
			w.oneCertificate(&named{t, f.String()}, r, certificate)
			if left := x.left(); len(left) != 0 {
				t.Errorf("compat %v: %v has not happened", compat, left)
			}
		}
		if got, want := len(w.sim.Issued()), len(cases); got != want {
			t.Errorf("compat %v: %d certificates, want %d", compat, got, want)
		}
	}
}

// named puts the case before what a test says.
type named struct {
	*testing.T
	name string
}

func (n *named) Fatalf(format string, args ...any) {
	n.Helper()
	n.T.Fatalf(n.name+": "+format, args...)
}

func (n *named) Errorf(format string, args ...any) {
	n.Helper()
	n.T.Errorf(n.name+": "+format, args...)
}

// TestSequencesOfFaults draws any number of faults one after the other.
func TestSequencesOfFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, impatient)
	x := startWire(t, w)
	rapid.Check(t, func(rt *rapid.T) {
		faults := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) fault {
			// What makes the client wait costs real time: one in eight.
			h := rapid.SampledFrom([]harm{cut, truncated, reset, cut, truncated, reset, cut, delayed}).Draw(rt, "harm")
			if h == delayed && rapid.Bool().Draw(rt, "late") {
				h = late
			}
			return rapid.SampledFrom(faultsOf(h)).Draw(rt, "fault")
		}), 1, 8).Draw(rt, "faults")
		w.anew()
		x.expect(faults...)
		r, l := bare(t), w.page()
		certificate := w.enrolled(rt, w.authority(nil), r, l)
		x.expect() // what did not come by
		w.oneCertificate(rt, r, certificate)
	})
}

// TestSlowCAAndLostAnswer: the client gives up, the CA goes on and issues later. Nothing is sent twice meanwhile.
func TestSlowCAAndLostAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *certsrvtest.Config, c *certsrv.Client) { c.SubmitTimeout = patience })
	check(t, w.sim.SetBehaviour("", certsrvtest.Behaviour{Delay: 4 * patience}))
	// Eight at once, by this machine's clock: the ids of the others are there when one looks.
	a := w.authority(func(c *adcs.Config) { c.Now, c.Settle = time.Now, time.Minute })
	var wg sync.WaitGroup
	for range 8 {
		r, l := bare(t), w.page()
		wg.Go(func() {
			for range mostAttempts {
				out, err := a.Issue(t.Context(), r, l)
				if err == nil && out.Status == ca.Issued {
					w.oneCertificate(t, r, out.Certificate)
					return
				}
				var e *ca.Error
				if !errors.As(err, &e) || e.Final {
					t.Errorf("Issue = %+v, %v", out, err)
					return
				}
				time.Sleep(patience)
			}
			t.Errorf("not issued in %d attempts", mostAttempts)
		})
	}
	wg.Wait()
	// What was sent, not what the CA has: it may still be at a second one.
	if n := w.sim.Hits()["/certsrv/certfnsh.asp"]; n != 8 {
		t.Errorf("%d requests were sent, want 8", n)
	}
}
