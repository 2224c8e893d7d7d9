package app_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"callsign/est"
	"callsign/internal/app"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/explain"
	"callsign/internal/fleet"
	"callsign/internal/handset"
)

// reloadable is a product whose configuration file the test writes while it is served.
type reloadable struct {
	*product
	level *slog.LevelVar
}

func startReloadable(t *testing.T) *reloadable {
	t.Helper()
	p := newProduct(t, config.IssuerLocal, nil)
	r := &reloadable{product: p, level: new(slog.LevelVar)}
	a, err := app.Start(t.Context(), app.Options{
		Config: p.c, Level: r.level, Load: func() (*config.Config, error) { return config.Load(p.c.Path) },
	})
	if err != nil {
		t.Fatal(err)
	}
	p.a = a
	t.Cleanup(func() { p.stop() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := a.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return r
}

// write changes the configuration file.
func (r *reloadable) write(change func(*config.Config)) {
	r.t.Helper()
	c, err := config.Load(r.c.Path)
	if err != nil {
		r.t.Fatal(err)
	}
	change(c)
	if err := certfile.WriteFile(r.c.Path, []byte(config.Render(*c)), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// client is an EST client that trusts the lab's CA and has the lab's user.
func (p *product) client() *est.Client {
	p.t.Helper()
	e := p.a.Endpoints()
	roots, err := certfile.LoadPool(filepath.Join(p.c.Dir, e.ESTCAFile))
	if err != nil {
		p.t.Fatal(err)
	}
	password, err := os.ReadFile(filepath.Join(p.c.Dir, e.ESTPasswordFile))
	if err != nil {
		p.t.Fatal(err)
	}
	c := &est.Client{URL: e.EST, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, User: e.ESTUser, Password: est.Password(strings.TrimSpace(string(password)))}
	p.t.Cleanup(c.Close)
	return c
}

// presented is the serial number of the certificate that the EST listener shows on a new connection.
func (p *product) presented() string {
	p.t.Helper()
	address := strings.TrimSuffix(strings.TrimPrefix(p.a.Endpoints().EST, "https://"), "/.well-known/est")
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// TestReloadCertificate: a new certificate is shown on new connections, and the old ones live on.
func TestReloadCertificate(t *testing.T) {
	t.Parallel()
	p := startReloadable(t)
	before := p.presented()
	var reused []bool
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	get := func() {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.a.Endpoints().EST+"/cacerts", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		reused = append(reused, response.TLS.PeerCertificates[0].SerialNumber.String() == before)
	}
	get()
	other := newProduct(t, config.IssuerLocal, nil)
	for from, to := range map[string]string{other.c.EST.CertificateFile: p.c.EST.CertificateFile, other.c.EST.KeyFile: p.c.EST.KeyFile} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := certfile.WriteFile(to, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if p.presented() != before {
		t.Error("the certificate changed before the reload")
	}
	done, err := app.AskReload(t.Context(), p.c)
	if err != nil {
		t.Fatal(err)
	}
	if len(done.Changed)+len(done.Restart) != 0 {
		t.Errorf("no key has changed, and %+v is told", done)
	}
	if p.presented() == before {
		t.Error("the old certificate is still shown")
	}
	get()
	if !slices.Equal(reused, []bool{true, true}) {
		t.Errorf("the connection of before the reload was not used again: %v", reused)
	}
}

// TestReloadKeys: what takes effect, what waits, and that a fault changes nothing.
func TestReloadKeys(t *testing.T) {
	t.Parallel()
	p := startReloadable(t)
	csr, _ := newRequest(t, "device-1")
	enrol := func() error {
		c := p.client()
		defer c.Close()
		_, err := c.SimpleEnroll(t.Context(), csr)
		return err
	}
	if err := enrol(); err != nil {
		t.Fatal(err)
	}
	p.write(func(c *config.Config) {
		c.Log.Level = "error"
		c.RA.Subject = "printer-[0-9]+"
		c.CAPF.MaxConnections = 77
	})
	done, err := p.a.Reload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"log.level", "ra.subject"}; !slices.Equal(slices.Sorted(slices.Values(done.Changed)), want) {
		t.Errorf("changed %v, want %v", done.Changed, want)
	}
	if want := []string{"capf.max_connections"}; !slices.Equal(done.Restart, want) {
		t.Errorf("restart %v, want %v", done.Restart, want)
	}
	if p.level.Level() != slog.LevelError {
		t.Errorf("level %v", p.level.Level())
	}
	if fault, ok := errors.AsType[*est.ClientError](enrol()); !ok || fault.Status != http.StatusForbidden {
		t.Errorf("a name outside of the new policy: %v", fault)
	}

	// Faults: of a value, of a file, of what is in it. Nothing changes, and the next good one is taken.
	for name, spoil := range map[string]func(){
		"value": func() {
			if err := os.WriteFile(p.c.Path, []byte("[est]\nlisten = 5\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"missing file": func() { p.write(func(c *config.Config) { c.EST.UsersFile = filepath.Join(p.c.Dir, "none") }) },
		"certificate":  func() { p.write(func(c *config.Config) { c.EST.CertificateFile = c.CA.CertificateFile }) },
	} {
		good, err := os.ReadFile(p.c.Path)
		if err != nil {
			t.Fatal(err)
		}
		shown := p.presented()
		spoil()
		if _, err := app.AskReload(t.Context(), p.c); err == nil {
			t.Errorf("%s: reloaded", name)
		} else if explain.Code(err) == "" {
			t.Errorf("%s: no code in %v", name, err)
		}
		if p.presented() != shown {
			t.Errorf("%s: the listener shows another certificate", name)
		}
		if err := os.WriteFile(p.c.Path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.write(func(c *config.Config) { c.RA.Subject = "" })
	if _, err := app.AskReload(t.Context(), p.c); err != nil {
		t.Fatal(err)
	}
	if err := enrol(); err != nil {
		t.Errorf("after the policy was taken away: %v", err)
	}
}

// TestReloadUnderLoad: devices and phones enrol while the configuration is read again and again; nobody is refused.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	p := startReloadable(t)
	const devices, phones = 24, 8
	p.command(func(r *app.Records) {
		var all []fleet.Device
		for i := range phones {
			d := fleet.NewDevice(fmt.Sprintf("SEP0000000001%02X", i))
			d.KeyOrder = fleet.KeyOrderEC
			d.Schedule(fleet.OperationInstall, time.Now())
			all = append(all, d)
		}
		if err := r.Phones.AddDevices(t.Context(), all); err != nil {
			t.Fatal(err)
		}
	})
	first, _ := newRequest(t, "device")
	if _, err := p.client().SimpleEnroll(t.Context(), first); err != nil { // from now on the password is known
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var reloads sync.WaitGroup
	reloads.Go(func() {
		for ctx.Err() == nil {
			if _, err := p.a.Reload(ctx); err != nil {
				t.Errorf("reload: %v", err)
			}
		}
	})
	var all sync.WaitGroup
	e := p.a.Endpoints()
	for i := range devices {
		csr, _ := newRequest(t, fmt.Sprintf("device-%d", i))
		c := p.client()
		all.Go(func() {
			if _, err := c.SimpleEnroll(t.Context(), csr); err != nil {
				t.Errorf("device %d: %v", i, err)
			}
		})
	}
	for i := range phones {
		all.Go(func() {
			h := handset.Phone{Name: fmt.Sprintf("SEP0000000001%02X", i), Server: e.CAPF}
			if _, err := h.Enroll(t.Context()); err != nil {
				t.Errorf("phone %d: %v", i, err)
			}
		})
	}
	all.Wait()
	cancel()
	reloads.Wait()
}

// TestSocket: only the server's account may give orders, and without a server there is a plain answer.
func TestSocket(t *testing.T) {
	t.Parallel()
	p := startReloadable(t)
	info, err := os.Stat(filepath.Join(filepath.Dir(p.c.Store.Path), app.SocketFile))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	p.stop()
	_, err = app.AskReload(t.Context(), p.c)
	if fault, ok := errors.AsType[*app.Problem](err); !ok || fault.Code() != "app.not-running" {
		t.Errorf("without a server: %v", err)
	}
	if _, err := p.a.Reload(t.Context()); err == nil {
		t.Error("a stopped server reloaded")
	}
}

// newRequest makes a P-256 key and a request for a common name.
func newRequest(t *testing.T, name string) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return csr, key
}

// TestReloadKeepsTooMuch: a valid configuration without an EST server cannot take the place of one with it, whose listener stays.
// What is missing is not in the file to be corrected, so the answer has to say what to do instead.
func TestReloadKeepsTooMuch(t *testing.T) {
	t.Parallel()
	r := startReloadable(t)
	before := r.presented()
	r.write(func(c *config.Config) { c.EST = config.Default().EST })
	_, err := r.a.Reload(t.Context())
	var problem *app.Problem
	if !errors.As(err, &problem) || problem.Code() != "app.reload" {
		t.Fatalf("error %v, want an app.reload", err)
	}
	for _, want := range []string{"needs a restart", "est.listen", "est.certificate_file: is missing"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error says %q, not %q", err, want)
		}
	}
	if !strings.Contains(problem.Remedy(), "restart the server") {
		t.Errorf("remedy %q", problem.Remedy())
	}
	if parts := explain.Parts(err); len(parts) != 1 || parts[0].Code != "app.reload" {
		t.Errorf("told as %+v", parts)
	}
	if now := r.presented(); now != before {
		t.Errorf("the listener shows %s, want still %s", now, before)
	}
}
