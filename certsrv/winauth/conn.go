package winauth

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Limits and times that apply where a Dialer says nothing.
const (
	DefaultConnectTimeout = 10 * time.Second
	DefaultLoginTimeout   = 10 * time.Second
	DefaultRequestTimeout = 60 * time.Second
	DefaultMaxBody        = 1 << 20 // octets of one answer's body

	maxHeader    = 64 << 10 // octets of one answer's status line and header
	maxInterim   = 5        // 1xx answers before the real one
	maxErrorBody = 4 << 10  // octets of a refusal's body that an Error keeps
)

// Dialer holds what connections have in common. The zero value works for a server whose certificate the system trusts.
type Dialer struct {
	// DialContext opens the TCP connection; nil for net.Dialer's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS is used for https URLs; nil for the system's roots. It is cloned; the host of the URL becomes the ServerName
	// when it has none, and only HTTP/1.1 is offered, because HTTP/2 cannot carry NTLM.
	TLS *tls.Config
	// UserAgent is sent with every request; empty sends none.
	UserAgent string
	// ConnectTimeout is for name lookup and TCP together, and again for the TLS handshake; 0 means 10 s.
	ConnectTimeout time.Duration
	// LoginTimeout is for all legs of a login together; 0 means 10 s.
	LoginTimeout time.Duration
	// SPN names the web server to the domain controllers, with NTLM and Negotiate; empty means HTTP/ and the host of the URL.
	SPN string
	// NoChannelBinding leaves out what ties a login to the TLS connection (Extended Protection). Only for a proxy that ends
	// TLS between here and the web server.
	NoChannelBinding bool
	alter            func(*target) // for tests of what must be refused
	// MaxBody limits the body of one answer in octets; 0 means 1 MiB.
	MaxBody int
}

// Request is one HTTP request.
type Request struct {
	Method string      // empty means GET
	Path   string      // with query, as it goes on the wire: "/certsrv/certnew.cer?ReqID=7&Enc=b64"
	Header http.Header // further header fields; Host, User-Agent, Content-Length and Authorization are set by the Conn
	Body   []byte      // sent with Content-Length, never chunked; nil for none
	// Timeout is for sending and for the whole answer; 0 means 60 s. In a login the Dialer's LoginTimeout holds.
	Timeout time.Duration
}

// Response is one HTTP answer, completely read.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Conn is one connection to a server. It is not safe for concurrent use.
type Conn struct {
	d       Dialer
	raw     net.Conn
	base    *url.URL // scheme and host with explicit port
	host    string   // Host header: no port when it is the scheme's own
	w       *bufio.Writer
	r       *bufio.Reader
	budget  *budgetReader
	secure  bool
	closed  bool
	replied time.Time // when the last answer was complete
	// overtaken is the end of the time, or of the caller's patience, that came together with an answer and closed the connection.
	overtaken error
	// authorization goes with every request after the login: Basic has it, NTLM has not.
	authorization string
}

// Dial connects to the server of rawURL, of which only scheme and host count, and does the TLS handshake for https.
// Errors are *Error of phase connect or tls.
func (d Dialer) Dial(ctx context.Context, rawURL string) (*Conn, error) {
	base, err := baseURL(rawURL)
	if err != nil {
		return nil, err
	}
	c := &Conn{d: d, base: base, host: hostHeader(base), secure: base.Scheme == "https"}
	raw, err := d.connect(ctx, base)
	if err != nil {
		return nil, err
	}
	c.raw = raw
	if c.secure {
		if c.raw, err = d.handshake(ctx, base, raw); err != nil {
			_ = raw.Close() // the handshake's error is the one that matters
			return nil, err
		}
	}
	c.budget = &budgetReader{r: c.raw}
	c.r = bufio.NewReader(c.budget)
	c.w = bufio.NewWriterSize(c.raw, 16<<10)
	return c, nil
}

func (d Dialer) connect(ctx context.Context, base *url.URL) (net.Conn, error) {
	start := time.Now()
	dial := d.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	dctx, cancel := context.WithTimeout(ctx, d.connectTimeout())
	defer cancel()
	raw, err := dial(dctx, "tcp", base.Host)
	if err == nil {
		return raw, nil
	}
	e := &Error{Kind: KindConnect, Phase: PhaseConnect, URL: base.String(), Elapsed: time.Since(start), Err: err}
	var dns *net.DNSError
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		e.Kind = KindCanceled
	case errors.As(err, &dns): // also when no DNS server answers in time: the way to the web server was not even tried
		e.Kind = KindResolve
	case isTimeout(err) || dctx.Err() != nil:
		e.Kind = KindTimeout
	}
	return nil, e
}

