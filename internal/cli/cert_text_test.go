package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/probe"
)

func TestVisible(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":                   "plain",
		"Zo\u00eb \u6f22\u5b57":   "Zo\u00eb \u6f22\u5b57",
		"a\x1b[2Jb\x07\x7f\u009b": "a?[2Jb???",
		"a\r\n\tb":                "a b",
		"\u202Etxet\u2066\u200F":  "?txet??",
		"zero\u200b\ufeffwidth":   "zero??width",
		"line\u2028paragraph":     "line paragraph",
		"\xff\xfe":                "?",
		"\u3164":                  "?",
	} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		width      int
		want       []string
	}{
		{"fits", "one two", 20, []string{"one two"}},
		{"breaks at a blank", "one two three four five", 20, []string{"one two three four", "five"}},
		{"exactly", "12345678901234567 20 x", 20, []string{"12345678901234567 20", "x"}},
		{"long word", "a 1234567890123456789012345 b", 20, []string{"a", "1234567890123456789012345", "b"}},
		{"letters, not octets", "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9 \u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9", 20, []string{"\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9 \u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"}},
		{"no width", "one  two", 0, []string{"one  two"}},
		{"too narrow", "one two", 3, []string{"one two"}},
		{"empty", "", 20, []string{""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, wrap(tc.text, tc.width)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLiveAddress(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "x:443")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ arg, address, host, code string }{
		{"-", "", "", ""},
		{file, "", "", ""},
		{"phone.pem", "", "", ""},
		{"no/such:443", "", "", ""},
		{`C:\certs:443`, "", "", ""},
		{"cucm.example.com:8443", "cucm.example.com:8443", "cucm.example.com", ""},
		{"192.0.2.1:443", "192.0.2.1:443", "192.0.2.1", ""},
		{"[::1]:443", "[::1]:443", "::1", ""},
		{"::1", "", "", ""},
		{"2001:db8::443", "", "", ""},
		{"cucm:https", "", "", ""},
		{"https://cucm.example.com", "cucm.example.com:443", "cucm.example.com", ""},
		{"HTTPS://cucm.example.com:8443/ccmadmin/?x=1", "cucm.example.com:8443", "cucm.example.com", ""},
		{"https://[2001:db8::1]/", "[2001:db8::1]:443", "2001:db8::1", ""},
		{"https://b\u00fccher.example/", "b\u00fccher.example:443", "xn--bcher-kva.example", ""},
		{"https://", "", "", probe.CodeBadAddress},
		{"http://cucm", "", "", probe.CodeBadAddress},
		{"https://a b/", "", "", probe.CodeBadAddress},
		{"cucm:0", "", "", probe.CodeBadAddress},
		{"cucm:99999", "", "", probe.CodeBadAddress},
		{":443", "", "", probe.CodeBadAddress},
	} {
		t.Run(tc.arg, func(t *testing.T) {
			t.Parallel()
			address, host, err := liveAddress(tc.arg)
			code := ""
			if e, ok := err.(interface{ Code() string }); ok {
				code = e.Code()
			}
			if code != tc.code || (err != nil) != (code != "") || code == "" && (address != tc.address || host != tc.host) {
				t.Errorf("got %q, %q, %v", address, host, err)
			}
		})
	}
}

func TestMissingFix(t *testing.T) {
	t.Parallel()
	const plain = "check the name and the directory"
	for arg, want := range map[string]string{
		"phone.pem": plain, "dir/cucm.example.com": plain, "phone": plain, "phone.P12": plain, "a b.c": plain,
		"cucm.example.com": plain + "; a live server needs its port as a number: cucm.example.com:443",
		"cucm:https":       plain + "; a live server needs its port as a number: cucm:443",
		"192.0.2.1":        plain + "; a live server needs its port: 192.0.2.1:443",
		"[2001:db8::1]":    plain + "; a live server needs its port: [2001:db8::1]:443",
	} {
		if got := missingFix(arg); got != want {
			t.Errorf("missingFix(%q) = %q, want %q", arg, got, want)
		}
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{
		"": true, "cucm.example.com": true, "192.0.2.1": true, "2001:db8::1": true, "[2001:db8::1]": true, "b\u00fccher.example": true,
		"cucm:443": false, "https://cucm": false, "[2001:db8::1]:443": false, "a/b": false, "a b": false,
	} {
		if err := checkName(name); (err == nil) != good {
			t.Errorf("checkName(%q) = %v", name, err)
		}
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	for at, suggestion := range map[string]string{
		"2026-11-20": "2026-11-20T00:00:00Z", "2026-11-20 12:00:00": "2026-11-20T12:00:00Z", "2026-11-20T12:00": "2026-11-20T12:00:00Z",
		"20261120120000Z": "2026-11-20T12:00:00Z", "Nov 20 12:00:00 2026 GMT": "2026-11-20T12:00:00Z", "noon": "",
	} {
		v := &verifyFlags{at: at}
		_, err := v.clock()
		if err == nil || !isUsage(err) || strings.Contains(err.Error(), "did you mean") != (suggestion != "") || !strings.Contains(err.Error(), suggestion) {
			t.Errorf("--at %q: %v", at, err)
		}
	}
	v := &verifyFlags{at: "2026-11-20T13:00:00+01:00"}
	if got, err := v.clock(); err != nil || !got.Equal(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestReportFitsATerminal: in 80 columns no line is longer than a word that is too long by itself, and the verdict is the
// last line.
func TestReportFitsATerminal(t *testing.T) {
	t.Parallel()
	const edge, columns = "../../chain/testdata/edge", 80
	leaves, err := filepath.Glob(filepath.Join(edge, "leaf", "*.pem"))
	if err != nil || len(leaves) < 60 {
		t.Fatalf("%d leaves: %v", len(leaves), err)
	}
	var out, errw bytes.Buffer
	e := &env{out: &out, err: &errw}
	v := &verifyFlags{
		reader: &certReader{env: e, timeout: time.Second}, trust: []string{filepath.Join(edge, "trust.pem")}, name: "cucm.lab.test", named: true,
		at: "2026-11-20T12:00:00Z", usage: "server", profile: "strict", names: "rfc9525", requireCRL: true,
	}
	if err := v.check(); err != nil {
		t.Fatal(err)
	}
	judge, err := v.verifier(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range leaves {
		out.Reset()
		j, err := e.judge(context.Background(), v, judge, leaf)
		if err != nil {
			t.Fatal(err)
		}
		(&report{env: e, out: &out, width: columns}).judgement(j)
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		for _, l := range lines {
			if utf8.RuneCountInString(l) > columns && len(strings.Fields(l)) > 2 {
				t.Errorf("%s: %d columns: %q", leaf, utf8.RuneCountInString(l), l)
			}
			if strings.TrimRightFunc(l, unicode.IsSpace) != l {
				t.Errorf("%s: blanks at the end of %q", leaf, l)
			}
		}
		word := map[bool]string{true: "OK    ", false: "FAIL  "}[j.result.OK()]
		last := len(lines) - 1
		for last > 0 && strings.HasPrefix(lines[last], "      ") {
			last--
		}
		if !strings.HasPrefix(lines[last], word) {
			t.Errorf("%s: the verdict is %q", leaf, lines[last])
		}
	}
	if errw.Len() > 0 {
		t.Errorf("stderr: %s", errw.String())
	}
}
