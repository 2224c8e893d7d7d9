package ra

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"callsign/chain"
	"callsign/est"
)

// renewable judges the certificate that a simplereenroll is about (est.md 1.4): issued by the CA of the label, in one of its
// certificates old or new, within its dates or the grace after them, not revoked. It returns the CA certificate.
func (a *RA) renewable(ctx context.Context, l *label, certs []*x509.Certificate) (*x509.Certificate, *est.Error) {
	if refused := a.ready(ctx, l.Name); refused != nil {
		return nil, refused
	}
	leaf, now := certs[0], a.c.Now()
	own := a.issuersOf(l)
	if !slices.ContainsFunc(own, func(i *x509.Certificate) bool { return bytes.Equal(i.RawSubject, leaf.RawIssuer) }) {
		return nil, clientRefused(CodeReenrollIssuer,
			fmt.Sprintf("the certificate was issued by %q, and here only certificates of %q are renewed; ask by simpleenroll with it", clip(leaf.Issuer.String()), own[0].Subject),
			"let the client enrol anew (simpleenroll), or renew under the label whose CA issued the certificate", nil)
	}
	at := now
	if now.After(leaf.NotAfter) {
		end := leaf.NotAfter.Add(l.ReenrollGrace)
		if now.After(end) {
			text := fmt.Sprintf("the certificate that is to be renewed ended on %s", stamp(leaf.NotAfter))
			if l.ReenrollGrace > 0 {
				text += fmt.Sprintf(", and could be renewed until %s", stamp(end))
			}
			return nil, clientRefused(CodeReenrollExpired, text+"; ask by simpleenroll with other credentials",
				"let the client enrol anew (simpleenroll); to renew for longer after the end raise "+l.key("reenroll_grace"), nil)
		}
		at = leaf.NotAfter
	}
	if now.Before(leaf.NotBefore) {
		return nil, clientRefused(CodeReenrollExpired, fmt.Sprintf("the certificate that is to be renewed is not valid before %s", stamp(leaf.NotBefore)),
			"set the clock of client or server right", nil)
	}
	issuer, err := issuedBy(leaf, own, chain.Client, at)
	switch {
	case err == nil:
	case err.Has(chain.WrongUsage) && len(err.Faults) == 1:
		return nil, clientRefused(CodeClientPurpose, "the client certificate is not for TLS clients (extended key usage clientAuth is missing)",
			"issue the client's certificate from a template with Client Authentication", err.Err())
	default:
		return nil, clientRefused(CodeReenrollIssuer, "the certificate that is to be renewed is not valid: "+oneLine(err.Faults[0].Detail),
			"let the client enrol anew (simpleenroll); "+err.Faults[0].Remedy, err.Err())
	}
	if refused := a.unrevoked(ctx, []*x509.Certificate{leaf, issuer}); refused != nil {
		refused.ErrCode = CodeReenrollRevoked
		return nil, refused
	}
	return issuer, nil
}

// enrolledHere refuses to renew a certificate of the label's CA with which its holder could not enrol under the label and which was not enrolled for
// here: that of a person or server of the enterprise, of a phone, or of another label, whose template and approval are others.
func (a *RA) enrolledHere(ctx context.Context, l *label, c est.Credentials) *est.Error {
	if a.c.Owners == nil {
		return nil
	}
	leaf, at := c.Certificates[0], a.c.Now()
	if at.After(leaf.NotAfter) {
		at = leaf.NotAfter // within the grace
	}
	if len(l.ClientCAs) > 0 {
		if _, refused := l.verifyClient(c.Certificates, at); refused == nil {
			return nil
		}
	}
	owners, err := a.c.Owners(ctx, leaf)
	if err != nil {
		return a.internal(ctx, c.RequestID, err)
	}
	// What a voucher got is a phone's.
	here, vouched := owner(l.Name, ""), owner(l.Name, "voucher:")
	if slices.ContainsFunc(owners, func(o string) bool { return strings.HasPrefix(o, here) && !strings.HasPrefix(o, vouched) }) {
		return nil
	}
	return clientRefused(CodeReenrollIssuer,
		"the certificate was not enrolled for under this label, and here only certificates of its own clients are renewed; ask where it was enrolled for, or by simpleenroll with other credentials",
		fmt.Sprintf("let the client renew under the label that it enrolled with; to renew whatever the CA has issued, add the CA's certificate to the file in %s", l.file("client_ca_file", "est.client_ca_file")), nil)
}

