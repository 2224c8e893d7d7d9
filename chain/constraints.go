package chain

import (
	"encoding/asn1"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The types of general names, by their tag: RFC 5280 4.2.1.6.
const (
	otherName      = 0
	rfc822Name     = 1
	dNSName        = 2
	x400Address    = 3
	directoryName  = 4
	ediPartyName   = 5
	uriName        = 6
	iPAddress      = 7
	registeredID   = 8
	lastNameType   = registeredID
	generalNameTag = 0x1F // the tag number in an identifier octet
)

// nameTypes are the types as they are written in front of a name.
var nameTypes = [lastNameType + 1]string{"otherName", "email", "DNS", "x400Address", "DirName", "ediPartyName", "URI", "IP", "registeredID"}

// generalName is a name of a certificate, or the base of a subtree.
type generalName struct {
	kind  uint8
	text  string // DNS, email, URI: as it is in the certificate
	value []byte // the others: contents octets; in a constraint on addresses, address and mask

	// What is compared, made once: constraints may be many.
	host  string       // DNS without a final dot, host of email and URI; lower case
	local string       // email: before the @
	whole bool         // email: has a local part
	dir   []rdn        // DirName
	net   netip.Prefix // a constraint on addresses

	// broken is a name that cannot be compared: it is within every excluded subtree and within no permitted one.
	broken bool
}

// String writes the name with its type: "DNS:example.com".
func (n *generalName) String() string {
	value := n.text
	switch n.kind {
	case iPAddress:
		switch {
		case n.net.IsValid():
			value = n.net.String()
		case len(n.value) == 4 || len(n.value) == 16:
			value = net.IP(n.value).String()
		default:
			value = fmt.Sprintf("%x", n.value)
		}
	case directoryName:
		value = nameText(n.value)
	case otherName, x400Address, ediPartyName, registeredID:
		return nameTypes[n.kind]
	}
	return nameTypes[n.kind] + ":" + value
}

// size is a measure of what a comparison with the name costs.
func (n *generalName) size() int { return len(n.text) + len(n.value) }

// constraints are the name constraints of a CA: RFC 5280 4.2.1.10.
type constraints struct {
	permitted, excluded []generalName
	problem             string // why they cannot be applied, "" when they can
}

// parseConstraints reads the extension's value. crypto/x509 has read it before, so little can be wrong; what is makes the
// constraints unusable, which refuses every certificate below.
func parseConstraints(value []byte) *constraints {
	c := &constraints{}
	in := cryptobyte.String(value)
	var seq, permitted, excluded cryptobyte.String
	var hasPermitted, hasExcluded bool
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !in.Empty() ||
		!seq.ReadOptionalASN1(&permitted, &hasPermitted, cbasn1.Tag(0).ContextSpecific().Constructed()) ||
		!seq.ReadOptionalASN1(&excluded, &hasExcluded, cbasn1.Tag(1).ContextSpecific().Constructed()) || !seq.Empty() {
		c.problem = "they do not parse"
		return c
	}
	c.permitted = c.subtrees(permitted)
	c.excluded = c.subtrees(excluded)
	return c
}

func (c *constraints) subtrees(in cryptobyte.String) []generalName {
	var bases []generalName
	for !in.Empty() {
		var subtree, value cryptobyte.String
		var tag cbasn1.Tag
		if !in.ReadASN1(&subtree, cbasn1.SEQUENCE) || !subtree.ReadAnyASN1(&value, &tag) {
			c.problem = "they do not parse"
			return nil
		}
		base, ok := readGeneralName(tag, value)
		if !ok {
			c.problem = "a subtree does not parse"
			return nil
		}
		if base.kind == iPAddress {
			half := len(base.value) / 2
			ones, bits := net.IPMask(base.value[half:]).Size()
			address, okAddress := netip.AddrFromSlice(base.value[:half])
			if !okAddress || bits == 0 {
				c.problem = "an address range has no valid mask"
				return nil
			}
			base.net = netip.PrefixFrom(address, ones).Masked()
		}
		if strings.Contains(base.host, "*") {
			c.problem = "a subtree has a wildcard, which is no name"
			return nil
		}
		// minimum is 0, and maximum absent: nobody uses them, and RFC 5280 says that they must not be used.
		if minimum := cbasn1.Tag(0).ContextSpecific(); subtree.PeekASN1Tag(minimum) {
			var v cryptobyte.String
			if !subtree.ReadASN1(&v, minimum) || len(v) != 1 || v[0] != 0 {
				c.problem = "a subtree has a minimum"
				return nil
			}
		}
		if !subtree.Empty() {
			c.problem = "a subtree has a maximum"
			return nil
		}
		bases = append(bases, base)
	}
	return bases
}

// readGeneralName reads one GeneralName.
func readGeneralName(tag cbasn1.Tag, value []byte) (generalName, bool) {
	if uint8(tag)&0xC0 != 0x80 || uint8(tag)&generalNameTag > lastNameType {
		return generalName{}, false
	}
	n := generalName{kind: uint8(tag) & generalNameTag}
	switch n.kind {
	case rfc822Name:
		n.text = string(value)
		n.mailbox()
	case dNSName:
		n.text = string(value)
		n.host = lowerASCII(strings.TrimSuffix(n.text, "."))
	case uriName:
		n.text = string(value)
		n.host = lowerASCII(n.text) // a base is a host; of a name it is found later
	case directoryName:
		n.value = value
		var ok bool
		if n.dir, ok = canonicalRDNs(value); !ok {
			return n, false
		}
	default:
		n.value = value
	}
	return n, true
}

// mailbox takes a mail address, or a constraint on some, apart.
func (n *generalName) mailbox() {
	host := n.text
	if i := strings.LastIndexByte(n.text, '@'); i >= 0 {
		n.local, host, n.whole = n.text[:i], n.text[i+1:], true
	}
	n.host = lowerASCII(host)
}

// names returns every name of the certificate that name constraints apply to: all of subjectAltName, the subject, and
// the mail addresses in the subject. It returns at most most names, and whether these are all.
func (c *Certificate) names(most int) (all []generalName, complete bool) {
	const longestDomain = 253 // RFC 1035 3.1, without the final dot
	var alt, value cryptobyte.String
	var tag cbasn1.Tag
	in := cryptobyte.String(c.altRaw)
	if in.ReadASN1(&alt, cbasn1.SEQUENCE) {
		for alt.ReadAnyASN1(&value, &tag) {
			if len(all) >= most {
				return all, false
			}
			n, ok := readGeneralName(tag, value)
			switch {
			case !ok && n.kind != directoryName:
				continue
			case n.kind == uriName:
				n.host, ok = hostOfURI(n.text) // RFC 5280 4.2.1.10: without one, refused where a constraint applies
			case n.kind == rfc822Name:
				ok = n.whole
			}
			n.broken = !ok || len(n.host) > longestDomain
			all = append(all, n)
		}
	}
	// crypto/x509 reads some subjects that are no names by X.501, such as those with an empty RDN.
	if dir, ok := canonicalRDNs(c.x.RawSubject); len(dir) > 0 || !ok {
		all = append(all, generalName{kind: directoryName, dir: dir, value: c.x.RawSubject, broken: !ok})
	}
	for i := range c.x.Subject.Names {
		a := &c.x.Subject.Names[i]
		if s, ok := a.Value.(string); ok && a.Type.Equal(oidEmailAddress) {
			n := generalName{kind: rfc822Name, text: s}
			n.mailbox()
			n.broken = !n.whole || len(n.host) > longestDomain
			all = append(all, n)
		}
	}
	return all, len(all) <= most
}

// oidEmailAddress is the attribute of subjects: RFC 2985 5.2.1.
var oidEmailAddress = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}

