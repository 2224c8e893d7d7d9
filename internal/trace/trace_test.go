package trace_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/trace"
)

// world is a Handler with its three files and a clock.
type world struct {
	capf, start, errors bytes.Buffer
	now                 time.Time
	log                 *slog.Logger
}

func newWorld(t *testing.T, at string) *world {
	t.Helper()
	w := &world{}
	w.set(t, at)
	zone := w.now.Location()
	w.log = slog.New(trace.New(trace.Options{
		CAPF: &w.capf, RAStart: &w.start, ErrorLog: &w.errors, Now: func() time.Time { return w.now }, Location: zone, PID: 3187,
	}))
	return w
}

func (w *world) set(t *testing.T, at string) {
	t.Helper()
	var err error
	if w.now, err = time.Parse("2006-01-02T15:04:05.000Z07:00", at); err != nil {
		t.Fatal(err)
	}
}

// at moves the clock to a time of day.
func (w *world) at(t *testing.T, clock string) *world {
	t.Helper()
	w.set(t, w.now.Format("2006-01-02T")+clock+w.now.Format("Z07:00"))
	return w
}

func (w *world) event(name string, attrs ...any) {
	w.log.Debug("something happened", append([]any{"event", name}, attrs...)...)
}

func fixture(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// between requires that every line of want occurs in got, in order, and returns the other lines of got.
func between(t *testing.T, want, got string) []string {
	t.Helper()
	rest := strings.SplitAfter(strings.TrimSuffix(got, "\n"), "\n")
	var extra []string
	for line := range strings.SplitSeq(strings.TrimSuffix(want, "\n"), "\n") {
		found := false
		for i, candidate := range rest {
			if strings.TrimSuffix(candidate, "\n") == line {
				extra = append(extra, rest[:i]...)
				rest, found = rest[i+1:], true
				break
			}
		}
		if !found {
			t.Fatalf("line missing or out of order: %q\nin:\n%s", line, got)
		}
	}
	return append(extra, rest...)
}

var clockTime = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d\d\d `)

func TestCAPFStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "2019-03-05T12:31:03.354-05:00")
	w.event("capf.issuer", "method", "OnlineCA")
	w.event("capf.online_ca", "host", "lab-dc.michamen.com", "port", 443, "template", "CiscoRA")
	w.at(t, "12:32:09.172").event("capf.ra_started")
	w.at(t, "12:32:09.231").event("capf.est_setup", "cacert_length", 1367)
	w.at(t, "12:32:09.661").event("capf.est_ready")
	// Within an event the original's clock goes on; only the lines are compared.
	strip := func(s string) string { return clockTime.ReplaceAllString(s, "") }
	extra := between(t, strip(fixture(t, "capf/service-start.txt")), strip(w.capf.String()))
	for _, line := range extra {
		if line = strings.TrimSpace(line); line != "|-->debug" && line != "|<--debug" {
			t.Errorf("line that the original has not: %q", line)
		}
	}
	if !strings.HasPrefix(w.capf.String(), "12:31:03.354 |   CServiceParameters::Init() Certificate Generation Method=OnlineCA:4\n") {
		t.Errorf("wrong beginning:\n%s", w.capf.String())
	}
	if strings.Count(w.capf.String(), "-->debug") != strings.Count(w.capf.String(), "<--debug") {
		t.Error("debug lines are not balanced")
	}
}

// key is a DER RSAPublicKey by its length and first bytes.
func key() []byte {
	return append([]byte{0x30, 0x82, 0x01, 0x0A, 0x02, 0x82, 0x01, 0x01}, make([]byte, 262)...)
}

func enrolOne(t *testing.T, w *world, device string) {
	t.Helper()
	w.event("capf.session", "session", 2, "peer", "10.0.0.1:50000")
	w.event("capf.hello", "device", device, "session", 2)
	w.event("capf.key_received", "device", device, "spki_length", 294)
	w.event("capf.enroll", "device", device, "mode", "OnlineCA")
	w.at(t, "14:05:05.236").event("capf.enrolled", "device", device, "rv", 0, "rv_name", "EST_ERR_NONE", "pkcs7_length", 1963, "mode", "OnlineCA")
	w.at(t, "14:05:05.289").event("capf.certificate_ready", "device", device, "mode", "OnlineCA")
	w.at(t, "14:05:05.290").event("capf.store_sent", "device", device)
	w.at(t, "14:05:05.419").event("capf.result", "device", device, "operation", "OPERATION_UPGRADE", "result", 0,
		"result_name", "CAPF_OP_SUCCESS", "status", 3, "status_name", "CERT_STATUS_UPGRADE_SUCCESS", "public_key", key(),
		"auth_before", "AUTH_BY_STR:1", "auth", "AUTH_BY_NULL_STR:2", "key_size", "KEY_SIZE_2048:3", "ec_key_size", "INVALID:0",
		"key_order", "KEYORDER_RSA_ONLY:1", "completes_by", "2019:01:20:12:00")
	w.event("capf.stored", "device", device, "reason", 1)
	w.at(t, "14:05:05.971").event("capf.end_session", "device", device, "session", 2, "reason", 1)
}

func TestCAPFEnrolment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "2019-01-16T14:05:04.628Z")
	enrolOne(t, w, "SEP74A02FC0A675")
	strip := func(s string) string { return clockTime.ReplaceAllString(s, "") }
	extra := between(t, strip(fixture(t, "capf/lsc-install-success.txt")), strip(w.capf.String()))
	// The elisions of the document: openers and closers.
	want := []string{"|<--debug\n", "|-->Select(SEP74A02FC0A675)\n", "|<--Select(SEP74A02FC0A675)\n", "|<--debug"}
	if diff := cmp.Diff(want, extra); diff != "" {
		t.Errorf("lines besides the original's (-want +got):\n%s", diff)
	}
	for _, line := range []string{
		"14:05:05.236 |   debug 2:SEP74A02FC0A675:Enrollment rv = 0 (EST_ERR_NONE) with pkcs7 length = 1963\n",
		"14:05:05.971 |   debug MsgType : CAPF_MSG_END_SESSION\n",
	} {
		if !strings.Contains(w.capf.String(), line) {
			t.Errorf("missing: %s", line)
		}
	}
	if w.start.Len()+w.errors.Len() > 0 {
		t.Errorf("CAPF events wrote to the RA's logs: %s%s", w.start.String(), w.errors.String())
	}
}

func TestCAPFFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "2019-01-16T12:37:54.741Z")
	const device = "SEP001F6C81118B"
	w.event("capf.enroll", "device", device, "mode", "OnlineCA")
	w.at(t, "12:38:04.779").event("capf.enroll_failed", "device", device, "rv", 35, "rv_name", "EST_ERR_SSL_READ", "timeout", true)
	want := strings.ReplaceAll(fixture(t, "capf/lsc-install-failure-ssl-read.txt"), "12:37:54.742", "12:37:54.741")
	if diff := cmp.Diff(want, w.capf.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCAPFOtherResults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "2026-11-20T12:00:00.000Z")
	w.event("capf.enroll", "device", "SEP001122334455", "mode", "CAPF")
	w.event("capf.enrolled", "device", "SEP001122334455", "rv", 0, "mode", "CAPF")
	w.event("capf.certificate_ready", "device", "SEP001122334455", "mode", "CAPF")
	if w.capf.Len() > 0 {
		t.Errorf("a local signature has no EST lines, got:\n%s", w.capf.String())
	}
	w.event("capf.result", "device", "SEP001122334455", "operation", "OPERATION_DELETE", "result", 3,
		"result_name", "CAPF_OP_FAIL_INVALID_AUTH_STR", "status", 6, "status_name", "CERT_STATUS_DELETE_FAILED")
	w.event("capf.fetched", "device", "SEP001122334455", "type", "mic", "subject", "CN=a", "issuer", "CN=b", "serial", "0a", "sha256", "ff")
	for _, line := range []string{
		"|-->SetOperationStatus(Fail:CAPF_OP_FAIL_INVALID_AUTH_STR):3\n",
		"SetOperationStatus(Fail:CAPF_OP_FAIL_INVALID_AUTH_STR):3 Operation status Value is '3'\n",
		"|-->CAPFDevice::MapCapf_OpStatusToDBLTypeCertificateStatus(OPERATION_DELETE, Fail\n",
		"=>DbStatus=CERT_STATUS_DELETE_FAILED\n",
		"tkcertificatestatus='6'",
		"debug 2:SEP001122334455:Troubleshoot certificate MIC CN=a CN=b 0a sha256=ff\n",
	} {
		if !strings.Contains(w.capf.String(), line) {
			t.Errorf("missing %q in:\n%s", line, w.capf.String())
		}
	}
	if strings.Contains(w.capf.String(), "pubKey") {
		t.Error("a key is shown though there is none")
	}
}

func TestRAStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "2019-03-05T12:31:21.000-05:00")
	w.event("ra.start")
	for _, subject := range []string{
		"CN=ACT2 SUDI CA,O=Cisco",
		"L=rtp,ST=nc,CN=CAPF-eb606ac0,OU=tac,O=cisco,C=US",
		"L=rtp,ST=nc,CN=CAPF-eb606ac0,OU=tac,O=cisco,C=US",
		"CN=Cisco Manufacturing CA,O=Cisco Systems",
		"CN=Cisco Manufacturing CA SHA2,O=Cisco",
		"CN=Cisco Root CA 2048,O=Cisco Systems",
		"CN=Cisco Root CA M2,O=Cisco",
		"/DC=com/DC=michamen/CN=lab-ca.michamen.com",
	} {
		w.event("ra.anchor", "subject", subject)
	}
	w.event("ra.pop_disabled")
	w.event("ra.pid", "pid", 31070)
	if diff := cmp.Diff(fixture(t, "nginx/ces-start.txt"), w.start.String()); diff != "" {
		t.Errorf("start log (-want +got):\n%s", diff)
	}
	w.event("certsrv.login", "url", "https://lab-dc.michamen.com/certsrv", "bytes", 163, "user", "u")
	w.event("certsrv.cacerts", "url", "https://lab-dc.michamen.com:443/certsrv/certnew.p7b?ReqID=CACert&Renewal=0&Enc=bin", "bytes", 3000)
	w.event("ra.chain_ready")
	want := strings.ReplaceAll(fixture(t, "nginx/error-start-success.log"), "31067#0", "3187#0")
	if diff := cmp.Diff(want, w.errors.String()); diff != "" {
		t.Errorf("error.log (-want +got):\n%s", diff)
	}
}

func TestRAStartFails(t *testing.T) {
	t.Parallel()
	const issuer = "SSL certificate problem: unable to get local issuer certificate"
	for _, tc := range []struct {
		file, host string
		code       int
		text       string
		more       bool // the file begins with lines of ra.start
		short      bool // the file ends before the last line
	}{
		{file: "ces-missing-issuer.txt", code: 60, text: issuer},
		{file: "ces-self-signed-iis.txt", code: 60, text: issuer},
		{file: "ces-not-yet-valid.txt", host: "lab-dc-iis.michamen.com", code: 60, text: "SSL certificate problem: certificate is not yet valid"},
		{file: "ces-hostname-mismatch.txt", code: 51, short: true, text: "SSL: certificate subject name 'lab-dc' does not match target host name 'lab-dc.michamen.com'"},
		{file: "ces-dns.txt", host: "lab-dcc.michamen.com", code: 6, more: true, text: "Could not resolve: lab-dcc.michamen.com (Domain name not found)"},
		{file: "ces-auth-timeout.txt", code: 28, text: "Operation timed out after 10000 milliseconds with 0 bytes received"},
	} {
		t.Run(tc.file, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "2019-03-05T12:31:21.000-05:00")
			if tc.more {
				w.event("ra.start")
			}
			host := "lab-dc.michamen.com"
			if tc.host != "" {
				host = tc.host
			}
			w.event("certsrv.login_failed", "url", "https://"+host+"/certsrv", "curl_code", tc.code, "curl_text", tc.text, "bytes", 0)
			if !tc.short {
				w.event("ra.chain_failed")
			}
			if diff := cmp.Diff(fixture(t, "nginx/"+tc.file), w.start.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if w.errors.Len() > 0 {
				t.Errorf("error.log has: %s", w.errors.String())
			}
		})
	}
	t.Run("ces-enroll-timeout.txt", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, "2019-03-05T12:31:21.000-05:00")
		w.event("certsrv.cacerts_failed", "url", "https://lab-dc.michamen.com/certsrv/certnew.p7b?ReqID=CACert&Renewal=0&Enc=bin",
			"curl_code", 28, "curl_text", "Operation timed out after 10001 milliseconds with 0 bytes received")
		w.event("ra.chain_failed")
		if diff := cmp.Diff(fixture(t, "nginx/ces-enroll-timeout.txt"), w.start.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestWrongTemplate is the 401 that users take for a wrong password.
func TestWrongTemplate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "2019-02-27T16:53:28.000-05:00")
	w.event("ra.chain_ready", "ca", "adcs")
	w.event("est.handshake", "peer", "14.48.31.9:1")
	w.errors.Reset()
	client := w.log.With("peer", "14.48.31.128:40000")
	client.Debug("begins", "event", "est.handshake")
	client.Info("logged in", "event", "certsrv.login", "url", "https://lab-dc-iis.michamen.com:443/certsrv", "bytes", 163)
	client.Info("page", "event", "certsrv.page", "url", "https://lab-dc-iis.michamen.com:443/certsrv/certrqxt.asp", "bytes", 11771)
	client.Warn("refused", "event", "est.auth_failed", "auth_type", 1, "auth_name", "AUTH_BASIC")
	client.Warn("refused", "event", "est.failed", "status", 401, "rv", 22, "rv_name", "EST_ERR_AUTH_FAIL",
		"text", `The server was unable to authorize the request. template "CiscoRa" is not offered to user ciscora; offered: CiscoRA`)
	client.Info("answered", "event", "est.request", "method", "POST", "path", "/.well-known/est/simpleenroll", "proto", "HTTP/1.1",
		"status", 401, "bytes", 48, "user_agent", "Cisco EST client 1.0", "referer", "")
	want := strings.SplitAfter(fixture(t, "nginx/error-template-typo.log"), "\n")
	want = append(want[:1:1], want[2:]...) // see testdata/README.md
	if diff := cmp.Diff(strings.Join(want, ""), w.errors.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRequestThatWorks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "2026-11-20T12:00:00.000Z")
	w.event("est.handshake", "peer", "[2001:db8::1]:40000", "client_certificate", true)
	w.event("est.request", "peer", "[2001:db8::1]:40000", "method", "POST", "path", "/.well-known/est/fullcmc", "proto", "HTTP/2.0",
		"status", 200, "bytes", 1963, "referer", "https://x/")
	const want = `***EST [INFO][log_access:1298]--> 2001:db8::1 [20/Nov/2026:12:00:00 +0000] "POST /.well-known/est/fullcmc HTTP/2.0" 200 1963
***EST [INFO][log_header:1278]--> "https://x/"
***EST [INFO][log_header:1276]--> -
`
	if diff := cmp.Diff(want, w.errors.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestNoForgedLines sends line ends in everything that a peer chooses.
func TestNoForgedLines(t *testing.T) {
	t.Parallel()
	const evil = "x\r\n12:00:00.000 |   debug forged\n\x1b[31m\u2028\xff"
	w := newWorld(t, "2026-11-20T12:00:00.000Z")
	for _, name := range []string{
		"capf.issuer", "capf.online_ca", "capf.est_setup", "capf.enroll", "capf.enrolled", "capf.enroll_failed",
		"capf.certificate_ready", "capf.store_sent", "capf.result", "capf.fetched", "capf.end_session", "ra.anchor", "ra.pop_disabled",
		"ra.pid", "ra.chain_ready", "certsrv.login", "certsrv.login_failed", "certsrv.page", "certsrv.cacerts", "certsrv.cacerts_failed",
		"est.handshake", "est.auth_failed", "est.failed", "est.request",
	} {
		var attrs []any
		for key := range strings.FieldsSeq(`method host port template cacert_length device mode rv rv_name pkcs7_length type subject issuer
			serial result result_name operation status status_name auth auth_before key_size ec_key_size key_order completes_by pid url bytes
			curl_code curl_text peer auth_type text path proto user_agent referer`) {
			attrs = append(attrs, key, evil)
		}
		w.event(name, attrs...)
	}
	for file, text := range map[string]string{"capf": w.capf.String(), "start": w.start.String(), "errors": w.errors.String()} {
		if strings.ContainsAny(text, "\r\x1b") || strings.Contains(text, "\n12:00:00.000 |   debug forged") || !strings.Contains(text, "x??") {
			t.Errorf("%s has forged lines:\n%q", file, text)
		}
	}
}

func TestForeignRecordsAreIgnored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "2026-11-20T12:00:00.000Z")
	w.log.Info("no event", "device", "SEP1")
	w.log.Info("unknown", "event", "store.migrated")
	w.log.WithGroup("g").Info("grouped", "event", "ra.start")
	w.log.WithGroup("g").With("a", 1).Info("grouped", "event", "ra.start")
	w.log.Info("no string", "event", 5)
	if n := w.capf.Len() + w.start.Len() + w.errors.Len(); n != 0 {
		t.Errorf("%d bytes written", n)
	}
	w.log.WithGroup("").With().Info("not grouped", "event", "ra.start")
	if w.start.Len() == 0 {
		t.Error("an empty group hides the event")
	}
}

func TestNilWriters(t *testing.T) {
	t.Parallel()
	log := slog.New(trace.New(trace.Options{}))
	log.Info("x", "event", "ra.start")
	log.Info("x", "event", "capf.enroll", "device", "SEP1")
}

func TestWriteError(t *testing.T) {
	t.Parallel()
	reader, writer := io.Pipe()
	if err := reader.CloseWithError(io.ErrClosedPipe); err != nil {
		t.Fatal(err)
	}
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "x", 0)
	r.AddAttrs(slog.String("event", "ra.start"))
	if err := trace.New(trace.Options{RAStart: writer}).Handle(context.Background(), r); err == nil {
		t.Error("the writer's error is lost")
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "logs")
	for range 2 { // the second time appends
		files, err := trace.OpenFiles(dir)
		if err != nil {
			t.Fatal(err)
		}
		log := slog.New(files.Handler(trace.Options{}))
		log.Info("x", "event", "ra.start")
		log.Info("x", "event", "capf.ra_started")
		log.Info("x", "event", "ra.chain_ready")
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, lines := range map[string]int{trace.CAPFFile: 2, trace.StartFile: 4, trace.ErrorFile: 2} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || bytes.Count(data, []byte("\n")) != lines {
			t.Errorf("%s: %v, %q", name, err, data)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm()&0o027 != 0 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
	blocked := filepath.Join(dir, trace.CAPFFile, "sub")
	_, err := trace.OpenFiles(blocked)
	if p, ok := err.(interface {
		Code() string
		Remedy() string
	}); !ok || p.Code() != "trace.file-unwritable" || p.Remedy() == "" {
		t.Errorf("got %v", err)
	}
}

// lineWriter fails the test when a Write is not made of whole lines of one device.
type lineWriter struct {
	t  *testing.T
	mu sync.Mutex
	n  int
}

func (w *lineWriter) Write(p []byte) (int, error) {
	if !w.mu.TryLock() {
		w.t.Error("two Writes at once")
		return len(p), nil
	}
	defer w.mu.Unlock()
	w.n++
	devices := map[string]bool{}
	for _, d := range regexp.MustCompile(`SEP[0-9A-F]{12}`).FindAll(p, -1) {
		devices[string(d)] = true
	}
	if len(devices) != 1 || !bytes.HasSuffix(p, []byte("\n")) {
		w.t.Errorf("a Write of %d devices: %q", len(devices), p)
	}
	return len(p), nil
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	w := &lineWriter{t: t}
	log := slog.New(trace.New(trace.Options{CAPF: w}))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			log := log.With("device", fmt.Sprintf("SEP%012X", i))
			for range 50 {
				log.Info("x", "event", "capf.enroll", "mode", "OnlineCA")
			}
		})
	}
	wg.Wait()
	if w.n != 8*50 {
		t.Errorf("%d Writes, want one for each event", w.n)
	}
}

func BenchmarkForeignRecord(b *testing.B) {
	h := trace.New(trace.Options{CAPF: io.Discard, RAStart: io.Discard, ErrorLog: io.Discard})
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "row written", 0)
	r.AddAttrs(slog.String("event", "enroll.write"), slog.String("device", "SEP001122334455"), slog.Int("bytes", 5))
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Handle(context.Background(), r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEnrolled(b *testing.B) {
	h := trace.New(trace.Options{CAPF: io.Discard})
	r := slog.NewRecord(time.Now(), slog.LevelInfo, "certificate issued", 0)
	r.AddAttrs(slog.String("event", "capf.enrolled"), slog.String("device", "SEP001122334455"), slog.Int("rv", 0),
		slog.String("rv_name", "EST_ERR_NONE"), slog.Int("pkcs7_length", 1963))
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Handle(context.Background(), r); err != nil {
			b.Fatal(err)
		}
	}
}

// TestClientGone is the answer that nobody takes any more (EST_ERR_HTTP_WRITE): it was no refusal, so no error page is shown.
func TestClientGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "2026-11-20T12:00:00.000Z")
	w.event("est.failed", "peer", "192.0.2.7:40000", "status", 202, "rv", 10, "rv_name", "EST_ERR_HTTP_WRITE",
		"text", "The client went away before the answer was sent.")
	const want = "***EST [WARNING][est_http_request:1435]--> Enrollment failed with rc=10 (EST_ERR_HTTP_WRITE)\n\n" +
		"***EST [ERROR][est_mg_handler:1234]--> EST error response code: 10 (EST_ERR_HTTP_WRITE)\n\n" +
		"***EST [WARNING][handle_request:1267]--> Incoming request failed rv=10 (EST_ERR_HTTP_WRITE)\n"
	if diff := cmp.Diff(want, w.errors.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
