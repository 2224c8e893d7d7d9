package upload

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"

	"callsign/chain"
	"callsign/internal/cluster/purpose"
)

// warnings looks at what a certificate that is accepted should have.
func (d *judgement) warnings() {
	c := d.result.Leaf
	x := c.X509()
	if chain.NameKey(x.RawSubject) != chain.NameKey(d.Request.RawSubject) {
		d.warn(SubjectChanged, "", fmt.Sprintf("the request asks for the subject %q, the certificate has %q", d.Request.Subject, x.Subject),
			"nothing, if peers do not compare subjects; else ask the CA to take the subject from the request")
	}
	d.weakKey(c)
	d.expiresSoon(c)
	d.keyUsage(x)
	if d.Policy.EKU != EKUEnforce {
		d.extKeyUsage()
	}
	d.twin()
	d.nodes(x)
	if x.PublicKeyAlgorithm == x509.RSA && d.identity.Name == "CallManager" && rsaBits(x) > goodRSABits {
		d.warn(RSAOver2048, "", fmt.Sprintf("some phones do not work with a CallManager key of %d bits", rsaBits(x)), "make the request again with --key rsa:2048 if old phones are in use")
	}
	for _, e := range x.Extensions {
		if e.Critical && !e.Id.Equal(oidKeyUsage) && !e.Id.Equal(oidBasicConstraints) {
			d.warn(CriticalExtension, "", fmt.Sprintf("the extension %s is critical; a Contact Center Express peer does not accept that", extensionName(e.Id)),
				"have it issued without the critical mark if such a peer is in use")
		}
	}
	d.pathOfLSCs()
	for _, other := range d.Context.Recent {
		d.warn(NeverTogether, other, fmt.Sprintf("%s changed a short time ago: phones that have not registered since then trust neither the old nor the new %s", other, d.identity.Name),
			"wait until all phones are registered again before you restart services for "+d.identity.Name)
	}
}

// pathOfLSCs warns of a path in which CAPF itself may stand, and LSCs below it may not.
func (d *judgement) pathOfLSCs() {
	if !d.identity.CA {
		return
	}
	below := 0 // CAs between an LSC and the certificate that is looked at, self-issued ones aside (RFC 5280 6.1.4)
	for i, c := range d.result.Path {
		x := c.X509()
		if limited := x.MaxPathLen > 0 || x.MaxPathLenZero; limited && below > x.MaxPathLen {
			d.warn(CAPFPathLength, "", fmt.Sprintf("%s allows a path length of %d, and the LSCs of %s need %d: peers that verify them refuse them", c.Subject(), x.MaxPathLen, d.result.Leaf.Subject(), below),
				"have it signed by a CA that may have a CA below it")
		}
		if i == 0 || c.SubjectKey() != c.IssuerKey() {
			below++
		}
	}
}

func rsaBits(x *x509.Certificate) int {
	if k, ok := x.PublicKey.(interface{ Size() int }); ok {
		return k.Size() * 8
	}
	return 0
}

func (d *judgement) weakKey(c *chain.Certificate) {
	if x := c.X509(); x.PublicKeyAlgorithm == x509.RSA && rsaBits(x) < goodRSABits {
		d.warn(WeakKey, "", fmt.Sprintf("%s has a key of %s; peers of today refuse RSA keys below 2048 bits", c.Subject(), chain.KeyText(x.PublicKey, x.PublicKeyAlgorithm)),
			"make the request again with --key rsa:2048")
	}
}

func (d *judgement) expiresSoon(c *chain.Certificate) {
	if x := c.X509(); x.NotAfter.Before(d.At.Add(soon)) {
		d.warn(ExpiresSoon, "", fmt.Sprintf("%s expires at %s, in %d days", c.Subject(), stamp(x.NotAfter), int(x.NotAfter.Sub(d.At).Hours()/24)),
			"ask the CA for a longer validity, or begin the next renewal at once")
	}
}

// keyUsage compares key usage and extended key usage with the request, or with the table of purposes when the request does not say.
// The extended key usage is compared by extKeyUsage.
func (d *judgement) keyUsage(x *x509.Certificate) {
	wanted := d.wantedKeyUsage()
	switch {
	case wanted == 0:
	case !has(x.Extensions, oidKeyUsage):
		d.warn(KUAbsent, "", "the certificate has no key usage; the request asks for "+strings.Join(chain.KeyUsageNames(wanted), ", "), "have it issued from a template that keeps the request's key usage")
	default:
		for _, name := range chain.KeyUsageNames(wanted &^ x.KeyUsage) {
			d.warn(KUMissing, name, "the certificate has not the key usage "+name+" that was asked for", "have it issued from a template that keeps the request's key usage")
		}
	}
}

