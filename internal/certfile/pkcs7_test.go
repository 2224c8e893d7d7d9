package certfile_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"callsign/cmc"
	"callsign/internal/certfile"
)

func TestPKCS7(t *testing.T) {
	t.Parallel()
	chain, err := certfile.LoadCertificates("testdata/ca-chain.pem")
	if err != nil {
		t.Fatal(err)
	}
	var want [][]byte
	for _, c := range chain {
		want = append(want, c.Raw)
	}
	bundle := der(t, "ca-chain.p7b")
	for _, tc := range []struct {
		name string
		data []byte
	}{
		{"PKCS7", []byte(block("PKCS7", bundle))},
		{"CMS", []byte(block("CMS", bundle))},
		{"PKCS #7 SIGNED DATA", []byte(block("PKCS #7 SIGNED DATA", bundle))},
		{"labelled CERTIFICATE", []byte(block("CERTIFICATE", bundle))},
		{"DER", bundle},
		{"bare base64", []byte(base64.StdEncoding.EncodeToString(bundle))},
		{"BER", asBER(t, bundle, 4)},
		{"BER in PEM", []byte(block("PKCS7", asBER(t, bundle, 4)))},
		{"BER labelled CERTIFICATE", []byte(block("CERTIFICATE", asBER(t, bundle, 4)))},
		{"BER in bare base64", []byte(base64.StdEncoding.EncodeToString(asBER(t, bundle, 4)))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			contents, err := certfile.Parse(tc.data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, contents.CertificatesDER()); diff != "" {
				t.Errorf("certificates (-want +got):\n%s", diff)
			}
			for _, o := range contents.Objects {
				if contents.PEM && (o.Line != 1 || o.Label == "") {
					t.Errorf("line %d, label %q", o.Line, o.Label)
				}
			}
		})
	}
}

// TestPKCS7Members checks that one member costs itself only.
func TestPKCS7Members(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "CA")
	odd, list := a.odd(t), a.revocationList(t, 2)
	plain, err := cmc.CertsOnly(a.Certificate, a.Certificate, a.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"DER": bytes.Replace(plain, a.Raw, odd, 2), "BER": asBER(t, bytes.Replace(plain, a.Raw, odd, 2), 4)} {
		t.Run("certificates that do not parse in "+name, func(t *testing.T) {
			t.Parallel()
			contents, err := certfile.Parse(data)
			if diff := cmp.Diff([]string{certfile.CodeDamaged, certfile.CodeDamaged}, codes(err)); diff != "" {
				t.Errorf("codes (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([][]byte{odd, odd, a.Raw}, contents.CertificatesDER()); diff != "" {
				t.Errorf("certificates (-want +got):\n%s", diff)
			}
			if o := contents.Objects[1]; o.Certificate != nil || o.Err == nil || o.Err.Error() != "certificate 2 of the bundle does not parse: x509: negative serial number" {
				t.Errorf("got %v", o.Err)
			}
		})
	}
	t.Run("revocation list", func(t *testing.T) {
		t.Parallel()
		contents, err := certfile.Parse(withCRL(t, a.Raw, list))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]certfile.Kind{certfile.Certificate, certfile.RevocationList}, kinds(contents)); diff != "" {
			t.Errorf("objects (-want +got):\n%s", diff)
		}
		if got := contents.RevocationLists()[0]; !bytes.Equal(got.Raw, list) || len(got.RevokedCertificateEntries) != 2 {
			t.Error("another list came out")
		}
	})
	t.Run("revocation list among the certificates", func(t *testing.T) {
		t.Parallel()
		contents, err := certfile.Parse([]byte(block("PKCS7", withCRL(t, append(bytes.Clone(list), a.Raw...), nil))))
		requireProblem(t, err, certfile.CodeDamaged, "")
		if got := err.Error(); got != "line 1: certificate 1 of the bundle is a revocation list" || len(contents.Certificates()) != 1 {
			t.Errorf("%d certificates, %s", len(contents.Certificates()), got)
		}
	})
	t.Run("nothing in it", func(t *testing.T) {
		t.Parallel()
		contents, err := certfile.Parse(withCRL(t, nil, nil))
		requireProblem(t, err, certfile.CodeEmpty, "export")
		if len(contents.Objects) != 0 {
			t.Errorf("%d objects", len(contents.Objects))
		}
	})
	t.Run("encrypted message", func(t *testing.T) {
		t.Parallel()
		data := bytes.Replace(plain, []byte{1, 7, 2}, []byte{1, 7, 3}, 1)
		_, err := certfile.Parse(data)
		requireProblem(t, err, certfile.CodeDamaged, "openssl pkcs7")
	})
	t.Run("too many members", func(t *testing.T) {
		t.Parallel()
		small := bytes.Repeat([]byte{0x30, 0}, certfile.MaxObjects+1)
		_, err := certfile.Parse(withCRL(t, small, nil))
		requireProblem(t, err, certfile.CodeTooLarge, "")
	})
}

