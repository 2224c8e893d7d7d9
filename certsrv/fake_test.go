package certsrv

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"callsign/certsrv/winauth"
)

const (
	fakeHost = "lab-dc.test.example"
	fakeUser = `TEST\ra`
	fakePass = "Open-Sesame-77"
)

// seen is a request as the fake server got it.
type seen struct {
	Conn   int // which connection, from 1
	Method string
	URI    string
	Body   string
	Header http.Header
	Logged bool // the connection had been logged in before
}

// reply is what the fake does with a request.
type reply struct {
	status   int           // 0 means 200
	header   []string      // further header lines
	body     []byte        // with its Content-Length
	raw      []byte        // instead of everything else
	delay    time.Duration // before the reply; ends early when the test does
	truncate int           // close after so many octets of the reply
	drop     bool          // close without a word
	reset    bool          // TCP reset without a word
	bye      bool          // close after the reply without announcing it
}

// fake is a scripted web server with TLS and a handshake that looks like NTLM and accepts everyone. certsrvtest has the
// server that does things right; this one does them wrong.
type fake struct {
	t       *testing.T
	handle  func(s seen) reply // nil reply status means 200
	login   func(s seen) *reply
	ln      net.Listener
	tls     *tls.Config
	client  *tls.Config
	stop    chan struct{}
	wg      sync.WaitGroup
	mu      sync.Mutex
	log     []seen
	conns   int
	open    map[net.Conn]bool
	limit   int // requests after which the test has failed
	flooded bool
}

func newFake(t *testing.T, handle func(s seen) reply) *fake {
	t.Helper()
	f := &fake{t: t, handle: handle, ln: listen(t), stop: make(chan struct{}), open: make(map[net.Conn]bool), limit: 60}
	f.tls, f.client = serverTLS(t, newTestCA(t, "Web Root"), fakeHost)
	f.wg.Go(f.serve)
	t.Cleanup(f.close)
	return f
}

func (f *fake) close() {
	close(f.stop)
	_ = f.ln.Close()
	f.mu.Lock()
	for c := range f.open {
		_ = c.Close()
	}
	flooded := f.flooded
	f.mu.Unlock()
	f.wg.Wait()
	if flooded {
		f.t.Errorf("the client sent more than %d requests", f.limit)
	}
}

func (f *fake) serve() {
	for {
		c, err := f.ln.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.conns++
		n := f.conns
		f.open[c] = true
		f.mu.Unlock()
		f.wg.Go(func() {
			f.talk(c, n)
			_ = c.Close()
			f.mu.Lock()
			delete(f.open, c)
			f.mu.Unlock()
		})
	}
}

func (f *fake) talk(raw net.Conn, n int) {
	f.mu.Lock()
	c, login := tls.Server(raw, f.tls), f.login
	f.mu.Unlock()
	r := bufio.NewReader(c)
	logged, basic := false, false
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		s := seen{Conn: n, Method: req.Method, URI: req.RequestURI, Body: string(body), Header: req.Header, Logged: logged}
		f.mu.Lock()
		f.log = append(f.log, s)
		f.flooded = f.flooded || len(f.log) > f.limit
		stop := f.flooded
		f.mu.Unlock()
		if stop {
			return
		}
		auth := req.Header.Get("Authorization")
		var rep reply
		custom := (*reply)(nil)
		if login != nil && auth != "" {
			custom = login(s)
		}
		basic = strings.HasPrefix(auth, "Basic ")
		switch {
		case custom != nil:
			rep = *custom
		case strings.HasPrefix(auth, "NTLM ") && messageType(auth[5:]) == 1:
			rep = reply{status: 401, header: []string{"WWW-Authenticate: NTLM " + challengeMessage()}, body: []byte("<html>401</html>")}
		case strings.HasPrefix(auth, "NTLM ") && messageType(auth[5:]) == 3, basic:
			logged = !basic
			rep = f.answer(s)
		case !logged:
			rep = reply{status: 401, header: []string{"WWW-Authenticate: Negotiate", "WWW-Authenticate: NTLM"}}
		default:
			rep = f.answer(s)
		}
		if !f.send(raw, c, rep) {
			return
		}
	}
}

