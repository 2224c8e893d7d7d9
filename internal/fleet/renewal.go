package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"time"

	"callsign/capf"
)

// Defaults of a Renewal.
const (
	DefaultRenewShare = 2.0 / 3
	DefaultRetry      = 24 * time.Hour
)

const (
	renewTick = time.Minute // between two steps
	renewMost = 1000        // phones in one transaction
)

// Renewal is the schedule by which LSCs are renewed (spec: CAPF section 13): it sets Install/Upgrade, authenticated by the
// LSC, for phones whose LSC has lived for most of its life, spread over days by their names, paced, and in maintenance
// windows only. All that it knows is in the Store, so a restart changes nothing.
type Renewal struct {
	// Share of an LSC's lifetime after which it is due, above 0 and below 1. 0: DefaultRenewShare.
	Share float64
	// Before is how long before its end an LSC is due instead; 0: Share counts. No LSC is due before a quarter of its life
	// has passed.
	Before time.Duration
	// Spread is the span after that over which phones are spread that got their LSC at the same time, at most a quarter of
	// the lifetime. 0: a twelfth of the lifetime. Negative: none.
	Spread time.Duration
	// PerHour is how many phones are scheduled in an hour at most, evenly over its minutes. Hours in which nobody was
	// scheduled are not caught up. 0: no limit.
	PerHour int
	// Windows are when phones are scheduled. None: at any time.
	Windows Windows
	// Fallback is how a phone authenticates whose LSC has expired: AuthMIC, AuthNull, AuthString with a generated string,
	// or empty: it is not scheduled, a note on its record says what to do, and it is not looked at again before it has
	// another LSC or the settings change.
	Fallback AuthMode
	// Retry is after which time a renewal that failed is set again, for short-lived LSCs at most a twelfth of the lifetime.
	// 0: DefaultRetry.
	Retry time.Duration
	Store Store
	Log   *slog.Logger     // nil: no log
	Now   func() time.Time // nil: time.Now
	// NewString makes the string of a phone that falls back to one. Nil: DefaultStringLength random digits.
	NewString func() (capf.Secret, error)
	// Tick tells Run when to take a step. Nil: at the beginning of each minute.
	Tick <-chan time.Time
}

func (r *Renewal) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

func (r *Renewal) log() *slog.Logger {
	if r.Log != nil {
		return r.Log
	}
	return slog.New(slog.DiscardHandler)
}

// Policy is the settings that decide about RenewAt in a form that is the same for the same settings: when it is another
// one than before, Store.Replan makes RenewAt anew for all phones.
func (r *Renewal) Policy() string {
	due := fmt.Sprintf("share=%.4f", r.share())
	if r.Before > 0 {
		due = "before=" + r.Before.String()
	}
	return fmt.Sprintf("%s spread=%s fallback=%s", due, max(r.Spread, -1), r.Fallback)
}

func (r *Renewal) share() float64 {
	if r.Share > 0 && r.Share < 1 {
		return r.Share
	}
	return DefaultRenewShare
}

// lifetime of a certificate, bounded so that sums stay within what a time.Duration holds.
func lifetime(c *Certificate) time.Duration {
	const century = 100 * 365 * 24 * time.Hour
	return min(max(c.NotAfter.Sub(c.NotBefore), 0), century)
}

