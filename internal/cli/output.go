package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// printJSON writes the result of a command: one object, indented for the person who looks at it.
func (e *env) printJSON(v any) error {
	enc := json.NewEncoder(e.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// hint writes to stderr unless --quiet.
func (e *env) hint(format string, args ...any) {
	if !e.quiet {
		fmt.Fprintf(e.err, format, args...)
	}
}

// table writes rows under a header, columns two blanks apart.
func table(w io.Writer, header []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(header, "\t"))
	for _, r := range rows {
		for i, cell := range r {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, visible(cell))
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// in says how far away t is: "in 101d", "3h ago".
func in(t, now time.Time) string {
	d := t.Sub(now)
	ago := d < 0
	if ago {
		d = -d
	}
	var s string
	switch {
	case d >= 48*time.Hour:
		s = fmt.Sprintf("%dd", int(d.Hours()/24))
	case d >= time.Hour:
		s = fmt.Sprintf("%dh", int(d.Hours()))
	default:
		s = fmt.Sprintf("%dm", int(d.Minutes()))
	}
	if ago {
		return s + " ago"
	}
	return "in " + s
}

// utc is a time in JSON.
func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }
