package est

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net/http"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// CSRPolicy is what a PKCS#10 must satisfy beyond its form. The zero value refuses SHA-1, RSA keys outside 2048 to 8192
// bits, curves other than P-256, P-384 and P-521, and an empty subject; it allows Ed25519.
type CSRPolicy struct {
	MinRSABits        int  // smallest RSA modulus in bits; 0 for 2048
	AllowSHA1         bool // accept a request signed with SHA-1
	AllowEmptySubject bool // accept an empty subject; the Backend fills the name
	// Check, if not nil, judges a request that passed everything else. A *Error is sent as it is.
	Check func(csr *x509.CertificateRequest) error
}

// Default bounds of RSA keys. The upper one keeps a hostile key from costing much time to verify.
const (
	defaultMinRSABits = 2048
	maxRSABits        = 8192
)

// parsedCSR is a PKCS#10 that passed all checks.
type parsedCSR struct {
	*x509.CertificateRequest
	csrForm
}

// CheckCSR reads a DER PKCS#10 request, verifies its form strictly and its signature, which proves possession of the
// key (RFC 7030 section 3.4), and applies the policy. Errors are *Error with status 400. Extensions under Microsoft's
// attribute (1.3.6.1.4.1.311.2.1.14) show up in the result like those under PKCS #9's.
func (p CSRPolicy) CheckCSR(der []byte) (*x509.CertificateRequest, error) {
	c, err := p.check(der)
	if err != nil {
		return nil, err
	}
	return c.CertificateRequest, nil
}

func (p CSRPolicy) check(der []byte) (parsedCSR, error) {
	csr, err := p.checkForm(der, true)
	if err != nil {
		return parsedCSR{}, err
	}
	switch csr.SignatureAlgorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA:
		return parsedCSR{}, weakDigest("MD5")
	case x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1:
		if !p.AllowSHA1 {
			return parsedCSR{}, weakDigest("SHA-1")
		}
	default: // CheckSignature knows the rest
	}
	if err := csr.CheckSignature(); err != nil {
		return parsedCSR{}, refuseCSR(CodeCSRBadSignature,
			"The signature of the certificate request does not verify with the key inside: no proof of possession.", err)
	}
	return csr, p.checkContents(csr)
}

// checkForm reads a request and judges its form and key. signed tells whether it must have a signature, which is not
// verified here.
func (p CSRPolicy) checkForm(der []byte, signed bool) (parsedCSR, error) {
	form, err := scanCSR(der, signed)
	if err != nil {
		return parsedCSR{}, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return parsedCSR{}, refuseCSR(CodeCSRMalformed, "The certificate request cannot be parsed.", err)
	}
	if form.microsoft {
		if err := adoptMicrosoftExtensions(csr, form); err != nil {
			return parsedCSR{}, err
		}
	}
	return parsedCSR{CertificateRequest: csr, csrForm: form}, p.checkKey(csr)
}

// checkContents judges what a request asks for.
func (p CSRPolicy) checkContents(csr parsedCSR) error {
	if !p.AllowEmptySubject && len(csr.RawSubject) == 2 {
		return refuseCSR(CodeCSRNoSubject, "The certificate request has an empty subject.", nil)
	}
	if p.Check != nil {
		if err := p.Check(csr.CertificateRequest); err != nil {
			return asRefusal(err, http.StatusBadRequest, CodeCSRMalformed, "The certificate request is refused by policy.")
		}
	}
	return nil
}

// checkKey judges the public key.
func (p CSRPolicy) checkKey(csr *x509.CertificateRequest) error {
	switch key := csr.PublicKey.(type) {
	case *rsa.PublicKey:
		least := p.MinRSABits
		if least == 0 {
			least = defaultMinRSABits
		}
		bits := key.N.BitLen()
		switch {
		case bits < least:
			return refuseCSR(CodeCSRKeyTooShort,
				fmt.Sprintf("The certificate request has an RSA key of %d bits; at least %d are required.", bits, least), nil)
		case bits > maxRSABits:
			return refuseCSR(CodeCSRKeyType,
				fmt.Sprintf("The certificate request has an RSA key of %d bits; at most %d are accepted.", bits, maxRSABits), nil)
		case key.E < 3 || key.E%2 == 0:
			return refuseCSR(CodeCSRKeyType, "The certificate request has an RSA key with an unusable public exponent.", nil)
		}
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
		default:
			return refuseCSR(CodeCSRKeyType, fmt.Sprintf("The certificate request has a key on curve %s; P-256, P-384 and P-521 are accepted.",
				key.Curve.Params().Name), nil)
		}
	case ed25519.PublicKey:
	default:
		return refuseCSR(CodeCSRKeyType, "The certificate request has a key of a kind that is not accepted.", nil)
	}
	return nil
}

