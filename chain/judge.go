package chain

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// judgement applies every rule to one path. Nothing stops at the first fault.
type judgement struct {
	search *search
	path   []*Certificate
	end    end
	anchor *Anchor // what the path ends in, nil when it ends before
	faults []Fault
	notes  []Note
}

func (j *judgement) add(f Fault) { j.faults = append(j.faults, f) }

func (j *judgement) note(depth int, format string, args ...any) {
	shorten(args)
	j.notes = append(j.notes, Note{Depth: depth, Text: fmt.Sprintf(format, args...)})
}

// store is the trust store, for its name in remedies.
func (j *judgement) store() *Store { return j.search.v.Anchors }

func (j *judgement) profile() Profile { return j.search.v.Profile }

// below reports whether a certificate of the path is not what the path ends in: an anchor, or the self-signed certificate
// that would be one if it were stored.
func (j *judgement) below(depth int) bool {
	return depth < len(j.path)-1 || j.end != endAnchor && j.end != endSelfSigned
}

func (j *judgement) judge() judged {
	j.trust()
	j.signatures()
	for depth, c := range j.path {
		j.dates(depth, c)
		j.criticals(depth, c)
		j.keys(depth, c)
		if depth > 0 || j.search.v.Usage == CA {
			j.authority(depth, c)
		}
		j.extendedUsage(depth, c)
	}
	j.pathLengths()
	j.nameConstraints()
	j.policies()
	j.revocation()
	j.pins()
	if j.profile() >= Strict {
		j.form()
	}
	j.leafOnly()
	for i := range j.faults {
		for k, text := range j.faults[i].NearMisses {
			j.faults[i].NearMisses[k] = short(text)
		}
	}
	return judged{path: j.path, anchor: j.anchor, faults: fold(j.faults), notes: j.notes}
}

// leafOnly applies the rules whose outcome is the same on every path: once in a search.
func (j *judgement) leafOnly() {
	s := j.search
	if !s.leafJudged {
		alone := judgement{search: s, path: j.path[:1]}
		alone.name()
		alone.leafUsage()
		if j.profile() >= Strict {
			alone.leafForm()
		}
		s.leafJudged, s.leafFaults, s.leafNotes = true, alone.faults, alone.notes
	}
	j.faults = append(j.faults, s.leafFaults...)
	j.notes = append(j.notes, s.leafNotes...)
}

// trust says why a path does not reach an anchor.
func (j *judgement) trust() {
	if j.end == endAnchor || j.end == endGivenUp {
		return
	}
	if j.stopAtStored() {
		return
	}
	depth := len(j.path) - 1
	c := j.path[depth]
	switch {
	case j.end == endTooLong:
		j.add(newFault(&ruleLimits, c, depth, "the path has more than %d certificates", MaxPathLength).
			values(fmt.Sprintf("more than %d", MaxPathLength), fmt.Sprintf("at most %d", MaxPathLength)).
			fix("present only the certificates of this one chain"))
	case j.end == endSelfSigned && depth == 0:
		f := newFault(&ruleSelfSigned, c, depth, "%s is self-signed and not in %s", c.Subject(), j.store()).
			values("self-signed, SHA256 "+c.SHA256(), "a certificate in "+j.store().String()+", or one issued by a CA in it").
			fix("if it is the right certificate, import it itself (SHA256 %s) into %s; better, replace it by one that a trusted CA has issued", c.SHA256(), j.store())
		f.NearMisses = j.namesakes(c)
		j.add(f)
	case j.end == endSelfSigned && j.search.signed(c, c) == signatureBad:
		// It has its issuer's name, but not its issuer's key: an old key of the same CA, perhaps.
		j.end = endNoIssuer
		j.noIssuer(c, depth)
	case j.end == endSelfSigned:
		f := newFault(&ruleRootStored, c, depth, "the chain ends at the root %s, which is not in %s", c.Subject(), j.store()).
			values("root SHA256 "+c.SHA256(), "a root in "+j.store().String()).
			fix("if it is the right root, import %s (SHA256 %s) into %s", c.Subject(), c.SHA256(), j.store())
		f.NearMisses = j.namesakes(c)
		j.add(f)
	default:
		j.noIssuer(c, depth)
	}
	if j.end == endSelfSigned && j.search.signed(c, c) == signatureBad {
		j.add(j.badSignature(c, c, depth))
	}
}

