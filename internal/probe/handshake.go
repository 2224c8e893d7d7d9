package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"time"
)

// ClientCertificate says whether the server wants a certificate of the client.
type ClientCertificate int

// What servers want of clients.
const (
	NotRequested ClientCertificate = iota
	Requested                      // asked for; the connection was accepted without, as far as TLS goes
	Demanded                       // asked for, and the connection was ended for want of one
)

// String returns the value as it stands in JSON: "not_requested", "requested", "demanded".
func (c ClientCertificate) String() string {
	switch c {
	case Requested:
		return "requested"
	case Demanded:
		return "demanded"
	default:
		return "not_requested"
	}
}

// Presented is what a server presents in one handshake.
//
// TLS 1.3 encrypts certificates, and crypto/tls shows none when it refuses one. The same address is then greeted a second
// time with TLS 1.2 at most, where they are sent in the clear, and everything here, Version and Duration too, is of that
// second handshake. If it shows nothing unreadable, Incomplete says what was wrong with TLS 1.3.
type Presented struct {
	Certificates [][]byte // DER as sent, in the order as sent; may be empty, and parts may not parse
	Version      uint16   // as crypto/tls numbers them: tls.VersionTLS12; 0 for one that it does not know
	CipherSuite  uint16   // tls.TLS_AES_128_GCM_SHA256, ...; 0 for one that it does not know
	ServerName   string   // the name that was sent (SNI); empty for none
	Remote       string   // address that was connected to, "192.0.2.10:8443"

	ClientCertificate ClientCertificate
	Alert             Alert // that the server sent, during the handshake or as its answer to the missing client certificate

	// Duration is the time for name resolution, connection and handshake.
	Duration time.Duration
	// Incomplete says why the handshake did not end well although certificates were presented; nil when it did.
	Incomplete *Error
}

// Handshake greets a server and records what it presents; nothing is verified. The error is an *Error, or that of ctx
// when it was canceled; there is none as soon as the server has presented certificates that can be seen.
func Handshake(ctx context.Context, t Target) (*Presented, error) {
	g, err := t.greeting()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	return g.greet(ctx, &t, tls.VersionTLS13)
}

// greet makes a handshake. version is the highest that is offered.
func (g *greeting) greet(ctx context.Context, t *Target, version uint16) (*Presented, error) {
	began := time.Now()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", g.connect)
	if err != nil {
		if canceled(ctx) {
			return nil, fmt.Errorf("%s: %w", t.Address, context.Cause(ctx))
		}
		return nil, dialError(t, g, err)
	}
	defer conn.Close()

	c := &connection{recorder: recorder{Conn: conn}, p: &Presented{ServerName: g.sni, Remote: conn.RemoteAddr().String()}}
	client := tls.Client(&c.recorder, c.config(version))
	err = client.HandshakeContext(ctx)
	c.p.Duration = time.Since(began)
	state := client.ConnectionState()
	c.p.Version, c.p.CipherSuite = state.Version, state.CipherSuite
	switch {
	case err == nil:
		c.farewell(client)
		if c.p.ClientCertificate == Demanded {
			c.p.Incomplete = handshakeError(t, g, c.p, nil, c.refusal)
		}
		return c.p, nil
	case canceled(ctx):
		return nil, fmt.Errorf("%s: %w", t.Address, context.Cause(ctx))
	case !c.presented && !c.fromTranscript():
		failure := handshakeError(t, g, c.p, c.received, err)
		if state.Version == tls.VersionTLS13 && refusesCertificate(err) {
			conn.Close() // for servers with one client at a time
			return g.greetAgain(ctx, t, c.p.Remote, failure)
		}
		return nil, failure
	}
	c.p.Alert = alertIn(err)
	if c.p.ClientCertificate == Requested && (c.p.Alert != 0 || closed(err)) {
		c.p.ClientCertificate = Demanded
	}
	c.p.Incomplete = handshakeError(t, g, c.p, c.received, err)
	for i, der := range c.p.Certificates {
		if _, err := x509.ParseCertificate(der); err != nil {
			c.p.Incomplete = unreadable(t, i, err)
			break
		}
	}
	return c.p, nil
}

// greetAgain makes the second handshake after one with TLS 1.3 has failed because of a certificate, with the very host
// that was reached: a name may stand for several.
func (g *greeting) greetAgain(ctx context.Context, t *Target, remote string, failure *Error) (*Presented, error) {
	again := *g
	again.connect = remote
	p, err := again.greet(ctx, t, tls.VersionTLS12)
	switch {
	case err != nil && canceled(ctx):
		return nil, err
	case err != nil:
		return nil, failure
	}
	if p.Incomplete == nil || p.Incomplete.ErrCode != CodeCertificateUnreadable {
		p.Incomplete = failure
	}
	return p, nil
}

// connection is one handshake while it goes on.
type connection struct {
	recorder

	p         *Presented
	presented bool  // crypto/tls has read the certificates
	refusal   error // what came after a handshake without a client certificate
}

// config offers everything that crypto/tls knows up to a version.
func (c *connection) config(version uint16) *tls.Config {
	suites := slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites())
	ids := make([]uint16, len(suites))
	for i, s := range suites {
		ids[i] = s.ID
	}
	return &tls.Config{
		ServerName:         c.p.ServerName,
		InsecureSkipVerify: true,             //nolint:gosec // looks at what is presented, and sends nothing
		MinVersion:         tls.VersionTLS10, // old servers are to be looked at as well
		MaxVersion:         version,
		CipherSuites:       ids,
		// Without the post-quantum key share, which makes the greeting too long for one packet: appliances that are
		// looked at here drop such greetings.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
		VerifyConnection: func(s tls.ConnectionState) error {
			c.presented = true
			for _, cert := range s.PeerCertificates {
				c.p.Certificates = append(c.p.Certificates, cert.Raw)
			}
			return nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c.p.ClientCertificate = Requested
			return &tls.Certificate{}, nil
		},
	}
}

// fromTranscript takes the certificates out of what was received in the clear: crypto/tls gives up on the first one that it
// does not take.
func (c *connection) fromTranscript() bool {
	if c.p.Version >= tls.VersionTLS13 {
		return false
	}
	var ok bool
	c.p.Certificates, ok = readTranscript(c.received)
	return ok
}

// farewell ends a connection in good form. In TLS 1.3 the handshake is over for the client before the server has seen that
// there is no client certificate, so what it says to that is waited for, but not for long.
func (c *connection) farewell(client *tls.Conn) {
	const patience = 2 * time.Second
	const most = 64 << 10 // of what servers say unasked
	if c.p.ClientCertificate != Requested || c.p.Version < tls.VersionTLS13 {
		client.Close()
		return
	}
	client.SetDeadline(time.Now().Add(patience))
	if err := client.CloseWrite(); err != nil {
		return
	}
	_, err := io.Copy(io.Discard, io.LimitReader(client, most))
	if a := alertIn(err); a != 0 {
		c.p.Alert, c.p.ClientCertificate, c.refusal = a, Demanded, err
	}
}

// canceled reports whether somebody has lost interest; a deadline of the caller's is a time limit like ours.
func canceled(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// closed reports whether the peer ended the connection without a word.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE)
}
