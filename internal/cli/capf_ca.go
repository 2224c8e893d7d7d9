package cli

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/ca"
	localca "callsign/internal/ca/local"
	"callsign/internal/certfile"
	"callsign/internal/config"
)

func (e *env) capfCA() *cobra.Command {
	return group("ca", "The CA that CAPF signs with itself: make it a subordinate of the enterprise's", e.caCSR(), e.caInstall())
}

// caKinds are the keys that a CA may have whose certificates phones verify.
var caKinds = []string{string(localca.RSA2048), string(localca.RSA3072), string(localca.RSA4096), string(localca.P256), string(localca.P384)}

// caFiles are the files of section [ca].
func (e *env) caFiles(c *config.Config) (localca.Files, error) {
	if c.CA.CertificateFile == "" || c.CA.KeyFile == "" {
		return localca.Files{}, &exitError{code: exitUsage, err: &ca.Error{
			ErrCode: localca.CodeCARequest, Detail: "section [ca] names no certificate and no key, so there is no CA of CAPF's own",
			Fix: "set ca.certificate_file and ca.key_file in " + e.config + "; the files need not exist yet",
		}}
	}
	return localca.Files{Certificate: c.CA.CertificateFile, Key: c.CA.KeyFile, Chain: c.CA.ChainFile}, nil
}

// caRequest is `capf ca csr --json`.
type caRequest struct {
	Subject string `json:"subject"`
	Key     string `json:"key"`
	KeyFile string `json:"key_file"`
	NewKey  bool   `json:"new_key"` // made now; otherwise the key was there
	Request string `json:"request"` // PEM
	File    string `json:"file,omitempty"`
}

func (e *env) caCSR() *cobra.Command {
	var (
		out, subject, key string
		newKey, force     bool
	)
	cmd := &cobra.Command{
		Use: "csr", Short: "Make CAPF's own request for a subordinate CA certificate", Args: noArgs,
		Long: `Make the request (PKCS #10) for a subordinate CA certificate of CAPF: what the enterprise's CA signs is then installed with
callsign capf ca install, and phones' certificates verify up to the enterprise's root. Nothing else is needed at that CA: no
enrollment agent, no account, no web server.

A new key is made beside the present one (the file of ca.key_file with .next behind its name) and waits there for its certificate; the
running server goes on with the present one. A key that waits already is used again, unless --force makes another.

To have the request signed:
  AD CS    certreq -submit -attrib "CertificateTemplate:SubCA" capf-ca.csr, or the page /certsrv (Subordinate Certification
           Authority, Download certificate chain)
  OpenSSL  openssl x509 -req -in capf-ca.csr -copy_extensions copyall -CA root.pem -CAkey root.key -days 3650 -out capf-ca.crt`,
		Example: `  callsign capf ca csr --out capf-ca.csr
  callsign capf ca csr --subject "CN=Phones CA,O=Example,C=DE" --key rsa:2048 --out capf-ca.csr`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("key", key, caKinds...); err != nil {
				return err
			}
			if !newKey && (key != "" || force) {
				return usage(errors.New("--new-key=false asks for a certificate for the present key: --key and --force have no meaning then"))
			}
			o := localca.RequestOptions{Key: localca.KeyKind(key), SameKey: !newKey, Replace: force}
			if subject != "" {
				der, err := localca.ParseSubject(subject)
				if err != nil {
					return usage(fmt.Errorf("--subject: %w", err))
				}
				o.Subject = der
			}
			c, err := e.loadConfig()
			if err != nil {
				return err
			}
			files, err := e.caFiles(c)
			if err != nil {
				return err
			}
			if out != "" && !force {
				if _, err := os.Lstat(out); err == nil {
					return usage(fmt.Errorf("%s exists: nothing was made; choose another --out, or replace it and the key that waits with --force", out))
				}
			}
			r, err := files.Request(o)
			if err != nil {
				return err
			}
			return e.printCARequest(r, out)
		},
	}
	f := cmd.Flags()
	f.StringVar(&out, "out", "", "write the request to this `file` (default: stdout)")
	f.StringVar(&subject, "subject", "", "`name` of the CA, as \"CN=Phones CA,O=Example\" (default: that of the present CA)")
	f.StringVar(&key, "key", "", "`kind` of the new key: rsa:2048, rsa:3072, rsa:4096, ec:256 or ec:384 (default: as the present one, else rsa:2048)")
	f.BoolVar(&newKey, "new-key", true, "make a new key; with =false ask for a new certificate for the present one")
	f.BoolVar(&force, "force", false, "replace the request's file, and a key that waits for its certificate")
	complete(cmd, "key", caKinds...)
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

