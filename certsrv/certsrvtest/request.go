package certsrvtest

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"callsign/cmc"
)

// Object identifiers of requests.
var (
	oidTemplateName   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2}
	oidTemplateV2     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 21, 7}
	oidExtensionReq   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
	oidExtensionReqMS = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 14}
	oidSAN            = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// request is a certification request, read and with its signatures checked, but not yet judged by a template.
type request struct {
	kind       Kind
	csr        *x509.CertificateRequest
	signed     bool // by its own key
	agents     []*x509.Certificate
	requester  string // on behalf of whom; empty: nobody
	templates  []string
	extensions []pkix.Extension
}

// verifyingError is a request that can be read but whose signature or signer is not accepted.
type verifyingError struct{ code uint32 }

func (e *verifyingError) Error() string { return (&statusError{e.code}).Error() }

// requestReader holds what decides which signatures count.
type requestReader struct {
	anchors, intermediates                        []*x509.Certificate
	requireNullSigner, refuseNull, acceptRFCNoSig bool
	now                                           time.Time
}

// read reads the DER of any kind of request. Errors are *statusError (not parseable) and *verifyingError.
func (rd *requestReader) read(der []byte) (*request, error) {
	if csr, err := x509.ParseCertificateRequest(der); err == nil {
		return rd.pkcs10(csr)
	}
	m, err := cmc.Open(der)
	if err != nil {
		return nil, &statusError{eBadTag}
	}
	switch {
	case m.EContentType.Equal(cmc.OIDPKIData):
		return rd.cmc(m)
	case m.EContentType.Equal(cmc.OIDData):
		return rd.onBehalf(m)
	}
	return nil, &statusError{eInvalidData}
}

// pkcs10 is a bare request: its key must have signed it.
func (rd *requestReader) pkcs10(csr *x509.CertificateRequest) (*request, error) {
	if err := csr.CheckSignature(); err != nil {
		return nil, &verifyingError{eBadSignature}
	}
	return newRequest(KindPKCS10, csr, true)
}

// cmc is MS-WCCE 3.2.1.4.2.1.4.1.3: one PKCS #10, signed or null-signed, and signers.
func (rd *requestReader) cmc(m *cmc.Message) (*request, error) {
	data, err := cmc.ParsePKIData(m.EContent)
	if err != nil {
		return nil, &statusError{eBadTag}
	}
	if len(data.Requests) != 1 || data.Requests[0].Kind != cmc.TCR || len(data.CMS)+len(data.Other) != 0 {
		return nil, &statusError{eInvalidData}
	}
	if len(m.Signers) == 0 {
		return nil, &verifyingError{eNoSigner}
	}
	der := data.Requests[0].Raw
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, &statusError{eBadTag}
	}
	form, err := cmc.CheckNullSignature(der)
	if err != nil || (form == cmc.RFC && !rd.acceptRFCNoSig) || (form != cmc.Signed && rd.refuseNull) {
		return nil, &verifyingError{eBadSignature}
	}
	if rd.requireNullSigner && !m.Signers[0].NoSignature {
		return nil, &verifyingError{eBadSignature}
	}
	req, err := newRequest(KindCMC, csr, form == cmc.Signed)
	if err != nil {
		return nil, err
	}
	if err := rd.signers(m, req); err != nil {
		return nil, err
	}
	info := parseRegInfo(string(data.RegInfo()))
	req.addTemplate(info["certificatetemplate"])
	req.requester = info["requestername"]
	return req, nil
}

// onBehalf is MS-WCCE 3.2.2.6.2.1.2.1.1: a PKCS #7 whose content is a PKCS #10 under the normal rules. There a null
// signature is not accepted.
func (rd *requestReader) onBehalf(m *cmc.Message) (*request, error) {
	csr, err := x509.ParseCertificateRequest(m.EContent)
	if err != nil {
		return nil, &statusError{eBadTag}
	}
	if len(m.Signers) == 0 {
		return nil, &verifyingError{eNoSigner}
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, &verifyingError{eBadSignature}
	}
	req, err := newRequest(KindPKCS7, csr, true)
	if err != nil {
		return nil, err
	}
	if err := rd.signers(m, req); err != nil {
		return nil, err
	}
	pairs, err := m.Signers[0].NameValues()
	if err != nil {
		return nil, &statusError{eInvalidData}
	}
	for _, p := range pairs {
		switch {
		case strings.EqualFold(p.Name, "requestername"):
			req.requester = p.Value
		case strings.EqualFold(p.Name, "CertificateTemplate"):
			req.addTemplate(p.Value)
		}
	}
	if req.requester == "" {
		return nil, &statusError{eInvalidData}
	}
	return req, nil
}

// signers checks every signature of m and collects the agents: signers with a certificate that chains to the CA. Whether
// their extended key usage will do is the template's question. A no-signature signer proves nothing and counts for nothing;
// a signer that is the requested key (named by the request's key identifier) proves possession only.
func (rd *requestReader) signers(m *cmc.Message, req *request) error {
	for i := range m.Signers {
		s := &m.Signers[i]
		switch {
		case s.NoSignature:
			if s.Err != nil {
				return &verifyingError{eBadSignature}
			}
		case errors.Is(s.Err, cmc.ErrNoCertificate):
			if !rd.ownKey(m, s, req) {
				return &verifyingError{eSignerNotFound}
			}
		case s.Err != nil || s.Certificate == nil:
			return &verifyingError{eBadSignature}
		default:
			if code := rd.chain(s.Certificate, m.Certificates); code != 0 {
				return &verifyingError{code}
			}
			req.agents = append(req.agents, s.Certificate)
		}
	}
	return nil
}

