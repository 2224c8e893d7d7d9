package fleet_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"callsign/capf"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

const otherPhone = "SEP0000000000FF"

// pki is what phones and trust stores have.
type pki struct {
	lscCA, oldCA, foreignCA, micCA *identity
	lsc, lscRSA, otherLSC          *identity
	mic, otherMIC                  *identity
}

func newPKI(t failer) *pki {
	t.Helper()
	p := &pki{lscCA: newCA(t, "CAPF"), oldCA: newCA(t, "former CAPF"), foreignCA: newCA(t, "CAPF elsewhere"), micCA: newCA(t, "Cisco Manufacturing CA (test)")}
	p.lsc = issue(t, phone, p.lscCA, ecKey(t), uri(phone))
	p.lscRSA = issue(t, phone, p.lscCA, rsaOnce(), uri(phone))
	p.otherLSC = issue(t, otherPhone, p.lscCA, ecKey(t), uri(otherPhone))
	p.mic = issue(t, "CP-8841-"+phone, p.micCA, rsaOnce(), nil)
	p.otherMIC = issue(t, "CP-8841-"+otherPhone, p.micCA, rsaOther(), nil)
	return p
}

// callBy calls by certificate in session 1.
func (b *bed) callBy(cred *capf.Credential) (capf.Session, error) {
	return b.service.Open(b.t.Context(), capf.Caller{
		Session: 1, Peer: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 50000}, Version: 3, Device: phone, Credential: cred,
	})
}

func (b *bed) lastAttempt() fleet.Attempt {
	b.t.Helper()
	all, err := b.phones.Attempts(b.t.Context(), phone, 1)
	if err != nil || len(all) != 1 {
		b.t.Fatalf("%d attempts, %v", len(all), err)
	}
	return all[0]
}

// certBed is a bed whose phone authenticates by certificate.
func certBed(t *testing.T, p *pki, mode fleet.AuthMode, change func(*fleet.Device)) *bed {
	t.Helper()
	b := newBed(t, func(d *fleet.Device) {
		d.Auth = mode
		if change != nil {
			change(d)
		}
	})
	b.service.Trust = fleet.Trust{LSC: []*x509.Certificate{p.lscCA.x, p.oldCA.x}, MIC: []*x509.Certificate{p.micCA.x}}
	return b
}

func onRecord(id *identity) func(*fleet.Device) {
	return func(d *fleet.Device) {
		d.LSC = &fleet.Certificate{DER: id.x.Raw, Serial: "01", NotBefore: id.x.NotBefore, NotAfter: id.x.NotAfter}
	}
}

