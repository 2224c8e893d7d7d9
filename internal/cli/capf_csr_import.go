package cli

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"callsign/internal/app"
	"callsign/internal/ca"
	"callsign/internal/ca/offline"
	"callsign/internal/certfile"
	"callsign/internal/enroll"
	"callsign/internal/explain"
	"callsign/internal/fleet"
)

// What became of a certificate.
const (
	importDone    = "imported"
	importWould   = "would import"
	importAlready = "already"
	importNone    = "no request"
	importRefused = "refused"
	importFault   = "unreadable"
)

// importItem is a certificate in the report of csr import.
type importItem struct {
	File     string   `json:"file"`
	Result   string   `json:"result"`
	Device   string   `json:"device,omitempty"`
	Request  string   `json:"request,omitempty"`
	Subject  string   `json:"subject,omitempty"`
	Serial   string   `json:"serial,omitempty"`
	NotAfter string   `json:"not_after,omitempty"`
	Code     string   `json:"code,omitempty"`
	Detail   string   `json:"detail,omitempty"`
	Remedy   string   `json:"remedy,omitempty"`
	Missing  []string `json:"missing_usages,omitempty"`
}

func (i *importItem) good() bool {
	return i.Result == importDone || i.Result == importAlready || i.Result == importWould
}

func (e *env) csrImport() *cobra.Command {
	var (
		cas    []string
		dryRun bool
	)
	cmd := &cobra.Command{
		Use: "import FILE|DIR|-...", Short: "Bring the certificates that the offline CA signed to the phones' requests",
		Args: atLeastOne("file or directory with certificates, or - for stdin"),
		Long: `Bring the certificates that the offline CA signed to the requests of the phones. A FILE may hold any number of them, as PEM,
DER or PKCS #7, and a DIR any number of files. A certificate belongs to the request with its key, whatever the file's name.

Each one is checked before it is believed: that it names the phone (CN=NAME, CN ending in -NAME, or the URI NAME), is within
its dates, is no CA, and chains to the CA of --ca, else of capf.offline_ca_file, else to a self-signed CA certificate among what is
imported. A certificate that lacks usages that phones need is imported with a warning.

The phones get them at their next call. A server that runs needs no restart.`,
		Example: `  callsign capf csr import signed/
  callsign capf csr import SEP001122334455.crt --ca offline-root.pem
  callsign capf csr import all.p7b --dry-run`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.loadConfig()
			if err != nil {
				return err
			}
			trusted := cas
			if len(trusted) == 0 && c.CAPF.OfflineCAFile != "" {
				trusted = []string{c.CAPF.OfflineCAFile}
			}
			var judge offline.Judge
			for _, path := range trusted {
				certs, err := certfile.LoadCertificates(path)
				if err != nil {
					return err
				}
				judge.CAs = append(judge.CAs, certs...)
			}
			found, items := e.readSigned(args)
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				i, err := newImporter(ctx, s, judge, found, dryRun)
				if err != nil {
					return err
				}
				shown := e.newProgress("Importing", len(found))
				for n, cert := range found {
					shown.show(n, i.failed)
					if item, ok := i.take(ctx, cert); ok {
						items = append(items, item)
					}
					if ctx.Err() != nil {
						break // what is imported is imported; the rest is taken up by the same command
					}
				}
				if err := e.printImport(items, dryRun, c.CAPF.OfflineCAFile == ""); err != nil || ctx.Err() != nil {
					return errors.Join(err, ctx.Err())
				}
				return importOutcome(items)
			})
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&cas, "ca", nil, "`file` with the certificates of the CA that signed; may be repeated (default: capf.offline_ca_file)")
	f.BoolVar(&dryRun, "dry-run", false, "only check, and say what would be imported")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitPartial)
}

// signedCert is a certificate to import.
type signedCert struct {
	file string
	cert *x509.Certificate
}