// csrForm is what scanCSR learned about the attributes.
type csrForm struct {
	microsoft  bool   // extensions are under Microsoft's attribute only
	requested  []byte // value of that attribute: DER Extensions
	change     *ChangeSubject
	challenge  *string             // challengePassword; nil when there is none
	linking    *string             // estIdentityLinking; nil when there is none
	encryption map[string][][]byte // attributes about the encryption of a made key, by type: the contents of each SET
}

// link is the value by which the request is linked to a connection.
func (f *csrForm) link() (value string, present bool) {
	switch {
	case f.linking != nil:
		return *f.linking, true
	case f.challenge != nil:
		return *f.challenge, true
	}
	return "", false
}

// Attribute types that a request may have once and with one value only.
const (
	oidExtensionRequest   = "1.2.840.113549.1.9.14"
	oidMicrosoftExtension = "1.3.6.1.4.1.311.2.1.14"
	oidChallengePassword  = "1.2.840.113549.1.9.7"
	oidOTPChallenge       = "1.2.840.113549.1.9.16.2.56"
	oidRevocation         = "1.2.840.113549.1.9.16.2.57"
	oidESTIdentityLinking = "1.2.840.113549.1.9.16.2.58"
	oidSMIMECapabilities  = "1.2.840.113549.1.9.15"
	oidDecryptKeyID       = "1.2.840.113549.1.9.16.2.37"
	oidAsymmDecryptKeyID  = "1.2.840.113549.1.9.16.2.54"
	oidChangeSubjectName  = "1.3.6.1.5.5.7.7.36"
)

// maxAttributes bounds the attributes of a request; real ones have fewer than ten.
const maxAttributes = 64

// scanCSR checks what crypto/x509 does not: that nothing follows, version, that the attributes field is there, and that
// attributes which must be single are. It also tells a request without signature, and a certificate, from a bad one.
func scanCSR(der []byte, signed bool) (csrForm, error) {
	malformed := func(text string) (csrForm, error) { return csrForm{}, refuseCSR(CodeCSRMalformed, text, nil) }
	input := cryptobyte.String(der)
	var outer, info, algorithm cryptobyte.String
	var signature asn1.BitString
	if !input.ReadASN1(&outer, casn1.SEQUENCE) || !input.Empty() {
		return malformed("The body is not one DER certificate request, or something follows it.")
	}
	if !outer.ReadASN1(&info, casn1.SEQUENCE) || !outer.ReadASN1(&algorithm, casn1.SEQUENCE) ||
		!outer.ReadASN1BitString(&signature) || !outer.Empty() {
		return malformed("The body is not a PKCS#10 certificate request.")
	}
	if info.PeekASN1Tag(casn1.Tag(0).ContextSpecific().Constructed()) {
		if _, err := x509.ParseCertificate(der); err == nil {
			return malformed("The body is a certificate, not a certificate request.")
		}
	}
	var version int64
	if !info.ReadASN1Integer(&version) {
		return malformed("The certificate request has no version.")
	}
	if version != 0 {
		return csrForm{}, refuseCSR(CodeCSRVersion, fmt.Sprintf("The certificate request has version %d; only 0 exists.", version), nil)
	}
	var subject, key cryptobyte.String
	if !info.ReadASN1(&subject, casn1.SEQUENCE) || !info.ReadASN1(&key, casn1.SEQUENCE) {
		return malformed("The certificate request has no subject or no public key.")
	}
	if signed {
		if err := checkSigned(algorithm); err != nil {
			return csrForm{}, err
		}
	}
	if info.Empty() {
		return csrForm{}, refuseCSR(CodeCSRNoAttributes, "The certificate request leaves out the attributes field (write it even when empty: A0 00).", nil)
	}
	var attributes cryptobyte.String
	if !info.ReadASN1(&attributes, casn1.Tag(0).ContextSpecific().Constructed()) || !info.Empty() {
		return malformed("The certificate request has something other than attributes after the public key.")
	}
	return scanAttributes(attributes)
}

