package cluster

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"

	"callsign/internal/cluster/purpose"
	"callsign/internal/cluster/upload"
)

// Created is a request that was made.
type Created struct {
	Request
	Template *Template
	Replaced *Request // that waited before; its key is gone
}

// RequestPlan is a request that would be made.
type RequestPlan struct {
	Template *Template
	Waiting  *Request // that it replaces; nil for none
}

// PlanRequest checks the fields of a request and returns what would be made. No key is made.
func (s *Service) PlanRequest(ctx context.Context, f Fields) (*RequestPlan, error) {
	t, err := s.template(ctx, &f, nil, s.Cluster.Prepare)
	if err != nil {
		return nil, err
	}
	plan := &RequestPlan{Template: t}
	all, err := s.Requests(ctx)
	plan.Waiting = waitingAt(all, t.Purpose, t.Node)
	return plan, err
}

// waitingAt is the request of a purpose and node; nil for none.
func waitingAt(requests []Request, purposeName, node string) *Request {
	for i := range requests {
		if requests[i].Purpose == purposeName && requests[i].Node == node {
			return &requests[i]
		}
	}
	return nil
}

// replaces reports whether the request that waits now, nil for none, is the one of the plan.
func (p *RequestPlan) replaces(now *Request) bool {
	return now == nil && p.Waiting == nil || now != nil && p.Waiting != nil && now.KeyHash == p.Waiting.KeyHash
}

// CreateRequest makes the request of a plan, and its key. When another request waits than when the plan was made, that one
// stays (cluster.changed).
func (s *Service) CreateRequest(ctx context.Context, plan *RequestPlan) (*Created, error) {
	t := plan.Template
	der, key, err := t.Request(s.rand())
	if err != nil {
		return nil, err
	}
	pkcs8, spki, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	defer clear(pkcs8)
	out := &Created{Template: t, Request: Request{Purpose: t.Purpose, Node: t.Node, DER: der, KeyHash: upload.KeyHash(spki), Created: s.now()}}
	err = s.update(ctx, func(r Reader, _ int) (*Change, error) {
		waiting, err := r.Requests(ctx)
		if err != nil {
			return nil, err
		}
		out.Replaced = waitingAt(waiting, t.Purpose, t.Node)
		e := Event{Action: ActionRequestCreated, Purpose: t.Purpose, Node: t.Node, After: out.KeyHash, Detail: t.CommonName}
		if out.Replaced != nil {
			e.Before = out.Replaced.KeyHash
		}
		if !plan.replaces(out.Replaced) {
			return nil, s.changed("the request of " + place(t.Purpose, t.Node) + " was made, replaced, deleted or answered by another command in between")
		}
		return &Change{AddRequests: []NewRequest{{Request: out.Request, Key: pkcs8}}, Events: []Event{e}}, nil
	})
	return out, err
}

// template completes fields with subject settings: with these, or with those of the node that makes the request.
func (s *Service) template(ctx context.Context, f *Fields, with *Subject, prepare func(Fields, Subject, purpose.Profile) (*Template, error)) (*Template, error) {
	if with != nil {
		return prepare(*f, *with, s.Policy.Profile)
	}
	// The node is known only when the fields were looked at.
	t, err := prepare(*f, Subject{}, s.Policy.Profile)
	if err != nil {
		return nil, err
	}
	subject, set, err := s.Subject(ctx, t.MadeOn)
	if err != nil || !set {
		return t, err
	}
	return prepare(*f, subject, s.Policy.Profile)
}

func encodeKey(key crypto.Signer) (pkcs8, spki []byte, err error) {
	if pkcs8, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return nil, nil, fmt.Errorf("encode key: %w", err)
	}
	if spki, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
		return nil, nil, fmt.Errorf("encode public key: %w", err)
	}
	return pkcs8, spki, nil
}

// Regenerated is a self-signed certificate that came into service, or would.
type Regenerated struct {
	Identity // zero in a plan: nothing was made yet
	Template *Template
	Nodes    []string
	Before   []Identity // that it replaces
	Recent   []string   // purposes that changed so shortly before that phones may not be back
	Consequences

	subject *Subject // new settings that are kept with it
}

