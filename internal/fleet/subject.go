package fleet

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidCommonName     = asn1.ObjectIdentifier{2, 5, 4, 3}
)

// CommonName returns the DER of a subject that is CN = name alone.
func CommonName(name string) ([]byte, error) {
	der, err := asn1.Marshal(pkix.Name{CommonName: name}.ToRDNSequence())
	if err != nil {
		return nil, fmt.Errorf("encode CN=%s: %w", name, err)
	}
	return der, nil
}

// SubjectTemplate returns a Service.Subject that makes CN from template, where {name} and {model} stand for the
// device's, followed by the O, OU, L, ST and C of under, the issuer's subject (spec: CAPF section 8). A device without a
// model gets its name alone where the template asks for "{model}-{name}".
func SubjectTemplate(template string, under pkix.Name) func(Device) ([]byte, error) {
	if template == "" {
		template = "{name}"
	}
	return func(d Device) ([]byte, error) {
		cn := template
		if d.Model == "" {
			cn = strings.ReplaceAll(cn, "{model}-", "")
		}
		cn = strings.NewReplacer("{name}", d.Name, "{model}", d.Model).Replace(cn)
		der, err := asn1.Marshal(pkix.Name{
			CommonName: cn, Organization: under.Organization, OrganizationalUnit: under.OrganizationalUnit,
			Locality: under.Locality, Province: under.Province, Country: under.Country,
		}.ToRDNSequence())
		if err != nil {
			return nil, fmt.Errorf("encode subject of %s: %w", d.Name, err)
		}
		return der, nil
	}
}

// deviceURI returns the subjectAltName extension that names the device: a URI, as capfd writes it.
func deviceURI(name string) ([]pkix.Extension, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.Tag(6).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(name)) })
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode subjectAltName of %s: %w", name, err)
	}
	return []pkix.Extension{{Id: oidSubjectAltName, Value: der}}, nil
}
