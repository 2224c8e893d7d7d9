package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/certfile"
	"callsign/internal/probe"
	"callsign/internal/secret"
)

// certReader reads what the commands of cert are given: files, stdin, and what servers present.
type certReader struct {
	env          *env
	passwordFile string
	timeout      time.Duration

	password secret.String
	stdin    bool // was read
}

// flags adds the flags that every command of cert has.
func (r *certReader) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.passwordFile, "password-file", "", "`file` (mode 0600) with the password of PKCS #12 files")
	f.DurationVar(&r.timeout, "timeout", probe.DefaultTimeout, "give up on a live server after this `time`")
}

// open checks the flags.
func (r *certReader) open() error {
	if r.timeout <= 0 {
		return usage(fmt.Errorf("--timeout %s: use a time such as 10s", r.timeout))
	}
	if r.passwordFile == "" {
		return nil
	}
	var err error
	r.password, err = readSecret(r.passwordFile)
	return err
}

func (r *certReader) options(certificatesOnly bool) certfile.Options {
	o := certfile.Options{CertificatesOnly: certificatesOnly}
	if r.passwordFile != "" {
		o.Password = func() (secret.String, error) { return r.password, nil }
	}
	return o
}

// certInput is what one argument turned out to hold.
type certInput struct {
	source  string // the argument
	objects []certfile.Object
	err     error // what could not be read, also when objects could
	server  *probe.Presented
	host    string       // of a live server
	service *serviceItem // of a certificate in service in a cluster
}

// ders returns the certificates, also those that do not parse.
func (in *certInput) ders() [][]byte {
	return (&certfile.Contents{Objects: in.objects}).CertificatesDER()
}

// has reports whether there is an object of a kind.
func (in *certInput) has(k certfile.Kind) bool {
	return slices.ContainsFunc(in.objects, func(o certfile.Object) bool { return o.Kind == k })
}

// problems returns what could not be read, less what is known of the objects of a kind.
func (in *certInput) problems(but certfile.Kind) []error {
	known := map[error]bool{}
	for _, o := range in.objects {
		if o.Kind == but && o.Err != nil {
			known[o.Err] = true
		}
	}
	var found []error
	for _, err := range separate(in.err) {
		if !known[err] {
			found = append(found, err)
		}
	}
	return found
}

// separate takes joined errors apart.
func separate(err error) []error {
	list, ok := err.(interface{ Unwrap() []error })
	switch {
	case err == nil:
		return nil
	case !ok:
		return []error{err}
	}
	var all []error
	for _, e := range list.Unwrap() {
		all = append(all, separate(e)...)
	}
	return all
}

// read reads a file, stdin or a server. serverName is sent to a server in place of its host; empty sends the host. With an
// error the input holds what could be read all the same.
func (r *certReader) read(ctx context.Context, arg, serverName string, certificatesOnly bool) *certInput {
	in := &certInput{source: arg}
	address, host, err := liveAddress(arg)
	switch {
	case err != nil:
		in.err = err
	case address != "":
		in.host = host
		r.greet(ctx, in, probe.Target{Address: address, ServerName: serverName, Timeout: r.timeout})
	default:
		var contents *certfile.Contents
		contents, in.err = r.file(arg, certificatesOnly)
		in.objects = contents.Objects
	}
	return in
}

// file reads a file or, for -, stdin.
func (r *certReader) file(arg string, certificatesOnly bool) (*certfile.Contents, error) {
	if arg != "-" {
		contents, err := certfile.LoadWith(arg, r.options(certificatesOnly))
		if e, ok := errors.AsType[*certfile.Error](err); ok && e.ErrCode == certfile.CodeMissing {
			e.Fix = missingFix(arg)
		}
		return contents, err
	}
	if r.stdin {
		return &certfile.Contents{}, usage(errors.New("- stands for stdin, which can be read once only"))
	}
	r.stdin = true
	return certfile.Read(r.env.in, "stdin", r.options(certificatesOnly))
}

// greet fills in what a server presents.
func (r *certReader) greet(ctx context.Context, in *certInput, t probe.Target) {
	p, err := probe.Handshake(ctx, t)
	if err != nil {
		in.err = unreachable(err)
		return
	}
	in.server = p
	var failed []error
	for i, der := range p.Certificates {
		o := certfile.Object{Kind: certfile.Certificate, Raw: der}
		if o.Certificate, err = x509.ParseCertificate(der); err != nil {
			o.Err = &certfile.Error{
				Path: t.Address, ErrCode: certfile.CodeDamaged, Err: err,
				Detail: fmt.Sprintf("certificate %d that the server presents does not parse", i+1),
				Fix:    "have the certificate issued again, in the form of RFC 5280",
			}
			failed = append(failed, o.Err)
		}
		in.objects = append(in.objects, o)
	}
	in.err = errors.Join(failed...)
	if e := p.Incomplete; e != nil {
		// What is told with the certificates themselves is no warning.
		told := p.ClientCertificate == probe.Demanded
		if e.ErrCode == probe.CodeCertificateUnreadable {
			told = len(failed) > 0
		}
		if !told {
			r.env.warn(e.Error())
		}
	}
}

