package cluster

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"callsign/chain"
	"callsign/internal/cluster/purpose"
)

// Dependents are what uses a certificate of a trust store.
type Dependents struct {
	Trust    Trust
	FileName string
	// CopyOf is the certificate in service that it is a copy of, as PURPOSE@NODE, or as "PURPOSE (multi-server)"; empty for none.
	CopyOf string
	// Breaks are identity certificates that have a path now and would have none without it, as PURPOSE@NODE.
	Breaks []string
	// Issued are certificates that name it as their issuer: identity certificates as PURPOSE@NODE, trust certificates as STORE/FILE.
	Issued []string
	LSCs   []Count // phones whose LSC it issued; only counts above 0
	// Restart is what has to be restarted when it was deleted.
	Restart []Step
}

// Count is a number of phones, and who counted them.
type Count struct {
	Phones int
	By     string
}

// Live returns the largest count.
func (d *Dependents) Live() int {
	most := 0
	for _, c := range d.LSCs {
		most = max(most, c.Phones)
	}
	return most
}

// Used reports whether something depends on the certificate.
func (d *Dependents) Used() bool {
	return d.CopyOf != "" || len(d.Breaks)+len(d.Issued) > 0 || d.Live() > 0
}

// TrustNamed returns the certificates with a name in a trust store, or in all of them for "". A name is a common name, a file
// name, a serial number in any form, or the first 8 digits or more of a fingerprint. There is at least one, or a *Problem.
func (s *Service) TrustNamed(ctx context.Context, store, name string) (found []Trust, err error) {
	if store != "" {
		if _, err := findStore(store); err != nil {
			return nil, err
		}
	}
	err = s.Store.View(ctx, s.Cluster.Name, func(r Reader) error {
		found, err = s.trustNamed(ctx, r, store, name)
		return err
	})
	return found, err
}

