package explain

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// texts calls do with every text of an entry in a language, and its place.
func texts(e *Entry, l Lang, do func(place, text string)) {
	t := e.Texts[l]
	do("title", t.Title)
	do("meaning", t.Meaning)
	for name, list := range map[string][]string{"causes": t.Causes, "evidence": t.Evidence, "remedy": t.Remedy} {
		if len(list) == 0 {
			do(name, "")
		}
		for i, text := range list {
			do(name+" "+strconv.Itoa(i), text)
		}
	}
	for i := range e.Depths {
		do("depth "+strconv.Itoa(i), e.Depths[i].Texts[l])
	}
}

// TestEntriesAreComplete: every entry says everything, in every language, and in that language.
func TestEntriesAreComplete(t *testing.T) {
	t.Parallel()
	entries := Entries()
	if len(entries) < 300 {
		t.Fatalf("only %d entries", len(entries))
	}
	hangul := regexp.MustCompile(`[가-힣]`)
	polite := regexp.MustCompile(`니다(\([^()]*\))?\.$`)
	// French sets a blank that does not break before these.
	loose := regexp.MustCompile(`[ ][:;?!»]( |$)|« `)
	for i := range entries {
		e := &entries[i]
		english := map[string]string{}
		for _, l := range Langs() {
			texts(e, l, func(place, text string) {
				bad := func(what string) { t.Errorf("%s %s %s: %s: %q", e.Code, l, place, what, text) }
				switch {
				case text == "":
					bad("is missing")
				case text != strings.TrimSpace(text) || strings.Contains(text, "  ") || strings.ContainsAny(text, "\n\t"):
					bad("has blanks too many")
				case l == English:
					english[place] = text
				case text == english[place]:
					bad("is the English text")
				case l == Korean && !hangul.MatchString(text):
					bad("is not Korean")
				case l == Korean && place == "meaning" && !polite.MatchString(text):
					bad("is not in the polite form")
				case l == French && (loose.MatchString(text) || hangul.MatchString(text)):
					bad("is not set as French is")
				}
			})
		}
	}
}

// TestReferences: what an entry refers to is there, and no name is given twice.
func TestReferences(t *testing.T) {
	t.Parallel()
	names := map[string]string{}
	entries := Entries()
	for i := range entries {
		e := &entries[i]
		for _, name := range append([]string{e.Code}, e.Aliases...) {
			if other, twice := names[name]; twice {
				t.Errorf("%q leads to %s and to %s", name, other, e.Code)
			}
			names[name] = e.Code
		}
		if !Known(e.Code) {
			t.Errorf("%s is not known", e.Code)
		}
		for _, a := range e.Aliases {
			if Known(a) {
				t.Errorf("the alias %s counts as a code", a)
			}
		}
		for _, code := range e.Also {
			if !Known(code) || code == e.Code {
				t.Errorf("%s: see also %q", e.Code, code)
			}
		}
		for _, w := range e.Wording {
			if w.In == "" || strings.ContainsAny(w.Text, "\n\t") || len(strings.ReplaceAll(w.Text, "*", "")) < shortestPattern {
				t.Errorf("%s: wording %q of %q", e.Code, w.Text, w.In)
			}
		}
		for j, d := range e.Depths {
			if j > 0 && d.From != e.Depths[j-1].To+1 || d.To >= 0 && d.To < d.From {
				t.Errorf("%s: depths %d to %d", e.Code, d.From, d.To)
			}
		}
	}
}

func TestLabels(t *testing.T) {
	t.Parallel()
	c := loaded()
	for _, f := range []Family{FamilyProblem, FamilyChain, FamilyOpenSSL, FamilyCurl, FamilyWindows, FamilyIIS, FamilyUpload} {
		if c.labels[string(f)] == nil {
			t.Errorf("no word for the family %q", f)
		}
	}
	entries := Entries()
	for i := range entries {
		if e := &entries[i]; c.labels[string(e.Family)] == nil {
			t.Errorf("%s is of the unknown family %q", e.Code, e.Family)
		}
	}
	for name := range c.labels {
		for _, l := range Langs() {
			if c.label(name, l) == "" {
				t.Errorf("label %s has no %s", name, l)
			}
		}
	}
}

// faults are the codes of chain faults, which no other list in this package tells.
var faults = strings.Fields(`self_signed unknown_root unknown_issuer incomplete_anchor expired not_yet_valid bad_signature issuer_not_ca
	path_length name_constraints wrong_usage unknown_critical_extension weak_key weak_signature revoked no_crl name_mismatch no_certificate malformed
	too_complex stale_crl pin_mismatch`)

