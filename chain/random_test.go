package chain_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"time"

	"pgregory.net/rapid"
)

// randomPKI is a small world of certificates: what is presented, what else is at hand, and what is trusted.
type randomPKI struct {
	leaf   []byte
	sent   [][]byte
	store  [][]byte
	name   string // to be checked, "" for none
	victim []byte // the leaf or what was sent, damaged; nil for none
}

// world is a rapid.T that knows how odd its certificates are: in a calm world most paths are good, in a wild one most are
// broken in several ways.
type world struct {
	*rapid.T
	oddity int // percent
}

// odds is true in about percent of a hundred draws.
func (t world) odds(percent int, what string) bool {
	return rapid.IntRange(0, 99).Draw(t.T, what) >= 100-percent // shrinks to false
}

func (t world) number(least, most int, what string) int {
	return rapid.IntRange(least, most).Draw(t.T, what)
}

// pick draws one of a list: nearly always the first.
func pick[T any](t world, what string, usual T, others ...T) T {
	if !t.odds(t.oddity, what+"?") {
		return usual
	}
	return rapid.SampledFrom(others).Draw(t.T, what)
}

// randomCA is a CA whose certificates others refer to.
type randomCA struct {
	writing
	signer crypto.Signer
	ski    []byte
}

// drawKey draws a key: mostly a good one, and one of a few, so that CAs share keys at times.
func (t world) drawKey(what string) crypto.Signer {
	if !t.odds(6, what+" odd?") {
		return ecKey("random " + strconv.Itoa(t.number(0, 6, what)))
	}
	return []crypto.Signer{p384(), rsa2048(), rsa1024(), p224(), ed()}[t.number(0, 4, what)]
}

// labName is a name of one organisation and one common name. Its spelling differs by case, string type and blanks, which
// RFC 5280 7.1 does not count.
func labName(common string, spelling int) []byte {
	organization, text := "Random Lab", printable
	switch spelling {
	case 1:
		organization = "RANDOM lab"
	case 2:
		text = utf8String
	case 3:
		organization = " Random  Lab "
	}
	if common == "" {
		return nameOf(text(10, organization))
	}
	return nameOf(text(10, organization), text(3, common))
}

// drawDates draws a validity around noon.
func (t world) drawDates(w *writing) {
	w.from, w.to = noon.Add(-1000*time.Hour), noon.Add(1000*time.Hour)
	switch pick(t, "dates", "good", "expired", "future", "ends now", "begins now") {
	case "expired":
		w.to = noon.Add(-time.Second)
	case "future":
		w.from = noon.Add(time.Second)
	case "ends now":
		w.to = noon
	case "begins now":
		w.from = noon
	}
}

// drawConstraints draws name constraints.
func (t world) drawConstraints() exten {
	draw := func(what string, least int) subtrees {
		var trees subtrees
		for i := range t.number(least, 2, what) {
			trees = append(trees, rapid.SampledFrom([][]byte{
				gnDNS("lab.test"), gnDNS("other.test"), gnRange("192.0.2.0/24"), gnMail("lab.test"), gnURI(".lab.test"), gnDirectory(labName("", 0)),
			}).Draw(t.T, fmt.Sprintf("%s %d", what, i)))
		}
		return trees
	}
	permitted := draw("permitted", 0)
	least := 0
	if permitted == nil {
		least = 1
	}
	e := constrain(permitted, draw("excluded", least))
	e.critical = !t.odds(10, "not critical?")
	return e
}

// drawNames draws a subjectAltName.
func (t world) drawNames() exten {
	var names [][]byte
	for i := range t.number(1, 3, "names") {
		names = append(names, rapid.SampledFrom([][]byte{
			gnDNS("cucm.lab.test"), gnDNS("www.other.test"), gnDNS("*.lab.test"), gnDNS("CUCM.Lab.Test"), gnIP("192.0.2.1"), gnIP("203.0.113.1"),
			gnMail("admin@lab.test"), gnURI("https://www.lab.test/"), gnURI("sip:cucm.lab.test"), gnDirectory(labName("alt", 0)),
		}).Draw(t.T, fmt.Sprintf("name %d", i)))
	}
	return alt(names...)
}

