package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/cluster"
)

func (e *env) subjectCommand() *cobra.Command {
	return group("subject", "Subject settings of nodes: what their certificates say beside the common name", e.subjectShow(), e.subjectSet())
}

// subjectItem is the settings of a node in JSON.
type subjectItem struct {
	Node               string   `json:"node"`
	Set                bool     `json:"set"` // somebody has made settings
	Units              []string `json:"organizational_units"`
	Organization       string   `json:"organization"`
	Locality           string   `json:"locality"`
	State              string   `json:"state"`
	Country            string   `json:"country"`
	AlternateHostNames []string `json:"alternate_host_names"`
}

func newSubjectItem(s *cluster.Subject, set bool) subjectItem {
	return subjectItem{
		Node: s.Node, Set: set, Units: append([]string{}, s.Units...), Organization: s.Organization, Locality: s.Locality, State: s.State, Country: s.Country,
		AlternateHostNames: append([]string{}, s.AlternateHostNames...),
	}
}

// subjectFields are the settings with the names of their flags, in the order of a request; units as --ou takes them.
func subjectFields(s *cluster.Subject) [][2]string {
	return [][2]string{
		{"country", s.Country},
		{"state", s.State},
		{"locality", s.Locality},
		{"organization", s.Organization},
		{"ou", cluster.FormatUnits(s.Units)},
		{"alternate-host-name", strings.Join(s.AlternateHostNames, ",")},
	}
}

func (e *env) subjectShow() *cobra.Command {
	f := clusterFlags{env: e}
	var all bool
	cmd := &cobra.Command{
		Use: "show", Short: "Show the subject settings of a node", Args: noArgs,
		Long: `Show the subject settings of a node: country, state, locality, organization, organisational units, and alternate host names. Requests and
self-signed certificates that the node makes have them beside the common name and the names of the node (a request has the units with --include-ou only).`,
		Example: `  callsign subject show
  callsign subject show --node cucmsub --json
  callsign subject show --all`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all && f.node != "" {
				return usage(errors.New("--all and --node exclude each other: leave one of them out"))
			}
			return f.with(cmd.Context(), func(ctx context.Context, s *cluster.Service) error {
				nodes := []string{f.node}
				if all {
					nodes = nil
					for _, n := range s.Cluster.Ordered() {
						nodes = append(nodes, n.Name)
					}
				}
				var items []subjectItem
				var lines [][]string
				for _, n := range nodes {
					subject, set, err := s.Subject(ctx, n)
					if err != nil {
						return err
					}
					items = append(items, newSubjectItem(&subject, set))
					line := []string{subject.Node}
					for _, field := range subjectFields(&subject) {
						line = append(line, or(field[1], "-"))
					}
					lines = append(lines, line)
				}
				return e.printSubjects(&f, s, items, lines)
			})
		},
	}
	f.choose(cmd, "`node` (default: the publisher)")
	cmd.Flags().BoolVar(&all, "all", false, "all nodes")
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

func (e *env) printSubjects(f *clusterFlags, s *cluster.Service, items []subjectItem, lines [][]string) error {
	if e.json {
		return e.printJSON(struct {
			Cluster string        `json:"cluster"`
			Items   []subjectItem `json:"items"`
			Total   int           `json:"total"`
		}{s.Cluster.Name, items, len(items)})
	}
	if err := table(e.out, []string{"NODE", "COUNTRY", "STATE", "LOCALITY", "ORGANIZATION", "OU", "ALTERNATE HOST NAMES"}, lines); err != nil {
		return err
	}
	if !slices.ContainsFunc(items, func(i subjectItem) bool { return i.Set }) {
		e.hint("nothing is set; requests have the common name only. Set it with: callsign subject set --organization NAME --country CC%s\n", f.flagText(items[0].Node))
	}
	return nil
}

// subjectFlags is the command line of subject set.
type subjectFlags struct {
	clusterFlags

	units, organization, locality, state, country string
	alternates                                    []string
	dry, yes                                      bool

	given func(flag string) bool
}

