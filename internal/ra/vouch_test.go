package ra_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"callsign/cmc"
	"callsign/est"
	"callsign/internal/ca"
	"callsign/internal/ca/local"
	"callsign/internal/enroll"
	"callsign/internal/ra"
	"callsign/internal/store"
)

var clock = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func readPEM(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "cmc", path))
	check(t, err)
	block, _ := pem.Decode(b)
	if block == nil {
		t.Fatalf("%s is no PEM", path)
	}
	return block.Bytes
}

func readCert(t testing.TB, path string) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(readPEM(t, path))
	check(t, err)
	return c
}

func readFixture(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "cmc", path))
	check(t, err)
	return b
}

// gate is an RA at the fixtures' time, without a network.
type gate struct {
	t      testing.TB
	ra     *ra.RA
	ca     *script
	engine *enroll.Engine
	memory *store.RAMemory
	anchor *x509.Certificate
	now    time.Time
}

func newGate(t testing.TB, edit func(*ra.Config)) *gate {
	t.Helper()
	g := &gate{t: t, now: clock, anchor: readCert(t, "certs/anchor-ra.pem")}
	now := func() time.Time { return g.now }
	root, err := local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Root"}, Now: now})
	check(t, err)
	authority, err := local.New(local.Config{Certificate: root.Certificate, Signer: root.Signer, Now: now})
	check(t, err)
	g.ca = &script{local: authority, name: "local"}
	dir, err := os.MkdirTemp("", "gate")
	check(t, err)
	db, err := store.Open(context.Background(), filepath.Join(dir, "db"), store.Options{Now: now})
	check(t, err)
	engine := &enroll.Engine{Journal: db.Journal(), Authorities: map[string]ca.Authority{"local": g.ca}, Now: now}
	t.Cleanup(func() {
		check(t, engine.Shutdown(context.Background()))
		check(t, db.Close())
		check(t, os.RemoveAll(dir))
	})
	key, err := x509.ParsePKCS8PrivateKey(readPEM(t, "keys/ra-responder.key.pem"))
	check(t, err)
	g.memory, g.engine = db.RAMemory(), engine
	c := ra.Config{
		Engine: engine, Labels: []ra.Label{{Authority: g.ca}, {Name: "two", Authority: g.ca}}, Now: now, AnswerWithin: patient,
		Vouching: &ra.Vouching{
			Anchors: []*x509.Certificate{g.anchor}, Memory: g.memory,
			Allow: []string{
				readCert(t, "certs/capf-ra-rsa.pem").Subject.String(), colons(readCert(t, "certs/capf-ra-p256.pem")),
				readCert(t, "certs/capf-ra-expired.pem").Subject.String(), readCert(t, "certs/client-not-ra.pem").Subject.String(),
				readCert(t, "certs/client-no-eku.pem").Subject.String(),
			},
			Responder: key.(crypto.Signer), ResponderChain: []*x509.Certificate{readCert(t, "certs/ra-responder.pem")},
		},
	}
	if edit != nil {
		edit(&c)
	}
	g.ra, err = ra.New(c)
	check(t, err)
	check(t, g.ra.Refresh(context.Background()))
	return g
}

func colons(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	var parts []string
	for _, b := range sum {
		parts = append(parts, strings.ToUpper(hex.EncodeToString([]byte{b})))
	}
	return strings.Join(parts, ":")
}

func (g *gate) send(body []byte) est.CMCReply {
	return g.ra.FullCMC(context.Background(), est.CMCRequest{Body: body, RequestID: "r"})
}

// response reads a reply and checks that our responder signed it.
func (g *gate) response(r est.CMCReply) *cmc.Response {
	g.t.Helper()
	m, err := cmc.Open(r.Body)
	check(g.t, err)
	if len(m.Signers) != 1 || m.Signers[0].Err != nil || m.Signers[0].Certificate == nil ||
		m.Signers[0].Certificate.Subject.CommonName != readCert(g.t, "certs/ra-responder.pem").Subject.CommonName {
		g.t.Fatalf("signers of the response: %+v", m.Signers)
	}
	resp, err := cmc.ParseResponse(r.Body)
	check(g.t, err)
	return resp
}

