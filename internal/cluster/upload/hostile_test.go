package upload_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/chain"
	"callsign/internal/cluster/upload"
)

var hostileAt = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// issuer is a CA, or what takes itself for one.
type issuer struct {
	x   *x509.Certificate
	key crypto.Signer
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a certificate, valid around hostileAt unless the template says when.
func (i *issuer) issue(t testing.TB, c *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = serial
	if c.NotBefore.IsZero() {
		c.NotBefore = hostileAt.AddDate(-1, 0, 0)
	}
	c.NotAfter = hostileAt.AddDate(2, 0, 0)
	der, err := x509.CreateCertificate(rand.Reader, c, i.x, public, i.key)
	if err != nil {
		t.Fatal(err)
	}
	x, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// root makes a self-signed CA certificate.
func root(t testing.TB, name string, from time.Time) *issuer {
	t.Helper()
	key := ecKey(t)
	c := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: from, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	self := &issuer{c, key}
	return &issuer{self.issue(t, c, key.Public()), key}
}

func requestFor(t testing.TB, key crypto.Signer, name string) *x509.CertificateRequest {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func fileOf(certs ...*x509.Certificate) *upload.File {
	var der []byte
	for _, c := range certs {
		der = append(der, c.Raw...)
	}
	return upload.Read(der)
}

// TestLeafIsNoAnchor: a trust store takes any certificate without a look at its signature. One whose subject is its issuer is
// not its own root for that.
func TestLeafIsNoAnchor(t *testing.T) {
	t.Parallel()
	const name = "a.example.com"
	key := ecKey(t)
	forger := &issuer{&x509.Certificate{Subject: pkix.Name{CommonName: name}}, ecKey(t)}
	leaf := forger.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}}, key.Public())
	j := &upload.Judge{
		Purpose: "tomcat-ECDSA", Request: requestFor(t, key, name), Trust: []*chain.Certificate{chain.Of(leaf)}, At: hostileAt,
	}
	if r := j.Judge(fileOf(leaf)); r.Verdict != upload.Rejected || r.Code != upload.CANotInTrust {
		t.Errorf("%s %s, want %s %s", r.Verdict, r.Code, upload.Rejected, upload.CANotInTrust)
	}
}

// TestNewestOfFileStays: of several CAs of one name in a file the newest is stored, whatever their order.
func TestNewestOfFileStays(t *testing.T) {
	t.Parallel()
	older, newer, twin := root(t, "CA", hostileAt.AddDate(-2, 0, 0)), root(t, "CA", hostileAt.AddDate(-1, 0, 0)), root(t, "CA", hostileAt.AddDate(-1, 0, 0))
	for _, certs := range [][]*x509.Certificate{{older.x, newer.x}, {newer.x, older.x}} {
		r := (&upload.Judge{Purpose: "tomcat-trust", At: hostileAt}).Judge(fileOf(certs...))
		if r.Verdict != upload.Accepted || len(r.Add) != 1 || !slices.Equal(r.Add[0].Raw(), newer.x.Raw) {
			t.Errorf("%s %s, adds %d", r.Verdict, r.Message, len(r.Add))
		}
	}
	r := (&upload.Judge{Purpose: "tomcat-trust", At: hostileAt}).Judge(fileOf(newer.x, twin.x))
	if r.Code != upload.TrustOlder || r.Reasons[0].Fixes[0] != "leave one of both in the file" {
		t.Errorf("%s, %+v", r.Code, r.Reasons)
	}
}

// TestWildcardInChain: what comes along with a certificate follows the rules of the store.
func TestWildcardInChain(t *testing.T) {
	t.Parallel()
	const name = "a.example.com"
	key := ecKey(t)
	good, wild := root(t, "CA", time.Time{}), root(t, "*.example.com", time.Time{})
	leaf := good.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}}, key.Public())
	r := (&upload.Judge{Purpose: "tomcat-ECDSA", Request: requestFor(t, key, name), At: hostileAt}).Judge(fileOf(leaf, good.x, wild.x))
	if diff := cmp.Diff([]string{"CHAIN_NOT_STORED", "KU_ABSENT", "EKU_ABSENT"}, warnings(r)); r.Verdict != upload.Accepted || len(r.Add) != 1 || diff != "" {
		t.Errorf("%s %s, adds %d, warnings %s", r.Verdict, r.Message, len(r.Add), diff)
	}
}

