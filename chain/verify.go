package chain

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"time"
)

// The limits of work for one call of Verify. What goes beyond is reported as too_complex.
const (
	MaxSignatureChecks       = 100     // signatures verified, those of CRLs among them
	MaxPathLength            = 20      // certificates in a path, leaf and anchor among them
	MaxConstraintComparisons = 250_000 // names compared with subtrees of name constraints
	MaxRSABits               = 8192    // longer keys are not used

	maxLooked = 50_000 // certificates of an issuer's name looked at
	maxSteps  = 2000   // certificates added to a path while one is looked for
	maxPaths  = 64     // paths judged

	maxCRLOctets = 512 << 20 // octets of CRLs that are verified, each as often as it is
)

// Usage is what the first certificate is used for.
type Usage int

// The usages.
const (
	Server Usage = iota // TLS server: extended key usage serverAuth; the zero value
	Client              // TLS client: clientAuth
	CA                  // the first certificate is to be an issuer itself
	Any                 // extended key usage and key usage of the leaf are not looked at
	MIC                 // a phone's manufacturing certificate: as Client, and SHA-1 is accepted below anchors marked MIC
)

// String returns the name of the usage as it is given on the command line.
func (u Usage) String() string {
	switch u {
	case Client:
		return "client"
	case CA:
		return "ca"
	case Any:
		return "any"
	case MIC:
		return "mic"
	default:
		return "server"
	}
}

// NameRules says how the name that was asked for is compared.
type NameRules int

// The rules of names.
const (
	NamesRFC9525 NameRules = iota // the zero value
	// NamesATS accepts what Apache Traffic Server accepts besides, for migration: the first common name also beside a
	// subjectAltName, partial wildcards, an address as dNSName. Result.Notes say when a certificate passes only so.
	NamesATS
)

// Setting is a choice whose zero value leaves it to the profile.
type Setting int

// The settings.
const (
	ByProfile Setting = iota
	Allow
	Refuse
)

// Verifier judges certificates. The zero value trusts nothing; Anchors is all that most users set.
type Verifier struct {
	Anchors       *Store
	Intermediates []*Certificate // more certificates to build paths with, beside those presented; not trusted

	Profile Profile
	Usage   Usage
	Names   NameRules
	// CommonName says whether a certificate with neither dNSName nor iPAddress may be known by its one common name;
	// by profile it may in Deployment only.
	CommonName Setting
	// AnyUsage says whether anyExtendedKeyUsage stands for the usage; by profile it does but in WebPKI.
	AnyUsage Setting
	// PartialChain makes every certificate of the store an anchor, also one that is not self-signed.
	PartialChain bool
	// MinRSABits is the least length of RSA keys; 0 means 2048, and values below 1024 count as 1024.
	MinRSABits int

	// CRLs are used when they are at hand. With RequireCRL, a certificate without a current CRL of its issuer is a
	// fault as well; without it that is a note. A delta CRL, one of a distribution point that is not the certificate's or
	// one signed with SHA-1 revokes what it lists, and counts neither as current nor as a release from a hold.
	CRLs       []*x509.RevocationList
	RequireCRL bool

	// Pins are SHA-256 hashes of SubjectPublicKeyInfo. If there are any, the path has to contain one of them.
	Pins [][sha256.Size]byte

	// ClockSkew is how far dates may be off; 0 by default.
	ClockSkew time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Result is the judgement of one certificate.
type Result struct {
	// Path is the path that was judged, leaf first: the one without faults or else the one with the fewest. It ends at
	// the anchor, or where the next issuer is missing. It is empty only when nothing was presented.
	Path []*Certificate
	// Anchor is what the path ends in; nil when it reaches none.
	Anchor *Anchor
	// Faults are what is wrong, the most important one first; empty when the certificate is accepted.
	Faults []Fault
	// Notes are worth knowing and refuse nothing.
	Notes []Note
	// Name is what was asked for, in the form in which it was compared; empty for no name check.
	Name string
	// Time is the time of the judgement.
	Time time.Time
	// SignatureChecks is the number of signatures that were verified, or would have been if their algorithm or key were not
	// refused: at most MaxSignatureChecks.
	SignatureChecks int
}

// Note is something worth knowing about a certificate of the path.
type Note struct {
	Depth int
	Text  string
}

// OK reports whether the certificate is accepted.
func (r *Result) OK() bool { return len(r.Faults) == 0 }

// Err returns nil when the certificate is accepted, and otherwise an *Error with all faults.
func (r *Result) Err() error {
	if r.OK() {
		return nil
	}
	e := &Error{Faults: r.Faults, Name: r.Name}
	if len(r.Path) > 0 {
		e.Leaf = r.Path[0]
	}
	return e
}

// Verify judges the first of the presented certificates; the others, in any order, help to build its path. name is the
// DNS name or IP address that the certificate has to be for, empty for no name check; an IPv6 address may have brackets.
// It never fails: everything that is wrong is a fault of the Result. No element of presented may be nil.
func (v *Verifier) Verify(presented []*Certificate, name string) *Result {
	now := time.Now
	if v.Now != nil {
		now = v.Now
	}
	s := search{v: v, presented: presented, now: now()}
	r := &Result{Time: s.now, Name: name}
	if name != "" {
		s.reference = parseReference(name)
		r.Name = s.reference.text
	}
	if len(presented) == 0 {
		r.Faults = []Fault{newFault(&rulePresented, nil, 0, "no certificate was presented").
			fix("configure a certificate on the peer; a client shows one only when it is asked for and has one")}
		return r
	}
	if leaf := presented[0]; leaf.x == nil {
		r.Path = presented[:1]
		r.Faults = []Fault{s.unreadable(leaf, 0)}
		return r
	}
	s.run()
	r.Path, r.Anchor, r.Faults, r.Notes = s.best.path, s.best.anchor, s.best.faults, s.best.notes
	r.SignatureChecks = s.checks
	return r
}

// VerifyConnection returns a callback for tls.Config.VerifyConnection that judges what the peer of a connection has
// presented and refuses the connection with an *Error. name is as for Verify. The configuration must switch off crypto/tls' own check:
// InsecureSkipVerify for a client, ClientAuth RequireAnyClientCert for a server. log, if not nil, gets every Result.
func (v *Verifier) VerifyConnection(name string, log func(*Result)) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		r := v.Verify(OfAll(state.PeerCertificates), name)
		if log != nil {
			log(r)
		}
		return r.Err()
	}
}

// minRSABits is the least RSA length for a path that ends in a, which may be nil.
func (v *Verifier) minRSABits(a *Anchor) int {
	const least, usual = 1024, 2048
	bits := v.MinRSABits
	if a != nil && a.MinRSABits > 0 {
		bits = a.MinRSABits
	}
	if bits <= 0 {
		bits = usual
	}
	return max(bits, least)
}

func (v *Verifier) commonNameAllowed() bool {
	return v.CommonName == Allow || v.CommonName == ByProfile && v.Profile == Deployment
}

func (v *Verifier) anyUsageAllowed() bool {
	return v.AnyUsage == Allow || v.AnyUsage == ByProfile && v.Profile != WebPKI
}
