package certsrvtest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// entry is a row of the CA's database: the record, and what is needed to issue it later.
type entry struct {
	Record
	Issuance *Issuance     `json:"issuance,omitempty"` // of pending requests only
	Text     string        `json:"text,omitempty"`     // extra words of the disposition message, after its code
	Approve  time.Duration `json:"approve_after,omitempty"`

	approving bool // a manager is at it; not on disk
}

// database is the CA's request table. Its file is a journal of rows, one JSON object a line; the last row of an id
// counts, and a last line torn by a crash is dropped. So a request costs one append, however many there are.
type database struct {
	mu   sync.Mutex
	rows map[int]entry
	next int
	file *os.File
}

const stateFile = "requests.jsonl"

func openDatabase(dir string, first int) (*database, error) {
	db := &database{rows: map[int]entry{}, next: first}
	if dir == "" {
		return db, nil
	}
	name := filepath.Join(dir, stateFile)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the directory is the operator's choice
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	data, err := io.ReadAll(f)
	if err == nil {
		err = db.load(data, f)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read state %s: %w", name, err), f.Close())
	}
	db.file = f
	return db, nil
}

func (db *database) load(data []byte, f *os.File) error {
	whole := bytes.LastIndexByte(data, '\n') + 1
	for i, line := range bytes.Split(data[:whole], []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
		db.rows[e.ID] = e
		db.next = max(db.next, e.ID+1)
	}
	if err := f.Truncate(int64(whole)); err != nil {
		return err
	}
	_, err := f.Seek(int64(whole), io.SeekStart)
	return err
}

// add gives e the next request id, stores it and returns the id.
func (db *database) add(e entry) (int, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	e.ID = db.next
	if err := db.put(e); err != nil {
		return 0, err
	}
	db.next++
	return e.ID, nil
}

// update changes the row with this id. change runs under the lock and must be quick; when it returns an error nothing is stored.
func (db *database) update(id int, change func(*entry) error) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	e, ok := db.rows[id]
	if !ok {
		return &statusError{eNoRequest}
	}
	if err := change(&e); err != nil {
		return err
	}
	return db.put(e)
}

func (db *database) put(e entry) error {
	if db.file != nil {
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("store request: %w", err)
		}
		if _, err := db.file.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("store request: %w", err)
		}
	}
	db.rows[e.ID] = e
	return nil
}

func (db *database) get(id int) (entry, bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	e, ok := db.rows[id]
	return e, ok
}

func (db *database) all() []Record {
	db.mu.Lock()
	defer db.mu.Unlock()
	rows := make([]Record, 0, len(db.rows))
	for _, e := range db.rows {
		rows = append(rows, e.Record)
	}
	slices.SortFunc(rows, func(a, b Record) int { return cmp.Compare(a.ID, b.ID) })
	return rows
}

func (db *database) close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.file == nil {
		return nil
	}
	err := db.file.Close()
	db.file = nil
	return err
}
