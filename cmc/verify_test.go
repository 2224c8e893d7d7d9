package cmc

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// verdict is a Problem in short.
type verdict struct {
	Code string
	Fail FailInfo
	Body []uint32
	HTTP int
}

func verdictOf(p *Problem) verdict {
	if p == nil {
		return verdict{}
	}
	return verdict{p.Code(), p.FailInfo, p.BodyList, p.HTTP}
}

// TestVerifierSettings judges req/vouched-rsa2048.der by servers that differ from the vectors'.
func TestVerifierSettings(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk full")
	whole, one := []uint32{0}, []uint32{1}
	for _, c := range []struct {
		name   string
		change func(*Verifier, *notebook)
		want   verdict
	}{
		{"as the vectors assume", func(*Verifier, *notebook) {}, verdict{}},
		{"no anchors", func(v *Verifier, _ *notebook) { v.Anchors = nil }, verdict{CodeSignerUntrusted, BadMessageCheck, whole, 403}},
		{"nobody listed", func(v *Verifier, _ *notebook) { v.Allowed = nil }, verdict{CodeNotRA, POPFailed, one, 403}},
		{"somebody else listed", func(v *Verifier, _ *notebook) {
			v.Allowed = func(c *x509.Certificate) bool { return c.Subject.CommonName == "CAPF-sub.example.test" }
		}, verdict{CodeNotRA, POPFailed, one, 403}},
		{"revoked", func(v *Verifier, _ *notebook) {
			v.Revoked = func(_ context.Context, chain []*x509.Certificate) error {
				if len(chain) != 2 {
					t.Errorf("chain of %d", len(chain))
				}
				return errors.New("serial 1004 is on the list")
			}
		}, verdict{CodeSignerUntrusted, BadMessageCheck, whole, 403}},
		{"5 minutes late", func(v *Verifier, _ *notebook) { v.Now = func() time.Time { return clock().Add(5 * time.Minute) } }, verdict{}},
		{"more than 5 minutes late", func(v *Verifier, _ *notebook) {
			v.Now = func() time.Time { return clock().Add(5*time.Minute + time.Second) }
		}, verdict{CodeTime, BadTime, whole, 400}},
		{"more than 5 minutes early", func(v *Verifier, _ *notebook) {
			v.Now = func() time.Time { return clock().Add(-5*time.Minute - time.Second) }
		}, verdict{CodeTime, BadTime, whole, 400}},
		{"narrow window", func(v *Verifier, _ *notebook) {
			v.Window, v.Now = time.Second, func() time.Time { return clock().Add(2 * time.Second) }
		}, verdict{CodeTime, BadTime, whole, 400}},
		{"no window", func(v *Verifier, _ *notebook) {
			v.Window, v.Now = -1, func() time.Time { return clock().Add(24 * time.Hour) }
		}, verdict{}},
		{"after the anchor's end", func(v *Verifier, _ *notebook) {
			v.Now = func() time.Time { return clock().AddDate(20, 0, 0) }
		}, verdict{CodeSignerExpired, BadMessageCheck, whole, 403}},
		{"no policy", func(v *Verifier, _ *notebook) { v.Policy = nil }, verdict{CodeSubjectDenied, BadRequest, one, 403}},
		{"key denied", func(v *Verifier, _ *notebook) {
			v.Policy = func(*x509.CertificateRequest, *x509.Certificate) *Problem {
				return Deny(CodeKeyDenied, BadAlg, "RSA", "")
			}
		}, verdict{CodeKeyDenied, BadAlg, one, 403}},
		{"policy's own status", func(v *Verifier, _ *notebook) {
			v.Policy = func(*x509.CertificateRequest, *x509.Certificate) *Problem {
				return &Problem{ErrCode: "ra.rate", FailInfo: TryLater, HTTP: 503, BodyList: []uint32{0}}
			}
		}, verdict{"ra.rate", TryLater, whole, 503}},
		{"policy's bare code", func(v *Verifier, _ *notebook) {
			v.Policy = func(*x509.CertificateRequest, *x509.Certificate) *Problem { return &Problem{ErrCode: "ra.no"} }
		}, verdict{"ra.no", BadAlg, one, 403}},
		{"memory fails", func(_ *Verifier, n *notebook) { n.err = broken }, verdict{CodeInternal, InternalCAError, whole, 500}},
		{"no memory", func(v *Verifier, _ *notebook) { v.Memory = nil }, verdict{CodeInternal, InternalCAError, whole, 500}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v, n := newVerifier(t)
			c.change(v, n)
			_, p := judge(v, load(t, "req/vouched-rsa2048.der"))
			if diff := cmp.Diff(c.want, verdictOf(p)); diff != "" {
				t.Errorf("verdict (-want +got):\n%s\n%v", diff, p)
			}
			if p != nil && p.Status != StatusFailed {
				t.Errorf("status %v", p.Status)
			}
		})
	}
}

