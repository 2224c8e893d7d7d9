package fleettest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

// Memory is a fleet.Store in memory, on a journal. Its zero value needs Journal and Owners.
type Memory struct {
	Journal enroll.Journal
	// Owners are asked by KeyOwner: the owners whose rows are looked through.
	Owners []string

	mu      sync.Mutex
	devices map[string]fleet.Device
}

var _ fleet.Store = (*Memory)(nil)

// Device implements fleet.Store.
func (m *Memory) Device(_ context.Context, name string) (fleet.Device, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.devices[name]
	if !ok {
		return d, fleet.ErrNotFound
	}
	return d, nil
}

// AddDevices implements fleet.Store.
func (m *Memory) AddDevices(_ context.Context, devices []fleet.Device) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range devices {
		if _, ok := m.devices[d.Name]; ok {
			return fmt.Errorf("%s: %w", d.Name, fleet.ErrExists)
		}
	}
	if m.devices == nil {
		m.devices = map[string]fleet.Device{}
	}
	for _, d := range devices {
		d.Created, d.Updated = time.Now(), time.Now()
		m.devices[d.Name] = d
	}
	return nil
}

// UpdateDevice implements fleet.Store.
func (m *Memory) UpdateDevice(ctx context.Context, name string, change func(*fleet.Device) error) (fleet.Device, error) {
	return m.FinishDevice(ctx, name, "", change)
}

// FinishDevice implements fleet.Store.
func (m *Memory) FinishDevice(ctx context.Context, name, enrolment string, change func(*fleet.Device) error) (fleet.Device, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.devices[name]
	if !ok {
		return d, fleet.ErrNotFound
	}
	if err := change(&d); err != nil {
		return d, err
	}
	if enrolment != "" {
		row, err := m.Journal.Get(ctx, enrolment)
		if err != nil {
			return d, err
		}
		if row.State != enroll.Confirmed {
			if row.State != enroll.Issued {
				return d, enroll.ErrState
			}
			row.State = enroll.Confirmed
			if _, err := m.Journal.Update(ctx, row); err != nil {
				return d, err
			}
		}
	}
	d.Updated = time.Now()
	m.devices[name] = d
	return d, nil
}

// Devices implements fleet.Store.
func (m *Memory) Devices(_ context.Context, limit int) ([]fleet.Device, int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []fleet.Device
	for _, d := range m.devices {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b fleet.Device) int { return strings.Compare(a.Name, b.Name) })
	n := len(all)
	if limit > 0 && limit < n {
		all = all[:limit]
	}
	return all, n, nil
}

// KeyOwner implements fleet.Store.
func (m *Memory) KeyOwner(ctx context.Context, spki []byte, owner string) (string, error) {
	for _, o := range m.Owners {
		rows, err := m.Journal.ByOwner(ctx, o)
		if err != nil {
			return "", err
		}
		for _, r := range rows {
			if o != owner && bytes.Equal(r.PublicKey, spki) && strings.HasPrefix(o, "phone:") {
				return o, nil
			}
		}
	}
	return "", nil
}
