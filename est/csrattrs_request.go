package est

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"callsign/cmc"
)

// CSRWish is what a client wants to have certified. The zero value wants nothing but a certificate.
type CSRWish struct {
	// Subject is a DER Name; nil for an empty one.
	Subject []byte
	// Alternative names, in their order: DNS names, addresses, URIs, mail addresses.
	DNSNames       []string
	IPAddresses    []net.IP
	URIs           []*url.URL
	EmailAddresses []string
	// Renew is the certificate that is to be renewed: subject and alternative names are its own, whatever else is wished here
	// or demanded by the server (RFC 7030 section 4.2.2).
	Renew *x509.Certificate
	// Extensions are others than subjectAltName.
	Extensions []pkix.Extension

	// Link is the value of the connection on which the request will be sent; empty for none. It stands in estIdentityLinking
	// when the server names that attribute, else in challengePassword.
	Link string
	// Challenge is a challengePassword that is meant for the CA; empty for none. It cannot stand beside a Link that is one.
	Challenge string
	// OTP and Revocation are the attributes otpChallenge and revocationChallenge (RFC 7894); empty for none.
	OTP, Revocation string
	// EncryptTo asks serverkeygen to encrypt the key for the holder of this certificate, which has an RSA key; nil for none.
	EncryptTo *x509.Certificate
}

// CSRDemandError is why a request cannot be made as a server demands it.
type CSRDemandError struct {
	Detail string // which demand
	Fix    string // what to do
}

// Error implements error.
func (e *CSRDemandError) Error() string { return "csrattrs: " + e.Detail }

// Code returns "est.csrattrs-demand".
func (e *CSRDemandError) Code() string { return CodeCSRAttrsDemand }

// Remedy returns what to do.
func (e *CSRDemandError) Remedy() string { return e.Fix }

// ChooseKey returns the kind of key to make: wish, if it is not the zero value and the server accepts it, else the first kind that
// the server names and that is known here, else P-256. Errors are *CSRDemandError.
func (a *CSRAttrs) ChooseKey(wish KeySpec) (KeySpec, error) {
	keys := a.Keys()
	accepted := make([]string, len(keys))
	for i, k := range keys {
		accepted[i] = k.String()
	}
	demand := func(format string, args ...any) error {
		return &CSRDemandError{
			Detail: fmt.Sprintf(format, args...),
			Fix:    "make a key of a kind that the server accepts; or leave csrattrs aside, and the server will say itself whether it takes another",
		}
	}
	if wish != (KeySpec{}) {
		if wish == (KeySpec{Algorithm: keyRSA}) {
			wish.Bits = usualRSABits
		}
		if len(keys) > 0 && !slices.ContainsFunc(keys, func(k KeySpec) bool { return k.Accepts(wish) }) {
			return KeySpec{}, demand("the server wants a key of kind %s, and this one is %s", joinOr(accepted), wish)
		}
		return wish, nil
	}
	for _, k := range keys {
		if _, err := a.chooseSignature(k.Algorithm); k.known() && err == nil {
			return k, nil
		}
	}
	if len(keys) > 0 {
		return KeySpec{}, demand("the server wants a key of kind %s, which is not known here", joinOr(accepted))
	}
	for _, alg := range a.SignatureAlgorithms() {
		return KeySpec{Algorithm: signedBy(alg)}, nil
	}
	return KeySpec{Algorithm: keyEC, Curve: usualCurve}, nil
}

