package certsrvtest

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// scenario starts a server whose words are set at run time.
func scenario(t *testing.T, words string) (*site, *lockedBuffer) {
	t.Helper()
	log := new(lockedBuffer)
	c := config(t, 1)
	c.IISLog, c.CA = log, crlCA{c.CA.(*honestCA)}
	s := start(t, c)
	sc, err := ParseScenario(words)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetScenario(sc); err != nil {
		t.Fatal(err)
	}
	return s, log
}

// TestConditions sends a request by Basic into each condition and looks at answer and log.
func TestConditions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		words, target string
		status        int    // 0: no whole answer
		log           string // user and the tail of the line; empty: no line at all
		body          string // part of it
	}{
		{"401", "/certsrv", 401, `LAB\ra 401 1 1326`, "invalid credentials"},
		{"401.3", "/certsrv/certrqxt.asp", 401, `LAB\ra 401 3 5`, "401.3"},
		{"403.4", "/certsrv", 403, "- 403 4 5", "403.4"},
		{"403.7", "/certsrv", 403, "- 403 7 5", "403.7"},
		{"503", "/certsrv", 503, "", "Service Unavailable"},
		{"sign-in", "/certsrv/certrqxt.asp", 200, "", "Sign in"},
		{"redirect=/pki/certsrv", "/certsrv", 302, `LAB\ra 302 0 0`, `HREF="/pki/certsrv"`},
		{"redirect=https://pki.example/", "/certsrv/certfnsh.asp", 302, `LAB\ra 302 0 0`, "https://pki.example/"},
		{"login=500", "/certsrv", 500, `LAB\ra 500 0 0`, "500"},
		{"login=500", "/certsrv/", 200, `LAB\ra 200 0 0`, "locPageTitle"},
		{"login=drop", "/certsrv", 0, `LAB\ra 301 0 64`, ""},
		{"certrqxt=500", "/certsrv/CertRqXt.asp", 500, `LAB\ra 500 0 0`, "500"},
		{"certrqxt=truncate", "/certsrv/certrqxt.asp", 0, `LAB\ra 200 0 64`, ""},
		{"certcarc=404", "/certsrv/certcarc.asp", 404, `LAB\ra 404 0 2`, "404"},
		{"certcarc=404", "/certsrv/certrqxt.asp", 200, `LAB\ra 200 0 0`, "lbCertTemplate"},
		{"certnew=403", "/certsrv/certnew.p7b?ReqID=CACert", 403, `LAB\ra 403 0 5`, "403"},
		{"certnew=reset", "/certsrv/certnew.cer?ReqID=CACert", 0, `LAB\ra 200 0 64`, ""},
		{"certcrl=503", "/certsrv/certcrl.crl?Type=base", 503, `LAB\ra 503 0 0`, "503"},
		{"slow-login=1ms", "/certsrv", 301, `LAB\ra 301 0 0`, "Object Moved"},
		{"standalone", "/certsrv/certrqxt.asp", 200, `LAB\ra 200 0 0`, "CertRequest"},
		{"lang=fr", "/certsrv/certckpn.asp", 200, `LAB\ra 200 0 0`, "en attente"},
		{"lang=fr", "/certsrv/certnew.cer?ReqID=9", 200, `LAB\ra 200 0 0`, "Disposition :"},
	} {
		t.Run(tc.words+" "+tc.target, func(t *testing.T) {
			t.Parallel()
			s, log := scenario(t, tc.words)
			resp, body, err := s.basic(t, "UA").try(http.MethodGet, tc.target, "")
			switch {
			case tc.status == 0:
				if err == nil {
					t.Errorf("a whole answer: %d %q", resp.StatusCode, body)
				}
			case err != nil:
				t.Fatal(err)
			case resp.StatusCode != tc.status || !strings.Contains(body, tc.body):
				t.Errorf("%d %s; want %d with %q", resp.StatusCode, body, tc.status, tc.body)
			}
			lines := log.lines()
			if tc.log == "" {
				if len(lines) != 0 {
					t.Errorf("IIS logged %q", lines)
				}
				if got := resp.Header.Get("Server"); got != "" {
					t.Errorf("Server: %s", got)
				}
				return
			}
			want := " " + strings.Replace(tc.log, " ", " 127.0.0.1 UA - ", 1) + " "
			if len(lines) != 1 || !strings.Contains(lines[0], want) {
				t.Errorf("log %q, want %q", lines, want)
			}
		})
	}
}

