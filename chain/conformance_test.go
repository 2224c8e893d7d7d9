package chain_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"callsign/chain"

	"github.com/google/go-cmp/cmp"
)

// The conformance cases. Every rule of every profile has certificates that keep it and certificates that break it, made
// here from RFC 5280 sections 4 and 6 and what the profiles add; the files conformance_*_test.go hold them by subject.

// conformance is one case: certificates, how they are judged, and the exact judgement of each profile.
type conformance struct {
	rule string // that the case is about
	name string

	// The certificates: the usual leaf below the usual intermediate below the usual root, with these edits,
	root, middle, leaf []edit
	// or those of make.
	make func() sample

	set    func(v *chain.Verifier) // settings beside the usual ones
	target string                  // the name asked for: host by default, "-" for none
	want   verdicts

	// Why another verifier refuses what the profile Deployment accepts; it has to.
	goRefuses string
	// Why OpenSSL with -x509_strict refuses what the profile Strict accepts; it has to.
	opensslRefuses string
}

// sample is what one verifier sees.
type sample struct {
	presented, store [][]byte
	anchors          []chain.Anchor // more of the store, with settings
	others           [][]byte       // intermediates at hand
	crls             []*x509.RevocationList
}

// verdicts are what Deployment, Strict and WebPKI say: every fault as rule@depth in the order of the report,
// consequences in braces behind their cause; "" when the certificate is accepted.
type verdicts [3]string

func always(faults string) verdicts { return verdicts{faults, faults, faults} }

// since is a verdict of a profile and those above it, which the ones below do not share.
func since(p chain.Profile, faults string) verdicts {
	var v verdicts
	for i := p; i <= chain.WebPKI; i++ {
		v[i] = faults
	}
	return v
}

// usual is the usual chain with edits.
func usual(rootEdits, middleEdits, leafEdits []edit) sample {
	top := root("Root", rootEdits...)
	middle := top.ca("Middle", middleEdits...)
	return sample{presented: [][]byte{middle.leaf(leafEdits...), middle.cert}, store: certs(top)}
}

func (c *conformance) sample() sample {
	if c.make != nil {
		return c.make()
	}
	return usual(c.root, c.middle, c.leaf)
}

func (c *conformance) verifier(s *sample, p chain.Profile) *chain.Verifier {
	store := storeOf(s.store...)
	for _, a := range s.anchors {
		store.Add(a)
	}
	v := &chain.Verifier{Anchors: store, Intermediates: chain.ParseAll(s.others), CRLs: s.crls, Profile: p, Now: at(noon)}
	if c.set != nil {
		c.set(v)
	}
	return v
}

func (c *conformance) reference() string {
	switch c.target {
	case "":
		return host
	case "-":
		return ""
	default:
		return c.target
	}
}

