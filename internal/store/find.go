package store

import (
	"context"
	"slices"
	"unicode/utf8"

	"callsign/internal/enroll"
)

// searched are the states that the index enrolment_state has, in its own words.
const searched = `(state = 'held' OR state = 'pending' OR state = 'denied' OR state = 'failed' OR state = 'stale')`

// searchedStates are those that searched names. The slice is never modified.
var searchedStates = []enroll.State{enroll.Held, enroll.Pending, enroll.Denied, enroll.Failed, enroll.Stale}

func enrolmentWhere(f *enroll.Filter) *where {
	w := &where{}
	w.add(f.Authority != "", `authority = ?`, f.Authority)
	w.add(f.OwnerPrefix != "", `substr(owner, 1, ?) = ?`, utf8.RuneCountInString(f.OwnerPrefix), f.OwnerPrefix)
	in(w, `label`, f.Labels)
	in(w, `state`, f.States)
	others := slices.ContainsFunc(f.States, func(s enroll.State) bool { return !slices.Contains(searchedStates, s) })
	w.add(len(f.States) > 0 && !others, searched)
	w.add(f.Certified, `length(certificate) > 0`)
	w.add(f.Undismissed, `dismissed IS NULL`)
	return w
}

// Find implements [enroll.Journal].
func (j *Journal) Find(ctx context.Context, f enroll.Filter) (rows []enroll.Enrolment, total int, err error) {
	w := enrolmentWhere(&f)
	if err := j.s.read.QueryRowContext(ctx, `SELECT count(*) FROM enrolment`+w.String(), w.args...).Scan(&total); err != nil {
		return nil, 0, explain(j.s.path, err)
	}
	limit := f.Limit
	if limit <= 0 {
		limit = -1
	}
	query := `SELECT ` + enrolmentColumns + ` FROM enrolment` + w.String() + ` ORDER BY seq LIMIT ?` //nolint:gosec // of constants; the values are arguments
	list, err := j.s.read.QueryContext(ctx, query, append(w.args, limit)...)
	rows, err = j.collect(list, err)
	return rows, total, err
}
