package est_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callsign/cmc"
	"callsign/est"

	"github.com/google/go-cmp/cmp"
)

func newClient(t testing.TB, url string, ca *testCA) *est.Client {
	t.Helper()
	c := &est.Client{URL: url, TLS: clientTLS(ca), User: "estuser", Password: est.Password("estpwd")}
	t.Cleanup(c.Close)
	return c
}

// TestClientAndHandler goes through cacerts, enrolment and full CMC between our own ends.
func TestClientAndHandler(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	message := []byte{0x30, 0x03, 0x02, 0x01, 0x05}
	h := &est.Handler{Backend: cmcAuthority{a, func(r est.CMCRequest) est.CMCReply {
		return est.CMCReply{Status: 202, Body: r.Body, RetryAfter: 7 * time.Second}
	}}}
	for _, label := range []string{"", "phones"} {
		client := newClient(t, serve(t, h, a.ca.server), a.ca)
		client.Label = label
		certs, err := client.CACerts(t.Context())
		if err != nil || len(certs) != 2 || !certs[0].Equal(a.ca.issuing) {
			t.Fatalf("cacerts: %d certificates, %v", len(certs), err)
		}
		csr, key := newCSR(t, "device")
		cert, err := client.SimpleEnroll(t.Context(), csr)
		if err != nil || !key.PublicKey.Equal(cert.PublicKey) {
			t.Fatalf("enroll: %v", err)
		}
		answer, err := client.FullCMC(t.Context(), message)
		if err != nil {
			t.Fatal(err)
		}
		if answer.RequestID == "" {
			t.Error("no request id")
		}
		answer.RequestID = ""
		want := &est.CMCAnswer{Status: 202, Kind: est.ContentCMCResponse, Body: message, RetryAfter: 7 * time.Second}
		if diff := cmp.Diff(want, answer); diff != "" {
			t.Errorf("full CMC (-want +got):\n%s", diff)
		}
		asked := a.requests()
		if got := asked[len(asked)-1].Label; got != label {
			t.Errorf("label %q, want %q", got, label)
		}
	}
}

// answering returns the base URL of a TLS server that answers everything by f.
func answering(t testing.TB, ca *testCA, f http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(f)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.server}}
	server.Config.ErrorLog = nil
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

// hijack answers with bytes of its own on the bare connection.
func hijack(w http.ResponseWriter, text string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, text)
	_ = conn.Close()
}

type answerTo func(t *testing.T, w http.ResponseWriter, r *http.Request, leaf string)

