package fleettest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"callsign/internal/fleet"
)

// due makes a phone that is to be renewed so many hours after the clock of the queries.
func due(name string, hours int) fleet.Device {
	return phone(name, func(d *fleet.Device) {
		d.LSC, d.RenewAt = holding("aa", days(-100), days(50)), now.Add(time.Duration(hours)*time.Hour)
	})
}

// step is a plan that allows n phones, and leaves a state that tells that it has run.
func step(n int) func(fleet.RenewalState) (int, fleet.RenewalState) {
	return func(st fleet.RenewalState) (int, fleet.RenewalState) {
		st.At = st.At.Add(time.Hour)
		if st.At.Year() < 2000 {
			st.At = now
		}
		return n, st
	}
}

func schedule(d *fleet.Device) error {
	d.Schedule(fleet.OperationInstall, now)
	d.Origin = fleet.OriginRenewal
	return nil
}

func nameList(list []fleet.Device) []string {
	var got []string
	for _, d := range list {
		got = append(got, d.Name)
	}
	return got
}

func renewing(t *testing.T, s Stores) {
	ctx := t.Context()
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{
		due("SEP00000000000A", 0), due("SEP00000000000B", -5), due("SEP00000000000C", -5), due("SEP00000000000D", -9), due("SEP00000000000E", 1),
		// None of these is renewed, however long ago it was due.
		phone("SEP000000000001", func(d *fleet.Device) { *d = due(d.Name, -20); _ = schedule(d) }),
		phone("SEP000000000002", func(d *fleet.Device) { *d = due(d.Name, -20); d.LSC = nil }),
		phone("SEP000000000003", func(d *fleet.Device) { *d = due(d.Name, -20); d.RenewAt = time.Time{} }),
	}))
	if st, err := s.Phones.RenewalState(ctx); err != nil || st != (fleet.RenewalState{}) {
		t.Errorf("state before the first step: %+v, %v", st, err)
	}
	for i, c := range []struct {
		n    int
		at   time.Time
		want []string
		idle bool // no phone is due
	}{
		{n: 5, at: now.Add(-10 * time.Hour), idle: true},
		{n: 0, at: now},
		{n: -3, at: now},
		{n: 2, at: now, want: []string{"SEP00000000000D", "SEP00000000000B"}},
		{n: 10, at: now.Add(-time.Millisecond), want: []string{"SEP00000000000C"}},
		{n: 10, at: now, want: []string{"SEP00000000000A"}},
		{n: 10, at: now, idle: true},
		{n: 10, at: now.Add(time.Hour), want: []string{"SEP00000000000E"}},
	} {
		before, err := s.Phones.RenewalState(ctx)
		must(t, err)
		want := before
		if !c.idle {
			_, want = step(c.n)(before)
		}
		list, err := s.Phones.Renew(ctx, c.at, func(st fleet.RenewalState) (int, fleet.RenewalState) {
			if diff := cmp.Diff(before, st); diff != "" || c.idle {
				t.Errorf("step %d was asked, idle %t, and told (-left +told):\n%s", i, c.idle, diff)
			}
			return step(c.n)(st)
		}, schedule)
		must(t, err)
		if diff := cmp.Diff(c.want, nameList(list)); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
		for _, d := range list {
			got, err := s.Phones.Device(ctx, d.Name)
			must(t, err)
			if diff := cmp.Diff(d, got); diff != "" || got.Operation != fleet.OperationInstall {
				t.Errorf("step %d: record with operation %s (-returned +stored):\n%s", i, got.Operation, diff)
			}
		}
		after, err := s.Phones.RenewalState(ctx)
		must(t, err)
		if diff := cmp.Diff(want, after); diff != "" {
			t.Errorf("state after step %d (-want +got):\n%s", i, diff)
		}
	}
}

func renewingRefused(t *testing.T, s Stores) {
	ctx := t.Context()
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{due("SEP00000000000A", -2), due("SEP00000000000B", -1)}))
	_, err := s.Phones.Renew(ctx, now, step(0), schedule)
	must(t, err)
	state, err := s.Phones.RenewalState(ctx)
	must(t, err)
	list, err := s.Phones.Renew(ctx, now, step(5), func(d *fleet.Device) error {
		if d.Name == "SEP00000000000B" {
			return errRefused
		}
		return schedule(d)
	})
	if !errors.Is(err, errRefused) || len(list) != 0 {
		t.Errorf("%d records, %v; want none and the refusal", len(list), err)
	}
	if got := names(t, s, fleet.Query{Operation: fleet.OperationInstall}); len(got) != 0 {
		t.Errorf("%v were scheduled by a step that was refused", got)
	}
	after, err := s.Phones.RenewalState(ctx)
	must(t, err)
	if diff := cmp.Diff(state, after); diff != "" {
		t.Errorf("a refused step left a state (-before +after):\n%s", diff)
	}
}

