package local

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"callsign/internal/ca"
)

// Object identifiers of extensions and extended key usages (RFC 5280 4.2, RFC 4945 5.1.3.12, RFC 6402 2.10,
// [MS-WCCE] 2.2.2.7).
var (
	oidSubjectKeyID      = asn1.ObjectIdentifier{2, 5, 29, 14}
	oidKeyUsage          = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSubjectAltName    = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints  = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidNameConstraints   = asn1.ObjectIdentifier{2, 5, 29, 30}
	oidCRLPoints         = asn1.ObjectIdentifier{2, 5, 29, 31}
	oidPolicies          = asn1.ObjectIdentifier{2, 5, 29, 32}
	oidPolicyMappings    = asn1.ObjectIdentifier{2, 5, 29, 33}
	oidAuthorityKeyID    = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidPolicyConstraints = asn1.ObjectIdentifier{2, 5, 29, 36}
	oidExtKeyUsage       = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidAuthorityInfo     = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 1}
	oidTemplateName      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2}
	oidTemplateV2        = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 21, 7}

	oidServerAuth      = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}
	oidClientAuth      = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}
	oidIPsecEndSystem  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 5}
	oidCMCRA           = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28}
	oidEnrollmentAgent = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 1}
)

// General name tags that a phone certificate may carry.
const (
	tagDNS = 2
	tagURI = 6
	tagIP  = 7
)

// phoneExtensions picks what the phone profile copies from the requested extensions, or says why it refuses.
func phoneExtensions(requested []pkix.Extension) ([]pkix.Extension, *ca.Error) {
	var out []pkix.Extension
	seen := map[string]bool{}
	for _, e := range requested {
		if seen[e.Id.String()] {
			return nil, refusedExtension(e, "is there twice")
		}
		seen[e.Id.String()] = true
		switch {
		case e.Id.Equal(oidSubjectAltName):
			if why := checkAltNames(e.Value); why != "" {
				return nil, refusedExtension(e, why)
			}
			// The subject of a phone certificate is never empty, so the extension is not critical (RFC 5280 4.2.1.6).
			out = append(out, pkix.Extension{Id: e.Id, Value: e.Value})
		case e.Id.Equal(oidBasicConstraints):
			if why := checkNotCA(e.Value); why != "" {
				return nil, refusedExtension(e, why)
			}
		case e.Id.Equal(oidNameConstraints), e.Id.Equal(oidPolicyConstraints), e.Id.Equal(oidPolicyMappings):
			return nil, refusedExtension(e, "belongs into CA certificates only")
		case decidedByProfile(e.Id):
		case e.Critical:
			return nil, refusedExtension(e, "is critical and unknown to the phone profile")
		}
	}
	return out, nil
}

func decidedByProfile(id asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc([]asn1.ObjectIdentifier{
		oidSubjectKeyID, oidKeyUsage, oidCRLPoints, oidPolicies, oidAuthorityKeyID, oidExtKeyUsage, oidAuthorityInfo,
		oidTemplateName, oidTemplateV2,
	}, id.Equal)
}

// narrowed are those of the usages that a request asks for; all of them when it asks for none or for others alone.
func narrowed(usages []asn1.ObjectIdentifier, exts []pkix.Extension) []asn1.ObjectIdentifier {
	var out []asn1.ObjectIdentifier
	for _, e := range exts {
		if !e.Id.Equal(oidExtKeyUsage) {
			continue
		}
		var asked []asn1.ObjectIdentifier
		if rest, err := asn1.Unmarshal(e.Value, &asked); err != nil || len(rest) > 0 {
			continue
		}
		for _, u := range usages {
			if slices.ContainsFunc(asked, u.Equal) && !slices.ContainsFunc(out, u.Equal) {
				out = append(out, u)
			}
		}
	}
	if len(out) == 0 {
		return usages
	}
	return out
}

func refusedExtension(e pkix.Extension, why string) *ca.Error {
	return &ca.Error{
		ErrCode: CodeExtensionRefused, Final: true,
		Detail: fmt.Sprintf("the requested extension %s %s", e.Id, why),
		Fix:    "leave this extension out of the request; a phone certificate carries only names of the types URI, DNS and IP",
	}
}

// checkAltNames returns why the value of a subjectAltName is refused, or "".
func checkAltNames(value []byte) string {
	in := cryptobyte.String(value)
	var names cryptobyte.String
	if !in.ReadASN1(&names, cbasn1.SEQUENCE) || !in.Empty() || names.Empty() {
		return "is no list of names"
	}
	for !names.Empty() {
		var name cryptobyte.String
		var tag cbasn1.Tag
		if !names.ReadAnyASN1(&name, &tag) {
			return "is no list of names"
		}
		switch tag {
		case cbasn1.Tag(tagDNS).ContextSpecific(), cbasn1.Tag(tagURI).ContextSpecific():
			if !printable(name) {
				return "holds a name with characters outside ASCII"
			}
		case cbasn1.Tag(tagIP).ContextSpecific():
			if len(name) != 4 && len(name) != 16 {
				return "holds an address that is neither IPv4 nor IPv6"
			}
		default:
			return fmt.Sprintf("holds a name of type %d", tag&0x1f)
		}
	}
	return ""
}

func printable(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return len(b) > 0
}

// checkNotCA returns why the value of basicConstraints is refused, or "".
func checkNotCA(value []byte) string {
	in := cryptobyte.String(value)
	var seq cryptobyte.String
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !in.Empty() {
		return "is malformed"
	}
	isCA := false
	if seq.PeekASN1Tag(cbasn1.BOOLEAN) && !seq.ReadASN1Boolean(&isCA) {
		return "is malformed"
	}
	if isCA || !seq.Empty() {
		return "asks for a CA certificate"
	}
	return ""
}