// issuedIn returns the phone's certificate in a response, nil when there is none.
func issuedIn(resp *cmc.Response) []byte {
	for _, c := range resp.Certificates {
		if strings.Contains(c.Subject.CommonName, "SEP") {
			return c.Raw
		}
	}
	return nil
}

func TestFixtures(t *testing.T) {
	t.Parallel()
	table, err := os.ReadFile("testdata/cmc/expected-requests.tsv")
	check(t, err)
	for line := range strings.Lines(string(table)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if f[0] == "file" {
			continue
		}
		t.Run(f[0], func(t *testing.T) {
			t.Parallel()
			g := newGate(t, nil)
			if f[0] == "bad/replayed-nonce.der" || f[0] == "bad/transaction-reused.der" {
				if r := g.send(readFixture(t, "req/vouched-rsa2048.der")); r.Status != 200 {
					t.Fatalf("first message: %d %s", r.Status, r.Code)
				}
			}
			r := g.send(readFixture(t, f[0]))
			resp := g.response(r)
			code, status, fail, list, http := f[1], f[2], f[3], f[4], f[5]
			if f[0] == "req/query-pending.der" { // a fresh server does not know the token
				code, status, fail, list, http = cmc.CodeTokenUnknown, "failed(2)", "badRequest(2)", "*", "400"
			}
			if strings.HasPrefix(code, "cmc.ok") {
				code, list = "", "1"
			}
			got := []string{r.Code, resp.Status.String(), resp.FailInfo.String(), ids(resp.BodyList), strconv.Itoa(r.Status)}
			if list == "*" {
				got[3] = "*"
			}
			if d := cmp.Diff([]string{code, status, fail, list, http}, got); d != "" {
				t.Errorf("verdict (-want +got):\n%s\ntext %q", d, resp.Text)
			}
			if _, issued := g.ca.counts(); (r.Status == 200 && issued != 1) || (r.Status != 200 && issued > 1) {
				t.Errorf("issued %d", issued)
			}
		})
	}
}

func ids(list []uint32) string {
	var s []string
	for _, id := range list {
		s = append(s, strconv.FormatUint(uint64(id), 10))
	}
	return strings.Join(s, ",")
}

func TestVouchedResponse(t *testing.T) {
	t.Parallel()
	g := newGate(t, nil)
	body := readFixture(t, "req/vouched-p256.der")
	r := g.send(body)
	resp := g.response(r)
	if r.Status != 200 || len(resp.Certificates) != 3 || len(resp.DataReturn) == 0 || resp.TransactionID == nil || len(resp.SenderNonce) != 16 {
		t.Fatalf("%d %+v", r.Status, resp)
	}
	// The same bytes again, even much later: the same certificate, and nobody is asked.
	g.now = g.now.Add(time.Hour)
	again := g.response(g.send(body))
	if issuedIn(resp) == nil || !bytes.Equal(issuedIn(again), issuedIn(resp)) {
		t.Error("a retransmission got another certificate")
	}
	if asked, _ := g.ca.counts(); asked != 1 {
		t.Errorf("the CA was asked %d times", asked)
	}
	if r := g.ra.FullCMC(t.Context(), est.CMCRequest{Body: body, Label: "two"}); r.Status != 400 {
		t.Errorf("the same bytes for another label: %d", r.Status)
	}
	if seen := g.ca.seen[0]; seen.Vouch != readCert(t, "certs/capf-ra-p256.pem").Subject.String() || seen.CSR != nil ||
		seen.Owner != "est:/voucher:"+seen.Vouch {
		t.Errorf("request to the CA: %+v", seen)
	}
}

