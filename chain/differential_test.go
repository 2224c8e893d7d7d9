package chain_test

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"callsign/chain"
)

// TestDifferential compares our verdicts with those of crypto/x509 and of openssl verify over random worlds of
// certificates, some of them damaged. Where verdicts differ, a rule of ours has to explain it: one that the other does not
// have, or has in another form. `make differential` runs 100,000 worlds, make check a few hundred.
func TestDifferential(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	const shards = 4 // side by side; each makes as many worlds as -rapid.checks says, 100 by default
	for i := range shards {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			count, dir := tally{}, t.TempDir()
			rapid.Check(t, func(t *rapid.T) {
				p := drawPKI(t)
				ours := p.verify()
				p.compareGo(t, ours, count)
				p.compareOpenSSL(t, openssl, dir, ours, count)
			})
			for _, line := range slices.Sorted(maps.Keys(count)) {
				t.Logf("%7d  %s", count[line], line)
			}
		})
	}
}

// tally counts agreements, and differences by what explains them.
type tally map[string]int

func (p *randomPKI) verifier(store [][]byte) *chain.Verifier {
	return &chain.Verifier{Anchors: chain.NewStore(chain.ParseAll(store)...), Now: at(noon)}
}

func (p *randomPKI) verify() *chain.Result {
	return p.verifier(p.store).Verify(chain.ParseAll(append([][]byte{p.leaf}, p.sent...)), p.name)
}

// ruleNames are the rules of all faults that are not consequences.
func ruleNames(r *chain.Result) []string {
	var names []string
	for _, f := range r.Faults {
		names = append(names, f.Rule)
	}
	return names
}

// goLacks are the rules that crypto/x509 does not have, or has in a weaker form.
var goLacks = []string{
	"key_identifier",  // identifiers sort candidates there, and refuse none
	"anchor_complete", // every certificate of the pool is an anchor
	"key_strength",    // RSA 1024 is accepted
	"key_type",        // P-224 is accepted
	"key_usage",       // the leaf's is not looked at
	"ca_version",      // of an anchor that is not self-signed
	"names_permitted", // directory names, and mail addresses in the subject, are not constrained
	"names_excluded",  // the same
}

func (p *randomPKI) compareGo(t *rapid.T, ours *chain.Result, count tally) {
	leaf, err := x509.ParseCertificate(p.leaf)
	if err != nil {
		if ours.OK() {
			t.Fatalf("accepted a leaf that does not parse: %v", err)
		}
		count["go: leaf does not parse"]++
		return
	}
	pool := func(ders [][]byte) *x509.CertPool {
		pool := x509.NewCertPool()
		for _, der := range ders {
			if c, err := x509.ParseCertificate(der); err == nil {
				pool.AddCert(c)
			}
		}
		return pool
	}
	options := x509.VerifyOptions{Roots: pool(p.store), Intermediates: pool(p.sent), CurrentTime: noon, DNSName: p.name}
	chains, err := leaf.Verify(options)
	switch {
	case (err == nil) == ours.OK():
		count["go: agreed, accepted "+strconv.FormatBool(err == nil)]++
	case err == nil:
		why, explained := p.stricterThan(chains[0], goLacks)
		if !explained {
			t.Fatalf("crypto/x509 accepts a path of %d, which we refuse by %q: %v\n%s", len(chains[0]), why, texts(ours), p)
		}
		count["go: we refuse by "+why]++
	default:
		// The same path and nothing else, so that it is about the path's own certificates.
		options.Roots, options.Intermediates = pool(raws(ours.Path[len(ours.Path)-1:])), pool(raws(ours.Path))
		_, alone := leaf.Verify(options)
		why := milderThanGo(ours, alone)
		if why == "" {
			t.Fatalf("we accept a path of %d, and crypto/x509 says: %v (this path alone: %v)\n%s", len(ours.Path), err, alone, p)
		}
		count["go: we accept by "+why]++
	}
}

