package cli

import (
	"strings"
	"testing"
)

// TestTablePlain: what other people call their files and certificates neither moves the cursor nor breaks the lines.
func TestTablePlain(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := table(&out, []string{"FILE", "SUBJECT"}, [][]string{{"a\x1b[2Jb.crt", "CN=x\ty\r\nz\u009b1m"}, {"c", "한국어"}}); err != nil {
		t.Fatal(err)
	}
	if want := "FILE        SUBJECT\na?[2Jb.crt  CN=x y z?1m\nc           한국어\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
