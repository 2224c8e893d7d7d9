package certsrv

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"callsign/certsrv/winauth"
)

// TestFaults runs the calls against a server that does everything wrong. Nothing may be asked for without end, and a
// request is posted once at most.
func TestFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		page     func(s seen) reply // answers templates, submit and fetch alike
		get      string             // code for CheckTemplate
		post     string             // code for Submit
		lost     bool               // the submission may have arrived
		maxGets  int                // requests of the GET call, handshakes included
		retry    bool               // retryable after Submit
		contains string
	}{
		"drop":             {func(seen) reply { return reply{drop: true} }, CodeConnectionLost, CodeAnswerLost, true, 6, true, ""},
		"reset":            {func(seen) reply { return reply{reset: true} }, CodeConnectionLost, CodeAnswerLost, true, 6, true, ""},
		"truncated header": {func(seen) reply { return reply{body: []byte("<html>"), truncate: 20} }, CodeConnectionLost, CodeAnswerLost, true, 6, true, ""},
		"truncated body":   {func(seen) reply { return reply{body: []byte("<html>" + strings.Repeat("x", 500)), truncate: 300} }, CodeConnectionLost, CodeAnswerLost, true, 6, true, ""},
		"silence":          {func(seen) reply { return reply{delay: time.Minute} }, CodeTimeout, CodeAnswerLost, true, 3, true, "timed out"},
		"not HTTP":         {func(seen) reply { return reply{raw: []byte("SSH-2.0-OpenSSH_9.2\r\n\r\n")} }, CodeUnexpectedPage, CodeAnswerLost, true, 3, true, ""},
		"endless header":   {func(seen) reply { return reply{raw: []byte("HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 20000))} }, CodeTooLarge, CodeAnswerLost, true, 3, true, ""},
		"huge body":        {func(seen) reply { return reply{body: make([]byte, 2<<20)} }, CodeTooLarge, CodeAnswerLost, true, 3, true, ""},
		"bad chunk": {func(seen) reply {
			return reply{raw: []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")}
		}, CodeUnexpectedPage, CodeAnswerLost, true, 3, true, ""},
		"interim for ever": {func(seen) reply {
			return reply{raw: []byte(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 50))}
		}, CodeUnexpectedPage, CodeAnswerLost, true, 3, true, ""},
		"other page":       {func(seen) reply { return reply{body: []byte("<html>Bitte anmelden</html>")} }, CodeUnexpectedPage, CodeAnswerLost, true, 3, true, "Bitte anmelden"},
		"empty page":       {func(seen) reply { return reply{} }, CodeUnexpectedPage, CodeAnswerLost, true, 3, true, ""},
		"401 for ever":     {func(seen) reply { return reply{status: 401} }, CodeNotAuthenticated, CodeNotAuthenticated, false, 6, true, "401"},
		"403":              {func(seen) reply { return reply{status: 403} }, CodeForbidden, CodeForbidden, false, 3, false, "403"},
		"404":              {func(seen) reply { return reply{status: 404} }, CodeNotFound, CodeNotFound, false, 3, false, "404"},
		"500":              {func(seen) reply { return reply{status: 500} }, CodeServerError, CodeServerError, true, 3, true, "500"},
		"503":              {func(seen) reply { return reply{status: 503} }, CodeServerError, CodeServerError, false, 3, true, "503"},
		"sign-in redirect": {func(seen) reply { return reply{status: 302, header: []string{"Location: https://login.example/"}} }, CodeRedirected, CodeRedirected, false, 3, false, "302"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, tt.page)
			c, _ := f.newClient()
			if name == "silence" { // nothing else may run into a timeout, however busy the machine is
				c.FetchTimeout, c.SubmitTimeout = 150*time.Millisecond, 150*time.Millisecond
			}
			p := problem(t, c.CheckTemplate(t.Context(), "CiscoRA"))
			if p.Code() != tt.get || errors.Is(p, ErrAnswerLost) {
				t.Errorf("CheckTemplate: code %s (%v)", p.Code(), p)
			}
			if n := f.count("GET"); n > tt.maxGets {
				t.Errorf("CheckTemplate sent %d requests: %v", n, f.requests())
			}
			if !strings.Contains(p.Error(), tt.contains) {
				t.Errorf("%q does not contain %q", p.Error(), tt.contains)
			}
			_, err := c.Submit(t.Context(), Submission{Request: newCSR(t, "a"), Template: "CiscoRA"})
			p = problem(t, err)
			if p.Code() != tt.post || errors.Is(err, ErrAnswerLost) != tt.lost || p.Retryable != tt.retry {
				t.Errorf("Submit: code %s, answer lost %v, retryable %v (%v)", p.Code(), p.AnswerLost, p.Retryable, p)
			}
			if name == "silence" && !p.Timeout {
				t.Error("Submit: no timeout")
			}
			if n := f.count("POST"); n != 1 {
				t.Errorf("posted %d times", n)
			}
		})
	}
}

func TestLoginFaults(t *testing.T) {
	t.Parallel()
	challenge := "WWW-Authenticate: NTLM " + challengeMessage()
	always := func(r reply) func(seen) *reply { return func(seen) *reply { return &r } }
	tests := map[string]struct {
		login    func(seen) *reply
		code     string
		requests int
		curl     string
	}{
		"wrong password": {func(s seen) *reply {
			if messageType(strings.TrimPrefix(s.Header.Get("Authorization"), "NTLM ")) == 3 {
				return &reply{status: 401, header: []string{"WWW-Authenticate: Negotiate", "WWW-Authenticate: NTLM"}, body: fixture(t, "iis-401.html")}
			}
			return nil
		}, CodeNotAuthenticated, 2, `curl_code=22 curl_text="The requested URL returned error: 401" bytes=193`},
		"challenges for ever":   {always(reply{status: 401, header: []string{challenge}}), CodeNotAuthenticated, 2, "curl_code=22"},
		"Kerberos only":         {always(reply{status: 401, header: []string{"WWW-Authenticate: Negotiate"}}), CodeNotAuthenticated, 2, "curl_code=22"},
		"Basic only":            {always(reply{status: 401, header: []string{`WWW-Authenticate: Basic realm="a, NTLM b"`}}), CodeNotAuthenticated, 1, "curl_code=22"},
		"no scheme":             {always(reply{status: 401}), CodeNotAuthenticated, 1, "curl_code=22"},
		"nobody asks":           {always(reply{status: 301, header: []string{"Location: /certsrv/"}}), CodeLoginNotAsked, 1, "curl_code=61"},
		"garbage challenge":     {always(reply{status: 401, header: []string{"WWW-Authenticate: NTLM TlRMTVNTUAAC"}}), CodeNotAuthenticated, 1, "curl_code=22"},
		"closed after Type 2":   {always(reply{status: 401, header: []string{challenge, "Connection: close"}}), CodeConnectionLost, 1, "curl_code=18"},
		"dropped after Type 2":  {always(reply{status: 401, header: []string{challenge}, bye: true}), CodeConnectionLost, 1, "curl_code=5"},
		"dropped at once":       {always(reply{drop: true}), CodeConnectionLost, 1, "curl_code=52"},
		"forbidden, no SSL":     {always(reply{status: 403, body: []byte("<h2>403.4 - Forbidden</h2>")}), CodeForbidden, 1, "error: 403"},
		"role not installed":    {always(reply{status: 404}), CodeNotFound, 1, "error: 404"},
		"application pool down": {always(reply{status: 503}), CodeServerError, 1, "error: 503"},
		"slow":                  {always(reply{status: 401, header: []string{challenge}, delay: time.Minute}), CodeTimeout, 1, "curl_code=28"},
		"sign-in page elsewhere": {func(s seen) *reply {
			if messageType(strings.TrimPrefix(s.Header.Get("Authorization"), "NTLM ")) == 3 {
				return &reply{status: 302, header: []string{"Location: https://login.example/adfs"}}
			}
			return nil
		}, CodeRedirected, 2, "curl_code=61"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, func(seen) reply { return reply{} })
			f.set(func() { f.login = tt.login })
			c, log := f.newClient()
			if name == "slow" { // nothing else may run into a timeout, however busy the machine is
				c.LoginTimeout = 100 * time.Millisecond
			}
			_, err := c.Submit(t.Context(), Submission{Request: newCSR(t, "a"), Template: "CiscoRA"})
			p := problem(t, err)
			if p.Code() != tt.code && (name != "garbage challenge" || p.Code() != CodeUnexpectedPage) {
				t.Errorf("code %s (%v)", p.Code(), p)
			}
			if errors.Is(err, ErrAnswerLost) || f.count("POST") != 0 {
				t.Errorf("something was posted: %v", f.requests())
			}
			if n := len(f.requests()); n > tt.requests {
				t.Errorf("%d requests: %v", n, f.requests())
			}
			if !strings.Contains(log.String(), "event=certsrv.login_failed") || !strings.Contains(log.String(), tt.curl) {
				t.Errorf("log does not have %q:\n%s", tt.curl, log.String())
			}
		})
	}
}

