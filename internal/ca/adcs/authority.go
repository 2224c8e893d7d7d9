package adcs

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
	"maps"
	"slices"
	"sync"
	"time"

	"callsign/certsrv"
	"callsign/certsrv/winauth"
	"callsign/cmc"
	"callsign/internal/ca"
)

// Name is the authority's name in records and logs.
const Name = "adcs"

// Defaults of Config.
const (
	DefaultMissing    = 8
	DefaultTried      = 64
	DefaultLooks      = 3
	DefaultLookPause  = time.Minute
	DefaultLoginPause = time.Minute
	DefaultSettle     = 5 * time.Second
)

const (
	// mostTried bounds the search for a lost answer, whatever the settings.
	mostTried = 4096
	// renewalGap is between two looks for a renewed CA that issued certificates cause.
	renewalGap = time.Minute
)

// Config says whom to ask and how.
type Config struct {
	Client   *certsrv.Client // needed; not to be changed afterwards
	Template string          // the template's name, not its display name; empty for a standalone CA
	// Templates are the templates of EST labels, the empty one among them, where they are others than Template. They count for
	// requests by EST alone (ca.ByEST).
	Templates map[string]string
	// Total bounds all that one call of Issue does, the logins and the search for a lost answer included; 0: only each step is
	// bounded, by the Client.
	Total time.Duration

	// Agent signs for bare keys; AgentChain begins with its certificate (Certificate Request Agent), intermediates follow.
	// Without them only signed requests can be sent.
	Agent      crypto.Signer
	AgentChain []*x509.Certificate
	Shape      cmc.Shape // of the request for a bare key; 0 means cmc.Supplied
	// SignRequests says whether the agent signs really signed requests, too, for templates that demand it.
	SignRequests Signing
	// OnBehalf names Account in CMC requests, whose certificates AD CS then makes for that account of the directory.
	OnBehalf bool
	Account  cmc.AccountPattern // needed for OnBehalf and SignPKCS7

	Missing   int           // ids in a row that do not exist and end the search for a lost answer; 0 means 8
	Tried     int           // ids looked at in one search; 0 means 64
	Looks     int           // attempts that look at pending ids again before a new POST; 0 means 3, negative none
	LookPause time.Duration // between these attempts; 0 means 1 min
	// Settle is how long after a lost answer a CA may still be at the request, which then is looked for and not sent again;
	// 0 means 5 s, negative none. After a timeout it is at least as long as the Client's SubmitTimeout.
	Settle     time.Duration
	LoginPause time.Duration // silence after a refused login of the own account; 0 means 1 min, negative none

	Now    func() time.Time // nil means time.Now
	Random io.Reader        // nil means crypto/rand
	Log    *slog.Logger     // nil: nothing is logged
}

// Signing says what becomes of requests that are really signed.
type Signing int

// What becomes of really signed requests. All but SignNothing need an enrollment agent.
const (
	SignNothing Signing = iota // they go as they are
	SignCMC                    // the agent signs a CMC request around them
	SignPKCS7                  // the agent signs a PKCS #7 message around them, on behalf of Config.Account
)

// Authority is the authority "adcs". It implements ca.Authority, ca.Checker and ca.LoginChecker.
type Authority struct {
	c   Config
	log *slog.Logger

	mu      sync.Mutex
	chain   []*x509.Certificate
	again   time.Time // not before then the chain is read again for an unknown issuer
	refused *ca.Error // the last refusal of the own account
	until   time.Time // how long it is repeated
}

var (
	_ ca.Authority    = (*Authority)(nil)
	_ ca.Checker      = (*Authority)(nil)
	_ ca.LoginChecker = (*Authority)(nil)
)

