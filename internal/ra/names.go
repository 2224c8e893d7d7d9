package ra

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Tags of general names (RFC 5280 section 4.2.1.6). Rules can allow mail addresses, DNS names, URIs and IP addresses.
const (
	tagOther     = 0
	tagEmail     = 1
	tagDNS       = 2
	tagDirectory = 4
	tagURI       = 6
	tagIP        = 7
)

// generalName is one name of a subjectAltName.
type generalName struct {
	tag   int // 0 to 8
	value []byte
}

// nameKinds are the words for the tags.
var nameKinds = [...]string{"otherName", "email", "dns", "x400", "directoryName", "ediPartyName", "uri", "ip", "registeredID"}

// String is the name for people, in the form in which rules write it: "dns:a.example.com". Names of the other kinds are shown as
// far as they can be: "otherName(1.3.6.1.4.1.311.20.2.3):user@example.com". Nothing in it breaks a line.
func (n generalName) String() string {
	kind := nameKinds[n.tag]
	switch n.tag {
	case tagEmail, tagDNS, tagURI:
		return kind + ":" + visible(n.value)
	case tagIP:
		if a, ok := netip.AddrFromSlice(n.value); ok {
			return kind + ":" + a.String()
		}
	case tagOther:
		return n.otherName()
	case tagDirectory:
		var name pkix.RDNSequence
		if rest, err := asn1.Unmarshal(n.value, &name); err == nil && len(rest) == 0 {
			return kind + ":" + visible([]byte(name.String()))
		}
	}
	return kind + ":" + hex.EncodeToString(n.value)
}

// otherName shows the type, and the value when it is text: OtherName ::= SEQUENCE { type-id, [0] EXPLICIT value }.
func (n generalName) otherName() string {
	in := cryptobyte.String(n.value)
	var oid asn1.ObjectIdentifier
	var explicit, text cryptobyte.String
	var tag cbasn1.Tag
	if !in.ReadASN1ObjectIdentifier(&oid) || !in.ReadASN1(&explicit, cbasn1.Tag(0).ContextSpecific().Constructed()) || !in.Empty() {
		return "otherName:" + hex.EncodeToString(n.value)
	}
	word := "otherName(" + oid.String() + "):"
	value := explicit
	if value.ReadAnyASN1(&text, &tag) && value.Empty() && (tag == cbasn1.UTF8String || tag == cbasn1.IA5String || tag == cbasn1.PrintableString) {
		return word + visible(text)
	}
	return word + hex.EncodeToString(explicit)
}

// visible makes a peer's text safe to show: what is no text is quoted.
func visible(b []byte) string {
	s := string(b)
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.QuoteToGraphic(s)
	}
	return s
}

// NamesOf returns the names in the subjectAltName of a request's extensions as text, "dns:a.example.com" or "ip:10.0.0.1"; nil when
// there is none. The error says why the extension cannot be read.
func NamesOf(extensions []pkix.Extension) ([]string, error) {
	var out []string
	for _, e := range extensions {
		if !e.Id.Equal(oidSubjectAltName) {
			continue
		}
		list, err := parseGeneralNames(e.Value)
		if err != nil {
			return nil, fmt.Errorf("read subjectAltName: %w", err)
		}
		for _, n := range list {
			out = append(out, n.String())
		}
	}
	return out, nil
}

// maxNames bounds the names of one request.
const maxNames = 200

// parseGeneralNames reads the value of the extension subjectAltName.
func parseGeneralNames(value []byte) ([]generalName, error) {
	in := cryptobyte.String(value)
	var seq cryptobyte.String
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !in.Empty() {
		return nil, errors.New("it is no sequence of names")
	}
	if seq.Empty() {
		return nil, errors.New("it is empty")
	}
	var out []generalName
	for !seq.Empty() {
		var body cryptobyte.String
		var tag cbasn1.Tag
		if !seq.ReadAnyASN1(&body, &tag) {
			return nil, errors.New("a name is not DER")
		}
		// Context-specific, of one octet; constructed for the kinds that are.
		number := int(tag &^ (0x80 | 0x20))
		constructed := number == 0 || number == 3 || number == 4 || number == 5
		if tag&0xc0 != 0x80 || number >= len(nameKinds) || constructed != (tag&0x20 != 0) {
			return nil, fmt.Errorf("it has a name with the tag %#x", uint8(tag))
		}
		if len(out) == maxNames {
			return nil, fmt.Errorf("it has more than %d names", maxNames)
		}
		out = append(out, generalName{tag: number, value: body})
	}
	return out, nil
}

