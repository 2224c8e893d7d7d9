package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/app"
	"callsign/internal/config"
	"callsign/internal/enroll"
)

// allStates is the word of --state for requests in any state.
const allStates = "all"

// requestStates are the words of --state.
func requestStates() []string {
	return []string{
		string(enroll.Held), string(enroll.Requested), string(enroll.Submitted), string(enroll.Pending), string(enroll.Issued),
		string(enroll.Confirmed), string(enroll.Denied), string(enroll.Failed), string(enroll.Stale), allStates,
	}
}

func (e *env) requestList() *cobra.Command {
	var state, label string
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List the requests of EST clients that wait, or those in a state", Args: noArgs,
		Long: `List the requests of EST clients, oldest first: those that wait, or with --state those in a state. A held request waits for an
administrator here: callsign ra request approve ID. A pending one is kept by the CA, under the request number that the list
shows, and only the CA's manager can decide it there. Requested and submitted ones are being worked on; what keeps them is in the last column.`,
		Example: `  callsign ra request list
  callsign ra request list --state denied --label iot
  callsign ra request list --state all --limit 100 --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usage(fmt.Errorf("--limit %d: use 0 for all or a positive number", limit))
			}
			if err := oneOf("state", state, requestStates()...); err != nil {
				return err
			}
			c, err := e.loadConfig()
			if err != nil {
				return err
			}
			f := clientRequests
			f.Limit = limit
			switch state {
			case "":
				f.States = waitingForPerson
			case allStates:
			default:
				f.States = []enroll.State{enroll.State(state)}
			}
			if cmd.Flags().Changed("label") {
				f.Labels = []string{label}
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				rows, total, err := s.Journal.Find(ctx, f)
				if err != nil {
					return err
				}
				return e.printRequests(c, f, rows, total)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&state, "state", "", "only requests in this `state`: held, requested, submitted, pending, issued, confirmed, denied, failed, stale or all (default: those that wait)")
	flags.StringVar(&label, "label", "", "only requests under this EST `label`; '' is the default one")
	flags.IntVar(&limit, "limit", 0, "show at most so `many` (0: all)")
	complete(cmd, "state", requestStates()...)
	if err := cmd.RegisterFlagCompletionFunc("label", e.labelNames); err != nil {
		panic(err) // the flag is not there: a fault of this program
	}
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

// labelNames completes the labels of the configuration.
func (e *env) labelNames(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	c, err := config.Load(e.config)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := make([]cobra.Completion, 0, len(c.Labels))
	for _, l := range c.Labels {
		names = append(names, l.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (e *env) printRequests(c *config.Config, f enroll.Filter, rows []enroll.Enrolment, total int) error {
	now := time.Now()
	items := make([]raItem, 0, len(rows))
	for i := range rows {
		items = append(items, newRAItem(&rows[i], now))
	}
	if e.json {
		return e.printJSON(struct {
			Items []raItem `json:"items"`
			Total int      `json:"total"`
		}{items, total})
	}
	if total == 0 {
		fmt.Fprintln(e.out, e.noClientRequests(c, f))
		return nil
	}
	short := shortIDs(rows)
	lines := make([][]string, 0, len(items))
	held, pending := 0, 0
	for n, i := range items {
		switch rows[n].State {
		case enroll.Held:
			held++
		case enroll.Pending:
			pending++
		}
		age := strings.TrimPrefix(in(now.Add(time.Duration(i.Age)*time.Second), now), "in ")
		lines = append(lines, []string{
			short[i.ID], or(i.Label, "-"), i.Client, or(i.Subject, "-"), some(i.Names, 3), i.Key, age, i.State, or(i.CARequest, "-"), remark(&rows[n]),
		})
	}
	header := []string{"ID", "LABEL", "CLIENT", "SUBJECT", "NAMES", "KEY", "AGE", "STATE", "CA REQUEST", "REMARK"}
	if err := table(e.out, header, lines); err != nil {
		return err
	}
	if len(rows) < total {
		e.hint("%d of %d shown\n", len(rows), total)
	}
	if held > 0 {
		e.hint("next: callsign ra request approve ID...%[1]s, or callsign ra request deny ID...%[1]s\n", e.configFlag())
	}
	if pending > 0 {
		e.hint("pending ones are decided at the CA by its manager, under the number of CA REQUEST: Certification Authority console, Pending Requests\n")
	}
	return nil
}

// noClientRequests says that there is nothing, and what would be.
func (e *env) noClientRequests(c *config.Config, f enroll.Filter) string {
	if len(f.Labels) > 0 || !slices.Equal(f.States, waitingForPerson) {
		return "No request of an EST client fits. All there are: callsign ra request list --state all" + e.configFlag()
	}
	if c.RA.Approval || slices.ContainsFunc(c.Labels, func(l config.Label) bool { return l.Approval }) {
		return "No request waits: neither for an approval here nor at the CA."
	}
	return "No request waits. With approval = true in [ra] or in a label new requests of EST clients would wait here; those that the CA keeps for its manager are shown, too."
}

func (e *env) requestApprove() *cobra.Command {
	var note string
	var dry bool
	cmd := &cobra.Command{
		Use: "approve ID...", Short: "Let held requests of EST clients go to the CA", Args: atLeastOne("request, by its ID of: callsign ra request list"),
		Long: `Let held requests go to the CA, by the IDs that the list shows (or their first digits). What will be certified is printed first; --dry-run stops there.
Nothing is asked: look at it with --dry-run. A server that runs asks the CA within a second; the client gets its certificate when it asks again.

A request that was denied here may be approved after all: the client's next call is then let through. The record says which account decided.`,
		Example: `  callsign ra request approve 7f3a9c00 --dry-run
  callsign ra request approve 7f3a9c00 51b2 --note "ordered by facilities"`,
		ValidArgsFunction: e.requestIDs(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := decisionBy("note", note)
			if err != nil {
				return err
			}
			return e.decideAll(cmd.Context(), args, nil, func(engine *enroll.Engine) *decisions {
				return &decisions{verb: "approve", done: "approved", dry: dry, decide: func(ctx context.Context, id string) (enroll.Enrolment, error) {
					return engine.Approve(ctx, id, d)
				}}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&note, "note", "", "`why`, for the record")
	f.BoolVar(&dry, "dry-run", false, "print what would be certified, and change nothing")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitPartial)
}

func (e *env) requestDeny() *cobra.Command {
	var reason string
	var dry, yes bool
	cmd := &cobra.Command{
		Use: "deny ID...", Short: "Deny held requests of EST clients", Args: atLeastOne("request, by its ID of: callsign ra request list"),
		Long: `Deny held requests, by the IDs that the list shows (or their first digits). The client is refused with the reason, and gets the same answer
whenever it repeats this request: with the same key and name, under the same label. A denial is taken back by callsign ra request approve ID.
The record says which account decided.`,
		Example: `  callsign ra request deny 7f3a9c00 --reason "not in the inventory"
  callsign ra request deny 7f3a9c00 51b2 --yes`,
		ValidArgsFunction: e.requestIDs(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := decisionBy("reason", reason)
			if err != nil {
				return err
			}
			ask := func(n int) error {
				return e.confirm(cmd.Context(), yes || dry || n == 0, fmt.Sprintf("deny %d request%s?", n, plural(n)))
			}
			return e.decideAll(cmd.Context(), args, ask, func(engine *enroll.Engine) *decisions {
				return &decisions{verb: "deny", done: "denied", dry: dry, decide: func(ctx context.Context, id string) (enroll.Enrolment, error) {
					return engine.Deny(ctx, id, d)
				}}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&reason, "reason", "", "`why`: the client gets it")
	f.BoolVar(&dry, "dry-run", false, "print what would be denied, and change nothing")
	f.BoolVar(&yes, "yes", false, "do not ask for a confirmation")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitPartial)
}

// decideAll finds the requests that the arguments mean, prints them, asks, decides, and reports each.
func (e *env) decideAll(ctx context.Context, args []string, ask func(n int) error, with func(*enroll.Engine) *decisions) error {
	return e.withStore(ctx, func(ctx context.Context, s *app.Records) error {
		d := with(&enroll.Engine{Journal: s.Journal})
		rows, _, err := s.Journal.Find(ctx, decidable)
		if err != nil {
			return err
		}
		var picked []enroll.Enrolment
		var failed []error
		for _, id := range args {
			row, err := e.pickRequest(ctx, s.Journal, rows, id)
			switch {
			case err != nil:
				failed = append(failed, err)
			case !slices.ContainsFunc(picked, func(p enroll.Enrolment) bool { return p.ID == row.ID }):
				picked = append(picked, row)
			}
		}
		if !e.json {
			e.printAsked(picked)
		}
		if ask != nil {
			if err := ask(len(picked)); err != nil {
				return err
			}
		}
		made, more := d.run(ctx, e, picked)
		failed = append(failed, more...)
		if err := e.printDecisions(d, made); err != nil {
			return err
		}
		err = errors.Join(failed...)
		if err != nil && len(made) > 0 {
			return &exitError{code: exitPartial, err: err}
		}
		return err
	})
}

// printAsked prints what the requests want certified.
func (e *env) printAsked(rows []enroll.Enrolment) {
	now := time.Now()
	for n := range rows {
		i := newRAItem(&rows[n], now)
		fmt.Fprintf(e.out, "request %s\n", i.ID)
		line := func(what, text string) { fmt.Fprintf(e.out, "  %-9s  %s\n", what, visible(text)) }
		by := i.Client + ", by EST"
		if i.Label != "" {
			by += " under the label " + i.Label
		}
		line("client", by+", "+in(rows[n].Created, now))
		line("subject", or(i.Subject, "(empty)"))
		line("names", or(strings.Join(i.Names, ", "), "(none)"))
		line("key", i.Key)
		if len(i.Usages) > 0 {
			line("usages", strings.Join(i.Usages, ", "))
		}
		if len(i.Other) > 0 {
			line("also asks", strings.Join(i.Other, ", "))
		}
		if i.Vouched != "" {
			line("vouched", "by "+i.Vouched)
		}
		line("CA", i.Authority)
		if i.State != string(enroll.Held) {
			line("state", i.State+", "+remark(&rows[n]))
		}
	}
}

func (e *env) printDecisions(d *decisions, made []decision) error {
	now := time.Now()
	items := make([]raItem, 0, len(made))
	for n := range made {
		i := newRAItem(&made[n].row, now)
		i.Result = made[n].result
		items = append(items, i)
	}
	if e.json {
		return e.printJSON(struct {
			Items  []raItem `json:"items"`
			Total  int      `json:"total"`
			DryRun bool     `json:"dry_run,omitempty"`
		}{items, len(items), d.dry})
	}
	done, lifted := 0, 0
	for n := range made {
		r := &made[n].row
		switch {
		case made[n].result != resultAlready && r.State == enroll.Stale:
			lifted++
		case made[n].result != resultAlready:
			done++
		case r.Decision != nil:
			e.hint("request %s was %s already, by %s on %s; it is %s\n", r.ID[:idDigits], d.done, visible(r.Decision.By), r.Decision.At.Local().Format(time.DateTime), r.State)
		}
	}
	if lifted > 0 {
		e.hint("took %d denial%s back; the next call of each client is let through\n", lifted, plural(lifted))
	}
	switch {
	case done == 0:
	case d.dry:
		e.hint("dry run, nothing was changed; it would %s %d request%s\n", d.verb, done, plural(done))
	case d.verb == "approve":
		e.hint("approved %d request%s; a server that runs asks the CA now, and each client gets its certificate when it asks again\n", done, plural(done))
	default:
		e.hint("denied %d request%s; the clients are refused when they ask again\n", done, plural(done))
	}
	return nil
}
