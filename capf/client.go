package capf

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"
)

// DefaultClientTimeout is how long a Client waits for the server's next message.
const DefaultClientTimeout = 10 * time.Second

// Client is a phone: it runs one session at a time.
type Client struct {
	// Device is the device name. Required.
	Device string
	// Version is the protocol version that the phone announces, 1 to 3; 0 means 3. Phones below 3 send no element 11
	// for a null string and no REQUEST_IN_PROGRESS, as soft phones do.
	Version uint8
	// String is the authentication string; empty for a null string.
	String Secret
	// Identity is the certificate by which the phone authenticates (elements 4, 6 and 20); nil for the string modes.
	Identity *Identity
	// SUDI is the certificate whose key the phone proves to hold in this session (element 16), RSA only; nil for none.
	// Phones with a MIC of the newer kind send it along with any Identity. Phones below version 3 do not know it.
	SUDI *Identity
	// Keeper has the phone's key and certificate. Required.
	Keeper Keeper
	// TLS is the configuration for Dial; nil checks the server against the system's roots. Phones check against a trust
	// list, soft phones not at all: see tls.Config.VerifyConnection and InsecureSkipVerify.
	TLS *tls.Config
	// Timeout is how long the server may be silent; 0 means 10 s.
	Timeout time.Duration
	// Log gets the client's records; nil discards them.
	Log *slog.Logger
}

// Outcome is how a session went. It is filled as far as the session got, also when there is an error.
type Outcome struct {
	Session   uint32    // session id; 0 before the server's first message
	Operation Operation // what the server asked for; OperationNone when it asked for nothing
	Reason    Reason    // from END_SESSION; only meaningful when Ended
	Ended     bool      // END_SESSION came
	// Key is the kind of the key that was offered; zero when none was.
	Key KeySpec
	// Certificate is the DER that was stored (install); nil when none was.
	Certificate []byte
	// Shown is how many certificates were shown (fetch).
	Shown int
	// Deleted tells that there was a certificate and it was removed (delete).
	Deleted bool
	// RetryAfter is the delay of a RETRY_LATER; 0 when none came.
	RetryAfter time.Duration
}

// EndError is a session that the server ended without success.
type EndError struct {
	Device    string
	Operation Operation
	Reason    Reason // from END_SESSION
	KeySent   bool   // the phone's key had been delivered: the authority may still be at work, so calling again can help
	Err       error  // why the phone itself could not do it; nil when the refusal is the server's
}

// Error implements error.
func (e *EndError) Error() string {
	var s string
	switch e.Reason {
	case ReasonUnknownDevice:
		s = fmt.Sprintf("the server does not know the device %s", e.Device)
	case ReasonInvalidElement:
		s = fmt.Sprintf("the server refused %s or could not finish", e.Device)
	default:
		s = fmt.Sprintf("the server ended the session of %s", e.Device)
	}
	s += fmt.Sprintf(" (reason %d, %v, operation %v)", uint8(e.Reason), e.Reason, e.Operation)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause on the phone.
func (e *EndError) Unwrap() error { return e.Err }

// Code returns the stable code.
func (e *EndError) Code() string {
	if e.Reason == ReasonUnknownDevice {
		return CodeUnknownDevice
	}
	return CodeRefused
}

// Remedy returns what to do.
func (e *EndError) Remedy() string { return remedyOf(e.Code()) }

// Dial connects to a server (HOST:PORT), runs one session and closes the connection.
func (c *Client) Dial(ctx context.Context, address string) (Outcome, error) {
	conn, err := c.Connect(ctx, address)
	if err != nil {
		return Outcome{}, err
	}
	defer conn.Close()
	return c.Run(ctx, conn)
}

// Connect connects to a server (HOST:PORT) and completes TLS. The caller closes the connection. Errors are
// *ProtocolError with CodeUnreachable or CodeHandshakeFailed.
func (c *Client) Connect(ctx context.Context, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: c.timeout()}
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, &ProtocolError{ErrCode: CodeUnreachable, Detail: "connect to " + address, Err: err}
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != nil {
		config = c.TLS.Clone()
	}
	if config.ServerName == "" {
		if host, _, err := net.SplitHostPort(address); err == nil {
			config.ServerName = host
		}
	}
	config.DynamicRecordSizingDisabled = true
	conn := tls.Client(raw, config)
	handshake, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	if err := conn.HandshakeContext(handshake); err != nil {
		_ = raw.Close()
		return nil, &ProtocolError{ErrCode: CodeHandshakeFailed, Detail: "TLS with " + address, Err: err}
	}
	return conn, nil
}

func (c *Client) timeout() time.Duration { return or(c.Timeout, DefaultClientTimeout) }