// found writes faults as verdicts have them.
func found(faults []chain.Fault) string {
	var all []string
	for _, f := range faults {
		text := f.Rule + "@" + strconv.Itoa(f.Depth)
		if len(f.Consequences) > 0 {
			text += "{" + found(f.Consequences) + "}"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// names reports whether a verdict has a fault by this rule, consequences aside.
func names(verdict, rule string) bool {
	depth := 0
	flat := strings.Map(func(r rune) rune {
		switch r {
		case '{':
			depth++
		case '}':
			depth--
			return -1
		}
		if depth > 0 {
			return -1
		}
		return r
	}, verdict)
	return slices.ContainsFunc(strings.Fields(flat), func(f string) bool { return strings.HasPrefix(f, rule+"@") })
}

// conformanceCases are all cases.
func conformanceCases() []conformance {
	return slices.Concat(
		pathCases(), dateCases(), issuerCases(), subtreeCases(), policyCases(), usageCases(), keyCases(), formCases(), webCases(), revocationCases(),
	)
}

// TestConformance holds the exact faults of every case in every profile.
func TestConformance(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range conformanceCases() {
		id := c.rule + "/" + c.name
		if seen[id] {
			t.Errorf("two cases are called %s", id)
		}
		seen[id] = true
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			s := c.sample()
			presented := chain.ParseAll(s.presented)
			for p := chain.Deployment; p <= chain.WebPKI; p++ {
				r := c.verifier(&s, p).Verify(presented, c.reference())
				if diff := cmp.Diff(c.want[p], found(r.Faults)); diff != "" {
					t.Errorf("%s: faults (-want +got)\n%s%s", p, diff, strings.Join(texts(r), "\n"))
				}
				complete(t, r)
			}
			c.otherVerifiers(t, &s)
		})
	}
}

// complete checks what every result has in common.
func complete(t testing.TB, r *chain.Result) {
	t.Helper()
	if r.SignatureChecks > chain.MaxSignatureChecks {
		t.Errorf("%d signatures verified", r.SignatureChecks)
	}
	if len(r.Path) > chain.MaxPathLength {
		t.Errorf("a path of %d certificates", len(r.Path))
	}
	if r.OK() != (r.Err() == nil) {
		t.Errorf("OK is %v, Err %v", r.OK(), r.Err())
	}
	if r.OK() && r.Anchor == nil {
		t.Error("accepted without an anchor")
	}
	codes := map[string]chain.Code{}
	for _, rule := range chain.Rules() {
		codes[rule.Name] = rule.Code
	}
	var look func(faults []chain.Fault)
	look = func(faults []chain.Fault) {
		for i := range faults {
			f := &faults[i]
			if code, ok := codes[f.Rule]; !ok || code != f.Code || !slices.Contains(chain.Codes(), f.Code) {
				t.Errorf("fault of the rule %q has the code %q", f.Rule, f.Code)
			}
			if f.Detail == "" || f.Remedy == "" || f.Depth < 0 || f.Depth > chain.MaxPathLength {
				t.Errorf("incomplete fault: %+v", f)
			}
			if f.Code != chain.NoCertificate && f.Subject == "" {
				t.Errorf("fault without a subject: %+v", f)
			}
			look(f.Consequences)
		}
	}
	look(r.Faults)
}

// otherVerifiers makes sure that what is accepted is not accepted by our own grace only.
func (c *conformance) otherVerifiers(t *testing.T, s *sample) {
	if c.want[chain.Deployment] == "" {
		if err := c.goVerdict(t, s); (err != nil) != (c.goRefuses != "") {
			t.Errorf("crypto/x509 says: %v; refused because: %q", err, c.goRefuses)
		}
	} else if c.goRefuses != "" {
		t.Error("goRefuses is for what is accepted")
	}
	if c.want[chain.Strict] != "" {
		if c.opensslRefuses != "" {
			t.Error("opensslRefuses is for what is accepted")
		}
		return
	}
	if path, err := exec.LookPath("openssl"); err == nil {
		if err := c.opensslVerdict(t, path, s); (err != nil) != (c.opensslRefuses != "") {
			t.Errorf("openssl says: %v; refused because: %q", err, c.opensslRefuses)
		}
	}
}

func (s *sample) anchorDER() [][]byte {
	all := slices.Clone(s.store)
	for _, a := range s.anchors {
		all = append(all, a.Certificate.Raw())
	}
	return all
}

func (c *conformance) goVerdict(t *testing.T, s *sample) error {
	t.Helper()
	v := c.verifier(s, chain.Deployment)
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: v.Now(),
		KeyUsages: []x509.ExtKeyUsage{map[chain.Usage]x509.ExtKeyUsage{
			chain.Server: x509.ExtKeyUsageServerAuth, chain.Client: x509.ExtKeyUsageClientAuth, chain.MIC: x509.ExtKeyUsageClientAuth,
			chain.CA: x509.ExtKeyUsageAny, chain.Any: x509.ExtKeyUsageAny,
		}[v.Usage]},
	}
	for _, der := range s.anchorDER() {
		options.Roots.AddCert(parsed(t, der))
	}
	for _, der := range slices.Concat(s.presented[1:], s.others) {
		if x, err := x509.ParseCertificate(der); err == nil {
			options.Intermediates.AddCert(x)
		}
	}
	leaf := parsed(t, s.presented[0])
	if _, err := leaf.Verify(options); err != nil {
		return err
	}
	if name := c.reference(); name != "" {
		return leaf.VerifyHostname(name)
	}
	return nil
}

