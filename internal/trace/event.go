package trace

import (
	"log/slog"
	"net"
	"strings"
	"time"
)

// event gives a renderer the attributes of a record and of its logger.
type event struct {
	record slog.Record
	attrs  []slog.Attr
	at     time.Time
}

// value returns an attribute; the record's own win over the logger's, later ones over earlier ones.
func (e event) value(key string) (slog.Value, bool) {
	var found slog.Value
	ok := false
	e.record.Attrs(func(a slog.Attr) bool {
		if a.Key == key {
			found, ok = a.Value, true
		}
		return true
	})
	for i := len(e.attrs) - 1; i >= 0 && !ok; i-- {
		if e.attrs[i].Key == key {
			found, ok = e.attrs[i].Value, true
		}
	}
	return found.Resolve(), ok
}

// maxText is the longest text from a peer in one line: much of what is printed comes from it.
const maxText = 1024

// text returns an attribute as one line of text: a peer that sends line ends must not be able to write lines of its own.
func (e event) text(key string) string {
	v, ok := e.value(key)
	if !ok {
		return ""
	}
	s := v.String()
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7F && r < 0xA0 || r == 0x2028 || r == 0x2029 {
			return '?'
		}
		return r
	}, s), "?")
}

// textOr returns an attribute, or a default when it is missing or empty.
func (e event) textOr(key, missing string) string {
	if s := e.text(key); s != "" {
		return s
	}
	return missing
}

// number returns an attribute as a decimal number; "0" when it is missing.
func (e event) number(key string) string { return e.textOr(key, "0") }

// is reports whether a boolean attribute is true.
func (e event) is(key string) bool { return e.text(key) == "true" }

// bytes returns an attribute that holds a byte slice.
func (e event) bytes(key string) []byte {
	v, _ := e.value(key)
	if v.Kind() != slog.KindAny {
		return nil
	}
	b, _ := v.Any().([]byte)
	return b
}

// host returns the host of an attribute of the form HOST:PORT.
func (e event) host(key string) string {
	s := e.text(key)
	if host, _, err := net.SplitHostPort(s); err == nil {
		return host
	}
	return s
}
