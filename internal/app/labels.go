package app

import (
	"cmp"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"time"

	"callsign/est"
	"callsign/internal/ca/local"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/ra"
)

// newRA makes the registration authority behind the EST listener: a label for each section [label.NAME], and the one of
// requests without a label.
func (g *generation) newRA() (*ra.RA, error) {
	c := g.config
	o := ra.Config{
		Engine: g.app.engine, CompatSequence: c.RA.CompatSequence, TemplateStatus: c.RA.TemplateStatus,
		AnswerWithin: c.RA.AnswerWithin, RetryAfter: c.RA.RetryAfter, PendingRetry: c.RA.PendingRetryAfter, Unavailable: c.RA.UnavailableRetry,
		DenialMemory: orOff(c.RA.RememberDenials), Keep: c.RA.Remember, Now: g.now, Log: g.log,
	}
	g.logins = map[string]*ra.Users{}
	w := labelMaker{g: g, cas: map[string][]*x509.Certificate{}}
	for _, l := range profiles(c) {
		made, err := w.label(l)
		if err != nil {
			return nil, err
		}
		o.Labels = append(o.Labels, made)
	}
	var err error
	if o.Reserved, err = g.ownNames(); err != nil {
		return nil, err
	}
	for _, file := range c.RA.RolloverFiles {
		certs, err := certfile.LoadCertificates(file)
		if err != nil {
			return nil, err
		}
		o.Rollover = append(o.Rollover, certs...)
	}
	revoked, err := g.newRevocation()
	if err != nil {
		return nil, err
	}
	o.Revoked = revoked.check
	if g.app.Records != nil { // nil while a configuration is only checked
		o.Owners = g.app.Records.Phones.CertificateOwners
	}
	if len(c.RA.Vouchers) > 0 {
		if o.Vouching, err = g.newVouching(); err != nil {
			return nil, err
		}
		o.Vouching.Revoked = revoked.check
	}
	r, err := ra.New(o)
	if err != nil {
		return nil, &Problem{ErrCode: "app.ra", Detail: err.Error(), Err: err, Fix: "correct the sections [ra] and [label.NAME]; callsign config validate shows them"}
	}
	return r, nil
}

