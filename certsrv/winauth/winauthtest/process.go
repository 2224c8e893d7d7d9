package winauthtest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a peer may take to start, on a machine that is busy with other tests.
const patience = 20 * time.Second

// need returns the first of paths that exists. Without any the test skips, or fails where CI=true promises that it is
// there.
func need(t testing.TB, pkg string, paths ...string) string {
	t.Helper()
	for _, p := range paths {
		if found, err := filepath.Glob(p); err == nil && len(found) > 0 {
			return found[0]
		}
	}
	missing(t, "package "+pkg+" is not installed: none of "+strings.Join(paths, ", "))
	return ""
}

func missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// scratch makes a directory that every user may enter: t.TempDir is below one that only its owner may, and Apache's
// children run as another user.
func scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "callsign-winauth")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // of a test, with made-up secrets; its peers run as other users
		t.Fatal(err)
	}
	return dir
}

// write writes a file that every user may read, with the directories above it.
func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as in scratch
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil { //nolint:gosec // as in scratch
		t.Fatal(err)
	}
}

// longestLog is how many octets of a log are shown when a test has failed.
const longestLog = 4 << 10

// shifted is the environment of a process whose clock is off by so much.
func shifted(t testing.TB, offset time.Duration) []string {
	t.Helper()
	if offset == 0 {
		return nil
	}
	// The library by itself, not the program faketime: that one stays between us and the peer as its parent.
	lib := need(t, "faketime", "/usr/lib/*/faketime/libfaketimeMT.so.1")
	return []string{"LD_PRELOAD=" + lib, fmt.Sprintf("FAKETIME=%+ds", int(offset.Seconds()))}
}

// process is a peer that runs until it is stopped or the test ends.
type process struct {
	name string
	cmd  *exec.Cmd
	out  bytes.Buffer // what it wrote; to be read after done
	done chan struct{}
	once sync.Once
}

// start runs a program in the foreground. When the test fails, what the program wrote and its log files are shown.
func start(t testing.TB, env []string, logs []string, program string, args ...string) *process {
	t.Helper()
	p := &process{name: filepath.Base(program), done: make(chan struct{})}
	p.cmd = exec.Command(program, args...) //nolint:gosec,noctx // a peer's program with the arguments of the test
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = tied()
	started := make(chan error)
	go func() {
		defer close(p.done)
		// The kernel ties the process to this thread, so the thread has to live as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // a peer that was told to end says so by its status
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s wrote: %s", p.name, p.out.String())
			for _, path := range logs {
				log, err := os.ReadFile(path) //nolint:gosec // a log of the peer
				t.Logf("%s: %s %v", path, log[max(0, len(log)-longestLog):], err)
			}
		}
	})
	return p
}

// stop ends the process and waits for its end. It may be called more than once.
func (p *process) stop() {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		select {
		case <-p.done:
		case <-time.After(patience):
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	})
}

// await waits until the process accepts connections at addr.
func (p *process) await(t testing.TB, addr string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-p.done:
			t.Fatalf("%s ended at once: %s", p.name, p.out.String())
		default:
		}
	}
	t.Fatalf("%s does not answer at %s", p.name, addr)
}

// run runs a program to its end and returns what it wrote.
func run(t testing.TB, env []string, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...) //nolint:gosec // as in start
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
	return string(out)
}

// freeAddr returns an address of loopback where nothing listens.
func freeAddr(t testing.TB) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}
