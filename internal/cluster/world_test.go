package cluster_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"callsign/internal/cluster"
	"callsign/internal/cluster/upload"
	"callsign/internal/store"
)

// failer is what helpers need of a test, also of one of rapid's.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

var epoch = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// authority is a CA of the tests.
type authority struct {
	x   *x509.Certificate
	key crypto.Signer
}

// pki is a root with an intermediate CA, and a CA that nobody trusts. The keys are made once.
var pki = sync.OnceValue(func() (p struct{ root, issuing, foreign authority }) {
	must := func(a authority, err error) authority {
		if err != nil {
			panic(err)
		}
		return a
	}
	p.root = must(newAuthority("Test Root CA", nil, epoch.AddDate(-2, 0, 0)))
	p.issuing = must(newAuthority("Test Issuing CA", &p.root, epoch.AddDate(-1, 0, 0)))
	p.foreign = must(newAuthority("Foreign CA", nil, epoch.AddDate(-1, 0, 0)))
	return p
})

func newAuthority(name string, issuer *authority, from time.Time) (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return authority{}, err
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{"Example"}}, NotBefore: from, NotAfter: from.AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	parent, by := c, crypto.Signer(key)
	if issuer != nil {
		parent, by = issuer.x, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err != nil {
		return authority{}, err
	}
	x, err := x509.ParseCertificate(der)
	return authority{x, key}, err
}

// sign makes the certificate that a request asks for; change may alter it.
func (a *authority) sign(t failer, csr []byte, from time.Time, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	q, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.CheckSignature(); err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, RawSubject: q.RawSubject, NotBefore: from.Add(-time.Minute), NotAfter: from.AddDate(2, 0, 0),
		DNSNames: q.DNSNames, IPAddresses: q.IPAddresses,
	}
	for _, e := range q.Extensions {
		if !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			c.ExtraExtensions = append(c.ExtraExtensions, e)
		}
	}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.x, q.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	x, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// file is what somebody uploads.
func file(certs ...*x509.Certificate) *upload.File {
	var all bytes.Buffer
	for _, c := range certs {
		_ = pem.Encode(&all, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a buffer takes everything
	}
	return upload.Read(all.Bytes())
}

// world is a cluster with its store on disk.
type world struct {
	*cluster.Service
	t       failer
	path    string
	store   *store.Store
	clock   time.Time
	crashes int
}

func describe(t failer) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Load("testdata/cluster.json")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newWorld(t failer, dir string) *world {
	t.Helper()
	w := &world{t: t, path: filepath.Join(dir, "callsign.db"), clock: epoch}
	w.Service = &cluster.Service{Cluster: describe(t), Now: func() time.Time { return w.clock }, Actor: "tester"}
	w.open()
	return w
}

// world returns a new world for one test.
func testWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, t.TempDir())
	t.Cleanup(func() { _ = w.store.Close() })
	return w
}

func (w *world) open() {
	w.t.Helper()
	s, err := store.Open(context.Background(), w.path, store.Options{Now: func() time.Time { return w.clock }})
	if err != nil {
		w.t.Fatal(err)
	}
	w.store = s
	w.Service.Store = s.Clusters()
}

// restart closes the store and opens it again.
func (w *world) restart() {
	w.t.Helper()
	if err := w.store.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
}

// crash goes on with what is on disk at this moment, as after a power failure.
func (w *world) crash() {
	w.t.Helper()
	w.crashes++
	dir := filepath.Join(filepath.Dir(w.path), "after"+string(rune('a'+w.crashes%26)))
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		w.t.Fatal(err)
	}
	to := filepath.Join(dir, "callsign.db")
	for _, suffix := range []string{"", "-wal"} {
		if err := copyFile(w.path+suffix, to+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			w.t.Fatal(err)
		}
	}
	if err := w.store.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.path = to
	w.open()
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// view reads the cluster.
func (w *world) view(do func(cluster.Reader) error) {
	w.t.Helper()
	if err := w.Service.Store.View(context.Background(), w.Cluster.Name, do); err != nil {
		w.t.Fatal(err)
	}
}

// trustNames are the common names in a store, sorted.
func (w *world) trustNames(name string) []string {
	w.t.Helper()
	var names []string
	w.view(func(r cluster.Reader) error {
		all, err := r.TrustList(context.Background(), name)
		for i := range all {
			names = append(names, all[i].CommonName)
		}
		return err
	})
	slices.Sort(names)
	return names
}

// problemCode is the code of a problem; empty for another error.
func problemCode(err error) string {
	if p, ok := errors.AsType[*cluster.Problem](err); ok {
		return p.Code()
	}
	return ""
}

// create makes a request with a short EC key.
func (w *world) create(f cluster.Fields) *cluster.Created {
	w.t.Helper()
	f.Key.Bits = 256
	c, err := w.CreateRequest(context.Background(), w.plan(f))
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// plan plans a request.
func (w *world) plan(f cluster.Fields) *cluster.RequestPlan {
	w.t.Helper()
	plan, err := w.PlanRequest(context.Background(), f)
	if err != nil {
		w.t.Fatal(err)
	}
	return plan
}

// regen makes a self-signed certificate.
func (w *world) regen(f cluster.Fields) *cluster.Regenerated {
	w.t.Helper()
	plan, err := w.PlanRegenerate(context.Background(), f)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := w.Regenerate(context.Background(), plan)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// put uploads a file and expects a verdict.
func (w *world) put(u cluster.Upload, want upload.Verdict, code upload.Code) *cluster.Outcome {
	w.t.Helper()
	o, err := w.Upload(context.Background(), u)
	if err != nil {
		w.t.Fatal(err)
	}
	if o.Verdict != want || o.Code != code {
		w.t.Fatalf("upload of %s on %q: %s %s %q, want %s %s; %+v", u.Purpose, u.Node, o.Verdict, o.Code, o.Message, want, code, o.Reasons)
	}
	return o
}

// selfSignedAs makes a self-signed certificate of a template.
func selfSignedAs(t failer, c *x509.Certificate, key crypto.Signer) *x509.Certificate {
	t.Helper()
	c.RawSubject, c.Raw = nil, nil
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	x, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return x
}
