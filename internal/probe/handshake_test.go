package probe_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/probe"
)

func TestHandshake(t *testing.T) {
	t.Parallel()
	cert := pair(t)
	for name, version := range map[string]uint16{
		"TLS 1.0": tls.VersionTLS10, "TLS 1.1": tls.VersionTLS11, "TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version})
			p, err := probe.Handshake(t.Context(), probe.Target{Address: address})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(cert.Certificate, p.Certificates); diff != "" {
				t.Errorf("certificates (-want +got):\n%s", diff)
			}
			if p.Version != version || p.CipherSuite == 0 || p.Incomplete != nil || p.Alert != 0 || p.Remote != address || p.Duration <= 0 {
				t.Errorf("got %+v", p)
			}
		})
	}
}

func TestOldCipherSuite(t *testing.T) {
	t.Parallel()
	cert := pair(t)
	address := serve(t, &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA},
	})
	p, err := probe.Handshake(t.Context(), probe.Target{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	if p.CipherSuite != tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA {
		t.Errorf("got %s", tls.CipherSuiteName(p.CipherSuite))
	}
}

// TestServerName compares what is said to have been sent with what a server has received.
func TestServerName(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, address, serverName, want string }{
		{"name", "cucm.example.com:443", "", "cucm.example.com"},
		{"final dot", "cucm.example.com.:443", "", "cucm.example.com"},
		{"U-labels", "b\u00fccher.example:443", "", "xn--bcher-kva.example"},
		{"IPv4", "192.0.2.1:443", "", ""},
		{"IPv6", "[2001:db8::1]:443", "", ""},
		{"IPv6 with zone", "[fe80::1%lo]:443", "", ""},
		{"another name", "192.0.2.1:443", "cucm.example.com", "cucm.example.com"},
		{"another address", "cucm.example.com:443", "[2001:db8::1]", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cert, received := pair(t), make(chan string, 1)
			address := serve(t, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				received <- h.ServerName
				return &cert, nil
			}})
			p, err := probe.Handshake(t.Context(), probe.Target{Address: tc.address, ServerName: tc.serverName, ConnectTo: address})
			if err != nil {
				t.Fatal(err)
			}
			if got := <-received; got != tc.want || p.ServerName != tc.want {
				t.Errorf("sent %q, and says %q; want %q", got, p.ServerName, tc.want)
			}
		})
	}
}

func TestClientCertificate(t *testing.T) {
	t.Parallel()
	cert := pair(t)
	for _, tc := range []struct {
		name string
		auth tls.ClientAuthType
		want probe.ClientCertificate
	}{
		{"not asked for", tls.NoClientCert, probe.NotRequested},
		{"asked for", tls.RequestClientCert, probe.Requested},
		{"demanded", tls.RequireAnyClientCert, probe.Demanded},
	} {
		for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
			t.Run(tc.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				address := serve(t, &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tc.auth, MinVersion: version, MaxVersion: version})
				p, err := probe.Handshake(t.Context(), probe.Target{Address: address})
				if err != nil {
					t.Fatal(err)
				}
				if p.ClientCertificate != tc.want || len(p.Certificates) != 2 || p.Version != version {
					t.Errorf("got %+v, want %s", p, tc.want)
				}
				if tc.want != probe.Demanded {
					if p.Incomplete != nil || p.Alert != 0 {
						t.Errorf("incomplete: %v, alert %s", p.Incomplete, p.Alert)
					}
					return
				}
				e := problem(t, p.Incomplete)
				if e.Code() != probe.CodeTLSFailed || !strings.Contains(e.Error(), "demands a client certificate") || p.Alert == 0 || e.Alert != p.Alert {
					t.Errorf("got %v, alert %s", e, p.Alert)
				}
			})
		}
	}
}

