package fleet_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callsign/capf"
	"callsign/internal/ca"
	"callsign/internal/ca/local"
	"callsign/internal/enroll"
	"callsign/internal/enroll/enrolltest"
	"callsign/internal/fleet"
	"callsign/internal/fleet/fleettest"
)

// authority is a local CA that can be told to be slow, to refuse or to wait for a person, and counts.
type authority struct {
	*local.Authority
	mu      sync.Mutex
	issued  int
	outcome *ca.Outcome   // instead of issuing
	gate    chan struct{} // issuing waits for it, nil: not
}

// Private implements [ca.Private]: an authority that may wait at a gate is none.
func (a *authority) Private() bool { return false }

func (a *authority) Issue(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
	a.mu.Lock()
	gate, outcome := a.gate, a.outcome
	a.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if outcome != nil {
		return *outcome, nil
	}
	o, err := a.Authority.Issue(ctx, r, l)
	if err == nil && o.Status == ca.Issued {
		a.mu.Lock()
		a.issued++
		a.mu.Unlock()
	}
	return o, err
}

func (a *authority) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.issued
}

type bed struct {
	t       *testing.T
	ca      *authority
	journal *enrolltest.Memory
	engine  *enroll.Engine
	phones  *fleettest.Memory
	service *fleet.Service
	now     time.Time
}

const phone = "SEP001122334455"

// lost is how a session ends whose phone has vanished.
var lost = &capf.ProtocolError{ErrCode: capf.CodeConnectionLost, Detail: "peer closed the connection"}

func newBed(t *testing.T, change func(*fleet.Device)) *bed {
	t.Helper()
	root, err := local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Test CA", Organization: []string{"Test"}}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := local.New(local.Config{Certificate: root.Certificate, Signer: root.Signer})
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, ca: &authority{Authority: l}, journal: &enrolltest.Memory{}, now: time.Now().Add(-time.Second)}
	b.engine = &enroll.Engine{Journal: b.journal, Authorities: map[string]ca.Authority{"local": b.ca}}
	t.Cleanup(func() { b.engine.Shutdown(context.Background()) })
	b.phones = &fleettest.Memory{Journal: b.journal, Owners: []string{fleet.Owner(phone), fleet.Owner("SEP0000000000FF")}}
	b.service = &fleet.Service{
		Store: b.phones, Engine: b.engine, Authority: "local", Mode: "CAPF", Now: func() time.Time { return b.now },
		Subject: fleet.SubjectTemplate("{model}-{name}", root.Certificate.Subject),
	}
	d := fleet.NewDevice(phone)
	d.KeyOrder = fleet.KeyOrderEC
	d.Schedule(fleet.OperationInstall, b.now)
	if change != nil {
		change(&d)
	}
	if err := b.phones.AddDevices(t.Context(), []fleet.Device{d}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bed) open(name, str string) (capf.Session, error) {
	return b.service.Open(b.t.Context(), capf.Caller{Session: 1, Peer: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, Version: 3, Device: name, String: capf.Secret(str)})
}

