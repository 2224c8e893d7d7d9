package certfile

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"iter"
	"unicode/utf16"
)

// decodeText removes a byte order mark and turns UTF-16, which Windows editors write, into UTF-8. Other data is returned
// as it is.
func decodeText(data []byte) []byte {
	switch {
	case bytes.HasPrefix(data, []byte{0xEF, 0xBB, 0xBF}):
		return data[3:]
	case bytes.HasPrefix(data, []byte{0xFF, 0xFE}):
		return decodeUTF16(data[2:], binary.LittleEndian)
	case bytes.HasPrefix(data, []byte{0xFE, 0xFF}):
		return decodeUTF16(data[2:], binary.BigEndian)
	case wideASCII(data, 0):
		return decodeUTF16(data, binary.LittleEndian)
	case wideASCII(data, 1):
		return decodeUTF16(data, binary.BigEndian)
	default:
		return data
	}
}

func decodeUTF16(data []byte, order binary.ByteOrder) []byte {
	units := make([]uint16, 0, len(data)/2)
	for ; len(data) >= 2; data = data[2:] {
		units = append(units, order.Uint16(data))
	}
	return []byte(string(utf16.Decode(units)))
}

// wideASCII reports whether data is ASCII text in two bytes each, of which the one at low is the character. No DER begins
// like that.
func wideASCII(data []byte, low int) bool {
	if len(data) == 0 || len(data)%2 != 0 {
		return false
	}
	for i := 0; i < len(data); i += 2 {
		if c := data[i+low]; c == 0 || c >= 0x80 || data[i+1-low] != 0 {
			return false
		}
	}
	return true
}

// lines returns the lines of text without their ends, which may be LF, CR LF, or CR as on old Macs.
func lines(text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(text) > 0 {
			line, rest := text, []byte(nil)
			if i := bytes.IndexAny(text, "\r\n"); i >= 0 {
				line, rest = text[:i], text[i+1:]
				if text[i] == '\r' && len(rest) > 0 && rest[0] == '\n' {
					rest = rest[1:]
				}
			}
			if !yield(line) {
				return
			}
			text = rest
		}
	}
}

// isBase64 tells the characters of base64 (RFC 4648 section 4) and its padding.
func isBase64(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/' || c == '='
}

// decodeBase64 decodes text without white space, whose padding may be missing.
func decodeBase64(text []byte) ([]byte, error) {
	unpadded := bytes.TrimRight(text, "=")
	if len(text)-len(unpadded) > 2 {
		return nil, errors.New("too much padding")
	}
	der := make([]byte, base64.RawStdEncoding.DecodedLen(len(unpadded)))
	n, err := base64.RawStdEncoding.Decode(der, unpadded)
	return der[:n], err
}

// bareBase64 returns the SEQUENCE that text is in base64, in lines of any length and without BEGIN and END.
func bareBase64(text []byte) ([]byte, bool) {
	packed := make([]byte, 0, len(text))
	for _, c := range text {
		switch {
		case isBase64(c):
			packed = append(packed, c)
		case c != ' ' && c != '\t' && c != '\r' && c != '\n':
			return nil, false
		}
	}
	der, err := decodeBase64(packed)
	return der, err == nil && len(der) > 1 && der[0] == sequence
}
