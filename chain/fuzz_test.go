package chain_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"callsign/chain"
)

// The places of a certificate in the input of FuzzVerify.
const (
	inPresented = iota
	inIntermediates
	inStore
	inCRLs
	places
)

// packed is one element of the input: its place, its length in two octets, itself.
func packed(place byte, der []byte) []byte {
	if len(der) > 0xFFFF {
		return nil
	}
	return append(binary.BigEndian.AppendUint16([]byte{place}, uint16(len(der))), der...)
}

// unpacked takes an input apart. What is cut off is cut off.
func unpacked(data []byte) (all [places][][]byte) {
	const most = 64
	for n := 0; len(data) > 3 && n < most; n++ {
		place, length := data[0]%places, int(binary.BigEndian.Uint16(data[1:]))
		der := data[3:min(3+length, len(data))]
		data = data[3+len(der):]
		all[place] = append(all[place], der)
	}
	return all
}

// pack is an input for a sample.
func pack(s *sample) []byte {
	var data []byte
	for place, ders := range [][][]byte{inPresented: s.presented, inIntermediates: s.others, inStore: s.anchorDER()} {
		for _, der := range ders {
			data = append(data, packed(byte(place), der)...)
		}
	}
	for _, crl := range s.crls {
		data = append(data, packed(inCRLs, crl.Raw)...)
	}
	return data
}

// chosen makes a verifier out of bits.
func chosen(all [places][][]byte, options uint32) *chain.Verifier {
	take := func(n uint32) uint32 {
		v := options % n
		options /= n
		return v
	}
	v := &chain.Verifier{
		Profile: chain.Profile(take(3)), Usage: chain.Usage(take(5)), Names: chain.NameRules(take(2)), CommonName: chain.Setting(take(3)), AnyUsage: chain.Setting(take(3)),
		PartialChain: take(2) == 1, RequireCRL: take(2) == 1, MinRSABits: int(take(3)) * 1024, Intermediates: chain.ParseAll(all[inIntermediates]),
	}
	v.Now = at(noon.AddDate([]int{0, -8, 8}[take(3)], 0, 0))
	v.ClockSkew = time.Duration(take(2)) * time.Hour
	store := &chain.Store{}
	mic, partial := take(2) == 1, take(2) == 1
	for _, der := range all[inStore] {
		store.Add(chain.Anchor{Certificate: chain.Parse(der), MIC: mic, Partial: partial})
	}
	v.Anchors = store
	if take(2) == 1 {
		v.Pins = append(v.Pins, [32]byte{1})
	}
	for _, der := range all[inCRLs] {
		if crl, err := x509.ParseRevocationList(der); err == nil {
			v.CRLs = append(v.CRLs, crl)
		}
	}
	return v
}

