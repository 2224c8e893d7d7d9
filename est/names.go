package est

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"
	"unicode/utf16"

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

// bmpString is the tag of BMPString, which cryptobyte does not name.
const bmpString = casn1.Tag(30)

// textOf is the value of a string of any type, or the value after its tag.
func textOf(tag casn1.Tag, value []byte) string {
	switch tag {
	case casn1.PrintableString, casn1.UTF8String, casn1.IA5String, casn1.T61String:
		return "s:" + string(value)
	case bmpString:
		if len(value)%2 == 0 {
			units := make([]uint16, 0, len(value)/2)
			for i := 0; i < len(value); i += 2 {
				units = append(units, uint16(value[i])<<8|uint16(value[i+1]))
			}
			return "s:" + string(utf16.Decode(units))
		}
	}
	return string(rune(tag)) + ":" + string(value)
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
				if local, host, ok := strings.Cut(text, "@"); ok {
					text = local + "@" + strings.ToLower(host)
				}
			}
			names = append(names, string(rune(tag))+":"+text)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), true
}
