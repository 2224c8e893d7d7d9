package cmc

import (
	"crypto"
	"crypto/subtle"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Form is what stands where a PKCS#10 has its signature.
type Form int

// The forms of a PKCS#10.
const (
	// Signed is a real signature by the requested key.
	Signed Form = iota + 1
	// RFC is id-alg-noSignature with the SHA-1 of the CertificationRequestInfo (RFC 5272 appendix C.1): what CAPF sends
	// to the RA.
	RFC
	// Microsoft is the null signature of MS-WCCE 2.2.2.6.5, a digest algorithm and the digest: what the RA sends to AD CS.
	Microsoft
)

// String returns "signed", "rfc" or "microsoft".
func (f Form) String() string {
	switch f {
	case Signed:
		return "signed"
	case RFC:
		return "rfc"
	case Microsoft:
		return "microsoft"
	}
	return "unknown"
}

// NullSigned returns the DER of a PKCS#10 for a key that nobody here can sign with. spki is the DER
// SubjectPublicKeyInfo; exts go into extensionRequest, a SubjectKeyIdentifier (SHA-1 of the key bits) is added when they
// have none. form is RFC or Microsoft. Errors are *Problem with CodeUnusable.
func NullSigned(spki []byte, subject pkix.Name, exts []pkix.Extension, form Form) ([]byte, error) {
	name, err := asn1.Marshal(subject.ToRDNSequence())
	if err != nil {
		return nil, unusable("the subject %s cannot be encoded", subject).because(err)
	}
	return NullSignedRaw(spki, name, exts, form)
}

// NullSignedRaw is NullSigned with the subject as a DER Name, which is kept byte for byte.
func NullSignedRaw(spki, subject []byte, exts []pkix.Extension, form Form) ([]byte, error) {
	keyID, err := SubjectKeyID(spki)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(exts, func(e pkix.Extension) bool { return e.Id.Equal(oidSubjectKeyID) }) {
		exts = append(slices.Clip(exts), pkix.Extension{Id: oidSubjectKeyID, Value: octets(keyID)})
	}
	cri, err := marshal(func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(0)
			b.AddBytes(subject)
			b.AddBytes(spki)
			b.AddASN1(context0Constructed, func(b *cryptobyte.Builder) { addExtensionRequest(b, exts) })
		})
	})
	if err != nil {
		return nil, err
	}
	csr, err := nullSign(cri, form)
	if err != nil {
		return nil, err
	}
	// The parts came as bytes from elsewhere: what does not parse here is refused before it travels.
	if _, err := x509.ParseCertificateRequest(csr); err != nil {
		return nil, unusable("subject, key and extensions make no PKCS#10").because(err)
	}
	return csr, nil
}

// addExtensionRequest adds the extensionRequest attribute (RFC 2985 section 5.4.2).
func addExtensionRequest(b *cryptobyte.Builder, exts []pkix.Extension) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidExtensionRequest)
		b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, e := range exts {
					b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(e.Id)
						if e.Critical {
							b.AddASN1Boolean(true)
						}
						b.AddASN1OctetString(e.Value)
					})
				}
			})
		})
	})
}

// nullSign puts a null form behind a CertificationRequestInfo.
func nullSign(cri []byte, form Form) ([]byte, error) {
	var alg algorithm
	var value []byte
	switch form {
	case RFC:
		alg, value = algorithm{OIDNoSignature, derNull}, sum(crypto.SHA1, cri)
	case Microsoft:
		alg, value = algorithm{oidSHA256, derNull}, sum(crypto.SHA256, cri)
	default:
		return nil, unusable("%v is no null form", form)
	}
	return marshal(func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(cri)
			addAlgorithm(b, alg)
			b.AddASN1BitString(value)
		})
	})
}

// RenullSigned changes an unsigned PKCS#10 from one null form into another. The CertificationRequestInfo keeps its bytes.
// A PKCS#10 that is really signed is refused, for it must be passed through; so is one that CheckNullSignature refuses.
func RenullSigned(csr []byte, form Form) ([]byte, error) {
	have, err := CheckNullSignature(csr)
	if err != nil {
		return nil, err
	}
	if have == Signed {
		return nil, unusable("the PKCS#10 is really signed and must stay as it is")
	}
	p, err := readP10(csr)
	if err != nil {
		return nil, err
	}
	return nullSign(p.cri, form)
}

// p10 is a PKCS#10 in its three parts.
type p10 struct {
	cri   []byte // DER
	alg   algorithm
	value []byte // of the BIT STRING
}

// form tells what stands in place of the signature.
func (p *p10) form() Form {
	switch {
	case p.alg.oid.Equal(OIDNoSignature):
		return RFC
	case hashByOID(p.alg.oid) != 0:
		return Microsoft
	}
	return Signed
}

