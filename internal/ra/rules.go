package ra

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"callsign/chain"
	"callsign/est"
)

// Rules say what may be asked for under a label by simpleenroll, simplereenroll and serverkeygen. The zero value leaves all but
// the key to the CA. Vouched requests have a policy of their own ([Vouching.Policy]).
type Rules struct {
	// Subject is a regular expression for the whole common name, of which the request must have exactly one. Empty: any subject.
	Subject string
	// SubjectIsName demands that the one common name is the client's name.
	SubjectIsName bool
	// SubjectHas are attributes that the subject must have, as "O=Example": CN, O, OU, L, ST, C, DC, serialNumber, emailAddress or an
	// OID before the sign. An attribute of a type that stands here must have one of the values that stand here.
	SubjectHas []string
	// Names are what the subjectAltName may hold; each name must fit one of them. "any"; "none"; "subject": the common name
	// again, as DNS name, mail address, IP address or URI, or as URI the part behind its last hyphen-separated prefix;
	// "dns:PATTERN", "email:PATTERN", "uri:PATTERN" with * for any characters and ? for one, without regard to case; "ip:CIDR" or an
	// address. Empty: any.
	Names []string
	// Keys are the accepted keys: "rsa:3072", "rsa:2048-8192" (1024 to 8192 bits), "p-256", "p-384", "p-521", "ed25519". Empty:
	// DefaultKeys.
	Keys []string
	// Usages are the extended key usages that may be asked for: clientAuth, serverAuth, ipsecEndSystem, emailProtection, codeSigning,
	// timeStamping, OCSPSigning or an OID. Empty: any. A request that names none gets what the CA gives.
	Usages []string
}

// DefaultKeys are the keys that are accepted where Rules.Keys is empty.
func DefaultKeys() []string { return []string{"rsa:2048-8192", "p-256", "p-384", "p-521", "ed25519"} }

// CheckRules tells what is wrong with rules of a configuration; nil when they can be used. Errors begin with the key and
// quote the value.
func CheckRules(r Rules) error {
	_, err := compileRules(r, "")
	return err
}

// rules are Rules made ready for use.
type rules struct {
	label   string
	subject *regexp.Regexp // nil: any
	source  string         // of subject
	isName  bool
	has     []attribute
	names   *nameRules
	keys    keyRules
	usages  []usage // empty: any
}

func compileRules(r Rules, label string) (*rules, error) {
	c := &rules{label: label, source: r.Subject, isName: r.SubjectIsName}
	var err error
	if r.Subject != "" {
		if c.subject, err = regexp.Compile(`^(?:` + r.Subject + `)$`); err != nil {
			return nil, fmt.Errorf("subject: %q is no regular expression: %w", r.Subject, err)
		}
	}
	for _, s := range r.SubjectHas {
		a, err := parseAttribute(s)
		if err != nil {
			return nil, fmt.Errorf("subject_has: %w", err)
		}
		if !printableOnly(a) {
			return nil, fmt.Errorf("subject_has: %q has characters that such an attribute cannot have", s)
		}
		c.has = append(c.has, a)
	}
	if c.names, err = parseNameRules(r.Names); err != nil {
		return nil, fmt.Errorf("names: %w", err)
	}
	keys := r.Keys
	if len(keys) == 0 {
		keys = DefaultKeys()
	}
	if c.keys, err = parseKeyRules(keys); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	for _, s := range r.Usages {
		u, err := parseUsage(s)
		if err != nil {
			return nil, fmt.Errorf("usages: %w", err)
		}
		c.usages = append(c.usages, u)
	}
	return c, nil
}

// check returns why a request is refused, or nil. name is the client's name; others tells that the client sends the
// requests of others, so that its own name says nothing.
func (r *rules) check(csr *x509.CertificateRequest, name string, others bool) *est.Error {
	cns := commonNames(csr)
	if e := r.checkSubject(csr, cns, name, others); e != nil {
		return e
	}
	if e := r.checkNames(csr, cns); e != nil {
		return e
	}
	if e := r.checkKey(csr); e != nil {
		return e
	}
	return r.checkUsages(csr)
}

// deny is a refusal of a rule. may says what can be asked for.
func (r *rules) deny(code, key, what, may string) *est.Error {
	return &est.Error{
		Status: http.StatusForbidden, ErrCode: code, Text: what + "; " + may,
		Fix: fmt.Sprintf("let the device ask for what the rule allows (%s), or change the rule: %s", may, keyOf(r.label, key)),
	}
}

