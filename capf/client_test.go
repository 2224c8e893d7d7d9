package capf

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// enrolled runs a client against a Service and returns how it went.
func enrolled(t *testing.T, client *Client, svc *service) (Outcome, error) {
	t.Helper()
	l := serveFor(t, &Server{Service: svc})
	conn := l.dial()
	out, err := client.Run(context.WithoutCancel(t.Context()), conn)
	_ = conn.Close()
	return out, err
}

// TestKeyKept shows that a phone offers the same key until its certificate is stored, and takes a certificate for it
// without being asked for a key again.
func TestKeyKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, err := testAuthority()
		if err != nil {
			t.Fatal(err)
		}
		var offered [][]byte
		late := &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}}, issue: func(_ context.Context, spki []byte) ([]byte, error) {
			offered = append(offered, spki)
			return nil, ErrNotReady
		}}
		memory := &Memory{}
		client := &Client{Device: "SEP0000000000D1", Keeper: memory}
		for range 2 {
			out, err := enrolled(t, client, late)
			e, ok := errors.AsType[*EndError](err)
			if !ok || !e.KeySent || e.Reason != ReasonInvalidElement || out.Key != ec256 {
				t.Fatalf("%+v, %v", out, err)
			}
		}
		if !bytes.Equal(offered[0], offered[1]) {
			t.Error("another key was offered at the second call")
		}
		der, err := a.sign("SEP0000000000D1", offered[0])
		if err != nil {
			t.Fatal(err)
		}
		out, err := enrolled(t, client, &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}, Offer: der}})
		if err != nil || !bytes.Equal(out.Certificate, der) {
			t.Fatalf("%+v, %v", out, err)
		}
		// The answer was lost: the same certificate again, for the key in use now.
		if out, err = enrolled(t, client, &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}, Offer: der}}); err != nil {
			t.Fatalf("%+v, %v", out, err)
		}
		again := &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}}}
		if out, err = enrolled(t, client, again); err != nil {
			t.Fatalf("%+v, %v", out, err)
		}
		renewed, key := memory.Credentials()
		if bytes.Equal(renewed, der) || !bytes.Equal(renewed, again.issued) || key == nil {
			t.Error("the renewal was not stored")
		}
		if spki, _, err := marshalPublicKey(key.Public()); err != nil || bytes.Equal(spki, offered[0]) {
			t.Error("a finished key was offered again")
		}
	})
}

// TestMisfitDeclined shows that a certificate for a foreign key is declined and the session goes on with a new key.
func TestMisfitDeclined(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, err := testAuthority()
		if err != nil {
			t.Fatal(err)
		}
		svc := &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}, Offer: a.cert.Raw}}
		out, err := enrolled(t, &Client{Device: "SEP0000000000D1", Keeper: &Memory{}}, svc)
		if err != nil || bytes.Equal(out.Certificate, a.cert.Raw) || out.Certificate == nil {
			t.Errorf("%+v, %v", out, err)
		}
		if diff := cmp.Diff([]string{"open", "stored 7", "issue", "stored 1"}, svc.history()); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		foreign := &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}}, issue: func(context.Context, []byte) ([]byte, error) {
			return a.cert.Raw, nil
		}}
		_, err = enrolled(t, &Client{Device: "SEP0000000000D1", Keeper: &Memory{}}, foreign)
		p, ok := errors.AsType[*ProtocolError](err)
		if _, end := errors.AsType[*EndError](err); !end || !ok || p.Code() != CodeCertificateMisfit {
			t.Errorf("certificate for a foreign key: %v", err)
		}
	})
}

// TestBackupKey shows a phone that makes RSA keys only.
func TestBackupKey(t *testing.T) {
	t.Parallel()
	a, err := rsaAuthority()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		memory := &Memory{Generate: func(k KeySpec) (crypto.Signer, error) {
			if k != rsa2048 {
				return nil, errors.New("RSA 2048 only")
			}
			return a.key, nil
		}}
		client := &Client{Device: "SEP0000000000D1", Keeper: memory, String: Secret("1234")}
		svc := &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256, rsa2048}}}
		out, err := enrolled(t, client, svc)
		if err != nil || out.Key != rsa2048 || string(svc.caller.String) != "1234" {
			t.Errorf("%+v, %v, string %d bytes", out, err, len(svc.caller.String))
		}
		_, err = enrolled(t, client, &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}}})
		e, ok := errors.AsType[*EndError](err)
		if !ok || e.KeySent || e.Err == nil || !strings.Contains(err.Error(), "RSA 2048 only") {
			t.Errorf("EC only: %v", err)
		}
	})
}

