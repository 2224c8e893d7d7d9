package est

// Stable codes of refusals that the Handler makes by itself. A Backend's own refusals carry the Backend's codes.
const (
	CodeNotFound         = "est.not-found"          // 404: no such path, label or operation
	CodeNoTLS            = "est.no-tls"             // 403: the request did not come over TLS
	CodeMethod           = "est.method"             // 405: GET where POST is due, or the other way round
	CodeNotOffered       = "est.not-offered"        // 501: a defined operation that is switched off
	CodeTooLarge         = "est.too-large"          // 413: body over the limit
	CodeMediaType        = "est.media-type"         // 415: another media type than the operation's
	CodeBody             = "est.body"               // 400: the body is no base64, PEM or DER, or broke off
	CodeCredentials      = "est.credentials"        // 401: no credentials, or an Authorization field that is not Basic
	CodeAuthFailed       = "est.auth-failed"        // 401: the Backend refused the credentials and gave no code
	CodeInternal         = "est.internal"           // 500: the Backend failed and gave no *Error
	CodeGone             = "est.client-gone"        // no answer delivered: the client went away
	CodeCSRMalformed     = "est.csr-malformed"      // 400: no PKCS#10, or not strict DER
	CodeCSRVersion       = "est.csr-version"        // 400: version is not 0
	CodeCSRNoAttributes  = "est.csr-no-attributes"  // 400: the attributes field is left out
	CodeCSRAttributes    = "est.csr-attributes"     // 400: an attribute repeated, with several values, or malformed
	CodeCSRUnsigned      = "est.csr-unsigned"       // 400: no signature; only inside a vouched full CMC request
	CodeCSRBadSignature  = "est.csr-bad-signature"  // 400: the signature does not verify: no proof of possession
	CodeCSRWeakDigest    = "est.csr-weak-digest"    // 400: signed with SHA-1 or MD5
	CodeCSRKeyTooShort   = "est.csr-key-too-short"  // 400: RSA modulus below the minimum
	CodeCSRKeyType       = "est.csr-key-type"       // 400: key algorithm, curve, exponent or size not allowed
	CodeCSRNoSubject     = "est.csr-no-subject"     // 400: empty subject
	CodeCSRChangeSubject = "est.csr-change-subject" // 403: asks for other names where names are not changed

	CodeClientCertField     = "est.client-cert-field"    // 400: a trusted proxy tells of the client's certificate in a form that cannot be read
	CodeLinkMissing         = "est.link-missing"         // 400: the request must be linked to its connection and is not
	CodeLinkWrong           = "est.link-wrong"           // 400: the link is not that of the connection
	CodeLinkImpossible      = "est.link-impossible"      // 400: the connection has nothing to be linked with
	CodeReenrollCertificate = "est.reenroll-certificate" // 403: simplereenroll without the certificate that is to be renewed
	CodeReenrollNames       = "est.reenroll-names"       // 403: simplereenroll with other names than the certificate's
	CodeKeyEncryption       = "est.key-encryption"       // 400: a private key cannot be encrypted as asked for, or is not asked to be
	CodeKeygenBusy          = "est.keygen-busy"          // 503: too many private keys are being made or wait for their certificate
)

// Stable codes of what can go wrong at the Client.
const (
	CodeClientConfig      = "est.client-config"      // URL, label or credentials unusable
	CodeResolve           = "est.resolve"            // server name not found
	CodeConnect           = "est.connect"            // TCP connection refused or timed out
	CodeTLS               = "est.tls"                // TLS handshake failed
	CodeServerName        = "est.server-name"        // the server's certificate is for other names
	CodeServerUntrusted   = "est.server-untrusted"   // the server's certificate does not chain to an anchor
	CodeTimeout           = "est.timeout"            // connected, but no complete answer in time
	CodeBroken            = "est.broken"             // connection broke before the answer was complete
	CodeEmptyAnswer       = "est.empty-answer"       // connection closed without an answer, or an empty body
	CodeCanceled          = "est.canceled"           // the caller gave up
	CodeRedirect          = "est.redirect"           // redirected to another origin or with another method
	CodeAnswerTooLarge    = "est.answer-too-large"   // answer over 2 000 000 bytes
	CodeAnswerType        = "est.answer-type"        // answer of another media type
	CodeAnswerBody        = "est.answer-body"        // answer is no base64 or no certs-only message
	CodeAnswerCertificate = "est.answer-certificate" // no certificate in the answer has the requested key
	CodeRetryAfter        = "est.retry-after"        // 202 without a usable Retry-After
	CodeRetryLater        = "est.retry-later"        // 202: not ready, ask again
	CodeRefused           = "est.refused"            // server answered 4xx
	CodeUnauthorized      = "est.unauthorized"       // server answered 401
	CodeUnavailable       = "est.unavailable"        // server answered 5xx
	CodeNotImplemented    = "est.not-implemented"    // server answered 404 or 501: operation or label not there
	CodeChallenge         = "est.challenge-unknown"  // server answered 401 and takes no HTTP Basic
	CodeCSRAttrs          = "est.csrattrs"           // the attributes that a request shall have cannot be read
	CodeLinkUnavailable   = "est.link-unavailable"   // the TLS connection has no value to link a request with
	CodeKeyAnswer         = "est.key-answer"         // the answer to serverkeygen is not the expected two parts, or its key cannot be opened
	CodeFingerprint       = "est.fingerprint"        // no CA certificate of the answer has the fingerprint
	CodeTrustUpdate       = "est.trust-update"       // a received CA certificate does not follow from the anchors
	CodeCSRAttrsDemand    = "est.csrattrs-demand"    // what csrattrs demands cannot be satisfied
	CodeKeyNotEncrypted   = "est.key-not-encrypted"  // the server sent a private key in clear that was asked for encrypted
)
