package app_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"callsign/internal/app"
	"callsign/internal/ca/local"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/setup"
)

// page is a page of docs/est.
type page struct {
	name, text string
}

func pages(t *testing.T) []page {
	t.Helper()
	dir := filepath.Join("..", "..", "docs", "est")
	files, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 8 {
		t.Fatalf("%d pages in docs/est", len(files))
	}
	var all []page
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page{filepath.Base(f), string(b)})
	}
	return all
}

// blocks returns the code in a language, in order.
func (p page) blocks(language string) []string {
	var all []string
	for _, found := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(p.text, -1) {
		all = append(all, found[1])
	}
	return all
}

// TestPagesRun runs the shell commands of each page of docs/est in one go, as they stand there, at a product that has the labels
// of the page. Only the address is replaced.
func TestPagesRun(t *testing.T) {
	t.Parallel()
	needs := map[string][][2]string{ // program and package
		"curl-openssl.md": {{"curl", "curl"}, {"openssl", "openssl"}},
		"strongswan.md":   {{"pki", "strongswan-pki"}},
	}
	makes := map[string][]string{ // files with certificates that must be there afterwards
		"curl-openssl.md": {"cacerts.pem", "device.pem", "sensor.pem"},
		"strongswan.md":   {"cacert.pem", "cacert-1.pem", "gateway.pem", "labelled.pem"},
	}
	issues := map[string]int{"curl-openssl.md": 3, "strongswan.md": 3} // certificates on record afterwards
	ran := 0
	for _, p := range pages(t) {
		commands := p.blocks("sh")
		if len(commands) == 0 {
			continue
		}
		ran++
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			if needs[p.name] == nil {
				t.Fatal("a page with commands that this test does not know")
			}
			for _, n := range needs[p.name] {
				needProgram(t, n[0], n[1])
			}
			x := labelled(t, strings.Join(p.blocks("toml"), "\n"))
			e := x.a.Endpoints()
			dir := t.TempDir()
			for to, from := range map[string]string{"ca.pem": e.ESTCAFile, "est-password.txt": e.ESTPasswordFile} {
				b, err := os.ReadFile(filepath.Join(x.c.Dir, from))
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, to), b, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			address := strings.TrimSuffix(strings.TrimPrefix(e.EST, "https://"), "/.well-known/est")
			script := strings.ReplaceAll(strings.Join(commands, "\n"), "ra.example.com:8084", address)
			if strings.Contains(script, "ra.example.com") {
				t.Error("the page names the server without its port")
			}
			runPage(t, dir, script)
			for _, name := range makes[p.name] {
				if certs, err := certfile.LoadCertificates(filepath.Join(dir, name)); err != nil || len(certs) == 0 {
					t.Errorf("%s: %d certificates, %v", name, len(certs), err)
				}
			}
			x.command(func(r *app.Records) {
				rows, _, err := r.Journal.Find(t.Context(), enroll.Filter{States: []enroll.State{enroll.Issued}})
				if err != nil || len(rows) != issues[p.name] {
					t.Errorf("%d certificates on record, %v, want %d", len(rows), err, issues[p.name])
				}
			})
		})
	}
	if ran != len(needs) {
		t.Errorf("%d pages have commands, want %d", ran, len(needs))
	}
}

// runPage runs a script that stops at the first failure.
func runPage(t *testing.T, dir, script string) {
	t.Helper()
	if !strings.HasPrefix(script, "set -euo pipefail\n") {
		t.Error("the commands do not stop at the first error")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-x", "-c", script) // with what it does, for who has to mend the page
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir) // nobody's .curlrc
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Errorf("the page's commands fail: %v\n%s", err, out.String())
	}
}

// TestPagesConfigure: what the pages write into the configuration is read.
func TestPagesConfigure(t *testing.T) {
	t.Parallel()
	blocks := 0
	for _, p := range pages(t) {
		for i, block := range p.blocks("toml") {
			blocks++
			issuer := config.IssuerOnlineCA
			if len(p.blocks("sh")) > 0 {
				issuer = config.IssuerLocal // with which its commands are run
			}
			d, err := setup.New(t.Context(), setup.Options{Dir: t.TempDir(), Issuer: issuer, Host: "127.0.0.1", AnyPort: true, Key: local.P256})
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(d.Config.Dir, "conf.d")
			err = errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "page.toml"), []byte(block), 0o600))
			if err != nil {
				t.Fatal(err)
			}
			c, err := config.Load(d.Config.Path)
			if err != nil {
				t.Errorf("%s, block %d: %v", p.name, i+1, err)
				continue
			}
			for _, w := range c.Warnings() {
				t.Errorf("%s, block %d: %v", p.name, i+1, w)
			}
		}
	}
	if blocks < 4 {
		t.Errorf("only %d blocks were read", blocks)
	}
}

// TestPagesLink: no page names another one, or a place on it, that is not there.
func TestPagesLink(t *testing.T) {
	t.Parallel()
	links := 0
	for _, p := range pages(t) {
		for _, found := range regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`).FindAllStringSubmatch(p.text, -1) {
			links++
			if _, err := os.Stat(filepath.Join("..", "..", "docs", "est", found[1])); err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
		}
	}
	if links < 8 {
		t.Errorf("only %d links were followed", links)
	}
}

// TestPageOfBouncyCastle compiles and runs the program of its page with the real library, where a machine has it and a Java
// compiler: continuous integration has not, and plays Bouncy Castle's part by itself in package est.
func TestPageOfBouncyCastle(t *testing.T) {
	t.Parallel()
	var jars []string
	for _, name := range []string{"bcpkix.jar", "bcprov.jar", "bcutil.jar"} {
		jar := filepath.Join("/usr/share/java", name)
		if _, err := os.Stat(jar); err != nil {
			t.Skipf("%v (Debian package libbcpkix-java)", err)
		}
		jars = append(jars, jar)
	}
	if _, err := exec.LookPath("javac"); err != nil {
		t.Skip("javac is not installed (Debian package default-jdk-headless)")
	}
	for _, p := range pages(t) {
		if p.name != "bouncy-castle.md" {
			continue
		}
		x := newProduct(t, config.IssuerLocal, nil)
		x.start()
		e := x.a.Endpoints()
		dir := t.TempDir()
		ca, err := os.ReadFile(filepath.Join(x.c.Dir, e.ESTCAFile))
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600), os.WriteFile(filepath.Join(dir, "Enroll.java"), []byte(strings.Join(p.blocks("java"), "")), 0o600))
		if err != nil {
			t.Fatal(err)
		}
		path := strings.Join(jars, ":")
		runPage(t, dir, fmt.Sprintf("set -euo pipefail\njavac -cp %s Enroll.java\njava -cp %[1]s:. Enroll %s \"$(cat %s)\" | tee said\ngrep renewed said\n",
			path, strings.TrimSuffix(strings.TrimPrefix(e.EST, "https://"), "/.well-known/est"), filepath.Join(x.c.Dir, e.ESTPasswordFile)))
	}
}
