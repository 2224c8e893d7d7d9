package est_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"callsign/est"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStatusTable holds the statuses of requests that never reach the authority.
func TestStatusTable(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.profiles = map[string]est.Profile{"": {}, "phones": {}}
	h := &est.Handler{Backend: a}
	url := serve(t, h, a.ca.server)
	client := httpClient(t, a.ca)
	csr, _ := newCSR(t, "x")
	good := wrap64(csr)
	for _, tt := range []struct {
		name, method, path, media string
		body                      []byte
		status                    int
		allow                     string
	}{
		{name: "cacerts", method: "GET", path: "/.well-known/est/cacerts", status: 200},
		{name: "cacerts under a label", method: "GET", path: "/.well-known/est/phones/cacerts", status: 200},
		{name: "cacerts under a label before the prefix", method: "GET", path: "/phones/.well-known/est/cacerts", status: 200},
		{name: "unknown label", method: "GET", path: "/.well-known/est/other/cacerts", status: 404},
		{name: "label is an operation", method: "GET", path: "/.well-known/est/cacerts/cacerts", status: 404},
		{name: "two labels", method: "GET", path: "/.well-known/est/phones/phones/cacerts", status: 404},
		{name: "label on both sides", method: "GET", path: "/phones/.well-known/est/phones/cacerts", status: 404},
		{name: "no operation", method: "GET", path: "/.well-known/est/", status: 404},
		{name: "unknown operation", method: "GET", path: "/.well-known/est/crls", status: 404},
		{name: "another site", method: "GET", path: "/", status: 404},
		{name: "csrattrs", method: "GET", path: "/.well-known/est/csrattrs", status: 204},
		{name: "simplereenroll", method: "POST", path: "/.well-known/est/simplereenroll", media: pkcs10, body: good, status: 403},
		{name: "serverkeygen", method: "POST", path: "/.well-known/est/serverkeygen", media: pkcs10, body: good, status: 501},
		{name: "fullcmc of a backend without", method: "POST", path: "/.well-known/est/fullcmc", media: "application/pkcs7-mime", body: good, status: 501},
		{name: "POST cacerts", method: "POST", path: "/.well-known/est/cacerts", body: good, status: 405, allow: "GET"},
		{name: "GET simpleenroll", method: "GET", path: "/.well-known/est/simpleenroll", status: 405, allow: "POST"},
		{name: "enroll", method: "POST", path: "/.well-known/est/simpleenroll", media: pkcs10, body: good, status: 200},
		{name: "enroll, media type in capitals with parameters", method: "POST", path: "/.well-known/est/simpleenroll", media: "Application/PKCS10; x=y", body: good, status: 200},
		{name: "enroll, broken parameters", method: "POST", path: "/.well-known/est/simpleenroll", media: "application/pkcs10; =", body: good, status: 200},
		{name: "wrong media type", method: "POST", path: "/.well-known/est/simpleenroll", media: "application/pkcs7-mime", body: good, status: 415},
		{name: "no media type", method: "POST", path: "/.well-known/est/simpleenroll", body: good, status: 415},
		{name: "empty body", method: "POST", path: "/.well-known/est/simpleenroll", media: pkcs10, status: 400},
		{name: "bad base64", method: "POST", path: "/.well-known/est/simpleenroll", media: pkcs10, body: []byte("MII!"), status: 400},
		{name: "trailing NUL", method: "POST", path: "/.well-known/est/simpleenroll", media: pkcs10, body: append(bytes.Clone(good), 0), status: 200},
		{name: "too large", method: "POST", path: "/.well-known/est/simpleenroll", media: pkcs10, body: make([]byte, 65<<10), status: 413},
		{name: "much too large", method: "POST", path: "/.well-known/est/simpleenroll", media: pkcs10, body: make([]byte, 280<<10), status: 413},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header := map[string]string{}
			if tt.media != "" {
				header["Content-Type"] = tt.media
			}
			response, body := send(t, client, tt.method, url+tt.path, tt.body, header)
			if response.StatusCode != tt.status {
				t.Fatalf("status %d, want %d: %s", response.StatusCode, tt.status, body)
			}
			if got := response.Header.Get("Allow"); got != tt.allow {
				t.Errorf("Allow %q, want %q", got, tt.allow)
			}
			id := response.Header.Get("X-Request-Id")
			if id == "" {
				t.Error("no request id")
			}
			if tt.status >= 400 {
				if !strings.Contains(string(body), id) || strings.Count(string(body), "\n") != 1 {
					t.Errorf("refusal %q is not one line with the request id", body)
				}
			}
		})
	}
}

