package capf

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// recordSession plays one session to a server that records, and returns the recordings.
func recordSession(t *testing.T, svc *service, play func(*peer)) []Recording {
	t.Helper()
	var out []Recording
	s := &Server{Service: svc, Recorder: func(r Recording) { out = append(out, r) }}
	p := &peer{tb: t, conn: serveFor(t, s).dial()}
	play(p)
	_ = p.conn.Close()
	synctest.Wait()
	return out
}

// TestRecording: what is recorded is what passed, but for the authentication string.
func TestRecording(t *testing.T) {
	t.Parallel()
	const secret = "73519"
	password := textElement(TagPassword, []byte(secret))
	synctest.Test(t, func(t *testing.T) {
		svc := &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}}}
		key := keyElement(t, ec256)
		got := recordSession(t, svc, func(p *peer) {
			p.hello(3, password)
			p.expect(KeyGenerateRequest)
			p.send(RequestInProgress)
			p.send(KeyGenerateResponse, key)
			p.expect(StoreCertificateRequest)
			p.send(StoreCertificateResponse, reasonElement(1))
			p.end(ReasonUpdateCertificate)
		})
		if len(got) != 1 {
			t.Fatalf("%d recordings", len(got))
		}
		r := got[0]
		if r.Name != "SEP0000000000D1-1" || r.Device != "SEP0000000000D1" || r.Session != 1 || r.Began.IsZero() || r.Ended.Before(r.Began) ||
			!strings.Contains(r.What, "install") || !strings.Contains(r.What, "UPDATE_CERTIFICATE") {
			t.Errorf("%+v", r)
		}
		value, err := AppendCertificatePackage(nil, CertificateEntry{Type: CertificateLSC, DER: svc.issued})
		if err != nil {
			t.Fatal(err)
		}
		want := []struct {
			from string
			m    Message
		}{
			{"server", Message{AuthRequest, 1, []Element{byteElement(TagVersion, 3), byteElement(TagAuthType, 0)}}},
			{"phone", Message{AuthResponse, 1, []Element{
				reasonElement(1), byteElement(TagVersion, 3), textElement(TagDeviceName, []byte("SEP0000000000D1")), {TagPassword, []byte{}},
			}}},
			{"server", Message{KeyGenerateRequest, 1, ec256.elements(3)}},
			{"phone", Message{RequestInProgress, 1, nil}},
			{"phone", Message{KeyGenerateResponse, 1, []Element{key}}},
			{"server", Message{StoreCertificateRequest, 1, []Element{byteElement(TagCertificateType, 1), {TagCertificate, value}}}},
			{"phone", Message{StoreCertificateResponse, 1, []Element{reasonElement(1)}}},
			{"server", Message{EndSession, 1, []Element{reasonElement(1)}}},
		}
		if len(r.Messages) != len(want) {
			t.Fatalf("%d messages", len(r.Messages))
		}
		for i, w := range want {
			b, err := hex.DecodeString(r.Messages[i].Hex)
			if err != nil {
				t.Fatal(err)
			}
			m, err := ParseMessage(b)
			if diff := cmp.Diff(w.m, m); diff != "" || err != nil || r.Messages[i].From != w.from {
				t.Errorf("message %d from %s, %v (-want +got):\n%s", i, r.Messages[i].From, err, diff)
			}
		}
		if text, _ := json.Marshal(r); bytes.Contains(text, []byte(hex.EncodeToString([]byte(secret)))) {
			t.Errorf("the authentication string is in it: %s", text)
		}
	})
}

// TestRecordingHidesMalformed: where the string begins and ends in a body that does not parse is not known.
func TestRecordingHidesMalformed(t *testing.T) {
	t.Parallel()
	for name, body := range map[string][]byte{
		"cut":             {byte(TagPassword), 0, 9, 's', '3', 'c', 'r'},
		"twice":           append(append([]byte{byte(TagPassword), 0, 4}, "s3cr"...), append([]byte{byte(TagPassword), 0, 4}, "s3cr"...)...),
		"after a bad one": append([]byte{byte(TagVersion), 0, 2, 1, 1, byte(TagPassword), 0, 4}, "s3cr"...),
	} {
		for _, command := range []Command{AuthResponse, KeyGenerateResponse} {
			t.Run(name+" "+command.String(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					got := recordSession(t, &service{}, func(p *peer) {
						p.expect(AuthRequest)
						p.write(append([]byte{protocolID, byte(command), 0, 0, 0, 1, 0, byte(len(body))}, body...))
						p.end(ReasonInvalidElement)
					})
					if len(got) != 1 || len(got[0].Messages) != 3 {
						t.Fatalf("%+v", got)
					}
					text, err := json.Marshal(got)
					if err != nil || bytes.Contains(text, []byte(hex.EncodeToString([]byte("s3cr")))) {
						t.Errorf("%s, %v", text, err)
					}
					if m := got[0].Messages[1]; m.LeftOut != len(body) || len(m.Hex) != 2*headerLength {
						t.Errorf("%+v", m)
					}
				})
			})
		}
	}
}

