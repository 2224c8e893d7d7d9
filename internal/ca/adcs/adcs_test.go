package adcs_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"callsign/certsrv"
	"callsign/certsrv/certsrvtest"
	"callsign/certsrv/winauth"
	"callsign/cmc"
	"callsign/internal/ca"
	"callsign/internal/ca/adcs"
	"callsign/internal/ca/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// page is a ledger in memory; highest is shared by the rows of one authority.
type page struct {
	mu      *sync.Mutex
	highest *int64
	p       ca.Progress
	records []ca.Progress
	fail    func(ca.Progress) error
}

func (l *page) Progress() ca.Progress { return l.p }

func (l *page) Record(_ context.Context, p ca.Progress) error {
	if l.fail != nil {
		if err := l.fail(p); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.p = p
	l.records = append(l.records, p)
	if n, err := strconv.ParseInt(p.RequestID, 10, 64); err == nil && n > *l.highest {
		*l.highest = n
	}
	return nil
}

func (l *page) HighestRequestID(context.Context) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return *l.highest, nil
}

// enterprise is the CA behind the simulated pages.
type enterprise struct {
	i  *local.Issuer
	ku x509.KeyUsage
}

func (e *enterprise) Issue(ctx context.Context, r certsrvtest.Issuance) ([]byte, error) {
	return e.i.IssueRaw(ctx, r.PublicKey, r.RawSubject, r.Extensions, local.Options{
		KeyUsage: e.ku, EKUs: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}, {1, 3, 6, 1, 5, 5, 7, 3, 1}, {1, 3, 6, 1, 5, 5, 7, 3, 5}},
	})
}

func (e *enterprise) Certificates() [][]*x509.Certificate { return [][]*x509.Certificate{e.i.Full()} }

type world struct {
	t       *testing.T
	sim     *certsrvtest.Server
	ca      *enterprise
	client  *certsrv.Client
	agent   *local.Leaf
	web     []tls.Certificate // of the web server
	log     *bytes.Buffer
	logger  *slog.Logger // to log
	iis     *bytes.Buffer
	mu      sync.Mutex
	highest int64
	now     time.Time
}

