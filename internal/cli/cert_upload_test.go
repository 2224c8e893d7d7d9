package cli_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/cli"
)

// uploads is the corpus of uploads: its README says where it comes from.
const uploads = "../cluster/upload/testdata/certmgmt"

// uploadCase is a case of expected.json.
type uploadCase struct {
	ID       string   `json:"id"`
	Purpose  string   `json:"purpose"`
	File     string   `json:"file"`
	CSR      string   `json:"csr"`
	Trust    []string `json:"trust"`
	At       string   `json:"at"`
	Verdict  string   `json:"verdict"`
	Code     string   `json:"code"`
	Message  string   `json:"message"`
	Warnings []string `json:"warnings"`
}

// judged is what the command says, as far as the corpus looks at it.
type judged struct {
	Verdict  string   `json:"verdict"`
	Code     string   `json:"code"`
	Message  string   `json:"message"`
	Warnings []string `json:"warnings"`
	Reasons  []struct {
		Code    string   `json:"code"`
		Message string   `json:"message"`
		Fixes   []string `json:"fixes"`
	} `json:"reasons"`
	Stored bool `json:"stored"`
}

// unpacked is a file of the corpus under a name that can be named on a command line.
func unpacked(t *testing.T, name, dir string) string {
	t.Helper()
	path := filepath.Join(uploads, filepath.FromSlash(name))
	if !strings.HasSuffix(name, ".gz") {
		return path
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if data, err = io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, strings.TrimSuffix(filepath.Base(name), ".gz"))
	if err := os.WriteFile(out, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

// storeOf fills a directory with what the trust store of a purpose holds.
func storeOf(t *testing.T, c *uploadCase) string {
	t.Helper()
	dir := t.TempDir()
	for i, name := range c.Trust {
		file, store, other := strings.Cut(name, "@")
		if other && store != c.Purpose {
			continue
		}
		data, err := os.ReadFile(filepath.Join(uploads, filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d-%s", i, filepath.Base(file))), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var openPlace = regexp.MustCompile(`\\\{[a-z]+\\\}`)

// saysAs reports whether a message is the expected one with its placeholders filled in.
func saysAs(want, got string) bool {
	return regexp.MustCompile(`^` + openPlace.ReplaceAllString(regexp.QuoteMeta(want), `[^{}]+`) + `$`).MatchString(got)
}

// TestUploadCorpus runs every case of the corpus through the command line, on plain files.
func TestUploadCorpus(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join(uploads, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var corpus struct {
		Cases []uploadCase `json:"cases"`
	}
	if err := json.Unmarshal(data, &corpus); err != nil {
		t.Fatal(err)
	}
	if n := len(corpus.Cases); n != 109 {
		t.Fatalf("%d cases, want 109", n)
	}
	for i := range corpus.Cases {
		c := &corpus.Cases[i]
		t.Run(c.ID, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			args := []string{
				"cert", "upload", c.Purpose, unpacked(t, c.File, dir), "--dry-run", "--json", "--trust-dir", storeOf(t, c), "--at", c.At,
				"--config", filepath.Join(dir, "there-is-none.toml"),
			}
			if c.CSR != "" {
				args = append(args, "--csr", unpacked(t, c.CSR, dir))
			}
			var out, errs bytes.Buffer
			code := cli.Main(args, strings.NewReader(""), &out, &errs)
			var got judged
			if err := json.Unmarshal(out.Bytes(), &got); err != nil {
				t.Fatalf("%v: %s%s", err, out.String(), errs.String())
			}
			wantCode := 0
			if c.Verdict == "reject" {
				wantCode = 3
			}
			if code != wantCode || got.Stored {
				t.Errorf("exit code %d, want %d; stored %v", code, wantCode, got.Stored)
			}
			if got.Verdict != c.Verdict || got.Code != c.Code || !saysAs(c.Message, got.Message) {
				t.Errorf("%s for %s: %s %s %q, want %s %s %q", c.File, c.Purpose, got.Verdict, got.Code, got.Message, c.Verdict, c.Code, c.Message)
			}
			if got.Warnings == nil || got.Reasons == nil {
				t.Errorf("a list is null: %s", out.String())
			}
			if diff := cmp.Diff(append([]string{}, c.Warnings...), got.Warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			if (code == 3) != (len(got.Reasons) > 0) {
				t.Errorf("%d reasons for %s", len(got.Reasons), got.Verdict)
			}
			if strings.Contains(out.String()+errs.String(), "PRIVATE KEY-----") {
				t.Error("a private key was printed")
			}
			// What is said to people has the same message and code, in full with --explain.
			out.Reset()
			words := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "--json" })
			if again := cli.Main(append(words, "--explain"), strings.NewReader(""), &out, &errs); again != wantCode {
				t.Errorf("exit code %d without --json, want %d", again, wantCode)
			}
			for _, r := range got.Reasons {
				if !strings.Contains(out.String(), "("+r.Code+")") || len(r.Fixes) == 0 {
					t.Errorf("%s is not told, or has no remedy:\n%s", r.Code, out.String())
				}
			}
			if code == 0 && strings.Contains(out.String(), "refused") {
				t.Errorf("accepted, and yet:\n%s", out.String())
			}
		})
	}
}
