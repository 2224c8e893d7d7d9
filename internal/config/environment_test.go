package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/config"
)

func TestEnvironment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := write(t, dir, "callsign.toml", registrationAuthority+"rate = '10/h'\n[log]\nlevel = 'debug'\n[label.a]\n[label.b]\nrate = '1/h'\n")
	c, err := config.LoadWith(path, []string{
		"CALLSIGN_EST_LISTEN=127.0.0.1:9000", "CALLSIGN_EST_LISTEN=127.0.0.1:1", "CALLSIGN_LOG_LEVEL=", "CALLSIGN_LOG_FORMAT=json",
		"CALLSIGN_RA_RATE=20/h", "CALLSIGN_RA_CLIENTS=a*, b?", "CALLSIGN_RA_VOUCHERS=CN=RA,O=Example", "CALLSIGN_RA_VOUCHER_CA_FILE=v.pem",
		"CALLSIGN_RA_RESPONDER_CERTIFICATE_FILE=/r.pem", "CALLSIGN_RA_RESPONDER_KEY_FILE=r.key", "CALLSIGN_RA_REMEMBER=24h", "CALLSIGN_RA_APPROVAL=true",
		"CALLSIGN_CA_MIN_RSA_BITS=3072", `CALLSIGN_RENEWAL_WINDOWS=["Mo-Fr 22:00-05:00", 'Sa,Su 00:00-24:00']`, `CALLSIGN_EST_REALM=""`,
		"CALLSIGN_CONFIG=elsewhere.toml", "CALLSIGN_EST_PASSWORD=hunter2", "callsign_log_level=error", "PATH=/bin", "CALLSIGN", "=C:=x",
	})
	if err != nil {
		t.Fatal(err)
	}
	got := []any{
		c.EST.Listen, c.Log, c.RA.Rate, c.RA.Clients, c.RA.Vouchers, c.RA.VoucherCAFile, c.RA.ResponderCertificateFile, c.RA.Remember, c.RA.Approval,
		c.CA.MinRSABits, c.Renewal.Windows, c.EST.Realm, c.Labels[0].Rate, c.Labels[0].Approval, c.Labels[1].Rate,
	}
	want := []any{
		"127.0.0.1:9000",
		config.Log{Level: "debug", Format: "json"},
		"20/h",
		[]string{"a*", "b?"},
		[]string{"CN=RA,O=Example"},
		filepath.Join(dir, "v.pem"), "/r.pem",
		24 * time.Hour, true, 3072,
		[]string{"Mo-Fr 22:00-05:00", "Sa,Su 00:00-24:00"},
		"", "20/h", true, "1/h",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for key, want := range map[string]string{
		"est.listen": "environment CALLSIGN_EST_LISTEN", "log.level": path + ":15:10", "label.a.rate": "ra.rate (environment CALLSIGN_RA_RATE)",
	} {
		if got := c.Origin(key); got != want {
			t.Errorf("origin of %s is %s, want %s", key, got, want)
		}
	}
	if w := c.Warnings(); len(w) > 0 {
		t.Errorf("warnings: %v", w)
	}
}

