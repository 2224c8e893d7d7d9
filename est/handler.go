package est

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// Defaults of a Handler.
const (
	defaultRealm   = "estrealm"
	defaultMaxBody = 64 << 10
	// defaultRetryAfter is sent when a Backend says "not ready" and not for how long.
	defaultRetryAfter = time.Minute
	// drainLimit is how much of an oversized body is read and thrown away, so that a client which sends first and
	// reads later gets to see the refusal.
	drainLimit = 256 << 10
)

// Handler answers EST requests out of a Backend. Serve it with a server made by NewServer: TLS is not optional (RFC 7030
// section 3.3), and a request that came without it is answered 403. Only Backend is required. Fields must not change
// once it serves.
type Handler struct {
	Backend Backend
	Realm   string       // realm of HTTP authentication, at most 255 bytes; empty for "estrealm"
	MaxBody int64        // largest request body in bytes; 0 for 64 KiB
	Log     *slog.Logger // nil discards
	// TrustedProxies are addresses from which a proxy that ends TLS tells of the client's certificate: in Client-Cert and
	// Client-Cert-Chain (RFC 9440), or in X-SSL-Client-Cert as percent-encoded PEM, and of its address in X-Forwarded-For. Whoever
	// can connect from there is believed, and a certificate of the connection itself is the proxy's own and no client's.
	TrustedProxies []netip.Prefix
	// ClientCertField is the one of these fields that the trusted proxies set, Client-Cert or X-SSL-Client-Cert. Empty takes both:
	// then the proxies must take either away from what clients send.
	ClientCertField string
	// Keys remembers keys made for serverkeygen until the CA has certified them. Nil is a memory of the Handler's own;
	// handlers that follow each other share one.
	Keys *KeyMemory
	// KeySigner signs private keys that are sent encrypted; its chain begins with its certificate. Without it clients that
	// ask for encryption are refused.
	KeySigner      crypto.Signer
	KeySignerChain []*x509.Certificate
	// RequestID makes the id that names a request in logs and answers, at most 64 bytes, safe in a header. Nil makes 8
	// random bytes in hex.
	RequestID func() string

	ownKeys KeyMemory
}

// exchange is one request and its answer.
type exchange struct {
	h     *Handler
	w     http.ResponseWriter
	r     *http.Request
	label string
	op    string
	id    string

	profile      Profile             // of the label
	certificates []*x509.Certificate // the client's, as presented
	forwarded    bool                // by a trusted proxy

	peer net.Addr
	log  *slog.Logger
	body []byte

	status  int // of the answer
	written int // bytes of body in the answer
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	x := &exchange{h: h, w: w, r: r, peer: peerAddr(r.RemoteAddr), id: h.newRequestID()}
	log := h.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	x.log = log.With("peer", r.RemoteAddr, "request_id", x.id)
	if r.TLS != nil {
		x.certificates = r.TLS.PeerCertificates
	}
	if err := h.dispatch(x); err != nil { //nolint:contextcheck // the context is in x.r
		x.refuse(err) //nolint:contextcheck // the context is in x.r
	}
	level := slog.LevelInfo
	if x.status >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	x.log.LogAttrs(r.Context(), level, "EST request answered",
		slog.String("event", "est.request"),
		slog.String("method", clip(r.Method, 16)), slog.String("path", clip(r.URL.Path, 256)),
		slog.String("proto", r.Proto), slog.Int("status", x.status), slog.Int("bytes", x.written),
		slog.String("user_agent", clip(r.UserAgent(), 128)), slog.String("referer", clip(r.Referer(), 128)),
		slog.Bool("client_certificate", len(x.certificates) > 0),
		slog.Int64("duration_ms", time.Since(start).Milliseconds()))
}

// dispatch finds the operation and runs it. An error becomes the answer.
func (h *Handler) dispatch(x *exchange) error {
	path, err := parsePath(x.r.URL.EscapedPath())
	known := false
	if err == nil {
		x.profile, known = h.Backend.Profile(path.label)
	}
	if !known {
		return &Error{
			Status: http.StatusNotFound, ErrCode: CodeNotFound, Err: err,
			Text: "The path specified is not recognized.",
			Fix:  "use /.well-known/est/OPERATION or /.well-known/est/LABEL/OPERATION with a label that the server knows",
		}
	}
	o, ok := findOperation(path.operation)
	if !ok {
		return &Error{
			Status: http.StatusNotFound, ErrCode: CodeNotFound, Text: "The path specified is not recognized.",
			Fix: "use an operation of RFC 7030: cacerts, csrattrs, simpleenroll, simplereenroll, serverkeygen, fullcmc",
		}
	}
	x.label, x.op = path.label, o.name
	x.log = x.log.With("op", x.op, "label", x.label)
	if x.r.TLS == nil {
		return &Error{Status: http.StatusForbidden, ErrCode: CodeNoTLS, Text: "EST is available over TLS only.", Fix: "use https"}
	}
	if x.r.Method != o.method {
		x.w.Header().Set("Allow", o.method)
		return &Error{
			Status: http.StatusMethodNotAllowed, ErrCode: CodeMethod, Text: "Use " + o.method + " for " + o.name + ".",
			Fix: "use " + o.method + " for " + o.name,
		}
	}
	if err := x.forward(); err != nil {
		return err
	}
	if err := x.readBody(); err != nil {
		return err
	}
	if o.method == http.MethodPost {
		// Once a request and not once a connection: libEST notes at each enrolment what TLS told of the client.
		x.log.LogAttrs(x.r.Context(), slog.LevelDebug, "EST request begins", slog.String("event", "est.handshake"),
			slog.Bool("client_certificate", len(x.certificates) > 0), slog.String("tls", tls.VersionName(x.r.TLS.Version)),
			slog.String("cipher", tls.CipherSuiteName(x.r.TLS.CipherSuite)))
	}
	return o.serve(x, o)
}

