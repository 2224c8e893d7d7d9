package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// dsn returns the data source name of path with the settings that every connection has. The settings are part of the
// name because a pool opens connections whenever it likes.
func dsn(path string, readOnly bool, wait time.Duration) string {
	q := url.Values{}
	q.Set("_busy_timeout", strconv.FormatInt(wait.Milliseconds(), 10))
	q.Set("_foreign_keys", "1")
	q.Set("_dqs", "0")
	q.Set("_defensive", "1")
	q.Set("_error_rc", "1")
	if readOnly {
		q.Set("_query_only", "1")
	} else {
		q.Set("_journal_mode", "WAL")
		q.Set("_synchronous", "FULL")
		q.Set("_txlock", "immediate")
		// There are private keys in the file. What is deleted is written over, not left until the room is needed.
		q.Set("_pragma", "secure_delete(1)")
	}
	// SQLite decodes %XX in a URI, so a path with "?", "#" or "%" in it stays one path.
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// open opens both pools, migrates, and returns the writer's connection. It begins again while another process holds the
// lock: a change to WAL mode and the first migration are not covered by SQLite's own waiting.
func (s *Store) open(ctx context.Context, path string, o Options) (*sql.Conn, error) {
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, o.OpenWait)
	defer cancel()
	for {
		conn, err := s.tryOpen(ctx, caller, path, o)
		if err != nil && ctx.Err() != nil && caller.Err() == nil {
			return nil, fault("store.locked", path, fmt.Sprintf("the database %s could not be opened within %v", path, o.OpenWait),
				"see whether another process holds its lock: fuser -v "+path+"; or whether the disk is very slow", err)
		}
		if err == nil || !isBusy(err) && !errors.Is(err, errRace) {
			return conn, err
		}
		s.log.Debug("database is locked, waiting", "event", "store.locked", "op", "open", "path", path, "err", err)
		pause := time.NewTimer(50 * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, explain(path, err)
		}
	}
}

// errRace marks a migration that failed perhaps only because another process made the same step at the same time.
var errRace = errors.New("migrations raced")

// tryOpen is one try to open, within ctx. Changing the schema of a large database takes as long as it takes, within caller.
func (s *Store) tryOpen(ctx, caller context.Context, path string, o Options) (conn *sql.Conn, err error) {
	writer, err := sql.Open("sqlite", dsn(path, false, min(busyTimeout, o.OpenWait)))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	writer.SetMaxOpenConns(1)
	read, err := sql.Open("sqlite", dsn(path, true, busyTimeout))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), writer.Close())
	}
	read.SetMaxOpenConns(o.Readers)
	read.SetMaxIdleConns(o.Readers)
	defer func() {
		if err != nil {
			_ = read.Close()
			_ = writer.Close()
		}
	}()

	if err := s.migrate(ctx, caller, writer); err != nil {
		return nil, explain(path, err)
	}
	// The writer's connection outlives ctx, which is Open's.
	conn, err = writer.Conn(context.WithoutCancel(ctx))
	if err != nil {
		return nil, explain(path, err)
	}
	s.writer, s.read = writer, read
	return conn, nil
}

// migrate brings the schema to the newest version that this program knows. It looks within ctx, and works within caller.
func (s *Store) migrate(ctx, caller context.Context, db *sql.DB) error {
	// Asked first and outside of the migrations, so that a damaged file is told from a failed migration.
	var pages int64
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&pages); err != nil {
		return err
	}
	p, err := provider(db)
	if err != nil {
		return err
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return errors.Join(errRace, err)
	}
	if current > target {
		return fault("store.newer-schema", s.path,
			fmt.Sprintf("the database %s has schema version %d, and this program knows up to %d", s.path, current, target),
			"run the newer version of the program that wrote it, or restore a backup made before the upgrade", nil)
	}
	if current == target {
		return nil
	}
	if current > 0 {
		s.log.Info("changing the database schema; a large database takes its time", "event", "store.migrating", "op", "open", "path", s.path,
			"from", current, "to", target)
	}
	results, err := p.Up(caller)
	for _, r := range results {
		s.log.Info("database schema changed", "event", "store.migrated", "op", "open", "path", s.path, "version", r.Source.Version,
			"duration_ms", r.Duration.Milliseconds())
	}
	if err != nil {
		return errors.Join(errRace, err)
	}
	return nil
}
