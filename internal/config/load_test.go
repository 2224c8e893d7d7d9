package config_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"callsign/internal/config"
)

// minimal is what a phone system with a CA of its own needs.
const minimal = `[capf]
certificate_file = "capf.pem"
key_file = "capf.key"

[ca]
certificate_file = "ca.pem"
key_file = "ca.key"
`

func TestLoadMinimal(t *testing.T) {
	t.Parallel()
	if lines := strings.Count(minimal, "\n"); lines >= 15 {
		t.Errorf("the minimal file has %d lines", lines)
	}
	path := write(t, t.TempDir(), "callsign.toml", minimal)
	dir := filepath.Dir(path)
	got, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.Path, want.Dir = path, dir
	want.Store.Path = filepath.Join(dir, "callsign.db")
	want.CAPF.CertificateFile, want.CAPF.KeyFile = filepath.Join(dir, "capf.pem"), filepath.Join(dir, "capf.key")
	want.CA.CertificateFile, want.CA.KeyFile = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	if diff := cmp.Diff(&want, got, ignorePrivate, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.CAPF.Listen != "127.0.0.1:3804" || got.CAPF.AnswerWithin != 7*time.Second || got.RA.AnswerWithin != 6*time.Second {
		t.Errorf("defaults are wrong: %+v %+v", got.CAPF, got.RA)
	}
	if origin := got.Origin("ca.key_file"); origin != path+":7:13" && origin != path+":7:12" {
		t.Errorf("origin of ca.key_file is %s", origin)
	}
	if origin := got.Origin("capf.listen"); origin != "default" {
		t.Errorf("origin of capf.listen is %s", origin)
	}
}

var ignorePrivate = cmpopts.IgnoreUnexported(config.Config{})

func TestLoadConfD(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := write(t, dir, "callsign.toml", minimal+"validity = 1\n[log]\nlevel = \"debug\"\n")
	write(t, dir, "conf.d/20-second.toml", "[log]\nlevel = \"error\"\n[capf]\nlisten = \"0.0.0.0:3804\"\n")
	write(t, dir, "conf.d/10-first.toml", "[log]\nlevel = \"warn\"\nformat = \"json\"\n[capf]\nlisten = 1\n")
	write(t, dir, "conf.d/notes.txt", "not = toml = at all")
	write(t, dir, "conf.d/.hidden.toml", "also not")
	_, err := load(path)
	var problems config.Errors
	if !errors.As(err, &problems) {
		t.Fatalf("got %v, want Errors", err)
	}
	want := []string{
		path + ":8:1: ca.validity: unknown key",
		filepath.Join(dir, "conf.d/10-first.toml") + `:5:10: capf.listen: must be a string in quotes (got 1)`,
	}
	if diff := cmp.Diff(want, lines(problems)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	write(t, dir, "callsign.toml", minimal)
	write(t, dir, "conf.d/10-first.toml", "[log]\nlevel = \"warn\"\nformat = \"json\"\n")
	c, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.Log != (config.Log{Level: "error", Format: "json"}) || c.CAPF.Listen != "0.0.0.0:3804" {
		t.Errorf("later files do not win: %+v %+v", c.Log, c.CAPF.Listen)
	}
	if got := c.Origin("log.level"); !strings.Contains(got, "20-second.toml:2:") {
		t.Errorf("origin %s", got)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	const rest = "[capf]\ncertificate_file='a'\nkey_file='b'\n[ca]\ncertificate_file='c'\nkey_file='d'\n"
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{
			name: "scheme, as in the manual",
			text: minimal + "\n[adcs]\nurl = \"http://ca/certsrv\"\n",
			want: []string{`callsign.toml:10:8: adcs.url: scheme must be https (got "http://ca/certsrv")`},
		},
		{
			name: "several at once, in order",
			text: rest + "[log]\nlevel = \"verbose\"\nfromat = \"json\"\n[trace]\ndir = 3\n[est]\nlisten = \"8084\"\n",
			want: []string{
				`callsign.toml:8:10: log.level: must be debug, info, warn or error (got "verbose")`,
				`callsign.toml:9:1: log.fromat: unknown key, did you mean format?`,
				`callsign.toml:11:7: trace.dir: must be a string in quotes (got 3)`,
				`callsign.toml:12:1: est.certificate_file: is missing: est.listen needs it`,
				`callsign.toml:12:1: est.key_file: is missing: est.listen needs it`,
				`callsign.toml:12:1: est.users_file: is missing: nobody may enrol`,
				`callsign.toml:13:11: est.listen: must be HOST:PORT (got "8084")`,
				`callsign.toml: adcs.url: is missing: ra.authority = "adcs" needs it`,
				`callsign.toml: adcs.template: is missing: ra.authority = "adcs" needs it`,
				`callsign.toml: adcs.username: is missing: ra.authority = "adcs" needs it`,
				`callsign.toml: adcs.password_file: is missing: ra.authority = "adcs" needs it`,
			},
		},
		{
			name: "unknown section", text: rest + "[logs]\nlevel = 1\n[weather]\n",
			want: []string{
				`callsign.toml:7:1: logs: unknown section, did you mean [log]?`,
				`callsign.toml:9:1: weather: unknown section`,
			},
		},
		{
			name: "section as an array", text: rest + "[[log]]\nlevel = 'info'\n",
			want: []string{`callsign.toml:7:1: log: must be a section: [log]`},
		},
		{
			name: "key outside of a section", text: "ra_url = \"https://x\"\n" + rest,
			want: []string{`callsign.toml:1:1: ra_url: unknown key outside of a section, did you mean capf.ra_url?`},
		},
		{
			name: "password in the file", text: rest + "[adcs]\npassword = \"hunter2\"\npassword_file = 2\n",
			want: []string{
				`callsign.toml:8:1: adcs.password: unknown key, did you mean password_file?`,
				`callsign.toml:9:17: adcs.password_file: must be a string in quotes`,
			},
		},
		{
			name: "password in a URL", text: rest + "[adcs]\nurl = \"https://u:hunter2@h/\"\n",
			want: []string{`callsign.toml:8:8: adcs.url: must not hold a user or password (got "https://...@h/")`},
		},
		{
			name: "key of another section", text: rest + "[log]\ntemplate = \"x\"\n",
			want: []string{`callsign.toml:8:1: log.template: unknown key, did you mean adcs.template?`},
		},
		{
			name: "types", text: rest + "[ra]\nremember = 7\nretry_after = \"soon\"\ncompat_sequence = \"yes\"\nvouchers = \"CN=x\"\n" +
				"[adcs]\nskip_template_check = 1\n",
			want: []string{
				`callsign.toml:8:12: ra.remember: must be a duration such as "7s", "10m" or "168h" (got 7)`,
				`callsign.toml:9:16: ra.retry_after: must be a duration such as "7s", "10m" or "168h" (got "soon")`,
				`callsign.toml:10:20: ra.compat_sequence: must be true or false (got "yes")`,
				`callsign.toml:11:13: ra.vouchers: must be a list of strings such as ["a", "b"] (got "CN=x")`,
				`callsign.toml:13:23: adcs.skip_template_check: must be true or false (got 1)`,
			},
		},
		{
			name: "limits", text: "[capf]\ncertificate_file='a'\nkey_file='b'\nvalidity_days=0\nwrong_strings=1.5\nkey_wait='1ms'\nsubject='{nam}'\n" +
				"[ca]\ncertificate_file='c'\nkey_file='d'\n[ra]\nvoucher_subject='('\n",
			want: []string{
				`callsign.toml:4:15: capf.validity_days: must be 1 to 1825 (got 0)`,
				`callsign.toml:5:15: capf.wrong_strings: must be a whole number (got 1.5)`,
				`callsign.toml:6:11: capf.key_wait: must be 1s to 1h0m0s (got 1ms)`,
				`callsign.toml:7:10: capf.subject: must contain {name} (got "{nam}")`,
				"callsign.toml:12:18: ra.voucher_subject: is not a regular expression: missing closing ): `(` (got \"(\")",
			},
		},
		{
			name: "needs of the local issuer", text: "[capf]\nlisten = \"127.0.0.1:0\"\n",
			want: []string{
				`callsign.toml:1:1: capf.certificate_file: is missing: capf.listen needs it`,
				`callsign.toml:1:1: capf.key_file: is missing: capf.listen needs it`,
				`callsign.toml: ca.certificate_file: is missing: capf.issuer = "local" needs it`,
				`callsign.toml: ca.key_file: is missing: capf.issuer = "local" needs it`,
			},
		},
		{
			name: "needs of an RA", text: "[capf]\ncertificate_file='a'\nkey_file='b'\nissuer='online-ca'\nra_url='https://ra:8084/.well-known/est'\n",
			want: []string{
				`callsign.toml:1:1: capf.ra_ca_file: is missing: capf.ra_url needs it`,
				`callsign.toml:1:1: capf.ra_certificate_file: is missing: capf.ra_url needs it`,
				`callsign.toml:1:1: capf.ra_key_file: is missing: capf.ra_url needs it`,
			},
		},
		{
			name: "needs of AD CS without an RA", text: "[capf]\ncertificate_file='a'\nkey_file='b'\nissuer='online-ca'\n[adcs]\nurl='https://ca/certsrv'\ntemplate='T'\nusername='u'\npassword_file='p'\nagent_key_file='k'\n",
			want: []string{
				`callsign.toml:5:1: adcs.agent_certificate_file: is missing: a request for a phone, which AD CS accepts from an enrollment agent only, needs it`,
			},
		},
		{
			name: "enrollment agent for signed requests", text: "[est]\nlisten=':8084'\ncertificate_file='a'\nkey_file='b'\nusers_file='u'\n[capf]\nlisten=''\n" +
				"[adcs]\nurl='https://ca/certsrv'\ntemplate='T'\nusername='u'\npassword_file='p'\nsign_requests='pkcs7'\n",
			want: []string{
				`callsign.toml:8:1: adcs.agent_certificate_file: is missing: adcs.sign_requests = "pkcs7" needs it`,
				`callsign.toml:8:1: adcs.agent_key_file: is missing: adcs.sign_requests = "pkcs7" needs it`,
				`callsign.toml:8:1: adcs.requester: is missing: adcs.sign_requests = "pkcs7" needs it`,
			},
		},
		{
			name: "on behalf of whom", text: minimal + "[adcs]\nvouch='on-behalf'\nrequester='{name}$'\nrequester_names=''\nsign_requests='cms'\n",
			want: []string{
				`callsign.toml:10:12: adcs.requester: must be DOMAIN\{name}$ or DOMAIN\{name} (got "{name}$")`,
				`callsign.toml:11:18: adcs.requester_names: is empty: every name could be asked for`,
				`callsign.toml:12:16: adcs.sign_requests: must be off, cmc or pkcs7, did you mean "cmc"? (got "cms")`,
			},
		},
		{
			name: "on behalf of nobody", text: minimal + "[adcs]\nvouch='on-behalf'\n",
			want: []string{`callsign.toml:8:1: adcs.requester: is missing: adcs.vouch = "on-behalf" needs it`},
		},
		{
			name: "vouchers", text: "[capf]\nlisten=''\n[est]\nlisten=':8084'\ncertificate_file='a'\nkey_file='b'\nusers_file='u'\n" +
				"[ra]\nauthority='local'\nvouchers=['CN=x', 'abc']\n[ca]\ncertificate_file='c'\nkey_file='d'\n",
			want: []string{
				`callsign.toml:8:1: ra.voucher_ca_file: is missing: ra.vouchers needs it`,
				`callsign.toml:8:1: ra.responder_certificate_file: is missing: ra.vouchers needs it`,
				`callsign.toml:8:1: ra.responder_key_file: is missing: ra.vouchers needs it`,
				`callsign.toml:10:11: ra.vouchers: "abc" is neither a SHA-256 fingerprint nor a subject such as CN=capf-ra,O=Example`,
			},
		},
		{
			name: "pairs", text: minimal + "chain_file = 'x'\n[est]\ncertificate_file = 'only'\n",
			want: []string{`callsign.toml:9:1: est.key_file: is missing: est.certificate_file needs it`},
		},
		{
			name: "one port for two", text: "[capf]\ncertificate_file='a'\nkey_file='b'\nlisten=':1'\n[ca]\ncertificate_file='c'\nkey_file='d'\n" +
				"[est]\nlisten=':1'\ncertificate_file='a'\nkey_file='b'\nusers_file='u'\n[ra]\nauthority='local'\n",
			want: []string{`callsign.toml:9:9: est.listen: is the address of capf.listen (got ":1")`},
		},
		{
			name: "nothing to serve", text: "[capf]\nlisten=''\n",
			want: []string{`callsign.toml:2:9: capf.listen: and est.listen are both empty: there is nothing to serve`},
		},
		{
			name: "clusters alone need no listener", text: "[capf]\nlisten=''\n[cluster]\nfiles=['lab.json']\ncsr_profile='9'\n",
			want: []string{`callsign.toml:5:14: cluster.csr_profile: must be 15, 12.5 or 11 (got "9")`},
		},
		{
			name: "not TOML", text: rest + "[log\nlevel = 1\n",
			want: []string{"callsign.toml:7:5: is not TOML: expected '.' or ']' to end table name, but got '\\n' instead"},
		},
		{
			name: "key twice", text: minimal + "key_file = \"again\"\n",
			want: []string{"callsign.toml:8:1: is not TOML: Key 'ca.key_file' has already been defined."},
		},
		{name: "not text", text: "[log]\nlevel = \"\xff\"\n", want: []string{"callsign.toml:2:1: the line is not UTF-8 text"}},
		{
			name: "line too long", text: "\n#" + strings.Repeat("x", config.MaxLineBytes),
			want: []string{"callsign.toml:2:1: the line is longer than 4 KiB"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Parse("callsign.toml", []byte(tc.text))
			var problems config.Errors
			if !errors.As(err, &problems) {
				t.Fatalf("got %v, want Errors", err)
			}
			if diff := cmp.Diff(tc.want, lines(problems)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if problems.Code() != "config.invalid" || problems.Remedy() == "" {
				t.Errorf("code %q, remedy %q", problems.Code(), problems.Remedy())
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the problem shows a password: %v", err)
			}
		})
	}
}

func TestManyProblemsAreCut(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString(minimal + "[weather]\n[log]\n")
	for i := range 10_000 {
		fmt.Fprintf(&text, "k%d = 1\n", i)
	}
	_, err := config.Parse("callsign.toml", []byte(text.String()))
	var problems config.Errors
	if !errors.As(err, &problems) || len(problems) != 51 {
		t.Errorf("%d problems", len(problems))
	}
}

func TestLoadFileErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	large := write(t, dir, "large.toml", strings.Repeat("# x\n", config.MaxFileBytes/4+1))
	for _, tc := range []struct{ name, path, code, fix string }{
		{"missing", filepath.Join(dir, "none.toml"), "config.missing", "callsign init"},
		{"directory", dir, "config.unreadable", ""},
		{"too large", large, "config.too-large", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := load(tc.path)
			var fileErr *config.FileError
			if !errors.As(err, &fileErr) {
				t.Fatalf("got %v, want a *FileError", err)
			}
			if fileErr.Code() != tc.code || fileErr.Remedy() == "" || !strings.Contains(fileErr.Remedy(), tc.fix) {
				t.Errorf("code %q, remedy %q", fileErr.Code(), fileErr.Remedy())
			}
		})
	}
}

func TestCheckFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := write(t, dir, "callsign.toml", minimal)
	for _, name := range []string{"capf.pem", "capf.key", "ca.key"} {
		write(t, dir, name, "content of "+name)
	}
	if err := os.Chmod(filepath.Join(dir, "ca.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	err = c.CheckFiles()
	var problems config.Errors
	if !errors.As(err, &problems) {
		t.Fatalf("got %v, want Errors", err)
	}
	var keys []string
	for _, p := range problems {
		keys = append(keys, fmt.Sprintf("%d %s", p.Line, p.Key))
		if p.Fix == "" {
			t.Errorf("no remedy: %v", p)
		}
	}
	if diff := cmp.Diff([]string{"6 ca.certificate_file", "7 ca.key_file"}, keys); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := os.Chmod(filepath.Join(dir, "ca.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "ca.pem", "x")
	if err := c.CheckFiles(); err != nil {
		t.Errorf("unexpected problems: %v", err)
	}
}

func TestLogsNoSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "adcs.password", "hunter2\n")
	c, err := load(write(t, dir, "callsign.toml", minimal+"[adcs]\nurl = \"https://ca/certsrv\"\ntemplate = \"T\"\nusername = \"u\"\npassword_file = \"adcs.password\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	c.ADCS.URL = "https://u:hunter2@ca/certsrv"
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("configuration loaded", "config", *c)
	if strings.Contains(out.String(), "hunter2") {
		t.Errorf("the log shows a secret: %s", out.String())
	}
	if !strings.Contains(out.String(), `"template":"T"`) || strings.Contains(out.String(), "wrong_strings") {
		t.Errorf("the log does not show exactly what was set: %s", out.String())
	}
}

// load reads a configuration without the environment of the test.
func load(path string) (*config.Config, error) { return config.LoadWith(path, nil) }

func lines(problems config.Errors) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.Error())
	}
	return out
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestADCSLogin: which account logs in to AD CS, and how, is judged as a whole.
func TestADCSLogin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, lines, want string }{
		{"password", `username = "LAB\\ra"` + "\npassword_file = 'pw'", ""},
		{"keytab without Kerberos", `username = "LAB\\ra"` + "\npassword_file = 'pw'\nkeytab_file = 'k'", `adcs.keytab_file: is of no use with adcs.auth = "ntlm"`},
		{"no secret", `username = "LAB\\ra"`, "adcs.password_file: is missing"},
		{"keytab", "auth = 'kerberos'\nusername = 'ra@LAB.EXAMPLE'\nkeytab_file = 'k'", ""},
		{"keytab and password", "auth = 'kerberos'\nusername = 'ra@LAB.EXAMPLE'\nkeytab_file = 'k'\npassword_file = 'pw'", "adcs.password_file: is set beside adcs.keytab_file"},
		{"Kerberos without secret", "auth = 'kerberos'\nusername = 'ra@LAB.EXAMPLE'", "adcs.password_file: is missing"},
		{"no realm", "auth = 'kerberos'\nusername = 'ra'\npassword_file = 'pw'", "adcs.kerberos_realm: is missing"},
		{"realm", "auth = 'kerberos'\nusername = 'ra'\npassword_file = 'pw'\nkerberos_realm = 'LAB.EXAMPLE'\nkdcs = ['dc1', 'dc2.lab.example:8088', '[::1]:88']", ""},
		{"realm of krb5.conf", "auth = 'kerberos'\nusername = 'ra'\npassword_file = 'pw'\nkrb5_file = '/etc/krb5.conf'", ""},
		{"bad realm", "username = 'ra'\npassword_file = 'pw'\nkerberos_realm = 'ra@LAB'", "adcs.kerberos_realm: must be the DNS name of a domain"},
		{"bad KDC", "username = 'ra'\npassword_file = 'pw'\nkdcs = ['dc1:kerberos']", `adcs.kdcs: must list HOST or HOST:PORT, not "dc1:kerberos"`},
		{"bad service", "username = 'ra'\npassword_file = 'pw'\nspn = 'ca.lab.example'", "adcs.spn: must be CLASS/HOST"},
		{"service", "username = 'ra'\npassword_file = 'pw'\nspn = 'HTTP/ca.lab.example'\nchannel_binding = false", ""},
	} {
		_, err := config.Parse("/c/callsign.toml", []byte("[capf]\nlisten = ''\n[est]\nlisten = '127.0.0.1:0'\nusers_file = 'u'\ncertificate_file = 'e'\nkey_file = 'e'\n[ra]\nauthority = 'adcs'\n"+
			"[adcs]\nurl = 'https://ca/certsrv'\ntemplate = 'T'\n"+tt.lines+"\n"))
		if got := fmt.Sprint(err); tt.want == "" && err != nil || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %v; want %q", tt.name, err, tt.want)
		}
	}
}

// TestWithoutPhones: who never said that phones are served is told how not to.
func TestWithoutPhones(t *testing.T) {
	t.Parallel()
	const how = `or, where no phones are served, set listen = "" in section [capf]`
	for text, want := range map[string]bool{"[cluster]\nfiles=['lab.json']\n": true, "[capf]\nlisten='127.0.0.1:3804'\n": false} {
		path := filepath.Join(t.TempDir(), "callsign.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.Load(path)
		problems, ok := errors.AsType[config.Errors](err)
		if !ok || len(problems) != 4 {
			t.Fatalf("%v", err)
		}
		for _, p := range problems {
			if got := strings.HasSuffix(p.Remedy(), how); got != want {
				t.Errorf("%q: %s: %q", text, p.Key, p.Remedy())
			}
		}
	}
}
