package app

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"os"
	"strings"

	"callsign/certsrv"
	"callsign/certsrv/winauth"
	"callsign/cmc"
	"callsign/est"
	"callsign/internal/ca"
	"callsign/internal/ca/adcs"
	"callsign/internal/ca/local"
	"callsign/internal/ca/offline"
	"callsign/internal/ca/upstream"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/secret"
)

// noIssuer is the issuer whose O, OU and so on are copied into a subject when the CA is somebody else's: the CA's
// template decides what else the subject has.
var noIssuer = pkix.Name{}

// issuers are the authorities that the configuration uses.
type issuers struct {
	byName map[string]ca.Authority
	// forPhones is the name of the one that CAPF uses; empty without CAPF.
	forPhones string
	local     *localCA
	adcs      *adcs.Authority
	upstream  *upstream.Authority
	offline   *offline.Authority
	web       *certsrv.Client // of adcs
	ra        *est.Client     // of upstream
}

// localCA is the local authority with the certificate that signs.
type localCA struct {
	*local.Authority
	Issuer local.Issuer
}

// closeRA closes the idle connections to the RA; CAPF needs them no more.
func (i *issuers) closeRA() {
	if i.ra != nil {
		i.ra.Close()
	}
}

func (i *issuers) close() {
	i.closeRA()
	if i.web != nil {
		_ = i.web.Close() // idle connections
	}
}

// openIssuers loads certificates and keys of every authority in use. It asks no peer.
func (g *generation) openIssuers() (*issuers, error) {
	c := g.config
	i := &issuers{byName: map[string]ca.Authority{}}
	if c.UsesLocalCA() {
		l, err := g.openLocal()
		if err != nil {
			return nil, err
		}
		i.local, i.byName[local.Name] = l, l
	}
	if c.UsesADCS() {
		w, client, err := g.openADCS()
		if err != nil {
			return nil, err
		}
		i.adcs, i.byName[adcs.Name] = w, w
		i.web = client
	}
	if c.ServesCAPF() && c.CAPF.Issuer == config.IssuerOnlineCA && c.CAPF.RAURL != "" {
		u, client, err := g.openUpstream()
		if err != nil {
			return nil, err
		}
		i.upstream, i.byName[upstream.Name] = u, u
		i.ra = client
	}
	if c.ServesCAPF() {
		switch {
		case c.CAPF.Issuer == config.IssuerLocal:
			i.forPhones = local.Name
		case c.CAPF.Issuer == config.IssuerOffline:
			o, err := g.openOffline()
			if err != nil {
				return nil, err
			}
			i.offline, i.byName[offline.Name] = o, o
			i.forPhones = offline.Name
		case c.CAPF.RAURL != "":
			i.forPhones = upstream.Name
		default:
			i.forPhones = adcs.Name
		}
	}
	return i, nil
}

func (g *generation) openLocal() (*localCA, error) {
	c := g.config
	pair, err := certfile.LoadKeyPair(c.CA.CertificateFile, c.CA.KeyFile)
	if err != nil {
		return nil, err
	}
	above := pair.Chain[1:]
	if c.CA.ChainFile != "" {
		if above, err = certfile.LoadCertificates(c.CA.ChainFile); err != nil {
			return nil, err
		}
	}
	labels, err := localProfiles(c)
	if err != nil {
		return nil, err
	}
	authority, err := local.New(local.Config{
		Certificate: pair.Leaf(), Signer: pair.Key, Chain: above, ValidityDays: c.CAPF.ValidityDays,
		Keys: local.KeyPolicy{MinRSABits: c.CA.MinRSABits}, Labels: labels, Now: g.now, Log: g.log,
	})
	if err != nil {
		return nil, &Problem{ErrCode: "app.local-ca", Detail: err.Error(), Err: err, Fix: localFix(pair.Leaf(), c.CAPF.ValidityDays)}
	}
	return &localCA{Authority: authority, Issuer: local.Issuer{Certificate: pair.Leaf(), Signer: pair.Key, Chain: above}}, nil
}

