package cli

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/certsrv"
	"callsign/chain"
	"callsign/internal/cluster"
	"callsign/internal/cluster/upload"
	"callsign/internal/explain"
)

// codeForm is the form of a code of our own problems.
var codeForm = regexp.MustCompile(`^[a-z]+\.[a-z0-9]+(-[a-z0-9]+)*$`)

// usedCodes are the codes that the sources give to errors, and where: constants that are named as codes, fields and
// results that are codes, and arguments of functions whose parameter is a code. Names of events are none of these.
func usedCodes(t *testing.T) map[string]token.Position {
	t.Helper()
	codes, set := map[string]token.Position{}, token.NewFileSet()
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil && codeForm.MatchString(text) {
				codes[text] = set.Position(lit.Pos())
			}
		}
	}
	clientCodes := map[string]bool{}
	constants := map[string]string{}
	for dir, files := range sources(t, set) {
		takes := codeParameters(files)
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.ValueSpec:
					for i, v := range n.Values {
						if isCode(n.Names[i].Name) {
							add(v)
							if lit, ok := v.(*ast.BasicLit); ok && dir == "est" {
								constants[n.Names[i].Name] = strings.Trim(lit.Value, `"`)
							}
						}
					}
				case *ast.KeyValueExpr:
					if key, ok := n.Key.(*ast.Ident); ok && isCode(key.Name) {
						add(n.Value)
					}
				case *ast.AssignStmt:
					for i, left := range n.Lhs {
						if field, ok := left.(*ast.SelectorExpr); ok && isCode(field.Sel.Name) && i < len(n.Rhs) {
							add(n.Rhs[i])
						}
					}
				case *ast.FuncDecl:
					if n.Name.Name == "Code" && n.Recv != nil {
						ast.Inspect(n, func(n ast.Node) bool {
							if r, ok := n.(*ast.ReturnStmt); ok {
								add(r.Results[0])
							}
							return true
						})
					}
				case *ast.CallExpr:
					if i, ok := takes[calledName(n)]; ok && i < len(n.Args) {
						add(n.Args[i])
					}
				case *ast.Ident:
					if strings.HasPrefix(filepath.Base(set.Position(n.Pos()).Filename), "client") && dir == "est" {
						clientCodes[n.Name] = true
					}
				}
				return true
			})
		}
	}
	// What the EST client reports is "upstream." where CAPF asks an RA.
	for name, code := range constants {
		if clientCodes[name] {
			codes["upstream."+strings.TrimPrefix(code, "est.")] = codes[code]
		}
	}
	return codes
}

// isCode tells names of constants and fields that hold a code.
func isCode(name string) bool {
	return name == "Code" || name == "ErrCode" || regexp.MustCompile(`^[Cc]ode[A-Z]`).MatchString(name)
}

// codeParameters returns the functions with a parameter named code, and its place.
func codeParameters(files []*ast.File) map[string]int {
	takes := map[string]int{}
	for _, f := range files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			at := 0
			for _, field := range fn.Type.Params.List {
				for _, name := range field.Names {
					if name.Name == "code" {
						takes[fn.Name.Name] = at
					}
					at++
				}
			}
		}
	}
	return takes
}

