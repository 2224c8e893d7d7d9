package chain

import (
	"crypto/x509"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/net/publicsuffix"
)

// form applies the rules that Strict and WebPKI have beside Deployment's. They ask whether the CA has issued well; each
// breach is a fault of its own.
func (j *judgement) form() {
	for depth, c := range j.path {
		j.strictAny(depth, c)
		if depth > 0 || j.search.v.Usage == CA {
			j.strictCA(depth, c)
		}
		if j.profile() >= WebPKI {
			j.webAny(depth, c)
		}
	}
}

// leafForm applies the rules of form that are about the leaf alone.
func (j *judgement) leafForm() {
	leaf := j.path[0]
	j.strictLeaf(leaf)
	if j.profile() >= WebPKI && j.search.v.Usage != CA {
		j.webLeaf(leaf)
	}
}

// breach adds a fault of form.
func (j *judgement) breach(r *Rule, depth int, actual, format string, args ...any) {
	c := j.path[depth]
	j.add(newFault(r, c, depth, format, args...).values(actual, r.Text).
		fix("have the certificate of %s issued again: %s (%s)", c.Subject(), strings.TrimSuffix(r.Text, "."), r.Source))
}

func (j *judgement) strictAny(depth int, c *Certificate) {
	x := c.x
	top := !j.below(depth)
	if x.Version < 3 && (!top || c.oldExtensions) {
		j.breach(&ruleVersion, depth, "version "+string(rune('0'+x.Version)), "%s has version %d", c.Subject(), x.Version)
	}
	const longest = 20
	if n := serialOctets(c); x.SerialNumber.Sign() <= 0 || n > longest {
		j.breach(&ruleSerial, depth, SerialText(x.SerialNumber), "the serial number of %s is %s: zero, or longer than %d octets", c.Subject(), SerialText(x.SerialNumber), longest)
	}
	// Older versions have no extensions, which is a fault of their own.
	if x.Version == 3 && len(x.AuthorityKeyId) == 0 && !c.claimsSelfSigned() {
		j.breach(&ruleAuthorityKey, depth, "none", "%s has no authority key identifier", c.Subject())
	}
	if c.constraints != nil && (!x.BasicConstraintsValid || !x.IsCA) {
		j.breach(&ruleConstraintsOnCA, depth, "nameConstraints in a certificate that is no CA", "%s is no CA and has name constraints", c.Subject())
	}
	if c.present&extPolicyConstraints != 0 && c.critical&extPolicyConstraints == 0 {
		j.breach(&rulePolicyCritical, depth, "not critical", "the policy constraints of %s are not critical", c.Subject())
	}
}

// serialOctets is the length of the serial number's encoding.
func serialOctets(c *Certificate) int { return c.x.SerialNumber.BitLen()/8 + 1 }

func (j *judgement) strictCA(depth int, c *Certificate) {
	x := c.x
	if x.Version < 3 {
		return // a fault of anchor_version or ca_version
	}
	if c.subject == "" {
		j.breach(&ruleCASubject, depth, "empty", "a CA has an empty subject (serial %s)", SerialText(x.SerialNumber))
	}
	if len(x.SubjectKeyId) == 0 || c.present&extSubjectKey == 0 {
		j.breach(&ruleSubjectKey, depth, "none", "the CA %s has no subject key identifier", c.Subject())
	}
	if c.present&extBasic != 0 && c.critical&extBasic == 0 {
		j.breach(&ruleBasicCritical, depth, "not critical", "the basic constraints of the CA %s are not critical", c.Subject())
	}
	if c.present&extKeyUsage == 0 {
		j.breach(&ruleCAKeyUsagePresent, depth, "none", "the CA %s has no key usage", c.Subject())
	}
}

