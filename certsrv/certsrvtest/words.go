package certsrvtest

// words are the prose of the pages in one language. Where public clients search for a sentence, that sentence stands here;
// everything else is in our own words.
type words struct {
	// titles of pages
	welcome, submit, caCerts, pendingList, issued, pending, denied, failed string
	// sentences
	issuedText, pendingText, deniedText string
	requestID, disposition              string // "Your Request Id is %d.", "The disposition message is \"%s\"."
	noRequests, removed, contact        string
	// labels of the status page
	labelMode, labelDisp, labelMessage, labelResult, labelCOM, labelLast, labelCause string
	unknown, none, cause                                                             string
	// disposition messages
	byPolicy, byManager, taken, issuedMsg, parsing, constructing, verifying, notYours string
	newRequest, checkPending                                                          string
	unsupportedTemplate                                                               string // "... policy: %s."
	missingTemplate                                                                   string

	statuses    map[uint32]string
	otherStatus string
}

// words returns the prose of l; English for an unknown language.
func (l Lang) words() *words {
	if l == French {
		return &french
	}
	return &english
}

var english = words{
	welcome: "Welcome", submit: "Submit a Request", caCerts: "CA Certificates and CRLs", pendingList: "Pending Requests",
	issued: "Certificate Issued", pending: "Certificate Pending", denied: "Certificate Request Denied", failed: "Error",
	issuedText:  "The certificate you requested was issued to you.",
	pendingText: "Your certificate request has been received. However, you must wait for an administrator to issue the certificate you requested.",
	deniedText:  "Your certificate request was denied.",
	requestID:   "Your Request Id is %d.", disposition: "The disposition message is \"%s\".",
	noRequests: "This browser has no pending requests.", removed: "The entry is gone from this browser's list.",
	contact:   "Ask the administrator of this server for help.",
	labelMode: "Request Mode:", labelDisp: "Disposition:", labelMessage: "Disposition message:", labelResult: "Result:",
	labelCOM: "COM Error Info:", labelLast: "LastStatus:", labelCause: "Suggested Cause:",
	unknown: "(unknown)", none: "(none)", cause: "See the status above.",
	byPolicy: "Denied by Policy Module", byManager: "Denied by %s", taken: "Taken Under Submission", issuedMsg: "Issued",
	parsing: "Error Parsing Request", constructing: "Error Constructing or Publishing Certificate",
	verifying: "Error Verifying Request Signature or Signing Certificate", notYours: "Another account made this request",
	newRequest: "newreq - New Request", checkPending: "chkpnd - Check Pending",
	unsupportedTemplate: "The request was for a certificate template that is not supported by the Active Directory Certificate Services policy: %s.",
	missingTemplate:     "The request names no certificate template.",
	statuses: map[uint32]string{
		0:                   "The operation completed successfully.",
		eRPCUnavailable:     "The RPC server is unavailable.",
		ePropertyEmpty:      "The requested property value is empty.",
		eTemplateDenied:     "The permissions on the certificate template do not allow the current user to enroll for this type of certificate.",
		eAdminDenied:        "The request was denied by a certificate manager or CA administrator.",
		eUnsupportedType:    "The requested certificate template is not supported by this CA.",
		eNoCertType:         "The request names no certificate template.",
		eTemplateConflict:   "The request names two different certificate templates.",
		eSANRequired:        "The template wants a subject alternative name and the request has none.",
		eSignatureRequired:  "The template wants a signature of a registration authority and the request has none.",
		eSignatureCount:     "The request has fewer signatures of registration authorities than the template wants.",
		eSignatureRejected:  "A signing certificate lacks an application policy that the template wants.",
		eKeyLength:          "The public key is smaller than the template allows.",
		eBadTag:             "ASN1 bad tag value met.",
		eInvalidData:        "The data is invalid.",
		eInvalidArg:         "The parameter is incorrect.",
		eAccessDenied:       "Access is denied.",
		eBadSignature:       "Invalid signature.",
		eNoSigner:           "The signed message has no signer.",
		eSignerNotFound:     "A signing certificate was not found.",
		eExpired:            "A certificate is outside its dates.",
		eUntrustedRoot:      "The chain ends in a root that this CA does not trust.",
		eNoRequest:          "There is no such request.",
		eBadRequestStatus:   "The state of the request does not allow this.",
		eConstructingFailed: "The certificate could not be made.",
	},
	otherStatus: "The CA refused the request.",
}
