// Package fleettest holds what every implementation of fleet.Store must pass, and an implementation in memory for tests
// of rooms above.
package fleettest

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"callsign/capf"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

// Stores are a fleet.Store and the journal whose rows it confirms.
type Stores struct {
	Phones  fleet.Store
	Journal enroll.Journal
}

func full(name string) fleet.Device {
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	d := fleet.NewDevice(name)
	d.Model, d.Description = "8865", "Réception, 2nd floor"
	d.Origin, d.NoMIC = fleet.OriginRenewal, true
	d.Auth, d.AuthString = fleet.AuthString, capf.Secret("123456")
	d.KeyOrder, d.ECBits, d.RSABits = fleet.KeyOrderEC, 384, 4096
	d.CompletesBy = at.Add(48 * time.Hour)
	d.Schedule(fleet.OperationInstall, at)
	d.WrongTries, d.Offered = 2, "0123456789abcdef0123456789abcdef"
	d.Result, d.HasResult = capf.ResultInvalidAuthString, true
	d.Note = &fleet.Note{Code: "fleet.wrong-string", Detail: "wrong", Remedy: "again", At: at}
	d.LSC = &fleet.Certificate{DER: []byte{0x30, 0}, Serial: "0a", Issuer: "CN=CA", IssuerID: "ab12", NotBefore: at, NotAfter: at.AddDate(1, 0, 0)}
	d.RenewAt = at.AddDate(0, 8, 0)
	d.Shown = []fleet.Shown{{Type: "mic", DER: []byte{0x30, 1, 2}}}
	return d
}

var ignoreTimes = cmp.FilterPath(func(p cmp.Path) bool {
	return p.Last().String() == ".Created" || p.Last().String() == ".Updated"
}, cmp.Ignore())

