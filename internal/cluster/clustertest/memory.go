package clustertest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"callsign/internal/cluster"
)

var _ cluster.Store = (*Memory)(nil)

// Memory implements cluster.Store. The zero value is empty and ready for use.
type Memory struct {
	mu       sync.Mutex
	clusters map[string]*contents
}

// contents are a cluster at a revision. They are never changed once they are in Memory.
type contents struct {
	revision    int64
	identities  map[cluster.Place]keyed[cluster.Identity]
	generations []keyed[cluster.Generation] // in the order in which they were replaced
	requests    map[cluster.Place]keyed[cluster.Request]
	retired     map[cluster.Place][]cluster.Retired // the latest first
	trust       map[cluster.TrustPlace]cluster.Trust
	subjects    map[string]cluster.Subject
	events      []cluster.Event
}

type keyed[T any] struct {
	value T
	key   []byte
}

func (m *Memory) at(name string) *contents {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.clusters[name]; c != nil {
		return c
	}
	return &contents{
		identities: map[cluster.Place]keyed[cluster.Identity]{}, requests: map[cluster.Place]keyed[cluster.Request]{},
		retired: map[cluster.Place][]cluster.Retired{}, trust: map[cluster.TrustPlace]cluster.Trust{}, subjects: map[string]cluster.Subject{},
	}
}

