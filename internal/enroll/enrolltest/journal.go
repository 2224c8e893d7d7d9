package enrolltest

import (
	"context"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"callsign/internal/ca"
	"callsign/internal/enroll"
)

// start is the clock of the suite: a day on which nothing special happens.
var start = time.Date(2026, 11, 20, 12, 0, 0, 123e6, time.UTC)

// RunJournal runs the suite: every test begins with the empty journal that newJournal returns.
func RunJournal(t *testing.T, newJournal func(t *testing.T) enroll.Journal) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, enroll.Journal){
		"every field comes back":          everyField,
		"optional fields may be empty":    emptyFields,
		"the same request is one row":     sameRequest,
		"other requests are other rows":   otherRequests,
		"rows that are over":              overRows,
		"a row may begin held":            beginsHeld,
		"denied by an administrator":      rejected,
		"approvals that count again":      approvedBefore,
		"a row may begin issued":          beginsIssued,
		"reuse of issued rows":            reuse,
		"update wants the version":        versions,
		"update leaves the request alone": requestStays,
		"unknown rows":                    unknown,
		"by owner, newest first":          byOwner,
		"due rows":                        due,
		"highest request id":              highest,
		"found by a filter":               found,
		"dismissed rows":                  dismissed,
		"concurrent opens make one row":   concurrentOpen,
		"concurrent updates: one wins":    concurrentUpdate,
		"a context that has ended":        ended,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newJournal(t))
		})
	}
}

// row returns a complete new row. The same n gives the same request; every call another ID.
func row(n int) enroll.Enrolment {
	return enroll.Enrolment{
		ID: newID(),
		Request: enroll.Request{
			Authority:  "adcs",
			Owner:      fmt.Sprintf("phone:SEP%012d", n),
			Label:      "phones",
			PublicKey:  []byte{0x30, 0x03, 0x02, 0x01, byte(n)},
			Subject:    []byte{0x30, 0x00},
			Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: []byte{3, 2, 5, 160}}, {Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: []byte{0x30, 0}}},
			CSR:        []byte{0x30, 0x01, 0x00},
			Vouch:      "string",
			Reuse:      0,
		},
		State:       enroll.Requested,
		NextAttempt: start,
		Created:     start,
		Updated:     start,
	}
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func mustOpen(t *testing.T, j enroll.Journal, e enroll.Enrolment) enroll.Enrolment {
	t.Helper()
	got, created, err := j.Open(t.Context(), e)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	if !created || got.ID != e.ID {
		t.Fatalf("Open: created %v with ID %s, want a new row %s", created, got.ID, e.ID)
	}
	return got
}

func mustUpdate(t *testing.T, j enroll.Journal, e enroll.Enrolment) enroll.Enrolment {
	t.Helper()
	got, err := j.Update(t.Context(), e)
	if err != nil {
		t.Fatalf("Update to %s: %v", e.State, err)
	}
	return got
}

func same(t *testing.T, what string, want, got enroll.Enrolment) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// issued fills everything that a row can hold.
func issued(e enroll.Enrolment) enroll.Enrolment {
	e.State = enroll.Issued
	e.Progress = ca.Progress{Submitted: true, Resubmitted: true, RequestID: "4711", Mark: []byte("sent\x00bytes")}
	e.Certificate = []byte{0x30, 0x01, 0x05}
	e.Chain = [][]byte{{0x30, 0x02, 0x01, 0x02}, {0x30, 0x00}}
	e.Serial, e.Issuer, e.NotAfter = "0a1b", "CN=Issuing CA,O=Corp", start.Add(365*24*time.Hour)
	e.POP = ca.POPVouched
	e.Failure = &enroll.Failure{Code: "adcs.unreachable", Detail: "no route", Remedy: "check \"it\"", HResult: 0x80094004, Timeout: true, Since: start.Add(-time.Hour)}
	e.Attempts = 3
	e.NextAttempt = start.Add(90 * time.Second)
	e.RetryAfter = 1500 * time.Millisecond
	e.Decision = &enroll.Decision{Approved: true, By: "müller", At: start.Add(time.Millisecond), Note: "it's \"ours\""}
	e.Updated = start.Add(time.Second)
	return e
}

