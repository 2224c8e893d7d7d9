package upstream_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"

	"callsign/est"
	"callsign/internal/ca"
	"callsign/internal/ca/local"
	"callsign/internal/ca/upstream"
	"callsign/internal/enroll"
	"callsign/internal/ra"
	"callsign/internal/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

// page is a ledger in memory.
type page struct {
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
	l.p = p
	l.records = append(l.records, p)
	return nil
}

func (l *page) HighestRequestID(context.Context) (int64, error) { return 0, nil }

// back is the CA behind the RA: a real one, with a switch in front.
type back struct {
	ca.Authority
	mu     sync.Mutex
	do     func() (ca.Outcome, error)
	issued int
}

func (b *back) Issue(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
	b.mu.Lock()
	do := b.do
	b.mu.Unlock()
	if do != nil {
		return do()
	}
	out, err := b.Authority.Issue(ctx, r, l)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.issued++
	out.RequestID = "10"
	return out, err
}

// Private is what the authority behind says.
func (b *back) Private() bool {
	p, ok := b.Authority.(ca.Private)
	return ok && p.Private()
}

func (b *back) behave(do func() (ca.Outcome, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.do = do
}

// fault is what the network does to a request.
type fault int

const (
	none fault = iota
	lostRequest
	lostAnswer
	silence
	noFullCMC
	html
)

type world struct {
	t      *testing.T
	ca     *back
	root   *local.Issuer
	client *est.Client

	voucher *local.Leaf

	mu     sync.Mutex
	offset time.Duration
	fault  fault
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.offset)
}

func (w *world) set(f fault, offset time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault, w.offset = f, offset
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, func(issuing *local.Issuer) ca.Authority {
		authority, err := local.New(local.Config{Certificate: issuing.Certificate, Signer: issuing.Signer, Chain: issuing.Chain})
		check(t, err)
		return authority
	})
}

// newWorldOn is a world whose RA asks the authority that behind makes of the issuing CA.
func newWorldOn(t *testing.T, behind func(issuing *local.Issuer) ca.Authority) *world {
	t.Helper()
	w := &world{t: t}
	var err error
	w.root, err = local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Root"}})
	check(t, err)
	issuing, err := w.root.NewIssuing(t.Context(), local.CAOptions{Subject: pkix.Name{CommonName: "Issuing"}})
	check(t, err)
	w.ca = &back{Authority: behind(issuing)}
	leaf := func(p local.Purpose, cn string) *local.Leaf {
		l, err := w.root.NewLeaf(t.Context(), local.LeafOptions{Purpose: p, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: cn}}, Names: []string{"127.0.0.1"}})
		check(t, err)
		return l
	}
	w.voucher = leaf(local.Voucher, "capf-ra")
	responder, server := leaf(local.Responder, "responder"), leaf(local.TLSServer, "ra")

	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "db"), store.Options{})
	check(t, err)
	engine := &enroll.Engine{
		Journal: db.Journal(), Authorities: map[string]ca.Authority{w.ca.Name(): w.ca}, Now: w.now,
		Backoff: enroll.Backoff{Min: time.Millisecond, Max: time.Millisecond},
	}
	line, err := ra.UserLine("capf", []byte("secret"), bcrypt.MinCost)
	check(t, err)
	users := filepath.Join(dir, "users")
	check(t, os.WriteFile(users, []byte(line), 0o600))
	authority2, err := ra.New(ra.Config{
		Engine: engine, Labels: []ra.Label{{Authority: w.ca, Users: &ra.Users{Path: users}}}, Now: w.now,
		AnswerWithin: 3 * time.Second, // the CA is to have been asked by then, however busy the machine is
		Vouching: &ra.Vouching{
			Anchors: []*x509.Certificate{w.root.Certificate}, Allow: []string{"CN=capf-ra", "CN=capf-ra-2"}, Memory: db.RAMemory(),
			Responder: responder.Signer, ResponderChain: []*x509.Certificate{responder.Certificate},
		},
	})
	check(t, err)
	check(t, authority2.Refresh(t.Context()))

	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	srv := est.NewServer(w.network(&est.Handler{Backend: authority2}), &tls.Config{
		Certificates: []tls.Certificate{{Certificate: server.Presented(), PrivateKey: server.Signer}}, MinVersion: tls.VersionTLS12,
	}, nil)
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(l, "", "") }()
	pool := x509.NewCertPool()
	pool.AddCert(w.root.Certificate)
	w.client = &est.Client{
		URL: "https://" + l.Addr().String(), TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}},
		User: "capf", Password: est.Password("secret"), Timeout: time.Minute, Now: w.now,
	}
	t.Cleanup(func() {
		w.client.Close()
		check(t, srv.Close())
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		check(t, engine.Shutdown(context.Background()))
		check(t, db.Close())
	})
	return w
}

