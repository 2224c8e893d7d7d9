package fleettest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

// Memory is a fleet.Store in memory, on a journal. Its zero value needs Journal and Owners. It survives the services that
// use it, so dropping a service and making another one is a crash.
type Memory struct {
	Journal enroll.Journal
	// Owners are asked by KeyOwner: the owners whose rows are looked through.
	Owners []string
	// Now is the clock of Created, Updated and Added; nil is time.Now.
	Now func() time.Time

	mu       sync.Mutex
	devices  map[string]fleet.Device
	attempts map[string][]fleet.Attempt // oldest first
	issuers  []fleet.Issuer
	renewal  fleet.RenewalState
}

var _ fleet.Store = (*Memory)(nil)

func (m *Memory) now() time.Time {
	if m.Now != nil {
		return kept(m.Now())
	}
	return kept(time.Now())
}

// kept is a time as a store keeps it.
func kept(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}

// clone copies a record so that nobody shares memory with the store, and cuts it to what a store keeps.
func clone(d fleet.Device) fleet.Device {
	d.AuthString = bytes.Clone(d.AuthString)
	for _, t := range []*time.Time{&d.CompletesBy, &d.Scheduled, &d.RenewAt, &d.Created, &d.Updated} {
		*t = kept(*t)
	}
	d.Note = cloneNote(d.Note)
	if d.LSC != nil {
		c := *d.LSC
		c.DER, c.NotBefore, c.NotAfter = bytes.Clone(c.DER), kept(c.NotBefore), kept(c.NotAfter)
		d.LSC = &c
	}
	d.Shown = slices.Clone(d.Shown)
	return d
}

func cloneNote(n *fleet.Note) *fleet.Note {
	if n == nil {
		return nil
	}
	c := *n
	c.At = kept(c.At)
	return &c
}

func cloneAttempt(a fleet.Attempt) fleet.Attempt {
	a.Began, a.Steps, a.Note = kept(a.Began), slices.Clone(a.Steps), cloneNote(a.Note)
	return a
}

// Device implements fleet.Store.
func (m *Memory) Device(_ context.Context, name string) (fleet.Device, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.devices[name]
	if !ok {
		return d, fleet.ErrNotFound
	}
	return clone(d), nil
}

// put stores a record.
func (m *Memory) put(d fleet.Device) {
	if m.devices == nil {
		m.devices = map[string]fleet.Device{}
	}
	if d.Updated = m.now(); d.Created.IsZero() {
		d.Created = d.Updated
	}
	m.devices[d.Name] = clone(d)
}

// AddDevices implements fleet.Store.
func (m *Memory) AddDevices(_ context.Context, devices []fleet.Device) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fresh := map[string]bool{}
	for _, d := range devices {
		if _, ok := m.devices[d.Name]; ok || fresh[d.Name] {
			return fmt.Errorf("%s: %w", d.Name, fleet.ErrExists)
		}
		fresh[d.Name] = true
	}
	for _, d := range devices {
		m.put(d)
	}
	return nil
}

// UpdateDevice implements fleet.Store.
func (m *Memory) UpdateDevice(ctx context.Context, name string, change func(*fleet.Device) error) (fleet.Device, error) {
	return m.FinishDevice(ctx, name, fleet.Finish{}, change)
}

// FinishDevice implements fleet.Store.
func (m *Memory) FinishDevice(ctx context.Context, name string, f fleet.Finish, change func(*fleet.Device) error) (fleet.Device, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.devices[name]
	if !ok {
		return d, fleet.ErrNotFound
	}
	d = clone(d)
	if err := change(&d); err != nil {
		return d, err
	}
	d.Name = name
	var issuer *fleet.Issuer
	if len(f.Issuer) > 0 {
		issuer = m.issuer(f.Issuer)
	}
	if f.Enrolment != "" {
		if err := m.confirm(ctx, f.Enrolment); err != nil {
			return d, err
		}
	}
	// From here on nothing fails.
	m.put(d)
	if issuer != nil {
		m.issuers = append(m.issuers, *issuer)
	}
	if f.Attempt != nil {
		if m.attempts == nil {
			m.attempts = map[string][]fleet.Attempt{}
		}
		list, next := m.attempts[name], cloneAttempt(*f.Attempt)
		if len(list) == 0 || !list[len(list)-1].Repeated(&next) {
			list = append(list, next)
		}
		m.attempts[name] = list[max(0, len(list)-fleet.AttemptsKept):]
	}
	return clone(m.devices[name]), nil
}

