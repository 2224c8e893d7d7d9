package cmc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"

	"callsign/cmc"
)

// journal is the RA's memory of earlier messages.
type journal struct{}

func (journal) Replayed(context.Context, []byte, []byte) (bool, error) { return false, nil }

func (journal) TransactionUsed(context.Context, *big.Int, []byte) (bool, error) { return false, nil }

func (journal) TokenKnown(context.Context, []byte, []byte) (bool, error) { return false, nil }

// A voucher asks for a certificate for a phone's key, and the RA judges the request.
func Example() {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	voucherKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "capf.example.com"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{cmc.OIDKeyPurposeCMCRA},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, voucherKey.Public(), voucherKey)
	if err != nil {
		panic(err)
	}
	voucher, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}

	// The phone sent its bare public key; nobody here can sign with it.
	phoneKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(phoneKey.Public())
	if err != nil {
		panic(err)
	}
	csr, err := cmc.NullSigned(spki, pkix.Name{CommonName: "SEP001122334455"}, nil, cmc.RFC)
	if err != nil {
		panic(err)
	}
	request := cmc.Request{CSR: csr, Witnessed: true, RegInfo: cmc.RegInfo(cmc.NameValue{Name: "auth", Value: "mic"})}
	msg, err := request.Sign(now, rand.Reader, voucherKey, []*x509.Certificate{voucher})
	if err != nil {
		panic(err)
	}

	// The RA.
	anchors := x509.NewCertPool()
	anchors.AddCert(voucher)
	verifier := cmc.Verifier{
		Anchors: anchors,
		Allowed: func(c *x509.Certificate) bool { return c.Equal(voucher) },
		Now:     func() time.Time { return now },
		Memory:  journal{},
		Policy: func(csr *x509.CertificateRequest, _ *x509.Certificate) *cmc.Problem {
			if len(csr.DNSNames) > 0 {
				return cmc.Deny(cmc.CodeSubjectDenied, cmc.BadRequest, "no DNS names for phones", "")
			}
			return nil
		},
	}
	m, err := cmc.Open(msg)
	if err != nil {
		panic(err)
	}
	verified, problem := verifier.Verify(context.Background(), m)
	if problem != nil {
		fmt.Println(problem.Code(), problem, problem.Remedy())
		return
	}
	fmt.Println(verified.Parsed.Subject, verified.Form, verified.Voucher.Subject)
	// Output: CN=SEP001122334455 rfc CN=capf.example.com
}
