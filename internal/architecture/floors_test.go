package architecture_test

import (
	"slices"
	"strings"
	"testing"
)

// floors gives each room its height. A room imports rooms below it and its own sub-packages, never its equals; a
// sub-package with an entry of its own is a room of its own. A new room needs a line here, and a place in
// docs/architecture.md.
var floors = map[string]int{
	// Importable libraries: no storage, no configuration, no CLI, nothing of internal/. Which of them may import another
	// is said below.
	"capf": 0, "certsrv": 0, "chain": 0, "cmc": 0, "est": 0, "trustlist": 0, "tvs": 0,

	// What everything may use, and authorities as an idea.
	"internal/secret": 1, "internal/explain": 1, "internal/audit": 1, "internal/metrics": 1, "internal/ca": 1,
	"internal/certfile": 2, "internal/probe": 2, "internal/cucm": 2,
	"internal/ca/local": 3, "internal/ca/adcs": 3, "internal/ca/upstream": 3, "internal/ca/offline": 3,

	// The domain, then the services on it.
	"internal/enroll": 4, "internal/diagnose": 4, "internal/cluster": 4,
	"internal/fleet": 5,
	"internal/ra":    6, "internal/edge": 6, "internal/plan": 6, "internal/monitor": 6, "internal/handset": 6,
	"internal/enterprise": 6,

	// Adapters, and what puts everything together.
	"internal/store": 7, "internal/web": 7, "internal/trace": 7, "internal/config": 7,
	"internal/setup": 8, "internal/app": 8,
	"internal/demo": 9,
	"internal/cli":  10,
	"cmd/callsign":  11,

	// Beside the house.
	"internal/architecture": 0, "scripts/testsummary": 0,
}

// libraryImports says which root libraries may import another root library.
var libraryImports = map[string][]string{
	"est":     {"cmc"},
	"certsrv": {"cmc"},
}

// adapters may be imported by app; config, which is a value and no service, also by what stands beside and above app.
var adapters = map[string][]string{
	"internal/store":  {"internal/app"},
	"internal/web":    {"internal/app"},
	"internal/trace":  {"internal/app"},
	"internal/config": {"internal/app", "internal/setup", "internal/demo", "internal/cli"},
}

// aloof names rooms that may import only these rooms of ours.
var aloof = map[string][]string{
	"internal/ca":      {},
	"internal/enroll":  {"internal/ca"},
	"internal/trace":   {},
	"internal/explain": {},
	"internal/secret":  {},
	"cmd/callsign":     {"internal/cli"},
}

// room returns the room of a package: the entry of floors with the longest matching path.
func room(pkg string) string {
	for name := pkg; name != ""; {
		if _, ok := floors[name]; ok {
			return name
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return ""
		}
		name = name[:i]
	}
	return ""
}

func isLibrary(room string) bool { return !strings.Contains(room, "/") }

// TestFloors checks every import between our packages, tests aside.
func TestFloors(t *testing.T) {
	t.Parallel()
	edges := 0
	for _, p := range ourPackages(t) {
		from := room(p.short())
		if from == "" {
			t.Errorf("package %s has no floor: give its room a line in floors", p.short())
			continue
		}
		for _, imported := range p.Imports {
			path, ok := strings.CutPrefix(imported, module+"/")
			if !ok {
				continue
			}
			to := room(path)
			if to == "" || to == from {
				continue // reported for the package itself; the same room
			}
			edges++
			for _, fault := range faults(from, to) {
				t.Errorf("%s imports %s: %s", p.short(), path, fault)
			}
		}
	}
	if edges < 10 {
		t.Errorf("only %d imports between rooms were seen", edges)
	}
}

// faults returns the rules that an import between two rooms breaks.
func faults(from, to string) []string {
	var found []string
	add := func(broken bool, rule string) {
		if broken {
			found = append(found, rule)
		}
	}
	if isLibrary(from) {
		add(strings.HasPrefix(to, "internal/"), "a root library imports nothing of internal/")
		add(isLibrary(to) && !slices.Contains(libraryImports[from], to), "among the root libraries only est and certsrv import another, cmc")
		add(!isLibrary(to), "imports go down only")
		return found
	}
	add(floors[to] >= floors[from], "imports go down only")
	if allowed, ok := aloof[from]; ok {
		add(!slices.Contains(allowed, to), from+" stands alone")
	}
	if importers, ok := adapters[to]; ok {
		add(!slices.Contains(importers, from), to+" is an adapter, which only app puts in place")
	}
	return found
}

// TestFloorRules checks the rules themselves: a guard that cannot bark guards nothing.
func TestFloorRules(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		from, to string
		ok       bool
	}{
		{"est", "cmc", true},
		{"certsrv", "cmc", true},
		{"capf", "cmc", false},
		{"cmc", "est", false},
		{"capf", "internal/secret", false},
		{"internal/ca", "internal/secret", false},
		{"internal/ca/local", "internal/ca", true},
		{"internal/ca", "internal/ca/local", false},
		{"internal/enroll", "internal/ca", true},
		{"internal/enroll", "internal/fleet", false},
		{"internal/enroll", "cmc", false},
		{"internal/fleet", "internal/enroll", true},
		{"internal/fleet", "internal/store", false},
		{"internal/ra", "internal/fleet", true},
		{"internal/ra", "internal/config", false},
		{"internal/store", "internal/fleet", true},
		{"internal/store", "internal/config", false},
		{"internal/trace", "internal/fleet", false},
		{"internal/app", "internal/store", true},
		{"internal/cli", "internal/store", false},
		{"internal/cli", "internal/app", true},
		{"internal/app", "internal/cli", false},
		{"internal/certfile", "internal/config", false},
		{"cmd/callsign", "internal/cli", true},
		{"cmd/callsign", "internal/app", false},
	} {
		if got := faults(tc.from, tc.to); (len(got) == 0) != tc.ok {
			t.Errorf("%s imports %s: faults %q, want ok %v", tc.from, tc.to, got, tc.ok)
		}
	}
	for pkg, want := range map[string]string{
		"certsrv/certsrvtest": "certsrv", "internal/ca/adcs": "internal/ca/adcs", "internal/enroll/enrolltest": "internal/enroll",
		"internal/new": "", "other": "",
	} {
		if got := room(pkg); got != want {
			t.Errorf("room(%s) = %q, want %q", pkg, got, want)
		}
	}
}

// TestNoTestHelpersInTheProduct keeps packages that are made for tests, which end in "test", out of everything but
// tests, other such packages, and the room that simulates a peer on purpose.
func TestNoTestHelpersInTheProduct(t *testing.T) {
	t.Parallel()
	simulating := []string{"internal/enterprise"}
	for _, p := range ourPackages(t) {
		if strings.HasSuffix(p.short(), "test") || slices.Contains(simulating, p.short()) {
			continue
		}
		for _, imported := range p.Imports {
			if path, ok := strings.CutPrefix(imported, module+"/"); ok && strings.HasSuffix(path, "test") {
				t.Errorf("%s imports %s, which is made for tests", p.short(), path)
			}
			if imported == "testing" {
				t.Errorf("%s imports testing", p.short())
			}
		}
	}
}
