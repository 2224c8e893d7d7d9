package capf

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// serveFor runs a server without TLS on connections in memory for the length of a test.
func serveFor(tb testing.TB, s *Server) *pipes {
	tb.Helper()
	l := newPipes()
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.WithoutCancel(tb.Context()), l, Transport{Plain: true}) }()
	tb.Cleanup(func() {
		if err := s.Shutdown(context.WithoutCancel(tb.Context())); err != nil {
			tb.Errorf("shutdown: %v", err)
		}
		if err := <-done; !errors.Is(err, ErrServerClosed) {
			tb.Errorf("serve returned %v", err)
		}
	})
	return l
}

// replayService returns a Service that gives the recorded session the task and the refusal that its fixture table tells.
// For certificate authentication, whose verification is not in this package, it looks only at what the server hands on.
func replayService(t *testing.T, r recording) (s *service, end Reason, calls []string) {
	t.Helper()
	install := func(k ...KeySpec) Task { return Task{Operation: OperationInstall, Keys: k} }
	installed := []string{"open", "issue", "stored 1"}
	rsa := KeySpec{KeyRSA, 2048}
	ec := func(n int) KeySpec { return KeySpec{KeyEC, n} }
	switch r.Name {
	case "install-rsa2048-null", "install-cert-lsc-rsa", "install-cert-mic", "jabber-install":
		return &service{task: install(rsa)}, 1, installed
	case "install-ec384-null":
		return &service{task: install(ec(384))}, 1, installed
	case "install-ec256-password":
		return &service{task: install(ec(256))}, 1, installed
	case "install-ec521-null":
		return &service{task: install(ec(521))}, 1, installed
	case "install-password-wrong":
		return &service{refuse: &Refusal{Reason: ReasonInvalidElement, Result: ResultInvalidAuthString}}, 7, []string{"open"}
	case "install-cert-lsc-rsa-sudi-mic", "install-cert-lsc-ec-sudi-mic":
		return &service{refuse: &Refusal{Reason: ReasonInvalidElement, Result: ResultInvalidMIC}}, 7, []string{"open"}
	case "auth-cert-missing", "auth-cert-of-another-device":
		return &service{refuse: &Refusal{Reason: ReasonInvalidElement, Result: ResultInvalidLSC}}, 7, []string{"open"}
	case "fetch":
		return &service{task: Task{Operation: OperationTroubleshoot}}, 0, []string{"open", "fetched 1"}
	case "fetch-none":
		return &service{task: Task{Operation: OperationTroubleshoot}}, 0, []string{"open", "fetched 7"}
	case "delete":
		return &service{task: Task{Operation: OperationDelete}}, 1, []string{"open", "deleted 1"}
	case "delete-none":
		return &service{task: Task{Operation: OperationDelete}}, 1, []string{"open", "deleted 7"}
	case "no-operation", "jabber-no-operation":
		return &service{}, 0, []string{"open"}
	case "unknown-device", "jabber-unknown":
		return &service{refuse: &Refusal{Reason: ReasonUnknownDevice, Result: ResultFail}}, 9, []string{"open"}
	}
	t.Fatalf("no verdict for %s", r.Name)
	return nil, 0, nil
}

// TestServerReplay plays the phone's side of each recording to the server.
func TestServerReplay(t *testing.T) {
	t.Parallel()
	for i, r := range recordings(t) {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			svc, end, calls := replayService(t, r)
			l := serveFor(t, &Server{Service: svc, FirstSession: uint32(i + 1)})
			conn := l.dial()
			defer conn.Close()
			for k, m := range r.Messages {
				if m.From == "phone" {
					if _, err := conn.Write(r.bytes(t, k)); err != nil {
						t.Fatalf("message %d: %v", k+1, err)
					}
					continue
				}
				got, err := ReadMessage(conn, MaxBody)
				if err != nil {
					t.Fatalf("message %d: %v", k+1, err)
				}
				if got.Command == EndSession {
					if reason, ok := got.Reason(); !ok || reason != end || got.SessionID != uint32(i+1) {
						t.Fatalf("session ends with %v", got)
					}
					break
				}
				compareServerMessage(t, r, r.message(t, k), got)
			}
			if diff := cmp.Diff(calls, svc.history()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			checkCaller(t, r, i, svc)
		})
	}
}

// compareServerMessage compares what the server sent with what the recorded one sent.
func compareServerMessage(t *testing.T, r recording, want, got Message) {
	t.Helper()
	switch {
	case want.Command == StoreCertificateRequest:
		// Our own certificate: compare all but it.
		if len(got.Elements) != 2 || got.Elements[0].Tag != TagCertificateType || got.Elements[1].Tag != TagCertificate {
			t.Errorf("elements %v", got.Elements)
		}
		got.Elements, want.Elements = got.Elements[:1], want.Elements[:1]
	case want.Command == KeyGenerateRequest && r.Client == "CapfWrapper":
		want.Elements = want.Elements[:1] // tag 10 only to version 2
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%v (-recorded +ours):\n%s", want.Command, diff)
	}
}

