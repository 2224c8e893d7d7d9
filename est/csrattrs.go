package est

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// CSRAttrs is what a server wants to find in a request: CsrAttrs of RFC 7030 section 4.5.2 in the words of RFC 8951 section
// 4, with the template of RFC 9908. It is advice: whatever it says, the request may be refused. Elements that nobody here
// knows are kept and mean nothing. The methods may be called on nil, which says nothing, as the zero value does.
type CSRAttrs struct {
	// Elements are the elements as they came, in their order. Marshal writes them and nothing else; to change what a value
	// says, make it anew with ParseCSRAttrs.
	Elements []CSRAttr

	template   *CSRTemplate
	extensions []pkix.Extension // of the legacy form
	warnings   []string
}

// CSRAttr is one element of CSRAttrs: an object identifier, or an attribute.
type CSRAttr struct {
	Type x509.OID
	// Values are the DER of an attribute's values. nil means an object identifier alone; an empty slice that is not nil means
	// an attribute with an empty SET, which RFC 9908 section 3.2 uses for a key of any size.
	Values [][]byte
}

// IsAttribute tells an attribute from an object identifier alone.
func (a *CSRAttr) IsAttribute() bool { return a.Values != nil }

// CSRAttrsError is why a CsrAttrs cannot be read.
type CSRAttrsError struct {
	Detail string // what is wrong
	Err    error  // cause; may be nil
}

// Error implements error.
func (e *CSRAttrsError) Error() string {
	if e.Err != nil {
		return "csrattrs: " + e.Detail + ": " + e.Err.Error()
	}
	return "csrattrs: " + e.Detail
}

// Unwrap returns the cause.
func (e *CSRAttrsError) Unwrap() error { return e.Err }

// Code returns "est.csrattrs".
func (e *CSRAttrsError) Code() string { return CodeCSRAttrs }

// Remedy returns what to do.
func (e *CSRAttrsError) Remedy() string {
	return "correct the attributes that the EST server is set to send (RFC 8951 section 4, RFC 9908); a client may go on without them"
}

func badAttrs(format string, args ...any) *CSRAttrsError {
	return &CSRAttrsError{Detail: fmt.Sprintf(format, args...)}
}

// Bounds of what is read.
const (
	maxCSRAttrs      = 64 << 10 // bytes
	maxCSRAttrValues = 256      // elements, values of one, extensions, parts of a name
)

// Types of elements that mean something here, beside those of a request's attributes.
const (
	oidRequestTemplate   = "1.2.840.113549.1.9.16.2.61" // id-aa-certificationRequestInfoTemplate
	oidExtensionTemplate = "1.2.840.113549.1.9.16.2.62" // id-aa-extensionReqTemplate
)

// ParseCSRAttrs reads a DER CsrAttrs. An extensionRequest that holds no Extensions, as in the example of RFC 7030 section
// 4.5.2, is kept, warned of, and means nothing; two of them, and a template against the rules of RFC 9908 section 3.4, are
// errors. Errors are *CSRAttrsError.
func ParseCSRAttrs(der []byte) (*CSRAttrs, error) {
	if len(der) > maxCSRAttrs {
		return nil, badAttrs("%d bytes are too many; at most %d are read", len(der), maxCSRAttrs)
	}
	input := cryptobyte.String(der)
	var list cryptobyte.String
	if !input.ReadASN1(&list, casn1.SEQUENCE) || !input.Empty() {
		return nil, badAttrs("this is not one DER SEQUENCE")
	}
	elements, err := parseElements(list, true)
	if err != nil {
		return nil, err
	}
	a := &CSRAttrs{Elements: elements}
	return a, a.understand()
}