// PlanRegenerate checks the fields of a self-signed certificate, and returns what would be made and what that replaces, also
// a CA-signed certificate. The length of the key stays that of the certificate before, unless the fields say otherwise. No key is
// made.
func (s *Service) PlanRegenerate(ctx context.Context, f Fields) (*Regenerated, error) {
	return s.planRegenerate(ctx, f, nil)
}

// replaces reports whether what is in service now is what the plan said.
func (p *Regenerated) replaces(now []Identity) bool {
	return slices.EqualFunc(now, p.Before, func(a, b Identity) bool { return a.Node == b.Node && a.SHA256 == b.SHA256 })
}

func (s *Service) planRegenerate(ctx context.Context, f Fields, with *Subject) (*Regenerated, error) {
	before, err := s.InService(ctx, f.Purpose, f.Node, f.Multi)
	if err != nil {
		return nil, err
	}
	if f.Key.Bits == 0 && len(before) > 0 {
		f.Key = sameKeyLength(&before[0])
	}
	t, err := s.template(ctx, &f, with, s.Cluster.PrepareSelfSigned)
	if err != nil {
		return nil, err
	}
	p, err := findPurpose(t.Purpose)
	if err != nil {
		return nil, err
	}
	plan := &Regenerated{Template: t, Nodes: []string{t.Node}, subject: with}
	if t.Node == AllNodes {
		plan.Nodes = nil
		for _, n := range s.Cluster.NodesWith(p) {
			plan.Nodes = append(plan.Nodes, n.Name)
		}
	}
	plan.Before = inService(before, p.Name, plan.Nodes)
	plan.Consequences = s.Cluster.Changed(p, purpose.SelfSigned, plan.Nodes)
	return plan, s.Store.View(ctx, s.Cluster.Name, func(r Reader) error {
		plan.Recent, err = s.recent(ctx, r, p)
		return err
	})
}

// Regenerate makes the certificate of a plan with a new key, and puts it into service. When another certificate is in service
// than when the plan was made, that one stays (cluster.changed).
func (s *Service) Regenerate(ctx context.Context, plan *Regenerated) (*Regenerated, error) {
	t := plan.Template
	p, err := findPurpose(t.Purpose)
	if err != nil {
		return nil, err
	}
	der, key, err := t.SelfSigned(s.rand(), s.now())
	if err != nil {
		return nil, err
	}
	pkcs8, _, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	defer clear(pkcs8)
	x, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the certificate that was made: %w", err)
	}
	made := *plan
	out := &made
	out.Identity = Identity{
		Purpose: p.Name, Node: t.Node, Multi: t.Node == AllNodes, DER: der, Record: NewRecord(x),
		Description: "Self-signed certificate generated by system", Since: s.now(),
	}
	return out, s.update(ctx, func(r Reader, _ int) (*Change, error) {
		identities, err := s.identities(ctx, r)
		if err != nil {
			return nil, err
		}
		out.Before = inService(identities, p.Name, out.Nodes)
		if !plan.replaces(out.Before) {
			return nil, s.changed("the certificate of " + place(p.Name, t.Node) + " was replaced by another command in between")
		}
		if out.Recent, err = s.recent(ctx, r, p); err != nil {
			return nil, err
		}
		c := &Change{Install: []Install{{Identity: out.Identity, Nodes: out.Nodes, Key: pkcs8}}}
		c.Events = installed(ActionRegenerated, out.Before, &out.Identity, out.Nodes)
		if out.subject != nil {
			out.subject.set(c)
		}
		return c, copies(ctx, r, c, p, &out.Identity, out.Nodes, identities)
	})
}

// sameKeyLength is the key of a certificate, if a new one may have it.
func sameKeyLength(id *Identity) KeySpec {
	k := KeySpec{Type: purpose.KeyType(id.KeyType), Bits: id.KeyBits}
	if !slices.Contains(KeySpecs(k.Type), k) {
		return KeySpec{}
	}
	return k
}

