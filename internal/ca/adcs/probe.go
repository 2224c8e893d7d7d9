package adcs

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"callsign/certsrv"
	"callsign/cmc"
	"callsign/internal/ca"
)

// Shape is the form of a request to AD CS.
type Shape string

// The shapes, in the order in which a Probe tries them.
const (
	ShapePKCS10      Shape = "pkcs10"          // a PKCS#10 that its key signed
	ShapeSupplied    Shape = "cmc-supplied"    // CMC around a bare key; signers: none for the key, then the agent
	ShapeAgentOnly   Shape = "agent-only"      // CMC around a bare key; the agent is the only signer
	ShapeCMCSigned   Shape = "cmc-signed"      // CMC around a signed PKCS#10
	ShapePKCS7       Shape = "pkcs7-on-behalf" // PKCS #7 around a signed PKCS#10, on behalf of an account
	ShapeCMCOnBehalf Shape = "cmc-on-behalf"   // CMC around a bare key, on behalf of an account
)

// What a Probe asks for: the key is as long as those of phones.
const (
	probeKeyBits = 2048
	probeSubject = "Callsign probe " // and the shape
)

// Shapes returns every shape, in the order in which a Probe tries them.
func Shapes() []Shape {
	return []Shape{ShapePKCS10, ShapeSupplied, ShapeAgentOnly, ShapeCMCSigned, ShapePKCS7, ShapeCMCOnBehalf}
}

// String implements fmt.Stringer.
func (s Shape) String() string { return string(s) }

// Meaning says in words what is sent.
func (s Shape) Meaning() string {
	switch s {
	case ShapePKCS10:
		return "a request that its own key signed"
	case ShapeSupplied:
		return "a key that cannot sign, as CMC, signed by the agent beside a signer without signature"
	case ShapeAgentOnly:
		return "a key that cannot sign, as CMC, signed by the agent alone"
	case ShapeCMCSigned:
		return "a request that its own key signed, in CMC that the agent signed"
	case ShapePKCS7:
		return "a request that its own key signed, on behalf of an account, in PKCS #7 that the agent signed"
	case ShapeCMCOnBehalf:
		return "a key that cannot sign, on behalf of an account, in CMC that the agent signed"
	}
	return "unknown"
}

// Bare tells whether the shape is for a key that cannot sign, which is what phones have.
func (s Shape) Bare() bool { return s == ShapeSupplied || s == ShapeAgentOnly || s == ShapeCMCOnBehalf }

// ByAgent tells whether an enrollment agent signs.
func (s Shape) ByAgent() bool { return s != ShapePKCS10 }

// OnBehalf tells whether the request names the account that the certificate is for.
func (s Shape) OnBehalf() bool { return s == ShapePKCS7 || s == ShapeCMCOnBehalf }

// Trial is what became of one shape.
type Trial struct {
	Shape Shape
	// Outcome is the CA's word; 0 when there is none: the shape was not tried, or no answer came.
	Outcome   certsrv.Outcome
	RequestID string // the CA's number; empty for none
	// Status explains the HRESULT of a denial or error; its HResult is 0 when the CA gave none.
	Status      certsrv.Status
	Message     string            // the CA's own words, may be empty
	Certificate *x509.Certificate // when issued and delivered
	Subject     string            // that was asked for, by which the CA's manager finds the request
	Skipped     string            // why it was not tried; empty when it was
	Err         error             // why there is no word of the CA; nil when there is one, or when it was not tried
}

// Taken tells whether the CA takes this shape: it issued, or keeps the request for its manager, which it does only after
// the request has passed its rules.
func (t *Trial) Taken() bool {
	return t.Outcome == certsrv.Pending || t.Outcome == certsrv.Issued
}

// Code returns the stable code of a denial or of an error page of the CA; empty for other outcomes.
func (t *Trial) Code() string {
	switch t.Outcome {
	case certsrv.Denied:
		return certsrv.CodeDenied
	case certsrv.Failed:
		return certsrv.CodeFailed
	}
	return ""
}

// Refusal says what the CA answered in a denial or on an error page, in words with its own at the end.
func (t *Trial) Refusal() string {
	text := "the CA answers " + t.Outcome.String()
	if t.RequestID != "" {
		text += " to request " + t.RequestID
	}
	text += fmt.Sprintf(" (%s): %s", t.Shape, t.Status.Meaning)
	if t.Status.HResult != 0 {
		text += " (" + t.Status.HResult.Full() + ")"
	}
	if t.Message != "" {
		text += fmt.Sprintf("; the CA says: %q", t.Message)
	}
	return text
}

// Serial returns the serial number of the certificate as `certutil -revoke` takes it, in hex with an even number of digits;
// empty for none.
func (t *Trial) Serial() string { return Serial(t.Certificate) }

// Serial returns the serial number of a certificate as `certutil -revoke` takes it, in hex with an even number of digits;
// empty for nil.
func Serial(c *x509.Certificate) string {
	if c == nil {
		return ""
	}
	return hex.EncodeToString(c.SerialNumber.Bytes())
}

