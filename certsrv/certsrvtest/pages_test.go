package certsrvtest

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	textAgent   = "CiscoRA 1.0"
	scriptAgent = "Mozilla/5.0"
	ieAgent     = "Mozilla/5.0 (Windows NT 10.0; Trident/7.0; rv:11.0) like Gecko"
)

// verdict is what a client that goes by identifiers makes of a page, whatever its language.
type verdict struct {
	Outcome, ID, HResult string
}

var (
	reIssued      = regexp.MustCompile(`certnew\.cer\?ReqID=(\d+)&`)
	rePending     = regexp.MustCompile(`(?s)ID=locInfoReqID>[^\d<]*(\d+)`)
	reAnyID       = regexp.MustCompile(`(?s)ID=locDenied>.*?(\d+)`)
	reDisposition = regexp.MustCompile(`(?i)(\d+)\s*<LocID ID=locDispSpacer`)
	reHResult     = regexp.MustCompile(`0x[89aA][0-9a-fA-F]{7}`)
)

func classify(page string) verdict {
	v := verdict{Outcome: "error"}
	if codes := reHResult.FindAllString(page, -1); len(codes) > 0 {
		v.HResult = codes[len(codes)-1]
	}
	if m := reIssued.FindStringSubmatch(page); m != nil {
		return verdict{Outcome: "issued", ID: m[1]}
	}
	if m := rePending.FindStringSubmatch(page); m != nil {
		v.Outcome, v.ID = "pending", m[1]
		return v
	}
	if m := reAnyID.FindStringSubmatch(page); m != nil {
		v.Outcome, v.ID = "denied", m[1]
		return v
	}
	if m := reDisposition.FindStringSubmatch(page); m != nil {
		switch m[1] {
		case "2":
			v.Outcome = "denied"
		case "5":
			v.Outcome = "pending"
		}
	}
	return v
}

// TestFixturePages brings the server into each situation of the fixtures and compares verdict, identifiers and layout.
func TestFixturePages(t *testing.T) {
	t.Parallel()
	for _, row := range rows(t, "..", "..", "testdata", "expected.tsv") {
		file, want := row[0], verdict{Outcome: row[2], ID: row[3], HResult: row[4]}
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			fixture := string(readFile(t, "..", "..", "testdata", file))
			if diff := cmp.Diff(want, classify(fixture)); diff != "" {
				t.Fatalf("this test misreads the fixture (-want +got):\n%s", diff)
			}
			page := situation(t, file, want)
			if diff := cmp.Diff(want, classify(page)); diff != "" {
				t.Errorf("verdict (-want +got):\n%s\n%s", diff, page)
			}
			ids := identifiers(page)
			for _, id := range identifiers(fixture) {
				if !slices.Contains(ids, id) {
					t.Errorf("identifier %s is missing\n%s", id, page)
				}
			}
			checkLayout(t, fixture, page)
		})
	}
}

// situation returns the server's page for the situation that a fixture is named after.
func situation(t *testing.T, file string, want verdict) string {
	t.Helper()
	lang, name, _ := strings.Cut(strings.TrimSuffix(file, ".html"), "-")
	c := config(t, 3)
	c.Lang = Lang(lang)
	if id, err := strconv.Atoi(want.ID); err == nil {
		c.FirstRequestID = id
	}
	agent, template := textAgent, "CiscoRA"
	fetch := false
	switch name {
	case "issued-script":
		agent = scriptAgent
	case "issued-text":
	case "pending", "cer-pending":
		c.Behaviour.Answer = Pending
	case "denied-template-unsupported":
		template = "CiscoRA1"
	case "denied-template-permission", "cer-denied-permission":
		c.Templates[0].Enrollers = []string{"second"}
	case "error-ca-down":
		c.Behaviour.Answer = RPCDown
	case "cer-denied-admin":
		c.Behaviour.Answer = Deny
	case "cer-unknown-id":
	default:
		t.Fatalf("unknown situation %s", name)
	}
	fetch = strings.HasPrefix(name, "cer-")
	w := start(t, c).basic(t, agent)
	if name == "cer-unknown-id" {
		return w.get("/certsrv/certnew.cer?ReqID=-1&Enc=b64")
	}
	csr, _ := newCSR(t, "SEP001122334455")
	page := w.submit(csr, template)
	if fetch {
		page = w.get("/certsrv/certnew.cer?ReqID=1&Enc=b64")
	}
	return page
}

