package est

// LibESTError is an error number of the libEST library (3.2.0). Users of existing products meet these numbers in CAPF
// and registration authority traces ("Enrollment rv = 35 (EST_ERR_SSL_READ)"), so our logs name them too. The zero
// value is success.
type LibESTError int

// The libEST error numbers.
const (
	LibESTNone                     LibESTError = iota // success
	LibESTNoCtx                                       // API called without a context
	LibESTNoCSR                                       // no CSR given
	LibESTNoCert                                      // no valid certificate given
	LibESTNoKey                                       // no private key given
	LibESTInvalidParameters                           // bad argument
	LibESTLoadCACerts                                 // CA certificates, given or received, could not be loaded
	LibESTLoadTrustCerts                              // trust chain not loaded
	LibESTBadMode                                     // operation not valid in this mode
	LibESTBadPKCS10                                   // CSR from the client corrupt
	LibESTHTTPWrite                                   // writing the response failed: the client has gone
	LibESTHTTPUnsupported                             // status or form of the response not understood
	LibESTHTTPCannotBuildHeader                       // header could not be built
	LibESTHTTPBadReq                                  // server said 400
	LibESTHTTPNotFound                                // server said 404, or nothing
	LibESTHTTPNoContent                               // server said 204
	LibESTHTTPLocked                                  // server said 423
	LibESTHTTPInvalidPathSegment                      // label too long or with bad characters
	LibESTHTTPPathSegmentNotSupp                      // built without labels
	LibESTBadContentType                              // wrong Content-Type in the request
	LibESTBadContentLen                               // Content-Length too large
	LibESTNoSSLCtx                                    // no TLS object
	LibESTAuthFail                                    // client not authenticated
	LibESTAuthFailTLSUID                              // link value wrong or missing
	LibESTAuthPending                                 // challenge sent, answer awaited
	LibESTCAEnrollFail                                // CA did not sign
	LibESTCAEnrollRetry                               // CA asks to come back later
	LibESTWrongMethod                                 // GET or POST wrong
	LibESTX509Sign                                    // CSR signing failed
	LibESTX509Ver                                     // CSR version
	LibESTX509CN                                      // CSR common name
	LibESTX509Attr                                    // CSR attributes
	LibESTX509PubKey                                  // CSR public key
	LibESTMalloc                                      // out of memory
	LibESTSSLWrite                                    // TLS write failed
	LibESTSSLRead                                     // TLS read failed or timed out
	LibESTSSLNew                                      // TLS object
	LibESTSSLCtxNew                                   // TLS context
	LibESTSSLConnect                                  // TLS handshake failed
	LibESTSSLCipherList                               // cipher list refused
	LibESTPEMRead                                     // PEM unreadable
	LibESTNullCallback                                // no handler for the operation
	LibESTIPGetAddr                                   // server name not resolved
	LibESTIPConnect                                   // TCP connect failed
	LibESTInvalidServerName                           // server name empty or too long
	LibESTInvalidPortNum                              // port outside 1 to 65535
	LibESTClientInvalidKey                            // certificate and key do not match
	LibESTClientNotInitialized                        // client not set up
	LibESTZeroLengthBuf                               // empty certificate received
	LibESTReadBufferTooSmall                          // response over 2 000 000 bytes
	LibESTBufExceedsMaxLen                            // CA certificates too large
	LibESTNoCertificate                               // nothing obtained yet
	LibESTNoCertsFound                                // trust list empty
	LibESTFQDNMismatch                                // server name not in its certificate
	LibESTSyscall                                     // system call error during TLS
	LibESTAlreadyEnabled                              // already enabled
	LibESTAlreadyDisabled                             // already disabled
	LibESTCSRAlreadySigned                            // CSR already signed
	LibESTCSRAttrMissing                              // CSR lacks a demanded attribute
	LibESTInvalidDigest                               // digest not known
	LibESTCACertVerification                          // received CA chain not valid
	LibESTInvalidToken                                // bad authentication parameter
	LibESTInvalidRetryValue                           // Retry-After missing or not seconds
	LibESTBadX509                                     // certificate undecodable
	LibESTBadBase64                                   // base64 undecodable
	LibESTBadASN1Hex                                  // csrattrs hex undecodable
	LibESTBadASN1HexTooShort                          // csrattrs hex too short
	LibESTBadASN1HexTooLong                           // csrattrs hex too long
	LibESTSRPStrengthLow                              // SRP group too weak
	LibESTSRPUserIDBad                                // SRP user
	LibESTSRPPwdBad                                   // SRP password
	LibESTCBFailed                                    // application callback failed
	LibESTClientProxyModeNotSupp                      // proxy mode not supported
	LibESTInvalidClientProxyProto                     // proxy protocol
	LibESTInvalidClientProxyAuth                      // proxy authentication
	LibESTClientBRSKIModeNotSupp                      // BRSKI not supported
	LibESTClientCoAPModeNotSupp                       // CoAP not supported
	LibESTBRSKINoVoucher                              // no voucher
	LibESTBRSKINonceMissing                           // nonce missing
	LibESTBRSKINonceMismatch                          // nonce wrong
	LibESTBRSKINonceTooLarge                          // nonce too large
	LibESTBRSKISerialMissing                          // serial number missing
	LibESTBRSKISerialMismatch                         // serial number wrong
	LibESTBRSKISerialTooLarge                         // serial number too large
	LibESTBRSKIVoucherVerifyFailed                    // voucher not verified
	LibESTBadKey                                      // private key unreadable
	LibESTMultipartParse                              // multipart answer unreadable
	LibESTEncPrivKeyCMS                               // encrypted private key
	LibESTCMSTypeConversion                           // CMS conversion
	LibESTExportKeyMaterial                           // TLS exporter
	LibESTValidation                                  // validation
	LibESTCoAPInitFail                                // CoAP set-up
	LibESTCoAPProcessingError                         // CoAP processing
	LibESTServerAlreadyOperational                    // server already running
	LibESTUnknown                                     // anything else
)

