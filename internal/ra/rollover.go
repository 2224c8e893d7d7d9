package ra

import (
	"bytes"
	"crypto/x509"
	"slices"
	"time"
)

// newKnown orders what an authority tells of itself, and the rollover certificates of the configuration, for cacerts (RFC 7030
// section 4.1.3).
func newKnown(told, extra []*x509.Certificate) *known {
	k := &known{told: told}
	pool := slices.Clone(told)
	for _, c := range extra {
		if !slices.ContainsFunc(pool, c.Equal) {
			pool = append(pool, c)
		}
	}
	k.path = pathOf(told[0], pool)
	root := k.path[len(k.path)-1]
	for n, c := range pool {
		// Of the configuration only what is about a CA of this path: other labels have other CAs.
		fits := n < len(told) || slices.ContainsFunc(k.path, func(p *x509.Certificate) bool { return bytes.Equal(p.RawSubject, c.RawSubject) })
		if fits && c.IsCA && !slices.ContainsFunc(k.path, c.Equal) && !slices.ContainsFunc(k.rest, c.Equal) {
			k.rest = append(k.rest, c)
		}
	}
	slices.SortStableFunc(k.rest, func(a, b *x509.Certificate) int { return rank(a, root) - rank(b, root) })
	return k
}

// known is what is known of a label's CA. It is never changed, only replaced.
type known struct {
	told []*x509.Certificate // by the authority itself; the first issues
	path []*x509.Certificate // from the issuer to the root
	rest []*x509.Certificate // what joins earlier roots with this one, and earlier certificates of the CA
}

// all are all certificates, those that have ended among them.
func (k *known) all() []*x509.Certificate { return slices.Concat(k.path, k.rest) }

// at is what cacerts answers: the path, and of the rest what is valid.
func (k *known) at(now time.Time) []*x509.Certificate {
	out := slices.Clone(k.path)
	for _, c := range k.rest {
		if !now.Before(c.NotBefore) && !now.After(c.NotAfter) {
			out = append(out, c)
		}
	}
	return out
}

// rank orders the rest: OldWithNew, NewWithOld, OldWithOld, everything else.
func rank(c, root *x509.Certificate) int {
	selfIssued, ofRoot := bytes.Equal(c.RawSubject, c.RawIssuer), bytes.Equal(c.RawSubject, root.RawSubject)
	sameKey := bytes.Equal(c.RawSubjectPublicKeyInfo, root.RawSubjectPublicKeyInfo)
	switch {
	case !ofRoot || !selfIssued:
		return 3
	case sameKey:
		return 1
	case signedBy(c, root):
		return 0
	default:
		return 2
	}
}

// pathOf follows the issuers of c. Where several fit, because a CA was renewed, a root ends the path soonest, and the
// newest comes before the older.
func pathOf(c *x509.Certificate, pool []*x509.Certificate) []*x509.Certificate {
	path := []*x509.Certificate{c}
	for len(path) <= len(pool) && !signedBy(c, c) {
		var next *x509.Certificate
		for _, p := range pool {
			if !signedBy(c, p) || slices.ContainsFunc(path, p.Equal) {
				continue
			}
			better := next == nil || signedBy(p, p) && !signedBy(next, next) ||
				signedBy(p, p) == signedBy(next, next) && p.NotBefore.After(next.NotBefore)
			if better {
				next = p
			}
		}
		if next == nil {
			break
		}
		path = append(path, next)
		c = next
	}
	return path
}

// signedBy tells whether c was issued by p, by names, key identifiers and signature. A signature that cannot be checked any more
// (SHA-1) counts by the key identifiers: this only orders certificates, and trusts none.
func signedBy(c, p *x509.Certificate) bool {
	if !bytes.Equal(c.RawIssuer, p.RawSubject) {
		return false
	}
	byID := len(c.AuthorityKeyId) > 0 && len(p.SubjectKeyId) > 0
	if byID && !bytes.Equal(c.AuthorityKeyId, p.SubjectKeyId) {
		return false
	}
	switch c.SignatureAlgorithm {
	case x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.MD5WithRSA, x509.UnknownSignatureAlgorithm:
		return byID || c.Equal(p)
	default:
		return p.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
	}
}