// joinOr is a list of alternatives in words.
func joinOr(words []string) string {
	var b bytes.Buffer
	for i, w := range words {
		switch {
		case i > 0 && i == len(words)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(w)
	}
	return b.String()
}

// signedBy is the algorithm of the keys that sign so.
func signedBy(alg x509.SignatureAlgorithm) string {
	switch alg {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA:
		return keyRSA
	case x509.PureEd25519:
		return keyEd25519
	default:
		return keyEC
	}
}

// BuildCSR makes a DER PKCS#10 request for a key from what the client wishes and what the server demands; attrs may be nil. Where
// both speak, the server's word counts; a template (RFC 9908 section 3.4) counts alone. What of the wishes is left out is told in
// notes. Errors are *CSRDemandError where a demand cannot be met.
func BuildCSR(key crypto.Signer, wish CSRWish, attrs *CSRAttrs) (der []byte, notes []string, err error) {
	if _, err := attrs.ChooseKey(KeySpecOf(key.Public())); err != nil {
		return nil, nil, err
	}
	b := &csrBuilder{wish: wish, attrs: attrs}
	if b.subject, err = b.makeSubject(); err != nil {
		return nil, nil, err
	}
	extensions, err := b.makeExtensions()
	if err != nil {
		return nil, nil, err
	}
	attributes, err := b.makeAttributes()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.CertificateRequest{RawSubject: b.subject, ExtraExtensions: extensions}
	if template.SignatureAlgorithm, err = attrs.chooseSignature(KeySpecOf(key.Public()).Algorithm); err != nil {
		return nil, nil, err
	}
	if der, err = x509.CreateCertificateRequest(rand.Reader, template, key); err != nil {
		return nil, nil, fmt.Errorf("make the request: %w", err)
	}
	if len(attributes) > 0 {
		if der, err = addAttributes(der, attributes, key); err != nil {
			return nil, nil, fmt.Errorf("make the request: %w", err)
		}
	}
	return der, b.notes, nil
}

// chooseSignature returns the first algorithm of the server's that keys of a kind sign with; the zero value leaves the choice to
// crypto/x509.
func (a *CSRAttrs) chooseSignature(algorithm string) (x509.SignatureAlgorithm, error) {
	demanded := a.SignatureAlgorithms()
	for _, alg := range demanded {
		if signedBy(alg) == algorithm {
			return alg, nil
		}
	}
	if len(demanded) > 0 {
		return 0, &CSRDemandError{
			Detail: fmt.Sprintf("the server wants the request signed with %s, which no %s key does", demanded[0], algorithm),
			Fix:    "use a key of the kind that signs so; or leave csrattrs aside",
		}
	}
	if a == nil || a.template != nil {
		return x509.UnknownSignatureAlgorithm, nil
	}
	for i := range a.Elements {
		if alg, ok := namedHashes[a.Elements[i].Type.String()][algorithm]; ok {
			return alg, nil
		}
	}
	return x509.UnknownSignatureAlgorithm, nil
}

// namedHashes are digests that a server names by themselves, with what they mean for each kind of key. It is never modified.
var namedHashes = map[string]map[string]x509.SignatureAlgorithm{
	"2.16.840.1.101.3.4.2.1": {keyRSA: x509.SHA256WithRSA, keyEC: x509.ECDSAWithSHA256},
	"2.16.840.1.101.3.4.2.2": {keyRSA: x509.SHA384WithRSA, keyEC: x509.ECDSAWithSHA384},
	"2.16.840.1.101.3.4.2.3": {keyRSA: x509.SHA512WithRSA, keyEC: x509.ECDSAWithSHA512},
}

// csrBuilder is one request that is being made.
type csrBuilder struct {
	wish    CSRWish
	attrs   *CSRAttrs
	subject []byte // DER Name
	notes   []string
}

func (b *csrBuilder) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

// emptyName is the DER of a name without parts.
var emptyName = []byte{0x30, 0}

// makeSubject returns the DER of the subject.
func (b *csrBuilder) makeSubject() ([]byte, error) {
	wished := b.wish.Subject
	if b.wish.Renew != nil {
		return b.wish.Renew.RawSubject, nil
	}
	if wished == nil {
		wished = emptyName
	}
	t := b.attrs.Template()
	if t == nil || t.Subject == nil {
		return wished, nil
	}
	own, ok := nameParts(wished)
	if !ok {
		return nil, errors.New("the wished subject is no DER Name")
	}
	filled := make([][]NameAttribute, len(t.Subject))
	for i, rdn := range t.Subject {
		for _, a := range rdn {
			at := slices.IndexFunc(own, func(o NameAttribute) bool { return o.Type.Equal(a.Type) })
			switch {
			case a.Value != nil && at >= 0:
				if !sameString(a.Value, own[at].Value) {
					b.note("the server sets %s of the subject itself", a.Type)
				}
			case a.Value == nil && at < 0:
				return nil, &CSRDemandError{
					Detail: fmt.Sprintf("the server leaves %s of the subject to the client, and no value is given", attributeName(a.Type)),
					Fix:    "give a subject that has it",
				}
			case a.Value == nil:
				a.Value = own[at].Value
			}
			if at >= 0 {
				own = slices.Delete(own, at, at+1)
			}
			filled[i] = append(filled[i], a)
		}
	}
	for _, o := range own {
		b.note("%s of the wished subject is left out: the server's template has no place for it", attributeName(o.Type))
	}
	var out cryptobyte.Builder
	addSubject(&out, filled)
	return out.Bytes()
}

// nameParts are the attributes of a DER Name, one after the other.
func nameParts(der []byte) ([]NameAttribute, bool) {
	t := new(CSRTemplate)
	in := cryptobyte.String(der)
	var name cryptobyte.String
	if !in.ReadASN1(&name, casn1.SEQUENCE) || !in.Empty() || !t.readSubject(name) {
		return nil, false
	}
	parts := slices.Concat(t.Subject...)
	return parts, !slices.ContainsFunc(parts, func(a NameAttribute) bool { return a.Value == nil })
}

// sameString compares the contents of two strings, whatever their types.
func sameString(a, b []byte) bool {
	x, y := directoryString(a), directoryString(b)
	return x != nil && y != nil && *x == *y
}

// attributeName is the usual short name of an attribute of a name, else its object identifier.
func attributeName(oid x509.OID) string {
	switch oid.String() {
	case "2.5.4.3":
		return "CN"
	case "2.5.4.5":
		return "serialNumber"
	case "2.5.4.6":
		return "C"
	case "2.5.4.7":
		return "L"
	case "2.5.4.8":
		return "ST"
	case "2.5.4.10":
		return "O"
	case "2.5.4.11":
		return "OU"
	case "0.9.2342.19200300.100.1.25":
		return "DC"
	}
	return oid.String()
}

// oidAltName is subjectAltName.
var oidAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// makeExtensions returns the extensions to ask for.
func (b *csrBuilder) makeExtensions() ([]pkix.Extension, error) {
	own := slices.Clone(b.wish.Extensions)
	alternative, err := b.wishedNames()
	if err != nil {
		return nil, err
	}
	if alternative != nil {
		own = append([]pkix.Extension{*alternative}, own...)
	}
	var out []pkix.Extension
	for _, demanded := range b.attrs.Extensions() {
		at := slices.IndexFunc(own, func(e pkix.Extension) bool { return e.Id.Equal(demanded.ID) })
		isNames := demanded.ID.Equal(oidAltName)
		switch {
		case isNames && b.wish.Renew != nil:
			continue // the names stay
		case isNames && demanded.Value != nil:
			value, err := b.fillNames(demanded.Value)
			if err != nil {
				return nil, err
			}
			out = append(out, pkix.Extension{Id: demanded.ID, Critical: demanded.Critical, Value: value})
		case demanded.Value != nil:
			if at >= 0 && !bytes.Equal(own[at].Value, demanded.Value) {
				b.note("the server sets the extension %s itself", demanded.ID)
			}
			out = append(out, pkix.Extension{Id: demanded.ID, Critical: demanded.Critical, Value: demanded.Value})
		case at >= 0:
			out = append(out, pkix.Extension{Id: demanded.ID, Critical: demanded.Critical, Value: own[at].Value})
		default:
			b.note("the server leaves the value of the extension %s to the client, who has none: it is left out", demanded.ID)
		}
		if at >= 0 {
			own = slices.Delete(own, at, at+1)
		}
	}
	return append(out, own...), nil
}

// wishedNames is the wished subjectAltName; nil for none.
func (b *csrBuilder) wishedNames() (*pkix.Extension, error) {
	if b.wish.Renew != nil {
		for _, e := range b.wish.Renew.Extensions {
			if e.Id.Equal(oidAltName) {
				return &e, nil
			}
		}
		return nil, nil //nolint:nilnil // nothing is what there is
	}
	names, err := b.wish.names()
	if err != nil || len(names) == 0 {
		return nil, err
	}
	value, err := encodeNames(names)
	// A certificate without a subject has its name there (RFC 5280 section 4.2.1.6).
	return &pkix.Extension{Id: oidAltName, Critical: bytes.Equal(b.subject, emptyName), Value: value}, err
}

// generalName is one alternative name: its tag and contents.
type generalName struct {
	tag   casn1.Tag
	value []byte
}

// Tags of further names (RFC 5280 section 4.2.1.6).
var (
	directoryName = casn1.Tag(4).ContextSpecific().Constructed()
	uriName       = casn1.Tag(6).ContextSpecific()
	addressName   = casn1.Tag(7).ContextSpecific()
)

// names lists the wished alternative names.
func (w *CSRWish) names() ([]generalName, error) {
	var out []generalName
	add := func(tag casn1.Tag, text string) error {
		if text == "" || !isIA5(text) {
			return fmt.Errorf("the name %q is empty or has characters outside ASCII (a DNS name needs its ACE form, xn--...)", text)
		}
		out = append(out, generalName{tag, []byte(text)})
		return nil
	}
	for _, n := range w.DNSNames {
		if err := add(dnsName, n); err != nil {
			return nil, err
		}
	}
	for _, ip := range w.IPAddresses {
		if four := ip.To4(); four != nil {
			ip = four
		}
		if len(ip) != net.IPv4len && len(ip) != net.IPv6len {
			return nil, errors.New("an IP address has neither 4 nor 16 octets")
		}
		out = append(out, generalName{addressName, ip})
	}
	for _, u := range w.URIs {
		if err := add(uriName, u.String()); err != nil {
			return nil, err
		}
	}
	for _, n := range w.EmailAddresses {
		if err := add(rfc822Name, n); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func isIA5(s string) bool {
	return !bytes.ContainsFunc([]byte(s), func(r rune) bool { return r >= utf8.RuneSelf || r < ' ' })
}

func encodeNames(names []generalName) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, n := range names {
			b.AddASN1(n.tag, func(b *cryptobyte.Builder) { b.AddBytes(n.value) })
		}
	})
	return b.Bytes()
}

