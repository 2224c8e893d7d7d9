package certsrv_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"callsign/certsrv"
)

// openCounter is a listener that counts what is open on the server's side.
type openCounter struct {
	net.Listener
	mu               sync.Mutex
	open, most, ever int
}

func (l *openCounter) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open++
	l.ever++
	l.most = max(l.most, l.open)
	return &openConn{Conn: c, l: l}, nil
}

func (l *openCounter) counts() (open, most, ever int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open, l.most, l.ever
}

// settled waits until the server has seen no more than so many connections stay open.
func (l *openCounter) settled(t *testing.T, want int) {
	t.Helper()
	var open int
	for range 1000 {
		if open, _, _ = l.counts(); open <= want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d connections are open on the server, want at most %d", open, want)
}

type openConn struct {
	net.Conn
	l    *openCounter
	once sync.Once
}

func (c *openConn) Close() error {
	c.once.Do(func() {
		c.l.mu.Lock()
		c.l.open--
		c.l.mu.Unlock()
	})
	return c.Conn.Close()
}

// TestThousandEnrolments: eight at a time, all get their own certificate, on no more connections than MaxSessions allows, and
// none is left behind. The original's way of two connections for each enrolment leaves none either.
func TestThousandEnrolments(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		compat               bool
		workers, each, slots int
		atMost               int // connections altogether
	}{
		"sessions reused":       {false, 8, 125, 8, 8},
		"fewer sessions":        {false, 8, 10, 2, 2},
		"two for each, as once": {true, 8, 10, 8, 160},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ln := &openCounter{Listener: certsrv.Listen(t)}
			s, c, _, _ := startSimOn(t, ln, newSimCA(t, 0), nil)
			c.Compat, c.MaxSessions = tt.compat, tt.slots
			o := submission(t, "CiscoRA")
			var mu sync.Mutex
			ids := map[string]bool{}
			var wg sync.WaitGroup
			for range tt.workers {
				wg.Go(func() {
					for range tt.each {
						a, err := c.Enroll(t.Context(), o)
						if err != nil || a.Certificate == nil {
							t.Errorf("Enroll = %+v, %v", a, err)
							return
						}
						mu.Lock()
						ids[a.RequestID] = true
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			all := tt.workers * tt.each
			if n := len(s.Issued()); n != all || len(ids) != all {
				t.Errorf("%d certificates issued under %d request ids, want %d", n, len(ids), all)
			}
			// What was closed may still be open for the server for a moment; it is the client that has the limit.
			if _, _, ever := ln.counts(); ever > tt.atMost {
				t.Errorf("%d connections altogether, want at most %d", ever, tt.atMost)
			}
			if !tt.compat {
				if _, most, _ := ln.counts(); most > tt.slots {
					t.Errorf("%d connections at a time, want at most %d", most, tt.slots)
				}
			}
			ln.settled(t, tt.slots)
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			ln.settled(t, 0)
		})
	}
}