// TestUnreadable: what crypto/tls gives up on comes out as it was sent, also what stands behind it.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	good := pair(t)
	bad := tls.Certificate{
		Certificate: [][]byte{good.Certificate[0], negativeSerial(t, good.Certificate[1]), []byte("no certificate at all")},
		PrivateKey:  good.PrivateKey,
	}
	// A chain that fills several records.
	for range 300 {
		bad.Certificate = append(bad.Certificate, good.Certificate[1])
	}
	for _, tc := range []struct {
		name              string
		min, max, version uint16
	}{
		{"TLS 1.0", tls.VersionTLS10, tls.VersionTLS10, tls.VersionTLS10},
		{"TLS 1.2", tls.VersionTLS12, tls.VersionTLS12, tls.VersionTLS12},
		{"TLS 1.3 preferred", tls.VersionTLS12, tls.VersionTLS13, tls.VersionTLS12},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, &tls.Config{Certificates: []tls.Certificate{bad}, MinVersion: tc.min, MaxVersion: tc.max})
			p, err := probe.Handshake(t.Context(), probe.Target{Address: address})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(bad.Certificate, p.Certificates); diff != "" {
				t.Errorf("certificates (-want +got):\n%s", diff)
			}
			if p.Version != tc.version || p.CipherSuite == 0 || p.Remote != address {
				t.Errorf("got %+v", p)
			}
			e := problem(t, p.Incomplete)
			if e.Code() != probe.CodeCertificateUnreadable || !strings.Contains(e.Error(), "certificate 2") || !strings.Contains(e.Error(), "negative serial number") {
				t.Errorf("got %v", e)
			}
		})
	}
}

// checkHidden checks the error for a certificate that crypto/tls does not read and nobody sees.
func checkHidden(t *testing.T, err error) {
	t.Helper()
	e := problem(t, err)
	if e.Code() != probe.CodeCertificateUnreadable || !strings.HasSuffix(e.Error(), "with TLS 1.3 a certificate that the server presents does not parse: negative serial number") {
		t.Errorf("got %s: %v", e.Code(), e)
	}
	if !strings.Contains(e.Remedy(), "TLS 1.2") || !strings.Contains(e.Remedy(), "callsign cert inspect FILE") {
		t.Errorf("remedy: %s", e.Remedy())
	}
}

// TestHidden: the second handshake, with TLS 1.2, shows nothing.
func TestHidden(t *testing.T) {
	t.Parallel()
	bad := pair(t)
	bad.Certificate = [][]byte{negativeSerial(t, bad.Certificate[0])}
	modern := &tls.Config{Certificates: []tls.Certificate{bad}, MinVersion: tls.VersionTLS13}
	t.Run("TLS 1.3 only", func(t *testing.T) {
		t.Parallel()
		p, err := probe.Handshake(t.Context(), probe.Target{Address: serve(t, modern)})
		if p != nil {
			t.Errorf("got %+v", p)
		}
		checkHidden(t, err)
	})
	for _, tc := range []struct {
		name   string
		second func(c net.Conn, cancel func()) // what the server does with the second connection
		check  func(t *testing.T, err error)
	}{
		{"closes", func(net.Conn, func()) {}, checkHidden},
		{"is silent until the time is up", func(c net.Conn, _ func()) { _, _ = io.Copy(io.Discard, c) }, checkHidden},
		{"is given up", func(c net.Conn, cancel func()) { cancel(); _, _ = io.Copy(io.Discard, c) }, func(t *testing.T, err error) {
			t.Helper()
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			connections := 0
			address := listen(t, func(c net.Conn) {
				if connections++; connections == 1 {
					_ = tls.Server(c, modern).Handshake() // the client ends it
					return
				}
				tc.second(c, cancel)
			})
			began := time.Now()
			_, err := probe.Handshake(ctx, probe.Target{Address: "server.test:443", ConnectTo: address, Timeout: 3 * time.Second}) // for the first handshake too
			tc.check(t, err)
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// TestTwoCertificates: a readable certificate for TLS 1.2 does not hide what is wrong with the one for TLS 1.3.
func TestTwoCertificates(t *testing.T) {
	t.Parallel()
	good := pair(t)
	bad := good
	bad.Certificate = [][]byte{negativeSerial(t, good.Certificate[0])}
	address := serve(t, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if slices.Contains(h.SupportedVersions, tls.VersionTLS13) {
			return &bad, nil
		}
		return &good, nil
	}})
	p, err := probe.Handshake(t.Context(), probe.Target{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(good.Certificate, p.Certificates); diff != "" || p.Version != tls.VersionTLS12 {
		t.Errorf("%s, certificates (-want +got):\n%s", tls.VersionName(p.Version), diff)
	}
	checkHidden(t, p.Incomplete)
}

// hugeKey pretends to have a key that is too large for crypto/tls.
type hugeKey struct{ *rsa.PublicKey }

func (k hugeKey) Public() crypto.PublicKey { return k.PublicKey }

func (k hugeKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return make([]byte, k.Size()), nil
}

// TestHugeKey: a certificate that crypto/tls reads and refuses is presented all the same.
func TestHugeKey(t *testing.T) {
	t.Parallel()
	n := new(big.Int).Lsh(big.NewInt(1), 16383)
	key := hugeKey{&rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}}
	ca, caKey := certificate(t, "Test CA", nil, nil)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"server.test"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
	}, ca, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3 preferred": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MaxVersion: version})
			p, err := probe.Handshake(t.Context(), probe.Target{Address: address})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([][]byte{der}, p.Certificates); diff != "" || p.Version != tls.VersionTLS12 {
				t.Errorf("%s, certificates (-want +got):\n%s", tls.VersionName(p.Version), diff)
			}
			e := problem(t, p.Incomplete)
			if e.Code() != probe.CodeTLSFailed || !strings.Contains(e.Error(), "RSA key larger than 8192 bits") || !strings.Contains(e.Remedy(), "smaller key") {
				t.Errorf("got %s: %v; %s", e.Code(), e, e.Remedy())
			}
		})
	}
}

