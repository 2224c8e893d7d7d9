package chain

// Profile chooses the rules that are applied. Each profile has all rules of the ones before it.
type Profile int

// The profiles.
const (
	Deployment Profile = iota // RFC 5280 section 6 and RFC 9525, with what is common in enterprises; the zero value
	Strict                    // what RFC 5280 section 4 demands of a conforming CA, and RFC 9525 without deviations
	WebPKI                    // what the CA/Browser Forum's baseline requirements ask of server certificates
)

// String returns the name of the profile as it is given on the command line.
func (p Profile) String() string {
	switch p {
	case Strict:
		return "strict"
	case WebPKI:
		return "webpki"
	default:
		return "deployment"
	}
}

// Rule is one requirement on a path. Fault.Rule names it.
type Rule struct {
	Name   string  // "validity_end"
	Code   Code    // of its faults
	Since  Profile // the first profile that has it
	Source string  // "RFC 5280 4.1.2.5"; "own" for a rule of this package
	Text   string  // what is required, in one sentence
}

// The rules. Conformance tests have a case that keeps and one that breaks each of them.
var (
	rulePresented    = Rule{"presented", NoCertificate, Deployment, "own", "A certificate is presented."}
	ruleSyntax       = Rule{"syntax", Malformed, Deployment, "RFC 5280 4.1", "Every certificate of the path is DER in the form of RFC 5280."}
	ruleSerialSyntax = Rule{"serial_negative", Malformed, Deployment, "RFC 5280 4.1.2.2", "The serial number is not negative."}
	ruleLimits       = Rule{"limits", TooComplex, Deployment, "own", "The path is found within the limits of work."}
	ruleKeySize      = Rule{"key_size_limit", TooComplex, Deployment, "own", "RSA keys have at most 8192 bits."}

	ruleSelfSigned    = Rule{"self_signed_stored", SelfSigned, Deployment, "RFC 5280 6.1", "A self-signed certificate is itself in the trust store."}
	ruleRootStored    = Rule{"root_stored", UnknownRoot, Deployment, "RFC 5280 6.1", "The root at the end of the path is in the trust store."}
	ruleIssuer        = Rule{"issuer_found", UnknownIssuer, Deployment, "RFC 5280 6.1.3 (a)(4)", "A certificate whose subject is the issuer's name was presented or is stored."}
	ruleKeyIdentifier = Rule{"key_identifier", UnknownIssuer, Deployment, "own; RFC 5280 4.2.1.1", "Where both are present, authority key identifier and the issuer's subject key identifier are equal."}
	ruleAnchor        = Rule{"anchor_complete", IncompleteAnchor, Deployment, "own", "A stored CA that is not self-signed has its own issuers in the store."}
	ruleSignature     = Rule{"signature", BadSignature, Deployment, "RFC 5280 6.1.3 (a)(1)", "The signature verifies with the issuer's key."}

	ruleCAVersion     = Rule{"ca_version", IssuerNotCA, Deployment, "RFC 5280 6.1.4 (k)", "A CA certificate below the anchor has version 3."}
	ruleAnchorVersion = Rule{"anchor_version", IssuerNotCA, Strict, "own", "The anchor has version 3 too."}
	ruleCABasic       = Rule{"ca_basic_constraints", IssuerNotCA, Deployment, "RFC 5280 6.1.4 (k)", "An issuer has basicConstraints with CA:TRUE."}
	ruleCAKeyUsage    = Rule{"ca_key_usage", IssuerNotCA, Deployment, "RFC 5280 6.1.4 (n)", "An issuer's keyUsage, if present, has keyCertSign."}
	rulePathLength    = Rule{"path_length", PathLength, Deployment, "RFC 5280 6.1.4 (l)(m)", "No more CAs stand below a CA than its pathLenConstraint allows; self-issued ones do not count."}

	ruleNamesPermitted   = Rule{"names_permitted", NameConstraints, Deployment, "RFC 5280 6.1.3 (b)", "Every name is within the permitted subtrees of the CAs above it."}
	ruleNamesExcluded    = Rule{"names_excluded", NameConstraints, Deployment, "RFC 5280 6.1.3 (c)", "No name is within an excluded subtree of a CA above it."}
	ruleNamesUnknown     = Rule{"names_understood", NameConstraints, Deployment, "RFC 5280 4.2.1.10", "No name is of a type whose constraints cannot be understood."}
	ruleCritical         = Rule{"critical_extension", UnknownCriticalExtension, Deployment, "RFC 5280 6.1.4 (o), 6.1.5 (f)", "Every critical extension below the anchor is understood."}
	ruleAnchorCritical   = Rule{"anchor_critical_extension", UnknownCriticalExtension, Strict, "own", "Every critical extension of the anchor is understood."}
	rulePolicy           = Rule{"certificate_policy", WrongUsage, Deployment, "RFC 5280 6.1.3 (d)(f), 6.1.5 (g)", "Where a policy is demanded, the path is valid for one."}
	rulePolicyMapping    = Rule{"policy_mapping", WrongUsage, Deployment, "RFC 5280 6.1.4 (a)", "No policy is mapped to or from anyPolicy."}
	ruleRevoked          = Rule{"not_revoked", Revoked, Deployment, "RFC 5280 6.3", "No certificate below the anchor is listed in its issuer's CRL."}
	ruleCRL              = Rule{"crl_available", NoCRL, Deployment, "RFC 5280 6.3", "Where CRLs are demanded, each issuer's CRL is at hand and verifies."}
	ruleCRLCurrent       = Rule{"crl_current", StaleCRL, Deployment, "RFC 5280 6.3.3", "Where CRLs are demanded, they are within their dates."}
	rulePin              = Rule{"pinned", PinMismatch, Deployment, "own", "Where keys are pinned, one of them is in the path."}
	ruleExpired          = Rule{"validity_end", Expired, Deployment, "RFC 5280 4.1.2.5", "The time of the judgement is not after notAfter, the anchor's too."}
	ruleNotYetValid      = Rule{"validity_begin", NotYetValid, Deployment, "RFC 5280 4.1.2.5", "The time of the judgement is not before notBefore, the anchor's too."}
	ruleReferenceName    = Rule{"reference_name", NameMismatch, Deployment, "RFC 9525 6", "The name that was asked for is in the certificate."}
	ruleExtendedKeyUsage = Rule{"extended_key_usage", WrongUsage, Deployment, "RFC 5280 4.2.1.12", "extendedKeyUsage, if present, allows the use; also in the CAs above."}
	ruleKeyUsage         = Rule{"key_usage", WrongUsage, Deployment, "RFC 5280 4.2.1.3", "The leaf's keyUsage, if present, allows the use."}
	ruleKeyStrength      = Rule{"key_strength", WeakKey, Deployment, "own", "RSA keys have at least 2048 bits, or what the policy says."}
	ruleKeyType          = Rule{"key_type", WeakKey, Deployment, "own", "Keys are RSA, EC on P-256, P-384 or P-521, or Ed25519."}
	ruleDigest           = Rule{"signature_algorithm", WeakSignature, Deployment, "own", "Signatures below the anchor use SHA-256 or better."}
	ruleAnchorDigest     = Rule{"anchor_signature_algorithm", WeakSignature, WebPKI, "BR 7.1.3", "The anchor's signature uses SHA-256 or better too."}

	// Rules of form.
	ruleVersion            = Rule{"version", Malformed, Strict, "RFC 5280 4.1.2.1", "A certificate has version 3; an anchor without extensions may have an older one."}
	ruleSerial             = Rule{"serial", Malformed, Strict, "RFC 5280 4.1.2.2", "The serial number is positive and has at most 20 octets."}
	ruleAlgorithmMatch     = Rule{"algorithm_match", Malformed, Deployment, "RFC 5280 4.1.1.2", "The signature algorithm is the same inside and outside of what is signed."}
	ruleAuthorityKey       = Rule{"authority_key_identifier", Malformed, Strict, "RFC 5280 4.2.1.1", "Every certificate but a self-signed one has an authority key identifier with keyIdentifier, not critical."}
	ruleSubjectKey         = Rule{"subject_key_identifier", Malformed, Strict, "RFC 5280 4.2.1.2", "Every CA has a subject key identifier, not critical."}
	ruleCASubject          = Rule{"ca_subject", Malformed, Strict, "RFC 5280 4.1.2.6", "A CA's subject is not empty."}
	ruleBasicCritical      = Rule{"basic_constraints_critical", Malformed, Strict, "RFC 5280 4.2.1.9", "A CA's basicConstraints is critical."}
	ruleCAKeyUsagePresent  = Rule{"ca_key_usage_present", IssuerNotCA, Strict, "RFC 5280 4.2.1.3", "A CA has keyUsage."}
	ruleLeafNotCA          = Rule{"leaf_not_ca", Malformed, Strict, "own", "A leaf that is used as server has neither CA:TRUE nor keyCertSign."}
	ruleSubjectAlt         = Rule{"subject_alt_name", Malformed, Strict, "RFC 5280 4.2.1.6", "A leaf with an empty subject has a critical subjectAltName."}
	ruleConstraintsOnCA    = Rule{"name_constraints_on_ca", Malformed, Strict, "RFC 5280 4.2.1.10", "nameConstraints stands in CA certificates only."}
	rulePolicyCritical     = Rule{"policy_constraints_critical", Malformed, Strict, "RFC 5280 4.2.1.11", "policyConstraints is critical."}
	ruleDNSSyntax          = Rule{"dns_syntax", Malformed, Strict, "RFC 5280 4.2.1.6, RFC 1034 3.5", "dNSName is in the preferred name syntax: no underscore, no empty label, no final dot."}
	ruleAltPresent         = Rule{"alt_name_present", Malformed, WebPKI, "BR 7.1.2.7.12", "subjectAltName is present in the leaf."}
	ruleAltTypes           = Rule{"alt_name_types", Malformed, WebPKI, "BR 7.1.2.7.12", "subjectAltName of the leaf holds dNSName and iPAddress only."}
	ruleAltReserved        = Rule{"alt_name_reserved", Malformed, WebPKI, "BR 4.2.2, 7.1.4.2.1", "No name of the leaf is reserved or internal: no single label, no special-use domain, no private address."}
	ruleAltWildcard        = Rule{"alt_name_wildcard", Malformed, WebPKI, "BR 3.2.2.6", "No wildcard stands directly under a public suffix."}
	ruleCommonName         = Rule{"common_name", Malformed, WebPKI, "BR 7.1.4.3", "A common name of the leaf repeats one entry of subjectAltName byte for byte."}
	ruleEKUPresent         = Rule{"extended_key_usage_present", WrongUsage, WebPKI, "BR 7.1.2.7.10", "The leaf has extendedKeyUsage with the use, without anyExtendedKeyUsage, and not critical."}
	ruleEKURoot            = Rule{"extended_key_usage_root", Malformed, WebPKI, "BR 7.1.2.1.2", "A root has no extendedKeyUsage."}
	ruleModulus            = Rule{"rsa_modulus", WeakKey, WebPKI, "BR 6.1.5", "The length of an RSA modulus is divisible by 8."}
	ruleAuthorityKeyOnly   = Rule{"authority_key_identifier_only", Malformed, WebPKI, "BR 7.1.2.11.1", "The authority key identifier holds keyIdentifier only."}
	ruleConstraintCritical = Rule{"name_constraints_critical", Malformed, WebPKI, "RFC 5280 4.2.1.10", "nameConstraints is critical."}
)