// TestOwnStopIsNoWarning: a login that our own caller gave up is nothing for an administrator.
func TestOwnStopIsNoWarning(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(seen) reply { return reply{} })
	ctx, cancel := context.WithCancel(t.Context())
	f.set(func() {
		f.login = func(seen) *reply { cancel(); return &reply{status: 401, delay: time.Minute} }
	})
	c, log := f.newClient()
	_, err := c.Submit(ctx, Submission{Request: newCSR(t, "a"), Template: "CiscoRA"})
	if p := problem(t, err); p.Code() != CodeCancelled {
		t.Errorf("code %s (%v)", p.Code(), p)
	}
	for line := range strings.Lines(log.String()) {
		if !strings.Contains(line, "level=DEBUG") {
			t.Error(line)
		}
	}
}

// TestSessionOver: the server closes the session between two calls, or forgets the login. A GET logs in again, once; a
// POST goes out once, on a connection that was looked at before.
func TestSessionOver(t *testing.T) {
	t.Parallel()
	h, _ := site(t)
	tests := map[string]func(n int, s seen) *reply{
		"closed with notice":    func(n int, _ seen) *reply { return headerReply(t, n == 1, "Connection: close") },
		"closed without notice": func(n int, _ seen) *reply { return byeReply(t, n == 1) },
		"forgot the login": func(n int, s seen) *reply {
			if n == 2 && s.Method == "GET" {
				return &reply{status: 401, header: []string{"WWW-Authenticate: NTLM"}}
			}
			return nil
		},
	}
	for name, script := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := 0
			f := newFake(t, nil)
			f.set(func() {
				f.handle = func(s seen) reply {
					f.mu.Lock()
					n++
					r := script(n, s)
					f.mu.Unlock()
					if r != nil {
						return *r
					}
					return h(s)
				}
			})
			c, _ := f.newClient()
			for i := range 3 {
				if _, err := c.Templates(t.Context()); err != nil {
					t.Fatalf("call %d: %v", i, err)
				}
			}
			if a, err := c.Submit(t.Context(), Submission{Request: newCSR(t, "a")}); err != nil || a.Outcome != Issued {
				t.Fatalf("Submit = %+v, %v", a, err)
			}
			if _, conns := f.all(); conns != 2 || f.count("POST") != 1 {
				t.Errorf("%d connections, requests %v", conns, f.requests())
			}
		})
	}
}

