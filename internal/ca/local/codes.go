package local

// Codes of this authority.
const (
	CodeNotVouched       = "local.not-vouched"       // a bare key that nobody vouches for
	CodeCSRSignature     = "local.csr-signature"     // the request does not prove possession of its key
	CodeKeyType          = "local.key-type"          // neither RSA nor EC on a known curve, or unreadable
	CodeKeyWeak          = "local.key-weak"          // RSA too short or broken
	CodeKeyLarge         = "local.key-large"         // RSA too long
	CodeSubject          = "local.subject"           // unusable subject or names
	CodeExtensionRefused = "local.extension-refused" // an extension that the phone profile refuses
	CodeIssuerDates      = "local.issuer-dates"      // the issuing certificate is out of its dates
	CodeSign             = "local.sign"              // the signer failed

	CodeCARequest    = "local.ca-request"    // the request for the CA's own certificate cannot be made
	CodeCAKey        = "local.ca-key"        // the CA certificate is for none of our keys
	CodeCAUnsuitable = "local.ca-unsuitable" // the certificate cannot be that of an issuing CA
	CodeCAChain      = "local.ca-chain"      // the CAs above the certificate are not all known
)
