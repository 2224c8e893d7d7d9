package certfile

import (
	"encoding/asn1"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The object identifiers of PKCS #12 (RFC 7292, RFC 9579) and of the key derivations in it (RFC 8018).
var (
	oidData          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidEncryptedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 6}
	oidPKCS5         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5}
	oidPBKDF2        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidPBES2         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBMAC1        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 14}
	oidPKCS12PBE     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 1}
	oidHMACSHA256    = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}

	oidKeyBag         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 1}
	oidShroudedKeyBag = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 2}
	oidCertBag        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 3}
	oidCRLBag         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 4}
	oidX509           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 22, 1} // the type of certificate in a certBag
	oidX509CRL        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 23, 1} // the type of CRL in a crlBag
)

// pfx is the structure of a PKCS #12 file, as far as it can be read without a password.
type pfx struct {
	der   []byte
	mac   bool // there is an integrity check
	parts []part

	iterations int // of all key derivations together
}

// part is a bag of a PKCS #12 file, or an encrypted safe, whose bags nobody sees before it is decrypted.
type part struct {
	bag   asn1.ObjectIdentifier // nil for an encrypted safe
	value []byte                // what the bag holds; of an encrypted safe the whole ContentInfo
}

// encrypted reports whether a key must be derived to read the part.
func (p *part) encrypted() bool { return p.bag == nil || p.bag.Equal(oidShroudedKeyBag) }

// readPFX reads the structure and counts the work that decrypting would be. Nothing is derived or decrypted yet.
func readPFX(der []byte) (*pfx, *Error) {
	f := &pfx{der: der}
	in := cryptobyte.String(der)
	var outer, info, explicit, content cryptobyte.String
	var version int
	var oid asn1.ObjectIdentifier
	if !in.ReadASN1(&outer, cbasn1.SEQUENCE) || !in.Empty() || !outer.ReadASN1Integer(&version) || version != 3 ||
		!outer.ReadASN1(&info, cbasn1.SEQUENCE) || !info.ReadASN1ObjectIdentifier(&oid) {
		return nil, badPKCS12()
	}
	if !oid.Equal(oidData) {
		return nil, convertPKCS12("the PKCS #12 file is protected with a public key, not with a password", nil)
	}
	if !info.ReadASN1(&explicit, context0) || !explicit.ReadASN1(&content, cbasn1.OCTET_STRING) || !explicit.Empty() {
		return nil, badPKCS12()
	}
	if !outer.Empty() {
		f.mac = true
		if e := f.readMAC(outer); e != nil {
			return nil, e
		}
	}
	return f, f.readSafes(content)
}

// readMAC reads the MacData (RFC 7292 section 4; with PBMAC1 RFC 9579 section 4).
func (f *pfx) readMAC(in cryptobyte.String) *Error {
	var data, digest, algorithm cryptobyte.String
	var oid asn1.ObjectIdentifier
	if !in.ReadASN1(&data, cbasn1.SEQUENCE) || !in.Empty() || !data.ReadASN1(&digest, cbasn1.SEQUENCE) ||
		!digest.ReadASN1(&algorithm, cbasn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&oid) ||
		!digest.SkipASN1(cbasn1.OCTET_STRING) || !digest.Empty() || !data.SkipASN1(cbasn1.OCTET_STRING) {
		return badPKCS12()
	}
	iterations := int64(1)
	if !data.Empty() && !data.ReadASN1Integer(&iterations) || !data.Empty() {
		return badPKCS12()
	}
	if oid.Equal(oidPBMAC1) {
		var params, kdf cryptobyte.String
		if !algorithm.ReadASN1(&params, cbasn1.SEQUENCE) || !params.ReadASN1Element(&kdf, cbasn1.SEQUENCE) {
			return badPKCS12()
		}
		return f.countPBKDF2(kdf)
	}
	return f.count(iterations)
}

// countPBKDF2 counts the rounds in an AlgorithmIdentifier of PBKDF2 (RFC 8018 appendix A.2).
func (f *pfx) countPBKDF2(in cryptobyte.String) *Error {
	var algorithm, params cryptobyte.String
	var oid asn1.ObjectIdentifier
	var iterations int64
	if !in.ReadASN1(&algorithm, cbasn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&oid) || !oid.Equal(oidPBKDF2) ||
		!algorithm.ReadASN1(&params, cbasn1.SEQUENCE) || !params.SkipASN1(cbasn1.OCTET_STRING) ||
		!params.ReadASN1Integer(&iterations) {
		return convertPKCS12("the key derivation of the PKCS #12 file is not supported", nil)
	}
	return f.count(iterations)
}

