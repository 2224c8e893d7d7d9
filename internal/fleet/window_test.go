package fleet_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"callsign/internal/fleet"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestParseWindow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		open string // minutes of a week in UTC that are open, as days "Mo 22:00-24:00"; empty: refused
		why  string
	}{
		{text: "Mo-Fr 22:00-05:00", open: "Mo 22:00-24:00, Tu 00:00-05:00, Tu 22:00-24:00, We 00:00-05:00, We 22:00-24:00, Th 00:00-05:00, Th 22:00-24:00, Fr 00:00-05:00, Fr 22:00-24:00, Sa 00:00-05:00"},
		{text: "Sa,Su 00:00-24:00", open: "Sa 00:00-24:00, Su 00:00-24:00"},
		{text: " sunday  22:00-00:00 ", open: "Su 22:00-24:00"},
		{text: "Sat-Mon,wed 01:30-01:31", open: "Mo 01:30-01:31, We 01:30-01:31, Sa 01:30-01:31, Su 01:30-01:31"},
		{text: "12:00-13:00", open: "Mo 12:00-13:00, Tu 12:00-13:00, We 12:00-13:00, Th 12:00-13:00, Fr 12:00-13:00, Sa 12:00-13:00, Su 12:00-13:00"},
		{text: "Su 23:59-24:00", open: "Su 23:59-24:00"},
		{text: "", why: "span of time"},
		{text: "Mo", why: `"Mo" is no span of time`},
		{text: "M 22:00-23:00", why: `"M" are no days`},
		{text: "Mo- 22:00-23:00", why: "no days"},
		{text: "Mo,,Tu 22:00-23:00", why: "no days"},
		{text: "Mondays 22:00-23:00", why: "no days"},
		{text: "Mo 22:00", why: "no span of time"},
		{text: "Mo 22-23", why: "no span of time"},
		{text: "Mo 22:60-23:00", why: "no span of time"},
		{text: "Mo 22:00-24:01", why: "no span of time"},
		{text: "Mo +2:00-23:00", why: "no span of time"},
		{text: "Mo 24:00-05:00", why: "begins at 00:00"},
		{text: "Mo 22:00-22:00", why: "00:00-24:00"},
		{text: "Mo 22:00 - 23:00", why: "one span"},
		{text: strings.Repeat("x", 5000), why: "no span"},
	} {
		t.Run(tt.text[:min(len(tt.text), 40)], func(t *testing.T) {
			t.Parallel()
			w, err := fleet.ParseWindow(tt.text, time.UTC)
			if tt.open == "" {
				p, ok := errors.AsType[*fleet.Problem](err)
				if !ok || p.Code() != "fleet.window" || !strings.Contains(p.Error(), tt.why) || len(p.Error()) > 300 || !strings.Contains(p.Remedy(), "Mo-Fr 22:00-05:00") {
					t.Fatalf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var spans []string
			monday := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
			for day := range 7 {
				from := -1
				for minute := range 24*60 + 1 {
					at := monday.AddDate(0, 0, day).Add(time.Duration(minute) * time.Minute)
					open := minute < 24*60 && w.Open(at)
					if open && from < 0 {
						from = minute
					}
					if !open && from >= 0 {
						spans = append(spans, fmt.Sprintf("%s %02d:%02d-%02d:%02d", monday.AddDate(0, 0, day).Format("Mon")[:2], from/60, from%60, minute/60, minute%60))
						from = -1
					}
				}
			}
			if got := strings.Join(spans, ", "); got != tt.open {
				t.Errorf("open\n%s, want\n%s", got, tt.open)
			}
		})
	}
}

// TestWindowNext walks the minutes of the days around changes of the clocks: the next opening is the first open minute.
func TestWindowNext(t *testing.T) {
	t.Parallel()
	for _, place := range []struct {
		zone  string
		begin time.Time // some days before the clocks change
	}{
		{"Europe/Paris", time.Date(2027, 3, 25, 0, 0, 0, 0, time.UTC)},
		{"Europe/Paris", time.Date(2027, 10, 28, 0, 0, 0, 0, time.UTC)},
		{"America/New_York", time.Date(2027, 3, 11, 0, 0, 0, 0, time.UTC)},
		{"Australia/Lord_Howe", time.Date(2027, 4, 1, 0, 0, 0, 0, time.UTC)}, // half an hour
		{"America/Santiago", time.Date(2027, 9, 2, 0, 0, 0, 0, time.UTC)},    // at midnight
		{"Asia/Kolkata", time.Date(2027, 3, 25, 0, 0, 0, 0, time.UTC)},
		{"Pacific/Apia", time.Date(2011, 12, 28, 0, 0, 0, 0, time.UTC)}, // a day that was not
	} {
		for _, text := range []string{
			"Mo-Fr 22:00-05:00", "Sa,Su 00:00-24:00", "02:00-03:00", "02:30-02:31", "Su 02:15-01:45", "00:00-00:30", "Fr 23:59-00:01", "Sa 12:00-13:00",
		} {
			t.Run(place.zone+" "+text, func(t *testing.T) {
				t.Parallel()
				z := zone(t, place.zone)
				w, err := fleet.ParseWindow(text, z)
				if err != nil {
					t.Fatal(err)
				}
				const days = 16
				end := place.begin.AddDate(0, 0, days)
				var next time.Time // of the minutes walked so far, from the end on
				for at := end; !at.Before(place.begin); at = at.Add(-time.Minute) {
					if opens(t, text, at.In(z)) != w.Open(at) {
						t.Fatalf("at %s open is %v", at.In(z), w.Open(at))
					}
					if w.Open(at) {
						next = at
					}
					if next.IsZero() {
						continue
					}
					if got := w.Next(at); !got.Equal(next) {
						t.Fatalf("next after %s is %s, want %s", at.In(z), got.In(z), next.In(z))
					}
				}
				if next.IsZero() {
					t.Fatal("never open")
				}
			})
		}
	}
}

// opens says the same as Window.Open by the letters of the clock.
func opens(t *testing.T, text string, local time.Time) bool {
	t.Helper()
	days, span, found := strings.Cut(text, " ")
	if !found {
		days, span = "Su,Mo,Tu,We,Th,Fr,Sa", text
	}
	if days == "Mo-Fr" {
		days = "Mo,Tu,We,Th,Fr"
	}
	from, to, _ := strings.Cut(span, "-")
	clock := local.Format("15:04")
	today := local.Weekday().String()[:2]
	yesterday := ((local.Weekday() + 6) % 7).String()[:2]
	if from < to {
		return strings.Contains(days, today) && from <= clock && clock < to
	}
	return strings.Contains(days, today) && clock >= from || strings.Contains(days, yesterday) && clock < to
}

func TestWindows(t *testing.T) {
	t.Parallel()
	night, err := fleet.ParseWindow("22:00-23:00", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	weekend, err := fleet.ParseWindow("Sa,Su 00:00-24:00", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	friday := time.Date(2026, 11, 27, 22, 59, 59, 0, time.UTC)
	both := fleet.Windows{weekend, night, {}}
	if !both.Open(friday) || both.Open(friday.Add(time.Second)) || !both.Open(friday.Add(time.Hour+time.Second)) {
		t.Error("the union of the windows is wrong")
	}
	if got, want := both.Next(friday.Add(time.Second)), friday.Add(time.Hour+time.Second); !got.Equal(want) {
		t.Errorf("next %s, want %s", got, want)
	}
	if none := (fleet.Windows{}); !none.Open(friday) || !none.Next(friday).Equal(friday) {
		t.Error("no windows are not open")
	}
	if never := (fleet.Windows{{}}); never.Open(friday) || !never.Next(friday).IsZero() {
		t.Error("the zero window is open")
	}
	if night.String() != "22:00-23:00" {
		t.Errorf("text %q", night)
	}
}

func FuzzParseWindow(f *testing.F) {
	for _, seed := range []string{"Mo-Fr 22:00-05:00", "Sa,Su 00:00-24:00", "22:00-05:00", "mo 24:00-00:00", "-", "Mo,Mo-Mo 00:00-00:01", "\xff 1:00-2:00"} {
		f.Add(seed)
	}
	at := time.Date(2027, 3, 27, 12, 34, 56, 789, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		w, err := fleet.ParseWindow(text, time.UTC)
		if err != nil {
			if _, ok := errors.AsType[*fleet.Problem](err); !ok || len(err.Error()) > 1000 {
				t.Fatalf("%v", err)
			}
			return
		}
		if next := w.Next(at); !w.Open(next) || next.Before(at) || next.Sub(at) > 8*24*time.Hour {
			t.Errorf("%q: next after %s is %s", text, at, next)
		}
		again, err := fleet.ParseWindow(w.String(), time.UTC)
		if err != nil || again.Next(at) != w.Next(at) {
			t.Errorf("%q is not read again: %v", w, err)
		}
	})
}
