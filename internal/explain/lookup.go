package explain

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// MaxQuery is how much of a query is looked at, in bytes.
const MaxQuery = 64 << 10

// maxMatches bounds what one text is said to speak of.
const maxMatches = 16

// Match is an entry that a query leads to.
type Match struct {
	Entry  Entry
	Name   string       // what was named, with its prefix: "openssl:20"; the entry's code when it was found in a text
	Verify *VerifyError // the verification error of OpenSSL that was named or quoted; nil for none
	Exact  bool         // the query is a code or another name of the entry
	Depth  int          // of the certificate, as the query says it; -1 when it does not
}

// Lookup returns what a query leads to. A query that is a code, an alias, the part behind the colon of one ("60"), or a code
// of an upload with its detail ("EKU_MISSING:clientAuth") has exact matches alone, and all of them. Any other query is taken as a message or a piece of a log: what it speaks of comes
// best first, each entry once. Lookup returns nothing when the catalogue knows nothing of it.
func Lookup(query string) []Match { return loaded().lookup(query) }

func (c *catalogue) lookup(query string) []Match {
	text := printable(query)
	name := statusCode(strings.TrimSpace(text))
	refs := c.index[name]
	if refs == nil {
		refs = c.folded[strings.ToLower(name)]
	}
	if refs != nil {
		matches := make([]Match, len(refs))
		for i, r := range refs {
			matches[i] = c.match(r)
			matches[i].Exact = true
			matches[i].Name = matches[i].named(name)
		}
		return matches
	}
	if r, detail, ok := c.detailed(c.folded, strings.ToLower(name)); ok {
		m := c.match(r)
		m.Exact, m.Name = true, m.Entry.Code+name[len(name)-len(detail):]
		return []Match{m}
	}
	return c.search(text)
}

var detailForm = regexp.MustCompile(`^([A-Za-z0-9_]+)(:[A-Za-z0-9._-]{1,255})$`)

// detailed finds the entry of a code of an upload with what it is about behind a colon, which may be anything: the usage that
// is missing (EKU_MISSING:clientAuth), the name of a node. It returns the detail with its colon.
func (c *catalogue) detailed(index map[string][]ref, name string) (found ref, detail string, ok bool) {
	m := detailForm.FindStringSubmatch(name)
	if m == nil {
		return ref{}, "", false
	}
	for _, r := range index[m[1]] {
		if c.entries[r.entry].Family == FamilyUpload {
			return r, m[2], true
		}
	}
	return ref{}, "", false
}

func (c *catalogue) match(r ref) Match {
	m := Match{Entry: c.entries[r.entry], Name: c.entries[r.entry].Code, Depth: -1}
	if r.verify >= 0 {
		m.Verify = &m.Entry.OpenSSL[r.verify]
	}
	return m
}

// named returns the name of the entry that a query is, whole and as it is usually written.
func (m *Match) named(query string) string {
	if m.Verify != nil {
		return "openssl:" + strconv.Itoa(m.Verify.Number)
	}
	for _, name := range m.Entry.Aliases {
		if _, rest, _ := strings.Cut(name, ":"); strings.EqualFold(name, query) || strings.EqualFold(rest, query) {
			return name
		}
	}
	return m.Entry.Code
}

// printable makes a query harmless: valid UTF-8 of at most MaxQuery bytes without control characters, and with plain
// quotation marks, which messages lose on their way through mail and documents.
func printable(query string) string {
	if len(query) > MaxQuery {
		query = query[:MaxQuery]
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r < ' ', r >= 0x7F && r <= 0xA0, r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069, r == 0x2028, r == 0x2029:
			return ' '
		case r == '\u2018', r == '\u2019':
			return '\''
		case r == '\u201C', r == '\u201D':
			return '"'
		default:
			return r
		}
	}, strings.ToValidUTF8(query, "?"))
}

// pattern is a wording to look for: parts that come one after the other within a line.
type pattern struct {
	parts []string // lower case, none empty
	size  int      // letters of all parts: the longer, the more it says
	ref   ref
}

// shortestPattern is the least number of bytes that a wording must have to be looked for: shorter ones are everywhere.
const shortestPattern = 8

func (c *catalogue) makePatterns(all []source) {
	for i := range all {
		for _, w := range all[i].Wording {
			c.pattern(w.Text, ref{i, -1})
		}
		for _, n := range c.entries[i].Curl {
			if c.entries[i].Family == FamilyCurl {
				number := strconv.Itoa(n)
				for _, text := range []string{"curl: (" + number + ")", "curl error " + number + ":", "return code " + number + " ("} {
					c.pattern(text, ref{i, -1})
				}
			}
		}
		for j, v := range c.entries[i].OpenSSL {
			c.pattern(v.Text, ref{i, j})
			if v.Old != "" {
				c.pattern(v.Old, ref{i, j})
			}
		}
	}
}

func (c *catalogue) pattern(text string, r ref) {
	p := pattern{ref: r}
	for part := range strings.SplitSeq(fold(text), "*") {
		if part != "" {
			p.parts, p.size = append(p.parts, part), p.size+len(part)
		}
	}
	if p.size >= shortestPattern {
		c.patterns = append(c.patterns, p)
	}
}