// text is a name for people.
func (n generalName) text() string {
	switch n.tag {
	case dnsName:
		return "dns:" + string(n.value)
	case addressName:
		return "ip:" + net.IP(n.value).String()
	case uriName:
		return "uri:" + string(n.value)
	case rfc822Name:
		return "email:" + string(n.value)
	}
	return "another name"
}

// fillNames completes the subjectAltName of a server: a name that is left open is the client's, the last one of its kind all that
// the client has left of it (RFC 9908 section 3.4).
func (b *csrBuilder) fillNames(demanded []byte) ([]byte, error) {
	in := cryptobyte.String(demanded)
	var list cryptobyte.String
	if !in.ReadASN1(&list, casn1.SEQUENCE) || !in.Empty() {
		return nil, badAttrs("the subjectAltName of the server is malformed")
	}
	own, err := b.wish.names()
	if err != nil {
		return nil, err
	}
	var theirs []generalName
	open := map[casn1.Tag]int{}
	for !list.Empty() {
		var value cryptobyte.String
		var n generalName
		if !list.ReadAnyASN1(&value, &n.tag) {
			return nil, badAttrs("the subjectAltName of the server is malformed")
		}
		n.value = value
		if n.open() {
			open[n.tag]++
		}
		theirs = append(theirs, n)
	}
	var out []generalName
	for _, n := range theirs {
		if !n.open() {
			out = append(out, n)
			own = slices.DeleteFunc(own, func(o generalName) bool { return o.tag == n.tag && bytes.Equal(o.value, n.value) })
		}
	}
	for _, n := range theirs {
		if !n.open() {
			continue
		}
		open[n.tag]--
		if n.tag == directoryName {
			out = append(out, generalName{directoryName, b.subject})
			continue
		}
		filled := 0
		own = slices.DeleteFunc(own, func(o generalName) bool {
			if o.tag != n.tag || filled > 0 && open[n.tag] > 0 {
				return false
			}
			filled++
			out = append(out, o)
			return true
		})
		if filled == 0 && open[n.tag] == 0 && !slices.ContainsFunc(out, func(o generalName) bool { return o.tag == n.tag }) {
			kind, _, _ := bytes.Cut([]byte(n.text()), []byte(":"))
			return nil, &CSRDemandError{
				Detail: fmt.Sprintf("the server leaves an alternative name (%s) to the client, and none is given", kind),
				Fix:    "give a name of this kind",
			}
		}
	}
	for _, o := range own {
		b.note("%s is left out: the server says which alternative names the certificate has", o.text())
	}
	return encodeNames(out)
}

