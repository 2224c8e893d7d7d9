package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/app"
	"callsign/internal/ca/offline"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

func (e *env) capfStale() *cobra.Command {
	return group("stale-lsc", "Certificates that were issued and never stored by their phone", e.staleList(), e.staleDelete())
}

// staleItem is such a certificate in JSON.
type staleItem struct {
	ID        string `json:"id"`
	Device    string `json:"device"`
	State     string `json:"state"` // "stale": superseded; "unconfirmed": its phone has not stored it yet; "unanswered": see unansweredWord
	RequestID string `json:"ca_request,omitempty"`
	Authority string `json:"authority"`
	Serial    string `json:"serial"`
	Issuer    string `json:"issuer"`
	Since     string `json:"since"` // when it was issued, or superseded
	NotAfter  string `json:"not_after,omitempty"`
	Dismissed bool   `json:"dismissed,omitempty"`
}

// How the list calls the kinds.
const (
	staleWord       = "stale"
	unconfirmedWord = "unconfirmed"
	unansweredWord  = "unanswered" // the CA was asked, its answer was lost, and the phone came back with another key: perhaps issued
)

func newStaleItem(r *enroll.Enrolment) staleItem {
	i := staleItem{
		ID: r.ID, Device: offline.Device(r.Owner), State: staleState(r), Authority: r.Authority, Serial: r.Serial, Issuer: r.Issuer,
		RequestID: r.Progress.RequestID, Since: utc(r.Updated), Dismissed: !r.Dismissed.IsZero(),
	}
	if !r.NotAfter.IsZero() {
		i.NotAfter = utc(r.NotAfter)
	}
	return i
}

// staleState is the word of the list for a row that unstored picks.
func staleState(r *enroll.Enrolment) string {
	switch {
	case r.Unanswered():
		return unansweredWord
	case r.State != enroll.Stale:
		return unconfirmedWord
	default:
		return staleWord
	}
}

// unstored returns the rows of phones whose certificates were never stored, as far as anybody knows, in the order of
// their arrival: those with a certificate, and those whose authority may have issued one.
func unstored(ctx context.Context, j enroll.Journal) ([]enroll.Enrolment, error) {
	rows, _, err := j.Find(ctx, enroll.Filter{
		OwnerPrefix: fleet.Owner(""), States: []enroll.State{enroll.Stale, enroll.Issued, enroll.Failed}, Undismissed: true,
	})
	if err != nil {
		return nil, err
	}
	var picked []enroll.Enrolment
	for _, r := range rows {
		if r.Unanswered() {
			// A later row of the same request looks for the lost answer.
			last, err := j.Last(ctx, r.Request)
			if err != nil {
				return nil, err
			}
			if last.ID != r.ID {
				continue
			}
		} else if len(r.Certificate) == 0 {
			continue
		}
		picked = append(picked, r)
	}
	return picked, nil
}

func (e *env) staleList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List certificates that were issued and never stored by their phone", Args: noArgs,
		Long: `List certificates that were issued and never stored by their phone. A stale one was superseded: the phone made another key, or
another certificate took its place, and nobody will ever use it. An unconfirmed one waits for the phone's next call. Unanswered
is a request whose answer was lost: look at the CA, under its request number, whether it issued a certificate.`,
		Example: "  callsign capf stale-lsc list\n  callsign capf stale-lsc list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usage(fmt.Errorf("--limit %d: use 0 for all or a positive number", limit))
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				rows, err := unstored(ctx, s.Journal)
				if err != nil {
					return err
				}
				total := len(rows)
				if limit > 0 && limit < total {
					rows = rows[:limit]
				}
				return e.printStale(rows, total)
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "show at most so `many` (0: all)")
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

func (e *env) printStale(rows []enroll.Enrolment, total int) error {
	items := make([]staleItem, 0, len(rows))
	for i := range rows {
		items = append(items, newStaleItem(&rows[i]))
	}
	if e.json {
		return e.printJSON(struct {
			Items []staleItem `json:"items"`
			Total int         `json:"total"`
		}{items, total})
	}
	if total == 0 {
		fmt.Fprintln(e.out, "No stale certificates: whatever was issued was stored by its phone. One becomes stale when a phone makes another key before it has stored the certificate.")
		return nil
	}
	lines := make([][]string, 0, len(rows))
	now := time.Now()
	stale := false
	for n, i := range items {
		stale = stale || i.State != unconfirmedWord
		expires := "-"
		if !rows[n].NotAfter.IsZero() {
			expires = rows[n].NotAfter.Local().Format(time.DateOnly)
		}
		lines = append(lines, []string{offline.RequestID(i.ID), i.Device, i.State, in(rows[n].Updated, now), or(i.Serial, "-"), expires, i.Authority, or(i.RequestID, "-")})
	}
	if err := table(e.out, []string{"ID", "DEVICE", "STATE", "SINCE", "SERIAL", "EXPIRES", "AUTHORITY", "CA REQUEST"}, lines); err != nil {
		return err
	}
	if len(rows) < total {
		e.hint("%d of %d shown\n", len(rows), total)
	}
	if stale {
		e.hint("next: revoke what the CA should not consider valid, then: callsign capf stale-lsc delete ID...%s\n", e.configFlag())
	}
	return nil
}

