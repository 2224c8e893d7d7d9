package ra

import (
	"context"
	"time"

	"callsign/internal/enroll"
)

// StatusOf is the HTTP status that answers a row in this state, with the Retry-After.
func (a *RA) StatusOf(row enroll.Enrolment) (int, time.Duration) {
	v := a.judge(row, false)
	return v.status, v.retryAfter
}

// Enter takes a place to hash a password.
func (u *Users) Enter(ctx context.Context) (done func(), err error) { return u.enter(ctx) }