// RunStore runs the suite; newStores makes empty ones.
func RunStore(t *testing.T, newStores func(t *testing.T) Stores) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Stores){
		"every field comes back":             everyField,
		"unknown names":                      unknown,
		"adding is all or nothing":           allOrNothing,
		"listing is ordered and counted":     listing,
		"a refused change writes nothing":    refusedChange,
		"updates do not lose each other":     concurrent,
		"times are kept to the millisecond":  times,
		"a refused change leaves no trace":   refusedInside,
		"finishing confirms the enrolment":   finishing,
		"finishing is one transaction":       finishingTogether,
		"attempts":                           attempts,
		"repeated attempts are counted":      repeatedAttempts,
		"old attempts are forgotten":         oldAttempts,
		"issuers":                            issuers,
		"many changes":                       applying,
		"many changes, one refused":          applyingRefused,
		"many changes, partial":              applyingPartial,
		"queries":                            queries,
		"pages of a query":                   pages,
		"a summary":                          summary,
		"a step of the renewal":              renewing,
		"a refused step of the renewal":      renewingRefused,
		"concurrent steps of the renewal":    renewingTogether,
		"another renewal policy":             replanning,
		"finishing without a row is refused": finishingNothing,
		"keys are found by their owner":      keyOwner,
		"certificates have their owners":     certificateOwners,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newStores(t))
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func everyField(t *testing.T, s Stores) {
	ctx := t.Context()
	noLSC := fleet.NewDevice("SEP00000000000E")
	noLSC.RenewAt = full("").RenewAt
	empty := fleet.NewDevice("SEP00000000000F")
	empty.LSC = &fleet.Certificate{}
	for _, want := range []fleet.Device{full("SEP001122334455"), fleet.NewDevice("CSFALICE"), noLSC, empty} {
		must(t, s.Phones.AddDevices(ctx, []fleet.Device{want}))
		got, err := s.Phones.Device(ctx, want.Name)
		must(t, err)
		if diff := cmp.Diff(want, got, ignoreTimes, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("after adding (-want +got):\n%s", diff)
		}
		if got.Created.IsZero() || got.Updated.IsZero() {
			t.Errorf("created %v, updated %v; want both set", got.Created, got.Updated)
		}
		// Each on its own, and then what is left: an implementation may write only what changed.
		at := full("").Scheduled
		other := full("").LSC
		other.DER, other.Serial, other.Issuer, other.IssuerID = []byte{0x30, 1, 7}, "0b", "CN=Other CA", "cd34"
		other.NotBefore, other.NotAfter = at.Add(time.Hour), at.Add(2*time.Hour)
		for field, change := range map[string]func(*fleet.Device){
			"model":       func(d *fleet.Device) { d.Model = "7841" },
			"description": func(d *fleet.Device) { d.Description = "Lager" },
			"operation":   func(d *fleet.Device) { d.Operation = fleet.OperationTroubleshoot },
			"origin":      func(d *fleet.Device) { d.Origin = fleet.OriginAdministrator },
			"status":      func(d *fleet.Device) { d.Status = fleet.StatusDeleteSuccess },
			"auth":        func(d *fleet.Device) { d.Auth = fleet.AuthMIC },
			"string":      func(d *fleet.Device) { d.AuthString = capf.Secret("7777") },
			"wrong tries": func(d *fleet.Device) { d.WrongTries = 9 },
			"key order":   func(d *fleet.Device) { d.KeyOrder = fleet.KeyOrderECRSA },
			"RSA bits":    func(d *fleet.Device) { d.RSABits = 3072 },
			"EC bits":     func(d *fleet.Device) { d.ECBits = 521 },
			"limit":       func(d *fleet.Device) { d.CompletesBy = at.Add(time.Minute) },
			"scheduled":   func(d *fleet.Device) { d.Scheduled = at.Add(time.Second) },
			"result":      func(d *fleet.Device) { d.Result, d.HasResult = capf.ResultSuccess, true },
			"note":        func(d *fleet.Device) { d.Note = &fleet.Note{Code: "fleet.other", Detail: "d", At: at} },
			"LSC":         func(d *fleet.Device) { d.LSC = other },
			"shown":       func(d *fleet.Device) { d.Shown = []fleet.Shown{{Type: "lsc", DER: []byte{0x30, 1, 9}}} },
			"no MIC":      func(d *fleet.Device) { d.NoMIC = !d.NoMIC },
			"renewal":     func(d *fleet.Device) { d.RenewAt = at.Add(time.Hour) },
			"offered":     func(d *fleet.Device) { d.Offered = "f" },
		} {
			change(&want)
			changed, err := s.Phones.UpdateDevice(ctx, want.Name, func(d *fleet.Device) error { change(d); return nil })
			must(t, err)
			got, err = s.Phones.Device(ctx, want.Name)
			must(t, err)
			for what, g := range map[string]fleet.Device{"returned": changed, "stored": got} {
				if diff := cmp.Diff(want, g, ignoreTimes); diff != "" {
					t.Errorf("%s after a change of the %s (-want +got):\n%s", what, field, diff)
				}
			}
		}
		want.Model, want.LSC, want.Note, want.Shown, want.AuthString = "7841", nil, nil, nil, nil
		changed, err := s.Phones.UpdateDevice(ctx, want.Name, func(d *fleet.Device) error {
			d.Model, d.LSC, d.Note, d.Shown, d.AuthString = "7841", nil, nil, nil, nil
			return nil
		})
		must(t, err)
		got, err = s.Phones.Device(ctx, want.Name)
		must(t, err)
		for what, g := range map[string]fleet.Device{"returned": changed, "stored": got} {
			if diff := cmp.Diff(want, g, ignoreTimes); diff != "" {
				t.Errorf("%s after the update (-want +got):\n%s", what, diff)
			}
		}
	}
}

func unknown(t *testing.T, s Stores) {
	ctx := t.Context()
	if _, err := s.Phones.Device(ctx, "SEP000000000000"); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("Device: %v, want ErrNotFound", err)
	}
	_, err := s.Phones.UpdateDevice(ctx, "SEP000000000000", func(*fleet.Device) error { return nil })
	if !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("UpdateDevice: %v, want ErrNotFound", err)
	}
}

func allOrNothing(t *testing.T, s Stores) {
	ctx := t.Context()
	a, b := fleet.NewDevice("SEP00000000000A"), fleet.NewDevice("SEP00000000000B")
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{b}))
	if err := s.Phones.AddDevices(ctx, []fleet.Device{a, b}); !errors.Is(err, fleet.ErrExists) {
		t.Fatalf("adding one twice: %v, want ErrExists", err)
	}
	if _, err := s.Phones.Device(ctx, a.Name); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("the new one of the two is there: %v", err)
	}
	if err := s.Phones.AddDevices(ctx, []fleet.Device{a, a}); !errors.Is(err, fleet.ErrExists) {
		t.Errorf("adding one twice at once: %v, want ErrExists", err)
	}
	if _, err := s.Phones.Device(ctx, a.Name); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("the one that came twice is there: %v", err)
	}
}

