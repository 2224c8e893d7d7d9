package capf

import (
	"encoding/asn1"
	"encoding/binary"
	"fmt"
)

// CertificateType is the kind of a certificate in a certificate package and the value of element 3.
type CertificateType uint8

// The certificate types. capfc calls a MIC an LSC, so a reader must not rely on the type.
const (
	CertificateLSC CertificateType = 1 // locally significant certificate
	CertificateMIC CertificateType = 2 // manufacturing installed certificate
)

// String returns "LSC", "MIC" or "TYPE_n".
func (t CertificateType) String() string {
	switch t {
	case CertificateLSC:
		return "LSC"
	case CertificateMIC:
		return "MIC"
	}
	return fmt.Sprintf("TYPE_%d", uint8(t))
}

// CertificateEntry is one certificate of a certificate package.
type CertificateEntry struct {
	Type CertificateType
	DER  []byte // X.509; checked to be one DER value, not to be a sound certificate
}

// ParseCertificatePackage reads the value of element 4: one or more entries.
func ParseCertificatePackage(b []byte) ([]CertificateEntry, error) {
	if len(b) == 0 {
		return nil, problemf(CodeBadElement, "certificate package is empty")
	}
	var entries []CertificateEntry
	for rest := b; len(rest) > 0; {
		if len(rest) < 5 {
			return nil, problemf(CodeElementOverEnd, "certificate package has %d bytes left over", len(rest))
		}
		n := int(binary.BigEndian.Uint16(rest[1:]))
		if n < 2 || n > len(rest)-3 {
			return nil, problemf(CodeElementOverEnd, "certificate entry tells %d bytes and the package has %d", n, len(rest)-3)
		}
		if rest[0] != 1 || rest[3] != 0 {
			return nil, problemf(CodeBadElement, "certificate entry begins with % x, want 01 .. .. 00", rest[:4])
		}
		der := rest[5 : 3+n : 3+n]
		if err := checkDER(der); err != nil {
			return nil, err
		}
		entries = append(entries, CertificateEntry{Type: CertificateType(rest[4]), DER: der})
		rest = rest[3+n:]
	}
	return entries, nil
}

// AppendCertificatePackage appends the value of element 4 for the entries to b. It fails when there is none or when
// they are too long.
func AppendCertificatePackage(b []byte, entries ...CertificateEntry) ([]byte, error) {
	if len(entries) == 0 {
		return b, problemf(CodeBadElement, "certificate package is empty")
	}
	total := 0
	for _, e := range entries {
		total += 5 + len(e.DER)
	}
	if total > MaxBody {
		return b, problemf(CodeMessageTooLong, "certificate package of %d bytes, limit %d", total, MaxBody)
	}
	for _, e := range entries {
		b = append(b, 1)
		b = binary.BigEndian.AppendUint16(b, uint16(len(e.DER)+2))
		b = append(b, 0, byte(e.Type))
		b = append(b, e.DER...)
	}
	return b, nil
}

// checkDER refuses what is not exactly one DER SEQUENCE.
func checkDER(der []byte) error {
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(der, &v)
	if err != nil {
		return &ProtocolError{ErrCode: CodeBadElement, Detail: "certificate is not DER", Err: err}
	}
	if len(rest) > 0 || v.Class != asn1.ClassUniversal || v.Tag != asn1.TagSequence || !v.IsCompound {
		return problemf(CodeBadElement, "certificate is not exactly one DER SEQUENCE")
	}
	return nil
}
