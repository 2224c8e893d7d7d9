package cluster

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"

	"callsign/internal/cluster/upload"
)

// The errors of KeyFits.
var (
	ErrKeyUnreadable = errors.New("the private key cannot be read")
	ErrKeyOther      = errors.New("the private key is another one's")
)

// KeyFits returns nil when the private key in PKCS #8 is that of the SubjectPublicKeyInfo in DER, and else
// [ErrKeyUnreadable] or [ErrKeyOther]: nothing of the key is in an error.
func KeyFits(key, spki []byte) error {
	parsed, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return ErrKeyUnreadable // without the cause, which may quote the key
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return ErrKeyUnreadable
	}
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return ErrKeyUnreadable
	}
	if !bytes.Equal(public, spki) {
		return ErrKeyOther
	}
	return nil
}

// Check looks at what can be told of a change without the cluster: that keys which come with certificates and requests are
// theirs, that fingerprints are those of the certificates, and that every part says where it belongs. Implementations of Store call
// it before they write. The key of a request that an Install consumes is left to be checked by them.
func (c *Change) Check() error {
	for i := range c.AddRequests {
		if err := c.AddRequests[i].check(); err != nil {
			return err
		}
	}
	for i := range c.Install {
		if err := c.Install[i].check(); err != nil {
			return err
		}
	}
	for i := range c.AddTrust {
		t := &c.AddTrust[i]
		if t.Store == "" {
			return fmt.Errorf("trust certificate %q: no trust store is named", t.CommonName)
		}
		if fingerprint(t.DER) != t.SHA256 {
			return fmt.Errorf("trust certificate %q for %s: the fingerprint is another certificate's", t.CommonName, t.Store)
		}
	}
	return nil
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

func (r *NewRequest) check() error {
	at := Place{r.Purpose, r.Node}
	if r.Purpose == "" {
		return errors.New("a request without a purpose")
	}
	x, err := x509.ParseCertificateRequest(r.DER)
	if err != nil {
		return fmt.Errorf("read the request for %s: %w", at, err)
	}
	if upload.KeyHash(x.RawSubjectPublicKeyInfo) != r.KeyHash {
		return fmt.Errorf("the request for %s has another key than its record says", at)
	}
	if err := KeyFits(r.Key, x.RawSubjectPublicKeyInfo); err != nil {
		return KeyProblem("the request for "+at.String(), err)
	}
	return nil
}

func (in *Install) check() error {
	switch {
	case in.Purpose == "":
		return errors.New("a certificate to be installed without a purpose")
	case len(in.Nodes) == 0:
		return fmt.Errorf("install %s: no node is named", in.Purpose)
	case (len(in.Key) > 0) == (in.From != nil):
		return fmt.Errorf("install %s: either a key or a request with the key has to be given", in.Purpose)
	case fingerprint(in.DER) != in.SHA256:
		return fmt.Errorf("install %s: the fingerprint is another certificate's", in.Purpose)
	}
	seen := make(map[string]bool, len(in.Nodes))
	for _, n := range in.Nodes {
		if n == AllNodes || seen[n] {
			return fmt.Errorf("install %s: the nodes %q are not different ones", in.Purpose, in.Nodes)
		}
		seen[n] = true
	}
	spki, err := in.PublicKey()
	if err != nil {
		return err
	}
	if in.From != nil {
		return nil
	}
	if err := KeyFits(in.Key, spki); err != nil {
		return KeyProblem("the certificate for "+in.Purpose, err)
	}
	return nil
}

// PublicKey returns the certificate's SubjectPublicKeyInfo in DER.
func (in *Install) PublicKey() ([]byte, error) {
	x, err := x509.ParseCertificate(in.DER)
	if err != nil {
		return nil, fmt.Errorf("read the certificate for %s: %w", in.Purpose, err)
	}
	return x.RawSubjectPublicKeyInfo, nil
}

// String returns "tomcat on cucm1".
func (p Place) String() string { return p.Purpose + " on " + nodeText(p.Node) }

// String returns "tomcat-trust on cucm1".
func (p TrustPlace) String() string { return p.Store + " on " + nodeText(p.Node) }

func nodeText(node string) string {
	if node == AllNodes {
		return "every node"
	}
	return node
}

// NoRequest is the Problem of a place where no request waits, with CodeNoRequest.
func NoRequest(at Place) *Problem {
	return &Problem{
		ErrCode: CodeNoRequest, Detail: "no request waits for " + at.String(),
		Fix: "look at the requests that wait: it was deleted, or its certificate was installed; make a new one",
	}
}

// NoTrust is the Problem of a trust certificate that is not there, with CodeNoCert.
func NoTrust(at TrustPlace) *Problem {
	return &Problem{
		ErrCode: CodeNoCert, Detail: "no certificate with the fingerprint " + at.SHA256 + " is in " + at.String(),
		Fix: "look at the list of the store: it may have been deleted or replaced already",
	}
}

// KeyProblem is the Problem of a certificate or request ("the request for tomcat on cucm1") whose key does not fit, with
// CodeKeysMismatch; err is that of KeyFits.
func KeyProblem(object string, err error) *Problem {
	return &Problem{
		ErrCode: CodeKeysMismatch, Detail: object + " was not stored", Err: err,
		Fix: "nothing was changed; make a new request and have it signed",
	}
}
