package ra

// Stable codes of the registration authority's refusals. Those of an authority ("adcs.template-not-offered") and of CMC
// ("cmc.not-ra") pass through unchanged.
const (
	CodeNoCredentials   = "ra.no-credentials"    //nolint:gosec // a code, no credentials. 401: neither password nor client certificate
	CodeLogin           = "ra.login"             // 401: user unknown or password wrong
	CodeBusy            = "ra.login-busy"        // 503: too many passwords to check at the same time
	CodeUsersFile       = "ra.users-file"        // 503: the users file cannot be read
	CodeClientCANone    = "ra.client-ca-none"    // 403: a client certificate, but no client CAs are configured
	CodeClientExpired   = "ra.client-expired"    // 403: client certificate outside its dates
	CodeClientPurpose   = "ra.client-purpose"    // 403: client certificate without clientAuth
	CodeClientUntrusted = "ra.client-untrusted"  // 403: client certificate from a CA that is not accepted
	CodeChainUnknown    = "ra.chain-unknown"     // 503: the CA's chain is not known yet
	CodeLabel           = "ra.label-unknown"     // 404: no such label
	CodeReserved        = "ra.reserved-name"     // 403: a name of our own listeners
	CodeRate            = "ra.rate"              // 429: too many requests of one caller
	CodePending         = "ra.pending"           // the CA wants approval
	CodeUnavailable     = "ra.ca-unavailable"    // 503: the CA is down; the request goes on by itself
	CodeTimeout         = "ra.ca-timeout"        // 504: the CA is silent; the request goes on by itself
	CodeSuperseded      = "ra.superseded"        // 503, 400 to a query: another request took the row's place
	CodeDenied          = "ra.denied"            // 403: the CA refused and gave no code
	CodeInternal        = "ra.internal"          // 500: a fault of this server
	CodeVoucherOff      = "ra.vouching-off"      // 403: no vouchers are configured
	CodeNoSAN           = "cmc.name-denied"      // vouched request with other names than the subject's
	CodeExtension       = "cmc.extension-denied" // vouched request with an extension outside the list
	CodeSubject         = "cmc.subject-denied"   // vouched request for another kind of subject
	CodeKey             = "cmc.key-denied"       // vouched request with a key type or size outside policy
)
