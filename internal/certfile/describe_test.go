package certfile_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/certfile"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edText, err := certfile.EncodeKey(edKey)
	if err != nil {
		t.Fatal(err)
	}
	control := newAuthority(t, "red\x1b[31m")
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"RSA key", read(t, "pub-tomcat.key"), []string{"RSA 2048 private key"}},
		{"EC key", read(t, "pub-tomcat-ecdsa.key"), []string{"EC P-384 private key"}},
		{"Ed25519 key", string(edText), []string{"Ed25519 private key"}},
		{"encrypted keys", read(t, "encrypted-keys-and-certificate.pem"), []string{
			"encrypted private key", "encrypted private key", `certificate "CN=Encrypted key,O=Example Voice Lab"`,
		}},
		{"request", read(t, "pub-tomcat.csr"), []string{
			`certificate request "CN=cucmpub.lab.example.com,O=Example Voice Lab,L=Lab City,ST=Lab State,C=US"`,
		}},
		{"revocation list", read(t, "root-a.crl.pem"), []string{`revocation list of "CN=Edge Lab Root A,OU=Test,O=Edge Lab,C=BE"`}},
		{"does not parse", read(t, "negative-serial.pem"), []string{"certificate that does not parse"}},
		{"something else", block("EC PARAMETERS", []byte{6, 1, 0}), []string{`"EC PARAMETERS" block`}},
		{"escape sequence", block("CERTIFICATE", control.Raw), []string{`certificate "CN=red\x1b[31m"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			contents, _ := certfile.Parse([]byte(tc.text)) // some do not parse, which is what is described
			var got []string
			for _, o := range contents.Objects {
				got = append(got, o.Describe())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("descriptions (-want +got):\n%s", diff)
			}
		})
	}
	only, err := certfile.ParseWith([]byte(read(t, "pub-tomcat.key")), certfile.Options{CertificatesOnly: true})
	if err != nil || only.Objects[0].Describe() != "private key" {
		t.Errorf("%v, %v", only.Objects, err)
	}
}

// TestCertificatesOnly checks that keys hide no certificate from who wants certificates.
func TestCertificatesOnly(t *testing.T) {
	t.Parallel()
	path := "testdata/encrypted-keys-and-certificate.pem"
	certs, err := certfile.LoadCertificates(path)
	if err != nil || len(certs) != 1 || certs[0].Subject.CommonName != "Encrypted key" {
		t.Errorf("%d certificates, %v", len(certs), err)
	}
	contents, err := certfile.Load(path)
	requireProblem(t, err, certfile.CodeUnsupported, "openssl pkey")
	if diff := cmp.Diff([][]byte{certs[0].Raw}, contents.CertificatesDER()); diff != "" {
		t.Errorf("certificates (-want +got):\n%s", diff)
	}
	damaged := block("PRIVATE KEY", []byte("damaged")) + block("CERTIFICATE", certs[0].Raw)
	if _, err := certfile.ParseWith([]byte(damaged), certfile.Options{CertificatesOnly: true}); err != nil {
		t.Error(err)
	}
	only, err := certfile.ParseWith(der(t, "pub-tomcat.key"), certfile.Options{CertificatesOnly: true})
	if err != nil || len(only.Objects) != 1 || only.Objects[0].Kind != certfile.PrivateKey || only.Objects[0].Key != nil {
		t.Errorf("%d objects, %v", len(only.Objects), err)
	}
	_, err = certfile.LoadCertificates("testdata/negative-serial.pem")
	requireProblem(t, err, certfile.CodeDamaged, "")
}

// TestErrorsShowNoKey damages keys at every byte and looks for them in the errors.
func TestErrorsShowNoKey(t *testing.T) {
	t.Parallel()
	key := der(t, "pub-tomcat-ecdsa.key")
	private := key[len(key)/4 : len(key)/2] // the scalar is in the first half, behind the algorithm
	refused := 0
	for i := range key {
		changed := append([]byte{}, key...)
		changed[i] ^= 0x21
		_, err := certfile.Parse([]byte(block("PRIVATE KEY", changed)))
		if err == nil {
			continue
		}
		refused++
		text := err.Error()
		for at := 0; at+4 <= len(private); at++ {
			part := private[at : at+4]
			for _, shown := range []string{string(part), hex.EncodeToString(part), strings.Trim(fmt.Sprintf("%d", part), "[]")} {
				if strings.Contains(strings.ToLower(text), shown) {
					t.Fatalf("byte %d: the error shows the key: %s", i, text)
				}
			}
		}
	}
	if refused < len(key)/10 {
		t.Errorf("only %d of %d damaged keys were refused", refused, len(key))
	}
}