// TestRenewedVoucher: a voucher's next certificate gets the same row, and the certificate that its first one asked for.
func TestRenewedVoucher(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).ready()
	renewed, err := w.root.NewLeaf(t.Context(), local.LeafOptions{Purpose: local.Voucher, CAOptions: local.CAOptions{Subject: w.voucher.Certificate.Subject}})
	check(t, err)
	spki, subject := newSPKI(t), pkix.Name{CommonName: "SEP001122334455"}
	ask := func(l *local.Leaf, id int64) []byte {
		csr, err := cmc.NullSigned(spki, subject, nil, cmc.RFC)
		check(t, err)
		req := cmc.Request{TransactionID: big.NewInt(id), CSR: csr, Witnessed: true}
		der, err := req.Sign(time.Now(), rand.Reader, l.Signer, []*x509.Certificate{l.Certificate})
		check(t, err)
		r := w.ra.FullCMC(t.Context(), est.CMCRequest{Body: der})
		if r.Status != 200 {
			t.Fatalf("%d %s", r.Status, r.Code)
		}
		resp, err := cmc.ParseResponse(r.Body)
		check(t, err)
		return issuedIn(resp)
	}
	first := ask(w.voucher, 1)
	for id := range int64(2) { // the same transaction, and another
		if again := ask(renewed, id+1); first == nil || !bytes.Equal(first, again) {
			t.Errorf("transaction %d: another certificate for the same key", id+1)
		}
	}
	if _, issued := w.ca.counts(); issued != 1 {
		t.Errorf("issued %d", issued)
	}
}

// compose makes a vouched request as CAPF does.
func compose(t testing.TB, now time.Time, id *big.Int, nonce, spki []byte, edit func(*cmc.Request)) []byte {
	t.Helper()
	key, err := x509.ParsePKCS8PrivateKey(readPEM(t, "keys/capf-ra-p256.key.pem"))
	check(t, err)
	subject, err := asn1.Marshal(pkix.Name{CommonName: "SEP001122334455"}.ToRDNSequence())
	check(t, err)
	req := cmc.Request{TransactionID: id, SenderNonce: nonce, Witnessed: true}
	if spki != nil {
		req.CSR, err = cmc.NullSignedRaw(spki, subject, nil, cmc.RFC)
		check(t, err)
	}
	if edit != nil {
		edit(&req)
	}
	der, err := req.Sign(now, rand.Reader, key.(crypto.Signer), []*x509.Certificate{readCert(t, "certs/capf-ra-p256.pem")})
	check(t, err)
	return der
}

func newSPKI(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(newKey(t).Public())
	check(t, err)
	return der
}

func TestPendingAndQuery(t *testing.T) {
	t.Parallel()
	g := newGate(t, nil)
	g.ca.behave(func(context.Context, ca.Request, ca.Ledger) (ca.Outcome, error) {
		return ca.Outcome{Status: ca.Pending, RequestID: "25", RetryAfter: 10 * time.Minute}, nil
	})
	id, spki := big.NewInt(7), newSPKI(t)
	body := compose(t, g.now, id, nil, spki, nil)
	r := g.send(body)
	resp := g.response(r)
	if r.Status != 202 || r.RetryAfter != 10*time.Minute || resp.Status != cmc.StatusPending || resp.Pending == nil ||
		!resp.Pending.Time.Equal(g.now.Add(10*time.Minute)) || !strings.Contains(resp.Text, "request 25") {
		t.Fatalf("%d %+v", r.Status, resp)
	}
	query := func(token []byte) est.CMCReply {
		return g.send(compose(t, g.now, id, nil, nil, func(q *cmc.Request) {
			q.PendToken, q.RecipientNonce, q.Witnessed = token, resp.SenderNonce, false
		}))
	}
	if r := query(resp.Pending.Token); r.Status != 202 {
		t.Errorf("query while pending: %d %s", r.Status, r.Code)
	}
	if r := query([]byte("00000000000000000000000000000000")); r.Code != cmc.CodeTokenUnknown {
		t.Errorf("query with another token: %d %s", r.Status, r.Code)
	}
	g.ca.behave(nil)
	g.now = g.now.Add(11 * time.Minute)
	if r := query(resp.Pending.Token); r.Status != 200 || issuedIn(g.response(r)) == nil {
		t.Errorf("query after approval: %d %s", r.Status, r.Code)
	}
	if r := g.send(body); r.Status != 200 {
		t.Errorf("the first bytes after approval: %d %s", r.Status, r.Code)
	}
	if _, issued := g.ca.counts(); issued != 1 {
		t.Errorf("issued %d", issued)
	}
}

