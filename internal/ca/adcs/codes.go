package adcs

// Codes of this authority. Those of package certsrv appear unchanged beside them.
const (
	CodeFailed           = "adcs.failed"            // web enrollment could not be asked, and the cause has no code
	CodeNoAgent          = "adcs.no-agent"          // a bare key, and no enrollment agent is configured
	CodeNotVouched       = "adcs.not-vouched"       // a bare key that nobody vouches for
	CodeRenamed          = "adcs.renamed"           // other names by changeSubjectName, and no enrollment agent is configured
	CodeNoAccount        = "adcs.no-account"        // the subject of a request on behalf of an account names none
	CodeRequest          = "adcs.request"           // the request could not be made
	CodeNotReadable      = "adcs.not-readable"      // the account may not read the request that it asks for
	CodeTotal            = "adcs.total-timeout"     // one attempt at a request took longer than all of it may
	CodeOtherKey         = "adcs.other-key"         // the CA's certificate is for another key
	CodeSearching        = "adcs.searching"         // the answer was lost and pending requests may be it
	CodeCertificateUsage = "adcs.certificate-usage" // log only: the certificate lacks what phones need
)
