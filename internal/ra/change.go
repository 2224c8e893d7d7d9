package ra

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

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
	// A copy that crypto/x509 reads the names of.
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(0)
			b.AddBytes(subject)
			b.AddBytes(r.CSR.RawSubjectPublicKeyInfo)
			b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
				addExtensions(b, r)
			})
		})
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2})
		})
		b.AddASN1BitString(nil)
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("write request: %w", err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
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

// addExtensions writes the attribute extensionRequest with the extensions of the request, the subjectAltName replaced.
func addExtensions(b *cryptobyte.Builder, r est.EnrollRequest) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14})
		b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				add := func(oid asn1.ObjectIdentifier, critical bool, value []byte) {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(oid)
						if critical {
							b.AddASN1Boolean(true)
						}
						b.AddASN1OctetString(value)
					})
				}
				for _, e := range r.CSR.Extensions {
					if !e.Id.Equal(oidSubjectAltName) {
						add(e.Id, e.Critical, e.Value)
					}
				}
				if alt := r.ChangeSubject.SubjectAlt; alt != nil {
					add(oidSubjectAltName, len(r.ChangeSubject.Subject) <= 2, alt)
				}
			})
		})
	})
}
