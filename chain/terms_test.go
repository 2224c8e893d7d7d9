package chain_test

import (
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"callsign/chain"

	"github.com/google/go-cmp/cmp"
)

// TestOpenSSLTerms is the table of OpenSSL's words: what Traffic Server, nginx and curl log for each code.
func TestOpenSSLTerms(t *testing.T) {
	t.Parallel()
	type terms struct {
		Number int
		Text   string
		Legacy string
	}
	same := func(n int, text string) terms { return terms{n, text, text} }
	nothing := terms{}
	codes := map[chain.Code]terms{
		chain.SelfSigned:               {18, "self-signed certificate", "self signed certificate"},
		chain.UnknownRoot:              {19, "self-signed certificate in certificate chain", "self signed certificate in certificate chain"},
		chain.UnknownIssuer:            same(20, "unable to get local issuer certificate"),
		chain.IncompleteAnchor:         same(2, "unable to get issuer certificate"),
		chain.Expired:                  same(10, "certificate has expired"),
		chain.NotYetValid:              same(9, "certificate is not yet valid"),
		chain.BadSignature:             same(7, "certificate signature failure"),
		chain.IssuerNotCA:              same(79, "invalid CA certificate"),
		chain.PathLength:               same(25, "path length constraint exceeded"),
		chain.NameConstraints:          same(47, "permitted subtree violation"),
		chain.WrongUsage:               {26, "unsuitable certificate purpose", "unsupported certificate purpose"},
		chain.UnknownCriticalExtension: same(34, "unhandled critical extension"),
		chain.WeakKey:                  same(66, "EE certificate key too weak"),
		chain.WeakSignature:            same(68, "CA signature digest algorithm too weak"),
		chain.Revoked:                  same(23, "certificate revoked"),
		chain.NoCRL:                    same(3, "unable to get certificate CRL"),
		chain.StaleCRL:                 same(12, "CRL has expired"),
		chain.NameMismatch:             {62, "hostname mismatch", "Hostname mismatch"},
		chain.TooComplex:               same(22, "certificate chain too long"),
		chain.NoCertificate:            nothing,
		chain.Malformed:                nothing,
		chain.PinMismatch:              nothing,
	}
	for _, code := range chain.Codes() {
		want, ok := codes[code]
		if !ok {
			t.Errorf("no terms for %s in this table", code)
		}
		f := chain.Fault{Code: code, Depth: 0}
		got := f.OpenSSL()
		if diff := cmp.Diff(want, terms{got.Number, got.Text, got.Legacy}); diff != "" || got.Depth != 0 {
			t.Errorf("%s (-want +got)\n%s", code, diff)
		}
	}
	for rule, want := range map[string]terms{
		"names_permitted":    same(47, "permitted subtree violation"),
		"names_excluded":     same(48, "excluded subtree violation"),
		"names_understood":   same(51, "unsupported name constraint type"),
		"certificate_policy": same(43, "no explicit policy"),
		"policy_mapping":     same(42, "invalid or inconsistent certificate policy extension"),
		"key_size_limit":     nothing,
		"extended_key_usage": {26, "unsuitable certificate purpose", "unsupported certificate purpose"},
	} {
		i := slices.IndexFunc(chain.Rules(), func(r chain.Rule) bool { return r.Name == rule })
		f := chain.Fault{Code: chain.Rules()[i].Code, Rule: rule}
		got := f.OpenSSL()
		if diff := cmp.Diff(want, terms{got.Number, got.Text, got.Legacy}); diff != "" {
			t.Errorf("%s (-want +got)\n%s", rule, diff)
		}
	}
	f := chain.Fault{Code: chain.WeakKey, Depth: 2}
	if got := f.OpenSSL(); got.Number != 67 || got.Text != "CA certificate key too weak" || got.Depth != 2 {
		t.Errorf("weak key of a CA: %+v", got)
	}
	r := ip("192.0.2.1").verified("192.0.2.2", nil)
	if got := r.Faults[0].OpenSSL(); got.Number != 64 || got.Text != "IP address mismatch" {
		t.Errorf("another address: %+v", got)
	}
}

var opensslLine = regexp.MustCompile(`error (\d+) at (\d+) depth lookup: (.*)`)

