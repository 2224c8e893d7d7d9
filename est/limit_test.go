package est_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"callsign/est"
)

func TestLimitListener(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := est.LimitListener(inner, 2)
	accepted, ended := make(chan net.Conn, 3), make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	for range 3 { // all are connected; the third waits in the queue
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	first, second := <-accepted, <-accepted
	select {
	case <-accepted:
		t.Fatal("a third connection beside two")
	case <-time.After(50 * time.Millisecond):
	}
	for range 2 { // closing twice gives one place
		_ = first.Close()
	}
	third := <-accepted
	if err := l.Close(); err != nil { // while Accept waits for a place
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept ended with %v", err)
	}
	_, _ = second.Close(), third.Close()
}
