package app

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"callsign/chain"
	"callsign/cmc"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/explain"
)

// CAFile is the name of the file, beside the database, with the certificates of the issuing CA: what verifies the
// certificates that are handed out.
const CAFile = "ca.pem"

// How often an unknown chain is asked for.
const (
	firstAsk   = 50 * time.Millisecond
	longestAsk = 30 * time.Second
)

// chainAgain is how often a known chain is asked for again: CAs are renewed.
const chainAgain = 24 * time.Hour

// announceIssuer tells the trace who signs, as the original does at its start.
func (g *generation) announceIssuer(ctx context.Context) {
	c := g.config
	if c.CAPF.Issuer == config.IssuerLocal {
		g.log.InfoContext(ctx, "CAPF signs itself", slog.String("event", "capf.issuer"), slog.String("method", "CAPF:1"))
		return
	}
	if c.CAPF.Issuer == config.IssuerOffline {
		g.log.InfoContext(ctx, "an offline CA signs: see callsign capf csr list", slog.String("event", "capf.issuer"), slog.String("method", "OfflineCA"))
		return
	}
	raw := c.ADCS.URL
	if raw == "" {
		raw = c.CAPF.RAURL // the CA stands behind an RA elsewhere
	}
	host, port := raw, "443"
	if u, err := url.Parse(raw); err == nil {
		host = u.Hostname()
		if u.Port() != "" {
			port = u.Port()
		}
	}
	g.log.InfoContext(ctx, "an online CA signs", slog.String("event", "capf.issuer"), slog.String("method", "OnlineCA:4"))
	g.log.InfoContext(ctx, "online CA", slog.String("event", "capf.online_ca"), slog.String("host", host), slog.String("port", port), slog.String("template", c.ADCS.Template))
	if g.ra != nil {
		g.log.InfoContext(ctx, "registration authority runs in this process", slog.String("event", "capf.ra_started"))
	}
}

// chain asks for the certificates of the CA that signs: the RA in this process when there is one, because it keeps them,
// else the authority.
func (g *generation) chain(ctx context.Context) ([]*x509.Certificate, error) {
	switch {
	case g.issuers.upstream != nil:
		return g.issuers.upstream.Chain(ctx)
	case g.ra != nil:
		return g.ra.CACerts(ctx, "")
	case g.issuers.adcs != nil:
		return g.issuers.adcs.Chain(ctx)
	case g.issuers.offline != nil:
		return g.issuers.offline.Chain(ctx)
	default:
		return g.issuers.local.Chain(ctx)
	}
}

// learnChain asks for the CA's chain until it is known and writes it down for clients and scripts.
func (g *generation) learnChain(ctx context.Context) error {
	var certs []*x509.Certificate
	told := ""
	for wait := firstAsk; ; wait = min(2*wait, longestAsk) {
		var err error
		if certs, err = g.chain(ctx); err == nil && len(certs) > 0 {
			break
		}
		if err == nil && g.issuers.offline != nil { // nobody has named it, and nobody will while the process runs
			g.app.chainKnown()
			return nil
		}
		if fault, ok := errors.AsType[*chain.Error](err); ok && g.issuers.upstream != nil && fault.Error() != told {
			told = fault.Error()
			g.notTrusted(ctx, err, fault)
		}
		// Apart from that the authority has logged why; this is no other failure.
		g.log.DebugContext(ctx, "the CA's chain is not known yet", slog.Any("err", err))
		select {
		case <-ctx.Done():
			return nil // the way to stop
		case <-time.After(wait):
		}
	}
	if err := g.writeChain(certs); err != nil {
		return err
	}
	if g.config.ServesCAPF() && g.config.CAPF.Issuer == config.IssuerOnlineCA {
		p7, err := cmc.CertsOnly(certs...)
		if err != nil {
			return fmt.Errorf("encode the CA's chain: %w", err)
		}
		g.log.InfoContext(ctx, "CA certificates read", slog.String("event", "capf.est_setup"), slog.Int("cacert_length", base64.StdEncoding.EncodedLen(len(p7))))
		g.log.InfoContext(ctx, "ready to enrol", slog.String("event", "capf.est_ready"))
	}
	g.app.chainKnown()
	return follow(ctx, chainAgain, certs, g.chain, func(certs []*x509.Certificate) error {
		g.log.InfoContext(ctx, "the certificates of the CA have changed", slog.String("event", "ca.renewed"), slog.String("issuer", certs[0].Subject.String()),
			slog.Time("not_before", certs[0].NotBefore), slog.Int("count", len(certs)))
		return g.writeChain(certs)
	})
}

func (g *generation) writeChain(certs []*x509.Certificate) error {
	path := filepath.Join(g.app.Dir(), CAFile)
	if err := certfile.WriteFile(path, certfile.EncodeCertificates(certs...), 0o644); err != nil {
		return fmt.Errorf("write the CA's chain: %w", err)
	}
	return nil
}

// follow asks again and again until ctx ends, and calls changed with every answer that is another than the one before. Who is
// asked logs failures; what was known stays.
func follow(ctx context.Context, every time.Duration, known []*x509.Certificate, ask func(context.Context) ([]*x509.Certificate, error),
	changed func([]*x509.Certificate) error,
) error {
	again := time.NewTicker(every)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil // the way to stop
		case <-again.C:
		}
		certs, err := ask(ctx)
		if err != nil || len(certs) == 0 || slices.EqualFunc(certs, known, (*x509.Certificate).Equal) {
			continue
		}
		known = certs
		if err := changed(certs); err != nil {
			return err
		}
	}
}

// notTrusted tells that the certificate of the RA is refused, which until then nobody would see before a phone calls.
func (g *generation) notTrusted(ctx context.Context, err error, fault *chain.Error) {
	g.log.LogAttrs(ctx, slog.LevelWarn, "certificate of the registration authority refused", append([]slog.Attr{
		slog.String("url", g.config.CAPF.RAURL), slog.String("code", explain.Code(err)), slog.String("err", fault.Error()), slog.String("remedy", fault.Remedy()),
	}, fault.LogAttrs()...)...)
}

// chainKnown tells WaitReady.
func (a *App) chainKnown() { a.knownOnce.Do(func() { close(a.known) }) }

// WaitReady returns when the CA's chain is known, so that the first phone can be served; with ctx's error when ctx ends
// before, or the error of a service that failed.
func (a *App) WaitReady(ctx context.Context) error {
	select {
	case <-a.known:
		return nil
	case err := <-a.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reachable is a listener's address (HOST:PORT) as a client on this machine dials it: a listener on all addresses is
// reached by loopback.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
