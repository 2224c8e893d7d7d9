package secret

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what stands in place of a secret wherever one would be printed.
const Redacted = "[redacted]"

// String is a secret text. The zero value is the empty secret.
type String struct{ v string }

// NewString returns s as a secret.
func NewString(s string) String { return String{v: s} }

// Reveal returns the value.
func (s String) Reveal() string { return s.v }

// IsZero reports whether the secret is empty.
func (s String) IsZero() bool { return s.v == "" }

// Equal compares in a time that depends only on the lengths.
func (s String) Equal(other String) bool {
	return subtle.ConstantTimeCompare([]byte(s.v), []byte(other.v)) == 1
}

// String implements fmt.Stringer and returns Redacted.
func (String) String() string { return Redacted }

// GoString implements fmt.GoStringer and returns Redacted.
func (String) GoString() string { return Redacted }

// Format implements fmt.Formatter and writes Redacted for every verb: without it %x and %d would reach the value.
func (String) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// LogValue implements slog.LogValuer and returns Redacted.
func (String) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText implements encoding.TextMarshaler (JSON strings and map keys, XML, TOML) and returns Redacted.
func (String) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// UnmarshalText implements encoding.TextUnmarshaler, so that a decoder can fill a secret.
func (s *String) UnmarshalText(text []byte) error {
	s.v = string(text)
	return nil
}

// Bytes is a secret byte string: a key, a token. The zero value is the empty secret. Bytes does not copy: who keeps
// the slice given to NewBytes keeps the secret.
type Bytes struct{ v []byte }

// NewBytes returns b as a secret.
func NewBytes(b []byte) Bytes { return Bytes{v: b} }

// Reveal returns the value; the caller does not change it.
func (b Bytes) Reveal() []byte { return b.v }

// IsZero reports whether the secret is empty.
func (b Bytes) IsZero() bool { return len(b.v) == 0 }

// Equal compares in a time that depends only on the lengths.
func (b Bytes) Equal(other Bytes) bool { return subtle.ConstantTimeCompare(b.v, other.v) == 1 }

// String implements fmt.Stringer and returns Redacted.
func (Bytes) String() string { return Redacted }

// GoString implements fmt.GoStringer and returns Redacted.
func (Bytes) GoString() string { return Redacted }

// Format implements fmt.Formatter and writes Redacted for every verb.
func (Bytes) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// LogValue implements slog.LogValuer and returns Redacted.
func (Bytes) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText implements encoding.TextMarshaler and returns Redacted.
func (Bytes) MarshalText() ([]byte, error) { return []byte(Redacted), nil }
