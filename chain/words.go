package chain

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
)

// OpenSSL is a fault in OpenSSL's terms: logs of OpenSSL, nginx, curl and Traffic Server have these.
type OpenSSL struct {
	Number       int    // X509_V_ERR_* of OpenSSL 3; 0 when OpenSSL has nothing like it
	LegacyNumber int    // of OpenSSL 1.1.1, which differs for issuer_not_ca only
	Text         string // as OpenSSL 3 writes it
	Legacy       string // as OpenSSL 1.1.1 wrote it
	Depth        int    // as OpenSSL counts: 0 is the leaf
}

// opensslWords are edge specification section 8, by code; what depends on rule or depth is in Fault.OpenSSL.
var opensslWords = map[Code]OpenSSL{
	SelfSigned:               {Number: 18, Text: "self-signed certificate", Legacy: "self signed certificate"},
	UnknownRoot:              {Number: 19, Text: "self-signed certificate in certificate chain", Legacy: "self signed certificate in certificate chain"},
	UnknownIssuer:            {Number: 20, Text: "unable to get local issuer certificate"},
	IncompleteAnchor:         {Number: 2, Text: "unable to get issuer certificate"},
	Expired:                  {Number: 10, Text: "certificate has expired"},
	NotYetValid:              {Number: 9, Text: "certificate is not yet valid"},
	BadSignature:             {Number: 7, Text: "certificate signature failure"},
	IssuerNotCA:              {Number: 79, LegacyNumber: 24, Text: "invalid CA certificate"},
	PathLength:               {Number: 25, Text: "path length constraint exceeded"},
	NameConstraints:          {Number: 47, Text: "permitted subtree violation"},
	WrongUsage:               {Number: 26, Text: "unsuitable certificate purpose", Legacy: "unsupported certificate purpose"},
	UnknownCriticalExtension: {Number: 34, Text: "unhandled critical extension"},
	WeakKey:                  {Number: 66, Text: "EE certificate key too weak"},
	WeakSignature:            {Number: 68, Text: "CA signature digest algorithm too weak"},
	Revoked:                  {Number: 23, Text: "certificate revoked"},
	NoCRL:                    {Number: 3, Text: "unable to get certificate CRL"},
	StaleCRL:                 {Number: 12, Text: "CRL has expired"},
	NameMismatch:             {Number: 62, Text: "hostname mismatch", Legacy: "Hostname mismatch"},
	TooComplex:               {Number: 22, Text: "certificate chain too long"},
}

// opensslRules are the words that depend on the rule.
var opensslRules = map[string]OpenSSL{
	ruleNamesExcluded.Name: {Number: 48, Text: "excluded subtree violation"},
	ruleNamesUnknown.Name:  {Number: 51, Text: "unsupported name constraint type"},
	rulePolicy.Name:        {Number: 43, Text: "no explicit policy"},
	rulePolicyMapping.Name: {Number: 42, Text: "invalid or inconsistent certificate policy extension"},
	ruleKeySize.Name:       {},

	// What openssl verify -x509_strict says of rules of form.
	ruleCASubject.Name:         {Number: 84, Text: "Subject name empty"},
	ruleAuthorityKey.Name:      {Number: 85, Text: "Missing Authority Key Identifier"},
	ruleSubjectKey.Name:        {Number: 86, Text: "Missing Subject Key Identifier"},
	ruleSubjectAlt.Name:        {Number: 88, Text: "Subject empty and Subject Alt Name extension not critical"},
	ruleBasicCritical.Name:     {Number: 89, Text: "Basic Constraints of CA cert not marked critical"},
	ruleCAKeyUsagePresent.Name: {Number: 92, Text: "CA cert does not include key usage extension"},
	ruleVersion.Name:           {Number: 93, Text: "Using cert extension requires at least X509v3"},
}

// OpenSSL returns the fault in OpenSSL's terms.
func (f *Fault) OpenSSL() OpenSSL {
	w, ok := opensslRules[f.Rule]
	if !ok {
		w = opensslWords[f.Code]
	}
	switch {
	case f.Code == WeakKey && f.Depth > 0:
		w.Number, w.Text = 67, "CA certificate key too weak"
	case f.Code == NameMismatch && f.ip:
		w.Number, w.Text, w.Legacy = 64, "IP address mismatch", "IP address mismatch"
	}
	if w.Legacy == "" {
		w.Legacy = w.Text
	}
	if w.LegacyNumber == 0 {
		w.LegacyNumber = w.Number
	}
	w.Depth = f.Depth
	return w
}

// Curl is a failure in libcurl's terms.
type Curl struct {
	Code int // 51 for a name that does not match, 60 for everything else that is wrong with a certificate
	Text string
}

// Curl returns the failure as libcurl reports it: the number 51 or 60, and the text as it is in RA logs, with OpenSSL's
// words in the spelling of 1.1.1.
func (e *Error) Curl() Curl {
	const mismatch, refused = 51, 60
	f := &e.Faults[0]
	if f.Code == NameMismatch {
		common := ""
		if e.Leaf != nil && e.Leaf.x != nil {
			common = short(e.Leaf.x.Subject.CommonName)
		}
		return Curl{mismatch, fmt.Sprintf("SSL: certificate subject name '%s' does not match target host name '%s'", short(common), short(e.Name))}
	}
	text := f.OpenSSL().Legacy
	if text == "" {
		text = f.Detail
	}
	return Curl{refused, "SSL certificate problem: " + text}
}

// CurlCode returns the number of Curl: for packages that take an Error by its methods and do not import this one.
func (e *Error) CurlCode() int { return e.Curl().Code }

// CurlText returns the text of Curl.
func (e *Error) CurlText() string { return e.Curl().Text }

// LogAttrs returns all faults as attributes of a log record. Those of the first one are "fault" (its code), "subject",
// "depth" and, if there are any, "near" (its near misses); its text and remedy are the Error's own, and whoever logs has
// them already. Each further fault is a group "fault2", "fault3", ... with "code", "subject", "depth", "near", "err" and
// "remedy"; at most 12 in all.
func (e *Error) LogAttrs() []slog.Attr {
	first := &e.Faults[0]
	attrs := append([]slog.Attr{slog.String("fault", string(first.Code))}, first.logAttrs()...)
	for i := range e.Faults[1:min(len(e.Faults), mostLogged)] {
		f := &e.Faults[i+1]
		group := append([]slog.Attr{slog.String("code", string(f.Code))}, f.logAttrs()...)
		group = append(group, slog.String("err", f.Detail), slog.String("remedy", f.Remedy))
		attrs = append(attrs, slog.GroupAttrs("fault"+strconv.Itoa(i+2), group...))
	}
	return attrs
}

// mostLogged is how many faults a record has: a path of 20 certificates can have very many.
const mostLogged = 12

func (f *Fault) logAttrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("subject", f.Subject), slog.Int("depth", f.Depth)}
	if len(f.NearMisses) > 0 {
		attrs = append(attrs, slog.String("near", strings.Join(f.NearMisses, "; ")))
	}
	return attrs
}
