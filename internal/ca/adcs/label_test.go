package adcs_test

import (
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"callsign/certsrv"
	"callsign/certsrv/certsrvtest"
	"callsign/internal/ca"
	"callsign/internal/ca/adcs"
)

// renamed is a request whose PKCS#10 has the common name SEP0011AABBCC02 and asks for SEP0011AABBCC77 by changeSubjectName.
func renamed(t testing.TB) ca.Request {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString("MIIBQjCB6QIBADAxMRgwFgYDVQQDDA9TRVAwMDExQUFCQkNDMDIxFTATBgNVBAoTDEV4YW1wbGUgQ29ycDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJ52nf8U2/5giXUi6aI7ueaeeNsusrJl8OJ0cCl+ZRyYGC+eJma7dBAj4k+XLLpc/ipThviVbE2Jj8OYdiIM3ZqgVjBUBggrBgEFBQcHJDFIMEYwMTEYMBYGA1UEAwwPU0VQMDAxMUFBQkJDQzc3MRUwEwYDVQQKEwxFeGFtcGxlIENvcnAwEYIPbmV3LmV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIQCrxSwUEOI4t0qPf/9TUNF507PkINeWaHJtpjv/Zqf+3QIgHoOq0tZG5G7jwm89/p8M1e8BrpK2rSSKS/U3HjmIwvs=")
	check(t, err)
	csr, err := x509.ParseCertificateRequest(der)
	check(t, err)
	r := ca.Request{
		ID: "00112233445566778899aabbccddeeff", Owner: "est:phones/x", Label: "phones", PublicKey: csr.RawSubjectPublicKeyInfo,
		Subject: name(t, "SEP0011AABBCC77"), CSR: der,
	}
	if !r.Renamed() {
		t.Fatal("the attribute is not seen")
	}
	return r
}

// TestTemplateOfALabel: the label of a request by EST chooses the template; a phone's request has the configured one whatever it says.
func TestTemplateOfALabel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.authority(func(c *adcs.Config) {
		c.Template, c.Templates = "CiscoRA", map[string]string{"lines": "CallsignPhone", "same": "", "private": "Private"}
	})
	for _, tt := range []struct{ owner, label, code string }{
		{"est:/x", "", ""},
		{"est:same/x", "same", ""},
		{"est:nowhere/x", "nowhere", ""},
		{"est:private/x", "private", ca.CodeTemplateNotOffered},
		{"phone:SEP001122334455", "private", ""},
	} {
		r := signed(t)
		r.Owner, r.Label = tt.owner, tt.label
		if tt.code == "" {
			mustIssue(t, a, r, w.page())
			continue
		}
		_, err := a.Issue(t.Context(), r, w.page())
		e := wantError(t, err, tt.code)
		if !strings.Contains(e.Error(), `"Private"`) || !strings.Contains(e.Error(), "CiscoRA") {
			t.Errorf("the template and those offered are not named: %v", e)
		}
	}
	r := bare(t)
	r.Owner, r.Label = "est:lines/voucher:CN=capf", "lines"
	mustIssue(t, a, r, w.page()) // CallsignPhone wants the agent's signature, which says the template again

	e := wantError(t, a.Check(t.Context()), ca.CodeTemplateNotOffered)
	if !strings.Contains(e.Error(), `"Private"`) {
		t.Errorf("Check: %v", e)
	}
	check(t, w.authority(func(c *adcs.Config) { c.Templates = map[string]string{"lines": "CallsignPhone"} }).Check(t.Context()))
	login := &ca.Login{User: `LAB\ciscora`, Password: []byte("secret"), Label: "private"}
	wantError(t, a.CheckLogin(t.Context(), login), ca.CodeTemplateNotOffered)
	login.Label = "lines"
	check(t, a.CheckLogin(t.Context(), login))
}

// TestRenamed: AD CS does not know changeSubjectName, so the agent asks for the other names; without one nothing is sent.
func TestRenamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	r := renamed(t)
	out := mustIssue(t, w.authority(nil), r, w.page())
	c, err := x509.ParseCertificate(out.Certificate)
	check(t, err)
	if c.Subject.CommonName != "SEP0011AABBCC77" || out.POP != ca.POPVouched {
		t.Errorf("certificate for %s, proof %s", c.Subject, out.POP)
	}
	_, err = w.authority(func(c *adcs.Config) { c.Agent, c.AgentChain = nil, nil }).Issue(t.Context(), r, w.page())
	wantError(t, err, adcs.CodeRenamed)
}

// TestTotal: an attempt ends when all of it together has taken too long, and what was sent is followed up: the CA goes on
// with it, and it is not sent again meanwhile.
func TestTotal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *certsrvtest.Config, _ *certsrv.Client) {
		s.Behaviour = certsrvtest.Behaviour{Delay: 6 * time.Second, Times: 1}
	})
	a := w.authority(func(c *adcs.Config) { c.Total = 3 * time.Second }) // which includes the login
	l, r := w.page(), signed(t)
	_, err := a.Issue(t.Context(), r, l)
	e := wantError(t, err, adcs.CodeTotal)
	if !e.Timeout || e.Final || !strings.Contains(e.Remedy(), "adcs.total_timeout") {
		t.Errorf("%+v", e)
	}
	if !l.p.Submitted {
		t.Error("what was sent is forgotten")
	}
	a = w.authority(nil)
	for range 2 {
		if out, err := a.Issue(t.Context(), r, l); err == nil && out.Status == ca.Issued {
			break // a slow machine: it is done already
		} else if e := wantError(t, err, adcs.CodeSearching); e.After <= 0 {
			t.Errorf("%+v", e)
		}
	}
	for len(w.sim.Issued()) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	mustIssue(t, a, r, l)
	if n := len(w.sim.Requests()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}
