package app

import (
	"context"
	"log/slog"
	"time"

	"callsign/certsrv"
	"callsign/internal/ca/adcs"
	"callsign/internal/certfile"
	"callsign/internal/config"
)

// ProbeOptions say what Probe tries.
type ProbeOptions struct {
	Template  string           // needed, but at a standalone CA
	Requester string           // account for the shapes on behalf; empty: they are not tried
	Begin     func(adcs.Shape) // told before each request; may be nil
}

// PlanProbe says what Probe would try and why it would not try the others: trials without an outcome. It asks nobody.
func PlanProbe(c *config.Config, o ProbeOptions) ([]adcs.Trial, error) {
	p, err := commandGeneration(c).probe(nil, o.Template, o.Requester)
	if err != nil {
		return nil, err
	}
	return p.Plan(), nil
}

// Probe tries in which shape the CA behind section [adcs] takes requests. The CA keeps what it issues. The trials until then
// come with an error.
func Probe(ctx context.Context, c *config.Config, o ProbeOptions) ([]adcs.Trial, error) {
	g := commandGeneration(c)
	client, err := g.newCertsrv()
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }() // idle connections
	p, err := g.probe(client, o.Template, o.Requester)
	if err != nil {
		return nil, err
	}
	p.Begin = o.Begin
	return p.Run(ctx)
}

// commandGeneration makes parts of a configuration for a command, which says itself what there is to say.
func commandGeneration(c *config.Config) *generation {
	return &generation{config: c, now: time.Now, log: slog.New(slog.DiscardHandler)}
}

// probe makes what asks the CA in one shape or another.
func (g *generation) probe(client *certsrv.Client, template, requester string) (*adcs.Probe, error) {
	p := &adcs.Probe{Client: client, Template: template, Requester: requester, Now: g.now}
	if file := g.config.ADCS.AgentCertificateFile; file != "" {
		pair, err := certfile.LoadKeyPair(file, g.config.ADCS.AgentKeyFile)
		if err != nil {
			return nil, err
		}
		p.Agent, p.AgentChain = pair.Key, pair.Chain
	}
	return p, nil
}
