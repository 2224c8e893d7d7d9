package architecture_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// users says which packages import a third-party module: one, so that it can be replaced. A new module needs a line
// here, and the commit that brings it says why. golang.org/x is Go's own and free to use.
var users = map[string][]string{
	"github.com/BurntSushi/toml":         {"internal/config"},
	"github.com/google/renameio/v2":      {"internal/certfile", "internal/handset"}, // handset stands without our files
	"github.com/spf13/cobra":             {"internal/cli"},
	"github.com/lmittmann/tint":          {"internal/cli"},
	"github.com/schollz/progressbar/v3":  {"internal/cli"},
	"github.com/pressly/goose/v3":        {"internal/store"},
	"modernc.org/sqlite":                 {"internal/store"},
	"github.com/Azure/go-ntlmssp":        {"certsrv/winauth"},
	"github.com/jcmturner/gokrb5/v8":     {"certsrv/winauth", "certsrv/certsrvtest"}, // the client half, and the server half of the simulator
	"github.com/smallstep/pkcs7":         {"cmc"},
	"software.sslmate.com/src/go-pkcs12": {"internal/certfile"},
	"github.com/google/go-cmp":           onlyTests,
	"github.com/rogpeppe/go-internal":    onlyTests,
	"go.uber.org/goleak":                 onlyTests,
	"pgregory.net/rapid":                 onlyTests,
}

// onlyTests are modules that tests and packages made for tests import.
var onlyTests = []string{}

// moduleOf maps every package that is not ours to its module.
func moduleOf(t *testing.T) map[string]string {
	t.Helper()
	of := map[string]string{}
	for _, p := range packages(t) {
		if p.Module != nil && !p.ours() {
			of[p.ImportPath] = p.Module.Path
		}
	}
	return of
}

// TestOneUserPerModule checks what our packages import, tests aside.
func TestOneUserPerModule(t *testing.T) {
	t.Parallel()
	of := moduleOf(t)
	for _, p := range ourPackages(t) {
		for _, imported := range p.Imports {
			mod, foreign := of[imported]
			if !foreign || strings.HasPrefix(mod, "golang.org/x/") {
				continue
			}
			allowed, known := users[mod]
			switch {
			case !known:
				t.Errorf("%s imports %s: module %s has no line in users", p.short(), imported, mod)
			case len(allowed) == 0 && !strings.HasSuffix(p.short(), "test"):
				t.Errorf("%s imports %s, which is for tests", p.short(), imported)
			case len(allowed) > 0 && !slices.Contains(allowed, p.short()):
				t.Errorf("%s imports %s, which is left to %s", p.short(), imported, strings.Join(allowed, " and "))
			}
		}
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			if mod, foreign := of[imported]; foreign && !strings.HasPrefix(mod, "golang.org/x/") {
				if _, known := users[mod]; !known {
					t.Errorf("tests of %s import %s: module %s has no line in users", p.short(), imported, mod)
				}
			}
		}
	}
}

// licences are recognised by a sentence of each that no other has.
var licences = []struct {
	name string
	text *regexp.Regexp
}{
	{"MIT", regexp.MustCompile(`Permission is hereby granted, free of charge, to any person obtaining a copy`)},
	{"BSD", regexp.MustCompile(`Redistribution and use in source and binary forms, with or without modification, are permitted`)},
	{"Apache-2.0", regexp.MustCompile(`Apache License,? Version 2\.0`)},
	{"ISC", regexp.MustCompile(`Permission to use, copy, modify,? and(/or)? distribute this software for any purpose with or without fee`)},
	{"MPL-2.0", regexp.MustCompile(`Mozilla Public License,? (Version|v\.) ?2\.0`)},
}

// copyleft must not occur in a licence text that we link; MPL names the GNU licences as secondary ones, so it is looked
// for in the title only.
var copyleft = regexp.MustCompile(`^\W*(GNU )?(AFFERO |LESSER |LIBRARY )?GENERAL PUBLIC LICENSE`)

// licenceOf returns the licence of a text, "" when it is none that we accept.
func licenceOf(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if copyleft.MatchString(text) {
		return ""
	}
	for _, l := range licences {
		if l.text.MatchString(text) {
			return l.name
		}
	}
	return ""
}

// TestLicences reads the licence file of every module that is linked into the product or its tests.
func TestLicences(t *testing.T) {
	t.Parallel()
	dirs := map[string]string{}
	for _, p := range packages(t) {
		if p.Module != nil && !p.ours() {
			dirs[p.Module.Path] = p.Module.Dir
		}
	}
	if len(dirs) < 5 {
		t.Errorf("only %d modules were seen", len(dirs))
	}
	for _, path := range slices.Sorted(maps.Keys(dirs)) {
		var found []string
		files, err := os.ReadDir(dirs[path])
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		for _, f := range files {
			name := strings.ToUpper(f.Name())
			if f.IsDir() || !strings.HasPrefix(name, "LICEN") && !strings.HasPrefix(name, "COPYING") && !strings.HasPrefix(name, "UNLICENSE") {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dirs[path], f.Name()))
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			if l := licenceOf(string(text)); l != "" {
				found = append(found, l)
			}
		}
		if len(found) == 0 {
			t.Errorf("module %s has no licence that we accept (MIT, BSD, Apache-2.0, ISC, MPL-2.0)", path)
		}
	}
}

func TestLicenceOf(t *testing.T) {
	t.Parallel()
	own, err := os.ReadFile(filepath.Join(root, "LICENSE"))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		string(own): "Apache-2.0",
		"  GNU GENERAL PUBLIC LICENSE\n Version 3": "",
		"GNU LESSER GENERAL PUBLIC LICENSE ... Permission is hereby granted, free of charge, to any person obtaining a copy": "",
		"Copyright\n\nPermission is hereby granted, free of\ncharge, to any person obtaining a copy":                         "MIT",
		"All rights reserved.": "",
	} {
		if got := licenceOf(text); got != want {
			t.Errorf("licence of %.40q is %q, want %q", text, got, want)
		}
	}
}
