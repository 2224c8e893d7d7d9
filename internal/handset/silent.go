package handset

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// silentRetry is the pause before a connection that was refused is tried again.
const silentRetry = 100 * time.Millisecond

// crowd are connections that hang on a server and say nothing, not even the beginning of TLS. One that the server closes
// is opened again.
type crowd struct {
	server  string
	timeout time.Duration
	refused atomic.Int64 // attempts to connect that failed
	closed  atomic.Int64 // connections that the server closed
	wg      sync.WaitGroup
	stop    context.CancelFunc
}

// gather opens n silent connections and returns when each has been tried once.
func gather(ctx context.Context, server string, n int, timeout time.Duration) *crowd {
	ctx, cancel := context.WithCancel(ctx)
	c := &crowd{server: server, timeout: timeout, stop: cancel}
	var tried sync.WaitGroup
	tried.Add(n)
	for range n {
		c.wg.Go(func() { c.hang(ctx, sync.OnceFunc(tried.Done)) })
	}
	tried.Wait()
	return c
}

// hang keeps one connection up until ctx ends.
func (c *crowd) hang(ctx context.Context, tried func()) {
	defer tried()
	d := net.Dialer{Timeout: c.timeout}
	for ctx.Err() == nil {
		conn, err := d.DialContext(ctx, "tcp", c.server)
		if err != nil {
			if ctx.Err() == nil {
				c.refused.Add(1)
			}
			tried()
			pause(ctx, silentRetry)
			continue
		}
		tried()
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		_, err = conn.Read(make([]byte, 1)) // a CAPF server speaks first, but not before TLS
		for err == nil {
			_, err = conn.Read(make([]byte, 1))
		}
		stop()
		_ = conn.Close()
		if ctx.Err() == nil {
			c.closed.Add(1)
		}
	}
}

// disperse closes all and reports how they fared.
func (c *crowd) disperse() (refused, closed int) {
	c.stop()
	c.wg.Wait()
	return int(c.refused.Load()), int(c.closed.Load())
}
