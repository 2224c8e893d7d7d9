package cluster

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"callsign/chain"
	"callsign/internal/cluster/purpose"
	"callsign/internal/cluster/upload"
)

// justChanged is how long after a change of certificates that phones check other ones should not change.
const justChanged = 24 * time.Hour

// enoughEvents are more than anybody makes in that time.
const enoughEvents = 500

// Upload is a file that an administrator brings.
type Upload struct {
	Purpose     string // or trust store
	Node        string // empty: the node whose request the certificate answers, or else the publisher
	Description string // of trust certificates; empty takes that of the system
	File        *upload.File
}

// Outcome is what became of a file.
type Outcome struct {
	*upload.Result
	Purpose string
	Nodes   []string // that have the certificate; of a replicated trust store, none
	Multi   bool
	Before  []Identity // certificates that it replaces
	// Superseded is what uses the trust certificates that it replaces, and what breaks although the new ones are there.
	Superseded []Dependents
	Consequences
}

// CheckUpload judges a file and changes nothing.
func (s *Service) CheckUpload(ctx context.Context, u Upload) (out *Outcome, err error) {
	err = s.Store.View(ctx, s.Cluster.Name, func(r Reader) error {
		p, err := s.planUpload(ctx, r, &u)
		if err == nil {
			out = p.uploaded
		}
		return err
	})
	return out, err
}

// Upload judges a file, and stores what is accepted: all of it or nothing. A refused file is no error: see Outcome.Verdict.
// When somebody else changes the request or the certificate at the same time, the error is a *Problem cluster.changed.
func (s *Service) Upload(ctx context.Context, u Upload) (*Outcome, error) {
	var first, last *uploadPlan
	err := s.update(ctx, func(r Reader, attempt int) (*Change, error) {
		p, err := s.planUpload(ctx, r, &u)
		if err != nil {
			return nil, err
		}
		if attempt == 0 {
			first = p
		} else if p.stamp != first.stamp {
			return nil, s.changed("the certificate or the request of " + u.Purpose + " was changed by another command while this file was being checked")
		}
		last = p
		if p.uploaded.Verdict == upload.Rejected || p.uploaded.Verdict == upload.Unchanged {
			return nil, nil //nolint:nilnil // nothing to change
		}
		return p.change, nil
	})
	if err != nil {
		return nil, err
	}
	return last.uploaded, nil
}

// uploadPlan is what an upload would do.
type uploadPlan struct {
	uploaded *Outcome
	change   *Change
	stamp    string // of what another command must not change in between
}

func (s *Service) planUpload(ctx context.Context, r Reader, u *Upload) (*uploadPlan, error) {
	if purpose.IsStore(u.Purpose) {
		return s.planTrust(ctx, r, u)
	}
	return s.planIdentity(ctx, r, u)
}

// target is where a certificate goes.
type target struct {
	nodes   []string
	multi   bool
	request *Request // nil: none waits
	notHere string
}

func (s *Service) planIdentity(ctx context.Context, r Reader, u *Upload) (*uploadPlan, error) {
	out := &Outcome{Purpose: u.Purpose}
	p, known := purpose.Find(u.Purpose)
	judge := &upload.Judge{Purpose: u.Purpose, Policy: s.Policy, At: s.now()}
	if !known || !p.CSR {
		out.Result = judge.Judge(u.File)
		return &uploadPlan{uploaded: out}, nil
	}
	requests, err := r.Requests(ctx)
	if err != nil {
		return nil, err
	}
	identities, err := s.identities(ctx, r)
	if err != nil {
		return nil, err
	}
	to, err := s.target(p, u, requests)
	if err != nil {
		return nil, err
	}
	if to.request != nil {
		if judge.Request, err = to.request.parse(); err != nil {
			return nil, err
		}
	}
	judge.Context.NotHere = to.notHere
	if err := s.context(ctx, r, judge, p, to, requests, identities); err != nil {
		return nil, err
	}
	rows, err := namesakeRows(ctx, r, p.Trust, to.nodes[0], u.File.Certificates...)
	if err != nil {
		return nil, err
	}
	judge.Trust = certificates(rows)
	out.Result, out.Nodes, out.Multi = judge.Judge(u.File), to.nodes, to.multi
	plan := &uploadPlan{uploaded: out, stamp: stampOf(to, identities, p.Name)}
	if out.Verdict == upload.Rejected {
		return plan, nil
	}
	x := out.Leaf.X509()
	out.Before = inService(identities, p.Name, to.nodes)
	out.Consequences = s.Cluster.Changed(p, purpose.CASigned, to.nodes)
	id := Identity{Purpose: p.Name, Multi: to.multi, DER: x.Raw, Record: NewRecord(x), Description: "Certificate Signed by " + issuerName(x)}
	plan.change = &Change{Install: []Install{{Identity: id, Nodes: to.nodes, From: &Place{p.Name, to.request.Node}}}}
	plan.change.Events = append(plan.change.Events, installed(ActionUploaded, out.Before, &id, to.nodes)...)
	s.storeTrust(plan.change, p.Trust, storeNode(p.Trust, to.nodes[0]), "", out.Result, rows)
	if err := s.superseded(ctx, r, out, plan.change); err != nil {
		return nil, err
	}
	if err := s.rootOfCAPF(ctx, r, p, out); err != nil {
		return nil, err
	}
	return plan, copies(ctx, r, plan.change, p, &id, to.nodes, identities)
}

