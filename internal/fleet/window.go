package fleet

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Window is a maintenance window: days of the week and a span of the clock, by the clock of a time zone. When clocks are
// put forward an hour of it may be missing, when they are put back it comes twice. The zero value is never open.
type Window struct {
	days     [7]bool // by time.Weekday, of the beginning
	from, to int     // minutes of the day; the end is after midnight when it is not after the beginning
	zone     *time.Location
	text     string
}

// Windows are maintenance windows; without any it is open at any time.
type Windows []Window

// Open tells whether t is in one of the windows.
func (w Windows) Open(t time.Time) bool {
	for _, one := range w {
		if one.Open(t) {
			return true
		}
	}
	return len(w) == 0
}

// Next returns t when it is in one of the windows and the beginning of the next one otherwise; zero when there is none.
func (w Windows) Next(t time.Time) time.Time {
	if len(w) == 0 {
		return t
	}
	var next time.Time
	for _, one := range w {
		if n := one.Next(t); next.IsZero() || !n.IsZero() && n.Before(next) {
			next = n
		}
	}
	return next
}

// minute is at which time of an hour of the Unix clock the window begins that is open at t; 0 when none is, or there are
// none.
func (w Windows) minute(t time.Time) time.Duration {
	for _, one := range w {
		if one.Open(t) {
			_, offset := t.In(one.zone).Zone()
			return (time.Duration(one.from)*time.Minute - time.Duration(offset)*time.Second) % time.Hour
		}
	}
	return 0
}

// String returns the text of the window.
func (w Window) String() string { return w.text }

// Open tells whether t is in the window; its end is not.
func (w Window) Open(t time.Time) bool {
	if w.zone == nil {
		return false
	}
	t = t.In(w.zone)
	day, minute := int(t.Weekday()), t.Hour()*60+t.Minute()
	if w.from < w.to {
		return w.days[day] && w.from <= minute && minute < w.to
	}
	return w.days[day] && minute >= w.from || w.days[(day+6)%7] && minute < w.to
}

// Next returns t when it is in the window and the next beginning of the window otherwise; zero for the zero Window.
func (w Window) Next(t time.Time) time.Time {
	if w.days == [7]bool{} || w.zone == nil {
		return time.Time{}
	}
	for !w.Open(t) {
		// Until the zone changes its offset the clock goes evenly.
		next := t.Add(w.wait(t.In(w.zone)))
		if _, change := t.In(w.zone).ZoneBounds(); !change.IsZero() && change.Before(next) {
			next = change
		}
		t = next
	}
	return t
}

// wait is how long it takes by the clock, not regarding changes of the offset, until the window begins.
func (w Window) wait(local time.Time) time.Duration {
	sinceMidnight := time.Duration(local.Hour())*time.Hour + time.Duration(local.Minute())*time.Minute +
		time.Duration(local.Second())*time.Second + time.Duration(local.Nanosecond())
	for days := range 8 {
		if w.days[(int(local.Weekday())+days)%7] {
			if d := time.Duration(days)*24*time.Hour + time.Duration(w.from)*time.Minute - sinceMidnight; d > 0 {
				return d
			}
		}
	}
	return 24 * time.Hour // not reached: a day of the week comes again within 8 days
}

var weekdays = [7]string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

// ParseWindow reads a maintenance window: "Mo-Fr 22:00-05:00", "Sa,Su 00:00-24:00" or, every day, "22:00-05:00". Days
// have their English names, whole or two letters or more of them; a span whose end is before its beginning ends on the
// next day, and the days are those of its beginning. zone nil is time.Local. The error is a *Problem, fleet.window.
func ParseWindow(text string, zone *time.Location) (Window, error) {
	if zone == nil {
		zone = time.Local
	}
	w := Window{zone: zone, text: strings.Join(strings.Fields(text), " ")}
	bad := func(why string) error {
		return problem("fleet.window", fmt.Sprintf("%s is no maintenance window: %s", shown(text), why),
			`use days and times such as "Mo-Fr 22:00-05:00", "Sa,Su 00:00-24:00" or, for every day, "22:00-05:00"`)
	}
	fields := strings.Fields(text)
	switch len(fields) {
	case 1:
		w.days = [7]bool{true, true, true, true, true, true, true}
	case 2:
		for part := range strings.SplitSeq(fields[0], ",") {
			first, last, isRange := strings.Cut(part, "-")
			if !isRange {
				last = first
			}
			from, ok1 := weekday(first)
			to, ok2 := weekday(last)
			if !ok1 || !ok2 {
				return Window{}, bad(shown(part) + " are no days")
			}
			for day := from; ; day = (day + 1) % 7 {
				w.days[day] = true
				if day == to {
					break
				}
			}
		}
	default:
		return Window{}, bad("it has days and one span of time")
	}
	span := fields[len(fields)-1]
	from, to, ok := strings.Cut(span, "-")
	var ok1, ok2 bool
	w.from, ok1 = clock(from)
	w.to, ok2 = clock(to)
	switch {
	case !ok || !ok1 || !ok2:
		return Window{}, bad(shown(span) + " is no span of time")
	case w.from == 24*60:
		return Window{}, bad("a day begins at 00:00")
	case w.from == w.to:
		return Window{}, bad("it begins when it ends; the whole day is 00:00-24:00")
	}
	return w, nil
}

// weekday finds a day of the week by two letters of its name or more.
func weekday(s string) (int, bool) {
	for i, name := range weekdays {
		if len(s) >= 2 && len(s) <= len(name) && strings.EqualFold(s, name[:len(s)]) {
			return i, true
		}
	}
	return 0, false
}

// clock reads HH:MM, 00:00 to 24:00, as minutes of the day.
func clock(s string) (int, bool) {
	h, m, ok := strings.Cut(s, ":")
	if !ok || len(h) != 2 || len(m) != 2 {
		return 0, false
	}
	hour, err1 := strconv.ParseUint(h, 10, 8)
	minute, err2 := strconv.ParseUint(m, 10, 8)
	total := int(hour*60 + minute)
	return total, err1 == nil && err2 == nil && minute < 60 && total <= 24*60
}
