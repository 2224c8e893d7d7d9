package app

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"callsign/certsrv"
	"callsign/certsrv/winauth"
	"callsign/chain"
	"callsign/internal/ca"
	"callsign/internal/ca/adcs"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/store"
)

// The codes of what only CheckCA finds.
const (
	codeRequestPending = "app.request-pending" // the CA keeps the request for its manager
	codeSuperseded     = "app.ca-superseded"   // a certificate of the CA that is not its newest is in use
)

// CAOptions say how far CheckCA goes.
type CAOptions struct {
	CheckOptions

	// Enroll also asks for a certificate, for a key that is thrown away. The CA keeps what it issues.
	Enroll bool
	// DryRun says with Enroll what would be asked for, and asks for nothing.
	DryRun bool
	// Template is the one to look for and to ask for; empty means those of the configuration.
	Template string
}

// CheckCA goes the way to the CA behind web enrollment step by step: DNS, connection, TLS, clock, authentication, login,
// templates, certificates, CRLs, the enrollment agent, what is known for the search after a lost answer, and, if asked, a
// request. It changes nothing but for that request.
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
		steps = append(steps, stepEnroll)
	}
	skip := k.skipper(steps, c.URL)
	if c.ClientCertificateFile != "" {
		k.pair(certificateKeys{"adcs client", "adcs.client_certificate_file", "adcs.client_key_file", c.ClientCertificateFile, c.ClientKeyFile}, clientUsage)
	}
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
	if !ok {
		skip(1, "there was no TLS connection")
		return
	}
	k.presented(steps[1], client.URL, g)
	answer := k.anonymous(ctx, steps[2], client)
	if answer == nil {
		skip(2, "there was no answer")
		return
	}
	k.clock(answer)
	if !k.authentication(steps[2], client, answer.status, winauth.Offered(answer.fields)) {
		skip(3, "the server does not offer the way in which we log in")
		return
	}
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
	k.renewed(ctx, "adcs renewals", client, certs)
	k.crlsOf(ctx, steps[6], client, certs)
	k.agent(certs)
	k.lostAnswers(ctx)
	switch {
	case !o.Enroll:
	case !fine && !client.SkipTemplateCheck:
		skip(7, "the template is not offered")
	default:
		k.enroll(ctx, client, templates, certs, o.DryRun)
	}
}

// presented says what the web server showed, which is known to be accepted.
func (k *checker) presented(name, object string, g greeting) {
	leaf := g.Path[0]
	until := ""
	if x := leaf.X509(); x != nil {
		until = ", " + k.until(x)
	}
	k.ok(name, object, "%s, %s issued by %s%s, accepted by %s in %s", tls.VersionName(g.Version), leaf.Subject(), leaf.Issuer(), until,
		g.Anchor.Certificate.Subject(), g.store)
	if x := leaf.X509(); x != nil && x.NotAfter.Sub(k.now()) < expiresSoon {
		k.dates(name, object, x)
	}
}

// authentication says what the web server offers to those who have not logged in, and what of it we use. It returns false
// when there is no use in trying.
func (k *checker) authentication(name string, client *certsrv.Client, status int, offered []string) bool {
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
		return false
	default:
		k.ok(name, client.URL, "the server offers %s; adcs.auth = %q", strings.Join(offered, ", "), k.c.ADCS.Auth)
	}
	return true
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

// renewed says how often the CA was renewed, which of its earlier certificates are published still, and whether what this
// machine hands out is the newest.
func (k *checker) renewed(ctx context.Context, name string, client *certsrv.Client, certs []*x509.Certificate) {
	n, err := client.Renewals(ctx)
	if err != nil {
		k.asked(name, client.URL, err)
		return
	}
	if len(certs) > 0 && !k.handedOut(name, certs[0]) {
		return
	}
	if n == 0 {
		k.ok(name, client.URL, "the CA was never renewed")
		return
	}
	text := fmt.Sprintf("the CA was renewed %d time%s; its newest certificate is used", n, plural(n))
	var former []string
	for i := 1; i < len(certs); i++ {
		if bytes.Equal(certs[i].RawSubject, certs[0].RawSubject) {
			former = append(former, certs[i].NotAfter.UTC().Format(time.DateOnly))
		}
	}
	if len(former) > 0 {
		text += fmt.Sprintf(", %d earlier one%s still handed out beside it (valid to %s)", len(former), map[bool]string{true: " is", false: "s are"}[len(former) == 1], strings.Join(former, ", "))
	}
	k.ok(name, client.URL, "%s", text)
}

