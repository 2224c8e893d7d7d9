package ra_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"callsign/est"
	"callsign/internal/ca"
	"callsign/internal/ca/local"
	"callsign/internal/enroll"
	"callsign/internal/ra"
)

func TestEnrollOverTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).ready()
	k := newKey(t)
	csr := newCSR(t, k, "SEP001122334455")
	first, err := w.client(nil).SimpleEnroll(t.Context(), csr)
	check(t, err)
	// Another PKCS#10 of the same key (a fresh signature) is the same request.
	again, err := w.client(nil).SimpleEnroll(t.Context(), newCSR(t, k, "SEP001122334455"))
	check(t, err)
	if !bytes.Equal(first.Raw, again.Raw) {
		t.Error("the same request got another certificate")
	}
	if _, issued := w.ca.counts(); issued != 1 {
		t.Errorf("the CA issued %d certificates", issued)
	}
	// With a label it is another one.
	labelled, err := w.client(func(c *est.Client) { c.Label = "floor2" }).SimpleEnroll(t.Context(), csr)
	check(t, err)
	if bytes.Equal(first.Raw, labelled.Raw) {
		t.Error("labels share a row")
	}
	chain, err := w.client(nil).CACerts(t.Context())
	check(t, err)
	if len(chain) != 2 || chain[0].Subject.CommonName != "Issuing" || chain[1].Subject.CommonName != "Root" {
		t.Errorf("cacerts: %v", chain)
	}
	check(t, first.CheckSignatureFrom(chain[0]))
	if got := w.ca.seen[0]; got.Owner != "est:/capf" || got.CSR == nil || got.Vouch != "" {
		t.Errorf("request to the CA: %+v", got)
	}
	mustContain(t, w.log.String(), "certificate handed out", "pop=signed")
	_, err = w.client(func(c *est.Client) { c.Label = "nowhere" }).SimpleEnroll(t.Context(), csr)
	wantStatus(t, err, 404)
}

