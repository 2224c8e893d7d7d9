package certfile

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
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
	CodeTooLarge    = "certfile.too-large"      // over one of the limits, which are the constants that begin with Max
	CodeDamaged     = "certfile.damaged"        // a block or the DER in it does not parse
	CodeUnsupported = "certfile.unsupported"    // an encrypted key in PEM, or a form that is not read
	CodeEmpty       = "certfile.nothing-found"  // nothing of what was asked for is in the file
	CodeMismatch    = "certfile.key-mismatch"   // no certificate in the file fits the key
	CodeWrite       = "certfile.write-failed"   // the file could not be written
	CodeManyKeys    = "certfile.too-many-keys"  // more than one key where one is wanted
	CodeWeakKey     = "certfile.key-unsuitable" // the key cannot be used for signing here

	// A PKCS #12 file, and nobody knows its password.
	CodePasswordNeeded = "certfile.password-needed" //nolint:gosec // the name of a problem, no credential
	// The password does not open the PKCS #12 file.
	CodeWrongPassword = "certfile.wrong-password" //nolint:gosec // the name of a problem, no credential
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
			Fix: "create " + path + ", or correct its name: in the configuration, or on the command line",
		}
	}
	if errors.Is(err, syscall.EISDIR) {
		return &Error{Path: path, ErrCode: CodeUnreadable, Detail: "is a directory", Fix: "name a file in " + path}
	}
	return &Error{
		Path: path, ErrCode: CodeUnreadable, Detail: "cannot be read", Err: err,
		Fix: "make " + path + " readable for the user that runs callsign",
	}
}

// withPath sets the path of every *Error in a tree of joined errors that has none.
func withPath(err error, path string) error {
	switch e := err.(type) { //nolint:errorlint // walks the tree itself, node by node
	case *Error:
		if e.Path == "" {
			e.Path = path
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			_ = withPath(inner, path)
		}
	}
	return err
}

func damaged(detail string, err error) *Error {
	return &Error{
		ErrCode: CodeDamaged, Detail: detail, Err: err,
		Fix: "export or copy it again, whole, from the lines -----BEGIN to -----END (PEM) or as binary (DER)",
	}
}

func encryptedKey() *Error {
	return &Error{
		ErrCode: CodeUnsupported, Detail: "the private key is encrypted with a pass phrase",
		Fix: "decrypt it into a file of mode 0600: openssl pkey -in FILE -out key.pem",
	}
}

func tooManyBytes() *Error {
	return &Error{
		ErrCode: CodeTooLarge, Detail: fmt.Sprintf("is larger than %d MiB", MaxBytes>>20),
		Fix: "check that this is the file you mean; split a bundle of this size",
	}
}

func tooManyObjects() *Error {
	return &Error{
		ErrCode: CodeTooLarge, Detail: fmt.Sprintf("holds more than %d objects", MaxObjects),
		Fix: "check that this is the file you mean; split a bundle of this size",
	}
}

func tooLargeObject(name string, size, limit int) *Error {
	return &Error{
		ErrCode: CodeTooLarge,
		Detail:  fmt.Sprintf("%s has %d bytes, more than %d KiB", name, size, limit>>10),
		Fix:     "check that this is the file you mean: no device accepts an object of this size",
	}
}

// convertCommand rewrites a PKCS #12 file as PEM.
const convertCommand = "openssl pkcs12 -in FILE -nodes -out certificate-and-key.pem"

func convertPKCS12(detail string, err error) *Error {
	return &Error{ErrCode: CodeUnsupported, Detail: detail, Err: err, Fix: "convert it: " + convertCommand}
}

func badPKCS12() *Error {
	return &Error{
		ErrCode: CodeDamaged, Detail: "the PKCS #12 file is damaged",
		Fix: "export or copy it again; or convert it: " + convertCommand,
	}
}

func tooManyIterations(n int64) *Error {
	return &Error{
		ErrCode: CodeTooLarge,
		Detail:  fmt.Sprintf("the PKCS #12 file asks for %d rounds of key derivation, more than the %d allowed for a key and %d for a file", n, MaxIterations, maxWork),
		Fix:     "do not trust a file like this from a stranger; otherwise convert it: " + convertCommand,
	}
}
