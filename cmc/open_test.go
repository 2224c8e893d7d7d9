package cmc

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestSignerRules(t *testing.T) {
	t.Parallel()
	eContent := load(t, "req/vouched-rsa2048.pkidata")
	digest := wireAttribute(t, oidMessageDigest, octets(sum(crypto.SHA256, eContent)))
	contentType := wireAttribute(t, oidContentType, oidDER(t, OIDPKIData))
	for _, c := range []struct {
		name   string
		change func(*rawSigner)
		want   string // part of Signer.Err; empty for none
	}{
		{"decent", func(*rawSigner) {}, ""},
		{"rsaEncryption", func(r *rawSigner) { r.sigAlg.oid = oidRSAEncryption }, ""},
		{"absent parameters", func(r *rawSigner) { r.sigAlg.params, r.digest.params = nil, nil }, ""},
		{"key identifier", func(r *rawSigner) { r.version, r.byKeyID = 3, true }, ""},
		{"attributes not sorted", func(r *rawSigner) { slices.Reverse(r.attrs) }, ""},
		{"SHA-512", func(r *rawSigner) {
			r.digest.oid, r.sigAlg.oid = oidSHA512, oidSHA512WithRSA
			r.attrs[1] = wireAttribute(t, oidMessageDigest, octets(sum(crypto.SHA512, eContent)))
		}, ""},
		{"digest of another size than the signature's", func(r *rawSigner) { r.sigAlg.oid = oidSHA384WithRSA }, "does not fit"},
		{"ECDSA algorithm with an RSA key", func(r *rawSigner) { r.sigAlg.oid = oidECDSAWithSHA256 }, "does not fit"},
		{"strange parameters", func(r *rawSigner) { r.sigAlg.params = octets(nil) }, "does not fit"},
		{"SHA-1", func(r *rawSigner) {
			r.digest.oid, r.sigAlg.oid = oidSHA1, oidRSAEncryption
			r.attrs[1] = wireAttribute(t, oidMessageDigest, octets(sum(crypto.SHA1, eContent)))
		}, "digest algorithm"},
		{"no attributes", func(r *rawSigner) { r.attrs = nil }, "signed attributes are missing"},
		{"no contentType", func(r *rawSigner) { r.attrs = [][]byte{digest} }, "contentType"},
		{"contentType of id-data", func(r *rawSigner) { r.attrs[0] = wireAttribute(t, oidContentType, oidDER(t, OIDData)) }, "contentType"},
		{"contentType twice", func(r *rawSigner) { r.attrs = append(r.attrs, contentType) }, "contentType"},
		{"no messageDigest", func(r *rawSigner) { r.attrs = [][]byte{contentType} }, "messageDigest"},
		{"two messageDigests in one attribute", func(r *rawSigner) {
			r.attrs[1] = wireAttribute(t, oidMessageDigest, octets(sum(crypto.SHA256, eContent)), octets(make([]byte, 32)))
		}, "messageDigest"},
		{"an empty messageDigest attribute beside the right one", func(r *rawSigner) {
			r.attrs = append(r.attrs, wireAttribute(t, oidMessageDigest))
		}, "messageDigest"},
		{"messageDigest of other content", func(r *rawSigner) {
			r.attrs[1] = wireAttribute(t, oidMessageDigest, octets(make([]byte, 32)))
		}, "messageDigest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := decent(t, eContent)
			c.change(&r)
			m, err := Open(r.write(t, OIDPKIData, eContent))
			if err != nil {
				t.Fatal(err)
			}
			err = m.Signers[0].Err
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if m.Signers[0].Certificate == nil {
				t.Error("the certificate was not found")
			}
		})
	}
}

