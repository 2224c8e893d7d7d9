package certsrv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"callsign/certsrv/winauth"
)

// session is a connection that is logged in.
type session struct {
	c    *Client
	conn *winauth.Conn
}

// enter takes one of the MaxSessions slots.
func (c *Client) enter(ctx context.Context, op string) error {
	if err := c.init(); err != nil {
		return err
	}
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return &Problem{ErrCode: CodeCancelled, Op: op, Detail: "the client is closed", Fix: "none: the program is stopping"}
	}
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
	}
	p := &Problem{
		ErrCode: CodeCancelled, Op: op, URL: c.base.String() + loginPath, Retryable: true, Err: ctx.Err(),
		Detail: fmt.Sprintf("gave up waiting for one of %d sessions to %s", cap(c.slots), c.base.Host),
		Fix:    "find out why the CA answers slowly; the requests wait for each other",
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		p.ErrCode, p.Timeout = CodeTimeout, true
	}
	return p
}

func (c *Client) leave() { <-c.slots }

// alone runs fn on a session of its own and closes it afterwards.
func (c *Client) alone(ctx context.Context, creds *winauth.Credentials, fn func(*session) error) error {
	if err := c.enter(ctx, "login"); err != nil {
		return err
	}
	defer c.leave()
	return c.inside(ctx, creds, fn)
}

// inside is alone for a caller that holds a slot.
func (c *Client) inside(ctx context.Context, creds *winauth.Credentials, fn func(*session) error) error {
	if creds == nil {
		creds = &c.Auth
	}
	s, err := c.open(ctx, *creds)
	if err != nil {
		return err
	}
	err = fn(s)
	s.close(ctx)
	return err
}

// close ends the connection. A failure to say good-bye changes nothing for the caller.
func (s *session) close(ctx context.Context) {
	if err := s.conn.Close(); err != nil {
		s.c.log().DebugContext(ctx, "connection to web enrollment did not close cleanly", "err", err)
	}
}

// open dials and logs in.
func (c *Client) open(ctx context.Context, creds winauth.Credentials) (*session, error) {
	return c.openBy(ctx, c.dialer(), creds)
}

func (c *Client) openBy(ctx context.Context, dialer winauth.Dialer, creds winauth.Credentials) (*session, error) {
	c.evict(ctx)
	url := c.base.String() + loginPath
	conn, err := dialer.Dial(ctx, url)
	if err != nil {
		return nil, c.loginFailed(ctx, url, creds, err)
	}
	resp, err := conn.Login(ctx, winauth.Request{Path: loginPath}, creds)
	if err != nil {
		return nil, c.loginFailed(ctx, url, creds, err)
	}
	s := &session{c: c, conn: conn}
	if !okLogin(resp.Status, resp.Header.Get("Location"), c.base, creds.Method != winauth.Basic) {
		s.close(ctx)
		return nil, c.loginFailed(ctx, url, creds, statusProblem("login", url, resp))
	}
	c.log().LogAttrs(ctx, slog.LevelInfo, "logged in to web enrollment",
		slog.String("event", "certsrv.login"), slog.String("url", url), slog.Int("bytes", len(resp.Body)),
		slog.String("user", creds.User), slog.Int("status", resp.Status))
	return s, nil
}

// loginFailed logs why and returns it as a Problem.
func (c *Client) loginFailed(ctx context.Context, url string, creds winauth.Credentials, err error) error {
	r := curlOf(err, c.now())
	p := transportProblem("login", err, false)
	attrs := []slog.Attr{
		slog.String("event", "certsrv.login_failed"), slog.String("url", url), slog.Int("curl_code", r.code),
		slog.String("curl_text", r.text), slog.Int("bytes", r.bytes), slog.String("user", creds.User),
		slog.String("code", p.ErrCode), slog.String("err", p.Detail), slog.String("remedy", p.Fix),
	}
	if fault, ok := errors.AsType[CertificateFault](err); ok {
		attrs = append(attrs, fault.LogAttrs()...)
	}
	c.log().LogAttrs(ctx, p.level(), "login to web enrollment failed", attrs...)
	return p
}

// evict closes idle connections so that no more than MaxSessions are open with the one that is about to be.
func (c *Client) evict(ctx context.Context) {
	c.mu.Lock()
	var over []*winauth.Conn
	if n := len(c.slots) + len(c.idle) - cap(c.slots); n > 0 {
		n = min(n, len(c.idle))
		over, c.idle = c.idle[:n:n], append([]*winauth.Conn(nil), c.idle[n:]...)
	}
	c.mu.Unlock()
	for _, conn := range over {
		(&session{c: c, conn: conn}).close(ctx)
	}
}

// pick returns the idle connection that was used last, nil when there is none that is fresh and alive.
func (c *Client) pick(ctx context.Context, maxIdle time.Duration) *winauth.Conn {
	for {
		c.mu.Lock()
		n := len(c.idle)
		if n == 0 {
			c.mu.Unlock()
			return nil
		}
		conn := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		if conn.Idle(time.Now()) <= maxIdle && conn.Alive() {
			return conn
		}
		(&session{c: c, conn: conn}).close(ctx)
	}
}

// keep puts a connection back, or closes it when that is pointless.
func (c *Client) keep(ctx context.Context, s *session) {
	c.mu.Lock()
	ok := !s.conn.Closed() && !c.closed
	if ok {
		c.idle = append(c.idle, s.conn)
	}
	c.mu.Unlock()
	if !ok {
		s.close(ctx)
	}
}

// request sends r once, on an idle session or, with fresh or where there is none, on a new one.
func (c *Client) request(ctx context.Context, op string, r winauth.Request, maxIdle time.Duration, fresh bool) (*winauth.Response, error) {
	if err := c.enter(ctx, op); err != nil {
		return nil, err
	}
	defer c.leave()
	s := &session{c: c}
	if !fresh {
		s.conn = c.pick(ctx, maxIdle)
	}
	if s.conn == nil {
		var err error
		if s, err = c.open(ctx, c.Auth); err != nil {
			return nil, err
		}
	}
	resp, err := s.conn.Do(ctx, r)
	if err != nil || resp.Status == http.StatusUnauthorized {
		s.close(ctx)
		return resp, err
	}
	c.keep(ctx, s)
	return resp, nil
}

// get asks for a page and tries once more with a new login when the session turns out to be over: the server has closed
// it, or wants a login again. A login that fails is not repeated: that would lock accounts.
func (c *Client) get(ctx context.Context, op, path string) (*winauth.Response, error) {
	r := c.getRequest(path)
	resp, err := c.request(ctx, op, r, maxIdle, false)
	if sessionOver(resp, err) && ctx.Err() == nil {
		c.log().DebugContext(ctx, "session to web enrollment is over, logging in again", "op", op)
		resp, err = c.request(ctx, op, r, 0, true)
	}
	return c.page(op, path, resp, err)
}

func (c *Client) getRequest(path string) winauth.Request {
	return winauth.Request{Path: path, Timeout: orDefault(c.FetchTimeout, DefaultTimeout)}
}

// get asks for a page on this very session.
func (s *session) get(ctx context.Context, op, path string) (*winauth.Response, error) {
	resp, err := s.conn.Do(ctx, s.c.getRequest(path))
	return s.c.page(op, path, resp, err)
}

// page lets through what a page of web enrollment comes with: status 200.
func (c *Client) page(op, path string, resp *winauth.Response, err error) (*winauth.Response, error) {
	switch {
	case err != nil:
		return nil, transportProblem(op, err, false)
	case resp.Status != http.StatusOK:
		return nil, statusProblem(op, c.base.String()+path, resp)
	}
	return resp, nil
}

func sessionOver(resp *winauth.Response, err error) bool {
	if err == nil {
		return resp.Status == http.StatusUnauthorized
	}
	var w *winauth.Error
	return errors.As(err, &w) && w.Kind == winauth.KindLost && w.Phase == winauth.PhaseRequest
}