func (s *Service) trustNamed(ctx context.Context, r Reader, store, name string) ([]Trust, error) {
	all, err := r.TrustList(ctx, store)
	if err != nil {
		return nil, err
	}
	digits, decimal := hexDigits(name), decimalDigits(name)
	fits := []func(*Trust) bool{
		func(t *Trust) bool {
			return t.CommonName == name && name != "" || fileName(t.CommonName, t.Serial) == name
		},
		func(t *Trust) bool {
			return t.CommonName != "" && strings.EqualFold(t.CommonName, strings.TrimSuffix(name, ".pem"))
		},
		func(t *Trust) bool {
			return digits != "" && strings.EqualFold(strings.TrimLeft(t.Serial, "0"), strings.TrimLeft(digits, "0"))
		},
		func(t *Trust) bool {
			return decimal != "" && strings.EqualFold(strings.TrimLeft(t.Serial, "0"), decimal)
		},
		func(t *Trust) bool { return len(digits) >= 8 && strings.HasPrefix(t.SHA256, digits) },
	}
	for _, fit := range fits {
		var found []Trust
		for i := range all {
			if fit(&all[i]) {
				found = append(found, all[i])
			}
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	where, list := "in any trust store of the cluster "+s.Cluster.Name, "callsign trust list"
	if store != "" {
		where, list = "in "+store, "callsign trust list "+store
	}
	return nil, &Problem{ErrCode: CodeNoCert, Detail: fmt.Sprintf("there is no certificate %q %s", name, where), Fix: "look for its name with: " + list}
}

// hexDigits is a serial number or fingerprint without colons, blanks and 0x, in lower case; empty for what is none.
func hexDigits(text string) string {
	digits := strings.TrimPrefix(strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(text)), "0x")
	if digits == "" || strings.Trim(digits, "0123456789abcdef") != "" {
		return ""
	}
	return digits
}

// decimalDigits is a decimal serial number in hexadecimal, as hexDigits; empty for what is none.
func decimalDigits(text string) string {
	const longest = 64 // of the 20 octets of RFC 5280 4.1.2.2 have 49
	if len(text) > longest || text == "" || strings.Trim(text, "0123456789") != "" {
		return ""
	}
	n, _ := new(big.Int).SetString(text, 10)
	return n.Text(16)
}

// Dependents says what uses the certificates with a name, in a store or in all of them for "".
func (s *Service) Dependents(ctx context.Context, store, name string) (all []Dependents, err error) {
	if store != "" {
		if _, err := findStore(store); err != nil {
			return nil, err
		}
	}
	err = s.Store.View(ctx, s.Cluster.Name, func(r Reader) error {
		found, err := s.trustNamed(ctx, r, store, name)
		if err != nil {
			return err
		}
		w, err := s.wholeStore(ctx, r)
		if err != nil {
			return err
		}
		for i := range found {
			d, err := s.dependents(ctx, r, w, &found[i])
			if err != nil {
				return err
			}
			all = append(all, *d)
		}
		return nil
	})
	return all, err
}

// whole is what a certificate can have to do with, read once for several of them.
type whole struct {
	identities []Identity
	trust      []Trust
	paths      map[int]*chain.Result // of identities, by their index
	added      []*chain.Certificate  // what comes in the place of what goes
}

func (s *Service) wholeStore(ctx context.Context, r Reader) (*whole, error) {
	w := &whole{paths: map[int]*chain.Result{}}
	var err error
	if w.identities, err = s.identities(ctx, r); err != nil {
		return nil, err
	}
	w.trust, err = r.TrustList(ctx, "")
	return w, err
}

// path judges the path of an identity certificate, once.
func (w *whole) path(ctx context.Context, s *Service, r Reader, i int) (*chain.Result, error) {
	if known, ok := w.paths[i]; ok {
		return known, nil
	}
	result, err := s.verify(ctx, r, &w.identities[i], nil)
	if err == nil {
		w.paths[i] = result
	}
	return result, err
}

func (s *Service) dependents(ctx context.Context, r Reader, w *whole, t *Trust) (*Dependents, error) {
	same, err := r.TrustByFingerprint(ctx, t.SHA256)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(same, func(o Trust) bool { return o.Store == t.Store && o.Node == t.Node }); i >= 0 {
		t = &same[i]
	}
	d := &Dependents{Trust: *t, FileName: fileName(t.CommonName, t.Serial)}
	c := chain.Parse(t.DER)
	if err := s.identitiesBelow(ctx, r, d, c, w); err != nil {
		return nil, err
	}
	for i := range w.trust {
		o := &w.trust[i]
		// One that signed itself depends on no other, even if another has its name and key.
		if o.SHA256 != t.SHA256 && !o.SelfSigned && o.IssuerKey == t.SubjectKey && (o.Authority == "" || t.KeyID == "" || o.Authority == t.KeyID) {
			d.Issued = append(d.Issued, o.Store+"/"+fileName(o.CommonName, o.Serial))
		}
	}
	if n := s.Cluster.Phones.LSCByIssuer[t.CommonName]; n > 0 {
		d.LSCs = append(d.LSCs, Count{n, "the description of the cluster"})
	}
	if s.LSCs != nil && c.X509() != nil {
		n, err := s.LSCs(ctx, c.X509())
		if err != nil {
			return nil, err
		}
		if n > 0 {
			d.LSCs = append(d.LSCs, Count{n, "the records of phones here"})
		}
	}
	if st, ok := purpose.FindStore(t.Store); ok {
		d.Restart = s.Cluster.TrustDeleted(st)
	}
	return d, nil
}

// identitiesBelow finds the certificates in service that a trust certificate is a copy or an issuer of.
func (s *Service) identitiesBelow(ctx context.Context, r Reader, d *Dependents, c *chain.Certificate, w *whole) error {
	t := &d.Trust
	for i := range w.identities {
		id := &w.identities[i]
		where := place(id.Purpose, id.Node)
		if id.SHA256 == t.SHA256 {
			if d.CopyOf = where; id.Multi {
				d.CopyOf = place(id.Purpose, AllNodes)
			}
			continue
		}
		if id.SelfSigned {
			continue
		}
		if chain.Parse(id.DER).NamesIssuer(c) {
			d.Issued = append(d.Issued, where)
		}
		p, err := findPurpose(id.Purpose)
		if err != nil || p.Trust != t.Store || t.Node != AllNodes && t.Node != id.Node {
			continue
		}
		with, err := w.path(ctx, s, r, i)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(with.Path, func(o *chain.Certificate) bool { return o.SHA256() == t.SHA256 }) || !with.OK() {
			continue
		}
		less, err := s.verify(ctx, r, id, map[string]bool{t.SHA256: true}, w.added...)
		if err != nil {
			return err
		}
		if !less.OK() {
			d.Breaks = append(d.Breaks, where)
		}
	}
	return nil
}

// DeleteTrust deletes a certificate from a trust store: on every node, or for ipsec-trust on the node. A copy of a
// certificate in service stays (cluster.own-certificate); one with live LSCs needs force (cluster.certificate-in-use).
// With dry nothing is deleted.
func (s *Service) DeleteTrust(ctx context.Context, store, node, name string, force, dry bool) ([]Dependents, error) {
	st, err := findStore(store)
	if err != nil {
		return nil, err
	}
	if node != "" {
		n, err := s.NodeNamed(node)
		if err != nil {
			return nil, err
		}
		if node = n.Name; st.PublisherOnly && n.Role != Publisher {
			publisher := s.Cluster.Publisher().Name
			return nil, &Problem{ErrCode: CodeNotHere, Detail: store + " is changed on the publisher only, which is " + publisher, Fix: "repeat it with --node " + publisher}
		}
	}
	var gone []Dependents
	err = s.update(ctx, func(r Reader, _ int) (*Change, error) {
		gone = nil
		found, err := s.trustNamed(ctx, r, store, name)
		if err != nil {
			return nil, err
		}
		if node != "" && !st.Replicated {
			here := slices.DeleteFunc(found, func(t Trust) bool { return t.Node != AllNodes && t.Node != node })
			if len(here) == 0 {
				return nil, &Problem{ErrCode: CodeNoCert, Detail: fmt.Sprintf("there is no certificate %q in %s on %s", name, store, node), Fix: "look for it with: callsign trust list " + store}
			}
			found = here
		}
		if err := oneCertificate(found, store, name); err != nil {
			return nil, err
		}
		w, err := s.wholeStore(ctx, r)
		if err != nil {
			return nil, err
		}
		c := &Change{}
		for i := range found {
			d, err := s.dependents(ctx, r, w, &found[i])
			if err != nil {
				return nil, err
			}
			if err := deletable(d, force); err != nil {
				return nil, err
			}
			gone = append(gone, *d)
			t := &found[i]
			c.DropTrust = append(c.DropTrust, TrustPlace{store, t.Node, t.SHA256})
			c.Events = append(c.Events, Event{Action: ActionTrustDeleted, Purpose: store, Node: t.Node, Before: t.SHA256, Detail: t.CommonName})
		}
		if dry {
			return nil, nil //nolint:nilnil // nothing to change
		}
		return c, nil
	})
	return gone, err
}

// oneCertificate refuses a name that several certificates have. One certificate on several nodes is one.
func oneCertificate(found []Trust, store, name string) error {
	var names []string
	seen := map[string]bool{}
	for i := range found {
		if t := &found[i]; !seen[t.SHA256] {
			seen[t.SHA256] = true
			names = append(names, fmt.Sprintf("%s (valid from %s to %s, SHA256 %s)", t.CommonName, t.NotBefore.Format(time.DateOnly), t.NotAfter.Format(time.DateOnly), t.SHA256[:16]))
		}
	}
	if len(names) < 2 {
		return nil
	}
	return &Problem{
		ErrCode: CodeAmbiguous, Detail: fmt.Sprintf("%d certificates in %s are called %q: %s", len(names), store, name, strings.Join(names, "; ")),
		Fix: "name one by its fingerprint, for example: callsign trust delete " + store + " " + found[0].SHA256[:16],
	}
}

func deletable(d *Dependents, force bool) error {
	switch {
	case d.CopyOf != "":
		return &Problem{
			ErrCode: CodeOwn, Detail: fmt.Sprintf("%s in %s is a copy of the certificate in service of %s, which the system made", d.FileName, d.Trust.Store, d.CopyOf),
			Fix: "it goes by itself when that certificate is replaced; nothing has to be deleted",
		}
	case d.Live() > 0 && !force:
		return &Problem{
			ErrCode: CodeInUse, Detail: fmt.Sprintf("%d phones have an LSC that %s issued (counted by %s): without it in %s they are refused", d.Live(), d.FileName, d.LSCs[0].By, d.Trust.Store),
			Fix: "give these phones new LSCs first: callsign phone set NAME --operation install; to delete it all the same, repeat the command with --force",
		}
	default:
		return nil
	}
}

// Export returns the certificates of a store in the order of the list, on a node: those that are on every node, and those on this one.
// The node is the publisher for "".
func (s *Service) Export(ctx context.Context, store, node string) (certs []Trust, err error) {
	if _, err := findStore(store); err != nil {
		return nil, err
	}
	n, err := s.NodeNamed(node)
	if err != nil {
		return nil, err
	}
	err = s.Store.View(ctx, s.Cluster.Name, func(r Reader) error {
		certs, err = r.TrustAll(ctx, store)
		return err
	})
	certs = slices.DeleteFunc(certs, func(t Trust) bool { return t.Node != AllNodes && t.Node != n.Name })
	seen := map[string]bool{}
	certs = slices.DeleteFunc(certs, func(t Trust) bool { // there for every node and for this one
		again := seen[t.SHA256]
		seen[t.SHA256] = true
		return again
	})
	slices.SortStableFunc(certs, func(a, b Trust) int { return strings.Compare(a.CommonName, b.CommonName) })
	return certs, err
}

// Difference is a certificate that not all nodes have which should.
type Difference struct {
	Certificate string // trust store or purpose
	Name        string // file name
	SHA256      string
	NotAfter    string // RFC 3339
	On          []string
	Missing     []string
	Text        string // what it means
}

// Diff returns the differences between the nodes: in stores that are not replicated, and nodes without a multi-server
// certificate that the others have.
func (s *Service) Diff(ctx context.Context) (all []Difference, err error) {
	err = s.Store.View(ctx, s.Cluster.Name, func(r Reader) error {
		trust, err := r.TrustList(ctx, "")
		if err != nil {
			return err
		}
		identities, err := s.identities(ctx, r)
		if err != nil {
			return err
		}
		all = append(s.diffIdentities(identities), s.diffTrust(trust)...)
		return nil
	})
	return all, err
}

func (s *Service) diffTrust(trust []Trust) []Difference {
	var all []Difference
	index := map[string]int{}
	everywhere := map[string]bool{}
	for i := range trust {
		t := &trust[i]
		key := t.Store + " " + t.SHA256
		if t.Node == AllNodes {
			everywhere[key] = true
			continue
		}
		n, ok := index[key]
		if !ok {
			n = len(all)
			index[key] = n
			all = append(all, Difference{Certificate: t.Store, Name: fileName(t.CommonName, t.Serial), SHA256: t.SHA256, NotAfter: t.NotAfter.Format("2006-01-02T15:04:05Z07:00")})
		}
		all[n].On = append(all[n].On, t.Node)
	}
	for i := range all {
		if !everywhere[all[i].Certificate+" "+all[i].SHA256] {
			all[i].missing(s.Cluster.nodesWithStore(all[i].Certificate))
		}
	}
	return slices.DeleteFunc(all, complete)
}

// nodesWithStore are the nodes whose product has a trust store.
func (c *Cluster) nodesWithStore(name string) []string {
	st, ok := purpose.FindStore(name)
	if !ok {
		return nil
	}
	var names []string
	for _, n := range c.Ordered() {
		if st.On(n.Product) {
			names = append(names, n.Name)
		}
	}
	return names
}

// missing fills in the nodes that are missing.
func (d *Difference) missing(nodes []string) {
	for _, n := range nodes {
		if !slices.Contains(d.On, n) {
			d.Missing = append(d.Missing, n)
		}
	}
}

func complete(d Difference) bool { return len(d.Missing) == 0 }

// diffIdentities finds nodes that should have a multi-server certificate and do not: they were added later, say.
func (s *Service) diffIdentities(identities []Identity) []Difference {
	var all []Difference
	index := map[string]int{}
	for i := range identities {
		id := &identities[i]
		if !id.Multi {
			continue
		}
		key := id.Purpose + " " + id.SHA256
		n, ok := index[key]
		if !ok {
			n = len(all)
			index[key] = n
			all = append(all, Difference{
				Certificate: id.Purpose, Name: id.CommonName, SHA256: id.SHA256, NotAfter: id.NotAfter.Format("2006-01-02T15:04:05Z07:00"),
				Text: "the multi-server certificate is not on these nodes, or not for them: make a new request, which names them",
			})
		}
		all[n].On = append(all[n].On, id.Node)
	}
	for i := range all {
		p, ok := purpose.Find(all[i].Certificate)
		if !ok {
			continue
		}
		var nodes []string
		for _, n := range s.Cluster.NodesWith(p) {
			nodes = append(nodes, n.Name)
		}
		all[i].missing(nodes)
	}
	return slices.DeleteFunc(all, complete)
}
