package config_test

import (
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"callsign/internal/config"
)

// TestReferenceIsComplete takes the reference with all its keys switched on: it must set every field that there is, to
// the default, under an explanation.
func TestReferenceIsComplete(t *testing.T) {
	t.Parallel()
	text := config.Reference()
	if _, err := config.Parse("reference.toml", []byte(text)); err == nil || !strings.Contains(err.Error(), "capf.certificate_file: is missing") {
		t.Errorf("the reference as it stands: %v", err)
	}
	key := regexp.MustCompile(`(?m)^#([a-z0-9_]+ = )`)
	on := key.ReplaceAllString(text, "$1")
	// An empty certificate file is as good as none, so the reference alone lacks what the default listener needs.
	on = strings.Replace(on, `listen = "127.0.0.1:3804"`, `listen = ""`, 1)
	on = strings.Replace(on, "[est]", "[est]\n", 1)
	_, err := config.Parse("reference.toml", []byte(on))
	if err == nil || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), "nothing to serve") {
		t.Errorf("unexpected problems: %v", err)
	}
	fields := 0
	typ := reflect.TypeFor[config.Config]()
	for f := range typ.Fields() {
		if f.IsExported() && f.Type.Kind() == reflect.Struct {
			fields += f.Type.NumField()
			if _, ok := f.Type.FieldByName("Profile"); ok {
				fields += reflect.TypeFor[config.Profile]().NumField() - 1
			}
		}
	}
	if got := len(key.FindAllString(text, -1)); got != fields {
		t.Errorf("%d keys in the reference, %d fields in the structs", got, fields)
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if key.MatchString(line) && !strings.HasPrefix(lines[i-1], "# ") {
			t.Errorf("line %d has no explanation: %s", i+1, line)
		}
		if len(line) > 130 {
			t.Errorf("line %d is too long: %s", i+1, line)
		}
	}
}

func TestDefaultIsComplete(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.CAPF.CertificateFile, c.CAPF.KeyFile, c.CA.CertificateFile, c.CA.KeyFile = "a", "b", "c", "d"
	if err := c.Check(); err != nil {
		t.Errorf("the defaults with the minimal keys are refused: %v", err)
	}
}

// profile returns a profile that differs from the default in every key. in makes the names of its files.
func profile(in func(string) string) config.Profile {
	return config.Profile{
		Authority: config.AuthorityLocal, Template: "T", ValidityDays: 30, Authentication: config.AuthenticateBoth, UsersFile: in("label.users"),
		ClientCAFile: in("label-ca.pem"), CALogin: true, ClientName: `^CN=(.+)$`, Clients: []string{"a*", "b?"},
		Registrars: []string{"CN=Registrar,O=Example", strings.Repeat("cd", 32)}, Subject: `[a-z]+`, SubjectIsName: true,
		SubjectHas: []string{"O=Example", "2.5.4.5=1"}, Names: []string{"subject", "dns:*.example.com", "ip:10.0.0.0/8", "email:*@example.com", "uri:urn:*"},
		Keys: []string{"rsa:3072", "rsa:4096-8192", "p-384"}, Usages: []string{"clientAuth", "1.2.3"}, ChangeSubject: true, Rate: "10/h",
		Approval: true, Link: config.LinkOptional, ReenrollGrace: 720 * time.Hour, ServerKeygen: config.KeygenEncrypted,
		CSRAttrs: "MAsGCSqGSIb3DQEJBw==", Lines: config.LinesSingle,
	}
}

