package certsrv

// LookupAgentHResult explains what h means for a request that an enrollment agent signed or should have signed: the same
// number has another cause there than for a device that asks for itself. False when LookupHResult does not know the code
// either.
func LookupAgentHResult(h HResult) (Status, bool) {
	for _, s := range agentTable() {
		if s.HResult == h {
			return s, true
		}
	}
	return LookupHResult(h)
}

// AgentStatuses returns every status code that LookupAgentHResult explains in other words than LookupHResult.
func AgentStatuses() []Status { return agentTable() }

const (
	remedyAgentCertificate = "use an agent certificate of the template Enrollment Agent that this CA has issued (application policy Certificate Request Agent, 1.3.6.1.4.1.311.20.2.1)"
	remedyCount            = "open the template, tab Issuance Requirements: 1 authorized signature, application policy Certificate Request Agent; more than one is not supported"
	remedyShape            = "send the request in another shape; when the CA takes none, give the devices a subordinate CA of their own"
	remedyOurs             = "the message is not what the CA expects, which no setting of it cures: report it with the CA's version"
)

func agentTable() []Status {
	return []Status{
		{
			0x80094809, "CERTSRV_E_SIGNATURE_POLICY_REQUIRED", "the template wants the signature of an enrollment agent, and the CA found none",
			"send a shape that the agent signs, and see that the template wants no more: " + remedyCount, false,
		},
		{0x8009480A, "CERTSRV_E_SIGNATURE_COUNT", "the template wants more signatures than that of one agent", remedyCount, false},
		{0x80094815, "CERTSRV_E_TOO_MANY_SIGNATURES", "the request has more signatures than the template allows", remedyCount, false},
		{
			0x8009480B, "CERTSRV_E_SIGNATURE_REJECTED", "the agent's certificate has not the application policy that the template wants, or the CA does not trust its chain",
			remedyAgentCertificate, false,
		},
		{
			0x8009480C, "CERTSRV_E_ISSUANCE_POLICY_REQUIRED", "the agent's certificate has not the issuance policy that the template wants",
			"open the template, tab Issuance Requirements, and take the issuance policy out, or have it put into the agent's certificate", false,
		},
		{
			0x80094806, "CERTSRV_E_BAD_RENEWAL_SUBJECT", "the CA takes the request for one on behalf of somebody else",
			"leave the requester's name out, and let the template want 1 authorized signature (tab Issuance Requirements)", false,
		},
		{
			0x80094803, "CERTSRV_E_SUBJECT_ALT_NAME_REQUIRED", "the template wants a subject alternative name, and this request has none",
			"put a subject alternative name into the request, or use a template that wants none", false,
		},
		{
			0x80094801, "CERTSRV_E_NO_CERT_TYPE", "the CA found no template in the request",
			"name the template in the form and, in a request that an agent signs, inside it as well: the same name", false,
		},
		{
			0x80094802, "CERTSRV_E_TEMPLATE_CONFLICT", "form and request name two templates",
			"name the same template in the form and inside the request", false,
		},
		{0x8007000D, "ERROR_INVALID_DATA", "the CA found another number of requests than one in the message, or attributes that it cannot read", remedyOurs, false},
		{0x80093102, "CRYPT_E_ASN1_EOD", "the CA cannot read the message to its end", remedyOurs, false},
		{
			0x8009310B, "CRYPT_E_ASN1_BADTAG", "the CA cannot read the message",
			remedyEncoding + "; when nothing does, " + remedyOurs, false,
		},
		{0x8009200E, "CRYPT_E_NO_SIGNER", "the CA found no signer in the message", remedyShape, false},
		{0x80092004, "CRYPT_E_NOT_FOUND", "the CA does not find the certificate of a signer of the message", remedyShape, false},
		{
			0x80090006, "NTE_BAD_SIGNATURE", "the CA does not accept a signature: the agent's, or the null signature that stands for a key that cannot sign",
			remedyShape, false,
		},
		{
			0x800B0109, "CERT_E_UNTRUSTEDROOT", "the CA does not trust the chain of the agent's certificate",
			remedyAgentCertificate + ", or put the agent's CA into the stores of this one (certutil -dspublish -f FILE NTAuthCA)", false,
		},
		{
			0x80092012, "CRYPT_E_NO_REVOCATION_CHECK", "the CA cannot check whether the agent's certificate is revoked",
			"publish the CRL of the CA that issued the agent's certificate where this CA can fetch it", false,
		},
		{
			0x80092013, "CRYPT_E_REVOCATION_OFFLINE", "the CA cannot fetch the CRL of the agent's certificate, or of a CA above it",
			"publish the CRL of the CA that issued the agent's certificate where this CA can fetch it", false,
		},
	}
}
