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
	"log/slog"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/capf"
	"callsign/internal/ca"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

// schemaAt makes a database with the schema of a version, and lets fill put rows into it.
func schemaAt(t testing.TB, path string, version int64, fill func(exec func(query string, args ...any))) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path, false, time.Second))
	if err != nil {
		t.Fatal(err)
	}
	p, err := provider(db)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), version); err != nil {
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
	schemaAt(t, path, 3, func(exec func(string, ...any)) {
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
	if v, newest, err := Check(t.Context(), path); err != nil || v != 3 || newest != 7 {
		t.Errorf("before: version %d of %d, %v; want 3 of 7", v, newest, err)
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
	schemaAt(t, path, 3, func(exec func(string, ...any)) {
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

// insertEnrolment5 is a row of the schema of version 5 with every column filled.
const insertEnrolment5 = `INSERT INTO enrolment (seq, id, authority, owner, label, public_key, subject, extensions, csr, vouch, reuse_ms, request_hash, created,
	state, submitted, resubmitted, ca_request, ca_number, mark, certificate, chain, serial, issuer, not_after, pop, failure,
	attempts, next_attempt, retry_after_ms, updated, version, dismissed)
	VALUES (?, ?, 'adcs', ?, 'capf', x'3000', x'3001', NULL, x'3002', 'string', 604800000, ?, ?, ?, 1, 1, '4711', 4711, x'6d', x'3003', x'3000', '0a', 'CN=CA', ?, 'signed',
	'{"code":"adcs.unreachable","detail":"no route","remedy":"check it"}', 2, ?, 1500, ?, 7, ?)`

// TestFromSchema5 opens a database from before requests could be held: its rows stay as they were, in their order, and each
// index of the table does what it is for.
func TestFromSchema5(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "callsign.db")
	at := time.Date(2026, 3, 1, 8, 0, 0, 5e6, time.UTC)
	states := []enroll.State{enroll.Requested, enroll.Submitted, enroll.Pending, enroll.Issued, enroll.Confirmed, enroll.Denied, enroll.Failed, enroll.Stale}
	var want []enroll.Enrolment
	schemaAt(t, path, 5, func(exec func(string, ...any)) {
		for i, state := range states {
			e := enroll.Enrolment{
				ID: fmt.Sprintf("%032x", i+1),
				Request: enroll.Request{
					Authority: "adcs", Owner: fmt.Sprintf("est:capf/%d", i), Label: "capf", PublicKey: []byte{0x30, 0}, Subject: []byte{0x30, 1},
					CSR: []byte{0x30, 2}, Vouch: "string", Reuse: 7 * 24 * time.Hour,
				},
				State: state, Progress: ca.Progress{Submitted: true, Resubmitted: true, RequestID: "4711", Mark: []byte("m")},
				Certificate: []byte{0x30, 3}, Chain: [][]byte{{0x30, 0}}, Serial: "0a", Issuer: "CN=CA", NotAfter: at.AddDate(1, 0, 0), POP: ca.POPSigned,
				Failure:  &enroll.Failure{Code: "adcs.unreachable", Detail: "no route", Remedy: "check it"},
				Attempts: 2, NextAttempt: at.Add(time.Minute), RetryAfter: 1500 * time.Millisecond,
				Created: at, Updated: at.Add(time.Second), Dismissed: at.Add(time.Hour), Version: 7,
			}
			key := e.Key()
			// Numbers with gaps, as after rows that were rolled back.
			exec(insertEnrolment5, 10*i+3, e.ID, e.Owner, key[:], at.UnixMilli(), string(state), e.NotAfter.UnixMilli(), e.NextAttempt.UnixMilli(), e.Updated.UnixMilli(), e.Dismissed.UnixMilli())
			want = append(want, e)
		}
	})
	s := openAt(t, path, Options{})
	got, total, err := s.Journal().Find(t.Context(), enroll.Filter{})
	if err != nil || total != len(want) {
		t.Fatalf("total %d, %v", total, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if n, err := s.Journal().HighestRequestID(t.Context(), "adcs"); err != nil || n != 4711 {
		t.Errorf("highest request %d, %v", n, err)
	}
	if due, err := s.Journal().Due(t.Context(), at.Add(time.Hour), 10); err != nil || len(due) != 3 {
		t.Errorf("%d rows are due, %v, want 3", len(due), err)
	}
	for _, name := range []string{"enrolment_live", "enrolment_request", "enrolment_owner", "enrolment_due", "enrolment_ca_number", "enrolment_key", "enrolment_state"} {
		var there int
		err := s.read.QueryRowContext(t.Context(), `SELECT count(*) FROM sqlite_schema WHERE tbl_name = 'enrolment' AND type = 'index' AND name = ?`, name).Scan(&there)
		if err != nil || there != 1 {
			t.Errorf("index %s is gone (%v)", name, err)
		}
	}
	// A held row is live, for the database too, and the next row comes behind those that were there.
	held := enroll.Enrolment{ID: fmt.Sprintf("%032x", 99), Request: want[5].Request, State: enroll.Held, Created: at, Updated: at}
	if _, created, err := s.Journal().Open(t.Context(), held); err != nil || !created {
		t.Fatalf("Open: created %t, %v", created, err)
	}
	second := fmt.Sprintf("%032x", 100)
	if err := s.write(t.Context(), func(ctx context.Context, tx *tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO enrolment (id, authority, owner, label, public_key, subject, vouch, request_hash, created, state, updated, version)
			SELECT ?, authority, owner, label, public_key, subject, vouch, request_hash, created, 'requested', updated, 1 FROM enrolment WHERE id = ?`, second, held.ID)
		return err
	}); err == nil {
		t.Error("a second live row was taken beside a held one")
	}
	if last, err := s.Journal().Last(t.Context(), held.Request); err != nil || last.ID != held.ID {
		t.Errorf("the last row of the request is %s, %v, want %s", last.ID, err, held.ID)
	}
}

// TestHeldDown goes back to the schema that knows no held rows: they must not go out unseen.
func TestHeldDown(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "callsign.db")
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	held := enroll.Enrolment{ID: fmt.Sprintf("%032x", 1), Request: enroll.Request{Authority: "local", Owner: "est:/x", PublicKey: []byte{1}}, State: enroll.Held, Created: at, Updated: at}
	if _, _, err := s.Journal().Open(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", dsn(path, false, time.Second))
	if err != nil {
		t.Fatal(err)
	}
	p, err := provider(db)
	if err == nil {
		_, err = p.DownTo(context.WithoutCancel(t.Context()), 5)
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := openAt(t, path, Options{}).Journal().Get(t.Context(), held.ID)
	if err != nil || got.State != enroll.Failed {
		t.Errorf("the row is %s, %v, want failed", got.State, err)
	}
}

// TestLongMigration: the time for which Open waits may be over while the schema is changed, which goes on.
func TestLongMigration(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "callsign.db")
	schemaAt(t, path, 5, func(func(string, ...any)) {})
	db, err := sql.Open("sqlite", dsn(path, false, time.Second))
	if err != nil {
		t.Fatal(err)
	}
	wait, over := context.WithCancel(t.Context())
	s := &Store{path: path, log: slog.New(atEvent{slog.DiscardHandler, "store.migrating", over})}
	if err := errors.Join(s.migrate(wait, t.Context(), db), db.Close()); err != nil {
		t.Error(err)
	}
	if wait.Err() == nil {
		t.Error("nobody was told that the schema is changed")
	}
	if v, newest, err := Check(t.Context(), path); err != nil || v != newest {
		t.Errorf("version %d of %d, %v", v, newest, err)
	}
}

// atEvent is a log that does something at an event.
type atEvent struct {
	slog.Handler

	event string
	do    func()
}

func (atEvent) Enabled(context.Context, slog.Level) bool { return true }

func (h atEvent) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "event" && a.Value.String() == h.event {
			h.do()
		}
		return true
	})
	return nil
}
