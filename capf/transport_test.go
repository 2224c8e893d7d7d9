package capf

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestOldTLSRefused shows that TLS below 1.2 is off by default, and that the log tells what to do.
func TestOldTLSRefused(t *testing.T) {
	t.Parallel()
	a, err := rsaAuthority()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			var log notes
			address, config := serveTLS(t, &Server{Service: &service{}, Log: log.logger(slog.LevelInfo)}, a)
			config.MinVersion, config.MaxVersion = tls.VersionTLS10, version
			c := Client{Device: "SEP1", Keeper: &Memory{}, TLS: config}
			_, err := c.Dial(t.Context(), address)
			if code(err) != CodeHandshakeFailed {
				t.Errorf("phone: %v", err)
			}
			waitFor(t, func() bool { return strings.Contains(log.String(), CodeOldTLS) })
			for _, want := range []string{"capf.legacy_listen", "nothing later than " + tls.VersionName(version), "level=WARN"} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("%q is not in the log:\n%s", want, log.String())
				}
			}
		})
	}
}

// TestOldKeyExchange: TLS 1.2 with RSA key exchange alone is for a listener for old phones, and the log says so.
func TestOldKeyExchange(t *testing.T) {
	t.Parallel()
	a, err := rsaAuthority()
	if err != nil {
		t.Fatal(err)
	}
	var log notes
	address, config := serveTLS(t, &Server{Service: &service{}, Log: log.logger(slog.LevelInfo)}, a)
	config.MaxVersion, config.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_256_CBC_SHA, tls.TLS_RSA_WITH_AES_128_CBC_SHA}
	c := Client{Device: "SEP1", Keeper: &Memory{}, TLS: config}
	if _, err := c.Dial(t.Context(), address); code(err) != CodeHandshakeFailed {
		t.Errorf("phone: %v", err)
	}
	waitFor(t, func() bool { return strings.Contains(log.String(), "RSA key exchange only") })
	if !strings.Contains(log.String(), "capf.legacy_listen") {
		t.Errorf("the log names no way out:\n%s", log.String())
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for range 3000 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("it did not come about within 30 s")
}

// TestChosenConfiguration: a configuration that is chosen by the client's hello gets the same care.
func TestChosenConfiguration(t *testing.T) {
	t.Parallel()
	a, err := testAuthority()
	if err != nil {
		t.Fatal(err)
	}
	outer := a.serverTLS()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		chosen := a.serverTLS()
		chosen.ClientAuth = tls.RequireAnyClientCert
		return chosen, nil
	}
	address, config := serveTransport(t, &Server{Service: &service{}}, a, Transport{TLS: outer})
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		t.Error("the phone was asked for a certificate")
		return &tls.Certificate{}, nil
	}
	c := Client{Device: "SEP1", Keeper: &Memory{}, TLS: config}
	if out, err := c.Dial(t.Context(), address); err != nil || !out.Ended {
		t.Errorf("%+v, %v", out, err)
	}
	config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, err := c.Dial(t.Context(), address); code(err) != CodeHandshakeFailed {
		t.Errorf("TLS 1.1: %v", err)
	}
	got, err := Transport{TLS: &tls.Config{MinVersion: tls.VersionTLS13}}.config()
	if err != nil || got.MinVersion != tls.VersionTLS13 {
		t.Errorf("lowest version of one's own: %v", err)
	}
}

// TestOldPhones plays phones of the 7900 series: TLS 1.0, RSA key exchange, one of their two suites. Each message must
// come in one piece of TCP although it takes two records.
func TestOldPhones(t *testing.T) {
	t.Parallel()
	a, err := rsaAuthority()
	if err != nil {
		t.Fatal(err)
	}
	for _, suite := range []uint16{tls.TLS_RSA_WITH_AES_256_CBC_SHA, tls.TLS_RSA_WITH_AES_128_CBC_SHA} {
		t.Run(tls.CipherSuiteName(suite), func(t *testing.T) {
			t.Parallel()
			var log notes
			s := &Server{Service: largeService(t, a, rsa2048), Log: log.logger(slog.LevelInfo)}
			l := newPipes()
			done := make(chan error, 1)
			go func() {
				done <- s.Serve(context.WithoutCancel(t.Context()), l, Transport{TLS: a.serverTLS(), OldPhones: true})
			}()
			ours, theirs := net.Pipe() // where every write is a read of its own
			count := &countingConn{Conn: theirs}
			l.queue <- count
			conn := tls.Client(ours, &tls.Config{
				MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10, CipherSuites: []uint16{suite}, InsecureSkipVerify: true,
			})
			if err := conn.HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			if state := conn.ConnectionState(); state.Version != tls.VersionTLS10 || state.CipherSuite != suite {
				t.Errorf("negotiated %s %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
			}
			p := &peer{tb: t, conn: conn}
			p.expect(AuthRequest) // counted when it begins, so that it cannot be told from the end of the handshake
			before := count.writes()
			once := func(what string) {
				t.Helper()
				if n := count.writes() - before; n != 1 {
					t.Errorf("%s took %d writes", what, n)
				}
				before = count.writes()
			}
			p.send(AuthResponse, reasonElement(1), byteElement(TagVersion, 3), textElement(TagDeviceName, []byte("SEP0000000000D1")))
			p.expect(KeyGenerateRequest)
			once("KEY_GENERATE_REQUEST")
			spki, _, err := marshalPublicKey(a.key.Public())
			if err != nil {
				t.Fatal(err)
			}
			p.send(KeyGenerateResponse, Element{TagPublicKey, spki})
			p.expect(StoreCertificateRequest)
			once("STORE_CERTIFICATE_REQUEST")
			p.send(StoreCertificateResponse, reasonElement(1))
			p.end(ReasonUpdateCertificate)
			waitFor(t, func() bool { return strings.Contains(log.String(), "capf.end_session") })
			for _, want := range []string{"capf.old_phones ", `tls="TLS 1.0"`, tls.CipherSuiteName(suite)} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("%q is not in the log:\n%s", want, log.String())
				}
			}
			if strings.Contains(log.String(), "capf.old_phones_key") {
				t.Errorf("an RSA key is complained about:\n%s", log.String())
			}
			if err := s.Shutdown(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
			<-done
		})
	}
}

