package demo

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"callsign/internal/config"
	"callsign/internal/enroll"
)

// failure is a way in which the registration authority fails its clients, as administrators of the original know it. The
// lines by which they know it are in testdata/failures.txt, under its name.
type failure struct {
	name   string
	words  string // behaviour; the RA's own words among them
	change func(*config.Config)
	// served tells that the RA gets the CA's certificates, so that clients are served until something else fails.
	served bool
	// What an EST client gets: the status of cacerts and of simpleenroll, and parts of what simpleenroll says.
	cacerts, enroll int
	told            []string
	password        func(*product) string // of the CA's account, for a client that has it as the original's own client has; else nil
	// The record of the RA's log that explains it: its event and code, and parts of err and remedy.
	event, code string
	err, remedy []string
	// presented returns more parts, which depend on what the CA's web server presents; nil: there are none.
	presented func([]*x509.Certificate) (err, remedy []string)
	// What is on record of a phone that called: its code, empty when none calls, and parts of detail and remedy.
	noteCode string
	note     []string
}

// gone stands for the status of a client that breaks off before there is one.
const gone = -1

const (
	unknownCA     = "upstream.unavailable"
	notAuthorized = "The server was unable to authorize the request."
	notOffered    = `template "CisoRA" is not offered to user CALLSIGN\ciscora; offered: CiscoRA`
)

func failures() []failure {
	return []failure{
		{
			name: "untrusted issuer", words: "untrusted", cacerts: 503, enroll: 503,
			event: "ra.chain_failed", code: "certsrv.tls-untrusted", noteCode: unknownCA,
			err: []string{"CN=Other Issuing CA", "CN=Other Root CA"}, remedy: []string{"import the certificate of CN=Other Root CA", "adcs.ca_file"},
			presented: func(certs []*x509.Certificate) (err, remedy []string) {
				missing := fmt.Sprintf("(key id %X)", certs[len(certs)-1].AuthorityKeyId)
				return []string{missing}, []string{missing}
			},
		},
		{
			name: "self-signed web server", words: "self-signed", cacerts: 503, enroll: 503,
			event: "ra.chain_failed", code: "certsrv.tls-untrusted", noteCode: unknownCA,
			err: []string{"is self-signed and not in adcs.ca_file"}, remedy: []string{"import it itself", "adcs.ca_file"},
			presented: func(certs []*x509.Certificate) (err, remedy []string) {
				return []string{certs[0].Subject.String()}, []string{fmt.Sprintf("SHA256 %x", sha256.Sum256(certs[0].Raw))}
			},
		},
		{
			name: "not yet valid", words: "not-yet-valid", cacerts: 503, enroll: 503,
			event: "ra.chain_failed", code: "certsrv.tls-untrusted", noteCode: unknownCA,
			err: []string{"this machine's clock says 20"}, remedy: []string{"NTP", "timedatectl"},
			presented: func(certs []*x509.Certificate) (err, remedy []string) {
				return []string{"is valid from " + certs[0].NotBefore.UTC().Format(time.RFC3339)}, nil
			},
		},
		{
			name: "name mismatch", words: "wrong-name", cacerts: 503, enroll: 503,
			event: "ra.chain_failed", code: "certsrv.tls-wrong-name", noteCode: unknownCA,
			err: []string{"not for 127.0.0.1"}, remedy: []string{"iPAddress 127.0.0.1 in subjectAltName", "adcs.url"},
			presented: func(certs []*x509.Certificate) (err, remedy []string) { return certs[0].DNSNames, nil },
		},
		{
			name: "DNS", cacerts: 503, enroll: 503,
			// Two dots in a row are no name, so that nobody on the network is asked for it.
			change: func(c *config.Config) { c.ADCS.URL = "https://lab-dcc..callsign.example/certsrv" },
			event:  "ra.chain_failed", code: "certsrv.name-not-resolved", noteCode: unknownCA,
			err: []string{"lab-dcc..callsign.example", "no such host"}, remedy: []string{"DNS", "adcs.url"},
		},
		{
			name: "login timeout", words: "slow-login=1m", cacerts: 503, enroll: 503,
			change: func(c *config.Config) { c.ADCS.LoginTimeout = 500 * time.Millisecond },
			event:  "ra.chain_failed", code: "certsrv.timeout", noteCode: unknownCA,
			err: []string{"timed out during login", `for user CALLSIGN\ciscora`}, remedy: []string{"raise its timeout", "adcs.login_timeout"},
		},
		{
			name: "cacerts timeout after a good login", words: "slow-pages=1m", cacerts: 503, enroll: 503,
			change: func(c *config.Config) { c.ADCS.FetchTimeout = 500 * time.Millisecond },
			event:  "ra.chain_failed", code: "certsrv.timeout", noteCode: unknownCA,
			err: []string{"/certsrv/certnew.p7b", "timed out during request"}, remedy: []string{"raise its timeout", "adcs.fetch_timeout"},
		},
		{
			name: "wrong password of the RA", words: "wrong-password", cacerts: 503, enroll: 503,
			event: "ra.chain_failed", code: "certsrv.not-authenticated", noteCode: unknownCA,
			err: []string{`CALLSIGN\ciscora`, "HTTP 401"}, remedy: []string{"check user name", "adcs.username, adcs.password_file"},
		},
		{
			name: "wrong password of the client", served: true, cacerts: 200, enroll: 401, told: []string{notAuthorized},
			password: func(*product) string { return "not-the-password" },
			event:    "certsrv.login_failed", code: "certsrv.not-authenticated",
			err: []string{`for user CALLSIGN\ciscora`, "HTTP 401"}, remedy: []string{"check user name"},
		},
		{
			name: "wrong template", words: "wrong-template", served: true, cacerts: 200, enroll: 401, told: []string{notAuthorized, notOffered},
			password: func(p *product) string { return p.enterprise.Password().Reveal() },
			event:    "certsrv.template_not_offered", code: "certsrv.template-not-offered", err: []string{notOffered},
			remedy:   []string{`did you mean "CiscoRA"?`, `CALLSIGN\ciscora has not Read and Enroll`},
			noteCode: "upstream.refused", note: []string{notOffered, "callsign explain certsrv.template-not-offered"},
		},
		{
			name: "enrolment timeout", words: "hang", served: true, cacerts: 200, enroll: 202, told: []string{"repeat it later"},
			change:   impatience,
			noteCode: "fleet.deferred", note: []string{"has not answered for " + troubled, "at its next call", "capf.answer_within"},
		},
		{
			name: "client gone before the answer", words: "slow=3s", served: true, cacerts: 200, enroll: gone,
			event: "est.failed", code: "est.client-gone", remedy: []string{"raise the client's timeout", "until it answers 202"},
		},
	}
}

