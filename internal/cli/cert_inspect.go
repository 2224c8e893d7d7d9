package cli

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/chain"
	"callsign/internal/certfile"
	"callsign/internal/cluster"
	"callsign/internal/cluster/purpose"
	"callsign/internal/explain"
)

// certInspect is the command line of cert inspect.
type certInspect struct {
	clusterFlags

	reader            *certReader
	chain, pem, short bool
	at                time.Time // of the judgement
}

func (e *env) certInspect() *cobra.Command {
	c := &certInspect{clusterFlags: clusterFlags{env: e}, reader: &certReader{env: e}}
	cmd := &cobra.Command{
		Use: "inspect FILE|-|HOST:PORT|PURPOSE[@NODE]...", Short: "Show certificates, requests, revocation lists and keys", Args: atLeastOne(certArguments),
		ValidArgsFunction: c.completeArgument,
		Long: "Show certificates, requests and revocation lists, and of private keys the kind and size.\n" + containers + `

PURPOSE[@NODE], such as tomcat@cucmsub, is the certificate in service on a node of the configured cluster (default: the publisher): with its path in
the trust store, which --chain shows whole, and what happened to it last.`,
		Example: `  callsign cert inspect phone.pem
  callsign cert inspect cucm.example.com:8443
  callsign cert inspect --password-file password.txt --json tomcat.p12
  cat phone.pem | callsign cert inspect -
  callsign cert inspect tomcat@cucmsub --chain
  callsign cert inspect tomcat --chain --pem > tomcat-chain.pem`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.check(); err != nil {
				return err
			}
			var inputs []*certInput
			var failed []error
			readable := 0
			for _, a := range args {
				in := c.read(cmd.Context(), a)
				if cmd.Context().Err() != nil {
					return cmd.Context().Err()
				}
				inputs = append(inputs, in)
				in.warnKey(e)
				failed = append(failed, in.problems(certfile.PrivateKey)...) // an encrypted key is shown as one
				readable += in.readable()
			}
			if err := c.print(inputs); err != nil {
				return err
			}
			err := errors.Join(failed...)
			if err != nil && readable > 0 {
				return &exitError{code: exitPartial, err: err}
			}
			return err
		},
	}
	c.reader.flags(cmd)
	c.choose(cmd, "")
	c.judgedAt(cmd)
	f := cmd.Flags()
	f.BoolVar(&c.chain, "chain", false, "of a certificate in service show the whole path up to the root")
	f.BoolVar(&c.pem, "pem", false, "print the certificates as PEM, and nothing else")
	f.BoolVar(&c.short, "short", false, "print a line for each object")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitPartial, exitUnreachable)
}

func (c *certInspect) check() error {
	now, err := c.clock()
	switch {
	case err != nil:
		return err
	case c.pem && c.env.json:
		return usage(errors.New("--pem writes PEM, where --json would stand: leave one of both out"))
	case c.pem && c.short:
		return usage(errors.New("--pem prints nothing but certificates: leave --short out"))
	}
	if c.at = time.Now(); now != nil {
		c.at = now()
	}
	return c.reader.open()
}

// completeArgument completes files and, of clusters, purposes with their nodes.
func (c *certInspect) completeArgument(_ *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	for _, described := range c.described() {
		for _, p := range purpose.Identities() {
			for _, n := range described.NodesWith(&p) {
				if name := p.Name + "@" + n.Name; prefix != "" && strings.HasPrefix(name, prefix) {
					names = append(names, name)
				}
			}
		}
	}
	return names, cobra.ShellCompDirectiveDefault
}

// read reads what an argument means: a file of that name wins, then a server, then a purpose.
func (c *certInspect) read(ctx context.Context, arg string) *certInput {
	name, node, _ := strings.Cut(arg, "@")
	address, _, err := liveAddress(arg)
	_, isPurpose := purpose.Find(name)
	if isPurpose && !isFile(arg) && address == "" && err == nil {
		in := &certInput{source: arg}
		in.service, in.err = c.inService(ctx, name, node)
		if in.service != nil {
			in.objects = in.service.objects(c.chain)
		}
		return in
	}
	in := c.reader.read(ctx, arg, "", false)
	if e, ok := errors.AsType[*certfile.Error](in.err); ok && e.ErrCode == certfile.CodeMissing {
		if purpose.IsStore(name) {
			e.Fix += "; the certificates of a trust store are listed with: callsign cert list --purpose " + shellQuote(name)
		} else if found := nearest(name, purpose.Names()); len(found) > 0 {
			e.Fix += "; or did you mean the purpose " + explain.Alternatives(found) + "?"
		}
	}
	return in
}

