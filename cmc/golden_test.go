package cmc

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// hexDiff shows where two encodings part.
func hexDiff(want, got []byte) string {
	return cmp.Diff(hex.Dump(want), hex.Dump(got))
}

// vouched returns the request of req/vouched-rsa2048.der.
func vouched(t testing.TB) *Request {
	t.Helper()
	return &Request{
		TransactionID: new(big.Int).SetBytes(unhex(t, "3f9c1d2e4b5a69788796a5b4c3d2e1f0")),
		SenderNonce:   unhex(t, "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"),
		CSR:           load(t, "p10/nosig-rsa2048.der"),
		Witnessed:     true,
	}
}

// TestRequestGolden writes messages that another implementation wrote before, to the byte. Those signed with ECDSA differ in
// the signature and are compared by content.
func TestRequestGolden(t *testing.T) {
	t.Parallel()
	rsaChain := []*x509.Certificate{loadCert(t, "capf-ra-rsa")}
	p256 := &Request{
		TransactionID: new(big.Int).SetBytes(unhex(t, "d1c2b3a4958677685940312213e4f506")),
		SenderNonce:   unhex(t, "b0b1b2b3b4b5b6b7b8b9babbbcbdbebf"),
		CSR:           load(t, "p10/nosig-p256.der"),
		Witnessed:     true, IdentityWitnessed: true, DataReturn: []byte("journal:7f3a9c"),
		RegInfo: RegInfo(NameValue{"device", "SEP00112233AABB"}, NameValue{"auth", "mic"}),
	}
	pending := &Request{
		TransactionID: vouched(t).TransactionID, SenderNonce: unhex(t, "e0e1e2e3e4e5e6e7e8e9eaebecedeeef"),
		RecipientNonce: unhex(t, "505152535455565758595a5b5c5d5e5f"), PendToken: []byte("enrolment-7f3a9c"),
	}
	signed := &Request{
		TransactionID: big.NewInt(0x7654321), SenderNonce: unhex(t, "d0d1d2d3d4d5d6d7d8d9dadbdcdddedf"),
		CSR: load(t, "p10/signed-rsa2048.der"),
	}
	for _, c := range []struct {
		file string
		r    *Request
	}{
		{"req/vouched-rsa2048.der", vouched(t)},
		{"req/query-pending.der", pending},
		{"req/signed-inner-no-witness.der", signed},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			got, err := c.r.Sign(clock(), rand.Reader, loadKey(t, "capf-ra-rsa"), rsaChain)
			if err != nil {
				t.Fatal(err)
			}
			if want := load(t, c.file); !bytes.Equal(want, got) {
				t.Errorf("message (-want +got):\n%s", hexDiff(want, got))
			}
		})
	}
	for file, r := range map[string]*Request{"req/vouched-rsa2048.pkidata": vouched(t), "req/vouched-p256.pkidata": p256} {
		d, err := r.PKIData()
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if want := load(t, file); !bytes.Equal(want, got) {
			t.Errorf("%s (-want +got):\n%s", file, hexDiff(want, got))
		}
	}
	msg, err := p256.Sign(clock(), rand.Reader, loadKey(t, "capf-ra-p256"), []*x509.Certificate{loadCert(t, "capf-ra-p256")})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := newVerifier(t)
	if _, p := judge(v, msg); p != nil {
		t.Errorf("our own request with an EC key: %v", p)
	}
}

