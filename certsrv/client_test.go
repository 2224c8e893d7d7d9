package certsrv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/certsrv/winauth"
)

// site is what a well-behaved server answers: CiscoRA is offered, every request gets id 10.
func site(t *testing.T) (func(s seen) reply, *testCA) {
	t.Helper()
	ca := newTestCA(t, "Issuing CA")
	leaf, _ := ca.leaf(t, "SEP001122334455")
	return func(s seen) reply {
		path, _, _ := strings.Cut(s.URI, "?")
		switch path {
		case templatesPath:
			return reply{body: fixture(t, "en-certrqxt.html")}
		case submitPath:
			return reply{body: []byte(`<P ID=locInfo>ok</P><A Href="certnew.cer?ReqID=10&amp;Enc=b64">x</A>`)}
		case fetchPath:
			return reply{body: pemOf(leaf.Raw)}
		case archivePath:
			return reply{body: []byte("<html>var nRenewals=0;</html>")}
		case "/certsrv/certnew.p7b":
			return reply{body: ca.p7b(t, ca.cert)}
		}
		return reply{status: 404}
	}, ca
}

func problem(t *testing.T, err error) *Problem {
	t.Helper()
	var p *Problem
	if !errors.As(err, &p) {
		t.Fatalf("error %v (%T) is no *Problem", err, err)
	}
	if p.Code() == "" || p.Remedy() == "" || p.Error() == "" {
		t.Errorf("problem without code, detail or remedy: %+v", p)
	}
	return p
}

