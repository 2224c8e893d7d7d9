package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/cluster"
	"callsign/internal/cluster/purpose"
)

// rowItem is a line of the list of certificates, in JSON.
type rowItem struct {
	Certificate  string  `json:"certificate"` // purpose or trust store
	CommonName   string  `json:"common_name"`
	Usage        string  `json:"usage"`    // identity or trust
	Type         string  `json:"type"`     // self-signed, ca-signed or csr-only
	KeyType      string  `json:"key_type"` // RSA or EC
	KeyBits      int     `json:"key_bits"`
	Distribution string  `json:"distribution"`
	Node         string  `json:"node"` // empty: every node
	IssuedBy     string  `json:"issued_by"`
	NotBefore    *string `json:"not_before"` // null for a request, as not_after
	NotAfter     *string `json:"not_after"`
	ExpiresIn    *int64  `json:"expires_in_seconds"`
	State        string  `json:"state"` // valid, expired, not-yet-valid or waiting
	Description  string  `json:"description"`
	Serial       string  `json:"serial"`
	SHA256       string  `json:"sha256"` // of a request that of its public key
	FileName     string  `json:"file_name"`
	Chain        string  `json:"chain"` // ok, self-signed, or why there is no path; empty for trust certificates and requests
	Broken       bool    `json:"broken"`
	Twin         string  `json:"twin"` // type of the certificate with the other kind of key; empty without one
	TwinWarning  bool    `json:"twin_warning"`
	System       bool    `json:"system"` // in a trust store: a copy of a certificate in service
	Since        *string `json:"since"`
}

// The words of --usage and --type, and how a certificate stands.
var (
	usagesOfRows = []string{string(cluster.IdentityUsage), string(cluster.TrustUsage)}
	rowTypes     = []cluster.Type{cluster.TypeSelfSigned, cluster.TypeCASigned, cluster.TypeCSROnly}
	keyTypes     = []string{string(purpose.RSA), string(purpose.EC)}
)

const (
	stateValid       = "valid"
	stateExpired     = "expired"
	stateNotYetValid = "not-yet-valid"
	stateWaiting     = "waiting" // a request without its certificate
)

// typeWord is a type as flags and JSON have it.
func typeWord(t cluster.Type) string {
	return strings.ToLower(strings.ReplaceAll(string(t), " ", "-"))
}

func typeWords() []string {
	var words []string
	for _, t := range rowTypes {
		words = append(words, typeWord(t))
	}
	return words
}

func stateOf(r *cluster.Row, at time.Time) string {
	switch {
	case r.Type == cluster.TypeCSROnly:
		return stateWaiting
	case at.After(r.NotAfter):
		return stateExpired
	case at.Before(r.NotBefore):
		return stateNotYetValid
	default:
		return stateValid
	}
}

func newRowItem(r *cluster.Row, at time.Time) rowItem {
	i := rowItem{
		Certificate: r.Certificate, CommonName: r.CommonName, Usage: string(r.Usage), Type: typeWord(r.Type), KeyType: r.KeyType, KeyBits: r.KeyBits,
		Distribution: r.Distribution, Node: r.Node, IssuedBy: r.IssuedBy, NotBefore: optionalTime(r.NotBefore), NotAfter: optionalTime(r.NotAfter),
		State: stateOf(r, at), Description: r.Description, Serial: r.Serial, SHA256: r.SHA256, FileName: r.FileName(), Chain: r.Chain, Broken: r.Broken,
		Twin: typeWord(cluster.Type(r.Twin)), TwinWarning: r.TwinWarning, System: r.System, Since: optionalTime(r.Since),
	}
	if !r.NotAfter.IsZero() {
		left := int64(r.NotAfter.Sub(at).Seconds())
		i.ExpiresIn = &left
	}
	return i
}

// rowFilter are the flags that pick rows of the list.
type rowFilter struct {
	purpose, usage, kind, keyType, within string
	broken                                bool
	where                                 []string
}

func (f *rowFilter) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.purpose, "purpose", "", "only certificates of this `purpose` or trust store: tomcat, tomcat-trust")
	flags.StringVar(&f.usage, "usage", "", "only certificates with this `usage`: identity or trust")
	flags.StringVar(&f.kind, "type", "", "only those of this `type`: self-signed, ca-signed or csr-only")
	flags.StringVar(&f.keyType, "key-type", "", "only those with a key of this `type`: RSA or EC")
	flags.BoolVar(&f.broken, "broken", false, "only certificates in service that have no valid path in their trust store")
	complete(cmd, "purpose", certificateWords()...)
	complete(cmd, "usage", usagesOfRows...)
	complete(cmd, "type", typeWords()...)
	complete(cmd, "key-type", keyTypes...)
	f.registerTime(cmd)
}

