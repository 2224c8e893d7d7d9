package cli

import (
	"context"
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
	"callsign/internal/cluster/upload"
	"callsign/internal/config"
	"callsign/internal/explain"
)

// certUpload is the command line of cert upload.
type certUpload struct {
	clusterFlags

	description, csr, trustDir string
	dry, explain, yes          bool

	purpose, file string
	plain         bool // on files alone: --csr or --trust-dir was given
}

func (e *env) certUpload() *cobra.Command {
	u := &certUpload{clusterFlags: clusterFlags{env: e}}
	cmd := &cobra.Command{
		Use: "upload PURPOSE FILE|-", Short: "Judge what the CA returned, and put it into service",
		Args:              purposeAndFile,
		ValidArgsFunction: completePurposes(true, true),
		Long: `Judge a certificate for a purpose (tomcat), or CA certificates for a trust store (tomcat-trust), and store what is accepted: all of the file
or nothing. The first of 18 checks that fails gives the code and the message, with the compared values, likely causes and what to do;
--explain tells of all that fail. FILE is PEM, DER, base64 or PKCS #7, with or without the CA certificates; - is stdin.

A certificate answers the request that waits: of the node, or the multi-server one. Its chain goes into the trust store with it, and what
has to be restarted is printed in order. Nothing is sent to the nodes.

With --csr or --trust-dir nothing but files is read: the request, and the certificates that the trust store holds, one certificate or bundle
per file. That needs --dry-run, and neither a server nor a configuration; if there is one, its section [cluster] counts.`,
		Example: `  callsign cert upload tomcat-trust root.pem
  callsign cert upload tomcat tomcat.pem --dry-run --explain
  callsign cert upload CallManager cm.p7b --node cucmsub
  callsign cert upload tomcat tomcat.pem --dry-run --csr tomcat.csr --trust-dir store/ --at 2026-11-20T12:00:00Z --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			u.purpose, u.file = args[0], args[1]
			u.plain = cmd.Flags().Changed("csr") || cmd.Flags().Changed("trust-dir")
			if err := u.check(cmd); err != nil {
				return err
			}
			if u.plain {
				return u.judgeFiles()
			}
			return u.toCluster(cmd.Context())
		},
	}
	u.choose(cmd, "host `name` of the node (default: the node whose request the certificate answers, or else the publisher)")
	u.flags(cmd, "`text` for the list, with certificates of a trust store")
	f := cmd.Flags()
	f.StringVar(&u.csr, "csr", "", "`file` with the request that waits; without it, but with --trust-dir, none does")
	f.StringVar(&u.trustDir, "trust-dir", "", "`directory` with what the trust store of the purpose holds; it may be empty")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitFindings)
}

// flags adds what cert upload and trust add have alike.
func (u *certUpload) flags(cmd *cobra.Command, descriptionHelp string) {
	u.judgedAt(cmd)
	f := cmd.Flags()
	f.BoolVar(&u.dry, "dry-run", false, "judge it, and change nothing")
	f.BoolVar(&u.yes, "yes", false, "do not ask before trust certificates are replaced that something needs")
	f.BoolVar(&u.explain, "explain", false, "tell of every check that fails, not of the first one only")
	f.StringVar(&u.description, "description", "", descriptionHelp)
}

// purposeAndFile checks the arguments of cert upload.
func purposeAndFile(cmd *cobra.Command, args []string) error {
	if len(args) != 2 {
		return usage(fmt.Errorf("name a purpose or trust store and one file, such as: tomcat tomcat.pem; got %d argument%s", len(args), plural(len(args))))
	}
	return inOrder(cmd, args, certificateWords())
}

// inOrder refuses two arguments the second of which is one of the words that the first has to be.
func inOrder(cmd *cobra.Command, args, words []string) error {
	if slices.Contains(words, args[0]) || !slices.Contains(words, args[1]) {
		return nil
	}
	return usage(fmt.Errorf("the arguments stand in the wrong order: use %s %s %s", cmd.CommandPath(), args[1], shellQuote(args[0])))
}

func (u *certUpload) check(cmd *cobra.Command) error {
	changed := cmd.Flags().Changed
	switch {
	case u.plain && !u.dry:
		return usage(errors.New("--csr and --trust-dir judge files and store nothing: add --dry-run, or leave both out to upload to the cluster"))
	case u.plain && (changed("node") || changed("cluster")):
		return usage(errors.New("--node and --cluster mean a cluster of the configuration, and with --csr or --trust-dir none is read: leave them out"))
	case u.at != "" && !u.dry:
		return usage(errors.New("--at judges as of another time and would store what may be wrong now: add --dry-run"))
	case u.csr == "-" && u.file == "-":
		return usage(errors.New("- stands for stdin, which can be read once only"))
	case changed("csr") && u.csr == "":
		return usage(errors.New("--csr is empty: name the file with the request, or leave it out when no request waits"))
	case changed("trust-dir") && u.trustDir == "":
		return usage(errors.New("--trust-dir is empty: name a directory"))
	}
	return nil
}

// read reads the file that is judged. What it holds is kept no longer than needed: it may be a private key.
func (u *certUpload) read() (*upload.File, error) {
	if u.file == "-" {
		return upload.ReadFrom(u.env.in)
	}
	data, err := certfile.ReadPrefix(u.file, upload.MaxBytes+1)
	if err != nil {
		if e, ok := errors.AsType[*certfile.Error](err); ok && e.ErrCode == certfile.CodeMissing {
			e.Fix = "check the name and the directory"
		}
		return nil, err
	}
	defer clear(data)
	return upload.Read(data), nil
}

// toCluster judges the file by what the cluster has, and stores it unless only a judgement is wanted.
func (u *certUpload) toCluster(ctx context.Context) error {
	err := u.with(ctx, func(ctx context.Context, s *cluster.Service) error {
		file, err := u.read() // after the configuration, which may be what is wrong
		if err != nil {
			return err
		}
		asked := cluster.Upload{Purpose: u.purpose, Node: u.node, Description: u.description, File: file}
		out, err := s.CheckUpload(ctx, asked)
		if err == nil && !u.dry {
			if err := u.askSuperseded(ctx, out); err != nil {
				return err
			}
			out, err = s.Upload(ctx, asked)
		}
		if err != nil {
			return err
		}
		return u.report(out, s.Cluster, judgedNow(s))
	})
	if e, ok := errors.AsType[*config.FileError](err); ok && u.dry && e.ErrCode == "config.missing" {
		e.Fix += "; or judge by files alone: --csr FILE --trust-dir DIR"
	}
	return err
}

// askSuperseded asks before trust certificates are replaced that phones or certificates in service need.
func (u *certUpload) askSuperseded(ctx context.Context, out *cluster.Outcome) error {
	e := u.env
	needed := 0
	r := e.newReport()
	r.out = e.err
	for i := range out.Superseded {
		if d := &out.Superseded[i]; len(d.Breaks) > 0 || d.Live() > 0 {
			if needed++; !u.yes {
				r.dependents(d, time.Now())
			}
		}
	}
	if needed == 0 {
		return nil
	}
	return e.confirm(ctx, u.yes, fmt.Sprintf("replace %d trust certificate%s that this needs?", needed, plural(needed)))
}

// report prints an outcome, and chooses the exit code. c is nil when files alone were judged.
func (u *certUpload) report(out *cluster.Outcome, c *cluster.Cluster, at time.Time) error {
	u.suggest(out)
	if u.env.json {
		if err := u.env.printJSON(u.item(out, c, at)); err != nil {
			return err
		}
	} else {
		u.print(out, c, at)
	}
	if out.Verdict == upload.Rejected {
		return &exitError{code: exitFindings}
	}
	return nil
}

// suggest says which purpose was probably meant.
func (u *certUpload) suggest(out *cluster.Outcome) {
	if out.Code != upload.BadPurpose {
		return
	}
	names := certificateWords()
	if found := nearest(u.purpose, names); len(found) > 0 && !slices.Contains(names, u.purpose) {
		first := &out.Reasons[0]
		first.Fixes = slices.Insert(slices.Clone(first.Fixes), 0, "did you mean "+explain.Alternatives(found)+"?")
	}
}

// stored reports whether the file changed anything.
func (u *certUpload) stored(out *cluster.Outcome) bool {
	return !u.dry && (out.Verdict == upload.Accepted || out.Verdict == upload.Replacing)
}

// uploadItem is what became of a file, in JSON.
type uploadItem struct {
	Verdict        string           `json:"verdict"` // accept, replace, unchanged or reject
	Code           string           `json:"code"`    // empty unless rejected, as message
	Message        string           `json:"message"`
	Warnings       []string         `json:"warnings"` // codes, some with a name behind a colon
	Reasons        []reasonItem     `json:"reasons"`  // every check that fails, in their order
	WarningDetails []warningItem    `json:"warning_details"`
	Purpose        string           `json:"purpose"`
	Cluster        string           `json:"cluster,omitempty"`
	Nodes          []string         `json:"nodes"`
	MultiServer    bool             `json:"multi_server"`
	Stored         bool             `json:"stored"`      // false in a dry run
	Certificate    *certItem        `json:"certificate"` // null for a trust store
	Added          []trustMove      `json:"added"`       // to the trust store
	Removed        []trustMove      `json:"removed"`
	Replaced       []supersededItem `json:"replaced"`   // certificates in service
	Dependents     []dependentsItem `json:"dependents"` // of removed trust certificates, the added ones being there
	Consequences   *consequenceItem `json:"consequences"`
}

// reasonItem is a check that fails, in JSON.
type reasonItem struct {
	Check   int               `json:"check"`
	Code    string            `json:"code"`
	Message string            `json:"message"`
	Values  map[string]string `json:"values"`
	Causes  []string          `json:"causes"`
	Fixes   []string          `json:"fixes"`
}

// warningItem is a warning in JSON.
type warningItem struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Text   string `json:"text"`
	Fix    string `json:"fix"`
}

// trustMove is a certificate that comes into a trust store or goes out of it, in JSON.
type trustMove struct {
	Subject  string `json:"subject"`
	SHA256   string `json:"sha256"`
	NotAfter string `json:"not_after"`
}

// supersededItem is a certificate in service that another one replaces, in JSON.
type supersededItem struct {
	Node       string `json:"node"`
	CommonName string `json:"common_name"`
	Type       string `json:"type"`
	IssuedBy   string `json:"issued_by"`
	NotAfter   string `json:"not_after"`
	SHA256     string `json:"sha256"`
}

func newSupersededItems(before []cluster.Identity) []supersededItem {
	items := []supersededItem{}
	for i := range before {
		b := &before[i]
		items = append(items, supersededItem{b.Node, b.CommonName, typeWord(typeOf(b)), b.IssuerName, utc(b.NotAfter), b.SHA256})
	}
	return items
}

func typeOf(id *cluster.Identity) cluster.Type {
	if id.SelfSigned {
		return cluster.TypeSelfSigned
	}
	return cluster.TypeCASigned
}

func trustMoves(certs []*chain.Certificate) []trustMove {
	items := []trustMove{}
	for _, c := range certs {
		items = append(items, trustMove{c.Subject(), c.SHA256(), utc(c.X509().NotAfter)})
	}
	return items
}

func (u *certUpload) item(out *cluster.Outcome, c *cluster.Cluster, at time.Time) uploadItem {
	i := uploadItem{
		Verdict: string(out.Verdict), Code: string(out.Code), Message: out.Message, Warnings: []string{}, Reasons: []reasonItem{},
		WarningDetails: []warningItem{}, Purpose: out.Purpose, Nodes: append([]string{}, out.Nodes...), MultiServer: out.Multi,
		Stored: u.stored(out), Added: trustMoves(out.Add), Removed: trustMoves(out.Remove), Replaced: newSupersededItems(out.Before),
		Dependents: []dependentsItem{},
	}
	for n := range out.Superseded {
		i.Dependents = append(i.Dependents, newDependentsItem(&out.Superseded[n]))
	}
	for n := range out.Warnings {
		w := &out.Warnings[n]
		i.Warnings = append(i.Warnings, w.String())
		i.WarningDetails = append(i.WarningDetails, warningItem{string(w.Code), w.Detail, w.Text, w.Fix})
	}
	for _, r := range out.Reasons {
		values := map[string]string{}
		for _, v := range r.Values {
			values[v.Name] = v.Text
		}
		i.Reasons = append(i.Reasons, reasonItem{r.Check, string(r.Code), r.Message, values, append([]string{}, r.Causes...), append([]string{}, r.Fixes...)})
	}
	if out.Leaf != nil {
		item := newCertItem(u.file, out.Leaf.X509(), at)
		i.Certificate = &item
	}
	if c != nil {
		i.Cluster = c.Name
		todo := newConsequenceItem(&out.Consequences)
		i.Consequences = &todo
	}
	return i
}

// print writes an outcome for people.
func (u *certUpload) print(out *cluster.Outcome, c *cluster.Cluster, at time.Time) {
	e := u.env
	if out.Verdict == upload.Rejected {
		u.printRefusal(out)
		return
	}
	r := e.newReport()
	if u.stored(out) {
		for line := range strings.Lines(cluster.AnswerImported(out.Purpose, out.Leaf != nil)) {
			r.line("", 0, strings.TrimSpace(line))
		}
	}
	r.line("", 0, u.headline(out))
	if out.Leaf != nil {
		r.path(out.Path, at)
	}
	r.before("", out.Before, at)
	if n := len(out.Add) + len(out.Remove); n > 0 {
		r.line("", 0, "trust store "+u.store(out)+":")
		for _, c := range out.Add {
			r.item("  ", "added", moved(c, at))
		}
		for _, c := range out.Remove {
			r.item("  ", "removed", moved(c, at))
		}
	}
	for i := range out.Superseded {
		if d := &out.Superseded[i]; d.Used() {
			r.line("", 0, "what is replaced is used:")
			r.dependents(d, at)
		}
	}
	r.uploadWarnings(out.Warnings)
	switch {
	case out.Verdict == upload.Unchanged:
	case u.stored(out):
		e.printConsequences(&out.Consequences)
	case c != nil:
		e.printToDo("What would have to be done then, in this order:", &out.Consequences)
	}
	if u.dry {
		e.hint("dry run, nothing was changed\n")
	}
}

// store is the trust store that a file brings certificates to.
func (u *certUpload) store(out *cluster.Outcome) string {
	if p, ok := purpose.Find(out.Purpose); ok {
		return p.Trust
	}
	return out.Purpose
}

// headline is the verdict in a line.
func (u *certUpload) headline(out *cluster.Outcome) string {
	where := ""
	if len(out.Nodes) > 0 {
		where = " on " + strings.Join(out.Nodes, ", ")
	}
	if out.Multi {
		where += " (multi-server)"
	}
	switch {
	case out.Verdict == upload.Unchanged:
		return fmt.Sprintf("unchanged: %s%s has everything in %s already", out.Purpose, where, sourceName(u.file))
	case out.Leaf != nil:
		return fmt.Sprintf("accepted: %s%s, %s", out.Purpose, where, out.Leaf.Subject())
	case out.Verdict == upload.Replacing:
		return fmt.Sprintf("accepted: %s%s, in the place of %d older certificate%s of the same name", out.Purpose, where, len(out.Remove), plural(len(out.Remove)))
	default:
		return fmt.Sprintf("accepted: %s%s, %d certificate%s", out.Purpose, where, len(out.Add), plural(len(out.Add)))
	}
}

func sourceName(arg string) string {
	if arg == "-" {
		return "stdin"
	}
	return arg
}

// path writes a path from the certificate up to the root.
func (r *report) path(path []*chain.Certificate, at time.Time) {
	for depth, c := range path {
		head := fmt.Sprintf("  %-2d ", depth)
		text := c.Subject()
		if depth == len(path)-1 {
			text += "  (trusted)"
		}
		r.line(head, len(head), text)
		x := c.X509()
		r.line("     ", 5, fmt.Sprintf("valid %s, %s", span(x.NotBefore, x.NotAfter, at), chain.KeyText(x.PublicKey, x.PublicKeyAlgorithm)))
		if names := nameList(x.DNSNames, x.IPAddresses, x.URIs, x.EmailAddresses); depth == 0 && len(names) > 0 {
			r.line("     for ", 9, strings.Join(names, ", "))
		}
	}
}

// before writes which certificates in service make place.
func (r *report) before(indent string, before []cluster.Identity, at time.Time) {
	for _, b := range distinct(before) {
		r.item(indent, "replaces", fmt.Sprintf("%s certificate %s on %s, %s, SHA256 %s",
			typeOf(b.first), or(b.first.CommonName, b.first.Subject), strings.Join(b.nodes, ", "), validUntil(b.first.NotAfter, at), shortSum(b.first.SHA256)))
	}
}

// onNodes is one certificate that is in service on nodes.
type onNodes struct {
	first *cluster.Identity
	nodes []string
}

// distinct puts together what is the same certificate on several nodes.
func distinct(all []cluster.Identity) []onNodes {
	var found []onNodes
	for i := range all {
		id := &all[i]
		n := slices.IndexFunc(found, func(o onNodes) bool { return o.first.SHA256 == id.SHA256 })
		if n < 0 {
			n = len(found)
			found = append(found, onNodes{first: id})
		}
		found[n].nodes = append(found[n].nodes, id.Node)
	}
	return found
}

// validUntil says until when something is valid, or that it is not any more.
func validUntil(until, at time.Time) string {
	if at.After(until) {
		return "EXPIRED " + in(until, at)
	}
	return "valid to " + local(until) + " (" + in(until, at) + ")"
}

// shortSum is the beginning of a fingerprint, by which commands find it.
func shortSum(sha256 string) string { return sha256[:min(16, len(sha256))] }

func moved(c *chain.Certificate, at time.Time) string {
	return fmt.Sprintf("%s, %s, SHA256 %s", c.Subject(), validUntil(c.X509().NotAfter, at), shortSum(c.SHA256()))
}

func (r *report) uploadWarnings(warnings []upload.Warning) {
	for i := range warnings {
		w := &warnings[i]
		r.line(r.env.paint(r.out, "warning:")+" ", 9, w.Text+" ("+w.String()+")")
		r.item("  ", "fix", r.env.toCopy(w.Fix))
	}
}

// printRefusal says why a file is refused: the first reason, or all of them.
func (u *certUpload) printRefusal(out *cluster.Outcome) {
	r := u.env.newReport()
	r.line("", 0, fmt.Sprintf("refused: %s (%s)", out.Message, out.Code))
	r.reason(&out.Reasons[0])
	more := out.Reasons[1:]
	if u.explain {
		for i := range more {
			r.blank()
			r.line("", 0, fmt.Sprintf("also: %s (%s)", more[i].Message, more[i].Code))
			r.reason(&more[i])
		}
	}
	r.blank()
	r.line("", 0, sourceName(u.file)+" was not stored; nothing was changed.")
	if n := len(more); n > 0 && !u.explain {
		u.env.hint("%d more check%s fail%s: repeat the command with --explain\n", n, plural(n), map[bool]string{true: "s"}[n == 1])
	}
	if u.plain && slices.ContainsFunc(out.Reasons[0].Fixes, records.MatchString) {
		u.env.hint("the commands work on a cluster that is described here; of a real node do the same on its own pages, and judge the files again\n")
	}
	u.env.hint("more: callsign explain %s\n", out.Code)
}

// reason writes what was compared, likely causes and what to do.
func (r *report) reason(reason *upload.Reason) {
	width := labelWidth
	for _, v := range reason.Values {
		width = max(width, len(valueLabel(v.Name))+2)
	}
	item := func(label, text string) {
		head := "  " + pad(label, width)
		r.line(head, len(head), text)
	}
	for _, v := range reason.Values {
		item(valueLabel(v.Name), v.Text)
	}
	for i, text := range reason.Causes {
		item(map[bool]string{true: "cause"}[i == 0], text)
	}
	for i, text := range reason.Fixes {
		item(map[bool]string{true: "fix"}[i == 0], r.env.toCopy(text))
	}
}

// valueLabel is the name of a compared value for people.
func valueLabel(name string) string {
	return strings.NewReplacer("_sha256", " SHA256", "_url", " URL", "_", " ").Replace(name)
}
