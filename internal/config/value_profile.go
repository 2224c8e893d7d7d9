package config

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// The checks of keys of profiles and of [ra].

// Networks reads addresses ("192.0.2.1") and networks ("192.0.2.0/24") as ra.trusted_proxies holds them. It refuses
// networks that are everybody, and those with bits beyond their length, where something else was probably meant.
func Networks(list []string) ([]netip.Prefix, error) {
	prefixes := make([]netip.Prefix, 0, len(list))
	for _, text := range list {
		p, err := network(text)
		if err != nil {
			return nil, err
		}
		if p.Bits() == 0 {
			return nil, fmt.Errorf("%q would trust everybody: name the addresses of the proxies", text)
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}

// network reads an address or a network.
func network(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a network such as 192.0.2.0/24", text)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has bits beyond its length, did you mean %s?", text, p.Masked())
	}
	return p, nil
}

func networks(value any) string {
	if _, err := Networks(value.([]string)); err != nil {
		return err.Error()
	}
	return ""
}

// status is an HTTP status of a refusal, or 0.
func status(value any) string {
	if n := value.(int); n != 0 && (n < 400 || n > 599) {
		return "must be 400 to 599, or 0"
	}
	return ""
}

// globs are patterns of names.
func globs(value any) string {
	for _, v := range value.([]string) {
		if v == "" {
			return "must not hold an empty pattern"
		}
		if text := word(v); text != "" {
			return fmt.Sprintf("%q %s", v, text)
		}
	}
	return ""
}

// attributeTypes are the short names of RFC 4514 section 3, and those that certificates use besides.
var attributeTypes = []string{"CN", "O", "OU", "C", "ST", "L", "STREET", "DC", "UID", "SERIALNUMBER", "EMAILADDRESS"}

// dotted is an object identifier.
var dotted = regexp.MustCompile(`^[0-2](\.(0|[1-9][0-9]*))+$`)

// rdns are parts of a subject: TYPE=VALUE.
func rdns(value any) string {
	for _, v := range value.([]string) {
		kind, rest, ok := strings.Cut(v, "=")
		kind = strings.ToUpper(strings.TrimSpace(kind))
		switch {
		case !ok || strings.TrimSpace(rest) == "":
			return fmt.Sprintf("%q is no part of a subject such as O=Example", v)
		case !slices.Contains(attributeTypes, kind) && !dotted.MatchString(kind):
			return fmt.Sprintf("%q: %s is no type of a subject's part; use %s or an object identifier", v, kind, strings.Join(attributeTypes, ", "))
		case word(rest) != "":
			return fmt.Sprintf("%q %s", v, word(rest))
		}
	}
	return ""
}

// nameForms are the words before the colon in the key names, with what is wrong with the text after it.
var nameForms = map[string]func(string) string{
	"dns": namePattern, "email": namePattern, "uri": namePattern,
	"ip": func(text string) string {
		if _, err := network(text); err != nil {
			return err.Error()
		}
		return ""
	},
}

func namePattern(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7F }) {
		return fmt.Sprintf("%q has characters that no such name has", text)
	}
	return ""
}

// names are the rules for alternative names.
func names(value any) string {
	const forms = "any, none, subject, dns:PATTERN, ip:NETWORK, email:PATTERN or uri:PATTERN"
	list := value.([]string)
	if len(list) == 0 {
		return "must not be empty: use any or none"
	}
	for _, v := range list {
		switch kind, rest, colon := strings.Cut(v, ":"); {
		case v == "any" || v == "none":
			if len(list) > 1 {
				return fmt.Sprintf("%q must stand alone", v)
			}
		case v == "subject":
		case !colon || nameForms[kind] == nil:
			text := fmt.Sprintf("%q is none of %s", v, forms)
			if near := nearest(kind, []string{"any", "none", "subject", "dns", "ip", "email", "uri"}); near != "" {
				if nameForms[near] != nil {
					near += ":"
				}
				text += fmt.Sprintf(", did you mean %s?", near)
			}
			return text
		case rest == "":
			return fmt.Sprintf("%q has nothing after the colon", v)
		default:
			if text := nameForms[kind](rest); text != "" {
				return fmt.Sprintf("%q: %s", v, text)
			}
		}
	}
	return ""
}

// The bounds of RSA keys that may be allowed: below, they are broken; above, one request costs seconds.
const (
	leastRSABits = 1024
	mostRSABits  = 8192
)

// keyKinds are keys that are certified.
func keyKinds(value any) string {
	list := value.([]string)
	if len(list) == 0 {
		return "must not be empty: without keys nothing can be certified"
	}
	for _, v := range list {
		if slices.Contains([]string{"p-256", "p-384", "p-521", "ed25519"}, v) {
			continue
		}
		bits, ok := strings.CutPrefix(v, "rsa:")
		low, high, span := strings.Cut(bits, "-")
		if !span {
			high = low
		}
		least, err := strconv.Atoi(low)
		most, err2 := strconv.Atoi(high)
		switch {
		case !ok || err != nil || err2 != nil:
			text := fmt.Sprintf("%q is none of rsa:BITS, rsa:LEAST-MOST, p-256, p-384, p-521 or ed25519", v)
			if near := nearest(v, []string{"rsa:2048-8192", "p-256", "p-384", "p-521", "ed25519"}); near != "" {
				text += fmt.Sprintf(", did you mean %s?", near)
			}
			return text
		case least < leastRSABits || most > mostRSABits || least > most:
			return fmt.Sprintf("%q: RSA keys must have %d to %d bits", v, leastRSABits, mostRSABits)
		}
	}
	return ""
}

// usageWords are the extended key usages that have a name here.
var usageWords = []string{"clientAuth", "serverAuth", "ipsecEndSystem", "emailProtection", "codeSigning", "timeStamping", "OCSPSigning"}

func usages(value any) string {
	for _, v := range value.([]string) {
		if slices.Contains(usageWords, v) || dotted.MatchString(v) {
			continue
		}
		text := fmt.Sprintf("%q is none of %s, and no object identifier", v, strings.Join(usageWords, ", "))
		for _, w := range usageWords {
			if nearest(v, []string{strings.ToLower(w)}) != "" {
				text += fmt.Sprintf(", did you mean %s?", w)
				break
			}
		}
		return text
	}
	return ""
}

// attributes is auto, none or a CsrAttrs as DER in base64.
func attributes(value any) string {
	text := value.(string)
	if text == CSRAttrsAuto || text == CSRAttrsNone {
		return ""
	}
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "must be auto, none or base64"
	}
	in := cryptobyte.String(der)
	var items cryptobyte.String
	if !in.ReadASN1(&items, asn1.SEQUENCE) || !in.Empty() {
		return "is base64, but not of a CsrAttrs: a DER SEQUENCE"
	}
	for !items.Empty() {
		var item cryptobyte.String
		var tag asn1.Tag
		if !items.ReadAnyASN1(&item, &tag) || tag != asn1.SEQUENCE && tag != asn1.OBJECT_IDENTIFIER {
			return "is base64, but not of a CsrAttrs: it holds more than object identifiers and attributes"
		}
	}
	return ""
}
