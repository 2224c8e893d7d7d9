package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"callsign/capf"
	"callsign/certsrv"
	"callsign/internal/ca"
	"callsign/internal/cluster"
	"callsign/internal/config"
	"callsign/internal/explain"
)

// The exit codes of every command.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitFindings    = 3
	exitPartial     = 4
	exitUnreachable = 5
	exitDenied      = 6
	exitPending     = 7
	exitInterrupted = 130
)

// exitMeaning is what help pages say of an exit code.
func exitMeaning(code int) string {
	switch code {
	case exitOK:
		return "success"
	case exitFailed:
		return "the operation failed"
	case exitUsage:
		return "wrong command line or configuration"
	case exitFindings:
		return "checked, and found problems"
	case exitPartial:
		return "some of many failed"
	case exitUnreachable:
		return "timeout, or the peer cannot be reached"
	case exitDenied:
		return "denied by the peer"
	case exitPending:
		return "the CA waits for approval"
	default:
		return "interrupted"
	}
}

// exits adds the exit codes of a command to its help.
func exits(cmd *cobra.Command, codes ...int) *cobra.Command {
	lines := make([]string, len(codes))
	for i, c := range codes {
		lines[i] = fmt.Sprintf("  %-3d  %s", c, exitMeaning(c))
	}
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[exitAnnotation] = strings.Join(lines, "\n")
	return cmd
}

// exitAnnotation is where the help template finds them.
const exitAnnotation = "exit codes"

// exitError chooses the exit code of an error. A nil err prints nothing: the command has said what there was to say.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return "failed"
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usageError is a wrong command line.
type usageError struct {
	err error
	see string // command whose help tells more
}

func (u *usageError) Error() string  { return u.err.Error() }
func (u *usageError) Unwrap() error  { return u.err }
func (u *usageError) Code() string   { return "cli.usage" }
func (u *usageError) Remedy() string { return "see: " + or(u.see, "callsign") + " --help" }

func usage(err error) error { return &usageError{err: err} }

// wrongValue is usage with what a flag may be, and the nearest of it.
func wrongValue(flag, got string, allowed ...string) error {
	return usage(fmt.Errorf("--%s %q: use %s%s", flag, got, explain.Alternatives(allowed), didYouMean(nearest(got, allowed))))
}

// oneOf is nil when got is one of the words, or empty.
func oneOf(flag, got string, allowed ...string) error {
	if got == "" || slices.Contains(allowed, got) {
		return nil
	}
	return wrongValue(flag, got, allowed...)
}

func isUsage(err error) bool {
	var u *usageError
	// cobra reports unknown words after its own commands (completion) without a type.
	return errors.As(err, &u) || strings.HasPrefix(err.Error(), "unknown command ")
}

// wrongWords are the problems of clusters that the command line or the configuration has, and no certificate.
var wrongWords = map[string]bool{
	cluster.CodeDescription: true, cluster.CodeNone: true, cluster.CodeUnknown: true, cluster.CodeNode: true, cluster.CodePurpose: true,
	cluster.CodeNotHere: true, cluster.CodeNoCSR: true, cluster.CodeNotMulti: true, cluster.CodeField: true,
}

func exitCode(err error) int {
	var (
		chosen *exitError
		cfg    config.Errors
		auth   *ca.Error
		end    *capf.EndError
		fault  *capf.ProtocolError
		op     *net.OpError
		dns    *net.DNSError
		web    *certsrv.Problem
		nodes  *cluster.Problem
	)
	switch {
	case errors.As(err, &chosen):
		return chosen.code
	case errors.As(err, &cfg), errors.As(err, &nodes) && wrongWords[nodes.ErrCode]:
		return exitUsage
	case errors.As(err, &end) && end.Err == nil && !end.KeySent:
		return exitDenied
	case errors.As(err, &fault) && (fault.Code() == capf.CodeUnreachable || fault.Code() == capf.CodeSilentPeer):
		return exitUnreachable
	case errors.As(err, &auth) && auth.Timeout, errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return exitUnreachable
	case errors.As(err, &op) && op.Op == "dial", errors.As(err, &dns):
		return exitUnreachable
	case errors.As(err, &web) && (web.ErrCode == certsrv.CodeNotAuthenticated || web.ErrCode == certsrv.CodeForbidden || web.ErrCode == certsrv.CodeTemplateNotOffered):
		return exitDenied
	default:
		return exitFailed
	}
}