// readSigned reads all files. What cannot be read is reported and keeps nothing else from being imported.
func (e *env) readSigned(args []string) (found []signedCert, faults []importItem) {
	read := func(name string, inDirectory bool) {
		var contents *certfile.Contents
		var err error
		if name == "-" {
			contents, err = certfile.Read(e.in, "stdin", certfile.Options{CertificatesOnly: true})
		} else {
			contents, err = certfile.LoadWith(name, certfile.Options{CertificatesOnly: true})
		}
		certs := contents.Certificates()
		for _, c := range certs {
			found = append(found, signedCert{name, c})
		}
		if err == nil && len(certs) == 0 {
			err = &certfile.Error{Path: name, ErrCode: certfile.CodeEmpty, Detail: "no certificate is in it", Fix: "name the file with what the CA has signed"}
		}
		// A directory may hold the requests as well, and notes.
		if err != nil && (!inDirectory || explain.Code(err) != certfile.CodeEmpty) {
			faults = append(faults, newFault(name, importFault, err))
		}
	}
	for _, arg := range args {
		if arg == "-" || !isDirectory(arg) {
			read(arg, false)
			continue
		}
		entries, err := os.ReadDir(arg)
		if err != nil {
			faults = append(faults, newFault(arg, importFault, err))
		}
		for _, entry := range entries {
			path := filepath.Join(arg, entry.Name())
			// What is there and no file is passed over: a pipe would be waited for without end.
			if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() || slices.Contains(ourSuffixes, filepath.Ext(path)) {
				continue
			}
			read(path, true)
		}
	}
	return found, faults
}

// ourSuffixes are those of files that export writes into a directory.
var ourSuffixes = []string{
	offline.FormPKCS10.Suffix(), offline.FormCMC.Suffix(), offline.FormSPKI.Suffix(), offline.ExtensionsSuffix, filepath.Ext(manifestFile),
}

func newFault(file, result string, err error) importItem {
	i := importItem{File: file, Result: result, Code: explain.Code(err), Detail: strings.TrimPrefix(err.Error(), file+": ")}
	if missing, ok := errors.AsType[*certfile.Error](err); ok && missing.ErrCode == certfile.CodeMissing {
		i.Detail = missing.Detail // the operating system says the same
	}
	if coded, ok := errors.AsType[interface {
		Remedy() string
		error
	}](err); ok {
		i.Remedy = coded.Remedy()
	}
	return i
}

// importer brings certificates to requests.
type importer struct {
	engine *enroll.Engine
	judge  offline.Judge
	rows   map[[32]byte]enroll.Enrolment // by key: the one that waits, else the newest
	cas    []*x509.Certificate           // among what is imported
	dryRun bool
	failed int
}

func newImporter(ctx context.Context, s *app.Records, judge offline.Judge, found []signedCert, dryRun bool) (*importer, error) {
	i := &importer{engine: &enroll.Engine{Journal: s.Journal}, judge: judge, rows: map[[32]byte]enroll.Enrolment{}, dryRun: dryRun}
	rows, _, err := s.Journal.Find(ctx, enroll.Filter{Authority: offline.Name, OwnerPrefix: fleet.Owner("")})
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		hash, err := offline.KeyHash(r.PublicKey)
		if err != nil {
			continue // no certificate can have such a key
		}
		if old, ok := i.rows[hash]; !ok || r.State.Open() || !old.State.Open() {
			i.rows[hash] = r
		}
	}
	for _, f := range found {
		if f.cert.IsCA && f.cert.BasicConstraintsValid {
			i.cas = append(i.cas, f.cert)
		}
	}
	return i, nil
}

