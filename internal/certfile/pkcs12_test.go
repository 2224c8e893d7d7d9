package certfile_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
	gopkcs12 "software.sslmate.com/src/go-pkcs12"

	"callsign/internal/certfile"
	"callsign/internal/secret"
)

const phrase = "correct horse"

// archive is a PKCS #12 file that the library wrote.
type archive struct {
	name, password string
	data           []byte
	kinds          []certfile.Kind
}

// archives returns PKCS #12 files in every encryption that the library writes.
func archives(t testing.TB) []archive {
	t.Helper()
	leaf, ca := newAuthority(t, "leaf"), newAuthority(t, "CA")
	var all []archive
	for _, e := range []struct {
		name, password string
		*gopkcs12.Encoder
	}{
		{"RC2", phrase, gopkcs12.LegacyRC2.WithIterations(2)},
		{"3DES", phrase, gopkcs12.LegacyDES.WithIterations(2)},
		{"AES", phrase, gopkcs12.Modern2023.WithIterations(2)},
		{"PBMAC1", phrase, gopkcs12.Modern2026.WithIterations(2)},
		{"letters of the world", "pässwörd 密碼", gopkcs12.Modern2023.WithIterations(2)},
		{"empty password", "", gopkcs12.Modern2023.WithIterations(2)},
		{"legacy with empty password", "", gopkcs12.LegacyDES.WithIterations(2)},
		{"passwordless", "", gopkcs12.Passwordless},
	} {
		chain, err := e.Encode(leaf.key, leaf.Certificate, []*x509.Certificate{ca.Certificate}, e.password)
		if err != nil {
			t.Fatal(err)
		}
		store, err := e.EncodeTrustStore([]*x509.Certificate{ca.Certificate, leaf.Certificate}, e.password)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all,
			archive{e.name, e.password, chain, []certfile.Kind{certfile.Certificate, certfile.Certificate, certfile.PrivateKey}},
			archive{e.name + " trust store", e.password, store, []certfile.Kind{certfile.Certificate, certfile.Certificate}})
	}
	return all
}

func TestPKCS12(t *testing.T) {
	t.Parallel()
	for _, c := range archives(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			contents, err := certfile.ParseWith(c.data, with(c.password))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.kinds, kinds(contents)); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
			requireSound(t, contents, nil)
			for _, key := range contents.Keys() {
				if !certfile.Fits(contents.Certificates()[0].PublicKey, key) {
					t.Error("the key is not the one of the first certificate")
				}
			}

			contents, err = certfile.Parse(c.data)
			if c.password == "" {
				if err != nil || len(contents.Objects) != len(c.kinds) {
					t.Errorf("without a password: %d objects, %v", len(contents.Objects), err)
				}
				return
			}
			requireProblem(t, err, certfile.CodePasswordNeeded, "--password-file FILE")
			_, err = certfile.ParseWith(c.data, with("wrong "+c.password))
			requireProblem(t, err, certfile.CodeWrongPassword, "--password-file FILE")
			if strings.Contains(err.Error(), c.password) {
				t.Errorf("the error shows the password: %v", err)
			}
			_, err = certfile.ParseWith(c.data, with(""))
			requireProblem(t, err, certfile.CodePasswordNeeded, "--password-file FILE")
			_, err = certfile.ParseWith(c.data, with("beyond the plane \U0001F511"))
			requireProblem(t, err, certfile.CodeWrongPassword, "")
		})
	}
}