const (
	startLog = "nginx.txt"
	errorLog = "error.log"
	capfLog  = "capf.txt"
)

// TestFailureMatrix: each failure of the field is started as it happens, and everybody who asks learns what it is: the EST
// client by its status, readers of the original's logs by the lines that they know, and the administrator by cause and remedy.
func TestFailureMatrix(t *testing.T) {
	t.Parallel()
	known := knownLines(t)
	all := failures()
	for _, f := range all {
		if known[f.name] == nil {
			t.Errorf("%s: testdata/failures.txt has no lines of it", f.name)
		}
	}
	for name := range known {
		if !slices.ContainsFunc(all, func(f failure) bool { return f.name == name }) {
			t.Errorf("%s: nothing starts this failure", name)
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	few := make(chan struct{}, 4)
	for _, f := range all {
		together(t, &wg, f.name, func(t *testing.T) {
			few <- struct{}{}
			defer func() { <-few }()
			f.happens(t, known[f.name])
		})
	}
}

// happens starts the failure and asks everybody. files are the lines of each trace.
func (f *failure) happens(t *testing.T, files map[string][]*regexp.Regexp) {
	t.Helper()
	b, err := ParseBehaviour(f.words)
	if err != nil {
		t.Fatal(err)
	}
	p := newTroubled(t, config.IssuerOnlineCA, b, func(c *config.Config) {
		if !f.served {
			impatience(c) // nothing comes of waiting
		} else {
			patience(c)
		}
		if f.change != nil {
			f.change(c)
		}
	})
	if f.presented != nil {
		err, remedy := f.presented(p.presented())
		f.err, f.remedy = slices.Concat(f.err, err), slices.Concat(f.remedy, remedy)
	}
	log := new(recorder)
	p.handler = log
	p.start()
	if f.served {
		p.ready()
	} else {
		p.waitFor("the failure is logged", func() bool { return log.find(f.event) != nil })
	}
	p.asks(f)
	p.explains(f, log)
	if f.noteCode != "" {
		p.phoneLearns(f)
	}
	for file, lines := range files {
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			text := p.trace(file)
			lack := missing(text, lines)
			if lack == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%s lacks a line %s after those before it:\n%s", file, lack, text)
				break
			}
		}
	}
}