// localFix says what to do about a CA that cannot sign. That the key belongs to the certificate is known by then.
func localFix(leaf *x509.Certificate, days int) string {
	switch {
	case days < local.MinValidityDays || days > local.MaxValidityDays:
		return fmt.Sprintf("set capf.validity_days to %d to %d", local.MinValidityDays, local.MaxValidityDays)
	case !leaf.BasicConstraintsValid || !leaf.IsCA:
		return "name the certificate of a CA in ca.certificate_file, and its key in ca.key_file: this one belongs to a server, a user or a device"
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageCertSign == 0:
		return "have the CA certificate issued again with the key usages keyCertSign and cRLSign, and name it in ca.certificate_file"
	default:
		return "use a CA with an RSA key or an EC key on P-256, P-384 or P-521 in ca.certificate_file and ca.key_file"
	}
}

// newCertsrv makes the client of web enrollment.
func (g *generation) newCertsrv() (*certsrv.Client, error) {
	c := g.config.ADCS
	auth, err := adcsAccount(c)
	if err != nil {
		return nil, err
	}
	tc, err := g.peerTLS(c.URL, "adcs.ca_file", c.CAFile)
	if err != nil {
		return nil, err
	}
	if c.ClientCertificateFile != "" {
		if err := showClient(tc, c.ClientCertificateFile, c.ClientKeyFile); err != nil {
			return nil, err
		}
	}
	client := &certsrv.Client{
		URL: c.URL, Auth: auth, TLS: tc, UserAgent: c.UserAgent, SPN: c.SPN, NoChannelBinding: !c.ChannelBinding,
		Compat: g.config.RA.CompatSequence, ConnectTimeout: c.ConnectTimeout, LoginTimeout: c.LoginTimeout,
		FetchTimeout: c.FetchTimeout, SubmitTimeout: c.SubmitTimeout, SkipTemplateCheck: c.SkipTemplateCheck, Log: g.log, Now: g.now,
	}
	if c.ConnectTo != "" {
		client.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, c.ConnectTo)
		}
	}
	return client, nil
}

// adcsAccount is the account that logs in to web enrollment, with its secret.
func adcsAccount(c config.ADCS) (winauth.Credentials, error) {
	out := winauth.Credentials{User: c.Username}
	if c.PasswordFile != "" {
		password, err := secret.FromFile(c.PasswordFile)
		if err != nil {
			return out, err
		}
		out.Password = winauth.NewPassword([]byte(password.Reveal()))
	}
	switch c.Auth {
	case config.AuthBasic:
		out.Method = winauth.Basic
		return out, nil
	case config.AuthNTLM:
		return out, nil
	}
	k := winauth.KerberosConfig{User: c.Username, Password: out.Password, Realm: c.Realm, KDCs: c.KDCs, Timeout: c.ConnectTimeout}
	if c.KeytabFile != "" {
		b, err := secret.BytesFromFile(c.KeytabFile)
		if err != nil {
			return out, err
		}
		if k.Keytab, err = winauth.ParseKeytab(b.Reveal()); err != nil {
			return out, &Problem{
				ErrCode: "app.keytab", Detail: fmt.Sprintf("adcs.keytab_file (%s): %v", c.KeytabFile, err), Err: err,
				Fix: "export the keytab of the account again: ktpass on a domain controller, or ktutil",
			}
		}
	}
	if c.Krb5File != "" {
		b, err := os.ReadFile(c.Krb5File)
		if err != nil {
			return out, &Problem{ErrCode: "app.krb5", Detail: fmt.Sprintf("adcs.krb5_file: %v", err), Err: err, Fix: "name a krb5.conf that this process may read, or set adcs.kerberos_realm and adcs.kdcs in its place"}
		}
		k.Krb5Conf = b
	}
	tickets, err := winauth.NewKerberos(k)
	if err != nil {
		return out, err
	}
	return tickets.Credentials(), nil
}

func (g *generation) openADCS() (*adcs.Authority, *certsrv.Client, error) {
	c := g.config.ADCS
	client, err := g.newCertsrv()
	if err != nil {
		return nil, nil, err
	}
	o := adcs.Config{
		Client: client, Template: c.Template, Templates: templates(g.config), Shape: cmc.Supplied, Total: c.TotalTimeout,
		Tried: c.LostAnswerIDs, Missing: c.LostAnswerMissing, Now: g.now, Log: g.log,
	}
	if err := vouching(&o, c); err != nil {
		return nil, nil, err
	}
	if c.AgentCertificateFile != "" {
		pair, err := certfile.LoadKeyPair(c.AgentCertificateFile, c.AgentKeyFile)
		if err != nil {
			return nil, nil, err
		}
		o.Agent, o.AgentChain = pair.Key, pair.Chain
	}
	authority, err := adcs.New(o)
	if err != nil {
		return nil, nil, &Problem{ErrCode: "app.adcs", Detail: err.Error(), Err: err, Fix: "name the enrollment agent in adcs.agent_certificate_file and adcs.agent_key_file"}
	}
	return authority, client, nil
}