func newWorld(t *testing.T, edit func(*certsrvtest.Config, *certsrv.Client)) *world {
	t.Helper()
	w := &world{t: t, log: &bytes.Buffer{}, iis: &bytes.Buffer{}, now: time.Now()}
	w.logger = slog.New(slog.NewTextHandler(w.log, nil)) // one handler: each has a lock of its own
	root, err := local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Lab Root"}})
	check(t, err)
	issuing, err := root.NewIssuing(t.Context(), local.CAOptions{Subject: pkix.Name{CommonName: "Lab Issuing"}})
	check(t, err)
	w.ca = &enterprise{i: issuing, ku: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment}
	w.agent, err = issuing.NewLeaf(t.Context(), local.LeafOptions{Purpose: local.EnrollmentAgent, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "agent"}}})
	check(t, err)
	tlsLeaf, err := root.NewLeaf(t.Context(), local.LeafOptions{Purpose: local.TLSServer, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "iis"}}, Names: []string{"127.0.0.1"}})
	check(t, err)

	conf := certsrvtest.Config{
		CA: w.ca, IISLog: w.iis,
		Users:     []certsrvtest.User{{Name: `LAB\ciscora`, Password: "secret"}, {Name: `LAB\other`, Password: "other secret"}},
		Templates: []certsrvtest.Template{{Name: "CiscoRA"}, {Name: "CallsignPhone", RASignatures: 1}, {Name: "Private", Enrollers: []string{`LAB\other`}}},
	}
	pool := x509.NewCertPool()
	pool.AddCert(root.Certificate)
	w.client = &certsrv.Client{
		Auth: winauth.Credentials{User: `LAB\ciscora`, Password: winauth.NewPassword([]byte("secret"))},
		TLS:  &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, Log: w.logger,
	}
	if edit != nil {
		edit(&conf, w.client)
	}
	w.sim, err = certsrvtest.New(conf)
	check(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	done := make(chan error, 1)
	w.web = []tls.Certificate{{Certificate: tlsLeaf.Presented(), PrivateKey: tlsLeaf.Signer}}
	go func() { done <- w.sim.Serve(l, &tls.Config{Certificates: w.web, MinVersion: tls.VersionTLS12}) }()
	if w.client.URL == "" {
		w.client.URL = "https://" + l.Addr().String() + "/certsrv"
	}
	t.Cleanup(func() {
		check(t, w.client.Close())
		check(t, w.sim.Close())
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return w
}

func (w *world) authority(edit func(*adcs.Config)) *adcs.Authority {
	w.t.Helper()
	c := adcs.Config{
		Client: w.client, Template: "CiscoRA", Agent: w.agent.Signer, AgentChain: []*x509.Certificate{w.agent.Certificate},
		Now: func() time.Time { return w.now }, Log: w.logger,
	}
	if edit != nil {
		edit(&c)
	}
	a, err := adcs.New(c)
	check(w.t, err)
	return a
}

func (w *world) page() *page { return &page{mu: &w.mu, highest: &w.highest} }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pkixName(cn string) pkix.Name { return pkix.Name{CommonName: cn} }

func name(t testing.TB, cn string) []byte {
	t.Helper()
	der, err := asn1.Marshal(pkix.Name{CommonName: cn}.ToRDNSequence())
	check(t, err)
	return der
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return k
}

// bare is a vouched request, signed one that its key signed.
func bare(t testing.TB) ca.Request {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(newKey(t).Public())
	check(t, err)
	return ca.Request{ID: "00112233445566778899aabbccddeeff", Owner: "phone:SEP001122334455", PublicKey: spki, Subject: name(t, "SEP001122334455"), Vouch: "string"}
}

func signed(t testing.TB) ca.Request {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "SEP001122334455"}}, newKey(t))
	check(t, err)
	csr, err := x509.ParseCertificateRequest(der)
	check(t, err)
	return ca.Request{ID: "00112233445566778899aabbccddeeff", Owner: "est:/x", PublicKey: csr.RawSubjectPublicKeyInfo, Subject: csr.RawSubject, CSR: der}
}

func mustIssue(t *testing.T, a *adcs.Authority, r ca.Request, l *page) ca.Outcome {
	t.Helper()
	out, err := a.Issue(t.Context(), r, l)
	if err != nil || out.Status != ca.Issued {
		t.Fatalf("Issue = %+v (%+v), %v", out.Status, out.Denial, err)
	}
	c, err := x509.ParseCertificate(out.Certificate)
	check(t, err)
	if !bytes.Equal(c.RawSubjectPublicKeyInfo, r.PublicKey) {
		t.Fatal("certificate for another key")
	}
	return out
}

// settled is mustIssue after a lost answer: as long as the CA may be at the request it is not sent again.
func (w *world) settled(a *adcs.Authority, r ca.Request, l *page) ca.Outcome {
	w.t.Helper()
	before := len(w.sim.Requests())
	_, err := a.Issue(w.t.Context(), r, l)
	if e := wantError(w.t, err, adcs.CodeSearching); e.After <= 0 || e.After > adcs.DefaultSettle || e.Final {
		w.t.Errorf("%+v", e)
	}
	if n := len(w.sim.Requests()); n != before {
		w.t.Errorf("%d requests sent again at once", n-before)
	}
	w.now = w.now.Add(adcs.DefaultSettle)
	return mustIssue(w.t, a, r, l)
}

func wantError(t *testing.T, err error, code string) *ca.Error {
	t.Helper()
	var e *ca.Error
	if !errors.As(err, &e) || e.Code() != code || e.Remedy() == "" {
		t.Fatalf("got %v, want %s with a remedy", err, code)
	}
	return e
}

