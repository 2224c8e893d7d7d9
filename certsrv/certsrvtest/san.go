package certsrvtest

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net/netip"
	"strings"
)

// oidUPN is Microsoft's user principal name, an otherName of subjectAltName.
var oidUPN = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}

// addSAN adds the names of a SAN: attribute ("dns=a&ipaddress=1.2.3.4&email=m@d&upn=u@d") in place of the names in the
// request, as a CA with EDITF_ATTRIBUTESUBJECTALTNAME2 does.
func (r *request) addSAN(attribute string) error {
	if attribute == "" {
		return nil
	}
	var names []asn1.RawValue
	for pair := range strings.SplitSeq(attribute, "&") {
		kind, value, _ := strings.Cut(pair, "=")
		name, err := generalName(strings.ToLower(strings.TrimSpace(kind)), strings.TrimSpace(value))
		if err != nil {
			return err
		}
		names = append(names, name)
	}
	der, err := asn1.Marshal(names)
	if err != nil {
		return err
	}
	kept := r.extensions[:0:0]
	for _, e := range r.extensions {
		if !e.Id.Equal(oidSAN) {
			kept = append(kept, e)
		}
	}
	r.extensions = append(kept, pkix.Extension{Id: oidSAN, Value: der})
	return nil
}

func generalName(kind, value string) (asn1.RawValue, error) {
	if value == "" {
		return asn1.RawValue{}, fmt.Errorf("empty name in SAN attribute")
	}
	context := func(tag int, b []byte) (asn1.RawValue, error) {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: b}, nil
	}
	switch kind {
	case "dns":
		return context(2, []byte(value))
	case "email":
		return context(1, []byte(value))
	case "url":
		return context(6, []byte(value))
	case "ipaddress":
		ip, err := netip.ParseAddr(value)
		if err != nil {
			return asn1.RawValue{}, fmt.Errorf("IP address in SAN attribute: %w", err)
		}
		return context(7, ip.Unmap().AsSlice())
	case "upn":
		other, err := asn1.Marshal(struct {
			ID    asn1.ObjectIdentifier
			Value string `asn1:"utf8,explicit,tag:0"`
		}{oidUPN, value})
		if err != nil {
			return asn1.RawValue{}, err
		}
		return asn1.RawValue{FullBytes: append([]byte{0xA0}, other[1:]...)}, nil
	}
	return asn1.RawValue{}, fmt.Errorf("unknown kind %q of name in SAN attribute", kind)
}

func marshalRDN(n pkix.Name) ([]byte, error) { return asn1.Marshal(n.ToRDNSequence()) }