func TestAuthenticByCertificate(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	for name, c := range map[string]struct {
		mode     fleet.AuthMode
		device   func(*fleet.Device)
		service  func(*fleet.Service)
		show     func(*testing.T) *capf.Credential
		kind     string
		sudiSeen bool
	}{
		"LSC": {mode: fleet.AuthLSC, show: func(t *testing.T) *capf.Credential { return credential(t, phone, p.lsc) }, kind: "lsc"},
		"LSC beside one on record": {
			mode: fleet.AuthLSC, device: onRecord(p.lsc), kind: "lsc",
			show: func(t *testing.T) *capf.Credential { return credential(t, phone, p.lsc) },
		},
		"LSC of the former CAPF": {mode: fleet.AuthLSC, kind: "lsc", show: func(t *testing.T) *capf.Credential {
			return credential(t, phone, issue(t, phone, p.oldCA, ecKey(t), nil))
		}},
		"LSC with the model in front": {mode: fleet.AuthLSC, kind: "lsc", show: func(t *testing.T) *capf.Credential {
			return credential(t, phone, issue(t, "cp-8865-"+strings.ToLower(phone), p.lscCA, ecKey(t), nil))
		}},
		"LSC that is named in a URI only": {mode: fleet.AuthLSC, kind: "lsc", show: func(t *testing.T) *capf.Credential {
			return credential(t, phone, issue(t, "reception", p.lscCA, ecKey(t), uri(phone)))
		}},
		"LSC with SUDI data of its own": {mode: fleet.AuthLSC, kind: "lsc", sudiSeen: true, show: func(t *testing.T) *capf.Credential {
			c := credential(t, phone, p.lscRSA)
			c.SUDIData = sudiData(t, 1, p.lscRSA)
			return c
		}},
		"LSC with SUDI data of the MIC": {
			mode: fleet.AuthLSC, kind: "lsc", sudiSeen: true, service: func(s *fleet.Service) { s.RequireSUDI = true },
			show: func(t *testing.T) *capf.Credential {
				c := credential(t, phone, p.lsc)
				c.SUDIData = sudiData(t, 1, p.mic)
				return c
			},
		},
		"LSC of 1024 bits": {mode: fleet.AuthLSC, kind: "lsc", show: func(t *testing.T) *capf.Credential {
			return credential(t, phone, issue(t, phone, p.lscCA, rsaOther(), nil))
		}},
		"MIC where no LSC is on record": {mode: fleet.AuthLSC, kind: "mic", show: func(t *testing.T) *capf.Credential { return credential(t, phone, p.mic) }},
		"MIC beside an LSC, by policy": {
			mode: fleet.AuthLSC, device: onRecord(p.lsc), service: func(s *fleet.Service) { s.MICBesideLSC = true }, kind: "mic",
			show: func(t *testing.T) *capf.Credential { return credential(t, phone, p.mic) },
		},
		"MIC": {mode: fleet.AuthMIC, device: onRecord(p.lsc), kind: "mic", show: func(t *testing.T) *capf.Credential { return credential(t, phone, p.mic) }},
		"LSC of a phone without a MIC": {
			mode: fleet.AuthMIC, device: func(d *fleet.Device) { d.NoMIC = true }, kind: "lsc",
			show: func(t *testing.T) *capf.Credential { return credential(t, phone, p.lsc) },
		},
		"SHA-1 alone, where it is allowed": {
			mode: fleet.AuthLSC, service: func(s *fleet.Service) { s.AllowSHA1Auth = true }, kind: "lsc",
			show: func(t *testing.T) *capf.Credential {
				c := credential(t, phone, p.lsc)
				c.SHA2SignedData = nil
				return c
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := certBed(t, p, c.mode, c.device)
			if c.service != nil {
				c.service(b.service)
			}
			s, err := b.callBy(c.show(t))
			if err != nil {
				t.Fatal(err)
			}
			_, spki := newKey(t)
			der, err := s.Issue(t.Context(), spki)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Stored(t.Context(), der, capf.ReasonUpdateCertificate); err != nil {
				t.Fatal(err)
			}
			a := b.lastAttempt()
			if !a.OK || a.Credential != c.kind || len(a.Steps) != 4 || strings.Contains(a.Steps[0].Detail, "SUDI") != c.sudiSeen {
				t.Errorf("attempt %+v", a)
			}
			if rows := b.rows(); rows[0].Vouch != c.kind || rows[0].State != enroll.Confirmed {
				t.Errorf("row vouched for by %q, %s", rows[0].Vouch, rows[0].State)
			}
		})
	}
}

