package chain

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Fault is one rule that a path breaks.
type Fault struct {
	Code     Code
	Rule     string // Rule.Name: what exactly was asked for
	Depth    int    // place in the path: 0 is the leaf, 1 its issuer, and so on
	Subject  string // of the certificate, as text; empty when there is none
	Detail   string // what is wrong, with names and values
	Actual   string // the value found; empty when there is none to show
	Expected string // the value asked for
	Remedy   string // what to do

	// NearMisses are certificates that are nearly what was looked for, and what keeps them from being it.
	NearMisses []string
	// Consequences are faults that go away with this one.
	Consequences []Fault

	ip     bool // a name_mismatch of an address
	unread bool // the certificate does not parse
}

// Error is the faults of a Result as an error. Its text is that of the first fault.
type Error struct {
	Faults []Fault // at least one
	Name   string  // that was looked for; empty for none
	Leaf   *Certificate
}

// Error implements error.
func (e *Error) Error() string {
	f := &e.Faults[0]
	text := f.Detail
	var more []string
	for _, further := range e.Faults[1:] {
		if code := string(further.Code); further.Code != f.Code && !slices.Contains(more, code) {
			more = append(more, code)
		}
	}
	if len(more) > 0 {
		text += " (also: " + strings.Join(more, ", ") + ")"
	}
	return text
}

// Code returns the code of the first fault.
func (e *Error) Code() string { return string(e.Faults[0].Code) }

// Remedy returns what to do against the first fault.
func (e *Error) Remedy() string { return e.Faults[0].Remedy }

// Has reports whether one of the faults, consequences aside, has the code.
func (r *Result) Has(code Code) bool {
	return slices.ContainsFunc(r.Faults, func(f Fault) bool { return f.Code == code })
}

// FaultsAt returns the faults of the certificate at a depth, consequences aside.
func (r *Result) FaultsAt(depth int) []Fault {
	var found []Fault
	for _, f := range r.Faults {
		if f.Depth == depth {
			found = append(found, f)
		}
	}
	return found
}

// order sorts faults as they are reported: trust, dates, name, usage, key, then rules of form; from the leaf up.
func order(faults []Fault) {
	slices.SortStableFunc(faults, func(a, b Fault) int {
		if d := a.rank() - b.rank(); d != 0 {
			return d
		}
		return a.Depth - b.Depth
	})
}

// fold moves what follows from another fault under it.
func fold(faults []Fault) []Fault {
	order(faults)
	kept := make([]Fault, 0, len(faults))
	for _, f := range faults {
		if i := slices.IndexFunc(kept, func(cause Fault) bool { return cause.causes(&f) }); i >= 0 {
			kept[i].take(f)
			continue
		}
		// What follows from a fault may stand before it in the order of the report.
		kept = slices.DeleteFunc(kept, func(earlier Fault) bool {
			follows := f.causes(&earlier)
			if follows {
				f.take(earlier)
			}
			return follows
		})
		kept = append(kept, f)
	}
	return kept
}

// take puts g, with what follows from it, under f.
func (f *Fault) take(g Fault) {
	further := g.Consequences
	g.Consequences = nil
	f.Consequences = append(append(f.Consequences, g), further...)
}

// causes reports whether g goes away when f is mended.
func (f *Fault) causes(g *Fault) bool {
	if slices.ContainsFunc(f.Consequences, func(c Fault) bool { return c.causes(g) }) {
		return true
	}
	switch f.Code {
	case TooComplex:
		// What the search did not reach, it could not find, and nobody has looked whose CRL it would be.
		return f.Rule == ruleLimits.Name && (g.trust() || g.Code == NoCRL || g.Rule == ruleLimits.Name)
	case BadSignature:
		// The certificates above a wrong signature are perhaps not this one's issuers at all.
		return g.Depth > f.Depth
	case UnknownIssuer, UnknownRoot, SelfSigned, IncompleteAnchor:
		// Without the issuer nobody can say whether it has revoked.
		return (g.Code == NoCRL || g.Code == StaleCRL) && g.Depth >= f.Depth
	case IssuerNotCA:
		// What is no CA lacks the rest of a CA as well.
		return g.Depth == f.Depth && (g.Code == IssuerNotCA || g.Rule == ruleVersion.Name || g.Rule == ruleSubjectKey.Name)
	case WeakKey, WeakSignature:
		// The same key or algorithm asked for in two ways.
		return g.Code == f.Code && g.Depth == f.Depth
	case Malformed:
		return f.Rule == ruleAltPresent.Name && (g.Rule == ruleSubjectAlt.Name || g.Rule == ruleCommonName.Name) ||
			f.Rule == ruleSerial.Name && g.Rule == ruleSerialSyntax.Name
	default:
		return false
	}
}

// trust reports whether a fault is one of the path not reaching an anchor.
func (f *Fault) trust() bool {
	switch f.Code {
	case SelfSigned, UnknownRoot, UnknownIssuer, IncompleteAnchor, BadSignature:
		return true
	default:
		return false
	}
}

// newFault makes a fault of a certificate in the path.
func newFault(r *Rule, c *Certificate, depth int, format string, args ...any) Fault {
	shorten(args)
	f := Fault{Code: r.Code, Rule: r.Name, Depth: depth, Detail: fmt.Sprintf(format, args...)}
	if c != nil {
		f.Subject = short(c.Subject())
	}
	return f
}

// values sets what was compared.
func (f Fault) values(actual, expected string) Fault {
	f.Actual, f.Expected = short(actual), short(expected)
	return f
}

// fix sets the remedy.
func (f Fault) fix(format string, args ...any) Fault {
	shorten(args)
	f.Remedy = fmt.Sprintf(format, args...)
	return f
}

// short cuts a text that somebody else has written, so that reports and logs do not grow with what a peer presents, and
// replaces characters that would make a terminal or a log show something else than it says.
func short(s string) string {
	const longest = 1000 // octets
	if len(s) > longest {
		end := longest
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = fmt.Sprintf("%s... (%d octets)", s[:end], len(s))
	}
	return strings.Map(visible, s)
}

// visible replaces control characters and those that change the direction of writing.
func visible(r rune) rune {
	switch {
	case r < ' ', r >= 0x7F && r < 0xA0, r == 0x2028, r == 0x2029, r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069:
		return '?'
	default:
		return r
	}
}

// shorten cuts the texts among the arguments of a format.
func shorten(args []any) {
	for i := range args {
		switch a := args[i].(type) {
		case string:
			args[i] = short(a)
		case error:
			args[i] = short(a.Error())
		}
	}
}