// TestBackendAnswers holds what becomes of a Backend's results and errors.
func TestBackendAnswers(t *testing.T) {
	t.Parallel()
	csr, _ := newCSR(t, "x")
	other := newTestCA(t)
	for _, tt := range []struct {
		name   string
		result est.EnrollResult
		err    error
		status int
		retry  string
		text   string
	}{
		{name: "pending", result: est.EnrollResult{RetryAfter: 1500 * time.Millisecond, Text: "Request 17 waits for an officer."}, status: 202, retry: "2", text: "Request 17 waits for an officer."},
		{name: "pending without time", status: 202, retry: "60", text: "not ready"},
		{name: "very long", result: est.EnrollResult{RetryAfter: 1 << 62}, status: 202, retry: "2147483647"},
		{name: "denied", err: &est.Error{Status: 403, ErrCode: "ra.denied", Text: "Denied by Policy\r\nModule"}, status: 403, text: "Denied by Policy Module"},
		{name: "wrapped refusal", err: fmt.Errorf("journal: %w", &est.Error{Status: 429, RetryAfter: time.Minute, Text: "Slow down."}), status: 429, retry: "60", text: "Slow down."},
		{name: "not ready", err: &est.Error{Status: 503, RetryAfter: 30 * time.Second, Text: "No CA chain yet."}, status: 503, retry: "30"},
		{name: "not ready without time", err: &est.Error{Status: 503}, status: 503, retry: "60", text: "Service Unavailable."},
		{name: "gateway timeout", err: &est.Error{Status: 504, Text: "The CA did not answer."}, status: 504},
		{name: "anything else", err: errors.New("disk full at /var/lib"), status: 500, text: "could not answer"},
		{name: "a status that is no refusal", err: &est.Error{Status: 200, Text: "what?"}, status: 500},
		{name: "certificate for another key", result: est.EnrollResult{Certificate: other.root}, status: 500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			a.enroll = func(context.Context, est.EnrollRequest) (est.EnrollResult, error) { return tt.result, tt.err }
			url := serve(t, &est.Handler{Backend: a}, a.ca.server)
			response, body := send(t, httpClient(t, a.ca), "POST", url+"/.well-known/est/simpleenroll", wrap64(csr), map[string]string{"Content-Type": pkcs10})
			if response.StatusCode != tt.status || response.Header.Get("Retry-After") != tt.retry {
				t.Errorf("status %d, Retry-After %q; want %d, %q", response.StatusCode, response.Header.Get("Retry-After"), tt.status, tt.retry)
			}
			if !strings.Contains(string(body), tt.text) || strings.Contains(string(body), "disk") || strings.Count(string(body), "\n") != 1 {
				t.Errorf("body %q", body)
			}
		})
	}
}

func TestCACertsNotReady(t *testing.T) {
	t.Parallel()
	for name, fn := range map[string]func(context.Context, string) ([]*x509.Certificate, error){
		"empty": func(context.Context, string) ([]*x509.Certificate, error) { return nil, nil },
		"error": func(context.Context, string) ([]*x509.Certificate, error) {
			return nil, &est.Error{Status: 503, Text: "Later."}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			a.caCerts = fn
			url := serve(t, &est.Handler{Backend: a}, a.ca.server)
			response, _ := send(t, httpClient(t, a.ca), "GET", url+"/.well-known/est/cacerts", nil, nil)
			if response.StatusCode != 503 || response.Header.Get("Retry-After") != "60" {
				t.Errorf("status %d, Retry-After %q", response.StatusCode, response.Header.Get("Retry-After"))
			}
		})
	}
}

