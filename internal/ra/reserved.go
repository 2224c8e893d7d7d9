package ra

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net/netip"
	"strings"

	"callsign/cmc"
)

// reserved are names that nobody may ask for, in the form of plainName.
type reserved map[string]bool

func newReserved(names []string) reserved {
	r := reserved{}
	for _, n := range names {
		if n = plainName(n); n != "" {
			r[n] = true
		}
	}
	return r
}

// plainName makes names equal that mean the same host: without regard to case, to a dot at the end, and to the way an IP
// address is written.
func plainName(s string) string {
	s = strings.TrimSuffix(strings.ToLower(strings.TrimSpace(s)), ".")
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.Unmap().WithZone("").String()
	}
	return s
}

// check refuses a request for a reserved name, whether it stands as common name or among the alternative names, and for a
// wildcard that covers one.
func (r reserved) check(csr *x509.CertificateRequest) *cmc.Problem {
	if len(r) == 0 {
		return nil
	}
	for _, n := range csr.Subject.Names {
		if _, text := n.Value.(string); !text && n.Type.Equal(oidCommonName) {
			// A string type that is not read here, and is by others: UniversalString, VisibleString.
			return cmc.Deny(CodeReserved, cmc.BadRequest,
				"the common name is of a string type that cannot be compared with the names of the listeners of this server", "write the common name as UTF8String or PrintableString")
		}
	}
	for _, name := range namesOf(csr) {
		if hit := r.covered(name); hit != "" {
			return cmc.Deny(CodeReserved, cmc.BadRequest,
				fmt.Sprintf("the name %q belongs to a listener of this server (%s) and is given to nobody else", name, hit),
				"ask for another name; the listeners' own certificates (est.certificate_file, capf.certificate_file) are got from the CA directly")
		}
	}
	return nil
}

// covered returns the reserved name that a certificate for name would be taken for; empty for none.
func (r reserved) covered(name string) string {
	name, _, _ = strings.Cut(name, "\x00") // where readers that know text by its end stop
	name = plainName(name)
	if r[name] {
		return name
	}
	if !strings.Contains(name, "*") {
		return ""
	}
	for n := range r {
		if matches(name, n) {
			return n
		}
	}
	return ""
}

// matches tells whether some client would take name for an instance of the wildcard. Clients differ in how much a star may
// stand for, so it stands for anything.
func matches(wildcard, name string) bool {
	parts := strings.Split(wildcard, "*")
	rest, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	last := len(parts) - 1
	for _, p := range parts[1:last] {
		if _, rest, ok = strings.Cut(rest, p); !ok {
			return false
		}
	}
	return strings.HasSuffix(rest, parts[last])
}

// namesOf lists the names of a request that a peer could compare with a host's.
func namesOf(csr *x509.CertificateRequest) []string {
	var names []string
	for _, n := range csr.Subject.Names {
		if s, ok := n.Value.(string); ok && n.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 3}) {
			names = append(names, s)
		}
	}
	names = append(names, csr.DNSNames...)
	for _, ip := range csr.IPAddresses {
		names = append(names, ip.String())
	}
	for _, u := range csr.URIs {
		names = append(names, u.String())
		if h := u.Hostname(); h != "" {
			names = append(names, h)
		}
	}
	return names
}
