package chain

import (
	"crypto/rsa"
	"crypto/x509"
	"strings"
)

// wanted returns the extended key usage that the usage asks for; not ok when it asks for none.
func (u Usage) wanted() (x509.ExtKeyUsage, bool) {
	switch u {
	case Server:
		return x509.ExtKeyUsageServerAuth, true
	case Client, MIC:
		return x509.ExtKeyUsageClientAuth, true
	default:
		return 0, false
	}
}

// extendedUsage judges the extended key usage of a certificate; that of a CA limits what is below it. An anchor is trusted
// for what its owner has put it into the store for, whatever it says: call managers' CAPF certificates are for servers, and
// issue what phones show as clients.
func (j *judgement) extendedUsage(depth int, c *Certificate) {
	wanted, ok := j.search.v.Usage.wanted()
	if !ok || c.present&extEKU == 0 {
		return
	}
	for _, u := range c.x.ExtKeyUsage {
		if u == wanted || u == x509.ExtKeyUsageAny && j.search.v.anyUsageAllowed() {
			return
		}
	}
	if depth > 0 && !j.below(depth) {
		j.note(depth, "the extended key usage of the root %s is %s, which other verifiers take for a limit", c.Subject(), extendedText(c.x))
		return
	}
	what := "of " + c.Subject() + " does not allow"
	if depth > 0 {
		what = "of the CA " + c.Subject() + " does not allow to certify for"
	}
	f := newFault(&ruleExtendedKeyUsage, c, depth, "the extended key usage %s %s: %s", what, wanted, extendedText(c.x)).
		values(extendedText(c.x), wanted.String())
	if depth > 0 {
		f = f.fix("have the certificate issued by a CA for this use, or the CA certificate %s issued again with %s or without extended key usage", c.Subject(), wanted)
	} else {
		f = f.fix("have the certificate of %s issued with the extended key usage %s: choose another template or profile at the CA", c.Subject(), wanted)
	}
	j.add(f)
}

// leafUsage judges the key usage of the leaf: RFC 5280 4.2.1.3 with what TLS does with the key. A signature is made with
// every key in TLS 1.3 and (EC)DHE; RSA key transport, which has none, is a server's only.
func (j *judgement) leafUsage() {
	c := j.path[0]
	usage := j.search.v.Usage
	if _, ok := usage.wanted(); !ok || c.present&extKeyUsage == 0 {
		return
	}
	have := c.x.KeyUsage
	needed := "digitalSignature"
	good := have&x509.KeyUsageDigitalSignature != 0
	if _, isRSA := c.x.PublicKey.(*rsa.PublicKey); isRSA && usage == Server {
		needed = "digitalSignature or keyEncipherment"
		good = good || have&x509.KeyUsageKeyEncipherment != 0
	}
	if good {
		return
	}
	j.add(newFault(&ruleKeyUsage, c, 0, "the key usage of %s does not allow a TLS %s: %s", c.Subject(), map[bool]string{true: "server", false: "client"}[usage == Server], usageText(have)).
		values(usageText(have), needed).
		fix("have the certificate of %s issued with the key usage %s", c.Subject(), needed))
}

// extendedText lists extended key usages.
func extendedText(x *x509.Certificate) string {
	var names []string
	for _, u := range x.ExtKeyUsage {
		names = append(names, u.String())
	}
	for _, u := range x.UnknownExtKeyUsage {
		names = append(names, u.String())
	}
	if len(names) == 0 {
		return "none"
	}
	return join(names)
}

// keyUsageNames are in the order of the bits.
var keyUsageNames = []string{
	"digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment", "keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly",
}

// KeyUsageNames returns the names of RFC 5280 4.2.1.3 for a key usage, in the order of its bits.
func KeyUsageNames(u x509.KeyUsage) []string {
	used := []string{}
	for i, name := range keyUsageNames {
		if u&(1<<i) != 0 {
			used = append(used, name)
		}
	}
	return used
}

func usageText(u x509.KeyUsage) string {
	if u == 0 {
		return "none"
	}
	return strings.Join(KeyUsageNames(u), ", ")
}
