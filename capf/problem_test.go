package capf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestSecretHides prints a secret in every way and looks for it.
func TestSecretHides(t *testing.T) {
	t.Parallel()
	const text = "73519"
	s := Secret(text)
	c := Caller{Device: "SEP0000000000D1", String: s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+"\n"+verb+"\n", s, c)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("secret", "string", s, "caller", c)
	}
	if err := json.NewEncoder(&out).Encode(c); err != nil {
		t.Fatal(err)
	}
	for _, leak := range []string{text, fmt.Sprintf("%x", text), "NzM1MTk", "55 51 53", "[55 51"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q shows the secret:\n%s", leak, out.String())
		}
	}
}

func TestCodesHaveRemedies(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	results := map[string]Result{}
	for r := range Result(20) {
		if text, ok := r.text(); ok {
			results[text.code] = r
			if r.Name() != text.name || r.Meaning() == "" || r.Remedy() == "" {
				t.Errorf("result %d is incomplete", r)
			}
		}
	}
	for _, code := range Codes() {
		if seen[code] || !strings.HasPrefix(code, "capf.") {
			t.Errorf("code %q twice or in the wrong room", code)
		}
		seen[code] = true
		if _, ok := results[code]; !ok && remedyOf(code) == "" {
			t.Errorf("no remedy for %s", code)
		}
	}
	for code := range results {
		if code != "capf.success" && !seen[code] {
			t.Errorf("%s is not in Codes", code)
		}
	}
}

type coded struct{}

func (coded) Error() string  { return "locked" }
func (coded) Code() string   { return "fleet.locked" }
func (coded) Remedy() string { return "unlock it" }

func TestRefusal(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		refusal    Refusal
		code, text string
		wire       Reason
	}{
		{"unknown device", Refusal{Reason: ReasonUnknownDevice, Result: ResultFail}, CodeUnknownDevice, "the device is not known", 9},
		{"wrong string", Refusal{Reason: ReasonInvalidElement, Result: ResultInvalidAuthString}, CodeInvalidAuthString, "the authentication string is wrong or locked", 7},
		{"cause with a code", Refusal{Result: ResultInvalidAuthString, Err: fmt.Errorf("open: %w", coded{})}, "fleet.locked", "the authentication string is wrong or locked: open: locked", 7},
		{"zero", Refusal{}, CodeRefused, "refused", 7},
	}
	for _, tt := range tests {
		r := &tt.refusal
		if r.Code() != tt.code || r.Error() != tt.text || r.wireReason() != tt.wire || r.Remedy() == "" {
			t.Errorf("%s: %s, %q, %d, remedy %q", tt.name, r.Code(), r.Error(), r.wireReason(), r.Remedy())
		}
	}
	if code, _ := describe(fmt.Errorf("%w: %w", ErrNotReady, errors.New("x"))); code != CodeNotReady {
		t.Errorf("not ready is %s", code)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		AuthRequest.String(): "AUTH_REQUEST", Command(99).String(): "COMMAND_99", Reason(4).String(): "REASON_4",
		TagDeviceName.String(): "DEVICE_NAME (13)", Tag(14).String(): "TAG (14)", Result(9).Name(): "CAPF_RESULT_9",
		ResultInvalidCredentials.Name(): "CAPF_OP_FAIL_INVALID_CRENDENTIALS", CertificateType(3).String(): "TYPE_3",
		OperationTroubleshoot.String(): "troubleshoot",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for o := OperationNone; o <= OperationTroubleshoot; o++ {
		b, err := o.MarshalText()
		var back Operation
		if err != nil || back.UnmarshalText(b) != nil || back != o {
			t.Errorf("%v does not survive its text", o)
		}
	}
}