func write(status int, body string, fields ...string) answerTo {
	return func(_ *testing.T, w http.ResponseWriter, _ *http.Request, leaf string) {
		for i := 0; i+1 < len(fields); i += 2 {
			w.Header().Set(fields[i], fields[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, strings.ReplaceAll(body, "LEAF", leaf))
	}
}

// TestClientAgainstFaultyServer enrolls at servers that misbehave, each in one way.
func TestClientAgainstFaultyServer(t *testing.T) {
	t.Parallel()
	const p7 = "application/pkcs7-mime; smime-type=certs-only"
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		answer answerTo
		code   string // empty for success
		number int
		retry  time.Duration
		text   string // in the error's text
	}{
		{name: "good", answer: write(200, "LEAF", "Content-Type", p7)},
		{name: "missing parameters and encoding", answer: write(200, "LEAF", "Content-Type", "application/pkcs7-mime")},
		{name: "old media type", answer: write(200, "LEAF", "Content-Type", "application/x-pkcs7-mime")},
		{name: "trailing NUL", answer: write(200, "LEAF\n\x00", "Content-Type", p7)},
		{name: "chunked", answer: func(_ *testing.T, w http.ResponseWriter, _ *http.Request, leaf string) {
			w.Header().Set("Content-Type", p7)
			_, _ = io.WriteString(w, leaf[:100])
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, leaf[100:])
		}},
		{name: "html page", answer: write(200, "<html>proxy login</html>", "Content-Type", "text/html"), code: est.CodeAnswerType, number: 11, text: "proxy login"},
		{name: "html page as pkcs7", answer: write(200, "<html>", "Content-Type", p7), code: est.CodeAnswerBody, number: 64},
		{name: "empty body", answer: write(200, "", "Content-Type", p7), code: est.CodeEmptyAnswer, number: 14},
		{name: "cut short", answer: func(_ *testing.T, w http.ResponseWriter, _ *http.Request, leaf string) {
			w.Header().Set("Content-Type", p7)
			w.Header().Set("Content-Length", fmt.Sprint(len(leaf)+100))
			_, _ = io.WriteString(w, leaf)
		}, code: est.CodeBroken, number: 11},
		{name: "closed without a word", answer: func(_ *testing.T, w http.ResponseWriter, _ *http.Request, _ string) { hijack(w, "") }, code: est.CodeEmptyAnswer, number: 14},
		{name: "no HTTP", answer: func(_ *testing.T, w http.ResponseWriter, _ *http.Request, _ string) {
			hijack(w, "220 smtp ready\r\n\r\n")
		}, code: est.CodeAnswerType, number: 11},
		{name: "reset", answer: func(_ *testing.T, w http.ResponseWriter, _ *http.Request, _ string) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			raw := conn.(*tls.Conn).NetConn().(*net.TCPConn)
			_ = raw.SetLinger(0)
			_ = raw.Close()
		}, code: est.CodeBroken, number: 35},
		{name: "silent", answer: func(t *testing.T, _ http.ResponseWriter, r *http.Request, _ string) {
			select {
			case <-r.Context().Done():
			case <-t.Context().Done():
			}
		}, code: est.CodeTimeout, number: 35},
		{name: "stops half-way", answer: func(t *testing.T, w http.ResponseWriter, r *http.Request, leaf string) {
			w.Header().Set("Content-Type", p7)
			_, _ = io.WriteString(w, leaf[:50])
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-t.Context().Done():
			}
		}, code: est.CodeTimeout, number: 35},
		{name: "endless", answer: func(_ *testing.T, w http.ResponseWriter, _ *http.Request, _ string) {
			w.Header().Set("Content-Type", p7)
			chunk := []byte(strings.Repeat("QUJD", 16<<10))
			for range 64 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, code: est.CodeAnswerTooLarge, number: 49},
		{name: "pending", answer: write(202, "come back", "Retry-After", "5", "Content-Type", "text/plain"), code: est.CodeRetryLater, number: 26, retry: 5 * time.Second, text: "come back"},
		{name: "pending until a date", answer: write(202, "", "Retry-After", now.Add(90*time.Second).Format(http.TimeFormat)), code: est.CodeRetryLater, number: 26, retry: 90 * time.Second},
		{name: "pending until a date gone by", answer: write(202, "", "Retry-After", now.Add(-time.Hour).Format(http.TimeFormat)), code: est.CodeRetryLater, number: 26, retry: time.Second},
		{name: "pending for ever", answer: write(202, "", "Retry-After", "9000000000000000000"), code: est.CodeRetryLater, number: 26, retry: 30 * 24 * time.Hour},
		{name: "pending without time", answer: write(202, ""), code: est.CodeRetryAfter, number: 62},
		{name: "pending with nonsense", answer: write(202, "", "Retry-After", "soon"), code: est.CodeRetryAfter, number: 62, text: "soon"},
		{name: "no content", answer: write(204, ""), code: est.CodeRefused, number: 15},
		{name: "bad request", answer: write(400, "Your key\r\nis weak.", "Content-Type", "text/plain; charset=utf-8"), code: est.CodeRefused, number: 13, text: "Your key is weak."},
		{name: "unauthorized", answer: write(401, "", "WWW-Authenticate", `Basic realm="x"`), code: est.CodeUnauthorized, number: 22},
		{name: "forbidden", answer: write(403, ""), code: est.CodeRefused, number: 94},
		{name: "not found", answer: write(404, ""), code: est.CodeNotImplemented, number: 14},
		{name: "locked", answer: write(423, ""), code: est.CodeRefused, number: 16},
		{name: "too many", answer: write(429, "", "Retry-After", "9"), code: est.CodeRefused, number: 94, retry: 9 * time.Second},
		{name: "server error", answer: write(500, ""), code: est.CodeUnavailable, number: 94},
		{name: "not implemented", answer: write(501, ""), code: est.CodeNotImplemented, number: 94},
		{name: "not ready", answer: write(503, "", "Retry-After", "30"), code: est.CodeUnavailable, number: 94, retry: 30 * time.Second},
		{name: "redirect elsewhere", answer: write(307, "", "Location", "https://elsewhere.example/.well-known/est/simpleenroll"), code: est.CodeRedirect, number: 94, text: "elsewhere.example"},
		{name: "redirect that makes it a GET", answer: write(302, "", "Location", "/other"), code: est.CodeRedirect, number: 94, text: "POST into GET"},
		{name: "redirect without end", answer: write(307, "", "Location", "/again"), code: est.CodeRedirect, number: 94, text: "too many"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ca := newTestCA(t)
			csr, leaf := fixtureLeaf(t)
			client := newClient(t, answering(t, ca, func(w http.ResponseWriter, r *http.Request) { tt.answer(t, w, r, leaf) }), ca)
			client.Now = func() time.Time { return now }
			if tt.code == est.CodeTimeout {
				client.Timeout = 3 * time.Second // for the handshake too, which must not be what runs out of time
			}
			cert, err := client.SimpleEnroll(t.Context(), csr)
			if tt.code == "" {
				if err != nil || cert == nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			checkClientError(t, err, tt.code, tt.number)
			if !strings.Contains(fmt.Sprint(err), tt.text) {
				t.Errorf("error %q does not say %q", err, tt.text)
			}
			var retry *est.RetryError
			var e *est.ClientError
			switch {
			case errors.As(err, &retry):
				if retry.After != tt.retry {
					t.Errorf("retry after %v, want %v", retry.After, tt.retry)
				}
			case errors.As(err, &e):
				if e.RetryAfter != tt.retry || e.Timeout != (tt.code == est.CodeTimeout) {
					t.Errorf("retry after %v, timeout %v", e.RetryAfter, e.Timeout)
				}
			}
		})
	}
}

