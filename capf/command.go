package capf

import "fmt"

// Command is the command byte of a message.
type Command uint8

// The commands. Odd ones up to 15 come from the server, even ones from the phone. Nobody has published the bytes of
// those marked unknown.
const (
	AuthRequest               Command = 1
	AuthResponse              Command = 2
	KeyGenerateRequest        Command = 3
	KeyGenerateResponse       Command = 4
	EncryptResponse           Command = 5 // unknown
	EncryptRequest            Command = 6 // unknown
	DecryptRequest            Command = 7 // unknown
	DecryptResponse           Command = 8 // unknown
	StoreCertificateRequest   Command = 9
	StoreCertificateResponse  Command = 10
	FetchCertificateRequest   Command = 11
	FetchCertificateResponse  Command = 12
	DeleteCertificateRequest  Command = 13
	DeleteCertificateResponse Command = 14
	EndSession                Command = 15
	RetryLater                Command = 16 // inferred
	RequestInProgress         Command = 17
	StatusRequest             Command = 18 // unknown
	StatusResponse            Command = 19 // unknown
	AbortRequest              Command = 20 // unknown
	AbortResponse             Command = 21 // unknown
	SignCertificateRequest    Command = 22 // unknown
	SignCertificateResponse   Command = 23 // unknown
)

// String returns the command's name, e.g. "AUTH_REQUEST", or "COMMAND_99" for a number without one.
func (c Command) String() string {
	switch c {
	case AuthRequest:
		return "AUTH_REQUEST"
	case AuthResponse:
		return "AUTH_RESPONSE"
	case KeyGenerateRequest:
		return "KEY_GENERATE_REQUEST"
	case KeyGenerateResponse:
		return "KEY_GENERATE_RESPONSE"
	case EncryptResponse:
		return "ENCRYPT_RESPONSE"
	case EncryptRequest:
		return "ENCRYPT_REQUEST"
	case DecryptRequest:
		return "DECRYPT_REQUEST"
	case DecryptResponse:
		return "DECRYPT_RESPONSE"
	case StoreCertificateRequest:
		return "STORE_CERTIFICATE_REQUEST"
	case StoreCertificateResponse:
		return "STORE_CERTIFICATE_RESPONSE"
	case FetchCertificateRequest:
		return "FETCH_CERTIFICATE_REQUEST"
	case FetchCertificateResponse:
		return "FETCH_CERTIFICATE_RESPONSE"
	case DeleteCertificateRequest:
		return "DELETE_CERTIFICATE_REQUEST"
	case DeleteCertificateResponse:
		return "DELETE_CERTIFICATE_RESPONSE"
	case EndSession:
		return "END_SESSION"
	case RetryLater:
		return "RETRY_LATER"
	case RequestInProgress:
		return "REQUEST_IN_PROGRESS"
	case StatusRequest:
		return "STATUS_REQUEST"
	case StatusResponse:
		return "STATUS_RESPONSE"
	case AbortRequest:
		return "ABORT_REQUEST"
	case AbortResponse:
		return "ABORT_RESPONSE"
	case SignCertificateRequest:
		return "SIGN_CERTIFICATE_REQUEST"
	case SignCertificateResponse:
		return "SIGN_CERTIFICATE_RESPONSE"
	}
	return fmt.Sprintf("COMMAND_%d", uint8(c))
}

// Reason is the value of element 1: why a session ended, or how the phone fared with a request.
type Reason uint8

// The reasons that are known. All other values are logged and taken as a failure, and never sent.
const (
	ReasonNoAction          Reason = 0 // nothing to do; also the end of a fetch
	ReasonUpdateCertificate Reason = 1 // success
	ReasonInvalidElement    Reason = 7 // refused or failed; from a phone: could not do it
	ReasonUnknownDevice     Reason = 9 // device name not configured
)

// Known reports whether the value has a known meaning.
func (r Reason) Known() bool {
	switch r {
	case ReasonNoAction, ReasonUpdateCertificate, ReasonInvalidElement, ReasonUnknownDevice:
		return true
	}
	return false
}

// String returns the reason's name, e.g. "UPDATE_CERTIFICATE", or "REASON_4" for a number without one.
func (r Reason) String() string {
	switch r {
	case ReasonNoAction:
		return "NO_ACTION"
	case ReasonUpdateCertificate:
		return "UPDATE_CERTIFICATE"
	case ReasonInvalidElement:
		return "INVALID_ELEMENT"
	case ReasonUnknownDevice:
		return "UNKNOWN_DEVICE"
	}
	return fmt.Sprintf("REASON_%d", uint8(r))
}

// AuthType is the value of element 8: how the phone is to authenticate. Servers send AuthNone and phones follow their
// own configuration.
type AuthType uint8

// The values of element 8.
const (
	AuthNone       AuthType = 0
	AuthPassword   AuthType = 1
	AuthNoPassword AuthType = 2
	AuthLSC        AuthType = 3
	AuthMIC        AuthType = 4
)

// ProtocolVersion is the highest protocol version, the one a server announces.
const ProtocolVersion = 3
