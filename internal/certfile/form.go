package certfile

import (
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// oidSignedData marks a PKCS #7 bundle: RFC 5652 section 5.1.
var oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}

// looksLike reports whether der is a ContentInfo of the given type. It reads the first two fields only.
func looksLike(der []byte, oid asn1.ObjectIdentifier) bool {
	in := cryptobyte.String(der)
	var info cryptobyte.String
	var got asn1.ObjectIdentifier
	return in.ReadASN1(&info, cbasn1.SEQUENCE) && info.ReadASN1ObjectIdentifier(&got) && got.Equal(oid)
}

// looksLikePKCS12 reports whether der is a PFX: SEQUENCE { INTEGER 3, SEQUENCE { OID ... (RFC 7292 section 4).
func looksLikePKCS12(der []byte) bool {
	in := cryptobyte.String(der)
	var pfx, content cryptobyte.String
	var version int
	var oid asn1.ObjectIdentifier
	return in.ReadASN1(&pfx, cbasn1.SEQUENCE) && pfx.ReadASN1Integer(&version) && version == 3 &&
		pfx.ReadASN1(&content, cbasn1.SEQUENCE) && content.ReadASN1ObjectIdentifier(&oid)
}

// looksLikeEncryptedKey reports whether der is an EncryptedPrivateKeyInfo (RFC 5958 section 3): an algorithm of the
// PKCS #5 family and one OCTET STRING.
func looksLikeEncryptedKey(der []byte) bool {
	in := cryptobyte.String(der)
	var info, algorithm cryptobyte.String
	var oid asn1.ObjectIdentifier
	pkcs5 := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5}
	return in.ReadASN1(&info, cbasn1.SEQUENCE) && info.ReadASN1(&algorithm, cbasn1.SEQUENCE) &&
		algorithm.ReadASN1ObjectIdentifier(&oid) && len(oid) > len(pkcs5) && oid[:len(pkcs5)].Equal(pkcs5) &&
		info.PeekASN1Tag(cbasn1.OCTET_STRING)
}
