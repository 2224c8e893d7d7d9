package fleettest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"callsign/capf"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

// authority returns a certificate such as LSCs are issued by.
func authority(t *testing.T, name string, notAfter time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"Example"}}, NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	must(t, err)
	return der
}

func anAttempt(n int) fleet.Attempt {
	began := time.Date(2026, 11, 20, 12, 0, n, 5e6, time.UTC)
	return fleet.Attempt{
		Session: 0xfffffff0 + uint32(n), Began: began, Duration: 1500*time.Millisecond + time.Microsecond, Peer: "192.0.2.7:49152", Version: 3, // #nosec G115 -- n is small
		TLS: "TLS 1.2", Cipher: "TLS_RSA_WITH_AES_256_CBC_SHA", Operation: fleet.OperationInstall, Auth: fleet.AuthString, Credential: "string",
		OK: n%2 == 0, Result: capf.ResultInvalidAuthString,
		Steps: []fleet.Step{
			{Name: fleet.StepAuthenticate, Duration: 700 * time.Microsecond, Detail: "string"},
			{Name: fleet.StepKey, Duration: time.Second, Code: "fleet.no-answer", Detail: "RSA 2048, \"quoted\""},
		},
		Note:      &fleet.Note{Code: "fleet.no-answer", Detail: "d", Remedy: "r", At: began},
		Enrolment: "0123456789abcdef0123456789abcdef", Serial: "0a1b",
	}
}

func nothing(*fleet.Device) error { return nil }

// repeatedAttempts: calls that are turned away again and again do not drive others out of the story.
func repeatedAttempts(t *testing.T, s Stores) {
	ctx := t.Context()
	const name = "SEP00000000000A"
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{fleet.NewDevice(name)}))
	add := func(n int, change func(*fleet.Attempt)) {
		t.Helper()
		a := anAttempt(n)
		change(&a)
		_, err := s.Phones.FinishDevice(ctx, name, fleet.Finish{Attempt: &a}, nothing)
		must(t, err)
	}
	turnedAway := func(code, peer string) func(*fleet.Attempt) {
		return func(a *fleet.Attempt) {
			a.OK, a.Peer = false, peer
			a.Steps = []fleet.Step{{Name: fleet.StepAuthenticate, Duration: time.Millisecond, Code: code}}
			a.Note = &fleet.Note{Code: code, Detail: a.Began.String(), At: a.Began}
		}
	}
	good := func(a *fleet.Attempt) { a.OK = true }
	add(2, good)
	for n := range 3 * fleet.AttemptsKept {
		add(3+n, turnedAway("fleet.wrong-string", fmt.Sprintf("192.0.2.9:%d", 1000+n)))
	}
	last := 2 + 3*fleet.AttemptsKept
	add(last+1, turnedAway("fleet.locked", "192.0.2.9:7"))
	add(last+2, turnedAway("fleet.locked", "192.0.2.10:7"))
	add(last+3, func(a *fleet.Attempt) { a.OK = false }) // failed later on: a story of its own each time
	add(last+4, func(a *fleet.Attempt) { a.OK = false })
	got, err := s.Phones.Attempts(ctx, name, 0)
	must(t, err)
	var repeats []int
	for _, a := range got {
		repeats = append(repeats, a.Repeats)
	}
	if diff := cmp.Diff([]int{0, 0, 0, 0, 3*fleet.AttemptsKept - 1, 0}, repeats); diff != "" {
		t.Fatalf("repeats, newest first (-want +got):\n%s", diff)
	}
	many, end := got[4], anAttempt(last)
	if !many.Began.Equal(anAttempt(3).Began) || !many.Latest.Equal(end.Began) || many.Note == nil || !many.Note.At.Equal(end.Began) {
		t.Errorf("counted from %v to %v with the note %+v, want %v to %v with the last one's", many.Began, many.Latest, many.Note, anAttempt(3).Began, end.Began)
	}
}