func TestADCSGolden(t *testing.T) {
	t.Parallel()
	agent, chain := loadKey(t, "enrollment-agent"), []*x509.Certificate{loadCert(t, "enrollment-agent")}
	bare, signed := load(t, "p10/nosig-rsa2048.der"), load(t, "p10/signed-rsa2048.der")
	account := `EXAMPLE\SEP001122334455$`
	for _, c := range []struct {
		file  string
		write func() ([]byte, error)
	}{
		{"cmc-supplied-rsa2048", func() ([]byte, error) {
			return ADCSRequest(bare, "CallsignPhone", Supplied, agent, chain, clock(), rand.Reader)
		}},
		{"cmc-supplied-p256", func() ([]byte, error) {
			return ADCSRequest(load(t, "p10/nosig-p256.der"), "CallsignPhone", Supplied, agent, chain, clock(), rand.Reader)
		}},
		{"cmc-agent-only-rsa2048", func() ([]byte, error) {
			return ADCSRequest(bare, "CallsignPhone", AgentOnly, agent, chain, clock(), rand.Reader)
		}},
		{"cmc-signed-inner", func() ([]byte, error) {
			return ADCSRequest(signed, "CallsignPhone", Supplied, agent, chain, clock(), rand.Reader)
		}},
		{"cmc-eobo-rsa2048", func() ([]byte, error) {
			return ADCSOnBehalfRequest(bare, "CallsignPhone", account, Supplied, agent, chain, clock(), rand.Reader)
		}},
		{"pkcs7-eobo-signed-inner", func() ([]byte, error) {
			return PKCS7OnBehalf(signed, account, agent, chain, clock(), rand.Reader)
		}},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			got, err := c.write()
			if err != nil {
				t.Fatal(err)
			}
			if want := load(t, "adcs/"+c.file+".der"); !bytes.Equal(want, got) {
				t.Errorf("message (-want +got):\n%s", hexDiff(want, got))
			}
		})
	}
}

func TestResponseGolden(t *testing.T) {
	t.Parallel()
	key, chain := loadKey(t, "ra-responder"), []*x509.Certificate{loadCert(t, "ra-responder")}
	v, _ := newVerifier(t)
	verified, p := judge(v, load(t, "req/vouched-rsa2048.der"))
	if p != nil {
		t.Fatal(p)
	}
	_, unreadable := judge(v, load(t, "bad/tampered-inner-key.der"))
	_, unknown := judge(v, load(t, "bad/unknown-control.der"))
	_, notRA := judge(v, load(t, "bad/wrong-eku.der"))
	_, crmf := judge(v, load(t, "bad/crmf-raverified.der"))
	answer := func(r *Response, change func(*Response)) *Response {
		change(r)
		if r.RecipientNonce != nil {
			r.SenderNonce = unhex(t, "505152535455565758595a5b5c5d5e5f")
		}
		return r
	}
	for _, c := range []struct {
		file string
		r    *Response
	}{
		{"success", answer(verified.Response(), func(r *Response) {
			r.Certificates = []*x509.Certificate{loadCert(t, "phone-rsa2048"), loadCert(t, "anchor-enterprise")}
		})},
		{"pending", answer(verified.Response(), func(r *Response) {
			r.Status, r.Text = StatusPending, "waiting for approval, AD CS request 25"
			r.Pending = &PendInfo{Token: []byte("enrolment-7f3a9c"), Time: clock().Add(10 * time.Minute)}
		})},
		{"failed-trylater", answer(verified.Response(), func(r *Response) {
			r.Status, r.FailInfo, r.Text = StatusFailed, TryLater, "the CA does not answer"
		})},
		{"failed-badmessagecheck", answer(unreadable.Response(), func(r *Response) { r.Text = "signature does not verify" })},
		{"failed-unknown-control", answer(unknown.Response(), func(r *Response) { r.Text = "control 1.3.6.1.4.1.32473.1.99 not recognised" })},
		{"failed-popfailed", answer(notRA.Response(), func(r *Response) { r.Text = "signer may not vouch" })},
		{"nosupport", answer(crmf.Response(), func(r *Response) { r.Text = "CRMF is not supported" })},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			got, err := c.r.Sign(clock(), rand.Reader, key, chain)
			if err != nil {
				t.Fatal(err)
			}
			if want := load(t, "resp/"+c.file+".der"); !bytes.Equal(want, got) {
				t.Errorf("message (-want +got):\n%s", hexDiff(want, got))
			}
		})
	}
}

