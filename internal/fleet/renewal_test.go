package fleet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/capf"
	"callsign/internal/fleet"
	"callsign/internal/fleet/fleettest"
)

const day = 24 * time.Hour

// issuedAt is when the phones of the tests got their LSCs.
var issuedAt = time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)

func lsc(from time.Time, life time.Duration) *fleet.Certificate {
	return &fleet.Certificate{DER: []byte{0x30}, Serial: "1", NotBefore: from, NotAfter: from.Add(life)}
}

// site is a store of phones that got their LSCs at the same time.
func site(t testing.TB, r *fleet.Renewal, phones int, life time.Duration) *fleettest.Memory {
	t.Helper()
	m := &fleettest.Memory{}
	devices := make([]fleet.Device, phones)
	for i := range devices {
		d := fleet.NewDevice(fmt.Sprintf("SEP%012X", 0x1000+i))
		d.Status, d.LSC, d.Created = fleet.StatusUpgradeSuccess, lsc(issuedAt, life), issuedAt
		d.RenewAt = r.RenewAt(&d)
		devices[i] = d
	}
	if err := m.AddDevices(t.Context(), devices); err != nil {
		t.Fatal(err)
	}
	r.Store = m
	return m
}

// install is what a phone's call leaves on record when all goes well.
func install(t testing.TB, r *fleet.Renewal, name string, at time.Time, life time.Duration) {
	t.Helper()
	_, err := r.Store.UpdateDevice(t.Context(), name, func(d *fleet.Device) error {
		d.Operation, d.Status, d.LSC = fleet.OperationNone, fleet.StatusUpgradeSuccess, lsc(at, life)
		d.RenewAt = r.RenewAt(d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func step(t testing.TB, r *fleet.Renewal) []fleet.Device {
	t.Helper()
	devices, err := r.Step(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return devices
}

// TestRenewalMonth: phones that got their LSCs in one night are renewed over a month, in the nights of working days, at a
// pace, and a restart at any minute changes nothing. The same with a thousand phones that call, a database and an
// authority is in room app.
func TestRenewalMonth(t *testing.T) {
	t.Parallel()
	const phones, perHour, life = 300, 20, 365 * day
	windows := fleet.Windows{window(t, "Mo-Fr 22:00-05:00", zone(t, "Europe/Paris"))}
	month := func(restarts *rand.Rand) map[string]time.Time {
		now := issuedAt.Add(life * 2 / 3).Truncate(time.Minute)
		settings := fleet.Renewal{PerHour: perHour, Windows: windows, Now: func() time.Time { return now }}
		r := new(fleet.Renewal)
		*r = settings
		store := site(t, r, phones, life)
		scheduled := map[string]time.Time{}
		perMinute := []int{}
		for end := now.Add(34 * day); now.Before(end); now = now.Add(time.Minute) {
			if !windows.Open(now) && now.Minute()%5 != 0 {
				perMinute = append(perMinute, 0) // for the sake of the test's own time
				continue
			}
			if restarts != nil && restarts.IntN(500) == 0 {
				again := settings
				again.Store = store
				if _, err := store.Replan(t.Context(), again.Policy(), again.RenewAt); err != nil {
					t.Fatal(err)
				}
				r = &again
			}
			devices := step(t, r)
			for _, d := range devices {
				if _, again := scheduled[d.Name]; again {
					t.Fatalf("%s is renewed twice", d.Name)
				}
				if d.Operation != fleet.OperationInstall || d.Auth != fleet.AuthLSC || d.Origin != fleet.OriginRenewal || d.Status != fleet.StatusPending || !d.CompletesBy.IsZero() {
					t.Fatalf("scheduled %+v", d)
				}
				scheduled[d.Name] = now
				install(t, r, d.Name, now, life)
			}
			if len(devices) > 0 && !windows.Open(now) {
				t.Fatalf("%d phones are scheduled at %s, outside of the windows", len(devices), now)
			}
			perMinute = append(perMinute, len(devices))
		}
		if len(scheduled) != phones {
			t.Fatalf("%d of %d phones are scheduled", len(scheduled), phones)
		}
		hour := 0
		for i, n := range perMinute {
			hour += n
			if i >= 60 {
				hour -= perMinute[i-60]
			}
			if hour > perHour || n > 1 { // 20 an hour is never more than one a minute
				t.Fatalf("minute %d: %d phones, %d within the hour", i, n, hour)
			}
		}
		return scheduled
	}
	once := month(nil)
	restarted := month(rand.New(rand.NewPCG(1, 2)))
	if diff := cmp.Diff(once, restarted); diff != "" {
		t.Errorf("restarts change the schedule (-without +with):\n%s", diff)
	}
}

func window(t testing.TB, text string, z *time.Location) fleet.Window {
	t.Helper()
	w, err := fleet.ParseWindow(text, z)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestRenewalSpread: the phones of one night are due evenly over the span: no day has many more than the others, and the
// sum of the squares is that of chance.
func TestRenewalSpread(t *testing.T) {
	t.Parallel()
	for _, names := range []string{"SEP%012X", "CSFUSER%d"} {
		const phones, bins = 10_000, 30
		r := &fleet.Renewal{Spread: bins * day}
		var perDay [bins]int
		begin := issuedAt.Add(365 * day * 2 / 3)
		for i := range phones {
			d := fleet.NewDevice(fmt.Sprintf(names, i))
			d.LSC = lsc(issuedAt, 365*day)
			at := r.RenewAt(&d)
			if !at.Equal(r.RenewAt(&d)) {
				t.Fatalf("%s is due at two times", d.Name)
			}
			n := int(at.Sub(begin) / day)
			if n < 0 || n >= bins {
				t.Fatalf("%s is due at %s, not within %d days after %s", d.Name, at, bins, begin)
			}
			perDay[n]++
		}
		const expected = float64(phones) / bins
		chi := 0.0
		for n, got := range perDay {
			if math.Abs(float64(got)-expected) > 5*math.Sqrt(expected) {
				t.Errorf("%s: day %d has %d phones, the mean is %.0f", names, n, got, expected)
			}
			chi += (float64(got) - expected) * (float64(got) - expected) / expected
		}
		if chi < 8 || chi > 60 { // 29 degrees of freedom: one in a thousand is above 58
			t.Errorf("%s: chi square %.1f", names, chi)
		}
	}
}

// TestRenewAt: whatever the settings, an LSC is due while it is valid, with time left, and later with a later one.
func TestRenewAt(t *testing.T) {
	t.Parallel()
	at := func(r fleet.Renewal, life time.Duration) time.Duration {
		d := fleet.NewDevice("SEP001122334455")
		d.LSC = lsc(issuedAt, life)
		return r.RenewAt(&d).Sub(issuedAt)
	}
	for _, tt := range []struct {
		name       string
		r          fleet.Renewal
		life       time.Duration
		from, upTo time.Duration
	}{
		{"two thirds", fleet.Renewal{}, 360 * day, 240 * day, 270 * day},
		{"two thirds, no spread", fleet.Renewal{Spread: -1}, 360 * day, 240 * day, 240 * day},
		{"a half", fleet.Renewal{Share: 0.5, Spread: -1}, 360 * day, 180 * day, 180 * day},
		{"no share", fleet.Renewal{Share: 7, Spread: -1}, 360 * day, 240 * day, 240 * day},
		{"30 days before", fleet.Renewal{Before: 30 * day, Spread: -1}, 360 * day, 330 * day, 330 * day},
		{"30 days before, spread", fleet.Renewal{Before: 30 * day, Spread: 10 * day}, 360 * day, 330 * day, 340 * day},
		{"the spread goes before the end", fleet.Renewal{Before: 5 * day, Spread: 10 * day}, 360 * day, 349 * day, 359 * day},
		{"longer before than it lives", fleet.Renewal{Before: 400 * day, Spread: -1}, 360 * day, 90 * day, 90 * day},
		{"ten minutes", fleet.Renewal{Spread: 30 * day}, 10 * time.Minute, 6*time.Minute + 39*time.Second, 9*time.Minute + 11*time.Second},
		{"for ever", fleet.Renewal{Share: 0.999999}, 1<<63 - 1, 90 * 365 * day, 110 * 365 * day},
	} {
		if got := at(tt.r, tt.life); got < tt.from.Truncate(time.Millisecond) || got > tt.upTo {
			t.Errorf("%s: due after %s, want %s to %s", tt.name, got, tt.from, tt.upTo)
		}
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		life := time.Duration(math.Exp(rnd.Float64()*math.Log(float64(100*365*day)/float64(time.Minute))) * float64(time.Minute))
		r := fleet.Renewal{
			Share: rnd.Float64(), Before: time.Duration(rnd.IntN(2)) * time.Duration(rnd.Int64N(int64(life)/2*3)),
			Spread: time.Duration(rnd.Int64N(int64(400*day))) - day,
		}
		got := at(r, life)
		left := min(life/20, day)
		if got < -time.Millisecond || got > life-left && got > time.Duration(r.Share*float64(life)) {
			t.Fatalf("%+v: an LSC of %s is due after %s", r, life, got)
		}
	}
	without := fleet.NewDevice("SEP001122334455")
	if got := (&fleet.Renewal{}).RenewAt(&without); !got.IsZero() {
		t.Errorf("a phone without an LSC is due at %s", got)
	}
}

// TestRenewalPace: many that are due at once are scheduled evenly, no faster than the pace in any hour, and hours in
// which nothing ran are not caught up.
func TestRenewalPace(t *testing.T) {
	t.Parallel()
	for _, perHour := range []int{1, 7, 59, 60, 61, 500} {
		t.Run(fmt.Sprint(perHour), func(t *testing.T) {
			t.Parallel()
			now := issuedAt.Add(300 * day)
			r := &fleet.Renewal{PerHour: perHour, Now: func() time.Time { return now }}
			site(t, r, 5*perHour, 365*day)
			var perMinute []int
			for range 2 * 60 {
				perMinute = append(perMinute, len(step(t, r)))
				if n := len(step(t, r)); n != 0 {
					t.Fatalf("%d more at the same time", n)
				}
				now = now.Add(time.Minute)
			}
			if most := perHour*5/4/60 + 1; perMinute[0] > most {
				t.Errorf("%d in the first minute, want at most %d", perMinute[0], most)
			}
			for i := range perMinute {
				if most := perHour/60 + 1; i > 0 && perMinute[i] > most {
					t.Errorf("%d in minute %d", perMinute[i], i)
				}
				if i < 60 {
					continue
				}
				hour := 0
				for _, n := range perMinute[i-59 : i+1] {
					hour += n
				}
				if hour != perHour {
					t.Errorf("%d in the hour before minute %d", hour, i)
				}
			}
			now = now.Add(100 * time.Hour)
			if n, most := len(step(t, r)), perHour*5/4/60+1; n > most {
				t.Errorf("%d at once after a pause, want at most %d", n, most)
			}
			now = now.Add(-50 * time.Hour)
			if n := len(step(t, r)); n != 0 {
				t.Errorf("%d after the clock was put back", n)
			}
			hour := 0
			for range 60 {
				now = now.Add(time.Minute)
				hour += len(step(t, r))
			}
			if hour != perHour {
				t.Errorf("%d in the hour after the clock was put back", hour)
			}
		})
	}
}

// TestRenewalShortWindow: a window that is shorter than the pace's time for one phone has one, at its beginning.
func TestRenewalShortWindow(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"22:20-22:50", "22:20-22:21", "23:50-00:10", "22:00-22:59"} {
		for _, place := range []string{"UTC", "Asia/Kolkata", "America/St_Johns"} {
			t.Run(text+" "+place, func(t *testing.T) {
				t.Parallel()
				now := issuedAt.Add(300 * day).Truncate(day)
				r := &fleet.Renewal{Windows: fleet.Windows{window(t, text, zone(t, place))}, PerHour: 1, Now: func() time.Time { return now }}
				site(t, r, 10, 365*day)
				scheduled := 0
				for range 4 * 24 * 60 {
					scheduled += len(step(t, r))
					now = now.Add(time.Minute)
				}
				if scheduled != 4 {
					t.Errorf("%d phones in the windows of 4 days, want 1 in each", scheduled)
				}
			})
		}
	}
}

func TestRenewalWithoutPace(t *testing.T) {
	t.Parallel()
	now := issuedAt.Add(300 * day)
	r := &fleet.Renewal{Now: func() time.Time { return now }}
	site(t, r, 2500, 365*day)
	if n := len(step(t, r)); n != 2500 {
		t.Errorf("%d of 2500 phones", n)
	}
}

// TestRenewalFallback: a phone whose LSC has expired takes the configured way to authenticate, whether it expired before
// the renewal was scheduled or while it was due.
func TestRenewalFallback(t *testing.T) {
	t.Parallel()
	for _, fallback := range []fleet.AuthMode{fleet.AuthMIC, fleet.AuthNull, fleet.AuthString, ""} {
		for _, when := range []string{"before", "meanwhile"} {
			t.Run(fmt.Sprintf("%s %q", when, fallback), func(t *testing.T) {
				t.Parallel()
				var log bytes.Buffer
				now := issuedAt.Add(80 * day)
				r := &fleet.Renewal{
					Fallback: fallback, Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
				}
				store := site(t, r, 3, 90*day)
				if when == "meanwhile" {
					if n := len(step(t, r)); n != 3 {
						t.Fatalf("%d phones scheduled", n)
					}
					now = now.Add(day)
					if n := len(step(t, r)); n != 0 {
						t.Fatalf("%d phones changed while their LSCs are valid", n)
					}
				}
				now = issuedAt.Add(90*day + time.Second)
				if n := len(step(t, r)); n != 3 {
					t.Fatalf("%d phones changed", n)
				}
				if n := len(step(t, r)); n != 0 {
					t.Fatalf("%d phones changed again", n)
				}
				devices, _, err := store.Devices(t.Context(), fleet.Query{})
				if err != nil {
					t.Fatal(err)
				}
				strs := map[string]bool{}
				for _, d := range devices {
					if err := d.Validate(); err != nil {
						t.Error(err)
					}
					switch fallback {
					case "":
						if d.Operation != fleet.OperationNone || d.Note == nil || d.Note.Code != "fleet.lsc-expired" || !strings.Contains(d.Note.Remedy, "callsign phone set "+d.Name) || !d.RenewAt.IsZero() {
							t.Errorf("%+v, note %+v", d, d.Note)
						}
						if when == "meanwhile" && (d.Status != fleet.StatusUpgradeFailed || d.Result != capf.ResultInvalidLSC) {
							t.Errorf("status %s, result %d", d.Status, d.Result)
						}
						continue
					case fleet.AuthString:
						if !regexp.MustCompile(`^[0-9]{8}$`).Match(d.AuthString) || d.Note == nil || d.Note.Code != "fleet.renewal-by-string" {
							t.Errorf("string %q, note %+v", d.AuthString, d.Note)
						}
						if strings.Contains(log.String()+d.Note.Detail+d.Note.Remedy, string(d.AuthString)) {
							t.Error("the string is shown")
						}
						strs[string(d.AuthString)] = true
					}
					if d.Operation != fleet.OperationInstall || d.Status != fleet.StatusPending || d.Auth != fallback || d.Origin != fleet.OriginRenewal || !d.RenewAt.After(now) == (when == "before") {
						t.Errorf("%+v", d)
					}
				}
				if fallback == fleet.AuthString && len(strs) != 3 {
					t.Errorf("%d strings for 3 phones", len(strs))
				}
				if !strings.Contains(log.String(), "event=fleet.renewals") {
					t.Errorf("log:\n%s", &log)
				}
			})
		}
	}
}

// TestRenewalOutsideWindows: what has expired falls back at once, as it costs the authority nothing; nothing is scheduled.
func TestRenewalOutsideWindows(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 20, 22, 0, 0, 0, time.UTC)
	r := &fleet.Renewal{Fallback: fleet.AuthMIC, Windows: fleet.Windows{window(t, "22:00-22:01", time.UTC)}, Now: func() time.Time { return now }, PerHour: 30}
	site(t, r, 3, 90*day)
	if n := len(step(t, r)); n != 1 {
		t.Fatalf("%d phones scheduled", n)
	}
	now = issuedAt.Add(91 * day)
	if devices := step(t, r); len(devices) != 1 || devices[0].Auth != fleet.AuthMIC {
		t.Fatalf("%+v", devices)
	}
}

// TestRenewalLeavesAlone: phones with an operation of an administrator, without an LSC, or not due.
func TestRenewalLeavesAlone(t *testing.T) {
	t.Parallel()
	now := issuedAt.Add(89 * day)
	r := &fleet.Renewal{Now: func() time.Time { return now }, Fallback: fleet.AuthMIC}
	store := site(t, r, 4, 90*day)
	change := func(n int, f func(*fleet.Device)) {
		t.Helper()
		if _, err := store.UpdateDevice(t.Context(), fmt.Sprintf("SEP%012X", 0x1000+n), func(d *fleet.Device) error { f(d); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	change(0, func(d *fleet.Device) { d.Schedule(fleet.OperationDelete, now) })
	change(1, func(d *fleet.Device) { d.LSC = nil })
	change(2, func(d *fleet.Device) { d.Schedule(fleet.OperationInstall, now); d.Auth = fleet.AuthLSC })
	change(3, func(d *fleet.Device) { d.RenewAt = time.Time{} })
	for range 3 { // the LSCs expire in between
		if devices := step(t, r); len(devices) != 0 {
			t.Errorf("%+v", devices)
		}
		now = now.Add(day)
	}
}

// TestRenewalRetry: a renewal that failed is set again after a day; short-lived LSCs do not wait that long.
func TestRenewalRetry(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ life, retry time.Duration }{{90 * day, day}, {12 * time.Hour, time.Hour}} {
		now := issuedAt.Add(tt.life * 4 / 5)
		r := &fleet.Renewal{Now: func() time.Time { return now }}
		store := site(t, r, 1, tt.life)
		if n := len(step(t, r)); n != 1 {
			t.Fatalf("%d phones scheduled", n)
		}
		if _, err := store.UpdateDevice(t.Context(), "SEP000000001000", func(d *fleet.Device) error {
			d.Operation, d.Status = fleet.OperationNone, fleet.StatusUpgradeFailed
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(tt.retry - time.Millisecond)
		if n := len(step(t, r)); n != 0 {
			t.Errorf("life %s: scheduled again before %s", tt.life, tt.retry)
		}
		now = now.Add(time.Millisecond)
		if n := len(step(t, r)); n != 1 {
			t.Errorf("life %s: not scheduled again after %s", tt.life, tt.retry)
		}
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for i, r := range []fleet.Renewal{
		{}, {Share: 0.5}, {Before: day}, {Spread: day}, {Spread: -1}, {Before: day, Spread: day}, {Fallback: fleet.AuthMIC},
	} {
		p := r.Policy()
		if other, ok := seen[p]; ok {
			t.Errorf("settings %d and %d have the policy %q", other, i, p)
		}
		seen[p] = i
		r.PerHour, r.Windows, r.Retry = 5, fleet.Windows{{}}, time.Hour
		if r.Policy() != p {
			t.Errorf("pace and windows change the policy %q", p)
		}
	}
	a, b := fleet.Renewal{Share: fleet.DefaultRenewShare, Spread: -1}, fleet.Renewal{Spread: -2}
	if a.Policy() != b.Policy() {
		t.Errorf("the default is another policy: %q, %q", a.Policy(), b.Policy())
	}
}

// TestRenewalRun: Run plans anew when the settings are others than before, takes a step at the beginning of each minute,
// goes on after a failure, and ends with its context.
func TestRenewalRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := &fleet.Renewal{Log: slog.New(slog.NewTextHandler(&log, nil)), PerHour: 60}
		broken := &failing{Memory: &fleettest.Memory{}}
		r.Store = broken
		d := fleet.NewDevice("SEP001122334455")
		d.LSC = lsc(time.Now().Add(-80*day), 90*day) // RenewAt is not set
		if err := broken.AddDevices(t.Context(), []fleet.Device{d}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		broken.left = 2 // Replan once, and one step
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		began := time.Now()
		for {
			time.Sleep(time.Second)
			synctest.Wait()
			got, err := broken.Device(t.Context(), d.Name)
			if err != nil {
				t.Fatal(err)
			}
			if got.Operation == fleet.OperationInstall {
				if s := got.Scheduled; s.Second() != 0 {
					t.Errorf("scheduled at %s, not at the beginning of a minute", s)
				}
				break
			}
			if time.Since(began) > 10*time.Minute {
				t.Fatalf("not scheduled; log:\n%s", &log)
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
		for _, want := range []string{"event=fleet.replanned", "phones=1", "event=fleet.renewals by_lsc=1", "event=fleet.renewal_failed"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s is not logged:\n%s", want, &log)
			}
		}
		if n := strings.Count(log.String(), "fleet.renewal_failed"); n != 2 {
			t.Errorf("%d failures logged", n)
		}
	})
}

// failing is a store whose next writes fail.
type failing struct {
	*fleettest.Memory
	left int
}

var errBroken = errors.New("disk full")

func (f *failing) fail() bool {
	f.left--
	return f.left >= 0
}

func (f *failing) Replan(ctx context.Context, policy string, at func(*fleet.Device) time.Time) (int, error) {
	if f.fail() {
		return 0, errBroken
	}
	return f.Memory.Replan(ctx, policy, at)
}

func (f *failing) Renew(ctx context.Context, now time.Time, plan func(fleet.RenewalState) (int, fleet.RenewalState), change func(*fleet.Device) error) ([]fleet.Device, error) {
	if f.fail() {
		return nil, errBroken
	}
	return f.Memory.Renew(ctx, now, plan, change)
}
