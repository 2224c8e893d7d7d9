package winauth

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func creds(user string) Credentials {
	return Credentials{User: user, Password: NewPassword([]byte("hunter2"))}
}

func TestOffers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		lines []string
		want  []offer
	}{
		"IIS":              {[]string{"Negotiate", "NTLM"}, []offer{{"Negotiate", ""}, {"NTLM", ""}}},
		"joined":           {[]string{"Negotiate, NTLM TlRM="}, []offer{{"Negotiate", ""}, {"NTLM", "TlRM="}}},
		"realm":            {[]string{`Basic realm="a, NTLM \"x\", b", charset="UTF-8"`, "ntlm abcd"}, []offer{{"Basic", ""}, {"ntlm", "abcd"}}},
		"parameter, token": {[]string{"Digest qop=auth, nonce=abc", "NTLM a b"}, []offer{{"Digest", ""}, {"NTLM", ""}}},
		"empty":            {[]string{"", " , ,"}, nil},
		"open quote":       {[]string{`Basic realm="x, NTLM`}, []offer{{"Basic", ""}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := offers(http.Header{"Www-Authenticate": tt.lines})
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(offer{})); d != "" {
				t.Error(d)
			}
		})
	}
	flood := offers(http.Header{"Www-Authenticate": {strings.Repeat("NTLM,", 10000)}})
	if len(flood) != maxOffers {
		t.Errorf("%d offers taken", len(flood))
	}
}

