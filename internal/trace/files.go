package trace

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The names of the files in a trace directory.
const (
	CAPFFile  = "capf.txt"
	StartFile = "nginx.txt"
	ErrorFile = "error.log"
)

// lookEvery is how often at most a file is looked for under its name.
const lookEvery = time.Second

// Files are the open files of a trace directory. A file that was renamed or removed, as logrotate does it, is made again
// under its name with the first line that is written a second or more after the last look.
type Files struct {
	dir                 string
	capf, start, errors *file
}

// OpenFiles opens capf.txt, nginx.txt and error.log in dir for appending, and makes them and dir when they are missing
// (modes 0640 and 0750). The error is a *FileError.
func OpenFiles(dir string) (*Files, error) {
	return openFiles(dir, time.Now)
}

// openFiles is OpenFiles with the clock that tells when to look for rotated files.
func openFiles(dir string, now func() time.Time) (*Files, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fileError(dir, err)
	}
	f := Files{dir: dir}
	for _, each := range []struct {
		name string
		to   **file
	}{{CAPFFile, &f.capf}, {StartFile, &f.start}, {ErrorFile, &f.errors}} {
		opened := &file{path: filepath.Join(dir, each.name), now: now}
		if err := opened.open(); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		*each.to = opened
	}
	return &f, nil
}

// Handler returns a Handler that writes to the files and puts certificates beside them; o's own writers are not used.
func (f *Files) Handler(o Options) *Handler {
	o.CAPF, o.RAStart, o.ErrorLog, o.Certificates = f.capf, f.start, f.errors, f.dir
	return New(o)
}

// Close closes the files. Handlers must not be used afterwards.
func (f *Files) Close() error {
	var errs []error
	for _, each := range []*file{f.capf, f.start, f.errors} {
		if each != nil {
			errs = append(errs, each.Close())
		}
	}
	return errors.Join(errs...)
}

// file appends to whatever file has its path.
type file struct {
	path string
	now  func() time.Time

	mu     sync.Mutex
	to     *os.File
	looked time.Time // when to was last known to be the file at path
}

func (f *file) open() error {
	opened, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640) //nolint:gosec // configured; the group reads logs
	if err != nil {
		return fileError(f.path, err)
	}
	f.to, f.looked = opened, f.now()
	return nil
}

// Write implements io.Writer.
func (f *file) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rotated := f.follow()
	n, err := f.to.Write(p)
	return n, errors.Join(rotated, err)
}

// follow opens the file again when another one, or none, has its name. Until that works the old file is written to:
// lines in a renamed file are better than no lines.
func (f *file) follow() error {
	now := f.now()
	if passed := now.Sub(f.looked); passed >= 0 && passed < lookEvery { // below zero: the clock was set back
		return nil
	}
	f.looked = now
	named, err := os.Stat(f.path)
	if err == nil {
		opened, err := f.to.Stat()
		if err == nil && os.SameFile(named, opened) {
			return nil
		}
	}
	old := f.to
	if err := f.open(); err != nil {
		return err
	}
	return old.Close()
}

// Close closes the file.
func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.to.Close()
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
