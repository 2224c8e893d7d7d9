package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"time"

	"callsign/capf"
	"callsign/internal/ca/adcs"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

// door is one listener for phones.
type door struct {
	name      string // in Ready and in messages
	key       string // of the configuration
	listener  net.Listener
	transport capf.Transport
}

// startCAPF opens the listeners for phones and the schedule of renewals.
func (a *App) startCAPF(ctx context.Context, given net.Listener) error {
	c := a.config
	server := &capf.Server{
		Service: phoneService{a}, Log: a.log, HandshakeTimeout: c.CAPF.HandshakeTimeout, KeyTimeout: c.CAPF.KeyWait, AnswerWithin: c.CAPF.AnswerWithin,
		MaxConnections: c.CAPF.MaxConnections, MaxPerAddress: c.CAPF.MaxPerAddress,
	}
	if c.CAPF.RequireSUDI {
		// SUDI data is signed over the session id. Were the ids to begin with 1 at each start, what somebody has read in a
		// session before the last start would be good again when the count comes to it.
		var first [4]byte
		_, _ = rand.Read(first[:]) // it never fails
		server.FirstSession = 1 + binary.BigEndian.Uint32(first[:])>>1
	}
	if dir := c.CAPF.RecordDir; dir != "" {
		records := &capf.RecordDir{Dir: dir, Log: a.log}
		server.Recorder = records.Record
	}
	doors, err := a.openDoors(ctx, given)
	if err != nil {
		return err
	}
	a.capf = server
	a.warnOfFiles(ctx)
	a.current().announceIssuer(ctx)
	for _, d := range doors {
		a.goRun(d.name+" listener", func() error { return server.Serve(ctx, d.listener, d.transport) })
		a.Ready = append(a.Ready, d.name+" "+d.listener.Addr().String())
	}
	return nil
}

// phoneService is the service for phones of the configuration that is in force when a phone calls.
type phoneService struct{ a *App }

// Open implements capf.Service.
func (p phoneService) Open(ctx context.Context, c capf.Caller) (capf.Session, error) {
	return p.a.current().fleet.Open(ctx, c)
}

// openDoors opens every configured listener for phones. When one fails, those before it are closed.
func (a *App) openDoors(ctx context.Context, given net.Listener) (doors []door, err error) {
	defer func() {
		if err != nil {
			for _, d := range doors {
				_ = d.listener.Close()
			}
		}
	}()
	c := a.config.CAPF
	var secured *tls.Config
	if given != nil || c.Listen != "" || c.LegacyListen != "" {
		secured = &tls.Config{
			Certificates: a.current().capfPair, MinVersion: tls.VersionTLS12,
			// A reload brings another certificate; who is connected keeps his connection.
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				return &tls.Config{Certificates: a.current().capfPair, MinVersion: tls.VersionTLS12}, nil
			},
		}
	}
	open := func(d door, given net.Listener, addr string, at *net.Addr) error {
		l, err := a.listen(ctx, given, d.key, addr)
		if err != nil {
			return err
		}
		d.listener, *at = l, l.Addr()
		doors = append(doors, d)
		return nil
	}
	// Two listeners with port 0 get a port each.
	legacyHere := c.LegacyListen != "" && c.LegacyListen == c.Listen && !config.TakesFreePort(c.Listen)
	if given != nil || c.Listen != "" {
		if err := open(door{name: "capf", key: "capf.listen", transport: capf.Transport{TLS: secured, OldPhones: legacyHere}}, given, c.Listen, &a.capfAddr); err != nil {
			return doors, err
		}
	}
	if c.LegacyListen != "" && !legacyHere {
		if err := open(door{name: "capf-legacy", key: "capf.legacy_listen", transport: capf.Transport{TLS: secured, OldPhones: true}}, nil, c.LegacyListen, &a.legacyAddr); err != nil {
			return doors, err
		}
	}
	if c.PlainListen != "" {
		if err := open(door{name: "capf-plain", key: "capf.plain_listen", transport: capf.Transport{Plain: true}}, nil, c.PlainListen, &a.plainAddr); err != nil {
			return doors, err
		}
	}
	return doors, nil
}

// newFleet makes the service that decides about phones, on the authority that capf.issuer and capf.ra_url choose, and
// the schedule of renewals beside it.
func (g *generation) newFleet() (*fleet.Service, error) {
	c := g.config.CAPF
	s := &fleet.Service{
		Store: g.app.Records.Phones, Engine: g.app.engine, Mode: "CAPF", Authority: g.issuers.forPhones, WrongStrings: c.WrongStrings,
		AcceptOtherKey: c.AcceptOtherKey, RequireSUDI: c.RequireSUDI, AllowSHA1Auth: c.AllowSHA1Auth, MICBesideLSC: c.MICBesideLSC,
		LibEST: libEST, Log: g.log, Now: g.now,
	}
	under := noIssuer
	switch c.Issuer {
	case config.IssuerLocal:
		under = g.issuers.local.Issuer.Certificate.Subject
	case config.IssuerOnlineCA:
		s.Mode = "OnlineCA"
	case config.IssuerOffline:
		s.Mode = "OfflineCA"
	}
	s.Subject = fleet.SubjectTemplate(c.Subject, under)
	var err error
	if s.SubjectFor, err = fleet.ParseSubjectRules(c.SubjectFor, under); err != nil {
		return nil, err
	}
	if s.Progress, err = fleet.ParseGroup(c.ProgressFor); err != nil {
		return nil, err
	}
	if len(c.RetryLaterFor) > 0 {
		if s.RetryLater, err = fleet.ParseGroup(c.RetryLaterFor); err != nil {
			return nil, err
		}
		s.RetryLaterAfter = c.RetryLater
	}
	if s.Trust, err = g.trust(); err != nil {
		return nil, err
	}
	renewal, err := g.newRenewal()
	if err != nil {
		return nil, err
	}
	// The time of renewal goes on record also while nobody renews: who switches it on finds every phone due.
	s.RenewAt = renewal.RenewAt
	if g.config.Renewal.Enabled {
		g.renewal = renewal
	}
	return s, nil
}

