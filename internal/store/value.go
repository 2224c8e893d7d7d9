package store

import (
	"database/sql"
	"encoding/json"
	"time"
)

// How values are written; see the package documentation.

// millis is the column value of a time: NULL for the zero time.
func millis(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: !t.IsZero()}
}

// timeOf is the time of a column value.
func timeOf(v sql.NullInt64) time.Time {
	if !v.Valid {
		return time.Time{}
	}
	return time.UnixMilli(v.Int64).UTC()
}

// blob is the column value of bytes: never NULL, because the driver writes nil as NULL and an empty name is still a name.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// jsonOf is the column value of a structure: NULL for nil.
func jsonOf[T any](v *T) (sql.NullString, error) {
	if v == nil {
		return sql.NullString{}, nil
	}
	text, err := json.Marshal(v)
	return sql.NullString{String: string(text), Valid: err == nil}, err
}

// fromJSON is the structure of a column value.
func fromJSON[T any](v sql.NullString) (*T, error) {
	if !v.Valid {
		return nil, nil //nolint:nilnil // NULL is the value nil
	}
	out := new(T)
	return out, json.Unmarshal([]byte(v.String), out)
}