// stopAtStored reports whether the path came through a stored CA that is no anchor, and ends it there: the user knows the
// store, and what it lacks is the CA above.
func (j *judgement) stopAtStored() bool {
	for depth := len(j.path) - 1; depth > 0; depth-- {
		c := j.path[depth]
		if j.store().find(c) == nil {
			continue
		}
		f := newFault(&ruleAnchor, c, depth, "%s is in %s, but it is not self-signed, and its issuer %s is not there", c.Subject(), j.store(), c.Issuer()).
			values("issuer "+c.Issuer()+", key id "+keyID(c.x.AuthorityKeyId), "the issuer, up to a root, in "+j.store().String()).
			fix("import the certificate of %s%s and its issuers up to the root into %s", c.Issuer(), wantedKey(c), j.store())
		if c.selfIssued() {
			f.Detail = fmt.Sprintf("%s is in %s, but it is not self-signed: by its authority key identifier another certificate of its name has issued it, which is not there", short(c.Subject()), j.store())
		}
		if depth+1 < len(j.path) {
			f.NearMisses = []string{fmt.Sprintf("%s was presented (SHA256 %s), and is not in %s", j.path[depth+1].Subject(), j.path[depth+1].SHA256(), j.store())}
		} else {
			f.NearMisses = j.nearMisses(c)
		}
		j.path, j.end = j.path[:depth+1], endNoIssuer
		j.add(f)
		return true
	}
	return false
}

// noIssuer says that nobody is there who has issued c.
func (j *judgement) noIssuer(c *Certificate, depth int) {
	near := j.nearMisses(c)
	rule := &ruleIssuer
	if near != nil {
		rule = &ruleKeyIdentifier
	}
	near = append(near, j.search.relatives(c)...)
	f := newFault(rule, c, depth, "the issuer of %s is %s%s, which was neither presented nor is in %s", c.Subject(), c.Issuer(), wantedKey(c), j.store()).
		values("issuer "+c.Issuer()+", key id "+keyID(c.x.AuthorityKeyId), "its certificate presented or in "+j.store().String()).
		fix("import the certificate of %s%s and its issuers up to the root into %s, or let the peer send its intermediate certificates%s", c.Issuer(), wantedKey(c), j.store(), location(c))
	if slices.ContainsFunc(j.path[:depth], func(d *Certificate) bool { return d.subject == c.issuer && c.identifies(d) }) {
		f.Detail = fmt.Sprintf("the issuer of %s is %s, which stands below it in the path already: these CAs certify each other, and none of them leads to %s", short(c.Subject()), short(c.Issuer()), j.store())
		f = f.fix("import the root above %s into %s, or let the peer send the certificates that lead there", c.Issuer(), j.store())
	}
	f.NearMisses = near
	if depth == 0 && j.store().find(c) != nil {
		f.NearMisses = append(f.NearMisses, fmt.Sprintf("this very certificate is in %s, but it is not self-signed and therefore no anchor", j.store()))
	}
	if cause, ok := j.search.unreadableIssuer(c, depth+1); ok {
		cause.Consequences = []Fault{f}
		j.add(cause)
		return
	}
	j.add(f)
}

// wantedKey names the issuer's key when c says which it is.
func wantedKey(c *Certificate) string {
	var marks []string
	if len(c.x.AuthorityKeyId) > 0 {
		marks = append(marks, "key id "+keyID(c.x.AuthorityKeyId))
	}
	if c.akiIssuer != "" && c.akiSerial != nil {
		marks = append(marks, "serial "+SerialText(c.akiSerial))
	}
	if len(marks) == 0 {
		return ""
	}
	return " (" + strings.Join(marks, ", ") + ")"
}

// location is where c says that its issuer's certificate can be had. Nothing is fetched from there.
func location(c *Certificate) string {
	if len(c.x.IssuingCertificateURL) == 0 {
		return ""
	}
	return "; the certificate says that it is at " + c.x.IssuingCertificateURL[0]
}

// unreadableIssuer looks for a presented certificate that has the name of c's issuer and does not parse.
func (s *search) unreadableIssuer(c *Certificate, depth int) (Fault, bool) {
	var found *Certificate
	s.eachSent(c.issuer, func(d *Certificate) {
		if d.x == nil && found == nil {
			found = d
		}
	})
	if found == nil {
		return Fault{}, false
	}
	return s.unreadable(found, depth), true
}