// presented is what the web server of the CA shows.
func (p *product) presented() []*x509.Certificate {
	p.t.Helper()
	u, err := url.Parse(p.enterprise.URL)
	if err != nil {
		p.t.Fatal(err)
	}
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}} // what is wrong with it is what is wanted
	conn, err := d.DialContext(p.t.Context(), "tcp", u.Host)
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates
}

// asks is an EST client.
func (p *product) asks(f *failure) {
	p.t.Helper()
	client := newImpatient(p.t, p.c, "device-1")
	client.patience = time.Minute // here the RA is to answer, however late on a busy machine
	got, err := client.cacerts()
	if err != nil || got.status != f.cacerts {
		p.t.Errorf("cacerts: status %d, %v, want %d: %s", got.status, err, f.cacerts, got.text)
	}
	p.comesBack("cacerts", got)
	if f.password != nil {
		client.login(p.enterprise.Account, f.password(p))
	}
	if f.enroll == gone {
		p.breaksOff(client)
		return
	}
	got, err = client.ask()
	if err != nil || got.status != f.enroll {
		p.t.Errorf("simpleenroll: status %d, %v, want %d: %s", got.status, err, f.enroll, got.text)
	}
	p.comesBack("simpleenroll", got)
	told := f.told
	if !f.served { // whose password is right learns more
		told = []string{"the certificates of the CA are not known yet", f.code}
	}
	for _, part := range told {
		if !strings.Contains(got.text, part) {
			p.t.Errorf("simpleenroll says %q and not %q", got.text, part)
		}
	}
}

// comesBack demands that the client was told when to come back, or how to log in, where that is for it to do.
func (p *product) comesBack(op string, a answered) {
	p.t.Helper()
	if waits := a.status == http.StatusAccepted || a.status == http.StatusServiceUnavailable; waits != (a.retry > 0) {
		p.t.Errorf("%s: %d with Retry-After %s", op, a.status, a.retry)
	}
	if want := a.status == http.StatusUnauthorized; want != strings.HasPrefix(a.challenge, "Basic realm=") {
		p.t.Errorf("%s: %d with the challenge %q", op, a.status, a.challenge)
	}
}

// breaksOff is a client that goes away while the CA works; when it comes back it gets the certificate, and the CA was asked
// once.
func (p *product) breaksOff(client *impatient) {
	p.t.Helper()
	conn := client.send()
	p.waitFor("the CA has the request", func() bool { return p.enterprise.Server().Hits()["/certsrv/certfnsh.asp"] > 0 })
	_ = conn.Close()
	c, _ := client.certified(time.Minute)
	oneRequest(p.t, p.enterprise, c)
}

// explains looks for the record of the RA's log.
func (p *product) explains(f *failure, log *recorder) {
	p.t.Helper()
	if f.event == "" {
		return // nothing has failed yet
	}
	record := log.find(f.event)
	if record == nil {
		p.t.Errorf("no record of %s explains it", f.event)
		return
	}
	if record["code"] != f.code {
		p.t.Errorf("code %q, want %q", record["code"], f.code)
	}
	for key, parts := range map[string][]string{"err": f.err, "remedy": f.remedy} {
		for _, part := range parts {
			if !strings.Contains(record[key], part) {
				p.t.Errorf("%s %q lacks %q", key, record[key], part)
			}
		}
	}
}

