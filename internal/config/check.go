package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"regexp"
	"strings"

	"callsign/internal/secret"
)

// Check reports as an Errors everything that is wrong with the values, and keys that are missing for what is switched
// on. Load has done it; it serves for a Config made in memory.
func (c *Config) Check() error {
	if problems := c.problems(nil, false); len(problems) > 0 {
		return problems
	}
	return nil
}

// CheckFiles reports as an Errors the input files that are missing or cannot be read, and the secret ones that others
// can read. It does not look into them.
func (c *Config) CheckFiles() error {
	if problems := c.fileProblems(nil); len(problems) > 0 {
		return problems
	}
	return nil
}

// fileProblems judges the input files of all keys but those in bad.
func (c *Config) fileProblems(bad map[string]bool) Errors {
	var problems Errors
	said := map[string]bool{}
	for _, k := range c.table() {
		if bad[k.full()] {
			continue
		}
		for _, path := range k.paths(c) {
			if k.base != nil && said[path] {
				continue // the label has it from [ra]
			}
			found := c.checkFile(&k, path)
			said[path] = said[path] || found != nil
			problems = append(problems, found...)
		}
	}
	return problems
}

// paths are the files that the key's value names.
func (k *key) paths(c *Config) []string {
	switch v := k.value(c).(type) {
	case string:
		if v != "" {
			return []string{v}
		}
	case []string:
		return v
	}
	return nil
}

// checkFile reports what is wrong with one file of a key.
func (c *Config) checkFile(k *key, path string) Errors {
	var err error
	switch k.path {
	case secretIn:
		err = secret.CheckFile(path)
	case inFile:
		err = checkReadable(path)
	case notPath, outPath:
	}
	if err == nil {
		return nil
	}
	text := err.Error()
	if f, ok := errors.AsType[*FileError](err); ok { // which speaks of configuration files
		text = "file " + f.Path + ": " + f.Detail
	}
	p := c.problem(k.section, k.full(), text, "")
	var remedy interface{ Remedy() string }
	if errors.As(err, &remedy) {
		p.Fix = remedy.Remedy()
	}
	return Errors{p}
}