func TestFullCMCAnswers(t *testing.T) {
	t.Parallel()
	message := []byte{0x30, 0x03, 0x02, 0x01, 0x05}
	for _, tt := range []struct {
		name      string
		reply     est.CMCReply
		status    int
		media     string
		retry     string
		plainText bool
	}{
		{name: "issued", reply: est.CMCReply{Status: 200, Body: message}, status: 200, media: "application/pkcs7-mime; smime-type=CMC-response"},
		{name: "issued simply", reply: est.CMCReply{Status: 200, Body: message, CertsOnly: true}, status: 200, media: "application/pkcs7-mime; smime-type=certs-only"},
		{name: "pending", reply: est.CMCReply{Status: 202, Body: message, RetryAfter: 5 * time.Second}, status: 202, media: "application/pkcs7-mime; smime-type=CMC-response", retry: "5"},
		{name: "pending without message", reply: est.CMCReply{Status: 202}, status: 202, media: "text/plain; charset=utf-8", retry: "60", plainText: true},
		{name: "refused", reply: est.CMCReply{Status: 403, Body: message, Code: "cmc.not-allowed"}, status: 403, media: "application/pkcs7-mime; smime-type=CMC-response"},
		{name: "refused without message", reply: est.CMCReply{Status: 400}, status: 400, media: "text/plain; charset=utf-8", plainText: true},
		{name: "no reply", reply: est.CMCReply{}, status: 500, media: "text/plain; charset=utf-8", plainText: true},
		{name: "success without message", reply: est.CMCReply{Status: 200}, status: 500, media: "text/plain; charset=utf-8", plainText: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			var got est.CMCRequest
			url := serve(t, &est.Handler{Backend: cmcAuthority{a, func(r est.CMCRequest) est.CMCReply { got = r; return tt.reply }}}, a.ca.server)
			// RFC 5273 sends raw BER, RFC 7030 base64: both arrive the same.
			for _, body := range [][]byte{{0x30, 0x80, 0, 0}, []byte("MIAAAA==\n")} {
				response, text := send(t, httpClient(t, a.ca), "POST", url+"/.well-known/est/phones/fullcmc", body,
					map[string]string{"Content-Type": "application/pkcs7-mime; smime-type=CMC-request"})
				if !bytes.Equal(got.Body, []byte{0x30, 0x80, 0, 0}) || got.Label != "phones" {
					t.Errorf("backend got %x under %q", got.Body, got.Label)
				}
				if response.StatusCode != tt.status || response.Header.Get("Content-Type") != tt.media || response.Header.Get("Retry-After") != tt.retry {
					t.Errorf("status %d, %q, Retry-After %q", response.StatusCode, response.Header.Get("Content-Type"), response.Header.Get("Retry-After"))
				}
				der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
				if !tt.plainText && (err != nil || !bytes.Equal(der, message)) {
					t.Errorf("body %q", text)
				}
			}
		})
	}
}