func wantStatus(t *testing.T, err error, status int) *est.ClientError {
	t.Helper()
	var e *est.ClientError
	if !errors.As(err, &e) || e.Status != status {
		t.Fatalf("got %v, want status %d", err, status)
	}
	return e
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	type behaviour = func(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error)
	fails := func(e *ca.Error) behaviour {
		return func(context.Context, ca.Request, ca.Ledger) (ca.Outcome, error) { return ca.Outcome{}, e }
	}
	silent := func(ctx context.Context, _ ca.Request, _ ca.Ledger) (ca.Outcome, error) {
		<-ctx.Done()
		return ca.Outcome{}, ctx.Err()
	}
	denied := func(context.Context, ca.Request, ca.Ledger) (ca.Outcome, error) {
		return ca.Outcome{Status: ca.Denied, Denial: &ca.Error{
			ErrCode: "certsrv.denied", Final: true, HResult: 0x80094800, Detail: "Denied by Policy Module 0x80094800", Fix: "publish the template",
		}}, nil
	}
	tests := []struct {
		name   string
		do     behaviour
		edit   func(*ra.Config)
		status int // 0: 202
		text   string
		after  time.Duration // of 202
		log    string
	}{
		{"silent CA", silent, impatient, 0, "being worked on", 5 * time.Second, "enrolment not finished"},
		{"pending", func(context.Context, ca.Request, ca.Ledger) (ca.Outcome, error) {
			return ca.Outcome{Status: ca.Pending, RequestID: "25", RetryAfter: time.Hour}, nil
		}, nil, 0, "request 25", time.Hour, "ca_request=25"},
		{"denied", denied, nil, 403, "Denied by Policy Module 0x80094800", 0, "publish the template"},
		{"CA down", fails(&ca.Error{ErrCode: "certsrv.ca-unavailable", Detail: "the web server does not reach the CA"}), impatient, 503, "does not reach", 0, "certsrv.ca-unavailable"},
		{"CA times out", fails(&ca.Error{ErrCode: "certsrv.timeout", Detail: "no answer", Timeout: true}), impatient, 504, "no answer", 0, "certsrv.timeout"},
		{
			"template not offered", fails(&ca.Error{ErrCode: ca.CodeTemplateNotOffered, Final: true, Detail: "template CiscoRa is not offered; offered: CiscoRA"}), nil, 503,
			"template CiscoRa is not offered; offered: CiscoRA", 0, "offered: CiscoRA",
		},
		{
			"template not offered, as the original", fails(&ca.Error{ErrCode: ca.CodeTemplateNotOffered, Final: true, Detail: "template CiscoRa is not offered; offered: CiscoRA"}),
			func(c *ra.Config) { c.CompatSequence = true }, 401,
			"The server was unable to authorize the request. template CiscoRa is not offered; offered: CiscoRA", 0, "offered: CiscoRA",
		},
		{
			"template not offered, configured", fails(&ca.Error{ErrCode: ca.CodeTemplateNotOffered, Final: true, Detail: "template CiscoRa is not offered"}),
			func(c *ra.Config) { c.TemplateStatus = 500 }, 500, "CiscoRa", 0, ca.CodeTemplateNotOffered,
		},
		{"own account refused", fails(&ca.Error{ErrCode: ca.CodeLoginRefused, Final: true, Detail: "401"}), nil, 503, "", 0, ca.CodeLoginRefused},
		{"odd final failure", fails(&ca.Error{ErrCode: "certsrv.unexpected-page", Final: true, Detail: "nobody understands the page"}), nil, 502, "", 0, "unexpected-page"},
		{"CA nowhere", fails(&ca.Error{ErrCode: ca.CodeNotResolved, Detail: "no such host"}), impatient, 504, "no such host", 0, "not-resolved"},
		{"final failure without a code of ours", fails(&ca.Error{ErrCode: "x.y", Final: true, Detail: "odd"}), nil, 500, "", 0, "x.y"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.edit).ready()
			w.ca.behave(tt.do)
			csr := newCSR(t, newKey(t), "SEP001122334455")
			begin := time.Now()
			_, err := w.client(nil).SimpleEnroll(t.Context(), csr)
			if took := time.Since(begin); took > patient/2 {
				t.Errorf("answered after %s", took)
			}
			if tt.status == 0 {
				var later *est.RetryError
				if !errors.As(err, &later) || later.After != tt.after {
					t.Fatalf("got %v, want a 202 with %s", err, tt.after)
				}
				mustContain(t, later.Text, tt.text)
			} else {
				e := wantStatus(t, err, tt.status)
				mustContain(t, e.Text, tt.text)
				if (tt.status == 503 || tt.status == 504) && e.RetryAfter <= 0 {
					t.Error("no Retry-After")
				}
			}
			mustContain(t, w.log.String(), tt.log)
			// Whatever it was, it passes, and the same request then gets its certificate, the only one.
			w.ca.behave(nil)
			if tt.status == 403 || tt.status == 401 || tt.status == 500 || tt.status == 502 || strings.HasPrefix(tt.name, "template") || tt.name == "own account refused" {
				if _, err := w.client(nil).SimpleEnroll(t.Context(), csr); err == nil {
					t.Error("a fresh refusal was not remembered")
				}
				return
			}
			if tt.name == "silent CA" || tt.name == "pending" {
				return
			}
			eventually(t, func() bool {
				_, err := w.client(nil).SimpleEnroll(t.Context(), csr)
				return err == nil
			})
			if _, issued := w.ca.counts(); issued != 1 {
				t.Errorf("issued %d", issued)
			}
		})
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not come true within %s", patient)
		}
	}
}

func TestSlowCAIsFetchedLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, impatient).ready()
	release := make(chan struct{})
	w.ca.behave(func(ctx context.Context, _ ca.Request, _ ca.Ledger) (ca.Outcome, error) {
		select {
		case <-release:
			return ca.Outcome{}, nil // goes on to issue
		case <-ctx.Done():
			return ca.Outcome{}, ctx.Err()
		}
	})
	csr := newCSR(t, newKey(t), "SEP001122334455")
	var later *est.RetryError
	if _, err := w.client(nil).SimpleEnroll(t.Context(), csr); !errors.As(err, &later) {
		t.Fatalf("got %v, want 202", err)
	}
	// A client that breaks off does not stop the work either.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := w.client(nil).SimpleEnroll(ctx, csr); err == nil {
		t.Fatal("answered too early")
	}
	close(release)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := w.client(nil).SimpleEnroll(t.Context(), csr); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if asked, issued := w.ca.counts(); asked != 1 || issued != 1 {
		t.Errorf("CA asked %d times, issued %d", asked, issued)
	}
}

