package certfile_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"callsign/internal/certfile"
	"callsign/internal/secret"
)

// authority is a self-signed certificate with its key, and what it can issue.
type authority struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

var validity = [2]time.Time{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)}

func newAuthority(t testing.TB, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, SerialNumber: big.NewInt(0x1122334455667788), NotBefore: validity[0], NotAfter: validity[1],
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

// bundle returns n different certificates in PEM. Their signatures are wrong, which nobody looks at here.
func (a authority) bundle(t testing.TB, n int) []byte {
	t.Helper()
	serial := binary.BigEndian.AppendUint64(nil, 0x1122334455667788)
	var out bytes.Buffer
	for i := range n {
		other := binary.BigEndian.AppendUint64(nil, 0x1122334400000000+uint64(i))
		err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: bytes.Replace(a.Raw, serial, other, 1)})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// revocationList returns a CRL with n entries.
func (a authority) revocationList(t testing.TB, n int) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: validity[0], NextUpdate: validity[1]}
	for i := range n {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: big.NewInt(int64(i) + 1<<40), RevocationTime: validity[0],
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.Certificate, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// odd returns a with a serial number below zero, which crypto/x509 refuses to parse.
func (a authority) odd(t testing.TB) []byte {
	t.Helper()
	raw := bytes.Replace(a.Raw, []byte{2, 8, 0x11, 0x22}, []byte{2, 8, 0x91, 0x22}, 1)
	if _, err := x509.ParseCertificate(raw); err == nil {
		t.Fatal("a negative serial number parses")
	}
	return raw
}

// der returns the contents of the first PEM block of a file in testdata.
func der(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := pem.Decode(data)
	if b == nil {
		t.Fatalf("%s is not PEM", name)
	}
	return b.Bytes
}

// asBER returns a DER value with indefinite lengths down to a depth.
func asBER(t testing.TB, der []byte, depth int) []byte {
	t.Helper()
	in := cryptobyte.String(der)
	var out []byte
	for !in.Empty() {
		var element, inside cryptobyte.String
		var tag cbasn1.Tag
		if !in.ReadAnyASN1Element(&element, &tag) {
			t.Fatal("not DER")
		}
		if depth == 0 || tag&0x20 == 0 {
			out = append(out, element...)
			continue
		}
		if !element.ReadASN1(&inside, tag) {
			t.Fatal("not DER")
		}
		out = append(append(append(out, byte(tag), 0x80), asBER(t, inside, depth-1)...), 0, 0)
	}
	return out
}

// openssl runs the program in dir and returns what it prints. Continuous integration has to have it.
func openssl(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is needed for this test in continuous integration")
		}
		t.Skip("openssl is not installed")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, stderr.String())
	}
	return out
}

// with is the option of a password.
func with(password string) certfile.Options {
	return certfile.Options{Password: func() (secret.String, error) { return secret.NewString(password), nil }}
}

// kinds returns what is in the contents.
func kinds(c *certfile.Contents) []certfile.Kind {
	var all []certfile.Kind
	for _, o := range c.Objects {
		all = append(all, o.Kind)
	}
	return all
}

// rewritten returns the objects that were read as PEM.
func rewritten(t testing.TB, objects []certfile.Object) []byte {
	t.Helper()
	labels := map[certfile.Kind]string{
		certfile.Certificate: "CERTIFICATE", certfile.Request: "CERTIFICATE REQUEST", certfile.RevocationList: "X509 CRL",
	}
	var out []byte
	for _, o := range objects {
		switch {
		case o.Key != nil:
			text, err := certfile.EncodeKey(o.Key)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, text...)
		case labels[o.Kind] != "":
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: labels[o.Kind], Bytes: o.Raw})...)
		}
	}
	return out
}

// summary is what must be the same when an object is read again.
type summary struct {
	Kind   certfile.Kind
	Raw    []byte
	Parses bool
	Key    crypto.PublicKey
}

func summaries(objects []certfile.Object) []summary {
	var all []summary
	for _, o := range objects {
		s := summary{Kind: o.Kind, Raw: o.Raw, Parses: o.Err == nil}
		if o.Key != nil {
			s.Key = o.Key.Public()
		} else if o.Kind == certfile.PrivateKey || o.Kind == certfile.Other {
			continue
		}
		all = append(all, s)
	}
	return all
}
