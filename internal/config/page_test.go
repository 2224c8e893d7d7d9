package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/config"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

// TestPage keeps docs/configuration.md, whose last part is the reference, up to date.
func TestPage(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "docs", "configuration.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "```toml\n", "```\n"
	head, _, ok := strings.Cut(string(page), "<!-- reference -->\n")
	if !ok {
		t.Fatal("the page has no place for the reference")
	}
	_, example, _ := strings.Cut(head, begin)
	example, _, _ = strings.Cut(example, end)
	c, err := config.Parse("callsign.toml", []byte(example+`[capf]
listen = ""
[est]
listen = "127.0.0.1:8084"
certificate_file = "est.pem"
key_file = "est.key"
[adcs]
url = "https://ca/certsrv"
username = "u"
password_file = "p"
template = "Device"
`))
	if err != nil || len(c.Labels) != 2 || c.Labels[0].Authentication != config.AuthenticateCertificate || c.Labels[1].ClientCAFile != "devices-ca.pem" {
		t.Errorf("the page's example: %v", err)
	}
	want := head + "<!-- reference -->\n" + begin + config.Reference() + end
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(page)); diff != "" {
		t.Errorf("run: go test ./internal/config -run TestPage -update\n(-want +got):\n%s", diff)
	}
}
