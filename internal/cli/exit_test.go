package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"testing"

	"callsign/capf"
	"callsign/certsrv"
	"callsign/internal/ca"
	"callsign/internal/config"
)

func TestExitCode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		err  error
		want int
	}{
		{"anything", errors.New("x"), exitFailed},
		{"file", fs.ErrNotExist, exitFailed},
		{"chosen", fmt.Errorf("x: %w", &exitError{code: exitPartial, err: context.DeadlineExceeded}), exitPartial},
		{"configuration", fmt.Errorf("x: %w", config.Errors{{Text: "wrong"}}), exitUsage},
		{"server refuses", fmt.Errorf("x: %w", &capf.EndError{Device: "SEP001122334455", Reason: capf.ReasonInvalidElement}), exitDenied},
		{"authority needs longer", &capf.EndError{Device: "SEP001122334455", KeySent: true}, exitFailed},
		{"phone cannot", &capf.EndError{Device: "SEP001122334455", Err: errors.New("disk full")}, exitFailed},
		{"no server", &capf.ProtocolError{ErrCode: capf.CodeUnreachable}, exitUnreachable},
		{"silent server", &capf.ProtocolError{ErrCode: capf.CodeSilentPeer}, exitUnreachable},
		{"another server", &capf.ProtocolError{ErrCode: capf.CodeHandshakeFailed}, exitFailed},
		{"silent CA", &ca.Error{Timeout: true}, exitUnreachable},
		{"CA says no", &ca.Error{Final: true}, exitFailed},
		{"wrong password for the CA", fmt.Errorf("x: %w", &ca.Error{Err: &certsrv.Problem{ErrCode: certsrv.CodeNotAuthenticated}}), exitDenied},
		{"template not offered", &certsrv.Problem{ErrCode: certsrv.CodeTemplateNotOffered}, exitDenied},
		{"page of the CA that nobody knows", &certsrv.Problem{ErrCode: certsrv.CodeUnexpectedPage}, exitFailed},
		{"late", context.DeadlineExceeded, exitUnreachable},
		{"refused connection", &net.OpError{Op: "dial", Err: errors.New("refused")}, exitUnreachable},
		{"broken connection", &net.OpError{Op: "read", Err: errors.New("reset")}, exitFailed},
		{"no such host", &net.DNSError{Err: "no such host"}, exitUnreachable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := exitCode(tc.err); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestServerAddress(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1:3804", "192.0.2.1:99": "192.0.2.1:99", "[2001:db8::1]": "[2001:db8::1]:3804", "2001:db8::1": "[2001:db8::1]:3804",
		"[::1]:5": "[::1]:5", "capf.example.com": "capf.example.com:3804", "": "", ":1": "", "a:0": "", "a:65536": "", "a b": "", "a:x": "", "https://a": "",
	} {
		got, err := serverAddress(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("serverAddress(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestListenHost(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in, host string
		free, ok bool
	}{
		{"127.0.0.1", "127.0.0.1", false, true},
		{"127.0.0.1:0", "127.0.0.1", true, true},
		{"0.0.0.0", "0.0.0.0", false, true},
		{"::1", "::1", false, true},
		{"[::1]", "::1", false, true},
		{"[::1]:0", "::1", true, true},
		{"phones.example.com:0", "phones.example.com", true, true},
		{"127.0.0.1:3804", "", false, false},
		{":0", "", false, false},
		{"", "", false, false},
		{"a/b", "", false, false},
		{"127.0.0.1:", "", false, false},
	} {
		host, free, err := listenHost(tc.in)
		if host != tc.host || free != tc.free || (err == nil) != tc.ok {
			t.Errorf("listenHost(%q) = %q, %v, %v", tc.in, host, free, err)
		}
	}
}