// Probe finds out in which shape a CA takes requests: it asks for a certificate of a throw-away key once in each. What the
// CA issues stays there until somebody revokes it, which web enrollment cannot do.
type Probe struct {
	Client    *certsrv.Client // needed
	Template  string          // needed, but at a standalone CA
	Requester string          // account for the shapes on behalf, `DOMAIN\NAME$`; empty: they are not tried
	// Agent signs; AgentChain begins with its certificate. Without them only a request that its own key signed is tried.
	Agent      crypto.Signer
	AgentChain []*x509.Certificate
	Now        func() time.Time // nil means time.Now
	Random     io.Reader        // nil means crypto/rand
	Begin      func(Shape)      // told before each request; may be nil
	Only       []Shape          // the shapes to try; nil means all
	CommonName string           // what is asked for; empty means "Callsign probe" and the shape
}

// Why a shape is not tried.
const (
	NoAgent            = "no enrollment agent"
	NoRequester        = "no account to ask for"
	NoAgentNoRequester = "no enrollment agent, and no account to ask for"

	notAsked = "not asked for"
	noAnswer = "the CA does not answer now"
)

// Plan says what Run would try, and why it would not try the others: trials without an outcome. It asks nobody.
func (p *Probe) Plan() []Trial {
	var trials []Trial
	for _, s := range Shapes() {
		trials = append(trials, Trial{Shape: s, Skipped: p.skips(s)})
	}
	return trials
}

// skips says why a shape would not be tried, empty when it would.
func (p *Probe) skips(s Shape) string {
	switch {
	case p.Only != nil && !slices.Contains(p.Only, s):
		return notAsked
	case s.OnBehalf() && p.Agent == nil && p.Requester == "":
		return NoAgentNoRequester
	case s.ByAgent() && p.Agent == nil:
		return NoAgent
	case s.OnBehalf() && p.Requester == "":
		return NoRequester
	}
	return ""
}

// Run tries every shape that can be tried, each once, and waits for nobody: a request that the CA keeps is reported as it
// is. The error says what would keep every shape from the CA (no connection, no login, no such template); the trials
// until then come with it. Errors of a single shape are in its Trial.
func (p *Probe) Run(ctx context.Context) ([]Trial, error) {
	now, random := p.Now, p.Random
	if now == nil {
		now = time.Now
	}
	if random == nil {
		random = rand.Reader
	}
	if err := checkTemplate(ctx, p.Client, p.Template); err != nil {
		return nil, refusal("AD CS web enrollment", err)
	}
	key, err := rsa.GenerateKey(random, probeKeyBits)
	if err != nil {
		return nil, unusable(err)
	}
	var trials []Trial
	stopped := ""
	for _, t := range p.Plan() {
		t.Skipped = cmp.Or(t.Skipped, stopped)
		if t.Skipped != "" {
			trials = append(trials, t)
			continue
		}
		if p.Begin != nil {
			p.Begin(t.Shape)
		}
		hopeless := p.try(ctx, &t, key, now(), random)
		if t.Err != nil && hopeless {
			return trials, t.Err
		}
		if hopeless {
			stopped = noAnswer
		}
		trials = append(trials, t)
	}
	return trials, nil
}

// try sends one shape. hopeless tells that no other shape would fare better now.
func (p *Probe) try(ctx context.Context, t *Trial, key *rsa.PrivateKey, now time.Time, random io.Reader) (hopeless bool) {
	name := pkix.Name{CommonName: cmp.Or(p.CommonName, probeSubject+t.Shape.String())}
	t.Subject = name.String()
	der, err := p.request(t.Shape, name, key, now, random)
	if err != nil {
		t.Err = unusable(err)
		return true
	}
	answer, err := p.Client.Enroll(ctx, certsrv.EnrollOptions{Submission: certsrv.Submission{Request: der, Template: p.Template}})
	if answer.Outcome == certsrv.Denied && answer.HResult == 0 && answer.RequestID != "" && err == nil {
		// The page of a denial may leave the reason out; the request's own page has it.
		if again, err := p.Client.Fetch(ctx, answer.RequestID); err == nil && again.Outcome == certsrv.Denied {
			answer = again
		}
	}
	t.Outcome, t.RequestID, t.Certificate, t.Message = answer.Outcome, answer.RequestID, answer.Certificate, answer.Message
	if problem, ok := errors.AsType[*certsrv.Problem](err); ok {
		return p.failed(t, problem)
	}
	if err != nil {
		t.Err = unusable(err)
		return true
	}
	if t.Certificate != nil && !certifies(t.Certificate, key) {
		t.Err = &ca.Error{
			ErrCode: CodeOtherKey, Final: true, Detail: "request " + t.RequestID + " of the CA has a certificate for another key",
			Fix: "look the request up in the CA console",
		}
		return false
	}
	if problem := answer.Problem(); problem != nil {
		lookup := certsrv.LookupHResult
		if t.Shape.ByAgent() {
			lookup = certsrv.LookupAgentHResult
		}
		if answer.HResult != 0 {
			t.Status, _ = lookup(answer.HResult)
		} else {
			t.Status = certsrv.Status{Meaning: "the CA gives no reason", Remedy: problem.Fix}
		}
		return problem.Retryable
	}
	return false
}