// readP10 reads the outer structure of a PKCS#10.
func readP10(csr []byte) (*p10, error) {
	in := cryptobyte.String(csr)
	var seq, cri cryptobyte.String
	p := new(p10)
	if !in.ReadASN1(&seq, casn1.SEQUENCE) || !in.Empty() || !seq.ReadASN1Element(&cri, casn1.SEQUENCE) {
		return nil, malformed("the PKCS#10 is not well-formed")
	}
	var ok bool
	if p.alg, ok = readAlgorithm(&seq); !ok || !seq.ReadASN1BitStringAsBytes(&p.value) || !seq.Empty() {
		return nil, malformed("the signature of the PKCS#10 is not well-formed")
	}
	p.cri = cri
	return p, nil
}

// CheckNullSignature tells which form csr (DER) has and checks what stands in place of the signature: the hash of the null
// forms (SHA-1, SHA-256, SHA-384 or SHA-512; raw or wrapped in one OCTET STRING), or the real signature. The RFC form must
// have NULL parameters, Microsoft's may omit them. Errors are *Problem: CodeNullSignatureMismatch, CodePOPFailed (real
// signature wrong), CodeMalformed; the Form is valid with the first two.
func CheckNullSignature(csr []byte) (Form, error) {
	p, err := readP10(csr)
	if err != nil {
		return 0, err
	}
	form := p.form()
	mismatch := func(detail string) error { return failed(CodeNullSignatureMismatch, POPFailed, detail) }
	var hash crypto.Hash
	switch form {
	case RFC:
		if p.alg.params == nil || !p.alg.noParams() {
			return form, mismatch("the PKCS#10 without a signature lacks the NULL parameters of its algorithm")
		}
	case Microsoft:
		if !p.alg.noParams() {
			return form, mismatch("the digest algorithm in place of a signature has parameters")
		}
		hash = hashByOID(p.alg.oid)
	default:
		return Signed, checkRealSignature(csr)
	}
	value := p.value
	if inner, err := readOctets(value); err == nil {
		value = inner
	}
	if hash == 0 {
		hash = hashBySize(len(value))
	}
	if hash == 0 {
		return form, mismatch(fmt.Sprintf("%d octets in place of a signature are no hash", len(value)))
	}
	if subtle.ConstantTimeCompare(sum(hash, p.cri), value) != 1 {
		return form, mismatch("the hash in place of a signature belongs to another request")
	}
	return form, nil
}

// hashBySize returns the digest of n octets, or 0.
func hashBySize(n int) crypto.Hash {
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		if h.Size() == n {
			return h
		}
	}
	return 0
}

// checkRealSignature checks the signature of a really signed PKCS#10.
func checkRealSignature(csr []byte) error {
	r, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return malformed("the PKCS#10 is not well-formed").because(err)
	}
	if err := r.CheckSignature(); err != nil {
		return failed(CodePOPFailed, POPFailed, "the signature of the PKCS#10 is wrong").because(err)
	}
	return nil
}

// SubjectKeyID returns the key identifier of a DER SubjectPublicKeyInfo: the SHA-1 of the contents of its BIT STRING (RFC
// 5280 section 4.2.1.2, method 1), as EST and Microsoft expect it. The error is *Problem with CodeUnusable.
func SubjectKeyID(spki []byte) ([]byte, error) {
	in := cryptobyte.String(spki)
	var seq cryptobyte.String
	var key []byte
	if !in.ReadASN1(&seq, casn1.SEQUENCE) || !in.Empty() || !seq.SkipASN1(casn1.SEQUENCE) ||
		!seq.ReadASN1BitStringAsBytes(&key) || !seq.Empty() {
		return nil, unusable("the public key is no SubjectPublicKeyInfo")
	}
	return sum(crypto.SHA1, key), nil
}

// hasAttribute reports whether a CertificationRequestInfo has an attribute of type t.
func hasAttribute(cri []byte, t asn1.ObjectIdentifier) bool {
	in := cryptobyte.String(cri)
	var seq, attrs cryptobyte.String
	var present bool
	if !in.ReadASN1(&seq, casn1.SEQUENCE) || !seq.SkipASN1(casn1.INTEGER) || !seq.SkipASN1(casn1.SEQUENCE) ||
		!seq.SkipASN1(casn1.SEQUENCE) || !seq.ReadOptionalASN1(&attrs, &present, context0Constructed) {
		return false
	}
	for !attrs.Empty() {
		var a cryptobyte.String
		var have asn1.ObjectIdentifier
		if !attrs.ReadASN1(&a, casn1.SEQUENCE) || !a.ReadASN1ObjectIdentifier(&have) {
			return false
		}
		if have.Equal(t) {
			return true
		}
	}
	return false
}
