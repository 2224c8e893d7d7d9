package certsrvtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// connState is the login of one TCP connection. IIS authenticates the connection: later requests on it carry no header.
// The lock is for http.Servers that would serve two requests of a connection at once; HTTP/1.1 does not.
type connState struct {
	conn net.Conn // nil where nobody told

	mu     sync.Mutex
	cert   *x509.Certificate // what TLS showed the client; nil where nobody told
	user   string            // logged in by NTLM or Kerberos; empty: nobody
	ntlm   *ntlmHandshake    // begun; nil: none
	spnego *negotiation      // begun; nil: none
}

// reset forgets the login and whatever handshake has begun.
func (c *connState) reset() { c.user, c.ntlm, c.spnego = "", nil, nil }

// abort makes the end of the connection a reset.
func (c *connState) abort() {
	conn := c.conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn() // its own Close would say good-bye first
	}
	if l, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0)
	}
	if conn != nil {
		_ = conn.Close()
	}
}

type connKey struct{}

// ConnContext gives each connection its own login state. It is the ConnContext of an http.Server that runs s; without
// it NTLM logins fail as they do behind a load balancer that splits connections. Extended Protection needs to know which
// certificate a client was shown, so it needs [Server.Serve] or [Server.HTTPServer].
func (s *Server) ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, &connState{conn: c})
}

// connOf is the state of a request's connection; without ConnContext one that is forgotten with the request.
func connOf(r *http.Request) *connState {
	if c, ok := r.Context().Value(connKey{}).(*connState); ok {
		return c
	}
	return &connState{}
}

// HTTPServer returns an http.Server for s: HTTP/1.1 only, [Server.ConnContext] set, conf for its ServeTLS (nil: plain
// HTTP by Serve). [Server.Close] closes it too.
func (s *Server) HTTPServer(conf *tls.Config) *http.Server {
	srv := &http.Server{
		Handler:           s,
		ConnContext:       s.ConnContext,
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ReadHeaderTimeout: time.Minute,
		IdleTimeout:       2 * time.Minute, // as IIS
		MaxHeaderBytes:    64 << 10,        // IIS: 16 KiB by default, tens of KiB where Kerberos tokens are large
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	if conf != nil {
		w := &witness{states: map[net.Conn]*connState{}}
		srv.TLSConfig = w.watch(conf)
		srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
			ctx = s.ConnContext(ctx, c)
			w.add(c, ctx)
			return ctx
		}
		srv.ConnState = w.forget
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers = append(s.servers, srv)
	return srv
}

// witness notes which certificate each connection was shown: crypto/tls does not tell a server afterwards.
type witness struct {
	mu     sync.Mutex
	states map[net.Conn]*connState // by the connection below TLS
}

func below(c net.Conn) net.Conn {
	if t, ok := c.(*tls.Conn); ok {
		return t.NetConn()
	}
	return c
}

func (w *witness) add(c net.Conn, ctx context.Context) { //nolint:revive // the order of http.Server's callbacks
	state, _ := ctx.Value(connKey{}).(*connState)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.states[below(c)] = state
}

func (w *witness) forget(c net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.states, below(c))
}

func (w *witness) note(c net.Conn, shown *tls.Certificate) {
	w.mu.Lock()
	state := w.states[c]
	w.mu.Unlock()
	if state == nil || len(shown.Certificate) == 0 {
		return
	}
	leaf := shown.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(shown.Certificate[0]); err != nil {
			return // the handshake fails by itself
		}
	}
	state.mu.Lock()
	defer state.mu.Unlock()
	state.cert = leaf
}

// watch returns a copy of conf that speaks HTTP/1.1 and notes its choices of certificates.
func (w *witness) watch(conf *tls.Config) *tls.Config {
	watched := conf.Clone()
	watched.NextProtos = []string{"http/1.1"}
	// A resumed session of TLS 1.3 shows no certificate, and nobody could tell which one its logins are bound to.
	watched.SessionTicketsDisabled = true
	certs, choose := conf.Certificates, conf.GetCertificate
	watched.Certificates = nil // with any, GetCertificate is not asked for clients without SNI
	watched.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		chosen, err := chooseCertificate(hello, certs, choose)
		if err == nil && chosen != nil {
			w.note(hello.Conn, chosen)
		}
		return chosen, err
	}
	if other := conf.GetConfigForClient; other != nil {
		watched.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := other(hello)
			if c == nil || err != nil {
				return c, err
			}
			c = c.Clone()
			c.GetConfigForClient = nil
			return w.watch(c), nil
		}
	}
	return watched
}

// chooseCertificate does as crypto/tls does by itself.
func chooseCertificate(hello *tls.ClientHelloInfo, certs []tls.Certificate, choose func(*tls.ClientHelloInfo) (*tls.Certificate, error)) (*tls.Certificate, error) {
	if choose != nil && (len(certs) == 0 || hello.ServerName != "") {
		if c, err := choose(hello); c != nil || err != nil {
			return c, err
		}
	}
	for i := range certs {
		if hello.SupportsCertificate(&certs[i]) == nil {
			return &certs[i], nil
		}
	}
	if len(certs) > 0 {
		return &certs[0], nil
	}
	return nil, nil //nolint:nilnil // crypto/tls then says "no certificates configured"
}