// TestPKCS12OpenSSL reads what openssl writes, in the encryptions of its versions 3 and 1.
func TestPKCS12OpenSSL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"key.pem": read(t, "pub-tomcat.key"), "chain.pem": read(t, "tomcat-full.pem"), "ec.key": read(t, "pub-tomcat-ecdsa.key"),
		"ec.pem": read(t, "tomcat-ecdsa-good.pem"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair := []string{"-inkey", "key.pem", "-in", "chain.pem"}
	const c, k = certfile.Certificate, certfile.PrivateKey
	for _, tc := range []struct {
		name     string
		args     []string
		password string
		want     []certfile.Kind
	}{
		{"modern", pair, phrase, []certfile.Kind{c, c, c, c, k}},
		{"legacy", append([]string{"-legacy"}, pair...), phrase, []certfile.Kind{c, c, c, c, k}},
		{"triple DES", append([]string{"-legacy", "-descert"}, pair...), phrase, []certfile.Kind{c, c, c, c, k}},
		{"EC key", []string{"-inkey", "ec.key", "-in", "ec.pem", "-name", "phone", "-caname", "CA"}, phrase, []certfile.Kind{c, k}},
		{"certificates only", []string{"-nokeys", "-in", "chain.pem"}, phrase, []certfile.Kind{c, c, c, c}},
		{"key only", []string{"-nocerts", "-inkey", "key.pem"}, phrase, []certfile.Kind{k}},
		{"without integrity check", append([]string{"-nomac"}, pair...), phrase, []certfile.Kind{c, c, c, c, k}},
		{"without encryption", append([]string{"-certpbe", "NONE", "-keypbe", "NONE"}, pair...), phrase, []certfile.Kind{c, c, c, c, k}},
		{"empty password", pair, "", []certfile.Kind{c, c, c, c, k}},
		{"legacy with empty password", append([]string{"-legacy"}, pair...), "", []certfile.Kind{c, c, c, c, k}},
		{"SHA-512", append([]string{"-macalg", "sha512", "-iter", "5000"}, pair...), phrase, []certfile.Kind{c, c, c, c, k}},
		{"AES-128 and SHA-1", append([]string{"-certpbe", "AES-128-CBC", "-keypbe", "AES-192-CBC", "-macalg", "sha1"}, pair...), phrase, []certfile.Kind{c, c, c, c, k}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"pkcs12", "-export", "-passout", "pass:" + tc.password}, tc.args...)
			data := openssl(t, dir, args...)
			contents, err := certfile.ParseWith(data, with(tc.password))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, kinds(contents)); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
			if tc.password == "" {
				return
			}
			_, err = certfile.Parse(data)
			requireProblem(t, err, certfile.CodePasswordNeeded, "openssl pkcs12")
			_, err = certfile.ParseWith(data, with("another"))
			requireProblem(t, err, certfile.CodeWrongPassword, "")

			only := with(tc.password)
			only.CertificatesOnly = true
			contents, err = certfile.ParseWith(data, only)
			if err != nil || len(contents.Keys()) != 0 {
				t.Errorf("%d keys where only certificates were wanted, %v", len(contents.Keys()), err)
			}
			if diff := cmp.Diff(tc.want, kinds(contents)); diff != "" {
				t.Errorf("objects with certificates only (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("integrity check that is not supported", func(t *testing.T) {
		t.Parallel()
		data := openssl(t, dir, append([]string{"pkcs12", "-export", "-passout", "pass:" + phrase, "-macalg", "sha384"}, pair...)...)
		_, err := certfile.ParseWith(data, with(phrase))
		requireProblem(t, err, certfile.CodeUnsupported, "openssl pkcs12")
	})
	t.Run("encryption that is not supported", func(t *testing.T) {
		t.Parallel()
		data := openssl(t, dir, append([]string{"pkcs12", "-export", "-passout", "pass:" + phrase, "-certpbe", "camellia-128-cbc"}, pair...)...)
		contents, err := certfile.ParseWith(data, with(phrase))
		requireProblem(t, err, certfile.CodeUnsupported, "openssl pkcs12")
		if diff := cmp.Diff([]certfile.Kind{k}, kinds(contents)); diff != "" {
			t.Errorf("objects (-want +got):\n%s", diff)
		}
	})
}