// serviceItem is a certificate in service, in JSON.
type serviceItem struct {
	Source       string           `json:"source"`
	Cluster      string           `json:"cluster"`
	Purpose      string           `json:"purpose"`
	Node         string           `json:"node"`
	Distribution string           `json:"distribution"`
	Description  string           `json:"description"`
	Since        string           `json:"since"`
	Chain        string           `json:"chain"` // ok, self-signed, or why there is no path
	Broken       bool             `json:"broken"`
	Path         []serviceLink    `json:"path"`
	History      []serviceHistory `json:"history"` // the latest first

	path []*chain.Certificate
}

// serviceLink is a certificate of a path, in JSON.
type serviceLink struct {
	Subject  string `json:"subject"`
	NotAfter string `json:"not_after"`
	SHA256   string `json:"sha256"`
}

// serviceHistory is an event, in JSON.
type serviceHistory struct {
	At     string `json:"at"`
	Actor  string `json:"actor"`
	Action string `json:"action"`
	Detail string `json:"detail"`
	Before string `json:"before,omitempty"` // fingerprints, of a request the hash of its key
	After  string `json:"after,omitempty"`
}

// latest is how many events are shown.
const latest = 5

// inService looks a certificate up in the cluster.
func (c *certInspect) inService(ctx context.Context, name, node string) (item *serviceItem, err error) {
	return item, c.with(ctx, func(ctx context.Context, s *cluster.Service) error {
		found, err := s.InService(ctx, name, node, false)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return c.notInService(ctx, s, name, node)
		}
		id := &found[0]
		result, err := s.Path(ctx, id)
		if err != nil {
			return err
		}
		item = &serviceItem{
			Source: name + "@" + id.Node, Cluster: s.Cluster.Name, Purpose: name, Node: id.Node, Distribution: id.Node, Description: id.Description, Since: utc(id.Since),
			Chain: result.Text, Broken: result.Broken, Path: []serviceLink{}, History: []serviceHistory{}, path: result.Path,
		}
		if id.Multi {
			item.Distribution = cluster.MultiServer
		}
		for _, l := range result.Path {
			item.Path = append(item.Path, serviceLink{l.Subject(), utc(l.X509().NotAfter), l.SHA256()})
		}
		events, err := s.History(ctx, 0)
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.Purpose == name && (e.Node == id.Node || e.Node == cluster.AllNodes) && len(item.History) < latest {
				item.History = append(item.History, serviceHistory{utc(e.At), e.Actor, e.Action, e.Detail, e.Before, e.After})
			}
		}
		return nil
	})
}

