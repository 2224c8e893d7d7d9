package chain

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// crl is a CRL with what one call of Verify has found out about it. A large CRL is looked through when a certificate of its
// issuer is judged, and then once for all paths.
type crl struct {
	*x509.RevocationList

	looked   bool // scope is known
	scope    scope
	lookups  int
	bySerial map[uint64]int32 // place of the first entry of a serial number's hash, plus 1; nil until there were many lookups
	next     []int32          // place of the next entry of the same hash, plus 1
	answers  map[*Certificate]answer
	verified []verifiedCRL
}

// scope is which certificates a CRL speaks of: its critical extensions, RFC 5280 5.2.
type scope struct {
	usersOnly, casOnly bool
	relative           bool     // its distribution point has a name relative to the CRL's issuer
	names              [][]byte // full names of its distribution point, general names in DER
	unusable           string   // why the CRL cannot be used at all, "" when it can
	partial            string   // why nothing follows from a certificate not being listed, "" when something does
}

// answer is what a CRL says of one certificate. Whether the CRL is genuine is another question.
type answer struct {
	entry   *x509.RevocationListEntry // nil when it does not list the certificate
	useless string                    // why the CRL says nothing of this certificate, "" when it does
	partial string                    // why it neither is the current one nor releases from a hold, "" when it may be and do so
}

// verifiedCRL is what became of a CRL's signature with one key.
type verifiedCRL struct {
	spki []byte
	why  string // the signature is of no use, "" for a good one
}

// crlsOf returns the CRLs with the name of c's issuer, the newest first.
func (s *search) crlsOf(c *Certificate) []*crl {
	if s.crls == nil {
		s.crls = make(map[string][]*crl)
		for _, l := range s.v.CRLs {
			issuer := canonical(l.RawIssuer)
			s.crls[issuer] = append(s.crls[issuer], &crl{RevocationList: l})
		}
		for _, same := range s.crls {
			slices.SortStableFunc(same, func(a, b *crl) int { return b.ThisUpdate.Compare(a.ThisUpdate) })
		}
	}
	return s.crls[c.issuer]
}

// unsuitable says why a CRL of the right name cannot be issuer's, as far as that shows without any work. It is "" when it can.
func (l *crl) unsuitable(issuer *Certificate) string {
	switch {
	case len(l.AuthorityKeyId) > 0 && len(issuer.x.SubjectKeyId) > 0 && !bytes.Equal(l.AuthorityKeyId, issuer.x.SubjectKeyId):
		return fmt.Sprintf("it is signed with another key (key id %s) than the CA's (%s)", keyID(l.AuthorityKeyId), keyID(issuer.x.SubjectKeyId))
	case issuer.present&extKeyUsage != 0 && issuer.x.KeyUsage&x509.KeyUsageCRLSign == 0:
		return "the CA's key usage has no cRLSign"
	case l.SignatureAlgorithm == x509.UnknownSignatureAlgorithm:
		return "it is signed with an unknown algorithm"
	case !verifiable(l.SignatureAlgorithm):
		return "it is signed with " + l.SignatureAlgorithm.String()
	case !usable(issuer.x):
		return "the CA's key is refused"
	default:
		return ""
	}
}

// of returns what the CRL says of c.
func (l *crl) of(c *Certificate) answer {
	a, known := l.answers[c]
	if known {
		return a
	}
	if !l.looked {
		l.looked = true
		l.scope = scopeOf(l.RevocationList)
	}
	switch s := &l.scope; {
	case s.unusable != "":
		a.useless = s.unusable
	case s.usersOnly && c.x.IsCA:
		a.useless = "it lists end entities only"
	case s.casOnly && !c.x.IsCA:
		a.useless = "it lists CAs only"
	default:
		a.entry = l.find(c.x.SerialNumber)
		if a.partial = s.partial; a.partial == "" {
			a.partial = s.elsewhere(c)
		}
	}
	if l.answers == nil {
		l.answers = make(map[*Certificate]answer)
	}
	l.answers[c] = a
	return a
}

// Reasons of revocation with a meaning of their own: RFC 5280 5.3.1.
const (
	certificateHold = 6
	removeFromCRL   = 8
)

// find returns the entry for a serial number; of several the one that is for good.
func (l *crl) find(serial *big.Int) *x509.RevocationListEntry {
	var found *x509.RevocationListEntry
	fits := func(e *x509.RevocationListEntry) {
		if e.ReasonCode != removeFromCRL && (found == nil || found.ReasonCode == certificateHold) && e.SerialNumber.Cmp(serial) == 0 {
			found = e
		}
	}
	// An index costs as much as some ten lookups without one. Paths of that many certificates are made to cost time.
	const fewLookups = 4
	if l.lookups++; l.lookups <= fewLookups {
		for i := range l.RevokedCertificateEntries {
			fits(&l.RevokedCertificateEntries[i])
		}
		return found
	}
	if l.bySerial == nil {
		l.index()
	}
	for place := l.bySerial[hashSerial(serial)]; place != 0; place = l.next[place-1] {
		fits(&l.RevokedCertificateEntries[place-1])
	}
	return found
}