// tlsAlert is a fatal alert as a record.
func tlsAlert(number byte) []byte { return []byte{21, 3, 3, 0, 2, 2, number} }

// hear reads the greeting, of which the first record says the length.
func hear(c net.Conn) {
	header := make([]byte, 5)
	if _, err := c.Read(header); err == nil {
		_, _ = c.Read(make([]byte, int(header[3])<<8|int(header[4])))
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	answer := func(words string) func(net.Conn) {
		return func(c net.Conn) {
			hear(c)
			_, _ = c.Write([]byte(words))
		}
	}
	for _, tc := range []struct {
		name       string
		do         func(net.Conn)
		code, want string
		remedy     string
	}{
		{"HTTP", answer("HTTP/1.1 400 Bad Request\r\n\r\n"), probe.CodeNotTLS, `it answers "HTTP/1.1 400 Bad Request"`, "HTTPS port"},
		{"SSH", answer("SSH-2.0-OpenSSH_9.2\r\n"), probe.CodeNotTLS, `it answers "SSH-2.0-OpenSSH_9.2"`, "SSH server"},
		{"mail", answer("220 mail.example.com ESMTP\r\n"), probe.CodeNotTLS, `"220 mail.example.com ESMTP"`, "STARTTLS"},
		{"octets", answer("\x00\x01\x02\x03\x04\x05\x06"), probe.CodeNotTLS, "the octets 00 01 02 03 04 05 06", "name the port"},
		{"long text", answer(strings.Repeat("x", 200)), probe.CodeNotTLS, `it answers "` + strings.Repeat("x", 60) + `"`, "name the port"},
		{"closes at once", func(net.Conn) {}, probe.CodeTLSFailed, "closed the connection", "server's log"},
		{"closes later", hear, probe.CodeTLSFailed, "closed the connection", "server's log"},
		{"half a record", answer("\x16\x03\x03\x00\x40\x02"), probe.CodeTLSFailed, "closed the connection", "server's log"},
		{"wrong record", answer("\x16\x03\x03\x00\x04\x02\x00\x00\x00"), probe.CodeTLSFailed, "the TLS handshake failed", "server's log"},
		{"unknown name", answer(string(tlsAlert(112))), probe.CodeTLSFailed, "does not know the name server.test: alert unrecognized_name(112)", "add server.test"},
		{"version", answer(string(tlsAlert(70))), probe.CodeTLSFailed, "alert protocol_version(70)", "update it"},
		{"no common suite", answer(string(tlsAlert(40))), probe.CodeTLSFailed, "alert handshake_failure(40)", "cipher suite"},
		{"internal error", answer(string(tlsAlert(80))), probe.CodeTLSFailed, "alert internal_error(80)", "server's log"},
		{"access", answer(string(tlsAlert(49))), probe.CodeTLSFailed, "alert access_denied(49)", "access rules"},
		{"another alert", answer(string(tlsAlert(50))), probe.CodeTLSFailed, "alert decode_error(50)", "server's log"},
		{"alert without a name", answer(string(tlsAlert(200))), probe.CodeTLSFailed, "alert alert(200)", "server's log"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p, err := probe.Handshake(t.Context(), probe.Target{Address: "server.test:443", ConnectTo: listen(t, tc.do)})
			if p != nil {
				t.Fatalf("got %+v", p)
			}
			e := problem(t, err)
			if e.Code() != tc.code || !strings.Contains(e.Error(), tc.want) || !strings.Contains(e.Remedy(), tc.remedy) {
				t.Errorf("got %s: %v; %s; want %s: ...%s...; ...%s...", e.Code(), e, e.Remedy(), tc.code, tc.want, tc.remedy)
			}
			if !strings.HasPrefix(e.Error(), "server.test:443: ") || !e.Connected {
				t.Errorf("the server is not named, or said to be out of reach: %v", e)
			}
		})
	}
}

