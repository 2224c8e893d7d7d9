package cli

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/est"
	localca "callsign/internal/ca/local"
	"callsign/internal/certfile"
)

// estOrder is what a command of est wants to have certified, and where the result goes.
type estOrder struct {
	estFlags

	subject                 string
	dns, ips, uris, emails  []string
	keyType, csrFile, out   string
	link, force, ignore     bool
	sameKey, encrypt, renew bool
	wait                    time.Duration

	words string // the command line, to be repeated
	what  string // "EST enrolment of CN=printer-7 at URL"
	wish  est.CSRWish
	spec  est.KeySpec
	csr   []byte // DER of --csr; nil without
	attrs *est.CSRAttrs
	linkd bool   // requests are linked
	made  []byte // DER of a request without link, for every try the same; nil before the first
	noted bool   // what is left out of the wishes has been said
	files pairFiles
	key   crypto.Signer // nil with --csr
}

// outFlags adds the flags about the request and its result.
func (o *estOrder) outFlags(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVar(&o.out, "out", "", "`prefix` of the files: PREFIX.pem for the certificate, PREFIX.key for its key")
	s.BoolVar(&o.force, "force", false, "replace a certificate and a key that are there")
	s.BoolVar(&o.link, "link", false, "link the request to its TLS connection, also when the server does not ask for it")
	s.BoolVar(&o.ignore, "ignore-csrattrs", false, "make the request without asking what the server wants in it")
	s.DurationVar(&o.wait, "wait", 0, "so `long` ask again when the server needs more time (202); 0s: not at all")
	s.StringVar(&o.keyType, "key-type", "", "`kind` of key: rsa:2048 (or another length), p-256, p-384, p-521 or ed25519 (default: what the server wants, else p-256)")
	complete(cmd, "key-type", "p-256", "p-384", "p-521", "rsa:2048", "rsa:3072", "ed25519")
}

// nameFlags adds the flags about names.
func (o *estOrder) nameFlags(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVar(&o.subject, "subject", "", "`name` to be certified, as \"CN=printer-7,O=Example\"")
	s.StringArrayVar(&o.dns, "dns", nil, "DNS `name` in subjectAltName; may be repeated")
	s.StringArrayVar(&o.ips, "ip", nil, "IP `address` in subjectAltName; may be repeated")
	s.StringArrayVar(&o.uris, "uri", nil, "`URI` in subjectAltName; may be repeated")
	s.StringArrayVar(&o.emails, "email", nil, "mail `address` in subjectAltName; may be repeated")
}

// waitExits are the exit codes of a command that gets a certificate.
func waitExits(cmd *cobra.Command) *cobra.Command {
	return exits(cmd, exitOK, exitFailed, exitUsage, exitUnreachable, exitDenied, exitPending, exitInterrupted)
}

func (e *env) estEnroll() *cobra.Command {
	o := estOrder{estFlags: estFlags{env: e}}
	cmd := &cobra.Command{
		Use: "enroll URL", Short: "Get a certificate from an EST server", Args: exactlyOne("URL of an EST server"),
		Long: `Get a certificate from an EST server (simpleenroll, RFC 7030 section 4.2).

The server is asked first what it wants in a request. Then the key is made and written to PREFIX.key (mode 0600), before anything is
sent, and at the end the certificate to PREFIX.pem. When it ends without a certificate, because the server needs more time (exit code
7), cannot be reached or was interrupted, the same command goes on with the same key, as the server may have issued the certificate by then.

--csr sends a request that was made elsewhere, PEM or DER; the key stays where it is.`,
		Example: `  callsign est enroll https://127.0.0.1:8084 --ca lab/ca.pem --user device --password-file lab/est-password.txt --subject CN=printer-7 --out printer-7
  callsign est enroll https://ra.example.com:8084 --ca est-ca.pem --cert mic.pem --key mic.key --subject CN=gw1 --dns gw1.example.com --key-type rsa:2048 --out gw1 --wait 1h
  callsign est enroll https://ra.example.com:8084 --ca est-ca.pem --user device --csr router.csr --out router`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.open(cmd, args); err != nil {
				return err
			}
			o.what = fmt.Sprintf("EST enrolment of %s at %s", o.name(), o.url)
			return o.obtain(cmd.Context())
		},
	}
	o.serverFlags(cmd)
	o.clientFlags(cmd)
	o.outFlags(cmd)
	o.nameFlags(cmd)
	cmd.Flags().StringVar(&o.csrFile, "csr", "", "send the request in `file` (PKCS #10, PEM or DER; - is stdin) instead of making one")
	return waitExits(cmd)
}

