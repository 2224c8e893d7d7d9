package upstream

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"callsign/cmc"
	"callsign/est"
	"callsign/internal/ca"
)

// Name is the authority's name in records and logs.
const Name = "upstream"

// chainFor is how long the CA certificates are taken for known.
const chainFor = 24 * time.Hour

// Config says whom to ask and how.
type Config struct {
	Client *est.Client // needed
	// Voucher signs for bare keys; VoucherChain begins with its certificate (purpose id-kp-cmcRA), intermediates follow.
	// Without them only signed requests can be sent.
	Voucher      crypto.Signer
	VoucherChain []*x509.Certificate
	// Responders are the anchors of the certificate that signs the RA's answers. Needed with Voucher.
	Responders []*x509.Certificate

	Now    func() time.Time // nil means time.Now
	Random io.Reader        // nil means crypto/rand
	Log    *slog.Logger     // nil: nothing is logged
}

// Authority is the authority "upstream". It implements ca.Authority and ca.Checker.
type Authority struct {
	c          Config
	log        *slog.Logger
	responders *x509.CertPool

	mu    sync.Mutex
	chain []*x509.Certificate
	at    time.Time
}

var (
	_ ca.Authority = (*Authority)(nil)
	_ ca.Checker   = (*Authority)(nil)
)