func TestRenderRoundTrip(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	full := config.Default()
	full.Path, full.Dir = in("callsign.toml"), dir
	full.Store.Path, full.Trace.Dir = in("data/callsign.db"), in("logs")
	full.Log = config.Log{Level: "debug", Format: "json"}
	full.CAPF = config.CAPF{
		Listen: "[::1]:0", CertificateFile: in("capf.pem"), KeyFile: "/elsewhere/capf.key", Issuer: config.IssuerOnlineCA,
		ValidityDays: 30, AnswerWithin: 6500 * time.Millisecond, Subject: "{model}-{name}", AcceptOtherKey: true, WrongStrings: 3,
		KeyWait: 90 * time.Minute / 2, MaxConnections: 1, HandshakeTimeout: time.Minute, RAURL: "https://ra.example.com:8084/.well-known/est",
		RACAFile: in("ra.pem"), RACertificateFile: in("v.pem"), RAKeyFile: in("v.key"), RAResponderCAFile: in("r.pem"),
		LegacyListen: "[::1]:0", PlainListen: "10.0.0.1:3806", PlainBeyondLoopback: true, OfflineCAFile: in("offline.pem"), CARate: "10/s",
		SubjectFor: []string{"CSF*={name}"}, ProgressFor: []string{"SEP*", "model:88*"}, RetryLaterFor: []string{"BOT*"}, RetryLater: time.Hour,
		TrustFiles: []string{in("old.pem"), "/elsewhere/older.pem"}, MICFiles: []string{in("mic.pem")}, Distrusted: []string{strings.Repeat("0a", 32)},
		RAConnectTimeout: time.Second, RATimeout: 2 * time.Second, RequireSUDI: true, AllowSHA1Auth: true, MICBesideLSC: true, ExpiresDays: 3, MaxPerAddress: 7, RecordDir: in("sessions"),
	}
	full.Renewal = config.Renewal{
		Enabled: true, Percent: 50, DaysBefore: 30, SpreadDays: 2, PerHour: 10, Windows: []string{"Mo-Fr 22:00-05:00"}, Zone: "Europe/Paris",
		Fallback: config.FallbackMIC, RetryHours: 2,
	}
	full.CA = config.CA{CertificateFile: in("ca.pem"), KeyFile: in("ca.key"), ChainFile: in("chain.pem"), MinRSABits: 1024}
	full.ADCS = config.ADCS{
		URL: "https://ca/certsrv", Template: "Cisco \"RA\"", Username: `LAB\ciscora`, Auth: config.AuthKerberos,
		KeytabFile: in("keytab"), Krb5File: in("krb5.conf"), Realm: "LAB.EXAMPLE", KDCs: []string{"dc1", "dc2:88"}, SPN: "HTTP/ca", ChannelBinding: true,
		CAFile: in("iis.pem"), UserAgent: "CiscoRA 1.0", ClientCertificateFile: in("iis-client.pem"), ClientKeyFile: in("iis-client.key"), AgentCertificateFile: in("agent.pem"), AgentKeyFile: in("agent.key"),
		Vouch: config.VouchOnBehalf, SignRequests: config.SignPKCS7, Requester: `LAB\{name}$`, RequesterNames: "(SEP|ATA).*",
		ConnectTimeout: time.Second, LoginTimeout: 2 * time.Second, SubmitTimeout: 3 * time.Minute,
		FetchTimeout: 4 * time.Second, SkipTemplateCheck: true, ConnectTo: "127.0.0.1:443", TotalTimeout: time.Hour, LostAnswerIDs: 1, LostAnswerMissing: 2,
	}
	full.EST = config.EST{
		Listen: "127.0.0.1:0", CertificateFile: in("est.pem"), KeyFile: in("est.key"), UsersFile: in("users"),
		ClientCAFile: in("clients.pem"), CRLFiles: []string{in("clients.crl")}, Realm: "lab",
	}
	full.RA = config.RA{
		Profile: profile(in), CompatSequence: true, TrustedProxies: []string{"192.0.2.1", "2001:db8::/32"}, ClientCertField: "Client-Cert", RolloverFiles: []string{in("rollover.pem")},
		TemplateStatus: 503, UnavailableRetry: time.Minute, RememberDenials: 0, CMCTimeWindow: time.Hour, AnswerWithin: time.Second, RetryAfter: time.Second,
		PendingRetryAfter: 2 * time.Hour, Remember: 48 * time.Hour, VoucherCAFile: in("vca.pem"),
		Vouchers:       []string{strings.Repeat("ab", 32), `CN=CAPF "RA",O=x`},
		VoucherSubject: `.*SEP\d+`, ResponderCertificateFile: in("resp.pem"), ResponderKeyFile: in("resp.key"),
	}
	full.RA.CALogin = false
	asking := profile(in)
	asking.Authority, asking.Subject = config.AuthorityADCS, ""
	usual := config.Default().RA.Profile
	usual.UsersFile = "/elsewhere/users"
	full.Labels = []config.Label{
		{Name: `!$&'()*+,;=:@`, Profile: usual}, {Name: "a.b", Profile: asking}, {Name: "as-ra", Profile: full.RA.Profile}, {Name: "listen", Profile: asking},
	}
	small := config.Default()
	small.Path, small.Dir, small.Store.Path = in("callsign.toml"), dir, in("callsign.db")
	small.CAPF.CertificateFile, small.CAPF.KeyFile = in("capf.pem"), in("capf.key")
	small.CA.CertificateFile, small.CA.KeyFile = in("ca.pem"), in("ca.key")

	for name, c := range map[string]config.Config{"every key": full, "few keys": small} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := config.Render(c)
			got, err := config.Parse(c.Path, []byte(text))
			if err != nil {
				t.Fatalf("%v in:\n%s", err, text)
			}
			if diff := cmp.Diff(&c, got, ignorePrivate, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s\nin:\n%s", diff, text)
			}
			if strings.Contains(text, dir) {
				t.Errorf("paths are not relative:\n%s", text)
			}
		})
	}
	want := `# Callsign configuration. Paths are relative to the directory of this file.

# The database: phones, enrolments, certificates.
[store]
# Database file.
path = "callsign.db"

# The listener for phones, and how their certificates (LSCs) are issued.
[capf]
# Address that phones connect to.
listen = "127.0.0.1:3804"
# The CAPF certificate that phones see, with the certificates above it.
certificate_file = "capf.pem"
# Its private key.
key_file = "capf.key"
# Who signs: local (the CA of section [ca]), online-ca (the RA at ra_url; without ra_url the CA of section [adcs]) or offline (requests are exported, signed elsewhere and imported: callsign capf csr).
issuer = "local"

# When LSCs are renewed.
[renewal]
# Set Install/Upgrade for phones whose LSC is due for renewal.
enabled = false

# The local issuing CA: for capf.issuer = "local" and ra.authority = "local".
[ca]
# Certificate of the issuing CA: a root of its own, or better a subordinate CA of the enterprise.
certificate_file = "ca.pem"
# Its private key.
key_file = "ca.key"
`
	if diff := cmp.Diff(want, config.Render(small)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
