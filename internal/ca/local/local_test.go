package local_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/ca"
	"callsign/internal/ca/local"
)

var clock = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

func name(cn string) pkix.Name {
	return pkix.Name{CommonName: cn, Organization: []string{"Example"}}
}

func newCAPF(t testing.TB, kind local.KeyKind, now time.Time) *local.Issuer {
	t.Helper()
	i, err := local.NewCAPF(local.CAOptions{Subject: name("CAPF-0f1e2d3c"), Key: kind, Now: at(now)})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func authority(t testing.TB, i *local.Issuer, edit func(*local.Config)) *local.Authority {
	t.Helper()
	c := local.Config{Certificate: i.Certificate, Signer: i.Signer, Chain: i.Chain, Now: i.Now}
	if edit != nil {
		edit(&c)
	}
	a, err := local.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func spki(t testing.TB, pub crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func subject(t testing.TB, cn string) []byte {
	t.Helper()
	n := name(cn)
	der, err := asn1.Marshal(n.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func uriSAN(uri string) pkix.Extension {
	v := append([]byte{0x30, byte(len(uri) + 2), 0x86, byte(len(uri))}, uri...)
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: v}
}

// phone returns a vouched request for a fresh P-256 key.
func phone(t testing.TB) ca.Request {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return ca.Request{
		ID: "00112233445566778899aabbccddeeff", Owner: "phone:SEP001122334455", Vouch: "string",
		PublicKey: spki(t, &k.PublicKey), Subject: subject(t, "SEP001122334455"),
		Extensions: []pkix.Extension{uriSAN("SEP001122334455")},
	}
}

func TestPhoneProfile(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, issuerKind := range []local.KeyKind{local.RSA2048, local.P256} {
		for _, phoneKey := range []string{"rsa", "ec"} {
			t.Run(string(issuerKind)+" signs "+phoneKey, func(t *testing.T) {
				t.Parallel()
				i := newCAPF(t, issuerKind, clock.Add(-24*time.Hour))
				i.Now = at(clock)
				r := phone(t)
				if phoneKey == "rsa" {
					r.PublicKey = spki(t, &rsaKey.PublicKey)
				}
				out, err := authority(t, i, nil).Issue(t.Context(), r, nil)
				if err != nil || out.Status != ca.Issued {
					t.Fatalf("Issue = %+v, %v", out, err)
				}
				c, err := x509.ParseCertificate(out.Certificate)
				if err != nil {
					t.Fatal(err)
				}
				roots := x509.NewCertPool()
				roots.AddCert(i.Certificate)
				if _, err := c.Verify(x509.VerifyOptions{
					Roots: roots, CurrentTime: clock, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
				}); err != nil {
					t.Errorf("verify: %v", err)
				}
				type view struct {
					CN, URI          string
					KU               x509.KeyUsage
					EKU              []x509.ExtKeyUsage
					NotBefore, After time.Time
					SelfIsCA, BCSet  bool
					Critical         []string
					SigSHA256        bool
				}
				got := view{
					CN: c.Subject.CommonName, URI: c.URIs[0].String(), KU: c.KeyUsage, EKU: c.ExtKeyUsage,
					NotBefore: c.NotBefore, After: c.NotAfter, SelfIsCA: c.IsCA, BCSet: c.BasicConstraintsValid,
					SigSHA256: c.SignatureAlgorithm == x509.SHA256WithRSA || c.SignatureAlgorithm == x509.ECDSAWithSHA256,
				}
				for _, e := range c.Extensions {
					if e.Critical {
						got.Critical = append(got.Critical, e.Id.String())
					}
				}
				want := view{
					CN: "SEP001122334455", URI: "SEP001122334455",
					KU:        x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
					EKU:       []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageIPSECEndSystem},
					NotBefore: clock.Add(-5 * time.Minute), After: clock.Add(365 * 24 * time.Hour), BCSet: true,
					Critical: []string{"2.5.29.15", "2.5.29.19"}, SigSHA256: true,
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("profile (-want +got):\n%s", d)
				}
				if !bytes.Equal(c.AuthorityKeyId, i.Certificate.SubjectKeyId) || len(c.SubjectKeyId) != 20 {
					t.Errorf("key identifiers: authority %x (issuer %x), subject %x", c.AuthorityKeyId, i.Certificate.SubjectKeyId, c.SubjectKeyId)
				}
				if !bytes.Equal(c.RawSubjectPublicKeyInfo, r.PublicKey) || !bytes.Equal(c.RawSubject, r.Subject) {
					t.Error("key or subject are not those of the request, byte for byte")
				}
				if out.POP != ca.POPSession || len(out.Chain) != 1 {
					t.Errorf("pop %q, chain of %d", out.POP, len(out.Chain))
				}
			})
		}
	}
}

func TestDatesStayInsideTheIssuer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		now         time.Time
		days        int
		backdate    time.Duration
		from, until time.Time
	}{
		{"young issuer", clock.Add(time.Minute), 1, time.Hour, clock.Add(-5 * time.Minute), clock.Add(24*time.Hour + time.Minute)},
		{"old issuer", clock.Add(29 * 24 * time.Hour), 365, time.Hour, clock.Add(29*24*time.Hour - time.Hour), clock.Add(30 * 24 * time.Hour)},
	}
	i, err := local.NewCAPF(local.CAOptions{Subject: name("CAPF"), Key: local.P256, Now: at(clock), Validity: 30 * 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := authority(t, i, func(c *local.Config) { c.Now, c.ValidityDays, c.Backdate = at(tt.now), tt.days, tt.backdate })
			out, err := a.Issue(t.Context(), phone(t), nil)
			if err != nil {
				t.Fatal(err)
			}
			c, err := x509.ParseCertificate(out.Certificate)
			if err != nil {
				t.Fatal(err)
			}
			if !c.NotBefore.Equal(tt.from) || !c.NotAfter.Equal(tt.until) {
				t.Errorf("got %s .. %s, want %s .. %s", c.NotBefore, c.NotAfter, tt.from, tt.until)
			}
		})
	}
}

