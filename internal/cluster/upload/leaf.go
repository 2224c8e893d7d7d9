package upload

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"callsign/chain"
	"callsign/internal/cluster/purpose"
)

// mostTold is how many of one thing are told: a file may be made of thousands.
const mostTold = 5

// leaf makes the checks 7 to 16, which look at the certificate and its request.
func (d *judgement) leaf() {
	c := d.result.Leaf
	x := c.X509()
	if have := keyType(x); have != string(d.identity.Key) {
		r := d.refuse(7, KeyType, fmt.Sprintf("Key type %s does not fit certificate purpose %s, which needs %s", have, d.identity.Name, d.identity.Key))
		if twin := d.identity.Twin(); twin != "" && have == string(other(d.identity.Key)) {
			r.cause("it is a certificate of " + twin).fix("upload it as " + twin)
		}
		r.fix("have the request of " + d.identity.Name + " signed, whose key is " + string(d.identity.Key))
	}
	d.request(c)
	if selfSigned(c) {
		d.refuse(10, SelfSignedUpload, fmt.Sprintf("A self-signed certificate cannot replace %s; use Regenerate", d.identity.Name)).
			cause("the certificate was made with a tool from its own key, and no CA signed the request").
			fix("have the request signed by a CA", "for a self-signed certificate: callsign cert regen "+d.identity.Name)
	}
	d.dates(c)
	d.wildcards(c)
	if d.Request != nil {
		d.alternativeNames(x)
	}
	for _, id := range x.UnhandledCriticalExtensions[:min(mostTold, len(x.UnhandledCriticalExtensions))] {
		d.unknownCritical(numberCritical, id.String())
	}
	if weakHash(x.SignatureAlgorithm) {
		d.weakSignature(numberSignatureHash, c, x.SignatureAlgorithm.String())
	}
}

func other(k purpose.KeyType) purpose.KeyType {
	if k == purpose.RSA {
		return purpose.EC
	}
	return purpose.RSA
}

func keyType(x *x509.Certificate) string {
	switch x.PublicKeyAlgorithm {
	case x509.RSA:
		return string(purpose.RSA)
	case x509.ECDSA:
		return string(purpose.EC)
	default:
		return x.PublicKeyAlgorithm.String()
	}
}

// request makes the checks 8 and 9.
func (d *judgement) request(c *chain.Certificate) {
	hash := KeyHash(c.X509().RawSubjectPublicKeyInfo)
	if d.Request == nil {
		r := d.refuse(8, CSRMissing, fmt.Sprintf("File /usr/local/platform/.security/%[1]s/keys/%[1]s.csr does not exist", d.identity.Name)).
			value("certificate_key_sha256", hash)
		known, fix := d.whose(r, hash)
		if !known {
			r.cause("no request of "+d.identity.Name+" waits: it was never made, was deleted, or its certificate was uploaded already",
				"the certificate is for another node or purpose")
		}
		r.fix(cmp.Or(fix, "make a request and have it signed: callsign csr create "+d.identity.Name))
		return
	}
	if sameKey(c, d.Request) {
		return
	}
	r := d.refuse(9, CSRKeyMismatch, "CSR public key and Certificate public key does not match").
		value("request_key_sha256", KeyHash(d.Request.RawSubjectPublicKeyInfo)).value("certificate_key_sha256", hash)
	known, fix := d.whose(r, hash)
	if !known {
		r.cause("the request was generated again after this certificate had been asked for", "it is the certificate of another node",
			"it was signed from another request")
	}
	if fix != "" {
		r.fix(fix)
		return
	}
	r.fix("compare both keys with: callsign cert match CERTIFICATE REQUEST", "have the request that waits now signed: callsign csr get "+d.identity.Name)
}

