package ra

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"callsign/est"
)

// clients say which clients may enrol, and how their certificates name them.
type clients struct {
	name     *regexp.Regexp // nil: the common name, or the subject
	patterns []string       // empty: everybody
}

// CheckClients tells what is wrong with settings for clients of a configuration; nil when they can be used. Errors begin
// with the key and quote the value.
func CheckClients(clientName string, patterns, registrars []string) error {
	if _, err := compileClients(clientName, patterns); err != nil {
		return err
	}
	_, err := allowList("registrars", registrars)
	return err
}

func compileClients(clientName string, patterns []string) (clients, error) {
	c := clients{patterns: patterns}
	if clientName != "" {
		var err error
		if c.name, err = regexp.Compile(clientName); err != nil {
			return clients{}, fmt.Errorf("client_name: %q is no regular expression: %w", clientName, err)
		}
		if c.name.NumSubexp() > 1 {
			return clients{}, fmt.Errorf("client_name: %q has %d groups; the client's name is the first, so write the others as (?:...)", clientName, c.name.NumSubexp())
		}
	}
	for _, p := range patterns {
		if strings.TrimSpace(p) == "" {
			return clients{}, fmt.Errorf("clients: %q is no pattern", p)
		}
	}
	return c, nil
}

// nameOf returns the client's name by its certificate; false when the certificate has none that fits.
func (c *clients) nameOf(cert *x509.Certificate) (string, bool) {
	cns := namesOfType(cert, oidCommonName)
	if c.name == nil {
		if len(cns) == 1 && cns[0] != "" {
			return cns[0], true
		}
		return subjectOf(cert), true
	}
	candidates := slices.Concat(cns, cert.DNSNames)
	for _, u := range cert.URIs {
		candidates = append(candidates, u.String())
	}
	candidates = append(append(candidates, cert.EmailAddresses...), subjectOf(cert))
	for _, s := range candidates {
		m := c.name.FindStringSubmatch(s)
		if m == nil {
			continue
		}
		if found := m[len(m)-1]; found != "" {
			return found, true
		}
	}
	return "", false
}

// subjectOf is the whole subject in the form of RFC 4514, as it stands in the certificate. Of two common names pkix.Name shows the last one
// alone, and it forgets the order: a certificate for somebody else could look like that of a client, a registrar or a voucher.
func subjectOf(cert *x509.Certificate) string {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(cert.RawSubject, &name); err != nil || len(rest) > 0 {
		return "#" + hex.EncodeToString(cert.RawSubject) // a string in this form as well, and nobody's name
	}
	return name.String()
}

func namesOfType(cert *x509.Certificate, oid asn1.ObjectIdentifier) []string {
	var out []string
	for _, n := range cert.Subject.Names {
		if s, ok := n.Value.(string); ok && n.Type.Equal(oid) {
			out = append(out, s)
		}
	}
	return out
}

// may tells whether a client of this name may enrol.
func (c *clients) may(name string) bool {
	return len(c.patterns) == 0 || slices.ContainsFunc(c.patterns, func(p string) bool { return glob(p, name) })
}

// certificateOwner is what stands for a client with a certificate in est.Identity.Name and in the owner of its enrolments,
// "est:LABEL/cert:HASH/NAME". HASH is of the key of the CA that the certificate was accepted by, so that equal names of two CAs
// are two clients and a renewed CA certificate with the same key changes nothing. NAME is what client_name finds, or else the
// whole subject: the common name alone could be that of two clients. No user name holds a colon, and vouchers begin with
// "voucher:".
func (c *clients) certificateOwner(cert, issuer *x509.Certificate, name string) string {
	sum := sha256.Sum256(issuer.RawSubjectPublicKeyInfo)
	if c.name == nil {
		name = subjectOf(cert)
	}
	return "cert:" + hex.EncodeToString(sum[:6]) + "/" + name
}

// namelessUser is est.Identity.Name of who logs in with a password and an empty user name (RFC 7030 section 3.2.3). No user
// name holds a colon.
const namelessUser = "user:"

func userOwner(user string) string {
	if user == "" {
		return namelessUser
	}
	return user
}

// clientOf is the client's name for the rules: that of its certificate, else its user name.
func (l *label) clientOf(who est.Identity) string {
	if who.Certificate != nil {
		name, _ := l.clients.nameOf(who.Certificate)
		return name
	}
	return who.User
}

func owner(label, name string) string { return "est:" + label + "/" + name }

// oidCMCRA is the purpose of registration authorities, id-kp-cmcRA (RFC 6402 section 2.10).
var oidCMCRA = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28}

// issuers are those of the certificates that issued no other one of them: what stands above an earlier CA is no CA of ours.
func issuers(certs []*x509.Certificate) []*x509.Certificate {
	var out []*x509.Certificate
	for _, c := range certs {
		above := slices.ContainsFunc(certs, func(o *x509.Certificate) bool {
			return bytes.Equal(o.RawIssuer, c.RawSubject) && !bytes.Equal(o.RawSubject, c.RawSubject) && o.CheckSignatureFrom(c) == nil
		})
		if !above {
			out = append(out, c)
		}
	}
	return out
}