func (r *rules) checkSubject(csr *x509.CertificateRequest, cns []string, name string, others bool) *est.Error {
	byName := r.isName && !others
	if r.subject != nil || byName {
		key, may := "subject", fmt.Sprintf("the subject must have one common name that matches %s", r.source)
		if r.subject == nil {
			key, may = "subject_is_name", fmt.Sprintf("the subject must have one common name, which is the client's name %q", name)
		}
		switch {
		case slices.ContainsFunc(csr.Subject.Names, func(n pkix.AttributeTypeAndValue) bool {
			_, text := n.Value.(string)
			return !text && n.Type.Equal(oidCommonName)
		}):
			return r.deny(CodeSubjectDenied, key, "the common name of the subject is no text", may)
		case len(cns) != 1:
			return r.deny(CodeSubjectDenied, key, fmt.Sprintf("the subject %q has %d common names", clip(csr.Subject.String()), len(cns)), may)
		case r.subject != nil && !r.subject.MatchString(cns[0]):
			return r.deny(CodeSubjectDenied, key, fmt.Sprintf("the common name %q may not be asked for here", clip(cns[0])), may)
		}
	}
	if byName && (cns[0] != name || name == "") {
		return r.deny(CodeSubjectDenied, "subject_is_name", fmt.Sprintf("the common name %q is not the client's name", clip(cns[0])),
			fmt.Sprintf("the common name must be %q", name))
	}
	for _, want := range r.has {
		if !slices.ContainsFunc(attributesOf(csr), want.equal) {
			return r.deny(CodeSubjectDenied, "subject_has", fmt.Sprintf("the subject %q has no %s", clip(csr.Subject.String()), want), "the subject must have "+r.hasText())
		}
	}
	for _, a := range attributesOf(csr) {
		limited := slices.ContainsFunc(r.has, func(h attribute) bool { return h.oid.Equal(a.oid) })
		if limited && !slices.ContainsFunc(r.has, a.equal) {
			return r.deny(CodeSubjectDenied, "subject_has", fmt.Sprintf("the subject has %s", clip(a.String())),
				"attributes of this kind may only be "+r.hasText())
		}
	}
	return nil
}

func (r *rules) hasText() string {
	words := make([]string, len(r.has))
	for i, a := range r.has {
		words[i] = a.String()
	}
	return strings.Join(words, ", ")
}

// checkNames judges the subjectAltName, and what AD CS takes for a name besides.
func (r *rules) checkNames(csr *x509.CertificateRequest, cns []string) *est.Error {
	if r.names.any {
		return nil
	}
	may := "names may be: " + r.names.String()
	if r.names.none() {
		may = "the request must have no subjectAltName"
	}
	for _, e := range csr.Extensions { // crypto/x509 refuses a request that repeats one
		switch {
		case e.Id.Equal(oidSecurityID):
			return r.deny(CodeNameDenied, "names", "the request names an account by its security identifier (extension "+oidSecurityID.String()+")", may)
		case !e.Id.Equal(oidSubjectAltName):
			continue
		}
		list, err := parseGeneralNames(e.Value)
		if err != nil {
			return r.deny(CodeNameDenied, "names", "the subjectAltName of the request cannot be read: "+err.Error(), may)
		}
		for _, n := range list {
			if !r.names.allow(n, cns) {
				return r.deny(CodeNameDenied, "names", fmt.Sprintf("the name %s may not be asked for here", clip(n.String())), may)
			}
		}
	}
	return nil
}

func (r *rules) checkKey(csr *x509.CertificateRequest) *est.Error {
	if r.keys.allow(csr.PublicKey) {
		return nil
	}
	return r.deny(CodeKeyDenied, "keys", fmt.Sprintf("the key is %s, which is not accepted here", keyText(csr)), "keys may be: "+r.keys.String())
}

func (r *rules) checkUsages(csr *x509.CertificateRequest) *est.Error {
	if len(r.usages) == 0 {
		return nil
	}
	words := make([]string, len(r.usages))
	for i, u := range r.usages {
		words[i] = u.name
	}
	may := "extended key usages may be: " + strings.Join(words, ", ")
	for _, e := range csr.Extensions {
		if !e.Id.Equal(oidExtKeyUsage) {
			continue
		}
		list, ok := parseUsages(e.Value)
		if !ok {
			return r.deny(CodeUsageDenied, "usages", "the extended key usages of the request cannot be read", may)
		}
		for _, oid := range list {
			if !slices.ContainsFunc(r.usages, func(u usage) bool { return u.oid.Equal(oid) }) {
				return r.deny(CodeUsageDenied, "usages", fmt.Sprintf("the extended key usage %s may not be asked for here", usageName(oid)), may)
			}
		}
	}
	return nil
}

