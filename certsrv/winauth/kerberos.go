package winauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
)

// DefaultKDCTimeout is the time for one exchange with one KDC where a KerberosConfig says nothing.
const DefaultKDCTimeout = 5 * time.Second

// KerberosConfig says whose tickets to get, and where.
type KerberosConfig struct {
	// User is `user@REALM`, a bare user name or `DOMAIN\user`; the latter two are of the Realm, since a domain's short name
	// tells no realm.
	User     string
	Password Password
	Keytab   Keytab // instead of a password
	// Realm is the realm of users who name none; empty for default_realm of Krb5Conf. It counts in upper case.
	Realm string
	// KDCs are the domain controllers of the Realm, or of the user's where that is empty: "host" or "host:port" (88 without),
	// in the order in which they are tried. None: those of Krb5Conf, else those that DNS names (_kerberos._tcp.REALM).
	KDCs []string
	// Krb5Conf is the content of a krb5.conf file, of which libdefaults (default_realm, encryption types, lifetimes), realms
	// and domain_realm count; nil for none.
	Krb5Conf []byte
	// Timeout is for one exchange with one KDC; 0 means 5 s. The context of the caller and the login's time bound all.
	Timeout time.Duration
	// DialContext opens the TCP connections to KDCs; nil for net.Dialer's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// LookupSRV asks DNS for KDCs; nil for net.DefaultResolver's.
	LookupSRV func(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// Kerberos gets the tickets of one account from its domain controllers and keeps them until shortly before they expire, so
// that logins share them. It runs nothing in the background; it may be used by several goroutines at once, which then
// wait for one exchange together instead of sending the password to the KDC once each.
type Kerberos struct {
	c    KerberosConfig
	conf *config.Config
	user principal

	life  context.Context // ends with Close
	close context.CancelFunc

	mu       sync.Mutex
	tgt      *ticket
	services map[string]*ticket
	flight   *flight
}

// flight is an exchange under way.
type flight struct {
	spn  string
	done chan struct{}
	err  *Error // to be read after done; each reader takes a copy
	// abandoned tells that it ended because of whoever ran it, not because of the KDC.
	abandoned bool
}

// principal is a name in a realm.
type principal struct {
	name  types.PrincipalName
	realm string
}

func (p principal) String() string { return p.name.PrincipalNameString() + "@" + p.realm }

// ticket is a ticket with the key that it carries for its user.
type ticket struct {
	ticket messages.Ticket
	key    types.EncryptionKey
	client principal
	from   time.Time
	until  time.Time
}

// fresh tells whether the ticket is good for a login at this time, with something left for the way.
func (t *ticket) fresh(now time.Time) bool {
	return t != nil && now.Add(min(time.Minute, t.until.Sub(t.from)/10)).Before(t.until)
}

// NewKerberos returns the tickets of one account. It asks nobody yet. Errors are *Error of KindCredentials or KindKeytab.
func NewKerberos(c KerberosConfig) (*Kerberos, error) {
	conf, err := krb5Conf(c.Krb5Conf)
	if err != nil {
		return nil, &Error{Kind: KindCredentials, Phase: PhaseLogin, User: c.User, Err: err, fix: "correct the file, or name realm and KDCs instead of it"}
	}
	if c.Realm == "" {
		c.Realm = conf.LibDefaults.DefaultRealm
	}
	c.Realm = strings.ToUpper(c.Realm)
	c.KDCs = slices.Clone(c.KDCs)
	for i, kdc := range c.KDCs {
		if c.KDCs[i], err = withPort(kdc); err != nil {
			return nil, &Error{Kind: KindCredentials, Phase: PhaseLogin, User: c.User, Err: err, fix: "name a KDC as host or host:port"}
		}
	}
	return newKerberos(c, conf)
}

func newKerberos(c KerberosConfig, conf *config.Config) (*Kerberos, error) {
	user, err := c.principal()
	if err != nil {
		return nil, err
	}
	if c.Realm == "" {
		c.Realm = user.realm // the KDCs are of somebody's realm, and nobody else is here
	}
	k := &Kerberos{c: c, conf: conf, user: user, services: map[string]*ticket{}}
	k.life, k.close = context.WithCancel(context.Background())
	return k, nil
}

// For returns the tickets of another account in the same surroundings, with a password of its own. It shares no ticket
// with k, and is closed by itself.
func (k *Kerberos) For(user string, p Password) (*Kerberos, error) {
	c := k.c
	c.User, c.Password, c.Keytab = user, p, Keytab{}
	return newKerberos(c, k.conf)
}

// Credentials returns what to give to Conn.Login.
func (k *Kerberos) Credentials() Credentials {
	return Credentials{User: k.c.User, Password: k.c.Password, Method: Negotiate, Kerberos: k}
}

// Close forgets all tickets and ends what is under way. Later logins fail. It returns nil.
func (k *Kerberos) Close() error {
	k.close()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tgt, k.services = nil, map[string]*ticket{}
	return nil
}

// String returns the account, not its secret.
func (k *Kerberos) String() string { return k.user.String() + " (" + Negotiate.String() + ")" }

// Format implements fmt.Formatter for every verb.
func (k *Kerberos) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// LogValue implements slog.LogValuer.
func (k *Kerberos) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText implements encoding.TextMarshaler, and with it JSON and TOML.
func (k *Kerberos) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// principal reads the user's name.
func (c KerberosConfig) principal() (principal, error) {
	name, realm := c.User, c.Realm
	if _, user, ok := strings.Cut(name, `\`); ok {
		name = user
	} else if i := strings.LastIndexByte(name, '@'); i >= 0 {
		name, realm = name[:i], strings.ToUpper(name[i+1:])
	}
	e := &Error{Kind: KindCredentials, Phase: PhaseLogin, User: c.User}
	switch {
	case name == "" || strings.ContainsFunc(c.User, isControl):
		e.Err = fmt.Errorf("user name %q", c.User)
	case realm == "":
		e.Err = fmt.Errorf("no realm for user %q", c.User)
		e.fix = "write the user as user@REALM, or name the realm: it is the DNS name of the Active Directory domain in capital letters"
	case c.Password.IsZero() && c.Keytab.IsZero():
		e.Err = fmt.Errorf("user %s has neither password nor keytab", c.User)
	default:
		p := principal{types.NewPrincipalName(nametype.KRB_NT_PRINCIPAL, name), realm}
		if !c.Keytab.IsZero() && len(c.Keytab.versions(p)) == 0 {
			e.Kind, e.User = KindKeytab, p.String()
			e.Err = fmt.Errorf("the keytab has no key of %s, but of %s", p, strings.Join(c.Keytab.Principals(), ", "))
			e.fix = "set the user name to the principal of the keytab, in the same spelling, or export a keytab for this account: ktpass /princ " + p.String() + " /crypto AES256-SHA1 /ptype KRB5_NT_PRINCIPAL"
			return principal{}, e
		}
		return p, nil
	}
	return principal{}, e
}

// krb5Conf reads a krb5.conf; nil is one that says nothing.
func krb5Conf(b []byte) (*config.Config, error) {
	conf, err := parseKrb5Conf(b)
	if unsupported := (config.UnsupportedDirective{}); err != nil && !errors.As(err, &unsupported) {
		return nil, fmt.Errorf("krb5.conf: %w", err)
	}
	d := &conf.LibDefaults
	if slices.Equal(d.DefaultTktEnctypeIDs, config.New().LibDefaults.DefaultTktEnctypeIDs) {
		d.DefaultTktEnctypeIDs = d.PermittedEnctypeIDs
	}
	d.DefaultTktEnctypeIDs = strong(d.DefaultTktEnctypeIDs, b)
	d.DefaultTGSEnctypeIDs = d.DefaultTktEnctypeIDs
	d.Canonicalize = false // names in answers are compared with what was asked
	d.NoAddresses = true   // tickets are not tied to an address, which NAT would break
	return conf, nil
}

// parseKrb5Conf lets the library read the file. It takes the form of some lines for granted and panics at others.
func parseKrb5Conf(b []byte) (_ *config.Config, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("a section or a line is malformed")
		}
	}()
	return config.NewFromString(string(b))
}

// strong leaves the encryption types that a domain controller of today knows: AES, and RC4 where the administrator's own
// file asks for it.
func strong(ids []int32, file []byte) []int32 {
	var out []int32
	for _, id := range ids {
		switch id {
		case etypeID.AES256_CTS_HMAC_SHA1_96, etypeID.AES128_CTS_HMAC_SHA1_96, etypeID.AES256_CTS_HMAC_SHA384_192, etypeID.AES128_CTS_HMAC_SHA256_128:
			out = append(out, id)
		case etypeID.RC4_HMAC:
			if len(file) > 0 {
				out = append(out, id)
			}
		}
	}
	return out
}

// withPort adds Kerberos's port to a host without one.
func withPort(kdc string) (string, error) {
	host, port, err := net.SplitHostPort(kdc)
	if err != nil {
		host, port = strings.Trim(kdc, "[]"), "88"
	}
	if host == "" || port == "" || strings.ContainsAny(host, " /") || strings.Contains(host, ":") && net.ParseIP(host) == nil {
		return "", fmt.Errorf("%q is no KDC", kdc)
	}
	return net.JoinHostPort(host, port), nil
}

var errClosed = errors.New("the Kerberos tickets of this account were closed")

// ticket returns a ticket for a service such as "HTTP/lab-dc.example.net", a kept one where there is one. Errors are
// *Error.
func (k *Kerberos) ticket(ctx context.Context, spn string) (*ticket, error) {
	for {
		k.mu.Lock()
		if k.life.Err() != nil {
			k.mu.Unlock()
			return nil, &Error{Kind: KindCanceled, Phase: PhaseLogin, Err: errClosed}
		}
		if t := k.services[spn]; t.fresh(time.Now()) {
			k.mu.Unlock()
			return t, nil
		}
		f := k.flight
		if f == nil {
			f = &flight{spn: spn, done: make(chan struct{})}
			k.flight = f
			k.mu.Unlock()
			return k.fly(ctx, f)
		}
		k.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, k.ended(ctx, time.Now(), "", ctx.Err())
		}
		// A wrong password is wrong for all who waited: each of them asking by itself would lock the account.
		if f.err != nil && !f.abandoned && f.spn == spn {
			e := *f.err
			return nil, &e
		}
	}
}

// fly runs an exchange that others wait for.
func (k *Kerberos) fly(ctx context.Context, f *flight) (t *ticket, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(k.life, cancel)() //nolint:contextcheck // the end of the account's tickets ends this, too
	f.abandoned = true                        // should the exchange panic
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if err == nil && k.life.Err() == nil {
			k.services[f.spn] = t
		}
		k.flight = nil
		close(f.done)
	}()
	t, err = k.fetch(ctx, f.spn)
	if e, ok := errors.AsType[*Error](err); ok {
		shared := *e
		f.err = &shared
	}
	f.abandoned = ctx.Err() != nil
	return t, err
}

// forget drops what is kept for a service, so that the next login asks the KDC again.
func (k *Kerberos) forget(spn string, t *ticket) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.services[spn] == t {
		delete(k.services, spn)
		k.tgt = nil
	}
}
