package chain

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Certificate is a certificate together with what crypto/x509 leaves out and path validation needs. It is never changed
// after it was made.
type Certificate struct {
	raw []byte
	x   *x509.Certificate // nil when it does not parse
	err *SyntaxError      // why not

	// Names in the canonical form of name.go: equal strings are equal names.
	subject, issuer string

	constraints   *constraints // nil without nameConstraints
	altRaw        []byte       // value of subjectAltName, nil without
	akiIssuer     string       // canonical directory name in authorityCertIssuer; "" for none
	akiSerial     *big.Int     // authorityCertSerialNumber; nil for none
	present       extension    // extensions that are there
	critical      extension    // of these, the critical ones
	unhandled     []string     // critical extensions that nobody here knows, as dotted OIDs
	oldExtensions bool         // has extensions although it is older than version 3; crypto/x509 passes over them
	needsPolicy   bool         // has an extension that asks for policy processing
	commonNames   []string
	unusableKind  string // key that cannot be used: "EC P-224"; "" for a good kind
}

// extension is a set of the extensions that rules look at.
type extension uint16

const (
	extSubjectKey extension = 1 << iota
	extKeyUsage
	extAltName
	extBasic
	extNameConstraints
	extPolicies
	extPolicyMappings
	extAuthorityKey
	extPolicyConstraints
	extEKU
	extInhibitAny
	extCRLPoints
)

// arcs are the extensions below 2.5.29.
var arcs = map[int]extension{
	14: extSubjectKey, 15: extKeyUsage, 17: extAltName, 19: extBasic, 30: extNameConstraints, 31: extCRLPoints, 32: extPolicies,
	33: extPolicyMappings, 35: extAuthorityKey, 36: extPolicyConstraints, 37: extEKU, 54: extInhibitAny,
}

// Parse reads a certificate in DER. It never fails: a certificate that does not parse is one whose Err says why, and
// Verify reports it as a fault. der is kept, and must not be changed.
func Parse(der []byte) *Certificate {
	x, err := x509.ParseCertificate(der)
	if err == nil {
		return Of(x)
	}
	return unparsed(der, err)
}

// Of wraps a certificate that crypto/x509 has parsed. x must not be changed.
func Of(x *x509.Certificate) *Certificate {
	c := &Certificate{raw: x.Raw, x: x}
	c.subject = canonical(x.RawSubject)
	c.issuer = c.subject
	if !bytes.Equal(x.RawSubject, x.RawIssuer) {
		c.issuer = canonical(x.RawIssuer)
	}
	for i := range x.Extensions {
		e := &x.Extensions[i]
		var kind extension
		if len(e.Id) == 4 && e.Id[0] == 2 && e.Id[1] == 5 && e.Id[2] == 29 {
			kind = arcs[e.Id[3]]
		}
		c.present |= kind
		if e.Critical {
			c.critical |= kind
			if kind == 0 {
				c.unhandled = append(c.unhandled, e.Id.String())
			}
		}
		switch kind {
		case extNameConstraints:
			c.constraints = parseConstraints(e.Value)
		case extAltName:
			c.altRaw = e.Value
		case extAuthorityKey:
			c.parseAuthorityKey(e.Value)
		case extPolicies, extPolicyMappings, extPolicyConstraints, extInhibitAny:
			c.needsPolicy = true
		}
	}
	c.oldExtensions = x.Version < 3 && hasExtensions(x.RawTBSCertificate)
	for i := range x.Subject.Names {
		a := &x.Subject.Names[i]
		if len(a.Type) == 4 && a.Type[0] == 2 && a.Type[1] == 5 && a.Type[2] == 4 && a.Type[3] == 3 {
			if s, ok := a.Value.(string); ok {
				c.commonNames = append(c.commonNames, s)
			}
		}
	}
	c.unusableKind = unusableKind(x)
	return c
}

// hasExtensions reports whether a TBSCertificate has extensions.
func hasExtensions(tbs cryptobyte.String) bool {
	var fields, field cryptobyte.String
	var tag cbasn1.Tag
	if !tbs.ReadASN1(&fields, cbasn1.SEQUENCE) {
		return false
	}
	for fields.ReadAnyASN1(&field, &tag) {
		if tag == cbasn1.Tag(3).ContextSpecific().Constructed() {
			return true
		}
	}
	return false
}