func identifiers(page string) []string {
	return regexp.MustCompile(`ID=\w+`).FindAllString(page, -1)
}

// checkLayout compares what public clients cut by: CRLF everywhere, the rows of the status page between two tabs and CRLF
// with the numbers the fixture has, links and titles.
func checkLayout(t *testing.T, fixture, page string) {
	t.Helper()
	if strings.Contains(strings.ReplaceAll(page, "\r\n", ""), "\n") {
		t.Error("a line ends with a bare LF")
	}
	row := regexp.MustCompile(`<DT ID=(\w+)><B>[^\t]+</DD>|<DT ID=(\w+)><B>([^\t<]+)</B></DT><DD>\r\n\t\t([^\r\n\t]*)\r\n\t</DD>`)
	rowsOf := func(s string) map[string][]string {
		m := map[string][]string{}
		for _, f := range row.FindAllStringSubmatch(s, -1) {
			m[f[2]] = []string{f[3], regexp.MustCompile(`0x.*|^\d+ <.*`).FindString(f[4])}
		}
		return m
	}
	ours := rowsOf(page)
	for id, want := range rowsOf(fixture) {
		if diff := cmp.Diff(want, ours[id]); diff != "" {
			t.Errorf("row %s (-fixture +ours):\n%s", id, diff)
		}
	}
	for _, re := range []string{`<P ID=locPageTitle> <B> `, `<LocID ID=locMSCertSrv>&nbsp;--&nbsp; [^<]+ &nbsp;</LocID>`, `location="[^"]+"`, `Href="[^"]+"`} {
		want := regexp.MustCompile(re).FindAllString(fixture, -1)
		if got := regexp.MustCompile(re).FindAllString(page, -1); !cmp.Equal(want, got) {
			t.Errorf("%s: %q, fixture %q", re, got, want)
		}
	}
}

func TestTemplateList(t *testing.T) {
	t.Parallel()
	option := regexp.MustCompile(`<Option Value="([^"]+)">([^\r]+)\r\n`)
	parse := func(page string) (names [][2]string) {
		_, page, _ = strings.Cut(page, "<Select Name=lbCertTemplate ID=lbCertTemplateID>")
		for _, m := range option.FindAllStringSubmatch(page, -1) {
			fields := strings.Split(m[1], ";")
			if len(fields) != 14 {
				t.Errorf("%d fields in %q", len(fields), m[1])
			}
			names = append(names, [2]string{fields[1], m[2]})
		}
		return names
	}
	for _, lang := range []Lang{English, French} {
		c := config(t, 0)
		c.Lang = lang
		c.Templates = append(c.Templates, Template{Name: "NotForUs", Enrollers: []string{`lab\SECOND`}})
		w := start(t, c).basic(t, textAgent)
		want := parse(string(readFile(t, "..", "..", "testdata", string(lang)+"-certrqxt.html")))
		if diff := cmp.Diff(want, parse(w.get("/certsrv/CertRqXt.asp"))); diff != "" {
			t.Errorf("%s (-fixture +ours):\n%s", lang, diff)
		}
		w.user, w.pass = `LAB\second`, "o"
		if got := parse(w.get("/certsrv/certrqxt.asp")); len(got) != 4 || got[3][0] != "NotForUs" {
			t.Errorf("templates of the other account: %v", got)
		}
	}
	c := config(t, 0)
	c.Standalone = true
	if page := start(t, c).basic(t, textAgent).get("/certsrv/certrqxt.asp"); strings.Contains(page, "<Select") {
		t.Error("a standalone CA lists templates")
	}
}

