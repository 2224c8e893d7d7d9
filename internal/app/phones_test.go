package app_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callsign/capf"
	"callsign/internal/config"
	"callsign/internal/fleet"
)

// call is one call of a phone that keeps its key and LSC in k, and shows its LSC when it has one and by is set.
func (p *product) call(name string, k *capf.Memory, by bool) (capf.Outcome, error) {
	p.t.Helper()
	client := &capf.Client{
		Device: name, Keeper: k, TLS: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, // as phones without a trust list
	}
	if der, key := k.Credentials(); by && der != nil {
		client.Identity = &capf.Identity{Certificate: der, Key: key, Type: capf.CertificateLSC}
	}
	return client.Dial(p.t.Context(), p.a.Endpoints().CAPF)
}

// due sets an install with authentication by LSC.
func (p *product) due(name string) {
	p.t.Helper()
	_, err := p.a.Records.Phones.UpdateDevice(p.t.Context(), name, func(d *fleet.Device) error {
		d.Auth = fleet.AuthLSC
		d.Schedule(fleet.OperationInstall, time.Now())
		return d.Validate()
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// TestDoorsForPhones: each listener lets in whom it is for.
func TestDoorsForPhones(t *testing.T) {
	t.Parallel()
	p := newProduct(t, config.IssuerLocal, func(c *config.Config) {
		c.CAPF.LegacyListen, c.CAPF.PlainListen = "127.0.0.1:0", "127.0.0.1:0"
	})
	p.start()
	e := p.a.Endpoints()
	greeting := func(conn net.Conn) error {
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return err
		}
		m, err := capf.ReadMessage(conn, capf.MaxBody)
		if err == nil && m.Command != capf.AuthRequest {
			err = errors.New("the server begins with " + m.Command.String())
		}
		return err
	}
	secured := func(addr string, version uint16) error {
		d := tls.Dialer{Config: &tls.Config{
			MinVersion: version, MaxVersion: version, InsecureSkipVerify: true,
			CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		}}
		conn, err := d.DialContext(t.Context(), "tcp", addr)
		if err != nil {
			return err
		}
		return greeting(conn)
	}
	for _, tc := range []struct {
		name, addr string
		version    uint16
		ok         bool
	}{
		{"a new phone at the first door", e.CAPF, tls.VersionTLS12, true},
		{"an old phone at the first door", e.CAPF, tls.VersionTLS10, false},
		{"an old phone at its own door", e.CAPFLegacy, tls.VersionTLS10, true},
		{"a new phone at the old ones' door", e.CAPFLegacy, tls.VersionTLS13, true},
		{"TLS at the door for a terminator", e.CAPFPlain, tls.VersionTLS12, false},
	} {
		if err := secured(tc.addr, tc.version); (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", e.CAPFPlain)
	if err == nil {
		err = greeting(conn)
	}
	if err != nil {
		t.Errorf("no TLS at the door for a terminator: %v", err)
	}
	if len(p.a.Ready) != 4 {
		t.Errorf("ready %v", p.a.Ready)
	}
}

// TestIssuerIsSwitched: the LSCs of the CA before authenticate their phones as long as there are any, and it is seen when
// there are none.
func TestIssuerIsSwitched(t *testing.T) {
	t.Parallel()
	p := newProduct(t, config.IssuerLocal, nil)
	p.start()
	names := []string{"SEP0000000000A1", "SEP0000000000A2"}
	phones := map[string]*capf.Memory{}
	for _, name := range names {
		phones[name] = &capf.Memory{}
		p.add(name, install)
		if o, err := p.call(name, phones[name], false); err != nil || o.Certificate == nil {
			t.Fatalf("%s: %+v, %v", name, o, err)
		}
	}
	p.stop()

	// Another CA, as another deployment has it.
	other := newProduct(t, config.IssuerLocal, nil)
	p.c.CA = other.c.CA
	p.start()
	holders := func() map[string]int {
		issuers, err := p.a.Records.Phones.Issuers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		for _, i := range issuers {
			count[i.Subject] = i.Phones
		}
		return count
	}
	before := holders()
	if len(before) != 1 {
		t.Fatalf("issuers %v", before)
	}
	for n, name := range names {
		p.due(name)
		o, err := p.call(name, phones[name], true)
		if err != nil || o.Certificate == nil {
			t.Fatalf("%s by the LSC of the CA before: %+v, %v", name, o, err)
		}
		for subject := range before {
			if got := holders()[subject]; got != len(names)-1-n {
				t.Errorf("after %s %d phones hold an LSC of the CA before", name, got)
			}
		}
	}
	// A phone that has an LSC of the CA before all the same, as after a restore of its memory, is turned away now.
	stranger := &capf.Memory{}
	p.stop()
	p.c.CA = newProduct(t, config.IssuerLocal, nil).c.CA
	p.start()
	p.add("SEP0000000000A3", install)
	if _, err := p.call("SEP0000000000A3", stranger, false); err != nil {
		t.Fatal(err)
	}
	p.stop()
	fresh := newProduct(t, config.IssuerLocal, nil)
	fresh.start()
	fresh.add("SEP0000000000A3", func(d *fleet.Device) { d.Auth = fleet.AuthLSC; install(d) })
	var end *capf.EndError
	if _, err := fresh.call("SEP0000000000A3", stranger, true); !errors.As(err, &end) || end.Reason != capf.ReasonInvalidElement {
		t.Errorf("an LSC of a CA that is not known here: %v", err)
	}
	fresh.stop()
	fresh.c.CAPF.TrustFiles = []string{p.c.CA.CertificateFile}
	fresh.start()
	if _, err := fresh.call("SEP0000000000A3", stranger, true); err != nil {
		t.Errorf("an LSC of a CA in capf.trust_files: %v", err)
	}
}

// TestTerminatorAlone: without capf.listen and without a certificate of our own the plain listener serves.
func TestTerminatorAlone(t *testing.T) {
	t.Parallel()
	p := newProduct(t, config.IssuerLocal, func(c *config.Config) {
		c.CAPF.Listen, c.CAPF.PlainListen, c.CAPF.CertificateFile, c.CAPF.KeyFile = "", "127.0.0.1:0", "", ""
	})
	p.start()
	p.add(phone, install)
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", p.a.Endpoints().CAPFPlain)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := capf.Client{Device: phone, Keeper: &capf.Memory{}}
	if o, err := client.Run(t.Context(), conn); err != nil || o.Certificate == nil {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestShortKeys: what old phones can make is certified where the CA is told so.
func TestShortKeys(t *testing.T) {
	t.Parallel()
	for bits, least := range map[int]int{1024: 1024, 2048: 2048} {
		p := newProduct(t, config.IssuerLocal, func(c *config.Config) { c.CA.MinRSABits = least })
		p.start()
		p.add(phone, func(d *fleet.Device) { d.KeyOrder, d.RSABits = fleet.KeyOrderRSA, 1024; install(d) })
		_, err := p.call(phone, &capf.Memory{}, false)
		if (err == nil) != (bits == 1024) {
			t.Errorf("a key of 1024 bits where %d are asked for: %v", least, err)
		}
	}
}

// TestGroupsOfPhones: a group has its own subject, by which its phones are known afterwards; every session is recorded.
func TestGroupsOfPhones(t *testing.T) {
	t.Parallel()
	p := newProduct(t, config.IssuerLocal, func(c *config.Config) {
		c.CAPF.SubjectFor, c.CAPF.RecordDir = []string{"model:88*={model}-{name}"}, filepath.Join(c.Dir, "sessions")
	})
	p.start()
	for model, want := range map[string]string{"8865": "8865-SEP0000000000B1", "7841": "SEP0000000000B2"} {
		name := want[strings.Index(want, "SEP"):]
		p.add(name, func(d *fleet.Device) { d.Model = model; install(d) })
		k := &capf.Memory{}
		o, err := p.call(name, k, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := commonName(t, o.Certificate); got != want {
			t.Errorf("model %s: common name %q, want %q", model, got, want)
		}
		p.due(name)
		if _, err := p.call(name, k, true); err != nil {
			t.Errorf("%s is not known by its own LSC: %v", name, err)
		}
	}
	p.stop()
	if files, err := filepath.Glob(filepath.Join(p.c.CAPF.RecordDir, "*.json")); err != nil || len(files) != 4 {
		t.Errorf("recorded %v, %v; want 4", files, err)
	}
}

func commonName(t *testing.T, der []byte) string {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c.Subject.CommonName
}
