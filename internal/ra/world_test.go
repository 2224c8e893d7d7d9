package ra_test

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
	"errors"
	"log/slog"
	"net"
	"net/http"
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
	"callsign/internal/enroll"
	"callsign/internal/ra"
	"callsign/internal/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

// script is an authority whose behaviour a test decides; it issues from a real CA otherwise.
type script struct {
	local *local.Authority
	name  string

	mu     sync.Mutex
	do     func(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error)
	chain  func() ([]*x509.Certificate, error)
	login  func(l *ca.Login) error
	issued int
	asked  int
	seen   []ca.Request
}

func (s *script) Name() string { return s.name }

func (s *script) Chain(ctx context.Context) ([]*x509.Certificate, error) {
	s.mu.Lock()
	chain := s.chain
	s.mu.Unlock()
	if chain != nil {
		return chain()
	}
	return s.local.Chain(ctx)
}

func (s *script) Issue(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
	s.mu.Lock()
	do := s.do
	s.asked++
	s.seen = append(s.seen, r)
	s.mu.Unlock()
	if do != nil {
		if out, err := do(ctx, r, l); err != nil || out.Status != 0 {
			return out, err
		}
	}
	out, err := s.local.Issue(ctx, r, l)
	if out.Status == ca.Issued {
		s.mu.Lock()
		s.issued++
		s.mu.Unlock()
		out.RequestID = l.Progress().RequestID
	}
	return out, err
}

func (s *script) CheckLogin(_ context.Context, l *ca.Login) error {
	if s.login == nil {
		return &ca.Error{ErrCode: ca.CodeLoginRefused, Final: true, Detail: "the CA does not know " + l.User}
	}
	return s.login(l)
}

func (s *script) behave(do func(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.do = do
}

func (s *script) counts() (asked, issued int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked, s.issued
}

// world is an RA over TLS with a journal on disk.
type world struct {
	t      *testing.T
	ra     *ra.RA
	engine *enroll.Engine
	ca     *script
	root   *local.Issuer
	sub    *local.Issuer // below root: what ca signs with
	url    string
	log    *logbook
	users  string

	voucher   *local.Leaf
	responder *local.Leaf
}

type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const (
	user     = "capf"
	password = "correct horse battery"
)

// patient is how long the RA waits for the authority in a test that expects the certificate, however busy the machine is.
const patient = time.Minute

// impatient is the edit of a test that expects to be told to come back.
// Until then the authority has to have been asked.
func impatient(c *ra.Config) { c.AnswerWithin = 3 * time.Second }

func newWorld(t *testing.T, edit func(*ra.Config)) *world {
	t.Helper()
	w := &world{t: t, log: &logbook{}}
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	w.root, err = local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Root"}})
	check(t, err)
	issuing, err := w.root.NewIssuing(t.Context(), local.CAOptions{Subject: pkix.Name{CommonName: "Issuing"}})
	check(t, err)
	authority, err := local.New(local.Config{Certificate: issuing.Certificate, Signer: issuing.Signer, Chain: issuing.Chain})
	check(t, err)
	w.sub = issuing
	w.ca = &script{local: authority, name: "local"}

	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "db"), store.Options{})
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	w.engine = &enroll.Engine{
		Journal: db.Journal(), Authorities: map[string]ca.Authority{"local": w.ca}, Log: log,
		Backoff:  enroll.Backoff{Min: 20 * time.Millisecond, Max: 50 * time.Millisecond},
		Interval: time.Hour, // the clients' own calls are what brings rows on here
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.engine.Run(ctx) }()
	t.Cleanup(func() { cancel(); check(t, <-done) })

	w.users = filepath.Join(dir, "users")
	writeUsers(t, w.users, user, password)
	w.voucher, err = w.root.NewLeaf(t.Context(), local.LeafOptions{Purpose: local.Voucher, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "capf-ra"}}})
	check(t, err)
	w.responder, err = w.root.NewLeaf(t.Context(), local.LeafOptions{Purpose: local.Responder, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "responder"}}})
	check(t, err)
	users, clientCAs := &ra.Users{Path: w.users}, []*x509.Certificate{w.root.Certificate}
	c := ra.Config{
		Engine: w.engine, Labels: []ra.Label{
			{Authority: w.ca, Users: users, ClientCAs: clientCAs}, {Name: "floor2", Authority: w.ca, Users: users, ClientCAs: clientCAs},
		},
		AnswerWithin: patient, Log: log,
		Vouching: &ra.Vouching{
			Anchors: []*x509.Certificate{w.root.Certificate}, Allow: []string{"CN=capf-ra"}, Memory: db.RAMemory(),
			Responder: w.responder.Signer, ResponderChain: []*x509.Certificate{w.responder.Certificate},
		},
	}
	if edit != nil {
		edit(&c)
	}
	w.ra, err = ra.New(c)
	check(t, err)
	w.serve()
	return w
}

// ready fetches the chain, as Run does at start-up.
func (w *world) ready() *world {
	w.t.Helper()
	check(w.t, w.ra.Refresh(w.t.Context()))
	return w
}

func (w *world) serve() {
	w.t.Helper()
	leaf, err := w.root.NewLeaf(w.t.Context(), local.LeafOptions{
		Purpose: local.TLSServer, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "ra"}}, Names: []string{"127.0.0.1"},
	})
	check(w.t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(w.t, err)
	srv := est.NewServer(&est.Handler{Backend: w.ra, Log: slog.New(slog.NewTextHandler(w.log, nil))}, &tls.Config{
		Certificates: []tls.Certificate{{Certificate: leaf.Presented(), PrivateKey: leaf.Signer}}, MinVersion: tls.VersionTLS12,
	}, nil)
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(l, "", "") }()
	w.t.Cleanup(func() {
		check(w.t, srv.Close())
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			w.t.Error(err)
		}
	})
	w.url = "https://" + l.Addr().String()
}

// client is an EST client with a password; edit may change it.
func (w *world) client(edit func(*est.Client)) *est.Client {
	w.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(w.root.Certificate)
	c := &est.Client{URL: w.url, TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, User: user, Password: est.Password(password), Timeout: 2 * patient}
	if edit != nil {
		edit(c)
	}
	w.t.Cleanup(c.Close)
	return c
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func writeUsers(t *testing.T, path, name, password string) {
	t.Helper()
	line, err := ra.UserLine(name, []byte(password), bcrypt.MinCost)
	check(t, err)
	writeFile(t, path, line)
}

// newKey makes a P-256 key.
func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return k
}

func newCSR(t testing.TB, k crypto.Signer, cn string) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}}, k)
	check(t, err)
	return der
}

func mustContain(t *testing.T, s string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(s, p) {
			t.Errorf("log lacks %q:\n%s", p, s)
		}
	}
}