// extKeyUsage warns of missing extended key usages, or refuses the certificate for them: check 19.
func (d *judgement) extKeyUsage() {
	x := d.result.Leaf.X509()
	var missing []x509.ExtKeyUsage
	for _, u := range d.wantedExtKeyUsage() {
		if !slices.Contains(x.ExtKeyUsage, u) && !slices.Contains(x.ExtKeyUsage, x509.ExtKeyUsageAny) {
			missing = append(missing, u)
		}
	}
	if len(missing) == 0 {
		return
	}
	const fix = "have it issued from a template with the extended key usages of the request; public CAs do not issue clientAuth any more, a private CA does"
	say := func(c Code, detail, text string) {
		if d.Policy.EKU == EKUEnforce {
			name := string(c)
			if detail != "" {
				name += missingSeparator + detail
			}
			d.refuse(numberEKU, c, "Extended key usage is not as requested: "+name).value("missing", detail).cause(text).fix(fix, `to accept it with a warning, set eku = "warn" in [cluster]`)
			return
		}
		d.warn(c, detail, text, fix)
	}
	if !has(x.Extensions, oidExtKeyUsage) {
		say(EKUAbsent, "", "the certificate has no extended key usage")
		return
	}
	for _, u := range missing {
		say(EKUMissing, extKeyUsageName(u), "the certificate has not the extended key usage "+extKeyUsageName(u)+" that was asked for")
	}
}

// extKeyUsageName is the name of RFC 5280 4.2.1.12 for the usages of requests.
func extKeyUsageName(u x509.ExtKeyUsage) string {
	if u == x509.ExtKeyUsageIPSECEndSystem {
		return "ipsecEndSystem"
	}
	return u.String()
}

var (
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
)

func (d *judgement) wantedKeyUsage() x509.KeyUsage {
	if d.Request != nil {
		for _, e := range d.Request.Extensions {
			if e.Id.Equal(oidKeyUsage) {
				return requestKeyUsage(e.Value)
			}
		}
	}
	return d.identity.KeyUsage(purpose.CUCM, d.Policy.Profile)
}

// requestKeyUsage reads a key usage (RFC 5280 4.2.1.3), which crypto/x509 reads in certificates only.
func requestKeyUsage(der []byte) x509.KeyUsage {
	var bits asn1.BitString
	if rest, err := asn1.Unmarshal(der, &bits); err != nil || len(rest) > 0 {
		return 0
	}
	var usage int
	for i := range 9 {
		usage |= bits.At(i) << i
	}
	return x509.KeyUsage(usage)
}

func (d *judgement) wantedExtKeyUsage() []x509.ExtKeyUsage {
	if d.Request != nil {
		for _, e := range d.Request.Extensions {
			if e.Id.Equal(oidExtKeyUsage) {
				return requestExtKeyUsage(e.Value)
			}
		}
	}
	return d.identity.ExtKeyUsage(d.Policy.Profile)
}

// requestExtKeyUsage reads the extended key usages that a request of ours can ask for.
func requestExtKeyUsage(der []byte) []x509.ExtKeyUsage {
	var oids []asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(der, &oids); err != nil || len(rest) > 0 {
		return nil
	}
	var all []x509.ExtKeyUsage
	for _, u := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageIPSECEndSystem} {
		if slices.ContainsFunc(oids, func(o asn1.ObjectIdentifier) bool { return o.String() == u.OID().String() }) {
			all = append(all, u)
		}
	}
	return all
}

// twin warns of a CA-signed certificate beside a self-signed one of the other kind of key: peers choose by cipher which one they see.
func (d *judgement) twin() {
	if t := d.Context.Twin; t.Purpose != "" && t.SelfSigned {
		d.warn(TwinSelfSigned, "", fmt.Sprintf("%s is still self-signed: peers that prefer its kind of key see that one", t.Purpose),
			"have a request of "+t.Purpose+" signed as well: callsign csr create "+t.Purpose)
	}
}

// nodes warns of nodes that will use the certificate and are not named in it.
func (d *judgement) nodes(x *x509.Certificate) {
	names, has, err := certificateNames(x)
	if err != nil || d.identity.CA {
		return
	}
	for _, node := range d.Context.Names {
		if has && hasDNS(names, node) || !has && strings.EqualFold(x.Subject.CommonName, node) {
			continue
		}
		d.warn(NodeNotInSAN, node, "the certificate does not name the node "+node+", which will use it", "make a new request, which names all nodes, and have it signed")
	}
}

func has(extensions []pkix.Extension, id asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(extensions, func(e pkix.Extension) bool { return e.Id.Equal(id) })
}

// extensionName names an extension in messages.
func extensionName(id asn1.ObjectIdentifier) string {
	for name, known := range map[string]asn1.ObjectIdentifier{
		"extended key usage": oidExtKeyUsage, "subject alternative name": oidSubjectAltName, "name constraints": {2, 5, 29, 30}, "certificate policies": {2, 5, 29, 32},
	} {
		if id.Equal(known) {
			return name
		}
	}
	return id.String()
}
