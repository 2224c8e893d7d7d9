package chain

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// reference is the name that a certificate has to be for: a DNS name or an address, never both (RFC 9525 6.1).
type reference struct {
	text string // as it is compared: lower case, A-labels, no final dot, no brackets
	ip   netip.Addr
}

// parseReference reads a name as users and URLs write it. What is neither an address nor a proper name is compared as it
// is, and matches a certificate that has the same improper name only.
func parseReference(name string) *reference {
	host := strings.ToLower(strings.TrimSpace(name))
	if strings.ContainsFunc(host, func(r rune) bool { return r >= utf8.RuneSelf }) {
		// RFC 9525 6.3: U-labels become A-labels before anything is compared. Letters of other widths may turn out to be
		// an address.
		if ascii, err := idna.Lookup.ToASCII(host); err == nil {
			host = ascii
		}
	}
	host = strings.TrimSuffix(host, ".")
	address := host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		address = host[1 : len(host)-1]
	}
	if ip, err := netip.ParseAddr(address); err == nil {
		// The zone says by which interface an address is reached here; no certificate has one.
		text, _, _ := strings.Cut(address, "%")
		return &reference{text: text, ip: ip.WithZone("")}
	}
	if host == "" {
		host = name // blanks, a dot, or nothing visible: something was asked for
	}
	return &reference{text: host}
}

// name judges whether the leaf is for the reference.
func (j *judgement) name() {
	ref := j.search.reference
	if ref == nil {
		return
	}
	c := j.path[0]
	if c.matches(ref) {
		return
	}
	if common, ok := j.commonNameInUse(); ok {
		j.note(0, "the certificate is known by its common name %s only; have the next one issued with it as subjectAltName", common)
		return
	}
	if j.search.v.Names == NamesATS && c.matchesATS(ref) {
		j.note(0, "%s matches by the compatibility rules (names: ats) only; other verifiers refuse this certificate", ref.text)
		return
	}
	shown := c.identities()
	if shown == "" {
		shown = "none"
	}
	f := newFault(&ruleReferenceName, c, 0, "the certificate is not for %s; it is for: %s", ref.text, shown).values(shown, ref.text)
	f.ip = ref.ip.IsValid()
	f.NearMisses = j.nearNames(c, ref)
	kind := "dNSName"
	if f.ip {
		kind = "iPAddress"
	}
	f = f.fix("have the certificate issued again with the %s %s in subjectAltName, or use a name that it has", kind, ref.text)
	j.add(f)
}

// matches compares by RFC 9525 6.3 and 6.4.
func (c *Certificate) matches(ref *reference) bool {
	if ref.ip.IsValid() {
		for _, ip := range c.x.IPAddresses {
			// 4 octets are never the address of 16, nor the other way round.
			if addr, ok := netip.AddrFromSlice(ip); ok && addr == ref.ip {
				return true
			}
		}
		return false
	}
	for _, pattern := range c.x.DNSNames {
		if matchDNS(pattern, ref.text) {
			return true
		}
	}
	return false
}

// matchDNS compares a presented dNSName with a reference name in lower case. A wildcard is the whole left-most label,
// stands for one label, and has two labels behind it.
func matchDNS(pattern, name string) bool {
	pattern = lowerASCII(pattern)
	if !validPattern(pattern) || name == "" {
		return false
	}
	parent, wild := strings.CutPrefix(pattern, "*.")
	if !wild {
		return pattern == name
	}
	label, rest, ok := strings.Cut(name, ".")
	return ok && hostLabel(label) && rest == parent && strings.Contains(parent, ".")
}

// hostLabel reports whether a wildcard may stand for a label, which is in lower case: what is no part of a host name, such
// as another wildcard, is not.
func hostLabel(label string) bool {
	for i := range len(label) {
		b := label[i]
		if (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' && b != '_' {
			return false
		}
	}
	return label != ""
}

// validPattern reports whether a dNSName is worth comparing: RFC 5280 4.2.1.6 forbids " " and a final dot, RFC 9525 6.3 any
// other use of "*". An underscore is allowed.
func validPattern(pattern string) bool {
	rest := strings.TrimPrefix(pattern, "*.")
	return rest != "" && !strings.ContainsAny(rest, "* ") && !strings.HasSuffix(rest, ".") && !strings.HasPrefix(rest, ".")
}

