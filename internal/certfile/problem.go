package certfile

import (
	"errors"
	"fmt"
	"io/fs"
)

// Error is a certificate or key file that cannot be used. It never contains key material.
type Error struct {
	Path    string // file name, empty when bytes were parsed
	Line    int    // line of the PEM block, 0 when it does not apply
	ErrCode string // "certfile.damaged", ...; see the constants
	Detail  string // what is wrong, without the path
	Fix     string // what to do
	Err     error  // underlying error, or nil
}

// The codes of an Error.
const (
	CodeMissing     = "certfile.missing"        // there is no such file
	CodeUnreadable  = "certfile.unreadable"     // the operating system refuses it
	CodeTooLarge    = "certfile.too-large"      // over MaxBytes or MaxObjects
	CodeDamaged     = "certfile.damaged"        // a block or the DER in it does not parse
	CodeUnsupported = "certfile.unsupported"    // PKCS #7, PKCS #12, an encrypted or unknown key
	CodeEmpty       = "certfile.nothing-found"  // nothing of what was asked for is in the file
	CodeMismatch    = "certfile.key-mismatch"   // no certificate in the file fits the key
	CodeWrite       = "certfile.write-failed"   // the file could not be written
	CodeManyKeys    = "certfile.too-many-keys"  // more than one key where one is wanted
	CodeWeakKey     = "certfile.key-unsuitable" // the key cannot be used for signing here
)

// Error implements error.
func (e *Error) Error() string {
	text := e.Detail
	switch {
	case e.Path != "" && e.Line > 0:
		text = fmt.Sprintf("%s:%d: %s", e.Path, e.Line, text)
	case e.Path != "":
		text = e.Path + ": " + text
	case e.Line > 0:
		text = fmt.Sprintf("line %d: %s", e.Line, text)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the underlying error.
func (e *Error) Unwrap() error { return e.Err }

// Code returns the stable code.
func (e *Error) Code() string { return e.ErrCode }

// Remedy returns what to do.
func (e *Error) Remedy() string { return e.Fix }

// openError turns the operating system's error into an *Error.
func openError(path string, err error) *Error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err // the path is said already
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{
			Path: path, ErrCode: CodeMissing, Detail: "there is no such file", Err: err,
			Fix: "create " + path + ", or correct its name where it is configured",
		}
	}
	return &Error{
		Path: path, ErrCode: CodeUnreadable, Detail: "cannot be read", Err: err,
		Fix: "make " + path + " readable for the user that runs callsign",
	}
}

// withPath sets the path of every *Error in a tree of joined errors.
func withPath(err error, path string) error {
	switch e := err.(type) { //nolint:errorlint // walks the tree itself, node by node
	case *Error:
		e.Path = path
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			_ = withPath(inner, path)
		}
	}
	return err
}
