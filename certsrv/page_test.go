package certsrv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type verdict struct {
	Outcome, RequestID, HResult string
}

// TestClassifyFixtures holds the verdicts of expected.tsv, the same ones for both languages.
func TestClassifyFixtures(t *testing.T) {
	t.Parallel()
	rows := strings.Split(strings.TrimSpace(string(fixture(t, "expected.tsv"))), "\n")[1:]
	if len(rows) != 20 {
		t.Fatalf("%d rows in expected.tsv, want 20", len(rows))
	}
	for _, row := range rows {
		f := strings.Split(strings.TrimRight(row, "\r"), "\t")
		for len(f) < 5 {
			f = append(f, "")
		}
		t.Run(f[0], func(t *testing.T) {
			t.Parallel()
			a, ok := classify(fixture(t, f[0]))
			if !ok {
				t.Fatal("page not recognised")
			}
			got := verdict{a.Outcome.String(), a.RequestID, hresultText(a.HResult)}
			want := verdict{f[2], f[3], strings.ToLower(f[4])}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestClassifyWords(t *testing.T) {
	t.Parallel()
	tests := map[string]Answer{
		"en-cer-denied-admin.html": {
			Outcome: Denied, Disposition: DispositionDenied, HResult: 0x80094014, Message: `Denied by TEST\camanager`,
			StatusText: "The request was denied by a certificate manager or CA administrator. 0x80094014 (-2146877420 CERTSRV_E_ADMIN_DENIED_REQUEST)",
		},
		"fr-cer-pending.html": {Outcome: Pending, Disposition: DispositionPending, Message: "Mise en attente", StatusText: "Opération réussie. 0x0 (WIN32: 0)"},
		"en-denied-template-unsupported.html": {
			Outcome: Denied, Disposition: NoDisposition, HResult: 0x80094800, RequestID: "26",
			Message: "Denied by Policy Module 0x80094800, The request was for a certificate template that is not supported by the Active Directory Certificate Services policy: CiscoRA1.",
		},
		"fr-denied-template-permission.html": {Outcome: Denied, Disposition: NoDisposition, RequestID: "27", Message: "Refusée par le module de stratégie"},
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _ := classify(fixture(t, name))
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestClassifyMade(t *testing.T) {
	t.Parallel()
	status := func(disposition, last string) string {
		return "<DL><DT ID=locDispLabel><B>X:</B></DT><DD>\r\n\t\t" + disposition + " <LocID ID=locDispSpacer>-</LocID>\r\n\t</DD>\r\n" +
			"<DT ID=locDispMsgLabel>Y:</DT><DD>\r\n\t\twords\r\n\t</DD><DT ID=locLastStatLabel>Z:</DT><DD>\r\n\t\t" + last + "\r\n\t</DD></DL>"
	}
	tests := map[string]struct {
		page string
		want verdict // zero Outcome: not recognised
	}{
		"empty":                           {"", verdict{}},
		"other site":                      {"<html><title>Sign in</title><form action=/login></form></html>", verdict{}},
		"issued in English without ids":   {"<p>The certificate you requested was issued to you.</p>", verdict{"issued", "", ""}},
		"pending in English without ids":  {"<p>Certificate Pending</p>Your Request Id is 25.", verdict{"pending", "25", ""}},
		"denied in English without ids":   {"<p>Your certificate request was denied.</p>Your Request Id is 26. 0x80094012", verdict{"denied", "26", "0x80094012"}},
		"bare status code":                {"<p>boom 0x800706ba (WIN32: 1722)</p>", verdict{"error", "", "0x800706ba"}},
		"last of several status codes":    {status("1", "one 0x80090016 two 0x8009310b end"), verdict{"error", "", "0x8009310b"}},
		"success code is no reason":       {status("2", "fine 0x00000000 (WIN32: 0)"), verdict{"denied", "", ""}},
		"issued out of band":              {status("4", "0x0 (WIN32: 0)"), verdict{"issued", "", ""}},
		"revoked":                         {status("6", "0x0 (WIN32: 0)"), verdict{"error", "", ""}},
		"incomplete":                      {status("0", "0x80094003"), verdict{"error", "", "0x80094003"}},
		"disposition in hexadecimal":      {status("0x5", "0x0 (WIN32: 0)"), verdict{"pending", "", ""}},
		"disposition is a status code":    {status("80094004", ""), verdict{"error", "", "0x80094004"}},
		"only a link to the CA":           {`<p id=locDenied>no</p><a href="certnew.cer?ReqID=CACert&amp;Renewal=3">x</a>`, verdict{"denied", "", ""}},
		"link in prose is no issue":       {`<p id=locDenied>no: "certnew.cer?ReqID=7&amp;x"</p>`, verdict{"denied", "", ""}},
		"link in a comment is no issue":   {`<!-- certnew.cer?ReqID=7& --><p id=locDenied>no</p>`, verdict{"denied", "", ""}},
		"link in other case":              {`<A HREF=CertNew.cer?reqid=9&enc=bin>x</A>`, verdict{"issued", "9", ""}},
		"pending id after nested element": {`<P ID=locInfoReqID><b>Votre n°</b> <i>31</i>.<p>99`, verdict{"pending", "31", ""}},
		"pending without number":          {`<P ID=locInfoReqID>soon</P><P>99</P>`, verdict{"pending", "", ""}},
		"denied, code before any id":      {`<P ID=locDenied>0x80094012 for 28 "x"</P>`, verdict{"denied", "28", "0x80094012"}},
		"Latin-1":                         {"<P ID=locInfoReqID>L'identificateur de votre requ\xeate est 25.</P>", verdict{"pending", "25", ""}},
		"byte order mark":                 {"\xef\xbb\xbf<P ID=locInfoReqID>25</P>", verdict{"pending", "25", ""}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got verdict
			if a, ok := classify([]byte(tt.page)); ok {
				got = verdict{a.Outcome.String(), a.RequestID, hresultText(a.HResult)}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestParseTemplates(t *testing.T) {
	t.Parallel()
	want := TemplateList{Templates: []Template{
		{"CiscoRA", "Cisco RA", "1.3.6.1.4.1.311.21.8.1.2.3"},
		{"WebServer", "Web Server", "1.3.6.1.4.1.311.21.8.1.2.4"},
		{"User", "User", "1.3.6.1.4.1.311.21.8.1.2.5"},
	}}
	for _, lang := range []string{"en", "fr"} {
		got, ok := parseTemplates(fixture(t, lang+"-certrqxt.html"))
		if d := cmp.Diff(want, got); !ok || d != "" {
			t.Errorf("%s: ok %v\n%s", lang, ok, d)
		}
	}
	made := map[string]struct {
		page string
		want TemplateList
		ok   bool
	}{
		"standalone":      {`<form action=certfnsh.asp><textarea></textarea></form>`, TemplateList{Standalone: true}, true},
		"none offered":    {`<select name="LBCERTTEMPLATE"></select>`, TemplateList{}, true},
		"unquoted values": {`<select id=lbCertTemplateID><option value=E;A;1>Eh<option value=;;>x</select><select><option value=E;B;1></select>`, TemplateList{Templates: []Template{{"A", "Eh", ""}}}, true},
		"other page":      {`<html>sign in</html>`, TemplateList{}, false},
		"not a page":      {"0\x82", TemplateList{}, false},
	}
	for name, tt := range made {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := parseTemplates([]byte(tt.page))
			if ok != tt.ok {
				t.Fatalf("ok = %v, want %v", ok, tt.ok)
			}
			if d := cmp.Diff(tt.want, got); ok && d != "" {
				t.Error(d)
			}
		})
	}
}

func TestParseRenewals(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		page string
		want int
		ok   bool
	}{
		"fixture":   {string(fixture(t, "en-certcarc.html")), 3, true},
		"French":    {string(fixture(t, "fr-certcarc.html")), 3, true},
		"first":     {"var nRenewals=0;", 0, true},
		"spaces":    {"VAR  nRenewals = 12 ;", 12, true},
		"absent":    {"<html></html>", 0, false},
		"absurd":    {"var nRenewals=99999999999999999999;", 0, false},
		"other var": {"var xnRenewals=4;", 0, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, ok := parseRenewals([]byte(tt.page)); got != tt.want || ok != tt.ok {
				t.Errorf("parseRenewals = %d, %v, want %d, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestHResults(t *testing.T) {
	t.Parallel()
	retryable := map[HResult]bool{0x800706BA: true, 0x800706BE: true, 0x80094006: true, 0x8009400F: true}
	seen := make(map[HResult]bool)
	for _, s := range Statuses() {
		if s.Name == "" || s.Meaning == "" || s.Remedy == "" {
			t.Errorf("%s: incomplete entry %+v", s.HResult, s)
		}
		if s.Retryable != retryable[s.HResult] {
			t.Errorf("%s: retryable = %v", s.HResult, s.Retryable)
		}
		if seen[s.HResult] {
			t.Errorf("%s: twice", s.HResult)
		}
		seen[s.HResult] = true
	}
	// The signed and unsigned decimals are what certutil and the web server's log print for the same code.
	if h := HResult(0x80094800); int32(h) != -2146875392 || uint32(h) != 2148091904 {
		t.Errorf("%s is %d and %d", h, int32(h), uint32(h))
	}
	if s, ok := LookupHResult(0x80094012); !ok || s.Name != "CERTSRV_E_TEMPLATE_DENIED" {
		t.Errorf("LookupHResult(0x80094012) = %+v, %v", s, ok)
	}
	unknown := map[HResult]string{
		0x8000FFFF: "not known here", 0x80070713: "Windows error 1811", 0x80093123: "ASN.1", 0x8009481A: "template", 0x80094018: "CA refuses",
		0x80090322: "login", 0x80090029: "cryptography", 0x800B0110: "not trusted",
	}
	for h, words := range unknown {
		if s, ok := LookupHResult(h); ok || s.Remedy == "" || s.Name != h.String() || !strings.Contains(s.Meaning, words) {
			t.Errorf("LookupHResult of the unknown code %s = %+v, %v", h, s, ok)
		}
	}
	for h, want := range map[HResult]string{
		0x80094800: "0x80094800 (-2146875392 CERTSRV_E_UNSUPPORTED_CERT_TYPE)",
		0x800706BA: "0x800706ba (WIN32: 1722 RPC_S_SERVER_UNAVAILABLE)",
		0x80070005: "0x80070005 (WIN32: 5 ERROR_ACCESS_DENIED)",
		0x8009310B: "0x8009310b (ASN: 267 CRYPT_E_ASN1_BADTAG)",
		0x80093005: "0x80093005 (ASN: 5 OSS_DATA_ERROR)",
		0x80070713: "0x80070713 (WIN32: 1811)",
		0x8000FFFF: "0x8000ffff (-2147418113)",
	} {
		if got := h.Full(); got != want {
			t.Errorf("Full = %q, want %q", got, want)
		}
	}
}

// TestEveryStatus: each code is found on a status page in the form in which Windows prints it, and by its number in another
// facility alone.
func TestEveryStatus(t *testing.T) {
	t.Parallel()
	page := strings.ReplaceAll(string(fixture(t, "fr-error-ca-down.html")), "0x800706ba (WIN32: 1722 RPC_S_SERVER_UNAVAILABLE)", "STATUS")
	if n := strings.Count(page, "STATUS"); n == 0 {
		t.Fatal("the fixture has no status to replace")
	}
	for _, s := range Statuses() {
		full := s.HResult.Full()
		forms := []string{full, "earlier 0x80070490 (WIN32: 1168 ERROR_NOT_FOUND) " + full}
		if _, number, ok := strings.Cut(full, "("); ok && !strings.HasPrefix(number, "-") {
			forms = append(forms, "0x5 ("+number, "("+strings.Replace(number, ":", " :", 1))
		}
		for _, form := range forms {
			a, ok := classify([]byte(strings.ReplaceAll(page, "STATUS", form)))
			if !ok || a.Outcome != Failed || a.HResult != s.HResult {
				t.Errorf("%q: %+v, %v", form, a, ok)
			}
		}
		p := Answer{Outcome: Denied, RequestID: "7", HResult: s.HResult}.Problem()
		if !strings.Contains(p.Error(), s.Name) || p.Remedy() != s.Remedy || p.Retryable != s.Retryable {
			t.Errorf("%s: %+v", s.HResult, p)
		}
	}
	if a, ok := classify([]byte("<dt id=locDispMsgLabel></dt><dd>x</dd><dt id=locLastStatLabel></dt><dd>0x0 (WIN32: 0)</dd>")); !ok || a.HResult != 0 {
		t.Errorf("success counts as a status: %+v, %v", a, ok)
	}
}

func TestAnswerProblem(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		a         Answer
		code      string
		contains  []string
		retryable bool
	}{
		"issued":        {Answer{Outcome: Issued}, "", nil, false},
		"pending":       {Answer{Outcome: Pending}, "", nil, false},
		"denied":        {Answer{Outcome: Denied, RequestID: "27", HResult: 0x80094012, Message: "Denied by Policy Module"}, CodeDenied, []string{"27", "CERTSRV_E_TEMPLATE_DENIED", "0x80094012", `"Denied by Policy Module"`}, false},
		"denied, why?":  {Answer{Outcome: Denied, RequestID: "27"}, CodeDenied, []string{"27"}, false},
		"CA down":       {Answer{Outcome: Failed, HResult: 0x800706BA}, CodeCAUnavailable, []string{"0x800706ba"}, true},
		"no such id":    {Answer{Outcome: Failed, RequestID: "9", HResult: 0x80094004}, CodeUnknownRequest, []string{"9"}, false},
		"revoked":       {Answer{Outcome: Failed, RequestID: "9", Disposition: DispositionRevoked}, CodeRevoked, []string{"9"}, false},
		"unknown error": {Answer{Outcome: Failed, HResult: 0x80001234, StatusText: "zut"}, CodeFailed, []string{"0x80001234", "zut"}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := tt.a.Problem()
			if tt.code == "" {
				if p != nil {
					t.Fatalf("Problem = %v, want none", p)
				}
				return
			}
			if p.Code() != tt.code || p.Retryable != tt.retryable || p.Remedy() == "" {
				t.Errorf("code %q retryable %v remedy %q", p.Code(), p.Retryable, p.Remedy())
			}
			for _, s := range tt.contains {
				if !strings.Contains(p.Error(), s) {
					t.Errorf("%q does not contain %q", p.Error(), s)
				}
			}
		})
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	list, _ := parseTemplates(fixture(t, "en-certrqxt.html"))
	tests := map[string]string{"CiscoRA1": "CiscoRA", "Webserver2": "WebServer", "Cisco-RA": "CiscoRA", "Completely": "", "": ""}
	for name, want := range tests {
		if got := nearest(name, list); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

// TestHostilePages: the time to read a page grows with its length, not with the square of it.
func TestHostilePages(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{
		"<", "<a ", "<p id=locDenied>x", "<p id=locInfoReqID>1", "<dt id=locDispMsgLabel></dt><dd>x", "<b>x</b>", "&amp;", "<!--", "<script>",
		"<option value=a;b>", "<select name=lbCertTemplate><option value=a;b>x", "<LocID ID=locDispSpacer>", "0x80094800 ", "\"", "certnew.cer?ReqID=", "<a href=certnew.cer?ReqID=1", "\xff", "12345678",
	} {
		body := []byte(strings.Repeat(unit, (1<<18)/len(unit)))
		start := time.Now()
		classify(body)
		parseTemplates(body)
		parseRenewals(body)
		if d := time.Since(start); d > 8*time.Second { // some 200 ms on an idle machine
			t.Errorf("%q repeated: %s", unit, d)
		}
	}
}
