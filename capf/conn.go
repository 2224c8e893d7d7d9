package capf

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

// writeTimeout bounds the write of one message: it fits into socket buffers unless the peer has stopped reading.
const writeTimeout = 10 * time.Second

// stage says what a stopping server may do with a connection.
type stage uint8

const (
	idle    stage = iota // no operation has begun: may be closed at any time
	busy                 // the Service is at work
	closing              // END_SESSION is sent, waiting for the phone's close
)

// conn is one connection of a Server, and the messages on it.
type conn struct {
	srv      *Server
	listener net.Listener
	raw      net.Conn
	nc       net.Conn // TLS on raw, or raw
	peer     string
	began    time.Time
	id       uint32 // session
	device   string // printable, empty until AUTH_RESPONSE
	limit    int    // longest body accepted now
	out      []byte // scratch for messages sent
	expires  time.Time
	record   *recorder // nil when sessions are not recorded

	mu     sync.Mutex
	stage  stage
	isCut  bool
	cancel context.CancelFunc
}

func newConn(s *Server, l net.Listener, raw net.Conn) *conn {
	now := time.Now()
	return &conn{
		srv: s, listener: l, raw: raw, nc: raw, peer: raw.RemoteAddr().String(), began: now,
		limit: MaxUnauthenticated, expires: now.Add(or(s.SessionTimeout, DefaultSessionTimeout)),
	}
}

// address is the peer without its port.
func (c *conn) address() string {
	host, _, err := net.SplitHostPort(c.peer)
	if err != nil {
		return c.peer
	}
	return host
}

// serve conducts the connection from the handshake to the close. whole sends each message in one TCP write also when it
// takes several records. A panic ends this session only.
func (c *conn) serve(ctx context.Context, config *tls.Config, whole bool) {
	defer c.raw.Close()
	defer c.recoverPanic(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	c.cancel = cancel
	c.mu.Unlock()

	var state tls.ConnectionState
	if config != nil {
		below := c.raw
		if whole {
			below = &held{Conn: c.raw}
		}
		t := tls.Server(below, config)
		if !c.handshake(ctx, t) {
			return
		}
		c.nc, state = t, t.ConnectionState()
		if h, ok := below.(*held); ok {
			c.nc = &wholeWrites{Conn: t, below: h}
		}
	}
	c.id = c.srv.nextSession()
	x := &exchange{conn: c, caller: Caller{
		Session: c.id, Peer: c.raw.RemoteAddr(), TLSVersion: state.Version, Cipher: state.CipherSuite,
	}}
	if c.srv.Recorder != nil {
		c.record = &recorder{Recording: Recording{Session: c.id, Peer: c.peer, Began: c.began}}
		defer func() { c.record.hand(c.srv.Recorder, x) }()
	}
	x.run(ctx)
}

// handshake brings TLS up within its own deadline.
func (c *conn) handshake(ctx context.Context, t *tls.Conn) bool {
	c.setReadDeadline(time.Now().Add(or(c.srv.HandshakeTimeout, DefaultHandshakeTimeout)))
	_ = c.raw.SetWriteDeadline(time.Now().Add(or(c.srv.HandshakeTimeout, DefaultHandshakeTimeout)))
	var hello greeting
	// Its end is not needed: whoever ends ctx cuts the connection as well.
	err := t.HandshakeContext(context.WithValue(context.WithoutCancel(ctx), helloKey{}, &hello))
	if err == nil {
		return true
	}
	level, p := slog.LevelWarn, &ProtocolError{ErrCode: CodeHandshakeFailed, Detail: "TLS handshake failed", Err: err}
	switch {
	case c.wasCut() || ctx.Err() != nil || errors.Is(err, net.ErrClosed):
		level = slog.LevelDebug
	case errors.Is(err, io.EOF):
		// A port check: connected and gone.
		level, p = slog.LevelDebug, &ProtocolError{ErrCode: CodeConnectionLost, Detail: "closed before the TLS handshake", Err: err}
	case errors.Is(err, os.ErrDeadlineExceeded):
		p = &ProtocolError{ErrCode: CodeSilentPeer, Detail: "no TLS handshake in time", Err: err}
	case hello.newest > 0 && hello.newest < tls.VersionTLS12:
		p = &ProtocolError{ErrCode: CodeOldTLS, Detail: "the phone knows nothing later than " + tls.VersionName(hello.newest), Err: err}
	case hello.oldKeys:
		p = &ProtocolError{ErrCode: CodeOldTLS, Detail: "the phone knows RSA key exchange only", Err: err}
	}
	c.srv.logger.LogAttrs(ctx, level, "no session", slog.String("event", "capf.no_session"), slog.String("peer", c.peer),
		slog.String("code", p.Code()), slog.String("err", p.Error()), slog.String("remedy", p.Remedy()), c.elapsed())
	return false
}

func (c *conn) elapsed() slog.Attr {
	return slog.Float64("duration_ms", float64(time.Since(c.began).Microseconds())/1000)
}

// recoverPanic turns a panic into a log line with the stack.
func (c *conn) recoverPanic(ctx context.Context) {
	if v := recover(); v != nil {
		c.srv.logger.LogAttrs(ctx, slog.LevelError, "session ended by a panic", slog.String("event", "capf.panic"),
			slog.String("device", c.device), slog.String("peer", c.peer), slog.Uint64("session", uint64(c.id)),
			slog.String("code", CodeInternalError), slog.Any("err", v), slog.String("remedy", remedyOf(CodeInternalError)),
			slog.String("stack", string(debug.Stack())))
	}
}

// event logs a step.
func (c *conn) event(ctx context.Context, level slog.Level, msg, event string, attrs ...slog.Attr) {
	log := c.srv.logger
	if !log.Enabled(ctx, level) {
		return
	}
	all := make([]slog.Attr, 0, len(attrs)+4)
	all = append(all, slog.String("event", event), slog.String("device", c.device), slog.Uint64("session", uint64(c.id)))
	log.LogAttrs(ctx, level, msg, append(all, attrs...)...) //nolint:sloglint // every caller passes a constant phrase
}

// setStage moves to a stage unless the server has decided otherwise.
func (c *conn) setStage(s stage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stage = s
}

// setReadDeadline bounds the next reads. A connection that was cut keeps its deadline in the past.
func (c *conn) setReadDeadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isCut {
		_ = c.raw.SetReadDeadline(t)
	}
}

