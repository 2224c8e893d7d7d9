package cluster

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"callsign/internal/cluster/purpose"
	"callsign/internal/cluster/upload"
	"callsign/internal/explain"
)

// KeepGenerations is how long a certificate that was replaced is kept together with its key, so that it can be put back.
const KeepGenerations = 14 * 24 * time.Hour

// Service works on the certificates of one cluster. Its fields are set before the first call and not changed afterwards;
// then it may be used by several goroutines.
type Service struct {
	Cluster *Cluster
	Store   Store
	Policy  upload.Policy
	Now     func() time.Time // nil means time.Now
	Rand    io.Reader        // nil means crypto/rand; keys and serial numbers come from it
	Actor   string           // account, for the history
	// LSCs counts the phones whose LSC a certificate has issued; nil means that nobody counts them here.
	LSCs func(ctx context.Context, issuer *x509.Certificate) (int, error)
}

func (s *Service) now() time.Time {
	if s.Now == nil {
		return time.Now().UTC()
	}
	return s.Now().UTC()
}

func (s *Service) rand() io.Reader {
	if s.Rand == nil {
		return rand.Reader
	}
	return s.Rand
}

// tries is how often a change is made again when others change the cluster at the same time.
const tries = 10

// update reads the cluster, lets plan make a change out of it, and applies that; again when the cluster was changed in between.
// plan returns nil for no change. attempt begins with 0.
func (s *Service) update(ctx context.Context, plan func(r Reader, attempt int) (*Change, error)) error {
	for attempt := range tries {
		var change *Change
		err := s.Store.View(ctx, s.Cluster.Name, func(r Reader) error {
			revision, err := r.Revision(ctx)
			if err != nil {
				return err
			}
			if change, err = plan(r, attempt); change != nil {
				change.Revision, change.At = revision, s.now()
				change.ForgetBefore = change.At.Add(-KeepGenerations)
				for i := range change.Events {
					change.Events[i].At, change.Events[i].Actor = change.At, s.Actor
				}
			}
			return err
		})
		if err != nil || change == nil {
			return err
		}
		if err := s.Store.Apply(ctx, s.Cluster.Name, change); !errors.Is(err, ErrChanged) {
			return err
		}
	}
	return s.changed("the certificates of the cluster " + s.Cluster.Name + " are being changed by others all the time")
}

func (s *Service) changed(detail string) error {
	return &Problem{ErrCode: CodeChanged, Detail: detail, Fix: "nothing was changed; look at what is there now with: callsign cert list, and repeat the command if it is still needed"}
}

func findPurpose(name string) (*purpose.Identity, error) {
	p, ok := purpose.Find(name)
	if !ok {
		return nil, unknownPurpose(name)
	}
	return p, nil
}

func findStore(name string) (*purpose.Store, error) {
	st, ok := purpose.FindStore(name)
	if !ok {
		what := fmt.Sprintf("there is no trust store %q", name)
		if p, ok := purpose.Find(name); ok && p.Trust != "" {
			return nil, &Problem{ErrCode: CodePurpose, Detail: what, Fix: "the trust store of " + name + " is " + p.Trust}
		}
		return nil, &Problem{ErrCode: CodePurpose, Detail: what, Fix: meant(name, purpose.StoreNames())}
	}
	return st, nil
}

// CheckStore returns nil for the name of a trust store, and else a *Problem that says which one was probably meant.
func CheckStore(name string) error {
	_, err := findStore(name)
	return err
}

// NodeNamed returns the node of a name, the publisher for none.
func (s *Service) NodeNamed(name string) (*Node, error) {
	if name == "" {
		return s.Cluster.Publisher(), nil
	}
	n, ok := s.Cluster.Node(name)
	if !ok {
		return nil, s.Cluster.unknownNode(name)
	}
	return n, nil
}

func (c *Cluster) nodeNames() []string {
	var names []string
	for _, n := range c.Ordered() {
		names = append(names, n.Name)
	}
	return names
}

// notHere says why a purpose is not on a node; empty when it is.
func (s *Service) notHere(p *purpose.Identity, n *Node) string {
	if n.Has(p) {
		return ""
	}
	switch {
	case !slices.Contains(p.Products, n.Product):
		return fmt.Sprintf("%s does not exist on %s, whose product is %s", p.Name, n.Name, n.Product)
	case p.Nodes == purpose.Publisher:
		return fmt.Sprintf("%s exists on the publisher only, which is %s", p.Name, s.Cluster.Publisher().Name)
	default:
		return fmt.Sprintf("%s does not run the service that has %s", n.Name, p.Name)
	}
}

// placeGone says why a purpose is not on a node of this name; empty when it is.
func (s *Service) placeGone(p *purpose.Identity, name string) string {
	n, ok := s.Cluster.Node(name)
	if !ok {
		return "the cluster " + s.Cluster.Name + " has no node " + name + " any more"
	}
	return s.notHere(p, n)
}

// identities returns the certificates in service in the places that the description has. Those of a node that was taken out of
// it, or of a purpose that the node does not have any more, are nobody's to renew; they stay in the store, and count again when
// their place is back.
func (s *Service) identities(ctx context.Context, r Reader) ([]Identity, error) {
	all, err := r.Identities(ctx)
	return slices.DeleteFunc(all, func(id Identity) bool {
		p, ok := purpose.Find(id.Purpose)
		return !ok || s.placeGone(p, id.Node) != ""
	}), err
}

