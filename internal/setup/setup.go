package setup

import (
	"context"
	"crypto/rand"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"callsign/internal/ca/local"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/ra"
)

// The files of a deployment, relative to its directory.
const (
	ConfigFile   = "callsign.toml"
	databaseFile = "callsign.db"
	caFile       = "ca.pem" // issuing CA and root, for those who verify
	usersFile    = "est-users"
	passwordFile = "est-password.txt" // of the one user made here
	estUser      = "device"
)

// StandardCAPF and StandardEST are the ports of the two listeners.
const (
	StandardCAPF = "3804"
	StandardEST  = "8084"
)

// Options say what to make.
type Options struct {
	Dir    string
	Issuer string // config.IssuerLocal or config.IssuerOnlineCA
	// Host is the address to listen on; AnyPort takes free ports instead of the standard ones.
	Host    string
	AnyPort bool
	Force   bool             // replace files that exist
	Key     local.KeyKind    // of the CAs made here; empty: RSA 2048, which every phone and every RADIUS server knows
	Now     func() time.Time // nil: time.Now
}

// Deployment is what New made.
type Deployment struct {
	Config config.Config
	Files  []string // relative to the directory, in the order in which they were made
	Todo   []string // what the administrator still has to provide, in order
	// Offline are keys, as names of files with their directory, that no service needs: they belong on a medium that is
	// locked away.
	Offline []string
}

// Problem is a failure that an administrator can act on.
type Problem struct {
	ErrCode, Detail, Fix string
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// Code returns the stable code.
func (p *Problem) Code() string { return p.ErrCode }

// Remedy returns what to do.
func (p *Problem) Remedy() string { return p.Fix }

// New makes the directory and everything in it. Without Force it writes nothing when one of its files is there.
func New(ctx context.Context, o Options) (*Deployment, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("directory %s: %w", o.Dir, err)
	}
	m := &maker{o: o, dir: dir, d: &Deployment{Config: config.Default()}}
	if err := m.check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, &Problem{ErrCode: "setup.directory", Detail: fmt.Sprintf("directory %s cannot be made: %v", o.Dir, err), Fix: "choose another with --dir"}
	}
	c := &m.d.Config
	c.Dir, c.Path = dir, filepath.Join(dir, ConfigFile)
	c.Store.Path = m.path(databaseFile)
	c.Trace.Dir = m.path("logs")
	c.CAPF.Issuer = o.Issuer
	c.CAPF.Listen, c.EST.Listen = m.listen(StandardCAPF), m.listen(StandardEST)
	steps := []func(context.Context) error{m.capf, m.localCA, m.users}
	if o.Issuer == config.IssuerOnlineCA {
		steps = []func(context.Context) error{m.capf, m.adcs, m.users}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return m.d, m.file(ConfigFile, []byte(config.Render(*c)), 0o644)
}

type maker struct {
	o   Options
	dir string
	d   *Deployment
}

func (m *maker) path(name string) string { return filepath.Join(m.dir, name) }

// check refuses to begin where files of an earlier deployment would be lost.
func (m *maker) check() error {
	if m.o.Issuer != config.IssuerLocal && m.o.Issuer != config.IssuerOnlineCA {
		return &Problem{ErrCode: "setup.issuer", Detail: fmt.Sprintf("%q is no issuer", m.o.Issuer), Fix: "use --issuer local or --issuer online-ca"}
	}
	if m.o.Force {
		return nil
	}
	for _, name := range []string{ConfigFile, databaseFile, "capf.key", "ca-issuing.key", "ra-ca.key"} {
		_, err := os.Lstat(m.path(name))
		if err == nil {
			return &Problem{
				ErrCode: "setup.exists", Detail: m.path(name) + " exists already and nothing was changed",
				Fix: "choose another directory with --dir, or replace keys and configuration with --force",
			}
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("look for %s: %w", name, err)
		}
	}
	return nil
}

func (m *maker) listen(standard string) string {
	if m.o.AnyPort {
		standard = "0"
	}
	return net.JoinHostPort(m.o.Host, standard)
}

func (m *maker) ca(name string) local.CAOptions {
	kind := m.o.Key
	if kind == "" {
		kind = local.RSA2048
	}
	return local.CAOptions{Subject: pkix.Name{CommonName: name, Organization: []string{"Callsign"}}, Key: kind, Now: m.o.Now}
}

// serial tells one deployment's certificates from another's by name, as the vendor's CAPF does.
func serial() (string, error) {
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	return fmt.Sprintf("%08x", b), nil
}

// capf makes the certificate that phones meet: self-signed, with what phones demand of a CAPF certificate.
func (m *maker) capf(context.Context) error {
	id, err := serial()
	if err != nil {
		return err
	}
	o := m.ca("CAPF-" + id)
	o.Key = local.RSA2048 // phones take RSA keys of up to 2048 bits here, and old ones nothing else
	i, err := local.NewCAPF(o)
	if err != nil {
		return fmt.Errorf("make the CAPF certificate: %w", err)
	}
	c := &m.d.Config
	c.CAPF.CertificateFile, c.CAPF.KeyFile = m.path("capf.pem"), m.path("capf.key")
	return m.pair("capf", certfile.KeyPair{Chain: i.Full()[:1], Key: i.Signer})
}