// checkSigned refuses the two forms of a request without signature: id-alg-noSignature, and Microsoft's bare digest.
func checkSigned(algorithm cryptobyte.String) error {
	var oid asn1.ObjectIdentifier
	if !algorithm.ReadASN1ObjectIdentifier(&oid) {
		return refuseCSR(CodeCSRMalformed, "The certificate request has no signature algorithm.", nil)
	}
	switch oid.String() {
	case "1.3.6.1.5.5.7.6.2", // id-alg-noSignature
		"1.2.840.113549.2.5",     // MD5
		"1.3.14.3.2.26",          // SHA-1
		"2.16.840.1.101.3.4.2.1", // SHA-256
		"2.16.840.1.101.3.4.2.2", // SHA-384
		"2.16.840.1.101.3.4.2.3": // SHA-512
		return refuseCSR(CodeCSRUnsigned, "The certificate request is not signed: no proof of possession.", nil)
	}
	return nil
}

// scanAttributes checks the contents of the attributes field.
func scanAttributes(attributes cryptobyte.String) (csrForm, error) {
	bad := func(text string) (csrForm, error) { return csrForm{}, refuseCSR(CodeCSRAttributes, text, nil) }
	var form csrForm
	single := map[string][]byte{} // by type: the only value
	for n := 0; !attributes.Empty(); n++ {
		var attribute, values, value cryptobyte.String
		var oid asn1.ObjectIdentifier
		if n == maxAttributes {
			return bad("The certificate request has too many attributes.")
		}
		if !attributes.ReadASN1(&attribute, casn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&oid) ||
			!attribute.ReadASN1(&values, casn1.SET) || !attribute.Empty() {
			return bad("The certificate request has a malformed attribute.")
		}
		kind := oid.String()
		switch kind {
		case oidSMIMECapabilities, oidDecryptKeyID, oidAsymmDecryptKeyID: // they mean something in serverkeygen only
			if form.encryption == nil {
				form.encryption = map[string][][]byte{}
			}
			form.encryption[kind] = append(form.encryption[kind], values)
			continue
		}
		name := singleAttribute(kind)
		if name == "" {
			continue
		}
		if _, seen := single[kind]; seen {
			return bad("The certificate request repeats the attribute " + name + ".")
		}
		var tag casn1.Tag
		if !values.ReadAnyASN1Element(&value, &tag) || !values.Empty() {
			return bad("The attribute " + name + " of the certificate request must have one value.")
		}
		single[kind] = value
	}
	for kind, to := range map[string]**string{oidChallengePassword: &form.challenge, oidESTIdentityLinking: &form.linking} {
		element, there := single[kind]
		if !there {
			continue
		}
		if *to = directoryString(element); *to == nil {
			return bad("The attribute " + singleAttribute(kind) + " of the certificate request must be a string of at most 255 characters.")
		}
	}
	if form.challenge != nil && form.linking != nil && *form.challenge != *form.linking {
		// RFC 7894 section 4: all that are present must succeed, and one connection has one link.
		return bad("The certificate request has a challengePassword and an estIdentityLinking that differ.")
	}
	_, standard := single[oidExtensionRequest]
	form.requested, form.microsoft = single[oidMicrosoftExtension]
	if form.microsoft && standard {
		return bad("The certificate request has two extension requests.")
	}
	if value, ok := single[oidChangeSubjectName]; ok {
		change, ok := parseChangeSubject(value)
		if !ok {
			return bad("The attribute changeSubjectName of the certificate request is malformed or empty.")
		}
		form.change = change
	}
	return form, nil
}

// singleAttribute names an attribute type that may occur once with one value; empty for any other.
func singleAttribute(oid string) string {
	switch oid {
	case oidExtensionRequest, oidMicrosoftExtension:
		return "extensionRequest"
	case oidChallengePassword:
		return "challengePassword"
	case oidOTPChallenge:
		return "otpChallenge"
	case oidRevocation:
		return "revocationChallenge"
	case oidESTIdentityLinking:
		return "estIdentityLinking"
	case oidChangeSubjectName:
		return "changeSubjectName"
	}
	return ""
}

