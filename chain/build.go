package chain

import (
	"cmp"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// search looks for the path with the fewest faults.
type search struct {
	v         *Verifier
	presented []*Certificate
	reference *reference
	now       time.Time

	sent        pool // presented and intermediate certificates but the leaf, once they are many
	indexed     bool
	checked     []checkedSignature
	checks      int    // signatures verified
	looked      int    // candidates for issuers
	steps       int    // certificates added to paths
	paths       int    // paths judged
	comparisons int    // names compared with name constraints
	exhausted   string // the limit that was reached, "" for none

	crls        map[string][]*crl // by the canonical name of their issuer; nil until one is looked for
	crlOctets   int               // of CRLs that were verified
	tooManyCRLs *Certificate      // the CA at whose CRLs a limit was reached, nil for none

	best judged
	done bool // best is without faults

	leafJudged bool // the rules that are about the leaf alone were applied
	leafFaults []Fault
	leafNotes  []Note
}

// judged is a path with its judgement.
type judged struct {
	path   []*Certificate
	anchor *Anchor
	faults []Fault
	notes  []Note
}

// signature is what is known about the signature of one certificate by the key of another.
type signature uint8

const (
	signatureGood      signature = iota + 1
	signatureBad                 // it does not verify
	signatureUnchecked           // it cannot be verified: an algorithm or key that is refused anyway
	signatureUnknown             // the limit of work was reached
)

type checkedSignature struct {
	child, issuer *Certificate
	result        signature
}

// end says how a path ends.
type end uint8

const (
	endAnchor     end = iota // in an anchor
	endSelfSigned            // in a self-signed certificate that is not stored
	endNoIssuer              // nobody has issued the last certificate
	endTooLong               // in the middle: the limit of length was reached
	endGivenUp               // with the leaf: another limit was reached before there was any path
)

func (s *search) run() {
	s.extend(make([]*Certificate, 0, MaxPathLength), s.presented[0])
	if s.best.path == nil {
		if s.exhausted == "" { // cannot be, and must not be taken for a verdict
			s.exhausted = "the search"
		}
		j := judgement{search: s, path: s.presented[:1], end: endGivenUp}
		s.best = j.judge()
	}
	if s.exhausted != "" && !s.done {
		f := newFault(&ruleLimits, s.presented[0], 0, "no path was found within the limit of %s", s.exhausted).
			fix("present only the certificates of this one chain, and remove other CAs of the same name from %s", s.v.Anchors)
		if s.tooManyCRLs != nil {
			f = s.crlLimit()
		}
		s.best.faults = fold(append(s.best.faults, f))
	}
}

// extend adds c to the path and looks for its issuer. Paths that are complete, or cannot go on, are judged.
func (s *search) extend(path []*Certificate, c *Certificate) {
	if s.done || s.exhausted != "" {
		return
	}
	if s.steps++; s.steps > maxSteps {
		s.exhausted = fmt.Sprintf("%d steps", maxSteps)
		return
	}
	path = append(path, c)
	anchor := s.v.Anchors.find(c)
	if anchor != nil && (anchor.Partial || s.v.PartialChain || c.claimsSelfSigned()) {
		s.finish(path, endAnchor, anchor)
		return
	}
	candidates := s.candidates(path, c)
	if len(path) == MaxPathLength && len(candidates) > 0 {
		s.finish(path, endTooLong, nil)
		return
	}
	extended := false
	var bad []*Certificate
	for _, found := range candidates {
		issuer := found.Certificate
		switch s.signed(c, issuer) {
		case signatureGood, signatureUnchecked:
			extended = true
			s.extend(path, issuer)
		case signatureBad:
			bad = append(bad, issuer)
		case signatureUnknown:
		}
		if s.done || s.exhausted != "" {
			return
		}
	}
	switch {
	case extended:
	case c.claimsSelfSigned() && (s.signed(c, c) != signatureBad || len(bad) == 0):
		s.finish(path, endSelfSigned, nil)
	case len(bad) > 0:
		// Only the likeliest: which of several wrong issuers was meant, nobody can know.
		s.extend(path, bad[0])
	default:
		s.finish(path, endNoIssuer, nil)
	}
}

// finish judges a path and keeps it when it is the best so far.
func (s *search) finish(path []*Certificate, how end, anchor *Anchor) {
	if s.paths++; s.paths > maxPaths {
		s.exhausted = fmt.Sprintf("%d paths", maxPaths)
		return
	}
	j := judgement{search: s, path: slices.Clone(path), end: how, anchor: anchor}
	got := j.judge()
	if s.best.path == nil || better(&got, &s.best) {
		s.best = got
	}
	s.done = len(s.best.faults) == 0 && s.exhausted == ""
}

func better(a, b *judged) bool {
	if d := len(a.faults) - len(b.faults); d != 0 {
		return d < 0
	}
	return a.anchor != nil && b.anchor == nil
}

// candidates returns the certificates that may have issued c, the likeliest first: valid CAs before others, those that lead
// on before those that do not, those of the store before those presented, those whose key identifier is the one looked for
// before those without, and the newest. Certificates whose name is right and whose identifiers are not are no candidates.
func (s *search) candidates(path []*Certificate, c *Certificate) []candidate {
	var found []candidate
	stored := false
	add := func(i *Certificate) {
		// Once round is enough: a name and key that are in the path already lead nowhere new, except to an anchor, which
		// may be another certificate of the same CA. A self-signed leaf has to be in the store itself, though.
		if i.x == nil || i.subject != c.issuer || !c.identifies(i) {
			return
		}
		again := i.sameAuthority
		if stored && len(path) > 1 && i.claimsSelfSigned() {
			again = i.equal
		}
		if slices.ContainsFunc(path, again) || !stored && s.v.Anchors.find(i) != nil {
			return
		}
		// What is sent twice is found twice; where much is sent, the index has it once.
		if len(found) < few && slices.ContainsFunc(found, func(f candidate) bool { return f.equal(i) }) {
			return
		}
		found = append(found, candidate{Certificate: i, stored: stored})
	}
	if s.v.Anchors != nil {
		stored = true
		for _, i := range s.v.Anchors.pool.bySubject[c.issuer] {
			add(i)
		}
		stored = false
	}
	s.eachSent(c.issuer, add)
	if s.looked += len(found); s.looked > maxLooked {
		s.exhausted = fmt.Sprintf("%d CAs looked at", maxLooked)
		return nil
	}
	if len(found) > 1 {
		for i := range found {
			found[i].sound = s.sound(found[i].Certificate)
			found[i].matches = c.keyIDMatches(found[i].Certificate)
			if len(found) <= manyCandidates {
				found[i].way = s.way(path, found[i].Certificate)
			}
		}
		slices.SortStableFunc(found, candidate.compare)
	}
	return found
}

// candidate is a certificate that may be the issuer looked for.
type candidate struct {
	*Certificate
	stored  bool // in the trust store
	sound   bool // nothing is wrong with it that it shows itself
	matches bool // its key identifier is the one looked for
	way     way
}

// way says where a candidate leads, as far as its issuer's name and key identifier tell.
type way uint8

const (
	wayAnchor  way = iota // it is stored, or its issuer is
	wayOn                 // its issuer was sent
	wayNowhere            // its issuer is not at hand, or in the path already
)

// manyCandidates is how many candidates are looked behind.
const manyCandidates = 64

// way looks one step ahead. In a mesh of CAs that certify each other nearly all steps are in vain.
func (s *search) way(path []*Certificate, c *Certificate) way {
	if s.v.Anchors.find(c) != nil {
		return wayAnchor
	}
	if s.v.Anchors != nil && slices.ContainsFunc(s.v.Anchors.pool.bySubject[c.issuer], func(i *Certificate) bool { return i.x != nil && c.identifies(i) }) {
		return wayAnchor
	}
	found := wayNowhere
	s.eachSent(c.issuer, func(i *Certificate) {
		if i.x != nil && c.identifies(i) && !c.sameAuthority(i) && !slices.ContainsFunc(path, i.sameAuthority) {
			found = wayOn
		}
	})
	return found
}

// compare puts the likelier candidate first. A CA that is of no use, if only by its dates, comes after all others, or
// meshes of old cross-certificates would use up the limit of work.
func (a candidate) compare(b candidate) int {
	prefer := func(a, b bool) int {
		switch {
		case a == b:
			return 0
		case a:
			return -1
		default:
			return 1
		}
	}
	return cmp.Or(prefer(a.sound, b.sound), cmp.Compare(a.way, b.way), prefer(a.stored, b.stored), prefer(a.matches, b.matches), b.x.NotBefore.Compare(a.x.NotBefore))
}

// sound reports whether nothing is wrong with a CA that can be seen in the certificate alone.
func (s *search) sound(c *Certificate) bool {
	return !s.now.Before(c.x.NotBefore) && !s.now.After(c.x.NotAfter) && c.markedCA() && len(c.unhandled) == 0
}

// few is how many certificates are looked through one by one; more are indexed first.
const few = 24

// eachSent calls f for the presented and intermediate certificates with a subject, the leaf aside.
func (s *search) eachSent(subject string, f func(*Certificate)) {
	if len(s.presented)+len(s.v.Intermediates) <= few {
		for _, set := range [][]*Certificate{s.presented[1:], s.v.Intermediates} {
			for _, c := range set {
				if c.subject == subject {
					f(c)
				}
			}
		}
		return
	}
	s.index()
	for _, c := range s.sent.bySubject[subject] {
		f(c)
	}
}

func (s *search) index() {
	if s.indexed {
		return
	}
	s.indexed = true
	for _, set := range [][]*Certificate{s.presented[1:], s.v.Intermediates} {
		for _, c := range set {
			s.sent.addOnce(c)
		}
	}
}

// signed verifies the signature of child with the key of issuer, once.
func (s *search) signed(child, issuer *Certificate) signature {
	for i := range s.checked {
		if k := &s.checked[i]; k.child == child && k.issuer == issuer {
			return k.result
		}
	}
	result := s.check(child, issuer)
	if result != signatureUnknown {
		s.checked = append(s.checked, checkedSignature{child, issuer, result})
	}
	return result
}

func (s *search) check(child, issuer *Certificate) signature {
	if !s.allow() { // also for what is not verified: following it is work, too
		return signatureUnknown
	}
	if !verifiable(child.x.SignatureAlgorithm) || !usable(issuer.x) {
		return signatureUnchecked
	}
	if issuer.x.CheckSignature(child.x.SignatureAlgorithm, child.x.RawTBSCertificate, child.x.Signature) == nil {
		return signatureGood
	}
	return signatureBad
}

// allow takes one signature check from what is left.
func (s *search) allow() bool {
	if s.checks >= MaxSignatureChecks {
		s.exhausted = fmt.Sprintf("%d signature checks", MaxSignatureChecks)
		return false
	}
	s.checks++
	return true
}

// verifiable reports whether crypto/x509 can verify signatures of this algorithm at all. The others are refused as weak
// by the rule signature_algorithm, so that a signature never passes for good without having been verified.
func verifiable(a x509.SignatureAlgorithm) bool { return strong(a) || isSHA1(a) }

// strong reports whether an algorithm is acceptable.
func strong(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS,
		x509.SHA512WithRSAPSS, x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519:
		return true
	default:
		return false
	}
}

func isSHA1(a x509.SignatureAlgorithm) bool { return a == x509.SHA1WithRSA || a == x509.ECDSAWithSHA1 }

// usable reports whether signatures are verified with this key at all. Others are refused by key_strength, key_type or
// key_size_limit.
func usable(x *x509.Certificate) bool {
	const least = 1024 // below, crypto/rsa refuses
	if k, ok := x.PublicKey.(*rsa.PublicKey); ok {
		return k.N.BitLen() >= least && k.N.BitLen() <= MaxRSABits
	}
	return x.PublicKey != nil
}
