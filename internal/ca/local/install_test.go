package local_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"callsign/internal/ca/local"
	"callsign/internal/certfile"
)

// upper is the enterprise's CA.
type upper struct {
	root, issuing *local.Issuer
}

func newUpper(t *testing.T) *upper {
	t.Helper()
	root, err := local.NewRoot(local.CAOptions{Subject: pkix.Name{CommonName: "Enterprise Root"}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := local.GenerateKey(rand.Reader, local.P256)
	if err != nil {
		t.Fatal(err)
	}
	u := &upper{root: root, issuing: &local.Issuer{Signer: key, Chain: root.Full()}}
	u.issuing.Certificate = sign(t, root, key.Public(), func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "Enterprise Issuing CA"} })
	return u
}

// sign has a CA sign a CA certificate, with changes.
func sign(t *testing.T, by *local.Issuer, key crypto.PublicKey, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "New CA"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(5, 0, 0),
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: -1, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	change(c)
	der, err := x509.CreateCertificate(rand.Reader, c, by.Certificate, key, by.Signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// answer has u sign the request for the next key of f.
func (u *upper) answer(t *testing.T, f local.Files, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	r, err := f.Request(local.RequestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(r.DER)
	if err != nil {
		t.Fatal(err)
	}
	if change == nil {
		change = func(*x509.Certificate) {}
	}
	return sign(t, u.issuing, csr.PublicKey, change)
}

func TestInstall(t *testing.T) {
	t.Parallel()
	for name, chainFile := range map[string]bool{"chain in its own file": true, "chain behind the certificate": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUpper(t)
			f, old := present(t, chainFile, local.P256)
			cert := u.answer(t, f, nil)
			plan, err := f.Plan([]*x509.Certificate{u.root.Certificate, u.issuing.Certificate, cert}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if !plan.NextKey || !plan.Certificate.Equal(cert) || len(plan.Above) != 2 || !plan.Former.Equal(old.Certificate) {
				t.Errorf("plan: next key %v, certificate %s, %d above, former %v", plan.NextKey, plan.Certificate.Subject, len(plan.Above), plan.Former)
			}
			now := time.Now()
			backups, err := plan.Apply(now)
			if err != nil {
				t.Fatal(err)
			}
			got, above, err := f.Present()
			if err != nil || !got.Equal(cert) || len(above) != 2 || !above[0].Equal(u.issuing.Certificate) || !above[1].Equal(u.root.Certificate) {
				t.Errorf("in place are %v with %d above, %v", got, len(above), err)
			}
			if _, err := os.Stat(f.NextKey()); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the next key is still there: %v", err)
			}
			// The way back: what was kept is the old CA.
			want := 2
			if chainFile {
				want = 3
			}
			if len(backups) != want {
				t.Fatalf("%d files kept, want %d: %v", len(backups), want, backups)
			}
			for _, b := range backups {
				if !strings.HasPrefix(b.Kept, b.File+".old-") {
					t.Errorf("%s is kept as %s", b.File, b.Kept)
				}
				if b.File == f.Key {
					if info, err := os.Stat(b.Kept); err != nil || info.Mode().Perm() != 0o600 {
						t.Errorf("the old key's file: %v, %v", info, err)
					}
				}
				if err := os.Rename(b.Kept, b.File); err != nil {
					t.Fatal(err)
				}
			}
			if got, above, err = f.Present(); err != nil || !got.Equal(old.Certificate) || len(above) != 1 {
				t.Errorf("after going back: %v with %d above, %v", got, len(above), err)
			}
			former, err := certfile.LoadCertificates(plan.FormerPath())
			if err != nil || len(former) != 2 || !former[0].Equal(old.Certificate) {
				t.Errorf("former CAs: %d, %v; want the old CA and its root", len(former), err)
			}
		})
	}
}

// TestInstallTwice: a second change keeps both former CAs, and an installation that was broken off is made good by another one.
func TestInstallTwice(t *testing.T) {
	t.Parallel()
	u := newUpper(t)
	f, first := present(t, true, local.P256)
	var last *x509.Certificate
	var formerPath string
	for range 2 {
		last = u.answer(t, f, nil)
		key, err := os.ReadFile(f.NextKey())
		if err != nil {
			t.Fatal(err)
		}
		plan, err := f.Plan([]*x509.Certificate{last, u.issuing.Certificate, u.root.Certificate}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		formerPath = plan.FormerPath()
		if _, err := plan.Apply(time.Now()); err != nil {
			t.Fatal(err)
		}
		// As if the process had died before the last step.
		if err := os.WriteFile(f.NextKey(), key, 0o600); err != nil {
			t.Fatal(err)
		}
		plan, err = f.Plan([]*x509.Certificate{last, u.issuing.Certificate, u.root.Certificate}, time.Now())
		if err != nil || plan.Former != nil {
			t.Fatalf("again: former %v, %v", plan.Former, err)
		}
		if _, err := plan.Apply(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if got, _, err := f.Present(); err != nil || !got.Equal(last) {
		t.Errorf("in place is %v, %v", got, err)
	}
	former, err := certfile.LoadCertificates(formerPath)
	if err != nil || len(former) != 5 || !slices.ContainsFunc(former, first.Certificate.Equal) {
		t.Errorf("former CAs: %d, %v; want the two CAs and the three above them", len(former), err)
	}
}

// TestInstallBrokenOff stops an installation before each file that it writes: what is there is one of the two CAs with all that is
// above it, and the same installation made again ends well and keeps nothing but the old CA.
func TestInstallBrokenOff(t *testing.T) {
	t.Parallel()
	for _, chainFile := range []bool{true, false} {
		for stop := 0; ; stop++ {
			u := newUpper(t)
			f, old := present(t, chainFile, local.P256)
			cert := u.answer(t, f, nil)
			offered := append(u.issuing.Full(), cert)
			plan, err := f.Plan(offered, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			steps := plan.Steps()
			for _, step := range steps[:stop] {
				if err := step(); err != nil {
					t.Fatal(err)
				}
			}
			got, above, err := f.Present()
			if err != nil || !got.Equal(cert) && !got.Equal(old.Certificate) {
				t.Fatalf("chain file %t, stopped at %d: the CA is %v, %v", chainFile, stop, got, err)
			}
			roots, between := x509.NewCertPool(), x509.NewCertPool()
			for _, c := range above {
				if c.CheckSignatureFrom(c) == nil {
					roots.AddCert(c)
				} else {
					between.AddCert(c)
				}
			}
			if _, err := got.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err != nil {
				t.Errorf("chain file %t, stopped at %d: the chain of %s is not there: %v", chainFile, stop, got.Subject, err)
			}
			again, err := f.Plan(offered, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := again.Apply(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if got, above, err := f.Present(); err != nil || !got.Equal(cert) || len(above) != 2 {
				t.Errorf("chain file %t, stopped at %d and made again: %v with %d above, %v", chainFile, stop, got, len(above), err)
			}
			former, err := certfile.LoadCertificates(plan.FormerPath())
			if err != nil || len(former) != 2 || !former[0].Equal(old.Certificate) || !former[1].Equal(old.Chain[0]) {
				t.Errorf("chain file %t, stopped at %d: %d former CAs, %v; want the old CA and its root", chainFile, stop, len(former), err)
			}
			if stop == len(steps) {
				break
			}
		}
	}
}

func TestInstallRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change  func(*x509.Certificate)
		offered func(u *upper, cert *x509.Certificate) []*x509.Certificate // nil: with the whole chain
		narrow  bool                                                       // the CA above allows no CA below it
		code    string
		says    string
	}{
		"no CA":               {change: func(c *x509.Certificate) { c.IsCA, c.MaxPathLen, c.KeyUsage = false, 0, x509.KeyUsageDigitalSignature }, code: local.CodeCAUnsuitable, says: "CA:TRUE"},
		"may not sign":        {change: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }, code: local.CodeCAUnsuitable, says: "keyCertSign"},
		"expired":             {change: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, code: "expired"},
		"not yet valid":       {change: func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, code: "not_yet_valid"},
		"SHA-1":               {change: func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }, code: "weak_signature"},
		"the CA above limits": {narrow: true, code: local.CodeCAUnsuitable, says: "path length"},
		"no issuing CA": {
			offered: func(u *upper, c *x509.Certificate) []*x509.Certificate {
				return []*x509.Certificate{c, u.root.Certificate}
			},
			code: local.CodeCAChain, says: "was issued by CN=Enterprise Issuing CA",
		},
		"no root": {
			offered: func(u *upper, c *x509.Certificate) []*x509.Certificate {
				return []*x509.Certificate{c, u.issuing.Certificate}
			},
			code: local.CodeCAChain, says: "was issued by CN=Enterprise Root",
		},
		"another key": {
			offered: func(u *upper, _ *x509.Certificate) []*x509.Certificate { return u.issuing.Full() },
			code:    local.CodeCAKey, says: "none of the 2 certificates",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUpper(t)
			if tc.narrow {
				u.issuing.Certificate = sign(t, u.root, u.issuing.Signer.Public(), func(c *x509.Certificate) {
					c.Subject, c.MaxPathLen, c.MaxPathLenZero = pkix.Name{CommonName: "Enterprise Issuing CA"}, 0, true
				})
			}
			f, old := present(t, true, local.P256)
			cert := u.answer(t, f, tc.change)
			offered := append([]*x509.Certificate{cert}, u.issuing.Full()...)
			if tc.offered != nil {
				offered = tc.offered(u, cert)
			}
			_, err := f.Plan(offered, time.Now())
			if err == nil || code(err) != tc.code || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v (%s), want code %s and the words %q", err, code(err), tc.code, tc.says)
			}
			if got, _, err := f.Present(); err != nil || !got.Equal(old.Certificate) {
				t.Errorf("a refused answer changed the CA: %v", err)
			}
		})
	}
}

// TestInstallFirst: there was no CA before.
func TestInstallFirst(t *testing.T) {
	t.Parallel()
	u := newUpper(t)
	dir := t.TempDir()
	f := local.Files{Certificate: filepath.Join(dir, "ca.pem"), Key: filepath.Join(dir, "ca.key")}
	if _, err := f.Plan(u.issuing.Full(), time.Now()); code(err) != local.CodeCAKey {
		t.Errorf("without any key: %v", err)
	}
	subject, err := local.ParseSubject("CN=Phones CA")
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.Request(local.RequestOptions{Subject: subject, Key: local.P384})
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(r.DER)
	if err != nil {
		t.Fatal(err)
	}
	cert := sign(t, u.issuing, csr.PublicKey, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(100*24*time.Hour + time.Minute) })
	plan, err := f.Plan(append(u.issuing.Full(), cert), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if n := plan.ShortFor(365, time.Now()); n != 265 {
		t.Errorf("a CA of 100 days is short of %d days of 365, want 265", n)
	}
	if n := plan.ShortFor(90, time.Now()); n != 0 {
		t.Errorf("a CA of 100 days is short of %d days of 90", n)
	}
	backups, err := plan.Apply(time.Now())
	if err != nil || len(backups) != 0 {
		t.Errorf("Apply kept %v, %v", backups, err)
	}
	if got, above, err := f.Present(); err != nil || !got.Equal(cert) || len(above) != 2 {
		t.Errorf("in place is %v with %d above, %v", got, len(above), err)
	}
	if _, err := os.Stat(plan.FormerPath()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a file of former CAs: %v", err)
	}
}

// TestInstallOneFile: a file that would be replaced twice is refused, by its name or by another one, and stays as it is.
func TestInstallOneFile(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, f *local.Files){
		"key with the certificate": func(t *testing.T, f *local.Files) {
			t.Helper()
			key, err := os.ReadFile(f.Key)
			if err != nil {
				t.Fatal(err)
			}
			cert, err := os.ReadFile(f.Certificate)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(f.Certificate, append(cert, key...), 0o600); err != nil {
				t.Fatal(err)
			}
			f.Key = f.Certificate
		},
		"chain with the certificate": func(_ *testing.T, f *local.Files) {
			f.Chain = filepath.Dir(f.Certificate) + "/./" + filepath.Base(f.Certificate)
		},
		"chain by a link": func(t *testing.T, f *local.Files) {
			t.Helper()
			f.Chain = filepath.Join(filepath.Dir(f.Certificate), "link.pem")
			if err := os.Symlink(f.Certificate, f.Chain); err != nil {
				t.Fatal(err)
			}
		},
		"chain with the key": func(_ *testing.T, f *local.Files) { f.Chain = f.Key },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUpper(t)
			f, _ := present(t, false, local.P256)
			cert := u.answer(t, f, nil)
			change(t, &f)
			if _, err := f.Request(local.RequestOptions{}); code(err) != local.CodeCARequest || !strings.Contains(err.Error(), "one file") {
				t.Errorf("a request is made: %v", err)
			}
			before, err := os.ReadFile(f.Certificate)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Plan(append(u.issuing.Full(), cert), time.Now()); code(err) != local.CodeCARequest {
				t.Errorf("an installation is planned: %v", err)
			}
			if after, err := os.ReadFile(f.Certificate); err != nil || string(after) != string(before) {
				t.Errorf("the file has changed: %v", err)
			}
		})
	}
}