// leastRSA is the shortest RSA key that the rules accept, 0 when they accept none.
func (r *rules) leastRSA() int {
	least := 0
	for _, k := range r.keys {
		if k.kind == kindRSA && (least == 0 || k.low < least) {
			least = k.low
		}
	}
	return least
}

// commonNames are the common names of a request, in their order. One that is no text is the empty string.
func commonNames(csr *x509.CertificateRequest) []string {
	var cns []string
	for _, n := range csr.Subject.Names {
		if n.Type.Equal(oidCommonName) {
			s, _ := n.Value.(string)
			cns = append(cns, s)
		}
	}
	return cns
}

var (
	oidCommonName   = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidSerialNumber = asn1.ObjectIdentifier{2, 5, 4, 5}
	// oidSecurityID is the extension in which AD CS takes over an account's security identifier from a request.
	oidSecurityID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 25, 2}
)

// attribute is a part of a subject.
type attribute struct {
	word  string // "O", or the OID
	oid   asn1.ObjectIdentifier
	value string
}

func (a attribute) String() string { return a.word + "=" + a.value }

func (a attribute) equal(b attribute) bool { return a.oid.Equal(b.oid) && a.value == b.value }

// attributeWords are the types that have a word of their own.
var attributeWords = []struct {
	word string
	oid  asn1.ObjectIdentifier
}{
	{"CN", oidCommonName},
	{"serialNumber", oidSerialNumber},
	{"C", asn1.ObjectIdentifier{2, 5, 4, 6}},
	{"L", asn1.ObjectIdentifier{2, 5, 4, 7}},
	{"ST", asn1.ObjectIdentifier{2, 5, 4, 8}},
	{"O", asn1.ObjectIdentifier{2, 5, 4, 10}},
	{"OU", asn1.ObjectIdentifier{2, 5, 4, 11}},
	{"DC", asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}},
	{"emailAddress", asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}},
}

// parseAttribute reads "O=Example". Blanks around the parts do not count.
func parseAttribute(s string) (attribute, error) {
	word, value, ok := strings.Cut(s, "=")
	word, value = strings.TrimSpace(word), strings.TrimSpace(value)
	if !ok || value == "" {
		return attribute{}, fmt.Errorf(`%q is not of the form "O=Example"`, s)
	}
	for _, known := range attributeWords {
		if strings.EqualFold(word, known.word) {
			return attribute{word: known.word, oid: known.oid, value: value}, nil
		}
	}
	oid, ok := parseOID(word)
	if !ok {
		return attribute{}, fmt.Errorf("%q: %q is none of CN, O, OU, L, ST, C, DC, serialNumber, emailAddress and no OID", s, word)
	}
	return attribute{word: word, oid: oid, value: value}, nil
}

// attributesOf lists the attributes of a request's subject; a value that is no text is the empty string.
func attributesOf(csr *x509.CertificateRequest) []attribute {
	out := make([]attribute, 0, len(csr.Subject.Names))
	for _, n := range csr.Subject.Names {
		a := attribute{word: n.Type.String(), oid: n.Type}
		for _, known := range attributeWords {
			if known.oid.Equal(n.Type) {
				a.word = known.word
			}
		}
		a.value, _ = n.Value.(string)
		out = append(out, a)
	}
	return out
}

// parseOID reads an OID in dotted form.
func parseOID(s string) (asn1.ObjectIdentifier, bool) {
	parts := strings.Split(s, ".")
	if len(parts) < 2 || len(parts) > 32 {
		return nil, false
	}
	oid := make(asn1.ObjectIdentifier, len(parts))
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 31)
		if err != nil || strconv.FormatUint(n, 10) != p {
			return nil, false
		}
		oid[i] = int(n)
	}
	return oid, oid[0] <= 2 && (oid[0] == 2 || oid[1] < 40)
}

// usage is an extended key usage.
type usage struct {
	name string
	oid  asn1.ObjectIdentifier
}

// usageWords are the usages that have a word of their own.
var usageWords = []usage{
	{"serverAuth", asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}},
	{"clientAuth", asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}},
	{"codeSigning", asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 3}},
	{"emailProtection", asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 4}},
	{"ipsecEndSystem", asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 5}},
	{"timeStamping", asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}},
	{"OCSPSigning", asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 9}},
}