func TestRefusedByCertificate(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	show := func(id func(failer) *identity) func(*testing.T) *capf.Credential {
		return func(t *testing.T) *capf.Credential { return credential(t, phone, id(t)) }
	}
	with := func(change func(*testing.T, *capf.Credential)) func(*testing.T) *capf.Credential {
		return func(t *testing.T) *capf.Credential {
			c := credential(t, phone, p.lscRSA)
			change(t, c)
			return c
		}
	}
	dated := func(from, to time.Duration) func(failer) *identity {
		return func(t failer) *identity {
			return issue(t, phone, p.lscCA, ecKey(t), func(c *x509.Certificate) {
				c.NotBefore, c.NotAfter = time.Now().Add(from), time.Now().Add(to)
			})
		}
	}
	for name, c := range map[string]struct {
		mode    fleet.AuthMode // default: lsc
		device  func(*fleet.Device)
		service func(*fleet.Service)
		show    func(*testing.T) *capf.Credential
		result  capf.Result
		code    string
		shown   string // default: lsc
		remedy  string // part of it
	}{
		"nothing shown": {
			show: func(*testing.T) *capf.Credential { return nil }, result: capf.ResultInvalidLSC, code: "fleet.credential-missing", shown: "none", remedy: "--auth null",
		},
		"nothing shown, MIC first": {
			mode: fleet.AuthMIC, show: func(*testing.T) *capf.Credential { return nil }, result: capf.ResultInvalidMIC, code: "fleet.credential-missing", shown: "none",
		},
		"signatures without a certificate": {
			show:   with(func(_ *testing.T, c *capf.Credential) { c.Certificate = nil }),
			result: capf.ResultInvalidLSC, code: "fleet.credential-missing", shown: "none",
		},
		"not a certificate": {
			show: func(*testing.T) *capf.Credential {
				return &capf.Credential{Certificate: []byte{0x30, 0}, SignedData: []byte{1}}
			},
			result: capf.ResultInvalidLSC, code: "fleet.certificate-malformed", shown: "none",
		},
		"LSC of another phone": {
			show: show(func(failer) *identity { return p.otherLSC }), result: capf.ResultInvalidLSC, code: "fleet.certificate-of-another-device", remedy: "under a name that is not its own",
		},
		"LSC of another phone, that names this one at the end": {
			show: show(func(t failer) *identity { return issue(t, "CSFX-"+phone, p.lscCA, ecKey(t), nil) }), result: capf.ResultInvalidLSC, code: "fleet.certificate-of-another-device",
		},
		"LSC of another phone by its URI": {
			show:   show(func(t failer) *identity { return issue(t, phone, p.lscCA, ecKey(t), uri(otherPhone)) }),
			result: capf.ResultInvalidLSC, code: "fleet.certificate-of-another-device",
		},
		"LSC with a letter that becomes ASCII": {
			show: show(func(t failer) *identity { return issue(t, "\u017fEP001122334455", p.lscCA, ecKey(t), nil) }), result: capf.ResultInvalidLSC, code: "fleet.certificate-of-another-device",
		},
		"LSC with a NUL in its name": {
			show: show(func(t failer) *identity { return issue(t, "printer\x00-"+phone, p.lscCA, ecKey(t), nil) }), result: capf.ResultInvalidLSC, code: "fleet.certificate-of-another-device",
		},
		"LSC with two common names": {
			show: show(func(t failer) *identity {
				return issue(t, "x", p.lscCA, ecKey(t), func(c *x509.Certificate) {
					cn := []int{2, 5, 4, 3}
					c.Subject = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: cn, Value: otherPhone}, {Type: cn, Value: phone}}}
				})
			}), result: capf.ResultInvalidLSC, code: "fleet.certificate-of-another-device",
		},
		"MIC whose name does not fit": {
			mode: fleet.AuthMIC, show: show(func(failer) *identity { return p.otherMIC }), result: capf.ResultInvalidMIC, code: "fleet.certificate-of-another-device", shown: "mic",
		},
		"MIC with the name in a URI": {
			mode: fleet.AuthMIC, show: show(func(t failer) *identity { return issue(t, "CP-8841", p.micCA, ecKey(t), uri(phone)) }),
			result: capf.ResultInvalidMIC, code: "fleet.certificate-of-another-device", shown: "mic",
		},
		"expired LSC": {show: show(dated(-2*time.Hour, -time.Hour)), result: capf.ResultInvalidLSC, code: "fleet.certificate-expired", remedy: "clock of this machine"},
		"LSC of the future": {
			show: show(dated(time.Hour, 2*time.Hour)), result: capf.ResultInvalidLSC, code: "fleet.certificate-not-yet-valid", remedy: "clock",
		},
		"expired MIC": {
			mode: fleet.AuthMIC, shown: "mic", result: capf.ResultInvalidMIC, code: "fleet.certificate-expired",
			show: show(func(t failer) *identity {
				return issue(t, "CP-7962G-"+phone, p.micCA, ecKey(t), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
			}),
		},
		"unknown issuer": {
			show:   show(func(t failer) *identity { return issue(t, phone, p.foreignCA, ecKey(t), nil) }),
			result: capf.ResultInvalidLSC, code: "fleet.certificate-untrusted", shown: "none", remedy: "capf.trust_files",
		},
		"unknown issuer, MIC first": {
			mode: fleet.AuthMIC, show: show(func(t failer) *identity { return issue(t, "CP-1-"+phone, p.foreignCA, ecKey(t), nil) }),
			result: capf.ResultInvalidMIC, code: "fleet.certificate-untrusted", shown: "none", remedy: "capf.mic_files",
		},
		"self-signed": {
			show:   show(func(t failer) *identity { return issue(t, phone, nil, ecKey(t), nil) }),
			result: capf.ResultInvalidLSC, code: "fleet.certificate-untrusted", shown: "none",
		},
		"a CA of the same name": {
			show:   show(func(t failer) *identity { return issue(t, phone, newCA(t, "CAPF"), ecKey(t), nil) }),
			result: capf.ResultInvalidLSC, code: "fleet.certificate-untrusted", shown: "none", remedy: "capf.trust_files",
		},
		"issuer distrusted": {
			service: func(s *fleet.Service) { s.Trust.Distrusted = [][32]byte{sha256.Sum256(p.lscCA.x.Raw)} },
			show:    show(func(failer) *identity { return p.lsc }), result: capf.ResultInvalidLSC, code: "fleet.issuer-distrusted", remedy: "capf.distrusted",
		},
		"this one distrusted": {
			service: func(s *fleet.Service) { s.Trust.Distrusted = [][32]byte{sha256.Sum256(p.lsc.x.Raw)} },
			show:    show(func(failer) *identity { return p.lsc }), result: capf.ResultInvalidLSC, code: "fleet.issuer-distrusted",
		},
		"MIC issuer distrusted": {
			mode: fleet.AuthMIC, service: func(s *fleet.Service) { s.Trust.Distrusted = [][32]byte{sha256.Sum256(p.micCA.x.Raw)} },
			show: show(func(failer) *identity { return p.mic }), result: capf.ResultInvalidMIC, code: "fleet.issuer-distrusted", shown: "mic",
		},
		"for servers only": {
			show: show(func(t failer) *identity {
				return issue(t, phone, p.lscCA, ecKey(t), func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
			}), result: capf.ResultInvalidLSC, code: "fleet.certificate-refused",
		},
		"signatures over another name": {
			show: func(t *testing.T) *capf.Credential { return credential(t, otherPhone, p.lsc) }, result: capf.ResultInvalidLSC, code: "fleet.signature-wrong",
		},
		"another's key": {
			show:   show(func(t failer) *identity { return &identity{p.lsc.x, ecKey(t)} }),
			result: capf.ResultInvalidLSC, code: "fleet.signature-wrong",
		},
		"SHA-1 alone": {
			show: with(func(_ *testing.T, c *capf.Credential) { c.SHA2SignedData = nil }), result: capf.ResultInvalidLSC, code: "fleet.signature-missing", remedy: "capf.allow_sha1_auth",
		},
		"right SHA-512, wrong SHA-1": {
			service: func(s *fleet.Service) { s.AllowSHA1Auth = true },
			show:    with(func(_ *testing.T, c *capf.Credential) { c.SignedData = c.SignedData[1:] }), result: capf.ResultInvalidLSC, code: "fleet.signature-wrong",
		},
		"no signature": {
			show:   with(func(_ *testing.T, c *capf.Credential) { c.SHA2SignedData, c.SignedData = nil, nil }),
			result: capf.ResultInvalidLSC, code: "fleet.signature-missing",
		},
		"MIC beside an LSC": {
			device: onRecord(p.lsc), show: show(func(failer) *identity { return p.mic }),
			result: capf.ResultInvalidMIC, code: "fleet.mic-not-wanted", shown: "mic", remedy: "capf.mic_beside_lsc",
		},
		"MIC beside an expired LSC": {
			device: func(d *fleet.Device) { onRecord(p.lsc)(d); d.LSC.NotAfter = time.Now().Add(-time.Hour) },
			show:   show(func(failer) *identity { return p.mic }),
			result: capf.ResultInvalidMIC, code: "fleet.mic-not-wanted", shown: "mic", remedy: "--auth mic",
		},
		"LSC of a phone with a MIC": {
			mode: fleet.AuthMIC, show: show(func(failer) *identity { return p.lsc }), result: capf.ResultInvalidLSC, code: "fleet.lsc-not-wanted", remedy: "--auth lsc",
		},
		"SUDI data of an earlier session": {
			show:   with(func(t *testing.T, c *capf.Credential) { c.SUDIData = sudiData(t, 7, p.mic) }),
			result: capf.ResultInvalidMIC, code: "fleet.sudi-wrong", remedy: "earlier session",
		},
		"SUDI data of another phone": {
			show:   with(func(t *testing.T, c *capf.Credential) { c.SUDIData = sudiData(t, 1, p.otherMIC) }),
			result: capf.ResultInvalidMIC, code: "fleet.sudi-of-another-device",
		},
		"SUDI data by another phone's LSC": {
			show: with(func(t *testing.T, c *capf.Credential) {
				c.SUDIData = sudiData(t, 1, issue(t, otherPhone, p.lscCA, rsaOther(), nil))
			}), result: capf.ResultInvalidLSC, code: "fleet.sudi-of-another-device",
		},
		"SUDI data of an unknown manufacturer": {
			show: with(func(t *testing.T, c *capf.Credential) {
				c.SUDIData = sudiData(t, 1, issue(t, phone, p.foreignCA, rsaOther(), nil))
			}), result: capf.ResultInvalidMIC, code: "fleet.sudi-untrusted", remedy: "capf.mic_files",
		},
		"SUDI data with an expired certificate": {
			show: with(func(t *testing.T, c *capf.Credential) {
				c.SUDIData = sudiData(t, 1, issue(t, phone, p.micCA, rsaOther(), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }))
			}), result: capf.ResultInvalidMIC, code: "fleet.sudi-refused",
		},
		"SUDI data that is none": {
			show: with(func(_ *testing.T, c *capf.Credential) { c.SUDIData = []byte{0, 0, 9} }), result: capf.ResultInvalidMIC, code: "fleet.sudi-wrong",
		},
		"no SUDI data where it is asked for": {
			service: func(s *fleet.Service) { s.RequireSUDI = true },
			show:    show(func(failer) *identity { return p.lsc }), result: capf.ResultInvalidLSC, code: "fleet.sudi-missing", remedy: "capf.require_sudi",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mode, shown := c.mode, c.shown
			if mode == "" {
				mode = fleet.AuthLSC
			}
			if shown == "" {
				shown = "lsc"
			}
			b := certBed(t, p, mode, c.device)
			if c.service != nil {
				c.service(b.service)
			}
			before := b.device()
			_, err := b.callBy(c.show(t))
			r := refusal(t, err)
			if r.Reason != capf.ReasonInvalidElement || r.Result != c.result || r.Code() != c.code || !strings.Contains(r.Remedy(), c.remedy) {
				t.Errorf("reason %v, result %v, code %s, remedy %q; want 7, %v, %s, %q", r.Reason, r.Result, r.Code(), r.Remedy(), c.result, c.code, c.remedy)
			}
			d := b.device()
			if d.Operation != fleet.OperationInstall || d.Status != fleet.StatusPending || d.Result != c.result || !d.HasResult || d.WrongTries != 0 ||
				d.Note == nil || d.Note.Code != c.code || d.Note.Remedy != r.Remedy() || (d.LSC == nil) != (before.LSC == nil) {
				t.Errorf("on record: %+v, note %+v", d, d.Note)
			}
			a := b.lastAttempt()
			if a.OK || a.Result != c.result || a.Credential != shown || len(a.Steps) != 1 || a.Steps[0].Name != fleet.StepAuthenticate || a.Steps[0].Code != c.code || a.Peer != "192.0.2.7:50000" {
				t.Errorf("attempt %+v", a)
			}
			if n := len(b.rows()); n != 0 || b.ca.count() != 0 {
				t.Errorf("%d rows, %d certificates", n, b.ca.count())
			}
		})
	}
}