func TestDenialIsForgotten(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Now()
	w := newWorld(t, func(c *ra.Config) {
		started := now.Add(-time.Second)
		first := true
		c.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			if first { // New notes when the process began
				first = false
				return started
			}
			return now
		}
	}).ready()
	w.ca.behave(func(context.Context, ca.Request, ca.Ledger) (ca.Outcome, error) {
		return ca.Outcome{Status: ca.Denied, Denial: &ca.Error{ErrCode: "certsrv.denied", Final: true, Detail: "no"}}, nil
	})
	csr := newCSR(t, newKey(t), "SEP001122334455")
	for range 3 {
		_, err := w.client(nil).SimpleEnroll(t.Context(), csr)
		wantStatus(t, err, 403)
	}
	if asked, _ := w.ca.counts(); asked != 1 {
		t.Errorf("the CA was asked %d times", asked)
	}
	w.ca.behave(nil) // the administrator corrected the template
	mu.Lock()
	now = time.Now().Add(ra.DefaultDenialMemory + time.Second) // the denial is on record by the real clock, and perhaps seconds after now
	mu.Unlock()
	_, err := w.client(nil).SimpleEnroll(t.Context(), csr)
	check(t, err)
}

// TestNewConfigurationForgetsDenials: what the CA refused before a reload is asked again at once, by the very same request.
func TestNewConfigurationForgetsDenials(t *testing.T) {
	t.Parallel()
	var conf ra.Config
	w := newWorld(t, func(c *ra.Config) { conf = *c }).ready()
	w.ca.behave(func(context.Context, ca.Request, ca.Ledger) (ca.Outcome, error) {
		return ca.Outcome{Status: ca.Denied, Denial: &ca.Error{ErrCode: "certsrv.denied", Final: true, Detail: "no"}}, nil
	})
	csr := newCSR(t, newKey(t), "SEP001122334455")
	for range 2 {
		_, err := w.client(nil).SimpleEnroll(t.Context(), csr)
		wantStatus(t, err, 403)
	}
	if asked, _ := w.ca.counts(); asked != 1 {
		t.Errorf("the CA was asked %d times", asked)
	}
	w.ca.behave(nil)
	var err error
	w.ra, err = ra.New(conf) // as a reload does, with another template in it
	check(t, err)
	w.serve()
	w.ready()
	_, err = w.client(nil).SimpleEnroll(t.Context(), csr)
	check(t, err)
}

func TestWhoMayEnroll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).ready()
	other, err := local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Other"}})
	check(t, err)
	leaf := func(i *local.Issuer, p local.Purpose, validity time.Duration) *local.Leaf {
		l, err := i.NewLeaf(t.Context(), local.LeafOptions{Purpose: p, CAOptions: local.CAOptions{
			Subject: pkix.Name{CommonName: "device"}, Validity: validity,
		}})
		check(t, err)
		return l
	}
	tests := []struct {
		name   string
		cert   *local.Leaf
		user   string
		pass   string
		status int // 0: enrolled
		code   string
	}{
		{"password", nil, user, password, 0, ""},
		{"wrong password", nil, user, "wrong", 401, "ra.login"},
		{"unknown user", nil, "nobody", password, 401, "ra.login"},
		{"nothing", nil, "", "", 401, ""},
		{"client certificate", leaf(w.root, local.TLSClient, 0), "", "", 0, ""},
		{"client certificate of another CA", leaf(other, local.TLSClient, 0), "", "", 401, "ra.client-untrusted"},
		{"client certificate without clientAuth", leaf(w.root, local.Voucher, 0), "", "", 401, "ra.client-purpose"},
		{"expired client certificate", leaf(w.root, local.TLSClient, time.Nanosecond), "", "", 401, "ra.client-expired"},
		{"bad certificate, right password", leaf(other, local.TLSClient, 0), user, password, 0, ""},
		{"good certificate, wrong password", leaf(w.root, local.TLSClient, 0), user, "wrong", 0, ""},
	}
	time.Sleep(10 * time.Millisecond)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := w.client(func(c *est.Client) {
				c.User, c.Password = tt.user, est.Password(tt.pass)
				if tt.cert != nil {
					c.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
						return &tls.Certificate{Certificate: tt.cert.Presented(), PrivateKey: tt.cert.Signer}, nil
					}
				}
			})
			cert, err := c.SimpleEnroll(t.Context(), newCSR(t, newKey(t), "SEP001122334455"))
			if tt.status == 0 {
				check(t, err)
				check(t, checkLeaf(cert))
				return
			}
			wantStatus(t, err, tt.status)
			if tt.code != "" && tt.cert != nil {
				mustContain(t, w.log.String(), tt.code)
			}
		})
	}
}

