package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/app"
	"callsign/internal/config"
)

func (e *env) caCommand() *cobra.Command {
	return group("ca", "The CA behind web enrollment of AD CS", e.caCheck())
}

func (e *env) caCheck() *cobra.Command {
	within := checkWithin
	var o app.CAOptions
	var yes bool
	cmd := &cobra.Command{
		Use: "check", Short: "Go the whole way to the CA, a line for each step", Args: noArgs,
		Long: `Go the whole way to the CA of section [adcs] as the server goes it, a line for each step: DNS, connection, TLS, clock,
what the web server offers for the login, login, templates, the CA's certificates and CRLs, the enrollment agent, and from where
lost answers are looked for. What fails is told with its cause and what to do. It changes nothing, also while the server runs.

With --enroll it also asks for a certificate, with a key that is thrown away, in the shape in which requests of this
configuration go to the CA. The CA keeps what it issues: the command to revoke it is printed. All shapes: callsign ra probe`,
		Example: `  callsign ca check --config lab/callsign.toml
  callsign ca check --enroll --template WebServer --yes
  callsign ca check --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if within <= 0 {
				return usage(fmt.Errorf("--timeout %s: use a positive duration such as 30s", within))
			}
			c, err := e.adcsConfig()
			if err != nil {
				return err
			}
			if o.Enroll && !o.DryRun {
				if err := e.confirm(cmd.Context(), yes, fmt.Sprintf("Ask %s as %s for a certificate of template %s that nobody uses?", c.ADCS.URL, c.ADCS.Username, cmp.Or(o.Template, c.ADCS.Template, "(none)"))); err != nil {
					return err
				}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), within)
			defer cancel()
			o.Step = e.printStep
			steps := app.CheckCA(ctx, c, o)
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			if err := e.checked(steps); err != nil {
				return err
			}
			if app.RequestPending(steps) {
				return &exitError{code: exitPending}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.Enroll, "enroll", false, "ask for a certificate, too")
	f.StringVar(&o.Template, "template", "", "look for this template `name` (default: those of the configuration)")
	f.BoolVar(&yes, "yes", false, "do not ask before a certificate is requested")
	f.BoolVar(&o.DryRun, "dry-run", false, "with --enroll: say what would be asked for, and ask for nothing")
	f.DurationVar(&within, "timeout", 2*time.Minute, "give up after this `time`")
	return exits(cmd, exitOK, exitUsage, exitFindings, exitPending)
}

// adcsConfig loads a configuration that has a CA at AD CS.
func (e *env) adcsConfig() (*config.Config, error) {
	c, err := config.Load(e.config)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	if c.ADCS.URL == "" {
		return nil, usage(errors.New("the configuration " + e.config + " has no CA at AD CS: set adcs.url and what it needs, see docs/ad-cs.md"))
	}
	return c, nil
}
