package clustertest_test

import (
	"testing"

	"callsign/internal/cluster"
	"callsign/internal/cluster/clustertest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	clustertest.Run(t, func(*testing.T) cluster.Store { return &clustertest.Memory{} })
}