func checkReadable(path string) error {
	f, err := os.Open(path) //nolint:gosec // the administrator names the file
	if err == nil {
		return f.Close()
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return &FileError{
		Path: path, ErrCode: "config.file-unreadable", Detail: err.Error(), Err: err,
		Fix: "create " + path + " or correct its name, and make it readable for the user that runs callsign",
	}
}

// problem makes a Problem at the place where key was set, or of its section.
func (c *Config) problem(section, key, text, fix string) Problem {
	at, ok := c.origins[key]
	if !ok {
		at = c.origins[section]
	}
	if at.file == "" && at.variable == "" {
		at.file = c.Path
	}
	return Problem{File: at.file, Line: at.line, Column: at.column, Variable: at.variable, Key: key, Text: text, Fix: fix}
}

// problems judges values and missing keys. Keys in bad are passed over. With partial set a file could not be read, and
// nothing is said of missing keys.
func (c *Config) problems(bad map[string]bool, partial bool) Errors {
	var problems Errors
	wrong := map[string]bool{}
	for _, k := range c.table() {
		if bad[k.full()] {
			continue
		}
		if k.base != nil && equal(k.value(c), k.base(c)) {
			continue // it was judged in [ra]
		}
		if text := k.wrong(c); text != "" {
			wrong[k.full()] = true
			problems = append(problems, c.problem(k.section, k.full(), text, ""))
		}
	}
	problems = append(problems, c.labelProblems()...)
	if partial {
		return problems
	}
	r := rules{c: c, silent: func(key string) bool { return bad[key] || wrong[key] }}
	r.all()
	return append(problems, r.found...)
}

// rules are the checks that look at more than one key.
type rules struct {
	c      *Config
	silent func(key string) bool // the key has a problem already
	found  Errors
}

// add reports a key of a fixed section.
func (r *rules) add(key, text, fix string) {
	section, _, _ := strings.Cut(key, ".")
	r.addIn(section, key, text, fix)
}

func (r *rules) addIn(section, key, text, fix string) {
	if !r.silent(key) {
		r.found = append(r.found, r.c.problem(section, key, text, fix))
	}
}

// needs reports keys without a value.
func (r *rules) needs(reason string, keys ...string) {
	table := table()
	for _, name := range keys {
		for _, k := range table {
			if k.full() == name && k.value(r.c) == "" {
				fix := fmt.Sprintf("set %s in section [%s]", k.name, k.section)
				if k.example != nil {
					fix += fmt.Sprintf(", for example: %s = %s", k.name, k.exampleTOML())
				}
				if served := r.servedByDefault(reason); served != "" {
					fix += "; " + served
				}
				r.add(name, "is missing: "+reason+" needs it", fix)
			}
		}
	}
}

// servedByDefault says how to do without a key that is missing because phones are served where nobody said otherwise.
func (r *rules) servedByDefault(reason string) string {
	if _, set := r.c.origins["capf.listen"]; set || !strings.HasPrefix(reason, "capf.listen") && !strings.HasPrefix(reason, "capf.issuer") {
		return ""
	}
	return `or, where no phones are served, set listen = "" in section [capf]`
}

// together reports the empty one of two keys that belong together.
func (r *rules) together(a, b string, first, second string) {
	switch {
	case first != "" && second == "":
		r.needs(a, b)
	case first == "" && second != "":
		r.needs(b, a)
	}
}

func (r *rules) all() {
	c := r.c
	if c.Store.Path == "" {
		r.add("store.path", "must not be empty", "")
	}
	// One missing key is reported once, with the most telling reason: r.needs for listeners comes before pairs.
	r.capf()
	r.est()
	r.authorities()
	r.accounts()
	r.pairs()
	// The commands on clusters need no listener.
	if !c.ServesCAPF() && c.EST.Listen == "" && len(c.Cluster.Files) == 0 {
		r.add("capf.listen", "and est.listen are both empty: there is nothing to serve", "set one of them")
	}
	if c.CAPF.Listen != "" && c.CAPF.Listen == c.EST.Listen && !TakesFreePort(c.EST.Listen) {
		r.add("est.listen", "is the address of capf.listen"+got(c.EST.Listen), "give each listener its own port")
	}
}

// authorities judges the sections of those who sign.
func (r *rules) authorities() {
	c := r.c
	if c.UsesLocalCA() {
		reason := `capf.issuer = "local"`
		if !c.ServesCAPF() || c.CAPF.Issuer != IssuerLocal {
			reason = c.authorityFor(AuthorityLocal) + ` = "local"`
		}
		r.needs(reason, "ca.certificate_file", "ca.key_file")
	}
	if !c.UsesADCS() {
		return
	}
	const direct = `capf.issuer = "online-ca" without capf.ra_url`
	reason, template := direct, ""
	if key := c.authorityFor(AuthorityADCS); key != "" {
		reason = key + ` = "adcs"`
	}
	if c.asksADCS() {
		template = direct
	}
	if c.EST.Listen != "" {
		for _, p := range c.profiles() {
			if p.Authority == AuthorityADCS && p.Template == "" {
				template = p.section + `.authority = "adcs"`
				break
			}
		}
	}
	r.needs(reason, "adcs.url")
	if template != "" {
		r.needs(template, "adcs.template")
	}
	r.needs(reason, "adcs.username")
	r.login(reason)
	if c.asksADCS() || len(c.RA.Vouchers) > 0 {
		r.needs("a request for a phone, which AD CS accepts from an enrollment agent only,",
			"adcs.agent_certificate_file", "adcs.agent_key_file")
	} else if c.ADCS.SignRequests != SignOff {
		r.needs(fmt.Sprintf("adcs.sign_requests = %q", c.ADCS.SignRequests), "adcs.agent_certificate_file", "adcs.agent_key_file")
	}
}

// login judges how the RA's account logs in to AD CS.
func (r *rules) login(reason string) {
	c := &r.c.ADCS
	switch {
	case c.Auth != AuthKerberos && c.KeytabFile != "":
		r.add("adcs.keytab_file", fmt.Sprintf("is of no use with adcs.auth = %q", c.Auth), `set adcs.auth = "kerberos", or remove the keytab and set adcs.password_file`)
	case c.Auth == AuthKerberos && c.KeytabFile != "" && c.PasswordFile != "":
		r.add("adcs.password_file", "is set beside adcs.keytab_file, and one secret is enough", "remove one of them")
	case c.Auth != AuthKerberos || c.KeytabFile == "":
		r.needs(reason, "adcs.password_file")
	}
	if c.Auth == AuthKerberos && c.Username != "" && !strings.Contains(c.Username, "@") && c.Krb5File == "" {
		r.needs(fmt.Sprintf(`adcs.auth = "kerberos" with the user %s, who names no realm,`, c.Username), "adcs.kerberos_realm")
	}
}

// accounts judges on behalf of whom requests to AD CS are, also those that are exported.
func (r *rules) accounts() {
	c := &r.c.ADCS
	switch {
	case c.Vouch == VouchOnBehalf:
		r.needs(`adcs.vouch = "on-behalf"`, "adcs.requester")
	case c.SignRequests == SignPKCS7:
		r.needs(`adcs.sign_requests = "pkcs7"`, "adcs.requester")
	}
	if c.Requester != "" && c.RequesterNames == "" {
		r.add("adcs.requester_names", "is empty: every name could be asked for", "remove the line, or let the expression match the names of devices alone")
	}
}

func (r *rules) capf() {
	c := r.c
	if !c.ServesCAPF() {
		return
	}
	if c.CAPF.Listen != "" || c.CAPF.LegacyListen != "" {
		r.needs("capf.listen", "capf.certificate_file", "capf.key_file")
	}
	r.capfListeners()
	if c.Renewal.Enabled && c.Renewal.Fallback == FallbackMIC && len(c.CAPF.MICFiles) == 0 {
		r.add("renewal.fallback", `is "mic", and no MIC can be checked: capf.mic_files is empty`, "name the manufacturing CAs in capf.mic_files, or choose another fallback")
	}
	if c.CAPF.Issuer != IssuerOnlineCA || c.CAPF.RAURL == "" {
		return
	}
	r.needs("capf.ra_url", "capf.ra_ca_file", "capf.ra_certificate_file", "capf.ra_key_file")
	if c.EST.Listen != "" && c.RA.AnswerWithin >= c.CAPF.AnswerWithin {
		r.add("ra.answer_within", fmt.Sprintf("must be shorter than capf.answer_within (got %s and %s)",
			c.RA.AnswerWithin, c.CAPF.AnswerWithin), "")
	}
	if c.EST.Listen != "" && len(c.RA.Vouchers) > 0 && !r.silent("ra.voucher_subject") {
		r.subject()
	}
}

// capfListeners judges the addresses besides capf.listen.
func (r *rules) capfListeners() {
	c := r.c
	if a := c.CAPF.PlainListen; a != "" && !r.silent("capf.plain_listen") {
		host, _, _ := net.SplitHostPort(a)
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) && !c.CAPF.PlainBeyondLoopback {
			r.add("capf.plain_listen", "is no loopback address, and what passes there is not encrypted"+got(a),
				"use 127.0.0.1 or ::1 with the TLS terminator on this machine; or set capf.plain_beyond_loopback = true when the network between them is as safe")
		}
		if !TakesFreePort(a) && (a == c.CAPF.Listen || a == c.CAPF.LegacyListen || a == c.EST.Listen) {
			r.add("capf.plain_listen", "is the address of another listener"+got(a), "give each listener its own port")
		}
	}
	if a := c.CAPF.LegacyListen; a != "" && a == c.EST.Listen && !TakesFreePort(a) {
		r.add("capf.legacy_listen", "is the address of est.listen"+got(a), "give each listener its own port")
	}
}

