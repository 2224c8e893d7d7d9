package adcs_test

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/certsrv"
	"callsign/certsrv/certsrvtest"
	"callsign/certsrv/winauth"
	"callsign/internal/ca"
	"callsign/internal/ca/adcs"
	"callsign/internal/ca/local"
)

const requester = `LAB\SEP001122334455$`

// probe runs a probe of a template with everything that it can have, after edit.
func (w *world) probe(template string, edit func(*adcs.Probe)) ([]adcs.Trial, error) {
	w.t.Helper()
	p := &adcs.Probe{
		Client: w.client, Template: template, Requester: requester, Agent: w.agent.Signer, AgentChain: []*x509.Certificate{w.agent.Certificate},
		Now: func() time.Time { return w.now },
	}
	if edit != nil {
		edit(p)
	}
	return p.Run(w.t.Context())
}

// verdicts are the trials as "shape outcome HRESULT", or why there is no outcome.
func verdicts(trials []adcs.Trial) []string {
	var out []string
	for i := range trials {
		t := &trials[i]
		line := t.Shape.String() + " "
		switch {
		case t.Skipped != "":
			line += "skipped"
		case t.Err != nil:
			line += codeOf(t.Err)
		case t.Status.HResult != 0:
			line += fmt.Sprintf("%s %s", t.Outcome, t.Status.HResult)
		default:
			line += t.Outcome.String()
		}
		out = append(out, line)
	}
	return out
}

func codeOf(err error) string {
	coded, ok := err.(interface{ Code() string })
	if !ok {
		return err.Error()
	}
	return coded.Code()
}

// each is the same verdict for these shapes.
func each(verdict string, shapes ...adcs.Shape) []string {
	var out []string
	for _, s := range shapes {
		out = append(out, s.String()+" "+verdict)
	}
	return out
}

