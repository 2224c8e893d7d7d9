package fleet_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"callsign/capf"
	"callsign/internal/ca"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

// TestWaitingIsOnRecord: a phone that has to go without its certificate finds its operation due, and the record says why.
func TestWaitingIsOnRecord(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		outcome *ca.Outcome
		gate    bool
		code    string
	}{
		{name: "silent", gate: true, code: "fleet.deferred"},
		{name: "a person decides", outcome: &ca.Outcome{Status: ca.Pending, RequestID: "7", RetryAfter: time.Hour}, code: "fleet.approval-pending"},
		{name: "an RA works on it", outcome: &ca.Outcome{Status: ca.Pending, RetryAfter: time.Hour}, code: "fleet.deferred"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, nil)
			b.ca.outcome = tt.outcome
			if tt.gate {
				gate := make(chan struct{})
				b.ca.gate = gate
				t.Cleanup(func() { close(gate) }) // before the bed's cleanup
			}
			_, spki := newKey(t)
			patience := time.Minute
			if tt.gate { // the others have their answer, however busy the machine is
				patience = 500 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if _, err := b.mustOpen().Issue(ctx, spki); !errors.Is(err, capf.ErrNotReady) {
				t.Fatalf("issue: %v", err)
			}
			d := b.device()
			if d.Operation != fleet.OperationInstall || d.Status != fleet.StatusPending || d.HasResult {
				t.Errorf("operation %s, status %s, result %v", d.Operation, d.Status, d.Result)
			}
			if d.Note == nil || d.Note.Code != tt.code || d.Note.Remedy == "" {
				t.Errorf("note %+v, want %s", d.Note, tt.code)
			}
		})
	}
}

// TestRefusedWhileAway: what the authority refuses after the phone has gone ends the operation at the next call, without
// another request; once it is ordered anew the authority is asked again.
func TestRefusedWhileAway(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		row   enroll.State
		code  string
		ended bool
	}{
		{"denied", enroll.Denied, "certsrv.denied", true},
		{"gave up", enroll.Failed, "certsrv.ca-unavailable", true},
		{"our own account is refused", enroll.Failed, ca.CodeLoginRefused, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, func(d *fleet.Device) { d.Scheduled = d.Scheduled.Add(-time.Minute) })
			_, spki := newKey(t)
			now := time.Now()
			_, _, err := b.journal.Open(t.Context(), enroll.Enrolment{
				ID: "1", Request: enroll.Request{Authority: "local", Owner: fleet.Owner(phone), PublicKey: spki}, State: tt.row,
				Failure: &enroll.Failure{Code: tt.code, Detail: "no", Remedy: "ask"}, Created: now, Updated: now,
			})
			if err != nil {
				t.Fatal(err)
			}
			if !tt.ended {
				b.mustOpen()
				return
			}
			var refusal *capf.Refusal
			if _, err := b.open(phone, ""); !errors.As(err, &refusal) || refusal.Reason != capf.ReasonInvalidElement || refusal.Result != capf.ResultFail {
				t.Fatalf("open: %v", err)
			}
			d := b.device()
			if d.Operation != fleet.OperationNone || d.Status != fleet.StatusUpgradeFailed || d.Note == nil || d.Note.Code != tt.code || d.Note.Remedy != "ask" {
				t.Errorf("operation %s, status %s, note %+v", d.Operation, d.Status, d.Note)
			}
			if n := len(b.rows()); n != 1 || b.ca.count() != 0 {
				t.Errorf("%d rows, %d certificates", n, b.ca.count())
			}
			_, err = b.phones.UpdateDevice(t.Context(), phone, func(d *fleet.Device) error {
				d.Schedule(fleet.OperationInstall, now.Add(time.Minute))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			b.mustOpen()
		})
	}
}