// failed records why there is no word of the CA.
func (p *Probe) failed(t *Trial, problem *certsrv.Problem) (hopeless bool) {
	e := refusal("request in the shape "+t.Shape.String(), problem)
	t.Err = e
	if problem.AnswerLost {
		e.Fix = fmt.Sprintf("the CA may have issued all the same: look in the CA console for the subject %s, and revoke what is there", t.Subject)
	}
	switch problem.ErrCode {
	case certsrv.CodeServerError, certsrv.CodeUnexpectedPage, certsrv.CodeNotDelivered, certsrv.CodeTooLarge, certsrv.CodeBadRequest:
		// The server stumbled over this message, or over its answer; the next one is another.
		return false
	}
	return true
}

// refusal is why web enrollment could not be asked, as ours.
func refusal(what string, err error) *ca.Error {
	problem, ok := errors.AsType[*certsrv.Problem](err)
	if !ok {
		return unusable(err)
	}
	return &ca.Error{ErrCode: problem.ErrCode, Detail: what, Fix: Remedy(problem), Timeout: problem.Timeout, Err: problem}
}

// request writes one shape.
func (p *Probe) request(s Shape, name pkix.Name, key *rsa.PrivateKey, now time.Time, random io.Reader) ([]byte, error) {
	var csr []byte
	var err error
	if s.Bare() {
		csr, err = bareRequest(name, key.Public())
	} else {
		csr, err = x509.CreateCertificateRequest(random, &x509.CertificateRequest{Subject: name}, key)
	}
	if err != nil {
		return nil, err
	}
	switch s {
	case ShapePKCS10:
		return csr, nil
	case ShapeSupplied:
		return cmc.ADCSRequest(csr, p.Template, cmc.Supplied, p.Agent, p.AgentChain, now, random)
	case ShapeAgentOnly, ShapeCMCSigned:
		return cmc.ADCSRequest(csr, p.Template, cmc.AgentOnly, p.Agent, p.AgentChain, now, random)
	case ShapePKCS7:
		return cmc.PKCS7OnBehalf(csr, p.Requester, p.Agent, p.AgentChain, now, random)
	case ShapeCMCOnBehalf:
		return cmc.ADCSOnBehalfRequest(csr, p.Template, p.Requester, cmc.Supplied, p.Agent, p.AgentChain, now, random)
	}
	return nil, fmt.Errorf("unknown shape %q", s)
}

func certifies(c *x509.Certificate, key crypto.Signer) bool {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	return err == nil && ca.CertifiesKey(c, spki)
}

func bareRequest(name pkix.Name, key crypto.PublicKey) ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	subject, err := asn1.Marshal(name.ToRDNSequence())
	if err != nil {
		return nil, err
	}
	return cmc.NullSignedRaw(spki, subject, nil, cmc.Microsoft)
}

// Setting is a key of section [adcs] and the value to write, as in the configuration file.
type Setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Best returns the shape to use for bare keys, or for signed requests: the first that the CA takes, one that it issued for
// before one that waits for its manager. False when it takes none.
func Best(trials []Trial, bare bool) (Trial, bool) {
	for _, outcome := range []certsrv.Outcome{certsrv.Issued, certsrv.Pending} {
		i := slices.IndexFunc(trials, func(t Trial) bool { return t.Shape.Bare() == bare && t.Outcome == outcome })
		if i >= 0 {
			return trials[i], true
		}
	}
	return Trial{}, false
}

// Settings says what to write into section [adcs] after a Probe on behalf of requester, which may be empty. It is empty
// when the CA takes nothing.
func Settings(trials []Trial, requester string) []Setting {
	var out []Setting
	named := false
	set := func(t Trial, key, value string) {
		out = append(out, Setting{key, value})
		named = named || t.Shape.OnBehalf()
	}
	if best, ok := Best(trials, true); ok {
		set(best, "adcs.vouch", vouchWord(best.Shape))
	}
	if best, ok := Best(trials, false); ok {
		set(best, "adcs.sign_requests", signWord(best.Shape))
	}
	if named {
		out = append(out, Setting{"adcs.requester", accountPattern(requester)})
	}
	return out
}

// vouchWord is the value of adcs.vouch that sends a shape for bare keys.
func vouchWord(s Shape) string {
	if s == ShapeCMCOnBehalf {
		return "on-behalf"
	}
	return s.String()
}

// signWord is the value of adcs.sign_requests that sends a shape for signed requests.
func signWord(s Shape) string {
	switch s {
	case ShapeCMCSigned:
		return "cmc"
	case ShapePKCS7:
		return "pkcs7"
	}
	return "off"
}

// accountPattern puts the common name of a request in the place of the account that was tried.
func accountPattern(account string) string {
	domain, user, _ := strings.Cut(account, `\`)
	pattern := domain + `\{name}`
	if strings.HasSuffix(user, "$") {
		pattern += "$"
	}
	return pattern
}
