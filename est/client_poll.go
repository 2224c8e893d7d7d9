package est

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// leastPoll is the shortest pause between two tries, whatever the server says.
const leastPoll = time.Second

// Poll repeats try as long as the server asks for it (202, or 429 and 503 with Retry-After) and for as long as wait, and never
// earlier than it said. A pause that would go beyond wait is not begun: the error of the last try is returned at once, a
// *RetryError after 202. notify, if not nil, is told of each pause before it begins. try makes the same request for the same key
// again; one that is linked needs a fresh link each time, as EnrollLinked makes it. A context that ends gives an error in which
// both its own and that of the last try are found.
func Poll[T any](ctx context.Context, wait time.Duration, notify func(pause time.Duration, why error), try func(context.Context) (T, error)) (T, error) {
	deadline := time.Now().Add(wait)
	for {
		result, err := try(ctx)
		pause, again := pauseAfter(err)
		if !again || ctx.Err() != nil || time.Now().Add(pause).After(deadline) {
			return result, err
		}
		if notify != nil {
			notify(pause, err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return result, fmt.Errorf("%w; %w", ctx.Err(), err)
		}
	}
}

// pauseAfter tells whether, and when, a server wants to be asked again.
func pauseAfter(err error) (time.Duration, bool) {
	if later, ok := errors.AsType[*RetryError](err); ok {
		return max(later.After, leastPoll), true
	}
	if e, ok := errors.AsType[*ClientError](err); ok && e.RetryAfter > 0 {
		return max(e.RetryAfter, leastPoll), true
	}
	return 0, false
}
