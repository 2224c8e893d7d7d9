package explain_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/explain"
)

// problem is a room's error type.
type problem struct {
	code, detail, fix string
	err               error
}

func (p *problem) Error() string {
	if p.err != nil {
		return p.detail + ": " + p.err.Error()
	}
	return p.detail
}
func (p *problem) Unwrap() error  { return p.err }
func (p *problem) Code() string   { return p.code }
func (p *problem) Remedy() string { return p.fix }

// talkative names its cause and the request.
type talkative struct{ problem }

func (*talkative) Cause() string     { return "the key has 1024 bits" }
func (*talkative) RequestID() string { return "7f3a9c" }

// list prints one error a line, as config.Errors does, and is a problem itself.
type list []*problem

func (l list) Error() string {
	var lines []string
	for _, p := range l {
		lines = append(lines, p.Error())
	}
	return strings.Join(lines, "\n")
}
func (list) Code() string   { return "list.invalid" }
func (list) Remedy() string { return "correct the list" }
func (l list) Unwrap() []error {
	var out []error
	for _, p := range l {
		out = append(out, p)
	}
	return out
}

func TestRender(t *testing.T) {
	t.Parallel()
	missing := &problem{"certfile.missing", "capf.pem: there is no such file", "create capf.pem", nil}
	for _, tc := range []struct {
		name    string
		err     error
		options explain.Options
		want    string
	}{
		{name: "nil"},
		{name: "plain", err: errors.New("something broke"), want: "error: something broke\n"},
		{name: "problem", err: missing, want: "error: capf.pem: there is no such file (certfile.missing)\n  fix:   create capf.pem\n  see:   callsign explain certfile.missing\n"},
		{
			name: "what to do, rewritten", err: errors.Join(missing, errors.New("odd")), options: explain.Options{Fix: strings.ToUpper},
			want: "error: capf.pem: there is no such file (certfile.missing)\n  fix:   CREATE CAPF.PEM\n  see:   callsign explain certfile.missing\nerror: odd\n",
		},
		{
			name: "problem in a context", err: fmt.Errorf("start CAPF: %w", missing),
			want: "error: start CAPF (certfile.missing)\n  cause: capf.pem: there is no such file\n  fix:   create capf.pem\n  see:   callsign explain certfile.missing\n",
		},
		{
			name: "problem with what it wraps",
			err:  fmt.Errorf("start: %w", &problem{"app.listen", "cannot listen on :1", "use another port", fs.ErrPermission}),
			want: "error: start: cannot listen on :1 (app.listen)\n  cause: permission denied\n  fix:   use another port\n  see:   callsign explain app.listen\n",
		},
		{
			name: "problem that names its cause",
			err:  fmt.Errorf("enrol SEP1: %w", &talkative{problem{"est.csr-key-too-short", "rejected: the key has 1024 bits", "use 2048", nil}}),
			want: "error: enrol SEP1: rejected (est.csr-key-too-short)\n  cause: the key has 1024 bits\n  fix:   use 2048\n" +
				"  see:   callsign explain est.csr-key-too-short     request: 7f3a9c\n",
		},
		{
			name: "request of a problem that nobody explains", err: &talkative{problem{"a.b", "rejected", "use 2048", nil}},
			want: "error: rejected (a.b)\n  cause: the key has 1024 bits\n  fix:   use 2048\n  request: 7f3a9c\n",
		},
		{
			name: "joined, in a context, with a repetition",
			err:  fmt.Errorf("load: %w", errors.Join(missing, errors.New("odd"), missing, fmt.Errorf("x: %w", missing))),
			want: "error: load: capf.pem: there is no such file (certfile.missing)\n  fix:   create capf.pem\n  see:   callsign explain certfile.missing\n" +
				"error: load: odd\n" +
				"error: load: x (certfile.missing)\n  cause: capf.pem: there is no such file\n  fix:   create capf.pem\n  see:   callsign explain certfile.missing\n",
		},
		{
			name: "two causes of one error", err: fmt.Errorf("%w (after %w)", missing, errors.New("a retry")),
			want: "error: capf.pem: there is no such file (after a retry) (certfile.missing)\n  fix:   create capf.pem\n  see:   callsign explain certfile.missing\n",
		},
		{
			name: "list", err: fmt.Errorf("configuration: %w", list{missing, {"a.b", "second", "", nil}}),
			want: "error: configuration: capf.pem: there is no such file (certfile.missing)\n  fix:   create capf.pem\n  see:   callsign explain certfile.missing\n" +
				"error: configuration: second (a.b)\n",
		},
		{
			name: "command and colour", err: errors.New("unknown flag"), options: explain.Options{Color: true, Command: "callsign phone add"},
			want: "\x1b[1;31merror:\x1b[0m unknown flag\n  see:   callsign phone add --help\n",
		},
		{
			name: "a peer's words", err: &problem{"a.b", "peer says \x1b[2J\x07evil\u202e\r\nand\xffmore", "do\nthis", nil},
			want: "error: peer says ?[2J?evil?\n       and?more (a.b)\n  fix:   do\n         this\n",
		},
		{
			name: "JSON", err: errors.Join(missing, errors.New("odd")), options: explain.Options{JSON: true},
			want: `{"errors":[{"error":"capf.pem: there is no such file","code":"certfile.missing","fix":"create capf.pem","see":"callsign explain certfile.missing"},{"error":"odd"}]}` + "\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			explain.Render(&b, tc.err, tc.options)
			if diff := cmp.Diff(tc.want, b.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if tc.options.JSON && !json.Valid([]byte(b.String())) {
				t.Error("not JSON")
			}
		})
	}
}

func TestCode(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("x: %w", errors.Join(errors.New("y"), &problem{code: "a.b"}))
	if got := explain.Code(err); got != "a.b" {
		t.Errorf("got %q", got)
	}
	if got := explain.Code(errors.New("x")) + explain.Code(nil); got != "" {
		t.Errorf("got %q", got)
	}
}