// TestSupersededRow: a row that was replaced answers nobody for ever with 202: the same bytes begin anew, and a query is told
// to.
func TestSupersededRow(t *testing.T) {
	t.Parallel()
	g := newGate(t, nil)
	g.ca.behave(func(context.Context, ca.Request, ca.Ledger) (ca.Outcome, error) {
		return ca.Outcome{Status: ca.Pending, RequestID: "25", RetryAfter: time.Hour}, nil
	})
	id := big.NewInt(7)
	body := compose(t, g.now, id, nil, newSPKI(t), nil)
	first := g.response(g.send(body))
	if _, err := g.engine.Supersede(t.Context(), string(first.Pending.Token)); err != nil {
		t.Fatal(err)
	}
	query := compose(t, g.now, id, nil, nil, func(q *cmc.Request) {
		q.PendToken, q.RecipientNonce, q.Witnessed = first.Pending.Token, first.SenderNonce, false
	})
	if r := g.send(query); r.Status != 400 || r.Code != ra.CodeSuperseded {
		t.Errorf("query: %d %s", r.Status, r.Code)
	}
	g.ca.behave(nil)
	if r := g.send(body); r.Status != 200 || issuedIn(g.response(r)) == nil {
		t.Errorf("the same bytes: %d %s", r.Status, r.Code)
	}
}

// TestVoucherIsToldWhy: who vouches learns why the CA's chain is not known; who may not learns nothing of it.
func TestVoucherIsToldWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.ca.mu.Lock()
	w.ca.chain = func() ([]*x509.Certificate, error) {
		return nil, &ca.Error{ErrCode: "certsrv.cannot-connect", Detail: "port 443 of lab-dcc", Fix: "open it"}
	}
	w.ca.mu.Unlock()
	if err := w.ra.Refresh(t.Context()); err == nil {
		t.Fatal("the chain is known")
	}
	stranger, err := w.root.NewLeaf(t.Context(), local.LeafOptions{Purpose: local.Voucher, CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "x"}}})
	check(t, err)
	for _, l := range []*local.Leaf{w.voucher, stranger} {
		csr, err := cmc.NullSigned(newSPKI(t), pkix.Name{CommonName: "SEP001122334455"}, nil, cmc.RFC)
		check(t, err)
		req := cmc.Request{TransactionID: big.NewInt(1), CSR: csr, Witnessed: true}
		der, err := req.Sign(time.Now(), rand.Reader, l.Signer, []*x509.Certificate{l.Certificate})
		check(t, err)
		r := w.ra.FullCMC(t.Context(), est.CMCRequest{Body: der})
		resp, err := cmc.ParseResponse(r.Body)
		check(t, err)
		told := strings.Contains(resp.Text, "certsrv.cannot-connect") && strings.Contains(resp.Text, "lab-dcc")
		if mine := l == w.voucher; told != mine || mine != (r.Status == 503) || mine && (r.RetryAfter <= 0 || resp.TransactionID == nil) {
			t.Errorf("%s: %d %q", l.Certificate.Subject, r.Status, resp.Text)
		}
	}
}

func TestCAFailuresInCMC(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		err    error
		denial *ca.Error
		status int
		fail   cmc.FailInfo
		text   string
	}{
		{"down", &ca.Error{ErrCode: "certsrv.ca-unavailable", Detail: "no CA"}, nil, 503, cmc.TryLater, "no CA"},
		{"silent", &ca.Error{ErrCode: "certsrv.timeout", Detail: "no answer", Timeout: true}, nil, 504, cmc.TryLater, "no answer"},
		{"our fault", &ca.Error{ErrCode: "adcs.no-agent", Detail: "no agent", Final: true}, nil, 500, cmc.InternalCAError, "no agent"},
		{"denied", nil, &ca.Error{ErrCode: "certsrv.denied", Detail: "Denied by Policy Module 0x80094800", Final: true}, 403, cmc.BadRequest, "0x80094800"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, impatient)
			g.ca.behave(func(context.Context, ca.Request, ca.Ledger) (ca.Outcome, error) {
				if tt.denial != nil {
					return ca.Outcome{Status: ca.Denied, Denial: tt.denial}, nil //nolint:nilerr // err is a column of the table, not a failure here
				}
				return ca.Outcome{}, tt.err
			})
			r := g.send(compose(t, g.now, big.NewInt(1), nil, newSPKI(t), nil))
			resp := g.response(r)
			if r.Status != tt.status || resp.Status != cmc.StatusFailed || resp.FailInfo != tt.fail || !strings.Contains(resp.Text, tt.text) {
				t.Errorf("%d %+v", r.Status, resp)
			}
			if (r.Status >= 503) != (r.RetryAfter > 0) {
				t.Errorf("Retry-After %s with %d", r.RetryAfter, r.Status)
			}
		})
	}
}