func (l *crl) index() {
	entries := l.RevokedCertificateEntries
	l.bySerial = make(map[uint64]int32, len(entries))
	l.next = make([]int32, len(entries))
	for i := len(entries) - 1; i >= 0; i-- { // backwards, so that the entries of one hash stand in their order
		h := hashSerial(entries[i].SerialNumber)
		l.next[i] = l.bySerial[h]
		l.bySerial[h] = int32(i) + 1
	}
}

func hashSerial(n *big.Int) uint64 {
	const prime = 1099511628211 // of FNV-1
	var h uint64
	for _, w := range n.Bits() {
		h = h*prime ^ uint64(w)
	}
	return h
}

// scopeOf reads the critical extensions of a CRL. CRLs in parts are not put together: what a part lists is revoked, and that
// is all it says.
func scopeOf(l *x509.RevocationList) scope {
	var s scope
	for _, e := range l.Extensions {
		switch e.Id.String() {
		case "2.5.29.27":
			s.partial = "it is a delta CRL"
		case "2.5.29.28":
			if !s.readPoint(e.Value) {
				s.unusable = "its distribution point does not parse"
			}
		case "2.5.29.20", "2.5.29.35":
		default:
			if e.Critical {
				s.unusable = "it has a critical extension that is not understood: " + e.Id.String()
			}
		}
	}
	if s.unusable != "" {
		return s
	}
	for i := range l.RevokedCertificateEntries {
		for _, x := range l.RevokedCertificateEntries[i].Extensions {
			if x.Critical && x.Id.String() != "2.5.29.21" {
				s.unusable = "an entry has a critical extension that is not understood: " + x.Id.String()
				return s
			}
		}
	}
	return s
}

// readPoint reads IssuingDistributionPoint: RFC 5280 5.2.5.
func (s *scope) readPoint(value []byte) bool {
	in := cryptobyte.String(value)
	var point cryptobyte.String
	if !in.ReadASN1(&point, cbasn1.SEQUENCE) || !in.Empty() {
		return false
	}
	for !point.Empty() {
		var v cryptobyte.String
		var tag cbasn1.Tag
		if !point.ReadAnyASN1(&v, &tag) {
			return false
		}
		if tag == cbasn1.Tag(0).ContextSpecific().Constructed() {
			var ok bool
			if s.names, s.relative, ok = pointNames(v); !ok {
				return false
			}
			continue
		}
		if tag == cbasn1.Tag(3).ContextSpecific() {
			s.partial = "it lists some reasons of revocation only"
			continue
		}
		if len(v) != 1 {
			return false
		}
		yes := v[0] != 0
		switch tag {
		case cbasn1.Tag(1).ContextSpecific():
			s.usersOnly = yes
		case cbasn1.Tag(2).ContextSpecific():
			s.casOnly = yes
		case cbasn1.Tag(4).ContextSpecific(), cbasn1.Tag(5).ContextSpecific():
			if yes {
				s.unusable = "it is an indirect CRL, or one of attribute certificates"
			}
		default:
			return false
		}
	}
	return true
}

// pointNames reads a DistributionPointName: full names as general names in DER, or one relative to the CRL's issuer, which
// nobody here puts together.
func pointNames(in cryptobyte.String) (full [][]byte, relative, ok bool) {
	var names cryptobyte.String
	if t := cbasn1.Tag(1).ContextSpecific().Constructed(); in.PeekASN1Tag(t) {
		return nil, true, in.ReadASN1(&names, t) && in.Empty()
	}
	if !in.ReadASN1(&names, cbasn1.Tag(0).ContextSpecific().Constructed()) || !in.Empty() {
		return nil, false, false
	}
	for !names.Empty() {
		var name cryptobyte.String
		var tag cbasn1.Tag
		if !names.ReadAnyASN1Element(&name, &tag) {
			return nil, false, false
		}
		full = append(full, name)
	}
	return full, false, len(full) > 0
}

