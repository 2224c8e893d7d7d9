package app_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/app"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/enterprise"
	"callsign/internal/store"
)

// caConfig is a configuration whose CA is a simulated enterprise that behaves so.
func caConfig(t *testing.T, words string, edit func(*enterprise.Options)) *config.Config {
	t.Helper()
	b, _, err := enterprise.ParseBehaviour(words)
	if err != nil {
		t.Fatal(err)
	}
	o := enterprise.Options{Dir: filepath.Join(t.TempDir(), "sim"), Behaviour: b}
	if edit != nil {
		edit(&o)
	}
	e, err := enterprise.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	c := config.Default()
	c.Path, c.Dir = filepath.Join(t.TempDir(), "callsign.toml"), t.TempDir()
	c.Store.Path = filepath.Join(c.Dir, "callsign.db")
	c.CAPF.Listen, c.EST.Listen = "", ""
	c.ADCS.URL, c.ADCS.Template, c.ADCS.Username = e.URL, enterprise.DefaultTemplate, e.Account
	c.ADCS.PasswordFile, c.ADCS.CAFile = e.PasswordFile, e.Path(enterprise.CAFile)
	c.ADCS.AgentCertificateFile, c.ADCS.AgentKeyFile = e.Path(enterprise.AgentFile), e.Path(enterprise.AgentKeyFile)
	c.ADCS.ConnectTimeout, c.ADCS.LoginTimeout, c.ADCS.FetchTimeout, c.ADCS.SubmitTimeout = 5*time.Second, 5*time.Second, 5*time.Second, 5*time.Second
	return &c
}

