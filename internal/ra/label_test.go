package ra_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"callsign/est"
	"callsign/internal/ca"
	"callsign/internal/ca/local"
	"callsign/internal/enroll"
	"callsign/internal/ra"
)

var oidClientAuth = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}

// leaf has a CA issue a client certificate.
func leaf(t testing.TB, by *local.Issuer, subject pkix.Name, usages []asn1.ObjectIdentifier, validity time.Duration, exts ...pkix.Extension) *x509.Certificate {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(newKey(t).Public())
	check(t, err)
	name, err := asn1.Marshal(subject.ToRDNSequence())
	check(t, err)
	der, err := by.IssueRaw(t.Context(), spki, name, exts, local.Options{KeyUsage: x509.KeyUsageDigitalSignature, EKUs: usages, Validity: validity})
	check(t, err)
	c, err := x509.ParseCertificate(der)
	check(t, err)
	return c
}

func client(t testing.TB, by *local.Issuer, cn string) *x509.Certificate {
	t.Helper()
	return leaf(t, by, pkix.Name{CommonName: cn}, []asn1.ObjectIdentifier{oidClientAuth}, 0)
}

// hashOf is the part of an owner that stands for a CA.
func hashOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:6])
}

func newCA(t testing.TB, name string) *local.Issuer {
	t.Helper()
	i, err := local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: name}})
	check(t, err)
	return i
}