func (m *Memory) confirm(ctx context.Context, enrolment string) error {
	row, err := m.Journal.Get(ctx, enrolment)
	if err != nil || row.State == enroll.Confirmed {
		return err
	}
	if row.State != enroll.Issued {
		return enroll.ErrState
	}
	row.State = enroll.Confirmed
	_, err = m.Journal.Update(ctx, row)
	return err
}

// issuer returns what is to be kept of an issuer's certificate; nil when it is there already.
func (m *Memory) issuer(der []byte) *fleet.Issuer {
	sum := sha256.Sum256(der)
	i := fleet.Issuer{ID: hex.EncodeToString(sum[:]), DER: bytes.Clone(der), Added: m.now()}
	if slices.ContainsFunc(m.issuers, func(have fleet.Issuer) bool { return have.ID == i.ID }) {
		return nil
	}
	if c, err := x509.ParseCertificate(der); err == nil {
		i.Subject, i.NotAfter = c.Subject.String(), kept(c.NotAfter)
	}
	return &i
}

// ApplyDevices implements fleet.Store.
func (m *Memory) ApplyDevices(_ context.Context, changes []fleet.Change, partial bool) ([]error, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	results, refused, staged := make([]error, len(changes)), false, map[string]fleet.Device{}
	for i, c := range changes {
		fresh := fleet.NewDevice(c.Name)
		d, found := staged[fresh.Name]
		if !found {
			d, found = m.devices[fresh.Name]
		}
		if !found {
			d = fresh
		}
		d = clone(d)
		if results[i] = c.Apply(&d, found); results[i] != nil {
			refused = true
			continue
		}
		d.Name = fresh.Name
		staged[d.Name] = d
	}
	if refused && !partial {
		return results, nil
	}
	for _, d := range staged {
		m.put(d)
	}
	return results, nil
}

