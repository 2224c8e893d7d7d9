package certsrv

import "fmt"

// HResult is a Windows status code as the pages print it, e.g. 0x80094800. Zero means none.
type HResult uint32

// Status codes that change what a client does.
const (
	StatusPropertyEmpty   HResult = 0x80094004 // there is no request of that id
	StatusNoRequest       HResult = 0x80094002 // likewise
	StatusUnsupportedType HResult = 0x80094800 // the CA does not publish the template
	StatusTemplateDenied  HResult = 0x80094012 // the account may not enrol the template
	StatusRPCUnavailable  HResult = 0x800706BA // the web server does not reach the CA
	StatusAccessDenied    HResult = 0x80070005 // the web server may not use the CA
)

// String returns the code as on the pages: "0x80094800".
func (h HResult) String() string { return fmt.Sprintf("0x%08x", uint32(h)) }

// Status explains one HResult.
type Status struct {
	HResult   HResult
	Name      string // symbolic name, e.g. CERTSRV_E_TEMPLATE_DENIED
	Meaning   string // half a sentence
	Remedy    string // what an administrator does
	Retryable bool   // true: the same request can succeed later without anyone acting
}

// LookupHResult explains h; false when the code is not one of those that web enrolment is known to give. Unknown codes
// still come back with a number as name.
func LookupHResult(h HResult) (Status, bool) {
	for _, s := range statusTable() {
		if s.HResult == h {
			return s, true
		}
	}
	return Status{
		HResult: h, Name: h.String(), Meaning: "the CA gives a status that is not known here",
		Remedy: "look the code up with `certutil -error " + h.String() + "` and read the CA's event log",
	}, false
}

// Statuses returns every status code that LookupHResult explains.
func Statuses() []Status { return statusTable() }

const (
	remedySupply    = `open the template, tab Subject Name, and choose "Supply in the request": phones have no object in Active Directory`
	remedySignature = "open the template, tab Issuance Requirements, and set the number of authorized signatures to 0, or sign the request with an enrollment agent certificate"
	remedyEncoding  = "check that nothing between this machine and the web server rewrites the form: usually a '+' of the base64 text became a space"
)

func statusTable() []Status {
	return []Status{
		{
			0x80094800, "CERTSRV_E_UNSUPPORTED_CERT_TYPE", "this CA does not publish the template",
			"publish the template (CA console, Certificate Templates, New, Certificate Template to Issue); use its name, not its display name; let the CA's computer account read it", false,
		},
		{0x80094801, "CERTSRV_E_NO_CERT_TYPE", "the request names no template", "set the certificate template", false},
		{
			0x80094802, "CERTSRV_E_TEMPLATE_CONFLICT", "the request's extension names another template than the form",
			"remove the template extension from the request, or name the same template", false,
		},
		{0x80094803, "CERTSRV_E_SUBJECT_ALT_NAME_REQUIRED", "the template wants a subject alternative name", remedySupply, false},
		{0x80094806, "CERTSRV_E_BAD_RENEWAL_SUBJECT", "the request is on behalf of another subject and carries no signature that allows it", remedySignature, false},
		{
			0x80094807, "CERTSRV_E_BAD_TEMPLATE_VERSION", "the request names a newer version of the template than the CA knows",
			"wait for the replication of Active Directory, then restart the CA service", false,
		},
		{0x80094808, "CERTSRV_E_TEMPLATE_POLICY_REQUIRED", "the template wants signatures with an issuance policy", remedySignature, false},
		{0x80094809, "CERTSRV_E_SIGNATURE_POLICY_REQUIRED", "the template wants the signature of a registration authority", remedySignature, false},
		{0x8009480A, "CERTSRV_E_SIGNATURE_COUNT", "the request carries too few authorized signatures", remedySignature, false},
		{0x8009480B, "CERTSRV_E_SIGNATURE_REJECTED", "a signature of the request has not the application policy that the template wants", remedySignature, false},
		{0x8009480C, "CERTSRV_E_ISSUANCE_POLICY_REQUIRED", "a signature of the request has not the issuance policy that the template wants", remedySignature, false},
		{0x8009480D, "CERTSRV_E_SUBJECT_UPN_REQUIRED", "the object in Active Directory has no UPN", remedySupply, false},
		{0x8009480E, "CERTSRV_E_SUBJECT_DIRECTORY_GUID_REQUIRED", "the object in Active Directory has no GUID", remedySupply, false},
		{0x8009480F, "CERTSRV_E_SUBJECT_DNS_REQUIRED", "the object in Active Directory has no DNS name", remedySupply, false},
		{
			0x80094811, "CERTSRV_E_KEY_LENGTH", "the key is smaller than the template's minimum",
			"raise the phone's key size, or lower the template's minimum key size (tab Cryptography)", false,
		},
		{0x80094812, "CERTSRV_E_SUBJECT_EMAIL_REQUIRED", "the object in Active Directory has no mail address", remedySupply, false},
		{0x80094001, "CERTSRV_E_BAD_REQUESTSUBJECT", "the subject is invalid or too long", "shorten the subject: a common name has at most 64 characters", false},
		{0x80094002, "CERTSRV_E_NO_REQUEST", "the CA knows no such request", "check the request id in the CA console", false},
		{0x80094003, "CERTSRV_E_BAD_REQUESTSTATUS", "the request's state does not allow this", "look the request up in the CA console: it is issued or denied already", false},
		{
			0x80094004, "CERTSRV_E_PROPERTY_EMPTY", "the CA has no request of this id, or the account may not see it",
			"check the request id in the CA console, and ask with the account that made the request", false,
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
			0x800706BA, "RPC_S_SERVER_UNAVAILABLE", "the web server does not reach the CA",
			"start the service CertSvc on the CA; open TCP 135 and the dynamic RPC ports between web server and CA; after a move of the CA correct the web server's configuration", true,
		},
		{
			0x80070005, "E_ACCESSDENIED", "the web server may not use the CA in the account's name",
			"when web server and CA are two machines: allow the web server constrained delegation to HOST and rpcss of the CA, or use Basic authentication", false,
		},
		{0x800B0101, "CERT_E_EXPIRED", "a certificate of the CA or of the request's signer has expired", "renew that certificate, and compare the clocks", false},
		{0x80092012, "CRYPT_E_NO_REVOCATION_CHECK", "the CA cannot check the revocation of its own chain", "publish the parent CA's CRL where the CA can fetch it", false},
		{0x80092013, "CRYPT_E_REVOCATION_OFFLINE", "the CA cannot fetch a CRL of its own chain", "publish the parent CA's CRL where the CA can fetch it", false},
		{0x8009310B, "CRYPT_E_ASN1_BADTAG", "the CA cannot read the request", remedyEncoding, false},
		{0x80093005, "OSS_DATA_ERROR", "the CA cannot read the request", remedyEncoding, false},
		{0x80090016, "NTE_BAD_KEYSET", "the CA cannot reach its private key", "check the CA's key store or HSM", false},
		{0x8007139F, "ERROR_INVALID_STATE", "the CA is not in a state to do this", "start the service CertSvc on the CA", false},
	}
}