// checkClientError checks what every error of a Client has.
func checkClientError(t *testing.T, err error, code string, number int) {
	t.Helper()
	var e interface {
		error
		Code() string
		Remedy() string
		LibEST() (int, string)
	}
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T) has no code", err, err)
	}
	n, name := e.LibEST()
	if e.Code() != code || n != number || e.Remedy() == "" || !strings.HasPrefix(name, "EST_ERR_") {
		t.Fatalf("%v\ncode %s, libEST %d %s, remedy %q; want %s, %d", err, e.Code(), n, name, e.Remedy(), code, number)
	}
	if strings.Contains(err.Error(), "estpwd") {
		t.Errorf("error shows the password: %v", err)
	}
}

// fixtureLeaf returns a request for the key of testdata/pki and the base64 of a certs-only message that answers it.
func fixtureLeaf(t testing.TB) (csr []byte, leaf string) {
	t.Helper()
	block, _ := pem.Decode(readFile(t, "pki/leaf.key"))
	if block == nil {
		t.Fatal("no key")
	}
	var key any
	var err error
	if key, err = x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		if key, err = x509.ParseECPrivateKey(block.Bytes); err != nil {
			t.Fatal(err)
		}
	}
	csr, err = x509.CreateCertificateRequest(nil, &x509.CertificateRequest{}, key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	return csr, string(readFile(t, "cms/one-lf64.b64"))
}

