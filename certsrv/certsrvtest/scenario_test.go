package certsrvtest

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseScenario(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Scenario{
		"":      {},
		"issue": {Behaviour: Behaviour{Answer: Issue}},
		"slow=2s,pending,lang=fr,epa=require": {
			Behaviour{Answer: Pending, Delay: 2 * time.Second}, Conditions{Lang: French, EPA: EPARequire},
		},
		" auth=negotiate+ntlm , standalone ": {Conditions: Conditions{Auth: "negotiate+ntlm", Standalone: true}},
		"401.3":                              {Conditions: Conditions{Refusal: RefuseACL}},
		"500,503":                            {Behaviour{Answer: ASPError}, Conditions{Refusal: RefusePoolDown}},
		"split,reauth,close,no-keep-alive": {
			Conditions: Conditions{Split: true, Reauth: true, CloseConnections: true, NoKeepAlive: true},
		},
		"redirect=https://pki.example/certsrv/?a=b": {Conditions: Conditions{Redirect: "https://pki.example/certsrv/?a=b"}},
		"content-type=text/plain; charset=utf-8":    {Conditions: Conditions{ContentType: "text/plain; charset=utf-8"}},
		"certcarc=404,certrqxt=500,certnew=reset,certcrl=drop,login=truncate": {Conditions: Conditions{
			CACertificates: "404", TemplateList: "500", Certificate: FaultReset, CRL: FaultDrop, Login: FaultTruncate,
		}},
		"deny=2148091904,slow-login=1m,times=2": {
			Behaviour{Answer: Deny, HResult: 0x80094800, Times: 2}, Conditions{SlowLogin: time.Minute},
		},
	} {
		got, err := ParseScenario(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
}

func TestScenarioErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in, word, reason, nearest string
		template                  bool
	}{
		{in: "pending,hnag", word: "hnag", reason: "unknown word; there are issue, pending, deny[=], ", nearest: "hang"},
		{in: "Pending", word: "Pending", reason: "unknown word", nearest: "pending"},
		{in: "quite something else", word: "quite something else", reason: "unknown word"},
		{in: "EPA=require", word: "EPA=require", reason: "unknown word", nearest: "epa"},
		{in: "epa=required", word: "epa=required", reason: `"required" is none of off, accept, require`},
		{in: "pending,deny", word: "deny", reason: "more than one answer (pending and deny)"},
		{in: "503,401", word: "401", reason: "more than one answer to everything (503 and 401)"},
		{in: "slow=1s,slow=2s", word: "slow=2s", reason: "slow is there twice"},
		{in: "split=yes", word: "split=yes", reason: "split takes no value"},
		{in: "split=", word: "split=", reason: "split takes no value"},
		{in: "slow", word: "slow", reason: "slow needs a value: slow=DURATION"},
		{in: "deny=", word: "deny=", reason: "deny needs a value: deny=0xHRESULT"},
		{in: "deny=5", word: "deny=5", reason: "no HRESULT"},
		{in: "slow-login=-1s", word: "slow-login=-1s", reason: "no duration above 0"},
		{in: "times=0", word: "times=0", reason: "no count"},
		{in: "auth=ntlm+digest", word: "auth=ntlm+digest", reason: `"digest" is no way to log in`},
		{in: "auth=ntlm+ntlm", word: "auth=ntlm+ntlm", reason: "ntlm is there twice"},
		{in: "auth=negotiate+kerberos", word: "auth=negotiate+kerberos", reason: "exclude each other"},
		{in: "redirect=elsewhere", word: "redirect=elsewhere", reason: "neither an http(s) URL nor an absolute path"},
		{in: "content-type=text/", word: "content-type=text/", reason: "no media type"},
		{in: "certcarc=200", word: "certcarc=200", reason: `"200" is none of 403, 404, 500, 503, drop, truncate, reset`},
		{in: "lang=de", word: "lang=de", reason: `unknown language "de" (en, fr)`},
		{in: "pending,", word: "", reason: "unknown word"},
		{in: "pending,epa=off", template: true, word: "epa=off", reason: "concerns the whole server"},
		{in: "splt", template: true, word: "splt", reason: "unknown word; there are issue, pending, deny[=], rpc-down, 500, hang, drop, truncate, reset, other-key, slow=, approve=, times=, lang="},
	} {
		var err error
		if tc.template {
			_, err = ParseBehaviour(tc.in)
		} else {
			_, err = ParseScenario(tc.in)
		}
		var w *WordError
		if !errors.As(err, &w) {
			t.Errorf("%q: %v", tc.in, err)
			continue
		}
		if w.Word != tc.word || !strings.Contains(w.Reason, tc.reason) || w.Nearest != tc.nearest || w.Remedy() == "" {
			t.Errorf("%q: %q, %q, nearest %q; want %q, %q, %q", tc.in, w.Word, w.Reason, w.Nearest, tc.word, tc.reason, tc.nearest)
		}
		if tc.nearest != "" && !strings.Contains(err.Error(), tc.nearest) {
			t.Errorf("%q: %v", tc.in, err)
		}
	}
}