// RenewAt returns when the LSC on record is due for renewal; zero without an LSC. It is the same for the same LSC, phone
// name and settings, never before the LSC is valid and never so late that less than a twentieth of the lifetime, or a
// day when that is shorter, is left: then the span over which phones are spread begins earlier.
func (r *Renewal) RenewAt(d *Device) time.Time {
	if d.LSC == nil {
		return time.Time{}
	}
	life := lifetime(d.LSC)
	begin := d.LSC.NotBefore.Add(time.Duration(r.share() * float64(life)))
	if r.Before > 0 {
		begin = latest(d.LSC.NotAfter.Add(-r.Before), d.LSC.NotBefore.Add(life/4))
	}
	spread := r.Spread
	if spread == 0 {
		spread = life / 12
	}
	spread = min(max(spread, 0), life/4)
	if last := d.LSC.NotAfter.Add(-min(life/20, 24*time.Hour)); begin.Add(spread).After(last) {
		begin = latest(last.Add(-spread), d.LSC.NotBefore)
	}
	// The offset comes from the name, so the phones of a site, installed in one night, are spread evenly, and each keeps
	// its place from one LSC to the next.
	hash := sha256.Sum256([]byte(d.Name))
	offset, _ := bits.Mul64(binary.BigEndian.Uint64(hash[:]), uint64(spread))
	return begin.Add(time.Duration(offset)).Truncate(time.Millisecond)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// allowed is how many phones the pace lets through between two times, within any hour never more than PerHour. The pace
// begins with the window that is open, so that a short one, too, has a phone.
func (r *Renewal) allowed(from, to time.Time) int {
	begin := r.Windows.minute(to)
	count := func(t time.Time) int64 { // whole phones of a pace that began with an hour long ago
		ms := t.Add(-begin).UnixMilli()
		hour := time.Hour.Milliseconds()
		return ms/hour*int64(r.PerHour) + ms%hour*int64(r.PerHour)/hour
	}
	return int(max(count(to)-count(from), 0))
}

// plan says how many phones a step may schedule.
func (r *Renewal) plan(now time.Time) func(RenewalState) (int, RenewalState) {
	return func(s RenewalState) (int, RenewalState) {
		since := s.At
		switch {
		case since.After(now): // the clock was put back: nothing comes twice, and the pace goes on from here
			since = now
		case since.Before(now.Add(-renewTick * 5 / 4)): // a tick may be a little late; what was missed is not caught up
			since = now.Add(-renewTick)
		}
		n := renewMost
		if r.PerHour > 0 {
			n = min(r.allowed(since, now), renewMost)
		}
		if n > 0 || s.At.After(now) {
			s.At = now
		}
		return n, s
	}
}

// Step takes one step: it schedules the phones that are due now, as many as windows and pace let through, and lets those
// fall back whose LSC has expired while a renewal by LSC was due. It returns the phones whose operation it set or whose
// authentication it changed, and logs them.
func (r *Renewal) Step(ctx context.Context) ([]Device, error) {
	now := r.now()
	changed, err := r.fallBack(ctx, now)
	if err != nil {
		return changed, fmt.Errorf("renewals whose LSC has expired: %w", err)
	}
	for more := r.Windows.Open(now); more; {
		devices, err := r.Store.Renew(ctx, now, r.plan(now), func(d *Device) error { return r.schedule(d, now) })
		if err != nil {
			return changed, fmt.Errorf("schedule renewals: %w", err)
		}
		r.report(ctx, devices)
		changed = append(changed, devices...)
		more = r.PerHour <= 0 && len(devices) == renewMost
	}
	r.summarise(ctx, now, changed)
	return changed, nil
}

// schedule sets the renewal of a phone that is due.
func (r *Renewal) schedule(d *Device, now time.Time) error {
	expired := !d.LSC.NotAfter.After(now)
	if expired && r.Fallback == "" {
		d.Note, d.RenewAt = expiredNote(d, now), time.Time{}
		return nil
	}
	d.Schedule(OperationInstall, now)
	d.Origin, d.CompletesBy, d.RenewAt = OriginRenewal, time.Time{}, now.Add(r.retry(d.LSC))
	if expired {
		return r.authenticate(d, now)
	}
	d.Auth = AuthLSC
	return nil
}

func (r *Renewal) retry(c *Certificate) time.Duration {
	retry := r.Retry
	if retry <= 0 {
		retry = DefaultRetry
	}
	return min(retry, lifetime(c)/12)
}

// authenticate gives a phone with an expired LSC the configured way to authenticate.
func (r *Renewal) authenticate(d *Device, now time.Time) error {
	d.Auth = r.Fallback
	if d.Auth != AuthString {
		return nil
	}
	s, err := r.newString()
	if err != nil {
		return fmt.Errorf("make a string for %s: %w", d.Name, err)
	}
	d.AuthString, d.WrongTries = s, 0
	d.Note = &Note{
		Code: "fleet.renewal-by-string", Detail: fmt.Sprintf("the LSC of %s has expired; it is renewed by an authentication string, which was generated", d.Name),
		Remedy: "get the string with: callsign phone strings " + d.Name + " --output FILE, and have it typed on the phone", At: now,
	}
	return nil
}

func (r *Renewal) newString() (capf.Secret, error) {
	if r.NewString != nil {
		return r.NewString()
	}
	g, err := NewStrings(DefaultStringLength)
	if err != nil {
		return nil, err
	}
	return g.Next()
}

func expiredNote(d *Device, now time.Time) *Note {
	return &Note{
		Code: "fleet.lsc-expired", Detail: fmt.Sprintf("the LSC of %s expired at %s and cannot authenticate its renewal", d.Name, d.LSC.NotAfter.UTC().Format(time.RFC3339)),
		Remedy: "choose another authentication: callsign phone set " + d.Name + " --operation install --auth mic, or string, or null", At: now,
	}
}

// errOther tells that a record is not any more what it was picked for.
var errOther = errors.New("the record has changed")

// fallBack looks for renewals by LSC that are still due though the LSC has expired. That costs the authority nothing, so
// windows and pace do not count.
func (r *Renewal) fallBack(ctx context.Context, now time.Time) ([]Device, error) {
	q := Query{Operation: OperationInstall, Origin: OriginRenewal, Auth: AuthLSC, ExpiresBefore: now, Limit: renewMost}
	devices, _, err := r.Store.Devices(ctx, q)
	if err != nil {
		return nil, err
	}
	var changed []Device
	for _, d := range devices {
		d, err := r.Store.UpdateDevice(ctx, d.Name, func(d *Device) error {
			if d.Operation != OperationInstall || d.Origin != OriginRenewal || d.Auth != AuthLSC || d.LSC == nil || d.LSC.NotAfter.After(now) {
				return errOther
			}
			if r.Fallback == "" {
				d.finish(OperationInstall, false, capf.ResultInvalidLSC)
				d.Note, d.RenewAt = expiredNote(d, now), time.Time{}
				return nil
			}
			return r.authenticate(d, now)
		})
		switch {
		case errors.Is(err, errOther) || errors.Is(err, ErrNotFound):
		case err != nil:
			return changed, err
		default:
			r.report(ctx, []Device{d})
			changed = append(changed, d)
		}
	}
	return changed, nil
}

// report logs what was set for phones, those that need a person as warnings.
func (r *Renewal) report(ctx context.Context, devices []Device) {
	for _, d := range devices {
		attrs := []slog.Attr{
			slog.String("event", "fleet.renewal"), slog.String("device", d.Name), slog.String("authentication", string(d.Auth)),
			slog.Time("not_after", d.LSC.NotAfter),
		}
		if d.Note != nil && (d.Note.Code == "fleet.lsc-expired" || d.Note.Code == "fleet.renewal-by-string") {
			attrs = append(attrs, slog.String("code", d.Note.Code), slog.String("cause", d.Note.Detail), slog.String("remedy", d.Note.Remedy))
			r.log().LogAttrs(ctx, slog.LevelWarn, "LSC has expired", attrs...)
			continue
		}
		r.log().LogAttrs(ctx, slog.LevelDebug, "renewal is due", attrs...)
	}
}

// summarise logs one line for a step that did something.
func (r *Renewal) summarise(ctx context.Context, now time.Time, changed []Device) {
	if len(changed) == 0 {
		return
	}
	var byLSC, fallen, left int
	for _, d := range changed {
		switch {
		case d.Operation == OperationNone:
			left++
		case d.LSC.NotAfter.After(now):
			byLSC++
		default:
			fallen++
		}
	}
	r.log().InfoContext(ctx, "renewals scheduled", slog.String("event", "fleet.renewals"), slog.Int("by_lsc", byLSC),
		slog.Int("fallen_back", fallen), slog.Int("left_to_administrator", left))
}

// Run makes RenewAt anew when the settings have changed, and then takes steps until ctx ends. A step that went wrong is
// logged and the next one taken.
func (r *Renewal) Run(ctx context.Context) error {
	for {
		n, err := r.Store.Replan(ctx, r.Policy(), r.RenewAt)
		if err == nil {
			if n > 0 {
				r.log().InfoContext(ctx, "renewals planned anew", slog.String("event", "fleet.replanned"), slog.Int("phones", n), slog.String("policy", r.Policy()))
			}
			break
		}
		r.failed(ctx, err)
		if err := r.wait(ctx); err != nil {
			return err
		}
	}
	for {
		if err := r.wait(ctx); err != nil {
			return err
		}
		if _, err := r.Step(ctx); err != nil {
			r.failed(ctx, err)
		}
	}
}

func (r *Renewal) failed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		r.log().ErrorContext(ctx, "renewal went wrong and is tried again", slog.String("event", "fleet.renewal_failed"), slog.Any("err", err))
	}
}

// wait waits for the next tick. Steps are taken at the beginning of minutes, so a restart moves none.
func (r *Renewal) wait(ctx context.Context) error {
	tick := r.Tick
	if tick == nil {
		now := r.now()
		timer := time.NewTimer(now.Truncate(renewTick).Add(renewTick).Sub(now))
		defer timer.Stop()
		tick = timer.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-tick:
		return nil
	}
}
