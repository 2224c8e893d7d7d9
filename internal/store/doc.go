// Package store keeps everything that must survive a restart in one SQLite file, behind the small storage interfaces
// that the rooms of the domain declare: enroll.Journal here, the others in files of their own.
//
// # Durability and speed
//
// The file is in WAL mode with synchronous=FULL: when a method that writes has returned nil, the change is on disk. So
// that this does not cost one fsync for each phone there is one writer in the process. It takes every write that is
// waiting, runs all of them in one BEGIN IMMEDIATE transaction, each in a savepoint of its own, and commits once (group
// commit). A write that fails is rolled back alone. Reads run beside the writer on connections of their own.
//
// # Other processes
//
// Commands open the same file while the server runs. A lock held by another process is waited for: SQLite itself waits
// up to five seconds, and the writer begins again until the contexts of its callers end. Nothing is cached across calls,
// so what another process wrote is seen by the next read.
//
// # Values
//
// Times are stored as INTEGER, Unix milliseconds in UTC, NULL for the zero time; durations as INTEGER milliseconds. What is
// read back is UTC and cut to the millisecond. Integers sort and compare as times do, which text in several zones does
// not; datetime(column/1000, 'unixepoch') shows them in a shell.
//
// # Private keys
//
// The identity certificates of clusters, and the requests for them, are here with their private keys. The file and the files
// beside it are made with mode 0600, and what is deleted is written over (secure_delete); the write-ahead log has it until
// it begins anew, at the latest when the last process closes the file.
//
// # Schema
//
// The SQL files in migrations are numbered and applied in order by [Open]; a file once released is never changed. A
// database written by a newer version of the product is refused with code store.newer-schema.
//
// All types are safe for concurrent use.
package store