// trust loads the CAs by which phones authenticate.
func (g *generation) trust() (fleet.Trust, error) {
	c := g.config.CAPF
	var t fleet.Trust
	if g.issuers.local != nil {
		t.LSC = append(t.LSC, g.issuers.local.Issuer.Certificate)
	}
	files := c.TrustFiles
	if c.Issuer == config.IssuerOffline && c.OfflineCAFile != "" {
		files = append([]string{c.OfflineCAFile}, files...)
	}
	for _, load := range []struct {
		files []string
		to    *[]*x509.Certificate
	}{{files, &t.LSC}, {c.MICFiles, &t.MIC}} {
		for _, file := range load.files {
			certs, err := certfile.LoadCertificates(file)
			if err != nil {
				return t, err
			}
			*load.to = append(*load.to, certs...)
		}
	}
	for _, text := range c.Distrusted {
		sum, err := hex.DecodeString(config.Fingerprint(text))
		if err != nil || len(sum) != sha256.Size { // the configuration has been checked
			return t, &Problem{ErrCode: "app.capf", Detail: fmt.Sprintf("%q is no SHA-256 fingerprint", text), Fix: "correct capf.distrusted"}
		}
		t.Distrusted = append(t.Distrusted, [sha256.Size]byte(sum))
	}
	return t, nil
}

// newRenewal makes the schedule of renewals, whether it is switched on or not.
func (g *generation) newRenewal() (*fleet.Renewal, error) {
	c := g.config.Renewal
	windows, err := RenewalWindows(g.config)
	if err != nil {
		return nil, err
	}
	r := &fleet.Renewal{
		Windows: windows,
		Share:   float64(c.Percent) / 100, Before: time.Duration(c.DaysBefore) * 24 * time.Hour, Spread: time.Duration(c.SpreadDays) * 24 * time.Hour,
		PerHour: c.PerHour, Retry: time.Duration(c.RetryHours) * time.Hour, Store: g.app.Records.Phones, Log: g.log, Now: g.now,
	}
	if c.SpreadDays == 0 {
		r.Spread = -1 // none
	}
	if c.Fallback != config.FallbackNone {
		r.Fallback = fleet.AuthMode(c.Fallback)
	}
	return r, nil
}

// RenewalWindows are the maintenance windows of a configuration; none: at any time.
func RenewalWindows(c *config.Config) (fleet.Windows, error) {
	zone, err := time.LoadLocation(c.Renewal.Zone)
	if err != nil { // the configuration has been checked
		return nil, &Problem{ErrCode: "app.capf", Detail: err.Error(), Err: err, Fix: "correct renewal.zone"}
	}
	var windows fleet.Windows
	for _, text := range c.Renewal.Windows {
		w, err := fleet.ParseWindow(text, zone)
		if err != nil {
			return nil, err
		}
		windows = append(windows, w)
	}
	return windows, nil
}

// rates are the paces at which the authorities are asked.
func (a *App) rates(issuers *issuers) (map[string]enroll.Rate, error) {
	rate, err := enroll.ParseRate(a.config.CAPF.CARate)
	if err != nil { // the configuration has been checked
		return nil, &Problem{ErrCode: "app.capf", Detail: err.Error(), Err: err, Fix: "correct capf.ca_rate"}
	}
	if rate.IsZero() || issuers.forPhones == "" {
		return nil, nil //nolint:nilnil // no limit is a valid setting
	}
	rates := map[string]enroll.Rate{issuers.forPhones: rate}
	if issuers.adcs != nil {
		// The RA in this process tries again by itself after a fault: it must not be faster either.
		rates[adcs.Name] = rate
	}
	return rates, nil
}

// warnOfFiles tells when the operating system allows fewer connections than the configuration does. Go has raised the
// soft limit to the hard one by then.
func (a *App) warnOfFiles(ctx context.Context) {
	const others = 64 // database, traces, connections to the CA
	most := a.config.CAPF.MaxConnections
	if limit, ok := openFiles(); ok && limit < uint64(most)+others {
		a.log.WarnContext(ctx, "fewer files may be open than connections", slog.String("event", "app.open_files"), slog.Uint64("limit", limit),
			slog.Int("max_connections", most), slog.String("remedy", "raise the limit (LimitNOFILE= in the systemd unit, ulimit -Hn), or set capf.max_connections lower"))
	}
}
