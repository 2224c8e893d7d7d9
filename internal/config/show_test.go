package config_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"callsign/internal/config"
)

func TestEntries(t *testing.T) {
	t.Parallel()
	c, err := config.ParseWith("/etc/callsign.toml", []byte(registrationAuthority+"[label.a]\nkeys = ['p-256']\n[renewal]\nenabled = false\n"), []string{"CALLSIGN_RA_REMEMBER=24h"})
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]config.Entry{}
	set := 0
	for _, e := range c.Entries() {
		shown[e.Key] = e
		if e.Set {
			set++
		}
	}
	if len(shown) < 130 || set != 11 {
		t.Errorf("%d keys, %d set", len(shown), set)
	}
	for _, want := range []config.Entry{
		{Key: "capf.listen", Section: "capf", Text: `""`, Value: "", Origin: "/etc/callsign.toml:2:11", Set: true},
		{Key: "renewal.enabled", Section: "renewal", Text: "false", Value: false, Origin: "/etc/callsign.toml:16:11", Set: true},
		{Key: "ca.key_file", Section: "ca", Text: `"/etc/ca.key"`, Value: "/etc/ca.key", Origin: "/etc/callsign.toml:5:13", Set: true},
		{Key: "ra.remember", Section: "ra", Text: `"24h"`, Value: "24h", Origin: "environment CALLSIGN_RA_REMEMBER", Set: true},
		{Key: "capf.wrong_strings", Section: "capf", Text: "5", Value: 5, Origin: "default"},
		{Key: "label.a.keys", Section: "label.a", Text: `["p-256"]`, Value: []string{"p-256"}, Origin: "/etc/callsign.toml:14:9", Set: true},
		{Key: "label.a.usages", Section: "label.a", Text: `[]`, Value: []string{}, Origin: "ra.usages (default)"},
	} {
		if diff := cmp.Diff(want, shown[want.Key]); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	// What is shown is TOML, and says the same.
	var text strings.Builder
	for key, e := range shown {
		fmt.Fprintf(&text, "%s = %s\n", key, e.Text)
	}
	again, err := config.Parse("/etc/callsign.toml", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, again, ignorePrivate, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("read again (-first +second):\n%s", diff)
	}
}

func TestEntriesHidePasswords(t *testing.T) {
	t.Parallel()
	c := issuing(func(c *config.Config) { c.CAPF.RAURL = "https://u:hunter2@ra/" })
	for _, e := range c.Entries() {
		if strings.Contains(fmt.Sprint(e), "hunter2") {
			t.Errorf("a password is shown: %v", e)
		}
	}
}

func TestFindAndNearest(t *testing.T) {
	t.Parallel()
	keys := []string{"capf.listen", "est.listen", "est.certificate_file", "ra.rate", `label."a.b".rate`, "label.phones.rate"}
	for _, tc := range []struct{ name, find, near string }{
		{"capf.listen", "capf.listen", ""},
		{"capf", "capf", ""},
		{"[ra]", "ra", ""},
		{"label", "label", ""},
		{"label.phones", "label.phones", ""},
		{"label.a.b", `label."a.b"`, ""},
		{"label.a.b.rate", `label."a.b".rate`, ""},
		{`label.'a.b'.rate`, `label."a.b".rate`, ""},
		{"cap", "", "capf"},
		{"est.listn", "", "est.listen"},
		{"certificate_file", "", "est.certificate_file"},
		{"capf.rate", "", "ra.rate"},
		{"label.phone", "", "label.phones"},
		{"labels", "", "label"},
		{"weather", "", ""},
		{"", "", ""},
		{"lab", "", ""},
	} {
		if got := config.Find(keys, tc.name); got != tc.find {
			t.Errorf("Find(%q) = %q, want %q", tc.name, got, tc.find)
		}
		if tc.find != "" {
			continue
		}
		if got := config.Nearest(keys, tc.name); got != tc.near {
			t.Errorf("Nearest(%q) = %q, want %q", tc.name, got, tc.near)
		}
	}
}

func TestDocsAndReferenceOf(t *testing.T) {
	t.Parallel()
	whole := config.Reference()
	labels := 0
	for _, d := range config.Docs() {
		part := config.ReferenceOf(d.Key)
		_, body, _ := strings.Cut(part, "\n")
		if body == "" || !strings.HasPrefix(part, "["+d.Section+"]\n") || !strings.Contains(whole, body) {
			t.Errorf("%s: the reference has another part than %q", d.Key, part)
		}
		if d.Type == "" || d.Text == "" || d.Default == "" || d.Variable == "" {
			t.Errorf("poor description: %+v", d)
		}
		if d.Label {
			labels++
			for _, name := range []string{"label.", "label.phones.", `label."a.b".`} {
				if got := config.ReferenceOf(name + strings.TrimPrefix(d.Key, "ra.")); got != "[label.NAME]\n"+body {
					t.Errorf("%s: got %q", name, got)
				}
			}
		}
	}
	if labels != 24 {
		t.Errorf("%d keys of labels", labels)
	}
	for _, name := range []string{"store", "ra", "[ra]", "label", "label.phones", `label."a.b"`} {
		if part := config.ReferenceOf(name); len(part) < 100 {
			t.Errorf("%s: %q", name, part)
		}
	}
	for _, name := range []string{"", "weather", "ra.weather", "label.phones.weather", "labels"} {
		if part := config.ReferenceOf(name); part != "" {
			t.Errorf("%q: %q", name, part)
		}
	}
}

// TestValidate: problems of values, missing keys and files come together, in the order of the lines.
func TestValidate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := write(t, dir, "callsign.toml", strings.Replace(registrationAuthority, `key_file = "ca.key"`, "key_file = 7", 1)+"rate = 'often'\nuser_file = 'x'\n")
	for _, name := range []string{"ca.pem", "est.pem", "est.key"} {
		write(t, dir, name, "x")
	}
	_, err := config.Validate(path, []string{"CALLSIGN_EST_CLIENT_CA_FILE=anchors.pem"})
	var problems config.Errors
	if !errors.As(err, &problems) {
		t.Fatalf("got %v", err)
	}
	var got []string
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%d %s %s", p.Line, p.Variable, p.Key))
	}
	want := []string{"5  ca.key_file", "10  est.users_file", "13  ra.rate", "14  ra.user_file", "0 CALLSIGN_EST_CLIENT_CA_FILE est.client_ca_file"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	write(t, dir, "callsign.toml", registrationAuthority)
	write(t, dir, "ca.key", "x")
	write(t, dir, "users", "x")
	c, err := config.Validate(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(loaded, c, ignorePrivate); diff != "" {
		t.Errorf("what is valid is read as Load does (-want +got):\n%s", diff)
	}
	if _, err := config.Validate(path+".none", nil); err == nil {
		t.Error("a file that is not there is valid")
	}
}