// TestMalformedName: a name in an encoding that nobody reads is not the name of the request.
func TestMalformedName(t *testing.T) {
	t.Parallel()
	const name = "a.example.com"
	r := exchange(t, []asn1.RawValue{{Class: 2, Tag: 2, Bytes: []byte(name)}}, []asn1.RawValue{{Class: 2, Tag: 2, IsCompound: true, Bytes: []byte(name)}})
	if r.Code != upload.CSRSANMismatch {
		t.Errorf("%s, want %s", r.Code, upload.CSRSANMismatch)
	}
}

// TestFewCauses: a certificate made of thousands of faults is refused in a few words.
func TestFewCauses(t *testing.T) {
	t.Parallel()
	const name, many = "a.example.com", 5000
	key, ca := ecKey(t), root(t, "CA", time.Time{})
	c := &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}}
	for i := range many {
		c.IPAddresses = append(c.IPAddresses, []byte{10, 0, byte(i >> 8), byte(i)})
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, i}, Critical: true, Value: []byte{5, 0}})
	}
	leaf := ca.issue(t, c, key.Public())
	r := (&upload.Judge{Purpose: "tomcat-ECDSA", Request: requestFor(t, key, name), Trust: []*chain.Certificate{chain.Of(ca.x)}, At: hostileAt}).Judge(fileOf(leaf))
	texts := 0
	for _, reason := range r.Reasons {
		texts += 1 + len(reason.Causes) + len(reason.Fixes) + len(reason.Values)
	}
	if r.Code != upload.CSRSANMismatch || texts > 100 {
		t.Errorf("%s in %d texts", r.Code, texts)
	}
}

// TestRollover: a CA certificate that the CA's former key signed is on the way to a root, and is none.
func TestRollover(t *testing.T) {
	t.Parallel()
	const name = "a.example.com"
	key := ecKey(t)
	former, next := root(t, "CA", hostileAt.AddDate(-3, 0, 0)), root(t, "CA", hostileAt.AddDate(-1, 0, 0))
	link := former.issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: next.x.SubjectKeyId,
	}, next.x.PublicKey)
	if link.AuthorityKeyId != nil {
		t.Fatal("the link has the key identifier of its issuer")
	}
	leaf := next.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}}, key.Public())
	for what, c := range map[string]struct {
		store []*x509.Certificate
		code  upload.Code
		path  int
	}{
		"the link alone":       {[]*x509.Certificate{link}, upload.CANotInTrust, 0},
		"the link and a root":  {[]*x509.Certificate{link, former.x}, "", 3},
		"all three":            {[]*x509.Certificate{link, former.x, next.x}, "", 2},
		"the former root only": {[]*x509.Certificate{former.x}, upload.CANotInTrust, 0},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := (&upload.Judge{Purpose: "tomcat-ECDSA", Request: requestFor(t, key, name), Trust: chain.OfAll(c.store), At: hostileAt}).Judge(fileOf(leaf))
			if r.Code != c.code || len(r.Path) != c.path {
				t.Errorf("%s %q, path of %d; want %s, %d", r.Code, r.Message, len(r.Path), c.code, c.path)
			}
		})
	}
}

// TestHugeKey: no signature is verified with a key of which one verification takes minutes.
func TestHugeKey(t *testing.T) {
	t.Parallel()
	const name = "a.example.com"
	modulus := new(big.Int).Lsh(big.NewInt(1), 8*180_000)
	modulus.Sub(modulus, big.NewInt(1))
	key := &rsa.PublicKey{N: modulus, E: 1<<31 - 1}
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	by := &issuer{&x509.Certificate{Subject: pkix.Name{CommonName: name}}, signer}
	leaf := by.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}}, key)
	r := (&upload.Judge{Purpose: "tomcat", Request: requestFor(t, ecKey(t), name), Trust: nil, At: hostileAt}).Judge(fileOf(leaf))
	if !slices.ContainsFunc(r.Reasons, func(x upload.Reason) bool { return x.Code == upload.SelfSignedUpload }) {
		t.Errorf("%+v, want among them %s", r.Reasons, upload.SelfSignedUpload)
	}
}
