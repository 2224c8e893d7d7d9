package upload

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"callsign/chain"
)

// trustUpload judges a file for a trust store: every certificate in it, one after the other.
func (d *judgement) trustUpload() {
	after := slices.Clone(d.Trust)
	replaced := false
	for _, c := range d.byStart() {
		before := len(d.result.Reasons)
		d.dates(c)
		d.wildcards(c)
		if len(d.result.Reasons) > before || contains(after, c) {
			continue
		}
		older, newer := d.sameName(after, c)
		if newer != nil {
			d.older(c, newer)
			continue
		}
		for _, o := range older {
			after = without(after, o)
			d.result.Remove = append(d.result.Remove, o)
			replaced = true
		}
		after = append(after, c)
		d.result.Add = append(d.result.Add, c)
	}
	// What came in the file and was replaced by the file was never there.
	d.result.Add = slices.DeleteFunc(d.result.Add, func(c *chain.Certificate) bool { return !contains(after, c) })
	d.result.Remove = slices.DeleteFunc(d.result.Remove, func(c *chain.Certificate) bool { return !contains(d.Trust, c) })
	switch {
	case len(d.result.Add) == 0:
		d.result.Verdict = Unchanged
	case replaced && len(d.result.Remove) > 0:
		d.result.Verdict = Replacing
	default:
		d.result.Verdict = Accepted
	}
	for _, c := range d.result.Add {
		d.trustWarnings(c, after)
	}
}

// chainOfFile puts the CA certificates of the file into the trust store, as far as its rules let them in, and returns what is
// then in it.
func (d *judgement) chainOfFile() []*chain.Certificate {
	after := slices.Clone(d.Trust)
	for _, c := range d.byStart() {
		if c == d.result.Leaf || contains(after, c) {
			continue
		}
		x := c.X509()
		leave := func(why string) {
			d.warn(ChainNotStored, "", fmt.Sprintf("%s of the file is not put into %s: %s", c.Subject(), d.identity.Trust, why),
				"if it has to be there, upload it by itself: callsign trust add "+d.identity.Trust+" FILE")
		}
		older, newer := d.sameName(after, c)
		switch {
		case x.NotAfter.Before(d.At):
			leave("it expired at " + stamp(x.NotAfter))
			continue
		case x.NotBefore.After(d.At.Add(ahead)):
			leave("it is not valid before " + stamp(x.NotBefore))
			continue
		case wildcard(c) != "":
			leave("it has the wildcard entry " + wildcard(c))
			continue
		case newer != nil:
			leave("the store has a certificate of the same name that starts at the same time or later, " + stamp(newer.X509().NotBefore))
			continue
		}
		for _, o := range older {
			after = without(after, o)
			d.result.Remove = append(d.result.Remove, o)
		}
		after = append(after, c)
		d.result.Add = append(d.result.Add, c)
	}
	d.result.Add = slices.DeleteFunc(d.result.Add, func(c *chain.Certificate) bool { return !contains(after, c) })
	d.result.Remove = slices.DeleteFunc(d.result.Remove, func(c *chain.Certificate) bool { return !contains(d.Trust, c) })
	return after
}

// byStart are the certificates of the file, the one that starts first before the others: of several with one name the newest is
// to stay, in whatever order they come.
func (d *judgement) byStart() []*chain.Certificate {
	return slices.SortedStableFunc(slices.Values(d.file.Certificates), func(a, b *chain.Certificate) int {
		return a.X509().NotBefore.Compare(b.X509().NotBefore)
	})
}

// sameName looks for certificates of the same name: older ones, which c replaces, and one that c does not replace because it
// starts at the same time or later.
func (d *judgement) sameName(store []*chain.Certificate, c *chain.Certificate) (older []*chain.Certificate, newer *chain.Certificate) {
	for _, o := range store {
		if !d.Policy.SameName.same(o, c) {
			continue
		}
		if c.X509().NotBefore.After(o.X509().NotBefore) {
			older = append(older, o)
		} else {
			newer = o
		}
	}
	return older, newer
}