func lowerASCII(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for k := i; k < len(b); k++ {
				if 'A' <= b[k] && b[k] <= 'Z' {
					b[k] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// commonNameInUse returns the common name that stands in for subjectAltName and is the reference: RFC 9525 2 says that
// it must not be used; the profile Deployment uses it all the same, since call managers' certificates need it.
func (j *judgement) commonNameInUse() (string, bool) {
	c, ref := j.path[0], j.search.reference
	if ref == nil || !j.search.v.commonNameAllowed() || len(c.x.DNSNames) > 0 || len(c.x.IPAddresses) > 0 || len(c.commonNames) != 1 {
		return "", false
	}
	common := c.commonNames[0]
	if ref.ip.IsValid() {
		ip, err := netip.ParseAddr(common)
		return common, err == nil && ip == ref.ip
	}
	return common, matchDNS(common, ref.text)
}

// namesUsed returns the names that make the leaf one for the reference although subjectAltName does not have them as what
// they are used for: a common name, and with the rules of Traffic Server also an address in a dNSName. Name constraints
// apply to them as to what they stand in for.
func (j *judgement) namesUsed() []generalName {
	c, ref := j.path[0], j.search.reference
	if common, ok := j.commonNameInUse(); ok {
		return []generalName{standIn(common, ref)}
	}
	if ref == nil || j.search.v.Names != NamesATS || c.matches(ref) || !c.matchesATS(ref) {
		return nil
	}
	return []generalName{standIn(ref.text, ref)}
}

// standIn is a name as the type that the reference has.
func standIn(text string, ref *reference) generalName {
	if ref.ip.IsValid() {
		return generalName{kind: iPAddress, value: ref.ip.AsSlice()}
	}
	return generalName{kind: dNSName, text: text, host: lowerASCII(text)}
}

// matchesATS compares as Apache Traffic Server does (edge specification, section 10): dNSName, then the first common
// name; an address as text. iPAddress was compared by matches already.
func (c *Certificate) matchesATS(ref *reference) bool {
	for _, pattern := range c.x.DNSNames {
		if matchATS(pattern, ref.text) {
			return true
		}
	}
	return len(c.commonNames) > 0 && matchATS(c.commonNames[0], ref.text)
}

func matchATS(pattern, name string) bool {
	pattern = lowerASCII(pattern)
	first, rest, ok := strings.Cut(pattern, ".")
	star := strings.IndexByte(first, '*')
	if star < 0 {
		return pattern != "" && pattern == name
	}
	const shortest = 6
	if !ok || strings.Count(first, "*") != 1 || star != 0 && star != len(first)-1 || !strings.Contains(rest, ".") ||
		strings.Contains(rest, "*") || len(name) < shortest || strings.HasPrefix(name, ".") {
		return false
	}
	label, parent, ok := strings.Cut(name, ".")
	if !ok || parent != rest || !hostLabel(label) || first != "*" && strings.HasPrefix(label, "xn--") {
		return false
	}
	before, after := first[:star], first[star+1:]
	return len(label) >= len(before)+len(after) && strings.HasPrefix(label, before) && strings.HasSuffix(label, after)
}

// identities lists the names that a certificate is known by.
func (c *Certificate) identities() string {
	var names []string
	all := len(c.x.DNSNames) + len(c.x.IPAddresses) + len(c.commonNames)
	names = append(names, c.x.DNSNames[:min(len(c.x.DNSNames), mostListed)]...)
	for _, ip := range c.x.IPAddresses[:min(len(c.x.IPAddresses), mostListed)] {
		names = append(names, ip.String())
	}
	for _, common := range c.commonNames[:min(len(c.commonNames), mostListed)] {
		names = append(names, "CN="+common)
	}
	return joinSome(names, all)
}

// nearNames says which names of a certificate are nearly the reference, and what keeps each from being it.
func (j *judgement) nearNames(c *Certificate, ref *reference) []string {
	var near nearList
	say := func(text string) { near.add(func() string { return text }) }
	for _, n := range c.x.DNSNames {
		lower := lowerASCII(n)
		switch {
		case ref.ip.IsValid() && lower == ref.text:
			say("the address is in the certificate as a dNSName; it has to be an iPAddress")
		case strings.TrimSuffix(lower, ".") == ref.text:
			say("the dNSName " + n + " ends in a dot, which makes it invalid")
		case strings.Contains(lower, "*") && matchATS(n, ref.text):
			say("the wildcard " + n + " is not the whole first label, and counts for nothing")
		case strings.HasPrefix(lower, "*.") && (strings.HasSuffix(ref.text, lower[1:]) || ref.text == lower[2:]):
			say("the wildcard " + n + " stands for exactly one label")
		case lower == strings.SplitN(ref.text, ".", 2)[0]:
			say("the certificate has the host name " + n + " without its domain")
		}
	}
	for i, common := range c.commonNames {
		if lowerASCII(common) != ref.text {
			continue
		}
		switch {
		case len(c.x.DNSNames) > 0 || len(c.x.IPAddresses) > 0:
			say("the common name is " + common + ", but common names do not count beside a subjectAltName")
		case len(c.commonNames) > 1:
			say("common name " + strconv.Itoa(i+1) + " is " + common + ", but a certificate with several common names is known by none")
		case !j.search.v.commonNameAllowed():
			say("the common name is " + common + ", but common names do not count in the profile " + j.profile().String())
		}
	}
	return near.list()
}
