package cmc

// remedy returns the instruction that goes with a code of this package.
func remedy(code string) string {
	switch code {
	case CodeMalformed:
		return "send one DER or BER ContentInfo of at most 64 KiB with nothing after it, and PKIData in DER; compare the message with `openssl asn1parse -inform der -i`"
	case CodeNotPKIData:
		return "send a full CMC request with eContentType 1.3.6.1.5.5.7.12.2 and its content inside"
	case CodeNotPKIResponse:
		return "check that the URL is the RA's fullcmc operation and that no proxy answers in its place"
	case CodeNoSigner:
		return "sign the message with the RA certificate; a no-signature SignerInfo alone proves nothing"
	case CodeSignerCount:
		return "sign the message once, with one certificate"
	case CodeSignerUnknown:
		return "put the signer's certificate into the message, or add it to the configured vouchers"
	case CodeBadSignature:
		return "check that no proxy changed the body and that the signer used the key of the certificate in the message, with SHA-256 or better"
	case CodeSignerUntrusted:
		return "add the CA of the signer's certificate to the vouching anchors, or issue the signer a certificate (RSA 2048 to 4096 or P-256 to P-521, key usage digitalSignature) under one of them"
	case CodeSignerExpired:
		return "renew the signer's RA certificate, and check the clocks of both sides"
	case CodeTime:
		return "set the clocks of both sides by NTP; the difference allowed is a setting"
	case CodeBodyID:
		return "number the body parts of the message from 1, each number once"
	case CodeNotRA:
		return "issue the signer a certificate whose extended key usage names id-kp-cmcRA (1.3.6.1.5.5.7.3.28), and put it on the list of vouchers"
	case CodeControlUnknown:
		return "send only the controls dataReturn, transactionId, senderNonce, recipientNonce, lraPOPWitness, regInfo, queryPending and raIdentityWitness, each once and with one value"
	case CodeNested:
		return "send the request itself, not another full request inside it"
	case CodeControlMisplaced:
		return "send recipientNonce only together with queryPending"
	case CodeNonceMissing:
		return "send a senderNonce of 16 random octets (at least 8)"
	case CodeTransactionMissing:
		return "send a transactionId"
	case CodeNonceReplayed:
		return "use a fresh senderNonce for every new message; to repeat a message send the same bytes"
	case CodeRequestCount:
		return "send exactly one request in each message, and none beside queryPending"
	case CodeTokenUnknown:
		return "send the original request again; the enrolment that the token named is not known here for this signer"
	case CodeRequestType:
		return "send the request as PKCS#10 (tcr); CRMF and other formats are not supported"
	case CodeWitnessMismatch:
		return "let the witness name pkiDataBodyid 0 and exactly the body part of the request"
	case CodePOPFailed:
		return "sign the PKCS#10 with the private key of the public key in it"
	case CodePOPMissing:
		return "add the lraPOPWitness control for the unsigned request, or send a signed PKCS#10"
	case CodeNullSignatureMismatch:
		return "compute the hash in place of the signature over the CertificationRequestInfo as sent (SHA-1, or SHA-256 and up), with NULL parameters; a program changed the request afterwards"
	case CodeSubjectDenied:
		return "request a subject that this voucher may vouch for, or change the policy of the voucher"
	case CodeKeyDenied:
		return "use a key type and size that the policy of the voucher allows"
	case CodeTransactionReused:
		return "use a new transactionId for every new request"
	case CodeInternal:
		return "read the log of the RA under the same request id, then send the same bytes again"
	case CodeNonceMismatch, CodeTransactionMismatch:
		return "send the same request again; if this repeats, something between here and the RA answers with old messages"
	case CodeNoCertificate:
		return "look at the enrolment on the RA: its answer holds no certificate for the requested key"
	case CodeCertificateInvalid:
		return "fetch cacerts from the RA again, and check that the configured anchor is that of the issuing CA"
	case CodeRefused:
		return "read the RA's text and its log, correct the cause there, then start the enrolment again"
	case CodeTryLater:
		return "wait; the CA behind the RA does not answer at the moment"
	case CodeUnsupportedStatus:
		return "look at the enrolment on the RA: it wants a step of CMC that is not supported here"
	case CodeUnusable:
		return "correct the request, the key or the certificate that the message is to be made from"
	}
	return ""
}
