// Testsummary reads the output of "go test -json" on standard input and prints what a person wants of it: the output of
// failed tests at once, then the skipped tests counted by reason, and last the lines of go test for each package. While
// tests run it names each finished package on standard error. It exits 1 when a test, a package or a build failed, or
// when the stream ends too early.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	os.Exit(run(os.Stdin, os.Stdout, os.Stderr))
}

// event is a line of the stream; see go doc test2json, and "go help buildjson" for the build's.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

// test is where an event belongs.
type test struct{ pkg, name string }

// summary is what has been read so far.
type summary struct {
	out, progress io.Writer
	pending       map[test][]string   // output of tests that have not ended
	skips         map[string][]string // reason to tests
	lines         []string            // go test's line for each package, in the order of their ends
	tests         int
	open          map[string]bool // packages that have begun and not ended
	failed        bool
}

func run(in io.Reader, out, progress io.Writer) int {
	s := &summary{
		out: out, progress: progress,
		pending: map[test][]string{}, skips: map[string][]string{}, open: map[string]bool{},
	}
	r := bufio.NewReader(in)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			s.line(line)
		}
		if err != nil {
			break
		}
	}
	return s.end()
}

func (s *summary) line(line string) {
	var e event
	if err := json.Unmarshal([]byte(line), &e); err != nil || e.Action == "" {
		fmt.Fprint(s.out, line) // go itself speaks plainly when it cannot begin
		return
	}
	key := test{e.Package, e.Test}
	switch e.Action {
	case "start":
		s.open[e.Package] = true
	case "output":
		s.pending[key] = append(s.pending[key], e.Output)
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "build-fail":
		s.failed = true
	case "pass", "skip", "fail":
		if e.Test == "" {
			s.packageEnd(e)
		} else {
			s.testEnd(e)
		}
	}
}

func (s *summary) testEnd(e event) {
	key := test{e.Package, e.Test}
	s.tests++
	switch e.Action {
	case "skip":
		reason := skipReason(s.pending[key])
		s.skips[reason] = append(s.skips[reason], e.Package+" "+e.Test)
	case "fail":
		s.failed = true
		s.print(key)
	}
	delete(s.pending, key)
}

func (s *summary) packageEnd(e event) {
	delete(s.open, e.Package)
	s.failed = s.failed || e.Action == "fail"
	if e.Action == "fail" {
		// A panic or a timeout ends tests that never said so themselves.
		var unfinished []test
		for key := range s.pending {
			if key.pkg == e.Package && key.name != "" {
				unfinished = append(unfinished, key)
			}
		}
		slices.SortFunc(unfinished, func(a, b test) int { return cmp.Compare(a.name, b.name) })
		for _, key := range unfinished {
			s.print(key)
			delete(s.pending, key)
		}
	}
	key := test{pkg: e.Package}
	var rest []string
	for _, line := range s.pending[key] {
		switch {
		case isResult(line):
			s.lines = append(s.lines, line)
		case line != "PASS\n":
			rest = append(rest, line)
		}
	}
	if e.Action == "fail" {
		fmt.Fprint(s.out, strings.Join(rest, ""))
	}
	delete(s.pending, key)
	fmt.Fprintf(s.progress, "tested %s in %.1fs: %s\n", e.Package, e.Elapsed, e.Action)
}

// isResult reports whether a line of a package is go test's last word on it.
func isResult(line string) bool {
	for _, prefix := range []string{"ok  \t", "FAIL\t", "?   \t", "---\t", "\t"} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}

func (s *summary) print(key test) {
	for _, line := range s.pending[key] {
		if !strings.HasPrefix(line, "=== ") {
			fmt.Fprint(s.out, line)
		}
	}
}

// skipReason returns what a test said before it skipped, without the place.
func skipReason(output []string) string {
	var text []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		// "file_test.go:12: reason"
		if place, reason, ok := strings.Cut(line, ": "); ok && strings.Contains(place, ".go:") {
			line = reason
		}
		text = append(text, line)
	}
	if len(text) == 0 {
		return "no reason given"
	}
	return strings.Join(text, " ")
}

func (s *summary) end() int {
	for pkg := range s.open {
		fmt.Fprintf(s.out, "no end of %s: go test was ended\n", pkg)
		s.failed = true
	}
	skipped := 0
	reasons := make([]string, 0, len(s.skips))
	for reason, tests := range s.skips {
		reasons = append(reasons, reason)
		skipped += len(tests)
	}
	slices.SortFunc(reasons, func(a, b string) int {
		return cmp.Or(len(s.skips[b])-len(s.skips[a]), cmp.Compare(a, b))
	})
	fmt.Fprintf(s.out, "%d tests, %d skipped\n", s.tests, skipped)
	for _, reason := range reasons {
		tests := s.skips[reason]
		fmt.Fprintf(s.out, "  skipped %d: %s (%s", len(tests), reason, tests[0])
		if len(tests) > 1 {
			fmt.Fprint(s.out, ", ...")
		}
		fmt.Fprintln(s.out, ")")
	}
	slices.Sort(s.lines)
	for _, line := range s.lines {
		fmt.Fprint(s.out, line)
	}
	if s.failed || len(s.lines) == 0 {
		fmt.Fprintln(s.out, "FAIL")
		return 1
	}
	return 0
}
