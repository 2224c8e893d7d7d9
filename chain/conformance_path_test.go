package chain_test

import (
	"fmt"
	"math/big"
	"time"

	"callsign/chain"
)

// long is a chain of n certificates, leaf and root among them.
func long(n int) sample {
	a := root("Root")
	s := sample{store: certs(a)}
	for i := range n - 2 {
		a = a.ca(fmt.Sprintf("Level %d", i))
		s.presented = append(s.presented, a.cert)
	}
	s.presented = append([][]byte{a.leaf()}, s.presented...)
	return s
}

// storedAs is the usual chain with its certificates stored in another way.
func storedAs(store func(root, middle *authority, leaf []byte) [][]byte, leafEdits ...edit) func() sample {
	return func() sample {
		top := root("Root")
		middle := top.ca("Middle")
		leaf := middle.leaf(leafEdits...)
		return sample{presented: [][]byte{leaf, middle.cert, top.cert}, store: store(top, middle, leaf)}
	}
}

// pathCases are about what a path is made of and what it ends in.
func pathCases() []conformance {
	return []conformance{
		{rule: "presented", name: "leaf and intermediate"},
		{rule: "presented", name: "nothing", make: func() sample { return sample{store: certs(root("Root"))} }, want: always("presented@0")},

		{rule: "syntax", name: "good form"},
		{
			rule: "syntax", name: "leaf cut off", want: always("syntax@0"),
			make: func() sample {
				s := usual(nil, nil, nil)
				s.presented[0] = s.presented[0][:len(s.presented[0])-1]
				return s
			},
		},
		{
			rule: "syntax", name: "octets after the leaf", want: always("syntax@0"),
			make: func() sample {
				s := usual(nil, nil, nil)
				s.presented[0] = append(s.presented[0], 0)
				return s
			},
		},
		{rule: "syntax", name: "leaf of version 4", leaf: []edit{versioned(4)}, want: always("syntax@0")},
		{rule: "syntax", name: "one extension twice", leaf: []edit{func(w *writing) { w.extensions = append(w.extensions, altDNS(host)) }}, want: always("syntax@0")},
		{rule: "syntax", name: "issuer of version 4", middle: []edit{versioned(4)}, want: always("syntax@1{issuer_found@0}")},
		{
			rule: "syntax", name: "unreadable certificate beside the chain",
			make: func() sample {
				s := usual(nil, nil, nil)
				s.presented = append(s.presented, []byte("rubbish"), nil)
				return s
			},
		},

		{rule: "serial_negative", name: "first octet 7F", leaf: []edit{numbered(big.NewInt(0x7FFF))}},
		{rule: "serial_negative", name: "of the leaf", leaf: []edit{numbered(big.NewInt(-5))}, want: always("serial_negative@0")},
		{rule: "serial_negative", name: "of the issuer", middle: []edit{numbered(big.NewInt(-1 << 40))}, want: always("serial_negative@1{issuer_found@0}")},

		{rule: "limits", name: "20 certificates", make: func() sample { return long(20) }},
		{rule: "limits", name: "21 certificates", make: func() sample { return long(21) }, want: always("limits@19")},
		{
			rule: "limits", name: "20 certificates and an unknown root", want: always("root_stored@19"),
			make: func() sample {
				s := long(20)
				s.presented = append(s.presented, s.store...)
				s.store = certs(root("Another"))
				return s
			},
		},
		{
			rule: "limits", name: "20 certificates and no issuer", want: always("issuer_found@19"),
			make: func() sample {
				s := long(21)
				s.store = nil
				return s
			},
		},

		{rule: "key_size_limit", name: "8192 bits", leaf: []edit{forKey(inventedRSA(8192))}},
		{rule: "key_size_limit", name: "8193 bits", leaf: []edit{forKey(inventedRSA(8193))}, want: always("key_size_limit@0")},
		{rule: "key_size_limit", name: "16384 bits", leaf: []edit{forKey(inventedRSA(16384))}, want: always("key_size_limit@0")},
		{
			// No signature is verified with such a key; and that is not taken for a good signature.
			rule: "key_size_limit", name: "issuer of 16384 bits", middle: []edit{forKey(inventedRSA(16384))}, leaf: []edit{signedAs(rsaSHA256), signedWith(rsa2048())},
			want: always("key_size_limit@1"),
		},
		{rule: "key_size_limit", name: "root of 8200 bits", root: []edit{forKey(inventedRSA(8200))}, want: always("key_size_limit@2")},

		{rule: "self_signed_stored", name: "stored", make: func() sample {
			leaf := (*authority)(nil).leaf()
			return sample{presented: [][]byte{leaf}, store: [][]byte{leaf}}
		}},
		{rule: "self_signed_stored", name: "not stored", want: always("self_signed_stored@0"), make: func() sample {
			return sample{presented: [][]byte{(*authority)(nil).leaf()}, store: certs(root("Root"))}
		}},
		{rule: "self_signed_stored", name: "another one of the same name and key stored", want: always("self_signed_stored@0"), make: func() sample {
			return sample{presented: [][]byte{(*authority)(nil).leaf()}, store: [][]byte{(*authority)(nil).leaf()}}
		}},
		{rule: "self_signed_stored", name: "with an authority key identifier of its own", make: func() sample {
			id := keyIDOf(spkiOf(ecKey("leaf").Public()))
			leaf := (*authority)(nil).leaf(with(subjectKey(id), authorityKey(id, nil, nil)))
			return sample{presented: [][]byte{leaf}, store: [][]byte{leaf}}
		}},
		{rule: "self_signed_stored", name: "damaged and stored", make: func() sample {
			// What is stored is trusted as it is: the signature would prove nothing.
			leaf := (*authority)(nil).leaf(damaged)
			return sample{presented: [][]byte{leaf}, store: [][]byte{leaf}}
		}},
		{rule: "self_signed_stored", name: "damaged and not stored", want: always("self_signed_stored@0 signature@0"), make: func() sample {
			return sample{presented: [][]byte{(*authority)(nil).leaf(damaged)}, store: [][]byte{(*authority)(nil).leaf()}}
		}},
		{rule: "self_signed_stored", name: "empty trust store", want: always("self_signed_stored@0"), make: func() sample {
			return sample{presented: [][]byte{(*authority)(nil).leaf()}}
		}},

		{rule: "root_stored", name: "presented and stored", make: storedAs(func(top, _ *authority, _ []byte) [][]byte { return certs(top) })},
		{rule: "root_stored", name: "presented only", make: storedAs(func(*authority, *authority, []byte) [][]byte { return nil }), want: always("root_stored@2")},
		{
			rule: "root_stored", name: "another root of the same name and key stored",
			make: func() sample {
				top := root("Root")
				middle := top.ca("Middle")
				return sample{presented: [][]byte{middle.leaf(), middle.cert, top.cert}, store: certs(root("Root"))}
			},
		},
		{
			rule: "root_stored", name: "another root of the same name stored", want: always("root_stored@2"),
			make: func() sample {
				top := root("Root")
				middle := top.ca("Middle")
				other := (*authority)(nil).caWithKey(top.subject, ecKey("Other Root"))
				return sample{presented: [][]byte{middle.leaf(), middle.cert, top.cert}, store: certs(other)}
			},
		},
		{
			rule: "root_stored", name: "another root of the same name without key identifiers stored",
			want: verdicts{"root_stored@2", "root_stored@2 authority_key_identifier@1 subject_key_identifier@2", "root_stored@2 authority_key_identifier@1 subject_key_identifier@2"},
			make: func() sample {
				top := root("Root", without(14))
				middle := top.ca("Middle")
				other := (*authority)(nil).caWithKey(top.subject, ecKey("Other Root"), without(14))
				return sample{presented: [][]byte{middle.leaf(), middle.cert, top.cert}, store: certs(other)}
			},
		},

		{rule: "anchor_complete", name: "intermediate and root stored", make: storedAs(func(top, middle *authority, _ []byte) [][]byte { return certs(middle, top) })},
		{rule: "anchor_complete", name: "intermediate stored, root presented", make: storedAs(func(_, middle *authority, _ []byte) [][]byte { return certs(middle) }), want: always("anchor_complete@1")},
		{
			rule: "anchor_complete", name: "intermediate stored, root nowhere", want: always("anchor_complete@1"),
			make: func() sample {
				middle := root("Root").ca("Middle")
				return sample{presented: [][]byte{middle.leaf()}, store: certs(middle)}
			},
		},
		{
			rule: "anchor_complete", name: "partial chains allowed",
			make: storedAs(func(_, middle *authority, _ []byte) [][]byte { return certs(middle) }), set: func(v *chain.Verifier) { v.PartialChain = true },
		},
		{
			rule: "anchor_complete", name: "anchor marked partial", opensslRefuses: "it knows no such mark",
			make: func() sample {
				middle := root("Root").ca("Middle")
				return sample{presented: [][]byte{middle.leaf(), middle.cert}, anchors: []chain.Anchor{{Certificate: chain.Parse(middle.cert), Partial: true}}}
			},
		},
		{
			rule: "anchor_complete", name: "two stored, the lower one next to the leaf", want: always("anchor_complete@2"),
			make: func() sample {
				upper := root("Root").ca("Upper")
				lower := upper.ca("Lower")
				return sample{presented: [][]byte{lower.leaf()}, store: certs(lower, upper)}
			},
		},
		{
			rule: "anchor_complete", name: "leaf stored that is not self-signed", want: always("issuer_found@0"),
			make: func() sample {
				leaf := root("Root").leaf()
				return sample{presented: [][]byte{leaf}, store: [][]byte{leaf}}
			},
		},
		{
			rule: "anchor_complete", name: "leaf stored that is not self-signed, partial chains allowed", set: func(v *chain.Verifier) { v.PartialChain = true },
			make: func() sample {
				leaf := root("Root").leaf()
				return sample{presented: [][]byte{leaf}, store: [][]byte{leaf}}
			},
		},

		{rule: "signature", name: "good"},
		{rule: "signature", name: "of the leaf damaged", leaf: []edit{damaged}, want: always("signature@0")},
		{rule: "signature", name: "of the intermediate damaged", middle: []edit{damaged}, want: always("signature@1")},
		{rule: "signature", name: "of the stored root damaged", root: []edit{damaged}},
		{rule: "signature", name: "by another key", leaf: []edit{signedWith(ecKey("stranger"))}, want: always("signature@0")},
		{rule: "signature", name: "by a key of another kind", leaf: []edit{signedWith(rsa2048())}, want: always("signature@0")},
		{
			// Perhaps none of them has issued it: their faults may be nobody's business.
			rule: "signature", name: "damaged, and the rest is bad as well", want: always("signature@0{root_stored@2 validity_end@1}"),
			make: func() sample {
				top := root("Root")
				middle := top.ca("Middle", valid(noon.AddDate(-2, 0, 0), noon.Add(-time.Hour)))
				return sample{presented: [][]byte{middle.leaf(damaged), middle.cert, top.cert}}
			},
		},

		{rule: "ca_version", name: "version 3"},
		{
			rule: "ca_version", name: "version 1", middle: []edit{versioned(1), bare}, leaf: []edit{with(authorityKey([]byte("any"), nil, nil))},
			want: verdicts{"ca_version@1", "ca_version@1{version@1}", "ca_version@1{version@1}"},
		},
		{
			rule: "ca_version", name: "version 2", middle: []edit{versioned(2), bare}, leaf: []edit{with(authorityKey([]byte("any"), nil, nil))},
			want: verdicts{"ca_version@1", "ca_version@1{version@1}", "ca_version@1{version@1}"},
		},
		{
			// The same as root, presented and not stored: it does not get the benefit that a stored one has.
			rule: "ca_version", name: "version 1 root that is not stored", want: verdicts{"root_stored@1", "root_stored@1 anchor_version@1", "root_stored@1 anchor_version@1"},
			make: func() sample {
				top := root("Root", versioned(1), bare)
				return sample{presented: [][]byte{top.leaf(with(authorityKey([]byte("any"), nil, nil))), top.cert}}
			},
		},

		{
			// Trusted by itself, but nothing says that it is a CA: another one has issued it.
			rule: "ca_version", name: "version 1 anchor that is not self-signed", set: func(v *chain.Verifier) { v.PartialChain = true },
			want: always("ca_version@1"),
			make: func() sample {
				top := root("Root").ca("Issuing", versioned(1), bare)
				return sample{presented: [][]byte{top.leaf(with(authorityKey([]byte("any"), nil, nil)))}, store: [][]byte{top.cert}}
			},
		},

		{rule: "anchor_version", name: "version 3"},
		{
			rule: "anchor_version", name: "version 1", root: []edit{versioned(1), bare}, middle: []edit{with(authorityKey([]byte("any"), nil, nil))},
			want: since(chain.Strict, "anchor_version@2"),
		},

		{rule: "ca_basic_constraints", name: "CA:TRUE"},
		{rule: "ca_basic_constraints", name: "CA:FALSE", middle: []edit{with(basic(true, false, -1))}, want: always("ca_basic_constraints@1")},
		{rule: "ca_basic_constraints", name: "absent", middle: []edit{without(19)}, want: always("ca_basic_constraints@1")},
		{rule: "ca_basic_constraints", name: "absent in the root", root: []edit{without(19)}, want: always("ca_basic_constraints@2")},
		{
			rule: "ca_basic_constraints", name: "a leaf as CA", middle: []edit{with(basic(true, false, -1), usage(1)), without(14)}, leaf: []edit{with(authorityKey([]byte("any"), nil, nil))},
			want: verdicts{"ca_basic_constraints@1{ca_key_usage@1}", "ca_basic_constraints@1{ca_key_usage@1 subject_key_identifier@1}", "ca_basic_constraints@1{ca_key_usage@1 subject_key_identifier@1}"},
		},
		{rule: "ca_basic_constraints", name: "leaf that is to be a CA", leaf: []edit{with(basic(true, false, -1))}, set: forCA, target: "-", want: verdicts{
			"ca_basic_constraints@0{ca_key_usage@0}", "ca_basic_constraints@0{ca_key_usage@0 subject_key_identifier@0}", "ca_basic_constraints@0{ca_key_usage@0 subject_key_identifier@0}",
		}},
		{
			rule: "ca_basic_constraints", name: "intermediate that is to be a CA", set: forCA, target: "-",
			make: func() sample {
				top := root("Root")
				return sample{presented: certs(top.ca("Middle")), store: certs(top)}
			},
		},

		{rule: "ca_key_usage", name: "keyCertSign"},
		{rule: "ca_key_usage", name: "cRLSign only", middle: []edit{with(usage(1 << 6))}, want: always("ca_key_usage@1")},
		{rule: "ca_key_usage", name: "cRLSign only in the root", root: []edit{with(usage(1 << 6))}, want: always("ca_key_usage@2")},
		{rule: "ca_key_usage", name: "empty", middle: []edit{with(usage(0))}, want: always("ca_key_usage@1")},

		{rule: "path_length", name: "root allows one", root: []edit{with(basic(true, true, 1))}, middle: []edit{with(basic(true, true, 0))}},
		{rule: "path_length", name: "root allows none", root: []edit{with(basic(true, true, 0))}, want: always("path_length@2")},
		{
			rule: "path_length", name: "intermediate allows none, and there is one", want: always("path_length@2"),
			make: func() sample {
				top := root("Root")
				upper := top.ca("Upper", with(basic(true, true, 0)))
				lower := upper.ca("Lower")
				return sample{presented: [][]byte{lower.leaf(), lower.cert, upper.cert}, store: certs(top)}
			},
		},
		{
			rule: "path_length", name: "a leaf that is a CA does not count", want: since(chain.Strict, "leaf_not_ca@0"),
			middle: []edit{with(basic(true, true, 0))}, leaf: []edit{with(basic(true, true, -1))},
		},
		{
			rule: "path_length", name: "self-issued CAs do not count", goRefuses: "it counts them",
			make: func() sample {
				top := root("Root", with(basic(true, true, 1)))
				older := top.ca("Middle", with(basic(true, true, 0)))
				newer := older.caWithKey(older.subject, ecKey("Middle's next"))
				return sample{presented: [][]byte{newer.leaf(), newer.cert, older.cert}, store: certs(top)}
			},
		},
		{
			rule: "path_length", name: "others beside self-issued CAs count", want: always("path_length@3"),
			make: func() sample {
				top := root("Root")
				older := top.ca("Middle", with(basic(true, true, 0)))
				newer := older.caWithKey(older.subject, ecKey("Middle's next"))
				lower := newer.ca("Lower")
				return sample{presented: [][]byte{lower.leaf(), lower.cert, newer.cert, older.cert}, store: certs(top)}
			},
		},

		{rule: "critical_extension", name: "unknown and not critical", root: []edit{with(unknownExtension(false))}, middle: []edit{with(unknownExtension(false))}, leaf: []edit{with(unknownExtension(false))}},
		{rule: "critical_extension", name: "in the leaf", leaf: []edit{with(unknownExtension(true))}, want: always("critical_extension@0")},
		{rule: "critical_extension", name: "in the intermediate", middle: []edit{with(unknownExtension(true))}, want: always("critical_extension@1")},
		{rule: "critical_extension", name: "known ones critical", leaf: []edit{with(critical(altDNS(host)), basic(true, false, -1))}},
		{
			rule: "critical_extension", name: "in an unknown root", want: verdicts{"root_stored@1", "root_stored@1 anchor_critical_extension@1", "root_stored@1 anchor_critical_extension@1"},
			make: func() sample {
				top := root("Root", with(unknownExtension(true)))
				return sample{presented: [][]byte{top.leaf(), top.cert}}
			},
		},

		{rule: "anchor_critical_extension", name: "not critical", root: []edit{with(unknownExtension(false))}},
		{rule: "anchor_critical_extension", name: "critical", root: []edit{with(unknownExtension(true))}, want: since(chain.Strict, "anchor_critical_extension@2"), goRefuses: "it asks for this of anchors as well"},

		{rule: "algorithm_match", name: "alike"},
		{rule: "algorithm_match", name: "ecdsa-with-SHA384 outside", leaf: []edit{func(w *writing) { w.outer = ecdsaSHA384.id }}, want: always("algorithm_match@0")},
		{rule: "algorithm_match", name: "of the intermediate", middle: []edit{func(w *writing) { w.inner = ecdsaSHA384.id }}, want: always("algorithm_match@1{issuer_found@0}")},
	}
}