func TestLoadPKCS12(t *testing.T) {
	t.Parallel()
	path := filepath.Join("testdata", "tomcat.p12")
	contents, err := certfile.LoadWith(path, with("changeit"))
	if err != nil {
		t.Fatal(err)
	}
	if !certfile.Fits(contents.Certificates()[0].PublicKey, contents.Keys()[0]) {
		t.Error("key and certificate do not fit")
	}
	if got := contents.Objects[1].Describe(); got != "RSA 2048 private key" {
		t.Errorf("the key is a %q", got)
	}
	_, err = certfile.LoadCertificates(path)
	requireProblem(t, err, certfile.CodePasswordNeeded, "--password-file")
	if !strings.HasPrefix(err.Error(), path+": is a PKCS #12 file") {
		t.Errorf("got %v", err)
	}
	t.Run("no password to be had", func(t *testing.T) {
		t.Parallel()
		_, want := secret.FromFile("no-such-file")
		_, err := certfile.LoadWith(path, certfile.Options{Password: func() (secret.String, error) { return secret.String{}, want }})
		if want == nil || !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	})
	t.Run("asked once, and only when needed", func(t *testing.T) {
		t.Parallel()
		asked := 0
		o := certfile.Options{Password: func() (secret.String, error) { asked++; return secret.NewString("changeit"), nil }}
		data := []byte(read(t, "tomcat.p12"))
		contents, err := certfile.ParseWith(append(bytes.Clone(data), data...), o)
		if err != nil || len(contents.Objects) != 4 || asked != 1 {
			t.Errorf("%d objects, %v, asked %d times", len(contents.Objects), err, asked)
		}
		for _, c := range archives(t) {
			if c.password == "" {
				if _, err := certfile.ParseWith(c.data, o); err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			}
		}
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
	})
}

var (
	oidData      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidEncrypted = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 6}
	context0     = cbasn1.Tag(0).ContextSpecific().Constructed()
)

// safes returns the members of the AuthenticatedSafe of a PKCS #12 file.
func safes(t testing.TB, file []byte) []byte {
	t.Helper()
	in := cryptobyte.String(file)
	var members cryptobyte.String
	if !in.ReadASN1(&in, cbasn1.SEQUENCE) || !in.SkipASN1(cbasn1.INTEGER) || !in.ReadASN1(&in, cbasn1.SEQUENCE) ||
		!in.SkipASN1(cbasn1.OBJECT_IDENTIFIER) || !in.ReadASN1(&in, context0) || !in.ReadASN1(&in, cbasn1.OCTET_STRING) ||
		!in.ReadASN1(&members, cbasn1.SEQUENCE) {
		t.Fatal("not PKCS #12")
	}
	return members
}

// unchecked returns a PKCS #12 file without integrity check.
func unchecked(t testing.TB, safes ...[]byte) []byte {
	t.Helper()
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(3)
		info(b, oidData, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.OCTET_STRING, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(safes, nil)) })
			})
		})
	})
	return b.BytesOrPanic()
}

// info adds an object identifier and its content: a ContentInfo or, of the same form, a bag.
func info(b *cryptobyte.Builder, oid asn1.ObjectIdentifier, content cryptobyte.BuilderContinuation) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		b.AddASN1(context0, content)
	})
}

// bags returns a safe with bags that are not encrypted.
func bags(content func(b *cryptobyte.Builder)) []byte {
	var b cryptobyte.Builder
	info(&b, oidData, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddASN1(cbasn1.SEQUENCE, content) })
	})
	return b.BytesOrPanic()
}

// bag adds a bag of PKCS #12 by its number.
func bag(b *cryptobyte.Builder, number int, content cryptobyte.BuilderContinuation) {
	info(b, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, number}, content)
}

// x509Bag adds a certificate (3, type 22) or a CRL (4, type 23).
func x509Bag(b *cryptobyte.Builder, number, kind int, der []byte) {
	bag(b, number, func(b *cryptobyte.Builder) {
		info(b, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, kind, 1}, func(b *cryptobyte.Builder) { b.AddASN1OctetString(der) })
	})
}

// pbes2 adds what PBES2 makes of a text: the algorithm, and the ciphertext under a tag.
func pbes2(b *cryptobyte.Builder, rounds int64, text []byte, tag cbasn1.Tag) {
	salt, iv := []byte("salt"), make([]byte, aes.BlockSize)
	ciphertext := make([]byte, 0, len(text)+aes.BlockSize)
	ciphertext = append(ciphertext, text...)
	padding := aes.BlockSize - len(text)%aes.BlockSize
	ciphertext = append(ciphertext, bytes.Repeat([]byte{byte(padding)}, padding)...)
	key, err := pbkdf2.Key(sha256.New, phrase, salt, int(min(rounds, 10)), 32)
	if err != nil {
		panic(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(ciphertext, ciphertext) //nolint:gosec // a fixed IV does for a test
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13})
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12})
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1OctetString(salt)
					b.AddASN1Int64(rounds)
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9})
					})
				})
			})
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42})
				b.AddASN1OctetString(iv)
			})
		})
	})
	b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(ciphertext) })
}

