package winauth

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// flights returns tickets of a KDC that dial stands for.
func flights(t *testing.T, dial func(context.Context) error) *Kerberos {
	t.Helper()
	k, err := NewKerberos(KerberosConfig{
		User: "ra@LAB.EXAMPLE", Password: NewPassword([]byte("hunter2")), KDCs: []string{"dc1"},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return nil, dial(ctx) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

// TestOneExchangeForAll: logins at the same time wait for one exchange with the KDC, and all hear what came of it, each in an
// error of its own.
func TestOneExchangeForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refused, release := errors.New("refused"), make(chan struct{})
		var dials atomic.Int32
		k := flights(t, func(context.Context) error {
			dials.Add(1)
			<-release
			return refused
		})
		var mu sync.Mutex
		seen := map[*Error]bool{}
		for range 8 {
			go func() {
				_, err := k.ticket(t.Context(), "HTTP/h")
				mu.Lock()
				defer mu.Unlock()
				if e, ok := errors.AsType[*Error](err); ok && e.Kind == KindKDC && errors.Is(err, refused) {
					seen[e] = true
				} else {
					t.Errorf("ticket: %v", err)
				}
			}()
		}
		synctest.Wait()
		close(release)
		synctest.Wait()
		if dials.Load() != 1 || len(seen) != 8 {
			t.Errorf("%d exchanges, %d errors", dials.Load(), len(seen))
		}
		// What failed is not remembered: the next login asks again.
		if _, err := k.ticket(t.Context(), "HTTP/h"); err == nil || dials.Load() != 2 {
			t.Errorf("ticket: %v after %d exchanges", err, dials.Load())
		}
	})
}

// TestWaiters: who waits for an exchange can give up, is not harmed when its runner does, and does not outlast Close.
func TestWaiters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		k := flights(t, func(ctx context.Context) error {
			dials.Add(1)
			<-ctx.Done()
			return ctx.Err()
		})
		k.c.Timeout = time.Hour
		get := func(ctx context.Context) <-chan error {
			done := make(chan error, 1)
			go func() { _, err := k.ticket(ctx, "HTTP/h"); done <- err }()
			synctest.Wait()
			return done
		}
		kind := func(what string, done <-chan error, want Kind) {
			t.Helper()
			synctest.Wait()
			select {
			case err := <-done:
				if e, ok := errors.AsType[*Error](err); !ok || e.Kind != want {
					t.Errorf("%s: %v", what, err)
				}
			default:
				t.Errorf("%s: still waiting", what)
			}
		}
		runner, endRunner := context.WithCancel(t.Context())
		short, endShort := context.WithTimeout(t.Context(), time.Second)
		defer endShort()
		first, second, third := get(runner), get(short), get(t.Context())
		time.Sleep(2 * time.Second)
		kind("waiter out of time", second, KindTimeout)
		endRunner()
		kind("runner", first, KindCanceled)
		if dials.Load() != 2 {
			t.Errorf("%d exchanges: nobody went on after the runner", dials.Load())
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
		kind("at Close", third, KindCanceled)
		kind("after Close", get(t.Context()), KindCanceled)
	})
}
