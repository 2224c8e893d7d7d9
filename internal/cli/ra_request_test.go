package cli

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/ca"
	"callsign/internal/enroll"
	"callsign/internal/enroll/enrolltest"
)

func requestRow(id string, state enroll.State) enroll.Enrolment {
	return enroll.Enrolment{
		ID: id + strings.Repeat("0", 32-len(id)), State: state, Created: time.Now(), Updated: time.Now(),
		Request: enroll.Request{Authority: "adcs", Owner: "est:iot/alice", Label: "iot", PublicKey: []byte(id), Subject: []byte{0x30, 0}},
	}
}

func TestShortIDs(t *testing.T) {
	t.Parallel()
	rows := []enroll.Enrolment{requestRow("aaaaaaaa1111", "held"), requestRow("aaaaaaaa2222", "held"), requestRow("bbbb", "held")}
	want := map[string]string{rows[0].ID: "aaaaaaaa1111", rows[1].ID: "aaaaaaaa2222", rows[2].ID: "bbbb00000000"}
	if diff := cmp.Diff(want, shortIDs(rows)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{rows[2].ID: "bbbb0000"}, shortIDs(rows[2:])); diff != "" {
		t.Errorf("alone (-want +got):\n%s", diff)
	}
}

// TestPickRequest: the first digits of an ID mean what can be decided on before they mean anything else.
func TestPickRequest(t *testing.T) {
	t.Parallel()
	j := &enrolltest.Memory{}
	var rows []enroll.Enrolment
	add := func(id, owner string, state enroll.State) {
		row := requestRow(id, state)
		row.Owner = owner
		if _, _, err := j.Open(t.Context(), row); err != nil {
			t.Fatal(err)
		}
		if state == enroll.Held {
			rows = append(rows, row)
		}
	}
	add("aa11", "est:iot/alice", enroll.Held)
	add("aa22", "est:iot/alice", enroll.Issued)
	add("bb11", "est:iot/alice", enroll.Held)
	add("bb22", "est:/bob", enroll.Held)
	add("cc11", "est:/bob", enroll.Issued)
	add("cc22", "est:/bob", enroll.Failed)
	add("dd11", "phone:SEP001122334455", enroll.Pending)
	e := &env{config: "callsign.toml"}
	for name, tc := range map[string]struct {
		id, want, err string
	}{
		"held":                      {"aa", "aa11", ""},
		"capitals":                  {" AA11", "aa11", ""},
		"issued":                    {"aa22", "aa22", ""},
		"several held":              {"bb", "", "2 requests have an ID"},
		"several that are over":     {"cc", "", "2 requests have an ID"},
		"one that is over":          {"cc2", "cc22", ""},
		"a phone's":                 {"dd", "", `no request of an EST client has an ID that begins with "dd"`},
		"nothing":                   {"", "", "no request"},
		"more digits than there be": {strings.Repeat("a", 40), "", "no request"},
	} {
		got, err := e.pickRequest(t.Context(), j, rows, tc.id)
		switch {
		case tc.err == "" && (err != nil || !strings.HasPrefix(got.ID, tc.want)):
			t.Errorf("%s: %s, %v; want %s", name, got.ID, err, tc.want)
		case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
			t.Errorf("%s: %v, want %s", name, err, tc.err)
		}
	}
}

// TestRequestItem: what people read of a request, in the states that the script does not get to.
func TestRequestItem(t *testing.T) {
	t.Parallel()
	pending := requestRow("aa", enroll.Pending)
	pending.Progress = ca.Progress{Submitted: true, RequestID: "4711"}
	pending.Decision = &enroll.Decision{Approved: true, By: "root", At: time.Now()}
	upstream := requestRow("bb", enroll.Pending)
	upstream.Authority = "upstream"
	failing := requestRow("cc", enroll.Submitted)
	failing.Failure = &enroll.Failure{Code: "adcs.unreachable", Detail: "no route to host", Remedy: "check the network"}
	expired := requestRow("dd", enroll.Failed)
	expired.Failure = &enroll.Failure{Code: enroll.CodeNotApproved, Detail: "nobody approved the request within 30 days"}
	refused := requestRow("ee", enroll.Denied)
	refused.Failure = &enroll.Failure{Code: "certsrv.denied", Detail: "denied by policy module"}
	confirmed := requestRow("ff", enroll.Confirmed)
	confirmed.Serial, confirmed.Failure = "0a0b", failing.Failure
	cases := map[string]struct {
		row                enroll.Enrolment
		remark, cause, fix string
	}{
		"pending at AD CS": {
			pending, "approved by root; waits for the CA's manager",
			"was not held: the CA keeps it", "Pending Requests, request 4711, Issue or Deny (certutil -resubmit 4711)",
		},
		"pending elsewhere": {upstream, "waits for the CA's manager", "was not held: the CA keeps it", "have it decided at the authority upstream, request its number"},
		"failing":           {failing, "no route to host (adcs.unreachable)", "cannot be denied: it is submitted", "only held requests are decided here"},
		"expired":           {expired, "nobody approved the request within 30 days (enroll.not-approved)", "is over: nobody approved", "let the client ask again"},
		"refused by the CA": {refused, "denied by policy module (certsrv.denied)", "cannot be denied: it is denied by the CA (certsrv.denied)", "callsign explain certsrv.denied"},
		"stored":            {confirmed, "serial 0a0b", "cannot be denied: it is confirmed", "only held requests"},
	}
	e := &env{config: "callsign.toml"}
	for name, tc := range cases {
		if got := remark(&tc.row); got != tc.remark {
			t.Errorf("%s: remark %q, want %q", name, got, tc.remark)
		}
		err := e.undecidable("denied", &tc.row)
		coded, ok := errors.AsType[interface {
			Remedy() string
			error
		}](err)
		if !ok || !strings.Contains(err.Error(), tc.cause) || !strings.Contains(coded.Remedy(), tc.fix) {
			t.Errorf("%s: %v, want %q and the remedy %q", name, err, tc.cause, tc.fix)
		}
	}
	if i := newRAItem(&confirmed, time.Now()); i.Code != "" || i.Remedy != "" {
		t.Errorf("a request that has its certificate still tells of a failure: %+v", i)
	}
	if i := newRAItem(&failing, time.Now()); i.Code != "adcs.unreachable" || i.Remedy != "check the network" {
		t.Errorf("the failure is not told: %+v", i)
	}
}