// parseElements reads elements one after the other: attributes, and object identifiers where these are allowed.
func parseElements(list cryptobyte.String, bare bool) ([]CSRAttr, error) {
	var elements []CSRAttr
	for n := 1; !list.Empty(); n++ {
		if n > maxCSRAttrValues {
			return nil, badAttrs("there are more than %d elements", maxCSRAttrValues)
		}
		var element CSRAttr
		switch {
		case bare && list.PeekASN1Tag(casn1.OBJECT_IDENTIFIER):
			if !readOID(&list, &element.Type) {
				return nil, badAttrs("element %d is a malformed object identifier", n)
			}
		case list.PeekASN1Tag(casn1.SEQUENCE):
			var attribute, values cryptobyte.String
			if !list.ReadASN1(&attribute, casn1.SEQUENCE) || !readOID(&attribute, &element.Type) ||
				!attribute.ReadASN1(&values, casn1.SET) || !attribute.Empty() {
				return nil, badAttrs("element %d is a malformed attribute", n)
			}
			element.Values = [][]byte{}
			for !values.Empty() {
				var value cryptobyte.String
				if len(element.Values) == maxCSRAttrValues || !values.ReadAnyASN1Element(&value, new(casn1.Tag)) {
					return nil, badAttrs("a value of element %d, %s, is malformed", n, element.Type)
				}
				element.Values = append(element.Values, bytes.Clone(value))
			}
		default:
			return nil, badAttrs("element %d is neither an object identifier nor an attribute", n)
		}
		elements = append(elements, element)
	}
	return elements, nil
}

// readOID reads an object identifier with arcs of any size.
func readOID(s *cryptobyte.String, oid *x509.OID) bool {
	var contents cryptobyte.String
	return s.ReadASN1(&contents, casn1.OBJECT_IDENTIFIER) && oid.UnmarshalBinary(contents) == nil
}

// understand fills in what follows from the elements.
func (a *CSRAttrs) understand() error {
	seen := map[string]int{}
	for i := range a.Elements {
		e := &a.Elements[i]
		kind := e.Type.String()
		if !e.IsAttribute() {
			continue
		}
		seen[kind]++
		switch kind {
		case oidExtensionRequest:
			if seen[kind] > 1 {
				return badAttrs("there are two extensionRequests")
			}
			if err := a.readExtensionRequest(e); err != nil {
				return err
			}
		case oidRequestTemplate:
			if seen[kind] > 1 || len(e.Values) != 1 {
				return badAttrs("there is not exactly one certificationRequestInfoTemplate")
			}
			t, err := parseTemplate(e.Values[0])
			if err != nil {
				return err
			}
			a.template = t
		}
	}
	return nil
}

// readExtensionRequest reads the legacy form of RFC 9908 section 3.2.
func (a *CSRAttrs) readExtensionRequest(e *CSRAttr) error {
	if len(e.Values) != 1 || len(e.Values[0]) == 0 || e.Values[0][0] != 0x30 {
		a.warnings = append(a.warnings, "the extensionRequest holds no Extensions (RFC 9908 section 5.2): left aside")
		return nil
	}
	templates, err := parseExtensions(e.Values[0])
	if err != nil {
		return err
	}
	for _, t := range templates {
		if t.Value == nil {
			return badAttrs("the extension %s of the extensionRequest has no value", t.ID)
		}
		a.extensions = append(a.extensions, pkix.Extension{Id: t.ID, Critical: t.Critical, Value: t.Value})
	}
	return nil
}

// Marshal returns the DER. What ParseCSRAttrs has read becomes the same bytes again.
func (a *CSRAttrs) Marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		if a != nil {
			addElements(b, a.Elements)
		}
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, &CSRAttrsError{Detail: "cannot be written", Err: err}
	}
	return der, nil
}

func addElements(b *cryptobyte.Builder, elements []CSRAttr) {
	for i := range elements {
		e := &elements[i]
		if !e.IsAttribute() {
			addOID(b, e.Type)
			continue
		}
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addOID(b, e.Type)
			b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) {
				for _, v := range e.Values {
					b.AddBytes(v)
				}
			})
		})
	}
}

func addOID(b *cryptobyte.Builder, oid x509.OID) {
	contents, err := oid.MarshalBinary()
	switch {
	case err != nil:
		b.SetError(err)
	case len(contents) == 0:
		b.SetError(badAttrs("an object identifier is empty"))
	}
	b.AddASN1(casn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(contents) })
}

// Empty tells whether nothing is said, which is the same as no answer.
func (a *CSRAttrs) Empty() bool { return a == nil || len(a.Elements) == 0 }

// Template returns the template of RFC 9908 section 3.4; nil when there is none. Who understands it uses it alone.
func (a *CSRAttrs) Template() *CSRTemplate {
	if a == nil {
		return nil
	}
	return a.template
}

