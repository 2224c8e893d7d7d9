package local

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"time"

	"callsign/internal/ca"
)

// Name is the authority's name in records and logs.
const Name = "local"

// Limits of the validity of a phone certificate, in days.
const (
	MinValidityDays     = 1
	MaxValidityDays     = 1825
	DefaultValidityDays = 365
)

// Config says what the authority signs with and how.
type Config struct {
	Certificate *x509.Certificate   // the issuing certificate
	Signer      crypto.Signer       // its key
	Chain       []*x509.Certificate // the CAs above Certificate up to the root; empty when it is self-signed
	// ValidityDays of a phone certificate: 1 to 1825, 0 means 365.
	ValidityDays int
	// Labels are the profiles of EST labels, the empty one among them, where they differ from the phones'. They count for requests by
	// EST alone (ca.ByEST).
	Labels map[string]Profile
	// Backdate is how far notBefore lies back; 0 means 5 minutes.
	Backdate time.Duration
	Keys     KeyPolicy
	Now      func() time.Time // nil means time.Now
	Random   io.Reader        // nil means crypto/rand
	Log      *slog.Logger     // nil: nothing is logged
}

// Profile is how certificates under an EST label differ from those of phones. The zero value is the phones'.
type Profile struct {
	ValidityDays int // 1 to 1825; 0 means that of phones
	// Usages are the extended key usages that are issued, as OIDs; empty means those of phones. A request that asks for some of them gets
	// these alone.
	Usages []asn1.ObjectIdentifier
}

// Authority is the authority "local". It implements ca.Authority.
type Authority struct {
	issuer  Issuer
	options Options
	labels  map[string]Profile
	keys    KeyPolicy
	log     *slog.Logger
}

var (
	_ ca.Authority = (*Authority)(nil)
	_ ca.Private   = (*Authority)(nil)
)

// New returns the authority, or an error when its certificate cannot sign or the validity is out of range.
func New(c Config) (*Authority, error) {
	i := Issuer{Certificate: c.Certificate, Signer: c.Signer, Chain: c.Chain, Now: c.Now, Random: c.Random}
	if err := i.Check(); err != nil {
		return nil, fmt.Errorf("local CA: %w", err)
	}
	days := c.ValidityDays
	if days == 0 {
		days = DefaultValidityDays
	}
	if err := checkDays(days); err != nil {
		return nil, fmt.Errorf("local CA: %w", err)
	}
	for label, p := range c.Labels {
		if p.ValidityDays == 0 {
			continue
		}
		if err := checkDays(p.ValidityDays); err != nil {
			return nil, fmt.Errorf("local CA: label %q: %w", label, err)
		}
	}
	if c.Backdate < 0 {
		return nil, fmt.Errorf("local CA: backdate %s is negative", c.Backdate)
	}
	log := c.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Authority{
		issuer: i,
		options: Options{
			KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
			EKUs:     []asn1.ObjectIdentifier{oidClientAuth, oidServerAuth, oidIPsecEndSystem},
			Validity: time.Duration(days) * day,
			Backdate: c.Backdate,
		},
		labels: maps.Clone(c.Labels),
		keys:   c.Keys,
		log:    log,
	}, nil
}

func checkDays(days int) error {
	if days < MinValidityDays || days > MaxValidityDays {
		return fmt.Errorf("validity of %d days is out of range: %d to %d", days, MinValidityDays, MaxValidityDays)
	}
	return nil
}

// optionsFor are the options of a request: those of phones, changed by the profile of its label.
func (a *Authority) optionsFor(r ca.Request) Options {
	o := a.options
	if !ca.ByEST(r.Owner) {
		return o
	}
	p := a.labels[r.Label]
	if p.ValidityDays != 0 {
		o.Validity = time.Duration(p.ValidityDays) * day
	}
	if len(p.Usages) > 0 {
		o.EKUs = narrowed(p.Usages, r.Extensions)
	}
	return o
}

// Name implements ca.Authority.
func (a *Authority) Name() string { return Name }

// Chain implements ca.Authority.
func (a *Authority) Chain(context.Context) ([]*x509.Certificate, error) { return a.issuer.Full(), nil }

