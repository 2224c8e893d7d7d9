package cli

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/enterprise"
)

// TestSimStory: what a simulated server prints of requests, and of what became of them.
func TestSimStory(t *testing.T) {
	t.Parallel()
	const iis = "#Fields: date time s-ip\r\n" +
		`2026-11-25 12:29:31 127.0.0.1 GET /certsrv - 8443 - 127.0.0.1 CiscoRA+1.0 - 401 1 2148074254 0` + "\r\n" +
		`2026-11-25 12:29:32 127.0.0.1 GET /certsrv/certnew.cer ReqID=2&Enc=b64 8443 LAB\ra 127.0.0.1 CiscoRA+1.0 - 200 0 0 1500` + "\r\n"
	outcome := func(event string, attrs ...any) slog.Record {
		r := slog.NewRecord(time.Date(2026, 11, 25, 12, 29, 33, 0, time.UTC), slog.LevelInfo, "handled", 0)
		r.Add(append([]any{"event", event, "request_id", "2"}, attrs...)...)
		return r
	}
	records := []slog.Record{
		outcome(enterprise.EventHandled, "outcome", "issued", "code", "0x00000000", "template", "CiscoRA", "subject", "CN=SEP1"),
		outcome(enterprise.EventHandled, "outcome", "denied", "code", "0x80094800", "template", "", "subject", "CN=\x1b[31mSEP1"),
		outcome(enterprise.EventApproved), outcome(enterprise.EventDenied), outcome("certsrvtest.other"),
	}
	for _, tt := range []struct {
		name string
		json bool
		want string
	}{
		{"text", false, `12:29:31  -                     GET  /certsrv  401.1 2148074254  0ms
12:29:32  LAB\ra                GET  /certsrv/certnew.cer?ReqID=2&Enc=b64  200  1500ms
12:29:33  request 2 issued  CN=SEP1  CiscoRA
12:29:33  request 2 denied  0x80094800  CN=?[31mSEP1
12:29:33  request 2 issued by the manager
12:29:33  request 2 denied by the manager
`},
		{"JSON", true, `{"event":"request","time":"2026-11-25T12:29:31Z","user":"","method":"GET","path":"/certsrv","query":"","status":401,"substatus":1,"win32":2148074254,"user_agent":"CiscoRA 1.0","duration_seconds":0}
{"event":"request","time":"2026-11-25T12:29:32Z","user":"LAB\\ra","method":"GET","path":"/certsrv/certnew.cer","query":"ReqID=2&Enc=b64","status":200,"substatus":0,"win32":0,"user_agent":"CiscoRA 1.0","duration_seconds":1.5}
{"event":"outcome","time":"2026-11-25T12:29:33Z","request_id":"2","outcome":"issued","by":"policy","hresult":"","template":"CiscoRA","subject":"CN=SEP1"}
{"event":"outcome","time":"2026-11-25T12:29:33Z","request_id":"2","outcome":"denied","by":"policy","hresult":"0x80094800","template":"","subject":"CN=\u001b[31mSEP1"}
{"event":"outcome","time":"2026-11-25T12:29:33Z","request_id":"2","outcome":"issued","by":"manager","hresult":"","template":"","subject":""}
{"event":"outcome","time":"2026-11-25T12:29:33Z","request_id":"2","outcome":"denied","by":"manager","hresult":"","template":"","subject":""}
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			story := &simStory{out: &out, json: tt.json}
			if _, err := story.Write([]byte(iis)); err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				if err := (simOutcomes{story: story}).Handle(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
