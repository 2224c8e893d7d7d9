package cli

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/app"
	"callsign/internal/fleet"
)

// phoneItem is a phone in JSON.
type phoneItem struct {
	Name           string          `json:"name"`
	Model          string          `json:"model,omitempty"`
	Operation      string          `json:"operation"`
	Status         string          `json:"status"`
	Auth           string          `json:"auth"`
	Key            string          `json:"key"`
	LSC            *lscItem        `json:"lsc"`
	Description    string          `json:"description"`
	Authentication string          `json:"authentication"`
	KeyOrder       string          `json:"key_order"`
	RSABits        int             `json:"rsa_bits"`
	ECBits         int             `json:"ec_bits"`
	NoMIC          bool            `json:"no_mic"`
	Origin         string          `json:"origin"` // who set the operation: "administrator" or "renewal"
	CompletesBy    *string         `json:"completes_by"`
	RenewAt        *string         `json:"renew_at"`
	Vendor         phoneVendorItem `json:"vendor"`
}

// phoneVendorItem has the vendor's names and numbers of the same values.
type phoneVendorItem struct {
	Operation      string `json:"operation"`
	Status         string `json:"status"`
	Authentication string `json:"authentication"`
	KeyOrder       string `json:"key_order"`
	RSABits        string `json:"rsa_bits"`
	ECBits         string `json:"ec_bits"`
}

type lscItem struct {
	Serial    string  `json:"serial"`
	NotAfter  string  `json:"not_after"`
	Issuer    string  `json:"issuer"`
	NotBefore *string `json:"not_before"`
	IssuerID  string  `json:"issuer_id"`
}

func newPhoneItem(d fleet.Device) phoneItem {
	i := phoneItem{
		Name: d.Name, Model: d.Model, Operation: string(d.Operation), Status: string(d.Status), Auth: string(d.Auth), Key: keyOf(d),
		Description: d.Description, Authentication: string(d.Auth), KeyOrder: string(d.KeyOrder), RSABits: d.RSABits, ECBits: d.ECBits,
		NoMIC: d.NoMIC, Origin: "administrator", CompletesBy: optionalTime(d.CompletesBy), RenewAt: optionalTime(d.RenewAt),
		Vendor: phoneVendorItem{
			Operation: vendorOperation(d.Operation), Status: vendorStatus(d.Status), Authentication: d.Auth.VendorValue(), KeyOrder: d.KeyOrder.VendorValue(),
			RSABits: fleet.VendorRSABits(d.RSABits), ECBits: fleet.VendorECBits(d.KeyOrder, d.ECBits),
		},
	}
	if d.Origin != fleet.OriginAdministrator {
		i.Origin = string(d.Origin)
	}
	if d.LSC != nil {
		i.LSC = &lscItem{
			Serial: d.LSC.Serial, NotAfter: utc(d.LSC.NotAfter), Issuer: d.LSC.Issuer,
			NotBefore: optionalTime(d.LSC.NotBefore), IssuerID: d.LSC.IssuerID,
		}
	}
	return i
}

func vendorOperation(o fleet.Operation) string {
	return fmt.Sprintf("%s:%d", o.VendorName(), o.VendorNumber())
}

func vendorStatus(s fleet.Status) string {
	return fmt.Sprintf("%s:%d", s.VendorName(), s.VendorNumber())
}

// optionalTime is a time in JSON, null for none.
func optionalTime(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := utc(t)
	return &s
}

// keyOf is the key that is asked for first.
func keyOf(d fleet.Device) string {
	if d.KeyOrder == fleet.KeyOrderRSA {
		return fmt.Sprintf("rsa:%d", d.RSABits)
	}
	return fmt.Sprintf("ec:%d", d.ECBits)
}

// printPhones is a list of phones in JSON; total counts also those that are not shown.
func (e *env) printPhones(devices []fleet.Device, total int, dry bool) error {
	items := make([]phoneItem, 0, len(devices))
	for _, d := range devices {
		items = append(items, newPhoneItem(d))
	}
	return e.printJSON(struct {
		Items  []phoneItem `json:"items"`
		Total  int         `json:"total"`
		DryRun bool        `json:"dry_run,omitempty"`
	}{items, total, dry})
}

// phonePage are the flags that pick phones for a list, a page at a time.
type phonePage struct {
	phoneFilter

	auth, expiresBefore, after string
	limit                      int
}

func (p *phonePage) register(cmd *cobra.Command) {
	p.phoneFilter.register(cmd)
	f := cmd.Flags()
	f.StringVar(&p.auth, "auth", "", "only phones with this authentication `mode`: null, string, lsc or mic")
	f.StringVar(&p.expiresBefore, "expires-before", "", "only phones with an LSC that ends before this `time`: 2027-01-20T12:00:00Z, 2027-01-20, or 30d from now on")
	f.StringVar(&p.after, "after", "", "only phones behind this `name`: the last one of the page before")
	f.IntVar(&p.limit, "limit", 0, "show at most so `many` (0: all)")
	complete(cmd, "auth", words(fleet.AuthModes())...)
	complete(cmd, "expires-before", "30d", "90d")
}

