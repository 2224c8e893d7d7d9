package certsrvtest

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/cmc"
)

// What people and programs of the field really send: forms that are filled in, fields that are missing, encodings of every
// kind.

// TestBrowser is a person in front of a browser: it asks anonymously first, logs in by NTLM on the same connection, keeps
// cookies, fills in the form of certrqxt.asp as its script does, and follows the link.
func TestBrowser(t *testing.T) {
	t.Parallel()
	for agent, link := range map[string]*regexp.Regexp{
		"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0": regexp.MustCompile(`location="(certnew\.cer\?ReqID=\d+&)"\+getEncoding\(\);`),
		ieAgent:    regexp.MustCompile(`location="(certnew\.cer\?ReqID=\d+&)"\+getEncoding\(\);`),
		"Lynx/2.9": regexp.MustCompile(`Href="(certnew\.cer\?ReqID=\d+&amp;)Enc=bin"`),
	} {
		t.Run(agent, func(t *testing.T) {
			t.Parallel()
			log := new(lockedBuffer)
			c := config(t, 0)
			c.IISLog = log
			s := start(t, c)
			w := s.dial(t, agent)
			if resp, _ := w.do(http.MethodGet, "/certsrv/", ""); resp.StatusCode != http.StatusUnauthorized {
				t.Fatalf("anonymous: %d", resp.StatusCode)
			}
			if resp, _ := w.ntlm(); resp.StatusCode != http.StatusMovedPermanently {
				t.Fatalf("login: %d", resp.StatusCode)
			}
			resp, _ := w.do(http.MethodGet, "/certsrv/", "")
			cookie, _, _ := strings.Cut(resp.Header.Get("Set-Cookie"), ";")
			if !regexp.MustCompile(`^ASPSESSIONID[A-Z]{8}=[A-Z]{24}$`).MatchString(cookie) {
				t.Errorf("session cookie %q", cookie)
			}
			resp, page := w.do(http.MethodGet, "/certsrv/certrqxt.asp", "", "Cookie: "+cookie)
			if again := resp.Header.Get("Set-Cookie"); again != "" {
				t.Errorf("a second session: %s", again)
			}
			form := url.Values{}
			for _, m := range regexp.MustCompile(`<Input Type=Hidden Name=(\w+) Value="([^"]*)">`).FindAllStringSubmatch(page, -1) {
				form.Set(m[1], m[2])
			}
			option := regexp.MustCompile(`<Option Value="([^"]+)">Web Server`).FindStringSubmatch(page)
			if option == nil {
				t.Fatalf("no template in\n%s", page)
			}
			value := html.UnescapeString(option[1])
			csr, key := newCSR(t, "person")
			form.Set("lbCertTemplate", value)
			form.Set("CertRequest", "-----BEGIN CERTIFICATE REQUEST-----\r\n"+base64.StdEncoding.EncodeToString(csr)+"\r\n-----END CERTIFICATE REQUEST-----\r\n")
			form.Set("CertAttrib", "CertificateTemplate:"+strings.Split(value, ";")[1]+"\r\nUserAgent:"+agent+"\r\n")
			form.Set("FriendlyType", "Saved-Request Certificate (11/20/2026, 12:00:00 PM)")
			_, page = w.do(http.MethodPost, "/certsrv/certfnsh.asp", form.Encode(), "Cookie: "+cookie, "Referer: "+s.url+"/certsrv/certrqxt.asp")
			m := link.FindStringSubmatch(page)
			if m == nil {
				t.Fatalf("no link in\n%s", page)
			}
			resp, body := w.do(http.MethodGet, "/certsrv/"+html.UnescapeString(m[1])+"Enc=b64", "", "Cookie: "+cookie)
			if leaf := parseLeaf(t, body); !bytes.Equal(leaf.RawSubjectPublicKeyInfo, publicKey(t, key)) {
				t.Error("the certificate has another key")
			}
			want := "application/pkix-cert"
			if strings.HasPrefix(agent, "Lynx") {
				want = "application/octet-stream"
			}
			if got := resp.Header.Get("Content-Type"); got != want {
				t.Errorf("Content-Type %s, want %s", got, want)
			}
			if rec, _ := s.Request(1); rec.Template != "WebServer" || rec.Requester != testUser {
				t.Errorf("%+v", rec)
			}
			var states []string
			for _, line := range log.lines() {
				f := strings.Split(line, " ")
				states = append(states, strings.Join(f[11:14], " "))
			}
			if diff := cmp.Diff([]string{"401 2 5", "401 1 2148074254", "301 0 0", "200 0 0", "200 0 0", "200 0 0", "200 0 0"}, states); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

// TestThreeFields is the client that sends Mode, CertRequest and CertAttrib and nothing else, with the request in every form
// that was seen.
func TestThreeFields(t *testing.T) {
	t.Parallel()
	s := start(t, config(t, 0))
	plain := func(csr []byte) string { return base64.StdEncoding.EncodeToString(csr) }
	armoured := func(kind string) func([]byte) string {
		return func(csr []byte) string {
			return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: csr}))
		}
	}
	broken := func(lineEnd string, form func([]byte) string) func([]byte) string {
		return func(csr []byte) string { return strings.ReplaceAll(form(csr), "\n", lineEnd) }
	}
	for _, tc := range []struct {
		name       string
		request    func([]byte) string
		attributes string
	}{
		{"base64 in one line", plain, "CertificateTemplate:CiscoRA"},
		{"base64 without padding", func(csr []byte) string { return base64.RawStdEncoding.EncodeToString(csr) }, "CertificateTemplate:CiscoRA"},
		{"armour, LF", armoured("CERTIFICATE REQUEST"), "CertificateTemplate:CiscoRA\n"},
		{"armour, CRLF", broken("\r\n", armoured("CERTIFICATE REQUEST")), "CertificateTemplate:CiscoRA\r\n"},
		{"armour, CR", broken("\r", armoured("CERTIFICATE REQUEST")), "CertificateTemplate:CiscoRA\r"},
		{"armour in one line", broken("", armoured("CERTIFICATE REQUEST")), "CertificateTemplate:CiscoRA"},
		{"Microsoft's armour", armoured("NEW CERTIFICATE REQUEST"), "CertificateTemplate:CiscoRA"},
		{"text before the armour", func(csr []byte) string { return "CN=x, as asked for\n" + armoured("CERTIFICATE REQUEST")(csr) }, "CertificateTemplate:CiscoRA"},
		{"attribute in lower case, with a space", plain, "certificatetemplate: ciscora\r\n"},
		{"other attributes first", plain, "UserAgent:x\r\nSAN:dns=a.example&dns=b.example\r\nCertificateTemplate:CiscoRA\r\n"},
		{"template by OID", plain, "CertificateTemplate:1.3.6.1.4.1.311.21.8.1.2.3"},
	} {
		csr, key := newCSR(t, "three fields")
		form := url.Values{"Mode": {"newreq"}, "CertRequest": {tc.request(csr)}, "CertAttrib": {tc.attributes}}
		_, page := s.basic(t, "Go-http-client/1.1").do(http.MethodPost, "/certsrv/certfnsh.asp", form.Encode())
		m := regexp.MustCompile(`certnew\.cer\?ReqID=(\d+)&`).FindStringSubmatch(page)
		if m == nil {
			t.Errorf("%s: %+v", tc.name, classify(page))
			continue
		}
		if leaf := parseLeaf(t, s.basic(t, scriptAgent).get("/certsrv/certnew.cer?ReqID="+m[1]+"&Enc=b64")); !bytes.Equal(leaf.RawSubjectPublicKeyInfo, publicKey(t, key)) {
			t.Errorf("%s: a certificate for another key", tc.name)
		}
	}
}

// TestLostPlus is the classic mistake: a client that escapes nothing but spaces. What is a "+" in base64 arrives as a space.
func TestLostPlus(t *testing.T) {
	t.Parallel()
	s := start(t, config(t, 0))
	var csr []byte
	for !strings.Contains(base64.StdEncoding.EncodeToString(csr), "+") {
		csr, _ = newCSR(t, "plus")
	}
	text := base64.StdEncoding.EncodeToString(csr)
	w := s.basic(t, textAgent)
	for form, want := range map[string]verdict{
		strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(text): {"issued", "", ""},
		strings.ReplaceAll(text, "+", "%2B"):                                  {"issued", "", ""},
		text:                                                                  {"error", "", "0x8009310b"},
		strings.ReplaceAll(text, "+", "%20"):                                  {"error", "", "0x8009310b"},
	} {
		_, page := w.do(http.MethodPost, "/certsrv/certfnsh.asp", "Mode=newreq&CertAttrib=CertificateTemplate:CiscoRA&CertRequest="+form)
		got := classify(page)
		got.ID = ""
		if got != want {
			t.Errorf("%.20s...: %+v, want %+v", form, got, want)
		}
	}
}

// TestEncodings asks for everything in every spelling: names, values and paths in any case, Enc missing or unknown.
func TestEncodings(t *testing.T) {
	t.Parallel()
	c := config(t, 1)
	ca := c.CA.(*honestCA)
	c.CA = crlCA{ca}
	w := start(t, c).basic(t, scriptAgent)
	csr, key := newCSR(t, "x")
	w.submit(csr, "CiscoRA")
	certificates := func(der []byte) int {
		if certs, err := cmc.ParseCertsOnly(der); err == nil {
			return len(certs)
		}
		return 0
	}
	for _, tc := range []struct {
		target string
		pem    string // armour; empty: DER
		ok     func(der []byte) bool
	}{
		{"/certsrv/certnew.cer?ReqID=1", "CERTIFICATE", nil},
		{"/certsrv/certnew.cer?ReqID=1&Enc=b64", "CERTIFICATE", nil},
		{"/certsrv/certnew.cer?ReqID=1&ENC=B64", "CERTIFICATE", nil},
		{"/certsrv/certnew.cer?ReqID=1&Enc=hex", "CERTIFICATE", nil},
		{"/certsrv/certnew.cer?ReqID=1&Mode=inst&Enc=b64", "CERTIFICATE", nil},
		{"/certsrv/certnew.cer?ReqID=1&Enc=bin", "", nil},
		{"/certsrv/certnew.cer?Enc=bin&ReqID=1", "", nil},
		{"/CertSrv/CERTNEW.CER?REQID=1&ENC=BIN", "", nil},
		{"/certsrv/certnew.cer?reqid=%31&enc=%62in", "", nil},
		{"/certsrv/certnew.p7b?ReqID=1", "CERTIFICATE", func(der []byte) bool { return certificates(der) == 3 }},
		{"/certsrv/certnew.p7b?ReqID=1&ENC=BIN", "", func(der []byte) bool { return certificates(der) == 3 }},
		{"/certsrv/certnew.cer?ReqID=CACert", "CERTIFICATE", func(der []byte) bool { return bytes.Equal(der, ca.chains[0][0].Raw) }},
		{"/certsrv/certnew.cer?ReqID=cacert&RENEWAL=-1&ENC=bin", "", func(der []byte) bool { return bytes.Equal(der, ca.chains[1][0].Raw) }},
		{"/certsrv/certnew.p7b?ReqID=CACert&Renewal=1&Enc=bin", "", func(der []byte) bool { return certificates(der) == 2 }},
		{"/certsrv/certcrl.crl?Type=base", "X509 CRL", func(der []byte) bool { return der[0] == 0x30 }},
		{"/certsrv/certcrl.crl?TYPE=DELTA&RENEWAL=1&ENC=BIN", "", func(der []byte) bool { return der[0] == 0x30 }},
	} {
		der := []byte(w.get(tc.target))
		if tc.pem != "" {
			block, rest := pem.Decode(der)
			if block == nil || block.Type != tc.pem || len(rest) != 0 || bytes.Count(der, []byte("\n")) != bytes.Count(der, []byte("\r\n")) {
				t.Errorf("%s: %.60q", tc.target, der)
				continue
			}
			der = block.Bytes
		}
		ok := tc.ok
		if ok == nil {
			ok = func(der []byte) bool { return bytes.Contains(der, publicKey(t, key)) }
		}
		if len(der) == 0 || der[0] != 0x30 || !ok(der) {
			t.Errorf("%s: %.20x", tc.target, der)
		}
	}
}

// TestCertipyRetrieves is Certipy with "-web -retrieve": NTLM on the connection, no Enc, and the text of the page.
func TestCertipyRetrieves(t *testing.T) {
	t.Parallel()
	c := config(t, 0)
	c.Templates[1].Behaviour.Answer = Pending
	s := start(t, c)
	w := s.dial(t, "Mozilla/5.0 (Windows NT 10.0; Win64; x64)")
	if resp, _ := w.ntlm(); resp.StatusCode != http.StatusMovedPermanently {
		t.Fatalf("login: %d", resp.StatusCode)
	}
	csr, _ := newCSR(t, "certipy")
	retrieve := func(id string) string {
		page := w.get("/certsrv/certnew.cer?ReqID=" + id)
		switch {
		case strings.Contains(page, "BEGIN CERTIFICATE"):
			return "certificate"
		case strings.Contains(page, "Taken Under Submission"):
			return "pending"
		case strings.Contains(page, "The requested property value is empty"):
			return "unknown"
		case strings.Contains(page, "Denied by"):
			return "denied"
		}
		return page
	}
	for range 3 {
		w.submit(csr, "WebServer")
	}
	if err := s.Approve(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if err := s.Deny(3); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{"1": "pending", "2": "certificate", "3": "denied", "4": "unknown", "-1": "unknown"} {
		if got := retrieve(id); got != want {
			t.Errorf("request %s: %s, want %s", id, got, want)
		}
	}
}
