package config_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"callsign/internal/config"
)

func TestChanges(t *testing.T) {
	t.Parallel()
	parse := func(text string) *config.Config {
		c, err := config.Parse("f", []byte(registrationAuthority+text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := parse("rate = '10/h'\nvouchers = []\n[label.gone]\n[label.a]\nsubject = 'x'\n[label.b]\nrate = '10/h'\n[log]\nlevel = 'debug'\n")
	next := parse("rate = '20/h'\nanswer_within = '5s'\n[label.a]\nsubject = 'y'\n[label.b]\nrate = '10/h'\n[label.new]\n[store]\npath = 'other.db'\n[log]\nformat = 'json'\n" +
		"[adcs]\nurl = 'https://ca/certsrv'\n")
	want := []config.Change{
		{Key: "store.path", Old: `"callsign.db"`, New: `"other.db"`, NeedsRestart: true},
		{Key: "log.level", Old: `"debug"`, New: `"info"`},
		{Key: "log.format", Old: `"auto"`, New: `"json"`, NeedsRestart: true},
		{Key: "adcs.url", Old: `""`, New: `"https://ca/certsrv"`},
		{Key: "ra.rate", Old: `"10/h"`, New: `"20/h"`},
		{Key: "ra.answer_within", Old: `"6s"`, New: `"5s"`},
		{Key: "label.gone", Old: "[label.gone]"},
		{Key: "label.a.subject", Old: `"x"`, New: `"y"`},
		{Key: "label.new", New: "[label.new]"},
	}
	effective, got := config.Effective(old, next)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// label.b said what [ra] said, and now says something else than it: its own value is the same.
	kept := *next
	kept.Store, kept.Log.Format = old.Store, old.Log.Format
	if diff := cmp.Diff(&kept, effective, ignorePrivate, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("what a running server takes over (-want +got):\n%s", diff)
	}
	if got := config.Changes(next, next); got != nil {
		t.Errorf("a configuration differs from itself: %v", got)
	}
	if effective.Origin("store.path") != "default" || effective.Origin("ra.answer_within") != "f:14:18" {
		t.Errorf("origins %s and %s", effective.Origin("store.path"), effective.Origin("ra.answer_within"))
	}
	for i, want := range []string{`store.path: "callsign.db" -> "other.db"`, "label.gone: removed", "label.new: added"} {
		if got := []config.Change{got[0], got[6], got[8]}[i].String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestEffectiveIsACopy: neither configuration changes when the one made of both does.
func TestEffectiveIsACopy(t *testing.T) {
	t.Parallel()
	old, next := config.Default(), config.Default()
	old.CAPF.Listen, next.CAPF.KeyWait = "192.0.2.1:3804", time.Second
	next.Labels = []config.Label{{Name: "a", Profile: next.RA.Profile}}
	c, _ := config.Effective(&old, &next)
	c.Labels[0].Subject, c.CAPF.Issuer = "changed", "changed"
	if c.CAPF.Listen != old.CAPF.Listen || c.CAPF.KeyWait != old.CAPF.KeyWait {
		t.Errorf("%s %s", c.CAPF.Listen, c.CAPF.KeyWait)
	}
	if next.Labels[0].Subject != "" || next.CAPF.Issuer != config.IssuerLocal || next.CAPF.Listen != "127.0.0.1:3804" || old.CAPF.Issuer != config.IssuerLocal {
		t.Error("a change of the result reached what it was made of")
	}
}
