package winauth

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // NTLMv2 is defined with MD5 (MS-NLMP 3.3.2)
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf16"

	"github.com/Azure/go-ntlmssp"
	"golang.org/x/crypto/md4" //nolint:staticcheck,gosec // the NT hash is MD4 (MS-NLMP 3.3.1)
)

// maxChallenge bounds an NTLM Type 2 message; real ones have a few hundred octets.
const maxChallenge = 8 << 10

// target is what a login is bound to: the service that is meant, and the TLS connection.
type target struct {
	spn     string    // "HTTP/lab-dc.example.net"
	binding *[16]byte // nil for none: zeros would be a wrong binding
}

// ntlm makes the messages of an NTLMv2 login ([MS-NLMP] 3.1.5). It sends no domain or workstation name of its own.
type ntlm struct {
	creds     Credentials
	target    target
	negotiate []byte // our Type 1, which the MIC covers
}

// first returns the value of the Authorization field of the first leg, without the scheme.
func (n *ntlm) first() (string, error) {
	msg, err := ntlmssp.NewNegotiateMessage("", "")
	if err != nil {
		return "", fmt.Errorf("NTLM negotiate message: %w", err)
	}
	n.negotiate = msg
	return base64.StdEncoding.EncodeToString(msg), nil
}

// next answers the server's challenge.
func (n *ntlm) next(token string) (string, error) {
	challenge, err := decodeToken(token)
	if err != nil {
		return "", fmt.Errorf("NTLM challenge is not base64: %w", err)
	}
	if err := checkChallenge(challenge); err != nil {
		return "", err
	}
	bound, err := withTarget(challenge, n.target)
	if err != nil {
		return "", err
	}
	msg, err := ntlmssp.NewAuthenticateMessage(bound, n.creds.User, n.creds.Password.reveal(), nil)
	if err != nil {
		return "", fmt.Errorf("NTLM challenge: %w", err)
	}
	domain, user := n.creds.split()
	if msg, err = withMIC(n.negotiate, challenge, msg, ntowfv2(n.creds.Password.reveal(), user, domain)); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(msg), nil
}

// Offsets in a Type 2 message ([MS-NLMP] 2.2.1.2).
const (
	atTargetName    = 12
	atTargetInfo    = 40
	challengeHeader = 48 // signature, type, target name, flags, challenge, reserved, target info
)

// checkChallenge looks at the frame of a Type 2 message before anything computes with it: the lengths come from a peer
// that has proven nothing about NTLM yet.
func checkChallenge(b []byte) error {
	switch {
	case len(b) > maxChallenge:
		return fmt.Errorf("NTLM challenge has %d octets", len(b))
	case len(b) < challengeHeader || string(b[:8]) != "NTLMSSP\x00":
		return errors.New("token is no NTLM message; a SPNEGO token here means that the server wants Kerberos")
	case binary.LittleEndian.Uint32(b[8:]) != 2:
		return fmt.Errorf("NTLM message has type %d, want 2 (challenge)", binary.LittleEndian.Uint32(b[8:]))
	}
	for _, at := range []int{atTargetName, atTargetInfo} {
		if _, err := field(b, at); err != nil {
			return err
		}
	}
	return nil
}

// field returns the octets that the length and offset at a place of a message stand for.
func field(b []byte, at int) ([]byte, error) {
	n, off := uint64(binary.LittleEndian.Uint16(b[at:])), uint64(binary.LittleEndian.Uint32(b[at+4:]))
	switch {
	case n == 0:
		return nil, nil
	case off+n > uint64(len(b)):
		return nil, fmt.Errorf("NTLM challenge: field at %d reaches over the end (%d+%d > %d)", at, off, n, len(b))
	}
	return b[off : off+n], nil
}

// AV pairs ([MS-NLMP] 2.2.2.1), and the bit of MsvAvFlags that announces a MIC.
const (
	avEOL             = 0
	avFlags           = 6
	avTargetName      = 9
	avChannelBindings = 10
	avFlagMIC         = 0x2
)