// network stands between client and RA and can lose the request or the answer.
func (w *world) network(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		f := w.fault
		w.mu.Unlock()
		if r.Method == http.MethodGet {
			f = none
		}
		switch f {
		case lostRequest:
			panic(http.ErrAbortHandler)
		case lostAnswer:
			h.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case silence:
			_, _ = io.Copy(io.Discard, r.Body) // the server sees the client go only when the body has been read
			<-r.Context().Done()
		case noFullCMC:
			rw.WriteHeader(http.StatusNotFound)
		case html:
			rw.Header().Set("Content-Type", "text/html")
			_, _ = rw.Write([]byte("<html>bienvenue</html>"))
		default:
			h.ServeHTTP(rw, r)
		}
	})
}

func (w *world) authority(edit func(*upstream.Config)) *upstream.Authority {
	w.t.Helper()
	c := upstream.Config{
		Client: w.client, Voucher: w.voucher.Signer, VoucherChain: []*x509.Certificate{w.voucher.Certificate},
		Responders: []*x509.Certificate{w.root.Certificate}, Now: w.now,
	}
	if edit != nil {
		edit(&c)
	}
	a, err := upstream.New(c)
	check(w.t, err)
	return a
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func bare(t *testing.T) ca.Request {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	spki, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	check(t, err)
	subject, err := asn1.Marshal(pkix.Name{CommonName: "SEP001122334455"}.ToRDNSequence())
	check(t, err)
	return ca.Request{ID: "f0112233445566778899aabbccddeeff", Owner: "phone:SEP001122334455", PublicKey: spki, Subject: subject, Vouch: "string"}
}

func signed(t *testing.T) ca.Request {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "SEP001122334455"}}, k)
	check(t, err)
	csr, err := x509.ParseCertificateRequest(der)
	check(t, err)
	return ca.Request{ID: "f0112233445566778899aabbccddeeff", Owner: "phone:SEP001122334455", PublicKey: csr.RawSubjectPublicKeyInfo, Subject: csr.RawSubject, CSR: der}
}

// mustIssue demands the certificate, and that the CA behind the RA issued only this one.
func (w *world) mustIssue(a *upstream.Authority, r ca.Request, l *page) ca.Outcome {
	w.t.Helper()
	out, err := a.Issue(w.t.Context(), r, l)
	if err != nil || out.Status != ca.Issued {
		w.t.Fatalf("Issue = %+v (%+v), %v", out.Status, out.Denial, err)
	}
	c, err := x509.ParseCertificate(out.Certificate)
	check(w.t, err)
	if !bytes.Equal(c.RawSubjectPublicKeyInfo, r.PublicKey) || len(out.Chain) != 2 {
		w.t.Fatalf("another key, or a chain of %d", len(out.Chain))
	}
	if w.ca.issued != 1 {
		w.t.Errorf("the CA issued %d certificates", w.ca.issued)
	}
	return out
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
	for _, tt := range []struct {
		name    string
		request func(*testing.T) ca.Request
		pop     ca.POP
		number  string
	}{
		{"bare key by fullcmc", bare, ca.POPVouched, "10"},
		{"signed request by simpleenroll", signed, ca.POPSigned, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			a := w.authority(nil)
			check(t, a.Check(t.Context()))
			l := &page{}
			out := w.mustIssue(a, tt.request(t), l)
			if out.POP != tt.pop || out.RequestID != tt.number || !l.records[0].Submitted {
				t.Errorf("%q %q, journal %+v", out.POP, out.RequestID, l.records)
			}
		})
	}
}

