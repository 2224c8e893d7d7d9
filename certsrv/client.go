package certsrv

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"callsign/certsrv/winauth"
)

// Defaults of a Client's zero values.
const (
	DefaultTimeout       = 10 * time.Second // connect, login, fetch
	DefaultSubmitTimeout = 60 * time.Second // issuing can be much slower than a login
	DefaultMaxSessions   = 4
	DefaultUserAgent     = "Mozilla/5.0 (compatible; Callsign)"
	CompatUserAgent      = "CiscoRA 1.0" // default with Client.Compat
)

const (
	loginPath     = "/certsrv"
	templateMemo  = time.Hour        // how long an offered template is taken for offered
	maxIdle       = 60 * time.Second // IIS closes after 120
	maxSubmitIdle = 10 * time.Second // a POST rather pays for a login than risk a connection that is about to close
)

// Client talks to one web enrollment server. Set the fields before the first call and leave them alone afterwards; the
// methods may be called by several goroutines at once.
type Client struct {
	// URL is "https://HOST[:PORT]/certsrv"; the path may be left out. Plain http is refused: the pages carry passwords.
	URL string
	// Auth is the account that submits and fetches.
	Auth winauth.Credentials
	// SPN names the web server to domain controllers, with NTLM and Kerberos; empty means HTTP/ and the host of URL.
	SPN string
	// NoChannelBinding leaves out what ties a login to the TLS connection. Only for a proxy that ends TLS in between.
	NoChannelBinding bool
	// TLS says how the server's certificate is verified; nil for the system's roots. It is cloned. A check of the caller's
	// own (InsecureSkipVerify with VerifyConnection) explains what is wrong by returning a CertificateFault.
	TLS *tls.Config
	// DialContext opens TCP connections; nil for net.Dialer's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// UserAgent is sent with every request; empty means DefaultUserAgent, or CompatUserAgent with Compat. Servers choose
	// a page layout by it; the client reads all layouts.
	UserAgent string
	// Compat makes Enroll send the exact seven requests of Cisco's registration authority.
	Compat bool

	ConnectTimeout time.Duration // TCP, and again TLS; 0 means 10 s
	LoginTimeout   time.Duration // all legs of a login together; 0 means 10 s
	FetchTimeout   time.Duration // each GET after the login; 0 means 10 s
	SubmitTimeout  time.Duration // the POST; 0 means 60 s

	// MaxSessions bounds the connections that are open at a time; 0 means 4. More calls than that wait.
	MaxSessions int
	// SkipTemplateCheck is for templates that certrqxt.asp never lists although they can be requested (machine type).
	SkipTemplateCheck bool
	// Log receives the events; nil discards.
	Log *slog.Logger
	// Now is the clock for what is told and remembered; nil for time.Now. Timeouts run on the real one.
	Now func() time.Time

	once    sync.Once
	setup   error
	base    *url.URL      // scheme, host, explicit port
	slots   chan struct{} // one token for each open connection
	mu      sync.Mutex
	idle    []*winauth.Conn
	closed  bool
	offered map[string]time.Time // template, lower case -> when it was last seen offered
}

// Login logs in on a fresh connection and closes it: a check of the account and of the server. creds nil means the
// Client's own. Success is an authenticated answer to GET /certsrv, a redirect to /certsrv/ on real servers, which is
// not followed.
//
// With Basic a server that asks nobody for a password cannot be told from one that accepted it.
func (c *Client) Login(ctx context.Context, creds *winauth.Credentials) error {
	return c.alone(ctx, creds, func(*session) error { return nil })
}

// Forget makes the client check the template again at the next enrolment, instead of up to an hour later.
func (c *Client) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.offered)
}

// Close closes the idle connections, and the Kerberos tickets of Auth; connections in use are closed when their call ends.
// Later calls fail. It returns the first error of closing.
func (c *Client) Close() error {
	c.mu.Lock()
	idle := c.idle
	c.idle, c.closed = nil, true
	c.mu.Unlock()
	var first error
	for _, conn := range idle {
		if err := conn.Close(); err != nil && first == nil {
			first = err
		}
	}
	if c.Auth.Kerberos != nil {
		if err := c.Auth.Kerberos.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (c *Client) init() error {
	c.once.Do(func() {
		n := c.MaxSessions
		if n <= 0 {
			n = DefaultMaxSessions
		}
		c.slots = make(chan struct{}, n)
		c.offered = make(map[string]time.Time)
		c.base, c.setup = parseURL(c.URL)
	})
	return c.setup
}

func parseURL(raw string) (*url.URL, error) {
	bad := func(detail string) error {
		return &Problem{
			ErrCode: CodeBadConfiguration, Detail: detail,
			Fix: "set the URL to https://HOST/certsrv with the name that is in the web server's certificate",
		}
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, bad(fmt.Sprintf("the URL %q cannot be read", raw))
	case u.User != nil:
		return nil, bad("the URL contains a user name or password")
	case u.Scheme != "https" || u.Hostname() == "":
		return nil, bad(fmt.Sprintf("the URL %q is not https://HOST/certsrv", raw))
	case !strings.EqualFold(strings.Trim(u.Path, "/"), "certsrv") && strings.Trim(u.Path, "/") != "":
		return nil, bad(fmt.Sprintf("the URL %q has another path than /certsrv, whose name is fixed", raw))
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(u.Hostname(), port)}, nil
}

func (c *Client) dialer() winauth.Dialer {
	agent := c.UserAgent
	switch {
	case agent != "":
	case c.Compat:
		agent = CompatUserAgent
	default:
		agent = DefaultUserAgent
	}
	return winauth.Dialer{
		DialContext: c.DialContext, TLS: c.TLS, UserAgent: agent, SPN: c.SPN, NoChannelBinding: c.NoChannelBinding,
		ConnectTimeout: c.ConnectTimeout, LoginTimeout: c.LoginTimeout,
	}
}

func (c *Client) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

func (c *Client) log() *slog.Logger {
	if c.Log != nil {
		return c.Log
	}
	return slog.New(slog.DiscardHandler)
}

func orDefault(d, fallback time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return fallback
}
