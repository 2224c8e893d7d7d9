package upload

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"callsign/chain"
)

// path is check 17: a path from the certificate to a self-signed one of the trust store.
func (d *judgement) path(after []*chain.Certificate) {
	r := d.verify(after)
	before := len(d.result.Reasons)
	d.pathFaults(r)
	if len(d.result.Reasons) == before {
		d.result.Path = r.Path
		return
	}
	if len(after) == len(d.Trust)+len(d.file.Certificates)-1 {
		return
	}
	// What of the file was not put into the store may explain more: a CA certificate that has expired, say.
	if again := d.verify(append(slices.Clip(after), d.file.Certificates...)); !again.OK() {
		first := d.result.Reasons
		d.result.Reasons = d.result.Reasons[:before:before]
		d.pathFaults(again)
		if len(d.result.Reasons) == before {
			d.result.Reasons = first
		}
	}
}

func (d *judgement) verify(store []*chain.Certificate) *chain.Result {
	return FindPath(d.result.Leaf, store, d.identity.Trust, d.At)
}

// FindPath looks for a path from an identity certificate to a self-signed certificate of a trust store, which is called name in the
// faults. Trust stores take certificates without a look at their signatures, so one counts as self-signed only when it is signed
// with its own key, and the identity certificate itself does not count.
func FindPath(leaf *chain.Certificate, store []*chain.Certificate, name string, at time.Time) *chain.Result {
	v := chain.Verifier{Usage: chain.Any, MinRSABits: MinRSABits, Now: func() time.Time { return at }}
	anchors := slices.DeleteFunc(slices.Clone(store), func(c *chain.Certificate) bool { return bytes.Equal(c.Raw(), leaf.Raw()) })
	v.Anchors = chain.NewStore(anchors...).Named(name)
	r := v.Verify([]*chain.Certificate{leaf}, "")
	if last := r.Path[len(r.Path)-1]; len(r.Path) == 1 || !last.ClaimsSelfSigned() || selfSigned(last) {
		return r // nearly always
	}
	// A CA's new key signed with its former one, without a key identifier to tell it from a root: it may be on the way to one.
	anchors = slices.DeleteFunc(anchors, func(c *chain.Certificate) bool {
		link := c.ClaimsSelfSigned() && !selfSigned(c)
		if link {
			v.Intermediates = append(v.Intermediates, c)
		}
		return link
	})
	v.Anchors = chain.NewStore(anchors...).Named(name)
	return v.Verify([]*chain.Certificate{leaf}, "")
}

// pathFaults turns the faults of a path into reasons. Those of the certificate itself that earlier checks look at are left to them.
func (d *judgement) pathFaults(r *chain.Result) {
	var walk func([]chain.Fault)
	walk = func(faults []chain.Fault) {
		for i := range faults {
			d.pathFault(r, &faults[i])
			walk(faults[i].Consequences)
		}
	}
	walk(r.Faults)
}

func (d *judgement) pathFault(r *chain.Result, f *chain.Fault) {
	leaf := f.Depth == 0
	switch f.Code {
	case chain.Expired, chain.NotYetValid:
		if !leaf {
			d.caDates(r, f)
		}
	case chain.WeakKey:
		if !leaf {
			d.notInTrust(r, f)
		}
	case chain.UnknownCriticalExtension:
		number := numberPath
		if leaf {
			number = numberCritical
		}
		if !leaf || !d.has(UnknownCritical) {
			d.unknownCritical(number, f.Actual).value("certificate", f.Subject)
		}
	case chain.WeakSignature:
		number := numberPath
		if leaf {
			number = numberSignatureHash
		}
		if c := at(r, f.Depth); c != nil && (!leaf || !d.has(WeakSignature)) {
			d.weakSignature(number, c, f.Actual)
		}
	case chain.Malformed:
		if leaf {
			d.refuse(4, InvalidFile, "Invalid certificate file provided").cause(f.Detail).fix(f.Remedy)
			return
		}
		d.notInTrust(r, f)
	case chain.BadSignature:
		d.badSignature(r, f)
	default:
		d.notInTrust(r, f)
	}
}