// TestFaults: whatever breaks, the code and libEST's number tell, and the same row gets the only certificate afterwards.
func TestFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		request func(*testing.T) ca.Request
		fault   fault
		back    func() (ca.Outcome, error)
		edit    func(*world, *upstream.Config)
		code    string
		rv      int
		final   bool
		timeout bool
	}{
		{name: "request lost", request: bare, fault: lostRequest, code: "upstream.empty-answer", rv: 14},
		{name: "answer lost", request: bare, fault: lostAnswer, code: "upstream.empty-answer", rv: 14},
		{name: "answer to a signed request lost", request: signed, fault: lostAnswer, code: "upstream.empty-answer", rv: 14},
		{
			name: "silent", request: bare, fault: silence, code: "upstream.timeout", rv: 35, timeout: true,
			edit: func(w *world, c *upstream.Config) {
				c.Client = &est.Client{URL: w.client.URL, TLS: w.client.TLS, Timeout: 3 * time.Second} // for the handshake too
				w.t.Cleanup(c.Client.Close)
			},
		},
		{name: "no fullcmc there", request: bare, fault: noFullCMC, code: "upstream.not-implemented", rv: 14, final: true},
		{name: "page of a proxy", request: bare, fault: html, code: "upstream.answer-type", rv: 11},
		{
			name: "CA down", request: bare, code: upstream.CodeTryLater, rv: 94,
			back: func() (ca.Outcome, error) {
				return ca.Outcome{}, &ca.Error{ErrCode: "certsrv.ca-unavailable", Detail: "no CA"}
			},
		},
		{
			name: "responder not trusted", request: bare, code: upstream.CodeAnswer, rv: 60,
			edit: func(w *world, c *upstream.Config) { c.Responders = []*x509.Certificate{otherRoot(w.t)} },
		},
		{
			name: "no voucher", request: bare, code: upstream.CodeNoVoucher, rv: 2, final: true,
			edit: func(_ *world, c *upstream.Config) { c.Voucher = nil },
		},
		{
			name: "wrong password", request: signed, code: "upstream.unauthorized", rv: 22, final: true,
			edit: func(w *world, c *upstream.Config) {
				c.Client = &est.Client{URL: w.client.URL, TLS: w.client.TLS, User: "capf", Password: est.Password("wrong")}
				w.t.Cleanup(c.Client.Close)
			},
		},
		{
			name: "nobody listens", request: bare, code: "upstream.connect", rv: 43,
			edit: func(w *world, c *upstream.Config) {
				c.Client = &est.Client{URL: "https://127.0.0.1:1", TLS: w.client.TLS}
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			a := w.authority(func(c *upstream.Config) {
				if tt.edit != nil {
					tt.edit(w, c)
				}
			})
			w.ca.behave(tt.back)
			w.set(tt.fault, 0)
			r, l := tt.request(t), &page{}
			_, err := a.Issue(t.Context(), r, l)
			e := wantError(t, err, tt.code)
			if e.Final != tt.final || e.Timeout != tt.timeout {
				t.Errorf("final %v, timeout %v", e.Final, e.Timeout)
			}
			if rv, name := upstream.LibEST(e.Code(), e.Error()); rv != tt.rv || !strings.HasPrefix(name, "EST_ERR_") {
				t.Errorf("libEST %d %s, want %d", rv, name, tt.rv)
			}
			var peer interface{ LibEST() (int, string) }
			if errors.As(err, &peer) {
				if rv, _ := peer.LibEST(); rv != tt.rv {
					t.Errorf("the EST client says %d", rv)
				}
			}
			before := l.p.Mark
			w.set(none, 0)
			w.ca.behave(nil)
			w.mustIssue(w.authority(nil), r, l)
			if len(before) > 0 && !bytes.Equal(before, l.p.Mark) {
				t.Error("another message was sent than the first time")
			}
		})
	}
}

