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
	"callsign/internal/cluster/purpose"
)

// dependentsItem is a trust certificate and what uses it, in JSON.
type dependentsItem struct {
	Store      string         `json:"store"`
	Node       string         `json:"node"` // empty: every node
	AllNodes   bool           `json:"all_nodes"`
	FileName   string         `json:"file_name"`
	CommonName string         `json:"common_name"`
	SHA256     string         `json:"sha256"`
	NotAfter   string         `json:"not_after"`
	CopyOf     string         `json:"copy_of"` // certificate in service, as PURPOSE@NODE; empty for none
	Breaks     []string       `json:"breaks"`
	Issued     []string       `json:"issued"`
	LSCs       []lscCountItem `json:"lscs"`
	LiveLSCs   int            `json:"live_lscs"` // the largest count
	Used       bool           `json:"used"`
	Restart    []nodeStepItem `json:"restart"` // when it is deleted
}

// lscCountItem is a number of phones in JSON.
type lscCountItem struct {
	Phones int    `json:"phones"`
	By     string `json:"counted_by"`
}

func newDependentsItem(d *cluster.Dependents) dependentsItem {
	t := &d.Trust
	i := dependentsItem{
		Store: t.Store, Node: t.Node, AllNodes: t.Node == cluster.AllNodes, FileName: d.FileName, CommonName: t.CommonName, SHA256: t.SHA256, NotAfter: utc(t.NotAfter),
		CopyOf: d.CopyOf, Breaks: append([]string{}, d.Breaks...), Issued: append([]string{}, d.Issued...), LSCs: []lscCountItem{}, LiveLSCs: d.Live(),
		Used: d.Used(), Restart: newNodeStepItems(d.Restart),
	}
	for _, c := range d.LSCs {
		i.LSCs = append(i.LSCs, lscCountItem(c))
	}
	return i
}

// dependents writes what uses a trust certificate.
func (r *report) dependents(d *cluster.Dependents, now time.Time) {
	const in = "  "
	where := "every node"
	if d.Trust.Node != cluster.AllNodes {
		where = d.Trust.Node
	}
	r.line("", 0, d.FileName+" in "+d.Trust.Store+" on "+where)
	r.item(in, "expires", momentText(d.Trust.NotAfter, now))
	r.item(in, "SHA256", d.Trust.SHA256)
	if d.CopyOf != "" {
		r.item(in, "copy of", d.CopyOf+", which is in service")
	}
	if len(d.Breaks) > 0 {
		r.item(in, "breaks", strings.Join(d.Breaks, ", ")+": without it there is no path to a root")
	}
	r.item(in, "issued", strings.Join(d.Issued, ", "))
	for _, c := range d.LSCs {
		r.item(in, "LSCs", fmt.Sprintf("%d phone%s, counted by %s", c.Phones, plural(c.Phones), c.By))
	}
	if !d.Used() {
		r.item(in, "used by", "nothing that is known here; peers that are only reached now and then are not")
	}
}