// TestRecordingIsBounded: a phone that talks without end fills no memory, and silence is not recorded.
func TestRecordingIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got := recordSession(t, &service{task: Task{Operation: OperationDelete}}, func(p *peer) {
			p.hello(3)
			p.expect(DeleteCertificateRequest)
			for range 20 {
				p.send(RequestInProgress, Element{TagReasonInfo, make([]byte, 60000)})
			}
			for range 500 {
				p.send(RequestInProgress)
			}
			p.send(DeleteCertificateResponse, reasonElement(1))
			p.end(ReasonUpdateCertificate)
		})
		size := 0
		for _, m := range got[0].Messages {
			size += len(m.Hex)
		}
		if size > 2*maxRecordedBytes || len(got[0].Messages) > maxRecordedMessages || !strings.Contains(got[0].Note, "further messages are left out") {
			t.Errorf("%d messages, %d characters, %q", len(got[0].Messages), size, got[0].Note)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		if got := recordSession(t, &service{}, func(p *peer) { p.expect(AuthRequest) }); len(got) != 0 {
			t.Errorf("recorded %+v", got)
		}
	})
}

// TestRecordDir: the files have the form of the recordings of testdata, and nobody else reads them.
func TestRecordDir(t *testing.T) {
	t.Parallel()
	a, err := testAuthority()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "records")
	var log notes
	d := &RecordDir{Dir: dir, Limit: 2, Log: log.logger(slog.LevelInfo)}
	s := &Server{Service: &service{task: Task{Operation: OperationInstall, Keys: []KeySpec{ec256}}}, Recorder: d.Record}
	address, config := serveTLS(t, s, a)
	for i, name := range []string{"SEP0000000000D1", "../x/y", "SEP0000000000D3", "SEP0000000000D4"} {
		c := Client{Device: name, Keeper: &Memory{}, TLS: config}
		if _, err := c.Dial(t.Context(), address); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { // a session is recorded after its phone has gone
			files, _ := filepath.Glob(filepath.Join(dir, "*.json"))
			return len(files) == min(i+1, d.Limit)
		})
	}
	waitFor(t, func() bool { return strings.Contains(log.String(), "capf.record_failed") })
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != fs.FileMode(0o600) {
			t.Errorf("%s: %v, %v", path, info, err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var file struct{ Sessions []recording }
		if err := json.Unmarshal(text, &file); err != nil || len(file.Sessions) != 1 {
			t.Fatalf("%s: %v", text, err)
		}
		r := file.Sessions[0]
		if got := r.find(t, EndSession); got.SessionID == 0 || r.message(t, 1).Command != AuthResponse {
			t.Errorf("%s", text)
		}
		if !strings.HasSuffix(path, "-SEP0000000000D1-1.json") && !strings.HasSuffix(path, "-___x_y-2.json") {
			t.Errorf("file %s", path)
		}
	}
	if n := strings.Count(log.String(), "capf.record_failed"); n != 1 || !strings.Contains(log.String(), "capf.record_dir") {
		t.Errorf("%d lines about the limit:\n%s", n, log.String())
	}
}

// TestRecordDirFails: a directory that cannot be is told, and the sessions go on.
func TestRecordDirFails(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log notes
	d := &RecordDir{Dir: filepath.Join(file, "x"), Log: log.logger(slog.LevelInfo)}
	d.Record(Recording{Device: "SEP1", Peer: (&net.TCPAddr{}).String()})
	if !strings.Contains(log.String(), "capf.record_failed") || !strings.Contains(log.String(), "remedy=") {
		t.Errorf("log:\n%s", log.String())
	}
	(&RecordDir{Dir: filepath.Join(file, "x")}).Record(Recording{}) // without a log
}
