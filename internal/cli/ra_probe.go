package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/certsrv"
	"callsign/internal/app"
	"callsign/internal/ca/adcs"
	"callsign/internal/config"
	"callsign/internal/explain"
)

func (e *env) raProbe() *cobra.Command {
	within := 5 * time.Minute
	var o app.ProbeOptions
	var yes bool
	cmd := &cobra.Command{
		Use: "probe", Short: "Find out in which shape the CA takes requests", Args: noArgs,
		Long: `Ask the CA of section [adcs] for a certificate of a throw-away key once in each shape that a request can have, and print
what it says to each and the settings to write. Which shapes a CA takes for keys that cannot sign, as phones have them, depends on
the CA and the template; the server never tries another one by itself.

The CA keeps what it issues here: the commands to revoke it are printed, since web enrollment cannot revoke.`,
		Example: `  callsign ra probe --dry-run
  callsign ra probe --template CallsignPhone --yes
  callsign ra probe --requester 'EXAMPLE\SEP001122334455$'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.adcsConfig()
			if err != nil {
				return err
			}
			if o.Requester != "" && !strings.Contains(o.Requester, `\`) {
				return usage(fmt.Errorf(`--requester %q: write the account as DOMAIN\NAME$ or DOMAIN\user`, o.Requester))
			}
			if !o.DryRun {
				if err := e.confirm(yes, fmt.Sprintf("Ask %s for up to %d certificates that nobody uses?", c.ADCS.URL, len(adcs.Shapes()))); err != nil {
					return err
				}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), within)
			defer cancel()
			if !e.json {
				o.Begin = func(s adcs.Shape) { e.hint("asking: %s\n", s.Meaning()) }
			}
			trials, template, err := app.Probe(ctx, c, o)
			if o.DryRun && err == nil {
				return e.showPlan(trials, template)
			}
			if err != nil && len(trials) == 0 {
				return err
			}
			shown := e.showProbe(c, trials, template, o.Requester)
			if err != nil {
				return err // what ended it counts, and not that nothing was taken
			}
			return shown
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Template, "template", "", "ask for this template `name` (default: adcs.template)")
	f.StringVar(&o.Requester, "requester", "", "`account` for requests on behalf: DOMAIN\\NAME$ or DOMAIN\\user")
	f.BoolVar(&yes, "yes", false, "do not ask before certificates are requested")
	f.BoolVar(&o.DryRun, "dry-run", false, "say what would be tried, and ask for nothing")
	f.DurationVar(&within, "timeout", within, "give up after this `time`")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitFindings, exitUnreachable)
}

// probeItem is a trial in JSON.
type probeItem struct {
	Shape     string `json:"shape"`
	Meaning   string `json:"meaning"`
	Result    string `json:"result"` // issued, pending, denied, error, failed (no answer) or skipped
	RequestID string `json:"ca_request,omitempty"`
	HResult   string `json:"hresult,omitempty"`
	Name      string `json:"name,omitempty"` // of the HRESULT
	Detail    string `json:"detail,omitempty"`
	Code      string `json:"code,omitempty"`
	Remedy    string `json:"remedy,omitempty"`
	Serial    string `json:"serial,omitempty"`
	Subject   string `json:"subject,omitempty"`
}

func newProbeItem(t *adcs.Trial) probeItem {
	i := probeItem{Shape: t.Shape.String(), Meaning: t.Shape.Meaning(), RequestID: t.RequestID, Serial: t.Serial(), Subject: t.Subject}
	switch {
	case t.Skipped != "":
		i.Result, i.Detail = "skipped", t.Skipped
	case t.Err != nil:
		i.Result, i.Code, i.Detail = "failed", explain.Code(t.Err), t.Err.Error()
		if fix, ok := errors.AsType[interface {
			Remedy() string
			error
		}](t.Err); ok {
			i.Remedy = fix.Remedy()
		}
	default:
		i.Result = t.Outcome.String()
		if t.Outcome == certsrv.Denied || t.Outcome == certsrv.Failed {
			i.Detail, i.Remedy, i.Code = t.Status.Meaning, t.Status.Remedy, certsrv.CodeDenied
		}
		if t.Status.HResult != 0 {
			i.HResult, i.Name = t.Status.HResult.String(), t.Status.Name
		}
	}
	return i
}

// showPlan prints what would be tried.
func (e *env) showPlan(trials []adcs.Trial, template string) error {
	items := make([]probeItem, 0, len(trials))
	rows := make([][]string, 0, len(trials))
	for i := range trials {
		item := newProbeItem(&trials[i])
		if item.Detail == "" {
			item.Result = "would be tried"
		}
		items = append(items, item)
		rows = append(rows, []string{item.Shape, or(item.Detail, item.Result), item.Meaning})
	}
	if e.json {
		return e.printJSON(map[string]any{"items": items, "total": len(items), "template": template})
	}
	return table(e.out, []string{"SHAPE", "RESULT", "IS"}, rows)
}

// showProbe prints what the CA said, what to revoke, and what to write.
func (e *env) showProbe(c *config.Config, trials []adcs.Trial, template, requester string) error {
	settings := adcs.Settings(trials, requester)
	items := make([]probeItem, 0, len(trials))
	rows := make([][]string, 0, len(trials))
	var serials, pending []string
	for i := range trials {
		item := newProbeItem(&trials[i])
		items = append(items, item)
		said := or(item.Name, "-")
		rows = append(rows, []string{item.Shape, item.Result, or(item.RequestID, "-"), said, visible(or(item.Detail, item.Meaning))})
		if item.Serial != "" {
			serials = append(serials, item.Serial)
		}
		if item.Result == certsrv.Pending.String() {
			pending = append(pending, item.RequestID)
		}
	}
	_, bare := adcs.Best(trials, true)
	if e.json {
		if err := e.printJSON(map[string]any{"items": items, "total": len(items), "template": template, "settings": settings}); err != nil {
			return err
		}
	} else if err := table(e.out, []string{"SHAPE", "RESULT", "REQUEST", "CODE", "DETAIL"}, rows); err != nil {
		return err
	}
	for _, i := range items {
		if i.Remedy != "" {
			e.hint("%s: %s\n", i.Shape, i.Remedy)
		}
	}
	e.probeEnd(c, serials, pending, settings, bare)
	if len(settings) == 0 {
		return &exitError{code: exitFindings}
	}
	return nil
}

// probeEnd says what is left to do.
func (e *env) probeEnd(c *config.Config, serials, pending []string, settings []adcs.Setting, bare bool) {
	if len(pending) > 0 {
		e.hint("deny what waits for the CA's manager (Certification Authority console, Pending Requests): request %s\n", strings.Join(pending, ", "))
	}
	for _, s := range serials {
		e.hint("revoke on the CA: certutil -revoke %s\n", s)
	}
	if c.ADCS.AgentCertificateFile == "" {
		e.hint("no enrollment agent: get a certificate of the template Enrollment Agent and name it in adcs.agent_certificate_file and adcs.agent_key_file to try the other shapes\n")
	}
	if !bare {
		e.hint("the CA takes no key that cannot sign, which is what phones have: give CAPF a subordinate CA (callsign capf ca csr) and set capf.issuer = \"local\"\n")
	}
	for _, s := range settings {
		e.hint("write into section [adcs]: %s = %q\n", strings.TrimPrefix(s.Key, "adcs."), s.Value)
	}
}
