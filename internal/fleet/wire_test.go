package fleet_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // old MICs are signed with it
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net"
	"testing"

	"callsign/capf"
	"callsign/internal/fleet"
)

// wire calls the bed's service through the CAPF server and returns how the session went.
func (b *bed) wire(c *capf.Client) (capf.Outcome, error) {
	b.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	server := &capf.Server{Service: b.service}
	go func() { _ = server.Serve(b.t.Context(), l, capf.Transport{Plain: true}) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	if c.Device = phone; c.Keeper == nil {
		c.Keeper = &capf.Memory{}
	}
	out, err := c.Run(b.t.Context(), conn)
	if stopped := server.Shutdown(b.t.Context()); stopped != nil {
		b.t.Error(stopped)
	}
	return out, err
}

// noEC is a phone that makes no EC keys.
type noEC struct{ capf.Memory }

func (k *noEC) Key(ctx context.Context, s capf.KeySpec) (crypto.Signer, error) {
	if s.Type == capf.KeyEC {
		return nil, errors.New("no EC here")
	}
	return k.Memory.Key(ctx, s)
}

func TestKeyOrdersOverTheWire(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		order   fleet.KeyOrder
		version uint8
		keeper  capf.Keeper
		key     string // of the LSC; empty: none
		note    string
		result  capf.Result
		status  fleet.Status
	}{
		"EC only, version 3":      {fleet.KeyOrderEC, 3, nil, "ec:256", "", capf.ResultSuccess, fleet.StatusUpgradeSuccess},
		"EC only, version 2":      {fleet.KeyOrderEC, 2, nil, "", "fleet.ec-not-possible", capf.ResultFail, fleet.StatusUpgradeFailed},
		"EC only, declined":       {fleet.KeyOrderEC, 3, &noEC{}, "", capf.CodePhoneFailure, capf.ResultPhoneCommError, fleet.StatusUpgradeFailed},
		"EC preferred, version 3": {fleet.KeyOrderECRSA, 3, nil, "ec:256", "", capf.ResultSuccess, fleet.StatusUpgradeSuccess},
		"EC preferred, version 2": {fleet.KeyOrderECRSA, 2, nil, "rsa:2048", "", capf.ResultSuccess, fleet.StatusUpgradeSuccess},
		"EC preferred, declined":  {fleet.KeyOrderECRSA, 3, &noEC{}, "rsa:2048", "", capf.ResultSuccess, fleet.StatusUpgradeSuccess},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, func(d *fleet.Device) { d.KeyOrder = c.order })
			out, err := b.wire(&capf.Client{Version: c.version, Keeper: c.keeper})
			d := b.device()
			note, key := "", ""
			if d.Note != nil {
				note = d.Note.Code
			}
			if d.LSC != nil {
				key = b.lastAttempt().Steps[1].Detail
			}
			if key != c.key || note != c.note || d.Result != c.result || d.Status != c.status || d.Operation != fleet.OperationNone {
				t.Errorf("key %q, note %q, result %v, status %s", key, note, d.Result, d.Status)
			}
			want := capf.ReasonUpdateCertificate
			if c.key == "" {
				want = capf.ReasonInvalidElement
			}
			if !out.Ended || out.Reason != want || (err == nil) != (c.key != "") {
				t.Errorf("outcome %+v, %v", out, err)
			}
		})
	}
}

// shortKey is an RSA key of 512 bits, as phones may have them; the library makes none.
func shortKey(t *testing.T) *rsa.PrivateKey {
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
		n := new(big.Int).Mul(p, q)
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		d := new(big.Int).ModInverse(e, phi)
		if n.BitLen() == 512 && d != nil {
			return &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: 65537}, D: d, Primes: []*big.Int{p, q}}
		}
	}
}