func TestEnvironmentProblems(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, variable, want string }{
		{"value", "CALLSIGN_LOG_LEVEL=loud", `CALLSIGN_LOG_LEVEL: log.level: must be debug, info, warn or error (got "loud")`},
		{"bool", "CALLSIGN_RA_APPROVAL=yes", `CALLSIGN_RA_APPROVAL: ra.approval: must be true or false (got "yes")`},
		{"number", "CALLSIGN_CA_MIN_RSA_BITS=2k", `CALLSIGN_CA_MIN_RSA_BITS: ca.min_rsa_bits: must be a whole number (got "2k")`},
		{"range", "CALLSIGN_CA_MIN_RSA_BITS=1", `CALLSIGN_CA_MIN_RSA_BITS: ca.min_rsa_bits: must be 512 to 4096 (got 1)`},
		{"duration", "CALLSIGN_RA_REMEMBER=7", `CALLSIGN_RA_REMEMBER: ra.remember: must be a duration such as "7s", "10m" or "168h" (got "7")`},
		{"list", "CALLSIGN_RA_KEYS=p-256,", `CALLSIGN_RA_KEYS: ra.keys: has an empty item (got "p-256,")`},
		{"list that does not end", `CALLSIGN_RA_KEYS=["p-256"`, `CALLSIGN_RA_KEYS: ra.keys: must be a list of strings such as ["a", "b"] (got "[\"p-256\"")`},
		{"list with more behind it", "CALLSIGN_RA_KEYS=[]\nw = 1", `CALLSIGN_RA_KEYS: ra.keys: must be a list of strings such as ["a", "b"] (got "[]\nw = 1")`},
		{"list of numbers", "CALLSIGN_RA_KEYS=[1]", `CALLSIGN_RA_KEYS: ra.keys: must hold strings only (got 1)`},
		{"secret", "CALLSIGN_ADCS_PASSWORD_FILE=" + strings.Repeat("hunter2", 600), "CALLSIGN_ADCS_PASSWORD_FILE: adcs.password_file: is longer than 4 KiB"},
		{"no text", "CALLSIGN_EST_REALM=\xff", "CALLSIGN_EST_REALM: est.realm: is not UTF-8 text"},
		{"rules", "CALLSIGN_EST_LISTEN=127.0.0.1:3804\nx", "CALLSIGN_EST_LISTEN: est.listen: port must be a number from 0 to 65535 (got \"127.0.0.1:3804\\nx\")"},
		{"missing for what a variable switches on", "CALLSIGN_RA_AUTHORITY=adcs", "f: adcs.url: is missing: ra.authority = \"adcs\" needs it\nf: adcs.template: is missing: ra.authority = \"adcs\" needs it\n" +
			"f: adcs.username: is missing: ra.authority = \"adcs\" needs it\nf: adcs.password_file: is missing: ra.authority = \"adcs\" needs it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := config.ParseWith("f", []byte(registrationAuthority), []string{tc.variable})
			if _, ok := errors.AsType[config.Errors](err); !ok {
				t.Fatalf("got %v, want Errors", err)
			}
			if diff := cmp.Diff(tc.want, err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnknownVariables(t *testing.T) {
	t.Parallel()
	c, err := config.ParseWith("f", []byte(registrationAuthority), []string{
		"CALLSIGN_EST_LISTN=:1", "CALLSIGN_LABEL_A_RATE=1/h", "CALLSIGN_WEATHER=rain", "CALLSIGN_SERVICE_HOST=10.0.0.1", "CALLSIGN_PORT=tcp://10.0.0.1:3804",
		"CALLSIGN_PORT_3804_TCP_ADDR=10.0.0.1", "CALLSIGN_EST_SERVICE_PORT_HTTPS=8084", "CALLSIGN_LANG=fr", "CALLSIGN_EMPTY=",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"CALLSIGN_EST_LISTN: is no variable of callsign, did you mean CALLSIGN_EST_LISTEN?",
		"CALLSIGN_LABEL_A_RATE: has no effect: keys of labels cannot be set in the environment",
		"CALLSIGN_WEATHER: is no variable of callsign",
	}
	if diff := cmp.Diff(want, lines(c.Warnings())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLoadReadsTheEnvironment: Load is LoadWith with the environment of the process.
func TestLoadReadsTheEnvironment(t *testing.T) {
	path := write(t, t.TempDir(), "callsign.toml", registrationAuthority)
	t.Setenv("CALLSIGN_RA_RATE", "7/h")
	got, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := config.LoadWith(path, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, ignorePrivate); diff != "" || got.RA.Rate != "7/h" {
		t.Errorf("rate %s (-want +got):\n%s", got.RA.Rate, diff)
	}
}

// TestVariablesAreDistinct: no two keys have one variable, and every key but those of labels has one.
func TestVariablesAreDistinct(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	section := ""
	for line := range strings.Lines(config.Reference()) {
		if name, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimRight(name, "]\n")
		}
		m := regexp.MustCompile(`^#([a-z0-9_]+) = `).FindStringSubmatch(line)
		if m == nil {
			continue
		}
		key := section + "." + m[1]
		variable := config.Variable(key)
		if other, ok := seen[variable]; ok || !regexp.MustCompile(`^CALLSIGN_[A-Z0-9_]+$`).MatchString(variable) {
			t.Errorf("%s has the variable %q, and so has %q", key, variable, other)
		}
		seen[variable] = key
	}
	if len(seen) < 100 {
		t.Errorf("only %d keys were looked at", len(seen))
	}
	if v := config.Variable("label.a.rate"); v != "" {
		t.Errorf("a key of a label has the variable %s", v)
	}
}
