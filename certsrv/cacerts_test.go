package certsrv

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func names(list []*x509.Certificate) []string {
	var out []string
	for _, c := range list {
		out = append(out, fmt.Sprintf("%s %d", c.Subject.CommonName, c.NotBefore.Year()))
	}
	return out
}

// TestCACertificates: a CA under a root, renewed twice, the first time with the same key; its first certificate has
// expired. The messages come in any order.
func TestCACertificates(t *testing.T) {
	t.Parallel()
	at := func(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	root := makeCA(t, nil, "Root", newKey(t), at(2010), at(2050))
	key := newKey(t)
	first := makeCA(t, root, "Issuing", key, at(2012), at(2020))
	second := makeCA(t, root, "Issuing", key, at(2018), at(2030))
	third := makeCA(t, root, "Issuing", newKey(t), at(2025), at(2040))
	p7b := map[string][]byte{
		"0": root.p7b(t, first.cert, root.cert), "1": root.p7b(t, root.cert, second.cert), "2": root.p7b(t, root.cert, third.cert),
	}
	renewals := "2"
	broken := ""
	page := func(s seen) reply {
		path, query, _ := strings.Cut(s.URI, "?")
		var k string
		for part := range strings.SplitSeq(query, "&") {
			if n, v, _ := strings.Cut(part, "="); n == "Renewal" {
				k = v
			}
		}
		switch {
		case path == archivePath && renewals == "":
			return reply{status: 404}
		case path == archivePath:
			return reply{body: []byte("<html><script>var nRenewals=" + renewals + ";</script>")}
		case path == "/certsrv/certnew.p7b" && k == broken:
			return reply{body: fixture(t, "en-cer-unknown-id.html")}
		case path == "/certsrv/certnew.p7b" && p7b[k] != nil:
			return reply{body: p7b[k]}
		case path == fetchPath && k == "2":
			return reply{body: third.cert.Raw}
		}
		return reply{body: fixture(t, "en-cer-unknown-id.html")}
	}
	tests := []struct {
		name, renewals, broken string
		compat                 bool
		want, requests         []string
	}{
		{"newest first", "2", "", false, []string{"Issuing 2025", "Root 2010", "Issuing 2018"}, []string{
			"1 GET /certsrv", "1 GET /certsrv", "1 GET /certsrv/certcarc.asp",
			"1 GET /certsrv/certnew.p7b?ReqID=CACert&Renewal=2&Enc=bin", "1 GET /certsrv/certnew.p7b?ReqID=CACert&Renewal=1&Enc=bin",
			"1 GET /certsrv/certnew.p7b?ReqID=CACert&Renewal=0&Enc=bin",
		}},
		{"compatible", "2", "", true, []string{"Issuing 2025", "Root 2010", "Issuing 2018"}, []string{
			"1 GET /certsrv", "1 GET /certsrv", "1 GET /certsrv/certnew.p7b?ReqID=CACert&Renewal=0&Enc=bin", "1 GET /certsrv/certcarc.asp",
			"1 GET /certsrv/certnew.p7b?ReqID=CACert&Renewal=2&Enc=bin", "1 GET /certsrv/certnew.p7b?ReqID=CACert&Renewal=1&Enc=bin",
		}},
		{"never renewed", "0", "", true, []string{"Issuing 2012", "Root 2010"}, []string{
			"1 GET /certsrv", "1 GET /certsrv", "1 GET /certsrv/certnew.p7b?ReqID=CACert&Renewal=0&Enc=bin", "1 GET /certsrv/certcarc.asp",
		}},
		{"no archive page", "", "", false, []string{"Issuing 2012", "Root 2010"}, nil},
		{"an old one is missing", "2", "1", false, []string{"Issuing 2025", "Root 2010"}, nil},
		{"newest without chain", "2", "2", false, []string{"Issuing 2025", "Root 2010", "Issuing 2018"}, nil},
	}
	for _, tt := range tests { // one after the other: they share the script's variables
		renewals, broken = tt.renewals, tt.broken
		f := newFake(t, page)
		c, log := f.newClient()
		c.Compat = tt.compat
		got, err := c.CACertificates(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if d := cmp.Diff(tt.want, names(got)); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
		if tt.requests != nil {
			if d := cmp.Diff(tt.requests, f.requests()); d != "" {
				t.Errorf("%s: %s", tt.name, d)
			}
		}
		if d := cmp.Diff([]string{"certsrv.login", "certsrv.cacerts"}, eventsOf(log.String())); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
	// Nothing to be had: an error, and the event of it.
	renewals = "7"
	f := newFake(t, page)
	c, log := f.newClient()
	_, err := c.CACertificates(t.Context())
	if p := problem(t, err); p.Code() != CodeUnknownRequest || p.HResult != StatusPropertyEmpty {
		t.Errorf("%+v", p)
	}
	if d := cmp.Diff([]string{"certsrv.login", "certsrv.cacerts_failed"}, eventsOf(log.String())); d != "" {
		t.Error(d)
	}
}

func TestChainOrder(t *testing.T) {
	t.Parallel()
	root := newTestCA(t, "Root")
	policy := makeCA(t, root, "Policy", newKey(t), root.cert.NotBefore, root.cert.NotAfter)
	issuing := makeCA(t, policy, "Issuing", newKey(t), root.cert.NotBefore, root.cert.NotAfter)
	twin := newTestCA(t, "Root") // same name, other key
	want := []string{"Issuing 2025", "Policy 2025", "Root 2025"}
	set := []*x509.Certificate{twin.cert, root.cert, issuing.cert, policy.cert}
	leaf := leafOf([]*x509.Certificate{root.cert, issuing.cert, policy.cert})
	chain := chainFrom(leaf, set)
	if d := cmp.Diff(want, names(chain)); d != "" {
		t.Error(d)
	}
	if !chain[2].Equal(root.cert) {
		t.Error("the root of the same name was taken")
	}
	// Two CAs that certify each other: an end all the same.
	a, b := newTestCA(t, "A"), newTestCA(t, "B")
	ab := makeCA(t, b, "A", a.key, a.cert.NotBefore, a.cert.NotAfter)
	ba := makeCA(t, a, "B", b.key, b.cert.NotBefore, b.cert.NotAfter)
	ring := []*x509.Certificate{ab.cert, ba.cert}
	if got := chainFrom(leafOf(ring), ring); len(got) != 2 {
		t.Errorf("ring: %v", names(got))
	}
}

func TestDecodeCertificates(t *testing.T) {
	t.Parallel()
	ca := newTestCA(t, "Root")
	leaf, _ := ca.leaf(t, "a.example")
	p7b := ca.p7b(t, leaf, ca.cert)
	text := string(pemOf(leaf.Raw))
	inner := strings.TrimSpace(strings.NewReplacer("-----BEGIN CERTIFICATE-----", "", "-----END CERTIFICATE-----", "").Replace(text))
	tests := map[string]struct {
		body []byte
		n    int
	}{
		"DER":                     {leaf.Raw, 1},
		"PEM with CRLF":           {[]byte(text), 1},
		"byte order mark":         {[]byte("\xef\xbb\xbf\r\n" + text), 1},
		"two PEM blocks":          {append([]byte(text), pemOf(ca.cert.Raw)...), 2},
		"PKCS #7 DER":             {p7b, 2},
		"PKCS #7, wrong label":    {pemOf(p7b), 2},
		"base64 without header":   {[]byte(inner), 1},
		"empty":                   {nil, 0},
		"text that starts with 0": {[]byte("0 certificates"), 0},
		"PEM of something else":   {[]byte("-----BEGIN X-----\nAAAA\n-----END X-----\n"), 0},
		"cut":                     {leaf.Raw[:100], 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := decodeCertificates(tt.body)
			if len(got) != tt.n || (err == nil) != (tt.n > 0) {
				t.Errorf("%d certificates, error %v; want %d", len(got), err, tt.n)
			}
		})
	}
}

// TestTLSProblems: what is wrong with the server's certificate, in our words and in libcurl's.
func TestTLSProblems(t *testing.T) {
	t.Parallel()
	ca := newTestCA(t, "Web Root")
	good, trust := serverTLS(t, ca, fakeHost)
	other, _ := serverTLS(t, ca, "lab-dc")
	stranger, _ := serverTLS(t, newTestCA(t, "Other Root"), fakeHost)
	selfKey := newKey(t)
	selfTemplate := &x509.Certificate{SerialNumber: serial(t), Subject: pkix.Name{CommonName: fakeHost}, DNSNames: []string{fakeHost}, NotBefore: epoch(), NotAfter: epoch().AddDate(1, 0, 0)}
	self := sign(t, selfTemplate, &testCA{cert: selfTemplate, key: selfKey}, selfKey.Public())
	selfTLS := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{self.Raw}, PrivateKey: selfKey}}}
	at := func(when time.Time) func() time.Time { return func() time.Time { return when } }
	tests := map[string]struct {
		server   *tls.Config
		now      func() time.Time
		code     string
		curl     string
		contains []string
	}{
		"unknown issuer": {stranger, epoch, CodeUntrusted, `curl_code=60 curl_text="SSL certificate problem: unable to get local issuer certificate"`, []string{"CN=Other Root"}},
		"self-signed":    {selfTLS, epoch, CodeUntrusted, `curl_code=60 curl_text="SSL certificate problem: self signed certificate"`, []string{"CN=" + fakeHost}},
		"other name": {
			other, epoch, CodeWrongName,
			`curl_code=51 curl_text="SSL: certificate subject name 'lab-dc' does not match target host name 'lab-dc.test.example'"`,
			[]string{"lab-dc,", fakeHost},
		},
		"expired":       {good, at(epoch().AddDate(2, 0, 0)), CodeUntrusted, `curl_code=60 curl_text="SSL certificate problem: certificate has expired"`, []string{"2027-11-20"}},
		"not yet valid": {good, at(epoch().AddDate(0, -6, 0)), CodeUntrusted, `curl_code=60 curl_text="SSL certificate problem: certificate is not yet valid"`, []string{"2026-10-20"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, func(seen) reply { return reply{} })
			f.set(func() { f.tls = tt.server })
			c, log := f.newClient()
			c.Now = tt.now
			c.TLS = trust.Clone()
			c.TLS.Time = tt.now
			p := problem(t, c.Login(t.Context(), nil))
			if p.Code() != tt.code || p.Retryable {
				t.Errorf("code %s (%v)", p.Code(), p)
			}
			for _, s := range tt.contains {
				if !strings.Contains(p.Error()+", "+p.Remedy(), s) {
					t.Errorf("%q does not contain %q", p.Error()+" / "+p.Remedy(), s)
				}
			}
			if !strings.Contains(log.String(), tt.curl) {
				t.Errorf("log does not have %q:\n%s", tt.curl, log.String())
			}
		})
	}
	closed := newFake(t, func(seen) reply { return reply{} })
	c, log := closed.newClient()
	_ = closed.ln.Close()
	if p := problem(t, c.Login(t.Context(), nil)); p.Code() != CodeCannotConnect || !p.Retryable {
		t.Errorf("nobody listens: %v", p)
	}
	if want := "curl_code=7 curl_text=\"Failed to connect to lab-dc.test.example port 443: Connection refused\""; !strings.Contains(log.String(), want) {
		t.Errorf("log does not have %q:\n%s", want, log.String())
	}
}
