package app_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // CAPF signs with SHA-1 and SHA-512
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/capf"
	"callsign/internal/ca"
	"callsign/internal/ca/local"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
	"callsign/internal/store"
)

// fleetWorld is a fleet with its database, its authority and a clock of its own; phones call it without a network.
type fleetWorld struct {
	t        *testing.T
	path     string
	settings fleet.Renewal
	now      time.Time
	issuer   *local.Issuer
	maker    *local.Issuer // of phones, with their MICs
	phones   map[string]*renewed
	asked    []time.Time // when the authority was asked

	store   *store.Store
	engine  *enroll.Engine
	service *fleet.Service
	renewal *fleet.Renewal
}

// renewed is a phone with what it holds.
type renewed struct {
	key, mic *ecdsa.PrivateKey
	lsc      []byte
	micDER   []byte
}

// firstNight is when the phones of these tests get their first LSCs.
var firstNight = time.Date(2026, 3, 3, 1, 0, 0, 0, time.UTC)

// lscDays is for how long they are valid.
const lscDays = 120

func newFleetWorld(t *testing.T, settings fleet.Renewal) *fleetWorld {
	t.Helper()
	w := &fleetWorld{t: t, path: filepath.Join(t.TempDir(), "fleet.db"), settings: settings, now: firstNight, phones: map[string]*renewed{}}
	var err error
	w.issuer, err = local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Renewal CA"}, Now: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	w.maker, err = local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Test Manufacturing CA"}, Now: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	w.open()
	t.Cleanup(func() { w.close() })
	return w
}

func (w *fleetWorld) clock() time.Time { return w.now }

// countingCA notes when it is asked.
type countingCA struct {
	*local.Authority
	w  *fleetWorld
	mu sync.Mutex
}

func (c *countingCA) Issue(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
	c.mu.Lock()
	c.w.asked = append(c.w.asked, c.w.now)
	c.mu.Unlock()
	return c.Authority.Issue(ctx, r, l)
}

