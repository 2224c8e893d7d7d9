package cluster

import (
	"net/netip"
	"strings"
)

// MaxNames bounds the names of a request: every node of the largest cluster has room, and as many others.
const MaxNames = 2 * MaxNodes

// address reads an IP address as a certificate can name it: without a zone, and an IPv4 address inside of an IPv6 one as
// what it is.
func address(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

// dnsNameFault says why a text is no DNS name for a certificate, and what to do; empty for one that is.
func dnsNameFault(name string) (why, fix string) {
	const spelling = "use letters, digits and hyphens in labels of 1 to 63, with points between"
	switch {
	case name == "":
		return "is empty", "leave it out or name it"
	case strings.Contains(name, "*"):
		return "is a wildcard, which call managers do not support", "name every host"
	case strings.ContainsFunc(name, func(r rune) bool { return r > 0x7f }):
		return "is an internationalised name", "write it in its ASCII form, with labels that begin with xn--"
	case validDomain(name):
		// A name whose last label is a number would be taken for an IPv4 address by some, and by others not.
		if last := name[strings.LastIndexByte(name, '.')+1:]; strings.Trim(last, "0123456789") == "" {
			return "ends with a number, as no domain does", "check the spelling"
		}
		return "", ""
	case len(name) > 253:
		return "is longer than the 253 characters of a DNS name", "check the spelling"
	case validDomain(strings.TrimSuffix(name, ".")):
		return "ends with a point", "write it without the point"
	case strings.Contains(name, "://"):
		return "is a URL", "write the host name alone"
	case strings.ContainsAny(name, ":/") || strings.ContainsAny(name, " \t\r\n,;"):
		return "is more than a DNS name", "write each host name alone, without a port or path"
	default:
		return "is no DNS name", spelling
	}
}

// nameList collects the names of a certificate in their order, each once.
type nameList struct {
	dns  []string
	ips  []netip.Addr
	seen map[string]bool
}

// add adds DNS names, and IP addresses where a name is one.
func (l *nameList) add(names ...string) {
	if l.seen == nil {
		l.seen = map[string]bool{}
	}
	for _, name := range names {
		key := strings.ToLower(name)
		ip, isIP := address(name)
		if isIP {
			key = ip.String()
		}
		switch {
		case name == "" || l.seen[key]:
			continue
		case isIP:
			l.ips = append(l.ips, ip)
		default:
			l.dns = append(l.dns, name)
		}
		l.seen[key] = true
	}
}
