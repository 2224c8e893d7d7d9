package demo

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"callsign/capf"
	"callsign/certsrv/certsrvtest"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

const troubled = "SEP0000000000A1"

// behave sets what the simulated CA does from now on.
func (p *product) behave(words string) {
	p.t.Helper()
	b, err := certsrvtest.ParseBehaviour(words)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.enterprise.Server().SetBehaviour("", b); err != nil {
		p.t.Fatal(err)
	}
}

// waitFor repeats until done says so.
func (p *product) waitFor(what string, done func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("after two minutes still not: %s", what)
		}
	}
}

// approve decides the one pending request of the phone, as the CA's manager does.
func (p *product) approve() {
	p.t.Helper()
	for _, r := range p.enterprise.Server().Requests() {
		if r.Disposition == certsrvtest.DispositionPending && strings.Contains(r.Subject, troubled) {
			if err := p.enterprise.Server().Approve(p.t.Context(), r.ID); err != nil {
				p.t.Fatal(err)
			}
			return
		}
	}
	p.t.Fatal("the CA has no pending request of the phone")
}

// trouble is a CA that fails in one way, and recovers.
type trouble struct {
	name      string
	behaviour string
	change    func(*config.Config)
	state     enroll.State // of the phone's row then; empty: submitted, or pending when the RA has told that it works on it
	// codes of the failure on record, when CAPF asks the CA itself and when it asks the RA
	direct, byRA string
	next         string // code instead of direct, once the CA was looked at again
	detail       string // part of it
	trace        string // line of capf.txt after the call; empty: any failure
	recover      func(*product)
}

func troubles() []trouble {
	return []trouble{
		{
			// Longer than anybody waits, as with the default submit timeout: nothing has failed yet.
			name: "silent", behaviour: "hang", direct: "fleet.deferred", byRA: "fleet.deferred", detail: "has not answered",
			change: func(c *config.Config) { c.ADCS.SubmitTimeout = 3 * time.Second },
			trace:  "Enrollment rv = 35 (EST_ERR_SSL_READ)",
		},
		{
			name: "silent beyond the submit timeout", behaviour: "hang",
			direct: "certsrv.answer-lost", byRA: "upstream.unavailable", detail: "timed out",
			next:   "adcs.searching",
			change: func(c *config.Config) { c.ADCS.SubmitTimeout = 300 * time.Millisecond },
		},
		{
			name: "slow", behaviour: "slow=2s,issue,times=1", direct: "fleet.deferred", byRA: "fleet.deferred", detail: "has not answered",
			trace: "Enrollment rv = 35 (EST_ERR_SSL_READ)",
		},
		{
			name: "pending in French", behaviour: "pending,lang=fr", state: enroll.Pending, direct: "fleet.approval-pending", byRA: "fleet.approval-pending",
			detail: "request 1", recover: (*product).approve,
		},
		{
			name: "pending", behaviour: "pending", state: enroll.Pending, direct: "fleet.approval-pending", byRA: "fleet.approval-pending",
			detail: "request 1", recover: (*product).approve,
		},
		{
			name: "denied", behaviour: "deny=0x80094800", state: enroll.Denied, direct: "certsrv.denied", byRA: "upstream.refused",
			detail: "0x80094800 CERTSRV_E_UNSUPPORTED_CERT_TYPE",
		},
		{
			name: "CA not reached by its web server", behaviour: "rpc-down", direct: "certsrv.ca-unavailable", byRA: "upstream.unavailable",
			detail: "0x800706ba RPC_S_SERVER_UNAVAILABLE",
		},
		{
			name: "error of the web server", behaviour: "500", direct: "certsrv.server-error", byRA: "upstream.unavailable",
			detail: "500 Internal Server Error", // a bare 500 may also be part of the port
		},
	}
}