func (e *env) estReenroll() *cobra.Command {
	o := estOrder{estFlags: estFlags{env: e}, renew: true}
	cmd := &cobra.Command{
		Use: "reenroll URL", Short: "Renew a certificate at the EST server that issued it", Args: exactlyOne("URL of an EST server"),
		Long: `Renew the certificate of --cert (simplereenroll, RFC 7030 section 4.2.2): it connects with it, and asks for the same names with a new
key, or with the present one by --same-key.

With --out naming the files of --cert and --key, and --force, the new ones take their place once the certificate is there; until then the
new key waits in PREFIX.key.new, and the same command goes on with it.`,
		Example: `  callsign est reenroll https://127.0.0.1:8084 --ca lab/ca.pem --cert printer-7.pem --key printer-7.key --out printer-7 --force
  callsign est reenroll https://ra.example.com:8084 --ca est-ca.pem --cert gw1.pem --key gw1.key --out gw1-2027 --same-key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.cert == "" && o.key == nil && o.estFlags.key == "" {
				return usage(errors.New("--cert FILE and --key FILE name the certificate that is to be renewed; without one use callsign est enroll"))
			}
			if o.sameKey && o.keyType != "" {
				return usage(errors.New("--same-key keeps the key as it is: leave --key-type out"))
			}
			if err := o.open(cmd, args); err != nil {
				return err
			}
			o.wish = est.CSRWish{Renew: o.pair.Leaf()}
			o.what = fmt.Sprintf("EST renewal of %s at %s", o.name(), o.url)
			return o.obtain(cmd.Context())
		},
	}
	o.serverFlags(cmd)
	o.clientFlags(cmd)
	o.outFlags(cmd)
	cmd.Flags().BoolVar(&o.sameKey, "same-key", false, "ask for a certificate for the present key")
	return waitExits(cmd)
}

// open checks the flags and the files.
func (o *estOrder) open(cmd *cobra.Command, args []string) error {
	err := o.takeUp()
	if err == nil {
		err = o.read(args)
	}
	if err == nil {
		err = o.needTrust(cmd)
	}
	if err != nil {
		return err
	}
	if o.out == "" {
		return usage(errors.New("--out PREFIX is needed: the certificate goes to PREFIX.pem, and its key to PREFIX.key"))
	}
	if o.wait < 0 {
		return usage(fmt.Errorf("--wait %s: use a time such as 1h", o.wait))
	}
	if o.keyType != "" {
		if o.spec, err = est.ParseKeySpec(o.keyType); err != nil {
			return usage(fmt.Errorf("--key-type: %w", err))
		}
	}
	o.words = again(cmd, args)
	if o.renew {
		return nil
	}
	if o.csrFile != "" {
		return o.readCSR()
	}
	return o.readNames()
}

// takeUp ends a renewal that was killed when its certificate had come: both files were written, and not yet both in their places.
func (o *estOrder) takeUp() error {
	if o.out == "" || !o.force {
		return nil
	}
	done, err := completePair(o.out)
	if done {
		o.env.hint("an earlier renewal was broken off when its certificate had come: %s.pem and %s.key have it now\n", o.out, o.out)
	}
	return err
}

// readCSR reads the request that was made elsewhere.
func (o *estOrder) readCSR() error {
	if o.subject != "" || len(o.dns)+len(o.ips)+len(o.uris)+len(o.emails) > 0 || o.keyType != "" || o.link {
		return usage(errors.New("--csr sends a request as it is: leave --subject, --dns, --ip, --uri, --email, --key-type and --link out"))
	}
	r := certReader{env: o.env}
	contents, err := r.file(o.csrFile, false)
	if err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	found := contents.Requests()
	if len(found) != 1 {
		return usage(fmt.Errorf("--csr %s holds %d certificate requests, and one is needed", o.csrFile, len(found)))
	}
	o.csr = found[0].Raw
	o.wish.Subject = found[0].RawSubject
	return nil
}

// readNames reads what is to be certified.
func (o *estOrder) readNames() error {
	if o.subject == "" && len(o.dns)+len(o.ips)+len(o.uris)+len(o.emails) == 0 {
		return usage(errors.New("say whom the certificate is for: --subject CN=NAME, or --dns, --ip, --uri or --email"))
	}
	if o.subject != "" {
		der, err := localca.ParseSubject(o.subject)
		if err != nil {
			return usage(fmt.Errorf("--subject: %w", err))
		}
		o.wish.Subject = der
	}
	o.wish.DNSNames, o.wish.EmailAddresses = o.dns, o.emails
	for _, s := range o.ips {
		ip := net.ParseIP(s)
		if ip == nil {
			return usage(fmt.Errorf("--ip %q is no IP address", s))
		}
		if four := ip.To4(); four != nil {
			ip = four
		}
		o.wish.IPAddresses = append(o.wish.IPAddresses, ip)
	}
	for _, s := range o.uris {
		u, err := url.Parse(s)
		if err != nil || u.Scheme == "" {
			return usage(fmt.Errorf("--uri %q is no URI with a scheme", s))
		}
		o.wish.URIs = append(o.wish.URIs, u)
	}
	return nil
}

// name is who the certificate is for.
func (o *estOrder) name() string {
	switch {
	case o.wish.Renew != nil:
		return visible(o.wish.Renew.Subject.String())
	case o.csr != nil:
		return "the request in " + visible(o.csrFile)
	case o.subject != "":
		return visible(o.subject)
	}
	return visible(strings.Join(append(append(append(append([]string{}, o.dns...), o.ips...), o.uris...), o.emails...), ", "))
}

// obtain gets the certificate and writes it.
func (o *estOrder) obtain(ctx context.Context) error {
	if err := o.files.open(o.out, o.force, o.csr != nil); err != nil {
		return err
	}
	client, err := o.client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := o.askAttributes(ctx, client); err != nil {
		return err
	}
	if err := o.takeKey(); err != nil {
		return err
	}
	cert, err := est.Poll(ctx, o.wait, o.pausing, func(ctx context.Context) (*x509.Certificate, error) { return o.try(ctx, client) })
	if err != nil {
		return o.unfinished(ctx, err)
	}
	if err := o.files.finish(cert, nil); err != nil {
		return err
	}
	return o.printIssued(cert)
}

// askAttributes learns what the server wants in a request. What cannot be read does not count: it is advice.
func (o *estOrder) askAttributes(ctx context.Context, client *est.Client) error {
	if !o.ignore {
		attrs, err := client.CSRAttrs(ctx)
		if bad, ok := errors.AsType[*est.CSRAttrsError](err); ok {
			o.env.warn("what the server wants in a request is left aside, because it cannot be read: " + bad.Error())
		} else if p, ok := errors.AsType[*est.ClientError](err); ok && p.Status >= 400 && p.Status != http.StatusUnauthorized {
			o.env.warn("the server does not say what it wants in a request, so it is made without: " + estCause(p))
		} else if err != nil {
			return o.failed(ctx, o.what, err)
		}
		o.attrs = attrs
		for _, w := range attrs.Warnings() {
			o.env.warn(w)
		}
	}
	wanted, _ := o.attrs.WantsLink()
	o.linkd = o.link || wanted
	if o.linkd && o.csr != nil {
		o.env.warn("the server wants requests linked to their TLS connection, and one that was made elsewhere cannot be")
		o.linkd = false
	}
	return nil
}

// takeKey takes up the key that waits, or makes one and writes it: what is sent must not be lost.
func (o *estOrder) takeKey() error {
	var err error
	switch {
	case o.csr != nil:
		return nil
	case o.sameKey:
		o.key = o.pair.Key
		return o.files.keepKey(o.key)
	case o.files.waiting:
		if o.key, err = certfile.LoadKey(o.files.keyNow); err != nil {
			return &exitError{code: exitUsage, err: err}
		}
		if o.keyType != "" && !o.spec.Accepts(est.KeySpecOf(o.key.Public())) {
			return usage(fmt.Errorf("--key-type %s: the key that waits in %s for its certificate is of kind %s; remove the file to begin anew", o.keyType, o.files.keyNow, est.KeySpecOf(o.key.Public())))
		}
		o.env.hint("going on with the key in %s, which has no certificate yet\n", o.files.keyNow)
		return nil
	}
	spec := est.KeySpec{}
	if o.renew && o.keyType == "" { // of the kind of the present one, if the server still takes it
		spec, _ = o.attrs.ChooseKey(est.KeySpecOf(o.pair.Key.Public()))
	}
	if spec == (est.KeySpec{}) {
		if spec, err = o.attrs.ChooseKey(o.spec); err != nil {
			return o.demand(err)
		}
	}
	if o.key, err = spec.Generate(); err != nil {
		return err
	}
	return certfile.WriteKey(o.files.keyNow, o.key)
}

// demand is a demand of the server's that cannot be met.
func (o *estOrder) demand(err error) error {
	out := &estFailure{what: o.what, cause: err.Error(), err: err, fix: "look at what the server wants: callsign est csrattrs " + shellQuote(o.url) + "; --ignore-csrattrs makes the request without regard to it"}
	if r, ok := errors.AsType[*est.CSRDemandError](err); ok {
		out.fix, out.cause, out.err = r.Fix+"; "+out.fix, r.Error(), r
	}
	return &exitError{code: exitFailed, err: out}
}

// try sends the request once.
func (o *estOrder) try(ctx context.Context, client *est.Client) (*x509.Certificate, error) {
	if o.linkd {
		return client.EnrollLinked(ctx, o.renew, func(l est.Links) ([]byte, error) { return o.request(l.Best()) })
	}
	csr, err := o.request("")
	switch {
	case err != nil:
		return nil, err
	case o.renew:
		return client.SimpleReenroll(ctx, csr)
	}
	return client.SimpleEnroll(ctx, csr)
}

// request makes the request, with a link or without.
func (o *estOrder) request(link string) ([]byte, error) {
	switch {
	case o.csr != nil:
		return o.csr, nil
	case link == "" && o.made != nil:
		return o.made, nil // a server may know a request that comes again by its bytes
	}
	wish := o.wish
	wish.Link = link
	der, notes, err := est.BuildCSR(o.key, wish, o.attrs)
	if err != nil {
		return nil, err
	}
	if !o.noted {
		o.env.notes(notes)
		o.noted = true
	}
	if link == "" {
		o.made = der
	}
	return der, nil
}

// pausing tells of a pause.
func (o *estOrder) pausing(pause time.Duration, why error) {
	o.env.hint("not ready yet: asking again in %s (%s)\n", pause.Round(time.Second), visible(why.Error()))
}

// estPending is an enrolment that is not over, in JSON.
type estPending struct {
	Pending    bool    `json:"pending"`
	URL        string  `json:"url"`
	RetryAfter float64 `json:"retry_after_seconds"`
	Text       string  `json:"text,omitempty"` // the server's words
	RequestID  string  `json:"request_id,omitempty"`
	KeyFile    string  `json:"key_file,omitempty"`
	Resume     string  `json:"resume"` // command line
}

// unfinished says how an enrolment without a certificate goes on.
func (o *estOrder) unfinished(ctx context.Context, err error) error {
	later, pending := errors.AsType[*est.RetryError](err)
	if ctx.Err() != nil {
		o.env.hint("not finished; go on with: %s\n", o.words)
		return ctx.Err()
	}
	if _, ok := errors.AsType[*est.CSRDemandError](err); ok {
		return o.demand(err)
	}
	if !pending {
		return o.failed(ctx, o.what, err)
	}
	p := estPending{
		Pending: true, URL: o.url, RetryAfter: later.After.Seconds(), Text: later.Text, RequestID: later.RequestID, KeyFile: o.files.keyNow, Resume: o.words,
	}
	if o.env.json {
		if err := o.env.printJSON(p); err != nil {
			return err
		}
		return &exitError{code: exitPending}
	}
	w := o.env.out
	fmt.Fprintf(w, "%s waits: the server wants to be asked again in %s\n", o.name(), later.After)
	if later.Text != "" {
		fmt.Fprintf(w, "  the server says  %s\n", visible(later.Text))
	}
	if later.RequestID != "" {
		fmt.Fprintf(w, "  request          %s\n", visible(later.RequestID))
	}
	if p.KeyFile != "" {
		fmt.Fprintf(w, "  key              %s, kept for its certificate\n", p.KeyFile)
	}
	fmt.Fprintf(w, "  go on            %s\n", p.Resume)
	return &exitError{code: exitPending}
}

// estIssued is a certificate that was got, in JSON.
type estIssued struct {
	URL         string `json:"url"`
	Subject     string `json:"subject"`
	Issuer      string `json:"issuer"`
	Serial      string `json:"serial"`
	NotBefore   string `json:"not_before"`
	NotAfter    string `json:"not_after"`
	Certificate string `json:"certificate"`   // file
	Key         string `json:"key,omitempty"` // file
	Linked      bool   `json:"linked"`
	Resumed     bool   `json:"resumed"` // with a key that waited
}

func (o *estOrder) printIssued(cert *x509.Certificate) error {
	v := estIssued{
		URL: o.url, Subject: cert.Subject.String(), Issuer: cert.Issuer.String(), Serial: fmt.Sprintf("%x", cert.SerialNumber),
		NotBefore: utc(cert.NotBefore), NotAfter: utc(cert.NotAfter), Certificate: o.files.cert, Linked: o.linkd, Resumed: o.files.waiting,
	}
	if o.csr == nil {
		v.Key = o.files.key
	}
	if o.env.json {
		return o.env.printJSON(v)
	}
	w := o.env.out
	fmt.Fprintf(w, "%s has its certificate: serial %s, issuer %s, expires %s\n  certificate  %s\n",
		or(visible(v.Subject), o.name()), v.Serial, visible(v.Issuer), cert.NotAfter.Local().Format(time.DateOnly), v.Certificate)
	if v.Key != "" {
		fmt.Fprintf(w, "  key          %s\n", v.Key)
	}
	return nil
}

// pairFiles are the files of a certificate and its key.
type pairFiles struct {
	cert, key string
	keyNow    string // where the key is until its certificate is there: key, or beside it when key is in use
	waiting   bool   // keyNow is there, without its certificate
}

// newFile marks what waits while another file is in use.
const newFile = ".new"

// open looks at what is there. A key without a certificate that fits it waits for one; what is in use is not touched before the new
// certificate has come, and only with force.
func (p *pairFiles) open(prefix string, force, keyElsewhere bool) error {
	p.cert, p.key = prefix+".pem", prefix+".key"
	if err := mayCreate(p.cert, force); err != nil {
		return err
	}
	if keyElsewhere {
		return nil
	}
	p.keyNow = p.key
	if !isThere(p.key) {
		return nil
	}
	if isThere(p.cert) {
		if _, err := certfile.LoadKeyPair(p.cert, p.key); err == nil {
			p.keyNow = p.key + newFile
		} else if e, ok := errors.AsType[*certfile.Error](err); !ok || e.ErrCode != certfile.CodeMismatch {
			return &exitError{code: exitUsage, err: err}
		}
	}
	p.waiting = isThere(p.keyNow)
	return nil
}

// keepKey brings a key that exists to where the certificate will be.
func (p *pairFiles) keepKey(key crypto.Signer) error {
	p.waiting = false
	if isThere(p.key) {
		present, err := certfile.LoadKey(p.key)
		if err == nil && certfile.Fits(present.Public(), key) {
			p.keyNow = p.key
			return nil
		}
		p.keyNow = p.key + newFile
	}
	return certfile.WriteKey(p.keyNow, key)
}

// finish puts the certificate, and the key if it waited elsewhere or came with it, into their places.
func (p *pairFiles) finish(cert *x509.Certificate, key crypto.Signer) error {
	switch {
	case key != nil:
		if err := certfile.WriteKey(p.key, key); err != nil {
			return err
		}
	case p.keyNow != p.key && p.keyNow != "":
		// The certificate is on disk before the key that is in use goes: whatever happens between, completePair finds both.
		if err := certfile.WriteCertificates(p.cert+newFile, cert); err != nil {
			return err
		}
		return p.place()
	}
	return certfile.WriteCertificates(p.cert, cert)
}

// place puts a new key and its certificate where the old ones are.
func (p *pairFiles) place() error {
	if isThere(p.keyNow) {
		if err := os.Rename(p.keyNow, p.key); err != nil {
			return fmt.Errorf("the new key is in %s and its certificate in %s still: %w", p.keyNow, p.cert+newFile, err)
		}
	}
	if err := os.Rename(p.cert+newFile, p.cert); err != nil {
		return fmt.Errorf("the new certificate is in %s still: %w", p.cert+newFile, err)
	}
	return nil
}

// completePair ends what was broken off within place.
func completePair(prefix string) (done bool, err error) {
	p := pairFiles{cert: prefix + ".pem", key: prefix + ".key", keyNow: prefix + ".key" + newFile}
	if !isThere(p.cert + newFile) {
		return false, nil
	}
	key := p.key
	if isThere(p.keyNow) {
		key = p.keyNow
	}
	if _, err := certfile.LoadKeyPair(p.cert+newFile, key); err != nil {
		return false, &exitError{code: exitUsage, err: err}
	}
	return true, p.place()
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