// withTarget returns a copy of a Type 2 message whose TargetInfo, which the answer repeats under the proof of the password,
// also says what the login is bound to and that a MIC follows.
func withTarget(challenge []byte, t target) ([]byte, error) {
	pairs, err := field(challenge, atTargetInfo)
	if err != nil {
		return nil, err
	}
	var info []byte
	add := func(id uint16, value []byte) {
		info = binary.LittleEndian.AppendUint16(info, id)
		info = binary.LittleEndian.AppendUint16(info, uint16(len(value)))
		info = append(info, value...)
	}
	flags := uint32(avFlagMIC)
	for done := len(pairs) == 0; !done; {
		if len(pairs) < 4 {
			return nil, errors.New("NTLM challenge: target info without an end")
		}
		id, n := binary.LittleEndian.Uint16(pairs), int(binary.LittleEndian.Uint16(pairs[2:]))
		if 4+n > len(pairs) {
			return nil, fmt.Errorf("NTLM challenge: target info: pair %d reaches over the end", id)
		}
		value := pairs[4 : 4+n]
		pairs = pairs[4+n:]
		switch id {
		case avEOL:
			done = true
		case avFlags:
			if n != 4 {
				return nil, fmt.Errorf("NTLM challenge: target info: flags of %d octets", n)
			}
			flags |= binary.LittleEndian.Uint32(value)
		case avTargetName, avChannelBindings: // for the client to say
		default:
			add(id, value)
		}
	}
	add(avFlags, binary.LittleEndian.AppendUint32(nil, flags))
	add(avTargetName, utf16le(t.spn))
	if t.binding != nil {
		add(avChannelBindings, t.binding[:])
	}
	add(avEOL, nil)
	if len(info) > math.MaxUint16 {
		return nil, fmt.Errorf("NTLM challenge: target info would have %d octets", len(info))
	}
	out := append([]byte(nil), challenge...)
	binary.LittleEndian.PutUint16(out[atTargetInfo:], uint16(len(info)))
	binary.LittleEndian.PutUint16(out[atTargetInfo+2:], uint16(len(info)))
	binary.LittleEndian.PutUint32(out[atTargetInfo+4:], uint32(len(out)))
	return append(out, info...), nil
}

// Offsets in a Type 3 message ([MS-NLMP] 2.2.1.3).
const (
	atNTResponse       = 20
	atFlags            = 60
	atVersion          = 64
	atMIC              = 72
	authenticateHeader = 88

	flagVersion     = 0x02000000
	flagKeyExchange = 0x40000000
)

// authenticateFields are the places of length and offset in a Type 3 message: LM and NT response, domain, user,
// workstation, session key.
var authenticateFields = [...]int{12, atNTResponse, 28, 36, 44, 52}

// withMIC returns a Type 3 message, which the library writes without them, with version and MIC: a code over all three
// messages that keeps anybody from changing what they negotiate ([MS-NLMP] 3.1.5.1.2). The version comes along because
// servers look for the MIC behind it when its flag says that it is there, and Windows always sends it.
func withMIC(negotiate, challenge, msg, ntowf []byte) ([]byte, error) {
	const extra = authenticateHeader - atVersion
	if len(msg) < atVersion || binary.LittleEndian.Uint32(msg[8:]) != 3 {
		return nil, errors.New("NTLM authenticate message is malformed")
	}
	flags := binary.LittleEndian.Uint32(msg[atFlags:])
	if flags&flagKeyExchange != 0 {
		return nil, errors.New("NTLM challenge asks for a key exchange, which was not offered")
	}
	response, err := field(msg, atNTResponse)
	if err != nil || len(response) < 16 {
		return nil, errors.New("NTLM authenticate message has no proof")
	}
	// Without key exchange the SessionBaseKey, made of the proof, is the key of the MIC ([MS-NLMP] 3.3.2).
	key := hmacMD5(ntowf, response[:16])

	out := append([]byte(nil), msg[:atVersion]...)
	binary.LittleEndian.PutUint32(out[atFlags:], flags|flagVersion)
	out = append(out, negotiateVersion[:]...)
	out = append(out, make([]byte, authenticateHeader-atMIC)...)
	out = append(out, msg[atVersion:]...)
	for _, at := range authenticateFields {
		binary.LittleEndian.PutUint32(out[at+4:], binary.LittleEndian.Uint32(out[at+4:])+extra)
	}
	copy(out[atMIC:], hmacMD5(key, negotiate, challenge, out))
	return out, nil
}

// negotiateVersion is the version that the library's Type 1 message tells: Windows 6.1, NTLM revision 15.
var negotiateVersion = [8]byte{6, 1, 0xb1, 0x1d, 0, 0, 0, 15}

// ntowfv2 is the key that NTLMv2 makes of a password ([MS-NLMP] 3.3.2): the user's name counts in upper case, the domain
// as it is written. The library makes it, too, and keeps it to itself.
func ntowfv2(password, user, domain string) []byte {
	h := md4.New() //nolint:gosec // the NT hash is MD4
	_, _ = h.Write(utf16le(password))
	return hmacMD5(h.Sum(nil), utf16le(strings.ToUpper(user)+domain))
}

func hmacMD5(key []byte, parts ...[]byte) []byte {
	m := hmac.New(md5.New, key)
	for _, p := range parts {
		_, _ = m.Write(p)
	}
	return m.Sum(nil)
}

func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}
