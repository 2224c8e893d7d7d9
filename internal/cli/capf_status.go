package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/app"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

// capfStatus is `capf status --json`.
type capfStatus struct {
	Issuer    statusIssuer     `json:"issuer"`
	Listeners []statusListener `json:"listeners"`
	Phones    statusPhones     `json:"phones"`
	Requests  statusRequests   `json:"requests"`
	Issuers   []issuerItem     `json:"issuers"`
	Renewal   statusRenewal    `json:"renewal"`
}

// statusListener is a door for phones.
type statusListener struct {
	Address  string `json:"address"`  // as configured
	Protocol string `json:"protocol"` // "tls"; "tls1.0": also that; "tcp": behind a TLS terminator
}

func (l statusListener) String() string {
	return l.Address + map[string]string{"tls1.0": " (TLS 1.0)", "tcp": " (no TLS)"}[l.Protocol]
}

// statusIssuer is who signs ("Certificate Issuer to Endpoint").
type statusIssuer struct {
	Mode     string  `json:"mode"` // of capf.issuer
	Via      string  `json:"via,omitempty"`
	Subject  string  `json:"subject,omitempty"` // empty: not known yet
	NotAfter *string `json:"not_after"`
	Rate     string  `json:"rate,omitempty"`
}

type statusPhones struct {
	Total    int            `json:"total"`
	LSCs     int            `json:"with_lsc"`
	Expired  int            `json:"expired"`
	In30Days int            `json:"expiring_in_30_days"`
	Due      map[string]int `json:"due"` // operations that phones have to do
	Locked   int            `json:"locked"`
	Renewing int            `json:"renewals_pending"`
}

type statusRequests struct {
	Waiting     int `json:"waiting"`     // not answered by the CA yet
	Unconfirmed int `json:"unconfirmed"` // issued, the phone has not stored it
	Stale       int `json:"stale"`       // issued and superseded
	Unanswered  int `json:"unanswered"`  // perhaps issued: the answer was lost, and the phone came back with another key
}

// newRequestStatus counts as capf stale-lsc list does.
func newRequestStatus(ctx context.Context, r *app.Records) (s statusRequests, err error) {
	waiting := enroll.Filter{OwnerPrefix: fleet.Owner(""), States: []enroll.State{enroll.Requested, enroll.Submitted, enroll.Pending}, Limit: 1}
	if _, s.Waiting, err = r.Journal.Find(ctx, waiting); err != nil {
		return s, err
	}
	rows, err := unstored(ctx, r.Journal)
	if err != nil {
		return s, err
	}
	for i := range rows {
		switch staleState(&rows[i]) {
		case staleWord:
			s.Stale++
		case unansweredWord:
			s.Unanswered++
		default:
			s.Unconfirmed++
		}
	}
	return s, nil
}

type statusRenewal struct {
	Enabled    bool    `json:"enabled"`
	Windows    string  `json:"windows,omitempty"`
	Open       bool    `json:"window_open"`
	NextWindow *string `json:"next_window"`    // when it opens; null: open, or not enabled
	Last       *string `json:"last_scheduled"` // when phones were scheduled last
}

func (e *env) capfStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "Who signs, what phones have to do, what waits", Args: noArgs,
		Example: "  callsign capf status\n  callsign capf status --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.loadConfig()
			if err != nil {
				return err
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, r *app.Records) error {
				s, err := newCAPFStatus(ctx, c, r, time.Now())
				if err != nil {
					return err
				}
				if e.json {
					return e.printJSON(s)
				}
				e.printStatus(s)
				return nil
			})
		},
	}
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

func newCAPFStatus(ctx context.Context, c *config.Config, r *app.Records, now time.Time) (*capfStatus, error) {
	s := &capfStatus{Issuer: statusIssuer{Mode: c.CAPF.Issuer, Rate: c.CAPF.CARate}, Issuers: []issuerItem{}, Listeners: []statusListener{}}
	if c.CAPF.Issuer == config.IssuerOnlineCA {
		s.Issuer.Via = or(c.CAPF.RAURL, c.ADCS.URL)
	}
	ca, err := app.IssuingCA(c)
	if err != nil {
		return nil, err
	}
	if len(ca) > 0 {
		end := utc(ca[0].NotAfter)
		s.Issuer.Subject, s.Issuer.NotAfter = ca[0].Subject.String(), &end
	}
	for _, l := range []statusListener{{c.CAPF.Listen, "tls"}, {c.CAPF.LegacyListen, "tls1.0"}, {c.CAPF.PlainListen, "tcp"}} {
		if l.Address != "" {
			s.Listeners = append(s.Listeners, l)
		}
	}
	sum, err := r.Phones.Summarise(ctx, now)
	if err != nil {
		return nil, err
	}
	s.Phones = statusPhones{
		Total: sum.Phones, LSCs: sum.LSCs, Expired: sum.Expired, In30Days: sum.In30Days, Locked: sum.Locked, Renewing: sum.Renewing, Due: map[string]int{},
	}
	for op, n := range sum.Operations {
		if op != fleet.OperationNone && n > 0 {
			s.Phones.Due[string(op)] = n
		}
	}
	if s.Requests, err = newRequestStatus(ctx, r); err != nil {
		return nil, err
	}
	if s.Issuers, err = listIssuers(ctx, c, r); err != nil {
		return nil, err
	}
	s.Renewal, err = newRenewalStatus(ctx, c, r, now)
	return s, err
}

