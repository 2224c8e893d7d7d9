package certsrv

const (
	remedySupply    = `open the template, tab Subject Name, and choose "Supply in the request": phones have no object in Active Directory`
	remedySignature = "open the template, tab Issuance Requirements: 0 authorized signatures where requests are not signed by an enrollment agent; 1, with the application policy Certificate Request Agent, where they are"
	remedyAgent     = "give the enrollment agent a certificate of the template Enrollment Agent, from this CA or one that it trusts for enrollment (store NTAuth)"
	remedySigner    = "let the enrollment agent sign in the other form of request; a subordinate CA that signs itself needs no agent at all"
	remedyEncoding  = "check that nothing between this machine and the web server rewrites the form: usually a '+' of the base64 text became a space"
	remedyRevoked   = "publish the CRLs of the CAs above, and of the one that issued the enrollment agent's certificate, where the CA can fetch them (certutil -verify -urlfetch on the CA)"
	remedyReach     = "start the service CertSvc on the CA; open TCP 135 and the dynamic RPC ports between web server and CA; after a move of the CA correct the web server's configuration"
	remedyPublish   = "publish the template (CA console, Certificate Templates, New, Certificate Template to Issue); use its name, not its display name; let the CA's computer account read it"
	remedyBug       = "this is a fault of the program that made the request: report it with the request"
)