// orOff turns a duration of the configuration, where 0 switches off, into one where a negative value does.
func orOff(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// profiles are the profiles by label: of section [ra], under the empty name, and of every section [label.NAME].
func profiles(c *config.Config) []config.Label {
	return append([]config.Label{{Profile: c.RA.Profile}}, c.Labels...)
}

// templates are the templates of AD CS by label, where one is named.
func templates(c *config.Config) map[string]string {
	all := map[string]string{}
	for _, l := range profiles(c) {
		if l.Authority == config.AuthorityADCS && l.Template != "" {
			all[l.Name] = l.Template
		}
	}
	return all
}

// localProfiles are what the local CA puts into the certificates of each label.
func localProfiles(c *config.Config) (map[string]local.Profile, error) {
	all := map[string]local.Profile{}
	for _, l := range profiles(c) {
		if l.Authority != config.AuthorityLocal {
			continue
		}
		usages, err := ra.UsageOIDs(l.Usages)
		if err != nil { // the configuration has been checked
			return nil, &Problem{ErrCode: "app.ra", Detail: err.Error(), Err: err, Fix: "correct the usages of " + section(l)}
		}
		all[l.Name] = local.Profile{ValidityDays: l.ValidityDays, Usages: usages}
	}
	return all, nil
}

// section is where a label stands in the configuration.
func section(l config.Label) string {
	if l.Name == "" {
		return "section [ra]"
	}
	return "section [label." + l.Name + "]"
}

// labelMaker makes labels, which share what they load from the same file.
type labelMaker struct {
	g   *generation
	cas map[string][]*x509.Certificate
}

func (m *labelMaker) label(l config.Label) (ra.Label, error) {
	g, p := m.g, l.Profile
	wrong := func(err error) error { // the configuration has been checked
		return &Problem{ErrCode: "app.ra", Detail: fmt.Sprintf("%s: %v", section(l), err), Err: err, Fix: "correct " + section(l)}
	}
	made := ra.Label{
		Name: l.Name, CALogin: p.CALogin, ClientName: p.ClientName, Clients: p.Clients, Registrars: p.Registrars,
		Rules: ra.Rules{
			Subject: p.Subject, SubjectIsName: p.SubjectIsName, SubjectHas: p.SubjectHas, Names: p.Names, Keys: p.Keys, Usages: p.Usages,
		},
		Approval: p.Approval, ReenrollGrace: p.ReenrollGrace,
	}
	var err error
	if p.Authority == config.AuthorityLocal {
		made.Authority = g.issuers.local
		if made.Former, err = m.former(); err != nil {
			return made, err
		}
	} else {
		made.Authority = g.issuers.adcs
	}
	if made.Authentication, err = ra.ParseAuthentication(p.Authentication); err != nil {
		return made, wrong(err)
	}
	if made.Rate, err = enroll.ParseRate(p.Rate); err != nil {
		return made, wrong(err)
	}
	if made.EST, err = profile(p, made.Rules); err != nil {
		return made, wrong(err)
	}
	made.Users = m.usersOf(cmp.Or(p.UsersFile, g.config.EST.UsersFile))
	made.ClientCAs, err = m.certificates(cmp.Or(p.ClientCAFile, g.config.EST.ClientCAFile))
	return made, err
}

// profile is how EST serves a label.
func profile(p config.Profile, rules ra.Rules) (est.Profile, error) {
	e := est.Profile{
		ChangeSubject: p.ChangeSubject,
		Lines:         map[string]est.LineForm{config.LinesBroken: est.LineBroken, config.LinesSingle: est.LineSingle}[p.Lines],
		Link:          map[string]est.LinkMode{config.LinkOptional: est.LinkOptional, config.LinkRequired: est.LinkRequired}[p.Link],
		KeyGeneration: map[string]est.KeyGeneration{config.KeygenOn: est.KeysInClear, config.KeygenEncrypted: est.KeysEncrypted}[p.ServerKeygen],
	}
	var err error
	switch p.CSRAttrs {
	case config.CSRAttrsAuto:
		e.Attributes, err = ra.Attributes(rules)
	case config.CSRAttrsNone:
	default:
		e.Attributes, err = base64.StdEncoding.DecodeString(p.CSRAttrs)
	}
	return e, err
}

// usersOf returns the users of a file: those of the generation before when it had the file, because they remember whose
// password was right, which costs time to find out.
func (m *labelMaker) usersOf(file string) *ra.Users {
	if file == "" {
		return nil
	}
	g := m.g
	if g.logins[file] == nil {
		if before := g.app.current(); before != nil && before.logins[file] != nil {
			g.logins[file] = before.logins[file]
		} else {
			g.logins[file] = &ra.Users{Path: file, Now: g.now, Log: g.log}
		}
	}
	return g.logins[file]
}

func (m *labelMaker) certificates(file string) ([]*x509.Certificate, error) {
	if file == "" {
		return nil, nil
	}
	if certs, ok := m.cas[file]; ok {
		return certs, nil
	}
	certs, err := certfile.LoadCertificates(file)
	m.cas[file] = certs
	return certs, err
}

// former are the certificates of the local CA before it was replaced.
func (m *labelMaker) former() ([]*x509.Certificate, error) {
	file := filepath.Join(filepath.Dir(m.g.config.CA.CertificateFile), local.FormerFile)
	certs, err := m.certificates(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return certs, err
}

func (g *generation) newVouching() (*ra.Vouching, error) {
	c := g.config.RA
	anchors, err := certfile.LoadCertificates(c.VoucherCAFile)
	if err != nil {
		return nil, err
	}
	responder, err := certfile.LoadKeyPair(c.ResponderCertificateFile, c.ResponderKeyFile)
	if err != nil {
		return nil, err
	}
	subject, err := regexp.Compile("^(?:" + c.VoucherSubject + ")$")
	if err != nil { // the configuration has been checked
		return nil, &Problem{ErrCode: "app.ra", Detail: err.Error(), Err: err, Fix: "set ra.voucher_subject to a regular expression"}
	}
	return &ra.Vouching{
		Anchors: anchors, Allow: c.Vouchers, Policy: &ra.Policy{Subject: subject}, Memory: g.app.store.RAMemory(), Window: orOff(c.CMCTimeWindow),
		Responder: responder.Key, ResponderChain: responder.Chain,
	}, nil
}
