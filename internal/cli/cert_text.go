package cli

import (
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// visible makes foreign text safe to print in one line: no control character reaches the terminal, and none of those that
// reorder or hide what stands around them.
func visible(s string) string {
	s = strings.ToValidUTF8(s, "?")
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) || r == 0x3164 || r == 0x115F || r == 0x1160 {
			return '?'
		}
		return r
	}, oneLine(s))
}

// paint colours the words that say how something went, if the writer wants colour.
func (e *env) paint(w any, word string) string {
	if !e.color(w) {
		return word
	}
	const red, green, yellow, bold, plain = "\x1b[1;31m", "\x1b[32m", "\x1b[33m", "\x1b[1m", "\x1b[0m"
	switch strings.Trim(word, " :") {
	case "FAIL":
		return red + word + plain
	case "OK":
		return green + word + plain
	case "warning", "WARN", "----":
		return yellow + word + plain
	default:
		return bold + word + plain
	}
}

// Widths between which text is wrapped: lines that are longer are hard to read, and narrower ones are no help.
const (
	narrowest = 40
	widest    = 120
)

// textWidth returns the width to which text is wrapped; 0 off a terminal, where lines stay whole for those who search them.
func textWidth(w any) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < narrowest {
		return 0
	}
	return min(width, widest)
}

// report writes a text for people, wrapped.
type report struct {
	env   *env
	out   io.Writer
	width int // 0 does not wrap
}

func (e *env) newReport() *report { return &report{env: e, out: e.out, width: textWidth(e.out)} }

// line writes text behind a head that was made here; further lines are indented to the width of the head. The text is
// foreign. The head may be coloured: its length is given.
func (r *report) line(head string, length int, text string) {
	indent := strings.Repeat(" ", length)
	for i, l := range wrap(visible(text), r.width-length) {
		if i > 0 {
			head = indent
		}
		_, _ = io.WriteString(r.out, strings.TrimRight(head+l, " ")+"\n")
	}
}

// item writes text behind a label, indented.
func (r *report) item(indent, label, text string) {
	if text != "" {
		head := indent + pad(label, labelWidth)
		r.line(head, len(head), text)
	}
}

// labelWidth is the width of the labels of items.
const labelWidth = 12

func pad(s string, width int) string { return s + strings.Repeat(" ", max(1, width-len(s))) }

// wrap breaks text at blanks into lines of at most width characters; a longer word has a line of its own. A width of less
// than narrowest/2 breaks nothing.
func wrap(text string, width int) []string {
	if width < narrowest/2 {
		return []string{text}
	}
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
