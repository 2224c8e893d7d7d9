package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"callsign/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"callsign": func() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the commands as users do: each is a process with its output, exit code and files.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("TZ", "UTC")
			e.Setenv("GORACE", "atexit_sleep_ms=10") // the race detector keeps each process for a second by default
			for name, dir := range map[string]string{
				"EDGE": "../../chain/testdata/edge", "CERTFILES": "../certfile/testdata", "CLUSTERS": "../cluster/testdata", "CERTMGMT": "../cluster/upload/testdata/certmgmt",
			} {
				abs, err := filepath.Abs(dir)
				if err != nil {
					return err
				}
				e.Setenv(name, abs)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": exitCode, "json": jsonValue, "endpoints": endpoints, "appears": appears, "occupy": occupy, "stopwatch": stopwatch, "signal": signals,
			"present": present, "oddcert": oddcert,
		},
	})
}

// exitCode runs a command and compares its exit code: code 2 callsign phone list.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND...")
	}
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = strconv.Itoa(exit.ExitCode())
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// jsonValue compares a value in the one JSON object of a file, or of stdout or stderr: json stdout items.0.name SEP0011.
// A path that ends in len is the length of a list, in ? the names of an object's members in the order of the alphabet.
func jsonValue(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: json FILE PATH VALUE")
	}
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil || dec.More() {
		ts.Fatalf("%s is not one JSON value: %v", args[0], err)
	}
	for step := range strings.SplitSeq(args[1], ".") {
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[step]
			switch {
			case step == "?":
				next = strings.Join(slices.Sorted(maps.Keys(x)), ",")
			case !ok:
				next = "(missing)"
			}
			v = next
		case []any:
			if step == "len" {
				v = len(x)
				continue
			}
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(x) {
				ts.Fatalf("no element %s in a list of %d", step, len(x))
			}
			v = x[i]
		default:
			ts.Fatalf("nothing stands below the value of %q", args[1])
		}
	}
	if got := fmt.Sprint(v); (got == args[2]) == neg {
		ts.Fatalf("%s is %q, and %q was named", args[1], got, args[2])
	}
}

// patience is how long a server may take to start on a slow machine.
const patience = 30 * time.Second

// endpoints waits for a file endpoints.json and puts its values into the script's environment, names in capitals.
func endpoints(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: endpoints FILE")
	}
	deadline := time.Now().Add(patience)
	for ; ; time.Sleep(10 * time.Millisecond) { // another process makes the file: there is nothing to wait on but it
		m := map[string]string{}
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil {
			err = json.Unmarshal(b, &m)
		}
		for k, v := range m {
			ts.Setenv(strings.ToUpper(k), v)
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v", err)
		}
	}
}

// appears waits until a file that another process writes has a line that matches: appears FILE REGEXP.
func appears(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: appears FILE REGEXP")
	}
	line, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // as in endpoints
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && line.Match(b) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s has nothing like %s after %s: %v\n%s", args[0], args[1], patience, err, b)
		}
	}
}

// occupy listens on a free port, closes what connects, and puts the address into a variable: occupy VARIABLE.
func occupy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: occupy VARIABLE")
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	ts.Setenv(args[0], l.Addr().String())
}

// stopwatch starts without an argument; with one, it fails when more time has gone by: stopwatch 5s.
func stopwatch(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Setenv("STOPWATCH", time.Now().Format(time.RFC3339Nano))
		return
	}
	began, err := time.Parse(time.RFC3339Nano, ts.Getenv("STOPWATCH"))
	ts.Check(err)
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	if took := time.Since(began); neg || took > limit {
		ts.Fatalf("took %s, and %s is the limit", took, limit)
	}
}

// signals sends SIGTERM or SIGHUP to what runs in the background; the testscript command kill knows neither.
func signals(ts *testscript.TestScript, neg bool, args []string) {
	known := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	if neg || len(args) != 1 || known[args[0]] == 0 {
		ts.Fatalf("usage: signal TERM|HUP")
	}
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(known[args[0]]))
	}
}
