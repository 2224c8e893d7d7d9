package app

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"callsign/certsrv"
	"callsign/chain"
	"callsign/internal/ca/adcs"
	"callsign/internal/probe"
)

// tolerated is how far the clocks of AD CS and of this machine may differ: beyond it certificates begin in somebody's
// future.
const tolerated = 5 * time.Minute

// leastGreeting is for how long a web server is waited for at least, in each of its answers before the login.
const leastGreeting = 10 * time.Second

// adcs asks web enrollment for everything but a certificate. Each step needs those before it. CheckCA does the same in more
// detail.
func (k *checker) adcs(ctx context.Context) {
	c := k.c.ADCS
	steps := []string{"adcs connect", "adcs login", "adcs template", "adcs chain"}
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
	answer := k.connect(ctx, steps[0], client)
	if answer == nil {
		skip(1, "there was no connection")
		return
	}
	k.ok(steps[0], client.URL, "TLS and web server answer, HTTP status %d", answer.status)
	k.clock(answer)
	if !k.login(ctx, steps[1], client) {
		skip(2, "the login failed")
		return
	}
	for _, template := range k.templates() {
		k.offered(ctx, steps[2], client, template)
	}
	k.adcsChain(ctx, steps[3], client)
}

// skipper returns what reports steps from one on as not tried. Those that were reported before are passed over.
func (k *checker) skipper(steps []string, object string) func(from int, why string) {
	return func(from int, why string) {
		for _, s := range steps[from:] {
			if !k.reported(s) {
				k.skip(s, object, why)
			}
		}
	}
}

func (k *checker) reported(name string) bool {
	for i := range k.steps {
		if k.steps[i].Name == name {
			return true
		}
	}
	return false
}

// webEnrollment makes the client that a running server would have. It is nil, and step or the file says why, when section
// [adcs] cannot be used.
func (k *checker) webEnrollment(step string) *certsrv.Client {
	if k.lacks("adcs.password_file", "adcs.keytab_file", "adcs.krb5_file", "adcs.ca_file", "adcs.client_certificate_file", "adcs.client_key_file") {
		return nil // the file was reported
	}
	client, err := k.build.newCertsrv()
	if err != nil {
		k.failed(step, k.c.ADCS.URL, err)
		return nil
	}
	return client
}

// connect looks at the web server's certificate and asks for a page without credentials, in one step. It returns the answer,
// nil when there is none.
func (k *checker) connect(ctx context.Context, name string, client *certsrv.Client) *answerHeader {
	if _, ok := k.greet(ctx, name, name, client); !ok {
		return nil
	}
	return k.anonymous(ctx, name, client)
}

// asked reports an error of web enrollment with the keys of the configuration to set.
func (k *checker) asked(name, object string, err error) {
	p, ok := errors.AsType[*certsrv.Problem](err)
	if !ok {
		k.failed(name, object, err)
		return
	}
	k.fail(name, object, p.Code(), p.Error(), adcs.Remedy(p))
}

// greeting is what the web server presents, and what is to be said of it.
type greeting struct {
	*probe.Presented
	judgement
}

// greet looks at the web server as its clients see it before they send anything. tcp and handshake name the steps that a
// failure belongs to. When it returns true the client will accept what is presented.
func (k *checker) greet(ctx context.Context, tcp, handshake string, client *certsrv.Client) (greeting, bool) {
	var g greeting
	judge, err := k.build.peerJudge(client.URL, "adcs.ca_file", k.c.ADCS.CAFile)
	if err != nil {
		k.failed(handshake, client.URL, err)
		return g, false
	}
	t := probe.Target{Address: addressOf(client.URL), ConnectTo: k.c.ADCS.ConnectTo, Timeout: max(client.ConnectTimeout, leastGreeting)}
	connected := func(remote string) {
		if tcp != handshake {
			k.ok(tcp, client.URL, "%s", remote)
		}
	}
	g.Presented, err = probe.Handshake(ctx, t)
	e, told := errors.AsType[*probe.Error](err)
	switch {
	case err == nil:
		connected(g.Remote)
	case told && (e.ErrCode == probe.CodeCannotConnect || e.ErrCode == probe.CodeTimeout && !e.Connected):
		k.fail(tcp, client.URL, codeUnreachable, e.Error(), e.Fix+"; see for yourself: curl -vk "+client.URL)
		return g, false
	case told && !e.Connected:
		k.failed(tcp, client.URL, err)
		return g, false
	case told:
		connected(cmp.Or(t.ConnectTo, t.Address))
		k.fail(handshake, client.URL, e.ErrCode, e.Error(), e.Fix+" (adcs.url)")
		return g, false
	default:
		k.failed(handshake, client.URL, err)
		return g, false
	}
	g.judgement = judge(chain.ParseAll(g.Certificates))
	if k.refused(server{handshake, client.URL, "adcs.url", certsrv.CodeUntrusted, certsrv.CodeWrongName}, g.Err()) {
		return g, false
	}
	demanded := g.ClientCertificate == probe.Demanded
	switch {
	case demanded && client.TLS.GetClientCertificate == nil:
		k.fail(handshake, client.URL, certsrv.CodeTLSFailed, "the web server demands a client certificate, and adcs.client_certificate_file is not set",
			"name a certificate for client authentication in adcs.client_certificate_file and its key in adcs.client_key_file, or set SSL Settings, Client certificates to Ignore for certsrv in IIS")
		return g, false
	case g.Version < tls.VersionTLS12:
		k.fail(handshake, client.URL, certsrv.CodeTLSFailed, fmt.Sprintf("the web server speaks %s, and TLS 1.2 is the least that is spoken here", tls.VersionName(g.Version)),
			"switch TLS 1.2 on for the web server (Windows: SCHANNEL, Protocols, TLS 1.2, Server, Enabled)")
		return g, false
	case g.Incomplete != nil && !demanded:
		k.failed(handshake, client.URL, g.Incomplete)
		return g, false
	}
	return g, true
}

