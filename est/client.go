package est

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"callsign/cmc"
)

// Defaults and limits of a Client.
const (
	defaultConnectTimeout = 5 * time.Second
	defaultTimeout        = 10 * time.Second // libEST's read timeout
	defaultUserAgent      = "callsign"
	maxAnswer             = 2_000_000 // libEST's limit, in bytes
	maxRedirects          = 3
	// idleClientConn is well under what servers grant, so that a request seldom meets a connection just being closed.
	idleClientConn = 15 * time.Second
)

// Password is a secret that does not show when it is printed or logged.
type Password []byte

// String returns "[redacted]", or nothing for no password.
func (p Password) String() string {
	if len(p) == 0 {
		return ""
	}
	return "[redacted]"
}

// GoString is String, for %#v.
func (p Password) GoString() string { return p.String() }

// LogValue implements slog.LogValuer.
func (p Password) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText implements encoding.TextMarshaler, so that JSON shows no password either.
func (p Password) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Client asks an EST server. URL and TLS are required. It is safe for concurrent use, keeps idle connections for the
// next request, and must not be copied or changed after first use. Errors are *ClientError, or *RetryError for 202.
type Client struct {
	// URL is the server's base, "https://ra.example.com:8084/.well-known/est"; without a path the well-known one is
	// added.
	URL string
	// Label is the additional path segment of RFC 7030 section 3.2.2; empty for none.
	Label string
	// TLS holds the trust anchors (RootCAs) and, for certificate authentication, the client's Certificates. It is not
	// changed. TLS 1.2 is the least. A check of the caller's own (InsecureSkipVerify with VerifyConnection) may return an
	// error with Code() and Remedy(): the ClientError takes over the remedy, and its code is CodeServerName for the code
	// "name_mismatch", else CodeServerUntrusted.
	TLS *tls.Config
	// User and Password are for HTTP Basic. They are sent when the server has asked for them, and from then on with every
	// request but cacerts; never to a server that knows other schemes only.
	User     string
	Password Password
	// ConnectTimeout bounds the TCP connection and, again, the TLS handshake; 0 for 5 s.
	ConnectTimeout time.Duration
	// Timeout bounds a whole call, connecting included; 0 for 10 s. The context's deadline counts too.
	Timeout time.Duration
	// UserAgent names the client; empty for "callsign". A server may choose the form of its answer by it.
	UserAgent string
	Log       *slog.Logger // nil discards
	// Now is the clock that a Retry-After date is measured against; nil for time.Now.
	Now func() time.Time

	once       sync.Once
	http       *http.Client
	tls        *tls.Config // of all connections
	connect    time.Duration
	base       *url.URL
	bad        error       // why the configuration is unusable
	challenged atomic.Bool // the server has asked for Basic
}

// ContentKind is what the body of an answer to a full CMC request is.
type ContentKind int

// The kinds of answers to a full CMC request.
const (
	ContentNone        ContentKind = iota // no CMS message
	ContentCertsOnly                      // Simple PKI Response: certificates, not signed
	ContentCMCResponse                    // Full PKI Response: to be verified by the caller
)

// CMCAnswer is a server's answer to a full CMC request. Nothing in it is verified.
type CMCAnswer struct {
	Status     int // 200, 202, or any other that came with a CMS message
	Kind       ContentKind
	Body       []byte        // DER or BER ContentInfo; nil for ContentNone
	RetryAfter time.Duration // 0 when the server named none
	RequestID  string        // the server's X-Request-Id; may be empty
}

// CACerts returns the server's CA certificates (RFC 7030 section 4.1), unverified and in no particular order: that one
// of them is self-signed makes it no trust anchor. Any status but 200 is an error.
func (c *Client) CACerts(ctx context.Context) ([]*x509.Certificate, error) {
	a, err := c.exchange(ctx, call{op: "cacerts", method: http.MethodGet})
	if err != nil {
		return nil, err
	}
	if err := a.success(); err != nil {
		return nil, err
	}
	certs, err := a.certificates()
	if err != nil {
		return nil, err
	}
	return certs, nil
}

