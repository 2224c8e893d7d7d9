package certfile_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"callsign/internal/certfile"
)

// keyFile copies a key of testdata to a private file.
func keyFile(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(read(t, name)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadKeyPair(t *testing.T) {
	t.Parallel()
	key := keyFile(t, "pub-tomcat.key")
	pair, err := certfile.LoadKeyPair("testdata/tomcat-full.pem", key)
	if err != nil {
		t.Fatal(err)
	}
	if len(pair.Chain) != 4 || pair.Leaf().Subject.CommonName != "cucmpub.lab.example.com" {
		t.Errorf("%d certificates, leaf %s", len(pair.Chain), pair.Leaf().Subject)
	}
	config := tls.Config{Certificates: []tls.Certificate{pair.TLS()}, MinVersion: tls.VersionTLS12}
	if got := len(config.Certificates[0].Certificate); got != 4 {
		t.Errorf("TLS chain has %d certificates", got)
	}

	t.Run("leaf last", func(t *testing.T) {
		t.Parallel()
		certs, err := certfile.LoadCertificates("testdata/tomcat-full.pem")
		if err != nil {
			t.Fatal(err)
		}
		shuffled := filepath.Join(t.TempDir(), "chain.pem")
		if err := certfile.WriteCertificates(shuffled, certs[2], certs[1], certs[0]); err != nil {
			t.Fatal(err)
		}
		pair, err := certfile.LoadKeyPair(shuffled, key)
		if err != nil {
			t.Fatal(err)
		}
		if !pair.Leaf().Equal(certs[0]) || !pair.Chain[1].Equal(certs[2]) || !pair.Chain[2].Equal(certs[1]) {
			t.Errorf("wrong order: %s, %s, %s", pair.Chain[0].Subject, pair.Chain[1].Subject, pair.Chain[2].Subject)
		}
	})
	t.Run("other key", func(t *testing.T) {
		t.Parallel()
		_, err := certfile.LoadKeyPair("testdata/tomcat-3072.pem", key)
		requireProblem(t, err, certfile.CodeMismatch, "")
	})
	t.Run("exposed key", func(t *testing.T) {
		t.Parallel()
		path := keyFile(t, "pub-tomcat.key")
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := certfile.LoadKeyPair("testdata/tomcat-full.pem", path)
		requireProblem(t, err, "secret.file-exposed", "chmod 600")
	})
	t.Run("no key in the file", func(t *testing.T) {
		t.Parallel()
		_, err := certfile.LoadKey(keyFile(t, "tomcat-full.pem"))
		requireProblem(t, err, certfile.CodeEmpty, "")
	})
	t.Run("no certificate in the file", func(t *testing.T) {
		t.Parallel()
		_, err := certfile.LoadPool("testdata/pub-tomcat.key")
		requireProblem(t, err, certfile.CodeEmpty, "")
	})
	t.Run("two keys", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "two.key")
		data := read(t, "pub-tomcat.key")
		if err := os.WriteFile(path, []byte(data+data), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := certfile.LoadKey(path)
		requireProblem(t, err, certfile.CodeManyKeys, "")
	})
}

func TestWriteKeyRoundTrip(t *testing.T) {
	t.Parallel()
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"Ed25519": edKey, "EC": ecKey, "RSA": rsaKey} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "new.key")
			// An older, exposed file must not pass its mode on to the key.
			if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := certfile.WriteKey(path, key); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
			}
			got, err := certfile.LoadKey(path)
			if err != nil {
				t.Fatal(err)
			}
			if !certfile.Fits(key.Public(), got) {
				t.Error("another key came back")
			}
			leftovers, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
			if err != nil || len(leftovers) != 1 {
				t.Errorf("temporary files left: %v %v", leftovers, err)
			}
		})
	}
}

func TestLoadOlderKeyForms(t *testing.T) {
	t.Parallel()
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	x25519 := exchangeKey(t)
	for _, tc := range []struct {
		name string
		data []byte
		code string
	}{
		{"SEC 1 with its parameters", []byte(block("EC PARAMETERS", []byte{6, 1, 0}) + block("EC PRIVATE KEY", sec1)), ""},
		{"PKCS #1", []byte(block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))), ""},
		{"PKCS #1 DER", x509.MarshalPKCS1PrivateKey(rsaKey), ""},
		{"SEC 1 DER", sec1, ""},
		{"cannot sign", x25519, certfile.CodeWeakKey},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "old.key")
			if err := os.WriteFile(path, tc.data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := certfile.LoadKey(path)
			requireProblem(t, err, tc.code, "")
		})
	}
}

// exchangeKey returns a key in PKCS #8 form that cannot sign.
func exchangeKey(t *testing.T) []byte {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestWriteFileFails(t *testing.T) {
	t.Parallel()
	err := certfile.WriteFile(filepath.Join(t.TempDir(), "none", "file"), []byte("x"), 0o600)
	requireProblem(t, err, certfile.CodeWrite, "exists")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v does not wrap the cause", err)
	}
}
