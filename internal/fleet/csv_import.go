package fleet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Import is how a Sheet is imported.
type Import struct {
	// Partial imports the good rows although there are bad ones.
	Partial bool
	// DryRun writes nothing and finds out all the same.
	DryRun bool
	// Expires is by when an operation that the import sets is to complete when its row does not say; 0: no limit.
	Expires time.Duration
	Now     time.Time
	// Progress is told how many rows have been looked at; nil: nobody.
	Progress func(done int)
}

// Imported is what became of the rows of a Sheet, or would have become when Written is false.
type Imported struct {
	Rows      int          `json:"rows"`
	Added     int          `json:"added"`
	Changed   int          `json:"changed"`
	Unchanged int          `json:"unchanged"`
	Bad       int          `json:"bad"`
	Written   bool         `json:"written"`
	Problems  []RowProblem `json:"problems"` // at most 1,000
}

var errDryRun = errors.New("nothing is to be written")

// Import changes the phones of a store as the sheet says, in one transaction. A value that a row does not have is left as
// it is, on a new phone it is the default. An operation that is due already is left as it is too, so to import what was
// exported changes nothing; another authentication string unlocks the phone. When a row is bad nothing is written, unless
// Partial is set. The error is the store's own.
func (s *Sheet) Import(ctx context.Context, store Store, o Import) (Imported, error) {
	result := Imported{Rows: s.Rows, Bad: s.Bad, Problems: slices.Clone(s.Problems)}
	dry := o.DryRun || s.Bad > 0 && !o.Partial
	outcome := make([]*int, len(s.rows))
	changes := make([]Change, 0, len(s.rows)+1)
	for i := range s.rows {
		row := &s.rows[i]
		changes = append(changes, Change{Name: row.name, Apply: func(d *Device, found bool) error {
			if o.Progress != nil {
				o.Progress(i + 1)
			}
			before := *d
			if err := row.apply(d, found, o); err != nil {
				return err
			}
			switch {
			case !found:
				outcome[i] = &result.Added
			case sameRow(&before, d):
				outcome[i] = &result.Unchanged
			default:
				outcome[i] = &result.Changed
			}
			return nil
		}})
	}
	if dry {
		// The store itself says what would become of the rows, in a transaction that the last change spoils.
		changes = append(changes, Change{Name: "SEP000000000000", Apply: func(*Device, bool) error { return errDryRun }})
	}
	errs, err := store.ApplyDevices(ctx, changes, o.Partial && !dry)
	if err != nil {
		return result, err
	}
	failed := false
	for i := range s.rows {
		if errs[i] == nil {
			*outcome[i]++
			continue
		}
		failed = true
		result.Bad++
		result.Problems = append(result.Problems, s.rows[i].problem(errs[i]))
	}
	slices.SortStableFunc(result.Problems, func(a, b RowProblem) int { return a.Line - b.Line })
	result.Problems = result.Problems[:min(len(result.Problems), maxProblems)]
	result.Written = !dry && (!failed || o.Partial)
	return result, nil
}

// problem says what is wrong with a row that its phone's record does not take.
func (r *sheetRow) problem(err error) RowProblem {
	p := RowProblem{Line: r.line, Code: "fleet.failed", Detail: r.name + ": " + err.Error(), Remedy: "look at the phone with: callsign phone show " + r.name}
	pr, ok := errors.AsType[*Problem](err)
	if !ok {
		return p
	}
	p.Code, p.Detail, p.Remedy = pr.ErrCode, pr.Detail, pr.Fix
	if pr.ErrCode == "fleet.string-missing" {
		p.Column, p.Remedy = colString.String(), "give the row an auth_string of 4 to 10 digits, or another authentication"
	}
	return p
}