// Old phones may have keys of 512 bits, which carry no SHA-512. They are accepted only where it is said.
func TestShortKeyAuthenticatesByPolicy(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	key := shortKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: phone}, NotBefore: p.lsc.x.NotBefore, NotAfter: p.lsc.x.NotAfter,
	}, p.lscCA.x, &key.PublicKey, p.lscCA.key)
	if err != nil {
		t.Fatal(err)
	}
	id := &capf.Identity{Certificate: der, Key: key}
	b := certBed(t, p, fleet.AuthLSC, nil)
	if out, err := b.wire(&capf.Client{Identity: id}); err == nil || out.Reason != capf.ReasonInvalidElement {
		t.Fatalf("by default: %+v, %v", out, err)
	}
	if d := b.device(); d.Note.Code != "fleet.certificate-refused" || d.Result != capf.ResultInvalidLSC {
		t.Errorf("note %+v", d.Note)
	}
	b.service.AllowSHA1Auth = true
	if out, err := b.wire(&capf.Client{Identity: id}); err != nil || out.Certificate == nil {
		t.Errorf("by policy: %+v, %v", out, err)
	}
	if a := b.lastAttempt(); !a.OK || a.Credential != "lsc" {
		t.Errorf("attempt %+v", a)
	}
}

// sha1Signed signs a certificate anew, with SHA-1.
func sha1Signed(t *testing.T, x *x509.Certificate, ca *rsa.PrivateKey) []byte {
	t.Helper()
	sha256OID, sha1OID := []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11}, []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5}
	tbs := bytes.ReplaceAll(x.RawTBSCertificate, sha256OID, sha1OID)
	sum := sha1.Sum(tbs) //nolint:gosec // old MICs are signed with it
	sig, err := rsa.SignPKCS1v15(nil, ca, crypto.SHA1, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{
		asn1.RawValue{FullBytes: tbs},
		pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 5}, Parameters: asn1.NullRawValue},
		asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// MICs of older phones are signed with SHA-1: below a CA that is marked as a manufacturer's they count, and nothing else so signed does.
func TestSHA1SignedCertificates(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	caKey := rsaOnce()
	old := issue(t, "Cisco Manufacturing CA", nil, caKey, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	key := ecKey(t)
	der := sha1Signed(t, issue(t, "CP-7962G-"+phone, old, key, nil).x, caKey)
	sudi := sha1Signed(t, issue(t, "CP-7962G-"+phone, old, rsaOther(), nil).x, caKey)
	client := func() *capf.Client {
		return &capf.Client{
			Identity: &capf.Identity{Certificate: der, Key: key, Type: capf.CertificateLSC}, SUDI: &capf.Identity{Certificate: sudi, Key: rsaOther()},
		}
	}
	b := certBed(t, p, fleet.AuthMIC, nil)
	b.service.Trust.MIC = []*x509.Certificate{old.x}
	if out, err := b.wire(client()); err != nil || out.Certificate == nil {
		t.Fatalf("below a manufacturing CA: %+v, %v, note %+v", out, err, b.device().Note)
	}
	b = certBed(t, p, fleet.AuthLSC, nil)
	b.service.Trust = fleet.Trust{LSC: []*x509.Certificate{old.x}}
	if out, err := b.wire(client()); err == nil || out.Reason != capf.ReasonInvalidElement {
		t.Fatalf("below an issuer of LSCs: %+v, %v", out, err)
	}
	if d := b.device(); d.Note.Code != "fleet.certificate-refused" || d.Result != capf.ResultInvalidLSC {
		t.Errorf("note %+v", d.Note)
	}
}

// Data that is read from one session proves nothing in another one: SUDI data is bound to the session, the rest is not.
func TestReplayOverTheWire(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	b := certBed(t, p, fleet.AuthLSC, nil)
	var read *capf.Credential
	b.service.RequireSUDI = true
	spy := &capf.Server{Service: spying{b.service, func(c capf.Caller) { read = c.Credential }}, FirstSession: 7}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = spy.Serve(t.Context(), l, capf.Transport{Plain: true}) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &capf.Client{
		Device: phone, Keeper: &capf.Memory{}, Identity: &capf.Identity{Certificate: p.lsc.x.Raw, Key: p.lsc.key},
		SUDI: &capf.Identity{Certificate: p.mic.x.Raw, Key: p.mic.key},
	}
	if _, err := c.Run(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	if err := spy.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.phones.UpdateDevice(t.Context(), phone, func(d *fleet.Device) error {
		d.Schedule(fleet.OperationInstall, b.now)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if r := refusal(t, second(b.callBy(read))); r.Code() != "fleet.sudi-wrong" || r.Result != capf.ResultInvalidMIC {
		t.Errorf("%s, %v", r.Code(), r.Result)
	}
}

type spying struct {
	capf.Service
	see func(capf.Caller)
}

func (s spying) Open(ctx context.Context, c capf.Caller) (capf.Session, error) {
	s.see(c)
	return s.Service.Open(ctx, c)
}
