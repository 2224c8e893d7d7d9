package enrolltest_test

import (
	"testing"

	"callsign/internal/enroll"
	"callsign/internal/enroll/enrolltest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	enrolltest.RunJournal(t, func(*testing.T) enroll.Journal { return &enrolltest.Memory{} })
}
