package app_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"callsign/internal/app"
	"callsign/internal/config"
	"callsign/internal/enroll"
)

// TestReloadWithoutEndpointsFile: a reload that is in force says so, whatever becomes of the file beside the database.
func TestReloadWithoutEndpointsFile(t *testing.T) {
	t.Parallel()
	r := startReloadable(t)
	file := filepath.Join(r.c.Dir, app.EndpointsFile)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(file, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	r.write(func(c *config.Config) { c.RA.ReenrollGrace = 48 * time.Hour })
	done, err := r.a.Reload(t.Context())
	if err != nil {
		t.Fatalf("the new configuration is in force and the order failed: %v", err)
	}
	if !slices.Contains(done.Changed, "ra.reenroll_grace") {
		t.Errorf("changed %v", done.Changed)
	}
}

// TestHeldUnderARemovedLabel: a request that waits under a label is not certified with the profile of phones when the label is taken out of the
// configuration.
func TestHeldUnderARemovedLabel(t *testing.T) {
	t.Parallel()
	r := startReloadable(t)
	labels := filepath.Join(r.c.Dir, "conf.d", "labels.toml")
	if err := os.MkdirAll(filepath.Dir(labels), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(labels, []byte("[label.short]\napproval = true\nvalidity_days = 1\nusages = [\"clientAuth\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	csr, _ := newRequest(t, "device-1")
	if _, err := r.with("short").SimpleEnroll(t.Context(), csr); !isRetry(err) {
		t.Fatalf("not held: %v", err)
	}
	if err := os.Remove(labels); err != nil {
		t.Fatal(err)
	}
	if _, err := r.a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	journal := r.a.Records.Journal
	rows, _, err := journal.Find(t.Context(), enroll.Filter{States: []enroll.State{enroll.Held}})
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if _, err := (&enroll.Engine{Journal: journal}).Approve(t.Context(), rows[0].ID, enroll.Decision{By: "admin"}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		row, err := journal.Get(t.Context(), rows[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		if row.Failure != nil && row.Failure.Code == "enroll.unknown-authority" && row.State == enroll.Requested {
			return // it waits until the label is there again, or somebody cancels it
		}
		if row.State == enroll.Issued {
			t.Fatalf("certified until %s", row.NotAfter)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the row is %s, %+v", row.State, row.Failure)
		}
	}
}