func forCA(v *chain.Verifier) { v.Usage = chain.CA }

// dateCases are about dates.
func dateCases() []conformance {
	return []conformance{
		{rule: "validity_end", name: "last second", leaf: []edit{valid(noon.AddDate(0, -1, 0), noon)}, opensslRefuses: "to it the last second is over"},
		{rule: "validity_end", name: "within the last second", leaf: []edit{valid(noon.AddDate(0, -1, 0), noon)}, set: now(noon.Add(time.Second - 1)), goRefuses: "it does not count in whole seconds", opensslRefuses: "to it the last second is over"},
		{rule: "validity_end", name: "one second late", leaf: []edit{valid(noon.AddDate(0, -1, 0), noon.Add(-time.Second))}, want: always("validity_end@0")},
		{rule: "validity_end", name: "a second after the last", leaf: []edit{valid(noon.AddDate(0, -1, 0), noon)}, set: now(noon.Add(time.Second)), want: always("validity_end@0")},
		{rule: "validity_end", name: "no end", leaf: []edit{valid(noon.AddDate(0, -1, 0), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC))}},
		{
			rule: "validity_end", name: "no end, and the year 9999", set: now(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)),
			root: []edit{forEver}, middle: []edit{forEver}, leaf: []edit{forEver}, opensslRefuses: "to it the last second is over",
		},
		{rule: "validity_end", name: "intermediate expired", middle: []edit{valid(noon.AddDate(-1, 0, 0), noon.Add(-time.Hour))}, want: always("validity_end@1")},
		{rule: "validity_end", name: "root expired", root: []edit{valid(noon.AddDate(-1, 0, 0), noon.Add(-time.Hour))}, want: always("validity_end@2")},
		{
			rule: "validity_end", name: "all expired", want: always("validity_end@0 validity_end@1 validity_end@2"),
			root: []edit{valid(noon.AddDate(-1, 0, 0), noon.Add(-time.Hour))}, middle: []edit{valid(noon.AddDate(-1, 0, 0), noon.Add(-time.Hour))}, leaf: []edit{valid(noon.AddDate(0, -1, 0), noon.Add(-time.Hour))},
		},
		{
			rule: "validity_end", name: "within the clock skew", leaf: []edit{valid(noon.AddDate(0, -1, 0), noon.Add(-time.Minute))}, set: func(v *chain.Verifier) { v.ClockSkew = time.Minute },
			goRefuses: "it knows no clock skew", opensslRefuses: "it knows no clock skew",
		},
		{rule: "validity_end", name: "beyond the clock skew", leaf: []edit{valid(noon.AddDate(0, -1, 0), noon.Add(-time.Minute-time.Second))}, set: func(v *chain.Verifier) { v.ClockSkew = time.Minute }, want: always("validity_end@0")},
		{
			rule: "validity_end", name: "self-signed, stored and expired", want: always("validity_end@0"), make: func() sample {
				leaf := (*authority)(nil).leaf(valid(noon.AddDate(0, -1, 0), noon.Add(-time.Minute)))
				return sample{presented: [][]byte{leaf}, store: [][]byte{leaf}}
			},
		},

		{rule: "validity_begin", name: "first second", leaf: []edit{valid(noon, noon.AddDate(0, 1, 0))}},
		{rule: "validity_begin", name: "one second early", leaf: []edit{valid(noon.Add(time.Second), noon.AddDate(0, 1, 0))}, want: always("validity_begin@0")},
		{rule: "validity_begin", name: "the instant before", leaf: []edit{valid(noon, noon.AddDate(0, 1, 0))}, set: now(noon.Add(-1)), want: always("validity_begin@0")},
		{rule: "validity_begin", name: "intermediate", middle: []edit{valid(noon.Add(time.Hour), noon.AddDate(1, 0, 0))}, want: always("validity_begin@1")},
		{rule: "validity_begin", name: "root", root: []edit{valid(noon.Add(time.Hour), noon.AddDate(1, 0, 0))}, want: always("validity_begin@2")},
		{
			rule: "validity_begin", name: "within the clock skew", leaf: []edit{valid(noon.Add(time.Minute), noon.AddDate(0, 1, 0))}, set: func(v *chain.Verifier) { v.ClockSkew = time.Minute },
			goRefuses: "it knows no clock skew", opensslRefuses: "it knows no clock skew",
		},
		{rule: "validity_begin", name: "after its own end", leaf: []edit{valid(noon.Add(time.Hour), noon.Add(-time.Hour))}, want: always("validity_end@0")},
	}
}

func now(t time.Time) func(*chain.Verifier) {
	return func(v *chain.Verifier) { v.Now = at(t) }
}

func forEver(w *writing) { w.to = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) }
