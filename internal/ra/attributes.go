package ra

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"callsign/est"
)

// mostAttributes bounds the answer in bytes of DER: libEST refuses more than 1024 bytes of base64, and challengePassword may come to it.
const mostAttributes = 740

// Attributes returns the answer to csrattrs that follows from a label's rules: a DER CsrAttrs (RFC 8951 section 4), or nil when
// there is nothing to say. Errors are those of [CheckRules].
//
// Old clients read the plain elements. A demand for one kind of key is an attribute of the key's algorithm, with the curve or the
// length; several kinds are a list of OIDs; usages are an extensionRequest. Clients that know RFC 9908 read the template, which comes
// with them when the rules say something of the subject or of names: it has the attributes of SubjectHas with their values, the common
// name and the subjectAltName for the client to fill in, and what the plain elements say. The keys that are accepted by default are
// not listed.
func Attributes(r Rules) ([]byte, error) {
	c, err := compileRules(r, "")
	if err != nil {
		return nil, err
	}
	if len(r.Keys) == 0 {
		c.keys = nil
	}
	der, err := c.attributes(true)
	if err == nil && len(der) > mostAttributes {
		// The placeholder of a long RSA key is what makes it long. The key's length is left to the plain elements then.
		der, err = c.attributes(false)
	}
	return der, err
}

// attributes is the answer; placeholder tells whether the template may have a placeholder for an RSA key.
func (r *rules) attributes(placeholder bool) ([]byte, error) {
	elements, err := r.plainElements()
	if err == nil {
		var template *est.CSRTemplate
		if template, err = r.template(placeholder); err == nil && template != nil {
			var e est.CSRAttr
			e, err = est.TemplateAttr(template)
			elements = append(elements, e)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("write csrattrs: %w", err)
	}
	if len(elements) == 0 {
		return nil, nil
	}
	return (&est.CSRAttrs{Elements: elements}).Marshal()
}

// plainElements are the elements that every client understands.
func (r *rules) plainElements() ([]est.CSRAttr, error) {
	var out []est.CSRAttr
	if one := r.oneKey(); one != nil {
		e, err := est.KeyAttr(*one)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	} else {
		seen := map[string]bool{}
		for _, k := range r.keys {
			for _, oid := range k.oids() {
				if !seen[oid] {
					seen[oid] = true
					id, err := x509.ParseOID(oid)
					if err != nil {
						return nil, err
					}
					out = append(out, est.CSRAttr{Type: id})
				}
			}
		}
	}
	if len(r.usages) > 0 {
		usages, err := r.usageExtension()
		if err != nil {
			return nil, err
		}
		e, err := est.ExtensionRequestAttr([]est.ExtensionTemplate{usages})
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// oids are the algorithm of the accepted keys and the curve.
func (k *keyRule) oids() []string {
	switch k.kind {
	case kindRSA:
		return []string{"1.2.840.113549.1.1.1"}
	case kindEC:
		return []string{"1.2.840.10045.2.1", map[int]string{256: "1.2.840.10045.3.1.7", 384: "1.3.132.0.34", 521: "1.3.132.0.35"}[k.low]}
	default:
		return []string{"1.3.101.112"}
	}
}

// oneKey is the only kind of key that is accepted; nil when there are none to tell of, or several.
func (r *rules) oneKey() *est.KeySpec {
	if len(r.keys) != 1 {
		return nil
	}
	switch k := r.keys[0]; {
	case k.kind == kindEC:
		return &est.KeySpec{Algorithm: "ec", Curve: "p-" + strconv.Itoa(k.low)}
	case k.kind == kindEd25519:
		return &est.KeySpec{Algorithm: "ed25519"}
	case k.low == k.high:
		return &est.KeySpec{Algorithm: "rsa", Bits: k.low}
	default:
		return &est.KeySpec{Algorithm: "rsa"} // any length, RFC 9908 section 3.2
	}
}

// usageExtension is the extension extKeyUsage with the usages of the rules.
func (r *rules) usageExtension() (est.ExtensionTemplate, error) {
	oids := make([]asn1.ObjectIdentifier, len(r.usages))
	for i, u := range r.usages {
		oids[i] = u.oid
	}
	value, err := asn1.Marshal(oids)
	return est.ExtensionTemplate{ID: oidExtKeyUsage, Value: value}, err
}

// template is the request with what the client fills in; nil when the rules say nothing that the plain elements do not say.
func (r *rules) template(placeholder bool) (*est.CSRTemplate, error) {
	subject := r.subject != nil || r.isName || len(r.has) > 0
	names := len(r.names.globs) > 0 || len(r.names.blocks) > 0
	if !subject && !names {
		return nil, nil //nolint:nilnil // no template is a valid answer
	}
	t := &est.CSRTemplate{Key: r.oneKey()}
	if t.Key != nil && t.Key.Bits != 0 && !placeholder {
		t.Key = nil
	}
	var err error
	if subject {
		if t.Subject, err = r.nameTemplate(); err != nil {
			return nil, err
		}
	}
	if names {
		t.Extensions = append(t.Extensions, est.ExtensionTemplate{ID: oidSubjectAltName})
	}
	if len(r.usages) > 0 {
		usages, err := r.usageExtension()
		if err != nil {
			return nil, err
		}
		t.Extensions = append(t.Extensions, usages)
	}
	return t, nil
}

// nameTemplate has the common name without a value, for the client to fill in, and the demanded attributes.
func (r *rules) nameTemplate() ([][]est.NameAttribute, error) {
	var parts [][]est.NameAttribute
	add := func(oid asn1.ObjectIdentifier, value string) error {
		id, err := x509.ParseOID(oid.String())
		if err != nil {
			return err
		}
		a := est.NameAttribute{Type: id}
		if value != "" {
			var b cryptobyte.Builder
			b.AddASN1(stringTag(oid), func(b *cryptobyte.Builder) { b.AddBytes([]byte(value)) })
			if a.Value, err = b.Bytes(); err != nil {
				return err
			}
		}
		parts = append(parts, []est.NameAttribute{a})
		return nil
	}
	fixed := false
	for _, a := range r.has {
		fixed = fixed || a.oid.Equal(oidCommonName)
	}
	if !fixed && (r.subject != nil || r.isName) {
		if err := add(oidCommonName, ""); err != nil {
			return nil, err
		}
	}
	for _, a := range r.has {
		if err := add(a.oid, a.value); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// stringTag is the type of an attribute's value (RFC 5280 Appendix A.1, RFC 4519).
func stringTag(oid asn1.ObjectIdentifier) cbasn1.Tag {
	switch oid.String() {
	case "2.5.4.6", "2.5.4.5": // C, serialNumber
		return cbasn1.PrintableString
	case "0.9.2342.19200300.100.1.25", "1.2.840.113549.1.9.1": // DC, emailAddress
		return cbasn1.IA5String
	}
	return cbasn1.UTF8String
}

// printableOnly tells whether a value can stand in an attribute of its type.
func printableOnly(a attribute) bool {
	switch stringTag(a.oid) {
	case cbasn1.PrintableString:
		return !strings.ContainsFunc(a.value, func(c rune) bool {
			letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
			return !letter && !strings.ContainsRune(" '()+,-./:=?", c)
		})
	case cbasn1.IA5String:
		return !strings.ContainsFunc(a.value, func(c rune) bool { return c >= 0x80 })
	}
	return true
}
