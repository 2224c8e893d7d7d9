package certsrvtest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"callsign/cmc"
)

// The public clients of AD CS web enrollment, rebuilt from their behaviour: what they send and by which expressions they
// read the answers.

// browser is an HTTP client that sends a User-Agent and Basic on every request, as the Python and Go clients do.
type browser struct {
	t     *testing.T
	http  *http.Client
	base  string
	agent string
}

func (s *site) browser(t *testing.T, agent string) *browser {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: s.tls}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t: t, http: &http.Client{Transport: transport}, base: s.url, agent: agent}
}

func (b *browser) do(method, path string, form url.Values) (contentType string, body []byte) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, b.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.SetBasicAuth(testUser, testPassword)
	req.Header.Set("User-Agent", b.agent)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.Header.Get("Content-Type"), body
}

// python is the family of magnuswatn/certsrv and degagne/python-certsrv.
type python struct{ *browser }

func (p python) request(csrPEM []byte, template string) (kind, detail string) {
	_, body := p.do(http.MethodPost, "/certsrv/certfnsh.asp", url.Values{
		"Mode": {"newreq"}, "CertRequest": {string(csrPEM)}, "CertAttrib": {"CertificateTemplate:" + template + "\r\n"},
		"FriendlyType": {"Saved-Request Certificate"}, "TargetStoreFlags": {"0"}, "SaveCert": {"yes"},
	})
	if m := regexp.MustCompile(`certnew.cer\?ReqID=(\d+)&`).FindSubmatch(body); m != nil {
		return "issued", string(m[1])
	}
	if bytes.Contains(body, []byte("Certificate Pending")) {
		return "pending", string(regexp.MustCompile(`Your Request Id is (\d+).`).FindSubmatch(body)[1])
	}
	if m := regexp.MustCompile(`The disposition message is "([^"]+)`).FindSubmatch(body); m != nil {
		return "denied", string(m[1])
	}
	return "unknown error", string(body)
}

func (p python) cert(id, encoding string) (certificate []byte, problem string) {
	contentType, body := p.do(http.MethodGet, "/certsrv/certnew.cer?ReqID="+id+"&Enc="+encoding, nil)
	if contentType == "application/pkix-cert" {
		return body, ""
	}
	m := regexp.MustCompile(`Disposition message:[^\t]+\t\t([^\r\n]+)`).FindSubmatch(body)
	if m == nil {
		return nil, "unknown error"
	}
	return nil, string(m[1])
}

func TestPythonClients(t *testing.T) {
	t.Parallel()
	c := config(t, 2)
	c.Templates[1].Behaviour.Answer = Pending
	c.Templates[2].Enrollers = []string{"second"}
	s := start(t, c)
	p := python{s.browser(t, "Mozilla/5.0 certsrv (https://github.com/magnuswatn/certsrv)")}
	csr, key := newCSR(t, "python")
	armoured := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})

	kind, id := p.request(armoured, "CiscoRA")
	if kind != "issued" {
		t.Fatal(kind, id)
	}
	b64, problem := p.cert(id, "b64")
	if problem != "" {
		t.Fatal(problem)
	}
	block, rest := pem.Decode(b64)
	if block == nil || len(rest) != 0 || !bytes.HasPrefix(b64, []byte("-----BEGIN CERTIFICATE-----\r\n")) || !bytes.HasSuffix(b64, []byte("-----END CERTIFICATE-----\r\n")) {
		t.Fatalf("certificate in base64: %q", b64)
	}
	der, _ := p.cert(id, "bin")
	if !bytes.Equal(der, block.Bytes) {
		t.Error("bin and b64 differ")
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if spki, _ := x509.MarshalPKIXPublicKey(key.Public()); !bytes.Equal(spki, leaf.RawSubjectPublicKeyInfo) {
		t.Error("the certificate has another key")
	}

	// check_credentials and get_ca_cert: the page, then the newest index.
	_, page := p.do(http.MethodGet, "/certsrv/certcarc.asp", nil)
	k := string(regexp.MustCompile(`var nRenewals=(\d+);`).FindSubmatch(page)[1])
	_, newest := p.do(http.MethodGet, "/certsrv/certnew.cer?ReqID=CACert&Renewal="+k+"&Enc=bin", nil)
	if !bytes.Equal(newest, s.ca.chains[2][0].Raw) {
		t.Error("newest CA certificate differs")
	}
	_, latest := p.do(http.MethodGet, "/certsrv/certnew.cer?ReqID=CACert&Renewal=-1&Enc=bin", nil)
	if !bytes.Equal(latest, newest) {
		t.Error("Renewal=-1 is not the newest")
	}
	_, oldest := p.do(http.MethodGet, "/certsrv/certnew.cer?ReqID=CACert&Renewal=0&Enc=bin", nil)
	if !bytes.Equal(oldest, s.ca.chains[0][0].Raw) {
		t.Error("CA certificate 0 differs")
	}

	// get_chain: PEM header CERTIFICATE around a PKCS #7.
	contentType, p7b := p.do(http.MethodGet, "/certsrv/certnew.p7b?ReqID=CACert&Renewal="+k+"&Enc=b64", nil)
	if contentType != "application/x-pkcs7-certificates" || !bytes.HasPrefix(p7b, []byte("-----BEGIN CERTIFICATE-----\r\n")) {
		t.Errorf("%s %.40s", contentType, p7b)
	}
	block, _ = pem.Decode(p7b)
	certs, err := cmc.ParseCertsOnly(block.Bytes)
	if err != nil || len(certs) != 2 {
		t.Errorf("CA chain: %d certificates, %v", len(certs), err)
	}
	_, p7b = p.do(http.MethodGet, "/certsrv/certnew.p7b?ReqID="+id+"&Enc=bin", nil)
	if certs, err = cmc.ParseCertsOnly(p7b); err != nil || len(certs) != 3 {
		t.Errorf("chain of the issued certificate: %d certificates, %v", len(certs), err)
	}

	kind, id = p.request(armoured, "WebServer")
	if kind != "pending" || id != "2" {
		t.Error(kind, id)
	}
	if _, problem = p.cert(id, "b64"); problem != "Taken Under Submission" {
		t.Error(problem)
	}
	if err := s.Approve(context.Background(), 2); err != nil {
		t.Fatal(err)
	}
	if _, problem = p.cert(id, "b64"); problem != "" {
		t.Error(problem)
	}
	if kind, id = p.request(armoured, "Nothing"); kind != "denied" || !strings.HasPrefix(id, "Denied by Policy Module  0x80094800, ") {
		t.Error(kind, id)
	}
	if kind, id = p.request(armoured, "User"); kind != "denied" || id != "Denied by Policy Module" {
		t.Error(kind, id)
	}
	if _, problem = p.cert("4711", "b64"); problem != "(none)" {
		t.Error(problem)
	}
	_, page = p.do(http.MethodGet, "/certsrv/certnew.cer?ReqID=4711&Enc=b64", nil)
	if !bytes.Contains(page, []byte("0x80094004 (-2146877436 CERTSRV_E_PROPERTY_EMPTY)")) {
		t.Errorf("%s", page)
	}
}