func attempts(t *testing.T, s Stores) {
	ctx := t.Context()
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{fleet.NewDevice("SEP00000000000A"), fleet.NewDevice("SEP00000000000B")}))
	if list, err := s.Phones.Attempts(ctx, "SEP00000000000A", 0); err != nil || len(list) != 0 {
		t.Errorf("before the first: %d attempts, %v", len(list), err)
	}
	// One with nothing optional is among them.
	want := []fleet.Attempt{anAttempt(3), {Began: anAttempt(2).Began, Operation: fleet.OperationDelete}, anAttempt(1)}
	for i := range want {
		a := want[len(want)-1-i]
		a.Steps = slices.Clone(a.Steps)
		_, err := s.Phones.FinishDevice(ctx, "SEP00000000000A", fleet.Finish{Attempt: &a}, nothing)
		must(t, err)
		// What the caller does with its memory afterwards is its own matter.
		for i := range a.Steps {
			a.Steps[i].Detail = "changed"
		}
	}
	other := anAttempt(9)
	_, err := s.Phones.FinishDevice(ctx, "SEP00000000000B", fleet.Finish{Attempt: &other}, nothing)
	must(t, err)
	for limit, n := range map[int]int{0: 3, 1: 1, 2: 2, 7: 3} {
		got, err := s.Phones.Attempts(ctx, "SEP00000000000A", limit)
		must(t, err)
		if diff := cmp.Diff(want[:n], got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
	}
	if list, err := s.Phones.Attempts(ctx, "SEP0000000000FF", 0); err != nil || len(list) != 0 {
		t.Errorf("unknown phone: %d attempts, %v", len(list), err)
	}
}

func oldAttempts(t *testing.T, s Stores) {
	ctx := t.Context()
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{fleet.NewDevice("SEP00000000000A"), fleet.NewDevice("SEP00000000000B")}))
	put := func(name string, n int) {
		t.Helper()
		_, err := s.Phones.FinishDevice(ctx, name, fleet.Finish{Attempt: &fleet.Attempt{Session: uint32(n)}}, nothing) // #nosec G115 -- n is small
		must(t, err)
	}
	put("SEP00000000000B", 77)
	for n := 1; n <= 2*fleet.AttemptsKept+3; n++ {
		put("SEP00000000000A", n)
		got, err := s.Phones.Attempts(ctx, "SEP00000000000A", 0)
		must(t, err)
		if want := min(n, fleet.AttemptsKept); len(got) != want || got[0].Session != uint32(n) || got[want-1].Session != uint32(n-want+1) { // #nosec G115 -- small
			t.Fatalf("after %d: %d attempts, from %d to %d; want the last %d", n, len(got), got[0].Session, got[len(got)-1].Session, want)
		}
	}
	if got, err := s.Phones.Attempts(ctx, "SEP00000000000B", 0); err != nil || len(got) != 1 {
		t.Errorf("the other phone has %d attempts, %v", len(got), err)
	}
}

// finishingTogether refuses the end of a call at each of its parts: nothing of the others is written.
func finishingTogether(t *testing.T, s Stores) {
	ctx := t.Context()
	const name = "SEP00000000000A"
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{full(name)}))
	before, err := s.Phones.Device(ctx, name)
	must(t, err)
	ca := authority(t, "CA", time.Now())
	failed := issued(ctx, t, s.Journal, fmt.Sprintf("%032x", 1), "phone:"+name, []byte("a key of at least thirty-two octets"))
	failed.State = enroll.Failed
	failed, err = s.Journal.Update(ctx, failed)
	must(t, err)
	good := issued(ctx, t, s.Journal, fmt.Sprintf("%032x", 2), "phone:"+name, []byte("another key of at least thirty-two octets"))
	a := anAttempt(1)
	refusal := errors.New("no")
	for what, c := range map[string]struct {
		name, enrolment string
		change          func(*fleet.Device) error
		want            error
	}{
		"no such enrolment":      {name, fmt.Sprintf("%032x", 7), nothing, enroll.ErrNotFound},
		"enrolment has failed":   {name, failed.ID, nothing, enroll.ErrState},
		"the change is refused":  {name, good.ID, func(*fleet.Device) error { return refusal }, refusal},
		"there is no such phone": {"SEP0000000000FF", good.ID, nothing, fleet.ErrNotFound},
	} {
		_, err := s.Phones.FinishDevice(ctx, c.name, fleet.Finish{Enrolment: c.enrolment, Attempt: &a, Issuer: ca}, func(d *fleet.Device) error {
			d.Operation, d.LSC = fleet.OperationNone, nil
			return c.change(d)
		})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		got, err := s.Phones.Device(ctx, name)
		must(t, err)
		if diff := cmp.Diff(before, got); diff != "" {
			t.Errorf("%s: the record changed (-want +got):\n%s", what, diff)
		}
		list, err := s.Phones.Attempts(ctx, c.name, 0)
		must(t, err)
		known, err := s.Phones.Issuers(ctx)
		must(t, err)
		row, err := s.Journal.Get(ctx, good.ID)
		must(t, err)
		if len(list) != 0 || len(known) != 0 || row.State != enroll.Issued {
			t.Errorf("%s: %d attempts, %d issuers, enrolment %s; want none, none, issued", what, len(list), len(known), row.State)
		}
	}
	// The issuer is not taken for known after a step that was rolled back.
	for range 2 { // confirming again is harmless
		_, err = s.Phones.FinishDevice(ctx, name, fleet.Finish{Enrolment: good.ID, Attempt: &a, Issuer: ca}, nothing)
		must(t, err)
	}
	list, err := s.Phones.Attempts(ctx, name, 0)
	must(t, err)
	known, err := s.Phones.Issuers(ctx)
	must(t, err)
	row, err := s.Journal.Get(ctx, good.ID)
	must(t, err)
	if len(list) != 2 || len(known) != 1 || row.State != enroll.Confirmed {
		t.Errorf("in the end: %d attempts, %d issuers, enrolment %s; want 2, 1, confirmed", len(list), len(known), row.State)
	}
}

