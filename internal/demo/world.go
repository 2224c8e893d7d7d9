package demo

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"callsign/certsrv/certsrvtest"
	"callsign/internal/ca/local"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/setup"
)

// Names of the simulated enterprise.
const (
	template = "CiscoRA"
	account  = `CALLSIGN\ciscora`
)

// enterprise is the simulated AD CS: its CA and its web server.
type enterprise struct {
	issuing *local.Issuer
	server  *certsrvtest.Server
	url     string
	wg      sync.WaitGroup
}

// startEnterprise makes the CA and serves its web enrollment on a free port of loopback.
func startEnterprise(ctx context.Context, logDir, password string, log *slog.Logger) (*enterprise, error) {
	root, err := local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Demo Root CA", Organization: []string{"Callsign Demo"}}})
	if err != nil {
		return nil, fmt.Errorf("make the root CA: %w", err)
	}
	issuing, err := root.NewIssuing(ctx, local.CAOptions{Subject: pkix.Name{CommonName: "Demo Issuing CA", Organization: []string{"Callsign Demo"}}})
	if err != nil {
		return nil, fmt.Errorf("make the issuing CA: %w", err)
	}
	leaf, err := issuing.NewLeaf(ctx, local.LeafOptions{
		Purpose: local.TLSServer, Names: []string{"127.0.0.1", "localhost"}, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "adcs.callsign.example"}},
	})
	if err != nil {
		return nil, fmt.Errorf("make the web server's certificate: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the simulated AD CS: %w", err)
	}
	e := &enterprise{issuing: issuing, url: "https://" + l.Addr().String() + "/certsrv"}
	e.server, err = certsrvtest.New(certsrvtest.Config{
		CA: (*webCA)(issuing), NTLM: true, Users: []certsrvtest.User{{Name: account, Password: password}},
		Templates: []certsrvtest.Template{{Name: template, DisplayName: "Cisco RA"}},
		LogDir:    logDir, Log: log,
	})
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	pair := certfile.KeyPair{Chain: []*x509.Certificate{leaf.Certificate, issuing.Certificate}, Key: leaf.Signer}
	e.wg.Go(func() {
		_ = e.server.Serve(l, &tls.Config{Certificates: []tls.Certificate{pair.TLS()}, MinVersion: tls.VersionTLS12}) // ends with close
	})
	return e, nil
}

func (e *enterprise) close() error {
	err := e.server.Close()
	e.wg.Wait()
	return err
}

// webCA is the CA behind the simulated web pages.
type webCA local.Issuer

var (
	oidClientAuth     = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}
	oidServerAuth     = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}
	oidIPsecEndSystem = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 5}
)

// Issue implements certsrvtest.CA with the usages that the template for phones has.
func (w *webCA) Issue(ctx context.Context, r certsrvtest.Issuance) ([]byte, error) {
	return (*local.Issuer)(w).IssueRaw(ctx, r.PublicKey, r.RawSubject, r.Extensions, local.Options{
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		EKUs:     []asn1.ObjectIdentifier{oidClientAuth, oidServerAuth, oidIPsecEndSystem},
	})
}

// Certificates implements certsrvtest.CA: one CA certificate, never renewed.
func (w *webCA) Certificates() [][]*x509.Certificate {
	return [][]*x509.Certificate{(*local.Issuer)(w).Full()}
}

// joinEnterprise makes the configuration of an online CA that reaches e: CAPF through the RA by EST over TLS, the RA
// through web enrollment. The certificates of the RA come from the CA directly.
func joinEnterprise(ctx context.Context, c *config.Config, e *enterprise, password string) error {
	dir := c.Dir
	path := func(name string) string { return filepath.Join(dir, name) }
	leaf := func(name string, o local.LeafOptions) error {
		o.Subject = pkix.Name{CommonName: "Callsign " + name, Organization: []string{"Callsign Demo"}}
		l, err := e.issuing.NewLeaf(ctx, o)
		if err != nil {
			return fmt.Errorf("make the certificate %s: %w", name, err)
		}
		return errors.Join(certfile.WriteCertificates(path(name+".pem"), l.Certificate, e.issuing.Certificate), certfile.WriteKey(path(name+".key"), l.Signer))
	}
	err := errors.Join(
		certfile.WriteFile(path("ca.pem"), certfile.EncodeCertificates(e.issuing.Full()...), 0o644),
		certfile.WriteFile(path("adcs-password.txt"), []byte(password+"\n"), 0o600),
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
	c.ADCS.URL, c.ADCS.Template, c.ADCS.Username = e.url, template, account
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
		password := rand.Text()
		if w.enterprise, err = startEnterprise(ctx, c.Trace.Dir, password, slog.New(w.o.Handler)); err != nil {
			return nil, err
		}
		if err := joinEnterprise(ctx, c, w.enterprise, password); err != nil {
			return nil, err
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
