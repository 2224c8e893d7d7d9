package capf

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Recording is one session as evidence, in the form in which recorded sessions are exchanged: its messages in hex,
// without authentication strings.
type Recording struct {
	Name     string            `json:"name"`   // device name and session id, e.g. "SEP001122334455-17"
	Device   string            `json:"device"` // as the phone said; empty when it did not come to that
	What     string            `json:"what"`   // operation and how the session ended
	Note     string            `json:"note"`   // what is left out
	Session  uint32            `json:"session"`
	Peer     string            `json:"peer"` // remote address
	TLS      string            `json:"tls,omitempty"`
	Cipher   string            `json:"cipher,omitempty"`
	Began    time.Time         `json:"began"`
	Ended    time.Time         `json:"ended"`
	Messages []RecordedMessage `json:"messages"`
}

// RecordedMessage is one whole message.
type RecordedMessage struct {
	From string `json:"from"` // "server" or "phone"
	Hex  string `json:"hex"`
	// LeftOut tells how many bytes of a body are not shown because it does not parse and may have held an authentication
	// string; Hex is then the header alone.
	LeftOut int `json:"left_out,omitempty"`
}

// The sides of a recording.
const (
	fromServer = "server"
	fromPhone  = "phone"
)

// The bounds of a recording; what a phone says beyond them is left out. An ordinary session has 8 messages of 4 KiB in
// all.
const (
	maxRecordedMessages = 200
	maxRecordedBytes    = 256 << 10
)

// recorder collects one session. A nil recorder records nothing.
type recorder struct {
	Recording
	size  int
	heard bool // a message of the phone came
	more  int  // messages beyond the bounds
}

// add records a message that has nothing to hide.
func (r *recorder) add(from string, message []byte) {
	if r == nil {
		return
	}
	r.keep(RecordedMessage{From: from, Hex: hex.EncodeToString(message)})
}

func (r *recorder) keep(m RecordedMessage) {
	r.size += len(m.Hex)
	if len(r.Messages) >= maxRecordedMessages || r.size > 2*maxRecordedBytes {
		r.more++
		return
	}
	r.Messages = append(r.Messages, m)
}

// phone records what the phone sent; known tells that the phone's AUTH_RESPONSE has been read before.
func (r *recorder) phone(m Message, body []byte, known bool) {
	if r == nil {
		return
	}
	r.heard = true
	var malformed error
	m.Elements, malformed = parseElements(body)
	if malformed != nil {
		header, err := Message{Command: m.Command, SessionID: m.SessionID}.AppendBinary(nil)
		if err != nil {
			return
		}
		header[6], header[7] = byte(len(body)>>8), byte(len(body))
		if m.Command == AuthResponse || !known {
			r.keep(RecordedMessage{From: fromPhone, Hex: hex.EncodeToString(header), LeftOut: len(body)})
			return
		}
		r.add(fromPhone, append(header, body...))
		return
	}
	if b, err := m.withoutString().AppendBinary(nil); err == nil {
		r.add(fromPhone, b)
	}
}

// hand gives the recording away if there is anything in it.
func (r *recorder) hand(to func(Recording), x *exchange) {
	if !r.heard {
		return
	}
	r.Device, r.Ended = x.device, time.Now()
	r.Name = fmt.Sprintf("%s-%d", r.Device, r.Session)
	r.TLS, r.Cipher = tlsVersionName(x.caller.TLSVersion), cipherName(x.caller.Cipher)
	r.What = "operation " + x.task.Operation.String() + ", " + x.verdict
	r.Note = "authentication strings (element 11) are emptied"
	if r.more > 0 {
		r.Note += fmt.Sprintf("; %d further messages are left out", r.more)
	}
	to(r.Recording)
}

// DefaultRecordLimit is how many recordings a RecordDir holds.
const DefaultRecordLimit = 10000

// RecordDir keeps recordings in a directory, one JSON file (mode 0600) for each session, named by time, device and
// session id. Its method Record fits Server.Recorder. It is safe for concurrent use. Set its fields before the first call.
type RecordDir struct {
	// Dir is the directory; it is made when it is missing, mode 0700. Required.
	Dir string
	// Limit is how many files the directory may hold, others included; further sessions are not recorded and one line of
	// the log tells so. 0 means 10,000.
	Limit int
	// Log is told of recordings that could not be written; nil discards that.
	Log *slog.Logger

	mu    sync.Mutex
	files int // -1 once the limit was told
	known bool
}

// recordFile is the form of a file.
type recordFile struct {
	About    string      `json:"about"`
	Sessions []Recording `json:"sessions"`
}

// Record writes one recording.
func (d *RecordDir) Record(r Recording) {
	if err := d.write(r); err != nil {
		log := d.Log
		if log == nil {
			return
		}
		log.Warn("session not recorded", slog.String("event", "capf.record_failed"), slog.String("device", r.Device),
			slog.Uint64("session", uint64(r.Session)), slog.Any("err", err),
			slog.String("remedy", "make room in the directory and let the server write there, or switch recording off (capf.record_dir)"))
	}
}

func (d *RecordDir) write(r Recording) error {
	room, err := d.reserve()
	if !room || err != nil {
		return err
	}
	text, err := json.MarshalIndent(recordFile{About: "CAPF messages as they pass inside TLS; no authentication strings", Sessions: []Recording{r}}, "", " ")
	if err != nil {
		return err
	}
	name := r.Began.UTC().Format("20060102T150405.000Z") + "-" + fileName(r.Device) + fmt.Sprintf("-%d.json", r.Session)
	f, err := os.OpenFile(filepath.Join(d.Dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // fileName leaves no path in it
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	return errors.Join(err, f.Close())
}

// reserve takes one file of the limit.
func (d *RecordDir) reserve() (room bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.known {
		if err := os.MkdirAll(d.Dir, 0o700); err != nil {
			return false, err
		}
		entries, err := os.ReadDir(d.Dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		d.known, d.files = true, len(entries)
	}
	limit := d.Limit
	if limit <= 0 {
		limit = DefaultRecordLimit
	}
	switch {
	case d.files < 0:
		return false, nil
	case d.files >= limit:
		d.files = -1
		return false, fmt.Errorf("%s holds %d files, the most that it may; no more sessions are recorded until the server is started again", d.Dir, limit)
	}
	d.files++
	return true, nil
}

// fileName is a device name without what has a meaning in paths.
func fileName(device string) string {
	if device == "" {
		return "unknown"
	}
	const longest = 64
	return strings.Map(func(c rune) rune {
		switch {
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c == '-', c == '_':
			return c
		}
		return '_'
	}, device[:min(len(device), longest)])
}