func TestProbe(t *testing.T) {
	t.Parallel()
	const issued = "issued"
	bySim := func(edit func(*certsrvtest.Config)) func(*certsrvtest.Config, *certsrv.Client) {
		return func(c *certsrvtest.Config, _ *certsrv.Client) { edit(c) }
	}
	template := func(name string, edit func(*certsrvtest.Template)) func(*certsrvtest.Config, *certsrv.Client) {
		return bySim(func(c *certsrvtest.Config) {
			t := certsrvtest.Template{Name: name}
			edit(&t)
			c.Templates = append(c.Templates, t)
		})
	}
	refused := []string{ // a key that cannot sign is refused in every shape
		"pkcs10 issued", "cmc-supplied error 0x80090006", "agent-only error 0x80090006", "cmc-signed issued", "pkcs7-on-behalf issued", "cmc-on-behalf error 0x80090006",
	}
	for _, tt := range []struct {
		name     string
		template string
		sim      func(*certsrvtest.Config, *certsrv.Client)
		edit     func(*adcs.Probe)
		want     []string
		bare     adcs.Shape // to be used for keys that cannot sign; empty: none
		signed   adcs.Shape
		vouch    string
	}{
		{name: "a template for both kinds", template: "CiscoRA", want: each(issued, adcs.Shapes()...), bare: adcs.ShapeSupplied, signed: adcs.ShapePKCS10, vouch: "cmc-supplied"},
		{
			name: "a template that wants one signature", template: "CallsignPhone",
			want: append([]string{"pkcs10 denied 0x80094809"}, each(issued, adcs.Shapes()[1:]...)...), bare: adcs.ShapeSupplied, signed: adcs.ShapeCMCSigned, vouch: "cmc-supplied",
		},
		{
			name: "a template that wants two", template: "Two", sim: template("Two", func(t *certsrvtest.Template) { t.RASignatures = 2 }),
			want: append([]string{"pkcs10 denied 0x80094809"}, each("denied 0x8009480a", adcs.Shapes()[1:]...)...),
		},
		{
			name: "a CA that wants the signer without signature", template: "CiscoRA", sim: bySim(func(c *certsrvtest.Config) { c.RequireNullSigner = true }),
			want: []string{"pkcs10 issued", "cmc-supplied issued", "agent-only error 0x80090006", "cmc-signed error 0x80090006", "pkcs7-on-behalf issued", "cmc-on-behalf issued"},
			bare: adcs.ShapeSupplied, signed: adcs.ShapePKCS10, vouch: "cmc-supplied",
		},
		{
			name: "a CA that takes no null signature", template: "CiscoRA", sim: bySim(func(c *certsrvtest.Config) { c.RefuseNull = true }),
			want: refused, signed: adcs.ShapePKCS10,
		},
		{
			name: "a key longer than ours", template: "Long", sim: template("Long", func(t *certsrvtest.Template) { t.MinKeyBits = 4096 }),
			want: each("denied 0x80094811", adcs.Shapes()...),
		},
		{
			name: "a template that wants names", template: "SAN", sim: template("SAN", func(t *certsrvtest.Template) { t.RequireSAN = true }),
			want: each("denied 0x80094803", adcs.Shapes()...),
		},
		{
			name: "a machine template that is not for this account", template: "Hidden",
			sim: func(c *certsrvtest.Config, client *certsrv.Client) {
				client.SkipTemplateCheck = true
				c.Templates = append(c.Templates, certsrvtest.Template{Name: "Hidden", MachineType: true, Enrollers: []string{`LAB\other`}})
			},
			want: each("denied 0x80094012", adcs.Shapes()...),
		},
		{
			name: "no such template, unchecked", template: "Nowhere", sim: func(_ *certsrvtest.Config, c *certsrv.Client) { c.SkipTemplateCheck = true },
			want: each("denied 0x80094800", adcs.Shapes()...),
		},
		{
			name: "a manager decides", template: "CiscoRA", sim: bySim(func(c *certsrvtest.Config) { c.Behaviour.Answer = certsrvtest.Pending }),
			want: each("pending", adcs.Shapes()...), bare: adcs.ShapeSupplied, signed: adcs.ShapePKCS10, vouch: "cmc-supplied",
		},
		{
			name: "the first answer waits for a manager, the next one is issued", template: "CallsignPhone",
			sim: func(c *certsrvtest.Config, _ *certsrv.Client) {
				c.Templates[1].Behaviour = certsrvtest.Behaviour{Answer: certsrvtest.Pending, Times: 2}
			},
			want: []string{"pkcs10 denied 0x80094809", "cmc-supplied pending", "agent-only issued", "cmc-signed issued", "pkcs7-on-behalf issued", "cmc-on-behalf issued"},
			bare: adcs.ShapeAgentOnly, signed: adcs.ShapeCMCSigned, vouch: "agent-only",
		},
		{
			name: "denied by a manager, in French", template: "CiscoRA",
			sim: bySim(func(c *certsrvtest.Config) {
				c.Behaviour = certsrvtest.Behaviour{Answer: certsrvtest.Deny, Lang: certsrvtest.French}
			}),
			want: each("denied 0x80094014", adcs.Shapes()...),
		},
		{
			name: "restricted agents, with the requests of the original", template: "CiscoRA",
			sim: func(c *certsrvtest.Config, client *certsrv.Client) {
				client.Compat = true
				c.Behaviour = certsrvtest.Behaviour{Answer: certsrvtest.Deny, HResult: 0x80094009}
			},
			want: each("denied 0x80094009", adcs.Shapes()...),
		},
		{
			name: "an agent without the usage", template: "CallsignPhone", edit: nil,
			want: append([]string{"pkcs10 denied 0x80094809"}, each("denied 0x8009480b", adcs.Shapes()[1:]...)...),
		},
		{
			name: "an agent of another CA", template: "CallsignPhone",
			want: append([]string{"pkcs10 denied 0x80094809"}, each("error 0x800b0109", adcs.Shapes()[1:]...)...),
		},
		{
			name: "no agent", template: "CiscoRA", edit: func(p *adcs.Probe) { p.Agent, p.AgentChain = nil, nil },
			want: append([]string{"pkcs10 issued"}, each("skipped", adcs.Shapes()[1:]...)...), signed: adcs.ShapePKCS10,
		},
		{
			name: "no requester", template: "CiscoRA", edit: func(p *adcs.Probe) { p.Requester = "" },
			want: []string{"pkcs10 issued", "cmc-supplied issued", "agent-only issued", "cmc-signed issued", "pkcs7-on-behalf skipped", "cmc-on-behalf skipped"},
			bare: adcs.ShapeSupplied, signed: adcs.ShapePKCS10, vouch: "cmc-supplied",
		},
		{
			name: "the CA is down: nothing else is tried", template: "CiscoRA", sim: bySim(func(c *certsrvtest.Config) { c.Behaviour = certsrvtest.Behaviour{Answer: certsrvtest.RPCDown} }),
			want: append([]string{"pkcs10 error 0x800706ba"}, each("skipped", adcs.Shapes()[1:]...)...),
		},
		{
			name: "the web server fails once: the others are tried", template: "CiscoRA",
			sim: bySim(func(c *certsrvtest.Config) {
				c.Behaviour = certsrvtest.Behaviour{Answer: certsrvtest.ASPError, Times: 1}
			}),
			want: append([]string{"pkcs10 certsrv.server-error"}, each(issued, adcs.Shapes()[1:]...)...), bare: adcs.ShapeSupplied, signed: adcs.ShapeCMCSigned, vouch: "cmc-supplied",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.sim)
			edit := tt.edit
			switch tt.name {
			case "an agent without the usage":
				leaf, err := w.ca.i.NewLeaf(t.Context(), local.LeafOptions{Purpose: local.Responder, CAOptions: local.CAOptions{Subject: pkixName("no agent")}})
				check(t, err)
				edit = func(p *adcs.Probe) { p.Agent, p.AgentChain = leaf.Signer, []*x509.Certificate{leaf.Certificate} }
			case "an agent of another CA":
				other := newWorld(t, nil)
				edit = func(p *adcs.Probe) {
					p.Agent, p.AgentChain = other.agent.Signer, []*x509.Certificate{other.agent.Certificate}
				}
			}
			trials, err := w.probe(tt.template, edit)
			check(t, err)
			if diff := cmp.Diff(tt.want, verdicts(trials)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			judgeTrials(t, w, trials)
			for _, b := range []struct {
				bare bool
				want adcs.Shape
			}{{true, tt.bare}, {false, tt.signed}} {
				if got, ok := adcs.Best(trials, b.bare); got.Shape != b.want || ok != (b.want != "") {
					t.Errorf("best of bare=%v: %q, want %q", b.bare, got.Shape, b.want)
				}
			}
			vouch := ""
			for _, s := range adcs.Settings(trials, requester) {
				if s.Key == "adcs.vouch" {
					vouch = s.Value
				}
			}
			if vouch != tt.vouch {
				t.Errorf("adcs.vouch = %q, want %q", vouch, tt.vouch)
			}
		})
	}
}

