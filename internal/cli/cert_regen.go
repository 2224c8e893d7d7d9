package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/cluster"
	"callsign/internal/cluster/purpose"
	"callsign/internal/cluster/upload"
)

// regenItem is `cert regen --json`.
type regenItem struct {
	Purpose      string            `json:"purpose"`
	Cluster      string            `json:"cluster"`
	Nodes        []string          `json:"nodes"`
	MultiServer  bool              `json:"multi_server"`
	Stored       bool              `json:"stored"`      // false in a dry run
	CommonName   string            `json:"common_name"` // of a CAPF certificate another one is made each time
	Subject      string            `json:"subject"`
	Key          string            `json:"key"`
	Hash         string            `json:"hash"`
	Names        []string          `json:"names"`
	Certificate  *certItem         `json:"certificate"` // null in a dry run
	Replaced     []supersededItem  `json:"replaced"`
	Notes        []requestNoteItem `json:"notes"`
	Recent       []string          `json:"recently_changed"` // purposes whose change phones may not have learnt yet
	Consequences consequenceItem   `json:"consequences"`
}

func (e *env) certRegen() *cobra.Command {
	f := &newRequestFlags{requestFlags: requestFlags{clusterFlags: clusterFlags{env: e}}}
	cmd := &cobra.Command{
		Use: "regen PURPOSE", Short: "Make a self-signed certificate and put it into service", Args: exactlyOne("purpose, e.g. tomcat"),
		ValidArgsFunction: completePurposes(true, false),
		Long: `Make a self-signed certificate with a new key and put it into service, in the place of the one that is there, also of one that a CA has signed.
The key has the length of the one before, unless --key says otherwise. What is replaced is told first, and asked about; what has to be
restarted afterwards is printed in order. A request that waits stays as it is.`,
		Example: `  callsign cert regen tomcat --node cucmsub
  callsign cert regen CallManager --dry-run
  callsign cert regen tomcat-ECDSA --multi-server --key ec:384 --yes
  callsign cert regen ipsec --key rsa:3072 --hash sha384 --yes --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.parentGiven = cmd.Flags().Changed("parent-domain")
			fields, err := f.fields(args[0])
			if err != nil {
				return err
			}
			return f.with(cmd.Context(), func(ctx context.Context, s *cluster.Service) error {
				fields.Node = f.node
				return f.regenerate(ctx, s, fields)
			})
		},
	}
	f.choose(cmd, "host `name` of the node (default: the publisher)")
	flags := cmd.Flags()
	flags.BoolVar(&f.multi, "multi-server", false, "one certificate for all nodes")
	f.fieldFlags(cmd)
	flags.BoolVar(&f.dry, "dry-run", false, "say what would be made and replaced, and change nothing")
	flags.BoolVar(&f.yes, "yes", false, "do not ask for a confirmation")
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

func (f *newRequestFlags) regenerate(ctx context.Context, s *cluster.Service, fields cluster.Fields) error {
	e := f.env
	plan, err := s.PlanRegenerate(ctx, fields)
	if err != nil {
		return err
	}
	// A wrong command line fails before anything is printed.
	if !f.dry && !f.yes && !isTerminal(e.in) {
		return usage(errors.New("this puts another certificate into service and stdin is no terminal: look at it with --dry-run, and repeat it with --yes"))
	}
	e.warnNotes(plan.Template)
	f.warnRegenerate(plan)
	if f.dry {
		if err := e.printRegenerated(s, plan, false); err != nil {
			return err
		}
		e.hint("dry run, nothing was changed\n")
		return nil
	}
	if !f.yes {
		question := fmt.Sprintf("put a self-signed certificate for %s into service?", requestPlace(plan.Template.Purpose, plan.Template.Node))
		if n := len(plan.Before); n > 0 {
			question = fmt.Sprintf("replace %s certificate for %s, and its key?", theOne(plan.Before), requestPlace(plan.Template.Purpose, plan.Template.Node))
			r := e.newReport()
			r.out = e.err
			r.before("", plan.Before, judgedNow(s))
		}
		if err := e.confirm(ctx, false, question); err != nil {
			return err
		}
	}
	if k := plan.Template.Key; k.Type == purpose.RSA && k.Bits > 3072 && isTerminal(e.err) {
		e.hint("making a key of %d bits\n", k.Bits)
	}
	made, err := s.Regenerate(ctx, plan)
	if err != nil {
		return err
	}
	return e.printRegenerated(s, made, true)
}

// theOne is how a question calls what is replaced.
func theOne(before []cluster.Identity) string {
	for i := range before {
		if !before[i].SelfSigned {
			return "the CA-signed"
		}
	}
	return "the self-signed"
}

// warnRegenerate says what somebody should know before a certificate is made anew.
func (f *newRequestFlags) warnRegenerate(plan *cluster.Regenerated) {
	e := f.env
	for _, b := range distinct(plan.Before) {
		if id := b.first; !id.SelfSigned {
			node := plan.Template.Node
			if id.Multi {
				node = cluster.AllNodes
			}
			e.warn(fmt.Sprintf("the CA-SIGNED certificate %s on %s, issued by %s and valid to %s, is replaced by a self-signed one, which clients of the CA do not trust. To renew it instead: callsign csr create %s",
				or(id.CommonName, id.Subject), strings.Join(b.nodes, ", "), id.IssuerName, id.NotAfter.Format(time.DateOnly), f.chosen(plan.Template.Purpose, node)))
		}
	}
	if plan.Template.Purpose == "ITLRecovery" {
		e.warn("ITLRecovery signs the trust lists. First make sure that the CTL file has the CallManager certificate that is in service now, and that the " +
			"endpoints have loaded that CTL file: otherwise they trust neither signer, and lose their trust lists only by hand")
	}
	for _, other := range plan.Recent {
		e.warn(fmt.Sprintf("%s changed less than a day ago: phones that have not registered since then trust neither the old nor the new %s; "+
			"wait until all phones are registered again (%s)", other, plan.Template.Purpose, upload.NeverTogether))
	}
}

// printRegenerated prints a certificate that was made, or would be.
func (e *env) printRegenerated(s *cluster.Service, g *cluster.Regenerated, stored bool) error {
	t, at := g.Template, judgedNow(s)
	planned := newCreatedItem(s, t, nil)
	if e.json {
		i := regenItem{
			Purpose: t.Purpose, Cluster: s.Cluster.Name, Nodes: g.Nodes, MultiServer: t.Multi(), Stored: stored, CommonName: t.CommonName, Subject: planned.Subject,
			Key: planned.Key, Hash: planned.Hash, Names: planned.Names, Replaced: newSupersededItems(g.Before), Notes: planned.Notes,
			Recent: append([]string{}, g.Recent...), Consequences: newConsequenceItem(&g.Consequences),
		}
		if stored {
			x, err := g.X509()
			if err != nil {
				return err
			}
			item := newCertItem(requestPlace(t.Purpose, t.Node), x, at)
			i.Certificate = &item
		}
		return e.printJSON(i)
	}
	r := e.newReport()
	where := t.Purpose + " on " + strings.Join(g.Nodes, ", ")
	if t.Multi() {
		where += " (multi-server)"
	}
	const in = "  "
	if stored {
		x, err := g.X509()
		if err != nil {
			return err
		}
		r.line("", 0, cluster.AnswerRegenerated(t.Purpose))
		r.line("", 0, "regenerated: "+where)
		r.certificate(newCertItem("", x, at), at)
		r.before(in, g.Before, at)
		e.printConsequences(&g.Consequences)
		return nil
	}
	r.line("", 0, "would regenerate: "+where)
	r.item(in, "subject", planned.Subject)
	r.item(in, "names", or(strings.Join(planned.Names, ", "), "(none)"))
	r.item(in, "key", planned.Key+", signed with "+planned.Hash)
	r.item(in, "valid", fmt.Sprintf("%d years", t.Years))
	r.before(in, g.Before, at)
	e.printToDo("What would have to be done then, in this order:", &g.Consequences)
	return nil
}
