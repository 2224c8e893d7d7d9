package app_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"callsign/cmc"
	"callsign/est"
	"callsign/internal/app"
	"callsign/internal/ca/local"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/setup"
)

// BenchmarkEST measures simpleenroll at the whole server as serve runs it: setup's deployment with a local P-256 CA, its
// log and its traces on, the database on disk with every commit synchronous; clients that each make a new TLS 1.2
// connection for each request, verify the server, and show a certificate of theirs or send a password at once. Clients and
// server share the processors. Beside it, in turns, the same clients send the same bytes to a handler of net/http with
// the same certificate and TLS settings that answers a constant of the same length: ratio is what of its rate is left as
// enrolments, cpu-ratio the same by processor time, which a busy machine disturbs less and in which waiting does not
// count. Times are of one request with its connection. One operation is one enrolment and one request of the bare kind.
func BenchmarkEST(b *testing.B) {
	type kind struct {
		login, key string
		atOnce     int
	}
	var kinds []kind
	for _, key := range []string{"p256", "rsa2048"} {
		for _, login := range []string{"certificate", "password"} {
			for _, atOnce := range []int{16, 64} {
				kinds = append(kinds, kind{login, key, atOnce})
			}
		}
	}
	for _, k := range kinds {
		b.Run(fmt.Sprintf("%s/%s/%d-clients", k.key, k.login, k.atOnce), func(b *testing.B) {
			atOnce := k.atOnce
			w := startESTBench(b)
			if k.login == "certificate" {
				w.certify(b)
			}
			keys := p256Keys(b)
			if k.key == "rsa2048" {
				keys = fewRSAKeys(b)
			}
			requests := w.requests(b, b.N, keys)
			var enrolled, bare timed
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += round {
				turn := requests[i:min(i+round, b.N)]
				bare.add(w.send(b, atOnce, w.bare, turn))
				enrolled.add(w.send(b, atOnce, w.est, turn))
			}
			b.StopTimer()
			n := float64(b.N)
			b.ReportMetric(n/enrolled.wall.Seconds(), "enrolments/s")
			b.ReportMetric(n/bare.wall.Seconds(), "bare/s")
			b.ReportMetric(bare.wall.Seconds()/enrolled.wall.Seconds(), "ratio")
			b.ReportMetric(bare.cpu.Seconds()/enrolled.cpu.Seconds(), "cpu-ratio")
			b.ReportMetric(enrolled.cpu.Seconds()*1000/n, "cpu-ms/enrolment")
			b.ReportMetric(bare.cpu.Seconds()*1000/n, "cpu-ms/bare")
			for _, p := range []int{50, 99} {
				b.ReportMetric(enrolled.percentile(p), fmt.Sprintf("p%d-ms", p))
				b.ReportMetric(bare.percentile(p), fmt.Sprintf("bare-p%d-ms", p))
			}
			w.check(b, requests[len(requests)-1])
		})
	}
}

// timed is what turns took, and each request of theirs.
type timed struct {
	spent
	each []time.Duration
}

func (t *timed) add(o timed) {
	t.spent.add(o.spent)
	t.each = append(t.each, o.each...)
}

// percentile returns the time in milliseconds within which so many percent of the requests were answered.
func (t *timed) percentile(p int) float64 {
	slices.Sort(t.each)
	return float64(t.each[(len(t.each)-1)*p/100]) / float64(time.Millisecond)
}

// estBench is a running server and, beside it, a listener that answers a constant.
type estBench struct {
	tls       *tls.Config // of the clients
	est, bare string      // addresses
	password  string
	own       []*tls.Config // tls with a client's certificate each; none: they send the password
}

// estRequest is an HTTP request as it goes over the wire.
type estRequest struct {
	text []byte
	key  crypto.PublicKey
	tls  *tls.Config
}

func startESTBench(b *testing.B) *estBench {
	b.Helper()
	dir := b.TempDir()
	d, err := setup.New(b.Context(), setup.Options{Dir: dir, Issuer: config.IssuerLocal, Host: "127.0.0.1", AnyPort: true, Key: local.P256})
	if err != nil {
		b.Fatal(err)
	}
	d.Config.EST.ClientCAFile = d.Config.CA.CertificateFile // whom the CA has certified
	if err := certfile.WriteFile(d.Config.Path, []byte(config.Render(d.Config)), 0o600); err != nil {
		b.Fatal(err)
	}
	c, err := config.Load(d.Config.Path)
	if err != nil {
		b.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "serve.log"))
	if err != nil {
		b.Fatal(err)
	}
	a, err := app.Start(b.Context(), app.Options{Config: c, Handler: slog.NewJSONHandler(log, &slog.HandlerOptions{Level: c.Log.SlogLevel()})})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(a.Stop(context.Background()), log.Close()); err != nil {
			b.Error(err)
		}
	})
	if err := a.WaitReady(b.Context()); err != nil {
		b.Fatal(err)
	}
	roots, err := certfile.LoadPool(c.EST.LabCAFile)
	if err != nil {
		b.Fatal(err)
	}
	password, err := os.ReadFile(c.EST.LabPasswordFile)
	if err != nil {
		b.Fatal(err)
	}
	w := &estBench{
		tls: &tls.Config{
			RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12,
			CurvePreferences: []tls.CurveID{tls.CurveP256},
		},
		est:      strings.TrimSuffix(strings.TrimPrefix(a.Endpoints().EST, "https://"), "/.well-known/est"),
		password: strings.TrimSpace(string(password)),
	}
	// The first password costs a bcrypt, which nobody measures here.
	warm := w.requests(b, 1, p256Keys(b))[0]
	answer, err := w.ask(b.Context(), w.est, warm)
	if err != nil {
		b.Fatal(err)
	}
	w.bare = bareServer(b, c, answer)
	return w
}