func (e *env) printCARequest(r *localca.Request, out string) error {
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: r.DER})
	if out != "" {
		if err := certfile.WriteFile(out, text, 0o644); err != nil {
			return err
		}
	}
	if e.json {
		return e.printJSON(caRequest{Subject: r.Subject, Key: string(r.Kind), KeyFile: r.KeyFile, NewKey: r.Made, Request: string(text), File: out})
	}
	if out == "" {
		if _, err := e.out.Write(text); err != nil {
			return err
		}
	}
	made := "is the one that was there"
	if r.Made {
		made = "is new"
	}
	e.hint("request for %s, key %s; the key %s: %s (keep it safe: mode 0600)\n", r.Subject, or(string(r.Kind), "of another kind"), made, r.KeyFile)
	if out != "" {
		e.hint("wrote %s\n", out)
	}
	e.hint("next: have it signed as a subordinate CA (AD CS: template SubCA), then: callsign capf ca install FILE%s\n", e.configFlag())
	return nil
}

// caInstallation is `capf ca install --json`.
type caInstallation struct {
	Subject   string            `json:"subject"`
	Issuer    string            `json:"issuer"`
	Serial    string            `json:"serial"`
	NotAfter  string            `json:"not_after"`
	NewKey    bool              `json:"new_key"`
	Chain     []string          `json:"chain"` // subjects above it, up to the root
	Former    string            `json:"former,omitempty"`
	FormerCA  string            `json:"former_file,omitempty"`
	Rollover  string            `json:"rollover_file,omitempty"` // what joins the former root with this one
	ShortDays int               `json:"short_by_days,omitempty"` // of capf.validity_days
	Installed bool              `json:"installed"`
	Kept      map[string]string `json:"kept,omitempty"` // file: where its former content is
}