// encryptedSafe returns a safe whose bags are encrypted.
func encryptedSafe(rounds int64, content func(b *cryptobyte.Builder)) []byte {
	var inside, b cryptobyte.Builder
	inside.AddASN1(cbasn1.SEQUENCE, content)
	info(&b, oidEncrypted, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(0)
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidData)
				pbes2(b, rounds, inside.BytesOrPanic(), cbasn1.Tag(0).ContextSpecific())
			})
		})
	})
	return b.BytesOrPanic()
}

// shrouded adds an encrypted key.
func shrouded(b *cryptobyte.Builder, rounds int64, pkcs8 []byte) {
	bag(b, 2, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { pbes2(b, rounds, pkcs8, cbasn1.OCTET_STRING) })
	})
}

// TestPKCS12Parts reads files that go-pkcs12 by itself does not.
func TestPKCS12Parts(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "CA")
	pkcs8, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	odd, list := a.odd(t), a.revocationList(t, 2)
	var files [][]byte
	for _, c := range archives(t) {
		if c.name == "AES" || c.name == "3DES" {
			files = append(files, safes(t, c.data))
		}
	}
	const c, k, crl, other = certfile.Certificate, certfile.PrivateKey, certfile.RevocationList, certfile.Other
	for _, tc := range []struct {
		name string
		data []byte
		want []certfile.Kind
		code string
		text string // what the error must say
	}{
		{name: "two keys with their chains", data: unchecked(t, files...), want: []certfile.Kind{c, c, k, c, c, k}},
		{name: "certificate that does not parse, revocation list, other bag", data: unchecked(t, bags(func(b *cryptobyte.Builder) {
			x509Bag(b, 3, 22, odd)
			x509Bag(b, 3, 22, a.Raw)
			x509Bag(b, 4, 23, list)
			bag(b, 5, func(b *cryptobyte.Builder) { b.AddASN1OctetString([]byte("secret")) })
			bag(b, 1, func(b *cryptobyte.Builder) { b.AddBytes(pkcs8) })
		})), want: []certfile.Kind{c, c, crl, other, k}, code: certfile.CodeDamaged, text: "certificate 1 of the PKCS #12 file does not parse: x509: negative serial number"},
		{name: "certificate of another kind", data: unchecked(t, bags(func(b *cryptobyte.Builder) { x509Bag(b, 3, 21, a.Raw) })), code: certfile.CodeDamaged},
		{name: "encrypted certificates and key", data: unchecked(t,
			encryptedSafe(2, func(b *cryptobyte.Builder) { x509Bag(b, 3, 22, a.Raw); x509Bag(b, 4, 23, list) }),
			bags(func(b *cryptobyte.Builder) { shrouded(b, 2, pkcs8) })), want: []certfile.Kind{c, k}},
		{name: "empty", data: unchecked(t), code: certfile.CodeEmpty},
		{name: "key that cannot sign", data: unchecked(t, bags(func(b *cryptobyte.Builder) {
			bag(b, 1, func(b *cryptobyte.Builder) { b.AddBytes(exchangeKey(t)) })
		})), code: certfile.CodeWeakKey},
		{name: "key that is too large", data: unchecked(t, bags(func(b *cryptobyte.Builder) {
			shrouded(b, 2, make([]byte, certfile.MaxKeyBytes))
			bag(b, 1, func(b *cryptobyte.Builder) { b.AddBytes(make([]byte, certfile.MaxKeyBytes+1)) })
			x509Bag(b, 3, 22, a.Raw)
		})), want: []certfile.Kind{c}, code: certfile.CodeTooLarge},
		{name: "key that is none", data: unchecked(t, bags(func(b *cryptobyte.Builder) {
			bag(b, 1, func(b *cryptobyte.Builder) { b.AddBytes(a.Raw) })
			x509Bag(b, 3, 22, a.Raw)
		})), want: []certfile.Kind{c}, code: certfile.CodeDamaged},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			contents, err := certfile.ParseWith(tc.data, with(phrase))
			requireProblem(t, err, tc.code, "")
			if err != nil && !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v, want %q", err, tc.text)
			}
			if diff := cmp.Diff(tc.want, kinds(contents)); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPKCS12Bombs checks that nobody makes us derive keys for hours.
