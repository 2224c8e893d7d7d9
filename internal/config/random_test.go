package config_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"callsign/internal/config"
)

// TestEffectiveOfAnything: of any two configurations, a running server keeps exactly the keys that need a restart, and is told of
// every key that differs, once.
func TestEffectiveOfAnything(t *testing.T) {
	t.Parallel()
	restart := map[string]bool{}
	for _, d := range config.Docs() {
		restart[d.Key] = d.Restart
	}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 5))
		old, next := randomConfig(r), randomConfig(r)
		effective, changes := config.Effective(old, next)
		was, wanted, got := entriesOf(old), entriesOf(next), entriesOf(effective)
		told := map[string]bool{}
		for _, c := range changes {
			if told[c.Key] {
				t.Fatalf("seed %d: %s is told twice", seed, c.Key)
			}
			told[c.Key] = true
			if c.NeedsRestart != restart[c.Key] {
				t.Fatalf("seed %d: %s needs a restart: %v", seed, c.Key, c.NeedsRestart)
			}
		}
		for key, value := range wanted {
			before, both := was[key]
			differs := both && before != value
			section, name, isLabel := cutLabelKey(key)
			inherited := isLabel && was["ra."+name] == before && wanted["ra."+name] == value
			switch {
			case isLabel && !both && !told[section]:
				t.Fatalf("seed %d: nobody is told of %s", seed, section)
			case both && differs && !inherited && !told[key]:
				t.Fatalf("seed %d: nobody is told of %s: %s -> %s", seed, key, before, value)
			case both && inherited && differs && !told["ra."+name]:
				t.Fatalf("seed %d: nobody is told of ra.%s", seed, name)
			case both && !differs && told[key]:
				t.Fatalf("seed %d: %s is told and is the same", seed, key)
			}
			if restart[key] {
				value = before
			}
			if got[key] != value {
				t.Fatalf("seed %d: %s = %s in force, want %s", seed, key, got[key], value)
			}
		}
		for key := range was {
			section, _, isLabel := cutLabelKey(key)
			if _, still := wanted[key]; !still && (!isLabel || !told[section]) {
				t.Fatalf("seed %d: nobody is told that %s has gone", seed, key)
			}
		}
		if len(got) != len(wanted) {
			t.Fatalf("seed %d: %d keys in force, want %d", seed, len(got), len(wanted))
		}
		if more := config.Changes(next, next); more != nil {
			t.Fatalf("seed %d: %v", seed, more)
		}
	}
}

// TestRenderAnything: what Render writes of any configuration that holds is read as that configuration.
func TestRenderAnything(t *testing.T) {
	t.Parallel()
	held := 0
	for seed := range uint64(20000) {
		r := rand.New(rand.NewPCG(seed, 6))
		c, err := config.Parse("/etc/callsign/callsign.toml", []byte(randomFile(r)))
		if err != nil {
			continue
		}
		held++
		again, err := config.Parse("/etc/callsign/callsign.toml", []byte(config.Render(*c)))
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, config.Render(*c))
		}
		if changes := config.Changes(c, again); changes != nil {
			t.Fatalf("seed %d: %v\n%s", seed, changes, config.Render(*c))
		}
		if held == 400 {
			return
		}
	}
	t.Errorf("only %d of the configurations hold", held)
}

func entriesOf(c *config.Config) map[string]string {
	all := map[string]string{}
	for _, e := range c.Entries() {
		all[e.Key] = e.Text
	}
	return all
}

func cutLabelKey(key string) (section, name string, ok bool) {
	i := strings.LastIndexByte(key, '.')
	return key[:i], key[i+1:], strings.HasPrefix(key, "label.")
}