func headerReply(t *testing.T, yes bool, header string) *reply {
	t.Helper()
	if !yes {
		return nil
	}
	return &reply{body: fixture(t, "en-certrqxt.html"), header: []string{header}}
}

func byeReply(t *testing.T, yes bool) *reply {
	t.Helper()
	if !yes {
		return nil
	}
	return &reply{body: fixture(t, "en-certrqxt.html"), bye: true}
}

func TestFetchFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body []byte
		code string
		gets int
	}{
		"not a certificate":    {[]byte("-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n"), CodeUnexpectedPage, 3},
		"truncated DER":        {[]byte{0x30, 0x82, 0x10, 0x00, 0x30}, CodeUnexpectedPage, 3},
		"text":                 {[]byte("try later"), CodeUnexpectedPage, 3},
		"issued, no delivery":  {[]byte("<dt id=locDispLabel>D</dt><dd>\r\n\t\t3 <LocID ID=locDispSpacer>-</LocID></dd>"), CodeNotDelivered, 5},
		"page without outcome": {[]byte("<html>bonjour</html>"), CodeUnexpectedPage, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, func(seen) reply { return reply{body: tt.body} })
			c, _ := f.newClient()
			_, err := c.Fetch(t.Context(), "10")
			if p := problem(t, err); p.Code() != tt.code {
				t.Errorf("code %s (%v)", p.Code(), p)
			}
			if n := f.count("GET"); n != tt.gets {
				t.Errorf("%d requests, want %d", n, tt.gets)
			}
		})
	}
}

func TestBasic(t *testing.T) {
	t.Parallel()
	h, _ := site(t)
	f := newFake(t, h)
	c, _ := f.newClient()
	c.Auth.Method = winauth.Basic
	if _, err := c.Enroll(t.Context(), EnrollOptions{Submission: Submission{Request: newCSR(t, "a"), Template: "CiscoRA"}}); err != nil {
		t.Fatal(err)
	}
	all, _ := f.all()
	for _, s := range all {
		if !strings.HasPrefix(s.Header.Get("Authorization"), "Basic ") {
			t.Errorf("%s %s without Basic", s.Method, s.URI)
		}
	}
	if n := len(f.requests()); n != 4 {
		t.Errorf("%d requests, want login and three: %v", n, f.requests())
	}
}
