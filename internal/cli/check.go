package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/app"
	"callsign/internal/config"
)

// checkWithin bounds a check by default: peers have timeouts of their own, but several of them may be silent.
const checkWithin = 30 * time.Second

func (e *env) checkCommand() *cobra.Command {
	within := checkWithin
	cmd := &cobra.Command{
		Use: "check", Short: "Check configuration, files, certificates, listeners and peers", Args: noArgs,
		Long: `Check that the services of a configuration can do their work: the configuration, its files and who may read them,
keys and certificates, the database, the listeners, the local CA, and the peers: DNS, connection, clock, login, template
and CA certificates of AD CS, and the RA. It changes nothing, also while the server runs.`,
		Example: `  callsign check --config lab/callsign.toml
  callsign check --config lab/callsign.toml --json --timeout 10s`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if within <= 0 {
				return usage(fmt.Errorf("--timeout %s: use a positive duration such as 30s", within))
			}
			c, err := config.Load(e.config)
			var problems config.Errors
			if err != nil && !errors.As(err, &problems) {
				return &exitError{code: exitUsage, err: err}
			}
			var steps []app.Step
			if problems != nil {
				steps = app.InvalidConfiguration(e.config, problems)
				for _, s := range steps {
					e.printStep(s)
				}
			} else {
				ctx, cancel := context.WithTimeout(cmd.Context(), within)
				defer cancel()
				steps = app.Check(ctx, c, app.CheckOptions{Step: e.printStep})
			}
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			return e.checked(steps)
		},
	}
	cmd.Flags().DurationVar(&within, "timeout", checkWithin, "give up after this `time`")
	return exits(cmd, exitOK, exitUsage, exitFindings)
}

// printStep shows a step as soon as it is done.
func (e *env) printStep(s app.Step) {
	if e.json {
		return
	}
	word, color := strings.ToUpper(string(s.Status)), map[app.Status]string{
		app.StatusOK: "32", app.StatusWarn: "33", app.StatusFail: "31",
	}[s.Status]
	word += strings.Repeat(" ", max(6-len(word), 0))
	if color != "" && e.color(e.out) {
		word = "\x1b[" + color + "m" + word + "\x1b[0m"
	}
	if s.Status == app.StatusOK || s.Status == app.StatusSkip {
		fmt.Fprintf(e.out, "%s%-24s  %s  %s\n", word, s.Name, s.Object, oneLine(s.Detail))
		return
	}
	fmt.Fprintf(e.out, "%s%-24s  %s  (%s)\n", word, s.Name, s.Object, s.Code)
	fmt.Fprintf(e.out, "        cause: %s\n", oneLine(s.Detail))
	if s.Remedy != "" {
		fmt.Fprintf(e.out, "        fix:   %s\n", oneLine(e.toCopy(s.Remedy)))
	}
}

// oneLine keeps what a peer said from breaking the page, or the terminal.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7F && r < 0xA0 {
			return '?'
		}
		return r
	}, s)
}

// checked prints the end of a check and chooses the exit code.
func (e *env) checked(steps []app.Step) error {
	count := map[app.Status]int{}
	for _, s := range steps {
		count[s.Status]++
	}
	failed := count[app.StatusFail]
	if e.json {
		if err := e.printJSON(struct {
			Items  []app.Step `json:"items"`
			Total  int        `json:"total"`
			Failed int        `json:"failed"`
		}{steps, len(steps), failed}); err != nil {
			return err
		}
	} else {
		e.hint("%d check%s: %d ok, %d to look at, %d failed, %d skipped\n", len(steps), plural(len(steps)), count[app.StatusOK], count[app.StatusWarn], failed, count[app.StatusSkip])
	}
	if failed > 0 {
		return &exitError{code: exitFindings}
	}
	return nil
}
