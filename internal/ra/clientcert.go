package ra

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"net/http"
	"time"

	"callsign/chain"
	"callsign/est"
)

// minClientRSABits is the least length of RSA keys in the paths of client certificates: devices have had keys of 1024 bits for a
// long time, and what a maker has put into them cannot be replaced.
const minClientRSABits = 1024

// newAnchors makes a trust store in which every certificate ends a path, self-signed or not.
func newAnchors(certs []*x509.Certificate, name string) *chain.Store {
	store := chain.NewStore().Named(name)
	for _, c := range certs {
		store.Add(chain.Anchor{Certificate: chain.Of(c), Partial: true, MinRSABits: minClientRSABits})
	}
	return store
}

// verifyClient checks a presented client certificate: path to the label's client CAs, dates, purpose clientAuth. It returns
// the path, which ends with the CA's certificate. The refusal says every reason that can be told without trusting the certificate; the peer gets
// one line, the log gets the detail (est.md 3: verified here and not in the handshake, so that a failure can be explained).
func (l *label) verifyClient(certs []*x509.Certificate, now time.Time) ([]*x509.Certificate, *est.Error) {
	leaf := certs[0]
	if len(l.ClientCAs) == 0 {
		return nil, &est.Error{
			Status: http.StatusForbidden, ErrCode: CodeClientCANone,
			Text: "client certificates are not accepted here",
			Fix: fmt.Sprintf("name the CAs of the clients in %s, or let the client log in with a user name and password of %s",
				l.file("client_ca_file", "est.client_ca_file"), l.file("users_file", "est.users_file")),
		}
	}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return nil, clientRefused(CodeClientExpired,
			fmt.Sprintf("the client certificate is valid from %s to %s only", stamp(leaf.NotBefore), stamp(leaf.NotAfter)),
			"renew the client's certificate, or set the clock of client or server right", nil)
	}
	v := chain.Verifier{Anchors: l.anchors, Usage: chain.Client, Now: func() time.Time { return now }}
	result := v.Verify(chain.OfAll(certs), "")
	err := result.Err()
	if err == nil {
		var path []*x509.Certificate
		for _, c := range result.Path {
			path = append(path, c.X509())
		}
		return path, nil
	}
	switch first := result.Faults[0]; first.Code {
	case chain.WrongUsage:
		return nil, clientRefused(CodeClientPurpose,
			"the client certificate is not for TLS clients (extended key usage clientAuth is missing)",
			"issue the client's certificate from a template with Client Authentication", err)
	case chain.UnknownIssuer, chain.UnknownRoot, chain.SelfSigned, chain.IncompleteAnchor:
		return nil, clientRefused(CodeClientUntrusted,
			fmt.Sprintf("the client certificate was issued by %q, which is not among the accepted CAs", issuerOf(certs)),
			fmt.Sprintf("add the CA certificate %q to the file in %s", issuerOf(certs), l.file("client_ca_file", "est.client_ca_file")), err)
	default:
		return nil, clientRefused(CodeClientUntrusted, "the chain of the client certificate is not valid: "+oneLine(first.Detail),
			first.Remedy+"; look at the certificate and the CAs above it: callsign cert inspect FILE", err)
	}
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
