package certsrvtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseBehaviour(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Behaviour{
		"":                               {},
		"issue":                          {Answer: Issue},
		"slow=2s,pending":                {Answer: Pending, Delay: 2 * time.Second},
		" deny=0x80094800 , lang=fr":     {Answer: Deny, HResult: 0x80094800, Lang: French},
		"deny":                           {Answer: Deny},
		"pending,approve=1m,times=3":     {Answer: Pending, ApproveAfter: time.Minute, Times: 3},
		"rpc-down":                       {Answer: RPCDown},
		"500":                            {Answer: ASPError},
		"hang":                           {Answer: Hang},
		"drop,times=1":                   {Answer: Drop, Times: 1},
		"times=2,lang=en,slow=1ms,issue": {Answer: Issue, Times: 2, Lang: English, Delay: time.Millisecond},
	} {
		got, err := ParseBehaviour(in)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", in, got, err, want)
		}
		if back, err := ParseBehaviour(got.String()); err != nil || (back != got && !got.IsZero()) {
			t.Errorf("%q: %q does not come back: %+v, %v", in, got.String(), back, err)
		}
	}
	for _, in := range []string{"nonsense", "pending,deny", "deny=0", "deny=7", "deny=0x123456789", "slow=x", "slow=-1s", "lang=de", "times=0", "times=-1", "hang=1", ",", "issue,"} {
		if b, err := ParseBehaviour(in); err == nil {
			t.Errorf("%q is accepted: %+v", in, b)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"no CA":             func(c *Config) { c.CA = nil },
		"no certificate":    func(c *Config) { c.CA = &honestCA{} },
		"template twice":    func(c *Config) { c.Templates[1].Name = "ciscora" },
		"template name":     func(c *Config) { c.Templates[0].Name = "a;b" },
		"display name":      func(c *Config) { c.Templates[0].DisplayName = "<b>" },
		"OID":               func(c *Config) { c.Templates[0].OID = "x" },
		"language":          func(c *Config) { c.Lang = "de" },
		"behaviour":         func(c *Config) { c.Behaviour.Delay = -1 },
		"template's":        func(c *Config) { c.Templates[0].Behaviour.Answer = 99 },
		"no such directory": func(c *Config) { c.StateDir = filepath.Join("testdata", "absent") },
	} {
		c := config(t, 0)
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestBehaviours goes through what a server can do to a client.
func TestBehaviours(t *testing.T) {
	t.Parallel()
	csr, _ := newCSR(t, "x")
	for _, tc := range []struct {
		behaviour string
		want      verdict
		status    int // 0: the connection breaks
		stored    int
		log       string
	}{
		{"issue", verdict{"issued", "1", ""}, 200, 1, "200 0 0"},
		{"slow=1ms", verdict{"issued", "1", ""}, 200, 1, "200 0 0"},
		{"pending", verdict{"pending", "1", ""}, 200, 1, "200 0 0"},
		{"pending,lang=fr", verdict{"pending", "1", ""}, 200, 1, "200 0 0"},
		{"deny", verdict{"denied", "1", ""}, 200, 1, "200 0 0"},
		{"deny=0x8009480F", verdict{"denied", "1", ""}, 200, 1, "200 0 0"},
		{"deny=0x80094800", verdict{"denied", "1", "0x80094800"}, 200, 1, "200 0 0"},
		{"rpc-down", verdict{"error", "", "0x800706ba"}, 200, 0, "200 0 0"},
		{"500", verdict{}, 500, 0, "500 0 0"},
		{"drop", verdict{}, 0, 1, "200 0 64"},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			t.Parallel()
			b, err := ParseBehaviour(tc.behaviour)
			if err != nil {
				t.Fatal(err)
			}
			var log lockedBuffer
			c := config(t, 0)
			c.IISLog = &log
			c.Templates[0].Behaviour = b
			s := start(t, c)
			w := s.basic(t, scriptAgent)
			resp, page, err := w.try(http.MethodPost, "/certsrv/certfnsh.asp", submission(csr, "CiscoRA"))
			switch {
			case tc.status == 0:
				if err == nil {
					t.Errorf("answered: %s", page)
				}
			case err != nil:
				t.Fatal(err)
			case resp.StatusCode != tc.status:
				t.Errorf("status %d, want %d", resp.StatusCode, tc.status)
			case tc.status == 200 && classify(page) != tc.want:
				t.Errorf("%+v, want %+v\n%s", classify(page), tc.want, page)
			}
			if lines := log.lines(); len(lines) != 1 || !strings.HasSuffix(lines[0], " "+tc.log+" 0") {
				t.Errorf("log %q, want %s", lines, tc.log)
			}
			if got := len(s.Requests()); got != tc.stored {
				t.Errorf("%d requests, want %d", got, tc.stored)
			}
			if tc.behaviour == "pending,lang=fr" && !strings.Contains(page, "identificateur de votre requête est 1.") {
				t.Error(page)
			}
			if tc.behaviour == "drop" {
				// The lost certificate is there under the next id.
				if page := s.basic(t, scriptAgent).get("/certsrv/certnew.cer?ReqID=1&Enc=b64"); !strings.HasPrefix(page, "-----BEGIN") {
					t.Error(page)
				}
			}
			if tc.behaviour == "deny=0x8009480F" {
				status := classify(w.get("/certsrv/certnew.cer?ReqID=1&Enc=b64"))
				if want := (verdict{"denied", "", "0x8009480f"}); status != want {
					t.Errorf("%+v, want %+v", status, want)
				}
			}
		})
	}
}

