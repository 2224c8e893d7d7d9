package trace

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// rotation is a trace directory with a clock of its own.
type rotation struct {
	t   *testing.T
	dir string
	at  time.Time
	log *slog.Logger
}

func newRotation(t *testing.T) *rotation {
	t.Helper()
	r := &rotation{t: t, dir: filepath.Join(t.TempDir(), "logs"), at: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)}
	files, err := openFiles(r.dir, func() time.Time { return r.at })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Close() })
	r.log = slog.New(files.Handler(Options{}))
	return r
}

func (r *rotation) path(name string) string { return filepath.Join(r.dir, name) }

// write writes one event, which is one line of capf.txt, after some time.
func (r *rotation) write(after time.Duration) {
	r.at = r.at.Add(after)
	r.log.Info("x", "event", "capf.ra_started")
}

// has compares how many lines each file has.
func (r *rotation) has(want map[string]int) {
	r.t.Helper()
	for name, n := range want {
		b, err := os.ReadFile(r.path(name))
		if err != nil {
			r.t.Errorf("%s: %v", name, err)
		}
		if got := strings.Count(string(b), "\n"); got != n {
			r.t.Errorf("%s has %d lines, want %d", name, got, n)
		}
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	r := newRotation(t)
	r.write(0)
	r.has(map[string]int{CAPFFile: 1})

	// logrotate renames the file; lines go there until the next look, and then to a new file.
	if err := os.Rename(r.path(CAPFFile), r.path("capf.txt.1")); err != nil {
		t.Fatal(err)
	}
	r.write(lookEvery / 2)
	r.has(map[string]int{"capf.txt.1": 2})
	r.write(lookEvery / 2)
	r.write(0)
	r.has(map[string]int{"capf.txt.1": 2, CAPFFile: 2})

	// With "create" logrotate makes the new file itself.
	if err := os.Rename(r.path(CAPFFile), r.path("capf.txt.2")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path(CAPFFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.write(lookEvery)
	r.has(map[string]int{"capf.txt.2": 2, CAPFFile: 1})

	// Somebody removes it.
	if err := os.Remove(r.path(CAPFFile)); err != nil {
		t.Fatal(err)
	}
	r.write(lookEvery)
	r.has(map[string]int{CAPFFile: 1})

	// The clock is set back: the next line looks at once.
	if err := os.Remove(r.path(CAPFFile)); err != nil {
		t.Fatal(err)
	}
	r.write(-time.Hour)
	r.has(map[string]int{CAPFFile: 1})
}

// TestRotationFails: while no new file can be made, the old one takes the lines, and nothing is lost afterwards.
func TestRotationFails(t *testing.T) {
	t.Parallel()
	r := newRotation(t)
	away := r.dir + ".away"
	if err := os.Rename(r.dir, away); err != nil {
		t.Fatal(err)
	}
	r.write(lookEvery)
	if b, err := os.ReadFile(filepath.Join(away, CAPFFile)); err != nil || len(b) == 0 {
		t.Errorf("the line is lost: %q, %v", b, err)
	}
	if err := os.Mkdir(r.dir, 0o750); err != nil {
		t.Fatal(err)
	}
	r.write(lookEvery)
	r.has(map[string]int{CAPFFile: 1})
}

func BenchmarkWrite(b *testing.B) {
	f := &file{path: filepath.Join(b.TempDir(), CAPFFile), now: time.Now}
	if err := f.open(); err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	line := []byte("a line of the trace\n")
	for b.Loop() {
		if _, err := f.Write(line); err != nil {
			b.Fatal(err)
		}
	}
}

// TestShownCertificates: what a phone shows for Troubleshoot stands beside the trace, one file each, named after the
// device whatever that sends.
func TestShownCertificates(t *testing.T) {
	t.Parallel()
	r := newRotation(t)
	der := []byte{0x30, 0x03, 0x02, 0x01, 0x07}
	show := func(device, kind string, certificate []byte) {
		r.log.Info("x", "event", "capf.fetched", "device", device, "type", kind, "certificate", certificate)
	}
	show("SEP001122334455", "lsc", der)
	show("SEP001122334455", "mic", append(der[:4:4], 0x08))
	show("../../etc/x", "lsc", der)
	show("SEP001122334456", "lsc", nil)
	names, err := filepath.Glob(filepath.Join(r.dir, "*.pem"))
	if err != nil || len(names) != 3 {
		t.Fatalf("files %v, %v; want 3", names, err)
	}
	for i, prefix := range []string{"______etc_x-lsc-", "SEP001122334455-lsc-", "SEP001122334455-mic-"} {
		found := false
		for _, n := range names {
			found = found || strings.HasPrefix(filepath.Base(n), prefix)
		}
		if !found {
			t.Errorf("%d: no file %s* among %v", i, prefix, names)
		}
	}
	b, err := os.ReadFile(names[len(names)-1])
	if err != nil || !strings.HasPrefix(string(b), "-----BEGIN CERTIFICATE-----\n") {
		t.Errorf("%s: %v", b, err)
	}
}