func (f *fake) answer(s seen) reply {
	if s.URI == "/certsrv" {
		return reply{status: 301, header: []string{"Location: https://" + fakeHost + "/certsrv/"}, body: make([]byte, 163)}
	}
	f.mu.Lock()
	handle := f.handle
	f.mu.Unlock()
	return handle(s)
}

// set changes the script before the first request.
func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// all returns everything that came, and over how many connections.
func (f *fake) all() ([]seen, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]seen(nil), f.log...), f.conns
}

func (f *fake) send(raw net.Conn, c net.Conn, rep reply) bool {
	if rep.delay > 0 {
		select {
		case <-time.After(rep.delay):
		case <-f.stop:
			return false
		}
	}
	if rep.reset {
		if tc, ok := raw.(*net.TCPConn); ok {
			_ = tc.SetLinger(0)
		}
		return false
	}
	if rep.drop {
		return false
	}
	out := rep.raw
	if out == nil {
		if rep.status == 0 {
			rep.status = 200
		}
		var b bytes.Buffer
		fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\n", rep.status, http.StatusText(rep.status), len(rep.body))
		for _, h := range rep.header {
			b.WriteString(h + "\r\n")
		}
		b.WriteString("\r\n")
		b.Write(rep.body)
		out = b.Bytes()
	}
	if rep.truncate > 0 {
		out = out[:min(rep.truncate, len(out))]
	}
	_, err := c.Write(out)
	return err == nil && rep.truncate == 0 && !rep.bye
}

// requests returns "CONN METHOD URI" of everything that came.
func (f *fake) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, s := range f.log {
		out = append(out, fmt.Sprintf("%d %s %s", s.Conn, s.Method, s.URI))
	}
	return out
}

func (f *fake) count(method string) int {
	n := 0
	for _, r := range f.requests() {
		if strings.Contains(r, " "+method+" ") {
			n++
		}
	}
	return n
}

// newClient returns a Client for the fake whose log goes to the returned buffer. It is patient: a test that expects a timeout
// sets its own, so that none runs into one because the machine is busy.
func (f *fake) newClient() (*Client, *syncBuffer) {
	var log syncBuffer
	c := &Client{
		URL: "https://" + fakeHost + "/certsrv", TLS: f.client, DialContext: f.dial,
		Auth:           winauth.Credentials{User: fakeUser, Password: winauth.NewPassword([]byte(fakePass))},
		ConnectTimeout: time.Minute, LoginTimeout: time.Minute, FetchTimeout: time.Minute, SubmitTimeout: time.Minute,
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: epoch,
	}
	f.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			f.t.Error(err)
		}
		if strings.Contains(log.String(), fakePass) {
			f.t.Error("the password is in the log")
		}
	})
	return c, &log
}

// dial maps the fake's name to its loopback port.
func (f *fake) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, f.ln.Addr().String())
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func messageType(token string) uint32 {
	b, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(b) < 12 {
		return 0
	}
	return binary.LittleEndian.Uint32(b[8:])
}

// challengeMessage is a Type 2 message without target name, with an empty list of attributes.
func challengeMessage() string {
	b := make([]byte, 60)
	copy(b, "NTLMSSP\x00")
	binary.LittleEndian.PutUint32(b[8:], 2)
	binary.LittleEndian.PutUint32(b[20:], 0x00800001|0x00000200|0x00080000)
	copy(b[24:], "12345678")
	binary.LittleEndian.PutUint16(b[40:], 4)
	binary.LittleEndian.PutUint16(b[42:], 4)
	binary.LittleEndian.PutUint32(b[44:], 56)
	return base64.StdEncoding.EncodeToString(b)
}