// fold makes wordings and lines comparable: lower case, and one blank for several.
func fold(text string) string { return lower(squeeze(text)) }

// squeeze makes one blank of several.
func squeeze(text string) string {
	if !strings.Contains(text, "  ") {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	for i := range len(text) {
		if text[i] != ' ' || i == 0 || text[i-1] != ' ' {
			b.WriteByte(text[i])
		}
	}
	return b.String()
}

// lower is strings.ToLower for ASCII alone: no letter changes its place.
func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

// hit is a place in a text that speaks of an entry.
type hit struct {
	ref        ref
	start, end int
	weight     int
	line       int
}

// search finds what a text speaks of.
func (c *catalogue) search(text string) []Match {
	lines := strings.Split(text, "\n")
	var hits []hit
	start := 0
	for i, line := range lines {
		line = squeeze(line)
		lines[i] = lower(line)
		for _, h := range slices.Concat(c.codes(line), c.iisHits(line), c.wordings(lines[i])) {
			h.start, h.end, h.line = h.start+start, h.end+start, i
			hits = append(hits, h)
		}
		start += len(line) + 1
		if len(hits) > maxHits {
			break
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.start, b.start))
	})
	var kept []hit
	for _, h := range hits {
		// Said already, or part of something that says more.
		if !slices.ContainsFunc(kept, func(k hit) bool {
			return k.ref.entry == h.ref.entry || k.start <= h.start && h.end <= k.end && k.weight > h.weight
		}) && len(kept) < maxMatches {
			kept = append(kept, h)
		}
	}
	matches := make([]Match, len(kept))
	for i, h := range kept {
		// A longer wording may stand around the text of a verification error.
		if j := slices.IndexFunc(hits, func(o hit) bool { return o.ref.entry == h.ref.entry && o.ref.verify >= 0 }); j >= 0 {
			h.ref = hits[j].ref
		}
		matches[i] = c.match(h.ref)
		matches[i].Depth = depthAt(lines, h.line)
	}
	return matches
}

// maxHits is when a text has said enough: sorting and comparing more helps nobody.
const maxHits = 4096

// wordings finds the known wordings in a folded line, each at its first place.
func (c *catalogue) wordings(line string) []hit {
	if len(line) < shortestPattern {
		return nil
	}
	var hits []hit
	for i := range c.patterns {
		p := &c.patterns[i]
		start, end := -1, 0
		for _, part := range p.parts {
			// Where a part comes first is the best place for it: whatever follows has the most room.
			at := strings.Index(line[end:], part)
			if at < 0 {
				start = -1
				break
			}
			if start < 0 {
				start = at
			}
			end += at + len(part)
		}
		if start >= 0 {
			hits = append(hits, hit{ref: p.ref, start: start, end: end, weight: p.size})
		}
	}
	return hits
}

// codeWeight puts a code above every wording.
const codeWeight = 1000

var named = regexp.MustCompile(`\b(?:code|reason|fault)["']?[=:] ?["']?([A-Za-z_]+)\b`)

// codes finds codes and other names in a line: words that can be nothing else, and words that are said to be one.
func (c *catalogue) codes(line string) []hit {
	var hits []hit
	add := func(word string, at int) {
		name := statusCode(word)
		refs := c.index[name]
		if hexadecimal(name) {
			refs = c.folded[strings.ToLower(name)] // programs do not agree on the case of digits
		}
		if r, _, ok := c.detailed(c.index, name); ok && refs == nil {
			refs = []ref{r}
		}
		for _, r := range refs {
			hits = append(hits, hit{ref: r, start: at, end: at + len(word), weight: codeWeight + len(word)})
		}
	}
	for at := 0; at < len(line); {
		n := strings.IndexFunc(line[at:], func(r rune) bool { return !codeLetter(r) })
		if n < 0 {
			n = len(line) - at
		}
		word := strings.TrimRight(line[at:at+n], ".:_-")
		if hexadecimal(word) || hexadecimal(statusCode(word)) || strings.ContainsAny(word, ".:_-") && strings.IndexFunc(word, isLetter) >= 0 {
			add(word, at)
		}
		at += n + 1
	}
	for _, m := range named.FindAllStringSubmatchIndex(line, -1) {
		add(line[m[2]:m[3]], m[2])
	}
	return hits
}

func hexadecimal(word string) bool {
	return strings.HasPrefix(word, "0x") || strings.HasPrefix(word, "0X")
}

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

func codeLetter(r rune) bool {
	return isLetter(r) || r >= '0' && r <= '9' || r == '.' || r == ':' || r == '_' || r == '-'
}

var depthForm = regexp.MustCompile(`\bdepth ?[=:]? ?(\d{1,2})\b|\bat (\d{1,2}) depth\b`)

// depthAt reads the depth of the certificate out of a folded line, or out of the one before, where s_client prints it. It is
// -1 when neither has one.
func depthAt(lines []string, at int) int {
	for i := at; i >= max(at-1, 0); i-- {
		if m := depthForm.FindStringSubmatch(lines[i]); m != nil {
			if n, err := strconv.Atoi(m[1] + m[2]); err == nil {
				return n
			}
		}
	}
	return -1
}
