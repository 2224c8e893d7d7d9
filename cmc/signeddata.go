package cmc

import (
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"net/http"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// limits bound what one message may hold.
type limits struct{ octets, certificates, signers int }

// Open reads a SignedData in DER or BER and checks the signatures of its signers with the certificates inside. It trusts
// nobody: a Message may have no signers, and the Err of each must be looked at. Errors are *Problem with CodeMalformed;
// HTTP is 413 for a message over MaxMessage octets.
func Open(msg []byte) (*Message, error) {
	m, err := readSignedData(msg, limits{MaxMessage, MaxCertificates, MaxSigners})
	if err != nil {
		return nil, err
	}
	for i := range m.Signers {
		s := &m.Signers[i]
		s.Err = m.checkWithOwn(s)
	}
	return m, nil
}

// readSignedData reads the structure of a ContentInfo with a SignedData.
func readSignedData(msg []byte, l limits) (*Message, error) {
	if len(msg) > l.octets {
		p := malformed("the message has %d octets, at most %d are allowed", len(msg), l.octets)
		p.HTTP = http.StatusRequestEntityTooLarge
		return nil, p
	}
	der, err := toDER(msg)
	if err != nil {
		return nil, malformed("the message is no BER value").because(err)
	}
	sd, p := openContentInfo(der)
	if p != nil {
		return nil, p
	}
	return readSignedDataFields(sd, l)
}

// openContentInfo returns the fields of the SignedData in a ContentInfo (RFC 5652 section 3).
func openContentInfo(der []byte) (cryptobyte.String, *Problem) {
	in := cryptobyte.String(der)
	var info, wrapped, sd cryptobyte.String
	if !in.ReadASN1(&info, casn1.SEQUENCE) {
		return nil, malformed("the message is no ContentInfo")
	}
	if !in.Empty() {
		return nil, malformed("%d octets follow the ContentInfo", len(in))
	}
	var contentType asn1.ObjectIdentifier
	if !info.ReadASN1ObjectIdentifier(&contentType) {
		if info.PeekASN1Tag(casn1.SEQUENCE) {
			return nil, malformed("the message is no ContentInfo; it looks like a bare certificate or PKCS#10")
		}
		return nil, malformed("the message is no ContentInfo")
	}
	if !contentType.Equal(oidSignedData) {
		return nil, malformed("the ContentInfo is of type %v, not signedData", contentType)
	}
	if !info.ReadASN1(&wrapped, context0Constructed) || !info.Empty() ||
		!wrapped.ReadASN1(&sd, casn1.SEQUENCE) || !wrapped.Empty() {
		return nil, malformed("the ContentInfo holds no SignedData")
	}
	return sd, nil
}

// readSignedDataFields reads the fields of a SignedData (RFC 5652 section 5.1).
func readSignedDataFields(sd cryptobyte.String, l limits) (*Message, error) {
	m := new(Message)
	var digests cryptobyte.String
	if !sd.ReadASN1Integer(&m.Version) || m.Version < 1 || m.Version > 5 {
		return nil, malformed("the version of the SignedData is wrong")
	}
	if !sd.ReadASN1(&digests, casn1.SET) {
		return nil, malformed("the SignedData has no digestAlgorithms")
	}
	// Their number says nothing: certs-only messages carry some although nobody signed.
	for !digests.Empty() {
		if _, ok := readAlgorithm(&digests); !ok {
			return nil, malformed("digestAlgorithms is not well-formed")
		}
	}
	if err := m.readContent(&sd); err != nil {
		return nil, err
	}
	if err := m.readBags(&sd, l); err != nil {
		return nil, err
	}
	var infos cryptobyte.String
	if !sd.ReadASN1(&infos, casn1.SET) || !sd.Empty() {
		return nil, malformed("signerInfos is missing or not the last field of the SignedData")
	}
	for !infos.Empty() {
		if len(m.Signers) == l.signers {
			return nil, malformed("the message has more than %d signers", l.signers)
		}
		s, err := readSignerInfo(&infos)
		if err != nil {
			return nil, err
		}
		m.Signers = append(m.Signers, s)
	}
	return m, nil
}

// readContent reads encapContentInfo.
func (m *Message) readContent(sd *cryptobyte.String) error {
	var encap, explicit, content cryptobyte.String
	if !sd.ReadASN1(&encap, casn1.SEQUENCE) || !encap.ReadASN1ObjectIdentifier(&m.EContentType) {
		return malformed("encapContentInfo is not well-formed")
	}
	if encap.Empty() {
		return nil
	}
	if !encap.ReadASN1(&explicit, context0Constructed) || !encap.Empty() ||
		!explicit.ReadASN1(&content, casn1.OCTET_STRING) || !explicit.Empty() {
		return malformed("eContent is not one OCTET STRING")
	}
	m.EContent = append([]byte{}, content...)
	return nil
}

// readBags reads the optional certificates and crls.
func (m *Message) readBags(sd *cryptobyte.String, l limits) error {
	var bag cryptobyte.String
	var present bool
	if !sd.ReadOptionalASN1(&bag, &present, context0Constructed) {
		return malformed("certificates is not well-formed")
	}
	for !bag.Empty() {
		v, ok := readAny(&bag)
		if !ok {
			return malformed("certificates is not well-formed")
		}
		if v[0] != tagSequence {
			// Attribute certificates and the like: legal, of no use to us.
			continue
		}
		if len(m.Certificates) == l.certificates {
			return malformed("the message has more than %d certificates", l.certificates)
		}
		c, err := x509.ParseCertificate(v)
		if err != nil {
			return malformed("certificate %d of the message cannot be read", len(m.Certificates)+1).because(err)
		}
		m.Certificates = append(m.Certificates, c)
	}
	var crls cryptobyte.String
	if !sd.ReadOptionalASN1(&crls, &present, context1Constructed) {
		return malformed("crls is not well-formed")
	}
	var ok bool
	if m.CRLs, ok = readValues(crls); !ok || len(m.CRLs) > l.certificates {
		return malformed("crls is not well-formed or has more than %d members", l.certificates)
	}
	return nil
}

// readSignerInfo reads one SignerInfo (RFC 5652 section 5.3).
func readSignerInfo(infos *cryptobyte.String) (Signer, error) {
	var s Signer
	var info, attrs, unsigned, signature cryptobyte.String
	if !infos.ReadASN1(&info, casn1.SEQUENCE) || !info.ReadASN1Integer(&s.Version) || s.Version != 1 && s.Version != 3 {
		return s, malformed("a SignerInfo is not well-formed or of an unknown version")
	}
	if err := s.readSID(&info); err != nil {
		return s, err
	}
	digest, ok := readAlgorithm(&info)
	if !ok {
		return s, malformed("the digestAlgorithm of a SignerInfo is not well-formed")
	}
	if digest.noParams() {
		s.Digest = hashByOID(digest.oid)
	}
	var present bool
	if !info.ReadOptionalASN1(&attrs, &present, context0Constructed) {
		return s, malformed("the signedAttrs of a SignerInfo are not well-formed")
	}
	if present {
		if err := s.readAttributes(attrs); err != nil {
			return s, err
		}
	}
	sigAlg, ok := readAlgorithm(&info)
	if !ok || !info.ReadASN1(&signature, casn1.OCTET_STRING) {
		return s, malformed("the signature of a SignerInfo is not well-formed")
	}
	s.SignatureAlgorithm = sigAlg.oid
	s.sigParamsOK = sigAlg.noParams()
	s.signature = signature
	s.NoSignature = sigAlg.oid.Equal(OIDNoSignature)
	if !info.ReadOptionalASN1(&unsigned, &present, context1Constructed) || !info.Empty() {
		return s, malformed("a SignerInfo has unknown fields")
	}
	return s, nil
}

// readSID reads a SignerIdentifier.
func (s *Signer) readSID(info *cryptobyte.String) error {
	var sid, name, keyID cryptobyte.String
	switch {
	case info.PeekASN1Tag(casn1.SEQUENCE):
		s.Form = ByIssuerSerial
		s.Serial = new(big.Int)
		if !info.ReadASN1(&sid, casn1.SEQUENCE) || !sid.ReadASN1Element(&name, casn1.SEQUENCE) ||
			!sid.ReadASN1Integer(s.Serial) || !sid.Empty() {
			return malformed("the issuer and serial number of a SignerInfo are not well-formed")
		}
		s.Issuer = name
	case info.ReadASN1(&keyID, context0) && len(keyID) > 0:
		s.Form = ByKeyID
		s.KeyID = keyID
	default:
		return malformed("a SignerInfo names its signer in an unknown form")
	}
	return nil
}

// readAttributes reads the signed attributes and keeps the bytes that the signature covers: the DER of a SET OF, which has
// its own tag and its members sorted, whatever order and tag they had on the wire (RFC 5652 section 5.4).
func (s *Signer) readAttributes(attrs cryptobyte.String) error {
	raw, ok := readValues(attrs)
	if !ok || len(raw) == 0 {
		return malformed("the signedAttrs of a SignerInfo are empty or not well-formed")
	}
	for _, r := range raw {
		in := cryptobyte.String(r)
		var seq, set cryptobyte.String
		var a Attribute
		if !in.ReadASN1(&seq, casn1.SEQUENCE) || !seq.ReadASN1ObjectIdentifier(&a.Type) ||
			!seq.ReadASN1(&set, casn1.SET) || !seq.Empty() {
			return malformed("a signed attribute is not well-formed")
		}
		if a.Values, ok = readValues(set); !ok {
			return malformed("the values of signed attribute %v are not well-formed", a.Type)
		}
		s.Attributes = append(s.Attributes, a)
	}
	s.signedAttrs = appendTLV(nil, tagSet, setOf(raw))
	if v := s.Attribute(oidSigningTime); len(v) > 0 {
		t, ok := readTime(v[0])
		if !ok {
			return malformed("the signingTime is not well-formed")
		}
		s.SigningTime = t
	}
	return nil
}

// readTime reads a UTCTime or GeneralizedTime.
func readTime(der []byte) (time.Time, bool) {
	in := cryptobyte.String(der)
	var t time.Time
	if in.PeekASN1Tag(casn1.UTCTime) {
		return t, in.ReadASN1UTCTime(&t) && in.Empty()
	}
	return t, in.ReadASN1GeneralizedTime(&t) && in.Empty()
}