// SimpleEnroll sends a signed DER PKCS#10 and returns the certificate for its key (RFC 7030 section 4.2). Other
// certificates in the answer are ignored. It returns a *RetryError when the server wants more time: then send the same
// request again after that, as Poll does.
func (c *Client) SimpleEnroll(ctx context.Context, csr []byte) (*x509.Certificate, error) {
	return c.enroll(ctx, call{op: opSimpleEnroll, body: csr})
}

// SimpleReenroll is SimpleEnroll for a certificate that is to be renewed or, with another key, rekeyed (RFC 7030 section 4.2.2):
// TLS.Certificates holds it, and the request has its names.
func (c *Client) SimpleReenroll(ctx context.Context, csr []byte) (*x509.Certificate, error) {
	return c.enroll(ctx, call{op: opSimpleReenroll, body: csr})
}

// Operations that a request for a certificate is sent to.
const (
	opSimpleEnroll   = "simpleenroll"
	opSimpleReenroll = "simplereenroll"
	opServerKeygen   = "serverkeygen"
)

// enroll sends a request and picks the certificate out of the answer.
func (c *Client) enroll(ctx context.Context, k call) (*x509.Certificate, error) {
	a, request, err := c.post(ctx, k)
	if err != nil {
		return nil, err
	}
	certs, err := a.certificates()
	if err != nil {
		return nil, err
	}
	for _, cert := range certs {
		if bytes.Equal(cert.RawSubjectPublicKeyInfo, request.RawSubjectPublicKeyInfo) {
			return cert, nil
		}
	}
	return nil, a.problem(CodeAnswerCertificate, LibESTNoCertificate,
		errors.New("none of the "+strconv.Itoa(len(certs))+" certificates in the answer has the requested key"),
		"look at the server: it answered with a certificate for another request")
}

// post sends a PKCS#10, that of k or the one that k.link makes, and returns an answer of status 200 with the request that it is
// about.
func (c *Client) post(ctx context.Context, k call) (*answer, *x509.CertificateRequest, error) {
	k.method, k.media, k.login = http.MethodPost, "application/pkcs10", true
	var request *x509.CertificateRequest
	parse := func(csr []byte) error {
		var err error
		if request, err = x509.ParseCertificateRequest(csr); err != nil {
			return &ClientError{
				ErrCode: CodeCSRMalformed, Op: k.op, number: LibESTNoCSR, Err: err,
				Fix: "give a DER PKCS#10 certificate request",
			}
		}
		return nil
	}
	if build := k.link; build == nil {
		if err := parse(k.body); err != nil {
			return nil, nil, err
		}
	} else {
		k.link = func(l Links) ([]byte, error) {
			csr, err := build(l)
			if err == nil {
				err = parse(csr)
			}
			return csr, err
		}
	}
	a, err := c.ask(ctx, k)
	if err != nil {
		return nil, nil, err
	}
	if a.status == http.StatusAccepted {
		after, err := a.mustRetryAfter()
		if err != nil {
			return nil, nil, err
		}
		return nil, nil, &RetryError{After: after, Text: a.text(), RequestID: a.requestID()}
	}
	return a, request, a.success()
}

// FullCMC sends the DER of a Full PKI Request (RFC 7030 section 4.3) and returns the answer, a refusal with a CMC
// message included. The same bytes may be sent again. A 202 without usable Retry-After is an error, and so is any answer
// of 4xx or 5xx without a CMS message.
func (c *Client) FullCMC(ctx context.Context, der []byte) (*CMCAnswer, error) {
	k := call{
		op: "fullcmc", method: http.MethodPost, media: "application/pkcs7-mime; smime-type=CMC-request", body: der,
		login: true, repeatable: true,
	}
	a, err := c.ask(ctx, k)
	if err != nil {
		return nil, err
	}
	return a.cmc()
}

// Close closes idle connections. The Client may be used again.
func (c *Client) Close() {
	c.setup()
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
}

// call is one request to make.
type call struct {
	op, method, media string
	body              []byte // DER
	// link makes the body for the connection on which it is sent; nil: body is there, and any connection will do.
	link       func(Links) ([]byte, error)
	login      bool // credentials may be sent
	repeatable bool // the server does nothing twice for the same bytes
	// provisional tells not to look at who the server is: see Bootstrap.
	provisional bool
}