// Warnings says in words what was left aside.
func (a *CSRAttrs) Warnings() []string {
	if a == nil {
		return nil
	}
	return a.warnings
}

// Names tells whether an element of this type is there: an object identifier, or an attribute, also one of the template's.
func (a *CSRAttrs) Names(oid asn1.ObjectIdentifier) bool { return a.has(oid.String()) }

func (a *CSRAttrs) has(kind string) bool {
	if a == nil {
		return false
	}
	lists := [][]CSRAttr{a.Elements}
	if a.template != nil {
		lists = append(lists, a.template.Attributes)
	}
	for _, list := range lists {
		for i := range list {
			if list[i].Type.String() == kind {
				return true
			}
		}
	}
	return false
}

// WantsLink tells whether the server wants the request linked to its TLS connection (RFC 7030 section 3.5), and whether it
// wants the link in the attribute estIdentityLinking (RFC 7894), which then stands instead of challengePassword. It counts
// beside a template as well: a client may link whatever it is told.
func (a *CSRAttrs) WantsLink() (wanted, identityLinking bool) {
	identityLinking = a.has(oidESTIdentityLinking)
	return identityLinking || a.has(oidChallengePassword), identityLinking
}

// WantsOTP tells whether the server wants a one-time password in the attribute otpChallenge (RFC 7894 section 3.2).
func (a *CSRAttrs) WantsOTP() bool { return a.has(oidOTPChallenge) }

// WantsRevocationChallenge tells whether the server wants the attribute revocationChallenge (RFC 7894 section 3.3).
func (a *CSRAttrs) WantsRevocationChallenge() bool { return a.has(oidRevocation) }

// Extensions returns what the server wants in the extensionRequest, those of the template if there is one. A nil Value is for
// the client to supply.
func (a *CSRAttrs) Extensions() []ExtensionTemplate {
	switch {
	case a == nil:
		return nil
	case a.template != nil:
		return a.template.Extensions
	}
	var out []ExtensionTemplate
	for _, e := range a.extensions {
		out = append(out, ExtensionTemplate{ID: e.Id, Critical: e.Critical, Value: e.Value})
	}
	return out
}

// Keys returns the kinds of keys that the server accepts, the template's if there is a template; none when it does not say.
// One attribute is a demand; several, and algorithms named by their object identifiers alone, are a choice.
func (a *CSRAttrs) Keys() []KeySpec {
	switch {
	case a == nil:
		return nil
	case a.template != nil && a.template.Key != nil:
		return []KeySpec{*a.template.Key}
	case a.template != nil:
		return nil
	}
	var demanded, named []KeySpec
	for i := range a.Elements {
		e := &a.Elements[i]
		if e.IsAttribute() {
			demanded = append(demanded, keyDemand(e)...)
		} else if k, ok := namedKey(e.Type.String()); ok {
			named = append(named, k)
		}
	}
	if len(demanded) > 0 {
		return demanded
	}
	return dropGeneral(named)
}

// SignatureAlgorithms returns the signature algorithms that the server names and crypto/x509 knows, in its order; none with a
// template.
func (a *CSRAttrs) SignatureAlgorithms() []x509.SignatureAlgorithm {
	if a == nil || a.template != nil {
		return nil
	}
	var out []x509.SignatureAlgorithm
	for i := range a.Elements {
		e := &a.Elements[i]
		if alg, ok := signatureAlgorithms[e.Type.String()]; ok && !e.IsAttribute() {
			out = append(out, alg)
		}
	}
	return out
}

// signatureAlgorithms are those by object identifier that a request may be signed with. Ed25519 is left out: its identifier names a
// kind of key as well, which signs in one way only. It is never modified.
var signatureAlgorithms = map[string]x509.SignatureAlgorithm{
	"1.2.840.113549.1.1.11": x509.SHA256WithRSA,
	"1.2.840.113549.1.1.12": x509.SHA384WithRSA,
	"1.2.840.113549.1.1.13": x509.SHA512WithRSA,
	"1.2.840.10045.4.3.2":   x509.ECDSAWithSHA256,
	"1.2.840.10045.4.3.3":   x509.ECDSAWithSHA384,
	"1.2.840.10045.4.3.4":   x509.ECDSAWithSHA512,
}
