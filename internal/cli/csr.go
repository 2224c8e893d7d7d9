package cli

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/chain"
	"callsign/internal/certfile"
	"callsign/internal/cluster"
	"callsign/internal/cluster/purpose"
)

func (e *env) clusterCSRCommand() *cobra.Command {
	return group("csr", "Requests for the certificates of a cluster's nodes", e.clusterCSRCreate(), e.clusterCSRList(), e.clusterCSRGet(), e.clusterCSRDelete())
}

// clusterRequestItem is a request in JSON.
type clusterRequestItem struct {
	Cluster    string   `json:"cluster"`
	Purpose    string   `json:"purpose"`
	Node       string   `json:"node"` // empty for a multi-server request
	Multi      bool     `json:"multi_server"`
	CommonName string   `json:"common_name"`
	Subject    string   `json:"subject"`
	Names      []string `json:"names"`
	Key        string   `json:"key"`
	Signature  string   `json:"signature_algorithm"`
	Created    string   `json:"created"`
	Age        int64    `json:"age_seconds"`
	KeySHA256  string   `json:"key_sha256"` // of the SubjectPublicKeyInfo
	PEM        string   `json:"pem,omitempty"`
	File       string   `json:"file,omitempty"`    // that it was written to
	DryRun     bool     `json:"dry_run,omitempty"` // of a deletion
}

func newClusterRequestItem(s *cluster.Service, q *cluster.Request, now time.Time) (clusterRequestItem, error) {
	x, err := x509.ParseCertificateRequest(q.DER)
	if err != nil {
		return clusterRequestItem{}, fmt.Errorf("read the request of %s in the database: %w", requestPlace(q.Purpose, q.Node), err)
	}
	return clusterRequestItem{
		Cluster: s.Cluster.Name, Purpose: q.Purpose, Node: q.Node, Multi: q.Node == cluster.AllNodes, CommonName: x.Subject.CommonName, Subject: chain.NameText(x.RawSubject),
		Names: nameList(x.DNSNames, x.IPAddresses, x.URIs, x.EmailAddresses), Key: keyWord(x.RawSubjectPublicKeyInfo), Signature: x.SignatureAlgorithm.String(),
		Created: utc(q.Created), Age: int64(now.Sub(q.Created).Seconds()), KeySHA256: q.KeyHash,
	}, nil
}

// requestPlace is how messages call the request of a purpose.
func requestPlace(purposeName, node string) string {
	if node == cluster.AllNodes {
		return purposeName + ", multi-server"
	}
	return purposeName + " on " + node
}

// requestFlags choose one request.
type requestFlags struct {
	clusterFlags

	multi bool
}

func (f *requestFlags) register(cmd *cobra.Command, nodeHelp string) {
	f.choose(cmd, nodeHelp)
	cmd.Flags().BoolVar(&f.multi, "multi-server", false, "the request of one certificate for all nodes")
}

// check refuses a choice of two.
func (f *requestFlags) check() error {
	if f.multi && f.node != "" {
		return usage(errors.New("--node and --multi-server exclude each other here: a multi-server request waits for every node"))
	}
	return nil
}

// chosen repeats in a command to copy what chooses a request.
func (f *requestFlags) chosen(purposeName, node string) string {
	if node == cluster.AllNodes {
		return purposeName + " --multi-server" + f.flagText("")
	}
	return purposeName + f.flagText(node)
}

// find opens the cluster and the request that is meant.
func (f *requestFlags) find(ctx context.Context, purposeName string, do func(context.Context, *cluster.Service, *cluster.Request) error) error {
	if err := f.check(); err != nil {
		return err
	}
	return f.with(ctx, func(ctx context.Context, s *cluster.Service) error {
		q, err := s.Request(ctx, purposeName, f.node, f.multi)
		if err != nil {
			return err
		}
		return do(ctx, s, q)
	})
}

