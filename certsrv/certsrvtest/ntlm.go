package certsrvtest

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // NTLMv2 is defined with MD5 (MS-NLMP 3.3.2)
	"crypto/rc4" //nolint:gosec // the exported session key is wrapped with RC4 (MS-NLMP 3.1.5.1.2)
	"encoding/binary"
	"errors"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/crypto/md4" //nolint:staticcheck,gosec // the NT hash is MD4 (MS-NLMP 3.3.1)
)

// The server half of NTLM, MS-NLMP. Only NTLMv2 is accepted.

const ntlmSignature = "NTLMSSP\x00"

// Negotiate flags (MS-NLMP 2.2.2.5).
const (
	flagUnicode         = 0x00000001
	flagOEM             = 0x00000002
	flagRequestTarget   = 0x00000004
	flagSign            = 0x00000010
	flagSeal            = 0x00000020
	flagNTLM            = 0x00000200
	flagAlwaysSign      = 0x00008000
	flagTargetDomain    = 0x00010000
	flagExtendedSession = 0x00080000
	flagTargetInfo      = 0x00800000
	flagVersion         = 0x02000000
	flag128             = 0x20000000
	flagKeyExchange     = 0x40000000
	flag56              = 0x80000000
)

// AV pair ids (MS-NLMP 2.2.2.1) and the bit of MsvAvFlags that announces a MIC.
const (
	avEOL          = 0
	avNBComputer   = 1
	avNBDomain     = 2
	avDNSComputer  = 3
	avDNSDomain    = 4
	avFlags        = 6
	avTimestamp    = 7
	avBindings     = 10
	avFlagsWithMIC = 0x2
)

const maxNTLMMessage = 16 << 10

var (
	errNTLMMalformed = errors.New("malformed NTLM message")
	errNTLMRefused   = errors.New("NTLM login refused")
)

// ntlmType returns the number of an NTLM message, 0 when it is none.
func ntlmType(msg []byte) uint32 {
	if len(msg) < 12 || len(msg) > maxNTLMMessage || string(msg[:8]) != ntlmSignature {
		return 0
	}
	return binary.LittleEndian.Uint32(msg[8:])
}

// negotiateFlags returns the flags of a Type 1 message. 16 octets are enough: names and version are optional.
func negotiateFlags(msg []byte) (uint32, error) {
	if ntlmType(msg) != 1 || len(msg) < 16 {
		return 0, errNTLMMalformed
	}
	flags := binary.LittleEndian.Uint32(msg[12:])
	if flags&(flagUnicode|flagOEM) == 0 {
		return 0, errNTLMMalformed
	}
	return flags, nil
}

// ntlmNames is what a server tells about itself in Type 2.
type ntlmNames struct{ domain, computer, dnsDomain string }

// challengeMessage returns the Type 2 message for a client's flags.
func challengeMessage(clientFlags uint32, challenge [8]byte, names ntlmNames, now time.Time) []byte {
	flags := clientFlags & (flagRequestTarget | flagSign | flagSeal | flagAlwaysSign | flagExtendedSession | flag128 | flag56 | flagKeyExchange)
	flags |= flagNTLM | flagTargetInfo | flagTargetDomain | flagVersion
	target := []byte(names.domain)
	if clientFlags&flagUnicode != 0 {
		flags |= flagUnicode
		target = utf16le(names.domain)
	} else {
		flags |= flagOEM
	}
	var info []byte
	pair := func(id uint16, value []byte) {
		info = binary.LittleEndian.AppendUint16(info, id)
		info = binary.LittleEndian.AppendUint16(info, uint16(len(value)))
		info = append(info, value...)
	}
	pair(avNBDomain, utf16le(names.domain))
	pair(avNBComputer, utf16le(names.computer))
	pair(avDNSDomain, utf16le(names.dnsDomain))
	pair(avDNSComputer, utf16le(strings.ToLower(names.computer)+"."+names.dnsDomain))
	pair(avTimestamp, binary.LittleEndian.AppendUint64(nil, fileTime(now)))
	pair(avEOL, nil)

	const header = 56
	msg := append([]byte(ntlmSignature), 2, 0, 0, 0)
	msg = appendVarField(msg, len(target), header)
	msg = binary.LittleEndian.AppendUint32(msg, flags)
	msg = append(msg, challenge[:]...)
	msg = append(msg, make([]byte, 8)...)
	msg = appendVarField(msg, len(info), header+len(target))
	msg = append(msg, 10, 0, 0x7c, 0x4f, 0, 0, 0, 15) // version 10.0.20348, NTLM revision 15
	msg = append(msg, target...)
	return append(msg, info...)
}

func appendVarField(msg []byte, length, offset int) []byte {
	msg = binary.LittleEndian.AppendUint16(msg, uint16(length))
	msg = binary.LittleEndian.AppendUint16(msg, uint16(length))
	return binary.LittleEndian.AppendUint32(msg, uint32(offset))
}

// authenticate is a Type 3 message.
type authenticate struct {
	nt           []byte // NTLMv2: 16 octets of proof, then the blob
	domain, user string
	sessionKey   []byte // RC4-wrapped exported session key, with key exchange
	flags        uint32
	payload      int // where the first field's octets begin
}

