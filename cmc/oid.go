package cmc

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
)

// Object identifiers that callers compare with. They are never modified.
var (
	// OIDData is id-data, the eContentType of certs-only messages and of PKCS #7 requests on behalf of somebody.
	OIDData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	// OIDPKIData is id-cct-PKIData, the eContentType of a full request.
	OIDPKIData = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 12, 2}
	// OIDPKIResponse is id-cct-PKIResponse, the eContentType of a full response.
	OIDPKIResponse = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 12, 3}
	// OIDKeyPurposeCMCCA is the extended key usage id-kp-cmcCA.
	OIDKeyPurposeCMCCA = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 27}
	// OIDKeyPurposeCMCRA is the extended key usage id-kp-cmcRA of those who may vouch and of responders.
	OIDKeyPurposeCMCRA = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28}
	// OIDCertificateRequestAgent is Microsoft's extended key usage of enrollment agents.
	OIDCertificateRequestAgent = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 1}
	// OIDNameValuePair is szOID_ENROLLMENT_NAME_VALUE_PAIR, a signed attribute or PKCS#10 attribute of Microsoft's.
	OIDNameValuePair = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 13, 2, 1}
	// OIDNoSignature is id-alg-noSignature (RFC 5272 appendix C.1).
	OIDNoSignature = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 6, 2}
)

// Controls of RFC 5272 and RFC 6402 that this package understands, as object identifiers. They are never modified.
var (
	OIDStatusInfo        = controlOID(1)  // old status of a response; read, never sent
	OIDDataReturn        = controlOID(4)  // OCTET STRING that the server returns unchanged
	OIDTransactionID     = controlOID(5)  // INTEGER
	OIDSenderNonce       = controlOID(6)  // OCTET STRING
	OIDRecipientNonce    = controlOID(7)  // OCTET STRING
	OIDLRAPOPWitness     = controlOID(11) // LraPopWitness
	OIDRegInfo           = controlOID(18) // OCTET STRING
	OIDQueryPending      = controlOID(21) // OCTET STRING, the pendToken
	OIDStatusInfoV2      = controlOID(25) // CMCStatusInfoV2
	OIDRAIdentityWitness = controlOID(35) // BodyPartPath
	oidChangeSubjectName = controlOID(36) // a PKCS#10 attribute, not a control
)

var (
	oidSignedData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningTime      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
	oidExtensionRequest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
	oidSubjectKeyID     = asn1.ObjectIdentifier{2, 5, 29, 14}

	oidSHA1   = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	oidSHA256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}

	oidRSAEncryption   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidSHA256WithRSA   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	oidSHA384WithRSA   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12}
	oidSHA512WithRSA   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}
	oidECDSAWithSHA256 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidECDSAWithSHA384 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
	oidECDSAWithSHA512 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}
)

// controlOID returns id-cmc n.
func controlOID(n int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 7, n}
}

// HasKeyPurpose reports whether c's extended key usage names purpose. An absent extension and anyExtendedKeyUsage do
// not count: RFC 6402 wants the RA to be identified. Purposes that crypto/x509 knows by constant (serverAuth and the
// like) are not found; this is for the purposes of CMC and of Microsoft.
func HasKeyPurpose(c *x509.Certificate, purpose asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(c.UnknownExtKeyUsage, purpose.Equal)
}
