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
)
