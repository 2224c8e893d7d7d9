package capf

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// notes is a log in memory.
type notes struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (n *notes) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.Write(b)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.String()
}

func (n *notes) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(n, &slog.HandlerOptions{Level: level}))
}

var (
	rsa2048 = KeySpec{KeyRSA, 2048}
	ec256   = KeySpec{KeyEC, 256}
)

// keyElement is element 9 with a new key.
func keyElement(t *testing.T, k KeySpec) Element {
	t.Helper()
	key, err := GenerateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	spki, _, err := marshalPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return Element{TagPublicKey, spki}
}

// TestSessions plays phones of all kinds in a bubble, where time passes at once.
func TestSessions(t *testing.T) {
	t.Parallel()
	installEC := Task{Operation: OperationInstall, Keys: []KeySpec{ec256}}
	ok, no := reasonElement(ReasonUpdateCertificate), reasonElement(ReasonInvalidElement)
	tests := []struct {
		name  string
		svc   *service
		play  func(t *testing.T, p *peer)
		calls []string
		cause string // substring of Abort's cause
		log   []string
	}{
		{
			name: "install", svc: &service{task: installEC},
			play: func(t *testing.T, p *peer) {
				p.hello(3)
				p.expect(KeyGenerateRequest)
				p.send(KeyGenerateResponse, keyElement(t, ec256))
				p.expect(StoreCertificateRequest)
				p.send(StoreCertificateResponse, ok)
				p.end(ReasonUpdateCertificate)
			},
			calls: []string{"open", "issue", "stored 1"},
		},
		{
			name: "slow phone says that it is at work", svc: &service{task: installEC},
			play: func(t *testing.T, p *peer) {
				p.hello(3)
				p.expect(KeyGenerateRequest)
				for range 5 {
					time.Sleep(100 * time.Second)
					p.send(RequestInProgress)
				}
				time.Sleep(100 * time.Second)
				p.send(KeyGenerateResponse, keyElement(t, ec256))
				p.expect(StoreCertificateRequest)
				p.send(StoreCertificateResponse, ok)
				p.end(ReasonUpdateCertificate)
			},
			calls: []string{"open", "issue", "stored 1"},
		},
		{
			name: "phone at work for ever", svc: &service{task: installEC},
			play: func(_ *testing.T, p *peer) {
				p.hello(3)
				p.expect(KeyGenerateRequest)
				for range 8 {
					time.Sleep(100 * time.Second)
					p.send(RequestInProgress)
				}
				time.Sleep(99 * time.Second)
				p.end(ReasonInvalidElement)
			},
			calls: []string{"open", "abort"}, cause: "took too long", log: []string{CodeTimedOut},
		},
		{
			name: "phone silent about its key", svc: &service{task: installEC},
			play: func(t *testing.T, p *peer) {
				p.hello(3)
				p.expect(KeyGenerateRequest)
				began := time.Now()
				p.end(ReasonInvalidElement)
				if d := time.Since(began); d != DefaultKeyTimeout {
					t.Errorf("ended after %v", d)
				}
			},
			calls: []string{"open", "abort"}, cause: "silent", log: []string{CodeSilentPeer, "level=WARN"},
		},
		{
			name: "silence after AUTH_REQUEST", svc: &service{},
			play: func(_ *testing.T, p *peer) {
				p.expect(AuthRequest)
				p.end(ReasonInvalidElement)
			},
			log: []string{CodeSilentPeer, "remedy="},
		},
		{
			name: "phone hangs up", svc: &service{task: installEC},
			play: func(_ *testing.T, p *peer) {
				p.hello(3)
				p.expect(KeyGenerateRequest)
				_ = p.conn.Close()
			},
			calls: []string{"open", "abort"}, cause: "peer closed", log: []string{CodeConnectionLost, "told=false"},
		},
		{
			name: "offer taken", svc: &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}, Offer: []byte{0x30, 0}}},
			play: func(t *testing.T, p *peer) {
				p.hello(3)
				m := p.expect(StoreCertificateRequest)
				if v, _ := m.Element(TagCertificate); !bytes.Equal(v, []byte{1, 0, 4, 0, 1, 0x30, 0}) {
					t.Errorf("offered % x", v)
				}
				p.send(StoreCertificateResponse, ok)
				p.end(ReasonUpdateCertificate)
			},
			calls: []string{"open", "stored 1"},
		},
		{
			name: "offer declined, new key in the same session", svc: &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}, Offer: []byte{0x30, 0}}},
			play: func(t *testing.T, p *peer) {
				p.hello(3)
				p.expect(StoreCertificateRequest)
				p.send(StoreCertificateResponse, no)
				p.expect(KeyGenerateRequest)
				p.send(KeyGenerateResponse, keyElement(t, ec256))
				p.expect(StoreCertificateRequest)
				p.send(StoreCertificateResponse, ok)
				p.end(ReasonUpdateCertificate)
			},
			calls: []string{"open", "stored 7", "issue", "stored 1"},
		},
		{
			name: "phone does not store", svc: &service{task: installEC},
			play: func(t *testing.T, p *peer) {
				p.hello(3)
				p.expect(KeyGenerateRequest)
				p.send(KeyGenerateResponse, keyElement(t, ec256))
				p.expect(StoreCertificateRequest)
				p.send(StoreCertificateResponse, reasonElement(5))
				p.end(ReasonInvalidElement)
			},
			calls: []string{"open", "issue", "stored 5", "abort"}, cause: "reason 5", log: []string{"capf.unknown_reason", "hex=05", CodePhoneFailure},
		},
		{
			name: "EC declined, RSA backup", svc: &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256, rsa2048}}},
			play: func(t *testing.T, p *peer) {
				p.hello(3)
				if k, err := keySpecOf(p.expect(KeyGenerateRequest)); err != nil || k != ec256 {
					t.Errorf("asked for %v, %v", k, err)
				}
				p.send(KeyGenerateResponse, no)
				if k, err := keySpecOf(p.expect(KeyGenerateRequest)); err != nil || k != rsa2048 {
					t.Errorf("asked for %v, %v", k, err)
				}
				p.send(KeyGenerateResponse, no)
				p.end(ReasonInvalidElement)
			},
			calls: []string{"open", "abort"}, cause: "KEY_GENERATE_RESPONSE: reason 7", log: []string{"capf.key_declined", CodePhoneFailure},
		},
		{
			name: "version 2 is asked for RSA at once", svc: &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256, rsa2048}}},
			play: func(t *testing.T, p *peer) {
				p.hello(2)
				if diff := cmp.Diff([]Element{{TagKeySize, []byte{8, 0}}}, p.expect(KeyGenerateRequest).Elements); diff != "" {
					t.Errorf("elements (-want +got):\n%s", diff)
				}
				p.send(KeyGenerateResponse, reasonElement(7))
				p.end(ReasonInvalidElement)
			},
			calls: []string{"open", "abort"}, cause: "reason 7",
		},
		{
			name: "EC only and version 2", svc: &service{task: installEC},
			play: func(_ *testing.T, p *peer) {
				p.hello(2)
				p.end(ReasonInvalidElement)
			},
			calls: []string{"open", "abort"}, cause: "version 2", log: []string{CodeNoUsableKey},
		},
		{
			name: "version 9 counts as 3", svc: &service{task: installEC},
			play: func(_ *testing.T, p *peer) {
				p.hello(9)
				p.expect(KeyGenerateRequest)
				p.send(KeyGenerateResponse, no)
				p.end(ReasonInvalidElement)
			},
			calls: []string{"open", "abort"}, cause: "reason 7", log: []string{"capf.unknown_version"},
		},
		{
			name: "another key", svc: &service{task: installEC},
			play: func(t *testing.T, p *peer) {
				p.hello(3)
				p.expect(KeyGenerateRequest)
				p.send(KeyGenerateResponse, keyElement(t, KeySpec{KeyEC, 384}))
				p.end(ReasonInvalidElement)
			},
			calls: []string{"open", "abort"}, cause: "asked for the key ec:256, got ec:384", log: []string{CodeOtherKey, "accept_other_key"},
		},
		{
			name: "another key is welcome", svc: &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}, AcceptOtherKey: true}},
			play: func(t *testing.T, p *peer) {
				p.hello(3)
				p.expect(KeyGenerateRequest)
				p.send(KeyGenerateResponse, keyElement(t, KeySpec{KeyEC, 384}))
				p.expect(StoreCertificateRequest)
				p.send(StoreCertificateResponse, ok)
				p.end(ReasonUpdateCertificate)
			},
			calls: []string{"open", "issue", "stored 1"},
		},
		{
			name: "no key at all", svc: &service{task: installEC},
			play: func(_ *testing.T, p *peer) {
				p.hello(3)
				p.expect(KeyGenerateRequest)
				p.send(KeyGenerateResponse, Element{TagPublicKey, []byte("no key")})
				p.end(ReasonInvalidElement)
			},
			calls: []string{"open", "abort"}, cause: "does not parse", log: []string{CodeBadPublicKey},
		},
		{
			name: "authority is slow",
			svc: &service{task: installEC, issue: func(ctx context.Context, _ []byte) ([]byte, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}},
			play: func(t *testing.T, p *peer) {
				p.hello(3)
				p.expect(KeyGenerateRequest)
				p.send(KeyGenerateResponse, keyElement(t, ec256))
				began := time.Now()
				p.end(ReasonInvalidElement)
				if d := time.Since(began); d != DefaultAnswerWithin {
					t.Errorf("ended after %v", d)
				}
			},
			calls: []string{"open", "issue", "abort"}, cause: ErrNotReady.Error(), log: []string{CodeNotReady},
		},
		{
			name: "authority refuses",
			svc: &service{task: installEC, issue: func(context.Context, []byte) ([]byte, error) {
				return nil, &Refusal{Reason: ReasonInvalidElement, Result: ResultFail, Err: errors.New("template not offered")}
			}},
			play: func(t *testing.T, p *peer) {
				p.hello(3)
				p.expect(KeyGenerateRequest)
				p.send(KeyGenerateResponse, keyElement(t, ec256))
				p.end(ReasonInvalidElement)
			},
			calls: []string{"open", "issue", "abort"}, cause: "template not offered",
		},
		{
			name: "storage fails when the phone has stored",
			svc:  &service{task: installEC, stored: func(context.Context, []byte, Reason) error { return errors.New("disk full") }},
			play: func(t *testing.T, p *peer) {
				p.hello(3)
				p.expect(KeyGenerateRequest)
				p.send(KeyGenerateResponse, keyElement(t, ec256))
				p.expect(StoreCertificateRequest)
				p.send(StoreCertificateResponse, ok)
				p.end(ReasonInvalidElement)
			},
			calls: []string{"open", "issue", "stored 1"}, log: []string{"disk full", "level=WARN"},
		},
		{
			name: "service panics",
			svc:  &service{task: installEC, issue: func(context.Context, []byte) ([]byte, error) { panic("defect") }},
			play: func(t *testing.T, p *peer) {
				p.hello(3)
				p.expect(KeyGenerateRequest)
				p.send(KeyGenerateResponse, keyElement(t, ec256))
				p.end(ReasonInvalidElement)
			},
			calls: []string{"open", "issue", "abort"}, cause: "internal error", log: []string{"level=ERROR", "defect", "stack=", "server_test.go"},
		},
		{
			name: "status request", svc: &service{},
			play: func(_ *testing.T, p *peer) {
				p.expect(AuthRequest)
				p.send(StatusRequest, Element{99, []byte{0xab, 0xcd}})
				if r, _ := p.expect(StatusResponse).Reason(); r != ReasonUpdateCertificate {
					p.tb.Errorf("status %v", r)
				}
				p.send(AuthResponse, ok, byteElement(TagVersion, 3), textElement(TagDeviceName, []byte("SEP1")))
				p.end(ReasonNoAction)
			},
			calls: []string{"open"}, log: []string{"capf.status_request", "abcd", "capf.unknown_element"},
		},
		{
			name: "phone aborts", svc: &service{task: installEC},
			play: func(_ *testing.T, p *peer) {
				p.hello(3)
				p.expect(KeyGenerateRequest)
				p.send(AbortRequest, reasonElement(4))
				if r, _ := p.expect(AbortResponse).Reason(); r != ReasonUpdateCertificate {
					p.tb.Errorf("answer %v", r)
				}
				if m, err := ReadMessage(p.conn, MaxBody); !errors.Is(err, io.EOF) {
					p.tb.Errorf("after the abort: %v, %v", m, err)
				}
			},
			calls: []string{"open", "abort"}, cause: "ABORT_REQUEST: reason 4", log: []string{CodePhoneFailure},
		},
		{
			name: "wrong session id", svc: &service{task: installEC},
			play: func(_ *testing.T, p *peer) {
				p.hello(3)
				p.expect(KeyGenerateRequest)
				p.session++
				p.send(KeyGenerateResponse, no)
				p.end(ReasonInvalidElement)
			},
			calls: []string{"open", "abort"}, cause: "session 2 in session 1", log: []string{CodeWrongSessionID},
		},
		{
			name: "wrong protocol id", svc: &service{},
			play: func(_ *testing.T, p *peer) {
				p.expect(AuthRequest)
				p.write([]byte("GET / HT"))
				p.end(ReasonInvalidElement)
			},
			log: []string{CodeBadProtocolID, "remedy=", "level=WARN"},
		},
		{
			name: "too much before authentication", svc: &service{},
			play: func(_ *testing.T, p *peer) {
				p.expect(AuthRequest)
				p.write([]byte{0x55, 2, 0, 0, 0, 1, 0x40, 1})
				p.end(ReasonInvalidElement)
			},
			log: []string{CodeMessageTooLong},
		},
		{
			name: "element over the end shows no secret", svc: &service{},
			play: func(_ *testing.T, p *peer) {
				p.expect(AuthRequest)
				p.write([]byte("\x55\x02\x00\x00\x00\x01\x00\x0b\x0b\x00\x05987650\x0d\x01"))
				p.end(ReasonInvalidElement)
			},
			log: []string{CodeElementOverEnd, redacted},
		},
		{
			name: "no device name", svc: &service{},
			play: func(_ *testing.T, p *peer) {
				p.expect(AuthRequest)
				p.send(AuthResponse, ok, byteElement(TagVersion, 3))
				p.end(ReasonInvalidElement)
			},
			log: []string{CodeMissingElement, "DEVICE_NAME"},
		},
		{
			name: "device name with a line break", svc: &service{},
			play: func(_ *testing.T, p *peer) {
				p.expect(AuthRequest)
				p.send(AuthResponse, ok, byteElement(TagVersion, 3), textElement(TagDeviceName, []byte("SEP1\nlevel=FAKE")))
				p.end(ReasonInvalidElement)
			},
			log: []string{CodeBadElement, `SEP1\\nlevel`},
		},
		{
			name: "phone reports a failure in AUTH_RESPONSE", svc: &service{},
			play: func(_ *testing.T, p *peer) {
				p.expect(AuthRequest)
				p.send(AuthResponse, no, byteElement(TagVersion, 3), textElement(TagDeviceName, []byte("SEP1")))
				p.end(ReasonInvalidElement)
			},
			log: []string{CodePhoneFailure},
		},
		{
			name: "fetch with two certificates", svc: &service{task: Task{Operation: OperationTroubleshoot}},
			play: func(_ *testing.T, p *peer) {
				p.hello(3)
				p.expect(FetchCertificateRequest)
				p.send(FetchCertificateResponse, ok, Element{TagCertificate, []byte{1, 0, 4, 0, 1, 0x30, 0, 1, 0, 4, 0, 2, 0x30, 0}})
				p.end(ReasonNoAction)
			},
			calls: []string{"open", "fetched 1"},
		},
		{
			name: "fetch answered with a broken package", svc: &service{task: Task{Operation: OperationTroubleshoot}},
			play: func(_ *testing.T, p *peer) {
				p.hello(3)
				p.expect(FetchCertificateRequest)
				p.send(FetchCertificateResponse, ok, Element{TagCertificate, []byte{1, 0, 9, 0, 1, 0x30, 0}})
				p.end(ReasonInvalidElement)
			},
			calls: []string{"open", "abort"}, cause: "certificate entry", log: []string{CodeElementOverEnd},
		},
		{
			name: "delete answered with an unknown reason", svc: &service{task: Task{Operation: OperationDelete}},
			play: func(_ *testing.T, p *peer) {
				p.hello(3)
				p.expect(DeleteCertificateRequest)
				p.send(DeleteCertificateResponse, reasonElement(3), Element{TagReasonInfo, []byte("flash\x00")})
				p.end(ReasonInvalidElement)
			},
			calls: []string{"open", "abort"}, cause: `"flash"`, log: []string{"hex=03"},
		},
	}
	for _, c := range []Command{RetryLater, EncryptResponse, DecryptResponse, StatusResponse, AbortResponse, SignCertificateResponse, AuthResponse, 99} {
		tests = append(tests, struct {
			name  string
			svc   *service
			play  func(t *testing.T, p *peer)
			calls []string
			cause string
			log   []string
		}{
			name: "unexpected " + c.String(), svc: &service{task: installEC},
			play: func(_ *testing.T, p *peer) {
				p.hello(3)
				p.expect(KeyGenerateRequest)
				p.send(c, Element{TagPassword, []byte("987650")}, Element{77, []byte{0xfe, 0xed}})
				p.end(ReasonInvalidElement)
			},
			calls: []string{"open", "abort"}, cause: c.String(),
			log: []string{"capf.unexpected", fmt.Sprintf("hex=55%02x", uint8(c)), "4d0002feed", CodeUnexpectedCommand, "device=SEP0000000000D1"},
		})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log notes
				l := serveFor(t, &Server{Service: tt.svc, Log: log.logger(slog.LevelInfo)})
				p := &peer{tb: t, conn: l.dial()}
				tt.play(t, p)
				_ = p.conn.Close()
				synctest.Wait()
				if diff := cmp.Diff(tt.calls, tt.svc.history()); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
				cause := tt.svc.aborted()
				if (cause == nil) != (tt.cause == "") || cause != nil && !strings.Contains(cause.Error(), tt.cause) {
					t.Errorf("aborted with %v, want %q", cause, tt.cause)
				}
				text := log.String()
				for _, want := range append(tt.log, "event=capf.end_session") {
					if !strings.Contains(text, want) {
						t.Errorf("log lacks %q:\n%s", want, text)
					}
				}
				if strings.Contains(text, "987650") || strings.Contains(text, fmt.Sprintf("%x", "987650")) {
					t.Errorf("log shows the authentication string:\n%s", text)
				}
			})
		})
	}
}

// TestEvents pins the events of an install, in order: other rooms render traces from them.
func TestEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log notes
		svc := &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}}}
		l := serveFor(t, &Server{Service: svc, Log: log.logger(slog.LevelDebug)})
		conn := l.dial()
		client := &Client{Device: "SEP0000000000D1", Keeper: &Memory{}}
		if _, err := client.Run(context.WithoutCancel(t.Context()), conn); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		synctest.Wait()
		var got []string
		for line := range strings.Lines(log.String()) {
			_, rest, _ := strings.Cut(line, "event=")
			event, _, _ := strings.Cut(rest, " ")
			got = append(got, event)
		}
		want := []string{
			"capf.session", "capf.hello", "capf.accepted", "capf.key_requested", "capf.key_received", "capf.issue", "capf.issued",
			"capf.store", "capf.store_sent", "capf.store_answered", "capf.stored", "capf.ending", "capf.end_session",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events (-want +got):\n%s\n%s", diff, log.String())
		}
	})
}

// TestCloseWait shows that the server waits for the phone's close, and not longer than it should.
func TestCloseWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := serveFor(t, &Server{Service: &service{}})
		p := &peer{tb: t, conn: l.dial()}
		p.hello(3)
		p.expect(EndSession)
		began := time.Now()
		if _, err := p.conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read: %v", err)
		}
		if d := time.Since(began); d != DefaultCloseWait {
			t.Errorf("closed after %v", d)
		}
	})
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	t.Run("finishes what runs and closes what is idle", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			svc := &service{task: Task{Operation: OperationDelete}}
			s := &Server{Service: svc}
			l := serveFor(t, s)
			silent := &peer{tb: t, conn: l.dial()}
			silent.expect(AuthRequest)
			active := &peer{tb: t, conn: l.dial()}
			active.hello(3)
			active.expect(DeleteCertificateRequest)
			done := make(chan error, 1)
			go func() { done <- s.Shutdown(context.Background()) }()
			if _, err := ReadMessage(silent.conn, MaxBody); !errors.Is(err, io.EOF) {
				t.Errorf("idle connection: %v", err)
			}
			active.send(DeleteCertificateResponse, reasonElement(1))
			active.end(ReasonUpdateCertificate)
			if err := <-done; err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff([]string{"open", "deleted 1"}, svc.history()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	})
	t.Run("does not wait for a phone that does not close", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &Server{Service: &service{}}
			l := serveFor(t, s)
			p := &peer{tb: t, conn: l.dial()}
			p.hello(3)
			p.expect(EndSession)
			synctest.Wait()
			began := time.Now()
			if err := s.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			if d := time.Since(began); d > lingerStopping {
				t.Errorf("took %v", d)
			}
		})
	})
	t.Run("cuts at its limit and tells phone and service", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			waiting := &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}}}
			s := &Server{Service: waiting}
			l := serveFor(t, s)
			p := &peer{tb: t, conn: l.dial()}
			p.hello(3)
			p.expect(KeyGenerateRequest)
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- s.Shutdown(ctx) }()
			p.end(ReasonInvalidElement)
			if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("shutdown: %v", err)
			}
			if cause := waiting.aborted(); !errors.Is(cause, ErrServerClosed) {
				t.Errorf("aborted with %v", cause)
			}
		})
	})
	t.Run("interrupts an authority at its limit", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			svc := &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}}, issue: func(ctx context.Context, _ []byte) ([]byte, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}}
			s := &Server{Service: svc}
			l := serveFor(t, s)
			p := &peer{tb: t, conn: l.dial()}
			p.hello(3)
			p.expect(KeyGenerateRequest)
			p.send(KeyGenerateResponse, keyElement(t, ec256))
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			go func() { _ = s.Shutdown(ctx) }()
			p.end(ReasonInvalidElement)
			synctest.Wait()
			if cause := svc.aborted(); !errors.Is(cause, ErrServerClosed) {
				t.Errorf("aborted with %v", cause)
			}
		})
	})
}

