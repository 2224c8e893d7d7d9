package config_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"callsign/internal/config"
)

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		minimal, config.Reference(), config.Render(config.Default()), "", "\ufeff[log]\r\nlevel = 'info'\r\n",
		"capf.listen = ':1'\n", "capf = {listen = ':1', key_file = [1, [2]]}\n", "[[capf]]\n[capf.x.y]\n",
		"[ra]\nvouchers = [\n 'CN=a', # x\n \"b\"]\nremember = 1979-05-27T07:32:00Z\n", "[a\n", "\"\" = 1\n",
		registrationAuthority + "[label.'a.b']\nkeys = ['p-256']\n[label.c]\n", "[label]\na = 1\nb = {names = ['none']}\n[label.cacerts]\n",
		"label.x.subject = '('\n[[label.y]]\n[label.z.z]\n",
	} {
		f.Add([]byte(seed), "", "")
	}
	f.Add([]byte(registrationAuthority), "RA_KEYS", `["p-256", 'ed25519']`)
	f.Add([]byte(registrationAuthority), "EST_LISTN", "x")
	f.Add([]byte(registrationAuthority), "RA_VOUCHERS", "CN=a,O=b")
	f.Fuzz(func(t *testing.T, data []byte, variable, value string) {
		c, err := config.ParseWith("f.toml", data, []string{"CALLSIGN_" + variable + "=" + value})
		if err != nil {
			var problems config.Errors
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("error without problems: %v", err)
			}
			for _, p := range problems {
				if p.Text == "" || (p.File == "f.toml") == (p.Variable != "") {
					t.Fatalf("poor problem: %+v", p)
				}
			}
			return
		}
		// What was accepted and is written again must be accepted with the same meaning.
		again, err := config.Parse("f.toml", []byte(config.Render(*c)))
		if err != nil {
			t.Fatalf("second reading: %v\nof:\n%s", err, config.Render(*c))
		}
		if diff := cmp.Diff(c, again, ignorePrivate, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("second reading differs (-first +second):\n%s", diff)
		}
		if changes := config.Changes(c, again); changes != nil {
			t.Fatalf("second reading has changes: %v", changes)
		}
	})
}
