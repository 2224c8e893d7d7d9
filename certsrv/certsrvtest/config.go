package certsrvtest

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// CA is the issuing authority behind the web pages. Implementations are safe for concurrent use.
type CA interface {
	// Issue signs a certificate and returns its DER. An error shows as "Error Constructing or Publishing Certificate".
	Issue(ctx context.Context, r Issuance) (der []byte, err error)
	// Certificates returns one chain per CA certificate, oldest first: element K is the chain of renewal index K, the
	// CA certificate itself first, then its issuers up to the root. The last element is the CA certificate in use.
	Certificates() [][]*x509.Certificate
}

// CRLSource is an optional power of a [CA]: it lets /certsrv/certcrl.crl answer. Without it that page is a 404.
type CRLSource interface {
	// CRL returns the DER of the base or delta CRL of the CA certificate with this renewal index.
	CRL(ctx context.Context, renewal int, delta bool) ([]byte, error)
}

// Issuance is what a [CA] is asked to certify, after the request and the template were checked.
type Issuance struct {
	PublicKey  []byte // DER SubjectPublicKeyInfo
	RawSubject []byte // DER Name
	// Extensions are those of the request that a CA may copy. What only a CA may say (basic constraints, authority key
	// identifier, CRL and AIA locations) and Microsoft's template extensions have been taken out.
	Extensions []pkix.Extension
	Template   string // common name of the template; empty on a standalone CA
	// CA tells that a subordinate CA is to be certified ([Template.SubCA]). Extensions then hold basic constraints and key
	// usage as well, and the certificate should have no extended key usage.
	CA bool
}

// AccountState tells whether a [User] may log in.
type AccountState int

// States of an account. The number that IIS logs for Basic follows; with NTLM each of them is SEC_E_LOGON_DENIED.
const (
	AccountOK         AccountState = iota // may log in
	AccountDisabled                       // 1331
	AccountMustChange                     // 1907
	AccountLocked                         // 1909
)

// User is an account that may log in. It never shows its password when printed or logged.
type User struct {
	Name     string // `DOMAIN\user`; a name without a domain belongs to [Config.Domain]
	Password string
	State    AccountState
}

// String implements fmt.Stringer without the password.
func (u User) String() string { return u.Name + ":[redacted]" }

// GoString implements fmt.GoStringer without the password.
func (u User) GoString() string { return u.String() }

// LogValue implements slog.LogValuer without the password.
func (u User) LogValue() slog.Value { return slog.StringValue(u.String()) }

// Template is a certificate template published on the simulated CA.
type Template struct {
	Name        string // common name: what a client sends in CertAttrib
	DisplayName string // shown on certrqxt.asp; empty: Name
	OID         string // dotted; empty: one is made up from the position in [Config.Templates]
	// Behaviour, when not zero, replaces [Config.Behaviour] for requests of this template.
	Behaviour Behaviour
	// RASignatures is msPKI-RA-Signature: how many signatures by certificates with the EKU Certificate Request Agent a
	// request must carry. With 0 a PKCS #10 that its key signed needs none, while a null-signed request and one on behalf
	// of somebody need one all the same: so one template serves both kinds.
	RASignatures int
	MinKeyBits   int // smallest RSA modulus in bits; 0: no limit. Says nothing of EC keys
	// MachineType hides the template from certrqxt.asp; it can be requested all the same.
	MachineType bool
	// BuildFromAD takes the subject from the directory: CN is the account's name. Default: subject in the request.
	BuildFromAD bool
	RequireSAN  bool // refuse requests without subjectAltName (0x80094803)
	// SubCA makes it the template of a subordinate certification authority, which AD CS calls "SubCA": basic constraints CA:TRUE with the path
	// length of PathLen, whatever the request asks for, key usage digitalSignature, keyCertSign and cRLSign, and the template's name in the
	// certificate (1.3.6.1.4.1.311.20.2).
	SubCA   bool
	PathLen int // with SubCA: how many CAs may stand below it; negative for no limit
	// Enrollers are the accounts with the Enroll right, as in [User.Name]; empty: everybody.
	Enrollers []string
}

// Lang is the language of the server's pages.
type Lang string

// Languages of the pages.
const (
	English Lang = "en"
	French  Lang = "fr"
)

func (l Lang) check() error {
	if l != "" && l != English && l != French {
		return fmt.Errorf("unknown language %q (en, fr)", string(l))
	}
	return nil
}