// whose adds what is known of a key that is not that of the request, and reports whether it is known and what to do then.
func (d *judgement) whose(r *Reason, hash string) (known bool, fix string) {
	if i := slices.IndexFunc(d.Context.Retired, func(o Retired) bool { return o.KeyHash == hash }); i >= 0 {
		o := d.Context.Retired[i]
		r.cause(fmt.Sprintf("the certificate is for the request of %s, which was replaced or deleted at %s: its private key is gone", stamp(o.Created), stamp(o.Ended)))
		return true, ""
	}
	if other, ok := d.Context.Others[hash]; ok {
		r.cause("the certificate has the key of " + other.What)
		return true, other.Fix
	}
	return false, ""
}

// KeyHash is the SHA-256 of a SubjectPublicKeyInfo in DER, in lower-case hexadecimal: how keys are shown and compared.
func KeyHash(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}

func sameKey(c *chain.Certificate, r *x509.CertificateRequest) bool {
	return bytes.Equal(c.X509().RawSubjectPublicKeyInfo, r.RawSubjectPublicKeyInfo)
}

// selfSigned reports whether a certificate is signed with its own key. Where that is not checked, because of the algorithm, of an RSA
// key that crypto/rsa does not work with or of one that it would work with for minutes, its names decide.
func selfSigned(c *chain.Certificate) bool {
	x := c.X509()
	if !c.ClaimsSelfSigned() {
		return false
	}
	if weakHash(x.SignatureAlgorithm) || x.PublicKeyAlgorithm == x509.RSA && (rsaBits(x) < MinRSABits || rsaBits(x) > chain.MaxRSABits) {
		return true
	}
	return x.CheckSignature(x.SignatureAlgorithm, x.RawTBSCertificate, x.Signature) == nil
}

// dates makes the checks 11 and 12.
func (d *judgement) dates(c *chain.Certificate) {
	x := c.X509()
	if x.NotAfter.Before(d.At) {
		d.refuse(11, CertExpired, "Certificate has expired: "+stamp(x.NotAfter)).
			value("certificate", c.Subject()).value("valid_to", stamp(x.NotAfter)).value("judged_at", stamp(d.At)).
			cause("it is a former certificate", "the clock of this machine is wrong").
			fix("have a new certificate issued")
	}
	if x.NotBefore.After(d.At.Add(ahead)) {
		d.refuse(12, CertNotYetValid, "Certificate is not yet valid: "+stamp(x.NotBefore)).
			value("certificate", c.Subject()).value("valid_from", stamp(x.NotBefore)).value("judged_at", stamp(d.At)).
			cause("the clock of the CA is ahead, or that of this machine is behind", "the CA issued it for a later day").
			fix("compare both clocks, then upload it when it is valid")
	}
}

// wildcards is check 13.
func (d *judgement) wildcards(c *chain.Certificate) {
	if name := wildcard(c); name != "" {
		d.refuse(13, Wildcard, "Certificates with a wildcard entry are not supported: "+name).
			value("certificate", c.Subject()).value("name", name).
			fix("have a certificate issued that names each server; a multi-server request does: callsign csr create PURPOSE --multi-server")
	}
}

// wildcard returns the first name of a certificate that is a wildcard; empty for none.
func wildcard(c *chain.Certificate) string {
	x := c.X509()
	for _, name := range slices.Concat(commonNames(x), x.DNSNames, x.EmailAddresses, uris(x)) {
		if strings.Contains(name, "*") {
			return name
		}
	}
	return ""
}

func commonNames(x *x509.Certificate) []string {
	var all []string
	for _, a := range x.Subject.Names {
		if text, ok := a.Value.(string); ok && a.Type.String() == oidCommonName {
			all = append(all, text)
		}
	}
	return all
}

const oidCommonName = "2.5.4.3"

func uris(x *x509.Certificate) []string {
	var all []string
	for _, u := range x.URIs {
		all = append(all, u.String())
	}
	return all
}