func (e *env) staleDelete() *cobra.Command {
	var all, yes, dry bool
	cmd := &cobra.Command{
		Use: "delete ID... | --all", Short: "Take stale certificates off the list",
		Long: `Take stale certificates, and requests without an answer, off the list, by the ID that the list shows (or its first digits) or all of them. The journal keeps the
records, with the time; nothing is revoked. An unconfirmed certificate is not stale and stays: the phone may still call for it.`,
		Example: "  callsign capf stale-lsc delete 7f3a9c00\n  callsign capf stale-lsc delete --all --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usage(errors.New("name the IDs of stale certificates, or --all"))
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				rows, err := unstored(ctx, s.Journal)
				if err != nil {
					return err
				}
				picked, failed := e.pickStale(rows, args)
				if dry {
					items := make([]staleItem, 0, len(picked))
					for i := range picked {
						items = append(items, newStaleItem(&picked[i]))
					}
					return e.printDismissed(items, failed, dry)
				}
				if all {
					question := fmt.Sprintf("take %d stale certificate%s off the list?", len(picked), plural(len(picked)))
					if err := e.confirm(ctx, yes || len(picked) == 0, question); err != nil {
						return err
					}
				}
				engine := &enroll.Engine{Journal: s.Journal}
				items := make([]staleItem, 0, len(picked))
				for _, r := range picked {
					next, err := engine.Dismiss(ctx, r.ID)
					if err != nil {
						failed = append(failed, err)
						continue
					}
					items = append(items, newStaleItem(&next))
				}
				return e.printDismissed(items, failed, dry)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, "all stale certificates")
	f.BoolVar(&dry, "dry-run", false, "tell what would be taken off the list, and change nothing")
	f.BoolVar(&yes, "yes", false, "do not ask for a confirmation")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitPartial)
}

// pickStale finds the stale rows that are meant; without IDs all.
func (e *env) pickStale(rows []enroll.Enrolment, ids []string) (picked []enroll.Enrolment, failed []error) {
	if len(ids) == 0 {
		for _, r := range rows {
			if r.State != enroll.Issued {
				picked = append(picked, r)
			}
		}
		return picked, nil
	}
	seen := map[string]bool{}
	for _, id := range ids {
		var found []enroll.Enrolment
		for _, r := range rows {
			if strings.HasPrefix(r.ID, strings.ToLower(id)) && id != "" {
				found = append(found, r)
			}
		}
		fault := &fleet.Problem{ErrCode: "cli.stale-lsc", Fix: "look at the list: callsign capf stale-lsc list" + e.configFlag()}
		switch {
		case len(found) == 0:
			fault.Detail = fmt.Sprintf("no stale certificate has an ID that begins with %q", id)
		case len(found) > 1:
			fault.Detail = fmt.Sprintf("%d certificates have an ID that begins with %q", len(found), id)
			fault.Fix = "write more digits of it: callsign capf stale-lsc list --json" + e.configFlag() + " shows them all"
		case found[0].State == enroll.Issued:
			fault.Detail = fmt.Sprintf("certificate %s of %s is not stale: it waits for the phone's next call", found[0].Serial, offline.Device(found[0].Owner))
			fault.Fix = "let the phone call; or give it another one: callsign phone set " + shellQuote(offline.Device(found[0].Owner)) + " --operation install" + e.configFlag()
		default:
			if !seen[found[0].ID] {
				seen[found[0].ID] = true
				picked = append(picked, found[0])
			}
			continue
		}
		failed = append(failed, fault)
	}
	return picked, failed
}

func (e *env) printDismissed(items []staleItem, failed []error, dry bool) error {
	switch {
	case e.json:
		if err := e.printJSON(struct {
			Items  []staleItem `json:"items"`
			Total  int         `json:"total"`
			DryRun bool        `json:"dry_run,omitempty"`
		}{items, len(items), dry}); err != nil {
			return err
		}
	case dry:
		for _, i := range items {
			fmt.Fprintf(e.out, "%s  %s of %s, serial %s\n", offline.RequestID(i.ID), i.State, i.Device, or(i.Serial, "-"))
		}
		e.hint("dry run, nothing was changed; it would take %d stale certificate%s off the list\n", len(items), plural(len(items)))
	case len(items) > 0 || len(failed) == 0:
		e.hint("took %d stale certificate%s off the list; the journal keeps the records, and nothing was revoked\n", len(items), plural(len(items)))
	}
	err := errors.Join(failed...)
	if err != nil && len(items) > 0 {
		return &exitError{code: exitPartial, err: err}
	}
	return err
}
