package offline

// Codes of this authority. A certificate that does not chain to the CA is refused with a code of package chain.
const (
	CodeNotVouched = "offline.not-vouched" // a bare key that nobody vouches for
	CodeRequest    = "offline.request"     // the request cannot be written in this form
	CodeNoAgent    = "offline.no-agent"    // a CMC request needs an enrollment agent
	CodeNoRequest  = "offline.no-request"  // no request has the key of the certificate
	CodeWrongName  = "offline.wrong-name"  // the certificate does not name the device
	CodeNotPhone   = "offline.not-phone"   // the certificate is that of a CA
	CodeNoCA       = "offline.no-ca"       // nothing is known to check the certificate against
)