// check refuses words that no phone can have, before a database is opened.
func (p *phonePage) check(now time.Time) (fleet.Query, error) {
	var q fleet.Query
	var err error
	if p.limit < 0 {
		return q, usage(fmt.Errorf("--limit %d: use 0 for all or a positive number", p.limit))
	}
	if p.auth != "" {
		if q.Auth, err = fleet.ParseAuthMode(p.auth); err != nil {
			return q, wrongValue("auth", p.auth, words(fleet.AuthModes())...)
		}
	}
	if p.expiresBefore != "" {
		if q.ExpiresBefore, err = parseWhen(p.expiresBefore, now); err != nil {
			return q, usage(fmt.Errorf("--expires-before %q: %w", p.expiresBefore, err))
		}
	}
	q.After, q.Limit = strings.ToUpper(p.after), p.limit
	return q, nil
}

var daysOrHours = regexp.MustCompile(`^([0-9]{1,5})([dh])$`)

// parseWhen reads a time: RFC 3339, a local date, or a number of days or hours from now on.
func parseWhen(s string, now time.Time) (time.Time, error) {
	if m := daysOrHours.FindStringSubmatch(s); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return time.Time{}, err
		}
		if m[2] == "h" {
			return now.Add(time.Duration(n) * time.Hour), nil
		}
		return now.AddDate(0, 0, n), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, s, time.Local); err == nil {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("use a time such as 2027-01-20T12:00:00Z, a date such as 2027-01-20, or 30d for 30 days from now on")
}

func (e *env) phoneList() *cobra.Command {
	var p phonePage
	cmd := &cobra.Command{
		Use: "list", Short: "List the phones, all or those that filters pick", Args: noArgs,
		Long: `List the phones in the order of their names: all, or those that every filter fits. For long lists a page at a time: --limit, and --after
with the last name that was shown.`,
		Example: `  callsign phone list
  callsign phone list --status upgrade_failed
  callsign phone list --expires-before 30d --lsc present --json
  callsign phone list --limit 100 --after SEP001122334455`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now()
			page, err := p.check(now)
			if err != nil {
				return err
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				q, err := p.query(ctx, e, s)
				if err != nil {
					return err
				}
				q.Auth, q.ExpiresBefore, q.After, q.Limit = page.Auth, page.ExpiresBefore, page.After, page.Limit
				devices, total, err := s.Phones.Devices(ctx, q)
				if err != nil {
					return err
				}
				if e.json {
					return e.printPhones(devices, total, false)
				}
				return e.printPhoneTable(ctx, s, devices, total, q, now)
			})
		},
	}
	p.register(cmd)
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

func (e *env) printPhoneTable(ctx context.Context, s *app.Records, devices []fleet.Device, total int, q fleet.Query, now time.Time) error {
	if total == 0 {
		// Nothing there, or nothing that fits: two different things to do next.
		_, all, err := s.Phones.Devices(ctx, fleet.Query{Limit: 1})
		if err != nil {
			return err
		}
		if all > 0 {
			fmt.Fprintf(e.out, "None of %d phone%s fits; leave out a filter, or list all: %s\n", all, plural(all), "callsign phone list"+e.configFlag())
			return nil
		}
		fmt.Fprintln(e.out, "No phones are configured; add one with: callsign phone add SEP001122334455 --operation install"+e.configFlag())
		return nil
	}
	rows := make([][]string, 0, len(devices))
	for _, d := range devices {
		lsc, expires, left := "none", "-", "-"
		if d.LSC != nil {
			lsc, expires, left = "valid", d.LSC.NotAfter.Local().Format(time.DateOnly), in(d.LSC.NotAfter, now)
			if d.LSC.NotAfter.Before(now) {
				lsc = "expired"
			}
		}
		rows = append(rows, []string{d.Name, lsc, expires, left, string(d.Operation), string(d.Status), string(d.Auth), or(d.Model, "-"), or(d.Description, "-")})
	}
	if err := table(e.out, []string{"PHONE", "LSC", "EXPIRES", "IN", "OPERATION", "STATUS", "AUTH", "MODEL", "DESCRIPTION"}, rows); err != nil {
		return err
	}
	if len(devices) == total {
		return nil
	}
	e.hint("%d of %d shown\n", len(devices), total)
	if q.Limit > 0 && len(devices) == q.Limit {
		e.hint("next page: the same with --after %s\n", devices[len(devices)-1].Name)
	}
	return nil
}
