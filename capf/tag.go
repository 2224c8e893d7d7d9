package capf

import "fmt"

// Tag says what an element is.
type Tag uint8

// The elements. 14 and 15 exist and nobody has published what they are.
const (
	TagReason          Tag = 1
	TagReasonInfo      Tag = 2
	TagCertificateType Tag = 3
	TagCertificate     Tag = 4
	TagCertificateID   Tag = 5 // contents not known
	TagSignedData      Tag = 6
	TagVersion         Tag = 7
	TagAuthType        Tag = 8
	TagPublicKey       Tag = 9
	TagKeySize         Tag = 10
	TagPassword        Tag = 11
	TagRetryDelay      Tag = 12
	TagDeviceName      Tag = 13
	TagSUDIData        Tag = 16
	TagKeyType         Tag = 17
	TagCurve           Tag = 18
	TagDigestType      Tag = 19
	TagSHA2SignedData  Tag = 20
)

// String returns the element's name and number, e.g. "DEVICE_NAME (13)", or "TAG (14)" for one without a name.
func (t Tag) String() string {
	name := "TAG"
	switch t {
	case TagReason:
		name = "REASON"
	case TagReasonInfo:
		name = "REASON_INFO"
	case TagCertificateType:
		name = "CERTIFICATE_TYPE"
	case TagCertificate:
		name = "CERTIFICATE"
	case TagCertificateID:
		name = "CERTIFICATE_ID"
	case TagSignedData:
		name = "SIGNED_DATA"
	case TagVersion:
		name = "VERSION"
	case TagAuthType:
		name = "AUTH_TYPE"
	case TagPublicKey:
		name = "PUBLIC_KEY"
	case TagKeySize:
		name = "KEY_SIZE"
	case TagPassword:
		name = "PASSWORD"
	case TagRetryDelay:
		name = "RETRY_DELAY"
	case TagDeviceName:
		name = "DEVICE_NAME"
	case TagSUDIData:
		name = "SUDI_DATA"
	case TagKeyType:
		name = "KEY_TYPE"
	case TagCurve:
		name = "CURVE"
	case TagDigestType:
		name = "DIGEST_TYPE"
	case TagSHA2SignedData:
		name = "SHA2_SIGNED_DATA"
	}
	return fmt.Sprintf("%s (%d)", name, uint8(t))
}

// Known reports whether the element has a name. Unknown ones are skipped on reading and kept for re-encoding.
func (t Tag) Known() bool {
	return t >= TagReason && t <= TagSHA2SignedData && t != 14 && t != 15
}

// checkLength refuses an element whose length is fixed and wrong. The lengths of 5 and 19 are not known for certain
// and left alone.
func (t Tag) checkLength(n int) error {
	ok := true
	switch t {
	case TagReason, TagCertificateType, TagVersion, TagAuthType, TagKeyType, TagCurve:
		ok = n == 1
	case TagKeySize:
		ok = n == 2
	case TagRetryDelay:
		ok = n == 1 || n == 2 || n == 4
	}
	if !ok {
		return problemf(CodeElementLength, "element %v has %d bytes", t, n)
	}
	return nil
}