func TestVoucherPolicy(t *testing.T) {
	t.Parallel()
	san := func(value ...byte) pkix.Extension {
		return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}
	}
	uri := func(s string) pkix.Extension {
		return san(append([]byte{0x30, byte(len(s) + 2), 0x86, byte(len(s))}, s...)...)
	}
	tests := []struct {
		name string
		cn   string
		exts []pkix.Extension
		code string
	}{
		{"phone", "SEP001122334455", nil, ""},
		{"model and phone", "CP-8865-SEP001122334455", []pkix.Extension{uri("SEP001122334455")}, ""},
		{"URI of the phone", "SEP001122334455", []pkix.Extension{uri("SEP001122334455")}, ""},
		{"URI of another phone", "SEP001122334455", []pkix.Extension{uri("SEP001122334456")}, ra.CodeNoSAN},
		{"DNS name", "SEP001122334455", []pkix.Extension{san(0x30, 3, 0x82, 1, 'a')}, ra.CodeNoSAN},
		{"principal name", "SEP001122334455", []pkix.Extension{san(0x30, 4, 0xa0, 2, 6, 0)}, ra.CodeNoSAN},
		{"CA certificate", "SEP001122334455", []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Value: []byte{0x30, 3, 1, 1, 0xff}}}, ra.CodeExtension},
		{"server", "cucm.example.test", nil, ra.CodeSubject},
		{"phone with a tail", "SEP001122334455.example.test", nil, ra.CodeSubject},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, nil)
			r := g.send(compose(t, g.now, big.NewInt(1), nil, newSPKI(t), func(q *cmc.Request) {
				m, err := x509.ParseCertificateRequest(q.CSR)
				check(t, err)
				subject, err := asn1.Marshal(pkix.Name{CommonName: tt.cn}.ToRDNSequence())
				check(t, err)
				q.CSR, err = cmc.NullSignedRaw(m.RawSubjectPublicKeyInfo, subject, tt.exts, cmc.RFC)
				check(t, err)
			}))
			if r.Code != tt.code || (tt.code == "") != (r.Status == 200) || (tt.code != "" && r.Status != 403) {
				t.Errorf("%d %s, want %q", r.Status, r.Code, tt.code)
			}
		})
	}
}

func TestNoVouching(t *testing.T) {
	t.Parallel()
	g := newGate(t, func(c *ra.Config) { c.Vouching = nil })
	r := g.send(readFixture(t, "req/vouched-rsa2048.der"))
	if r.Status != 403 || r.Code != ra.CodeVoucherOff || len(r.Body) == 0 {
		t.Errorf("%+v", r)
	}
	nobody := newGate(t, func(c *ra.Config) { c.Vouching.Allow = nil })
	if r := nobody.send(readFixture(t, "req/vouched-rsa2048.der")); r.Code != cmc.CodeNotRA {
		t.Errorf("an empty list let somebody in: %+v", r)
	}
}

