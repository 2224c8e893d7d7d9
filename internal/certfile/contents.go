package certfile

import (
	"crypto"
	"crypto/x509"
	"fmt"

	"callsign/chain"
)

// Kind says what an Object is.
type Kind int

// The kinds of objects.
const (
	Certificate    Kind = iota + 1 // Object.Certificate is set, or Object.Err tells why not
	Request                        // Object.Request is set, or Object.Err; its signature is not checked
	PrivateKey                     // Object.Key is set, unless it is encrypted or Options.CertificatesOnly
	RevocationList                 // Object.RevocationList is set, or Object.Err; its signature is not checked
	Other                          // well-formed, but not read by this package: parameters, a public key
)

// String returns the kind in words.
func (k Kind) String() string {
	switch k {
	case Certificate:
		return "certificate"
	case Request:
		return "certificate request"
	case PrivateKey:
		return "private key"
	case RevocationList:
		return "revocation list"
	default:
		return "other object"
	}
}

// Object is one thing found in a file.
type Object struct {
	Kind  Kind
	Line  int    // line of the PEM block's first line, from 1; 0 when the file is not PEM
	Label string // PEM type: "CERTIFICATE", "PKCS7"; empty when the file is not PEM

	// Raw is the DER of a certificate, request or revocation list as it stands in the file, also of one that does not
	// parse; nil for keys and other objects.
	Raw []byte

	Certificate    *x509.Certificate
	Request        *x509.CertificateRequest
	Key            crypto.Signer
	RevocationList *x509.RevocationList

	// Err tells why nothing above is set: crypto/x509 refuses the object, or the key is encrypted. The error that Parse
	// returns contains it.
	Err *Error
}

// Describe returns the object in words: `RSA 2048 private key`, `certificate "CN=phone,O=Example"`. It never shows more of
// a key than its kind and size.
func (o *Object) Describe() string {
	kind := o.Kind.String()
	switch {
	case o.Certificate != nil:
		return fmt.Sprintf("%s %q", kind, o.Certificate.Subject)
	case o.Request != nil:
		return fmt.Sprintf("%s %q", kind, o.Request.Subject)
	case o.RevocationList != nil:
		return fmt.Sprintf("%s of %q", kind, o.RevocationList.Issuer)
	case o.Key != nil:
		return chain.KeyText(o.Key.Public(), x509.UnknownPublicKeyAlgorithm) + " " + kind
	case o.Kind == PrivateKey && o.Err != nil:
		return "encrypted " + kind
	case o.Kind == Other && o.Label != "":
		return fmt.Sprintf("%q block", o.Label)
	case o.Err != nil:
		return kind + " that does not parse"
	default:
		return kind
	}
}

// Contents is what a file holds, in the order of the file.
type Contents struct {
	Objects []Object
	PEM     bool // the file is PEM, not DER or bare base64
	PKCS12  bool // there is a PKCS #12 in it, read or not
}

// Certificates returns the certificates in the order of the file, those that do not parse left out.
func (c *Contents) Certificates() []*x509.Certificate {
	var certs []*x509.Certificate
	for _, o := range c.Objects {
		if o.Certificate != nil {
			certs = append(certs, o.Certificate)
		}
	}
	return certs
}

// CertificatesDER returns the DER of all certificates in the order of the file, also of those that do not parse.
func (c *Contents) CertificatesDER() [][]byte {
	var all [][]byte
	for _, o := range c.Objects {
		if o.Kind == Certificate {
			all = append(all, o.Raw)
		}
	}
	return all
}

// Requests returns the certification requests in the order of the file, those that do not parse left out.
func (c *Contents) Requests() []*x509.CertificateRequest {
	var requests []*x509.CertificateRequest
	for _, o := range c.Objects {
		if o.Request != nil {
			requests = append(requests, o.Request)
		}
	}
	return requests
}

// RevocationLists returns the revocation lists in the order of the file, those that do not parse left out.
func (c *Contents) RevocationLists() []*x509.RevocationList {
	var lists []*x509.RevocationList
	for _, o := range c.Objects {
		if o.RevocationList != nil {
			lists = append(lists, o.RevocationList)
		}
	}
	return lists
}

// Keys returns the private keys in the order of the file, those that were not read left out.
func (c *Contents) Keys() []crypto.Signer {
	var keys []crypto.Signer
	for _, o := range c.Objects {
		if o.Key != nil {
			keys = append(keys, o.Key)
		}
	}
	return keys
}
