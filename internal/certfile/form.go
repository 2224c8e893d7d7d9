package certfile

import (
	"bytes"
	"encoding/asn1"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// sequence is the identifier octet of a SEQUENCE, with which everything read here begins.
const sequence = 0x30

var context0 = cbasn1.Tag(0).ContextSpecific().Constructed()

// stream adds the objects of a file that is not PEM: one or several DER structures, or one PKCS #7 in BER.
func (p *parser) stream(data []byte) {
	rest := cryptobyte.String(data)
	for !p.full && !rest.Empty() {
		first := len(rest) == len(data)
		size := len(rest)
		var element cryptobyte.String
		isDER := rest.ReadASN1Element(&element, cbasn1.SEQUENCE)
		switch {
		case isDER && p.structure(element):
			continue
		case !first:
			p.fail(place{}, damaged(fmt.Sprintf("%d bytes follow the last object", size), nil))
		case isDER:
			p.fail(place{}, damaged("is DER, but no certificate, request, revocation list, key or bundle of them", nil))
		case isContentInfo(data):
			p.pkcs7(place{}, data)
		case isPFX(data):
			p.contents.PKCS12 = true
			p.fail(place{}, convertPKCS12("is a PKCS #12 file in BER, or cut off", nil))
		case data[0] == sequence:
			p.fail(place{}, damaged("is DER, but cut off or damaged", nil))
		default:
			p.fail(place{}, damaged("is neither PEM nor DER nor base64 of DER", nil))
		}
		return
	}
}

// structure adds what a DER structure holds and reports whether it is known. The structures have no tag that tells them
// apart, so the first fields decide, and for keys the attempt.
func (p *parser) structure(der []byte) bool {
	switch kind := kindOf(der); {
	case kind != 0:
		p.take(place{}, kind, der)
	case isContentInfo(der):
		p.pkcs7(place{}, der)
	case isPFX(der):
		p.pkcs12(der)
	case isEncryptedKey(der):
		p.encryptedKey(place{})
	case p.options.CertificatesOnly && isKey(der):
		p.addKey(place{}, nil, nil)
	case len(der) > MaxKeyBytes:
		return false
	default:
		key, problem := parseKey(der)
		if problem != nil && problem.ErrCode == CodeDamaged {
			return false
		}
		p.addKey(place{}, key, problem)
	}
	return true
}

// isKey reports whether der has the outer structure of a private key of any kind, known or not: a PrivateKeyInfo (RFC 5208 section
// 5) or an ECPrivateKey (RFC 5915 section 3).
func isKey(der []byte) bool {
	in := cryptobyte.String(der)
	var fields cryptobyte.String
	return in.ReadASN1(&fields, cbasn1.SEQUENCE) && in.Empty() && fields.SkipASN1(cbasn1.INTEGER) &&
		fields.SkipOptionalASN1(cbasn1.SEQUENCE) && fields.SkipASN1(cbasn1.OCTET_STRING)
}

// isSigned reports whether der has the outer structure that certificates, requests and revocation lists share: a
// SEQUENCE of what is signed, an algorithm and a signature, and nothing after it.
func isSigned(der []byte) bool {
	_, ok := signed(der)
	return ok
}

// signed returns the fields of what is signed.
func signed(der []byte) (cryptobyte.String, bool) {
	in := cryptobyte.String(der)
	var outer, fields cryptobyte.String
	ok := in.ReadASN1(&outer, cbasn1.SEQUENCE) && in.Empty() && outer.ReadASN1(&fields, cbasn1.SEQUENCE) &&
		outer.SkipASN1(cbasn1.SEQUENCE) && outer.SkipASN1(cbasn1.BIT_STRING) && outer.Empty()
	return fields, ok
}

// kindOf tells certificates (RFC 5280 section 4.1), requests (RFC 2986 section 4) and revocation lists (RFC 5280 section
// 5.1) apart by their first fields, whatever is in these. It returns 0 for anything else.
func kindOf(der []byte) Kind {
	fields, ok := signed(der)
	if !ok {
		return 0
	}
	if fields.PeekASN1Tag(context0) {
		return Certificate // its version; the others have theirs without a tag
	}
	// INTEGER: the serial number of a version 1 certificate, or the version of the others.
	if !fields.SkipOptionalASN1(cbasn1.INTEGER) || !fields.SkipASN1(cbasn1.SEQUENCE) || !fields.SkipASN1(cbasn1.SEQUENCE) {
		return 0
	}
	switch {
	case fields.PeekASN1Tag(cbasn1.UTCTime), fields.PeekASN1Tag(cbasn1.GeneralizedTime):
		return RevocationList // algorithm, issuer, thisUpdate
	case fields.PeekASN1Tag(context0), fields.Empty():
		return Request // subject, key, attributes
	case fields.PeekASN1Tag(cbasn1.SEQUENCE):
		return Certificate // algorithm, issuer, validity
	default:
		return 0
	}
}

// contents returns what stands behind the header of the SEQUENCE with which data begins, in DER or BER, up to the end of
// data.
func contents(data []byte) []byte {
	if len(data) < 2 || data[0] != sequence {
		return nil
	}
	header := 2
	if data[1] > 0x80 {
		header += int(data[1] & 0x7F)
	}
	return data[min(header, len(data)):]
}

// pkcs7Types is the DER of the arc of content types of PKCS #7, pkcs-7 of RFC 2315, less its length octet.
var pkcs7Types = []byte{0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07}

// isContentInfo reports whether data begins like PKCS #7 in DER or BER (RFC 5652 section 3), whatever the type.
func isContentInfo(data []byte) bool {
	c := contents(data)
	return len(c) > 2 && c[0] == byte(cbasn1.OBJECT_IDENTIFIER) && bytes.HasPrefix(c[2:], pkcs7Types)
}

// isPFX reports whether data begins like PKCS #12 in DER or BER (RFC 7292 section 4): version 3 and a ContentInfo.
func isPFX(data []byte) bool {
	c, ok := bytes.CutPrefix(contents(data), []byte{byte(cbasn1.INTEGER), 1, 3})
	return ok && isContentInfo(c)
}

// isEncryptedKey reports whether der is an EncryptedPrivateKeyInfo (RFC 5958 section 3): an algorithm of the PKCS #5
// family or of PKCS #12, and one OCTET STRING.
func isEncryptedKey(der []byte) bool {
	in := cryptobyte.String(der)
	var info, algorithm cryptobyte.String
	var oid asn1.ObjectIdentifier
	return in.ReadASN1(&info, cbasn1.SEQUENCE) && info.ReadASN1(&algorithm, cbasn1.SEQUENCE) &&
		algorithm.ReadASN1ObjectIdentifier(&oid) && (within(oid, oidPKCS5) || within(oid, oidPKCS12PBE)) &&
		info.SkipASN1(cbasn1.OCTET_STRING) && info.Empty()
}

// within reports whether oid is below arc.
func within(oid, arc asn1.ObjectIdentifier) bool {
	return len(oid) > len(arc) && oid[:len(arc)].Equal(arc)
}
