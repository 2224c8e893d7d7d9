package store

import (
	"testing"

	"callsign/internal/fleet/fleettest"
)

func TestDevices(t *testing.T) {
	t.Parallel()
	fleettest.RunStore(t, func(t *testing.T) fleettest.Stores {
		s := open(t)
		return fleettest.Stores{Phones: s.Devices(), Journal: s.Journal()}
	})
}
