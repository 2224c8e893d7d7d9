package ra

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"callsign/est"
)

// verifyClient checks a presented client certificate: chain to the label's client CAs, dates, purpose clientAuth. The
// refusal names every reason that can be told without trusting the certificate; the peer gets one line, the log gets the
// detail (est.md 3: verified here and not in the handshake, so that a failure can be explained).
func verifyClient(certs []*x509.Certificate, anchors []*x509.Certificate, now time.Time) *est.Error {
	leaf := certs[0]
	if len(anchors) == 0 {
		return &est.Error{
			Status: http.StatusForbidden, ErrCode: CodeClientCANone,
			Text: "client certificates are not accepted here",
			Fix:  "name the CAs of the clients in est.client_ca_file, or let the client log in with a user name and password of est.users_file",
		}
	}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return clientRefused(CodeClientExpired,
			fmt.Sprintf("the client certificate is valid from %s to %s only", stamp(leaf.NotBefore), stamp(leaf.NotAfter)),
			"renew the client's certificate, or set the clock of client or server right", nil)
	}
	roots, inter := x509.NewCertPool(), x509.NewCertPool()
	for _, a := range anchors {
		roots.AddCert(a)
	}
	for _, c := range certs[1:] {
		inter.AddCert(c)
	}
	opts := x509.VerifyOptions{
		Roots: roots, Intermediates: inter, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	_, err := leaf.Verify(opts)
	if err == nil {
		return nil
	}
	opts.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	if _, anyErr := leaf.Verify(opts); anyErr == nil {
		return clientRefused(CodeClientPurpose,
			"the client certificate is not for TLS clients (extended key usage clientAuth is missing)",
			"issue the client's certificate from a template with Client Authentication", err)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return clientRefused(CodeClientUntrusted,
			fmt.Sprintf("the client certificate was issued by %q, which is not among the accepted CAs", issuerOf(certs)),
			fmt.Sprintf("add the CA certificate %q to the file in est.client_ca_file and restart callsign serve", issuerOf(certs)), err)
	}
	return clientRefused(CodeClientUntrusted, "the chain of the client certificate is not valid",
		"look at the certificate and the CAs above it: callsign cert inspect FILE; the accepted CAs are in est.client_ca_file", err)
}

func clientRefused(code, text, fix string, err error) *est.Error {
	return &est.Error{Status: http.StatusForbidden, ErrCode: code, Text: text, Fix: fix, Err: err}
}

// issuerOf names the issuer at which the presented chain ends.
func issuerOf(certs []*x509.Certificate) string {
	c := certs[0]
	for range certs {
		next := c
		for _, p := range certs[1:] {
			if bytes.Equal(p.RawSubject, c.RawIssuer) && p != c {
				next = p
				break
			}
		}
		if next == c || bytes.Equal(next.RawIssuer, next.RawSubject) {
			break
		}
		c = next
	}
	return c.Issuer.String()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