// refused is the code of a refusal, empty for none.
func refused(t testing.TB, err error) (code string, status int) {
	t.Helper()
	if err == nil {
		return "", 0
	}
	e, ok := errors.AsType[*est.Error](err)
	if !ok {
		t.Fatalf("%v is no refusal of EST", err)
	}
	if e.Fix == "" || e.Text == "" {
		t.Errorf("%s lacks text or remedy: %q, %q", e.ErrCode, e.Text, e.Fix)
	}
	return e.ErrCode, e.Status
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	other := newCA(t, "Other")
	w := newWorld(t, func(c *ra.Config) {
		with := func(name string, change func(*ra.Label)) {
			l := c.Labels[0]
			l.Name = name
			change(&l)
			c.Labels = append(c.Labels, l)
		}
		with("certificate", func(l *ra.Label) { l.Authentication = ra.AuthCertificate })
		with("password", func(l *ra.Label) { l.Authentication = ra.AuthPassword })
		with("both", func(l *ra.Label) { l.Authentication = ra.AuthBoth })
		with("named", func(l *ra.Label) { l.ClientName = `SEP[0-9A-F]{12}`; l.Clients = []string{"SEP00*", "capf"} })
		with("others", func(l *ra.Label) { l.ClientCAs = []*x509.Certificate{other.Certificate}; l.Users = nil })
		with("nobody", func(l *ra.Label) { l.ClientCAs, l.Users = nil, nil })
	}).ready()
	good := client(t, w.root, "device")
	full := leaf(t, w.root, pkix.Name{CommonName: "CP-8865-SEP001122334455", Organization: []string{"Maker"}}, []asn1.ObjectIdentifier{oidClientAuth}, 0)
	inName := leaf(t, w.root, pkix.Name{CommonName: "phone"}, []asn1.ObjectIdentifier{oidClientAuth}, 0, extension(t, oidSAN, []asn1.RawValue{{Class: 2, Tag: 2, Bytes: []byte("SEP001122334455.example.com")}}))
	spki, err := x509.MarshalPKIXPublicKey(rsaKeys()[1024].Public())
	check(t, err)
	der, err := w.root.IssueRaw(t.Context(), spki, good.RawSubject, nil, local.Options{KeyUsage: x509.KeyUsageDigitalSignature, EKUs: []asn1.ObjectIdentifier{oidClientAuth}})
	check(t, err)
	short, err := x509.ParseCertificate(der)
	check(t, err)
	hash := hashOf(w.root.Certificate)
	tests := []struct {
		name, label string
		cert        *x509.Certificate
		user, pass  string
		who         string // empty: refused
		as          string // Identity.User
		code        string
		status      int
	}{
		{name: "any, certificate", cert: good, who: "cert:" + hash + "/CN=device"},
		{name: "any, password", user: user, pass: password, who: user, as: user},
		{name: "any, certificate with a short key", cert: short, who: "cert:" + hash + "/CN=device"},
		{name: "any, nothing", code: ra.CodeNoCredentials, status: 401},
		{name: "any, bad certificate and good password", cert: client(t, other, "x"), user: user, pass: password, who: user, as: user},
		{name: "any, bad certificate alone", cert: client(t, other, "x"), code: ra.CodeClientUntrusted, status: 401},

		{name: "certificate", label: "certificate", cert: good, who: "cert:" + hash + "/CN=device"},
		{name: "certificate, nothing", label: "certificate", code: ra.CodeCertificateRequired, status: 403},
		{name: "certificate, password alone", label: "certificate", user: user, pass: password, code: ra.CodeCertificateRequired, status: 403},
		{name: "certificate, bad one and a password", label: "certificate", cert: client(t, other, "x"), user: user, pass: password, code: ra.CodeClientUntrusted, status: 403},

		{name: "password", label: "password", user: user, pass: password, who: user, as: user},
		{name: "password, with a certificate that is not looked at", label: "password", cert: client(t, other, "x"), user: user, pass: password, who: user, as: user},
		{name: "password, certificate alone", label: "password", cert: good, code: ra.CodeNoCredentials, status: 401},
		{name: "password, wrong", label: "password", cert: good, user: user, pass: "wrong", code: ra.CodeLogin, status: 401},

		{name: "both", label: "both", cert: good, user: user, pass: password, who: "cert:" + hash + "/CN=device", as: user},
		{name: "both, certificate alone", label: "both", cert: good, code: ra.CodeNoCredentials, status: 401},
		{name: "both, password alone", label: "both", user: user, pass: password, code: ra.CodeCertificateRequired, status: 403},
		{name: "both, wrong password", label: "both", cert: good, user: user, pass: "wrong", code: ra.CodeLogin, status: 401},
		{name: "both, bad certificate", label: "both", cert: client(t, other, "x"), user: user, pass: password, code: ra.CodeClientUntrusted, status: 403},

		{name: "name in the common name", label: "named", cert: full, who: "cert:" + hash + "/SEP001122334455"},
		{name: "name in a DNS name", label: "named", cert: inName, who: "cert:" + hash + "/SEP001122334455"},
		{name: "no name", label: "named", cert: good, code: ra.CodeClientName, status: 401},
		{name: "name of nobody here", label: "named", cert: client(t, w.root, "SEPFF1122334455"), code: ra.CodeClientDenied, status: 403},
		{name: "user among the clients", label: "named", user: user, pass: password, who: user, as: user},

		{name: "another CA", label: "others", cert: client(t, other, "device"), who: "cert:" + hashOf(other.Certificate) + "/CN=device"},
		{name: "the CA of another label", label: "others", cert: good, code: ra.CodeClientUntrusted, status: 403},
		{name: "the users of another label", label: "others", user: user, pass: password, code: ra.CodeLogin, status: 401},
		{name: "no CA", label: "nobody", cert: good, code: ra.CodeClientCANone, status: 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := est.Credentials{Label: tt.label, Operation: "simpleenroll", User: tt.user, Password: []byte(tt.pass), HasPassword: tt.user != ""}
			if tt.cert != nil {
				c.Certificates = []*x509.Certificate{tt.cert}
			}
			who, err := w.ra.Authenticate(t.Context(), c)
			code, status := refused(t, err)
			if code != tt.code || status != tt.status {
				t.Fatalf("refused with %q, %d (%v); want %q, %d", code, status, err, tt.code, tt.status)
			}
			if who.Name != tt.who || who.User != tt.as || who.Relays || len(who.Password) > 0 {
				t.Errorf("identity %+v, want %q as %q", who, tt.who, tt.as)
			}
			if tt.who != "" && (who.Certificate != nil) != strings.HasPrefix(tt.who, "cert:") {
				t.Errorf("certificate %v", who.Certificate)
			}
		})
	}
}

