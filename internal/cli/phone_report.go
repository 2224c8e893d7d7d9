package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/app"
	"callsign/internal/fleet"
)

// reportPage is how many phones are read at a time.
const reportPage = 1000

// reportSection is a list of phones that need something. Total counts also those that are not listed.
type reportSection struct {
	Total int          `json:"total"`
	Items []reportItem `json:"items"`
}

// reportItem is a phone in a report: what the section is about, and what to do.
type reportItem struct {
	Name        string  `json:"name"`
	Operation   string  `json:"operation"`
	Status      string  `json:"status"`
	Auth        string  `json:"authentication"`
	NotAfter    *string `json:"not_after,omitempty"`
	CompletesBy *string `json:"completes_by,omitempty"`
	Code        string  `json:"code,omitempty"`
	Next        string  `json:"next"`
}

// failedSection are the phones whose last operation failed for one reason.
type failedSection struct {
	Code string `json:"code"`
	reportSection
}

// phoneReport is `phone report --json`.
type phoneReport struct {
	At      string         `json:"at"`
	Days    int            `json:"days"`
	Summary summaryItem    `json:"summary"`
	Expired *reportSection `json:"expired"`
	// Expiring are valid now and not in Days any more.
	Expiring   *reportSection   `json:"expiring"`
	Failed     []*failedSection `json:"failed"`
	Locked     *reportSection   `json:"locked"`
	Late       *reportSection   `json:"late"`
	WithoutLSC *reportSection   `json:"without_lsc"`
	Renewing   *reportSection   `json:"renewals_pending"`

	limit  int
	now    time.Time
	renews bool                // by the schedule
	toCopy func(string) string // makes what is to do ready to be copied
}

// summaryItem is a fleet.Summary in JSON.
type summaryItem struct {
	Phones     int                     `json:"phones"`
	LSCs       int                     `json:"with_lsc"`
	Expired    int                     `json:"expired"`
	In30Days   int                     `json:"expiring_in_30_days"`
	Renewing   int                     `json:"renewals_pending"`
	Locked     int                     `json:"locked"`
	Operations map[fleet.Operation]int `json:"operations"`
	Statuses   map[fleet.Status]int    `json:"statuses"`
	Auths      map[fleet.AuthMode]int  `json:"authentication"`
}

func (e *env) phoneReport() *cobra.Command {
	var days, limit int
	cmd := &cobra.Command{
		Use: "report", Short: "Count the phones, and list those that need something", Args: noArgs,
		Long: `Count the phones, and list those that need something: expired and expiring LSCs, failed operations by cause, phones locked by wrong
strings, operations whose time has passed, phones without an LSC, and renewals that wait for their phones. Each with the
command that mends it. callsign phone show tells one phone's story.`,
		Example: "  callsign phone report\n  callsign phone report --days 90 --limit 0\n  callsign phone report --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usage(fmt.Errorf("--limit %d: use 0 for all or a positive number", limit))
			}
			if days < 0 || days > 36500 {
				return usage(fmt.Errorf("--days %d: use a number from 0 to 36500", days))
			}
			c, err := e.loadConfig()
			if err != nil {
				return err
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				r := &phoneReport{Days: days, limit: limit, now: time.Now(), renews: c.Renewal.Enabled, toCopy: e.toCopy}
				if err := r.fill(ctx, s); err != nil {
					return err
				}
				if e.json {
					return e.printJSON(r)
				}
				return e.printReport(r)
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&days, "days", 30, "list LSCs that end within so `many` days")
	f.IntVar(&limit, "limit", 20, "list at most so `many` phones for each thing (0: all)")
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

// fill asks the store for the phones of each section.
func (r *phoneReport) fill(ctx context.Context, s *app.Records) error {
	now := r.now
	r.At, r.Failed = utc(now), []*failedSection{}
	for _, section := range []**reportSection{&r.Expired, &r.Expiring, &r.Locked, &r.Late, &r.WithoutLSC, &r.Renewing} {
		*section = &reportSection{Items: []reportItem{}}
	}
	sum, err := s.Phones.Summarise(ctx, now)
	if err != nil {
		return err
	}
	r.Summary = summaryItem{
		Phones: sum.Phones, LSCs: sum.LSCs, Expired: sum.Expired, In30Days: sum.In30Days, Renewing: sum.Renewing, Locked: sum.Locked,
		Operations: sum.Operations, Statuses: sum.Statuses, Auths: sum.Auths,
	}
	each := func(q fleet.Query, do func(*fleet.Device)) {
		if err == nil {
			err = eachPhone(ctx, s.Phones, q, do)
		}
	}
	each(fleet.Query{ExpiresBefore: now.AddDate(0, 0, r.Days)}, func(d *fleet.Device) {
		if d.LSC.NotAfter.Before(now) {
			r.add(r.Expired, d)
		} else {
			r.add(r.Expiring, d)
		}
	})
	for _, status := range []fleet.Status{fleet.StatusUpgradeFailed, fleet.StatusDeleteFailed, fleet.StatusTroubleshootFailed} {
		each(fleet.Query{Status: status}, func(d *fleet.Device) {
			if locked(*d) {
				r.add(r.Locked, d)
			} else {
				r.add(r.failed(d), d)
			}
		})
	}
	for _, op := range fleet.Operations() {
		if op == fleet.OperationNone {
			continue
		}
		each(fleet.Query{Operation: op}, func(d *fleet.Device) {
			if overdue(*d, now) {
				r.add(r.Late, d)
			}
			if d.Origin == fleet.OriginRenewal {
				r.add(r.Renewing, d)
			}
		})
	}
	if err != nil {
		return err
	}
	// Of these there may be many that need nothing but their first call: no more are read than are listed.
	devices, total, err := s.Phones.Devices(ctx, fleet.Query{LSC: fleet.LSCMissing, Limit: r.limit})
	if err != nil {
		return err
	}
	for i := range devices {
		r.add(r.WithoutLSC, &devices[i])
	}
	r.WithoutLSC.Total = total
	slices.SortFunc(r.Failed, func(a, b *failedSection) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), strings.Compare(a.Code, b.Code))
	})
	return nil
}

