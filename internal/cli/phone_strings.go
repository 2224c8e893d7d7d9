package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"callsign/capf"
	"callsign/internal/app"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/fleet"
)

// stringFlags is the command line of phone strings.
type stringFlags struct {
	output, operation     string
	length                int
	generate, same, force bool
	dry                   bool
}

func (e *env) phoneStrings() *cobra.Command {
	var x stringFlags
	cmd := &cobra.Command{
		Use: "strings NAME... --output FILE [flags]", Short: "Generate authentication strings, or write those on record to a file",
		Args: atLeastOne("phone, e.g. SEP001122334455, or - for stdin"), ValidArgsFunction: e.phoneNames(0),
		Long: `Write the authentication strings of phones to a CSV file (name,auth_string) that its owner only can read; - writes to stdout.
- as a NAME reads names from stdin. With --generate new strings are made first, another one for each phone, and put on
record: each phone is to authenticate by its string then, and is unlocked. --operation sets what is due as well.`,
		Example: `  callsign phone strings SEP001122334455 --generate --operation install --output strings.csv
  callsign phone list --json | jq -r '.items[].name' | callsign phone strings - --generate --output strings.csv
  callsign phone strings SEP001122334455 --output -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := e.checkStrings(cmd, x); err != nil {
				return err
			}
			names, err := e.names(args)
			if err != nil {
				return err
			}
			c, err := e.loadConfig()
			if err != nil {
				return err
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				if x.generate {
					if err := e.generateStrings(ctx, c, s, names, x); err != nil {
						return err
					}
				}
				if x.dry {
					e.hint("dry run, nothing was changed; it would make the string%s of %d phone%s\n", plural(len(names)), len(names), plural(len(names)))
					return nil
				}
				return e.writeStrings(ctx, s, names, x)
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&x.output, "output", "o", "", "write to this `file`, mode 0600; - is stdout")
	f.BoolVar(&x.force, "force", false, "replace a file that is there")
	f.BoolVar(&x.generate, "generate", false, "make new strings")
	f.BoolVar(&x.dry, "dry-run", false, "tell whether strings would be made, and change and write nothing")
	f.IntVar(&x.length, "length", fleet.DefaultStringLength, "`digits` of a new string, 4 to 10")
	f.BoolVar(&x.same, "same", false, "one new string for all phones")
	f.StringVar(&x.operation, "operation", "", "set this certificate `operation` too: install, delete or troubleshoot")
	complete(cmd, "operation", "install", "delete", "troubleshoot")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitPartial)
}

func (e *env) checkStrings(cmd *cobra.Command, x stringFlags) error {
	switch {
	case x.output == "":
		return usage(errors.New("say where to write the strings with --output: a file, or - for stdout"))
	case x.output == "-" && e.json:
		return usage(errors.New("--output - writes strings to stdout, where --json would stand: leave one of them out"))
	}
	if !x.generate {
		for _, flag := range []string{"length", "same", "operation", "dry-run"} {
			if cmd.Flags().Changed(flag) {
				return usage(fmt.Errorf("--%s goes with --generate", flag))
			}
		}
	}
	if x.operation != "" {
		if _, err := fleet.ParseOperation(x.operation); err != nil {
			return wrongWord("operation", err)
		}
	}
	return mayWrite(x.output, x.force)
}

// generateStrings puts new strings on record: for all phones, or for none.
func (e *env) generateStrings(ctx context.Context, c *config.Config, s *app.Records, names []string, x stringFlags) error {
	g, err := fleet.NewStrings(x.length)
	if err != nil {
		return wrongWord("length", err)
	}
	var operation fleet.Operation
	if x.operation != "" {
		if operation, err = fleet.ParseOperation(x.operation); err != nil {
			return usage(err)
		}
	}
	now := time.Now()
	changes := make([]fleet.Change, len(names))
	var str capf.Secret
	for i, name := range names {
		if i == 0 || !x.same {
			if str, err = g.Next(); err != nil {
				return err
			}
		}
		own := bytes.Clone(str)
		changes[i] = fleet.Change{Name: name, Apply: func(d *fleet.Device, found bool) error {
			if !found {
				return e.unknownPhone(name)
			}
			d.Auth = fleet.AuthString
			d.SetString(own)
			if operation != "" {
				d.ScheduleWithin(operation, now, c.CAPF.Expires())
			}
			if err := d.Validate(); err != nil || !x.dry {
				return err
			}
			return errDryRun
		}}
	}
	errs, err := s.Phones.ApplyDevices(ctx, changes, false)
	if err != nil {
		return err
	}
	errs = slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, errDryRun) })
	return joinSome(errs)
}

// joinSome joins errors, as many as a person reads.
func joinSome(errs []error) error {
	const most = 10
	var some []error
	more := 0
	for _, err := range errs {
		switch {
		case err == nil:
		case len(some) < most:
			some = append(some, err)
		default:
			more++
		}
	}
	if more > 0 {
		some = append(some, fmt.Errorf("and %d phones more", more))
	}
	return errors.Join(some...)
}

// writeStrings writes the strings on record.
func (e *env) writeStrings(ctx context.Context, s *app.Records, names []string, x stringFlags) error {
	var file bytes.Buffer
	w := fleet.NewStringsWriter(&file)
	var failed []error
	n := 0
	for _, name := range names {
		d, err := s.Phones.Device(ctx, name)
		switch {
		case errors.Is(err, fleet.ErrNotFound):
			failed = append(failed, e.unknownPhone(name))
		case err != nil:
			return err
		case len(d.AuthString) == 0:
			failed = append(failed, &fleet.Problem{
				ErrCode: "fleet.no-string", Detail: name + " has no authentication string on record",
				Fix: "make one with: callsign phone strings " + shellQuote(name) + " --generate --output FILE" + e.configFlag(),
			})
		default:
			w.Write(&d)
			n++
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if n == 0 {
		return joinSome(failed)
	}
	if err := e.putStrings(file.Bytes(), n, x); err != nil {
		return err
	}
	if len(failed) > 0 {
		return &exitError{code: exitPartial, err: joinSome(failed)}
	}
	return nil
}

func (e *env) putStrings(data []byte, n int, x stringFlags) error {
	if x.output == "-" {
		_, err := e.out.Write(data)
		return err
	}
	if err := certfile.WriteFile(x.output, data, 0o600); err != nil {
		if x.generate {
			e.hint("the new strings are on record: repeat the command without --generate\n")
		}
		return err
	}
	if e.json {
		return e.printJSON(fileResult{File: x.output, Total: n})
	}
	e.hint("wrote the string%s of %d phone%s to %s\n", plural(n), n, plural(n), x.output)
	return nil
}
