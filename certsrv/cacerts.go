package certsrv

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
)

const (
	archivePath = "/certsrv/certcarc.asp"
	// maxRenewals bounds how many of a CA's certificates are read: a CA that was renewed every year for a life.
	maxRenewals = 32
	maxChain    = 10
	// maxRenewalNumber is the highest number that certcarc.asp is believed.
	maxRenewalNumber = 999999
)

var renewalsVar = regexp.MustCompile(`(?i)\bvar\s+nRenewals\s*=\s*(\d{1,6})\s*;`)

// CACertificates returns the CA's certificates: first the chain of the newest, issuing CA first, up to the root; then
// what is left of its message and of those of earlier renewals, as far as it has not expired. Errors are *Problem.
//
// The newest is the one whose number certcarc.asp gives; number 0, which the original takes, is the oldest. With Compat
// number 0 is read first, so that the web server's log begins as the original's does. A server without certcarc.asp has
// number 0.
func (c *Client) CACertificates(ctx context.Context) ([]*x509.Certificate, error) {
	if err := c.init(); err != nil {
		return nil, err
	}
	var sets [][]*x509.Certificate
	var size int
	var newest int
	err := c.alone(ctx, nil, func(s *session) error {
		var err error
		sets, newest, size, err = c.renewals(ctx, s)
		return err
	})
	if err != nil {
		c.caCertsFailed(ctx, err)
		return nil, err
	}
	out := c.publish(sets)
	if !selfSigned(out[chainLength(out)-1]) {
		c.log().LogAttrs(ctx, slog.LevelWarn, "chain of the CA does not reach a root",
			slog.String("subject", out[0].Subject.String()), slog.String("issuer", out[chainLength(out)-1].Issuer.String()))
	}
	c.log().LogAttrs(ctx, slog.LevelInfo, "CA certificates read", slog.String("event", "certsrv.cacerts"),
		slog.String("url", c.base.String()+p7bPath(newest)), slog.Int("bytes", size), slog.Int("renewal", newest),
		slog.Int("certificates", len(out)), slog.String("subject", out[0].Subject.String()))
	return out, nil
}

func (c *Client) caCertsFailed(ctx context.Context, err error) {
	var p *Problem
	if !errors.As(err, &p) || p.Op == "login" {
		return // the login has told
	}
	r := curlOf(p, c.now())
	c.log().LogAttrs(ctx, p.level(), "CA certificates not read", slog.String("event", "certsrv.cacerts_failed"),
		slog.String("url", p.URL), slog.Int("curl_code", r.code), slog.String("curl_text", r.text),
		slog.String("code", p.ErrCode), slog.String("err", p.Detail), slog.String("remedy", p.Fix))
}

// renewals reads the messages of all CA certificates, the newest first. Only the newest must be there.
func (c *Client) renewals(ctx context.Context, s *session) (sets [][]*x509.Certificate, newest, size int, err error) {
	var first []*x509.Certificate
	if c.Compat {
		if first, size, err = c.caMessage(ctx, s, 0); err != nil {
			return nil, 0, 0, err
		}
	}
	newest, err = c.newestRenewal(ctx, s)
	if err != nil {
		return nil, 0, 0, err
	}
	for k := newest; k >= max(0, newest-maxRenewals+1); k-- {
		if k == 0 && first != nil {
			sets = append(sets, first)
			break
		}
		certs, n, err := c.caMessage(ctx, s, k)
		switch {
		case err == nil:
			if k == newest {
				size = n
			}
			sets = append(sets, certs)
		case k == newest || s.conn.Closed():
			return nil, 0, 0, err
		default:
			c.log().LogAttrs(ctx, slog.LevelWarn, "earlier CA certificate not read", slog.Int("renewal", k), slog.Any("err", err))
		}
	}
	return sets, newest, size, nil
}

// Renewals returns the number of the CA's newest certificate, which is how often the CA was renewed (certcarc.asp). 0 is the
// number of its first one, and what a server without that page has. Errors are *Problem.
func (c *Client) Renewals(ctx context.Context) (int, error) {
	n := 0
	err := c.alone(ctx, nil, func(s *session) error {
		var err error
		n, err = c.newestRenewal(ctx, s)
		return err
	})
	return n, err
}

