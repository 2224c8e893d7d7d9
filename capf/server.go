package capf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of a Server's limits.
const (
	DefaultHandshakeTimeout = 10 * time.Second
	DefaultIdleTimeout      = 30 * time.Second
	DefaultKeyTimeout       = 120 * time.Second
	DefaultAnswerWithin     = 7 * time.Second
	DefaultSessionTimeout   = 15 * time.Minute
	DefaultCloseWait        = 2 * time.Second
	DefaultMaxConnections   = 20000
)

// ErrServerClosed is returned by Serve after Shutdown, and is the cause that Session.Abort gets when a session was cut
// because the server stops.
var ErrServerClosed = errors.New("server stopped")

// Server conducts CAPF sessions. Set its fields before the first Serve and leave them alone afterwards; its methods are
// safe for concurrent use.
type Server struct {
	// Service decides about phones. Required.
	Service Service
	// Log gets the server's records; nil discards them. Steps are at debug level, the end of each session at info,
	// peers that misbehave at warn.
	Log *slog.Logger
	// Recorder is handed each session that came as far as a message of the phone, when it has ended, by the session's own
	// goroutine. Nil, the default, records nothing. See RecordDir.
	Recorder func(Recording)

	// HandshakeTimeout bounds the TLS handshake; 0 means 10 s.
	HandshakeTimeout time.Duration
	// IdleTimeout is how long the phone may take for any answer but a key; 0 means 30 s.
	IdleTimeout time.Duration
	// KeyTimeout is how long the phone may take to make a key, each REQUEST_IN_PROGRESS beginning it anew; 0 means 120 s.
	KeyTimeout time.Duration
	// AnswerWithin is how long Session.Issue may take from the arrival of the key; 0 means 7 s. Clients in the field
	// give up 8 to 10 s after their last message.
	AnswerWithin time.Duration
	// SessionTimeout bounds a whole session, whatever the phone does to prolong it; 0 means 15 min.
	SessionTimeout time.Duration
	// CloseWait is how long the server waits for the phone's close after END_SESSION; 0 means 2 s.
	CloseWait time.Duration

	// MaxConnections bounds the connections at a time; further ones wait in the listen queue. 0 means 20,000.
	MaxConnections int
	// MaxPerAddress bounds the connections from one address; further ones are closed. 0 means no bound: a site sits
	// behind one address.
	MaxPerAddress int
	// FirstSession is the id of the first session, later ones count up; 0 means 1.
	FirstSession uint32

	sessions  atomic.Uint32 // sessions begun
	once      sync.Once
	logger    *slog.Logger  // Log, or one that discards
	slots     chan struct{} // one token a connection
	mu        sync.Mutex
	stopping  bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	addresses map[string]int // connections by address, kept only with MaxPerAddress
	wg        sync.WaitGroup // connections
}

// init fills what the first Serve needs.
func (s *Server) init() {
	s.once.Do(func() {
		n := s.MaxConnections
		if n <= 0 {
			n = DefaultMaxConnections
		}
		s.slots = make(chan struct{}, n)
		s.logger = s.Log
		if s.logger == nil {
			s.logger = slog.New(slog.DiscardHandler)
		}
		s.listeners = map[net.Listener]struct{}{}
		s.conns = map[*conn]struct{}{}
		s.addresses = map[string]int{}
	})
}

func or(d, zero time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return zero
}

// Serve accepts connections on l until Shutdown, and then returns ErrServerClosed; it closes l. t is how phones are spoken
// to on this listener. When ctx ends it stops
// accepting, cuts the sessions of this listener as Shutdown does at its limit, and returns the context's error at once:
// call Shutdown to wait for them. Several listeners may be served at the same time.
func (s *Server) Serve(ctx context.Context, l net.Listener, t Transport) error {
	defer l.Close()
	s.init()
	if s.Service == nil {
		return errors.New("capf: Server.Service is nil")
	}
	config, err := t.config()
	if err != nil {
		return err
	}
	t.announce(ctx, s.logger, l)
	if !s.track(l) {
		return ErrServerClosed
	}
	defer s.untrack(l)
	stop := context.AfterFunc(ctx, func() {
		_ = l.Close()
		s.cut(func(c *conn) bool { return c.listener == l })
	})
	defer stop()
	for {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		raw, err := s.accept(ctx, l)
		if err != nil {
			<-s.slots
			return err
		}
		c := newConn(s, l, raw)
		if !s.add(ctx, c) {
			_ = raw.Close()
			<-s.slots
			continue
		}
		go func() {
			defer s.remove(c)
			c.serve(ctx, config, t.OldPhones)
		}()
	}
}

// accept waits for one connection. It rides out a lack of file descriptors, which passes when sessions end.
func (s *Server) accept(ctx context.Context, l net.Listener) (net.Conn, error) {
	const longest = time.Second
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, longest) {
		raw, err := l.Accept()
		if err == nil {
			return raw, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if s.isStopping() {
			return nil, ErrServerClosed
		}
		var ne net.Error
		if !errors.As(err, &ne) || errors.Is(err, net.ErrClosed) {
			return nil, fmt.Errorf("accept CAPF connection: %w", err)
		}
		s.logger.LogAttrs(ctx, slog.LevelError, "cannot accept connection", slog.String("event", "capf.accept_failed"), slog.Any("err", err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Shutdown stops accepting, closes connections on which no operation has begun, lets running operations finish, and
// returns when all have. When ctx ends first the remaining sessions are cut: their phones get END_SESSION with
// ReasonInvalidElement, Session.Abort is told ErrServerClosed, and Shutdown returns the context's error after at most
// two more seconds.
func (s *Server) Shutdown(ctx context.Context) error {
	s.init()
	s.mu.Lock()
	s.stopping = true
	for l := range s.listeners {
		_ = l.Close()
	}
	for c := range s.conns {
		c.stopIdle()
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.cut(func(*conn) bool { return true })
	late := time.NewTimer(cutWithin)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
	return fmt.Errorf("stop CAPF server: %w", ctx.Err())
}

// cutWithin is how long Shutdown waits for sessions that it cut.
const cutWithin = 500 * time.Millisecond

// cut ends the sessions that which picks.
func (s *Server) cut(which func(*conn) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if which(c) {
			c.cut()
		}
	}
}

func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

func (s *Server) track(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) untrack(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// add registers a connection; false when it is one too many or the server stops.
func (s *Server) add(ctx context.Context, c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	if s.MaxPerAddress > 0 {
		if s.addresses[c.address()] >= s.MaxPerAddress {
			s.logger.LogAttrs(ctx, slog.LevelWarn, "connection closed: too many from this address",
				slog.String("event", "capf.too_many"), slog.String("peer", c.peer), slog.Int("limit", s.MaxPerAddress))
			return false
		}
		s.addresses[c.address()]++
	}
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	if s.MaxPerAddress > 0 {
		if s.addresses[c.address()]--; s.addresses[c.address()] <= 0 {
			delete(s.addresses, c.address())
		}
	}
	s.mu.Unlock()
	<-s.slots
	s.wg.Done()
}

// nextSession returns the id for a new session.
func (s *Server) nextSession() uint32 {
	first := s.FirstSession
	if first == 0 {
		first = 1
	}
	return first + s.sessions.Add(1) - 1
}