// TestTwoSigners refuses a message that two people signed, and one that was signed by nobody known: the requested key.
func TestTwoSigners(t *testing.T) {
	t.Parallel()
	a, b := forge(t, loadKey(t, "capf-ra-rsa"), nil), forgery{loadKey(t, "capf-ra-p256"), loadCert(t, "capf-ra-p256")}
	c := content{OIDPKIData, load(t, "req/vouched-rsa2048.pkidata"), []*x509.Certificate{a.cert, b.cert}, clock()}
	var infos []signed
	for _, f := range []forgery{a, b} {
		info, err := c.sign(rand.Reader, f.key, f.cert)
		if err != nil {
			t.Fatal(err)
		}
		infos = append(infos, info)
	}
	msg, err := c.marshal(infos...)
	if err != nil {
		t.Fatal(err)
	}
	v, _ := newVerifier(t)
	_, p := judge(v, msg)
	if diff := cmp.Diff(verdict{CodeSignerCount, BadRequest, []uint32{0}, 400}, verdictOf(p)); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
	// A no-signature signer beside one real signer does not count.
	nobody, err := c.noSignature(make([]byte, 20))
	if err != nil {
		t.Fatal(err)
	}
	if msg, err = c.marshal(infos[0], nobody); err != nil {
		t.Fatal(err)
	}
	if _, p := judge(v, msg); p != nil {
		t.Errorf("with a no-signature signer beside: %v", p)
	}
}

// TestVoucherCertificates signs a good PKIData with certificates of all kinds.
func TestVoucherCertificates(t *testing.T) {
	t.Parallel()
	whole := []uint32{0}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skipf("this Go makes no weak keys: %v", err)
	}
	p256 := loadKey(t, "capf-ra-p256")
	for _, c := range []struct {
		name string
		f    forgery
		want verdict
	}{
		{"P-256", forge(t, p256, nil), verdict{}},
		{"P-384", forge(t, ecKey(t, elliptic.P384()), nil), verdict{}},
		{"P-521", forge(t, ecKey(t, elliptic.P521()), nil), verdict{}},
		{"no key usage", forge(t, p256, func(c *x509.Certificate) { c.KeyUsage = 0 }), verdict{}},
		{
			"other key usage", forge(t, p256, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }),
			verdict{CodeSignerUntrusted, BadMessageCheck, whole, 403},
		},
		{"any purpose", forge(t, p256, func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
		}), verdict{CodeNotRA, POPFailed, []uint32{1}, 403}},
		{
			"not yet valid", forge(t, p256, func(c *x509.Certificate) { c.NotBefore = clock().Add(time.Minute) }),
			verdict{CodeSignerExpired, BadMessageCheck, whole, 403},
		},
		{"expired and foreign", selfSigned(t, p256), verdict{CodeSignerUntrusted, BadMessageCheck, whole, 403}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v, _ := newVerifier(t)
			_, p := judge(v, signWith(t, c.f, load(t, "req/vouched-rsa2048.pkidata")))
			if diff := cmp.Diff(c.want, verdictOf(p)); diff != "" {
				t.Errorf("verdict (-want +got):\n%s\n%v", diff, p)
			}
		})
	}
	if _, err := vouched(t).Sign(clock(), rand.Reader, weak, []*x509.Certificate{forge(t, weak, nil).cert}); code(err) != CodeUnusable {
		t.Errorf("a weak key signed: %v", err)
	}
	if _, err := vouched(t).Sign(clock(), rand.Reader, p256, []*x509.Certificate{loadCert(t, "capf-ra-rsa")}); code(err) != CodeUnusable {
		t.Errorf("a key signed for another certificate: %v", err)
	}
	if err := checkKey(weak.Public()); !errors.Is(err, errWeakKey) {
		t.Errorf("RSA 1024: %v", err)
	}
}