func (b *bed) mustOpen() capf.Session {
	b.t.Helper()
	s, err := b.open(phone, "")
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// sign lets a session get the certificate for a key and tells what the phone made of it.
func (b *bed) sign(s capf.Session, spki []byte, r capf.Reason) []byte {
	b.t.Helper()
	der, err := s.Issue(b.t.Context(), spki)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := s.Stored(b.t.Context(), der, r); err != nil {
		b.t.Fatal(err)
	}
	return der
}

func (b *bed) device() fleet.Device {
	b.t.Helper()
	d, err := b.phones.Device(b.t.Context(), phone)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

func (b *bed) rows() []enroll.Enrolment {
	b.t.Helper()
	rows, err := b.journal.ByOwner(b.t.Context(), fleet.Owner(phone))
	if err != nil {
		b.t.Fatal(err)
	}
	return rows
}

func newKey(t *testing.T) (crypto.Signer, []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k, spki
}

func refusal(t *testing.T, err error) *capf.Refusal {
	t.Helper()
	var r *capf.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("got %v, want a refusal", err)
	}
	if r.Code() == "" || r.Remedy() == "" {
		t.Errorf("refusal %v has code %q and remedy %q", r, r.Code(), r.Remedy())
	}
	return r
}

func TestInstallIsFinalOnlyWhenStored(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(d *fleet.Device) { d.Model = "CP-8865" })
	s := b.mustOpen()
	if got := s.Task(); got.Operation != capf.OperationInstall || len(got.Keys) != 1 || got.Keys[0] != (capf.KeySpec{Type: capf.KeyEC, Bits: 256}) {
		t.Fatalf("task %+v", got)
	}
	_, spki := newKey(t)
	der, err := s.Issue(t.Context(), spki)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if leaf.Subject.String() != "CN=CP-8865-"+phone+",O=Test" || len(leaf.URIs) != 1 || leaf.URIs[0].String() != phone {
		t.Errorf("subject %s, URIs %v", leaf.Subject, leaf.URIs)
	}
	if d := b.device(); d.Operation != fleet.OperationInstall || d.LSC != nil {
		t.Errorf("before the phone's answer: operation %s, LSC %v", d.Operation, d.LSC)
	}
	if err := s.Stored(t.Context(), der, capf.ReasonUpdateCertificate); err != nil {
		t.Fatal(err)
	}
	d := b.device()
	if d.Operation != fleet.OperationNone || d.Status != fleet.StatusUpgradeSuccess || d.LSC == nil || d.Result != capf.ResultSuccess {
		t.Errorf("after it: %+v", d)
	}
	if r := b.rows(); len(r) != 1 || r[0].State != enroll.Confirmed {
		t.Errorf("journal: %+v", r)
	}
}

func TestTurnedAway(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*fleet.Device)
		device string
		str    string
		reason capf.Reason
		result capf.Result
		code   string
		status fleet.Status
	}{
		"unknown device": {nil, "SEP00000000BEEF", "", capf.ReasonUnknownDevice, capf.ResultFail, "fleet.unknown-device", fleet.StatusPending},
		"wrong string": {
			func(d *fleet.Device) { d.Auth, d.AuthString = fleet.AuthString, capf.Secret("123456") }, phone, "654321",
			capf.ReasonInvalidElement, capf.ResultInvalidAuthString, "fleet.wrong-string", fleet.StatusPending,
		},
		"no string": {
			func(d *fleet.Device) { d.Auth, d.AuthString = fleet.AuthString, capf.Secret("123456") }, phone, "",
			capf.ReasonInvalidElement, capf.ResultInvalidAuthString, "fleet.wrong-string", fleet.StatusPending,
		},
		"late": {
			func(d *fleet.Device) { d.CompletesBy = d.Scheduled.Add(-time.Minute) }, phone, "",
			capf.ReasonInvalidElement, capf.ResultLateRequest, "fleet.late", fleet.StatusUpgradeFailed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, c.change)
			_, err := b.open(c.device, c.str)
			r := refusal(t, err)
			if r.Reason != c.reason || r.Result != c.result || r.Code() != c.code {
				t.Errorf("got reason %d, result %v, code %s", r.Reason, r.Result, r.Code())
			}
			if d := b.device(); d.Status != c.status {
				t.Errorf("status %s, want %s", d.Status, c.status)
			}
		})
	}
}

func TestStringIsLockedAfterFive(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(d *fleet.Device) { d.Auth, d.AuthString = fleet.AuthString, capf.Secret("123456") })
	for i := range 5 {
		want := "fleet.wrong-string"
		if i == 4 {
			want = "fleet.locked" // to type again would help no more
		}
		if r := refusal(t, second(b.open(phone, fmt.Sprintf("%06d", i)))); r.Code() != want {
			t.Fatalf("attempt %d: %s, want %s", i, r.Code(), want)
		}
	}
	if r := refusal(t, second(b.open(phone, "123456"))); r.Code() != "fleet.locked" {
		t.Errorf("the right string after five wrong ones: %s, want fleet.locked", r.Code())
	}
	if d := b.device(); d.WrongTries != 5 || d.Operation != fleet.OperationInstall {
		t.Errorf("wrong tries %d, operation %s", d.WrongTries, d.Operation)
	}
	if _, err := b.phones.UpdateDevice(t.Context(), phone, func(d *fleet.Device) error { d.Schedule(fleet.OperationInstall, b.now); return nil }); err != nil {
		t.Fatal(err)
	}
	s, err := b.open(phone, "123456")
	if err != nil {
		t.Fatalf("after setting the operation again: %v", err)
	}
	_, spki := newKey(t)
	b.sign(s, spki, capf.ReasonUpdateCertificate)
	if d := b.device(); len(d.AuthString) != 0 {
		t.Error("the string is still there after its use")
	}
}

