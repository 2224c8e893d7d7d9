package certsrvtest

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"unicode/utf16"
)

// Extensions that the template of a subordinate CA decides.
var (
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// subCAExtensions are the extensions of a subordinate CA's certificate: those that the request may choose, and the template's.
func subCAExtensions(t *Template, requested []pkix.Extension) ([]pkix.Extension, error) {
	exts := slices.DeleteFunc(slices.Clone(requested), func(e pkix.Extension) bool {
		return e.Id.Equal(oidKeyUsage) || e.Id.Equal(oidExtKeyUsage)
	})
	constraints := struct {
		CA      bool
		PathLen int `asn1:"optional,default:-1"`
	}{true, max(t.PathLen, -1)}
	// digitalSignature, keyCertSign, cRLSign
	usage := asn1.BitString{Bytes: []byte{0x86}, BitLength: 7}
	units := utf16.Encode([]rune(t.Name))
	name := make([]byte, 0, 2*len(units))
	for _, u := range units {
		name = append(name, byte(u>>8), byte(u))
	}
	for _, e := range []struct {
		id       asn1.ObjectIdentifier
		critical bool
		value    any
	}{
		{oidBasicConstraints, true, constraints},
		{oidKeyUsage, true, usage},
		{oidTemplateName, false, asn1.RawValue{Tag: asn1.TagBMPString, Bytes: name}},
	} {
		der, err := asn1.Marshal(e.value)
		if err != nil {
			return nil, fmt.Errorf("encode extension %s: %w", e.id, err)
		}
		exts = append(exts, pkix.Extension{Id: e.id, Critical: e.critical, Value: der})
	}
	return exts, nil
}