func (c *conformance) opensslVerdict(t *testing.T, openssl string, s *sample) error {
	t.Helper()
	v := c.verifier(s, chain.Strict)
	dir := t.TempDir()
	file := func(name string, ders [][]byte) string {
		var data []byte
		for _, der := range ders {
			data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// Security level 0: the rules about keys and digests are ours.
	args := []string{"verify", "-x509_strict", "-auth_level", "0", "-no-CApath", "-no-CAstore", "-attime", strconv.FormatInt(v.Now().Unix(), 10), "-CAfile", file("store", s.anchorDER())}
	if others := slices.Concat(s.presented[1:], s.others); len(others) > 0 {
		args = append(args, "-untrusted", file("untrusted", others))
	}
	switch v.Usage {
	case chain.Server:
		args = append(args, "-purpose", "sslserver")
	case chain.Client, chain.MIC:
		args = append(args, "-purpose", "sslclient")
	case chain.CA, chain.Any:
	}
	if v.PartialChain {
		args = append(args, "-partial_chain")
	}
	switch name := c.reference(); {
	case net.ParseIP(name) != nil:
		args = append(args, "-verify_ip", name)
	case name != "":
		args = append(args, "-verify_hostname", name)
	}
	out, err := exec.Command(openssl, append(args, file("leaf", s.presented[:1]))...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// TestEveryRuleHasCases asks for a case that keeps and one that breaks each rule; what only a higher profile asks for is
// accepted by the one below.
func TestEveryRuleHasCases(t *testing.T) {
	t.Parallel()
	cases := conformanceCases()
	known := map[string]bool{}
	for _, rule := range chain.Rules() {
		known[rule.Name] = true
		keeps, breaks := 0, 0
		for _, c := range cases {
			if c.rule != rule.Name {
				continue
			}
			if c.want[rule.Since] == "" {
				keeps++
			}
			if names(c.want[rule.Since], rule.Name) && (rule.Since == chain.Deployment || !names(c.want[rule.Since-1], rule.Name)) {
				breaks++
			}
		}
		if keeps == 0 || breaks == 0 {
			t.Errorf("rule %s: %d cases keep it in the profile %s, %d break it there and not below", rule.Name, keeps, rule.Since, breaks)
		}
	}
	for _, c := range cases {
		if !known[c.rule] {
			t.Errorf("case %q is about the rule %q, which does not exist", c.name, c.rule)
		}
	}
}

// TestRules holds which rules there are, the code of their faults and the profile that begins to ask for them: records and
// scripts know them.
func TestRules(t *testing.T) {
	t.Parallel()
	want := map[string]chain.Rule{}
	for line := range strings.Lines(`
presented no_certificate deployment
syntax malformed deployment
serial_negative malformed deployment
limits too_complex deployment
key_size_limit too_complex deployment
self_signed_stored self_signed deployment
root_stored unknown_root deployment
issuer_found unknown_issuer deployment
key_identifier unknown_issuer deployment
anchor_complete incomplete_anchor deployment
signature bad_signature deployment
ca_version issuer_not_ca deployment
anchor_version issuer_not_ca strict
ca_basic_constraints issuer_not_ca deployment
ca_key_usage issuer_not_ca deployment
path_length path_length deployment
names_permitted name_constraints deployment
names_excluded name_constraints deployment
names_understood name_constraints deployment
critical_extension unknown_critical_extension deployment
anchor_critical_extension unknown_critical_extension strict
certificate_policy wrong_usage deployment
policy_mapping wrong_usage deployment
not_revoked revoked deployment
crl_available no_crl deployment
crl_current stale_crl deployment
pinned pin_mismatch deployment
validity_end expired deployment
validity_begin not_yet_valid deployment
reference_name name_mismatch deployment
extended_key_usage wrong_usage deployment
key_usage wrong_usage deployment
key_strength weak_key deployment
key_type weak_key deployment
signature_algorithm weak_signature deployment
anchor_signature_algorithm weak_signature webpki
version malformed strict
serial malformed strict
algorithm_match malformed deployment
authority_key_identifier malformed strict
subject_key_identifier malformed strict
ca_subject malformed strict
basic_constraints_critical malformed strict
ca_key_usage_present issuer_not_ca strict
leaf_not_ca malformed strict
subject_alt_name malformed strict
name_constraints_on_ca malformed strict
policy_constraints_critical malformed strict
dns_syntax malformed strict
alt_name_present malformed webpki
alt_name_types malformed webpki
alt_name_reserved malformed webpki
alt_name_wildcard malformed webpki
common_name malformed webpki
extended_key_usage_present wrong_usage webpki
extended_key_usage_root malformed webpki
rsa_modulus weak_key webpki
authority_key_identifier_only malformed webpki
name_constraints_critical malformed webpki
`) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		rule := chain.Rule{Name: fields[0], Code: chain.Code(fields[1])}
		for rule.Since.String() != fields[2] {
			rule.Since++
		}
		want[rule.Name] = rule
	}
	got := map[string]chain.Rule{}
	for _, rule := range chain.Rules() {
		if _, twice := got[rule.Name]; twice {
			t.Errorf("the rule %s stands twice", rule.Name)
		}
		if rule.Source == "" || !strings.HasSuffix(rule.Text, ".") {
			t.Errorf("the rule %s does not say where it is from and what it asks: %+v", rule.Name, rule)
		}
		got[rule.Name] = chain.Rule{Name: rule.Name, Code: rule.Code, Since: rule.Since}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-want +got)\n%s", diff)
	}
}
