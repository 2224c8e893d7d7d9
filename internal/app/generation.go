package app

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync"
	"time"

	"callsign/est"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/fleet"
	"callsign/internal/ra"
)

// generation is what one reading of the configuration made: everything that a reload replaces. Listeners, database, engine
// and traces outlive it.
type generation struct {
	app    *App // nil while a configuration is only checked
	config *config.Config
	log    *slog.Logger
	now    func() time.Time

	issuers  *issuers
	capfPair []tls.Certificate    // of the listeners for phones; empty without TLS
	estPair  *tls.Certificate     // of the EST listener; nil without one
	ra       *ra.RA               // nil without an EST listener
	logins   map[string]*ra.Users // by users file
	handler  *est.Handler         // in front of ra
	fleet    *fleet.Service       // nil without a listener for phones
	renewal  *fleet.Renewal       // nil: switched off

	users  sync.WaitGroup     // requests and attempts under way
	cancel context.CancelFunc // ends what start began
	wg     sync.WaitGroup
}

// newGeneration makes the parts of a configuration. It opens no listener, asks no peer and starts nothing.
func (a *App) newGeneration(c *config.Config) (*generation, error) {
	g := &generation{app: a, config: c, log: a.log, now: a.now}
	var err error
	if g.issuers, err = g.openIssuers(); err != nil {
		return nil, err
	}
	for _, part := range []func() error{g.openEST, g.openPhones} {
		if err := part(); err != nil {
			g.issuers.close()
			return nil, err
		}
	}
	return g, nil
}

// openEST makes what stands behind the EST listener.
func (g *generation) openEST() error {
	c := g.config
	if c.EST.Listen == "" {
		return nil
	}
	pair, err := certfile.LoadKeyPair(c.EST.CertificateFile, c.EST.KeyFile)
	if err != nil {
		return err
	}
	certificate := pair.TLS()
	g.estPair = &certificate
	if g.ra, err = g.newRA(); err != nil {
		return err
	}
	trusted, err := config.Networks(c.RA.TrustedProxies)
	if err != nil { // the configuration has been checked
		return &Problem{ErrCode: "app.ra", Detail: err.Error(), Err: err, Fix: "correct ra.trusted_proxies"}
	}
	g.handler = &est.Handler{
		Backend: g.ra, Realm: c.EST.Realm, TrustedProxies: trusted, ClientCertField: c.RA.ClientCertField,
		Keys: &g.app.keys, KeySigner: pair.Key, KeySignerChain: pair.Chain, Log: g.log,
	}
	return nil
}

// openPhones makes what stands behind the listeners for phones.
func (g *generation) openPhones() error {
	c := g.config
	if !c.ServesCAPF() {
		return nil
	}
	if c.CAPF.CertificateFile != "" {
		pair, err := certfile.LoadKeyPair(c.CAPF.CertificateFile, c.CAPF.KeyFile)
		if err != nil {
			return err
		}
		g.capfPair = []tls.Certificate{pair.TLS()}
	}
	var err error
	g.fleet, err = g.newFleet()
	return err
}

// start begins what a generation does by itself, until stop.
func (g *generation) start(ctx context.Context) {
	ctx, g.cancel = context.WithCancel(ctx)
	if g.ra != nil {
		g.goRun("registration authority", func() error { return g.ra.Run(ctx) })
	}
	if g.renewal != nil {
		g.goRun("renewal of LSCs", func() error { return g.renewal.Run(ctx) })
	}
	g.goRun("CA chain", func() error { return g.learnChain(ctx) })
}

func (g *generation) goRun(name string, run func() error) {
	g.wg.Add(1)
	g.app.goRun(name, func() error {
		defer g.wg.Done()
		return run()
	})
}

// retire ends a generation that another one has followed, when the requests and attempts under way have finished on it.
func (g *generation) retire() {
	g.cancel()
	g.wg.Wait()
	g.users.Wait()
	g.issuers.close()
}