// notOffered refuses an operation that is defined but switched off.
func notOffered(name string) *Error {
	return &Error{
		Status: http.StatusNotImplemented, ErrCode: CodeNotOffered, Text: "The operation " + name + " is not offered here.",
		Fix: "use another operation; this server does not offer " + name,
	}
}

// readBody reads the request's body within the limit, before anything is decided: a client that is still sending may not
// see an early answer.
func (x *exchange) readBody() error {
	limit := x.h.MaxBody
	if limit <= 0 {
		limit = defaultMaxBody
	}
	body, err := io.ReadAll(io.LimitReader(x.r.Body, limit+1))
	if err != nil {
		return &Error{
			Status: http.StatusBadRequest, ErrCode: CodeBody, Text: "The request body did not arrive completely.",
			Fix: "look at the client's log and the network between", Err: err,
		}
	}
	if int64(len(body)) > limit {
		_, _ = io.CopyN(io.Discard, x.r.Body, drainLimit) // the refusal stands whatever is still to come
		x.w.Header().Set("Connection", "close")
		return &Error{
			Status: http.StatusRequestEntityTooLarge, ErrCode: CodeTooLarge,
			Text: "The request body is longer than " + strconv.FormatInt(limit, 10) + " bytes.",
			Fix:  "send the certificate request alone, without certificates or text around it",
		}
	}
	x.body = body
	return nil
}

// decode checks the media type of the request and returns the DER in its body.
func (x *exchange) decode(o operation, pemTypes ...string) ([]byte, error) {
	if media, _ := mediaType(x.r.Header.Get("Content-Type")); media != o.media {
		return nil, &Error{
			Status: http.StatusUnsupportedMediaType, ErrCode: CodeMediaType,
			Text: "The Content-Type must be " + o.media + ".", Fix: "send the field Content-Type: " + o.media,
		}
	}
	der, form, err := decodeBody(x.body, pemTypes...)
	if err != nil {
		return nil, &Error{
			Status: http.StatusBadRequest, ErrCode: CodeBody, Text: "The request body is not base64 of DER.",
			Fix: "send the DER in base64 (RFC 8951 section 3)", Err: err,
		}
	}
	if form != formBase64 {
		x.log.LogAttrs(x.r.Context(), slog.LevelWarn, "request body is not plain base64; read all the same", slog.String("form", string(form)))
	}
	return der, nil
}

// newRequestID returns the id of a new request.
func (h *Handler) newRequestID() string {
	if h.RequestID != nil {
		return clip(h.RequestID(), 64)
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b[:])
}

// peerAddr turns http.Request.RemoteAddr back into an address.
func peerAddr(s string) net.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return net.TCPAddrFromAddrPort(ap)
	}
	return textAddr(s)
}

// textAddr is the address of a peer that is no IP address and port.
type textAddr string

func (textAddr) Network() string  { return "tcp" }
func (a textAddr) String() string { return string(a) }

// asRefusal returns the *Error in err, or one with the given status, code and text around it.
func asRefusal(err error, status int, code, text string) *Error {
	var e *Error
	if errors.As(err, &e) && e.Status >= 400 && e.Status < 600 {
		return e
	}
	return &Error{Status: status, ErrCode: code, Text: text, Err: err}
}

// internalError is what a peer is told about a failure that is ours.
func internalError(err error) *Error {
	e := asRefusal(err, http.StatusInternalServerError, CodeInternal, "The server could not answer the request.")
	if e.Status == http.StatusInternalServerError && e.Fix == "" {
		e.Fix = "look for the request id in the server's log"
	}
	return e
}

// gone tells whether the client has left.
func (x *exchange) gone() bool { return errors.Is(context.Cause(x.r.Context()), context.Canceled) }