// String returns libEST's own name of the number, "EST_ERR_SSL_READ". Numbers that libEST does not have are named
// "EST_ERR_UNKNOWN".
func (e LibESTError) String() string {
	names := libESTNames()
	if e < 0 || int(e) >= len(names) {
		return "EST_ERR_UNKNOWN"
	}
	return "EST_ERR_" + names[e]
}

// libESTNames lists the names without their prefix, indexed by number.
func libESTNames() [95]string {
	return [...]string{ //nolint:gosec // names of errors; none is a credential
		LibESTNone: "NONE", LibESTNoCtx: "NO_CTX", LibESTNoCSR: "NO_CSR", LibESTNoCert: "NO_CERT",
		LibESTNoKey: "NO_KEY", LibESTInvalidParameters: "INVALID_PARAMETERS", LibESTLoadCACerts: "LOAD_CACERTS",
		LibESTLoadTrustCerts: "LOAD_TRUST_CERTS", LibESTBadMode: "BAD_MODE", LibESTBadPKCS10: "BAD_PKCS10",
		LibESTHTTPWrite: "HTTP_WRITE", LibESTHTTPUnsupported: "HTTP_UNSUPPORTED",
		LibESTHTTPCannotBuildHeader: "HTTP_CANNOT_BUILD_HEADER", LibESTHTTPBadReq: "HTTP_BAD_REQ",
		LibESTHTTPNotFound: "HTTP_NOT_FOUND", LibESTHTTPNoContent: "HTTP_NO_CONTENT", LibESTHTTPLocked: "HTTP_LOCKED",
		LibESTHTTPInvalidPathSegment: "HTTP_INVALID_PATH_SEGMENT",
		LibESTHTTPPathSegmentNotSupp: "HTTP_PATH_SEGMENT_NOT_SUPPORTED",
		LibESTBadContentType:         "BAD_CONTENT_TYPE", LibESTBadContentLen: "BAD_CONTENT_LEN",
		LibESTNoSSLCtx: "NO_SSL_CTX", LibESTAuthFail: "AUTH_FAIL", LibESTAuthFailTLSUID: "AUTH_FAIL_TLSUID",
		LibESTAuthPending: "AUTH_PENDING", LibESTCAEnrollFail: "CA_ENROLL_FAIL",
		LibESTCAEnrollRetry: "CA_ENROLL_RETRY", LibESTWrongMethod: "WRONG_METHOD", LibESTX509Sign: "X509_SIGN",
		LibESTX509Ver: "X509_VER", LibESTX509CN: "X509_CN", LibESTX509Attr: "X509_ATTR",
		LibESTX509PubKey: "X509_PUBKEY", LibESTMalloc: "MALLOC", LibESTSSLWrite: "SSL_WRITE",
		LibESTSSLRead: "SSL_READ", LibESTSSLNew: "SSL_NEW", LibESTSSLCtxNew: "SSL_CTX_NEW",
		LibESTSSLConnect: "SSL_CONNECT", LibESTSSLCipherList: "SSL_CIPHER_LIST", LibESTPEMRead: "PEM_READ",
		LibESTNullCallback: "NULL_CALLBACK", LibESTIPGetAddr: "IP_GETADDR", LibESTIPConnect: "IP_CONNECT",
		LibESTInvalidServerName: "INVALID_SERVER_NAME", LibESTInvalidPortNum: "INVALID_PORT_NUM",
		LibESTClientInvalidKey: "CLIENT_INVALID_KEY", LibESTClientNotInitialized: "CLIENT_NOT_INITIALIZED",
		LibESTZeroLengthBuf: "ZERO_LENGTH_BUF", LibESTReadBufferTooSmall: "READ_BUFFER_TOO_SMALL",
		LibESTBufExceedsMaxLen: "BUF_EXCEEDS_MAX_LEN", LibESTNoCertificate: "NO_CERTIFICATE",
		LibESTNoCertsFound: "NO_CERTS_FOUND", LibESTFQDNMismatch: "FQDN_MISMATCH", LibESTSyscall: "SYSCALL",
		LibESTAlreadyEnabled: "ALREADY_ENABLED", LibESTAlreadyDisabled: "ALREADY_DISABLED",
		LibESTCSRAlreadySigned: "CSR_ALREADY_SIGNED", LibESTCSRAttrMissing: "CSR_ATTR_MISSING",
		LibESTInvalidDigest: "INVALID_DIGEST", LibESTCACertVerification: "CACERT_VERIFICATION",
		LibESTInvalidToken: "INVALID_TOKEN", LibESTInvalidRetryValue: "INVALID_RETRY_VALUE",
		LibESTBadX509: "BAD_X509", LibESTBadBase64: "BAD_BASE64", LibESTBadASN1Hex: "BAD_ASN1_HEX",
		LibESTBadASN1HexTooShort: "BAD_ASN1_HEX_TOO_SHORT", LibESTBadASN1HexTooLong: "BAD_ASN1_HEX_TOO_LONG",
		LibESTSRPStrengthLow: "SRP_STRENGTH_LOW", LibESTSRPUserIDBad: "SRP_USERID_BAD",
		LibESTSRPPwdBad: "SRP_PWD_BAD", LibESTCBFailed: "CB_FAILED",
		LibESTClientProxyModeNotSupp:   "CLIENT_PROXY_MODE_NOT_SUPPORTED",
		LibESTInvalidClientProxyProto:  "INVALID_CLIENT_PROXY_PROTOCOL",
		LibESTInvalidClientProxyAuth:   "INVALID_CLIENT_PROXY_AUTH",
		LibESTClientBRSKIModeNotSupp:   "CLIENT_BRSKI_MODE_NOT_SUPPORTED",
		LibESTClientCoAPModeNotSupp:    "CLIENT_COAP_MODE_NOT_SUPPORTED",
		LibESTBRSKINoVoucher:           "CLIENT_BRSKI_NO_VOUCHER",
		LibESTBRSKINonceMissing:        "CLIENT_BRSKI_NONCE_MISSING",
		LibESTBRSKINonceMismatch:       "CLIENT_BRSKI_NONCE_MISMATCH",
		LibESTBRSKINonceTooLarge:       "CLIENT_BRSKI_NONCE_TOO_LARGE",
		LibESTBRSKISerialMissing:       "CLIENT_BRSKI_SERIAL_NUM_MISSING",
		LibESTBRSKISerialMismatch:      "CLIENT_BRSKI_SERIAL_NUM_MISMATCH",
		LibESTBRSKISerialTooLarge:      "CLIENT_BRSKI_SERIAL_NUM_TOO_LARGE",
		LibESTBRSKIVoucherVerifyFailed: "CLIENT_BRSKI_VOUCHER_VERIFY_FAILED",
		LibESTBadKey:                   "BAD_KEY", LibESTMultipartParse: "MULTIPART_PARSE",
		LibESTEncPrivKeyCMS: "ENC_PRIV_KEY_CMS", LibESTCMSTypeConversion: "CMS_TYPE_CONVERSION",
		LibESTExportKeyMaterial: "EXPORT_KEY_MATERIAL", LibESTValidation: "VALIDATION",
		LibESTCoAPInitFail: "COAP_INIT_FAIL", LibESTCoAPProcessingError: "COAP_PROCESSING_ERROR",
		LibESTServerAlreadyOperational: "SERVER_ALREADY_OPERATIONAL", LibESTUnknown: "UNKNOWN",
	}
}