func checkLeaf(c *x509.Certificate) error {
	if c.Subject.CommonName != "SEP001122334455" {
		return errors.New("subject " + c.Subject.String())
	}
	return nil
}

func TestCompatSequencePassesLoginsOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ra.Config) { c.CompatSequence = true }).ready()
	var mu sync.Mutex
	var checked []string
	w.ca.login = func(l *ca.Login) error {
		mu.Lock()
		defer mu.Unlock()
		checked = append(checked, l.User)
		switch {
		case l.User != `LAB\ciscora` && l.User != `LAB\typo`, string(l.Password) != "ca secret":
			return &ca.Error{ErrCode: ca.CodeLoginRefused, Final: true, Detail: "401"}
		case l.User == `LAB\typo`:
			return &ca.Error{ErrCode: ca.CodeTemplateNotOffered, Final: true, Detail: "not offered; offered: A, B"}
		}
		return nil
	}
	as := func(name, pw string) error {
		_, err := w.client(func(c *est.Client) { c.User, c.Password = name, est.Password(pw) }).
			SimpleEnroll(t.Context(), newCSR(t, newKey(t), "SEP001122334455"))
		return err
	}
	check(t, as(`LAB\ciscora`, "ca secret"))
	wantStatus(t, as(`LAB\ciscora`, "wrong"), 401)
	wantStatus(t, as(`LAB\typo`, "ca secret"), 401)
	wantStatus(t, as("CN=x", "ca secret"), 401)
	wantStatus(t, as(user, "wrong"), 401)
	check(t, as(user, password))
	if want := []string{`LAB\ciscora`, `LAB\ciscora`, `LAB\typo`}; !slices.Equal(checked, want) {
		t.Errorf("checked at the CA: %q, want %q", checked, want)
	}
	w.ca.mu.Lock()
	defer w.ca.mu.Unlock()
	if l := w.ca.seen[0].Login; l == nil || l.User != `LAB\ciscora` || !l.Checked {
		t.Errorf("login of the first request: %v", l)
	}
	if l := w.ca.seen[1].Login; l != nil {
		t.Errorf("the login of our own user went to the CA: %v", l)
	}
	mustContain(t, w.log.String(), "offered: A, B")
	if bytes.Contains([]byte(w.log.String()), []byte("ca secret")) {
		t.Error("a password is in the log")
	}
}

// TestParkedUntilTheClientComes: a request that was begun with the client's account at the CA, and that the authority
// therefore does not go on with by itself, is answered with 202 and tried at once when the client calls again.
func TestParkedUntilTheClientComes(t *testing.T) {
	t.Parallel()
	for _, pending := range []bool{true, false} {
		t.Run("pending="+strconv.FormatBool(pending), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *ra.Config) { impatient(c); c.CompatSequence = true }).ready()
			w.ca.login = func(*ca.Login) error { return nil }
			first := true
			w.ca.behave(func(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
				switch {
				case r.Login == nil:
					return ca.Outcome{}, &ca.Error{ErrCode: ca.CodeLoginNeeded, Detail: "the client's account is needed", After: 24 * time.Hour}
				case !first:
					return ca.Outcome{}, nil // issue
				}
				first = false
				if err := l.Record(ctx, ca.Progress{Submitted: true}); err != nil {
					return ca.Outcome{}, err
				}
				if pending {
					return ca.Outcome{Status: ca.Pending, RequestID: "25", RetryAfter: time.Millisecond}, nil
				}
				return ca.Outcome{}, &ca.Error{ErrCode: "certsrv.answer-lost", Detail: "lost", After: time.Millisecond}
			})
			c := w.client(func(c *est.Client) { c.User, c.Password = `LAB\other`, est.Password("ca secret") })
			csr := newCSR(t, newKey(t), "SEP001122334455")
			if _, err := c.SimpleEnroll(t.Context(), csr); err == nil {
				t.Fatal("issued at once")
			}
			rows, err := w.engine.ByOwner(t.Context(), `est:/LAB\other`)
			check(t, err)
			var row enroll.Enrolment
			eventually(t, func() bool { // what the sweep does, without the login
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
				defer cancel()
				row, err = w.engine.Wait(ctx, rows[0].ID)
				check(t, err)
				return row.Failure != nil && row.Failure.Code == ca.CodeLoginNeeded
			})
			if !row.State.Open() || time.Until(row.NextAttempt) < 23*time.Hour {
				t.Fatalf("%s, next attempt %s", row.State, row.NextAttempt)
			}
			// A call without the login, as of the sweep, changes nothing; the answer stays 202.
			if status, after := w.ra.StatusOf(row); status != 202 || after > time.Hour {
				t.Errorf("status %d, come back after %s", status, after)
			}
			got, err := c.SimpleEnroll(t.Context(), csr)
			check(t, err)
			check(t, checkLeaf(got))
			if _, issued := w.ca.counts(); issued != 1 {
				t.Errorf("issued %d", issued)
			}
		})
	}
}