// judgeTrials: what the trials say is what the CA has, and every refusal comes with words and a remedy.
func judgeTrials(t *testing.T, w *world, trials []adcs.Trial) {
	t.Helper()
	var serials, atCA []string
	for i := range trials {
		x := &trials[i]
		if x.Outcome == certsrv.Issued {
			if x.Certificate == nil || !strings.Contains(x.Subject, "Callsign probe "+x.Shape.String()) || x.Certificate.Subject.String() != x.Subject {
				t.Errorf("%s: certificate %v for %q", x.Shape, x.Certificate != nil, x.Subject)
				continue
			}
			serials = append(serials, x.Serial())
		}
		if (x.Outcome == certsrv.Denied || x.Outcome == certsrv.Failed) && (x.Status.Meaning == "" || x.Status.Remedy == "" || x.Status.Name == "") {
			t.Errorf("%s: %+v says too little", x.Shape, x.Status)
		}
		if x.Outcome == certsrv.Pending && x.RequestID == "" {
			t.Errorf("%s waits without a number", x.Shape)
		}
		if x.Taken() && x.Err != nil || x.Shape.Meaning() == "unknown" {
			t.Errorf("%s: %v", x.Shape, x.Err)
		}
	}
	for _, r := range w.sim.Issued() {
		atCA = append(atCA, r.Serial)
	}
	slices.Sort(serials)
	slices.Sort(atCA)
	if diff := cmp.Diff(atCA, serials); diff != "" {
		t.Errorf("the CA has issued what the probe does not tell (-CA +probe):\n%s", diff)
	}
}

