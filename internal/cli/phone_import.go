package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/app"
	"callsign/internal/fleet"
)

// problemsShown is how many problems of rows a person is shown.
const problemsShown = 20

func (e *env) phoneImport() *cobra.Command {
	var partial, dry bool
	cmd := &cobra.Command{
		Use: "import FILE.csv [flags]", Short: "Add and change phones as a CSV file says; - reads stdin", Args: exactlyOne("CSV file, or - for stdin"),
		Long: `Add and change phones as a CSV file says: a header line, then a line for each phone. The columns, any of them in any order:

  name            SEP001122334455, or the name of a soft phone; always needed
  model           number, e.g. 8865
  description     at most 128 characters
  authentication  null, string, lsc or mic
  auth_string     4 to 10 digits; without authentication it means string
  operation       install, delete, troubleshoot or none
  key_order       rsa, ec or ec_rsa
  rsa_bits        512, 1024, 2048, 3072 or 4096
  ec_bits         256, 384 or 521
  completes_by    2027-01-20T12:00:00+01:00, or none for no limit

The headings, words, numbers and times of the vendor's files are taken too, and their other columns are left out. Values are
separated by commas, semicolons or tabs; the file is UTF-8 and has at most 100,000 phones.

An empty cell, or a column that is not there, leaves the value of a phone as it is, and is the default on a new one. An
operation that is due already is left as it is; another auth_string unlocks a phone. A new operation is to complete within
capf.expires_days unless completes_by says otherwise.

Every bad row is reported with its line. Then nothing is imported, unless --partial is given: the good rows are imported.
A spreadsheet program drops zeros at the beginning of an auth_string unless its column is text. A single quote before =, +, -,
@ or another single quote at the beginning of model and description is taken away: an export writes it, so that no
spreadsheet program takes such a text for a formula.`,
		Example: `  callsign phone import phones.csv
  callsign phone import phones.csv --dry-run
  callsign phone import phones.csv --partial
  callsign phone export | sed s/,null,/,lsc,/ | callsign phone import -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := e.loadConfig()
			if err != nil {
				return err
			}
			sheet, err := e.readSheet(args[0])
			if err != nil {
				return err
			}
			began := time.Now()
			shown := e.newProgress("Importing", sheet.Rows)
			o := fleet.Import{
				Partial: partial, DryRun: dry, Now: began, Expires: c.CAPF.Expires(),
				Progress: func(done int) { shown.show(done, sheet.Bad) },
			}
			if e.quiet {
				o.Progress = nil
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				result, err := sheet.Import(ctx, s.Phones, o)
				if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
					e.hint("nothing was imported; the same command begins anew\n")
				}
				if err != nil {
					return err
				}
				return e.imported(args[0], sheet, result, o)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&partial, "partial", false, "import the good rows although others are bad")
	f.BoolVar(&dry, "dry-run", false, "tell what would be done, and do nothing")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitPartial, exitInterrupted)
}

// readSheet reads a file that the command line names; - is stdin.
func (e *env) readSheet(path string) (*fleet.Sheet, error) {
	in := e.in
	exposed := false
	if path != "-" {
		f, err := os.Open(path) //nolint:gosec // the administrator names the file
		if err != nil {
			return nil, usage(err)
		}
		defer f.Close() //nolint:errcheck // it was only read
		if info, err := f.Stat(); err == nil {
			exposed = info.Mode().IsRegular() && info.Mode().Perm()&0o044 != 0
		}
		in = f
	}
	sheet, err := fleet.ReadSheet(in, time.Local)
	if p, ok := errors.AsType[*fleet.Problem](err); ok {
		return nil, &exitError{code: exitUsage, err: &fleet.Problem{ErrCode: p.ErrCode, Detail: nameOf(path) + ": " + p.Detail, Fix: p.Fix}}
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", nameOf(path), err)
	}
	if exposed && sheet.HasStrings() {
		e.hint("warning: %s holds authentication strings and other users can read it; run: chmod 600 %s\n", path, shellQuote(path))
	}
	if len(sheet.Ignored) > 0 {
		e.hint("left out, as they say nothing about certificates: %s\n", strings.Join(sheet.Ignored, ", "))
	}
	return sheet, nil
}

func nameOf(path string) string {
	if path == "-" {
		return "stdin"
	}
	return path
}

// imported tells what became of an import, and chooses the exit code.
func (e *env) imported(path string, sheet *fleet.Sheet, r fleet.Imported, o fleet.Import) error {
	if e.json {
		if r.Problems == nil {
			r.Problems = []fleet.RowProblem{}
		}
		if err := e.printJSON(r); err != nil {
			return err
		}
	} else {
		showProblems(e.err, nameOf(path), r)
		prefix := ""
		if !r.Written {
			prefix = "nothing imported; it would be "
		}
		fmt.Fprintf(e.out, "%s, %d row%s: %s%d added, %d changed, %d unchanged, %d bad\n",
			nameOf(path), r.Rows, plural(r.Rows), prefix, r.Added, r.Changed, r.Unchanged, r.Bad)
	}
	if r.Bad == 0 {
		return nil
	}
	good := sheet.Rows - r.Bad
	p := &fleet.Problem{ErrCode: "fleet.csv-rows", Detail: fmt.Sprintf("%s: %d of %d rows are bad", nameOf(path), r.Bad, r.Rows)}
	switch {
	case o.Partial && good > 0:
		p.Detail += ", the others were imported"
		if o.DryRun {
			p.Detail = strings.Replace(p.Detail, "were imported", "would be imported", 1)
		}
		p.Fix = "correct them in the file and import it again; the phones that were imported will be unchanged"
		return &exitError{code: exitPartial, err: p}
	case good > 0:
		p.Detail += ", nothing was imported"
		p.Fix = "correct them and import the file again, or import the others with: callsign phone import " + shellQuote(path) + " --partial" + e.configFlag()
	default:
		p.Detail += ", nothing was imported"
		p.Fix = "correct them and import the file again"
	}
	return &exitError{code: exitUsage, err: p}
}

// showProblems writes a line for each problem, as far as a person reads.
func showProblems(w io.Writer, name string, r fleet.Imported) {
	for _, p := range r.Problems[:min(len(r.Problems), problemsShown)] {
		column := ""
		if p.Column != "" {
			column = p.Column + ": "
		}
		fmt.Fprintf(w, "%s:%d: %s%s (%s); %s\n", name, p.Line, column, p.Detail, p.Code, p.Remedy)
	}
	if more := len(r.Problems) - problemsShown; more > 0 {
		fmt.Fprintf(w, "and %d problems more; up to 1000 are in: callsign phone import FILE --dry-run --json\n", more)
	}
}
