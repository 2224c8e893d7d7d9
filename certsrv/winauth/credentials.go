package winauth

import (
	"fmt"
	"log/slog"
	"strings"
)

// Method is a way to authenticate.
type Method int

// The methods. The zero value is NTLM.
const (
	NTLM      Method = iota // NTLMv2 on the connection
	Basic                   // user name and password with every request, over TLS only
	Negotiate               // Kerberos in the scheme Negotiate, on the connection
)

// String returns "NTLM", "Basic" or "Negotiate".
func (m Method) String() string {
	switch m {
	case NTLM:
		return "NTLM"
	case Basic:
		return "Basic"
	case Negotiate:
		return "Negotiate"
	}
	return fmt.Sprintf("Method(%d)", int(m))
}

const redacted = "[redacted]"

// Password is a password that shows itself to nobody who prints, logs or marshals it, also not inside another value. The
// zero value is no password.
type Password struct {
	// A function is what keeps fmt out: it prints unexported members by reflection, without asking any method, and follows
	// pointers when the verb does not fit the type.
	secret func() string
}

// NewPassword returns b as a Password. It keeps a copy.
func NewPassword(b []byte) Password {
	s := string(b)
	return Password{secret: func() string { return s }}
}

// IsZero tells whether there is no password, or an empty one.
func (p Password) IsZero() bool { return p.reveal() == "" }

func (p Password) reveal() string {
	if p.secret == nil {
		return ""
	}
	return p.secret()
}

// String returns "[redacted]".
func (p Password) String() string { return redacted }

// Format implements fmt.Formatter for every verb.
func (p Password) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer.
func (p Password) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, and with it JSON and TOML.
func (p Password) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Credentials are a user name and a password and how to present them.
type Credentials struct {
	// User is `DOMAIN\user`, `user@REALM` or a bare user name, which the server looks up where it likes.
	User     string
	Password Password
	Method   Method // zero: NTLM
	// Kerberos gets the tickets, with Negotiate; Kerberos.Credentials fills all of these.
	Kerberos *Kerberos
}

// String returns the user and the method, not the password.
func (c Credentials) String() string { return c.User + ":" + redacted + " (" + c.Method.String() + ")" }

// Format implements fmt.Formatter for every verb.
func (c Credentials) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// LogValue implements slog.LogValuer.
func (c Credentials) LogValue() slog.Value {
	return slog.GroupValue(slog.String("user", c.User), slog.String("password", redacted),
		slog.String("method", c.Method.String()))
}

// Validate tells what makes the credentials unusable: an empty user name, control characters, or for Basic a colon in
// the user name. The error does not contain the password.
func (c Credentials) Validate() error {
	_, user := c.split()
	switch {
	case user == "":
		return &Error{Kind: KindCredentials, Phase: PhaseLogin, Err: fmt.Errorf("no user name in %q", c.User)}
	case strings.ContainsFunc(c.User, isControl):
		return &Error{Kind: KindCredentials, Phase: PhaseLogin, Err: fmt.Errorf("control character in user name %q", c.User)}
	case c.Method == Basic && strings.Contains(c.User, ":"):
		return &Error{Kind: KindCredentials, Phase: PhaseLogin, Err: fmt.Errorf("user name %q has a colon, which Basic cannot carry", c.User)}
	case c.Method == Negotiate && c.Kerberos == nil:
		return &Error{Kind: KindCredentials, Phase: PhaseLogin, Err: fmt.Errorf("no Kerberos settings for user %q", c.User)}
	case c.Method != NTLM && c.Method != Basic && c.Method != Negotiate:
		return &Error{Kind: KindCredentials, Phase: PhaseLogin, Err: fmt.Errorf("unknown method %s", c.Method)}
	}
	return nil
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// split takes the domain off `DOMAIN\user`. `user@REALM` is a name of its own: it goes out whole, with an empty domain,
// and the server finds the domain.
func (c Credentials) split() (domain, user string) {
	if d, u, ok := strings.Cut(c.User, `\`); ok {
		return d, u
	}
	return "", c.User
}
