package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"callsign/certsrv"
	"callsign/certsrv/winauth"
	"callsign/chain"
	"callsign/internal/ca/adcs"
	"callsign/internal/config"
)

// codeRequestPending is what CheckCA says of a request that the CA keeps for its manager.
const codeRequestPending = "app.request-pending"

// CAOptions say how far CheckCA goes.
type CAOptions struct {
	CheckOptions

	// Enroll also asks for a certificate, for a key that is thrown away. The CA keeps what it issues.
	Enroll bool
	// Template is the one to look for and to ask for; empty means those of the configuration.
	Template string
}

// CheckCA goes the way to the CA behind web enrollment step by step: DNS, connection, TLS, clock, authentication, login,
// templates, certificates, CRLs, the enrollment agent, and, if asked, a request. It changes nothing but for that request.
func CheckCA(ctx context.Context, c *config.Config, o CAOptions) []Step {
	k := &checker{c: c, now: o.Now, tell: o.Step, missing: map[string]bool{}}
	if k.now == nil {
		k.now = time.Now
	}
	k.build = &generation{config: c, now: k.now, log: slog.New(slog.DiscardHandler)}
	k.adcsFiles()
	k.ca(ctx, o)
	return k.steps
}

// adcsFiles reports the files of section [adcs] that cannot be used.
func (k *checker) adcsFiles() {
	problems, ok := errors.AsType[config.Errors](k.c.CheckFiles())
	if !ok {
		return
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Key, "adcs.") {
			k.missing[p.Key] = true
			k.fail("file", p.Key, p.Code(), p.Error(), p.Remedy())
		}
	}
}

// ca makes the steps of CheckCA. Each needs those before it.
func (k *checker) ca(ctx context.Context, o CAOptions) {
	c := k.c.ADCS
	steps := []string{"adcs connect", "adcs tls", "adcs authentication", "adcs login", "adcs templates", "adcs chain", "adcs crl"}
	if o.Enroll {
		steps = append(steps, "adcs enroll")
	}
	skip := k.skipper(steps, c.URL)
	client := k.webEnrollment(steps[0])
	if client == nil {
		skip(0, "section [adcs] cannot be used")
		return
	}
	defer func() { _ = client.Close() }() // idle connections
	if !k.resolve(ctx, "adcs dns", c.URL, c.ConnectTo) {
		skip(0, "the host has no address")
		return
	}
	g, ok := k.greet(ctx, steps[0], steps[1], client)
	if g.Presented != nil {
		k.ok(steps[0], client.URL, "%s", g.Remote)
	}
	if !ok {
		skip(0, "there was no connection")
		return
	}
	k.presented(steps[1], client.URL, g)
	answer := k.anonymous(ctx, steps[2], client)
	if answer == nil {
		skip(2, "there was no answer")
		return
	}
	k.clock(answer)
	k.authentication(steps[2], client, answer.status, winauth.Offered(answer.fields))
	if !k.login(ctx, steps[3], client) {
		skip(4, "the login failed")
		return
	}
	templates := k.templates()
	if o.Template != "" {
		templates = []string{o.Template}
	}
	fine := k.templateList(ctx, steps[4], client, templates)
	certs := k.adcsChain(ctx, steps[5], client)
	k.renewed(ctx, "adcs renewals", client)
	k.crlsOf(ctx, steps[6], client, certs)
	k.agent(certs)
	switch {
	case !o.Enroll:
	case !fine && !client.SkipTemplateCheck:
		skip(7, "the template is not offered")
	default:
		k.enroll(ctx, steps[7], client, templates)
	}
}

// presented says what the web server showed, which is known to be accepted.
func (k *checker) presented(name, object string, g greeting) {
	leaf := g.Path[0]
	until := ""
	if x := leaf.X509(); x != nil {
		until = ", " + k.until(x)
	}
	k.ok(name, object, "%s, certificate %s of %s%s, accepted by %s", tls.VersionName(g.Version), leaf.Subject(), leaf.Issuer(), until, g.store)
	if x := leaf.X509(); x != nil && x.NotAfter.Sub(k.now()) < expiresSoon {
		k.dates(name, object, x)
	}
}