func at(r *chain.Result, depth int) *chain.Certificate {
	if depth < 0 || depth >= len(r.Path) {
		return nil
	}
	return r.Path[depth]
}

func (d *judgement) caDates(r *chain.Result, f *chain.Fault) {
	c := at(r, f.Depth)
	if c == nil || d.has(CAExpired) {
		return
	}
	x := c.X509()
	message := fmt.Sprintf("CA certificate in the trust-store has expired: %s, valid to %s", nameOf(c), stamp(x.NotAfter))
	cause := "the CA was renewed, and the trust store has its former certificate"
	if f.Code == chain.NotYetValid {
		message = fmt.Sprintf("CA certificate in the trust-store is not yet valid: %s, valid from %s", nameOf(c), stamp(x.NotBefore))
		cause = "the clock of this machine or that of the CA is wrong"
	}
	d.refuse(numberPath, CAExpired, message).
		value("ca_certificate", c.Subject()).value("ca_serial", chain.SerialText(x.SerialNumber)).value("ca_valid_to", stamp(x.NotAfter)).
		value("certificate_authority_key_id", keyID(r.Path[f.Depth-1].X509().AuthorityKeyId)).
		value("near_misses", strings.Join(f.NearMisses, "; ")).
		cause(cause, "the certificate was issued by the former CA certificate, whose key it names").
		fix("upload the CA's current certificate, which has to have the same key: callsign trust add "+d.identity.Trust+" FILE",
			"or have the certificate issued again by the CA as it is now")
}

func keyID(id []byte) string { return strings.ToUpper(fmt.Sprintf("%x", id)) }

// badSignature tells a damaged certificate from one whose issuer merely has the same name as a CA of the store.
func (d *judgement) badSignature(r *chain.Result, f *chain.Fault) {
	child, issuer := at(r, f.Depth), at(r, f.Depth+1)
	if child == nil || issuer == nil || len(child.X509().AuthorityKeyId) == 0 || !bytes.Equal(child.X509().AuthorityKeyId, issuer.X509().SubjectKeyId) {
		d.notInTrust(r, f)
		return
	}
	d.refuse(numberPath, BadSignature, "Certificate signature does not verify with the key of its issuer: "+nameOf(issuer)).
		value("certificate", child.Subject()).value("issuer_key_id", keyID(issuer.X509().SubjectKeyId)).
		cause("the file was changed or damaged on its way", "another CA uses the same name and the same key identifier").
		fix("get the certificate from the CA again, and compare its fingerprint with what the CA shows")
}

func (d *judgement) notInTrust(r *chain.Result, f *chain.Fault) {
	if d.has(CANotInTrust) {
		return
	}
	reason := d.refuse(numberPath, CANotInTrust, "CA certificate is not available in the trust-store").value("trust_store", d.identity.Trust).
		value("fault", string(f.Code)).value("depth", fmt.Sprint(f.Depth))
	last := at(r, f.Depth)
	if f.Code == chain.UnknownIssuer || f.Code == chain.IncompleteAnchor || f.Code == chain.UnknownRoot {
		last = r.Path[len(r.Path)-1]
	}
	if last != nil && last.X509() != nil {
		x := last.X509()
		reason.value("certificate", last.Subject()).value("missing_issuer", last.Issuer()).value("missing_issuer_key_id", keyID(x.AuthorityKeyId)).
			value("issuer_url", strings.Join(x.IssuingCertificateURL, " "))
	}
	reason.value("near_misses", strings.Join(f.NearMisses, "; ")).cause(f.Detail)
	reason.fix("upload the root, then every intermediate certificate, then the certificate itself: callsign trust add "+d.identity.Trust+" FILE",
		"or put them into one file with the certificate")
	if last != nil && last.X509() != nil && len(last.X509().IssuingCertificateURL) > 0 {
		reason.fix("the issuer can be fetched from " + strings.Join(last.X509().IssuingCertificateURL, " ") + "; this program fetches nothing by itself")
	}
}