// TestProbeIsOver: what keeps every shape from the CA ends the probe with a reason and a remedy, and nothing is asked of the CA.
func TestProbeIsOver(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, template, code, remedy string
		sim                          func(*certsrvtest.Config, *certsrv.Client)
		asked                        int // requests that reached the CA
		tried                        int // trials before it
	}{
		{name: "misspelt template", template: "CiscoRa2", code: certsrv.CodeTemplateNotOffered, remedy: "CiscoRA"},
		{
			name: "wrong password", template: "CiscoRA", code: certsrv.CodeNotAuthenticated, remedy: "adcs.password_file",
			sim: func(_ *certsrvtest.Config, c *certsrv.Client) { c.Auth.Password = winauth.NewPassword([]byte("wrong")) },
		},
		{
			name: "nobody listens", template: "CiscoRA", code: certsrv.CodeCannotConnect, remedy: "adcs.url",
			sim: func(_ *certsrvtest.Config, c *certsrv.Client) { c.URL = "https://127.0.0.1:1/certsrv" },
		},
		{
			name: "a CA that says nothing", template: "CiscoRA", code: certsrv.CodeAnswerLost, remedy: "CN=Callsign probe pkcs10",
			sim: func(s *certsrvtest.Config, c *certsrv.Client) {
				s.Behaviour.Answer, c.SubmitTimeout = certsrvtest.Hang, 100*time.Millisecond
			},
		},
		{
			name: "the answer to the first is lost", template: "CiscoRA", code: certsrv.CodeAnswerLost, remedy: "revoke what is there", asked: 1,
			sim: func(s *certsrvtest.Config, _ *certsrv.Client) { s.Behaviour.Answer = certsrvtest.Drop },
		},
		{
			name: "an agent's key that is not the certificate's", template: "CiscoRA", code: adcs.CodeRequest, remedy: "adcs.agent_key_file", asked: 1, tried: 1,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.sim)
			trials, err := w.probe(tt.template, func(p *adcs.Probe) {
				if tt.code == adcs.CodeRequest {
					p.AgentChain = nil
				}
			})
			e := wantError(t, err, tt.code)
			if !strings.Contains(e.Error()+e.Remedy(), tt.remedy) {
				t.Errorf("%q is neither in %q nor in %q", tt.remedy, e, e.Remedy())
			}
			if len(trials) != tt.tried || len(w.sim.Requests()) != tt.asked {
				t.Errorf("%d trials, %d requests at the CA", len(trials), len(w.sim.Requests()))
			}
		})
	}
	w := newWorld(t, nil)
	_, err := w.probe("CiscoRA", func(p *adcs.Probe) { p.Client = &certsrv.Client{URL: "http://plain/certsrv"} })
	if e := wantError(t, err, certsrv.CodeBadConfiguration); e.ErrCode == ca.CodeUnexpectedAnswer {
		t.Error(e)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	took := func(shapes ...adcs.Shape) []adcs.Trial {
		var out []adcs.Trial
		for _, s := range shapes {
			out = append(out, adcs.Trial{Shape: s, Outcome: certsrv.Issued})
		}
		return out
	}
	for _, tt := range []struct {
		name      string
		trials    []adcs.Trial
		requester string
		want      []adcs.Setting
	}{
		{name: "nothing"},
		{name: "all", trials: took(adcs.Shapes()...), requester: `LAB\PC1$`, want: []adcs.Setting{{"adcs.vouch", "cmc-supplied"}, {"adcs.sign_requests", "off"}}},
		{name: "an agent must sign", trials: took(adcs.ShapeAgentOnly, adcs.ShapeCMCSigned), want: []adcs.Setting{{"adcs.vouch", "agent-only"}, {"adcs.sign_requests", "cmc"}}},
		{
			name: "on behalf of computers alone", trials: took(adcs.ShapeCMCOnBehalf), requester: `LAB\PC1$`,
			want: []adcs.Setting{{"adcs.vouch", "on-behalf"}, {"adcs.requester", `LAB\{name}$`}},
		},
		{
			name: "on behalf of users alone", trials: took(adcs.ShapePKCS7, adcs.ShapeCMCOnBehalf), requester: `LAB\jane`,
			want: []adcs.Setting{{"adcs.vouch", "on-behalf"}, {"adcs.sign_requests", "pkcs7"}, {"adcs.requester", `LAB\{name}`}},
		},
	} {
		if diff := cmp.Diff(tt.want, adcs.Settings(tt.trials, tt.requester)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