func TestIssuerOutOfDates(t *testing.T) {
	t.Parallel()
	i := newCAPF(t, local.P256, clock)
	for _, now := range []time.Time{clock.Add(-time.Hour), clock.AddDate(10, 0, 0)} {
		_, err := authority(t, i, func(c *local.Config) { c.Now = at(now) }).Issue(t.Context(), phone(t), nil)
		var e *ca.Error
		if !errors.As(err, &e) || e.Code() != "local.issuer-dates" || !e.Final || e.Remedy() == "" {
			t.Errorf("at %s: %v", now, err)
		}
	}
}

func TestSerialsDiffer(t *testing.T) {
	t.Parallel()
	a := authority(t, newCAPF(t, local.P256, clock), nil)
	seen := map[string]bool{}
	r := phone(t)
	for range 50 {
		out, err := a.Issue(t.Context(), r, nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(out.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		if c.SerialNumber.Sign() <= 0 || c.SerialNumber.BitLen() > 128 || seen[c.SerialNumber.String()] {
			t.Fatalf("serial %x", c.SerialNumber)
		}
		seen[c.SerialNumber.String()] = true
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ext := func(id asn1.ObjectIdentifier, critical bool, value ...byte) pkix.Extension {
		return pkix.Extension{Id: id, Critical: critical, Value: value}
	}
	bc, san := asn1.ObjectIdentifier{2, 5, 29, 19}, asn1.ObjectIdentifier{2, 5, 29, 17}
	tests := []struct {
		name string
		edit func(*ca.Request)
		code string // "" means issued
	}{
		{"nobody vouches", func(r *ca.Request) { r.Vouch = "" }, "local.not-vouched"},
		{"unreadable key", func(r *ca.Request) { r.PublicKey = []byte{1, 2, 3} }, "local.key-type"},
		{"short RSA", func(r *ca.Request) { r.PublicKey = spki(t, &small.PublicKey) }, "local.key-weak"},
		{"small exponent", func(r *ca.Request) {
			r.PublicKey = spki(t, &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 2047, 1), E: 2})
		}, "local.key-weak"},
		{"even modulus", func(r *ca.Request) {
			r.PublicKey = spki(t, &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537})
		}, "local.key-weak"},
		{"long RSA", func(r *ca.Request) {
			r.PublicKey = spki(t, &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8191, 1), E: 65537})
		}, "local.key-large"},
		{"P-224", func(r *ca.Request) { r.PublicKey = spki(t, &p224.PublicKey) }, "local.key-type"},
		{"empty subject", func(r *ca.Request) { r.Subject = []byte{0x30, 0} }, "local.subject"},
		{"broken subject", func(r *ca.Request) { r.Subject = []byte{0x30, 9} }, "local.subject"},
		{"user principal name", func(r *ca.Request) {
			r.Extensions = []pkix.Extension{ext(san, false, 0x30, 4, 0xa0, 2, 6, 0)}
		}, "local.extension-refused"},
		{"CA:TRUE", func(r *ca.Request) { r.Extensions = []pkix.Extension{ext(bc, true, 0x30, 3, 1, 1, 0xff)} }, "local.extension-refused"},
		{"CA:FALSE", func(r *ca.Request) { r.Extensions = []pkix.Extension{ext(bc, true, 0x30, 0)} }, ""},
		{"name constraints", func(r *ca.Request) {
			r.Extensions = []pkix.Extension{ext(asn1.ObjectIdentifier{2, 5, 29, 30}, false, 0x30, 0)}
		}, "local.extension-refused"},
		{"unknown critical", func(r *ca.Request) {
			r.Extensions = []pkix.Extension{ext(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, true, 5, 0)}
		}, "local.extension-refused"},
		{"unknown, not critical", func(r *ca.Request) {
			r.Extensions = []pkix.Extension{ext(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, false, 5, 0)}
		}, ""},
		{"key usage asked for", func(r *ca.Request) {
			r.Extensions = []pkix.Extension{ext(asn1.ObjectIdentifier{2, 5, 29, 15}, true, 3, 2, 1, 6)}
		}, ""},
		{"twice", func(r *ca.Request) { r.Extensions = append(r.Extensions, r.Extensions...) }, "local.extension-refused"},
		{"garbage for a CSR", func(r *ca.Request) { r.CSR = []byte{0x30, 0} }, "local.csr-signature"},
	}
	i := newCAPF(t, local.P256, clock)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := phone(t)
			tt.edit(&r)
			out, err := authority(t, i, nil).Issue(t.Context(), r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.code == "" {
				c, err := x509.ParseCertificate(out.Certificate)
				if out.Status != ca.Issued || err != nil {
					t.Fatalf("outcome %+v, %v", out, err)
				}
				if c.IsCA || c.KeyUsage&x509.KeyUsageCertSign != 0 {
					t.Error("the request decided what the profile must")
				}
				return
			}
			if out.Status != ca.Denied || out.Denial.Code() != tt.code || out.Denial.Remedy() == "" || !out.Denial.Final {
				t.Errorf("outcome %+v (%+v), want %s", out, out.Denial, tt.code)
			}
		})
	}
	t.Run("1024 bits where configured", func(t *testing.T) {
		t.Parallel()
		r := phone(t)
		r.PublicKey = spki(t, &small.PublicKey)
		out, err := authority(t, i, func(c *local.Config) { c.Keys.MinRSABits = 1024 }).Issue(t.Context(), r, nil)
		if err != nil || out.Status != ca.Issued {
			t.Errorf("outcome %+v, %v", out, err)
		}
	})
}

