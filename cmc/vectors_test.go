package cmc

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is the moment at which the vectors were made.
func clock() time.Time { return time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC) }

// load returns a file of testdata.
func load(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// loadCert returns testdata/certs/NAME.pem.
func loadCert(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(load(t, "certs/"+name+".pem"))
	if block == nil {
		t.Fatalf("certs/%s.pem is no PEM", name)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// loadKey returns testdata/keys/NAME.key.pem.
func loadKey(t testing.TB, name string) crypto.Signer {
	t.Helper()
	block, _ := pem.Decode(load(t, "keys/"+name+".key.pem"))
	if block == nil {
		t.Fatalf("keys/%s.key.pem is no PEM", name)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return k.(crypto.Signer)
}

// pool returns a pool of the named certificates.
func pool(t testing.TB, names ...string) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	for _, n := range names {
		p.AddCert(loadCert(t, n))
	}
	return p
}

// table returns the rows of a TSV file by column name.
func table(t testing.TB, name string) []map[string]string {
	t.Helper()
	lines := strings.Split(strings.TrimRight(string(load(t, name)), "\n"), "\n")
	head := strings.Split(lines[0], "\t")
	var rows []map[string]string
	for _, l := range lines[1:] {
		row := make(map[string]string)
		for i, v := range strings.Split(l, "\t") {
			row[head[i]] = v
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		t.Fatalf("%s has no rows", name)
	}
	return rows
}

// notebook is a Memory for tests: it holds what was recorded.
type notebook struct {
	mu           sync.Mutex
	nonces       map[string]bool
	transactions map[string][]byte
	tokens       map[string]bool
	err          error
}

func (n *notebook) Replayed(_ context.Context, signer, nonce []byte) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nonces[string(signer)+string(nonce)], n.err
}

func (n *notebook) TransactionUsed(_ context.Context, id *big.Int, csr []byte) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	had, ok := n.transactions[id.String()]
	return ok && !bytes.Equal(had, csr), n.err
}

func (n *notebook) TokenKnown(_ context.Context, signer, token []byte) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tokens[string(signer)+string(token)], n.err
}

// record writes down a request that passed.
func (n *notebook) record(v *Verified) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nonces[string(v.Voucher.RawSubjectPublicKeyInfo)+string(v.SenderNonce)] = true
	n.transactions[v.TransactionID.String()] = v.CSR
}

// newNotebook returns a Memory that knows the pending token of the vectors.
func newNotebook(t testing.TB) *notebook {
	t.Helper()
	return &notebook{
		nonces: make(map[string]bool), transactions: make(map[string][]byte),
		tokens: map[string]bool{string(loadCert(t, "capf-ra-rsa").RawSubjectPublicKeyInfo) + "enrolment-7f3a9c": true},
	}
}

// phoneName is the subject that the vectors' policy allows.
var phoneName = regexp.MustCompile(`^SEP[0-9A-F]{12}$`)

// newVerifier returns the server that the vectors assume.
func newVerifier(t testing.TB) (*Verifier, *notebook) {
	t.Helper()
	n := newNotebook(t)
	return &Verifier{
		Anchors: pool(t, "anchor-ra"),
		Allowed: func(*x509.Certificate) bool { return true },
		Now:     clock,
		Memory:  n,
		Policy: func(csr *x509.CertificateRequest, _ *x509.Certificate) *Problem {
			if !phoneName.MatchString(csr.Subject.CommonName) {
				return Deny(CodeSubjectDenied, BadRequest, "not a phone: "+csr.Subject.String(), "")
			}
			return nil
		},
	}, n
}
