package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/cmc"
	"callsign/internal/app"
	"callsign/internal/ca"
	"callsign/internal/ca/offline"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

// manifestFile lists what was exported, beside the requests.
const manifestFile = "manifest.csv"

// exportFlags is the command line of csr export.
type exportFlags struct {
	out, format string
	force       bool
}

func (e *env) csrExport() *cobra.Command {
	var x exportFlags
	words := make([]string, 0, 3)
	for _, f := range offline.Forms() {
		words = append(words, string(f))
	}
	cmd := &cobra.Command{
		Use: "export [NAME...] --out DIR|FILE", Short: "Write phones' requests as files, for an offline CA to sign",
		ValidArgsFunction: e.phoneNames(0),
		Long: `Write the requests that wait for the offline CA as files, all of them or those of the named phones (or with the named
request numbers). Into a directory go one file for each request, named after the phone, and ` + manifestFile + ` with what is what; a FILE
gets all of them in one, and - is stdout. Exporting again gives the same files, and changes nothing.

A phone gives its public key without a signature, so the forms differ in what stands in for one:

  pkcs10  a PKCS#10 with the algorithm "no signature" (NAME.csr), for a CA whose operator can waive proof of possession
  cmc     a CMC request for AD CS (NAME.req) that the enrollment agent of section [adcs] signs:
            certreq -submit -config "HOST\CA" NAME.req NAME.crt
  spki    the public key (NAME.pub) and extensions for the certificate (NAME.cnf), for a CA that OpenSSL 3 runs:
            for k in *.pub; do n=${k%.pub}
              openssl x509 -new -force_pubkey $k -subj "/CN=$n" -CA ca.pem -CAkey ca.key -days 365 -extfile $n.cnf -out $n.crt
            done

What the CA has signed is brought back with: callsign capf csr import DIR`,
		Example: `  callsign capf csr export --out requests
  callsign capf csr export SEP001122334455 --out SEP001122334455.csr
  callsign capf csr export --format spki --out requests`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("format", x.format, words...); err != nil {
				return err
			}
			if x.out == "" {
				return usage(errors.New("say where to write with --out: a directory, a file, or - for stdout"))
			}
			if x.out == "-" && e.json {
				return usage(errors.New("--out - writes requests to stdout, where --json would stand: leave one of them out"))
			}
			c, err := e.loadConfig()
			if err != nil {
				return err
			}
			exporter, err := newExporter(c, offline.Form(x.format))
			if err != nil {
				return err
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				rows, _, err := s.Journal.Find(ctx, waiting)
				if err != nil {
					return err
				}
				return e.exportCSRs(c, x, exporter, rows, args)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&x.out, "out", "", "write into this `directory`, or all requests into this file; - for stdout")
	f.StringVar(&x.format, "format", string(offline.FormPKCS10), "`form` of the requests: pkcs10, cmc or spki")
	f.BoolVar(&x.force, "force", false, "replace files with other content")
	complete(cmd, "format", words...)
	return exits(cmd, exitOK, exitFailed, exitUsage, exitPartial)
}

// newExporter loads the enrollment agent when the form needs one.
func newExporter(c *config.Config, form offline.Form) (offline.Exporter, error) {
	x := offline.Exporter{Template: c.ADCS.Template}
	if form != offline.FormCMC || c.ADCS.AgentCertificateFile == "" {
		return x, nil
	}
	pair, err := certfile.LoadKeyPair(c.ADCS.AgentCertificateFile, c.ADCS.AgentKeyFile)
	if err != nil {
		return x, err
	}
	x.Agent, x.AgentChain = pair.Key, pair.Chain
	switch c.ADCS.Vouch {
	case config.VouchAgentOnly:
		x.Shape = cmc.AgentOnly
	case config.VouchOnBehalf:
		x.Account, err = cmc.ParseAccountPattern(c.ADCS.Requester, c.ADCS.RequesterNames)
	}
	return x, err
}

// exported is a file to write.
type exported struct {
	path string
	data []byte
}

func (e *env) exportCSRs(c *config.Config, x exportFlags, exporter offline.Exporter, all []enroll.Enrolment, names []string) error {
	rows, unknown := pickRequests(all, names)
	var failed []error
	for _, name := range unknown {
		failed = append(failed, &fleet.Problem{
			ErrCode: offline.CodeNoRequest, Detail: fmt.Sprintf("no request of %q waits for the offline CA", name),
			Fix: "look at what waits with: callsign capf csr list" + e.configFlag(),
		})
	}
	if len(rows) == 0 && len(failed) == 0 {
		if e.json {
			return e.printJSON(exportResult{Items: []csrItem{}})
		}
		e.hint("%s\n", e.noRequests(c))
		return nil
	}
	form := offline.Form(x.format)
	single := x.out == "-" || !isDirectory(x.out) && filepath.Ext(x.out) != "" && !strings.HasSuffix(x.out, string(filepath.Separator))
	items := make([]csrItem, 0, len(rows))
	var files []exported
	var joined []byte
	now := time.Now()
	shown := e.newProgress("Writing", len(rows))
	used := map[string]bool{}
	for i := range rows {
		r := &rows[i]
		shown.show(i, len(failed))
		data, err := exporter.Request(ca.Request{
			ID: r.ID, Owner: r.Owner, Label: r.Label, PublicKey: r.PublicKey, Subject: r.Subject, Extensions: r.Extensions, CSR: r.CSR, Vouch: r.Vouch,
		}, form, r.Created)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		item := newCSRItem(r, now)
		name := offline.FileName(item.Device)
		if used[strings.ToUpper(name)] { // a phone that made another key meanwhile
			name += "-" + item.Request
		}
		used[strings.ToUpper(name)] = true
		item.File = name + form.Suffix()
		if single {
			item.File = x.out
			joined = append(joined, data...)
		} else {
			files = append(files, exported{filepath.Join(x.out, item.File), data})
			if form == offline.FormSPKI {
				files = append(files, exported{filepath.Join(x.out, name+offline.ExtensionsSuffix), offline.Extensions(item.Device)})
			}
		}
		items = append(items, item)
	}
	listed := items
	if len(names) > 0 && !single { // what was exported before stays in the list
		listed = append(listed, listedBefore(x.out, items)...)
	}
	if err := e.writeExport(x, single, joined, files, listed); err != nil {
		return err
	}
	if e.json {
		if err := e.printJSON(exportResult{Items: items, Total: len(items)}); err != nil {
			return err
		}
	} else if len(items) > 0 {
		e.hint("wrote %d request%s to %s\nnext: have them signed, then: callsign capf csr import FILE...%s\n", len(items), plural(len(items)), x.out, e.configFlag())
	}
	err := errors.Join(failed...)
	if err != nil && len(items) > 0 {
		return &exitError{code: exitPartial, err: err}
	}
	return err
}

// exportResult is `csr export --json`.
type exportResult struct {
	Items []csrItem `json:"items"`
	Total int       `json:"total"`
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// writeExport writes the files, after it has looked that it destroys none.
func (e *env) writeExport(x exportFlags, single bool, joined []byte, files []exported, items []csrItem) error {
	switch {
	case len(items) == 0:
		return nil
	case x.out == "-":
		_, err := e.out.Write(joined)
		return err
	case single:
		files = []exported{{x.out, joined}}
	default:
		manifest, err := manifestOf(items)
		if err != nil {
			return err
		}
		files = append(files, exported{filepath.Join(x.out, manifestFile), manifest})
		if err := os.MkdirAll(x.out, 0o755); err != nil { //nolint:gosec // requests are public, and their signer is another person
			return fmt.Errorf("make the directory of requests: %w", err)
		}
	}
	files = slices.DeleteFunc(files, func(f exported) bool {
		old, err := os.ReadFile(f.path)
		return err == nil && bytes.Equal(old, f.data)
	})
	for _, f := range files {
		// A manifest of ours changes with every request that is new.
		if _, err := os.Lstat(f.path); err == nil && !x.force && (filepath.Base(f.path) != manifestFile || readManifest(f.path) == nil) {
			return usage(fmt.Errorf("%s exists with other content: nothing was written; choose another --out, or replace it with --force", f.path))
		}
	}
	for _, f := range files {
		if err := certfile.WriteFile(f.path, f.data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// listedBefore are the entries of a manifest for other files than those of items. One that is not ours is none.
func listedBefore(dir string, items []csrItem) (others []csrItem) {
	lines := readManifest(filepath.Join(dir, manifestFile))
	for _, l := range lines[min(1, len(lines)):] {
		if !slices.ContainsFunc(items, func(i csrItem) bool { return i.File == l[2] }) {
			others = append(others, csrItem{Device: l[0], Request: l[1], File: l[2], Subject: l[3], Key: l[4], Created: l[5]})
		}
	}
	return others
}

// readManifest returns the lines of a manifest, the header first; nil when the file is none of ours.
func readManifest(path string) [][]string {
	data, err := os.ReadFile(path) // #nosec G304 -- the directory is the administrator's word
	if err != nil {
		return nil
	}
	lines, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil || len(lines) == 0 || !slices.Equal(lines[0], manifestHeader) {
		return nil
	}
	return lines
}

// manifestHeader is the first line of the manifest.
var manifestHeader = []string{"device", "request", "file", "subject", "key", "created"}

// manifestOf is the table of what was exported.
func manifestOf(items []csrItem) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	lines := [][]string{manifestHeader}
	for _, i := range items {
		lines = append(lines, []string{i.Device, i.Request, i.File, i.Subject, i.Key, i.Created})
	}
	if err := w.WriteAll(lines); err != nil {
		return nil, fmt.Errorf("write the list of requests: %w", err)
	}
	return b.Bytes(), nil
}