func (c *conn) wasCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isCut
}

// cut makes the session end as soon as it can: reads fail, the context of the Service ends. Writes still work, so
// that the phone gets its END_SESSION.
func (c *conn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isCut = true
	_ = c.raw.SetReadDeadline(time.Unix(1, 0))
	_ = c.raw.SetWriteDeadline(time.Now().Add(time.Second))
	if c.cancel != nil {
		c.cancel()
	}
}

// stopIdle closes a connection on which no operation has begun, and hurries one that only waits for the phone's close.
func (c *conn) stopIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.stage {
	case idle:
		c.isCut = true
		_ = c.raw.Close()
	case closing:
		_ = c.raw.SetReadDeadline(time.Now().Add(lingerStopping))
	case busy:
	}
}

// lingerStopping is how long a stopping server waits for a phone's close.
const lingerStopping = 200 * time.Millisecond

// send writes one message in one write.
func (c *conn) send(command Command, elements ...Element) error {
	var err error
	c.out, err = Message{Command: command, SessionID: c.id, Elements: elements}.AppendBinary(c.out[:0])
	if err != nil {
		return err
	}
	c.mu.Lock()
	if !c.isCut {
		_ = c.raw.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
	c.mu.Unlock()
	c.record.add(fromServer, c.out)
	if _, err = c.nc.Write(c.out); err != nil {
		return c.ioProblem(err, "sending "+command.String())
	}
	return nil
}

// errHangUp marks the cause of a session in which the phone gets no END_SESSION: there is nobody to read it, or the
// session was ended by an ABORT_RESPONSE.
var errHangUp = errors.New("hang up")

// await reads until the wanted command comes, each REQUEST_IN_PROGRESS beginning the wait anew, and deals with what
// may come at any time.
func (c *conn) await(ctx context.Context, want Command, wait time.Duration) (Message, error) {
	deadline := time.Now().Add(wait)
	for {
		if c.expires.Before(deadline) {
			deadline = c.expires
		}
		c.setReadDeadline(deadline)
		m, err := c.read(ctx, want)
		if err != nil {
			return m, err
		}
		switch m.Command {
		case want:
			return m, nil
		case RequestInProgress:
			if want == AuthResponse {
				return m, c.unexpected(ctx, m, want)
			}
			deadline = time.Now().Add(wait)
		case StatusRequest:
			// Nobody has published what is in it, so it is kept as evidence.
			c.logHex(ctx, "status request", "capf.status_request", m)
			if err := c.send(StatusResponse, reasonElement(ReasonUpdateCertificate)); err != nil {
				return m, err
			}
		case AbortRequest:
			c.logHex(ctx, "phone aborts", "capf.abort_request", m)
			r, _ := m.Reason()
			cause := &PhoneError{Command: AbortRequest, Reason: r, Info: m.info()}
			if err := c.send(AbortResponse, reasonElement(ReasonUpdateCertificate)); err != nil {
				return m, errors.Join(cause, errHangUp)
			}
			return m, errors.Join(cause, errHangUp)
		default:
			return m, c.unexpected(ctx, m, want)
		}
	}
}

// read reads one message and logs what it does not know in it.
func (c *conn) read(ctx context.Context, want Command) (Message, error) {
	m, body, err := readFrame(c.nc, c.limit)
	if err != nil {
		if _, malformed := errors.AsType[*ProtocolError](err); malformed {
			return m, err
		}
		return m, c.ioProblem(err, "waiting for "+want.String())
	}
	c.record.phone(m, body, c.device != "")
	if m.SessionID != c.id {
		return m, problemf(CodeWrongSessionID, "%v for session %d in session %d", m.Command, m.SessionID, c.id)
	}
	m.Elements, err = parseElements(body)
	if err != nil {
		c.logBody(ctx, "malformed message", "capf.malformed", m, body)
		return m, err
	}
	if unknown := m.Unknown(); len(unknown) > 0 {
		b, _ := Message{Elements: unknown}.AppendBinary(nil)
		c.event(ctx, slog.LevelWarn, "unknown elements skipped", "capf.unknown_element", slog.String("peer", c.peer),
			slog.String("command", m.Command.String()), slog.Int("count", len(unknown)), slog.String("hex", dump(b[headerLength:])))
	}
	if r, ok := m.Reason(); ok && !r.Known() {
		c.event(ctx, slog.LevelWarn, "unknown reason", "capf.unknown_reason", slog.String("peer", c.peer),
			slog.String("command", m.Command.String()), slog.String("hex", hex.EncodeToString([]byte{byte(r)})))
	}
	return m, nil
}

// unexpected logs a message out of place in hex and returns the error that ends the session.
func (c *conn) unexpected(ctx context.Context, m Message, want Command) error {
	c.logHex(ctx, "unexpected message", "capf.unexpected", m)
	return problemf(CodeUnexpectedCommand, "%v while waiting for %v", m.Command, want)
}

// logHex logs a whole message without its authentication string.
func (c *conn) logHex(ctx context.Context, msg, event string, m Message) {
	b, _ := m.withoutString().AppendBinary(nil)
	c.event(ctx, slog.LevelWarn, msg, event, slog.String("peer", c.peer), slog.String("command", m.Command.String()),
		slog.Int("bytes", len(b)), slog.String("hex", dump(b)))
}

// logBody logs a body that does not parse. Of an AUTH_RESPONSE nothing is shown: where the authentication string
// begins and ends is not known.
func (c *conn) logBody(ctx context.Context, msg, event string, m Message, body []byte) {
	shown := dump(body)
	if m.Command == AuthResponse {
		shown = redacted
	}
	c.event(ctx, slog.LevelWarn, msg, event, slog.String("peer", c.peer), slog.String("command", m.Command.String()),
		slog.Int("bytes", len(body)), slog.String("hex", shown))
}

// dump is hex of at most 2 KiB.
func dump(b []byte) string {
	const limit = 2 << 10
	if len(b) > limit {
		return hex.EncodeToString(b[:limit]) + "..."
	}
	return hex.EncodeToString(b)
}

// ioProblem says what the failure of a read or write means.
func (c *conn) ioProblem(err error, doing string) error {
	switch {
	case c.wasCut():
		return ErrServerClosed
	case errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(c.expires):
		return &ProtocolError{ErrCode: CodeTimedOut, Detail: "session took too long, " + doing, Err: err}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &ProtocolError{ErrCode: CodeSilentPeer, Detail: "peer was silent, " + doing, Err: err}
	case errors.Is(err, io.EOF):
		return errors.Join(&ProtocolError{ErrCode: CodeConnectionLost, Detail: "peer closed the connection, server " + doing}, errHangUp)
	}
	return errors.Join(&ProtocolError{ErrCode: CodeConnectionLost, Detail: "connection broke, server " + doing, Err: err}, errHangUp)
}

// end sends the last message, after which linger waits for the peer's close, so that a reset cannot overtake it.
func (c *conn) end(last Command, e Element) error {
	err := c.send(last, e)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.stage = closing
	if !c.isCut {
		_ = c.raw.SetReadDeadline(time.Now().Add(or(c.srv.CloseWait, DefaultCloseWait)))
	}
	c.mu.Unlock()
	return nil
}

// linger reads until the peer closes or the wait is over, then closes TLS properly. What comes is thrown away.
func (c *conn) linger() {
	if c.srv.isStopping() {
		c.stopIdle() // Shutdown came before the stage was set
	}
	sink := make([]byte, 512)
	for read := 0; read < MaxUnauthenticated; {
		n, err := c.nc.Read(sink)
		read += n
		if err != nil {
			break
		}
	}
	_ = c.raw.SetWriteDeadline(time.Now().Add(time.Second))
	_ = c.nc.Close()
}
