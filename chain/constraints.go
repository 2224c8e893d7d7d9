package chain

import (
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
	kind uint8
	text string       // DNS, email, URI: as it is in the certificate
	ip   []byte       // IP: address; in a constraint address and mask
	dir  []rdn        // DirName
	show string       // DirName as text
	host uriHost      // URI
	net  netip.Prefix // a constraint on addresses

	broken bool // a name that does not parse: it is within every excluded subtree and within no permitted one
}

// uriHost is the host of a URI; not ok for a URI without one, or with an address in its place.
type uriHost struct {
	name string
	ok   bool
}

// String writes the name with its type: "DNS:example.com".
func (n *generalName) String() string {
	value := n.text
	switch n.kind {
	case iPAddress:
		switch {
		case n.net.IsValid():
			value = n.net.String()
		case len(n.ip) == 4 || len(n.ip) == 16:
			value = net.IP(n.ip).String()
		default:
			value = fmt.Sprintf("%x", n.ip)
		}
	case directoryName:
		value = n.show
	case otherName, x400Address, ediPartyName, registeredID:
		return nameTypes[n.kind]
	}
	return nameTypes[n.kind] + ":" + value
}

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
			half := len(base.ip) / 2
			ones, bits := net.IPMask(base.ip[half:]).Size()
			address, okAddress := netip.AddrFromSlice(base.ip[:half])
			if !okAddress || bits == 0 {
				c.problem = "an address range has no valid mask"
				return nil
			}
			base.net = netip.PrefixFrom(address, ones).Masked()
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
	case rfc822Name, dNSName, uriName:
		n.text = string(value)
	case iPAddress:
		n.ip = value
	case directoryName:
		var ok bool
		if n.dir, ok = canonicalRDNs(value); !ok {
			return n, false
		}
		n.show = nameText(value)
	}
	return n, true
}

// names returns every name of the certificate that name constraints apply to: all of subjectAltName, the subject, and
// the mail addresses in the subject.
func (c *Certificate) names() []generalName {
	var all []generalName
	var alt, value cryptobyte.String
	var tag cbasn1.Tag
	in := cryptobyte.String(c.altRaw)
	if in.ReadASN1(&alt, cbasn1.SEQUENCE) {
		for alt.ReadAnyASN1(&value, &tag) {
			n, ok := readGeneralName(tag, value)
			switch {
			case !ok && n.kind == directoryName:
				n.broken, n.show = true, unreadable
			case !ok:
				continue
			case n.kind == uriName:
				n.host = hostOfURI(n.text)
			}
			all = append(all, n)
		}
	}
	// crypto/x509 reads some subjects that are no names by X.501, such as those with an empty RDN.
	if dir, ok := canonicalRDNs(c.x.RawSubject); len(dir) > 0 || !ok {
		all = append(all, generalName{kind: directoryName, dir: dir, show: c.x.Subject.String(), broken: !ok})
	}
	for _, a := range c.x.Subject.Names {
		if s, ok := a.Value.(string); ok && a.Type.String() == "1.2.840.113549.1.9.1" {
			all = append(all, generalName{kind: rfc822Name, text: s})
		}
	}
	return all
}

func hostOfURI(text string) uriHost {
	u, err := url.Parse(text)
	if err != nil {
		return uriHost{}
	}
	host := u.Hostname()
	_, err = netip.ParseAddr(host)
	return uriHost{name: host, ok: host != "" && err != nil}
}

// within reports whether a name is in the subtree below base; both are of one type. For excluded subtrees a name that
// could stand for one in the subtree counts as well: a wildcard, a URI whose host cannot be told, a mail address without one.
func (n *generalName) within(base *generalName, excluded bool) bool {
	if n.broken {
		return excluded
	}
	switch n.kind {
	case dNSName:
		return dnsWithin(n.text, base.text, excluded)
	case rfc822Name:
		return mailWithin(n.text, base.text, excluded)
	case uriName:
		if !n.host.ok {
			return excluded // RFC 5280 4.2.1.10: refused where a constraint applies
		}
		host, domain := strings.ToLower(strings.TrimSuffix(n.host.name, ".")), strings.ToLower(base.text)
		if strings.HasPrefix(domain, ".") {
			return strings.HasSuffix(host, domain)
		}
		return host == domain
	case iPAddress:
		address, ok := netip.AddrFromSlice(n.ip)
		return ok && base.net.Contains(address)
	case directoryName:
		return len(n.dir) >= len(base.dir) && slices.Equal(n.dir[:len(base.dir)], base.dir)
	default:
		return excluded
	}
}

func dnsWithin(name, domain string, excluded bool) bool {
	name, domain = strings.ToLower(strings.TrimSuffix(name, ".")), strings.ToLower(strings.TrimSuffix(domain, "."))
	switch {
	case domain == "":
		return true
	case strings.HasPrefix(domain, "."): // not of RFC 5280, but common: below, and not itself
		return strings.HasSuffix(name, domain)
	case name == domain || strings.HasSuffix(name, "."+domain):
		return true
	case excluded:
		first, below, _ := strings.Cut(name, ".")
		_, parent, ok := strings.Cut(domain, ".")
		return ok && parent == below && strings.Contains(first, "*") // the wildcard stands for the domain, too
	default:
		return false
	}
}

func mailWithin(mailbox, base string, excluded bool) bool {
	at := strings.LastIndexByte(mailbox, '@')
	if at < 0 {
		return excluded
	}
	local, host := mailbox[:at], strings.ToLower(mailbox[at+1:])
	if i := strings.LastIndexByte(base, '@'); i >= 0 {
		return local == base[:i] && host == strings.ToLower(base[i+1:])
	}
	domain := strings.ToLower(base)
	if strings.HasPrefix(domain, ".") {
		return strings.HasSuffix(host, domain)
	}
	return domain == "" || host == domain
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
		kinds, permitted, hit := 0, false, false
		if j.search.comparisons += len(k.permitted) + len(k.excluded); j.search.comparisons > MaxConstraintComparisons {
			j.search.exhausted = fmt.Sprintf("%d comparisons of names with name constraints", MaxConstraintComparisons)
			return nil
		}
		for b := range k.permitted {
			if k.permitted[b].kind == n.kind {
				kinds++
				permitted = permitted || n.within(&k.permitted[b], false)
			}
		}
		constrainedKind := kinds > 0
		for b := range k.excluded {
			if k.excluded[b].kind == n.kind {
				constrainedKind = true
				hit = hit || n.within(&k.excluded[b], true)
			}
		}
		switch {
		case constrainedKind && !understood(n.kind):
			unknown = append(unknown, n.String())
		case kinds > 0 && !permitted:
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
	texts := make([]string, len(names))
	for i := range names {
		texts[i] = names[i].String()
	}
	return join(texts)
}

func join(texts []string) string {
	const most = 8
	if n := len(texts) - most; n > 0 {
		return strings.Join(texts[:most], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(texts, ", ")
}