// New returns the authority.
func New(c Config) (*Authority, error) {
	if c.Client == nil {
		return nil, errors.New("upstream: no EST client")
	}
	if c.Voucher != nil && (len(c.VoucherChain) == 0 || len(c.Responders) == 0) {
		return nil, errors.New("upstream: vouching needs the voucher's certificate and the anchors of the RA's responder")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	a := &Authority{c: c, log: c.Log, responders: x509.NewCertPool()}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	for _, r := range c.Responders {
		a.responders.AddCert(r)
	}
	return a, nil
}

// Name implements ca.Authority.
func (a *Authority) Name() string { return Name }

// Chain implements ca.Authority: it asks the RA for its CA certificates.
func (a *Authority) Chain(ctx context.Context) ([]*x509.Certificate, error) {
	certs, err := a.c.Client.CACerts(ctx)
	if err != nil {
		return nil, failure(err)
	}
	certs = issuingFirst(certs)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.chain, a.at = certs, a.c.Now()
	return certs, nil
}

// Check implements ca.Checker: the RA is reachable, its certificate is trusted and it knows its CA.
func (a *Authority) Check(ctx context.Context) error {
	_, err := a.Chain(ctx)
	return err
}

// issuers returns the CA certificates that issued certificates must chain to, asking the RA when they are not known or old.
func (a *Authority) issuers(ctx context.Context, fresh bool) ([]*x509.Certificate, error) {
	a.mu.Lock()
	chain, at := a.chain, a.at
	a.mu.Unlock()
	if len(chain) > 0 && !fresh && a.c.Now().Sub(at) < chainFor {
		return chain, nil
	}
	return a.Chain(ctx)
}

// Issue implements ca.Authority.
func (a *Authority) Issue(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
	if r.CSR != nil {
		return a.simple(ctx, r, l)
	}
	return a.vouched(ctx, r, l)
}

// simple sends a PKCS#10 that is really signed. Repeating it is harmless: the RA knows the request by its key.
func (a *Authority) simple(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
	if !l.Progress().Submitted {
		if err := l.Record(ctx, ca.Progress{Submitted: true}); err != nil {
			return ca.Outcome{}, err
		}
	}
	c, err := a.c.Client.SimpleEnroll(ctx, r.CSR)
	var later *est.RetryError
	switch {
	case errors.As(err, &later):
		return ca.Outcome{Status: ca.Pending, RetryAfter: later.After, RequestID: requestID(later.Text)}, nil
	case err != nil:
		return refusedOr(failure(err))
	}
	chain, err := a.verified(ctx, c)
	if err != nil {
		return ca.Outcome{}, err
	}
	return issued(c, chain, ca.POPSigned), nil
}

// refusedOr makes the peer's final refusal an outcome and leaves everything else an error.
func refusedOr(e *ca.Error) (ca.Outcome, error) {
	var peer *est.ClientError
	if e.Final && errors.As(e, &peer) && peer.ErrCode == est.CodeRefused {
		return ca.Outcome{Status: ca.Denied, Denial: e}, nil
	}
	return ca.Outcome{}, e
}

// verified checks a certificate against the CA certificates of the RA, once more with fresh ones when they do not fit.
func (a *Authority) verified(ctx context.Context, c *x509.Certificate) ([]*x509.Certificate, error) {
	var last error
	for _, fresh := range []bool{false, true} {
		chain, err := a.issuers(ctx, fresh)
		if err != nil {
			return nil, err
		}
		if last = verify(c, chain, a.c.Now()); last == nil {
			return chain, nil
		}
	}
	return nil, badCertificate(last)
}

func verify(c *x509.Certificate, chain []*x509.Certificate, now time.Time) error {
	pool := x509.NewCertPool()
	for _, i := range chain {
		pool.AddCert(i)
	}
	_, err := c.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}

func badCertificate(err error) *ca.Error {
	return &ca.Error{
		ErrCode: CodeCertificate, Err: err, Detail: "the issued certificate does not chain to the RA's CA certificates",
		Fix: "check that the RA's cacerts are those of the CA that issues (after a CA renewal: all of them)",
	}
}

func issued(c *x509.Certificate, chain []*x509.Certificate, pop ca.POP) ca.Outcome {
	out := ca.Outcome{Status: ca.Issued, Certificate: c.Raw, POP: pop}
	for _, i := range pathOf(c, chain) {
		out.Chain = append(out.Chain, i.Raw)
	}
	return out
}

// pathOf picks from the bag the issuers of c, nearest first.
func pathOf(c *x509.Certificate, bag []*x509.Certificate) []*x509.Certificate {
	var path []*x509.Certificate
	for range bag {
		if bytes.Equal(c.RawIssuer, c.RawSubject) {
			break
		}
		var next *x509.Certificate
		for _, i := range bag {
			if bytes.Equal(i.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(i) == nil {
				next = i
				break
			}
		}
		if next == nil {
			break
		}
		path = append(path, next)
		c = next
	}
	return path
}

// issuingFirst orders CA certificates: those that issued no other one of the bag first, roots last.
func issuingFirst(bag []*x509.Certificate) []*x509.Certificate {
	var first []*x509.Certificate
	for _, c := range bag {
		issues := false
		for _, o := range bag {
			if o != c && bytes.Equal(o.RawIssuer, c.RawSubject) && !bytes.Equal(o.RawSubject, c.RawSubject) {
				issues = true
			}
		}
		if !issues {
			first = append(first, c)
		}
	}
	seen := make(map[*x509.Certificate]bool)
	var out []*x509.Certificate
	add := func(cs ...*x509.Certificate) {
		for _, c := range cs {
			if !seen[c] {
				seen[c] = true
				out = append(out, c)
			}
		}
	}
	for _, c := range first {
		add(c)
		add(pathOf(c, bag)...)
	}
	add(bag...)
	return out
}

// caRequest finds the CA's own number in the RA's text.
var caRequest = regexp.MustCompile(`\brequest (\d{1,18})\b`)

// requestID is information for people; nothing is decided by it.
func requestID(text string) string {
	if m := caRequest.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// device is the phone's name in an owner, or the owner itself.
func device(owner string) string {
	const prefix = "phone:"
	if len(owner) > len(prefix) && owner[:len(prefix)] == prefix {
		return owner[len(prefix):]
	}
	return owner
}

func regInfo(r ca.Request) []byte {
	return cmc.RegInfo(cmc.NameValue{Name: "device", Value: device(r.Owner)}, cmc.NameValue{Name: "auth", Value: r.Vouch})
}

func clockDetail(sent, now time.Time) string {
	return fmt.Sprintf("the RA does not accept the time in the message (%s); our clock says %s",
		sent.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
}