// issuersOf are the certificates of the CA that issues under the label: the present one first, then those of earlier
// renewals. The chain must be known.
func (a *RA) issuersOf(l *label) []*x509.Certificate {
	k := a.known(l.Name)
	if k == nil {
		return nil
	}
	var out []*x509.Certificate
	for _, c := range k.all() {
		if bytes.Equal(c.RawSubject, k.told[0].RawSubject) {
			out = append(out, c)
		}
	}
	return append(out, l.former...)
}

// issuedBy finds the CA certificate by which leaf was issued directly. The result is that of a failed attempt.
func issuedBy(leaf *x509.Certificate, cas []*x509.Certificate, usage chain.Usage, at time.Time) (*x509.Certificate, *chain.Result) {
	v := chain.Verifier{Anchors: newAnchors(cas, "the CA certificates of this label"), Usage: usage, Now: func() time.Time { return at }}
	result := v.Verify([]*chain.Certificate{chain.Of(leaf)}, "")
	if result.OK() && len(result.Path) == 2 {
		return result.Anchor.Certificate.X509(), nil
	}
	if result.OK() {
		result.Faults = []chain.Fault{{
			Code: chain.UnknownIssuer, Detail: "it is no certificate that the CA of this label has issued", Remedy: "show a certificate of a device",
		}}
	}
	return nil, result
}

// registrar tells whether the certificate is that of a registration authority that may send the requests of others under the
// label (RFC 7030 section 3.7): named in the configuration, issued by the label's CA, with the purpose id-kp-cmcRA. In a
// certificate of anybody else that purpose means nothing. It returns the CA certificate.
func (a *RA) registrar(ctx context.Context, l *label, leaf *x509.Certificate) (*x509.Certificate, bool) {
	if len(l.Registrars) == 0 || !l.registrars(leaf) {
		return nil, false
	}
	why := ""
	switch refused := a.ready(ctx, l.Name); {
	case refused != nil:
		why = refused.Error()
	case !slices.ContainsFunc(leaf.UnknownExtKeyUsage, oidCMCRA.Equal):
		why = "its certificate has not the extended key usage id-kp-cmcRA"
	default:
		issuer, fault := issuedBy(leaf, a.issuersOf(l), chain.Any, a.c.Now())
		if fault == nil {
			e := a.unrevoked(ctx, []*x509.Certificate{leaf, issuer})
			if e == nil {
				return issuer, true
			}
			why = e.Error()
		} else {
			why = fault.Faults[0].Detail
		}
	}
	a.log.WarnContext(ctx, "registrar not taken for one", slog.String("label", l.Name), slog.String("subject", leaf.Subject.String()),
		slog.String("code", CodeRegistrar), slog.String("err", why),
		slog.String("remedy", "give the registrar a certificate of the label's own CA with the extended key usage 1.3.6.1.5.5.7.3.28; it is named in "+l.key("registrars")))
	return nil, false
}

// unrevoked asks whoever knows.
func (a *RA) unrevoked(ctx context.Context, path []*x509.Certificate) *est.Error {
	if a.c.Revoked == nil {
		return nil
	}
	if err := a.c.Revoked(ctx, path); err != nil {
		return &est.Error{
			Status: http.StatusForbidden, ErrCode: CodeClientRevoked, Text: "the client certificate is not trusted any more", Err: err,
			Fix: "give the client other credentials, or take its certificate off the list if it stands there by mistake",
		}
	}
	return nil
}
