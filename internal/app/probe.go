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
	Template  string           // empty means that of the configuration
	Requester string           // account for the shapes on behalf; empty: they are not tried
	Begin     func(adcs.Shape) // told before each request; may be nil
	DryRun    bool             // send nothing: every shape is skipped, with the reason that it has anyway or none
}

// Probe tries in which shape the CA behind section [adcs] takes requests. The CA keeps what it issues. The template that was
// asked for comes with the trials.
func Probe(ctx context.Context, c *config.Config, o ProbeOptions) ([]adcs.Trial, string, error) {
	g := &generation{config: c, now: time.Now, log: slog.New(slog.DiscardHandler)}
	client, err := g.newCertsrv()
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = client.Close() }() // idle connections
	template := o.Template
	if template == "" {
		template = c.ADCS.Template
	}
	p, err := g.probe(client, template, o.Requester)
	if err != nil {
		return nil, template, err
	}
	p.Begin = o.Begin
	if o.DryRun {
		var trials []adcs.Trial
		for _, s := range adcs.Shapes() {
			trials = append(trials, adcs.Trial{Shape: s, Skipped: p.Skips(s)})
		}
		return trials, template, nil
	}
	trials, err := p.Run(ctx)
	return trials, template, err
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