// superseded fills in what uses the trust certificates that a change replaces.
func (s *Service) superseded(ctx context.Context, r Reader, out *Outcome, c *Change) error {
	if len(c.DropTrust) == 0 {
		return nil
	}
	w, err := s.wholeStore(ctx, r)
	if err != nil {
		return err
	}
	w.added = out.Add
	for _, at := range c.DropTrust {
		i := slices.IndexFunc(w.trust, func(t Trust) bool { return t.Store == at.Store && t.Node == at.Node && t.SHA256 == at.SHA256 })
		d, err := s.dependents(ctx, r, w, &w.trust[i])
		if err != nil {
			return err
		}
		out.Superseded = append(out.Superseded, *d)
	}
	return nil
}

// rootOfCAPF says when the root of a CAPF certificate is missing where the call manager looks for it when phones show their LSCs.
func (*Service) rootOfCAPF(ctx context.Context, r Reader, p *purpose.Identity, out *Outcome) error {
	if !p.CA || len(out.Path) == 0 {
		return nil
	}
	root := out.Path[len(out.Path)-1]
	found, err := r.TrustByFingerprint(ctx, root.SHA256())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(found, func(t Trust) bool { return t.Store == storeCallManager }) {
		// The backup stays the last.
		out.After = slices.Insert(out.After, len(out.After)-1,
			"put the root "+root.Subject()+" into "+storeCallManager+" as well, where LSCs are verified: callsign trust add "+storeCallManager+" FILE")
	}
	return nil
}

// storeCallManager is the store that LSCs are verified with.
const storeCallManager = "CallManager-trust"

// target chooses the request that a file answers, and the nodes that its certificate goes to.
func (s *Service) target(p *purpose.Identity, u *Upload, requests []Request) (*target, error) {
	requests = slices.DeleteFunc(slices.Clone(requests), func(q Request) bool { return q.Purpose != p.Name })
	answers := func(q Request) bool {
		return slices.ContainsFunc(u.File.Certificates, func(c *chain.Certificate) bool { return upload.KeyHash(c.X509().RawSubjectPublicKeyInfo) == q.KeyHash })
	}
	if u.Node != "" {
		// What waits somewhere else is no answer to the question whether this fits here.
		n, err := s.NodeNamed(u.Node)
		if err != nil {
			return nil, err
		}
		requests = slices.DeleteFunc(requests, func(q Request) bool { return q.Node != n.Name && q.Node != AllNodes })
		if why := s.notHere(p, n); why != "" {
			return &target{nodes: []string{n.Name}, notHere: why}, nil
		}
	}
	i := slices.IndexFunc(requests, answers)
	if i < 0 && len(requests) > 0 {
		// No key fits. The file is compared with the request that was most likely meant.
		i = max(0, slices.IndexFunc(requests, func(q Request) bool {
			return u.Node != "" && q.Node != AllNodes || q.Node == s.Cluster.Publisher().Name
		}))
	}
	if i < 0 {
		n, err := s.Cluster.nodeOf(&Fields{Node: u.Node}, p)
		if err == nil {
			return &target{nodes: []string{n.Name}}, nil
		}
		if n, err = s.NodeNamed(u.Node); err != nil {
			return nil, err
		}
		return &target{nodes: []string{n.Name}, notHere: s.notHere(p, n)}, nil
	}
	q := &requests[i]
	if q.Node != AllNodes {
		return &target{nodes: []string{q.Node}, request: q, notHere: s.placeGone(p, q.Node)}, nil
	}
	t := &target{multi: true, request: q}
	for _, n := range s.Cluster.NodesWith(p) {
		t.nodes = append(t.nodes, n.Name)
	}
	if len(t.nodes) == 0 {
		t.nodes, t.notHere = []string{s.Cluster.Publisher().Name}, "no node of the cluster has "+p.Name+" any more"
	}
	return t, nil
}