func TestIssue(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		template string
		request  func(testing.TB) ca.Request
		edit     func(*adcs.Config)
		sim      func(*certsrvtest.Config, *certsrv.Client)
		pop      ca.POP
	}{
		{"signed request", "CiscoRA", signed, nil, nil, ca.POPSigned},
		{"bare key", "CiscoRA", bare, nil, nil, ca.POPVouched},
		{"bare key, template wants a signature", "CallsignPhone", bare, nil, nil, ca.POPVouched},
		{"bare key, agent only", "CallsignPhone", bare, func(c *adcs.Config) { c.Shape = cmc.AgentOnly }, nil, ca.POPVouched},
		{"signed request, template wants a signature", "CallsignPhone", signed, func(c *adcs.Config) { c.SignRequests = adcs.SignCMC }, nil, ca.POPSigned},
		{"French pages", "CallsignPhone", bare, nil, func(c *certsrvtest.Config, _ *certsrv.Client) { c.Lang = certsrvtest.French }, ca.POPVouched},
		{"compat sequence", "CiscoRA", bare, nil, func(_ *certsrvtest.Config, c *certsrv.Client) { c.Compat = true }, ca.POPVouched},
		{"Basic", "CiscoRA", bare, nil, func(s *certsrvtest.Config, c *certsrv.Client) { s.Basic = true; c.Auth.Method = winauth.Basic }, ca.POPVouched},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.sim)
			a := w.authority(func(c *adcs.Config) {
				c.Template = tt.template
				if tt.edit != nil {
					tt.edit(c)
				}
			})
			check(t, a.Check(t.Context()))
			chain, err := a.Chain(t.Context())
			check(t, err)
			if len(chain) != 2 || chain[0].Subject.CommonName != "Lab Issuing" {
				t.Errorf("chain %v", chain)
			}
			l := w.page()
			out := mustIssue(t, a, tt.request(t), l)
			if out.RequestID != "1" || out.POP != tt.pop || len(out.Chain) != 2 {
				t.Errorf("id %q, pop %q, chain of %d", out.RequestID, out.POP, len(out.Chain))
			}
			if len(l.records) != 2 || !l.records[0].Submitted || l.records[0].RequestID != "" || l.records[1].RequestID != "1" {
				t.Errorf("journal: %+v", l.records)
			}
			if n := len(w.sim.Issued()); n != 1 {
				t.Errorf("%d issued", n)
			}
			if strings.Contains(w.log.String(), "certificate-usage") {
				t.Error("a good certificate is complained about")
			}
		})
	}
}