// eachPhone reads the phones that q picks, a page at a time.
func eachPhone(ctx context.Context, phones fleet.Store, q fleet.Query, do func(*fleet.Device)) error {
	q.Limit = reportPage
	for {
		devices, _, err := phones.Devices(ctx, q)
		if err != nil {
			return err
		}
		for i := range devices {
			do(&devices[i])
		}
		if len(devices) < reportPage {
			return nil
		}
		q.After = devices[len(devices)-1].Name
	}
}

func (r *phoneReport) failed(d *fleet.Device) *reportSection {
	code := d.Result.Name()
	if d.Note != nil {
		code = d.Note.Code
	}
	for _, f := range r.Failed {
		if f.Code == code {
			return &f.reportSection
		}
	}
	f := &failedSection{Code: code, reportSection: reportSection{Items: []reportItem{}}}
	r.Failed = append(r.Failed, f)
	return &f.reportSection
}

func (r *phoneReport) add(to *reportSection, d *fleet.Device) {
	to.Total++
	if r.limit > 0 && len(to.Items) >= r.limit {
		return
	}
	_, next := phoneState(*d, nil, r.now)
	if next == "" && to == r.Expiring {
		next = "callsign phone set " + shellQuote(d.Name) + " --operation install"
		if r.renews && d.RenewAt.After(r.now) {
			next = "is renewed by the schedule from " + d.RenewAt.Local().Format(time.DateOnly) + " on"
		}
	}
	i := reportItem{Name: d.Name, Operation: string(d.Operation), Status: string(d.Status), Auth: string(d.Auth), CompletesBy: optionalTime(d.CompletesBy), Next: r.toCopy(next)}
	if d.LSC != nil {
		i.NotAfter = optionalTime(d.LSC.NotAfter)
	}
	if d.Note != nil {
		i.Code = d.Note.Code
	}
	to.Items = append(to.Items, i)
}

func (e *env) printReport(r *phoneReport) error {
	if r.Summary.Phones == 0 {
		fmt.Fprintln(e.out, "No phones are configured; add one with: callsign phone add SEP001122334455 --operation install"+e.configFlag())
		return nil
	}
	s := r.Summary
	fmt.Fprintf(e.out, "%d phone%s, %d with an LSC: %d expired, %d more in %d days\n", s.Phones, plural(s.Phones), s.LSCs, r.Expired.Total, r.Expiring.Total, r.Days)
	fmt.Fprintf(e.out, "  due             %s\n", counts(fleet.Operations()[1:], s.Operations, fleet.Operation.VendorLabel))
	fmt.Fprintf(e.out, "  status          %s\n", counts(fleet.Statuses(), s.Statuses, fleet.Status.VendorLabel))
	fmt.Fprintf(e.out, "  authentication  %s\n", counts(fleet.AuthModes(), s.Auths, fleet.AuthMode.VendorLabel))
	needed := false
	section := func(what string, one *reportSection) error {
		if one.Total == 0 {
			return nil
		}
		needed = true
		fmt.Fprintf(e.out, "\n%s: %d\n", what, one.Total)
		rows := make([][]string, 0, len(one.Items))
		for _, i := range one.Items {
			rows = append(rows, []string{i.Name, optionalDate(i.NotAfter), i.Operation, i.Status, or(i.Code, "-"), or(i.Next, "-")})
		}
		if err := table(e.out, []string{"PHONE", "EXPIRES", "OPERATION", "STATUS", "CODE", "NEXT"}, rows); err != nil {
			return err
		}
		if len(one.Items) < one.Total {
			e.hint("%d of %d shown; --limit 0 shows all\n", len(one.Items), one.Total)
		}
		return nil
	}
	type titled struct {
		what string
		one  *reportSection
	}
	sections := []titled{{"LSC expired", r.Expired}, {fmt.Sprintf("LSC ends in %d days", r.Days), r.Expiring}, {"locked by wrong strings", r.Locked}, {"too late", r.Late}}
	for _, f := range r.Failed {
		sections = append(sections, titled{"failed by " + f.Code, &f.reportSection})
	}
	sections = append(sections, titled{"without an LSC", r.WithoutLSC}, titled{"renewal waits for the phone", r.Renewing})
	for _, t := range sections {
		if err := section(t.what, t.one); err != nil {
			return err
		}
	}
	if !needed {
		fmt.Fprintln(e.out, "\nNothing needs anybody.")
	}
	return nil
}

// counts is a line of counts with the vendor's words beside ours.
func counts[T ~string](order []T, n map[T]int, label func(T) string) string {
	var parts []string
	for _, v := range order {
		if n[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s (%s)", n[v], string(v), label(v)))
		}
	}
	return or(strings.Join(parts, ", "), "none")
}

func optionalDate(t *string) string {
	if t == nil {
		return "-"
	}
	at, err := time.Parse(time.RFC3339, *t)
	if err != nil {
		return *t
	}
	return at.Local().Format(time.DateOnly)
}
