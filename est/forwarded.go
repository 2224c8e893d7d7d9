package est

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Fields in which a proxy that ends TLS tells of the client. Anybody can send them: only those of trusted proxies are read.
const (
	fieldClientCert  = "Client-Cert"       // RFC 9440 section 2.2: the certificate, as a byte sequence
	fieldClientChain = "Client-Cert-Chain" // RFC 9440 section 2.3: those above it
	fieldEscapedPEM  = "X-Ssl-Client-Cert" // PEM, percent-encoded: nginx's $ssl_client_escaped_cert
	fieldForwarded   = "X-Forwarded-For"   // addresses, the nearest last
	mostForwarded    = 10                  // certificates
	mostCertificate  = 16 << 10            // bytes of one
)

// forward finds out who the client is: who holds the TLS connection, or whom a trusted proxy tells of. Through a proxy
// the certificate of the connection is the proxy's own and says nothing of the client.
func (x *exchange) forward() error {
	if !x.h.trusts(x.r.RemoteAddr) {
		if x.r.Header.Get(fieldClientCert) != "" || x.r.Header.Get(fieldEscapedPEM) != "" {
			x.log.LogAttrs(x.r.Context(), slog.LevelInfo, "client certificate in a header field of somebody who is no trusted proxy; ignored",
				slog.String("event", "est.untrusted_field"))
		}
		return nil
	}
	x.forwarded = true
	if peer := x.h.forwardedFor(x.r.Header.Values(fieldForwarded)); peer != "" {
		x.log = x.log.With("client", peer)
		x.peer = peerAddr(peer)
	}
	var err error
	if x.certificates, err = forwardedCertificates(x.r.Header, x.h.ClientCertField); err != nil {
		return &Error{
			Status: http.StatusBadRequest, ErrCode: CodeClientCertField, Err: err,
			Text: "The proxy in front of this server tells of the client's certificate in a form that cannot be read.",
			Fix:  "let the proxy send Client-Cert as RFC 9440 says, or X-SSL-Client-Cert with nginx's $ssl_client_escaped_cert, and nothing of what clients send",
		}
	}
	return nil
}

// trusts tells whether who sent a request is a trusted proxy.
func (h *Handler) trusts(remote string) bool {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	a := ap.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(h.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// forwardedFor is the client's address by a proxy's list: the last one that is no trusted proxy itself. Empty for none.
func (h *Handler) forwardedFor(fields []string) string {
	list := strings.Split(strings.Join(fields, ","), ",")
	for _, text := range slices.Backward(list) {
		text = strings.TrimSpace(text)
		hop, err := netip.ParseAddrPort(text)
		if err != nil {
			a, err := netip.ParseAddr(strings.Trim(text, "[]"))
			if err != nil {
				return ""
			}
			hop = netip.AddrPortFrom(a, 0)
		}
		// A zone is any text and means nothing on another machine: it would only stand in the logs.
		hop = netip.AddrPortFrom(hop.Addr().WithZone(""), hop.Port())
		if !h.trusts(hop.String()) {
			return hop.String()
		}
	}
	return ""
}

// forwardedCertificates reads what a proxy tells of the client's certificate: the leaf first; none without a field. only is
// the field that counts; empty for both.
func forwardedCertificates(header http.Header, only string) ([]*x509.Certificate, error) {
	only = http.CanonicalHeaderKey(only)
	counts := func(name string) bool { return only == "" || only == name }
	for _, name := range []string{fieldClientCert, fieldEscapedPEM} {
		if counts(name) && len(header.Values(name)) > 1 {
			return nil, fmt.Errorf("%s is there twice", name)
		}
	}
	var leaf, escaped *x509.Certificate
	var err error
	if text := strings.TrimSpace(header.Get(fieldClientCert)); text != "" && counts(fieldClientCert) {
		if leaf, err = byteSequence(text); err != nil {
			return nil, fmt.Errorf("%s: %w", fieldClientCert, err)
		}
	}
	if text := strings.TrimSpace(header.Get(fieldEscapedPEM)); text != "" && counts(fieldEscapedPEM) {
		if escaped, err = escapedPEM(text); err != nil {
			return nil, fmt.Errorf("%s: %w", fieldEscapedPEM, err)
		}
	}
	switch {
	case leaf == nil && escaped == nil:
		return nil, nil
	case leaf == nil:
		return []*x509.Certificate{escaped}, nil
	case escaped != nil && !escaped.Equal(leaf):
		return nil, errors.New("two fields name different certificates")
	}
	certs := []*x509.Certificate{leaf}
	for text := range strings.SplitSeq(strings.Join(header.Values(fieldClientChain), ","), ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if len(certs) == mostForwarded {
			return nil, fmt.Errorf("%s has too many certificates", fieldClientChain)
		}
		above, err := byteSequence(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fieldClientChain, err)
		}
		certs = append(certs, above)
	}
	return certs, nil
}

// byteSequence reads a certificate as a byte sequence of structured fields (RFC 8941 section 3.3.5); parameters are
// ignored.
func byteSequence(text string) (*x509.Certificate, error) {
	text, _, _ = strings.Cut(text, ";")
	text = strings.TrimSpace(text)
	if len(text) > mostCertificate*4/3 {
		return nil, errors.New("the certificate is too long")
	}
	inner, ok := strings.CutPrefix(text, ":")
	if ok {
		inner, ok = strings.CutSuffix(inner, ":")
	}
	if !ok {
		return nil, errors.New("no byte sequence (:BASE64:)")
	}
	// Padding that is missing is to be thought there.
	der, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(inner, "="))
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// escapedPEM reads a percent-encoded PEM certificate.
func escapedPEM(text string) (*x509.Certificate, error) {
	if len(text) > 2*mostCertificate {
		return nil, errors.New("the certificate is too long")
	}
	plain, err := url.PathUnescape(text) // and not QueryUnescape: a plus sign is one
	if err != nil {
		return nil, errors.New("no percent-encoded text")
	}
	block, rest := pem.Decode([]byte(plain))
	if block == nil || block.Type != "CERTIFICATE" || strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("not one PEM certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}
