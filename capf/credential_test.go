package capf

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the protocol has it in element 6
	"crypto/sha512"
	"crypto/x509"
	"testing"
)

// verifyBare checks a signature over a digest without DigestInfo, as phones make it.
func verifyBare(t *testing.T, pub crypto.PublicKey, digest, sig []byte) {
	t.Helper()
	switch p := pub.(type) {
	case *rsa.PublicKey:
		if err := rsa.VerifyPKCS1v15(p, crypto.Hash(0), digest, sig); err != nil {
			t.Errorf("signature over a digest of %d bytes: %v", len(digest), err)
		}
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(p, digest, sig) {
			t.Errorf("signature over a digest of %d bytes does not verify", len(digest))
		}
	}
}

// TestRecordedSignatures shows that the parts of the certificate sessions are cut where the signatures say, and that
// SignedBytes is what they are made over.
func TestRecordedSignatures(t *testing.T) {
	t.Parallel()
	checked := 0
	for i, r := range recordings(t) {
		m := r.message(t, 1)
		credential, err := credentialOf(m)
		if err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		if credential == nil {
			continue
		}
		checked++
		cert, err := x509.ParseCertificate(credential.Certificate)
		if err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		signed := SignedBytes(r.Device, credential.Certificate)
		short, long := sha1.Sum(signed), sha512.Sum512(signed) //nolint:gosec // the protocol has it
		verifyBare(t, cert.PublicKey, short[:], credential.SignedData)
		s, err := ParseSHA2Signature(credential.SHA2SignedData)
		if err != nil || s.Digest != DigestSHA512 {
			t.Fatalf("%s: %+v, %v", r.Name, s, err)
		}
		verifyBare(t, cert.PublicKey, long[:], s.Signature)

		sudi, err := ParseSUDI(credential.SUDIData)
		if err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		cert, err = x509.ParseCertificate(sudi.Certificate)
		if err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		signed = sudi.SignedBytes(uint32(i + 1))
		short, long = sha1.Sum(signed), sha512.Sum512(signed) //nolint:gosec // the protocol has it
		verifyBare(t, cert.PublicKey, short[:], sudi.SHA1Signature)
		verifyBare(t, cert.PublicKey, long[:], sudi.SHA512Signature)
	}
	if checked != 5 {
		t.Errorf("%d sessions with a credential, want 5", checked)
	}
}

func TestMalformedSUDI(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"empty":          {},
		"cut":            {0, 0, 4, 0x30},
		"wrong order":    {1, 0, 2, 0x30, 0, 0, 0, 0, 3, 0, 0},
		"left over":      {0, 0, 2, 0x30, 0, 1, 0, 0, 3, 0, 0, 9},
		"no certificate": {0, 0, 0, 1, 0, 0, 3, 0, 0},
	} {
		if s, err := ParseSUDI(b); err == nil {
			t.Errorf("%s: accepted as %+v", name, s)
		}
	}
	if _, err := ParseSHA2Signature([]byte{3, 0, 1, 7, 7}); err == nil {
		t.Error("signed data with bytes left over was accepted")
	}
}