// authentication says what the web server offers to those who have not logged in, and what of it we use.
func (k *checker) authentication(name string, client *certsrv.Client, status int, offered []string) {
	method := client.Auth.Method
	needs := method.String()
	has := slices.ContainsFunc(offered, func(s string) bool {
		return strings.EqualFold(s, needs) || method == winauth.NTLM && strings.EqualFold(s, winauth.Negotiate.String())
	})
	switch {
	case len(offered) == 0:
		k.warn(name, client.URL, certsrv.CodeLoginNotAsked, fmt.Sprintf("the server answers %d to a request without a login, and asks for none", status),
			"switch Anonymous Authentication off for the virtual directory certsrv and Windows Authentication on")
	case !has:
		k.fail(name, client.URL, certsrv.CodeNotAuthenticated, fmt.Sprintf("the server offers %s, and adcs.auth = %q needs %s", strings.Join(offered, ", "), k.c.ADCS.Auth, needs),
			fixOffer(method))
	default:
		k.ok(name, client.URL, "the server offers %s; adcs.auth = %q", strings.Join(offered, ", "), k.c.ADCS.Auth)
	}
}

// fixOffer is what to do when a web server does not offer what we need.
func fixOffer(m winauth.Method) string {
	switch m {
	case winauth.Basic:
		return "install the Windows feature Basic Authentication and switch it on for certsrv in IIS, or set adcs.auth to what is offered"
	case winauth.Negotiate:
		return "add the provider Negotiate in IIS (certsrv, Authentication, Windows Authentication, Providers), or set adcs.auth to what is offered"
	case winauth.NTLM:
	}
	return "add the provider NTLM in IIS (certsrv, Authentication, Windows Authentication, Providers), or set adcs.auth to what is offered"
}

// templateList lists what is offered and looks for those that are needed; false when one is missing.
func (k *checker) templateList(ctx context.Context, name string, client *certsrv.Client, needed []string) bool {
	list, err := client.Templates(ctx)
	if err != nil {
		k.asked(name, client.URL, err)
		return false
	}
	if list.Standalone {
		k.ok(name, client.URL, "a standalone CA: it knows no templates, and a manager decides on each request")
		return true
	}
	k.ok(name, client.URL, "offered to %s: %s", client.Auth.User, strings.Join(list.Names(), ", "))
	fine := true
	for _, template := range needed {
		if !k.offered(ctx, "adcs template", client, template) {
			fine = false
		}
	}
	return fine
}

// renewed says how often the CA was renewed.
func (k *checker) renewed(ctx context.Context, name string, client *certsrv.Client) {
	n, err := client.Renewals(ctx)
	switch {
	case err != nil:
		k.asked(name, client.URL, err)
	case n == 0:
		k.ok(name, client.URL, "the CA was never renewed")
	default:
		k.ok(name, client.URL, "the CA was renewed %d time%s; its newest certificate is used", n, plural(n))
	}
}

// crlsOf fetches the CRLs of the newest certificate of the CA and judges them by it.
func (k *checker) crlsOf(ctx context.Context, name string, client *certsrv.Client, certs []*x509.Certificate) {
	for _, delta := range []bool{false, true} {
		kind, step := "base", name
		if delta {
			kind, step = "delta", "adcs delta crl"
		}
		list, err := client.CRL(ctx, certsrv.NewestRenewal, delta)
		if p, ok := errors.AsType[*certsrv.Problem](err); ok && delta && (p.ErrCode == certsrv.CodeNoCRL || p.ErrCode == certsrv.CodeNotFound) {
			k.skip(step, client.URL, "the CA publishes no delta CRL")
			continue
		}
		if err != nil {
			k.asked(step, client.URL, err)
			continue
		}
		k.crlOf(step, client.URL, kind, list, certs)
	}
}