func (e *env) trustDeps() *cobra.Command {
	f := clusterFlags{env: e}
	var store string
	cmd := &cobra.Command{
		Use: "deps NAME", Short: "Say what depends on a trust certificate", Args: exactlyOne("trust certificate, by its common name, file name, serial number or fingerprint"),
		ValidArgsFunction: f.trustNames(0),
		Long: `Say what depends on a trust certificate, in every store that has it: certificates in service that have no path without it (breaks), certificates that it
issued, and phones whose LSC it issued. Look here before anything is deleted. NAME is a common name, a file name as trust list --json shows it, a serial number
in any form, or at least 8 digits of the SHA-256 fingerprint.`,
		Example: `  callsign trust deps 'Lab Root CA'
  callsign trust deps CAPF-1a2b3c4d --store CallManager-trust
  callsign trust deps 5F:0C:93:1A:77:20:4B:EE --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			if before, rest, ok := strings.Cut(name, "/"); ok && store == "" {
				if _, known := purpose.FindStore(before); known { // as "issued" names it
					store, name = before, rest
				}
			}
			return f.with(cmd.Context(), func(ctx context.Context, s *cluster.Service) error {
				found, err := s.Dependents(ctx, store, name)
				if err != nil {
					return err
				}
				return e.printDependents(&f, found)
			})
		},
	}
	f.choose(cmd, "")
	cmd.Flags().StringVar(&store, "store", "", "only in this trust `store` (default: in all)")
	complete(cmd, "store", purpose.StoreNames()...)
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

func (e *env) printDependents(f *clusterFlags, found []cluster.Dependents) error {
	if e.json {
		items := make([]dependentsItem, 0, len(found))
		for i := range found {
			items = append(items, newDependentsItem(&found[i]))
		}
		return e.printJSON(struct {
			Items []dependentsItem `json:"items"`
			Total int              `json:"total"`
		}{items, len(items)})
	}
	r := e.newReport()
	for i := range found {
		if i > 0 {
			r.blank()
		}
		r.dependents(&found[i], time.Now())
	}
	for i := range found {
		if d := &found[i]; !d.Used() {
			e.hint("nothing depends on %s in %s; delete it with: callsign trust delete %s %s%s\n", visible(d.FileName), d.Trust.Store, d.Trust.Store, shortSum(d.Trust.SHA256), f.flagText(d.Trust.Node))
		}
	}
	return nil
}

// trustDeleteFlags is the command line of trust delete.
type trustDeleteFlags struct {
	clusterFlags

	force, dry, yes bool
}

func (e *env) trustDelete() *cobra.Command {
	f := trustDeleteFlags{clusterFlags: clusterFlags{env: e}}
	cmd := &cobra.Command{
		Use: "delete STORE NAME", Short: "Delete a certificate from a trust store", ValidArgsFunction: f.trustNames(1),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage(errors.New("name a trust store and a certificate in it, by its common name, file name, serial number or fingerprint"))
			}
			return inOrder(cmd, args, purpose.StoreNames())
		},
		Long: `Delete a certificate from a trust store: on every node, or of a store that each node has for itself (CAPF-trust, ipsec-trust) with --node on one. What
depends on it is printed first, then it asks, and says what to restart. Certificates in service and their copies are not deleted. One that has issued
LSCs which phones still have stays unless --force is given: without it these phones are refused.

NAME is a common name, a file name as trust list --json shows it, a serial number in any form, or at least 8 digits of the SHA-256 fingerprint.`,
		Example: `  callsign trust delete tomcat-trust 'Old Root CA' --dry-run
  callsign trust delete CallManager-trust CAP-RTP-001
  callsign trust delete ipsec-trust 3fa94c1b22d07e55 --node cucmsub --yes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd.Context(), func(ctx context.Context, s *cluster.Service) error { return f.run(ctx, s, args[0], args[1]) })
		},
	}
	f.choose(cmd, "only on this `node`, in a store that each node has for itself")
	flags := cmd.Flags()
	flags.BoolVar(&f.force, "force", false, "also when phones have LSCs of it")
	flags.BoolVar(&f.dry, "dry-run", false, "tell what would be deleted and what breaks, and delete nothing")
	flags.BoolVar(&f.yes, "yes", false, "do not ask for a confirmation")
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

func (f *trustDeleteFlags) run(ctx context.Context, s *cluster.Service, store, name string) error {
	e := f.env
	if st, ok := purpose.FindStore(store); ok && f.node != "" && st.Replicated {
		return usage(fmt.Errorf("%s is the same on every node: what is deleted is gone on all of them; leave --node out", store))
	}
	found, err := s.DeleteTrust(ctx, store, f.node, name, f.force, true)
	if err != nil {
		return err
	}
	if !e.json {
		r := e.newReport()
		for i := range found {
			r.dependents(&found[i], time.Now())
		}
	}
	if f.dry {
		return f.done(found)
	}
	question := fmt.Sprintf("delete %s from %s on %s? This cannot be undone.", visible(found[0].FileName), store, nodesOfDependents(found))
	if n := broken(found); n > 0 {
		question = fmt.Sprintf("%d certificate%s in service will have no path any more. ", n, plural(n)) + question
	}
	if err := e.confirm(ctx, f.yes, question); err != nil {
		return err
	}
	// By the fingerprint: what was shown is what goes, whatever has got its name meanwhile.
	gone, err := s.DeleteTrust(ctx, store, f.node, found[0].Trust.SHA256, f.force, false)
	if err != nil {
		return err
	}
	return f.done(gone)
}

func broken(all []cluster.Dependents) int {
	var names []string
	for i := range all {
		names = append(names, all[i].Breaks...)
	}
	slices.Sort(names)
	return len(slices.Compact(names))
}

func nodesOfDependents(all []cluster.Dependents) string {
	var names []string
	for i := range all {
		if all[i].Trust.Node == cluster.AllNodes {
			return "every node"
		}
		names = append(names, all[i].Trust.Node)
	}
	return strings.Join(names, ", ")
}

// done says what was or would be deleted, and what to do then.
func (f *trustDeleteFlags) done(gone []cluster.Dependents) error {
	e := f.env
	if e.json {
		items := make([]dependentsItem, 0, len(gone))
		for i := range gone {
			items = append(items, newDependentsItem(&gone[i]))
		}
		return e.printJSON(struct {
			Items  []dependentsItem `json:"items"`
			Total  int              `json:"total"`
			DryRun bool             `json:"dry_run,omitempty"`
		}{items, len(items), f.dry})
	}
	d := &gone[0]
	todo := &cluster.Consequences{Steps: d.Restart}
	if f.dry {
		e.printToDo("What would have to be done then, in this order:", todo)
		e.hint("dry run, nothing was changed; it would delete %s from %s on %s\n", visible(d.FileName), d.Trust.Store, nodesOfDependents(gone))
		return nil
	}
	e.hint("deleted %s from %s on %s\n", visible(d.FileName), d.Trust.Store, nodesOfDependents(gone))
	e.printConsequences(todo)
	return nil
}
