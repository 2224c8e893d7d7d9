package store

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/capf"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

// schema3 makes a database as the schema of version 3 has it, and lets fill put rows into it.
func schema3(t *testing.T, path string, fill func(exec func(query string, args ...any))) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path, false, time.Second))
	if err != nil {
		t.Fatal(err)
	}
	p, err := provider(db)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	fill(func(query string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
			t.Fatal(err)
		}
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

const (
	insertDevice3 = `INSERT INTO device (name, model, operation, status, auth, auth_string, wrong_tries, key_order, rsa_bits, ec_bits,
		completes_by, scheduled, result, note, lsc, lsc_serial, lsc_issuer, lsc_not_after, shown, offered, created, updated)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	insertEnrolment3 = `INSERT INTO enrolment (id, authority, owner, label, public_key, subject, vouch, request_hash, created,
		state, certificate, chain, serial, issuer, not_after, updated, version)
		VALUES (?, 'local', ?, '', x'3000', x'3000', 'string', ?, ?, ?, ?, ?, '0a', 'CN=CA', ?, ?, 3)`
)

func signed(t testing.TB, name string, serial int64, notBefore, notAfter time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: notBefore, NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestFromSchema3 opens a database of the first release and reads everything that was in it.
func TestFromSchema3(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "callsign.db")
	at := time.Date(2026, 3, 1, 8, 0, 0, 5e6, time.UTC)
	begin, end := at.Truncate(time.Second), at.Truncate(time.Second).AddDate(1, 0, 0)
	ca, otherCA := signed(t, "CA", 1, begin, end), signed(t, "Other CA", 2, begin, end.AddDate(1, 0, 0))
	lsc, second, alone := signed(t, "SEP00000000000A", 10, begin, end), signed(t, "SEP00000000000B", 11, begin, end), signed(t, "SEP00000000000D", 12, begin, end)
	hash := func(n int) []byte { return append(make([]byte, 31), byte(n)) }
	ms := at.UnixMilli()
	schema3(t, path, func(exec func(string, ...any)) {
		note := `{"code":"fleet.wrong-string","detail":"wrong","remedy":"again","at":"2026-03-01T08:00:00.005Z"}`
		exec(insertDevice3, "SEP00000000000A", "8865", "install", "pending", "string", []byte("1234"), 2, "ec", 4096, 384,
			ms+1000, ms+2000, int64(capf.ResultInvalidAuthString), note, lsc, "0a", "CN=CA", end.UnixMilli(), `[{"type":"mic","der":"MAA="}]`, fmt.Sprintf("%032x", 9), ms, ms+5)
		exec(insertDevice3, "SEP00000000000B", "", "none", "upgrade_success", "null", nil, 0, "rsa", 2048, 256,
			nil, nil, 0, nil, second, "0b", "CN=Other CA", end.UnixMilli(), nil, "", ms, ms)
		// An LSC that is no certificate, and one of which the journal knows nothing.
		exec(insertDevice3, "SEP00000000000C", "", "none", "none", "null", nil, 0, "rsa", 2048, 256,
			nil, nil, nil, nil, []byte{0x30, 0}, "0c", "CN=Odd", nil, nil, "", ms, ms)
		exec(insertDevice3, "SEP00000000000D", "", "none", "none", "null", nil, 0, "rsa", 2048, 256,
			nil, nil, nil, nil, alone, "0d", "CN=Gone", end.UnixMilli(), nil, "", ms, ms)
		exec(insertDevice3, "CSFALICE", "Jabber É", "none", "none", "null", nil, 0, "rsa", 2048, 256,
			nil, nil, nil, nil, nil, nil, nil, nil, nil, "", ms, ms)
		exec(insertEnrolment3, fmt.Sprintf("%032x", 1), "phone:SEP00000000000A", hash(1), ms, "stale", lsc, ca, end.UnixMilli(), ms)
		exec(insertEnrolment3, fmt.Sprintf("%032x", 2), "phone:SEP00000000000A", hash(2), ms, "confirmed", lsc, append(append([]byte{}, ca...), otherCA...), end.UnixMilli(), ms+7)
		exec(insertEnrolment3, fmt.Sprintf("%032x", 3), "phone:SEP00000000000B", hash(3), ms, "confirmed", second, otherCA, end.UnixMilli(), ms)
		exec(insertEnrolment3, fmt.Sprintf("%032x", 4), "phone:SEP00000000000C", hash(4), ms, "confirmed", []byte{0x30, 0}, nil, nil, ms)
		exec(insertEnrolment3, fmt.Sprintf("%032x", 5), "phone:SEP00000000000D", hash(5), ms, "confirmed", lsc, ca, nil, ms) // another phone's certificate
	})
	if v, newest, err := Check(t.Context(), path); err != nil || v != 3 || newest != 5 {
		t.Errorf("before: version %d of %d, %v; want 3 of 5", v, newest, err)
	}

	s := openAt(t, path, Options{})
	idle := func(name, model string, c *fleet.Certificate, status fleet.Status, result bool) fleet.Device {
		d := fleet.NewDevice(name)
		d.Model, d.LSC, d.Status, d.HasResult, d.Created, d.Updated = model, c, status, result, at, at
		return d
	}
	want := []fleet.Device{
		idle("CSFALICE", "Jabber É", nil, fleet.StatusNone, false),
		{
			Name: "SEP00000000000A", Model: "8865", Operation: fleet.OperationInstall, Status: fleet.StatusPending, Auth: fleet.AuthString, AuthString: capf.Secret("1234"),
			WrongTries: 2, KeyOrder: fleet.KeyOrderEC, RSABits: 4096, ECBits: 384, CompletesBy: at.Add(time.Second), Scheduled: at.Add(2 * time.Second),
			Result: capf.ResultInvalidAuthString, HasResult: true, Note: &fleet.Note{Code: "fleet.wrong-string", Detail: "wrong", Remedy: "again", At: at},
			LSC:   &fleet.Certificate{DER: lsc, Serial: "0a", Issuer: "CN=CA", IssuerID: fleet.IssuerID(ca), NotBefore: begin, NotAfter: end},
			Shown: []fleet.Shown{{Type: "mic", DER: []byte{0x30, 0}}}, Offered: fmt.Sprintf("%032x", 9), Created: at, Updated: at.Add(5 * time.Millisecond),
		},
		idle("SEP00000000000B", "", &fleet.Certificate{DER: second, Serial: "0b", Issuer: "CN=Other CA", IssuerID: fleet.IssuerID(otherCA), NotBefore: begin, NotAfter: end}, fleet.StatusUpgradeSuccess, true),
		idle("SEP00000000000C", "", &fleet.Certificate{DER: []byte{0x30, 0}, Serial: "0c", Issuer: "CN=Odd"}, fleet.StatusNone, false),
		idle("SEP00000000000D", "", &fleet.Certificate{DER: alone, Serial: "0d", Issuer: "CN=Gone", NotBefore: begin, NotAfter: end}, fleet.StatusNone, false),
	}
	got, total, err := s.Devices().Devices(t.Context(), fleet.Query{})
	if err != nil || total != len(want) {
		t.Errorf("total %d, %v, want %d", total, err, len(want))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	issuers, err := s.Devices().Issuers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]fleet.Issuer{
		{ID: fleet.IssuerID(ca), DER: ca, Subject: "CN=CA", NotAfter: end, Added: at.Add(7 * time.Millisecond), Phones: 1},
		{ID: fleet.IssuerID(otherCA), DER: otherCA, Subject: "CN=Other CA", NotAfter: end.AddDate(1, 0, 0), Added: at, Phones: 1},
	}, issuers); diff != "" {
		t.Errorf("issuers (-want +got):\n%s", diff)
	}
	for text, name := range map[string]string{"00d": "SEP00000000000D", "JABBER é": "CSFALICE"} {
		if d, _, err := s.Devices().Devices(t.Context(), fleet.Query{Text: text}); err != nil || len(d) != 1 || d[0].Name != name {
			t.Errorf("looking for %s: %v, %v", text, d, err)
		}
	}
	if d, _, err := s.Devices().Devices(t.Context(), fleet.Query{Model: "Jabber É"}); err != nil || len(d) != 1 {
		t.Errorf("model: %v, %v", d, err)
	}
	rows, total, err := s.Journal().Find(t.Context(), enroll.Filter{Undismissed: true})
	if err != nil || total != 5 || len(rows) != 5 || rows[1].ID != fmt.Sprintf("%032x", 2) || rows[1].Version != 3 {
		t.Errorf("journal: %d rows, total %d, %v", len(rows), total, err)
	}
	if a, err := s.Devices().Attempts(t.Context(), "SEP00000000000A", 0); err != nil || len(a) != 0 {
		t.Errorf("%d attempts, %v", len(a), err)
	}
	if st, err := s.Devices().RenewalState(t.Context()); err != nil || st != (fleet.RenewalState{}) {
		t.Errorf("state of the renewal: %+v, %v", st, err)
	}
	if n, err := s.Devices().Replan(t.Context(), "p", func(d *fleet.Device) time.Time { return d.LSC.NotAfter }); err != nil || n != 4 {
		t.Errorf("%d phones planned, %v, want 4", n, err)
	}
}

// TestMigrationBatches reads more LSCs than go into one batch, and plans them anew in several transactions.
func TestMigrationBatches(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "callsign.db")
	begin := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	lsc := signed(t, "any", 1, begin, begin.AddDate(1, 0, 0))
	const phones = 2*replanBatch + 1
	schema3(t, path, func(exec func(string, ...any)) {
		exec("BEGIN")
		for i := range phones {
			exec(insertDevice3, fmt.Sprintf("SEP%012X", i), "", "none", "none", "null", nil, 0, "rsa", 2048, 256,
				nil, nil, nil, nil, lsc, "0a", "CN=CA", begin.AddDate(1, 0, 0).UnixMilli(), nil, "", 1, 1)
		}
		exec("COMMIT")
	})
	s := openAt(t, path, Options{})
	var read int
	if err := s.read.QueryRowContext(t.Context(), "SELECT count(*) FROM device WHERE lsc_not_before = ?", begin.UnixMilli()).Scan(&read); err != nil || read != phones {
		t.Errorf("the begin of %d LSCs was read, %v; want %d", read, err, phones)
	}
	if n, err := s.Devices().Replan(t.Context(), "p", func(d *fleet.Device) time.Time { return d.LSC.NotBefore }); err != nil || n != phones {
		t.Errorf("%d phones planned, %v; want %d", n, err, phones)
	}
	if err := s.read.QueryRowContext(t.Context(), "SELECT count(*) FROM device WHERE renew_at = ?", begin.UnixMilli()).Scan(&read); err != nil || read != phones {
		t.Errorf("%d phones have the new time, %v; want %d", read, err, phones)
	}
}

// TestMigrationsDown goes back to the schema of version 3 and forth again.
func TestMigrationsDown(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "callsign.db")
	want := fleet.NewDevice("SEP00000000000A")
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Devices().AddDevices(t.Context(), []fleet.Device{want}), s.Close()); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", dsn(path, false, time.Second))
	if err != nil {
		t.Fatal(err)
	}
	p, err := provider(db)
	if err == nil {
		_, err = p.DownTo(context.WithoutCancel(t.Context()), 3)
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := openAt(t, path, Options{}).Devices().Device(t.Context(), want.Name)
	if err != nil {
		t.Fatal(err)
	}
	want.Created, want.Updated = got.Created, got.Updated
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
