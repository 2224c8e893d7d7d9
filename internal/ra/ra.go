package ra

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"

	"callsign/est"
	"callsign/internal/ca"
	"callsign/internal/enroll"
)

// Defaults of Config.
const (
	DefaultAnswerWithin = 6 * time.Second
	DefaultRetryAfter   = 5 * time.Second
	DefaultPendingRetry = time.Hour
	DefaultUnavailable  = 30 * time.Second
	DefaultDenialMemory = 5 * time.Minute
	DefaultKeep         = 7 * 24 * time.Hour
	DefaultChainRefresh = 24 * time.Hour
)

// Engine is what the RA needs of the enrolment engine.
type Engine interface {
	// Enroll opens the row of the request, or finds the live one, and waits until it is issued, denied, failed or pending,
	// or ctx ends; then the work goes on without the caller. It returns the row as it is.
	Enroll(ctx context.Context, r enroll.Request) (enroll.Enrolment, error)
	// Wait does the same for a row that exists; enroll.ErrNotFound when there is none.
	Wait(ctx context.Context, id string) (enroll.Enrolment, error)
	// Last returns the newest row of the request in any state, or enroll.ErrNotFound.
	Last(ctx context.Context, authority, owner, label string, subject, publicKey []byte) (enroll.Enrolment, error)
}

// Config is what New makes an RA of.
type Config struct {
	Engine Engine  // needed
	Labels []Label // needed; names must differ

	// CompatSequence answers as the original does: every label has CALogin, and a template that is not offered is 401.
	CompatSequence bool
	Vouching       *Vouching // nil: fullcmc refuses everybody
	// Rollover are certificates that join an earlier root of the CA with the present one (RFC 4210 section 4.4: OldWithNew,
	// NewWithOld) and that the authorities do not tell of by themselves. Each label's cacerts has those that fit.
	Rollover []*x509.Certificate
	// Revoked, when set, says why a client's certificate, the first of the path, is not to be trusted any more. The path is
	// verified and ends with the CA's certificate.
	Revoked func(ctx context.Context, path []*x509.Certificate) error
	// Owners, when set, are those whose enrolments brought this very certificate ("est:LABEL/IDENTITY", "phone:NAME"). Then a certificate is
	// renewed under a label only when it was enrolled for under this label, when the label takes clients with certificates of this CA, or
	// when it demands a password as well: a CA signs for many who are no clients of the label. Nil: the CA alone counts.
	Owners func(ctx context.Context, cert *x509.Certificate) ([]string, error)
	// Reserved are DNS names, IP addresses and common names that nobody may ask for, by simpleenroll or through a voucher:
	// those of our own listeners, which clients trust this CA for. Case does not matter, and a wildcard that covers one of
	// them is refused as well.
	Reserved []string

	AnswerWithin time.Duration // longest wait before an answer; 0 means 6 s
	RetryAfter   time.Duration // Retry-After of a 202 while the CA works; 0 means 5 s
	PendingRetry time.Duration // Retry-After while a person must approve, if the CA names none; 0 means 1 h
	Unavailable  time.Duration // Retry-After of 503 and 504 when the engine names none; 0 means 30 s
	DenialMemory time.Duration // how long a refusal of the CA is repeated; 0 means 5 min, negative not at all. An administrator's: Keep
	Keep         time.Duration // how long a lost answer can be fetched again, and CMC messages are remembered; 0 means 7 days
	ChainRefresh time.Duration // how often the CA chain is asked for again; 0 means 24 h
	// TemplateStatus answers a template that the CA does not offer, 400 to 599; 0 means 401 with CompatSequence, as in the
	// original, and 503 without: nothing is wrong with the client's credentials.
	TemplateStatus int

	Now    func() time.Time // nil means time.Now
	Random io.Reader        // nil means crypto/rand
	Log    *slog.Logger     // nil: nothing is logged
}

// Vouching is what fullcmc needs.
type Vouching struct {
	// Anchors of vouchers' certificates, for nothing else.
	Anchors []*x509.Certificate
	// Allow is the list of vouchers: SHA-256 fingerprints of certificates in hex (colons are ignored) or subjects as
	// "CN=capf-ra,O=Example" (RFC 4514).
	Allow []string
	// Certificates are vouchers' certificates and intermediates for messages that come without.
	Certificates []*x509.Certificate
	// Policy is what a voucher may ask for; nil means the zero Policy.
	Policy *Policy
	// Window is how far a message's signingTime may be off; 0 means 5 min, negative switches the check off.
	Window time.Duration
	// Revoked, when set, says why a certificate of a voucher's chain is not to be trusted any more.
	Revoked func(ctx context.Context, chain []*x509.Certificate) error
	Memory  Memory // needed

	// Responder signs the answers; its chain begins with its certificate (purpose id-kp-cmcRA), intermediates follow.
	Responder      crypto.Signer
	ResponderChain []*x509.Certificate
}

