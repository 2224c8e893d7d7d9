package fleettest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/fleet"
)

// names returns the names of every phone in the store.
func names(t *testing.T, s Stores, q fleet.Query) []string {
	t.Helper()
	list, _, err := s.Phones.Devices(t.Context(), q)
	must(t, err)
	var got []string
	for _, d := range list {
		got = append(got, d.Name)
	}
	return got
}

func describe(name, description string, found *[]bool) fleet.Change {
	return fleet.Change{Name: name, Apply: func(d *fleet.Device, there bool) error {
		*found = append(*found, there)
		d.Description += description
		return nil
	}}
}

func applying(t *testing.T, s Stores) {
	ctx := t.Context()
	old := full("SEP00000000000B")
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{old}))
	var found []bool
	results, err := s.Phones.ApplyDevices(ctx, []fleet.Change{
		describe("SEP00000000000A", "new", &found),
		describe("SEP00000000000B", " and more", &found),
		describe("SEP00000000000A", " again", &found),
		{Name: "sep00000000000c", Apply: func(d *fleet.Device, _ bool) error { d.Name = "ANOTHER"; return nil }},
	}, false)
	must(t, err)
	if diff := cmp.Diff([]error{nil, nil, nil, nil}, results); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]bool{false, true, true}, found); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	fresh := fleet.NewDevice("SEP00000000000A")
	fresh.Description = "new again"
	old.Description += " and more"
	got, total, err := s.Phones.Devices(ctx, fleet.Query{})
	must(t, err)
	if diff := cmp.Diff([]fleet.Device{fresh, old, fleet.NewDevice("SEP00000000000C")}, got, ignoreTimes); diff != "" || total != 3 {
		t.Errorf("records, total %d (-want +got):\n%s", total, diff)
	}
	for _, d := range got {
		if d.Created.IsZero() || d.Updated.IsZero() {
			t.Errorf("%s: created %v, updated %v; want both set", d.Name, d.Created, d.Updated)
		}
	}
	if results, err := s.Phones.ApplyDevices(ctx, nil, false); err != nil || len(results) != 0 {
		t.Errorf("no changes: %v, %v", results, err)
	}
}

var errRefused = errors.New("refused")

func someRefused(found *[]bool) []fleet.Change {
	refuse := func(d *fleet.Device, _ bool) error { d.Description = "must not be seen"; return errRefused }
	return []fleet.Change{
		describe("SEP00000000000A", "a", found),
		{Name: "SEP00000000000B", Apply: refuse},
		{Name: "SEP00000000000C", Apply: refuse},
		describe("SEP00000000000D", "d", found),
	}
}

func applyingRefused(t *testing.T, s Stores) {
	ctx := t.Context()
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{fleet.NewDevice("SEP00000000000B"), fleet.NewDevice("SEP00000000000D")}))
	before, _, err := s.Phones.Devices(ctx, fleet.Query{})
	must(t, err)
	var found []bool
	results, err := s.Phones.ApplyDevices(ctx, someRefused(&found), false)
	must(t, err)
	checkResults(t, results)
	after, _, err := s.Phones.Devices(ctx, fleet.Query{})
	must(t, err)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("something was written (-before +after):\n%s", diff)
	}
}

// checkResults wants an error for every change that was refused, not only for the first.
func checkResults(t *testing.T, results []error) {
	t.Helper()
	if len(results) != 4 {
		t.Fatalf("%d results for 4 changes", len(results))
	}
	for i, want := range []error{nil, errRefused, errRefused, nil} {
		if !errors.Is(results[i], want) {
			t.Errorf("change %d: %v, want %v", i, results[i], want)
		}
	}
}

func applyingPartial(t *testing.T, s Stores) {
	ctx := t.Context()
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{fleet.NewDevice("SEP00000000000B"), fleet.NewDevice("SEP00000000000D")}))
	var found []bool
	results, err := s.Phones.ApplyDevices(ctx, someRefused(&found), true)
	must(t, err)
	checkResults(t, results)
	got, _, err := s.Phones.Devices(ctx, fleet.Query{})
	must(t, err)
	have := map[string]string{}
	for _, d := range got {
		have[d.Name] = d.Description
	}
	if diff := cmp.Diff(map[string]string{"SEP00000000000A": "a", "SEP00000000000B": "", "SEP00000000000D": "d"}, have); diff != "" {
		t.Errorf("descriptions (-want +got):\n%s", diff)
	}
}