// registerTime adds the flags that lists of trust certificates have, too.
func (f *rowFilter) registerTime(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.within, "expires-within", "", "only those that have expired or will within this `time`, or used up this share of their validity: 30d, 12h or 75%")
	flags.StringArrayVar(&f.where, "where", nil, "only those that fit \"`COLUMN` OPERATOR TEXT\", as in \"issued by contains Lab\"; may be repeated")
	complete(cmd, "expires-within", "30d", "90d", "75%")
	complete(cmd, "where", criteria()...)
}

// criteria are the beginnings of --where.
func criteria() []string {
	var all []string
	for _, c := range cluster.Columns() {
		for _, op := range cluster.Operators() {
			all = append(all, c+" "+op)
		}
	}
	return all
}

// query reads the flags; a wrong word is a wrong command line.
func (f *rowFilter) query() (cluster.Query, error) {
	q := cluster.Query{Certificate: f.purpose, Usage: cluster.Usage(f.usage), Broken: f.broken}
	if err := knownCertificate(f.purpose); err != nil {
		return q, err
	}
	if err := oneOf("usage", f.usage, usagesOfRows...); err != nil {
		return q, err
	}
	if f.kind != "" {
		i := slices.IndexFunc(rowTypes, func(t cluster.Type) bool { return strings.EqualFold(typeWord(t), f.kind) })
		if i < 0 {
			return q, wrongValue("type", f.kind, typeWords()...)
		}
		q.Type = rowTypes[i]
	}
	if f.keyType != "" {
		i := slices.IndexFunc(keyTypes, func(t string) bool { return strings.EqualFold(t, f.keyType) })
		if i < 0 {
			return q, wrongValue("key-type", f.keyType, keyTypes...)
		}
		q.KeyType = keyTypes[i]
	}
	if f.within != "" {
		t, err := cluster.ParseThreshold(f.within)
		if err != nil {
			return q, usage(fmt.Errorf("--expires-within %w", err))
		}
		q.Within = &t
	}
	for _, text := range f.where {
		c, err := cluster.ParseCriterion(text)
		if err != nil {
			return q, usage(fmt.Errorf("--where %w", err))
		}
		q.Where = append(q.Where, c)
	}
	return q, nil
}

// certificateWords are the purposes and the trust stores.
func certificateWords() []string { return slices.Concat(purpose.Names(), purpose.StoreNames()) }

// knownCertificate is nil for a purpose, a trust store, and nothing.
func knownCertificate(name string) error {
	names := certificateWords()
	if name == "" || slices.Contains(names, name) {
		return nil
	}
	return wrongValue("purpose", name, names...)
}

func (e *env) certList() *cobra.Command {
	f := &clusterFlags{env: e}
	var filter rowFilter
	var limit int
	var short bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the certificates of a cluster: in service, in trust stores, and requests that wait", Args: noArgs,
		Long: `List the certificates of a cluster in the order of the purposes, then of the trust stores: those in service, those in trust stores, and the
requests that wait (CSR Only). The columns are those of the call manager, and: IN, how long it is until then; CHAIN, whether there is a valid path
in the trust store of the purpose; TWIN, how the certificate with the other kind of key was made, with WARN where one of both is
self-signed and the other is not.

Every filter has to fit. --where compares a column as the call manager's filter line does:
` + strings.Join(cluster.Columns(), ", ") + `
with ` + strings.Join(cluster.Operators(), ", ") + `, without regard to capitals.`,
		Example: `  callsign cert list
  callsign cert list --usage identity --expires-within 30d
  callsign cert list --purpose tomcat-trust --where "issued by contains Lab" --json
  callsign cert list --broken
  callsign cert list --short --node cucmpub`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usage(fmt.Errorf("--limit %d: use 0 for all or a positive number", limit))
			}
			q, err := filter.query()
			if err != nil {
				return err
			}
			return f.with(cmd.Context(), func(ctx context.Context, s *cluster.Service) error {
				q.Node = f.node
				rows, err := s.List(ctx, q)
				if err != nil {
					return err
				}
				total := len(rows)
				if limit > 0 && total > limit {
					rows = rows[:limit]
				}
				if e.json {
					return e.printRows(rows, total, judgedNow(s))
				}
				switch {
				case total == 0:
					return f.nothingListed(ctx, s)
				case short:
					for i := range rows {
						fmt.Fprintln(e.out, visible(rows[i].Answer()))
					}
					return nil
				}
				if err := e.rowTable(rows, judgedNow(s)); err != nil {
					return err
				}
				if len(rows) < total {
					e.hint("%d of %d shown\n", len(rows), total)
				}
				return nil
			})
		},
	}
	f.choose(cmd, "only what is on the node with this host `name`")
	f.judgedAt(cmd)
	filter.register(cmd)
	cmd.Flags().BoolVar(&short, "short", false, "print a line for each, as show cert list on a node does")
	cmd.Flags().IntVar(&limit, "limit", 0, "show at most so `many` (0: all)")
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