func TestLineForms(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		lines  est.LineForm
		agent  string
		broken bool
	}{
		{"auto with agent", est.LineAuto, "curl", true},
		{"auto without agent", est.LineAuto, "", false},
		{"broken forced", est.LineBroken, "", true},
		{"single forced", est.LineSingle, "curl", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			a.profile.Lines = tt.lines
			url := serve(t, &est.Handler{Backend: a}, a.ca.server)
			_, body := send(t, httpClient(t, a.ca), "GET", url+"/.well-known/est/cacerts", nil, map[string]string{"User-Agent": tt.agent})
			if n := len(certsIn(t, body, tt.broken)); n != 2 {
				t.Errorf("%d certificates, want 2", n)
			}
		})
	}
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	url := serve(t, &est.Handler{Backend: a}, a.ca.server)
	csr, _ := newCSR(t, "x")
	for _, tt := range []struct {
		name   string
		cert   tls.Certificate
		status int
	}{
		{"ours", a.ca.clientCert(t, "device"), 200},
		// A foreign certificate gets an explained answer, not a broken handshake.
		{"foreign", newTestCA(t).clientCert(t, "device"), 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			config := clientTLS(a.ca)
			config.Certificates = []tls.Certificate{tt.cert}
			transport := &http.Transport{TLSClientConfig: config}
			defer transport.CloseIdleConnections()
			r, err := http.NewRequestWithContext(t.Context(), "POST", url+"/.well-known/est/simpleenroll", bytes.NewReader(wrap64(csr)))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", pkcs10)
			response, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != tt.status {
				t.Errorf("status %d, want %d", response.StatusCode, tt.status)
			}
		})
	}
}

func TestChangeSubjectMustBeAllowed(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	url := serve(t, &est.Handler{Backend: a}, a.ca.server)
	response, _ := send(t, httpClient(t, a.ca), "POST", url+"/.well-known/est/simpleenroll", readFile(t, "csr/csn-both.b64"), map[string]string{"Content-Type": pkcs10})
	if response.StatusCode != http.StatusForbidden || len(a.requests()) != 0 {
		t.Errorf("status %d, backend asked %d times", response.StatusCode, len(a.requests()))
	}
}

// TestOverPlainHTTP: without TLS there is no EST.
func TestOverPlainHTTP(t *testing.T) {
	t.Parallel()
	recorder := httptest.NewRecorder()
	(&est.Handler{Backend: newAuthority(t)}).ServeHTTP(recorder, httptest.NewRequest("GET", "/.well-known/est/cacerts", nil))
	if recorder.Code != http.StatusForbidden {
		t.Errorf("status %d, want 403", recorder.Code)
	}
}

// TestEvents holds the attributes that the compatible traces are rendered from, and that no secret is among them.
func TestEvents(t *testing.T) {
	t.Parallel()
	lines := new(logLines)
	a := newAuthority(t)
	a.users["estuser"] = "s3cret-pass"
	h := &est.Handler{Backend: a, Log: lines.logger(), RequestID: func() string { return "id-1" }}
	address := strings.TrimPrefix(serve(t, h, a.ca.server), "https://")
	csr, _ := newCSR(t, "x")
	for _, auth := range []string{"", basic("guess-pass"), "Digest x=y", basic("s3cret-pass")} {
		rawExchange(t, a.ca, address, libESTRequest("simpleenroll", csr, auth))
	}
	var got []string
	text := lines.String()
	for line := range strings.Lines(text) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if m["peer"] == nil || m["request_id"] != "id-1" {
			t.Errorf("line without peer or request id: %s", line)
		}
		switch m["event"] {
		case "est.request":
			got = append(got, fmt.Sprint("request ", m["method"], m["path"], m["proto"], m["status"], " ", m["user_agent"], m["referer"]))
		case "est.auth_failed":
			got = append(got, fmt.Sprint("auth_failed ", m["auth_type"], m["auth_name"]))
		case "est.failed", "est.challenge":
			got = append(got, fmt.Sprint(m["event"], " ", m["status"], m["rv"], m["rv_name"]))
		case "est.handshake":
			got = append(got, fmt.Sprint("handshake ", m["client_certificate"]))
		}
	}
	request := func(status int) string {
		return fmt.Sprint("request POST/.well-known/est/simpleenrollHTTP/1.1", status, " Cisco EST client 1.0")
	}
	want := []string{
		"handshake false", "est.challenge 401 24EST_ERR_AUTH_PENDING", request(401),
		"handshake false", "auth_failed 1basic", "est.failed 401 22EST_ERR_AUTH_FAIL", request(401),
		"handshake false", "auth_failed 2digest", "est.failed 401 22EST_ERR_AUTH_FAIL", request(401),
		"handshake false", request(200),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s\n%s", diff, text)
	}
	for _, secret := range []string{"s3cret-pass", "guess-pass", basic("s3cret-pass")} {
		if strings.Contains(text, secret) {
			t.Errorf("log holds the secret %q", secret)
		}
	}
}