func TestRenewals(t *testing.T) {
	t.Parallel()
	re := regexp.MustCompile(`var nRenewals=(\d+);`)
	for k := range 4 {
		w := start(t, config(t, k)).basic(t, textAgent)
		if got := re.FindStringSubmatch(w.get("/certsrv/certcarc.asp")); got == nil || got[1] != strconv.Itoa(k) {
			t.Errorf("nRenewals %v, want %d", got, k)
		}
	}
	fixture := string(readFile(t, "..", "..", "testdata", "en-certcarc.html"))
	page := start(t, config(t, 3)).basic(t, textAgent).get("/certsrv/certcarc.asp")
	options := regexp.MustCompile(`<Option Value="\d"( Selected)?>\d`)
	if diff := cmp.Diff(options.FindAllString(fixture, -1), options.FindAllString(page, -1)); diff != "" {
		t.Errorf("-fixture +ours:\n%s", diff)
	}
}

// TestLayouts checks the three layouts and the wrong media type that unknown agents get.
func TestLayouts(t *testing.T) {
	t.Parallel()
	s := start(t, config(t, 0))
	for i, tc := range []struct {
		agent, want, not, media string
	}{
		{textAgent, `<A Href="certnew.cer?ReqID=%d&amp;Enc=bin">`, "<Script", "application/octet-stream"},
		{"Go-http-client/1.1", `<A Href="certnew.p7b?ReqID=%d&amp;Enc=b64">`, "<Script", "application/octet-stream"},
		{scriptAgent, `location="certnew.cer?ReqID=%d&"+getEncoding();`, "VBScript", "application/pkix-cert"},
		{"Opera/9.8", `location="certnew.p7b?ReqID=%d&"+getEncoding();`, "VBScript", "application/pkix-cert"},
		{ieAgent, `<Script Language="VBScript">`, "&amp;Enc", "application/pkix-cert"},
	} {
		w := s.basic(t, tc.agent)
		csr, _ := newCSR(t, "x")
		page := w.submit(csr, "CiscoRA")
		want := tc.want
		if strings.Contains(want, "%d") {
			want = fmt.Sprintf(want, i+1)
		}
		if !strings.Contains(page, want) || strings.Contains(page, tc.not) {
			t.Errorf("%s: want %q and no %q in\n%s", tc.agent, want, tc.not, page)
		}
		resp, _ := w.do(http.MethodGet, fmt.Sprintf("/certsrv/certnew.cer?ReqID=%d&Enc=b64", i+1), "")
		if got := resp.Header.Get("Content-Type"); got != tc.media {
			t.Errorf("%s: media type %q, want %q", tc.agent, got, tc.media)
		}
	}
}

