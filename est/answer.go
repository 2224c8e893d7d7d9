package est

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// oneRecord is the size up to which net/http writes header and body together. Beyond it the header goes out first, so
// that the body is not cut in two: strongSwan reads a body with a single read of a TLS record.
const oneRecord = 3 << 10

// sendCMS answers with DER in base64.
func (x *exchange) sendCMS(status int, contentType string, der []byte) {
	form := x.profile.Lines
	broken := form == LineBroken || (form == LineAuto && x.r.UserAgent() != "")
	// RFC 8951 section 3 calls the field meaningless; Bouncy Castle takes the body for raw DER without it.
	x.w.Header().Set("Content-Transfer-Encoding", "base64")
	x.send(status, contentType, encodeBody(der, broken))
}

// sendText answers with one line for people.
func (x *exchange) sendText(status int, text string) {
	line := clip(text, 512) + " (request " + x.id + ")\n"
	x.send(status, "text/plain; charset=utf-8", []byte(line))
}

// sendNote is sendText for an answer that is only a step of its exchange: a challenge, or to come back later. Bouncy Castle closes
// such an answer without reading it, and takes a body that it has not read for a broken connection. It sends no User-Agent; nor
// does strongSwan, which shows the text to nobody.
func (x *exchange) sendNote(status int, text string) {
	if x.r.UserAgent() == "" {
		x.send(status, "", nil)
		return
	}
	x.sendText(status, text)
}

// refuse answers with an error and logs it once.
func (x *exchange) refuse(err error) {
	e := internalError(err)
	if e.ErrCode != CodeInternal || !x.gone() || !errors.Is(e, context.Canceled) {
		x.logFailure(e) // otherwise it is the client that failed: send will say so
	}
	if e.RetryAfter > 0 || mustRetryAfter(e.Status) {
		x.setRetryAfter(e.RetryAfter)
	}
	if e.Status == http.StatusUnauthorized {
		// Header.Set would write Www-Authenticate, which libEST does not recognise. libEST opens a new connection for
		// its second attempt and waits for the end of this one.
		x.w.Header()["WWW-Authenticate"] = []string{x.h.challenge()}
		x.w.Header().Set("Connection", "close")
	}
	text := e.Text
	if text == "" {
		text = http.StatusText(e.Status) + "."
	}
	if e.ErrCode == CodeCredentials {
		x.sendNote(e.Status, text)
	} else {
		x.sendText(e.Status, text)
	}
}

// challenge is the only challenge offered; libEST looks at the first alone.
func (h *Handler) challenge() string {
	realm := h.Realm
	if realm == "" {
		realm = defaultRealm
	}
	realm = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(clip(realm, 255))
	return `Basic realm="` + realm + `"`
}

// mustRetryAfter tells which statuses always carry Retry-After.
func mustRetryAfter(status int) bool {
	switch status {
	case http.StatusAccepted, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	}
	return false
}

// setRetryAfter sets Retry-After in whole seconds, rounded up; libEST refuses a date. d <= 0 is the default.
func (x *exchange) setRetryAfter(d time.Duration) {
	if d <= 0 {
		d = defaultRetryAfter
	}
	seconds := min(int64((d+time.Second-1)/time.Second), 1<<31-1)
	x.w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
}

// send writes the answer. Every header field is here or in a caller above: with the Date and Connection that net/http
// adds there are never more than nine, and libEST reads sixteen at most.
// It tells whether the answer was delivered, as far as one can know.
func (x *exchange) send(status int, contentType string, body []byte) bool {
	header := x.w.Header()
	header.Set("X-Request-Id", x.id)
	header.Set("Cache-Control", "no-store")
	if status != http.StatusNoContent {
		if contentType != "" {
			header.Set("Content-Type", contentType)
		}
		// Explicit, because net/http chunks a body over 2048 bytes otherwise, and most clients cannot read chunks.
		header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	x.status, x.written = status, len(body)
	gone := x.gone() // before: who has read the answer may leave at once
	x.w.WriteHeader(status)
	control := http.NewResponseController(x.w)
	flush := func() error {
		if err := control.Flush(); !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		return nil
	}
	var err error
	if len(body) > oneRecord {
		err = flush()
	}
	if err == nil && len(body) > 0 {
		_, err = x.w.Write(body)
	}
	if err == nil {
		err = flush()
	}
	if err != nil || gone {
		x.logGone(err)
		return false
	}
	return true
}

// logGone notes that the answer did not reach the client: what libEST calls EST_ERR_HTTP_WRITE.
func (x *exchange) logGone(err error) {
	attrs := []slog.Attr{
		slog.String("event", "est.failed"), slog.Int("status", x.status), slog.Int("rv", int(LibESTHTTPWrite)),
		slog.String("rv_name", LibESTHTTPWrite.String()), slog.String("code", CodeGone),
		slog.String("text", "The client went away before the answer was sent."),
		slog.String("remedy", "raise the client's timeout, or lower the server's time until it answers 202"),
	}
	if err != nil {
		attrs = append(attrs, slog.String("err", err.Error()))
	}
	x.log.LogAttrs(x.r.Context(), slog.LevelWarn, "EST answer not delivered", attrs...)
}