// handedOut compares the file by which others verify certificates with the newest certificate of the CA. It is true also when
// there is no such file, or it is about another CA.
func (k *checker) handedOut(name string, newest *x509.Certificate) bool {
	file := filepath.Join(filepath.Dir(k.c.Store.Path), CAFile)
	have, err := certfile.LoadCertificates(file)
	if err != nil || !bytes.Equal(have[0].RawSubject, newest.RawSubject) || slices.ContainsFunc(have, newest.Equal) {
		return true
	}
	k.warn(name, file, codeSuperseded, fmt.Sprintf("it has an earlier certificate of %s (valid to %s), and the CA was renewed on %s", newest.Subject,
		have[0].NotAfter.UTC().Format(time.DateOnly), newest.NotBefore.UTC().Format(time.DateOnly)),
		"let the running server read it anew: callsign reload; it does so by itself once a day. Who verifies by a copy of the file needs the new one")
	return false
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
	above, err := certfile.LoadCertificates(c.AgentCertificateFile)
	if err != nil {
		return // it was read a moment ago
	}
	v := chain.Verifier{Anchors: chain.NewStoreX509(certs).Named("the CA's certificates"), Usage: chain.Any, Now: k.now}
	if r := v.Verify(chain.OfAll(append([]*x509.Certificate{leaf}, above...)), ""); r.Anchor == nil {
		k.warn("certificate adcs agent", c.AgentCertificateFile, codeChain, fmt.Sprintf("%s was issued by %s, and its chain does not end at a certificate of this CA's", leaf.Subject, leaf.Issuer),
			"enrol the agent at this CA (template Enrollment Agent), or see that its CA is in the store NTAuth: certutil -viewstore -enterprise NTAuth")
	}
}

// lostAnswers says from which number on the certificate of a request is looked for whose answer was lost.
func (k *checker) lostAnswers(ctx context.Context) {
	const name = "lost answers"
	path := k.c.Store.Path
	version, newest, err := store.Check(ctx, path)
	var highest int64
	switch {
	case err != nil:
		k.failed(name, path, err)
		return
	case version > 0 && version < newest:
		k.skip(name, path, "the database has an older schema, which the next start of the server brings up to date")
		return
	case version > 0:
		if highest, err = store.HighestRequestID(ctx, path, adcs.Name); err != nil {
			k.failed(name, path, err)
			return
		}
	}
	if highest == 0 {
		k.ok(name, path, "no request of this CA is on record yet; where its numbers are above %d, the answer to the very first one cannot be found again once lost: enrol one device before the rest",
			k.c.ADCS.LostAnswerIDs)
		return
	}
	k.ok(name, path, "request %d is the highest on record; the certificate of a lost answer is looked for among the %d after it", highest, k.c.ADCS.LostAnswerIDs)
}

// stepEnroll is the step with a request.
const stepEnroll = "adcs enroll"

// usualShape is how requests of this configuration go to the CA: those of phones where there are any, since their keys are
// what CAs are particular about.
func (k *checker) usualShape() adcs.Shape {
	c := k.c
	phones := c.ServesCAPF() && c.CAPF.Issuer == config.IssuerOnlineCA && c.CAPF.RAURL == "" || c.EST.Listen != "" && len(c.RA.Vouchers) > 0
	switch {
	case phones && c.ADCS.AgentCertificateFile != "" && c.ADCS.Vouch == config.VouchOnBehalf:
		return adcs.ShapeCMCOnBehalf
	case phones && c.ADCS.AgentCertificateFile != "" && c.ADCS.Vouch == config.VouchAgentOnly:
		return adcs.ShapeAgentOnly
	case phones && c.ADCS.AgentCertificateFile != "":
		return adcs.ShapeSupplied
	case c.ADCS.SignRequests == config.SignCMC:
		return adcs.ShapeCMCSigned
	case c.ADCS.SignRequests == config.SignPKCS7:
		return adcs.ShapePKCS7
	}
	return adcs.ShapePKCS10
}