// OfAll wraps certificates, in the same order.
func OfAll(certs []*x509.Certificate) []*Certificate {
	all := make([]*Certificate, len(certs))
	for i, x := range certs {
		all[i] = Of(x)
	}
	return all
}

// ParseAll reads certificates, each in DER, in the same order.
func ParseAll(ders [][]byte) []*Certificate {
	all := make([]*Certificate, len(ders))
	for i, der := range ders {
		all[i] = Parse(der)
	}
	return all
}

// Raw returns the DER.
func (c *Certificate) Raw() []byte { return c.raw }

// X509 returns the certificate as crypto/x509 parsed it; nil when it does not parse.
func (c *Certificate) X509() *x509.Certificate { return c.x }

// Err returns why the certificate does not parse; nil when it does.
func (c *Certificate) Err() *SyntaxError { return c.err }

// SHA256 returns the fingerprint of the DER in hexadecimal.
func (c *Certificate) SHA256() string {
	sum := sha256.Sum256(c.raw)
	return hex.EncodeToString(sum[:])
}

// Subject returns the subject as text, of a long one the first part; what could be made out of a certificate that does not
// parse.
func (c *Certificate) Subject() string {
	if c.x == nil {
		return c.err.Subject
	}
	if s := nameText(c.x.RawSubject); s != "" {
		return s
	}
	if len(c.x.DNSNames) > 0 {
		return "(empty subject, for " + c.x.DNSNames[0] + ")"
	}
	return "(empty subject, serial " + SerialText(c.x.SerialNumber) + ")"
}

// Issuer returns the issuer as text, of a long one the first part; what could be made out of a certificate that does not
// parse.
func (c *Certificate) Issuer() string {
	if c.x == nil {
		return c.err.Issuer
	}
	return nameText(c.x.RawIssuer)
}

// SerialText is a serial number as this product writes them: hexadecimal octets without colons, and a sign when it is
// negative; empty for nil.
func SerialText(n *big.Int) string {
	if n == nil {
		return ""
	}
	if n.Sign() < 0 {
		return "-" + hex.EncodeToString(n.Bytes())
	}
	if n.Sign() == 0 {
		return "00"
	}
	return hex.EncodeToString(n.Bytes())
}

// keyID is a key identifier as text.
func keyID(id []byte) string {
	if len(id) == 0 {
		return "none"
	}
	return strings.ToUpper(hex.EncodeToString(id))
}

// selfIssued reports whether subject and issuer are one name (RFC 5280 3.2).
func (c *Certificate) selfIssued() bool { return c.subject == c.issuer }

// claimsSelfSigned reports whether the certificate looks signed with its own key: by its names and identifiers. Whether
// it is shows the signature only.
func (c *Certificate) claimsSelfSigned() bool { return c.selfIssued() && c.identifies(c) }

// identifies reports whether the identifiers in c's authority key identifier fit the issuer i. What is absent fits.
func (c *Certificate) identifies(i *Certificate) bool {
	return c.keyIDFits(i) && c.akiIssuerFits(i)
}

func (c *Certificate) keyIDFits(i *Certificate) bool {
	return len(c.x.AuthorityKeyId) == 0 || len(i.x.SubjectKeyId) == 0 || bytes.Equal(c.x.AuthorityKeyId, i.x.SubjectKeyId)
}

// akiIssuerFits compares the issuer and serial number in the authority key identifier: they are the issuer's own issuer
// and serial number (RFC 5280 4.2.1.1).
func (c *Certificate) akiIssuerFits(i *Certificate) bool {
	if c.akiIssuer == "" || c.akiSerial == nil {
		return true
	}
	return c.akiIssuer == i.issuer && c.akiSerial.Cmp(i.x.SerialNumber) == 0
}

// keyIDMatches reports whether both identifiers are there and equal.
func (c *Certificate) keyIDMatches(i *Certificate) bool {
	return len(c.x.AuthorityKeyId) > 0 && bytes.Equal(c.x.AuthorityKeyId, i.x.SubjectKeyId)
}

// SameSubject reports whether the subjects of c and d are one name by RFC 5280 7.1.
func (c *Certificate) SameSubject(d *Certificate) bool { return c.subject == d.subject }

