package certsrvtest

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// negInit is a client's first SPNEGO token.
func negInit(token []byte, mechs ...asn1.ObjectIdentifier) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.Tag(0xA0), func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.Tag(0xA0), func(b *cryptobyte.Builder) { b.AddBytes(mechList(mechs...)) })
			if token != nil {
				b.AddASN1(cbasn1.Tag(0xA2), func(b *cryptobyte.Builder) { b.AddASN1OctetString(token) })
			}
		})
	})
	return wrapGSS(oidSPNEGO, b.BytesOrPanic())
}

func mechList(mechs ...asn1.ObjectIdentifier) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, m := range mechs {
			b.AddASN1ObjectIdentifier(m)
		}
	})
	return b.BytesOrPanic()
}

// negAnswer is what a server's NegTokenResp says.
type negAnswer struct {
	State      int
	Mech       string
	Token, MIC []byte
}

func parseNegAnswer(t testing.TB, b []byte) negAnswer {
	t.Helper()
	var v struct {
		State asn1.Enumerated       `asn1:"explicit,tag:0"`
		Mech  asn1.ObjectIdentifier `asn1:"explicit,optional,tag:1"`
		Token []byte                `asn1:"explicit,optional,tag:2"`
		MIC   []byte                `asn1:"explicit,optional,tag:3"`
	}
	if rest, err := asn1.UnmarshalWithParams(b, &v, "explicit,tag:1"); err != nil || len(rest) != 0 {
		t.Fatalf("NegTokenResp %x: %v", b, err)
	}
	a := negAnswer{State: int(v.State), Token: v.Token, MIC: v.MIC}
	if len(v.Mech) > 0 {
		a.Mech = v.Mech.String()
	}
	return a
}

// negotiate sends a token and returns the status with the server's.
func (w *wire) negotiate(token []byte) (status int, answered []byte) {
	w.t.Helper()
	resp, _ := w.do(http.MethodGet, "/certsrv", "", "Authorization: Negotiate "+base64.StdEncoding.EncodeToString(token))
	for _, h := range resp.Header.Values("WWW-Authenticate") {
		if text, ok := strings.CutPrefix(h, "Negotiate "); ok {
			b, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				w.t.Fatal(err)
			}
			answered = b
		}
	}
	return resp.StatusCode, answered
}

