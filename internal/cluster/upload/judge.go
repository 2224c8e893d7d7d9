package upload

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"callsign/chain"
	"callsign/internal/cluster/purpose"
)

// SameName says when two certificates of a trust store count as one, so that the newer replaces the older.
type SameName string

// The rules of names.
const (
	BySubject    SameName = "subject" // one subject by RFC 5280 7.1; the default
	ByCommonName SameName = "cn"      // one common name
	ByKeyID      SameName = "keyid"   // one subject and one subject key identifier: two CAs of one name are kept
)

// EKU says what a missing extended key usage does.
type EKU string

// The rules.
const (
	EKUWarn    EKU = "warn" // the default
	EKUEnforce EKU = "enforce"
)

// Policy is what an administrator chooses. The zero value is the default.
type Policy struct {
	SameName SameName
	EKU      EKU
	Profile  purpose.Profile // key usage expected when the request does not say
	Legacy   bool            // messages of older releases, which tell less
}

// Settings that are not chosen.
const (
	soon  = 30 * 24 * time.Hour // before notAfter, from when on EXPIRES_SOON is given
	ahead = 5 * time.Minute     // how far a clock may be behind the CA's
	// MinRSABits is the least RSA key that a path may have; below 2048 bits the own certificate gets a warning.
	MinRSABits  = 1024
	goodRSABits = 2048
)

// Judge is what a file is judged by.
type Judge struct {
	Purpose string                   // "tomcat", or the trust store "tomcat-trust"
	Request *x509.CertificateRequest // that waits; nil when none does. Trust stores do not look at it
	Trust   []*chain.Certificate     // the trust store of the purpose; what has nothing to do with the file may be left out
	Policy  Policy
	At      time.Time // of the judgement; not zero
	Context Context
}

// Other is something else that has the key of a certificate.
type Other struct {
	What string // "the request of tomcat@cucmsub"
	Fix  string // what to do then; "" is what is always said
}

// Context is what is known of the cluster. The zero value knows nothing, and then nothing that needs it is said.
type Context struct {
	NotHere string   // why the purpose or store is not on the node; empty when it is
	Names   []string // FQDNs of the nodes that the certificate will serve
	Twin    Twin
	Retired []Retired        // requests that were replaced or deleted
	Others  map[string]Other // what else has a key, by the SHA-256 of its SubjectPublicKeyInfo
	// Recent are purposes that changed so shortly before that phones may not be back.
	Recent []string
}

// Twin is the certificate of the purpose with the other kind of key.
type Twin struct {
	Purpose    string // empty: there is none
	SelfSigned bool
}

// Retired is a request that does not wait any more.
type Retired struct {
	KeyHash string    // SHA-256 of its SubjectPublicKeyInfo in lower-case hexadecimal
	Created time.Time // when it was made
	Ended   time.Time // when it was replaced or deleted
}

// Result is the judgement of a file.
type Result struct {
	Verdict  Verdict
	Code     Code   // of the first reason; empty unless Rejected
	Message  string // of the first reason, in the call manager's words where they are known
	Warnings []Warning
	Reasons  []Reason // everything that refuses the file, in the order of the checks

	Leaf   *chain.Certificate   // the identity certificate; nil for a trust store, or when there is none
	Add    []*chain.Certificate // what goes into the trust store
	Remove []*chain.Certificate // what of the trust store makes place for that
	Path   []*chain.Certificate // of the leaf, leaf first; empty unless Accepted
}

// Warning is something worth knowing that refuses nothing.
type Warning struct {
	Code   Code
	Detail string // the name behind the colon: "clientAuth"; empty for most
	Text   string // what it means here, with names and values
	Fix    string // what to do
}

// String returns the code with its detail: "EKU_MISSING:clientAuth".
func (w *Warning) String() string {
	if w.Detail == "" {
		return string(w.Code)
	}
	return string(w.Code) + missingSeparator + w.Detail
}

// Reason is a check that fails.
type Reason struct {
	Check   int // number of the check
	Code    Code
	Message string
	Values  []Value  // what was compared
	Causes  []string // likely ones, the likeliest first
	Fixes   []string // what to do, or ways to choose from
}

// Value is something that was compared.
type Value struct {
	Name string // "only_in_request"
	Text string
}

// judgement is one call of Judge.
type judgement struct {
	*Judge
	file     *File
	identity *purpose.Identity // nil for a trust store
	result   Result
}

// Judge judges a file.
func (j *Judge) Judge(f *File) *Result {
	d := &judgement{Judge: j, file: f}
	d.run()
	slices.SortStableFunc(d.result.Reasons, func(a, b Reason) int { return a.Check - b.Check })
	if r := &d.result; len(r.Reasons) > 0 {
		first := &r.Reasons[0]
		*r = Result{Verdict: Rejected, Code: first.Code, Message: first.Message, Reasons: r.Reasons, Leaf: r.Leaf}
		if j.Policy.Legacy && (first.Code == CSRMissing || first.Code == CSRKeyMismatch) {
			r.Message = legacyMessage(j.Purpose)
		}
	}
	return &d.result
}

// legacyMessage is what older releases say to a certificate without its request, and to one of another request.
func legacyMessage(p string) string {
	return "The file /usr/local/platform/upload/certs//" + p + ".der could not be uploaded."
}