// TestGoIssuers is the family of nokia and djkormo adcs-issuer: status and last status by two expressions.
func TestGoIssuers(t *testing.T) {
	t.Parallel()
	c := config(t, 0)
	c.Templates[0].Behaviour = Behaviour{Answer: Deny}
	c.Templates[1].Behaviour = Behaviour{Answer: Pending}
	s := start(t, c)
	b := s.browser(t, "Mozilla")
	message := regexp.MustCompile(`Disposition message:[^\t]+\t\t([^\r\n]+)`)
	last := regexp.MustCompile(`LastStatus:[^\t]+\t\t([^\r\n]+)`)
	csr, _ := newCSR(t, "issuer")
	for _, tc := range []struct{ template, id, message, last string }{
		{"CiscoRA", "1", `Denied by LAB\camanager`, "The request was denied by a certificate manager or CA administrator. 0x80094014 (-2146877420 CERTSRV_E_ADMIN_DENIED_REQUEST)"},
		{"WebServer", "2", "Taken Under Submission", "The operation completed successfully. 0x0 (WIN32: 0)"},
	} {
		_, page := b.do(http.MethodPost, "/certsrv/certfnsh.asp", url.Values{
			"Mode": {"newreq"}, "CertRequest": {base64.StdEncoding.EncodeToString(csr)}, "CertAttrib": {"CertificateTemplate:" + tc.template},
			"FriendlyType": {"Saved-Request Certificate (11/20/2026, 12:00:00 PM)"}, "TargetStoreFlags": {"0"}, "SaveCert": {"yes"}, "CertificateTemplate": {"ignored"},
		})
		if m := regexp.MustCompile(`Your Request Id is (\d+)`).FindSubmatch(page); m == nil || string(m[1]) != tc.id {
			t.Fatalf("%s", page)
		}
		_, page = b.do(http.MethodGet, "/certsrv/certnew.cer?ReqID="+tc.id+"&ENC=b64", nil)
		if m := message.FindSubmatch(page); m == nil || string(m[1]) != tc.message {
			t.Errorf("message %q, want %q", m, tc.message)
		}
		if m := last.FindSubmatch(page); m == nil || string(m[1]) != tc.last {
			t.Errorf("last status %q, want %q", m, tc.last)
		}
	}
}

// TestCheckPending is jimmypw/adcs: it polls by Mode=chkpnd.
func TestCheckPending(t *testing.T) {
	t.Parallel()
	c := config(t, 0)
	c.Behaviour.Answer = Pending
	s := start(t, c)
	w := s.basic(t, textAgent)
	csr, _ := newCSR(t, "x")
	for range 3 {
		w.submit(csr, "CiscoRA")
	}
	if err := s.Deny(2); err != nil {
		t.Fatal(err)
	}
	if err := s.Approve(context.Background(), 3); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]verdict{
		"1": {"pending", "1", ""}, "2": {"denied", "2", ""}, "3": {"issued", "3", ""}, "4": {"error", "", "0x80094004"}, "x": {"error", "", "0x80094004"},
	} {
		_, page := w.do(http.MethodPost, "/certsrv/certfnsh.asp", "Mode=chkpnd&ReqID="+id+"&TargetStoreFlags=0&SaveCert=yes")
		if got := classify(page); got != want {
			t.Errorf("%s: %+v, want %+v", id, got, want)
		}
	}
}

