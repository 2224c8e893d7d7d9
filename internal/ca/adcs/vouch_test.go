package adcs_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"

	"callsign/certsrv"
	"callsign/certsrv/certsrvtest"
	"callsign/cmc"
	"callsign/internal/ca"
	"callsign/internal/ca/adcs"
	"callsign/internal/ca/local"
)

func accounts(t testing.TB, text string) cmc.AccountPattern {
	t.Helper()
	p, err := cmc.ParseAccountPattern(text, "SEP[0-9A-F]{12}")
	check(t, err)
	return p
}

// TestVouching: each way to let an enrollment agent sign, for bare keys and for signed requests, and what the CA says of the
// wrong ones.
func TestVouching(t *testing.T) {
	t.Parallel()
	computer := accounts(t, `LAB\{name}$`)
	onBehalf := func(c *adcs.Config) { c.OnBehalf, c.Account = true, computer }
	pkcs7 := func(c *adcs.Config) { c.SignRequests, c.Account = adcs.SignPKCS7, computer }
	cases := []struct {
		name     string
		template string
		request  func(testing.TB) ca.Request
		edit     func(*adcs.Config)
		subject  string // common name of the certificate
		onBehalf string
		denied   uint32
		code     string // of an error of ours
	}{
		{name: "bare, supplied", template: "CallsignPhone", request: bare, subject: "SEP001122334455"},
		{name: "bare, agent only", template: "CallsignPhone", request: bare, edit: func(c *adcs.Config) { c.Shape = cmc.AgentOnly }, subject: "SEP001122334455"},
		{name: "bare, on behalf", template: "FromDirectory", request: bare, edit: onBehalf, subject: "SEP001122334455$", onBehalf: `LAB\SEP001122334455$`},
		{name: "signed, nobody signs", template: "CallsignPhone", request: signed, denied: 0x80094809},
		{name: "signed, CMC", template: "CallsignPhone", request: signed, edit: func(c *adcs.Config) { c.SignRequests = adcs.SignCMC }, subject: "SEP001122334455"},
		{
			name: "signed, CMC on behalf", template: "FromDirectory", request: signed, subject: "SEP001122334455$", onBehalf: `LAB\SEP001122334455$`,
			edit: func(c *adcs.Config) { onBehalf(c); c.SignRequests = adcs.SignCMC },
		},
		{name: "signed, PKCS #7", template: "FromDirectory", request: signed, edit: pkcs7, subject: "SEP001122334455$", onBehalf: `LAB\SEP001122334455$`},
		{name: "bare where signed ones get PKCS #7", template: "CallsignPhone", request: bare, edit: pkcs7, subject: "SEP001122334455"},
		{
			name: "a user's account", template: "FromDirectory", request: signed, subject: "SEP001122334455", onBehalf: `LAB\SEP001122334455`,
			edit: func(c *adcs.Config) { c.SignRequests, c.Account = adcs.SignPKCS7, accounts(t, `LAB\{name}`) },
		},
		{name: "two signatures wanted", template: "Two", request: bare, denied: 0x8009480A},
		{
			name: "name that may not be asked for", template: "FromDirectory", edit: pkcs7, code: adcs.CodeNoAccount,
			request: func(t testing.TB) ca.Request { r := signed(t); r.Subject = name(t, "DC01"); return r },
		},
		{
			name: "bare, name that may not be asked for", template: "FromDirectory", edit: onBehalf, code: adcs.CodeNoAccount,
			request: func(t testing.TB) ca.Request { r := bare(t); r.Subject = name(t, "Administrator"); return r },
		},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *certsrvtest.Config, _ *certsrv.Client) {
				c.Templates = append(c.Templates, certsrvtest.Template{Name: "FromDirectory", RASignatures: 1, BuildFromAD: true}, certsrvtest.Template{Name: "Two", RASignatures: 2})
			})
			a := w.authority(func(c *adcs.Config) {
				c.Template = tt.template
				if tt.edit != nil {
					tt.edit(c)
				}
			})
			l := w.page()
			out, err := a.Issue(t.Context(), tt.request(t), l)
			if tt.code != "" {
				e := wantError(t, err, tt.code)
				if !e.Final || !strings.Contains(e.Remedy(), "adcs.requester_names") || l.Progress().Submitted || len(w.sim.Issued()) != 0 {
					t.Errorf("%+v, %+v", e, l.Progress())
				}
				return
			}
			check(t, err)
			if tt.denied != 0 {
				if out.Status != ca.Denied || out.Denial.HResult != tt.denied || !strings.Contains(out.Denial.Remedy(), "adcs.") {
					t.Fatalf("%+v, %+v", out, out.Denial)
				}
				return
			}
			if out.Status != ca.Issued {
				t.Fatalf("%+v, %+v", out, out.Denial)
			}
			cert, err := x509.ParseCertificate(out.Certificate)
			check(t, err)
			if rec, ok := w.sim.Request(1); !ok || cert.Subject.CommonName != tt.subject || rec.OnBehalfOf != tt.onBehalf {
				t.Errorf("certificate for %s, on behalf of %q; want %s, %q", cert.Subject, rec.OnBehalfOf, tt.subject, tt.onBehalf)
			}
		})
	}
}

// TestWrongAgent: an agent without the usage, and one that the CA does not trust.
func TestWrongAgent(t *testing.T) {
	t.Parallel()
	stranger, err := local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Stranger"}})
	check(t, err)
	for code, leaf := range map[uint32]func(*world) (*local.Leaf, error){
		0x8009480B: func(w *world) (*local.Leaf, error) {
			return w.ca.i.NewLeaf(t.Context(), local.LeafOptions{Purpose: local.TLSServer, Names: []string{"x.example"}, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "no agent"}}})
		},
		0x800B0109: func(*world) (*local.Leaf, error) {
			return stranger.NewLeaf(t.Context(), local.LeafOptions{Purpose: local.EnrollmentAgent, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "stranger"}}})
		},
	} {
		w := newWorld(t, nil)
		agent, err := leaf(w)
		check(t, err)
		a := w.authority(func(c *adcs.Config) {
			c.Template, c.Agent, c.AgentChain = "CallsignPhone", agent.Signer, []*x509.Certificate{agent.Certificate}
		})
		out, err := a.Issue(t.Context(), bare(t), w.page())
		check(t, err)
		if out.Status != ca.Denied || out.Denial.HResult != code || !strings.Contains(out.Denial.Remedy(), "agent") {
			t.Errorf("%#x: %+v, %+v", code, out, out.Denial)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, c := range map[string]adcs.Config{
		"no client":                      {},
		"key without certificate":        {Client: w.client, Agent: w.agent.Signer},
		"nobody to sign":                 {Client: w.client, SignRequests: adcs.SignCMC},
		"on behalf of nobody":            {Client: w.client, OnBehalf: true},
		"signed, on behalf of nobody":    {Client: w.client, Agent: w.agent.Signer, AgentChain: []*x509.Certificate{w.agent.Certificate}, SignRequests: adcs.SignPKCS7},
		"a search that ends before it":   {Client: w.client, Missing: -1},
		"a search of less than no steps": {Client: w.client, Tried: -1},
	} {
		if _, err := adcs.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