// readSafes reads the AuthenticatedSafe (RFC 7292 section 4.1).
func (f *pfx) readSafes(in cryptobyte.String) *Error {
	var safes cryptobyte.String
	if !in.ReadASN1(&safes, cbasn1.SEQUENCE) || !in.Empty() {
		return badPKCS12()
	}
	for !safes.Empty() {
		var element, info, explicit, content cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !safes.ReadASN1Element(&element, cbasn1.SEQUENCE) {
			return badPKCS12()
		}
		in := element
		if !in.ReadASN1(&info, cbasn1.SEQUENCE) || !info.ReadASN1ObjectIdentifier(&oid) || !info.ReadASN1(&explicit, context0) {
			return badPKCS12()
		}
		var e *Error
		switch {
		case oid.Equal(oidData):
			if !explicit.ReadASN1(&content, cbasn1.OCTET_STRING) || !explicit.Empty() {
				return badPKCS12()
			}
			e = f.readBags(content)
		case oid.Equal(oidEncryptedData):
			e = f.readEncrypted(explicit, element)
		default:
			e = convertPKCS12("a part of the PKCS #12 file is encrypted to a public key, not with a password", nil)
		}
		if e != nil {
			return e
		}
	}
	return nil
}

// readBags reads a SafeContents that is not encrypted (RFC 7292 section 4.2).
func (f *pfx) readBags(in cryptobyte.String) *Error {
	var bags cryptobyte.String
	if !in.ReadASN1(&bags, cbasn1.SEQUENCE) || !in.Empty() {
		return badPKCS12()
	}
	for !bags.Empty() {
		if len(f.parts) == MaxObjects {
			return tooManyObjects()
		}
		var bag, value cryptobyte.String
		var p part
		if !bags.ReadASN1(&bag, cbasn1.SEQUENCE) || !bag.ReadASN1ObjectIdentifier(&p.bag) || !bag.ReadASN1(&value, context0) {
			return badPKCS12()
		}
		p.value = value
		if p.encrypted() {
			var info, algorithm cryptobyte.String
			if !value.ReadASN1(&info, cbasn1.SEQUENCE) || !value.Empty() || !info.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) {
				return badPKCS12()
			}
			if e := f.countCipher(algorithm); e != nil {
				return e
			}
		}
		f.parts = append(f.parts, p)
	}
	return nil
}

// readEncrypted reads an EncryptedData (RFC 5652 section 8) in a ContentInfo, which becomes one part.
func (f *pfx) readEncrypted(in, contentInfo cryptobyte.String) *Error {
	var data, content, algorithm cryptobyte.String
	if !in.ReadASN1(&data, cbasn1.SEQUENCE) || !in.Empty() || !data.SkipASN1(cbasn1.INTEGER) ||
		!data.ReadASN1(&content, cbasn1.SEQUENCE) || !content.SkipASN1(cbasn1.OBJECT_IDENTIFIER) ||
		!content.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) {
		return badPKCS12()
	}
	if len(f.parts) == MaxObjects {
		return tooManyObjects()
	}
	f.parts = append(f.parts, part{value: contentInfo})
	return f.countCipher(algorithm)
}

// countCipher counts the work of an encryption with a password. Algorithms that go-pkcs12 does not know derive nothing.
func (f *pfx) countCipher(in cryptobyte.String) *Error {
	var algorithm, params, kdf cryptobyte.String
	var oid asn1.ObjectIdentifier
	if !in.ReadASN1(&algorithm, cbasn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&oid) ||
		!algorithm.ReadASN1(&params, cbasn1.SEQUENCE) {
		return badPKCS12()
	}
	switch {
	case oid.Equal(oidPBES2):
		if !params.ReadASN1Element(&kdf, cbasn1.SEQUENCE) {
			return badPKCS12()
		}
		return f.countPBKDF2(kdf)
	case within(oid, oidPKCS12PBE):
		var iterations int64
		if !params.SkipASN1(cbasn1.OCTET_STRING) || !params.ReadASN1Integer(&iterations) {
			return badPKCS12()
		}
		return f.count(iterations)
	default:
		return convertPKCS12(fmt.Sprintf("the encryption of the PKCS #12 file (%v) is not supported", oid), nil)
	}
}

// count adds the rounds of one key derivation.
func (f *pfx) count(iterations int64) *Error {
	if iterations < 1 || iterations > MaxIterations {
		return tooManyIterations(iterations)
	}
	f.iterations += int(iterations)
	return nil
}

// certificateIn returns the certificate in a certBag, or the CRL in a crlBag: both are an object identifier and an OCTET
// STRING (RFC 7292 sections 4.2.3 and 4.2.4).
func certificateIn(value []byte, want asn1.ObjectIdentifier) ([]byte, bool) {
	in := cryptobyte.String(value)
	var bag, explicit, der cryptobyte.String
	var oid asn1.ObjectIdentifier
	ok := in.ReadASN1(&bag, cbasn1.SEQUENCE) && in.Empty() && bag.ReadASN1ObjectIdentifier(&oid) && oid.Equal(want) &&
		bag.ReadASN1(&explicit, context0) && explicit.ReadASN1(&der, cbasn1.OCTET_STRING) && explicit.Empty()
	return der, ok
}