// stampOf changes when the request or the certificates that an upload replaces change.
func stampOf(t *target, identities []Identity, purposeName string) string {
	stamp := ""
	if t.request != nil {
		stamp = t.request.Node + " " + t.request.KeyHash
	}
	for _, id := range inService(identities, purposeName, t.nodes) {
		stamp += " " + id.Node + " " + id.SHA256
	}
	return stamp
}

func inService(identities []Identity, purposeName string, nodes []string) []Identity {
	var found []Identity
	for _, id := range identities {
		if id.Purpose == purposeName && slices.Contains(nodes, id.Node) {
			found = append(found, id)
		}
	}
	return found
}

// context tells the judge what the cluster knows.
func (s *Service) context(ctx context.Context, r Reader, j *upload.Judge, p *purpose.Identity, to *target, requests []Request, identities []Identity) error {
	c := &j.Context
	for _, name := range to.nodes {
		if n, ok := s.Cluster.Node(name); ok {
			c.Names = append(c.Names, n.FQDN)
		}
	}
	if twin := p.Twin(); twin != "" {
		for _, id := range inService(identities, twin, to.nodes) {
			c.Twin = upload.Twin{Purpose: twin, SelfSigned: c.Twin.SelfSigned || id.SelfSigned}
		}
	}
	places := []string{AllNodes}
	if !to.multi {
		places = append(places, to.nodes...)
	}
	for _, node := range places {
		retired, err := r.Retired(ctx, p.Name, node)
		if err != nil {
			return err
		}
		for _, o := range retired {
			c.Retired = append(c.Retired, upload.Retired{KeyHash: o.KeyHash, Created: o.Created, Ended: o.Ended})
		}
	}
	c.Others = map[string]upload.Other{}
	for i := range identities {
		x, err := identities[i].X509()
		if err != nil {
			return err
		}
		id := &identities[i]
		node := id.Node
		if id.Multi {
			node = AllNodes
		}
		other := upload.Other{What: fmt.Sprintf("the certificate in service of %s, there since %s", place(id.Purpose, node), id.Since.Format(time.RFC3339))}
		if id.Purpose == p.Name {
			other.Fix = "a renewal begins with a new request: callsign csr create " + p.Name + placeFlag(node)
		}
		c.Others[upload.KeyHash(x.RawSubjectPublicKeyInfo)] = other
	}
	for _, q := range requests {
		if to.request == nil || q.Purpose != p.Name || q.Node != to.request.Node {
			fix := "upload it there: callsign cert upload " + q.Purpose + " FILE"
			if q.Node != AllNodes { // without a node the multi-server request is found
				fix += placeFlag(q.Node)
			}
			c.Others[q.KeyHash] = upload.Other{What: "the request of " + place(q.Purpose, q.Node) + ", which waits as well", Fix: fix}
		}
	}
	var err error
	c.Recent, err = s.recent(ctx, r, p)
	return err
}

// placeFlag is the flag that chooses a node, or all, in a command to copy.
func placeFlag(node string) string {
	if node == AllNodes {
		return " --multi-server"
	}
	return " --node " + node
}

// recent finds the purposes that must not change together with this one, and did a short time ago.
func (s *Service) recent(ctx context.Context, r Reader, p *purpose.Identity) ([]string, error) {
	events, err := r.History(ctx, enoughEvents)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range events {
		if s.now().Sub(e.At) > justChanged || e.Action != ActionUploaded && e.Action != ActionRegenerated {
			continue
		}
		other, ok := purpose.Find(e.Purpose)
		if ok && (slices.Contains(p.NeverWith, other.Name) || slices.Contains(other.NeverWith, p.Name)) && !slices.Contains(found, other.Name) {
			found = append(found, other.Name)
		}
	}
	return found, nil
}

// installed are the events of a certificate that came into service on nodes.
func installed(action string, before []Identity, id *Identity, nodes []string) []Event {
	var events []Event
	for _, n := range nodes {
		e := Event{Action: action, Purpose: id.Purpose, Node: n, After: id.SHA256, Detail: id.Description}
		if i := slices.IndexFunc(before, func(o Identity) bool { return o.Node == n }); i >= 0 {
			e.Before = before[i].SHA256
		}
		events = append(events, e)
	}
	return events
}

func issuerName(x *x509.Certificate) string {
	if x.Issuer.CommonName != "" {
		return x.Issuer.CommonName
	}
	return x.Issuer.String()
}

// storeNode is where the certificates of a trust store are that come in on a node: on every node, if the store is replicated.
func storeNode(store, node string) string {
	if st, ok := purpose.FindStore(store); ok && !st.Replicated {
		return node
	}
	return AllNodes
}

