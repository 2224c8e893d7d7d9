package certsrv_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/certsrv"
	"callsign/certsrv/certsrvtest"
	"callsign/certsrv/winauth"
)

const (
	simHost     = "lab-dc.test.example"
	simPassword = "Geheim-4711"
)

// simCA is the CA behind the simulated server: an issuing CA below a root, renewed as often as it has chains.
type simCA struct {
	t      *testing.T
	issuer *certsrv.TestCA
	chains [][]*x509.Certificate
}

func newSimCA(t *testing.T, renewals int) *simCA {
	t.Helper()
	root := certsrv.NewTestCA(t, "Sim Root")
	ca := &simCA{t: t}
	for k := range renewals + 1 {
		ca.issuer = certsrv.MakeCA(t, root, "LAB-DC-RTP", certsrv.NewKey(t), certsrv.Epoch().AddDate(k-9, 0, 0), certsrv.Epoch().AddDate(k+1, 0, 0))
		ca.chains = append(ca.chains, []*x509.Certificate{ca.issuer.Certificate(), root.Certificate()})
	}
	return ca
}

func (ca *simCA) Certificates() [][]*x509.Certificate { return ca.chains }

func (ca *simCA) Issue(_ context.Context, r certsrvtest.Issuance) ([]byte, error) {
	pub, err := x509.ParsePKIXPublicKey(r.PublicKey)
	if err != nil {
		return nil, err
	}
	return ca.issuer.Sign(ca.t, &x509.Certificate{
		RawSubject: r.RawSubject, Subject: pkix.Name{}, ExtraExtensions: r.Extensions,
		NotBefore: certsrv.Epoch(), NotAfter: certsrv.Epoch().AddDate(1, 0, 0),
	}, pub).Raw, nil
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// rows returns "USER METHOD URI STATUS SUBSTATUS" of the server's log.
func (l *lockedBuffer) rows() []string {
	var out []string
	for line := range strings.Lines(l.String()) {
		f := strings.Fields(line)
		if len(f) < 15 || strings.HasPrefix(line, "#") {
			continue
		}
		uri := f[4]
		if f[5] != "-" {
			uri += "?" + f[5]
		}
		out = append(out, strings.Join([]string{f[7], f[3], uri, f[11], f[12]}, " "))
	}
	return out
}

func startSim(t *testing.T, ca *simCA, change func(*certsrvtest.Config)) (*certsrvtest.Server, *certsrv.Client, *lockedBuffer, *lockedBuffer) {
	t.Helper()
	return startSimOn(t, certsrv.Listen(t), ca, change)
}

// startSimOn is startSim on a listener of the test's own.
func startSimOn(t *testing.T, ln net.Listener, ca *simCA, change func(*certsrvtest.Config)) (*certsrvtest.Server, *certsrv.Client, *lockedBuffer, *lockedBuffer) {
	t.Helper()
	iis, log := new(lockedBuffer), new(lockedBuffer)
	cfg := certsrvtest.Config{
		CA: ca, NTLM: true, RequireTLS: true, IISLog: iis, Now: certsrv.Epoch, Host: simHost,
		Users:     []certsrvtest.User{{Name: `MICHAMEN\ciscora`, Password: simPassword}, {Name: `MICHAMEN\other`, Password: simPassword}},
		Templates: []certsrvtest.Template{{Name: "CiscoRA", DisplayName: "Cisco RA"}, {Name: "Restricted", Enrollers: []string{`MICHAMEN\other`}}},
	}
	if change != nil {
		change(&cfg)
	}
	s, err := certsrvtest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	web := certsrv.NewTestCA(t, "Web Root")
	serverTLS, clientTLS := certsrv.ServerTLS(t, web, simHost)
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(ln, serverTLS) })
	c := &certsrv.Client{
		URL: "https://" + simHost + "/certsrv", TLS: clientTLS, Now: certsrv.Epoch, FetchTimeout: time.Minute, SubmitTimeout: time.Minute,
		Auth: winauth.Credentials{User: `MICHAMEN\ciscora`, Password: winauth.NewPassword([]byte(simPassword))},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, ln.Addr().String())
		},
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		_ = s.Close()
		wg.Wait()
		if strings.Contains(log.String()+iis.String(), simPassword) {
			t.Error("the password is in a log")
		}
	})
	return s, c, iis, log
}

func submission(t *testing.T, template string) certsrv.EnrollOptions {
	t.Helper()
	return certsrv.EnrollOptions{Submission: certsrv.Submission{Request: certsrv.NewCSR(t, "SEP001122334455"), Template: template}}
}

