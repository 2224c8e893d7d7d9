package chain

import (
	"crypto/x509"
	"math"
	"slices"
)

const anyPolicy = "2.5.29.32.0"

// Bounds of the work: policies, or mappings, of one certificate, and policies of one level.
const (
	maxPolicies = 256
	maxLevel    = 1024
)

// policySet are the policies that a path is valid for at one depth: the nodes of one level of RFC 5280's valid policy
// tree, each with the policies expected below. Since every initial policy is acceptable to us, the path is valid for a
// policy as long as a level has a node, and the levels above it can be forgotten.
type policySet map[string][]string

// policies processes certificate policies: RFC 5280 6.1.3 (d) to (f), 6.1.4 (a), (b), (h) to (j), 6.1.5 (a), (b), (g), with
// any-policy as initial set and nothing demanded at the start. Something is demanded only where a certificate of the path
// says so.
func (j *judgement) policies() {
	if !slices.ContainsFunc(j.path, func(c *Certificate) bool { return c.needsPolicy }) {
		return
	}
	n := len(j.path) - 1 // certificates that are processed: all but the anchor
	if j.anchor == nil {
		n++ // the anchor is not known: all of them
	}
	explicit, inhibitAny, mapping := n+1, n+1, n+1
	valid := policySet{anyPolicy: {anyPolicy}}
	for i := n - 1; i >= 0; i-- {
		c := j.path[i]
		last, exempt := i == 0, c.selfIssued()
		valid = valid.next(c, inhibitAny > 0 || !last && exempt)
		if explicit == 0 && len(valid) == 0 {
			j.add(j.noPolicy(c, i))
			return
		}
		if last {
			break
		}
		for _, m := range c.x.PolicyMappings {
			if m.IssuerDomainPolicy.String() == anyPolicy || m.SubjectDomainPolicy.String() == anyPolicy {
				j.add(newFault(&rulePolicyMapping, c, i, "%s maps a policy to or from anyPolicy", c.Subject()).
					fix("have the CA certificate %s issued again without that policy mapping", c.Subject()))
				return
			}
		}
		valid.mapped(c.x.PolicyMappings, mapping > 0)
		if !exempt {
			explicit, inhibitAny, mapping = max(explicit-1, 0), max(inhibitAny-1, 0), max(mapping-1, 0)
		}
		explicit = min(explicit, given(c.x.RequireExplicitPolicy, c.x.RequireExplicitPolicyZero))
		mapping = min(mapping, given(c.x.InhibitPolicyMapping, c.x.InhibitPolicyMappingZero))
		inhibitAny = min(inhibitAny, given(c.x.InhibitAnyPolicy, c.x.InhibitAnyPolicyZero))
	}
	leaf := j.path[0]
	explicit = max(explicit-1, 0)
	if leaf.x.RequireExplicitPolicyZero {
		explicit = 0
	}
	if explicit == 0 && len(valid) == 0 {
		j.add(j.noPolicy(leaf, 0))
	}
}

// given is a counter of crypto/x509, which has no value for an absent one. A negative one, which is no good form, counts
// as 0: a demand that is written wrongly is a demand all the same.
func given(n int, zero bool) int {
	if n == 0 && !zero {
		return math.MaxInt
	}
	return max(n, 0)
}

func (*judgement) noPolicy(c *Certificate, depth int) Fault {
	policies := "none"
	if len(c.x.Policies) > 0 {
		texts := make([]string, len(c.x.Policies))
		for i, p := range c.x.Policies {
			texts[i] = p.String()
		}
		policies = join(texts)
	}
	return newFault(&rulePolicy, c, depth, "a CA of the path demands a certificate policy, and at %s the path is valid for none", c.Subject()).
		values("policies "+policies, "a policy of the CAs above").
		fix("have the certificate of %s issued under a certificate policy that the CAs above it have, or the demand (policyConstraints) removed from the CA", c.Subject())
}

// next returns the level below s: RFC 5280 6.1.3 (d), (e). A level that would have more than maxLevel policies is empty:
// the path is then valid for none, which refuses it only where one is demanded.
func (s policySet) next(c *Certificate, anyAllowed bool) policySet {
	if c.present&extPolicies == 0 || len(c.x.Policies) > maxPolicies {
		return nil
	}
	_, fromAny := s[anyPolicy]
	expected := map[string]bool{}
	for _, e := range s {
		for _, p := range e {
			expected[p] = true
		}
	}
	below := policySet{}
	hasAny := false
	for _, oid := range c.x.Policies {
		p := oid.String()
		switch {
		case p == anyPolicy:
			hasAny = true
		case fromAny || expected[p]:
			below[p] = []string{p}
		}
	}
	if hasAny && anyAllowed {
		for p := range expected {
			if _, ok := below[p]; !ok {
				below[p] = []string{p}
			}
		}
	}
	if len(below) > maxLevel {
		return nil
	}
	return below
}

// mapped applies policy mappings: RFC 5280 6.1.4 (b).
func (s policySet) mapped(mappings []x509.PolicyMapping, allowed bool) {
	if len(mappings) > maxPolicies {
		clear(s) // as if none could be mapped
		return
	}
	if len(s) == 0 {
		return
	}
	to := map[string][]string{}
	for _, m := range mappings {
		from := m.IssuerDomainPolicy.String()
		to[from] = append(to[from], m.SubjectDomainPolicy.String())
	}
	_, hasAny := s[anyPolicy]
	for from, expected := range to {
		_, have := s[from]
		switch {
		case allowed && (have || hasAny):
			s[from] = expected
		case !allowed:
			delete(s, from)
		}
	}
}
