package store

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"callsign/internal/ca"
	"callsign/internal/enroll"
)

// signers counts for whom it signs.
type signers struct {
	private bool
	cert    []byte
	mu      sync.Mutex
	signed  map[string]int // by owner
}

func (*signers) Name() string                                       { return "ca" }
func (*signers) Chain(context.Context) ([]*x509.Certificate, error) { return nil, nil }
func (s *signers) Private() bool                                    { return s.private }

func (s *signers) Issue(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
	if !s.private {
		if err := l.Record(ctx, ca.Progress{Submitted: true}); err != nil {
			return ca.Outcome{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signed[r.Owner]++
	return ca.Outcome{Status: ca.Issued, Certificate: s.cert}, nil
}

// TestDecisionsOfTwoProcesses decides on held requests through one store in every way at the same time, while a server works
// on another store of the same file and clients go on asking: nothing is signed that nobody approved, and no write is lost to a lock.
func TestDecisionsOfTwoProcesses(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	for _, private := range []bool{false, true} {
		t.Run(fmt.Sprintf("private=%v", private), func(t *testing.T) {
			t.Parallel()
			decideByTwo(t, &signers{private: private, cert: cert, signed: map[string]int{}}, spki)
		})
	}
}

func decideByTwo(t *testing.T, authority *signers, spki []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "callsign.db")
	server := &enroll.Engine{
		Journal: openAt(t, path, Options{}).Journal(), Interval: 20 * time.Millisecond, Authorities: map[string]ca.Authority{"ca": authority},
	}
	command := &enroll.Engine{Journal: openAt(t, path, Options{}).Journal()}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()

	var calls sync.WaitGroup
	do := func(what string, call func() error) {
		calls.Go(func() {
			if err := call(); err != nil && !errors.Is(err, enroll.ErrState) {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	const clients = 60
	for n := range clients {
		r := enroll.Request{Authority: "ca", Owner: fmt.Sprintf("est:/%d", n), PublicKey: spki, Subject: []byte{0x30, 0}, CSR: []byte("csr"), Hold: true}
		row, err := server.Enroll(ctx, r)
		if err != nil || row.State != enroll.Held {
			t.Fatalf("%s, %v, want a held request", row.State, err)
		}
		if n%4 > 0 {
			do("approve", func() error { _, err := command.Approve(ctx, row.ID, enroll.Decision{By: "a"}); return err })
		}
		if n%4 < 3 {
			do("deny", func() error { _, err := command.Deny(ctx, row.ID, enroll.Decision{By: "b"}); return err })
		}
		if n%3 == 0 {
			do("supersede", func() error { _, err := server.Supersede(ctx, row.ID); return err })
		}
		if n%5 == 0 {
			do("cancel", func() error { _, err := server.Cancel(ctx, row.ID, enroll.Failure{}); return err })
		}
		do("enroll", func() error { _, err := server.Enroll(ctx, r); return err })
	}
	calls.Wait()
	waitFor(t, "the sweep, which takes up what was approved last", func() bool {
		rows, _, err := command.Find(t.Context(), enroll.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(rows, func(row enroll.Enrolment) bool { return row.State.Open() })
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}

	rows, _, err := command.Find(t.Context(), enroll.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	approved := map[string]bool{}
	for _, row := range rows {
		yes := row.Decision != nil && row.Decision.Approved
		approved[row.Owner] = approved[row.Owner] || yes
		if len(row.Certificate) > 0 && !yes {
			t.Errorf("row %s of %s is %s with a certificate, and its decision is %+v", row.ID, row.Owner, row.State, row.Decision)
		}
		if row.State.Open() {
			t.Errorf("row %s of %s is still %s", row.ID, row.Owner, row.State)
		}
	}
	for owner, n := range authority.signed {
		if !approved[owner] {
			t.Errorf("signed %d times for %s, and nobody approved it", n, owner)
		}
	}
	if len(authority.signed) == 0 {
		t.Error("nothing was signed, so nothing was tested")
	}
}
