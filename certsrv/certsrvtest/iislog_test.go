package certsrvtest

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lockedBuffer is an IIS log in memory.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// lines returns the log lines without header.
func (l *lockedBuffer) lines() []string {
	var lines []string
	for line := range strings.SplitSeq(l.String(), "\r\n") {
		if line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestIISLogOfOneEnrolment goes through start and enrolment as Cisco's registration authority does and compares the log
// with lines of a real server, but for what differs by place: date, addresses, port, id and duration.
func TestIISLogOfOneEnrolment(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	c := config(t, 0)
	c.IISLog, c.FirstRequestID = &log, 10
	c.Users = []User{{Name: `MICHAMEN\ciscora`, Password: testPassword}}
	s := start(t, c)
	ra := client3{user: "ciscora", domain: "MICHAMEN", password: testPassword}
	t1 := type1(40, clientFlags)

	first := s.dial(t, "CiscoRA 1.0")
	first.login(ra, t1)
	first.get("/certsrv/certnew.p7b?ReqID=CACert&Renewal=0&Enc=bin")
	startRows := len(log.lines())

	first = s.dial(t, "CiscoRA 1.0")
	first.login(ra, t1)
	first.get("/certsrv/certrqxt.asp")
	second := s.dial(t, "CiscoRA 1.0")
	second.login(ra, t1)
	csr, _ := newCSR(t, "SEP001122334455")
	second.do(http.MethodPost, "/certsrv/certfnsh.asp", submission(csr, "CiscoRA"), "Referer: https://lab-dc.michamen.com:443/certsrv/certrqxt.asp")
	second.get("/certsrv/certnew.cer?ReqID=10&ENC=b64")

	header, _, _ := strings.Cut(log.String(), "\r\n2026")
	want := strings.Replace(strings.Replace(string(readFile(t, "iis", "iis-enroll.log")), "Services 8.5", "Services 10.0", 1), "2019-01-16 14:05:02", "2026-11-20 12:00:00", 1)
	want, _, _ = strings.Cut(want, "\r\n2019")
	if diff := cmp.Diff(want, header); diff != "" {
		t.Errorf("header (-real +ours):\n%s", diff)
	}
	lines := log.lines()
	for name, ours := range map[string][]string{"iis-start.log": lines[:startRows], "iis-enroll.log": lines[startRows:]} {
		var real lockedBuffer
		_, _ = real.Write(readFile(t, "iis", name))
		if diff := cmp.Diff(masked(real.lines()), masked(ours)); diff != "" {
			t.Errorf("%s (-real +ours):\n%s", name, diff)
		}
	}
}

// masked blanks date, time, s-ip, s-port, c-ip and time-taken.
func masked(lines []string) []string {
	var out []string
	for _, line := range lines {
		f := strings.Split(line, " ")
		if len(f) != 15 {
			return append(out, "not 15 fields: "+line)
		}
		for _, i := range []int{0, 1, 2, 6, 8, 14} {
			f[i] = "x"
		}
		out = append(out, strings.Join(f, " "))
	}
	return out
}

// TestIISLogValues checks addresses, port, duration, the name of a failed Basic login, and that a client cannot forge lines.
func TestIISLogValues(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := clock
	var log lockedBuffer
	c := config(t, 0)
	c.IISLog = &log
	c.Now = func() time.Time { // every look at the clock takes 5 ms
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(5 * time.Millisecond)
		return now
	}
	s := start(t, c)
	port := s.addr[strings.LastIndex(s.addr, ":")+1:]
	w := s.basic(t, "A b\tc")
	w.get("/certsrv/certrqxt.asp?a=b%20c%0d%0a2026-11-20")
	w.pass = "wrong"
	w.do(http.MethodGet, "/certsrv/x%0D%0Ay%20z", "")
	want := []string{
		`^2026-11-20 12:00:00 127\.0\.0\.1 GET /certsrv/certrqxt\.asp a=b%20c%0d%0a2026-11-20 ` + port + ` LAB\\ra 127\.0\.0\.1 A\+b\+c - 200 0 0 5$`,
		`^2026-11-20 12:00:00 127\.0\.0\.1 GET /certsrv/x%0D%0Ay%20z - ` + port + ` LAB\\ra 127\.0\.0\.1 A\+b\+c - 401 1 1326 5$`,
	}
	lines := log.lines()
	if len(lines) != len(want) {
		t.Fatalf("%d lines:\n%s", len(lines), log.String())
	}
	for i, re := range want {
		if !regexp.MustCompile(re).MatchString(lines[i]) {
			t.Errorf("line %d\n%s\nwant\n%s", i, lines[i], re)
		}
	}
	if got := iisField("a b\r\nc"); got != "a+b++c" {
		t.Errorf("iisField: %q", got)
	}
}

// TestIISLogFiles checks the file per UTC day and the header after a restart.
func TestIISLogFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kiritimati := time.FixedZone("+14", 14*3600)
	write := func(days ...time.Time) {
		l := &iisLog{dir: dir}
		for _, at := range days {
			if err := l.write(at, "line\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.close(); err != nil {
			t.Fatal(err)
		}
		if err := l.write(days[0], "late\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	night := time.Date(2026, 11, 20, 23, 59, 59, 0, time.UTC)
	write(night, night, time.Date(2026, 11, 21, 14, 0, 1, 0, kiritimati), night.Add(time.Hour))
	write(night.Add(5*time.Hour), night.Add(6*time.Hour))
	for name, headers := range map[string]int{"u_ex261120.log": 1, "u_ex261121.log": 2} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(b), "#Fields: "+iisFields+"\r\n"); got != headers || strings.Count(string(b), "\r\nline") != 2*headers || strings.Contains(string(b), "late") {
			t.Errorf("%s: %d headers, want %d\n%s", name, got, headers, b)
		}
	}
}
