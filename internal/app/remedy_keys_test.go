package app_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"callsign/internal/config"
)

// TestRemediesNameExistingKeys: every key of the configuration that a text of these rooms names is one. Words alone in a
// literal are codes and events.
func TestRemediesNameExistingKeys(t *testing.T) {
	t.Parallel()
	known, section := map[string]bool{}, ""
	for line := range strings.Lines(config.Reference()) {
		if s, ok := strings.CutPrefix(line, "["); ok {
			section, _, _ = strings.Cut(s, "]")
		} else if k, _, ok := strings.Cut(strings.TrimLeft(line, "# "), " = "); ok {
			known[section+"."+k] = true
		}
	}
	if !known["ra.voucher_subject"] || !known["est.client_ca_file"] {
		t.Fatalf("the reference is not understood: %v", known)
	}
	word := regexp.MustCompile(`\b(?:store|log|trace|capf|ca|adcs|est|ra)\.[a-z_]+\b`)
	named := 0
	for _, dir := range []string{"../ra", "../ca/adcs", "../ca/upstream", "../../est", "../../certsrv", "../../certsrv/winauth"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(dir, files, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				lit, ok := n.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return true
				}
				text, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(text, " ") && !known[text] {
					return true // a code or an event
				}
				for _, key := range word.FindAllString(text, -1) {
					named++
					if !known[key] {
						t.Errorf("%s: %q is no key: %s", set.Position(lit.Pos()), key, text)
					}
				}
				return true
			})
		}
	}
	if named < 20 {
		t.Errorf("only %d keys seen", named)
	}
}
