package app

import (
	"context"
	"crypto/x509"
	"fmt"
	"sync/atomic"

	"callsign/internal/ca"
	"callsign/internal/ca/adcs"
	"callsign/internal/ca/local"
	"callsign/internal/ca/offline"
	"callsign/internal/ca/upstream"
	"callsign/internal/enroll"
)

// authority is an issuing authority as the engine knows it: the same for as long as the App runs, while each reload may
// bring another one of this name, or none.
type authority struct {
	name string
	now  atomic.Pointer[ca.Authority]
}

var (
	_ ca.Authority = (*authority)(nil)
	_ ca.Private   = (*authority)(nil)
)

// newAuthorities returns a place for every kind of authority.
func newAuthorities() map[string]*authority {
	all := map[string]*authority{}
	for _, name := range []string{local.Name, adcs.Name, upstream.Name, offline.Name} {
		all[name] = &authority{name: name}
	}
	return all
}

// setAuthorities makes the authorities of a generation the ones that are asked from now on.
func (a *App) setAuthorities(byName map[string]ca.Authority) {
	for name, place := range a.authorities {
		if one, ok := byName[name]; ok {
			place.now.Store(&one)
		} else {
			place.now.Store(nil)
		}
	}
}

// get returns the authority of the present configuration, or why there is none: rows of an earlier configuration wait.
func (a *authority) get() (ca.Authority, error) {
	if p := a.now.Load(); p != nil {
		return *p, nil
	}
	return nil, &enroll.Error{
		ErrCode: "enroll.unknown-authority", Detail: fmt.Sprintf("no issuing authority %q is configured any more", a.name),
		Fix: "configure it again, or cancel the request",
	}
}

// Name implements ca.Authority.
func (a *authority) Name() string { return a.name }

// Chain implements ca.Authority.
func (a *authority) Chain(ctx context.Context) ([]*x509.Certificate, error) {
	one, err := a.get()
	if err != nil {
		return nil, err
	}
	return one.Chain(ctx)
}

// Issue implements ca.Authority.
func (a *authority) Issue(ctx context.Context, r ca.Request, l ca.Ledger) (ca.Outcome, error) {
	one, err := a.get()
	if err != nil {
		return ca.Outcome{}, err
	}
	return one.Issue(ctx, r, l)
}

// Private implements ca.Private: nothing is kept or waited for here. Two authorities of one name are of one kind, so the
// answer does not change but where there is none, and then nothing is signed.
func (a *authority) Private() bool {
	one, err := a.get()
	if err != nil {
		return false
	}
	private, ok := one.(ca.Private)
	return ok && private.Private()
}