// TestEqualNames: two certificates with one name are two clients when two CAs have issued them, and one when it is one CA.
func TestEqualNames(t *testing.T) {
	t.Parallel()
	other := newCA(t, "Root") // the same name, another key
	w := newWorld(t, func(c *ra.Config) { c.Labels[0].ClientCAs = append(c.Labels[0].ClientCAs, other.Certificate) }).ready()
	owner := func(c *x509.Certificate) string {
		who, err := w.ra.Authenticate(t.Context(), est.Credentials{Operation: "simpleenroll", Certificates: []*x509.Certificate{c}})
		check(t, err)
		return who.Name
	}
	a, b, c := owner(client(t, w.root, "x")), owner(client(t, other, "x")), owner(client(t, w.root, "x"))
	if a == b || a != c {
		t.Errorf("owners %s, %s, %s", a, b, c)
	}
}

func TestNamelessUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ra.Config) { c.Labels[1].Clients = []string{"x*"} }).ready()
	line, err := ra.UserLine("", []byte("the password alone"), 4)
	check(t, err)
	f, err := os.OpenFile(w.users, os.O_APPEND|os.O_WRONLY, 0)
	check(t, err)
	_, err = f.WriteString(line)
	check(t, errors.Join(err, f.Close()))
	c := w.client(func(c *est.Client) { c.User, c.Password = "", est.Password("the password alone") })
	_, err = c.SimpleEnroll(t.Context(), newCSR(t, newKey(t), "x"))
	check(t, err)
	if got := w.ca.seen[0].Owner; got != "est:/user:" {
		t.Errorf("owner %q", got)
	}
	_, err = w.ra.Authenticate(t.Context(), est.Credentials{Label: "floor2", Operation: "simpleenroll", HasPassword: true, Password: []byte("the password alone")})
	if code, _ := refused(t, err); code != ra.CodeClientDenied {
		t.Errorf("a client without a name: %v", err)
	}
	_, err = w.ra.Authenticate(t.Context(), est.Credentials{Operation: "simpleenroll", HasPassword: true, Password: []byte("wrong")})
	if code, _ := refused(t, err); code != ra.CodeLogin {
		t.Errorf("a wrong password: %v", err)
	}
}

