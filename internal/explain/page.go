package explain

import (
	"io"
	"strconv"
	"strings"
)

// Page says how an entry is written for a reader.
type Page struct {
	Lang  Lang // zero: English
	Width int  // of a line in columns; 0: 80, and never fewer than 40
}

// The least and the usual width of a page, in columns.
const (
	narrowest  = 40
	usualWidth = 80
)

// manyErrors is from how many verification errors on an entry shows their numbers only.
const manyErrors = 5

// Write writes a match: what the code means, what may cause it, what to look at, and what to do. Nothing is cut off.
func (p Page) Write(w io.Writer, m Match) error {
	if p.Lang == "" {
		p.Lang = English
	}
	if p.Width == 0 {
		p.Width = usualWidth
	}
	p.Width = max(p.Width, narrowest)
	e, t := &m.Entry, m.Entry.Texts[p.Lang]
	var b strings.Builder
	head := e.Code
	if m.Name != "" && m.Name != e.Code {
		head = m.Name + " (" + e.Code + ")"
	}
	wrap(&b, t.Title, head+": ", "  ", p.Width)
	p.facts(&b, m)
	b.WriteByte('\n')
	wrap(&b, t.Meaning, "  ", "  ", p.Width)
	p.depths(&b, m)
	p.list(&b, "causes", t.Causes, true)
	p.list(&b, "evidence", t.Evidence, false)
	p.list(&b, "remedy", t.Remedy, len(t.Remedy) > 1)
	p.logs(&b, e)
	if len(e.Also) > 0 {
		b.WriteByte('\n')
		label := p.label("also") + "  "
		wrap(&b, strings.Join(e.Also, ", "), "  "+label, strings.Repeat(" ", 2+columns(label)), p.Width)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Others writes the matches of a text behind the first one, a line each. It writes nothing when there are none.
func (p Page) Others(w io.Writer, matches []Match) error {
	if len(matches) == 0 {
		return nil
	}
	if p.Lang == "" {
		p.Lang = English
	}
	var b strings.Builder
	b.WriteString("\n  " + p.label("others") + "\n")
	width := 0
	for i := range matches {
		width = max(width, len(matches[i].Entry.Code))
	}
	for i := range matches {
		b.WriteString("    " + pad(matches[i].Entry.Code, width) + "  " + matches[i].Entry.Texts[p.Lang].Title + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (p Page) label(name string) string { return loaded().label(name, p.Lang) }

// facts writes the family and the numbers that others have for it.
func (p Page) facts(b *strings.Builder, m Match) {
	e := &m.Entry
	labels := []string{p.label("family"), "OpenSSL", "curl"}
	width := 0
	for _, l := range labels {
		width = max(width, columns(l))
	}
	line := func(label, text string) {
		start := "  " + pad(label, width) + "  "
		wrap(b, text, start, strings.Repeat(" ", columns(start)), p.Width)
	}
	line(labels[0], p.label(string(e.Family)))
	switch {
	case m.Verify != nil:
		line(labels[1], m.Verify.String())
	case len(e.OpenSSL) >= manyErrors:
		numbers := make([]string, len(e.OpenSSL))
		for i, v := range e.OpenSSL {
			numbers[i] = strconv.Itoa(v.Number)
		}
		line(labels[1], strings.Join(numbers, ", "))
	default:
		for i, v := range e.OpenSSL {
			label := ""
			if i == 0 {
				label = labels[1]
			}
			line(label, v.String())
		}
	}
	if len(e.Curl) > 0 {
		numbers := make([]string, len(e.Curl))
		for i, n := range e.Curl {
			numbers[i] = strconv.Itoa(n)
		}
		line(labels[2], strings.Join(numbers, ", "))
	}
}

// String returns number, text and name: `18 self-signed certificate [1.1.1: self signed certificate] X509_V_ERR_...`.
func (v *VerifyError) String() string {
	s := strconv.Itoa(v.Number) + " " + v.Text
	if v.Old != "" {
		s += " [1.1.1: " + v.Old + "]"
	}
	return s + " " + v.Name
}

// depths writes what the depth means: that of the query, or every one that makes a difference.
func (p Page) depths(b *strings.Builder, m Match) {
	if text := m.Entry.DepthText(m.Depth, p.Lang); text != "" {
		b.WriteByte('\n')
		start := "  " + p.label("depth") + " " + strconv.Itoa(m.Depth) + "  "
		wrap(b, text, start, strings.Repeat(" ", columns(start)), p.Width)
		return
	}
	if len(m.Entry.Depths) == 0 || m.Depth >= 0 {
		return
	}
	b.WriteString("\n  " + p.label("depth") + "\n")
	for _, d := range m.Entry.Depths {
		start := "    " + pad(d.name(), 3) + "  "
		wrap(b, d.Texts[p.Lang], start, strings.Repeat(" ", columns(start)), p.Width)
	}
}

// name is the range: "0", "1+", "1-2".
func (d *Depth) name() string {
	switch {
	case d.To < 0:
		return strconv.Itoa(d.From) + "+"
	case d.To > d.From:
		return strconv.Itoa(d.From) + "-" + strconv.Itoa(d.To)
	default:
		return strconv.Itoa(d.From)
	}
}

func (p Page) list(b *strings.Builder, label string, texts []string, numbered bool) {
	b.WriteString("\n  " + p.label(label) + "\n")
	for i, t := range texts {
		mark := "- "
		if numbered {
			mark = strconv.Itoa(i+1) + ". "
		}
		wrap(b, t, "    "+mark, "    "+strings.Repeat(" ", len(mark)), p.Width)
	}
}

// logs writes how logs say it. Our own log has the code of a problem as an attribute.
func (p Page) logs(b *strings.Builder, e *Entry) {
	all := e.Wording
	if e.Family == FamilyProblem {
		all = append([]Wording{{In: "callsign", Text: `"code":"` + e.Code + `"`}}, all...)
	}
	if len(all) == 0 {
		return
	}
	width := 0
	for _, w := range all {
		width = max(width, columns(w.In))
	}
	b.WriteString("\n  " + p.label("logs") + "\n")
	for _, w := range all {
		start := "    " + pad(w.In, width) + "  "
		wrap(b, w.Text, start, strings.Repeat(" ", columns(start)), p.Width)
	}
}