// unreadable is the fault of a certificate that does not parse.
func (*search) unreadable(c *Certificate, depth int) Fault {
	e := c.err
	f := newFault(&e.Rule, c, depth, "the certificate of %s does not parse: %s", c.Subject(), e).values(e.Error(), e.Rule.Text)
	f.unread = true
	switch e.Rule.Name {
	case ruleSerialSyntax.Name:
		f.Actual = "serial " + short(e.Serial)
		f.Detail += fmt.Sprintf(" (serial %s)", short(e.Serial))
		return f.fix("have the certificate of %s issued again by %s: the first octet of a serial number has to be below 80", c.Subject(), c.Issuer())
	case ruleKeyType.Name:
		return f.fix("have the certificate of %s issued for an RSA key of 2048 bits or more, or an EC key on P-256, P-384 or P-521", c.Subject())
	default:
		return f.fix("have the certificate of %s issued again by %s in the form of RFC 5280; if it is damaged, export it again, whole", c.Subject(), c.Issuer())
	}
}

// signatures judges the links of the path, and the algorithms that were used.
func (j *judgement) signatures() {
	for depth, c := range j.path {
		algorithm := c.x.SignatureAlgorithm
		if j.below(depth) && !strong(algorithm) && (!isSHA1(algorithm) || !j.sha1Allowed()) {
			f := newFault(&ruleDigest, c, depth, "the signature of %s uses %s, which is refused", c.Subject(), algorithmText(c)).
				values(algorithmText(c), "SHA-256 or better").
				fix("have %s issue the certificate of %s again with SHA-256 or better", c.Issuer(), c.Subject())
			if isSHA1(algorithm) && j.search.v.Usage == MIC {
				f.Remedy = fmt.Sprintf("if this is a manufacturing certificate, mark its root as a MIC issuer in %s; otherwise %s", j.store(), f.Remedy)
			}
			j.add(f)
		}
		if depth+1 >= len(j.path) {
			continue
		}
		issuer := j.path[depth+1]
		switch j.search.signed(c, issuer) {
		case signatureBad:
			j.add(j.badSignature(c, issuer, depth))
		case signatureUnknown:
			// The limit of work was reached, which is a fault already.
		case signatureUnchecked:
			// Refused as weak or too large. To be sure that a link never passes unverified:
			if strong(algorithm) && usable(issuer.x) {
				j.add(j.badSignature(c, issuer, depth))
			}
		}
	}
}

func (j *judgement) sha1Allowed() bool {
	return j.search.v.Usage == MIC && j.anchor != nil && j.anchor.MIC
}

func (j *judgement) badSignature(c, issuer *Certificate, depth int) Fault {
	f := newFault(&ruleSignature, c, depth, "the signature of %s does not verify with the key of %s", c.Subject(), issuer.Subject()).
		values("verified with key id "+keyID(issuer.x.SubjectKeyId), "a signature by "+c.Issuer())
	switch {
	case c.keyIDMatches(issuer):
		return f.fix("the certificate of %s is damaged or was altered: export it again from where it was issued", c.Subject())
	case c == issuer:
		return f.fix("the self-signed certificate %s is damaged or was altered: export it again from where it was made", c.Subject())
	default:
		return f.fix("either the certificate of %s is damaged, or another CA of the name %s has issued it: import the certificate of the CA that did into %s", c.Subject(), c.Issuer(), j.store())
	}
}