func (e *env) subjectSet() *cobra.Command {
	f := subjectFlags{clusterFlags: clusterFlags{env: e}}
	cmd := &cobra.Command{
		Use: "set [flags]", Short: "Change the subject settings of a node", Args: noArgs,
		Long: `Change what certificates of a node say beside the common name. Only what is given changes; an empty value clears a setting. Alternate host
names become further names in certificates, with and without --multi-server; they may be IP addresses.

A self-signed tomcat certificate of the node is made again at once, with a new key: it asks before. One that a CA has signed stays, and the next request has
the new settings; so do those for other purposes.`,
		Example: `  callsign subject set --organization 'Example Voice' --locality Graz --state Styria --country AT
  callsign subject set --ou 'Voice,Research\, Graz' --node cucmsub
  callsign subject set --alternate-host-name phones.example.com --alternate-host-name 192.0.2.10
  callsign subject set --locality '' --dry-run`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.given = cmd.Flags().Changed
			if !slices.ContainsFunc(subjectFields(&cluster.Subject{}), func(field [2]string) bool { return f.given(field[0]) }) {
				return usage(errors.New("nothing to set: use --ou, --organization, --locality, --state, --country or --alternate-host-name"))
			}
			return f.with(cmd.Context(), f.run)
		},
	}
	f.choose(cmd, "`node` (default: the publisher)")
	flags := cmd.Flags()
	flags.StringVar(&f.units, "ou", "", `organisational `+"`units`"+`, separated by commas; a comma inside of one is written \,`)
	flags.StringVar(&f.organization, "organization", "", "organization `name`, at most 64 characters")
	flags.StringVar(&f.locality, "locality", "", "`town`")
	flags.StringVar(&f.state, "state", "", "`state` or province")
	flags.StringVar(&f.country, "country", "", "`country`, two letters")
	flags.StringSliceVar(&f.alternates, "alternate-host-name", nil, "further `name` or IP address; may be repeated, and replaces those before")
	flags.BoolVar(&f.dry, "dry-run", false, "tell what would change, and change nothing")
	flags.BoolVar(&f.yes, "yes", false, "do not ask for a confirmation")
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

// apply returns the settings that the flags ask for.
func (f *subjectFlags) apply(before cluster.Subject) (cluster.Subject, error) {
	after := before
	if f.given("ou") {
		units, err := cluster.ParseUnits(f.units)
		if err != nil {
			return after, err
		}
		after.Units = units
	}
	for flag, to := range map[string]struct {
		value string
		field *string
	}{
		"organization": {f.organization, &after.Organization}, "locality": {f.locality, &after.Locality},
		"state": {f.state, &after.State}, "country": {strings.ToUpper(f.country), &after.Country},
	} {
		if f.given(flag) {
			*to.field = to.value
		}
	}
	if f.given("alternate-host-name") {
		after.AlternateHostNames = f.alternates
	}
	return after, nil
}

// subjectChange is `subject set --json`.
type subjectChange struct {
	Cluster     string          `json:"cluster"`
	Before      subjectItem     `json:"before"`
	After       subjectItem     `json:"after"`
	Changed     bool            `json:"changed"`
	Regenerated *newTomcatItem  `json:"regenerated"` // the self-signed tomcat certificate that follows; null for none
	Todo        consequenceItem `json:"consequences"`
	DryRun      bool            `json:"dry_run,omitempty"`
}

// newTomcatItem is a self-signed certificate that is made, in JSON. What is known only when it was made is empty in a dry run.
type newTomcatItem struct {
	Purpose  string           `json:"purpose"`
	Nodes    []string         `json:"nodes"`
	Subject  string           `json:"subject"`
	Names    []string         `json:"names"`
	NotAfter *string          `json:"not_after"`
	SHA256   string           `json:"sha256"`
	Replaced []supersededItem `json:"replaced"`
}

