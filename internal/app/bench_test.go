package app_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"callsign/capf"
	"callsign/internal/app"
	"callsign/internal/ca/local"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/fleet"
	"callsign/internal/handset"
	"callsign/internal/setup"
)

// round is how many calls of one kind are made before the other kind has its turn. Enrolments and bare handshakes take
// turns so that a machine which is busy with other things disturbs both alike and their ratio means something.
const round = 1024

// BenchmarkEnrolment measures the whole server as serve runs it: setup's deployment with the local issuer, its log and
// its traces on, the database on disk with every commit synchronous; phones that each have an RSA-2048 key of their own
// and call over TLS on loopback. Phones and server share the processors. Beside it the same connections are made
// without a session, with the same certificate and the same settings on both sides: the ratio is what of the rate of
// handshakes is left as enrolments, the cpu-ratio the same by processor time, which a busy machine disturbs less and in
// which waiting does not count. One operation is one enrolment and one handshake.
func BenchmarkEnrolment(b *testing.B) {
	for _, c := range []struct {
		name     string
		ca, capf local.KeyKind
		atOnce   int // phones that call at the same time
	}{
		{"p256-ca/rsa2048-capf/16-phones", local.P256, local.RSA2048, 16},
		{"p256-ca/rsa2048-capf/200-phones", local.P256, local.RSA2048, 200},
		{"rsa2048-ca/rsa2048-capf/16-phones", local.RSA2048, local.RSA2048, 16},
		{"rsa2048-ca/rsa2048-capf/200-phones", local.RSA2048, local.RSA2048, 200},
		{"p256-ca/p256-capf/16-phones", local.P256, local.P256, 16},
		{"rsa2048-ca/p256-capf/16-phones", local.RSA2048, local.P256, 16},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := startBench(b, c.ca, c.capf)
			phones := w.phones(b, b.N)
			var enrolments, handshakes spent
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += round {
				turn := phones[i:min(i+round, b.N)]
				handshakes.add(each(b, c.atOnce, turn, func(*capf.Client) error { return w.handshake(b.Context()) }))
				enrolments.add(each(b, c.atOnce, turn, func(p *capf.Client) error { return w.enroll(b.Context(), p) }))
			}
			b.StopTimer()
			n := float64(b.N)
			b.ReportMetric(n/enrolments.wall.Seconds(), "enrolments/s")
			b.ReportMetric(n/handshakes.wall.Seconds(), "handshakes/s")
			b.ReportMetric(handshakes.wall.Seconds()/enrolments.wall.Seconds(), "ratio")
			b.ReportMetric(enrolments.cpu.Seconds()*1000/n, "cpu-ms/enrolment")
			b.ReportMetric(handshakes.cpu.Seconds()*1000/n, "cpu-ms/handshake")
			b.ReportMetric(handshakes.cpu.Seconds()/enrolments.cpu.Seconds(), "cpu-ratio")
			w.check(b, phones)
		})
	}
}

// BenchmarkWaiting reports the memory that a phone takes in the server as serve runs it, while the server waits for its
// key: its record read, its session open. Of the phones nothing is left but their sockets, so that what memory grows by
// is the server's.
func BenchmarkWaiting(b *testing.B) {
	const n = 2000
	w := startBench(b, local.P256, local.P256)
	phones := w.phones(b, n)
	for b.Loop() {
		w.waiting(b, phones[0]) // what is made once
		before := inUse()
		conns := make([]net.Conn, n)
		for i, p := range phones {
			conns[i] = w.waiting(b, p)
		}
		b.ReportMetric(float64(inUse()-before)/n, "bytes/conn")
		for _, c := range conns {
			_ = c.Close()
		}
	}
}