// TestOldPhonesNeedRSA: a certificate that shuts them out is told at start.
func TestOldPhonesNeedRSA(t *testing.T) {
	t.Parallel()
	a, err := testAuthority()
	if err != nil {
		t.Fatal(err)
	}
	var log notes
	address, config := serveTransport(t, &Server{Service: &service{}, Log: log.logger(slog.LevelInfo)}, a, Transport{TLS: a.serverTLS(), OldPhones: true})
	c := Client{Device: "SEP1", Keeper: &Memory{}, TLS: config}
	if out, err := c.Dial(t.Context(), address); err != nil || !out.Ended { // later phones are served as ever
		t.Errorf("%+v, %v", out, err)
	}
	if !strings.Contains(log.String(), "capf.old_phones_key") {
		t.Errorf("no warning:\n%s", log.String())
	}
}

// TestOldPhonesOpenSSL plays a phone through OpenSSL's TLS 1.0.
func TestOldPhonesOpenSSL(t *testing.T) {
	t.Parallel()
	a, err := rsaAuthority()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	svc := &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{rsa2048}}}
	address, _ := serveTransport(t, &Server{Service: svc, CloseWait: 50 * time.Millisecond}, a, Transport{TLS: a.serverTLS(), OldPhones: true})
	for _, cipher := range []string{"AES256-SHA", "AES128-SHA"} {
		cmd := exec.CommandContext(t.Context(), "openssl", "s_client", "-connect", address, "-quiet", "-tls1", "-cipher", cipher+":@SECLEVEL=0")
		phone := stdio{}
		if phone.WriteCloser, err = cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if phone.Reader, err = cmd.StdoutPipe(); err != nil {
			t.Fatal(err)
		}
		var complaint notes
		cmd.Stderr = &complaint
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out, err := (&Client{Device: "SEP0000000000D1", Keeper: &Memory{}}).Run(t.Context(), phone)
		_ = phone.Close()
		_ = cmd.Wait() // s_client's verdict on a connection that the server closed is of no interest
		if err != nil || out.Certificate == nil {
			t.Errorf("%s: %+v, %v\n%s", cipher, out, err, complaint.String())
		}
	}
}

// stdio is a connection that is another program's standard input and output.
type stdio struct {
	net.Conn // of which only the deadlines are called
	io.Reader
	io.WriteCloser
}

func (s stdio) Read(b []byte) (int, error)       { return s.Reader.Read(b) }
func (s stdio) Write(b []byte) (int, error)      { return s.WriteCloser.Write(b) }
func (s stdio) Close() error                     { return s.WriteCloser.Close() }
func (stdio) SetDeadline(time.Time) error        { return nil }
func (stdio) SetReadDeadline(time.Time) error    { return nil }
func (stdio) SetWriteDeadline(_ time.Time) error { return nil }

// brokenConn fails every write.
type brokenConn struct{ net.Conn }

func (brokenConn) Write([]byte) (int, error) { return 0, errors.New("broken") }

// TestHeldWrites: nothing is lost, put in another order or silently dropped.
func TestHeldWrites(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	count := &countingConn{Conn: ours}
	h := &held{Conn: count}
	got := make(chan string)
	go func() {
		b, _ := io.ReadAll(theirs)
		got <- string(b)
	}()
	write := func(s string) {
		t.Helper()
		if n, err := h.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("write: %d, %v", n, err)
		}
	}
	write("a")
	h.hold()
	write("b")
	write("c")
	if err := h.release(); err != nil {
		t.Error(err)
	}
	h.hold()
	if err := h.release(); err != nil { // nothing was written: nothing is sent
		t.Error(err)
	}
	write("d")
	_ = ours.Close()
	if s := <-got; s != "abcd" || count.writes() != 3 {
		t.Errorf("%q in %d writes", s, count.writes())
	}
	h = &held{Conn: brokenConn{}}
	h.hold()
	write("x")
	if err := h.release(); err == nil {
		t.Error("a failed write was not told")
	}
}
