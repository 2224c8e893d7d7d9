package cli

import (
	"cmp"
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
	var yes, dry bool
	cmd := &cobra.Command{
		Use: "probe", Short: "Find out in which shape the CA takes requests", Args: noArgs,
		Long: `Ask the CA of section [adcs] for a certificate of a throw-away key once in each shape that a request can have, and print
what it says to each, what to do about a refusal, and the settings to write. Which shapes a CA takes for keys that cannot sign, as
phones have them, depends on the CA and the template; the server never tries another one by itself.

The CA keeps what it issues here: the commands to revoke it are printed, since web enrollment cannot revoke. A request that waits
for the CA's manager is told with its number, and not waited for. Shapes on behalf of an account are tried with --requester only,
and shapes that an enrollment agent signs only with one (adcs.agent_certificate_file).`,
		Example: `  callsign ra probe --dry-run
  callsign ra probe --template CallsignPhone --yes
  callsign ra probe --requester 'EXAMPLE\SEP001122334455$'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if within <= 0 {
				return usage(fmt.Errorf("--timeout %s: use a positive duration such as 5m", within))
			}
			c, err := e.adcsConfig()
			if err != nil {
				return err
			}
			o.Template = cmp.Or(o.Template, c.ADCS.Template)
			if o.Template == "" {
				return usage(errors.New("which template: set adcs.template, or name one with --template"))
			}
			if domain, account, _ := strings.Cut(o.Requester, `\`); o.Requester != "" && (domain == "" || account == "") {
				return usage(fmt.Errorf(`--requester %q: write the account as DOMAIN\NAME$ or DOMAIN\user`, o.Requester))
			}
			plan, err := app.PlanProbe(c, o)
			if err != nil {
				return err
			}
			if dry {
				return e.showPlan(c, o, plan)
			}
			if err := e.confirm(cmd.Context(), yes, planned(c, o, plan)+"?"); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), within)
			defer cancel()
			if !e.json {
				o.Begin = func(s adcs.Shape) { e.hint("asking: %s, %s\n", s, s.Meaning()) }
			}
			trials, err := app.Probe(ctx, c, o)
			if err != nil && len(trials) == 0 {
				return err
			}
			if shown := e.showProbe(o, trials); shown != nil {
				return shown
			}
			if err != nil {
				return err // what ended it counts, and not what was taken until then
			}
			return probeVerdict(trials)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Template, "template", "", "ask for this template `name` (default: adcs.template)")
	f.StringVar(&o.Requester, "requester", "", "`account` for requests on behalf: DOMAIN\\NAME$ or DOMAIN\\user")
	f.BoolVar(&yes, "yes", false, "do not ask before certificates are requested")
	f.BoolVar(&dry, "dry-run", false, "say what would be tried, and ask for nothing")
	f.DurationVar(&within, "timeout", within, "give up after this `time`")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitFindings, exitUnreachable, exitDenied, exitPending)
}

// planned says in a line what will be asked for.
func planned(c *config.Config, o app.ProbeOptions, plan []adcs.Trial) string {
	n := 0
	for i := range plan {
		if plan[i].Skipped == "" {
			n++
		}
	}
	return fmt.Sprintf("Ask %s as %s for %d certificate%s of template %s that nobody uses", c.ADCS.URL, c.ADCS.Username, n, plural(n), o.Template)
}

// probeVerdict chooses the exit code: what counts is whether keys that cannot sign are taken or, when none of their shapes
// was tried, the others.
func probeVerdict(trials []adcs.Trial) error {
	bare, down := false, false
	for i := range trials {
		bare = bare || trials[i].Shape.Bare() && trials[i].Skipped == ""
		down = down || trials[i].Status.Retryable
	}
	best, ok := adcs.Best(trials, bare)
	switch {
	case !ok && down:
		return &exitError{code: exitUnreachable}
	case !ok:
		return &exitError{code: exitFindings}
	case best.Outcome == certsrv.Pending:
		return &exitError{code: exitPending}
	}
	return nil
}

// probeItem is a trial in JSON.
type probeItem struct {
	Shape     string `json:"shape"`
	Meaning   string `json:"meaning"`
	Result    string `json:"result"` // issued, pending, denied, error, failed (no answer), skipped, or planned
	RequestID string `json:"ca_request,omitempty"`
	HResult   string `json:"hresult,omitempty"`
	Name      string `json:"name,omitempty"` // of the HRESULT
	Detail    string `json:"detail,omitempty"`
	Message   string `json:"message,omitempty"` // the CA's own words
	Code      string `json:"code,omitempty"`
	Remedy    string `json:"remedy,omitempty"`
	Serial    string `json:"serial,omitempty"`
	Subject   string `json:"subject,omitempty"`
}

// probeReport is `ra probe --json`.
type probeReport struct {
	Items     []probeItem    `json:"items"`
	Total     int            `json:"total"`
	URL       string         `json:"url,omitempty"`
	Account   string         `json:"account,omitempty"`
	Template  string         `json:"template"`
	Requester string         `json:"requester,omitempty"`
	Settings  []adcs.Setting `json:"settings"`
	DryRun    bool           `json:"dry_run,omitempty"`
}

// The results of shapes that were not tried.
const (
	resultSkipped = "skipped"
	resultPlanned = "planned"
)

func newProbeItem(t *adcs.Trial) probeItem {
	i := probeItem{
		Shape: t.Shape.String(), Meaning: t.Shape.Meaning(), RequestID: t.RequestID, Serial: t.Serial(), Subject: t.Subject,
		Message: t.Message, Code: t.Code(),
	}
	switch {
	case t.Skipped != "":
		i.Result, i.Detail = resultSkipped, t.Skipped
	case t.Err != nil:
		i.Result, i.Code, i.Detail = "failed", explain.Code(t.Err), t.Err.Error()
		if fix, ok := errors.AsType[interface {
			Remedy() string
			error
		}](t.Err); ok {
			i.Remedy = fix.Remedy()
		}
	case t.Outcome == 0:
		i.Result = resultPlanned
	default:
		i.Result, i.Detail, i.Remedy = t.Outcome.String(), t.Status.Meaning, t.Status.Remedy
		if t.Status.HResult != 0 {
			i.HResult, i.Name = t.Status.HResult.String(), t.Status.Name
		}
	}
	return i
}

func probeItems(trials []adcs.Trial) []probeItem {
	items := make([]probeItem, 0, len(trials))
	for i := range trials {
		items = append(items, newProbeItem(&trials[i]))
	}
	return items
}

// showPlan prints what would be tried.
func (e *env) showPlan(c *config.Config, o app.ProbeOptions, plan []adcs.Trial) error {
	items := probeItems(plan)
	if e.json {
		return e.printJSON(probeReport{
			Items: items, Total: len(items), URL: c.ADCS.URL, Account: c.ADCS.Username, Template: o.Template, Requester: o.Requester,
			Settings: []adcs.Setting{}, DryRun: true,
		})
	}
	rows := make([][]string, 0, len(items))
	for _, i := range items {
		rows = append(rows, []string{i.Shape, i.Result, or(i.Detail, "-"), i.Meaning})
	}
	if err := table(e.out, []string{"SHAPE", "RESULT", "WHY", "WHAT IS SENT"}, rows); err != nil {
		return err
	}
	e.tellUntried(plan)
	e.hint("dry run, nothing was sent; without --dry-run: %s\n", planned(c, o, plan))
	return nil
}

// showProbe prints what the CA said, what to do, what to revoke, and what to write.
func (e *env) showProbe(o app.ProbeOptions, trials []adcs.Trial) error {
	items, settings := probeItems(trials), adcs.Settings(trials, o.Requester)
	if e.json {
		if settings == nil {
			settings = []adcs.Setting{}
		}
		return e.printJSON(probeReport{Items: items, Total: len(items), Template: o.Template, Requester: o.Requester, Settings: settings})
	}
	rows := make([][]string, 0, len(items))
	for _, i := range items {
		rows = append(rows, []string{i.Shape, i.Result, or(i.RequestID, "-"), or(i.Name, or(i.HResult, "-")), or(i.Detail, i.Meaning)})
	}
	if err := table(e.out, []string{"SHAPE", "RESULT", "REQUEST", "HRESULT", "MEANING"}, rows); err != nil {
		return err
	}
	e.tellRemedies(items)
	e.tellUntried(trials)
	e.tellLeft(items)
	e.tellSettings(trials, settings)
	return nil
}

// tellRemedies says what to do about refusals, what several have in common once.
func (e *env) tellRemedies(items []probeItem) {
	shapes := map[string][]string{}
	var order []string
	for _, i := range items {
		if i.Remedy == "" {
			continue
		}
		if shapes[i.Remedy] == nil {
			order = append(order, i.Remedy)
		}
		shapes[i.Remedy] = append(shapes[i.Remedy], i.Shape)
	}
	for n, remedy := range order {
		if n == 0 {
			fmt.Fprintln(e.out)
		}
		fmt.Fprintf(e.out, "fix %s: %s\n", strings.Join(shapes[remedy], ", "), oneLine(remedy))
	}
}

// tellUntried says how the shapes could be tried that were not.
func (e *env) tellUntried(trials []adcs.Trial) {
	var agent, requester []string
	for i := range trials {
		switch t := &trials[i]; t.Skipped {
		case adcs.NoAgent, adcs.NoAgentNoRequester:
			agent = append(agent, t.Shape.String())
		case adcs.NoRequester:
			requester = append(requester, t.Shape.String())
		}
	}
	if len(agent) > 0 {
		fmt.Fprintf(e.out, "\nNot tried without an enrollment agent: %s.\n", strings.Join(agent, ", "))
		fmt.Fprintln(e.out, "Enrol a certificate of the template Enrollment Agent for the account of adcs.username, and name it and its key in\nadcs.agent_certificate_file and adcs.agent_key_file.")
	}
	if len(requester) > 0 {
		fmt.Fprintf(e.out, "\nNot tried without an account: %s.\n", strings.Join(requester, ", "))
		fmt.Fprintln(e.out, `They are for phones that each have an account in Active Directory: --requester 'DOMAIN\NAME$' with one of these.`)
	}
}

// tellLeft says what is left at the CA.
func (e *env) tellLeft(items []probeItem) {
	var serials, pending []string
	for _, i := range items {
		if i.Serial != "" {
			serials = append(serials, i.Serial)
		}
		if i.Result == certsrv.Pending.String() {
			pending = append(pending, i.RequestID)
		}
	}
	if len(pending) > 0 {
		fmt.Fprintf(e.out, "\nDeny on the CA what waits for its manager (Certification Authority console, Pending Requests): %s %s\n", "request"+plural(len(pending)), strings.Join(pending, ", "))
	}
	if len(serials) > 0 {
		fmt.Fprintln(e.out, "\nRevoke on the CA what was issued, since nobody uses it:")
		for _, s := range serials {
			fmt.Fprintln(e.out, "  certutil -revoke "+s)
		}
	}
}

// tellSettings says what to write, and what to do when phones cannot be served in this way.
func (e *env) tellSettings(trials []adcs.Trial, settings []adcs.Setting) {
	if len(settings) > 0 {
		fmt.Fprintln(e.out, "\nWrite into section [adcs]:")
		for _, s := range settings {
			fmt.Fprintf(e.out, "  %s = %q\n", strings.TrimPrefix(s.Key, "adcs."), s.Value)
			if s.Key == "adcs.requester" {
				fmt.Fprintln(e.out, "and let adcs.requester_names match the names of devices that have an account, and no others.")
			}
		}
		e.hint("then: %s\n", e.toCopy("callsign reload"))
	}
	refused := false
	for i := range trials {
		refused = refused || trials[i].Shape.Bare() && trials[i].Code() != "" && !trials[i].Status.Retryable
	}
	if _, ok := adcs.Best(trials, true); refused && !ok {
		fmt.Fprintln(e.out, "\nThe CA takes no key that cannot sign, which is what phones have. Mend what is said above, or better give CAPF a subordinate\n"+
			"CA, which needs none of this: callsign capf ca csr, then callsign capf ca install, and capf.issuer = \"local\".")
	}
}