func TestPKCS12Bombs(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "CA")
	pkcs8, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	const bomb = 1 << 40
	cert := func(b *cryptobyte.Builder) { x509Bag(b, 3, 22, a.Raw) }
	// The library writes 70,000 rounds in three octets, which are made eight millions, in the integrity check only.
	const low, high = "\x02\x03\x01\x11\x70", "\x02\x03\x7f\xff\xff"
	macBomb := func(e *gopkcs12.Encoder) []byte {
		t.Helper()
		data, err := e.WithIterations(70_000).EncodeTrustStore([]*x509.Certificate{a.Certificate}, phrase)
		if err != nil {
			t.Fatal(err)
		}
		i := bytes.LastIndex(data, []byte(low))
		if i < 0 {
			t.Fatal("no rounds found")
		}
		return append(append(bytes.Clone(data[:i]), high...), data[i+len(high):]...)
	}
	for _, tc := range []struct {
		name string
		data []byte
		code string
	}{
		{"encrypted safe", unchecked(t, encryptedSafe(bomb, cert)), certfile.CodeTooLarge},
		{"encrypted key", unchecked(t, bags(func(b *cryptobyte.Builder) { shrouded(b, bomb, pkcs8) })), certfile.CodeTooLarge},
		{"one round too many", unchecked(t, encryptedSafe(certfile.MaxIterations+1, cert)), certfile.CodeTooLarge},
		{"no round", unchecked(t, encryptedSafe(0, cert)), certfile.CodeTooLarge},
		{"negative rounds", unchecked(t, encryptedSafe(-1, cert)), certfile.CodeTooLarge},
		{"integrity check", macBomb(gopkcs12.LegacyDES), certfile.CodeTooLarge},
		{"integrity check with PBMAC1", macBomb(gopkcs12.Modern2026), certfile.CodeTooLarge},
		{"many keys together", unchecked(t, bags(func(b *cryptobyte.Builder) {
			for range 5 {
				shrouded(b, certfile.MaxIterations, pkcs8)
			}
		})), certfile.CodeTooLarge},
		{"many files together", bytes.Repeat(unchecked(t, bags(func(b *cryptobyte.Builder) { shrouded(b, 999_999, pkcs8) })), 5), certfile.CodeTooLarge},
		{"key inside of the encryption", unchecked(t, encryptedSafe(2, func(b *cryptobyte.Builder) {
			cert(b)
			shrouded(b, bomb, pkcs8)
		})), certfile.CodeWrongPassword},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			done := make(chan error, 1)
			go func() {
				o := with(phrase)
				// Counted all the same; this saves the test the rounds up to the limit.
				o.CertificatesOnly = tc.name == "many files together"
				_, err := certfile.ParseWith(tc.data, o)
				done <- err
			}()
			select {
			case err := <-done:
				if !strings.Contains(strings.Join(codes(err), " "), tc.code) {
					t.Errorf("got %v, want %s", err, tc.code)
				}
			case <-time.After(time.Minute):
				t.Fatal("it derives keys without end")
			}
		})
	}
}

// TestPKCS12Damaged refuses files that are cut off or changed at any place, with the right password.
func TestPKCS12Damaged(t *testing.T) {
	t.Parallel()
	for _, c := range archives(t) {
		if c.name != "AES" && c.name != "3DES trust store" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for i := range len(c.data) {
				changed := bytes.Clone(c.data)
				changed[i] ^= 0x10
				for _, data := range [][]byte{changed, c.data[:i]} {
					contents, err := certfile.ParseWith(data, with(c.password))
					if err == nil {
						t.Fatalf("byte %d: changed or cut off and still read: %d objects", i, len(contents.Objects))
					}
				}
			}
		})
	}
	ber := asBER(t, archives(t)[0].data, 2)
	_, err := certfile.ParseWith(ber, with(phrase))
	requireProblem(t, err, certfile.CodeUnsupported, "openssl pkcs12")
}