// selfSigned returns an expired certificate that nobody trusts.
func selfSigned(t testing.TB, key crypto.Signer) forgery {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "self"}, NotBefore: clock().AddDate(-2, 0, 0),
		NotAfter: clock().AddDate(-1, 0, 0), UnknownExtKeyUsage: []asn1.ObjectIdentifier{OIDKeyPurposeCMCRA},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return forgery{key, c}
}

// TestIntermediate lets the voucher's chain go through a CA in the message, or one configured here.
func TestIntermediate(t *testing.T) {
	t.Parallel()
	caKey := ecKey(t, elliptic.P256())
	ca := forge(t, caKey, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		c.UnknownExtKeyUsage, c.Subject.CommonName = nil, "voucher CA"
	})
	key := loadKey(t, "capf-ra-p256")
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "CAPF"}, NotBefore: clock(), NotAfter: clock().Add(time.Hour),
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{OIDKeyPurposeCMCRA},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	send := func(chain ...*x509.Certificate) []byte {
		msg, err := vouched(t).Sign(clock(), rand.Reader, key, chain)
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	v, _ := newVerifier(t)
	if out, p := judge(v, send(leaf, ca.cert)); p != nil || len(out.Chain) != 3 {
		t.Errorf("intermediate in the message: %v", p)
	}
	if _, p := judge(v, send(leaf)); p == nil || p.Code() != CodeSignerUntrusted {
		t.Errorf("without the intermediate: %v", p)
	}
	v.Certificates = []*x509.Certificate{ca.cert}
	if _, p := judge(v, send(leaf)); p != nil {
		t.Errorf("intermediate configured: %v", p)
	}
}

// TestConfiguredVoucher accepts a message without certificates from a voucher that is configured.
func TestConfiguredVoucher(t *testing.T) {
	t.Parallel()
	v, _ := newVerifier(t)
	v.Certificates = []*x509.Certificate{loadCert(t, "capf-ra-p256"), loadCert(t, "capf-ra-rsa")}
	out, p := judge(v, load(t, "bad/signer-cert-absent.der"))
	if p != nil {
		t.Fatal(p)
	}
	if out.Voucher.Subject.CommonName != "CAPF-pub.example.test" {
		t.Errorf("voucher %v", out.Voucher.Subject)
	}
}

