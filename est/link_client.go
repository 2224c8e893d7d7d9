package est

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// EnrollLinked is SimpleEnroll or, with reenroll, SimpleReenroll for a request that is linked to its TLS connection (RFC 7030
// section 3.5). build makes it from the values of the connection on which it is sent; Links.Best is the one to use. It is called
// anew for every connection: after a redirect, and after a challenge. Each call makes connections of its own, with a full
// handshake, because a resumed session may have nothing to link with. A connection without such a value is an error.
func (c *Client) EnrollLinked(ctx context.Context, reenroll bool, build func(Links) (csr []byte, err error)) (*x509.Certificate, error) {
	op := opSimpleEnroll
	if reenroll {
		op = opSimpleReenroll
	}
	return c.enroll(ctx, call{op: op, link: build})
}

// linkedTrip makes a connection, then the request for it, and fills a from the answer.
func (c *Client) linkedTrip(ctx context.Context, k call, steps *progress, a *answer) error {
	target := c.target(k)
	for followed := 0; ; followed++ {
		if err := c.oneLinkedTrip(ctx, k, target, steps, a); err != nil {
			return err
		}
		next, err := c.redirection(target, a, followed)
		if next == nil || err != nil {
			return err
		}
		target = next
	}
}

func (c *Client) oneLinkedTrip(ctx context.Context, k call, target *url.URL, steps *progress, a *answer) error {
	a.url = target.Redacted()
	conn, err := c.connectTLS(steps.watch(ctx), target)
	if err != nil {
		return err
	}
	defer conn.Close()
	state := conn.ConnectionState()
	links := LinksOf(&state)
	if links.Best() == "" {
		return a.problem(CodeLinkUnavailable, LibESTExportKeyMaterial,
			errors.New("the TLS connection ("+tls.VersionName(state.Version)+") has no value that a request could be linked with"),
			"let the server speak TLS 1.3, or TLS 1.2 with extended master secret; or send the request without a link, if the server allows it")
	}
	if k.body, err = k.link(links); err != nil {
		if _, ok := errors.AsType[*ClientError](err); ok {
			return err
		}
		return a.problem(CodeClientConfig, LibESTX509Sign, err, "make a request that can be signed with the key at hand")
	}
	request, err := c.request(steps.watch(ctx), k, target)
	if err != nil {
		return err
	}
	request.Close = true
	used := false
	t := c.transport()
	t.DialTLSContext = func(context.Context, string, string) (net.Conn, error) {
		if used {
			return nil, errors.New("the server closed the connection that the request is linked to")
		}
		used = true
		return conn, nil
	}
	defer t.CloseIdleConnections()
	asIs := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c.roundTrip(&http.Client{Transport: t, CheckRedirect: asIs}, request, a)
}

// connectTLS connects to the host of a URL and ends the handshake, which judges the server.
func (c *Client) connectTLS(ctx context.Context, target *url.URL) (*tls.Conn, error) {
	config := c.tls.Clone()
	config.ClientSessionCache = nil // a full handshake each time
	config.NextProtos = []string{"http/1.1"}
	if config.ServerName == "" {
		config.ServerName = target.Hostname()
	}
	port := target.Port()
	if port == "" {
		port = "443"
	}
	bare, err := c.dialer().DialContext(ctx, "tcp", net.JoinHostPort(target.Hostname(), port))
	if err != nil {
		return nil, err
	}
	conn := tls.Client(bare, config)
	ctx, cancel := context.WithTimeout(ctx, c.connect)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = bare.Close()
		return nil, err
	}
	return conn, nil
}

// redirection is where an answer sends us, by the rules of checkRedirect; nil when it does not. The method stays with 307 and
// 308 only (RFC 9110 section 15.4).
func (c *Client) redirection(from *url.URL, a *answer, followed int) (*url.URL, error) {
	location := a.header.Get("Location")
	if a.status < 300 || a.status >= 400 || location == "" {
		return nil, nil
	}
	next, err := from.Parse(location)
	switch {
	case err != nil:
		return nil, &redirectError{to: location, why: "cannot be read"}
	case next.Scheme != c.base.Scheme || !strings.EqualFold(next.Host, c.base.Host):
		return nil, &redirectError{to: next.Scheme + "://" + next.Host, why: "leads to another origin"}
	case a.status != http.StatusTemporaryRedirect && a.status != http.StatusPermanentRedirect:
		return nil, &redirectError{to: next.Redacted(), why: "turns POST into GET"}
	case followed >= maxRedirects:
		return nil, &redirectError{to: next.Redacted(), why: "is one too many"}
	}
	return next, nil
}
