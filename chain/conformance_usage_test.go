package chain_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"

	"callsign/chain"
)

func used(u chain.Usage) func(*chain.Verifier) { return func(v *chain.Verifier) { v.Usage = u } }

// usageCases are about what a certificate may be used for, and the name that it is for. Names have more cases in name_test.go.
func usageCases() []conformance {
	return []conformance{
		{rule: "reference_name", name: "in subjectAltName"},
		{rule: "reference_name", name: "another one", target: "pub.voice-lab.net", want: always("reference_name@0")},
		{rule: "reference_name", name: "not asked for", target: "-", leaf: []edit{with(altDNS("www.other.net"))}, want: since(chain.WebPKI, "common_name@0")},
		{rule: "reference_name", name: "address", target: "81.2.69.160", leaf: also(gnIP("81.2.69.160"))},
		{rule: "reference_name", name: "another address", target: "81.2.69.161", leaf: also(gnIP("81.2.69.160")), want: always("reference_name@0")},
		{
			rule: "reference_name", name: "common name without subjectAltName", leaf: []edit{without(17)}, goRefuses: "it knows no common names",
			want: verdicts{"", "reference_name@0", "reference_name@0 alt_name_present@0{common_name@0}"},
		},
		{
			rule: "reference_name", name: "common name by permission", leaf: []edit{without(17)}, goRefuses: "it knows no common names",
			set: func(v *chain.Verifier) { v.CommonName = chain.Allow }, want: since(chain.WebPKI, "alt_name_present@0{common_name@0}"),
		},
		{
			rule: "reference_name", name: "common name refused", leaf: []edit{without(17)},
			set: func(v *chain.Verifier) { v.CommonName = chain.Refuse }, want: verdicts{"reference_name@0", "reference_name@0", "reference_name@0 alt_name_present@0{common_name@0}"},
		},

		{rule: "extended_key_usage", name: "serverAuth", leaf: []edit{with(extended(serverEKU))}},
		{rule: "extended_key_usage", name: "absent", leaf: []edit{without(37)}, want: since(chain.WebPKI, "extended_key_usage_present@0")},
		{rule: "extended_key_usage", name: "clientAuth only", leaf: []edit{with(extended(clientEKU))}, want: always("extended_key_usage@0")},
		{rule: "extended_key_usage", name: "an unknown one only", leaf: []edit{with(exten{ce(37), false, seqOf(oidDER(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 21, 6}))})}, want: always("extended_key_usage@0")},
		{rule: "extended_key_usage", name: "any", opensslRefuses: anyIsNone, leaf: []edit{with(extended(anyEKU))}, want: since(chain.WebPKI, "extended_key_usage@0")},
		{rule: "extended_key_usage", name: "any, refused", leaf: []edit{with(extended(anyEKU))}, set: func(v *chain.Verifier) { v.AnyUsage = chain.Refuse }, want: always("extended_key_usage@0")},
		{rule: "extended_key_usage", name: "any, allowed", opensslRefuses: anyIsNone, leaf: []edit{with(extended(anyEKU))}, set: func(v *chain.Verifier) { v.AnyUsage = chain.Allow }},
		{rule: "extended_key_usage", name: "intermediate with serverAuth", middle: []edit{with(extended(serverEKU))}},
		{rule: "extended_key_usage", name: "intermediate with clientAuth only", middle: []edit{with(extended(clientEKU))}, want: always("extended_key_usage@1")},
		{rule: "extended_key_usage", name: "intermediate with any", opensslRefuses: anyIsNone, middle: []edit{with(extended(anyEKU))}, want: since(chain.WebPKI, "extended_key_usage@1")},
		{rule: "extended_key_usage", name: "root with clientAuth only", root: []edit{with(extended(clientEKU))}, want: since(chain.WebPKI, "extended_key_usage_root@2"), goRefuses: rootIsNoLimit, opensslRefuses: rootIsNoLimit},
		{rule: "extended_key_usage", name: "client below a root with serverAuth only, as CAPF is", root: []edit{with(extended(serverEKU))}, leaf: []edit{with(extended(clientEKU))}, set: used(chain.Client), target: "-", want: since(chain.WebPKI, "extended_key_usage_root@2"), goRefuses: rootIsNoLimit, opensslRefuses: rootIsNoLimit},
		{rule: "extended_key_usage", name: "client: clientAuth", leaf: []edit{with(extended(clientEKU))}, set: used(chain.Client), target: "-"},
		{rule: "extended_key_usage", name: "client: serverAuth only", leaf: []edit{with(extended(serverEKU))}, set: used(chain.Client), target: "-", want: always("extended_key_usage@0")},
		{rule: "extended_key_usage", name: "MIC: serverAuth only", leaf: []edit{with(extended(serverEKU))}, set: used(chain.MIC), target: "-", want: always("extended_key_usage@0")},
		{rule: "extended_key_usage", name: "any use: codeSigning only", leaf: []edit{with(extended(codeEKU))}, set: used(chain.Any), target: "-"},
		{rule: "extended_key_usage", name: "critical", leaf: []edit{with(critical(extended(serverEKU)))}, want: since(chain.WebPKI, "extended_key_usage_present@0")},

		{rule: "key_usage", name: "digitalSignature"},
		{rule: "key_usage", name: "absent", leaf: []edit{without(15)}},
		{rule: "key_usage", name: "keyEncipherment only, EC", leaf: []edit{with(usage(x509.KeyUsageKeyEncipherment))}, want: always("key_usage@0")},
		{rule: "key_usage", name: "keyEncipherment only, RSA", leaf: []edit{forKey(inventedRSA(2048)), with(usage(x509.KeyUsageKeyEncipherment))}},
		{rule: "key_usage", name: "keyEncipherment only, RSA client", leaf: []edit{forKey(inventedRSA(2048)), with(usage(x509.KeyUsageKeyEncipherment))}, set: used(chain.Client), target: "-", want: always("key_usage@0")},
		{rule: "key_usage", name: "keyAgreement only", leaf: []edit{with(usage(x509.KeyUsageKeyAgreement))}, want: always("key_usage@0")},
		{rule: "key_usage", name: "none at all", leaf: []edit{with(usage(0))}, want: always("key_usage@0")},
		{rule: "key_usage", name: "decipherOnly beside digitalSignature", leaf: []edit{with(usage(x509.KeyUsageDigitalSignature | x509.KeyUsageDecipherOnly))}},
		{rule: "key_usage", name: "keyEncipherment only, any use", leaf: []edit{with(usage(x509.KeyUsageKeyEncipherment))}, set: used(chain.Any), target: "-"},

		// Manufacturing certificates: old phones have what nobody would issue today.
		{rule: "extended_key_usage", name: "MIC: version 1", make: mic(rsaSHA256, versioned(1), bare), set: used(chain.MIC), target: "-", want: verdicts{
			"", "version@0", "extended_key_usage_present@0 version@0 alt_name_present@0{common_name@0}",
		}},
		{rule: "extended_key_usage", name: "MIC: no extensions", make: mic(rsaSHA256, bare), set: used(chain.MIC), target: "-", want: verdicts{
			"", "authority_key_identifier@0", "extended_key_usage_present@0 authority_key_identifier@0 alt_name_present@0{common_name@0}",
		}},
	}
}

