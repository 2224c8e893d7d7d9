package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/chain"
	"callsign/internal/app"
	"callsign/internal/ca/offline"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

func (e *env) capfCSR() *cobra.Command {
	return group("csr", "Requests of phones for an offline CA: list, export, import what it signed", e.csrList(), e.csrExport(), e.csrImport())
}

// csrItem is a waiting request in JSON.
type csrItem struct {
	Device  string `json:"device"`
	Request string `json:"request"` // the number that people see
	ID      string `json:"id"`      // of the journal's row
	State   string `json:"state"`
	Created string `json:"created"`
	Age     int64  `json:"age_seconds"`
	Key     string `json:"key"`
	Subject string `json:"subject"`
	File    string `json:"file,omitempty"` // that was exported
}

func newCSRItem(r *enroll.Enrolment, now time.Time) csrItem {
	return csrItem{
		Device: offline.Device(r.Owner), Request: offline.RequestID(r.ID), ID: r.ID, State: string(r.State), Created: utc(r.Created),
		Age: int64(now.Sub(r.Created).Seconds()), Key: keyWord(r.PublicKey), Subject: chain.NameText(r.Subject),
	}
}

// keyWord names a DER SubjectPublicKeyInfo as the commands do: rsa:2048, ec:256.
func keyWord(spki []byte) string {
	key, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return "unreadable"
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa:%d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return fmt.Sprintf("ec:%d", k.Params().BitSize)
	default:
		return fmt.Sprintf("%T", key)
	}
}

// waiting picks the requests that wait for an offline CA.
var waiting = enroll.Filter{
	Authority: offline.Name, OwnerPrefix: fleet.Owner(""), States: []enroll.State{enroll.Requested, enroll.Submitted, enroll.Pending},
}

func (e *env) csrList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List the requests that wait for the offline CA", Args: noArgs,
		Long: `List the requests that wait for the offline CA (capf.issuer = "offline"), oldest first. Those of an online CA are
decided there; callsign phone show NAME tells of them.`,
		Example: "  callsign capf csr list\n  callsign capf csr list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usage(fmt.Errorf("--limit %d: use 0 for all or a positive number", limit))
			}
			c, err := e.loadConfig()
			if err != nil {
				return err
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				f := waiting
				f.Limit = limit
				rows, total, err := s.Journal.Find(ctx, f)
				if err != nil {
					return err
				}
				return e.printCSRs(c, rows, total)
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "show at most so `many` (0: all)")
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

func (e *env) printCSRs(c *config.Config, rows []enroll.Enrolment, total int) error {
	now := time.Now()
	items := make([]csrItem, 0, len(rows))
	for i := range rows {
		items = append(items, newCSRItem(&rows[i], now))
	}
	if e.json {
		return e.printJSON(struct {
			Items []csrItem `json:"items"`
			Total int       `json:"total"`
		}{items, total})
	}
	if total == 0 {
		fmt.Fprintln(e.out, e.noRequests(c))
		return nil
	}
	lines := make([][]string, 0, len(items))
	for _, i := range items {
		age := strings.TrimPrefix(in(now.Add(time.Duration(i.Age)*time.Second), now), "in ")
		lines = append(lines, []string{i.Device, i.Request, age, i.Key, i.State, i.Subject})
	}
	if err := table(e.out, []string{"DEVICE", "REQUEST", "AGE", "KEY", "STATE", "SUBJECT"}, lines); err != nil {
		return err
	}
	if len(rows) < total {
		e.hint("%d of %d shown\n", len(rows), total)
	}
	e.hint("next: callsign capf csr export --out DIR%s\n", e.configFlag())
	return nil
}

// noRequests says that nothing waits, and what would.
func (e *env) noRequests(c *config.Config) string {
	if c.CAPF.Issuer != config.IssuerOffline {
		return fmt.Sprintf(`No request waits for an offline CA: capf.issuer is %q. With capf.issuer = "offline" phones' requests would wait here.`, c.CAPF.Issuer)
	}
	return "No request waits for the offline CA. Phones make one when they call with an install due: callsign phone set NAME --operation install" + e.configFlag()
}

// pickRequests returns the rows that the names mean: devices, or requests by their number. Without names it returns all.
func pickRequests(rows []enroll.Enrolment, names []string) (picked []enroll.Enrolment, unknown []string) {
	if len(names) == 0 {
		return rows, nil
	}
	for _, name := range names {
		found := false
		for _, r := range rows {
			if !strings.EqualFold(name, offline.Device(r.Owner)) && !strings.EqualFold(name, offline.RequestID(r.ID)) && !strings.EqualFold(name, r.ID) {
				continue
			}
			found = true
			if !slices.ContainsFunc(picked, func(p enroll.Enrolment) bool { return p.ID == r.ID }) {
				picked = append(picked, r)
			}
		}
		if !found {
			unknown = append(unknown, name)
		}
	}
	return picked, unknown
}