// Requests returns the requests that wait.
func (s *Service) Requests(ctx context.Context) (requests []Request, err error) {
	err = s.Store.View(ctx, s.Cluster.Name, func(r Reader) error {
		requests, err = r.Requests(ctx)
		return err
	})
	return requests, err
}

// NodeOrFormer returns the host name of a node, also of one that is not in the description any more as long as a request of it waits.
func (s *Service) NodeOrFormer(ctx context.Context, name string) (string, error) {
	n, err := s.NodeNamed(name)
	if err == nil {
		return n.Name, nil
	}
	waiting, failed := s.Requests(ctx)
	if failed != nil {
		return "", failed
	}
	if i := slices.IndexFunc(waiting, func(q Request) bool { return q.Node != AllNodes && strings.EqualFold(q.Node, name) }); i >= 0 {
		return waiting[i].Node, nil
	}
	return "", err
}

// Request returns the request of a purpose that waits for a certificate: that of a node, or the multi-server one. Without
// either it is the only one there is; of several none is taken (cluster.ambiguous-name), because to have the wrong one signed
// costs a day.
func (s *Service) Request(ctx context.Context, purposeName, node string, multi bool) (*Request, error) {
	p, err := findPurpose(purposeName)
	if err != nil {
		return nil, err
	}
	all, err := s.Requests(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(q Request) bool { return q.Purpose != p.Name })
	switch {
	case multi:
		node = AllNodes
	case node == "" && len(all) == 1:
		return &all[0], nil
	case node == "" && len(all) > 1:
		return nil, &Problem{
			ErrCode: CodeAmbiguous, Detail: fmt.Sprintf("%d requests of %s wait: %s", len(all), p.Name, strings.Join(placesOf(all), ", ")),
			Fix: "choose one with " + explain.Alternatives(choices(all)),
		}
	case slices.ContainsFunc(all, func(q Request) bool { return q.Node == node }):
		// Also of a node that is not in the description any more.
	default:
		n, err := s.NodeNamed(node)
		if err != nil {
			return nil, err
		}
		node = n.Name
	}
	if i := slices.IndexFunc(all, func(q Request) bool { return q.Node == node }); i >= 0 {
		return &all[i], nil
	}
	fix := "make one with: callsign csr create " + p.Name
	switch {
	case multi:
		fix += " --multi-server"
	case node != s.Cluster.Publisher().Name:
		fix += " --node " + node
	}
	if len(all) > 0 {
		fix = "there is one of " + strings.Join(placesOf(all), ", ") + ", which is chosen with " + explain.Alternatives(choices(all)) + "; or " + fix
	}
	return nil, &Problem{ErrCode: CodeNoRequest, Detail: "no request waits for " + place(p.Name, node), Fix: fix}
}

func placesOf(requests []Request) []string {
	var places []string
	for _, q := range requests {
		places = append(places, place(q.Purpose, q.Node))
	}
	return places
}

// choices are the flags that choose between requests of one purpose.
func choices(requests []Request) []string {
	var flags []string
	for _, q := range requests {
		if q.Node == AllNodes {
			flags = append(flags, "--multi-server")
		} else {
			flags = append(flags, "--node "+q.Node)
		}
	}
	return flags
}

// place is how messages call a purpose on a node.
func place(purposeName, node string) string {
	if node == AllNodes {
		return purposeName + " (multi-server)"
	}
	return purposeName + "@" + node
}

// DeleteRequest deletes a request and its key when it still is the one that waits: one that took its place stays
// (cluster.changed).
func (s *Service) DeleteRequest(ctx context.Context, q *Request) error {
	return s.update(ctx, func(r Reader, _ int) (*Change, error) {
		now, err := r.Requests(ctx)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(now, func(o Request) bool { return o.Purpose == q.Purpose && o.Node == q.Node && o.KeyHash == q.KeyHash }) {
			return nil, s.changed("the request of " + place(q.Purpose, q.Node) + " was replaced, deleted or answered in between")
		}
		return &Change{
			DropRequests: []Place{{q.Purpose, q.Node}},
			Events:       []Event{{Action: ActionRequestDeleted, Purpose: q.Purpose, Node: q.Node, Before: q.KeyHash}},
		}, nil
	})
}

// History returns the latest changes of the cluster, the latest first, at most limit.
func (s *Service) History(ctx context.Context, limit int) (events []Event, err error) {
	err = s.Store.View(ctx, s.Cluster.Name, func(r Reader) error {
		events, err = r.History(ctx, limit)
		return err
	})
	return events, err
}

// CheckKeys looks whether every certificate and request has its key, and returns nil or a *Problem.
func (s *Service) CheckKeys(ctx context.Context) error {
	wrong, err := s.Store.CheckKeys(ctx, s.Cluster.Name)
	if err != nil || len(wrong) == 0 {
		return err
	}
	return &Problem{
		ErrCode: CodeKeysMismatch, Detail: fmt.Sprintf("%d records of the cluster %s do not fit their keys: %s", len(wrong), s.Cluster.Name, strings.Join(wrong[:min(3, len(wrong))], "; ")),
		Fix: "the database was changed by something else, or is damaged: restore the last backup of it, then make new requests for what changed since",
	}
}