// Run conducts one session on a connection that is up, TLS included. It does not close the connection, except that
// ctx's end makes reads and writes on it fail. A server that had nothing to do ends without an error and with
// OperationNone. Errors are *EndError when the server ended the session, *ProtocolError for everything else.
func (c *Client) Run(ctx context.Context, conn net.Conn) (Outcome, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	p := &call{Client: c, conn: conn}
	err := p.run(ctx)
	if err != nil && ctx.Err() != nil && !p.out.Ended {
		err = &ProtocolError{ErrCode: CodeConnectionLost, Detail: "session cancelled", Err: ctx.Err()}
	}
	return p.out, err
}

// call is the phone's side of one session.
type call struct {
	*Client
	conn    net.Conn
	out     Outcome
	buf     []byte
	own     error // why this phone could not do what it was asked; the server ends the session then
	keySent bool
}

func (p *call) log() *slog.Logger {
	if p.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return p.Log
}

// run answers the server until it ends the session.
func (p *call) run(ctx context.Context) error {
	if err := checkDeviceName([]byte(p.Device)); err != nil {
		return err
	}
	if p.Keeper == nil {
		return errors.New("capf: Client.Keeper is nil")
	}
	for first := true; ; first = false {
		m, err := p.read(ctx, first)
		if err != nil {
			return err
		}
		p.log().LogAttrs(ctx, slog.LevelDebug, "message from the server", slog.String("event", "handset.message"), slog.String("device", p.Device),
			slog.Uint64("session", uint64(m.SessionID)), slog.String("command", m.Command.String()))
		if first != (m.Command == AuthRequest) {
			return problemf(CodeUnexpectedCommand, "%v from the server", m.Command)
		}
		done, err := p.answer(ctx, m)
		if done || err != nil {
			return err
		}
	}
}

// answer does what one message asks for; done when it was the last.
func (p *call) answer(ctx context.Context, m Message) (done bool, err error) {
	switch m.Command {
	case AuthRequest:
		elements, err := p.introduce()
		if err != nil {
			return false, err
		}
		return false, p.send(ctx, AuthResponse, elements...)
	case KeyGenerateRequest:
		p.out.Operation = OperationInstall
		return false, p.offerKey(ctx, m)
	case StoreCertificateRequest:
		p.out.Operation = OperationInstall
		return false, p.send(ctx, StoreCertificateResponse, reasonElement(p.store(ctx, m)))
	case FetchCertificateRequest:
		p.out.Operation = OperationTroubleshoot
		return false, p.show(ctx)
	case DeleteCertificateRequest:
		p.out.Operation = OperationDelete
		return false, p.remove(ctx)
	case RequestInProgress:
		return false, nil // the server is at work: wait on
	case StatusRequest:
		return false, p.send(ctx, StatusResponse, reasonElement(ReasonUpdateCertificate))
	case RetryLater:
		p.out.RetryAfter = retryDelay(m)
		return true, problemf(CodeRetryLater, "the server asks to call again in %v", p.out.RetryAfter)
	case AbortRequest:
		_ = p.send(ctx, AbortResponse, reasonElement(ReasonUpdateCertificate))
		return true, problemf(CodeRefused, "the server aborted the session")
	case EndSession:
		return true, p.ended(m)
	}
	return true, problemf(CodeUnexpectedCommand, "%v from the server", m.Command)
}

// ended judges END_SESSION.
func (p *call) ended(m Message) error {
	r, ok := m.Reason()
	if !ok {
		return missing(m, TagReason)
	}
	p.out.Ended, p.out.Reason = true, r
	good := r == ReasonUpdateCertificate || r == ReasonNoAction
	if good && p.own == nil {
		return nil
	}
	return &EndError{Device: p.Device, Operation: p.out.Operation, Reason: r, KeySent: p.keySent, Err: p.own}
}

// introduce returns AUTH_RESPONSE, in the order of elements of the clients in the field.
func (p *call) introduce() ([]Element, error) {
	reason, version := reasonElement(ReasonUpdateCertificate), byteElement(TagVersion, p.version())
	name := textElement(TagDeviceName, []byte(p.Device))
	var certificate, sha1Signed Element
	var sha512Signed *Element
	if p.Identity != nil {
		var err error
		if certificate, sha1Signed, sha512Signed, err = p.Identity.elements(p.Device, p.version()); err != nil {
			return nil, err
		}
	}
	if p.version() < 3 {
		elements := []Element{version, name, reason}
		if len(p.String) > 0 {
			elements = append(elements, textElement(TagPassword, p.String))
		}
		if p.Identity != nil {
			elements = append(elements, certificate, sha1Signed)
		}
		return elements, nil
	}
	elements := []Element{reason}
	if p.Identity != nil {
		elements = append(elements, certificate, sha1Signed)
	}
	elements = append(elements, version, textElement(TagPassword, p.String), name)
	if p.SUDI != nil {
		sudi, err := p.SUDI.sudi(p.out.Session)
		if err != nil {
			return nil, err
		}
		elements = append(elements, sudi)
	}
	if sha512Signed != nil {
		elements = append(elements, *sha512Signed)
	}
	return elements, nil
}

