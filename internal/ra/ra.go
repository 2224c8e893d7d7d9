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

// Label is what stands behind one EST label. It will get its own template, approval and limits; for now it names who
// issues and what may be asked for.
type Label struct {
	Name      string       // as in the path; empty for requests without a label
	Authority ca.Authority // who issues
	Policy    *Policy      // what simpleenroll may ask for; nil: the CA decides
	EST       est.Profile  // how EST serves it
}

// Config is what New makes an RA of.
type Config struct {
	Engine Engine  // needed
	Labels []Label // needed; names must differ

	Users     *Users              // nil: no HTTP users
	ClientCAs []*x509.Certificate // anchors of TLS client certificates; empty: none are accepted
	// CompatSequence passes user names that are not in Users on to the authority (ca.LoginChecker), as the original does.
	CompatSequence bool
	Vouching       *Vouching // nil: fullcmc refuses everybody
	Rate           Rate
	// Reserved are DNS names, IP addresses and common names that nobody may ask for, by simpleenroll or through a voucher:
	// those of our own listeners, which clients trust this CA for. Case does not matter, and a wildcard that covers one of
	// them is refused as well.
	Reserved []string

	AnswerWithin time.Duration // longest wait before an answer; 0 means 6 s
	RetryAfter   time.Duration // Retry-After of a 202 while the CA works; 0 means 5 s
	PendingRetry time.Duration // Retry-After while a person must approve, if the CA names none; 0 means 1 h
	Unavailable  time.Duration // Retry-After of 503 and 504 when the engine names none; 0 means 30 s
	DenialMemory time.Duration // how long a refusal of the CA is repeated; 0 means 5 min, negative not at all
	Keep         time.Duration // how long a lost answer can be fetched again, and CMC messages are remembered; 0 means 7 days
	ChainRefresh time.Duration // how often the CA chain is asked for again; 0 means 24 h
	// TemplateStatus answers a template that the CA does not offer; 0 means 401 as in the original, 503 and 500 make sense.
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
	labels map[string]*Label

	// started bounds the memory of refusals: a restart, and with it a corrected configuration, ends it.
	started time.Time
	vouch   *voucherGate

	reserved reserved

	mu     sync.Mutex
	chains map[string]*chain // by label
	again  chan struct{}     // asks Run to refresh the chains
	limit  limiter
	// noChain is why the last attempt to fetch a chain failed, by label.
	noChain map[string]*ca.Error

	tried     chan struct{} // closed when the CA was asked for its chain for the first time and has answered or not
	triedOnce sync.Once
}

var (
	_ est.Backend = (*RA)(nil)
	_ est.FullCMC = (*RA)(nil)
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
		c.TemplateStatus = http.StatusUnauthorized
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
		c: c, log: c.Log, labels: make(map[string]*Label), started: c.Now(),
		chains: make(map[string]*chain), noChain: make(map[string]*ca.Error), again: make(chan struct{}, 1), limit: limiter{rate: c.Rate},
		tried: make(chan struct{}), reserved: newReserved(c.Reserved),
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
		a.labels[l.Name] = l
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

// Profile implements est.Backend.
func (a *RA) Profile(label string) (est.Profile, bool) {
	l, ok := a.labels[label]
	if !ok {
		return est.Profile{}, false
	}
	return l.EST, true
}

// label finds the label of a request.
func (a *RA) label(name string) (*Label, *est.Error) {
	if l := a.labels[name]; l != nil {
		return l, nil
	}
	return nil, &est.Error{
		Status: http.StatusNotFound, ErrCode: CodeLabel, Text: "there is no such label here",
		Fix: fmt.Sprintf("use the path /.well-known/est/OPERATION without the label %q", name),
	}
}
