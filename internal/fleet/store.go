package fleet

import (
	"context"
	"errors"
)

// Store keeps the records of phones. Every write is on disk when the method returns. Safe for concurrent use, also by
// several processes.
type Store interface {
	// Device returns a record; ErrNotFound when there is none with this name.
	Device(ctx context.Context, name string) (Device, error)
	// AddDevices stores new records; all or none. ErrExists, wrapped with the name, when one is there already.
	AddDevices(ctx context.Context, devices []Device) error
	// UpdateDevice reads a record, lets change alter it and writes it back, with nobody between. What change returns
	// is returned, and nothing written, when it is not nil. change may be called more than once.
	UpdateDevice(ctx context.Context, name string, change func(*Device) error) (Device, error)
	// FinishDevice does the same and, in the same transaction, confirms the enrolment with this id.
	FinishDevice(ctx context.Context, name, enrolment string, change func(*Device) error) (Device, error)
	// Devices returns the records in the order of their names, at most limit (0: all), and how many there are.
	Devices(ctx context.Context, limit int) ([]Device, int, error)
	// KeyOwner returns the owner of an enrolment with this public key (DER SubjectPublicKeyInfo) that is not owner;
	// empty when there is none.
	KeyOwner(ctx context.Context, spki []byte, owner string) (string, error)
}

// Errors for control flow.
var (
	ErrNotFound = errors.New("no such device")
	ErrExists   = errors.New("device exists already")
)
