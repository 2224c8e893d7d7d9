package demo

import (
	"context"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"callsign/internal/ca/local"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/enterprise"
	"callsign/internal/setup"
)

// enterpriseDir is where the simulated enterprise keeps its things, below the demo's directory.
const enterpriseDir = "adcs"

// joinEnterprise makes the configuration of an online CA that reaches e: CAPF through the RA by EST over TLS, the RA
// through web enrollment. The certificates of the RA come from the CA directly.
func joinEnterprise(ctx context.Context, c *config.Config, e *enterprise.Enterprise) error {
	dir, issuing := c.Dir, e.Issuing()
	path := func(name string) string { return filepath.Join(dir, name) }
	leaf := func(name string, o local.LeafOptions) error {
		o.Subject = pkix.Name{CommonName: "Callsign " + name, Organization: []string{"Callsign Demo"}}
		l, err := e.NewLeaf(ctx, o)
		if err != nil {
			return fmt.Errorf("make the certificate %s: %w", name, err)
		}
		return errors.Join(certfile.WriteCertificates(path(name+".pem"), l.Certificate, issuing.Certificate), certfile.WriteKey(path(name+".key"), l.Signer))
	}
	err := errors.Join(
		certfile.WriteFile(path("ca.pem"), certfile.EncodeCertificates(issuing.Full()...), 0o644),
		certfile.WriteFile(path("adcs-password.txt"), []byte(e.Password().Reveal()+"\n"), 0o600),
		leaf("est", local.LeafOptions{Purpose: local.TLSServer, Names: []string{"127.0.0.1", "localhost"}}),
		leaf("capf-ra", local.LeafOptions{Purpose: local.Voucher}),
		leaf("responder", local.LeafOptions{Purpose: local.Responder}),
		leaf("agent", local.LeafOptions{Purpose: local.EnrollmentAgent}),
	)
	if err != nil {
		return err
	}
	// The enterprise's CA has issued all of these; the anchor that a deployment without one makes is not needed.
	if err := errors.Join(os.Remove(path("ra-ca.pem")), os.Remove(path("ra-ca.key"))); err != nil {
		return fmt.Errorf("remove the anchor that is not needed: %w", err)
	}
	c.EST.LabCAFile = path("ca.pem")
	c.CAPF.RACAFile, c.CAPF.RAResponderCAFile = path("ca.pem"), path("ca.pem")
	c.CAPF.RACertificateFile, c.CAPF.RAKeyFile = path("capf-ra.pem"), path("capf-ra.key")
	c.ADCS.URL, c.ADCS.Template, c.ADCS.Username = e.URL, e.Templates[0], e.Account
	c.ADCS.PasswordFile, c.ADCS.CAFile = path("adcs-password.txt"), path("ca.pem")
	c.ADCS.AgentCertificateFile, c.ADCS.AgentKeyFile = path("agent.pem"), path("agent.key")
	c.RA.Authority, c.RA.CompatSequence = config.AuthorityADCS, true
	voucher, err := certfile.LoadCertificates(c.CAPF.RACertificateFile)
	if err != nil {
		return err
	}
	// By fingerprint: this CA issues for everybody, and a subject could be another's as well.
	fingerprint := sha256.Sum256(voucher[0].Raw)
	c.RA.VoucherCAFile, c.RA.Vouchers = path("ca.pem"), []string{hex.EncodeToString(fingerprint[:])}
	c.RA.ResponderCertificateFile, c.RA.ResponderKeyFile = path("responder.pem"), path("responder.key")
	return nil
}

// mended is how soon a demo notices that the CA has become better.
const mended = 2 * time.Second

// deployment makes the directory that the services start from.
func (w *world) deployment(ctx context.Context) (*config.Config, error) {
	d, err := setup.New(ctx, setup.Options{Dir: w.dir, Issuer: w.o.Issuer, Host: "127.0.0.1", AnyPort: true, Key: local.P256})
	if err != nil {
		return nil, err
	}
	c := &d.Config
	if err := os.MkdirAll(filepath.Join(w.dir, "logs"), 0o750); err != nil {
		return nil, fmt.Errorf("make the log directory: %w", err)
	}
	if w.o.Issuer == config.IssuerOnlineCA {
		admin := ""
		if w.o.Behaviour.Enterprise.Mendable() {
			admin = "127.0.0.1:0" // what the CA does wrong its manager can mend
		}
		w.enterprise, err = enterprise.Start(ctx, enterprise.Options{
			Admin: admin,
			Dir:   filepath.Join(w.dir, enterpriseDir), LogDir: c.Trace.Dir, Behaviour: w.o.Behaviour.Enterprise, Log: slog.New(w.o.Handler),
		})
		if err != nil {
			return nil, err
		}
		if err := joinEnterprise(ctx, c, w.enterprise); err != nil {
			return nil, err
		}
		if err := w.o.Behaviour.misconfigure(c); err != nil {
			return nil, err
		}
		if w.o.Behaviour.Enterprise.Mendable() {
			// Who approves a request, or mends the CA, wants to see it at once and not in the hour that suits a real one.
			c.RA.PendingRetryAfter, c.RA.UnavailableRetry = mended, mended
		}
	}
	// The ports are taken now and written down, so that callsign.toml serves again as it is.
	var lc net.ListenConfig
	if w.capf, err = lc.Listen(ctx, "tcp", c.CAPF.Listen); err != nil {
		return nil, fmt.Errorf("listen for CAPF: %w", err)
	}
	if w.est, err = lc.Listen(ctx, "tcp", c.EST.Listen); err != nil {
		return nil, fmt.Errorf("listen for EST: %w", err)
	}
	c.CAPF.Listen, c.EST.Listen = w.capf.Addr().String(), w.est.Addr().String()
	if w.o.Issuer == config.IssuerOnlineCA {
		c.CAPF.RAURL = "https://" + c.EST.Listen + "/.well-known/est"
	}
	if err := certfile.WriteFile(c.Path, []byte(config.Render(*c)), 0o644); err != nil {
		return nil, err
	}
	// Read back what a user would start with: the demo runs on its own configuration file.
	return config.Load(c.Path)
}