// algorithmText names the signature algorithm of a certificate.
func algorithmText(c *Certificate) string {
	if c.x.SignatureAlgorithm == x509.UnknownSignatureAlgorithm {
		return "an unknown algorithm"
	}
	return c.x.SignatureAlgorithm.String()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func (j *judgement) dates(depth int, c *Certificate) {
	now, skew := j.search.now, j.search.v.ClockSkew
	// Whole seconds, both ends included.
	switch from, until := c.x.NotBefore.Add(-skew), c.x.NotAfter.Add(skew); {
	case now.Truncate(time.Second).After(until):
		j.add(newFault(&ruleExpired, c, depth, "%s expired on %s, %s ago", c.Subject(), stamp(c.x.NotAfter), span(now.Sub(c.x.NotAfter))).
			values("valid until "+stamp(c.x.NotAfter), "valid at "+stamp(now)).
			fix("renew the certificate of %s; if it was renewed, configure the new one, and import a renewed CA into %s", c.Subject(), j.store()))
	case now.Before(from):
		j.add(newFault(&ruleNotYetValid, c, depth, "%s is valid from %s, in %s; this machine's clock says %s", c.Subject(), stamp(c.x.NotBefore), span(c.x.NotBefore.Sub(now)), stamp(now)).
			values("valid from "+stamp(c.x.NotBefore), "valid at "+stamp(now)).
			fix("if the clock of this machine is slow, set it by NTP (timedatectl); otherwise wait, or correct the clock of the CA and have the certificate of %s issued again", c.Subject()))
	}
}

// span is a duration in days, hours or minutes.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", int(d.Hours()))
	default:
		return fmt.Sprintf("%d minutes", int(d.Minutes())+1)
	}
}

// authority judges an issuer, or what is to be one.
func (j *judgement) authority(depth int, c *Certificate) {
	noCA := func(r *Rule, actual, expected, format string, args ...any) {
		j.add(newFault(r, c, depth, format, args...).values(actual, expected).
			fix("have the certificate of %s issued again as that of a CA (basicConstraints CA:TRUE, keyUsage keyCertSign), or the one below it issued by a CA", c.Subject()))
	}
	if anchor := !j.below(depth) && c.claimsSelfSigned(); c.x.Version < 3 && anchor {
		// An old root counts as CA because it is trusted; nothing in it could say so.
		if j.profile() >= Strict {
			noCA(&ruleAnchorVersion, fmt.Sprintf("version %d", c.x.Version), "version 3", "the anchor %s has version %d", c.Subject(), c.x.Version)
		}
		return
	}
	if c.x.Version < 3 {
		noCA(&ruleCAVersion, fmt.Sprintf("version %d", c.x.Version), "version 3", "%s is used as a CA and has version %d, which cannot be marked as CA", c.Subject(), c.x.Version)
		return
	}
	if !c.x.BasicConstraintsValid || !c.x.IsCA {
		actual := "no basicConstraints"
		if c.x.BasicConstraintsValid {
			actual = "CA:FALSE"
		}
		noCA(&ruleCABasic, actual, "CA:TRUE", "%s is used as a CA and is not marked as one: %s", c.Subject(), actual)
	}
	if c.present&extKeyUsage != 0 && c.x.KeyUsage&x509.KeyUsageCertSign == 0 {
		noCA(&ruleCAKeyUsage, usageText(c.x.KeyUsage), "keyCertSign", "%s is used as a CA and its key usage has no keyCertSign: %s", c.Subject(), usageText(c.x.KeyUsage))
	}
}

func (j *judgement) pathLengths() {
	below := 0 // CAs between the leaf and this one that count
	for depth, c := range j.path {
		if depth == 0 {
			continue
		}
		if most, ok := c.maxPathLength(); ok && below > most {
			j.add(newFault(&rulePathLength, c, depth, "%s allows %s below itself, and the path has %s there", c.Subject(), countCAs(most), countCAs(below)).
				values(countCAs(below), "at most "+countCAs(most)).
				fix("have the leaf issued by a CA nearer to %s, or that CA's certificate issued again with a larger pathLenConstraint", c.Subject()))
		}
		if most, ok := c.maxPathLength(); ok && below == most && j.search.v.Usage == CA && !j.path[0].selfIssued() {
			j.note(0, "%s allows %s below itself, so nothing that %s issues will be accepted", c.Subject(), countCAs(most), j.path[0].Subject())
		}
		if !c.selfIssued() {
			below++
		}
	}
}

// countCAs is a number of CAs in words.
func countCAs(n int) string {
	switch n {
	case 0:
		return "no CA"
	case 1:
		return "1 CA"
	default:
		return fmt.Sprintf("%d CAs", n)
	}
}

// maxPathLength is the pathLenConstraint.
func (c *Certificate) maxPathLength() (int, bool) {
	x := c.x
	if !x.BasicConstraintsValid || !x.IsCA || x.MaxPathLen < 0 || x.MaxPathLen == 0 && !x.MaxPathLenZero {
		return 0, false
	}
	return x.MaxPathLen, true
}