// TestControlRules judges contents that differ a little from that of req/vouched-rsa2048.der.
func TestControlRules(t *testing.T) {
	t.Parallel()
	add := func(oid asn1.ObjectIdentifier, values ...[]byte) func(*PKIData) {
		return func(d *PKIData) { d.Controls = append(d.Controls, Control{BodyPartID: 9, Type: oid, Values: values}) }
	}
	drop := func(oid asn1.ObjectIdentifier) func(*PKIData) {
		return func(d *PKIData) {
			for i := range d.Controls {
				if d.Controls[i].Type.Equal(oid) {
					d.Controls = append(d.Controls[:i], d.Controls[i+1:]...)
					return
				}
			}
		}
	}
	all := func(fs ...func(*PKIData)) func(*PKIData) {
		return func(d *PKIData) {
			for _, f := range fs {
				f(d)
			}
		}
	}
	path := func(ids string) []byte { return unhex(t, ids) }
	token := octets([]byte("enrolment-7f3a9c"))
	bad := func(code string, fail FailInfo, ids ...uint32) verdict {
		return verdict{code, fail, ids, http.StatusBadRequest}
	}
	for _, c := range []struct {
		name   string
		change func(*PKIData)
		want   verdict
	}{
		{"unchanged", all(), verdict{}},
		{"raIdentityWitness", add(OIDRAIdentityWitness, path("3003020101")), verdict{}},
		{"raIdentityWitness twice", all(add(OIDRAIdentityWitness, path("3003020101")), func(d *PKIData) {
			d.Controls = append(d.Controls, Control{BodyPartID: 10, Type: OIDRAIdentityWitness, Values: [][]byte{path("3003020101")}})
		}), verdict{}},
		{"raIdentityWitness for something else", add(OIDRAIdentityWitness, path("3003020102")), bad(CodeWitnessMismatch, BadRequest, 9)},
		{"raIdentityWitness of a wrong type", add(OIDRAIdentityWitness, token), bad(CodeWitnessMismatch, BadRequest, 9)},
		{"a control twice", add(OIDSenderNonce, octets(make([]byte, 16))), bad(CodeControlUnknown, BadRequest, 9)},
		{"two values", add(OIDRegInfo, octets(nil), octets(nil)), bad(CodeControlUnknown, BadRequest, 9)},
		{"no value", add(OIDRegInfo), bad(CodeControlUnknown, BadRequest, 9)},
		{"modCertTemplate", add(controlOID(31), derNull), bad(CodeControlUnknown, BadRequest, 9)},
		{"all offenders are named", all(add(controlOID(31), derNull), func(d *PKIData) {
			d.Controls = append(d.Controls, Control{BodyPartID: 11, Type: controlOID(8), Values: [][]byte{derNull}})
		}), bad(CodeControlUnknown, BadRequest, 9, 11)},
		{"regInfo that is no OCTET STRING", add(OIDRegInfo, derNull), bad(CodeMalformed, BadRequest, 9)},
		{"no transactionId", drop(OIDTransactionID), bad(CodeTransactionMissing, BadRequest, 0)},
		{
			"other message", func(d *PKIData) { d.Other = []Element{{BodyPartID: 7, Type: OIDData, Raw: derNull}} },
			verdict{CodeNested, NoFailInfo, []uint32{7}, 400},
		},
		{"witness without its request", func(d *PKIData) { d.Requests = nil }, bad(CodeRequestCount, BadRequest, 0)},
		{
			"witness names the request twice", all(drop(OIDLRAPOPWitness), add(OIDLRAPOPWitness, path("300b0201003006020101020101"))),
			bad(CodeWitnessMismatch, BadRequest, 9),
		},
		{
			"witness names nothing", all(drop(OIDLRAPOPWitness), add(OIDLRAPOPWitness, path("30050201003000"))),
			bad(CodeWitnessMismatch, BadRequest, 9),
		},
		{"question with a request", add(OIDQueryPending, token), bad(CodeRequestCount, BadRequest, 1)},
		{"question with a witness", all(drop(OIDLRAPOPWitness), func(d *PKIData) { d.Requests = nil },
			add(OIDQueryPending, token), func(d *PKIData) {
				d.Controls = append(d.Controls, Control{BodyPartID: 10, Type: OIDLRAPOPWitness, Values: [][]byte{path("30080201003003020101")}})
			}), bad(CodeWitnessMismatch, BadRequest, 10)},
		{"question after nothing", all(drop(OIDLRAPOPWitness), func(d *PKIData) { d.Requests = nil },
			add(OIDQueryPending, octets([]byte("no such token")))), bad(CodeTokenUnknown, BadRequest, 9)},
		{"question", all(drop(OIDLRAPOPWitness), func(d *PKIData) { d.Requests = nil }, add(OIDQueryPending, token)), verdict{}},
		{"signed PKCS#10 with a witness", func(d *PKIData) { d.Requests[0].Raw = load(t, "p10/signed-rsa2048.der") }, verdict{}},
		{"signed PKCS#10, signature wrong", func(d *PKIData) {
			csr := load(t, "p10/signed-rsa2048.der")
			csr[len(csr)-1] ^= 1
			d.Requests[0].Raw = csr
		}, bad(CodePOPFailed, POPFailed, 1)},
		{
			"null form without parameters", func(d *PKIData) { d.Requests[0].Raw = load(t, "p10/nosig-p256-noparams.der") },
			bad(CodeNullSignatureMismatch, POPFailed, 1),
		},
		{"no PKCS#10", func(d *PKIData) { d.Requests[0].Raw = []byte{tagSequence, 0} }, bad(CodeMalformed, BadRequest, 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v, _ := newVerifier(t)
			_, p := judge(v, signAs(t, "capf-ra-rsa", goodPKIData(t, c.change)))
			if diff := cmp.Diff(c.want, verdictOf(p)); diff != "" {
				t.Errorf("verdict (-want +got):\n%s\n%v", diff, p)
			}
		})
	}
}

