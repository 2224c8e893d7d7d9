package demo

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"callsign/internal/config"
	"callsign/internal/handset"
)

// TestMended: the phones of a demo wait for the CA's manager, who approves by the URL that the demo names, and the phone that calls
// again has its certificate.
func TestMended(t *testing.T) {
	t.Parallel()
	b, err := ParseBehaviour("pending")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "demo")
	d, err := Start(t.Context(), Options{Phones: 1, Issuer: config.IssuerOnlineCA, Dir: dir, Behaviour: b})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	p := d.Report.Items[0]
	if d.Report.Pending != 1 || d.Report.Failed != 0 || p.State != StatePending || p.RequestID != "1" || p.Problem == nil || p.Problem.Fix == "" {
		t.Fatalf("report %+v, phone %+v", d.Report, p)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.Manager+"/requests/"+p.RequestID+"/approve", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("approve: %s", resp.Status)
	}
	tc, err := handset.TLSConfig(filepath.Join(dir, "capf.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		h := handset.Phone{Name: p.Name, Server: d.Endpoints.CAPF, Dir: filepath.Join(dir, "phones"), TLS: tc}
		got, err := h.Enroll(t.Context())
		if err == nil && got.Certificate != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no certificate a minute after the approval: %v", err)
		}
	}
}

// TestParseBehaviour: the words of both sides, and which of them a demo does not take.
func TestParseBehaviour(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		list string
		ra   int
		ok   bool
	}{
		{"", 0, true},
		{"no-dns", 1, true},
		{"wrong-template, pending", 1, true},
		{"no-dns,wrong-password", 2, true},
		{"no-dns=1", 0, false},
		{"nodns", 0, false},
	} {
		t.Run(tt.list, func(t *testing.T) {
			t.Parallel()
			b, err := ParseBehaviour(tt.list)
			if (err == nil) != tt.ok || len(b.RA) != tt.ra || tt.ok && b.IsZero() != (tt.list == "") {
				t.Errorf("%+v, %v", b, err)
			}
		})
	}
}

// TestNoDNS: the word puts a name that nobody has in place of the CA's host, and changes nothing else. No test asks for it:
// the question would leave this machine.
func TestNoDNS(t *testing.T) {
	t.Parallel()
	b, err := ParseBehaviour("no-dns")
	if err != nil {
		t.Fatal(err)
	}
	c := &config.Config{}
	c.ADCS.URL = "https://127.0.0.1:8443/certsrv"
	if err := b.misconfigure(c); err != nil {
		t.Fatal(err)
	}
	if want := "https://adcs.callsign.invalid:8443/certsrv"; c.ADCS.URL != want {
		t.Errorf("%s, want %s", c.ADCS.URL, want)
	}
}
