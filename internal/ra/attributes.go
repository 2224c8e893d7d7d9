package ra

import (
	"bytes"
	"encoding/asn1"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var (
	oidRSA     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidEC      = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidEd25519 = asn1.ObjectIdentifier{1, 3, 101, 112}
	curves     = map[int]asn1.ObjectIdentifier{256: {1, 2, 840, 10045, 3, 1, 7}, 384: {1, 3, 132, 0, 34}, 521: {1, 3, 132, 0, 35}}

	oidExtensionRequest         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
	oidRequestTemplate          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 61}
	oidExtensionRequestTemplate = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 62}
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
	elements := r.plainElements()
	if template := r.template(placeholder); template != nil {
		elements = append(elements, attributeOf(oidRequestTemplate, template))
	}
	if len(elements) == 0 {
		return nil, nil
	}
	var b cryptobyte.Builder
	sequence(&b, elements...)
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("write csrattrs: %w", err)
	}
	return der, nil
}

// piece writes an element.
type piece func(*cryptobyte.Builder)

func sequence(b *cryptobyte.Builder, pieces ...piece) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, p := range pieces {
			p(b)
		}
	})
}

func nested(pieces ...piece) piece {
	return func(b *cryptobyte.Builder) { sequence(b, pieces...) }
}

func oidOf(oid asn1.ObjectIdentifier) piece {
	return func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oid) }
}

// attributeOf is an attribute with these values.
func attributeOf(oid asn1.ObjectIdentifier, values ...piece) piece {
	return nested(oidOf(oid), func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
			for _, v := range values {
				v(b)
			}
		})
	})
}

// plainElements are the elements that every client understands.
func (r *rules) plainElements() []piece {
	var out []piece
	switch one := r.oneKey(); {
	case one == nil:
		for _, oid := range r.keyOIDs() {
			out = append(out, oidOf(oid))
		}
	case one.kind == kindEC:
		out = append(out, attributeOf(oidEC, oidOf(curves[one.low])))
	case one.kind == kindEd25519:
		out = append(out, attributeOf(oidEd25519))
	case one.low == one.high:
		out = append(out, attributeOf(oidRSA, func(b *cryptobyte.Builder) { b.AddASN1Int64(int64(one.low)) }))
	default:
		out = append(out, attributeOf(oidRSA)) // any length, RFC 9908 section 3.2
	}
	if len(r.usages) > 0 {
		out = append(out, attributeOf(oidExtensionRequest, nested(r.usageExtension())))
	}
	return out
}

// oneKey is the only kind of key that is accepted; nil when there are none to tell of, or several.
func (r *rules) oneKey() *keyRule {
	if len(r.keys) != 1 {
		return nil
	}
	return &r.keys[0]
}

// keyOIDs are the algorithms of the accepted keys, and the curves, each once.
func (r *rules) keyOIDs() []asn1.ObjectIdentifier {
	var out []asn1.ObjectIdentifier
	seen := map[string]bool{}
	add := func(oids ...asn1.ObjectIdentifier) {
		for _, oid := range oids {
			if !seen[oid.String()] {
				seen[oid.String()] = true
				out = append(out, oid)
			}
		}
	}
	for _, k := range r.keys {
		switch k.kind {
		case kindRSA:
			add(oidRSA)
		case kindEC:
			add(oidEC, curves[k.low])
		default:
			add(oidEd25519)
		}
	}
	return out
}

// usageExtension is the extension extKeyUsage with the usages of the rules.
func (r *rules) usageExtension() piece {
	return nested(oidOf(oidExtKeyUsage), func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.OCTET_STRING, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, u := range r.usages {
					b.AddASN1ObjectIdentifier(u.oid)
				}
			})
		})
	})
}

// template is the CertificationRequestInfoTemplate (RFC 9908 section 3.4), whose module has IMPLICIT tags; nil when the rules say
// nothing that the plain elements do not say.
func (r *rules) template(placeholder bool) piece {
	subject := r.subject != nil || r.isName || len(r.has) > 0
	names := len(r.names.globs) > 0 || len(r.names.blocks) > 0
	if !subject && !names {
		return nil
	}
	return nested(
		func(b *cryptobyte.Builder) { b.AddASN1Int64(0) },
		func(b *cryptobyte.Builder) {
			if subject {
				r.nameTemplate(b)
			}
		},
		func(b *cryptobyte.Builder) { r.keyTemplate(b, placeholder) },
		func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.Tag(1).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
				if extensions := r.extensionTemplates(names); extensions != nil {
					extensions(b)
				}
			})
		},
	)
}

// nameTemplate has the common name without a value, for the client to fill in, and the demanded attributes.
func (r *rules) nameTemplate(b *cryptobyte.Builder) {
	part := func(oid asn1.ObjectIdentifier, value string) piece {
		return func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
				sequence(b, oidOf(oid), func(b *cryptobyte.Builder) {
					if value != "" {
						b.AddASN1(stringTag(oid), func(b *cryptobyte.Builder) { b.AddBytes([]byte(value)) })
					}
				})
			})
		}
	}
	var parts []piece
	fixed := false
	for _, a := range r.has {
		fixed = fixed || a.oid.Equal(oidCommonName)
		parts = append(parts, part(a.oid, a.value))
	}
	if !fixed && (r.subject != nil || r.isName) {
		parts = append([]piece{part(oidCommonName, "")}, parts...)
	}
	sequence(b, parts...)
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

// keyTemplate is the SubjectPublicKeyInfoTemplate of the one kind of key that is accepted; nothing when there are several.
func (r *rules) keyTemplate(b *cryptobyte.Builder, placeholder bool) {
	one := r.oneKey()
	exact := one != nil && one.kind == kindRSA && one.low == one.high
	if one == nil || exact && !placeholder {
		return
	}
	b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
		switch one.kind {
		case kindEC:
			sequence(b, oidOf(oidEC), oidOf(curves[one.low]))
		case kindEd25519:
			sequence(b, oidOf(oidEd25519))
		default:
			sequence(b, oidOf(oidRSA), func(b *cryptobyte.Builder) { b.AddASN1NULL() })
			if exact {
				b.AddASN1BitString(placeholderRSA(one.low))
			}
		}
	})
}

// placeholderRSA is an RSAPublicKey that is no key and says how long the modulus is to be.
func placeholderRSA(bits int) []byte {
	modulus := append([]byte{0}, bytes.Repeat([]byte{0xff}, (bits+7)/8)...)
	modulus[1] = 0xff >> ((8 - bits%8) % 8)
	if modulus[1] < 0x80 {
		modulus = modulus[1:]
	}
	var b cryptobyte.Builder
	sequence(&b,
		func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(modulus) })
		},
		func(b *cryptobyte.Builder) { b.AddASN1Int64(65537) },
	)
	return b.BytesOrPanic()
}

// extensionTemplates are the wanted extensions. With a subjectAltName, which has no value because the client fills it in, all
// of them are templates; otherwise they are complete. Never both (RFC 9908 section 3.4).
func (r *rules) extensionTemplates(names bool) piece {
	switch {
	case names && len(r.usages) > 0:
		return attributeOf(oidExtensionRequestTemplate, nested(nested(oidOf(oidSubjectAltName)), r.usageExtension()))
	case names:
		return attributeOf(oidExtensionRequestTemplate, nested(nested(oidOf(oidSubjectAltName))))
	case len(r.usages) > 0:
		return attributeOf(oidExtensionRequest, nested(r.usageExtension()))
	}
	return nil
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
