package fleettest

import (
	"testing"

	"callsign/internal/enroll/enrolltest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	RunStore(t, func(*testing.T) Stores {
		j := &enrolltest.Memory{}
		return Stores{Phones: &Memory{Journal: j, Owners: []string{"phone:SEP00000000000A", "est:/device"}}, Journal: j}
	})
}
