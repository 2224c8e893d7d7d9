package fleet_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/capf"
	"callsign/internal/ca"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

func TestKeyOrders(t *testing.T) {
	t.Parallel()
	ec, rsa := capf.KeySpec{Type: capf.KeyEC, Bits: 384}, capf.KeySpec{Type: capf.KeyRSA, Bits: 4096}
	for order, want := range map[fleet.KeyOrder][]capf.KeySpec{
		fleet.KeyOrderRSA: {rsa}, fleet.KeyOrderEC: {ec}, fleet.KeyOrderECRSA: {ec, rsa},
	} {
		b := newBed(t, func(d *fleet.Device) { d.KeyOrder, d.RSABits, d.ECBits = order, 4096, 384 })
		if diff := cmp.Diff(want, b.mustOpen().Task().Keys); diff != "" {
			t.Errorf("%s (-want +got):\n%s", order, diff)
		}
	}
}

// TestWaitingPhones: what a phone of a group is told while its authority takes its time.
func TestWaitingPhones(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	all, err := fleet.ParseGroup([]string{"SEP*"})
	if err != nil {
		t.Fatal(err)
	}
	if task := b.mustOpen().Task(); task.Progress || task.RetryLater != 0 || task.AnswerWithin != 0 {
		t.Errorf("by default %+v", task)
	}
	b.service.Progress, b.service.RetryLater, b.service.RetryLaterAfter = all, all, 5*time.Minute
	if task := b.mustOpen().Task(); !task.Progress || task.RetryLater != 5*time.Minute || task.AnswerWithin != time.Minute {
		t.Errorf("in the group %+v", task)
	}
}

