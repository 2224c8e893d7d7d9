package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/app"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/fleet"
)

// issuerItem is a CA in JSON: what it issued to phones, and whether it may go.
type issuerItem struct {
	ID         string  `json:"issuer_id"` // SHA-256 of the certificate; empty when only its name is known
	Subject    string  `json:"subject"`
	NotAfter   *string `json:"not_after"`
	Phones     int     `json:"phones"`
	Current    bool    `json:"current"`
	Distrusted bool    `json:"distrusted"`
	Removable  bool    `json:"removable"` // no phone holds an LSC of it, and none will get one

	der []byte
}

func (e *env) capfImpact() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "impact [ISSUER|FILE] [flags]", Short: "Who still holds an LSC of which CA, before it is removed from a trust store",
		Long: `Show the CAs whose LSCs phones hold, and which of them may be removed from CallManager-trust, CAPF-trust, 802.1X servers
and VPN gateways without locking a phone out. With an issuer (the beginning of its id, a part of its name, or a file with its
certificate) list the phones that hold an LSC of it; the exit code is 3 as long as there is one.`,
		Example: `  callsign capf impact
  callsign capf impact former-ca.pem
  callsign capf impact 3f9a --json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage(fmt.Errorf("name one issuer, not %d", len(args)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usage(fmt.Errorf("--limit %d: use 0 for all or a positive number", limit))
			}
			c, err := e.loadConfig()
			if err != nil {
				return err
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, r *app.Records) error {
				items, err := listIssuers(ctx, c, r)
				if err != nil {
					return err
				}
				if len(args) == 0 {
					return e.printIssuers(items)
				}
				item, err := e.pickIssuer(items, args[0])
				if err != nil {
					return err
				}
				return e.printHolders(ctx, r, item, limit)
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "list at most so `many` phones (0: all)")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitFindings)
}

// listIssuers are the CAs on record, the one that signs now, and LSCs whose issuing certificate nobody has seen, by its
// name.
func listIssuers(ctx context.Context, c *config.Config, r *app.Records) ([]issuerItem, error) {
	current, err := app.IssuingCA(c)
	if err != nil {
		return nil, err
	}
	now := ""
	if len(current) > 0 {
		now = fleet.IssuerID(current[0].Raw)
	}
	distrusted := map[string]bool{}
	for _, f := range c.CAPF.Distrusted {
		distrusted[config.Fingerprint(f)] = true
	}
	recorded, err := r.Phones.Issuers(ctx)
	if err != nil {
		return nil, err
	}
	var items []issuerItem
	held, known := 0, false
	for _, i := range recorded {
		held += i.Phones
		known = known || i.ID == now
		end := utc(i.NotAfter)
		items = append(items, issuerItem{
			ID: i.ID, Subject: i.Subject, NotAfter: &end, Phones: i.Phones, Current: i.ID == now, Distrusted: distrusted[i.ID],
			Removable: i.Phones == 0 && i.ID != now, der: i.DER,
		})
	}
	if now != "" && !known {
		end := utc(current[0].NotAfter)
		items = append(items, issuerItem{ID: now, Subject: current[0].Subject.String(), NotAfter: &end, Current: true, Distrusted: distrusted[now], der: current[0].Raw})
	}
	summary, err := r.Phones.Summarise(ctx, time.Now())
	if err != nil {
		return nil, err
	}
	if summary.LSCs > held {
		byName, err := unknownIssuers(ctx, r)
		if err != nil {
			return nil, err
		}
		items = append(items, byName...)
	}
	return items, nil
}

// unknownIssuers counts LSCs that were recorded without the certificate of their issuer.
func unknownIssuers(ctx context.Context, r *app.Records) ([]issuerItem, error) {
	devices, _, err := r.Phones.Devices(ctx, fleet.Query{LSC: fleet.LSCPresent})
	if err != nil {
		return nil, err
	}
	var items []issuerItem
	at := map[string]int{}
	for _, d := range devices {
		if d.LSC == nil || d.LSC.IssuerID != "" {
			continue
		}
		i, ok := at[d.LSC.Issuer]
		if !ok {
			i = len(items)
			at[d.LSC.Issuer] = i
			items = append(items, issuerItem{Subject: d.LSC.Issuer})
		}
		items[i].Phones++
	}
	return items, nil
}

func (e *env) printIssuers(items []issuerItem) error {
	if e.json {
		if items == nil {
			items = []issuerItem{}
		}
		return e.printJSON(struct {
			Items []issuerItem `json:"items"`
			Total int          `json:"total"`
		}{items, len(items)})
	}
	if len(items) == 0 {
		fmt.Fprintln(e.out, "No CA has issued an LSC here yet; a phone gets one with: callsign phone set NAME --operation install"+e.configFlag())
		return nil
	}
	rows := make([][]string, 0, len(items))
	for _, i := range items {
		rows = append(rows, []string{shortID(i.ID), i.Subject, fmt.Sprint(i.Phones), i.expires(), i.verdict()})
	}
	return table(e.out, []string{"ISSUER", "SUBJECT", "PHONES", "EXPIRES", "STATE"}, rows)
}

// shortID is enough of an id to be told from others.
func shortID(id string) string {
	if id == "" {
		return "-"
	}
	return id[:min(len(id), 12)]
}

func (i *issuerItem) expires() string {
	return optionalDate(i.NotAfter)
}

// verdict says what may be done with the CA.
func (i *issuerItem) verdict() string {
	var words []string
	switch {
	case i.Current:
		words = append(words, "signs now")
	case i.Removable:
		words = append(words, "may be removed")
	default:
		words = append(words, "keep")
	}
	if i.Distrusted {
		words = append(words, "distrusted")
	}
	return strings.Join(words, ", ")
}

// pickIssuer finds what the argument means: a file, the beginning of an id, or a part of a name.
func (e *env) pickIssuer(items []issuerItem, arg string) (issuerItem, error) {
	if _, err := os.Stat(arg); err == nil {
		certs, err := certfile.LoadCertificates(arg)
		if err != nil {
			return issuerItem{}, err
		}
		return issuerOfFile(items, certs[0]), nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return issuerItem{}, err
	}
	var found []issuerItem
	for _, i := range items {
		if i.ID != "" && strings.HasPrefix(i.ID, config.Fingerprint(arg)) || strings.Contains(strings.ToLower(i.Subject), strings.ToLower(arg)) {
			found = append(found, i)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return issuerItem{}, &fleet.Problem{
			ErrCode: "fleet.unknown-issuer", Detail: fmt.Sprintf("%q is no file, and no issuer of an LSC here has an id or a name like it", arg),
			Fix: "look at the issuers with: callsign capf impact" + e.configFlag(),
		}
	default:
		return issuerItem{}, usage(fmt.Errorf("%q fits %d issuers, among them %s and %s: give more of the id", arg, len(found), shortID(found[0].ID), shortID(found[1].ID)))
	}
}

// issuerOfFile is the item of a certificate: its own, or one by name alone, or one that nobody has an LSC of.
func issuerOfFile(items []issuerItem, c *x509.Certificate) issuerItem {
	id := fleet.IssuerID(c.Raw)
	for _, i := range items {
		if i.ID == id {
			return i
		}
	}
	for _, i := range items {
		if i.ID == "" && i.Subject == c.Subject.String() {
			return i
		}
	}
	end := utc(c.NotAfter)
	return issuerItem{ID: id, Subject: c.Subject.String(), NotAfter: &end, Removable: true, der: c.Raw}
}

// holderItem is a phone with an LSC of the CA.
type holderItem struct {
	Name      string `json:"name"`
	Serial    string `json:"serial"`
	NotAfter  string `json:"not_after"`
	Operation string `json:"operation"`
	Status    string `json:"status"`
}

func (e *env) printHolders(ctx context.Context, r *app.Records, item issuerItem, limit int) error {
	holders, err := holdersOf(ctx, r, item, limit)
	if err != nil {
		return err
	}
	if e.json {
		err = e.printJSON(struct {
			issuerItem
			Items []holderItem `json:"items"`
			Total int          `json:"total"`
		}{item, holders, item.Phones})
	} else {
		err = e.printHolderTable(item, holders)
	}
	if err == nil && item.Phones > 0 {
		return &exitError{code: exitFindings}
	}
	return err
}

func holdersOf(ctx context.Context, r *app.Records, item issuerItem, limit int) ([]holderItem, error) {
	holders := []holderItem{}
	if item.Phones == 0 {
		return holders, nil
	}
	q := fleet.Query{LSC: fleet.LSCPresent, IssuerID: item.ID, Limit: limit}
	if item.ID == "" {
		q.Limit = 0 // picked by the name below
	}
	devices, _, err := r.Phones.Devices(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		if d.LSC.IssuerID != item.ID || item.ID == "" && d.LSC.Issuer != item.Subject || limit > 0 && len(holders) == limit {
			continue
		}
		holders = append(holders, holderItem{Name: d.Name, Serial: d.LSC.Serial, NotAfter: utc(d.LSC.NotAfter), Operation: string(d.Operation), Status: string(d.Status)})
	}
	return holders, nil
}

func (e *env) printHolderTable(item issuerItem, holders []holderItem) error {
	name := item.Subject
	if item.ID != "" {
		name += " (" + shortID(item.ID) + ")"
	}
	if item.Phones == 0 {
		fmt.Fprintf(e.out, "No phone holds an LSC of %s.\n", name)
		if item.Current {
			fmt.Fprintln(e.out, "It signs now: keep it where phones are trusted.")
		} else {
			fmt.Fprintln(e.out, "It may be removed from CallManager-trust, CAPF-trust, 802.1X servers and VPN gateways, as far as the phones of this database are concerned.")
		}
		return nil
	}
	fmt.Fprintf(e.out, "%d phone%s hold%s an LSC of %s. Removing it from a trust store locks them out there.\n", item.Phones, plural(item.Phones), map[bool]string{true: "s", false: ""}[item.Phones == 1], name)
	rows := make([][]string, 0, len(holders))
	for _, h := range holders {
		rows = append(rows, []string{h.Name, h.Serial, optionalDate(&h.NotAfter), h.Operation, h.Status})
	}
	if err := table(e.out, []string{"PHONE", "SERIAL", "EXPIRES", "OPERATION", "STATUS"}, rows); err != nil {
		return err
	}
	if len(holders) < item.Phones {
		e.hint("%d of %d shown; --limit 0 shows all\n", len(holders), item.Phones)
	}
	if item.Current || len(holders) == 0 {
		return nil
	}
	i := slices.IndexFunc(holders, func(h holderItem) bool { return h.Operation == string(fleet.OperationNone) })
	switch {
	case i < 0:
		e.hint("next: reset these phones, so that they call\n")
	case item.Phones == 1 || item.ID == "":
		e.hint("next: callsign phone set %s --operation install%s, then reset the phone\n", shellQuote(holders[i].Name), e.configFlag())
	default:
		e.hint("next: callsign phone list --json --issued-by %s --operation none%s | jq -r '.items[].name' | callsign phone set - --operation install%s, then reset the phones\n",
			shortID(item.ID), e.configFlag(), e.configFlag())
	}
	return nil
}
