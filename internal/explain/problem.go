package explain

import (
	"errors"
	"slices"
	"strings"
)

// Problem is an error that a user can act on.
type Problem interface {
	error
	// Code is the stable name of the problem, "room.kebab-case"; empty shows none.
	Code() string
	// Remedy is an instruction with the exact object and command; empty shows none.
	Remedy() string
}

// Part is one error in the parts that a user reads. Empty parts are not shown.
type Part struct {
	Error   string `json:"error"`                // what failed, on which object
	Code    string `json:"code,omitempty"`       // stable code
	Cause   string `json:"cause,omitempty"`      // why
	Fix     string `json:"fix,omitempty"`        // what to do
	See     string `json:"see,omitempty"`        // the command that tells more; set by Render
	Request string `json:"request_id,omitempty"` // finds the request in logs
}

// Parts takes err apart: a Part for each error of a joined one, in order and without repetitions. It is empty for nil.
func Parts(err error) []Part {
	var parts []Part
	for _, p := range split(err, "") {
		if !slices.Contains(parts, p) {
			parts = append(parts, p)
		}
	}
	return parts
}

// Code returns the code of the first Problem in err's chain, "" when there is none.
func Code(err error) string {
	if p, ok := errors.AsType[Problem](err); ok {
		return p.Code()
	}
	return ""
}

// split follows the chain to where errors were joined. context is the text wrapped around them.
func split(err error, context string) []Part {
	if err == nil {
		return nil
	}
	if inner := joined(err); inner != nil {
		var parts []Part
		for _, e := range inner {
			parts = append(parts, split(e, context)...)
		}
		return parts
	}
	if _, ok := err.(Problem); !ok { //nolint:errorlint // walks the chain itself, to see what was wrapped around
		if inner := errors.Unwrap(err); inner != nil && hasJoined(inner) {
			if around, ok := strings.CutSuffix(err.Error(), inner.Error()); ok {
				return split(inner, context+around)
			}
		}
	}
	return []Part{part(err, context)}
}

// joined returns the errors of a list: of errors.Join, or of a type that prints one error a line. Other errors with
// several causes (fmt.Errorf with two %w) are one error.
func joined(err error) []error {
	list, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	inner := list.Unwrap()
	texts := make([]string, 0, len(inner))
	for _, e := range inner {
		if e == nil {
			return nil
		}
		texts = append(texts, e.Error())
	}
	if len(inner) == 0 || strings.Join(texts, "\n") != err.Error() {
		return nil
	}
	return inner
}

// hasJoined reports whether a list is further down a chain of single errors.
func hasJoined(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if joined(err) != nil {
			return true
		}
	}
	return false
}

// part divides one error into what and why. In order: the cause that the error names itself; what the problem wraps; the
// problem itself below the context that was wrapped around it.
func part(err error, context string) Part {
	text := err.Error()
	out := Part{Error: context + text}
	if r, ok := errors.AsType[interface {
		error
		RequestID() string
	}](err); ok {
		out.Request = r.RequestID()
	}
	p, ok := errors.AsType[Problem](err)
	if !ok {
		return out
	}
	out.Code, out.Fix = p.Code(), p.Remedy()
	if c, ok := errors.AsType[interface {
		error
		Cause() string
	}](err); ok && c.Cause() != "" {
		out.Cause = c.Cause()
	} else if inner := errors.Unwrap(p); inner != nil && strings.HasSuffix(text, ": "+inner.Error()) {
		out.Cause = inner.Error()
	} else if own := p.Error(); own != text && strings.HasSuffix(text, ": "+own) {
		out.Cause = own
	}
	if what, ok := strings.CutSuffix(out.Error, ": "+out.Cause); ok && out.Cause != "" {
		out.Error = what
	}
	return out
}