func raws(path []*chain.Certificate) [][]byte {
	var ders [][]byte
	for _, c := range path {
		ders = append(ders, c.Raw())
	}
	return ders
}

// stricterThan judges a path that another verifier has accepted, and returns our rules that refuse it. They explain the
// difference when there are any and all of them are among those that the other lacks.
func (p *randomPKI) stricterThan(path []*x509.Certificate, lacks []string) (names string, explained bool) {
	broken := p.verifier(nil).JudgePath(chain.OfAll(path), p.name)
	slices.Sort(broken)
	broken = slices.Compact(broken)
	explained = len(broken) > 0 && !slices.ContainsFunc(broken, func(name string) bool { return !slices.Contains(lacks, name) })
	return strings.Join(broken, "+"), explained
}

// milderThanGo returns the rule by which we accept what crypto/x509 refuses, "" when there is none.
func milderThanGo(ours *chain.Result, err error) string {
	var (
		hostname  x509.HostnameError
		unhandled x509.UnhandledCriticalExtension
		invalid   x509.CertificateInvalidError
		authority x509.UnknownAuthorityError
	)
	anchor := ours.Path[len(ours.Path)-1].X509()
	switch {
	case errors.As(err, &hostname):
		leaf := ours.Path[0].X509()
		if len(leaf.DNSNames)+len(leaf.IPAddresses) == 0 {
			return "reference_name: the common name stands in"
		}
	case errors.As(err, &unhandled), errors.As(err, &authority): // the second also where a CA was passed over for the first
		for i, c := range ours.Path {
			switch {
			case slices.ContainsFunc(c.X509().UnhandledCriticalExtensions, isConstraints):
				return "names_permitted: constraints on directory names are understood"
			case i > 0 && !bytes.Equal(ours.Path[i-1].X509().RawIssuer, c.X509().RawSubject):
				return "issuer_found: names are compared by RFC 5280 7.1"
			}
		}
		if len(anchor.UnhandledCriticalExtensions) > 0 {
			return "anchor_critical_extension: the anchor's extensions are not looked at"
		}
	case errors.As(err, &invalid) && invalid.Reason == x509.TooManyIntermediates:
		for _, c := range ours.Path[1:] {
			if bytes.Equal(c.X509().RawIssuer, c.X509().RawSubject) {
				return "path_length: self-issued certificates do not count"
			}
		}
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage && len(anchor.ExtKeyUsage) > 0:
		return "extended_key_usage: that of the anchor is no limit"
	case errors.As(err, &invalid) && strings.Contains(err.Error(), "cannot be matched against constraints"):
		return "names_permitted: a URI without a host is refused only where URIs are constrained"
	}
	return ""
}

func isConstraints(oid asn1.ObjectIdentifier) bool { return oid.Equal(ce(30)) }