func (p *call) version() uint8 {
	if p.Version == 0 {
		return ProtocolVersion
	}
	return p.Version
}

// offerKey answers KEY_GENERATE_REQUEST.
func (p *call) offerKey(ctx context.Context, m Message) error {
	want, err := keySpecOf(m)
	if err != nil {
		return err
	}
	if p.version() >= 3 {
		if err := p.send(ctx, RequestInProgress); err != nil {
			return err
		}
	}
	key, err := p.Keeper.Key(ctx, want)
	if err != nil {
		p.own = fmt.Errorf("make the key %v: %w", want, err)
		return p.send(ctx, KeyGenerateResponse, reasonElement(ReasonInvalidElement))
	}
	spki, have, err := marshalPublicKey(key.Public())
	if err != nil {
		return err
	}
	p.own, p.keySent, p.out.Key = nil, true, have
	return p.send(ctx, KeyGenerateResponse, Element{Tag: TagPublicKey, Value: spki})
}

// show answers FETCH_CERTIFICATE_REQUEST.
func (p *call) show(ctx context.Context) error {
	entries, err := p.Keeper.Certificates(ctx)
	if err != nil {
		p.own = err
	}
	if err != nil || len(entries) == 0 {
		return p.send(ctx, FetchCertificateResponse, reasonElement(ReasonInvalidElement))
	}
	value, err := AppendCertificatePackage(nil, entries...)
	if err != nil {
		return err
	}
	p.out.Shown = len(entries)
	return p.send(ctx, FetchCertificateResponse, reasonElement(ReasonUpdateCertificate), Element{Tag: TagCertificate, Value: value})
}

// remove answers DELETE_CERTIFICATE_REQUEST.
func (p *call) remove(ctx context.Context) error {
	had, err := p.Keeper.Delete(ctx)
	p.out.Deleted = had && err == nil
	r := ReasonUpdateCertificate
	if err != nil {
		p.own, r = err, ReasonInvalidElement
	} else if !had {
		r = ReasonInvalidElement
	}
	return p.send(ctx, DeleteCertificateResponse, reasonElement(r))
}

// send writes one message in one write.
func (p *call) send(ctx context.Context, command Command, elements ...Element) error {
	var err error
	p.buf, err = Message{Command: command, SessionID: p.out.Session, Elements: elements}.AppendBinary(p.buf[:0])
	if err != nil {
		return err
	}
	if err := p.conn.SetWriteDeadline(time.Now().Add(p.timeout())); err != nil {
		return clientProblem(err)
	}
	if ctx.Err() != nil {
		return ctx.Err() // looked at after the deadline is set, which may have undone the one of a cancelled ctx
	}
	if _, err := p.conn.Write(p.buf); err != nil {
		return clientProblem(err)
	}
	return nil
}

// read reads the server's next message. The first one tells the session id.
func (p *call) read(ctx context.Context, first bool) (Message, error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(p.timeout())); err != nil {
		return Message{}, clientProblem(err)
	}
	if ctx.Err() != nil {
		return Message{}, ctx.Err() // as in send
	}
	m, err := ReadMessage(p.conn, MaxBody)
	if err != nil {
		return m, clientProblem(err)
	}
	if first {
		p.out.Session = m.SessionID
	}
	if m.SessionID != p.out.Session {
		return m, problemf(CodeWrongSessionID, "%v for session %d in session %d", m.Command, m.SessionID, p.out.Session)
	}
	return m, nil
}

// clientProblem says what the failure of a read or write means to a phone.
func clientProblem(err error) error {
	if p, ok := errors.AsType[*ProtocolError](err); ok {
		return p
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &ProtocolError{ErrCode: CodeSilentPeer, Detail: "the server was silent", Err: err}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &ProtocolError{ErrCode: CodeConnectionLost, Detail: "the server closed the connection within the session"}
	}
	return &ProtocolError{ErrCode: CodeConnectionLost, Detail: "connection to the server broke", Err: err}
}

// retryDelay reads element 12: seconds in 1, 2 or 4 bytes.
func retryDelay(m Message) time.Duration {
	v, _ := m.Element(TagRetryDelay)
	var n uint32
	for _, b := range v {
		n = n<<8 | uint32(b)
	}
	return time.Duration(n) * time.Second
}
