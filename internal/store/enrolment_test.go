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
	"strings"
	"sync"
	"testing"
	"time"

	"callsign/internal/ca"
	"callsign/internal/enroll"
	"callsign/internal/enroll/enrolltest"
	"callsign/internal/fleet"
)

func TestJournal(t *testing.T) {
	t.Parallel()
	enrolltest.RunJournal(t, func(t *testing.T) enroll.Journal { return open(t).Journal() })
}

func openRow(t *testing.T, s *Store, n int, state enroll.State) enroll.Enrolment {
	t.Helper()
	now := time.UnixMilli(1_795_000_000_123).UTC()
	row, _, err := s.Journal().Open(t.Context(), enroll.Enrolment{
		ID:      fmt.Sprintf("%032x", n),
		Request: enroll.Request{Authority: "local", Owner: "phone:SEP001122334455", PublicKey: []byte{byte(n)}},
		State:   enroll.Requested, Created: now, Updated: now, NextAttempt: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	if state == enroll.Requested {
		return row
	}
	row.State = state
	if row, err = s.Journal().Update(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	return row
}

// TestConfirmInTransaction confirms a row together with another write, and both go or none.
func TestConfirmInTransaction(t *testing.T) {
	t.Parallel()
	s := marks(t, open(t))
	now := time.UnixMilli(1_795_000_001_000).UTC()
	confirm := func(id, name string) error {
		return s.write(t.Context(), func(ctx context.Context, tx *tx) error {
			if err := insertMark(name)(ctx, tx); err != nil {
				return err
			}
			return confirmEnrolment(ctx, tx, id, now)
		})
	}
	for i, c := range []struct {
		state enroll.State
		err   error
	}{
		{enroll.Issued, nil}, {enroll.Confirmed, nil}, {enroll.Requested, enroll.ErrState}, {enroll.Stale, enroll.ErrState}, {enroll.Failed, enroll.ErrState},
	} {
		row := openRow(t, s, i+1, c.state)
		name := string(c.state)
		if err := confirm(row.ID, name); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.state, err, c.err)
		}
		got, err := s.Journal().Get(t.Context(), row.ID)
		if err != nil {
			t.Fatal(err)
		}
		want := row
		if c.state == enroll.Issued {
			want.State, want.Updated, want.Version = enroll.Confirmed, now, row.Version+1
		}
		if got.State != want.State || !got.Updated.Equal(want.Updated) || got.Version != want.Version {
			t.Errorf("%s: row is %s, %v, version %d; want %s, %v, %d", c.state, got.State, got.Updated, got.Version, want.State, want.Updated, want.Version)
		}
		if written := markNames(t, s)[name]; written != (c.err == nil) {
			t.Errorf("%s: the other write is there: %v", c.state, written)
		}
	}
	if err := confirm(strings.Repeat("f", 32), "absent"); !errors.Is(err, enroll.ErrNotFound) {
		t.Errorf("unknown row: %v, want ErrNotFound", err)
	}
}

// TestOneLiveRow goes round the journal: the database itself refuses a second live row.
func TestOneLiveRow(t *testing.T) {
	t.Parallel()
	s := open(t)
	row := openRow(t, s, 1, enroll.Pending)
	err := s.write(t.Context(), func(ctx context.Context, tx *tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO enrolment (id, authority, owner, label, public_key, subject, vouch, request_hash, created, state, updated, version)
			SELECT ?, authority, owner, label, public_key, subject, vouch, request_hash, created, 'requested', updated, 1 FROM enrolment WHERE id = ?`, strings.Repeat("a", 32), row.ID)
		return err
	})
	if err == nil {
		t.Error("a second live row was taken")
	}
}

// TestPlans looks at how SQLite finds the rows: by index, also among a hundred thousand.
func TestPlans(t *testing.T) {
	t.Parallel()
	s := open(t)
	plans := map[string]string{
		lastEnrolment:           "enrolment_request",
		getEnrolment:            "sqlite_autoindex_enrolment",
		enrolmentsByOwner:       "enrolment_owner",
		dueEnrolments:           "enrolment_due",
		highestCANumber:         "enrolment_ca_number",
		selectCertificateOwners: "enrolment_key",
		renewDevices:            "device_renew",
		replanDevices:           "sqlite_autoindex_device",
		lastAttempt:             "attempt_device",
		forgetAttempts:          "attempt_device",
		selectAttempts:          "attempt_device",
		selectIssuer:            "device_issuer",
	}
	for index, q := range map[string]fleet.Query{
		"device_status": {Status: fleet.StatusUpgradeFailed},
		"device_due":    {Operation: fleet.OperationInstall},
		"device_expiry": {ExpiresBefore: time.Now()},
		"device_issuer": {IssuerID: "00"},
		"device_auth":   {Auth: fleet.AuthMIC},
	} {
		plans[`SELECT `+deviceColumns+` FROM device`+deviceWhere(&q).String()+` ORDER BY name LIMIT ?`] = index
	}
	stale := enrolmentWhere(&enroll.Filter{OwnerPrefix: "phone:", States: []enroll.State{enroll.Stale}, Certified: true})
	plans[`SELECT `+enrolmentColumns+` FROM enrolment`+stale.String()+` ORDER BY seq LIMIT ?`] = "enrolment_state"
	waiting := enrolmentWhere(&enroll.Filter{States: []enroll.State{enroll.Held}})
	plans[`SELECT `+enrolmentColumns+` FROM enrolment`+waiting.String()+` ORDER BY seq LIMIT ?`] = "enrolment_state"
	for query, index := range plans {
		rows, err := s.read.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, make([]any, strings.Count(query, "?"))...)
		if err != nil {
			t.Fatal(err)
		}
		var plan strings.Builder
		for rows.Next() {
			var a, b, c int
			var text string
			if err := rows.Scan(&a, &b, &c, &text); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&plan, text)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil { //nolint:sqlclosecheck // closed in each round of the loop
			t.Fatal(err)
		}
		if p := plan.String(); !strings.Contains(p, index) || strings.Contains(p, "SCAN") {
			t.Errorf("%s\nis answered by\n%s\nwithout the index %s", query, p, index)
		}
	}
}

// instant is an authority that costs nothing, so that the benchmark shows the engine and the journal.
type instant struct{ cert []byte }

func (instant) Name() string                                       { return "instant" }
func (instant) Chain(context.Context) ([]*x509.Certificate, error) { return nil, nil }
func (a instant) Issue(context.Context, ca.Request, ca.Ledger) (ca.Outcome, error) {
	return ca.Outcome{Status: ca.Issued, Certificate: a.cert, Chain: [][]byte{a.cert}, POP: ca.POPSession}, nil
}

// BenchmarkEnroll is an enrolment with its three commits: the row, the certificate, the confirmation.
func BenchmarkEnroll(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		b.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		b.Fatal(err)
	}
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := open(b)
			e := &enroll.Engine{Journal: s.Journal(), Authorities: map[string]ca.Authority{"instant": instant{cert: cert}}, Workers: 64}
			b.ReportAllocs()
			commits := s.stats.commits.Load()
			b.ResetTimer()
			var wg sync.WaitGroup
			for g := range callers {
				wg.Go(func() {
					for i := g; i < b.N; i += callers {
						row, err := e.Enroll(b.Context(), enroll.Request{Authority: "instant", Owner: fmt.Sprintf("phone:SEP%012X", i), PublicKey: spki, Subject: []byte{0x30, 0}, Vouch: "string"})
						if err == nil && row.State == enroll.Issued {
							_, err = e.Confirm(b.Context(), row.ID)
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(s.stats.commits.Load()-commits)/float64(b.N), "commits/enrolment")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "enrolments/s")
			if err := e.Shutdown(b.Context()); err != nil {
				b.Error(err)
			}
		})
	}
}
