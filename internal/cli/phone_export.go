package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"callsign/internal/app"
	"callsign/internal/certfile"
	"callsign/internal/fleet"
)

// exportPage is how many phones are read at a time.
const exportPage = 1000

// phoneFilter are the flags that pick phones for an export.
type phoneFilter struct {
	text, operation, status, lsc, issuedBy string
}

func (p *phoneFilter) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.text, "text", "", "only phones with this `text` in name, model or description")
	f.StringVar(&p.operation, "operation", "", "only phones for which this `operation` is due: install, delete, troubleshoot or none")
	f.StringVar(&p.status, "status", "", "only phones whose last operation has this `status`, e.g. pending or upgrade_failed")
	f.StringVar(&p.lsc, "lsc", "", "only phones with an LSC on record (`present`) or without one (none)")
	f.StringVar(&p.issuedBy, "issued-by", "", "only phones with an LSC of this `issuer`: file, beginning of the id, or part of the name")
	complete(cmd, "operation", words(fleet.Operations())...)
	complete(cmd, "status", words(fleet.Statuses())...)
	complete(cmd, "lsc", string(fleet.LSCPresent), string(fleet.LSCMissing))
}

// words are the values of a type of words.
func words[T ~string](values []T) []string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = string(v)
	}
	return list
}

// wrongWord is usage with what the word of a flag may be.
func wrongWord(flag string, err error) error {
	if p, ok := errors.AsType[*fleet.Problem](err); ok {
		return usage(fmt.Errorf("--%s: %w: %s", flag, err, p.Fix))
	}
	return usage(fmt.Errorf("--%s: %w", flag, err))
}

// query makes what the store is asked.
func (p *phoneFilter) query(ctx context.Context, e *env, s *app.Records) (fleet.Query, error) {
	q := fleet.Query{Text: p.text, LSC: fleet.LSCState(p.lsc)}
	var err error
	if p.operation != "" {
		if q.Operation, err = fleet.ParseOperation(p.operation); err != nil {
			return q, wrongWord("operation", err)
		}
	}
	if p.status != "" {
		if q.Status, err = fleet.ParseStatus(p.status); err != nil {
			return q, wrongWord("status", err)
		}
	}
	if err := oneOf("lsc", p.lsc, string(fleet.LSCPresent), string(fleet.LSCMissing)); err != nil {
		return q, err
	}
	if p.issuedBy == "" {
		return q, nil
	}
	issuers, err := s.Phones.Issuers(ctx)
	if err != nil {
		return q, err
	}
	items := make([]issuerItem, len(issuers))
	for i, one := range issuers {
		items[i] = issuerItem{ID: one.ID, Subject: one.Subject}
	}
	item, err := e.pickIssuer(items, p.issuedBy)
	q.IssuerID = item.ID
	return q, err
}

func (e *env) phoneExport() *cobra.Command {
	var (
		filter             phoneFilter
		output             string
		force, withStrings bool
	)
	cmd := &cobra.Command{
		Use: "export [flags]", Short: "Write phones as a CSV file that phone import reads", Args: noArgs,
		Long: `Write phones as a CSV file with the columns of: callsign phone import --help
To import it again changes nothing. Authentication strings are left out unless --with-strings is given; then the file can be
read by its owner only.`,
		Example: `  callsign phone export --output phones.csv
  callsign phone export --status upgrade_failed
  callsign phone export --with-strings --output secret.csv`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			toFile := output != "-"
			switch {
			case withStrings && !toFile && isTerminal(e.out):
				return usage(errors.New("--with-strings shows authentication strings, and stdout is a terminal: name a file with --output"))
			case e.json && !toFile:
				return usage(errors.New("--json and a CSV file on stdout exclude each other: name a file with --output, or use: callsign phone list --json"))
			}
			if err := mayWrite(output, force); err != nil {
				return err
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				q, err := filter.query(ctx, e, s)
				if err != nil {
					return err
				}
				var file bytes.Buffer
				n, err := e.exportPhones(ctx, s, q, &file, withStrings)
				if err != nil {
					return err
				}
				if !toFile {
					_, err := e.out.Write(file.Bytes())
					return err
				}
				mode := os.FileMode(0o644)
				if withStrings {
					mode = 0o600
				}
				if err := certfile.WriteFile(output, file.Bytes(), mode); err != nil {
					return err
				}
				if e.json {
					return e.printJSON(fileResult{File: output, Total: n})
				}
				e.hint("wrote %d phone%s to %s\n", n, plural(n), output)
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&output, "output", "o", "-", "write to this `file`; - is stdout")
	f.BoolVar(&force, "force", false, "replace a file that is there")
	f.BoolVar(&withStrings, "with-strings", false, "with the authentication strings, readable for whoever reads the file")
	filter.register(cmd)
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

// fileResult is what a command that writes a file of phones says in JSON.
type fileResult struct {
	File  string `json:"file"`
	Total int    `json:"total"`
}

// mayWrite refuses to write over a file, and to begin what could not be written in the end.
func mayWrite(path string, force bool) error {
	if path == "-" {
		return nil
	}
	switch info, err := os.Lstat(path); {
	case err == nil && info.IsDir():
		return usage(fmt.Errorf("--output %s is a directory: name a file in it", path))
	case err == nil && !force:
		return usage(fmt.Errorf("%s is there already: name another file, or replace it with --force", path))
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".callsign-*") // the only way to know
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		return usage(fmt.Errorf("--output %s cannot be written, and nothing was done: %w", path, err))
	}
	return nil
}

// exportPhones writes the phones that q picks and returns how many they are.
func (e *env) exportPhones(ctx context.Context, s *app.Records, q fleet.Query, to io.Writer, withStrings bool) (int, error) {
	w := fleet.NewSheetWriter(to, withStrings)
	q.Limit = exportPage
	var shown *progress
	for n := 0; ; {
		devices, total, err := s.Phones.Devices(ctx, q)
		if err != nil {
			return n, err
		}
		if shown == nil {
			shown = e.newProgress("Exporting", total)
		}
		for i := range devices {
			w.Write(&devices[i])
		}
		n += len(devices)
		if len(devices) < exportPage {
			return n, w.Flush()
		}
		if !e.quiet {
			shown.show(n, 0)
		}
		q.After = devices[len(devices)-1].Name
	}
}
