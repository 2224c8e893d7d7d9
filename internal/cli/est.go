package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"callsign/chain"
	"callsign/est"
	"callsign/internal/app"
	"callsign/internal/certfile"
	"callsign/internal/secret"
)

func (e *env) estCommand() *cobra.Command {
	c := group("est", "The client side of EST (RFC 7030): certificates from any EST server",
		e.estCACerts(), e.estCSRAttrs(), e.estEnroll(), e.estReenroll(), e.estServerKeygen())
	c.Long = `The client side of EST (RFC 7030): ask any EST server for its CA certificates, for what it wants in a request, and for certificates.

URL is the server's, https://HOST[:PORT]; /.well-known/est is added when it has no path. The server is judged by the CA certificates of
--ca, by the roots of this system with --implicit, or, for est cacerts alone, by a fingerprint.`
	c.Example = `  callsign est cacerts https://ra.example.com:8084 --fingerprint sha256:2f9c... --out est-ca.pem
  callsign est csrattrs https://ra.example.com:8084 --ca est-ca.pem
  callsign est enroll https://ra.example.com:8084 --ca est-ca.pem --user device --subject CN=gw1 --out gw1
  callsign est reenroll https://ra.example.com:8084 --ca est-ca.pem --cert gw1.pem --key gw1.key --out gw1 --force`
	return c
}

// passwordVariable is where a password can be, so that it stands in no command line.
const passwordVariable = "CALLSIGN_EST_PASSWORD" //nolint:gosec // the name of a variable

// estFlags are what every command of est has: which server, why it is trusted, and who asks.
type estFlags struct {
	env *env

	label        string
	ca           string
	implicit     bool
	user         string
	passwordFile string
	cert, key    string
	timeout      time.Duration

	login   bool // the command may show who asks
	url     string
	pair    *certfile.KeyPair // of --cert and --key; nil without
	anchors []*x509.Certificate
}

// serverFlags adds the flags about the server.
func (f *estFlags) serverFlags(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVar(&f.ca, "ca", "", "`file` with the CA certificates that the server's certificate has to lead to")
	s.BoolVar(&f.implicit, "implicit", false, "trust a server of this name whose certificate leads to a root of this system")
	s.StringVar(&f.label, "label", "", "`name` of the CA or profile at the server, a part of the path")
	s.DurationVar(&f.timeout, "timeout", 10*time.Second, "give one call up after this `time`")
}

// clientFlags adds the flags about who asks.
func (f *estFlags) clientFlags(cmd *cobra.Command) {
	f.login = true
	s := cmd.Flags()
	s.StringVar(&f.user, "user", "", "`name` for HTTP authentication; the password is asked for on a terminal, else in "+passwordVariable+" or --password-file")
	s.StringVar(&f.passwordFile, "password-file", "", "`file` (mode 0600) with the password")
	s.StringVar(&f.cert, "cert", "", "`file` with the client certificate to connect with")
	s.StringVar(&f.key, "key", "", "`file` (mode 0600) with the key of --cert")
}

// read checks the flags, and reads the files that they name.
func (f *estFlags) read(args []string) error {
	f.url = args[0]
	if !strings.Contains(f.url, "://") {
		f.url = "https://" + f.url
	}
	if u, err := url.Parse(f.url); err != nil || u.Hostname() == "" || u.Scheme != "https" {
		return usage(fmt.Errorf("%q is no URL of an EST server: use https://HOST[:PORT][/PATH]", args[0]))
	}
	if f.timeout <= 0 {
		return usage(fmt.Errorf("--timeout %s: use a time such as 10s", f.timeout))
	}
	if f.label != "" {
		if err := est.CheckLabel(f.label); err != nil {
			return usage(fmt.Errorf("--label %q: %w", f.label, err))
		}
	}
	if (f.cert == "") != (f.key == "") {
		return usage(errors.New("--cert and --key go together: a certificate is of no use without its key"))
	}
	var err error
	if f.cert != "" {
		if f.pair, err = certfile.LoadKeyPair(f.cert, f.key); err != nil {
			return &exitError{code: exitUsage, err: err}
		}
	}
	if f.ca != "" {
		if f.anchors, err = certfile.LoadCertificates(f.ca); err != nil {
			return &exitError{code: exitUsage, err: err}
		}
	}
	return nil
}