// TestDataRules holds what PKCS #7 requests on behalf of somebody may do and a full request may not.
func TestDataRules(t *testing.T) {
	t.Parallel()
	eContent := load(t, "p10/signed-rsa2048.der")
	r := decent(t, eContent)
	for name, attrs := range map[string][][]byte{"no contentType": r.attrs[1:], "no attributes": nil} {
		r := r
		r.attrs = attrs
		m, err := Open(r.write(t, OIDData, eContent))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Signers[0].Err; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenLimits(t *testing.T) {
	t.Parallel()
	key, cert := loadKey(t, "capf-ra-rsa"), loadCert(t, "capf-ra-rsa")
	c := content{OIDPKIData, load(t, "req/vouched-rsa2048.pkidata"), []*x509.Certificate{cert}, clock()}
	one, err := c.sign(rand.Reader, key, cert)
	if err != nil {
		t.Fatal(err)
	}
	var many []*x509.Certificate
	for i := range MaxCertificates {
		many = append(many, forge(t, key, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(int64(i + 1)) }).cert)
	}
	write := func(certs []*x509.Certificate, signers int) []byte {
		c := c
		c.certificates = certs
		infos := slices.Repeat([]signed{one}, signers)
		msg, err := c.marshal(infos...)
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	deep := []byte{tagNull, 0}
	for range MaxDepth {
		deep = appendTLV(nil, tagSequence, deep)
	}
	for _, c := range []struct {
		name string
		msg  []byte
		ok   bool
		http int
	}{
		{"most signers", write(many[:1], MaxSigners), true, 0},
		{"too many signers", write(many[:1], MaxSigners+1), false, http.StatusBadRequest},
		{"most certificates", write(many, 1), true, 0},
		{"too many certificates", write(append(slices.Clone(many), cert), 1), false, http.StatusBadRequest},
		{"too long", make([]byte, MaxMessage+1), false, http.StatusRequestEntityTooLarge},
		{"nothing", nil, false, http.StatusBadRequest},
		{"too deep", appendTLV(nil, tagSequence, deep), false, http.StatusBadRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := Open(c.msg)
			var p *Problem
			if c.ok != (err == nil) || err != nil && (!errors.As(err, &p) || p.Code() != CodeMalformed || p.HTTP != c.http) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestSignerOrder writes SignerInfos in an order that DER forbids and expects it back.
func TestSignerOrder(t *testing.T) {
	t.Parallel()
	agent := loadCert(t, "enrollment-agent")
	c := content{OIDPKIData, load(t, "req/vouched-rsa2048.pkidata"), []*x509.Certificate{agent}, clock()}
	second, err := c.sign(rand.Reader, loadKey(t, "enrollment-agent"), agent)
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.noSignature(bytes.Repeat([]byte{7}, 20))
	if err != nil {
		t.Fatal(err)
	}
	for _, order := range [][]signed{{first, second}, {second, first}} {
		msg, err := c.marshal(order...)
		if err != nil {
			t.Fatal(err)
		}
		// marshal sorts; swap the two back where the order asks for it.
		sorted := slices.Concat(first.info, second.info)
		wire := bytes.Replace(msg, sorted, slices.Concat(order[0].info, order[1].info), 1)
		m, err := Open(wire)
		if err != nil {
			t.Fatal(err)
		}
		for i := range order {
			if want := bytes.Equal(order[i].info, first.info); m.Signers[i].NoSignature != want || m.Signers[i].Err != nil {
				t.Errorf("signer %d: no signature %v, %v", i, m.Signers[i].NoSignature, m.Signers[i].Err)
			}
		}
	}
}

// TestHiddenCertificate puts a certificate with the same issuer and serial number before the right one.
func TestHiddenCertificate(t *testing.T) {
	t.Parallel()
	right := forge(t, loadKey(t, "capf-ra-p256"), nil)
	wrong := forge(t, loadKey(t, "phone-p256"), nil)
	for _, bag := range [][]*x509.Certificate{{right.cert, wrong.cert}, {wrong.cert, right.cert}} {
		c := content{OIDPKIData, load(t, "req/vouched-rsa2048.pkidata"), bag, clock()}
		info, err := c.sign(rand.Reader, right.key, right.cert)
		if err != nil {
			t.Fatal(err)
		}
		msg, err := c.marshal(info)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Open(msg)
		if err != nil {
			t.Fatal(err)
		}
		if s := m.Signers[0]; s.Err != nil || !s.Certificate.Equal(right.cert) {
			t.Errorf("signer: %v", s.Err)
		}
	}
}

// TestOneBitChanges flips bits of a good request: it is refused, or what it says is the same.
func TestOneBitChanges(t *testing.T) {
	t.Parallel()
	good := load(t, "req/vouched-rsa2048.der")
	want := load(t, "req/vouched-rsa2048.pkidata")
	v, _ := newVerifier(t)
	accepted, refused := 0, 0
	// 11 is prime to 8: every octet position modulo 8 and every bit is met; -short takes fewer.
	step := 11
	if testing.Short() {
		step = 101
	}
	for bit := 0; bit < 8*len(good); bit += step {
		msg := slices.Clone(good)
		msg[bit/8] ^= 1 << (bit % 8)
		m, err := Open(msg)
		if err != nil {
			refused++
			continue
		}
		if _, p := v.Verify(t.Context(), m); p != nil {
			refused++
			continue
		}
		accepted++
		if !bytes.Equal(m.EContent, want) {
			t.Errorf("bit %d of octet %d changes the PKIData and is accepted", bit%8, bit/8)
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
	t.Logf("%d refused, %d accepted with the same PKIData", refused, accepted)
}