// A soft phone has no MIC: its LSC is good enough where the MIC goes first, and no MIC is ever its own.
func TestSoftPhoneByCertificate(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	const name = "CSFALICE"
	for what, c := range map[string]struct {
		id   *identity
		code string
	}{
		"its LSC":   {issue(t, "csfAlice", p.lscCA, ecKey(t), nil), ""},
		"some MIC":  {issue(t, name, p.micCA, ecKey(t), nil), "fleet.certificate-of-another-device"},
		"other LSC": {issue(t, "CSFBOB-CSFALICE", p.lscCA, ecKey(t), nil), "fleet.certificate-of-another-device"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := certBed(t, p, fleet.AuthMIC, func(d *fleet.Device) { d.Name = name })
			_, err := b.service.Open(t.Context(), capf.Caller{Session: 1, Version: 3, Device: "csfalice", Credential: credential(t, "csfalice", c.id)})
			if c.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if r := refusal(t, err); r.Code() != c.code {
				t.Errorf("%s, want %s", r.Code(), c.code)
			}
		})
	}
}

// An LSC that was installed here is accepted although nobody has configured its issuer, and no more once the last phone with an LSC of
// that issuer has another.
func TestIssuersOnRecordAreTrusted(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	key, spki := newKey(t)
	s := b.mustOpen()
	der := b.sign(s, spki, capf.ReasonUpdateCertificate)
	d := b.device()
	issuers, err := b.phones.Issuers(t.Context())
	if err != nil || len(issuers) != 1 || issuers[0].Phones != 1 || d.LSC.IssuerID != issuers[0].ID || d.LSC.NotBefore.IsZero() {
		t.Fatalf("LSC %+v, issuers %v, %v", d.LSC, issuers, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	again := func() error {
		_, err := b.phones.UpdateDevice(t.Context(), phone, func(d *fleet.Device) error {
			d.Auth = fleet.AuthLSC
			d.Schedule(fleet.OperationInstall, b.now)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.callBy(credential(t, phone, &identity{leaf, key}))
		return err
	}
	if err := again(); err != nil {
		t.Fatalf("with the LSC just installed: %v", err)
	}
	if _, err := b.phones.UpdateDevice(t.Context(), phone, func(d *fleet.Device) error { d.LSC = nil; return nil }); err != nil {
		t.Fatal(err)
	}
	fresh := &fleet.Service{Store: b.phones, Engine: b.engine, Authority: "local", Mode: "CAPF", Now: b.service.Now}
	b.service = fresh
	if r := refusal(t, again()); r.Code() != "fleet.certificate-untrusted" {
		t.Errorf("after the last LSC of the issuer: %s", r.Code())
	}
}

// An administrator who sets another operation while a certificate is judged finds it as he set it.
func TestRefusalLeavesANewOperationAlone(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	b := certBed(t, p, fleet.AuthLSC, nil)
	b.service.Store = &meddler{Store: b.phones, before: func() {
		if _, err := b.phones.UpdateDevice(t.Context(), phone, func(d *fleet.Device) error {
			d.Schedule(fleet.OperationDelete, b.now.Add(time.Minute))
			return nil
		}); err != nil {
			t.Error(err)
		}
	}}
	refusal(t, second(b.callBy(nil)))
	if d := b.device(); d.Operation != fleet.OperationDelete || d.HasResult || d.Note != nil {
		t.Errorf("on record %+v", d)
	}
	if a := b.lastAttempt(); a.OK || a.Operation != fleet.OperationInstall {
		t.Errorf("attempt %+v", a)
	}
}

// meddler is a store in which somebody writes before the end of a call is recorded.
type meddler struct {
	fleet.Store
	before func()
}

func (m *meddler) FinishDevice(ctx context.Context, name string, f fleet.Finish, change func(*fleet.Device) error) (fleet.Device, error) {
	m.before()
	return m.Store.FinishDevice(ctx, name, f, change)
}

// TestLSCIssuedToAnother: the CA of the LSCs signs for others too, and they choose their names.
func TestLSCIssuedToAnother(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	lsc, rsa := issue(t, phone, p.lscCA, ecKey(t), uri(phone)), issue(t, phone, p.lscCA, rsaOnce(), nil)
	for name, c := range map[string]struct {
		owners []string
		cert   *identity // on record in the journal
		sudi   bool
		code   string // empty: accepted
	}{
		"a user of EST":            {[]string{"est:/printer"}, lsc, false, "fleet.certificate-of-another-owner"},
		"a user of EST, SUDI data": {[]string{"est:/printer"}, rsa, true, "fleet.certificate-of-another-owner"},
		"another phone":            {[]string{fleet.Owner(otherPhone)}, lsc, false, "fleet.certificate-of-another-owner"},
		"this phone":               {[]string{fleet.Owner(phone)}, lsc, false, ""},
		"this phone, by our RA":    {[]string{"est:/voucher:CN=capf", fleet.Owner(phone)}, lsc, false, ""},
		"another CAPF, by our RA":  {[]string{"est:lab/voucher:CN=capf"}, lsc, false, ""},
		"nobody":                   {nil, lsc, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := certBed(t, p, fleet.AuthLSC, nil)
			for i, owner := range c.owners {
				_, _, err := b.journal.Open(t.Context(), enroll.Enrolment{
					ID: string(rune('a' + i)), Request: enroll.Request{Authority: "local", Owner: owner, PublicKey: c.cert.x.RawSubjectPublicKeyInfo},
					State: enroll.Confirmed, Certificate: c.cert.x.Raw, Created: time.Now(), Updated: time.Now(),
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			cred := credential(t, phone, lsc)
			if c.sudi {
				cred.SUDIData = sudiData(t, 1, rsa)
			}
			_, err := b.callBy(cred)
			if c.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if r := refusal(t, err); r.Code() != c.code || r.Result != capf.ResultInvalidLSC || !strings.Contains(r.Error(), c.owners[0]) {
				t.Errorf("%v, code %s, result %s", r, r.Code(), r.Result)
			}
			if a := b.lastAttempt(); a.OK || a.Steps[0].Code != c.code {
				t.Errorf("attempt %+v", a)
			}
		})
	}
}

// TestDistrustedRoot: who distrusts a root distrusts the CAs below it that end paths of their own; a CA made anew with the key
// and name of a distrusted one stays.
func TestDistrustedRoot(t *testing.T) {
	t.Parallel()
	isCA := func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	root := newCA(t, "Root")
	middle := issue(t, "Middle", root, ecKey(t), isCA)
	issuing := issue(t, "Issuing", middle, ecKey(t), isCA)
	anew := issue(t, "Root", nil, root.key, isCA)
	for name, c := range map[string]struct {
		by         *identity
		distrusted *identity
		code       string // empty: accepted
	}{
		"two below":        {issuing, root, "fleet.issuer-distrusted"},
		"one below":        {issuing, middle, "fleet.issuer-distrusted"},
		"itself":           {issuing, issuing, "fleet.issuer-distrusted"},
		"above the one":    {middle, issuing, ""},
		"none":             {issuing, nil, ""},
		"another root":     {issuing, newCA(t, "Root"), ""},
		"made anew, fresh": {anew, root, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := certBed(t, newPKI(t), fleet.AuthLSC, nil)
			b.service.Trust = fleet.Trust{LSC: []*x509.Certificate{anew.x, issuing.x, middle.x, root.x}}
			if c.distrusted != nil {
				b.service.Trust.LSC = append(b.service.Trust.LSC, c.distrusted.x)
				b.service.Trust.Distrusted = [][sha256.Size]byte{sha256.Sum256(c.distrusted.x.Raw)}
			}
			_, err := b.callBy(credential(t, phone, issue(t, phone, c.by, ecKey(t), nil)))
			if c.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if r := refusal(t, err); r.Code() != c.code {
				t.Errorf("%s: %v", r.Code(), r)
			}
		})
	}
}

// TestHugeSerial: what a peer writes does not fill the database.
func TestHugeSerial(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	b := certBed(t, p, fleet.AuthLSC, nil)
	_, err := b.callBy(credential(t, phone, issue(t, phone, p.foreignCA, ecKey(t), func(c *x509.Certificate) {
		c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 100000)
	})))
	refusal(t, err)
	if s := b.lastAttempt().Serial; len(s) > 100 || !strings.HasSuffix(s, "...") {
		t.Errorf("serial of %d characters", len(s))
	}
}
