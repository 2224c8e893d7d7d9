package enroll

import (
	"context"
	"log/slog"
	"time"
)

// attrs are the attributes of an event about row.
func attrs(event string, row *Enrolment, more ...slog.Attr) []slog.Attr {
	a := make([]slog.Attr, 0, 18)
	a = append(a,
		slog.String("event", event),
		slog.String("op", "enroll"),
		slog.String("request_id", row.ID),
		slog.String("owner", row.Owner),
		slog.String("ca", row.Authority),
		slog.String("state", string(row.State)),
	)
	if row.Label != "" {
		a = append(a, slog.String("label", row.Label))
	}
	if row.Progress.RequestID != "" {
		a = append(a, slog.String("ca_request_id", row.Progress.RequestID))
	}
	if row.Serial != "" {
		a = append(a, slog.String("serial", row.Serial), slog.String("issuer", row.Issuer), slog.Time("not_after", row.NotAfter))
	}
	if row.State == Issued && !row.Created.IsZero() {
		a = append(a, slog.Int64("duration_ms", row.Updated.Sub(row.Created).Milliseconds()))
	}
	if f := row.Failure; f != nil {
		a = append(a, slog.String("code", f.Code), slog.String("err", f.Detail), slog.String("remedy", f.Remedy),
			slog.Int("attempts", row.Attempts), slog.Bool("timeout", f.Timeout))
	}
	if d := row.Decision; d != nil {
		a = append(a, slog.Bool("approved", d.Approved), slog.String("decided_by", d.By))
		if d.Note != "" {
			a = append(a, slog.String("note", d.Note))
		}
	}
	if row.State.Open() && !row.NextAttempt.IsZero() && row.Version > 1 {
		a = append(a, slog.String("next_attempt", row.NextAttempt.Format(time.RFC3339)))
	}
	return append(a, more...)
}

// writing announces a durable write. A test that kills the process at every event gets, with it, the moment before each.
func (e *Engine) writing(ctx context.Context, write string, row *Enrolment) {
	if e.log.Enabled(ctx, slog.LevelDebug) {
		e.log.LogAttrs(ctx, slog.LevelDebug, "writing enrolment journal", attrs("enroll.write", row, slog.String("write", write))...)
	}
}
