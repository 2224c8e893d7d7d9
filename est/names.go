package est

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// SameNames tells whether a request has the names of a certificate, as RFC 7030 section 4.2.2 wants of a renewal. It leaves
// open what identical means; here subjects are equal RDN by RDN in the same order, whichever string type a CA has written
// the values in, and alternative names as sets, with DNS names and the hosts of mail addresses without regard to case (RFC
// 5280 section 7). No extension and an empty one are the same.
func SameNames(csr *x509.CertificateRequest, cert *x509.Certificate) (subject, alternative bool) {
	subject = bytes.Equal(csr.RawSubject, cert.RawSubject)
	if !subject {
		a, okA := plainName(csr.RawSubject)
		b, okB := plainName(cert.RawSubject)
		subject = okA && okB && slices.EqualFunc(a, b, slices.Equal[[]string])
	}
	a, okA := alternatives(csr.Extensions)
	b, okB := alternatives(cert.Extensions)
	return subject, okA && okB && slices.Equal(a, b)
}

// plainName reads a DER Name: for each RDN its attributes as "OID=VALUE", sorted, values as text where they are strings.
func plainName(der []byte) ([][]string, bool) {
	in := cryptobyte.String(der)
	var rdns cryptobyte.String
	if !in.ReadASN1(&rdns, casn1.SEQUENCE) || !in.Empty() {
		return nil, false
	}
	var out [][]string
	for !rdns.Empty() {
		var rdn cryptobyte.String
		if !rdns.ReadASN1(&rdn, casn1.SET) {
			return nil, false
		}
		var attributes []string
		for !rdn.Empty() {
			var pair, value cryptobyte.String
			var oid asn1.ObjectIdentifier
			var tag casn1.Tag
			if !rdn.ReadASN1(&pair, casn1.SEQUENCE) || !pair.ReadASN1ObjectIdentifier(&oid) || !pair.ReadAnyASN1(&value, &tag) || !pair.Empty() {
				return nil, false
			}
			attributes = append(attributes, oid.String()+"="+textOf(tag, value))
		}
		slices.Sort(attributes)
		out = append(out, attributes)
	}
	return out, true
}

// Tags of string types that cryptobyte does not name.
const (
	numericString = casn1.Tag(18)
	visibleString = casn1.Tag(26)
	bmpString     = casn1.Tag(30)
)

// textOf is the value of a string of any type that can be compared with others, after "s:", or the value after its tag. No two
// values that are read differently have the same text.
func textOf(tag casn1.Tag, value []byte) string {
	ascii := !slices.ContainsFunc(value, func(b byte) bool { return b >= 0x80 })
	switch {
	case tag == casn1.UTF8String && utf8.Valid(value),
		ascii && (tag == casn1.PrintableString || tag == casn1.IA5String || tag == numericString || tag == visibleString):
		return "s:" + string(value)
	case tag == casn1.T61String:
		// Whoever still writes it means Latin-1, and so do those who read it.
		text := make([]rune, len(value))
		for i, b := range value {
			text[i] = rune(b)
		}
		return "s:" + string(text)
	case tag == bmpString && len(value)%2 == 0:
		text := make([]rune, 0, len(value)/2)
		for i := 0; i < len(value); i += 2 {
			text = append(text, rune(value[i])<<8|rune(value[i+1]))
		}
		if !slices.ContainsFunc(text, utf16.IsSurrogate) {
			return "s:" + string(text)
		}
	}
	return strconv.Itoa(int(tag)) + ":" + string(value)
}

// Tags of GeneralName (RFC 5280 section 4.2.1.6).
var (
	rfc822Name = casn1.Tag(1).ContextSpecific()
	dnsName    = casn1.Tag(2).ContextSpecific()
)

// alternatives are the names of a subjectAltName, sorted and each once; none when the extension is not there.
func alternatives(extensions []pkix.Extension) ([]string, bool) {
	var names []string
	for _, e := range extensions {
		if e.Id.String() != "2.5.29.17" {
			continue
		}
		in := cryptobyte.String(e.Value)
		var list cryptobyte.String
		if !in.ReadASN1(&list, casn1.SEQUENCE) || !in.Empty() {
			return nil, false
		}
		for !list.Empty() {
			var value cryptobyte.String
			var tag casn1.Tag
			if !list.ReadAnyASN1(&value, &tag) {
				return nil, false
			}
			text := string(value)
			switch tag {
			case dnsName:
				text = strings.ToLower(text)
			case rfc822Name:
				if at := strings.LastIndexByte(text, '@'); at >= 0 { // a local part in quotes may hold another
					text = text[:at] + strings.ToLower(text[at:])
				}
			}
			names = append(names, strconv.Itoa(int(tag))+":"+text)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), true
}
