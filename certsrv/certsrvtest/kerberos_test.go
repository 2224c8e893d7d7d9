package certsrvtest

import (
	"bytes"
	"encoding/asn1"
	"encoding/binary"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
)

const (
	realm   = "LAB.TEST"
	service = "HTTP/localhost"
	aes256  = 18
)

func newKeytab(t testing.TB, password string, principals ...string) []byte {
	t.Helper()
	k := keytab.New()
	for _, p := range principals {
		name, in, _ := strings.Cut(p, "@")
		if err := k.AddEntry(name, in, password, clock, 1, aes256); err != nil {
			t.Fatal(err)
		}
	}
	b, err := k.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ticketClient forges what a KDC and its client would make; the zero value is a good login of the test user.
type ticketClient struct {
	user, realm    string        // empty: ra, the realm of the test
	asUser         string        // another name in the authenticator
	keytab         []byte        // empty: the service's
	service        string        // empty: service
	skew           time.Duration // of the client's clock
	starts, ends   time.Duration // from now; 0: an hour ago, in an hour
	mutual         bool
	plain          bool   // no GSS checksum
	binding        []byte // nil: 16 zero octets
	knowsBindings  bool   // says so in authorization data
	badSession     bool   // the authenticator is sealed with another key
	session        types.EncryptionKey
	sealedPresence types.Authenticator
}

// token is the GSS token with the AP-REQ.
func (c *ticketClient) token(t testing.TB) []byte {
	t.Helper()
	pick := func(v, otherwise string) string {
		if v == "" {
			return otherwise
		}
		return v
	}
	file := c.keytab
	if file == nil {
		file = newKeytab(t, "secret of the service", service+"@"+realm)
	}
	keys := keytab.New()
	if err := keys.Unmarshal(file); err != nil {
		t.Fatal(err)
	}
	starts, ends := clock.Add(-time.Hour), clock.Add(time.Hour)
	if c.starts != 0 {
		starts = clock.Add(c.starts)
	}
	if c.ends != 0 {
		ends = clock.Add(c.ends)
	}
	crealm := pick(c.realm, realm)
	cname := types.NewPrincipalName(1, pick(c.user, "ra"))
	ticket, session, err := messages.NewTicket(cname, crealm, types.NewPrincipalName(2, pick(c.service, service)), realm,
		types.NewKrbFlags(), keys, aes256, 1, starts, starts, ends, ends)
	if err != nil {
		t.Fatal(err)
	}
	at := clock.Add(c.skew)
	auth := types.Authenticator{AVNO: 5, CRealm: crealm, CName: types.NewPrincipalName(1, pick(c.asUser, pick(c.user, "ra"))), CTime: at, Cusec: 4711, SeqNumber: 7}
	if !c.plain {
		sum := binary.LittleEndian.AppendUint32(nil, 16)
		sum = append(sum, append(bytes.Clone(c.binding), make([]byte, 16-len(c.binding))...)...)
		flags := uint32(0)
		if c.mutual {
			flags = 2
		}
		auth.Cksum = types.Checksum{CksumType: checksumGSS, Checksum: binary.LittleEndian.AppendUint32(sum, flags)}
	}
	if c.knowsBindings {
		option := types.AuthorizationData{{ADType: adAPOptions, ADData: []byte{0, 0x40, 0, 0}}}
		inner, err := asn1.Marshal(struct {
			Entry struct {
				Type int32  `asn1:"explicit,tag:0"`
				Data []byte `asn1:"explicit,tag:1"`
			}
		}{struct {
			Type int32  `asn1:"explicit,tag:0"`
			Data []byte `asn1:"explicit,tag:1"`
		}{option[0].ADType, option[0].ADData}})
		if err != nil {
			t.Fatal(err)
		}
		auth.AuthorizationData = types.AuthorizationData{{ADType: adIfRelevant, ADData: inner}}
	}
	c.session, c.sealedPresence = session, auth
	sealing := session
	if c.badSession {
		sealing.KeyValue = bytes.Repeat([]byte{1}, len(session.KeyValue))
	}
	req, err := messages.NewAPReq(ticket, sealing, auth)
	if err != nil {
		t.Fatal(err)
	}
	b, err := req.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return wrapGSS(oidKRB5, append([]byte{1, 0}, b...))
}

func kerberosConfig(t *testing.T) (Config, *lockedBuffer) {
	log := new(lockedBuffer)
	c := config(t, 0)
	c.IISLog, c.DNSDomain = log, "lab.test"
	c.Basic, c.NTLM, c.Keytab = false, false, newKeytab(t, "secret of the service", service+"@"+realm)
	return c, log
}

// TestKerberos goes through good and bad tickets, inside SPNEGO and bare, with what IIS logs for each.
func TestKerberos(t *testing.T) {
	t.Parallel()
	other := newKeytab(t, "another secret", service+"@"+realm, "HTTP/elsewhere@"+realm)
	for _, tc := range []struct {
		name   string
		client ticketClient
		logged string // cs-username and the tail of the log line
	}{
		{"good", ticketClient{}, `LAB\ra 301 0 0`},
		{"mutual", ticketClient{mutual: true}, `LAB\ra 301 0 0`},
		{"without GSS checksum", ticketClient{plain: true}, `LAB\ra 301 0 0`},
		{"nobody in Users", ticketClient{user: "stranger"}, `LAB\stranger 301 0 0`},
		{"another realm", ticketClient{realm: "emea.example.net"}, `EMEA\ra 301 0 0`},
		{"disabled account", ticketClient{user: "gone"}, "- 401 1 2148074252"},
		{"clock 4 minutes slow", ticketClient{skew: -4 * time.Minute}, `LAB\ra 301 0 0`},
		{"clock 6 minutes slow", ticketClient{skew: -6 * time.Minute}, "- 401 1 2148074276"},
		{"clock 6 minutes fast", ticketClient{skew: 6 * time.Minute}, "- 401 1 2148074276"},
		{"expired ticket", ticketClient{ends: -6 * time.Minute}, "- 401 1 2148074263"},
		{"ticket not valid yet", ticketClient{starts: 6 * time.Minute}, "- 401 1 2148074276"},
		{"service with another password", ticketClient{keytab: other}, "- 401 1 2148074252"},
		{"ticket for another service", ticketClient{keytab: other, service: "HTTP/elsewhere"}, "- 401 1 2148074252"},
		{"authenticator of somebody else", ticketClient{asUser: "second"}, "- 401 1 2148074252"},
		{"authenticator under another key", ticketClient{badSession: true}, "- 401 1 2148074252"},
	} {
		for _, bare := range []bool{false, true} {
			name := tc.name
			if bare {
				name += ", bare"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c, log := kerberosConfig(t)
				c.Users = append(c.Users, User{Name: "gone", State: AccountDisabled})
				s := start(t, c)
				w := s.dial(t, "UA")
				client := tc.client
				token := client.token(t)
				if !bare {
					token = negInit(token, oidMSKRB5, oidKRB5, oidNTLMSSP)
				}
				status, answered := w.negotiate(token)
				if lines := log.lines(); !strings.Contains(lines[0], " "+strings.Replace(tc.logged, " ", " 127.0.0.1 UA - ", 1)+" ") {
					t.Errorf("log %q, want %s", lines, tc.logged)
				}
				if status != http.StatusMovedPermanently {
					if answered != nil {
						t.Errorf("a refusal with a token: %x", answered)
					}
					return
				}
				if !bare {
					a := parseNegAnswer(t, answered)
					if a.State != acceptCompleted || a.Mech != oidMSKRB5.String() || a.MIC != nil {
						t.Errorf("%+v", a)
					}
					answered = a.Token
				}
				client.checkReply(t, answered)
				if w.get("/certsrv/certrqxt.asp") == "" { // the connection is logged in
					t.Error("empty page")
				}
				if _, again := s.dial(t, "UA").negotiate(token); again != nil {
					t.Error("the same token is accepted twice")
				}
				if lines := log.lines(); !strings.Contains(lines[2], "401 1 2148074252") {
					t.Errorf("replay: %s", lines[2])
				}
			})
		}
	}
}

// checkReply opens an AP-REP with the session key.
func (c *ticketClient) checkReply(t *testing.T, token []byte) {
	t.Helper()
	if !c.mutual {
		if token != nil {
			t.Errorf("an AP-REP that nobody asked for: %x", token)
		}
		return
	}
	mech, inner, err := gssToken(token)
	if err != nil || !mech.Equal(oidKRB5) || !bytes.HasPrefix(inner, []byte{2, 0}) {
		t.Fatalf("AP-REP token %x: %v", token, err)
	}
	var rep messages.APRep
	if err := rep.Unmarshal(inner[2:]); err != nil {
		t.Fatal(err)
	}
	plain, err := crypto.DecryptEncPart(rep.EncPart, c.session, keyusage.AP_REP_ENCPART)
	if err != nil {
		t.Fatal(err)
	}
	var part messages.EncAPRepPart
	if err := part.Unmarshal(plain); err != nil {
		t.Fatal(err)
	}
	if !part.CTime.Equal(c.sealedPresence.CTime) || part.Cusec != c.sealedPresence.Cusec {
		t.Errorf("AP-REP of another request: %+v", part)
	}
}
