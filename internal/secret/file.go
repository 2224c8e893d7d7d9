package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// MaxFileBytes is the largest secret file that FromFile reads.
const MaxFileBytes = 64 << 10

// FileError tells why a secret file was refused. It never contains file content.
type FileError struct {
	Path    string
	ErrCode string // "secret.file-missing", ".file-unreadable", ".file-exposed", ".file-empty", ".file-malformed"
	Detail  string // what is wrong, without the path
	Fix     string // what to do
	Err     error  // the operating system's error, or nil
}

// Error implements error.
func (e *FileError) Error() string { return "secret file " + e.Path + ": " + e.Detail }

// Unwrap returns the operating system's error.
func (e *FileError) Unwrap() error { return e.Err }

// Code returns the stable code.
func (e *FileError) Code() string { return e.ErrCode }

// Remedy returns what to do.
func (e *FileError) Remedy() string { return e.Fix }

// FromFile reads a secret of one line from path; one line end after it is cut off. The file must be a regular file
// which group and others cannot read. Every failure is a
// *FileError.
func FromFile(path string) (String, error) {
	data, err := read(path)
	if err != nil {
		return String{}, err
	}
	data = bytes.TrimSuffix(data, []byte("\n"))
	data = bytes.TrimSuffix(data, []byte("\r"))
	switch {
	case len(data) == 0:
		return String{}, &FileError{
			Path: path, ErrCode: "secret.file-empty", Detail: "is empty",
			Fix: "write the secret as the only line of " + path,
		}
	case bytes.ContainsAny(data, "\r\n\x00"):
		return String{}, &FileError{
			Path: path, ErrCode: "secret.file-malformed", Detail: "has more than one line or a NUL byte",
			Fix: "write the secret as the only line of " + path,
		}
	}
	return String{v: string(data)}, nil
}

// BytesFromFile reads a secret that is no text, such as a keytab, from path. The file must be a regular file, not empty,
// which group and others cannot read. Every failure is a *FileError.
func BytesFromFile(path string) (Bytes, error) {
	data, err := read(path)
	if err != nil {
		return Bytes{}, err
	}
	if len(data) == 0 {
		return Bytes{}, &FileError{Path: path, ErrCode: "secret.file-empty", Detail: "is empty", Fix: "write the secret into " + path}
	}
	return Bytes{v: data}, nil
}

// CheckFile reports as a *FileError what FromFile would refuse before it reads: the file is missing, cannot be
// opened, is no regular file, or can be read by group or others. It serves for private keys as well.
func CheckFile(path string) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

func read(path string) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // the file was only read
	data, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(data) > MaxFileBytes {
		return nil, &FileError{
			Path: path, ErrCode: "secret.file-malformed",
			Detail: fmt.Sprintf("is larger than %d KiB", MaxFileBytes>>10),
			Fix:    "check that " + path + " is the file you mean: a secret is one line",
		}
	}
	return data, nil
}

// open opens path and judges the open file, not the name, so that it cannot be exchanged in between.
func open(path string) (*os.File, error) {
	// A pipe would block the opening, so the name is looked at first.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, notRegular(path)
	}
	f, err := os.Open(path) //nolint:gosec // the administrator names the file
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &FileError{
			Path: path, ErrCode: "secret.file-missing", Detail: "does not exist", Err: err,
			Fix: "create " + path + " with mode 0600, or correct its name: in the configuration, or on the command line",
		}
	}
	if err != nil {
		return nil, unreadable(path, err)
	}
	info, err = f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, unreadable(path, err)
	}
	if !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, notRegular(path)
	}
	if mode := info.Mode().Perm(); mode&0o044 != 0 {
		_ = f.Close()
		return nil, &FileError{
			Path: path, ErrCode: "secret.file-exposed",
			Detail: fmt.Sprintf("can be read by other users (mode %04o)", mode),
			Fix:    "run: chmod 600 " + path + "; then change the secret if others had accounts on this machine",
		}
	}
	return f, nil
}

func notRegular(path string) error {
	return &FileError{
		Path: path, ErrCode: "secret.file-malformed", Detail: "is not a regular file",
		Fix: "name a regular file that holds the secret",
	}
}

func unreadable(path string, err error) error {
	detail := "cannot be read"
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		detail += ": " + pathErr.Err.Error()
	}
	return &FileError{
		Path: path, ErrCode: "secret.file-unreadable", Detail: detail, Err: err,
		Fix: "make " + path + " readable for the user that runs callsign, and for nobody else",
	}
}
