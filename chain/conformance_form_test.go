package chain_test

import (
	"crypto/x509"
	"math/big"
	"strings"

	"callsign/chain"
)

// power is 2 to the n, plus d.
func power(n uint, d int64) *big.Int {
	x := new(big.Int).Lsh(big.NewInt(1), n)
	return x.Add(x, big.NewInt(d))
}

// alone is a self-signed leaf that is stored.
func alone(edits ...edit) func() sample {
	return func() sample {
		leaf := (*authority)(nil).leaf(edits...)
		return sample{presented: [][]byte{leaf}, store: [][]byte{leaf}}
	}
}

// formCases are about the form that RFC 5280 section 4 asks of a conforming CA.
func formCases() []conformance {
	noNames := "alt_name_present@0{common_name@0}"
	return []conformance{
		{rule: "version", name: "3"},
		{rule: "version", name: "2", leaf: []edit{versioned(2), bare}, set: used(chain.Any), target: "-", want: verdicts{"", "version@0", "version@0 " + noNames}},
		{rule: "version", name: "1", leaf: []edit{versioned(1), bare}, set: used(chain.Any), target: "-", want: verdicts{"", "version@0", "version@0 " + noNames}},
		{rule: "version", name: "1 with extensions", leaf: []edit{versioned(1)}, set: used(chain.Any), target: "-", want: verdicts{"", "version@0", "version@0 " + noNames}},
		{rule: "version", name: "1, self-signed and stored", make: alone(versioned(1), bare), opensslRefuses: "to it a self-signed certificate is a CA, which needs version 3", set: used(chain.Any), target: "-", want: since(chain.WebPKI, noNames)},
		{rule: "version", name: "1 with extensions, self-signed and stored", make: alone(versioned(1)), set: used(chain.Any), target: "-", want: verdicts{"", "version@0", "version@0 " + noNames}},

		{rule: "serial", name: "1", leaf: []edit{numbered(big.NewInt(1))}},
		{rule: "serial", name: "20 octets", leaf: []edit{numbered(power(159, -1))}},
		{rule: "serial", name: "21 octets", leaf: []edit{numbered(power(159, 0))}, want: since(chain.Strict, "serial@0")},
		{rule: "serial", name: "0", leaf: []edit{numbered(big.NewInt(0))}, want: since(chain.Strict, "serial@0")},
		{rule: "serial", name: "0 in the intermediate", middle: []edit{numbered(big.NewInt(0))}, want: since(chain.Strict, "serial@1")},
		{rule: "serial", name: "0 in the root", root: []edit{numbered(big.NewInt(0))}, want: since(chain.Strict, "serial@2")},

		{rule: "authority_key_identifier", name: "on all but the root"},
		{rule: "authority_key_identifier", name: "not on the leaf", leaf: []edit{noAKI}, want: since(chain.Strict, "authority_key_identifier@0")},
		{rule: "authority_key_identifier", name: "not on the intermediate", middle: []edit{noAKI}, want: since(chain.Strict, "authority_key_identifier@1")},
		{rule: "authority_key_identifier", name: "empty", leaf: []edit{with(authorityKey([]byte{}, nil, nil))}, want: since(chain.Strict, "authority_key_identifier@0")},
		{rule: "authority_key_identifier", name: "with nothing in it", leaf: []edit{with(authorityKey(nil, nil, nil))}, want: since(chain.Strict, "authority_key_identifier@0")},
		{rule: "authority_key_identifier", name: "critical", leaf: []edit{with(critical(authorityKey(keyIDOf(spkiOf(ecKey("Middle").Public())), nil, nil)))}, want: always("authority_key_identifier@0")},
		{rule: "authority_key_identifier", name: "not on a self-signed leaf", make: alone()},

		{rule: "subject_key_identifier", name: "on all CAs"},
		{rule: "subject_key_identifier", name: "not on the intermediate", middle: []edit{without(14)}, leaf: []edit{with(authorityKey([]byte("any"), nil, nil))}, want: since(chain.Strict, "subject_key_identifier@1")},
		{rule: "subject_key_identifier", name: "not on the root", root: []edit{without(14)}, middle: []edit{with(authorityKey([]byte("any"), nil, nil))}, want: since(chain.Strict, "subject_key_identifier@2")},
		{rule: "subject_key_identifier", name: "empty", middle: []edit{with(subjectKey(nil))}, leaf: []edit{with(authorityKey([]byte("any"), nil, nil))}, want: since(chain.Strict, "subject_key_identifier@1")},
		{rule: "subject_key_identifier", name: "critical", middle: []edit{with(critical(subjectKey([]byte("middle"))))}, want: always("subject_key_identifier@1{issuer_found@0}")},
		{rule: "subject_key_identifier", name: "critical on the leaf", leaf: []edit{with(critical(subjectKey([]byte("leaf"))))}, want: always("subject_key_identifier@0")},

		{rule: "ca_subject", name: "not empty"},
		{rule: "ca_subject", name: "empty", middle: []edit{named(nameOf())}, want: since(chain.Strict, "ca_subject@1")},

		{rule: "basic_constraints_critical", name: "critical"},
		{rule: "basic_constraints_critical", name: "not critical", middle: []edit{with(basic(false, true, -1))}, want: since(chain.Strict, "basic_constraints_critical@1")},
		{rule: "basic_constraints_critical", name: "not critical in the root", root: []edit{with(basic(false, true, -1))}, want: since(chain.Strict, "basic_constraints_critical@2")},
		{rule: "basic_constraints_critical", name: "not critical in the leaf", leaf: []edit{with(basic(false, false, -1))}},

		{rule: "ca_key_usage_present", name: "present"},
		{rule: "ca_key_usage_present", name: "absent", middle: []edit{without(15)}, want: since(chain.Strict, "ca_key_usage_present@1")},
		{rule: "ca_key_usage_present", name: "absent in the root", root: []edit{without(15)}, want: since(chain.Strict, "ca_key_usage_present@2")},

		{rule: "leaf_not_ca", name: "CA:FALSE", leaf: []edit{with(basic(true, false, -1))}},
		{rule: "leaf_not_ca", name: "CA:TRUE", leaf: []edit{with(basic(true, true, -1))}, want: since(chain.Strict, "leaf_not_ca@0")},
		{rule: "leaf_not_ca", name: "keyCertSign", leaf: []edit{with(usage(x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign))}, want: since(chain.Strict, "leaf_not_ca@0")},
		{
			rule: "leaf_not_ca", name: "CA:TRUE, client", leaf: []edit{with(basic(true, true, -1), usage(x509.KeyUsageDigitalSignature|x509.KeyUsageCertSign), subjectKey([]byte("leaf")))},
			set: used(chain.Client), target: "-",
		},

		{rule: "subject_alt_name", name: "empty subject, critical", leaf: only(gnDNS(host))},
		{rule: "subject_alt_name", name: "empty subject, not critical", leaf: []edit{named(nameOf())}, want: since(chain.Strict, "subject_alt_name@0")},
		{rule: "subject_alt_name", name: "empty subject, absent", leaf: []edit{named(nameOf()), without(17)}, target: "-", want: verdicts{"", "subject_alt_name@0", "alt_name_present@0{subject_alt_name@0}"}},
		{rule: "subject_alt_name", name: "critical beside a subject", leaf: []edit{with(critical(altDNS(host)))}},

		{rule: "dns_syntax", name: "wildcard, digits, hyphens, capitals", leaf: also(gnDNS("*.voice-lab.net"), gnDNS("1-a.2.Voice-Lab.NET"))},
		{rule: "dns_syntax", name: "label of 63", leaf: also(gnDNS(strings.Repeat("a", 63) + ".net"))},
		{rule: "dns_syntax", name: "label of 64", leaf: also(gnDNS(strings.Repeat("a", 64) + ".net")), want: since(chain.Strict, "dns_syntax@0")},
		{rule: "dns_syntax", name: "name of 253", leaf: also(gnDNS(strings.Repeat("a.", 125) + "net"))},
		{rule: "dns_syntax", name: "name of 254", leaf: also(gnDNS(strings.Repeat("a.", 125) + "nets")), want: since(chain.Strict, "dns_syntax@0")},
		{rule: "dns_syntax", name: "underscore", leaf: also(gnDNS("cucm_1.voice-lab.net")), want: since(chain.Strict, "dns_syntax@0")},
		{rule: "dns_syntax", name: "final dot", leaf: also(gnDNS("voice-lab.net.")), want: since(chain.Strict, "dns_syntax@0")},
		{rule: "dns_syntax", name: "leading dot", leaf: also(gnDNS(".voice-lab.net")), want: since(chain.Strict, "dns_syntax@0")},
		{rule: "dns_syntax", name: "empty label", leaf: also(gnDNS("voice..lab.net")), want: since(chain.Strict, "dns_syntax@0")},
		{rule: "dns_syntax", name: "hyphen at the end", leaf: also(gnDNS("voice-.lab.net")), want: since(chain.Strict, "dns_syntax@0")},
		{rule: "dns_syntax", name: "blank", leaf: also(gnDNS(" ")), want: verdicts{"", "dns_syntax@0", "dns_syntax@0 alt_name_reserved@0"}},
		{rule: "dns_syntax", name: "partial wildcard", leaf: also(gnDNS("cu*.voice-lab.net")), want: since(chain.Strict, "dns_syntax@0")},
	}
}

