package capf

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// serverTLS is a server's configuration with the authority's own certificate.
func (a *authority) serverTLS() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{a.cert.Raw}, PrivateKey: a.key}},
	}
}

// serveTLS runs a server on a loopback port for the length of a test and returns its address and a configuration that
// trusts it.
func serveTLS(tb testing.TB, s *Server, a *authority) (string, *tls.Config) {
	tb.Helper()
	return serveTransport(tb, s, a, Transport{TLS: a.serverTLS()})
}

// serveTransport is serveTLS with a transport of one's own.
func serveTransport(tb testing.TB, s *Server, a *authority, t Transport) (string, *tls.Config) {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.WithoutCancel(tb.Context()), l, t) }()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), 30*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			tb.Errorf("shutdown: %v", err)
		}
		if err := <-done; !errors.Is(err, ErrServerClosed) {
			tb.Errorf("serve returned %v", err)
		}
	})
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return l.Addr().String(), &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// fieldConn dials like a client in the field, with one TLS version.
func fieldConn(t *testing.T, address string, config *tls.Config, version uint16) *tls.Conn {
	t.Helper()
	config = config.Clone()
	config.MinVersion, config.MaxVersion = version, version
	d := tls.Dialer{Config: config}
	conn, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn.(*tls.Conn)
}

// wholeRead takes one read of 4096 bytes for one message, as soft phones do, and returns the message's bytes.
func wholeRead(t *testing.T, conn net.Conn) []byte {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if n < 8 || n != 8+int(binary.BigEndian.Uint16(buf[6:])) {
		t.Fatalf("one read gave %d bytes of a message of %d", n, 8+int(binary.BigEndian.Uint16(buf[6:])))
	}
	return buf[:n]
}

// largeService issues certificates of nearly 3 kB, which Go would send in several records without the server's care.
func largeService(t *testing.T, a *authority, k KeySpec) *service {
	t.Helper()
	return &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{k}}, issue: func(_ context.Context, spki []byte) ([]byte, error) {
		pub, err := x509.ParsePKIXPublicKey(spki)
		if err != nil {
			return nil, err
		}
		c := *a.cert
		for i := range 120 {
			c.DNSNames = append(c.DNSNames, fmt.Sprintf("padding-%010d", i))
		}
		return x509.CreateCertificate(rand.Reader, &c, a.cert, pub, a.key)
	}}
}

// TestSoftPhone is a client of version 2 that reads each message with one read of 4096 bytes, ignores what key it is asked
// for, and sends its elements in its own order.
func TestSoftPhone(t *testing.T) {
	t.Parallel()
	a, err := rsaAuthority()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			svc := largeService(t, a, rsa2048)
			address, config := serveTLS(t, &Server{Service: svc}, a)
			conn := fieldConn(t, address, config, version)
			defer conn.Close()
			request := wholeRead(t, conn)
			if request[1] != 1 {
				t.Fatalf("first message % x", request)
			}
			send := func(command byte, body []byte) {
				b := append([]byte{0x55, command}, request[2:6]...)
				b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
				if _, err := conn.Write(append(b, body...)); err != nil {
					t.Fatal(err)
				}
			}
			send(2, []byte("\x07\x00\x01\x02\x0d\x00\x10SEP0000000000D5\x00\x01\x00\x01\x01"))
			if got := wholeRead(t, conn); got[1] != 3 || len(got) != 13 {
				t.Fatalf("expected a key request of 13 bytes, got % x", got)
			}
			spki, err := x509.MarshalPKIXPublicKey(a.key.Public())
			if err != nil {
				t.Fatal(err)
			}
			send(4, append([]byte{9, 1, 0x26}, spki...))
			got := wholeRead(t, conn)
			// Its way to the certificate: the element, the entry, then strip leading 00 and 01.
			if got[1] != 9 || len(got) < 2500 {
				t.Fatalf("expected a large certificate, got %d bytes, command %d", len(got), got[1])
			}
			value := got[8+4+3+3:]
			for value[0] == 0 || value[0] == 1 {
				value = value[1:]
			}
			if _, err := x509.ParseCertificate(value); err != nil {
				t.Errorf("certificate: %v", err)
			}
			send(10, []byte{1, 0, 1, 1})
			if end := wholeRead(t, conn); end[1] != 15 || end[11] != 1 {
				t.Errorf("end % x", end)
			}
		})
	}
}