// TestCredentialsDoNotPrint: every way of printing leaves the password out.
// TestNoKeyTwice: what is in a record is there once, as readers of JSON take only one of two.
func TestNoKeyTwice(t *testing.T) {
	t.Parallel()
	a, log := newAuthority(t), &logLines{}
	url := serve(t, &est.Handler{Backend: a, Log: log.logger()}, a.ca.server)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS(a.ca)}}
	defer client.CloseIdleConnections()
	for _, path := range []string{"/.well-known/est/floor2/cacerts", "/.well-known/est/nothing/at/all", "/.well-known/est/csrattrs"} {
		resp, err := client.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	lines := 0
	for line := range strings.Lines(log.String()) {
		lines++
		d, seen := json.NewDecoder(strings.NewReader(line)), map[string]bool{}
		for key := true; ; key = !key {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, brace := token.(json.Delim); brace {
				key = !key
				continue
			}
			if name, ok := token.(string); key && ok {
				if seen[name] {
					t.Errorf("%s is there twice: %s", name, line)
				}
				seen[name] = true
			}
		}
	}
	if lines < 3 {
		t.Errorf("%d lines", lines)
	}
}

func TestCredentialsDoNotPrint(t *testing.T) {
	t.Parallel()
	const secret = "s3cret-pass"
	var b bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&b, nil))
	values := []any{
		est.Credentials{User: "u", HasPassword: true, Password: []byte(secret)},
		est.Identity{Name: "n", Password: []byte(secret)},
		est.Password(secret),
	}
	for _, v := range values {
		_, _ = fmt.Fprintf(&b, "%v %+v %#v %s", v, v, v, v)
		log.Info("printed", "value", v)
	}
	text, err := json.Marshal(struct{ P est.Password }{est.Password(secret)})
	if err != nil {
		t.Fatal(err)
	}
	b.Write(text)
	if s := b.String(); strings.Contains(s, secret) || strings.Contains(s, fmt.Sprintf("%d", []byte(secret))) ||
		strings.Contains(s, base64.StdEncoding.EncodeToString([]byte(secret))) {
		t.Errorf("the password shows in %s", s)
	}
}