func (j *judgement) strictLeaf(c *Certificate) {
	x := c.x
	if j.search.v.Usage == Server {
		switch {
		case x.BasicConstraintsValid && x.IsCA:
			j.breach(&ruleLeafNotCA, 0, "CA:TRUE", "%s is used as a server and marked as a CA", c.Subject())
		case x.KeyUsage&x509.KeyUsageCertSign != 0:
			j.breach(&ruleLeafNotCA, 0, "keyCertSign", "%s is used as a server, and its key usage has keyCertSign", c.Subject())
		}
	}
	if c.subject == "" && (c.altRaw == nil || c.critical&extAltName == 0) {
		actual := "not critical"
		if c.altRaw == nil {
			actual = "none"
		}
		j.breach(&ruleSubjectAlt, 0, actual, "the subject is empty and subjectAltName is missing or not critical")
	}
	var bad []string
	for _, n := range x.DNSNames {
		if !preferredSyntax(n) {
			bad = append(bad, n)
		}
	}
	if len(bad) > 0 {
		j.breach(&ruleDNSSyntax, 0, join(bad), "%s has dNSNames that are not in the preferred name syntax: %s", c.Subject(), join(bad))
	}
}

// preferredSyntax is RFC 1034 3.5 as changed by RFC 1123 2.1: labels of letters, digits and inner hyphens. The first label
// may be a wildcard.
func preferredSyntax(name string) bool {
	const longestName, longestLabel = 253, 63
	name = strings.TrimPrefix(name, "*.")
	if name == "" || len(name) > longestName {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > longestLabel || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return false
		}
		for i := range len(label) {
			b := label[i]
			if (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && (b < '0' || b > '9') && b != '-' {
				return false
			}
		}
	}
	return true
}

func (j *judgement) webAny(depth int, c *Certificate) {
	x := c.x
	top := !j.below(depth)
	if isRoot := top && c.selfIssued() && (len(j.path) > 1 || j.search.v.Usage == CA); isRoot && c.present&extEKU != 0 {
		j.breach(&ruleEKURoot, depth, extendedText(x), "the root %s has extended key usage", c.Subject())
	}
	if top && !strong(x.SignatureAlgorithm) {
		j.add(newFault(&ruleAnchorDigest, c, depth, "the signature of the root %s uses %s", c.Subject(), algorithmText(c)).
			values(algorithmText(c), "SHA-256 or better").
			fix("replace the root %s by one that is signed with SHA-256 or better", c.Subject()))
	}
	if c.akiSerial != nil || c.akiIssuer != "" {
		j.breach(&ruleAuthorityKeyOnly, depth, "issuer and serial number", "the authority key identifier of %s holds more than keyIdentifier", c.Subject())
	}
	if c.constraints != nil && c.critical&extNameConstraints == 0 {
		j.breach(&ruleConstraintCritical, depth, "not critical", "the name constraints of %s are not critical", c.Subject())
	}
}

func (j *judgement) webLeaf(c *Certificate) {
	x := c.x
	if c.altRaw == nil {
		j.breach(&ruleAltPresent, 0, "none", "%s has no subjectAltName", c.Subject())
	} else {
		j.webNames(c)
	}
	if foreign := c.foreignCommonNames(); len(foreign) > 0 {
		j.breach(&ruleCommonName, 0, join(foreign), "common names that are not entries of subjectAltName: %s", join(foreign))
	}
	if wanted, ok := j.search.v.Usage.wanted(); ok {
		switch {
		case c.present&extEKU == 0:
			j.breach(&ruleEKUPresent, 0, "none", "%s has no extended key usage", c.Subject())
		case slices.Contains(x.ExtKeyUsage, x509.ExtKeyUsageAny) && slices.Contains(x.ExtKeyUsage, wanted):
			j.breach(&ruleEKUPresent, 0, extendedText(x), "the extended key usage of %s has anyExtendedKeyUsage", c.Subject())
		case c.critical&extEKU != 0:
			j.breach(&ruleEKUPresent, 0, "critical", "the extended key usage of %s is critical", c.Subject())
		}
	}
	// Both ends belong to the time of validity.
	if most, ok := longestValidity(x.NotBefore); ok && x.NotAfter.After(x.NotBefore.AddDate(0, 0, most).Add(-time.Second)) {
		const secondsOfDay = 24 * 60 * 60 // a Duration ends at 292 years
		j.note(0, "the certificate is valid for %d days; public CAs may issue for at most %d", (x.NotAfter.Unix()-x.NotBefore.Unix()+1)/secondsOfDay, most)
	}
}