// TestChangeSubjectName refuses RFC 6402's attribute in a vouched request.
func TestChangeSubjectName(t *testing.T) {
	t.Parallel()
	good := load(t, "p10/nosig-p256.der")
	p, err := readP10(good)
	if err != nil {
		t.Fatal(err)
	}
	cri, err := asn1Append(p.cri, wireAttribute(t, oidChangeSubjectName, appendTLV(nil, tagSequence, derNull)))
	if err != nil {
		t.Fatal(err)
	}
	csr, err := nullSign(cri, RFC)
	if err != nil {
		t.Fatal(err)
	}
	v, _ := newVerifier(t)
	_, got := judge(v, signAs(t, "capf-ra-rsa", goodPKIData(t, func(d *PKIData) { d.Requests[0].Raw = csr })))
	if got == nil || got.Code() != CodeSubjectDenied || !strings.Contains(got.Detail, "change a subject name") {
		t.Errorf("verdict %v", got)
	}
}

// asn1Append adds an attribute to a CertificationRequestInfo, whose attributes are its last field.
func asn1Append(cri, attr []byte) ([]byte, error) {
	var info struct {
		Raw        asn1.RawContent
		Version    int
		Subject    asn1.RawValue
		Key        asn1.RawValue
		Attributes asn1.RawValue `asn1:"tag:0"`
	}
	if _, err := asn1.Unmarshal(cri, &info); err != nil {
		return nil, err
	}
	attrs := appendTLV(nil, 0xA0, append(append([]byte{}, info.Attributes.Bytes...), attr...))
	body := append([]byte{tagInteger, 1, 0}, info.Subject.FullBytes...)
	body = append(append(body, info.Key.FullBytes...), attrs...)
	return appendTLV(nil, tagSequence, body), nil
}

// TestEcho returns to the requester what the response needs, also with a refusal.
func TestEcho(t *testing.T) {
	t.Parallel()
	v, _ := newVerifier(t)
	v.Policy = nil
	_, p := judge(v, load(t, "req/vouched-p256.der"))
	if p == nil {
		t.Fatal("accepted")
	}
	r := p.Response()
	if r.TransactionID == nil || len(r.RecipientNonce) != 16 || string(r.DataReturn) != "journal:7f3a9c" || r.Status != StatusFailed {
		t.Errorf("response %+v", r)
	}
	if _, p := judge(v, load(t, "bad/tampered-inner-key.der")); p == nil || p.TransactionID != nil || p.SenderNonce != nil {
		t.Errorf("a message with a wrong signature is echoed: %+v", p)
	}
}
