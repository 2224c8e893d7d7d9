package capf

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"math/big"
	"slices"
	"testing"
)

// shown is the credential of a recorded session.
type shown struct {
	recording
	session    uint32
	credential *Credential
}

// recordedCredentials returns the sessions in which a phone showed a certificate.
func recordedCredentials(tb testing.TB) []shown {
	tb.Helper()
	var out []shown
	for i, r := range recordings(tb) {
		c, err := credentialOf(r.message(tb, 1))
		if err != nil {
			tb.Fatalf("%s: %v", r.Name, err)
		}
		if c != nil {
			out = append(out, shown{r, uint32(i + 1), c})
		}
	}
	if len(out) != 5 {
		tb.Fatalf("%d sessions with a credential, want 5", len(out))
	}
	return out
}

func code(err error) string {
	if c, ok := errors.AsType[coder](err); ok {
		return c.Code()
	}
	return ""
}

func (c *Credential) clone() *Credential {
	return &Credential{
		Certificate: slices.Clone(c.Certificate), SignedData: slices.Clone(c.SignedData),
		SHA2SignedData: slices.Clone(c.SHA2SignedData), SUDIData: slices.Clone(c.SUDIData),
	}
}

// TestVerifyRecorded: every recorded credential verifies, and none when one bit of it, of the name or of the session is
// another.
func TestVerifyRecorded(t *testing.T) {
	t.Parallel()
	for _, r := range recordedCredentials(t) {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			if err := r.credential.VerifySignatures(r.Device, false); err != nil {
				t.Errorf("signatures: %v", err)
			}
			s, present, err := r.credential.SUDI()
			if err != nil || !present {
				t.Fatalf("SUDI data: %v, %v", present, err)
			}
			if err := s.Verify(r.session); err != nil {
				t.Errorf("SUDI data: %v", err)
			}
			for bit := range 32 {
				if err := s.Verify(r.session ^ 1<<bit); code(err) != CodeBadSignature {
					t.Errorf("SUDI data of another session: %v", err)
				}
			}
			flipped := []byte(r.Device)
			for i := range flipped {
				flipped[i] ^= 1
				if err := r.credential.VerifySignatures(string(flipped), false); code(err) != CodeBadSignature {
					t.Errorf("signature for %s accepted for %s: %v", r.Device, flipped, err)
				}
				flipped[i] ^= 1
			}
		})
	}
}

// TestFlippedBits flips one bit of every byte of every part.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	for _, r := range recordedCredentials(t) {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			c := r.credential.clone()
			check := map[string]func() error{
				"signatures": func() error { return c.VerifySignatures(r.Device, false) },
				"SUDI": func() error {
					s, _, err := c.SUDI()
					if err != nil {
						return err
					}
					return s.Verify(r.session)
				},
			}
			for _, part := range []struct {
				name, check string
				bytes       []byte
			}{
				{"certificate", "signatures", c.Certificate},
				{"element 6", "signatures", c.SignedData},
				{"element 20", "signatures", c.SHA2SignedData},
				{"element 16", "SUDI", c.SUDIData},
			} {
				for i := range part.bytes {
					bit := byte(1) << (i % 8)
					part.bytes[i] ^= bit
					if err := check[part.check](); code(err) != CodeBadSignature && code(err) != CodeBadCredential {
						t.Errorf("byte %d of the %s: %v", i, part.name, err)
					}
					part.bytes[i] ^= bit
				}
			}
			for name, f := range check {
				if err := f(); err != nil {
					t.Errorf("%s do not verify after all bits are back: %v", name, err)
				}
			}
		})
	}
}

// bare signs the bytes as a phone does.
func bare(t *testing.T, key crypto.Signer, digest []byte) []byte {
	t.Helper()
	sig, err := key.Sign(rand.Reader, digest, crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func TestVerifySignaturesRefuses(t *testing.T) {
	t.Parallel()
	good := recordedCredentials(t)[0]
	for name, tt := range map[string]struct {
		change    func(*Credential)
		allowSHA1 bool
		want      string
	}{
		"as recorded":                    {func(*Credential) {}, false, ""},
		"element 20 alone":               {func(c *Credential) { c.SignedData = nil }, false, ""},
		"element 6 alone":                {func(c *Credential) { c.SHA2SignedData = nil }, false, CodeSignatureMissing},
		"element 6 alone, allowed":       {func(c *Credential) { c.SHA2SignedData = nil }, true, ""},
		"no signature":                   {func(c *Credential) { c.SHA2SignedData, c.SignedData = nil, nil }, true, CodeSignatureMissing},
		"no certificate":                 {func(c *Credential) { c.Certificate = nil }, false, CodeBadCredential},
		"certificate of another form":    {func(c *Credential) { c.Certificate = []byte{0x30, 0} }, false, CodeBadCredential},
		"element 6 empty":                {func(c *Credential) { c.SignedData = []byte{} }, false, CodeBadSignature},
		"element 20 empty":               {func(c *Credential) { c.SHA2SignedData = []byte{} }, true, CodeBadCredential},
		"unknown digest":                 {func(c *Credential) { c.SHA2SignedData[0] = 9 }, false, CodeBadCredential},
		"element 6 in place of 20":       {func(c *Credential) { c.SHA2SignedData = append([]byte{3, 1, 0}, c.SignedData...) }, false, CodeBadSignature},
		"wrong element 20 is not passed": {func(c *Credential) { c.SHA2SignedData[100] ^= 1 }, true, CodeBadSignature},
		"wrong element 6 is not passed":  {func(c *Credential) { c.SignedData[100] ^= 1 }, false, CodeBadSignature},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := good.credential.clone()
			tt.change(c)
			if err := c.VerifySignatures(good.Device, tt.allowSHA1); code(err) != tt.want || (err == nil) != (tt.want == "") {
				t.Errorf("got %v (%s), want %q", err, code(err), tt.want)
			}
		})
	}
	var none *Credential
	if err := none.VerifySignatures(good.Device, true); code(err) != CodeBadCredential {
		t.Errorf("no credential: %v", err)
	}
	if _, present, err := none.SUDI(); present || err != nil {
		t.Errorf("no credential has SUDI data: %v, %v", present, err)
	}
}