// vouching says what an enrollment agent signs, and how.
func vouching(o *adcs.Config, c config.ADCS) error {
	switch c.Vouch {
	case config.VouchAgentOnly:
		o.Shape = cmc.AgentOnly
	case config.VouchOnBehalf:
		o.OnBehalf = true
	}
	switch c.SignRequests {
	case config.SignCMC:
		o.SignRequests = adcs.SignCMC
	case config.SignPKCS7:
		o.SignRequests = adcs.SignPKCS7
	}
	if c.Requester == "" {
		return nil
	}
	var err error
	o.Account, err = cmc.ParseAccountPattern(c.Requester, c.RequesterNames)
	return err // of a text that was checked when it was read
}

func (g *generation) openUpstream() (*upstream.Authority, *est.Client, error) {
	c := g.config.CAPF
	tc, err := g.peerTLS(c.RAURL, "capf.ra_ca_file", c.RACAFile)
	if err != nil {
		return nil, nil, err
	}
	voucher, err := certfile.LoadKeyPair(c.RACertificateFile, c.RAKeyFile)
	if err != nil {
		return nil, nil, err
	}
	responderFile := c.RAResponderCAFile
	if responderFile == "" {
		responderFile = c.RACAFile
	}
	responders, err := certfile.LoadCertificates(responderFile)
	if err != nil {
		return nil, nil, err
	}
	client := &est.Client{URL: c.RAURL, TLS: tc, ConnectTimeout: c.RAConnectTimeout, Timeout: c.RATimeout, Log: g.log}
	authority, err := upstream.New(upstream.Config{
		Client: client, Voucher: voucher.Key, VoucherChain: voucher.Chain, Responders: responders, Now: g.now, Log: g.log,
	})
	if err != nil {
		return nil, nil, &Problem{ErrCode: "app.upstream", Detail: err.Error(), Err: err, Fix: "name certificates in capf.ra_certificate_file and in capf.ra_ca_file or capf.ra_responder_ca_file"}
	}
	return authority, client, nil
}

// openOffline makes the authority whose requests are exported and whose certificates are imported.
func (g *generation) openOffline() (*offline.Authority, error) {
	certs, err := IssuingCA(g.config)
	if err != nil {
		return nil, err
	}
	return offline.New(certs), nil
}

// ownNames are the names in the certificates of our listeners. Whoever got one of them from the CA that clients trust for
// us could stand in for us.
func (g *generation) ownNames() ([]string, error) {
	c := g.config
	var names []string
	for _, l := range []struct{ listen, file string }{{c.EST.Listen, c.EST.CertificateFile}, {c.CAPF.Listen, c.CAPF.CertificateFile}} {
		if l.listen == "" {
			continue
		}
		certs, err := certfile.LoadCertificates(l.file)
		if err != nil {
			return nil, err
		}
		names = append(append(names, certs[0].Subject.CommonName), certs[0].DNSNames...)
		for _, ip := range certs[0].IPAddresses {
			names = append(names, ip.String())
		}
	}
	return names, nil
}

// libEST gives the number under which the CAPF trace shows a failed enrolment: that of the EST exchange where there was
// one, else what the exchange would have brought had the RA been a process of its own.
func libEST(f *enroll.Failure) (int, string) {
	if strings.HasPrefix(f.Code, upstream.Name+".") {
		return upstream.LibEST(f.Code, f.Detail)
	}
	n := est.LibESTUnknown
	switch {
	case f.Timeout:
		n = est.LibESTSSLRead
	case strings.HasSuffix(f.Code, ".template-not-offered"), strings.HasSuffix(f.Code, ".not-authenticated"):
		n = est.LibESTAuthFail
	}
	return int(n), n.String()
}