func TestWithoutChain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.ca.mu.Lock()
	w.ca.chain = func() ([]*x509.Certificate, error) {
		return nil, &ca.Error{ErrCode: "certsrv.name-not-resolved", Detail: "Could not resolve: lab-dcc", Fix: "correct the host name"}
	}
	w.ca.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.ra.Run(ctx) }()
	defer func() { cancel(); check(t, <-done) }()
	eventually(t, func() bool { return bytes.Contains([]byte(w.log.String()), []byte("ra.chain_failed")) })
	_, err := w.client(nil).CACerts(t.Context())
	if e := wantStatus(t, err, 503); e.RetryAfter != ra.DefaultUnavailable {
		t.Errorf("Retry-After %s", e.RetryAfter)
	}
	_, err = w.client(nil).SimpleEnroll(t.Context(), newCSR(t, newKey(t), "SEP001122334455"))
	mustContain(t, wantStatus(t, err, 503).Text, "certsrv.name-not-resolved", "Could not resolve: lab-dcc")
	_, err = w.client(nil).CACerts(t.Context()) // which anybody may ask
	if e := wantStatus(t, err, 503); strings.Contains(e.Text, "lab-dcc") {
		t.Errorf("a stranger is told %q", e.Text)
	}
	w.ca.mu.Lock()
	w.ca.chain = nil
	w.ca.mu.Unlock()
	eventually(t, func() bool { _, err := w.client(nil).CACerts(t.Context()); return err == nil })
	mustContain(t, w.log.String(), "event=ra.start", "event=ra.anchor", "event=ra.pop_disabled", "event=ra.pid", "Could not resolve: lab-dcc", "event=ra.chain_ready")
}

// TestOwnStopIsNoWarning: a server that is stopped while it asks for the chain does not complain about the CA.
func TestOwnStopIsNoWarning(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	w.ca.mu.Lock()
	w.ca.chain = func() ([]*x509.Certificate, error) {
		cancel()
		return nil, &ca.Error{ErrCode: "certsrv.cancelled", Detail: "gave up", Fix: "none: the caller gave up", Err: context.Canceled}
	}
	w.ca.mu.Unlock()
	if err := w.ra.Refresh(ctx); err == nil {
		t.Error("no error")
	}
	for line := range strings.Lines(w.log.String()) {
		if strings.Contains(line, "chain_failed") && !strings.Contains(line, "level=DEBUG") {
			t.Error(line)
		}
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ra.Config) { c.Labels[0].Rate = enroll.Rate{Count: 2, Per: 2 * time.Hour} }).ready()
	for range 2 {
		_, err := w.client(nil).SimpleEnroll(t.Context(), newCSR(t, newKey(t), "SEP001122334455"))
		check(t, err)
	}
	_, err := w.client(nil).SimpleEnroll(t.Context(), newCSR(t, newKey(t), "SEP001122334455"))
	if e := wantStatus(t, err, 429); e.RetryAfter <= 0 {
		t.Error("no Retry-After")
	}
}
