package certsrv

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"callsign/certsrv/winauth"
)

const (
	submitPath = "/certsrv/certfnsh.asp"
	// maxForm is the default of the server's AspMaxRequestEntityAllowed: a larger form ends in an unhelpful error page.
	maxForm = 204800
)

// Attribute is a line of the form's attribute field, e.g. {"ValidityPeriod", "Days"}.
type Attribute struct {
	Name  string
	Value string
}

// Submission is a certificate request and how to submit it.
type Submission struct {
	// Request is DER: a PKCS #10, or a PKCS #7 or CMC message.
	Request []byte
	// Template is the template's name, not its display name, or its OID; empty names none (standalone CA).
	Template string
	// Attributes are sent besides the template. SAN is refused unless AllowSAN is set.
	Attributes []Attribute
	// AllowSAN lets an attribute SAN through. It only works on a CA with EDITF_ATTRIBUTESUBJECTALTNAME2, where any
	// account can have any name; put names into the request instead.
	AllowSAN bool
	// FriendlyType is what the browser pages show for the request; empty for a text with date and time.
	FriendlyType string
}

// Submit posts a request and returns what the page says: an Answer without certificate. The request is sent at most
// once. Errors are *Problem; errors.Is(err, ErrAnswerLost) when the CA may have it although no answer came.
func (c *Client) Submit(ctx context.Context, s Submission) (Answer, error) {
	form, err := c.form(s)
	if err != nil {
		return Answer{}, err
	}
	if err := c.init(); err != nil {
		return Answer{}, err
	}
	resp, err := c.request(ctx, "submit", c.submitRequest(form), maxSubmitIdle, false)
	return c.submitted(ctx, resp, err)
}

// submit posts on this very session.
func (s *session) submit(ctx context.Context, form []byte) (Answer, error) {
	resp, err := s.conn.Do(ctx, s.c.submitRequest(form))
	return s.c.submitted(ctx, resp, err)
}

func (c *Client) submitRequest(form []byte) winauth.Request {
	return winauth.Request{
		Method: http.MethodPost, Path: submitPath, Body: form,
		Header: http.Header{
			"Content-Type": {"application/x-www-form-urlencoded"},
			"Referer":      {c.base.String() + templatesPath}, // with the port, as the original sends it
		},
		Timeout: orDefault(c.SubmitTimeout, DefaultSubmitTimeout),
	}
}

// submitted reads the answer to a POST.
func (c *Client) submitted(ctx context.Context, resp *winauth.Response, err error) (Answer, error) {
	url := c.base.String() + submitPath
	a, p := readSubmitted(url, resp, err)
	if p != nil {
		c.log().LogAttrs(ctx, p.level(), "certificate request not answered", slog.String("event", "certsrv.submit_failed"),
			slog.String("url", url), slog.String("code", p.ErrCode), slog.String("err", p.Detail), slog.String("remedy", p.Fix))
		return Answer{}, p
	}
	if a.HResult == StatusUnsupportedType || a.HResult == StatusTemplateDenied {
		c.Forget()
	}
	attrs := []slog.Attr{
		slog.String("event", "certsrv.submitted"), slog.String("url", url), slog.String("outcome", a.Outcome.String()),
		slog.String("request_id", a.RequestID), slog.String("hresult", hresultText(a.HResult)), slog.Int("bytes", len(resp.Body)),
	}
	c.log().LogAttrs(ctx, slog.LevelInfo, "certificate request submitted", attrs...)
	return a, nil
}

