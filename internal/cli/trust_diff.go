package cli

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/certfile"
	"callsign/internal/cluster"
)

// differenceItem is a certificate that not all nodes have which should, in JSON.
type differenceItem struct {
	Certificate string   `json:"certificate"` // trust store or purpose
	Name        string   `json:"name"`
	SHA256      string   `json:"sha256"`
	NotAfter    string   `json:"not_after"`
	On          []string `json:"on"`
	Missing     []string `json:"missing"`
	Text        string   `json:"text,omitempty"`
}

func (e *env) trustDiff() *cobra.Command {
	f := clusterFlags{env: e}
	cmd := &cobra.Command{
		Use: "diff", Short: "Show where the nodes of a cluster differ", Args: noArgs,
		Long: `Show certificates that not all nodes have which should: in the stores that each node has for itself (CAPF-trust, ipsec-trust), and multi-server
certificates that a node lacks, because it was added later. It ends with 3 when there is a difference.`,
		Example: `  callsign trust diff
  callsign trust diff --cluster lab --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.with(cmd.Context(), func(ctx context.Context, s *cluster.Service) error {
				found, err := s.Diff(ctx)
				if err != nil {
					return err
				}
				return e.printDiff(&f, s, found)
			})
		},
	}
	f.choose(cmd, "")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitFindings)
}

func (e *env) printDiff(f *clusterFlags, s *cluster.Service, found []cluster.Difference) error {
	var err error
	if len(found) > 0 {
		err = &exitError{code: exitFindings}
	}
	if e.json {
		items := make([]differenceItem, 0, len(found))
		for _, d := range found {
			i := differenceItem(d)
			i.On, i.Missing = append([]string{}, d.On...), append([]string{}, d.Missing...)
			items = append(items, i)
		}
		if failed := e.printJSON(struct {
			Items []differenceItem `json:"items"`
			Total int              `json:"total"`
		}{items, len(items)}); failed != nil {
			return failed
		}
		return err
	}
	if len(found) == 0 {
		fmt.Fprintf(e.out, "The nodes of the cluster %s do not differ.\n", s.Cluster.Name)
		return nil
	}
	lines := make([][]string, 0, len(found))
	for _, d := range found {
		lines = append(lines, []string{d.Certificate, d.Name, strings.Join(d.On, ","), strings.Join(d.Missing, ","), shortSum(d.SHA256)})
	}
	if failed := table(e.out, []string{"CERTIFICATE", "NAME", "ON", "MISSING ON", "SHA256"}, lines); failed != nil {
		return failed
	}
	for _, d := range found {
		if d.Text != "" {
			next := requestFlags{clusterFlags: *f}
			e.hint("%s: %s: callsign csr create %s\n", d.Certificate, d.Text, next.chosen(d.Certificate, cluster.AllNodes))
			continue
		}
		e.hint("to have %s on %s as well: callsign trust export %s --node %s --output %s.pem%s, leave that certificate in the file, then: callsign trust add %s %s.pem --node %s%s\n",
			visible(d.Name), d.Missing[0], d.Certificate, d.On[0], d.Certificate, f.flagText(""), d.Certificate, d.Certificate, d.Missing[0], f.flagText(""))
	}
	return err
}

func (e *env) trustExport() *cobra.Command {
	f := clusterFlags{env: e}
	var output string
	var force bool
	cmd := &cobra.Command{
		Use: "export STORE", Short: "Write the certificates of a trust store as one PEM file", Args: exactlyOne("trust store, e.g. tomcat-trust"),
		ValidArgsFunction: completePurposes(false, true),
		Long: `Write the certificates of a trust store as one PEM file, each under a comment with its subject and end: what every node has, and what the node of --node
has for itself. Other programs read the file as a bundle of CAs; copies of certificates in service are in it as well.`,
		Example: `  callsign trust export tomcat-trust --output tomcat-trust.pem
  callsign trust export ipsec-trust --node cucmsub | openssl storeutl -noout -text -certs /dev/stdin`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := mayWrite(output, force); err != nil {
				return err
			}
			return f.with(cmd.Context(), func(ctx context.Context, s *cluster.Service) error {
				certs, err := s.Export(ctx, args[0], f.node)
				if err != nil {
					return err
				}
				if len(certs) == 0 {
					return &cluster.Problem{
						ErrCode: cluster.CodeNoCert, Detail: args[0] + " of the cluster " + s.Cluster.Name + " is empty: nothing was written",
						Fix: "look at what there is with: callsign trust list; certificates are put in with: callsign trust add " + args[0] + " FILE",
					}
				}
				return e.writeBundle(output, certs)
			})
		},
	}
	f.choose(cmd, "with what this `node` has for itself (default: the publisher)")
	cmd.Flags().StringVarP(&output, "output", "o", "-", "write to this `file`; - is stdout")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that is there")
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

// exportedItem is `trust export --json`.
type exportedItem struct {
	Store string      `json:"store"`
	File  string      `json:"file,omitempty"`
	Total int         `json:"total"`
	PEM   string      `json:"pem"`
	Items []itemOfPEM `json:"items"`
}

// itemOfPEM is a certificate of a bundle, in its order.
type itemOfPEM struct {
	Subject  string `json:"subject"`
	NotAfter string `json:"not_after"`
	SHA256   string `json:"sha256"`
}

func (e *env) writeBundle(output string, certs []cluster.Trust) error {
	var b bytes.Buffer
	items := make([]itemOfPEM, 0, len(certs))
	for i := range certs {
		t := &certs[i]
		fmt.Fprintf(&b, "# %s, valid to %s\n", visible(t.Subject), utc(t.NotAfter))
		if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: t.DER}); err != nil {
			return err
		}
		items = append(items, itemOfPEM{t.Subject, utc(t.NotAfter), t.SHA256})
	}
	result := exportedItem{Store: certs[0].Store, Total: len(certs), PEM: b.String(), Items: items}
	if output != "-" {
		result.File = output
		if err := certfile.WriteFile(output, b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	switch {
	case e.json:
		return e.printJSON(result)
	case output == "-":
		_, err := e.out.Write(b.Bytes())
		return err
	}
	e.hint("wrote %d certificate%s of %s to %s\n", len(certs), plural(len(certs)), result.Store, output)
	expired := 0
	for i := range certs {
		if certs[i].NotAfter.Before(time.Now()) {
			expired++
		}
	}
	if expired > 0 {
		e.warn(fmt.Sprintf("%d of them %s expired", expired, map[bool]string{true: "has", false: "have"}[expired == 1]))
	}
	return nil
}