func otherRoot(t *testing.T) *x509.Certificate {
	t.Helper()
	i, err := local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Other"}})
	check(t, err)
	return i.Certificate
}

func TestPendingAndDenied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.authority(nil)
	w.ca.behave(func() (ca.Outcome, error) {
		return ca.Outcome{Status: ca.Pending, RequestID: "25", RetryAfter: time.Minute}, nil
	})
	r, l := bare(t), &page{}
	out, err := a.Issue(t.Context(), r, l)
	check(t, err)
	if out.Status != ca.Pending || out.RequestID != "25" || out.RetryAfter < 50*time.Second || l.p.RequestID != "25" {
		t.Fatalf("%+v, journal %q", out, l.p.RequestID)
	}
	w.ca.behave(nil)
	w.set(none, 2*time.Minute)
	w.mustIssue(a, r, l)

	w.ca.behave(func() (ca.Outcome, error) {
		return ca.Outcome{Status: ca.Denied, Denial: &ca.Error{ErrCode: "certsrv.denied", Final: true, Detail: "Denied by Policy Module 0x80094800"}}, nil
	})
	for _, request := range []ca.Request{bare(t), signed(t)} {
		request.ID = "0" + request.ID[1:]
		out, err = a.Issue(t.Context(), request, &page{})
		check(t, err)
		if out.Status != ca.Denied || out.Denial.Code() != upstream.CodeRefused || !strings.Contains(out.Denial.Error(), "0x80094800") {
			t.Errorf("%+v %v", out, out.Denial)
		}
	}
}

func TestOldBytes(t *testing.T) {
	t.Parallel()
	for _, f := range []fault{lostRequest, lostAnswer} {
		t.Run([]string{lostRequest: "never arrived", lostAnswer: "arrived once"}[f], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			a := w.authority(nil)
			r, l := bare(t), &page{}
			w.set(f, 0)
			_, err := a.Issue(t.Context(), r, l)
			wantError(t, err, "upstream.empty-answer")
			before := l.p.Mark
			w.set(none, time.Hour)
			w.mustIssue(a, r, l)
			if remade := !bytes.Equal(before, l.p.Mark); remade != (f == lostRequest) {
				t.Errorf("a new message was made: %v", remade)
			}
		})
	}
}

func TestClockApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.authority(func(c *upstream.Config) { c.Now = func() time.Time { return w.now().Add(10 * time.Minute) } })
	l := &page{}
	_, err := a.Issue(t.Context(), bare(t), l)
	if e := wantError(t, err, upstream.CodeClock); e.Final || !strings.Contains(e.Detail, "our clock says") {
		t.Errorf("%+v", e)
	}
	if len(l.records) != 1 {
		t.Errorf("%d messages made in one attempt", len(l.records))
	}
}

func TestVoucherReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stranger, err := w.root.NewLeaf(t.Context(), local.LeafOptions{Purpose: local.Voucher, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "not on the list"}}})
	check(t, err)
	old := w.authority(func(c *upstream.Config) {
		c.Voucher, c.VoucherChain = stranger.Signer, []*x509.Certificate{stranger.Certificate}
	})
	r, l := bare(t), &page{}
	w.set(lostRequest, 0)
	_, err = old.Issue(t.Context(), r, l)
	wantError(t, err, "upstream.empty-answer")
	w.set(none, 0)
	w.mustIssue(w.authority(nil), r, l)
	out, err := old.Issue(t.Context(), bare(t), &page{})
	check(t, err)
	if out.Status != ca.Denied {
		t.Errorf("a voucher that is not on the list: %+v", out)
	}
}

func TestCrashAroundTheRecord(t *testing.T) {
	t.Parallel()
	crash := errors.New("crash")
	for _, written := range []bool{false, true} {
		w := newWorld(t)
		a := w.authority(nil)
		r, l := bare(t), &page{}
		l.fail = func(p ca.Progress) error {
			if written {
				l.p = p
			}
			return crash
		}
		if _, err := a.Issue(t.Context(), r, l); !errors.Is(err, crash) {
			t.Fatal(err)
		}
		l.fail = nil
		w.mustIssue(a, r, l)
	}
}
