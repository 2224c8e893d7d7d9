package app_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"callsign/capf"
	"callsign/internal/app"
	"callsign/internal/ca/local"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
	"callsign/internal/handset"
	"callsign/internal/setup"
)

// systemRoot is a root that the system trusts in these tests.
var systemRoot *signed

func TestMain(m *testing.M) {
	path, err := trustSystemRoot()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.Remove(path) // a file in the directory for such files
		os.Exit(code)
	}))
}

// trustSystemRoot makes systemRoot and a file of it, and names the file to crypto/x509, which reads the system's roots
// once in a process.
func trustSystemRoot() (path string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	if systemRoot, err = signWith(nil, authority("System Root"), key); err != nil {
		return "", err
	}
	f, err := os.CreateTemp("", "callsign-app-roots-*.pem")
	if err != nil {
		return "", err
	}
	err = errors.Join(f.Close(), certfile.WriteCertificates(f.Name(), systemRoot.cert), os.Setenv("SSL_CERT_FILE", f.Name()))
	return f.Name(), err
}

// product is a deployment as init makes it, served in this process.
type product struct {
	t   *testing.T
	c   *config.Config
	now func() time.Time
	a   *app.App
}

func newProduct(t *testing.T, issuer string, change func(*config.Config)) *product {
	t.Helper()
	d, err := setup.New(t.Context(), setup.Options{
		Dir: t.TempDir(), Issuer: issuer, Host: "127.0.0.1", AnyPort: true, Key: local.P256,
		Now: func() time.Time { return recordedNow.Add(-time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&d.Config)
		if err := certfile.WriteFile(d.Config.Path, []byte(config.Render(d.Config)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load(d.Config.Path)
	if err != nil {
		t.Fatal(err)
	}
	return &product{t: t, c: c}
}

// start serves until the test ends or stop is called.
func (p *product) start() {
	p.t.Helper()
	a, err := app.Start(p.t.Context(), app.Options{Config: p.c, Now: p.now})
	if err != nil {
		p.t.Fatal(err)
	}
	p.a = a
	p.t.Cleanup(func() { p.stop() })
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
	defer cancel()
	if err := a.WaitReady(ctx); err != nil {
		p.t.Fatal(err)
	}
}

func (p *product) stop() time.Duration {
	p.t.Helper()
	began := time.Now()
	if err := p.a.Stop(context.WithoutCancel(p.t.Context())); err != nil {
		p.t.Errorf("stop: %v", err)
	}
	return time.Since(began)
}

// command opens the records as a command beside the server does.
func (p *product) command(do func(*app.Records)) {
	p.t.Helper()
	r, err := app.OpenRecords(p.t.Context(), p.c)
	if err != nil {
		p.t.Fatal(err)
	}
	do(r)
	if err := r.Close(); err != nil {
		p.t.Error(err)
	}
}

const phone = "SEP0000000000A1"

func (p *product) add(name string, change func(*fleet.Device)) {
	p.t.Helper()
	p.command(func(r *app.Records) {
		d := fleet.NewDevice(name)
		d.KeyOrder = fleet.KeyOrderEC
		if change != nil {
			change(&d)
		}
		if err := r.Phones.AddDevices(p.t.Context(), []fleet.Device{d}); err != nil {
			p.t.Fatal(err)
		}
	})
}

func install(d *fleet.Device) { d.Schedule(fleet.OperationInstall, time.Now()) }

// TestFilesOfServe: what a server writes down once it accepts.
func TestFilesOfServe(t *testing.T) {
	t.Parallel()
	p := newProduct(t, config.IssuerLocal, nil)
	p.start()
	var e app.Endpoints
	b, err := os.ReadFile(filepath.Join(p.c.Dir, app.EndpointsFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p.a.Endpoints(), e); diff != "" {
		t.Errorf("endpoints.json: %s", diff)
	}
	ready := []string{"est " + strings.TrimSuffix(strings.TrimPrefix(e.EST, "https://"), "/.well-known/est"), "capf " + e.CAPF}
	if diff := cmp.Diff(ready, p.a.Ready); diff != "" || strings.HasSuffix(e.CAPF, ":0") {
		t.Errorf("ready lines: %s", diff)
	}
	if e.ESTUser == "" || e.ESTPasswordFile == "" || e.ESTCAFile == "" || e.CAFile != app.CAFile || e.Certsrv != "" {
		t.Errorf("endpoints %+v", e)
	}
	for _, f := range []string{e.ESTPasswordFile, e.ESTCAFile, e.CAFile} {
		if _, err := os.Stat(filepath.Join(p.c.Dir, f)); err != nil || filepath.IsAbs(f) {
			t.Errorf("%s: %v", f, err)
		}
	}
	// ca.pem verifies what phones get.
	p.add(phone, install)
	h := handset.Phone{Name: phone, Server: e.CAPF}
	r, err := h.Enroll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	roots, err := certfile.LoadPool(filepath.Join(p.c.Dir, e.CAFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Certificate.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
}

// TestPortInUse: the error says which key of the configuration to change, and nothing is left running.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	p := newProduct(t, config.IssuerLocal, nil)
	p.start()
	for service, addr := range map[string]string{"capf": p.a.Endpoints().CAPF, "est": strings.TrimSuffix(strings.TrimPrefix(p.a.Endpoints().EST, "https://"), "/.well-known/est")} {
		t.Run(service, func(t *testing.T) {
			other := newProduct(t, config.IssuerLocal, func(c *config.Config) {
				if service == "capf" {
					c.CAPF.Listen = addr
				} else {
					c.EST.Listen = addr
				}
			})
			a, err := app.Start(t.Context(), app.Options{Config: other.c})
			var coded *app.Problem
			if a != nil || !errors.As(err, &coded) || coded.Code() != "app.listen" || !strings.Contains(coded.Remedy(), service+".listen") || !strings.Contains(coded.Error(), addr) {
				t.Errorf("%v, %v", a, err)
			}
			if _, err := os.Stat(filepath.Join(other.c.Dir, app.EndpointsFile)); err == nil {
				t.Error("endpoints.json names a server that does not run")
			}
		})
	}
}

// session is a phone's call by hand.
type session struct {
	t    *testing.T
	conn interface {
		Read([]byte) (int, error)
		Write([]byte) (int, error)
		Close() error
	}
	id uint32
}

func (s *session) read(want capf.Command) capf.Message {
	s.t.Helper()
	m, err := capf.ReadMessage(s.conn, capf.MaxBody)
	if err != nil || m.Command != want {
		s.t.Fatalf("%v, %v; want %v", m, err, want)
	}
	s.id = m.SessionID
	return m
}

func (s *session) write(c capf.Command, elements ...capf.Element) {
	s.t.Helper()
	b, err := capf.Message{SessionID: s.id, Command: c, Elements: elements}.MarshalBinary()
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.conn.Write(b); err != nil {
		s.t.Fatal(err)
	}
}

// TestStopFinishesSessions: a phone in the middle of its call when the server is told to stop gets its certificate, and
// the end is on record.
func TestStopFinishesSessions(t *testing.T) {
	t.Parallel()
	p := newProduct(t, config.IssuerLocal, nil)
	p.start()
	p.add(phone, install)
	s := &session{t: t, conn: p.dial()}
	defer s.conn.Close()
	s.read(capf.AuthRequest)
	s.write(capf.AuthResponse, capf.Element{Tag: capf.TagVersion, Value: []byte{3}}, capf.Element{Tag: capf.TagDeviceName, Value: []byte(phone + "\x00")},
		capf.Element{Tag: capf.TagPassword, Value: []byte{0}})
	s.read(capf.KeyGenerateRequest)
	stopped := make(chan time.Duration, 1)
	addr := p.a.Endpoints().CAPF
	go func() { stopped <- p.stop() }()
	// Only when the listener is closed is the stop under way.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		h := handset.Phone{Name: phone, Server: addr, Timeout: 200 * time.Millisecond}
		var failed *capf.ProtocolError
		if _, err := h.Enroll(t.Context()); errors.As(err, &failed) && failed.Code() == capf.CodeUnreachable {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the listener still accepts")
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	s.write(capf.KeyGenerateResponse, capf.Element{Tag: capf.TagPublicKey, Value: spki})
	s.read(capf.StoreCertificateRequest)
	s.write(capf.StoreCertificateResponse, capf.Element{Tag: capf.TagReason, Value: []byte{byte(capf.ReasonUpdateCertificate)}})
	if r, _ := s.read(capf.EndSession).Reason(); r != capf.ReasonUpdateCertificate {
		t.Errorf("reason %d", r)
	}
	_ = s.conn.Close()
	if d := <-stopped; d > 5*time.Second {
		t.Errorf("the stop took %v", d)
	}
	p.command(func(r *app.Records) {
		d, err := r.Phones.Device(t.Context(), phone)
		if err != nil || d.Status != fleet.StatusUpgradeSuccess || d.LSC == nil {
			t.Errorf("on record: %s, %v", d.Status, err)
		}
	})
}

// TestStopDoesNotWaitForSilence: a connection that says nothing does not hold up a stop, and what it was about stays due.
func TestStopDoesNotWaitForSilence(t *testing.T) {
	t.Parallel()
	p := newProduct(t, config.IssuerLocal, nil)
	p.start()
	p.add(phone, install)
	conn := p.dial()
	defer conn.Close()
	if d := p.stop(); d > 5*time.Second {
		t.Errorf("the stop took %v", d)
	}
	p.command(func(r *app.Records) {
		if d, err := r.Phones.Device(t.Context(), phone); err != nil || d.Operation != fleet.OperationInstall || d.Status != fleet.StatusPending {
			t.Errorf("operation %s, status %s, %v", d.Operation, d.Status, err)
		}
	})
}

// TestCommandsBesideTheServer: what a command writes counts at the phone's next call.
func TestCommandsBesideTheServer(t *testing.T) {
	t.Parallel()
	p := newProduct(t, config.IssuerLocal, nil)
	p.start()
	h := handset.Phone{Name: phone, Server: p.a.Endpoints().CAPF}
	var end *capf.EndError
	if _, err := h.Enroll(t.Context()); !errors.As(err, &end) || end.Reason != capf.ReasonUnknownDevice {
		t.Fatalf("nobody knows the phone: %v", err)
	}
	p.add(phone, nil)
	call := func(want capf.Operation) handset.Result {
		t.Helper()
		r, err := h.Enroll(t.Context())
		if err != nil || r.Operation != want {
			t.Fatalf("%+v, %v; want operation %v", r.Outcome, err, want)
		}
		return r
	}
	call(capf.OperationNone)
	set := func(change func(*fleet.Device)) {
		t.Helper()
		p.command(func(r *app.Records) {
			if _, err := r.Phones.UpdateDevice(t.Context(), phone, func(d *fleet.Device) error { change(d); return d.Validate() }); err != nil {
				t.Fatal(err)
			}
		})
	}
	set(func(d *fleet.Device) {
		d.Auth, d.AuthString = fleet.AuthString, capf.Secret("4711")
		install(d)
	})
	if _, err := h.Enroll(t.Context()); !errors.As(err, &end) || end.Reason != capf.ReasonInvalidElement {
		t.Fatalf("without its string: %v", err)
	}
	h.String = capf.Secret("4711")
	first := call(capf.OperationInstall)
	p.command(func(r *app.Records) {
		rows, err := r.Journal.ByOwner(t.Context(), fleet.Owner(phone))
		if err != nil || len(rows) != 1 || rows[0].State != enroll.Confirmed || string(rows[0].Certificate) != string(first.Certificate.Raw) {
			t.Errorf("%d rows, %v", len(rows), err)
		}
	})
	set(func(d *fleet.Device) {
		d.Auth = fleet.AuthNull
		d.Schedule(fleet.OperationTroubleshoot, time.Now())
	})
	call(capf.OperationTroubleshoot)
	set(func(d *fleet.Device) { d.Schedule(fleet.OperationDelete, time.Now()) })
	call(capf.OperationDelete)
	set(install)
	set(func(d *fleet.Device) { d.Schedule(fleet.OperationNone, time.Now()) })
	call(capf.OperationNone)
	p.command(func(r *app.Records) {
		d, err := r.Phones.Device(t.Context(), phone)
		if err != nil || d.LSC != nil || len(d.Shown) != 1 {
			t.Errorf("LSC %v, %d certificates shown, %v", d.LSC, len(d.Shown), err)
		}
	})
}