// TestOpenSSLSays compares number, words and depth with what the installed OpenSSL says of the same certificates.
func TestOpenSSLSays(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	if out, err := exec.Command(openssl, "version").Output(); err != nil || !strings.HasPrefix(string(out), "OpenSSL 3.") {
		t.Skipf("openssl is not version 3: %s", out)
	}
	said := 0
	for _, c := range conformanceCases() {
		switch c.rule + "/" + c.name {
		case "self_signed_stored/not stored", "root_stored/another root of the same name stored", "issuer_found/of the leaf nowhere", "issuer_found/of the intermediate nowhere",
			"key_identifier/another one", "anchor_complete/intermediate stored, root nowhere", "signature/of the leaf damaged", "signature/of the intermediate damaged",
			"ca_basic_constraints/CA:FALSE", "ca_basic_constraints/absent", "path_length/root allows none", "path_length/intermediate allows none, and there is one",
			"names_permitted/another domain", "names_excluded/below the domain", "names_understood/otherName permitted", "critical_extension/in the leaf",
			"critical_extension/in the intermediate", "validity_end/one second late", "validity_end/root expired", "validity_begin/one second early",
			"extended_key_usage/clientAuth only", "extended_key_usage/intermediate with clientAuth only", "reference_name/another one", "reference_name/another address",
			"subject_alt_name/empty subject, not critical", "basic_constraints_critical/not critical", "ca_key_usage_present/absent",
			"subject_key_identifier/not on the intermediate", "authority_key_identifier/not on the leaf":
		default:
			continue
		}
		said++
		t.Run(c.rule+"/"+c.name, func(t *testing.T) {
			t.Parallel()
			s := c.sample()
			r := c.verifier(&s, chain.Strict).Verify(chain.ParseAll(s.presented), c.reference())
			err := c.opensslVerdict(t, openssl, &s)
			if err == nil || r.OK() {
				t.Fatalf("openssl says %v; our faults %v", err, texts(r))
			}
			line := opensslLine.FindStringSubmatch(err.Error())
			if line == nil {
				t.Fatalf("openssl says %v", err)
			}
			got := r.Faults[0].OpenSSL()
			if line[1] != strconv.Itoa(got.Number) || line[2] != strconv.Itoa(got.Depth) || strings.TrimSpace(line[3]) != got.Text {
				t.Errorf("openssl says %q, we say error %d at %d depth lookup: %s", line[0], got.Number, got.Depth, got.Text)
			}
		})
	}
	if said != 29 {
		t.Errorf("%d cases were found, want 29", said)
	}
}

// TestCurlTerms is what libcurl writes into logs.
func TestCurlTerms(t *testing.T) {
	t.Parallel()
	leaf := chain.Parse(root("Root").leaf(with(altDNS("www.voice-lab.net"))))
	for _, tc := range []struct {
		name   string
		faults []chain.Fault
		want   chain.Curl
	}{
		{"name", []chain.Fault{{Code: chain.NameMismatch}}, chain.Curl{Code: 51, Text: "SSL: certificate subject name '" + host + "' does not match target host name 'a.test'"}},
		{"expired", []chain.Fault{{Code: chain.Expired}, {Code: chain.NameMismatch}}, chain.Curl{Code: 60, Text: "SSL certificate problem: certificate has expired"}},
		{"self-signed", []chain.Fault{{Code: chain.SelfSigned}}, chain.Curl{Code: 60, Text: "SSL certificate problem: self signed certificate"}},
		{"unknown root", []chain.Fault{{Code: chain.UnknownRoot, Depth: 2}}, chain.Curl{Code: 60, Text: "SSL certificate problem: self signed certificate in certificate chain"}},
		{"no words", []chain.Fault{{Code: chain.PinMismatch, Detail: "no key is pinned"}}, chain.Curl{Code: 60, Text: "SSL certificate problem: no key is pinned"}},
	} {
		e := &chain.Error{Faults: tc.faults, Name: "a.test", Leaf: leaf}
		if diff := cmp.Diff(tc.want, e.Curl()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tc.name, diff)
		}
	}
	e := &chain.Error{Faults: []chain.Fault{{Code: chain.NameMismatch}}, Name: "a.test", Leaf: chain.Parse(nil)}
	if got := e.Curl(); got.Code != 51 || !strings.Contains(got.Text, "subject name ''") {
		t.Errorf("without a leaf that parses: %+v", got)
	}
}

// TestKeyUsageNames are the names of RFC 5280 4.2.1.3, in the order of the bits.
func TestKeyUsageNames(t *testing.T) {
	t.Parallel()
	want := []string{"digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment", "keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly"}
	if diff := cmp.Diff(want, chain.KeyUsageNames(1<<9-1)); diff != "" {
		t.Errorf("names (-want +got)\n%s", diff)
	}
	if got := chain.KeyUsageNames(0); got == nil || len(got) != 0 {
		t.Errorf("names of none: %#v", got)
	}
}
