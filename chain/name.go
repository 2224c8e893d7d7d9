package chain

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// rdn is one relative distinguished name in canonical form.
type rdn string

// canonical turns a distinguished name in DER into a form in which equal names are equal strings: RFC 5280 7.1. Values
// that are PrintableString or UTF8String are compared without regard to case, string type, and leading, trailing or
// repeated blanks; domainComponent, an IA5String, without regard to case (7.3); everything else octet by octet. The
// order of RDNs matters, that of attributes within one does not. What does not parse is compared as it is.
func canonical(der []byte) string {
	parts, ok := canonicalRDNs(der)
	if !ok {
		return "\xff" + string(der)
	}
	out := make([]byte, 0, len(der))
	for _, p := range parts {
		// The length keeps one RDN from looking like two.
		out = binary.AppendUvarint(out, uint64(len(p)))
		out = append(out, p...)
	}
	return string(out)
}

// NameKey returns a text of fixed length that is equal for names in DER that are equal by RFC 5280 7.1, for indexes of
// certificates by name. What does not parse as a name is compared octet by octet.
func NameKey(der []byte) string { return hashName(canonical(der)) }

func hashName(canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	return hex.EncodeToString(sum[:])
}

// canonicalRDNs returns the RDNs of a name, each canonical. Name constraints compare their beginnings.
func canonicalRDNs(der []byte) ([]rdn, bool) {
	in := cryptobyte.String(der)
	var name cryptobyte.String
	if !in.ReadASN1(&name, cbasn1.SEQUENCE) || !in.Empty() {
		return nil, false
	}
	parts := make([]rdn, 0, 6)
	for !name.Empty() {
		var set cryptobyte.String
		if !name.ReadASN1(&set, cbasn1.SET) {
			return nil, false
		}
		first, ok := canonicalAttribute(&set)
		if !ok {
			return nil, false
		}
		if set.Empty() { // nearly always
			parts = append(parts, rdn(first))
			continue
		}
		attributes := []string{string(first)}
		for !set.Empty() {
			a, ok := canonicalAttribute(&set)
			if !ok {
				return nil, false
			}
			attributes = append(attributes, string(a))
		}
		slices.Sort(attributes)
		var joined []byte
		for _, a := range attributes {
			joined = binary.AppendUvarint(joined, uint64(len(a)))
			joined = append(joined, a...)
		}
		parts = append(parts, rdn(joined))
	}
	return parts, true
}

// oidDomainComponent is 0.9.2342.19200300.100.1.25 in DER, without its header.
const oidDomainComponent = "\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19"

// canonicalAttribute reads one AttributeTypeAndValue.
func canonicalAttribute(set *cryptobyte.String) ([]byte, bool) {
	var attribute, oid, value cryptobyte.String
	var tag cbasn1.Tag
	if !set.ReadASN1(&attribute, cbasn1.SEQUENCE) || !attribute.ReadASN1(&oid, cbasn1.OBJECT_IDENTIFIER) ||
		!attribute.ReadAnyASN1(&value, &tag) || !attribute.Empty() {
		return nil, false
	}
	out := make([]byte, 0, len(oid)+len(value)+4)
	out = binary.AppendUvarint(out, uint64(len(oid)))
	out = append(out, oid...)
	foldable := tag == cbasn1.PrintableString || tag == cbasn1.UTF8String ||
		tag == cbasn1.IA5String && string(oid) == oidDomainComponent
	if !foldable || !utf8.Valid(value) {
		out = append(out, 1, byte(tag))
		return append(out, value...), true
	}
	out = append(out, 0) // no tag: the string types are alike
	return appendFolded(out, value), true
}

// appendFolded appends text in lower case with single blanks between words and none around.
func appendFolded(out, text []byte) []byte {
	ascii := true
	for _, b := range text {
		if b >= utf8.RuneSelf {
			ascii = false
			break
		}
	}
	if !ascii {
		text = []byte(strings.ToLower(string(text)))
	}
	start := len(out)
	blank := false
	for _, b := range text {
		if b == ' ' {
			blank = len(out) > start
			continue
		}
		if blank {
			out = append(out, ' ')
			blank = false
		}
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		out = append(out, b)
	}
	return out
}
