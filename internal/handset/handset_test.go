package handset

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"callsign/capf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a CAPF server with a CA, whose phones are what its fields say.
type world struct {
	cert    *x509.Certificate
	key     crypto.Signer
	address string

	mu      sync.Mutex
	task    capf.Task
	refuse  func(capf.Caller) error // Open's error
	late    int                     // so many calls of Issue are not ready
	spkis   [][]byte                // offered keys in order
	reasons []capf.Reason           // of Stored, Deleted
	shown   int
	fetched []capf.Reason // of Fetched
	callers []capf.Caller
	aborted []error
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, &capf.Server{})
}

// newWorldWith is newWorld with a server that has its limits set.
func newWorldWith(t *testing.T, s *capf.Server) *world {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CAPF-test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{key: key, task: capf.Task{Operation: capf.OperationInstall, Keys: []capf.KeySpec{{Type: capf.KeyEC, Bits: 256}}}}
	if w.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	s.Service = w
	transport := capf.Transport{TLS: &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address = l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.WithoutCancel(t.Context()), l, transport) }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		<-done
	})
	return w
}

func (w *world) Open(_ context.Context, c capf.Caller) (capf.Session, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.callers = append(w.callers, c)
	if w.refuse != nil {
		if err := w.refuse(c); err != nil {
			return nil, err
		}
	}
	return &worldSession{world: w, device: c.Device, task: w.task}, nil
}

type worldSession struct {
	*world
	device string
	task   capf.Task
}

func (s *worldSession) Task() capf.Task { return s.task }

func (s *worldSession) Issue(_ context.Context, spki []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spkis = append(s.spkis, spki)
	if s.late > 0 {
		s.late--
		return nil, capf.ErrNotReady
	}
	return s.sign(s.device, spki)
}

func (w *world) sign(name string, spki []byte) ([]byte, error) {
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
	}, w.cert, pub, w.key)
}

func (s *worldSession) answered(r capf.Reason) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reasons = append(s.reasons, r)
	return nil
}

func (s *worldSession) Stored(_ context.Context, _ []byte, r capf.Reason) error { return s.answered(r) }

func (s *worldSession) Deleted(_ context.Context, r capf.Reason) error { return s.answered(r) }

func (s *worldSession) Abort(_ context.Context, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aborted = append(s.aborted, cause)
}

func (s *worldSession) Fetched(_ context.Context, certs []capf.CertificateEntry, r capf.Reason) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetched = append(s.fetched, r)
	s.shown = len(certs)
	return nil
}

// pair checks that the phone's files hold a certificate and its key, and that only the owner reads the key.
func pair(t *testing.T, r Result) tls.Certificate {
	t.Helper()
	c, err := tls.LoadX509KeyPair(r.CertificatePath, r.KeyPath)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(r.KeyPath)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
	return c
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestPhoneLife enrolls, renews, shows and deletes with files.
func TestPhoneLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "phones")
	call := func() (Result, error) {
		p := &Phone{Name: "SEP0000000000D1", Server: w.address, Dir: dir}
		return p.Enroll(t.Context())
	}
	first, err := call()
	if err != nil || first.Calls != 1 || first.Certificate.Subject.CommonName != "SEP0000000000D1" {
		t.Fatalf("%+v, %v", first, err)
	}
	old := pair(t, first)

	// A renewal that is not ready keeps the LSC in use and the new key beside it.
	w.late = 1
	if _, err := call(); err == nil {
		t.Fatal("not ready, and no error")
	}
	if diff := cmp.Diff([]string{"SEP0000000000D1.key", "SEP0000000000D1.new.key", "SEP0000000000D1.pem"}, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if !old.Leaf.Equal(pair(t, first).Leaf) {
		t.Error("the LSC changed")
	}
	second, err := call()
	if err != nil {
		t.Fatal(err)
	}
	if pair(t, second).Leaf.Equal(old.Leaf) {
		t.Error("the LSC did not change")
	}
	if string(w.spkis[1]) != string(w.spkis[2]) || string(w.spkis[0]) == string(w.spkis[1]) {
		t.Error("the renewal did not keep its key, or took the old one")
	}
	if diff := cmp.Diff([]string{"SEP0000000000D1.key", "SEP0000000000D1.pem"}, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}

	w.task = capf.Task{Operation: capf.OperationTroubleshoot}
	if r, err := call(); err != nil || r.Shown != 1 || w.shown != 1 {
		t.Errorf("fetch: %+v, %v", r, err)
	}
	w.task = capf.Task{Operation: capf.OperationDelete}
	if r, err := call(); err != nil || !r.Deleted {
		t.Errorf("delete: %+v, %v", r, err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("files left: %v", got)
	}
	if r, err := call(); err != nil || r.Deleted {
		t.Errorf("second delete: %+v, %v", r, err)
	}
	if diff := cmp.Diff([]capf.Reason{1, 1, 1, 7}, w.reasons); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	w.task = capf.Task{}
	if r, err := call(); err != nil || r.Operation != capf.OperationNone || r.Certificate != nil {
		t.Errorf("nothing pending: %+v, %v", r, err)
	}
}

// TestKeptKeyAndOffer shows a phone that was told "not ready", came back as a new process, and takes the finished
// certificate without a key request.
func TestKeptKeyAndOffer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.late = 1
	dir := t.TempDir()
	p := &Phone{Name: "SEP0000000000D1", Server: w.address, Dir: dir}
	if _, err := p.Enroll(t.Context()); err == nil {
		t.Fatal("not ready, and no error")
	}
	der, err := w.sign("SEP0000000000D1", w.spkis[0])
	if err != nil {
		t.Fatal(err)
	}
	w.task.Offer = der
	p = &Phone{Name: "SEP0000000000D1", Server: w.address, Dir: dir}
	r, err := p.Enroll(t.Context())
	if err != nil || string(r.Certificate.Raw) != string(der) || len(w.spkis) != 1 {
		t.Fatalf("%+v, %v, %d keys", r, err, len(w.spkis))
	}
	pair(t, r)
}

