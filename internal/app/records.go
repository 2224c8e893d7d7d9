package app

import (
	"context"

	"callsign/internal/cluster"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
	"callsign/internal/store"
)

// Records is the database of a configuration, opened for a command. Commands work on it also while the server runs.
type Records struct {
	Phones   fleet.Store
	Journal  enroll.Journal
	Clusters cluster.Store
	store    *store.Store
}

// OpenRecords opens the database that c names and brings its schema up to date.
func OpenRecords(ctx context.Context, c *config.Config) (*Records, error) {
	s, err := store.Open(ctx, c.Store.Path, store.Options{})
	if err != nil {
		return nil, err
	}
	return newRecords(s), nil
}

func newRecords(s *store.Store) *Records {
	return &Records{Phones: s.Devices(), Journal: s.Journal(), Clusters: s.Clusters(), store: s}
}

// Close waits for writes under way and closes the database.
func (r *Records) Close() error { return r.store.Close() }