// However many calls come at once, no more strings are judged than the limit allows: the sixth is refused even if it is
// the right one.
func TestParallelGuessesAreLocked(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(d *fleet.Device) { d.Auth, d.AuthString = fleet.AuthString, capf.Secret("123456") })
	var judged, locked atomic.Int32
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			_, err := b.open(phone, fmt.Sprintf("%06d", i))
			var r *capf.Refusal
			switch {
			case !errors.As(err, &r):
				t.Errorf("guess %d: %v", i, err)
			case r.Code() == "fleet.wrong-string":
				judged.Add(1)
			case r.Code() == "fleet.locked":
				locked.Add(1)
			}
		})
	}
	wg.Wait()
	if d := b.device(); judged.Load() != 4 || locked.Load() != 196 || d.WrongTries != 5 {
		t.Errorf("%d told to type again, %d locked, %d counted; want 4, 196 and 5", judged.Load(), locked.Load(), d.WrongTries)
	}
	if r := refusal(t, second(b.open(phone, "123456"))); r.Code() != "fleet.locked" {
		t.Errorf("the right string afterwards: %s", r.Code())
	}
}

func TestExpiredCertificateIsNotOffered(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	_, spki := newKey(t)
	s := b.mustOpen()
	if _, err := s.Issue(t.Context(), spki); err != nil {
		t.Fatal(err)
	}
	s.Abort(t.Context(), lost)
	b.now = b.now.AddDate(2, 0, 0)
	if b.mustOpen().Task().Offer != nil {
		t.Error("a certificate that has expired is offered")
	}
}

func TestPendingElsewhereDoesNotBlock(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*bed){
		"the issuer was switched": func(b *bed) { b.service.Authority = "other" },
		"the operation was set again": func(b *bed) {
			if _, err := b.phones.UpdateDevice(b.t.Context(), phone, func(d *fleet.Device) error {
				d.Schedule(fleet.OperationInstall, time.Now().Add(time.Second))
				return nil
			}); err != nil {
				b.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, nil)
			b.ca.outcome = &ca.Outcome{Status: ca.Pending, RequestID: "25", RetryAfter: time.Hour}
			_, spki := newKey(t)
			if _, err := b.mustOpen().Issue(t.Context(), spki); !errors.Is(err, capf.ErrNotReady) {
				t.Fatalf("got %v, want ErrNotReady", err)
			}
			if _, err := b.open(phone, ""); err == nil {
				t.Fatal("a pending request does not hold the phone back at all")
			}
			change(b)
			if s, err := b.open(phone, ""); err != nil || s.Task().Operation != capf.OperationInstall {
				t.Errorf("got %v, want an install", err)
			}
		})
	}
}

// Two calls of one phone overlap: the second brings another key, the first one's certificate is stored nevertheless.
func TestStoredAlthoughSuperseded(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	first, second := b.mustOpen(), b.mustOpen()
	_, k1 := newKey(t)
	der, err := first.Issue(t.Context(), k1)
	if err != nil {
		t.Fatal(err)
	}
	_, k2 := newKey(t)
	if _, err := second.Issue(t.Context(), k2); err != nil {
		t.Fatal(err)
	}
	if err := first.Stored(t.Context(), der, capf.ReasonUpdateCertificate); err != nil {
		t.Fatal(err)
	}
	if d := b.device(); d.LSC == nil || string(d.LSC.DER) != string(der) || d.Operation != fleet.OperationInstall {
		t.Errorf("LSC recorded %v, operation %s; want it recorded and the operation left to the other call", d.LSC != nil, d.Operation)
	}
}

