package demo

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/enroll"
)

// failure is a way in which the registration authority fails its clients, as administrators of the original know it.
type failure struct {
	name   string
	words  string // behaviour; the RA's own words among them
	change func(*config.Config)
	// served tells that the RA gets the CA's certificates, so that clients are served until something else fails.
	served bool
	// What an EST client gets: the status of cacerts and of simpleenroll, and with 401 a challenge.
	cacerts, enroll int
	asCA            bool // the client has the CA account's credentials, as the original's own client has
	// files are regular expressions that lines of a trace match, one after the other, by its name.
	files map[string][]string
	// The record of the RA's log that explains it: its event, and parts of code, err and remedy.
	event, code string
	err, remedy []string
	// What is on record of a phone that called: its code, and parts of detail and remedy.
	note, noteCode []string
}

const (
	startLog = "nginx.txt"
	errorLog = "error.log"
	capfLog  = "capf.txt"
)

// login is what the start log of the original has for a login that fails.
func loginLines(code, text string) []string {
	return []string{
		`^nginx: \[warn\] login_to_certsrv_ca: Curl call for MS CA login failed with return code ` + code + ` \(` + text + `\)$`,
		`^nginx: \[warn\] login_to_certsrv_ca: URL used: https://.*:\d+/certsrv$`,
		`^nginx: \[error\] retrieve_cacerts: Unable to execute login to certsrv with curl$`,
		`^nginx: \[warn\] ra_certsrv_ca_plugin_postconf: Unable to retrieve CA Cert chain from CA$`,
	}
}

