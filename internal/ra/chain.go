package ra

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"callsign/est"
	"callsign/internal/ca"
)

// Pauses between attempts to fetch the chain, and between fetches that an unknown issuer causes.
const (
	firstPause   = time.Second
	longestPause = time.Minute
	mismatchGap  = time.Minute
	chainTimeout = time.Minute
)

// CACerts implements est.Backend: the authority's chain, as last fetched, from the newest issuing CA to the root; then what joins an
// earlier root with this one and earlier certificates of the CA, as far as they are valid now.
func (a *RA) CACerts(ctx context.Context, label string) ([]*x509.Certificate, error) {
	if _, refused := a.label(label); refused != nil {
		return nil, refused
	}
	if refused := a.ready(ctx, label); refused != nil {
		return nil, refused
	}
	return a.known(label).at(a.c.Now()), nil
}

// known is what is known of the label's CA; nil when nothing is yet.
func (a *RA) known(label string) *known {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.chains[label]
}

// ready refuses while the CA chain is not known: a certificate that nobody could verify helps nobody. Right after the
// start, while the CA is being asked for the first time, it waits as long as a client does: a request that a restart
// left behind would otherwise be told to come back much later than needed.
func (a *RA) ready(ctx context.Context, label string) *est.Error {
	if a.known(label) != nil {
		return nil
	}
	wait := time.NewTimer(a.c.AnswerWithin)
	defer wait.Stop()
	select {
	case <-a.labels[label].tried:
	case <-wait.C:
	case <-ctx.Done():
	}
	if a.known(label) != nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	e := &est.Error{
		Status: http.StatusServiceUnavailable, ErrCode: CodeChainUnknown,
		Text: "the certificates of the CA are not known yet; repeat it later", RetryAfter: a.c.Unavailable,
		Fix: "the server keeps asking the CA; callsign check says why the CA does not answer",
	}
	if why := a.noChain[label]; why != nil {
		e.Err = why
	}
	return e
}

// Trouble tells why the certificates of a label's CA are not known; nil when they are, or when nobody was asked yet.
func (a *RA) Trouble(label string) *ca.Error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.chains[label] != nil {
		return nil
	}
	return a.noChain[label]
}

// explained adds to a refusal of ready why the CA does not answer, for callers who have shown who they are.
func explained(e *est.Error) *est.Error {
	if why, ok := errors.AsType[*ca.Error](e); ok {
		told := *e
		told.Text = fmt.Sprintf("%s (%s: %s)", e.Text, why.Code(), oneLine(why.Error()))
		return &told
	}
	return e
}

// oneLine makes a peer's words fit for one line of an answer.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200]) + "..."
	}
	return s
}

// Run keeps the CA chain up to date and forgets old CMC messages, until ctx ends. It begins with the start-up sequence
// and goes on trying, with growing pauses, for as long as the CA does not answer.
func (a *RA) Run(ctx context.Context) error {
	a.announce(ctx)
	pause := firstPause
	var last time.Time
	for {
		wait := a.c.ChainRefresh
		if err := a.Refresh(ctx); err != nil {
			wait = pause
			pause = min(2*pause, longestPause)
		} else {
			pause, last = firstPause, a.c.Now()
			a.prune(ctx)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		case <-a.again:
			t.Stop()
			if since := a.c.Now().Sub(last); since >= 0 && since < mismatchGap {
				// An unknown issuer on every certificate must not turn into a question to the CA for each.
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(mismatchGap - since):
				}
			}
		}
	}
}

// announce writes the start-up lines that readers of the original's log look for, in its order.
func (a *RA) announce(ctx context.Context) {
	a.log.InfoContext(ctx, "registration authority starts", slog.String("event", "ra.start"))
	for _, c := range a.anchors() {
		a.log.InfoContext(ctx, "trust anchor", slog.String("event", "ra.anchor"), slog.String("subject", c.Subject.String()))
	}
	if !slices.ContainsFunc(a.order, func(l *label) bool { return l.EST.Link != est.LinkOff }) {
		a.log.InfoContext(ctx, "link between TLS connection and request is not demanded", slog.String("event", "ra.pop_disabled"))
	}
	a.log.InfoContext(ctx, "registration authority runs", slog.String("event", "ra.pid"), slog.Int("pid", os.Getpid()))
}

// anchors are the anchors of all labels and of the vouchers, each once.
func (a *RA) anchors() []*x509.Certificate {
	var out []*x509.Certificate
	add := func(certs []*x509.Certificate) {
		for _, c := range certs {
			if !slices.ContainsFunc(out, c.Equal) {
				out = append(out, c)
			}
		}
	}
	for _, l := range a.order {
		add(l.ClientCAs)
	}
	if a.c.Vouching != nil {
		add(a.c.Vouching.Anchors)
	}
	return out
}

// Refresh asks every authority for its chain, all at the same time and each once, however many labels it has. Until the first
// success the RA answers 503 under these labels; after that a failure leaves the old chain in place. Without CompatSequence an authority
// that can check itself (ca.Checker) does, the first time, so that a wrong template name shows at start-up and not with the
// first phone.
func (a *RA) Refresh(ctx context.Context) error {
	groups := a.byAuthority()
	errs := make([]error, len(groups))
	var wg sync.WaitGroup
	for i, labels := range groups {
		wg.Go(func() { errs[i] = a.refresh(ctx, labels) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// byAuthority are the labels of each authority, in their order.
func (a *RA) byAuthority() [][]*label {
	var groups [][]*label
	at := map[string]int{}
	for _, l := range a.order {
		name := l.Authority.Name()
		i, ok := at[name]
		if !ok {
			i = len(groups)
			at[name] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], l)
	}
	return groups
}

// refresh asks the authority of some labels.
func (a *RA) refresh(ctx context.Context, labels []*label) error {
	caller, authority := ctx, labels[0].Authority
	ctx, cancel := context.WithTimeout(ctx, chainTimeout)
	defer cancel()
	defer func() {
		for _, l := range labels {
			l.triedOnce.Do(func() { close(l.tried) })
		}
	}()
	certs, err := authority.Chain(ctx)
	if err == nil && len(certs) == 0 {
		err = errors.New("the authority gave no certificates")
	}
	if err != nil {
		e := asCA(err)
		level := slog.LevelWarn
		if caller.Err() != nil {
			level = slog.LevelDebug // our own stop
		} else {
			a.learn(labels, nil, e)
		}
		a.log.Log(ctx, level, "CA chain not fetched", slog.String("event", "ra.chain_failed"), slog.String("ca", authority.Name()),
			slog.Any("labels", namesOfLabels(labels)), slog.String("code", e.Code()), slog.String("err", err.Error()), slog.String("remedy", e.Remedy()))
		return fmt.Errorf("chain of %s: %w", authority.Name(), err)
	}
	a.learn(labels, newKnown(certs, a.c.Rollover), nil)
	a.log.InfoContext(ctx, "CA chain fetched", slog.String("event", "ra.chain_ready"), slog.String("ca", authority.Name()),
		slog.Any("labels", namesOfLabels(labels)), slog.String("issuer", certs[0].Subject.String()), slog.Int("count", len(certs)))
	if checker, ok := authority.(ca.Checker); ok && labels[0].checked.CompareAndSwap(false, true) && !a.c.CompatSequence {
		if err := checker.Check(ctx); err != nil {
			e := asCA(err)
			a.log.WarnContext(ctx, "the CA would not issue", slog.String("ca", authority.Name()), slog.String("code", e.Code()),
				slog.String("err", err.Error()), slog.String("remedy", e.Remedy()))
		}
	}
	return nil
}

// learn notes what is known of the CA of some labels, or why nothing new is.
func (a *RA) learn(labels []*label, k *known, why *ca.Error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range labels {
		if why != nil {
			a.noChain[l.Name] = why
			continue
		}
		a.chains[l.Name] = k
		delete(a.noChain, l.Name)
	}
}

func namesOfLabels(labels []*label) []string {
	out := make([]string, len(labels))
	for i, l := range labels {
		out[i] = l.Name
	}
	return out
}

// noticeIssuer asks for the chain again when a certificate names an issuer that is not in it: the CA was renewed.
func (a *RA) noticeIssuer(label string, c *x509.Certificate) {
	k := a.known(label)
	if k == nil || slices.ContainsFunc(k.told, func(i *x509.Certificate) bool {
		return bytes.Equal(i.RawSubject, c.RawIssuer) &&
			(len(c.AuthorityKeyId) == 0 || len(i.SubjectKeyId) == 0 || bytes.Equal(i.SubjectKeyId, c.AuthorityKeyId))
	}) {
		return
	}
	select {
	case a.again <- struct{}{}:
	default:
	}
}

func (a *RA) prune(ctx context.Context) {
	if a.c.Vouching == nil {
		return
	}
	n, err := a.c.Vouching.Memory.Prune(ctx, a.c.Now().Add(-a.c.Keep))
	if err != nil {
		a.log.WarnContext(ctx, "old CMC messages not forgotten", slog.String("err", err.Error()))
		return
	}
	if n > 0 {
		a.log.DebugContext(ctx, "old CMC messages forgotten", slog.Int64("count", n))
	}
}
