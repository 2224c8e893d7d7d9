package chain_test

import (
	"slices"
	"strings"
	"testing"

	"callsign/chain"
)

// named certificates of these tables: general names in subjectAltName (none when nil) and common names.
type identity struct {
	alt     [][]byte
	commons []string
}

func dns(names ...string) identity {
	var i identity
	for _, n := range names {
		i.alt = append(i.alt, gnDNS(n))
	}
	return i
}

func ip(addresses ...string) identity {
	var i identity
	for _, a := range addresses {
		i.alt = append(i.alt, gnIP(a))
	}
	return i
}

func common(names ...string) identity { return identity{commons: names} }

func (i identity) common(names ...string) identity {
	i.commons = names
	return i
}

// verified is the judgement of a leaf with these names.
func (i identity) verified(reference string, set func(*chain.Verifier)) *chain.Result {
	attributes := []attribute{printable(10, "Voice Lab")}
	for _, c := range i.commons {
		attributes = append(attributes, utf8String(3, c))
	}
	names := without(17)
	if i.alt != nil {
		names = with(alt(i.alt...))
	}
	top := root("Root")
	v := &chain.Verifier{Anchors: storeOf(top.cert), Now: at(noon)}
	if set != nil {
		set(v)
	}
	return v.Verify([]*chain.Certificate{chain.Parse(top.leaf(named(nameOf(attributes...)), names))}, reference)
}