// TestFetchAndDelete shows and gives up what an install left.
func TestFetchAndDelete(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := &Client{Device: "SEP0000000000D1", Keeper: &Memory{}}
		out, err := enrolled(t, client, &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}}})
		if err != nil {
			t.Fatal(err)
		}
		fetch := &service{task: Task{Operation: OperationTroubleshoot}}
		if got, err := enrolled(t, client, fetch); err != nil || got.Shown != 1 || len(fetch.certs) != 1 || !bytes.Equal(fetch.certs[0].DER, out.Certificate) {
			t.Errorf("fetch: %+v, %v", got, err)
		}
		for i, want := range []struct {
			deleted bool
			calls   []string
		}{{true, []string{"open", "deleted 1"}}, {false, []string{"open", "deleted 7"}}} {
			svc := &service{task: Task{Operation: OperationDelete}}
			got, err := enrolled(t, client, svc)
			if err != nil || got.Deleted != want.deleted {
				t.Errorf("delete %d: %+v, %v", i+1, got, err)
			}
			if diff := cmp.Diff(want.calls, svc.history()); diff != "" {
				t.Errorf("delete %d (-want +got):\n%s", i+1, diff)
			}
		}
		empty := &service{task: Task{Operation: OperationTroubleshoot}}
		if got, err := enrolled(t, client, empty); err != nil || got.Shown != 0 || len(empty.certs) != 0 {
			t.Errorf("fetch of nothing: %+v, %v", got, err)
		}
	})
}

// TestBadServers plays servers that do not behave.
func TestBadServers(t *testing.T) {
	t.Parallel()
	hello := Message{Command: AuthRequest, SessionID: 7, Elements: []Element{byteElement(TagVersion, 3)}}
	tests := []struct {
		name   string
		answer []Message // after the hello; nil closes
		raw    []byte    // sent instead of everything
		silent bool
		code   string
	}{
		{name: "closes", code: CodeConnectionLost},
		{name: "silent", silent: true, code: CodeSilentPeer},
		{name: "speaks HTTP", raw: []byte("HTTP/1.1 400 Bad Request\r\n"), code: CodeBadProtocolID},
		{name: "begins in the middle", raw: []byte{0x55, 15, 0, 0, 0, 1, 0, 4, 1, 0, 1, 1}, code: CodeUnexpectedCommand},
		{name: "another session", answer: []Message{{Command: EndSession, SessionID: 8, Elements: []Element{reasonElement(1)}}}, code: CodeWrongSessionID},
		{name: "asks twice who it is", answer: []Message{hello}, code: CodeUnexpectedCommand},
		{name: "asks to sign", answer: []Message{{Command: SignCertificateRequest, SessionID: 7}}, code: CodeUnexpectedCommand},
		{name: "ends without a reason", answer: []Message{{Command: EndSession, SessionID: 7}}, code: CodeMissingElement},
		{name: "ends with 3", answer: []Message{{Command: EndSession, SessionID: 7, Elements: []Element{reasonElement(3)}}}, code: CodeRefused},
		{name: "later", answer: []Message{{Command: RequestInProgress, SessionID: 7}, {Command: RetryLater, SessionID: 7, Elements: []Element{{TagRetryDelay, []byte{1, 0}}}}}, code: CodeRetryLater},
		{name: "unknown curve", answer: []Message{{Command: KeyGenerateRequest, SessionID: 7, Elements: []Element{byteElement(TagKeyType, 1), byteElement(TagCurve, 9)}}}, code: CodeBadElement},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				done := make(chan struct{})
				go func() {
					defer close(done)
					defer theirs.Close()
					if tt.raw != nil {
						_, _ = theirs.Write(tt.raw)
						return
					}
					b, _ := hello.MarshalBinary()
					_, _ = theirs.Write(b)
					if _, err := ReadMessage(theirs, MaxBody); err != nil {
						t.Errorf("no answer: %v", err)
					}
					if tt.silent {
						time.Sleep(time.Minute)
					}
					for _, m := range tt.answer {
						b, _ := m.MarshalBinary()
						_, _ = theirs.Write(b)
					}
				}()
				client := &Client{Device: "SEP0000000000D1", Keeper: &Memory{}}
				out, err := client.Run(context.Background(), ours)
				_ = ours.Close()
				<-done
				c, ok := errors.AsType[coder](err)
				if !ok || c.Code() != tt.code || c.Remedy() == "" {
					t.Errorf("%+v, %v; want %s", out, err, tt.code)
				}
				if tt.code == CodeRetryLater && out.RetryAfter != 256*time.Second {
					t.Errorf("retry after %v", out.RetryAfter)
				}
			})
		})
	}
}

// TestCancel ends a session by its context.
func TestCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := (&Client{Device: "SEP1", Keeper: &Memory{}}).Run(ctx, ours)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestDialErrors(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	_, err = (&Client{Device: "SEP1", Keeper: &Memory{}}).Dial(t.Context(), address)
	if p, ok := errors.AsType[*ProtocolError](err); !ok || p.Code() != CodeUnreachable {
		t.Errorf("nobody listens: %v", err)
	}
	a, err := testAuthority()
	if err != nil {
		t.Fatal(err)
	}
	address, _ = serveTLS(t, &Server{Service: &service{}}, a)
	_, err = (&Client{Device: "SEP1", Keeper: &Memory{}}).Dial(t.Context(), address)
	if p, ok := errors.AsType[*ProtocolError](err); !ok || p.Code() != CodeHandshakeFailed {
		t.Errorf("server that nobody trusts: %v", err)
	}
	if _, err := (&Client{Device: "two words", Keeper: &Memory{}}).Run(t.Context(), nil); err == nil {
		t.Error("a device name with a blank was accepted")
	}
}
