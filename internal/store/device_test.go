package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"callsign/internal/fleet"
	"callsign/internal/fleet/fleettest"
)

func TestDevices(t *testing.T) {
	t.Parallel()
	fleettest.RunStore(t, func(t *testing.T) fleettest.Stores {
		s := open(t)
		return fleettest.Stores{Phones: s.Devices(), Journal: s.Journal()}
	})
}

// TestApplyDevicesInterrupted: whoever interrupts many changes gets none of them, also when the good ones were to be made.
func TestApplyDevicesInterrupted(t *testing.T) {
	t.Parallel()
	for _, partial := range []bool{false, true} {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		asked := 0
		changes := make([]fleet.Change, 10)
		for i := range changes {
			changes[i] = fleet.Change{Name: fmt.Sprintf("SEP%012X", i), Apply: func(*fleet.Device, bool) error {
				if asked++; asked == 3 {
					cancel()
				}
				return nil
			}}
		}
		_, err := s.Devices().ApplyDevices(ctx, changes, partial)
		cancel()
		if !errors.Is(err, context.Canceled) || asked != 3 {
			t.Errorf("partial %t: got %v after %d changes, want %v after 3", partial, err, asked, context.Canceled)
		}
		if d, total, err := s.Devices().Devices(t.Context(), fleet.Query{}); err != nil || total != 0 {
			t.Errorf("partial %t: %d phones are there (%v, %v)", partial, total, d, err)
		}
	}
}

// fill adds phones with an LSC each, as a running fleet has them.
func fill(tb testing.TB, s *Store, phones int) []byte {
	tb.Helper()
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	lsc := signed(tb, strings.Repeat("x", 400), 1, at, at.AddDate(5, 0, 0))
	batch := make([]fleet.Device, 0, 1000)
	for i := range phones {
		d := fleet.NewDevice(fmt.Sprintf("SEP%012X", i))
		d.Model, d.Description, d.Status = "8865", fmt.Sprintf("Desk %d", i), fleet.StatusUpgradeSuccess
		d.LSC = &fleet.Certificate{DER: lsc, Serial: "0a", Issuer: "CN=CA", IssuerID: fleet.IssuerID(lsc), NotBefore: at, NotAfter: at.AddDate(0, 0, i%1825)}
		d.RenewAt = at.AddDate(0, 0, i%1200)
		if batch = append(batch, d); len(batch) == cap(batch) || i == phones-1 {
			if err := s.Devices().AddDevices(tb.Context(), batch); err != nil {
				tb.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	return lsc
}

// BenchmarkFinish is the end of an install: the record with its LSC; with an attempt and an issuer as a server writes them, and without.
func BenchmarkFinish(b *testing.B) {
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	attempt := &fleet.Attempt{
		Session: 7, Began: at, Duration: 2 * time.Second, Peer: "192.0.2.7:49152", Version: 3, TLS: "TLS 1.2", Cipher: "TLS_RSA_WITH_AES_256_CBC_SHA",
		Operation: fleet.OperationInstall, Auth: fleet.AuthString, Credential: "string", OK: true,
		Steps: []fleet.Step{
			{Name: fleet.StepAuthenticate, Duration: time.Millisecond, Detail: "string"},
			{Name: fleet.StepKey, Duration: time.Second, Detail: "RSA 2048"},
			{Name: fleet.StepIssue, Duration: 5 * time.Millisecond, Detail: "local"},
			{Name: fleet.StepStore, Duration: time.Second},
		},
		Enrolment: "0123456789abcdef0123456789abcdef", Serial: "0a1b2c3d4e5f",
	}
	for _, c := range []struct {
		name  string
		story bool
	}{{"record", false}, {"record+attempt+issuer", true}} {
		b.Run(c.name, func(b *testing.B) {
			s := open(b)
			const phones = 5000
			lsc := fill(b, s, phones)
			f := fleet.Finish{}
			if c.story {
				f.Attempt, f.Issuer = attempt, lsc
			}
			b.ReportAllocs()
			b.ResetTimer()
			const callers = 64
			var wg sync.WaitGroup
			for g := range callers {
				wg.Go(func() {
					for i := g; i < b.N; i += callers {
						_, err := s.Devices().FinishDevice(b.Context(), fmt.Sprintf("SEP%012X", i%phones), f, func(d *fleet.Device) error {
							d.Status = fleet.StatusUpgradeSuccess
							c := *d.LSC
							c.Serial, c.NotAfter = fmt.Sprint(i), c.NotAfter.Add(time.Second)
							d.LSC, d.RenewAt = &c, d.RenewAt.Add(time.Second)
							return nil
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "finishes/s")
		})
	}
}

// BenchmarkFleet asks a store with 100,000 phones what a page or a report asks.
func BenchmarkFleet(b *testing.B) {
	s := open(b)
	fill(b, s, 100_000)
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"device", func() error { _, err := s.Devices().Device(b.Context(), "SEP000000010000"); return err }},
		{"page", func() error { return query(b, s, fleet.Query{Limit: 100, After: "SEP000000010000"}) }},
		{"text", func() error { return query(b, s, fleet.Query{Limit: 100, Text: "desk 777"}) }},
		{"status", func() error { return query(b, s, fleet.Query{Limit: 100, Status: fleet.StatusUpgradeSuccess}) }},
		{"expiring", func() error { return query(b, s, fleet.Query{Limit: 100, ExpiresBefore: at.AddDate(0, 0, 30)}) }},
		{"issuer", func() error { return query(b, s, fleet.Query{Limit: 100, IssuerID: "00"}) }},
		{"model", func() error { return query(b, s, fleet.Query{Limit: 100, Model: "7841"}) }},
		{"summary", func() error { _, err := s.Devices().Summarise(b.Context(), at); return err }},
		{"issuers", func() error { _, err := s.Devices().Issuers(b.Context()); return err }},
		{"renew", func() error {
			_, err := s.Devices().Renew(b.Context(), at, func(st fleet.RenewalState) (int, fleet.RenewalState) { return 10, st },
				func(d *fleet.Device) error { d.RenewAt = d.RenewAt.AddDate(1, 0, 0); return nil })
			return err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if err := c.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func query(b *testing.B, s *Store, q fleet.Query) error {
	b.Helper()
	_, _, err := s.Devices().Devices(b.Context(), q)
	return err
}
