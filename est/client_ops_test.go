package est_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callsign/cmc"
	"callsign/est"

	"github.com/google/go-cmp/cmp"
)

// TestClientLinks links requests to their connections, as both versions of TLS do it, at a server that demands it.
func TestClientLinks(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			a.profile.Link = est.LinkRequired
			client := newClient(t, serve(t, &est.Handler{Backend: a}, a.ca.server), a.ca)
			client.TLS.MaxVersion = version
			key := newKey(t)
			var links []string
			build := func(l est.Links) ([]byte, error) {
				links = append(links, l.Best())
				return linkedCSR(t, key, "device", l.Best()), nil
			}
			for range 2 { // the second time with the password at once
				cert, err := client.EnrollLinked(t.Context(), false, build)
				if err != nil || !key.PublicKey.Equal(cert.PublicKey) {
					t.Fatalf("enroll: %v", err)
				}
			}
			slices.Sort(links)
			if len(slices.Compact(links)) != 3 {
				t.Errorf("links %q, want three that differ: without password, with it, and the second time", links)
			}
			csr, _ := newCSR(t, "device")
			_, err := client.SimpleEnroll(t.Context(), csr)
			checkClientError(t, err, est.CodeRefused, 13)
		})
	}
}

// TestClientLinkErrors are requests that cannot be linked.
func TestClientLinkErrors(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	var target atomic.Pointer[string]
	url := answering(t, a.ca, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", *target.Load())
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	good := func(l est.Links) ([]byte, error) { return linkedCSR(t, newKey(t), "device", l.Best()), nil }
	for _, tt := range []struct {
		name, target, text string
		build              func(est.Links) ([]byte, error)
		code               string
		number             int
	}{
		{"another origin", "https://elsewhere.example/x", "elsewhere.example", good, est.CodeRedirect, 94},
		{"endless", "/again", "one too many", good, est.CodeRedirect, 94},
		{"no URL", "https://[::1", "Location", good, est.CodeAnswerType, 11},
		{"no request", "/again", "", func(est.Links) ([]byte, error) { return []byte{1}, nil }, est.CodeCSRMalformed, 2},
		{"no key", "/again", "the key is lost", func(est.Links) ([]byte, error) { return nil, errors.New("the key is lost") }, est.CodeClientConfig, 28},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target.Store(&tt.target)
			_, err := newClient(t, url, a.ca).EnrollLinked(t.Context(), true, tt.build)
			checkClientError(t, err, tt.code, tt.number)
			if !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v, want %q", err, tt.text)
			}
		})
	}
	gone := newClient(t, "https://127.0.0.1:1", a.ca)
	_, err := gone.EnrollLinked(t.Context(), false, good)
	checkClientError(t, err, est.CodeConnect, 43)
	stranger := newClient(t, url, newTestCA(t))
	_, err = stranger.EnrollLinked(t.Context(), false, good)
	checkClientError(t, err, est.CodeServerUntrusted, 38)
}

// TestClientFollowsLinked follows a redirect with a link of the new connection.
func TestClientFollowsLinked(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.profile.Link = est.LinkRequired
	h := &est.Handler{Backend: a}
	url := serveWith(t, est.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/old/") {
			w.Header().Set("Location", "/.well-known/est/simplereenroll")
			w.WriteHeader(http.StatusPermanentRedirect)
			return
		}
		h.ServeHTTP(w, r)
	}), &tls.Config{Certificates: []tls.Certificate{a.ca.server}}, nil))
	client := newClient(t, url+"/old", a.ca)
	identity := a.ca.clientCert(t, "device")
	client.TLS.Certificates = []tls.Certificate{identity}
	calls := 0
	_, err := client.EnrollLinked(t.Context(), true, func(l est.Links) ([]byte, error) {
		calls++
		return linkedCSR(t, identity.PrivateKey.(*ecdsa.PrivateKey), "device", l.Best()), nil
	})
	if err != nil || calls != 2 {
		t.Errorf("%d requests made, %v", calls, err)
	}
}