// storeTrust adds to a change what a file does to a trust store. Copies of certificates in service are not taken away by a file:
// they go when what they are copies of goes.
func (s *Service) storeTrust(c *Change, store, node, description string, result *upload.Result, rows []Trust) {
	for _, x := range result.Remove {
		sum := x.SHA256()
		for i := range rows {
			if rows[i].SHA256 == sum && rows[i].Origin != System {
				c.DropTrust = append(c.DropTrust, TrustPlace{store, rows[i].Node, sum})
				c.Events = append(c.Events, Event{Action: ActionTrustReplaced, Purpose: store, Node: rows[i].Node, Before: sum, Detail: rows[i].CommonName})
			}
		}
	}
	for _, x := range result.Add {
		t := Trust{Store: store, Node: node, DER: x.Raw(), Record: NewRecord(x.X509()), Origin: Uploaded, Description: description}
		if t.Description == "" {
			t.Description = "Trust Certificate"
		}
		c.AddTrust = append(c.AddTrust, t)
		c.Events = append(c.Events, Event{Action: ActionTrustAdded, Purpose: store, Node: node, After: t.SHA256, Detail: t.CommonName})
	}
}

// copies puts a certificate that comes into service into the trust stores of the other nodes, and takes the copies of what it
// replaces out of them. identities are those before. Former CAPF certificates stay: phones still have LSCs of them.
func copies(ctx context.Context, r Reader, c *Change, p *purpose.Identity, id *Identity, nodes []string, identities []Identity) error {
	var stores []string
	switch p.Name {
	case "CAPF":
		stores = []string{p.Trust, storeCallManager}
	case "TVS":
		// The trust list carries TVS certificates; its store has issuers only.
	default:
		if p.Trust != "" {
			stores = []string{p.Trust}
		}
	}
	of := AllNodes
	if !id.Multi {
		of = nodes[0]
	}
	// A multi-server certificate that was replaced on one node may serve others still.
	serves := func(sum string) bool {
		return slices.ContainsFunc(identities, func(o Identity) bool {
			return o.Purpose == p.Name && o.SHA256 == sum && !slices.Contains(nodes, o.Node)
		})
	}
	for _, store := range stores {
		rows, err := r.TrustCopies(ctx, store, p.Name)
		if err != nil {
			return err
		}
		for i := range rows {
			t := &rows[i]
			if !p.CA && t.SHA256 != id.SHA256 && !serves(t.SHA256) {
				c.DropTrust = append(c.DropTrust, TrustPlace{store, t.Node, t.SHA256})
			}
		}
		c.AddTrust = append(c.AddTrust, Trust{
			Store: store, Node: AllNodes, DER: id.DER, Record: id.Record, Origin: System, Of: p.Name, OfNode: of, Description: id.Description,
		})
	}
	return nil
}

func (s *Service) planTrust(ctx context.Context, r Reader, u *Upload) (*uploadPlan, error) {
	out := &Outcome{Purpose: u.Purpose}
	judge := &upload.Judge{Purpose: u.Purpose, Policy: s.Policy, At: s.now()}
	st, known := purpose.FindStore(u.Purpose)
	if !known {
		out.Result = judge.Judge(u.File)
		return &uploadPlan{uploaded: out}, nil
	}
	n, err := s.NodeNamed(u.Node)
	if err != nil {
		return nil, err
	}
	node := storeNode(st.Name, n.Name)
	switch {
	case st.PublisherOnly && n.Role != Publisher:
		judge.Context.NotHere = st.Name + " is changed on the publisher only, which is " + s.Cluster.Publisher().Name
	case !st.Replicated && !st.On(n.Product):
		judge.Context.NotHere = fmt.Sprintf("%s is not on %s, whose product is %s", st.Name, n.Name, n.Product)
	case !st.Replicated:
		out.Nodes = []string{n.Name}
	}
	rows, err := namesakeRows(ctx, r, st.Name, n.Name, u.File.Certificates...)
	if err != nil {
		return nil, err
	}
	// A copy of a certificate in service is no older one of what is uploaded.
	rows = slices.DeleteFunc(rows, func(t Trust) bool {
		return t.Origin == System && !slices.ContainsFunc(u.File.Certificates, func(c *chain.Certificate) bool { return c.SHA256() == t.SHA256 })
	})
	judge.Trust = certificates(rows)
	out.Result = judge.Judge(u.File)
	plan := &uploadPlan{uploaded: out, change: &Change{}}
	if out.Verdict == upload.Accepted || out.Verdict == upload.Replacing {
		s.storeTrust(plan.change, st.Name, node, u.Description, out.Result, rows)
		if err := s.superseded(ctx, r, out, plan.change); err != nil {
			return nil, err
		}
		if s.Cluster.MixedMode && (st.Name == storeCallManager || st.Name == "CAPF-trust") {
			out.After = append(out.After, "if phones have to trust it by their certificate trust list: utils ctl update CTLFile on "+s.Cluster.Publisher().Name)
		}
	}
	return plan, nil
}
