package ca

import (
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var oidChangeSubjectName = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 7, 36}

// Renamed tells whether the signed PKCS#10 asks for other names than its own, by the attribute id-cmc-changeSubjectName (RFC
// 6402 section 2.8): then Subject and Extensions have the names to certify, and CSR proves possession of the key only. An
// authority that does not know the attribute must not be sent CSR as it is: it would certify the old names.
func (r Request) Renamed() bool {
	in := cryptobyte.String(r.CSR)
	var outer, info, skipped, attributes cryptobyte.String
	if !in.ReadASN1(&outer, cbasn1.SEQUENCE) || !outer.ReadASN1(&info, cbasn1.SEQUENCE) || !info.SkipASN1(cbasn1.INTEGER) ||
		!info.ReadASN1(&skipped, cbasn1.SEQUENCE) || !info.ReadASN1(&skipped, cbasn1.SEQUENCE) ||
		!info.ReadASN1(&attributes, cbasn1.Tag(0).ContextSpecific().Constructed()) {
		return false
	}
	for !attributes.Empty() {
		var attribute cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !attributes.ReadASN1(&attribute, cbasn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&oid) {
			return false
		}
		if oid.Equal(oidChangeSubjectName) {
			return true
		}
	}
	return false
}