// clientNumber is what libEST's client reports for an answer's status.
func clientNumber(status int) LibESTError {
	switch status {
	case 200:
		return LibESTNone
	case 202:
		return LibESTCAEnrollRetry
	case 204:
		return LibESTHTTPNoContent
	case 400:
		return LibESTHTTPBadReq
	case 401:
		return LibESTAuthFail
	case 404:
		return LibESTHTTPNotFound
	case 423:
		return LibESTHTTPLocked
	default:
		return LibESTUnknown
	}
}

// serverNumber is what libEST's server logs when it answers with status.
func serverNumber(status int, code string) LibESTError {
	switch code {
	case CodeCSRNoAttributes, CodeCSRAttributes:
		return LibESTX509Attr
	case CodeCSRVersion:
		return LibESTX509Ver
	case CodeCSRKeyTooShort, CodeCSRKeyType:
		return LibESTX509PubKey
	case CodeLinkMissing, CodeLinkWrong, CodeLinkImpossible:
		return LibESTAuthFailTLSUID
	}
	switch status {
	case 200, 204:
		return LibESTNone
	case 202:
		return LibESTCAEnrollRetry
	case 400:
		return LibESTBadPKCS10
	case 401, 403:
		return LibESTAuthFail
	case 404:
		return LibESTHTTPNotFound
	case 405:
		return LibESTWrongMethod
	case 413:
		return LibESTBadContentLen
	case 415:
		return LibESTBadContentType
	case 500, 502:
		return LibESTCAEnrollFail
	case 501:
		return LibESTNullCallback
	case 504:
		return LibESTIPConnect
	default:
		return LibESTUnknown
	}
}