// needTrust is a usage error when nothing says why the server is to be trusted.
func (f *estFlags) needTrust(cmd *cobra.Command) error {
	if f.ca != "" || f.implicit {
		return nil
	}
	text := "nothing says which server to trust: name its CA with --ca FILE, or take the roots of this system with --implicit"
	if cmd.Flags().Lookup("fingerprint") == nil {
		text += "; callsign est cacerts fetches the CA of a server whose fingerprint you know"
	}
	return usage(errors.New(text))
}

// client makes the client.
func (f *estFlags) client(ctx context.Context) (*est.Client, error) {
	password, err := f.password(ctx)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(f.url)
	if err != nil {
		return nil, usage(err) // checked before
	}
	c := &est.Client{
		URL: f.url, Label: f.label, User: f.user, Timeout: f.timeout, ConnectTimeout: min(f.timeout, 5*time.Second),
		TLS: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			InsecureSkipVerify: true, //nolint:gosec // VerifyConnection judges the certificate in crypto/tls' place, on resumed sessions too
			VerifyConnection:   f.trust().VerifyConnection(u.Hostname()),
		},
	}
	if !password.IsZero() {
		if f.ca == "" && f.implicit {
			// RFC 7030 section 6.
			f.env.warn("the server is trusted because of the roots of this system alone, and any of them can name another server so: better --ca FILE, or a client certificate in place of the password")
		}
		c.Password = est.Password(password.Reveal())
	}
	if f.pair != nil {
		pair := f.pair.TLS()
		c.TLS.Certificates = []tls.Certificate{pair}
		// A server that lists CAs lists them as a hint: what it thinks of another certificate it says itself, in words.
		c.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	if f.env.logLevel != "" {
		handler, _, err := f.env.logHandler("", "")
		if err != nil {
			return nil, err
		}
		c.Log = slog.New(handler)
	}
	return c, nil
}

// trust is how the server is judged: by chain, with the anchors of the user and those of the system apart.
func (f *estFlags) trust() est.Trust {
	var t est.Trust
	if f.ca != "" {
		store := chain.NewStoreX509(f.anchors).Named("--ca (" + f.ca + ")")
		t.Explicit = func(state tls.ConnectionState, host string) error { return judgeServer(store, state, host) }
	}
	if f.implicit {
		t.Implicit = func(state tls.ConnectionState, host string) error {
			return judgeServer(app.SystemRoots(state.PeerCertificates, time.Now()).Named("the roots of this system (--implicit)"), state, host)
		}
	}
	return t
}

// judgeServer judges what a server presents. Without a host neither name nor usage count.
func judgeServer(store *chain.Store, state tls.ConnectionState, host string) error {
	v := chain.Verifier{Anchors: store}
	if host == "" {
		v.Usage = chain.Any
	}
	return v.VerifyConnection(host, nil)(state)
}

// password returns what the server may be told; the zero value for none.
func (f *estFlags) password(ctx context.Context) (secret.String, error) {
	given := os.Getenv(passwordVariable)
	switch {
	case !f.login:
		return secret.String{}, nil
	case f.passwordFile != "":
		return readSecret(f.passwordFile)
	case given != "":
		return secret.NewString(given), nil
	case f.user == "":
		return secret.String{}, nil
	case !isTerminal(f.env.in):
		return secret.String{}, usage(fmt.Errorf("--user %s needs a password, and stdin is no terminal: use --password-file FILE or %s", f.user, passwordVariable))
	}
	fmt.Fprintf(f.env.err, "Password of %s at %s: ", visible(f.user), f.url)
	text, err := readSilently(ctx, int(f.env.in.(*os.File).Fd())) // #nosec G115 -- isTerminal has found it to be a file
	fmt.Fprintln(f.env.err)
	if err != nil {
		return secret.String{}, fmt.Errorf("read the password: %w", err)
	}
	return secret.NewString(string(text)), nil
}

// readSilently reads a line from a terminal that does not show it. When ctx ends it gives up, and the terminal shows again what is
// typed: the reading itself cannot be interrupted.
func readSilently(ctx context.Context, fd int) ([]byte, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		read <- line{text, err}
	}()
	select {
	case l := <-read:
		return l.text, l.err
	case <-ctx.Done():
		_ = term.Restore(fd, before) // nothing else can be done
		return nil, ctx.Err()
	}
}

// estFailure is why a call failed, in the words of the house.
type estFailure struct {
	what  string // what was asked of whom
	cause string
	fix   string
	err   error // *est.ClientError or other
}