func TestUnsignedResponse(t *testing.T) {
	t.Parallel()
	msg, err := Unsigned("no key")
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseResponse(msg)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != StatusFailed || r.FailInfo != InternalCAError || r.Text != "no key" || !slices.Equal(r.BodyList, []uint32{0}) {
		t.Errorf("response %+v", r)
	}
	if _, err := VerifyResponse(msg, wanted(t)); code(err) != CodeNoSigner {
		t.Errorf("the client takes it for %v", err)
	}
}

// code returns the code of a *Problem.
func code(err error) string {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Code()
	}
	return ""
}

func TestNullSignedGolden(t *testing.T) {
	t.Parallel()
	for key, files := range map[string][2]string{
		"phone-rsa2048": {"p10/nosig-rsa2048.der", "p10/msnull-rsa2048.der"},
		"phone-p256":    {"p10/nosig-p256.der", ""},
	} {
		want := load(t, files[0])
		parsed, err := x509.ParseCertificateRequest(want)
		if err != nil {
			t.Fatal(err)
		}
		// All but the SubjectKeyIdentifier, which NullSigned adds itself.
		exts := parsed.Extensions[:len(parsed.Extensions)-1]
		got, err := NullSignedRaw(load(t, "keys/"+key+".pub.der"), parsed.RawSubject, exts, RFC)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, got) {
			t.Errorf("%s (-want +got):\n%s", files[0], hexDiff(want, got))
		}
		if files[1] == "" {
			continue
		}
		got, err = RenullSigned(got, Microsoft)
		if err != nil {
			t.Fatal(err)
		}
		if want := load(t, files[1]); !bytes.Equal(want, got) {
			t.Errorf("%s (-want +got):\n%s", files[1], hexDiff(want, got))
		}
		back, err := RenullSigned(got, RFC)
		if err != nil || !bytes.Equal(back, want) {
			t.Errorf("back to the RFC form: %v", err)
		}
	}
	if _, err := RenullSigned(load(t, "p10/signed-rsa2048.der"), Microsoft); code(err) != CodeUnusable {
		t.Errorf("a really signed PKCS#10 was changed: %v", err)
	}
	if _, err := RenullSigned(load(t, "p10/bad-nosig-hash.der"), Microsoft); code(err) != CodeNullSignatureMismatch {
		t.Errorf("a PKCS#10 with a wrong hash was changed: %v", err)
	}
}

func TestCertsOnlyGolden(t *testing.T) {
	t.Parallel()
	phone, ca := loadCert(t, "phone-rsa2048"), loadCert(t, "anchor-enterprise")
	got, err := CertsOnly(phone)
	if err != nil {
		t.Fatal(err)
	}
	prefix := "308203" + hex.EncodeToString(got[3:4]) + "06092a864886f70d010702a08203" + hex.EncodeToString(got[18:19]) + "308203" +
		hex.EncodeToString(got[22:23]) + "020101" + "3100" + "300b06092a864886f70d010701" + "a08203" + hex.EncodeToString(got[44:45])
	if h := hex.EncodeToString(got); h[:len(prefix)] != prefix || h[len(h)-4:] != "3100" || len(got) != 45+len(phone.Raw)+2 {
		t.Errorf("certs-only of %d octets: %s", len(got), h[:2*45])
	}
	if want := load(t, "resp/simple.der"); !bytes.Equal(want, got) {
		t.Errorf("Simple PKI Response (-want +got):\n%s", hexDiff(want, got))
	}
	got, err = CertsOnly(phone, ca, phone)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := ParseCertsOnly(got)
	if err != nil {
		t.Fatal(err)
	}
	if len(certs) != 3 || !certs[0].Equal(phone) || !certs[1].Equal(ca) || !certs[2].Equal(phone) {
		t.Errorf("order not kept: %d certificates", len(certs))
	}
	if _, err := CertsOnly(); code(err) != CodeUnusable {
		t.Errorf("an empty message was written: %v", err)
	}
}
