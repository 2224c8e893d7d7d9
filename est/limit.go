package est

import (
	"net"
	"sync"
)

// DefaultMaxConnections bounds the connections of a listener made by LimitListener.
const DefaultMaxConnections = 5000

// LimitListener returns l with a bound on the connections that are open at the same time: Accept waits until one of them
// is closed, and further ones wait in the operating system's queue. Each costs memory for TLS and a file descriptor,
// whoever is behind it. n below 1 means DefaultMaxConnections. Accept of a closed listener does not wait.
func LimitListener(l net.Listener, n int) net.Listener {
	if n < 1 {
		n = DefaultMaxConnections
	}
	return &limited{Listener: l, places: make(chan struct{}, n), closed: make(chan struct{})}
}

type limited struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	once   sync.Once
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return l.Listener.Accept() // which says so in the listener's own words
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &limitedConn{Conn: c, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

// Close implements net.Listener.
func (l *limited) Close() error {
	err := l.Listener.Close()
	l.once.Do(func() { close(l.closed) })
	return err
}

type limitedConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
