package winauth

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/types"
)

// maxKeytab bounds a keytab file; an account has some hundred octets in it.
const maxKeytab = 1 << 20

// Keytab is a set of Kerberos keys that shows itself to nobody who prints, logs or marshals it, also not inside another
// value. The zero value has no keys.
type Keytab struct {
	keys func() *keytab.Keytab // a function for the reason that Password has one
}

// ParseKeytab reads a keytab file (MIT's format, version 1 or 2, as ktutil, kadmin and ktpass write it). The error holds
// nothing of b.
func ParseKeytab(b []byte) (Keytab, error) {
	if len(b) > maxKeytab {
		return Keytab{}, fmt.Errorf("keytab of %d octets, more than %d", len(b), maxKeytab)
	}
	k := new(keytab.Keytab)
	// The library's errors quote the file, keys included.
	if err := k.Unmarshal(slices.Clone(b)); err != nil {
		return Keytab{}, errors.New("not a keytab file, or one that is cut short")
	}
	if len(k.Entries) == 0 {
		return Keytab{}, errors.New("the keytab has no keys")
	}
	return Keytab{keys: func() *keytab.Keytab { return k }}, nil
}

// IsZero tells whether there are no keys.
func (k Keytab) IsZero() bool { return k.keys == nil }

// Principals returns whose keys these are, "user@REALM", each once, in the order of the file.
func (k Keytab) Principals() []string {
	var out []string
	if k.IsZero() {
		return nil
	}
	for _, e := range k.keys().Entries {
		if name := strings.Join(e.Principal.Components, "/") + "@" + e.Principal.Realm; !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// key returns the newest key of a principal with this type, of that version unless kvno is 0, and its version.
func (k Keytab) key(p principal, etype int32, kvno int) (types.EncryptionKey, int, bool) {
	key, version, err := k.keys().GetEncryptionKey(p.name, p.realm, kvno, etype)
	return key, version, err == nil
}

// versions returns the key versions that the keytab has for a principal.
func (k Keytab) versions(p principal) []uint32 {
	var out []uint32
	for _, e := range k.keys().Entries {
		if e.Principal.Realm == p.realm && slices.Equal(e.Principal.Components, p.name.NameString) && !slices.Contains(out, e.KVNO) {
			out = append(out, e.KVNO)
		}
	}
	return out
}

// String returns "[redacted]".
func (k Keytab) String() string { return redacted }

// Format implements fmt.Formatter for every verb.
func (k Keytab) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer.
func (k Keytab) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, and with it JSON and TOML.
func (k Keytab) MarshalText() ([]byte, error) { return []byte(redacted), nil }