// New returns the authority.
func New(c Config) (*Authority, error) {
	if c.Client == nil {
		return nil, errors.New("adcs: no client of web enrollment")
	}
	if c.Agent != nil && len(c.AgentChain) == 0 {
		return nil, errors.New("adcs: the enrollment agent has a key and no certificate")
	}
	if c.Agent == nil && c.SignRequests != SignNothing {
		return nil, errors.New("adcs: an enrollment agent is to sign requests and there is none")
	}
	if (c.OnBehalf || c.SignRequests == SignPKCS7) && c.Account.IsZero() {
		return nil, errors.New("adcs: requests are to be on behalf of accounts and no pattern gives their names")
	}
	setDefault(&c.Missing, DefaultMissing)
	setDefault(&c.Tried, DefaultTried)
	setDefault(&c.Looks, DefaultLooks)
	setDefault(&c.LookPause, DefaultLookPause)
	setDefault(&c.LoginPause, DefaultLoginPause)
	setDefault(&c.Settle, DefaultSettle)
	setDefault(&c.Shape, cmc.Supplied)
	if c.Missing < 0 || c.Tried < 0 {
		return nil, errors.New("adcs: the limits of the search for a lost answer are negative")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	a := &Authority{c: c, log: c.Log}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	return a, nil
}

func setDefault[T ~int | ~int64](v *T, otherwise T) {
	if *v == 0 {
		*v = otherwise
	}
}

// Name implements ca.Authority.
func (a *Authority) Name() string { return Name }

// Chain implements ca.Authority: it asks the web server for the CA's certificates, the newest first.
func (a *Authority) Chain(ctx context.Context) ([]*x509.Certificate, error) {
	if err := a.paused(); err != nil {
		return nil, err
	}
	certs, err := a.c.Client.CACertificates(ctx)
	if err != nil {
		return nil, a.failure(err, true)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.chain, a.refused = certs, nil
	return certs, nil
}

// Check implements ca.Checker: the account may log in and the templates are offered to it, that of every label. Of several
// that are not, the error is about the first and names the others.
func (a *Authority) Check(ctx context.Context) error {
	if err := a.paused(); err != nil {
		return err
	}
	var first *ca.Error
	for _, template := range a.templates() {
		err := checkTemplate(ctx, a.c.Client, template)
		if err == nil {
			continue
		}
		e := a.failure(err, true)
		if e.ErrCode != ca.CodeTemplateNotOffered {
			return e
		}
		if first == nil {
			first = e
		} else {
			first.Detail = fmt.Sprintf("%s, template %q is not offered either", first.Detail, template)
		}
	}
	if first != nil {
		return first
	}
	return nil
}

// templates are those in use, each once, that of requests without a profile first.
func (a *Authority) templates() []string {
	out := []string{a.c.Template}
	for _, label := range slices.Sorted(maps.Keys(a.c.Templates)) {
		if t := a.ofLabel(label); !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// ofLabel is the template of an EST label.
func (a *Authority) ofLabel(label string) string {
	if t := a.c.Templates[label]; t != "" {
		return t
	}
	return a.c.Template
}

// template is the template of a request.
func (a *Authority) template(r ca.Request) string {
	if ca.ByEST(r.Owner) {
		return a.ofLabel(r.Label)
	}
	return a.c.Template
}

func checkTemplate(ctx context.Context, c *certsrv.Client, template string) error {
	if template == "" || c.SkipTemplateCheck {
		return c.Login(ctx, nil)
	}
	return c.CheckTemplate(ctx, template)
}

// CheckLogin implements ca.LoginChecker: it logs in with these credentials and looks whether the template of
// their label is offered to their owner.
func (a *Authority) CheckLogin(ctx context.Context, l *ca.Login) error {
	c, err := a.as(l)
	if err != nil {
		return a.failure(err, false)
	}
	defer a.close(ctx, c)
	if err := checkTemplate(ctx, c, a.ofLabel(l.Label)); err != nil {
		return a.failure(err, false)
	}
	return nil
}

// as is the client for somebody else's credentials, with connections of its own.
func (a *Authority) as(l *ca.Login) (*certsrv.Client, error) {
	o := a.c.Client
	auth := o.Auth
	auth.User, auth.Password = l.User, winauth.NewPassword(l.Password)
	if o.Auth.Kerberos != nil {
		tickets, err := o.Auth.Kerberos.For(l.User, auth.Password)
		if err != nil { // a name or a password that no domain controller could know
			return nil, &ca.Error{ErrCode: ca.CodeLoginRefused, Final: true, Detail: "AD CS web enrollment", Err: err, Fix: "log in as user@REALM with the account's password"}
		}
		auth = tickets.Credentials()
	}
	return &certsrv.Client{
		URL: o.URL, Auth: auth, SPN: o.SPN, NoChannelBinding: o.NoChannelBinding, TLS: o.TLS, DialContext: o.DialContext, UserAgent: o.UserAgent, Compat: o.Compat,
		ConnectTimeout: o.ConnectTimeout, LoginTimeout: o.LoginTimeout, FetchTimeout: o.FetchTimeout, SubmitTimeout: o.SubmitTimeout,
		MaxSessions: 1, SkipTemplateCheck: o.SkipTemplateCheck, Log: o.Log, Now: o.Now,
	}, nil
}

func (a *Authority) close(ctx context.Context, c *certsrv.Client) {
	if err := c.Close(); err != nil {
		a.log.DebugContext(ctx, "connection to web enrollment did not close cleanly", slog.String("err", err.Error()))
	}
}

// paused is the refusal of the own account while it is not to be tried again.
func (a *Authority) paused() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refused == nil || !a.c.Now().Before(a.until) {
		return nil
	}
	return a.refused
}

// failure turns an error of certsrv into ours. own tells that the own account was used.
func (a *Authority) failure(err error, own bool) *ca.Error {
	var p *certsrv.Problem
	if !errors.As(err, &p) {
		if done, ok := errors.AsType[*ca.Error](err); ok {
			return done
		}
		return &ca.Error{
			ErrCode: CodeFailed, Detail: "AD CS web enrollment could not be asked", Err: err,
			Timeout: errors.Is(err, context.DeadlineExceeded), Fix: "look at the cause, and run: callsign check",
		}
	}
	e := &ca.Error{
		ErrCode: p.ErrCode, Detail: "AD CS web enrollment", Fix: Remedy(p), HResult: uint32(p.HResult), Final: !p.Retryable,
		Timeout: p.Timeout, Err: p,
	}
	if own && p.ErrCode == ca.CodeLoginRefused && a.c.LoginPause > 0 {
		a.mu.Lock()
		a.refused, a.until = e, a.c.Now().Add(a.c.LoginPause)
		a.mu.Unlock()
	}
	return e
}

// Remedy is the client's remedy with the keys of the configuration to set. That for an untrusted certificate names its key
// itself.
func Remedy(p *certsrv.Problem) string {
	keys := ""
	if p.Timeout {
		return p.Fix + " (" + timeoutKey(p) + ")"
	}
	switch p.ErrCode {
	case certsrv.CodeBadConfiguration, certsrv.CodeNotFound, certsrv.CodeUnexpectedPage, certsrv.CodeWrongName, certsrv.CodeRedirected:
		keys = "adcs.url"
	case certsrv.CodeNotResolved, certsrv.CodeCannotConnect:
		keys = "adcs.url, adcs.connect_to"
	case certsrv.CodeTLSFailed:
		keys = "adcs.url"
	case certsrv.CodeNotAuthenticated:
		keys = "adcs.username, adcs.password_file, adcs.keytab_file, adcs.auth, adcs.channel_binding"
	case certsrv.CodeKDCUnreachable:
		keys = "adcs.kerberos_realm, adcs.kdcs, adcs.krb5_file"
	case certsrv.CodeNoTicket:
		keys = "adcs.url, adcs.spn, adcs.username"
	case certsrv.CodeForbidden:
		keys = "adcs.username, adcs.client_certificate_file"
	case certsrv.CodeTemplateNotOffered:
		keys = "adcs.template, adcs.skip_template_check"
	}
	if keys == "" {
		return p.Fix
	}
	return p.Fix + " (" + keys + ")"
}

// timeoutKey names the key of the time that was too short.
func timeoutKey(p *certsrv.Problem) string {
	if w, ok := errors.AsType[*winauth.Error](p); ok {
		switch w.Phase {
		case winauth.PhaseConnect, winauth.PhaseTLS:
			return "adcs.connect_timeout"
		case winauth.PhaseLogin:
			return "adcs.login_timeout"
		case winauth.PhaseRequest:
		}
	}
	if p.Op == "submit" {
		return "adcs.submit_timeout"
	}
	return "adcs.fetch_timeout"
}

// issued makes the outcome of a certificate, and says what it lacks for a phone.
func (a *Authority) issued(ctx context.Context, r ca.Request, c *x509.Certificate, id string) ca.Outcome {
	out := ca.Outcome{Status: ca.Issued, Certificate: c.Raw, RequestID: id, POP: ca.POPVouched}
	if r.CSR != nil && !r.Renamed() {
		out.POP = ca.POPSigned
	}
	chain := a.chainFor(ctx, c)
	for issuer := issuerOf(c, chain); issuer != nil && len(out.Chain) < len(chain); issuer = issuerOf(issuer, chain) {
		out.Chain = append(out.Chain, issuer.Raw)
		if bytes.Equal(issuer.RawIssuer, issuer.RawSubject) {
			break
		}
	}
	// Of what a device asks for by itself under a label, nobody here knows what it needs.
	if lacks := ca.LackingUsages(c); len(lacks) > 0 && (r.Label == "" || r.CSR == nil) {
		a.log.WarnContext(ctx, "certificate lacks what phones need", slog.String("ca", Name), slog.String("template", a.template(r)),
			slog.String("request_id", r.ID), slog.String("ca_request", id), slog.String("subject", c.Subject.String()),
			slog.String("code", CodeCertificateUsage), slog.Any("missing", lacks),
			slog.String("remedy", fmt.Sprintf("add it to the extensions of template %q (Key Usage, Application Policies), then enroll again", a.template(r))))
	}
	return out
}

// chainFor is the known chain. When the issuer of c is not in it the CA was renewed, and it is read again. That of a chain that
// was never read is left to who wants one.
func (a *Authority) chainFor(ctx context.Context, c *x509.Certificate) []*x509.Certificate {
	now := a.c.Now()
	a.mu.Lock()
	chain := a.chain
	renewed := len(chain) > 0 && issuerOf(c, chain) == nil && !now.Before(a.again)
	if renewed {
		a.again = now.Add(renewalGap)
	}
	a.mu.Unlock()
	if !renewed {
		return chain
	}
	a.log.InfoContext(ctx, "the CA signs with a certificate that is not known yet, its certificates are read again", slog.String("ca", Name),
		slog.String("issuer", c.Issuer.String()), slog.String("key_id", fmt.Sprintf("%X", c.AuthorityKeyId)))
	fresh, err := a.Chain(ctx)
	if err != nil {
		a.log.WarnContext(ctx, "certificates of the renewed CA not read", slog.String("ca", Name), slog.String("err", err.Error()))
		return chain // the certificate counts; its chain comes with the next look
	}
	return fresh
}

func issuerOf(c *x509.Certificate, chain []*x509.Certificate) *x509.Certificate {
	for _, i := range chain {
		if bytes.Equal(i.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(i) == nil {
			return i
		}
	}
	return nil
}