func TestHeadersAndStatus(t *testing.T) {
	t.Parallel()
	s := start(t, config(t, 0))
	w := s.basic(t, textAgent)

	resp, body := w.do(http.MethodGet, "/CertSrv", "")
	if want := string(readFile(t, "..", "..", "testdata", "iis-301-163.html")); body != want || len(body) != 163 || resp.StatusCode != http.StatusMovedPermanently {
		t.Errorf("redirect: %d %q, want %q", resp.StatusCode, body, want)
	}
	if got := resp.Header.Get("Location"); got != "https://lab-dc-iis.michamen.com/certsrv/" {
		t.Errorf("Location %q", got)
	}
	if resp.Header.Get("Set-Cookie") != "" {
		t.Error("the redirect sets a cookie")
	}
	for _, tc := range []struct {
		target string
		status int
	}{
		{"/certsrv/", 200},
		{"/CERTSRV/DEFAULT.ASP", 200},
		{"/certsrv/certrqus.asp", 200},
		{"/certsrv/certrqad.asp", 200},
		{"/certsrv/certrqma.asp", 200},
		{"/certsrv/certckpn.asp", 200},
		{"/certsrv/certrmpn.asp?Action=x&ReqID=1", 200},
		{"/certsrv/certifnsh.asp", 404},
		{"/certsrv/certcrl.crl?Type=base&Renewal=0&Enc=bin", 404},
		{"/certsrv/mscep/", 404},
		{"/", 404},
	} {
		resp, body := w.do(http.MethodGet, tc.target, "")
		if resp.StatusCode != tc.status || body == "" {
			t.Errorf("%s: %d, want %d", tc.target, resp.StatusCode, tc.status)
		}
		if resp.Header.Get("Server") != "Microsoft-IIS/10.0" || resp.Header.Get("X-Powered-By") != "ASP.NET" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: headers %v", tc.target, resp.Header)
		}
		if tc.status == 200 && (resp.Header.Get("Cache-Control") != "private" || !regexp.MustCompile(`^ASPSESSIONID[A-Z]{8}=[A-Z]{24}; secure; path=/$`).MatchString(resp.Header.Get("Set-Cookie"))) {
			t.Errorf("%s: headers %v", tc.target, resp.Header)
		}
	}
	resp, _ = w.do(http.MethodGet, "/certsrv/", "", "Cookie: ASPSESSIONIDABCDEFGH=X")
	if resp.Header.Get("Set-Cookie") != "" {
		t.Error("a client with a session gets another")
	}

	anonymous := s.dial(t, textAgent)
	resp, body = anonymous.do(http.MethodGet, "/certsrv", "")
	if want := string(readFile(t, "..", "..", "testdata", "iis-401.html")); body != want || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("anonymous: %d %q, want %q", resp.StatusCode, body, want)
	}
	if diff := cmp.Diff([]string{"NTLM", `Basic realm="lab-dc-iis.michamen.com"`}, resp.Header.Values("WWW-Authenticate")); diff != "" {
		t.Error(diff)
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	s := start(t, config(t, 0))
	w := s.basic(t, textAgent)
	csr, _ := newCSR(t, "forms")
	good := submission(csr, "CiscoRA")
	b64 := regexp.MustCompile(`CertRequest=([^&]+)`).FindStringSubmatch(good)[1]
	for _, tc := range []struct {
		name, body, outcome, code string
	}{
		{"as browsers send it", good, "issued", ""},
		{"names in lower case", strings.NewReplacer("CertRequest", "certrequest", "CertAttrib", "certattrib", "Mode", "mode").Replace(good), "issued", ""},
		{"browser flavour of newreq", strings.Replace(good, "Mode=newreq", "Mode=newreq+NN", 1), "issued", ""},
		{"three fields, armour, LF", "Mode=newreq&CertAttrib=certificatetemplate:ciscora%0AUserAgent:x&CertRequest=-----BEGIN+CERTIFICATE+REQUEST-----%0A" + b64 + "%0A-----END+CERTIFICATE+REQUEST-----%0A", "issued", ""},
		{"plus sign lost", "Mode=newreq&CertAttrib=CertificateTemplate:CiscoRA&CertRequest=MII+abc", "error", "0x8009310b"},
		{"no request", "Mode=newreq&CertAttrib=CertificateTemplate:CiscoRA", "error", "0x8009310b"},
		{"no mode", "CertRequest=" + b64, "error", "0x80070057"},
		{"no template", "Mode=newreq&CertRequest=" + b64, "denied", "0x80094801"},
		{"display name", "Mode=newreq&CertAttrib=CertificateTemplate:Cisco+RA&CertRequest=" + b64, "denied", "0x80094800"},
		{"template by OID", "Mode=newreq&CertAttrib=CertificateTemplate:1.3.6.1.4.1.311.21.8.1.2.3&CertRequest=" + b64, "issued", ""},
	} {
		_, page := w.do(http.MethodPost, "/certsrv/certfnsh.asp", tc.body)
		if v := classify(page); v.Outcome != tc.outcome || v.HResult != tc.code {
			t.Errorf("%s: %+v, want %s %s\n%s", tc.name, v, tc.outcome, tc.code, page)
		}
	}
	resp, _ := w.do(http.MethodPost, "/certsrv/certfnsh.asp", good+"&x="+strings.Repeat("a", maxForm-len(good)-3))
	if resp.StatusCode != http.StatusOK {
		t.Errorf("a form of 200 KB: %d", resp.StatusCode)
	}
	resp, _ = w.do(http.MethodPost, "/certsrv/certfnsh.asp", good+"&x="+strings.Repeat("a", maxForm-len(good)-2))
	if resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("a form over 200 KB: %d", resp.StatusCode)
	}
	w = s.basic(t, textAgent)
	if _, page := w.do(http.MethodGet, "/certsrv/certfnsh.asp", ""); classify(page).Outcome != "error" {
		t.Error("GET certfnsh.asp is no error")
	}
}
