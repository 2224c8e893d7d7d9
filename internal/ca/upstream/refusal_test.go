package upstream

import (
	"strings"
	"testing"

	"callsign/cmc"
	"callsign/est"
)

func TestCodeIn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"at the end", `template "X" is not offered to user Y; offered: Z (certsrv.template-not-offered)`, "certsrv.template-not-offered"},
		{"and a line end", "refused (ra.denied)\r\n", "ra.denied"},
		{"in the middle", "refused (ra.denied) by policy", ""},
		{"no code", "refused (see the log)", ""},
		{"a command", "refused (rm.-rf; reboot)", ""},
		{"empty", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := codeIn(tt.text); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestRefusalNamesTheCode: who has refused knows why, and its code leads to what to do.
func TestRefusalNamesTheCode(t *testing.T) {
	t.Parallel()
	const text, explain = "no template (certsrv.template-not-offered)", "callsign explain certsrv.template-not-offered"
	resp := &cmc.Response{Status: cmc.StatusFailed, FailInfo: cmc.BadRequest, Text: text}
	if e := refusalOf(resp, resp.Err()); e.ErrCode != CodeRefused || !e.Final || !strings.Contains(e.Fix, explain) {
		t.Errorf("by CMC: %+v", e)
	}
	if e := failure(&est.ClientError{ErrCode: est.CodeRefused, Status: 403, Text: text}); e.ErrCode != CodeRefused || !e.Final || !strings.Contains(e.Fix, explain) {
		t.Errorf("by EST: %+v", e)
	}
}

// TestRefusedTemplate: in the trace a template that is not offered is a failed login, and no other refusal is.
func TestRefusedTemplate(t *testing.T) {
	t.Parallel()
	const template = `template "X" is not offered to user Y; offered: Z (certsrv.template-not-offered)`
	for _, tt := range []struct {
		name, code, detail string
		want               int
	}{
		{"by the RA", CodeRefused, "the RA refused: " + template, 22},
		{"for another reason", CodeRefused, "the RA refused: no (ra.denied)", 94},
		{"without words", CodeRefused, "", 94},
		{"later", CodeTryLater, template, 94},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got, name := LibEST(tt.code, tt.detail); got != tt.want {
				t.Errorf("%d %s, want %d", got, name, tt.want)
			}
		})
	}
}