// drawPolicies draws policies, and for a CA their constraints and mappings.
func (t world) drawPolicies(w *writing, ca bool) {
	if !t.odds(12, "policies?") {
		return
	}
	with(policies(rapid.SampledFrom([][]int{{1}, {2}, {0}, {1, 2}, {1, 0}}).Draw(t.T, "policies")...))(w)
	if !ca {
		return
	}
	if t.odds(40, "policy constraints?") {
		explicit, mapping := t.number(-1, 1, "explicit"), t.number(-1, 1, "mapping")
		if explicit < 0 && mapping < 0 {
			explicit = 0
		}
		with(demand(int64(explicit), int64(mapping)))(w)
	}
	if t.odds(30, "policy mappings?") {
		with(mappings([2]int{1, t.number(1, 2, "mapped to")}))(w)
	}
	if t.odds(30, "inhibit any?") {
		with(inhibitAny(int64(t.number(0, 1, "inhibit any"))))(w)
	}
}

// drawIdentifier draws the authority key identifier of a certificate by this CA.
func (t world) drawIdentifier(w *writing, ca *randomCA) {
	switch pick(t, "AKI", "key", "none", "wrong", "serial", "wrong serial") {
	case "key":
		if ca.ski != nil {
			with(authorityKey(ca.ski, nil, nil))(w)
		}
	case "wrong":
		with(authorityKey([]byte("elsewhere"), nil, nil))(w)
	case "serial":
		with(authorityKey(nil, ca.issuer, ca.serial))(w)
	case "wrong serial":
		with(authorityKey(nil, ca.issuer, big.NewInt(77)))(w)
	}
}

// drawExtended draws an extended key usage.
func (t world) drawExtended(w *writing, usual []int, others ...[]int) {
	if uses := pick(t, "EKU", usual, others...); uses != nil {
		with(extended(uses...))(w)
	}
}

func (t world) drawUsage(w *writing, usual x509.KeyUsage, others ...x509.KeyUsage) {
	if u := pick(t, "key usage", usual, others...); u != 0 {
		with(usage(u))(w)
	}
}

// drawUnknown adds, rarely, a critical extension that nobody knows.
func (t world) drawUnknown(w *writing) {
	if t.odds(3, "critical?") {
		with(unknownExtension(true))(w)
	}
}

// drawCA draws a CA without its issuer.
func (t world) drawCA(i int) randomCA {
	name := rapid.SampledFrom([]string{"CA A", "CA B", "CA C", "CA D"}).Draw(t.T, fmt.Sprintf("CA %d", i))
	c := randomCA{signer: t.drawKey("key")}
	c.version, c.serial, c.spki = pick(t, "version", 3, 1), big.NewInt(int64(100+i)), spkiOf(c.signer.Public())
	c.subject = labName(name, pick(t, "spelling", 0, 1, 2, 3))
	t.drawDates(&c.writing)
	switch length := pick(t, "basic", -1, 0, 1, 7, 8); length {
	case 7: // none
	case 8:
		with(basic(true, false, -1))(&c.writing)
	default:
		with(basic(true, true, length))(&c.writing)
	}
	t.drawUsage(&c.writing, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, 0, x509.KeyUsageCRLSign)
	if pick(t, "SKI", true, false) && c.version == 3 {
		c.ski = keyIDOf(c.spki)
		with(subjectKey(c.ski))(&c.writing)
	}
	t.drawExtended(&c.writing, nil, []int{serverEKU}, []int{clientEKU}, []int{anyEKU})
	if t.odds(10, "constraints?") {
		with(t.drawConstraints())(&c.writing)
	}
	t.drawPolicies(&c.writing, true)
	t.drawUnknown(&c.writing)
	return c
}