// TestClientGone: an answer that reaches nobody is logged with libEST's EST_ERR_HTTP_WRITE, and the work was done.
func TestClientGone(t *testing.T) {
	t.Parallel()
	lines := new(logLines)
	a := newAuthority(t)
	entered, gone := make(chan struct{}), make(chan struct{})
	a.enroll = func(ctx context.Context, r est.EnrollRequest) (est.EnrollResult, error) {
		close(entered)
		<-ctx.Done() // the client has left
		close(gone)
		cert, err := a.issue(r)
		return est.EnrollResult{Certificate: cert}, err
	}
	address := strings.TrimPrefix(serve(t, &est.Handler{Backend: a, Log: lines.logger()}, a.ca.server), "https://")
	conn, err := tls.Dial("tcp", address, clientTLS(a.ca))
	if err != nil {
		t.Fatal(err)
	}
	csr, _ := newCSR(t, "x")
	if _, err := io.WriteString(conn, libESTRequest("simpleenroll", csr, basic("estpwd"))); err != nil {
		t.Fatal(err)
	}
	<-entered
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	<-gone
	deadline := time.Now().Add(30 * time.Second)
	for !strings.Contains(lines.String(), `"rv_name":"EST_ERR_HTTP_WRITE"`) {
		if time.Now().After(deadline) {
			t.Fatalf("no line about the lost answer:\n%s", lines)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestSlowBackend: the server's read timeout ends the reading of a request, not the work on it.
func TestSlowBackend(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.enroll = func(ctx context.Context, r est.EnrollRequest) (est.EnrollResult, error) {
		select {
		case <-ctx.Done():
			return est.EnrollResult{}, ctx.Err()
		case <-time.After(4 * time.Second): // over the timeout below
		}
		cert, err := a.issue(r)
		return est.EnrollResult{Certificate: cert}, err
	}
	server := est.NewServer(&est.Handler{Backend: a}, &tls.Config{Certificates: []tls.Certificate{a.ca.server}}, nil)
	server.ReadHeaderTimeout, server.ReadTimeout = 3*time.Second, 3*time.Second // enough for a handshake on a busy machine
	csr, _ := newCSR(t, "x")
	if _, err := newClient(t, serveWith(t, server), a.ca).SimpleEnroll(t.Context(), csr); err != nil {
		t.Fatal(err)
	}
}

// TestSilentClients: connections that say nothing do not keep others waiting, and end by themselves.
func TestSilentClients(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	server := est.NewServer(&est.Handler{Backend: a}, &tls.Config{Certificates: []tls.Certificate{a.ca.server}}, nil)
	if server.ReadHeaderTimeout <= 0 || server.ReadTimeout <= 0 || server.WriteTimeout <= 0 || server.IdleTimeout <= 0 {
		t.Fatal("a timeout is not set")
	}
	silence := func(address string) net.Conn {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	// These connections stay for minutes: who is answered at all has not waited for them.
	server.ReadHeaderTimeout, server.ReadTimeout = 5*time.Minute, 5*time.Minute
	url := serveWith(t, server)
	for range 100 {
		silence(strings.TrimPrefix(url, "https://"))
	}
	start := time.Now()
	send(t, httpClient(t, a.ca), "GET", url+"/.well-known/est/cacerts", nil, nil)
	if d := time.Since(start); d > time.Minute {
		t.Errorf("an honest client waited %v", d)
	}
	// And these end, after a time that is enough for the handshake below, also on a busy machine.
	server = est.NewServer(&est.Handler{Backend: a}, &tls.Config{Certificates: []tls.Certificate{a.ca.server}}, nil)
	server.ReadHeaderTimeout, server.ReadTimeout = 3*time.Second, 3*time.Second
	address := strings.TrimPrefix(serveWith(t, server), "https://")
	for range 3 {
		conn := silence(address)
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
			t.Fatal("a silent connection was not closed")
		}
	}
	// A body that stops half-way: the answer says so, and the connection ends.
	conn, err := tls.Dial("tcp", address, clientTLS(a.ca))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: x\r\nContent-Type: application/pkcs10\r\nContent-Length: 500\r\n\r\nMII"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 400 {
		t.Errorf("status %d, want 400", response.StatusCode)
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// TestServerTLS holds the settings that peers depend on.
func TestServerTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	plain := &tls.Config{Certificates: []tls.Certificate{a.ca.server}, MinVersion: tls.VersionTLS10}
	got := est.ServerTLS(plain)
	if got.MinVersion != tls.VersionTLS12 || got.ClientAuth != tls.RequestClientCert || !got.DynamicRecordSizingDisabled {
		t.Errorf("min %x, client auth %v, dynamic records off %v", got.MinVersion, got.ClientAuth, got.DynamicRecordSizingDisabled)
	}
	if plain.DynamicRecordSizingDisabled || plain.MinVersion != tls.VersionTLS10 {
		t.Error("the caller's configuration was changed")
	}
	// A configuration chosen per connection gets the same settings.
	chooser := &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return plain, nil }}
	url := serveWith(t, est.NewServer(&est.Handler{Backend: a}, chooser, nil))
	old := clientTLS(a.ca)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), old)
	if err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 was accepted")
	}
	if response, _ := send(t, httpClient(t, a.ca), "GET", url+"/.well-known/est/cacerts", nil, nil); response.StatusCode != 200 {
		t.Errorf("status %d", response.StatusCode)
	}
}
