package ra

import (
	"crypto/x509"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"callsign/chain"
	"callsign/est"
	"callsign/internal/ca"
	"callsign/internal/enroll"
)

// Authentication says what a client must show of itself.
type Authentication int

// The forms of authentication. They hold for simpleenroll and serverkeygen; simplereenroll wants the certificate that is to be
// renewed in any case, and the password besides with AuthPassword and AuthBoth. fullcmc is authenticated by its signature.
const (
	// AuthAny takes a client certificate or a password. The zero value.
	AuthAny Authentication = iota
	// AuthCertificate takes a client certificate; passwords are not looked at.
	AuthCertificate
	// AuthPassword takes a password; certificates are not looked at.
	AuthPassword
	// AuthBoth wants a client certificate and a password.
	AuthBoth
)

// ParseAuthentication reads "any", "certificate", "password" or "both"; the empty string is "any".
func ParseAuthentication(s string) (Authentication, error) {
	switch s {
	case "", "any":
		return AuthAny, nil
	case "certificate":
		return AuthCertificate, nil
	case "password":
		return AuthPassword, nil
	case "both":
		return AuthBoth, nil
	}
	return 0, fmt.Errorf("authentication: %q is none of any, certificate, password and both", s)
}

// certificate tells whether a client certificate is demanded.
func (a Authentication) certificate() bool { return a == AuthCertificate || a == AuthBoth }

// password tells whether a password is demanded.
func (a Authentication) password() bool { return a == AuthPassword || a == AuthBoth }

// Label is what stands behind one EST label: a profile of its own. The zero value of each field but Authority is usable.
type Label struct {
	// Name is the label as in the path: /.well-known/est/NAME/simpleenroll. Empty for requests without a label.
	Name string
	// Authority issues; needed. It chooses the template or validity of a label by the label's name, which each request carries.
	Authority ca.Authority
	EST       est.Profile // how EST serves it

	Authentication Authentication
	Users          *Users              // HTTP users; nil: none. Labels may share one.
	ClientCAs      []*x509.Certificate // anchors of client certificates; empty: none are accepted
	// CALogin checks passwords of users who are not in Users by logging in to the authority, when that is a ca.LoginChecker.
	CALogin bool
	// ClientName is a regular expression that finds the client's name in its certificate: the first group, else all of the
	// match, in the common names, then the DNS names, URIs and mail addresses, then the whole subject (RFC 4514). A
	// certificate in which it finds nothing is refused. Empty: the common name, or the whole subject when there is not exactly one.
	// The name of a client with a password alone is the user's.
	ClientName string
	// Clients are patterns of names that may enrol, with * for any characters and ? for one; empty: every client that
	// authenticates.
	Clients []string
	// Registrars are clients that may send the requests of others (RFC 7030 section 3.7): SHA-256 fingerprints or subjects (RFC
	// 4514) of certificates that the label's CA has issued with the purpose id-kp-cmcRA. No links are compared for them, the names of
	// simplereenroll need not be their own, and Clients and Rules.SubjectIsName say nothing about them.
	Registrars []string
	Rules      Rules       // what may be asked for
	Rate       enroll.Rate // new requests of one client; the zero value is without limit
	// Approval keeps each new request until an administrator lets it go.
	Approval bool
	// ReenrollGrace is how long after its end a certificate can still be renewed; 0: not at all.
	ReenrollGrace time.Duration
	// Former are earlier certificates of the authority that it no longer tells of. What they issued can be renewed.
	Former []*x509.Certificate
}

// label is a Label made ready for use.
type label struct {
	Label
	rules      *rules
	clients    clients
	registrars func(*x509.Certificate) bool
	former     []*x509.Certificate
	anchors    *chain.Store
	limit      *limiter
	checked    atomic.Bool // the authority was asked whether it would issue

	tried     chan struct{} // closed when the authority was asked for its chain for the first time and has answered or not
	triedOnce sync.Once
}

// prepare compiles a label. Errors say which key and value.
func prepare(l Label) (*label, error) {
	p := &label{Label: l, former: issuers(l.Former), limit: &limiter{rate: l.Rate}, tried: make(chan struct{})}
	p.anchors = newAnchors(l.ClientCAs, l.file("client_ca_file", "est.client_ca_file"))
	var err error
	if p.rules, err = compileRules(l.Rules, l.Name); err != nil {
		return nil, err
	}
	if p.clients, err = compileClients(l.ClientName, l.Clients); err != nil {
		return nil, err
	}
	if p.registrars, err = allowList("registrars", l.Registrars); err != nil {
		return nil, err
	}
	// What the rules allow must get past the form of EST.
	if least := p.rules.leastRSA(); least > 0 && (p.EST.CSR.MinRSABits == 0 || least < p.EST.CSR.MinRSABits) {
		p.EST.CSR.MinRSABits = least
	}
	return p, nil
}

// key names a key of the label's section in the configuration.
func (l *Label) key(name string) string { return keyOf(l.Name, name) }

func keyOf(label, name string) string { return sectionOf(label) + " " + name }

// sectionOf is the section of the configuration where a label stands.
func sectionOf(label string) string {
	if label == "" {
		return "[ra]"
	}
	return "[label." + label + "]"
}

// file names a key of the label's section for which section [est] has one that counts where the label has none.
func (l *Label) file(name, otherwise string) string {
	return l.key(name) + " (or " + otherwise + ")"
}
