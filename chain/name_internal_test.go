package chain

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzMatch compares the two comparisons of names with what their rules say in the words of a regular expression.
func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{
		{"cucm.lab.test", "cucm.lab.test"},
		{"*.lab.test", "cucm.lab.test"},
		{"cu*.lab.test", "cucm.lab.test"},
		{"*cm.lab.test", "cucm.lab.test"},
		{"*.lab.test.", "cucm.lab.test."},
		{"*.test", "lab.test"},
		{"*.*.test", "cucm.lab.test"},
		{"xn--m*.lab.test", "xn--mnchen-3ya.lab.test"},
		{"xn--mnchen-3ya.lab.test", "MÜNCHEN.lab.test"},
		{"192.0.2.1", "192.0.2.1"},
		{"2001:db8::1", "[2001:DB8::1]"},
		{" ", " "},
		{"a\x00.lab.test", "*.lab.test"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		ref := parseReference(name)
		if ref.text == "" && name != "" {
			t.Errorf("the reference %q is lost", name)
		}
		if again := parseReference(ref.text); !strings.HasSuffix(ref.text, ".") && utf8.ValidString(ref.text) && strings.TrimSpace(ref.text) == ref.text && again.text != ref.text {
			t.Errorf("the reference %q becomes %q, and that %q", name, ref.text, again.text)
		}
		strict, loose := matchDNS(pattern, ref.text), matchATS(pattern, ref.text)
		if !utf8.ValidString(pattern) || !utf8.ValidString(ref.text) {
			return // crypto/x509 gives no such names, and package regexp takes none
		}
		if want := byRFC9525(pattern, ref.text); strict != want {
			t.Errorf("matchDNS(%q, %q) is %v", pattern, ref.text, strict)
		}
		if want := byTrafficServer(pattern, ref.text); loose != want {
			t.Errorf("matchATS(%q, %q) is %v", pattern, ref.text, loose)
		}
		if _, err := netip.ParseAddr(ref.text); err == nil && strict && strings.Contains(pattern, "*") {
			t.Errorf("the wildcard %q matches the address %s", pattern, ref.text)
		}
	})
}

// model is a regular expression for what a name with one wildcard stands for.
func model(pattern, label string) *regexp.Regexp {
	return regexp.MustCompile(`\A(?s:` + strings.Replace(regexp.QuoteMeta(pattern), `\*`, label, 1) + `)\z`)
}

// upper finds the letters that are folded: those of ASCII.
var upper = regexp.MustCompile(`[A-Z]`)

func folded(s string) string { return upper.ReplaceAllStringFunc(s, strings.ToLower) }

func byRFC9525(pattern, name string) bool {
	pattern = folded(pattern)
	rest := strings.TrimPrefix(pattern, "*.")
	if name == "" || rest == "" || regexp.MustCompile(`[* ]|^\.|\.$`).MatchString(rest) {
		return false
	}
	if rest == pattern {
		return pattern == name
	}
	return strings.Contains(rest, ".") && model(pattern, "[a-z0-9_-]+").MatchString(name)
}

func byTrafficServer(pattern, name string) bool {
	pattern = folded(pattern)
	first, _, _ := strings.Cut(pattern, ".")
	if !strings.Contains(first, "*") {
		return pattern != "" && pattern == name
	}
	// One star, at an end of the first of three labels.
	if !regexp.MustCompile(`\A(\*[^*.]*|[^*.]*\*)\.[^*]*\.[^*]*\z`).MatchString(pattern) || len(name) < 6 || name[0] == '.' {
		return false
	}
	label := "[a-z0-9_-]*"
	if first != "*" && strings.HasPrefix(name, "xn--") {
		return false
	}
	if !model(pattern, label).MatchString(name) {
		return false
	}
	whole, _, _ := strings.Cut(name, ".")
	return regexp.MustCompile(`\A[a-z0-9_-]+\z`).MatchString(whole)
}