func parseAuthenticate(msg []byte) (*authenticate, error) {
	if ntlmType(msg) != 3 || len(msg) < 64 {
		return nil, errNTLMMalformed
	}
	a := &authenticate{flags: binary.LittleEndian.Uint32(msg[60:]), payload: len(msg)}
	field := func(at int) ([]byte, error) {
		length := int(binary.LittleEndian.Uint16(msg[at:]))
		offset := uint64(binary.LittleEndian.Uint32(msg[at+4:]))
		if length == 0 {
			return nil, nil
		}
		if offset < 64 || offset+uint64(length) > uint64(len(msg)) {
			return nil, errNTLMMalformed
		}
		a.payload = min(a.payload, int(offset))
		return msg[offset : offset+uint64(length)], nil
	}
	var names [2][]byte
	var errs [5]error
	_, errs[0] = field(12) // the LM response; NTLMv2 needs none
	a.nt, errs[1] = field(20)
	names[0], errs[2] = field(28)
	names[1], errs[3] = field(36)
	a.sessionKey, errs[4] = field(52)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, errNTLMMalformed
	}
	var err error
	if a.domain, err = ntlmText(names[0], a.flags); err != nil {
		return nil, err
	}
	a.user, err = ntlmText(names[1], a.flags)
	return a, err
}

func ntlmText(b []byte, flags uint32) (string, error) {
	if flags&flagUnicode == 0 {
		return string(b), nil
	}
	if len(b)%2 != 0 {
		return "", errNTLMMalformed
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units)), nil
}

// ntlmProof is what a Type 3 message proves besides the password.
type ntlmProof struct {
	sessionKey []byte // exported session key
	binding    []byte // 16 octets of channel binding; nil when the client sends none
}

// verify checks the NTLMv2 proof of a, parsed from msg, against password; and the MIC over the three messages when the
// client said that it sends one. negotiate and challengeMsg are the earlier messages of the connection.
func (a *authenticate) verify(password string, challenge [8]byte, negotiate, challengeMsg, msg []byte) (*ntlmProof, error) {
	if len(a.nt) < 16+28 { // 24 octets are NTLMv1; none is LM alone or anonymous
		return nil, errNTLMRefused
	}
	proof, blob := a.nt[:16], a.nt[16:]
	if blob[0] != 1 || blob[1] != 1 {
		return nil, errNTLMRefused
	}
	pairs, err := parsePairs(blob[28:])
	if err != nil {
		return nil, err
	}
	key := ntowfv2(password, a.user, a.domain)
	if !hmac.Equal(proof, hmacMD5(key, challenge[:], blob)) {
		return nil, errNTLMRefused
	}
	exported := hmacMD5(key, proof) // SessionBaseKey, which with NTLMv2 is the key exchange key
	if a.flags&flagKeyExchange != 0 {
		if len(a.sessionKey) != 16 {
			return nil, errNTLMRefused
		}
		exported = rc4Once(exported, a.sessionKey)
	}
	if pairs.mic {
		if len(msg) < 88 || a.payload < 88 {
			return nil, errNTLMRefused
		}
		blank := append([]byte(nil), msg...)
		clear(blank[72:88])
		if !hmac.Equal(msg[72:88], hmacMD5(exported, negotiate, challengeMsg, blank)) {
			return nil, errNTLMRefused
		}
	}
	return &ntlmProof{sessionKey: exported, binding: pairs.binding}, nil
}

// rc4Once encrypts or decrypts b with the key stream from its beginning (MS-NLMP 3.1.5.1.2). The key has 16 octets or less.
func rc4Once(key, b []byte) []byte {
	c, err := rc4.NewCipher(key) //nolint:gosec // as MS-NLMP has it
	if err != nil {
		panic("certsrvtest: RC4 takes keys of 1 to 256 octets: " + err.Error())
	}
	out := make([]byte, len(b))
	c.XORKeyStream(out, b)
	return out
}

// avPairs is what a client's blob says besides the proof.
type avPairs struct {
	mic     bool   // it sends a MIC
	binding []byte // nil: no channel binding
}

// parsePairs reads the AV pairs of a client's blob.
func parsePairs(pairs []byte) (avPairs, error) {
	var found avPairs
	for len(pairs) >= 4 {
		id, length := binary.LittleEndian.Uint16(pairs), int(binary.LittleEndian.Uint16(pairs[2:]))
		if id == avEOL {
			return found, nil
		}
		if len(pairs) < 4+length {
			return avPairs{}, errNTLMMalformed
		}
		value := pairs[4 : 4+length]
		switch id {
		case avFlags:
			if length != 4 {
				return avPairs{}, errNTLMMalformed
			}
			found.mic = binary.LittleEndian.Uint32(value)&avFlagsWithMIC != 0
		case avBindings:
			if length != 16 {
				return avPairs{}, errNTLMMalformed
			}
			found.binding = value
		}
		pairs = pairs[4+length:]
	}
	return avPairs{}, errNTLMMalformed
}

// ntowfv2 is NTOWFv2 (MS-NLMP 3.3.2): the upper-cased user is hashed, the domain as the client wrote it.
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
	units := utf16.Encode([]rune(s))
	b := make([]byte, 0, 2*len(units))
	for _, u := range units {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// fileTime counts 100 ns since 1601.
func fileTime(t time.Time) uint64 {
	const unixEpoch = 116444736000000000
	return uint64(t.Unix()*10_000_000+int64(t.Nanosecond()/100)) + unixEpoch
}
