package app_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"

	"callsign/capf"
	"callsign/internal/app"
	"callsign/internal/config"
	"callsign/internal/fleet"
)

// TestESTUserIsNoPhone: the CA of the phones signs for users of EST as well. Who asks there for the name of a phone gets no
// certificate of that phone by it.
func TestESTUserIsNoPhone(t *testing.T) {
	t.Parallel()
	p := newProduct(t, config.IssuerLocal, nil)
	p.start()
	p.add(phone, func(d *fleet.Device) { d.Auth = fleet.AuthLSC; install(d) })
	client := p.estClient()
	defer client.Close()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: phone}}, key)
	if err != nil {
		t.Fatal(err)
	}
	enrolled, err := client.SimpleEnroll(t.Context(), csr)
	if err != nil {
		t.Fatal(err)
	}
	impostor := capf.Client{Device: phone, Keeper: &capf.Memory{}, Identity: &capf.Identity{Certificate: enrolled.Raw, Key: key}, TLS: &tls.Config{InsecureSkipVerify: true}}
	if _, err := impostor.Dial(t.Context(), p.a.Endpoints().CAPF); err == nil {
		t.Error("a user of EST was taken for the phone")
	}
	p.command(func(r *app.Records) {
		d, err := r.Phones.Device(t.Context(), phone)
		if err != nil || d.LSC != nil || d.Note == nil || d.Note.Code != "fleet.certificate-of-another-owner" {
			t.Errorf("record %+v, %v", d, err)
		}
	})
}

// TestSessionsBeginElsewhere: where SUDI data is asked for, which is signed over the session id, the ids of an earlier run do
// not come again.
func TestSessionsBeginElsewhere(t *testing.T) {
	t.Parallel()
	ids := map[uint32]bool{}
	for _, require := range []bool{true, true, false} {
		p := newProduct(t, config.IssuerLocal, func(c *config.Config) { c.CAPF.RequireSUDI = require })
		p.start()
		s := &session{t: t, conn: p.dial()}
		s.read(capf.AuthRequest)
		_ = s.conn.Close()
		if ids[s.id] || (s.id == 1) == require || s.id == 0 {
			t.Errorf("session %d after %v", s.id, ids)
		}
		ids[s.id] = true
	}
}