// NamesIssuer reports whether c says that i issued it: by its issuer's name, and by the key identifiers as far as both have
// them. The signature is not looked at. It is false when one of them does not parse.
func (c *Certificate) NamesIssuer(i *Certificate) bool {
	return c.x != nil && i.x != nil && c.issuer == i.subject && c.identifies(i)
}

// ClaimsSelfSigned reports whether c says that it is signed with its own key, as NamesIssuer does.
func (c *Certificate) ClaimsSelfSigned() bool { return c.NamesIssuer(c) }

// SubjectKey returns NameKey of the subject.
func (c *Certificate) SubjectKey() string { return hashName(c.subject) }

// IssuerKey returns NameKey of the issuer.
func (c *Certificate) IssuerKey() string { return hashName(c.issuer) }

// equal reports whether c and d are the same certificate, octet by octet.
func (c *Certificate) equal(d *Certificate) bool { return c == d || bytes.Equal(c.raw, d.raw) }

// sameAuthority reports whether c and d speak for one name and key: a path has no use for both.
func (c *Certificate) sameAuthority(d *Certificate) bool {
	return c.subject == d.subject && bytes.Equal(c.x.RawSubjectPublicKeyInfo, d.x.RawSubjectPublicKeyInfo)
}

// markedCA reports whether basicConstraints says CA:TRUE, and keyUsage nothing else.
func (c *Certificate) markedCA() bool {
	return c.x.BasicConstraintsValid && c.x.IsCA && (c.present&extKeyUsage == 0 || c.x.KeyUsage&x509.KeyUsageCertSign != 0)
}

// parseAuthorityKey reads the parts of an authority key identifier that crypto/x509 passes over (RFC 5280 4.2.1.1).
// crypto/x509 has checked keyIdentifier already; a part that does not parse counts as absent.
func (c *Certificate) parseAuthorityKey(value []byte) {
	in := cryptobyte.String(value)
	var seq, names, serial cryptobyte.String
	var hasNames, hasSerial bool
	context := func(n uint8) cbasn1.Tag { return cbasn1.Tag(n).ContextSpecific() }
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !seq.SkipOptionalASN1(context(0)) ||
		!seq.ReadOptionalASN1(&names, &hasNames, context(1).Constructed()) || !seq.ReadOptionalASN1(&serial, &hasSerial, context(2)) {
		return
	}
	for hasNames && !names.Empty() {
		var element cryptobyte.String
		var tag cbasn1.Tag
		if !names.ReadAnyASN1(&element, &tag) {
			break
		}
		if tag == context(4).Constructed() {
			c.akiIssuer = canonical(element)
			break
		}
	}
	if hasSerial && len(serial) > 0 {
		// Two's complement, as an INTEGER's contents are.
		c.akiSerial = new(big.Int).SetBytes(serial)
		if serial[0]&0x80 != 0 {
			c.akiSerial.Sub(c.akiSerial, new(big.Int).Lsh(big.NewInt(1), uint(len(serial))*8))
		}
	}
}

// KeyText is kind and size of a key: "RSA 2048", "EC P-256", "Ed25519". algorithm names a key of another kind.
func KeyText(key crypto.PublicKey, algorithm x509.PublicKeyAlgorithm) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "EC " + k.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	case nil:
		return "of an unknown kind"
	default:
		return algorithm.String()
	}
}

// unusableKind returns the name of a key of a kind that is not accepted, "" for a good one.
func unusableKind(x *x509.Certificate) string {
	switch k := x.PublicKey.(type) {
	case *rsa.PublicKey, ed25519.PublicKey:
		return ""
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() || k.Curve == elliptic.P521() {
			return ""
		}
		return KeyText(k, x.PublicKeyAlgorithm)
	default:
		if x.PublicKeyAlgorithm == x509.UnknownPublicKeyAlgorithm {
			return "of an unknown algorithm"
		}
		return KeyText(k, x.PublicKeyAlgorithm)
	}
}

// rsaBits returns the length of an RSA modulus, 0 for another key.
func (c *Certificate) rsaBits() int {
	if k, ok := c.x.PublicKey.(*rsa.PublicKey); ok {
		return k.N.BitLen()
	}
	return 0
}
