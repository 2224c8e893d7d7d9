package est

import (
	"context"
	"crypto/x509"
	"net/http"
)

// Bootstrap returns the CA certificates of a server that cannot be judged yet (RFC 7030 section 4.1.1). The connection is
// accepted provisionally and used for cacerts alone: without credentials and without client certificate, and it is closed
// afterwards. So nothing is known of who has answered: a person has to confirm one of the certificates out of band, by its
// fingerprint, before any of them becomes a trust anchor; then use another Client with it.
func (c *Client) Bootstrap(ctx context.Context) ([]*x509.Certificate, error) {
	a, err := c.exchange(ctx, call{op: "cacerts", method: http.MethodGet, provisional: true})
	if err != nil {
		return nil, err
	}
	if err := a.success(); err != nil {
		return nil, err
	}
	return a.certificates()
}

// clientFor returns what makes the connection for k.
func (c *Client) clientFor(k call) *http.Client {
	if !k.provisional {
		return c.http
	}
	config := c.tls.Clone()
	config.InsecureSkipVerify = true
	config.VerifyConnection, config.VerifyPeerCertificate = nil, nil
	config.Certificates, config.GetClientCertificate, config.ClientSessionCache = nil, nil, nil
	t := c.transport()
	t.TLSClientConfig, t.DisableKeepAlives = config, true
	return &http.Client{CheckRedirect: checkRedirect, Transport: t}
}
