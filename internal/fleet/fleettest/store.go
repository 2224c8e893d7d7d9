// Package fleettest holds what every implementation of fleet.Store must pass, and an implementation in memory for tests
// of rooms above.
package fleettest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
	d.Model = "8865"
	d.Auth, d.AuthString = fleet.AuthString, capf.Secret("123456")
	d.KeyOrder, d.ECBits, d.RSABits = fleet.KeyOrderEC, 384, 4096
	d.CompletesBy = at.Add(48 * time.Hour)
	d.Schedule(fleet.OperationInstall, at)
	d.WrongTries, d.Offered = 2, "0123456789abcdef0123456789abcdef"
	d.Result, d.HasResult = capf.ResultInvalidAuthString, true
	d.Note = &fleet.Note{Code: "fleet.wrong-string", Detail: "wrong", Remedy: "again", At: at}
	d.LSC = &fleet.Certificate{DER: []byte{0x30, 0}, Serial: "0a", Issuer: "CN=CA", NotAfter: at.AddDate(1, 0, 0)}
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
		"finishing confirms the enrolment":   finishing,
		"finishing without a row is refused": finishingNothing,
		"keys are found by their owner":      keyOwner,
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
	for _, want := range []fleet.Device{full("SEP001122334455"), fleet.NewDevice("CSFALICE")} {
		must(t, s.Phones.AddDevices(ctx, []fleet.Device{want}))
		got, err := s.Phones.Device(ctx, want.Name)
		must(t, err)
		if diff := cmp.Diff(want, got, ignoreTimes); diff != "" {
			t.Errorf("after adding (-want +got):\n%s", diff)
		}
		if got.Created.IsZero() || got.Updated.IsZero() {
			t.Errorf("created %v, updated %v; want both set", got.Created, got.Updated)
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
