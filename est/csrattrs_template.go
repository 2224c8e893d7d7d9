package est

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// CSRTemplate is a CertificationRequestInfoTemplate (RFC 9908 section 3.4): a request in which the client fills in what is left
// open.
type CSRTemplate struct {
	// Subject has the parts of the subject, each with one attribute or more; nil when nothing is demanded of it.
	Subject [][]NameAttribute
	// Key is the kind of key; nil when nothing is demanded of it.
	Key *KeySpec
	// Extensions are for the extensionRequest.
	Extensions []ExtensionTemplate
	// Attributes are other attributes of the request.
	Attributes []CSRAttr
}

// NameAttribute is one attribute of a name.
type NameAttribute struct {
	Type  x509.OID
	Value []byte // DER of the value; nil is for the client to supply
}

// ExtensionTemplate is an extension of a request that may lack its value.
type ExtensionTemplate struct {
	ID       asn1.ObjectIdentifier
	Critical bool
	// Value is the DER of the extension's value; nil is for the client to supply. In a subjectAltName single names can be left
	// open: an empty directoryName, an iPAddress of no octets.
	Value []byte
}

// parseTemplate reads a template with its tag.
func parseTemplate(der []byte) (*CSRTemplate, error) {
	input := cryptobyte.String(der)
	var fields cryptobyte.String
	var version int64
	if !input.ReadASN1(&fields, casn1.SEQUENCE) || !input.Empty() || !fields.ReadASN1Integer(&version) {
		return nil, badAttrs("the template is no SEQUENCE with a version")
	}
	if version != 0 {
		return nil, badAttrs("the template has version %d; only 0 exists", version)
	}
	t := new(CSRTemplate)
	if fields.PeekASN1Tag(casn1.SEQUENCE) {
		var name cryptobyte.String
		if !fields.ReadASN1(&name, casn1.SEQUENCE) || !t.readSubject(name) {
			return nil, badAttrs("the subject of the template is malformed")
		}
	}
	if zero := casn1.Tag(0).ContextSpecific().Constructed(); fields.PeekASN1Tag(zero) {
		var key cryptobyte.String
		if !fields.ReadASN1(&key, zero) {
			return nil, badAttrs("the key of the template is malformed")
		}
		var err error
		if t.Key, err = parseKeyTemplate(key); err != nil {
			return nil, err
		}
	}
	var list cryptobyte.String
	if !fields.ReadASN1(&list, casn1.Tag(1).ContextSpecific().Constructed()) || !fields.Empty() {
		return nil, badAttrs("the template lacks its attributes, or something follows them")
	}
	attributes, err := parseElements(list, false)
	if err != nil {
		return nil, err
	}
	return t, t.takeAttributes(attributes)
}

// takeAttributes tells the extensions from other attributes.
func (t *CSRTemplate) takeAttributes(attributes []CSRAttr) error {
	found := false
	for _, a := range attributes {
		kind := a.Type.String()
		if kind != oidExtensionRequest && kind != oidExtensionTemplate {
			t.Attributes = append(t.Attributes, a)
			continue
		}
		if found {
			return badAttrs("the template has two extension requests")
		}
		found = true
		if len(a.Values) != 1 {
			return badAttrs("an extension request of the template has %d values instead of one", len(a.Values))
		}
		var err error
		if t.Extensions, err = parseExtensions(a.Values[0]); err != nil {
			return err
		}
		for _, e := range t.Extensions {
			if e.Value == nil && kind == oidExtensionRequest {
				return badAttrs("the extension %s of the template has no value in an extensionRequest", e.ID)
			}
		}
	}
	return nil
}

func (t *CSRTemplate) readSubject(name cryptobyte.String) bool {
	t.Subject = [][]NameAttribute{}
	for !name.Empty() {
		var set cryptobyte.String
		if len(t.Subject) == maxCSRAttrValues || !name.ReadASN1(&set, casn1.SET) || set.Empty() {
			return false
		}
		var rdn []NameAttribute
		for !set.Empty() {
			var pair, value cryptobyte.String
			var a NameAttribute
			if len(rdn) == maxCSRAttrValues || !set.ReadASN1(&pair, casn1.SEQUENCE) || !readOID(&pair, &a.Type) {
				return false
			}
			if !pair.Empty() {
				if !pair.ReadAnyASN1Element(&value, new(casn1.Tag)) || !pair.Empty() {
					return false
				}
				a.Value = bytes.Clone(value)
			}
			rdn = append(rdn, a)
		}
		t.Subject = append(t.Subject, rdn)
	}
	return true
}