// TestBrokenAnswers: what is cut short begins as usual and ends where it may not; a reset is one on the wire.
func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	csr, key := newCSR(t, "x")
	spki := publicKey(t, key)
	for _, tc := range []struct {
		words string
		want  error
	}{{"truncate", io.ErrUnexpectedEOF}, {"reset", syscall.ECONNRESET}} {
		s, log := scenario(t, tc.words+",times=1")
		w := s.basic(t, scriptAgent)
		resp, body, err := w.try(http.MethodPost, "/certsrv/certfnsh.asp", submission(csr, "CiscoRA"))
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.words, err, tc.want)
		}
		if tc.words == "truncate" && (resp == nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(body, "<HTML>")) {
			t.Errorf("%s: %+v %q", tc.words, resp, body)
		}
		if issued := s.Issued(); len(issued) != 1 {
			t.Errorf("%s: %d issued", tc.words, len(issued))
		}
		if lines := log.lines(); !strings.Contains(lines[0], " 200 0 64 ") {
			t.Errorf("%s: %s", tc.words, lines[0])
		}
		// The next request is treated as usual.
		if v := classify(s.basic(t, scriptAgent).submit(csr, "CiscoRA")); v.Outcome != "issued" {
			t.Errorf("%s: then %+v", tc.words, v)
		}
	}
	s, _ := scenario(t, "other-key")
	w := s.basic(t, scriptAgent)
	if v := classify(w.submit(csr, "CiscoRA")); v.Outcome != "issued" {
		t.Fatalf("other-key: %+v", v)
	}
	leaf := parseLeaf(t, w.get("/certsrv/certnew.cer?ReqID=1"))
	if bytes.Equal(leaf.RawSubjectPublicKeyInfo, spki) || leaf.Subject.CommonName != "x" {
		t.Errorf("other-key: a certificate for the key of the request, or another subject %v", leaf.Subject)
	}
}

// TestConnections: how long connections and their logins last.
func TestConnections(t *testing.T) {
	t.Parallel()
	ra := client3{user: "ra", domain: "LAB", password: testPassword}
	t1 := type1(32, clientFlags)

	s, _ := scenario(t, "reauth")
	w := s.dial(t, textAgent)
	for range 2 { // each request is a login of its own
		if resp := w.login(ra, t1); resp.StatusCode != http.StatusMovedPermanently {
			t.Errorf("reauth: %d", resp.StatusCode)
		}
		if resp, _ := w.do(http.MethodGet, "/certsrv/certrqxt.asp", ""); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("reauth: the connection remembers: %d", resp.StatusCode)
		}
	}

	s, log := scenario(t, "split")
	w = s.dial(t, textAgent)
	if resp := w.login(ra, t1); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("split: %d", resp.StatusCode)
	}
	if lines := log.lines(); !strings.Contains(lines[0], "401 1 2148074254 ") || !strings.Contains(lines[1], "401 1 2148074248 ") {
		t.Errorf("split:\n%s", strings.Join(lines, "\n"))
	}
	if resp, _ := s.basic(t, textAgent).do(http.MethodGet, "/certsrv", ""); resp.StatusCode != http.StatusMovedPermanently {
		t.Errorf("split: Basic needs no connection: %d", resp.StatusCode)
	}

	s, _ = scenario(t, "close")
	w = s.dial(t, textAgent)
	resp := w.login(ra, t1) // the handshake itself goes through
	if resp.StatusCode != http.StatusMovedPermanently || resp.Header.Get("Connection") != "" {
		t.Errorf("close: %d %v", resp.StatusCode, resp.Header)
	}
	if _, _, err := w.try(http.MethodGet, "/certsrv/certrqxt.asp", ""); err == nil {
		t.Error("close: the connection lives on")
	}

	s, _ = scenario(t, "no-keep-alive")
	w = s.dial(t, textAgent)
	answer, _ := w.do(http.MethodGet, "/certsrv", "", authorization(t1))
	if answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("no-keep-alive: %d", answer.StatusCode)
	}
	if _, _, err := w.try(http.MethodGet, "/certsrv", "", authorization(t1)); err == nil {
		t.Error("no-keep-alive: the connection lives on")
	}
	if resp, _ := s.basic(t, textAgent).do(http.MethodGet, "/certsrv", ""); resp.StatusCode != http.StatusMovedPermanently {
		t.Errorf("no-keep-alive: Basic: %d", resp.StatusCode)
	}

	// Endless refusal: the challenge still comes, and after it a no.
	s, log = scenario(t, "401")
	for range 3 {
		if resp := s.dial(t, textAgent).login(ra, t1); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("401: %d", resp.StatusCode)
		}
	}
	if lines := log.lines(); strings.Count(strings.Join(lines, "\n"), "401 1 2148074252 ") != 3 {
		t.Errorf("401:\n%s", strings.Join(lines, "\n"))
	}

	// A login that is slow must not be answered before; one that nobody waits for ends.
	s, _ = scenario(t, "slow-login=1h")
	w = s.dial(t, textAgent)
	t2 := w.challenge(t1)
	done := make(chan error, 1)
	go func() {
		_, _, err := w.try(http.MethodGet, "/certsrv", "", authorization(ra.message(t, t1, t2)))
		done <- err
	}()
	waitFor(t, func() bool { return s.Hits()["/certsrv"] == 2 })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("a login of an hour is answered at once")
	}
}