func (d Dialer) handshake(ctx context.Context, base *url.URL, raw net.Conn) (net.Conn, error) {
	start := time.Now()
	cfg := d.TLS.Clone()
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if cfg.ServerName == "" {
		cfg.ServerName = base.Hostname()
	}
	cfg.NextProtos = []string{"http/1.1"}
	hctx, cancel := context.WithTimeout(ctx, d.connectTimeout())
	defer cancel()
	tc := tls.Client(raw, cfg)
	err := tc.HandshakeContext(hctx)
	if err == nil {
		return tc, nil
	}
	e := &Error{Kind: KindTLS, Phase: PhaseTLS, URL: base.String(), Elapsed: time.Since(start), Err: err}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		e.Kind = KindCanceled
	case isTimeout(err) || hctx.Err() != nil:
		e.Kind = KindTimeout
	}
	return nil, e
}

// Do sends r once and reads the whole answer. Any status is an answer, also 401. After an error the connection is
// closed. An *Error tells in Sent whether the server may have seen the request.
func (c *Conn) Do(ctx context.Context, r Request) (*Response, error) {
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = DefaultRequestTimeout
	}
	return c.exchange(ctx, PhaseRequest, r, c.authorization, time.Now(), timeout)
}

// URL returns what path is called on this server, with explicit port.
func (c *Conn) URL(path string) string { return c.base.String() + path }

// TLS returns the state of the TLS connection, nil for plain HTTP.
func (c *Conn) TLS() *tls.ConnectionState {
	tc, ok := c.raw.(*tls.Conn)
	if !ok {
		return nil
	}
	s := tc.ConnectionState()
	return &s
}

// target is what a login on this connection is bound to.
func (c *Conn) target() target {
	t := target{spn: c.d.SPN}
	if t.spn == "" {
		t.spn = "HTTP/" + strings.ToLower(c.base.Hostname())
	}
	state := c.TLS()
	if state == nil || len(state.PeerCertificates) == 0 || c.d.NoChannelBinding {
		return t
	}
	// A certificate for which no binding is defined goes without; a server that requires one cannot have that certificate.
	if b, err := ChannelBinding(state.PeerCertificates[0]); err == nil {
		t.binding = &b
	}
	if c.d.alter != nil {
		c.d.alter(&t)
	}
	return t
}

// Idle returns for how long the connection has been silent since its last complete answer.
func (c *Conn) Idle(now time.Time) time.Duration { return now.Sub(c.replied) }

// Closed tells whether the connection is known to be unusable.
func (c *Conn) Closed() bool { return c.closed }

// Alive looks whether the server has closed the connection meanwhile, which servers do after some minutes. It takes up
// to a millisecond. A true answer is no promise.
func (c *Conn) Alive() bool {
	if c.closed {
		return false
	}
	c.budget.left = maxHeader
	if err := c.raw.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		c.fail()
		return false
	}
	// Between requests nothing but the end of the connection can be read; octets out of turn are as bad.
	_, err := c.r.Peek(1)
	if isTimeout(err) {
		return true
	}
	c.fail()
	return false
}

// Close closes the connection. It may be called more than once.
func (c *Conn) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	if err := c.raw.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close connection to %s: %w", c.base.Host, err)
	}
	return nil
}

// fail closes a connection that is of no use any more; what closing says does not matter then.
func (c *Conn) fail() {
	c.closed = true
	_ = c.raw.Close()
}

func (c *Conn) exchange(ctx context.Context, phase Phase, r Request, auth string, start time.Time, timeout time.Duration) (*Response, error) {
	e := &Error{Phase: phase, URL: c.URL(r.Path)}
	if c.closed {
		e.Kind, e.Err = KindLost, net.ErrClosed
		return nil, e
	}
	xctx, cancel := context.WithDeadline(ctx, start.Add(timeout))
	defer cancel()
	// A deadline in the past wakes a blocked read or write; it serves the timeout and the caller's cancel alike.
	stop := context.AfterFunc(xctx, func() { _ = c.raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.raw.SetDeadline(time.Time{}); err != nil {
		return nil, c.failed(xctx, e, start, err)
	}
	if xctx.Err() != nil {
		return nil, c.failed(xctx, e, start, xctx.Err())
	}
	if err := c.write(xctx, r, auth, e); err != nil {
		return nil, c.failed(xctx, e, start, err)
	}
	resp, err := c.read(r.method(), e)
	if err != nil {
		return nil, c.failed(xctx, e, start, err)
	}
	if !stop() {
		// The deadline fell between the last octet and here: the answer is good, the connection is not.
		c.overtaken = xctx.Err()
		c.fail()
	}
	c.replied = time.Now()
	return resp, nil
}

func (r Request) method() string {
	if r.Method == "" {
		return http.MethodGet
	}
	return r.Method
}

func (c *Conn) write(ctx context.Context, r Request, auth string, e *Error) error {
	u, err := url.ParseRequestURI(r.Path)
	if err != nil || !strings.HasPrefix(r.Path, "/") {
		return fmt.Errorf("%w: path %q", errBadRequest, r.Path)
	}
	var body io.Reader
	if r.Body != nil {
		body = bytes.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method(), c.base.String(), body)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadRequest, err)
	}
	req.URL.Path, req.URL.RawPath, req.URL.RawQuery = u.Path, u.RawPath, u.RawQuery
	req.Host = c.host
	for k, v := range r.Header {
		req.Header[http.CanonicalHeaderKey(k)] = v
	}
	req.Header.Set("User-Agent", c.d.UserAgent) // empty keeps net/http from writing its own
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "*/*")
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	// From here on octets may leave, also when the write ends in an error.
	e.Sent = true
	if err := req.Write(c.w); err != nil {
		return err
	}
	return c.w.Flush()
}