// localCA makes root and issuing CA, and the EST listener's certificate from it.
func (m *maker) localCA(ctx context.Context) error {
	id, err := serial()
	if err != nil {
		return err
	}
	root, err := local.NewRoot(m.ca("Callsign Root " + id))
	if err != nil {
		return fmt.Errorf("make the root: %w", err)
	}
	issuing, err := root.NewIssuing(ctx, m.ca("Callsign Issuing CA "+id))
	if err != nil {
		return fmt.Errorf("make the issuing CA: %w", err)
	}
	c := &m.d.Config
	c.CA.CertificateFile, c.CA.KeyFile, c.CA.ChainFile = m.path("ca-issuing.pem"), m.path("ca-issuing.key"), m.path("ca-root.pem")
	c.RA.Authority = config.AuthorityLocal
	c.EST.LabCAFile = m.path(caFile)
	m.d.Offline = []string{m.path("ca-root.key")}
	return errors.Join(
		m.pair("ca-root", certfile.KeyPair{Chain: root.Full(), Key: root.Signer}),
		m.pair("ca-issuing", certfile.KeyPair{Chain: issuing.Full()[:1], Key: issuing.Signer}),
		m.file(caFile, certfile.EncodeCertificates(issuing.Full()...), 0o644),
		m.estServer(ctx, issuing))
}

// adcs prepares for AD CS: what only its administrator can provide is left to be filled in.
func (m *maker) adcs(ctx context.Context) error {
	id, err := serial()
	if err != nil {
		return err
	}
	anchor, err := local.NewRoot(m.ca("Callsign RA " + id))
	if err != nil {
		return fmt.Errorf("make the anchor of the EST listener: %w", err)
	}
	c := &m.d.Config
	c.RA.Authority = config.AuthorityADCS
	c.ADCS.URL, c.ADCS.Template, c.ADCS.Username = "https://adcs.example.com/certsrv", "CiscoRA", `EXAMPLE\ciscora`
	c.ADCS.PasswordFile = m.path("adcs-password.txt")
	c.ADCS.CAFile = m.path("adcs-ca.pem")
	c.ADCS.AgentCertificateFile, c.ADCS.AgentKeyFile = m.path("agent.pem"), m.path("agent.key")
	c.EST.LabCAFile = m.path("ra-ca.pem")
	m.d.Offline = []string{m.path("ra-ca.key")}
	m.d.Todo = []string{
		"edit " + m.path(ConfigFile) + ": [adcs] url, template and username",
		"put the account's password into " + c.ADCS.PasswordFile + " (mode 0600)",
		"put the CA that issued the web server's certificate into " + c.ADCS.CAFile,
		"put an enrollment agent certificate for that account and its key into " + c.ADCS.AgentCertificateFile + " and " + c.ADCS.AgentKeyFile + " (mode 0600)",
	}
	return errors.Join(
		m.pair("ra-ca", certfile.KeyPair{Chain: anchor.Full(), Key: anchor.Signer}),
		m.estServer(ctx, anchor))
}

// estServer makes the EST listener's certificate.
func (m *maker) estServer(ctx context.Context, by *local.Issuer) error {
	leaf, err := by.NewLeaf(ctx, local.LeafOptions{
		Purpose: local.TLSServer, Names: serverNames(m.o.Host),
		CAOptions: local.CAOptions{Subject: pkix.Name{CommonName: "Callsign RA " + serverNames(m.o.Host)[0]}, Key: m.o.Key, Now: m.o.Now},
	})
	if err != nil {
		return fmt.Errorf("make the EST listener's certificate: %w", err)
	}
	c := &m.d.Config
	c.EST.CertificateFile, c.EST.KeyFile = m.path("est.pem"), m.path("est.key")
	chain := append(leaf.Chain[:0:0], leaf.Certificate)
	for _, up := range leaf.Chain {
		if up.Subject.String() != up.Issuer.String() {
			chain = append(chain, up)
		}
	}
	return m.pair("est", certfile.KeyPair{Chain: chain, Key: leaf.Signer})
}

// serverNames are the names under which clients reach the listener: its address, this host, and loopback.
func serverNames(host string) []string {
	var names []string
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		names = append(names, host)
	}
	if h, err := os.Hostname(); err == nil && validHost(h) {
		names = append(names, h)
	}
	for _, n := range []string{"localhost", "127.0.0.1", "::1"} {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// validHost tells whether a host name can stand in a certificate; names of containers sometimes cannot.
func validHost(h string) bool {
	return h != "" && len(h) < 254 && strings.Trim(strings.ToLower(h), "abcdefghijklmnopqrstuvwxyz0123456789.-") == ""
}

// users makes one EST user with a random password.
func (m *maker) users(context.Context) error {
	password := rand.Text()
	// A slow hash is for passwords that can be guessed: these are 130 random bits.
	line, err := ra.UserLine(estUser, []byte(password), ra.MinCost)
	if err != nil {
		return fmt.Errorf("make the EST user: %w", err)
	}
	c := &m.d.Config
	c.EST.UsersFile = m.path(usersFile)
	c.EST.LabUser, c.EST.LabPasswordFile = estUser, m.path(passwordFile)
	head := "# Users that may enrol by EST with a password: NAME:HASH. Add one with: htpasswd -B est-users NAME\n"
	return errors.Join(m.file(usersFile, []byte(head+line), 0o600), m.file(passwordFile, []byte(password+"\n"), 0o600))
}

func (m *maker) pair(name string, p certfile.KeyPair) error {
	key, err := certfile.EncodeKey(p.Key)
	if err != nil {
		return fmt.Errorf("encode %s.key: %w", name, err)
	}
	return errors.Join(m.file(name+".pem", certfile.EncodeCertificates(p.Chain...), 0o644), m.file(name+".key", key, 0o600))
}

func (m *maker) file(name string, data []byte, perm os.FileMode) error {
	if err := certfile.WriteFile(m.path(name), data, perm); err != nil {
		return err
	}
	m.d.Files = append(m.d.Files, name)
	return nil
}
