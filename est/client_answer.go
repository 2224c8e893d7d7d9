package est

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// answer is what a server sent back, whole.
type answer struct {
	op, url string
	status  int
	header  http.Header
	body    []byte
	// loggedIn tells whether a user name and password were sent.
	loggedIn bool
	now      func() time.Time
}

// maxRetryAfter bounds what a server may ask for: longer waits are a mistake or an attack.
const maxRetryAfter = 30 * 24 * time.Hour

// success returns an error for every status but 200.
func (a *answer) success() error {
	if a.status == http.StatusOK {
		return nil
	}
	return a.refusal()
}

// refusal is the error for a status that is no success.
func (a *answer) refusal() *ClientError {
	e := a.problem(CodeRefused, clientNumber(a.status), nil, "read the server's words, and its log under the request id")
	e.RetryAfter, _ = a.retryAfter()
	switch {
	case a.status == http.StatusUnauthorized && len(a.schemes()) > 0 && !a.basicChallenge():
		e.ErrCode = CodeChallenge
		e.Err = fmt.Errorf("the server asks for authentication by %s, and only Basic is known here; no password was sent", clip(strings.Join(a.schemes(), ", "), 80))
		e.Fix = "let the EST server offer HTTP Basic, or use a client certificate that it accepts"
	case a.status == http.StatusUnauthorized && !a.loggedIn && a.basicChallenge():
		e.ErrCode, e.Fix = CodeUnauthorized, "give this client a user name and a password, or a client certificate that the EST server accepts"
	case a.status == http.StatusUnauthorized:
		e.ErrCode, e.Fix = CodeUnauthorized, "check the user name and password, or the client certificate, that this client shows to the EST server"
	case a.status == http.StatusNotFound || a.status == http.StatusNotImplemented:
		e.ErrCode, e.Fix = CodeNotImplemented, "check the label and the URL; the server may not offer this operation"
	case a.status >= 500:
		e.ErrCode, e.Fix = CodeUnavailable, "look at the EST server's log under the request id; try again later"
	case a.status >= 300 && a.status < 400:
		e.ErrCode, e.Fix = CodeRedirect, "set the URL to where the server really is"
	case a.status < 300:
		e.number = LibESTHTTPUnsupported
		if a.status == http.StatusNoContent || a.status == http.StatusAccepted {
			e.number = clientNumber(a.status)
		}
	}
	return e
}

// certificates reads a certs-only body.
func (a *answer) certificates() ([]*x509.Certificate, error) {
	if err := a.checkType(); err != nil {
		return nil, err
	}
	der, err := a.decode()
	if err != nil {
		return nil, err
	}
	certs, err := parseCertsOnly(der)
	if err != nil {
		return nil, a.problem(CodeAnswerBody, LibESTLoadCACerts, err, "look at the server: its answer is no certs-only message")
	}
	return certs, nil
}

// cmc reads the answer to a full CMC request.
func (a *answer) cmc() (*CMCAnswer, error) {
	out := &CMCAnswer{Status: a.status, RequestID: a.requestID()}
	var err error
	switch a.status {
	case http.StatusAccepted:
		if out.RetryAfter, err = a.mustRetryAfter(); err != nil {
			return nil, err
		}
	default:
		out.RetryAfter, _ = a.retryAfter()
	}
	media, smime := mediaType(a.header.Get("Content-Type"))
	if !isPKCS7(media) {
		switch a.status {
		case http.StatusAccepted:
			return out, nil
		case http.StatusOK:
			return nil, a.checkType()
		}
		return nil, a.refusal()
	}
	if a.status != http.StatusOK && a.status != http.StatusAccepted && a.status < 400 {
		return nil, a.refusal()
	}
	if a.status != http.StatusOK && len(stripSpace(a.body)) == 0 {
		if a.status == http.StatusAccepted {
			return out, nil
		}
		return nil, a.refusal()
	}
	if out.Body, err = a.decode(); err != nil {
		return nil, err
	}
	switch smime {
	case "certs-only":
		out.Kind = ContentCertsOnly
	case "cmc-response":
		out.Kind = ContentCMCResponse
	default: // no parameter, or one of another use: the content tells
		out.Kind = ContentCMCResponse
		if _, err := parseCertsOnly(out.Body); err == nil {
			out.Kind = ContentCertsOnly
		}
	}
	return out, nil
}