// mic is a manufacturing certificate below an anchor that is marked.
func mic(s scheme, edits ...edit) func() sample {
	return func() sample {
		maker := (*authority)(nil).caWithKey(usualName("Maker"), rsa2048())
		leaf := maker.leafWithKey(ecKey("phone"), append([]edit{signedAs(s), named(nameOf(utf8String(3, "CP-8865-SEP74A02FC0A675")))}, edits...)...)
		return sample{presented: [][]byte{leaf}, anchors: []chain.Anchor{{Certificate: chain.Parse(maker.cert), MIC: true}}}
	}
}

// unmarked takes the mark off the anchors.
func unmarked(f func() sample) func() sample {
	return func() sample {
		s := f()
		for i := range s.anchors {
			s.anchors[i].MIC = false
		}
		return s
	}
}

func minRSA(bits int) func(*chain.Verifier) { return func(v *chain.Verifier) { v.MinRSABits = bits } }

// underAnchor is a leaf with this key, issued by an anchor with a least length of its own.
func underAnchor(least int, spki []byte) func() sample {
	return func() sample {
		top := root("Root")
		return sample{presented: [][]byte{top.leaf(forKey(spki))}, anchors: []chain.Anchor{{Certificate: chain.Parse(top.cert), MinRSABits: least}}}
	}
}

