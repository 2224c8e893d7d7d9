package enrolltest

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"callsign/internal/enroll"
)

// Memory is an enroll.Journal in memory. The zero value is an empty journal. It survives the engines that use it, so dropping an
// engine and making another one is a crash.
type Memory struct {
	// Fault, when set, is asked before each call with the name of the method; an error that it returns is the
	// method's, and nothing is done. Set it before the first use.
	Fault func(method string) error

	mu   sync.Mutex
	rows []enroll.Enrolment // in order of arrival
}

func (m *Memory) enter(ctx context.Context, method string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.Fault != nil {
		return m.Fault(method)
	}
	return nil
}

// clone copies a row so that nobody shares memory with the journal, and cuts it to what a journal keeps.
func clone(e enroll.Enrolment) enroll.Enrolment {
	e.Login, e.Hold = nil, false
	e.PublicKey = bytes.Clone(e.PublicKey)
	e.Subject = bytes.Clone(e.Subject)
	e.CSR = bytes.Clone(e.CSR)
	e.Extensions = slices.Clone(e.Extensions)
	e.Certificate = bytes.Clone(e.Certificate)
	e.Chain = slices.Clone(e.Chain)
	e.Progress.Mark = bytes.Clone(e.Progress.Mark)
	if e.Failure != nil {
		f := *e.Failure
		e.Failure = &f
	}
	if e.Decision != nil {
		d := *e.Decision
		d.At = d.At.UTC().Truncate(time.Millisecond)
		e.Decision = &d
	}
	for _, t := range []*time.Time{&e.NotAfter, &e.NextAttempt, &e.Created, &e.Updated, &e.Dismissed} {
		*t = t.UTC().Truncate(time.Millisecond)
	}
	return e
}

func (m *Memory) last(r *enroll.Request) int {
	key := r.Key()
	for i := len(m.rows) - 1; i >= 0; i-- {
		if m.rows[i].Key() == key {
			return i
		}
	}
	return -1
}

// Open implements enroll.Journal.
func (m *Memory) Open(ctx context.Context, e enroll.Enrolment) (enroll.Enrolment, bool, error) {
	if err := m.enter(ctx, "Open"); err != nil {
		return enroll.Enrolment{}, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.last(&e.Request); i >= 0 {
		row, admission := enroll.Admit(e, m.rows[i])
		switch admission {
		case enroll.Existing:
			return clone(row), false, nil
		case enroll.Replace:
			old := &m.rows[i]
			old.State, old.Updated, old.Version = enroll.Stale, e.Created.UTC().Truncate(time.Millisecond), old.Version+1
		}
		e = row
	}
	e = clone(e)
	e.Version = 1
	m.rows = append(m.rows, e)
	return clone(e), true, nil
}

// Update implements enroll.Journal.
func (m *Memory) Update(ctx context.Context, e enroll.Enrolment) (enroll.Enrolment, error) {
	if err := m.enter(ctx, "Update"); err != nil {
		return enroll.Enrolment{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.rows, func(r enroll.Enrolment) bool { return r.ID == e.ID })
	if i < 0 {
		return enroll.Enrolment{}, enroll.ErrNotFound
	}
	if m.rows[i].Version != e.Version {
		return enroll.Enrolment{}, enroll.ErrConflict
	}
	e = clone(e)
	e.Version++
	e.Request, e.Created = m.rows[i].Request, m.rows[i].Created
	m.rows[i] = e
	return clone(e), nil
}

// Get implements enroll.Journal.
func (m *Memory) Get(ctx context.Context, id string) (enroll.Enrolment, error) {
	if err := m.enter(ctx, "Get"); err != nil {
		return enroll.Enrolment{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.rows {
		if r.ID == id {
			return clone(r), nil
		}
	}
	return enroll.Enrolment{}, enroll.ErrNotFound
}

// Last implements enroll.Journal.
func (m *Memory) Last(ctx context.Context, r enroll.Request) (enroll.Enrolment, error) {
	if err := m.enter(ctx, "Last"); err != nil {
		return enroll.Enrolment{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.last(&r); i >= 0 {
		return clone(m.rows[i]), nil
	}
	return enroll.Enrolment{}, enroll.ErrNotFound
}

// ByOwner implements enroll.Journal.
func (m *Memory) ByOwner(ctx context.Context, owner string) ([]enroll.Enrolment, error) {
	if err := m.enter(ctx, "ByOwner"); err != nil {
		return nil, err
	}
	var rows []enroll.Enrolment
	for _, r := range m.All() {
		if r.Owner == owner {
			rows = append(rows, r)
		}
	}
	slices.Reverse(rows)
	return rows, nil
}

// Due implements enroll.Journal.
func (m *Memory) Due(ctx context.Context, now time.Time, limit int) ([]enroll.Enrolment, error) {
	if err := m.enter(ctx, "Due"); err != nil {
		return nil, err
	}
	var rows []enroll.Enrolment
	for _, r := range m.All() {
		if r.State.Open() && !r.NextAttempt.IsZero() && !r.NextAttempt.After(now) {
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b enroll.Enrolment) int { return a.NextAttempt.Compare(b.NextAttempt) })
	return rows[:min(limit, len(rows))], nil
}

// HighestRequestID implements enroll.Journal.
func (m *Memory) HighestRequestID(ctx context.Context, authority string) (int64, error) {
	if err := m.enter(ctx, "HighestRequestID"); err != nil {
		return 0, err
	}
	var highest int64
	for _, r := range m.All() {
		if n, err := strconv.ParseInt(r.Progress.RequestID, 10, 64); err == nil && r.Authority == authority {
			highest = max(highest, n)
		}
	}
	return highest, nil
}

// Find implements enroll.Journal.
func (m *Memory) Find(ctx context.Context, f enroll.Filter) (rows []enroll.Enrolment, total int, err error) {
	if err := m.enter(ctx, "Find"); err != nil {
		return nil, 0, err
	}
	for _, r := range m.All() {
		if f.Authority != "" && r.Authority != f.Authority || !strings.HasPrefix(r.Owner, f.OwnerPrefix) ||
			len(f.Labels) > 0 && !slices.Contains(f.Labels, r.Label) ||
			len(f.States) > 0 && !slices.Contains(f.States, r.State) ||
			f.Certified && len(r.Certificate) == 0 || f.Undismissed && !r.Dismissed.IsZero() {
			continue
		}
		if total++; f.Limit <= 0 || len(rows) < f.Limit {
			rows = append(rows, r)
		}
	}
	return rows, total, nil
}

// All returns every row in order of arrival.
func (m *Memory) All() []enroll.Enrolment {
	m.mu.Lock()
	defer m.mu.Unlock()
	rows := make([]enroll.Enrolment, 0, len(m.rows))
	for _, r := range m.rows {
		rows = append(rows, clone(r))
	}
	return rows
}