func (c *Client) newestRenewal(ctx context.Context, s *session) (int, error) {
	resp, err := s.get(ctx, "cacerts", archivePath)
	var p *Problem
	if errors.As(err, &p) && p.ErrCode == CodeNotFound {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, ok := parseRenewals(resp.Body)
	if !ok {
		return 0, insteadOfData("cacerts", c.base.String()+archivePath, resp.Body)
	}
	return n, nil
}

// parseRenewals returns the number of the newest CA certificate.
func parseRenewals(body []byte) (int, bool) {
	m := renewalsVar.FindStringSubmatch(decodeText(body))
	if m == nil {
		return 0, false
	}
	n, err := strconv.Atoi(m[1])
	return n, err == nil
}

func p7bPath(renewal int) string {
	return "/certsrv/certnew.p7b?ReqID=CACert&Renewal=" + strconv.Itoa(renewal) + "&Enc=bin"
}

// caMessage reads the chain of one CA certificate, or the certificate alone when the chain does not come.
func (c *Client) caMessage(ctx context.Context, s *session, renewal int) ([]*x509.Certificate, int, error) {
	path := p7bPath(renewal)
	certs, n, err := c.caData(ctx, s, path)
	if err == nil || s.conn.Closed() {
		return certs, n, err
	}
	alone := "/certsrv/certnew.cer?ReqID=CACert&Renewal=" + strconv.Itoa(renewal) + "&Enc=bin"
	if certs, n, again := c.caData(ctx, s, alone); again == nil {
		return certs, n, nil
	}
	return nil, 0, err
}

func (c *Client) caData(ctx context.Context, s *session, path string) ([]*x509.Certificate, int, error) {
	resp, err := s.get(ctx, "cacerts", path)
	if err != nil {
		return nil, 0, err
	}
	url := c.base.String() + path
	if isPage(resp.Body) {
		return nil, 0, insteadOfData("cacerts", url, resp.Body)
	}
	certs, err := decodeCertificates(resp.Body)
	if err != nil {
		return nil, 0, &Problem{
			ErrCode: CodeUnexpectedPage, Op: "cacerts", URL: url, Err: err,
			Detail: fmt.Sprintf("%s answered %d octets that are no CA certificate: %v", url, len(resp.Body), err),
			Fix:    "open the URL in a browser with the same account; check for a proxy between",
		}
	}
	return certs, len(resp.Body), nil
}

// insteadOfData explains a page that came where something else was asked for: it may be the CA's word.
func insteadOfData(op, url string, page []byte) *Problem {
	a, ok := classify(page)
	p := a.Problem()
	if !ok || p == nil {
		p = unexpectedPage(op, url, page)
	}
	p.Op, p.URL = op, url
	return p
}

// publish orders what was read; sets is not empty, and no set is.
func (c *Client) publish(sets [][]*x509.Certificate) []*x509.Certificate {
	all := slices.Concat(sets...)
	out := chainFrom(leafOf(sets[0]), all)
	now := c.now()
	for _, cert := range all {
		if !contains(out, cert) && now.Before(cert.NotAfter) {
			out = append(out, cert)
		}
	}
	return out
}

// leafOf returns the certificate that issued no other of the set; the newest when there are several. The order of a
// PKCS #7 set means nothing.
func leafOf(certs []*x509.Certificate) *x509.Certificate {
	var leaf *x509.Certificate
	for _, c := range certs {
		issues := slices.ContainsFunc(certs, func(o *x509.Certificate) bool { return !o.Equal(c) && issued(c, o) })
		if !issues && (leaf == nil || c.NotBefore.After(leaf.NotBefore)) {
			leaf = c
		}
	}
	if leaf == nil {
		leaf = certs[0] // all issue each other: a ring of cross certificates
	}
	return leaf
}

// chainFrom returns leaf and its issuers, as far as they are in the pool. Where several certificates fit, because a CA
// was renewed with its key or is cross-certified, a root ends the chain soonest, and the newest comes before the older.
func chainFrom(leaf *x509.Certificate, pool []*x509.Certificate) []*x509.Certificate {
	chain := []*x509.Certificate{leaf}
	for cur := leaf; len(chain) < maxChain && !selfSigned(cur); {
		var next *x509.Certificate
		for _, c := range pool {
			if contains(chain, c) || !issued(c, cur) {
				continue
			}
			if next == nil || better(c, next) {
				next = c
			}
		}
		if next == nil {
			break
		}
		chain = append(chain, next)
		cur = next
	}
	return chain
}

func better(a, b *x509.Certificate) bool {
	if selfSigned(a) != selfSigned(b) {
		return selfSigned(a)
	}
	return a.NotBefore.After(b.NotBefore)
}

// chainLength is how many certificates at the front of list follow each other as issued and issuer.
func chainLength(list []*x509.Certificate) int {
	n := 1
	for n < len(list) && issued(list[n], list[n-1]) && !selfSigned(list[n-1]) {
		n++
	}
	return n
}

// issued tells whether ca issued c, by names, key identifiers and signature.
func issued(ca, c *x509.Certificate) bool {
	if !bytes.Equal(ca.RawSubject, c.RawIssuer) {
		return false
	}
	if len(c.AuthorityKeyId) > 0 && len(ca.SubjectKeyId) > 0 && !bytes.Equal(c.AuthorityKeyId, ca.SubjectKeyId) {
		return false
	}
	err := ca.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
	var insecure x509.InsecureAlgorithmError
	if errors.Is(err, x509.ErrUnsupportedAlgorithm) || errors.As(err, &insecure) {
		// This only orders certificates; whether to trust such a signature is decided by those who verify the chain.
		return len(c.AuthorityKeyId) > 0 || bytes.Equal(ca.Raw, c.Raw)
	}
	return err == nil
}

func selfSigned(c *x509.Certificate) bool { return issued(c, c) }

func contains(list []*x509.Certificate, c *x509.Certificate) bool {
	return slices.ContainsFunc(list, c.Equal)
}
