package app_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"callsign/est"
	"callsign/internal/app"
	"callsign/internal/config"
	"callsign/internal/enroll"
)

// labelled is a product with a section of the configuration appended.
func labelled(t *testing.T, sections string) *product {
	t.Helper()
	p := newProduct(t, config.IssuerLocal, nil)
	dir := filepath.Join(p.c.Dir, "conf.d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "labels.toml"), []byte(sections), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.c, err = config.Load(p.c.Path); err != nil {
		t.Fatal(err)
	}
	p.start()
	return p
}

// with returns the lab's client for a label.
func (p *product) with(label string) *est.Client {
	p.t.Helper()
	plain := p.client()
	c := &est.Client{URL: plain.URL, TLS: plain.TLS, User: plain.User, Password: plain.Password, Label: label}
	p.t.Cleanup(c.Close)
	return c
}

// TestLabels: one configuration, several profiles; what one refuses another one gives.
func TestLabels(t *testing.T) {
	t.Parallel()
	p := labelled(t, `
[label.printers]
subject = "printer-[0-9]+"
keys = ["p-256"]
usages = ["serverAuth"]
validity_days = 30
[label.phones]
authentication = "certificate"
client_ca_file = "ca.pem"
[label.none]
clients = ["nobody*"]
[label."a.b"]
`)
	for _, tt := range []struct {
		label, name string
		status      int
		code        string // in the text
	}{
		{"printers", "printer-7", 0, ""},
		{"printers", "router-7", http.StatusForbidden, "printer-[0-9]+"},
		{"a.b", "router-7", 0, ""},
		{"", "router-7", 0, ""},
		{"phones", "router-7", http.StatusForbidden, "certificate"},
		{"none", "router-7", http.StatusForbidden, "device"},
		{"unknown", "router-7", http.StatusNotFound, ""},
	} {
		csr, _ := newRequest(t, tt.name)
		cert, err := p.with(tt.label).SimpleEnroll(t.Context(), csr)
		fault, _ := errors.AsType[*est.ClientError](err)
		switch {
		case tt.status == 0 && err != nil:
			t.Errorf("%q %s: %v", tt.label, tt.name, err)
		case tt.status != 0 && (fault == nil || fault.Status != tt.status || !strings.Contains(err.Error(), tt.code)):
			t.Errorf("%q %s: %v, want status %d with %q", tt.label, tt.name, err, tt.status, tt.code)
		}
		if cert == nil || tt.label != "printers" {
			continue
		}
		if left := time.Until(cert.NotAfter); left > 31*24*time.Hour || left < 29*24*time.Hour {
			t.Errorf("valid until %v", cert.NotAfter)
		}
		if len(cert.ExtKeyUsage) != 1 {
			t.Errorf("usages %v", cert.ExtKeyUsage)
		}
	}
	if steps := app.Check(t.Context(), p.c, app.CheckOptions{}); !slices.ContainsFunc(steps, func(s app.Step) bool {
		return s.Name == "label phones" && s.Status == app.StatusOK && strings.Contains(s.Detail, "for clients with a certificate")
	}) {
		t.Errorf("check does not speak of the label: %+v", steps)
	}
}