// Two devices with one key at the same moment: one of them is refused.
func TestKeyClaimedAtTheSameMoment(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	d := fleet.NewDevice("SEP0000000000FF")
	d.KeyOrder = fleet.KeyOrderEC
	d.Schedule(fleet.OperationInstall, b.now)
	if err := b.phones.AddDevices(t.Context(), []fleet.Device{d}); err != nil {
		t.Fatal(err)
	}
	_, spki := newKey(t)
	var refused atomic.Int32
	var wg sync.WaitGroup
	for _, name := range []string{phone, d.Name} {
		s, err := b.open(name, "")
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			var r *capf.Refusal
			if _, err := s.Issue(t.Context(), spki); errors.As(err, &r) && r.Code() == "fleet.key-of-another-device" {
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	if refused.Load() != 1 || b.ca.count() != 1 {
		t.Errorf("%d refused, %d issued; want one of each", refused.Load(), b.ca.count())
	}
}

func second(_ capf.Session, err error) error { return err }

func TestNothingDueJudgesNoString(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(d *fleet.Device) {
		d.Auth, d.AuthString, d.Operation = fleet.AuthString, capf.Secret("123456"), fleet.OperationNone
	})
	s, err := b.open(strings.ToLower(phone), "000000")
	if err != nil || s.Task().Operation != capf.OperationNone {
		t.Fatalf("got %v", err)
	}
	if d := b.device(); d.WrongTries != 0 {
		t.Error("a wrong string was counted although nothing was due")
	}
}

// A certificate on its way when the connection broke is offered once at the next call; then the same key gets it again,
// and the CA is asked once in all.
func TestLostConnectionOffersOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	_, spki := newKey(t)
	s := b.mustOpen()
	der, err := s.Issue(t.Context(), spki)
	if err != nil {
		t.Fatal(err)
	}
	s.Abort(t.Context(), lost)
	if d := b.device(); d.Operation != fleet.OperationInstall || d.Note == nil || d.Result != capf.ResultPhoneCommError {
		t.Errorf("after the loss: %+v", d)
	}
	s = b.mustOpen()
	if string(s.Task().Offer) != string(der) {
		t.Fatal("the certificate is not offered at the next call")
	}
	s.Abort(t.Context(), lost)
	s = b.mustOpen()
	if s.Task().Offer != nil {
		t.Fatal("the certificate is offered a second time")
	}
	again, err := s.Issue(t.Context(), spki)
	if err != nil {
		t.Fatal(err)
	}
	if string(again) != string(der) || b.ca.count() != 1 {
		t.Errorf("same certificate: %v; the CA issued %d", string(again) == string(der), b.ca.count())
	}
	if err := s.Stored(t.Context(), again, capf.ReasonUpdateCertificate); err != nil {
		t.Fatal(err)
	}
	if d := b.device(); d.Operation != fleet.OperationNone || d.LSC == nil {
		t.Errorf("at the end: %+v", d)
	}
}