// nameRules say which names are allowed.
type nameRules struct {
	words   []string // as configured
	any     bool
	subject bool
	globs   map[int][]string // by tag: patterns in lower case
	blocks  []netip.Prefix
}

// none tells whether no name is allowed at all.
func (r *nameRules) none() bool {
	return !r.any && !r.subject && len(r.globs) == 0 && len(r.blocks) == 0
}

func (r *nameRules) String() string { return strings.Join(r.words, ", ") }

func parseNameRules(list []string) (*nameRules, error) {
	r := &nameRules{words: list, any: len(list) == 0, globs: map[int][]string{}}
	for _, s := range list {
		kind, pattern, _ := strings.Cut(s, ":")
		pattern = strings.TrimSpace(pattern)
		switch kind {
		case "any", "none":
			if s != kind || len(list) > 1 {
				return nil, fmt.Errorf("%q stands alone or not at all", kind)
			}
			r.any = kind == "any"
			continue
		case "subject":
			if s != kind {
				return nil, fmt.Errorf("%q: write subject alone, it takes no pattern", s)
			}
			r.subject = true
			continue
		}
		tag := slices.Index(nameKinds[:], kind)
		switch {
		case pattern == "" || tag != tagEmail && tag != tagDNS && tag != tagURI && tag != tagIP:
			return nil, fmt.Errorf("%q is none of any, none, subject, dns:PATTERN, ip:CIDR, email:PATTERN and uri:PATTERN", s)
		case tag == tagIP:
			p, err := parseBlock(pattern)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", s, err)
			}
			r.blocks = append(r.blocks, p)
		default:
			r.globs[tag] = append(r.globs[tag], strings.ToLower(pattern))
		}
	}
	return r, nil
}

// parseBlock reads "192.0.2.0/24", or an address, which is a block of one.
func parseBlock(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, errors.New("neither an address nor a block such as 192.0.2.0/24")
	}
	return p.Masked(), nil
}

// allow tells whether one name may be asked for by a request with these common names.
func (r *nameRules) allow(n generalName, cns []string) bool {
	if r.any || r.subject && len(cns) == 1 && repeats(n, cns[0]) {
		return true
	}
	if n.tag == tagIP {
		a, ok := netip.AddrFromSlice(n.value)
		return ok && slices.ContainsFunc(r.blocks, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
	}
	s := strings.ToLower(string(n.value))
	if !plain(n.tag, s) {
		return false
	}
	return slices.ContainsFunc(r.globs[n.tag], func(pattern string) bool { return glob(pattern, s) })
}

// plain tells whether a name is of characters that mean nothing but themselves to whoever compares names. A wildcard is not:
// a pattern allows hosts, and only "any" allows certificates for many of them.
func plain(tag int, s string) bool {
	for _, c := range []byte(s) {
		host := c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_'
		if tag == tagDNS && !host || c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return s != "" && (tag != tagEmail || strings.Count(s, "@") == 1)
}

// repeats tells whether a name says what the common name says: the same, or as a URI the device name at its end
// ("CP-8865-SEP001122334455").
func repeats(n generalName, cn string) bool {
	switch s := string(n.value); n.tag {
	case tagDNS, tagEmail:
		return s != "" && strings.EqualFold(s, cn)
	case tagURI:
		return repeatsURI(s, cn)
	case tagIP:
		a, ok := netip.AddrFromSlice(n.value)
		b, err := netip.ParseAddr(cn)
		return ok && err == nil && a.Unmap() == b.Unmap()
	}
	return false
}

func repeatsURI(uri, cn string) bool {
	return uri != "" && (strings.EqualFold(uri, cn) || strings.HasSuffix(strings.ToLower(cn), "-"+strings.ToLower(uri)))
}

// glob tells whether s fits a pattern in which * stands for any characters and ? for one.
func glob(pattern, s string) bool {
	p, t := []rune(pattern), []rune(s)
	star, mark := -1, 0 // the last star, and how far it reaches
	i, j := 0, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == t[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}
