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

// announceIssuer tells the trace who signs, as the original does at its start.
func (a *App) announceIssuer(ctx context.Context) {
	c := a.config
	if c.CAPF.Issuer == config.IssuerLocal {
		a.log.InfoContext(ctx, "CAPF signs itself", slog.String("event", "capf.issuer"), slog.String("method", "CAPF:1"))
		return
	}
	if c.CAPF.Issuer == config.IssuerOffline {
		a.log.InfoContext(ctx, "an offline CA signs: see callsign capf csr list", slog.String("event", "capf.issuer"), slog.String("method", "OfflineCA"))
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
	a.log.InfoContext(ctx, "an online CA signs", slog.String("event", "capf.issuer"), slog.String("method", "OnlineCA:4"))
	a.log.InfoContext(ctx, "online CA", slog.String("event", "capf.online_ca"), slog.String("host", host), slog.String("port", port), slog.String("template", c.ADCS.Template))
	if a.ra != nil {
		a.log.InfoContext(ctx, "registration authority runs in this process", slog.String("event", "capf.ra_started"))
	}
}

// chain asks for the certificates of the CA that signs: the RA in this process when there is one, because it keeps them,
// else the authority.
func (a *App) chain(ctx context.Context) ([]*x509.Certificate, error) {
	switch {
	case a.issuers.upstream != nil:
		return a.issuers.upstream.Chain(ctx)
	case a.ra != nil:
		return a.ra.CACerts(ctx, "")
	case a.issuers.adcs != nil:
		return a.issuers.adcs.Chain(ctx)
	case a.issuers.offline != nil:
		return a.issuers.offline.Chain(ctx)
	default:
		return a.issuers.local.Chain(ctx)
	}
}

// learnChain asks for the CA's chain until it is known and writes it down for clients and scripts.
func (a *App) learnChain(ctx context.Context) error {
	var certs []*x509.Certificate
	told := ""
	for wait := firstAsk; ; wait = min(2*wait, longestAsk) {
		var err error
		if certs, err = a.chain(ctx); err == nil && len(certs) > 0 {
			break
		}
		if err == nil && a.issuers.offline != nil { // nobody has named it, and nobody will while the process runs
			close(a.known)
			return nil
		}
		if fault, ok := errors.AsType[*chain.Error](err); ok && a.issuers.upstream != nil && fault.Error() != told {
			told = fault.Error()
			a.notTrusted(ctx, err, fault)
		}
		// Apart from that the authority has logged why; this is no other failure.
		a.log.DebugContext(ctx, "the CA's chain is not known yet", slog.Any("err", err))
		select {
		case <-ctx.Done():
			return nil // the way to stop
		case <-time.After(wait):
		}
	}
	path := filepath.Join(a.Dir(), CAFile)
	if err := certfile.WriteFile(path, certfile.EncodeCertificates(certs...), 0o644); err != nil {
		return fmt.Errorf("write the CA's chain: %w", err)
	}
	if a.config.ServesCAPF() && a.config.CAPF.Issuer == config.IssuerOnlineCA {
		p7, err := cmc.CertsOnly(certs...)
		if err != nil {
			return fmt.Errorf("encode the CA's chain: %w", err)
		}
		a.log.InfoContext(ctx, "CA certificates read", slog.String("event", "capf.est_setup"), slog.Int("cacert_length", base64.StdEncoding.EncodedLen(len(p7))))
		a.log.InfoContext(ctx, "ready to enrol", slog.String("event", "capf.est_ready"))
	}
	close(a.known)
	return nil
}

// notTrusted tells that the certificate of the RA is refused, which until then nobody would see before a phone calls.
func (a *App) notTrusted(ctx context.Context, err error, fault *chain.Error) {
	a.log.LogAttrs(ctx, slog.LevelWarn, "certificate of the registration authority refused", append([]slog.Attr{
		slog.String("url", a.config.CAPF.RAURL), slog.String("code", explain.Code(err)), slog.String("err", fault.Error()), slog.String("remedy", fault.Remedy()),
	}, fault.LogAttrs()...)...)
}

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