// ownKey tells whether s is signed by the requested key and names it by its key identifier (MS-WCCE 3.1.1.4.3.1.3).
func (rd *requestReader) ownKey(m *cmc.Message, s *cmc.Signer, req *request) bool {
	if s.Form != cmc.ByKeyID {
		return false
	}
	id, err := cmc.SubjectKeyID(req.csr.RawSubjectPublicKeyInfo)
	if err != nil || !bytes.Equal(id, s.KeyID) {
		return false
	}
	key := &x509.Certificate{PublicKey: req.csr.PublicKey, PublicKeyAlgorithm: req.csr.PublicKeyAlgorithm, RawSubjectPublicKeyInfo: req.csr.RawSubjectPublicKeyInfo}
	return m.CheckSignature(s, key) == nil
}

// chain verifies a signer's certificate up to the anchors and returns a status code, 0 when it is good.
func (rd *requestReader) chain(c *x509.Certificate, bag []*x509.Certificate) uint32 {
	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: rd.now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, a := range rd.anchors {
		opts.Roots.AddCert(a)
	}
	for _, i := range append(append([]*x509.Certificate(nil), rd.intermediates...), bag...) {
		opts.Intermediates.AddCert(i)
	}
	_, err := c.Verify(opts)
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return eExpired
	}
	return eUntrustedRoot
}

func newRequest(kind Kind, csr *x509.CertificateRequest, signed bool) (*request, error) {
	req := &request{kind: kind, csr: csr, signed: signed}
	// Windows clients also use Microsoft's older attribute, which crypto/x509 does not read.
	exts, err := requestedExtensions(csr)
	if err != nil {
		return nil, &statusError{eBadTag}
	}
	for _, e := range exts {
		switch {
		case e.Id.Equal(oidTemplateName):
			name, err := templateNameExtension(e.Value)
			if err != nil {
				return nil, &statusError{eBadTag}
			}
			req.addTemplate(name)
		case e.Id.Equal(oidTemplateV2):
			oid, err := templateV2Extension(e.Value)
			if err != nil {
				return nil, &statusError{eBadTag}
			}
			req.addTemplate(oid)
		case onlyCA(e.Id):
		default:
			req.extensions = append(req.extensions, e)
		}
	}
	return req, nil
}

func (r *request) addTemplate(name string) {
	if name != "" {
		r.templates = append(r.templates, name)
	}
}

func (r *request) hasSAN() bool {
	return slices.ContainsFunc(r.extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidSAN) })
}

// keyHash is the SHA-256 of the SubjectPublicKeyInfo in hex.
func (r *request) keyHash() string {
	sum := sha256.Sum256(r.csr.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// onlyCA names the extensions of which a CA takes no notice in a request: basicConstraints, authorityKeyIdentifier, CRL
// distribution points, freshest CRL, authority information access.
func onlyCA(id asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc([]asn1.ObjectIdentifier{
		{2, 5, 29, 19}, {2, 5, 29, 35}, {2, 5, 29, 31}, {2, 5, 29, 46}, {1, 3, 6, 1, 5, 5, 7, 1, 1},
	}, id.Equal)
}

// requestedExtensions reads every extension request of csr, once per extension: the first counts.
func requestedExtensions(csr *x509.CertificateRequest) ([]pkix.Extension, error) {
	var info struct {
		Raw        asn1.RawContent
		Version    int
		Subject    asn1.RawValue
		PublicKey  asn1.RawValue
		Attributes []struct {
			Type   asn1.ObjectIdentifier
			Values []asn1.RawValue `asn1:"set"`
		} `asn1:"tag:0,set"`
	}
	rest, err := asn1.Unmarshal(csr.RawTBSCertificateRequest, &info)
	if err != nil || len(rest) != 0 {
		return nil, errors.New("certification request info is malformed")
	}
	var exts []pkix.Extension
	seen := map[string]bool{}
	for _, a := range info.Attributes {
		if (!a.Type.Equal(oidExtensionReq) && !a.Type.Equal(oidExtensionReqMS)) || len(a.Values) == 0 {
			continue
		}
		var list []pkix.Extension
		if rest, err := asn1.Unmarshal(a.Values[0].FullBytes, &list); err != nil || len(rest) != 0 {
			return nil, errors.New("extension request is malformed")
		}
		for _, e := range list {
			if !seen[e.Id.String()] {
				seen[e.Id.String()] = true
				exts = append(exts, e)
			}
		}
	}
	return exts, nil
}

// templateNameExtension reads 1.3.6.1.4.1.311.20.2: a BMPString, or any other string that some clients write.
func templateNameExtension(der []byte) (string, error) {
	var v asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &v); err != nil || len(rest) != 0 {
		return "", errors.New("template name is malformed")
	}
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String:
		return string(v.Bytes), nil
	case asn1.TagBMPString:
		if len(v.Bytes)%2 != 0 {
			return "", errors.New("template name is malformed")
		}
		units := make([]uint16, 0, len(v.Bytes)/2)
		for i := 0; i < len(v.Bytes); i += 2 {
			units = append(units, uint16(v.Bytes[i])<<8|uint16(v.Bytes[i+1]))
		}
		return string(utf16.Decode(units)), nil
	}
	return "", errors.New("template name is no string")
}

// templateV2Extension returns the dotted OID of 1.3.6.1.4.1.311.21.7.
func templateV2Extension(der []byte) (string, error) {
	var v struct {
		ID    asn1.ObjectIdentifier
		Major int `asn1:"optional"`
		Minor int `asn1:"optional"`
	}
	if rest, err := asn1.Unmarshal(der, &v); err != nil || len(rest) != 0 {
		return "", errors.New("template extension is malformed")
	}
	return v.ID.String(), nil
}
