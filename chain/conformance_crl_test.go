package chain_test

import (
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"slices"
	"strings"
	"testing"
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

// withPoints is the usual chain with a leaf that names distribution points, and the CRLs of its issuer that f makes.
func withPoints(points exten, f func(l *listed) []*x509.RevocationList) func() sample {
	return func() sample {
		l := &listed{top: root("Root"), leafSerial: nextSerial()}
		l.middle = l.top.ca("Middle")
		return sample{presented: [][]byte{l.middle.leaf(numbered(l.leafSerial), with(points)), l.middle.cert}, store: certs(l.top), crls: append(f(l), l.top.crl())}
	}
}

// unlisted is withPoints and one CRL that does not list the leaf.
func unlisted(points exten, edits ...crlEdit) func() sample {
	return withPoints(points, func(l *listed) []*x509.RevocationList { return []*x509.RevocationList{l.middle.crl(edits...)} })
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

// Distribution points of a CA that divides its list.
const (
	shard1 = "http://crl.voice-lab.net/shard1.crl"
	shard2 = "http://crl.voice-lab.net/shard2.crl"
)

// fullName is a DistributionPointName of these general names.
func fullName(names ...[]byte) []byte {
	return tagged(context(0).Constructed(), tagged(context(0).Constructed(), slices.Concat(names...)))
}

// relativeName is one relative to the CRL's issuer.
func relativeName() []byte {
	return tagged(context(0).Constructed(), tagged(context(1).Constructed(), utf8String(3, "shard 1").der()))
}

// crlPoints is cRLDistributionPoints; each point is its fields.
func crlPoints(points ...[]byte) exten {
	var all [][]byte
	for _, p := range points {
		all = append(all, seqOf(p))
	}
	return exten{ce(31), false, seqOf(all...)}
}

// ago is a CRL of some days ago, which is still valid.
func ago(days int) crlEdit { return updated(noon.AddDate(0, 0, -days), noon.AddDate(0, 1, 0)) }

// held makes a CRL of two days ago that has the leaf on hold, and newer ones.
func held(edits []crlEdit, newer ...[]crlEdit) func(l *listed) []*x509.RevocationList {
	return func(l *listed) []*x509.RevocationList {
		all := []*x509.RevocationList{l.middle.crl(append([]crlEdit{listing(l.leafSerial, 6), ago(2)}, edits...)...)}
		for _, e := range newer {
			all = append(all, l.middle.crl(e...))
		}
		return all
	}
}

// marked is the usual chain below an anchor marked MIC, and a CRL signed with SHA-1 that lists one serial number: the leaf's
// by default.
func marked(mic bool, edits ...crlEdit) func() sample {
	return func() sample {
		top, serial := root("Root"), nextSerial()
		return sample{
			presented: [][]byte{top.leaf(numbered(serial))}, anchors: []chain.Anchor{{Certificate: chain.Parse(top.cert), MIC: mic}},
			crls: []*x509.RevocationList{top.crl(append([]crlEdit{listing(serial, 1), crlScheme(ecdsaSHA1)}, edits...)...)},
		}
	}
}

func unlist(r *revocations) { r.entries = nil }

func parsedSerial(der []byte) *big.Int { return newKey(x509.ParseCertificate(der)).SerialNumber }

func hardMIC(v *chain.Verifier) { v.RequireCRL, v.Usage = true, chain.MIC }

// byRSA is the usual leaf below an RSA root, and a CRL that lists it.
func byRSA(s scheme) func() sample {
	return func() sample {
		top, serial := (*authority)(nil).caWithKey(usualName("RSA Root"), rsa2048()), nextSerial()
		return sample{presented: [][]byte{top.leaf(numbered(serial))}, store: certs(top), crls: []*x509.RevocationList{top.crl(listing(serial, 1), crlScheme(s))}}
	}
}

// revocationCases are about CRLs and pins.
func revocationCases() []conformance {
	whole := fullName(gnURI("http://crl.voice-lab.net/middle.crl"))
	// The CRLs that are of no use, with what each is the same as without one.
	useless := map[string]crlEdit{
		"damaged":                               crlDamaged,
		"signed by another":                     crlKey("stranger"),
		"of another key of the CA":              otherKeyID,
		"signed with an unknown algorithm":      crlScheme(unknownScheme),
		"indirect":                              point(isTrue(4)),
		"of attribute certificates":             point(isTrue(5)),
		"of CAs only":                           point(isTrue(2)),
		"with a boolean of two octets":          point(tagged(context(1), []byte{0, 0})),
		"with an unknown field of its point":    point(isTrue(6)),
		"with an empty distribution point name": point(tagged(context(0).Constructed(), nil)),
		"with a distribution point of no name":  point(fullName()),
		"with a broken distribution point name": point(tagged(context(0).Constructed(), tagged(context(0).Constructed(), []byte{0x86}))),
		"with an unknown critical extension":    crlWith(unknownExtension(true)),
		"with a distribution point of no form":  crlWith(exten{ce(28), true, []byte{5, 0}}),
		"with an unknown critical entry":        listing(big.NewInt(2), noReason, unknownExtension(true)),
		"with the issuer of an entry":           listing(big.NewInt(2), noReason, exten{ce(29), true, seqOf(gnDirectory(plain))}),
		"of another CA":                         both(crlIssuer(usualName("Elsewhere")), otherKeyID),
		"with a distribution point of elements": crlWith(exten{ce(28), true, tagged(cbasn1.SEQUENCE, []byte{0xA0})}),
	}
	// Those that say nothing of what they do not list.
	parts := map[string]crlEdit{
		"signed with SHA-1":                      crlScheme(ecdsaSHA1),
		"delta":                                  deltaOf(1),
		"for some reasons only":                  point(tagged(context(3), []byte{0, 0x40})),
		"of a distribution point":                point(whole),
		"of a distribution point, relative":      point(relativeName()),
		"of another CA's distribution point":     point(fullName(gnDirectory(usualName("Elsewhere")))),
		"of a distribution point, a delta there": both(point(whole), deltaOf(1)),
	}
	cases := []conformance{
		{rule: "not_revoked", name: "not listed", make: withoutLeaf()},
		{rule: "not_revoked", name: "not listed, CRLs demanded", make: withoutLeaf(), set: hard},
		{rule: "not_revoked", name: "listed", make: ofLeaf(), want: always("not_revoked@0")},
		{rule: "not_revoked", name: "listed, CRLs demanded", make: ofLeaf(), set: hard, want: always("not_revoked@0")},
		{rule: "not_revoked", name: "listed in a CRL out of date", make: ofLeaf(updated(noon.AddDate(0, -2, 0), noon.AddDate(0, -1, 0))), want: always("not_revoked@0")},
		{rule: "not_revoked", name: "listed in a CRL from after the judgement", make: ofLeaf(updated(noon.Add(time.Hour), noon.AddDate(0, 1, 0))), want: always("not_revoked@0")},
		{rule: "not_revoked", name: "listed in a CRL of end entities", make: ofLeaf(point(isTrue(1))), want: always("not_revoked@0")},
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

		{rule: "not_revoked", name: "listed in a CRL signed with MD5", make: byRSA(rsaMD5)},
		{rule: "not_revoked", name: "listed in a CRL signed with RSA and SHA-1", make: byRSA(rsaSHA1), want: always("not_revoked@0")},
		{rule: "not_revoked", name: "listed in a SHA-1 CRL below an anchor marked MIC", make: marked(true), set: hardMIC, want: always("not_revoked@0")},
		{rule: "not_revoked", name: "listed in a SHA-1 CRL with another signature", make: marked(true, crlDamaged), set: used(chain.MIC)},
		{
			rule: "not_revoked", name: "listed twice, first on hold", want: always("not_revoked@0"), make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.middle.crl(), l.middle.crl(listing(l.leafSerial, 6), listing(l.leafSerial, 1), ago(1))}
			}),
		},
		{
			rule: "not_revoked", name: "on hold in the newest CRL, revoked in an older one, and released", want: always("not_revoked@0"), make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.middle.crl(), l.middle.crl(listing(l.leafSerial, 6), ago(1)), l.middle.crl(listing(l.leafSerial, 4), ago(2))}
			}),
		},
		{rule: "not_revoked", name: "on hold, and released", set: hard, make: withPoints(crlAt(shard2), held(nil, nil))},
		{
			rule: "not_revoked", name: "on hold, and released tomorrow", want: always("not_revoked@0"),
			make: withPoints(crlAt(shard2), held(nil, []crlEdit{ago(-1)})),
		},
		{
			rule: "not_revoked", name: "on hold, and released within the clock skew", make: withPoints(crlAt(shard2), held(nil, []crlEdit{updated(noon.Add(time.Minute), noon.Add(time.Hour))})),
			set: func(v *chain.Verifier) { v.ClockSkew = time.Minute },
		},
		{
			rule: "not_revoked", name: "on hold, and released a second before it begins", want: always("not_revoked@0"),
			make: withPoints(crlAt(shard2), held(nil, []crlEdit{updated(noon.Add(time.Second), noon.Add(time.Hour))})),
		},
		{
			rule: "not_revoked", name: "on hold, and a newer CRL is damaged", want: always("not_revoked@0"),
			make: withPoints(crlAt(shard2), held(nil, []crlEdit{crlDamaged})),
		},
		{
			rule: "not_revoked", name: "on hold, and a newer CRL of another distribution point", want: always("not_revoked@0"),
			make: withPoints(crlAt(shard2), held([]crlEdit{point(fullName(gnURI(shard2)))}, []crlEdit{point(fullName(gnURI(shard1)))})),
		},
		{
			rule: "not_revoked", name: "on hold, and released at its distribution point", set: hard,
			make: withPoints(crlAt(shard2), held([]crlEdit{point(fullName(gnURI(shard2)))}, []crlEdit{point(fullName(gnURI(shard2)))})),
		},
		{
			rule: "not_revoked", name: "on hold, and a newer CRL is signed with SHA-1", want: always("not_revoked@0"),
			make: withPoints(crlAt(shard2), held(nil, []crlEdit{crlScheme(ecdsaSHA1)})),
		},
		{
			rule: "not_revoked", name: "on hold, and a newer delta CRL does not list it", want: always("not_revoked@0"),
			make: withPoints(crlAt(shard2), held(nil, []crlEdit{deltaOf(1)})),
		},
		{
			rule: "not_revoked", name: "on hold, and a newer delta CRL removes it", want: always("not_revoked@0"), make: withCRLs(func(l *listed) []*x509.RevocationList {
				return append(held(nil)(l), l.middle.crl(listing(l.leafSerial, 8), deltaOf(1)))
			}),
		},
		{
			rule: "not_revoked", name: "on hold in a delta CRL", want: always("not_revoked@0"), make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.middle.crl(ago(1)), l.middle.crl(listing(l.leafSerial, 6), deltaOf(1))}
			}),
		},
		{rule: "not_revoked", name: "on hold in a delta CRL, and released", set: hard, make: withPoints(crlAt(shard2), held([]crlEdit{deltaOf(1)}, nil))},
		{
			rule: "not_revoked", name: "listed in a delta CRL beside a current CRL", want: always("not_revoked@0"), set: hard, make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.top.crl(), l.middle.crl(), l.middle.crl(listing(l.leafSerial, 4), deltaOf(1))}
			}),
		},
		{
			rule: "not_revoked", name: "removed in a delta CRL beside a current CRL", set: hard, make: withCRLs(func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.top.crl(), l.middle.crl(), l.middle.crl(listing(l.leafSerial, 8), deltaOf(1))}
			}),
		},
		{rule: "not_revoked", name: "listed in a damaged delta CRL", make: ofLeaf(deltaOf(1), crlDamaged)},
		{rule: "not_revoked", name: "listed in a delta CRL with an unknown critical extension", make: ofLeaf(deltaOf(1), crlWith(unknownExtension(true)))},
		{
			rule: "not_revoked", name: "listed in the CRL of another distribution point", want: always("not_revoked@0"), make: withPoints(crlAt(shard2), func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.middle.crl(point(fullName(gnURI(shard2)))), l.middle.crl(point(fullName(gnURI(shard1))), listing(l.leafSerial, 1))}
			}),
		},

		{rule: "crl_available", name: "of the distribution point", set: hard, make: unlisted(crlAt(shard2), point(fullName(gnURI(shard2))))},
		{rule: "crl_available", name: "of another distribution point", set: hard, want: always("crl_available@0"), make: unlisted(crlAt(shard2), point(fullName(gnURI(shard1))))},
		{rule: "crl_available", name: "of another distribution point, and none demanded", make: unlisted(crlAt(shard2), point(fullName(gnURI(shard1))))},
		{
			rule: "crl_available", name: "of another distribution point and a whole one", set: hard, make: withPoints(crlAt(shard2), func(l *listed) []*x509.RevocationList {
				return []*x509.RevocationList{l.middle.crl(point(fullName(gnURI(shard1)))), l.middle.crl(ago(1))}
			}),
		},
		{rule: "crl_available", name: "whole, and the certificate names a distribution point", set: hard, make: unlisted(crlAt(shard2))},
		{rule: "crl_available", name: "of two distribution points", set: hard, make: unlisted(crlAt(shard2), point(fullName(gnURI(shard1), gnURI(shard2))))},
		{rule: "crl_available", name: "of one of two distribution points", set: hard, make: unlisted(crlPoints(fullName(gnURI(shard1)), fullName(gnURI(shard2))), point(fullName(gnURI(shard2))))},
		{rule: "crl_available", name: "of one of two names of a distribution point", set: hard, make: unlisted(crlPoints(fullName(gnURI(shard1), gnURI(shard2))), point(fullName(gnURI(shard2))))},
		{rule: "crl_available", name: "of a distribution point with reasons", set: hard, make: unlisted(crlPoints(append(fullName(gnURI(shard2)), tagged(context(1), []byte{0, 0x40})...)), point(fullName(gnURI(shard2))))},
		{
			rule: "crl_available", name: "of a distribution point of an indirect CRL", set: hard, want: always("crl_available@0"),
			make: unlisted(crlPoints(append(fullName(gnURI(shard2)), tagged(context(2).Constructed(), gnDirectory(usualName("Elsewhere")))...)), point(fullName(gnURI(shard2)))),
		},
		{
			rule: "crl_available", name: "of a distribution point without a name before the right one", set: hard,
			make: unlisted(crlPoints(tagged(context(2).Constructed(), gnDirectory(usualName("Elsewhere"))), fullName(gnURI(shard2))), point(fullName(gnURI(shard2)))),
		},
		{
			rule: "crl_available", name: "of a distribution point in another case", set: hard, want: always("crl_available@0"),
			make: unlisted(crlAt(shard2), point(fullName(gnURI(strings.ToUpper(shard2))))),
		},
		{
			rule: "crl_available", name: "of a distribution point with the name as another type", set: hard, want: always("crl_available@0"),
			make: unlisted(crlAt(shard2), point(fullName(gnDNS(shard2)))),
		},
		{rule: "crl_available", name: "of a distribution point in the directory", set: hard, make: unlisted(crlPoints(fullName(gnDirectory(usualName("shard")))), point(fullName(gnDirectory(usualName("shard")))))},
		{rule: "crl_available", name: "of a distribution point with the CA's name", set: hard, make: unlisted(crlAt(shard2), point(fullName(gnURI(shard1), gnDirectory(usualName("MIDDLE")))))},
		{rule: "crl_available", name: "signed with SHA-1 below an anchor marked MIC", make: marked(true, unlist), set: hardMIC},
		{rule: "crl_available", name: "signed with SHA-1 below an anchor not marked", make: marked(false, unlist), set: hardMIC, want: always("crl_available@0")},
		{rule: "crl_available", name: "signed with SHA-1 below an anchor marked MIC for another use", make: marked(true, unlist), set: hard, want: always("crl_available@0")},
		{rule: "crl_available", name: "on hold, and released by a SHA-1 CRL below an anchor marked MIC", set: hardMIC, make: func() sample {
			s := marked(true, unlist)()
			top := root("Root")
			s.crls = append(s.crls, top.crl(listing(parsedSerial(s.presented[0]), 6), ago(1)))
			return s
		}},

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
	for name, e := range parts {
		cases = append(cases, conformance{rule: "not_revoked", name: "listed in a CRL " + name, make: ofLeaf(e), want: always("not_revoked@0")},
			conformance{rule: "crl_available", name: name, make: withoutLeaf(e), set: hard, want: always("crl_available@0")})
	}
	for name, e := range useless {
		cases = append(cases, conformance{rule: "not_revoked", name: "listed in a CRL " + name, make: ofLeaf(e)},
			conformance{rule: "crl_available", name: name, make: withoutLeaf(e), set: hard, want: always("crl_available@0")})
	}
	return cases
}

