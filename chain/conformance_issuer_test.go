package chain_test

import (
	"fmt"
	"math/big"
	"slices"

	"callsign/chain"

	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// spelled is a chain whose leaf writes the name of its issuer in another way than the issuer itself.
func spelled(subject, issuer []byte) func() sample {
	return func() sample {
		top := root("Root")
		middle := top.caWithKey(subject, ecKey("Middle"))
		return sample{presented: [][]byte{middle.leaf(issuedBy(issuer)), middle.cert}, store: certs(top)}
	}
}

// plain is the name that the cases of spelled vary.
var plain = nameOf(printable(6, "BE"), printable(10, "Voice Lab"), printable(3, "Middle CA"))

// twins are n roots of one name, each with a key of its own. The last one has issued the leaf.
func twins(n int, leafEdits ...edit) sample {
	var s sample
	var last *authority
	for i := range n {
		last = root("Twin", reKeyed(ecKey(fmt.Sprintf("Twin %d", i)).Public()), signedWith(ecKey(fmt.Sprintf("Twin %d", i))))
		last.key = ecKey(fmt.Sprintf("Twin %d", i))
		s.store = append(s.store, last.cert)
	}
	s.presented = [][]byte{last.leaf(leafEdits...)}
	return s
}

func reversed(s sample) sample {
	slices.Reverse(s.store)
	slices.Reverse(s.presented[1:])
	return s
}

var (
	noAKI = without(35)
	// past is a validity that has ended before noon.
	past = valid(noon.AddDate(-3, 0, 0), noon.AddDate(0, 0, -1))
)

const octetsDiffer = "it compares names octet by octet"

// issuerCases are about who has issued a certificate.
func issuerCases() []conformance {
	return []conformance{
		{rule: "issuer_found", name: "presented"},
		{rule: "issuer_found", name: "stored", make: storedAs(func(top, middle *authority, _ []byte) [][]byte { return certs(top, middle) })},
		{rule: "issuer_found", name: "among other certificates in any order", make: func() sample {
			top := root("Root")
			upper := top.ca("Upper")
			lower := upper.ca("Lower")
			s := sample{presented: append([][]byte{lower.leaf()}, certs(root("Stranger"), upper, top, lower, upper, root("Stranger").ca("Lower"))...), store: certs(root("Stranger"), top)}
			return s
		}},
		{rule: "issuer_found", name: "at hand as intermediate", make: func() sample {
			top := root("Root")
			middle := top.ca("Middle")
			return sample{presented: [][]byte{middle.leaf()}, store: certs(top), others: certs(root("Stranger"), middle)}
		}},
		{rule: "issuer_found", name: "many at hand", make: func() sample {
			top := root("Root")
			middle := top.ca("Middle")
			s := sample{presented: [][]byte{middle.leaf()}, store: certs(top)}
			for i := range 100 {
				s.others = append(s.others, top.ca(fmt.Sprintf("Stranger %d", i)).cert)
			}
			s.others = append(s.others, middle.cert)
			return s
		}},
		{rule: "issuer_found", name: "of the leaf nowhere", want: always("issuer_found@0"), make: func() sample {
			top := root("Root")
			return sample{presented: [][]byte{top.ca("Middle").leaf()}, store: certs(top)}
		}},
		{rule: "issuer_found", name: "of the intermediate nowhere", want: always("issuer_found@1"), make: func() sample {
			s := usual(nil, nil, nil)
			s.store = certs(root("Stranger"))
			return s
		}},
		{rule: "issuer_found", name: "empty trust store", want: always("issuer_found@1"), make: func() sample {
			s := usual(nil, nil, nil)
			s.store = nil
			return s
		}},
		{rule: "issuer_found", name: "two certify each other and nobody else does", want: always("issuer_found@2"), make: func() sample {
			a, b := root("A"), root("B")
			return sample{presented: append([][]byte{a.leaf()}, certs(b.cross(a), a.cross(b))...), store: certs(root("Root"))}
		}},

		// Names: RFC 5280 7.1.
		{rule: "issuer_found", name: "name in the same octets", make: spelled(plain, plain)},
		{
			rule: "issuer_found", name: "name in another case", goRefuses: octetsDiffer,
			make: spelled(plain, nameOf(printable(6, "be"), printable(10, "VOICE lab"), printable(3, "middle ca"))),
		},
		{
			rule: "issuer_found", name: "name as UTF8String", goRefuses: octetsDiffer,
			make: spelled(plain, nameOf(utf8String(6, "BE"), utf8String(10, "Voice Lab"), utf8String(3, "Middle CA"))),
		},
		{
			rule: "issuer_found", name: "name with blanks around and between", goRefuses: octetsDiffer,
			make: spelled(plain, nameOf(printable(6, "BE"), printable(10, "  Voice   Lab "), printable(3, "Middle CA "))),
		},
		{
			rule: "issuer_found", name: "name without the blank between", want: always("issuer_found@0"),
			make: spelled(plain, nameOf(printable(6, "BE"), printable(10, "VoiceLab"), printable(3, "Middle CA"))),
		},
		{
			rule: "issuer_found", name: "letters beyond ASCII in another case", goRefuses: octetsDiffer, opensslRefuses: "it folds ASCII only",
			make: spelled(nameOf(utf8String(3, "Zürich Éole")), nameOf(utf8String(3, "ZÜRICH ÉOLE"))),
		},
		{
			rule: "issuer_found", name: "RDNs in another order", want: always("issuer_found@0"),
			make: spelled(plain, nameOf(printable(10, "Voice Lab"), printable(6, "BE"), printable(3, "Middle CA"))),
		},
		{
			rule: "issuer_found", name: "one RDN less", want: always("issuer_found@0"),
			make: spelled(plain, nameOf(printable(6, "BE"), printable(10, "Voice Lab"))),
		},
		{
			rule: "issuer_found", name: "another type of attribute", want: always("issuer_found@0"),
			make: spelled(plain, nameOf(printable(6, "BE"), printable(11, "Voice Lab"), printable(3, "Middle CA"))),
		},
		{
			rule: "issuer_found", name: "RDN of two attributes in another order", goRefuses: octetsDiffer,
			make: spelled(seqOf(rdnOf(printable(10, "Voice Lab"), printable(3, "Middle CA"))), seqOf(rdnOf(printable(3, "Middle CA"), printable(10, "Voice Lab")))),
		},
		{
			rule: "issuer_found", name: "two RDNs for one of two attributes", want: always("issuer_found@0"),
			make: spelled(seqOf(rdnOf(printable(3, "Middle CA"), printable(10, "Voice Lab"))), nameOf(printable(3, "Middle CA"), printable(10, "Voice Lab"))),
		},
		{
			rule: "issuer_found", name: "domain components in another case", goRefuses: octetsDiffer,
			make: spelled(nameOf(ia5String(25, "net"), ia5String(25, "voice-lab"), printable(3, "CA")), nameOf(ia5String(25, "NET"), ia5String(25, "Voice-Lab"), printable(3, "CA"))),
		},
		{
			rule: "issuer_found", name: "TeletexString in the same octets",
			make: spelled(nameOf(attribute{3, cbasn1.T61String, "Middle CA"}), nameOf(attribute{3, cbasn1.T61String, "Middle CA"})),
		},
		{
			rule: "issuer_found", name: "TeletexString in another case", want: always("issuer_found@0"),
			make: spelled(nameOf(attribute{3, cbasn1.T61String, "Middle CA"}), nameOf(attribute{3, cbasn1.T61String, "MIDDLE CA"})),
		},
		{
			rule: "issuer_found", name: "TeletexString for PrintableString", want: always("issuer_found@0"),
			make: spelled(nameOf(attribute{3, cbasn1.T61String, "Middle CA"}), nameOf(printable(3, "Middle CA"))),
		},
		{
			rule: "issuer_found", name: "BMPString in the same octets",
			make: spelled(nameOf(attribute{3, 30, "\x00C\x00A"}), nameOf(attribute{3, 30, "\x00C\x00A"})),
		},
		{
			rule: "issuer_found", name: "BMPString for UTF8String", want: always("issuer_found@0"),
			make: spelled(nameOf(attribute{3, 30, "\x00C\x00A"}), nameOf(utf8String(3, "CA"))),
		},
		{
			rule: "issuer_found", name: "mail address in another case", want: always("issuer_found@0"),
			make: spelled(nameOf(ia5String(1, "ca@voice-lab.net")), nameOf(ia5String(1, "CA@voice-lab.net"))),
		},

		{rule: "key_identifier", name: "equal"},
		{rule: "key_identifier", name: "another one", leaf: []edit{with(authorityKey([]byte("another"), nil, nil))}, want: always("key_identifier@0")},
		{rule: "key_identifier", name: "another one in the intermediate", middle: []edit{with(authorityKey([]byte("another"), nil, nil))}, want: always("key_identifier@1")},
		{rule: "key_identifier", name: "the beginning of it", leaf: []edit{func(w *writing) {
			id := keyIDOf(spkiOf(ecKey("Middle").Public()))
			with(authorityKey(id[:len(id)-1], nil, nil))(w)
		}}, want: always("key_identifier@0")},
		{rule: "key_identifier", name: "absent in the leaf", leaf: []edit{noAKI}, want: since(chain.Strict, "authority_key_identifier@0")},
		{rule: "key_identifier", name: "absent in the issuer", middle: []edit{without(14)}, leaf: []edit{with(authorityKey([]byte("any"), nil, nil))}, want: since(chain.Strict, "subject_key_identifier@1")},
		{rule: "key_identifier", name: "issuer and serial number of the issuer", make: identified(func(top, middle *authority) exten {
			return authorityKey(middle.ski, top.subject, middle.serial)
		}), want: since(chain.WebPKI, "authority_key_identifier_only@0")},
		{rule: "key_identifier", name: "issuer and serial number alone", make: identified(func(top, middle *authority) exten {
			return authorityKey(nil, top.subject, middle.serial)
		}), want: verdicts{"", "authority_key_identifier@0", "authority_key_identifier@0 authority_key_identifier_only@0"}},
		{rule: "key_identifier", name: "issuer in another case", make: identified(func(_, middle *authority) exten {
			return authorityKey(middle.ski, nameOf(printable(6, "be"), printable(10, "VOICE LAB"), printable(3, "root")), middle.serial)
		}), want: since(chain.WebPKI, "authority_key_identifier_only@0")},
		{rule: "key_identifier", name: "the issuer's own subject in place of its issuer", make: identified(func(_, middle *authority) exten {
			return authorityKey(middle.ski, middle.subject, middle.serial)
		}), want: verdicts{"key_identifier@0", "key_identifier@0", "key_identifier@0 authority_key_identifier_only@0"}},
		{rule: "key_identifier", name: "another serial number", make: identified(func(top, middle *authority) exten {
			return authorityKey(middle.ski, top.subject, new(big.Int).Add(middle.serial, big.NewInt(1)))
		}), want: verdicts{"key_identifier@0", "key_identifier@0", "key_identifier@0 authority_key_identifier_only@0"}},
		{rule: "key_identifier", name: "an issuer without a serial number", opensslRefuses: "it compares each by itself", make: identified(func(_, middle *authority) exten {
			return authorityKey(middle.ski, middle.subject, nil)
		}), want: since(chain.WebPKI, "authority_key_identifier_only@0")},
		{rule: "key_identifier", name: "a serial number without an issuer", opensslRefuses: "it compares each by itself", make: identified(func(_, middle *authority) exten {
			return authorityKey(middle.ski, nil, big.NewInt(1))
		}), want: since(chain.WebPKI, "authority_key_identifier_only@0")},
		{rule: "key_identifier", name: "serial number of the issuer of one of two certificates of a CA", make: func() sample {
			// The cross-certificate is named by its issuer; the other one, which is stored, by its own.
			top, other := root("Root"), root("Other")
			crossed := top.cross(other)
			return sample{presented: [][]byte{other.leaf(with(authorityKey(other.ski, top.subject, crossed.serial))), crossed.cert}, store: certs(other, top)}
		}, want: since(chain.WebPKI, "authority_key_identifier_only@0")},

		// CAs of one name.
		{rule: "signature", name: "twins told by the key identifier", make: func() sample { return twins(5) }},
		{rule: "signature", name: "twins without key identifier, the good one last", make: func() sample { return twins(5, noAKI) }, want: since(chain.Strict, "authority_key_identifier@0")},
		{rule: "signature", name: "twins without key identifier, the good one first", make: func() sample { return reversed(twins(5, noAKI)) }, want: since(chain.Strict, "authority_key_identifier@0")},
		{rule: "signature", name: "90 twins without key identifier", make: func() sample { return twins(90, noAKI) }, want: since(chain.Strict, "authority_key_identifier@0")},
		{
			rule: "signature", name: "twins without key identifier, none of them the issuer", make: func() sample { return twins(5, noAKI, signedWith(ecKey("stranger"))) },
			want: verdicts{"signature@0", "signature@0 authority_key_identifier@0", "signature@0 authority_key_identifier@0"},
		},
		{
			rule: "signature", name: "twins among the intermediates",
			make: func() sample {
				top := root("Root")
				other := root("Other").caWithKey(usualName("Middle"), ecKey("another Middle"))
				middle := top.ca("Middle")
				return sample{presented: append([][]byte{middle.leaf(noAKI)}, certs(other, middle)...), store: certs(top)}
			},
			want: since(chain.Strict, "authority_key_identifier@0"),
		},
		{rule: "root_stored", name: "two certificates of one intermediate, one below an unknown root", opensslRefuses: "it does not go back to try another path", make: func() sample {
			top, unknown := root("Root"), root("Unknown")
			middle := unknown.ca("Middle")
			return sample{presented: append([][]byte{middle.leaf()}, certs(middle, unknown, top.cross(middle))...), store: certs(top)}
		}},
		{rule: "root_stored", name: "cross-certificate instead of the root", make: func() sample {
			old, next := root("Old Root"), root("Next Root")
			middle := next.ca("Middle")
			return sample{presented: append([][]byte{middle.leaf()}, certs(middle, old.cross(next))...), store: certs(old)}
		}},
		{rule: "root_stored", name: "cross-certificate beside the root", opensslRefuses: "it does not go back to try another path", make: func() sample {
			old, next := root("Old Root"), root("Next Root")
			middle := next.ca("Middle")
			return sample{presented: append([][]byte{middle.leaf()}, certs(middle, next, old.cross(next))...), store: certs(old)}
		}},
		{rule: "root_stored", name: "cross-certificate that has expired beside the stored root", make: func() sample {
			old, next := root("Old Root"), root("Next Root")
			middle := next.ca("Middle")
			return sample{presented: append([][]byte{middle.leaf()}, certs(middle, old.cross(next, past))...), store: certs(old, next)}
		}},
		{rule: "root_stored", name: "CAs that certify each other, and one root", opensslRefuses: "it does not go back to try another path", make: func() sample {
			top, a, b, c := root("Root"), root("A"), root("B"), root("C")
			return sample{presented: append([][]byte{a.leaf()}, certs(b.cross(a), c.cross(a), a.cross(b), c.cross(b), a.cross(c), b.cross(c), top.cross(c))...), store: certs(top)}
		}},
		{rule: "validity_end", name: "renewed CA with the same key, both stored", make: func() sample {
			old, renewed := root("Root", past), root("Root")
			return sample{presented: [][]byte{old.leaf()}, store: certs(old, renewed)}
		}},
		{rule: "validity_end", name: "renewed CA with the same key, both stored in the other order", make: func() sample {
			old, renewed := root("Root", past), root("Root")
			return sample{presented: [][]byte{old.leaf()}, store: certs(renewed, old)}
		}},
		{rule: "validity_end", name: "renewed CA with the same key, the old one stored", want: always("validity_end@1"), make: func() sample {
			old, renewed := root("Root", past), root("Root")
			return sample{presented: [][]byte{renewed.leaf()}, store: certs(old)}
		}},
		{rule: "validity_end", name: "renewed intermediate, both sent", make: func() sample {
			top := root("Root")
			old, renewed := top.ca("Middle", past), top.ca("Middle")
			return sample{presented: append([][]byte{old.leaf()}, certs(old, renewed)...), store: certs(top)}
		}},
		{rule: "validity_begin", name: "next certificate of the CA, not valid yet, beside the present one", make: func() sample {
			top := root("Root")
			next, present := top.ca("Middle", valid(noon.AddDate(0, 0, 1), noon.AddDate(9, 0, 0))), top.ca("Middle")
			return sample{presented: append([][]byte{next.leaf()}, certs(next, present)...), store: certs(top)}
		}},
	}
}

// identified is the usual chain whose leaf has an authority key identifier that depends on its issuers.
func identified(aki func(top, middle *authority) exten) func() sample {
	return func() sample {
		top := root("Root")
		middle := top.ca("Middle")
		return sample{presented: [][]byte{middle.leaf(with(aki(top, middle))), middle.cert}, store: certs(top)}
	}
}