// TestNTLMInNegotiate: bare, in SPNEGO, with and without the signature of the list of mechanisms, as the first choice and
// after Kerberos could not be had.
func TestNTLMInNegotiate(t *testing.T) {
	t.Parallel()
	good := client3{user: "ra", domain: "LAB", password: testPassword}
	negoex := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 2, 30}
	for _, tc := range []struct {
		name  string
		mechs []asn1.ObjectIdentifier // empty: bare
		keyEx bool
		mic   []byte // sent; nil: none, empty: the right one
		wrong bool
		want  string // of the last log line
	}{
		{name: "bare", want: "301 0 0"},
		{name: "bare, wrong password", wrong: true, want: "401 1 2148074252"},
		{name: "SPNEGO", mechs: []asn1.ObjectIdentifier{oidNTLMSSP}, want: "301 0 0"},
		{name: "SPNEGO with MIC", mechs: []asn1.ObjectIdentifier{oidNTLMSSP}, mic: []byte{}, want: "301 0 0"},
		{name: "SPNEGO with MIC and key exchange", mechs: []asn1.ObjectIdentifier{oidNTLMSSP}, keyEx: true, mic: []byte{}, want: "301 0 0"},
		{name: "SPNEGO, wrong MIC", mechs: []asn1.ObjectIdentifier{oidNTLMSSP}, mic: make([]byte, 16), want: "401 1 2148074255"},
		{name: "SPNEGO, wrong password", mechs: []asn1.ObjectIdentifier{oidNTLMSSP}, wrong: true, want: "401 1 2148074252"},
		{name: "third choice, as Windows names them", mechs: []asn1.ObjectIdentifier{oidMSKRB5, oidKRB5, negoex, oidNTLMSSP}, mic: []byte{}, want: "301 0 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			log := new(lockedBuffer)
			c := config(t, 0)
			c.IISLog, c.NTLM, c.Basic, c.Negotiate = log, false, false, true
			w := start(t, c).dial(t, textAgent)
			client := good
			client.keyEx = tc.keyEx
			if tc.wrong {
				client.password = "wrong"
			}
			flags := uint32(clientFlags)
			if tc.keyEx {
				flags |= flagKeyExchange
			}
			t1 := type1(40, flags)
			spnego := len(tc.mechs) > 0
			first := t1
			if spnego {
				first = negInit(t1, tc.mechs...)
			}
			if spnego && !tc.mechs[0].Equal(oidNTLMSSP) {
				// The favourite's token is of no use here; the server names NTLM, and the client begins it.
				status, answered := w.negotiate(negInit((&ticketClient{}).token(t), tc.mechs...))
				if diff := cmp.Diff(negAnswer{State: acceptIncomplete, Mech: oidNTLMSSP.String()}, parseNegAnswer(t, answered)); status != 401 || diff != "" {
					t.Fatalf("%d (-want +got):\n%s", status, diff)
				}
				first = negResponse(acceptIncomplete, nil, t1, nil)
			}
			status, t2 := w.negotiate(first)
			if status != http.StatusUnauthorized {
				t.Fatalf("Type 1: %d", status)
			}
			if spnego {
				a := parseNegAnswer(t, t2)
				if a.State != acceptIncomplete {
					t.Errorf("%+v", a)
				}
				t2 = a.Token
			}
			t3 := client.message(t, t1, t2)
			keys := client.keys(t, t3)
			third := t3
			if spnego {
				mic := tc.mic
				if mic != nil && len(mic) == 0 {
					mic = keys.sign(byClient, mechList(tc.mechs...))
				}
				third = negResponse(acceptIncomplete, nil, t3, mic)
			}
			status, final := w.negotiate(third)
			lines := log.lines()
			if last := lines[len(lines)-1]; !strings.Contains(last, " "+tc.want+" ") {
				t.Fatalf("%d, %s; want %s", status, last, tc.want)
			}
			if status != http.StatusMovedPermanently {
				return
			}
			if !spnego {
				if final != nil {
					t.Errorf("a token after the last: %x", final)
				}
				return
			}
			want := negAnswer{State: acceptCompleted}
			if tc.mic != nil {
				want.MIC = keys.sign(byServer, mechList(tc.mechs...))
			}
			if diff := cmp.Diff(want, parseNegAnswer(t, final)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if w.get("/certsrv/certrqxt.asp") == "" {
				t.Error("empty page")
			}
		})
	}
}

// keys are those of the session that Type 3 message makes.
func (c client3) keys(t *testing.T, msg []byte) *ntlmKeys {
	t.Helper()
	a, err := parseAuthenticate(msg)
	if err != nil {
		t.Fatal(err)
	}
	session := hmacMD5(ntowfv2(c.password, c.user, c.domain), a.nt[:16])
	if c.keyEx {
		session = []byte("exported key 16!") // as message has it
	}
	return &ntlmKeys{exported: session, flags: a.flags}
}

// TestNTLMSignature uses the vectors of MS-NLMP 4.2.4: NTLMv2 with key exchange and 128 bits.
func TestNTLMSignature(t *testing.T) {
	t.Parallel()
	k := &ntlmKeys{exported: bytes.Repeat([]byte{0x55}, 16), flags: flagExtendedSession | flagKeyExchange | flag128}
	if got, want := k.derive(k.exported, byClient, "signing"), unhexString(t, "4788dc861b4782f35d43fd98fe1a2d39"); !bytes.Equal(got, want) {
		t.Errorf("client signing key %x, want %x", got, want)
	}
	if got, want := k.derive(k.exported, byClient, "sealing"), unhexString(t, "59f600973cc4960a25480a7c196e4c58"); !bytes.Equal(got, want) {
		t.Errorf("client sealing key %x, want %x", got, want)
	}
	for _, flags := range []uint32{0, flag56, flag128} {
		k.flags = flagExtendedSession | flagKeyExchange | flags
		if mic := k.sign(byClient, []byte("x")); len(mic) != 16 || !k.signedBy(byClient, []byte("x"), mic) || k.signedBy(byServer, []byte("x"), mic) {
			t.Errorf("flags %x: %x", flags, mic)
		}
	}
	k.flags = 0
	if k.signedBy(byClient, nil, nil) {
		t.Error("no signature is taken for one")
	}
}