// scenarios draws a Scenario with any of its fields set.
func scenarios(t *rapid.T) Scenario {
	durations := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(0, int64(100*time.Hour)).Draw(t, "ns"))
	})
	fault := rapid.SampledFrom(append([]PageFault{""}, pageFaults...))
	b := Behaviour{
		Answer: Answer(rapid.IntRange(int(Default), int(OtherKey)).Draw(t, "answer")), Delay: durations.Draw(t, "slow"),
		ApproveAfter: durations.Draw(t, "approve"), Times: rapid.IntRange(0, 5).Draw(t, "times"),
	}
	if b.Answer == Deny {
		b.HResult = rapid.SampledFrom([]uint32{0, eUnsupportedType, 0x80000000, 0xFFFFFFFF}).Draw(t, "hresult")
	}
	c := Conditions{
		Auth: Schemes(strings.Join(slices.Compact(rapid.Permutation([]string{"negotiate", "ntlm", "basic"}).Draw(t, "schemes")[:rapid.IntRange(0, 3).Draw(t, "n")]), "+")),
		EPA:  rapid.SampledFrom([]EPA{"", EPAOff, EPAAccept, EPARequire}).Draw(t, "epa"),
		Lang: rapid.SampledFrom([]Lang{"", English, French}).Draw(t, "lang"), SlowLogin: durations.Draw(t, "slow-login"), SlowPages: durations.Draw(t, "slow-pages"),
		Refusal:     rapid.SampledFrom(append([]Refusal{""}, refusals...)).Draw(t, "refusal"),
		Redirect:    rapid.SampledFrom([]string{"", "/pki/certsrv", "https://a.example:8443/certsrv/?x=1#y"}).Draw(t, "redirect"),
		ContentType: rapid.SampledFrom([]string{"", "text/plain", `text/html; charset="utf-8"`}).Draw(t, "type"),
	}
	for _, flag := range []*bool{&c.Standalone, &c.Reauth, &c.Split, &c.CloseConnections, &c.NoKeepAlive} {
		*flag = rapid.Bool().Draw(t, "flag")
	}
	for _, f := range c.faults() {
		*f.fault = fault.Draw(t, f.word)
	}
	return Scenario{b, c}
}

// TestScenarioRoundTrip: what String writes, ParseScenario reads, and in any order of words.
func TestScenarioRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := scenarios(t)
		if err := want.check(); err != nil {
			t.Fatalf("drawn scenario is none: %v", err)
		}
		words := rapid.Permutation(strings.Split(want.String(), ",")).Draw(t, "order")
		got, err := ParseScenario(strings.Join(words, " , "))
		if want.Behaviour.IsZero() && want.Conditions.IsZero() {
			want.Behaviour.Answer = Issue
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%v: %v (-want +got):\n%s", words, err, diff)
		}
	})
}

// FuzzScenario feeds lists: what is read can be written and read again, and everything else is a WordError.
func FuzzScenario(f *testing.F) {
	for _, w := range Words() {
		f.Add(w.Name)
		f.Add(w.Name + "=" + strings.Trim(w.Value, "[]"))
	}
	f.Add("slow=2s,pending,lang=fr,epa=require")
	f.Add("redirect=//a\\b,content-type=a/b;c=\"d\"")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseScenario(s)
		if err != nil {
			if _, ok := errors.AsType[*WordError](err); !ok {
				t.Errorf("%q: %T", s, err)
			}
			return
		}
		again, err := ParseScenario(got.String())
		if got.Behaviour.IsZero() && got.Conditions.IsZero() {
			got.Behaviour.Answer = Issue
		}
		if diff := cmp.Diff(got, again); err != nil || diff != "" {
			t.Errorf("%q is written as %q: %v\n%s", s, got, err, diff)
		}
	})
}

// TestWordsAreDocumented holds the table of the package comment against the words.
func TestWordsAreDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		word, means string
		server      bool
	}
	var documented, have []row
	server := false
	for line := range strings.Lines(string(doc)) {
		switch {
		case strings.HasPrefix(line, "// The server:"):
			server = true
		case strings.HasPrefix(line, "//\t") && len(line) > 32 && line[31] == ' ' && line[32] != ' ':
			documented = append(documented, row{strings.TrimSpace(line[3:32]), strings.TrimSpace(line[32:]), server})
		}
	}
	for _, w := range Words() {
		value := strings.Replace(w.Value, strings.ReplaceAll(list(pageFaults), ", ", "|"), "FAULT", 1)
		switch {
		case strings.HasPrefix(value, "["):
			value = "[=" + value[1:]
		case value != "":
			value = "=" + value
		}
		have = append(have, row{w.Name + value, w.Means, w.Server})
	}
	slices.SortStableFunc(have, func(a, b row) int {
		return map[bool]int{false: 0, true: 1}[a.server] - map[bool]int{false: 0, true: 1}[b.server]
	})
	if diff := cmp.Diff(have, documented, cmp.AllowUnexported(row{})); diff != "" {
		t.Errorf("package comment (-words +documented):\n%s", diff)
	}
}
