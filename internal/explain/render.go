package explain

import (
	"encoding/json"
	"io"
	"strings"
)

// Options say how errors are rendered.
type Options struct {
	Color   bool   // colour the first word; the caller knows whether the writer is a terminal that wants it
	JSON    bool   // one JSON object {"errors":[{"error","code","cause","fix","see","request_id"}]} instead of text
	Command string // "callsign phone add": points to its help after the errors; empty: does not
	// Fix rewrites what to do, for example so that its commands can be copied; nil: as it is.
	Fix func(string) string
}

// Render writes err for a user. It writes nothing for nil, and does not report the writer's errors: there is nobody
// left to tell.
func Render(w io.Writer, err error, o Options) {
	parts := Parts(err)
	if len(parts) == 0 {
		return
	}
	for i := range parts {
		if code := parts[i].Code; code != "" && Known(code) {
			parts[i].See = "callsign explain " + code
		}
		if o.Fix != nil {
			parts[i].Fix = o.Fix(parts[i].Fix)
		}
	}
	if o.JSON {
		// Marshalling strings cannot fail.
		_ = json.NewEncoder(w).Encode(struct {
			Errors []Part `json:"errors"`
		}{parts})
		return
	}
	var b strings.Builder
	for _, p := range parts {
		word := "error:"
		if o.Color {
			word = "\x1b[1;31m" + word + "\x1b[0m"
		}
		head := clean(p.Error, "       ")
		if p.Code != "" {
			head += " (" + clean(p.Code, "") + ")"
		}
		b.WriteString(word + " " + head + "\n")
		field(&b, "cause:", p.Cause)
		field(&b, "fix:  ", p.Fix)
		if p.See != "" && p.Request != "" {
			p.See, p.Request = p.See+"     request: "+p.Request, ""
		}
		field(&b, "see:  ", p.See)
		field(&b, "request:", p.Request)
	}
	if o.Command != "" {
		field(&b, "see:  ", o.Command+" --help")
	}
	_, _ = io.WriteString(w, b.String())
}

func field(b *strings.Builder, label, text string) {
	if text != "" {
		b.WriteString("  " + label + " " + clean(text, "         ") + "\n")
	}
}

// clean indents further lines, and takes out control characters: texts quote peers, whose bytes must not reach the
// user's terminal.
func clean(text, indent string) string {
	text = strings.TrimSpace(strings.ToValidUTF8(text, "?"))
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\t':
			return ' '
		case r == '\r':
			return -1
		case r < ' ', r >= 0x7F && r < 0xA0, r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069:
			return '?'
		default:
			return r
		}
	}, text)
	return strings.ReplaceAll(text, "\n", "\n"+indent)
}
