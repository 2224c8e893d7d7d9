package chain

import "slices"

// Code is the stable name of a fault. These names are shown to users, kept in records and used as metric labels; they
// never change and are never translated.
type Code string

// The codes of faults, in the order in which a Result reports them.
const (
	NoCertificate            Code = "no_certificate"             // nothing was presented
	Malformed                Code = "malformed"                  // a certificate does not parse, or breaks a rule of form
	TooComplex               Code = "too_complex"                // a limit of this package was reached
	SelfSigned               Code = "self_signed"                // the leaf is self-signed and not in the store
	UnknownRoot              Code = "unknown_root"               // the root was presented and is not in the store
	UnknownIssuer            Code = "unknown_issuer"             // the issuer is neither presented nor stored
	IncompleteAnchor         Code = "incomplete_anchor"          // a stored CA whose own issuer is missing
	BadSignature             Code = "bad_signature"              // damaged, or a CA of the same name with another key
	IssuerNotCA              Code = "issuer_not_ca"              // not marked as CA, or not for signing certificates
	PathLength               Code = "path_length"                // more CAs below a CA than it allows
	NameConstraints          Code = "name_constraints"           // a name outside of what a CA may certify
	UnknownCriticalExtension Code = "unknown_critical_extension" // critical, and nobody here knows what it means
	Revoked                  Code = "revoked"                    // listed in a CRL
	NoCRL                    Code = "no_crl"                     // CRLs are demanded and there is none
	StaleCRL                 Code = "stale_crl"                  // CRLs are demanded and the one at hand is out of date
	PinMismatch              Code = "pin_mismatch"               // no certificate of the path is the pinned one
	Expired                  Code = "expired"                    // after notAfter
	NotYetValid              Code = "not_yet_valid"              // before notBefore
	NameMismatch             Code = "name_mismatch"              // the name looked for is not in the certificate
	WrongUsage               Code = "wrong_usage"                // not issued for this use
	WeakKey                  Code = "weak_key"                   // too short, or of an unsuitable kind
	WeakSignature            Code = "weak_signature"             // SHA-1, MD5 or an unknown algorithm
)

var codes = []Code{
	NoCertificate, Malformed, TooComplex, SelfSigned, UnknownRoot, UnknownIssuer, IncompleteAnchor, BadSignature,
	IssuerNotCA, PathLength, NameConstraints, UnknownCriticalExtension, Revoked, NoCRL, StaleCRL, PinMismatch,
	Expired, NotYetValid, NameMismatch, WrongUsage, WeakKey, WeakSignature,
}

// Codes returns all codes, in the order in which a Result reports them: trust, dates, name, usage, key.
func Codes() []Code { return slices.Clone(codes) }

// rank is the place of a fault in a report. A certificate that does not parse comes first, whatever keeps it from parsing:
// nothing else can be said about it. Rules of form come last: whatever else is wrong matters more.
func (f *Fault) rank() int {
	switch {
	case f.unread:
		return slices.Index(codes, Malformed)
	case f.Code == Malformed:
		return len(codes)
	default:
		return slices.Index(codes, f.Code)
	}
}