func (c *Conn) read(method string, e *Error) (*Response, error) {
	var resp *http.Response
	for i := 0; ; i++ {
		if i > maxInterim {
			return nil, fmt.Errorf("%w: more than %d interim answers", errMalformed, maxInterim)
		}
		c.budget.left = maxHeader
		var err error
		resp, err = http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			return nil, c.headerError(err)
		}
		if resp.StatusCode >= 200 {
			break
		}
		if resp.StatusCode == http.StatusSwitchingProtocols {
			return nil, fmt.Errorf("%w: unasked switch of protocols", errMalformed)
		}
	}
	e.Status = resp.StatusCode
	limit := c.maxBody()
	// Chunk headers and trailers come on top of the body; net/http bounds the former, this both.
	c.budget.left = 2*int64(limit) + maxHeader
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	e.Received = len(body)
	if err != nil {
		return nil, err
	}
	if len(body) > limit {
		return nil, fmt.Errorf("%w: more than %d octets", errTooLarge, limit)
	}
	_ = resp.Body.Close() // read to its end: there is nothing left to fail
	if resp.Close {
		c.fail()
	}
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}

var (
	errTooLarge   = errors.New("answer larger than the limit")
	errMalformed  = errors.New("malformed HTTP")
	errBadRequest = errors.New("request cannot be sent")
)

// headerError tells the end of the connection, of the time and of the budget from bad HTTP: the parser reports all of
// them as a malformed line when they come in the middle of one.
func (c *Conn) headerError(err error) error {
	if c.budget.err != nil {
		return c.budget.err
	}
	return fmt.Errorf("%w: %w", errMalformed, err)
}

// failed closes the connection and says what err means.
func (c *Conn) failed(ctx context.Context, e *Error, start time.Time, err error) error {
	c.fail()
	e.Elapsed = time.Since(start)
	e.Err = err
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		e.Kind = KindCanceled
	case errors.Is(ctx.Err(), context.DeadlineExceeded) || isTimeout(err):
		e.Kind = KindTimeout
	case errors.Is(err, errTooLarge):
		e.Kind = KindTooLarge
	case errors.Is(err, errMalformed) || errors.Is(err, errBadRequest) || isChunkError(err):
		e.Kind = KindProtocol
	default:
		e.Kind = KindLost
	}
	return e
}

func isChunkError(err error) bool {
	return strings.Contains(err.Error(), "chunk") || strings.Contains(err.Error(), "trailer")
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// budgetReader fails once its budget is used up, so that no answer fills the memory.
type budgetReader struct {
	r    io.Reader
	left int64
	err  error // what ended the reading
}

func (b *budgetReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.err = errTooLarge
		return 0, errTooLarge
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	b.err = err
	return n, err
}

func (d Dialer) connectTimeout() time.Duration {
	if d.ConnectTimeout > 0 {
		return d.ConnectTimeout
	}
	return DefaultConnectTimeout
}

func (d Dialer) loginTimeout() time.Duration {
	if d.LoginTimeout > 0 {
		return d.LoginTimeout
	}
	return DefaultLoginTimeout
}

func (c *Conn) maxBody() int {
	if c.d.MaxBody > 0 {
		return c.d.MaxBody
	}
	return DefaultMaxBody
}

// baseURL returns scheme, host and explicit port of rawURL.
func baseURL(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, &Error{Kind: KindProtocol, Phase: PhaseConnect, Err: fmt.Errorf("URL: %w", err)}
	}
	port := u.Port()
	switch {
	case u.Hostname() == "":
		return nil, &Error{Kind: KindProtocol, Phase: PhaseConnect, Err: fmt.Errorf("URL %q has no host", u.Redacted())}
	case u.Scheme == "https" && port == "":
		port = "443"
	case u.Scheme == "http" && port == "":
		port = "80"
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, &Error{Kind: KindProtocol, Phase: PhaseConnect, Err: fmt.Errorf("URL %q is neither https nor http", u.Redacted())}
	}
	return &url.URL{Scheme: u.Scheme, Host: net.JoinHostPort(u.Hostname(), port)}, nil
}

func hostHeader(base *url.URL) string {
	port := base.Port()
	if (base.Scheme == "https" && port == "443") || (base.Scheme == "http" && port == "80") {
		if h := base.Hostname(); !strings.Contains(h, ":") {
			return h
		}
		return "[" + base.Hostname() + "]"
	}
	return base.Host
}