// checkCaller compares what the Service learned with the recorded AUTH_RESPONSE.
func checkCaller(t *testing.T, r recording, i int, svc *service) {
	t.Helper()
	hello := r.message(t, 1)
	version, _ := hello.Uint8(TagVersion)
	text, _ := hello.Element(TagPassword)
	c := svc.caller
	if c.Session != uint32(i+1) || c.Device != r.Device || c.Version != version || string(c.String) != strings.TrimRight(string(text), "\x00") {
		t.Errorf("caller %+v", c)
	}
	certificate, signed := hello.Element(TagCertificate)
	if signed != (c.Credential != nil) {
		t.Fatalf("credential %v, recorded %v", c.Credential, signed)
	}
	if !signed {
		return
	}
	want := &Credential{Certificate: certificate[5:]}
	want.SignedData, _ = hello.Element(TagSignedData)
	want.SHA2SignedData, _ = hello.Element(TagSHA2SignedData)
	want.SUDIData, _ = hello.Element(TagSUDIData)
	if diff := cmp.Diff(want, c.Credential); diff != "" {
		t.Errorf("credential (-want +got):\n%s", diff)
	}
	if r.Client == "capfc" && len(c.Credential.SUDIData) == 0 {
		t.Error("SUDI data lost")
	}
}

// publicOnly is a key of which only the public half is left, as of the recorded phones.
type publicOnly struct{ pub crypto.PublicKey }

func (k publicOnly) Public() crypto.PublicKey { return k.pub }
func (k publicOnly) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("no private key")
}

// recordedPhone returns a Client like the recorded one, and what it must have asked its Keeper for.
func recordedPhone(t *testing.T, r recording) (*Client, *Memory) {
	t.Helper()
	hello := r.message(t, 1)
	m := &Memory{}
	c := &Client{Device: r.Device, Keeper: m}
	c.Version, _ = hello.Uint8(TagVersion)
	text, _ := hello.Element(TagPassword)
	c.String = trimNUL(text)
	for k := range r.Messages {
		switch msg := r.message(t, k); msg.Command {
		case KeyGenerateResponse:
			b, _ := msg.Element(TagPublicKey)
			pub, err := x509.ParsePKIXPublicKey(b)
			if err != nil {
				t.Fatal(err)
			}
			m.Generate = func(want KeySpec) (crypto.Signer, error) {
				if got, err := KeySpecOf(pub); err != nil || got != want {
					return nil, errors.New("recorded key is of another kind")
				}
				return publicOnly{pub}, nil
			}
		case FetchCertificateResponse, DeleteCertificateResponse:
			if reason, _ := msg.Reason(); reason == ReasonUpdateCertificate {
				v, ok := r0(t).Element(TagCertificate)
				if !ok {
					t.Fatal("no certificate in the first recording")
				}
				m.lsc = v[5:]
			}
		}
	}
	return c, m
}

// r0 is the message with the LSC of the device D1.
func r0(t *testing.T) Message {
	t.Helper()
	return recordings(t)[0].find(t, StoreCertificateRequest)
}

// TestClientReplay plays the server's side of each recording to the client. All messages of the phone must be those of
// the recording, byte for byte where no certificate authentication is involved.
func TestClientReplay(t *testing.T) {
	t.Parallel()
	for i, r := range recordings(t) {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			client, memory := recordedPhone(t, r)
			ours, theirs := net.Pipe()
			defer theirs.Close()
			type ended struct {
				out Outcome
				err error
			}
			done := make(chan ended, 1)
			go func() {
				out, err := client.Run(context.WithoutCancel(t.Context()), ours)
				_ = ours.Close()
				done <- ended{out, err}
			}()
			for k, m := range r.Messages {
				want := r.message(t, k)
				if m.From == "server" {
					if _, err := theirs.Write(r.bytes(t, k)); err != nil {
						t.Fatalf("message %d: %v", k+1, err)
					}
					continue
				}
				got, err := ReadMessage(theirs, MaxBody)
				if err != nil {
					t.Fatalf("message %d: %v", k+1, err)
				}
				if want.Command == AuthResponse {
					want.Elements = withoutCredential(want.Elements)
				}
				if want.Command == FetchCertificateResponse && len(want.Elements) == 2 {
					// The phone shows the LSC of the first session or the one of the last, all the same here.
					want.Elements, got.Elements = want.Elements[:1], got.Elements[:1]
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("message %d (-recorded +ours):\n%s", k+1, diff)
				}
			}
			e := <-done
			checkOutcome(t, r, i, e.out, e.err, memory)
		})
	}
}

func withoutCredential(elements []Element) []Element {
	var out []Element
	for _, e := range elements {
		switch e.Tag {
		case TagCertificate, TagSignedData, TagSHA2SignedData, TagSUDIData:
		default:
			out = append(out, e)
		}
	}
	return out
}

func checkOutcome(t *testing.T, r recording, i int, out Outcome, err error, memory *Memory) {
	t.Helper()
	want, _ := r.find(t, EndSession).Reason()
	if !out.Ended || out.Reason != want || out.Session != uint32(i+1) {
		t.Errorf("outcome %+v", out)
	}
	e, refused := errors.AsType[*EndError](err)
	if bad := want == ReasonInvalidElement || want == ReasonUnknownDevice; refused != bad || (err != nil) != bad {
		t.Errorf("error %v, reason %d", err, want)
	}
	if refused && (e.Reason != want || e.Code() == "" || e.Remedy() == "") {
		t.Errorf("error %+v", e)
	}
	if memory.Generate != nil {
		lsc, key := memory.Credentials()
		sent, _ := r.find(t, StoreCertificateRequest).Element(TagCertificate)
		if !bytes.Equal(lsc, sent[5:]) || key == nil || !bytes.Equal(out.Certificate, lsc) || memory.unfinished != nil {
			t.Error("the certificate was not stored")
		}
	}
}