func TestContentType(t *testing.T) {
	t.Parallel()
	s, _ := scenario(t, "content-type=text/plain; charset=utf-8")
	w := s.basic(t, scriptAgent)
	for target, want := range map[string]string{
		"/certsrv/certnew.cer?ReqID=CACert":  "text/plain; charset=utf-8",
		"/certsrv/certnew.p7b?ReqID=CACert":  "text/plain; charset=utf-8",
		"/certsrv/certcrl.crl?Type=base":     "text/plain; charset=utf-8",
		"/certsrv/certnew.cer?ReqID=unknown": "text/html",
		"/certsrv/certcarc.asp":              "text/html",
	} {
		resp, _ := w.do(http.MethodGet, target, "")
		if got := resp.Header.Get("Content-Type"); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}

// TestAdminScenario changes what the server is like while it runs.
func TestAdminScenario(t *testing.T) {
	t.Parallel()
	s := start(t, config(t, 0))
	h := s.AdminHandler()
	call := func(method, path, body string) (int, string) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(method, path, strings.NewReader(body)))
		return rec.Code, strings.TrimSpace(rec.Body.String())
	}
	if code, text := call("GET", "/behaviour", ""); code != 200 || text != "issue" {
		t.Errorf("at first: %d %q", code, text)
	}
	if code, text := call("PUT", "/behaviour", "slow=1ms,pending,lang=fr,epa=require\n"); code != 204 {
		t.Fatalf("%d %s", code, text)
	}
	if code, text := call("GET", "/behaviour", ""); code != 200 || text != "slow=1ms,pending,epa=require,lang=fr" {
		t.Errorf("%d %q", code, text)
	}
	csr, _ := newCSR(t, "x")
	page := s.basic(t, textAgent).submit(csr, "CiscoRA")
	if v := classify(page); v != (verdict{"pending", "1", ""}) || !strings.Contains(page, "en attente") {
		t.Errorf("%+v\n%s", v, page)
	}
	for _, bad := range []struct{ path, body, want string }{
		{"/behaviour", "epa=maybe", "none of off, accept, require"},
		{"/behaviour", "auth=kerberos", "without a keytab"},
		{"/behaviour/CiscoRA", "503", "concerns the whole server"},
		{"/behaviour", strings.Repeat("x", 5000), "too large"},
	} {
		if code, text := call("PUT", bad.path, bad.body); code != 400 || !strings.Contains(text, bad.want) {
			t.Errorf("%s %.20q: %d %q", bad.path, bad.body, code, text)
		}
	}
	if code, _ := call("PUT", "/behaviour", ""); code != 204 || !s.Scenario().Conditions.IsZero() {
		t.Errorf("back to normal: %d %v", code, s.Scenario())
	}
	if code, text := call("GET", "/words", ""); code != 200 || !strings.Contains(text, `"Name":"epa"`) {
		t.Errorf("words: %d %s", code, text)
	}
}

