package fleettest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/fleet"
)

// now is the clock of the queries.
var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func days(n int) time.Time { return now.AddDate(0, 0, n) }

func phone(name string, change func(*fleet.Device)) fleet.Device {
	d := fleet.NewDevice(name)
	change(&d)
	return d
}

func holding(issuer string, notBefore, notAfter time.Time) *fleet.Certificate {
	return &fleet.Certificate{DER: []byte{0x30, 0}, Serial: "01", IssuerID: issuer, NotBefore: notBefore, NotAfter: notAfter}
}

// population has a phone of every kind.
func population(t *testing.T, s Stores) {
	t.Helper()
	must(t, s.Phones.AddDevices(t.Context(), []fleet.Device{
		phone("CSFALICE", func(d *fleet.Device) {
			d.Description, d.Auth = "Alice's 100% soft_phone", fleet.AuthMIC
		}),
		phone("SEP00000000000A", func(d *fleet.Device) { // needs nothing
			d.Model, d.Description, d.Status, d.Auth = "8865", "ÉCOLE, salle 3", fleet.StatusUpgradeSuccess, fleet.AuthLSC
			d.LSC, d.RenewAt = holding("aa", days(-10), days(300)), days(200)
		}),
		phone("SEP00000000000B", func(d *fleet.Device) { // expired, waits for its renewal
			d.Model, d.Auth = "8865", fleet.AuthLSC
			d.Schedule(fleet.OperationInstall, days(-1))
			d.Origin, d.LSC = fleet.OriginRenewal, holding("aa", days(-300), now.Add(-time.Millisecond))
		}),
		phone("SEP00000000000C", func(d *fleet.Device) { // ends in this moment: still valid; locked
			d.Model, d.Auth = "7841", fleet.AuthString
			d.Schedule(fleet.OperationInstall, days(-1))
			d.Status, d.WrongTries, d.LSC = fleet.StatusUpgradeFailed, 3, holding("bb", days(-300), now)
		}),
		phone("SEP00000000000D", func(d *fleet.Device) { // failed, and over
			d.Model, d.Status, d.LSC = "7841", fleet.StatusDeleteFailed, holding("bb", days(-1), days(30).Add(-time.Millisecond))
		}),
		phone("SEP00000000000E", func(d *fleet.Device) { // the renewal was over long ago
			d.Status, d.Origin, d.LSC = fleet.StatusUpgradeSuccess, fleet.OriginRenewal, holding("", days(-1), days(30))
		}),
		phone("SEP00000000000F", func(d *fleet.Device) { // not valid yet
			d.Schedule(fleet.OperationTroubleshoot, now)
			d.LSC = holding("bb", days(1), days(20))
		}),
		phone("SEP000000000010", func(d *fleet.Device) { // an LSC whose end is not known
			d.Schedule(fleet.OperationDelete, now)
			d.LSC = holding("cc", time.Time{}, time.Time{})
		}),
	}))
}