// foreignCommonNames returns the common names that do not repeat an entry of subjectAltName.
func (c *Certificate) foreignCommonNames() []string {
	entries := make(map[string]struct{}, len(c.x.DNSNames)+len(c.x.IPAddresses))
	for _, n := range c.x.DNSNames {
		entries[n] = struct{}{}
	}
	for _, ip := range c.x.IPAddresses {
		entries[ip.String()] = struct{}{}
	}
	var foreign []string
	for _, common := range c.commonNames {
		if _, ok := entries[common]; !ok {
			foreign = append(foreign, common)
		}
	}
	return foreign
}

func (j *judgement) webNames(c *Certificate) {
	var other []string
	var alt, value cryptobyte.String
	var tag cbasn1.Tag
	in := cryptobyte.String(c.altRaw)
	if in.ReadASN1(&alt, cbasn1.SEQUENCE) {
		for alt.ReadAnyASN1(&value, &tag) {
			if kind := uint8(tag) & generalNameTag; kind != dNSName && kind != iPAddress && kind <= lastNameType {
				other = append(other, nameTypes[kind])
			}
		}
	}
	if len(other) > 0 {
		j.breach(&ruleAltTypes, 0, join(other), "subjectAltName of %s has entries of other types: %s", c.Subject(), join(other))
	}
	var reserved, wild []string
	for _, n := range c.x.DNSNames {
		if reservedName(n) {
			reserved = append(reserved, n)
		}
		if parent, ok := strings.CutPrefix(n, "*."); ok && publicSuffix(parent) {
			wild = append(wild, n)
		}
	}
	for _, ip := range c.x.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); !ok || !publicAddress(a) {
			reserved = append(reserved, ip.String())
		}
	}
	if len(reserved) > 0 {
		j.breach(&ruleAltReserved, 0, join(reserved), "%s is for names that public CAs may not certify: %s", c.Subject(), join(reserved))
	}
	if len(wild) > 0 {
		j.breach(&ruleAltWildcard, 0, join(wild), "%s has a wildcard directly under a public suffix: %s", c.Subject(), join(wild))
	}
}

// publicSuffix reports whether names directly below a domain belong to different registrants: by the registries' part of
// the public suffix list that this program was built with, and for every top-level domain.
func publicSuffix(domain string) bool {
	suffix, registry := publicsuffix.PublicSuffix(lowerASCII(domain))
	return suffix == lowerASCII(domain) && (registry || !strings.Contains(domain, "."))
}

// specialUse are top-level domains and domains that do not exist in the public DNS: RFC 6761 and its registry, RFC 8375, RFC 9476.
var specialUse = []string{"test", "example", "invalid", "localhost", "local", "internal", "onion", "alt", "home.arpa", "example.com", "example.net", "example.org"}

// reservedName reports whether a dNSName is internal: one label, or below a special-use domain.
func reservedName(name string) bool {
	name = lowerASCII(name)
	if !strings.Contains(name, ".") {
		return true
	}
	name = strings.TrimPrefix(name, "*.")
	return slices.ContainsFunc(specialUse, func(d string) bool { return name == d || strings.HasSuffix(name, "."+d) })
}

// publicAddress reports whether an address can be reached from everywhere.
func publicAddress(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(reservedNets, func(p netip.Prefix) bool { return p.Contains(a) })
}

// reservedNets are address ranges of the special-purpose registries that package net/netip does not know.
var reservedNets = []netip.Prefix{
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("3fff::/20"), netip.MustParsePrefix("100::/64"),
}

// longestValidity is how many days public CAs may issue for, by the day of issue: ballot SC-081v3.
func longestValidity(issued time.Time) (days int, ok bool) {
	for _, step := range []struct {
		from string
		days int
	}{{"2029-03-15", 47}, {"2027-03-15", 100}, {"2026-03-15", 200}, {"2020-09-01", 398}} {
		if issued.UTC().Format(time.DateOnly) >= step.from {
			return step.days, true
		}
	}
	return 0, false
}