func TestHang(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	c := config(t, 0)
	c.IISLog = &log
	c.Behaviour = Behaviour{Answer: Hang, Times: 1}
	s := start(t, c)
	csr, _ := newCSR(t, "x")
	w := s.basic(t, textAgent)
	failed := make(chan error, 1)
	go func() {
		_, _, err := w.try(http.MethodPost, "/certsrv/certfnsh.asp", submission(csr, "CiscoRA"))
		failed <- err
	}()
	other := s.basic(t, textAgent)
	waitFor(t, func() bool { return s.Hits()["/certsrv/certfnsh.asp"] == 1 })
	if page := other.submit(csr, "CiscoRA"); classify(page).Outcome != "issued" {
		t.Errorf("the second request is held up too:\n%s", page)
	}
	_ = w.conn.Close()
	if err := <-failed; err == nil {
		t.Error("the hanging request is answered")
	}
	waitFor(t, func() bool {
		return strings.Contains(log.String(), "POST /certsrv/certfnsh.asp") && strings.Contains(log.String(), "200 0 64 0")
	})

	// A server that is closed lets go of what hangs; start checks that Serve returns.
	if err := s.SetBehaviour("", Behaviour{Answer: Hang}); err != nil {
		t.Fatal(err)
	}
	w = s.basic(t, textAgent)
	go func() {
		_, _, err := w.try(http.MethodPost, "/certsrv/certfnsh.asp", submission(csr, "CiscoRA"))
		failed <- err
	}()
	waitFor(t, func() bool { return s.Hits()["/certsrv/certfnsh.asp"] == 3 })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; err == nil {
		t.Error("the hanging request is answered")
	}
}

// waitFor polls a condition that another goroutine makes true.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for range 30_000 {
		if ok() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("condition not met within 30 s")
}