func (e *env) caInstall() *cobra.Command {
	var (
		chainFiles  []string
		yes, dryRun bool
	)
	cmd := &cobra.Command{
		Use: "install FILE|-", Short: "Install the certificate that the enterprise's CA issued for CAPF's request", Args: exactlyOne("file with the certificate, or - for stdin"),
		Long: `Install the answer to the request of CAPF (callsign capf ca csr): a PEM, DER or PKCS #7 file with the certificate and, there or in --chain,
the CAs above it up to the root. It is checked before anything changes: it must be for the key that waits (or the present one), be a CA that may sign, be
within its dates, not be signed with SHA-1, and its chain must be complete and allow a CA below. A self-signed certificate is taken only when the
present CA is self-signed with the same name: then the certificates that join the two roots are made, and written to ` + localca.RolloverFile + `.

Key, certificate and chain then take the place of the present ones, which are kept beside them; the former CA goes into ` + localca.FormerFile + ` as
well, because what it issued stays in phones for a while.`,
		Example: `  callsign capf ca install certnew.p7b
  callsign capf ca install capf-ca.crt --chain enterprise-chain.pem
  callsign capf ca install certnew.p7b --dry-run`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.loadConfig()
			if err != nil {
				return err
			}
			files, err := e.caFiles(c)
			if err != nil {
				return err
			}
			offered, err := e.readOffered(args[0], chainFiles)
			if err != nil {
				return err
			}
			plan, err := files.Plan(offered, time.Now())
			if err != nil {
				return err
			}
			return e.installCA(cmd.Context(), c, plan, yes, dryRun)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&chainFiles, "chain", nil, "`file` with the CAs above it; may be repeated")
	f.BoolVar(&yes, "yes", false, "do not ask for a confirmation")
	f.BoolVar(&dryRun, "dry-run", false, "only check, and say what would be changed")
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

// readOffered reads the answer, and the CAs above it.
func (e *env) readOffered(file string, chainFiles []string) ([]*x509.Certificate, error) {
	var offered []*x509.Certificate
	if file == "-" {
		contents, err := certfile.Read(e.in, "stdin", certfile.Options{CertificatesOnly: true})
		if err != nil {
			return nil, err
		}
		offered = contents.Certificates()
	} else {
		chainFiles = append([]string{file}, chainFiles...)
	}
	for _, path := range chainFiles {
		certs, err := certfile.LoadCertificates(path)
		if err != nil {
			return nil, err
		}
		offered = append(offered, certs...)
	}
	return offered, nil
}

func (e *env) installCA(ctx context.Context, c *config.Config, plan *localca.Installation, yes, dryRun bool) error {
	now := time.Now()
	report := caInstallation{
		Subject: plan.Certificate.Subject.String(), Issuer: plan.Certificate.Issuer.String(), Serial: fmt.Sprintf("%x", plan.Certificate.SerialNumber),
		NotAfter: utc(plan.Certificate.NotAfter), NewKey: plan.NextKey, Chain: []string{}, ShortDays: plan.ShortFor(c.CAPF.ValidityDays, now),
	}
	for _, above := range plan.Above {
		report.Chain = append(report.Chain, above.Subject.String())
	}
	if plan.Former != nil {
		report.Former, report.FormerCA = plan.Former.Subject.String(), plan.FormerPath()
	}
	if len(plan.Rollover) > 0 {
		report.Rollover = plan.RolloverPath()
	}
	if !e.json {
		e.printPlan(c, plan, report)
	}
	if plan.InPlace {
		report.Installed, report.Kept = true, map[string]string{}
		if e.json {
			return e.printJSON(report)
		}
		fmt.Fprintln(e.out, "it is in place already; nothing was changed")
		return nil
	}
	if dryRun {
		if e.json {
			return e.printJSON(report)
		}
		fmt.Fprintln(e.out, "nothing was changed (--dry-run)")
		return nil
	}
	if err := e.confirm(ctx, yes, "install it?"); err != nil {
		return err
	}
	backups, err := plan.Apply(now)
	if err != nil {
		return fmt.Errorf("the CA is installed in part; make it complete by the same command once the cause is gone: %w", err)
	}
	report.Installed, report.Kept = true, map[string]string{}
	for _, b := range backups {
		report.Kept[b.File] = b.Kept
	}
	if e.json {
		return e.printJSON(report)
	}
	e.printInstalled(c, plan, backups)
	return nil
}

// printPlan says what will change.
func (e *env) printPlan(c *config.Config, plan *localca.Installation, report caInstallation) {
	w := e.out
	fmt.Fprintf(w, "new CA     %s, serial %s, until %s\n", visible(report.Subject), report.Serial, plan.Certificate.NotAfter.Local().Format("2006-01-02 15:04 MST"))
	if len(report.Chain) > 0 {
		fmt.Fprintf(w, "issued by  %s\n", visible(strings.Join(report.Chain, ", issued by ")))
	} else {
		fmt.Fprintln(w, "issued by  itself: a renewed root")
	}
	key := "the present key"
	if plan.NextKey {
		key = "the new key, " + plan.Files.NextKey()
	}
	fmt.Fprintf(w, "key        %s\n", key)
	if report.Former != "" {
		fmt.Fprintf(w, "replaces   %s\n", visible(report.Former))
	}
	if report.ShortDays > 0 {
		e.hint("warning: phones' certificates end with the CA, %d days before the %d of capf.validity_days\n", report.ShortDays, c.CAPF.ValidityDays)
	}
}

// printInstalled says what was done, what has to follow, and the way back.
func (e *env) printInstalled(c *config.Config, plan *localca.Installation, backups []localca.Backup) {
	w := e.out
	fmt.Fprintf(w, "installed  %s\n", plan.Files.Certificate)
	for _, b := range backups {
		fmt.Fprintf(w, "kept       %s\n", b.Kept)
	}
	steps := []string{"restart the server: one that runs goes on with the CA that it began with"}
	if c.CAPF.Issuer != config.IssuerLocal {
		steps = append(steps, `set capf.issuer = "local", so that this CA signs for phones`)
	}
	steps = append(steps, "give the new CA and those above it to whoever verifies phones: CAPF-trust and CallManager-trust of the call manager, the 802.1X server, the VPN gateway")
	if len(plan.Rollover) > 0 {
		steps = append(steps, fmt.Sprintf("add %q to ra.rollover_files: EST clients of the former root learn of this one by what is in it", plan.RolloverPath()))
	}
	if plan.Former != nil {
		steps = append(steps,
			"leave the former CA there as long as phones hold certificates of it: callsign capf impact"+e.configFlag(),
			fmt.Sprintf("phones go on authenticating with what it issued: it is remembered once it has issued here; for what it issued elsewhere add %q to capf.trust_files", plan.FormerPath()))
	}
	for n, step := range steps {
		fmt.Fprintf(w, "next %d     %s\n", n+1, step)
	}
	if len(backups) > 0 {
		back := make([]string, 0, len(backups))
		for _, b := range backups {
			back = append(back, fmt.Sprintf("cp -p %s %s", shellQuote(b.Kept), shellQuote(b.File)))
		}
		fmt.Fprintf(w, "back       %s, and restart\n", strings.Join(back, " && "))
	}
	if c.CA.ChainFile == "" {
		e.hint("the CAs above stand behind the certificate in %s, because ca.chain_file is not set\n", filepath.Base(plan.Files.Certificate))
	}
}
