package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/app"
	"callsign/internal/cluster"
	"callsign/internal/cluster/purpose"
	"callsign/internal/config"
)

func (e *env) trustCommand() *cobra.Command {
	return group("trust", "Trust stores of a cluster: what they hold, what depends on it, and where nodes differ",
		e.trustList(), e.trustAdd(), e.trustDeps(), e.trustDelete(), e.trustDiff(), e.trustExport())
}

// trustItem is a certificate of a trust store in JSON: one item, however many nodes have it.
type trustItem struct {
	Store       string   `json:"store"`
	FileName    string   `json:"file_name"`
	CommonName  string   `json:"common_name"`
	IssuedBy    string   `json:"issued_by"`
	Serial      string   `json:"serial"`
	Type        string   `json:"type"`
	KeyType     string   `json:"key_type"`
	KeyBits     int      `json:"key_bits"`
	NotBefore   string   `json:"not_before"`
	NotAfter    string   `json:"not_after"`
	ExpiresIn   int64    `json:"expires_in_seconds"`
	State       string   `json:"state"`     // valid, expired or not-yet-valid
	AllNodes    bool     `json:"all_nodes"` // the store is the same on every node
	Nodes       []string `json:"nodes"`     // that have it; empty with all_nodes
	From        string   `json:"from"`      // "uploaded" or "system"
	Description string   `json:"description"`
	SHA256      string   `json:"sha256"`

	notAfter time.Time
}

// newTrustItems joins what several nodes have, in the order of the list.
func newTrustItems(rows []cluster.Row, now time.Time) []trustItem {
	items := []trustItem{}
	known := map[string]int{}
	for i := range rows {
		r := &rows[i]
		key := r.Certificate + " " + r.SHA256
		n, ok := known[key]
		if !ok {
			n = len(items)
			known[key] = n
			item := trustItem{
				Store: r.Certificate, FileName: r.FileName(), CommonName: r.CommonName, IssuedBy: r.IssuedBy, Serial: r.Serial, Type: typeWord(r.Type),
				KeyType: r.KeyType, KeyBits: r.KeyBits, State: stateOf(r, now), NotBefore: utc(r.NotBefore), NotAfter: utc(r.NotAfter), ExpiresIn: int64(r.NotAfter.Sub(now).Seconds()),
				Nodes: []string{}, From: string(cluster.Uploaded), Description: r.Description, SHA256: r.SHA256, notAfter: r.NotAfter,
			}
			if r.System {
				item.From = string(cluster.System)
			}
			items = append(items, item)
		}
		if r.Node == cluster.AllNodes {
			items[n].AllNodes = true
		} else {
			items[n].Nodes = append(items[n].Nodes, r.Node)
		}
	}
	order := purpose.StoreNames()
	slices.SortStableFunc(items, func(a, b trustItem) int {
		return cmp.Or(slices.Index(order, a.Store)-slices.Index(order, b.Store), strings.Compare(a.CommonName, b.CommonName), a.notAfter.Compare(b.notAfter))
	})
	return items
}

// on says which nodes have it, in tables and messages.
func (i *trustItem) on() string {
	if i.AllNodes {
		return nodeOf(cluster.AllNodes)
	}
	return strings.Join(i.Nodes, ",")
}

// trustListFlags is the command line of trust list.
type trustListFlags struct {
	clusterFlags

	filter rowFilter // of which within and where have flags
}