// TestServeContext ends a server by its context.
func TestServeContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc := &service{task: Task{Operation: OperationDelete}}
		s := &Server{Service: svc}
		ctx, cancel := context.WithCancel(context.Background())
		l := newPipes()
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx, l, Transport{Plain: true}) }()
		p := &peer{tb: t, conn: l.dial()}
		p.hello(3)
		p.expect(DeleteCertificateRequest)
		cancel()
		p.end(ReasonInvalidElement)
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("serve: %v", err)
		}
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"open", "abort"}, svc.history()); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

func TestServeNeedsItsFields(t *testing.T) {
	t.Parallel()
	good := &Server{Service: &service{}}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	for name, tt := range map[string]struct {
		server    *Server
		transport Transport
	}{
		"no service":              {&Server{}, Transport{Plain: true}},
		"no TLS":                  {good, Transport{}},
		"TLS on a plain listener": {good, Transport{TLS: config, Plain: true}},
		"old phones without TLS":  {good, Transport{Plain: true, OldPhones: true}},
	} {
		if err := tt.server.Serve(t.Context(), newPipes(), tt.transport); err == nil || errors.Is(err, ErrServerClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLimits shows that a connection too many waits, and that one address may be bounded.
func TestLimits(t *testing.T) {
	t.Parallel()
	t.Run("total", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l := serveFor(t, &Server{Service: &service{}, MaxConnections: 1})
			first := &peer{tb: t, conn: l.dial()}
			first.expect(AuthRequest)
			second := make(chan *peer)
			go func() { second <- &peer{tb: t, conn: l.dial()} }()
			synctest.Wait()
			select {
			case <-second:
				t.Fatal("a second connection was accepted")
			default:
			}
			_ = first.conn.Close()
			p := <-second
			p.hello(3)
			p.end(ReasonNoAction)
		})
	})
	t.Run("per address", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l := serveFor(t, &Server{Service: &service{}, MaxPerAddress: 1})
			first := &peer{tb: t, conn: l.dial()}
			first.expect(AuthRequest)
			if _, err := ReadMessage(l.dial(), MaxBody); !errors.Is(err, io.EOF) {
				t.Errorf("second connection: %v", err)
			}
			first.send(AuthResponse, reasonElement(1), byteElement(TagVersion, 3), textElement(TagDeviceName, []byte("SEP1")))
			first.end(ReasonNoAction)
			synctest.Wait()
			third := &peer{tb: t, conn: l.dial()}
			third.hello(3)
			third.end(ReasonNoAction)
		})
	})
}