// RA is the registration authority. It implements est.Backend and est.FullCMC.
type RA struct {
	c      Config
	log    *slog.Logger
	labels map[string]*label
	order  []*label // as configured

	// started bounds the memory of refusals: a restart, and with it a corrected configuration, ends it.
	started time.Time
	vouch   *voucherGate

	reserved reserved

	mu     sync.Mutex
	chains map[string]*known // by label
	again  chan struct{}     // asks Run to refresh the chains
	// noChain is why the last attempt to fetch a chain failed, by label.
	noChain map[string]*ca.Error
}

var (
	_ est.Backend = (*RA)(nil)
	_ est.FullCMC = (*RA)(nil)
	_ est.Judge   = (*RA)(nil)
)

// New returns an RA. Until Run has fetched the CA chain it answers 503.
func New(c Config) (*RA, error) {
	if c.Engine == nil {
		return nil, errors.New("registration authority: no enrolment engine")
	}
	if len(c.Labels) == 0 {
		return nil, errors.New("registration authority: no label")
	}
	def(&c.AnswerWithin, DefaultAnswerWithin)
	def(&c.RetryAfter, DefaultRetryAfter)
	def(&c.PendingRetry, DefaultPendingRetry)
	def(&c.Unavailable, DefaultUnavailable)
	def(&c.DenialMemory, DefaultDenialMemory)
	def(&c.Keep, DefaultKeep)
	def(&c.ChainRefresh, DefaultChainRefresh)
	if c.TemplateStatus == 0 {
		c.TemplateStatus = http.StatusServiceUnavailable
		if c.CompatSequence {
			c.TemplateStatus = http.StatusUnauthorized
		}
	}
	if c.TemplateStatus < 400 || c.TemplateStatus > 599 {
		return nil, fmt.Errorf("registration authority: status %d for a missing template is no refusal", c.TemplateStatus)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	a := &RA{
		c: c, log: c.Log, labels: make(map[string]*label), started: c.Now(),
		chains: make(map[string]*known), noChain: make(map[string]*ca.Error), again: make(chan struct{}, 1),
		reserved: newReserved(c.Reserved),
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	for i := range c.Labels {
		l := &c.Labels[i]
		if l.Authority == nil {
			return nil, fmt.Errorf("registration authority: label %q has no authority", l.Name)
		}
		if a.labels[l.Name] != nil {
			return nil, fmt.Errorf("registration authority: label %q is there twice", l.Name)
		}
		p, err := prepare(*l)
		if err != nil {
			return nil, fmt.Errorf("registration authority: %s: %w", sectionOf(l.Name), err)
		}
		a.labels[l.Name] = p
		a.order = append(a.order, p)
	}
	var err error
	if a.vouch, err = newVoucherGate(a); err != nil {
		return nil, err
	}
	return a, nil
}

func def(d *time.Duration, otherwise time.Duration) {
	if *d == 0 {
		*d = otherwise
	}
}

// Inherit takes over from the RA that this one replaces what requests would otherwise wait for or gain by: the known chains of
// labels whose authority has the same name, and how much of their rates clients have used. same tells of which authorities, by name, the CA is the
// same as before: the chain of another one would let its certificates be renewed. It comes before Run and before the first
// request; prev may go on answering meanwhile.
func (a *RA) Inherit(prev *RA, same func(authority string) bool) {
	prev.mu.Lock()
	chains := maps.Clone(prev.chains)
	prev.mu.Unlock()
	for _, l := range a.order {
		before := prev.labels[l.Name]
		if before == nil {
			continue
		}
		if l.Rate == before.Rate {
			l.limit.inherit(before.limit)
		}
		if c := chains[l.Name]; c != nil && before.Authority.Name() == l.Authority.Name() && same(l.Authority.Name()) {
			a.mu.Lock()
			a.chains[l.Name] = c
			a.mu.Unlock()
		}
	}
}

// Profile implements est.Backend.
func (a *RA) Profile(label string) (est.Profile, bool) {
	l, ok := a.labels[label]
	if !ok {
		return est.Profile{}, false
	}
	return l.EST, true
}

// label finds the label of a request.
func (a *RA) label(name string) (*label, *est.Error) {
	if l := a.labels[name]; l != nil {
		return l, nil
	}
	return nil, &est.Error{
		Status: http.StatusNotFound, ErrCode: CodeLabel, Text: "there is no such label here",
		Fix: fmt.Sprintf("use the path /.well-known/est/OPERATION without the label %q, or add a section [label.%s] to the configuration", clip(name), clip(name)),
	}
}
