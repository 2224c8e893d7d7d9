package enterprise

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"callsign/certsrv/certsrvtest"
	"callsign/certsrv/winauth"
	"callsign/internal/ca/local"
	"callsign/internal/certfile"
	"callsign/internal/secret"
)

// What an enterprise has unless it is told otherwise.
const (
	DefaultListen   = "127.0.0.1:0"
	DefaultAccount  = `CALLSIGN\ciscora`
	DefaultTemplate = "CiscoRA"
)

// Events of Options.Log that say what became of a request: see certsrvtest.
const (
	EventHandled  = certsrvtest.EventHandled
	EventApproved = certsrvtest.EventApproved
	EventDenied   = certsrvtest.EventDenied
)

// Options say which enterprise to start.
type Options struct {
	// Dir keeps everything: a directory that is new, empty, or of an enterprise of before, which comes up again. Empty: a
	// temporary one that Close removes.
	Dir string
	// Listen is HOST:PORT; empty: DefaultListen. Nothing here is safe to be reached from elsewhere, so that is the caller's
	// decision. Ignored with a Listener, which Close closes.
	Listen   string
	Listener net.Listener
	// Admin is HOST:PORT of loopback for the CA's manager, who has no login: see certsrvtest.Server.AdminHandler. Empty: none.
	Admin string
	// Host is the web server's name in URL and certificate; empty: the address that is listened on, or 127.0.0.1 when that
	// is every address.
	Host string

	Account string // `DOMAIN\user`; empty: DefaultAccount
	// Password is the account's; zero: that of password.txt in Dir, which is made when it is missing.
	Password secret.String
	// Keytab holds the keys of the service HTTP/host, for logins by Kerberos; zero: none.
	Keytab    secret.Bytes
	Templates []string // names; empty: DefaultTemplate
	Behaviour Behaviour
	// Renewals is how often the CA was renewed, at least: a directory of before can have more. 0 to 31; the first time and
	// every other time after that with a new key.
	Renewals       int
	FirstRequestID int // of a new directory; 0: 1

	LogDir string // of the web server's log; empty: logs in Dir. It must exist
	// IISLog gets the lines of the log as well, as certsrvtest.Config.IISLog does.
	IISLog io.Writer
	Log    *slog.Logger     // events of the web server; nil: discarded
	Now    func() time.Time // nil: time.Now
}

// Enterprise is a running one.
type Enterprise struct {
	Dir     string // absolute
	URL     string // of web enrollment: "https://HOST:PORT/certsrv"
	Account string
	// PasswordFile is where the account's password is; empty when the caller has brought it.
	PasswordFile string
	Templates    []string
	LogDir       string
	Renewals     int    // how often the CA was renewed
	Manager      string // URL for the CA's manager: "http://HOST:PORT"; empty: none

	password  secret.String
	authority *authority
	server    *certsrvtest.Server
	admin     *http.Server
	temporary bool
	wg        sync.WaitGroup
	failed    chan error
}

// Start makes or loads the enterprise and serves its pages until Close. Errors that the user can act on are *Problem, or
// those of certfile and secret.
func Start(ctx context.Context, o Options) (*Enterprise, error) {
	e := &Enterprise{failed: make(chan error, 1)}
	err := e.start(ctx, &o)
	if err == nil {
		return e, nil
	}
	if o.Listener != nil {
		err = errors.Join(err, o.Listener.Close())
	}
	return nil, errors.Join(err, e.Close())
}