// open tells whether a name is for the client to fill in.
func (n generalName) open() bool {
	switch n.tag {
	case addressName, dnsName, uriName, rfc822Name:
		return len(n.value) == 0
	case directoryName:
		return bytes.Equal(n.value, emptyName)
	}
	return false
}

// makeAttributes returns the attributes beside the extensionRequest.
func (b *csrBuilder) makeAttributes() ([]CSRAttr, error) {
	w := &b.wish
	var out []CSRAttr
	add := func(kind, text string) error {
		value, err := encodeDirectoryString(text)
		if err == nil {
			out = append(out, CSRAttr{Type: mustOID(kind), Values: [][]byte{value}})
		}
		return err
	}
	_, identity := b.attrs.WantsLink()
	challenge := w.Challenge
	if w.Link != "" && !identity {
		if challenge != "" {
			return nil, &CSRDemandError{
				Detail: "a request that is linked by its challengePassword has no room for another one",
				Fix:    "leave the link or the challenge password out",
			}
		}
		challenge = w.Link
	}
	for _, a := range []struct{ kind, text string }{
		{oidChallengePassword, challenge}, {oidOTPChallenge, w.OTP}, {oidRevocation, w.Revocation},
	} {
		if a.text == "" {
			continue
		}
		if err := add(a.kind, a.text); err != nil {
			return nil, err
		}
	}
	if w.Link != "" && identity {
		if err := add(oidESTIdentityLinking, w.Link); err != nil {
			return nil, err
		}
	}
	if w.EncryptTo != nil {
		asked, err := encryptionAttributes(w.EncryptTo)
		if err != nil {
			return nil, err
		}
		out = append(out, asked...)
	}
	if t := b.attrs.Template(); t != nil {
		for _, a := range t.Attributes {
			if len(a.Values) > 0 && singleAttribute(a.Type.String()) == "" {
				out = append(out, a)
			}
		}
	}
	return out, nil
}

