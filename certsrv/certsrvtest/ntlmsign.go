package certsrvtest

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // MS-NLMP 3.4.5
	"encoding/binary"
)

// ntlmKeys make the signatures of an NTLM session (MS-NLMP 3.4). Here they sign one thing only, SPNEGO's mechListMIC, with
// sequence number 0.
type ntlmKeys struct {
	exported []byte
	flags    uint32 // of the client's Type 3
}

// Directions of a signature, by the middle of Microsoft's magic constants.
const (
	byClient = "client-to-server"
	byServer = "server-to-client"
)

// sign returns the NTLMSSP_MESSAGE_SIGNATURE of data with extended session security, nil without: what the older kind signs
// no client of ours ever sent.
func (k *ntlmKeys) sign(direction string, data []byte) []byte {
	if k.flags&flagExtendedSession == 0 {
		return nil
	}
	seq := make([]byte, 4)
	sum := hmacMD5(k.derive(k.exported, direction, "signing"), seq, data)[:8]
	if k.flags&flagKeyExchange != 0 {
		sum = rc4Once(k.derive(k.sealable(), direction, "sealing"), sum)
	}
	return append(append(binary.LittleEndian.AppendUint32(nil, 1), sum...), seq...)
}

func (k *ntlmKeys) derive(key []byte, direction, use string) []byte {
	h := md5.New() //nolint:gosec // as above
	_, _ = h.Write(key)
	_, _ = h.Write([]byte("session key to " + direction + " " + use + " key magic constant\x00"))
	return h.Sum(nil)
}

// sealable is the part of the session key that sealing keys are made of.
func (k *ntlmKeys) sealable() []byte {
	switch {
	case k.flags&flag128 != 0:
		return k.exported
	case k.flags&flag56 != 0:
		return k.exported[:7]
	}
	return k.exported[:5]
}

// signedBy tells whether mic is the signature of data.
func (k *ntlmKeys) signedBy(direction string, data, mic []byte) bool {
	want := k.sign(direction, data)
	return want != nil && hmac.Equal(want, mic)
}