func (e *Enterprise) start(ctx context.Context, o *Options) error {
	if err := o.check(); err != nil {
		return err
	}
	if err := e.makeDir(o.Dir); err != nil {
		return err
	}
	var err error
	if e.authority, err = openAuthority(ctx, e.Dir, o.Renewals, o.Now); err != nil {
		return err
	}
	e.Renewals = len(e.authority.issuing) - 1
	if e.password, err = password(e.Dir, o.Password); err != nil {
		return err
	}
	if o.Password.IsZero() {
		e.PasswordFile = e.Path(PasswordFile)
	}
	if err := e.publish(ctx); err != nil {
		return err
	}
	if o.Listener == nil {
		if o.Listener, err = listen(ctx, o.Listen, "--listen"); err != nil {
			return err
		}
	}
	host, names := hosts(o.Host, o.Listener.Addr())
	_, port, err := net.SplitHostPort(o.Listener.Addr().String())
	if err != nil {
		return fmt.Errorf("address of the listener: %w", err)
	}
	e.URL = "https://" + net.JoinHostPort(host, port) + "/certsrv"
	web, err := e.authority.webServer(ctx, names, o.Behaviour.Certificate)
	if err != nil {
		return fmt.Errorf("make the web server's certificate: %w", err)
	}
	e.Account, e.Templates, e.LogDir = o.Account, o.Templates, o.LogDir
	if e.LogDir == "" {
		e.LogDir = e.Path(LogDir)
	}
	c := certsrvtest.Config{
		CA: e.authority, Users: []certsrvtest.User{{Name: e.Account, Password: e.password.Reveal()}},
		Templates: templates(o.Templates), Keytab: o.Keytab.Reveal(), StateDir: e.Dir, FirstRequestID: o.FirstRequestID,
		LogDir: e.LogDir, IISLog: o.IISLog, Now: o.Now, Log: o.Log,
	}
	o.Behaviour.Pages.Apply(&c)
	e.server, err = certsrvtest.New(c)
	if err != nil {
		return err
	}
	if o.Admin != "" {
		if err := e.serveAdmin(ctx, o.Admin); err != nil {
			return err
		}
	}
	l := o.Listener
	o.Listener = nil // the server closes it
	e.wg.Go(func() {
		err := e.server.Serve(l, &tls.Config{Certificates: []tls.Certificate{web.TLS()}, MinVersion: tls.VersionTLS12})
		if !errors.Is(err, http.ErrServerClosed) {
			e.failed <- fmt.Errorf("serve web enrollment: %w", err)
		}
	})
	return nil
}

func (o *Options) check() error {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Listen == "" {
		o.Listen = DefaultListen
	}
	if o.Account == "" {
		o.Account = DefaultAccount
	}
	if len(o.Templates) == 0 {
		o.Templates = []string{DefaultTemplate}
	}
	if o.Keytab.IsZero() && strings.Contains(string(o.Behaviour.Pages.Conditions.Auth), "kerberos") {
		return &Problem{
			ErrCode: CodeKeytab, Detail: "the web server is to offer Kerberos alone, and has no keytab with the keys of HTTP/HOST",
			Fix: "name one: callsign sim adcs --keytab FILE; without Kerberos there are auth=negotiate (NTLM inside), auth=ntlm and auth=basic",
		}
	}
	if !o.Keytab.IsZero() {
		if _, err := winauth.ParseKeytab(o.Keytab.Reveal()); err != nil {
			return &Problem{
				ErrCode: CodeKeytab, Detail: fmt.Sprintf("the keytab cannot be read: %v", err), Err: err,
				Fix: "export the keys of HTTP/HOST again: ktutil or kadmin ktadd, or ktpass on a domain controller",
			}
		}
	}
	if o.Renewals < 0 || o.Renewals > maxRenewals {
		return fmt.Errorf("%d renewals of the CA: 0 to %d can be", o.Renewals, maxRenewals)
	}
	for i, name := range o.Templates {
		switch {
		case name == "" || strings.ContainsAny(name, "; \t\r\n\"<>&,"):
			return &Problem{
				ErrCode: CodeTemplate, Detail: fmt.Sprintf("%q cannot be the name of a template: it is empty, or has a blank or another character that names do not have", name),
				Fix: "use the template's own name and not its display name, such as " + DefaultTemplate,
			}
		case slices.ContainsFunc(o.Templates[:i], func(s string) bool { return strings.EqualFold(s, name) }):
			return &Problem{ErrCode: CodeTemplate, Detail: fmt.Sprintf("the template %s is there twice", name), Fix: "name each template once: upper and lower case are the same"}
		}
	}
	return nil
}

func (e *Enterprise) makeDir(dir string) error {
	if dir == "" {
		made, err := os.MkdirTemp("", "callsign-adcs-")
		if err != nil {
			return fmt.Errorf("make a temporary directory: %w", err)
		}
		e.Dir, e.temporary = made, true
		return prepare(made)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("directory %s: %w", dir, err)
	}
	if err := prepare(abs); err != nil {
		return err
	}
	e.Dir = abs
	return nil
}

// publish writes what clients need: whom to trust, and an enrollment agent's certificate.
func (e *Enterprise) publish(ctx context.Context) error {
	err := certfile.WriteCertificates(e.Path(CAFile), e.authority.newest().Full()...)
	if err != nil {
		return err
	}
	if _, err = certfile.LoadKeyPair(e.Path(AgentFile), e.Path(AgentKeyFile)); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	agent, err := e.NewLeaf(ctx, local.LeafOptions{
		Purpose: local.EnrollmentAgent, CAOptions: local.CAOptions{Subject: subject("Callsign agent")},
	})
	if err != nil {
		return fmt.Errorf("make the enrollment agent's certificate: %w", err)
	}
	return errors.Join(certfile.WriteKey(e.Path(AgentKeyFile), agent.Signer),
		certfile.WriteCertificates(e.Path(AgentFile), agent.Certificate, e.authority.newest().Certificate))
}