func TestSetBehaviour(t *testing.T) {
	t.Parallel()
	c := config(t, 0)
	c.Behaviour = Behaviour{Answer: RPCDown, Times: 2}
	s := start(t, c)
	w := s.basic(t, textAgent)
	csr, _ := newCSR(t, "x")
	outcome := func() string { return classify(w.submit(csr, "ciscora")).Outcome }
	if got := classify(w.get("/certsrv/certnew.p7b?ReqID=CACert&Renewal=0&Enc=bin")).HResult; got != "0x800706ba" {
		t.Errorf("certnew.p7b while the CA is down: %s", got)
	}
	if got := classify(w.get("/certsrv/certcarc.asp")).HResult; got != "0x800706ba" {
		t.Errorf("certcarc.asp while the CA is down: %s", got)
	}
	if got := []string{outcome(), outcome(), outcome()}; !cmp.Equal(got, []string{"error", "error", "issued"}) {
		t.Errorf("two failures, then success: %v", got)
	}
	if page := w.get("/certsrv/certcarc.asp"); !strings.Contains(page, "nRenewals=0;") {
		t.Errorf("the CA is not back:\n%s", page)
	}
	for _, tc := range []struct {
		template, behaviour, want string
	}{
		{"CISCORA", "pending", "pending"}, {"", "deny", "pending"}, {"CiscoRA", "", "denied"}, {"", "", "issued"},
	} {
		b, err := ParseBehaviour(tc.behaviour)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetBehaviour(tc.template, b); err != nil {
			t.Fatal(err)
		}
		if got := outcome(); got != tc.want {
			t.Errorf("after %q for %q: %s, want %s", tc.behaviour, tc.template, got, tc.want)
		}
	}
	if err := s.SetBehaviour("Nothing", Behaviour{}); err == nil {
		t.Error("behaviour of an unknown template is accepted")
	}
	if err := s.SetBehaviour("", Behaviour{Answer: -1}); err == nil {
		t.Error("unknown answer is accepted")
	}
}

func TestApproveAfter(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := clock
	c := config(t, 0)
	c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	c.Behaviour = Behaviour{Answer: Pending, ApproveAfter: time.Minute}
	w := start(t, c).basic(t, scriptAgent)
	csr, _ := newCSR(t, "x")
	w.submit(csr, "CiscoRA")
	if got := classify(w.get("/certsrv/certnew.cer?ReqID=1")).Outcome; got != "pending" {
		t.Error(got)
	}
	mu.Lock()
	now = now.Add(time.Minute)
	mu.Unlock()
	if got := w.get("/certsrv/certnew.cer?ReqID=1"); !strings.HasPrefix(got, "-----BEGIN") {
		t.Error(got)
	}
}

func TestForeignRequests(t *testing.T) {
	t.Parallel()
	s := start(t, config(t, 0))
	csr, _ := newCSR(t, "x")
	s.basic(t, scriptAgent).submit(csr, "CiscoRA")
	w := s.basic(t, scriptAgent)
	w.user, w.pass = `lab\SECOND`, "o"
	for _, page := range []string{"certnew.cer", "certnew.p7b"} {
		if got := classify(w.get("/certsrv/" + page + "?ReqID=1&Enc=b64")); got != (verdict{"denied", "", "0x80070005"}) {
			t.Errorf("%s: %+v", page, got)
		}
	}
	_, page := w.do(http.MethodPost, "/certsrv/certfnsh.asp", "Mode=chkpnd&ReqID=1")
	if got := classify(page); got != (verdict{"denied", "", "0x80070005"}) {
		t.Errorf("chkpnd: %+v", got)
	}
}

func TestStandalone(t *testing.T) {
	t.Parallel()
	c := config(t, 0)
	c.Standalone, c.Templates = true, nil
	s := start(t, c)
	w := s.basic(t, scriptAgent)
	csr, _ := newCSR(t, "x")
	if got := classify(w.submit(csr, "Whatever")); got != (verdict{"pending", "1", ""}) {
		t.Errorf("%+v", got)
	}
	if err := s.SetBehaviour("", Behaviour{Answer: Issue}); err != nil {
		t.Fatal(err)
	}
	if got := classify(w.submit(csr, "")); got.Outcome != "issued" {
		t.Errorf("%+v", got)
	}
}