// TestMessagesAgainstModel: random messages of few transactions, keys and nonces, some repeated byte for byte; a model says
// which are refused, and every key has one certificate for ever.
func TestMessagesAgainstModel(t *testing.T) {
	t.Parallel()
	g := newGate(t, nil)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		// One RA for all runs; each has keys, nonces and transactions of its own.
		run++
		_, before := g.ca.counts()
		keys := [][]byte{newSPKI(t), newSPKI(t), newSPKI(t)}
		var sent [][]byte
		nonces, transactions, certs := map[int]bool{}, map[int64]int{}, map[int][]byte{}
		first := map[string]int{} // bytes to the key they got a certificate for; -1 refused
		for range rapid.IntRange(1, 8).Draw(rt, "messages") {
			if len(sent) > 0 && rapid.Bool().Draw(rt, "again") {
				body := sent[rapid.IntRange(0, len(sent)-1).Draw(rt, "which")]
				r := g.send(body)
				if k := first[string(body)]; k >= 0 && (r.Status != 200 || !bytes.Equal(issuedIn(g.response(r)), certs[k])) {
					rt.Fatalf("retransmission: %d %s", r.Status, r.Code)
				} else if k < 0 && r.Status != 400 {
					rt.Fatalf("refused message repeated: %d %s", r.Status, r.Code)
				}
				continue
			}
			k, nonce, id := rapid.IntRange(0, 2).Draw(rt, "key"), rapid.IntRange(0, 5).Draw(rt, "nonce"), rapid.Int64Range(1, 4).Draw(rt, "transaction")
			body := compose(t, g.now, big.NewInt(int64(run)<<8|id), []byte(fmt.Sprintf("run %06d nonce %d", run, nonce)), keys[k], nil)
			want := ""
			if owner, used := transactions[id]; nonces[nonce] {
				want = cmc.CodeNonceReplayed
			} else if used && owner != k {
				want = cmc.CodeTransactionReused
			}
			r := g.send(body)
			if r.Code != want {
				rt.Fatalf("key %d nonce %d transaction %d: %d %q, want %q", k, nonce, id, r.Status, r.Code, want)
			}
			sent = append(sent, body)
			first[string(body)] = -1
			if want != "" {
				continue
			}
			nonces[nonce], transactions[id], first[string(body)] = true, k, k
			cert := issuedIn(g.response(r))
			if certs[k] == nil {
				certs[k] = cert
			}
			if cert == nil || !bytes.Equal(certs[k], cert) {
				rt.Fatal("one key has two certificates")
			}
		}
		if _, issued := g.ca.counts(); issued-before != len(certs) {
			rt.Fatalf("issued %d for %d keys", issued, len(certs))
		}
	})
}

func TestMemory(t *testing.T) {
	t.Parallel()
	g := newGate(t, nil)
	ctx, m := t.Context(), g.memory
	one := ra.Message{Digest: [32]byte{1}, Signer: [32]byte{9}, Nonce: []byte("nonce1"), Transaction: []byte{7}, Request: [32]byte{5}, Label: "l", Time: clock}
	check(t, m.Remember(ctx, one))
	check(t, m.Remember(ctx, one)) // the same message again changes nothing
	with := func(edit func(*ra.Message)) ra.Message { c := one; edit(&c); return c }
	tests := []struct {
		name string
		m    ra.Message
		want error
	}{
		{"same nonce, other bytes", with(func(c *ra.Message) { c.Digest[0] = 2 }), ra.ErrNonceReplayed},
		{"same nonce of another signer", with(func(c *ra.Message) { c.Digest[0], c.Signer[0] = 3, 8 }), nil},
		{"same transaction, other request", with(func(c *ra.Message) { c.Digest[0], c.Nonce, c.Request[0] = 4, []byte("n4"), 6 }), ra.ErrTransactionReused},
		{"same transaction, same request", with(func(c *ra.Message) { c.Digest[0], c.Nonce = 5, []byte("n5") }), nil},
		{"query of the transaction", with(func(c *ra.Message) { c.Digest[0], c.Nonce, c.Request = 6, []byte("n6"), [32]byte{} }), nil},
	}
	for _, tt := range tests {
		if err := m.Remember(ctx, tt.m); err != tt.want { //nolint:errorlint // exactly this value is the contract
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	check(t, m.Bind(ctx, one.Digest, "row"))
	got, ok, err := m.Find(ctx, one.Digest)
	check(t, err)
	one.Enrolment = "row"
	if d := cmp.Diff(one, got); d != "" || !ok {
		t.Errorf("Find (-want +got):\n%s", d)
	}
	mine, err := m.VouchedBy(ctx, one.Signer, "row")
	check(t, err)
	foreign, err := m.VouchedBy(ctx, [32]byte{8}, "row")
	check(t, err)
	empty, err := m.VouchedBy(ctx, one.Signer, "")
	check(t, err)
	if !mine || foreign || empty {
		t.Errorf("VouchedBy: mine %v, another's %v, empty %v", mine, foreign, empty)
	}
	n, err := m.Prune(ctx, clock.Add(time.Second))
	check(t, err)
	if _, ok, err := m.Find(ctx, one.Digest); n != 4 || ok || err != nil {
		t.Errorf("pruned %d, still there %v, %v", n, ok, err)
	}
}