// encryptionAttributes ask for a private key that is encrypted for a certificate (RFC 7030 section 4.4.1).
func encryptionAttributes(to *x509.Certificate) ([]CSRAttr, error) {
	id, err := cmc.KeyID(to)
	if err != nil {
		return nil, err
	}
	var keyID, capabilities cryptobyte.Builder
	keyID.AddASN1OctetString(id)
	capabilities.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, oid := range []asn1.ObjectIdentifier{cmc.OIDAES256CBC, cmc.OIDAES128CBC} {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oid) })
		}
	})
	var out []CSRAttr
	for kind, b := range map[string]*cryptobyte.Builder{oidAsymmDecryptKeyID: &keyID, oidSMIMECapabilities: &capabilities} {
		value, err := b.Bytes()
		if err != nil {
			return nil, err
		}
		out = append(out, CSRAttr{Type: mustOID(kind), Values: [][]byte{value}})
	}
	return out, nil
}

// maxChallenge is the greatest length of a challenge (RFC 2985 section 5.4.1, RFC 7894 section 3), in characters.
const maxChallenge = 255

// encodeDirectoryString writes a PrintableString where it can and a UTF8String elsewhere (RFC 7894 section 3).
func encodeDirectoryString(text string) ([]byte, error) {
	if n := utf8.RuneCountInString(text); n > maxChallenge || !utf8.ValidString(text) {
		return nil, fmt.Errorf("a challenge of %d characters is too long or no text; at most %d are allowed", n, maxChallenge)
	}
	tag := casn1.PrintableString
	for _, r := range text {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		if !letter && !bytes.ContainsRune([]byte(" '()+,-./:=?"), r) {
			tag = casn1.UTF8String
		}
	}
	var b cryptobyte.Builder
	b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(text)) })
	return b.Bytes()
}