func TestReenroll(t *testing.T) {
	t.Parallel()
	other := newCA(t, "MIC")
	former := newCA(t, "Former CA")
	var mu sync.Mutex
	var revoked *x509.Certificate
	later := func(by time.Duration) func(*ra.Config) {
		return func(c *ra.Config) { c.Now = func() time.Time { return time.Now().Add(by) } }
	}
	everything := func(c *ra.Config) {
		c.Labels[0].ClientCAs = append(c.Labels[0].ClientCAs, other.Certificate)
		c.Labels[0].Former = []*x509.Certificate{former.Certificate}
		c.Labels[1].Authentication = ra.AuthBoth
		c.Revoked = func(_ context.Context, path []*x509.Certificate) error {
			mu.Lock()
			defer mu.Unlock()
			if path[0].Equal(revoked) {
				return errors.New("it was stolen")
			}
			return nil
		}
	}
	clientAuth := []asn1.ObjectIdentifier{oidClientAuth}
	tests := []struct {
		name  string
		edit  func(*ra.Config)
		label string
		cert  func(w *world) *x509.Certificate
		user  bool
		code  string
		text  string
	}{
		{name: "of the label's CA", cert: func(w *world) *x509.Certificate { return client(t, w.sub, "x") }},
		{name: "no purposes", cert: func(w *world) *x509.Certificate { return leaf(t, w.sub, pkix.Name{CommonName: "x"}, nil, 0) }},
		{name: "another purpose", cert: func(w *world) *x509.Certificate {
			return leaf(t, w.sub, pkix.Name{CommonName: "x"}, []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 1}}, 0)
		}, code: ra.CodeClientPurpose},
		{name: "none", code: ra.CodeCertificateRequired},
		{name: "none, and a password", user: true, code: ra.CodeCertificateRequired},
		{name: "of a maker's CA", cert: func(*world) *x509.Certificate { return client(t, other, "x") }, code: ra.CodeReenrollIssuer, text: `"CN=MIC"`},
		{name: "of the root above the CA", cert: func(w *world) *x509.Certificate { return client(t, w.root, "x") }, code: ra.CodeReenrollIssuer, text: "Issuing"},
		{name: "of a CA of the same name", cert: func(*world) *x509.Certificate { return client(t, newCA(t, "Issuing"), "x") }, code: ra.CodeReenrollIssuer},
		{name: "the CA itself", cert: func(w *world) *x509.Certificate { return w.sub.Certificate }, code: ra.CodeReenrollIssuer},
		{name: "of a former CA", cert: func(*world) *x509.Certificate { return client(t, former, "x") }},
		{name: "bad certificate and a password", cert: func(*world) *x509.Certificate { return client(t, other, "x") }, user: true, code: ra.CodeReenrollIssuer},
		{name: "ended", edit: later(48 * time.Hour), cert: func(w *world) *x509.Certificate {
			return leaf(t, w.sub, pkix.Name{CommonName: "x"}, clientAuth, 24*time.Hour)
		}, code: ra.CodeReenrollExpired, text: "ended on"},
		{name: "ended, within the grace", edit: func(c *ra.Config) { later(48 * time.Hour)(c); c.Labels[0].ReenrollGrace = 48 * time.Hour }, cert: func(w *world) *x509.Certificate {
			return leaf(t, w.sub, pkix.Name{CommonName: "x"}, clientAuth, 24*time.Hour)
		}},
		{name: "ended, after the grace", edit: func(c *ra.Config) { later(96 * time.Hour)(c); c.Labels[0].ReenrollGrace = 48 * time.Hour }, cert: func(w *world) *x509.Certificate {
			return leaf(t, w.sub, pkix.Name{CommonName: "x"}, clientAuth, 24*time.Hour)
		}, code: ra.CodeReenrollExpired, text: "could be renewed until"},
		{name: "not yet valid", edit: later(-48 * time.Hour), cert: func(w *world) *x509.Certificate { return client(t, w.sub, "x") }, code: ra.CodeReenrollExpired, text: "not valid before"},
		{name: "revoked", cert: func(w *world) *x509.Certificate {
			c := client(t, w.sub, "x")
			mu.Lock()
			revoked = c
			mu.Unlock()
			return c
		}, code: ra.CodeReenrollRevoked},
		{name: "both demanded", label: "floor2", cert: func(w *world) *x509.Certificate { return client(t, w.sub, "x") }, user: true},
		{name: "both demanded, no password", label: "floor2", cert: func(w *world) *x509.Certificate { return client(t, w.sub, "x") }, code: ra.CodeNoCredentials},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *ra.Config) {
				everything(c)
				if tt.edit != nil {
					tt.edit(c)
				}
			}).ready()
			c := est.Credentials{Label: tt.label, Operation: "simplereenroll"}
			if tt.cert != nil {
				c.Certificates = []*x509.Certificate{tt.cert(w)}
			}
			if tt.user {
				c.HasPassword, c.User, c.Password = true, user, []byte(password)
			}
			who, err := w.ra.Authenticate(t.Context(), c)
			code, _ := refused(t, err)
			if code != tt.code {
				t.Fatalf("refused with %q (%v), want %q", code, err, tt.code)
			}
			if err != nil {
				mustContain(t, err.Error(), tt.text)
				return
			}
			if who.Certificate == nil || who.Relays || !strings.HasSuffix(who.Name, "/CN=x") {
				t.Errorf("identity %+v", who)
			}
		})
	}
}