func (e *estFailure) Error() string { return e.what + " failed" }
func (e *estFailure) Unwrap() error { return e.err }
func (e *estFailure) Cause() string { return e.cause }

// Code returns that of the cause.
func (e *estFailure) Code() string {
	if p, ok := errors.AsType[interface {
		error
		Code() string
	}](e.err); ok {
		return p.Code()
	}
	return ""
}

// Remedy returns what to do with the commands of est.
func (e *estFailure) Remedy() string { return e.fix }

// RequestID finds the request in the server's log.
func (e *estFailure) RequestID() string {
	if p, ok := errors.AsType[*est.ClientError](e.err); ok {
		return p.RequestID
	}
	return ""
}

// failed turns the error of a call into what the user reads, with its exit code. what is "EST enrolment of CN=x at URL".
func (f *estFlags) failed(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err() // report says that it was interrupted
	}
	out := &estFailure{what: what, cause: err.Error(), err: err}
	p, ok := errors.AsType[*est.ClientError](err)
	if !ok {
		if r, ok := errors.AsType[interface {
			error
			Remedy() string
		}](err); ok {
			out.fix = r.Remedy()
		}
		return out
	}
	out.cause, out.fix = estCause(p), p.Fix
	code := exitFailed
	switch p.ErrCode {
	case est.CodeClientConfig:
		code = exitUsage
	case est.CodeResolve, est.CodeConnect, est.CodeTimeout:
		code = exitUnreachable
	case est.CodeServerUntrusted:
		if _, known := errors.AsType[*chain.Error](err); known && f.ca == "" {
			out.fix += "; or name the CA of this server with --ca FILE"
		}
	}
	if p.Timeout {
		code = exitUnreachable
	}
	switch p.Status {
	case http.StatusUnauthorized:
		code, out.fix = exitDenied, f.loginFix(p)
	case http.StatusForbidden:
		code = exitDenied
	}
	return &exitError{code: code, err: out}
}

// loginFix is what to do about a 401.
func (f *estFlags) loginFix(p *est.ClientError) string {
	switch {
	case p.ErrCode == est.CodeChallenge:
		return p.Fix
	case f.user != "" || f.passwordFile != "" || os.Getenv(passwordVariable) != "":
		return fmt.Sprintf("check the user %q and the password: --user NAME with --password-file FILE or %s", f.user, passwordVariable)
	case f.pair != nil:
		return fmt.Sprintf("the server does not take the certificate %s: look at it with callsign cert inspect %s, or give --user NAME as well", f.cert, shellQuote(f.cert))
	}
	return "say who asks: --user NAME with --password-file FILE, or --cert FILE with --key FILE"
}

// estCause is what a server said, or what went wrong before it could.
func estCause(p *est.ClientError) string {
	var parts []string
	if p.Status != 0 {
		text := fmt.Sprintf("the server answered %d %s", p.Status, http.StatusText(p.Status))
		if p.Text != "" {
			text += ": " + p.Text
		}
		parts = append(parts, strings.TrimSpace(text))
	}
	if p.Err != nil {
		parts = append(parts, p.Err.Error())
	}
	return strings.Join(parts, "; ")
}

// again is the command line of cmd with the arguments and flags that were given, fit to be copied.
func again(cmd *cobra.Command, args []string) string {
	words := []string{cmd.CommandPath()}
	for _, a := range args {
		words = append(words, shellQuote(a))
	}
	for _, name := range flagNames(cmd) {
		f := cmd.Flags().Lookup(name)
		if f == nil || !f.Changed {
			continue
		}
		switch list, many := f.Value.(interface{ GetSlice() []string }); {
		case f.Value.Type() == "bool" && f.Value.String() == "true":
			words = append(words, "--"+name)
		case many:
			for _, v := range list.GetSlice() {
				words = append(words, "--"+name+"="+shellQuote(v))
			}
		default:
			words = append(words, "--"+name+"="+shellQuote(f.Value.String()))
		}
	}
	return strings.Join(words, " ")
}

// mayCreate is mayWrite for a file that need not be asked for.
func mayCreate(path string, force bool) error {
	if path == "" {
		return nil
	}
	return mayWrite(path, force)
}

// notes are warnings of a request that was made.
func (e *env) notes(notes []string) {
	for _, n := range notes {
		e.warn(n)
	}
}
