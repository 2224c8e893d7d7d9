package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/certfile"
	"callsign/internal/cluster"
	"callsign/internal/cluster/purpose"
)

// newRequestFlags is the command line of csr create.
type newRequestFlags struct {
	requestFlags

	commonName, parent, sanFile, key, hash, output string
	sans                                           []string
	includeOU, force, dry, yes                     bool
	parentGiven                                    bool
}

// noParent is the word of --parent-domain for none.
const noParent = "none"

func (e *env) clusterCSRCreate() *cobra.Command {
	f := newRequestFlags{requestFlags: requestFlags{clusterFlags: clusterFlags{env: e}}}
	cmd := &cobra.Command{
		Use: "create PURPOSE [flags]", Short: "Make a key and a request for it", Args: exactlyOne("purpose, e.g. tomcat"), ValidArgsFunction: requestedPurposes,
		Long: `Make a key and a request for a certificate of a purpose, on a node or with --multi-server for all nodes. The key stays in the database; the
request is written to --output, or fetched later with: callsign csr get PURPOSE

The certificate in service is not touched before the new one is uploaded. There is one request for each purpose and node: a new one
replaces the one that waits and its key, and a certificate for that one can then not be uploaded any more. It asks before it does that.

Names in the request: the parent domain (the cluster's, unless --parent-domain says otherwise), the node or with --multi-server all nodes, other domains
(--san, multi-server only), and the alternate host names of the node (callsign subject set --alternate-host-name NAME). The CA has to issue exactly these names.`,
		Example: `  callsign csr create tomcat --multi-server --output tomcat.csr
  callsign csr create ipsec --node cucmsub --key rsa:3072
  callsign csr create tomcat --multi-server --cn cucm.example.com --san webex.example.com --san-file names.txt
  callsign csr create CallManager-ECDSA --multi-server --key ec:256 --hash sha256 --dry-run`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.parentGiven = cmd.Flags().Changed("parent-domain")
			fields, err := f.fields(args[0])
			if err != nil {
				return err
			}
			return f.with(cmd.Context(), func(ctx context.Context, s *cluster.Service) error { return f.run(ctx, s, fields) })
		},
	}
	f.register(cmd, "`node` that makes the request (default: the publisher)")
	f.fieldFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.sanFile, "san-file", "", "`file` with further names, one a line; - is stdin. Blank lines and what follows # are passed over")
	flags.BoolVar(&f.includeOU, "include-ou", false, "with the organisational units of: callsign subject show")
	flags.StringVarP(&f.output, "output", "o", "", "write the request to this `file`; - is stdout")
	flags.BoolVar(&f.force, "force", false, "replace a file that is there")
	flags.BoolVar(&f.dry, "dry-run", false, "tell what would be asked for, and make nothing")
	flags.BoolVar(&f.yes, "yes", false, "replace a request that waits without asking")
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

// fieldFlags adds the flags that requests and self-signed certificates have.
func (f *newRequestFlags) fieldFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.commonName, "cn", "", "common `name` (default: by the purpose; a multi-server one has -ms behind the host)")
	flags.StringVar(&f.parent, "parent-domain", "", "`domain` that is the first of the names, or none (default: the cluster's domain)")
	flags.StringSliceVar(&f.sans, "san", nil, "further `name` of a multi-server certificate, an FQDN; may be repeated")
	flags.StringVar(&f.key, "key", "", "`key`: rsa:1024, rsa:2048, rsa:3072, rsa:4096, ec:256, ec:384 or ec:521 (default: rsa:2048 or ec:384 by the purpose)")
	flags.StringVar(&f.hash, "hash", "", "`hash` of the signature: sha256, sha384 or sha512 (default: the weakest that fits the key)")
	complete(cmd, "parent-domain", noParent)
	complete(cmd, "key", "rsa:1024", "rsa:2048", "rsa:3072", "rsa:4096", "ec:256", "ec:384", "ec:521")
	complete(cmd, "hash", "sha256", "sha384", "sha512")
}

