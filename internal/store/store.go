package store

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	// The SQLite driver, pure Go; it registers itself as "sqlite".
	_ "modernc.org/sqlite"
)

// How a file of this package works with the database. There are two ways in, and no other:
//
//	s.read  *sql.DB, for SELECT only (its connections refuse to write). Use QueryContext and QueryRowContext as usual;
//	        s.prepared(ctx, query) gives a kept statement for what is asked often (parsing costs more than a look-up).
//	s.write(ctx, func(ctx context.Context, tx *tx) error { ... }), for everything that changes something, including
//	        the SELECTs that the change depends on. tx has ExecContext, QueryContext and QueryRowContext with the
//	        signatures of *sql.Tx; statements are prepared once for each SQL text and kept, so keep the texts constant and pass
//	        values as arguments.
//
// The function runs in the writer's goroutine, alone in the process, inside BEGIN IMMEDIATE: what it reads cannot change
// before the commit. It must be short, must use the ctx that it is given, must close its rows before the next statement, and must
// not call s.write. It runs at most once. When it returns an error everything that it did is rolled back and s.write returns that error
// unchanged. When s.write returns nil the change is on disk. See write.go.

// Options are the settings of [Open]. The zero value is ready for use.
type Options struct {
	// Log gets the store's own messages; nil discards them.
	Log *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Readers is the largest number of connections for reading; 0 means 8.
	Readers int
	// OpenWait is how long Open waits for a lock that another process holds; 0 means 5 seconds.
	OpenWait time.Duration
}

// busyTimeout is how long SQLite itself waits for another process's lock (design decision 10).
const busyTimeout = 5 * time.Second

// Store is an open database file.
type Store struct {
	path string
	log  *slog.Logger
	now  func() time.Time

	read   *sql.DB // query_only connections
	stmtMu sync.Mutex
	stmts  map[string]*sql.Stmt // of read, by text
	writer *sql.DB              // one connection, used by the writer goroutine only

	queue chan *writing
	stop  chan struct{} // closed by Close
	done  chan struct{} // closed when the writer goroutine has ended
	once  sync.Once
	stats stats
	err   error // of Close

	issuers sync.Map // IDs of issuers that are on disk, so that they are not added with every LSC
}

// Open opens the database file at path, creates it with mode 0600 if there is none, and brings its schema up to date.
// The directory must exist and be writable, because SQLite keeps its write-ahead log beside the file.
// Errors that a user can act on are *[Error].
func Open(ctx context.Context, path string, o Options) (*Store, error) {
	s := &Store{
		path:  path,
		log:   o.Log,
		now:   o.Now,
		queue: make(chan *writing, queueLength),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if o.Readers <= 0 {
		o.Readers = 8
	}
	if o.OpenWait <= 0 {
		o.OpenWait = busyTimeout
	}
	if err := s.checkFile(path); err != nil {
		return nil, err
	}
	conn, err := s.open(ctx, path, o)
	if err != nil {
		return nil, err
	}
	go s.writeLoop(conn) //nolint:contextcheck // outlives Open; Close ends it
	return s, nil
}

// Close lets the writes that are waiting finish, then closes the file. Writes that come later return an [Error] with code
// store.closed. Calling it again is harmless.
func (s *Store) Close() error {
	s.once.Do(func() {
		close(s.stop)
		<-s.done
		s.stmtMu.Lock()
		defer s.stmtMu.Unlock()
		for _, st := range s.stmts {
			s.err = errors.Join(s.err, st.Close())
		}
		s.stmts = nil
		s.err = errors.Join(s.err, s.read.Close(), s.writer.Close())
	})
	return s.err
}

// prepared returns the statement for query on the readers' connections, prepared once and kept until Close. Texts must be constants.
func (s *Store) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	s.stmtMu.Lock()
	defer s.stmtMu.Unlock()
	if st, ok := s.stmts[query]; ok {
		return st, nil
	}
	if s.stopped() {
		return nil, s.closed()
	}
	st, err := s.read.PrepareContext(ctx, query) //nolint:sqlclosecheck // kept, closed by Close
	if err != nil {
		return nil, explain(s.path, err)
	}
	if s.stmts == nil {
		s.stmts = make(map[string]*sql.Stmt)
	}
	s.stmts[query] = st
	return st, nil
}

// Path returns the path of the database file as it was given to [Open].
func (s *Store) Path() string { return s.path }

// checkFile looks at the directory and the file before SQLite does, because SQLite's own answer to every fault of this
// kind is "unable to open the database file", and creates the file so that it never exists with a wider mode.
func (s *Store) checkFile(path string) error {
	dir := filepath.Dir(path)
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fault("store.open", path, "the directory "+dir+" does not exist", "create it: mkdir -p -m 0700 "+dir, err)
	case err != nil:
		return fault("store.open", path, "the directory "+dir+" cannot be read", "check the permissions of "+dir+" and of the directories above it", err)
	case !fi.IsDir():
		return fault("store.open", path, dir+" is not a directory", "give the path of a file in a directory that exists", nil)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // #nosec G304 -- the path is the administrator's setting
	switch {
	case errors.Is(err, os.ErrPermission):
		return fault("store.open", path, "no permission to write "+path+" or to create files in "+dir,
			"let the account that runs the product own them: chown -R ACCOUNT "+dir, err)
	case err != nil:
		return fault("store.open", path, "the file "+path+" cannot be opened for writing", "check that "+path+" is a file on a writable file system", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	fi, err = f.Stat()
	if err != nil {
		return fault("store.open", path, "the file "+path+" cannot be read", "check the file system", err)
	}
	if !fi.Mode().IsRegular() {
		return fault("store.open", path, path+" is not a regular file", "give the path of a file", nil)
	}
	if fi.Mode().Perm()&0o077 != 0 {
		s.log.Warn("database can be read by other accounts", "event", "store.permissions", "op", "open", "path", path,
			"mode", fi.Mode().Perm().String(), "remedy", "chmod 0600 "+path)
	}
	// A directory that takes no new file would fail later, at the first write, with a message about the log.
	probe, err := os.CreateTemp(dir, ".callsign-probe-*")
	if err != nil {
		return fault("store.open", path, "no file can be created in "+dir+", where SQLite keeps its write-ahead log",
			"let the account that runs the product own it: chown ACCOUNT "+dir, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}
