package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/pressly/goose/v3"
)

// checkWait is how long Check waits for a lock.
const checkWait = 5 * time.Second

// Check opens the database file at path for reading, without migrating it, and returns the version of its schema and the
// newest one that this program knows. Version 0 means that there is no file yet, or nothing in it. Errors that a user can
// act on are *Error.
func Check(ctx context.Context, path string) (version, newest int64, err error) {
	db, err := readable(path)
	if db == nil || err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var tables int64
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE name = ?", goose.DefaultTablename).Scan(&tables); err != nil {
		return 0, 0, explain(path, err)
	}
	p, err := provider(db)
	if err != nil {
		return 0, 0, err
	}
	sources := p.ListSources()
	newest = sources[len(sources)-1].Version
	if tables == 0 {
		return 0, newest, nil
	}
	if err := db.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM "+goose.DefaultTablename).Scan(&version); err != nil {
		return 0, newest, explain(path, err)
	}
	if version > newest {
		return version, newest, fault("store.newer-schema", path,
			fmt.Sprintf("the database %s has schema version %d, and this program knows up to %d", path, version, newest),
			"run the newer version of the program that wrote it, or restore a backup made before the upgrade", nil)
	}
	return version, newest, nil
}

// HighestRequestID is that of [Journal] for a database that nobody has opened: it is read as Check reads it. 0 when there
// is no file. Its schema has to be the newest.
func HighestRequestID(ctx context.Context, path, authority string) (_ int64, err error) {
	db, err := readable(path)
	if db == nil || err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var n sql.NullInt64
	err = db.QueryRowContext(ctx, highestCANumber, authority).Scan(&n)
	return n.Int64, explain(path, err)
}

// readable opens a database for reading; nil when there is no file.
func readable(path string) (*sql.DB, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	// mode=rw does not create the file, and unlike ro it leaves no -wal file behind; query_only keeps it unchanged.
	db, err := sql.Open("sqlite", dsn(path, true, checkWait)+"&mode=rw")
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}
