package chain_test

import (
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"time"

	"callsign/chain"

	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// listed is the usual chain with CRLs.
type listed struct {
	top, middle *authority
	leafSerial  *big.Int
}

// withCRLs is the usual chain and the CRLs that f makes.
func withCRLs(f func(l *listed) []*x509.RevocationList, middleEdits ...edit) func() sample {
	return func() sample {
		l := &listed{top: root("Root"), leafSerial: nextSerial()}
		l.middle = l.top.ca("Middle", middleEdits...)
		return sample{presented: [][]byte{l.middle.leaf(numbered(l.leafSerial)), l.middle.cert}, store: certs(l.top), crls: f(l)}
	}
}

// ofLeaf is one CRL of the intermediate, which lists the leaf, and an empty one of the root.
func ofLeaf(edits ...crlEdit) func() sample {
	return withCRLs(func(l *listed) []*x509.RevocationList {
		return []*x509.RevocationList{l.top.crl(), l.middle.crl(append([]crlEdit{listing(l.leafSerial, noReason)}, edits...)...)}
	})
}

// withoutLeaf is the same, but the leaf is not in the list.
func withoutLeaf(edits ...crlEdit) func() sample {
	return withCRLs(func(l *listed) []*x509.RevocationList {
		return []*x509.RevocationList{l.top.crl(), l.middle.crl(append([]crlEdit{listing(big.NewInt(1), noReason)}, edits...)...)}
	})
}

func hard(v *chain.Verifier) { v.RequireCRL = true }

func hardAt(t time.Time) func(*chain.Verifier) {
	return func(v *chain.Verifier) { v.RequireCRL, v.Now = true, at(t) }
}

func pins(names ...string) func(*chain.Verifier) {
	return func(v *chain.Verifier) {
		for _, n := range names {
			v.Pins = append(v.Pins, sha256.Sum256(spkiOf(ecKey(n).Public())))
		}
	}
}

func crlDamaged(r *revocations)      { r.damage = true }
func crlScheme(s scheme) crlEdit     { return func(r *revocations) { r.scheme = &s } }
func crlIssuer(name []byte) crlEdit  { return func(r *revocations) { r.issuer = name } }
func crlKey(name string) crlEdit     { return func(r *revocations) { r.key = ecKey(name) } }
func isTrue(n uint8) []byte          { return tagged(context(n), []byte{0xFF}) }
func deltaOf(base int64) crlEdit     { return crlWith(exten{ce(27), true, intDER(base)}) }
func both(a, b crlEdit) crlEdit      { return func(r *revocations) { a(r); b(r) } }
func otherKeyID(r *revocations)      { crlWith(authorityKey([]byte("another"), nil, nil))(r) }
func crlNoKeyID(r *revocations)      { r.extensions = r.extensions[:1] }
func freshest(critical bool) crlEdit { return crlWith(exten{ce(46), critical, seqOf()}) }

// revocationCases are about CRLs and pins.
func revocationCases() []conformance {
	whole := tagged(context(0).Constructed(), tagged(context(0).Constructed(), gnURI("http://crl.voice-lab.net/middle.crl")))
	// The CRLs that are of no use, with what each is the same as without one.
	useless := map[string]crlEdit{
		"damaged":                               crlDamaged,
		"signed by another":                     crlKey("stranger"),
		"of another key of the CA":              otherKeyID,
		"signed with SHA-1":                     crlScheme(ecdsaSHA1),
		"delta":                                 deltaOf(1),
		"indirect":                              point(isTrue(4)),
		"of attribute certificates":             point(isTrue(5)),
		"of CAs only":                           point(isTrue(2)),
		"for some reasons only":                 point(tagged(context(3), []byte{0, 0x40})),
		"with an unknown critical extension":    crlWith(unknownExtension(true)),
		"with a distribution point of no form":  crlWith(exten{ce(28), true, []byte{5, 0}}),
		"with an unknown critical entry":        listing(big.NewInt(2), noReason, unknownExtension(true)),
		"with the issuer of an entry":           listing(big.NewInt(2), noReason, exten{ce(29), true, seqOf(gnDirectory(plain))}),
		"of another CA":                         both(crlIssuer(usualName("Elsewhere")), otherKeyID),
		"with a distribution point of elements": crlWith(exten{ce(28), true, tagged(cbasn1.SEQUENCE, []byte{0xA0})}),
	}
	cases := []conformance{
		{rule: "not_revoked", name: "not listed", make: withoutLeaf()},
		{rule: "not_revoked", name: "not listed, CRLs demanded", make: withoutLeaf(), set: hard},
		{rule: "not_revoked", name: "listed", make: ofLeaf(), want: always("not_revoked@0")},
		{rule: "not_revoked", name: "listed, CRLs demanded", make: ofLeaf(), set: hard, want: always("not_revoked@0")},
		{rule: "not_revoked", name: "listed in a CRL out of date", make: ofLeaf(updated(noon.AddDate(0, -2, 0), noon.AddDate(0, -1, 0))), want: always("not_revoked@0")},
		{rule: "not_revoked", name: "listed in a CRL from after the judgement", make: ofLeaf(updated(noon.Add(time.Hour), noon.AddDate(0, 1, 0))), want: always("not_revoked@0")},
		{rule: "not_revoked", name: "listed in a CRL of end entities", make: ofLeaf(point(isTrue(1))), want: always("not_revoked@0")},
		{rule: "not_revoked", name: "listed in a CRL with a distribution point", make: ofLeaf(point(whole)), want: always("not_revoked@0")},
		{rule: "not_revoked", name: "listed in a CRL without a key identifier", make: ofLeaf(crlNoKeyID), want: always("not_revoked@0")},
		{rule: "not_revoked", name: "listed in a CRL with harmless extensions", make: ofLeaf(freshest(false), crlWith(unknownExtension(false))), want: always("not_revoked@0")},
		{
			rule: "not_revoked", name: "listed in a CRL that writes the CA's name in another case", want: always("not_revoked@0"),
			make: ofLeaf(crlIssuer(nameOf(printable(6, "be"), printable(10, "VOICE LAB"), utf8String(3, "MIDDLE")))),
		},
		{
			rule: "not_revoked", name: "another certificate with the same serial number by another CA", make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.top.crl(listing(l.leafSerial, noReason)), l.middle.crl(listing(l.middle.serial, noReason))}
			}),
		},
		{
			rule: "not_revoked", name: "intermediate listed", want: always("not_revoked@1"), make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.top.crl(listing(l.middle.serial, 2))}
			}),
		},
		{
			rule: "not_revoked", name: "leaf and intermediate listed", set: hard, want: always("not_revoked@0 not_revoked@1"), make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.top.crl(listing(l.middle.serial, 2)), l.middle.crl(listing(l.leafSerial, 1))}
			}),
		},
		{
			rule: "not_revoked", name: "intermediate listed in a CRL of end entities", make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.top.crl(listing(l.middle.serial, 2), point(isTrue(1)))}
			}),
		},
		{
			rule: "not_revoked", name: "intermediate listed in a CRL of CAs", want: always("not_revoked@1"), make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.top.crl(listing(l.middle.serial, 2), point(isTrue(2)))}
			}),
		},
		{
			rule: "not_revoked", name: "root lists itself", make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.top.crl(listing(l.top.serial, 2))}
			}),
		},
		{
			rule: "not_revoked", name: "listed in the older of two CRLs", want: always("not_revoked@0"), make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.middle.crl(), l.middle.crl(listing(l.leafSerial, 1), updated(noon.AddDate(0, -1, 0), noon.AddDate(0, 1, 0)))}
			}),
		},
		{
			rule: "not_revoked", name: "on hold", want: always("not_revoked@0"), make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.middle.crl(listing(l.leafSerial, 6))}
			}),
		},
		{
			rule: "not_revoked", name: "on hold in the newer of two CRLs", want: always("not_revoked@0"), make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.middle.crl(updated(noon.AddDate(0, -1, 0), noon.AddDate(0, 1, 0))), l.middle.crl(listing(l.leafSerial, 6))}
			}),
		},
		{
			rule: "not_revoked", name: "on hold in the older of two CRLs, and released", make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.middle.crl(), l.middle.crl(listing(l.leafSerial, 6), updated(noon.AddDate(0, -1, 0), noon.AddDate(0, 1, 0)))}
			}),
		},
		{
			rule: "not_revoked", name: "removed from the list", make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.middle.crl(listing(l.leafSerial, 8))}
			}),
		},
		{
			rule: "not_revoked", name: "CRL of a CA without cRLSign", make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.middle.crl(listing(l.leafSerial, 1))}
			}, with(usage(x509.KeyUsageCertSign))),
		},
		{
			rule: "not_revoked", name: "CRL of a CA without keyUsage", want: verdicts{"not_revoked@0", "ca_key_usage_present@1 not_revoked@0", "ca_key_usage_present@1 not_revoked@0"},
			make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.middle.crl(listing(l.leafSerial, 1))}
			}, without(15)),
		},

		{rule: "crl_available", name: "at hand", make: withoutLeaf(), set: hard},
		{rule: "crl_available", name: "none at all", set: hard, want: always("crl_available@0 crl_available@1")},
		{rule: "crl_available", name: "none at all, and none demanded"},
		{
			rule: "crl_available", name: "none of the root", set: hard, want: always("crl_available@1"), make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.middle.crl()}
			}),
		},
		{
			rule: "crl_available", name: "one useless and one good", set: hard, make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.top.crl(), l.middle.crl(crlDamaged), l.middle.crl()}
			}),
		},
		{
			rule: "crl_available", name: "of a CA without cRLSign", set: hard, want: always("crl_available@0"), make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.top.crl(), l.middle.crl()}
			}, with(usage(x509.KeyUsageCertSign))),
		},
		{rule: "crl_available", name: "self-signed leaf needs none", make: alone(), set: hard},
		{rule: "crl_available", name: "unknown issuer", set: hard, want: always("issuer_found@0{crl_available@0}"), make: func() sample {
			return sample{presented: [][]byte{root("Root").leaf()}}
		}},
		{rule: "crl_available", name: "unknown issuer of the intermediate", set: hard, want: always("issuer_found@1{crl_available@1} crl_available@0"), make: func() sample {
			s := usual(nil, nil, nil)
			s.store = nil
			return s
		}},
		{rule: "crl_available", name: "unreadable issuer", set: hard, middle: []edit{versioned(4)}, want: always("syntax@1{issuer_found@0 crl_available@0}")},

		{rule: "crl_current", name: "last second", make: withoutLeaf(updated(noon.AddDate(0, 0, -1), noon)), set: hard},
		{rule: "crl_current", name: "within the last second", make: withoutLeaf(updated(noon.AddDate(0, 0, -1), noon)), set: hardAt(noon.Add(time.Second - 1))},
		{rule: "crl_current", name: "one second late", make: withoutLeaf(updated(noon.AddDate(0, 0, -1), noon.Add(-time.Second))), set: hard, want: always("crl_current@0")},
		{rule: "crl_current", name: "first second", make: withoutLeaf(updated(noon, noon.AddDate(0, 0, 1))), set: hard},
		{rule: "crl_current", name: "one second early", make: withoutLeaf(updated(noon.Add(time.Second), noon.AddDate(0, 0, 1))), set: hard, want: always("crl_current@0")},
		{rule: "crl_current", name: "no end", make: withoutLeaf(updated(noon.AddDate(-5, 0, 0), time.Time{})), set: hard},
		{rule: "crl_current", name: "out of date, and none demanded", make: withoutLeaf(updated(noon.AddDate(0, -2, 0), noon.AddDate(0, -1, 0)))},
		{
			rule: "crl_current", name: "within the clock skew", make: withoutLeaf(updated(noon.AddDate(0, 0, -1), noon.Add(-time.Minute))),
			set: func(v *chain.Verifier) { v.RequireCRL, v.ClockSkew = true, time.Minute },
		},
		{
			rule: "crl_current", name: "one out of date and one not", set: hard, make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.top.crl(), l.middle.crl(updated(noon.AddDate(0, -2, 0), noon.AddDate(0, -1, 0))), l.middle.crl()}
			}),
		},
		{rule: "crl_current", name: "of the intermediate", set: hard, want: always("crl_current@1"), make: withCRLs(func(l *listed) []*x509.RevocationList {
			return []*x509.RevocationList{l.top.crl(updated(noon.AddDate(0, -2, 0), noon.AddDate(0, -1, 0))), l.middle.crl()}
		})},
		{rule: "crl_current", name: "unknown root", set: hard, want: always("root_stored@2 crl_available@1 crl_current@0"), make: func() sample {
			top := root("Root")
			middle := top.ca("Middle")
			return sample{
				presented: append([][]byte{middle.leaf()}, certs(middle, top)...),
				crls:      []*x509.RevocationList{middle.crl(updated(noon.AddDate(0, -2, 0), noon.AddDate(0, -1, 0)))},
			}
		}},

		{rule: "pinned", name: "nothing is"},
		{rule: "pinned", name: "leaf", set: pins("leaf")},
		{rule: "pinned", name: "intermediate", set: pins("Middle")},
		{rule: "pinned", name: "root", set: pins("Root")},
		{rule: "pinned", name: "one of two", set: pins("stranger", "Middle")},
		{rule: "pinned", name: "another key", set: pins("stranger"), want: always("pinned@0")},
		{rule: "pinned", name: "a root that is stored and not in the path", set: pins("Other"), want: always("pinned@0"), make: func() sample {
			s := usual(nil, nil, nil)
			s.store = append(s.store, root("Other").cert)
			return s
		}},
	}
	for name, e := range useless {
		cases = append(cases, conformance{rule: "not_revoked", name: "listed in a CRL " + name, make: ofLeaf(e)},
			conformance{rule: "crl_available", name: name, make: withoutLeaf(e), set: hard, want: always("crl_available@0")})
	}
	return cases
}
