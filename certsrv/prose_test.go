package certsrv

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
	"pgregory.net/rapid"
)

// translated is a word of another language, or of none.
func translated(t *rapid.T) string {
	return rapid.StringOfN(rapid.SampledFrom([]rune("abcXYZéèüßñçøłıŞ가나다日本語中文ЖщλΩ'’:;!?«»()[]&#-_./\\\u00a0")), 0, 12, -1).Draw(t, "word")
}

var (
	// kept is what no translation touches: status codes and what is in brackets behind them.
	kept = regexp.MustCompile(`0x[0-9a-fA-F]{8}(?: \([^)]*\))?`)
	word = regexp.MustCompile(`\pL+`)
)

// retold writes a page anew with other prose, other case and quotes of its tags, and other blanks between their attributes;
// with what makes it the page that it is left alone: identifiers, links, numbers and status codes.
func retold(t *rapid.T, page []byte) string {
	var b strings.Builder
	z := html.NewTokenizer(strings.NewReader(string(page)))
	code := false // inside a script or a style
	for {
		switch z.Next() {
		case html.ErrorToken:
			return b.String()
		case html.TextToken:
			if code {
				b.Write(z.Raw())
				continue
			}
			b.WriteString(html.EscapeString(otherWords(t, html.UnescapeString(string(z.Raw())))))
		case html.StartTagToken, html.SelfClosingTagToken:
			tok := z.Token()
			code = tok.Data == "script" || tok.Data == "style"
			b.WriteString("<" + anyCase(t, tok.Data))
			for _, a := range tok.Attr {
				quote := rapid.SampledFrom([]string{`"`, `'`}).Draw(t, "quote")
				value := strings.NewReplacer("&", rapid.SampledFrom([]string{"&", "&amp;", "&#38;"}).Draw(t, "ampersand"), quote, "&#34;").Replace(a.Val)
				b.WriteString(blanks(t) + anyCase(t, a.Key) + "=" + quote + value + quote)
			}
			b.WriteString(">")
		case html.EndTagToken:
			tok := z.Token()
			code = false
			b.WriteString("</" + anyCase(t, tok.Data) + ">")
		case html.CommentToken, html.DoctypeToken:
			b.WriteString("<!-- " + strings.ReplaceAll(translated(t), "-", "") + " -->")
		}
	}
}

func otherWords(t *rapid.T, text string) string {
	var b strings.Builder
	at := 0
	replace := func(s string) {
		b.WriteString(word.ReplaceAllStringFunc(s, func(string) string { return translated(t) }))
	}
	for _, m := range kept.FindAllStringIndex(text, -1) {
		replace(text[at:m[0]])
		b.WriteString(text[m[0]:m[1]])
		at = m[1]
	}
	replace(text[at:])
	return b.String()
}

func anyCase(t *rapid.T, s string) string {
	return rapid.SampledFrom([]string{strings.ToLower(s), strings.ToUpper(s), strings.ToUpper(s[:1]) + strings.ToLower(s[1:])}).Draw(t, "case")
}

func blanks(t *rapid.T) string {
	return rapid.SampledFrom([]string{" ", "  ", "\t", "\r\n", "\n\t\t"}).Draw(t, "blanks")
}

// encodings writes a page as servers and editors do.
var encodings = map[string]func(string) []byte{
	"UTF-8":           func(s string) []byte { return []byte(s) },
	"UTF-8 with mark": func(s string) []byte { return []byte("\xef\xbb\xbf" + s) },
	"blank lines":     func(s string) []byte { return []byte("\r\n \r\n\t" + s) },
	"LF":              func(s string) []byte { return []byte(strings.ReplaceAll(s, "\r\n", "\n")) },
	"UTF-16":          func(s string) []byte { return utf16Of("\ufeff"+s, 0) },
	"UTF-16 reversed": func(s string) []byte { return utf16Of("\ufeff"+s, 1) },
	"UTF-16 no mark":  func(s string) []byte { return utf16Of(s, 0) },
	"Latin-1": func(s string) []byte {
		var b []byte
		for _, r := range s {
			if r > 0xff {
				r = '?'
			}
			b = append(b, byte(r))
		}
		return b
	},
}

func utf16Of(s string, high int) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		pair := [2]byte{byte(u), byte(u >> 8)}
		b = append(b, pair[high], pair[1-high])
	}
	return b
}

// TestProseDoesNotMatter: a page says the same in every language, spelling and encoding.
func TestProseDoesNotMatter(t *testing.T) {
	t.Parallel()
	type verdict struct {
		OK          bool
		Outcome     Outcome
		RequestID   string
		HResult     HResult
		Disposition Disposition
		Page        bool
		Templates   []string
		Renewals    int
	}
	judge := func(body []byte) verdict {
		a, ok := classify(body)
		list, _ := parseTemplates(body)
		n, _ := parseRenewals(body)
		return verdict{ok, a.Outcome, a.RequestID, a.HResult, a.Disposition, isPage(body), list.Names(), n}
	}
	files, err := filepath.Glob(filepath.Join("testdata", "[ef][nr]-*.html"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d fixtures, %v", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		page := fixture(t, name)
		want := judge(page)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				other := retold(t, page)
				encoding := rapid.SampledFrom([]string{"UTF-8", "UTF-8 with mark", "blank lines", "LF", "UTF-16", "UTF-16 reversed", "UTF-16 no mark", "Latin-1"}).Draw(t, "encoding")
				if d := cmp.Diff(want, judge(encodings[encoding](other))); d != "" {
					t.Errorf("%s in %s: %s\n%s", name, encoding, d, other)
				}
			})
		})
	}
}
