package enroll

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"

	"callsign/internal/ca"
)

// accept puts an issued certificate into the row, after looking at it: an authority (or what stands between) that gives a
// certificate for another key must not reach the owner. The certificate stays in the row also when it is refused, as evidence, and because
// then the authority's answer is known and need not be looked for.
func (e *Enrolment) accept(out ca.Outcome) error {
	e.Certificate, e.Chain, e.POP = out.Certificate, out.Chain, out.POP
	cert, err := x509.ParseCertificate(out.Certificate)
	if err != nil {
		if len(out.Certificate) == 0 {
			// Nothing to keep: what the authority holds can still be fetched.
			return fmt.Errorf("authority %s answered issued without a certificate", e.Authority)
		}
		return &ca.Error{
			ErrCode: "enroll.bad-certificate", Final: true, Err: err,
			Detail: fmt.Sprintf("authority %s returned a certificate that cannot be read", e.Authority),
			Fix:    "look at the certificate on the authority; callsign cert inspect shows what is wrong with it",
		}
	}
	e.Serial = serial(cert)
	e.Issuer = cert.Issuer.String()
	e.NotAfter = cert.NotAfter.UTC()
	if !ca.CertifiesKey(cert, e.PublicKey) {
		return &ca.Error{
			ErrCode: "enroll.wrong-key", Final: true,
			Detail: fmt.Sprintf("authority %s returned certificate %s, which is for another key than the requested one", e.Authority, e.Serial),
			Fix:    "revoke that certificate, and check that nothing between here and the authority mixes up answers; then let the device enroll again",
		}
	}
	return nil
}

// serial is the serial number in the form that rows and logs use: lower-case hex of whole bytes, without colons.
func serial(cert *x509.Certificate) string {
	b := cert.SerialNumber.Bytes()
	if len(b) == 0 {
		b = []byte{0}
	}
	return hex.EncodeToString(b)
}
