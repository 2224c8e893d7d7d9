package store

import (
	"testing"

	"callsign/internal/enroll"
	"callsign/internal/enroll/enrolltest"
)

func TestJournal(t *testing.T) {
	t.Parallel()
	enrolltest.RunJournal(t, func(t *testing.T) enroll.Journal { return open(t).Journal() })
}