// subject tries names as capf.subject makes them against the ra.voucher_subject of the RA beside CAPF. Where the pattern
// takes none of the names in any usual form, it is made for phones that we do not know, and nothing can be said.
func (r *rules) subject() {
	pattern, err := regexp.Compile("^(?:" + r.c.RA.VoucherSubject + ")$")
	if err != nil {
		return // has been said
	}
	for _, name := range []string{"SEP001122334455", "CSFALICE", "TCTALICE", "BOTALICE", "TABALICE", "CTIALICE"} {
		fill := strings.NewReplacer("{name}", name, "{model}", "8865")
		cn := fill.Replace(r.c.CAPF.Subject)
		if pattern.MatchString(cn) {
			return
		}
		if pattern.MatchString(name) || pattern.MatchString(fill.Replace("{model}-{name}")) {
			r.add("capf.subject", fmt.Sprintf("makes common names such as %q, which ra.voucher_subject refuses", cn),
				"change capf.subject, or let ra.voucher_subject match these names")
			return
		}
	}
}

func (r *rules) est() {
	c := r.c
	if c.EST.Listen == "" {
		return
	}
	r.needs("est.listen", "est.certificate_file", "est.key_file")
	r.profiles()
	switch {
	case len(c.RA.Vouchers) > 0:
		r.needs("ra.vouchers", "ra.voucher_ca_file", "ra.responder_certificate_file", "ra.responder_key_file")
	case c.RA.VoucherCAFile != "":
		r.add("ra.vouchers", "is missing: with ra.voucher_ca_file alone nobody may vouch",
			`list who may, for example: vouchers = ["CN=CAPF RA"]`)
	}
}

// pairs reports certificates without a key and keys without a certificate.
func (r *rules) pairs() {
	c := r.c
	said := map[string]bool{}
	for _, p := range r.found {
		said[p.Key] = true
	}
	before := r.silent
	r.silent = func(key string) bool { return said[key] || before(key) }
	r.together("capf.certificate_file", "capf.key_file", c.CAPF.CertificateFile, c.CAPF.KeyFile)
	r.together("capf.ra_certificate_file", "capf.ra_key_file", c.CAPF.RACertificateFile, c.CAPF.RAKeyFile)
	r.together("ca.certificate_file", "ca.key_file", c.CA.CertificateFile, c.CA.KeyFile)
	r.together("adcs.client_certificate_file", "adcs.client_key_file", c.ADCS.ClientCertificateFile, c.ADCS.ClientKeyFile)
	r.together("adcs.agent_certificate_file", "adcs.agent_key_file", c.ADCS.AgentCertificateFile, c.ADCS.AgentKeyFile)
	r.together("est.certificate_file", "est.key_file", c.EST.CertificateFile, c.EST.KeyFile)
	r.together("ra.responder_certificate_file", "ra.responder_key_file",
		c.RA.ResponderCertificateFile, c.RA.ResponderKeyFile)
	r.silent = before
}

// TakesFreePort reports whether the address takes a free port.
func TakesFreePort(address string) bool {
	return len(address) > 2 && address[len(address)-2:] == ":0"
}