// fields are what the flags ask for.
func (f *newRequestFlags) fields(purposeName string) (cluster.Fields, error) {
	fields := cluster.Fields{Purpose: purposeName, Multi: f.multi, CommonName: f.commonName, Others: f.sans, IncludeOU: f.includeOU}
	if f.output == "-" && f.env.json {
		return fields, usage(errors.New("--output - writes the request to stdout, where --json would stand: leave it out, the request is in the JSON too"))
	}
	if f.parentGiven {
		domain := f.parent
		if strings.EqualFold(domain, noParent) {
			domain = ""
		}
		fields.ParentDomain = &domain
	}
	var err error
	if f.key != "" {
		if fields.Key, err = cluster.ParseKey(f.key); err != nil {
			return fields, err
		}
	}
	if f.hash != "" {
		if fields.Hash, err = cluster.ParseHash(f.hash); err != nil {
			return fields, err
		}
	}
	if f.sanFile != "" {
		names, err := f.env.readNames(f.sanFile)
		if err != nil {
			return fields, err
		}
		fields.Others = append(fields.Others, names...)
	}
	if f.output != "" && !f.dry {
		return fields, mayWrite(f.output, f.force)
	}
	return fields, nil
}

// longestNames bounds a file of names, in bytes.
const longestNames = 1 << 20

// readNames reads a file with a name on each line.
func (e *env) readNames(path string) ([]string, error) {
	from, what := e.in, "stdin"
	if path != "-" {
		file, err := os.Open(path) // #nosec G304 -- the administrator names the file
		if err != nil {
			return nil, usage(fmt.Errorf("--san-file: %w", err))
		}
		defer file.Close() //nolint:errcheck // the file was only read
		from, what = file, path
	}
	data, err := io.ReadAll(io.LimitReader(from, longestNames+1))
	switch {
	case err != nil:
		return nil, usage(fmt.Errorf("--san-file %s: %w", what, err))
	case len(data) > longestNames:
		return nil, usage(fmt.Errorf("--san-file %s is larger than %d bytes: it is no list of names", what, longestNames))
	case bytes.IndexByte(data, 0) >= 0:
		return nil, usage(fmt.Errorf("--san-file %s is not plain text: save it as UTF-8 or ASCII, with one name a line", what))
	}
	var names []string
	sc := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	sc.Buffer(nil, longestNames+1)
	for sc.Scan() {
		name, _, _ := strings.Cut(sc.Text(), "#")
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, usage(fmt.Errorf("--san-file %s names nothing: write one FQDN a line", what))
	}
	return names, nil
}

// createdItem is `csr create --json`.
type createdItem struct {
	Cluster     string            `json:"cluster"`
	Purpose     string            `json:"purpose"`
	Node        string            `json:"node"` // empty for a multi-server request
	MadeOn      string            `json:"made_on"`
	Multi       bool              `json:"multi_server"`
	CommonName  string            `json:"common_name"`
	Subject     string            `json:"subject"`
	Names       []string          `json:"names"`
	Key         string            `json:"key"`
	Hash        string            `json:"hash"`
	KeyUsage    []string          `json:"key_usage"`
	ExtKeyUsage []string          `json:"extended_key_usage"`
	CA          bool              `json:"ca"`
	Notes       []requestNoteItem `json:"notes"`
	Replaces    *replacedItem     `json:"replaces"` // the request that waited; null for none
	Created     string            `json:"created,omitempty"`
	KeySHA256   string            `json:"key_sha256,omitempty"`
	PEM         string            `json:"pem,omitempty"`
	File        string            `json:"file,omitempty"`
	DryRun      bool              `json:"dry_run,omitempty"`
}

// requestNoteItem is a warning in JSON.
type requestNoteItem struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// replacedItem is the request that waited before, in JSON.
type replacedItem struct {
	Created   string `json:"created"`
	KeySHA256 string `json:"key_sha256"`
}

func newCreatedItem(s *cluster.Service, t *cluster.Template, replaces *cluster.Request) createdItem {
	i := createdItem{
		Cluster: s.Cluster.Name, Purpose: t.Purpose, Node: t.Node, MadeOn: t.MadeOn, Multi: t.Multi(), CommonName: t.CommonName, Subject: t.Subject(),
		Key: t.Key.String(), Hash: t.Hash.String(), CA: t.CA, Notes: []requestNoteItem{},
	}
	var ips []net.IP
	for _, a := range t.IPAddresses {
		ips = append(ips, a.AsSlice())
	}
	i.Names = nameList(t.DNSNames, ips, nil, nil)
	i.KeyUsage, i.ExtKeyUsage = usageNames(t)
	for _, n := range t.Notes {
		i.Notes = append(i.Notes, requestNoteItem(n))
	}
	if replaces != nil {
		i.Replaces = &replacedItem{Created: utc(replaces.Created), KeySHA256: replaces.KeyHash}
	}
	return i
}

