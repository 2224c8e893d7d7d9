//go:build !unix

package store

// LockServer does nothing where there is no flock: one server a database is then the administrator's care.
func (s *Store) LockServer() (release func() error, err error) {
	return func() error { return nil }, nil
}