func TestSimulatorSevenRows(t *testing.T) {
	t.Parallel()
	ca := newSimCA(t, 0)
	_, c, iis, _ := startSim(t, ca, nil)
	c.Compat = true
	a, err := c.Enroll(t.Context(), submission(t, "CiscoRA"))
	if err != nil || a.Outcome != certsrv.Issued {
		t.Fatalf("Enroll = %+v, %v", a, err)
	}
	if err := a.Certificate.CheckSignatureFrom(ca.issuer.Certificate()); err != nil {
		t.Error(err)
	}
	want := []string{
		"- GET /certsrv 401 1", `MICHAMEN\ciscora GET /certsrv 301 0`, `MICHAMEN\ciscora GET /certsrv/certrqxt.asp 200 0`,
		"- GET /certsrv 401 1", `MICHAMEN\ciscora GET /certsrv 301 0`, `MICHAMEN\ciscora POST /certsrv/certfnsh.asp 200 0`,
		`MICHAMEN\ciscora GET /certsrv/certnew.cer?ReqID=1&ENC=b64 200 0`,
	}
	if d := cmp.Diff(want, iis.rows()); d != "" {
		t.Error(d)
	}
	for _, s := range []string{"CiscoRA+1.0", "https://lab-dc.test.example:443/certsrv/certrqxt.asp"} {
		if !strings.Contains(iis.String(), s) {
			t.Errorf("server log does not have %q", s)
		}
	}
}

