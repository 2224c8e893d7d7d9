package chain

import (
	"cmp"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// SyntaxError says why a certificate does not parse, with what could be made out of it all the same.
type SyntaxError struct {
	Rule    Rule   // the rule that is broken, as far as it can be told
	Subject string // text; "(unreadable)" when not even that can be read
	Issuer  string
	Serial  string // hexadecimal, with a sign when negative; empty when unreadable
	Err     error  // what crypto/x509 said
}

// Error implements error.
func (e *SyntaxError) Error() string { return strings.TrimPrefix(e.Err.Error(), "x509: ") }

// Unwrap returns what crypto/x509 said.
func (e *SyntaxError) Unwrap() error { return e.Err }

// syntaxRules tells the rule by the words of crypto/x509, which has no types for these. A test holds the words.
var syntaxRules = []struct {
	words string
	rule  Rule
}{
	{"negative serial number", ruleSerialSyntax},
	{"signature algorithm identifiers don't match", ruleAlgorithmMatch},
	{"unsupported elliptic curve", ruleKeyType},
	{"authority key identifier incorrectly marked critical", ruleAuthorityKey},
	{"subject key identifier incorrectly marked critical", ruleSubjectKey},
}

const unreadable = "(unreadable)"

// unparsed keeps a certificate that crypto/x509 refused.
func unparsed(der []byte, err error) *Certificate {
	e := &SyntaxError{Rule: ruleSyntax, Subject: unreadable, Issuer: unreadable, Err: err}
	for _, s := range syntaxRules {
		if strings.Contains(err.Error(), s.words) {
			e.Rule = s.rule
			break
		}
	}
	c := &Certificate{raw: der, err: e}
	c.peek(der)
	return c
}

// peek reads names and serial number out of a certificate that is otherwise unreadable: RFC 5280 4.1.
func (c *Certificate) peek(der []byte) {
	in := cryptobyte.String(der)
	var certificate, tbs, skipped, issuer, subject cryptobyte.String
	serial := new(big.Int)
	if !in.ReadASN1(&certificate, cbasn1.SEQUENCE) || !certificate.ReadASN1(&tbs, cbasn1.SEQUENCE) ||
		!tbs.SkipOptionalASN1(cbasn1.Tag(0).ContextSpecific().Constructed()) || !tbs.ReadASN1Integer(serial) {
		return
	}
	c.err.Serial = SerialText(serial)
	if !tbs.ReadASN1(&skipped, cbasn1.SEQUENCE) || !tbs.ReadASN1Element(&issuer, cbasn1.SEQUENCE) {
		return
	}
	c.issuer, c.err.Issuer = canonical(issuer), cmp.Or(nameText(issuer), "(empty)")
	if !tbs.ReadASN1(&skipped, cbasn1.SEQUENCE) || !tbs.ReadASN1Element(&subject, cbasn1.SEQUENCE) {
		return
	}
	c.subject, c.err.Subject = canonical(subject), cmp.Or(nameText(subject), "(empty)")
}

// NameText is a distinguished name in DER as text, as of Certificate.Subject; "" for an empty one, "(unreadable)" for what is none.
func NameText(der []byte) string { return nameText(der) }

// nameText is a distinguished name in DER as text: RFC 4514, "" for an empty one. Of a name with many or long
// parts only some are written: making the text of all of them takes the square of their number.
func nameText(der []byte) string {
	const (
		usual   = 1024 // octets of a name that is written whole
		mostRDN = 16
	)
	in := cryptobyte.String(der)
	var name cryptobyte.String
	if !in.ReadASN1(&name, cbasn1.SEQUENCE) || !in.Empty() {
		return unreadable
	}
	var seq pkix.RDNSequence
	left := 0
	for !name.Empty() {
		var set cryptobyte.String
		if !name.ReadASN1(&set, cbasn1.SET) {
			return unreadable
		}
		if len(der) > usual && len(seq) == mostRDN {
			left++
			continue
		}
		rdn, more, ok := attributes(set, len(der) > usual)
		if !ok {
			return unreadable
		}
		left += more
		seq = append(seq, rdn)
	}
	text := short(namedAttributes(seq))
	if left > 0 {
		return text + fmt.Sprintf(" and %d more", left)
	}
	return text
}

// attributeNames are the short names of RFC 4514 section 3 that pkix does not know, and that of PKCS #9.
var attributeNames = map[string]string{
	"0.9.2342.19200300.100.1.25": "DC",
	"0.9.2342.19200300.100.1.1":  "UID",
	"1.2.840.113549.1.9.1":       "emailAddress",
}

// namedAttributes is a name in the form of RFC 4514, the last part first. pkix writes attributes that it does not know as
// object identifiers with hexadecimal values, which nobody can read, and Active Directory's names are made of them.
func namedAttributes(seq pkix.RDNSequence) string {
	parts := make([]string, 0, len(seq))
	for _, set := range slices.Backward(seq) {
		var attributes []string
		for _, a := range set {
			name, known := attributeNames[a.Type.String()]
			_, isText := a.Value.(string)
			if known = known && isText; known {
				a.Type = asn1.ObjectIdentifier{2, 5, 4, 3} // pkix escapes the values of those that it knows
			}
			text := pkix.RDNSequence{{a}}.String()
			if known {
				text = name + strings.TrimPrefix(text, "CN")
			}
			attributes = append(attributes, text)
		}
		parts = append(parts, strings.Join(attributes, "+"))
	}
	return strings.Join(parts, ",")
}

// attributes reads a RelativeDistinguishedName; of a long name only the first few, with how many are left.
func attributes(set cryptobyte.String, few bool) (rdn pkix.RelativeDistinguishedNameSET, left int, ok bool) {
	const most = 4
	for !set.Empty() {
		var element cryptobyte.String
		if !set.ReadASN1Element(&element, cbasn1.SEQUENCE) {
			return nil, 0, false
		}
		if few && len(rdn) == most {
			left++
			continue
		}
		var a pkix.AttributeTypeAndValue
		if rest, err := asn1.Unmarshal(element, &a); err != nil || len(rest) > 0 {
			return nil, 0, false
		}
		if s, isText := a.Value.(string); isText {
			a.Value = short(s)
		}
		rdn = append(rdn, a)
	}
	return rdn, left, true
}