// notInService says that a node has no certificate of a purpose here, and what would bring one.
func (c *certInspect) notInService(ctx context.Context, s *cluster.Service, name, node string) error {
	n, err := s.NodeNamed(node)
	if err != nil {
		return err
	}
	p, known := purpose.Find(name)
	if with := s.Cluster.NodesWith(p); node == "" && !n.Has(p) && len(with) > 0 {
		n = with[0] // what the publisher has not is looked for where it is
	}
	fix := "make a self-signed one: callsign cert regen " + name + c.flagText(n.Name)
	if known && p.CSR {
		fix = "make a request and have it signed: callsign csr create " + name + c.flagText(n.Name) + "; or " + fix
	}
	requests, err := s.Requests(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(requests, func(q cluster.Request) bool {
		return q.Purpose == name && (q.Node == n.Name || q.Node == cluster.AllNodes)
	}) {
		fix = "a request waits: have it signed (callsign csr get " + name + "), then: callsign cert upload " + name + " FILE" + c.flagText("")
	}
	return &cluster.Problem{ErrCode: cluster.CodeNoCert, Detail: fmt.Sprintf("no certificate for %s is in service on %s, as far as is known here", name, n.Name), Fix: fix}
}

// objects are the certificates that are shown: the one in service, or its whole path.
func (i *serviceItem) objects(whole bool) []certfile.Object {
	path := i.path
	if !whole {
		path = path[:1]
	}
	var all []certfile.Object
	for _, l := range path {
		all = append(all, certfile.Object{Kind: certfile.Certificate, Raw: l.Raw(), Certificate: l.X509()})
	}
	return all
}

// readable counts the objects that could be read; an encrypted key is what it is.
func (in *certInput) readable() int {
	n := 0
	for _, o := range in.objects {
		if o.Err == nil || o.Kind == certfile.PrivateKey {
			n++
		}
	}
	return n
}

// print prints what was found, in the form that was asked for.
func (c *certInspect) print(inputs []*certInput) error {
	switch {
	case c.pem:
		for _, in := range inputs {
			for _, der := range in.ders() {
				if err := pem.Encode(c.env.out, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
					return err
				}
			}
		}
		return nil
	case c.short && !c.env.json:
		return c.printShort(inputs)
	default:
		return c.env.inspected(inputs, c.at)
	}
}

// printShort prints a line for each object.
func (c *certInspect) printShort(inputs []*certInput) error {
	var lines [][]string
	for _, in := range inputs {
		for i := range in.objects {
			o := &in.objects[i]
			line := []string{in.source, o.Kind.String(), "-", "-", "-"}
			switch item := newItem(in.source, o, c.at).(type) {
			case certItem:
				line[2] = or(item.Subject, "-")
				if item.x != nil {
					line[3] = validUntil(item.x.NotAfter, c.at)
				}
				line[4] = "SHA256 " + shortSum(item.SHA256)
			case requestItem:
				line[2] = or(item.Subject, "-")
			case crlItem:
				line[2] = or(item.Issuer, "-")
			}
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return table(c.env.out, []string{"SOURCE", "KIND", "SUBJECT", "VALID", "FINGERPRINT"}, lines)
}

// inspected prints what was found.
func (e *env) inspected(inputs []*certInput, now time.Time) error {
	items := []any{}
	var servers []*serverItem
	var services []*serviceItem
	for _, in := range inputs {
		if s := in.serverItem(); s != nil {
			servers = append(servers, s)
		}
		if in.service != nil {
			services = append(services, in.service)
		}
		for i := range in.objects {
			items = append(items, newItem(in.source, &in.objects[i], now))
		}
	}
	if e.json {
		return e.printJSON(struct {
			Items    []any          `json:"items"`
			Total    int            `json:"total"`
			Servers  []*serverItem  `json:"servers,omitempty"`
			Services []*serviceItem `json:"services,omitempty"`
		}{items, len(items), servers, services})
	}
	r := e.newReport()
	first := true
	for _, in := range inputs {
		server := in.serverItem()
		for i := range in.objects {
			if !first {
				fmt.Fprintln(e.out)
			}
			first = false
			r.line("", 0, in.source)
			if server != nil && i == 0 {
				r.item("  ", "server", server.words())
			}
			if in.service != nil && i == 0 {
				r.service(in.service)
			}
			r.object(newItem(in.source, &in.objects[i], now), now)
			if in.service != nil && i == len(in.objects)-1 {
				r.history(in.service)
			}
		}
	}
	return nil
}

// service writes what a cluster knows of a certificate.
func (r *report) service(i *serviceItem) {
	const in = "  "
	where := i.Purpose + " on " + i.Node
	if i.Distribution == cluster.MultiServer {
		where += ", multi-server"
	}
	r.item(in, "in service", where+", cluster "+i.Cluster)
	r.item(in, "description", i.Description)
	text := i.Chain
	if i.Broken {
		text = "BROKEN: " + text
	}
	r.item(in, "chain", text)
}

// history writes what happened last.
func (r *report) history(i *serviceItem) {
	if len(i.History) == 0 {
		return
	}
	r.line("  ", 2, "last changes:")
	for _, h := range i.History {
		text := strings.ReplaceAll(h.Action, ".", " ") + " by " + h.Actor
		if h.Detail != "" {
			text += ", " + h.Detail
		}
		if h.After != "" {
			text += ", SHA256 " + shortSum(h.After)
		}
		when := h.At
		if at, err := time.Parse(time.RFC3339, h.At); err == nil {
			when = local(at)
		}
		r.line("    "+when+"  ", len(when)+6, text)
	}
}
