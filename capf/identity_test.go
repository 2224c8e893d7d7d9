package capf

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// identity makes a self-signed certificate; a key of 512 bits needs another's signature.
func identity(t *testing.T, key crypto.Signer, kind CertificateType) *Identity {
	t.Helper()
	a, err := testAuthority()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "SEP0000000000D1"}, NotAfter: time.Now().Add(time.Hour),
	}, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &Identity{Certificate: der, Type: kind, Key: key}
}

// hello returns what a client answers to AUTH_REQUEST of a session.
func hello(t *testing.T, c *Client, session uint32) (Message, error) {
	t.Helper()
	ours, theirs := net.Pipe()
	failed := make(chan error, 1)
	go func() {
		_, err := c.Run(t.Context(), ours)
		_ = ours.Close()
		failed <- err
	}()
	defer theirs.Close()
	p := &peer{tb: t, conn: theirs, session: session}
	p.send(AuthRequest, byteElement(TagVersion, 3))
	m, err := ReadMessage(theirs, MaxBody)
	if err != nil {
		return m, <-failed
	}
	_ = theirs.Close()
	<-failed
	return m, nil
}

func tags(m Message) []Tag {
	var out []Tag
	for _, e := range m.Elements {
		out = append(out, e.Tag)
	}
	return out
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	a, err := rsaAuthority()
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaLSC, ecLSC, small := identity(t, a.key, 0), identity(t, ec, CertificateLSC), identity(t, tinyRSA(t), CertificateLSC)
	mic := identity(t, a.key, CertificateMIC)
	const session = 0xfffe
	recorded := recordedCredentials(t)
	for name, tt := range map[string]struct {
		client    Client
		like      *shown // a recording with the same elements in the same order
		tags      []Tag  // when there is none
		allowSHA1 bool
		kind      CertificateType
	}{
		"RSA LSC with SUDI data":   {Client{Identity: rsaLSC, SUDI: mic}, &recorded[0], nil, false, CertificateLSC},
		"EC LSC with SUDI data":    {Client{Identity: ecLSC, SUDI: mic}, &recorded[2], nil, false, CertificateLSC},
		"MIC with SUDI data":       {Client{Identity: mic, SUDI: mic}, &recorded[3], nil, false, CertificateMIC},
		"no SUDI data":             {Client{Identity: ecLSC}, nil, []Tag{1, 4, 6, 7, 11, 13, 20}, false, CertificateLSC},
		"key too small for 20":     {Client{Identity: small}, nil, []Tag{1, 4, 6, 7, 11, 13}, true, CertificateLSC},
		"version 2 knows no 16,20": {Client{Identity: rsaLSC, SUDI: mic, Version: 2}, nil, []Tag{7, 13, 1, 4, 6}, true, CertificateLSC},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := tt.client
			c.Device, c.Keeper = "SEP0000000000D1", &Memory{}
			m, err := hello(t, &c, session)
			if err != nil {
				t.Fatal(err)
			}
			want := tt.tags
			if tt.like != nil {
				want = tags(tt.like.message(t, 1))
			}
			if diff := cmp.Diff(want, tags(m)); diff != "" {
				t.Errorf("elements (-want +got):\n%s", diff)
			}
			credential, err := credentialOf(m)
			if err != nil {
				t.Fatal(err)
			}
			if err := credential.VerifySignatures(c.Device, tt.allowSHA1); err != nil {
				t.Error(err)
			}
			if tt.allowSHA1 && code(credential.VerifySignatures(c.Device, false)) != CodeSignatureMissing {
				t.Error("SHA-1 alone passes")
			}
			v, _ := m.Element(TagCertificate)
			if entries, err := ParseCertificatePackage(v); err != nil || len(entries) != 1 || entries[0].Type != tt.kind {
				t.Errorf("package %v, %v", entries, err)
			}
			if s, present, err := credential.SUDI(); present != (c.SUDI != nil && c.Version != 2) || err != nil || present && s.Verify(session) != nil {
				t.Errorf("SUDI data: %v, %v", present, err)
			}
			// A recorded element has the same parts of the same lengths as far as its key tells.
			if tt.like != nil && tt.like.Name == recorded[0].Name && len(credential.SignedData) != len(recorded[0].credential.SignedData) {
				t.Errorf("signature of %d bytes", len(credential.SignedData))
			}
		})
	}
}

// TestUnfitIdentity: what a phone could not have is told before it is sent.
func TestUnfitIdentity(t *testing.T) {
	t.Parallel()
	a, err := rsaAuthority()
	if err != nil {
		t.Fatal(err)
	}
	ec, err := testAuthority()
	if err != nil {
		t.Fatal(err)
	}
	good := identity(t, a.key, 0)
	for name, c := range map[string]Client{
		"another's key":     {Identity: &Identity{Certificate: good.Certificate, Key: ec.key}},
		"no key":            {Identity: &Identity{Certificate: good.Certificate}},
		"no certificate":    {Identity: &Identity{Key: a.key}},
		"SUDI with EC":      {SUDI: identity(t, ec.key, CertificateMIC)},
		"SUDI, small key":   {SUDI: identity(t, tinyRSA(t), CertificateMIC)},
		"SUDI, another key": {SUDI: &Identity{Certificate: good.Certificate, Key: ec.key}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.Device, c.Keeper = "SEP0000000000D1", &Memory{}
			if m, err := hello(t, &c, 1); code(err) != CodeBadCredential {
				t.Errorf("%v, %v", m, err)
			}
		})
	}
}
