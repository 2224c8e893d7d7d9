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

// TestConditions sends a request into each condition and looks at answer, log and connection. A word without a row fails.
func TestConditions(t *testing.T) {
	t.Parallel()
	const (
		welcome = "/certsrv"
		list    = "/certsrv/certrqxt.asp"
		post    = "" // a request for a certificate
		basic   = `LAB\ra `
	)
	covered := map[string]bool{}
	for _, tc := range []struct {
		words, target string
		status        int    // 0: no whole answer
		log           string // user and the tail of the line; empty: no line at all
		body          string // part of it
		ends          bool   // the connection, after the answer
		ntlm          bool   // log in so before; with Basic each request does
	}{
		{words: "issue", target: post, status: 200, log: basic + "200 0 0", body: "certnew.cer?ReqID=1&"},
		{words: "issue,standalone", target: post, status: 200, log: basic + "200 0 0", body: "certnew.cer?ReqID=1&"},
		{words: "pending", target: post, status: 200, log: basic + "200 0 0", body: "ID=locInfoReqID"},
		{words: "deny", target: post, status: 200, log: basic + "200 0 0", body: `Denied by LAB\camanager`},
		{words: "deny=0x80094800", target: post, status: 200, log: basic + "200 0 0", body: "0x80094800"},
		{words: "rpc-down", target: post, status: 200, log: basic + "200 0 0", body: "0x800706ba (WIN32: 1722 RPC_S_SERVER_UNAVAILABLE)"},
		{words: "rpc-down", target: "/certsrv/certcarc.asp", status: 200, log: basic + "200 0 0", body: "0x800706ba"},
		{words: "500", target: post, status: 500, log: basic + "500 0 0", body: "500"},
		{words: "500", target: list, status: 200, log: basic + "200 0 0", body: "lbCertTemplate"},
		{words: "hang", target: post, log: basic + "200 0 64"},
		{words: "drop", target: post, log: basic + "200 0 64", ends: true},
		{words: "truncate", target: post, log: basic + "200 0 64", ends: true},
		{words: "reset", target: post, log: basic + "200 0 64", ends: true},
		{words: "other-key", target: post, status: 200, log: basic + "200 0 0", body: "certnew.cer?ReqID=1&"},
		{words: "slow=1ms", target: post, status: 200, log: basic + "200 0 0", body: "certnew.cer?ReqID=1&"},
		{words: "pending,approve=1h", target: post, status: 200, log: basic + "200 0 0", body: "ID=locInfoReqID"},
		{words: "pending,times=1", target: post, status: 200, log: basic + "200 0 0", body: "ID=locInfoReqID"},
		{words: "auth=basic", target: welcome, ntlm: true, status: 401, log: "- 401 2 5", body: "invalid credentials"},
		{words: "auth=ntlm", target: list, ntlm: true, status: 200, log: basic + "200 0 0", body: "lbCertTemplate"},
		{words: "auth=ntlm", target: list, status: 401, log: "- 401 2 5", body: "invalid credentials"},
		{words: "epa=off", target: welcome, ntlm: true, status: 301, log: basic + "301 0 0", body: "Object Moved"},
		{words: "epa=require", target: welcome, ntlm: true, status: 401, log: "- 401 1 2148074310", body: "invalid credentials"},
		{words: "reauth", target: list, ntlm: true, status: 401, log: "- 401 2 5", body: "invalid credentials"},
		{words: "reauth", target: list, status: 200, log: basic + "200 0 0", body: "lbCertTemplate"},
		{words: "split", target: welcome, ntlm: true, status: 401, log: "- 401 1 2148074248", body: "invalid credentials"},
		{words: "close", target: list, status: 200, log: basic + "200 0 0", body: "lbCertTemplate", ends: true},
		{words: "close,401", target: welcome, status: 401, log: basic + "401 1 1326", body: "invalid credentials"},
		{words: "no-keep-alive", target: list, status: 200, log: basic + "200 0 0", body: "lbCertTemplate", ends: true},
		{words: "content-type=text/plain", target: "/certsrv/certnew.cer?ReqID=CACert", status: 200, log: basic + "200 0 0", body: "-----BEGIN"},
		{words: "slow-pages=1ms", target: list, status: 200, log: basic + "200 0 0", body: "lbCertTemplate"},
		{words: "401", target: welcome, status: 401, log: basic + "401 1 1326", body: "invalid credentials"},
		{words: "401.3", target: list, status: 401, log: basic + "401 3 5", body: "401.3"},
		{words: "403.4", target: welcome, status: 403, log: "- 403 4 5", body: "403.4"},
		{words: "403.7", target: welcome, status: 403, log: "- 403 7 5", body: "403.7"},
		{words: "503", target: welcome, status: 503, body: "Service Unavailable"},
		{words: "sign-in", target: list, status: 200, body: "Sign in"},
		{words: "redirect=/pki/certsrv", target: welcome, status: 302, log: basic + "302 0 0", body: `HREF="/pki/certsrv"`},
		{words: "redirect=https://pki.example/", target: "/certsrv/certfnsh.asp", status: 302, log: basic + "302 0 0", body: "https://pki.example/"},
		{words: "login=500", target: welcome, status: 500, log: basic + "500 0 0", body: "500"},
		{words: "login=500", target: "/certsrv/", status: 200, log: basic + "200 0 0", body: "locPageTitle"},
		{words: "login=drop", target: welcome, log: basic + "301 0 64", ends: true},
		{words: "certrqxt=500", target: "/certsrv/CertRqXt.asp", status: 500, log: basic + "500 0 0", body: "500"},
		{words: "certrqxt=truncate", target: list, log: basic + "200 0 64", ends: true},
		{words: "certcarc=404", target: "/certsrv/certcarc.asp", status: 404, log: basic + "404 0 2", body: "404"},
		{words: "certcarc=404", target: list, status: 200, log: basic + "200 0 0", body: "lbCertTemplate"},
		{words: "certnew=403", target: "/certsrv/certnew.p7b?ReqID=CACert", status: 403, log: basic + "403 0 5", body: "403"},
		{words: "certnew=reset", target: "/certsrv/certnew.cer?ReqID=CACert", log: basic + "200 0 64", ends: true},
		{words: "certcrl=503", target: "/certsrv/certcrl.crl?Type=base", status: 503, log: basic + "503 0 0", body: "503"},
		{words: "slow-login=1ms", target: welcome, status: 301, log: basic + "301 0 0", body: "Object Moved"},
		{words: "standalone", target: list, status: 200, log: basic + "200 0 0", body: "CertRequest"},
		{words: "lang=fr", target: "/certsrv/certckpn.asp", status: 200, log: basic + "200 0 0", body: "en attente"},
		{words: "lang=fr", target: "/certsrv/certnew.cer?ReqID=9", status: 200, log: basic + "200 0 0", body: "Disposition :"},
	} {
		sc, err := ParseScenario(tc.words)
		if err != nil {
			t.Fatal(err)
		}
		for typed := range strings.SplitSeq(sc.String(), ",") {
			name, _, _ := strings.Cut(typed, "=")
			covered[name] = true
		}
		t.Run(tc.words+" "+tc.target, func(t *testing.T) {
			t.Parallel()
			s, log := scenario(t, tc.words)
			w := s.basic(t, "UA")
			var (
				resp *answer
				body string
			)
			if tc.ntlm {
				w.user = ""
				resp, body = w.ntlm()
			}
			csr, _ := newCSR(t, "x")
			ask := func() {
				switch {
				case tc.target == post:
					resp, body, err = w.try(http.MethodPost, "/certsrv/certfnsh.asp", submission(csr, "CiscoRA"))
				case !tc.ntlm || tc.target != welcome:
					resp, body, err = w.try(http.MethodGet, tc.target, "")
				}
			}
			if tc.words == "hang" {
				done := make(chan struct{})
				go func() { defer close(done); ask() }()
				waitFor(t, func() bool { return len(s.Hits()) == 1 })
				_ = w.conn.Close()
				<-done
			} else {
				ask()
			}
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
			if tc.log == "" {
				if lines := log.lines(); len(lines) != 0 {
					t.Errorf("IIS logged %q", lines)
				}
				if got := resp.Header.Get("Server"); got != "" {
					t.Errorf("Server: %s", got)
				}
				return
			}
			if tc.words == "hang" {
				waitFor(t, func() bool { return len(log.lines()) > 0 })
			}
			lines := log.lines()
			want := " " + strings.Replace(tc.log, " ", " 127.0.0.1 UA - ", 1) + " "
			if !strings.Contains(lines[len(lines)-1], want) || !tc.ntlm && len(lines) != 1 {
				t.Errorf("log %q, want %q", lines, want)
			}
			if tc.words == "hang" {
				return
			}
			if _, _, err := w.try(http.MethodGet, "/certsrv/certckpn.asp", ""); (err != nil) != tc.ends {
				t.Errorf("another request on the connection: %v", err)
			}
		})
	}
	for _, w := range Words() {
		if !covered[w.Name] {
			t.Errorf("the word %s has no row", w.Name)
		}
	}
}

// ntlm logs the test user in, without channel binding, as far as the server lets it, and returns the last answer.
func (w *wire) ntlm() (*answer, string) {
	w.t.Helper()
	t1 := type1(40, clientFlags)
	resp, body := w.do(http.MethodGet, "/certsrv", "", authorization(t1))
	t2 := decodeToken(resp)
	if ntlmType(t2) != 2 {
		return resp, body
	}
	return w.do(http.MethodGet, "/certsrv", "", authorization(client3{user: "ra", domain: "LAB", password: testPassword}.message(w.t, t1, t2)))
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
