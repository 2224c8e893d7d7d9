package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"callsign/internal/app"
	"callsign/internal/cluster"
	"callsign/internal/config"
	"callsign/internal/explain"
)

// labJSON describes a cluster of one node.
func labJSON(name string) string {
	return `{"name": "` + name + `", "domain": "lab.example.com", "nodes": [
		{"name": "pub", "fqdn": "pub.lab.example.com", "role": "publisher", "product": "cucm", "services": ["Cisco Tomcat"]}]}`
}

func TestPickCluster(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, b := write("a.json", labJSON("alpha")), write("b.json", labJSON("beta"))
	again, broken := write("again.json", labJSON("Alpha")), write("broken.json", labJSON("")[:40])
	for name, c := range map[string]struct {
		files      []string
		cluster    string
		want, code string
	}{
		"the only one":       {[]string{a}, "", "alpha", ""},
		"by name":            {[]string{a, b}, "BETA", "beta", ""},
		"none is configured": {nil, "", "", cluster.CodeNone},
		"which of two":       {[]string{a, b}, "", "", cluster.CodeUnknown},
		"unknown":            {[]string{a, b}, "gamma", "", cluster.CodeUnknown},
		"two of one name":    {[]string{a, again}, "alpha", "", cluster.CodeDescription},
		"cut off":            {[]string{a, broken}, "alpha", "", cluster.CodeDescription},
		"missing":            {[]string{filepath.Join(dir, "c.json")}, "", "", cluster.CodeDescription},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conf := config.Default()
			conf.Cluster.Files = c.files
			got, err := app.PickCluster(&conf, c.cluster)
			if code := explain.Code(err); code != c.code {
				t.Fatalf("%v (%s), want %s", err, code, c.code)
			}
			if err == nil && got.Name != c.want {
				t.Errorf("%s, want %s", got.Name, c.want)
			}
		})
	}
}

// TestExposedKeys: the database has private keys, so other accounts must not read it.
func TestExposedKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	conf := config.Default()
	conf.Store.Path = filepath.Join(dir, "callsign.db")
	conf.Cluster.Files = []string{filepath.Join(dir, "a.json")}
	if err := os.WriteFile(conf.Cluster.Files[0], []byte(labJSON("alpha")), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := app.OpenRecords(t.Context(), &conf)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Cluster(&conf, ""); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(conf.Store.Path, 0o640); err != nil {
		t.Fatal(err)
	}
	_, err = r.Cluster(&conf, "")
	if p := explain.Parts(err); len(p) != 1 || !strings.Contains(p[0].Fix, "chmod") {
		t.Errorf("%+v", p)
	}
}