// inUse is what heap and stacks take after a collection.
func inUse() uint64 {
	var m runtime.MemStats
	for range 3 { // stacks shrink by half in each
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// waiting brings a phone as far as the request for its key and returns the socket.
func (w *benchWorld) waiting(b *testing.B, p *capf.Client) net.Conn {
	b.Helper()
	var d net.Dialer
	raw, err := d.DialContext(b.Context(), "tcp", w.capf)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = raw.Close() })
	config := w.tls.Clone()
	config.ServerName = "127.0.0.1"
	conn := tls.Client(raw, config)
	m, err := capf.ReadMessage(conn, capf.MaxBody)
	if err != nil {
		b.Fatal(err)
	}
	hello, err := capf.Message{Command: capf.AuthResponse, SessionID: m.SessionID, Elements: []capf.Element{
		{Tag: capf.TagReason, Value: []byte{byte(capf.ReasonUpdateCertificate)}},
		{Tag: capf.TagVersion, Value: []byte{capf.ProtocolVersion}},
		{Tag: capf.TagDeviceName, Value: append([]byte(p.Device), 0)},
	}}.MarshalBinary()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := conn.Write(hello); err != nil {
		b.Fatal(err)
	}
	if m, err = capf.ReadMessage(conn, capf.MaxBody); err != nil || m.Command != capf.KeyGenerateRequest {
		b.Fatalf("got %v, %v, want the request for a key", m.Command, err)
	}
	return raw
}

// benchWorld is a running server and, beside it, a listener that does nothing but handshakes.
type benchWorld struct {
	app   *app.App
	tls   *tls.Config // of the phones
	capf  string      // address of the server
	plain string      // address of the listener for handshakes
}

func startBench(b *testing.B, ca, capfKey local.KeyKind) *benchWorld {
	b.Helper()
	ctx := b.Context()
	dir := b.TempDir()
	d, err := setup.New(ctx, setup.Options{Dir: dir, Issuer: config.IssuerLocal, Host: "127.0.0.1", AnyPort: true, Key: ca})
	if err != nil {
		b.Fatal(err)
	}
	if capfKey != local.RSA2048 { // which is what setup makes
		i, err := local.NewCAPF(local.CAOptions{Subject: pkix.Name{CommonName: "CAPF-bench", Organization: []string{"Callsign"}}, Key: capfKey})
		if err != nil {
			b.Fatal(err)
		}
		key, err := certfile.EncodeKey(i.Signer)
		if err != nil {
			b.Fatal(err)
		}
		err = errors.Join(certfile.WriteFile(d.Config.CAPF.CertificateFile, certfile.EncodeCertificates(i.Certificate), 0o644),
			certfile.WriteFile(d.Config.CAPF.KeyFile, key, 0o600))
		if err != nil {
			b.Fatal(err)
		}
	}
	c, err := config.Load(filepath.Join(dir, setup.ConfigFile))
	if err != nil {
		b.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "serve.log"))
	if err != nil {
		b.Fatal(err)
	}
	a, err := app.Start(ctx, app.Options{Config: c, Handler: slog.NewJSONHandler(log, &slog.HandlerOptions{Level: c.Log.SlogLevel()})})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(a.Stop(context.Background()), log.Close()); err != nil {
			b.Error(err)
		}
	})
	client, err := handset.TLSConfig(c.CAPF.CertificateFile)
	if err != nil {
		b.Fatal(err)
	}
	return &benchWorld{app: a, tls: client, capf: a.Endpoints().CAPF, plain: handshakes(b, c)}
}

// handshakes listens and makes handshakes with the settings of the CAPF listener, nothing else.
func handshakes(b *testing.B, c *config.Config) string {
	b.Helper()
	pair, err := certfile.LoadKeyPair(c.CAPF.CertificateFile, c.CAPF.KeyFile)
	if err != nil {
		b.Fatal(err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{pair.TLS()}, MinVersion: tls.VersionTLS12,
		SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true,
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer raw.Close()
				conn := tls.Server(raw, config)
				if err := conn.HandshakeContext(context.Background()); err != nil {
					b.Errorf("handshake: %v", err)
					return
				}
				_ = conn.Close()
			})
		}
	})
	b.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// handshake connects, completes TLS and waits until the server has closed, which tells that it has completed it, too.
