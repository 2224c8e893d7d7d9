package upload

import "slices"

// Verdict is the outcome for a file.
type Verdict string

// The verdicts.
const (
	Accepted  Verdict = "accept"
	Replacing Verdict = "replace"   // a trust certificate takes the place of older ones of its name
	Unchanged Verdict = "unchanged" // everything in the file is in the trust store already
	Rejected  Verdict = "reject"
)

// Code is the stable name of a refusal or a warning. It is never translated.
type Code string

// The codes of refusals, in the order of the checks.
const (
	TooLarge         Code = "TOO_LARGE"
	PrivateKeyInFile Code = "PRIVATE_KEY_IN_FILE"
	IsRequest        Code = "IS_REQUEST"
	InvalidFile      Code = "INVALID_FILE"
	BadPurpose       Code = "BAD_PURPOSE"
	MultipleIdentity Code = "MULTIPLE_IDENTITY"
	NoIdentity       Code = "NO_IDENTITY"
	KeyType          Code = "KEY_TYPE"
	CSRMissing       Code = "CSR_MISSING"
	CSRKeyMismatch   Code = "CSR_KEY_MISMATCH"
	SelfSignedUpload Code = "SELF_SIGNED_UPLOAD"
	CertExpired      Code = "CERT_EXPIRED"
	CertNotYetValid  Code = "CERT_NOT_YET_VALID"
	Wildcard         Code = "WILDCARD"
	CSRSANMismatch   Code = "CSR_SAN_MISMATCH"
	UnknownCritical  Code = "UNKNOWN_CRITICAL"
	WeakSignature    Code = "WEAK_SIGNATURE" // a warning for certificates of a trust store
	CANotInTrust     Code = "CA_NOT_IN_TRUST"
	CAExpired        Code = "CA_EXPIRED"
	BadSignature     Code = "BAD_SIGNATURE"
	CAPFNotCA        Code = "CAPF_NOT_CA"
	TrustOlder       Code = "TRUST_OLDER"
)

// The codes of warnings. With EKUEnforce those of the extended key usage refuse. KUMissing and EKUMissing stand before a
// colon and the name of what is missing.
const (
	SubjectChanged     Code = "SUBJECT_CHANGED"
	WeakKey            Code = "WEAK_KEY"
	ExpiresSoon        Code = "EXPIRES_SOON"
	KUAbsent           Code = "KU_ABSENT"
	KUMissing          Code = "KU_MISSING"
	EKUAbsent          Code = "EKU_ABSENT"
	EKUMissing         Code = "EKU_MISSING"
	TwinSelfSigned     Code = "TWIN_SELF_SIGNED"
	NodeNotInSAN       Code = "NODE_NOT_IN_SAN"
	RSAOver2048        Code = "RSA_OVER_2048_CALLMANAGER"
	CriticalExtension  Code = "CRITICAL_EXTENSION"
	CAPFPathLength     Code = "CAPF_PATH_LENGTH"
	NeverTogether      Code = "NEVER_TOGETHER"
	ChainNotStored     Code = "CHAIN_NOT_STORED"
	IssuerNotInTrust   Code = "ISSUER_NOT_IN_TRUST"
	NotACA             Code = "NOT_A_CA"
	SameCNOtherSubject Code = "SAME_CN_OTHER_SUBJECT"
)

// missingSeparator stands between a code and its detail.
const missingSeparator = ":"

// Numbers of checks that are named more than once. Those behind the 18 are of the policy and of trust stores.
const (
	numberCritical      = 15
	numberSignatureHash = 16
	numberPath          = 17
	numberEKU           = 19
	numberTrust         = 20
)

var codes = []Code{
	TooLarge, PrivateKeyInFile, IsRequest, InvalidFile, BadPurpose, MultipleIdentity, NoIdentity, KeyType, CSRMissing, CSRKeyMismatch,
	SelfSignedUpload, CertExpired, CertNotYetValid, Wildcard, CSRSANMismatch, UnknownCritical, WeakSignature, CANotInTrust, CAExpired,
	BadSignature, CAPFNotCA, TrustOlder, SubjectChanged, WeakKey, ExpiresSoon, KUAbsent, KUMissing, EKUAbsent, EKUMissing, TwinSelfSigned,
	NodeNotInSAN, RSAOver2048, CriticalExtension, CAPFPathLength, NeverTogether, ChainNotStored, IssuerNotInTrust, NotACA, SameCNOtherSubject,
}

// Codes returns every code, refusals in the order of the checks, then warnings.
func Codes() []Code { return slices.Clone(codes) }
