package chain_test

import (
	"slices"

	"callsign/chain"

	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// permits and excludes are name constraints of the intermediate.
func permits(bases ...[]byte) []edit  { return []edit{with(constrain(bases, nil))} }
func excludes(bases ...[]byte) []edit { return []edit{with(constrain(nil, bases))} }

// also are names beside the usual one.
func also(names ...[]byte) []edit {
	return []edit{with(alt(append([][]byte{gnDNS(host)}, names...)...))}
}

// only are the names in place of the usual one. The leaf has no subject, since a common name would be a fault in WebPKI.
func only(names ...[]byte) []edit {
	return []edit{named(nameOf()), with(critical(alt(names...)))}
}

// plusTypes is a verdict on a leaf with names of types that WebPKI does not want.
func plusTypes(faults string) verdicts {
	web := "alt_name_types@0"
	if faults != "" {
		web = faults + " " + web
	}
	return verdicts{faults, faults, web}
}

// subtree is a subtree of name constraints with more than its base.
func subtree(base []byte, more ...[]byte) exten {
	tree := append(slices.Clone(base), slices.Concat(more...)...)
	return exten{ce(30), true, seqOf(tagged(context(0).Constructed(), seqOf(tree)))}
}

const (
	noDirectories = "it does not know constraints on directory names"
	noOtherNames  = "it refuses constraints that it does not understand even if no name is of their type"
)

var (
	lab       = nameOf(printable(10, "Voice Lab")) // the beginning of the usual leaf's subject
	elsewhere = nameOf(printable(10, "Elsewhere"), utf8String(3, host))
	// The two kinds of octets that crypto/x509 passes over in a name.
	emptyRDN      = seqOf(tagged(cbasn1.SET, nil), rdnOf(printable(10, "Elsewhere")), rdnOf(utf8String(3, host)))
	longAttribute = seqOf(tagged(cbasn1.SET, seqOf(oidDER(ce(1)[:3:3]), tagged(cbasn1.UTF8String, []byte("x")), []byte{5, 0})), rdnOf(utf8String(3, host)))
)

// selfIssued is a chain with a self-issued CA in it, whose upper certificate has name constraints.
func selfIssued(c exten, below func(newer *authority) (leaf []byte, cas []*authority)) func() sample {
	return func() sample {
		top := root("Root")
		older := top.ca("Middle", with(c))
		newer := older.caWithKey(older.subject, ecKey("Middle's next"))
		leaf, cas := below(newer)
		return sample{presented: append([][]byte{leaf}, certs(append(cas, newer, older)...)...), store: certs(top)}
	}
}

// subtreeCases are about name constraints.
func subtreeCases() []conformance {
	return []conformance{
		{rule: "names_permitted", name: "the domain itself", middle: permits(gnDNS(host))},
		{rule: "names_permitted", name: "below the domain", middle: permits(gnDNS("voice-lab.net"))},
		{rule: "names_permitted", name: "in another case", middle: permits(gnDNS("VOICE-lab.NET"))},
		{rule: "names_permitted", name: "every domain", middle: permits(gnDNS(""))},
		{rule: "names_permitted", name: "one of several", middle: permits(gnDNS("other.net"), gnDNS("voice-lab.net"))},
		{rule: "names_permitted", name: "another domain", middle: permits(gnDNS("other.net")), want: always("names_permitted@0")},
		{rule: "names_permitted", name: "another domain that ends alike", middle: permits(gnDNS("lab.net")), want: always("names_permitted@0")},
		{rule: "names_permitted", name: "the domain above", middle: permits(gnDNS("a." + host)), want: always("names_permitted@0")},
		{rule: "names_permitted", name: "with a leading dot, below", middle: permits(gnDNS(".voice-lab.net"))},
		{rule: "names_permitted", name: "with a leading dot, itself", middle: permits(gnDNS("." + host)), want: always("names_permitted@0")},
		{rule: "names_permitted", name: "by the root", root: permits(gnDNS("other.net")), want: always("names_permitted@0")},
		{rule: "names_permitted", name: "by root and intermediate", root: permits(gnDNS("net")), middle: permits(gnDNS("voice-lab.net"))},
		{rule: "names_permitted", name: "by the intermediate but not by the root", root: permits(gnDNS("other.net")), middle: permits(gnDNS("voice-lab.net")), want: always("names_permitted@0")},
		{
			// The one that was asked for is within, which does not help.
			rule: "names_permitted", name: "one of two names outside", middle: permits(gnDNS("voice-lab.net")), leaf: also(gnDNS("www.other.net")), want: always("names_permitted@0"),
		},
		{rule: "names_permitted", name: "wildcard within", middle: permits(gnDNS("voice-lab.net")), leaf: also(gnDNS("*.voice-lab.net"))},
		{rule: "names_permitted", name: "wildcard for more than is permitted", middle: permits(gnDNS(host)), leaf: also(gnDNS("*.voice-lab.net")), want: always("names_permitted@0")},
		{rule: "names_permitted", name: "no name of the type", middle: permits(gnRange("81.2.69.0/24"), gnMail("other.net"), gnURI("other.net"))},
		{rule: "names_permitted", name: "constraints of a leaf bind nobody", leaf: permits(gnDNS("other.net")), want: since(chain.Strict, "name_constraints_on_ca@0")},

		// A common name that is used as a name is constrained as one.
		{
			rule: "names_permitted", name: "common name within", middle: permits(gnDNS("voice-lab.net")), leaf: []edit{without(17)}, goRefuses: "it knows no common names",
			want: verdicts{"", "reference_name@0", "reference_name@0 alt_name_present@0{common_name@0}"},
		},
		{
			rule: "names_permitted", name: "common name outside", middle: permits(gnDNS("other.net")), leaf: []edit{without(17)},
			want: verdicts{"names_permitted@0", "reference_name@0", "reference_name@0 alt_name_present@0{common_name@0}"},
		},
		{
			rule: "names_permitted", name: "common name that nobody asks for", middle: permits(gnDNS("other.net")), leaf: []edit{without(17)}, target: "-",
			opensslRefuses: "it takes a common name that looks like a domain for one",
			want:           since(chain.WebPKI, "alt_name_present@0{common_name@0}"),
		},
		{
			rule: "names_permitted", name: "address as common name within", middle: permits(gnRange("81.2.69.0/24")), leaf: []edit{without(17), named(nameOf(printable(3, "81.2.69.160")))}, target: "81.2.69.160",
			goRefuses: "it knows no common names", want: verdicts{"", "reference_name@0", "reference_name@0 alt_name_present@0{common_name@0}"},
		},
		{
			rule: "names_permitted", name: "address as common name outside", middle: permits(gnRange("81.2.70.0/24")), leaf: []edit{without(17), named(nameOf(printable(3, "81.2.69.160")))}, target: "81.2.69.160",
			want: verdicts{"names_permitted@0", "reference_name@0", "reference_name@0 alt_name_present@0{common_name@0}"},
		},
		{
			rule: "names_permitted", name: "address as common name, domains permitted", middle: permits(gnDNS("other.net")), leaf: []edit{without(17), named(nameOf(printable(3, "81.2.69.160")))}, target: "81.2.69.160",
			goRefuses: "it knows no common names", want: verdicts{"", "reference_name@0", "reference_name@0 alt_name_present@0{common_name@0}"},
		},
		{
			rule: "names_permitted", name: "common name beside subjectAltName by the rules of Traffic Server", middle: permits(gnDNS("other.net")), leaf: only(gnDNS("www.other.net")), target: "-",
		},
		{
			rule: "names_permitted", name: "common name outside beside subjectAltName by the rules of Traffic Server", middle: permits(gnDNS("other.net")),
			leaf: []edit{with(altDNS("www.other.net"))}, set: func(v *chain.Verifier) { v.Names = chain.NamesATS },
			want: verdicts{"names_permitted@0", "names_permitted@0", "names_permitted@0 common_name@0"},
		},

		// Addresses.
		{rule: "names_permitted", name: "address within", middle: permits(gnRange("81.2.69.0/24")), leaf: also(gnIP("81.2.69.255"))},
		{rule: "names_permitted", name: "address outside", middle: permits(gnRange("81.2.69.0/24")), leaf: also(gnIP("81.2.70.0")), want: always("names_permitted@0")},
		{rule: "names_permitted", name: "IPv6 address within", middle: permits(gnRange("2a00:1450::/32")), leaf: also(gnIP("2a00:1450:4001::1"))},
		{rule: "names_permitted", name: "IPv6 address outside", middle: permits(gnRange("2a00:1450::/32")), leaf: also(gnIP("2a00:1451::1")), want: always("names_permitted@0")},
		{rule: "names_permitted", name: "IPv6 address, IPv4 permitted", middle: permits(gnRange("0.0.0.0/0")), leaf: also(gnIP("2a00:1450::1")), want: always("names_permitted@0")},
		{rule: "names_permitted", name: "IPv4 address written as IPv6", middle: permits(gnRange("81.2.69.0/24")), leaf: also(tagged(context(7), addressOctets("::ffff:81.2.69.1"))), want: always("names_permitted@0")},
		{rule: "names_permitted", name: "base with bits beyond its mask", middle: permits(tagged(context(7), []byte{81, 2, 69, 7, 255, 255, 255, 0})), leaf: also(gnIP("81.2.69.1"))},

		// Mail addresses.
		{rule: "names_permitted", name: "mail within the host", middle: permits(gnMail("voice-lab.net")), leaf: also(gnMail("ann@Voice-Lab.net")), want: plusTypes("")},
		{rule: "names_permitted", name: "mail below the host", middle: permits(gnMail("voice-lab.net")), leaf: also(gnMail("ann@mx.voice-lab.net")), want: plusTypes("names_permitted@0")},
		{rule: "names_permitted", name: "mail below the domain", middle: permits(gnMail(".voice-lab.net")), leaf: also(gnMail("ann@mx.voice-lab.net")), want: plusTypes("")},
		{rule: "names_permitted", name: "mail at the domain", middle: permits(gnMail(".voice-lab.net")), leaf: also(gnMail("ann@voice-lab.net")), want: plusTypes("names_permitted@0")},
		{rule: "names_permitted", name: "one mailbox", middle: permits(gnMail("ann@voice-lab.net")), leaf: also(gnMail("ann@VOICE-LAB.net")), want: plusTypes("")},
		{rule: "names_permitted", name: "another mailbox", middle: permits(gnMail("ann@voice-lab.net")), leaf: also(gnMail("Ann@voice-lab.net")), want: plusTypes("names_permitted@0")},
		{rule: "names_permitted", name: "mail without a host", middle: permits(gnMail("voice-lab.net")), leaf: also(gnMail("ann")), want: plusTypes("names_permitted@0")},
		{
			rule: "names_permitted", name: "mail in the subject within", middle: permits(gnMail("voice-lab.net")),
			leaf: []edit{named(nameOf(ia5String(1, "ann@voice-lab.net"), utf8String(3, host)))},
		},
		{
			rule: "names_permitted", name: "mail in the subject outside", middle: permits(gnMail("voice-lab.net")),
			leaf: []edit{named(nameOf(ia5String(1, "ann@other.net"), utf8String(3, host)))}, want: always("names_permitted@0"),
		},

		// URIs.
		{rule: "names_permitted", name: "URI at the host", middle: permits(gnURI(host)), leaf: also(gnURI("https://ann:pw@CUCM.Voice-Lab.net:8443/x?y#z")), want: plusTypes(""), opensslRefuses: "it takes the user for the host"},
		{rule: "names_permitted", name: "URI at another host", middle: permits(gnURI(host)), leaf: also(gnURI("https://a." + host + "/")), want: plusTypes("names_permitted@0")},
		{rule: "names_permitted", name: "URI below the domain", middle: permits(gnURI(".voice-lab.net")), leaf: also(gnURI("https://a.b.voice-lab.net/")), want: plusTypes("")},
		{rule: "names_permitted", name: "URI at the domain", middle: permits(gnURI(".voice-lab.net")), leaf: also(gnURI("https://voice-lab.net/")), want: plusTypes("names_permitted@0")},
		{rule: "names_permitted", name: "URI without a host", middle: permits(gnURI(".voice-lab.net")), leaf: also(gnURI("urn:device:1")), want: plusTypes("names_permitted@0")},
		{rule: "names_permitted", name: "URI with an address", middle: permits(gnURI(".voice-lab.net")), leaf: also(gnURI("https://81.2.69.160/")), want: plusTypes("names_permitted@0")},

		// Directory names: the subject, too.
		{rule: "names_permitted", name: "subject within", middle: permits(gnDirectory(lab)), goRefuses: noDirectories},
		{rule: "names_permitted", name: "subject within in another case", middle: permits(gnDirectory(nameOf(utf8String(10, "voice  LAB ")))), goRefuses: noDirectories},
		{rule: "names_permitted", name: "subject is the base", middle: permits(gnDirectory(nameOf(printable(10, "Voice Lab"), utf8String(3, host)))), goRefuses: noDirectories},
		{rule: "names_permitted", name: "subject outside", middle: permits(gnDirectory(lab)), leaf: []edit{named(elsewhere)}, want: always("names_permitted@0")},
		{rule: "names_permitted", name: "subject shorter than the base", middle: permits(gnDirectory(nameOf(printable(10, "Voice Lab"), printable(11, "Phones")))), want: always("names_permitted@0")},
		{rule: "names_permitted", name: "no subject", middle: permits(gnDirectory(nameOf(printable(10, "Elsewhere")))), leaf: only(gnDNS(host)), goRefuses: noDirectories},
		{rule: "names_permitted", name: "subject of the intermediate outside", root: permits(gnDirectory(lab)), want: always("names_permitted@1")},
		{rule: "names_permitted", name: "directory name outside", middle: permits(gnDirectory(lab)), leaf: also(gnDirectory(elsewhere)), want: plusTypes("names_permitted@0")},
		{rule: "names_permitted", name: "directory name within", middle: permits(gnDirectory(lab)), leaf: also(gnDirectory(nameOf(printable(10, "Voice Lab"), printable(3, "x")))), want: plusTypes(""), goRefuses: noDirectories},
		{rule: "names_permitted", name: "subject with an empty RDN", middle: permits(gnDirectory(lab)), leaf: []edit{named(emptyRDN)}, want: always("names_permitted@0")},
		{rule: "names_permitted", name: "subject with octets after a value", middle: permits(gnDirectory(lab)), leaf: []edit{named(longAttribute)}, want: always("names_permitted@0")},
		{rule: "names_permitted", name: "directory name that does not parse", middle: permits(gnDirectory(lab)), leaf: also(tagged(context(4).Constructed(), []byte{5, 0})), want: plusTypes("names_permitted@0")},

		// Self-issued certificates.
		{
			rule: "names_permitted", name: "self-issued CA outside", goRefuses: noDirectories,
			make: selfIssued(constrain(subtrees{gnDirectory(lab)}, nil), func(newer *authority) ([]byte, []*authority) { return newer.leaf(), nil }),
		},
		{
			rule: "names_permitted", name: "CA below a self-issued one outside", want: always("names_permitted@1"),
			make: selfIssued(constrain(subtrees{gnDirectory(lab)}, nil), func(newer *authority) ([]byte, []*authority) {
				lower := newer.ca("Lower")
				return lower.leaf(), []*authority{lower}
			}),
		},
		{
			rule: "names_permitted", name: "self-issued leaf outside", want: verdicts{"names_permitted@0", "names_permitted@0", "names_permitted@0 common_name@0"},
			make: selfIssued(constrain(subtrees{gnDirectory(lab)}, nil), func(newer *authority) ([]byte, []*authority) { return newer.leaf(named(newer.subject)), nil }),
		},

		{rule: "names_excluded", name: "another domain", middle: excludes(gnDNS("other.net"))},
		{rule: "names_excluded", name: "the domain itself", middle: excludes(gnDNS(host)), want: always("names_excluded@0")},
		{rule: "names_excluded", name: "below the domain", middle: excludes(gnDNS("voice-lab.net")), want: always("names_excluded@0")},
		{rule: "names_excluded", name: "every domain", middle: excludes(gnDNS("")), want: always("names_excluded@0")},
		{rule: "names_excluded", name: "in another case", middle: excludes(gnDNS("Voice-Lab.NET")), want: always("names_excluded@0")},
		{rule: "names_excluded", name: "permitted and excluded", middle: []edit{with(constrain(subtrees{gnDNS("net")}, subtrees{gnDNS("voice-lab.net")}))}, want: always("names_excluded@0")},
		{rule: "names_excluded", name: "permitted, and a part of it excluded", middle: []edit{with(constrain(subtrees{gnDNS("voice-lab.net")}, subtrees{gnDNS("secret.voice-lab.net")}))}},
		{rule: "names_excluded", name: "by the root", root: excludes(gnDNS("voice-lab.net")), want: always("names_excluded@0")},
		{rule: "names_excluded", name: "one of two names", middle: excludes(gnDNS("other.net")), leaf: also(gnDNS("www.other.net")), want: always("names_excluded@0")},
		{rule: "names_excluded", name: "one outside, one excluded", middle: []edit{with(constrain(subtrees{gnDNS("voice-lab.net"), gnDNS("a.net")}, subtrees{gnDNS("b.a.net")}))}, leaf: also(gnDNS("c.net"), gnDNS("b.a.net")), want: always("names_permitted@0 names_excluded@0")},
		{rule: "names_excluded", name: "wildcard that stands for the domain", middle: excludes(gnDNS("fax.voice-lab.net")), leaf: also(gnDNS("*.voice-lab.net")), want: always("names_excluded@0")},
		{rule: "names_excluded", name: "wildcard that cannot stand for it", middle: excludes(gnDNS("a.fax.voice-lab.net")), leaf: also(gnDNS("*.voice-lab.net"))},
		{rule: "names_excluded", name: "common name", middle: excludes(gnDNS("voice-lab.net")), leaf: []edit{without(17)}, want: verdicts{"names_excluded@0", "reference_name@0", "reference_name@0 alt_name_present@0{common_name@0}"}},
		{
			rule: "names_excluded", name: "partial wildcard by the rules of Traffic Server", middle: excludes(gnDNS(host)), leaf: only(gnDNS("cu*.voice-lab.net")),
			set:  func(v *chain.Verifier) { v.Names = chain.NamesATS },
			want: verdicts{"names_excluded@0", "names_excluded@0 dns_syntax@0", "names_excluded@0 dns_syntax@0"},
		},
		{
			rule: "names_excluded", name: "address in a dNSName by the rules of Traffic Server", middle: excludes(gnRange("81.2.69.0/24")), leaf: only(gnDNS("81.2.69.160")),
			set: func(v *chain.Verifier) { v.Names = chain.NamesATS }, target: "81.2.69.160", want: always("names_excluded@0"),
		},
		{rule: "names_understood", name: "wildcard as a subtree", middle: excludes(gnDNS("*.voice-lab.net")), want: always("names_understood@0")},
		{rule: "names_excluded", name: "no address allowed, and there is none", middle: excludes(gnRange("0.0.0.0/0"), gnRange("::/0"))},
		{rule: "names_excluded", name: "no address allowed, and there is one", middle: excludes(gnRange("0.0.0.0/0"), gnRange("::/0")), leaf: also(gnIP("81.2.69.160")), want: always("names_excluded@0")},
		{rule: "names_excluded", name: "mail at an excluded host", middle: excludes(gnMail("voice-lab.net")), leaf: also(gnMail("ann@VOICE-lab.net")), want: plusTypes("names_excluded@0")},
		{rule: "names_excluded", name: "mail elsewhere", middle: excludes(gnMail("voice-lab.net")), leaf: also(gnMail("ann@other.net")), want: plusTypes("")},
		{rule: "names_excluded", name: "mail that is no address", middle: excludes(gnMail("voice-lab.net")), leaf: also(gnMail("ann")), want: plusTypes("names_excluded@0")},
		{rule: "names_excluded", name: "URI at an excluded host", middle: excludes(gnURI(".voice-lab.net")), leaf: also(gnURI("https://a.voice-lab.net/")), want: plusTypes("names_excluded@0")},
		{rule: "names_excluded", name: "URI elsewhere", middle: excludes(gnURI(".voice-lab.net")), leaf: also(gnURI("https://other.net/")), want: plusTypes("")},
		{rule: "names_excluded", name: "URI without a host", middle: excludes(gnURI(".voice-lab.net")), leaf: also(gnURI("urn:device:1")), want: plusTypes("names_excluded@0")},
		{rule: "names_excluded", name: "subject", middle: excludes(gnDirectory(lab)), want: always("names_excluded@0")},
		{rule: "names_excluded", name: "another subject", middle: excludes(gnDirectory(nameOf(printable(10, "Elsewhere")))), goRefuses: noDirectories},
		{rule: "names_excluded", name: "subject with an empty RDN", middle: excludes(gnDirectory(lab)), leaf: []edit{named(emptyRDN)}, want: always("names_excluded@0")},

		{rule: "names_understood", name: "no name of the type", middle: permits(gnOther("ann@voice-lab.net")), goRefuses: noOtherNames},
		{rule: "names_understood", name: "otherName permitted", middle: permits(gnOther("ann@voice-lab.net")), leaf: also(gnOther("ann@voice-lab.net")), want: plusTypes("names_understood@0")},
		{rule: "names_understood", name: "otherName excluded", middle: excludes(gnOther("ann@voice-lab.net")), leaf: also(gnOther("bob@voice-lab.net")), want: plusTypes("names_understood@0")},
		{rule: "names_understood", name: "registeredID excluded", middle: excludes(gnRegisteredID(1)), leaf: also(gnRegisteredID(2)), want: plusTypes("names_understood@0")},
		{rule: "names_understood", name: "names of types that nobody constrains", middle: permits(gnDNS("voice-lab.net")), leaf: also(gnOther("ann"), gnRegisteredID(1)), want: plusTypes("")},
		{rule: "names_understood", name: "minimum 0", middle: []edit{with(subtree(gnDNS("voice-lab.net"), tagged(context(0), []byte{0})))}},
		{rule: "names_understood", name: "minimum 1", middle: []edit{with(subtree(gnDNS("voice-lab.net"), tagged(context(0), []byte{1})))}, want: always("names_understood@0")},
		{rule: "names_understood", name: "maximum", middle: []edit{with(subtree(gnDNS("voice-lab.net"), tagged(context(1), []byte{5})))}, want: always("names_understood@0")},
		{rule: "names_understood", name: "maximum in the root", root: []edit{with(subtree(gnDNS("voice-lab.net"), tagged(context(1), []byte{5})))}, want: always("names_understood@0 names_understood@1")},
		{rule: "names_understood", name: "directory name that does not parse", middle: permits(tagged(context(4).Constructed(), []byte{5, 0})), want: always("names_understood@0")},
		{
			// What crypto/x509 itself does not read.
			rule: "syntax", name: "address range with a mask of another form", middle: permits(tagged(context(7), []byte{81, 2, 69, 0, 255, 0, 255, 0})), want: always("syntax@1{issuer_found@0}"),
		},
		{rule: "syntax", name: "name constraints without subtrees", middle: []edit{with(exten{ce(30), true, seqOf()})}, want: always("syntax@1{issuer_found@0}")},

		{rule: "name_constraints_on_ca", name: "on a CA", middle: permits(gnDNS("voice-lab.net"))},
		{rule: "name_constraints_on_ca", name: "on a leaf", leaf: excludes(gnDNS("other.net")), want: since(chain.Strict, "name_constraints_on_ca@0")},
		{rule: "name_constraints_critical", name: "critical", middle: permits(gnDNS("voice-lab.net"))},
		{rule: "name_constraints_critical", name: "not critical", middle: []edit{with(uncritical(constrain(subtrees{gnDNS("voice-lab.net")}, nil)))}, want: since(chain.WebPKI, "name_constraints_critical@1")},
		{
			rule: "name_constraints_critical", name: "not critical, and applied all the same", middle: []edit{with(uncritical(constrain(subtrees{gnDNS("other.net")}, nil)))},
			want: verdicts{"names_permitted@0", "names_permitted@0", "names_permitted@0 name_constraints_critical@1"},
		},
	}
}
