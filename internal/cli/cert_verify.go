package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/chain"
	"callsign/internal/certfile"
)

// verifyFlags is the command line of cert verify.
type verifyFlags struct {
	reader *certReader

	trust, intermediates, crls, micIssuers []string
	name, usage, profile, at, names        string
	requireCRL, partialChain               bool

	named bool // --name was given, perhaps as ""
}

// The words of flags and what they mean.
var (
	usageWords   = []string{"server", "client", "ca", "any", "mic"}
	usages       = map[string]chain.Usage{"server": chain.Server, "client": chain.Client, "ca": chain.CA, "any": chain.Any, "mic": chain.MIC}
	profileWords = []string{"deployment", "strict", "webpki"}
	profiles     = map[string]chain.Profile{"deployment": chain.Deployment, "strict": chain.Strict, "webpki": chain.WebPKI}
	namesWords   = []string{"rfc9525", "ats"}
	nameRules    = map[string]chain.NameRules{"rfc9525": chain.NamesRFC9525, "ats": chain.NamesATS}
)

func (e *env) certVerify() *cobra.Command {
	v := &verifyFlags{reader: &certReader{env: e}}
	cmd := &cobra.Command{
		Use: "verify FILE|-|HOST:PORT...", Short: "Judge certificates and explain every fault", Args: atLeastOne(certArguments),
		Long: `Judge certificates and explain everything that is wrong with them: each fault with its rule, what was found and what was
expected, and what to do. The certificates of one FILE are a chain as a server presents it, the one to judge first.
Only what --trust names is trusted, never the operating system's store; nothing is fetched from the network.
` + containers + `
The name of a live server is checked unless --name is given; --name "" checks none.`,
		Example: `  callsign cert verify cucm.example.com:8443 --trust corp-root.pem
  callsign cert verify tomcat.pem --trust corp-root.pem --intermediates corp-issuing.pem --name cucm.example.com
  callsign cert verify phone.pem --usage mic --mic-issuer manufacturer-ca.pem
  callsign cert verify edge.pem --trust public-roots.pem --profile webpki --at 2027-01-01T00:00:00Z --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			v.named = cmd.Flags().Changed("name")
			return e.verify(cmd.Context(), v, args)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&v.trust, "trust", nil, "`file` with certificates to trust; may be repeated")
	f.StringArrayVar(&v.intermediates, "intermediates", nil, "`file` with CA certificates that help to build the chain; may be repeated")
	f.StringVar(&v.name, "name", "", "the certificate has to be for this `name`, a DNS name or an IP address (default: a live server's own)")
	f.StringVar(&v.usage, "usage", "server", "judge it as `kind`: server, client, ca, any or mic")
	f.StringVar(&v.profile, "profile", "deployment", "`rules`: deployment, strict (RFC 5280 and 9525 to the letter) or webpki (public servers)")
	f.StringVar(&v.at, "at", "", "judge it at this `time`, as 2026-11-20T12:00:00Z (default: now)")
	f.StringArrayVar(&v.crls, "crl", nil, "`file` with revocation lists; may be repeated")
	f.BoolVar(&v.requireCRL, "require-crl", false, "refuse certificates without a current revocation list of their issuer")
	f.StringVar(&v.names, "names", "rfc9525", "`rules` for the name: rfc9525, or ats for what Apache Traffic Server accepts")
	f.BoolVar(&v.partialChain, "partial-chain", false, "trust every certificate of --trust, also one that is not self-signed")
	f.StringArrayVar(&v.micIssuers, "mic-issuer", nil, "`file` with issuers of manufacturers' certificates to trust: SHA-1 is accepted below them with --usage mic; may be repeated")
	v.reader.flags(cmd)
	complete(cmd, "usage", usageWords...)
	complete(cmd, "profile", profileWords...)
	complete(cmd, "names", namesWords...)
	return exits(cmd, exitOK, exitFailed, exitUsage, exitFindings, exitPartial, exitUnreachable)
}

// check judges the command line before anything is read.
func (v *verifyFlags) check() error {
	for _, f := range []struct {
		flag, got string
		words     []string
	}{{"usage", v.usage, usageWords}, {"profile", v.profile, profileWords}, {"names", v.names, namesWords}} {
		if !slices.Contains(f.words, f.got) {
			return wrongValue(f.flag, f.got, f.words...)
		}
	}
	if len(v.trust)+len(v.micIssuers) == 0 {
		return usage(errors.New("nothing is trusted: name the root certificate with --trust FILE; the operating system's store is never used"))
	}
	if err := checkName(v.name); err != nil {
		return err
	}
	return v.reader.open()
}

// checkName refuses names that no certificate can be for: those that still have a port or a scheme.
func checkName(name string) error {
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil || name == "" {
		return nil
	}
	if _, rest, ok := strings.Cut(name, "://"); ok {
		host, _, _ := strings.Cut(rest, "/")
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		return usage(fmt.Errorf("--name %q is a URL; did you mean --name %s?", name, host))
	}
	if host, _, err := net.SplitHostPort(name); err == nil {
		return usage(fmt.Errorf("--name %q has a port; did you mean --name %s?", name, host))
	}
	if strings.ContainsAny(name, "/ ") {
		return usage(fmt.Errorf("--name %q is neither a DNS name nor an IP address", name))
	}
	return nil
}

// clock returns the time of the judgement.
func (v *verifyFlags) clock() (time.Time, error) {
	if v.at == "" {
		return time.Now(), nil
	}
	return parseAt(v.at)
}

// parseAt reads the value of --at.
func parseAt(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err == nil {
		return t, nil
	}
	suggestion := ""
	for _, layout := range []string{time.DateOnly, time.DateTime, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02T15:04Z07:00", "20060102150405Z", "Jan _2 15:04:05 2006 MST"} {
		if near, err := time.Parse(layout, text); err == nil {
			suggestion = "; did you mean " + near.UTC().Format(time.RFC3339) + "?"
			break
		}
	}
	return t, usage(fmt.Errorf("--at %q: use RFC 3339, for example %s%s", text, time.Now().UTC().Format(time.RFC3339), suggestion))
}

// verifier reads everything that the judgement needs beside the certificates themselves.
func (v *verifyFlags) verifier(e *env) (*chain.Verifier, error) {
	now, err := v.clock()
	if err != nil {
		return nil, err
	}
	store := chain.NewStore().Named(v.storeName())
	for _, from := range []struct {
		files []string
		mic   bool
	}{{v.trust, false}, {v.micIssuers, true}} { // the last setting of an anchor counts
		for _, file := range from.files {
			certs, err := v.certificates(e, file)
			if err != nil {
				return nil, err
			}
			for _, c := range certs {
				store.Add(chain.Anchor{Certificate: c, MIC: from.mic})
			}
		}
	}
	judge := &chain.Verifier{
		Anchors: store, Profile: profiles[v.profile], Usage: usages[v.usage], Names: nameRules[v.names], PartialChain: v.partialChain,
		RequireCRL: v.requireCRL, Now: func() time.Time { return now },
	}
	for _, file := range v.intermediates {
		certs, err := v.certificates(e, file)
		if err != nil {
			return nil, err
		}
		judge.Intermediates = append(judge.Intermediates, certs...)
	}
	for _, file := range v.crls {
		lists, err := v.revocationLists(e, file)
		if err != nil {
			return nil, err
		}
		judge.CRLs = append(judge.CRLs, lists...)
	}
	return judge, nil
}

// storeName is how remedies call what is trusted.
func (v *verifyFlags) storeName() string {
	files := slices.Concat(v.trust, v.micIssuers)
	if len(files) > 3 {
		files = append(files[:3:3], "...")
	}
	return "the trust store (" + strings.Join(files, ", ") + ")"
}

// certificates reads the certificates of a file, also those that do not parse, of which stderr tells.
func (v *verifyFlags) certificates(e *env, file string) ([]*chain.Certificate, error) {
	in := &certInput{source: file}
	contents, err := v.reader.file(file, true)
	in.objects, in.err = contents.Objects, err
	ders := in.ders()
	if len(ders) == 0 {
		return nil, in.nothing("certificate")
	}
	e.warnAll(in.problems(0))
	in.warnKey(e)
	return chain.ParseAll(ders), nil
}

func (v *verifyFlags) revocationLists(e *env, file string) ([]*x509.RevocationList, error) {
	in := &certInput{source: file}
	contents, err := v.reader.file(file, true)
	in.objects, in.err = contents.Objects, err
	lists := contents.RevocationLists()
	if len(lists) == 0 {
		return nil, in.nothing("revocation list")
	}
	e.warnAll(in.problems(0))
	return lists, nil
}

// nothing is the error of a file without what was looked for in it.
func (in *certInput) nothing(what string) error {
	if in.err != nil {
		return in.err
	}
	name := in.source
	if name == "-" {
		name = "stdin"
	}
	detail := "holds no " + what
	if len(in.objects) > 0 {
		detail += ", only a " + in.objects[0].Kind.String()
	}
	return &certfile.Error{Path: name, ErrCode: certfile.CodeEmpty, Detail: detail, Fix: "name a file that holds a " + what + " in PEM or DER form"}
}

func (e *env) warnAll(problems []error) {
	for _, p := range problems {
		e.warn(p.Error())
	}
}

// verify is the command.
func (e *env) verify(ctx context.Context, v *verifyFlags, args []string) error {
	if err := v.check(); err != nil {
		return err
	}
	judge, err := v.verifier(e)
	if err != nil {
		return err
	}
	var judged []*judgement
	var failed []error
	for _, a := range args {
		j, err := e.judge(ctx, v, judge, a)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			failed = append(failed, err)
		default:
			judged = append(judged, j)
		}
	}
	err = errors.Join(failed...)
	if len(judged) == 0 {
		return err
	}
	if err := e.printJudgements(judged, len(args) > 1); err != nil {
		return err
	}
	switch {
	case slices.ContainsFunc(judged, func(j *judgement) bool { return !j.result.OK() }):
		return &exitError{code: exitFindings, err: err}
	case err != nil:
		return &exitError{code: exitPartial, err: err}
	default:
		return nil
	}
}

// judgement is what was said of one argument.
type judgement struct {
	source string
	flags  *verifyFlags
	judge  *chain.Verifier
	result *chain.Result
	unused []*chain.Certificate // presented, and in no place of the path
	server *serverItem          // nil for a file
}

func (e *env) judge(ctx context.Context, v *verifyFlags, judge *chain.Verifier, arg string) (*judgement, error) {
	in := v.reader.read(ctx, arg, v.name, true)
	ders := in.ders()
	if len(ders) == 0 && in.server == nil {
		return nil, in.nothing("certificate")
	}
	// Certificates that do not parse are faults, or are shown among those that are not used.
	e.warnAll(in.problems(certfile.Certificate))
	in.warnKey(e)
	name := v.name
	if !v.named && judge.Usage == chain.Server {
		name = in.host
	}
	presented := chain.ParseAll(ders)
	j := &judgement{source: arg, flags: v, judge: judge, result: judge.Verify(presented, name), server: in.serverItem()}
	for _, c := range presented {
		if !slices.ContainsFunc(j.result.Path, func(p *chain.Certificate) bool { return p.SHA256() == c.SHA256() }) {
			j.unused = append(j.unused, c)
		}
	}
	return j, nil
}

// verdictItem is a judgement in JSON.
type verdictItem struct {
	Source  string       `json:"source"`
	Verdict string       `json:"verdict"` // pass, fail
	Name    string       `json:"name"`    // empty when no name was checked
	Usage   string       `json:"usage"`
	Profile string       `json:"profile"`
	At      string       `json:"at"`
	Chain   []linkItem   `json:"chain"`
	Unused  []unusedItem `json:"unused"` // presented, and not part of the chain
	Faults  []faultItem  `json:"faults"`
	Notes   []noteItem   `json:"notes"`
	Curl    *curlItem    `json:"curl,omitempty"`
	Server  *serverItem  `json:"server,omitempty"`
}

// linkItem is a certificate of the chain in JSON.
type linkItem struct {
	Depth      int      `json:"depth"`
	Subject    string   `json:"subject"`
	Issuer     string   `json:"issuer"`
	Serial     string   `json:"serial"`
	NotBefore  string   `json:"not_before"`
	NotAfter   string   `json:"not_after"`
	Key        string   `json:"key"`
	Signature  string   `json:"signature_algorithm"`
	SHA256     string   `json:"sha256"`
	SubjectKey string   `json:"subject_key_id"`
	Authority  string   `json:"authority_key_id"`
	Names      []string `json:"names"`
	Anchor     bool     `json:"anchor"`
	Malformed  string   `json:"malformed,omitempty"` // why it does not parse
}

type unusedItem struct {
	Subject   string `json:"subject"`
	Issuer    string `json:"issuer"`
	SHA256    string `json:"sha256"`
	Malformed string `json:"malformed,omitempty"`
}

// faultItem is a fault in JSON.
type faultItem struct {
	Code         string       `json:"code"`
	Rule         string       `json:"rule"`
	Source       string       `json:"source"` // of the rule
	Depth        int          `json:"depth"`
	Subject      string       `json:"subject"`
	Detail       string       `json:"detail"`
	Actual       string       `json:"actual"`
	Expected     string       `json:"expected"`
	Remedy       string       `json:"remedy"`
	NearMisses   []string     `json:"near_misses"`
	Consequences []faultItem  `json:"consequences"`
	OpenSSL      *opensslItem `json:"openssl,omitempty"` // absent when OpenSSL has nothing like it
}

type opensslItem struct {
	Number int    `json:"number"`
	Text   string `json:"text"`
	Depth  int    `json:"depth"`
}

type noteItem struct {
	Depth int    `json:"depth"`
	Text  string `json:"text"`
}

type curlItem struct {
	Code int    `json:"code"`
	Text string `json:"text"`
}

// item returns the judgement in the form of JSON.
func (j *judgement) item() *verdictItem {
	r := j.result
	i := &verdictItem{
		Source: j.source, Verdict: "pass", Name: r.Name, Usage: j.judge.Usage.String(), Profile: j.judge.Profile.String(), At: utc(r.Time),
		Chain: []linkItem{}, Unused: []unusedItem{}, Faults: faultItems(r.Faults), Notes: []noteItem{}, Server: j.server,
	}
	for depth, c := range r.Path {
		i.Chain = append(i.Chain, newLink(c, depth, r.Anchor != nil && depth == len(r.Path)-1, r.Time))
	}
	for _, c := range j.unused {
		i.Unused = append(i.Unused, unusedItem{c.Subject(), c.Issuer(), c.SHA256(), malformed(c)})
	}
	for _, n := range r.Notes {
		i.Notes = append(i.Notes, noteItem(n))
	}
	if curl, ok := j.curl(); ok {
		i.Verdict, i.Curl = "fail", &curlItem{curl.Code, curl.Text}
	}
	return i
}

// curl is the failure in curl's terms.
func (j *judgement) curl() (chain.Curl, bool) {
	e, ok := errors.AsType[*chain.Error](j.result.Err())
	if !ok {
		return chain.Curl{}, false
	}
	return e.Curl(), true
}

func newLink(c *chain.Certificate, depth int, anchor bool, now time.Time) linkItem {
	l := linkItem{
		Depth: depth, Subject: c.Subject(), Issuer: c.Issuer(), SHA256: c.SHA256(), Names: []string{}, Anchor: anchor, Malformed: malformed(c),
	}
	if x := c.X509(); x != nil {
		i := newCertItem("", x, now)
		l.Serial, l.NotBefore, l.NotAfter, l.Key, l.Signature = i.Serial, i.NotBefore, i.NotAfter, i.Key, i.Signature
		l.SubjectKey, l.Authority, l.Names = i.SubjectKey, i.Authority, i.Names
	} else {
		l.Serial = c.Err().Serial
	}
	return l
}

func malformed(c *chain.Certificate) string {
	if c.X509() != nil {
		return ""
	}
	return c.Err().Error()
}

func faultItems(faults []chain.Fault) []faultItem {
	items := make([]faultItem, 0, len(faults))
	for i := range faults {
		f := &faults[i]
		item := faultItem{
			Code: string(f.Code), Rule: f.Rule, Source: ruleOf(f).Source, Depth: f.Depth, Subject: f.Subject, Detail: f.Detail, Actual: f.Actual,
			Expected: f.Expected, Remedy: f.Remedy, NearMisses: append([]string{}, f.NearMisses...), Consequences: faultItems(f.Consequences),
		}
		if o := f.OpenSSL(); o.Number != 0 {
			item.OpenSSL = &opensslItem{o.Number, o.Text, o.Depth}
		}
		items = append(items, item)
	}
	return items
}

// ruleOf returns the rule that a fault breaks.
func ruleOf(f *chain.Fault) chain.Rule {
	for _, r := range chain.Rules() {
		if r.Name == f.Rule {
			return r
		}
	}
	return chain.Rule{Name: f.Rule}
}

// printJudgements prints one object for one argument, and a list for several.
func (e *env) printJudgements(judged []*judgement, several bool) error {
	if !e.json {
		r := e.newReport()
		for i, j := range judged {
			if i > 0 {
				fmt.Fprintln(e.out)
			}
			r.judgement(j)
		}
		return nil
	}
	items := make([]*verdictItem, len(judged))
	for i, j := range judged {
		items[i] = j.item()
	}
	if !several {
		return e.printJSON(items[0])
	}
	return e.printJSON(struct {
		Items []*verdictItem `json:"items"`
		Total int            `json:"total"`
	}{items, len(items)})
}