// beginsIssued: the row of a private authority comes with its certificate.
func beginsIssued(t *testing.T, j enroll.Journal) {
	begin := func(n int, certificate byte) enroll.Enrolment {
		e := issued(row(n))
		e.Progress, e.Failure, e.Attempts, e.RetryAfter, e.NextAttempt = ca.Progress{}, nil, 0, 0, time.Time{}
		e.Certificate = []byte{0x30, 0x01, certificate}
		return e
	}
	e := begin(1, 1)
	opened := mustOpen(t, j, e)
	want := e
	want.Version = 1
	same(t, "Open", want, opened)
	got, err := j.Get(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "Get", want, got)
	if rows, err := j.Due(t.Context(), start.Add(time.Hour), 10); err != nil || len(rows) != 0 {
		t.Errorf("Due: %d rows, error %v, want none: there is nothing to do", len(rows), err)
	}

	second := begin(1, 2)
	got, created, err := j.Open(t.Context(), second)
	if err != nil || created {
		t.Fatalf("Open of the same request: created %v, error %v, want the row that is there", created, err)
	}
	same(t, "Open of the same request", want, got)

	waits := mustOpen(t, j, row(2))
	got, created, err = j.Open(t.Context(), begin(2, 3))
	if err != nil || created {
		t.Fatalf("Open beside a requested row: created %v, error %v, want that row", created, err)
	}
	same(t, "Open beside a requested row", waits, got)

	waits.Progress.Submitted, waits.State, waits.NextAttempt = true, enroll.Stale, time.Time{}
	mustUpdate(t, j, waits)
	third := begin(2, 4)
	got = mustOpen(t, j, third)
	third.Version = 1
	same(t, "Open after a row whose answer was never seen", third, got)
}

func everyField(t *testing.T, j enroll.Journal) {
	e := row(1)
	e.Reuse = 7 * 24 * time.Hour
	e.Login, e.Hold = &ca.Login{User: "u", Password: []byte("p")}, true
	opened := mustOpen(t, j, e)
	want := e
	want.Login, want.Hold, want.Version = nil, false, 1
	same(t, "Open", want, opened)
	want = issued(opened)
	got := mustUpdate(t, j, want)
	want.Version = 2
	same(t, "Update", want, got)
	got, err := j.Get(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "Get", want, got)
	got, err = j.Last(t.Context(), e.Request)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "Last", want, got)
	for _, tm := range []time.Time{got.Created, got.Updated, got.NotAfter, got.NextAttempt, got.Decision.At} {
		if tm.Location() != time.UTC {
			t.Errorf("time %v is not in UTC", tm)
		}
	}
	// Memory that the caller changes is the caller's.
	got.Certificate[0] = 0xff
	got.Progress.Mark[0] = 0xff
	got.Decision.Approved = false
	got, err = j.Get(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "Get after a caller's change", want, got)
}