// TestStrictPhone is a client that dies of any tag outside its list, of a first read under 8 bytes, of a key size of its own
// list, and of any message it does not expect.
func TestStrictPhone(t *testing.T) {
	t.Parallel()
	a, err := rsaAuthority()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			svc := largeService(t, a, ec256)
			address, config := serveTLS(t, &Server{Service: svc}, a)
			conn := fieldConn(t, address, config, version)
			defer conn.Close()
			var session []byte
			next := func(want byte, tags string) map[byte][]byte {
				t.Helper()
				header := make([]byte, 8)
				n, err := conn.Read(header) // one read
				if err != nil || n != 8 {
					t.Fatalf("invalid header length %d, %v", n, err)
				}
				if session == nil {
					session = header[2:6]
				}
				if header[0] != 85 || header[1] != want || string(session) != string(header[2:6]) {
					t.Fatalf("unexpected command: % x, want %d", header, want)
				}
				body := make([]byte, binary.BigEndian.Uint16(header[6:]))
				if _, err := io.ReadFull(conn, body); err != nil {
					t.Fatal(err)
				}
				found := map[byte][]byte{}
				for len(body) > 0 {
					n := binary.BigEndian.Uint16(body[1:])
					found[body[0]] = body[3 : 3+n]
					body = body[3+n:]
				}
				for tag := range found {
					if !contains(tags, tag) {
						t.Fatalf("unknown element tag %d in command %d", tag, want)
					}
				}
				if len(found) != len(tags) {
					t.Fatalf("elements %v, want tags %v", found, []byte(tags))
				}
				return found
			}
			send := func(command byte, body string) {
				b := append([]byte{0x55, command}, session...)
				b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
				if _, err := conn.Write(append(b, body...)); err != nil {
					t.Fatal(err)
				}
			}
			if v := next(1, "\x07\x08"); v[7][0] != 3 {
				t.Fatalf("invalid protocol version %d", v[7][0])
			}
			send(2, "\x01\x00\x01\x01\x07\x00\x01\x03\x0b\x00\x01\x00\x0d\x00\x10SEP0000000000D2\x00")
			if v := next(3, "\x11\x12"); v[17][0] != 1 || v[18][0] != 0 {
				t.Fatalf("asked for %v", v)
			}
			send(17, "")
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			spki, err := x509.MarshalPKIXPublicKey(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			send(4, "\x09\x00\x5b"+string(spki))
			if v := next(9, "\x03\x04"); v[3][0] != 1 {
				t.Fatalf("certificate type %d", v[3][0])
			}
			send(10, "\x01\x00\x01\x01")
			if v := next(15, "\x01"); v[1][0] != 1 {
				t.Fatalf("reason %d", v[1][0])
			}
		})
	}
}

func contains(s string, b byte) bool {
	for i := range len(s) {
		if s[i] == b {
			return true
		}
	}
	return false
}

// TestOneWritePerMessage counts what the server writes to the socket: with TLS 1.3 one record and one write a message.
func TestOneWritePerMessage(t *testing.T) {
	t.Parallel()
	a, err := rsaAuthority()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Service: largeService(t, a, rsa2048)}
	l := newPipes()
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.WithoutCancel(t.Context()), l, Transport{TLS: a.serverTLS()}) }()
	ours, theirs := net.Pipe()
	count := &countingConn{Conn: theirs}
	l.queue <- count
	conn := tls.Client(ours, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	p := &peer{tb: t, conn: conn}
	p.hello(3)
	p.expect(KeyGenerateRequest)
	spki, _, err := marshalPublicKey(a.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	before := count.writes()
	p.send(KeyGenerateResponse, Element{TagPublicKey, spki})
	p.expect(StoreCertificateRequest)
	if n := count.writes() - before; n != 1 {
		t.Errorf("the certificate took %d writes", n)
	}
	p.send(StoreCertificateResponse, reasonElement(1))
	p.end(ReasonUpdateCertificate)
	if err := s.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	<-done
}

type countingConn struct {
	net.Conn
	mu sync.Mutex
	n  int
}

func (c *countingConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *countingConn) writes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// TestSilentConnections holds 200 connections that say nothing while a phone enrolls.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	a, err := testAuthority()
	if err != nil {
		t.Fatal(err)
	}
	// They stay for minutes: who is served at all has not waited for them.
	address, config := serveTLS(t, &Server{
		Service: &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}}}, HandshakeTimeout: 5 * time.Minute,
	}, a)
	var d net.Dialer
	for range 200 {
		conn, err := d.DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	began := time.Now()
	client := &Client{Device: "SEP0000000000D1", Keeper: &Memory{}, TLS: config}
	out, err := client.Dial(t.Context(), address)
	if err != nil || out.Certificate == nil {
		t.Fatalf("%+v, %v", out, err)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("enrolment took %v beside silent connections", took)
	}
}

// TestConcurrentPhones enrolls many phones at a time; every one gets its own certificate and session id.
func TestConcurrentPhones(t *testing.T) {
	t.Parallel()
	a, err := testAuthority()
	if err != nil {
		t.Fatal(err)
	}
	address, config := serveTLS(t, &Server{Service: &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}}}}, a)
	var wg sync.WaitGroup
	var mu sync.Mutex
	sessions := map[uint32]bool{}
	for i := range 40 {
		wg.Go(func() {
			name := fmt.Sprintf("SEP%012X", i)
			client := &Client{Device: name, Keeper: &Memory{}, TLS: config}
			out, err := client.Dial(t.Context(), address)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			if cert, err := x509.ParseCertificate(out.Certificate); err != nil || cert.Subject.CommonName != name {
				t.Errorf("%s got the certificate %v, %v", name, cert, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if sessions[out.Session] || out.Session == 0 || out.Session > 40 {
				t.Errorf("session id %d", out.Session)
			}
			sessions[out.Session] = true
		})
	}
	wg.Wait()
}