// TestUselessCRLs: a report says of each CRL why it was not used.
func TestUselessCRLs(t *testing.T) {
	t.Parallel()
	const middle = "CN=Middle,O=Voice Lab,C=BE"
	for name, tc := range map[string]struct {
		make func() sample
		want string
	}{
		"another distribution point":  {unlisted(crlAt(shard2), point(fullName(gnURI(shard1)))), "it is of one distribution point only, " + shard1 + ", and the certificate names " + shard2},
		"a distribution point":        {withoutLeaf(point(fullName(gnDirectory(usualName("shard"))))), "it is of one distribution point only, CN=shard,O=Voice Lab,C=BE, and the certificate names none"},
		"a relative point":            {withoutLeaf(point(relativeName())), "it is of one distribution point only, one relative to the CA's name, and the certificate names none"},
		"a point of another type":     {unlisted(crlPoints(fullName(gnDirectory(lab))), point(fullName(gnDNS("a.net")))), "it is of one distribution point only, a name of the type DNS, and the certificate names another one"},
		"a point of an unknown type":  {withoutLeaf(point(fullName(tagged(context(9), nil)))), "it is of one distribution point only, a name of an unknown type, and the certificate names none"},
		"SHA-1":                       {withoutLeaf(crlScheme(ecdsaSHA1)), "it is signed with ECDSA-SHA1"},
		"an unknown algorithm":        {withoutLeaf(crlScheme(unknownScheme)), "it is signed with an unknown algorithm"},
		"another key":                 {withoutLeaf(otherKeyID), "it is signed with another key (key id 616E6F74686572) than the CA's"},
		"some reasons":                {withoutLeaf(point(tagged(context(3), []byte{0, 0x40}))), "it lists some reasons of revocation only"},
		"a broken distribution point": {withoutLeaf(point(isTrue(6))), "its distribution point does not parse"},
		"delta":                       {withoutLeaf(deltaOf(1)), "it is a delta CRL"},
		"damaged":                     {withoutLeaf(crlDamaged), "its signature does not verify with the CA's key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tc.make()
			c := conformance{}
			presented := chain.ParseAll(s.presented)
			v := c.verifier(&s, chain.Deployment)
			note := "a CRL of " + middle + " was not used: " + tc.want
			if r := v.Verify(presented, host); !r.OK() || len(r.Notes) != 1 || !strings.HasPrefix(r.Notes[0].Text, note) {
				t.Errorf("faults %v, notes %+v, want %q", texts(r), r.Notes, note)
			}
			v.RequireCRL = true
			r := v.Verify(presented, host)
			if found(r.FaultsAt(0)) != "crl_available@0" {
				t.Fatalf("faults %v", texts(r))
			}
			if near := r.FaultsAt(0)[0].NearMisses; len(near) != 1 || !strings.HasPrefix(near[0], tc.want) {
				t.Errorf("near misses %q, want %q", near, tc.want)
			}
		})
	}
}

// TestHoldRemedy: what is on hold may come back, so nobody is told to replace it.
func TestHoldRemedy(t *testing.T) {
	t.Parallel()
	for reason, want := range map[int]string{1: "replace the certificate", 6: "when it is released, fetch the CRL of CN=Middle,O=Voice Lab,C=BE from after that; the certificate says that it is at " + shard2} {
		s := withPoints(crlAt(shard2), func(l *listed) []*x509.RevocationList {
			return []*x509.RevocationList{l.middle.crl(listing(l.leafSerial, reason))}
		})()
		c := conformance{}
		r := c.verifier(&s, chain.Deployment).Verify(chain.ParseAll(s.presented), host)
		if found(r.Faults) != "not_revoked@0" || !strings.Contains(r.Faults[0].Remedy, want) {
			t.Errorf("reason %d: %+v, want %q", reason, r.Faults, want)
		}
	}
}