// TestClientChallenges: a password is answered to Basic only, and shown to nobody who has not asked.
func TestClientChallenges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		fields []string
		sent   bool
		code   string
		text   string
	}{
		{"Basic", []string{`Basic realm="a"`}, true, est.CodeUnauthorized, "server answered 401"},
		{"in any case", []string{`basic realm="a"`}, true, est.CodeUnauthorized, ""},
		{"behind another", []string{`Digest realm="x, Basic y", nonce="\"n, ", Basic realm="a"`}, true, est.CodeUnauthorized, ""},
		{"in its own field", []string{"Negotiate", "Basic"}, true, est.CodeUnauthorized, ""},
		{"Digest", []string{`Digest realm="Basic realm", qop="auth", nonce="n"`}, false, est.CodeChallenge, "authentication by Digest, and only Basic"},
		{"Bearer", []string{`Bearer`}, false, est.CodeChallenge, "Bearer"},
		{"two others", []string{`Negotiate, Digest realm="Basic a"`}, false, est.CodeChallenge, "Negotiate, Digest"},
		{"none", nil, false, est.CodeUnauthorized, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ca := newTestCA(t)
			var seen sync.Map
			client := newClient(t, answering(t, ca, func(w http.ResponseWriter, r *http.Request) {
				seen.Store(r.Header.Get("Authorization"), true)
				w.Header()["WWW-Authenticate"] = tt.fields
				w.WriteHeader(http.StatusUnauthorized)
			}), ca)
			csr, key := newCSR(t, "device")
			_, err := client.SimpleEnroll(t.Context(), csr)
			checkClientError(t, err, tt.code, 22)
			if !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v, want %q", err, tt.text)
			}
			_, linked := client.EnrollLinked(t.Context(), false, func(l est.Links) ([]byte, error) { return linkedCSR(t, key, "device", l.Best()), nil })
			checkClientError(t, linked, tt.code, 22)
			if _, sent := seen.Load(basic("estpwd")); sent != tt.sent {
				t.Errorf("password sent: %v, want %v", sent, tt.sent)
			}
		})
	}
}

// TestClientCSRAttrs reads the answers that say nothing, something and nonsense.
func TestClientCSRAttrs(t *testing.T) {
	t.Parallel()
	oids := string(readFile(t, "csrattrs/oids.b64"))
	for _, tt := range []struct {
		name   string
		answer answerTo
		code   string
		number int
		said   int // elements
	}{
		{name: "nothing", answer: write(204, "")},
		{name: "not found", answer: write(404, "404 page not found", "Content-Type", "text/plain")},
		{name: "not offered", answer: write(501, "")},
		{name: "empty list", answer: write(200, "MAA=\n", "Content-Type", "application/csrattrs")},
		{name: "empty body", answer: write(200, " \r\n", "Content-Type", "application/csrattrs")},
		{name: "two", answer: write(200, oids, "Content-Type", "application/csrattrs"), said: 2},
		{name: "NUL", answer: write(200, string(readFile(t, "csrattrs/nul.b64")), "Content-Type", "application/csrattrs"), said: 2},
		{name: "with parameters", answer: write(200, oids, "Content-Type", "Application/CSRattrs; charset=x"), said: 2},
		{name: "malformed", answer: write(200, "MAMCAQA=", "Content-Type", "application/csrattrs"), code: est.CodeCSRAttrs},
		{name: "no base64", answer: write(200, "{}", "Content-Type", "application/csrattrs"), code: est.CodeAnswerBody, number: 64},
		{name: "page", answer: write(200, "<html>", "Content-Type", "text/html"), code: est.CodeAnswerType, number: 11},
		{name: "down", answer: write(503, ""), code: est.CodeUnavailable, number: 94},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ca := newTestCA(t)
			client := newClient(t, answering(t, ca, func(w http.ResponseWriter, r *http.Request) { tt.answer(t, w, r, "") }), ca)
			attrs, err := client.CSRAttrs(t.Context())
			switch {
			case tt.code == est.CodeCSRAttrs:
				if e, ok := errors.AsType[*est.CSRAttrsError](err); !ok || e.Code() != tt.code {
					t.Errorf("error %v", err)
				}
			case tt.code != "":
				checkClientError(t, err, tt.code, tt.number)
			case err != nil || attrs == nil || len(attrs.Elements) != tt.said || attrs.Empty() != (tt.said == 0):
				t.Errorf("%+v, %v", attrs, err)
			}
		})
	}
}

// TestClientReenrolls renews with the certificate, at our own server.
func TestClientReenrolls(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	client := newClient(t, serve(t, &est.Handler{Backend: a}, a.ca.server), a.ca)
	client.TLS.Certificates = []tls.Certificate{a.ca.clientCert(t, "device")}
	key := newKey(t)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "device"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := client.SimpleReenroll(t.Context(), csr)
	if err != nil || !key.PublicKey.Equal(cert.PublicKey) {
		t.Fatalf("renew: %v", err)
	}
	other, _ := newCSR(t, "other")
	_, err = client.SimpleReenroll(t.Context(), other)
	checkClientError(t, err, est.CodeRefused, 94)
	if e, ok := errors.AsType[*est.ClientError](err); !ok || e.Status != http.StatusForbidden || e.RequestID == "" {
		t.Errorf("error %+v", e)
	}
}

// TestClientBootstraps asks a server that nobody can judge yet: without credentials and certificate, and for cacerts alone.
func TestClientBootstraps(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	h := &est.Handler{Backend: a}
	var opened, certified, authorized atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			authorized.Add(1)
		}
		if len(r.TLS.PeerCertificates) > 0 {
			certified.Add(1)
		}
		h.ServeHTTP(w, r)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{a.ca.server}, ClientAuth: tls.RequestClientCert}
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	client := newClient(t, server.URL, newTestCA(t)) // an anchor that does not help
	client.TLS.Certificates = []tls.Certificate{a.ca.clientCert(t, "device")}
	client.TLS.VerifyConnection = func(tls.ConnectionState) error { return errors.New("not judged") }
	for range 2 {
		certs, err := client.Bootstrap(t.Context())
		if err != nil || len(certs) != 2 || !certs[0].Equal(a.ca.issuing) {
			t.Fatalf("%d certificates, %v", len(certs), err)
		}
	}
	if opened.Load() != 2 || certified.Load() != 0 || authorized.Load() != 0 {
		t.Errorf("%d connections, %d with a certificate, %d with a password; want 2, 0, 0", opened.Load(), certified.Load(), authorized.Load())
	}
	if _, err := client.CACerts(t.Context()); err == nil {
		t.Error("the server is trusted afterwards")
	}
	down := newClient(t, answering(t, a.ca, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }), a.ca)
	_, err := down.Bootstrap(t.Context())
	checkClientError(t, err, est.CodeNotImplemented, 14)
}