// TestCheckCASteps: every step of the way to the CA fails in a real situation, says so in its place, with what was found and what to
// do, and what needs it is not tried.
func TestCheckCASteps(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })
	go func() {
		for conn, err := plain.Accept(); err == nil; conn, err = plain.Accept() {
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"))
			_ = conn.Close()
		}
	}()
	url := func(u string) func(*testing.T, *config.Config) {
		return func(_ *testing.T, c *config.Config) { c.ADCS.URL = u }
	}
	phones := func(_ *testing.T, c *config.Config) {
		c.CAPF.Listen, c.CAPF.Issuer, c.CAPF.RAURL = "127.0.0.1:0", config.IssuerOnlineCA, ""
	}
	for _, tt := range []struct {
		name    string
		words   string
		sim     func(*enterprise.Options)
		edit    func(*testing.T, *config.Config)
		options app.CAOptions
		step    string // the first that is not ok
		status  app.Status
		code    string
		parts   []string // of its detail and remedy
		skipped string   // a step that is not tried for that; empty: none
	}{
		{name: "all is well", options: app.CAOptions{Enroll: true}},
		{name: "renewed CA", sim: func(o *enterprise.Options) { o.Renewals = 2 }, options: app.CAOptions{Enroll: true}},
		{name: "English or French", words: "lang=fr", options: app.CAOptions{Enroll: true}},
		{name: "Extended Protection", words: "epa=require", options: app.CAOptions{Enroll: true}},
		{name: "no address", edit: url("https://lab..dc/certsrv"), step: "adcs dns", status: app.StatusFail, code: "app.resolve", parts: []string{"lab..dc"}, skipped: "adcs connect"},
		{name: "closed port", edit: url("https://" + closed.Addr().String() + "/certsrv"), step: "adcs connect", status: app.StatusFail, code: "app.unreachable", parts: []string{"refused", "curl -vk"}, skipped: "adcs tls"},
		{name: "no TLS", edit: url("https://" + plain.Addr().String() + "/certsrv"), step: "adcs tls", status: app.StatusFail, code: "probe.not-tls", parts: []string{"it answers \"HTTP/1.1 400 Bad Request\""}, skipped: "adcs login"},
		{name: "untrusted", words: "untrusted", step: "adcs tls", status: app.StatusFail, code: "certsrv.tls-untrusted", parts: []string{"Other Root CA", "adcs.ca_file"}, skipped: "adcs login"},
		{name: "self-signed", words: "self-signed", step: "adcs tls", status: app.StatusFail, code: "certsrv.tls-untrusted", parts: []string{"self-signed", "SHA256"}, skipped: "adcs login"},
		{name: "wrong name", words: "wrong-name", step: "adcs tls", status: app.StatusFail, code: "certsrv.tls-wrong-name", parts: []string{"intranet.callsign.example", "adcs.url"}, skipped: "adcs login"},
		{name: "not yet valid", words: "not-yet-valid", step: "adcs tls", status: app.StatusFail, code: "certsrv.tls-untrusted", parts: []string{"is valid from", "clock says", "timedatectl"}, skipped: "adcs login"},
		{name: "expired", words: "expired", step: "adcs tls", status: app.StatusFail, code: "certsrv.tls-untrusted", parts: []string{"expired on"}, skipped: "adcs login"},
		{name: "Basic only", words: "auth=basic", step: "adcs authentication", status: app.StatusFail, code: "certsrv.not-authenticated", parts: []string{"offers Basic", `adcs.auth = "ntlm"`, "provider NTLM"}, skipped: "adcs login"},
		{
			name: "wrong password", step: "adcs login", status: app.StatusFail, code: "certsrv.not-authenticated", parts: []string{`CALLSIGN\ciscora`, "adcs.password_file"}, skipped: "adcs templates",
			edit: func(t *testing.T, c *config.Config) {
				c.ADCS.PasswordFile = filepath.Join(t.TempDir(), "password")
				if err := os.WriteFile(c.ADCS.PasswordFile, []byte("not-the-password\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			},
		},
		{name: "login of a load balancer", words: "split", step: "adcs login", status: app.StatusFail, code: "certsrv.not-authenticated", skipped: "adcs templates"},
		{name: "page denied", words: "401.3", step: "adcs login", status: app.StatusFail, code: "certsrv.not-authenticated", skipped: "adcs chain"},
		{name: "template list fails", words: "certrqxt=500", step: "adcs templates", status: app.StatusFail, code: "certsrv.server-error", parts: []string{"500"}},
		{name: "no such template", options: app.CAOptions{Template: "CisoRA", Enroll: true}, step: "adcs template", status: app.StatusFail, code: "certsrv.template-not-offered", parts: []string{"CisoRA", "offered: CiscoRA"}, skipped: "adcs enroll"},
		{name: "CA down", words: "rpc-down", step: "adcs chain", status: app.StatusFail, code: "certsrv.ca-unavailable", parts: []string{"CertSvc"}},
		{name: "no CRL", words: "certcrl=404", step: "adcs crl", status: app.StatusFail, code: "certsrv.role-missing"},
		{name: "denied", words: "deny=0x80094012", options: app.CAOptions{Enroll: true}, step: "adcs enroll", status: app.StatusFail, code: "certsrv.denied", parts: []string{"CERTSRV_E_TEMPLATE_DENIED", "Read and Enroll"}},
		{name: "pending", words: "pending", options: app.CAOptions{Enroll: true}, step: "adcs enroll", status: app.StatusWarn, code: "app.request-pending", parts: []string{"request 1", "Pending Requests"}},
		{
			name: "denied to phones", words: "deny=0x80094009", options: app.CAOptions{Enroll: true}, edit: phones, step: "adcs enroll", status: app.StatusFail, code: "certsrv.denied",
			parts: []string{"CERTSRV_E_RESTRICTEDOFFICER", "(cmc-supplied)", "Enrollment Agents"},
		},
		{name: "phones", options: app.CAOptions{Enroll: true}, edit: phones},
		{
			name: "phones, agent only", options: app.CAOptions{Enroll: true},
			edit: func(t *testing.T, c *config.Config) { phones(t, c); c.ADCS.Vouch = config.VouchAgentOnly },
		},
		{
			name: "an agent of another CA", step: "certificate adcs agent", status: app.StatusWarn, code: "app.chain-incomplete", parts: []string{"NTAuth"},
			edit: func(t *testing.T, c *config.Config) {
				other := caConfig(t, "", nil)
				c.ADCS.AgentCertificateFile, c.ADCS.AgentKeyFile = other.ADCS.AgentCertificateFile, other.ADCS.AgentKeyFile
			},
		},
		{
			name: "an agent's certificate that is none", step: "certificate adcs agent", status: app.StatusFail, code: "app.certificate-usage", parts: []string{"1.3.6.1.4.1.311.20.2.1"},
			edit: func(t *testing.T, c *config.Config) {
				c.ADCS.AgentCertificateFile, c.ADCS.AgentKeyFile = selfSigned(t, c.Dir)
			},
		},
		{
			name: "what is handed out is older", sim: func(o *enterprise.Options) { o.Renewals = 1 }, step: "adcs renewals", status: app.StatusWarn, code: "app.ca-superseded", parts: []string{"callsign reload"},
			edit: func(t *testing.T, c *config.Config) {
				first, err := certfile.LoadCertificates(filepath.Join(filepath.Dir(c.ADCS.CAFile), "ca-0.pem"))
				if err != nil {
					t.Fatal(err)
				}
				if err := certfile.WriteCertificates(filepath.Join(filepath.Dir(c.Store.Path), app.CAFile), first...); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "no file with the password", edit: func(_ *testing.T, c *config.Config) { c.ADCS.PasswordFile = filepath.Join(c.Dir, "nowhere") },
			step: "file", status: app.StatusFail, code: "config.invalid", parts: []string{"adcs.password_file"}, skipped: "adcs connect",
		},
		{name: "answer lost", words: "drop", options: app.CAOptions{Enroll: true}, step: "adcs enroll", status: app.StatusFail, code: "certsrv.answer-lost", parts: []string{"CN=Callsign check"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := caConfig(t, tt.words, tt.sim)
			if tt.edit != nil {
				tt.edit(t, c)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			steps := app.CheckCA(ctx, c, tt.options)
			said, first, skipped := "", app.Step{}, false
			for _, s := range steps {
				said += s.Name + " " + string(s.Status) + " " + s.Code + " " + s.Detail + " | " + s.Remedy + "\n"
				if first.Name == "" && (s.Status == app.StatusFail || s.Status == app.StatusWarn) {
					first = s
				}
				skipped = skipped || s.Name == tt.skipped && s.Status == app.StatusSkip
				if s.Status == app.StatusFail && (s.Code == "" || s.Remedy == "") {
					t.Errorf("%s has no code or no remedy", s.Name)
				}
			}
			if first.Name != tt.step || first.Status != tt.status || first.Code != tt.code {
				t.Fatalf("first trouble %s %s %s, want %s %s %s:\n%s", first.Name, first.Status, first.Code, tt.step, tt.status, tt.code, said)
			}
			for _, part := range tt.parts {
				if !strings.Contains(first.Detail+" "+first.Remedy, part) {
					t.Errorf("%q is not in:\n%s", part, said)
				}
			}
			if tt.skipped != "" && !skipped {
				t.Errorf("%s was not skipped:\n%s", tt.skipped, said)
			}
			if app.RequestPending(steps) != (tt.code == "app.request-pending") {
				t.Errorf("pending: %v", app.RequestPending(steps))
			}
		})
	}
}

// selfSigned writes a certificate of a web server and its key.
func selfSigned(t *testing.T, dir string) (certificate, key string) {
	t.Helper()
	c := sign(t, nil, webServer(peerHost))
	key = filepath.Join(dir, "self.key")
	if err := certfile.WriteKey(key, c.key); err != nil {
		t.Fatal(err)
	}
	return trust(t, dir, "self.pem", c), key
}

// publishing is a CA that also shows CRLs.
type publishing struct {
	published
	base, delta []byte // DER; nil: there is none
}

// CRL implements certsrvtest.CRLSource.
func (p publishing) CRL(_ context.Context, _ int, delta bool) ([]byte, error) {
	list := p.base
	if delta {
		list = p.delta
	}
	if list == nil {
		return nil, errors.New("publishes none")
	}
	return list, nil
}

// crl makes a CRL that is to be replaced after a time; negative: it was to be.
func crl(t *testing.T, ca *signed, lasts time.Duration, delta bool) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(7), ThisUpdate: time.Now().Add(-48 * time.Hour), NextUpdate: time.Now().Add(lasts)}
	if delta {
		list.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 6}}}
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestCheckCALists: what ca check says of CRLs and of a CA certificate that are not what they should be.
func TestCheckCALists(t *testing.T) {
	t.Parallel()
	self, root := sign(t, nil, webServer(peerHost)), sign(t, nil, authority("Lab Root"))
	issuing, another := sign(t, root, authority("Lab Issuing")), sign(t, root, authority("Lab Issuing"))
	old := authority("Lab Issuing")
	old.NotBefore, old.NotAfter = time.Now().AddDate(-2, 0, 0), time.Now().AddDate(0, 0, -2)
	expired := sign(t, root, old)
	soon := authority("Lab Issuing")
	soon.NotBefore, soon.NotAfter = time.Now().AddDate(-2, 0, 0), time.Now().AddDate(0, 0, 9)
	ending := sign(t, root, soon)
	base := crl(t, issuing, time.Hour, false)
	for _, tt := range []struct {
		name string
		ca   publishing
		want []string // of the steps chain, crl and delta crl
		say  string
	}{
		{"fine", publishing{published{issuing, root}, base, crl(t, issuing, time.Hour, true)}, []string{"adcs chain ok ", "adcs crl ok ", "adcs delta crl ok "}, "number 7, 0 revoked, next update"},
		{"no delta", publishing{published{issuing, root}, base, nil}, []string{"adcs chain ok ", "adcs crl ok ", "adcs delta crl skip "}, "publishes no delta CRL"},
		{"no CRL", publishing{published{issuing, root}, nil, nil}, []string{"adcs chain ok ", "adcs crl fail certsrv.no-crl", "adcs delta crl skip "}, "certutil -CRL"},
		{"expired", publishing{published{issuing, root}, crl(t, issuing, -time.Hour, false), nil}, []string{"adcs chain ok ", "adcs crl fail app.crl", "adcs delta crl skip "}, "was to be replaced by"},
		{"expired delta", publishing{published{issuing, root}, base, crl(t, issuing, -time.Hour, true)}, []string{"adcs chain ok ", "adcs crl ok ", "adcs delta crl fail app.crl"}, "the delta CRL was to be replaced by"},
		{"of another key", publishing{published{issuing, root}, crl(t, another, time.Hour, false), nil}, []string{"adcs chain ok ", "adcs crl fail app.crl", "adcs delta crl skip "}, "is not signed by CN=Lab Issuing"},
		{"a CA that has expired", publishing{published{expired, root}, crl(t, expired, time.Hour, false), nil}, []string{"adcs chain fail app.certificate-expired", "adcs crl ok ", "adcs delta crl skip "}, "expired at"},
		{"a CA that ends soon", publishing{published{ending, root}, crl(t, ending, time.Hour, false), nil}, []string{"adcs chain warn app.certificate-expiring", "adcs crl ok ", "adcs delta crl skip "}, "in 8 days"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := raOf(t, "", self)
			password, err := os.ReadFile(c.ADCS.PasswordFile)
			if err != nil {
				t.Fatal(err)
			}
			c.ADCS.ConnectTo = enrollmentPages(t, tt.ca, self, strings.TrimSpace(string(password)))
			var got []string
			said := ""
			for _, s := range app.CheckCA(t.Context(), c, app.CAOptions{}) {
				said += s.Name + " " + string(s.Status) + " " + s.Code + " " + s.Detail + " | " + s.Remedy + "\n"
				if s.Name == "adcs chain" || s.Name == "adcs crl" || s.Name == "adcs delta crl" {
					got = append(got, s.Name+" "+string(s.Status)+" "+s.Code)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || !strings.Contains(said, tt.say) {
				t.Errorf("(-want +got):\n%s%q in\n%s", diff, tt.say, said)
			}
		})
	}
}

// TestCheckCAWords: what ca check says where nothing is wrong.
func TestCheckCAWords(t *testing.T) {
	t.Parallel()
	c := caConfig(t, "", func(o *enterprise.Options) { o.Renewals = 2 })
	find := func(o app.CAOptions, name string) app.Step {
		t.Helper()
		var found []app.Step
		for _, s := range app.CheckCA(t.Context(), c, o) {
			if s.Name == name {
				found = append(found, s)
			}
		}
		if len(found) != 1 {
			t.Fatalf("%d steps %q", len(found), name)
		}
		return found[0]
	}
	check := func(s app.Step, status app.Status, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if s.Status != status || !strings.Contains(s.Detail, part) {
				t.Errorf("%q is not in %+v", part, s)
			}
		}
	}
	check(find(app.CAOptions{}, "lost answers"), app.StatusOK, "no request of this CA is on record yet")
	if _, err := os.Stat(c.Store.Path); err == nil {
		t.Error("the check made a database")
	}
	s, err := store.Open(t.Context(), c.Store.Path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	row, _, err := s.Journal().Open(t.Context(), enroll.Enrolment{
		ID: strings.Repeat("a", 32), State: enroll.Requested, Created: time.Now(), Updated: time.Now(), Request: enroll.Request{Authority: "adcs", Owner: "est:/x", PublicKey: []byte{1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	row.Progress.RequestID = "4711"
	if _, err := s.Journal().Update(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(find(app.CAOptions{}, "lost answers"), app.StatusOK, "request 4711 is the highest on record", "the 64 after it")
	check(find(app.CAOptions{}, "adcs renewals"), app.StatusOK, "renewed 2 times", "2 earlier ones are still handed out beside it (valid to ")
	check(find(app.CAOptions{}, "adcs tls"), app.StatusOK, "TLS 1.3, CN=", "accepted by CN=", " in adcs.ca_file (")
	check(find(app.CAOptions{Enroll: true, DryRun: true}, "adcs enroll"), app.StatusSkip, `it would ask as CALLSIGN\ciscora`, "pkcs10")
	issued := find(app.CAOptions{Enroll: true}, "adcs enroll")
	check(issued, app.StatusOK, "request 1 (pkcs10) issued", "certutil -revoke "+issued.Serial)
	if issued.RequestID != "1" || len(issued.Serial) < 16 {
		t.Errorf("%+v", issued)
	}
	c.CAPF.Listen, c.CAPF.Issuer, c.CAPF.RAURL, c.ADCS.Vouch = "127.0.0.1:0", config.IssuerOnlineCA, "", config.VouchOnBehalf
	check(find(app.CAOptions{Enroll: true}, "adcs enroll"), app.StatusSkip, "callsign ra probe --requester")
}
