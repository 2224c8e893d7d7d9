package cli

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/ca"
	"callsign/internal/enroll"
	"callsign/internal/enroll/enrolltest"
)

// TestUnstored: the list has what was issued and not stored, and what perhaps was; a lost answer that a later row has
// looked for is not among them.
func TestUnstored(t *testing.T) {
	t.Parallel()
	j := &enrolltest.Memory{}
	add := func(id, owner, key string, state enroll.State, certificate []byte, submitted bool) {
		row, _, err := j.Open(t.Context(), enroll.Enrolment{
			ID: id, Request: enroll.Request{Authority: "adcs", Owner: owner, PublicKey: []byte(key), Subject: []byte{0x30, 0}},
			State: enroll.Requested, Created: time.Now(), Updated: time.Now(),
		})
		if err != nil {
			t.Fatal(err)
		}
		row.State, row.Certificate, row.Progress = state, certificate, ca.Progress{Submitted: submitted}
		if _, err := j.Update(t.Context(), row); err != nil {
			t.Fatal(err)
		}
	}
	certificate := []byte{0x30, 0}
	add("stale", "phone:A", "1", enroll.Stale, certificate, true)
	add("unconfirmed", "phone:A", "2", enroll.Issued, certificate, true)
	add("stored", "phone:A", "3", enroll.Confirmed, certificate, true)
	add("lost", "phone:B", "4", enroll.Stale, nil, true)
	add("never asked", "phone:B", "5", enroll.Stale, nil, false)
	add("gave up", "phone:B", "6", enroll.Failed, nil, true)
	add("lost and found", "phone:C", "7", enroll.Stale, nil, true)
	add("found", "phone:C", "7", enroll.Confirmed, certificate, true)
	add("no phone", "est:/x", "8", enroll.Stale, certificate, true)
	rows, err := unstored(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for i := range rows {
		got[rows[i].ID] = staleState(&rows[i])
	}
	want := map[string]string{"stale": staleWord, "unconfirmed": unconfirmedWord, "lost": unansweredWord, "gave up": unansweredWord}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