// TestTroubledCA: whatever the CA does, the phone's operation stays right, the record says what happened and what to do,
// and once the CA is well the phone gets one certificate.
func TestTroubledCA(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	defer wg.Wait()
	few := make(chan struct{}, 5) // their patience is short, so they must not starve each other
	for _, way := range []string{"by the RA", "direct"} {
		for _, tt := range troubles() {
			together(t, &wg, way+"/"+tt.name, func(t *testing.T) {
				few <- struct{}{}
				defer func() { <-few }()
				p := newProduct(t, config.IssuerOnlineCA, func(c *config.Config) {
					if tt.direct == "fleet.deferred" {
						impatience(c)
					} else {
						patience(c)
					}
					if way == "direct" {
						c.CAPF.RAURL = ""
					}
					if tt.change != nil {
						tt.change(c)
					}
				})
				p.start()
				p.ready()
				p.add(troubled)
				p.behave(tt.behaviour)
				p.refused(troubled, capf.ReasonInvalidElement)
				if way == "direct" {
					p.showsTrouble(tt, tt.direct)
				} else {
					p.showsTrouble(tt, tt.byRA)
				}
				if tt.recover != nil {
					tt.recover(p)
				}
				p.behave("")
				if tt.state == enroll.Denied {
					p.deniedForGood()
				}
				p.settled(troubled, p.certified(troubled))
			})
		}
	}
}

// together runs subtests at the same time, more of them than there are processors: they do little but wait.
func together(t *testing.T, wg *sync.WaitGroup, name string, f func(*testing.T)) {
	wg.Go(func() { t.Run(name, f) })
}

// told calls until the record has a failure with this code: on a busy machine the phone may have had to go before the
// trouble came up.
func (p *product) told(code string) (fleet.Device, []enroll.Enrolment) {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; p.refused(troubled, capf.ReasonInvalidElement) {
		d, rows := p.record(troubled)
		if d.Note == nil || d.Note.Code != "fleet.deferred" || d.Note.Code == code || time.Now().After(deadline) {
			return d, rows
		}
	}
}

// showsTrouble checks what phone show prints after the first call.
func (p *product) showsTrouble(tt trouble, code string) {
	p.t.Helper()
	d, rows := p.told(code)
	if code == tt.direct && d.Note != nil && d.Note.Code == tt.next {
		code = tt.next
	}
	operation, status := fleet.OperationInstall, fleet.StatusPending
	if tt.state == enroll.Denied {
		operation, status = fleet.OperationNone, fleet.StatusUpgradeFailed
		if !d.HasResult || d.Result != capf.ResultFail {
			p.t.Errorf("result %v", d.Result)
		}
	}
	if d.Operation != operation || d.Status != status || d.LSC != nil {
		p.t.Errorf("operation %s, status %s, LSC %v", d.Operation, d.Status, d.LSC)
	}
	if len(rows) != 1 || tt.state != "" && rows[0].State != tt.state {
		p.t.Fatalf("%d rows%s, want one that is %s", len(rows), states(rows), tt.state)
	}
	if tt.recover != nil && rows[0].Progress.RequestID != "1" {
		p.t.Errorf("request id %q", rows[0].Progress.RequestID)
	}
	if d.Note == nil {
		p.t.Fatalf("nothing on record%s", states(rows))
	}
	if d.Note.Code != code || !strings.Contains(d.Note.Detail, tt.detail) || d.Note.Remedy == "" {
		p.t.Errorf("note %+v, want code %s and %q", d.Note, code, tt.detail)
	}
	if n := strings.Count(d.Note.Detail, tt.detail); n > 1 {
		p.t.Errorf("the record repeats itself: %s", d.Note.Detail)
	}
	f := rows[0].Failure
	if code != "fleet.deferred" && code != "fleet.approval-pending" && (f == nil || f.Code != code && f.Code != tt.next || f.Remedy == "") {
		p.t.Errorf("failure of the row %+v, want %s", f, code)
	}
	p.waitFor("capf.txt has the end of the session", func() bool { return strings.Contains(p.trace("capf.txt"), "CAPF_MSG_END_SESSION") })
	if trace := p.trace("capf.txt"); !strings.Contains(trace, tt.trace) || !strings.Contains(trace, "Online Cert Signing Failed") {
		p.t.Errorf("capf.txt does not show the failure with %q:\n%s", tt.trace, strings.Join(sessionShape(trace), "\n"))
	}
}