func newRenewalStatus(ctx context.Context, c *config.Config, r *app.Records, now time.Time) (statusRenewal, error) {
	s := statusRenewal{Enabled: c.Renewal.Enabled, Windows: strings.Join(c.Renewal.Windows, ", ")}
	if !s.Enabled {
		return s, nil
	}
	windows, err := app.RenewalWindows(c)
	if err != nil {
		return s, err
	}
	if s.Open = windows.Open(now); !s.Open {
		next := utc(windows.Next(now))
		s.NextWindow = &next
	}
	state, err := r.Phones.RenewalState(ctx)
	if err == nil && !state.At.IsZero() {
		last := utc(state.At)
		s.Last = &last
	}
	return s, err
}

func (e *env) printStatus(s *capfStatus) {
	w := e.out
	fmt.Fprintf(w, "issuer     %s\n", s.issuerLine())
	listeners := make([]string, len(s.Listeners))
	for i, l := range s.Listeners {
		listeners[i] = l.String()
	}
	fmt.Fprintf(w, "listeners  %s\n", or(strings.Join(listeners, ", "), "none: this configuration serves no phones"))
	p := s.Phones
	fmt.Fprintf(w, "phones     %d, %d with an LSC", p.Total, p.LSCs)
	for _, part := range []struct {
		n    int
		what string
	}{{p.Expired, "expired"}, {p.In30Days, "expire within 30 days"}, {p.Locked, "locked by wrong strings"}} {
		if part.n > 0 {
			fmt.Fprintf(w, ", %d %s", part.n, part.what)
		}
	}
	fmt.Fprintln(w)
	var due []string
	for _, op := range []fleet.Operation{fleet.OperationInstall, fleet.OperationDelete, fleet.OperationTroubleshoot} {
		if n := p.Due[string(op)]; n > 0 {
			due = append(due, fmt.Sprintf("%d to %s", n, op))
		}
	}
	fmt.Fprintf(w, "due        %s\n", or(strings.Join(due, ", "), "nothing"))
	fmt.Fprintf(w, "requests   %d not answered by the CA, %d issued and not confirmed, %d stale", s.Requests.Waiting, s.Requests.Unconfirmed, s.Requests.Stale)
	if n := s.Requests.Unanswered; n > 0 {
		fmt.Fprintf(w, ", %d whose answer was lost", n)
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "renewal    %s\n", s.renewalLine())
	if len(s.Issuers) > 0 {
		fmt.Fprintln(w)
		_ = e.printIssuers(s.Issuers)
	}
	for _, next := range []struct {
		when bool
		do   string
	}{
		{s.Requests.Waiting > 0 && s.Issuer.Mode == config.IssuerOffline, "callsign capf csr export --out DIR"},
		{s.Requests.Stale+s.Requests.Unanswered > 0, "callsign capf stale-lsc list"},
		{p.Expired+p.In30Days > 0 || p.Locked > 0, "callsign phone report"},
	} {
		if next.when {
			e.hint("next: %s%s\n", next.do, e.configFlag())
		}
	}
}

func (s *capfStatus) issuerLine() string {
	line := s.Issuer.Mode
	if s.Issuer.Via != "" {
		line += " by " + s.Issuer.Via
	}
	if s.Issuer.Subject == "" {
		return line + ": the CA is not known yet"
	}
	line += ": " + s.Issuer.Subject + ", expires " + optionalDate(s.Issuer.NotAfter)
	if s.Issuer.Rate != "" {
		line += ", at most " + s.Issuer.Rate
	}
	return line
}

func (s *capfStatus) renewalLine() string {
	r := s.Renewal
	switch {
	case !r.Enabled:
		return "off (section [renewal])"
	case r.Open && r.Windows == "":
		return fmt.Sprintf("on, at any time; %d under way", s.Phones.Renewing)
	case r.Open:
		return fmt.Sprintf("on, the window is open (%s); %d under way", r.Windows, s.Phones.Renewing)
	default:
		return fmt.Sprintf("on, the next window opens at %s; %d under way", localTime(*r.NextWindow), s.Phones.Renewing)
	}
}
