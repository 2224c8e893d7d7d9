package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"callsign/internal/secret"
)

const value = "hunter2-geheim"

func TestNeverShown(t *testing.T) {
	t.Parallel()
	s, b := secret.NewString(value), secret.NewBytes([]byte(value))
	holder := struct {
		S  secret.String
		B  secret.Bytes
		PS *secret.String
		PB *secret.Bytes
		M  map[string]secret.String
	}{s, b, &s, &b, map[string]secret.String{"k": s}}

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%20s"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", b)
		fmt.Fprintf(&out, verb+"\n", holder)
		fmt.Fprintf(&out, verb+"\n", []any{&s, &b})
	}
	out.WriteString(s.String() + s.GoString() + b.String() + b.GoString())
	encoded, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(encoded)
	keyed, err := json.Marshal(map[secret.String]int{s: 1})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(keyed)
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("phrase", "s", s, "b", b, "holder", holder, "ptr", &s)
	}
	// The hexadecimal and the decimal form of the value would give it away as well.
	for _, shown := range []string{
		value, fmt.Sprintf("%x", value), fmt.Sprintf("%X", value),
		strings.Trim(fmt.Sprint(string([]byte(value))), "[]"), "aHVudGVyMi1nZWhlaW0",
	} {
		if strings.Contains(out.String(), shown) {
			t.Errorf("secret shows as %q in:\n%s", shown, out.String())
		}
	}
	if got := strings.Count(out.String(), secret.Redacted); got < 40 {
		t.Errorf("%d redaction marks, want one for each use:\n%s", got, out.String())
	}
}

func TestRevealAndEqual(t *testing.T) {
	t.Parallel()
	s, b := secret.NewString(value), secret.NewBytes([]byte(value))
	if s.Reveal() != value || string(b.Reveal()) != value {
		t.Errorf("Reveal = %q, %q", s.Reveal(), b.Reveal())
	}
	if !s.Equal(secret.NewString(value)) || s.Equal(secret.NewString(value+"x")) || s.Equal(secret.String{}) {
		t.Error("String.Equal is wrong")
	}
	if !b.Equal(secret.NewBytes([]byte(value))) || b.Equal(secret.NewBytes([]byte("x"))) {
		t.Error("Bytes.Equal is wrong")
	}
	if s.IsZero() || b.IsZero() || !(secret.String{}).IsZero() || !(secret.Bytes{}).IsZero() {
		t.Error("IsZero is wrong")
	}
	var decoded struct{ P secret.String }
	if err := json.Unmarshal([]byte(`{"P":"abc"}`), &decoded); err != nil || decoded.P.Reveal() != "abc" {
		t.Errorf("decoded %q, %v", decoded.P.Reveal(), err)
	}
}

func TestFromFile(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, content string
		mode          os.FileMode
		want, code    string
	}{
		{name: "line end cut off", content: "abc\n", mode: 0o600, want: "abc"},
		{name: "CRLF cut off", content: "abc\r\n", mode: 0o400, want: "abc"},
		{name: "no line end", content: "abc", mode: 0o600, want: "abc"},
		{name: "blanks belong to it", content: " a b \n", mode: 0o600, want: " a b "},
		{name: "only one line end", content: "abc\n\n", mode: 0o600, code: "secret.file-malformed"},
		{name: "two lines", content: "abc\ndef\n", mode: 0o600, code: "secret.file-malformed"},
		{name: "NUL", content: "ab\x00c", mode: 0o600, code: "secret.file-malformed"},
		{name: "empty", content: "", mode: 0o600, code: "secret.file-empty"},
		{name: "only a line end", content: "\n", mode: 0o600, code: "secret.file-empty"},
		{name: "too large", content: strings.Repeat("x", secret.MaxFileBytes+1), mode: 0o600, code: "secret.file-malformed"},
		{name: "group reads", content: "abc", mode: 0o640, code: "secret.file-exposed"},
		{name: "others read", content: "abc", mode: 0o604, code: "secret.file-exposed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "password")
			if err := os.WriteFile(path, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tc.mode); err != nil {
				t.Fatal(err)
			}
			got, err := secret.FromFile(path)
			requireCode(t, err, tc.code)
			if got.Reveal() != tc.want {
				t.Errorf("got %q, want %q", got.Reveal(), tc.want)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		_, err := secret.FromFile(filepath.Join(t.TempDir(), "none"))
		requireCode(t, err, "secret.file-missing")
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v does not wrap os.ErrNotExist", err)
		}
	})
	t.Run("directory", func(t *testing.T) {
		t.Parallel()
		requireCode(t, secret.CheckFile(t.TempDir()), "secret.file-malformed")
	})
}

// requireCode checks the code ("" for no error) and that a problem has a remedy and shows no content.
func requireCode(t *testing.T, err error, code string) {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Fatalf("unexpected error: %v", err)
		}
		return
	}
	var fileErr *secret.FileError
	if !errors.As(err, &fileErr) {
		t.Fatalf("got %v, want a *FileError with code %s", err, code)
	}
	if fileErr.Code() != code || fileErr.Remedy() == "" {
		t.Errorf("code %q remedy %q, want code %q and a remedy", fileErr.Code(), fileErr.Remedy(), code)
	}
	if strings.Contains(err.Error(), "abc") {
		t.Errorf("error shows the content: %v", err)
	}
}