// String writes the world as PEM, to look into it with openssl.
func (p *randomPKI) String() string {
	var b strings.Builder
	put := func(what string, ders ...[]byte) {
		for _, der := range ders {
			fmt.Fprintf(&b, "%s\n%s", what, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		}
	}
	fmt.Fprintf(&b, "name %q\n", p.name)
	put("leaf", p.leaf)
	put("sent", p.sent...)
	put("store", p.store...)
	return b.String()
}

// opensslLacks are the rules that OpenSSL does not have, or has in a weaker form.
var opensslLacks = []string{
	"ca_basic_constraints", // an issuer without basicConstraints is one by its keyCertSign
	"key_type",             // P-224 is accepted at level 2
	"key_usage",            // key agreement and key encipherment count for every key
	"reference_name",       // the common name stands in beside an iPAddress
}

func (p *randomPKI) compareOpenSSL(t *rapid.T, openssl, dir string, ours *chain.Result, count tally) {
	theirs := runOpenSSL(t, openssl, dir, p.leaf, p.sent, p.store, p.name)
	if !theirs.loaded && p.victim != nil {
		// A damaged certificate keeps openssl from reading the others: without it.
		intact := slices.DeleteFunc(slices.Clone(p.sent), func(der []byte) bool { return bytes.Equal(der, p.victim) })
		theirs = runOpenSSL(t, openssl, dir, p.leaf, intact, p.store, p.name)
	}
	switch {
	case !theirs.loaded && bytes.Equal(p.leaf, p.victim) && !ours.OK():
		count["openssl: leaf does not load"]++
	case !theirs.loaded:
		t.Fatalf("openssl does not read it: %s\n%s", theirs.output, p)
	case theirs.ok == ours.OK():
		count["openssl: agreed, accepted "+strconv.FormatBool(theirs.ok)]++
	case theirs.ok && ours.Path[0].X509() == nil:
		count["openssl: we refuse by "+ours.Faults[0].Rule+" (crypto/x509 does not parse the leaf)"]++
	case theirs.ok:
		why, explained := p.stricterThanOpenSSL(theirs)
		if !explained {
			t.Fatalf("openssl accepts what we refuse by %v; its path by %s: %v\n%s\n%s", ruleNames(ours), why, texts(ours), theirs.output, p)
		}
		count["openssl: we refuse by "+why]++
	default:
		last := len(ours.Path) - 1
		alone := runOpenSSL(t, openssl, dir, p.leaf, raws(ours.Path[min(1, last):last]), raws(ours.Path[last:]), p.name)
		why := p.milderThanOpenSSL(ours, alone)
		if why == "" {
			t.Fatalf("we accept a path of %d, and openssl says: %s (this path alone: %s)\n%s", len(ours.Path), theirs.output, alone.output, p)
		}
		count["openssl: we accept by "+why]++
	}
}

// stricterThanOpenSSL judges the paths that OpenSSL may have accepted. It names the subjects of its path only, and CAs
// share names here, so that several can be meant; one that our rules refuse by what OpenSSL lacks explains the difference.
func (p *randomPKI) stricterThanOpenSSL(theirs opensslVerdict) (names string, explained bool) {
	lines := opensslPath.FindAllStringSubmatch(theirs.output, -1)
	var walk func(path []*x509.Certificate)
	walk = func(path []*x509.Certificate) {
		if explained {
			return
		}
		if len(path) == len(lines) {
			why, ok := p.stricterThan(path, opensslLacks)
			if ok || names == "" {
				names, explained = why, ok
			}
			return
		}
		from := p.store
		if lines[len(path)][1] != "" {
			from = p.sent
		}
		child := path[len(path)-1]
		for _, der := range from {
			issuer, err := x509.ParseCertificate(der)
			if err == nil && issuer.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature) == nil {
				walk(append(slices.Clone(path), issuer))
			}
		}
	}
	leaf, err := x509.ParseCertificate(p.leaf)
	if err == nil && len(lines) > 0 {
		walk([]*x509.Certificate{leaf})
	}
	return names, explained
}