// webCases are about what is asked of certificates that public clients meet.
func webCases() []conformance {
	web := func(faults string) verdicts { return since(chain.WebPKI, faults) }
	return []conformance{
		{rule: "alt_name_present", name: "present"},
		{rule: "alt_name_present", name: "absent", leaf: []edit{without(17), named(nameOf(printable(10, "Voice Lab")))}, target: "-", want: web("alt_name_present@0")},

		{rule: "alt_name_types", name: "domain and address", leaf: also(gnIP("81.2.69.160"), gnIP("2a00:1450::1"))},
		{rule: "alt_name_types", name: "mail", leaf: also(gnMail("ann@voice-lab.net")), want: web("alt_name_types@0")},
		{rule: "alt_name_types", name: "URI", leaf: also(gnURI("https://voice-lab.net/")), want: web("alt_name_types@0")},
		{rule: "alt_name_types", name: "directory name", leaf: also(gnDirectory(lab)), want: web("alt_name_types@0")},
		{rule: "alt_name_types", name: "otherName", leaf: also(gnOther("ann")), want: web("alt_name_types@0")},
		{rule: "alt_name_types", name: "registeredID", leaf: also(gnRegisteredID(1)), want: web("alt_name_types@0")},

		{rule: "alt_name_reserved", name: "none", leaf: also(gnDNS("www.voice-lab.net"), gnDNS("test.net"), gnDNS("locals.net"), gnIP("8.8.8.8"))},
		{rule: "alt_name_reserved", name: "host name alone", leaf: also(gnDNS("cucm")), want: web("alt_name_reserved@0")},
		{rule: "alt_name_reserved", name: "local", leaf: also(gnDNS("cucm.Local")), want: web("alt_name_reserved@0")},
		{rule: "alt_name_reserved", name: "internal", leaf: also(gnDNS("a.b.internal")), want: web("alt_name_reserved@0")},
		{rule: "alt_name_reserved", name: "test", leaf: also(gnDNS("cucm.lab.test")), want: web("alt_name_reserved@0")},
		{rule: "alt_name_reserved", name: "example domain", leaf: also(gnDNS("example.com")), want: web("alt_name_reserved@0")},
		{rule: "alt_name_reserved", name: "wildcard below a reserved domain", leaf: also(gnDNS("*.lab.test")), want: web("alt_name_reserved@0")},
		{rule: "alt_name_reserved", name: "wildcard of a reserved domain", leaf: also(gnDNS("*.local")), want: web("alt_name_reserved@0 alt_name_wildcard@0")},
		{rule: "alt_name_reserved", name: "home network", leaf: also(gnDNS("phone.home.arpa")), want: web("alt_name_reserved@0")},
		{rule: "alt_name_reserved", name: "private address", leaf: also(gnIP("10.0.0.1")), want: web("alt_name_reserved@0")},
		{rule: "alt_name_reserved", name: "shared address", leaf: also(gnIP("100.64.0.1")), want: web("alt_name_reserved@0")},
		{rule: "alt_name_reserved", name: "documentation", leaf: also(gnIP("192.0.2.1")), want: web("alt_name_reserved@0")},
		{rule: "alt_name_reserved", name: "loopback", leaf: also(gnIP("127.0.0.1")), want: web("alt_name_reserved@0")},
		{rule: "alt_name_reserved", name: "unique local IPv6 address", leaf: also(gnIP("fd00::1")), want: web("alt_name_reserved@0")},
		{rule: "alt_name_reserved", name: "link-local IPv6 address", leaf: also(gnIP("fe80::1")), want: web("alt_name_reserved@0")},
		{rule: "alt_name_reserved", name: "IPv6 documentation", leaf: also(gnIP("2001:db8::1")), want: web("alt_name_reserved@0")},
		{rule: "alt_name_reserved", name: "documentation written as IPv6", leaf: also(tagged(context(7), addressOctets("::ffff:192.0.2.1"))), want: web("alt_name_reserved@0")},

		{rule: "alt_name_wildcard", name: "below a domain", leaf: also(gnDNS("*.voice-lab.net"))},
		{rule: "alt_name_wildcard", name: "below a top-level domain", leaf: also(gnDNS("*.net")), want: web("alt_name_wildcard@0")},
		{rule: "alt_name_wildcard", name: "below a public suffix of two labels", leaf: also(gnDNS("*.CO.uk")), want: web("alt_name_wildcard@0")},
		{rule: "alt_name_wildcard", name: "below a domain of such a suffix", leaf: also(gnDNS("*.voice-lab.co.uk"))},
		{rule: "alt_name_wildcard", name: "below the suffix of a hosting company", leaf: also(gnDNS("*.github.io"))},

		{rule: "common_name", name: "an entry of subjectAltName"},
		{rule: "common_name", name: "none", leaf: []edit{named(nameOf(printable(10, "Voice Lab")))}},
		{rule: "common_name", name: "another name", leaf: []edit{named(nameOf(printable(3, "Publisher")))}, want: web("common_name@0")},
		{rule: "common_name", name: "in another case", leaf: []edit{named(nameOf(printable(3, strings.ToUpper(host))))}, want: web("common_name@0")},
		{rule: "common_name", name: "an address", leaf: append(also(gnIP("81.2.69.160")), named(nameOf(printable(3, "81.2.69.160"))))},
		{rule: "common_name", name: "an address that is not there", leaf: append(also(gnIP("81.2.69.160")), named(nameOf(printable(3, "81.2.69.161")))), want: web("common_name@0")},
		{rule: "common_name", name: "two, one of them another name", leaf: []edit{named(nameOf(printable(3, host), printable(3, "Publisher")))}, want: web("common_name@0")},

		{rule: "extended_key_usage_present", name: "present"},
		{rule: "extended_key_usage_present", name: "absent", leaf: []edit{without(37)}, want: web("extended_key_usage_present@0")},
		{rule: "extended_key_usage_present", name: "with any beside it", leaf: []edit{with(extended(serverEKU, anyEKU))}, want: web("extended_key_usage_present@0")},
		{rule: "extended_key_usage_present", name: "critical", leaf: []edit{with(critical(extended(serverEKU)))}, want: web("extended_key_usage_present@0")},
		{rule: "extended_key_usage_present", name: "client, absent", leaf: []edit{without(37)}, set: used(chain.Client), target: "-", want: web("extended_key_usage_present@0")},
		{rule: "extended_key_usage_present", name: "any use, absent", leaf: []edit{without(37)}, set: used(chain.Any), target: "-"},

		{rule: "extended_key_usage_root", name: "none"},
		{rule: "extended_key_usage_root", name: "serverAuth", root: []edit{with(extended(serverEKU))}, want: web("extended_key_usage_root@2")},
		{rule: "extended_key_usage_root", name: "serverAuth in a root that is not stored", want: verdicts{"root_stored@1", "root_stored@1", "root_stored@1 extended_key_usage_root@1"}, make: func() sample {
			top := root("Root", with(extended(serverEKU)))
			return sample{presented: [][]byte{top.leaf(), top.cert}}
		}},
		{rule: "extended_key_usage_root", name: "serverAuth in a self-signed leaf", make: alone()},
		{rule: "extended_key_usage_root", name: "serverAuth in an intermediate that is an anchor", set: func(v *chain.Verifier) { v.PartialChain = true }, make: func() sample {
			middle := root("Root").ca("Middle", with(extended(serverEKU)))
			return sample{presented: [][]byte{middle.leaf()}, store: certs(middle)}
		}},

		{rule: "authority_key_identifier_only", name: "keyIdentifier only"},
		{rule: "authority_key_identifier_only", name: "issuer and serial number as well", make: identified(func(top, middle *authority) exten {
			return authorityKey(middle.ski, top.subject, middle.serial)
		}), want: web("authority_key_identifier_only@0")},
	}
}
