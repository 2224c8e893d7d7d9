package winauth

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// offer is one authentication scheme of a 401, with its token68 where it has one.
type offer struct {
	scheme string // as the server wrote it
	token  string // base64, empty for none
}

const maxOffers = 32

// offers reads the WWW-Authenticate fields (RFC 9110 section 11.6.1). IIS sends a line for each scheme; proxies join
// the lines by commas, so both forms are read. Parameters (realm="...") are skipped.
func offers(h http.Header) []offer {
	var out []offer
	for _, line := range h.Values("WWW-Authenticate") {
		for _, item := range splitQuoted(line) {
			if len(out) >= maxOffers {
				return out
			}
			scheme, rest, _ := strings.Cut(strings.TrimSpace(item), " ")
			if scheme == "" || strings.Contains(scheme, "=") {
				continue // a parameter of the scheme before it
			}
			o := offer{scheme: scheme}
			if rest = strings.TrimSpace(rest); isToken68(rest) {
				o.token = rest
			}
			out = append(out, o)
		}
	}
	return out
}

// splitQuoted splits at commas outside double quotes.
func splitQuoted(s string) []string {
	var out []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if quoted {
				i++
			}
		case '"':
			quoted = !quoted
		case ',':
			if !quoted {
				out = append(out, s[start:i])
				start = i + 1
			}
		}
	}
	return append(out, s[start:])
}

// isToken68 tells a base64 token from a parameter: NAME=VALUE has something after its first '='.
func isToken68(s string) bool {
	if s == "" {
		return false
	}
	body := strings.TrimRight(s, "=")
	for _, r := range body {
		if (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/", r) {
			return false
		}
	}
	return body != ""
}

func decodeToken(s string) ([]byte, error) { return base64.StdEncoding.DecodeString(s) }

// find returns the offer of a scheme, preferring one with a token.
func find(list []offer, scheme string) (offer, bool) {
	var best offer
	var ok bool
	for _, o := range list {
		if strings.EqualFold(o.scheme, scheme) && (!ok || best.token == "") {
			best, ok = o, true
		}
	}
	return best, ok
}

func schemes(list []offer) []string {
	var out []string
	for _, o := range list {
		out = append(out, o.scheme)
	}
	return out
}
