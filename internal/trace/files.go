package trace

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// The names of the files in a trace directory.
const (
	CAPFFile  = "capf.txt"
	StartFile = "nginx.txt"
	ErrorFile = "error.log"
)

// Files are the open files of a trace directory.
type Files struct {
	capf, start, errors *os.File
}

// OpenFiles opens capf.txt, nginx.txt and error.log in dir for appending, and makes them and dir when they are missing
// (modes 0640 and 0750). The error is a *FileError.
func OpenFiles(dir string) (*Files, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fileError(dir, err)
	}
	var f Files
	for _, file := range []struct {
		name string
		to   **os.File
	}{{CAPFFile, &f.capf}, {StartFile, &f.start}, {ErrorFile, &f.errors}} {
		path := filepath.Join(dir, file.name)
		opened, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640) //nolint:gosec // configured; the group reads logs
		if err != nil {
			return nil, errors.Join(fileError(path, err), f.Close())
		}
		*file.to = opened
	}
	return &f, nil
}

// Handler returns a Handler that writes to the files; o's own writers are not used.
func (f *Files) Handler(o Options) *Handler {
	o.CAPF, o.RAStart, o.ErrorLog = f.capf, f.start, f.errors
	return New(o)
}

// Close closes the files. Handlers must not be used afterwards.
func (f *Files) Close() error {
	var errs []error
	for _, file := range []*os.File{f.capf, f.start, f.errors} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	return errors.Join(errs...)
}

// FileError is a trace file that cannot be opened.
type FileError struct {
	Path string
	Err  error
}

func fileError(path string, err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return &FileError{Path: path, Err: err}
}

// Error implements error.
func (e *FileError) Error() string { return "trace file " + e.Path + ": " + e.Err.Error() }

// Unwrap returns the operating system's error.
func (e *FileError) Unwrap() error { return e.Err }

// Code returns "trace.file-unwritable".
func (e *FileError) Code() string { return "trace.file-unwritable" }

// Remedy returns what to do.
func (e *FileError) Remedy() string {
	return "make " + e.Path + " writable for the user that runs callsign, or set trace.dir to another directory"
}
