package probe

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
)

// Alert is a fatal TLS alert (RFC 8446 section 6). The zero value means none: 0 is close_notify, which is an end and no
// failure.
type Alert uint8

// The alerts that are explained.
const (
	AlertHandshakeFailure     Alert = 40
	AlertBadCertificate       Alert = 42
	AlertAccessDenied         Alert = 49
	AlertProtocolVersion      Alert = 70
	AlertInsufficientSecurity Alert = 71
	AlertInternalError        Alert = 80
	AlertUnrecognizedName     Alert = 112
	AlertCertificateRequired  Alert = 116
)

// alertNames are the names of the IANA registry.
var alertNames = map[Alert]string{
	10: "unexpected_message", 20: "bad_record_mac", 21: "decryption_failed", 22: "record_overflow", 30: "decompression_failure",
	40: "handshake_failure", 41: "no_certificate", 42: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked",
	45: "certificate_expired", 46: "certificate_unknown", 47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied",
	50: "decode_error", 51: "decrypt_error", 52: "too_many_cids_requested", 60: "export_restriction", 70: "protocol_version",
	71: "insufficient_security", 80: "internal_error", 86: "inappropriate_fallback", 90: "user_canceled", 100: "no_renegotiation",
	109: "missing_extension", 110: "unsupported_extension", 111: "certificate_unobtainable", 112: "unrecognized_name",
	113: "bad_certificate_status_response", 114: "bad_certificate_hash_value", 115: "unknown_psk_identity",
	116: "certificate_required", 120: "no_application_protocol", 121: "ech_required",
}

// String returns the alert as servers' logs name it: "handshake_failure(40)"; "" for none.
func (a Alert) String() string {
	if a == 0 {
		return ""
	}
	if name, ok := alertNames[a]; ok {
		return fmt.Sprintf("%s(%d)", name, uint8(a))
	}
	return fmt.Sprintf("alert(%d)", uint8(a))
}

// alertIn returns the alert with which the peer ended the handshake, 0 for none. crypto/tls keeps the number to itself, but
// its text is that of the public AlertError.
func alertIn(err error) Alert {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" {
		return 0
	}
	text := op.Err.Error()
	for n := range 256 {
		if tls.AlertError(n).Error() == text {
			return Alert(n)
		}
	}
	return 0
}
