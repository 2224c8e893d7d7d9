package handset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"callsign/capf"
)

// Conduct is what a bad phone does instead of answering a message.
type Conduct string

// What bad phones do.
const (
	Refuse  Conduct = "refuse"  // answers with the reason for a failure (7)
	Vanish  Conduct = "vanish"  // closes the connection
	Silent  Conduct = "silent"  // says nothing until the server ends the session
	Abort   Conduct = "abort"   // sends ABORT_REQUEST
	Garbage Conduct = "garbage" // answers with a body that does not parse
)

// Moment is the message of the server that is answered so.
type Moment string

// The moments of a session.
const (
	// AtOperation is the message that decides the operation: the certificate to store, the question for the
	// certificates, the request to delete. It is the zero value.
	AtOperation Moment = ""
	AtHello     Moment = "hello"
	AtKey       Moment = "key"
	AtECKey     Moment = "ec" // the request for an EC key; one for RSA is answered as ever
	AtStore     Moment = "store"
	AtFetch     Moment = "fetch"
	AtDelete    Moment = "delete"
)

// Answer is how a bad phone behaves, for tests of servers. Its zero value is a good phone.
type Answer struct {
	Conduct Conduct // empty for a good phone
	At      Moment
}

var (
	conducts = []Conduct{Refuse, Vanish, Silent, Abort, Garbage}
	moments  = []Moment{AtOperation, AtHello, AtKey, AtECKey, AtStore, AtFetch, AtDelete}
)

// Answers returns all that ParseAnswer reads.
func Answers() []string {
	var out []string
	for _, c := range conducts {
		for _, m := range moments {
			out = append(out, Answer{c, m}.String())
		}
	}
	return out
}

// ParseAnswer reads a conduct, alone or with its moment: "refuse", "vanish-store", "silent-key". Empty is the good
// phone.
func ParseAnswer(s string) (Answer, error) {
	if s == "" {
		return Answer{}, nil
	}
	conduct, moment, dashed := strings.Cut(s, "-")
	a := Answer{Conduct(conduct), Moment(moment)}
	if !slices.Contains(conducts, a.Conduct) || !slices.Contains(moments, a.At) || dashed && moment == "" {
		return Answer{}, fmt.Errorf("unknown answer %q: use refuse, vanish, silent, abort or garbage, alone or with the moment: -hello, -key, -ec, -store, -fetch or -delete", s)
	}
	return a, nil
}

// String returns what ParseAnswer reads.
func (a Answer) String() string {
	if a.At == AtOperation {
		return string(a.Conduct)
	}
	return string(a.Conduct) + "-" + string(a.At)
}

// meets reports whether the message of the server is the one to answer badly.
func (a Answer) meets(m capf.Message) bool {
	switch m.Command {
	case capf.AuthRequest:
		return a.At == AtHello
	case capf.KeyGenerateRequest:
		t, _ := m.Uint8(capf.TagKeyType)
		return a.At == AtKey || a.At == AtECKey && capf.KeyType(t) == capf.KeyEC
	case capf.StoreCertificateRequest:
		return a.At == AtStore || a.At == AtOperation
	case capf.FetchCertificateRequest:
		return a.At == AtFetch || a.At == AtOperation
	case capf.DeleteCertificateRequest:
		return a.At == AtDelete || a.At == AtOperation
	}
	return false
}

// operationOf is the operation to which a message of the server belongs.
func operationOf(c capf.Command) capf.Operation {
	switch c {
	case capf.KeyGenerateRequest, capf.StoreCertificateRequest:
		return capf.OperationInstall
	case capf.FetchCertificateRequest:
		return capf.OperationTroubleshoot
	case capf.DeleteCertificateRequest:
		return capf.OperationDelete
	}
	return capf.OperationNone
}

// badConn is the connection of a bad phone. It stands between the phone and the server, takes the message that is to be
// answered badly away and answers it.
type badConn struct {
	net.Conn
	ctx    context.Context //nolint:containedctx // of the one session that the connection is for
	answer Answer
	left   []byte       // of the message that the phone is reading
	fired  capf.Command // the last message that was answered badly; 0 before
	end    capf.Message // END_SESSION of a session in which the phone has not even seen AUTH_REQUEST
}

// Read implements net.Conn.
func (b *badConn) Read(p []byte) (int, error) {
	for len(b.left) == 0 {
		m, err := capf.ReadMessage(b.Conn, capf.MaxBody)
		if err != nil {
			return 0, err
		}
		if b.answer.meets(m) {
			if err := b.misbehave(m); err != nil {
				return 0, err
			}
			continue
		}
		if b.fired == capf.AuthRequest && m.Command == capf.EndSession {
			b.end = m
			return 0, io.EOF
		}
		if b.left, err = m.MarshalBinary(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.left)
	b.left = b.left[n:]
	return n, nil
}

// misbehave answers m. What comes next is the server's business.
func (b *badConn) misbehave(m capf.Message) error {
	b.fired = m.Command
	failed := []capf.Element{{Tag: capf.TagReason, Value: []byte{byte(capf.ReasonInvalidElement)}}}
	switch b.answer.Conduct {
	case Refuse:
		return b.send(capf.Message{Command: m.Command + 1, SessionID: m.SessionID, Elements: failed})
	case Abort:
		if err := b.send(capf.Message{Command: capf.AbortRequest, SessionID: m.SessionID, Elements: failed}); err != nil {
			return err
		}
		_, err := capf.ReadMessage(b.Conn, capf.MaxBody) // ABORT_RESPONSE, or END_SESSION of a server that knows no abort
		return errors.Join(io.EOF, err)
	case Garbage:
		good, err := capf.Message{Command: m.Command + 1, SessionID: m.SessionID, Elements: failed}.MarshalBinary()
		if err != nil {
			return err
		}
		good[len(good)-2] = 0xff // the element now runs over the end of the body
		_, err = b.Conn.Write(good)
		return err
	case Silent:
		if err := b.Conn.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
		return b.ctx.Err() // looked at after the deadline is lifted, which may have undone that of a cancelled ctx
	}
	_ = b.Conn.Close()
	return io.EOF
}

func (b *badConn) send(m capf.Message) error {
	text, err := m.MarshalBinary()
	if err != nil {
		return err
	}
	_, err = b.Conn.Write(text)
	return err
}
