package app

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/explain"
	"callsign/internal/store"
)

// Status is the verdict of a Step.
type Status string

// The verdicts.
const (
	StatusOK   Status = "ok"
	StatusWarn Status = "warn" // works, and will not or not everywhere
	StatusFail Status = "fail"
	StatusSkip Status = "skip" // not tried, because of what another step found
)

// Step is one thing that Check looked at.
type Step struct {
	Name   string `json:"name"`   // "adcs login"
	Object string `json:"object"` // file, address or URL
	Status Status `json:"status"`
	Detail string `json:"detail"` // what was found
	Code   string `json:"code"`   // stable code of what is wrong; empty for ok and skip
	Remedy string `json:"remedy"` // what to do; empty for ok and skip
	// RequestID and Serial are the CA's number of a request that CheckCA has made, and of the certificate that came of it.
	RequestID string `json:"ca_request,omitempty"`
	Serial    string `json:"serial,omitempty"`
}

// The codes of what Check itself finds wrong; the others are those of the rooms.
const (
	codeExpired      = "app.certificate-expired"
	codeExpiring     = "app.certificate-expiring"
	codeNotYetValid  = "app.certificate-not-yet-valid"
	codeUsage        = "app.certificate-usage"
	codeKeySize      = "app.certificate-key-size"
	codeNames        = "app.certificate-names"
	codeChain        = "app.chain-incomplete"
	codeRefused      = "app.chain-refused" // complete, and verifiers refuse it
	codeClock        = "app.clock"
	codePortInUse    = "app.port-in-use"
	codeListen       = "app.listen"
	codeResolve      = "app.resolve"
	codeUnreachable  = "app.unreachable"
	codeUsers        = "app.users-file"
	codeNoEffect     = "app.no-effect"
	codeCRL          = "app.crl"
	codeDatabaseDir  = "app.database-directory"
	codeRecordDir    = "app.record-directory"
	codeOldSchema    = "app.old-schema"
	codeOldPhones    = "app.old-phones"
	codePlain        = "app.plain-listener"
	codeNoOfflineCA  = "app.offline-ca-unknown"
	codeUnclassified = "app.check-failed"
)

// expiresSoon is how long before its end a certificate is worth a warning.
const expiresSoon = 30 * 24 * time.Hour

// CheckOptions say how Check reports.
type CheckOptions struct {
	Now  func() time.Time // nil: time.Now
	Step func(Step)       // told of each step as soon as it is done; may be nil
}

// Check looks whether the services of a configuration can do their work: files, certificates, database, listeners, and
// the peers that they talk to, whom it asks for nothing that lasts. It changes nothing. Steps that do not apply to the
// configuration are left out.
func Check(ctx context.Context, c *config.Config, o CheckOptions) []Step {
	k := &checker{c: c, now: o.Now, tell: o.Step, missing: map[string]bool{}}
	if k.now == nil {
		k.now = time.Now
	}
	// What makes the parts of a running App makes the clients, so that what is checked is what will run.
	k.build = &generation{config: c, now: k.now, log: slog.New(slog.DiscardHandler)}
	k.ok("configuration", c.Path, "valid")
	for _, p := range c.Warnings() {
		k.warn("configuration", cmp.Or(p.Key, c.Path), codeNoEffect, p.Error(), p.Remedy())
	}
	k.files()
	k.certificates()
	if c.EST.Listen != "" {
		k.labels()
	}
	k.database(ctx)
	k.clusters()
	k.localCA(ctx)
	k.listeners(ctx)
	if c.ServesCAPF() {
		k.records()
		k.phones()
	}
	if c.UsesADCS() {
		k.adcs(ctx)
	}
	if c.ServesCAPF() && c.CAPF.Issuer == config.IssuerOnlineCA && c.CAPF.RAURL != "" {
		k.upstream(ctx)
	}
	return k.steps
}

// InvalidConfiguration is what Check would have said of a configuration that does not load: a Step for each problem.
func InvalidConfiguration(path string, problems config.Errors) []Step {
	steps := make([]Step, 0, len(problems))
	for _, p := range problems {
		object := path
		if p.Key != "" {
			object = p.Key
		}
		steps = append(steps, Step{Name: "configuration", Object: object, Status: StatusFail, Detail: p.Error(), Code: p.Code(), Remedy: p.Remedy()})
	}
	return steps
}

// checker collects the steps.
type checker struct {
	c       *config.Config
	build   *generation
	now     func() time.Time
	tell    func(Step)
	steps   []Step
	missing map[string]bool // files that other steps need and that cannot be read, by path
	capf    *x509.Certificate
	est     *x509.Certificate
	estFree bool // nobody listens where our EST listener will
}

func (k *checker) add(s Step) {
	k.steps = append(k.steps, s)
	if k.tell != nil {
		k.tell(s)
	}
}

func (k *checker) ok(name, object, format string, args ...any) {
	k.add(Step{Name: name, Object: object, Status: StatusOK, Detail: fmt.Sprintf(format, args...)})
}