// randomConfig is one in which about half of the keys have another value than by default, and which need not hold.
func randomConfig(r *rand.Rand) *config.Config {
	c := config.Default()
	for _, set := range []func(int){
		func(i int) { c.Store.Path = fmt.Sprint(i) }, func(i int) { c.Log.Level = fmt.Sprint(i) }, func(i int) { c.Log.Format = fmt.Sprint(i) },
		func(i int) { c.Trace.Dir = fmt.Sprint(i) }, func(i int) { c.CAPF.Listen = fmt.Sprint(i) }, func(i int) { c.CAPF.Issuer = fmt.Sprint(i) },
		func(i int) { c.CAPF.RAURL = fmt.Sprint(i) }, func(i int) { c.CAPF.MICFiles = list(i) }, func(i int) { c.CAPF.RequireSUDI = i == 0 },
		func(i int) { c.CA.MinRSABits = i }, func(i int) { c.ADCS.URL = fmt.Sprint(i) }, func(i int) { c.ADCS.TotalTimeout = time.Duration(i) * time.Second },
		func(i int) { c.EST.Listen = fmt.Sprint(i) }, func(i int) { c.EST.LabUser = fmt.Sprint(i) }, func(i int) { c.EST.CRLFiles = list(i) },
		func(i int) { c.RA.RememberDenials = time.Duration(i) * time.Second }, func(i int) { c.RA.PendingRetryAfter = time.Duration(i) * time.Second },
		func(i int) { c.RA.TrustedProxies = list(i) },
	} {
		if i := r.IntN(6); i < 3 {
			set(i)
		}
	}
	randomProfile(r, &c.RA.Profile)
	for _, name := range []string{"a", "est", "ra", "x.y"} {
		if r.IntN(2) == 0 {
			label := config.Label{Name: name, Profile: c.RA.Profile}
			randomProfile(r, &label.Profile)
			c.Labels = append(c.Labels, label)
		}
	}
	return &c
}

func randomProfile(r *rand.Rand, p *config.Profile) {
	for _, set := range []func(int){
		func(i int) { p.Authority = fmt.Sprint(i) }, func(i int) { p.Template = fmt.Sprint(i) }, func(i int) { p.Approval = i == 0 },
		func(i int) { p.Names = list(i) }, func(i int) { p.Clients = list(i) }, func(i int) { p.ValidityDays = i },
		func(i int) { p.Rate = fmt.Sprint(i) }, func(i int) { p.ReenrollGrace = time.Duration(i) * time.Minute },
	} {
		if i := r.IntN(6); i < 3 {
			set(i)
		}
	}
}

func list(n int) []string { return slices.Repeat([]string{"x"}, n) }

// randomFile is a configuration of an EST server with labels that say and repeat what [ra] says, empty lists, quoted names and
// defaults among it.
func randomFile(r *rand.Rand) string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	profile := func() string {
		var b strings.Builder
		for _, line := range []string{
			"authority = " + pick("'local'", "'adcs'"), "template = " + pick("''", "'Web'"), "validity_days = " + pick("0", "30"),
			"clients = " + pick("[]", "['a*']", "['a', '\"q\"', 'ü\\', 'c']"), "subject = " + pick("''", `'a\.b'`, `"\u0041"`), "subject_is_name = " + pick("true", "false"),
			"subject_has = " + pick("[]", `['O=Exa\, mple']`, "['O=a b', 'OU=ü']"), "names = " + pick("['any']", "['none']", "['subject', 'dns:*.x']"),
			"keys = " + pick("['p-256']", "['rsa:2048-8192', 'ed25519']"), "usages = " + pick("[]", "['clientAuth']"), "approval = " + pick("true", "false"),
			"rate = " + pick("''", "'10/h'"), "link = " + pick("'off'", "'optional'"), "reenroll_grace = " + pick("'0s'", "'36h'", "'1h30m'", "'90s'"),
			"server_keygen = " + pick("'off'", "'on'"), "csrattrs = " + pick("'auto'", "'none'"), "lines = " + pick("'auto'", "'single'"),
			"users_file = " + pick("''", "'u'", "'sub/../u'", "'/abs/u'", "'../u'"), "client_name = " + pick("''", `'^(.*)\.x$'`),
		} {
			if r.IntN(3) == 0 {
				b.WriteString(line + "\n")
			}
		}
		return b.String()
	}
	var b strings.Builder
	b.WriteString("[capf]\nlisten = ''\n[ca]\ncertificate_file = 'ca.pem'\nkey_file = 'ca.key'\n[adcs]\nurl = 'https://ca/certsrv'\ntemplate = 'T'\n" +
		"username = 'E\\u'\npassword_file = 'p'\n[est]\nlisten = ':8084'\ncertificate_file = 'est.pem'\nkey_file = 'est.key'\nusers_file = 'users'\n[ra]\n" + profile())
	for _, name := range []string{"a", `"b.c"`, "ra", "est", `'d-e'`} {
		if r.IntN(2) == 0 {
			b.WriteString("[label." + name + "]\n" + profile())
		}
	}
	return b.String()
}