// TestOldKeyIsNotOffered: a certificate that waits for the phone is none any more when another kind of key is wanted.
func TestOldKeyIsNotOffered(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	_, spki := newKey(t)
	if _, err := b.mustOpen().Issue(t.Context(), spki); err != nil {
		t.Fatal(err)
	}
	want := func(bits int, offered bool) {
		t.Helper()
		_, err := b.phones.UpdateDevice(t.Context(), phone, func(d *fleet.Device) error {
			d.ECBits = bits
			d.Schedule(fleet.OperationInstall, b.now)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := b.mustOpen().Task().Offer != nil; got != offered {
			t.Errorf("%d bits wanted, offered %v", bits, got)
		}
	}
	want(384, false)
	want(256, true)
	b.service.AcceptOtherKey = true
	want(384, true)
}

func TestOfferRefusedGoesOnWithAnotherKey(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	_, first := newKey(t)
	s := b.mustOpen()
	der, err := s.Issue(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	s.Abort(t.Context(), lost)
	s = b.mustOpen()
	if err := s.Stored(t.Context(), der, capf.ReasonInvalidElement); err != nil {
		t.Fatal(err)
	}
	if d := b.device(); d.Operation != fleet.OperationInstall {
		t.Fatalf("operation %s after the refused offer, want install", d.Operation)
	}
	_, other := newKey(t)
	der, err = s.Issue(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stored(t.Context(), der, capf.ReasonUpdateCertificate); err != nil {
		t.Fatal(err)
	}
	rows := b.rows()
	if len(rows) != 2 || rows[0].State != enroll.Confirmed || rows[1].State != enroll.Stale {
		t.Errorf("journal: %v %v", rows[0].State, rows[1].State)
	}
}

func TestRefusedCertificateFails(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	_, spki := newKey(t)
	s := b.mustOpen()
	b.sign(s, spki, capf.ReasonInvalidElement)
	d := b.device()
	if d.Status != fleet.StatusUpgradeFailed || d.Result != capf.ResultPhoneCommError || d.LSC != nil || b.rows()[0].State != enroll.Stale {
		t.Errorf("device %+v, row %s", d, b.rows()[0].State)
	}
}

func TestAnotherKeyMakesTheOlderRequestStale(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	gate := make(chan struct{})
	b.ca.gate = gate
	_, first := newKey(t)
	s := b.mustOpen()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := s.Issue(ctx, first); !errors.Is(err, capf.ErrNotReady) {
		t.Fatalf("a silent CA: %v, want ErrNotReady", err)
	}
	s.Abort(t.Context(), capf.ErrNotReady)
	if d := b.device(); d.Operation != fleet.OperationInstall || d.Status != fleet.StatusPending {
		t.Errorf("a silent CA changed the operation: %+v", d)
	}
	s = b.mustOpen()
	_, other := newKey(t)
	close(gate)
	if _, err := s.Issue(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	rows := b.rows()
	if len(rows) != 2 || rows[0].State != enroll.Issued || rows[1].State != enroll.Stale {
		t.Errorf("journal: %v", rows)
	}
}

func TestKeyOfAnotherDevice(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	d := fleet.NewDevice("SEP0000000000FF")
	d.KeyOrder = fleet.KeyOrderEC
	d.Schedule(fleet.OperationInstall, b.now)
	if err := b.phones.AddDevices(t.Context(), []fleet.Device{d}); err != nil {
		t.Fatal(err)
	}
	_, spki := newKey(t)
	if _, err := b.mustOpen().Issue(t.Context(), spki); err != nil {
		t.Fatal(err)
	}
	s, err := b.open(d.Name, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Issue(t.Context(), spki)
	if r := refusal(t, err); r.Code() != "fleet.key-of-another-device" || b.ca.count() != 1 {
		t.Errorf("code %s, CA issued %d", r.Code(), b.ca.count())
	}
}

func TestDenialEndsTheOperation(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	b.ca.outcome = &ca.Outcome{Status: ca.Denied, Denial: &ca.Error{ErrCode: "adcs.denied", Detail: "Denied by Policy Module", Fix: "publish the template", Final: true}}
	_, spki := newKey(t)
	s := b.mustOpen()
	_, err := s.Issue(t.Context(), spki)
	if r := refusal(t, err); r.Code() != "adcs.denied" || r.Remedy() != "publish the template" {
		t.Errorf("code %s, remedy %s", r.Code(), r.Remedy())
	}
	d := b.device()
	if d.Status != fleet.StatusUpgradeFailed || d.Result != capf.ResultFail || d.Note == nil || d.Note.Code != "adcs.denied" {
		t.Errorf("device %+v", d)
	}
}

func TestApprovalPendingAsksForNoOtherKey(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	b.ca.outcome = &ca.Outcome{Status: ca.Pending, RequestID: "25", RetryAfter: time.Hour}
	_, spki := newKey(t)
	if _, err := b.mustOpen().Issue(t.Context(), spki); !errors.Is(err, capf.ErrNotReady) {
		t.Fatalf("got %v, want ErrNotReady", err)
	}
	_, err := b.open(phone, "")
	if r := refusal(t, err); r.Code() != "fleet.approval-pending" || !strings.Contains(r.Error(), "25") || r.RetryLater != 0 {
		t.Errorf("%s: %v", r.Code(), r)
	}
	if d := b.device(); d.Operation != fleet.OperationInstall || d.Status != fleet.StatusPending {
		t.Errorf("device %+v", d)
	}
	if b.service.RetryLater, err = fleet.ParseGroup([]string{"SEP*"}); err != nil {
		t.Fatal(err)
	}
	b.service.RetryLaterAfter = 5 * time.Minute
	_, err = b.open(phone, "")
	if r := refusal(t, err); r.RetryLater != 5*time.Minute {
		t.Errorf("told to call again after %v", r.RetryLater)
	}
}

func TestFetchAndDelete(t *testing.T) {
	t.Parallel()
	der := []byte{0x30, 0}
	for name, c := range map[string]struct {
		op     fleet.Operation
		end    func(context.Context, capf.Session) error
		status fleet.Status
		result capf.Result
		shown  int
		lsc    bool
		note   string
	}{
		"fetch": {fleet.OperationTroubleshoot, func(ctx context.Context, s capf.Session) error {
			return s.Fetched(ctx, []capf.CertificateEntry{{Type: capf.CertificateLSC, DER: der}, {Type: capf.CertificateMIC, DER: der}}, capf.ReasonUpdateCertificate)
		}, fleet.StatusTroubleshootSuccess, capf.ResultSuccess, 2, true, ""},
		"fetch none": {fleet.OperationTroubleshoot, func(ctx context.Context, s capf.Session) error {
			return s.Fetched(ctx, nil, capf.ReasonInvalidElement)
		}, fleet.StatusTroubleshootSuccess, capf.ResultFetchNoCertificate, 0, true, ""},
		"delete": {fleet.OperationDelete, func(ctx context.Context, s capf.Session) error {
			return s.Deleted(ctx, capf.ReasonUpdateCertificate)
		}, fleet.StatusDeleteSuccess, capf.ResultSuccess, 0, false, ""},
		"delete none": {fleet.OperationDelete, func(ctx context.Context, s capf.Session) error {
			return s.Deleted(ctx, capf.ReasonInvalidElement)
		}, fleet.StatusDeleteSuccess, capf.ResultSuccess, 0, false, "no certificate on phone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, func(d *fleet.Device) {
				d.Schedule(c.op, d.Scheduled)
				d.LSC = &fleet.Certificate{DER: der}
			})
			if err := c.end(t.Context(), b.mustOpen()); err != nil {
				t.Fatal(err)
			}
			d := b.device()
			note := ""
			if d.Note != nil {
				note = d.Note.Detail
			}
			if d.Operation != fleet.OperationNone || d.Status != c.status || d.Result != c.result || len(d.Shown) != c.shown || (d.LSC != nil) != c.lsc || note != c.note {
				t.Errorf("device %+v", d)
			}
		})
	}
}

// What an administrator schedules while a phone is being served is not lost with the end of the call.
func TestAdministratorWinsOverTheCall(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	s := b.mustOpen()
	_, spki := newKey(t)
	der, err := s.Issue(t.Context(), spki)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.phones.UpdateDevice(t.Context(), phone, func(d *fleet.Device) error {
		d.Schedule(fleet.OperationDelete, b.now.Add(time.Second))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Stored(t.Context(), der, capf.ReasonUpdateCertificate); err != nil {
		t.Fatal(err)
	}
	if d := b.device(); d.Operation != fleet.OperationDelete || d.Status != fleet.StatusPending || d.LSC == nil {
		t.Errorf("device %+v", d)
	}
}

func TestPhoneFailureEndsTheOperation(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	b.mustOpen().Abort(t.Context(), &capf.PhoneError{Command: capf.KeyGenerateResponse, Reason: capf.ReasonInvalidElement})
	if d := b.device(); d.Status != fleet.StatusUpgradeFailed || d.Result != capf.ResultPhoneCommError || d.Note == nil {
		t.Errorf("device %+v", d)
	}
}

func TestDeviceNames(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{
		phone: true, "CSFALICE": true, "TAB-7.B_2": true, "SEP00112233445": false, "SEP00112233445G": false, "../etc/passwd": false, "": false,
	} {
		d := fleet.NewDevice(name)
		if err := d.Validate(); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