// steps writes the steps of an attempt in short: name, and the code of what failed.
func steps(a fleet.Attempt) string {
	var all []string
	for _, s := range a.Steps {
		text := string(s.Name)
		if s.Code != "" {
			text += ":" + s.Code
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// TestEndOfACall has every way in which a call ends but the certificates' refusals.
func TestEndOfACall(t *testing.T) {
	t.Parallel()
	issue := func(t *testing.T, s capf.Session) []byte {
		t.Helper()
		_, spki := newKey(t)
		der, err := s.Issue(t.Context(), spki)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	silent := &capf.ProtocolError{ErrCode: capf.CodeSilentPeer, Detail: "peer was silent"}
	type verdict struct {
		Operation fleet.Operation
		Status    fleet.Status
		Result    string // empty: none
		Note      string
		LSC       bool
		OK        bool
		Told      string // result of the attempt
		Steps     string
		Row       enroll.State
	}
	due := verdict{Operation: fleet.OperationInstall, Status: fleet.StatusPending}
	failed := verdict{Operation: fleet.OperationNone, Status: fleet.StatusUpgradeFailed}
	with := func(v verdict, result, note, steps string, row enroll.State) verdict {
		v.Result, v.Told, v.Note, v.Steps, v.Row = result, result, note, steps, row
		return v
	}
	const comm, fail, late, timedOut = "CAPF_OP_FAIL_PHONE_COMM_ERROR", "CAPF_OP_FAIL", "CAPF_OP_FAIL_LATE_REQUEST", "CAPF_OP_FAIL_OP_TIMED_OUT"
	for name, c := range map[string]struct {
		device func(*fleet.Device)
		call   func(*testing.T, *bed)
		want   verdict
	}{
		"installed": {
			call: func(t *testing.T, b *bed) {
				s := b.mustOpen()
				der := issue(t, s)
				if err := s.Stored(t.Context(), der, capf.ReasonUpdateCertificate); err != nil {
					t.Fatal(err)
				}
			},
			want: verdict{
				Operation: fleet.OperationNone, Status: fleet.StatusUpgradeSuccess, Result: "CAPF_OP_SUCCESS", LSC: true, OK: true,
				Told: "CAPF_OP_SUCCESS", Steps: "authenticate key issue store", Row: enroll.Confirmed,
			},
		},
		"vanished before its key": {
			call: func(t *testing.T, b *bed) { b.mustOpen().Abort(t.Context(), lost) },
			want: with(due, comm, capf.CodeConnectionLost, "authenticate key:capf.connection-lost", ""),
		},
		"silent instead of a key": {
			call: func(t *testing.T, b *bed) { b.mustOpen().Abort(t.Context(), silent) },
			want: with(due, timedOut, capf.CodeSilentPeer, "authenticate key:capf.silent-peer", ""),
		},
		"no key, with a reason": {
			call: func(t *testing.T, b *bed) {
				b.mustOpen().Abort(t.Context(), &capf.PhoneError{Command: capf.KeyGenerateResponse, Reason: capf.ReasonInvalidElement})
			},
			want: with(failed, comm, capf.CodePhoneFailure, "authenticate key:capf.phone-failure", ""),
		},
		"another key than asked for": {
			call: func(t *testing.T, b *bed) {
				b.mustOpen().Abort(t.Context(), &capf.ProtocolError{ErrCode: capf.CodeOtherKey, Detail: "asked for ec:256, got rsa:2048"})
			},
			want: with(due, fail, capf.CodeOtherKey, "authenticate key:capf.other-key", ""),
		},
		"EC asked of a client that has none": {
			call: func(t *testing.T, b *bed) {
				b.mustOpen().Abort(t.Context(), &capf.ProtocolError{ErrCode: capf.CodeNoUsableKey, Detail: "none"})
			},
			want: with(failed, fail, "fleet.ec-not-possible", "authenticate key:fleet.ec-not-possible", ""),
		},
		"key of another device": {
			call: func(t *testing.T, b *bed) {
				_, spki := newKey(t)
				other := fleet.NewDevice(otherPhone)
				other.Schedule(fleet.OperationInstall, b.now)
				if err := b.phones.AddDevices(t.Context(), []fleet.Device{other}); err != nil {
					t.Fatal(err)
				}
				s, err := b.open(otherPhone, "")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.Issue(t.Context(), spki); err != nil {
					t.Fatal(err)
				}
				s = b.mustOpen()
				_, err = s.Issue(t.Context(), spki)
				s.Abort(t.Context(), refusal(t, err))
			},
			want: with(due, fail, "fleet.key-of-another-device", "authenticate key:fleet.key-of-another-device", ""),
		},
		"authority denies": {
			call: func(t *testing.T, b *bed) {
				b.ca.outcome = &ca.Outcome{Status: ca.Denied, Denial: &ca.Error{ErrCode: "adcs.denied", Detail: "no", Fix: "ask", Final: true}}
				_, spki := newKey(t)
				s := b.mustOpen()
				_, err := s.Issue(t.Context(), spki)
				s.Abort(t.Context(), refusal(t, err))
			},
			want: with(failed, fail, "adcs.denied", "authenticate key issue:adcs.denied", enroll.Denied),
		},
		"authority waits for a person": {
			call: func(t *testing.T, b *bed) {
				b.ca.outcome = &ca.Outcome{Status: ca.Pending, RequestID: "7", RetryAfter: time.Hour}
				_, spki := newKey(t)
				s := b.mustOpen()
				_, err := s.Issue(t.Context(), spki)
				s.Abort(t.Context(), err)
			},
			want: verdict{
				Operation: fleet.OperationInstall, Status: fleet.StatusPending, Note: "fleet.approval-pending", Told: fail,
				Steps: "authenticate key issue:fleet.approval-pending", Row: enroll.Pending,
			},
		},
		"out of time before the authority was asked": {
			call: func(t *testing.T, b *bed) {
				b.mustOpen().Abort(t.Context(), errors.Join(capf.ErrNotReady, context.DeadlineExceeded))
			},
			want: with(due, timedOut, "fleet.deferred", "authenticate key:fleet.deferred", ""),
		},
		"vanished with its certificate": {
			call: func(t *testing.T, b *bed) {
				s := b.mustOpen()
				issue(t, s)
				s.Abort(t.Context(), lost)
			},
			want: with(due, comm, capf.CodeConnectionLost, "authenticate key issue store:capf.connection-lost", enroll.Issued),
		},
		"does not store": {
			call: func(t *testing.T, b *bed) {
				s := b.mustOpen()
				der := issue(t, s)
				if err := s.Stored(t.Context(), der, capf.ReasonInvalidElement); err != nil {
					t.Fatal(err)
				}
				s.Abort(t.Context(), &capf.PhoneError{Command: capf.StoreCertificateResponse, Reason: capf.ReasonInvalidElement})
			},
			want: with(failed, comm, "fleet.not-stored", "authenticate key issue store:fleet.not-stored", enroll.Stale),
		},
		"offer refused, then lost": {
			call: func(t *testing.T, b *bed) {
				s := b.mustOpen()
				der := issue(t, s)
				s.Abort(t.Context(), lost)
				s = b.mustOpen()
				if err := s.Stored(t.Context(), der, capf.ReasonInvalidElement); err != nil {
					t.Fatal(err)
				}
				s.Abort(t.Context(), lost)
			},
			want: with(due, comm, capf.CodeConnectionLost, "authenticate offer:fleet.not-stored key:capf.connection-lost", enroll.Stale),
		},
		"late": {
			device: func(d *fleet.Device) { d.CompletesBy = d.Scheduled.Add(-time.Minute) },
			call:   func(t *testing.T, b *bed) { refusal(t, second(b.open(phone, ""))) },
			want:   with(failed, late, "fleet.late", "authenticate:fleet.late", ""),
		},
		"wrong string": {
			device: func(d *fleet.Device) { d.Auth, d.AuthString = fleet.AuthString, capf.Secret("123456") },
			call:   func(t *testing.T, b *bed) { refusal(t, second(b.open(phone, "1"))) },
			want:   with(due, "CAPF_OP_FAIL_INVALID_AUTH_STR", "fleet.wrong-string", "authenticate:fleet.wrong-string", ""),
		},
		"server stops": {
			call: func(t *testing.T, b *bed) { b.mustOpen().Abort(t.Context(), capf.ErrServerClosed) },
			want: with(due, fail, capf.CodeServerStopping, "authenticate key:capf.server-stopping", ""),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, c.device)
			c.call(t, b)
			d, a := b.device(), b.lastAttempt()
			got := verdict{Operation: d.Operation, Status: d.Status, LSC: d.LSC != nil, OK: a.OK, Told: a.Result.Name(), Steps: steps(a)}
			if d.HasResult {
				got.Result = d.Result.Name()
			}
			if d.Note != nil {
				got.Note = d.Note.Code
				if d.Note.Remedy == "" || d.Note.Detail == "" {
					t.Errorf("note %+v", d.Note)
				}
			}
			if rows := b.rows(); len(rows) > 0 {
				got.Row = rows[0].State
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestStory: what an attempt says of a call that went well.
func TestStory(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(d *fleet.Device) { d.Auth, d.AuthString = fleet.AuthString, capf.Secret("4711471147") })
	at := b.now
	b.service.Now = func() time.Time { at = at.Add(time.Second); return at }
	renewed := at.Add(time.Hour).UTC().Truncate(time.Millisecond)
	b.service.RenewAt = func(d *fleet.Device) time.Time {
		if d.LSC == nil || d.Name != phone {
			t.Errorf("asked for %+v", d)
		}
		return renewed
	}
	s, err := b.open(phone, "4711471147")
	if err != nil {
		t.Fatal(err)
	}
	_, spki := newKey(t)
	b.sign(s, spki, capf.ReasonUpdateCertificate)
	a, d := b.lastAttempt(), b.device()
	if !d.RenewAt.Equal(renewed) || len(d.AuthString) != 0 {
		t.Errorf("on record: %+v", d)
	}
	row := b.rows()[0]
	var sum time.Duration
	for _, st := range a.Steps {
		if st.Duration <= 0 {
			t.Errorf("step %s took %s", st.Name, st.Duration)
		}
		sum += st.Duration
	}
	if a.Duration < sum || a.Session != 1 || a.Version != 3 || a.Peer != "127.0.0.1:1" || a.Credential != "string" || a.Auth != fleet.AuthString ||
		a.Operation != fleet.OperationInstall || a.Enrolment != row.ID || a.Serial != row.Serial || a.Steps[1].Detail != "ec:256" {
		t.Errorf("attempt %+v of %s", a, sum)
	}
}

// TestNothingTellsTheString reads all that is logged and kept of right and wrong strings.
func TestNothingTellsTheString(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(d *fleet.Device) { d.Auth, d.AuthString = fleet.AuthString, capf.Secret("4711471147") })
	var log syncBuilder
	b.service.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	refusal(t, second(b.open(phone, "0815081508")))
	s, err := b.open(phone, "4711471147")
	if err != nil {
		t.Fatal(err)
	}
	s.Abort(t.Context(), lost)
	all, err := b.phones.Attempts(t.Context(), phone, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := log.String() + cmp.Diff(nil, all) + cmp.Diff(nil, b.device().Note)
	// Most of it too, but no short part: the nanoseconds of a time may have four such digits by accident.
	if strings.Contains(text, "47114711") || strings.Contains(text, "08150815") || !strings.Contains(text, "fleet.wrong-string") {
		t.Errorf("told:\n%s", text)
	}
}

type syncBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuilder) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuilder) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestTroubleshootTellsTheKinds: what a certificate is, is seen by its issuer, and by the phone's word only where nobody knows the issuer.
func TestTroubleshootTellsTheKinds(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	foreign := issue(t, "elsewhere", p.foreignCA, ecKey(t), nil)
	b := certBed(t, p, fleet.AuthNull, func(d *fleet.Device) {
		onRecord(foreign)(d)
		d.Schedule(fleet.OperationTroubleshoot, d.Scheduled)
	})
	var log syncBuilder
	b.service.Log = slog.New(slog.NewJSONHandler(&log, nil))
	unknown := issue(t, "unknown", p.foreignCA, ecKey(t), nil)
	err := b.mustOpen().Fetched(t.Context(), []capf.CertificateEntry{
		{Type: capf.CertificateLSC, DER: p.mic.x.Raw},
		{Type: capf.CertificateMIC, DER: p.lsc.x.Raw},
		{Type: capf.CertificateMIC, DER: foreign.x.Raw},
		{Type: capf.CertificateMIC, DER: unknown.x.Raw},
		{Type: capf.CertificateLSC, DER: []byte{0x30, 0}},
	}, capf.ReasonUpdateCertificate)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, s := range b.device().Shown {
		kinds = append(kinds, s.Type)
	}
	if diff := cmp.Diff([]string{"mic", "lsc", "lsc", "mic", "lsc"}, kinds); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if text := log.String(); strings.Count(text, "capf.fetched") != 5 || !strings.Contains(text, "CP-8841-"+phone) {
		t.Errorf("logged:\n%s", text)
	}
	if a := b.lastAttempt(); !a.OK || steps(a) != "authenticate fetch" || a.Steps[1].Detail != "5 certificates" {
		t.Errorf("attempt %+v", a)
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	g, err := fleet.ParseGroup([]string{"CSF*", "model:88?5", " sep00112233* "})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, model string
		want        bool
	}{
		{"CSFALICE", "", true},
		{"TABALICE", "", false},
		{"SEP0000000000FF", "8865", true},
		{"SEP0000000000FF", "cp-8865", true},
		{"SEP0000000000FF", "8851NR", false},
		{"SEP001122334455", "7841", true},
		{"SEP0000000000FF", "", false},
	} {
		if got := g.Has(&fleet.Device{Name: c.name, Model: c.model}); got != c.want {
			t.Errorf("%s %s: %v", c.name, c.model, got)
		}
	}
	if (fleet.Group{}).Has(&fleet.Device{Name: phone}) {
		t.Error("the empty group has a member")
	}
	for _, bad := range []string{"", "model:", "[", "model:88["} {
		var p *fleet.Problem
		if _, err := fleet.ParseGroup([]string{bad}); !errors.As(err, &p) || p.Code() != "fleet.group" {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSubjectRules(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(d *fleet.Device) { d.Model = "8865" })
	rules, err := fleet.ParseSubjectRules([]string{"CSF*={name}", "model:88*=CP-{model}-{name}", "SEP*={name}"}, pkix.Name{Organization: []string{"Test"}})
	if err != nil {
		t.Fatal(err)
	}
	b.service.SubjectFor = rules
	_, spki := newKey(t)
	if _, err := b.mustOpen().Issue(t.Context(), spki); err != nil {
		t.Fatal(err)
	}
	row := b.rows()[0]
	leaf, err := x509.ParseCertificate(row.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if s := leaf.Subject.String(); s != "CN=CP-8865-"+phone+",O=Test" {
		t.Errorf("subject %s", s)
	}
	for bad, code := range map[string]string{"CSF*": "fleet.subject", "CSF*={model}": "fleet.subject", "[={name}": "fleet.group", "CSF*=": "fleet.subject", "CSF*={name}.example.com": "fleet.subject"} {
		var p *fleet.Problem
		if _, err := fleet.ParseSubjectRules([]string{bad}, pkix.Name{Organization: []string{"Test"}}); !errors.As(err, &p) || p.Code() != code {
			t.Errorf("%q: %v, want %s", bad, err, code)
		}
	}
}

// TestChangedBeforeIssue: nothing is issued against what an administrator has set during the call.
func TestChangedBeforeIssue(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*fleet.Device)
		same   bool
	}{
		"cancelled":          {change: func(d *fleet.Device) { d.Schedule(fleet.OperationNone, time.Now()) }},
		"another operation":  {change: func(d *fleet.Device) { d.Schedule(fleet.OperationDelete, time.Now()) }},
		"ordered again":      {change: func(d *fleet.Device) { d.Schedule(fleet.OperationInstall, time.Now()) }},
		"another mode":       {change: func(d *fleet.Device) { d.Auth = fleet.AuthMIC }},
		"another string":     {change: func(d *fleet.Device) { d.AuthString = capf.Secret("4711") }},
		"its description is": {change: func(d *fleet.Device) { d.Description = "reception" }, same: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, nil)
			s := b.mustOpen()
			if _, err := b.phones.UpdateDevice(t.Context(), phone, func(d *fleet.Device) error { c.change(d); return nil }); err != nil {
				t.Fatal(err)
			}
			before := b.device()
			_, spki := newKey(t)
			_, err := s.Issue(t.Context(), spki)
			if c.same {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if r := refusal(t, err); r.Code() != "fleet.operation-changed" {
				t.Errorf("refused with %s: %v", r.Code(), r)
			}
			s.Abort(t.Context(), err)
			d := b.device()
			if len(b.rows()) != 0 || b.ca.count() != 0 || d.Operation != before.Operation || d.Status != before.Status || d.Auth != before.Auth {
				t.Errorf("%d rows, operation %s, status %s", len(b.rows()), d.Operation, d.Status)
			}
			if a := b.lastAttempt(); a.OK || a.Note == nil || a.Note.Code != "fleet.operation-changed" {
				t.Errorf("attempt %+v", a)
			}
		})
	}
}

// TestTroubleshootWithTooMany: thousands of certificates, or what goes for them, are not all kept and logged.
func TestTroubleshootWithTooMany(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(d *fleet.Device) { d.Schedule(fleet.OperationTroubleshoot, d.Scheduled) })
	var log syncBuilder
	b.service.Log = slog.New(slog.NewJSONHandler(&log, nil))
	many := slices.Repeat([]capf.CertificateEntry{{Type: capf.CertificateLSC, DER: []byte{0x30, 0}}}, 9000)
	if err := b.mustOpen().Fetched(t.Context(), many, capf.ReasonUpdateCertificate); err != nil {
		t.Fatal(err)
	}
	if n, lines := len(b.device().Shown), strings.Count(log.String(), "\n"); n != 16 || lines > 20 {
		t.Errorf("%d certificates kept, %d lines logged", n, lines)
	}
	if a := b.lastAttempt(); !a.OK || a.Steps[1].Detail != "9000 certificates, of which the first 16 are kept" {
		t.Errorf("attempt %+v", a)
	}
}