// isPKCS7 tells whether a media type stands for CMS, in the RFC's spelling or one of those seen in the field.
func isPKCS7(media string) bool {
	switch media {
	case "application/pkcs7-mime", "application/x-pkcs7-mime", "application/pkcs7":
		return true
	}
	return false
}

// checkType demands a CMS media type.
func (a *answer) checkType() error {
	field := a.header.Get("Content-Type")
	if media, _ := mediaType(field); isPKCS7(media) {
		return nil
	}
	return a.problem(CodeAnswerType, LibESTHTTPUnsupported,
		fmt.Errorf("the answer has Content-Type %q and begins %q", clip(field, 80), clip(string(a.body[:min(len(a.body), 120)]), 80)),
		"check that the URL leads to an EST server and that no proxy answers in its place")
}

// decode returns the DER of the body.
func (a *answer) decode() ([]byte, error) {
	if len(stripSpace(a.body)) == 0 {
		return nil, a.problem(CodeEmptyAnswer, LibESTHTTPNotFound, errBodyEmpty, "look at the server's log")
	}
	der, _, err := decodeBody(a.body, "PKCS7", "CMS")
	if err != nil {
		return nil, a.problem(CodeAnswerBody, LibESTBadBase64, err, "look at the server: its answer is no base64 of DER")
	}
	return der, nil
}

// retryAfter returns the wait that the server asked for: seconds, or a date measured against our clock.
func (a *answer) retryAfter() (time.Duration, bool) {
	field := strings.TrimSpace(a.header.Get("Retry-After"))
	if field == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseUint(field, 10, 63); err == nil {
		if seconds > uint64(maxRetryAfter/time.Second) {
			return maxRetryAfter, true
		}
		return time.Duration(seconds) * time.Second, true
	}
	date, err := http.ParseTime(field)
	if err != nil {
		return 0, false
	}
	return min(max(date.Sub(a.now()), time.Second), maxRetryAfter), true
}

// mustRetryAfter is retryAfter for a 202, which must have it (RFC 7030 section 4.2.3).
func (a *answer) mustRetryAfter() (time.Duration, error) {
	after, ok := a.retryAfter()
	if !ok {
		return 0, a.problem(CodeRetryAfter, LibESTInvalidRetryValue,
			fmt.Errorf("202 with Retry-After %q", clip(a.header.Get("Retry-After"), 80)),
			"look at the server: it must say in Retry-After when to come back")
	}
	return after, nil
}

// basicChallenge tells whether a 401 offers Basic.
func (a *answer) basicChallenge() bool {
	return slices.ContainsFunc(a.schemes(), func(s string) bool { return strings.EqualFold(s, "Basic") })
}

// schemes are the authentication schemes that a 401 offers, in its order. One field may name several, with parameters that are
// separated by commas as well (RFC 9110 section 11.6.1): a scheme is a word that no "=" follows.
func (a *answer) schemes() []string {
	var found []string
	for _, field := range a.header.Values("WWW-Authenticate") {
		quoted, escaped := false, false
		for item := range strings.FieldsFuncSeq(field, func(r rune) bool {
			switch {
			case escaped:
				escaped = false
			case quoted && r == '\\':
				escaped = true
			case r == '"':
				quoted = !quoted
			}
			return r == ',' && !quoted
		}) {
			word, rest, _ := strings.Cut(strings.TrimSpace(item), " ")
			if word != "" && !strings.Contains(word, "=") && !strings.HasPrefix(strings.TrimSpace(rest), "=") && len(found) < maxAttributes {
				found = append(found, word)
			}
		}
	}
	return found
}

// requestID is the server's name for the request; empty when it sent none.
func (a *answer) requestID() string { return clip(a.header.Get("X-Request-Id"), 64) }

// text returns the server's readable words, if that is what it sent.
func (a *answer) text() string {
	if media, _ := mediaType(a.header.Get("Content-Type")); media != "text/plain" && media != "" {
		return ""
	}
	return clip(string(a.body[:min(len(a.body), 1024)]), 300)
}

// problem makes a ClientError about this answer.
func (a *answer) problem(code string, number LibESTError, err error, fix string) *ClientError {
	return &ClientError{
		ErrCode: code, Op: a.op, URL: a.url, Status: a.status, Text: a.text(), RequestID: a.requestID(), Fix: fix,
		Err: err, number: number,
	}
}

// errAnswerTooLarge tells that an answer went over the limit.
var errAnswerTooLarge = errors.New("answer is longer than 2000000 bytes")
