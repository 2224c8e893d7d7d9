package architecture_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// module is the name of ours; root its directory as seen from here.
const (
	module = "callsign"
	root   = "../.."
)

// listed is a package as "go list -json" describes it.
type listed struct {
	ImportPath   string
	Dir          string
	Name         string
	Standard     bool
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Module       *struct {
		Path    string
		Dir     string
		Main    bool
		Version string
	}
}

// ours reports whether the package belongs to this module.
func (p *listed) ours() bool { return p.Module != nil && p.Module.Main }

// short is the import path inside the module: "internal/ca/local".
func (p *listed) short() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// goList runs go list once for all tests of the package.
var goList = sync.OnceValues(func() ([]*listed, error) {
	cmd := exec.Command("go", "list", "-deps", "-test",
		"-json=ImportPath,Dir,Name,Standard,GoFiles,Imports,TestImports,XTestImports,Module", "./...")
	cmd.Dir = root
	// A workspace above the tree would show other modules as ours.
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.String())
	}
	var all []*listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		// Variants for tests ("p [p.test]", "p.test") repeat what the plain entry says.
		if !strings.Contains(p.ImportPath, " ") && !strings.HasSuffix(p.ImportPath, ".test") {
			all = append(all, &p)
		}
	}
})

// packages returns all packages that the module's code and tests use.
func packages(t *testing.T) []*listed {
	t.Helper()
	all, err := goList()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// ourPackages returns the module's own packages.
func ourPackages(t *testing.T) []*listed {
	t.Helper()
	var own []*listed
	for _, p := range packages(t) {
		if p.ours() {
			own = append(own, p)
		}
	}
	if len(own) < 5 {
		t.Fatalf("go list knows only %d packages of the module", len(own))
	}
	return own
}

// walk calls f for every regular file of the repository, with its path from the root.
func walk(t *testing.T, f func(path string, size int64)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && (name == ".git" || name == "bin"):
			return filepath.SkipDir
		case d.Type().IsRegular():
			info, err := d.Info()
			if err != nil {
				return nil //nolint:nilerr // a file that another test has just removed
			}
			f(filepath.ToSlash(name), info.Size())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
