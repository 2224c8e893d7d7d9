package offline

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"callsign/cmc"
	"callsign/internal/ca"
)

// Form is how a request is written.
type Form string

// The forms of a request.
const (
	FormPKCS10 Form = "pkcs10" // PKCS#10 without a signature; one that the device signed as it is
	FormCMC    Form = "cmc"    // CMC request for AD CS, signed by an enrollment agent
	FormSPKI   Form = "spki"   // public key, and a file of extensions for OpenSSL
)

// Forms are all forms, the default first.
func Forms() []Form { return []Form{FormPKCS10, FormCMC, FormSPKI} }

// Suffix is the end of the name of a file with a request of this form.
func (f Form) Suffix() string {
	switch f {
	case FormCMC:
		return ".req"
	case FormSPKI:
		return ".pub"
	default:
		return ".csr"
	}
}

// ExtensionsSuffix is the end of the name of the file with the extensions that go with [FormSPKI].
const ExtensionsSuffix = ".cnf"

// Exporter writes requests. The zero value writes every form but [FormCMC].
type Exporter struct {
	// Agent signs CMC requests; AgentChain begins with its certificate (Certificate Request Agent).
	Agent      crypto.Signer
	AgentChain []*x509.Certificate
	Template   string    // certificate template of AD CS that a CMC request names; may be empty
	Shape      cmc.Shape // of a CMC request; 0 means cmc.Supplied
	// Account names the account that a CMC request is on behalf of; the zero value names nobody.
	Account cmc.AccountPattern
}

// Request returns r as PEM in the form f. made is when the request was made: it stands in a CMC request, so that the same request gives
// the same bytes. Errors are *ca.Error: CodeNoAgent, CodeRequest.
func (x Exporter) Request(r ca.Request, f Form, made time.Time) ([]byte, error) {
	block := &pem.Block{}
	var err error
	switch f {
	case FormSPKI:
		block.Type, block.Bytes = "PUBLIC KEY", r.PublicKey
	case FormCMC:
		block.Type = "NEW CERTIFICATE REQUEST"
		block.Bytes, err = x.cmc(r, made)
	case FormPKCS10:
		block.Type, block.Bytes = "CERTIFICATE REQUEST", r.CSR
		if r.CSR == nil {
			block.Bytes, err = cmc.NullSignedRaw(r.PublicKey, r.Subject, r.Extensions, cmc.RFC)
		}
	default:
		err = fmt.Errorf("unknown form %q", f)
	}
	if coded, ok := errors.AsType[*ca.Error](err); ok {
		return nil, coded
	}
	if err != nil {
		return nil, &ca.Error{
			ErrCode: CodeRequest, Final: true, Err: err, Detail: fmt.Sprintf("request %s of %s cannot be written as %s", RequestID(r.ID), r.Owner, f),
			Fix: "look at the cause; order the certificate anew if the phone's key is broken: callsign phone set NAME --operation install",
		}
	}
	return pem.EncodeToMemory(block), nil
}

// cmc makes the request that AD CS takes.
func (x Exporter) cmc(r ca.Request, made time.Time) ([]byte, error) {
	if x.Agent == nil || len(x.AgentChain) == 0 {
		return nil, &ca.Error{
			ErrCode: CodeNoAgent, Final: true, Detail: "a CMC request is signed by an enrollment agent, and none is configured",
			Fix: "set adcs.agent_certificate_file and adcs.agent_key_file to an enrollment agent certificate (template Enrollment Agent), or use --format pkcs10 or spki",
		}
	}
	csr := r.CSR
	if csr == nil {
		var err error
		if csr, err = cmc.NullSignedRaw(r.PublicKey, r.Subject, r.Extensions, cmc.Microsoft); err != nil {
			return nil, err
		}
	}
	if from := x.AgentChain[0].NotBefore; made.Before(from) {
		made = from // an agent signs nothing before its time
	}
	shape := x.Shape
	if shape == 0 {
		shape = cmc.Supplied
	}
	// Without a random source signatures are deterministic (RFC 6979).
	if !x.Account.IsZero() {
		account, err := x.Account.Account(r.Subject)
		if err != nil {
			return nil, err
		}
		return cmc.ADCSOnBehalfRequest(csr, x.Template, account, shape, x.Agent, x.AgentChain, made, nil)
	}
	return cmc.ADCSRequest(csr, x.Template, shape, x.Agent, x.AgentChain, made, nil)
}

// Extensions returns the extensions of a phone's certificate as a configuration for openssl x509 -extfile. device is the phone's
// name, which becomes the subjectAltName; a name with characters that have a meaning there is left out.
func Extensions(device string) []byte {
	var b bytes.Buffer
	b.WriteString("basicConstraints = critical, CA:FALSE\n" +
		"keyUsage = critical, digitalSignature, keyEncipherment\n" +
		"extendedKeyUsage = clientAuth, serverAuth, 1.3.6.1.5.5.7.3.5\n" +
		"subjectKeyIdentifier = hash\n" +
		"authorityKeyIdentifier = keyid\n")
	if device != "" && strings.Trim(device, nameCharacters) == "" {
		b.WriteString("subjectAltName = URI:" + device + "\n")
	}
	return b.Bytes()
}

// nameCharacters are those of device names; none of them means anything to OpenSSL or to a file system.
const nameCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

// FileName is the name, without suffix, of the file with a device's request: the device's name, in which every character that is
// none of a device name becomes an underscore.
func FileName(device string) string {
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune(nameCharacters, r) {
			return r
		}
		return '_'
	}, device)
	if strings.Trim(name, ".") == "" {
		return "_" + name
	}
	return name
}

// Device is the phone's name in the owner of a request, or the owner itself.
func Device(owner string) string { return strings.TrimPrefix(owner, "phone:") }

// KeyHash identifies a public key whatever its encoding: SHA-256 of the DER SubjectPublicKeyInfo that crypto/x509 writes.
func KeyHash(spki []byte) ([sha256.Size]byte, error) {
	key, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("read public key: %w", err)
	}
	if spki, err = x509.MarshalPKIXPublicKey(key); err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("encode public key: %w", err)
	}
	return sha256.Sum256(spki), nil
}