func readSubmitted(url string, resp *winauth.Response, err error) (Answer, *Problem) {
	if err != nil {
		return Answer{}, transportProblem("submit", err, true)
	}
	switch {
	case resp.Status == http.StatusOK:
	case resp.Status >= http.StatusInternalServerError && resp.Status != http.StatusServiceUnavailable:
		// The script may have failed before or after the CA was asked. 503 comes from the server in front of it.
		p := statusProblem("submit", url, resp)
		p.lost()
		return Answer{}, p
	default:
		p := statusProblem("submit", url, resp)
		p.Retryable = p.Retryable || resp.Status == http.StatusUnauthorized // the session was over; nothing was submitted
		return Answer{}, p
	}
	a, ok := classify(resp.Body)
	if !ok {
		p := unexpectedPage("submit", url, resp.Body)
		p.lost()
		return Answer{}, p
	}
	if a.HResult == StatusRPCCallFailed && a.RequestID == "" {
		// The web server lost the CA's answer, as we might have lost the web server's.
		p := a.Problem()
		p.Op, p.URL = "submit", url
		p.lost()
		return Answer{}, p
	}
	return a, nil
}

func unexpectedPage(op, url string, body []byte) *Problem {
	pg := parsePage(body)
	return &Problem{
		ErrCode: CodeUnexpectedPage, Op: op, URL: url, HTTPStatus: http.StatusOK,
		Detail: fmt.Sprintf("%s answered a page of %d octets that is none of web enrollment: %q", url, len(body), short(oneLine(pg.text))),
		Fix:    "open the URL in a browser with the same account; check for a proxy or sign-in page between",
	}
}

func short(s string) string {
	if r := []rune(s); len(r) > 120 {
		return string(r[:120]) + "..."
	}
	return s
}

func hresultText(h HResult) string {
	if h == 0 {
		return ""
	}
	return h.String()
}

// form encodes a submission. Percent-encoding matters here: a '+' of the base64 text that is sent as itself arrives as a
// space, and the CA then reports an ASN.1 error.
func (c *Client) form(s Submission) ([]byte, error) {
	bad := func(format string, args ...any) error {
		return &Problem{ErrCode: CodeBadRequest, Op: "submit", Detail: fmt.Sprintf(format, args...), Fix: "correct the request; nothing was sent"}
	}
	if len(s.Request) < 2 || s.Request[0] != 0x30 {
		return nil, bad("the certificate request is not DER")
	}
	var attrs strings.Builder
	list := s.Attributes
	if s.Template != "" {
		list = append([]Attribute{{"CertificateTemplate", s.Template}}, list...)
	}
	for i, a := range list {
		switch {
		case a.Name == "" || strings.ContainsAny(a.Name, ":\r\n") || strings.ContainsAny(a.Value, "\r\n"):
			return nil, bad("attribute %q: %q cannot be sent", a.Name, a.Value)
		case strings.EqualFold(a.Name, "SAN") && !s.AllowSAN:
			return nil, bad("attribute SAN needs a CA setting that lets any account have any name; put the names into the request")
		case i > 0 && s.Template != "" && strings.EqualFold(a.Name, "CertificateTemplate"):
			return nil, bad("attribute CertificateTemplate is given twice")
		}
		attrs.WriteString(a.Name + ":" + a.Value + "\r\n")
	}
	friendly := s.FriendlyType
	if friendly == "" {
		friendly = "Saved-Request Certificate (" + c.now().Format("1/2/2006, 3:04:05 PM") + ")"
	}
	values := url.Values{
		"Mode": {"newreq"}, "CertRequest": {requestText(s.Request)}, "CertAttrib": {attrs.String()},
		"FriendlyType": {friendly}, "ThumbPrint": {""}, "TargetStoreFlags": {"0"}, "SaveCert": {"yes"},
	}
	form := []byte(values.Encode())
	if len(form) > maxForm {
		return nil, bad("the form has %d octets, the web server takes %d", len(form), maxForm)
	}
	return form, nil
}

// requestText writes PKCS #10 with its PEM header, as every public client does, and PKCS #7 as bare base64: the server
// takes both without header, but there is no one header for PKCS #7 that every version takes.
func requestText(der []byte) string {
	if !isSignedData(der) {
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
		return strings.ReplaceAll(string(block), "\n", "\r\n")
	}
	var b strings.Builder
	for text := base64.StdEncoding.EncodeToString(der); text != ""; {
		n := min(64, len(text))
		b.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
	return b.String()
}
