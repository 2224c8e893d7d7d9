package store

import (
	"context"
	"strings"
	"unicode/utf8"

	"callsign/internal/enroll"
)

// searched are the states that the index enrolment_state has, in its own words.
const searched = `(state = 'held' OR state = 'pending' OR state = 'denied' OR state = 'failed' OR state = 'stale')`

func enrolmentWhere(f *enroll.Filter) *where {
	w := &where{}
	w.add(f.Authority != "", `authority = ?`, f.Authority)
	w.add(f.OwnerPrefix != "", `substr(owner, 1, ?) = ?`, utf8.RuneCountInString(f.OwnerPrefix), f.OwnerPrefix)
	if len(f.Labels) > 0 {
		args := make([]any, len(f.Labels))
		for i, l := range f.Labels {
			args[i] = l
		}
		w.add(true, `label IN (?`+strings.Repeat(`, ?`, len(args)-1)+`)`, args...)
	}
	if len(f.States) > 0 {
		args, all := make([]any, len(f.States)), true
		for i, s := range f.States {
			args[i] = string(s)
			all = all && (s == enroll.Held || s == enroll.Pending || s == enroll.Denied || s == enroll.Failed || s == enroll.Stale)
		}
		w.add(true, `state IN (?`+strings.Repeat(`, ?`, len(args)-1)+`)`, args...)
		w.add(all, searched)
	}
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
