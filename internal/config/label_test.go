package config_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/config"
)

// registrationAuthority is what an RA with a local CA needs, for profiles to be added.
const registrationAuthority = `[capf]
listen = ""
[ca]
certificate_file = "ca.pem"
key_file = "ca.key"
[est]
listen = "127.0.0.1:8084"
certificate_file = "est.pem"
key_file = "est.key"
users_file = "users"
[ra]
authority = "local"
`

// TestLabelsInherit: a label has what [ra] says except for what it says itself, in whatever order and files they stand.
func TestLabelsInherit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := write(t, dir, "callsign.toml", `
[label."a.b"]
subject = "first"
[label.phones]
clients = []
keys = ["p-256"]
users_file = "phones.users"
`+registrationAuthority+`
clients = ["SEP*"]
approval = true
client_ca_file = "clients.pem"
`)
	write(t, dir, "conf.d/10.toml", "label.phones.subject = 'SEP.*'\n[label]\nprinters = {rate = '10/h', approval = false}\n")
	write(t, dir, "conf.d/20.toml", "[label.'a.b']\nsubject = 'second'\n[ra]\nreenroll_grace = '720h'\n")
	c, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	base := config.Default().RA.Profile
	base.Authority, base.Clients, base.Approval, base.ReenrollGrace = config.AuthorityLocal, []string{"SEP*"}, true, 720*time.Hour
	base.ClientCAFile = filepath.Join(dir, "clients.pem")
	ab, phones, printers := base, base, base
	ab.Subject = "second"
	phones.Clients, phones.Keys, phones.UsersFile, phones.Subject = []string{}, []string{"p-256"}, filepath.Join(dir, "phones.users"), "SEP.*"
	printers.Rate, printers.Approval = "10/h", false
	want := []config.Label{{Name: "a.b", Profile: ab}, {Name: "phones", Profile: phones}, {Name: "printers", Profile: printers}}
	if diff := cmp.Diff(want, c.Labels); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(base, c.RA.Profile); diff != "" {
		t.Errorf("[ra] (-want +got):\n%s", diff)
	}
	for key, want := range map[string]string{
		"label.phones.keys": path + ":6:9", "label.phones.subject": filepath.Join(dir, "conf.d/10.toml") + ":1:25", "label.phones.rate": "ra.rate (default)",
		"label.printers.rate": filepath.Join(dir, "conf.d/10.toml") + ":3:13", `label."a.b".subject`: filepath.Join(dir, "conf.d/20.toml") + ":2:12",
		`label."a.b".approval`: "ra.approval (" + path + ":22:12)",
	} {
		if got := c.Origin(key); got != want {
			t.Errorf("origin of %s is %s, want %s", key, got, want)
		}
	}
	if p, ok := c.Profile("phones"); !ok || p.Subject != "SEP.*" {
		t.Errorf("profile of phones: %t %+v", ok, p)
	}
	if p, ok := c.Profile(""); !ok || !p.Approval {
		t.Errorf("profile without a label: %t %+v", ok, p)
	}
	if _, ok := c.Profile("Phones"); ok {
		t.Error("a label that has no section has a profile")
	}
	// What is inherited belongs to the label.
	c.Labels[0].Clients[0] = "changed"
	if c.RA.Clients[0] != "SEP*" || c.Labels[2].Clients[0] != "SEP*" {
		t.Error("profiles share a list")
	}
}