func (f *newRequestFlags) run(ctx context.Context, s *cluster.Service, fields cluster.Fields) error {
	e := f.env
	fields.Node = f.node
	plan, err := s.PlanRequest(ctx, fields)
	if err != nil {
		return err
	}
	t, waiting := plan.Template, plan.Waiting
	if f.dry {
		item := newCreatedItem(s, t, waiting)
		item.DryRun = true
		if e.json {
			return e.printJSON(item)
		}
		e.newReport().created(s, t, &item)
		e.warnNotes(t)
		if waiting != nil {
			e.warn(f.replaces(t, waiting) + ". It would be replaced")
		}
		e.hint("dry run, no key and no request were made\n")
		return nil
	}
	if waiting != nil {
		e.warn(f.replaces(t, waiting) + ". If it was sent to a CA, a certificate for it cannot be uploaded any more once it is replaced")
		if err := e.confirm(ctx, f.yes, "replace the request for "+requestPlace(t.Purpose, t.Node)+", and delete its private key?"); err != nil {
			return err
		}
	}
	if t.Key.Type == purpose.RSA && t.Key.Bits > 3072 && isTerminal(e.err) {
		e.hint("making a key of %d bits\n", t.Key.Bits)
	}
	made, err := s.CreateRequest(ctx, plan)
	if err != nil {
		return err
	}
	return f.made(s, made)
}

// replaces says which request waits.
func (*newRequestFlags) replaces(t *cluster.Template, waiting *cluster.Request) string {
	return fmt.Sprintf("a request for %s waits already, made %s (key SHA256 %s)", requestPlace(t.Purpose, t.Node), momentText(waiting.Created, time.Now()), waiting.KeyHash[:16])
}

// made reports a request that was made, and writes it where it should go.
func (f *newRequestFlags) made(s *cluster.Service, made *cluster.Created) error {
	e, q := f.env, &made.Request
	item := newCreatedItem(s, made.Template, made.Replaced)
	item.Created, item.KeySHA256, item.PEM = utc(q.Created), q.KeyHash, string(requestPEM(q))
	get := "callsign csr get " + f.chosen(q.Purpose, q.Node)
	if f.output != "" && f.output != "-" {
		item.File = f.output
		if err := certfile.WriteFile(f.output, requestPEM(q), 0o644); err != nil {
			e.hint("the request was made and is kept; write it again with: %s --output FILE\n", get)
			return err
		}
	}
	r := e.newReport()
	switch {
	case e.json:
		return e.printJSON(item)
	case f.output == "-":
		if _, err := e.out.Write(requestPEM(q)); err != nil {
			return err
		}
		if r.out = e.err; e.quiet {
			r.out = io.Discard
		}
	}
	r.line("", 0, cluster.AnswerGenerated(q.Purpose))
	r.created(s, made.Template, &item)
	e.warnNotes(made.Template)
	if made.Replaced != nil {
		e.hint("the request of %s is replaced, and its private key is gone\n", made.Replaced.Created.Local().Format("2006-01-02 15:04 MST"))
	}
	upload := "callsign cert upload " + q.Purpose + " FILE" + f.flagText(q.Node)
	switch f.output {
	case "":
		e.hint("next: %s --output %s.csr, and send the file to the CA; then: %s\n", get, q.Purpose, upload)
	case "-":
		e.hint("next: send it to the CA; then: %s\n", upload)
	default:
		e.hint("wrote the request to %s\nnext: send it to the CA; then: %s\n", f.output, upload)
	}
	return nil
}

// warnNotes says what may surprise.
func (e *env) warnNotes(t *cluster.Template) {
	for _, n := range t.Notes {
		e.warn(n.Text + " (" + n.Code + ")")
	}
}

// created writes what a request asks for.
func (r *report) created(s *cluster.Service, t *cluster.Template, i *createdItem) {
	const in = "  "
	head := "request for " + requestPlace(t.Purpose, t.Node) + ", cluster " + s.Cluster.Name
	if i.Multi {
		head = "request for " + t.Purpose + ", multi-server, made on " + t.MadeOn + ", cluster " + s.Cluster.Name
	}
	r.line("", 0, head)
	r.item(in, "subject", i.Subject)
	r.item(in, "names", or(strings.Join(i.Names, ", "), "(none)"))
	r.item(in, "key", i.Key+", signed with "+i.Hash)
	r.item(in, "key usage", strings.Join(i.KeyUsage, ", "))
	r.item(in, "extended", strings.Join(i.ExtKeyUsage, ", "))
	if i.CA {
		r.item(in, "CA", "true, with a path length of 0")
	}
	r.item(in, "key SHA256", i.KeySHA256)
}
