package certsrv

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/certsrv/winauth"
)

// TestRefusals: status and substatus of the web server's pages, before and after the login, and what is said of them.
func TestRefusals(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status   int
		body     string
		code     string
		contains []string
	}{
		"401.1":                 {401, "<h2>HTTP Error 401.1 - Unauthorized</h2>", CodeNotAuthenticated, []string{"password", "2148074252", "2148074248"}},
		"401.2":                 {401, "<h2>HTTP Error 401.2 - Unauthorized</h2>", CodeNotAuthenticated, []string{"Windows Authentication on"}},
		"401.3":                 {401, "<h2>HTTP Error 401.3 - Unauthorized</h2>", CodeNotAuthenticated, []string{"may not read the pages"}},
		"401 without substatus": {401, string(fixture(t, "iis-401.html")), CodeNotAuthenticated, []string{"401 3 5", "load balancer"}},
		"403.4":                 {403, "<h2>403.4 - Forbidden</h2>", CodeForbidden, []string{"https"}},
		"403.7":                 {403, "<h2>403.7</h2>", CodeForbidden, []string{"demands a client certificate"}},
		"403.13":                {403, "<h2>403.13</h2>", CodeForbidden, []string{"revoked"}},
		"403.14":                {403, "<h2>403.14</h2>", CodeForbidden, []string{"role service"}},
		"403.16":                {403, "<h2>403.16</h2>", CodeForbidden, []string{"not trusted"}},
		"403.17":                {403, "<h2>403.17</h2>", CodeForbidden, []string{"expired"}},
		"403.99":                {403, "<h2>403.99</h2>", CodeForbidden, []string{"the page says 403.99", "permissions"}},
		"404":                   {404, "", CodeNotFound, []string{"role service"}},
		"404.2":                 {404, "HTTP Error 404.2 - Not Found", CodeNotFound, []string{"ISAPI"}},
		"404.3":                 {404, "HTTP Error 404.3 - Not Found", CodeNotFound, []string{"handler"}},
		"500":                   {500, "An error occurred on the server when processing the URL.", CodeServerError, []string{"500 0"}},
		"500.19":                {500, "HTTP Error 500.19", CodeServerError, []string{"web.config"}},
		"503":                   {503, "Service Unavailable", CodeServerError, []string{"application pool", "HTTPERR"}},
		"418":                   {418, "", CodeUnexpectedPage, []string{"URL"}},
		"number of another":     {403, "<p>404.2</p>", CodeForbidden, []string{"permissions"}},
		"number in an address":  {403, "<a href='x/403.4'>y</a>", CodeForbidden, []string{"permissions"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, func(seen) reply { return reply{status: tt.status, body: []byte(tt.body)} })
			c, _ := f.newClient()
			p := problem(t, c.CheckTemplate(t.Context(), "CiscoRA"))
			if p.Code() != tt.code || p.HTTPStatus != tt.status {
				t.Errorf("code %s, status %d (%v)", p.Code(), p.HTTPStatus, p)
			}
			for _, s := range tt.contains {
				if !strings.Contains(p.Remedy(), s) {
					t.Errorf("%q does not contain %q", p.Remedy(), s)
				}
			}
			f.set(func() { f.login = func(seen) *reply { return &reply{status: tt.status, body: []byte(tt.body)} } })
			p = problem(t, c.Login(t.Context(), nil))
			if tt.status != 418 && (p.Code() != tt.code || p.HTTPStatus != tt.status) {
				t.Errorf("login: code %s, status %d (%v)", p.Code(), p.HTTPStatus, p)
			}
			if tt.status == 401 && !strings.Contains(p.Remedy(), "401 1 2148074310") {
				t.Errorf("login: %q does not tell what to look for", p.Remedy())
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	const base = "https://" + fakeHost
	tests := map[string]struct {
		location string
		code     string // of the login by NTLM
		basic    string // of the login by Basic
		contains string // in the remedy of a page that is redirected
	}{
		"as IIS does":       {base + "/certsrv/", "", "", "HTTP Redirect"},
		"relative":          {"/certsrv/", "", "", "HTTP Redirect"},
		"upper case":        {base + ":443/CertSrv/", "", "", "HTTP Redirect"},
		"plain http":        {"http://" + fakeHost + "/certsrv/", "", "", "from end to end"},
		"another host":      {"https://other.example/certsrv/", "", CodeRedirected, "https://other.example/certsrv"},
		"another page":      {base + "/", CodeRedirected, CodeRedirected, "HTTP Redirect"},
		"sign-in page":      {base + "/adfs/ls/?wctx=Secret-Token", CodeRedirected, CodeRedirected, "sign-in page"},
		"sign-in host":      {"https://sso.example/?t=Secret-Token", CodeRedirected, CodeRedirected, "sign-in page"},
		"user and password": {"https://u:Secret-Token@other.example/x", CodeRedirected, CodeRedirected, "https://other.example/certsrv"},
		"nowhere":           {"", CodeRedirected, CodeRedirected, "HTTP Redirect"},
		"unreadable":        {"https://[", CodeRedirected, CodeRedirected, "HTTP Redirect"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := reply{status: 301, header: []string{"Location: " + tt.location}}
			if tt.location == "" {
				answer.header = nil
			}
			f := newFake(t, func(seen) reply { return answer })
			f.set(func() {
				f.login = func(s seen) *reply {
					if a := s.Header.Get("Authorization"); messageType(strings.TrimPrefix(a, "NTLM ")) == 3 || strings.HasPrefix(a, "Basic ") {
						return &answer
					}
					return nil
				}
			})
			c, log := f.newClient()
			creds := c.Auth
			for _, want := range []string{tt.code, tt.basic} {
				err := c.Login(t.Context(), &creds)
				var got string
				if err != nil {
					p := problem(t, err)
					got = p.Code()
					if p.Remedy() == "" || p.Retryable || strings.Contains(p.Error()+p.Remedy(), "Secret-Token") {
						t.Errorf("%v; %s", p, p.Remedy())
					}
				}
				if got != want {
					t.Errorf("login with method %v: code %q (%v), want %q", creds.Method, got, err, want)
				}
				creds.Method = winauth.Basic
			}
			if tt.code == "" {
				f.set(func() { f.login = nil }) // which marks no connection as logged in
				p := problem(t, c.CheckTemplate(t.Context(), "CiscoRA"))
				if p.Code() != CodeRedirected || !strings.Contains(p.Remedy(), tt.contains) {
					t.Errorf("page: %v; %s", p, p.Remedy())
				}
			}
			for _, s := range f.requests() {
				if !strings.HasSuffix(s, " /certsrv") && !strings.HasSuffix(s, templatesPath) {
					t.Errorf("the redirect was followed: %s", s)
				}
			}
			if strings.Contains(log.String(), "Secret-Token") {
				t.Error("the log has the token of the redirect")
			}
		})
	}
}

// TestRedirectBeforeLogin: a page in front of the web server answers before anybody is asked who he is.
func TestRedirectBeforeLogin(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(seen) reply { return reply{} })
	f.set(func() {
		f.login = func(seen) *reply {
			return &reply{status: 302, header: []string{"Location: https://login.example/adfs/ls/?x=y"}}
		}
	})
	c, _ := f.newClient()
	p := problem(t, c.Login(t.Context(), nil))
	if p.Code() != CodeRedirected || !strings.Contains(p.Error(), "https://login.example/adfs/ls/,") || !strings.Contains(p.Remedy(), "sign-in") {
		t.Errorf("%v; %s", p, p.Remedy())
	}
	if d := cmp.Diff([]string{"1 GET /certsrv"}, f.requests()); d != "" {
		t.Error(d)
	}
}

