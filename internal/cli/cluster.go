package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/app"
	"callsign/internal/cluster"
	"callsign/internal/cluster/purpose"
	"callsign/internal/config"
)

// clusterFlags are the flags of commands that work on the certificates of a cluster.
type clusterFlags struct {
	env     *env
	cluster string
	node    string
	at      string
}

// choose adds --cluster and --node.
func (f *clusterFlags) choose(cmd *cobra.Command, nodeHelp string) {
	flags := cmd.Flags()
	flags.StringVar(&f.cluster, "cluster", "", "`name` of the cluster (default: the only one that is configured)")
	complete := func(name string, with cobra.CompletionFunc) {
		if err := cmd.RegisterFlagCompletionFunc(name, with); err != nil {
			panic(err) // the flag is not there: a fault of this program
		}
	}
	complete("cluster", f.clusterNames)
	if nodeHelp != "" {
		flags.StringVar(&f.node, "node", "", nodeHelp)
		complete("node", f.nodeNames)
	}
}

// judgedAt adds --at.
func (f *clusterFlags) judgedAt(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.at, "at", "", "judge as of this `time`, in the form 2026-11-20T12:00:00Z (default: now)")
}

// clock is the clock of --at; nil means the real one.
func (f *clusterFlags) clock() (func() time.Time, error) {
	if f.at == "" {
		return nil, nil //nolint:nilnil // no clock is the real one
	}
	at, err := parseAt(f.at)
	if err != nil {
		return nil, err
	}
	return func() time.Time { return at }, nil
}

// with opens the records and calls do with the cluster that the flags choose.
func (f *clusterFlags) with(ctx context.Context, do func(context.Context, *cluster.Service) error) error {
	now, err := f.clock()
	if err != nil {
		return err
	}
	c, err := f.env.loadConfig()
	if err != nil {
		return err
	}
	if _, err := app.PickCluster(c, f.cluster); err != nil {
		return err // before a database is made
	}
	f.env.cluster = f.cluster
	return withRecords(ctx, c, func(ctx context.Context, r *app.Records) error {
		s, err := r.Cluster(c, f.cluster)
		if err != nil {
			return err
		}
		s.Now, s.Actor = now, account()
		if f.node != "" {
			if f.node, err = s.NodeOrFormer(ctx, f.node); err != nil {
				return err
			}
		}
		return do(ctx, s)
	})
}

// flagText repeats --cluster, --node and --config in a command to copy.
func (f *clusterFlags) flagText(node string) string {
	text := ""
	if f.cluster != "" {
		text += " --cluster " + shellQuote(f.cluster)
	}
	if node != "" {
		text += " --node " + shellQuote(node)
	}
	return text + f.env.configFlag()
}

// described returns the clusters of the configuration, for completion.
func (f *clusterFlags) described() []*cluster.Cluster {
	c, err := config.Load(f.env.config)
	if err != nil {
		return nil
	}
	all, err := app.LoadClusters(c)
	if err != nil {
		return nil
	}
	return all
}

func (f *clusterFlags) clusterNames(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	for _, c := range f.described() {
		names = append(names, c.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (f *clusterFlags) nodeNames(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	for _, c := range f.described() {
		if f.cluster != "" && !strings.EqualFold(c.Name, f.cluster) {
			continue
		}
		for _, n := range c.Nodes {
			names = append(names, cobra.CompletionWithDesc(n.Name, string(n.Product)+" "+string(n.Role)))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completePurposes completes the first argument with purposes, with trust stores, or with both.
func completePurposes(identities, stores bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		var names []cobra.Completion
		if identities {
			names = append(names, purpose.Names()...)
		}
		if stores {
			names = append(names, purpose.StoreNames()...)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// nodeOf is a node in tables: that of a record for every node has a word of its own.
func nodeOf(node string) string {
	if node == cluster.AllNodes {
		return "(all)"
	}
	return node
}

// consequenceItem is what a changed certificate asks for, in JSON.
type consequenceItem struct {
	Before []string       `json:"before"`
	Steps  []nodeStepItem `json:"steps"`
	After  []string       `json:"after"`
}

// nodeStepItem is a step in JSON.
type nodeStepItem struct {
	Node    string `json:"node"`
	Service string `json:"service,omitempty"`
	Command string `json:"command"`
	Note    string `json:"note,omitempty"`
}

func newNodeStepItems(steps []cluster.Step) []nodeStepItem {
	items := []nodeStepItem{}
	for _, s := range steps {
		items = append(items, nodeStepItem(s))
	}
	return items
}

func newConsequenceItem(c *cluster.Consequences) consequenceItem {
	return consequenceItem{Before: append([]string{}, c.Before...), Steps: newNodeStepItems(c.Steps), After: append([]string{}, c.After...)}
}

// printConsequences says what to do after a certificate changed.
func (e *env) printConsequences(c *cluster.Consequences) {
	e.printToDo("What to do now, in this order:", c)
}

func (e *env) printToDo(heading string, c *cluster.Consequences) {
	if len(c.Before)+len(c.Steps)+len(c.After) == 0 {
		return
	}
	fmt.Fprintln(e.out, "\n"+heading)
	n := 0
	line := func(format string, args ...any) {
		n++
		fmt.Fprintf(e.out, "  %2d. %s\n", n, visible(e.toCopy(fmt.Sprintf(format, args...))))
	}
	for _, text := range c.Before {
		line("%s", text)
	}
	e.printSteps(c.Steps, line)
	for _, text := range c.After {
		line("%s", text)
	}
}

func (*env) printSteps(steps []cluster.Step, line func(format string, args ...any)) {
	for i, s := range steps {
		note := ""
		if s.Note != "" {
			note = " (" + s.Note + ")"
		}
		wait := ""
		if i > 0 && s.Service != "" && steps[i-1].Service == s.Service {
			wait = ", when the node before is up again"
		}
		line("on %s: %s%s%s", s.Node, s.Command, wait, note)
	}
}

// isFile reports whether an argument is an existing file: then it is one, whatever else it could be.
func isFile(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}