// addressOf is the HOST:PORT of an https URL.
func addressOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return rawURL
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443"))
}

// answerHeader is how a web server answers a request without credentials.
type answerHeader struct {
	url    string
	status int
	fields http.Header
}

// anonymous makes one request without credentials. It returns the answer's header, nil when there is none.
func (k *checker) anonymous(ctx context.Context, name string, client *certsrv.Client) *answerHeader {
	ctx, cancel := context.WithTimeout(ctx, max(client.ConnectTimeout, leastGreeting))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, client.URL, nil)
	if err != nil {
		k.asked(name, client.URL, err)
		return nil
	}
	h := http.Client{
		Transport:     &http.Transport{TLSClientConfig: client.TLS.Clone(), DialContext: client.DialContext, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := h.Do(r)
	if err == nil {
		_ = answer.Body.Close() // only the header was wanted
		return &answerHeader{client.URL, answer.StatusCode, answer.Header}
	}
	if k.refused(server{name, client.URL, "adcs.url", certsrv.CodeUntrusted, certsrv.CodeWrongName}, err) {
		return nil
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	k.fail(name, client.URL, codeUnreachable, err.Error(), "see whether the server runs and the way to it is open: curl -vk "+client.URL)
	return nil
}

// clock compares this machine's clock with the web server's. A server without a clock says nothing of ours.
func (k *checker) clock(answer *answerHeader) {
	date, err := http.ParseTime(answer.fields.Get("Date"))
	if err != nil {
		return
	}
	object := answer.url
	off := k.now().Sub(date).Round(time.Second)
	if off.Abs() > tolerated {
		k.warn("clock", object, codeClock, fmt.Sprintf("this machine's clock and the web server's differ by %s", off.Abs()), "synchronise both with the same time servers (timedatectl, w32tm)")
		return
	}
	k.ok("clock", object, "within %s of the web server's", max(off.Abs(), time.Second))
}

// login logs in as the configured account.
func (k *checker) login(ctx context.Context, name string, client *certsrv.Client) bool {
	if err := client.Login(ctx, nil); err != nil {
		k.asked(name, client.URL, err)
		return false
	}
	k.ok(name, client.URL, "as %s", client.Auth.User)
	return true
}

// offered asks whether the account may enrol a template.
func (k *checker) offered(ctx context.Context, name string, client *certsrv.Client, template string) bool {
	if client.SkipTemplateCheck {
		k.skip(name, template, "adcs.skip_template_check is set")
		return true
	}
	if err := client.CheckTemplate(ctx, template); err != nil {
		k.asked(name, template, err)
		return false
	}
	k.ok(name, template, "offered to %s", client.Auth.User)
	return true
}

// adcsChain asks for the CA's certificates and judges the newest. It returns them, none when there are none.
func (k *checker) adcsChain(ctx context.Context, name string, client *certsrv.Client) []*x509.Certificate {
	certs, err := client.CACertificates(ctx)
	if err != nil {
		k.asked(name, client.URL, err)
		return nil
	}
	if len(certs) == 0 {
		k.fail(name, client.URL, codeChain, "the server gave no CA certificate", "look at https://HOST/certsrv/certcarc.asp in a browser")
		return nil
	}
	newest := certs[0]
	if !k.dates(name, client.URL, newest) {
		return certs
	}
	v := chain.Verifier{Anchors: chain.NewStoreX509(certs).Named("the CA's certificates"), Usage: chain.CA, Now: k.now}
	r := v.Verify(chain.OfAll(certs[:1]), "")
	top := r.Path[len(r.Path)-1]
	if r.Anchor == nil {
		k.fail(name, client.URL, codeChain, fmt.Sprintf("the chain of %s ends at %s, whose issuer %s is missing", newest.Subject, top.Subject(), top.Issuer()),
			"publish the missing CA certificate in Active Directory: certutil -dspublish -f FILE RootCA")
		return certs
	}
	for i := range r.Faults {
		f := &r.Faults[i]
		report := k.fail
		if f.Code == chain.WeakKey || f.Code == chain.WeakSignature {
			report = k.warn // the CA issues all the same
		}
		report(name, client.URL, codeRefused, whole(f), f.Remedy)
	}
	if r.OK() {
		k.ok(name, client.URL, "%s, complete up to %s, %s", newest.Subject, top.Subject(), k.until(newest))
	}
	return certs
}

// until says how long a certificate is valid.
func (k *checker) until(c *x509.Certificate) string {
	days := int(c.NotAfter.Sub(k.now()).Hours() / 24)
	return fmt.Sprintf("valid to %s (%d day%s)", c.NotAfter.UTC().Format(time.DateOnly), days, plural(days))
}