// withCRL returns a certs-only message with these members.
func withCRL(t *testing.T, certificates, lists []byte) []byte {
	t.Helper()
	var b cryptobyte.Builder
	info(&b, append(oidData[:len(oidData)-1:len(oidData)-1], 2), func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(1)
			b.AddASN1(cbasn1.SET, func(*cryptobyte.Builder) {})
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidData) })
			b.AddASN1(context0, func(b *cryptobyte.Builder) { b.AddBytes(certificates) })
			b.AddASN1(cbasn1.Tag(1).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { b.AddBytes(lists) })
			b.AddASN1(cbasn1.SET, func(*cryptobyte.Builder) {})
		})
	})
	return b.BytesOrPanic()
}

// TestPKCS7OpenSSL reads bundles that openssl writes, one of them signed, streamed in BER.
func TestPKCS7OpenSSL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"tomcat-full.pem", "ca-chain.pem", "pub-tomcat.key", "root-a.crl.pem", "text.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(read(t, name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name         string
		args         []string
		certs, lists int
		ber          bool
	}{
		{"bundle with CRL", []string{"crl2pkcs7", "-in", "root-a.crl.pem", "-certfile", "tomcat-full.pem"}, 4, 1, false},
		{"CRL only", []string{"crl2pkcs7", "-in", "root-a.crl.pem", "-outform", "DER"}, 0, 1, false},
		{"signed and streamed", []string{
			"cms", "-sign", "-stream", "-nodetach", "-in", "text.pem", "-outform", "DER",
			"-signer", "tomcat-full.pem", "-inkey", "pub-tomcat.key", "-certfile", "ca-chain.pem",
		}, 4, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			data := openssl(t, dir, tc.args...)
			if got := bytes.HasPrefix(data, []byte{0x30, 0x80}); got != tc.ber {
				t.Errorf("indefinite length: %v", got)
			}
			contents, err := certfile.Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			if len(contents.Certificates()) != tc.certs || len(contents.RevocationLists()) != tc.lists {
				t.Errorf("%d certificates, %d lists", len(contents.Certificates()), len(contents.RevocationLists()))
			}
		})
	}
}

func TestLoadRevocationLists(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "CA")
	list := a.revocationList(t, 1)
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tc := range []struct {
		name, path string
		lists      int
		code       string
	}{
		{"PEM", "testdata/root-a.crl.pem", 1, ""},
		{"DER", write("list.crl", list), 1, ""},
		{"other label", write("list.pem", []byte(block("CRL", list)+block("X509 CRL", list))), 2, ""},
		{"beside an encrypted key", write("mixed.pem", []byte(read(t, "encrypted-keys-and-certificate.pem")+block("X509 CRL", list))), 1, ""},
		{"certificate only", "testdata/tomcat-3072.pem", 0, certfile.CodeEmpty},
		{"damaged", write("damaged.pem", []byte(block("X509 CRL", list)+block("X509 CRL", a.Raw))), 0, certfile.CodeDamaged},
		{"missing", filepath.Join(dir, "none"), 0, certfile.CodeMissing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			lists, err := certfile.LoadRevocationLists(tc.path)
			requireProblem(t, err, tc.code, "")
			if len(lists) != tc.lists {
				t.Errorf("%d lists, want %d", len(lists), tc.lists)
			}
		})
	}
	// A list of version 1, which crypto/x509 does not read, remains as DER.
	old := bytes.Replace(list, []byte{2, 1, 1}, []byte{2, 1, 0}, 1)
	contents, err := certfile.Parse([]byte(block("X509 CRL", old)))
	requireProblem(t, err, certfile.CodeDamaged, "")
	if _, parseErr := x509.ParseRevocationList(old); parseErr == nil || len(contents.Objects) != 1 || !bytes.Equal(contents.Objects[0].Raw, old) {
		t.Errorf("%d objects", len(contents.Objects))
	}
}
