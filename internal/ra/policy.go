package ra

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net/http"
	"regexp"
	"slices"

	"callsign/cmc"
)

// phoneName is a device name, alone or after the model: "SEP001122334455", "CP-8865-SEP001122334455".
var phoneName = regexp.MustCompile(`^(?:[A-Za-z0-9]+-)*SEP[0-9A-Fa-f]{12}$`)

// Extensions that a request may ask for unless the policy says otherwise.
var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidSubjectKeyID   = asn1.ObjectIdentifier{2, 5, 29, 14}
	oidKeyUsage       = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidExtKeyUsage    = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// Policy says what may be asked for. The zero value is for phones: the only common name is a phone's, no other names than
// that name as a URI, key identifier and usages as extensions, RSA of 2048 to 4096 bits or P-256, P-384, P-521.
type Policy struct {
	Subject    *regexp.Regexp          // of the common name; nil: a phone's name
	AnyNames   bool                    // subjectAltName as the requester likes
	Extensions []asn1.ObjectIdentifier // allowed ones; nil: subjectAltName, subjectKeyIdentifier, keyUsage, extKeyUsage
	MinRSABits int                     // 0 means 2048
	MaxRSABits int                     // 0 means 4096
	NoRSA      bool
	NoEC       bool
}

// Check returns why the request is refused, or nil.
func (p *Policy) Check(csr *x509.CertificateRequest) *cmc.Problem {
	if p == nil {
		p = &Policy{}
	}
	cn, problem := p.checkSubject(csr)
	if problem != nil {
		return problem
	}
	if problem := p.checkExtensions(csr, cn); problem != nil {
		return problem
	}
	return p.checkKey(csr)
}

func (p *Policy) checkSubject(csr *x509.CertificateRequest) (string, *cmc.Problem) {
	pattern := p.Subject
	if pattern == nil {
		pattern = phoneName
	}
	cns := commonNames(csr)
	if len(cns) != 1 || !pattern.MatchString(cns[0]) {
		return "", cmc.Deny(CodeSubject, cmc.BadRequest,
			fmt.Sprintf("subject %q is outside of what may be asked for here", csr.Subject),
			fmt.Sprintf("ask for a common name that matches %s (ra.voucher_subject)", pattern))
	}
	return cns[0], nil
}

func (p *Policy) checkExtensions(csr *x509.CertificateRequest, cn string) *cmc.Problem {
	allowed := p.Extensions
	if allowed == nil {
		allowed = []asn1.ObjectIdentifier{oidSubjectAltName, oidSubjectKeyID, oidKeyUsage, oidExtKeyUsage}
	}
	for _, e := range csr.Extensions {
		if !slices.ContainsFunc(allowed, e.Id.Equal) {
			return cmc.Deny(CodeExtension, cmc.UnsupportedExt, fmt.Sprintf("extension %s may not be asked for here", e.Id),
				"leave the extension out of the request; the CA adds what its template says")
		}
		if e.Id.Equal(oidSubjectAltName) && !p.AnyNames && !onlyURI(e.Value, cn) {
			return cmc.Deny(CodeNoSAN, cmc.BadRequest, "the request asks for other names than the subject's",
				"ask for no subjectAltName but the device name as URI")
		}
	}
	return nil
}

// onlyURI tells whether the subjectAltName holds nothing but URIs that are the common name, or the device name at its end.
func onlyURI(value []byte, cn string) bool {
	list, err := parseGeneralNames(value)
	return err == nil && !slices.ContainsFunc(list, func(n generalName) bool { return n.tag != tagURI || !repeatsURI(string(n.value), cn) })
}

func (p *Policy) checkKey(csr *x509.CertificateRequest) *cmc.Problem {
	low, high := p.MinRSABits, p.MaxRSABits
	if low == 0 {
		low = 2048
	}
	if high == 0 {
		high = 4096
	}
	what := fmt.Sprintf("a %T", csr.PublicKey)
	switch k := csr.PublicKey.(type) {
	case *rsa.PublicKey:
		what = fmt.Sprintf("RSA with %d bits", k.N.BitLen())
		if !p.NoRSA && k.N.BitLen() >= low && k.N.BitLen() <= high && k.E >= 3 && k.E%2 == 1 {
			return nil
		}
	case *ecdsa.PublicKey:
		what = "EC on " + k.Params().Name
		if !p.NoEC && k.Params().BitSize >= 256 {
			return nil
		}
	}
	fail := cmc.BadAlg
	return &cmc.Problem{
		ErrCode: CodeKey, Status: cmc.StatusFailed, FailInfo: fail, HTTP: http.StatusForbidden,
		Detail: fmt.Sprintf("the key is %s, which is not accepted here", what),
		Fix:    fmt.Sprintf("choose RSA with %d to %d bits or an EC key in the phone's CAPF settings: callsign phone set NAME --key", low, high),
	}
}