// alternativeNames is check 14.
func (d *judgement) alternativeNames(x *x509.Certificate) {
	asked, has, err := requestNames(d.Request)
	if err != nil {
		d.refuse(14, CSRSANMismatch, "CSR SAN and Certificate SAN does not match").
			cause("the names in the request cannot be read: " + err.Error()).fix("make a new request")
		return
	}
	if !has {
		return // the CA may add what it likes
	}
	got, _, err := certificateNames(x)
	if err != nil {
		d.refuse(14, CSRSANMismatch, "CSR SAN and Certificate SAN does not match").
			cause("the names in the certificate cannot be read: " + err.Error()).fix("have the certificate issued again")
		return
	}
	missing, extra := difference(asked, got), difference(got, asked)
	if len(missing)+len(extra) == 0 {
		return
	}
	r := d.refuse(14, CSRSANMismatch, "CSR SAN and Certificate SAN does not match").
		value("only_in_request", join(missing)).value("only_in_certificate", join(extra)).
		value("common_name", x.Subject.CommonName)
	d.nameCauses(r, x, asked, missing, extra)
	r.fix("ask the CA for exactly the names of the request: no more, no fewer, of the same kinds",
		"or make a request that fits the CA: without the domain by itself (--parent-domain none), without -ms in the common name (--cn NAME), or with the names that the CA adds (--san NAME, or an alternate host name: callsign subject set --alternate-host-name NAME)")
}

// nameCauses tells the usual ways in which a CA changes names.
func (*judgement) nameCauses(r *Reason, x *x509.Certificate, asked, missing, extra []generalName) {
	for _, n := range extra {
		if len(r.Causes) >= mostTold {
			break
		}
		switch {
		case strings.HasPrefix(n.value, "www.") && slices.ContainsFunc(asked, func(a generalName) bool { return "www."+a.value == n.value }):
			r.cause("the CA added www. to a name: " + n.text())
		case strings.EqualFold(n.value, x.Subject.CommonName):
			r.cause("the CA added the common name: " + n.text())
		case n.kind == kindIP:
			r.cause("the CA added an IP address: " + n.text())
		}
		if addr, err := netip.ParseAddr(n.value); err == nil && n.kind == kindDNS && slices.ContainsFunc(missing, func(m generalName) bool { return m.kind == kindIP && m.is(addr) }) {
			r.cause("the CA wrote an IP address as a DNS name: " + n.text())
		}
	}
	switch {
	case len(missing) == len(asked) && len(extra) == 0:
		r.cause("the CA ignores the names of requests: with AD CS the template takes them from the directory, or another template was chosen")
	case len(missing) == len(asked):
		r.cause("it is the certificate of another node or purpose")
	case len(missing) > 0 && len(r.Causes) == 0:
		r.cause("the CA left names out that it does not want to certify: " + join(missing))
	}
}

func (d *judgement) unknownCritical(check int, oid string) *Reason {
	return d.refuse(check, UnknownCritical, "Unknown critical extension "+oid).value("extension", oid).
		cause("the CA's template adds an extension, and marks it as critical").
		fix("have the certificate issued from a template without it, or with it not critical")
}

func (d *judgement) weakSignature(check int, c *chain.Certificate, algorithm string) {
	d.refuse(check, WeakSignature, "Signature algorithm "+algorithm+" is not accepted").value("certificate", c.Subject()).value("issuer", c.Issuer()).
		cause("the CA still signs with " + algorithm).
		fix("let the CA sign with SHA-256, and have the certificate issued again; AD CS: certutil -setreg ca\\csp\\CNGHashAlgorithm SHA256, then restart the CA")
}

// weakHash reports whether a signature rests on MD2, MD5 or SHA-1.
func weakHash(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1:
		return true
	default:
		return false
	}
}

// capf is check 18.
func (d *judgement) capf() {
	x := d.result.Leaf.X509()
	if !d.identity.CA || isCA(d.result.Leaf) && x.KeyUsage&x509.KeyUsageCertSign != 0 {
		return
	}
	d.refuse(18, CAPFNotCA, "A CAPF certificate needs Basic Constraints CA:TRUE and Key Usage Certificate Sign").
		value("basic_constraints_ca", fmt.Sprint(isCA(d.result.Leaf))).value("key_usage", strings.Join(chain.KeyUsageNames(x.KeyUsage), ", ")).
		cause("the CA signed the request with a template for servers").
		fix("have the request signed as a subordinate CA; with AD CS by the template Subordinate Certification Authority")
}