// take imports one certificate. ok is false for the CA certificates that came along.
func (i *importer) take(ctx context.Context, f signedCert) (item importItem, ok bool) {
	item = importItem{
		File: f.file, Subject: f.cert.Subject.String(), Serial: hex.EncodeToString(f.cert.SerialNumber.Bytes()), NotAfter: utc(f.cert.NotAfter),
	}
	hash, err := offline.KeyHash(f.cert.RawSubjectPublicKeyInfo)
	row, known := i.rows[hash]
	if err != nil || !known {
		if f.cert.IsCA {
			return item, false
		}
		i.refuse(&item, importNone, &ca.Error{
			ErrCode: offline.CodeNoRequest, Err: err, Detail: fmt.Sprintf("no request has the key of certificate %s, serial %s", item.Subject, item.Serial),
			Fix: "check that it was signed for a request of this server, and that the phone has not made another key since: callsign capf csr list",
		})
		return item, true
	}
	item.Device, item.Request = offline.Device(row.Owner), offline.RequestID(row.ID)
	switch {
	case row.State.Open():
	case bytes.Equal(row.Certificate, f.cert.Raw) && (row.State == enroll.Issued || row.State == enroll.Confirmed):
		item.Result = importAlready
		return item, true
	default:
		i.refuse(&item, importNone, answered(&row))
		return item, true
	}
	verdict, err := i.judge.Certificate(f.cert, i.cas, item.Device)
	if err != nil {
		i.refuse(&item, importRefused, err)
		return item, true
	}
	item.Missing = verdict.Lacks
	if i.dryRun {
		item.Result = importWould
		return item, true
	}
	settled, err := i.engine.Settle(ctx, row.ID, ca.Outcome{Status: ca.Issued, Certificate: f.cert.Raw, Chain: verdict.Chain, RequestID: item.Request, POP: ca.POPSession})
	switch {
	case errors.Is(err, enroll.ErrState):
		i.refuse(&item, importNone, answered(&settled))
	case err != nil:
		i.refuse(&item, importRefused, err)
	default:
		item.Result = importDone
		i.rows[hash] = settled
	}
	return item, true
}

func (i *importer) refuse(item *importItem, result string, err error) {
	fault := newFault(item.File, result, err)
	item.Result, item.Code, item.Detail, item.Remedy = result, fault.Code, fault.Detail, fault.Remedy
	i.failed++
}

// answered says why a request takes no certificate any more.
func answered(r *enroll.Enrolment) error {
	device := offline.Device(r.Owner)
	detail := fmt.Sprintf("request %s of %s waits no more: it is %s", offline.RequestID(r.ID), device, r.State)
	if len(r.Certificate) > 0 {
		detail += ", with the certificate " + r.Serial
	}
	return &ca.Error{
		ErrCode: offline.CodeNoRequest, Detail: detail,
		Fix: "revoke this certificate if it must not be used; to give the phone a new one: callsign phone set " + shellQuote(device) + " --operation install",
	}
}

func (e *env) printImport(items []importItem, dryRun, noCA bool) error {
	counts := map[string]int{}
	for _, i := range items {
		counts[i.Result]++
	}
	if e.json {
		return e.printJSON(struct {
			Items  []importItem   `json:"items"`
			Total  int            `json:"total"`
			Counts map[string]int `json:"counts"`
			DryRun bool           `json:"dry_run"`
		}{append([]importItem{}, items...), len(items), counts, dryRun})
	}
	if len(items) == 0 {
		fmt.Fprintln(e.out, "Nothing to import: there are only CA certificates.")
		return nil
	}
	lines := make([][]string, 0, len(items))
	for _, i := range items {
		lines = append(lines, []string{or(i.Device, "-"), i.Result, or(i.Serial, "-"), i.File})
	}
	if err := table(e.out, []string{"DEVICE", "RESULT", "SERIAL", "FILE"}, lines); err != nil {
		return err
	}
	for _, i := range items {
		switch {
		case i.Detail != "":
			fmt.Fprintf(e.err, "error: %s: %s (%s)\n", visible(i.File), oneLine(i.Detail), i.Code)
			if i.Remedy != "" {
				fmt.Fprintf(e.err, "  fix:   %s\n", e.toCopy(oneLine(i.Remedy)))
			}
		case len(i.Missing) > 0:
			e.hint("warning: the certificate of %s lacks %s: phones may not register with it; have it signed again with these usages\n", i.Device, strings.Join(i.Missing, ", "))
		}
	}
	if n := counts[importDone]; n > 0 {
		e.hint("imported %d certificate%s; the phones get them at their next call, which a reset brings about\n", n, plural(n))
		if noCA {
			e.hint("set capf.offline_ca_file to the CA's certificates, so that they are checked against it and phones can show what it signed\n")
		}
	}
	return nil
}

// importOutcome is the exit code: the report has said everything.
func importOutcome(items []importItem) error {
	good := 0
	for n := range items {
		if items[n].good() {
			good++
		}
	}
	switch {
	case good == len(items):
		return nil
	case good > 0:
		return &exitError{code: exitPartial}
	default:
		return &exitError{code: exitFailed}
	}
}