// renewingTogether takes steps at the same time: no phone is scheduled twice and no state is lost.
func renewingTogether(t *testing.T, s Stores) {
	ctx := t.Context()
	const phones, steps = 40, 16
	for i := range phones {
		must(t, s.Phones.AddDevices(ctx, []fleet.Device{due(fmt.Sprintf("SEP%012X", i), -i)}))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	times := map[string]int{}
	for range steps {
		wg.Go(func() {
			list, err := s.Phones.Renew(ctx, now, step(2), schedule)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			for _, d := range list {
				times[d.Name]++
			}
		})
	}
	wg.Wait()
	for name, n := range times {
		if n != 1 {
			t.Errorf("%s was scheduled %d times", name, n)
		}
	}
	st, err := s.Phones.RenewalState(ctx)
	must(t, err)
	if last := now.Add((steps - 1) * time.Hour); len(times) != 2*steps || !st.At.Equal(last) {
		t.Errorf("%d phones, and %v is left, after %d steps for two each; want %v", len(times), st.At, steps, last)
	}
}

func replanning(t *testing.T, s Stores) {
	ctx := t.Context()
	// More than one batch of any implementation is not made here; see the tests of the store.
	without := phone("SEP00000000000C", func(d *fleet.Device) { d.RenewAt = now })
	running := due("SEP00000000000B", 7)
	must(t, schedule(&running))
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{due("SEP00000000000A", 5), running, without, due("SEP00000000000D", 6)}))
	_, err := s.Phones.Renew(ctx, now, step(0), schedule)
	must(t, err)
	plan := func(policy string, want int, at func(d *fleet.Device) time.Time) {
		t.Helper()
		before, err := s.Phones.RenewalState(ctx)
		must(t, err)
		n, err := s.Phones.Replan(ctx, policy, at)
		if err != nil || n != want {
			t.Errorf("Replan to %q: %d, %v; want %d", policy, n, err, want)
		}
		after, err := s.Phones.RenewalState(ctx)
		must(t, err)
		if before.Policy = policy; after != before {
			t.Errorf("state %+v, want %+v", after, before)
		}
	}
	have := func() map[string]time.Time {
		t.Helper()
		list, _, err := s.Phones.Devices(ctx, fleet.Query{})
		must(t, err)
		m := map[string]time.Time{}
		for _, d := range list {
			m[d.Name] = d.RenewAt
		}
		return m
	}
	end := func(d *fleet.Device) time.Time { return d.LSC.NotAfter.Add(-time.Hour) }
	want := days(50).Add(-time.Hour)
	plan("one", 3, end)
	planned := map[string]time.Time{"SEP00000000000A": want, "SEP00000000000B": want, "SEP00000000000C": now, "SEP00000000000D": want}
	if diff := cmp.Diff(planned, have()); diff != "" {
		t.Errorf("first policy (-want +got):\n%s", diff)
	}
	plan("one", 0, func(*fleet.Device) time.Time { t.Error("asked although the policy is the same"); return now })
	plan("none", 3, func(*fleet.Device) time.Time { return time.Time{} })
	planned = map[string]time.Time{"SEP00000000000A": {}, "SEP00000000000B": {}, "SEP00000000000C": now, "SEP00000000000D": {}}
	if diff := cmp.Diff(planned, have(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("second policy (-want +got):\n%s", diff)
	}
	// What was planned is what is renewed.
	plan("two", 3, func(d *fleet.Device) time.Time {
		if d.Name == "SEP00000000000D" {
			return now.Add(-time.Hour)
		}
		return now
	})
	list, err := s.Phones.Renew(ctx, now, step(9), schedule)
	must(t, err)
	if diff := cmp.Diff([]string{"SEP00000000000D", "SEP00000000000A"}, nameList(list)); diff != "" {
		t.Errorf("renewed (-want +got):\n%s", diff)
	}
	if st, err := s.Phones.RenewalState(ctx); err != nil || st.Policy != "two" {
		t.Errorf("policy %q after a step, %v", st.Policy, err)
	}
}