// open does what a start of the server does.
func (w *fleetWorld) open() {
	w.t.Helper()
	var err error
	if w.store, err = store.Open(w.t.Context(), w.path, store.Options{Now: w.clock}); err != nil {
		w.t.Fatal(err)
	}
	authority, err := local.New(local.Config{Certificate: w.issuer.Certificate, Signer: w.issuer.Signer, ValidityDays: lscDays, Now: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	w.engine = &enroll.Engine{
		Journal: w.store.Journal(), Authorities: map[string]ca.Authority{local.Name: &countingCA{Authority: authority, w: w}}, Now: w.clock,
	}
	r := w.settings
	w.renewal = &r
	w.renewal.Store, w.renewal.Now = w.store.Devices(), w.clock
	w.service = &fleet.Service{
		Store: w.store.Devices(), Engine: w.engine, Authority: local.Name, Mode: "CAPF", Now: w.clock, RenewAt: w.renewal.RenewAt,
		Trust: fleet.Trust{LSC: []*x509.Certificate{w.issuer.Certificate}, MIC: []*x509.Certificate{w.maker.Certificate}},
	}
	if _, err := w.store.Devices().Replan(w.t.Context(), w.renewal.Policy(), w.renewal.RenewAt); err != nil {
		w.t.Fatal(err)
	}
}

func (w *fleetWorld) close() {
	w.t.Helper()
	ctx := context.WithoutCancel(w.t.Context())
	if err := errors.Join(w.engine.Shutdown(ctx), w.store.Close()); err != nil {
		w.t.Error(err)
	}
}

// add puts phones on record that have no LSC yet, and lets them get one.
func (w *fleetWorld) add(n int) {
	w.t.Helper()
	devices := make([]fleet.Device, n)
	for i := range devices {
		d := fleet.NewDevice(fmt.Sprintf("SEP%012X", 0xA000+i))
		d.KeyOrder = fleet.KeyOrderEC
		d.Schedule(fleet.OperationInstall, w.now)
		devices[i] = d
		w.phones[d.Name] = &renewed{}
	}
	if err := w.store.Devices().AddDevices(w.t.Context(), devices); err != nil {
		w.t.Fatal(err)
	}
	for _, d := range devices {
		if err := w.call(d.Name, nil); err != nil {
			w.t.Fatalf("%s: %v", d.Name, err)
		}
	}
}

// call is a phone's call, from its authentication to the certificate. change alters what it shows.
func (w *fleetWorld) call(name string, change func(*capf.Caller)) error {
	w.t.Helper()
	ctx, p := w.t.Context(), w.phones[name]
	c := capf.Caller{Session: 1, Peer: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 50000}, Version: 3, Device: name}
	if p.lsc != nil {
		c.Credential = w.show(name, p.lsc, p.key)
	}
	if change != nil {
		change(&c)
	}
	s, err := w.service.Open(ctx, c)
	if err != nil {
		return err
	}
	if s.Task().Operation != capf.OperationInstall {
		return fmt.Errorf("the task is %v", s.Task().Operation)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	der, err := s.Issue(ctx, spki)
	if err != nil {
		s.Abort(ctx, err)
		return err
	}
	p.key, p.lsc = key, der
	return s.Stored(ctx, der, capf.ReasonUpdateCertificate)
}

// show signs what a phone with a certificate sends.
func (w *fleetWorld) show(name string, der []byte, key *ecdsa.PrivateKey) *capf.Credential {
	w.t.Helper()
	signed := capf.SignedBytes(name, der)
	one, long := sha1.Sum(signed), sha512.Sum512(signed) //nolint:gosec // CAPF signs with both
	sha1Signature, err := ecdsa.SignASN1(rand.Reader, key, one[:])
	if err != nil {
		w.t.Fatal(err)
	}
	longSignature, err := ecdsa.SignASN1(rand.Reader, key, long[:])
	if err != nil {
		w.t.Fatal(err)
	}
	sha2, err := capf.SHA2Signature{Digest: capf.DigestSHA512, Signature: longSignature}.AppendBinary(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &capf.Credential{Certificate: der, SignedData: sha1Signature, SHA2SignedData: sha2}
}

func (w *fleetWorld) device(name string) fleet.Device {
	w.t.Helper()
	d, err := w.store.Devices().Device(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *fleetWorld) step() []fleet.Device {
	w.t.Helper()
	devices, err := w.renewal.Step(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return devices
}

func mustWindow(t *testing.T, text, zone string) fleet.Window {
	t.Helper()
	z, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	w, err := fleet.ParseWindow(text, z)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestRenewalOfAFleet: the LSCs of 1,000 phones, all of one night, are renewed in a month. They authenticate by the LSC
// they have; spread, pace and windows hold at every minute, also towards the authority, and a server that is restarted in
// the middle renews the same phones at the same times.
func TestRenewalOfAFleet(t *testing.T) {
	t.Parallel()
	const phones, perHour = 1000, 20
	month := func(t *testing.T, restartAt ...time.Duration) map[string]time.Time {
		windows := fleet.Windows{mustWindow(t, "Mo-Fr 22:00-05:00", "Europe/Paris")}
		w := newFleetWorld(t, fleet.Renewal{PerHour: perHour, Windows: windows, Spread: 30 * 24 * time.Hour})
		w.add(phones)
		w.asked = nil
		scheduled := map[string]time.Time{}
		var times []time.Time
		begin := firstNight.AddDate(0, 0, lscDays*2/3-1)
		var calling []string
		for w.now = begin; w.now.Before(begin.AddDate(0, 0, 35)); w.now = w.now.Add(time.Minute) {
			if slices.Contains(restartAt, w.now.Sub(begin)) {
				w.close()
				w.open()
			}
			for _, name := range calling {
				if err := w.call(name, nil); err != nil {
					t.Fatalf("%s at %s: %v", name, w.now, err)
				}
			}
			calling = calling[:0]
			if !windows.Open(w.now) && w.now.Minute()%30 != 0 {
				continue // for the sake of the test's own time
			}
			devices := w.step()
			if len(devices) > 0 && !windows.Open(w.now) {
				t.Fatalf("%d phones are scheduled at %s, outside of the windows", len(devices), w.now)
			}
			for _, d := range devices {
				if _, again := scheduled[d.Name]; again || d.Auth != fleet.AuthLSC || d.Origin != fleet.OriginRenewal {
					t.Fatalf("scheduled %+v", d)
				}
				scheduled[d.Name] = w.now
				times = append(times, w.now)
				calling = append(calling, d.Name)
			}
		}
		if len(scheduled) != phones || len(w.asked) != phones {
			t.Fatalf("of %d phones %d are scheduled, and the authority was asked %d times", phones, len(scheduled), len(w.asked))
		}
		inAnyHour(t, "scheduled", times, perHour)
		inAnyHour(t, "certificates asked for", w.asked, perHour)
		spread(t, times)
		for name := range w.phones {
			d := w.device(name)
			if d.Status != fleet.StatusUpgradeSuccess || d.Operation != fleet.OperationNone || d.LSC.NotBefore.Before(scheduled[name].Add(-time.Hour)) || !d.RenewAt.After(w.now) {
				t.Fatalf("%s after its renewal: %+v, LSC from %s", name, d, d.LSC.NotBefore)
			}
		}
		return scheduled
	}
	var without, with map[string]time.Time
	t.Run("month", func(t *testing.T) {
		t.Run("as it is", func(t *testing.T) {
			t.Parallel()
			without = month(t)
		})
		t.Run("with restarts", func(t *testing.T) {
			t.Parallel()
			with = month(t, 5*24*time.Hour+22*time.Hour+17*time.Minute, 11*24*time.Hour+23*time.Hour+59*time.Minute, 12*24*time.Hour, 20*24*time.Hour+2*time.Hour)
		})
	})
	if diff := cmp.Diff(without, with); diff != "" {
		t.Errorf("restarts change the schedule (-without +with):\n%s", diff)
	}
}

// inAnyHour looks at each hour that begins with one of the times, which are in order.
func inAnyHour(t *testing.T, what string, times []time.Time, most int) {
	t.Helper()
	first := 0
	for i := range times {
		for times[i].Sub(times[first]) >= time.Hour {
			first++
		}
		if n := i - first + 1; n > most {
			t.Fatalf("%d %s within the hour before %s, want at most %d", n, what, times[i], most)
		}
	}
}

// spread looks whether the nights have about the same number of phones. A Monday has those of three days.
func spread(t *testing.T, times []time.Time) {
	t.Helper()
	nights := map[string]int{}
	for _, at := range times {
		nights[at.Add(-12*time.Hour).Format("Mon 2006-01-02")]++
	}
	const perDay = 1000.0 / 30
	for night, n := range nights {
		mean := perDay
		if night[:3] == "Mon" {
			mean *= 3
		}
		if float64(n) > 1.8*mean {
			t.Errorf("%d phones in the night of %s, the mean is %.0f", n, night, mean)
		}
	}
	if len(nights) < 21 {
		t.Errorf("only %d nights", len(nights))
	}
}

// TestRenewalOfExpired: a phone whose LSC has expired is renewed in the configured way, or waits for an administrator.
func TestRenewalOfExpired(t *testing.T) {
	t.Parallel()
	for _, fallback := range []fleet.AuthMode{fleet.AuthMIC, fleet.AuthString, fleet.AuthNull, ""} {
		for _, when := range []string{"expired before", "expired while due"} {
			t.Run(fmt.Sprintf("%s %q", when, fallback), func(t *testing.T) {
				t.Parallel()
				w := newFleetWorld(t, fleet.Renewal{Fallback: fallback})
				w.add(2)
				w.giveMICs()
				if when == "expired while due" {
					w.now = firstNight.AddDate(0, 0, lscDays-2)
					if n := len(w.step()); n != 2 {
						t.Fatalf("%d phones scheduled", n)
					}
				}
				w.now = firstNight.AddDate(0, 0, lscDays+1)
				if n := len(w.step()); n != 2 {
					t.Fatalf("%d phones changed", n)
				}
				for name, p := range w.phones {
					d := w.device(name)
					if fallback == "" {
						if err := w.call(name, nil); err == nil || d.Operation != fleet.OperationNone || d.Note.Code != "fleet.lsc-expired" {
							t.Errorf("%s calls: %v; %+v", name, err, d)
						}
						continue
					}
					if fallback != fleet.AuthNull { // the expired LSC is good for nothing
						var refused *capf.Refusal
						if err := w.call(name, nil); !errors.As(err, &refused) {
							t.Errorf("%s by its expired LSC: %v", name, err)
						}
					}
					err := w.call(name, func(c *capf.Caller) {
						c.Credential = nil
						switch fallback {
						case fleet.AuthMIC:
							c.Credential = w.show(name, p.micDER, p.mic)
						case fleet.AuthString:
							c.String = slices.Clone(d.AuthString)
						}
					})
					if err != nil {
						t.Errorf("%s by %s: %v", name, fallback, err)
					}
					if d = w.device(name); d.Status != fleet.StatusUpgradeSuccess || !d.LSC.NotAfter.After(w.now) || len(d.AuthString) > 0 {
						t.Errorf("%+v", d)
					}
				}
			})
		}
	}
}

// giveMICs gives each phone a MIC.
func (w *fleetWorld) giveMICs() {
	w.t.Helper()
	var err error
	for name, p := range w.phones {
		if p.mic, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			w.t.Fatal(err)
		}
		spki, err := x509.MarshalPKIXPublicKey(p.mic.Public())
		if err != nil {
			w.t.Fatal(err)
		}
		subject, err := fleet.CommonName("CP-8865-" + name)
		if err != nil {
			w.t.Fatal(err)
		}
		p.micDER, err = w.maker.IssueRaw(w.t.Context(), spki, subject, nil, local.Options{KeyUsage: x509.KeyUsageDigitalSignature, Validity: 3650 * 24 * time.Hour})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// TestRenewalReplanned: with other settings the phones are due at other times from the next start on.
func TestRenewalReplanned(t *testing.T) {
	t.Parallel()
	w := newFleetWorld(t, fleet.Renewal{})
	w.add(5)
	due := func(share float64) (from, upTo time.Time) {
		life := time.Duration(lscDays) * 24 * time.Hour
		from = firstNight.Add(-local.DefaultBackdate).Add(time.Duration(share * float64(life)))
		return from, from.Add(life/12 + local.DefaultBackdate)
	}
	for _, share := range []float64{fleet.DefaultRenewShare, 0.5} {
		w.close()
		w.settings.Share = share
		w.open()
		from, upTo := due(share)
		for name := range w.phones {
			if at := w.device(name).RenewAt; at.Before(from.Add(-local.DefaultBackdate)) || at.After(upTo) {
				t.Errorf("share %.2f: %s is due at %s, want %s to %s", share, name, at, from, upTo)
			}
		}
	}
}
