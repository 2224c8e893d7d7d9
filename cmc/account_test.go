package cmc

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"
)

func TestParseAccountPattern(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text, names string
		ok          bool
	}{
		{`EXAMPLE\{name}$`, `SEP[0-9A-F]{12}`, true},
		{`example.com\{name}`, `.+`, true},
		{`EXAMPLE\phone-{name}$`, `.+`, true},
		{`EXAMPLE\{name}`, ``, false},
		{`EXAMPLE\{name}`, `(`, false},
		{`{name}$`, `.+`, false},
		{`EXAMPLE\phone`, `.+`, false},
		{`EXAMPLE\{name}{name}`, `.+`, false},
		{`{name}\{name}`, `.+`, false},
		{`{name}\phone`, `.+`, false},
		{`EXAMPLE\\{name}`, `.+`, false},
		{`EX&A\{name}`, `.+`, false},
		{`EXAMPLE\{name}$$`, `.+`, false},
		{`\{name}`, `.+`, false},
		{``, `.+`, false},
	} {
		p, err := ParseAccountPattern(tt.text, tt.names)
		if (err == nil) != tt.ok || p.IsZero() == tt.ok {
			t.Errorf("%q, %q: %v, %v", tt.text, tt.names, p, err)
		}
	}
}

func TestAccount(t *testing.T) {
	t.Parallel()
	der := func(names ...string) []byte {
		var rdns pkix.RDNSequence
		for _, n := range names {
			rdns = append(rdns, pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: n}})
		}
		rdns = append(rdns, pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "Example"}})
		b, err := asn1.Marshal(rdns)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	phones, err := ParseAccountPattern(`EXAMPLE\{name}$`, `SEP[0-9A-F]{12}`)
	if err != nil {
		t.Fatal(err)
	}
	anybody, err := ParseAccountPattern(`EXAMPLE\{name}`, `(?s).*`)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		pattern AccountPattern
		subject []byte
		want    string
	}{
		{"a phone", phones, der("SEP001122334455"), `EXAMPLE\SEP001122334455$`},
		{"not a phone", phones, der("DC01"), ""},
		{"a phone and more", phones, der("SEP001122334455x"), ""},
		{"two lines", phones, der("SEP001122334455\nx"), ""},
		{"two names", phones, der("SEP001122334455", "SEP001122334456"), ""},
		{"no name", phones, der(), ""},
		{"no subject", phones, nil, ""},
		{"octets after the subject", phones, append(der("SEP001122334455"), 5, 0), ""},
		{"a user", anybody, der("jane.doe"), `EXAMPLE\jane.doe`},
		{"a name that ends the value", anybody, der("x&RequesterName=y"), ""},
		{"another domain", anybody, der(`OTHER\x`), ""},
		{"control characters", anybody, der("x\x00"), ""},
		{"empty", anybody, der(""), ""},
		{"the pattern's own word", anybody, der("{name}"), ""},
		{"no pattern", AccountPattern{}, der("SEP001122334455"), ""},
	} {
		got, err := tt.pattern.Account(tt.subject)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("%s: %q", tt.name, err)
		}
	}
}