// hostOfURI returns the host of a URI in lower case; not ok when there is none, or an address in its place.
func hostOfURI(text string) (host string, ok bool) {
	u, err := url.Parse(text)
	if err != nil {
		return "", false
	}
	host = u.Hostname()
	_, err = netip.ParseAddr(host)
	return lowerASCII(strings.TrimSuffix(host, ".")), host != "" && err != nil
}

// within reports whether a name is in the subtree below base; both are of one type. For excluded subtrees a name that
// could stand for one in the subtree counts as well: a wildcard, or what cannot be compared.
func (n *generalName) within(base *generalName, excluded bool) bool {
	if n.broken {
		return excluded
	}
	switch n.kind {
	case dNSName:
		return dnsWithin(n.host, base.host, excluded)
	case rfc822Name:
		if base.whole {
			return n.local == base.local && n.host == base.host
		}
		return base.host == "" || hostWithin(n.host, base.host)
	case uriName:
		return hostWithin(n.host, base.host)
	case iPAddress:
		address, ok := netip.AddrFromSlice(n.value)
		return ok && base.net.Contains(address)
	case directoryName:
		return len(n.dir) >= len(base.dir) && slices.Equal(n.dir[:len(base.dir)], base.dir)
	default:
		return excluded
	}
}

// hostWithin compares the host of a mail address or a URI: with a domain that begins with a dot, what is below it, and
// otherwise the host itself.
func hostWithin(host, domain string) bool {
	if strings.HasPrefix(domain, ".") {
		return strings.HasSuffix(host, domain)
	}
	return host == domain
}