// statusTable has what web enrollment is known to answer ([MS-WCCE], [MS-ERREF]), in the order of the codes.
func statusTable() []Status {
	return []Status{
		{
			0x80004005, "E_FAIL", "the CA or the web server failed without saying why",
			"read the CA's event log (Application, CertificationAuthority), and restart the service CertSvc", false,
		},
		{
			0x80070002, "ERROR_FILE_NOT_FOUND", "the web server or the CA misses a file or a registry entry",
			"run the configuration of Certification Authority Web Enrollment again on the web server: it notes there which CA to ask", false,
		},
		{
			0x80070005, "ERROR_ACCESS_DENIED", "the web server may not use the CA in the account's name",
			"when web server and CA are two machines: allow the web server constrained delegation to HOST and rpcss of the CA, or use Basic authentication", false,
		},
		{0x8007000D, "ERROR_INVALID_DATA", "the request is malformed: its attributes, or not exactly one request inside", remedyBug, false},
		{
			0x80070057, "ERROR_INVALID_PARAMETER", "a field of the form is missing or wrong",
			"check that nothing between this machine and the web server rewrites the form; compare the template name", false,
		},
		{0x800706BA, "RPC_S_SERVER_UNAVAILABLE", "the web server does not reach the CA", remedyReach, true},
		{0x800706BE, "RPC_S_CALL_FAILED", "the connection from the web server to the CA broke", remedyReach, true},
		{0x8007139F, "ERROR_INVALID_STATE", "the CA is not in a state to do this", "start the service CertSvc on the CA", false},
		{
			0x80090006, "NTE_BAD_SIGNATURE", "a signature in the request is not accepted: that of the key, or of the enrollment agent",
			remedySigner, false,
		},
		{0x80090016, "NTE_BAD_KEYSET", "the CA cannot reach its private key", "check the CA's key store or HSM", false},
		{0x80092004, "CRYPT_E_NOT_FOUND", "a certificate that signed the request is not found", remedySigner, false},
		{0x8009200E, "CRYPT_E_NO_SIGNER", "nobody signed the request", remedySigner, false},
		{
			0x80092012, "CRYPT_E_NO_REVOCATION_CHECK", "the CA cannot check whether a certificate of its own chain or of the enrollment agent's is revoked",
			remedyRevoked, false,
		},
		{
			0x80092013, "CRYPT_E_REVOCATION_OFFLINE", "the CA cannot fetch a CRL of its own chain or of the enrollment agent's",
			remedyRevoked, false,
		},
		{0x80093005, "OSS_DATA_ERROR", "the CA cannot read the request", remedyEncoding, false},
		{0x80093102, "CRYPT_E_ASN1_EOD", "the request ends too soon", remedyEncoding, false},
		{0x8009310B, "CRYPT_E_ASN1_BADTAG", "the CA cannot read the request", remedyEncoding, false},
		{
			0x80094001, "CERTSRV_E_BAD_REQUESTSUBJECT", "the subject is invalid or too long",
			"shorten the subject: a common name has at most 64 characters", false,
		},
		{0x80094002, "CERTSRV_E_NO_REQUEST", "the CA knows no such request", "check the request id in the CA console", false},
		{
			0x80094003, "CERTSRV_E_BAD_REQUESTSTATUS", "the request's state does not allow this",
			"look the request up in the CA console: it is issued or denied already", false,
		},
		{
			0x80094004, "CERTSRV_E_PROPERTY_EMPTY", "the CA has no request of this id, or the account may not see it",
			"check the request id in the CA console, and ask with the account that made the request", false,
		},
		{
			0x80094005, "CERTSRV_E_INVALID_CA_CERTIFICATE", "the CA's own certificate is invalid",
			"renew the CA's certificate, or install the one that was issued (CA console, All Tasks, Install CA Certificate)", false,
		},
		{0x80094006, "CERTSRV_E_SERVER_SUSPENDED", "the CA is being restored", "wait until the restore is done", true},
		{
			0x80094009, "CERTSRV_E_RESTRICTEDOFFICER", "the enrollment agent may not enrol this subject or template",
			"CA properties, tab Enrollment Agents: allow this agent for the template", false,
		},
		{0x8009400F, "CERTSRV_E_NO_DB_SESSIONS", "too many requests at once", "wait; when it stays, find out on the CA who else asks it", true},
		{
			0x80094011, "CERTSRV_E_ENROLL_DENIED", "the account may not request certificates from this CA",
			"CA properties, tab Security: give the account Request Certificates", false,
		},
		{
			0x80094012, "CERTSRV_E_TEMPLATE_DENIED", "the account may not enrol this template",
			"open the template, tab Security: give the account Read and Enroll", false,
		},
		{0x80094014, "CERTSRV_E_ADMIN_DENIED_REQUEST", "a certificate manager denied the request", "ask the CA's certificate manager", false},
		{
			0x80094016, "CERTSRV_E_WEAK_SIGNATURE_OR_KEY", "the CA finds the key or a signature of the request too weak",
			"use a larger key and SHA-256", false,
		},
		{0x80094800, "CERTSRV_E_UNSUPPORTED_CERT_TYPE", "this CA does not publish the template", remedyPublish, false},
		{0x80094801, "CERTSRV_E_NO_CERT_TYPE", "the request names no template", "set the certificate template", false},
		{
			0x80094802, "CERTSRV_E_TEMPLATE_CONFLICT", "the request names another template than the form",
			"remove the template extension from the request, or name the same template", false,
		},
		{
			0x80094803, "CERTSRV_E_SUBJECT_ALT_NAME_REQUIRED", "the template wants a subject alternative name",
			"put a subject alternative name into the request; where the template takes the names from Active Directory: " + remedySupply, false,
		},
		{
			0x80094804, "CERTSRV_E_ARCHIVED_KEY_REQUIRED", "the template wants the private key to be archived, which never leaves a device",
			`open the template, tab Request Handling, and clear "Archive subject's encryption private key"`, false,
		},
		{
			0x80094806, "CERTSRV_E_BAD_RENEWAL_SUBJECT", "the CA takes the request for one on behalf of another subject, and no signature allows that",
			"name no requester unless each device has an account; " + remedySignature, false,
		},
		{
			0x80094807, "CERTSRV_E_BAD_TEMPLATE_VERSION", "the request names a newer version of the template than the CA knows",
			"wait for the replication of Active Directory, then restart the CA service", false,
		},
		{0x80094808, "CERTSRV_E_TEMPLATE_POLICY_REQUIRED", "the template wants signatures with an issuance policy", remedySignature, false},
		{
			0x80094809, "CERTSRV_E_SIGNATURE_POLICY_REQUIRED", "the template wants the signature of a registration authority",
			remedySignature, false,
		},
		{
			0x8009480A, "CERTSRV_E_SIGNATURE_COUNT", "the request carries too few authorized signatures",
			remedySignature + "; more than 1 is not supported", false,
		},
		{
			0x8009480B, "CERTSRV_E_SIGNATURE_REJECTED", "a signature of the request has not the application policy that the template wants",
			remedyAgent, false,
		},
		{
			0x8009480C, "CERTSRV_E_ISSUANCE_POLICY_REQUIRED", "a signature of the request has not the issuance policy that the template wants",
			"open the template, tab Issuance Requirements, and take the issuance policy off; or give the enrollment agent a certificate with this policy", false,
		},
		{0x8009480D, "CERTSRV_E_SUBJECT_UPN_REQUIRED", "the object in Active Directory has no UPN", remedySupply, false},
		{0x8009480E, "CERTSRV_E_SUBJECT_DIRECTORY_GUID_REQUIRED", "the object in Active Directory has no GUID", remedySupply, false},
		{0x8009480F, "CERTSRV_E_SUBJECT_DNS_REQUIRED", "the object in Active Directory has no DNS name", remedySupply, false},
		{
			0x80094811, "CERTSRV_E_KEY_LENGTH", "the key is smaller than the template's minimum",
			"raise the phone's key size, or lower the template's minimum key size (tab Cryptography)", false,
		},
		{0x80094812, "CERTSRV_E_SUBJECT_EMAIL_REQUIRED", "the object in Active Directory has no mail address", remedySupply, false},
		{0x80094813, "CERTSRV_E_UNKNOWN_CERT_TYPE", "the CA does not know the template", remedyPublish, false},
		{
			0x80094815, "CERTSRV_E_TOO_MANY_SIGNATURES", "the template wants more signatures of registration authorities than there are",
			"open the template, tab Issuance Requirements, and set the number of authorized signatures to 1", false,
		},
		{
			0x800B0101, "CERT_E_EXPIRED", "a certificate of the CA or of the request's signer has expired",
			"renew that certificate, and compare the clocks", false,
		},
		{0x800B0109, "CERT_E_UNTRUSTEDROOT", "the CA does not trust the root above who signed the request", remedyAgent, false},
		{
			0x800B010A, "CERT_E_CHAINING", "the CA finds no chain for its own certificate or that of who signed the request",
			"import the missing CA certificates on the CA; " + remedyAgent, false,
		},
	}
}