// TestParallel enrols from eight connections at once, each with its own NTLM login.
func TestParallel(t *testing.T) {
	t.Parallel()
	s := start(t, config(t, 0))
	csr, _ := newCSR(t, "x")
	t1 := type1(32, clientFlags)
	var wires [8]*wire
	for i := range wires {
		wires[i] = s.dial(t, scriptAgent)
	}
	var group sync.WaitGroup
	for _, w := range wires {
		group.Go(func() {
			resp, _, err := w.try(http.MethodGet, "/certsrv", "", authorization(t1))
			if err != nil {
				t.Error(err)
				return
			}
			t2 := decodeToken(resp)
			if _, _, err = w.try(http.MethodGet, "/certsrv", "", authorization(client3{user: "ra", domain: "LAB", password: testPassword}.message(t, t1, t2))); err != nil {
				t.Error(err)
				return
			}
			for range 5 {
				_, page, err := w.try(http.MethodPost, "/certsrv/certfnsh.asp", submission(csr, "CiscoRA"))
				if err != nil || classify(page).Outcome != "issued" {
					t.Errorf("%v\n%s", err, page)
					return
				}
				_, body, err := w.try(http.MethodGet, "/certsrv/certnew.cer?Enc=b64&ReqID="+classify(page).ID, "")
				if err != nil || !strings.HasPrefix(body, "-----BEGIN") {
					t.Errorf("%v\n%s", err, body)
				}
			}
		})
	}
	group.Wait()
	issued := s.Issued()
	serials := map[string]bool{}
	for i, r := range issued {
		serials[r.Serial] = true
		if r.ID != i+1 || r.Requester != testUser {
			t.Errorf("record %d: %+v", i, r)
		}
	}
	if len(issued) != 40 || len(serials) != 40 {
		t.Errorf("%d issued, %d serials; want 40", len(issued), len(serials))
	}
	if got := s.Hits(); got["/certsrv/certfnsh.asp"] != 40 || got["/certsrv/certnew.cer"] != 40 || got["/certsrv"] != 16 {
		t.Errorf("hits %v", got)
	}
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	c := config(t, 0)
	c.Behaviour.Answer = Pending
	s := start(t, c)
	csr, _ := newCSR(t, "x")
	w := s.basic(t, scriptAgent)
	w.submit(csr, "CiscoRA")
	w.submit(csr, "CiscoRA")
	h := s.AdminHandler()
	for _, tc := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/requests/1/approve", "", 204},
		{"POST", "/requests/1/approve", "", 409},
		{"POST", "/requests/2/deny", "", 204},
		{"POST", "/requests/2/approve", "", 409},
		{"POST", "/requests/3/deny", "", 404},
		{"POST", "/requests/x/deny", "", 404},
		{"GET", "/requests/1/approve", "", 405},
		{"GET", "/requests/1", "", 200},
		{"GET", "/requests/9", "", 404},
		{"PUT", "/behaviour", "deny", 204},
		{"PUT", "/behaviour/CiscoRA", "issue\n", 204},
		{"PUT", "/behaviour/Nothing", "issue", 400},
		{"PUT", "/behaviour", "huh", 400},
	} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(tc.method, tc.path, strings.NewReader(tc.body)))
		if rec.Code != tc.status {
			t.Errorf("%s %s: %d, want %d (%s)", tc.method, tc.path, rec.Code, tc.status, rec.Body)
		}
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", "/requests", nil))
	var list struct {
		Items []Record
		Total int
	}
	if err := json.NewDecoder(rec.Body).Decode(&list); err != nil || list.Total != 2 || list.Items[0].Disposition != DispositionIssued || list.Items[1].HResult != eAdminDenied {
		t.Errorf("%+v, %v", list, err)
	}
	// The web side knows nothing of it.
	if resp, _ := w.do(http.MethodGet, "/requests", ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("/requests beside /certsrv: %d", resp.StatusCode)
	}
	if classify(w.submit(csr, "CiscoRA")).Outcome != "issued" || classify(w.submit(csr, "WebServer")).Outcome != "denied" {
		t.Error("behaviour set by the admin endpoint does not count")
	}
}

// TestNoSecrets looks for passwords in everything that is printed or logged.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := config(t, 0)
	c.Log = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var iis lockedBuffer
	c.IISLog = &iis
	s := start(t, c)
	w := s.basic(t, textAgent)
	w.get("/certsrv/")
	w.pass = "guess"
	w.do(http.MethodGet, "/certsrv/", "")
	c.Log.Info("users", slog.Any("users", c.Users), slog.Any("user", c.Users[0]))
	fmt.Fprintf(&out, "%v %+v %#v %s", c.Users, c.Users, c.Users, c.Users[0])
	for _, secret := range []string{testPassword, "guess"} {
		if strings.Contains(out.String(), secret) || strings.Contains(iis.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}
