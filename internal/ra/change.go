package ra

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"

	"callsign/cmc"
	"callsign/est"
)

// effective is the request as it is to be certified: the PKCS#10, with other names when its attribute id-cmc-changeSubjectName
// asks for them. Both names are then those of the attribute, and one that it leaves out is left out (RFC 6402 section 2.8). The
// result is for judging and for the journal; what proves possession of the key is the PKCS#10 itself.
func effective(r est.EnrollRequest) (*x509.CertificateRequest, error) {
	if r.ChangeSubject == nil {
		return r.CSR, nil
	}
	subject := r.ChangeSubject.Subject
	if subject == nil {
		subject = []byte{0x30, 0}
	}
	extensions := slices.DeleteFunc(slices.Clone(r.CSR.Extensions), func(e pkix.Extension) bool { return e.Id.Equal(oidSubjectAltName) })
	if alt := r.ChangeSubject.SubjectAlt; alt != nil {
		extensions = append(extensions, pkix.Extension{Id: oidSubjectAltName, Critical: len(r.ChangeSubject.Subject) <= 2, Value: alt})
	}
	// A copy that crypto/x509 reads the names of.
	der, err := cmc.NullSignedRaw(r.CSR.RawSubjectPublicKeyInfo, subject, extensions, cmc.RFC)
	if err != nil {
		return nil, fmt.Errorf("write request: %w", err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	csr.Extensions = extensions // nobody has asked for the SubjectKeyIdentifier of the copy
	if alt := r.ChangeSubject.SubjectAlt; alt != nil {
		if _, err := parseGeneralNames(alt); err != nil {
			return nil, err
		}
	}
	if len(csr.Subject.Names) == 0 && r.ChangeSubject.SubjectAlt == nil {
		return nil, errors.New("neither a subject nor another name would be left")
	}
	return csr, nil
}