var rules = []Rule{
	rulePresented, ruleSyntax, ruleSerialSyntax, ruleLimits, ruleKeySize,
	ruleSelfSigned, ruleRootStored, ruleIssuer, ruleKeyIdentifier, ruleAnchor, ruleSignature,
	ruleCAVersion, ruleAnchorVersion, ruleCABasic, ruleCAKeyUsage, rulePathLength,
	ruleNamesPermitted, ruleNamesExcluded, ruleNamesUnknown, ruleCritical, ruleAnchorCritical, rulePolicy, rulePolicyMapping,
	ruleRevoked, ruleCRL, ruleCRLCurrent, rulePin, ruleExpired, ruleNotYetValid, ruleReferenceName,
	ruleExtendedKeyUsage, ruleKeyUsage, ruleKeyStrength, ruleKeyType, ruleDigest, ruleAnchorDigest,
	ruleVersion, ruleSerial, ruleAlgorithmMatch, ruleAuthorityKey, ruleSubjectKey, ruleCASubject, ruleBasicCritical,
	ruleCAKeyUsagePresent, ruleLeafNotCA, ruleSubjectAlt, ruleConstraintsOnCA, rulePolicyCritical, ruleDNSSyntax,
	ruleAltPresent, ruleAltTypes, ruleAltReserved, ruleAltWildcard, ruleCommonName, ruleEKUPresent, ruleEKURoot,
	ruleModulus, ruleAuthorityKeyOnly, ruleConstraintCritical,
}

// Rules returns every rule of every profile, in no particular order.
func Rules() []Rule { return append([]Rule(nil), rules...) }
