package cmc

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Shape is how a request to Microsoft AD CS is put together. Which one a real server takes is
// documented but untried; an administrator probes and sets it.
type Shape int

// The shapes of a request to AD CS.
const (
	// Supplied has two signers: a no-signature SignerInfo with the key identifier of the request, then the agent.
	Supplied Shape = iota + 1
	// AgentOnly has the enrollment agent as its only signer.
	AgentOnly
)

// String returns the configuration's word: "supplied" or "agent-only".
func (s Shape) String() string {
	switch s {
	case Supplied:
		return "supplied"
	case AgentOnly:
		return "agent-only"
	}
	return "unknown"
}

// ADCSRequest returns the DER of a CMC request for AD CS: regInfo "CertificateTemplate=NAME&" and csr in the Microsoft
// null form with its CertificationRequestInfo unchanged, signed by agent, whose certificate is agentChain[0] (EKU
// Certificate Request Agent); all of agentChain goes into the message. A csr that is really signed stays as it is and has
// the agent as its only signer, whatever the shape. No witness and no nonces are sent: what AD CS makes of them is not
// known. Errors are *Problem: CodeUnusable, or those of CheckNullSignature.
func ADCSRequest(csr []byte, template string, shape Shape, agent crypto.Signer, agentChain []*x509.Certificate, now time.Time, random io.Reader) ([]byte, error) {
	return adcsRequest(csr, []NameValue{{"CertificateTemplate", template}}, shape, agent, agentChain, now, random)
}

// ADCSOnBehalfRequest is ADCSRequest with the name of the account that the certificate is for, "DOMAIN\\user" or
// "DOMAIN\\NAME$" (MS-WCCE 3.2.2.6.2.1.2.1.2). AD CS builds the subject from that account: only where each phone has one.
func ADCSOnBehalfRequest(csr []byte, template, requester string, shape Shape, agent crypto.Signer, agentChain []*x509.Certificate, now time.Time, random io.Reader) ([]byte, error) {
	if requester == "" {
		return nil, unusable("a request on behalf of somebody needs a name")
	}
	pairs := []NameValue{{"CertificateTemplate", template}, {"RequesterName", requester}}
	return adcsRequest(csr, pairs, shape, agent, agentChain, now, random)
}

// adcsRequest writes the CMC request with the given regInfo.
func adcsRequest(csr []byte, regInfo []NameValue, shape Shape, agent crypto.Signer, agentChain []*x509.Certificate, now time.Time, random io.Reader) ([]byte, error) {
	if shape != Supplied && shape != AgentOnly {
		return nil, unusable("the shape of requests to AD CS is not set")
	}
	if regInfo[0].Value == "" {
		return nil, unusable("a request to AD CS needs the name of a template")
	}
	form, err := CheckNullSignature(csr)
	if err != nil {
		return nil, err
	}
	if form != Signed {
		if csr, err = RenullSigned(csr, Microsoft); err != nil {
			return nil, err
		}
	}
	d := PKIData{
		Controls: []Control{{BodyPartID: requestID + 1, Type: OIDRegInfo, Values: [][]byte{octets(microsoftRegInfo(regInfo))}}},
		Requests: []TaggedRequest{{Kind: TCR, BodyPartID: requestID, Raw: csr}},
	}
	der, err := d.Marshal()
	if err != nil {
		return nil, err
	}
	c := &content{OIDPKIData, der, agentChain, now}
	if form == Signed || shape == AgentOnly {
		return signOnce(c, random, agent, agentChain)
	}
	return signSupplied(c, csr, random, agent, agentChain)
}

// signSupplied writes the two signers of the shape Supplied. Microsoft wants the one that names the requested key first;
// DER wants them sorted, and the smaller encoding of the one without a signature puts it there.
func signSupplied(c *content, csr []byte, random io.Reader, agent crypto.Signer, agentChain []*x509.Certificate) ([]byte, error) {
	if len(agentChain) == 0 || agent == nil {
		return nil, unusable("a key and its certificate are needed to sign")
	}
	keyID, err := requestKeyID(csr)
	if err != nil {
		return nil, err
	}
	first, err := c.noSignature(keyID)
	if err != nil {
		return nil, err
	}
	second, err := c.sign(random, agent, agentChain[0])
	if err != nil {
		return nil, err
	}
	if bytes.Compare(first.info, second.info) > 0 {
		return nil, unusable("the signer without a signature would not come first")
	}
	return c.marshal(first, second)
}

// requestKeyID returns the SubjectKeyIdentifier that a PKCS#10 asks for, or that of its key.
func requestKeyID(csr []byte) ([]byte, error) {
	r, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, malformed("the PKCS#10 is not well-formed").because(err)
	}
	for _, e := range r.Extensions {
		if e.Id.Equal(oidSubjectKeyID) {
			id, err := readOctets(e.Value)
			if err != nil {
				return nil, malformed("the SubjectKeyIdentifier of the PKCS#10 is not well-formed").because(err)
			}
			return id, nil
		}
	}
	return SubjectKeyID(r.RawSubjectPublicKeyInfo)
}

// microsoftRegInfo renders name-value pairs as MS-WCCE 2.2.2.6.3 wants them: escaped in the manner of CertEnroll, with "&"
// after each.
func microsoftRegInfo(pairs []NameValue) []byte {
	escape := strings.NewReplacer("%", "%25", "&", "%26", "=", "%3D", `\`, "%5C", "$", "%24")
	var b strings.Builder
	for _, p := range pairs {
		b.WriteString(escape.Replace(p.Name) + "=" + escape.Replace(p.Value) + "&")
	}
	return []byte(b.String())
}

// PKCS7OnBehalf returns the DER of a PKCS #7 request on behalf of requester (MS-WCCE 3.2.2.6.2.1.2.1.1): the content is csr,
// which has to be really signed, and RequesterName is a signed attribute. It is for templates that want the signature of
// an agent where the requester could sign itself.
func PKCS7OnBehalf(csr []byte, requester string, agent crypto.Signer, agentChain []*x509.Certificate, now time.Time, random io.Reader) ([]byte, error) {
	form, err := CheckNullSignature(csr)
	if err != nil {
		return nil, err
	}
	if form != Signed || requester == "" {
		return nil, unusable("a PKCS #7 request on behalf of somebody needs a name and a really signed PKCS#10")
	}
	pair, err := nameValueAttribute("RequesterName", requester)
	if err != nil {
		return nil, err
	}
	return signOnce(&content{OIDData, csr, agentChain, now}, random, agent, agentChain, pair)
}

// nameValueAttribute returns the DER of a signed attribute with Microsoft's name-value pair.
func nameValueAttribute(name, value string) ([]byte, error) {
	return attribute(OIDNameValuePair, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(bmp(name))
			b.AddBytes(bmp(value))
		})
	})
}