// InService returns the certificates that a new one of a purpose would replace: those of a node (the publisher for ""), or of every
// node.
func (s *Service) InService(ctx context.Context, purposeName, node string, multi bool) ([]Identity, error) {
	p, err := findPurpose(purposeName)
	if err != nil {
		return nil, err
	}
	nodes := s.Cluster.nodeNames()
	if !multi {
		n, err := s.Cluster.nodeOf(&Fields{Node: node}, p)
		if err != nil {
			return nil, err
		}
		nodes = []string{n.Name}
	}
	var found []Identity
	err = s.Store.View(ctx, s.Cluster.Name, func(r Reader) error {
		all, err := s.identities(ctx, r)
		found = inService(all, p.Name, nodes)
		return err
	})
	return found, err
}

// Subject returns the subject settings of a node, the publisher for "", and false when none were made.
func (s *Service) Subject(ctx context.Context, node string) (subject Subject, set bool, err error) {
	n, err := s.NodeNamed(node)
	if err != nil {
		return Subject{}, false, err
	}
	err = s.Store.View(ctx, s.Cluster.Name, func(r Reader) error {
		subject, set, err = r.Subject(ctx, n.Name)
		return err
	})
	subject.Node = n.Name
	return subject, set, err
}

// SubjectPlan is what new subject settings of a node would change.
type SubjectPlan struct {
	Before, After Subject
	// InService is the tomcat certificate of the node; nil for none.
	InService *Identity
	// Regenerates is the plan for a self-signed one, which is made again; nil when the certificate stays as it is.
	Regenerates *Regenerated
	// Waiting are requests that were made on the node, or for all nodes, with the settings before.
	Waiting []Request
}

// PlanSubject checks subject settings and says what they would change. Nothing is kept, and no key is made.
func (s *Service) PlanSubject(ctx context.Context, subject Subject) (*SubjectPlan, error) {
	before, _, err := s.Subject(ctx, subject.Node)
	if err != nil {
		return nil, err
	}
	subject.Node = before.Node
	if err := subject.Validate(); err != nil {
		return nil, err
	}
	plan := &SubjectPlan{Before: before, After: subject}
	found, err := s.InService(ctx, subjectPurpose, subject.Node, false)
	if err != nil {
		return nil, err
	}
	if len(found) > 0 {
		plan.InService = &found[0]
	}
	if plan.Waiting, err = s.Requests(ctx); err != nil {
		return nil, err
	}
	plan.Waiting = slices.DeleteFunc(plan.Waiting, func(q Request) bool { return q.Node != subject.Node && q.Node != AllNodes })
	if id := plan.InService; id != nil && id.SelfSigned && !id.Multi {
		plan.Regenerates, err = s.planRegenerate(ctx, Fields{Purpose: subjectPurpose, Node: subject.Node}, &subject)
	}
	return plan, err
}

// SetSubject keeps the settings of a plan, and returns the certificate that it made: nil for none. When the settings or the
// tomcat certificate were changed in between, all stays as it is (cluster.changed).
func (s *Service) SetSubject(ctx context.Context, plan *SubjectPlan) (*Regenerated, error) {
	if plan.Regenerates != nil {
		return s.Regenerate(ctx, plan.Regenerates)
	}
	return nil, s.update(ctx, func(r Reader, _ int) (*Change, error) {
		now, _, err := r.Subject(ctx, plan.After.Node)
		if err != nil {
			return nil, err
		}
		identities, err := s.identities(ctx, r)
		if err != nil {
			return nil, err
		}
		found := inService(identities, subjectPurpose, []string{plan.After.Node})
		same := len(found) == 0 && plan.InService == nil || len(found) > 0 && plan.InService != nil && found[0].SHA256 == plan.InService.SHA256
		if !same || now.String() != plan.Before.String() {
			return nil, s.changed("the subject settings or the tomcat certificate of " + plan.After.Node + " were changed by another command in between")
		}
		c := &Change{}
		plan.After.set(c)
		return c, nil
	})
}

// subjectPurpose is the purpose whose self-signed certificate follows the settings at once.
const subjectPurpose = "tomcat"

// set makes the settings part of a change.
func (s *Subject) set(c *Change) {
	c.Subjects = append(c.Subjects, *s)
	c.Events = append(c.Events, Event{Action: ActionSubjectSet, Purpose: subjectPurpose, Node: s.Node, Detail: s.String()})
}
