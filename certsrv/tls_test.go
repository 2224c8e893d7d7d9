package certsrv

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"strings"
	"testing"
	"time"

	"callsign/chain"
)

// TestOwnCheck: the caller judges the server's certificate; its words are in the Problem, in the log, and in libcurl's
// terms.
func TestOwnCheck(t *testing.T) {
	t.Parallel()
	root := newTestCA(t, "Web Root")
	issuing := makeCA(t, root, "Web Issuing", newKey(t), root.cert.NotBefore, root.cert.NotAfter)
	show := func(leaf *x509.Certificate, key any, above ...*x509.Certificate) *tls.Config {
		shown := [][]byte{leaf.Raw}
		for _, c := range above {
			shown = append(shown, c.Raw)
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: shown, PrivateKey: key}}}
	}
	leaf, leafKey := issuing.leaf(t, fakeHost)
	short, shortKey := issuing.leaf(t, "lab-dc")
	selfKey := newKey(t)
	tpl := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: fakeHost}, DNSNames: []string{fakeHost},
		NotBefore: epoch().AddDate(0, -1, 0), NotAfter: epoch().AddDate(1, 0, 0),
	}
	self := sign(t, tpl, &testCA{cert: tpl, key: selfKey}, selfKey.Public())
	good := show(leaf, leafKey, issuing.cert)
	wrong := show(short, shortKey, issuing.cert)
	const untrusted = `curl_code=60 curl_text="SSL certificate problem: `
	tests := map[string]struct {
		server *tls.Config
		trust  []*x509.Certificate
		now    time.Time // zero: the epoch
		code   string    // empty: accepted
		detail []string
		remedy []string
		log    []string
	}{
		"leaf only, nothing trusted": {
			server: show(leaf, leafKey), code: CodeUntrusted, detail: []string{"CN=" + fakeHost, "CN=Web Issuing"},
			remedy: []string{"import the certificate of CN=Web Issuing (key id ", "into the store"},
			log:    []string{untrusted + `unable to get local issuer certificate"`, " fault=unknown_issuer subject=\"CN=" + fakeHost + "\" depth=0"},
		},
		"missing intermediate": {
			server: show(leaf, leafKey), trust: []*x509.Certificate{root.cert}, code: CodeUntrusted, detail: []string{"CN=Web Issuing"},
			remedy: []string{"or let the peer send its intermediate certificates"},
			log:    []string{untrusted + `unable to get local issuer certificate"`, " fault=unknown_issuer "},
		},
		"untrusted root": {
			server: good, trust: []*x509.Certificate{newTestCA(t, "Other Root").cert}, code: CodeUntrusted, detail: []string{"CN=Web Root"},
			remedy: []string{"import the certificate of CN=Web Root (key id "},
			log:    []string{untrusted + `unable to get local issuer certificate"`, " fault=unknown_issuer subject=\"CN=Web Issuing\" depth=1"},
		},
		"self-signed": {
			server: show(self, selfKey), trust: []*x509.Certificate{root.cert}, code: CodeUntrusted, detail: []string{"is self-signed and not in the store"},
			remedy: []string{"import it itself (SHA256 "},
			log:    []string{untrusted + `self signed certificate"`, " fault=self_signed "},
		},
		"self-signed and stored": {server: show(self, selfKey), trust: []*x509.Certificate{self}},
		"trusted":                {server: good, trust: []*x509.Certificate{root.cert}},
		"other name": {
			server: wrong, trust: []*x509.Certificate{root.cert}, code: CodeWrongName, detail: []string{"not for " + fakeHost, "lab-dc"},
			remedy: []string{"with the dNSName " + fakeHost},
			log: []string{
				`curl_code=51 curl_text="SSL: certificate subject name 'lab-dc' does not match target host name 'lab-dc.test.example'"`,
				" fault=name_mismatch subject=\"CN=lab-dc\" depth=0",
			},
		},
		"not yet valid": {
			server: good, trust: []*x509.Certificate{root.cert}, now: epoch().AddDate(0, -2, 0), code: CodeUntrusted,
			detail: []string{"2026-10-20T12:00:00Z", "2026-09-20T12:00:00Z"}, remedy: []string{"NTP"},
			log: []string{untrusted + `certificate is not yet valid"`, " fault=not_yet_valid "},
		},
		"expired, and for another name": {
			server: wrong, trust: []*x509.Certificate{root.cert}, now: epoch().AddDate(2, 0, 0), code: CodeUntrusted,
			detail: []string{"expired on 2027-11-20T12:00:00Z", "name_mismatch"}, remedy: []string{"renew the certificate of CN=lab-dc"},
			log: []string{untrusted + `certificate has expired"`, " fault=expired ", " fault2.code=name_mismatch fault2.subject=\"CN=lab-dc\" fault2.depth=0 ", "fault2.remedy="},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, func(seen) reply { return reply{} })
			f.set(func() { f.tls = tt.server })
			c, log := f.newClient()
			now := tt.now
			if now.IsZero() {
				now = epoch()
			}
			v := chain.Verifier{Anchors: chain.NewStoreX509(tt.trust).Named("the store"), Now: func() time.Time { return now }}
			c.TLS = &tls.Config{
				MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, // VerifyConnection checks
				VerifyConnection: v.VerifyConnection(fakeHost, nil),
			}
			err := c.Login(t.Context(), nil)
			if tt.code == "" {
				if err != nil {
					t.Errorf("%v (%s)", err, log)
				}
				return
			}
			p := problem(t, err)
			if p.Code() != tt.code || p.Retryable || p.URL == "" {
				t.Errorf("%+v", p)
			}
			if _, ok := errors.AsType[*chain.Error](err); !ok {
				t.Error("the cause is lost")
			}
			for _, check := range []struct {
				what, text string
				parts      []string
			}{{"detail", p.Error(), tt.detail}, {"remedy", p.Remedy(), tt.remedy}, {"log", log.String(), append(tt.log, "code="+tt.code)}} {
				for _, part := range check.parts {
					if !strings.Contains(check.text, part) {
						t.Errorf("%q is not in the %s: %s", part, check.what, check.text)
					}
				}
			}
			if n := strings.Count(log.String(), "level=WARN"); n != 1 {
				t.Errorf("%d warnings:\n%s", n, log)
			}
		})
	}
}