// TestAnswerFixtures gives every answer of testdata/cms and testdata/rfc to the client as cacerts, and those about the
// leaf also as the answer to an enrolment.
func TestAnswerFixtures(t *testing.T) {
	t.Parallel()
	ca := newTestCA(t)
	csr, _ := fixtureLeaf(t)
	var body atomic.Pointer[[]byte]
	client := newClient(t, answering(t, ca, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/pkcs7-mime")
		_, _ = w.Write(*body.Load())
	}), ca)
	block, _ := pem.Decode(readFile(t, "pki/leaf.pem"))
	wantLeaf := sha256.Sum256(block.Bytes)
	for _, f := range fixtures(t, "certs-only") {
		t.Run(f.File, func(t *testing.T) {
			b := readFile(t, f.File)
			body.Store(&b)
			foreign := strings.Contains(f.File, "foreign")
			certs, err := client.CACerts(t.Context())
			if f.Verdict == "reject" && !foreign {
				if err == nil {
					t.Fatalf("accepted: %s", f.Note)
				}
				var e *est.ClientError
				if !errors.As(err, &e) || e.Remedy() == "" {
					t.Fatalf("error %v", err)
				}
				if strings.Contains(f.File, "bare") && !strings.Contains(err.Error(), "bare certificate") {
					t.Errorf("error %q does not say what came", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range certs {
				sum := sha256.Sum256(c.Raw)
				got = append(got, hex.EncodeToString(sum[:]))
			}
			if diff := cmp.Diff(f.SHA256, got); diff != "" {
				t.Errorf("certificates (-want +got):\n%s", diff)
			}
			hasLeaf := strings.Contains(strings.Join(f.SHA256, " "), hex.EncodeToString(wantLeaf[:]))
			cert, err := client.SimpleEnroll(t.Context(), csr)
			if !hasLeaf {
				checkClientError(t, err, est.CodeAnswerCertificate, 51)
				return
			}
			if err != nil || sha256.Sum256(cert.Raw) != wantLeaf {
				t.Errorf("picked %v, %v", cert, err)
			}
		})
	}
}

// TestClientTransportErrors: what goes wrong before there is an answer.
func TestClientTransportErrors(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	url := serve(t, &est.Handler{Backend: a}, a.ca.server)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := "https://" + closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, and nobody speaks TLS
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mute.Close() })
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	for _, tt := range []struct {
		name, url string
		ca        *testCA
		code      string
		number    int
	}{
		{"refused", refused, a.ca, est.CodeConnect, 43},
		{"no such host", "https://no-such-host.invalid", a.ca, est.CodeResolve, 42},
		{"mute", "https://" + mute.Addr().String(), a.ca, est.CodeTLS, 38},
		{"no TLS", "https://" + strings.TrimPrefix(plain.URL, "http://"), a.ca, est.CodeTLS, 38},
		{"unknown issuer", url, newTestCA(t), est.CodeServerUntrusted, 38},
		{"other name", url, a.ca, est.CodeServerName, 53},
		{"no https", "http://127.0.0.1", a.ca, est.CodeClientConfig, 5},
		{"no host", "https:///x", a.ca, est.CodeClientConfig, 5},
		{"password in the URL", "https://estuser:estpwd@127.0.0.1", a.ca, est.CodeClientConfig, 5},
		{"unparsable", "https://estpwd\x7f", a.ca, est.CodeClientConfig, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.name == "no such host" {
				if _, err := net.DefaultResolver.LookupHost(t.Context(), "no-such-host.invalid"); err == nil {
					t.Skip("this network resolves every name")
				}
			}
			client := newClient(t, tt.url, tt.ca)
			client.Timeout, client.ConnectTimeout = time.Minute, time.Minute
			if tt.name == "mute" || tt.name == "no such host" { // no other row may run out of time, however busy the machine is
				client.ConnectTimeout = time.Second
			}
			if tt.name == "other name" {
				client.TLS.ServerName = "wrong.example" // as if the URL had this name
			}
			_, err := client.CACerts(t.Context())
			if tt.name == "no such host" && strings.Contains(fmt.Sprint(err), "i/o timeout") {
				t.Skip("name server does not answer")
			}
			checkClientError(t, err, tt.code, tt.number)
		})
	}
}

func TestClientConfigErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]*est.Client{
		"label":  {URL: "https://127.0.0.1", Label: "cacerts", TLS: &tls.Config{MinVersion: tls.VersionTLS12}},
		"no TLS": {URL: "https://127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := c.CACerts(t.Context())
			checkClientError(t, err, est.CodeClientConfig, 5)
			c.Close()
		})
	}
	_, err := (&est.Client{}).SimpleEnroll(t.Context(), []byte("no request"))
	checkClientError(t, err, est.CodeCSRMalformed, 2)
}

func TestClientCanceled(t *testing.T) {
	t.Parallel()
	ca := newTestCA(t)
	ctx, cancel := context.WithCancel(t.Context())
	client := newClient(t, answering(t, ca, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}), ca)
	_, err := client.CACerts(ctx)
	checkClientError(t, err, est.CodeCanceled, 35)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v is not context.Canceled", err)
	}
}

// TestClientSends holds the form of requests, and who sees the password.
func TestClientSends(t *testing.T) {
	t.Parallel()
	ca := newTestCA(t)
	csr, leaf := fixtureLeaf(t)
	var mu sync.Mutex
	type seen struct {
		Path, Agent, Type, CTE, Auth string
		Length                       int64
		Chunked                      bool
	}
	var got []seen
	url := answering(t, ca, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		auth := r.Header.Get("Authorization")
		got = append(got, seen{
			r.URL.Path, r.UserAgent(), r.Header.Get("Content-Type"), r.Header.Get("Content-Transfer-Encoding"),
			auth, r.ContentLength, len(r.TransferEncoding) > 0,
		})
		mu.Unlock()
		for line := range strings.Lines(string(body)) {
			if len(line) > 65 || !strings.HasSuffix(line, "\n") {
				t.Errorf("line of %d bytes: %q", len(line), line)
			}
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "/cacerts"):
		case auth == "":
			w.Header().Set("WWW-Authenticate", `Digest realm="a, b", qop="auth", nonce="1", Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		case r.URL.Path == "/.well-known/est/moved/simpleenroll": // within the origin: followed with everything
			w.Header().Set("Location", "/.well-known/est/simpleenroll")
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
		w.Header().Set("Content-Type", "application/pkcs7-mime")
		_, _ = io.WriteString(w, leaf)
	})
	client := newClient(t, url+"/.well-known/est/", ca)
	client.Label, client.UserAgent = "moved", "Cisco EST client 1.0"
	if _, err := client.SimpleEnroll(t.Context(), csr); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CACerts(t.Context()); err != nil {
		t.Fatal(err)
	}
	answer, err := client.FullCMC(t.Context(), csr)
	if err != nil || answer.Kind != est.ContentCertsOnly {
		t.Fatalf("%v %v", answer, err)
	}
	n := int64(len(wrap64(csr)))
	auth := basic("estpwd")
	const agent, p7 = "Cisco EST client 1.0", "application/pkcs7-mime; smime-type=CMC-request"
	want := []seen{
		{"/.well-known/est/moved/simpleenroll", agent, pkcs10, "base64", "", n, false},
		{"/.well-known/est/moved/simpleenroll", agent, pkcs10, "base64", auth, n, false},
		{"/.well-known/est/simpleenroll", agent, pkcs10, "base64", auth, n, false},
		{"/.well-known/est/moved/cacerts", agent, "", "", "", 0, false},
		{"/.well-known/est/moved/fullcmc", agent, p7, "base64", auth, n, false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestClientReusesConnections: one handshake serves many calls.
func TestClientReusesConnections(t *testing.T) {
	t.Parallel()
	lines := new(logLines)
	a := newAuthority(t)
	var opened atomic.Int32
	server := est.NewServer(&est.Handler{Backend: a}, &tls.Config{Certificates: []tls.Certificate{a.ca.server}}, nil)
	server.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	client := newClient(t, serveWith(t, server), a.ca)
	client.Log = lines.logger()
	for range 5 {
		if _, err := client.CACerts(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	text := lines.String()
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections for 5 calls", n)
	}
	if n := strings.Count(text, `"msg":"EST exchange"`); n != 5 || strings.Contains(text, "estpwd") {
		t.Errorf("%d lines of the client", n)
	}
}

// TestFullCMCAnswerKinds: which answers are answers, and which are errors.
func TestFullCMCAnswerKinds(t *testing.T) {
	t.Parallel()
	message := base64.StdEncoding.EncodeToString([]byte{0x30, 0x03, 0x02, 0x01, 0x05})
	for _, tt := range []struct {
		name   string
		answer answerTo
		want   *est.CMCAnswer
		code   string
		number int
	}{
		{name: "certs-only by parameter", answer: write(200, "LEAF", "Content-Type", `application/pkcs7-mime; smime-type="CERTS-ONLY"`), want: &est.CMCAnswer{Status: 200, Kind: est.ContentCertsOnly}},
		{name: "certs-only by content", answer: write(200, "LEAF", "Content-Type", "application/pkcs7-mime"), want: &est.CMCAnswer{Status: 200, Kind: est.ContentCertsOnly}},
		{name: "response", answer: write(200, message, "Content-Type", "application/pkcs7-mime; smime-type=CMC-response"), want: &est.CMCAnswer{Status: 200, Kind: est.ContentCMCResponse}},
		{name: "refusal with message", answer: write(403, message, "Content-Type", "application/pkcs7-mime; smime-type=cmc-response"), want: &est.CMCAnswer{Status: 403, Kind: est.ContentCMCResponse}},
		{name: "busy with message", answer: write(503, message, "Content-Type", "application/pkcs7-mime; smime-type=cmc-response", "Retry-After", "3"), want: &est.CMCAnswer{Status: 503, Kind: est.ContentCMCResponse, RetryAfter: 3 * time.Second}},
		{name: "pending without message", answer: write(202, "later", "Content-Type", "text/plain", "Retry-After", "3"), want: &est.CMCAnswer{Status: 202, RetryAfter: 3 * time.Second}},
		{name: "pending without time", answer: write(202, message, "Content-Type", "application/pkcs7-mime"), code: est.CodeRetryAfter, number: 62},
		{name: "not offered", answer: write(501, "no", "Content-Type", "text/plain"), code: est.CodeNotImplemented, number: 94},
		{name: "refusal in words", answer: write(400, "bad", "Content-Type", "text/plain"), code: est.CodeRefused, number: 13},
		{name: "refusal of the type without a body", answer: write(400, "", "Content-Type", "application/pkcs7-mime"), code: est.CodeRefused, number: 13},
		{name: "a page", answer: write(200, "<html>", "Content-Type", "text/html"), code: est.CodeAnswerType, number: 11},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ca := newTestCA(t)
			_, leaf := fixtureLeaf(t)
			client := newClient(t, answering(t, ca, func(w http.ResponseWriter, r *http.Request) { tt.answer(t, w, r, leaf) }), ca)
			got, err := client.FullCMC(t.Context(), []byte{0x30, 0})
			if tt.code != "" {
				checkClientError(t, err, tt.code, tt.number)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Kind != est.ContentNone && len(got.Body) == 0 {
				t.Error("no body")
			}
			if got.Kind == est.ContentCertsOnly {
				if _, err := cmc.ParseCertsOnly(got.Body); err != nil {
					t.Error(err)
				}
			}
			got.Body = nil
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestLibESTNames compares every number's name with libEST's own list.
func TestLibESTNames(t *testing.T) {
	t.Parallel()
	want := map[string]bool{}
	for n, line := range strings.Split(strings.TrimSpace(string(readFile(t, filepath.Join("libest-errors.txt")))), "\n") {
		if got := fmt.Sprintf("%d %v", n, est.LibESTError(n)); got != line {
			t.Errorf("%q, want %q", got, line)
		}
		want[line] = true
	}
	if len(want) != 95 || est.LibESTError(95).String() != "EST_ERR_UNKNOWN" || est.LibESTError(-1).String() != "EST_ERR_UNKNOWN" {
		t.Errorf("%d numbers", len(want))
	}
}