// bareServer answers a constant with the settings of the EST listener, and does nothing else.
func bareServer(b *testing.B, c *config.Config, answer []byte) string {
	b.Helper()
	pair, err := certfile.LoadKeyPair(c.EST.CertificateFile, c.EST.KeyFile)
	if err != nil {
		b.Fatal(err)
	}
	_, body, ok := bytes.Cut(answer, []byte("\r\n\r\n"))
	if !ok {
		b.Fatalf("no body in %q", answer)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{
		TLSConfig: est.ServerTLS(&tls.Config{Certificates: []tls.Certificate{pair.TLS()}, MinVersion: tls.VersionTLS12}),
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				b.Errorf("read a request: %v", err)
			}
			w.Header().Set("Content-Type", "application/pkcs7-mime")
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			if _, err := w.Write(body); err != nil {
				b.Errorf("write an answer: %v", err)
			}
		}),
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.ServeTLS(l, "", "") }) // ends with Close
	b.Cleanup(func() {
		_ = server.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// requests makes certificate requests with the keys in turn, each with a name of its own.
func (w *estBench) requests(b *testing.B, n int, keys []crypto.Signer) []estRequest {
	b.Helper()
	all := make([]estRequest, n)
	auth, own := "", []*tls.Config{w.tls}
	if w.own == nil {
		auth = "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("device:"+w.password)) + "\r\n"
	} else {
		own = w.own
	}
	for i := range all {
		key := keys[i%len(keys)]
		name := "client-" + strconv.Itoa(i) + "-" + rand.Text()[:8]
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
			Subject: pkix.Name{CommonName: name}, DNSNames: []string{name + ".example.com"},
		}, key)
		if err != nil {
			b.Fatal(err)
		}
		body := base64.StdEncoding.EncodeToString(der)
		all[i] = estRequest{key: key.Public(), tls: own[i%len(own)], text: fmt.Appendf(nil, "POST /.well-known/est/simpleenroll HTTP/1.1\r\nUser-Agent: bench\r\nConnection: close\r\n"+
			"Host: 127.0.0.1:8084\r\nAccept: */*\r\nContent-Type: application/pkcs10\r\nContent-Length: %d\r\n%s\r\n%s", len(body), auth, body)}
	}
	return all
}

// ask sends a request on a connection of its own and returns the answer, whose status must be 200.
func (w *estBench) ask(ctx context.Context, addr string, r estRequest) ([]byte, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, r.tls)
	defer conn.Close()
	if _, err := conn.Write(r.text); err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
		return nil, fmt.Errorf("answered %.200q", answer)
	}
	return answer, nil
}

// send asks for all requests, atOnce at a time.
func (w *estBench) send(b *testing.B, atOnce int, addr string, requests []estRequest) timed {
	b.Helper()
	t := timed{each: make([]time.Duration, len(requests))}
	var next atomic.Int64
	var wg sync.WaitGroup
	began, used := time.Now(), processor(b)
	for range min(atOnce, len(requests)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(requests); i = int(next.Add(1)) - 1 {
				start := time.Now()
				if _, err := w.ask(b.Context(), addr, requests[i]); err != nil {
					b.Error(err)
				}
				t.each[i] = time.Since(start)
			}
		})
	}
	wg.Wait()
	t.wall, t.cpu = time.Since(began), processor(b)-used
	return t
}

// certify lets clients enrol by password, who from then on show their certificates.
func (w *estBench) certify(b *testing.B) {
	b.Helper()
	keys := p256Keys(b)
	var own []*tls.Config
	for i, r := range w.requests(b, len(keys), keys) {
		tc := w.tls.Clone()
		tc.Certificates = []tls.Certificate{{Certificate: [][]byte{w.check(b, r).Raw}, PrivateKey: keys[i]}}
		own = append(own, tc)
	}
	w.own = own
}

// check asks and looks whether the answer is the certificate of the key. Asked again, a request brings the same one.
func (w *estBench) check(b *testing.B, r estRequest) *x509.Certificate {
	b.Helper()
	answer, err := w.ask(b.Context(), w.est, r)
	if err != nil {
		b.Fatal(err)
	}
	_, body, _ := bytes.Cut(answer, []byte("\r\n\r\n"))
	der, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(body), "\r\n", ""))
	if err != nil {
		b.Fatal(err)
	}
	certs, err := cmc.ParseCertsOnly(der)
	if err != nil {
		b.Fatal(err)
	}
	if key, ok := certs[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || len(certs) != 1 || !key.Equal(r.key) {
		b.Errorf("%d certificates, want that of the request", len(certs))
	}
	return certs[0]
}

func p256Keys(b *testing.B) []crypto.Signer {
	b.Helper()
	keys := make([]crypto.Signer, 256)
	for i := range keys {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		keys[i] = key
	}
	return keys
}

// fewRSAKeys makes keys that sign, of which the requests share a few: each has a name of its own and is a request of its
// own.
func fewRSAKeys(b *testing.B) []crypto.Signer {
	b.Helper()
	keys := make([]crypto.Signer, 16)
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			b.Fatal(err)
		}
		keys[i] = key
	}
	return keys
}
