package capf

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is what a Secret shows of itself.
const redacted = "[redacted]"

// String implements fmt.Stringer and shows nothing of the secret, not even its length.
func (s Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return redacted }

// Format implements fmt.Formatter, so that no verb shows the bytes.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, so that JSON does not show the bytes either.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
