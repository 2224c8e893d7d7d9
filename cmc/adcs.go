package cmc

import (
	"crypto"
	"crypto/x509"
	"errors"
	"io"
	"time"
)

// Shape is how a request to Microsoft AD CS is put together (spec/cmc.md section 8). Which one a real server takes is
// documented but untried; an administrator probes and sets it.
type Shape int

// The shapes of a request to AD CS.
const (
	// Supplied has two signers: a no-signature SignerInfo with the key identifier of the request, then the agent.
	Supplied Shape = iota + 1
	// AgentOnly has the enrollment agent as its only signer.
	AgentOnly
)

// String returns the configuration's word: "supplied" or "agent-only".
func (s Shape) String() string {
	switch s {
	case Supplied:
		return "supplied"
	case AgentOnly:
		return "agent-only"
	}
	return "unknown"
}

// ADCSRequest returns the DER of a CMC request for AD CS: regInfo "CertificateTemplate=NAME&" and csr in the Microsoft
// null form with its CertificationRequestInfo unchanged, signed by agent, whose certificate is agentChain[0] (EKU
// Certificate Request Agent). A csr that is really signed stays as it is and has the agent as its only signer, whatever
// the shape. Errors are *Problem, or of random and agent.
func ADCSRequest(csr []byte, template string, shape Shape, agent crypto.Signer, agentChain []*x509.Certificate, now time.Time, random io.Reader) ([]byte, error) {
	return nil, errors.ErrUnsupported
}