// templates are those with these names; one that AD CS ships is what it is there.
func templates(names []string) []certsrvtest.Template {
	display := map[string]string{
		strings.ToLower(DefaultTemplate): "Cisco RA", templateWeb: "Web Server", templateAgent: "Enrollment Agent",
		templateSubCA: "Subordinate Certification Authority",
	}
	out := make([]certsrvtest.Template, len(names))
	for i, name := range names {
		lower := strings.ToLower(name)
		out[i] = certsrvtest.Template{Name: name, DisplayName: display[lower], SubCA: lower == templateSubCA}
	}
	return out
}

// serveAdmin lets the CA's manager in.
func (e *Enterprise) serveAdmin(ctx context.Context, address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil || !Loopback(host) {
		return &Problem{
			ErrCode: CodeListen, Detail: fmt.Sprintf("the CA's manager has no login and cannot be let in at %s", address),
			Fix: "use an address of loopback, such as 127.0.0.1:8444",
		}
	}
	l, err := listen(ctx, address, "--admin")
	if err != nil {
		return err
	}
	e.Manager = "http://" + l.Addr().String()
	e.admin = &http.Server{Handler: e.server.AdminHandler(), ReadHeaderTimeout: 10 * time.Second}
	e.wg.Go(func() { _ = e.admin.Serve(l) }) // ends with Close
	return nil
}

// Loopback tells whether only this machine reaches a listener on host.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// listen listens on an address that a flag names.
func listen(ctx context.Context, address, flag string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, &Problem{
			ErrCode: CodeListen, Detail: fmt.Sprintf("cannot listen on %s: %v", address, err), Err: err,
			Fix: "end what uses the port (ss -ltnp), or choose another one with " + flag + "; port 0 takes a free one",
		}
	}
	return l, nil
}

// hosts are the name of the web server in its URL, and all names of its certificate.
func hosts(host string, addr net.Addr) (string, []string) {
	at, _, err := net.SplitHostPort(addr.String())
	ip := net.ParseIP(at)
	if err != nil || ip != nil && ip.IsUnspecified() {
		at = "127.0.0.1"
	}
	if host == "" {
		host = at
	}
	names := []string{webHost}
	if net.ParseIP(host) == nil {
		names = []string{host, webHost}
	}
	add := func(n string) {
		if n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	add(host)
	add(at)
	add("localhost")
	add("127.0.0.1")
	return host, names
}

// Path is the name of a file of the enterprise.
func (e *Enterprise) Path(name string) string { return filepath.Join(e.Dir, name) }

// Password is the account's.
func (e *Enterprise) Password() secret.String { return e.password }

// Server is the web server, to look at its requests and to change its behaviour.
func (e *Enterprise) Server() *certsrvtest.Server { return e.server }

// Issuing returns the issuing CA as it signs now. It is a copy.
func (e *Enterprise) Issuing() *local.Issuer {
	i := *e.authority.newest()
	return &i
}

// NewLeaf makes a certificate directly, without web enrollment: for the services of a deployment that the enterprise
// knows.
func (e *Enterprise) NewLeaf(ctx context.Context, o local.LeafOptions) (*local.Leaf, error) {
	return e.Issuing().NewLeaf(ctx, o)
}

// Summary counts the requests by what became of them: "3 requests, 2 issued, 1 denied". It works after Close, too.
func (e *Enterprise) Summary() string {
	requests := e.server.Requests()
	if len(requests) == 0 {
		return "no certificate was asked for"
	}
	n := map[certsrvtest.Disposition]int{}
	for i := range requests {
		n[requests[i].Disposition]++
	}
	parts := []string{strconv.Itoa(len(requests)) + " requests"}
	if len(requests) == 1 {
		parts[0] = "1 request"
	}
	for _, d := range []certsrvtest.Disposition{certsrvtest.DispositionIssued, certsrvtest.DispositionPending, certsrvtest.DispositionDenied, certsrvtest.DispositionError} {
		if n[d] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[d], d))
		}
	}
	return strings.Join(parts, ", ")
}

// Wait returns when ctx ends, with nil, or when the web server fails, with its error.
func (e *Enterprise) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-e.failed:
		return err
	}
}

// Close ends the enterprise and removes a temporary directory. It may be called more than once.
func (e *Enterprise) Close() error {
	var errs []error
	if e.admin != nil {
		errs = append(errs, e.admin.Close())
	}
	if e.server != nil {
		errs = append(errs, e.server.Close())
	}
	e.wg.Wait()
	if e.temporary {
		errs = append(errs, os.RemoveAll(e.Dir))
	}
	return errors.Join(errs...)
}
