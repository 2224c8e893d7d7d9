package app_test

import (
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
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

// recordedFile is the file of the recordings.
type recordedFile struct {
	CAPF     string `json:"capf_certificate_pem"`
	MICCA    string `json:"mic_ca_certificate_pem"`
	Sessions []recording
}

func recordings(t *testing.T) recordedFile {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "capf", "testdata", "transcripts.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file recordedFile
	if err := json.Unmarshal(b, &file); err != nil || len(file.Sessions) != 20 {
		t.Fatalf("%d sessions, %v", len(file.Sessions), err)
	}
	return file
}

// certificate is the LSC that a recorded session installed.
func (f recordedFile) certificate(t *testing.T, session string) []byte {
	t.Helper()
	i := slices.IndexFunc(f.Sessions, func(r recording) bool { return r.Name == session })
	if i < 0 {
		t.Fatalf("no session %s", session)
	}
	for _, m := range f.Sessions[i].Messages {
		raw, err := hex.DecodeString(m.Hex)
		if err != nil {
			t.Fatal(err)
		}
		if parsed, err := capf.ParseMessage(raw); err == nil && parsed.Command == capf.StoreCertificateRequest {
			v, _ := parsed.Element(capf.TagCertificate)
			entries, err := capf.ParseCertificatePackage(v)
			if err != nil {
				t.Fatal(err)
			}
			return entries[0].DER
		}
	}
	t.Fatalf("%s installs nothing", session)
	return nil
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
	Attempts  int    // on record in all
	Showed    string // what the phone showed in the last of them
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

func certificate(first fleet.AuthMode) func(*fleet.Device) {
	return func(d *fleet.Device) { d.Auth = first }
}

// recordedNow is the time at which the certificates of the recordings are valid.
var recordedNow = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

// replays are the sessions with their verdicts.
func replays(t *testing.T, file recordedFile) map[string]replay {
	lsc := func(session string) func(*fleet.Device) {
		der := file.certificate(t, session)
		return func(d *fleet.Device) {
			d.LSC = &fleet.Certificate{DER: der, Serial: "01", Issuer: "CN=CAPF", NotBefore: recordedNow.Add(-time.Hour), NotAfter: recordedNow.AddDate(1, 0, 0)}
		}
	}
	installed := func(attempts int, showed string, earlier ...enroll.State) *verdict {
		return &verdict{
			Operation: fleet.OperationNone, Status: fleet.StatusUpgradeSuccess, Result: "CAPF_OP_SUCCESS", LSC: true, Attempts: attempts, Showed: showed,
			Rows: append([]enroll.State{enroll.Confirmed}, earlier...),
		}
	}
	// What is refused for its certificate stays due, and nothing is issued.
	refused := func(attempts int, showed, result, note string, lsc bool, rows ...enroll.State) *verdict {
		return &verdict{
			Operation: fleet.OperationInstall, Status: fleet.StatusPending, Result: "CAPF_OP_FAIL_INVALID_" + result, Note: note, LSC: lsc, Rows: rows,
			Attempts: attempts, Showed: showed,
		}
	}
	const one = enroll.Confirmed
	two := []enroll.State{one, one}
	install := fleet.OperationInstall
	return map[string]replay{
		"install-rsa2048-null": {operation(install), capf.ReasonUpdateCertificate, installed(1, "none")},
		"install-ec384-null":   {operation(install, ec(384)), capf.ReasonUpdateCertificate, installed(1, "none")},
		"install-password-wrong": {operation(install, ec(256), authString("123456")), capf.ReasonInvalidElement, &verdict{
			Operation: install, Status: fleet.StatusPending, Result: "CAPF_OP_FAIL_INVALID_AUTH_STR", Tries: 1, HasString: true, Note: "fleet.wrong-string",
			Attempts: 1, Showed: "string",
		}},
		"install-ec256-password": {nil, capf.ReasonUpdateCertificate, installed(2, "string")},
		"install-ec521-null":     {operation(install, ec(521)), capf.ReasonUpdateCertificate, installed(1, "none")},
		"install-cert-lsc-rsa": {
			operation(install, certificate(fleet.AuthLSC), lsc("install-rsa2048-null")), capf.ReasonUpdateCertificate, installed(2, "lsc", one),
		},
		"install-cert-lsc-rsa-sudi-mic": {
			operation(install, certificate(fleet.AuthLSC), lsc("install-cert-lsc-rsa")), capf.ReasonInvalidElement,
			refused(3, "lsc", "MIC", "fleet.sudi-of-another-device", true, two...),
		},
		"install-cert-lsc-ec-sudi-mic": {
			operation(install, certificate(fleet.AuthLSC), ec(384), lsc("install-ec384-null")), capf.ReasonInvalidElement,
			refused(2, "lsc", "MIC", "fleet.sudi-of-another-device", true, one),
		},
		"install-cert-mic":  {operation(install, certificate(fleet.AuthMIC)), capf.ReasonUpdateCertificate, installed(1, "mic")},
		"auth-cert-missing": {operation(install, certificate(fleet.AuthLSC), rsaOnly), capf.ReasonInvalidElement, refused(2, "none", "LSC", "fleet.credential-missing", true, one)},
		"auth-cert-of-another-device": {
			operation(install, certificate(fleet.AuthLSC)), capf.ReasonInvalidElement, refused(3, "lsc", "LSC", "fleet.certificate-of-another-device", true, one),
		},
		"fetch": {operation(fleet.OperationTroubleshoot), capf.ReasonNoAction, &verdict{
			Operation: fleet.OperationNone, Status: fleet.StatusTroubleshootSuccess, Result: "CAPF_OP_SUCCESS", Shown: 1, LSC: true, Rows: two, Attempts: 4, Showed: "none",
		}},
		"fetch-none": {operation(fleet.OperationTroubleshoot), capf.ReasonNoAction, &verdict{
			Operation: fleet.OperationNone, Status: fleet.StatusTroubleshootSuccess, Result: "CAPF_FETCH_SUCCESS_BUT_NO_CERT", LSC: true, Rows: two, Attempts: 5, Showed: "none",
		}},
		"delete": {operation(fleet.OperationDelete), capf.ReasonUpdateCertificate, &verdict{
			Operation: fleet.OperationNone, Status: fleet.StatusDeleteSuccess, Result: "CAPF_OP_SUCCESS", Rows: two, Attempts: 6, Showed: "none",
		}},
		"delete-none": {operation(fleet.OperationDelete), capf.ReasonUpdateCertificate, &verdict{
			Operation: fleet.OperationNone, Status: fleet.StatusDeleteSuccess, Result: "CAPF_OP_SUCCESS", Note: "fleet.nothing-deleted", Rows: two, Attempts: 7, Showed: "none",
		}},
		"no-operation": {operation(fleet.OperationNone), capf.ReasonNoAction, &verdict{
			Operation: fleet.OperationNone, Status: fleet.StatusNone, Rows: two, Attempts: 7, Showed: "none",
		}},
		"unknown-device": {nil, capf.ReasonUnknownDevice, nil},
		"jabber-install": {operation(install), capf.ReasonUpdateCertificate, installed(1, "none")},
		"jabber-no-operation": {operation(fleet.OperationNone), capf.ReasonNoAction, &verdict{
			Operation: fleet.OperationNone, Status: fleet.StatusNone, LSC: true, Rows: []enroll.State{one}, Attempts: 1, Showed: "none",
		}},
		"jabber-unknown": {nil, capf.ReasonUnknownDevice, nil},
	}
}

func rsaOnly(d *fleet.Device) { d.KeyOrder = fleet.KeyOrderRSA }

// TestRecordedSessions plays the phones of the recordings to the whole product with its own CA: TLS, CAPF, fleet,
// journal, database.
func TestRecordedSessions(t *testing.T) {
	t.Parallel()
	file := recordings(t)
	dir := t.TempDir()
	trust, mics := filepath.Join(dir, "capf.pem"), filepath.Join(dir, "mic.pem")
	for path, text := range map[string]string{trust: file.CAPF, mics: file.MICCA} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := newProduct(t, config.IssuerLocal, func(c *config.Config) { c.CAPF.TrustFiles, c.CAPF.MICFiles = []string{trust}, []string{mics} })
	p.now = func() time.Time { return recordedNow }
	p.start()
	table := replays(t, file)
	for i, r := range file.Sessions {
		// One after the other, so that the session ids are those of the file: SUDI data is signed over them.
		conn := p.dial()
		tt, ok := table[r.Name]
		if !ok {
			t.Fatalf("session %d: no verdict on %s", i+1, r.Name)
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
		if got.Command == capf.EndSession && want.Command == capf.KeyGenerateRequest {
			if end != capf.ReasonInvalidElement {
				t.Errorf("%s: is refused", r.Name)
			}
			return // we refuse what the recorded server did not; nothing after that is replayed
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
	attempts, err := p.a.Records.Phones.Attempts(t.Context(), r.Device, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got.Attempts = len(attempts); got.Attempts > 0 {
		got.Showed = attempts[0].Credential
	}
	for _, row := range rows {
		got.Rows = append(got.Rows, row.State)
	}
	if diff := cmp.Diff(*want, got); diff != "" {
		t.Errorf("%s: on record (-want +got):\n%s", r.Name, diff)
	}
	if d.Status == fleet.StatusUpgradeSuccess && d.LSC != nil && string(d.LSC.DER) != string(rows[0].Certificate) {
		t.Errorf("%s: the LSC on record is not the journal's", r.Name)
	}
}
