package winauth

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/Azure/go-ntlmssp"
)

// maxChallenge bounds an NTLM Type 2 message; real ones have a few hundred octets.
const maxChallenge = 8 << 10

// mechanism makes the tokens of one login. Kerberos and channel bindings will be further mechanisms: they get what they
// need (target host, TLS state, clock) when they are made.
type mechanism interface {
	// first returns the value of the Authorization field of the first leg, without the scheme.
	first() (string, error)
	// next answers a token of the server.
	next(token string) (string, error)
}

// ntlm is the NTLMv2 mechanism ([MS-NLMP] 3.1.5). It sends no domain or workstation name of its own.
type ntlm struct{ creds Credentials }

func (n ntlm) first() (string, error) {
	msg, err := ntlmssp.NewNegotiateMessage("", "")
	if err != nil {
		return "", fmt.Errorf("NTLM negotiate message: %w", err)
	}
	return base64.StdEncoding.EncodeToString(msg), nil
}

func (n ntlm) next(token string) (string, error) {
	challenge, err := decodeToken(token)
	if err != nil {
		return "", fmt.Errorf("NTLM challenge is not base64: %w", err)
	}
	if err := checkChallenge(challenge); err != nil {
		return "", err
	}
	msg, err := ntlmssp.NewAuthenticateMessage(challenge, n.creds.User, n.creds.Password.reveal(), nil)
	if err != nil {
		return "", fmt.Errorf("NTLM challenge: %w", err)
	}
	return base64.StdEncoding.EncodeToString(msg), nil
}

// checkChallenge looks at the frame of a Type 2 message ([MS-NLMP] 2.2.1.2) before anything computes with it: the
// lengths come from a peer that has proven nothing about NTLM yet.
func checkChallenge(b []byte) error {
	const header = 48 // signature, type, target name, flags, challenge, reserved, target info
	switch {
	case len(b) > maxChallenge:
		return fmt.Errorf("NTLM challenge has %d octets", len(b))
	case len(b) < header || string(b[:8]) != "NTLMSSP\x00":
		return errors.New("token is no NTLM message; a SPNEGO token here means that the server wants Kerberos")
	case binary.LittleEndian.Uint32(b[8:]) != 2:
		return fmt.Errorf("NTLM message has type %d, want 2 (challenge)", binary.LittleEndian.Uint32(b[8:]))
	}
	for _, at := range []int{12, 40} { // target name, target info
		n, off := uint64(binary.LittleEndian.Uint16(b[at:])), uint64(binary.LittleEndian.Uint32(b[at+4:]))
		if n > 0 && off+n > uint64(len(b)) {
			return fmt.Errorf("NTLM challenge: field at %d reaches over the end (%d+%d > %d)", at, off, n, len(b))
		}
	}
	return nil
}