// judgedNow is the time of a service's judgements.
func judgedNow(s *cluster.Service) time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

func (e *env) printRows(rows []cluster.Row, total int, at time.Time) error {
	items := make([]rowItem, 0, len(rows))
	for i := range rows {
		items = append(items, newRowItem(&rows[i], at))
	}
	return e.printJSON(struct {
		Items []rowItem `json:"items"`
		Total int       `json:"total"`
	}{items, total})
}

// nothingListed says why the list is empty, and what would fill it.
func (f *clusterFlags) nothingListed(ctx context.Context, s *cluster.Service) error {
	all, err := s.List(ctx, cluster.Query{})
	if err != nil {
		return err
	}
	out := f.env.out
	if n := len(all); n > 0 {
		fmt.Fprintf(out, "None of %d certificate%s fits; leave out a filter, or list all: %s\n", n, plural(n), "callsign cert list"+f.flagText(""))
		return nil
	}
	more := f.flagText("")
	fmt.Fprintf(out, `No certificate of the cluster %s is kept here yet.
A self-signed one comes into service with: callsign cert regen tomcat%[2]s
A request for the CA is made with:         callsign csr create tomcat%[2]s
Trust stores are filled with:              callsign cert upload tomcat-trust FILE%[2]s
`, s.Cluster.Name, more)
	return nil
}

func (e *env) rowTable(rows []cluster.Row, at time.Time) error {
	lines := make([][]string, 0, len(rows))
	for i := range rows {
		r := &rows[i]
		expiration, left := "-", "-"
		if !r.NotAfter.IsZero() {
			expiration, left = r.NotAfter.UTC().Format(cluster.ExpirationFormat), leftWord(stateOf(r, at), r.NotAfter, at)
		}
		lines = append(lines, []string{
			r.Certificate, or(r.CommonName, "-"), usageTitle(r.Usage), string(r.Type), r.KeyType, or(r.Distribution, "-"), or(r.IssuedBy, "-"),
			expiration, left, chainWord(r), twinWord(r), or(r.Description, "-"),
		})
	}
	header := []string{
		"CERTIFICATE", "COMMON NAME", "USAGE", "TYPE", "KEY TYPE", "DISTRIBUTION", "ISSUED BY", "EXPIRATION", "IN", "CHAIN", "TWIN", "DESCRIPTION",
	}
	return table(e.out, header, lines)
}

// leftWord is how long a certificate is valid still, or that it is not.
func leftWord(state string, until, at time.Time) string {
	switch state {
	case stateExpired:
		return "EXPIRED " + in(until, at)
	case stateNotYetValid:
		return "NOT YET VALID"
	default:
		return in(until, at)
	}
}

// usageTitle is a usage as the call manager writes it.
func usageTitle(u cluster.Usage) string {
	if u == cluster.TrustUsage {
		return "Trust"
	}
	return "Identity"
}

// chainWord is the state of a path in a word or two: the details of a broken one are in JSON and in cert inspect.
func chainWord(r *cluster.Row) string {
	if r.Broken {
		reason, _, _ := strings.Cut(r.Chain, ":")
		return "BROKEN: " + reason
	}
	return or(r.Chain, "-")
}

func twinWord(r *cluster.Row) string {
	if r.TwinWarning {
		return r.Twin + " WARN"
	}
	return or(r.Twin, "-")
}