func TestSimulatorOutcomes(t *testing.T) {
	t.Parallel()
	for _, lang := range []certsrvtest.Lang{certsrvtest.English, certsrvtest.French} {
		for _, agent := range []string{"", "CiscoRA 1.0", "Mozilla/4.0 (compatible; MSIE 7.0; Trident)"} {
			t.Run(string(lang)+" "+agent, func(t *testing.T) {
				t.Parallel()
				s, c, _, _ := startSim(t, newSimCA(t, 2), func(cfg *certsrvtest.Config) {
					cfg.Lang = lang
					cfg.Templates = append(cfg.Templates,
						certsrvtest.Template{Name: "Slow", Behaviour: certsrvtest.Behaviour{Answer: certsrvtest.Pending}},
						certsrvtest.Template{Name: "Never", Behaviour: certsrvtest.Behaviour{Answer: certsrvtest.Deny, HResult: 0x80094811}},
						certsrvtest.Template{Name: "Down", Behaviour: certsrvtest.Behaviour{Answer: certsrvtest.RPCDown}},
						certsrvtest.Template{Name: "Broken", Behaviour: certsrvtest.Behaviour{Answer: certsrvtest.ASPError}},
						certsrvtest.Template{Name: "Gone", Behaviour: certsrvtest.Behaviour{Answer: certsrvtest.Drop}},
					)
				})
				c.UserAgent = agent
				check := func(template string, want certsrv.Outcome, h certsrv.HResult) certsrv.Answer {
					t.Helper()
					a, err := c.Enroll(t.Context(), submission(t, template))
					if err != nil || a.Outcome != want || a.HResult != h || (want == certsrv.Issued) != (a.Certificate != nil) {
						t.Errorf("%s: %+v, %v", template, a, err)
					}
					return a
				}
				check("CiscoRA", certsrv.Issued, 0)
				check("Never", certsrv.Denied, 0x80094811)
				check("Down", certsrv.Failed, certsrv.StatusRPCUnavailable)
				for _, template := range []string{"Broken", "Gone"} {
					if _, err := c.Enroll(t.Context(), submission(t, template)); !errors.Is(err, certsrv.ErrAnswerLost) {
						t.Errorf("%s: %v", template, err)
					}
				}
				one, two := check("Slow", certsrv.Pending, 0), check("Slow", certsrv.Pending, 0)
				if a, err := c.Fetch(t.Context(), one.RequestID); err != nil || a.Outcome != certsrv.Pending {
					t.Errorf("Fetch = %+v, %v", a, err)
				}
				if err := errors.Join(s.Approve(t.Context(), atoi(t, one.RequestID)), s.Deny(atoi(t, two.RequestID))); err != nil {
					t.Fatal(err)
				}
				if a, err := c.Fetch(t.Context(), one.RequestID); err != nil || a.Certificate == nil {
					t.Errorf("approved: %+v, %v", a, err)
				}
				if a, err := c.Fetch(t.Context(), two.RequestID); err != nil || a.Outcome != certsrv.Denied || a.HResult != 0x80094014 {
					t.Errorf("denied by the manager: %+v, %v", a, err)
				}
				if a, err := c.Fetch(t.Context(), "999"); err != nil || a.Problem().Code() != certsrv.CodeUnknownRequest {
					t.Errorf("unknown id: %+v, %v", a, err)
				}
				certs, err := c.CACertificates(t.Context())
				if err != nil || len(certs) != 4 || certs[0].NotBefore.Year() != 2019 || certs[1].Subject.CommonName != "Sim Root" {
					t.Errorf("CACertificates = %d, %v", len(certs), err)
				}
			})
		}
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n := 0
	for _, r := range s {
		n = n*10 + int(r-'0')
	}
	return n
}

func TestSimulatorAccounts(t *testing.T) {
	t.Parallel()
	_, c, _, _ := startSim(t, newSimCA(t, 0), nil)
	creds := func(user, password string) *winauth.Credentials {
		return &winauth.Credentials{User: user, Password: winauth.NewPassword([]byte(password))}
	}
	for _, user := range []string{`MICHAMEN\ciscora`, "ciscora@michamen.test", "ciscora"} {
		if err := c.Login(t.Context(), creds(user, simPassword)); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
	for _, bad := range []*winauth.Credentials{creds(`MICHAMEN\ciscora`, "x"), creds(`MICHAMEN\nobody`, simPassword), creds(`ELSEWHERE\ciscora`, simPassword)} {
		err := c.Login(t.Context(), bad)
		var p *certsrv.Problem
		if !errors.As(err, &p) || p.Code() != certsrv.CodeNotAuthenticated || !errors.Is(err, winauth.ErrNotAuthenticated) {
			t.Errorf("%s: %v", bad.User, err)
		}
	}
	// Basic is not even installed on a fresh server.
	basic := creds(`MICHAMEN\ciscora`, simPassword)
	basic.Method = winauth.Basic
	var noBasic *certsrv.Problem
	if err := c.Login(t.Context(), basic); !errors.As(err, &noBasic) || noBasic.Code() != certsrv.CodeNotAuthenticated ||
		!strings.Contains(noBasic.Remedy(), "Web-Basic-Auth") || !strings.Contains(noBasic.Remedy(), "NTLM") {
		t.Errorf("Basic: %v", err)
	}
	// The template that another account may enrol is not offered to this one, and is denied when it is asked for anyway.
	err := c.CheckTemplate(t.Context(), "Restricted")
	var p *certsrv.Problem
	if !errors.As(err, &p) || p.Code() != certsrv.CodeTemplateNotOffered {
		t.Errorf("CheckTemplate = %v", err)
	}
	c.SkipTemplateCheck = true
	a, err := c.Enroll(t.Context(), submission(t, "Restricted"))
	if err != nil || a.Outcome != certsrv.Denied || a.HResult != certsrv.StatusTemplateDenied {
		t.Errorf("Enroll = %+v, %v", a, err)
	}
	o := submission(t, "Restricted")
	o.Login = creds(`MICHAMEN\other`, simPassword)
	if a, err = c.Enroll(t.Context(), o); err != nil || a.Outcome != certsrv.Issued {
		t.Errorf("Enroll as other = %+v, %v", a, err)
	}
	if got, err := c.Fetch(t.Context(), a.RequestID); err != nil || got.Outcome == certsrv.Issued {
		t.Errorf("another account's request: %+v, %v", got, err)
	}
	if got, err := c.FetchAs(t.Context(), *o.Login, a.RequestID); err != nil || got.Certificate == nil {
		t.Errorf("FetchAs = %+v, %v", got, err)
	}
}

// Example enrols at a server; it is not run, for want of one.
func Example() {
	c := &certsrv.Client{
		URL:  "https://lab-dc.example.net/certsrv",
		Auth: winauth.Credentials{User: `LAB\ra`, Password: winauth.NewPassword([]byte("from a file"))},
	}
	defer func() { _ = c.Close() }()
	answer, err := c.Enroll(context.Background(), certsrv.EnrollOptions{
		Submission: certsrv.Submission{Request: []byte("DER of a PKCS #10"), Template: "Phone"},
		Submitted:  func(_ context.Context, id string) error { slog.Info("submitted", "request_id", id); return nil },
	})
	switch {
	case errors.Is(err, certsrv.ErrAnswerLost): // look for it by id before posting again
	case err != nil:
		slog.Error("not enrolled", "err", err)
	case answer.Problem() != nil:
		slog.Error("refused", "err", answer.Problem(), "remedy", answer.Problem().Remedy())
	}
}
