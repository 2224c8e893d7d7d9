package certsrv

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"

	"callsign/certsrv/winauth"
)

// NewestRenewal asks for the CA's newest certificate, whatever its number.
const NewestRenewal = -1

const (
	crlPath = "/certsrv/certcrl.crl"
	// maxCRL bounds a CRL in octets: some 800,000 revoked certificates.
	maxCRL = 32 << 20
)

var oidDeltaCRLIndicator = asn1.ObjectIdentifier{2, 5, 29, 27} // RFC 5280 section 5.2.4

// CRL returns the CRL that belongs to the CA certificate of this number (certcrl.crl): 0 is the first, each renewal counts
// one, and NewestRenewal takes the number from certcarc.asp. A delta CRL lists what was revoked since the last base CRL;
// Raw is the DER. The signature is not checked: that needs the CA's certificate, see x509.RevocationList.CheckSignatureFrom.
//
// Errors are *Problem: CodeNoCRL when the CA has none for this number (after a renewal with the same key the list of the
// newest number covers the earlier ones, and not every CA publishes delta CRLs), CodeNotFound when the server has no such
// page.
func (c *Client) CRL(ctx context.Context, renewal int, delta bool) (*x509.RevocationList, error) {
	if renewal < NewestRenewal || renewal > maxRenewalNumber {
		return nil, &Problem{
			ErrCode: CodeBadRequest, Op: "crl", Detail: fmt.Sprintf("no CA certificate has the number %d", renewal),
			Fix: "give 0 for the first certificate of the CA, 1 after its first renewal, or ask for the newest",
		}
	}
	if err := c.enter(ctx, "crl"); err != nil {
		return nil, err
	}
	defer c.leave()
	// A connection of its own: on the others nothing as large as a CRL is read.
	dialer := c.dialer()
	dialer.MaxBody = maxCRL
	s, err := c.openBy(ctx, dialer, c.Auth)
	if err != nil {
		return nil, err
	}
	defer s.close(ctx)
	list, err := c.crl(ctx, s, renewal, delta)
	if p, ok := errors.AsType[*Problem](err); ok {
		p.Op = "crl" // also when the number was not to be had
		c.log().LogAttrs(ctx, p.level(), "CRL not read", slog.String("event", "certsrv.crl_failed"), slog.String("url", p.URL),
			slog.String("code", p.ErrCode), slog.String("err", p.Detail), slog.String("remedy", p.Fix))
	}
	return list, err
}

func (c *Client) crl(ctx context.Context, s *session, renewal int, delta bool) (*x509.RevocationList, error) {
	if renewal == NewestRenewal {
		var err error
		if renewal, err = c.newestRenewal(ctx, s); err != nil {
			return nil, err
		}
	}
	kind := "base"
	if delta {
		kind = "delta"
	}
	path := crlPath + "?Type=" + kind + "&Renewal=" + strconv.Itoa(renewal) + "&Enc=bin"
	url := c.base.String() + path
	resp, err := s.get(ctx, "crl", path)
	if missing, ok := errors.AsType[*Problem](err); ok && missing.ErrCode == CodeNotFound {
		missing.Fix = "take the CRL from its distribution point instead (HTTP or LDAP, named in every certificate of the CA); " + missing.Fix
	}
	if err != nil {
		return nil, err
	}
	list, p := readCRL(url, resp, renewal, delta)
	if p != nil {
		return nil, p
	}
	c.log().LogAttrs(ctx, slog.LevelInfo, "CRL read", slog.String("event", "certsrv.crl"), slog.String("url", url),
		slog.Int("bytes", len(resp.Body)), slog.String("issuer", list.Issuer.String()), slog.Time("next_update", list.NextUpdate),
		slog.Int("revoked", len(list.RevokedCertificateEntries)))
	return list, nil
}

// readCRL reads an answer of certcrl.crl: the CRL, or a status page.
func readCRL(url string, resp *winauth.Response, renewal int, delta bool) (*x509.RevocationList, *Problem) {
	if isPage(resp.Body) {
		return nil, noCRL(url, resp.Body, renewal, delta)
	}
	list, err := decodeCRL(resp.Body)
	if err == nil && delta != isDelta(list) {
		err = errors.New("a base CRL came in place of the delta CRL")
		if !delta {
			err = errors.New("a delta CRL came in place of the base CRL")
		}
	}
	if err != nil {
		return nil, &Problem{
			ErrCode: CodeUnexpectedPage, Op: "crl", URL: url, HTTPStatus: resp.Status, Err: err,
			Detail: fmt.Sprintf("%s answered %d octets that are not the CRL: %v", url, len(resp.Body), err),
			Fix:    "open the URL in a browser with the same account; check for a proxy between",
		}
	}
	return list, nil
}

// noCRL explains a page in place of the CRL.
func noCRL(url string, page []byte, renewal int, delta bool) *Problem {
	a, ok := classify(page)
	p := a.Problem()
	switch {
	case !ok || p == nil:
		p = unexpectedPage("crl", url, page)
	case p.ErrCode == CodeUnknownRequest:
		kind, command := "base", "certutil -CRL"
		if delta {
			kind, command = "delta", "certutil -CRL delta"
		}
		p.ErrCode = CodeNoCRL
		p.Detail = fmt.Sprintf("the CA has no %s CRL for its certificate number %d (%s)", kind, renewal, a.HResult)
		p.Fix = "publish one (on the CA: " + command + "); after a renewal with the same key ask for the newest number"
	}
	p.Op, p.URL = "crl", url
	return p
}

func isDelta(list *x509.RevocationList) bool {
	return slices.ContainsFunc(list.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidDeltaCRLIndicator) })
}

// decodeCRL reads a CRL from DER, PEM or base64.
func decodeCRL(body []byte) (*x509.RevocationList, error) {
	der := trimStart(body)
	if len(der) == 0 || der[0] != 0x30 || isBase64(der) {
		if block, _ := pem.Decode(der); block != nil {
			der = block.Bytes
		} else {
			bare, err := base64.StdEncoding.DecodeString(string(bytes.Join(bytes.Fields(der), nil)))
			if err != nil || len(bare) == 0 {
				return nil, errNoData
			}
			der = bare
		}
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("CRL: %w", err)
	}
	return list, nil
}
