package explain

import (
	"strings"
	"unicode"
)

// wide are the letters that take two columns of a terminal (Unicode's East Asian Width W and F), as far as texts and logs
// have them.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1100, Hi: 0x115F, Stride: 1},
		{Lo: 0x2E80, Hi: 0x303E, Stride: 1},
		{Lo: 0x3041, Hi: 0x33FF, Stride: 1},
		{Lo: 0x3400, Hi: 0x4DBF, Stride: 1},
		{Lo: 0x4E00, Hi: 0x9FFF, Stride: 1},
		{Lo: 0xA000, Hi: 0xA4CF, Stride: 1},
		{Lo: 0xA960, Hi: 0xA97F, Stride: 1},
		{Lo: 0xAC00, Hi: 0xD7A3, Stride: 1},
		{Lo: 0xF900, Hi: 0xFAFF, Stride: 1},
		{Lo: 0xFE10, Hi: 0xFE19, Stride: 1},
		{Lo: 0xFE30, Hi: 0xFE6F, Stride: 1},
		{Lo: 0xFF01, Hi: 0xFF60, Stride: 1},
		{Lo: 0xFFE0, Hi: 0xFFE6, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x1F300, Hi: 0x1F64F, Stride: 1}, {Lo: 0x1F900, Hi: 0x1F9FF, Stride: 1}, {Lo: 0x20000, Hi: 0x3FFFD, Stride: 1},
	},
}

// columns is how many columns a text takes on a terminal.
func columns(text string) int {
	n := 0
	for _, r := range text {
		switch {
		case unicode.Is(wide, r):
			n += 2
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf): // drawn over the letter before, or not at all
		default:
			n++
		}
	}
	return n
}

// pad fills a text with blanks up to a number of columns.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-columns(text)))
}

// wrap writes text in lines of at most width columns: first in front of the first line, rest in front of the others.
// It breaks at blanks only: a longer word, such as a command's path or a URL, is left whole.
func wrap(b *strings.Builder, text, first, rest string, width int) {
	b.WriteString(first)
	at, begun := columns(first), false
	for word := range strings.SplitSeq(text, " ") {
		n := columns(word)
		switch {
		case begun && at+1+n > width:
			b.WriteString("\n" + rest)
			at = columns(rest)
		case begun:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at, begun = at+n, true
	}
	b.WriteByte('\n')
}