// FuzzVerify judges arbitrary certificates in arbitrary places. What is accepted has to be right by simpler checks, and what
// is refused explained.
func FuzzVerify(f *testing.F) {
	files, err := filepath.Glob("testdata/edge/leaf/*.pem")
	if err != nil || len(files) == 0 {
		f.Fatal("no corpus")
	}
	var store []byte
	for _, c := range readPEM(f, "testdata/edge/trust.pem") {
		store = append(store, packed(inStore, c.Raw())...)
	}
	for _, file := range files {
		var data []byte
		for _, c := range readPEM(f, file) {
			data = append(data, packed(inPresented, c.Raw())...)
		}
		f.Add(append(data, store...), "cucm.lab.test", uint32(0))
	}
	for i, make := range []func() sample{
		func() sample { return usual(nil, nil, nil) },
		func() sample {
			return usual([]edit{with(basic(true, true, 0))}, []edit{with(extended(anyEKU))}, also(gnMail("ann@voice-lab.net"), gnOther("ann")))
		},
		func() sample {
			return usual(nil, permits(gnDNS("net"), gnDirectory(lab), gnMail("a@b.net"), gnRange("10.0.0.0/8"), gnURI(".net")), also(gnIP("10.0.0.1"), gnURI("https://a.net/")))
		},
		three(ext{policies(1, 0), demand(0, 1), mappings([2]int{1, 2})}, ext{policies(2), inhibitAny(1)}, ext{policies(2)}),
		ofLeaf(listing(nextSerial(), 6), point(isTrue(1))),
		mic(rsaSHA1, versioned(1), bare),
		identified(func(top, middle *authority) exten { return authorityKey(middle.ski, top.subject, middle.serial) }),
		func() sample { return twins(4, noAKI) },
		func() sample {
			cas, crossed := mesh(4)
			return sample{presented: append([][]byte{cas[0].leaf()}, crossed...), store: certs(root("Root"))}
		},
		storedAs(func(_, middle *authority, leaf []byte) [][]byte { return append(certs(middle), leaf) }),
		alone(forKey(spkiDSA()), numbered(power(159, 0))),
	} {
		s := make()
		for p := range uint32(3) {
			f.Add(pack(&s), host, p+15*uint32(i))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, name string, options uint32) {
		if len(data) > 1<<17 || len(name) > 1<<12 {
			return
		}
		all := unpacked(data)
		v := chosen(all, options)
		presented := chain.ParseAll(all[inPresented])
		r := v.Verify(presented, name)
		complete(t, r)
		bounded(t, r.Faults)
		if len(presented) > 0 && (len(r.Path) == 0 || r.Path[0] != presented[0]) {
			t.Errorf("the path does not begin with the leaf: %v", r.Path)
		}
		if r.OK() {
			accepts(t, v, r)
		}
		if e, ok := r.Err().(*chain.Error); ok { //nolint:errorlint // the very type is promised
			e.Curl()
			for i := range e.Faults {
				e.Faults[i].OpenSSL()
			}
		}
		again := v.Verify(chain.ParseAll(all[inPresented]), name)
		if found(again.Faults) != found(r.Faults) || again.SignatureChecks != r.SignatureChecks {
			t.Errorf("first %s with %d signatures, then %s with %d", found(r.Faults), r.SignatureChecks, found(again.Faults), again.SignatureChecks)
		}
	})
}

// accepts checks what has to hold whatever is accepted.
func accepts(t *testing.T, v *chain.Verifier, r *chain.Result) {
	t.Helper()
	last := r.Path[len(r.Path)-1]
	if !slices.ContainsFunc(v.Anchors.Certificates(), func(c *chain.Certificate) bool { return bytes.Equal(c.Raw(), last.Raw()) }) || !bytes.Equal(r.Anchor.Certificate.Raw(), last.Raw()) {
		t.Error("accepted, and the path does not end in the store")
	}
	for depth, c := range r.Path {
		x := c.X509()
		if now := r.Time.Truncate(time.Second); now.Before(x.NotBefore.Add(-v.ClockSkew)) || now.After(x.NotAfter.Add(v.ClockSkew)) {
			t.Errorf("accepted at %s, and certificate %d is valid from %s to %s", r.Time, depth, x.NotBefore, x.NotAfter)
		}
		if k, ok := x.PublicKey.(*rsa.PublicKey); ok && (k.N.BitLen() < 1024 || k.N.BitLen() > chain.MaxRSABits) {
			t.Errorf("accepted, and certificate %d has an RSA key of %d bits", depth, k.N.BitLen())
		}
		if depth+1 == len(r.Path) {
			continue
		}
		issuer := r.Path[depth+1].X509()
		if err := issuer.CheckSignature(x.SignatureAlgorithm, x.RawTBSCertificate, x.Signature); err != nil {
			t.Errorf("accepted, and the signature of certificate %d does not verify: %v", depth, err)
		}
		if depth+2 < len(r.Path) && (!issuer.IsCA || issuer.Version != 3) {
			t.Errorf("accepted, and certificate %d is no CA", depth+1)
		}
		for _, crl := range v.CRLs {
			if slices.ContainsFunc(crl.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(x.SerialNumber) == 0 }) &&
				bytes.Equal(crl.RawIssuer, x.RawIssuer) && len(crl.Extensions) == 0 && crl.CheckSignatureFrom(issuer) == nil {
				t.Errorf("accepted, and certificate %d is revoked", depth)
			}
		}
	}
}