// TestFailures: what went wrong is told with code and remedy, it is final or not, and after the cause is gone the same row
// gets its certificate, the only one.
func TestFailures(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		behaviour certsrvtest.Behaviour
		edit      func(*certsrvtest.Config, *certsrv.Client)
		config    func(*adcs.Config)
		request   func(testing.TB) ca.Request
		code      string
		final     bool
		timeout   bool
		denied    bool
		lost      bool // the CA may have it
		hresult   uint32
	}{
		{
			name: "silent", behaviour: certsrvtest.Behaviour{Answer: certsrvtest.Hang}, code: certsrv.CodeAnswerLost, timeout: true, lost: true,
			edit: func(_ *certsrvtest.Config, c *certsrv.Client) { c.SubmitTimeout = 100 * time.Millisecond },
		},
		{name: "connection lost after issuing", behaviour: certsrvtest.Behaviour{Answer: certsrvtest.Drop}, code: certsrv.CodeAnswerLost, lost: true},
		{name: "CA down", behaviour: certsrvtest.Behaviour{Answer: certsrvtest.RPCDown}, code: certsrv.CodeCAUnavailable, hresult: 0x800706BA},
		{name: "script error", behaviour: certsrvtest.Behaviour{Answer: certsrvtest.ASPError}, code: certsrv.CodeServerError, lost: true},
		{name: "denied", behaviour: certsrvtest.Behaviour{Answer: certsrvtest.Deny, HResult: 0x80094800}, code: certsrv.CodeDenied, denied: true, hresult: 0x80094800},
		{name: "denied in French", behaviour: certsrvtest.Behaviour{Answer: certsrvtest.Deny, HResult: 0x80094012, Lang: certsrvtest.French}, code: certsrv.CodeDenied, denied: true, hresult: 0x80094012},
		{name: "template misspelt", config: func(c *adcs.Config) { c.Template = "CiscoRa2" }, code: certsrv.CodeTemplateNotOffered, final: true},
		{name: "no right to the template", config: func(c *adcs.Config) { c.Template = "Private" }, code: certsrv.CodeTemplateNotOffered, final: true},
		{
			name: "wrong password", code: certsrv.CodeNotAuthenticated, final: true,
			edit: func(_ *certsrvtest.Config, c *certsrv.Client) { c.Auth.Password = winauth.NewPassword([]byte("wrong")) },
		},
		{
			name: "untrusted web server", code: certsrv.CodeUntrusted, final: true,
			edit: func(_ *certsrvtest.Config, c *certsrv.Client) {
				c.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
			},
		},
		{name: "nobody listens", code: certsrv.CodeCannotConnect, edit: func(_ *certsrvtest.Config, c *certsrv.Client) { c.URL = "https://127.0.0.1:1/certsrv" }},
		{name: "no agent", config: func(c *adcs.Config) { c.Agent, c.AgentChain = nil, nil }, code: "adcs.no-agent", final: true},
		{name: "nobody vouches", request: func(t testing.TB) ca.Request { r := bare(t); r.Vouch = ""; return r }, code: "adcs.not-vouched", final: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.edit)
			check(t, w.sim.SetBehaviour("", tt.behaviour))
			a := w.authority(tt.config)
			request := tt.request
			if request == nil {
				request = bare
			}
			r, l := request(t), w.page()
			out, err := a.Issue(t.Context(), r, l)
			if tt.denied {
				check(t, err)
				if out.Status != ca.Denied || out.RequestID != "1" || out.Denial.Code() != tt.code || out.Denial.HResult != tt.hresult || out.Denial.Remedy() == "" {
					t.Fatalf("%+v, %+v", out, out.Denial)
				}
				return
			}
			e := wantError(t, err, tt.code)
			if e.Final != tt.final || e.Timeout != tt.timeout || e.HResult != tt.hresult {
				t.Errorf("final %v, timeout %v, hresult %x: %+v", e.Final, e.Timeout, e.HResult, e)
			}
			if l.Progress().Submitted != tt.lost {
				t.Errorf("journal says submitted=%v", l.Progress().Submitted)
			}
			if tt.final || tt.name == "nobody listens" {
				if n := len(w.sim.Requests()); n != 0 {
					t.Errorf("%d requests reached the CA", n)
				}
				return
			}
			check(t, w.sim.SetBehaviour("", certsrvtest.Behaviour{}))
			if tt.timeout {
				w.client.SubmitTimeout = adcs.DefaultSettle // this time the answer comes; a longer one would prolong the search
				out = w.settled(a, r, l)
			} else {
				out = mustIssue(t, a, r, l)
			}
			if n := len(w.sim.Issued()); n != 1 {
				t.Errorf("%d certificates issued", n)
			}
			if got, want := l.Progress().Resubmitted, tt.lost && tt.behaviour.Answer != certsrvtest.Drop; got != want {
				t.Errorf("resubmitted = %v, want %v", got, want)
			}
			if out.RequestID != "1" {
				t.Errorf("request id %q", out.RequestID)
			}
			if got, want := w.sim.Hits()["/certsrv/certnew.cer"], adcs.DefaultMissing+1; tt.name == "script error" && got != want {
				t.Errorf("%d fetches, want %d: eight ids that do not exist, and the certificate", got, want)
			}
		})
	}
}