func failures() []failure {
	short := func(c *config.Config) {
		c.ADCS.LoginTimeout, c.ADCS.FetchTimeout, c.ADCS.SubmitTimeout = time.Second, time.Second, time.Second
	}
	unknownCA := []string{"upstream.unavailable"}
	return []failure{
		{
			name: "untrusted issuer", words: "untrusted", cacerts: 503, enroll: 503,
			files: map[string][]string{startLog: loginLines("60", "SSL certificate problem: unable to get local issuer certificate")},
			event: "ra.chain_failed", code: "certsrv.tls-untrusted", noteCode: unknownCA,
			err: []string{"CN=Other Issuing CA", "CN=Other Root CA", "key id "}, remedy: []string{"CN=Other Root CA", "adcs.ca_file"},
		},
		{
			name: "self-signed web server", words: "self-signed", cacerts: 503, enroll: 503,
			files: map[string][]string{startLog: loginLines("60", "SSL certificate problem: self signed certificate")},
			event: "ra.chain_failed", code: "certsrv.tls-untrusted", noteCode: unknownCA,
			err: []string{"is self-signed and not in adcs.ca_file"}, remedy: []string{"SHA256 ", "adcs.ca_file"},
		},
		{
			name: "name mismatch", words: "wrong-name", cacerts: 503, enroll: 503,
			files: map[string][]string{startLog: loginLines("51", "SSL: certificate subject name 'intranet.callsign.example' does not match target host name '127.0.0.1'")},
			event: "ra.chain_failed", code: "certsrv.tls-wrong-name", noteCode: unknownCA,
			err: []string{"not for 127.0.0.1", "intranet.callsign.example"}, remedy: []string{"subjectAltName", "adcs.url"},
		},
		{
			name: "not yet valid", words: "not-yet-valid", cacerts: 503, enroll: 503,
			files: map[string][]string{startLog: loginLines("60", "SSL certificate problem: certificate is not yet valid")},
			event: "ra.chain_failed", code: "certsrv.tls-untrusted", noteCode: unknownCA,
			err: []string{"is valid from 20", "this machine's clock says 20"}, remedy: []string{"timedatectl"},
		},
		{
			name: "DNS", cacerts: 503, enroll: 503,
			// Two dots in a row are no name, so that nobody on the network is asked for it.
			change: func(c *config.Config) { c.ADCS.URL = "https://lab-dcc..callsign.example/certsrv" },
			files:  map[string][]string{startLog: loginLines("6", `Could not resolve: lab-dcc\.\.callsign\.example \(Domain name not found\)`)},
			event:  "ra.chain_failed", code: "certsrv.name-not-resolved", noteCode: unknownCA,
			err: []string{"lab-dcc..callsign.example", "no such host"}, remedy: []string{"DNS"},
		},
		{
			name: "wrong template", words: "wrong-template", served: true, cacerts: 200, enroll: 401, asCA: true,
			files: map[string][]string{errorLog: {
				`login_to_certsrv_ca: Secure connection to MS CertServ completed successfully using the following URL$`,
				`navigate_to_certsrv_page: Secure connection to MS CertServ completed successfully using the following URL$`,
				`^https://127\.0\.0\.1:\d+/certsrv/certrqxt\.asp$`,
				`^\*\*\*EST \[WARNING\]\[est_enroll_auth:394\]--> HTTP authentication failed\. Auth type=1$`,
				`^\*\*\*EST \[WARNING\]\[est_http_request:1435\]--> Enrollment failed with rc=22 \(EST_ERR_AUTH_FAIL\)$`,
				`^\*\*\*EST \[INFO\]\[mg_send_http_error:389\]--> \[Error 401: Unauthorized$`,
				`^The server was unable to authorize the request\.$`, `^\]$`,
				`^\*\*\*EST \[ERROR\]\[est_mg_handler:1234\]--> EST error response code: 22 \(EST_ERR_AUTH_FAIL\)$`,
				`^\*\*\*EST \[WARNING\]\[handle_request:1267\]--> Incoming request failed rv=22 \(EST_ERR_AUTH_FAIL\)$`,
				`^\*\*\*EST \[INFO\]\[log_access:1298\]--> 127\.0\.0\.1 \[.*\] "POST /\.well-known/est/simpleenroll HTTP/1\.1" 401 0$`,
				`^\*\*\*EST \[INFO\]\[log_header:1276\]--> -$`, `^\*\*\*EST \[INFO\]\[log_header:1278\]--> "libest 3\.2\.0p"$`,
				`^\*\*\*EST \[WARNING\]\[est_server_handle_request:1716\]--> SSL_shutdown failed$`,
			}},
			event: "certsrv.template_not_offered", code: "certsrv.template-not-offered", noteCode: []string{"upstream.refused"},
			remedy: []string{`did you mean "CiscoRA"?`, `CALLSIGN\ciscora has not Read and Enroll`},
			note: []string{
				`template "CisoRA" is not offered to user CALLSIGN\ciscora; offered: CiscoRA`, "callsign explain certsrv.template-not-offered",
			},
		},
		{
			name: "wrong password", words: "wrong-password", cacerts: 503, enroll: 503,
			files: map[string][]string{startLog: loginLines("22", "The requested URL returned error: 401")},
			event: "ra.chain_failed", code: "certsrv.not-authenticated", noteCode: unknownCA,
			err: []string{`CALLSIGN\ciscora`, "HTTP 401"}, remedy: []string{"password"},
		},
		{
			name: "login timeout", words: "slow-login=1m", change: short, cacerts: 503, enroll: 503,
			files: map[string][]string{startLog: loginLines("28", `Operation timed out after \d+ milliseconds with 0 bytes received`)},
			event: "ra.chain_failed", code: "certsrv.timeout", noteCode: unknownCA,
			err: []string{"timed out during login"}, remedy: []string{"raise its timeout"},
		},
		{
			name: "timeout after a good login", words: "slow-pages=1m", change: short, cacerts: 503, enroll: 503,
			files: map[string][]string{errorLog: {`login_to_certsrv_ca: Secure connection to MS CertServ completed successfully using the following URL$`}, startLog: {
				`retrieve_cacerts: Curl request failed with return code 28 \(Operation timed out after \d+ milliseconds with 0 bytes received\)$`,
				`ra_certsrv_ca_plugin_postconf: Unable to retrieve CA Cert chain from CA$`,
			}},
			event: "ra.chain_failed", code: "certsrv.timeout", noteCode: unknownCA,
			err: []string{"timed out during request"}, remedy: []string{"raise its timeout"},
		},
		{
			name: "enrolment timeout", words: "hang", served: true, cacerts: 200, enroll: 202,
			change: func(c *config.Config) {
				c.CAPF.AnswerWithin, c.RA.AnswerWithin = 900*time.Millisecond, 700*time.Millisecond
			},
			files: map[string][]string{capfLog: {
				`Enrollment rv = 35 \(EST_ERR_SSL_READ\) with pkcs7 length = 0$`,
				`est_client_enroll_csr\(\) Failed! Could not obtain new certificate\. Aborting\.$`,
				`Online Cert Signing Failed$`,
			}},
			noteCode: []string{"fleet.deferred"}, note: []string{"has not answered", "at its next call"},
		},
		{
			name: "client gone before the answer", words: "slow=1s", served: true, cacerts: 200, enroll: gone,
			files: map[string][]string{errorLog: {
				`^\*\*\*EST \[WARNING\]\[est_http_request:1435\]--> Enrollment failed with rc=10 \(EST_ERR_HTTP_WRITE\)$`,
				`^\*\*\*EST \[ERROR\]\[est_mg_handler:1234\]--> EST error response code: 10 \(EST_ERR_HTTP_WRITE\)$`,
				`^\*\*\*EST \[WARNING\]\[handle_request:1267\]--> Incoming request failed rv=10 \(EST_ERR_HTTP_WRITE\)$`,
				`^\*\*\*EST \[INFO\]\[log_access:1298\]--> 127\.0\.0\.1 \[.*\] "POST /\.well-known/est/simpleenroll HTTP/1\.1" 202 \d+$`,
				`"POST /\.well-known/est/simpleenroll HTTP/1\.1" 200 \d+$`, // the same client, back again
			}},
			event: "est.failed", code: "est.client-gone", remedy: []string{"raise the client's timeout", "until it answers 202"},
		},
	}
}

