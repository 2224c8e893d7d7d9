package chain

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// scope is which certificates a CRL speaks of: the issuing distribution point, RFC 5280 5.2.5.
type scope struct {
	usersOnly, casOnly bool
	unusable           string // why the CRL cannot be used, "" when it can
}

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

// revoked judges one certificate.
func (j *judgement) revoked(depth int, c, issuer *Certificate) {
	var stale, holder *x509.RevocationList
	var held *x509.RevocationListEntry
	var released time.Time
	current := false
	var unusable []string
	for _, crl := range j.search.v.CRLs {
		why, applies := j.usableCRL(crl, c, issuer)
		if !applies {
			continue
		}
		if why != "" {
			unusable = append(unusable, why)
			continue
		}
		// Once revoked is revoked for good: an old CRL that lists the certificate counts, and so does one from after the
		// time of the judgement. Only what was put on hold may be released by a newer CRL.
		const certificateHold = 6
		switch entry := find(crl, c); {
		case entry == nil:
			if crl.ThisUpdate.After(released) {
				released = crl.ThisUpdate
			}
		case entry.ReasonCode != certificateHold:
			j.add(revokedFault(depth, c, crl, entry))
			return
		case holder == nil || crl.ThisUpdate.After(holder.ThisUpdate):
			holder, held = crl, entry
		}
		switch {
		case j.inDate(crl):
			current = true
		case stale == nil || crl.ThisUpdate.After(stale.ThisUpdate):
			stale = crl
		}
	}
	if holder != nil && !released.After(holder.ThisUpdate) {
		j.add(revokedFault(depth, c, holder, held))
		return
	}
	switch {
	case current:
	case !j.search.v.RequireCRL && stale != nil:
		j.note(depth, "the CRL of %s is not within its dates: %s", c.Issuer(), datesText(stale))
	case !j.search.v.RequireCRL:
		for _, why := range limit(unusable) {
			j.note(depth, "a CRL of %s was not used: %s", c.Issuer(), why)
		}
	case stale != nil:
		j.add(newFault(&ruleCRLCurrent, c, depth, "the CRL of %s is not within its dates: %s", c.Issuer(), datesText(stale)).
			values(datesText(stale), "valid at "+stamp(j.search.now)).
			fix("fetch the current CRL of %s%s", c.Issuer(), pointsText(c)))
	default:
		j.add(j.noCRL(c, depth, unusable))
	}
}

func revokedFault(depth int, c *Certificate, crl *x509.RevocationList, entry *x509.RevocationListEntry) Fault {
	return newFault(&ruleRevoked, c, depth, "%s was revoked by %s on %s: %s (CRL of %s)", c.Subject(), c.Issuer(), stamp(entry.RevocationTime), reasonText(entry.ReasonCode), stamp(crl.ThisUpdate)).
		values("revoked "+stamp(entry.RevocationTime), "not in the CRL").
		fix("replace the certificate of %s by a new one with a new key; find out from the CA's administrator why it was revoked", c.Subject())
}

// inDate reports whether a CRL is valid now, in whole seconds, both ends included. One without nextUpdate never ends.
func (j *judgement) inDate(crl *x509.RevocationList) bool {
	now, skew := j.search.now, j.search.v.ClockSkew
	return !now.Before(crl.ThisUpdate.Add(-skew)) && (crl.NextUpdate.IsZero() || !now.Truncate(time.Second).After(crl.NextUpdate.Add(skew)))
}

func datesText(crl *x509.RevocationList) string {
	if crl.NextUpdate.IsZero() {
		return "from " + stamp(crl.ThisUpdate)
	}
	return "from " + stamp(crl.ThisUpdate) + " to " + stamp(crl.NextUpdate)
}

func (*judgement) noCRL(c *Certificate, depth int, unusable []string) Fault {
	f := newFault(&ruleCRL, c, depth, "there is no usable CRL of %s, so nobody can tell whether %s is revoked", c.Issuer(), c.Subject()).
		values("none", "a CRL of "+c.Issuer()).
		fix("fetch the CRL of %s%s", c.Issuer(), pointsText(c))
	f.NearMisses = limit(unusable)
	return f
}