// Config is what [New] makes a [Server] of. CA is required; the zero value of every other field is described with it.
type Config struct {
	CA     CA
	CAName string // on the pages, after "--"; empty: common name of the CA certificate in use
	// Host is the host (and port, unless it is 443) of the Location header and of the Basic realm. Empty: the request's
	// Host header without ":443".
	Host string

	Users []User
	Basic bool // offer Basic
	NTLM  bool // offer NTLM. Neither Basic nor NTLM: NTLM, as on a fresh IIS role
	// Negotiate offers SPNEGO, with Kerberos in it where there is a Keytab, and NTLM. Neither Basic nor NTLM, but a Keytab: it
	// is offered before NTLM. For Negotiate alone see Conditions.Auth.
	Negotiate bool
	// Keytab is a keytab file with the keys of the service HTTP/host; empty: no Kerberos. A principal user@REALM logs in as
	// `DOMAIN\user`, also one that is not in Users. Of Users only State counts for Kerberos.
	Keytab []byte
	EPA    EPA // Extended Protection of logins over TLS; empty: off
	// RequireTLS answers plain HTTP with 403.4, as the role does once "Require SSL" is set.
	RequireTLS bool
	Domain     string
	DNSDomain  string // empty: lower-case Domain + ".test"
	Computer   string // NetBIOS name of the web server; empty: "CERTSRV"

	Templates  []Template
	Standalone bool // standalone CA: no template list, templates ignored, requests are pending unless Behaviour says otherwise
	Lang       Lang // empty: English
	// Behaviour applies to every request whose template has none of its own.
	Behaviour Behaviour
	// Conditions replace some of the settings above and add what does not belong to a healthy server; see also
	// [Scenario.Apply] and [Server.SetConditions].
	Conditions Conditions

	// AgentAnchors are the roots to which enrollment agents must chain; nil: the certificates of the CA.
	AgentAnchors []*x509.Certificate
	// RequireNullSigner refuses CMC whose first signer is not the no-signature one of RFC 5272 (0x80090006).
	RequireNullSigner bool
	// RefuseNull refuses every request that its key did not sign (0x80090006).
	RefuseNull bool
	// AcceptRFCNoSig accepts RFC 5272's no-signature PKCS #10 inside CMC beside Microsoft's null signature.
	AcceptRFCNoSig bool
	// AttributeSAN is EDITF_ATTRIBUTESUBJECTALTNAME2: a SAN: attribute adds names that the request does not have.
	AttributeSAN bool
	// TextContentType is the media type of certnew.cer for unknown user agents; empty: application/octet-stream.
	TextContentType string

	// IISLog gets IIS's W3C log lines (CRLF, UTC), a header first; nil: none. Writes are serialised.
	IISLog io.Writer
	// LogDir gets the same lines in files named u_exYYMMDD.log by UTC day; empty: none. The directory must exist.
	LogDir string
	// StateDir keeps the requests over restarts, in a file requests.jsonl; empty: nothing is kept. It must exist.
	StateDir string
	// FirstRequestID is the id of the first request of a new CA; 0: 1.
	FirstRequestID int

	Now    func() time.Time // nil: time.Now
	Random io.Reader        // challenges and session cookies; nil: crypto/rand
	Log    *slog.Logger     // nil: discarded
}

func (c *Config) check() error {
	var errs []error
	if c.CA == nil {
		errs = append(errs, errors.New("no CA"))
	} else if chains := c.CA.Certificates(); len(chains) == 0 || slices.ContainsFunc(chains, func(ch []*x509.Certificate) bool { return len(ch) == 0 }) {
		errs = append(errs, errors.New("the CA has no certificate, or an empty chain"))
	}
	for _, err := range []error{c.Lang.check(), c.EPA.check(), c.Conditions.check(), c.canOffer(c.Conditions.Auth)} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	seen := map[string]bool{}
	for _, t := range c.Templates {
		name := strings.ToLower(t.Name)
		switch {
		case name == "" || strings.ContainsAny(name, "; \t\r\n\"<>&"):
			errs = append(errs, fmt.Errorf("template name %q is empty or has a character that a template name cannot have", t.Name))
		case seen[name]:
			errs = append(errs, fmt.Errorf("template %q is there twice", t.Name))
		case strings.ContainsAny(t.DisplayName, "<>&\r\n"):
			errs = append(errs, fmt.Errorf("display name %q has a character that pages cannot show", t.DisplayName))
		}
		seen[name] = true
		if t.OID != "" {
			if _, err := x509.ParseOID(t.OID); err != nil {
				errs = append(errs, fmt.Errorf("template %s: OID %q: %w", t.Name, t.OID, err))
			}
		}
		if err := t.Behaviour.check(); err != nil {
			errs = append(errs, fmt.Errorf("template %s: %w", t.Name, err))
		}
	}
	if err := c.Behaviour.check(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// canOffer tells whether the server has what it needs for these ways to log in.
func (c *Config) canOffer(auth Schemes) error {
	if auth.has(schemeKerberos) && len(c.Keytab) == 0 {
		return errors.New("kerberos cannot be offered without a keytab (Config.Keytab)")
	}
	return nil
}