func TestClient(t *testing.T) {
	t.Parallel()
	for owner, want := range map[string]string{
		"est:iot/alice": "alice",
		"est:iot/a/b":   "a/b",
		"est:iot/cert:0123456789ab/CN=dev,O=Example / Co": "CN=dev,O=Example / Co",
		"est:iot/voucher:CN=RA":                           "CN=RA",
		"est:other/alice":                                 "est:other/alice", // not of this label: as it is
	} {
		if got := client(&enroll.Enrolment{Request: enroll.Request{Owner: owner, Label: "iot"}}); got != want {
			t.Errorf("%s: %q, want %q", owner, got, want)
		}
	}
}

func TestAskedFor(t *testing.T) {
	t.Parallel()
	der := func(v any) []byte {
		b, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	bad := []byte{0x30, 0x80}
	got := askedFor([]pkix.Extension{
		{Id: oidKeyUsage, Value: der(asn1.BitString{Bytes: []byte{0x80, 0x80}, BitLength: 9})},
		{Id: oidExtKeyUsage, Value: der([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}, {1, 2, 3}})},
		{Id: oidBasic, Value: der(struct{ CA bool }{true})},
		{Id: oidBasic, Value: []byte{0x30, 0}},
		{Id: oidSubjectKey, Value: der([]byte{1})},
		{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2}, Value: []byte{1}},
		{Id: oidSubjectAlt, Value: []byte{0x30, 3, 0x82, 1, 'x'}},
	})
	want := asked{
		names: []string{"dns:x"}, usages: []string{"digitalSignature", "decipherOnly", x509.ExtKeyUsageClientAuth.String(), "1.2.3"},
		other: []string{"BE A CA", "subject key identifier", "1.3.6.1.4.1.311.20.2"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(asked{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got = askedFor([]pkix.Extension{{Id: oidKeyUsage, Value: bad}, {Id: oidExtKeyUsage, Value: bad}, {Id: oidBasic, Value: bad}, {Id: oidSubjectAlt, Value: bad}})
	if len(got.names) != 1 || !strings.HasPrefix(got.names[0], "unreadable") || len(got.usages) != 2 || got.other[0] != "unreadable basic constraints" {
		t.Errorf("unreadable extensions are told as %+v", got)
	}
}

// FuzzAskedFor: what a client writes into its extensions is shown to an administrator, and breaks nothing. Whoever asks to be a CA is seen.
func FuzzAskedFor(f *testing.F) {
	f.Add([]byte{0x30, 3, 1, 1, 0xff})
	f.Add([]byte{0x30, 6, 1, 1, 0xff, 2, 1, 0})
	f.Add([]byte{3, 2, 5, 160})
	f.Add([]byte{0x30, 3, 0x82, 1, 'x'})
	f.Add([]byte{0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2})
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, id := range []asn1.ObjectIdentifier{oidKeyUsage, oidExtKeyUsage, oidBasic, oidSubjectAlt, {1, 2, 3}} {
			a := askedFor([]pkix.Extension{{Id: id, Value: value}})
			for _, s := range append(append(a.names, a.usages...), a.other...) {
				if s == "" {
					t.Errorf("%s: an empty word for %x", id, value)
				}
			}
			if id.Equal(oidBasic) && len(value) == 5 && string(value) == "\x30\x03\x01\x01\xff" && len(a.other) != 1 {
				t.Errorf("a CA is not seen: %+v", a)
			}
		}
	})
}