// TestPoll waits as long as it may, tells of it, and stops when it has to.
func TestPoll(t *testing.T) {
	t.Parallel()
	later := func(d time.Duration) error { return &est.RetryError{After: d} }
	busy := &est.ClientError{ErrCode: est.CodeUnavailable, Status: 503, RetryAfter: time.Millisecond}
	down := &est.ClientError{ErrCode: est.CodeUnavailable, Status: 500}
	for _, tt := range []struct {
		name   string
		wait   time.Duration
		tries  []error // what each gives
		pauses []time.Duration
		want   error
	}{
		{"at once", 0, []error{nil}, nil, nil},
		{"no time", 0, []error{later(time.Second)}, nil, later(time.Second)},
		{"not enough time", time.Minute, []error{later(time.Hour)}, nil, later(time.Hour)},
		{"202 and 503", time.Minute, []error{later(0), busy, nil}, []time.Duration{time.Second, time.Second}, nil},
		{"refused after all", time.Minute, []error{later(0), down}, []time.Duration{time.Second}, down},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var pauses []time.Duration
			n := 0
			got, err := est.Poll(t.Context(), tt.wait, func(pause time.Duration, why error) {
				if why == nil {
					t.Error("a pause without a reason")
				}
				pauses = append(pauses, pause)
			}, func(context.Context) (int, error) { n++; return n, tt.tries[n-1] })
			if diff := cmp.Diff(tt.pauses, pauses); diff != "" || n != len(tt.tries) {
				t.Errorf("%d tries; pauses (-want +got):\n%s", n, diff)
			}
			if tt.want == nil && (err != nil || got != n) || tt.want != nil && (err == nil || err.Error() != tt.want.Error()) {
				t.Errorf("got %d, %v, want %v", got, err, tt.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := est.Poll(ctx, time.Hour, func(time.Duration, error) { cancel() }, func(context.Context) (int, error) { return 0, later(time.Minute) })
	if _, ok := errors.AsType[*est.RetryError](err); !ok || !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestKeyAnswers gives every answer of testdata/serverkeygen, and that of RFC 7030, to the client.
func TestKeyAnswers(t *testing.T) {
	t.Parallel()
	ca := newTestCA(t)
	type answer struct{ kind, body string }
	var now atomic.Pointer[answer]
	url := answering(t, ca, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", now.Load().kind)
		_, _ = io.WriteString(w, now.Load().body)
	})
	load := func(t *testing.T, file string) any {
		t.Helper()
		block, _ := pem.Decode(readFile(t, "serverkeygen/"+file))
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	recipient := load(t, "recipient.key").(*rsa.PrivateKey)
	expected := load(t, "expected.key").(*ecdsa.PrivateKey)
	const b1 = "multipart/mixed; boundary=b1"
	crlf := string(readFile(t, "serverkeygen/cert-first.txt"))
	for _, tt := range []struct {
		name, file, kind string
		recipient        *rsa.PrivateKey
		code, text       string
	}{
		{name: "CRLF", file: "crlf.txt", kind: "multipart/mixed; boundary=estServerExampleBoundary"},
		{name: "LF and preamble", file: "lf-preamble.txt", kind: "multipart/mixed ; boundary=estServerExampleBoundary"},
		{name: "quoted boundary", file: "quoted-boundary.txt", kind: `Multipart/Mixed; Boundary="=_est 1=:"`},
		{name: "no CTE", file: "no-cte.txt", kind: b1},
		{name: "certificate first", file: "cert-first.txt", kind: b1},
		{name: "encrypted", file: "encrypted-ktri.txt", kind: b1, recipient: recipient},
		{name: "one part", file: "one-part.txt", kind: b1, code: est.CodeKeyAnswer, text: "no certificate"},
		{name: "key mismatch", file: "key-mismatch.txt", kind: b1, code: est.CodeKeyAnswer, text: "not for the private key"},
		{name: "no boundary", file: "no-boundary-param.txt", kind: "multipart/mixed", code: est.CodeKeyAnswer, text: "no boundary"},
		{name: "unterminated", file: "unterminated.txt", kind: b1, code: est.CodeKeyAnswer, text: "part"},
		{name: "not multipart", file: "crlf.txt", kind: "application/pkcs8", code: est.CodeKeyAnswer, text: "instead of multipart/mixed"},
		{name: "in clear", file: "crlf.txt", kind: "multipart/mixed; boundary=estServerExampleBoundary", recipient: recipient, code: est.CodeKeyNotEncrypted, text: "in clear"},
		{name: "nothing to open it", file: "encrypted-ktri.txt", kind: b1, code: est.CodeKeyAnswer, text: "no key to open it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now.Store(&answer{tt.kind, string(readFile(t, "serverkeygen/"+tt.file))})
			csr, _ := newCSR(t, "device")
			got, err := newClient(t, url, ca).ServerKeygen(t.Context(), csr, tt.recipient)
			if tt.code != "" {
				number := map[string]int{est.CodeKeyAnswer: int(est.LibESTMultipartParse), est.CodeKeyNotEncrypted: int(est.LibESTEncPrivKeyCMS)}[tt.code]
				checkClientError(t, err, tt.code, number)
				if !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "MIG") {
					t.Errorf("error %v, want %q", err, tt.text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !expected.Equal(got.Key) || !expected.PublicKey.Equal(got.Certificate.PublicKey) || got.Encrypted != (tt.recipient != nil) ||
				(got.Signer != nil) != got.Encrypted {
				t.Errorf("got %+v", got)
			}
		})
	}
	t.Run("another recipient", func(t *testing.T) {
		other, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		now.Store(&answer{b1, string(readFile(t, "serverkeygen/encrypted-ktri.txt"))})
		csr, _ := newCSR(t, "device")
		_, err = newClient(t, url, ca).ServerKeygen(t.Context(), csr, other)
		checkClientError(t, err, est.CodeKeyAnswer, int(est.LibESTMultipartParse))
	})
	t.Run("twice", func(t *testing.T) {
		body, _ := strings.CutSuffix(strings.TrimRight(crlf, "\r\n"), "--b1--")
		now.Store(&answer{b1, body + crlf})
		csr, _ := newCSR(t, "device")
		_, err := newClient(t, url, ca).ServerKeygen(t.Context(), csr, nil)
		checkClientError(t, err, est.CodeKeyAnswer, int(est.LibESTMultipartParse))
		if !strings.Contains(err.Error(), "two") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("RFC 7030 A.4", func(t *testing.T) {
		now.Store(&answer{"multipart/mixed ; boundary=estServerExampleBoundary", string(readFile(t, "rfc/rfc7030-a4-serverkeygen-response.txt"))})
		csr, _ := newCSR(t, "device")
		got, err := newClient(t, url, ca).ServerKeygen(t.Context(), csr, nil)
		if err != nil || got.Certificate.Subject.CommonName != "serverside key generated response" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// TestClientKeygen asks our own server for a key, in clear and encrypted, linked and not.
func TestClientKeygen(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.profile.KeyGeneration = est.KeysInClear
	client := newClient(t, serve(t, &est.Handler{Backend: a}, a.ca.server), a.ca)
	csr, key := newCSR(t, "device")
	got, err := client.ServerKeygen(t.Context(), csr, nil)
	if err != nil || key.Equal(got.Key) || got.Encrypted || got.Certificate.Subject.CommonName != "device" {
		t.Fatalf("%+v, %v", got, err)
	}
	a.profile.Link = est.LinkRequired
	got, err = client.ServerKeygenLinked(t.Context(), func(l est.Links) ([]byte, error) { return linkedCSR(t, key, "device", l.Best()), nil }, nil)
	if err != nil || got.Key == nil {
		t.Fatalf("linked: %v", err)
	}
}

// TestClientKeygenEncrypted asks for a key that only the client's certificate opens.
func TestClientKeygenEncrypted(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.anyone, a.profile.KeyGeneration = true, est.KeysEncrypted
	signer := a.ca.clientCert(t, "RA")
	h := &est.Handler{Backend: a, KeySigner: signer.PrivateKey.(crypto.Signer), KeySignerChain: []*x509.Certificate{signer.Leaf}}
	client := newClient(t, serve(t, h, a.ca.server), a.ca)
	who := rsaClient(t, a.ca, x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment)
	client.TLS.Certificates = []tls.Certificate{who}
	wish := wishFor(t, newKey(t), encrypted(oidAsymmDecryptKeyID, who.Leaf.SubjectKeyId, cmc.OIDAES256CBC))
	got, err := client.ServerKeygen(t.Context(), wish, who.PrivateKey.(*rsa.PrivateKey))
	if err != nil || !got.Encrypted || !got.Signer.Equal(signer.Leaf) {
		t.Fatalf("%+v, %v", got, err)
	}
}

// FuzzKeyAnswer: whatever is read as an answer has a key that its certificate is for.
func FuzzKeyAnswer(f *testing.F) {
	files, err := filepath.Glob("testdata/serverkeygen/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatalf("no files: %v", err)
	}
	for _, name := range files {
		body, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add("multipart/mixed; boundary=b1", body)
		f.Add("multipart/mixed ; boundary=estServerExampleBoundary", body)
	}
	block, _ := pem.Decode(readFile(f, "serverkeygen/recipient.key"))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		for _, recipient := range []*rsa.PrivateKey{nil, key.(*rsa.PrivateKey)} {
			got, err := est.ParseKeyAnswer(contentType, body, recipient)
			if err != nil {
				continue
			}
			public := got.Key.Public().(interface{ Equal(crypto.PublicKey) bool })
			if !public.Equal(got.Certificate.PublicKey) || got.Encrypted != (recipient != nil) {
				t.Fatalf("got %+v", got)
			}
		}
	})
}
