package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"callsign/internal/ca"
	"callsign/internal/ca/adcs"
	"callsign/internal/ca/local"
	"callsign/internal/ca/offline"
	"callsign/internal/ca/upstream"
	"callsign/internal/config"
	"callsign/internal/enroll"
)

// authority is an issuing authority as the engine knows it: the same for as long as the App runs, while each reload may
// bring another one of this name, or none.
type authority struct {
	name string
	app  *App
}

var (
	_ ca.Authority = (*authority)(nil)
	_ ca.Private   = (*authority)(nil)
)

// newAuthorities returns an authority of every kind, whether the present configuration uses it or not.
func (a *App) newAuthorities() map[string]ca.Authority {
	all := map[string]ca.Authority{}
	for _, name := range []string{local.Name, adcs.Name, upstream.Name, offline.Name} {
		all[name] = &authority{name: name, app: a}
	}
	return all
}

// use returns the authority of the present configuration until release is called, or why there is none: rows of an earlier
// configuration wait. r is the request that it is to be asked for; nil for none.
func (a *authority) use(r *ca.Request, l ca.Ledger) (one ca.Authority, release func(), err error) {
	g := a.app.hold()
	if one, ok := g.issuers.byName[a.name]; ok {
		// What the authority has already has its template. What it has not would be certified with that of phones.
		if r == nil || !ca.ByEST(r.Owner) || l.Progress().RequestID != "" || g.serves(r.Label, a.name) {
			return one, g.users.Done, nil
		}
		g.users.Done()
		return nil, nil, &enroll.Error{
			ErrCode: "enroll.unknown-authority", Detail: fmt.Sprintf("no issuing authority %q is configured any more for the label %q", a.name, r.Label),
			Fix: "configure it again in " + section(config.Label{Name: r.Label}) + ", or cancel the request",
		}
	}
	g.users.Done()
	return nil, nil, &enroll.Error{
		ErrCode: "enroll.unknown-authority", Detail: fmt.Sprintf("no issuing authority %q is configured any more", a.name),
		Fix: "configure it again, or cancel the request",
	}
}

// serves tells whether an EST label is configured with an authority.
func (g *generation) serves(label, authority string) bool {
	return slices.ContainsFunc(profiles(g.config), func(l config.Label) bool { return l.Name == label && l.Authority == authority })
}

// Name implements ca.Authority.
func (a *authority) Name() string { return a.name }

// Chain implements ca.Authority.
func (a *authority) Chain(ctx context.Context) ([]*x509.Certificate, error) {
	one, release, err := a.use(nil, nil)
	if err != nil {
		return nil, err
	}
	defer release()
	return one.Chain(ctx)
}

// Issue implements ca.Authority.
func (a *authority) Issue(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
	one, release, err := a.use(&r, l)
	if err != nil {
		return ca.Outcome{}, err
	}
	defer release()
	out, err := one.Issue(ctx, r, l)
	if err != nil && a.name == upstream.Name {
		err = a.app.current().besideRA(err)
	}
	return out, err
}

// besideRA explains why the RA is of no use, where it runs in this process: what it does not tell its clients, and would
// otherwise have to be looked for in its log, is known here.
func (g *generation) besideRA(err error) error {
	e, ok := errors.AsType[*ca.Error](err)
	if !ok || e.ErrCode != upstream.CodeTryLater || g.ra == nil {
		return err
	}
	label, own := g.ownRA()
	if !own {
		return err
	}
	why := g.ra.Trouble(label)
	if why == nil {
		return err
	}
	return &ca.Error{
		ErrCode: e.ErrCode, Detail: "the RA does not get the certificates of its CA (" + why.Code() + ")", Err: why, Fix: why.Remedy(),
		After: e.After, Timeout: e.Timeout,
	}
}

// ownRA tells whether capf.ra_url leads to the RA of this process, and to which of its labels.
func (g *generation) ownRA() (label string, own bool) {
	u, err := url.Parse(g.config.CAPF.RAURL)
	if err != nil || g.app.estAddr == nil {
		return "", false
	}
	_, port, err := net.SplitHostPort(g.app.estAddr.String())
	if err != nil || u.Port() != port {
		return "", false
	}
	if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
		names, err := g.ownNames()
		if err != nil || !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, u.Hostname()) }) {
			return "", false
		}
	}
	_, label, _ = strings.Cut(u.Path, "/.well-known/est")
	return strings.Trim(label, "/"), true
}

// Private implements ca.Private: nothing is kept or waited for here. Two authorities of one name are of one kind, so the
// answer does not change but where there is none, and then nothing is signed.
func (a *authority) Private() bool {
	private, ok := a.app.current().issuers.byName[a.name].(ca.Private)
	return ok && private.Private()
}