// TestApproval: a request waits for a yes, whose giver works beside the server, and a no is final until it is taken back.
func TestApproval(t *testing.T) {
	t.Parallel()
	p := labelled(t, "[ra]\npending_retry_after = \"1s\"\n[label.servers]\napproval = true\n")
	c := p.with("servers")
	ask := func(csr []byte) (issued bool, err error) {
		cert, err := c.SimpleEnroll(t.Context(), csr)
		return cert != nil, err
	}
	held := func() enroll.Enrolment {
		t.Helper()
		var found []enroll.Enrolment
		p.command(func(r *app.Records) {
			rows, _, err := r.Journal.Find(t.Context(), enroll.Filter{States: []enroll.State{enroll.Held}})
			if err != nil {
				t.Fatal(err)
			}
			found = rows
		})
		if len(found) != 1 {
			t.Fatalf("%d requests are held", len(found))
		}
		return found[0]
	}
	decide := func(do func(*enroll.Engine) error) {
		t.Helper()
		p.command(func(r *app.Records) {
			if err := do(&enroll.Engine{Journal: r.Journal}); err != nil {
				t.Fatal(err)
			}
		})
	}
	good, _ := newRequest(t, "server-1")
	for range 2 {
		if _, err := ask(good); !isRetry(err) {
			t.Fatalf("before the approval: %v", err)
		}
	}
	row := held()
	decide(func(e *enroll.Engine) error {
		_, err := e.Approve(t.Context(), row.ID, enroll.Decision{By: "admin"})
		return err
	})
	deadline, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for issued := false; !issued; {
		var err error
		if issued, err = ask(good); err != nil && !isRetry(err) || deadline.Err() != nil {
			t.Fatalf("after the approval: %v", err)
		}
	}
	bad, _ := newRequest(t, "server-2")
	if _, err := ask(bad); !isRetry(err) {
		t.Fatalf("another request: %v", err)
	}
	row = held()
	decide(func(e *enroll.Engine) error {
		_, err := e.Deny(t.Context(), row.ID, enroll.Decision{By: "admin", Note: "unknown server"})
		return err
	})
	for range 2 {
		_, err := ask(bad)
		if fault, ok := errors.AsType[*est.ClientError](err); !ok || fault.Status != http.StatusForbidden || !strings.Contains(err.Error(), "unknown server") {
			t.Errorf("after the refusal: %v", err)
		}
	}
}

func isRetry(err error) bool {
	_, ok := errors.AsType[*est.RetryError](err)
	return ok
}

// TestRenewalOverTLS: a device renews with the certificate that it has, for the names in it alone.
func TestRenewalOverTLS(t *testing.T) {
	t.Parallel()
	p := labelled(t, "")
	csr, key := newRequest(t, "device-1")
	cert, err := p.client().SimpleEnroll(t.Context(), csr)
	if err != nil {
		t.Fatal(err)
	}
	config := p.client().TLS.Clone()
	config.Certificates = []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	post := func(csr []byte) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.a.Endpoints().EST+"/simplereenroll", strings.NewReader(base64.StdEncoding.EncodeToString(csr)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/pkcs10")
		response, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	other, _ := newRequest(t, "device-2")
	if got := post(csr); got != http.StatusOK {
		t.Errorf("the same names: status %d", got)
	}
	if got := post(other); got != http.StatusForbidden {
		t.Errorf("other names: status %d", got)
	}
}

// TestRenewalStaysUnderItsLabel: what one label gave is not renewed under another, with the usages and without the approval of that.
func TestRenewalStaysUnderItsLabel(t *testing.T) {
	t.Parallel()
	p := labelled(t, `
[label.clients]
usages = ["clientAuth"]
[label.servers]
usages = ["serverAuth", "clientAuth"]
`)
	csr, key := newRequest(t, "device-1")
	cert, err := p.with("clients").SimpleEnroll(t.Context(), csr)
	if err != nil {
		t.Fatal(err)
	}
	for label, status := range map[string]int{"clients": http.StatusOK, "servers": http.StatusForbidden, "": http.StatusForbidden} {
		c := p.with(label)
		c.User, c.Password = "", nil
		c.TLS = c.TLS.Clone()
		c.TLS.Certificates = []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
		_, err := c.SimpleReenroll(t.Context(), csr)
		got := http.StatusOK
		if fault, ok := errors.AsType[*est.ClientError](err); ok {
			got = fault.Status
		} else if err != nil {
			t.Fatal(err)
		}
		if got != status {
			t.Errorf("under %q: status %d, want %d (%v)", label, got, status, err)
		}
	}
}
