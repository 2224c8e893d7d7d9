package app_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callsign/internal/app"
	"callsign/internal/config"
	"callsign/internal/enterprise"
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
		{name: "no TLS", edit: url("https://" + plain.Addr().String() + "/certsrv"), step: "adcs tls", status: app.StatusFail, code: "probe.not-tls", skipped: "adcs login"},
		{name: "untrusted", words: "untrusted", step: "adcs tls", status: app.StatusFail, code: "certsrv.tls-untrusted", parts: []string{"Other Root CA", "adcs.ca_file"}, skipped: "adcs login"},
		{name: "self-signed", words: "self-signed", step: "adcs tls", status: app.StatusFail, code: "certsrv.tls-untrusted", parts: []string{"self-signed", "SHA256"}, skipped: "adcs login"},
		{name: "wrong name", words: "wrong-name", step: "adcs tls", status: app.StatusFail, code: "certsrv.tls-wrong-name", parts: []string{"intranet.callsign.example", "adcs.url"}, skipped: "adcs login"},
		{name: "not yet valid", words: "not-yet-valid", step: "adcs tls", status: app.StatusFail, code: "certsrv.tls-untrusted", parts: []string{"is valid from", "clock says", "timedatectl"}, skipped: "adcs login"},
		{name: "expired", words: "expired", step: "adcs tls", status: app.StatusFail, code: "certsrv.tls-untrusted", parts: []string{"expired on"}, skipped: "adcs login"},
		{name: "Basic only", words: "auth=basic", step: "adcs authentication", status: app.StatusFail, code: "certsrv.not-authenticated", parts: []string{"offers Basic", `adcs.auth = "ntlm"`, "provider NTLM"}},
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
		{name: "answer lost", words: "drop", options: app.CAOptions{Enroll: true}, step: "adcs enroll", status: app.StatusFail, code: "certsrv.answer-lost", parts: []string{"Callsign probe pkcs10"}},
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
