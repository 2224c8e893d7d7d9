package adcs

import (
	"slices"

	"callsign/certsrv"
	"callsign/cmc"
	"callsign/internal/ca"
)

// message is what goes into the form.
func (w *work) message() ([]byte, error) {
	c, csr := w.a.c, w.r.CSR
	if w.r.Renamed() {
		csr = nil // what the key has signed has the old names
	}
	if csr != nil && c.SignRequests == SignNothing {
		return csr, nil
	}
	if c.Agent == nil {
		return nil, w.noAgent()
	}
	if csr != nil && c.SignRequests == SignPKCS7 {
		return w.onBehalf(func(account string) ([]byte, error) {
			return cmc.PKCS7OnBehalf(csr, account, c.Agent, c.AgentChain, c.Now(), c.Random)
		})
	}
	if csr == nil {
		if w.r.Vouch == "" && !w.r.Renamed() {
			return nil, &ca.Error{
				ErrCode: CodeNotVouched, Final: true, Detail: "the key is bare and nobody vouches for its owner",
				Fix: "this is a fault of the caller; report it with the request id",
			}
		}
		var err error
		if csr, err = cmc.NullSignedRaw(w.r.PublicKey, w.r.Subject, w.r.Extensions, cmc.Microsoft); err != nil {
			return nil, unusable(err)
		}
	}
	if c.OnBehalf {
		return w.onBehalf(func(account string) ([]byte, error) {
			return cmc.ADCSOnBehalfRequest(csr, w.a.template(w.r), account, c.Shape, c.Agent, c.AgentChain, c.Now(), c.Random)
		})
	}
	der, err := cmc.ADCSRequest(csr, w.a.template(w.r), c.Shape, c.Agent, c.AgentChain, c.Now(), c.Random)
	if err != nil {
		return nil, unusable(err)
	}
	return der, nil
}

// onBehalf makes a message for the account that the subject of the request names.
func (w *work) onBehalf(message func(account string) ([]byte, error)) ([]byte, error) {
	account, err := w.a.c.Account.Account(w.r.Subject)
	if err != nil {
		return nil, &ca.Error{
			ErrCode: CodeNoAccount, Final: true, Detail: "the request to AD CS is to be on behalf of an account, and its subject gives none", Err: err,
			Fix: "let adcs.requester_names match the common names of devices that have an account in Active Directory, and only these; or do without: adcs.vouch = \"cmc-supplied\", adcs.sign_requests = \"cmc\"",
		}
	}
	der, err := message(account)
	if err != nil {
		return nil, unusable(err)
	}
	return der, nil
}

// aboutSignatures are the status codes by which a CA says that it wants other signatures than those of the request.
var aboutSignatures = []certsrv.HResult{
	0x80090006, 0x80092004, 0x8009200E, 0x80094806, 0x80094808, 0x80094809, 0x8009480A, 0x8009480B, 0x8009480C, 0x80094815,
}

// signatures gives e, the CA's refusal, the remedy for a request that an enrollment agent has signed, and names the
// settings that change who signs.
func (w *work) signatures(e *ca.Error, code certsrv.HResult) {
	keys := "adcs.sign_requests"
	if w.r.CSR == nil || w.r.Renamed() {
		keys = "adcs.vouch; `callsign ra probe` finds out what the CA takes"
	}
	byAgent := w.r.CSR == nil || w.r.Renamed() || w.a.c.SignRequests != SignNothing
	if s, known := certsrv.LookupAgentHResult(code); known && byAgent {
		e.Fix = s.Remedy
	}
	if !slices.Contains(aboutSignatures, code) {
		keys = keysOf(code)
	}
	if keys != "" {
		e.Fix += " (" + keys + ")"
	}
}

// keysOf names the keys to look at for what the CA says, signatures aside.
func keysOf(h certsrv.HResult) string {
	switch h {
	case 0x80094800, 0x80094801, 0x80094802, 0x80094813:
		return "adcs.template, and the template of each label"
	case 0x80094011, 0x80094012:
		return "adcs.username"
	case 0x80094009, 0x80092012, 0x80092013, 0x800B0109, 0x800B010A:
		return "adcs.agent_certificate_file"
	}
	return ""
}

// noAgent says why an enrollment agent is needed.
func (w *work) noAgent() error {
	if w.r.Renamed() {
		return &ca.Error{
			ErrCode: CodeRenamed, Final: true, Detail: "the request asks for other names by changeSubjectName, which AD CS does not know, and no enrollment agent is configured that could ask for them",
			Fix: "let the device put the wanted names into a new request, or set adcs.agent_certificate_file and adcs.agent_key_file to an enrollment agent certificate (template Enrollment Agent)",
		}
	}
	return &ca.Error{
		ErrCode: CodeNoAgent, Final: true, Detail: "the key is bare and no enrollment agent certificate is configured",
		Fix: "set adcs.agent_certificate_file and adcs.agent_key_file to an enrollment agent certificate (template Enrollment Agent), or, simpler: let the enterprise CA issue a subordinate CA certificate for section [ca] and set capf.issuer = \"local\"",
	}
}

func unusable(err error) *ca.Error {
	return &ca.Error{
		ErrCode: CodeRequest, Final: true, Detail: "the request to AD CS could not be made", Err: err,
		Fix: "check the enrollment agent's certificate and key (adcs.agent_certificate_file, adcs.agent_key_file): callsign check",
	}
}
