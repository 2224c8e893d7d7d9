package app_test

import (
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/capf"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

// recording is one session between other people's server and clients; see the README beside the file.
type recording struct {
	Name, Client, Device string
	Messages             []struct{ From, Hex string }
}

func recordings(t *testing.T) []recording {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "capf", "testdata", "transcripts.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Sessions []recording }
	if err := json.Unmarshal(b, &file); err != nil || len(file.Sessions) != 20 {
		t.Fatalf("%d sessions, %v", len(file.Sessions), err)
	}
	return file.Sessions
}

// verdict is what must be on record after a session.
type verdict struct {
	Operation fleet.Operation
	Status    fleet.Status
	Result    string // empty: none
	Tries     int
	HasString bool
	Shown     int // certificates
	LSC       bool
	Note      string // code
	Rows      []enroll.State
}

// replay is a session with the record before it, how it must end and what must be on record then.
type replay struct {
	before func(*fleet.Device) // nil: the record stays as the session before left it
	end    capf.Reason
	after  *verdict // nil: no such phone
}

func operation(op fleet.Operation, more ...func(*fleet.Device)) func(*fleet.Device) {
	return func(d *fleet.Device) {
		d.Auth = fleet.AuthNull
		for _, m := range more {
			m(d)
		}
		d.Schedule(op, recordedNow)
	}
}

func ec(bits int) func(*fleet.Device) {
	return func(d *fleet.Device) { d.KeyOrder, d.ECBits = fleet.KeyOrderEC, bits }
}

func authString(s string) func(*fleet.Device) {
	return func(d *fleet.Device) { d.Auth, d.AuthString = fleet.AuthString, capf.Secret(s) }
}

// recordedNow is the time at which the certificates of the recordings are valid.
var recordedNow = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

// replays are the sessions by string and null string.
func replays() map[string]replay {
	installed := func(earlier ...enroll.State) *verdict {
		return &verdict{Operation: fleet.OperationNone, Status: fleet.StatusUpgradeSuccess, Result: "CAPF_OP_SUCCESS", LSC: true, Rows: append([]enroll.State{enroll.Confirmed}, earlier...)}
	}
	one := []enroll.State{enroll.Confirmed}
	return map[string]replay{
		"install-rsa2048-null": {operation(fleet.OperationInstall), capf.ReasonUpdateCertificate, installed()},
		"install-ec384-null":   {operation(fleet.OperationInstall, ec(384)), capf.ReasonUpdateCertificate, installed()},
		"install-password-wrong": {operation(fleet.OperationInstall, ec(256), authString("123456")), capf.ReasonInvalidElement, &verdict{
			Operation: fleet.OperationInstall, Status: fleet.StatusPending, Result: "CAPF_OP_FAIL_INVALID_AUTH_STR", Tries: 1, HasString: true, Note: "fleet.wrong-string",
		}},
		"install-ec256-password": {nil, capf.ReasonUpdateCertificate, installed()},
		"install-ec521-null":     {operation(fleet.OperationInstall, ec(521)), capf.ReasonUpdateCertificate, installed()},
		"fetch": {operation(fleet.OperationTroubleshoot), capf.ReasonNoAction, &verdict{
			Operation: fleet.OperationNone, Status: fleet.StatusTroubleshootSuccess, Result: "CAPF_OP_SUCCESS", Shown: 1, LSC: true, Rows: one,
		}},
		"fetch-none": {operation(fleet.OperationTroubleshoot), capf.ReasonNoAction, &verdict{
			Operation: fleet.OperationNone, Status: fleet.StatusTroubleshootSuccess, Result: "CAPF_FETCH_SUCCESS_BUT_NO_CERT", LSC: true, Rows: one,
		}},
		"delete": {operation(fleet.OperationDelete), capf.ReasonUpdateCertificate, &verdict{
			Operation: fleet.OperationNone, Status: fleet.StatusDeleteSuccess, Result: "CAPF_OP_SUCCESS", Rows: one,
		}},
		"delete-none": {operation(fleet.OperationDelete), capf.ReasonUpdateCertificate, &verdict{
			Operation: fleet.OperationNone, Status: fleet.StatusDeleteSuccess, Result: "CAPF_OP_SUCCESS", Note: "fleet.nothing-deleted", Rows: one,
		}},
		"no-operation":        {operation(fleet.OperationNone), capf.ReasonNoAction, &verdict{Operation: fleet.OperationNone, Status: fleet.StatusNone, Rows: one}},
		"unknown-device":      {nil, capf.ReasonUnknownDevice, nil},
		"jabber-install":      {operation(fleet.OperationInstall), capf.ReasonUpdateCertificate, installed()},
		"jabber-no-operation": {operation(fleet.OperationNone), capf.ReasonNoAction, &verdict{Operation: fleet.OperationNone, Status: fleet.StatusNone, LSC: true, Rows: one}},
		"jabber-unknown":      {nil, capf.ReasonUnknownDevice, nil},
	}
}

// TestRecordedSessions plays the phones of the recordings to the whole product with its own CA: TLS, CAPF, fleet,
// journal, database.
func TestRecordedSessions(t *testing.T) {
	t.Parallel()
	p := newProduct(t, config.IssuerLocal, nil)
	p.now = func() time.Time { return recordedNow }
	p.start()
	table := replays()
	for i, r := range recordings(t) {
		// One after the other, so that the session ids are those of the file.
		conn := p.dial()
		tt, ours := table[r.Name]
		if !ours { // by certificate: only its session id is used up
			if m, err := capf.ReadMessage(conn, capf.MaxBody); err != nil || m.SessionID != uint32(i+1) {
				t.Fatalf("%s: %v, %v", r.Name, m, err)
			}
			_ = conn.Close()
			continue
		}
		delete(table, r.Name)
		p.prepare(r.Device, tt.before)
		p.play(conn, r, tt.end)
		p.judge(r, tt.after)
	}
	if len(table) > 0 {
		t.Errorf("not in the file: %v", table)
	}
}

func (p *product) dial() net.Conn {
	p.t.Helper()
	d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}} // phones have no name for the server either
	conn, err := d.DialContext(p.t.Context(), "tcp", p.a.Endpoints().CAPF)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	return conn
}