// TestRetry calls again after "not ready" and after a server that is away, and not after a wrong string.
func TestRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.late = 2
	p := &Phone{Name: "SEP0000000000D1", Server: w.address, Retries: 3, RetryInterval: time.Millisecond}
	r, err := p.Enroll(t.Context())
	if err != nil || r.Calls != 3 || r.Certificate == nil {
		t.Errorf("not ready twice: %+v, %v", r, err)
	}
	if string(w.spkis[0]) != string(w.spkis[2]) {
		t.Error("another key was offered")
	}
	w.late = 9
	p = &Phone{Name: "SEP0000000000D1", Server: w.address, Retries: 3, RetryInterval: time.Millisecond}
	if r, err := p.Enroll(t.Context()); err == nil || r.Calls != 4 {
		t.Errorf("never ready: %+v, %v", r, err)
	}

	w.refuse = func(c capf.Caller) error {
		if string(c.String) != "1234" || c.Version != 2 {
			return &capf.Refusal{Reason: capf.ReasonInvalidElement, Result: capf.ResultInvalidAuthString}
		}
		return nil
	}
	p = &Phone{Name: "SEP0000000000D1", Server: w.address, String: capf.Secret("4321"), Version: 2, Retries: 3, RetryInterval: time.Millisecond}
	r, err = p.Enroll(t.Context())
	e, ok := errors.AsType[*capf.EndError](err)
	if !ok || e.Reason != capf.ReasonInvalidElement || r.Calls != 1 {
		t.Errorf("wrong string: %+v, %v", r, err)
	}

	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	p = &Phone{Name: "SEP0000000000D1", Server: address, Retries: 2, RetryInterval: time.Millisecond}
	if r, err := p.Enroll(t.Context()); err == nil || r.Calls != 3 {
		t.Errorf("server away: %+v, %v", r, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	p.RetryInterval = time.Hour
	if r, err := p.Enroll(ctx); err == nil || r.Calls != 1 {
		t.Errorf("cancelled while it waits: %+v, %v", r, err)
	}
}

// TestStubbornKey makes another key than was asked for.
func TestStubbornKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := &Phone{Name: "SEP0000000000D1", Server: w.address, Key: capf.KeySpec{Type: capf.KeyEC, Bits: 384}}
	if _, err := p.Enroll(t.Context()); err == nil {
		t.Error("another key than was asked for was taken")
	}
	w.task.AcceptOtherKey = true
	r, err := p.Enroll(t.Context())
	if err != nil || r.Key != p.Key {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestTLSConfig trusts the CAPF certificate itself or its CA, and nobody else.
func TestTLSConfig(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t), newWorld(t)
	w.task, other.task = capf.Task{}, capf.Task{}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := TLSConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&Phone{Name: "SEP1", Server: w.address, TLS: config}).Enroll(t.Context()); err != nil {
		t.Errorf("trusted server: %v", err)
	}
	_, err = (&Phone{Name: "SEP1", Server: other.address, TLS: config}).Enroll(t.Context())
	if p, ok := errors.AsType[*capf.ProtocolError](err); !ok || p.Code() != capf.CodeHandshakeFailed {
		t.Errorf("foreign server: %v", err)
	}
	open, err := TLSConfig("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&Phone{Name: "SEP1", Server: other.address, TLS: open}).Enroll(t.Context()); err != nil {
		t.Errorf("unchecked server: %v", err)
	}

	// A server below the CA: only its chain can be checked.
	key, err := capf.GenerateKey(capf.KeySpec{Type: capf.KeyEC, Bits: 256})
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	der, err := w.sign("capf", spki)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		shown, anchors []*x509.Certificate
		want           string // what is to be done; empty for trusted
	}{
		"issued by the anchor": {[]*x509.Certificate{leaf}, []*x509.Certificate{w.cert}, ""},
		"chain shown":          {[]*x509.Certificate{leaf, w.cert}, []*x509.Certificate{w.cert}, ""},
		"pinned":               {[]*x509.Certificate{leaf}, []*x509.Certificate{leaf}, ""},
		"foreign CA":           {[]*x509.Certificate{leaf, w.cert}, []*x509.Certificate{other.cert}, "into anchors.pem"},
		"nothing shown":        {nil, []*x509.Certificate{w.cert}, "configure a certificate on the peer"},
	} {
		err := trusts(tt.anchors, "anchors.pem")(tls.ConnectionState{PeerCertificates: tt.shown})
		told, ok := errors.AsType[interface {
			error
			Remedy() string
		}](err)
		if (err == nil) != (tt.want == "") || ok && !strings.Contains(told.Remedy(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{empty, filepath.Join(t.TempDir(), "missing.pem")} {
		if _, err := TLSConfig(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestVaultMends finishes a renewal that was interrupted between its two files.
func TestVaultMends(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	r, err := (&Phone{Name: "SEP1", Server: w.address, Dir: dir}).Enroll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v, err := OpenVault(dir, "SEP1", nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := v.Key(t.Context(), capf.KeySpec{Type: capf.KeyEC, Bits: 256})
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	der, err := w.sign("SEP1", spki)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(v.CertificatePath(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenVault(dir, "SEP1", nil); err != nil {
		t.Fatal(err)
	}
	if got := pair(t, r); string(got.Leaf.Raw) != string(der) {
		t.Error("the renewal was not finished")
	}
	// A key of another kind than the unfinished one replaces it; the LSC stays.
	if _, err := v.Key(t.Context(), capf.KeySpec{Type: capf.KeyEC, Bits: 384}); err != nil {
		t.Fatal(err)
	}
	other, err := v.Key(t.Context(), capf.KeySpec{Type: capf.KeyEC, Bits: 521})
	if err != nil || !v.Holds(t.Context(), other.Public()) || !v.Holds(t.Context(), key.Public()) {
		t.Errorf("keys of the vault: %v", err)
	}
	if err := v.Store(t.Context(), w.cert.Raw); err == nil {
		t.Error("a certificate for a foreign key was stored")
	}
	for _, name := range []string{"", "..", "../SEP1", "a/b"} {
		if _, err := OpenVault(dir, name, nil); err == nil {
			t.Errorf("the name %q was accepted", name)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	got, err := Names("SEP0000000000FE", 3)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"SEP0000000000FE", "SEP0000000000FF", "SEP000000000100"}, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if got, err := Names("", 1); err != nil || got[0] != DefaultFirst {
		t.Errorf("default: %v, %v", got, err)
	}
	if got, err := Names("SEPFFFFFFFFFFFF", 1); err != nil || got[0] != "SEPFFFFFFFFFFFF" {
		t.Errorf("last: %v, %v", got, err)
	}
	for _, bad := range []string{"SEP", "000000000000", "SEP00000000000G", "SEP+00000000000"} {
		if got, err := Names(bad, 1); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
	if _, err := Names("SEPFFFFFFFFFFFF", 2); err == nil {
		t.Error("names run over")
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.refuse = func(c capf.Caller) error {
		if c.Device == "SEP000000000003" {
			return &capf.Refusal{Reason: capf.ReasonUnknownDevice, Result: capf.ResultFail}
		}
		return nil
	}
	var seen []string
	report, err := Load(t.Context(), LoadConfig{
		Server: w.address, Count: 12, Concurrency: 4, Key: capf.KeySpec{Type: capf.KeyEC, Bits: 256},
		Progress: func(p Progress) { seen = append(seen, fmt.Sprintf("%s %d/%d %d", p.Stage, p.Done, p.Total, p.Failed)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Count != 12 || report.OK != 11 || report.Failed != 1 || report.FailedByReason["capf.unknown-device:9"] != 1 {
		t.Errorf("%+v", report)
	}
	if diff := cmp.Diff([]string{"SEP000000000003"}, report.FailedNames); diff != "" {
		t.Errorf("failed names (-want +got):\n%s", diff)
	}
	if report.Rate <= 0 || report.P50Seconds <= 0 || report.P99Seconds < report.P50Seconds || report.MaxSeconds < report.P99Seconds {
		t.Errorf("times: %+v", report)
	}
	if len(seen) != 24 || seen[11] != "keys 12/12 0" || seen[23] != "calls 12/12 1" {
		t.Errorf("progress: %v", seen)
	}

	w.task = capf.Task{}
	report, err = Load(t.Context(), LoadConfig{Server: w.address, Count: 2, Key: capf.KeySpec{Type: capf.KeyEC, Bits: 256}})
	if err != nil || report.FailedByReason[NothingToDo] != 2 || report.Failed != 2 || report.OK != 0 {
		t.Errorf("nothing to do: %+v, %v", report, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Load(ctx, LoadConfig{Server: w.address, Count: 2}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := Load(t.Context(), LoadConfig{Server: w.address}); err == nil {
		t.Error("a load without phones")
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	times := make([]time.Duration, 200)
	for i := range times {
		times[i] = time.Duration(i+1) * time.Second
	}
	for share, want := range map[float64]float64{0.5: 100, 0.99: 198, 1: 200, 0: 1} {
		if got := percentile(times, share); got != want {
			t.Errorf("%v: %v, want %v", share, got, want)
		}
	}
	if percentile(nil, 0.5) != 0 {
		t.Error("a percentile of nothing")
	}
}