func (k *checker) skip(name, object, why string) {
	k.add(Step{Name: name, Object: object, Status: StatusSkip, Detail: why})
}

func (k *checker) warn(name, object, code, detail, remedy string) {
	k.add(Step{Name: name, Object: object, Status: StatusWarn, Detail: detail, Code: code, Remedy: remedy})
}

func (k *checker) fail(name, object, code, detail, remedy string) {
	k.add(Step{Name: name, Object: object, Status: StatusFail, Detail: detail, Code: code, Remedy: remedy})
}

// failed reports an error of another room in its own words.
func (k *checker) failed(name, object string, err error) {
	for _, p := range explain.Parts(err) {
		detail := p.Error
		if p.Cause != "" {
			detail += ": " + p.Cause
		}
		if p.Code == "" {
			p.Code = codeUnclassified
		}
		k.fail(name, object, p.Code, detail, p.Fix)
	}
}

// files looks whether every file that the configuration names can be read, and the secret ones by nobody else.
func (k *checker) files() {
	err := k.c.CheckFiles()
	if err == nil {
		k.ok("files", k.c.Dir, "all readable, secrets private")
		return
	}
	problems, ok := errors.AsType[config.Errors](err)
	if !ok {
		k.failed("files", k.c.Dir, err)
		return
	}
	for _, p := range problems {
		k.missing[p.Key] = true
		k.fail("file", p.Key, p.Code(), p.Error(), p.Remedy())
	}
}

// lacks tells whether one of these keys names a file that was reported already.
func (k *checker) lacks(keys ...string) bool {
	for _, key := range keys {
		if k.missing[key] {
			return true
		}
	}
	return false
}

func (k *checker) database(ctx context.Context) {
	path := k.c.Store.Path
	version, newest, err := store.Check(ctx, path)
	switch {
	case err != nil:
		k.failed("database", path, err)
		return
	case version > 0 && version < newest:
		k.warn("database", path, codeOldSchema, fmt.Sprintf("schema version %d; the next start brings it to %d", version, newest), "make a backup before the next start")
		return
	case version > 0:
		k.ok("database", path, "opens, schema version %d", version)
		return
	}
	dir := filepath.Dir(path)
	if err := tryFile(dir); err != nil {
		k.fail("database", path, codeDatabaseDir, fmt.Sprintf("the database cannot be made in %s: %v", dir, err),
			"make the directory writable for the user that runs callsign, or set store.path to another one")
		return
	}
	k.ok("database", path, "is made at the first start")
}

// clusters reads the descriptions of clusters.
func (k *checker) clusters() {
	all, err := LoadClusters(k.c)
	if err != nil {
		k.failed("cluster", "cluster.files", err)
		return
	}
	for _, c := range all {
		k.ok("cluster", c.Name, "%d nodes, publisher %s", len(c.Nodes), c.Publisher().Name)
	}
}

// records looks whether sessions can be recorded: they are when the directory, or the nearest one above it that is there
// already, lets files be made.
func (k *checker) records() {
	dir := k.c.CAPF.RecordDir
	if dir == "" {
		return
	}
	in := dir
	for _, err := os.Stat(in); errors.Is(err, fs.ErrNotExist) && in != filepath.Dir(in); _, err = os.Stat(in) {
		in = filepath.Dir(in)
	}
	if err := tryFile(in); err != nil {
		k.fail("records", dir, codeRecordDir, fmt.Sprintf("no record of a session can be written: %v", err),
			"make "+in+" writable for the user that runs callsign, or set capf.record_dir to another directory, or to nothing")
		return
	}
	k.ok("records", dir, "sessions are recorded here")
}