// TestReenrollBeforeTheChainIsKnown: who issued a certificate cannot be told yet, which is no refusal.
func TestReenrollBeforeTheChainIsKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, impatient)
	_, err := w.ra.Authenticate(t.Context(), est.Credentials{Operation: "simplereenroll", Certificates: []*x509.Certificate{client(t, w.sub, "x")}})
	if code, status := refused(t, err); code != ra.CodeChainUnknown || status != 503 {
		t.Errorf("%v", err)
	}
}

func TestRegistrars(t *testing.T) {
	t.Parallel()
	cmcRA := []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 28}}
	both := append(cmcRA, oidClientAuth)
	other := newCA(t, "Other")
	w := newWorld(t, func(c *ra.Config) {
		c.Labels[0].Registrars = []string{"CN=registrar"}
		c.Labels[0].Clients = []string{"SEP*"}
		c.Labels[0].Rules = ra.Rules{SubjectIsName: true, Subject: "SEP[0-9A-F]{12}"}
		c.Labels[0].ClientCAs = append(c.Labels[0].ClientCAs, other.Certificate)
	}).ready()
	name := pkix.Name{CommonName: "registrar"}
	for _, tt := range []struct {
		name   string
		cert   *x509.Certificate
		relays bool
	}{
		{"of the label's CA", leaf(t, w.sub, name, both, 0), true},
		{"without clientAuth", leaf(t, w.sub, name, cmcRA, 0), true},
		{"without the purpose", leaf(t, w.sub, name, []asn1.ObjectIdentifier{oidClientAuth}, 0), false},
		{"of another CA that is accepted", leaf(t, other, name, both, 0), false},
		{"of the root", leaf(t, w.root, name, both, 0), false},
		{"not on the list", leaf(t, w.sub, pkix.Name{CommonName: "another"}, both, 0), false},
	} {
		for _, op := range []string{"simpleenroll", "simplereenroll"} {
			who, err := w.ra.Authenticate(t.Context(), est.Credentials{Operation: op, Certificates: []*x509.Certificate{tt.cert}})
			if who.Relays != tt.relays || tt.relays && err != nil {
				t.Errorf("%s, %s: %+v, %v", tt.name, op, who, err)
			}
			if !tt.relays && err == nil {
				t.Errorf("%s, %s: let in", tt.name, op)
			}
			if !tt.relays {
				continue
			}
			// It sends the requests of others, within the label's rules.
			ask := func(cn string) error {
				_, err := w.ra.Enroll(t.Context(), est.EnrollRequest{Operation: op, Identity: who, CSR: asked(t, newKey(t), x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}})})
				return err
			}
			check(t, ask("SEP001122334455"))
			if code, _ := refused(t, ask("server")); code != ra.CodeSubjectDenied {
				t.Errorf("%s: a server's name: %q", tt.name, code)
			}
		}
	}
	mustContain(t, w.log.String(), "ra.registrar", "[ra] registrars")
}

func TestRulesOfALabel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ra.Config) {
		c.Labels[1].Rules = ra.Rules{Subject: "SEP[0-9A-F]{12}", Names: []string{"none"}, Keys: []string{"p-256"}}
	}).ready()
	phones := w.client(func(c *est.Client) { c.Label = "floor2" })
	_, err := phones.SimpleEnroll(t.Context(), newCSR(t, newKey(t), "SEP001122334455"))
	check(t, err)
	_, err = phones.SimpleEnroll(t.Context(), newCSR(t, newKey(t), "server"))
	e := wantStatus(t, err, 403)
	mustContain(t, e.Text, `"server"`, "SEP[0-9A-F]{12}")
	mustContain(t, w.log.String(), "code=ra.subject-denied", "[label.floor2] subject")
	// Another label has other rules.
	_, err = w.client(nil).SimpleEnroll(t.Context(), newCSR(t, newKey(t), "server"))
	check(t, err)
}

func TestChangedNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ra.Config) {
		c.Labels[0].Rules = ra.Rules{Subject: "new|x", Names: []string{"dns:*.example.com"}}
		c.Reserved = []string{"ra.example.com"}
	}).ready()
	name := func(cn string) []byte {
		der, err := asn1.Marshal(pkix.Name{CommonName: cn}.ToRDNSequence())
		check(t, err)
		return der
	}
	names := func(host string) []byte {
		return append([]byte{0x30, byte(2 + len(host)), 0x82, byte(len(host))}, host...)
	}
	for _, tt := range []struct {
		name   string
		change *est.ChangeSubject
		code   string
	}{
		{"both", &est.ChangeSubject{Subject: name("new"), SubjectAlt: names("a.example.com")}, ""},
		{"a subject outside the rules", &est.ChangeSubject{Subject: name("other")}, ra.CodeSubjectDenied},
		{"a name outside the rules", &est.ChangeSubject{Subject: name("new"), SubjectAlt: names("a.example.org")}, ra.CodeNameDenied},
		{"a reserved name", &est.ChangeSubject{Subject: name("new"), SubjectAlt: names("ra.example.com")}, ra.CodeReserved},
		{"no subject left", &est.ChangeSubject{SubjectAlt: names("a.example.com")}, ra.CodeSubjectDenied},
		{"a subject that cannot be read", &est.ChangeSubject{Subject: []byte{0x30, 1, 0}}, ra.CodeNameDenied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// Its own names are good; only those asked for count. The attribute itself is the handler's business.
			csr := asked(t, newKey(t), x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"x.example.com"}})
			w := w
			var seen []ca.Request
			if tt.code == "" {
				w = newWorld(t, func(c *ra.Config) { c.Labels[0].Rules = ra.Rules{Subject: "new"} }).ready()
				w.ca.behave(func(_ context.Context, r ca.Request, _ ca.Ledger) (ca.Outcome, error) {
					seen = append(seen, r)
					return ca.Outcome{Status: ca.Pending}, nil
				})
			}
			_, err := w.ra.Enroll(t.Context(), est.EnrollRequest{Operation: "simpleenroll", Identity: est.Identity{Name: "u", User: "u"}, CSR: csr, ChangeSubject: tt.change})
			if code, _ := refused(t, err); code != tt.code {
				t.Fatalf("refused with %q (%v), want %q", code, err, tt.code)
			}
			if tt.code != "" {
				return
			}
			got, err := ra.NamesOf(seen[0].Extensions)
			check(t, err)
			if string(seen[0].Subject) != string(tt.change.Subject) || len(got) != 1 || got[0] != "dns:a.example.com" || string(seen[0].CSR) != string(csr.Raw) {
				t.Errorf("asked for %x, %v", seen[0].Subject, got)
			}
		})
	}
}

func TestApproval(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ra.Config) {
		c.Labels[1].Approval = true
		c.Labels[1].Rate = enroll.Rate{Count: 1, Per: time.Hour}
		c.PendingRetry = 7 * time.Minute
	}).ready()
	c := w.client(func(c *est.Client) { c.Label = "floor2" })
	csr := newCSR(t, newKey(t), "SEP001122334455")
	var ids []string
	for range 3 { // asking again costs nothing of the rate
		_, err := c.SimpleEnroll(t.Context(), csr)
		later, ok := errors.AsType[*est.RetryError](err)
		if !ok || later.After != 7*time.Minute {
			t.Fatalf("got %v, want a 202", err)
		}
		rows, err := w.engine.ByOwner(t.Context(), "est:floor2/"+user)
		check(t, err)
		if len(rows) != 1 || rows[0].State != enroll.Held {
			t.Fatalf("%d rows: %+v", len(rows), rows)
		}
		mustContain(t, later.Text, rows[0].ID, "administrator")
		ids = append(ids, rows[0].ID)
	}
	if asked, _ := w.ca.counts(); asked != 0 {
		t.Errorf("the CA was asked %d times", asked)
	}
	// Without a label nothing is held.
	_, err := w.client(nil).SimpleEnroll(t.Context(), csr)
	check(t, err)
	_, err = w.engine.Approve(t.Context(), ids[0], enroll.Decision{By: "root"})
	check(t, err)
	got, err := c.SimpleEnroll(t.Context(), csr)
	check(t, err)
	check(t, checkLeaf(got))
}

// outrun is an engine whose rows end between a look at them and what is done about it.
type outrun struct {
	ra.Engine
	after func(enroll.Enrolment)
}

func (o *outrun) Last(ctx context.Context, authority, owner, label string, subject, publicKey []byte) (enroll.Enrolment, error) {
	row, err := o.Engine.Last(ctx, authority, owner, label, subject, publicKey)
	if err == nil && o.after != nil {
		o.after(row)
	}
	return row, err
}

// TestRefusedMeanwhile: a client whose approved request the CA refuses while it asks is told so, and nobody has to approve it again.
func TestRefusedMeanwhile(t *testing.T) {
	t.Parallel()
	o := &outrun{}
	w := newWorld(t, func(c *ra.Config) {
		c.Labels[0].Approval = true
		o.Engine, c.Engine = c.Engine, o
	}).ready()
	ask := make(chan struct{})
	w.ca.behave(func(context.Context, ca.Request, ca.Ledger) (ca.Outcome, error) {
		<-ask
		return ca.Outcome{Status: ca.Denied, Denial: &ca.Error{ErrCode: "certsrv.denied", Final: true, Detail: "no"}}, nil
	})
	csr := newCSR(t, newKey(t), "SEP001122334455")
	_, err := w.client(nil).SimpleEnroll(t.Context(), csr)
	if _, ok := errors.AsType[*est.RetryError](err); !ok {
		t.Fatalf("got %v, want a 202", err)
	}
	rows, err := w.engine.ByOwner(t.Context(), "est:/"+user)
	check(t, err)
	_, err = w.engine.Approve(t.Context(), rows[0].ID, enroll.Decision{By: "root"})
	check(t, err)
	o.after = func(row enroll.Enrolment) {
		if row.State.Open() {
			close(ask)
			_, err := w.engine.Wait(t.Context(), row.ID)
			check(t, err)
		}
	}
	_, err = w.client(nil).SimpleEnroll(t.Context(), csr)
	wantStatus(t, err, 403)
	rows, err = w.engine.ByOwner(t.Context(), "est:/"+user)
	check(t, err)
	if len(rows) != 1 || rows[0].State != enroll.Denied {
		t.Errorf("%d rows: %+v", len(rows), rows)
	}
}

func TestDenialByAdministrator(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ra.Config) { c.Labels[0].Approval = true; c.DenialMemory = -1 }).ready()
	csr := newCSR(t, newKey(t), "SEP001122334455")
	_, err := w.client(nil).SimpleEnroll(t.Context(), csr)
	if _, ok := errors.AsType[*est.RetryError](err); !ok {
		t.Fatal(err)
	}
	rows, err := w.engine.ByOwner(t.Context(), "est:/"+user)
	check(t, err)
	_, err = w.engine.Deny(t.Context(), rows[0].ID, enroll.Decision{By: "somebody", Note: "not one of our phones"})
	check(t, err)
	for range 2 {
		_, err = w.client(nil).SimpleEnroll(t.Context(), csr)
		e := wantStatus(t, err, 403)
		mustContain(t, e.Text, rows[0].ID, "not one of our phones")
		if strings.Contains(e.Text, "somebody") {
			t.Errorf("the client is told who: %s", e.Text)
		}
	}
	if asked, _ := w.ca.counts(); asked != 0 {
		t.Errorf("the CA was asked %d times", asked)
	}
}

func TestInherit(t *testing.T) {
	t.Parallel()
	var before *ra.Config
	w := newWorld(t, func(c *ra.Config) {
		c.Labels[0].Rate = enroll.Rate{Count: 1, Per: time.Hour}
		before = c
	}).ready()
	who := est.Identity{Name: "u", User: "u"}
	ask := func(a *ra.RA) error {
		_, err := a.Enroll(t.Context(), est.EnrollRequest{Operation: "simpleenroll", Identity: who, CSR: asked(t, newKey(t), x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}})})
		return err
	}
	check(t, ask(w.ra))
	next, err := ra.New(*before)
	check(t, err)
	next.Inherit(w.ra, func(string) bool { return true })
	got, err := next.CACerts(t.Context(), "")
	if err != nil || len(got) != 2 {
		t.Errorf("cacerts after a reload: %v, %v", got, err)
	}
	if code, _ := refused(t, ask(next)); code != ra.CodeRate {
		t.Errorf("the rate began anew: %q", code)
	}
	// Another CA behind an authority of the same name has another chain.
	c0 := *before
	c0.AnswerWithin = time.Millisecond
	next, err = ra.New(c0)
	check(t, err)
	next.Inherit(w.ra, func(authority string) bool { return authority != "local" })
	if _, err := next.CACerts(t.Context(), ""); err == nil {
		t.Error("the chain of another CA was taken over")
	}
	// So has another authority.
	c := *before
	c.Labels = []ra.Label{{Authority: &script{local: w.ca.local, name: "adcs"}}}
	c.AnswerWithin = time.Millisecond
	next, err = ra.New(c)
	check(t, err)
	next.Inherit(w.ra, func(string) bool { return true })
	if _, err := next.CACerts(t.Context(), ""); err == nil {
		t.Error("the chain of another authority was taken over")
	}
}

func TestBadLabels(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, tt := range []struct {
		label ra.Label
		want  string
	}{
		{ra.Label{}, "has no authority"},
		{ra.Label{Name: "phones", Authority: w.ca, Rules: ra.Rules{Keys: []string{"x"}}}, `[label.phones]: keys: "x"`},
		{ra.Label{Authority: w.ca, ClientName: "("}, "[ra]: client_name"},
		{ra.Label{Authority: w.ca, Registrars: []string{"x"}}, "[ra]: registrars"},
	} {
		if _, err := ra.New(ra.Config{Engine: w.engine, Labels: []ra.Label{tt.label}}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
	for s, want := range map[string]ra.Authentication{"": ra.AuthAny, "any": ra.AuthAny, "certificate": ra.AuthCertificate, "password": ra.AuthPassword, "both": ra.AuthBoth} {
		if got, err := ra.ParseAuthentication(s); got != want || err != nil {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	if _, err := ra.ParseAuthentication("none"); err == nil {
		t.Error("none")
	}
}

// TestChainsOfAuthorities: an authority is asked once for all its labels, and one that is silent holds up its own labels alone.
func TestChainsOfAuthorities(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	asked := 0
	release := make(chan struct{})
	w := newWorld(t, func(c *ra.Config) {
		silent := &script{local: c.Labels[0].Authority.(*script).local, name: "adcs"}
		silent.chain = func() ([]*x509.Certificate, error) {
			mu.Lock()
			asked++
			mu.Unlock()
			<-release
			return silent.local.Chain(context.Background())
		}
		c.Labels = append(c.Labels, ra.Label{Name: "one", Authority: silent}, ra.Label{Name: "two", Authority: silent})
		c.AnswerWithin = 50 * time.Millisecond
	})
	done := make(chan error, 1)
	go func() { done <- w.ra.Refresh(context.Background()) }()
	eventually(t, func() bool {
		_, err := w.ra.CACerts(t.Context(), "floor2")
		return err == nil
	})
	_, err := w.ra.CACerts(t.Context(), "one")
	if code, status := refused(t, err); code != ra.CodeChainUnknown || status != 503 {
		t.Errorf("a label whose authority is silent: %v", err)
	}
	close(release)
	check(t, <-done)
	for _, label := range []string{"one", "two"} {
		if _, err := w.ra.CACerts(t.Context(), label); err != nil {
			t.Error(err)
		}
	}
	if mu.Lock(); asked != 1 {
		t.Errorf("asked %d times for two labels", asked)
	}
	mu.Unlock()
}