func (e *env) trustList() *cobra.Command {
	f := trustListFlags{clusterFlags: clusterFlags{env: e}}
	cmd := &cobra.Command{
		Use: "list [STORE]", Short: "List the certificates of the trust stores", ValidArgsFunction: completePurposes(false, true),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage(fmt.Errorf("name one trust store, or none for all, not %d", len(args)))
			}
			return nil
		},
		Long: `List the certificates of all trust stores, or of one. NODES says who has a certificate: (all) where the store is the same on every
node. FROM says whether an administrator uploaded it, or the system made it as a copy of a certificate in service, which goes by itself when that is
replaced. --where compares a column: certificate, common name, usage, type, key type, distribution, issued by, expiration or description, with
begins with, contains, is exactly, ends with, is empty or is not empty. Several have to fit together.`,
		Example: `  callsign trust list tomcat-trust
  callsign trust list --expires-within 90d
  callsign trust list CallManager-trust --where 'common name begins with CAPF-' --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := f.filter.query()
			if err != nil {
				return err
			}
			if q.Usage = cluster.TrustUsage; len(args) == 1 {
				if err := cluster.CheckStore(args[0]); err != nil {
					return err
				}
				q.Certificate = args[0]
			}
			return f.with(cmd.Context(), func(ctx context.Context, s *cluster.Service) error {
				q.Node = f.node
				rows, err := s.List(ctx, q)
				if err != nil {
					return err
				}
				return f.print(s, newTrustItems(rows, judgedNow(s)), judgedNow(s), &q)
			})
		},
	}
	f.choose(cmd, "only what this `node` has")
	f.judgedAt(cmd)
	f.filter.registerTime(cmd)
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

func (f *trustListFlags) print(s *cluster.Service, items []trustItem, now time.Time, q *cluster.Query) error {
	e := f.env
	if e.json {
		return e.printJSON(struct {
			Items []trustItem `json:"items"`
			Total int         `json:"total"`
		}{items, len(items)})
	}
	if len(items) == 0 {
		fmt.Fprintln(e.out, f.empty(s, q))
		return nil
	}
	lines := make([][]string, 0, len(items))
	for i := range items {
		t := &items[i]
		lines = append(lines, []string{
			t.Store, or(t.CommonName, "-"), t.IssuedBy, t.notAfter.Local().Format(time.DateOnly), leftWord(t.State, t.notAfter, now), t.on(), t.From, shortSum(t.SHA256),
		})
	}
	return table(e.out, []string{"STORE", "COMMON NAME", "ISSUED BY", "EXPIRES", "IN", "NODES", "FROM", "SHA256"}, lines)
}

// empty says that there is nothing, and what would be.
func (f *trustListFlags) empty(s *cluster.Service, q *cluster.Query) string {
	if q.Within != nil || len(q.Where) > 0 || q.Node != "" {
		return "No trust certificate of the cluster " + s.Cluster.Name + " fits. All there are: callsign trust list" + f.flagText("")
	}
	what, store := "The trust stores of the cluster "+s.Cluster.Name+" are", "STORE"
	if q.Certificate != "" {
		what, store = q.Certificate+" of the cluster "+s.Cluster.Name+" is", q.Certificate
	}
	return what + " empty. CA certificates are put in with: callsign trust add " + store + " FILE" + f.flagText("")
}

func (e *env) trustAdd() *cobra.Command {
	u := &certUpload{clusterFlags: clusterFlags{env: e}}
	cmd := &cobra.Command{
		Use: "add STORE FILE|-", Short: "Judge CA certificates, and put them into a trust store", ValidArgsFunction: completePurposes(false, true),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage(fmt.Errorf("name a trust store and one file, such as: tomcat-trust root.pem; got %d argument%s", len(args), plural(len(args))))
			}
			return inOrder(cmd, args, purpose.StoreNames())
		},
		Long: `Judge the certificates in a file, and put them into a trust store: all of them or none. Before a certificate of a CA is uploaded its root has to be in the
store, and every CA between. One of the same name with a later start takes the place of the older; an older one does not.
FILE is PEM, DER, base64 or PKCS #7; - is stdin. It is the same as callsign cert upload with the name of the store.`,
		Example: `  callsign trust add tomcat-trust root.pem
  callsign trust add CallManager-trust bundle.p7b --description "issuing CAs of 2027" --dry-run
  callsign trust add ipsec-trust peer.pem --node cucmsub`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cluster.CheckStore(args[0]); err != nil {
				return err
			}
			u.purpose, u.file = args[0], args[1]
			if err := u.check(cmd); err != nil {
				return err
			}
			return u.toCluster(cmd.Context())
		},
	}
	u.choose(cmd, "`node` of a store that each node has for itself (default: the publisher)")
	u.flags(cmd, "`text` for the list")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitFindings)
}

// trustNames completes certificates of trust stores: the argument at position, in the store of the first argument when that
// stands before it.
func (f *clusterFlags) trustNames(position int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		switch {
		case len(args) < position:
			return completePurposes(false, true)(cmd, args, prefix)
		case len(args) > position:
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		store := ""
		if position > 0 {
			store = args[0]
		}
		var names []cobra.Completion
		f.env.completeFrom(cmd.Context(), func(ctx context.Context, c *config.Config, r *app.Records) error {
			s, err := r.Cluster(c, f.cluster)
			if err != nil {
				return err
			}
			rows, err := s.List(ctx, cluster.Query{Usage: cluster.TrustUsage, Certificate: store})
			for _, t := range newTrustItems(rows, time.Now()) {
				if strings.HasPrefix(t.FileName, prefix) && len(names) < completeMost {
					names = append(names, cobra.CompletionWithDesc(t.FileName, visible(t.Store+", issued by "+t.IssuedBy)))
				}
			}
			return err
		})
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