func issuers(t *testing.T, s Stores) {
	ctx := t.Context()
	at := time.Date(2036, 1, 2, 3, 4, 5, 0, time.UTC)
	zebra, aachen, odd := authority(t, "Zebra CA", at), authority(t, "Aachen CA", at.AddDate(1, 0, 0)), []byte("no certificate")
	hold := func(name string, ca []byte) {
		t.Helper()
		_, err := s.Phones.FinishDevice(ctx, name, fleet.Finish{Issuer: ca}, func(d *fleet.Device) error {
			d.LSC = &fleet.Certificate{DER: []byte{0x30, 0}, IssuerID: fleet.IssuerID(ca)}
			return nil
		})
		must(t, err)
	}
	want := []fleet.Issuer{
		{ID: fleet.IssuerID(zebra), DER: zebra, Subject: "CN=Zebra CA,O=Example", NotAfter: at},
		{ID: fleet.IssuerID(aachen), DER: aachen, Subject: "CN=Aachen CA,O=Example", NotAfter: at.AddDate(1, 0, 0)},
		{ID: fleet.IssuerID(odd), DER: odd},
	}
	check := func(when string, phones ...int) {
		t.Helper()
		got, err := s.Phones.Issuers(ctx)
		must(t, err)
		for i, n := range phones {
			want[i].Phones = n
		}
		if diff := cmp.Diff(want[:len(phones)], got, cmpopts.IgnoreFields(fleet.Issuer{}, "Added"), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
		for _, i := range got {
			if i.Added.IsZero() {
				t.Errorf("%s: when %s was added is not known", when, i.Subject)
			}
			one, err := s.Phones.Issuer(ctx, i.ID)
			must(t, err)
			if diff := cmp.Diff(i, one); diff != "" {
				t.Errorf("%s: by its ID (-list +one):\n%s", when, diff)
			}
		}
	}
	must(t, s.Phones.AddDevices(ctx, []fleet.Device{fleet.NewDevice("SEP00000000000A"), fleet.NewDevice("SEP00000000000B"), fleet.NewDevice("SEP00000000000C")}))
	check("at the beginning")
	hold("SEP00000000000A", zebra)
	hold("SEP00000000000B", zebra)
	hold("SEP00000000000C", aachen)
	check("with three phones", 2, 1)
	hold("SEP00000000000C", zebra)
	check("after the last one has gone over", 3, 0)
	hold("SEP00000000000B", odd)
	check("with one that cannot be read", 2, 0, 1)
	_, err := s.Phones.UpdateDevice(ctx, "SEP00000000000A", func(d *fleet.Device) error { d.LSC = nil; return nil })
	must(t, err)
	check("after an LSC was deleted", 1, 0, 1)
	if _, err := s.Phones.Issuer(ctx, "00"); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("unknown issuer: %v, want ErrNotFound", err)
	}
}
