package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"callsign/capf"
	"callsign/internal/config"
	"callsign/internal/enroll"
)

// TestCAPFUsesALabel: capf.ra_url may name a label of the RA, and the phone's request is then one of that label.
func TestCAPFUsesALabel(t *testing.T) {
	t.Parallel()
	p := newProduct(t, config.IssuerOnlineCA, func(c *config.Config) {
		c.CAPF.RAURL += "/phones"
		dir := filepath.Join(c.Dir, "conf.d")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "labels.toml"), []byte("[label.phones]\napproval = true\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	p.start()
	p.ready()
	p.add(troubled)
	// The label alone lets requests wait for an administrator, so nobody else's profile was used.
	p.refused(troubled, capf.ReasonInvalidElement)
	rows, _, err := p.a.Records.Journal.Find(t.Context(), enroll.Filter{States: []enroll.State{enroll.Held}})
	if err != nil || len(rows) != 1 || !strings.HasPrefix(rows[0].Owner, "est:phones/") {
		t.Fatalf("held: %+v, %v; want one request of the label", rows, err)
	}
	if n := len(p.enterprise.Server().Requests()); n != 0 {
		t.Errorf("the CA has %d requests before the approval", n)
	}
	if _, err := (&enroll.Engine{Journal: p.a.Records.Journal}).Approve(t.Context(), rows[0].ID, enroll.Decision{By: "admin"}); err != nil {
		t.Fatal(err)
	}
	p.settled(troubled, p.certified(troubled))
}