// phoneLearns lets a phone call, which is what is on record of it afterwards.
func (p *product) phoneLearns(f *failure) {
	p.t.Helper()
	p.add(troubled)
	if r, err := p.call(troubled); err == nil && r.Certificate != nil {
		p.t.Error("the phone has a certificate")
	}
	deadline := time.Now().Add(time.Minute)
	for {
		d, rows := p.record(troubled)
		known := d.Note != nil && (d.Note.Code == f.noteCode || d.Note.Code != "fleet.deferred")
		if !known && time.Now().Before(deadline) {
			_, _ = p.call(troubled) // the phone may have had to go before the trouble came up
			continue
		}
		if d.Note == nil || d.Note.Code != f.noteCode || d.Note.Remedy == "" {
			p.t.Errorf("on record: %+v, want %s%s", d.Note, f.noteCode, states(rows))
			return
		}
		lacks := func(text string, parts ...string) {
			for _, part := range parts {
				if !strings.Contains(text, part) {
					p.t.Errorf("on record: %q lacks %q", text, part)
				}
			}
		}
		lacks(d.Note.Detail+" "+d.Note.Remedy, f.note...)
		if !f.served { // what the RA knows of its CA is on record of the phone, too
			lacks(d.Note.Detail, append([]string{f.code}, f.err...)...)
			lacks(d.Note.Remedy, f.remedy...)
		}
		if len(rows) > 0 && rows[0].State == enroll.Issued {
			p.t.Errorf("issued all the same%s", states(rows))
		}
		return
	}
}

// braces is what stands in braces in testdata/failures.txt.
var braces = strings.NewReplacer(
	`\{n\}`, `\d+`, `\{ca\}`, `https://127\.0\.0\.1:\d+`, `\{stamp\}`, `\d{4}/\d\d/\d\d \d\d:\d\d:\d\d`,
	`\{clock\}`, `\d\d:\d\d:\d\d\.\d{3}`, `\{date\}`, `\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}`,
)

// knownLines reads testdata/failures.txt: for each failure the lines of each file.
func knownLines(t *testing.T) map[string]map[string][]*regexp.Regexp {
	t.Helper()
	all := map[string]map[string][]*regexp.Regexp{}
	name := ""
	for line := range strings.Lines(readFile(t, filepath.Join("testdata", "failures.txt"))) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if title, ok := strings.CutPrefix(line, "== "); ok {
			name = title
			all[name] = map[string][]*regexp.Regexp{}
			continue
		}
		file, text, ok := strings.Cut(line, "\t")
		if !ok || name == "" || !slices.Contains([]string{startLog, errorLog, capfLog}, file) {
			t.Fatalf("testdata/failures.txt: %q is no line of a file", line)
		}
		all[name][file] = append(all[name][file], regexp.MustCompile("^"+braces.Replace(regexp.QuoteMeta(text))+"$"))
	}
	return all
}

// missing returns the first expression that no line matches after those that the ones before it match; nil when all do.
func missing(text string, lines []*regexp.Regexp) *regexp.Regexp {
	rest := strings.Split(text, "\n")
	for _, want := range lines {
		i := slices.IndexFunc(rest, want.MatchString)
		if i < 0 {
			return want
		}
		rest = rest[i+1:]
	}
	return nil
}

// recorder keeps the records of the structured log.
type recorder struct {
	mu      sync.Mutex
	records []map[string]string
}

// Write implements io.Writer for slog.JSONHandler.
func (r *recorder) Write(line []byte) (int, error) {
	var all map[string]any
	if err := json.Unmarshal(line, &all); err != nil {
		return 0, err
	}
	record := map[string]string{}
	for k, v := range all {
		if s, ok := v.(string); ok {
			record[k] = s
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, record)
	return len(line), nil
}

func (r *recorder) handler() slog.Handler {
	return slog.NewJSONHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug})
}

// Enabled implements slog.Handler.
func (*recorder) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (r *recorder) Handle(ctx context.Context, rec slog.Record) error {
	return r.handler().Handle(ctx, rec)
}

// WithAttrs implements slog.Handler.
func (r *recorder) WithAttrs(attrs []slog.Attr) slog.Handler { return r.handler().WithAttrs(attrs) }

// WithGroup implements slog.Handler.
func (r *recorder) WithGroup(name string) slog.Handler { return r.handler().WithGroup(name) }

// find returns the first record of an event, nil for none.
func (r *recorder) find(event string) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range r.records {
		if rec["event"] == event {
			return rec
		}
	}
	return nil
}

// send sends the request and waits for nothing.
func (i *impatient) send() net.Conn {
	i.t.Helper()
	conn, err := i.open()
	if err != nil {
		i.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, i.request); err != nil {
		i.t.Fatal(err)
	}
	return conn
}