// TestNegotiateLegs sends tokens where they do not belong.
func TestNegotiateLegs(t *testing.T) {
	t.Parallel()
	c, log := kerberosConfig(t)
	s := start(t, c)
	good := (&ticketClient{}).token(t)
	t1 := type1(40, clientFlags)
	for name, token := range map[string][]byte{
		"nothing":                        {},
		"garbage":                        []byte("garbage"),
		"GSS token of nobody":            wrapGSS(asn1.ObjectIdentifier{1, 2, 3}, good),
		"SPNEGO without mechanisms":      negInit(good),
		"SPNEGO with unknown mechanisms": negInit(good, asn1.ObjectIdentifier{1, 2, 3}),
		"later leg without a first":      negResponse(acceptIncomplete, nil, good, nil),
		"Kerberos that is none":          negInit([]byte("x"), oidKRB5),
		"an AP-REP":                      negInit(wrapGSS(oidKRB5, []byte{2, 0, 1}), oidKRB5),
		"ticket cut short":               negInit(wrapGSS(oidKRB5, good[20:60]), oidKRB5),
		"NTLM that is none":              negInit([]byte("x"), oidNTLMSSP),
		"Type 3 without a challenge":     append([]byte(ntlmSignature), 3, 0, 0, 0),
	} {
		before := len(log.lines())
		if status, answered := s.dial(t, textAgent).negotiate(token); status != http.StatusUnauthorized || answered != nil {
			t.Errorf("%s: %d %x", name, status, answered)
		}
		if line := log.lines()[before]; !strings.Contains(line, "401 1 2148074248 ") && name != "NTLM that is none" {
			t.Errorf("%s: %s", name, line)
		}
	}
	// Two connections, as behind a load balancer: the second leg is refused.
	a, b := s.dial(t, textAgent), s.dial(t, textAgent)
	_, t2 := a.negotiate(negInit(t1, oidNTLMSSP))
	t3 := client3{user: "ra", domain: "LAB", password: testPassword}.message(t, t1, parseNegAnswer(t, t2).Token)
	if status, _ := b.negotiate(negResponse(acceptIncomplete, nil, t3, nil)); status != http.StatusUnauthorized {
		t.Errorf("second leg on another connection: %d", status)
	}
	// A new first token begins anew, and a refused one ends the login of the connection.
	if status, _ := a.negotiate(negInit(good, oidKRB5)); status != http.StatusUnauthorized {
		t.Errorf("a first token in the middle: %d", status)
	}
	if status, _ := a.negotiate(negInit((&ticketClient{}).token(t), oidKRB5)); status != http.StatusMovedPermanently {
		t.Errorf("a fresh login afterwards: %d", status)
	}
	a.negotiate([]byte("garbage"))
	if resp, _ := a.do(http.MethodGet, "/certsrv", ""); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("after a refused login: %d", resp.StatusCode)
	}
}

