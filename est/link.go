package est

import (
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Values of tls-exporter (RFC 9266 section 2). The context is empty, which is not the same as none.
const (
	exporterLabel  = "EXPORTER-Channel-Binding"
	exporterLength = 32
)

// Links are the values that link a request to a TLS connection (RFC 7030 section 3.5), in base64 as they stand in a request.
type Links struct {
	// Unique is tls-unique (RFC 5929 section 3.1), 16 characters: TLS 1.2 has it. Empty on TLS 1.3, and on a connection
	// resumed without extended master secret.
	Unique string
	// Exporter is tls-exporter (RFC 9266), 44 characters: TLS 1.3 has it, and TLS 1.2 with extended master secret (RFC 7627).
	// Without that, tls-unique can be made equal on two connections by who is in between, too.
	Exporter string
}

// LinksOf returns the values of a connection; none for nil.
func LinksOf(cs *tls.ConnectionState) Links {
	var l Links
	if cs == nil || !cs.HandshakeComplete {
		return l
	}
	if len(cs.TLSUnique) > 0 {
		l.Unique = base64.StdEncoding.EncodeToString(cs.TLSUnique)
	}
	if value, err := cs.ExportKeyingMaterial(exporterLabel, []byte{}, exporterLength); err == nil {
		l.Exporter = base64.StdEncoding.EncodeToString(value)
	}
	return l
}

// Best is the value to put into a request: tls-unique where there is one, because every server knows it, else tls-exporter;
// empty when the connection has neither.
func (l Links) Best() string {
	if l.Unique != "" {
		return l.Unique
	}
	return l.Exporter
}

// Is tells whether value is one of the links.
func (l Links) Is(value string) bool {
	return l.Unique != "" && subtle.ConstantTimeCompare([]byte(value), []byte(l.Unique)) == 1 ||
		l.Exporter != "" && subtle.ConstantTimeCompare([]byte(value), []byte(l.Exporter)) == 1
}

// CompareLink looks for a link in the attributes of a request: estIdentityLinking, else challengePassword. present tells
// whether there is one, and right whether it is that of the connection. A request that is not signed is read as well.
func CompareLink(csr *x509.CertificateRequest, cs *tls.ConnectionState) (present, right bool) {
	info := cryptobyte.String(csr.RawTBSCertificateRequest)
	var fields, attributes cryptobyte.String
	if !info.ReadASN1(&fields, casn1.SEQUENCE) || !fields.SkipASN1(casn1.INTEGER) || !fields.SkipASN1(casn1.SEQUENCE) ||
		!fields.SkipASN1(casn1.SEQUENCE) || !fields.ReadASN1(&attributes, casn1.Tag(0).ContextSpecific().Constructed()) {
		return false, false
	}
	form, err := scanAttributes(attributes)
	if err != nil {
		return true, false // two values, or two that differ: whatever is meant, it is no link
	}
	value, present := form.link()
	return present, present && LinksOf(cs).Is(value)
}

// judgeLink compares the link of a request with its connection as the profile says, and tells whether it is linked.
func (x *exchange) judgeLink(form csrForm, who Identity) (bool, error) {
	mode := x.profile.Link
	if mode == LinkOff || who.Relays {
		return false, nil
	}
	value, present := form.link()
	if !present && mode == LinkOptional {
		return false, nil
	}
	links := LinksOf(x.r.TLS)
	switch {
	case x.forwarded:
		return false, unlinked(CodeLinkImpossible, "The request comes through a proxy, so it cannot be linked to the client's TLS connection.",
			`let the client connect without the proxy or leave the link out, or set link = "off" for this label`)
	case !present:
		return false, unlinked(CodeLinkMissing, "The certificate request must be linked to its TLS connection: challengePassword must hold its tls-unique value (tls-exporter on TLS 1.3) in base64.",
			`switch the link on at the client (callsign est enroll --link), or set link = "optional" for this label`)
	case links.Best() == "":
		return false, unlinked(CodeLinkImpossible, "This TLS connection has no value that a request could be linked with; connect without resuming an earlier session.",
			"let the client begin a new session, or use TLS with extended master secret (RFC 7627)")
	case mode == LinkRequired && links.Exporter == "":
		return false, unlinked(CodeLinkImpossible, "This TLS connection lacks the extended master secret (RFC 7627), without which a link proves nothing.",
			`update the client's TLS library, or set link = "optional" for this label`)
	case !links.Is(value):
		return false, unlinked(CodeLinkWrong, "The challengePassword of the certificate request is not the value of this TLS connection.",
			`make the request for the connection on which it is sent; or, when challengePassword is meant for the CA, set link = "off" for this label`)
	}
	return true, nil
}

func unlinked(code, text, fix string) *Error {
	return &Error{Status: http.StatusBadRequest, ErrCode: code, Text: text, Fix: fix}
}