func calledName(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// sources parses the files of the product by directory, without tests and what is made for them.
func sources(t *testing.T, set *token.FileSet) map[string][]*ast.File {
	t.Helper()
	root, parsed := filepath.Join("..", ".."), map[string][]*ast.File{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(name, ".") || strings.HasSuffix(name, "test") || name == "testdata" || name == "tools"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		parsed[filepath.ToSlash(dir)] = append(parsed[filepath.ToSlash(dir)], f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// TestEveryCodeIsExplained: the catalogue has the codes of the sources, and no other codes of problems.
func TestEveryCodeIsExplained(t *testing.T) {
	t.Parallel()
	used := usedCodes(t)
	if len(used) < 200 {
		t.Errorf("only %d codes were found; are they written in another way now?", len(used))
	}
	for _, code := range slices.Sorted(maps.Keys(used)) {
		if !explain.Known(code) {
			t.Errorf("%s: the catalogue has no entry for %s", used[code], code)
		}
	}
	for _, entry := range explain.Entries() {
		if _, ok := used[entry.Code]; !ok && entry.Family == explain.FamilyProblem {
			t.Errorf("the catalogue explains %s, and nothing reports it", entry.Code)
		}
	}
}

// TestChainFaultsAreExplained: the catalogue and the judge of chains have the same codes.
func TestChainFaultsAreExplained(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, c := range chain.Codes() {
		want = append(want, string(c))
	}
	for _, entry := range explain.Entries() {
		if entry.Family == explain.FamilyChain {
			got = append(got, entry.Code)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestUploadCodesAreExplained: the catalogue and the judge of uploads have the same codes.
func TestUploadCodesAreExplained(t *testing.T) {
	t.Parallel()
	want, got := cluster.NoteCodes(), []string(nil)
	for _, c := range upload.Codes() {
		want = append(want, string(c))
	}
	for _, entry := range explain.Entries() {
		if entry.Family == explain.FamilyUpload {
			got = append(got, entry.Code)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestVerifyErrorsAgree: what the judge of chains says in OpenSSL's terms leads to the fault that it means.
func TestVerifyErrorsAgree(t *testing.T) {
	t.Parallel()
	faults := []chain.Fault{}
	for _, c := range chain.Codes() {
		faults = append(faults, chain.Fault{Code: c}, chain.Fault{Code: c, Depth: 1})
	}
	for _, r := range chain.Rules() {
		faults = append(faults, chain.Fault{Code: r.Code, Rule: r.Name})
	}
	found := 0
	for i := range faults {
		says := faults[i].OpenSSL()
		for _, query := range []string{says.Text, says.Legacy, fmt.Sprintf("openssl:%d", says.Number), fmt.Sprintf("openssl:%d", says.LegacyNumber)} {
			if says.Number == 0 {
				continue // nothing like it in OpenSSL
			}
			found++
			if m := explain.Lookup(query); len(m) == 0 || m[0].Entry.Code != string(faults[i].Code) {
				t.Errorf("%s, rule %q: %q does not lead there", faults[i].Code, faults[i].Rule, query)
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d words of OpenSSL were looked up", found)
	}
}

// TestStatusCodesAgree: what the client of AD CS explains the catalogue explains, too, under the same name, in every form in
// which Windows prints it.
func TestStatusCodesAgree(t *testing.T) {
	t.Parallel()
	all := slices.Concat(certsrv.Statuses(), certsrv.AgentStatuses())
	if len(all) < 60 {
		t.Fatalf("only %d status codes", len(all))
	}
	for _, s := range all {
		code := s.HResult.String()
		for _, query := range []string{code, s.Name, s.HResult.Full(), strconv.Itoa(int(uint32(s.HResult))), strconv.Itoa(int(int32(s.HResult)))} {
			if m := explain.Lookup(query); len(m) == 0 || m[0].Entry.Code != code || m[0].Entry.Family != explain.FamilyWindows {
				t.Errorf("%q does not lead to %s", query, code)
			}
		}
	}
}

func TestSignedCodes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"explain -2146875392":                  "explain -- -2146875392",
		"explain -2146875392 --lang ko x":      "explain --lang ko x -- -2146875392",
		"--lang fr explain x -2146877422":      "--lang fr explain x -- -2146877422",
		"explain -- -2146875392":               "explain -- -2146875392",
		"explain -":                            "explain -",
		"explain -12":                          "explain -12",
		"check -2146875392":                    "check -2146875392",
		"explain -2146875392 -2146877422 code": "explain code -- -2146875392 -2146877422",
	} {
		if got := strings.Join(signedCodes(strings.Fields(in)), " "); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// explanations calls do with every text of the catalogue.
func explanations(do func(code string, lang explain.Lang, text string)) {
	for _, entry := range explain.Entries() {
		for lang, t := range entry.Texts {
			for _, text := range slices.Concat([]string{t.Title, t.Meaning}, t.Causes, t.Evidence, t.Remedy) {
				do(entry.Code, lang, text)
			}
		}
	}
}

// TestExplanationsAreTrue: no text of the catalogue names a command, flag or key of the configuration that does not exist.
func TestExplanationsAreTrue(t *testing.T) {
	t.Parallel()
	keys := configKeys()
	commands, named := 0, 0
	explanations(func(code string, lang explain.Lang, text string) {
		for _, i := range instruction.FindAllString(text, -1) {
			commands++
			i, _, _ = strings.Cut(i+" ", ". ") // the end of a sentence
			for _, words := range mentions(i) {
				if w := wrong(words); w != "" {
					t.Errorf("%s %s: %q: %s", code, lang, i, w)
				}
			}
		}
		for _, key := range namedKeys(text) {
			named++
			if !slices.Contains(keys, key) {
				t.Errorf("%s %s: there is no key %s: %q", code, lang, key, text)
			}
		}
	})
	if commands < 300 || named < 300 {
		t.Errorf("only %d commands and %d keys were found", commands, named)
	}
}

// TestTranslationsSayTheSame: what stays the same in every language is in every language: commands, keys, and words
// that nobody translates.
func TestTranslationsSayTheSame(t *testing.T) {
	t.Parallel()
	constant := regexp.MustCompile(`callsign (?:(?:phone|cert|csr|trust|subject|handset|capf) [a-z]+|check|explain|help|init|serve|version)|--[a-z-]+|\b(?:store|trace|capf|renewal|ca|adcs|est|ra|cluster)\.[a-z0-9_]+\b|openssl [a-z0-9]+|certutil -\w+|0x[0-9a-f]+`)
	texts := func(t explain.Text) []string {
		return slices.Concat([]string{t.Title, t.Meaning}, t.Causes, t.Evidence, t.Remedy)
	}
	for _, entry := range explain.Entries() {
		english := texts(entry.Texts[explain.English])
		for _, lang := range explain.Langs() {
			for i, text := range texts(entry.Texts[lang]) {
				want := slices.Sorted(slices.Values(constant.FindAllString(english[i], -1)))
				got := slices.Sorted(slices.Values(constant.FindAllString(text, -1)))
				if diff := cmp.Diff(slices.Compact(want), slices.Compact(got)); diff != "" {
					t.Errorf("%s %s: %q and %q differ (-en +%s):\n%s", entry.Code, lang, english[i], text, lang, diff)
				}
			}
		}
	}
}

// TestOurWordingsAreOurs: what the catalogue shows as a message of this program stands in its sources.
func TestOurWordingsAreOurs(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	eachLiteral(t, func(_ token.Position, text string) { all.WriteString(text + "\x00") })
	said, found := all.String(), 0
	for _, entry := range explain.Entries() {
		for _, w := range entry.Wording {
			if w.In != "callsign" {
				continue
			}
			for part := range strings.SplitSeq(w.Text, "*") {
				const shortest = 4 // less is everywhere
				if part = strings.TrimSpace(part); len(part) < shortest {
					continue
				}
				found++
				if !strings.Contains(said, part) {
					t.Errorf("%s: the program never says %q", entry.Code, part)
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d wordings were looked for", found)
	}
}