// sorted returns the records that pick picks in the order of their names. The lock is held.
func (m *Memory) sorted(pick func(*fleet.Device) bool) []fleet.Device {
	var list []fleet.Device
	for _, d := range m.devices {
		if pick(&d) {
			list = append(list, clone(d))
		}
	}
	slices.SortFunc(list, func(a, b fleet.Device) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Devices implements fleet.Store.
func (m *Memory) Devices(_ context.Context, q fleet.Query) ([]fleet.Device, int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.sorted(func(d *fleet.Device) bool { return picks(&q, d) })
	total := len(list)
	list = slices.DeleteFunc(list, func(d fleet.Device) bool { return d.Name <= q.After })
	if q.Limit > 0 && q.Limit < len(list) {
		list = list[:q.Limit]
	}
	return list, total, nil
}

func picks(q *fleet.Query, d *fleet.Device) bool {
	text := strings.ToLower(q.Text)
	has := func(field string) bool { return strings.Contains(strings.ToLower(field), text) }
	switch {
	case !has(d.Name) && !has(d.Model) && !has(d.Description),
		q.Operation != "" && q.Operation != d.Operation,
		q.Status != "" && q.Status != d.Status,
		q.Auth != "" && q.Auth != d.Auth,
		q.Origin != "" && q.Origin != d.Origin,
		q.Model != "" && q.Model != d.Model,
		q.LSC == fleet.LSCPresent && d.LSC == nil,
		q.LSC == fleet.LSCMissing && d.LSC != nil,
		!q.ExpiresBefore.IsZero() && (d.LSC == nil || d.LSC.NotAfter.IsZero() || !d.LSC.NotAfter.Before(q.ExpiresBefore)),
		q.IssuerID != "" && (d.LSC == nil || q.IssuerID != d.LSC.IssuerID):
		return false
	}
	return true
}

// Summarise implements fleet.Store.
func (m *Memory) Summarise(_ context.Context, now time.Time) (fleet.Summary, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := fleet.Summary{Phones: len(m.devices), Operations: map[fleet.Operation]int{}, Statuses: map[fleet.Status]int{}, Auths: map[fleet.AuthMode]int{}}
	for _, d := range m.devices {
		s.Operations[d.Operation]++
		s.Statuses[d.Status]++
		s.Auths[d.Auth]++
		if d.Operation != fleet.OperationNone {
			if d.Origin == fleet.OriginRenewal {
				s.Renewing++
			}
			switch d.Status {
			case fleet.StatusUpgradeFailed, fleet.StatusDeleteFailed, fleet.StatusTroubleshootFailed:
				s.Locked++
			}
		}
		if d.LSC == nil {
			continue
		}
		s.LSCs++
		switch end := d.LSC.NotAfter; {
		case end.IsZero():
		case end.Before(kept(now)):
			s.Expired++
		case end.Before(kept(now.AddDate(0, 0, 30))) && !d.LSC.NotBefore.After(now):
			s.In30Days++
		}
	}
	return s, nil
}

// Attempts implements fleet.Store.
func (m *Memory) Attempts(_ context.Context, name string, limit int) ([]fleet.Attempt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []fleet.Attempt
	for _, a := range slices.Backward(m.attempts[name]) {
		if limit <= 0 || len(list) < limit {
			list = append(list, cloneAttempt(a))
		}
	}
	return list, nil
}

// Issuers implements fleet.Store.
func (m *Memory) Issuers(context.Context) ([]fleet.Issuer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.Clone(m.issuers)
	for i := range list {
		list[i].DER = bytes.Clone(list[i].DER)
		for _, d := range m.devices {
			if d.LSC != nil && d.LSC.IssuerID == list[i].ID {
				list[i].Phones++
			}
		}
	}
	return list, nil
}

// Issuer implements fleet.Store.
func (m *Memory) Issuer(ctx context.Context, id string) (fleet.Issuer, error) {
	list, err := m.Issuers(ctx)
	if err != nil {
		return fleet.Issuer{}, err
	}
	for _, i := range list {
		if i.ID == id {
			return i, nil
		}
	}
	return fleet.Issuer{}, fleet.ErrNotFound
}

// Renew implements fleet.Store.
func (m *Memory) Renew(
	_ context.Context, now time.Time, plan func(fleet.RenewalState) (int, fleet.RenewalState), change func(*fleet.Device) error,
) ([]fleet.Device, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.sorted(func(d *fleet.Device) bool {
		return d.Operation == fleet.OperationNone && d.LSC != nil && !d.RenewAt.IsZero() && !d.RenewAt.After(now)
	})
	slices.SortStableFunc(list, func(a, b fleet.Device) int { return cmp.Compare(a.RenewAt.UnixMilli(), b.RenewAt.UnixMilli()) })
	if len(list) == 0 {
		return nil, nil
	}
	n, next := plan(m.renewal)
	list = list[:max(0, min(n, len(list)))]
	for i := range list {
		name := list[i].Name
		if err := change(&list[i]); err != nil {
			return nil, err
		}
		list[i].Name = name
	}
	for i := range list {
		m.put(list[i])
		list[i] = clone(m.devices[list[i].Name])
	}
	next.At = kept(next.At)
	m.renewal = next
	return list, nil
}

// Replan implements fleet.Store.
func (m *Memory) Replan(_ context.Context, policy string, renewAt func(*fleet.Device) time.Time) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.renewal.Policy == policy {
		return 0, nil
	}
	list := m.sorted(func(d *fleet.Device) bool { return d.LSC != nil })
	for i := range list {
		list[i].RenewAt = kept(renewAt(&list[i]))
		m.devices[list[i].Name] = list[i]
	}
	m.renewal.Policy = policy
	return len(list), nil
}

// RenewalState implements fleet.Store.
func (m *Memory) RenewalState(context.Context) (fleet.RenewalState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.renewal, nil
}

// CertificateOwners implements fleet.Store.
func (m *Memory) CertificateOwners(ctx context.Context, x *x509.Certificate) ([]string, error) {
	if m.Journal == nil {
		return nil, nil
	}
	rows, _, err := m.Journal.Find(ctx, enroll.Filter{Certified: true})
	var owners []string
	for _, r := range rows {
		if bytes.Equal(r.Certificate, x.Raw) {
			owners = append(owners, r.Owner)
		}
	}
	slices.Sort(owners)
	return slices.Compact(owners), err
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
