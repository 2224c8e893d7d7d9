package certsrvtest

import (
	"fmt"
	"strings"
)

// Status codes that the server gives by itself.
const (
	eBadTag             = 0x8009310B
	eInvalidData        = 0x8007000D
	eAccessDenied       = 0x80070005
	eRPCUnavailable     = 0x800706BA
	eInvalidArg         = 0x80070057
	eBadSignature       = 0x80090006
	eNoSigner           = 0x8009200E
	eSignerNotFound     = 0x80092004
	eExpired            = 0x800B0101
	eUntrustedRoot      = 0x800B0109
	eNoRequest          = 0x80094002
	eBadRequestStatus   = 0x80094003
	ePropertyEmpty      = 0x80094004
	eTemplateDenied     = 0x80094012
	eAdminDenied        = 0x80094014
	eUnsupportedType    = 0x80094800
	eNoCertType         = 0x80094801
	eTemplateConflict   = 0x80094802
	eSANRequired        = 0x80094803
	eSignatureRequired  = 0x80094809
	eSignatureCount     = 0x8009480A
	eSignatureRejected  = 0x8009480B
	eKeyLength          = 0x80094811
	eConstructingFailed = 0x80004005
)

// statusError is an error that is nothing but a status code.
type statusError struct{ code uint32 }

func (e *statusError) Error() string { return strings.TrimSpace(statusText(English, e.code)) }

// statusNames has the names that follow the signed number: public constants of Windows headers.
var statusNames = map[uint32]string{
	0x80094001: "CERTSRV_E_BAD_REQUESTSUBJECT", eNoRequest: "CERTSRV_E_NO_REQUEST", eBadRequestStatus: "CERTSRV_E_BAD_REQUESTSTATUS",
	ePropertyEmpty: "CERTSRV_E_PROPERTY_EMPTY", 0x80094006: "CERTSRV_E_SERVER_SUSPENDED", 0x80094009: "CERTSRV_E_RESTRICTEDOFFICER",
	0x8009400F: "CERTSRV_E_NO_DB_SESSIONS", 0x80094011: "CERTSRV_E_ENROLL_DENIED", eTemplateDenied: "CERTSRV_E_TEMPLATE_DENIED",
	eAdminDenied: "CERTSRV_E_ADMIN_DENIED_REQUEST", eUnsupportedType: "CERTSRV_E_UNSUPPORTED_CERT_TYPE", eNoCertType: "CERTSRV_E_NO_CERT_TYPE",
	eTemplateConflict: "CERTSRV_E_TEMPLATE_CONFLICT", eSANRequired: "CERTSRV_E_SUBJECT_ALT_NAME_REQUIRED",
	0x80094806: "CERTSRV_E_BAD_RENEWAL_SUBJECT", 0x80094807: "CERTSRV_E_BAD_TEMPLATE_VERSION",
	0x80094808: "CERTSRV_E_TEMPLATE_POLICY_REQUIRED", eSignatureRequired: "CERTSRV_E_SIGNATURE_POLICY_REQUIRED",
	eSignatureCount: "CERTSRV_E_SIGNATURE_COUNT", eSignatureRejected: "CERTSRV_E_SIGNATURE_REJECTED",
	0x8009480C: "CERTSRV_E_ISSUANCE_POLICY_REQUIRED", 0x8009480D: "CERTSRV_E_SUBJECT_UPN_REQUIRED",
	0x8009480E: "CERTSRV_E_SUBJECT_DIRECTORY_GUID_REQUIRED", 0x8009480F: "CERTSRV_E_SUBJECT_DNS_REQUIRED",
	eKeyLength: "CERTSRV_E_KEY_LENGTH", 0x80094812: "CERTSRV_E_SUBJECT_EMAIL_REQUIRED",
	eExpired: "CERT_E_EXPIRED", eUntrustedRoot: "CERT_E_UNTRUSTEDROOT", eSignerNotFound: "CRYPT_E_NOT_FOUND", eNoSigner: "CRYPT_E_NO_SIGNER",
	0x80092012: "CRYPT_E_NO_REVOCATION_CHECK", 0x80092013: "CRYPT_E_REVOCATION_OFFLINE", 0x80093005: "OSS_DATA_ERROR",
	eBadTag: "CRYPT_E_ASN1_BADTAG", 0x80093102: "CRYPT_E_ASN1_EOD", eBadSignature: "NTE_BAD_SIGNATURE", 0x80090016: "NTE_BAD_KEYSET",
	eAccessDenied: "ERROR_ACCESS_DENIED", eInvalidData: "ERROR_INVALID_DATA", eInvalidArg: "ERROR_INVALID_PARAMETER",
	eRPCUnavailable: "RPC_S_SERVER_UNAVAILABLE", 0x8007139F: "ERROR_INVALID_STATE", eConstructingFailed: "E_FAIL",
}

// statusText renders a code as the pages do: text, lower-case hex, and the signed number and name, where Win32 and ASN.1
// codes show their low 16 bits (ASN.1: less 0x3000) in place of the signed number.
func statusText(l Lang, code uint32) string {
	if code == 0 {
		return l.words().statuses[0] + " 0x0 (WIN32: 0)"
	}
	var number string
	switch {
	case code>>16 == 0x8007:
		number = fmt.Sprintf("WIN32: %d", code&0xFFFF)
	case code&0xFFFFF000 == 0x80093000 && code&0xFFF >= 0x100:
		number = fmt.Sprintf("ASN: %d", code&0xFFF)
	default:
		number = fmt.Sprintf("%d", int32(code))
	}
	if name := statusNames[code]; name != "" {
		number += " " + name
	}
	return fmt.Sprintf("%s 0x%08x (%s)", statusProse(l, code), code, number)
}

// statusProse returns the sentence before the code, in our own words but for those that clients search for.
func statusProse(l Lang, code uint32) string {
	if t := l.words().statuses[code]; t != "" {
		return t
	}
	return l.words().otherStatus
}