// apply changes a phone's record as the row says.
func (r *sheetRow) apply(d *Device, found bool, o Import) error {
	if !found {
		d.Created = o.Now
	}
	if r.sets(colModel) {
		d.Model = r.model
	}
	if r.sets(colDescription) {
		d.Description = r.description
	}
	if r.sets(colKeyOrder) {
		d.KeyOrder = r.order
	}
	if r.sets(colRSABits) {
		d.RSABits = r.rsaBits
	}
	if r.sets(colECBits) {
		d.ECBits = r.ecBits
	}
	if r.sets(colString) {
		if !bytes.Equal(d.AuthString, r.str) {
			d.SetString(slices.Clone(r.str))
		}
		d.Auth = AuthString
	}
	if r.sets(colAuth) {
		d.Auth = r.auth
	}
	if r.sets(colOperation) && d.Operation != r.operation {
		d.ScheduleWithin(r.operation, o.Now, o.Expires)
	}
	if r.sets(colCompletesBy) {
		d.CompletesBy = r.completesBy
	}
	return d.Validate()
}

// sameRow tells that two records have the same values in all columns of an import file.
func sameRow(a, b *Device) bool {
	return a.Model == b.Model && a.Description == b.Description && a.Auth == b.Auth && bytes.Equal(a.AuthString, b.AuthString) &&
		a.Operation == b.Operation && a.KeyOrder == b.KeyOrder && a.RSABits == b.RSABits && a.ECBits == b.ECBits &&
		a.CompletesBy.Equal(b.CompletesBy)
}

// SheetWriter writes phones as a file that ReadSheet reads. Text that a spreadsheet program would compute as a formula
// gets a single quote before it, which ReadSheet takes away.
type SheetWriter struct {
	w       *bufio.Writer
	columns []column
}

// NewSheetWriter returns a writer of the columns of an import file; of auth_string only withStrings.
func NewSheetWriter(w io.Writer, withStrings bool) *SheetWriter {
	s := &SheetWriter{w: bufio.NewWriter(w)}
	for i := range columnNames {
		if column(i) != colString || withStrings {
			s.columns = append(s.columns, column(i))
		}
	}
	s.line(func(c column) string { return c.String() })
	return s
}

// NewStringsWriter returns a writer of names and authentication strings.
func NewStringsWriter(w io.Writer) *SheetWriter {
	s := &SheetWriter{w: bufio.NewWriter(w), columns: []column{colName, colString}}
	s.line(func(c column) string { return c.String() })
	return s
}

// Write writes a phone. Errors show in Flush.
func (s *SheetWriter) Write(d *Device) { s.line(func(c column) string { return cell(c, d) }) }

// Flush writes what is left and returns the first error of all.
func (s *SheetWriter) Flush() error { return s.w.Flush() }

func (s *SheetWriter) line(value func(column) string) {
	for i, c := range s.columns {
		if i > 0 {
			_ = s.w.WriteByte(',') // Flush tells
		}
		v := value(c)
		if strings.ContainsAny(v, `",;`) || strings.TrimSpace(v) != v {
			v = `"` + strings.ReplaceAll(v, `"`, `""`) + `"`
		}
		_, _ = s.w.WriteString(v)
	}
	_ = s.w.WriteByte('\n')
}

// cell is the value of a phone in a column.
func cell(c column, d *Device) string {
	switch c {
	case colName:
		return d.Name
	case colModel:
		return guarded(d.Model)
	case colDescription:
		return guarded(d.Description)
	case colAuth:
		return string(d.Auth)
	case colString:
		return string(d.AuthString)
	case colOperation:
		return string(d.Operation)
	case colKeyOrder:
		return string(d.KeyOrder)
	case colRSABits:
		return strconv.Itoa(d.RSABits)
	case colECBits:
		return strconv.Itoa(d.ECBits)
	case colCompletesBy:
		switch {
		case !d.CompletesBy.IsZero():
			return d.CompletesBy.UTC().Format(time.RFC3339Nano)
		case d.Operation != OperationNone:
			return "none" // an empty cell would be the limit of new operations
		}
	}
	return ""
}