func listing(t *testing.T, s Stores) {
	ctx := t.Context()
	if d, n, err := s.Phones.Devices(ctx, fleet.Query{}); err != nil || n != 0 || len(d) != 0 {
		t.Fatalf("empty: %d devices, total %d, %v", len(d), n, err)
	}
	for _, name := range []string{"SEP00000000000C", "SEP00000000000A", "SEP00000000000B"} {
		must(t, s.Phones.AddDevices(ctx, []fleet.Device{fleet.NewDevice(name)}))
	}
	for limit, want := range map[int][]string{
		0: {"SEP00000000000A", "SEP00000000000B", "SEP00000000000C"}, 2: {"SEP00000000000A", "SEP00000000000B"},
	} {
		d, n, err := s.Phones.Devices(ctx, fleet.Query{Limit: limit})
		must(t, err)
		var got []string
		for _, x := range d {
			got = append(got, x.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" || n != 3 {
			t.Errorf("limit %d: total %d (-want +got):\n%s", limit, n, diff)
		}
	}
}

func refusedChange(t *testing.T, s Stores) {
	ctx := t.Context()
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{fleet.NewDevice("SEP00000000000A")}))
	refusal := errors.New("no")
	_, err := s.Phones.UpdateDevice(ctx, "SEP00000000000A", func(d *fleet.Device) error {
		d.Model = "changed"
		return refusal
	})
	if !errors.Is(err, refusal) {
		t.Fatalf("got %v, want the refusal", err)
	}
	d, err := s.Phones.Device(ctx, "SEP00000000000A")
	must(t, err)
	if d.Model != "" {
		t.Errorf("model %q was written", d.Model)
	}
}

func concurrent(t *testing.T, s Stores) {
	ctx := t.Context()
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{fleet.NewDevice("SEP00000000000A")}))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := s.Phones.UpdateDevice(ctx, "SEP00000000000A", func(d *fleet.Device) error { d.WrongTries++; return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	d, err := s.Phones.Device(ctx, "SEP00000000000A")
	must(t, err)
	if d.WrongTries != 20 {
		t.Errorf("counted %d of 20", d.WrongTries)
	}
}

func issued(ctx context.Context, t *testing.T, j enroll.Journal, id, owner string, key []byte) enroll.Enrolment {
	t.Helper()
	now := time.Now()
	row, _, err := j.Open(ctx, enroll.Enrolment{
		ID: id, Request: enroll.Request{Authority: "local", Owner: owner, PublicKey: key, Subject: []byte{0x30, 0}},
		State: enroll.Requested, Created: now, Updated: now,
	})
	must(t, err)
	row.State, row.Certificate = enroll.Issued, []byte{0x30, 0}
	row, err = j.Update(ctx, row)
	must(t, err)
	return row
}

// refusedInside changes what the record points to, and refuses.
func refusedInside(t *testing.T, s Stores) {
	ctx := t.Context()
	want := full("SEP00000000000A")
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{want}))
	_, err := s.Phones.UpdateDevice(ctx, want.Name, func(d *fleet.Device) error {
		d.LSC.Serial, d.Note.Code, d.Shown[0].Type, d.AuthString[0] = "ff", "changed", "lsc", '9'
		return errors.New("no")
	})
	if err == nil {
		t.Fatal("the refusal was lost")
	}
	got, err := s.Phones.Device(ctx, want.Name)
	must(t, err)
	if diff := cmp.Diff(full(want.Name), got, ignoreTimes); diff != "" {
		t.Errorf("after a refused change (-want +got):\n%s", diff)
	}
}

func times(t *testing.T, s Stores) {
	ctx := t.Context()
	zone := time.FixedZone("two hours ahead", 7200)
	at := time.Date(2026, 11, 20, 14, 0, 0, 123_999_999, zone)
	want := time.Date(2026, 11, 20, 12, 0, 0, 123_000_000, time.UTC)
	d := full("SEP00000000000A")
	d.CompletesBy, d.Scheduled, d.RenewAt, d.LSC.NotBefore, d.LSC.NotAfter, d.Note.At = at, at, at, at, at, at
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{d}))
	got, err := s.Phones.Device(ctx, d.Name)
	must(t, err)
	for name, g := range map[string]time.Time{
		"completes by": got.CompletesBy, "scheduled": got.Scheduled, "renew at": got.RenewAt, "not before": got.LSC.NotBefore, "not after": got.LSC.NotAfter,
		"note": got.Note.At,
	} {
		if g != want {
			t.Errorf("%s came back as %v, want %v", name, g, want)
		}
	}
	_, err = s.Phones.FinishDevice(ctx, d.Name, fleet.Finish{Attempt: &fleet.Attempt{Began: at}}, func(*fleet.Device) error { return nil })
	must(t, err)
	story, err := s.Phones.Attempts(ctx, d.Name, 0)
	must(t, err)
	if len(story) != 1 || story[0].Began != want {
		t.Errorf("attempts came back as %+v, want one that began at %v", story, want)
	}
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{due("SEP00000000000B", -9)}))
	_, err = s.Phones.Renew(ctx, at, func(fleet.RenewalState) (int, fleet.RenewalState) { return 0, fleet.RenewalState{At: at} }, nil)
	must(t, err)
	if st, err := s.Phones.RenewalState(ctx); err != nil || st.At != want {
		t.Errorf("state of the renewal came back as %v, %v, want %v", st.At, err, want)
	}
}