// TestNegotiateOffers: what is offered, in IIS's order, and what of it is taken.
func TestNegotiateOffers(t *testing.T) {
	t.Parallel()
	tickets := newKeytab(t, "secret of the service", service+"@"+realm)
	for _, tc := range []struct {
		name          string
		change        func(*Config)
		want          []string
		kerberos, raw bool // a ticket, and NTLM inside Negotiate, are taken
	}{
		{"default", func(*Config) {}, []string{"NTLM"}, false, false},
		{"keytab", func(c *Config) { c.Keytab = tickets }, []string{"Negotiate", "NTLM"}, true, true},
		{"negotiate", func(c *Config) { c.Negotiate = true }, []string{"Negotiate", "NTLM"}, false, true},
		{"all", func(c *Config) { c.Negotiate, c.NTLM, c.Basic = true, true, true }, []string{"Negotiate", "NTLM", `Basic realm="pki.lab.test"`}, false, true},
		{"auth=kerberos", func(c *Config) { c.Keytab, c.Conditions.Auth = tickets, "kerberos" }, []string{"Negotiate"}, true, false},
		{"auth=negotiate", func(c *Config) { c.Keytab, c.Conditions.Auth = tickets, "negotiate" }, []string{"Negotiate"}, true, true},
		{"auth=basic+ntlm", func(c *Config) { c.Keytab, c.Conditions.Auth = tickets, "basic+ntlm" }, []string{`Basic realm="pki.lab.test"`, "NTLM"}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := config(t, 0)
			c.NTLM, c.Basic, c.Host, c.DNSDomain = false, false, "pki.lab.test", "lab.test"
			tc.change(&c)
			s := start(t, c)
			resp, _ := s.dial(t, textAgent).do(http.MethodGet, "/certsrv", "")
			if diff := cmp.Diff(tc.want, resp.Header.Values("WWW-Authenticate")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if status, _ := s.dial(t, textAgent).negotiate(negInit((&ticketClient{}).token(t), oidKRB5)); (status == http.StatusMovedPermanently) != tc.kerberos {
				t.Errorf("a ticket: %d", status)
			}
			if _, t2 := s.dial(t, textAgent).negotiate(type1(40, clientFlags)); (ntlmType(t2) == 2) != tc.raw {
				t.Errorf("NTLM inside: %x", t2)
			}
		})
	}
	for name, change := range map[string]func(*Config){
		"kerberos without keytab": func(c *Config) { c.Conditions.Auth = "kerberos" },
		"no keytab in the file":   func(c *Config) { c.Keytab = []byte("no") },
		"empty keytab":            func(c *Config) { c.Keytab = []byte{5, 2, 0, 0, 0, 0} },
		"epa":                     func(c *Config) { c.EPA = "maybe" },
	} {
		c := config(t, 0)
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	s := start(t, config(t, 0))
	if err := s.SetConditions(Conditions{Auth: "kerberos"}); err == nil {
		t.Error("kerberos without a keytab is accepted at run time")
	}
}

// FuzzNegotiate feeds tokens of clients: no panic, nobody gets in, and what is parsed is bounded.
func FuzzNegotiate(f *testing.F) {
	ticket := (&ticketClient{keytab: newKeytab(f, "another secret", service+"@"+realm), mutual: true}).token(f)
	f.Add(ticket)
	f.Add(negInit(ticket, oidMSKRB5, oidKRB5, oidNTLMSSP))
	f.Add(negInit(nil, oidNTLMSSP))
	f.Add(negResponse(acceptIncomplete, oidKRB5, ticket, []byte("mic")))
	f.Add(wrapGSS(oidKRB5, []byte{1, 0, 0x6E, 0}))
	a, err := newAcceptor(newKeytab(f, "secret of the service", service+"@"+realm), func([]byte) error { return nil })
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, token []byte) {
		if l, err := a.accept(token, clock); err == nil {
			t.Errorf("%s@%s gets in", l.name, l.realm)
		}
		n, err := parseNegToken(token)
		if err != nil {
			return
		}
		if len(n.mechs) > mostMechs || len(n.token)+len(n.mic)+len(n.mechsDER) > len(token) {
			t.Errorf("%+v from %d octets", n, len(token))
		}
		if !n.resp {
			again, err := parseNegToken(negInit(n.token, n.mechs...))
			if err != nil || !slices.EqualFunc(n.mechs, again.mechs, asn1.ObjectIdentifier.Equal) || !bytes.Equal(n.token, again.token) {
				t.Errorf("%+v comes back as %+v, %v", n, again, err)
			}
		}
	})
}
