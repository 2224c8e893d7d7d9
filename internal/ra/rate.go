package ra

import (
	"maps"
	"sync"
	"time"

	"callsign/internal/enroll"
)

// maxBuckets bounds the memory of the limiter.
const maxBuckets = 50_000

// limiter is a token bucket for each caller, kept as the time when the bucket is full again.
type limiter struct {
	rate enroll.Rate // Count at once, and one more each Interval

	mu   sync.Mutex
	full map[string]time.Time
}

// take uses one token and returns 0, or returns how long to wait for the next.
func (l *limiter) take(who string, now time.Time) time.Duration {
	if l.rate.IsZero() {
		return 0
	}
	every := l.rate.Interval()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full == nil {
		l.full = make(map[string]time.Time)
	}
	if len(l.full) >= maxBuckets {
		for k, t := range l.full {
			if !t.After(now) {
				delete(l.full, k)
			}
		}
		if len(l.full) >= maxBuckets {
			clear(l.full)
		}
	}
	full := l.full[who]
	if wait := l.due(full, now); wait > 0 {
		return wait
	}
	if full.Before(now) {
		full = now
	}
	l.full[who] = full.Add(every)
	return 0
}

// wait returns how long take would say to wait, and uses no token.
func (l *limiter) wait(who string, now time.Time) time.Duration {
	if l.rate.IsZero() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.due(l.full[who], now)
}

// due is how long it is until a caller whose bucket is full at that time may take a token; 0 or less for at once.
func (l *limiter) due(full, now time.Time) time.Duration {
	if full.Before(now) {
		full = now
	}
	// Each request moves the moment of fullness away by an interval; Count of them may be outstanding.
	every := l.rate.Interval()
	return full.Add(every).Sub(now) - time.Duration(l.rate.Count)*every
}

// inherit takes over how much of the rates has been used.
func (l *limiter) inherit(prev *limiter) {
	prev.mu.Lock()
	full := maps.Clone(prev.full)
	prev.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.full = full
}