func (s SameName) same(a, b *chain.Certificate) bool {
	switch s {
	case ByCommonName:
		return a.X509().Subject.CommonName != "" && strings.EqualFold(a.X509().Subject.CommonName, b.X509().Subject.CommonName)
	case ByKeyID:
		return a.SameSubject(b) && bytes.Equal(a.X509().SubjectKeyId, b.X509().SubjectKeyId)
	default:
		return a.SameSubject(b)
	}
}

func contains(store []*chain.Certificate, c *chain.Certificate) bool {
	return slices.ContainsFunc(store, func(o *chain.Certificate) bool { return bytes.Equal(o.Raw(), c.Raw()) })
}

func without(store []*chain.Certificate, c *chain.Certificate) []*chain.Certificate {
	return slices.DeleteFunc(slices.Clone(store), func(o *chain.Certificate) bool { return o == c })
}

// nameOf is how messages call a certificate.
func nameOf(c *chain.Certificate) string {
	if cn := c.X509().Subject.CommonName; cn != "" {
		return cn
	}
	return c.Subject()
}

func (d *judgement) older(c, stored *chain.Certificate) {
	name, x := nameOf(stored), stored.X509()
	r := d.refuse(numberTrust, TrustOlder, fmt.Sprintf(
		"Not replaced: the certificate in %s with common name %s has the same or a later start date (%s); delete it first", d.Purpose, name, stamp(x.NotBefore))).
		value("stored_serial", chain.SerialText(x.SerialNumber)).value("stored_from", stamp(x.NotBefore)).
		value("uploaded_serial", chain.SerialText(c.X509().SerialNumber)).value("uploaded_from", stamp(c.X509().NotBefore))
	if !contains(d.Trust, stored) {
		r.cause("both certificates are in the file, and start at the same time").fix("leave one of both in the file", `to keep both CAs of one name, set same_name = "keyid" in [cluster]`)
		return
	}
	r.cause("the file is an older certificate of the same CA", "the CA was renewed under the same name, and the clock of one of both was wrong").
		fix("keep the one that is there, if it is the newer one",
			"see what depends on the stored one: callsign trust deps "+quote(name), "then delete it and upload again: callsign trust delete "+d.Purpose+" "+quote(name),
			`to keep both CAs of one name, set same_name = "keyid" in [cluster]`)
}

// quote makes a name one word of a shell command.
func quote(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool {
		return !strings.ContainsRune("-._", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
	}
	return name
}

// trustWarnings are the warnings on a certificate that goes into a trust store.
func (d *judgement) trustWarnings(c *chain.Certificate, after []*chain.Certificate) {
	x := c.X509()
	self := c.ClaimsSelfSigned()
	switch {
	case self:
	case !isCA(c):
		d.warn(NotACA, "", c.Subject()+" is not a CA: it vouches for itself only",
			"if the peer's certificates change, upload its CA's certificate instead")
	case !slices.ContainsFunc(after, func(o *chain.Certificate) bool { return c.NamesIssuer(o) }):
		d.warn(IssuerNotInTrust, "", "the issuer of "+c.Subject()+" is not in "+d.Purpose+": "+c.Issuer(),
			"upload the root and every intermediate certificate above it, the root first: callsign trust add "+d.Purpose+" FILE")
	}
	for _, o := range after {
		if o != c && c.X509().Subject.CommonName != "" && strings.EqualFold(o.X509().Subject.CommonName, x.Subject.CommonName) && !o.SameSubject(c) {
			d.warn(SameCNOtherSubject, "", "the store has another certificate with the common name "+x.Subject.CommonName+": "+o.Subject(),
				"if the new one is its successor, delete the old one when nothing depends on it: callsign trust deps "+quote(x.Subject.CommonName))
		}
	}
	d.weakKey(c)
	d.expiresSoon(c)
	if !self && weakHash(x.SignatureAlgorithm) {
		d.warn(WeakSignature, "", c.Subject()+" is signed with "+x.SignatureAlgorithm.String()+": certificates below it are refused",
			"have the CA's certificate issued again with SHA-256")
	}
}
