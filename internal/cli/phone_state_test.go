package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/capf"
	"callsign/internal/app"
	"callsign/internal/ca"
	"callsign/internal/enroll"
	"callsign/internal/enroll/enrolltest"
	"callsign/internal/fleet"
	"callsign/internal/fleet/fleettest"
)

var stateNow = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func TestPhoneState(t *testing.T) {
	t.Parallel()
	lsc := func(days int) *fleet.Certificate { return &fleet.Certificate{NotAfter: stateNow.AddDate(0, 0, days)} }
	note := &fleet.Note{Code: "fleet.wrong-string", Detail: "wrong", Remedy: "type it again"}
	pending := enroll.Enrolment{State: enroll.Pending, Progress: ca.Progress{RequestID: "42"}}
	for name, c := range map[string]struct {
		change      func(*fleet.Device)
		rows        []enroll.Enrolment
		state, next string
	}{
		"nothing to do": {func(*fleet.Device) {}, nil, "has no certificate and nothing to do", "callsign phone set SEP00000000000A --operation install"},
		"due":           {func(d *fleet.Device) { d.Schedule(fleet.OperationDelete, stateNow) }, nil, "is to delete at its next call", "reset the phone, or wait until it calls"},
		"due by string": {func(d *fleet.Device) {
			d.Schedule(fleet.OperationInstall, stateNow)
			d.Auth = fleet.AuthString
		}, nil, "is to install at its next call", "let the user type the authentication string on the phone"},
		"failed once": {func(d *fleet.Device) {
			d.Schedule(fleet.OperationInstall, stateNow)
			d.Note = note
		}, nil, "is to install at its next call", "type it again"},
		"locked": {func(d *fleet.Device) {
			d.Schedule(fleet.OperationInstall, stateNow)
			d.Status, d.Note = fleet.StatusUpgradeFailed, note
		}, nil, "is locked: install is due, but not before a new string is set", "find out who tried, then: callsign phone strings SEP00000000000A --generate --output FILE"},
		"last moment": {func(d *fleet.Device) {
			d.Schedule(fleet.OperationInstall, stateNow)
			d.CompletesBy = stateNow
		}, nil, "is to install at its next call", "reset the phone, or wait until it calls"},
		"too late": {func(d *fleet.Device) {
			d.Schedule(fleet.OperationTroubleshoot, stateNow)
			d.CompletesBy = stateNow.Add(-time.Second)
		}, nil, "is too late: it was to troubleshoot until " + stateNow.Add(-time.Second).Local().Format(time.DateTime) + " and has not called", "callsign phone set SEP00000000000A --operation troubleshoot, and reset the phone"},
		"approval": {
			func(d *fleet.Device) { d.Schedule(fleet.OperationInstall, stateNow) },
			[]enroll.Enrolment{pending},
			"waits for the CA's manager to decide request 42", "decide the request at the CA; then the phone gets its certificate at its next call",
		},
		"offline": {
			func(d *fleet.Device) { d.Schedule(fleet.OperationInstall, stateNow) },
			[]enroll.Enrolment{{Request: enroll.Request{Authority: "offline"}, State: enroll.Pending, Progress: ca.Progress{RequestID: "4f"}}},
			"waits for the offline CA to sign request 4f", "callsign capf csr export --out DIR, have it signed, then: callsign capf csr import FILE",
		},
		"issued": {
			func(d *fleet.Device) { d.Schedule(fleet.OperationInstall, stateNow) },
			[]enroll.Enrolment{{State: enroll.Issued}, pending},
			"has a certificate waiting for its next call", "reset the phone",
		},
		"well":    {func(d *fleet.Device) { d.LSC = lsc(1); d.HasResult, d.Result = true, capf.ResultSuccess }, nil, "has its certificate", ""},
		"expired": {func(d *fleet.Device) { d.LSC = lsc(-1) }, nil, "has an LSC that expired on " + lsc(-1).NotAfter.Local().Format(time.DateOnly), "callsign phone set SEP00000000000A --operation install"},
		"expired, and to show it": {
			func(d *fleet.Device) { d.LSC, d.Auth = lsc(-1), fleet.AuthLSC },
			nil,
			"has an LSC that expired on " + lsc(-1).NotAfter.Local().Format(time.DateOnly) + ", which proves nothing any more",
			"callsign phone strings SEP00000000000A --generate --operation install --output FILE, and let the user type the string",
		},
		"failed": {func(d *fleet.Device) {
			d.HasResult, d.Result, d.Note = true, capf.ResultLateRequest, note
		}, nil, "has no certificate: the last operation failed", "type it again"},
		"failed, with an LSC": {func(d *fleet.Device) {
			d.LSC, d.HasResult, d.Result = lsc(1), true, capf.ResultLateRequest
		}, nil, "has its certificate, but the last operation failed", "callsign phone set SEP00000000000A --operation install"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := fleet.NewDevice("SEP00000000000A")
			c.change(&d)
			state, next := phoneState(d, c.rows, stateNow)
			if diff := cmp.Diff([]string{c.state, c.next}, []string{state, next}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseWhen(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		"30d": stateNow.AddDate(0, 0, 30), "0d": stateNow, "12h": stateNow.Add(12 * time.Hour),
		"2027-01-20T12:00:00+01:00": time.Date(2027, 1, 20, 11, 0, 0, 0, time.UTC),
		"2027-01-20":                time.Date(2027, 1, 20, 0, 0, 0, 0, time.Local),
	} {
		if got, err := parseWhen(text, stateNow); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "30", "-1d", "30 d", "123456d", "2027-02-30", "tomorrow"} {
		if got, err := parseWhen(text, stateNow); err == nil {
			t.Errorf("%q was taken for %v", text, got)
		}
	}
}

// reported is a fleet with phones of every section, some of them in two.
func reported(t *testing.T) *app.Records {
	t.Helper()
	j := &enrolltest.Memory{}
	r := &app.Records{Phones: &fleettest.Memory{Journal: j}, Journal: j}
	phone := func(name string, change func(*fleet.Device)) fleet.Device {
		d := fleet.NewDevice(name)
		d.LSC = &fleet.Certificate{DER: []byte{0x30, 0}, NotBefore: stateNow.AddDate(0, -1, 0), NotAfter: stateNow.AddDate(1, 0, 0)}
		change(&d)
		return d
	}
	failed := func(d *fleet.Device, code string) {
		d.Status, d.HasResult, d.Result = fleet.StatusUpgradeFailed, true, capf.ResultFail
		if code != "" {
			d.Note = &fleet.Note{Code: code, Detail: "d", Remedy: "do " + code, At: stateNow}
		}
	}
	devices := []fleet.Device{
		phone("SEP000000000001", func(*fleet.Device) {}),
		phone("SEP000000000002", func(d *fleet.Device) { d.LSC.NotAfter = stateNow.Add(-time.Hour) }),
		phone("SEP000000000003", func(d *fleet.Device) {
			d.LSC.NotAfter, d.RenewAt = stateNow.AddDate(0, 0, 5), stateNow.AddDate(0, 0, 1)
		}),
		phone("SEP000000000004", func(d *fleet.Device) { d.LSC.NotAfter = stateNow.AddDate(0, 0, 9) }),
		phone("SEP000000000005", func(d *fleet.Device) { failed(d, "fleet.late") }),
		phone("SEP000000000006", func(d *fleet.Device) { failed(d, "fleet.denied") }),
		phone("SEP000000000007", func(d *fleet.Device) { failed(d, "fleet.denied") }),
		phone("SEP000000000008", func(d *fleet.Device) { failed(d, "") }),
		phone("SEP000000000009", func(d *fleet.Device) { d.Schedule(fleet.OperationInstall, stateNow); failed(d, "fleet.wrong-string") }),
		phone("SEP00000000000A", func(d *fleet.Device) { d.LSC = nil }),
		phone("SEP00000000000B", func(d *fleet.Device) {
			d.Schedule(fleet.OperationInstall, stateNow)
			d.Origin, d.CompletesBy = fleet.OriginRenewal, stateNow.Add(-time.Hour)
		}),
	}
	if err := r.Phones.AddDevices(t.Context(), devices); err != nil {
		t.Fatal(err)
	}
	return r
}

func newReport(days, limit int) *phoneReport {
	return &phoneReport{Days: days, limit: limit, now: stateNow, renews: true, toCopy: func(text string) string { return text }}
}

func TestPhoneReport(t *testing.T) {
	t.Parallel()
	r := newReport(7, 1)
	if err := r.fill(t.Context(), reported(t)); err != nil {
		t.Fatal(err)
	}
	sections := map[string]*reportSection{
		"expired": r.Expired, "expiring": r.Expiring, "locked": r.Locked, "late": r.Late, "without": r.WithoutLSC, "renewing": r.Renewing,
	}
	for i, f := range r.Failed {
		sections[fmt.Sprintf("failed %d %s", i, f.Code)] = &f.reportSection
	}
	got := map[string]string{}
	for name, s := range sections {
		text := fmt.Sprint(s.Total)
		for _, i := range s.Items {
			text += " " + strings.TrimLeft(i.Name, "SEP0") + ": " + i.Next
		}
		got[name] = text
	}
	late := "callsign phone set SEP00000000000B --operation install, and reset the phone"
	if diff := cmp.Diff(map[string]string{
		"expired":                            "1 2: callsign phone set SEP000000000002 --operation install",
		"expiring":                           "1 3: is renewed by the schedule from " + stateNow.AddDate(0, 0, 1).Local().Format(time.DateOnly) + " on",
		"locked":                             "1 9: find out who tried, then: callsign phone strings SEP000000000009 --generate --output FILE",
		"late":                               "1 B: " + late,
		"renewing":                           "1 B: " + late,
		"without":                            "1 A: callsign phone set SEP00000000000A --operation install",
		"failed 0 fleet.denied":              "2 6: do fleet.denied",
		"failed 1 " + capf.ResultFail.Name(): "1 8: callsign phone set SEP000000000008 --operation install",
		"failed 2 fleet.late":                "1 5: do fleet.late",
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// More days, and all of them.
	r = newReport(30, 0)
	if err := r.fill(t.Context(), reported(t)); err != nil {
		t.Fatal(err)
	}
	if r.Expiring.Total != 2 || len(r.Expiring.Items) != 2 || r.Expiring.Items[1].Next != "callsign phone set SEP000000000004 --operation install" {
		t.Errorf("in 30 days: %+v", r.Expiring)
	}
	// Without a schedule nobody renews what has a date.
	r = newReport(7, 0)
	r.renews = false
	if err := r.fill(t.Context(), reported(t)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("callsign phone set SEP000000000003 --operation install", r.Expiring.Items[0].Next); diff != "" {
		t.Errorf("renewal off: %s", diff)
	}
	if r.Summary.Phones != 11 || r.Summary.LSCs != 10 || r.Summary.Expired != 1 || r.Summary.In30Days != 2 || r.Summary.Locked != 1 || r.Summary.Renewing != 1 {
		t.Errorf("summary: %+v", r.Summary)
	}
}

// TestPhoneReportPages has more phones in one section than are read at a time.
func TestPhoneReportPages(t *testing.T) {
	t.Parallel()
	j := &enrolltest.Memory{}
	s := &app.Records{Phones: &fleettest.Memory{Journal: j}, Journal: j}
	const phones = 2*reportPage + 1
	devices := make([]fleet.Device, phones)
	for i := range devices {
		devices[i] = fleet.NewDevice(fmt.Sprintf("SEP%012X", i))
		devices[i].LSC = &fleet.Certificate{NotAfter: stateNow.Add(-time.Hour)}
	}
	if err := s.Phones.AddDevices(t.Context(), devices); err != nil {
		t.Fatal(err)
	}
	r := newReport(30, 3)
	if err := r.fill(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if r.Expired.Total != phones || len(r.Expired.Items) != 3 {
		t.Errorf("%d expired, %d listed; want %d and 3", r.Expired.Total, len(r.Expired.Items), phones)
	}
}

func TestPrintReport(t *testing.T) {
	t.Parallel()
	var out, hints bytes.Buffer
	e := &env{out: &out, err: &hints, config: "callsign.toml"}
	r := newReport(30, 1)
	if err := r.fill(t.Context(), reported(t)); err != nil {
		t.Fatal(err)
	}
	if err := e.printReport(r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"11 phones, 10 with an LSC: 1 expired, 2 more in 30 days\n",
		"  due             2 install (Install/Upgrade)\n",
		"\nLSC expired: 1\nPHONE            EXPIRES     OPERATION  STATUS  CODE  NEXT\n",
		"\nfailed by fleet.denied: 2\n",
		"\nlocked by wrong strings: 1\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if !strings.Contains(hints.String(), "1 of 2 shown; --limit 0 shows all\n") {
		t.Errorf("hints: %s", hints.String())
	}
}

// TestShowCall tells which step of a call failed, and explains it once.
func TestShowCall(t *testing.T) {
	t.Parallel()
	note := &fleet.Note{Code: "fleet.not-stored", Detail: "the phone refused", Remedy: "reset it", At: stateNow}
	a := fleet.Attempt{
		Began: stateNow, Duration: 3 * time.Second, Peer: "192.0.2.7:4000", Version: 3, Operation: fleet.OperationInstall, Auth: fleet.AuthLSC, Credential: "lsc",
		Result: capf.ResultFail, Note: note,
		Steps: []fleet.Step{
			{Name: fleet.StepAuthenticate, Duration: 400 * time.Microsecond, Detail: "LSC"},
			{Name: fleet.StepStore, Duration: 2 * time.Second, Code: note.Code, Detail: note.Detail},
		},
	}
	show := func(told *fleet.Note) string {
		var out bytes.Buffer
		e := &env{out: &out}
		e.showCall(a, told)
		return out.String()
	}
	began := stateNow.Local().Format("2006-01-02 15:04:05 MST")
	steps := "  call           " + began + "  FAIL  install, " + fmt.Sprintf("%d %s", capf.ResultFail.Number(), capf.ResultFail.Name()) + ", 3.00s\n" +
		"    from         192.0.2.7:4000, protocol version 3, plain TCP, to authenticate by lsc, showed lsc\n" +
		"    authenticate OK       0.4ms  LSC\n" +
		"    store        FAIL     2.00s  fleet.not-stored\n"
	for name, c := range map[string]struct {
		told *fleet.Note
		end  string
	}{
		"explained here": {nil, "    cause        the phone refused (fleet.not-stored), " + stateNow.Local().Format(time.DateTime) + "\n" +
			"    fix          reset it\n    see          callsign explain fleet.not-stored\n"},
		"explained above": {note, "    cause        as above (fleet.not-stored)\n"},
		"another one above": {&fleet.Note{Code: note.Code, At: stateNow.Add(time.Hour)}, "    cause        the phone refused (fleet.not-stored), " + stateNow.Local().Format(time.DateTime) + "\n" +
			"    fix          reset it\n    see          callsign explain fleet.not-stored\n"},
	} {
		if diff := cmp.Diff(steps+c.end, show(c.told)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestShowRenewal: what a phone's story says of its renewal is true while the schedule is off, and while it is under way.
func TestShowRenewal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		renews bool
		change func(*fleet.Device)
		want   string
	}{
		{"off", false, func(*fleet.Device) {}, "off (section [renewal])"},
		{"to come", true, func(*fleet.Device) {}, "from " + momentText(stateNow.AddDate(0, 0, 2), stateNow)},
		{"never", true, func(d *fleet.Device) { d.RenewAt = time.Time{} }, ""},
		{"under way", true, func(d *fleet.Device) {
			d.Schedule(fleet.OperationInstall, stateNow)
			d.Origin = fleet.OriginRenewal
		}, "under way"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := fleet.NewDevice("SEP00000000000A")
			d.LSC, d.RenewAt = &fleet.Certificate{NotAfter: stateNow.AddDate(1, 0, 0)}, stateNow.AddDate(0, 0, 2)
			tt.change(&d)
			got := ""
			showLSC(func(label, format string, args ...any) {
				if label == "  renewal" {
					got = fmt.Sprintf(format, args...)
				}
			}, d, tt.renews, stateNow)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