// TestInstallInPlace: what is in place already is said to be.
func TestInstallInPlace(t *testing.T) {
	t.Parallel()
	for _, chainFile := range []bool{true, false} {
		u := newUpper(t)
		f, _ := present(t, chainFile, local.P256)
		offered := append(u.issuing.Full(), u.answer(t, f, nil))
		for round := range 2 {
			plan, err := f.Plan(offered, time.Now())
			if err != nil || plan.InPlace != (round == 1) {
				t.Fatalf("round %d: %+v, %v", round, plan, err)
			}
			if _, err := plan.Apply(time.Now()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestInstallSelfSigned: what the CA signed itself is no answer of a CA above.
func TestInstallSelfSigned(t *testing.T) {
	t.Parallel()
	f, _ := present(t, true, local.P256)
	if _, err := f.Request(local.RequestOptions{}); err != nil {
		t.Fatal(err)
	}
	key, err := certfile.LoadKey(f.NextKey())
	if err != nil {
		t.Fatal(err)
	}
	own, err := local.NewCAPF(local.CAOptions{Subject: pkix.Name{CommonName: "Self"}, Signer: key})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Plan([]*x509.Certificate{own.Certificate}, time.Now()); code(err) != local.CodeCAUnsuitable {
		t.Errorf("a self-signed certificate: %v", err)
	}
}
