package cli

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"callsign/est"
	"callsign/internal/certfile"
)

// estCACertificates is `est cacerts --json`.
type estCACertificates struct {
	URL          string             `json:"url"`
	Certificates []estCACertificate `json:"certificates"`
	Refused      []estCACertificate `json:"refused"`
	File         string             `json:"file,omitempty"`
}

type estCACertificate struct {
	Role      string `json:"role"` // anchor, new-anchor, intermediate or refused
	Subject   string `json:"subject"`
	Issuer    string `json:"issuer"`
	Serial    string `json:"serial"`
	NotBefore string `json:"not_before"`
	NotAfter  string `json:"not_after"`
	SHA256    string `json:"sha256"`
	Why       string `json:"why,omitempty"` // refused
	PEM       string `json:"pem"`

	cert *x509.Certificate
}

// Roles of CA certificates.
const (
	roleAnchor       = "anchor"
	roleNewAnchor    = "new-anchor"
	roleIntermediate = "intermediate"
	roleRefused      = "refused"
)

func (e *env) estCACerts() *cobra.Command {
	f := estFlags{env: e}
	var (
		fingerprint, out string
		force            bool
	)
	cmd := &cobra.Command{
		Use: "cacerts URL", Short: "Fetch a server's CA certificates, and say which of them may be trusted", Args: exactlyOne("URL of an EST server"),
		Long: `Fetch the CA certificates of an EST server (RFC 7030 section 4.1).

The first time, --fingerprint names the SHA-256 or SHA-512 of a CA certificate, which the CA's administrator tells you by telephone or on
paper, never the server: then nothing else has to be trusted. Without one --ca or --implicit says how the server is judged.

A new root is believed only when a trusted one has signed its key (NewWithOld); every other certificate has to lead to a trusted root.
What is not believed is said, is not written, and gives exit code 3. --out writes the rest, for --ca of the other commands.`,
		Example: `  callsign est cacerts https://ra.example.com:8084 --fingerprint 5f:2a:... --out est-ca.pem
  callsign est cacerts https://ra.example.com:8084 --ca est-ca.pem --out est-ca.pem --force
  callsign est cacerts https://ra.example.com:8084 --implicit --label phones --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.read(args); err != nil {
				return err
			}
			switch {
			case fingerprint != "" && (f.ca != "" || f.implicit):
				return usage(errors.New("--fingerprint is for a server that nothing else speaks for: leave --ca and --implicit out"))
			case fingerprint == "":
				if err := f.needTrust(cmd); err != nil {
					return err
				}
			}
			if err := mayCreate(out, force); err != nil {
				return err
			}
			change, err := f.fetchCAs(cmd.Context(), fingerprint)
			if err != nil {
				return err
			}
			return e.printCAs(&f, change, out)
		},
	}
	f.serverFlags(cmd)
	s := cmd.Flags()
	s.StringVar(&fingerprint, "fingerprint", "", "`SHA-256` or SHA-512 of a CA certificate of the server, in hexadecimal")
	s.StringVar(&out, "out", "", "write the certificates that may be trusted to this `file` (PEM)")
	s.BoolVar(&force, "force", false, "replace the file of --out")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitFindings, exitUnreachable, exitDenied)
}

// fetchCAs asks for the CA certificates and judges them.
func (f *estFlags) fetchCAs(ctx context.Context, fingerprint string) (*est.TrustChange, error) {
	what := "EST cacerts at " + f.url
	client, err := f.client(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if fingerprint != "" {
		return f.beginTrust(ctx, client, what, fingerprint)
	}
	received, err := client.CACerts(ctx)
	if err != nil {
		return nil, f.failed(ctx, what, err)
	}
	held := roots(f.anchors)
	if f.ca == "" {
		held = roots(received) // those of the system spoke for the server, and it speaks for its CA (RFC 7030 section 4.1.3)
	}
	change, err := est.TrustUpdate(held, received, time.Now())
	if err != nil {
		return nil, f.failed(ctx, what, err)
	}
	return change, nil
}

// roots are the self-signed certificates; all of them when none is.
func roots(certs []*x509.Certificate) []*x509.Certificate {
	var found []*x509.Certificate
	for _, c := range certs {
		if est.SelfSigned(c) {
			found = append(found, c)
		}
	}
	if found == nil {
		return certs
	}
	return found
}

// beginTrust is the bootstrap of RFC 7030 section 4.1.1: a person knows the fingerprint of one certificate, and the others follow
// from it.
func (f *estFlags) beginTrust(ctx context.Context, client *est.Client, what, fingerprint string) (*est.TrustChange, error) {
	received, err := client.Bootstrap(ctx)
	if err != nil {
		return nil, f.failed(ctx, what, err)
	}
	confirmed, err := est.ConfirmFingerprint(received, fingerprint)
	if err != nil {
		return nil, f.failed(ctx, what, err)
	}
	change, err := est.TrustUpdate([]*x509.Certificate{confirmed}, received, time.Now())
	if err != nil {
		return nil, f.failed(ctx, what, err)
	}
	// A new connection, judged by what is trusted now.
	known := *f
	known.ca, known.anchors = "fingerprint", append(change.Anchors, change.Intermediates...)
	again, err := known.client(ctx)
	if err != nil {
		return nil, err
	}
	defer again.Close()
	if _, err := again.CACerts(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		f.env.warn(fmt.Sprintf("the CA is confirmed, but the server's own certificate does not lead to it, so give the other commands another --ca: %v", err))
	}
	return change, nil
}

// printCAs says what may be trusted, and writes it.
func (e *env) printCAs(f *estFlags, change *est.TrustChange, out string) error {
	report := estCACertificates{URL: f.url, Certificates: []estCACertificate{}, Refused: []estCACertificate{}, File: out}
	for i, c := range change.Anchors {
		role := roleAnchor
		if i >= len(change.Anchors)-len(change.New) {
			role = roleNewAnchor
		}
		report.Certificates = append(report.Certificates, describeCA(c, role))
	}
	for _, c := range change.Intermediates {
		report.Certificates = append(report.Certificates, describeCA(c, roleIntermediate))
	}
	for _, r := range change.Refused {
		item := describeCA(r.Certificate, roleRefused)
		item.Why = or(fmt.Sprint(r.Err), r.Detail)
		report.Refused = append(report.Refused, item)
	}
	if out != "" {
		var certs []*x509.Certificate
		for _, c := range report.Certificates {
			certs = append(certs, c.cert)
		}
		if err := certfile.WriteCertificates(out, certs...); err != nil {
			return err
		}
	}
	if e.json {
		if err := e.printJSON(report); err != nil {
			return err
		}
	} else {
		report.text(e, e.out)
	}
	if len(report.Refused) > 0 {
		return &exitError{code: exitFindings}
	}
	return nil
}

func describeCA(c *x509.Certificate, role string) estCACertificate {
	sum := sha256.Sum256(c.Raw)
	return estCACertificate{
		Role: role, Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: hex.EncodeToString(c.SerialNumber.Bytes()),
		NotBefore: utc(c.NotBefore), NotAfter: utc(c.NotAfter), SHA256: hex.EncodeToString(sum[:]),
		PEM: string(certfile.EncodeCertificates(c)), cert: c,
	}
}

func (r *estCACertificates) text(e *env, w io.Writer) {
	words := map[string]string{
		roleAnchor: "trusted root", roleNewAnchor: "new root, joined with a trusted one", roleIntermediate: "leads to a trusted root", roleRefused: "NOT BELIEVED",
	}
	for _, list := range [][]estCACertificate{r.Certificates, r.Refused} {
		for _, c := range list {
			fmt.Fprintf(w, "%s\n  %s\n  issuer    %s\n  valid     until %s (%s)\n  SHA-256   %s\n",
				visible(c.Subject), words[c.Role], visible(c.Issuer), c.cert.NotAfter.Local().Format("2006-01-02 15:04 MST"), in(c.cert.NotAfter, time.Now()), c.SHA256)
			if c.Why != "" {
				fmt.Fprintf(w, "  because   %s\n", visible(c.Why))
			}
		}
	}
	switch {
	case r.File != "":
		e.hint("wrote %s; use it: callsign est enroll %s --ca %s --subject CN=NAME --out NAME\n", r.File, shellQuote(r.URL), shellQuote(r.File))
	default:
		e.hint("nothing was written: --out FILE keeps them for --ca of the other commands\n")
	}
	if len(r.Refused) > 0 {
		e.warn("what is not believed has to be confirmed by the CA's administrator; then begin anew with --fingerprint (callsign explain est.trust-update)")
	}
}
