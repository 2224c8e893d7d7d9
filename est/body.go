package est

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"mime"
	"strings"
)

// LineForm is how base64 is laid out in an answer.
type LineForm int

// The layouts of base64.
const (
	// LineAuto breaks lines for a request with a User-Agent and sends one line to one without. The zero value.
	LineAuto LineForm = iota
	// LineBroken is lines of 64 characters, each ended by LF; libEST and OpenSSL cannot read longer ones.
	LineBroken
	// LineSingle is one line without any white space; strongSwan cannot read anything else.
	LineSingle
)

// lineLength is the length of a line of base64: what PEM uses, and every reader takes.
const lineLength = 64

// encodeBody returns der in base64, broken into terminated lines or as a single unterminated one.
func encodeBody(der []byte, broken bool) []byte {
	text := base64.StdEncoding.AppendEncode(nil, der)
	if !broken {
		return text
	}
	out := make([]byte, 0, len(text)+len(text)/lineLength+1)
	for len(text) > 0 {
		n := min(lineLength, len(text))
		out = append(append(out, text[:n]...), '\n')
		text = text[n:]
	}
	return out
}

// bodyForm is how a body was encoded.
type bodyForm string

const (
	formBase64 bodyForm = "base64" // as RFC 8951 demands
	formPEM    bodyForm = "pem"    // armoured: tolerated
	formDER    bodyForm = "der"    // not encoded at all: tolerated
)

// Reasons why a body cannot be decoded.
var (
	errBodyEmpty    = errors.New("body is empty")
	errBodyBase64   = errors.New("body is neither base64 nor DER")
	errBodyPEM      = errors.New("body is PEM of another kind or damaged")
	errBodySequence = errors.New("body does not hold a DER SEQUENCE")
)

// decodeBody returns the DER (or BER) in an EST body. Base64 may contain CR, LF, blank, tab and NUL anywhere; PEM is
// accepted when its type is one of types, and raw DER when the body begins with a SEQUENCE tag.
func decodeBody(body []byte, types ...string) ([]byte, bodyForm, error) {
	if len(body) == 0 {
		return nil, "", errBodyEmpty
	}
	// 0x30 is the digit 0 to base64; but no base64 of a SEQUENCE begins with it (it begins with M), so a SEQUENCE tag
	// in the first place is DER.
	if body[0] == 0x30 {
		return body, formDER, nil
	}
	text := stripSpace(body)
	if len(text) == 0 {
		return nil, "", errBodyEmpty
	}
	if bytes.HasPrefix(text, []byte("-----BEGIN")) {
		return decodePEM(body, types)
	}
	der := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(der, text)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", errBodyBase64, err)
	}
	if n == 0 || der[0] != 0x30 {
		return nil, "", errBodySequence
	}
	return der[:n], formBase64, nil
}

// decodePEM returns the contents of the only PEM block in body.
func decodePEM(body []byte, types []string) ([]byte, bodyForm, error) {
	block, rest := pem.Decode(bytes.Trim(body, "\x00"))
	if block == nil {
		return nil, "", errBodyPEM
	}
	if len(stripSpace(rest)) > 0 {
		return nil, "", fmt.Errorf("%w: something follows the first block", errBodyPEM)
	}
	for _, t := range types {
		if block.Type == t {
			if len(block.Bytes) == 0 || block.Bytes[0] != 0x30 {
				return nil, "", errBodySequence
			}
			return block.Bytes, formPEM, nil
		}
	}
	return nil, "", fmt.Errorf("%w: %q", errBodyPEM, clip(block.Type, 40))
}

// stripSpace returns body without white space and NULs.
func stripSpace(body []byte) []byte {
	out := make([]byte, 0, len(body))
	for _, c := range body {
		switch c {
		case ' ', '\t', '\r', '\n', 0:
		default:
			out = append(out, c)
		}
	}
	return out
}

// mediaType returns the media type of a Content-Type header field, lower case and without parameters, and its
// smime-type parameter, lower case. Parameters that cannot be parsed are ignored.
func mediaType(field string) (media, smime string) {
	media, params, err := mime.ParseMediaType(field)
	if err != nil || media == "" {
		media, _, _ = strings.Cut(field, ";")
		media = strings.ToLower(strings.TrimSpace(media))
	}
	return media, strings.ToLower(params["smime-type"])
}

// clip makes s fit for one line of a message or header: printable, and at most n bytes.
func clip(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == 0xfffd {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= n {
		return s
	}
	cut := strings.ToValidUTF8(s[:n], "")
	return cut + "..."
}