func TestUnknownNameOfAddress(t *testing.T) {
	t.Parallel()
	address := listen(t, func(c net.Conn) {
		hear(c)
		_, _ = c.Write(tlsAlert(112))
	})
	_, err := probe.Handshake(t.Context(), probe.Target{Address: address})
	if e := problem(t, err); e.Alert != probe.AlertUnrecognizedName || !strings.Contains(e.Remedy(), "DNS name") {
		t.Errorf("got %v; %s", e, e.Remedy())
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, words, want string
	}{
		{"silent", "", "the server says nothing within 2s"},
		{"stops", "\x16\x03\x03\x00\x40\x02", "did not end it within 2s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			address := listen(t, func(c net.Conn) {
				_, _ = c.Write([]byte(tc.words))
				for { // until the client goes
					if _, err := c.Read(make([]byte, 512)); err != nil {
						return
					}
				}
			})
			began := time.Now()
			_, err := probe.Handshake(t.Context(), probe.Target{Address: address, Timeout: 2 * time.Second})
			if e := problem(t, err); e.Code() != probe.CodeTimeout || !strings.Contains(e.Error(), tc.want) || !e.Connected {
				t.Errorf("got %s: %v", e.Code(), e)
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Error("errors.Is finds no DeadlineExceeded")
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestCanceled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	address := listen(t, func(c net.Conn) {
		hear(c)
		cancel()
		_, _ = c.Read(make([]byte, 1))
	})
	if _, err := probe.Handshake(ctx, probe.Target{Address: address}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := probe.Handshake(ctx, probe.Target{Address: address}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled before: got %v", err)
	}
}

func TestNoConnection(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	for _, tc := range []struct {
		name         string
		target       probe.Target
		code, reason string
		remedy       string
	}{
		{"refused", probe.Target{Address: closed}, probe.CodeCannotConnect, "connection refused", "nothing listens on port"},
		{"refused by a node", probe.Target{Address: "cucm.example.com:8443", ConnectTo: closed}, probe.CodeCannotConnect, "connect to " + closed, "nothing listens on port"},
		// A label of more than 63 octets is in no DNS: nobody is asked.
		{"no such name", probe.Target{Address: strings.Repeat("a", 64) + ".test:443"}, probe.CodeNotResolved, "no such host", "getent ahosts"},
		{"late already", probe.Target{Address: closed, Timeout: time.Nanosecond}, probe.CodeTimeout, "no answer when connecting within 1ns", "firewall"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := probe.Handshake(t.Context(), tc.target)
			e := problem(t, err)
			if e.Code() != tc.code || !strings.Contains(e.Error(), tc.reason) || !strings.Contains(e.Remedy(), tc.remedy) {
				t.Errorf("got %s: %v; %s", e.Code(), e, e.Remedy())
			}
			if strings.Contains(e.Error(), "dial tcp") || e.Connected {
				t.Errorf("Go's words, or a connection: %v", e)
			}
		})
	}
}

func TestBadAddress(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, address, serverName, want string }{
		{"empty", "", "", "has no port"},
		{"no port", "cucm.example.com", "", "has no port"},
		{"IPv6 without brackets", "2001:db8::1", "", "is no HOST:PORT"},
		{"no host", ":443", "", "the host is missing"},
		{"dot", ".:443", "", "the host is missing"},
		{"port by name", "cucm:https", "", `the port "https" is no number`},
		{"port 0", "cucm:0", "", "1 to 65535"},
		{"port too large", "cucm:65536", "", "1 to 65535"},
		{"blank", "cu cm:443", "", `' '`},
		{"control character", "cucm\x07:443", "", `'\a'`},
		{"path", "https://cucm:443", "", "no HOST:PORT"},
		{"slash", "a/b:443", "", `'/'`},
		{"not UTF-8", "a\xff:443", "", "the host has the character"},
		{"bad U-label", "\u05d0a:443", "", "international"},
		{"nothing in other letters", "\u200b:443", "", "the host is missing"},
		{"server name", "cucm:443", "a b", "the name to send"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := probe.Handshake(t.Context(), probe.Target{Address: tc.address, ServerName: tc.serverName})
			if e := problem(t, err); e.Code() != probe.CodeBadAddress || !strings.Contains(e.Error(), tc.want) {
				t.Errorf("got %s: %v", e.Code(), e)
			}
		})
	}
	if _, err := probe.Handshake(t.Context(), probe.Target{Address: "a:1", ConnectTo: "b"}); problem(t, err).Code() != probe.CodeBadAddress {
		t.Errorf("ConnectTo: got %v", err)
	}
}
