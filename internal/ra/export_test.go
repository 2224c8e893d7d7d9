package ra

import (
	"time"

	"callsign/internal/enroll"
)

// StatusOf is the HTTP status that answers a row in this state, with the Retry-After.
func (a *RA) StatusOf(row enroll.Enrolment) (int, time.Duration) {
	v := a.judge(row, false)
	return v.status, v.retryAfter
}
