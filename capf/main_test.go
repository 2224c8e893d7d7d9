package capf

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recording is one session of testdata/transcripts.json.
type recording struct {
	Name     string
	Device   string
	Client   string
	Messages []struct{ From, Hex string }
}

// bytes returns message i.
func (r recording) bytes(tb testing.TB, i int) []byte {
	tb.Helper()
	b, err := hex.DecodeString(r.Messages[i].Hex)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func (r recording) message(tb testing.TB, i int) Message {
	tb.Helper()
	m, err := ParseMessage(r.bytes(tb, i))
	if err != nil {
		tb.Fatalf("%s, message %d: %v", r.Name, i+1, err)
	}
	return m
}

// find returns the first message with the command.
func (r recording) find(tb testing.TB, c Command) Message {
	tb.Helper()
	for i := range r.Messages {
		if m := r.message(tb, i); m.Command == c {
			return m
		}
	}
	tb.Fatalf("%s has no %v", r.Name, c)
	return Message{}
}

func recordings(tb testing.TB) []recording {
	tb.Helper()
	text, err := os.ReadFile("testdata/transcripts.json")
	if err != nil {
		tb.Fatal(err)
	}
	var file struct{ Sessions []recording }
	if err := json.Unmarshal(text, &file); err != nil {
		tb.Fatal(err)
	}
	if len(file.Sessions) != 20 {
		tb.Fatalf("%d sessions, want 20", len(file.Sessions))
	}
	return file.Sessions
}

// authority signs test certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(key crypto.Signer) (*authority, error) {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CAPF-test"},
		// Made once and used inside bubbles of synctest, where it is the year 2000, and outside.
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{cert: cert, key: key}, err
}

// testAuthority and rsaAuthority are made once: RSA keys take long.
var testAuthority = sync.OnceValues(func() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return newAuthority(key)
})

var rsaAuthority = sync.OnceValues(func() (*authority, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return newAuthority(key)
})

// sign returns a certificate for a key.
func (a *authority) sign(name string, spki []byte) ([]byte, error) {
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}, a.cert, pub, a.key)
}

// service is a Service that does one Task for everybody and writes down what it was called for.
type service struct {
	task    Task
	refuse  error                                         // Open's error
	issue   func(context.Context, []byte) ([]byte, error) // nil signs
	stored  func(context.Context, []byte, Reason) error   // nil agrees
	fetched func([]CertificateEntry, Reason) error        // nil agrees
	open    func(context.Context, Caller)                 // nil does nothing

	mu       sync.Mutex
	calls    []string
	caller   Caller
	cause    error // of Abort
	issued   []byte
	certs    []CertificateEntry
	running  int
	overlaps bool
}

func (s *service) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
}

func (s *service) history() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *service) aborted() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

func (s *service) Open(ctx context.Context, c Caller) (Session, error) {
	s.note("open")
	s.mu.Lock()
	s.caller = c
	s.mu.Unlock()
	if s.open != nil {
		s.open(ctx, c)
	}
	if s.refuse != nil {
		return nil, s.refuse
	}
	return &servicedPhone{service: s, device: c.Device}, nil
}

// servicedPhone is the Session of a service. It also checks that its methods are never called concurrently.
type servicedPhone struct {
	*service
	device string
}

func (p *servicedPhone) enter() func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running++
	if p.running > 1 {
		p.overlaps = true
	}
	return func() {
		p.mu.Lock()
		p.running--
		p.mu.Unlock()
	}
}

func (p *servicedPhone) Task() Task { return p.task }

func (p *servicedPhone) Issue(ctx context.Context, spki []byte) ([]byte, error) {
	defer p.enter()()
	p.note("issue")
	if p.issue != nil {
		return p.issue(ctx, spki)
	}
	a, err := testAuthority()
	if err != nil {
		return nil, err
	}
	der, err := a.sign(p.device, spki)
	p.mu.Lock()
	p.issued = der
	p.mu.Unlock()
	return der, err
}

func (p *servicedPhone) Stored(ctx context.Context, der []byte, r Reason) error {
	defer p.enter()()
	p.note("stored %d", r)
	if p.stored != nil {
		return p.stored(ctx, der, r)
	}
	return ctx.Err()
}

func (p *servicedPhone) Fetched(ctx context.Context, certs []CertificateEntry, r Reason) error {
	defer p.enter()()
	p.note("fetched %d", r)
	p.mu.Lock()
	p.certs = certs
	p.mu.Unlock()
	if p.fetched != nil {
		return p.fetched(certs, r)
	}
	return ctx.Err()
}

func (p *servicedPhone) Deleted(ctx context.Context, r Reason) error {
	defer p.enter()()
	p.note("deleted %d", r)
	return ctx.Err()
}

func (p *servicedPhone) Abort(ctx context.Context, cause error) {
	defer p.enter()()
	if ctx.Err() != nil {
		cause = errors.Join(cause, fmt.Errorf("abort with a dead context: %w", ctx.Err()))
	}
	p.note("abort")
	p.mu.Lock()
	p.cause = cause
	p.mu.Unlock()
}

// pipes is a Listener of connections in memory.
type pipes struct {
	queue chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{queue: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.queue:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// dial returns the phone's end of a new connection.
func (p *pipes) dial() net.Conn {
	a, b := net.Pipe()
	p.queue <- a
	return b
}

// peer is the phone's end of a connection, message by message.
type peer struct {
	tb      testing.TB
	conn    net.Conn
	session uint32
}

// expect reads the next message and checks its command.
func (p *peer) expect(c Command) Message {
	p.tb.Helper()
	m, err := ReadMessage(p.conn, MaxBody)
	if err != nil {
		p.tb.Fatalf("waiting for %v: %v", c, err)
	}
	if m.Command != c {
		p.tb.Fatalf("got %v %v, want %v", m.Command, m.Elements, c)
	}
	p.session = m.SessionID
	return m
}

// end expects END_SESSION with a reason.
func (p *peer) end(want Reason) {
	p.tb.Helper()
	if r, ok := p.expect(EndSession).Reason(); !ok || r != want {
		p.tb.Fatalf("session ended with %d, want %d", r, want)
	}
	_ = p.conn.Close()
}

func (p *peer) send(c Command, elements ...Element) {
	p.tb.Helper()
	b, err := Message{Command: c, SessionID: p.session, Elements: elements}.MarshalBinary()
	if err != nil {
		p.tb.Fatal(err)
	}
	p.write(b)
}

func (p *peer) write(b []byte) {
	p.tb.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.tb.Fatalf("write: %v", err)
	}
}

// hello takes AUTH_REQUEST and answers it.
func (p *peer) hello(version uint8, more ...Element) {
	p.tb.Helper()
	p.expect(AuthRequest)
	p.send(AuthResponse, append([]Element{
		reasonElement(ReasonUpdateCertificate), byteElement(TagVersion, version), textElement(TagDeviceName, []byte("SEP0000000000D1")),
	}, more...)...)
}