func TestSignedRequest(t *testing.T) {
	t.Parallel()
	k, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: name("SEP001122334455")}, k)
	if err != nil {
		t.Fatal(err)
	}
	bent := bytes.Clone(good)
	bent[len(bent)-1] ^= 1
	tests := []struct {
		name string
		csr  []byte
		edit func(*ca.Request)
		want ca.Status
	}{
		{"good", good, func(*ca.Request) {}, ca.Issued},
		{"bent signature", bent, func(*ca.Request) {}, ca.Denied},
		{"another subject in the row", good, func(r *ca.Request) { r.Subject = subject(t, "SEP000000000000") }, ca.Denied},
		{"another key in the row", good, func(r *ca.Request) { r.PublicKey = phone(t).PublicKey }, ca.Denied},
	}
	a := authority(t, newCAPF(t, local.P256, clock), nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			csr, err := x509.ParseCertificateRequest(good)
			if err != nil {
				t.Fatal(err)
			}
			r := ca.Request{CSR: tt.csr, PublicKey: csr.RawSubjectPublicKeyInfo, Subject: csr.RawSubject}
			tt.edit(&r)
			out, err := a.Issue(t.Context(), r, nil)
			if err != nil || out.Status != tt.want {
				t.Fatalf("Issue = %+v, %v", out, err)
			}
			if out.Status == ca.Issued && out.POP != ca.POPSigned {
				t.Errorf("pop %q", out.POP)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	i := newCAPF(t, local.P256, clock)
	other := newCAPF(t, local.P256, clock)
	leaf, err := i.NewLeaf(t.Context(), local.LeafOptions{Purpose: local.TLSServer, CAOptions: local.CAOptions{Subject: name("x")}})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		c    local.Config
	}{
		{"nothing", local.Config{}},
		{"foreign key", local.Config{Certificate: i.Certificate, Signer: other.Signer}},
		{"no CA", local.Config{Certificate: leaf.Certificate, Signer: leaf.Signer}},
		{"too long", local.Config{Certificate: i.Certificate, Signer: i.Signer, ValidityDays: 1826}},
		{"negative", local.Config{Certificate: i.Certificate, Signer: i.Signer, ValidityDays: -1}},
		{"negative backdate", local.Config{Certificate: i.Certificate, Signer: i.Signer, Backdate: -time.Second}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := local.New(tt.c); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestMadeCertificatesVerify(t *testing.T) {
	t.Parallel()
	root, err := local.NewRoot(local.CAOptions{Subject: name("Root"), Now: at(clock)})
	if err != nil {
		t.Fatal(err)
	}
	issuing, err := root.NewIssuing(t.Context(), local.CAOptions{Subject: name("Issuing")})
	if err != nil {
		t.Fatal(err)
	}
	cmcRA := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28}
	agent := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 1}
	tests := []struct {
		name    string
		purpose local.Purpose
		known   []x509.ExtKeyUsage
		unknown []asn1.ObjectIdentifier
		ku      x509.KeyUsage
	}{
		{"server", local.TLSServer, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, nil, x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment},
		{"client", local.TLSClient, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, nil, x509.KeyUsageDigitalSignature},
		{"voucher", local.Voucher, nil, []asn1.ObjectIdentifier{cmcRA}, x509.KeyUsageDigitalSignature},
		{"responder", local.Responder, nil, []asn1.ObjectIdentifier{cmcRA}, x509.KeyUsageDigitalSignature},
		{"agent", local.EnrollmentAgent, nil, []asn1.ObjectIdentifier{agent}, x509.KeyUsageDigitalSignature},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, err := issuing.NewLeaf(context.Background(), local.LeafOptions{
				Purpose: tt.purpose, CAOptions: local.CAOptions{Subject: name(tt.name)}, Names: []string{"localhost", "127.0.0.1", "::1"},
			})
			if err != nil {
				t.Fatal(err)
			}
			roots, inter := x509.NewCertPool(), x509.NewCertPool()
			roots.AddCert(root.Certificate)
			inter.AddCert(issuing.Certificate)
			if _, err := l.Certificate.Verify(x509.VerifyOptions{
				DNSName: "127.0.0.1", Roots: roots, Intermediates: inter, CurrentTime: clock, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
			}); err != nil {
				t.Error(err)
			}
			if d := cmp.Diff(tt.known, l.Certificate.ExtKeyUsage); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tt.unknown, l.Certificate.UnknownExtKeyUsage); d != "" {
				t.Error(d)
			}
			if l.Certificate.KeyUsage != tt.ku || len(l.Chain) != 2 || len(l.Presented()) != 2 {
				t.Errorf("ku %d chain %d presented %d", l.Certificate.KeyUsage, len(l.Chain), len(l.Presented()))
			}
		})
	}
	capf := newCAPF(t, "", clock)
	if c := capf.Certificate; !c.IsCA || !c.MaxPathLenZero || c.PublicKeyAlgorithm != x509.RSA ||
		c.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageCertSign|x509.KeyUsageCRLSign || !bytes.Equal(c.AuthorityKeyId, c.SubjectKeyId) {
		t.Errorf("CAPF certificate: %+v", c)
	}
	if err := capf.Certificate.CheckSignatureFrom(capf.Certificate); err != nil {
		t.Error(err)
	}
}

func BenchmarkIssue(b *testing.B) {
	for _, kind := range []local.KeyKind{local.P256, local.RSA2048} {
		b.Run(string(kind), func(b *testing.B) {
			a := authority(b, newCAPF(b, kind, clock), nil)
			r := phone(b)
			b.ReportAllocs()
			for b.Loop() {
				if out, err := a.Issue(context.Background(), r, nil); err != nil || out.Status != ca.Issued {
					b.Fatal(out.Status, err)
				}
			}
		})
	}
}