// prepare puts a record into the state before a session.
func (p *product) prepare(name string, change func(*fleet.Device)) {
	p.t.Helper()
	if change == nil {
		return
	}
	phones := p.a.Records.Phones
	if _, err := phones.Device(p.t.Context(), name); err != nil {
		d := fleet.NewDevice(name)
		change(&d)
		if err := phones.AddDevices(p.t.Context(), []fleet.Device{d}); err != nil {
			p.t.Fatal(err)
		}
		return
	}
	if _, err := phones.UpdateDevice(p.t.Context(), name, func(d *fleet.Device) error { change(d); return d.Validate() }); err != nil {
		p.t.Fatal(err)
	}
}

// play is the phone's side of a recording.
func (p *product) play(conn net.Conn, r recording, end capf.Reason) {
	t := p.t
	t.Helper()
	defer conn.Close()
	for k, m := range r.Messages {
		raw, err := hex.DecodeString(m.Hex)
		if err != nil {
			t.Fatal(err)
		}
		if m.From == "phone" {
			if _, err := conn.Write(raw); err != nil {
				t.Fatalf("%s: message %d: %v", r.Name, k+1, err)
			}
			continue
		}
		want, err := capf.ParseMessage(raw)
		if err != nil {
			t.Fatal(err)
		}
		got, err := capf.ReadMessage(conn, capf.MaxBody)
		if err != nil {
			t.Fatalf("%s: message %d: %v", r.Name, k+1, err)
		}
		switch {
		case got.Command == capf.EndSession:
			if reason, ok := got.Reason(); !ok || reason != end {
				t.Errorf("%s: ends with reason %d, want %d", r.Name, reason, end)
			}
		case want.Command == capf.StoreCertificateRequest: // our own certificate
			if len(got.Elements) != 2 || len(got.Elements[1].Value) < 200 {
				t.Errorf("%s: message 9 has %v", r.Name, got.Elements)
			}
			got.Elements, want.Elements = got.Elements[:1], want.Elements[:1]
		case want.Command == capf.KeyGenerateRequest && r.Client == "CapfWrapper":
			want.Elements = want.Elements[:1] // tag 10 only to version 2
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: message %d (-recorded +ours):\n%s", r.Name, k+1, diff)
		}
	}
}

// judge compares the records with the verdict.
func (p *product) judge(r recording, want *verdict) {
	t := p.t
	t.Helper()
	d, err := p.a.Records.Phones.Device(t.Context(), r.Device)
	if want == nil {
		if err == nil {
			t.Errorf("%s: there is a record of %s", r.Name, r.Device)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	rows, err := p.a.Records.Journal.ByOwner(t.Context(), fleet.Owner(r.Device))
	if err != nil {
		t.Fatal(err)
	}
	got := verdict{
		Operation: d.Operation, Status: d.Status, Tries: d.WrongTries, HasString: len(d.AuthString) > 0, Shown: len(d.Shown), LSC: d.LSC != nil,
	}
	if d.HasResult {
		got.Result = d.Result.Name()
	}
	if d.Note != nil {
		got.Note = d.Note.Code
	}
	for _, row := range rows {
		got.Rows = append(got.Rows, row.State)
	}
	if diff := cmp.Diff(*want, got); diff != "" {
		t.Errorf("%s: on record (-want +got):\n%s", r.Name, diff)
	}
	if len(rows) > 0 && rows[0].State == enroll.Confirmed && d.LSC != nil && string(d.LSC.DER) != string(rows[0].Certificate) {
		t.Errorf("%s: the LSC on record is not the journal's", r.Name)
	}
}