// usableCRL reports whether a CRL is of c's issuer at all, and if so, why it is of no use: "" when it is.
func (j *judgement) usableCRL(crl *x509.RevocationList, c, issuer *Certificate) (why string, applies bool) {
	if !bytes.Equal(crl.RawIssuer, c.x.RawIssuer) && canonical(crl.RawIssuer) != c.issuer {
		return "", false
	}
	if len(crl.AuthorityKeyId) > 0 && len(issuer.x.SubjectKeyId) > 0 && !bytes.Equal(crl.AuthorityKeyId, issuer.x.SubjectKeyId) {
		return fmt.Sprintf("it is signed with another key (key id %s) than the CA's (%s)", keyID(crl.AuthorityKeyId), keyID(issuer.x.SubjectKeyId)), true
	}
	in := scopeOf(crl)
	switch {
	case in.unusable != "":
		return in.unusable, true
	case in.usersOnly && c.x.IsCA:
		return "it lists end entities only", true
	case in.casOnly && !c.x.IsCA:
		return "it lists CAs only", true
	case issuer.present&extKeyUsage != 0 && issuer.x.KeyUsage&x509.KeyUsageCRLSign == 0:
		return "the CA's key usage has no cRLSign", true
	case !strong(crl.SignatureAlgorithm):
		return "it is signed with " + crl.SignatureAlgorithm.String(), true
	case !usable(issuer.x):
		return "the CA's key is refused", true
	case !j.search.allow():
		return "the limit of signature checks was reached", true
	case issuer.x.CheckSignature(crl.SignatureAlgorithm, crl.RawTBSRevocationList, crl.Signature) != nil:
		return "its signature does not verify with the CA's key", true
	}
	return "", true
}

// find returns the entry for a certificate.
func find(crl *x509.RevocationList, c *Certificate) *x509.RevocationListEntry {
	const removeFromCRL = 8
	for i := range crl.RevokedCertificateEntries {
		e := &crl.RevokedCertificateEntries[i]
		if e.SerialNumber.Cmp(c.x.SerialNumber) == 0 && e.ReasonCode != removeFromCRL {
			return e
		}
	}
	return nil
}

// scopeOf reads the critical extensions of a CRL. CRLs in parts that this package does not put together are not used.
func scopeOf(crl *x509.RevocationList) scope {
	var s scope
	for _, e := range crl.Extensions {
		switch e.Id.String() {
		case "2.5.29.27":
			s.unusable = "it is a delta CRL"
		case "2.5.29.28":
			s.readPoint(e.Value)
		case "2.5.29.20", "2.5.29.35":
		default:
			if e.Critical {
				s.unusable = "it has a critical extension that is not understood: " + e.Id.String()
			}
		}
	}
	for _, e := range crl.RevokedCertificateEntries {
		for _, x := range e.Extensions {
			if x.Critical && x.Id.String() != "2.5.29.21" {
				s.unusable = "an entry has a critical extension that is not understood: " + x.Id.String()
				return s
			}
		}
	}
	return s
}

// readPoint reads IssuingDistributionPoint. Its name is not compared: the administrator has chosen the CRL.
func (s *scope) readPoint(value []byte) {
	in := cryptobyte.String(value)
	var seq cryptobyte.String
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) {
		s.unusable = "its distribution point does not parse"
		return
	}
	for !seq.Empty() {
		var v cryptobyte.String
		var tag cbasn1.Tag
		if !seq.ReadAnyASN1(&v, &tag) {
			s.unusable = "its distribution point does not parse"
			return
		}
		yes := len(v) == 1 && v[0] != 0
		switch tag {
		case cbasn1.Tag(1).ContextSpecific():
			s.usersOnly = yes
		case cbasn1.Tag(2).ContextSpecific():
			s.casOnly = yes
		case cbasn1.Tag(3).ContextSpecific():
			s.unusable = "it lists some reasons of revocation only"
		case cbasn1.Tag(4).ContextSpecific(), cbasn1.Tag(5).ContextSpecific():
			if yes {
				s.unusable = "it is an indirect CRL, or one of attribute certificates"
			}
		}
	}
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