// ask is exchange that answers a challenge: without one no password leaves the house, and the server has been judged by its
// certificate before.
func (c *Client) ask(ctx context.Context, k call) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	mayLogin := k.login && (c.User != "" || len(c.Password) > 0)
	k.login = mayLogin && c.challenged.Load()
	a, err := c.exchange(ctx, k)
	if err != nil || a.status != http.StatusUnauthorized || k.login || !mayLogin || !a.basicChallenge() {
		return a, err
	}
	c.challenged.Store(true)
	k.login = true
	return c.exchange(ctx, k)
}

// timeout bounds a call.
func (c *Client) timeout() time.Duration {
	if c.Timeout <= 0 {
		return defaultTimeout
	}
	return c.Timeout
}

// exchange makes one HTTP request and reads the whole answer.
func (c *Client) exchange(ctx context.Context, k call) (*answer, error) {
	if c.setup(); c.bad != nil {
		return nil, &ClientError{
			ErrCode: CodeClientConfig, Op: k.op, number: LibESTInvalidParameters,
			Err: c.bad, Fix: "correct the EST client's URL, label or TLS settings",
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	steps := new(progress)
	started := time.Now()
	a := &answer{op: k.op, url: c.target(k).Redacted(), loggedIn: k.login, now: c.now}
	var err error
	switch {
	case k.link != nil:
		err = c.linkedTrip(ctx, k, steps, a)
	default:
		var request *http.Request
		if request, err = c.request(steps.watch(ctx), k, c.target(k)); err == nil {
			err = c.roundTrip(c.clientFor(k), request, a)
		}
	}
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		// Giving up closes the connection, and a server that notices may still end its answer properly: half an answer
		// then reads like a whole one, or like a broken connection.
		if err == nil {
			err = ended
		} else {
			err = fmt.Errorf("%w (%w)", ended, err)
		}
	}
	if own, ok := errors.AsType[*ClientError](err); ok {
		err = own
	} else if err != nil {
		err = classify(err, steps, a)
	}
	c.record(ctx, k, a, err, started)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// target is where k goes first.
func (c *Client) target(k call) *url.URL {
	if c.Label != "" {
		return c.base.JoinPath(c.Label, k.op)
	}
	return c.base.JoinPath(k.op)
}

// request builds the HTTP request for k.
func (c *Client) request(ctx context.Context, k call, target *url.URL) (*http.Request, error) {
	var body io.Reader
	if k.body != nil {
		// A bytes.Reader makes net/http send Content-Length; libEST's server reads broken lines only.
		body = bytes.NewReader(encodeBody(k.body, true))
	}
	r, err := http.NewRequestWithContext(ctx, k.method, target.String(), body)
	if err != nil {
		return nil, err
	}
	agent := c.UserAgent
	if agent == "" {
		agent = defaultUserAgent
	}
	r.Header.Set("User-Agent", agent)
	r.Header.Set("Accept", "*/*")
	if k.body != nil {
		r.Header.Set("Content-Type", k.media)
		r.Header.Set("Content-Transfer-Encoding", "base64")
	}
	if k.login {
		r.SetBasicAuth(c.User, string(c.Password))
	}
	if k.repeatable {
		r.Header["Idempotency-Key"] = nil // tells net/http, and is not sent
	}
	return r, nil
}

// roundTrip fills a from the server's answer to r.
func (c *Client) roundTrip(by *http.Client, r *http.Request, a *answer) error {
	response, err := by.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	a.status, a.header = response.StatusCode, response.Header
	a.url = response.Request.URL.Redacted()
	a.body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return err
	}
	if len(a.body) > maxAnswer {
		return errAnswerTooLarge
	}
	return nil
}

// record logs one exchange.
func (c *Client) record(ctx context.Context, k call, a *answer, err error, started time.Time) {
	if c.Log == nil {
		return
	}
	attrs := []slog.Attr{
		slog.String("op", k.op), slog.String("url", a.url), slog.Int("status", a.status), slog.Int("bytes", len(a.body)),
		slog.Int64("duration_ms", time.Since(started).Milliseconds()),
	}
	if id := a.requestID(); id != "" {
		attrs = append(attrs, slog.String("request_id", id))
	}
	if err != nil {
		attrs = append(attrs, slog.String("err", err.Error()))
	}
	c.Log.LogAttrs(context.WithoutCancel(ctx), slog.LevelDebug, "EST exchange", attrs...)
}

func (c *Client) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

// setup checks the configuration and makes the HTTP client, once.
func (c *Client) setup() {
	c.once.Do(func() {
		if c.base, c.bad = parseBase(c.URL); c.bad != nil {
			return
		}
		if c.Label != "" {
			if c.bad = CheckLabel(c.Label); c.bad != nil {
				return
			}
		}
		if c.TLS == nil {
			c.bad = errors.New("no TLS configuration")
			return
		}
		if c.connect = c.ConnectTimeout; c.connect <= 0 {
			c.connect = defaultConnectTimeout
		}
		c.tls = c.TLS.Clone()
		c.tls.MinVersion = max(c.tls.MinVersion, tls.VersionTLS12)
		config := c.tls.Clone()
		if config.ClientSessionCache == nil {
			config.ClientSessionCache = tls.NewLRUClientSessionCache(0) // resumption SHOULD be supported (section 3.3)
		}
		t := c.transport()
		t.TLSClientConfig = config
		t.MaxIdleConnsPerHost, t.IdleConnTimeout = 16, idleClientConn
		c.http = &http.Client{CheckRedirect: checkRedirect, Transport: t}
	})
}

// transport returns what all connections have in common; TLS is to be added.
func (c *Client) transport() *http.Transport {
	return &http.Transport{
		DialContext:            c.dialer().DialContext,
		TLSHandshakeTimeout:    c.connect,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}
}

func (c *Client) dialer() *net.Dialer {
	return &net.Dialer{Timeout: c.connect, KeepAlive: 30 * time.Second}
}

// parseBase reads the server's base URL.
func parseBase(s string) (*url.URL, error) {
	base, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("URL cannot be parsed") // the error's text could hold a password
	case base.Scheme != "https":
		return nil, errors.New("URL does not begin with https://")
	case base.Host == "" || base.Hostname() == "":
		return nil, errors.New("URL has no host")
	case base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, errors.New("URL has a user, a query or a fragment")
	}
	if strings.Trim(base.Path, "/") == "" {
		base.Path = wellKnown
	}
	base.Path = strings.TrimRight(base.Path, "/")
	return base, nil
}

