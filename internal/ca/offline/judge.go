package offline

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"callsign/chain"
	"callsign/internal/ca"
)

// Judge looks at certificates that an offline CA has signed.
type Judge struct {
	// CAs are the certificates of the CA that is trusted, in any order. Without any, a self-signed CA certificate that came
	// beside the certificate is believed: who imports it vouches for it.
	CAs []*x509.Certificate
	Now func() time.Time // nil means time.Now
}

// Verdict is what is to be known of a certificate that is accepted.
type Verdict struct {
	Chain [][]byte // DER of the CAs above it, issuing CA first; they go to the phone's record with it
	Lacks []string // usages that a phone needs and the certificate does not have; see ca.LackingUsages
}

// weakestRSA is the shortest key that is taken, in bits: old phones make 1024.
const weakestRSA = 1024

// Certificate judges the certificate of a device. beside are the other certificates of the file it came in. Errors are *ca.Error (CodeNotPhone,
// CodeWrongName, CodeNoCA) and *chain.Error: out of its dates, not from a CA that is trusted, weakly signed.
func (j Judge) Certificate(cert *x509.Certificate, beside []*x509.Certificate, device string) (Verdict, error) {
	if cert.BasicConstraintsValid && cert.IsCA {
		return Verdict{}, &ca.Error{
			ErrCode: CodeNotPhone, Final: true, Detail: fmt.Sprintf("certificate %s is that of a CA, and a phone must not be one", cert.Subject),
			Fix: "sign the request again with basicConstraints CA:FALSE (the file " + FileName(device) + ExtensionsSuffix + " of callsign capf csr export --format spki has it), and revoke this certificate",
		}
	}
	if !Names(cert, device) {
		return Verdict{}, &ca.Error{
			ErrCode: CodeWrongName, Final: true,
			Detail: fmt.Sprintf("certificate %s is not for %s: its common name is neither %s nor ends in -%s, and no subjectAltName URI is %s", cert.Subject, device, device, device, device),
			Fix:    "sign the request again with the subject that it asks for, CN=" + device,
		}
	}
	anchors := chain.NewStore()
	trusted := j.CAs
	if len(trusted) == 0 {
		for _, c := range beside {
			if c.IsCA && bytes.Equal(c.RawIssuer, c.RawSubject) {
				trusted = append(trusted, c)
			}
		}
	}
	if len(trusted) == 0 {
		return Verdict{}, &ca.Error{
			ErrCode: CodeNoCA, Detail: "no certificate of the offline CA is known, so what it signed cannot be checked",
			Fix: "set capf.offline_ca_file to the CA's certificates, or name them with --ca FILE",
		}
	}
	for _, c := range trusted {
		anchors.Add(chain.Anchor{Certificate: chain.Of(c), Partial: true, MinRSABits: weakestRSA})
	}
	v := chain.Verifier{Anchors: anchors.Named("the CA of the phones"), Usage: chain.Any, MinRSABits: weakestRSA, Now: j.Now}
	result := v.Verify(chain.OfAll(append([]*x509.Certificate{cert}, beside...)), "")
	if err := result.Err(); err != nil {
		return Verdict{}, err
	}
	verdict := Verdict{Lacks: ca.LackingUsages(cert)}
	path := []*x509.Certificate{}
	for _, c := range result.Path[1:] {
		path = append(path, c.X509())
	}
	for _, c := range above(path, trusted) { // the path may end at an issuing CA that is trusted by itself
		verdict.Chain = append(verdict.Chain, c.Raw)
	}
	return verdict, nil
}

// above completes a path with those of the known CAs that stand above its end.
func above(path, known []*x509.Certificate) []*x509.Certificate {
	for len(path) > 0 && len(path) < chain.MaxPathLength {
		last := path[len(path)-1]
		i := slices.IndexFunc(known, func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, last.RawIssuer) && !slices.ContainsFunc(path, c.Equal) && last.CheckSignatureFrom(c) == nil
		})
		if i < 0 || bytes.Equal(last.RawSubject, last.RawIssuer) {
			break
		}
		path = append(path, known[i])
	}
	return path
}

// Names tells whether a certificate is that of a device (spec: CAPF section 8): its common name is the device's name or ends in it
// after a hyphen, or a subjectAltName URI is the device's name. Case does not matter.
func Names(cert *x509.Certificate, device string) bool {
	device = strings.ToUpper(device)
	if device == "" {
		return false
	}
	for _, u := range cert.URIs {
		if strings.EqualFold(u.String(), device) {
			return true
		}
	}
	cn := strings.ToUpper(cert.Subject.CommonName)
	return cn == device || strings.HasSuffix(cn, "-"+device)
}
