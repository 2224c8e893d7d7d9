package cmc

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestSignDraws(t *testing.T) {
	t.Parallel()
	key, chain := loadKey(t, "capf-ra-p256"), []*x509.Certificate{loadCert(t, "capf-ra-p256")}
	r := &Request{CSR: load(t, "p10/nosig-p256.der"), Witnessed: true}
	msg, err := r.Sign(clock(), rand.Reader, key, chain)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.SenderNonce) != 16 || r.TransactionID == nil || r.TransactionID.BitLen() > 128 {
		t.Errorf("nonce %x, transaction %v", r.SenderNonce, r.TransactionID)
	}
	v, _ := newVerifier(t)
	out, p := judge(v, msg)
	if p != nil {
		t.Fatal(p)
	}
	if diff := cmp.Diff(*r, out.Request, cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })); diff != "" {
		t.Errorf("request (-sent +read):\n%s", diff)
	}
	broken := errors.New("no entropy")
	if _, err := (&Request{CSR: r.CSR, Witnessed: true}).Sign(clock(), iotest.ErrReader(broken), key, chain); !errors.Is(err, broken) {
		t.Errorf("without random octets: %v", err)
	}
}

func TestRequestRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*Request)
		want   string
	}{
		{"unsigned and nobody witnesses", func(r *Request) { r.Witnessed = false }, CodeUnusable},
		{"short nonce", func(r *Request) { r.SenderNonce = r.SenderNonce[:4] }, CodeUnusable},
		{"negative transaction", func(r *Request) { r.TransactionID = big.NewInt(-1) }, CodeUnusable},
		{"nothing to request", func(r *Request) { r.CSR = nil }, CodeUnusable},
		{"request and question", func(r *Request) { r.PendToken = []byte("t") }, CodeUnusable},
		{"recipientNonce in a first message", func(r *Request) { r.RecipientNonce = r.SenderNonce }, CodeUnusable},
		{"witnessed question", func(r *Request) { r.CSR, r.PendToken = nil, []byte("t") }, CodeUnusable},
		{"wrong hash", func(r *Request) { r.CSR = load(t, "p10/bad-nosig-hash.der") }, CodeNullSignatureMismatch},
		{"no PKCS#10", func(r *Request) { r.CSR = []byte("x") }, CodeMalformed},
	} {
		r := vouched(t)
		c.change(r)
		_, err := r.Sign(clock(), rand.Reader, loadKey(t, "capf-ra-p256"), []*x509.Certificate{loadCert(t, "capf-ra-p256")})
		if code(err) != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	if _, err := vouched(t).Sign(clock(), rand.Reader, nil, nil); code(err) != CodeUnusable {
		t.Errorf("without a signer: %v", err)
	}
}

func TestRegInfo(t *testing.T) {
	t.Parallel()
	pairs := []NameValue{{"device", "SEP001122334455"}, {"a=b&c%d", "%26=&"}, {"empty", ""}, {"name", "Zoë"}}
	b := RegInfo(pairs...)
	if want := "device=SEP001122334455&a%3Db%26c%25d=%2526%3D%26&empty=&name=Zoë&"; string(b) != want {
		t.Errorf("got %s, want %s", b, want)
	}
	if diff := cmp.Diff(pairs, ParseRegInfo(b)); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	microsoft := []NameValue{{"RequesterName", `Domain\TargetUser`}, {"flag", ""}, {"odd", "100%"}}
	if diff := cmp.Diff(microsoft, ParseRegInfo([]byte("RequesterName=Domain%5CTargetUser&flag&odd=100%&"))); diff != "" {
		t.Errorf("Microsoft's form (-want +got):\n%s", diff)
	}
}

func TestNullSigned(t *testing.T) {
	t.Parallel()
	spki := load(t, "keys/phone-p256.pub.der")
	keyID, err := SubjectKeyID(spki)
	if err != nil {
		t.Fatal(err)
	}
	own := pkix.Extension{Id: oidSubjectKeyID, Value: octets([]byte("own"))}
	for _, c := range []struct {
		name string
		exts []pkix.Extension
		want []byte
	}{{"added", nil, keyID}, {"kept", []pkix.Extension{own}, []byte("own")}} {
		for _, form := range []Form{RFC, Microsoft} {
			csr, err := NullSigned(spki, pkix.Name{CommonName: "SEP00112233AABB"}, c.exts, form)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := CheckNullSignature(csr); err != nil || got != form {
				t.Errorf("%s: form %v, %v", c.name, got, err)
			}
			id, err := requestKeyID(csr)
			if err != nil || !bytes.Equal(id, c.want) {
				t.Errorf("%s: key identifier %x, %v", c.name, id, err)
			}
		}
	}
	for name, err := range map[string]error{
		"no key":       second(NullSigned([]byte("x"), pkix.Name{}, nil, RFC)),
		"signed form":  second(NullSigned(spki, pkix.Name{}, nil, Signed)),
		"broken name":  second(NullSignedRaw(spki, []byte{tagSet, 0}, nil, RFC)),
		"trailing key": second(NullSigned(append(bytes.Clone(spki), 0), pkix.Name{}, nil, RFC)),
	} {
		if code(err) != CodeUnusable {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second(_ []byte, err error) error { return err }

func TestADCSRefusals(t *testing.T) {
	t.Parallel()
	agent, chain := loadKey(t, "enrollment-agent"), []*x509.Certificate{loadCert(t, "enrollment-agent")}
	bare, signed := load(t, "p10/nosig-p256.der"), load(t, "p10/signed-rsa2048.der")
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"no template":     {second(ADCSRequest(bare, "", Supplied, agent, chain, clock(), rand.Reader)), CodeUnusable},
		"no shape":        {second(ADCSRequest(bare, "T", 0, agent, chain, clock(), rand.Reader)), CodeUnusable},
		"no agent":        {second(ADCSRequest(bare, "T", Supplied, nil, nil, clock(), rand.Reader)), CodeUnusable},
		"other agent":     {second(ADCSRequest(bare, "T", Supplied, loadKey(t, "phone-p256"), chain, clock(), rand.Reader)), CodeUnusable},
		"wrong hash":      {second(ADCSRequest(load(t, "p10/bad-nosig-hash.der"), "T", Supplied, agent, chain, clock(), rand.Reader)), CodeNullSignatureMismatch},
		"nobody":          {second(ADCSOnBehalfRequest(bare, "T", "", Supplied, agent, chain, clock(), rand.Reader)), CodeUnusable},
		"PKCS #7, bare":   {second(PKCS7OnBehalf(bare, `D\u`, agent, chain, clock(), rand.Reader)), CodeUnusable},
		"PKCS #7, nobody": {second(PKCS7OnBehalf(signed, "", agent, chain, clock(), rand.Reader)), CodeUnusable},
	} {
		if code(c.err) != c.want {
			t.Errorf("%s: %v, want %s", name, c.err, c.want)
		}
	}
}
