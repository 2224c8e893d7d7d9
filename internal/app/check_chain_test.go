package app_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"callsign/certsrv/certsrvtest"
	"callsign/internal/app"
	"callsign/internal/certfile"
)

// published is a CA that shows these certificates and issues none.
type published []*signed

// Issue implements certsrvtest.CA.
func (published) Issue(context.Context, certsrvtest.Issuance) ([]byte, error) {
	return nil, errors.New("only shows its certificates")
}

// Certificates implements certsrvtest.CA.
func (p published) Certificates() [][]*x509.Certificate {
	var all []*x509.Certificate
	for _, c := range p {
		all = append(all, c.cert)
	}
	return [][]*x509.Certificate{all}
}

// enrollmentPages serves web enrollment of a CA over TLS with the certificate of leaf.
func enrollmentPages(t *testing.T, ca certsrvtest.CA, leaf *signed, password string, edits ...func(*certsrvtest.Config)) (addr string) {
	t.Helper()
	conf := certsrvtest.Config{
		CA: ca, NTLM: true, Users: []certsrvtest.User{{Name: `MICHAMEN\ciscora`, Password: password}},
		Templates: []certsrvtest.Template{{Name: "CiscoRA"}},
	}
	for _, edit := range edits {
		edit(&conf)
	}
	s, err := certsrvtest.New(conf)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		_ = s.Serve(l, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.cert.Raw}, PrivateKey: leaf.key}}})
	})
	t.Cleanup(func() {
		_ = s.Close() // connections of the check, which is over
		serving.Wait()
	})
	return l.Addr().String()
}

// TestCheckChainOfCA: what check says of the certificates that the CA publishes, behind a web server whose self-signed
// certificate is trusted itself.
func TestCheckChainOfCA(t *testing.T) {
	t.Parallel()
	self := sign(t, nil, webServer(peerHost))
	root := sign(t, nil, authority("Lab Root"))
	issuing := sign(t, root, authority("Lab Issuing"))
	old := authority("Lab Policy")
	old.NotBefore, old.NotAfter = time.Now().AddDate(-2, 0, 0), time.Now().AddDate(-1, 0, 0)
	policy := sign(t, root, old)
	below := sign(t, policy, authority("Lab Issuing"))
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	short, err := signWith(root, authority("Lab Policy"), key)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		ca     published
		status app.Status
		code   string
		parts  []string
	}{
		{"complete", published{issuing, root}, app.StatusOK, "", []string{"CN=Lab Issuing, complete up to CN=Lab Root"}},
		{"a root that issues", published{root}, app.StatusOK, "", []string{"CN=Lab Root, complete up to CN=Lab Root"}},
		{
			"no root",
			published{issuing},
			app.StatusFail, "app.chain-incomplete",
			[]string{"the chain of CN=Lab Issuing ends at CN=Lab Issuing, whose issuer CN=Lab Root is missing", "certutil -dspublish"},
		},
		{"an expired CA between", published{below, policy, root}, app.StatusFail, "app.chain-refused", []string{"CN=Lab Policy expired on ", "renew the certificate of CN=Lab Policy"}},
		{
			"a CA with a short key",
			published{sign(t, short, authority("Lab Issuing")), short, root},
			app.StatusWarn, "app.chain-refused",
			[]string{"the RSA key of CN=Lab Policy has 1024 bits"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := raOf(t, "", self)
			password, err := os.ReadFile(c.ADCS.PasswordFile)
			if err != nil {
				t.Fatal(err)
			}
			c.ADCS.ConnectTo = enrollmentPages(t, tt.ca, self, strings.TrimSpace(string(password)))
			var found []app.Step
			said := ""
			for _, s := range app.Check(t.Context(), c, app.CheckOptions{}) {
				if strings.HasPrefix(s.Name, "adcs ") {
					said += s.Name + " " + string(s.Status) + " " + s.Code + " " + s.Detail + " " + s.Remedy + "\n"
				}
				if s.Name == "adcs chain" {
					found = append(found, s)
				}
			}
			if len(found) != 1 || found[0].Status != tt.status || found[0].Code != tt.code {
				t.Fatalf("want %s %s:\n%s", tt.status, tt.code, said)
			}
			for _, part := range tt.parts {
				if !strings.Contains(found[0].Detail+" "+found[0].Remedy, part) {
					t.Errorf("%q is not in:\n%s", part, said)
				}
			}
		})
	}
}

// TestCheckLocalChain: the local CA signs, and what it signs does not verify.
func TestCheckLocalChain(t *testing.T) {
	t.Parallel()
	root := sign(t, nil, authority("Lab Root"))
	old := authority("Lab Root")
	old.NotBefore, old.NotAfter = time.Now().AddDate(-3, 0, 0), time.Now().AddDate(-1, 0, 0)
	expired := sign(t, nil, old)
	elsewhere := sign(t, nil, authority("Lab Root")) // the same name, another key
	for _, tt := range []struct {
		name       string
		above      *signed // has issued the CA
		file       *signed // stands in ca.chain_file; nil: there is none
		status     app.Status
		code, part string
	}{
		{"complete", root, root, app.StatusOK, "", "chain complete up to CN=Lab Root"},
		{"no root", root, nil, app.StatusWarn, "app.chain-incomplete", "whose issuer CN=Lab Root is missing"},
		{"another root of the name", root, elsewhere, app.StatusFail, "local.sign", "whose issuer CN=Lab Root is missing; a CA with this subject is in ca.chain_file ("},
		{"an expired root", expired, expired, app.StatusFail, "local.sign", "CN=Lab Root expired on "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := freshDeployment(t)
			issuing := sign(t, tt.above, authority("Lab Issuing"))
			c.CA.CertificateFile, c.CA.ChainFile = trust(t, c.Dir, "issuing.pem", issuing), ""
			if tt.file != nil {
				c.CA.ChainFile = trust(t, c.Dir, "above.pem", tt.file)
			}
			if err := certfile.WriteKey(c.CA.KeyFile, issuing.key); err != nil {
				t.Fatal(err)
			}
			var found []app.Step
			for _, s := range app.Check(t.Context(), c, app.CheckOptions{}) {
				if s.Name == "local ca" {
					found = append(found, s)
				}
			}
			if len(found) != 1 || found[0].Status != tt.status || found[0].Code != tt.code || !strings.Contains(found[0].Detail, tt.part) {
				t.Errorf("%+v", found)
			}
		})
	}
}