// Issue implements ca.Authority. A refusal (weak key, forbidden extension, nobody vouched, wrong signature) is a Denied
// outcome; a failure of the signer or an issuer outside its dates is an error. The Ledger is not used: see the package
// documentation.
func (a *Authority) Issue(ctx context.Context, r ca.Request, _ ca.Ledger) (ca.Outcome, error) {
	pop, refused := a.proof(r)
	if refused != nil {
		return denied(refused), nil
	}
	pub, err := x509.ParsePKIXPublicKey(r.PublicKey)
	if err != nil {
		return denied(&ca.Error{ //nolint:nilerr // a refusal is an outcome, and carries the error
			ErrCode: CodeKeyType, Final: true, Err: err,
			Detail: "the public key cannot be read",
			Fix:    "choose RSA or EC as key type in the phone's CAPF settings and repeat the operation",
		}), nil
	}
	if refused := a.keys.Check(pub); refused != nil {
		return denied(refused), nil
	}
	if refused := checkSubject(r.Subject); refused != nil {
		return denied(refused), nil
	}
	exts, refused := phoneExtensions(r.Extensions)
	if refused != nil {
		return denied(refused), nil
	}
	der, err := a.issuer.IssueRaw(ctx, r.PublicKey, r.Subject, exts, a.optionsFor(r))
	if err != nil {
		return ca.Outcome{}, a.failure(err)
	}
	if _, err := x509.ParseCertificate(der); err != nil {
		// Names come from a peer: what no reader would accept must not leave the CA.
		return denied(&ca.Error{ //nolint:nilerr // a refusal is an outcome, and carries the error
			ErrCode: CodeSubject, Final: true, Err: err,
			Detail: "a certificate with the requested names could not be read by anybody",
			Fix:    "ask for names in plain text; if they look right, report the request id",
		}), nil
	}
	a.log.DebugContext(ctx, "certificate signed", slog.String("ca", Name), slog.String("request_id", r.ID),
		slog.String("issuer", a.issuer.Certificate.Subject.String()), slog.Int("bytes", len(der)))
	out := ca.Outcome{Status: ca.Issued, Certificate: der, POP: pop}
	for _, c := range a.issuer.Full() {
		out.Chain = append(out.Chain, c.Raw)
	}
	return out, nil
}

// Private implements [ca.Private]: true when the key is in the memory of this process. A token or an HSM may make its caller wait, and
// may count its signatures.
func (a *Authority) Private() bool {
	switch a.issuer.Signer.(type) {
	case *ecdsa.PrivateKey, *rsa.PrivateKey, ed25519.PrivateKey:
		return true
	default:
		return false
	}
}

// proof says what is proven about the key: a signed request, or somebody who vouches for the bare key.
func (a *Authority) proof(r ca.Request) (ca.POP, *ca.Error) {
	if r.CSR == nil {
		if r.Vouch == "" {
			return "", &ca.Error{
				ErrCode: CodeNotVouched, Final: true,
				Detail: "the request holds a bare key and nobody vouches for its owner",
				Fix:    "this is a fault of the caller, not of the phone; report it with the request id",
			}
		}
		return ca.POPSession, nil
	}
	csr, err := x509.ParseCertificateRequest(r.CSR)
	if err == nil && !r.Proven {
		err = csr.CheckSignature()
	}
	if err == nil && (!bytes.Equal(csr.RawSubjectPublicKeyInfo, r.PublicKey) || !bytes.Equal(csr.RawSubject, r.Subject) && !r.Renamed()) {
		err = errors.New("key or subject differ from those of the journal row")
	}
	if err != nil {
		return "", &ca.Error{
			ErrCode: CodeCSRSignature, Final: true, Err: err,
			Detail: "the certificate signing request does not prove possession of its key",
			Fix:    "make the request again with the private key that belongs to it",
		}
	}
	return ca.POPSigned, nil
}

func (a *Authority) failure(err error) *ca.Error {
	if dates, ok := errors.AsType[*outOfDates](err); ok {
		return &ca.Error{
			ErrCode: CodeIssuerDates, Final: true, Detail: dates.Error(),
			Fix: "set the clock right, or renew the local CA's certificate and restart the server",
		}
	}
	return &ca.Error{
		ErrCode: CodeSign, Err: err, Detail: "the local CA could not sign",
		Fix: "look at the cause; if the key lies in a token or HSM, check that it is reachable",
	}
}

// checkSubject wants a Name with at least one attribute: RFC 5280 would allow an empty one beside a critical SAN, but no
// phone can be told apart by such a certificate.
func checkSubject(der []byte) *ca.Error {
	var rdns pkix.RDNSequence
	rest, err := asn1.Unmarshal(der, &rdns)
	switch {
	case err != nil:
	case len(rest) > 0:
		err = errors.New("bytes after the name")
	case len(rdns) == 0:
		err = errors.New("the name is empty")
	default:
		return nil
	}
	return &ca.Error{
		ErrCode: CodeSubject, Final: true, Err: err,
		Detail: "the subject of the request cannot be used",
		Fix:    "ask for a subject with at least a common name",
	}
}

func denied(e *ca.Error) ca.Outcome { return ca.Outcome{Status: ca.Denied, Denial: e} }