// TestSUDIWithEC: such a certificate is refused by its kind, not by its signature.
func TestSUDIWithEC(t *testing.T) {
	t.Parallel()
	ca, err := testAuthority()
	if err != nil {
		t.Fatal(err)
	}
	s := SUDI{Certificate: ca.cert.Raw}
	s.SHA1Signature, s.SHA512Signature = bare(t, ca.key, sha1Sum(s.SignedBytes(1))), bare(t, ca.key, sha512Sum(s.SignedBytes(1)))
	if err := s.Verify(1); code(err) != CodeBadCredential || !bytes.Contains([]byte(err.Error()), []byte("RSA keys only")) {
		t.Errorf("got %v", err)
	}
}

// TestPaddingIsWhole forges a signature that a check of the block's last bytes would accept: the digest at the end, and
// no padding before it.
func TestPaddingIsWhole(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha1Sum([]byte("x"))
	for name, k := range map[string]*rsa.PrivateKey{"1024 bits": key, "512 bits": tinyRSA(t)} {
		size := k.Size()
		decrypt := func(block []byte) []byte {
			m := new(big.Int).SetBytes(block)
			return m.Exp(m, k.D, k.N).FillBytes(make([]byte, size))
		}
		short := make([]byte, size)
		copy(short[size-len(digest):], digest)
		zero := padRSA(size, digest)
		zero[5] = 0
		long := padRSA(size, append([]byte{1}, digest...))
		for what, block := range map[string][]byte{"no padding": short, "zero within": zero, "digest too long": long} {
			if verifyRSA(&k.PublicKey, digest, decrypt(block)) {
				t.Errorf("%s, %s: accepted", name, what)
			}
		}
		good := decrypt(padRSA(size, digest))
		if !verifyRSA(&k.PublicKey, digest, good) {
			t.Errorf("%s: sound signature refused", name)
		}
		if verifyRSA(&k.PublicKey, digest, append([]byte{0}, good...)) || verifyRSA(&k.PublicKey, digest, good[1:]) {
			t.Errorf("%s: signature of another length accepted", name)
		}
	}
	if padRSA(64, sha512Sum(nil)) != nil {
		t.Error("a SHA-512 digest fits into 512 bits")
	}
}

// tinyRSA makes a key of 512 bits, which crypto/rsa refuses to make.
func tinyRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	for {
		p, err := rand.Prime(rand.Reader, 256)
		if err != nil {
			t.Fatal(err)
		}
		q, err := rand.Prime(rand.Reader, 256)
		if err != nil {
			t.Fatal(err)
		}
		one, e := big.NewInt(1), big.NewInt(65537)
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		d := new(big.Int).ModInverse(e, phi)
		if d == nil || p.Cmp(q) == 0 {
			continue
		}
		return &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}, D: d, Primes: []*big.Int{p, q}}
	}
}

// TestVerifyEC: both digests, and the signature of another key is refused.
func TestVerifyEC(t *testing.T) {
	t.Parallel()
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		digest := sha512Sum([]byte(curve.Params().Name))
		sig := bare(t, key, digest)
		if err := verifyDigest(key.Public(), digest, sig, "x"); err != nil {
			t.Errorf("%s: %v", curve.Params().Name, err)
		}
		if err := verifyDigest(key.Public(), sha512Sum(nil), sig, "x"); code(err) != CodeBadSignature {
			t.Errorf("%s: other digest: %v", curve.Params().Name, err)
		}
		if err := verifyDigest(key.Public(), digest, append(sig, 0), "x"); code(err) != CodeBadSignature {
			t.Errorf("%s: bytes left over: %v", curve.Params().Name, err)
		}
	}
}