// View implements cluster.Store.
func (m *Memory) View(ctx context.Context, name string, do func(cluster.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return do(m.at(name))
}

// Apply implements cluster.Store.
func (m *Memory) Apply(ctx context.Context, name string, c *cluster.Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.Check(); err != nil {
		return err
	}
	old := m.at(name)
	if old.revision != c.Revision {
		return cluster.ErrChanged
	}
	next := &contents{
		revision: old.revision + 1, identities: maps.Clone(old.identities), generations: slices.Clone(old.generations), requests: maps.Clone(old.requests),
		retired: maps.Clone(old.retired), trust: maps.Clone(old.trust), subjects: maps.Clone(old.subjects), events: slices.Clone(old.events),
	}
	if err := next.apply(c); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := m.clusters[name]; now != nil && now.revision != c.Revision {
		return cluster.ErrChanged
	}
	if m.clusters == nil {
		m.clusters = map[string]*contents{}
	}
	m.clusters[name] = next
	return nil
}

func (c *contents) apply(ch *cluster.Change) error {
	at := ch.At
	if at.IsZero() {
		at = time.Now()
	}
	or := func(t time.Time) time.Time { return millisecond(cmp.Or(t, at)) }
	for _, p := range ch.DropRequests {
		if !c.retire(p, or(at)) {
			return cluster.NoRequest(p)
		}
	}
	for _, q := range ch.AddRequests {
		p := cluster.Place{Purpose: q.Purpose, Node: q.Node}
		c.retire(p, or(at))
		q.DER, q.Created = bytes.Clone(q.DER), or(q.Created)
		c.requests[p] = keyed[cluster.Request]{q.Request, bytes.Clone(q.Key)}
	}
	for i := range ch.Install {
		if err := c.install(&ch.Install[i], or); err != nil {
			return err
		}
	}
	for _, p := range ch.DropTrust {
		if _, ok := c.trust[p]; !ok {
			return cluster.NoTrust(p)
		}
		delete(c.trust, p)
	}
	for _, t := range ch.AddTrust {
		p := cluster.TrustPlace{Store: t.Store, Node: t.Node, SHA256: t.SHA256}
		if _, ok := c.trust[p]; !ok {
			t.DER, t.Added, t.Record = bytes.Clone(t.DER), or(t.Added), cut(t.Record)
			c.trust[p] = t
		}
	}
	for _, s := range ch.Subjects {
		s.Units, s.AlternateHostNames = slices.Clone(s.Units), slices.Clone(s.AlternateHostNames)
		c.subjects[s.Node] = s
	}
	for _, e := range ch.Events {
		e.At = or(e.At)
		c.events = append(c.events, e)
	}
	c.events = c.events[max(0, len(c.events)-cluster.EventsKept):]
	if !ch.ForgetBefore.IsZero() {
		before := millisecond(ch.ForgetBefore)
		c.generations = slices.DeleteFunc(c.generations, func(g keyed[cluster.Generation]) bool { return g.value.Replaced.Before(before) })
	}
	return nil
}

func (c *contents) retire(p cluster.Place, at time.Time) bool {
	q, ok := c.requests[p]
	if ok {
		delete(c.requests, p)
		r := cluster.Retired{Purpose: p.Purpose, Node: p.Node, KeyHash: q.value.KeyHash, Created: q.value.Created, Ended: at}
		list := append([]cluster.Retired{r}, c.retired[p]...)
		c.retired[p] = list[:min(len(list), cluster.MaxRetired)]
	}
	return ok
}

func (c *contents) install(in *cluster.Install, or func(time.Time) time.Time) error {
	key := bytes.Clone(in.Key)
	if in.From != nil {
		q, ok := c.requests[*in.From]
		if !ok {
			return cluster.NoRequest(*in.From)
		}
		spki, err := in.PublicKey()
		if err != nil {
			return err
		}
		if err := cluster.KeyFits(q.key, spki); err != nil {
			return cluster.KeyProblem("the certificate for "+in.From.String(), err)
		}
		key = q.key
		delete(c.requests, *in.From)
	}
	for _, node := range in.Nodes {
		p := cluster.Place{Purpose: in.Purpose, Node: node}
		if old, ok := c.identities[p]; ok {
			c.generations = append(c.generations, keyed[cluster.Generation]{cluster.Generation{Identity: old.value, Replaced: or(time.Time{})}, old.key})
		}
		id := in.Identity
		id.Node, id.DER, id.Since, id.Record = node, bytes.Clone(in.DER), or(in.Since), cut(in.Record)
		c.identities[p] = keyed[cluster.Identity]{id, key}
	}
	return nil
}

func cut(r cluster.Record) cluster.Record {
	r.NotBefore, r.NotAfter = millisecond(r.NotBefore), millisecond(r.NotAfter)
	return r
}

func millisecond(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}

// CheckKeys implements cluster.Store.
func (m *Memory) CheckKeys(ctx context.Context, name string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := m.at(name)
	var wrong []string
	certificate := func(i *cluster.Identity, key []byte) {
		x, err := x509.ParseCertificate(i.DER)
		if err != nil || cluster.KeyFits(key, x.RawSubjectPublicKeyInfo) != nil {
			wrong = append(wrong, "the key of the certificate of "+i.Purpose+" on "+i.Node+" does not fit")
		}
	}
	for _, i := range c.identities {
		certificate(&i.value, i.key)
	}
	for _, g := range c.generations {
		certificate(&g.value.Identity, g.key)
	}
	for p, q := range c.requests {
		x, err := x509.ParseCertificateRequest(q.value.DER)
		if err != nil || cluster.KeyFits(q.key, x.RawSubjectPublicKeyInfo) != nil {
			wrong = append(wrong, "the key of the request for "+p.String()+" does not fit")
		}
	}
	slices.Sort(wrong)
	return wrong, nil
}

// Revision implements cluster.Reader.
func (c *contents) Revision(context.Context) (int64, error) { return c.revision, nil }

// Identities implements cluster.Reader.
func (c *contents) Identities(context.Context) (list []cluster.Identity, err error) {
	for _, i := range c.identities {
		i.value.DER = bytes.Clone(i.value.DER)
		list = append(list, i.value)
	}
	slices.SortFunc(list, func(a, b cluster.Identity) int { return compare(a.Purpose, b.Purpose, a.Node, b.Node) })
	return list, nil
}

// Generations implements cluster.Reader.
func (c *contents) Generations(context.Context) (list []cluster.Generation, err error) {
	for _, g := range slices.Backward(c.generations) {
		g.value.DER = bytes.Clone(g.value.DER)
		list = append(list, g.value)
	}
	slices.SortStableFunc(list, func(a, b cluster.Generation) int {
		return cmp.Or(compare(a.Purpose, b.Purpose, a.Node, b.Node), b.Replaced.Compare(a.Replaced))
	})
	return list, nil
}

// Requests implements cluster.Reader.
func (c *contents) Requests(context.Context) (list []cluster.Request, err error) {
	for _, q := range c.requests {
		q.value.DER = bytes.Clone(q.value.DER)
		list = append(list, q.value)
	}
	slices.SortFunc(list, func(a, b cluster.Request) int { return compare(a.Purpose, b.Purpose, a.Node, b.Node) })
	return list, nil
}

// Retired implements cluster.Reader.
func (c *contents) Retired(_ context.Context, purpose, node string) ([]cluster.Retired, error) {
	return slices.Clone(c.retired[cluster.Place{Purpose: purpose, Node: node}]), nil
}

// TrustList implements cluster.Reader.
func (c *contents) TrustList(_ context.Context, store string) ([]cluster.Trust, error) {
	list := c.find(func(t *cluster.Trust) bool { return store == "" || t.Store == store })
	for i := range list {
		list[i].DER = nil
	}
	return list, nil
}

// TrustBySubject implements cluster.Reader.
func (c *contents) TrustBySubject(_ context.Context, store string, keys ...string) ([]cluster.Trust, error) {
	return c.find(func(t *cluster.Trust) bool { return t.Store == store && slices.Contains(keys, t.SubjectKey) }), nil
}

// TrustByCommonName implements cluster.Reader.
func (c *contents) TrustByCommonName(_ context.Context, store, name string) ([]cluster.Trust, error) {
	return c.find(func(t *cluster.Trust) bool {
		return t.Store == store && name != "" && cluster.FoldName(t.CommonName) == cluster.FoldName(name)
	}), nil
}

// TrustByFingerprint implements cluster.Reader.
func (c *contents) TrustByFingerprint(_ context.Context, sha256 string) ([]cluster.Trust, error) {
	return c.find(func(t *cluster.Trust) bool { return t.SHA256 == sha256 }), nil
}

// TrustCopies implements cluster.Reader.
func (c *contents) TrustCopies(_ context.Context, store, purpose string) ([]cluster.Trust, error) {
	copies := c.find(func(t *cluster.Trust) bool { return t.Store == store && t.Origin == cluster.System && t.Of == purpose })
	for i := range copies {
		copies[i].DER = nil
	}
	return copies, nil
}

// TrustAll implements cluster.Reader.
func (c *contents) TrustAll(_ context.Context, store string) ([]cluster.Trust, error) {
	return c.find(func(t *cluster.Trust) bool { return t.Store == store }), nil
}

func (c *contents) find(is func(*cluster.Trust) bool) (list []cluster.Trust) {
	for _, t := range c.trust {
		if is(&t) {
			t.DER = bytes.Clone(t.DER)
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b cluster.Trust) int { return compare(a.Store, b.Store, a.Node, b.Node, a.SHA256, b.SHA256) })
	return list
}

// Subject implements cluster.Reader.
func (c *contents) Subject(_ context.Context, node string) (cluster.Subject, bool, error) {
	s, ok := c.subjects[node]
	s.Units, s.AlternateHostNames = slices.Clone(s.Units), slices.Clone(s.AlternateHostNames)
	return s, ok, nil
}

// History implements cluster.Reader.
func (c *contents) History(_ context.Context, limit int) ([]cluster.Event, error) {
	list := slices.Clone(c.events)
	slices.Reverse(list)
	if limit > 0 {
		list = list[:min(limit, len(list))]
	}
	return list, nil
}

// compare compares texts two by two.
func compare(pairs ...string) int {
	for i := 0; i+1 < len(pairs); i += 2 {
		if d := strings.Compare(pairs[i], pairs[i+1]); d != 0 {
			return d
		}
	}
	return 0
}
