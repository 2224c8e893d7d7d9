package est

import (
	"bytes"
	"context"
	"crypto/tls"
	"log"
	"log/slog"
	"net/http"
	"time"
)

// Timeouts of a server made by NewServer. A client that says nothing holds a connection for no longer than these.
const (
	readHeaderTimeout = 10 * time.Second // TLS handshake, and the header of a request
	readTimeout       = 20 * time.Second // header and body of a request
	writeTimeout      = 60 * time.Second // from the end of the header to the end of the answer, the CA's time included
	idleTimeout       = 60 * time.Second // between two requests of a connection
	maxHeaderBytes    = 16 << 10
	// maxStreams bounds the requests that one connection with HTTP/2 holds at the same time: each may keep a body in memory
	// before it is known who sends it. EST clients send one after the other.
	maxStreams = 16
)

// NewServer returns a server for handler (a *Handler, or one that leads to it) with the TLS settings and timeouts that
// EST clients need: TLS 1.2 or later, a client certificate requested but not demanded (the Backend judges it, so that a
// bad one gets an explained HTTP answer), no dynamic record sizes (strongSwan reads a body from one record), HTTP/1.1
// and HTTP/2. tc must hold the server's certificate and is not changed; its own GetConfigForClient keeps working.
// Start it with ServeTLS(LimitListener(listener, 0), "", ""). log may be nil.
func NewServer(handler http.Handler, tc *tls.Config, log *slog.Logger) *http.Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &http.Server{
		Handler:           handler,
		TLSConfig:         ServerTLS(tc),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog:          connectionLog(log),
	}
}

// ServerTLS returns tc with the TLS settings that NewServer describes, for a server made otherwise.
func ServerTLS(tc *tls.Config) *tls.Config {
	out := harden(tc)
	inner := tc.GetConfigForClient
	if inner == nil {
		return out
	}
	out.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		chosen, err := inner(hello)
		if chosen == nil || err != nil {
			return nil, err
		}
		chosen = harden(chosen)
		if len(chosen.NextProtos) == 0 {
			chosen.NextProtos = []string{"h2", "http/1.1"}
		}
		return chosen, nil
	}
	return out
}

// harden returns a copy of tc that serves EST clients.
func harden(tc *tls.Config) *tls.Config {
	tc = tc.Clone()
	tc.MinVersion = max(tc.MinVersion, tls.VersionTLS12) // RFC 8996 section 1.1 updates RFC 7030 by name
	tc.DynamicRecordSizingDisabled = true
	if tc.ClientAuth == tls.NoClientCert {
		tc.ClientAuth = tls.RequestClientCert
	}
	return tc
}

// connectionLog turns net/http's lines about connections into events.
func connectionLog(l *slog.Logger) *log.Logger {
	return log.New(connectionWriter{l}, "", 0)
}

type connectionWriter struct{ log *slog.Logger }

// Write implements io.Writer for one line.
func (w connectionWriter) Write(line []byte) (int, error) {
	level := slog.LevelInfo // scanners and impatient clients; nothing for anybody to do
	if bytes.HasPrefix(line, []byte("http: panic")) {
		level = slog.LevelError
	}
	w.log.LogAttrs(context.Background(), level, "EST connection failed", slog.String("event", "est.connection_failed"),
		slog.String("err", string(bytes.TrimSpace(line))))
	return len(line), nil
}