// tryFile makes a file in a directory and takes it away again: the only way to know whether one can be made.
func tryFile(dir string) error {
	f, err := os.CreateTemp(dir, ".callsign-check-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// listeners looks whether each address can be listened on, or is ours already.
func (k *checker) listeners(ctx context.Context) {
	c := k.c.CAPF
	k.listener(ctx, "capf", "capf.listen", c.Listen, servedBy(k.capf))
	if c.LegacyListen != c.Listen || config.TakesFreePort(c.Listen) {
		k.listener(ctx, "capf-legacy", "capf.legacy_listen", c.LegacyListen, servedBy(k.capf))
	}
	k.listener(ctx, "capf-plain", "capf.plain_listen", c.PlainListen, greetsPlainly)
	k.estFree = k.listener(ctx, "est", "est.listen", k.c.EST.Listen, servedBy(k.est))
}

// listener reports whether nobody listens there yet. ours tells whether who listens is a server of this configuration.
func (k *checker) listener(ctx context.Context, service, key, addr string, ours func(context.Context, string) bool) bool {
	name := "listen " + service
	if addr == "" {
		return false
	}
	if config.TakesFreePort(addr) {
		k.ok(name, addr, "takes a free port at each start")
		return true
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	switch {
	case err == nil:
		_ = l.Close() // it has accepted nothing
		k.ok(name, addr, "free")
		return true
	case errors.Is(err, syscall.EADDRINUSE):
		if ours(ctx, addr) {
			k.ok(name, addr, "in use by a running server of this configuration")
			return false
		}
		k.fail(name, addr, codePortInUse, "in use by another program",
			fmt.Sprintf("find it with: ss -ltnp 'sport = :%s' and end it, or set %s to another address", portOf(addr), key))
	case errors.Is(err, syscall.EACCES):
		k.fail(name, addr, codeListen, fmt.Sprintf("cannot listen: %v", err), "use a port above 1023, or give the program the capability CAP_NET_BIND_SERVICE")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		k.fail(name, addr, codeListen, fmt.Sprintf("cannot listen: %v", err), fmt.Sprintf("set %s to an address of this machine (ip address)", key))
	default:
		k.fail(name, addr, codeListen, fmt.Sprintf("cannot listen: %v", err), fmt.Sprintf("correct %s", key))
	}
	return false
}

func portOf(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return port
}

// certificateKeys are the keys of the configuration that name a certificate and its private key.
type certificateKeys struct {
	name                     string
	certificate, key         string // names
	certificateFile, keyFile string // values
}

// certificates looks at each certificate of our own: key, dates, and what its work demands of it.
func (k *checker) certificates() {
	c := k.c
	if c.CAPF.Listen != "" || c.CAPF.LegacyListen != "" {
		k.capf = k.pair(certificateKeys{"capf", "capf.certificate_file", "capf.key_file", c.CAPF.CertificateFile, c.CAPF.KeyFile}, capfUsage)
	}
	if c.EST.Listen != "" {
		k.est = k.pair(certificateKeys{"est", "est.certificate_file", "est.key_file", c.EST.CertificateFile, c.EST.KeyFile}, serverUsage)
	}
	if c.UsesLocalCA() {
		k.pair(certificateKeys{"ca", "ca.certificate_file", "ca.key_file", c.CA.CertificateFile, c.CA.KeyFile}, nil)
	}
	if c.ServesCAPF() && c.CAPF.RAURL != "" {
		k.pair(certificateKeys{"capf ra", "capf.ra_certificate_file", "capf.ra_key_file", c.CAPF.RACertificateFile, c.CAPF.RAKeyFile}, nil)
	}
	if c.EST.Listen != "" && len(c.RA.Vouchers) > 0 {
		k.pair(certificateKeys{"ra responder", "ra.responder_certificate_file", "ra.responder_key_file", c.RA.ResponderCertificateFile, c.RA.ResponderKeyFile}, nil)
	}
	if c.UsesADCS() && c.ADCS.ClientCertificateFile != "" {
		k.pair(certificateKeys{"adcs client", "adcs.client_certificate_file", "adcs.client_key_file", c.ADCS.ClientCertificateFile, c.ADCS.ClientKeyFile}, clientUsage)
	}
	if c.UsesADCS() && c.ADCS.AgentCertificateFile != "" {
		k.pair(certificateKeys{"adcs agent", "adcs.agent_certificate_file", "adcs.agent_key_file", c.ADCS.AgentCertificateFile, c.ADCS.AgentKeyFile}, agentUsage)
	}
}

// pair checks a certificate with its key; usage returns what its work lacks. The result is nil when it cannot be used.
func (k *checker) pair(p certificateKeys, usage func(*checker, string, string, *x509.Certificate) bool) *x509.Certificate {
	name := "certificate " + p.name
	if k.lacks(p.certificate, p.key) {
		k.skip(name, p.certificateFile, "a file of it cannot be used")
		return nil
	}
	pair, err := certfile.LoadKeyPair(p.certificateFile, p.keyFile)
	if err != nil {
		k.failed(name, p.certificateFile, err)
		return nil
	}
	leaf := pair.Leaf()
	fine := k.dates(name, p.certificateFile, leaf)
	if usage != nil && !usage(k, name, p.certificateFile, leaf) {
		fine = false
	}
	if fine {
		k.ok(name, p.certificateFile, "key fits, valid to %s", leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	return leaf
}

// dates reports whether a certificate is within its dates and not near their end.
func (k *checker) dates(name, object string, c *x509.Certificate) bool {
	now := k.now()
	switch {
	case now.Before(c.NotBefore):
		k.fail(name, object, codeNotYetValid, fmt.Sprintf("%s is valid from %s, and this machine's clock says %s", c.Subject, utc(c.NotBefore), utc(now)),
			"set the clock (timedatectl), or replace the certificate")
	case now.After(c.NotAfter):
		k.fail(name, object, codeExpired, fmt.Sprintf("%s expired at %s; this machine's clock says %s", c.Subject, utc(c.NotAfter), utc(now)), "replace the certificate")
	case c.NotAfter.Sub(now) < expiresSoon:
		k.warn(name, object, codeExpiring, fmt.Sprintf("%s expires at %s, in %d days", c.Subject, utc(c.NotAfter), int(c.NotAfter.Sub(now).Hours()/24)), "replace the certificate before that")
	default:
		return true
	}
	return false
}

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }
