package cluster

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"time"

	"callsign/chain"
)

// AllNodes stands in a record for every node of the cluster, where others have the name of one.
const AllNodes = ""

// Record is what the store keeps of each certificate beside its DER, so that lists need not parse it.
type Record struct {
	SHA256     string // fingerprint of the DER in lower-case hexadecimal
	CommonName string // the subject's last common name; empty without one
	IssuerName string // the issuer's last common name, or the issuer as text
	Subject    string // as text
	SubjectKey string // chain.NameKey of the subject
	IssuerKey  string // chain.NameKey of the issuer
	Serial     string // chain.SerialText
	KeyType    string // "RSA", "EC", or the name of another kind
	KeyBits    int    // 0 for a kind without sizes
	NotBefore  time.Time
	NotAfter   time.Time
	SelfSigned bool   // by its names and key identifiers
	CA         bool   // basicConstraints say so
	KeyID      string // subject key identifier in lower-case hexadecimal; empty for none
	Authority  string // key identifier of the issuer, as KeyID
}

// NewRecord reads the record of a certificate.
func NewRecord(x *x509.Certificate) Record {
	c := chain.Of(x)
	r := Record{
		SHA256: c.SHA256(), CommonName: x.Subject.CommonName, IssuerName: x.Issuer.CommonName, Subject: c.Subject(),
		SubjectKey: c.SubjectKey(), IssuerKey: c.IssuerKey(), Serial: chain.SerialText(x.SerialNumber),
		NotBefore: x.NotBefore.UTC(), NotAfter: x.NotAfter.UTC(), SelfSigned: c.ClaimsSelfSigned(), CA: x.BasicConstraintsValid && x.IsCA,
		KeyID: hex.EncodeToString(x.SubjectKeyId), Authority: hex.EncodeToString(x.AuthorityKeyId),
	}
	if r.IssuerName == "" {
		r.IssuerName = c.Issuer()
	}
	r.KeyType, r.KeyBits = keyKind(x.PublicKey, x.PublicKeyAlgorithm)
	return r
}

// FoldName returns a common name with ASCII letters in lower case and everything else, octet by octet, as it is: names that
// differ in case only have one.
func FoldName(name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// Identity is an identity certificate of a node. Its key is in the store.
type Identity struct {
	Purpose string // "tomcat"
	Node    string // never AllNodes: a multi-server certificate is there once for each node
	Multi   bool   // Multi-server(SAN): the same certificate and key on every node
	DER     []byte
	Record

	Description string // as the list shows it
	Since       time.Time
}

// X509 returns the certificate parsed.
func (id *Identity) X509() (*x509.Certificate, error) {
	x, err := x509.ParseCertificate(id.DER)
	if err != nil {
		return nil, fmt.Errorf("read the certificate of %s in the database: %w", place(id.Purpose, id.Node), err)
	}
	return x, nil
}

// Generation is an identity certificate that was in service until another replaced it. Its key is in the store, too, until
// Change.ForgetBefore ends both.
type Generation struct {
	Identity
	Replaced time.Time
}

// Request is a certification request that waits for its certificate. Its key is in the store.
type Request struct {
	Purpose string
	Node    string // AllNodes for a multi-server request
	DER     []byte // PKCS #10
	KeyHash string // SHA-256 of the SubjectPublicKeyInfo in lower-case hexadecimal
	Created time.Time
}

// Retired is what is remembered of a request that was replaced or deleted: enough to tell its certificate when it comes.
type Retired struct {
	Purpose string
	Node    string
	KeyHash string
	Created time.Time
	Ended   time.Time // when it was replaced or deleted
}

// MaxRetired is how many requests of one purpose and node are remembered.
const MaxRetired = 10

// Origin says where a trust certificate comes from.
type Origin string

// The origins.
const (
	Uploaded Origin = "uploaded" // by an administrator
	System   Origin = "system"   // a copy of an identity certificate, made when that was installed
)

// Trust is a certificate in a trust store.
type Trust struct {
	Store string // "tomcat-trust"
	Node  string // AllNodes where the store is replicated
	DER   []byte // empty in lists
	Record

	Origin      Origin
	Of          string // of a System certificate: the purpose that it is a copy of
	OfNode      string // of a System certificate: the node, AllNodes for a multi-server one
	Description string
	Added       time.Time
}

// Subject is what requests and self-signed certificates of a node say beside the common name: the settings of
// set web-security.
type Subject struct {
	Node               string
	Units              []string // OU, in their order
	Organization       string
	Locality           string
	State              string
	Country            string // two letters
	AlternateHostNames []string
}

// EventsKept is how many events of a cluster are kept at least.
const EventsKept = 10_000

// Event is a change that somebody made, for the history.
type Event struct {
	At      time.Time
	Actor   string // account
	Action  string // "request.created", ...; the constants that begin with Action
	Purpose string // or the trust store
	Node    string // AllNodes for every node
	Before  string // fingerprint of the certificate that went; empty for none
	After   string // fingerprint of the certificate, or the key hash of the request, that came; empty for none
	Detail  string // in a few words
}

// What events say.
const (
	ActionRequestCreated = "request.created"
	ActionRequestDeleted = "request.deleted"
	ActionUploaded       = "certificate.uploaded"
	ActionRegenerated    = "certificate.regenerated"
	ActionTrustAdded     = "trust.added"
	ActionTrustReplaced  = "trust.replaced"
	ActionTrustDeleted   = "trust.deleted"
	ActionSubjectSet     = "subject.set"
)
