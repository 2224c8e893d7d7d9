package explain

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the pages that the tests compare with")

// TestPages compares whole pages with files. After a change of texts or form: go test ./internal/explain -update
func TestPages(t *testing.T) {
	t.Parallel()
	const ats = "Core server certificate verification failed for (h). Action=Terminate Error=unable to get local issuer certificate server=h(192.0.2.1) depth=0"
	for _, tc := range []struct {
		name, query string
		page        Page
	}{
		{"fault-en", "unknown_issuer", Page{}},
		{"fault-ko", "unknown_issuer", Page{Lang: Korean}},
		{"fault-fr", "unknown_issuer", Page{Lang: French}},
		{"narrow-ko", "name_mismatch", Page{Lang: Korean, Width: 10}},
		{"wide-en", "name_mismatch", Page{Width: 200}},
		{"number-en", "20", Page{}},
		{"many-numbers-fr", "malformed", Page{Lang: French}},
		{"two-meanings-en", "60", Page{}},
		{"text-with-depth-en", ats, Page{}},
		{"text-with-others-ko", "error (certsrv.tls-untrusted): x509: certificate signed by unknown authority", Page{Lang: Korean}},
		{"problem-fr", "certsrv.template-not-offered", Page{Lang: French}},
		{"upload-en", "csr_san_mismatch", Page{}},
		{"upload-ko", "csr_san_mismatch", Page{Lang: Korean}},
		{"upload-fr", "csr_san_mismatch", Page{Lang: French}},
		{"upload-two-codes-en", "The file /usr/local/platform/upload/certs//tomcat.der could not be uploaded.", Page{}},
		{"upload-detail-ko", "EKU_MISSING:clientAuth", Page{Lang: Korean}},
		{"like-another-en", "upstream.server-name", Page{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			matches := Lookup(tc.query)
			whole := matches
			if !matches[0].Exact {
				whole = matches[:1]
			}
			var b strings.Builder
			for _, m := range whole {
				if err := tc.page.Write(&b, m); err != nil {
					t.Fatal(err)
				}
			}
			if err := tc.page.Others(&b, matches[len(whole):]); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", "pages", tc.name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestNothingIsCut: a page has every word of its entry, and lines are too long only where one word is.
func TestNothingIsCut(t *testing.T) {
	t.Parallel()
	entries := Entries()
	for i := range entries {
		for _, l := range Langs() {
			const width = 60
			var b strings.Builder
			if err := (Page{Lang: l, Width: width}).Write(&b, Match{Entry: entries[i], Depth: -1}); err != nil {
				t.Fatal(err)
			}
			all := strings.Join(strings.FieldsFunc(b.String(), func(r rune) bool { return r == ' ' || r == '\n' }), " ")
			texts(&entries[i], l, func(place, text string) {
				if !strings.Contains(all, text) {
					t.Errorf("%s %s: the page lacks the %s", entries[i].Code, l, place)
				}
			})
			for line := range strings.SplitSeq(b.String(), "\n") {
				longest := slices.MaxFunc(strings.Split(line, " "), func(a, b string) int { return columns(a) - columns(b) })
				if columns(line) > width && columns(longest) < width-30 {
					t.Errorf("%s %s: a line of %d columns: %q", entries[i].Code, l, columns(line), line)
				}
			}
		}
	}
}

func TestColumns(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": 0, "abc": 3, "é": 1, "e\u0301": 1, "가나": 4, "CA가": 4, "\u200b": 0, "\u00a0": 1, "日本": 4, "！": 2, "🔒": 2} {
		if got := columns(text); got != want {
			t.Errorf("columns(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, want string }{
		{"short", "one two", "> one two\n"},
		{"long", "one two three", "> one two\n  three\n"},
		{"as long as the line", "one two th", "> one two\n  th\n"},
		{"a word longer than a line", "a https://example.com b", "> a\n  https://example.com\n  b\n"},
		{"wide letters", "가나 다라 마", "> 가나\n  다라 마\n"},
		{"a blank that does not break", "un\u00a0: de trois", "> un\u00a0: de\n  trois\n"},
		{"nothing", "", "> \n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			wrap(&b, tc.text, "> ", "  ", 10)
			if diff := cmp.Diff(tc.want, b.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
