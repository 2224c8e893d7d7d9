package ra

// Stable codes of the registration authority's refusals. Those of an authority ("adcs.template-not-offered") and of CMC
// ("cmc.not-ra") pass through unchanged.
const (
	CodeNoCredentials       = "ra.no-credentials"       //nolint:gosec // a code, no credentials. 401: neither password nor client certificate
	CodeLogin               = "ra.login"                // 401: user unknown or password wrong
	CodeBusy                = "ra.login-busy"           // 503: too many passwords to check at the same time
	CodeUsersFile           = "ra.users-file"           // 503: the users file cannot be read
	CodeClientCANone        = "ra.client-ca-none"       // 403, or 401 where a password may help: a client certificate, but no client CAs are configured
	CodeClientExpired       = "ra.client-expired"       // 403, or 401 where a password may help: client certificate outside its dates
	CodeClientPurpose       = "ra.client-purpose"       // 403, or 401 where a password may help: client certificate without clientAuth
	CodeClientUntrusted     = "ra.client-untrusted"     // 403, or 401 where a password may help: client certificate from a CA that is not accepted
	CodeClientName          = "ra.client-name"          // 403, or 401 where a password may help: client certificate without a name that client_name finds
	CodeClientDenied        = "ra.client-denied"        // 403: a client whose name may not enrol under the label
	CodeClientRevoked       = "ra.client-revoked"       // 403: client certificate revoked or distrusted
	CodeCertificateRequired = "ra.certificate-required" // 403: no client certificate where one is demanded
	CodeReenrollIssuer      = "ra.reenroll-issuer"      // 403: the certificate to be renewed is not of the label's CA, or is not valid
	CodeReenrollExpired     = "ra.reenroll-expired"     // 403: the certificate to be renewed is outside its dates and the grace
	CodeReenrollRevoked     = "ra.reenroll-revoked"     // 403: the certificate to be renewed is revoked or distrusted
	CodeRegistrar           = "ra.registrar"            // log only: a certificate named as registrar's is not one
	CodeSubjectDenied       = "ra.subject-denied"       // 403: subject outside the label's rules
	CodeNameDenied          = "ra.name-denied"          // 403: subjectAltName outside the label's rules
	CodeUsageDenied         = "ra.usage-denied"         // 403: extended key usage outside the label's rules
	CodeKeyDenied           = "ra.key-denied"           // 403: key outside the label's rules
	CodeHeld                = "ra.held"                 // an administrator has to approve
	CodeChainUnknown        = "ra.chain-unknown"        // 503: the CA's chain is not known yet
	CodeLabel               = "ra.label-unknown"        // 404: no such label
	CodeReserved            = "ra.reserved-name"        // 403: a name of our own listeners
	CodeRate                = "ra.rate"                 // 429: too many requests of one caller
	CodePending             = "ra.pending"              // the CA wants approval
	CodeUnavailable         = "ra.ca-unavailable"       // 503: the CA is down; the request goes on by itself
	CodeTimeout             = "ra.ca-timeout"           // 504: the CA is silent; the request goes on by itself
	CodeSuperseded          = "ra.superseded"           // 503, 400 to a query: another request took the row's place
	CodeDenied              = "ra.denied"               // 403: the CA refused and gave no code
	CodeInternal            = "ra.internal"             // 500: a fault of this server
	CodeVoucherOff          = "ra.vouching-off"         // 403: no vouchers are configured
	CodeNoSAN               = "cmc.name-denied"         // vouched request with other names than the subject's
	CodeExtension           = "cmc.extension-denied"    // vouched request with an extension outside the list
	CodeSubject             = "cmc.subject-denied"      // vouched request for another kind of subject
	CodeKey                 = "cmc.key-denied"          // vouched request with a key type or size outside policy
)