// elsewhere says that the CRL is of a distribution point that is not one of c's, "" when it is of all or of one of c's: RFC
// 5280 6.3.3 (b)(2)(i). As that algorithm has it in the end, the name of c's issuer counts as one of c's too.
func (s *scope) elsewhere(c *Certificate) string {
	if len(s.names) == 0 && !s.relative {
		return ""
	}
	for _, name := range s.names {
		in := cryptobyte.String(name)
		var dn cryptobyte.String
		if in.ReadASN1(&dn, cbasn1.Tag(directoryName).ContextSpecific().Constructed()) && canonical(dn) == c.issuer {
			return ""
		}
	}
	if c.hasPoint(s.names) {
		return ""
	}
	of := "one relative to the CA's name"
	if len(s.names) > 0 {
		of = generalNameText(s.names[0])
	}
	its := "names none"
	if c.present&extCRLPoints != 0 {
		its = "names another one"
	}
	if len(c.x.CRLDistributionPoints) > 0 {
		its = "names " + c.x.CRLDistributionPoints[0]
	}
	return fmt.Sprintf("it is of one distribution point only, %s, and the certificate %s", short(of), short(its))
}

func generalNameText(der cryptobyte.String) string {
	var value cryptobyte.String
	var tag cbasn1.Tag
	if der.ReadAnyASN1(&value, &tag) {
		switch kind := uint8(tag) & generalNameTag; {
		case kind == uriName:
			return string(value)
		case kind == directoryName:
			return nameText(value)
		case kind <= lastNameType:
			return "a name of the type " + nameTypes[kind]
		}
	}
	return "a name of an unknown type"
}

// hasPoint reports whether one of the names is among those of c's distribution points. The points of indirect CRLs, which
// name another CRL issuer, do not count.
func (c *Certificate) hasPoint(names [][]byte) bool {
	for i := range c.x.Extensions {
		e := &c.x.Extensions[i]
		if e.Id.String() != "2.5.29.31" {
			continue
		}
		in := cryptobyte.String(e.Value)
		var points, point, name cryptobyte.String
		if !in.ReadASN1(&points, cbasn1.SEQUENCE) {
			return false
		}
		for points.ReadASN1(&point, cbasn1.SEQUENCE) {
			var named, indirect bool
			if !point.ReadOptionalASN1(&name, &named, cbasn1.Tag(0).ContextSpecific().Constructed()) ||
				!point.SkipOptionalASN1(cbasn1.Tag(1).ContextSpecific()) ||
				!point.ReadOptionalASN1(new(cryptobyte.String), &indirect, cbasn1.Tag(2).ContextSpecific().Constructed()) || !named || indirect {
				continue
			}
			full, _, _ := pointNames(name)
			for _, n := range full {
				if slices.ContainsFunc(names, func(m []byte) bool { return bytes.Equal(m, n) }) {
					return true
				}
			}
		}
	}
	return false
}

// checkCRL verifies the signature of a CRL with the key of issuer, once. It says why the CRL is of no use, "" for a good one.
func (s *search) checkCRL(l *crl, issuer *Certificate) string {
	spki := issuer.x.RawSubjectPublicKeyInfo
	for i := range l.verified {
		if bytes.Equal(l.verified[i].spki, spki) {
			return l.verified[i].why
		}
	}
	if !s.allowCRL(l, issuer) {
		return "the limit of signature checks was reached"
	}
	done := verifiedCRL{spki: spki}
	if issuer.x.CheckSignature(l.SignatureAlgorithm, l.RawTBSRevocationList, l.Signature) != nil {
		done.why = "its signature does not verify with the CA's key"
	}
	l.verified = append(l.verified, done)
	return done.why
}

// allowCRL takes the check of one CRL from what is left.
func (s *search) allowCRL(l *crl, issuer *Certificate) bool {
	if s.exhausted != "" {
		return false
	}
	octets := s.crlOctets + len(l.RawTBSRevocationList)
	if octets > maxCRLOctets {
		s.exhausted = fmt.Sprintf("%d MiB of CRLs", maxCRLOctets>>20)
	} else if s.allow() {
		s.crlOctets = octets
		return true
	}
	s.tooManyCRLs = issuer
	return false
}

// canCheck reports whether the limits allow one more CRL.
func (s *search) canCheck(l *crl) bool {
	return s.exhausted == "" && s.checks < MaxSignatureChecks && s.crlOctets+len(l.RawTBSRevocationList) <= maxCRLOctets
}

// crlLimit is the fault when the limit of work was reached while CRLs were verified.
func (s *search) crlLimit() Fault {
	name := s.tooManyCRLs.Subject()
	return newFault(&ruleLimits, s.presented[0], 0, "the CRLs of %s were not all verified within the limit of %s", name, s.exhausted).
		values("more", "at most "+s.exhausted).
		fix("keep only the current CRL of %s at hand: remove older ones, and those that are damaged or signed with another key; present only the certificates of this one chain", name)
}