// enroll asks for a certificate in the way in which requests of devices go to the CA.
func (k *checker) enroll(ctx context.Context, client *certsrv.Client, templates []string, certs []*x509.Certificate, dry bool) {
	template := ""
	if len(templates) > 0 {
		template = templates[0]
	}
	object := cmp.Or(template, client.URL)
	shape := k.usualShape()
	switch {
	case shape.OnBehalf():
		k.skip(stepEnroll, object, `requests are on behalf of accounts, and this one would need one: callsign ra probe --requester 'DOMAIN\NAME$'`)
		return
	case dry:
		k.skip(stepEnroll, object, fmt.Sprintf("dry run: it would ask as %s for a certificate of a throw-away key (%s: %s)", client.Auth.User, shape, shape.Meaning()))
		return
	case shape.ByAgent() && k.lacks("adcs.agent_certificate_file", "adcs.agent_key_file"):
		k.skip(stepEnroll, object, "a file of the enrollment agent cannot be used")
		return
	}
	probe, err := k.build.probe(client, template, "")
	if err != nil {
		k.failed(stepEnroll, object, err)
		return
	}
	probe.Only, probe.CommonName = []adcs.Shape{shape}, "Callsign check"
	trials, err := probe.Run(ctx)
	if err != nil {
		k.failed(stepEnroll, object, err)
		return
	}
	for i := range trials {
		if trials[i].Shape == shape {
			k.trial(object, &trials[i], certs)
		}
	}
}

// trial reports what became of a request.
func (k *checker) trial(object string, t *adcs.Trial, certs []*x509.Certificate) {
	number, serial := t.RequestID, t.Serial()
	add := func(s Step) {
		s.Name, s.Object, s.RequestID, s.Serial = stepEnroll, object, number, serial
		k.add(s)
	}
	switch {
	case t.Err != nil:
		k.failed(stepEnroll, object, t.Err)
	case t.Outcome == certsrv.Issued:
		issued := fmt.Sprintf("request %s (%s) issued, serial %s, %s; revoke it on the CA: certutil -revoke %s", number, t.Shape, serial, k.until(t.Certificate), serial)
		lacks := ca.LackingUsages(t.Certificate)
		switch {
		case len(certs) > 0 && t.Certificate.CheckSignatureFrom(certs[0]) != nil:
			add(Step{
				Status: StatusWarn, Code: codeSuperseded,
				Detail: issued + fmt.Sprintf("; its issuer %s did not sign it with the key of the newest CA certificate that the server gives", t.Certificate.Issuer),
				Remedy: "restart CertSvc on the CA, and compare the newest CA certificate of the pages (certcarc.asp) with that of the CA console",
			})
		case t.Shape.Bare() && len(lacks) > 0:
			add(Step{
				Status: StatusWarn, Code: adcs.CodeCertificateUsage, Detail: issued + "; it lacks what phones need: " + strings.Join(lacks, ", "),
				Remedy: fmt.Sprintf("add it to the extensions of template %q (Key Usage, Application Policies)", object),
			})
		default:
			add(Step{Status: StatusOK, Detail: issued})
		}
	case t.Outcome == certsrv.Pending:
		add(Step{
			Status: StatusWarn, Code: codeRequestPending, Detail: fmt.Sprintf("the CA keeps request %s (%s) for its manager", number, t.Shape),
			Remedy: "decide on it in the Certification Authority console, Pending Requests; certificates of devices will wait in the same way",
		})
	default:
		add(Step{Status: StatusFail, Code: t.Code(), Detail: t.Refusal(), Remedy: t.Status.Remedy})
	}
}

// RequestPending tells whether the request of CheckCA waits for the CA's manager.
func RequestPending(steps []Step) bool {
	return slices.ContainsFunc(steps, func(s Step) bool { return s.Code == codeRequestPending })
}