// drawLeaf draws a leaf without its issuer.
func (t world) drawLeaf() randomCA {
	c := randomCA{signer: t.drawKey("leaf key")}
	w := &c.writing
	w.version, w.serial, w.spki = pick(t, "leaf version", 3, 1), big.NewInt(7), spkiOf(c.signer.Public())
	w.subject = labName(pick(t, "common name", "cucm.lab.test", "other.lab.test", ""), 0)
	t.drawDates(w)
	if pick(t, "SAN", true, false) {
		with(t.drawNames())(w)
	}
	t.drawUsage(w, x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment, 0, x509.KeyUsageKeyEncipherment, x509.KeyUsageKeyAgreement, x509.KeyUsageCertSign)
	t.drawExtended(w, []int{serverEKU}, nil, []int{clientEKU}, []int{anyEKU}, []int{serverEKU, clientEKU})
	t.drawPolicies(w, false)
	t.drawUnknown(w)
	return c
}

// sign writes the certificate of w by a CA; rarely with another key or with SHA-1.
func (t world) sign(w *writing, by *randomCA) []byte {
	if w.version < 3 {
		w.extensions = nil
	}
	w.key = by.signer
	if t.odds(4, "other key?") {
		w.key = t.drawKey("other key")
	}
	if t.odds(3, "SHA-1?") {
		switch w.key.(type) {
		case *rsa.PrivateKey:
			w.scheme = &rsaSHA1
		case *ecdsa.PrivateKey:
			w.scheme = &ecdsaSHA1
		}
	}
	return w.der()
}

// drawPKI draws a whole world: CAs that certify each other at random, a leaf, and who has which of them.
func drawPKI(r *rapid.T) *randomPKI {
	t := world{r, rapid.SampledFrom([]int{3, 3, 8, 15}).Draw(r, "oddity")}
	p := &randomPKI{name: pick(t, "name", "", "cucm.lab.test", "192.0.2.1", "www.other.test", "lab.test")}
	cas := make([]randomCA, t.number(1, 5, "CAs"))
	for i := range cas {
		cas[i] = t.drawCA(i)
	}
	signed, issuers := make([][]byte, len(cas)), make([]int, len(cas))
	for i := range cas {
		// The first is a root; the others mostly have an earlier one above them, at times themselves or a later one.
		if i > 0 {
			issuers[i] = t.number(0, i-1, "issuer")
			if t.odds(10, "odd issuer?") {
				issuers[i] = t.number(0, len(cas)-1, "odd issuer")
			}
		}
		cas[i].issuer = cas[issuers[i]].subject
	}
	for i := range cas {
		by := &cas[issuers[i]]
		t.drawIdentifier(&cas[i].writing, by)
		signed[i] = t.sign(&cas[i].writing, by)
	}
	leaf := t.drawLeaf()
	by := &cas[t.number(0, len(cas)-1, "leaf issuer")]
	leaf.issuer = by.subject
	if t.odds(8, "issuer respelled?") {
		leaf.issuer = labName("CA A", t.number(0, 3, "respelled"))
	}
	if t.odds(5, "self-signed?") {
		by = &leaf
		leaf.issuer = leaf.subject
	}
	t.drawIdentifier(&leaf.writing, by)
	p.leaf = t.sign(&leaf.writing, by)
	for i := range signed {
		stored, sent := 15, 85
		if issuers[i] == i {
			stored, sent = sent, stored
		}
		if t.odds(stored, "stored?") {
			p.store = append(p.store, signed[i])
		}
		if t.odds(sent, "sent?") {
			p.sent = append(p.sent, signed[i])
		}
	}
	if t.odds(3, "leaf stored?") {
		p.store = append(p.store, p.leaf)
	}
	if t.odds(15, "mutate?") {
		t.mutate(p)
	}
	return p
}

// mutate changes octets of a certificate.
func (t world) mutate(p *randomPKI) {
	victim := &p.leaf
	if n := t.number(0, len(p.sent), "victim"); n > 0 {
		victim = &p.sent[n-1]
	}
	changed := slices.Clone(*victim)
	for range t.number(1, 2, "octets") {
		changed[t.number(0, len(changed)-1, "octet")] ^= byte(t.number(1, 255, "change"))
	}
	*victim, p.victim = changed, changed
}