// deniedForGood demands that a refusal is not asked about again by itself, and orders the operation anew.
func (p *product) deniedForGood() {
	p.t.Helper()
	r, err := p.call(troubled)
	if err != nil || r.Operation != capf.OperationNone || len(p.enterprise.Server().Requests()) != 1 {
		p.t.Errorf("after the refusal: operation %v, %v, %d requests", r.Operation, err, len(p.enterprise.Server().Requests()))
	}
	_, err = p.a.Records.Phones.UpdateDevice(p.t.Context(), troubled, func(d *fleet.Device) error {
		d.Schedule(fleet.OperationInstall, time.Now())
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// TestAnswerLostAfterIssuing: the CA issues and its answer is lost. The request is not posted again; the certificate is
// found.
func TestAnswerLostAfterIssuing(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, way := range []string{"by the RA", "direct"} {
		together(t, &wg, way, func(t *testing.T) {
			p := newProduct(t, config.IssuerOnlineCA, func(c *config.Config) {
				if way == "direct" {
					c.CAPF.RAURL = ""
				}
			})
			p.start()
			p.ready()
			p.add(troubled)
			p.behave("drop,times=1")
			p.settled(troubled, p.certified(troubled))
			if n := len(p.enterprise.Server().Requests()); n != 1 {
				t.Errorf("the CA has %d requests", n)
			}
		})
	}
}

// TestDeniedByTheManager: a pending request is denied while the phone is away. Its operation has failed, and the CA gets
// no other request.
func TestDeniedByTheManager(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, way := range []string{"by the RA", "direct"} {
		together(t, &wg, way, func(t *testing.T) {
			p := newProduct(t, config.IssuerOnlineCA, func(c *config.Config) {
				if way == "direct" {
					c.CAPF.RAURL = ""
				}
			})
			p.start()
			p.ready()
			p.add(troubled)
			p.behave("pending")
			p.refused(troubled, capf.ReasonInvalidElement)
			if err := p.enterprise.Server().Deny(1); err != nil {
				t.Fatal(err)
			}
			p.waitFor("the refusal is known", func() bool {
				_, rows := p.record(troubled)
				return rows[0].State == enroll.Denied
			})
			p.refused(troubled, capf.ReasonInvalidElement)
			d, rows := p.record(troubled)
			if d.Operation != fleet.OperationNone || d.Status != fleet.StatusUpgradeFailed || d.Result != capf.ResultFail || !d.HasResult {
				t.Errorf("operation %s, status %s, result %v", d.Operation, d.Status, d.Result)
			}
			if d.Note == nil || !strings.Contains(d.Note.Detail, "0x80094014") || d.Note.Remedy == "" || len(rows) != 1 {
				t.Errorf("note %+v%s", d.Note, states(rows))
			}
			p.deniedForGood()
			p.behave("")
			p.settled(troubled, p.certified(troubled))
		})
	}
}

// TestCASilentFromTheStart: a web server that accepts connections and says nothing. The product starts all the same, and
// the phone is served when it wakes up.
func TestCASilentFromTheStart(t *testing.T) {
	t.Parallel()
	quiet := listen(t)
	defer quiet.Close()
	p := newProduct(t, config.IssuerOnlineCA, func(c *config.Config) {
		c.ADCS.ConnectTo = quiet.Addr().String()
		c.ADCS.ConnectTimeout, c.ADCS.LoginTimeout = 200*time.Millisecond, 200*time.Millisecond
		impatience(c)
		c.CAPF.RAURL = "" // the RA would ask for a pause of half a minute
	})
	p.start()
	p.add(troubled)
	p.refused(troubled, capf.ReasonInvalidElement)
	d, rows := p.record(troubled)
	if d.Operation != fleet.OperationInstall || d.Status != fleet.StatusPending || d.Note == nil || d.Note.Remedy == "" || len(rows) != 1 {
		t.Errorf("operation %s, status %s, note %+v%s", d.Operation, d.Status, d.Note, states(rows))
	}
	p.waitFor("nginx.txt tells of the login", func() bool {
		return strings.Contains(p.trace("nginx.txt"), "login_to_certsrv_ca: Curl call for MS CA login failed with return code 28")
	})
	p.stop()
	p.c.ADCS.ConnectTo = ""
	p.c.ADCS.ConnectTimeout, p.c.ADCS.LoginTimeout = 10*time.Second, 10*time.Second
	p.start()
	p.ready()
	p.settled(troubled, p.certified(troubled))
}

// TestWrongPasswordForTheCA: the CA answers 401. Nothing is asked of it before the password is right.
func TestWrongPasswordForTheCA(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, way := range []string{"by the RA", "direct"} {
		together(t, &wg, way, func(t *testing.T) {
			p := newProduct(t, config.IssuerOnlineCA, func(c *config.Config) {
				patience(c)
				if way == "direct" {
					c.CAPF.RAURL = ""
				}
			})
			p.start()
			p.ready()
			p.stop()
			right := readFile(t, p.c.ADCS.PasswordFile)
			write := func(s string) {
				if err := certfile.WriteFile(p.c.ADCS.PasswordFile, []byte(s), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("Wrong-1\n")
			p.start()
			p.add(troubled)
			p.refused(troubled, capf.ReasonInvalidElement)
			want := map[string]string{"by the RA": "upstream.unavailable", "direct": "certsrv.not-authenticated"}[way]
			d, rows := p.told(want)
			if d.Operation != fleet.OperationInstall || d.Status != fleet.StatusPending {
				t.Errorf("operation %s, status %s: a wrong password of ours is no refusal of the phone", d.Operation, d.Status)
			}
			if d.Note == nil || d.Note.Code != want || d.Note.Remedy == "" || rows[0].Failure == nil {
				t.Errorf("note %+v%s, want %s", d.Note, states(rows), want)
			}
			if n := len(p.enterprise.Server().Requests()); n != 0 {
				t.Errorf("the CA has %d requests", n)
			}
			p.stop()
			write(right)
			if way == "by the RA" {
				// The RA asked for a pause; not to be sat out here.
				if d := time.Until(rows[0].NextAttempt); d > time.Minute {
					t.Errorf("the RA is asked again only in %v", d)
				}
				return
			}
			p.start()
			p.ready()
			p.settled(troubled, p.certified(troubled))
		})
	}
}

// TestDirectlyAtTheCA: without the RA the journey has the same lines in the trace, and one row.
func TestDirectlyAtTheCA(t *testing.T) {
	t.Parallel()
	lines := map[string][]string{}
	for _, way := range []string{"by the RA", "direct"} {
		p := newProduct(t, config.IssuerOnlineCA, func(c *config.Config) {
			if way == "direct" {
				c.CAPF.RAURL = ""
			}
		})
		p.start()
		p.ready()
		p.add(troubled)
		p.settled(troubled, p.certified(troubled))
		_, rows := p.record(troubled)
		if len(rows) != 1 {
			t.Errorf("%s: %d rows of the phone%s", way, len(rows), states(rows))
		}
		if id, err := strconv.Atoi(rows[0].Progress.RequestID); err != nil || id < 1 {
			t.Errorf("%s: request id %q", way, rows[0].Progress.RequestID)
		}
		p.stop()
		lines[way] = sessionShape(p.trace("capf.txt"))
	}
	if a, b := strings.Join(lines["by the RA"], "\n"), strings.Join(lines["direct"], "\n"); a != b || len(lines["direct"]) < 10 {
		t.Errorf("capf.txt by the RA:\n%s\n\ndirectly:\n%s", a, b)
	}
}

// TestSilentConnections: hundreds of connections that say nothing, at both listeners, do not delay a phone.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	// At CAPF they stay for minutes: who is served at all has not waited for them.
	p := newProduct(t, config.IssuerOnlineCA, func(c *config.Config) { c.CAPF.HandshakeTimeout = 5 * time.Minute })
	p.start()
	p.ready()
	const phone, later = "SEP0000000000B1", "SEP0000000000B2"
	p.add(phone, later)
	var silent []net.Conn
	defer func() {
		for _, c := range silent {
			_ = c.Close()
		}
	}()
	var dialer net.Dialer
	for _, addr := range []string{p.c.CAPF.Listen, p.c.EST.Listen} {
		for range 200 {
			c, err := dialer.DialContext(t.Context(), "tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			silent = append(silent, c)
		}
	}
	began := time.Now()
	r, err := p.call(phone)
	if err != nil || r.Certificate == nil {
		t.Fatalf("with silent connections: %+v, %v", r.Outcome, err)
	}
	if d := time.Since(began); d > time.Minute {
		t.Errorf("the phone needed %v", d)
	}
	p.settled(phone, r)
	for _, c := range silent {
		_ = c.Close()
	}
	p.settled(later, p.certified(later))
	if _, err := certfile.LoadCertificates(filepath.Join(p.c.Dir, "ca.pem")); err != nil {
		t.Error(err)
	}
}
