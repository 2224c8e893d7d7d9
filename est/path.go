package est

import (
	"errors"
	"net/url"
	"strings"
)

// maxLabelBytes is libEST's limit on a label.
const maxLabelBytes = 128

// wellKnown is the path prefix that RFC 7030 section 3.2.2 fixes.
const wellKnown = "/.well-known/est"

// target is what a request's path asks for.
type target struct {
	label     string // empty for none
	operation string // as sent; may be unknown
}

// errPath tells that a path is no EST path.
var errPath = errors.New("not an EST path")

// parsePath reads the escaped path of a request: /.well-known/est[/LABEL]/OPERATION or, as strongSwan sends a label,
// /LABEL/.well-known/est/OPERATION. The operation is not looked up, except that a label may not be named like one.
func parsePath(escaped string) (target, error) {
	var label string
	rest, ok := strings.CutPrefix(escaped, wellKnown+"/")
	if !ok {
		prefix, tail, found := strings.Cut(escaped, wellKnown+"/")
		if !found {
			return target{}, errPath
		}
		var err error
		if label, err = unescapeLabel(strings.TrimPrefix(prefix, "/")); err != nil {
			return target{}, err
		}
		if strings.Contains(tail, "/") {
			return target{}, errPath // one label only
		}
		return target{label: label, operation: tail}, nil
	}
	first, second, two := strings.Cut(rest, "/")
	if !two {
		return target{operation: first}, nil
	}
	label, err := unescapeLabel(first)
	if err != nil {
		return target{}, err
	}
	if second == "" || strings.Contains(second, "/") {
		return target{}, errPath
	}
	return target{label: label, operation: second}, nil
}

// unescapeLabel decodes and checks a path segment that stands for a label.
func unescapeLabel(segment string) (string, error) {
	label, err := url.PathUnescape(segment)
	if err != nil {
		return "", errPath
	}
	if err := CheckLabel(label); err != nil {
		return "", err
	}
	return label, nil
}

// CheckLabel tells why label cannot be the additional path segment of RFC 7030 section 3.2.2: it must have 1 to 128
// bytes out of letters, digits and -._~!$&'()*+,;=:@ and must not be the name of an operation, those of RFC 8295
// included. It returns nil for a good label.
func CheckLabel(label string) error {
	switch {
	case label == "":
		return errors.New("label is empty")
	case len(label) > maxLabelBytes:
		return errors.New("label is longer than 128 bytes")
	case label == "." || label == "..":
		return errors.New("label is a relative path")
	case isReserved(label):
		return errors.New("label is the name of an operation")
	}
	for i := range len(label) {
		c := label[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && !strings.ContainsRune("-._~!$&'()*+,;=:@", rune(c)) {
			return errors.New("label has a character that is not allowed")
		}
	}
	return nil
}

// isReserved tells whether s is a path segment of a defined operation (RFC 7030, RFC 8295).
func isReserved(s string) bool {
	if _, ok := findOperation(s); ok {
		return true
	}
	switch s {
	case "pal", "eecerts", "crls", "symmetrickeys", "firmware", "tamp", "return":
		return true
	}
	return false
}