// parseExtensions reads a SEQUENCE of extensions in which values may be missing. An extension that comes twice is an error.
func parseExtensions(der []byte) ([]ExtensionTemplate, error) {
	input := cryptobyte.String(der)
	var list cryptobyte.String
	if !input.ReadASN1(&list, casn1.SEQUENCE) || !input.Empty() {
		return nil, badAttrs("an extension request holds no Extensions")
	}
	var out []ExtensionTemplate
	seen := map[string]bool{}
	for !list.Empty() {
		var fields, value cryptobyte.String
		var e ExtensionTemplate
		if len(out) == maxCSRAttrValues || !list.ReadASN1(&fields, casn1.SEQUENCE) || !fields.ReadASN1ObjectIdentifier(&e.ID) {
			return nil, badAttrs("an extension is malformed")
		}
		if fields.PeekASN1Tag(casn1.BOOLEAN) && !fields.ReadASN1Boolean(&e.Critical) {
			return nil, badAttrs("the extension %s is malformed", e.ID)
		}
		if !fields.Empty() {
			if !fields.ReadASN1(&value, casn1.OCTET_STRING) || !fields.Empty() {
				return nil, badAttrs("the extension %s is malformed", e.ID)
			}
			e.Value = append([]byte{}, value...)
		}
		if seen[e.ID.String()] {
			return nil, badAttrs("the extension %s comes twice", e.ID)
		}
		seen[e.ID.String()] = true
		out = append(out, e)
	}
	return out, nil
}

// TemplateAttr is the element with a template. Extensions all of which have values become an extensionRequest, others an
// extensionReqTemplate.
func TemplateAttr(t *CSRTemplate) (CSRAttr, error) {
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)
		if t.Subject != nil {
			addSubject(b, t.Subject)
		}
		if t.Key != nil {
			addKeyTemplate(b, *t.Key)
		}
		b.AddASN1(casn1.Tag(1).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			if len(t.Extensions) > 0 {
				addExtensionRequest(b, t.Extensions)
			}
			addElements(b, t.Attributes)
		})
	})
	der, err := b.Bytes()
	if err == nil {
		_, err = parseTemplate(der) // a template against the rules is none
	}
	if err != nil {
		return CSRAttr{}, &CSRAttrsError{Detail: "the template cannot be written", Err: err}
	}
	return CSRAttr{Type: mustOID(oidRequestTemplate), Values: [][]byte{der}}, nil
}

// ExtensionRequestAttr is the element with the extensions that a request must have (RFC 9908 section 3.2). All need a value.
func ExtensionRequestAttr(extensions []ExtensionTemplate) (CSRAttr, error) {
	var b cryptobyte.Builder
	addExtensions(&b, extensions)
	der, err := b.Bytes()
	if err == nil {
		_, err = parseExtensions(der)
	}
	if err != nil {
		return CSRAttr{}, &CSRAttrsError{Detail: "the extensions cannot be written", Err: err}
	}
	for _, e := range extensions {
		if e.Value == nil {
			return CSRAttr{}, badAttrs("the extension %s has no value", e.ID)
		}
	}
	return CSRAttr{Type: mustOID(oidExtensionRequest), Values: [][]byte{der}}, nil
}

func addSubject(b *cryptobyte.Builder, subject [][]NameAttribute) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, rdn := range subject {
			b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) {
				for _, a := range rdn {
					b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
						addOID(b, a.Type)
						b.AddBytes(a.Value)
					})
				}
			})
		}
	})
}

func addExtensionRequest(b *cryptobyte.Builder, extensions []ExtensionTemplate) {
	kind := oidExtensionRequest
	for _, e := range extensions {
		if e.Value == nil {
			kind = oidExtensionTemplate
		}
	}
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addOID(b, mustOID(kind))
		b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) { addExtensions(b, extensions) })
	})
}

func addExtensions(b *cryptobyte.Builder, extensions []ExtensionTemplate) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, e := range extensions {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(e.ID)
				if e.Critical {
					b.AddASN1Boolean(true)
				}
				if e.Value != nil {
					b.AddASN1OctetString(e.Value)
				}
			})
		}
	})
}
