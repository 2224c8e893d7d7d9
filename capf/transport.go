package capf

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
)

// Transport says how the phones of one listener are spoken to. Its zero value serves nobody: set TLS or Plain.
type Transport struct {
	// TLS is the TLS configuration; it needs a certificate. Required unless Plain, and not allowed with it. A copy is
	// used, with what phones need: no dynamic record sizes, no client certificate, no session tickets, and TLS 1.2 as the
	// lowest version unless MinVersion is set.
	TLS *tls.Config
	// Plain serves without TLS, for a listener behind a TLS terminator on the same machine.
	Plain bool
	// OldPhones lets phones in that know nothing later than TLS 1.0 and RSA key exchange, as the 7900 series does, besides
	// all others: MinVersion and CipherSuites of TLS are replaced. Such phones need an RSA key in the certificate. What they
	// say can be read and changed by whoever can break TLS 1.0 and, once the server's key is known, also afterwards.
	OldPhones bool
}

// oldPhoneSuites are the cipher suites up to TLS 1.2 of a listener for old phones. The last two are those that 7900
// phones offer.
var oldPhoneSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	tls.TLS_RSA_WITH_AES_256_CBC_SHA, tls.TLS_RSA_WITH_AES_128_CBC_SHA,
}

// config returns the configuration for sessions, nil for a plain listener.
func (t Transport) config() (*tls.Config, error) {
	switch {
	case t.Plain && (t.TLS != nil || t.OldPhones):
		return nil, errors.New("capf: a Transport is either Plain or has TLS")
	case t.Plain:
		return nil, nil //nolint:nilnil // no TLS is a valid configuration
	case t.TLS == nil:
		return nil, errors.New("capf: Transport.TLS is nil and Transport.Plain is not set")
	}
	config := t.forPhones(t.TLS)
	inner := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		note(hello)
		if inner == nil {
			return nil, nil //nolint:nilnil // as the callback's contract has it
		}
		chosen, err := inner(hello)
		if chosen == nil || err != nil {
			return chosen, err
		}
		return t.forPhones(chosen), nil
	}
	return config, nil
}

// forPhones returns a copy of c with what phones need, see Transport.TLS. Record sizes matter most: clients that take
// one read for one message fail on messages that come in pieces.
func (t Transport) forPhones(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.DynamicRecordSizingDisabled = true
	c.ClientAuth = tls.NoClientCert
	c.SessionTicketsDisabled = true // a phone calls once; a ticket would be one more record before our first message
	c.NextProtos = nil
	switch {
	case t.OldPhones:
		c.MinVersion, c.CipherSuites = tls.VersionTLS10, oldPhoneSuites
	case c.MinVersion == 0:
		c.MinVersion = tls.VersionTLS12
	}
	return c
}

// announce logs what is unusual about a listener.
func (t Transport) announce(ctx context.Context, log *slog.Logger, l net.Listener) {
	if !t.OldPhones {
		return
	}
	log.LogAttrs(ctx, slog.LevelWarn, "listener lets phones with TLS 1.0 in", slog.String("event", "capf.old_phones"),
		slog.String("address", l.Addr().String()))
	for _, c := range t.TLS.Certificates {
		if signer, ok := c.PrivateKey.(crypto.Signer); ok {
			if _, ok := signer.Public().(*rsa.PublicKey); !ok {
				log.LogAttrs(ctx, slog.LevelWarn, "phones with TLS 1.0 need a certificate with an RSA key, and this one has another",
					slog.String("event", "capf.old_phones_key"), slog.String("address", l.Addr().String()))
			}
		}
	}
}

// helloKey is the key of a *greeting in the context of a handshake.
type helloKey struct{}

// greeting is what a client offers, for the log of a handshake that failed.
type greeting struct {
	newest  uint16 // highest TLS version; 0 before the client has said anything
	oldKeys bool   // it knows no cipher suite of TLS 1.2 but those with RSA key exchange, which only OldPhones allows
}

// note keeps what the log may need of a ClientHello.
func note(hello *tls.ClientHelloInfo) {
	g, ok := hello.Context().Value(helloKey{}).(*greeting)
	if !ok {
		return
	}
	for _, v := range hello.SupportedVersions {
		if v <= tls.VersionTLS13 { // values above are no versions but grease
			g.newest = max(g.newest, v)
		}
	}
	g.oldKeys = g.newest <= tls.VersionTLS12 && !slices.ContainsFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool {
		return slices.Contains(s.SupportedVersions, tls.VersionTLS12) && slices.Contains(hello.CipherSuites, s.ID)
	})
}

// wholeWrites is a TLS connection each Write of which is one write of the connection below, whatever records it makes:
// with TLS 1.0 and a CBC cipher crypto/tls sends the first byte in a record of its own, and old phones take what one
// read brings for the message.
type wholeWrites struct {
	*tls.Conn
	below *held
}

// Write implements net.Conn.
func (w *wholeWrites) Write(b []byte) (int, error) {
	w.below.hold()
	n, err := w.Conn.Write(b)
	return n, errors.Join(err, w.below.release())
}

// held is a connection that can hold back what is written to it.
type held struct {
	net.Conn
	mu      sync.Mutex
	holding bool
	buf     []byte
}

// Write implements net.Conn.
func (h *held) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.holding {
		return h.Conn.Write(b)
	}
	h.buf = append(h.buf, b...)
	return len(b), nil
}

func (h *held) hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holding = true
}

// release sends what was held back in one write.
func (h *held) release() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.buf
	h.holding, h.buf = false, nil
	if len(b) == 0 {
		return nil
	}
	_, err := h.Conn.Write(b)
	return err
}