// TestNamesRFC9525 is the comparison by RFC 9525 section 6, with the common name where the profile allows it.
func TestNamesRFC9525(t *testing.T) {
	t.Parallel()
	mapped := identity{alt: [][]byte{tagged(context(7), addressOctets("::ffff:192.0.2.1"))}}
	for _, tc := range []struct {
		name      string
		cert      identity
		reference string
		want      bool
	}{
		{"same", dns("cucm.lab.test"), "cucm.lab.test", true},
		{"one of several", dns("a.lab.test", "cucm.lab.test"), "cucm.lab.test", true},
		{"case of the certificate", dns("CUCM.Lab.Test"), "cucm.lab.test", true},
		{"case of the reference", dns("cucm.lab.test"), "CUCM.LAB.TEST", true},
		{"another name", dns("pub.lab.test"), "cucm.lab.test", false},
		{"a part of it", dns("lab.test"), "cucm.lab.test", false},
		{"more than it", dns("cucm.lab.test"), "lab.test", false},
		{"host name for the whole name", dns("cucm.lab.test"), "cucm", false},
		{"one label", dns("cucm"), "cucm", true},
		{"final dot of the reference", dns("cucm.lab.test"), "cucm.lab.test.", true},
		{"two final dots of the reference", dns("cucm.lab.test"), "cucm.lab.test..", false},
		{"final dot of the certificate", dns("cucm.lab.test."), "cucm.lab.test", false},
		{"final dots of both", dns("cucm.lab.test."), "cucm.lab.test.", false},
		{"blanks around the reference", dns("cucm.lab.test"), " cucm.lab.test\n", true},
		{"dot as reference", dns("."), ".", false},
		{"blanks for both", dns(" "), " ", false},
		{"underscore", dns("cucm_1.lab.test"), "cucm_1.lab.test", true},

		{"wildcard", dns("*.lab.test"), "cucm.lab.test", true},
		{"wildcard in another case", dns("*.LAB.test"), "Cucm.lab.Test", true},
		{"wildcard and an underscore", dns("*.lab.test"), "cucm_1.lab.test", true},
		{"wildcard for an A-label", dns("*.lab.test"), "xn--mnchen-3ya.lab.test", true},
		{"wildcard for two labels", dns("*.lab.test"), "a.cucm.lab.test", false},
		{"wildcard for none", dns("*.lab.test"), "lab.test", false},
		{"wildcard for an empty label", dns("*.lab.test"), ".lab.test", false},
		{"wildcard before one label", dns("*.test"), "lab.test", false},
		{"wildcard alone", dns("*"), "test", false},
		{"wildcard alone for a whole name", dns("*"), "cucm.lab.test", false},
		{"wildcard and a final dot", dns("*.lab.test."), "cucm.lab.test", false},
		{"wildcard at the end of a label", dns("cu*.lab.test"), "cucm.lab.test", false},
		{"wildcard at the beginning of a label", dns("*cm.lab.test"), "cucm.lab.test", false},
		{"wildcard within a label", dns("c*m.lab.test"), "cucm.lab.test", false},
		{"wildcard in the second label", dns("cucm.*.test"), "cucm.lab.test", false},
		{"two wildcards", dns("*.*.test"), "cucm.lab.test", false},
		{"two stars", dns("**.lab.test"), "cucm.lab.test", false},
		{"a bad name beside a good one", dns("c*m.lab.test", "cucm.lab.test"), "cucm.lab.test", true},
		{"wildcard as reference", dns("*.lab.test"), "*.lab.test", false},
		{"blank in the reference", dns("*.lab.test"), "a b.lab.test", false},
		{"slash in the reference", dns("*.lab.test"), "a/b.lab.test", false},
		{"NUL in the reference", dns("*.lab.test"), "a\x00.lab.test", false},
		{"at sign in the reference", dns("*.lab.test"), "ann@cucm.lab.test", false},
		{"NUL in the certificate", dns("cucm.lab.test\x00.evil.test"), "cucm.lab.test", false},
		{"brackets around a domain", dns("cucm.lab.test"), "[cucm.lab.test]", false},

		{"U-label as reference", dns("xn--mnchen-3ya.lab.test"), "münchen.lab.test", true},
		{"U-label in another case", dns("xn--mnchen-3ya.lab.test"), "MÜNCHEN.Lab.test", true},
		{"A-label as reference", dns("XN--mnchen-3ya.lab.test"), "xn--MNCHEN-3ya.lab.test", true},
		{"U-label and wildcard", dns("*.lab.test"), "münchen.lab.test", true},
		{"U-label of another name", dns("xn--mnchen-3ya.lab.test"), "munchen.lab.test", false},
		{"U-label that is none", dns("xn--.lab.test"), "\u2028.lab.test", false},
		{"full stop of another script at the end", dns("cucm.lab.test"), "cucm.lab.test。", true},
		{"letters of another width", dns("cucm.lab.test"), "ｃｕｃｍ.lab.test", true},
		{"address in digits of another width", ip("192.0.2.1"), "１９２.０.２.１", true},
		{"address in digits of another width as dNSName", dns("192.0.2.1"), "１９２.０.２.１", false},
		{"nothing visible", dns("cucm.lab.test"), "\u034f", false},
		{"full stop of another script", dns("cucm.lab.test"), "cucm。lab.test", true},

		{"IPv4", ip("192.0.2.1"), "192.0.2.1", true},
		{"another IPv4", ip("192.0.2.1"), "192.0.2.2", false},
		{"IPv4 in brackets", ip("192.0.2.1"), "[192.0.2.1]", true},
		{"IPv4 with a leading zero", ip("192.0.2.1"), "192.0.2.01", false},
		{"IPv6", ip("2001:db8::1"), "2001:db8::1", true},
		{"IPv6 in another form", ip("2001:db8::1"), "2001:0DB8:0::0001", true},
		{"IPv6 in brackets", ip("2001:db8::1"), "[2001:db8::1]", true},
		{"IPv6 with a zone", ip("fe80::1"), "fe80::1%eth0", true},
		{"another IPv6", ip("2001:db8::1"), "2001:db8::2", false},
		{"IPv4 written as IPv6 in the certificate", mapped, "192.0.2.1", false},
		{"IPv4 written as IPv6 in the reference", ip("192.0.2.1"), "::ffff:192.0.2.1", false},
		{"IPv4 written as IPv6 in both", mapped, "::ffff:192.0.2.1", true},
		{"address as dNSName", dns("192.0.2.1"), "192.0.2.1", false},
		{"address in a wildcard", dns("*.0.2.1"), "192.0.2.1", false},
		{"domain and address", identity{alt: [][]byte{gnIP("192.0.2.1"), gnDNS("cucm.lab.test")}}, "cucm.lab.test", true},

		{"common name", common("cucm.lab.test"), "cucm.lab.test", true},
		{"common name in another case", common("CUCM.lab.test"), "cucm.LAB.test", true},
		{"common name with a wildcard", common("*.lab.test"), "cucm.lab.test", true},
		{"another common name", common("pub.lab.test"), "cucm.lab.test", false},
		{"common name and another dNSName", dns("pub.lab.test").common("cucm.lab.test"), "cucm.lab.test", false},
		{"common name and an iPAddress", ip("192.0.2.1").common("cucm.lab.test"), "cucm.lab.test", false},
		{"common name and a URI", identity{alt: [][]byte{gnURI("SEP74A02FC0A675")}, commons: []string{"cucm.lab.test"}}, "cucm.lab.test", true},
		{"common name and a mail address", identity{alt: [][]byte{gnMail("ann@lab.test")}, commons: []string{"cucm.lab.test"}}, "cucm.lab.test", true},
		{"two common names, the first", common("cucm.lab.test", "pub.lab.test"), "cucm.lab.test", false},
		{"two common names, the second", common("pub.lab.test", "cucm.lab.test"), "cucm.lab.test", false},
		{"common name that is an address", common("192.0.2.1"), "192.0.2.1", true},
		{"common name that is an IPv6 address in another form", common("2001:DB8:0::1"), "2001:db8::1", true},
		{"common name that is another address", common("192.0.2.2"), "192.0.2.1", false},
		{"common name that is an address, beside a dNSName", dns("cucm.lab.test").common("192.0.2.1"), "192.0.2.1", false},
		{"no names", common(), "cucm.lab.test", false},
		{"URI with the host", identity{alt: [][]byte{gnURI("https://cucm.lab.test/")}}, "cucm.lab.test", false},
		{"mail address at the host", identity{alt: [][]byte{gnMail("ann@cucm.lab.test")}}, "cucm.lab.test", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := tc.cert.verified(tc.reference, nil)
			if got := r.OK(); got != tc.want {
				t.Errorf("certificate for %q, reference %q: %v, want %v\n%v", r.Path[0].X509().DNSNames, tc.reference, got, tc.want, texts(r))
			}
			if !r.OK() && (len(r.Faults) != 1 || r.Faults[0].Code != chain.NameMismatch || r.Faults[0].Expected == "") {
				t.Errorf("faults %v", texts(r))
			}
			complete(t, r)
			// Names are compared in the same way in every profile, common names aside.
			if tc.cert.commons == nil && strings.TrimSpace(tc.reference) != "" {
				strict := tc.cert.verified(tc.reference, func(v *chain.Verifier) { v.Profile = chain.Strict })
				if got := !strict.Has(chain.NameMismatch); got != tc.want {
					t.Errorf("strict: %v, want %v", got, tc.want)
				}
			}
		})
	}
}