func emptyFields(t *testing.T, j enroll.Journal) {
	e := enroll.Enrolment{ID: newID(), Request: enroll.Request{Authority: "local", Owner: "est:x", PublicKey: []byte{1}}, State: enroll.Requested, Created: start, Updated: start}
	mustOpen(t, j, e)
	got, err := j.Get(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	e.Version = 1
	same(t, "Get", e, got)
	if got.Failure != nil || got.Decision != nil || !got.NotAfter.IsZero() || !got.NextAttempt.IsZero() {
		t.Errorf("empty fields came back filled: %+v", got)
	}
}

func sameRequest(t *testing.T, j enroll.Journal) {
	first := mustOpen(t, j, row(1))
	for _, state := range []enroll.State{enroll.Held, enroll.Requested, enroll.Submitted, enroll.Pending, enroll.Issued} {
		first.State = state
		first = mustUpdate(t, j, first)
		again := row(1)
		// None of these makes it another request.
		again.CSR, again.Vouch, again.Extensions = []byte{0x30, 0x02, 0x05, 0x00}, "null", nil
		got, created, err := j.Open(t.Context(), again)
		if err != nil {
			t.Fatal(err)
		}
		if created {
			t.Errorf("%s: a second row was made", state)
		}
		same(t, string(state), first, got)
	}
}

func otherRequests(t *testing.T, j enroll.Journal) {
	mustOpen(t, j, row(1))
	for name, change := range map[string]func(*enroll.Request){
		"authority": func(r *enroll.Request) { r.Authority = "local" },
		"owner":     func(r *enroll.Request) { r.Owner = "phone:SEPFFFFFFFFFFFF" },
		"label":     func(r *enroll.Request) { r.Label = "" },
		"subject":   func(r *enroll.Request) { r.Subject = []byte{0x30, 0x02, 0x31, 0x00} },
		"key":       func(r *enroll.Request) { r.PublicKey = []byte{0x30, 0x03, 0x02, 0x01, 0x7f} },
		// The same bytes in a row, cut in another place.
		"boundary": func(r *enroll.Request) { r.Authority, r.Owner = r.Authority+r.Owner[:1], r.Owner[1:] },
	} {
		e := row(1)
		change(&e.Request)
		if _, created, err := j.Open(t.Context(), e); err != nil || !created {
			t.Errorf("other %s: created %v, %v, want a new row", name, created, err)
		}
	}
}

func overRows(t *testing.T, j enroll.Journal) {
	sent := ca.Progress{Submitted: true, RequestID: "12", Mark: []byte("h=11")}
	for i, c := range []struct {
		name     string
		state    enroll.State
		progress ca.Progress
		cert     []byte
		want     ca.Progress
	}{
		{name: "confirmed", state: enroll.Confirmed, progress: sent, cert: []byte{1}},
		{name: "denied", state: enroll.Denied, progress: sent},
		{name: "failed before it was sent", state: enroll.Failed},
		{name: "failed with the answer lost", state: enroll.Failed, progress: sent, want: sent},
		{name: "failed with a bad certificate", state: enroll.Failed, progress: sent, cert: []byte{1}},
		{name: "stale with the answer lost", state: enroll.Stale, progress: sent, want: sent},
		{name: "stale with a certificate", state: enroll.Stale, progress: sent, cert: []byte{1}},
	} {
		old := mustOpen(t, j, row(i))
		old.State, old.Progress, old.Certificate = c.state, c.progress, c.cert
		old = mustUpdate(t, j, old)
		fresh := mustOpen(t, j, row(i))
		if diff := cmp.Diff(c.want, fresh.Progress, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: progress of the new row (-want +got):\n%s", c.name, diff)
		}
		if wantState := map[bool]enroll.State{true: enroll.Submitted, false: enroll.Requested}[c.want.Submitted]; fresh.State != wantState {
			t.Errorf("%s: new row is %s, want %s", c.name, fresh.State, wantState)
		}
		kept, err := j.Get(t.Context(), old.ID)
		if err != nil {
			t.Fatal(err)
		}
		same(t, c.name+": the old row", old, kept)
	}
}

// held makes of a new row one that is held.
func held(e enroll.Enrolment) enroll.Enrolment {
	e.State, e.NextAttempt = enroll.Held, time.Time{}
	return e
}

// beginsHeld: a held row stands for its request, in both directions, and is never due.
func beginsHeld(t *testing.T, j enroll.Journal) {
	e := held(row(1))
	opened := mustOpen(t, j, e)
	e.Version = 1
	same(t, "Open", e, opened)
	if rows, err := j.Due(t.Context(), start.Add(time.Hour), 10); err != nil || len(rows) != 0 {
		t.Errorf("Due: %d rows, %v, want none", len(rows), err)
	}
	for name, again := range map[string]enroll.Enrolment{"held": held(row(1)), "free": row(1), "issued": issued(row(1))} {
		got, created, err := j.Open(t.Context(), again)
		if err != nil || created {
			t.Errorf("Open of the same request, %s: created %t, %v", name, created, err)
		}
		same(t, name, opened, got)
	}
	approved := opened
	approved.State, approved.NextAttempt = enroll.Requested, start.Add(time.Minute)
	approved.Decision = &enroll.Decision{Approved: true, By: "root", At: start.Add(time.Minute)}
	got := mustUpdate(t, j, approved)
	approved.Version++
	same(t, "Update", approved, got)
	if rows, err := j.Due(t.Context(), start.Add(time.Hour), 10); err != nil || len(rows) != 1 {
		t.Errorf("Due after the approval: %d rows, %v, want one", len(rows), err)
	}
	got, created, err := j.Open(t.Context(), held(row(1)))
	if err != nil || created {
		t.Errorf("Open after the approval: created %t, %v", created, err)
	}
	same(t, "Open after the approval", approved, got)

	// Progress that an older row hands on is kept while the new one waits.
	lost := mustOpen(t, j, row(2))
	lost.State, lost.Progress = enroll.Failed, ca.Progress{Submitted: true, RequestID: "12", Mark: []byte("h=11")}
	mustUpdate(t, j, lost)
	waits := mustOpen(t, j, held(row(2)))
	if waits.State != enroll.Held || !waits.NextAttempt.IsZero() {
		t.Errorf("the row is %s and due at %v, want held", waits.State, waits.NextAttempt)
	}
	if diff := cmp.Diff(lost.Progress, waits.Progress); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
}

// rejected: what an administrator denied stays denied, and what was lost before is not forgotten.
func rejected(t *testing.T, j enroll.Journal) {
	e := mustOpen(t, j, held(row(1)))
	e.State, e.Progress = enroll.Denied, ca.Progress{Submitted: true, Mark: []byte("m")}
	e.Failure = &enroll.Failure{Code: enroll.CodeRequestDenied, Detail: "no", Remedy: "ask"}
	e.Decision = &enroll.Decision{By: "root", At: start, Note: "no"}
	e = mustUpdate(t, j, e)
	for name, again := range map[string]enroll.Enrolment{"held": held(row(1)), "free": row(1), "issued": issued(row(1))} {
		got, created, err := j.Open(t.Context(), again)
		if err != nil || created {
			t.Errorf("%s: created %t, %v", name, created, err)
		}
		same(t, name, e, got)
	}
	e.State, e.Decision = enroll.Stale, &enroll.Decision{Approved: true, By: "root", At: start}
	mustUpdate(t, j, e)
	got := mustOpen(t, j, held(row(1)))
	if got.State != enroll.Submitted || !got.NextAttempt.Equal(start) || got.Decision == nil || string(got.Progress.Mark) != "m" {
		t.Errorf("after a change of mind the new row is %s, due at %v, decision %v, progress %v", got.State, got.NextAttempt, got.Decision, got.Progress)
	}
}

// approvedBefore: which approvals keep the next row of the same request from being held.
func approvedBefore(t *testing.T, j enroll.Journal) {
	approved := &enroll.Decision{Approved: true, By: "root", At: start, Note: "ours"}
	for i, c := range []struct {
		name     string
		state    enroll.State
		decision *enroll.Decision
		progress ca.Progress
		cert     []byte
		edit     func(*enroll.Enrolment)
		want     enroll.State
	}{
		{name: "failed", state: enroll.Failed, decision: approved, want: enroll.Requested},
		{name: "superseded", state: enroll.Stale, decision: approved, want: enroll.Requested},
		{name: "failed with the answer lost", state: enroll.Failed, decision: approved, progress: ca.Progress{Submitted: true}, want: enroll.Submitted},
		{name: "never decided", state: enroll.Failed, want: enroll.Held},
		{name: "never decided, with the answer lost", state: enroll.Stale, progress: ca.Progress{Submitted: true}, want: enroll.Held},
		{name: "certificate issued", state: enroll.Stale, decision: approved, cert: []byte{1}, want: enroll.Held},
		{name: "certificate stored", state: enroll.Confirmed, decision: approved, cert: []byte{1}, want: enroll.Held},
		{name: "denied by the authority", state: enroll.Denied, decision: approved, want: enroll.Held},
		{name: "other names", state: enroll.Failed, decision: approved, edit: func(e *enroll.Enrolment) { e.Extensions[1].Value = []byte{0x30, 1} }, want: enroll.Held},
		{name: "other criticality", state: enroll.Failed, decision: approved, edit: func(e *enroll.Enrolment) { e.Extensions[1].Critical = true }, want: enroll.Held},
		{name: "fewer extensions", state: enroll.Failed, decision: approved, edit: func(e *enroll.Enrolment) { e.Extensions = e.Extensions[:1] }, want: enroll.Held},
		{name: "other request", state: enroll.Failed, decision: approved, edit: func(e *enroll.Enrolment) { e.CSR = []byte{0x30, 0} }, want: enroll.Held},
		{name: "no request", state: enroll.Failed, decision: approved, edit: func(e *enroll.Enrolment) { e.CSR = nil }, want: enroll.Held},
		{name: "other voucher", state: enroll.Failed, decision: approved, edit: func(e *enroll.Enrolment) { e.Vouch = "null" }, want: enroll.Held},
		{name: "just in time", state: enroll.Failed, decision: approved, edit: func(e *enroll.Enrolment) { e.Created = start.Add(30*24*time.Hour - time.Millisecond) }, want: enroll.Requested},
		{name: "too late", state: enroll.Failed, decision: approved, edit: func(e *enroll.Enrolment) { e.Created = start.Add(30 * 24 * time.Hour) }, want: enroll.Held},
	} {
		old := mustOpen(t, j, held(row(i)))
		old.State, old.Decision, old.Progress, old.Certificate = c.state, c.decision, c.progress, c.cert
		old = mustUpdate(t, j, old)
		e := held(row(i))
		if c.edit != nil {
			c.edit(&e)
		}
		got := mustOpen(t, j, e)
		if got.State != c.want {
			t.Errorf("%s: the new row is %s, want %s", c.name, got.State, c.want)
		}
		var decision *enroll.Decision
		var due time.Time
		if c.want != enroll.Held {
			decision, due = c.decision, e.Created
		}
		if diff := cmp.Diff(decision, got.Decision); diff != "" || !got.NextAttempt.Equal(due) {
			t.Errorf("%s: the new row is due at %v, want %v; decision (-want +got):\n%s", c.name, got.NextAttempt, due, diff)
		}
		kept, err := j.Get(t.Context(), old.ID)
		if err != nil {
			t.Fatal(err)
		}
		same(t, c.name+": the old row", old, kept)
	}
}

func reuse(t *testing.T, j enroll.Journal) {
	for i, c := range []struct {
		name     string
		reuse    time.Duration
		notAfter time.Time
		at       time.Duration
		want     bool // the old row answers
	}{
		{name: "for ever", at: 300 * 24 * time.Hour, notAfter: start.Add(400 * 24 * time.Hour), want: true},
		{name: "expired", at: 400 * 24 * time.Hour, notAfter: start.Add(400 * 24 * time.Hour), want: false},
		{name: "within", reuse: time.Hour, at: time.Hour - time.Millisecond, want: true},
		{name: "over", reuse: time.Hour, at: time.Hour, want: false},
	} {
		old := mustOpen(t, j, row(i))
		old.State, old.Certificate, old.NotAfter = enroll.Issued, []byte{1}, c.notAfter
		old = mustUpdate(t, j, old)
		e := row(i)
		e.Reuse, e.Created, e.Updated = c.reuse, start.Add(c.at), start.Add(c.at)
		got, created, err := j.Open(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		if created == c.want {
			t.Errorf("%s: created %v", c.name, created)
		}
		if c.want {
			same(t, c.name, old, got)
			continue
		}
		kept, err := j.Get(t.Context(), old.ID)
		if err != nil {
			t.Fatal(err)
		}
		old.State, old.Version, old.Updated = enroll.Stale, old.Version+1, start.Add(c.at)
		same(t, c.name+": the old row", old, kept)
		if last, err := j.Last(t.Context(), e.Request); err != nil || last.ID != e.ID {
			t.Errorf("%s: Last is %s, %v, want the new row", c.name, last.ID, err)
		}
	}
}

func versions(t *testing.T, j enroll.Journal) {
	opened := mustOpen(t, j, row(1))
	next := opened
	next.State = enroll.Submitted
	next = mustUpdate(t, j, next)
	if next.Version != opened.Version+1 {
		t.Errorf("version %d after %d", next.Version, opened.Version)
	}
	opened.State = enroll.Failed
	if _, err := j.Update(t.Context(), opened); !errors.Is(err, enroll.ErrConflict) {
		t.Errorf("update of an old version: %v, want ErrConflict", err)
	}
	got, err := j.Get(t.Context(), opened.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "after the refused update", next, got)
}

func requestStays(t *testing.T, j enroll.Journal) {
	opened := mustOpen(t, j, row(1))
	e := opened
	e.State = enroll.Pending
	e.Login, e.Hold = &ca.Login{User: "u", Password: []byte("p")}, true
	got := mustUpdate(t, j, e)
	if got.Login != nil || got.Hold {
		t.Error("the login or the hold was kept")
	}
	if diff := cmp.Diff(opened.Request, got.Request); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

func unknown(t *testing.T, j enroll.Journal) {
	e := row(1)
	if _, err := j.Get(t.Context(), e.ID); !errors.Is(err, enroll.ErrNotFound) {
		t.Errorf("Get: %v, want ErrNotFound", err)
	}
	if _, err := j.Update(t.Context(), e); !errors.Is(err, enroll.ErrNotFound) {
		t.Errorf("Update: %v, want ErrNotFound", err)
	}
	if _, err := j.Last(t.Context(), e.Request); !errors.Is(err, enroll.ErrNotFound) {
		t.Errorf("Last: %v, want ErrNotFound", err)
	}
	if rows, err := j.ByOwner(t.Context(), e.Owner); err != nil || len(rows) != 0 {
		t.Errorf("ByOwner: %d rows, %v", len(rows), err)
	}
}

func byOwner(t *testing.T, j enroll.Journal) {
	var want []string
	for i := range 4 {
		e := row(i)
		e.Owner = "phone:SEP001122334455"
		e.Created = start.Add(time.Duration(i/2) * time.Second) // two at the same time
		mustOpen(t, j, e)
		want = append([]string{e.ID}, want...)
	}
	mustOpen(t, j, row(9))
	rows, err := j.ByOwner(t.Context(), "phone:SEP001122334455")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, rowIDs(rows)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func rowIDs(rows []enroll.Enrolment) []string {
	var list []string
	for _, r := range rows {
		list = append(list, r.ID)
	}
	return list
}

func due(t *testing.T, j enroll.Journal) {
	put := func(n int, s enroll.State, at time.Time) string {
		e := mustOpen(t, j, row(n))
		e.State, e.NextAttempt = s, at
		return mustUpdate(t, j, e).ID
	}
	third := put(1, enroll.Requested, start.Add(-time.Second))
	first := put(2, enroll.Submitted, start.Add(-time.Hour))
	second := put(3, enroll.Pending, start.Add(-time.Minute))
	fourth := put(4, enroll.Requested, start)
	put(5, enroll.Requested, start.Add(time.Millisecond))
	put(6, enroll.Requested, time.Time{})
	for i, s := range []enroll.State{enroll.Held, enroll.Issued, enroll.Confirmed, enroll.Denied, enroll.Failed, enroll.Stale} {
		put(10+i, s, start.Add(-time.Hour))
	}
	want := []string{first, second, third, fourth}
	for limit := range 6 {
		rows, err := j.Due(t.Context(), start, limit)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[:min(limit, len(want))], rowIDs(rows), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
	}
}

func highest(t *testing.T, j enroll.Journal) {
	check := func(authority string, want int64) {
		t.Helper()
		if got, err := j.HighestRequestID(t.Context(), authority); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", authority, got, err, want)
		}
	}
	check("adcs", 0)
	// As numbers 10 is more than 9; what is no number does not count; a row that is over counts.
	for i, id := range []string{"9", "10", "7", "", "abc", "99999999999999999999", "-5"} {
		e := mustOpen(t, j, row(i))
		e.Progress.RequestID, e.State = id, enroll.Denied
		mustUpdate(t, j, e)
	}
	check("adcs", 10)
	check("local", 0)
}

func found(t *testing.T, j enroll.Journal) {
	put := func(n int, authority, owner string, s enroll.State, certificate []byte, dismissed time.Time) string {
		e := row(n)
		e.Authority, e.Owner = authority, owner
		if owner == "est:/phone:x" {
			e.Label = ""
		}
		// Arrival counts, not the clock.
		e.Created = start.Add(-time.Duration(n) * time.Hour)
		e = mustOpen(t, j, e)
		e.State, e.Certificate, e.Dismissed = s, certificate, dismissed
		return mustUpdate(t, j, e).ID
	}
	cert, never := []byte{0x30, 0}, time.Time{}
	a := put(1, "adcs", "phone:SEP00000000000A", enroll.Stale, cert, never)
	b := put(2, "adcs", "phone:SEP00000000000B", enroll.Stale, cert, start)
	c := put(3, "adcs", "phone:SEP00000000000C", enroll.Stale, nil, never)
	d := put(4, "offline", "phone:SEP00000000000D", enroll.Pending, nil, never)
	e := put(5, "offline", "est:/phone:x", enroll.Pending, nil, never)
	f := put(6, "adcs", "PHONE:SEP00000000000F", enroll.Confirmed, cert, never)
	g := put(7, "adcs", "phone:SEP00000000000A", enroll.Issued, cert, never)
	h := put(8, "adcs", "phone:SEP00000000000A", enroll.Denied, []byte{}, start)
	i := put(9, "local", "est:phones/x", enroll.Held, nil, never)
	for name, q := range map[string]struct {
		filter enroll.Filter
		want   []string
	}{
		"all":                {enroll.Filter{}, []string{a, b, c, d, e, f, g, h, i}},
		"authority":          {enroll.Filter{Authority: "offline"}, []string{d, e}},
		"unknown authority":  {enroll.Filter{Authority: "upstream"}, nil},
		"owner prefix":       {enroll.Filter{OwnerPrefix: "phone:"}, []string{a, b, c, d, g, h}},
		"whole owner":        {enroll.Filter{OwnerPrefix: "phone:SEP00000000000A"}, []string{a, g, h}},
		"longer than any":    {enroll.Filter{OwnerPrefix: "phone:SEP00000000000AB"}, nil},
		"no pattern":         {enroll.Filter{OwnerPrefix: "%"}, nil},
		"label":              {enroll.Filter{Labels: []string{"phones"}, Authority: "offline"}, []string{d}},
		"no label":           {enroll.Filter{Labels: []string{""}}, []string{e}},
		"labels":             {enroll.Filter{Labels: []string{"", "phones"}, Authority: "offline"}, []string{d, e}},
		"unknown label":      {enroll.Filter{Labels: []string{"phone"}}, nil},
		"held":               {enroll.Filter{States: []enroll.State{enroll.Held}}, []string{i}},
		"held or pending":    {enroll.Filter{States: []enroll.State{enroll.Pending, enroll.Held}}, []string{d, e, i}},
		"state":              {enroll.Filter{States: []enroll.State{enroll.Stale}}, []string{a, b, c}},
		"states":             {enroll.Filter{States: []enroll.State{enroll.Pending, enroll.Stale, enroll.Denied}}, []string{a, b, c, d, e, h}},
		"more states":        {enroll.Filter{States: []enroll.State{enroll.Issued, enroll.Stale, enroll.Confirmed}}, []string{a, b, c, f, g}},
		"no row in state":    {enroll.Filter{States: []enroll.State{enroll.Failed}}, nil},
		"certified":          {enroll.Filter{Certified: true}, []string{a, b, f, g}},
		"undismissed":        {enroll.Filter{Undismissed: true}, []string{a, c, d, e, f, g, i}},
		"stale certificates": {enroll.Filter{OwnerPrefix: "phone:", States: []enroll.State{enroll.Stale}, Certified: true, Undismissed: true}, []string{a}},
		"everything":         {enroll.Filter{Authority: "adcs", OwnerPrefix: "phone:", States: []enroll.State{enroll.Stale, enroll.Issued}, Certified: true, Undismissed: true}, []string{a, g}},
	} {
		for limit := range len(q.want) + 2 {
			filter := q.filter
			filter.Limit = limit
			rows, total, err := j.Find(t.Context(), filter)
			if err != nil {
				t.Fatal(err)
			}
			want := q.want
			if limit > 0 && limit < len(want) {
				want = want[:limit]
			}
			if diff := cmp.Diff(want, rowIDs(rows)); diff != "" || total != len(q.want) {
				t.Errorf("%s, limit %d: total %d, want %d (-want +got):\n%s", name, limit, total, len(q.want), diff)
			}
		}
	}
}

// dismissed rows keep the time, through every way by which rows are read.
func dismissed(t *testing.T, j enroll.Journal) {
	e := mustOpen(t, j, row(1))
	if !e.Dismissed.IsZero() {
		t.Errorf("a new row was dismissed at %v", e.Dismissed)
	}
	e.State, e.Dismissed = enroll.Stale, start.Add(time.Hour+time.Microsecond).In(time.FixedZone("", 3600))
	got := mustUpdate(t, j, e)
	want := start.Add(time.Hour)
	check := func(how string, d time.Time) {
		t.Helper()
		if d != want {
			t.Errorf("%s: dismissed at %v, want %v", how, d, want)
		}
	}
	check("Update", got.Dismissed)
	got, err := j.Get(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	check("Get", got.Dismissed)
	rows, _, err := j.Find(t.Context(), enroll.Filter{})
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	same(t, "Find", got, rows[0])
	got.Dismissed = time.Time{}
	if got = mustUpdate(t, j, got); !got.Dismissed.IsZero() {
		t.Error("the row stays dismissed")
	}
	if rows, _, err := j.Find(t.Context(), enroll.Filter{Undismissed: true}); err != nil || len(rows) != 1 || !rows[0].Dismissed.IsZero() {
		t.Errorf("after it was put back: %d rows, %v", len(rows), err)
	}
}

func concurrentOpen(t *testing.T, j enroll.Journal) {
	const callers = 16
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	seen := make(map[string]bool)
	for range callers {
		e := row(1)
		wg.Go(func() {
			got, created, err := j.Open(t.Context(), e)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("Open: %v", err)
			}
			if created {
				made++
			}
			seen[got.ID] = true
		})
	}
	wg.Wait()
	if made != 1 || len(seen) != 1 {
		t.Errorf("%d rows made, %d seen, want one", made, len(seen))
	}
}

func concurrentUpdate(t *testing.T, j enroll.Journal) {
	opened := mustOpen(t, j, row(1))
	const callers = 16
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range callers {
		wg.Go(func() {
			e := opened
			e.Attempts = i
			_, err := j.Update(t.Context(), e)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !errors.Is(err, enroll.ErrConflict):
				t.Errorf("Update: %v", err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d of %d updates of the same version were taken, want 1", won, callers)
	}
}

func ended(t *testing.T, j enroll.Journal) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := row(1)
	if _, _, err := j.Open(ctx, e); !errors.Is(err, context.Canceled) {
		t.Errorf("Open: %v, want context.Canceled", err)
	}
	if _, err := j.Get(t.Context(), e.ID); !errors.Is(err, enroll.ErrNotFound) {
		t.Errorf("Get after a cancelled Open: %v, want ErrNotFound", err)
	}
}
