package app_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/app"
	"callsign/internal/certfile"
	"callsign/internal/config"
)

// peerHost is the name of the CA's web server in these tests.
const peerHost = "lab-dc.michamen.com"

// signed is a certificate with its key.
type signed struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// sign makes a certificate below parent, self-signed when that is nil.
func sign(t testing.TB, parent *signed, template x509.Certificate) *signed {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c, err := signWith(parent, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func signWith(parent *signed, template x509.Certificate, key crypto.Signer) (*signed, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = template.NotBefore.AddDate(0, 6, 0)
	}
	if parent == nil {
		parent = &signed{&template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent.cert, key.Public(), parent.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &signed{cert, key}, err
}

func authority(name string) x509.Certificate {
	return x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func webServer(name string) x509.Certificate {
	return x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

// webServing is a web server that shows these certificates, and has no pages.
func webServing(t testing.TB, leaf *signed, above ...*signed) string {
	t.Helper()
	shown := tls.Certificate{Certificate: [][]byte{leaf.cert.Raw}, PrivateKey: leaf.key}
	for _, c := range above {
		shown.Certificate = append(shown.Certificate, c.cert.Raw)
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{shown}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// raOf is a deployment whose RA asks the CA behind a web server at addr and trusts these certificates; nil means the
// system's roots.
func raOf(t *testing.T, addr string, trusted ...*signed) *config.Config {
	t.Helper()
	c := freshDeployment(t)
	c.CAPF.Listen = ""
	c.RA.Authority, c.RA.CompatSequence = config.AuthorityADCS, true
	c.ADCS = config.Default().ADCS
	c.ADCS.URL, c.ADCS.ConnectTo = "https://"+peerHost+"/certsrv", addr
	c.ADCS.Template, c.ADCS.Username, c.ADCS.PasswordFile = "CiscoRA", `MICHAMEN\ciscora`, c.EST.LabPasswordFile
	if trusted != nil {
		c.ADCS.CAFile = trust(t, c.Dir, "iis-ca.pem", trusted...)
	}
	return c
}

func trust(t *testing.T, dir, name string, certs ...*signed) string {
	t.Helper()
	path := filepath.Join(dir, name)
	var all []*x509.Certificate
	for _, c := range certs {
		all = append(all, c.cert)
	}
	if err := certfile.WriteCertificates(path, all...); err != nil {
		t.Fatal(err)
	}
	return path
}

// journal collects the structured log.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

// records returns those with this message so far.
func (j *journal) records(t *testing.T, message string) []map[string]any {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []map[string]any
	for line := range strings.Lines(j.b.String()) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r["msg"] == message {
			found = append(found, r)
		}
	}
	return found
}

// run serves c until the message has been logged so many times.
func run(t *testing.T, c *config.Config, message string, times int) *journal {
	t.Helper()
	var log journal
	a, err := app.Start(t.Context(), app.Options{Config: c, Handler: slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})})
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for len(log.records(t, message)) < times && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	if err := a.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if n := len(log.records(t, message)); n < times {
		t.Fatalf("%q was logged %d times", message, n)
	}
	return &log
}

// peerCase is a web server's certificate, and what must be said of it.
type peerCase struct {
	name    string
	addr    string
	trusted []*signed
	fault   string              // of chain; empty: accepted
	curl    string              // in the start log
	parts   map[string][]string // that attributes of the record have
	steps   []string            // of check: code, then what detail and remedy have
}

func peerCases(t *testing.T) []peerCase {
	t.Helper()
	root, other := sign(t, nil, authority("Lab Root")), sign(t, nil, authority("Other Root"))
	issuing := sign(t, root, authority("Lab Issuing"))
	leaf := sign(t, issuing, webServer(peerHost))
	short := sign(t, issuing, webServer("lab-dc"))
	self := sign(t, nil, webServer(peerHost))
	dated := func(name string, from time.Time) *signed {
		w := webServer(name)
		w.NotBefore = from
		return sign(t, issuing, w)
	}
	future, past := dated(peerHost, time.Now().AddDate(0, 1, 0)), dated(peerHost, time.Now().AddDate(-1, 0, 0))
	both := dated("lab-dc", time.Now().AddDate(-1, 0, 0))
	stamp := func(at time.Time) string { return at.UTC().Format(time.RFC3339) }
	keyID := func(c *signed) string { return fmt.Sprintf("%X", c.cert.SubjectKeyId) }
	const noIssuer, expired = "60 (SSL certificate problem: unable to get local issuer certificate)", "60 (SSL certificate problem: certificate has expired)"
	return []peerCase{
		{
			name: "issuer neither shown nor trusted", addr: webServing(t, leaf), trusted: []*signed{other}, fault: "unknown_issuer", curl: noIssuer,
			parts: map[string][]string{
				"err":     {"CN=Lab Issuing (key id " + keyID(issuing) + ")", "adcs.ca_file (", "iis-ca.pem)"},
				"remedy":  {"import the certificate of CN=Lab Issuing (key id " + keyID(issuing) + ") and its issuers up to the root into adcs.ca_file ("},
				"subject": {"CN=" + peerHost}, "depth": {"0"},
			},
			steps: []string{"certsrv.tls-untrusted", "CN=Lab Issuing"},
		},
		{
			name: "root not trusted", addr: webServing(t, leaf, issuing), trusted: []*signed{other}, fault: "unknown_issuer", curl: noIssuer,
			parts: map[string][]string{
				"err": {"CN=Lab Root (key id " + keyID(root) + ")"}, "remedy": {"import the certificate of CN=Lab Root (key id " + keyID(root) + ")"},
				"subject": {"CN=Lab Issuing"}, "depth": {"1"},
			},
			steps: []string{"certsrv.tls-untrusted", "CN=Lab Root"},
		},
		{
			name: "intermediate not shown", addr: webServing(t, leaf), trusted: []*signed{root}, fault: "unknown_issuer", curl: noIssuer,
			parts: map[string][]string{"err": {"CN=Lab Issuing"}, "remedy": {"or let the peer send its intermediate certificates"}},
			steps: []string{"certsrv.tls-untrusted", "let the peer send its intermediate certificates"},
		},
		{name: "intermediate trusted instead of shown", addr: webServing(t, leaf), trusted: []*signed{issuing, root}},
		{
			name: "intermediate trusted, its root not", addr: webServing(t, leaf, issuing), trusted: []*signed{issuing}, fault: "incomplete_anchor",
			curl:  "60 (SSL certificate problem: unable to get issuer certificate)",
			parts: map[string][]string{"remedy": {"import the certificate of CN=Lab Root (key id "}, "depth": {"1"}},
			steps: []string{"certsrv.tls-untrusted", "CN=Lab Root"},
		},
		{
			name: "self-signed", addr: webServing(t, self), trusted: []*signed{root}, fault: "self_signed",
			curl:  "60 (SSL certificate problem: self signed certificate)",
			parts: map[string][]string{"err": {"CN=" + peerHost + " is self-signed and not in adcs.ca_file ("}, "remedy": {"import it itself (SHA256 "}},
			steps: []string{"certsrv.tls-untrusted", "import it itself"},
		},
		{name: "self-signed and trusted itself", addr: webServing(t, self), trusted: []*signed{self}},
		{name: "trusted", addr: webServing(t, leaf, issuing), trusted: []*signed{root}},
		{
			name: "other name", addr: webServing(t, short, issuing), trusted: []*signed{root}, fault: "name_mismatch",
			curl:  "51 (SSL: certificate subject name 'lab-dc' does not match target host name '" + peerHost + "')",
			parts: map[string][]string{"err": {"not for " + peerHost, "it is for: lab-dc"}, "remedy": {"dNSName " + peerHost}},
			steps: []string{"certsrv.tls-wrong-name", "it is for: lab-dc", "dNSName " + peerHost, "(adcs.url)"},
		},
		{
			name: "not yet valid", addr: webServing(t, future, issuing), trusted: []*signed{root}, fault: "not_yet_valid",
			curl:  "60 (SSL certificate problem: certificate is not yet valid)",
			parts: map[string][]string{"err": {"valid from " + stamp(future.cert.NotBefore), "this machine's clock says " + stamp(time.Now())[:10]}, "remedy": {"timedatectl"}},
			steps: []string{"certsrv.tls-untrusted", "timedatectl"},
		},
		{
			name: "expired", addr: webServing(t, past, issuing), trusted: []*signed{root}, fault: "expired", curl: expired,
			parts: map[string][]string{"err": {"expired on " + stamp(past.cert.NotAfter)}, "remedy": {"renew the certificate of CN=" + peerHost}},
			steps: []string{"certsrv.tls-untrusted", "renew the certificate of CN=" + peerHost},
		},
		{
			name: "expired and for another name", addr: webServing(t, both, issuing), trusted: []*signed{root}, fault: "expired", curl: expired,
			parts: map[string][]string{
				"err": {"expired on ", "name_mismatch"}, "remedy": {"renew the certificate of CN=lab-dc"},
				"fault2": {"name_mismatch", "it is for: lab-dc", "dNSName " + peerHost},
			},
			steps: []string{"certsrv.tls-untrusted", "certsrv.tls-wrong-name", "renew the certificate", "dNSName " + peerHost},
		},
		{
			name: "not among the system's roots", addr: webServing(t, leaf, issuing), fault: "unknown_issuer", curl: noIssuer,
			parts: map[string][]string{"remedy": {"import the certificate of CN=Lab Root (key id " + keyID(root) + ") and its issuers up to the root into the system's roots (adcs.ca_file is not set)"}},
			steps: []string{"certsrv.tls-untrusted", "the system's roots"},
		},
		{name: "below a root of the system", addr: webServing(t, sign(t, systemRoot, webServer(peerHost)))},
		{
			name: "below a root of the system, for another name", addr: webServing(t, sign(t, systemRoot, webServer("lab-dc"))), fault: "name_mismatch",
			curl:  "51 (SSL: certificate subject name 'lab-dc' does not match target host name '" + peerHost + "')",
			steps: []string{"certsrv.tls-wrong-name", "it is for: lab-dc"},
		},
		{
			name: "below a root of the system, for clients only", fault: "wrong_usage",
			addr: webServing(t, sign(t, systemRoot, x509.Certificate{
				Subject: pkix.Name{CommonName: peerHost}, DNSNames: []string{peerHost}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			})),
			curl:  "60 (SSL certificate problem: unsupported certificate purpose)",
			steps: []string{"certsrv.tls-untrusted", "serverAuth"},
		},
	}
}

// TestWebServerCertificate holds, for each way in which the certificate of the CA's web server can be wrong, the record
// of the log with what to do, the lines of the RA's start log, and what check says.
func TestWebServerCertificate(t *testing.T) {
	t.Parallel()
	for _, tt := range peerCases(t) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := raOf(t, tt.addr, tt.trusted...)
			got := run(t, c, "login to web enrollment failed", 1).records(t, "login to web enrollment failed")[0]
			lines, err := os.ReadFile(filepath.Join(c.Trace.Dir, "nginx.txt"))
			if err != nil {
				t.Fatal(err)
			}
			var connect []app.Step
			for _, s := range app.Check(t.Context(), c, app.CheckOptions{}) {
				if s.Name == "adcs connect" {
					connect = append(connect, s)
				}
			}
			if tt.fault == "" {
				// There is no page: that, and nothing about the certificate, is what is wrong.
				if got["code"] != "certsrv.role-missing" && got["code"] != "certsrv.login-not-asked" || got["fault"] != nil {
					t.Errorf("%v", got)
				}
				if len(connect) != 1 || connect[0].Status != app.StatusOK {
					t.Errorf("check: %+v", connect)
				}
				return
			}
			judgeRecord(t, got, tt)
			judgeSteps(t, connect, tt.steps)
			want := "nginx: [warn] login_to_certsrv_ca: Curl call for MS CA login failed with return code " + tt.curl + "\n" +
				"nginx: [warn] login_to_certsrv_ca: URL used: https://" + peerHost + ":443/certsrv\n" +
				"nginx: [error] retrieve_cacerts: Unable to execute login to certsrv with curl\n"
			if !strings.Contains(string(lines), want) {
				t.Errorf("start log:\n%swant\n%s", lines, want)
			}
		})
	}
}

func judgeRecord(t *testing.T, got map[string]any, tt peerCase) {
	t.Helper()
	code := "certsrv.tls-untrusted"
	if tt.fault == "name_mismatch" {
		code = "certsrv.tls-wrong-name"
	}
	if got["level"] != "WARN" || got["code"] != code || got["fault"] != tt.fault || got["remedy"] == "" {
		t.Errorf("%v", got)
	}
	for key, parts := range tt.parts {
		for _, part := range parts {
			if !strings.Contains(fmt.Sprint(got[key]), part) {
				t.Errorf("%s: %q is not in %v", key, part, got[key])
			}
		}
	}
}

// judgeSteps compares codes, and looks for the other texts in what the steps say.
func judgeSteps(t *testing.T, steps []app.Step, want []string) {
	t.Helper()
	said := ""
	for _, s := range steps {
		said += s.Code + " " + s.Detail + " " + s.Remedy + "\n"
	}
	for _, text := range want {
		if !strings.Contains(said, text) {
			t.Errorf("check does not say %q:\n%s", text, said)
		}
	}
	codes := 0
	for _, text := range want {
		if strings.HasPrefix(text, "certsrv.") {
			codes++
		}
	}
	if codes != len(steps) {
		t.Errorf("%d steps, want %d:\n%s", len(steps), codes, said)
	}
}

// TestOwnRACertificate: CAPF tells at its start when the RA that it shall ask is not to be trusted, once.
func TestOwnRACertificate(t *testing.T) {
	t.Parallel()
	root := sign(t, nil, authority("RA Root"))
	here := webServer("localhost")
	here.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	for _, tt := range []struct {
		name    string
		shown   x509.Certificate
		trusted *signed
		code    string
		parts   map[string][]string
	}{
		{"untrusted", here, sign(t, nil, authority("Other Root")), "upstream.server-untrusted", map[string][]string{
			"fault": {"unknown_issuer"}, "remedy": {"CN=RA Root", "into capf.ra_ca_file ("},
		}},
		{"other name", webServer("ra.example"), root, "upstream.server-name", map[string][]string{
			"fault": {"name_mismatch"}, "err": {"not for 127.0.0.1; it is for: ra.example"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := freshDeployment(t)
			c.EST.Listen = ""
			c.CAPF.Issuer, c.CAPF.RAURL = config.IssuerOnlineCA, "https://"+webServing(t, sign(t, root, tt.shown))+"/.well-known/est"
			c.CAPF.RACertificateFile, c.CAPF.RAKeyFile = c.EST.CertificateFile, c.EST.KeyFile
			c.CAPF.RACAFile = trust(t, c.Dir, "ra-of-others.pem", tt.trusted)
			all := run(t, c, "the CA's chain is not known yet", 3).records(t, "certificate of the registration authority refused")
			if len(all) != 1 {
				t.Fatalf("told %d times: %v", len(all), all)
			}
			got := all[0]
			if got["level"] != "WARN" || got["code"] != tt.code {
				t.Errorf("%v", got)
			}
			for key, parts := range tt.parts {
				for _, part := range parts {
					if !strings.Contains(fmt.Sprint(got[key]), part) {
						t.Errorf("%s: %q is not in %v", key, part, got[key])
					}
				}
			}
			var steps []string
			for _, s := range app.Check(t.Context(), c, app.CheckOptions{}) {
				if s.Name == "ra cacerts" {
					steps = append(steps, s.Code)
				}
			}
			if diff := cmp.Diff([]string{"est." + strings.TrimPrefix(tt.code, "upstream.")}, steps); diff != "" {
				t.Error(diff)
			}
		})
	}
}
