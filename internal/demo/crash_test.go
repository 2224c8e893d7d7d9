package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"callsign/capf"
	"callsign/internal/app"
	"callsign/internal/ca/local"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/enterprise"
	"callsign/internal/fleet"
	"callsign/internal/handset"
	"callsign/internal/setup"
)

// The environment of a server process that ends itself: the configuration to serve, and the event, counted from the
// first phone's connection, at which the process is killed (0: never).
const (
	envServe  = "CALLSIGN_TEST_SERVE"
	envKillAt = "CALLSIGN_TEST_KILL_AT"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(envServe); path != "" {
		if err := serveUntilKilled(path, os.Getenv(envKillAt)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serveUntilKilled is the server process: the product as serve starts it, with a log handler that kills it.
func serveUntilKilled(path, at string) error {
	n, err := strconv.Atoi(at)
	if err != nil {
		return err
	}
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	a, err := app.Start(ctx, app.Options{Config: c, Handler: &killer{at: int64(n)}})
	if err != nil {
		return err
	}
	if err := a.WaitReady(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	return errors.Join(a.Wait(ctx), a.Stop(ctx))
}

// killer counts the events since the first phone called and kills the process at one of them. Every step of an
// enrolment, and every durable write before and after it is made, is an event.
type killer struct {
	at    int64
	armed atomic.Bool
	count atomic.Int64
}

func (k *killer) Enabled(context.Context, slog.Level) bool { return true }
func (k *killer) WithAttrs([]slog.Attr) slog.Handler       { return k }
func (k *killer) WithGroup(string) slog.Handler            { return k }

func (k *killer) Handle(_ context.Context, r slog.Record) error {
	event := ""
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "event" {
			event = a.Value.String()
		}
		return event == ""
	})
	if event == "capf.session" {
		k.armed.Store(true)
	}
	if event == "" || !k.armed.Load() {
		return nil
	}
	if k.count.Add(1) == k.at {
		fmt.Println("killed at " + event)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return nil
}

// server is the parent's view of the server process.
type server struct {
	cmd    *exec.Cmd
	killed chan string   // the event, when it killed itself
	done   chan struct{} // closed when the process has ended
}

func startServer(t *testing.T, path string, killAt int) *server {
	t.Helper()
	s := &server{cmd: exec.Command(os.Args[0]), killed: make(chan string, 1), done: make(chan struct{})}
	// The race detector waits a second at the end of each process, for reports that nobody expects from this one.
	s.cmd.Env = append(os.Environ(), envServe+"="+path, envKillAt+"="+strconv.Itoa(killAt), "GORACE=atexit_sleep_ms=0")
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	go func() {
		defer close(s.done)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			if sc.Text() == "ready" {
				close(ready)
			}
			if event, ok := strings.CutPrefix(sc.Text(), "killed at "); ok {
				s.killed <- event
			}
		}
		_ = s.cmd.Wait() // killed on purpose
	}()
	select {
	case <-ready:
	case <-s.done:
		t.Fatal("the server process ended before it was ready")
	case <-time.After(time.Minute):
		t.Fatal("the server process is not ready after a minute")
	}
	return s
}

func (s *server) alive() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

func (s *server) stop(t *testing.T) {
	t.Helper()
	if s.alive() {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
	}
	select {
	case <-s.done:
	case <-time.After(10 * time.Second):
		t.Error("the server process does not end on SIGTERM")
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

// freePort finds a port that several server processes use one after the other.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// newDeployment is a deployment on fixed ports, with its simulated AD CS when the issuer is an online CA.
func newDeployment(t *testing.T, issuer string, change func(*config.Config)) (*config.Config, *enterprise.Enterprise) {
	t.Helper()
	return misbehaving(t, issuer, Behaviour{}, change)
}

// misbehaving is newDeployment in a world in which something is wrong.
func misbehaving(t *testing.T, issuer string, b Behaviour, change func(*config.Config)) (*config.Config, *enterprise.Enterprise) {
	t.Helper()
	d, err := setup.New(t.Context(), setup.Options{Dir: t.TempDir(), Issuer: issuer, Host: "127.0.0.1", AnyPort: true, Key: local.P256})
	if err != nil {
		t.Fatal(err)
	}
	c := &d.Config
	c.CAPF.Listen, c.EST.Listen = freePort(t), freePort(t)
	var e *enterprise.Enterprise
	if issuer == config.IssuerOnlineCA {
		if err := os.MkdirAll(c.Trace.Dir, 0o750); err != nil {
			t.Fatal(err)
		}
		e, err = enterprise.Start(t.Context(), enterprise.Options{Dir: filepath.Join(c.Dir, enterpriseDir), LogDir: c.Trace.Dir, Behaviour: b.Enterprise})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
		if err := joinEnterprise(t.Context(), c, e); err != nil {
			t.Fatal(err)
		}
		c.CAPF.RAURL = "https://" + c.EST.Listen + "/.well-known/est"
		if err := b.misconfigure(c); err != nil {
			t.Fatal(err)
		}
	}
	if change != nil {
		change(c)
	}
	if err := certfile.WriteFile(c.Path, []byte(config.Render(*c)), 0o600); err != nil {
		t.Fatal(err)
	}
	return c, e
}

func addPhone(t *testing.T, c *config.Config, name string) {
	t.Helper()
	r, err := app.OpenRecords(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d := fleet.NewDevice(name)
	d.KeyOrder = fleet.KeyOrderEC
	d.Schedule(fleet.OperationInstall, time.Now())
	if err := r.Phones.AddDevices(t.Context(), []fleet.Device{d}); err != nil {
		t.Fatal(err)
	}
}

func readPhone(t *testing.T, c *config.Config, name string) (fleet.Device, []enroll.Enrolment) {
	t.Helper()
	r, err := app.OpenRecords(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d, err := r.Phones.Device(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := r.Journal.ByOwner(t.Context(), fleet.Owner(name))
	if err != nil {
		t.Fatal(err)
	}
	return d, rows
}

// TestKilledAtEveryStep kills the server process at every step of an enrolment, starts it again, and finds each time:
// one certificate issued by the CA, the phone has it, no operation is lost.
func TestKilledAtEveryStep(t *testing.T) {
	if testing.Short() {
		t.Skip("starts hundreds of processes")
	}
	for _, issuer := range []string{config.IssuerLocal, config.IssuerOnlineCA} {
		t.Run(issuer, func(t *testing.T) {
			t.Parallel()
			c, e := newDeployment(t, issuer, nil)
			steps := 0
			for n := 1; ; n++ {
				began := time.Now()
				event := killOnce(t, c, e, n)
				t.Logf("step %d %s %s", n, event, time.Since(began).Round(time.Millisecond))
				if event == "" {
					break
				}
				steps++
				if steps > 500 {
					t.Fatal("an enrolment has no 500 steps")
				}
			}
			// Fewer would mean that the events were not seen and nothing was killed.
			if steps < 8 {
				t.Errorf("only %d steps were tried", steps)
			}
			t.Logf("%d steps, each survived", steps)
		})
	}
}

// killOnce enrols a new phone on a server that is killed at its nth event, and returns that event; empty when the
// enrolment had fewer.
func killOnce(t *testing.T, c *config.Config, e *enterprise.Enterprise, n int) string {
	t.Helper()
	name := fmt.Sprintf("SEP0000000%05X", n)
	addPhone(t, c, name)
	s := startServer(t, c.Path, n)
	defer func() { s.stop(t) }()
	dir := filepath.Join(c.Dir, "phones")
	var got handset.Result
	event := ""
	deadline := time.Now().Add(90 * time.Second)
	for got.Certificate == nil {
		if time.Now().After(deadline) {
			t.Fatalf("step %d (%s): the phone has no certificate after 90 s", n, event)
		}
		p := handset.Phone{Name: name, Server: c.CAPF.Listen, Dir: dir}
		r, err := p.Enroll(t.Context())
		switch {
		case err == nil && r.Certificate != nil:
			got = r
		case err == nil && r.Operation == capf.OperationNone:
			// The server was killed after it had recorded the phone's answer: the certificate is there already.
			certs, err := certfile.LoadCertificates(filepath.Join(dir, name+".pem"))
			if err != nil {
				t.Fatalf("step %d (%s): nothing is due and the phone has no certificate: %v", n, event, err)
			}
			got.Certificate = certs[0]
		default:
			time.Sleep(20 * time.Millisecond)
		}
		select {
		case event = <-s.killed:
			<-s.done
			s = startServer(t, c.Path, 0)
		default:
			if !s.alive() {
				select {
				case event = <-s.killed:
				default:
					t.Fatalf("step %d: the server process ended by itself", n)
				}
				s = startServer(t, c.Path, 0)
			}
		}
	}
	// Killed behind the phone's back, after END_SESSION went out or while it was recorded: it calls once more.
	d, rows := readPhone(t, c, name)
	for d.Operation != fleet.OperationNone && time.Now().Before(deadline) {
		p := handset.Phone{Name: name, Server: c.CAPF.Listen, Dir: dir}
		if r, err := p.Enroll(t.Context()); err == nil && r.Certificate != nil {
			got = r
		}
		if !s.alive() {
			select {
			case event = <-s.killed:
			default:
			}
			s = startServer(t, c.Path, 0)
		}
		d, rows = readPhone(t, c, name)
	}
	certificates := map[string]bool{}
	for _, r := range rows {
		if len(r.Certificate) > 0 {
			certificates[string(r.Certificate)] = true
		}
	}
	if len(certificates) != 1 || !certificates[string(got.Certificate.Raw)] {
		t.Errorf("step %d (%s): the journal holds %d certificates, want the phone's alone", n, event, len(certificates))
	}
	if d.Operation != fleet.OperationNone || d.Status != fleet.StatusUpgradeSuccess || d.LSC == nil || string(d.LSC.DER) != string(got.Certificate.Raw) {
		t.Errorf("step %d (%s): operation %s, status %s, LSC on record %v", n, event, d.Operation, d.Status, d.LSC != nil)
	}
	if e != nil {
		issued := 0
		for _, r := range e.Server().Issued() {
			if strings.Contains(r.Subject, name) {
				issued++
			}
		}
		if issued != 1 {
			t.Errorf("step %d (%s): the CA issued %d certificates, want 1", n, event, issued)
		}
	}
	select {
	case event = <-s.killed:
	default:
	}
	return event
}