func TestSecretsStayIn(t *testing.T) {
	t.Parallel()
	c := creds(`LAB\ra`)
	type config struct {
		Public  Credentials
		private Credentials
		secret  Password
	}
	whole := config{c, c, c.Password}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		fmt.Fprintf(&out, verb+verb+verb+verb+verb, c, &c, whole, &whole, c.Password)
	}
	j, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "c", c, "p", &c, "whole", whole, "secret", c.Password)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "c", c, "p", &c, "whole", &whole, "secret", c.Password)
	for _, leak := range []string{"hunter2", "68756e74657232", "104 117 110", base64.StdEncoding.EncodeToString([]byte("hunter2"))} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q is in %s", leak, out.String())
		}
	}
	if !strings.Contains(out.String(), `LAB\ra`) {
		t.Error("the user name is nowhere")
	}
	if (Password{}).reveal() != "" || !(Password{}).IsZero() || c.Password.IsZero() || c.Password.reveal() != "hunter2" {
		t.Error("the password itself is wrong")
	}
	buf := []byte("abc")
	p := NewPassword(buf)
	buf[0] = 'x'
	if p.reveal() != "abc" {
		t.Error("NewPassword kept the caller's slice")
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		c  Credentials
		ok bool
	}{
		"domain":          {creds(`LAB\ra`), true},
		"realm":           {creds("ra@LAB.EXAMPLE"), true},
		"bare":            {creds("ra"), true},
		"empty":           {creds(""), false},
		"domain only":     {creds(`LAB\`), false},
		"line break":      {creds("ra\r\nX: y"), false},
		"colon in Basic":  {Credentials{User: "a:b", Method: Basic}, false},
		"colon in NTLM":   {Credentials{User: "a:b"}, true},
		"method not here": {Credentials{User: "a", Method: 9}, false},
	}
	for name, tt := range tests {
		if err := tt.c.Validate(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAuthenticateMessage looks at what leaves: names in UTF-16, domain apart from the user, no password.
func TestAuthenticateMessage(t *testing.T) {
	t.Parallel()
	for user, want := range map[string][2]string{`LAB\ra`: {"LAB", "ra"}, "ra@LAB.EXAMPLE": {"", "ra@LAB.EXAMPLE"}, "ra": {"", "ra"}} {
		m := ntlm{creds: creds(user)}
		first, err := m.first()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := decodeToken(first); err != nil || len(b) != 40 || binary.LittleEndian.Uint32(b[8:]) != 1 {
			t.Errorf("Type 1 message %x, %v", b, err)
		}
		token, err := m.next(base64.StdEncoding.EncodeToString(challengeBytes()))
		if err != nil {
			t.Fatal(err)
		}
		b, err := decodeToken(token)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]string{text(b, 28), text(b, 36)}; got != want {
			t.Errorf("%s: domain and user %q, want %q", user, got, want)
		}
		if strings.Contains(strings.ReplaceAll(string(b), "\x00", ""), "hunter2") {
			t.Error("the password is in the message")
		}
	}
}

func text(b []byte, at int) string {
	n, off := int(binary.LittleEndian.Uint16(b[at:])), int(binary.LittleEndian.Uint32(b[at+4:]))
	return strings.ReplaceAll(string(b[off:off+n]), "\x00", "")
}

// challengeBytes is a Type 2 message with an empty list of attributes.
func challengeBytes() []byte {
	b := make([]byte, 60)
	copy(b, "NTLMSSP\x00")
	binary.LittleEndian.PutUint32(b[8:], 2)
	binary.LittleEndian.PutUint32(b[20:], 0x00880201)
	copy(b[24:], "12345678")
	binary.LittleEndian.PutUint16(b[40:], 4)
	binary.LittleEndian.PutUint16(b[42:], 4)
	binary.LittleEndian.PutUint32(b[44:], 56)
	return b
}

func TestBadChallenges(t *testing.T) {
	t.Parallel()
	change := func(f func(b []byte)) []byte {
		b := challengeBytes()
		f(b)
		return b
	}
	tests := map[string][]byte{
		"empty":              {},
		"SPNEGO":             {0x60, 0x10, 0x06, 0x06, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x02},
		"short":              challengeBytes()[:47],
		"Type 3":             change(func(b []byte) { b[8] = 3 }),
		"target info beyond": change(func(b []byte) { b[44] = 200 }),
		"target name beyond": change(func(b []byte) { b[12], b[16] = 8, 250 }),
		"offset wraps":       change(func(b []byte) { copy(b[44:], "\xff\xff\xff\xff") }),
		"attribute beyond":   change(func(b []byte) { b[56], b[58] = 2, 99 }),
		"asks for LM":        change(func(b []byte) { b[20] |= 0x80 }),
		"too long":           append(challengeBytes(), make([]byte, maxChallenge)...),
	}
	for name, b := range tests {
		if token, err := (&ntlm{creds: creds("a")}).next(base64.StdEncoding.EncodeToString(b)); err == nil {
			t.Errorf("%s: accepted, answered %s", name, token)
		}
	}
	if _, err := (&ntlm{creds: creds("a")}).next("%%%"); err == nil {
		t.Error("text that is not base64 accepted")
	}
}

// plain is a server on loopback without TLS that answers each request by a function of its number and Authorization;
// "" closes the connection.
func plain(t *testing.T, answer func(n int, auth string) string) (Dialer, func() []string) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var log []string
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				r := bufio.NewReader(c)
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					mu.Lock()
					auth := req.Header.Get("Authorization")
					scheme, _, _ := strings.Cut(auth, " ")
					log = append(log, strings.TrimSpace(req.Method+" "+req.RequestURI+" "+scheme))
					n := len(log)
					mu.Unlock()
					out := answer(n, auth)
					if out == "" {
						return
					}
					if _, err := io.WriteString(c, out); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	d := Dialer{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, ln.Addr().String())
	}}
	return d, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), log...)
	}
}

func dial(t *testing.T, d Dialer, url string) *Conn {
	t.Helper()
	c, err := d.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestNegotiateOnly(t *testing.T) {
	t.Parallel()
	token := base64.StdEncoding.EncodeToString(challengeBytes())
	d, log := plain(t, func(n int, auth string) string {
		switch {
		case strings.HasPrefix(auth, "NTLM "):
			return "HTTP/1.1 401 x\r\nWWW-Authenticate: Negotiate\r\nContent-Length: 5\r\n\r\nnope\n"
		case n == 2:
			return "HTTP/1.1 401 x\r\nWWW-Authenticate: Negotiate " + token + "\r\nContent-Length: 0\r\n\r\n"
		}
		return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
	})
	c := dial(t, d, "http://h")
	resp, err := c.Login(t.Context(), Request{Path: "/x"}, creds(`L\a`))
	if err != nil || resp.Status != 200 || string(resp.Body) != "hi" {
		t.Fatalf("Login = %+v, %v", resp, err)
	}
	if _, err := c.Do(t.Context(), Request{Path: "/y?a=b"}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"GET /x NTLM", "GET /x Negotiate", "GET /x Negotiate", "GET /y?a=b"}, log()); d != "" {
		t.Error(d)
	}
}

func TestRefusedUse(t *testing.T) {
	t.Parallel()
	d, log := plain(t, func(int, string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" })
	kinds := map[string]struct {
		r    Request
		c    Credentials
		kind Kind
	}{
		"Basic in the clear": {Request{Path: "/"}, Credentials{User: "a", Method: Basic}, KindCredentials},
		"no user":            {Request{Path: "/"}, Credentials{}, KindCredentials},
		"body in a login":    {Request{Path: "/", Body: []byte("x")}, creds("a"), KindProtocol},
		"POST as login":      {Request{Path: "/", Method: "POST"}, creds("a"), KindProtocol},
		"path without slash": {Request{Path: "x"}, creds("a"), KindProtocol},
		"line break in path": {Request{Path: "/ HTTP/1.1\r\nX: y"}, creds("a"), KindProtocol},
	}
	for name, tt := range kinds {
		_, err := dial(t, d, "http://h").Login(t.Context(), tt.r, tt.c)
		var e *Error
		if !errors.As(err, &e) || e.Kind != tt.kind || e.Sent || e.Code() == "" || e.Remedy() == "" {
			t.Errorf("%s: %+v", name, err)
		}
	}
	if n := len(log()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	for _, raw := range []string{"", "ftp://h", "https://", "://", "http://h:port"} {
		if _, err := d.Dial(t.Context(), raw); err == nil {
			t.Errorf("Dial(%q) worked", raw)
		}
	}
}

func TestPhases(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	noTLS, _ := plain(t, func(int, string) string { return "" })
	expect := func(name string, err error, kind Kind, phase Phase) {
		t.Helper()
		var e *Error
		if !errors.As(err, &e) || e.Kind != kind || e.Phase != phase || e.Code() == "" || e.Remedy() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := Dialer{DialContext: hang, ConnectTimeout: 10 * time.Millisecond}.Dial(t.Context(), "http://h")
	expect("connect", err, KindTimeout, PhaseConnect)
	if !errors.Is(err, ErrTimeout) {
		t.Error("no ErrTimeout")
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Dialer{DialContext: hang}.Dial(canceled, "http://h")
	expect("cancelled connect", err, KindCanceled, PhaseConnect)
	_, err = Dialer{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.DNSError{Err: "no such host", Name: "h", IsNotFound: true}
	}}.Dial(t.Context(), "http://h")
	expect("DNS", err, KindResolve, PhaseConnect)
	here, there := net.Pipe()
	t.Cleanup(func() { _ = there.Close() })
	_, err = Dialer{
		DialContext:    func(context.Context, string, string) (net.Conn, error) { return here, nil },
		ConnectTimeout: 30 * time.Millisecond,
	}.Dial(t.Context(), "https://h")
	expect("TLS silence", err, KindTimeout, PhaseTLS)
	_, err = noTLS.Dial(t.Context(), "https://h")
	expect("no TLS", err, KindTLS, PhaseTLS)

	block := make(chan struct{})
	stuck, _ := plain(t, func(int, string) string { <-block; return "" })
	t.Cleanup(func() { close(block) }) // before the server's own clean-up, which waits for its connections
	stuck.LoginTimeout = 30 * time.Millisecond
	_, err = dial(t, stuck, "http://h").Login(t.Context(), Request{Path: "/"}, creds("a"))
	expect("login", err, KindTimeout, PhaseLogin)
	c := dial(t, stuck, "http://h")
	_, err = c.Do(t.Context(), Request{Path: "/", Timeout: 30 * time.Millisecond})
	expect("request", err, KindTimeout, PhaseRequest)
	_, err = c.Do(t.Context(), Request{Path: "/"})
	expect("after the timeout", err, KindLost, PhaseRequest)
	var e *Error
	if errors.As(err, &e) && e.Sent {
		t.Error("a request on a closed connection counts as sent")
	}
	short, stop := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer stop()
	_, err = dial(t, stuck, "http://h").Do(short, Request{Path: "/"})
	expect("caller's time", err, KindTimeout, PhaseRequest)
	midway, end := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, end)
	_, err = dial(t, stuck, "http://h").Do(midway, Request{Path: "/"})
	expect("cancelled", err, KindCanceled, PhaseRequest)
}

// lateConn delivers what it has only when the deadline has passed.
type lateConn struct {
	net.Conn
	once   sync.Once
	passed chan struct{}
}

func (c *lateConn) SetDeadline(at time.Time) error {
	if !at.IsZero() && at.Before(time.Now()) {
		c.once.Do(func() { close(c.passed) })
	}
	return nil
}

func (c *lateConn) Read(p []byte) (int, error) {
	<-c.passed
	return c.Conn.Read(p)
}

// TestTimeBetweenLegs: when the time ends together with the first answer of a login, it is the time that ends the login, and
// nobody looks for a server that closes connections.
func TestTimeBetweenLegs(t *testing.T) {
	t.Parallel()
	late := func(t *testing.T) Dialer {
		t.Helper()
		d, _ := plain(t, func(int, string) string {
			return "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM " + base64.StdEncoding.EncodeToString(challengeBytes()) + "\r\nContent-Length: 0\r\n\r\n"
		})
		inner := d.DialContext
		d.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := inner(ctx, network, address)
			return &lateConn{Conn: c, passed: make(chan struct{})}, err
		}
		return d
	}
	d := late(t)
	d.LoginTimeout = 20 * time.Millisecond
	_, err := dial(t, d, "http://h").Login(t.Context(), Request{Path: "/"}, creds("a"))
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != KindTimeout || !e.Sent || e.Elapsed < d.LoginTimeout {
		t.Errorf("time: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err = dial(t, late(t), "http://h").Login(ctx, Request{Path: "/"}, creds("a"))
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != KindCanceled {
		t.Errorf("cancelled: %v", err)
	}
}

func TestHostHeader(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://h": "h", "https://h:443/x": "h", "https://h:8443": "h:8443", "http://h": "h", "http://h:443": "h:443",
		"https://[::1]": "[::1]", "https://[::1]:444": "[::1]:444",
	} {
		u, err := baseURL(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := hostHeader(u); got != want {
			t.Errorf("%s: Host %q, want %q", raw, got, want)
		}
		if u.Port() == "" {
			t.Errorf("%s: no port in %s", raw, u)
		}
	}
}

// FuzzChallenge: no challenge makes the mechanism panic, and what it answers is an NTLM message.
func FuzzChallenge(f *testing.F) {
	f.Add(base64.StdEncoding.EncodeToString(challengeBytes()))
	f.Add("TlRMTVNTUAACAAAA")
	f.Fuzz(func(t *testing.T, token string) {
		out, err := (&ntlm{creds: creds(`L\a`)}).next(token)
		if err != nil {
			return
		}
		if b, err := decodeToken(out); err != nil || len(b) < 64 || string(b[:8]) != "NTLMSSP\x00" || b[8] != 3 {
			t.Errorf("answer %q", out)
		}
	})
}

// FuzzOffers: schemes have no separators in them, tokens are token68, and there are not too many.
func FuzzOffers(f *testing.F) {
	f.Add(`Basic realm="a, NTLM \"x\", b", charset="UTF-8"`)
	f.Add("Negotiate, NTLM TlRM=")
	f.Fuzz(func(t *testing.T, line string) {
		list := offers(http.Header{"Www-Authenticate": {line}})
		if len(list) > maxOffers {
			t.Errorf("%d offers", len(list))
		}
		for _, o := range list {
			if o.scheme == "" || strings.ContainsAny(o.scheme, " =,") && !strings.Contains(line, `"`) || (o.token != "" && !isToken68(o.token)) {
				t.Errorf("offer %+v", o)
			}
		}
	})
}

// TestNameNotResolved: a name that nobody knows, and DNS servers that do not answer, are no trouble of the web server.
func TestNameNotResolved(t *testing.T) {
	t.Parallel()
	for _, dns := range []*net.DNSError{
		{Err: "no such host", Name: "lab-dcc.example", IsNotFound: true},
		{Err: "i/o timeout", Name: "lab-dc.example", Server: "127.0.0.1:53", IsTimeout: true},
	} {
		d := Dialer{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: dns}
		}}
		_, err := d.Dial(t.Context(), "https://"+dns.Name)
		var e *Error
		if !errors.As(err, &e) || e.Kind != KindResolve || e.Code() != "winauth.name-not-resolved" || !strings.Contains(e.Remedy(), "DNS") {
			t.Errorf("%v: %v", dns, err)
		}
	}
}