// TestEncDefault: impacket leaves Enc out and expects PEM.
func TestEncDefault(t *testing.T) {
	t.Parallel()
	s := start(t, config(t, 0))
	w := s.basic(t, "Mozilla")
	csr, _ := newCSR(t, "x")
	w.submit(csr, "CiscoRA")
	if got := w.get("/certsrv/certnew.cer?ReqID=1"); !strings.HasPrefix(got, "-----BEGIN CERTIFICATE-----\r\n") {
		t.Error(got)
	}
}

func TestCRL(t *testing.T) {
	t.Parallel()
	c := config(t, 1)
	ca := c.CA.(*honestCA)
	c.CA = crlCA{ca}
	w := start(t, c).basic(t, "Mozilla")
	for target, number := range map[string]int64{"Type=base&Renewal=0": 10, "Type=base&Renewal=1": 11, "type=Delta&Renewal=1": 111} {
		resp, body := w.do(http.MethodGet, "/certsrv/certcrl.crl?"+target+"&Enc=bin", "")
		list, err := x509.ParseRevocationList([]byte(body))
		if err != nil || list.Number.Int64() != number || resp.Header.Get("Content-Type") != "application/pkix-crl" {
			t.Errorf("%s: %v, %v", target, resp.Header, err)
		}
	}
	if got := w.get("/certsrv/certcrl.crl?Type=base&Renewal=0&Enc=b64"); !strings.HasPrefix(got, "-----BEGIN X509 CRL-----\r\n") {
		t.Error(got)
	}
	if got := classify(w.get("/certsrv/certcrl.crl?Type=base&Renewal=7")); got.HResult != "0x80094004" {
		t.Error(got)
	}
}

// TestCertipy is Certipy's web enrollment: an id from the link, or the reason from the text of the page.
func TestCertipy(t *testing.T) {
	t.Parallel()
	c := config(t, 0)
	c.Templates[1].Behaviour.Answer = Pending
	c.Templates[2].Enrollers = []string{"second"}
	s := start(t, c)
	b := s.browser(t, "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36")
	csr, _ := newCSR(t, "certipy")
	reason := func(template string) string {
		_, body := b.do(http.MethodPost, "/certsrv/certfnsh.asp", url.Values{
			"Mode": {"newreq"}, "CertAttrib": {"CertificateTemplate:" + template}, "TargetStoreFlags": {"0"}, "SaveCert": {"yes"}, "ThumbPrint": {""},
			"CertRequest": {string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))},
		})
		page := string(body)
		switch {
		case regexp.MustCompile(`certnew.cer\?ReqID=([0-9]+)&`).MatchString(page):
			return "issued"
		case strings.Contains(page, "template that is not supported"):
			return "unsupported"
		case len(regexp.MustCompile(`Your Request Id is ([0-9]+)`).FindAllString(page, -1)) != 1:
			return "no id"
		case strings.Contains(page, "Certificate Pending"):
			return "pending"
		case strings.Contains(page, `"Denied by Policy Module"`):
			return "access denied"
		}
		if m := regexp.MustCompile(`Denied by Policy Module  (0x[0-9a-fA-F]+),`).FindStringSubmatch(page); m != nil {
			return m[1]
		}
		return page
	}
	for template, want := range map[string]string{"CiscoRA": "issued", "WebServer": "pending", "User": "access denied", "Nothing": "unsupported", "": "0x80094801"} {
		if got := reason(template); got != want {
			t.Errorf("%q: %s, want %s", template, got, want)
		}
	}
}

// TestRequireTLS: plain HTTP is 403.4 with the setting, and a working server without it.
func TestRequireTLS(t *testing.T) {
	t.Parallel()
	for _, require := range []bool{false, true} {
		var log lockedBuffer
		c := config(t, 0)
		c.RequireTLS, c.IISLog = require, &log
		_, addr := serve(t, c, nil)
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		w := &wire{t: t, conn: conn, r: bufio.NewReader(conn), host: "lab:80", agent: textAgent, user: testUser, pass: testPassword}
		resp, _ := w.do(http.MethodGet, "/certsrv", "")
		tail := "301 0 0 0"
		if require {
			tail = " - 403 4 5 0"
		} else if got := resp.Header.Get("Location"); got != "http://lab/certsrv/" {
			t.Errorf("Location %q", got)
		}
		if lines := log.lines(); !strings.HasSuffix(strings.Replace(lines[0], " "+textAgent, "", 1), tail) {
			t.Errorf("log %q, want %s", lines, tail)
		}
		_ = conn.Close()
	}
}