func (k *checker) crlOf(step, object, kind string, list *x509.RevocationList, certs []*x509.Certificate) {
	now := k.now()
	switch {
	case len(certs) > 0 && list.CheckSignatureFrom(certs[0]) != nil:
		k.fail(step, object, codeCRL, fmt.Sprintf("the %s CRL of %s is not signed by %s", kind, list.Issuer, certs[0].Subject),
			"publish a new CRL on the CA: certutil -crl")
	case !list.NextUpdate.IsZero() && now.After(list.NextUpdate):
		k.fail(step, object, codeCRL, fmt.Sprintf("the %s CRL was to be replaced by %s; this machine's clock says %s", kind, utc(list.NextUpdate), utc(now)),
			"publish a new CRL on the CA (certutil -crl), and find out why it did not by itself: verifiers that check revocation refuse its certificates")
	default:
		k.ok(step, object, "%s CRL number %v, %d revoked, next update %s", kind, list.Number, len(list.RevokedCertificateEntries), utc(list.NextUpdate))
	}
}

// agent judges the enrollment agent's certificate, also whether it is of this CA.
func (k *checker) agent(certs []*x509.Certificate) {
	c := k.c.ADCS
	if c.AgentCertificateFile == "" {
		return
	}
	leaf := k.pair(certificateKeys{"adcs agent", "adcs.agent_certificate_file", "adcs.agent_key_file", c.AgentCertificateFile, c.AgentKeyFile}, agentUsage)
	if leaf == nil || len(certs) == 0 {
		return
	}
	v := chain.Verifier{Anchors: chain.NewStoreX509(certs).Named("the CA's certificates"), Usage: chain.Any, Now: k.now}
	if r := v.Verify([]*chain.Certificate{chain.Of(leaf)}, ""); r.Anchor == nil {
		k.warn("certificate adcs agent", c.AgentCertificateFile, codeChain, fmt.Sprintf("%s was issued by %s, which is none of this CA's certificates", leaf.Subject, leaf.Issuer),
			"enrol the agent at this CA (template Enrollment Agent), or see that its CA is in the store NTAuth: certutil -viewstore -enterprise NTAuth")
	}
}

// enroll asks for a certificate in the way in which requests of devices go to the CA.
func (k *checker) enroll(ctx context.Context, name string, client *certsrv.Client, templates []string) {
	template := ""
	if len(templates) > 0 {
		template = templates[0]
	}
	probe, err := k.build.probe(client, template, "")
	if err != nil {
		k.failed(name, client.URL, err)
		return
	}
	probe.Only = []adcs.Shape{adcs.ShapePKCS10}
	if k.c.ADCS.SignRequests == config.SignCMC && probe.Agent != nil {
		probe.Only = []adcs.Shape{adcs.ShapeCMCSigned}
	}
	trials, err := probe.Run(ctx)
	if err != nil {
		k.failed(name, client.URL, err)
		return
	}
	for i := range trials {
		if trials[i].Skipped == "" {
			k.trial(name, template, &trials[i])
		}
	}
}

// trial reports what became of a request.
func (k *checker) trial(name, template string, t *adcs.Trial) {
	switch {
	case t.Err != nil:
		k.failed(name, template, t.Err)
	case t.Outcome == certsrv.Issued:
		k.ok(name, template, "request %s issued, serial %s, valid to %s; revoke it on the CA: certutil -revoke %s", t.RequestID, t.Serial(),
			t.Certificate.NotAfter.UTC().Format(time.DateOnly), t.Serial())
	case t.Outcome == certsrv.Pending:
		k.warn(name, template, codeRequestPending, fmt.Sprintf("the CA keeps request %s for its manager", t.RequestID),
			"decide on it in the Certification Authority console, Pending Requests; certificates of devices will wait in the same way")
	default:
		detail := fmt.Sprintf("the CA answers %s: %s", t.Outcome, t.Status.Meaning)
		if t.RequestID != "" {
			detail = fmt.Sprintf("the CA answers %s to request %s: %s", t.Outcome, t.RequestID, t.Status.Meaning)
		}
		if t.Status.HResult != 0 {
			detail += " (" + t.Status.HResult.Full() + ")"
		}
		if t.Message != "" {
			detail += fmt.Sprintf("; the CA says: %q", t.Message)
		}
		k.fail(name, template, certsrv.CodeDenied, detail, t.Status.Remedy)
	}
}

// RequestPending tells whether the request of CheckCA waits for the CA's manager.
func RequestPending(steps []Step) bool {
	return slices.ContainsFunc(steps, func(s Step) bool { return s.Code == codeRequestPending })
}
