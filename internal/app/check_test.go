package app_test

import (
	"context"
	"crypto/x509/pkix"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/app"
	"callsign/internal/ca/local"
	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/setup"
)

// freshDeployment is a configuration of its own CA on free ports, as init makes it.
func freshDeployment(t *testing.T) *config.Config {
	t.Helper()
	d, err := setup.New(t.Context(), setup.Options{Dir: t.TempDir(), Issuer: config.IssuerLocal, Host: "127.0.0.1", AnyPort: true, Key: local.P256})
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(d.Config.Path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// verdicts are the steps that are not ok, as "name status code".
func verdicts(steps []app.Step) []string {
	var all []string
	for _, s := range steps {
		if s.Status != app.StatusOK {
			all = append(all, strings.TrimSpace(s.Name+" "+string(s.Status)+" "+s.Code))
		}
		if s.Name == "" || s.Object == "" || s.Detail == "" {
			all = append(all, "step without name, object or detail")
		}
		if (s.Status == app.StatusFail || s.Status == app.StatusWarn) && (s.Code == "" || s.Remedy == "") {
			all = append(all, s.Name+" has no code or remedy")
		}
	}
	return all
}

func replaceCAPF(t *testing.T, c *config.Config, make func(local.CAOptions) (*local.Issuer, error), kind local.KeyKind) {
	t.Helper()
	i, err := make(local.CAOptions{Subject: pkix.Name{CommonName: "CAPF-test"}, Key: kind})
	if err != nil {
		t.Fatal(err)
	}
	if err := certfile.WriteCertificates(c.CAPF.CertificateFile, i.Certificate); err != nil {
		t.Fatal(err)
	}
	if err := certfile.WriteKey(c.CAPF.KeyFile, i.Signer); err != nil {
		t.Fatal(err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, c *config.Config)
		at     time.Duration // of the check, from now
		want   []string
	}{
		{name: "fresh"},
		{name: "the EST certificate expires soon", at: 2*365*day - 10*day, want: []string{"certificate est warn app.certificate-expiring"}},
		{name: "it has expired", at: 2*365*day + day, want: []string{"certificate est fail app.certificate-expired"}},
		{
			name: "the clock is wrong", at: -365 * day,
			want: []string{
				"certificate capf fail app.certificate-not-yet-valid", "certificate est fail app.certificate-not-yet-valid",
				"certificate ca fail app.certificate-not-yet-valid", "local ca fail local.sign",
			},
		},
		{
			name: "a CAPF key too long for phones", want: []string{"certificate capf warn app.certificate-key-size"},
			change: func(t *testing.T, c *config.Config) { replaceCAPF(t, c, local.NewCAPF, local.RSA3072) },
		},
		{
			name: "a CAPF key that old phones do not know", want: []string{"certificate capf warn app.certificate-key-size"},
			change: func(t *testing.T, c *config.Config) { replaceCAPF(t, c, local.NewCAPF, local.P256) },
		},
		{
			name: "a CAPF certificate that phones refuse", want: []string{"certificate capf fail app.certificate-usage"},
			change: func(t *testing.T, c *config.Config) { replaceCAPF(t, c, local.NewRoot, local.RSA2048) }, // no digitalSignature
		},
		{
			name: "a missing key is reported once, and what needs it is not tried", want: []string{"file fail config.invalid", "certificate ca skip", "local ca skip"},
			change: func(t *testing.T, c *config.Config) {
				if err := os.Remove(c.CA.KeyFile); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "a directory that does not exist", want: []string{"database fail app.database-directory"},
			change: func(_ *testing.T, c *config.Config) { c.Store.Path = filepath.Join(c.Dir, "nowhere", "callsign.db") },
		},
		{
			name: "records where there is a file", want: []string{"records fail app.record-directory"},
			change: func(_ *testing.T, c *config.Config) {
				c.CAPF.RecordDir = filepath.Join(c.CA.CertificateFile, "records")
			},
		},
		{
			name: "an address of another machine", want: []string{"listen capf fail app.listen"},
			change: func(_ *testing.T, c *config.Config) { c.CAPF.Listen = "192.0.2.1:3804" },
		},
		{
			name: "a door for old phones", want: []string{"old phones warn app.old-phones"},
			change: func(_ *testing.T, c *config.Config) { c.CAPF.LegacyListen = "127.0.0.1:0" },
		},
		{
			name: "a door for old phones that cannot work", want: []string{"certificate capf warn app.certificate-key-size", "old phones fail app.certificate-key-size"},
			change: func(t *testing.T, c *config.Config) {
				c.CAPF.LegacyListen = "127.0.0.1:0"
				replaceCAPF(t, c, local.NewCAPF, local.P256)
			},
		},
		{
			name: "a door without TLS for others", want: []string{"listen capf-plain warn app.plain-listener"},
			change: func(_ *testing.T, c *config.Config) {
				c.CAPF.PlainListen, c.CAPF.PlainBeyondLoopback = "0.0.0.0:0", true
			},
		},
		{
			name: "manufacturing CAs that have expired", at: 20*365*day + day, want: []string{
				"certificate capf fail app.certificate-expired", "certificate est fail app.certificate-expired", "certificate ca fail app.certificate-expired",
				"local ca fail local.sign", "trust warn app.certificate-expired",
			},
			change: func(_ *testing.T, c *config.Config) { c.CAPF.MICFiles = []string{c.CA.ChainFile} },
		},
		{
			name: "a phone's certificate among the CAs", want: []string{"trust warn app.certificate-usage"},
			change: func(_ *testing.T, c *config.Config) { c.CAPF.TrustFiles = []string{c.EST.CertificateFile} },
		},
		{
			name: "CAs that are fine",
			change: func(_ *testing.T, c *config.Config) {
				c.CAPF.TrustFiles, c.CAPF.MICFiles = []string{c.CA.CertificateFile}, []string{c.CA.ChainFile}
			},
		},
		{
			name: "an offline CA that nobody has named", want: []string{"offline CA warn app.offline-ca-unknown"},
			change: func(_ *testing.T, c *config.Config) { c.CAPF.Issuer = config.IssuerOffline },
		},
		{
			name: "nobody may enrol", want: []string{"est users warn app.users-file"},
			change: func(t *testing.T, c *config.Config) {
				if err := os.WriteFile(c.EST.UsersFile, []byte("# nobody yet\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := freshDeployment(t)
			if tc.change != nil {
				tc.change(t, c)
			}
			before := listing(t, c.Dir)
			told := 0
			steps := app.Check(t.Context(), c, app.CheckOptions{
				Now: func() time.Time { return time.Now().Add(tc.at) }, Step: func(app.Step) { told++ },
			})
			if diff := cmp.Diff(tc.want, verdicts(steps)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if told != len(steps) {
				t.Errorf("told of %d steps out of %d", told, len(steps))
			}
			if diff := cmp.Diff(before, listing(t, c.Dir)); diff != "" {
				t.Errorf("the check changed files (-before +after):\n%s", diff)
			}
		})
	}
}

// listing is every file below a directory with its size and time.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		i, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = i.ModTime().String()
	}
	return files
}

// TestCheckPort tells a running server from another program on the same port.
func TestCheckPort(t *testing.T) {
	t.Parallel()
	c := freshDeployment(t)
	a, err := app.Start(t.Context(), app.Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	running := *c
	running.CAPF.Listen = a.Endpoints().CAPF
	running.EST.Listen = strings.TrimSuffix(strings.TrimPrefix(a.Endpoints().EST, "https://"), "/.well-known/est")
	if got := verdicts(app.Check(t.Context(), &running, app.CheckOptions{})); got != nil {
		t.Errorf("while the server runs: %v", got)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			_ = conn.Close()
		}
	}()
	other := *c
	other.CAPF.Listen = l.Addr().String()
	if diff := cmp.Diff([]string{"listen capf fail app.port-in-use"}, verdicts(app.Check(t.Context(), &other, app.CheckOptions{}))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestCheckCA looks for a CA at a name that nobody has, and at one that nobody answers for.
func TestCheckCA(t *testing.T) {
	t.Parallel()
	c := freshDeployment(t)
	c.CAPF.Issuer = config.IssuerOnlineCA
	c.ADCS = config.Default().ADCS
	c.ADCS.Template, c.ADCS.Username, c.ADCS.CAFile = "CiscoRA", `EXAMPLE\ciscora`, c.EST.LabCAFile
	c.ADCS.PasswordFile = c.EST.LabPasswordFile
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, tc := range []struct {
		name, url string
		want      []string
	}{
		{"no such name", "https://adcs.invalid/certsrv", []string{"adcs dns fail app.resolve", "adcs connect skip", "adcs login skip", "adcs template skip", "adcs chain skip"}},
		{"silence", "https://" + silent.Addr().String() + "/certsrv", []string{"adcs connect fail probe.timeout", "adcs login skip", "adcs template skip", "adcs chain skip"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := *c
			d.ADCS.URL = tc.url
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // to connect as well, on a busy machine
			defer cancel()
			if diff := cmp.Diff(tc.want, verdicts(app.Check(ctx, &d, app.CheckOptions{}))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