// requestedPurposes completes the first argument with the purposes that have requests.
func requestedPurposes(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, p := range purpose.Identities() {
		if p.CSR {
			names = append(names, p.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func requestPEM(q *cluster.Request) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: q.DER})
}

func (e *env) clusterCSRList() *cobra.Command {
	f := clusterFlags{env: e}
	cmd := &cobra.Command{
		Use: "list", Short: "List the requests that wait for their certificates", Args: noArgs,
		Long: `List the requests of a cluster that wait for their certificates. There is one at most for each purpose and node, and one
multi-server request for each purpose. When its certificate is uploaded a request is gone from the list.`,
		Example: `  callsign csr list
  callsign csr list --json | jq -r '.items[] | [.purpose, .node, .key_sha256] | @tsv'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.with(cmd.Context(), func(ctx context.Context, s *cluster.Service) error {
				requests, err := s.Requests(ctx)
				if err != nil {
					return err
				}
				return e.printClusterRequests(&f, s, requests)
			})
		},
	}
	f.choose(cmd, "")
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

func (e *env) printClusterRequests(f *clusterFlags, s *cluster.Service, requests []cluster.Request) error {
	now := time.Now()
	items := make([]clusterRequestItem, 0, len(requests))
	for i := range requests {
		item, err := newClusterRequestItem(s, &requests[i], now)
		if err != nil {
			return err
		}
		items = append(items, item)
	}
	if e.json {
		return e.printJSON(struct {
			Items []clusterRequestItem `json:"items"`
			Total int                  `json:"total"`
		}{items, len(items)})
	}
	if len(items) == 0 {
		fmt.Fprintf(e.out, "No request of the cluster %s waits. One is made with: callsign csr create PURPOSE%s\n", s.Cluster.Name, f.flagText(""))
		return nil
	}
	lines := make([][]string, 0, len(items))
	for i, item := range items {
		created := requests[i].Created
		lines = append(lines, []string{
			item.Purpose, nodeOf(item.Node), or(item.CommonName, "-"), item.Key, fewNames(item.Names), created.Local().Format("2006-01-02 15:04"),
			strings.TrimPrefix(in(now.Add(now.Sub(created)), now), "in "),
		})
	}
	if err := table(e.out, []string{"PURPOSE", "NODE", "COMMON NAME", "KEY", "NAMES", "CREATED", "AGE"}, lines); err != nil {
		return err
	}
	e.hint("next: callsign csr get PURPOSE --output FILE%[1]s, have it signed, then: callsign cert upload PURPOSE FILE%[1]s\n", f.flagText(""))
	return nil
}

// fewNames are the names of a request in a table: all of a few, of more how many there are.
func fewNames(names []string) string {
	const few = 4
	switch {
	case len(names) == 0:
		return "(none)"
	case len(names) > few:
		return fmt.Sprintf("%d names", len(names))
	default:
		return strings.ReplaceAll(strings.Join(names, ","), "DNS:", "")
	}
}

func (e *env) clusterCSRGet() *cobra.Command {
	f := requestFlags{clusterFlags: clusterFlags{env: e}}
	var output string
	var der, force bool
	cmd := &cobra.Command{
		Use: "get PURPOSE", Short: "Write a request, for the CA to sign", Args: exactlyOne("purpose, e.g. tomcat"), ValidArgsFunction: requestedPurposes,
		Long: `Write the request of a purpose that waits for its certificate, for the CA to sign: PEM, or with --der DER. When several wait, --node or
--multi-server says which one is meant. The request may be fetched as often as it is needed; it stays the same. The private key is not in it, and no
command writes it.`,
		Example: `  callsign csr get tomcat --multi-server --output tomcat.csr
  callsign csr get ipsec --node cucmsub | openssl req -noout -text
  callsign csr get CAPF --der --output request.der`,
		RunE: func(cmd *cobra.Command, args []string) error {
			toFile := output != "-"
			switch {
			case der && !toFile && isTerminal(e.out):
				return usage(errors.New("--der writes binary data, and stdout is a terminal: name a file with --output, or leave --der out"))
			case der && !toFile && e.json:
				return usage(errors.New("--der writes binary data where --json would stand: name a file with --output, or leave one of them out"))
			}
			return f.find(cmd.Context(), args[0], func(_ context.Context, s *cluster.Service, q *cluster.Request) error {
				item, err := newClusterRequestItem(s, q, time.Now())
				if err != nil {
					return err
				}
				data := requestPEM(q)
				if item.PEM = string(data); der {
					data = q.DER
				}
				if !toFile && !e.json {
					_, err := e.out.Write(data)
					return err
				}
				if toFile {
					item.File = output
					if err := mayWrite(output, force); err != nil {
						return err
					}
					if err := certfile.WriteFile(output, data, 0o644); err != nil {
						return err
					}
				}
				if e.json {
					return e.printJSON(item)
				}
				e.hint("wrote the request for %s to %s\nnext: have it signed with all that it asks for, then: callsign cert upload %s FILE%s\n", requestPlace(q.Purpose, q.Node), output, q.Purpose, f.flagText(q.Node))
				return nil
			})
		},
	}
	f.register(cmd, "`node` that made the request")
	flags := cmd.Flags()
	flags.StringVarP(&output, "output", "o", "-", "write to this `file`; - is stdout")
	flags.BoolVar(&der, "der", false, "DER instead of PEM")
	flags.BoolVar(&force, "force", false, "replace a file that is there")
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

func (e *env) clusterCSRDelete() *cobra.Command {
	f := requestFlags{clusterFlags: clusterFlags{env: e}}
	var dry, yes bool
	cmd := &cobra.Command{
		Use: "delete PURPOSE", Short: "Delete a request and its private key", Args: exactlyOne("purpose, e.g. tomcat"), ValidArgsFunction: requestedPurposes,
		Long: `Delete a request that waits, and its private key: a certificate that a CA issues for it cannot be uploaded any more. The certificate in
service and its key stay as they are.`,
		Example: `  callsign csr delete tomcat --multi-server
  callsign csr delete ipsec --node cucmsub --yes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.find(cmd.Context(), args[0], func(ctx context.Context, s *cluster.Service, q *cluster.Request) error {
				item, err := newClusterRequestItem(s, q, time.Now())
				if err != nil {
					return err
				}
				item.DryRun = dry
				if !e.json {
					r := e.newReport()
					r.line("", 0, "request for "+requestPlace(q.Purpose, q.Node))
					r.clusterRequest(&item, q.Created)
				}
				if !dry {
					if err := e.confirm(ctx, yes, "delete this request and its private key? A certificate for it can then not be uploaded any more."); err != nil {
						return err
					}
					if err := s.DeleteRequest(ctx, q); err != nil {
						return err
					}
				}
				switch {
				case e.json:
					return e.printJSON(item)
				case dry:
					e.hint("dry run, nothing was changed; it would delete this request and its private key\n")
				default:
					e.hint("deleted the request for %s and its private key; the certificate in service stays\n", requestPlace(q.Purpose, q.Node))
				}
				return nil
			})
		},
	}
	f.register(cmd, "`node` that made the request")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "tell what would be deleted, and delete nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask for a confirmation")
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

// clusterRequest writes a request for people.
func (r *report) clusterRequest(i *clusterRequestItem, created time.Time) {
	const in = "  "
	r.item(in, "subject", i.Subject)
	r.item(in, "names", or(strings.Join(i.Names, ", "), "(none)"))
	r.item(in, "key", i.Key)
	r.item(in, "created", momentText(created, time.Now()))
	r.item(in, "key SHA256", i.KeySHA256)
}

// usageNames are the key usages that a template asks for, and the extended ones.
func usageNames(t *cluster.Template) (bits, extended []string) {
	extended = []string{}
	for _, u := range t.ExtKeyUsage {
		extended = append(extended, u.String())
	}
	return chain.KeyUsageNames(t.KeyUsage), extended
}