func TestChainFaults(t *testing.T) {
	t.Parallel()
	var got []string
	entries := Entries()
	for i := range entries {
		if entries[i].Family == FamilyChain {
			got = append(got, entries[i].Code)
			if len(entries[i].Curl) == 0 {
				t.Errorf("%s has no exit code of curl", entries[i].Code)
			}
		}
	}
	slices.Sort(got)
	want := slices.Sorted(slices.Values(faults))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestVerifyErrors: every verification error of OpenSSL 3.0 is there, and is found by number, name and text.
func TestVerifyErrors(t *testing.T) {
	t.Parallel()
	const last = 94 // X509_V_ERR_EC_KEY_EXPLICIT_PARAMS
	finds := func(query string, n int) bool {
		return slices.ContainsFunc(Lookup(query), func(m Match) bool { return m.Verify != nil && m.Verify.Number == n })
	}
	found := 0
	entries := Entries()
	for i := range entries {
		for _, v := range entries[i].OpenSSL {
			found++
			queries := []string{"openssl:" + strconv.Itoa(v.Number), strconv.Itoa(v.Number), v.Name, strings.ToLower(v.Name), "failed: " + v.Name + "."}
			for _, text := range []string{v.Text, v.Old} {
				if len(text) >= shortestPattern {
					queries = append(queries, text, strings.ToUpper(text), "verify error:num="+strconv.Itoa(v.Number)+":"+text)
				}
			}
			for _, q := range queries {
				if !finds(q, v.Number) && v.Text != "invalid CA certificate" { // which is the old text of 24, too
					t.Errorf("%q does not lead to verification error %d", q, v.Number)
				}
			}
		}
	}
	if found != last+1 {
		t.Errorf("there are %d verification errors, not %d", found, last+1)
	}
	for n := range last + 1 {
		if !finds("openssl:"+strconv.Itoa(n), n) {
			t.Errorf("verification error %d is missing", n)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, file, want string }{
		{"unknown key", `{"family":"x","entries":[{"code":"a","colour":"red"}]}`, `unknown field "colour"`},
		{"code twice", `{"family":"x","entries":[{"code":"a"},{"code":"a"}]}`, `two entries have the code "a"`},
		{"like nobody", `{"family":"x","entries":[{"code":"a","like":"b"}]}`, `a is like "b"`},
		{"like itself in a circle", `{"family":"x","entries":[{"code":"a","like":"b"},{"code":"b","like":"a"}]}`, `is like it in turn`},
		{"verification error without an entry", `{"family":"x","verify_errors":[{"number":1,"name":"N","text":"t","code":"a"}],"entries":[]}`, `leads to "a"`},
		{"no JSON", `{`, `EOF`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := load(fstest.MapFS{"catalogue/x.json": {Data: []byte(tc.file)}})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}

// TestOtherFamilies: families that are not there yet need no change of the code.
func TestOtherFamilies(t *testing.T) {
	t.Parallel()
	c, err := load(fstest.MapFS{
		"catalogue/windows.json": {Data: []byte(`{"family":"windows","entries":[{"code":"0x80094800","aliases":["CERTSRV_E_UNSUPPORTED_CERT_TYPE"],"title":{"en":"t"}}]}`)},
		"catalogue/libest.json":  {Data: []byte(`{"family":"libest","entries":[{"code":"libest:22","aliases":["EST_ERR_AUTH_FAIL"],"wording":[{"in":"CAPF","text":"Enrollment rv = 22"}]}]}`)},
		"catalogue/upload.json":  {Data: []byte(`{"family":"upload","entries":[{"code":"BAD_SIGNATURE"}]}`)},
		"catalogue/chain.json":   {Data: []byte(`{"family":"chain fault","entries":[{"code":"bad_signature"}]}`)},
		"catalogue/finding.json": {Data: []byte(`{"family":"finding","entries":[{"code":"CAPF-EST-AUTH-FAIL"}]}`)},
		"catalogue/iis.json":     {Data: []byte(`{"family":"iis","entries":[{"code":"iis:401.2"}]}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"0X80094800": "0x80094800", "certsrv_e_unsupported_cert_type": "0x80094800", "22": "libest:22", "EST_ERR_AUTH_FAIL": "libest:22",
		"BAD_SIGNATURE": "BAD_SIGNATURE", "bad_signature": "bad_signature", "capf-est-auth-fail": "CAPF-EST-AUTH-FAIL", "401.2": "iis:401.2",
		"rc=22 (EST_ERR_AUTH_FAIL)": "libest:22", "Enrollment rv = 22 (x)": "libest:22", "see CAPF-EST-AUTH-FAIL.": "CAPF-EST-AUTH-FAIL",
		"The request failed: 0x80094800": "0x80094800",
	} {
		if got := c.lookup(query); len(got) != 1 || got[0].Entry.Code != want {
			t.Errorf("%q leads to %v, want %s", query, got, want)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := load(files); err != nil {
			b.Fatal(err)
		}
	}
}
