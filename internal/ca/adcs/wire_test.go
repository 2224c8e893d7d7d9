package adcs_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// place is a class of octets between client and web server.
type place int

const (
	inHandshake place = iota // of TLS
	inRequestHeader
	inRequestBody
	afterRequest // it is with the server, and the server has answered, but nothing came back
	inAnswerHeader
	inAnswerBody
	places
)

func (p place) String() string {
	return [...]string{"handshake", "request header", "request body", "before the answer", "answer header", "answer body"}[p]
}

// harm is what happens there.
type harm int

const (
	cut       harm = iota // both connections end before the first octet of the place
	truncated             // they end in the middle of it
	reset                 // the same by RST
	delayed               // nothing goes on there until the client has given up
	harms
)

func (h harm) String() string { return [...]string{"cut", "truncate", "reset", "delay"}[h] }

// fault is harm to one exchange: that of the N-th request for a page, or for inHandshake of the N-th connection.
type fault struct {
	page string // "login1" (Type 1), "login2" (Type 3), or the file, such as "certfnsh.asp"
	at   place
	harm harm
}

func (f fault) String() string { return f.harm.String() + " " + f.page + " " + f.at.String() }

// wire is a proxy between client and simulator that reads what goes by, TLS included, and does harm to it. Each fault
// happens once, in the order of the list; until its page comes by, all goes well.
type wire struct {
	listener net.Listener
	server   *tls.Config
	client   *tls.Config
	to       string
	wg       sync.WaitGroup

	mu     sync.Mutex
	faults []fault
	done   []fault
	conns  map[net.Conn]bool
	closed bool
}

// startWire puts a wire in front of w's simulator and points w's client at it.
func startWire(t *testing.T, w *world) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	x := &wire{
		listener: l, to: strings.TrimSuffix(strings.TrimPrefix(w.client.URL, "https://"), "/certsrv"), conns: map[net.Conn]bool{},
		server: &tls.Config{Certificates: w.web, MinVersion: tls.VersionTLS12}, client: w.client.TLS.Clone(),
	}
	x.client.ServerName = "127.0.0.1"
	w.client.URL = "https://" + l.Addr().String() + "/certsrv"
	x.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if x.keep(conn) {
				x.wg.Go(func() { x.serve(t.Context(), conn.(*net.TCPConn)) })
			}
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		x.mu.Lock()
		x.closed = true
		for c := range x.conns {
			_ = c.Close()
		}
		x.mu.Unlock()
		x.wg.Wait()
	})
	return x
}

// keep remembers a connection until it ends; after the end of the test there are none.
func (x *wire) keep(c net.Conn) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		_ = c.Close()
		return false
	}
	x.conns[c] = true
	return true
}

func (x *wire) drop(c net.Conn) {
	x.mu.Lock()
	delete(x.conns, c)
	x.mu.Unlock()
	_ = c.Close()
}

// expect says what harm is to come.
func (x *wire) expect(faults ...fault) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.faults, x.done = faults, nil
}

// left are the faults that have not happened.
func (x *wire) left() []fault {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.faults
}

// next takes the first fault when it is for this page (inHandshake: for any connection).
func (x *wire) next(page string) (fault, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.faults) == 0 {
		return fault{}, false
	}
	f := x.faults[0]
	if (page == "") != (f.at == inHandshake) || page != "" && f.page != page {
		return fault{}, false
	}
	x.faults, x.done = x.faults[1:], append(x.done, f)
	return f, true
}

var errHarm = errors.New("harm is done")

// serve carries one connection.
func (x *wire) serve(ctx context.Context, raw *net.TCPConn) {
	defer x.drop(raw)
	if f, ok := x.next(""); ok {
		x.harmHandshake(f, raw)
		return
	}
	client := tls.Server(raw, x.server)
	if client.HandshakeContext(ctx) != nil {
		return
	}
	d := &tls.Dialer{Config: x.client}
	server, err := d.DialContext(ctx, "tcp", x.to)
	if err != nil || !x.keep(server) {
		return
	}
	defer x.drop(server)
	fromClient, fromServer := bufio.NewReader(client), bufio.NewReader(server)
	for x.exchange(raw, client, server, fromClient, fromServer) == nil {
	}
}

// harmHandshake spoils the handshake of TLS.
func (x *wire) harmHandshake(f fault, raw *net.TCPConn) {
	hello := make([]byte, 64)
	if f.harm != cut {
		_, _ = io.ReadFull(raw, hello) // the middle of the client's first message
	}
	if f.harm == delayed {
		_, _ = io.Copy(io.Discard, raw) // until the client goes
	}
	if f.harm == reset {
		_ = raw.SetLinger(0)
	}
}

// exchange carries one request and its answer.
func (x *wire) exchange(raw *net.TCPConn, client, server net.Conn, fromClient, fromServer *bufio.Reader) error {
	header, length, err := readHeader(fromClient)
	if err != nil {
		return err
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(fromClient, body); err != nil {
		return err
	}
	f, ok := x.next(pageOf(header))
	pass := func(at place, to io.Writer, b []byte) error {
		if !ok || f.at != at {
			_, err := to.Write(b)
			return err
		}
		switch f.harm {
		case truncated, reset:
			_, _ = to.Write(b[:len(b)/2])
		case delayed:
			_, _ = to.Write(b[:len(b)/2])
			_, _ = io.Copy(io.Discard, client)
		case cut, harms:
		}
		if f.harm == reset {
			_ = raw.SetLinger(0)
			_ = raw.Close() // before TLS says good-bye
		}
		return errHarm
	}
	if err := pass(inRequestHeader, server, header); err != nil {
		return err
	}
	if err := pass(inRequestBody, server, body); err != nil {
		return err
	}
	answer, length, err := readHeader(fromServer)
	if err != nil {
		return err
	}
	if err := pass(afterRequest, io.Discard, nil); err != nil {
		return err
	}
	page := make([]byte, length)
	if _, err := io.ReadFull(fromServer, page); err != nil {
		return err
	}
	if err := pass(inAnswerHeader, client, answer); err != nil {
		return err
	}
	return pass(inAnswerBody, client, page)
}

// readHeader reads up to the empty line and finds Content-Length.
func readHeader(r *bufio.Reader) (header []byte, length int, err error) {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return nil, 0, err
		}
		header = append(header, line...)
		if len(bytes.TrimSpace(line)) == 0 {
			return header, length, nil
		}
		if name, value, ok := strings.Cut(string(line), ":"); ok && strings.EqualFold(name, "Content-Length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return nil, 0, err
			}
		}
	}
}

// pageOf names the request of a header as faults do.
func pageOf(header []byte) string {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(header)))
	if err != nil {
		return "?"
	}
	switch auth := r.Header.Get("Authorization"); {
	case strings.HasPrefix(auth, "NTLM TlRMTVNTUAAB"):
		return "login1"
	case auth != "":
		return "login2"
	}
	return r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
}

var pages = []string{"login1", "login2", "certrqxt.asp", "certfnsh.asp", "certnew.cer"}

// hasPlace tells whether an exchange has such octets.
func hasPlace(page string, at place) bool { return at != inRequestBody || page == "certfnsh.asp" }

// patience of the client with a connection that says nothing.
const patience = 250 * time.Millisecond