// gone stands for the status of a client that breaks off before there is one.
const gone = -1

// TestFailureMatrix: each failure of the field is started as it happens, and everybody who asks learns what it is: the EST
// client by its status, readers of the original's logs by the lines that they know, and the administrator by cause and remedy.
func TestFailureMatrix(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	defer wg.Wait()
	few := make(chan struct{}, 4)
	for _, f := range failures() {
		together(t, &wg, f.name, func(t *testing.T) {
			few <- struct{}{}
			defer func() { <-few }()
			b, err := ParseBehaviour(f.words)
			if err != nil {
				t.Fatal(err)
			}
			p := newTroubled(t, config.IssuerOnlineCA, b, f.change)
			log := new(recorder)
			p.handler = log
			p.start()
			if f.served {
				p.ready()
			} else {
				p.waitFor("the failure is logged", func() bool { return log.find(f.event) != nil })
			}
			p.asks(&f)
			p.explains(&f, log)
			if len(f.noteCode) > 0 {
				p.phoneLearns(&f)
			}
			for file, lines := range f.files {
				for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
					lack := missing(p.trace(file), lines)
					if lack == "" {
						break
					}
					if time.Now().After(deadline) {
						t.Fatalf("%s lacks a line %s after those before it:\n%s", file, lack, p.trace(file))
					}
				}
			}
		})
	}
}

// asks is an EST client.
func (p *product) asks(f *failure) {
	p.t.Helper()
	roots, err := certfile.LoadPool(p.c.EST.LabCAFile)
	if err != nil {
		p.t.Fatal(err)
	}
	client := newImpatient(p.t, p.c, "device-1")
	if f.asCA {
		client.login(p.enterprise.Account, p.enterprise.Password().Reveal())
	}
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: client.tls.Clone(), DisableKeepAlives: true}, Timeout: time.Minute}
	h.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "https://"+p.c.EST.Listen+"/.well-known/est/cacerts", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	answer, err := h.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil || answer.StatusCode != f.cacerts {
		p.t.Errorf("cacerts: status %d, %v, want %d: %s", answer.StatusCode, err, f.cacerts, body)
	}
	if answer.StatusCode == http.StatusServiceUnavailable {
		if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err != nil || seconds < 1 {
			p.t.Errorf("Retry-After %q", answer.Header.Get("Retry-After"))
		}
	}
	if f.enroll == gone {
		p.breaksOff(client)
		return
	}
	got, err := client.ask()
	if err != nil || got.status != f.enroll {
		p.t.Errorf("simpleenroll: status %d, %v, want %d", got.status, err, f.enroll)
	}
	if (f.enroll == http.StatusAccepted || f.enroll == http.StatusServiceUnavailable) && got.retry <= 0 {
		p.t.Errorf("simpleenroll: %d without Retry-After", got.status)
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
	var record map[string]string
	if f.event != "" {
		record = log.find(f.event)
	} else if len(f.err) > 0 {
		record = log.with(f.err[0])
	}
	if record == nil {
		if f.event != "" || len(f.err) > 0 {
			p.t.Errorf("no record explains it")
		}
		return
	}
	if f.code != "" && record["code"] != f.code {
		p.t.Errorf("code %q, want %q", record["code"], f.code)
	}
	said := record["err"] + record["msg"] + record["text"]
	for _, part := range f.err {
		if f.event != "" && !strings.Contains(said, part) {
			p.t.Errorf("err %q lacks %q", said, part)
		}
	}
	for _, part := range f.remedy {
		if !strings.Contains(record["remedy"], part) {
			p.t.Errorf("remedy %q lacks %q", record["remedy"], part)
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
		known := d.Note != nil && (d.Note.Code == f.noteCode[0] || d.Note.Code != "fleet.deferred")
		if !known && time.Now().Before(deadline) {
			_, _ = p.call(troubled) // the phone may have had to go before the trouble came up
			continue
		}
		if d.Note == nil || d.Note.Code != f.noteCode[0] || d.Note.Remedy == "" {
			p.t.Errorf("on record: %+v, want %s%s", d.Note, f.noteCode[0], states(rows))
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

// missing returns the first expression that no line matches after those that the ones before it match; empty when all do.
func missing(text string, lines []string) string {
	rest := strings.Split(strings.ReplaceAll(text, "\r", ""), "\n")
next:
	for _, want := range lines {
		re := regexp.MustCompile(want)
		for i, line := range rest {
			if re.MatchString(line) {
				rest = rest[i+1:]
				continue next
			}
		}
		return want
	}
	return ""
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
	return r.first(func(rec map[string]string) bool { return rec["event"] == event })
}

// with returns the first record that says something.
func (r *recorder) with(text string) map[string]string {
	return r.first(func(rec map[string]string) bool {
		for _, v := range rec {
			if strings.Contains(v, text) {
				return true
			}
		}
		return false
	})
}

func (r *recorder) first(is func(map[string]string) bool) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range r.records {
		if is(rec) {
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
