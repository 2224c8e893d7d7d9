package enroll

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// Rate is how often something may happen: Count times in every Per. The zero value is without limit.
type Rate struct {
	Count int           // at least 1
	Per   time.Duration // longer than 0
}

// mostPerRate bounds Count, so that nothing overflows; no authority is that fast.
const mostPerRate = 1_000_000

// units are the words for Rate.Per.
var units = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}

// ParseRate reads a rate as it is written in the configuration: a number, a slash, and s, m, h or d, or a duration of Go's form:
// "10/s", "30/m", "600/h", "1/10s". The empty string is the zero Rate.
func ParseRate(s string) (Rate, error) {
	if s = strings.TrimSpace(s); s == "" {
		return Rate{}, nil
	}
	left, right, ok := strings.Cut(s, "/")
	if !ok {
		return Rate{}, fmt.Errorf(`rate %q has no slash: write for example "10/s" or "600/h"`, s)
	}
	count, err := strconv.Atoi(strings.TrimSpace(left))
	if err != nil || count < 1 || count > mostPerRate {
		return Rate{}, fmt.Errorf("rate %q: want a whole number from 1 to %d before the slash", s, mostPerRate)
	}
	right = strings.TrimSpace(right)
	per, ok := units[right]
	if !ok {
		if per, err = time.ParseDuration(right); err != nil || per <= 0 {
			return Rate{}, fmt.Errorf(`rate %q: want s, m, h, d or a duration such as "10s" after the slash`, s)
		}
	}
	return Rate{Count: count, Per: per}, nil
}

// IsZero tells whether there is no limit.
func (r Rate) IsZero() bool { return r.Count <= 0 || r.Per <= 0 }

// Interval is the time from one event to the next at this rate, rounded up to the nanosecond; 0 without limit.
func (r Rate) Interval() time.Duration {
	if r.IsZero() {
		return 0
	}
	n := time.Duration(r.Count)
	return r.Per/n + (r.Per%n+n-1)/n
}

// String returns the rate as [ParseRate] reads it; empty without limit.
func (r Rate) String() string {
	if r.IsZero() {
		return ""
	}
	for word, unit := range units {
		if r.Per == unit {
			return fmt.Sprintf("%d/%s", r.Count, word)
		}
	}
	return fmt.Sprintf("%d/%s", r.Count, r.Per)
}

// A pace keeps what an authority is newly asked for within its rate. Only the worker that holds the turn waits for the time of the next
// request, and it takes a place in the authority's pool only then: whatever waits for the rate keeps nobody from asking for what is pending.
type pace struct {
	every time.Duration
	turn  chan struct{} // holds one element while a worker has the turn
	next  time.Time     // before it the authority must not be asked; belongs to who has the turn
}

// newPace begins with a full interval, so that restarts in a row do not add up to more than the rate.
func newPace(r Rate, now time.Time) *pace {
	every := r.Interval()
	return &pace{every: every, turn: make(chan struct{}, 1), next: now.Add(every)}
}

// wait is how long the next request has to wait. A clock that was set back makes nobody wait for longer than an interval.
func (p *pace) wait(now time.Time) time.Duration {
	if p.next.Sub(now) > p.every {
		p.next = now.Add(p.every)
	}
	return p.next.Sub(now)
}

// take uses the moment that wait waited for.
func (p *pace) take(now time.Time) { p.next = now.Add(p.every) }

// paced returns the pace that an attempt for row has to keep; nil when there is none: the authority has no rate, or it has the request
// already and is only asked what became of it.
func (e *Engine) paced(row *Enrolment) *pace {
	if row.State == Pending {
		return nil
	}
	return e.paces[row.Authority]
}

// clock is the engine's clock, as fine as it is.
func (e *Engine) clock() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

// await waits, with the turn in hand, until the authority may be asked again. It returns false when the engine closes before.
func (e *Engine) await(ctx context.Context, p *pace, row *Enrolment) bool {
	for first := true; ; first = false {
		wait := p.wait(e.clock())
		if wait <= 0 {
			return true
		}
		if first {
			e.log.LogAttrs(ctx, slog.LevelDebug, "request waits for the rate of its authority",
				attrs("enroll.paced", row, slog.String("rate_wait", wait.String()))...)
		}
		// Looked at again now and then: an injected clock need not go at the pace of timers.
		timer := time.NewTimer(min(wait, orDefault(e.Interval, time.Second)))
		select {
		case <-timer.C:
		case <-e.closed:
			timer.Stop()
			return false
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}
