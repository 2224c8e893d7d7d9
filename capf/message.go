package capf

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

// protocolID is the first byte of every message.
const protocolID = 0x55

// headerLength is the length of a message without its body.
const headerLength = 8

// Limits of a message body in bytes.
const (
	// MaxUnauthenticated is what a server accepts before it knows the phone. The largest real message,
	// certificate authentication with two 4096-bit certificates, stays under half of it.
	MaxUnauthenticated = 16 << 10
	// MaxBody is the most that the length field can tell.
	MaxBody = 0xffff
)

// Element is one piece of a message body.
type Element struct {
	Tag   Tag
	Value []byte // at most 65535 bytes
}

// Message is one message. Elements keeps the order of the wire and also the elements that are not known, so that a
// message that was read encodes to the same bytes again.
type Message struct {
	Command   Command
	SessionID uint32
	Elements  []Element
}

// ReadMessage reads one message whose body is not longer than limit bytes (at most MaxBody). It reads no byte beyond
// the message. Errors of r come back unchanged (io.EOF only before the first byte), a malformed message as a
// *ProtocolError; the Message then has its command and session id if these could be read.
func ReadMessage(r io.Reader, limit int) (Message, error) {
	m, body, err := readFrame(r, limit)
	if err != nil {
		return m, err
	}
	m.Elements, err = parseElements(body)
	return m, err
}

// readFrame reads header and body without looking into the body.
func readFrame(r io.Reader, limit int) (Message, []byte, error) {
	var h [headerLength]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return Message{}, nil, err
	}
	if h[0] != protocolID {
		return Message{}, h[:], problemf(CodeBadProtocolID, "message begins with % x, want %02x", h, protocolID)
	}
	m := Message{Command: Command(h[1]), SessionID: binary.BigEndian.Uint32(h[2:])}
	n := int(binary.BigEndian.Uint16(h[6:]))
	if n > limit {
		return m, nil, problemf(CodeMessageTooLong, "%v with a body of %d bytes, limit %d", m.Command, n, limit)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return m, nil, err
	}
	return m, body, nil
}

// ParseMessage decodes exactly one whole message. Its elements share memory with b.
func ParseMessage(b []byte) (Message, error) {
	if len(b) < headerLength {
		return Message{}, problemf(CodeElementOverEnd, "message of %d bytes is shorter than a header", len(b))
	}
	if b[0] != protocolID {
		return Message{}, problemf(CodeBadProtocolID, "message begins with %02x, want %02x", b[0], protocolID)
	}
	m := Message{Command: Command(b[1]), SessionID: binary.BigEndian.Uint32(b[2:])}
	if n := int(binary.BigEndian.Uint16(b[6:])); n != len(b)-headerLength {
		return m, problemf(CodeElementOverEnd, "%v tells a body of %d bytes and has %d", m.Command, n, len(b)-headerLength)
	}
	var err error
	m.Elements, err = parseElements(b[headerLength:])
	return m, err
}

// parseElements cuts a body into its elements.
func parseElements(body []byte) ([]Element, error) {
	var elements []Element
	var seen [TagSHA2SignedData + 1]bool
	for rest := body; len(rest) > 0; {
		if len(rest) < 3 {
			return elements, problemf(CodeElementOverEnd, "%d bytes left over after the last element", len(rest))
		}
		t, n := Tag(rest[0]), int(binary.BigEndian.Uint16(rest[1:]))
		if n > len(rest)-3 {
			return elements, problemf(CodeElementOverEnd, "element %v tells %d bytes and the body has %d", t, n, len(rest)-3)
		}
		if t.Known() {
			if seen[t] {
				return elements, problemf(CodeDuplicateElement, "element %v comes twice", t)
			}
			seen[t] = true
			if err := t.checkLength(n); err != nil {
				return elements, err
			}
		}
		elements = append(elements, Element{Tag: t, Value: rest[3 : 3+n : 3+n]})
		rest = rest[3+n:]
	}
	return elements, nil
}

// AppendBinary implements encoding.BinaryAppender. It fails when an element or the body is longer than MaxBody.
func (m Message) AppendBinary(b []byte) ([]byte, error) {
	n := 0
	for _, e := range m.Elements {
		n += 3 + len(e.Value)
	}
	if n > MaxBody {
		return b, problemf(CodeMessageTooLong, "%v with a body of %d bytes, limit %d", m.Command, n, MaxBody)
	}
	b = append(b, protocolID, byte(m.Command))
	b = binary.BigEndian.AppendUint32(b, m.SessionID)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	for _, e := range m.Elements {
		b = append(b, byte(e.Tag))
		b = binary.BigEndian.AppendUint16(b, uint16(len(e.Value)))
		b = append(b, e.Value...)
	}
	return b, nil
}

// MarshalBinary implements encoding.BinaryMarshaler, see AppendBinary.
func (m Message) MarshalBinary() ([]byte, error) { return m.AppendBinary(nil) }

// Element returns the value of the first element with the tag.
func (m Message) Element(t Tag) ([]byte, bool) {
	for _, e := range m.Elements {
		if e.Tag == t {
			return e.Value, true
		}
	}
	return nil, false
}

// Uint8 returns the value of an element of one byte.
func (m Message) Uint8(t Tag) (uint8, bool) {
	v, ok := m.Element(t)
	if !ok || len(v) != 1 {
		return 0, false
	}
	return v[0], true
}

// Reason returns element 1.
func (m Message) Reason() (Reason, bool) {
	v, ok := m.Uint8(TagReason)
	return Reason(v), ok
}

// Unknown returns the elements without a name, in order.
func (m Message) Unknown() []Element {
	var out []Element
	for _, e := range m.Elements {
		if !e.Tag.Known() {
			out = append(out, e)
		}
	}
	return out
}

// withoutString returns the message with its authentication string emptied.
func (m Message) withoutString() Message {
	shown := Message{Command: m.Command, SessionID: m.SessionID, Elements: slices.Clone(m.Elements)}
	for i := range shown.Elements {
		if shown.Elements[i].Tag == TagPassword {
			shown.Elements[i].Value = nil
		}
	}
	return shown
}

// info returns element 2 as printable ASCII, without its NUL.
func (m Message) info() string {
	v, _ := m.Element(TagReasonInfo)
	return printable(trimNUL(v), 200)
}

// printable returns at most limit bytes of b with everything but printable ASCII replaced.
func printable(b []byte, limit int) string {
	if len(b) > limit {
		b = b[:limit]
	}
	out := make([]byte, len(b))
	for i, c := range b {
		if c < 0x20 || c > 0x7e {
			c = '?'
		}
		out[i] = c
	}
	return string(out)
}

// trimNUL removes one NUL at the end: texts end with one, and not every client sends it.
func trimNUL(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == 0 {
		return b[:n-1]
	}
	return b
}

func byteElement(t Tag, v uint8) Element { return Element{Tag: t, Value: []byte{v}} }

func reasonElement(r Reason) Element { return byteElement(TagReason, uint8(r)) }

// textElement is a text with its NUL.
func textElement(t Tag, s []byte) Element {
	return Element{Tag: t, Value: append(append(make([]byte, 0, len(s)+1), s...), 0)}
}