// directoryString returns the contents of a string element, so that PrintableString and UTF8String compare equal; nil for
// anything but a string of the permitted length.
func directoryString(element []byte) *string {
	input := cryptobyte.String(element)
	var contents cryptobyte.String
	var tag casn1.Tag
	if !input.ReadAnyASN1(&contents, &tag) {
		return nil
	}
	length := len(contents)
	switch tag {
	case casn1.PrintableString, casn1.IA5String, casn1.T61String:
	case casn1.UTF8String:
		length = utf8.RuneCount(contents)
	case bmpString:
		length /= 2
	default:
		return nil
	}
	if length > maxChallenge {
		return nil
	}
	text := string(contents)
	return &text
}

// parseChangeSubject reads ChangeSubjectName ::= SEQUENCE { subject Name OPTIONAL, subjectAlt GeneralNames OPTIONAL }.
// Both are SEQUENCEs without a tag of their own: the first inner tag tells them apart (SET: a Name; context: names).
func parseChangeSubject(element []byte) (*ChangeSubject, bool) {
	input := cryptobyte.String(element)
	var fields cryptobyte.String
	if !input.ReadASN1(&fields, casn1.SEQUENCE) || !input.Empty() || fields.Empty() {
		return nil, false
	}
	c := new(ChangeSubject)
	for !fields.Empty() {
		var field, inside cryptobyte.String
		if !fields.ReadASN1Element(&field, casn1.SEQUENCE) {
			return nil, false
		}
		peek := field
		if !peek.ReadASN1(&inside, casn1.SEQUENCE) {
			return nil, false
		}
		isName := inside.Empty() || inside.PeekASN1Tag(casn1.SET)
		switch {
		case isName && c.Subject == nil && c.SubjectAlt == nil:
			c.Subject = field
		case !isName && c.SubjectAlt == nil && inside[0]&0xc0 == 0x80:
			c.SubjectAlt = field
		default:
			return nil, false
		}
	}
	return c, true
}

// adoptMicrosoftExtensions fills csr's extensions from Microsoft's attribute, which crypto/x509 does not know: it lets
// crypto/x509 parse a copy in which the attribute has PKCS #9's type. csr's raw fields stay as they were signed.
func adoptMicrosoftExtensions(csr *x509.CertificateRequest, form csrForm) error {
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(0)
			b.AddBytes(csr.RawSubject)
			b.AddBytes(csr.RawSubjectPublicKeyInfo)
			b.AddASN1(casn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
				b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14})
					b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(form.requested) })
				})
			})
		})
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2})
		})
		b.AddASN1BitString(nil)
	})
	der, err := b.Bytes()
	if err != nil {
		return refuseCSR(CodeCSRAttributes, "The extension request of the certificate request is malformed.", err)
	}
	other, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return refuseCSR(CodeCSRAttributes, "The extension request of the certificate request is malformed.", err)
	}
	csr.Extensions = other.Extensions
	csr.DNSNames, csr.EmailAddresses = other.DNSNames, other.EmailAddresses
	csr.IPAddresses, csr.URIs = other.IPAddresses, other.URIs
	return nil
}

func refuseCSR(code, text string, err error) *Error {
	return &Error{
		Status: http.StatusBadRequest, ErrCode: code, Text: text, Err: err,
		Fix: csrRemedy(code),
	}
}

func weakDigest(name string) *Error {
	return refuseCSR(CodeCSRWeakDigest, "The certificate request is signed with "+name+", which is not accepted.", nil)
}

// csrRemedy is what the owner of the requesting device can do.
func csrRemedy(code string) string {
	switch code {
	case CodeCSRKeyTooShort, CodeCSRKeyType:
		return "make a new key of an accepted type and size on the device, and request again"
	case CodeCSRWeakDigest:
		return "sign the request with SHA-256 or better"
	case CodeCSRUnsigned:
		return "sign the request with its key; only a registration authority may send unsigned requests, inside a full CMC request"
	case CodeCSRNoSubject:
		return "put a subject into the request"
	default:
		return "make a new PKCS#10 request with the device's tool; openssl req -verify -in FILE shows what is wrong"
	}
}