// FuzzIssued signs arbitrary extensions and subjects, so that what FuzzVerify hardly ever gets past, the signature, is good.
// What is accepted then keeps the name constraints by a comparison of its own.
func FuzzIssued(f *testing.F) {
	all := func(extensions ...exten) []byte {
		var ders [][]byte
		for _, e := range extensions {
			ders = append(ders, e.der())
		}
		return seqOf(ders...)
	}
	subject := nameOf(printable(10, "Voice Lab"), utf8String(3, host))
	authority := []exten{basic(true, true, 0), usage(x509.KeyUsageCertSign)}
	for _, seed := range []struct {
		ca, leaf []exten
		subject  []byte
	}{
		{nil, []exten{altDNS(host)}, subject},
		{ext{constrain(subtrees{gnDNS("voice-lab.net"), gnRange("10.0.0.0/8")}, subtrees{gnDNS("x.voice-lab.net")})}, ext{alt(gnDNS(host), gnIP("10.0.0.1"))}, subject},
		{ext{constrain(subtrees{gnDirectory(lab), gnURI(".net")}, subtrees{gnMail("b.net")})}, ext{alt(gnMail("ann@a.net"), gnURI("https://a.net:1/"), gnDirectory(subject))}, emptyRDN},
		{ext{subtree(gnDNS("net"), tagged(context(0), []byte{0}))}, ext{critical(altDNS("*.voice-lab.net"))}, nameOf()},
		{ext{policies(1, 0), demand(0, 1), mappings([2]int{1, 2}), inhibitAny(1)}, ext{policies(2), extended(serverEKU, anyEKU)}, subject},
		{ext{authorityKey([]byte("x"), subject, nextSerial()), extended(serverEKU)}, ext{authorityKey(nil, nil, nil), basic(false, false, 1), usage(1), unknownExtension(true)}, longAttribute},
	} {
		f.Add(all(append(slices.Clone(authority), seed.ca...)...), all(seed.leaf...), seed.subject, uint32(0))
	}
	top := root("Root", without(14))
	f.Fuzz(func(t *testing.T, ca, leaf, subject []byte, options uint32) {
		if len(ca)+len(leaf)+len(subject) > 1<<14 {
			return
		}
		tag := context(3).Constructed()
		middle := top.ca("Middle", func(w *writing) { w.rawExtensions = tagged(tag, ca) })
		der := middle.leaf(named(subject), func(w *writing) { w.rawExtensions = tagged(tag, leaf) })
		v := chosen([places][][]byte{inStore: certs(top)}, options)
		presented := chain.ParseAll([][]byte{der, middle.cert})
		r := v.Verify(presented, host)
		complete(t, r)
		bounded(t, r.Faults)
		if !r.OK() {
			return
		}
		accepts(t, v, r)
		for _, domain := range presented[1].X509().ExcludedDNSDomains {
			for _, name := range presented[0].X509().DNSNames {
				if name == domain || domain == "" {
					t.Errorf("accepted, and the name %q is excluded", name)
				}
			}
		}
		if permitted := presented[1].X509().PermittedDNSDomains; len(permitted) > 0 {
			for _, name := range presented[0].X509().DNSNames {
				if !slices.ContainsFunc(permitted, func(domain string) bool { return hasSuffixFold(name, domain) }) {
					t.Errorf("accepted, and the name %q is not within %q", name, permitted)
				}
			}
		}
	})
}

// hasSuffixFold is a necessary condition for a name to be within a domain.
func hasSuffixFold(name, domain string) bool {
	name, domain = strings.TrimSuffix(name, "."), strings.TrimSuffix(domain, ".")
	return len(name) >= len(domain) && strings.EqualFold(name[len(name)-len(domain):], domain)
}
