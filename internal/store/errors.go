package store

import (
	"errors"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Error is a failure of the database that a user can act on.
type Error struct {
	ErrCode string // "store.open", "store.locked", "store.corrupt", "store.newer-schema", "store.full", "store.write", "store.closed", "store.in-use"
	Path    string // the database file
	Detail  string // what happened
	Fix     string // what to do
	Err     error  // cause, may be nil
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Code returns the stable code.
func (e *Error) Code() string { return e.ErrCode }

// Remedy returns what to do.
func (e *Error) Remedy() string { return e.Fix }

func fault(code, path, detail, fix string, err error) *Error {
	return &Error{ErrCode: code, Path: path, Detail: detail, Fix: fix, Err: err}
}

// resultCode returns SQLite's primary result code of err, 0 when err is not SQLite's.
func resultCode(err error) int {
	if se, ok := errors.AsType[*sqlite.Error](err); ok {
		return se.Code() & 0xff
	}
	return 0
}

func isBusy(err error) bool {
	c := resultCode(err)
	return c == sqlite3.SQLITE_BUSY || c == sqlite3.SQLITE_LOCKED
}

// explain turns an error of SQLite into an [Error]; other errors, and errors that are explained already, stay what they are.
func explain(path string, err error) error {
	var done *Error
	if err == nil || errors.As(err, &done) {
		return err
	}
	switch resultCode(err) {
	case 0:
		return err
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return fault("store.locked", path, "another process holds the lock of the database "+path,
			"find it with: fuser -v "+path+"; if it is a backup or a shell with an open transaction, end that", err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fault("store.corrupt", path, "the file "+path+" is damaged or is not a database of this product",
			"stop the server, keep a copy of the file with its -wal and -shm files, and restore the last backup", err)
	case sqlite3.SQLITE_FULL:
		return fault("store.full", path, "no space left for the database "+path, "free space on the file system of "+path, err)
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY:
		return fault("store.open", path, "the database "+path+" cannot be opened for writing",
			"check the owner and permissions of the file, of its -wal and -shm files and of the directory", err)
	default:
		return fault("store.write", path, "the database "+path+" refused the operation", "check the system log for disk errors; if there are none report a defect", err)
	}
}