// unreachable chooses the exit code of a server that does not answer.
func unreachable(err error) error {
	if e, ok := errors.AsType[*probe.Error](err); ok {
		switch e.ErrCode {
		case probe.CodeNotResolved, probe.CodeCannotConnect, probe.CodeTimeout:
			return &exitError{code: exitUnreachable, err: err}
		}
	}
	return err
}

// warn writes to stderr what does not keep the command from its result.
func (e *env) warn(text string) {
	if !e.quiet {
		fmt.Fprintf(e.err, "%s %s\n", e.paint(e.err, "warning:"), visible(text))
	}
}

// warnKey says that a file with certificates holds a private key as well.
func (in *certInput) warnKey(e *env) {
	if in.has(certfile.PrivateKey) && in.has(certfile.Certificate) {
		name := in.source
		if name == "-" {
			name = "stdin"
		}
		e.warn(name + " holds a private key beside its certificates: do not pass it on, and take the key out of what others read")
	}
}

// liveAddress reports whether an argument is a server: HOST:PORT or https://HOST. A file of that name wins. address is empty
// for a file.
func liveAddress(arg string) (address, host string, err error) {
	const standardPort = "443"
	if arg == "-" {
		return "", "", nil
	}
	if _, err := os.Lstat(arg); err == nil {
		return "", "", nil
	}
	address = arg
	if scheme, _, ok := strings.Cut(arg, "://"); ok {
		u, err := url.Parse(arg)
		if !strings.EqualFold(scheme, "https") || err != nil || u.Hostname() == "" {
			return "", "", &probe.Error{
				Address: arg, ErrCode: probe.CodeBadAddress, Detail: "is neither a file nor the https:// address of a server",
				Fix: "name a file, or a server as HOST:PORT or https://HOST[:PORT]",
			}
		}
		address = joinHostPort(u.Hostname(), or(u.Port(), standardPort))
	} else if _, err := netip.ParseAddr(arg); err == nil {
		return "", "", nil // an IPv6 address ends like a port
	} else if i := strings.LastIndexByte(arg, ':'); i < 0 || !isNumber(arg[i+1:]) || strings.ContainsAny(arg, `/\`) {
		return "", "", nil
	}
	host, _, err = probe.SplitAddress(address)
	return address, host, err
}

// joinHostPort is net.JoinHostPort for a host whose U-labels were percent-decoded by net/url.
func joinHostPort(host, port string) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}

// missingFix is what to do when a file is not there: it may have been meant as a server.
func missingFix(arg string) string {
	fix := "check the name and the directory"
	host := strings.Trim(arg, "[]")
	if ip, err := netip.ParseAddr(host); err == nil {
		return fix + "; a live server needs its port: " + joinHostPort(ip.String(), "443")
	}
	name, port, _ := strings.Cut(arg, ":")
	likeFile := strings.ContainsAny(name, `/\ `) || !strings.Contains(name, ".") && port == "" ||
		slices.Contains([]string{".pem", ".crt", ".cer", ".der", ".p7b", ".p7c", ".p12", ".pfx", ".key", ".csr", ".req", ".crl", ".txt"}, strings.ToLower(filepath.Ext(name)))
	if likeFile || name == "" {
		return fix
	}
	return fix + "; a live server needs its port as a number: " + name + ":443"
}

// serverItem is the handshake with a live server in JSON.
type serverItem struct {
	Source            string  `json:"source"`
	Address           string  `json:"address"` // that was connected to
	Version           string  `json:"tls_version"`
	CipherSuite       string  `json:"cipher_suite"`
	ServerName        string  `json:"server_name"`
	ClientCertificate string  `json:"client_certificate"`
	Alert             string  `json:"alert,omitempty"`
	Duration          float64 `json:"duration_seconds"`
	Incomplete        string  `json:"incomplete,omitempty"` // why the handshake did not end
	Code              string  `json:"code,omitempty"`       // of incomplete
}

// serverItem returns nil for what is no server.
func (in *certInput) serverItem() *serverItem {
	p := in.server
	if p == nil {
		return nil
	}
	i := &serverItem{
		Source: in.source, Address: p.Remote, Version: tls.VersionName(p.Version), CipherSuite: tls.CipherSuiteName(p.CipherSuite),
		ServerName: p.ServerName, ClientCertificate: p.ClientCertificate.String(), Alert: p.Alert.String(), Duration: p.Duration.Seconds(),
	}
	if p.Incomplete != nil {
		i.Incomplete, i.Code = p.Incomplete.Error(), p.Incomplete.Code()
	}
	return i
}

// words describes the handshake for people.
func (s *serverItem) words() string {
	name := "no name (SNI) sent"
	if s.ServerName != "" {
		name = "asked for the name " + s.ServerName
	}
	text := fmt.Sprintf("%s, %s, %s, %s", s.Address, s.Version, s.CipherSuite, name)
	switch s.ClientCertificate {
	case probe.Requested.String():
		text += "; it asks for a client certificate and goes on without"
	case probe.Demanded.String():
		text += "; it demands a client certificate"
	}
	if s.Alert != "" {
		text += ", alert " + s.Alert
	}
	return text
}