// errRedirect tells that a redirect was not followed.
var errRedirect = errors.New("redirect not followed")

// checkRedirect follows to the same origin only, without changing the method (RFC 7030 section 3.2.1): another origin
// would need a person's consent, and must not see credentials.
func checkRedirect(next *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case next.URL.Scheme != first.URL.Scheme || next.URL.Host != first.URL.Host:
		return &redirectError{to: next.URL.Scheme + "://" + next.URL.Host, why: "leads to another origin"}
	case next.Method != first.Method:
		return &redirectError{to: next.URL.Redacted(), why: "turns " + first.Method + " into " + next.Method}
	case len(via) > maxRedirects:
		return &redirectError{to: next.URL.Redacted(), why: "is one too many"}
	}
	return nil
}

// redirectError names a redirect that was not followed.
type redirectError struct{ to, why string }

func (e *redirectError) Error() string { return "redirect to " + clip(e.to, 200) + " " + e.why }
func (e *redirectError) Unwrap() error { return errRedirect }

// parseCertsOnly reads a certs-only message.
func parseCertsOnly(der []byte) ([]*x509.Certificate, error) {
	certs, err := cmc.ParseCertsOnly(der)
	if err != nil {
		if _, bare := x509.ParseCertificate(der); bare == nil {
			return nil, errors.New("the answer is a bare certificate instead of a certs-only message")
		}
		return nil, err
	}
	if len(certs) == 0 {
		return nil, errors.New("the answer holds no certificate")
	}
	return certs, nil
}