func parseUsage(s string) (usage, error) {
	for _, u := range usageWords {
		if strings.EqualFold(s, u.name) {
			return u, nil
		}
	}
	oid, ok := parseOID(s)
	if !ok {
		return usage{}, fmt.Errorf("%q is none of clientAuth, serverAuth, ipsecEndSystem, emailProtection, codeSigning, timeStamping, OCSPSigning and no OID", s)
	}
	return usage{name: usageName(oid), oid: oid}, nil
}

func usageName(oid asn1.ObjectIdentifier) string {
	for _, u := range usageWords {
		if u.oid.Equal(oid) {
			return u.name
		}
	}
	return oid.String()
}

// parseUsages reads the value of the extension extKeyUsage.
func parseUsages(value []byte) ([]asn1.ObjectIdentifier, bool) {
	in := cryptobyte.String(value)
	var seq cryptobyte.String
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !in.Empty() || seq.Empty() {
		return nil, false
	}
	var out []asn1.ObjectIdentifier
	for !seq.Empty() {
		var oid asn1.ObjectIdentifier
		if !seq.ReadASN1ObjectIdentifier(&oid) {
			return nil, false
		}
		out = append(out, oid)
	}
	return out, true
}

// The kinds of keys.
const (
	kindRSA     = "rsa"
	kindEC      = "ec"
	kindEd25519 = "ed25519"
)

// keyRule is one accepted kind of key.
type keyRule struct {
	text      string
	kind      string
	low, high int // bits: of the modulus, or both of the curve
}

type keyRules []keyRule

func (k keyRules) String() string {
	words := make([]string, len(k))
	for i, r := range k {
		words[i] = r.text
	}
	return strings.Join(words, ", ")
}

// Bounds of RSA keys that rules can allow.
const (
	leastRSABits = 1024
	mostRSABits  = 8192
)

func parseKeyRules(list []string) (keyRules, error) {
	var out keyRules
	for _, s := range list {
		r := keyRule{text: strings.ToLower(s)}
		switch text := r.text; text {
		case "p-256", "p-384", "p-521":
			bits, _ := strconv.Atoi(text[2:])
			r.kind, r.low, r.high = kindEC, bits, bits
		case "ed25519":
			r.kind = kindEd25519
		default:
			sizes, ok := strings.CutPrefix(text, "rsa:")
			low, high, isRange := strings.Cut(sizes, "-")
			if !isRange {
				high = low
			}
			var lowErr, highErr error
			r.kind = kindRSA
			r.low, lowErr = strconv.Atoi(low)
			r.high, highErr = strconv.Atoi(high)
			if !ok || lowErr != nil || highErr != nil || r.low < leastRSABits || r.high > mostRSABits || r.low > r.high {
				return nil, fmt.Errorf("%q is none of rsa:BITS, rsa:LEAST-MOST (%d to %d), p-256, p-384, p-521 and ed25519", s, leastRSABits, mostRSABits)
			}
		}
		out = append(out, r)
	}
	return out, nil
}

// allow tells whether a key is accepted.
func (k keyRules) allow(pub any) bool {
	kind, bits := "", 0
	switch key := pub.(type) {
	case *rsa.PublicKey:
		kind, bits = kindRSA, key.N.BitLen()
		if key.E < 3 || key.E%2 == 0 {
			return false
		}
	case *ecdsa.PublicKey:
		if name := key.Params().Name; name != "P-256" && name != "P-384" && name != "P-521" {
			return false
		}
		kind, bits = kindEC, key.Params().BitSize
	case ed25519.PublicKey:
		kind = kindEd25519
	}
	return slices.ContainsFunc(k, func(r keyRule) bool { return r.kind == kind && bits >= r.low && bits <= r.high })
}

// clip cuts what a peer chose to a length that fits into a line.
func clip(s string) string {
	const most = 120
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	return s
}

// keyText says of what kind the key of a request is.
func keyText(csr *x509.CertificateRequest) string {
	return chain.KeyText(csr.PublicKey, csr.PublicKeyAlgorithm)
}

// UsageOIDs returns the extended key usages of Rules.Usages as OIDs.
func UsageOIDs(words []string) ([]asn1.ObjectIdentifier, error) {
	var out []asn1.ObjectIdentifier
	for _, w := range words {
		u, err := parseUsage(w)
		if err != nil {
			return nil, fmt.Errorf("usages: %w", err)
		}
		out = append(out, u.oid)
	}
	return out, nil
}