func (f *subjectFlags) run(ctx context.Context, s *cluster.Service) error {
	e := f.env
	before, set, err := s.Subject(ctx, f.node)
	if err != nil {
		return err
	}
	after, err := f.apply(before)
	if err != nil {
		return err
	}
	plan, err := s.PlanSubject(ctx, after)
	if err != nil {
		return err
	}
	out := subjectChange{
		Cluster: s.Cluster.Name, Before: newSubjectItem(&before, set), After: newSubjectItem(&after, true), Changed: before.String() != after.String(),
		Todo: newConsequenceItem(&cluster.Consequences{}), DryRun: f.dry,
	}
	if !e.json {
		if err := f.table(&before, &after); err != nil {
			return err
		}
	}
	if !out.Changed {
		if out.After.Set = set; e.json {
			return e.printJSON(out)
		}
		e.hint("%s has these settings already; nothing was changed\n", before.Node)
		return nil
	}
	f.explain(plan)
	if !f.dry {
		question := fmt.Sprintf("make a new self-signed tomcat certificate for %s, with a new key, and put it into service?", before.Node)
		if err := e.confirm(ctx, f.yes || plan.Regenerates == nil, question); err != nil {
			return err
		}
	}
	made := plan.Regenerates
	if !f.dry {
		if made, err = s.SetSubject(ctx, plan); err != nil {
			return err
		}
	}
	if made != nil {
		out.Regenerated = &newTomcatItem{
			Purpose: made.Template.Purpose, Nodes: made.Nodes, Subject: made.Template.Subject(), Names: made.Template.Names(), NotAfter: optionalTime(made.NotAfter),
			SHA256: made.SHA256, Replaced: newSupersededItems(made.Before),
		}
		out.Todo = newConsequenceItem(&made.Consequences)
	}
	if e.json {
		return e.printJSON(out)
	}
	f.done(s, plan, made)
	return nil
}

// table prints the settings before and after.
func (f *subjectFlags) table(before, after *cluster.Subject) error {
	lines := [][]string{}
	now := subjectFields(after)
	for i, field := range subjectFields(before) {
		mark := "-"
		if field[1] != now[i][1] {
			mark = "yes"
		}
		lines = append(lines, []string{field[0], or(field[1], "-"), or(now[i][1], "-"), mark})
	}
	fmt.Fprintf(f.env.out, "subject settings of %s\n", before.Node)
	return table(f.env.out, []string{"SETTING", "BEFORE", "AFTER", "CHANGES"}, lines)
}

// explain says what the settings do to the certificate in service, and not to requests.
func (f *subjectFlags) explain(plan *cluster.SubjectPlan) {
	e, node := f.env, plan.After.Node
	next := requestFlags{clusterFlags: f.clusterFlags}
	switch id := plan.InService; {
	case plan.Regenerates != nil:
		e.hint("the self-signed tomcat certificate of %s follows at once: it is made again, with a new key; it was valid to %s\n", node, local(id.NotAfter))
	case id == nil:
		e.hint("%s has no tomcat certificate here; requests and certificates that are made from now on have the settings\n", node)
	case id.SelfSigned:
		e.hint("the multi-server tomcat certificate stays as it is; to have the settings in it: callsign cert regen %s\n", next.chosen(subjectOf, cluster.AllNodes))
	default:
		e.hint("the tomcat certificate of %s is signed by %s and stays as it is; the next request has the settings\n", node, visible(id.IssuerName))
	}
	for i := range plan.Waiting {
		q := &plan.Waiting[i]
		e.warn(fmt.Sprintf("the request for %s waits with the settings before; to have the new ones in its certificate make it again: callsign csr create %s",
			requestPlace(q.Purpose, q.Node), next.chosen(q.Purpose, q.Node)))
	}
}

func (f *subjectFlags) done(s *cluster.Service, plan *cluster.SubjectPlan, made *cluster.Regenerated) {
	e := f.env
	if f.dry {
		if made != nil {
			e.printToDo("What would have to be done then, in this order:", &made.Consequences)
		}
		e.hint("dry run, nothing was changed\n")
		return
	}
	e.hint("set the subject settings of %s\n", plan.After.Node)
	if made == nil {
		if id := plan.InService; id != nil && !id.SelfSigned {
			next := requestFlags{clusterFlags: f.clusterFlags}
			node := plan.After.Node
			if id.Multi {
				node = cluster.AllNodes
			}
			e.hint("next, when it is to be renewed: callsign csr create %s\n", next.chosen(subjectOf, node))
		}
		return
	}
	r := e.newReport()
	r.blank()
	r.line("", 0, "new self-signed tomcat certificate of "+plan.After.Node)
	r.item("  ", "subject", made.Template.Subject())
	r.item("  ", "names", strings.Join(made.Template.Names(), ", "))
	r.item("  ", "expires", momentText(made.NotAfter, judgedNow(s)))
	r.item("  ", "SHA256", made.SHA256)
	r.before("", made.Before, time.Now())
	e.printConsequences(&made.Consequences)
}

// subjectOf is the purpose whose certificate the settings are shown with.
const subjectOf = "tomcat"