// TestNamesATS is what Apache Traffic Server accepts, rule by rule, and iPAddress, which it does not look at.
func TestNamesATS(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		cert      identity
		reference string
		want      bool
		compat    bool // a verifier by RFC 9525 refuses it; a note says so
	}{
		{"dNSName", dns("cucm.lab.test"), "cucm.lab.test", true, false},
		{"dNSName in another case", dns("CUCM.lab.test"), "cucm.lab.test", true, false},
		{"first common name beside a dNSName", dns("pub.lab.test").common("cucm.lab.test"), "cucm.lab.test", true, true},
		{"first common name beside an iPAddress", ip("192.0.2.1").common("cucm.lab.test"), "cucm.lab.test", true, true},
		{"first common name of two", common("cucm.lab.test", "pub.lab.test"), "cucm.lab.test", true, true},
		{"second common name of two", common("pub.lab.test", "cucm.lab.test"), "cucm.lab.test", false, false},
		{"second common name beside a dNSName", dns("pub.lab.test").common("a.lab.test", "cucm.lab.test"), "cucm.lab.test", false, false},
		{"common name with a wildcard beside a dNSName", dns("pub.lab.test").common("*.lab.test"), "cucm.lab.test", true, true},
		{"no name", common(), "cucm.lab.test", false, false},

		{"wildcard", dns("*.lab.test"), "cucm.lab.test", true, false},
		{"wildcard at the end of the label", dns("cu*.lab.test"), "cucm.lab.test", true, true},
		{"wildcard at the beginning of the label", dns("*cm.lab.test"), "cucm.lab.test", true, true},
		{"wildcard within the label", dns("c*m.lab.test"), "cucm.lab.test", false, false},
		{"wildcard that stands for nothing", dns("cucm*.lab.test"), "cucm.lab.test", true, true},
		{"wildcard that would have to overlap", dns("cucmcu*.lab.test"), "cucm.lab.test", false, false},
		{"wildcard in another case", dns("CU*.Lab.test"), "cucm.LAB.test", true, true},
		{"wildcard of another label", dns("pu*.lab.test"), "cucm.lab.test", false, false},
		{"wildcard of another domain", dns("cu*.lab.test"), "cucm.lab2.test", false, false},
		{"wildcard before one label", dns("cu*.test"), "cucm.test", false, false},
		{"whole wildcard before one label", dns("*.test"), "cucm.test", false, false},
		{"wildcard in the second label", dns("cucm.l*.test"), "cucm.lab.test", false, false},
		{"two wildcards", dns("cu*.l*.test"), "cucm.lab.test", false, false},
		{"two stars in the label", dns("*c*.lab.test"), "cucm.lab.test", false, false},
		{"wildcard for two labels", dns("cu*.lab.test"), "cucm.a.lab.test", false, false},
		{"wildcard with hyphen, digit and underscore", dns("cu*.lab.test"), "cu-1_m.lab.test", true, true},
		{"wildcard for a character of no host name", dns("cu*.lab.test"), "cu!m.lab.test", false, false},
		{"wildcard for a name of 6 bytes", dns("a*.b.c"), "ab.b.c", true, true},
		{"wildcard for a name of 5 bytes", dns("a*.b.c"), "a.b.c", false, false},
		{"wildcard for a name with a leading dot", dns("*.lab.test"), ".lab.test", false, false},
		{"whole wildcard for an A-label", dns("*.lab.test"), "xn--mnchen-3ya.lab.test", true, false},
		{"partial wildcard for an A-label", dns("xn--m*.lab.test"), "xn--mnchen-3ya.lab.test", false, false},
		{"partial wildcard for a U-label", dns("x*.lab.test"), "münchen.lab.test", false, false},

		{"iPAddress", ip("192.0.2.1"), "192.0.2.1", true, false},
		{"another iPAddress", ip("192.0.2.1"), "192.0.2.2", false, false},
		{"address as dNSName", dns("192.0.2.1"), "192.0.2.1", true, true},
		{"IPv6 address as dNSName", dns("2001:DB8::1"), "2001:db8::1", true, true},
		{"IPv6 address in brackets and capitals as dNSName", dns("2001:db8::1"), "[2001:DB8::1]", true, true},
		{"IPv6 address as dNSName in another form", dns("2001:db8:0::1"), "2001:db8::1", false, false},
		{"address as common name beside a dNSName", dns("cucm.lab.test").common("192.0.2.1"), "192.0.2.1", true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := tc.cert.verified(tc.reference, func(v *chain.Verifier) { v.Names = chain.NamesATS })
			if got := r.OK(); got != tc.want {
				t.Errorf("certificate for %q, reference %q: %v, want %v", r.Path[0].X509().DNSNames, tc.reference, got, tc.want)
			}
			told := slices.ContainsFunc(r.Notes, func(n chain.Note) bool { return strings.Contains(n.Text, "names: ats") })
			if told != tc.compat {
				t.Errorf("notes %v, want one on compatibility: %v", r.Notes, tc.compat)
			}
			if got := tc.cert.verified(tc.reference, nil).OK(); got != (tc.want && !tc.compat) {
				t.Errorf("by RFC 9525: %v", got)
			}
			complete(t, r)
		})
	}
}