func TestPendingThenDecided(t *testing.T) {
	t.Parallel()
	for _, approve := range []bool{true, false} {
		t.Run("approved="+strconv.FormatBool(approve), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			check(t, w.sim.SetBehaviour("", certsrvtest.Behaviour{Answer: certsrvtest.Pending}))
			a := w.authority(nil)
			r, l := bare(t), w.page()
			for range 2 {
				out, err := a.Issue(t.Context(), r, l)
				check(t, err)
				if out.Status != ca.Pending || out.RequestID != "1" {
					t.Fatalf("%+v", out)
				}
			}
			if approve {
				check(t, w.sim.Approve(t.Context(), 1))
				mustIssue(t, a, r, l)
			} else {
				check(t, w.sim.Deny(1))
				out, err := a.Issue(t.Context(), r, l)
				check(t, err)
				if out.Status != ca.Denied || out.Denial.HResult != 0x80094014 {
					t.Fatalf("%+v %+v", out, out.Denial)
				}
			}
			if n := len(w.sim.Requests()); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// TestCrashAtEveryRecord kills the attempt at each write of the journal, before and after it, and resumes: one certificate.
func TestCrashAtEveryRecord(t *testing.T) {
	t.Parallel()
	crash := errors.New("crash")
	for _, at := range []int{0, 1} {
		for _, written := range []bool{false, true} {
			t.Run("record "+strconv.Itoa(at)+" written="+strconv.FormatBool(written), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, nil)
				a := w.authority(nil)
				r, l := bare(t), w.page()
				n := 0
				l.fail = func(p ca.Progress) error {
					defer func() { n++ }()
					if n != at {
						return nil
					}
					if written {
						l.p = p
					}
					return crash
				}
				if _, err := a.Issue(t.Context(), r, l); !errors.Is(err, crash) {
					t.Fatalf("got %v", err)
				}
				l.fail = nil
				if at == 0 && written { // as if it had been sent
					w.settled(a, r, l)
				} else {
					mustIssue(t, a, r, l)
				}
				if n := len(w.sim.Issued()); n != 1 {
					t.Errorf("%d certificates issued", n)
				}
			})
		}
	}
}

// TestLostAmongOthers: the search skips what belongs to others, goes on over ids of our own other rows, and stops in time.
func TestLostAmongOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.authority(func(c *adcs.Config) { c.Tried = 3 })
	for range 3 { // before
		mustIssue(t, a, bare(t), w.page())
	}
	r, l := bare(t), w.page()
	l.fail = func(p ca.Progress) error {
		if p.Submitted && p.RequestID == "" {
			for range 6 { // between our look at the ids and our POST, recorded by other rows
				mustIssue(t, a, bare(t), w.page())
			}
			return w.sim.SetBehaviour("", certsrvtest.Behaviour{Answer: certsrvtest.Drop, Times: 1})
		}
		return nil
	}
	_, err := a.Issue(t.Context(), r, l)
	wantError(t, err, certsrv.CodeAnswerLost)
	if l.Progress().RequestID != "" {
		t.Fatal("the id is known: nothing was lost")
	}
	l.fail = nil
	out := mustIssue(t, a, r, l)
	if out.RequestID != "10" || l.Progress().RequestID != "10" || l.Progress().Resubmitted {
		t.Errorf("found request %q, journal %+v", out.RequestID, l.Progress())
	}
	if n := len(w.sim.Issued()); n != 10 {
		t.Errorf("%d certificates issued", n)
	}
}

func TestPendingCandidatesAreLookedAtAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.authority(nil)
	check(t, w.sim.SetBehaviour("", certsrvtest.Behaviour{Answer: certsrvtest.Pending}))
	r, l := bare(t), w.page()
	crash := errors.New("crash")
	l.fail = func(p ca.Progress) error {
		if p.RequestID != "" {
			return crash // died before the id was on disk
		}
		return nil
	}
	if _, err := a.Issue(t.Context(), r, l); !errors.Is(err, crash) {
		t.Fatal(err)
	}
	l.fail = nil
	_, err := a.Issue(t.Context(), r, l)
	if e := wantError(t, err, "adcs.searching"); e.Final || e.After != adcs.DefaultLookPause || !strings.Contains(e.Detail, "approval: 1") {
		t.Errorf("%+v", e)
	}
	check(t, w.sim.Approve(t.Context(), 1))
	if out := mustIssue(t, a, r, l); out.RequestID != "1" || l.Progress().Resubmitted {
		t.Errorf("request %q, %+v", out.RequestID, l.Progress())
	}
	if n := len(w.sim.Requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestPendingCandidatesDoNotBlockForEver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.authority(func(c *adcs.Config) { c.Looks = 2 })
	check(t, w.sim.SetBehaviour("", certsrvtest.Behaviour{Answer: certsrvtest.Pending, Times: 1}))
	if out, err := a.Issue(t.Context(), bare(t), &page{mu: &sync.Mutex{}, highest: new(int64)}); err != nil || out.Status != ca.Pending {
		t.Fatal(out, err) // a stranger's
	}
	check(t, w.sim.SetBehaviour("", certsrvtest.Behaviour{Answer: certsrvtest.ASPError, Times: 1}))
	r, l := bare(t), w.page()
	_, err := a.Issue(t.Context(), r, l)
	wantError(t, err, certsrv.CodeServerError)
	for range 2 {
		_, err = a.Issue(t.Context(), r, l)
		wantError(t, err, "adcs.searching")
	}
	mustIssue(t, a, r, l)
	if !l.Progress().Resubmitted {
		t.Error("not marked as resubmitted")
	}
}

func TestRefusedAccountIsNotTriedAgainAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *certsrvtest.Config, c *certsrv.Client) { c.Auth.Password = winauth.NewPassword([]byte("wrong")) })
	a := w.authority(nil)
	for range 5 {
		_, err := a.Issue(t.Context(), bare(t), w.page())
		wantError(t, err, ca.CodeLoginRefused)
	}
	one := w.sim.Hits()["/certsrv"]
	w.now = w.now.Add(2 * adcs.DefaultLoginPause)
	_, err := a.Issue(t.Context(), bare(t), w.page())
	wantError(t, err, ca.CodeLoginRefused)
	if two := w.sim.Hits()["/certsrv"]; two != 2*one {
		t.Errorf("%d requests for five phones, %d for six after the pause", one, two)
	}
}

func TestUsageWarning(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.ca.ku = x509.KeyUsageDigitalSignature
	mustIssue(t, w.authority(nil), bare(t), w.page())
	if log := w.log.String(); !strings.Contains(log, "adcs.certificate-usage") || !strings.Contains(log, "keyEncipherment") {
		t.Errorf("no warning:\n%s", log)
	}
}

// rows are method, path with query, user and status of the simulated IIS log.
func (w *world) rows() []string {
	var out []string
	for line := range strings.Lines(w.iis.String()) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		out = append(out, strings.Join([]string{f[3], f[4], f[5], f[7], f[11]}, " "))
	}
	return out
}

// TestCompatSequence: the seven rows of certsrv.md section 1, with the own account and with credentials that came with
// the request and were checked before.
func TestCompatSequence(t *testing.T) {
	t.Parallel()
	for _, login := range []bool{false, true} {
		t.Run("client's login="+strconv.FormatBool(login), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(_ *certsrvtest.Config, c *certsrv.Client) { c.Compat = true })
			a := w.authority(nil)
			r, user := bare(t), `LAB\ciscora`
			if login {
				user = `LAB\other`
				r.Login = &ca.Login{User: user, Password: []byte("other secret"), Checked: true}
				check(t, a.CheckLogin(t.Context(), r.Login))
			}
			mustIssue(t, a, r, w.page())
			want := []string{
				"GET /certsrv - - 401", "GET /certsrv - " + user + " 301", "GET /certsrv/certrqxt.asp - " + user + " 200",
				"GET /certsrv - - 401", "GET /certsrv - " + user + " 301", "POST /certsrv/certfnsh.asp - " + user + " 200",
				"GET /certsrv/certnew.cer ReqID=1&ENC=b64 " + user + " 200",
			}
			if d := cmp.Diff(want, w.rows()); d != "" {
				t.Errorf("IIS log (-want +got):\n%s", d)
			}
			if strings.Contains(w.log.String(), "secret") {
				t.Error("a password is in the log")
			}
		})
	}
}

func TestCheckLoginRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := w.authority(func(c *adcs.Config) { c.Template = "Private" })
	wantError(t, a.CheckLogin(t.Context(), &ca.Login{User: `LAB\other`, Password: []byte("wrong")}), ca.CodeLoginRefused)
	e := wantError(t, a.CheckLogin(t.Context(), &ca.Login{User: `LAB\ciscora`, Password: []byte("secret")}), ca.CodeTemplateNotOffered)
	if !strings.Contains(e.Error(), "CiscoRA") {
		t.Errorf("what is offered is not told: %v", e)
	}
	check(t, a.CheckLogin(t.Context(), &ca.Login{User: `LAB\other`, Password: []byte("other secret")}))
	// A client's wrong password must not stop the others.
	if err := a.Check(t.Context()); err != nil {
		wantError(t, err, ca.CodeTemplateNotOffered)
	}
}