func finishing(t *testing.T, s Stores) {
	ctx := t.Context()
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{full("SEP00000000000A")}))
	row := issued(ctx, t, s.Journal, fmt.Sprintf("%032x", 1), "phone:SEP00000000000A", []byte("a key of at least thirty-two octets"))
	_, err := s.Phones.FinishDevice(ctx, "SEP00000000000A", fleet.Finish{Enrolment: row.ID}, func(d *fleet.Device) error { d.Operation = fleet.OperationNone; return nil })
	must(t, err)
	d, err := s.Phones.Device(ctx, "SEP00000000000A")
	must(t, err)
	got, err := s.Journal.Get(ctx, row.ID)
	must(t, err)
	if d.Operation != fleet.OperationNone || got.State != enroll.Confirmed {
		t.Errorf("operation %s, enrolment %s; want none and confirmed", d.Operation, got.State)
	}
}

func finishingNothing(t *testing.T, s Stores) {
	ctx := t.Context()
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{full("SEP00000000000A")}))
	_, err := s.Phones.FinishDevice(ctx, "SEP00000000000A", fleet.Finish{Enrolment: fmt.Sprintf("%032x", 7)}, func(d *fleet.Device) error { d.Operation = fleet.OperationNone; return nil })
	if !errors.Is(err, enroll.ErrNotFound) {
		t.Fatalf("got %v, want enroll.ErrNotFound", err)
	}
	d, err := s.Phones.Device(ctx, "SEP00000000000A")
	must(t, err)
	if d.Operation != fleet.OperationInstall {
		t.Errorf("operation %s was written although the enrolment was not confirmed", d.Operation)
	}
}

func keyOwner(t *testing.T, s Stores) {
	ctx := t.Context()
	key := []byte("a key of at least thirty-two octets")
	other := append([]byte("another head of the same length ..."), key[len(key)-32:]...)
	issued(ctx, t, s.Journal, fmt.Sprintf("%032x", 1), "phone:SEP00000000000A", key)
	issued(ctx, t, s.Journal, fmt.Sprintf("%032x", 2), "est:/device", other)
	for _, c := range []struct {
		name, owner, want string
		key               []byte
	}{
		{"its own", "phone:SEP00000000000A", "", key},
		{"another's", "phone:SEP00000000000B", "phone:SEP00000000000A", key},
		{"same end, other key", "phone:SEP00000000000B", "", other},
		{"unknown", "phone:SEP00000000000B", "", []byte("never seen")},
	} {
		got, err := s.Phones.KeyOwner(ctx, c.key, c.owner)
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}

func certificateOwners(t *testing.T, s Stores) {
	ctx := t.Context()
	key := []byte("a key of at least thirty-two octets")
	same := append([]byte("written with another head ......."), key[len(key)-32:]...)
	for i, owner := range []string{"phone:SEP00000000000A", "est:/voucher:CN=capf", "est:/device"} {
		row := issued(ctx, t, s.Journal, fmt.Sprintf("%032x", i+1), owner, key)
		if owner != "est:/device" {
			continue
		}
		row.Certificate = []byte{0x30, 1, 0}
		_, err := s.Journal.Update(ctx, row)
		must(t, err)
	}
	for _, c := range []struct {
		name      string
		key, cert []byte
		want      []string
	}{
		{"of a phone and its voucher", same, []byte{0x30, 0}, []string{"est:/voucher:CN=capf", "phone:SEP00000000000A"}},
		{"of a device, by the same key", key, []byte{0x30, 1, 0}, []string{"est:/device"}},
		{"unknown", key, []byte{0x30, 1, 1}, nil},
	} {
		got, err := s.Phones.CertificateOwners(ctx, &x509.Certificate{Raw: c.cert, RawSubjectPublicKeyInfo: c.key})
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}