func dnsWithin(name, domain string, excluded bool) bool {
	switch {
	case domain == "":
		return true
	case strings.HasPrefix(domain, "."): // not of RFC 5280, but common: below, and not itself
		return strings.HasSuffix(name, domain)
	case name == domain || strings.HasSuffix(name, domain) && name[len(name)-len(domain)-1] == '.':
		return true
	case excluded:
		first, below, _ := strings.Cut(name, ".")
		_, parent, ok := strings.Cut(domain, ".")
		return ok && parent == below && strings.Contains(first, "*") // the wildcard stands for the domain, too
	default:
		return false
	}
}

// constrained checks the names of the certificate at depth against the constraints of the CA at caDepth.
func (j *judgement) constrained(depth, caDepth int, names []generalName) []Fault {
	ca, c := j.path[caDepth], j.path[depth]
	k := ca.constraints
	if k.problem != "" {
		return []Fault{newFault(&ruleNamesUnknown, c, depth, "the name constraints of %s cannot be applied: %s", ca.Subject(), k.problem).
			fix("have the CA certificate %s issued again with name constraints of the usual form", ca.Subject())}
	}
	var outside, inside, unknown []string
	for i := range names {
		n := &names[i]
		constrained, mayBe, allowed, hit := false, false, false, false
		for set, bases := range [][]generalName{k.permitted, k.excluded} {
			for b := range bases {
				base := &bases[b]
				if !j.search.compare(n, base) {
					return nil
				}
				if base.kind != n.kind {
					continue
				}
				constrained = true
				if excluded := set == 1; excluded {
					hit = hit || n.within(base, true)
				} else {
					mayBe = true
					allowed = allowed || n.within(base, false)
				}
			}
		}
		switch {
		case constrained && !understood(n.kind):
			unknown = append(unknown, n.String())
		case mayBe && !allowed:
			outside = append(outside, n.String())
		case hit:
			inside = append(inside, n.String())
		}
	}
	var faults []Fault
	if len(outside) > 0 {
		faults = append(faults, newFault(&ruleNamesPermitted, c, depth, "%s may not certify %s: its name constraints permit only %s", ca.Subject(), join(outside), list(k.permitted)).
			values(join(outside), list(k.permitted)).
			fix("have the certificate issued by a CA that may certify these names, or with names within %s", list(k.permitted)))
	}
	if len(inside) > 0 {
		faults = append(faults, newFault(&ruleNamesExcluded, c, depth, "%s may not certify %s: its name constraints exclude %s", ca.Subject(), join(inside), list(k.excluded)).
			values(join(inside), "not within "+list(k.excluded)).
			fix("have the certificate issued by a CA that may certify these names, or with names outside of %s", list(k.excluded)))
	}
	if len(unknown) > 0 {
		faults = append(faults, newFault(&ruleNamesUnknown, c, depth, "%s has name constraints on %s, which nobody here understands", ca.Subject(), join(unknown)).
			fix("have the certificate issued without a name of the type %s", join(unknown)))
	}
	return faults
}

// compare takes the cost of one comparison from what is left: one, and more for long names.
func (s *search) compare(n, base *generalName) bool {
	const unit = 128 // octets that cost as much as everything else of a comparison
	s.comparisons++
	if n.kind == base.kind {
		s.comparisons += min(n.size(), base.size()) / unit
	}
	if s.comparisons <= MaxConstraintComparisons {
		return true
	}
	s.exhausted = fmt.Sprintf("%d comparisons of names with name constraints", MaxConstraintComparisons)
	return false
}

// understood reports whether names of this type can be compared.
func understood(kind uint8) bool {
	switch kind {
	case rfc822Name, dNSName, directoryName, uriName, iPAddress:
		return true
	default:
		return false
	}
}

// list writes names for a message, not more than a reader takes in.
func list(names []generalName) string {
	shown := names[:min(len(names), mostListed)]
	texts := make([]string, len(shown))
	for i := range shown {
		texts[i] = shown[i].String()
	}
	return joinSome(texts, len(names))
}

// mostListed is how many names of a list a message tells: more a reader does not take in.
const mostListed = 8

func join(texts []string) string { return joinSome(texts, len(texts)) }

// joinSome joins the first of all texts; only these need to be there.
func joinSome(texts []string, all int) string {
	if n := all - mostListed; n > 0 && len(texts) >= mostListed {
		return strings.Join(texts[:mostListed], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(texts, ", ")
}
