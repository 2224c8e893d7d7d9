package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/certsrv/certsrvtest"
	"callsign/certsrv/winauth/winauthtest"
	"callsign/internal/app"
	"callsign/internal/config"
)

// TestCheckKerberos: what check says of an account that logs in by Kerberos, with real domain controllers.
func TestCheckKerberos(t *testing.T) {
	t.Parallel()
	kdc := winauthtest.StartKDC(t)
	ahead := winauthtest.StartKDC(t, winauthtest.ClockOffset(time.Hour))
	for _, k := range []*winauthtest.KDC{kdc, ahead} {
		k.AddUser(t, "ciscora", "right")
		k.AddUser(t, "other", "right")
	}
	keys, err := os.ReadFile(kdc.AddService(t, "HTTP/"+peerHost))
	if err != nil {
		t.Fatal(err)
	}
	self := sign(t, nil, webServer(peerHost))
	addr := enrollmentPages(t, published{sign(t, nil, authority("Lab Root"))}, self, "", func(c *certsrvtest.Config) {
		c.NTLM, c.Keytab, c.Domain, c.EPA, c.Conditions.Auth = false, keys, "MICHAMEN", certsrvtest.EPARequire, "kerberos"
	})
	file := func(t *testing.T, c *config.Config, name, content string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(c.Dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keytabOf := func(t *testing.T, c *config.Config, user string, mode os.FileMode) {
		t.Helper()
		b, err := os.ReadFile(kdc.Keytab(t, user))
		if err != nil {
			t.Fatal(err)
		}
		c.ADCS.PasswordFile, c.ADCS.KeytabFile = "", file(t, c, "ciscora.keytab", string(b), mode)
	}
	const rest = "adcs template skip,adcs chain skip"
	for name, tt := range map[string]struct {
		edit func(*testing.T, *config.Config)
		want string // what is not well
		says string
	}{
		"password": {},
		"keytab":   {edit: func(t *testing.T, c *config.Config) { keytabOf(t, c, "ciscora", 0o600) }},
		"krb5.conf": {edit: func(t *testing.T, c *config.Config) {
			c.ADCS.Realm, c.ADCS.KDCs, c.ADCS.Krb5File = "", nil, kdc.Config()
		}},
		"wrong password": {
			edit: func(t *testing.T, c *config.Config) {
				c.ADCS.PasswordFile = file(t, c, "adcs.password", "wrong\n", 0o600)
			},
			want: "adcs login fail certsrv.not-authenticated," + rest, says: "refused the password",
		},
		"clock": {
			edit: func(_ *testing.T, c *config.Config) { c.ADCS.KDCs = []string{ahead.Addr()} },
			want: "adcs login fail certsrv.clock-skew," + rest, says: "ahead of ours",
		},
		"unknown web server": {
			edit: func(_ *testing.T, c *config.Config) { c.ADCS.SPN = "HTTP/alias.example" },
			want: "adcs login fail certsrv.no-ticket," + rest, says: "setspn -S HTTP/alias.example",
		},
		"no channel binding": {
			edit: func(_ *testing.T, c *config.Config) { c.ADCS.ChannelBinding = false },
			want: "adcs login fail certsrv.not-authenticated," + rest, says: "not tied to its TLS connection",
		},
		"everybody can read the keytab": {
			edit: func(t *testing.T, c *config.Config) { keytabOf(t, c, "ciscora", 0o644) },
			want: "file fail config.invalid,adcs connect skip,adcs login skip," + rest, says: "chmod 600",
		},
		"keytab of somebody else": {
			edit: func(t *testing.T, c *config.Config) { keytabOf(t, c, "other", 0o600) },
			want: "adcs connect fail winauth.keytab-unusable,adcs login skip," + rest, says: "other@" + winauthtest.Realm,
		},
		"no keytab": {
			edit: func(t *testing.T, c *config.Config) {
				c.ADCS.PasswordFile, c.ADCS.KeytabFile = "", file(t, c, "x.keytab", "this is no keytab", 0o600)
			},
			want: "adcs connect fail app.keytab,adcs login skip," + rest, says: "not a keytab file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := raOf(t, addr, self)
			c.ADCS.Auth, c.ADCS.Username, c.ADCS.Realm, c.ADCS.KDCs = config.AuthKerberos, "ciscora", winauthtest.Realm, []string{kdc.Addr()}
			c.ADCS.PasswordFile = file(t, c, "adcs.password", "right\n", 0o600)
			if tt.edit != nil {
				tt.edit(t, c)
			}
			var steps []app.Step
			said := ""
			for _, s := range app.Check(t.Context(), c, app.CheckOptions{}) {
				if strings.HasPrefix(s.Name, "adcs ") || s.Name == "file" {
					steps = append(steps, s)
					said += s.Detail + " " + s.Remedy + "\n"
				}
			}
			var want []string
			if tt.want != "" {
				want = strings.Split(tt.want, ",")
			}
			if diff := cmp.Diff(want, verdicts(steps)); diff != "" || !strings.Contains(said, tt.says) {
				t.Errorf("want %q in:\n%s(-want +got):\n%s", tt.says, said, diff)
			}
		})
	}
}
