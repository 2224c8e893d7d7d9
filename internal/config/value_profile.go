package config

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"callsign/est"
	"callsign/internal/ra"
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

// ruled makes the check of a list of rules, whose syntax is that of ra. empty is what is wrong with an empty list, and
// words are the beginnings of what an item can be.
func ruled(empty string, rules func(list []string) ra.Rules, words ...string) func(any) string {
	return func(value any) string {
		list := value.([]string)
		if len(list) == 0 {
			return empty
		}
		err := ra.CheckRules(rules(list))
		if err == nil {
			return ""
		}
		text := withoutKey(err)
		for _, item := range list {
			if ra.CheckRules(rules([]string{item})) != nil {
				return text + meant(item, words)
			}
		}
		return text
	}
}

// meant is the end of a sentence about an item that is none: the word that it probably begins with.
func meant(item string, words []string) string {
	if i := strings.IndexByte(item, ':'); i >= 0 {
		item = item[:i+1]
	}
	for _, word := range words {
		if near := nearest(item, []string{strings.ToLower(word)}); near != "" && word != item {
			return ", did you mean " + word + "?"
		}
	}
	return ""
}

// withoutKey takes the key off the beginning of an error of ra.
func withoutKey(err error) string {
	_, text, _ := strings.Cut(err.Error(), ": ")
	return text
}

// The rules that are lists.
var (
	subjectHas = ruled("", func(list []string) ra.Rules { return ra.Rules{SubjectHas: list} })
	names      = ruled("must not be empty: use any or none", func(list []string) ra.Rules { return ra.Rules{Names: list} },
		"any", "none", "subject", "dns:", "ip:", "email:", "uri:")
	keyKinds = ruled("must not be empty: without keys nothing can be certified", func(list []string) ra.Rules { return ra.Rules{Keys: list} },
		"p-256", "p-384", "p-521", "ed25519", "rsa:")
	usages = ruled("", func(list []string) ra.Rules { return ra.Rules{Usages: list} },
		"clientAuth", "serverAuth", "ipsecEndSystem", "emailProtection", "codeSigning", "timeStamping", "OCSPSigning")
)

// clientName is a regular expression with one group at most.
func clientName(value any) string {
	text := pattern(value)
	if text != "" {
		return text
	}
	if err := ra.CheckClients(value.(string), nil, nil); err != nil {
		return strings.TrimPrefix(withoutKey(err), strconv.Quote(value.(string))+" ")
	}
	return ""
}

// globs are patterns of names of clients.
func globs(value any) string {
	if err := ra.CheckClients("", value.([]string), nil); err != nil {
		return withoutKey(err)
	}
	return ""
}

// certificates are fingerprints or subjects of certificates.
func certificates(value any) string {
	if err := ra.CheckClients("", nil, value.([]string)); err != nil {
		return withoutKey(err)
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
	if _, err := est.ParseCSRAttrs(der); err != nil {
		return "is base64, but not of a CsrAttrs: " + strings.TrimPrefix(err.Error(), "csrattrs: ")
	}
	return ""
}