// TestTimeouts: each has its own limit, and says which phase was too slow and what the web server's log shows of it.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(seen) reply { return reply{delay: time.Minute} })
	c, _ := f.newClient()
	c.FetchTimeout, c.SubmitTimeout = 100*time.Millisecond, 150*time.Millisecond
	p := problem(t, c.CheckTemplate(t.Context(), "CiscoRA"))
	if p.Code() != CodeTimeout || !p.Timeout || !strings.Contains(p.Error(), "during request") || !strings.Contains(p.Remedy(), "200 0 64") {
		t.Errorf("fetch: %v; %s", p, p.Remedy())
	}
	_, err := c.Submit(t.Context(), Submission{Request: newCSR(t, "a"), Template: "CiscoRA"})
	if p := problem(t, err); p.Code() != CodeAnswerLost || !p.Timeout || !strings.Contains(p.Remedy(), "200 0 64") || !strings.Contains(p.Remedy(), "submit timeout") {
		t.Errorf("submit: %v; %s", p, p.Remedy())
	}
	f.set(func() { f.login = func(seen) *reply { return &reply{delay: time.Minute} } })
	c.LoginTimeout = 100 * time.Millisecond
	if p := problem(t, c.Login(t.Context(), nil)); p.Code() != CodeTimeout || !strings.Contains(p.Error(), "during login") || strings.Contains(p.Remedy(), "200 0 64") {
		t.Errorf("login: %v; %s", p, p.Remedy())
	}
	// Nobody shakes hands: a listener that accepts nothing.
	ln := listen(t)
	t.Cleanup(func() { _ = ln.Close() })
	c.ConnectTimeout = time.Second // TCP has to come about
	c.DialContext = (&fake{ln: ln}).dial
	p = problem(t, c.Login(t.Context(), nil))
	var w *winauth.Error
	if p.Code() != CodeTimeout || !errors.As(p, &w) || w.Phase != winauth.PhaseTLS {
		t.Errorf("handshake: %v; %s", p, p.Remedy())
	}
}