// milderThanOpenSSL returns the rule by which we accept what OpenSSL refuses, "" when there is none. alone is what it says
// of our path and nothing else.
func (p *randomPKI) milderThanOpenSSL(ours *chain.Result, alone opensslVerdict) string {
	const (
		incomplete   = 2
		unknownRoot  = 19
		noIssuer     = 20
		expired      = 10
		purpose      = 26
		critical     = 34
		notPermitted = 47
		excluded     = 48
	)
	if p.twins(ours) && (alone.ok || strings.Contains(alone.output, "error 7 at ")) {
		return "issuer_found: every issuer of a name is tried"
	}
	stored := func(c *chain.Certificate) bool {
		return slices.ContainsFunc(p.store, func(der []byte) bool { return bytes.Equal(der, c.Raw()) })
	}
	if alone.ok && slices.ContainsFunc(ours.Path[:len(ours.Path)-1], stored) {
		return "anchor_complete: what issued a stored CA may be presented"
	}
	if alone.ok || !alone.loaded || alone.depth >= len(ours.Path) {
		return ""
	}
	at, anchor := ours.Path[alone.depth].X509(), ours.Path[len(ours.Path)-1].X509()
	// OpenSSL finds the anchor before a CA below it that has its name, and speaks of it at that depth.
	meantAnchor := at.Subject.CommonName == anchor.Subject.CommonName
	switch alone.number {
	case expired:
		if at.NotAfter.Equal(noon) || meantAnchor && anchor.NotAfter.Equal(noon) {
			return "validity_end: the last second is within"
		}
	case incomplete, noIssuer:
		if meantAnchor && anchor.CheckSignature(anchor.SignatureAlgorithm, anchor.RawTBSCertificate, anchor.Signature) != nil {
			return "anchor_complete: the anchor's own signature is not looked at"
		}
	case unknownRoot:
		if p.twins(ours) {
			return "root_stored: a root is known by a stored one of its name and key"
		}
	case critical:
		if meantAnchor && len(anchor.UnhandledCriticalExtensions) > 0 {
			return "anchor_critical_extension: the anchor's extensions are not looked at"
		}
	case purpose:
		if slices.Contains(at.ExtKeyUsage, x509.ExtKeyUsageAny) {
			return "extended_key_usage: anyExtendedKeyUsage stands for every use"
		}
		if meantAnchor && len(anchor.ExtKeyUsage) > 0 {
			return "extended_key_usage: that of the anchor is no limit"
		}
	case notPermitted, excluded:
		if alone.depth == 0 && len(at.DNSNames) == 0 && at.Subject.CommonName != p.name {
			return "names_permitted: a common name is constrained only where it is the name"
		}
	}
	return ""
}

// twins reports whether an issuer of the path has a namesake at hand. OpenSSL settles on one of them before it has seen a
// signature.
func (p *randomPKI) twins(ours *chain.Result) bool {
	count := map[string]int{}
	for _, der := range slices.Concat(p.store, p.sent) {
		// The common name is all that tells the names of CAs apart here. Not every damaged certificate parses for us.
		common, _, _ := strings.Cut(chain.Parse(der).Subject(), ",O=")
		count[common]++
	}
	return slices.ContainsFunc(ours.Path[1:], func(c *chain.Certificate) bool { return count["CN="+c.X509().Subject.CommonName] > 1 })
}

// opensslVerdict is what openssl verify says.
type opensslVerdict struct {
	ok     bool
	number int
	depth  int
	loaded bool // the files were read
	output string
}

var (
	opensslError = regexp.MustCompile(`error (\d+) at (\d+) depth lookup`)
	opensslPath  = regexp.MustCompile(`(?m)^depth=\d+: .*?( \(untrusted\))?$`)
)

func runOpenSSL(t *rapid.T, openssl, dir string, leaf []byte, sent, store [][]byte, name string) opensslVerdict {
	write := func(file string, ders ...[]byte) string {
		var b bytes.Buffer
		for _, der := range ders {
			_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der})
		}
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	args := []string{
		"verify", "-no-CAfile", "-no-CApath", "-no-CAstore", "-purpose", "sslserver", "-auth_level", "2", "-policy", "2.5.29.32.0", "-show_chain",
		"-attime", strconv.FormatInt(noon.Unix(), 10),
	}
	if len(store) > 0 {
		args = append(args, "-CAfile", write("store.pem", store...))
	}
	if len(sent) > 0 {
		args = append(args, "-untrusted", write("sent.pem", sent...))
	}
	switch {
	case name == "":
	case net.ParseIP(name) != nil:
		args = append(args, "-verify_ip", name)
	default:
		args = append(args, "-verify_hostname", name)
	}
	args = append(args, write("leaf.pem", leaf))
	out, err := exec.Command(openssl, args...).CombinedOutput()
	v := opensslVerdict{ok: err == nil, loaded: true, output: string(out)}
	if v.ok {
		return v
	}
	m := opensslError.FindStringSubmatch(v.output)
	if m == nil {
		v.loaded = false
		return v
	}
	v.number, _ = strconv.Atoi(m[1])
	v.depth, _ = strconv.Atoi(m[2])
	return v
}
