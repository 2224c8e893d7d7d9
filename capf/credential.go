package capf

import (
	"encoding/binary"
)

// DigestID names the hash in front of a signature in elements 16 and 20.
type DigestID uint8

// The digest ids that were seen. 0 marks the certificate in element 16.
const (
	DigestSHA1   DigestID = 1
	DigestSHA512 DigestID = 3
)

// SHA2Signature is the value of element 20.
type SHA2Signature struct {
	Digest    DigestID // only DigestSHA512 was seen
	Signature []byte
}

// ParseSHA2Signature reads the value of element 20.
func ParseSHA2Signature(b []byte) (SHA2Signature, error) {
	id, sig, rest, err := cutPart(b)
	if err != nil {
		return SHA2Signature{}, err
	}
	if len(rest) > 0 {
		return SHA2Signature{}, problemf(CodeElementOverEnd, "signed data has %d bytes left over", len(rest))
	}
	return SHA2Signature{Digest: DigestID(id), Signature: sig}, nil
}

// AppendBinary implements encoding.BinaryAppender.
func (s SHA2Signature) AppendBinary(b []byte) ([]byte, error) {
	return appendPart(b, uint8(s.Digest), s.Signature)
}

// SUDI is the value of element 16: proof that the phone holds the key of a certificate, for this session.
type SUDI struct {
	Certificate     []byte // DER
	SHA1Signature   []byte
	SHA512Signature []byte
}

// ParseSUDI reads the value of element 16: certificate, SHA-1 and SHA-512 signature, in this order.
func ParseSUDI(b []byte) (SUDI, error) {
	var parts [3][]byte
	for i, want := range [...]uint8{0, uint8(DigestSHA1), uint8(DigestSHA512)} {
		id, part, rest, err := cutPart(b)
		if err != nil {
			return SUDI{}, err
		}
		if id != want {
			return SUDI{}, problemf(CodeBadElement, "part %d of SUDI data has the id %d, want %d", i+1, id, want)
		}
		parts[i], b = part, rest
	}
	if len(b) > 0 {
		return SUDI{}, problemf(CodeElementOverEnd, "SUDI data has %d bytes left over", len(b))
	}
	if err := checkDER(parts[0]); err != nil {
		return SUDI{}, err
	}
	return SUDI{Certificate: parts[0], SHA1Signature: parts[1], SHA512Signature: parts[2]}, nil
}

// AppendBinary implements encoding.BinaryAppender.
func (s SUDI) AppendBinary(b []byte) ([]byte, error) {
	b, err := appendPart(b, 0, s.Certificate)
	if err != nil {
		return b, err
	}
	if b, err = appendPart(b, uint8(DigestSHA1), s.SHA1Signature); err != nil {
		return b, err
	}
	return appendPart(b, uint8(DigestSHA512), s.SHA512Signature)
}

// SignedBytes returns what the signatures of SUDI data are made over: the session id, little-endian unlike everything
// else in the protocol, and the certificate.
func (s SUDI) SignedBytes(session uint32) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, 4+len(s.Certificate)), session)
	return append(b, s.Certificate...)
}

// SignedBytes returns what the signatures in elements 6 and 20 are made over: device name, NUL, certificate.
func SignedBytes(device string, certificate []byte) []byte {
	b := make([]byte, 0, len(device)+1+len(certificate))
	b = append(append(b, device...), 0)
	return append(b, certificate...)
}

// cutPart reads id (1), length (2) and as many bytes.
func cutPart(b []byte) (id uint8, part, rest []byte, err error) {
	if len(b) < 3 {
		return 0, nil, nil, problemf(CodeElementOverEnd, "signed data ends after %d bytes", len(b))
	}
	n := int(binary.BigEndian.Uint16(b[1:]))
	if n > len(b)-3 {
		return 0, nil, nil, problemf(CodeElementOverEnd, "signed data tells %d bytes and has %d", n, len(b)-3)
	}
	return b[0], b[3 : 3+n : 3+n], b[3+n:], nil
}

func appendPart(b []byte, id uint8, part []byte) ([]byte, error) {
	if len(part) > MaxBody {
		return b, problemf(CodeMessageTooLong, "part of %d bytes, limit %d", len(part), MaxBody)
	}
	b = append(b, id)
	b = binary.BigEndian.AppendUint16(b, uint16(len(part)))
	return append(b, part...), nil
}
