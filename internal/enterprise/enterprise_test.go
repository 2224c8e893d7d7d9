package enterprise_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/certsrv"
	"callsign/certsrv/certsrvtest"
	"callsign/certsrv/winauth"
	"callsign/chain"
	"callsign/internal/certfile"
	"callsign/internal/enterprise"
)

func start(t *testing.T, o enterprise.Options) *enterprise.Enterprise {
	t.Helper()
	e, err := enterprise.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func client(t *testing.T, e *enterprise.Enterprise) *certsrv.Client {
	t.Helper()
	roots, err := certfile.LoadPool(e.Path(enterprise.CAFile))
	if err != nil {
		t.Fatal(err)
	}
	c := &certsrv.Client{
		URL: e.URL, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		Auth: winauth.Credentials{User: e.Account, Password: winauth.NewPassword([]byte(e.Password().Reveal()))},
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestKept: a directory comes up again with the same CA, password and requests.
func TestKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "sim")
	first, err := enterprise.Start(t.Context(), enterprise.Options{Dir: dir, Behaviour: words(t, "pending")})
	if err != nil {
		t.Fatal(err)
	}
	ca, password := first.Issuing().Certificate, first.Password()
	key, err := certfile.LoadKeyPair(first.Path(enterprise.AgentFile), first.Path(enterprise.AgentKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{}, key.Key)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client(t, first).Submit(t.Context(), certsrv.Submission{Request: csr, Template: enterprise.DefaultTemplate})
	if err != nil || answer.Outcome != certsrv.Pending {
		t.Fatalf("%+v, %v", answer, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if got := first.Summary(); got != "1 request, 1 pending" {
		t.Errorf("summary %q", got)
	}
	again := start(t, enterprise.Options{Dir: dir})
	if !again.Issuing().Certificate.Equal(ca) || !again.Password().Equal(password) {
		t.Error("another CA or another password")
	}
	if got, err := client(t, again).Fetch(t.Context(), answer.RequestID); err != nil || got.Outcome != certsrv.Pending {
		t.Errorf("the request is forgotten: %+v, %v", got, err)
	}
	next, err := client(t, again).Submit(t.Context(), certsrv.Submission{Request: csr, Template: enterprise.DefaultTemplate})
	if err != nil || answer.RequestID != "1" || next.RequestID != "2" {
		t.Errorf("request ids %q and %q, %v", answer.RequestID, next.RequestID, err)
	}
	info, err := os.Stat(again.PasswordFile)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("password file %v, %v", info, err)
	}
}

func TestTemporary(t *testing.T) {
	t.Parallel()
	e, err := enterprise.Start(t.Context(), enterprise.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.Close(), e.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(e.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", e.Dir, err)
	}
	if got := e.Summary(); got != "no certificate was asked for" {
		t.Errorf("summary %q", got)
	}
}

func words(t *testing.T, list string) enterprise.Behaviour {
	t.Helper()
	b, _, err := enterprise.ParseBehaviour(list)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCertificates: the web server's certificate has the trouble that was asked for, and no other.
func TestCertificates(t *testing.T) {
	t.Parallel()
	for trouble, want := range map[enterprise.Trouble][]chain.Code{
		enterprise.NoTrouble: nil, enterprise.Untrusted: {chain.UnknownIssuer}, enterprise.SelfSigned: {chain.SelfSigned},
		enterprise.WrongName: {chain.NameMismatch}, enterprise.NotYetValid: {chain.NotYetValid}, enterprise.Expired: {chain.Expired},
	} {
		t.Run(string(trouble), func(t *testing.T) {
			t.Parallel()
			e := start(t, enterprise.Options{Behaviour: words(t, string(trouble))})
			u, err := url.Parse(e.URL)
			if err != nil {
				t.Fatal(err)
			}
			d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}
			conn, err := d.DialContext(t.Context(), "tcp", u.Host)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			anchors, err := certfile.LoadCertificates(e.Path(enterprise.CAFile))
			if err != nil {
				t.Fatal(err)
			}
			v := chain.Verifier{Anchors: chain.NewStoreX509(anchors)}
			r := v.Verify(chain.OfAll(conn.(*tls.Conn).ConnectionState().PeerCertificates), u.Hostname())
			var got []chain.Code
			for _, f := range r.Faults {
				got = append(got, f.Code)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestRenewals: every other renewal has a new key, each certificate has its CRLs, and the newest signs.
func TestRenewals(t *testing.T) {
	t.Parallel()
	const renewals = 3
	e := start(t, enterprise.Options{Renewals: renewals})
	c := client(t, e)
	if n, err := c.Renewals(t.Context()); err != nil || n != renewals {
		t.Errorf("%d renewals, %v", n, err)
	}
	certs, err := c.CACertificates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !certs[0].Equal(e.Issuing().Certificate) {
		t.Errorf("newest is %s, serial %v", certs[0].Subject, certs[0].SerialNumber)
	}
	var issuing []*x509.Certificate // by renewal
	for _, ca := range certs {
		if bytes.Equal(ca.RawSubject, certs[0].RawSubject) {
			issuing = append(issuing, ca)
		}
	}
	slices.Reverse(issuing)
	if len(issuing) != renewals+1 {
		t.Fatalf("%d certificates of the issuing CA", len(issuing))
	}
	for k, ca := range issuing[1:] {
		same := bytes.Equal(ca.RawSubjectPublicKeyInfo, issuing[k].RawSubjectPublicKeyInfo)
		if sameWanted := k+1 == 2; same != sameWanted || !ca.NotBefore.After(issuing[k].NotBefore) {
			t.Errorf("renewal %d: the key of before %v, from %v after %v", k+1, same, ca.NotBefore, issuing[k].NotBefore)
		}
	}
	for k, ca := range issuing {
		base, err := c.CRL(t.Context(), k, false)
		if err != nil {
			t.Fatal(err)
		}
		delta, err := c.CRL(t.Context(), k, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(base.CheckSignatureFrom(ca), delta.CheckSignatureFrom(ca)); err != nil {
			t.Errorf("renewal %d: %v", k, err)
		}
		if deltaTo(t, base) != nil || delta.Number.Cmp(base.Number) < 0 || !base.NextUpdate.After(time.Now()) || delta.NextUpdate.After(base.NextUpdate) {
			t.Errorf("renewal %d: base %v until %v, delta %v until %v", k, base.Number, base.NextUpdate, delta.Number, delta.NextUpdate)
		}
		if to := deltaTo(t, delta); to == nil || to.Cmp(base.Number) != 0 {
			t.Errorf("renewal %d: the delta CRL is to base %v, want %v", k, to, base.Number)
		}
	}
}

// deltaTo returns the number of the base CRL that a delta CRL is to (RFC 5280 section 5.2.4); nil for a base CRL.
func deltaTo(t *testing.T, l *x509.RevocationList) *big.Int {
	t.Helper()
	for _, e := range l.Extensions {
		if !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 27}) {
			continue
		}
		number := new(big.Int)
		if rest, err := asn1.Unmarshal(e.Value, &number); err != nil || len(rest) > 0 || !e.Critical {
			t.Fatalf("delta CRL indicator %x, critical %v: %v", e.Value, e.Critical, err)
		}
		return number
	}
	return nil
}

func TestParseBehaviour(t *testing.T) {
	t.Parallel()
	more := enterprise.Word{Name: "no-dns"}
	b, others, err := enterprise.ParseBehaviour(" slow=2s , pending,self-signed, no-dns,lang=fr", more)
	if err != nil || b.Certificate != enterprise.SelfSigned || b.Pages.Behaviour.Answer != certsrvtest.Pending || b.Pages.Behaviour.Delay != 2*time.Second ||
		b.Pages.Conditions.Lang != certsrvtest.French || !slices.Equal(others, []string{"no-dns"}) {
		t.Errorf("%+v, %v, %v", b, others, err)
	}
	if b, _, err := enterprise.ParseBehaviour(" "); err != nil || !b.IsZero() {
		t.Errorf("%+v, %v", b, err)
	}
	for _, tt := range []struct{ list, want string }{
		{"pendign", "did you mean pending?"},
		{"untrusted,expired", "untrusted and expired at the same time"},
		{"expired=1", "expired takes no value"},
		{"slow=fast", "no duration"},
		{"pending,,", "nothing between two commas"},
		{"deny=1", "no HRESULT"},
		{"epa=always", "none of off, accept, require"},
		{"auth=kerberos,xyzzy", `nobody knows the word "xyzzy"`},
	} {
		_, _, err := enterprise.ParseBehaviour(tt.list)
		p, ok := errors.AsType[*enterprise.Problem](err)
		if !ok || p.Code() != enterprise.CodeBehaviour || p.Remedy() == "" || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.list, err)
		}
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	full := t.TempDir()
	for _, name := range []string{"a", "b", "c", "d"} {
		if err := os.WriteFile(filepath.Join(full, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	newer := t.TempDir()
	if err := os.WriteFile(filepath.Join(newer, "enterprise.json"), []byte(`{"kind":"callsign simulated enterprise","version":99}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		o    enterprise.Options
		code string
		want string
	}{
		"a later version":       {enterprise.Options{Dir: newer}, enterprise.CodeDirectory, "that this version knows"},
		"a file":                {enterprise.Options{Dir: filepath.Join(full, "a")}, enterprise.CodeDirectory, "not a directory"},
		"too many renewals":     {enterprise.Options{Renewals: 32}, "", "32 renewals"},
		"strange directory":     {enterprise.Options{Dir: full}, enterprise.CodeDirectory, "(a, b, c, ...)"},
		"no address":            {enterprise.Options{Listen: "192.0.2.1:1"}, enterprise.CodeListen, "192.0.2.1:1"},
		"display name":          {enterprise.Options{Templates: []string{"Cisco RA"}}, enterprise.CodeTemplate, `"Cisco RA"`},
		"the same template":     {enterprise.Options{Templates: []string{"A", "a"}}, enterprise.CodeTemplate, "twice"},
		"Kerberos, and no keys": {enterprise.Options{Behaviour: words(t, "auth=kerberos")}, enterprise.CodeKeytab, "keytab"},
	} {
		e, err := enterprise.Start(context.WithoutCancel(t.Context()), tt.o)
		if err == nil {
			t.Errorf("%s: started", name)
			_ = e.Close()
			continue
		}
		p, _ := errors.AsType[*enterprise.Problem](err)
		if tt.code != "" && (p == nil || p.Code() != tt.code || p.Remedy() == "") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
