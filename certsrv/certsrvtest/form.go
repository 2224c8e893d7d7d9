package certsrvtest

import (
	"encoding/base64"
	"net/url"
	"strings"
)

// maxForm is AspMaxRequestEntityAllowed's default: what classic ASP takes as a form.
const maxForm = 204800

// maxFields bounds the fields of a form and the lines of CertAttrib.
const maxFields = 128

// parseForm reads a query or form as classic ASP does: names in any case (here: lower), a percent sign that begins no
// escape stands for itself, and the first value of a name counts. It never fails.
func parseForm(s string) url.Values {
	form := url.Values{}
	for pair := range strings.SplitSeq(s, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name = strings.ToLower(unescape(name))
		if _, seen := form[name]; seen {
			continue
		}
		if len(form) == maxFields {
			return form
		}
		form.Set(name, unescape(value))
	}
	return form
}

func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			b = append(b, ' ')
		case s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

// parseAttributes reads CertAttrib: Name:Value lines that end with CRLF or LF. Names come back in lower case, the first
// of a name counts, and a line without a colon or a name is skipped.
func parseAttributes(s string) map[string]string {
	attributes := map[string]string{}
	for line := range strings.SplitSeq(strings.ReplaceAll(s, "\r", "\n"), "\n") {
		name, value, ok := strings.Cut(line, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		if !ok || name == "" || len(attributes) == maxFields {
			continue
		}
		if _, seen := attributes[name]; !seen {
			attributes[name] = strings.TrimSpace(value)
		}
	}
	return attributes
}

// parseRegInfo reads CMC's regInfo: Name=Value pairs that are separated by & and percent-encoded (MS-WCCE 2.2.2.6.3), with
// names in lower case. A plus sign stands for itself.
func parseRegInfo(s string) map[string]string {
	values := map[string]string{}
	for pair := range strings.SplitSeq(s, "&") {
		name, value, ok := strings.Cut(pair, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if !ok || name == "" || len(values) == maxFields {
			continue
		}
		if _, seen := values[name]; !seen {
			values[name] = unescape(strings.ReplaceAll(value, "+", "%2B"))
		}
	}
	return values
}

// decodeRequest reads the CertRequest field: base64 with or without armour and line breaks. Spaces are skipped as Windows
// skips them; so a plus sign that the client did not escape shifts everything after it, and the request does not parse.
func decodeRequest(s string) ([]byte, error) {
	if i := strings.Index(s, "-----BEGIN"); i >= 0 {
		s = s[i+len("-----BEGIN"):]
		_, s, _ = strings.Cut(s, "-----")
		s, _, _ = strings.Cut(s, "-----END")
	}
	s = strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\r', '\n':
			return -1
		}
		return r
	}, s)
	der, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		der, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
	}
	if err != nil || len(der) == 0 {
		return nil, &statusError{eBadTag}
	}
	return der, nil
}