func (w *benchWorld) handshake(ctx context.Context) error {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", w.plain)
	if err != nil {
		return err
	}
	config := w.tls.Clone() // as capf.Client does it
	config.ServerName = "127.0.0.1"
	conn := tls.Client(raw, config)
	defer conn.Close()
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		return err
	}
	return nil
}

func (w *benchWorld) enroll(ctx context.Context, p *capf.Client) error {
	out, err := p.Dial(ctx, w.capf)
	if err == nil && out.Certificate == nil {
		err = errors.New("no certificate")
	}
	return err
}

// phones makes keys and adds their phones with an install due.
func (w *benchWorld) phones(b *testing.B, n int) []*capf.Client {
	b.Helper()
	names, err := handset.Names("", n)
	if err != nil {
		b.Fatal(err)
	}
	keys := rsaKeys(b, n)
	clients := make([]*capf.Client, n)
	devices := make([]fleet.Device, n)
	for i, name := range names {
		key := keys[i]
		clients[i] = &capf.Client{Device: name, TLS: w.tls, Keeper: &capf.Memory{Generate: func(capf.KeySpec) (crypto.Signer, error) { return key, nil }}}
		devices[i] = fleet.NewDevice(name)
		devices[i].Schedule(fleet.OperationInstall, time.Now())
	}
	if err := w.app.Records.Phones.AddDevices(b.Context(), devices); err != nil {
		b.Fatal(err)
	}
	return clients
}

// check looks whether what was measured has happened.
func (w *benchWorld) check(b *testing.B, phones []*capf.Client) {
	b.Helper()
	p := phones[len(phones)-1]
	d, err := w.app.Records.Phones.Device(b.Context(), p.Device)
	if err != nil {
		b.Fatal(err)
	}
	if d.Status != fleet.StatusUpgradeSuccess || d.LSC == nil {
		b.Errorf("%s is %s after its enrolment, want %s with a certificate", d.Name, d.Status, fleet.StatusUpgradeSuccess)
	}
}

// spent is what turns of a benchmark took: by the clock, and of the processors.
type spent struct{ wall, cpu time.Duration }

func (s *spent) add(t spent) {
	s.wall += t.wall
	s.cpu += t.cpu
}

// processor is the time that this process has had of the processors.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// each calls do for all phones, atOnce at a time, and returns what that took.
func each(b *testing.B, atOnce int, phones []*capf.Client, do func(*capf.Client) error) spent {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	began, used := time.Now(), processor(b)
	for range min(atOnce, len(phones)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(phones); i = int(next.Add(1)) - 1 {
				if err := do(phones[i]); err != nil {
					b.Errorf("%s: %v", phones[i].Device, err)
				}
			}
		})
	}
	wg.Wait()
	return spent{wall: time.Since(began), cpu: processor(b) - used}
}

// rsaKeys makes n different RSA-2048 keys from few primes, each pair of which is a key: good for measuring only, and
// a hundred times faster than making each by itself.
func rsaKeys(b *testing.B, n int) []crypto.Signer {
	b.Helper()
	few := 2
	for few*(few-1)/2 < n {
		few++
	}
	primes := make([]*big.Int, few)
	var wg sync.WaitGroup
	for part := range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := part; i < few; i += runtime.GOMAXPROCS(0) {
				var err error
				if primes[i], err = rand.Prime(rand.Reader, 1024); err != nil { // its two highest bits are set, so products have 2048 bits
					b.Errorf("make a prime: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
	keys := make([]crypto.Signer, 0, n)
	for i := range primes {
		for j := range i {
			if len(keys) == n {
				return keys
			}
			keys = append(keys, &rsa.PrivateKey{
				PublicKey: rsa.PublicKey{N: new(big.Int).Mul(primes[i], primes[j]), E: 65537},
				Primes:    []*big.Int{primes[i], primes[j]}, // a phone proves nothing: its private exponent is never used
			})
		}
	}
	return keys
}