// TestPendingCookie is a person with a browser: the pending list comes from the browser's cookie, each entry leads to
// Mode=chkpnd, and taking one out leaves the CA's request alone.
func TestPendingCookie(t *testing.T) {
	t.Parallel()
	c := config(t, 0)
	c.Behaviour.Answer = Pending
	s := start(t, c)
	b := s.browser(t, ieAgent)
	b.http.Jar = newJar(t)
	csr, _ := newCSR(t, "person")
	form := url.Values{
		"Mode": {"newreq NN"}, "CertRequest": {"-----BEGIN NEW CERTIFICATE REQUEST-----\r\n" + base64.StdEncoding.EncodeToString(csr) + "\r\n-----END NEW CERTIFICATE REQUEST-----\r\n"},
		"CertAttrib": {"CertificateTemplate:CiscoRA\r\nUserAgent:" + ieAgent + "\r\n"}, "FriendlyType": {"Saved-Request Certificate (11/20/2026, 12:00:00 PM)"},
		"ThumbPrint": {""}, "TargetStoreFlags": {"0"}, "SaveCert": {"yes"},
	}
	for _, id := range []string{"1", "2"} {
		if _, page := b.do(http.MethodPost, "/certsrv/certfnsh.asp", form); classify(string(page)) != (verdict{"pending", id, ""}) {
			t.Fatalf("%s", page)
		}
	}
	listed := func() []string {
		_, page := b.do(http.MethodGet, "/certsrv/certckpn.asp", nil)
		return regexp.MustCompile(`Name=ReqID Value="(\d+)"`).FindAllString(string(page), -1)
	}
	if diff := cmp.Diff([]string{`Name=ReqID Value="1"`, `Name=ReqID Value="2"`}, listed()); diff != "" {
		t.Errorf("pending list (-want +got):\n%s", diff)
	}
	if err := s.Approve(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{"1": "pending", "2": "issued"} {
		_, page := b.do(http.MethodPost, "/certsrv/certfnsh.asp", url.Values{"Mode": {"chkpnd"}, "ReqID": {id}, "TargetStoreFlags": {"0"}, "SaveCert": {"yes"}})
		if got := classify(string(page)).Outcome; got != want {
			t.Errorf("chkpnd %s: %s, want %s", id, got, want)
		}
	}
	b.do(http.MethodGet, "/certsrv/certrmpn.asp?Action=Remove&ReqID=2", nil)
	if diff := cmp.Diff([]string{`Name=ReqID Value="1"`}, listed()); diff != "" {
		t.Errorf("pending list after removal (-want +got):\n%s", diff)
	}
	b.do(http.MethodPost, "/certsrv/certrmpn.asp", url.Values{"Action": {"Remove"}, "ReqID": {"1"}})
	if got := listed(); got != nil {
		t.Errorf("pending list after all were removed: %v", got)
	}
	if got := len(s.Requests()); got != 2 {
		t.Errorf("the CA has %d requests, want 2", got)
	}
	if _, page := s.browser(t, scriptAgent).do(http.MethodGet, "/certsrv/certckpn.asp", nil); !strings.Contains(string(page), "locNoPending") {
		t.Errorf("another browser sees requests:\n%s", page)
	}
	// A cookie is the client's word: nonsense in it is no more than that, and it does not grow for ever.
	r := httptest.NewRequest(http.MethodGet, "/certsrv/certckpn.asp", nil)
	r.Header.Set("Cookie", "Requests=1.x.-2.1."+strings.Repeat("9.", 10)+strings.TrimSuffix(strings.Join(numbered(100, 200), "."), "."))
	if got := remembered(r); len(got) != mostPending || got[0] != 1 || got[1] != 9 {
		t.Errorf("%d remembered: %v", len(got), got)
	}
	if got := strings.Count(remember(r, 4711), "."); got != mostPending-1 || !strings.Contains(remember(r, 4711), ".4711;") {
		t.Errorf("cookie %s", remember(r, 4711))
	}
}

func numbered(from, to int) []string {
	var s []string
	for i := from; i < to; i++ {
		s = append(s, strconv.Itoa(i))
	}
	return s
}
