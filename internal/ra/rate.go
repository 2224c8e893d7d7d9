package ra

import (
	"sync"
	"time"
)

// Rate limits how often one caller may enroll. The zero value does not limit.
type Rate struct {
	Burst int           // requests at once; 0: no limit
	Every time.Duration // one more after this time; 0 means 1 minute
}

// maxBuckets bounds the memory of the limiter.
const maxBuckets = 50_000

// limiter is a token bucket for each caller, kept as the time when the bucket is full again.
type limiter struct {
	rate Rate

	mu   sync.Mutex
	full map[string]time.Time
}

// take uses one token and returns 0, or returns how long to wait for the next.
func (l *limiter) take(who string, now time.Time) time.Duration {
	if l.rate.Burst <= 0 {
		return 0
	}
	every := l.rate.Every
	if every <= 0 {
		every = time.Minute
	}
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
	if full.Before(now) {
		full = now
	}
	// Each request moves the moment of fullness away by Every; Burst of them may be outstanding.
	if wait := full.Add(every).Sub(now) - time.Duration(l.rate.Burst)*every; wait > 0 {
		return wait
	}
	l.full[who] = full.Add(every)
	return 0
}