// addAttributes signs a request again with more attributes. crypto/x509 writes those alone whose values are SEQUENCEs.
func addAttributes(der []byte, attributes []CSRAttr, key crypto.Signer) ([]byte, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	in := cryptobyte.String(der)
	var outer, algorithm, info, there cryptobyte.String
	tagged := casn1.Tag(0).ContextSpecific().Constructed()
	if !in.ReadASN1(&outer, casn1.SEQUENCE) || !outer.ReadASN1(&info, casn1.SEQUENCE) || !outer.ReadASN1Element(&algorithm, casn1.SEQUENCE) ||
		!info.SkipASN1(casn1.INTEGER) || !info.SkipASN1(casn1.SEQUENCE) || !info.SkipASN1(casn1.SEQUENCE) || !info.ReadASN1(&there, tagged) {
		return nil, errors.New("the request cannot be read back")
	}
	var set [][]byte
	for !there.Empty() {
		var one cryptobyte.String
		if !there.ReadASN1Element(&one, casn1.SEQUENCE) {
			return nil, errors.New("the request cannot be read back")
		}
		set = append(set, one)
	}
	for i := range attributes {
		var b cryptobyte.Builder
		addElements(&b, attributes[i:i+1])
		one, err := b.Bytes()
		if err != nil {
			return nil, err
		}
		set = append(set, one)
	}
	slices.SortFunc(set, bytes.Compare) // DER's SET OF
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)
		b.AddBytes(csr.RawSubject)
		b.AddBytes(csr.RawSubjectPublicKeyInfo)
		b.AddASN1(tagged, func(b *cryptobyte.Builder) {
			for _, one := range set {
				b.AddBytes(one)
			}
		})
	})
	tbs, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	signature, err := signAs(csr.SignatureAlgorithm, key, tbs)
	if err != nil {
		return nil, err
	}
	var out cryptobyte.Builder
	out.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(algorithm)
		b.AddASN1BitString(signature)
	})
	return out.Bytes()
}

// signAs signs with an algorithm of which crypto/x509 has found that it fits the key.
func signAs(alg x509.SignatureAlgorithm, key crypto.Signer, tbs []byte) ([]byte, error) {
	var hash crypto.Hash
	switch alg {
	case x509.SHA256WithRSA, x509.ECDSAWithSHA256:
		hash = crypto.SHA256
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384:
		hash = crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512:
		hash = crypto.SHA512
	case x509.PureEd25519:
		return key.Sign(rand.Reader, tbs, crypto.Hash(0))
	default:
		return nil, fmt.Errorf("requests are not signed with %s here", alg)
	}
	h := hash.New()
	h.Write(tbs)
	return key.Sign(rand.Reader, h.Sum(nil), hash)
}