func (d *judgement) refuse(check int, c Code, message string) *Reason {
	d.result.Reasons = append(d.result.Reasons, Reason{Check: check, Code: c, Message: message})
	return &d.result.Reasons[len(d.result.Reasons)-1]
}

func (d *judgement) warn(c Code, detail, text, fix string) {
	w := Warning{Code: c, Detail: detail, Text: text, Fix: fix}
	if !slices.ContainsFunc(d.result.Warnings, func(o Warning) bool { return o.Code == c && o.Detail == detail && o.Text == text }) {
		d.result.Warnings = append(d.result.Warnings, w)
	}
}

func (d *judgement) has(codes ...Code) bool {
	return slices.ContainsFunc(d.result.Reasons, func(r Reason) bool { return slices.Contains(codes, r.Code) })
}

func (r *Reason) value(name, text string) *Reason {
	if text != "" {
		r.Values = append(r.Values, Value{name, text})
	}
	return r
}

func (r *Reason) cause(texts ...string) *Reason {
	r.Causes = append(r.Causes, texts...)
	return r
}

func (r *Reason) fix(texts ...string) *Reason {
	r.Fixes = append(r.Fixes, texts...)
	return r
}

// run makes the checks in their order. Those that do not depend on another one that failed are all made.
func (d *judgement) run() {
	if d.file.reason != nil {
		d.result.Reasons = append(d.result.Reasons, *d.file.reason)
		return
	}
	if !d.purpose() {
		return
	}
	if d.identity == nil {
		d.trustUpload()
		return
	}
	if !d.pickLeaf() {
		return
	}
	d.leaf()
	after := d.chainOfFile()
	if !d.has(SelfSignedUpload) {
		d.path(after)
	}
	d.capf()
	if d.Policy.EKU == EKUEnforce {
		d.extKeyUsage()
	}
	if len(d.result.Reasons) == 0 {
		d.result.Verdict = Accepted
		d.warnings()
	}
}

// purpose is check 5.
func (d *judgement) purpose() bool {
	refuse := func(cause, fix string) bool {
		d.refuse(5, BadPurpose, "Invalid certificate type found").value("purpose", d.Purpose).cause(cause).fix(fix)
		return false
	}
	if purpose.IsStore(d.Purpose) {
		if _, ok := purpose.FindStore(d.Purpose); !ok {
			return refuse(fmt.Sprintf("there is no trust store %q", d.Purpose), "use one of "+strings.Join(purpose.StoreNames(), ", "))
		}
	} else {
		p, ok := purpose.Find(d.Purpose)
		if !ok {
			return refuse(fmt.Sprintf("there is no certificate purpose %q; capitals count", d.Purpose), "use one of "+strings.Join(purpose.Names(), ", "))
		}
		if !p.CSR {
			return refuse(p.Name+" is always self-signed", "make a new one with: callsign cert regen "+p.Name)
		}
		d.identity = p
	}
	if d.Context.NotHere != "" {
		return refuse(d.Context.NotHere, "name a node that has it with --node")
	}
	return true
}

// pickLeaf is check 6: the identity certificate is the one that issues no other in the file. Of the purposes only CAPF has a
// CA certificate.
func (d *judgement) pickLeaf() bool {
	var found []*chain.Certificate
	for _, c := range d.file.Certificates {
		issues := slices.ContainsFunc(d.file.Certificates, func(o *chain.Certificate) bool { return o != c && o.NamesIssuer(c) })
		if !issues && (d.identity.CA || !isCA(c)) {
			found = append(found, c)
		}
	}
	if d.identity.CA && len(found) > 1 && d.Request != nil {
		// A CA beside the path issues no other, either: the request tells which one is meant.
		found = slices.DeleteFunc(found, func(c *chain.Certificate) bool { return isCA(c) && !sameKey(c, d.Request) })
	}
	switch len(found) {
	case 1:
		d.result.Leaf = found[0]
		return true
	case 0:
		d.refuse(6, NoIdentity, "The file contains only CA certificates; upload it as "+d.identity.Trust).
			value("certificates", subjects(d.file.Certificates)).
			cause("the file is the CA's chain without the certificate itself", "the CA marked the certificate as a CA (basicConstraints CA:TRUE), as a self-signed one often is").
			fix("put the chain into the store first: callsign trust add "+d.identity.Trust+" FILE", "then upload the certificate itself as "+d.Purpose)
	default:
		d.refuse(6, MultipleIdentity, "The file contains more than one identity certificate").
			value("certificates", subjects(found)).
			cause("certificates of several nodes or purposes were put into one file").
			fix("leave the one certificate of this request in the file; its CA certificates may stay")
	}
	return false
}

// isCA reports whether basicConstraints mark a CA.
func isCA(c *chain.Certificate) bool { return c.X509().BasicConstraintsValid && c.X509().IsCA }

func subjects(certs []*chain.Certificate) string {
	var all []string
	for i, c := range certs {
		if i == mostTold {
			all = append(all, fmt.Sprintf("and %d more", len(certs)-i))
			break
		}
		all = append(all, c.Subject())
	}
	return strings.Join(all, "; ")
}

// stamp is a time in messages.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