// TestReferenceName is the form in which a name is compared and shown.
func TestReferenceName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"":                     "",
		" ":                    " ",
		".":                    ".",
		"CUCM.Lab.Test.":       "cucm.lab.test",
		" cucm.lab.test ":      "cucm.lab.test",
		"münchen.lab.test":     "xn--mnchen-3ya.lab.test",
		"MÜNCHEN.lab.test.":    "xn--mnchen-3ya.lab.test",
		"[2001:DB8::1]":        "2001:db8::1",
		"192.0.2.1":            "192.0.2.1",
		"192.0.2.1.":           "192.0.2.1",
		"[2001:db8::1].":       "2001:db8::1",
		"fe80::1%eth0":         "fe80::1",
		"\u034f":               "\u034f",
		"[cucm.lab.test]":      "[cucm.lab.test]",
		"cu\u2028cm.lab.test":  "cu\u2028cm.lab.test",
		"xn--mnchen-3ya.L.net": "xn--mnchen-3ya.l.net",
	} {
		if got := dns("cucm.lab.test").verified(name, nil).Name; got != want {
			t.Errorf("%q is compared as %q, want %q", name, got, want)
		}
	}
}

// TestNearNames: what keeps a name from matching is said.
func TestNearNames(t *testing.T) {
	t.Parallel()
	strict := func(v *chain.Verifier) { v.Profile = chain.Strict }
	for _, tc := range []struct {
		name      string
		cert      identity
		reference string
		set       func(*chain.Verifier)
		want      string
	}{
		{"final dot", dns("cucm.lab.test."), "cucm.lab.test", nil, "ends in a dot"},
		{"partial wildcard", dns("cu*.lab.test"), "cucm.lab.test", nil, "not the whole first label"},
		{"two labels", dns("*.lab.test"), "a.b.lab.test", nil, "exactly one label"},
		{"the domain", dns("*.lab.test"), "lab.test", nil, "exactly one label"},
		{"host name", dns("CUCM"), "cucm.lab.test", nil, "without its domain"},
		{"address as dNSName", dns("192.0.2.1"), "192.0.2.1", nil, "has to be an iPAddress"},
		{"common name beside a dNSName", dns("pub.lab.test").common("Cucm.lab.test"), "cucm.lab.test", nil, "do not count beside a subjectAltName"},
		{"two common names", common("pub.lab.test", "cucm.lab.test"), "cucm.lab.test", nil, "common name 2 is cucm.lab.test"},
		{"common name in strict", common("cucm.lab.test"), "cucm.lab.test", strict, "do not count in the profile strict"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := tc.cert.verified(tc.reference, tc.set)
			if len(r.Faults) == 0 || r.Faults[0].Code != chain.NameMismatch || len(r.Faults[0].NearMisses) != 1 || !strings.Contains(r.Faults[0].NearMisses[0], tc.want) {
				t.Errorf("faults %+v, want a near miss with %q", r.Faults, tc.want)
			}
		})
	}
}
