package enroll

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"callsign/internal/ca"
)

// Error is a request that the engine does not take.
type Error struct {
	ErrCode string // "enroll.unknown-authority", "enroll.bad-request", "enroll.closed"
	Detail  string
	Fix     string
}

// Error implements error.
func (e *Error) Error() string { return e.Detail }

// Code returns the stable code.
func (e *Error) Code() string { return e.ErrCode }

// Remedy returns what to do.
func (e *Error) Remedy() string { return e.Fix }

// A verdict is what an attempt's error means for the row.
type verdict struct {
	failure Failure
	final   bool
	after   time.Duration // what the authority asked for
}

// judge reads an authority's error.
func judge(err error) verdict {
	v := verdict{failure: Failure{
		Code: "enroll.authority-error", Detail: err.Error(), Timeout: timedOut(err),
		Remedy: "the request is tried again by itself; look for the authority's own messages at the same time in the log",
	}}
	if coded, ok := errors.AsType[interface {
		Code() string
		Remedy() string
		error
	}](err); ok {
		v.failure.Code, v.failure.Remedy = coded.Code(), coded.Remedy()
	}
	if ce, ok := errors.AsType[*ca.Error](err); ok {
		v.failure.HResult = ce.HResult
		v.failure.Timeout = v.failure.Timeout || ce.Timeout
		v.final, v.after = ce.Final, ce.After
	}
	return v
}

func timedOut(err error) bool {
	var ne net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

// refusal turns a denial into what the row keeps.
func refusal(d *ca.Error) Failure {
	if d == nil {
		return Failure{Code: "enroll.denied", Detail: "the authority denied the request and gave no reason", Remedy: "ask the administrator of the authority"}
	}
	f := judge(d).failure
	f.Timeout = false
	return f
}

// internalError is an attempt that ended in a defect of an authority's code.
type internalError struct{ cause any }

func (e *internalError) Error() string { return fmt.Sprintf("internal error: %v", e.cause) }
func (e *internalError) Code() string  { return "enroll.internal" }
func (e *internalError) Remedy() string {
	return "this is a defect of the program: report it with the log; the request is tried again by itself"
}
