package architecture_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// banned are names of packages and files that say nothing: what has no home has no concept yet.
var banned = []string{
	"util", "utils", "common", "helper", "helpers", "types", "models", "misc", "base", "shared", "lib", "stuff", "manager",
}

func TestNamesSaySomething(t *testing.T) {
	t.Parallel()
	walk(t, func(path string, _ int64) {
		if strings.Contains(path, "testdata/") {
			return
		}
		for part := range strings.SplitSeq(path, "/") {
			name := strings.TrimSuffix(strings.TrimSuffix(part, ".go"), "_test")
			if slices.Contains(banned, name) {
				t.Errorf("%s: the name %q says nothing", path, name)
			}
		}
	})
}

// parsed calls f for every file of our packages, tests aside.
func parsed(t *testing.T, f func(p *listed, name string, file *ast.File, fset *token.FileSet)) {
	t.Helper()
	for _, p := range ourPackages(t) {
		fset := token.NewFileSet()
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Error(err)
				continue
			}
			f(p, name, file, fset)
		}
	}
}

// TestPackagesAreExplained asks for one package comment, in the usual form.
func TestPackagesAreExplained(t *testing.T) {
	t.Parallel()
	comments := map[string][]string{}
	parsed(t, func(p *listed, name string, file *ast.File, _ *token.FileSet) {
		if _, ok := comments[p.short()]; !ok {
			comments[p.short()] = nil
		}
		if file.Doc.Text() == "" { // a directive is no comment
			return
		}
		comments[p.short()] = append(comments[p.short()], name)
		text := file.Doc.Text()
		if p.Name != "main" && !strings.HasPrefix(text, "Package "+p.Name+" ") {
			t.Errorf("%s/%s: the package comment does not begin with %q", p.short(), name, "Package "+p.Name)
		}
		if len(strings.Fields(text)) < 10 {
			t.Errorf("%s/%s: the package comment explains nothing: %q", p.short(), name, text)
		}
	})
	for pkg, files := range comments {
		if len(files) != 1 {
			t.Errorf("%s has %d package comments (%s), want one", pkg, len(files), strings.Join(files, ", "))
		}
	}
}

// TestExportedNamesAreExplained asks for a comment at every exported function, method, type, constant and variable. A
// group's comment speaks for its members.
func TestExportedNamesAreExplained(t *testing.T) {
	t.Parallel()
	seen := 0
	parsed(t, func(p *listed, _ string, file *ast.File, fset *token.FileSet) {
		if p.Name == "main" {
			return
		}
		for _, d := range file.Decls {
			for _, bare := range unexplained(d, &seen) {
				t.Errorf("%s/%s: %s has no comment", p.short(), filepath.Base(fset.Position(bare.Pos()).String()), bare.Name)
			}
		}
	})
	if seen < 50 {
		t.Errorf("only %d exported names were seen", seen)
	}
}

// unexplained returns the exported names of a declaration that have no comment.
func unexplained(d ast.Decl, seen *int) []*ast.Ident {
	var bare []*ast.Ident
	check := func(name *ast.Ident, docs ...*ast.CommentGroup) {
		if !name.IsExported() {
			return
		}
		*seen++
		if !slices.ContainsFunc(docs, func(g *ast.CommentGroup) bool { return g.Text() != "" }) {
			bare = append(bare, name)
		}
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil || ast.IsExported(receiver(d.Recv.List[0].Type)) {
			check(d.Name, d.Doc)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				check(s.Name, s.Doc, s.Comment, d.Doc)
			case *ast.ValueSpec:
				for _, name := range s.Names {
					check(name, s.Doc, s.Comment, d.Doc)
				}
			}
		}
	}
	return bare
}

// receiver returns the name of a receiver's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	default:
		return ""
	}
}

// TestNothingOfThisMachine looks in every text for paths that exist only where it was written.
func TestNothingOfThisMachine(t *testing.T) {
	t.Parallel()
	// The patterns are put together here, or this file would be found.
	foreign := regexp.MustCompile(`(^|[^\w.)])(` + strings.Join([]string{
		"/wo" + "rk/", "/ro" + "ot/", "/home/" + `\w+/`, "/tmp/" + "brief", "/tmp/" + "bash",
	}, "|") + `)|\.\./` + `shared\b`)
	files := 0
	walk(t, func(path string, size int64) {
		if size > 4<<20 {
			return
		}
		data, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return // removed meanwhile by another test
		}
		if strings.ContainsRune(string(data[:min(len(data), 512)]), 0) {
			return // binary
		}
		files++
		if place := foreign.FindStringIndex(string(data)); place != nil {
			line := strings.Count(string(data[:place[0]]), "\n") + 1
			t.Errorf("%s:%d names a path of the machine it was written on: %q", path, line, data[place[0]:place[1]])
		}
	})
	if files < 20 {
		t.Errorf("only %d files were seen", files)
	}
}

func TestFileSizes(t *testing.T) {
	t.Parallel()
	const longest = 800 // lines; style asks for 100 to 500, tables and fixtures may need more
	walk(t, func(path string, _ int64) {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "testdata/") {
			return
		}
		data, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return
		}
		if n := strings.Count(string(data), "\n"); n > longest {
			t.Errorf("%s has %d lines: it holds more than one concept", path, n)
		}
	})
}