func TestCompatSequence(t *testing.T) {
	t.Parallel()
	h, _ := site(t)
	f := newFake(t, h)
	c, log := f.newClient()
	c.Compat = true
	var calls []string
	a, err := c.Enroll(t.Context(), EnrollOptions{
		Submission:   Submission{Request: newCSR(t, "SEP001122334455"), Template: "CiscoRA"},
		Login:        &winauth.Credentials{User: `TEST\client`, Password: winauth.NewPassword([]byte("Other-Secret-8"))},
		BeforeSubmit: func(context.Context) error { calls = append(calls, "before"); return nil },
		Submitted:    func(_ context.Context, id string) error { calls = append(calls, "submitted "+id); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if a.Outcome != Issued || a.RequestID != "10" || a.Certificate == nil {
		t.Errorf("answer %+v", a)
	}
	want := []string{
		"1 GET /certsrv", "1 GET /certsrv", "1 GET /certsrv/certrqxt.asp",
		"2 GET /certsrv", "2 GET /certsrv", "2 POST /certsrv/certfnsh.asp", "2 GET /certsrv/certnew.cer?ReqID=10&ENC=b64",
	}
	if d := cmp.Diff(want, f.requests()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"before", "submitted 10"}, calls); d != "" {
		t.Error(d)
	}
	all, _ := f.all()
	for i, s := range all {
		if ua := s.Header.Get("User-Agent"); ua != "CiscoRA 1.0" {
			t.Errorf("request %d: User-Agent %q", i, ua)
		}
		auth := s.Header.Get("Authorization")
		if handshake := i%3 == 0 && i < 4 || i == 1 || i == 4; handshake != (auth != "") {
			t.Errorf("request %d: Authorization %q", i, auth)
		}
		if referer := s.Header.Get("Referer"); (s.Method == "POST") != (referer == "https://lab-dc.test.example:443/certsrv/certrqxt.asp") {
			t.Errorf("request %d: Referer %q", i, referer)
		}
	}
	events := []string{
		"certsrv.login", "certsrv.page", "certsrv.login", "certsrv.submitted", "certsrv.fetched",
	}
	if d := cmp.Diff(events, eventsOf(log.String())); d != "" {
		t.Error(d)
	}
	for _, s := range []string{"bytes=163", "url=https://lab-dc.test.example:443/certsrv ", "outcome=issued request_id=10", `user=TEST\client`} {
		if !strings.Contains(log.String(), s) {
			t.Errorf("log does not have %q:\n%s", s, log.String())
		}
	}
	if strings.Contains(log.String(), "Other-Secret-8") {
		t.Error("the caller's password is in the log")
	}
}

func eventsOf(log string) []string {
	var out []string
	for line := range strings.Lines(log) {
		if _, rest, ok := strings.Cut(line, "event="); ok {
			out = append(out, strings.Fields(rest)[0])
		}
	}
	return out
}

func TestPooledSequence(t *testing.T) {
	t.Parallel()
	h, _ := site(t)
	f := newFake(t, h)
	c, _ := f.newClient()
	for range 2 {
		if _, err := c.Enroll(t.Context(), EnrollOptions{Submission: Submission{Request: newCSR(t, "a"), Template: "ciscora"}}); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"1 GET /certsrv", "1 GET /certsrv", "1 GET /certsrv/certrqxt.asp",
		"1 POST /certsrv/certfnsh.asp", "1 GET /certsrv/certnew.cer?ReqID=10&Enc=b64",
		"1 POST /certsrv/certfnsh.asp", "1 GET /certsrv/certnew.cer?ReqID=10&Enc=b64",
	}
	if d := cmp.Diff(want, f.requests()); d != "" {
		t.Error(d)
	}
}

func TestForm(t *testing.T) {
	t.Parallel()
	h, _ := site(t)
	f := newFake(t, h)
	c, _ := f.newClient()
	csr := newCSR(t, "a")
	_, err := c.Submit(t.Context(), Submission{
		Request: csr, Template: "CiscoRA",
		Attributes: []Attribute{{"SAN", "dns=a.example&dns=b.example"}}, AllowSAN: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	all, _ := f.all()
	post := all[len(all)-1]
	if post.Method != "POST" || post.Header.Get("Content-Length") != fmt.Sprint(len(post.Body)) || post.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Errorf("request %s, header %v", post.Method, post.Header)
	}
	got, err := url.ParseQuery(post.Body)
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{
		"Mode": {"newreq"}, "CertRequest": {requestText(csr)}, "CertAttrib": {"CertificateTemplate:CiscoRA\r\nSAN:dns=a.example&dns=b.example\r\n"},
		"FriendlyType": {"Saved-Request Certificate (11/20/2026, 12:00:00 PM)"}, "ThumbPrint": {""}, "TargetStoreFlags": {"0"}, "SaveCert": {"yes"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if strings.Contains(strings.SplitAfter(post.Body, "CertRequest=")[1], " ") || strings.Contains(requestText(csr), "+") && !strings.Contains(post.Body, "%2B") {
		t.Error("a plus sign is not percent-encoded")
	}
}

func TestBadSubmissions(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(seen) reply { return reply{} })
	c, _ := f.newClient()
	csr := newCSR(t, "a")
	tests := map[string]Submission{
		"no request":      {Template: "T"},
		"PEM":             {Request: []byte("-----BEGIN"), Template: "T"},
		"line break":      {Request: csr, Template: "T\r\nSAN:dns=evil"},
		"colon in name":   {Request: csr, Attributes: []Attribute{{"a:b", "c"}}},
		"unasked SAN":     {Request: csr, Attributes: []Attribute{{"san", "dns=a"}}},
		"template twice":  {Request: csr, Template: "T", Attributes: []Attribute{{"certificatetemplate", "U"}}},
		"larger than ASP": {Request: append([]byte{0x30}, make([]byte, maxForm)...)},
	}
	for name, s := range tests {
		if _, err := c.Enroll(t.Context(), EnrollOptions{Submission: s}); problem(t, err).Code() != CodeBadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, id := range []string{"", "7&x", "-1", "CACert", "123456789012345678901"} {
		if _, err := c.Fetch(t.Context(), id); problem(t, err).Code() != CodeBadRequest {
			t.Errorf("Fetch(%q): %v", id, err)
		}
	}
	if n := len(f.requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestTemplateNotOffered(t *testing.T) {
	t.Parallel()
	h, _ := site(t)
	f := newFake(t, h)
	c, log := f.newClient()
	for name, nearest := range map[string]string{"CiscoRa1": "CiscoRA", "Web Server": "WebServer", "Zzzzzzzz": ""} {
		p := problem(t, c.CheckTemplate(t.Context(), name))
		if p.Code() != CodeTemplateNotOffered || p.Nearest != nearest || !cmp.Equal(p.Offered, []string{"CiscoRA", "WebServer", "User"}) {
			t.Errorf("%s: %+v", name, p)
		}
		for _, s := range []string{name, fakeUser, "CiscoRA, WebServer, User"} {
			if !strings.Contains(p.Error(), s) {
				t.Errorf("%q does not contain %q", p.Error(), s)
			}
		}
	}
	if !strings.Contains(log.String(), "certsrv.template_not_offered") {
		t.Error("nothing logged")
	}
	_, err := c.Enroll(t.Context(), EnrollOptions{Submission: Submission{Request: newCSR(t, "a"), Template: "CiscoRA1"}})
	if problem(t, err).Code() != CodeTemplateNotOffered || f.count("POST") != 0 {
		t.Errorf("Enroll with a template not offered: %v, %d posts", err, f.count("POST"))
	}
	if err := c.CheckTemplate(t.Context(), "1.3.6.1.4.1.311.21.8.1.2.3"); err != nil {
		t.Errorf("a template named by OID: %v", err)
	}
}

func TestDeniedReason(t *testing.T) {
	t.Parallel()
	for _, compat := range []bool{false, true} {
		f := newFake(t, func(s seen) reply {
			switch {
			case strings.HasPrefix(s.URI, templatesPath):
				return reply{body: fixture(t, "fr-certrqxt.html")}
			case strings.HasPrefix(s.URI, submitPath):
				return reply{body: fixture(t, "fr-denied-template-permission.html")}
			}
			return reply{body: fixture(t, "fr-cer-denied-permission.html")}
		})
		c, _ := f.newClient()
		c.Compat = compat
		a, err := c.Enroll(t.Context(), EnrollOptions{Submission: Submission{Request: newCSR(t, "a"), Template: "CiscoRA"}})
		if err != nil {
			t.Fatal(err)
		}
		want := HResult(0x80094012)
		if compat {
			want = 0 // the original does not look
		}
		if a.Outcome != Denied || a.RequestID != "27" || a.HResult != want {
			t.Errorf("compat %v: %+v", compat, a)
		}
	}
}

func TestPendingThenIssued(t *testing.T) {
	t.Parallel()
	h, _ := site(t)
	var mu sync.Mutex
	approved := false
	f := newFake(t, func(s seen) reply {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case strings.HasPrefix(s.URI, submitPath):
			return reply{body: fixture(t, "fr-pending.html")}
		case strings.HasPrefix(s.URI, fetchPath) && !approved:
			return reply{body: fixture(t, "fr-cer-pending.html")}
		}
		return h(s)
	})
	c, _ := f.newClient()
	var id string
	a, err := c.Enroll(t.Context(), EnrollOptions{
		Submission: Submission{Request: newCSR(t, "a"), Template: "CiscoRA"},
		Submitted:  func(_ context.Context, got string) error { id = got; return nil },
	})
	if err != nil || a.Outcome != Pending || a.RequestID != "25" || id != "25" {
		t.Fatalf("Enroll = %+v, %v, id %q", a, err, id)
	}
	if a, err = c.Fetch(t.Context(), id); err != nil || a.Outcome != Pending || a.RequestID != "25" {
		t.Fatalf("Fetch = %+v, %v", a, err)
	}
	mu.Lock()
	approved = true
	mu.Unlock()
	if a, err = c.Fetch(t.Context(), id); err != nil || a.Outcome != Issued || a.Certificate == nil {
		t.Fatalf("Fetch = %+v, %v", a, err)
	}
}

func TestCallbacksStop(t *testing.T) {
	t.Parallel()
	h, _ := site(t)
	boom := errors.New("journal is full")
	for _, compat := range []bool{false, true} {
		f := newFake(t, h)
		c, _ := f.newClient()
		c.Compat = compat
		s := Submission{Request: newCSR(t, "a"), Template: "CiscoRA"}
		_, err := c.Enroll(t.Context(), EnrollOptions{Submission: s, BeforeSubmit: func(context.Context) error { return boom }})
		if !errors.Is(err, boom) || f.count("POST") != 0 {
			t.Errorf("compat %v: %v, %d posts after BeforeSubmit failed", compat, err, f.count("POST"))
		}
		a, err := c.Enroll(t.Context(), EnrollOptions{Submission: s, Submitted: func(context.Context, string) error { return boom }})
		if !errors.Is(err, boom) || a.RequestID != "10" || f.count("POST") != 1 {
			t.Errorf("compat %v: %+v, %v, %d posts after Submitted failed", compat, a, err, f.count("POST"))
		}
	}
}

func TestParallelEnrol(t *testing.T) {
	t.Parallel()
	h, _ := site(t)
	f := newFake(t, h)
	f.limit = 1000
	c, _ := f.newClient()
	c.MaxSessions = 3
	csr := newCSR(t, "a")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				a, err := c.Enroll(t.Context(), EnrollOptions{Submission: Submission{Request: csr, Template: "CiscoRA"}})
				if err != nil || a.Outcome != Issued {
					t.Errorf("Enroll = %+v, %v", a, err)
				}
			}
		})
	}
	wg.Wait()
	if _, conns := f.all(); conns > 3 || f.count("POST") != 80 {
		t.Errorf("%d connections, %d posts; want at most 3, and 80", conns, f.count("POST"))
	}
}

func TestWaitForSession(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(seen) reply { return reply{delay: time.Minute} })
	c, _ := f.newClient()
	c.MaxSessions = 1
	held := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(held)
		if _, err := c.Templates(ctx); problem(t, err).Code() != CodeCancelled {
			t.Errorf("Templates = %v", err)
		}
	})
	for f.count("GET") < 3 {
		time.Sleep(time.Millisecond) // the first call holds the only session from here on
	}
	short, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := c.Templates(short); problem(t, err).Code() != CodeTimeout || !strings.Contains(err.Error(), "1 sessions") {
		t.Errorf("Templates = %v", err)
	}
	cancel()
	wg.Wait()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Templates(t.Context()); problem(t, err).Code() != CodeCancelled {
		t.Errorf("after Close: %v", err)
	}
}

func TestBadURL(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"", "http://h/certsrv", "https:///certsrv", "https://u:p@h/certsrv", "https://h/other", "https://h:x/"} {
		c := &Client{URL: raw}
		_, err := c.Templates(t.Context())
		if p := problem(t, err); p.Code() != CodeBadConfiguration || strings.Contains(p.Error(), ":p@") {
			t.Errorf("%q: %v", raw, err)
		}
	}
	for _, raw := range []string{"https://h", "https://h/", "https://h:8443/certsrv/", "https://h/CertSrv"} {
		if _, err := parseURL(raw); err != nil {
			t.Errorf("%q: %v", raw, err)
		}
	}
}