const (
	anyIsNone     = "to it anyExtendedKeyUsage is no serverAuth"
	rootIsNoLimit = "to it the extended key usage of a root limits what is below it"
	noSHA1        = "it refuses SHA-1"
)

var (
	secp256k1 = asn1.ObjectIdentifier{1, 3, 132, 0, 10}
	brainpool = asn1.ObjectIdentifier{1, 3, 36, 3, 3, 2, 8, 1, 1, 7}
)

// rsaChain is a leaf below an RSA root, signed in this way.
func rsaChain(s scheme, edits ...edit) func() sample {
	return func() sample {
		top := (*authority)(nil).caWithKey(usualName("RSA Root"), rsa2048())
		return sample{presented: [][]byte{top.leaf(append([]edit{signedAs(s)}, edits...)...)}, store: certs(top)}
	}
}

// keyCases are about keys and signature algorithms.
func keyCases() []conformance {
	return []conformance{
		{rule: "key_strength", name: "2048 bits", leaf: []edit{forKey(inventedRSA(2048))}},
		{rule: "key_strength", name: "4096 bits", leaf: []edit{forKey(inventedRSA(4096))}},
		{rule: "key_strength", name: "2047 bits", leaf: []edit{forKey(inventedRSA(2047))}, want: always("key_strength@0")},
		{rule: "key_strength", name: "1024 bits", leaf: []edit{forKey(inventedRSA(1024))}, want: always("key_strength@0")},
		{rule: "key_strength", name: "1024 bits allowed", leaf: []edit{forKey(inventedRSA(1024))}, set: minRSA(1024)},
		{rule: "key_strength", name: "1023 bits are never allowed", leaf: []edit{forKey(inventedRSA(1023))}, set: minRSA(512), want: always("key_strength@0")},
		{rule: "key_strength", name: "512 bits", leaf: []edit{forKey(inventedRSA(512))}, want: always("key_strength@0")},
		{rule: "key_strength", name: "3072 bits demanded", leaf: []edit{forKey(inventedRSA(2048))}, set: minRSA(3072), want: always("key_strength@0")},
		{rule: "key_strength", name: "1024 bits allowed by the anchor", make: underAnchor(1024, inventedRSA(1024))},
		{rule: "key_strength", name: "1023 bits are not allowed by any anchor", make: underAnchor(1, inventedRSA(1023)), want: always("key_strength@0")},
		{rule: "key_strength", name: "3072 bits demanded by the anchor", make: underAnchor(3072, inventedRSA(2048)), set: minRSA(1024), want: always("key_strength@0")},
		{
			rule: "key_strength", name: "intermediate of 1024 bits", want: always("key_strength@1"),
			make: func() sample {
				top := root("Root")
				middle := top.caWithKey(usualName("Middle"), rsa1024())
				return sample{presented: [][]byte{middle.leaf(), middle.cert}, store: certs(top)}
			},
		},
		{
			rule: "key_strength", name: "intermediate of 1024 bits allowed", set: minRSA(1024),
			make: func() sample {
				top := root("Root")
				middle := top.caWithKey(usualName("Middle"), rsa1024())
				return sample{presented: [][]byte{middle.leaf(), middle.cert}, store: certs(top)}
			},
		},
		{
			// Nothing verifies with such a key, and nobody says that the signature is wrong.
			rule: "key_strength", name: "intermediate of 512 bits", middle: []edit{forKey(inventedRSA(512))}, leaf: []edit{signedWith(rsa1024())}, want: always("key_strength@1"),
		},
		{
			rule: "key_strength", name: "intermediate of 512 bits, at least 1024 asked for", middle: []edit{forKey(inventedRSA(512))}, leaf: []edit{signedWith(rsa1024())},
			set: minRSA(1024), want: always("key_strength@1"),
		},

		{rule: "key_type", name: "P-256"},
		{rule: "key_type", name: "P-384", leaf: []edit{forKey(spkiOf(p384().Public()))}},
		{rule: "key_type", name: "P-521", leaf: []edit{forKey(spkiOf(p521().Public()))}},
		{rule: "key_type", name: "Ed25519", leaf: []edit{forKey(spkiOf(ed().Public()))}},
		{rule: "key_type", name: "issuers with P-384 and Ed25519", make: func() sample {
			top := (*authority)(nil).caWithKey(usualName("Root"), p384())
			middle := top.caWithKey(usualName("Middle"), ed())
			return sample{presented: [][]byte{middle.leaf(), middle.cert}, store: certs(top)}
		}},
		{rule: "key_type", name: "P-224", leaf: []edit{forKey(spkiOf(p224().Public()))}, want: always("key_type@0")},
		{rule: "key_type", name: "issuer with P-224", want: always("key_type@1"), make: func() sample {
			top := root("Root")
			middle := top.caWithKey(usualName("Middle"), p224())
			return sample{presented: [][]byte{middle.leaf(), middle.cert}, store: certs(top)}
		}},
		{rule: "key_type", name: "secp256k1", leaf: []edit{forKey(spkiOnCurve(secp256k1, 32))}, want: always("key_type@0")},
		{rule: "key_type", name: "brainpoolP256r1", leaf: []edit{forKey(spkiOnCurve(brainpool, 32))}, want: always("key_type@0")},
		{rule: "key_type", name: "issuer with secp256k1", middle: []edit{forKey(spkiOnCurve(secp256k1, 32))}, want: always("key_type@1{issuer_found@0}")},
		{rule: "key_type", name: "DSA", leaf: []edit{forKey(spkiDSA())}, want: always("key_type@0")},
		{rule: "key_type", name: "issuer with DSA", middle: []edit{forKey(spkiDSA())}, leaf: []edit{signedAs(dsaSHA256)}, want: always("key_type@1 signature_algorithm@0")},
		{rule: "key_type", name: "an unknown kind", leaf: []edit{forKey(spkiFrom(seqOf(oidDER(asn1.ObjectIdentifier{1, 3, 101, 113})), make([]byte, 57)))}, want: always("key_type@0")},
		{rule: "key_type", name: "issuer of an unknown kind", middle: []edit{forKey(spkiFrom(seqOf(oidDER(asn1.ObjectIdentifier{1, 3, 101, 113})), make([]byte, 57)))}, want: always("key_type@1")},
		{rule: "syntax", name: "P-256 with a point that is not on the curve", leaf: []edit{forKey(spkiOnCurve(asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}, 32))}, want: always("syntax@0")},

		{rule: "signature_algorithm", name: "ECDSA with SHA-256"},
		{rule: "signature_algorithm", name: "ECDSA with SHA-384", leaf: []edit{signedAs(ecdsaSHA384)}},
		{rule: "signature_algorithm", name: "RSA with SHA-256", make: rsaChain(rsaSHA256)},
		{rule: "signature_algorithm", name: "RSA-PSS with SHA-256", make: func() sample {
			top := (*authority)(nil).caWithKey(usualName("RSA Root"), rsa2048())
			w := top.written(nameOf(utf8String(3, host)), ecKey("leaf"), false)
			template := &x509.Certificate{
				SerialNumber: w.serial, NotBefore: w.from, NotAfter: w.to, RawSubject: w.subject, DNSNames: []string{host}, KeyUsage: x509.KeyUsageDigitalSignature,
				ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, SignatureAlgorithm: x509.SHA256WithRSAPSS,
			}
			parent := newKey(x509.ParseCertificate(top.cert))
			return sample{presented: [][]byte{newKey(x509.CreateCertificate(rand.Reader, template, parent, ecKey("leaf").Public(), rsa2048()))}, store: certs(top)}
		}},
		{rule: "signature_algorithm", name: "ECDSA with SHA-1", leaf: []edit{signedAs(ecdsaSHA1)}, want: always("signature_algorithm@0")},
		{rule: "signature_algorithm", name: "RSA with SHA-1", make: rsaChain(rsaSHA1), want: always("signature_algorithm@0")},
		{rule: "signature_algorithm", name: "RSA with SHA-1, and damaged", make: rsaChain(rsaSHA1, damaged), want: always("signature@0 signature_algorithm@0")},
		{rule: "signature_algorithm", name: "RSA with MD5", make: rsaChain(rsaMD5), want: always("signature_algorithm@0")},
		{rule: "signature_algorithm", name: "intermediate with SHA-1", middle: []edit{signedAs(ecdsaSHA1)}, want: always("signature_algorithm@1")},
		{rule: "signature_algorithm", name: "unknown", leaf: []edit{signedAs(unknownScheme)}, want: always("signature_algorithm@0")},
		{rule: "signature_algorithm", name: "SHA-1 on a root that is not stored", want: verdicts{"root_stored@1", "root_stored@1", "root_stored@1 anchor_signature_algorithm@1"}, make: func() sample {
			top := root("Root", signedAs(ecdsaSHA1))
			return sample{presented: [][]byte{top.leaf(), top.cert}}
		}},
		{rule: "signature_algorithm", name: "MIC with SHA-1", make: mic(rsaSHA1), set: used(chain.MIC), target: "-", goRefuses: noSHA1, want: since(chain.WebPKI, "common_name@0")},
		{rule: "signature_algorithm", name: "MIC with MD5", make: mic(rsaMD5), set: used(chain.MIC), target: "-", want: verdicts{"signature_algorithm@0", "signature_algorithm@0", "signature_algorithm@0 common_name@0"}},
		{rule: "signature_algorithm", name: "MIC with SHA-1, damaged", make: mic(rsaSHA1, damaged), set: used(chain.MIC), target: "-", want: verdicts{"signature@0", "signature@0", "signature@0 common_name@0"}},
		{rule: "signature_algorithm", name: "MIC with SHA-1 below an anchor without the mark", make: unmarked(mic(rsaSHA1)), set: used(chain.MIC), target: "-", want: verdicts{"signature_algorithm@0", "signature_algorithm@0", "signature_algorithm@0 common_name@0"}},
		{rule: "signature_algorithm", name: "SHA-1 below a marked anchor for another use", make: mic(rsaSHA1), set: used(chain.Client), target: "-", want: verdicts{"signature_algorithm@0", "signature_algorithm@0", "signature_algorithm@0 common_name@0"}},
		{rule: "signature_algorithm", name: "MIC with SHA-1 through an intermediate with SHA-1", set: used(chain.MIC), target: "-", goRefuses: noSHA1, make: func() sample {
			maker := (*authority)(nil).caWithKey(usualName("Maker"), rsa2048())
			plant := maker.ca("Plant", signedAs(rsaSHA1))
			leaf := plant.leaf(signedAs(ecdsaSHA1))
			return sample{presented: [][]byte{leaf, plant.cert}, anchors: []chain.Anchor{{Certificate: chain.Parse(maker.cert), MIC: true}}}
		}},

		{rule: "anchor_signature_algorithm", name: "SHA-256"},
		{rule: "anchor_signature_algorithm", name: "SHA-1", root: []edit{signedAs(ecdsaSHA1)}, want: since(chain.WebPKI, "anchor_signature_algorithm@2")},
		{rule: "anchor_signature_algorithm", name: "MD5", want: since(chain.WebPKI, "anchor_signature_algorithm@1"), make: func() sample {
			top := (*authority)(nil).caWithKey(usualName("RSA Root"), rsa2048(), signedAs(rsaMD5))
			return sample{presented: [][]byte{top.leaf()}, store: certs(top)}
		}},
		{rule: "anchor_signature_algorithm", name: "SHA-1 on a self-signed leaf", want: since(chain.WebPKI, "anchor_signature_algorithm@0"), make: func() sample {
			leaf := (*authority)(nil).leaf(signedAs(ecdsaSHA1))
			return sample{presented: [][]byte{leaf}, store: [][]byte{leaf}}
		}},

		{rule: "rsa_modulus", name: "2048 bits", leaf: []edit{forKey(inventedRSA(2048))}},
		{rule: "rsa_modulus", name: "2049 bits", leaf: []edit{forKey(inventedRSA(2049))}, want: since(chain.WebPKI, "rsa_modulus@0")},
		{rule: "rsa_modulus", name: "root of 4100 bits", root: []edit{forKey(inventedRSA(4100))}, middle: []edit{signedAs(rsaSHA256), signedWith(rsa2048())}, want: verdicts{"signature@1", "signature@1", "signature@1{rsa_modulus@2}"}},
	}
}
