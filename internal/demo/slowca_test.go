package demo

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"callsign/certsrv/certsrvtest"
	"callsign/cmc"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/enterprise"
)

// libESTPatience is how long libEST waits for an answer before it reports EST_ERR_SSL_READ (35).
const libESTPatience = 10 * time.Second

// impatient is a client that asks as libEST does: TLS 1.2, a connection for each request, a password at once, and no
// second more than its patience.
type impatient struct {
	t        *testing.T
	address  string
	tls      *tls.Config
	body     string
	request  string
	key      *ecdsa.PrivateKey
	patience time.Duration // libESTPatience, unless a test is not about that
}

func newImpatient(t *testing.T, c *config.Config, name string) *impatient {
	t.Helper()
	roots, err := certfile.LoadPool(c.EST.LabCAFile)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	var body strings.Builder
	for text := base64.StdEncoding.EncodeToString(csr); text != ""; {
		n := min(64, len(text))
		body.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	i := &impatient{
		t: t, address: c.EST.Listen, key: key, patience: libESTPatience,
		tls: &tls.Config{
			RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12,
			CurvePreferences: []tls.CurveID{tls.CurveP256},
		},
		body: body.String(),
	}
	i.login(c.EST.LabUser, strings.TrimSpace(readFile(t, c.EST.LabPasswordFile)))
	return i
}

// login gives the client another user and password.
func (i *impatient) login(user, password string) {
	credentials := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	i.request = fmt.Sprintf("POST /.well-known/est/simpleenroll HTTP/1.1\r\nUser-Agent: libest 3.2.0p\r\nConnection: close\r\nHost: %s\r\n"+
		"Accept: */*\r\nContent-Type: application/pkcs10\r\nContent-Length: %d\r\nAuthorization: Basic %s\r\n\r\n%s",
		i.address, len(i.body), credentials, i.body)
}

// answered is what a client was told.
type answered struct {
	status      int
	retry       time.Duration // Retry-After
	challenge   string        // WWW-Authenticate
	text        string        // the body, unless it is a certificate
	certificate *x509.Certificate
}

// open connects, for as long as the client waits.
func (i *impatient) open() (*tls.Conn, error) {
	i.t.Helper()
	raw, err := (&net.Dialer{Timeout: i.patience}).DialContext(i.t.Context(), "tcp", i.address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, i.tls)
	return conn, conn.SetDeadline(time.Now().Add(i.patience))
}

// cacerts asks for the CA's certificates, without credentials, and keeps nothing of them.
func (i *impatient) cacerts() (answered, error) {
	i.t.Helper()
	a, _, err := i.exchange("GET /.well-known/est/cacerts HTTP/1.1\r\nUser-Agent: libest 3.2.0p\r\nConnection: close\r\nHost: " + i.address + "\r\nAccept: */*\r\n\r\n")
	return a, err
}

// ask sends the request and waits no longer than its patience. An error is what breaks the connection.
func (i *impatient) ask() (answered, error) {
	i.t.Helper()
	a, body, err := i.exchange(i.request)
	if err != nil || a.status != 200 {
		return a, err
	}
	der, err := base64.StdEncoding.DecodeString(strings.NewReplacer("\r", "", "\n", "").Replace(string(body)))
	if err != nil {
		return answered{}, err
	}
	certs, err := cmc.ParseCertsOnly(der)
	if err != nil {
		return answered{}, err
	}
	if len(certs) != 1 || !i.key.PublicKey.Equal(certs[0].PublicKey) {
		return answered{}, fmt.Errorf("%d certificates, want that of the request", len(certs))
	}
	a.certificate, a.text = certs[0], ""
	return a, nil
}

func (i *impatient) exchange(request string) (answered, []byte, error) {
	i.t.Helper()
	conn, err := i.open()
	if err != nil {
		return answered{}, nil, err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		return answered{}, nil, err
	}
	all, err := io.ReadAll(conn)
	if err != nil {
		return answered{}, nil, err
	}
	head, body, ok := bytes.Cut(all, []byte("\r\n\r\n"))
	if !ok {
		return answered{}, nil, fmt.Errorf("no header in %q", all)
	}
	a := answered{text: string(body)}
	for n, line := range strings.Split(string(head), "\r\n") {
		if n == 0 {
			if _, err := fmt.Sscanf(line, "HTTP/1.1 %d", &a.status); err != nil {
				return answered{}, nil, fmt.Errorf("status line %q: %w", line, err)
			}
		}
		if value, ok := strings.CutPrefix(line, "WWW-Authenticate: "); ok { // libEST knows no other spelling
			a.challenge = value
		}
		if value, ok := strings.CutPrefix(line, "Retry-After: "); ok { // spelled so, and seconds, or libEST reports error 62
			seconds, err := strconv.Atoi(value)
			if err != nil {
				return answered{}, nil, err
			}
			a.retry = time.Duration(seconds) * time.Second
		}
	}
	return a, body, nil
}

// certified repeats the request as it is told to, until it brings the certificate.
func (i *impatient) certified(patience time.Duration) (c *x509.Certificate, comeBacks int) {
	i.t.Helper()
	for deadline := time.Now().Add(patience); ; comeBacks++ {
		a, err := i.ask()
		switch {
		case err != nil:
			i.t.Fatalf("after %d answers: %v", comeBacks, err)
		case a.certificate != nil:
			return a.certificate, comeBacks
		case a.status != 202 || a.retry <= 0:
			i.t.Fatalf("answer %d: status %d, Retry-After %v", comeBacks+1, a.status, a.retry)
		case time.Now().After(deadline):
			i.t.Fatalf("no certificate after %v and %d answers", patience, comeBacks)
		}
		time.Sleep(a.retry)
	}
}

// oneRequest demands that the CA was asked once, and issued this certificate.
func oneRequest(t *testing.T, e *enterprise.Enterprise, c *x509.Certificate) {
	t.Helper()
	asked, issued := e.Server().Requests(), e.Server().Issued()
	if len(asked) != 1 || len(issued) != 1 {
		t.Fatalf("the CA has %d requests and issued %d certificates, want one", len(asked), len(issued))
	}
	if !bytes.Equal(issued[0].Certificate, c.Raw) {
		t.Error("the client has another certificate than the CA issued")
	}
}

// TestSlowCA: the CA needs 12 s, a client of libEST's kind waits 10. With the settings as they come it is told in time to
// come back, and its request reaches the CA once.
func TestSlowCA(t *testing.T) {
	t.Parallel()
	p := newProduct(t, config.IssuerOnlineCA, nil)
	if want := 6 * time.Second; p.c.RA.AnswerWithin != want {
		t.Fatalf("ra.answer_within is %v by itself, want %v", p.c.RA.AnswerWithin, want)
	}
	p.start()
	p.ready()
	p.behave("slow=12s")
	began := time.Now()
	client := newImpatient(t, p.c, "slow-1")
	a, err := client.ask()
	if err != nil {
		// On a machine so busy that the 4 s between answer and patience were not enough: who gives up comes back.
		t.Logf("after %v: %v", time.Since(began), err)
		a, err = client.ask()
		if err == nil && a.certificate != nil {
			return
		}
	}
	if waited := time.Since(began); err != nil || a.status != 202 || a.retry <= 0 || waited < 5*time.Second {
		t.Fatalf("after %v: %+v, %v; want 202 with Retry-After", waited, a, err)
	}
	time.Sleep(a.retry)
	c, _ := client.certified(time.Minute)
	if waited := time.Since(began); waited < 12*time.Second {
		t.Errorf("the certificate of a CA that needs 12 s came after %v", waited)
	}
	oneRequest(t, p.enterprise, c)
}

// muffler stands between the RA and the web server of the CA. What the CA says once it has a request does not come
// through, until it is opened.
type muffler struct {
	listener net.Listener
	to       string
	heard    func() bool // the CA has the request
	open     chan struct{}
	wg       sync.WaitGroup
}

// muffle lets c's RA speak to the CA of e through a muffler.
func muffle(t *testing.T, c *config.Config, e *enterprise.Enterprise) *muffler {
	t.Helper()
	m := &muffler{
		listener: listen(t), to: strings.TrimSuffix(strings.TrimPrefix(e.URL, "https://"), "/certsrv"), open: make(chan struct{}),
		heard: func() bool { return len(e.Server().Requests()) > 0 },
	}
	c.ADCS.ConnectTo = m.listener.Addr().String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	m.wg.Go(func() {
		for {
			in, err := m.listener.Accept()
			if err != nil {
				return
			}
			m.wg.Go(func() { m.carry(ctx, in) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = m.listener.Close()
		m.wg.Wait()
	})
	return m
}

func (m *muffler) carry(ctx context.Context, in net.Conn) {
	defer in.Close()
	out, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.to)
	if err != nil {
		return
	}
	defer out.Close()
	stop := context.AfterFunc(ctx, func() { _ = errors.Join(in.Close(), out.Close()) })
	defer stop()
	m.wg.Go(func() {
		_, _ = io.Copy(out, in) // ends with either connection
		_ = out.Close()
	})
	buffer := make([]byte, 16<<10)
	for {
		n, err := out.Read(buffer)
		if err != nil {
			return
		}
		if m.heard() {
			select {
			case <-m.open:
			case <-ctx.Done():
				return
			}
		}
		if _, err := in.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// TestKilledBetweenSubmissionAndAnswer: the server process is killed while the CA has the request and its answer is on
// the way. The client comes back to the server that is started again, gets the certificate, and the CA was asked once.
func TestKilledBetweenSubmissionAndAnswer(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, when := range []string{"before the client is answered", "after the client was told to come back"} {
		together(t, &wg, when, func(t *testing.T) {
			c, e := newDeployment(t, config.IssuerOnlineCA, func(c *config.Config) {
				c.RA.RetryAfter = time.Second
				if when != "before the client is answered" {
					c.RA.AnswerWithin = 2 * time.Second
				}
			})
			m := muffle(t, c, e)
			if err := certfile.WriteFile(c.Path, []byte(config.Render(*c)), 0o600); err != nil {
				t.Fatal(err)
			}
			s := startServer(t, c.Path, 0)
			defer func() { s.stop(t) }()
			client := newImpatient(t, c, "killed-1")
			type told struct {
				answered
				err error
			}
			first := make(chan told, 1)
			go func() {
				a, err := client.ask()
				if when != "before the client is answered" && err != nil {
					// As in TestSlowCA: on a busy machine a client may have to come back without having been told.
					t.Logf("first try: %v", err)
					a, err = client.ask()
				}
				first <- told{a, err}
			}()
			if when == "before the client is answered" {
				for deadline := time.Now().Add(2 * time.Minute); !m.heard(); time.Sleep(time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatal("the request does not reach the CA")
					}
				}
			} else if a := <-first; a.err != nil || a.status != 202 {
				t.Fatalf("first answer %+v, %v; want 202", a.answered, a.err)
			}
			if err := s.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-s.done
			if when == "before the client is answered" {
				if a := <-first; a.err == nil {
					t.Errorf("the killed server answered %d", a.status)
				}
			}
			if r := e.Server().Requests(); len(r) != 1 || r[0].Disposition != certsrvtest.DispositionIssued {
				t.Fatalf("requests at the CA when the server was killed: %+v", r)
			}
			close(m.open)
			s = startServer(t, c.Path, 0)
			certificate, _ := client.certified(30 * time.Second)
			oneRequest(t, e, certificate)
			again, err := client.ask()
			if err != nil || !certificate.Equal(again.certificate) {
				t.Errorf("asked once more: status %d, %v; want the same certificate", again.status, err)
			}
			oneRequest(t, e, certificate)
		})
	}
}