func (j *judgement) nameConstraints() {
	for depth, c := range j.path {
		if depth > 0 && c.selfIssued() {
			continue // RFC 5280 6.1.3 (b): exempt unless it is the leaf
		}
		var names []generalName
		for ca := depth + 1; ca < len(j.path); ca++ {
			if j.path[ca].constraints == nil {
				continue
			}
			if names == nil {
				var complete bool
				if names, complete = c.names(MaxConstraintComparisons - j.search.comparisons); !complete {
					j.search.exhausted = fmt.Sprintf("%d names to compare with name constraints", MaxConstraintComparisons)
					return
				}
				j.search.comparisons += len(names)
				if depth == 0 {
					names = append(names, j.namesUsed()...)
				}
			}
			j.faults = append(j.faults, j.constrained(depth, ca, names)...)
		}
	}
}

func (j *judgement) criticals(depth int, c *Certificate) {
	rule := &ruleCritical
	if !j.below(depth) {
		if j.profile() < Strict {
			return
		}
		rule = &ruleAnchorCritical
	}
	if len(c.unhandled) == 0 {
		return
	}
	oids := join(c.unhandled)
	j.add(newFault(rule, c, depth, "%s has a critical extension that is not understood: %s", c.Subject(), oids).
		values(oids, "no unknown critical extension").
		fix("have the certificate of %s issued again without the extension %s, or with it not critical", c.Subject(), oids))
}

func (j *judgement) pins() {
	pins := j.search.v.Pins
	if len(pins) == 0 {
		return
	}
	for _, c := range j.path {
		if slices.Contains(pins, sha256.Sum256(c.x.RawSubjectPublicKeyInfo)) {
			return
		}
	}
	leaf := j.path[0]
	actual := fmt.Sprintf("%x", sha256.Sum256(leaf.x.RawSubjectPublicKeyInfo))
	expected := make([]string, len(pins))
	for i, p := range pins {
		expected[i] = fmt.Sprintf("%x", p)
	}
	j.add(newFault(&rulePin, leaf, 0, "no key in the path of %s is a pinned one; the leaf's is %s", leaf.Subject(), actual).
		values(actual, strings.Join(expected, " or ")).
		fix("if the key was replaced on purpose, pin the new one (SHA256 of its SubjectPublicKeyInfo: %s); otherwise find out who answers in the peer's place", actual))
}

func (j *judgement) keys(depth int, c *Certificate) {
	if c.unusableKind != "" {
		j.add(newFault(&ruleKeyType, c, depth, "the key of %s is %s, which is not accepted", c.Subject(), c.unusableKind).
			values(c.unusableKind, "RSA, EC P-256, P-384 or P-521, or Ed25519").
			fix("make a new key of an accepted kind for %s, and have a certificate issued for it", c.Subject()))
		return
	}
	bits := c.rsaBits()
	if bits == 0 {
		return
	}
	least := j.search.v.minRSABits(j.anchor)
	switch {
	case bits > MaxRSABits:
		j.add(newFault(&ruleKeySize, c, depth, "the RSA key of %s has %d bits; more than %d are not used", c.Subject(), bits, MaxRSABits).
			values(fmt.Sprintf("%d bits", bits), fmt.Sprintf("at most %d bits", MaxRSABits)).
			fix("make an RSA key of %d to %d bits for %s, and have a certificate issued for it", least, MaxRSABits, c.Subject()))
	case bits < least:
		j.add(newFault(&ruleKeyStrength, c, depth, "the RSA key of %s has %d bits, and at least %d are asked for", c.Subject(), bits, least).
			values(fmt.Sprintf("%d bits", bits), fmt.Sprintf("at least %d bits", least)).
			fix("make an RSA key of at least %d bits for %s, and have a certificate issued for it", max(least, 2048), c.Subject()))
	case j.profile() >= WebPKI && bits%8 != 0:
		j.add(newFault(&ruleModulus, c, depth, "the RSA modulus of %s has %d bits, which is not divisible by 8", c.Subject(), bits).
			values(fmt.Sprintf("%d bits", bits), "a multiple of 8").
			fix("make an RSA key of 2048, 3072 or 4096 bits for %s", c.Subject()))
	}
}