func TestLabelProblems(t *testing.T) {
	t.Parallel()
	lines := strings.Count(registrationAuthority, "\n") // line number of the first line of a case is one more
	for _, tc := range []struct {
		name, text string
		want       []string // place after the lines of registrationAuthority
	}{
		{"unknown key", "[label.phones]\n  subjekt = 'x'\n", []string{"2:3: label.phones.subjekt: unknown key, did you mean subject?"}},
		{"key for all labels", "[label.phones]\nanswer_within = '1s'\n", []string{"2:1: label.phones.answer_within: unknown key: it stands in [ra], for all labels"}},
		{"key of another section", "[label.phones]\nrealm = 'x'\n", []string{"2:1: label.phones.realm: unknown key, did you mean est.realm?"}},
		{"wrong type", "[label.phones]\nnames = 'any'\n", []string{`2:10: label.phones.names: must be a list of strings such as ["a", "b"] (got "any")`}},
		{"wrong value", "[label.'a.b']\nlink = 'needed'\n", []string{`2:9: label."a.b".link: must be off, optional or required (got "needed")`}},
		{"name of an operation", "[label.simpleenroll]\n", []string{"1:1: label.simpleenroll: label is the name of an operation"}},
		{"name with a slash", "[label.'a/b']\n", []string{`1:1: label."a/b": label has a character that is not allowed`}},
		{"key without a label", "[label]\nsubject = 'x'\n", []string{"2:1: label.subject: is outside of the section of a label"}},
		{"value in place of a section", "[label]\nphones = 'x'\n", []string{"2:1: label.phones: must be a section: [label.phones]"}},
		{"no section", "[[label]]\nphones = 'x'\n", []string{"1:1: label: must be a section with the label's name: [label.NAME]"}},
		{"misspelt section", "[lable.phones]\nsubject = 'x'\n", []string{"1:1: lable: unknown section, did you mean [label.NAME]?"}},
		{"empty strings", "[label.a]\nlines = ''\ncsrattrs = ''\nsubject = ''\n", []string{
			`2:10: label.a.lines: must be auto, broken or single (got "")`,
			`3:13: label.a.csrattrs: is base64, but not of a CsrAttrs: this is not one DER SEQUENCE (got "")`,
		}},
		{"the same in [ra] and labels", "subject = '('\n[label.a]\n[label.b]\nsubject = '['\n", []string{
			"1:12: ra.subject: is not a regular expression: missing closing ): `(` (got \"(\")",
			"4:12: label.b.subject: is not a regular expression: missing closing ]: `[` (got \"[\")",
		}},
		{"authority that is not there", "[label.a]\nauthority = 'adcs'\ntemplate = 'T'\n[adcs]\nurl = 'https://ca/certsrv'\n", []string{
			`4:1: adcs.username: is missing: label.a.authority = "adcs" needs it`,
			`4:1: adcs.password_file: is missing: label.a.authority = "adcs" needs it`,
		}},
		{"authority without a template", "[label.a]\nauthority = 'adcs'\n[adcs]\nurl='https://ca/certsrv'\nusername='u'\npassword_file='p'\n", []string{
			`3:1: adcs.template: is missing: label.a.authority = "adcs" needs it`,
		}},
		{"certificates without anchors", "[label.a]\nauthentication = 'certificate'\n[label.b]\nauthentication = 'both'\n", []string{
			`2:19: label.a.authentication: cannot be satisfied: there are no trust anchors for certificates of clients (got "certificate")`,
			`4:19: label.b.authentication: cannot be satisfied: there are no trust anchors for certificates of clients (got "both")`,
		}},
		{"the same for all", "authentication = 'certificate'\n[label.a]\n[label.b]\nclient_ca_file = 'x'\n", []string{
			`1:19: ra.authentication: cannot be satisfied: there are no trust anchors for certificates of clients (got "certificate")`,
		}},
		{"login to a CA that has none", "[label.a]\nca_login = true\n", []string{"2:12: label.a.ca_login: cannot be: the local CA knows no users"}},
		{"encrypted for nobody", "[label.a]\nserver_keygen = 'encrypted'\n[label.b]\nserver_keygen = 'encrypted'\nclient_ca_file = 'x'\nauthentication = 'password'\n" +
			"[label.c]\nserver_keygen = 'encrypted'\nclient_ca_file = 'x'\n", []string{
			`2:18: label.a.server_keygen: cannot be "encrypted": keys are encrypted for the client's certificate, and no client is let in with one here`,
			`4:18: label.b.server_keygen: cannot be "encrypted": keys are encrypted for the client's certificate, and no client is let in with one here`,
		}},
		{"link through a proxy", "trusted_proxies = ['10.0.0.1']\n[label.a]\nlink = 'required'\n", []string{
			`3:9: label.a.link: cannot be "required" beside ra.trusted_proxies: a request that comes through a proxy has another TLS connection than the client's, to which it can never be linked`,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Parse("f", []byte(registrationAuthority+tc.text))
			var problems config.Errors
			if !errors.As(err, &problems) {
				t.Fatalf("got %v, want Errors", err)
			}
			var got []string
			for _, p := range problems {
				p.Line -= lines
				got = append(got, strings.TrimPrefix(p.Error(), "f:"))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestProfileNeeds: what of profiles is refused and taken when users and anchors are there or not.
func TestProfileNeeds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, est, ra, want string }{
		{"users", "users_file='u'\n", "authentication='password'\n", ""},
		{"users of its own", "", "users_file='u'\nauthentication='password'\n", ""},
		{"anchors", "client_ca_file='a'\n", "authentication='certificate'\n", ""},
		{"passwords without users", "client_ca_file='a'\n", "authentication='password'\n", "ra.authentication: cannot be satisfied: there are no users"},
		{"both with one", "client_ca_file='a'\n", "authentication='both'\n", "ra.authentication: cannot be satisfied: there are no users"},
		{"both", "client_ca_file='a'\nusers_file='u'\n", "authentication='both'\n", ""},
		{"nobody", "", "", "est.users_file: is missing: nobody may enrol"},
		{"any by certificate", "client_ca_file='a'\n", "", ""},
		{"compatible with an RA of Cisco, and no AD CS", "", "compat_sequence=true\n", "est.users_file: is missing: nobody may enrol"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(registrationAuthority, "users_file = \"users\"\n", tc.est, 1) + tc.ra
			_, err := config.Parse("f", []byte(text))
			if got := fmt.Sprint(err); tc.want == "" && err != nil || !strings.Contains(got, tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestTooManyLabels(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString(registrationAuthority)
	for i := range 300 {
		fmt.Fprintf(&text, "[label.l%d]\nsubject = 'x'\n", i)
	}
	_, err := config.Parse("f", []byte(text.String()))
	var problems config.Errors
	if !errors.As(err, &problems) || len(problems) != 1 || problems[0].Text != "there are more than 256 labels" {
		t.Errorf("got %v", err)
	}
}

// TestLabelsInMemory: a Config that no file made is judged in the same way.
func TestLabelsInMemory(t *testing.T) {
	t.Parallel()
	c := issuing(func(c *config.Config) {
		p := c.RA.Profile
		p.Subject = "("
		c.Labels = []config.Label{{Name: "a", Profile: p}, {Name: "a", Profile: c.RA.Profile}, {Name: "cacerts", Profile: c.RA.Profile}}
	})
	err := c.Check()
	want := "label.a.subject: is not a regular expression: missing closing ): `(` (got \"(\")\nlabel.a: is there twice\n" +
		"label.cacerts: label is the name of an operation"
	if got := fmt.Sprint(err); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCheckFilesOfLabels(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := write(t, dir, "callsign.toml", registrationAuthority+"client_ca_file = 'anchors.pem'\nrollover_files = ['roll.pem']\n[label.a]\n[label.b]\nusers_file = 'b.users'\n")
	for _, name := range []string{"ca.pem", "ca.key", "est.pem", "est.key", "users"} {
		write(t, dir, name, "x")
	}
	c, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	var problems config.Errors
	if err := c.CheckFiles(); !errors.As(err, &problems) {
		t.Fatalf("got %v", err)
	}
	var keys []string
	for _, p := range problems {
		keys = append(keys, fmt.Sprintf("%d %s", p.Line, p.Key))
	}
	if diff := cmp.Diff([]string{"13 ra.client_ca_file", "14 ra.rollover_files", "17 label.b.users_file"}, keys); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"none", registrationAuthority + "validity_days = 7\n", nil},
		{"template of the local CA", registrationAuthority + "template = 'T'\n[label.a]\n[label.b]\ntemplate = 'U'\n", []string{
			`f:13:13: ra.template: has no effect with authority = "local"`, `f:16:13: label.b.template: has no effect with authority = "local"`,
		}},
		{"validity of AD CS", registrationAuthority + "[label.a]\nauthority = 'adcs'\ntemplate = 'T'\nvalidity_days = 3\n[adcs]\nurl='https://ca/certsrv'\nusername='u'\npassword_file='p'\n", []string{
			`f:16:17: label.a.validity_days: has no effect with authority = "adcs": the template says how long certificates are valid`,
		}},
		{"template in [ra] for a label", registrationAuthority + "template = 'T'\n[label.a]\nauthority = 'adcs'\n[adcs]\nurl='https://ca/certsrv'\nusername='u'\npassword_file='p'\n", nil},
		{"any header of a proxy", registrationAuthority + "trusted_proxies = ['::1']\n", []string{
			"f:11:1: ra.client_cert_field: is not set: whoever sends the other header through a trusted proxy is believed to be whom it names",
		}},
		{"keys that wait for a person", registrationAuthority + "approval = true\n[label.a]\n[label.b]\nserver_keygen = 'on'\n[label.c]\nserver_keygen = 'on'\napproval = false\n", []string{
			"f:15:1: label.b.approval: holds requests for keys that are made here: such a key is kept in memory alone, and an approval that comes after a restart is for a key that is gone",
		}},
		{"labels without a door", minimal + "[label.a]\nsubject = 'x'\n", []string{"f:8:1: label.a: has no effect: est.listen is empty"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, err := config.Parse("f", []byte(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, lines(c.Warnings())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestProfileValues: the words and forms of keys that hold rules.
func TestProfileValues(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ key, value, want string }{
		{"names", "['none']", ""},
		{"names", "['subject', 'dns:*.example.com', 'ip:10.0.0.0/8', 'ip:::1', 'email:*@example.com', 'uri:urn:a:*']", ""},
		{"names", "[]", "must not be empty: use any or none"},
		{"names", "['any', 'dns:x']", `"any" stands alone or not at all`},
		{"names", "['dsn:x']", `did you mean dns:?`},
		{"names", "['subjects']", `did you mean subject?`},
		{"names", "['dns:']", `"dns:" is none of any, none`},
		{"names", "['ip:ten']", `"ip:ten": neither an address nor a block such as 192.0.2.0/24`},
		{"keys", "['rsa:3072', 'rsa:2048-4096', 'p-256', 'ed25519']", ""},
		{"keys", "[]", "must not be empty"},
		{"keys", "['p256']", "did you mean p-256?"},
		{"keys", "['rsa']", `"rsa" is none of rsa:BITS`},
		{"keys", "['rsa:512']", "rsa:LEAST-MOST (1024 to 8192)"},
		{"keys", "['rsa:4096-2048']", "rsa:LEAST-MOST (1024 to 8192)"},
		{"usages", "['clientAuth', 'OCSPSigning', '1.3.6.1.5.5.7.3.17']", ""},
		{"usages", "['clientAut']", "did you mean clientAuth?"},
		{"usages", "['1..2']", "and no OID"},
		{"subject_has", "['O=Example, Inc.', 'c = FR', '2.5.4.5=12']", ""},
		{"subject_has", "['Example']", `"Example" is not of the form "O=Example"`},
		{"subject_has", "['ORG=Example']", `"ORG" is none of CN, O, OU`},
		{"subject_has", "['O= ']", "is not of the form"},
		{"clients", "['printer-?', '*']", ""},
		{"clients", "['']", `"" is no pattern`},
		{"registrars", "['CN=RA', '" + strings.Repeat("ab", 32) + "']", ""},
		{"registrars", "['RA']", "neither a SHA-256 fingerprint"},
		{"csrattrs", "'none'", ""},
		{"csrattrs", "'MEEGCSqGSIb3DQEJBzASBgcqhkjOPQIBMQcGBSuBBAAiMBYGCSqGSIb3DQEJDjEJBgcrBgEBAQEWBggqhkjOPQQDAw=='", ""},
		{"csrattrs", "'MAA='", ""},
		{"csrattrs", "'never'", "must be auto, none or base64"},
		{"csrattrs", "'MAsGCSqGSIb3DQEJBwA='", "not of a CsrAttrs"},
		{"csrattrs", "'MAMCAQE='", "element 1 is neither an object identifier nor an attribute"},
		{"rate", "'10/h'", ""},
		{"rate", "'10'", "has no slash"},
		{"client_name", "'('", "is not a regular expression"},
		{"client_name", "'(a)(b)'", `ra.client_name: has 2 groups; the client's name is the first, so write the others as (?:...) (got "(a)(b)")`},
		{"client_cert_field", "'Client-Cert'", ""},
		{"client_cert_field", "'X-Client-Cert'", "must be Client-Cert or X-SSL-Client-Cert"},
		{"reenroll_grace", "'-1h'", "must be 0s to"},
		{"template_status", "401", ""},
		{"template_status", "200", "must be 400 to 599, or 0"},
		{"trusted_proxies", "['127.0.0.1', '::1', '10.0.0.0/24']", ""},
		{"trusted_proxies", "['proxy.example.com']", "neither an address nor a network"},
		{"trusted_proxies", "['0.0.0.0/0']", "would trust everybody"},
		{"trusted_proxies", "['fe80::1%eth0']", "neither an address nor a network"},
		{"remember_denials", "'0s'", ""},
	} {
		t.Run(tc.key+" "+tc.value, func(t *testing.T) {
			t.Parallel()
			_, err := config.Parse("f", []byte(registrationAuthority+tc.key+" = "+tc.value+"\n"))
			if got := fmt.Sprint(err); tc.want == "" && err != nil || tc.want != "" && !strings.Contains(got, "f:13:") || !strings.Contains(got, tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	got, err := config.Networks([]string{"192.0.2.1", "::ffff:192.0.2.2", "2001:db8::/32"})
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprint(got); text != "[192.0.2.1/32 192.0.2.2/32 2001:db8::/32]" {
		t.Errorf("got %s", text)
	}
}
