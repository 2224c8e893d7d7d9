package chain

import (
	"fmt"
	"time"
)

// revocation looks for every certificate below the anchor in the CRLs of its issuer: RFC 5280 6.3.
func (j *judgement) revocation() {
	v := j.search.v
	if len(v.CRLs) == 0 && !v.RequireCRL {
		return
	}
	for depth, c := range j.path {
		if !j.below(depth) {
			continue
		}
		if depth+1 == len(j.path) { // nobody is there who could have signed a CRL
			if v.RequireCRL {
				j.add(j.noCRL(c, depth, nil))
			}
			continue
		}
		j.revoked(depth, c, j.path[depth+1])
	}
}

// statement is what one CRL says of a certificate.
type statement struct {
	*crl
	answer
	why string // it is of no use, "" when it is, or nobody has looked
}

// statements asks all CRLs that may be of c's issuer, the newest first. No signature is verified yet.
func (j *judgement) statements(c, issuer *Certificate) []statement {
	var all []statement
	for _, l := range j.search.crlsOf(c) {
		s := statement{crl: l, why: l.unsuitable(issuer)}
		if s.why == "" {
			s.answer = l.of(c)
			if s.partial == "" && !strong(l.SignatureAlgorithm) && !j.sha1Allowed() {
				s.partial = "it is signed with " + l.SignatureAlgorithm.String()
			}
			if s.why = s.useless; s.why == "" && s.entry == nil {
				s.why = s.partial
			}
		}
		all = append(all, s)
	}
	return all
}

// revoked judges one certificate. Of the CRLs only those are verified from which something would follow.
func (j *judgement) revoked(depth int, c, issuer *Certificate) {
	all := j.statements(c, issuer)
	first := func(fits func(s *statement) bool) *statement {
		for i := range all {
			if s := &all[i]; s.why == "" && fits(s) {
				if s.why = j.search.checkCRL(s.crl, issuer); s.why == "" {
					return s
				}
			}
		}
		return nil
	}
	// Once revoked is revoked for good: a CRL that lists the certificate counts also when it is old, from after the time of
	// the judgement, one of several parts or signed with SHA-1. Only what was put on hold may be released by a newer CRL.
	if s := first(func(s *statement) bool { return s.entry != nil && s.entry.ReasonCode != certificateHold }); s != nil {
		j.add(revokedFault(depth, c, s))
		return
	}
	if held := first(func(s *statement) bool { return s.entry != nil }); held != nil {
		releases := func(s *statement) bool {
			return s.entry == nil && s.ThisUpdate.After(held.ThisUpdate) && !j.early(s.crl)
		}
		if first(releases) == nil {
			j.add(revokedFault(depth, c, held))
			return
		}
	}
	// Where CRLs are not demanded, all that is left to find out is worth a note, and not much work.
	tries := 0
	worthwhile := func(s *statement) bool {
		if s.partial != "" || j.search.v.RequireCRL {
			return s.partial == ""
		}
		tries++
		return tries <= mostNear && j.search.canCheck(s.crl)
	}
	if first(func(s *statement) bool { return j.inDate(s.crl) && worthwhile(s) }) != nil {
		return
	}
	stale := first(worthwhile)
	var unusable []string
	for i := range all {
		if all[i].why != "" {
			unusable = append(unusable, all[i].why)
		}
	}
	switch {
	case !j.search.v.RequireCRL && stale != nil:
		j.note(depth, "the CRL of %s is not within its dates: %s", c.Issuer(), datesText(stale.crl))
	case !j.search.v.RequireCRL:
		for _, why := range limit(unusable) {
			j.note(depth, "a CRL of %s was not used: %s", c.Issuer(), why)
		}
	case stale != nil:
		j.add(newFault(&ruleCRLCurrent, c, depth, "the CRL of %s is not within its dates: %s", c.Issuer(), datesText(stale.crl)).
			values(datesText(stale.crl), "valid at "+stamp(j.search.now)).
			fix("fetch the current CRL of %s%s", c.Issuer(), pointsText(c)))
	default:
		j.add(j.noCRL(c, depth, unusable))
	}
}

func revokedFault(depth int, c *Certificate, s *statement) Fault {
	e := s.entry
	f := newFault(&ruleRevoked, c, depth, "%s was revoked by %s on %s: %s (CRL of %s)", c.Subject(), c.Issuer(), stamp(e.RevocationTime), reasonText(e.ReasonCode), stamp(s.ThisUpdate)).
		values("revoked "+stamp(e.RevocationTime), "not in the CRL")
	if e.ReasonCode == certificateHold {
		return f.fix("ask the CA's administrator why the certificate of %s is on hold; when it is released, fetch the CRL of %s from after that%s", c.Subject(), c.Issuer(), pointsText(c))
	}
	return f.fix("replace the certificate of %s by a new one with a new key; find out from the CA's administrator why it was revoked", c.Subject())
}

// early reports whether a CRL is from after now.
func (j *judgement) early(l *crl) bool {
	return j.search.now.Before(l.ThisUpdate.Add(-j.search.v.ClockSkew))
}

// inDate reports whether a CRL is valid now, in whole seconds, both ends included. One without nextUpdate never ends.
func (j *judgement) inDate(l *crl) bool {
	return !j.early(l) && (l.NextUpdate.IsZero() || !j.search.now.Truncate(time.Second).After(l.NextUpdate.Add(j.search.v.ClockSkew)))
}

func datesText(l *crl) string {
	if l.NextUpdate.IsZero() {
		return "from " + stamp(l.ThisUpdate)
	}
	return "from " + stamp(l.ThisUpdate) + " to " + stamp(l.NextUpdate)
}

func (*judgement) noCRL(c *Certificate, depth int, unusable []string) Fault {
	f := newFault(&ruleCRL, c, depth, "there is no usable CRL of %s, so nobody can tell whether %s is revoked", c.Issuer(), c.Subject()).
		values("none", "a CRL of "+c.Issuer()).
		fix("fetch the CRL of %s%s", c.Issuer(), pointsText(c))
	f.NearMisses = limit(unusable)
	return f
}

// reasonText is a CRLReason: RFC 5280 5.3.1.
func reasonText(code int) string {
	names := map[int]string{
		0: "unspecified", 1: "keyCompromise", 2: "cACompromise", 3: "affiliationChanged", 4: "superseded",
		5: "cessationOfOperation", 6: "certificateHold", 9: "privilegeWithdrawn", 10: "aACompromise",
	}
	if s, ok := names[code]; ok {
		return s
	}
	return fmt.Sprintf("reason %d", code)
}

func pointsText(c *Certificate) string {
	if len(c.x.CRLDistributionPoints) == 0 {
		return ""
	}
	return "; the certificate says that it is at " + c.x.CRLDistributionPoints[0]
}
