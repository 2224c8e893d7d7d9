package cmc

import (
	"encoding/binary"
	"unicode/utf16"
)

// tagBMPString is the universal tag of BMPString, UTF-16 in big endian order without surrogates.
const tagBMPString = 30

// readBMP returns the text of the contents of a BMPString. Surrogate pairs, which BMPString forbids and Windows writes,
// are read as UTF-16.
func readBMP(b []byte) (string, bool) {
	if len(b)%2 != 0 {
		return "", false
	}
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.BigEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(u)), true
}

// bmp returns the DER of a BMPString.
func bmp(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.BigEndian.AppendUint16(b, u)
	}
	return appendTLV(nil, tagBMPString, b)
}
