package explain

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Nearest returns the codes that are most like a query of which Lookup knows nothing, best first, at most n. For one word
// these are codes that are spelt like it or contain it, for several words entries whose titles or wordings share the most
// of them.
func Nearest(query string, n int) []string {
	c := loaded()
	name := strings.ToLower(strings.TrimSpace(printable(query)))
	if name == "" {
		return nil
	}
	score := c.byWords
	if !strings.ContainsFunc(name, unicode.IsSpace) {
		score = c.bySpelling
	}
	scores := score(name)
	codes := make([]string, 0, len(scores))
	for i := range c.entries { // in the order of the catalogue, so that equals come in it
		if scores[i] > 0 {
			codes = append(codes, c.entries[i].Code)
		}
	}
	at := make(map[string]int, len(c.entries))
	for i := range c.entries {
		at[c.entries[i].Code] = i
	}
	slices.SortStableFunc(codes, func(a, b string) int { return cmp.Compare(scores[at[b]], scores[at[a]]) })
	return codes[:min(n, len(codes))]
}

// longestName is more than any code or alias has: longer words are no codes, and comparing them costs.
const longestName = 80

// bySpelling compares a word in lower case with every code and alias.
func (c *catalogue) bySpelling(word string) map[int]int {
	scores := map[int]int{}
	if len(word) > longestName || len(word) < 2 {
		return scores
	}
	for name, refs := range c.folded {
		s := 0
		const best = 1000
		far := max(1, min(3, len(word)/3))
		if d := Distance(word, name, far); d <= far {
			s = best - 10*d
		} else if len(word) >= 3 && strings.Contains(name, word) || len(name) >= 4 && strings.Contains(word, name) {
			s = best/2 - max(len(name)-len(word), len(word)-len(name))
		}
		for _, r := range refs {
			scores[r.entry] = max(scores[r.entry], s)
		}
	}
	return scores
}

// byWords compares the words of a text in lower case with those of titles and wordings.
func (c *catalogue) byWords(text string) map[int]int {
	asked := wordsOf(text, nil)
	scores := map[int]int{}
	need := min(2, len(asked))
	for i := range c.entries {
		e := &c.entries[i]
		has := map[string]bool{}
		for _, t := range e.Texts {
			has = wordsOf(t.Title, has)
		}
		for _, w := range e.Wording {
			has = wordsOf(w.Text, has)
		}
		for _, v := range e.OpenSSL {
			has = wordsOf(v.Text, has)
		}
		shared := 0
		for w := range asked {
			if has[w] || w[0] >= utf8.RuneSelf && beginsAny(has, w) {
				shared++
			}
		}
		if need > 0 && shared >= need {
			scores[i] = 1000*shared - len(has) // of two with the same words the one that says less besides
		}
	}
	return scores
}

// beginsAny reports whether a word of the set begins with w: in Korean endings are written together with the word.
func beginsAny(set map[string]bool, w string) bool {
	for have := range set {
		if strings.HasPrefix(have, w) {
			return true
		}
	}
	return false
}

// wordsOf adds the words of a text to a set. Short ones say nothing; ideographs and Hangul say more with fewer letters.
func wordsOf(text string, set map[string]bool) map[string]bool {
	if set == nil {
		set = map[string]bool{}
	}
	for w := range strings.FieldsFuncSeq(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		if columns(w) >= 4 {
			set[w] = true
		}
	}
	return set
}

// Closest returns the words that are spelt most like word, when one is like it at all; how capitals are written does not
// matter. A word that begins with it is like it, too.
func Closest(word string, words []string) []string {
	const farthest = 2
	word = strings.ToLower(word)
	least, found := farthest+1, []string(nil)
	for _, w := range words {
		folded := strings.ToLower(w)
		d := Distance(word, folded, farthest)
		if len(word) > 2 && d > 0 && strings.HasPrefix(folded, word) {
			d = 1
		}
		switch {
		case d < least:
			least, found = d, []string{w}
		case d == least && d <= farthest:
			found = append(found, w)
		}
	}
	return found
}

// Alternatives joins words to choose from: "a, b or c". It is empty for none.
func Alternatives(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// Distance returns the number of single-byte edits, swaps of neighbours included, between a and b; anything over limit
// counts as limit+1. It is how every "did you mean" of the program measures.
func Distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	older := make([]int, len(b)+1)
	last := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
		older, last, row = last, row, older
	}
	return last[len(b)]
}