func queries(t *testing.T, s Stores) {
	population(t, s)
	const a, b, c, d, e, f, g, alice = "SEP00000000000A", "SEP00000000000B", "SEP00000000000C", "SEP00000000000D", "SEP00000000000E", "SEP00000000000F", "SEP000000000010", "CSFALICE"
	for name, q := range map[string]struct {
		query fleet.Query
		want  []string
	}{
		"all":                          {fleet.Query{}, []string{alice, a, b, c, d, e, f, g}},
		"text in the name":             {fleet.Query{Text: "00000000c"}, []string{c}},
		"text in the model":            {fleet.Query{Text: "784"}, []string{c, d}},
		"text in the description":      {fleet.Query{Text: "aLiCe's"}, []string{alice}},
		"text with an accent":          {fleet.Query{Text: "école"}, []string{a}},
		"text with a per cent sign":    {fleet.Query{Text: "0% S"}, []string{alice}},
		"a per cent sign is itself":    {fleet.Query{Text: "0%S"}, nil},
		"an underscore is itself":      {fleet.Query{Text: "sep_"}, nil},
		"text across fields":           {fleet.Query{Text: "8865ÉCOLE"}, nil},
		"operation":                    {fleet.Query{Operation: fleet.OperationInstall}, []string{b, c}},
		"no operation":                 {fleet.Query{Operation: fleet.OperationNone}, []string{alice, a, d, e}},
		"status":                       {fleet.Query{Status: fleet.StatusUpgradeSuccess}, []string{a, e}},
		"auth":                         {fleet.Query{Auth: fleet.AuthLSC}, []string{a, b}},
		"origin":                       {fleet.Query{Origin: fleet.OriginRenewal}, []string{b, e}},
		"origin administrator is any":  {fleet.Query{Origin: fleet.OriginAdministrator, Auth: fleet.AuthLSC}, []string{a, b}},
		"model":                        {fleet.Query{Model: "8865"}, []string{a, b}},
		"model is the whole":           {fleet.Query{Model: "886"}, nil},
		"with LSC":                     {fleet.Query{LSC: fleet.LSCPresent}, []string{a, b, c, d, e, f, g}},
		"without LSC":                  {fleet.Query{LSC: fleet.LSCMissing}, []string{alice}},
		"expired":                      {fleet.Query{ExpiresBefore: now}, []string{b}},
		"expires soon":                 {fleet.Query{ExpiresBefore: days(30)}, []string{b, c, d, f}},
		"issuer":                       {fleet.Query{IssuerID: "bb"}, []string{c, d, f}},
		"unknown issuer":               {fleet.Query{IssuerID: "dd"}, nil},
		"operation and origin":         {fleet.Query{Operation: fleet.OperationInstall, Origin: fleet.OriginRenewal}, []string{b}},
		"no operation and status":      {fleet.Query{Operation: fleet.OperationNone, Status: fleet.StatusUpgradeSuccess}, []string{a, e}},
		"issuer and end":               {fleet.Query{IssuerID: "bb", ExpiresBefore: days(25)}, []string{c, f}},
		"text and model":               {fleet.Query{Text: "sep", Model: "7841"}, []string{c, d}},
		"everything":                   {fleet.Query{Text: "7841", Operation: fleet.OperationInstall, Status: fleet.StatusUpgradeFailed, Auth: fleet.AuthString, Model: "7841", LSC: fleet.LSCPresent, ExpiresBefore: days(1), IssuerID: "bb"}, []string{c}},
		"everything, but for one":      {fleet.Query{Text: "7841", Operation: fleet.OperationInstall, Status: fleet.StatusUpgradeFailed, Auth: fleet.AuthLSC, Model: "7841", LSC: fleet.LSCPresent, ExpiresBefore: days(1), IssuerID: "bb"}, nil},
		"contradiction":                {fleet.Query{LSC: fleet.LSCMissing, IssuerID: "bb"}, nil},
		"after":                        {fleet.Query{After: e}, []string{f, g}},
		"after a name that is nowhere": {fleet.Query{After: "SEP00000000000DA"}, []string{e, f, g}},
	} {
		list, total, err := s.Phones.Devices(t.Context(), q.query)
		must(t, err)
		var got []string
		for _, d := range list {
			got = append(got, d.Name)
		}
		if diff := cmp.Diff(q.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		q.query.After = ""
		if all := names(t, s, q.query); total != len(all) {
			t.Errorf("%s: total %d of %d", name, total, len(all))
		}
	}
}

func pages(t *testing.T, s Stores) {
	population(t, s)
	for _, q := range []fleet.Query{{}, {LSC: fleet.LSCPresent}, {ExpiresBefore: days(30)}, {Text: "sep"}, {Status: fleet.StatusPending}} {
		want := names(t, s, q)
		for limit := 1; limit <= len(want)+1; limit++ {
			page := q
			page.Limit = limit
			var got []string
			for {
				list, total, err := s.Phones.Devices(t.Context(), page)
				must(t, err)
				if total != len(want) {
					t.Errorf("%+v: total %d, want %d whatever the page", page, total, len(want))
				}
				if len(list) > limit {
					t.Fatalf("%+v: %d records", page, len(list))
				}
				for _, d := range list {
					got = append(got, d.Name)
				}
				if len(list) < limit {
					break
				}
				page.After = list[len(list)-1].Name
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%+v in pages of %d (-want +got):\n%s", q, limit, diff)
			}
		}
	}
}

func summary(t *testing.T, s Stores) {
	got, err := s.Phones.Summarise(t.Context(), now)
	must(t, err)
	empty := fleet.Summary{Operations: map[fleet.Operation]int{}, Statuses: map[fleet.Status]int{}, Auths: map[fleet.AuthMode]int{}}
	if diff := cmp.Diff(empty, got); diff != "" {
		t.Errorf("no phones (-want +got):\n%s", diff)
	}
	population(t, s)
	want := fleet.Summary{
		Phones: 8,
		Operations: map[fleet.Operation]int{
			fleet.OperationNone: 4, fleet.OperationInstall: 2, fleet.OperationTroubleshoot: 1, fleet.OperationDelete: 1,
		},
		Statuses: map[fleet.Status]int{
			fleet.StatusNone: 1, fleet.StatusUpgradeSuccess: 2, fleet.StatusPending: 3, fleet.StatusUpgradeFailed: 1, fleet.StatusDeleteFailed: 1,
		},
		Auths:    map[fleet.AuthMode]int{fleet.AuthMIC: 1, fleet.AuthLSC: 2, fleet.AuthString: 1, fleet.AuthNull: 4},
		LSCs:     7,
		Expired:  1,
		In30Days: 2, // C and D; E ends a millisecond later, F is not valid yet
		Renewing: 1,
		Locked:   1,
	}
	got, err = s.Phones.Summarise(t.Context(), now)
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
