package config

import (
	"log/slog"
	"path/filepath"
	"time"
)

// The values of CAPF.Issuer.
const (
	IssuerLocal    = "local"     // CAPF signs with the CA of section [ca]
	IssuerOnlineCA = "online-ca" // certificates come from an RA (ra_url) or from AD CS
	IssuerOffline  = "offline"   // requests are exported, signed elsewhere and imported
)

// The values of Renewal.Fallback: how a phone authenticates whose LSC has expired.
const (
	FallbackNone   = "none" // not at all: an administrator decides
	FallbackMIC    = "mic"
	FallbackString = "string"
	FallbackNull   = "null"
)

// The values of RA.Authority.
const (
	AuthorityADCS  = "adcs"  // section [adcs]
	AuthorityLocal = "local" // section [ca]
)

// The values of Profile.Authentication: what an EST client must show of itself.
const (
	AuthenticateAny         = "any"         // a client certificate or a password
	AuthenticateCertificate = "certificate" // a client certificate
	AuthenticatePassword    = "password"
	AuthenticateBoth        = "both" // a client certificate and a password
)

// The values of Profile.Link.
const (
	LinkOff      = "off"
	LinkOptional = "optional"
	LinkRequired = "required"
)

// The values of Profile.ServerKeygen.
const (
	KeygenOff       = "off"
	KeygenOn        = "on"
	KeygenEncrypted = "encrypted" // only for clients that ask for encryption
)

// The values of Profile.Lines.
const (
	LinesAuto   = "auto"
	LinesBroken = "broken"
	LinesSingle = "single"
)

// The values of Profile.CSRAttrs that are no base64.
const (
	CSRAttrsAuto = "auto" // what the policy demands
	CSRAttrsNone = "none"
)

// The values of ADCS.Auth.
const (
	AuthNTLM     = "ntlm"
	AuthKerberos = "kerberos"
	AuthBasic    = "basic"
)

// The values of ADCS.Vouch: the form of a request for a key that only an enrollment agent vouches for.
const (
	VouchCMCSupplied = "cmc-supplied" // CMC with the null-signed PKCS#10 of Microsoft, subject supplied in the request
	VouchAgentOnly   = "agent-only"   // only the agent's signature around the request
	VouchOnBehalf    = "on-behalf"    // as cmc-supplied, on behalf of the account that ADCS.Requester names
)

// The values of ADCS.SignRequests: whether an enrollment agent signs requests that are signed already.
const (
	SignOff   = "off"
	SignCMC   = "cmc"   // a CMC request around them
	SignPKCS7 = "pkcs7" // a PKCS #7 message around them, on behalf of the account that ADCS.Requester names
)

// The values of Cluster.CSRProfile.
const (
	ProfileRelease15  = "15"
	ProfileRelease125 = "12.5"
	ProfileRelease11  = "11"
)

// The values of Cluster.SameName: when two trust certificates count as one.
const (
	SameSubject    = "subject"
	SameCommonName = "cn"
	SameKeyID      = "keyid"
)

// The values of Cluster.EKU: what a missing extended key usage does.
const (
	EKUWarn    = "warn"
	EKUEnforce = "enforce"
)

// The values of Cluster.Messages: the words of refused uploads.
const (
	MessagesCurrent = "current"
	MessagesLegacy  = "legacy"
)

// The values of Log.Format.
const (
	FormatAuto = "auto" // text on a terminal, else JSON
	FormatText = "text"
	FormatJSON = "json"
)

// Config is a whole configuration. The meaning, default and limits of each field are those of its key in Reference.
type Config struct {
	Path string // main file, as it was given to Load; empty for a Config made in memory
	Dir  string // directory that relative paths are relative to

	Store   Store
	Log     Log
	Trace   Trace
	CAPF    CAPF
	Renewal Renewal
	CA      CA
	ADCS    ADCS
	EST     EST
	RA      RA
	Cluster Cluster
	// Labels are the sections [label.NAME], in the order of their names.
	Labels []Label

	origins map[string]position // where keys and sections ("capf") were set
	unknown []Problem           // variables that look like ours
}

// Store is section [store]: the database.
type Store struct {
	Path string
}

// Cluster is section [cluster]: the certificates of call manager clusters.
type Cluster struct {
	Files      []string // empty: no cluster is managed here
	CSRProfile string
	SameName   string
	EKU        string
	Messages   string
}

// Log is section [log].
type Log struct {
	Level  string
	Format string
}

// SlogLevel returns Level for log/slog; an unknown level is info.
func (l Log) SlogLevel() slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return slog.LevelInfo
	}
	return level
}

// Trace is section [trace]: log files in the formats that existing analysers know.
type Trace struct {
	Dir string // empty: no such files
}

// CAPF is section [capf]: the listener for phones and how their certificates are issued.
type CAPF struct {
	Listen              string // empty: no listener
	LegacyListen        string // empty: none; may be Listen
	PlainListen         string // empty: none
	PlainBeyondLoopback bool
	CertificateFile     string
	KeyFile             string
	Issuer              string // IssuerLocal, IssuerOnlineCA or IssuerOffline
	OfflineCAFile       string
	CARate              string // form of enroll.ParseRate; empty: no limit
	ValidityDays        int
	AnswerWithin        time.Duration
	Subject             string
	SubjectFor          []string // PATTERN=TEMPLATE
	ProgressFor         []string // patterns
	RetryLaterFor       []string // patterns
	RetryLater          time.Duration
	TrustFiles          []string
	MICFiles            []string
	Distrusted          []string // SHA-256 in hex
	RequireSUDI         bool
	AllowSHA1Auth       bool
	MICBesideLSC        bool
	ExpiresDays         int
	MaxPerAddress       int
	RecordDir           string // empty: sessions are not recorded
	AcceptOtherKey      bool
	WrongStrings        int
	KeyWait             time.Duration
	MaxConnections      int
	HandshakeTimeout    time.Duration
	RAURL               string
	RAConnectTimeout    time.Duration
	RATimeout           time.Duration
	RACAFile            string
	RACertificateFile   string
	RAKeyFile           string
	RAResponderCAFile   string
}

// Renewal is section [renewal]: when LSCs are renewed.
type Renewal struct {
	Enabled    bool
	Percent    int
	DaysBefore int
	SpreadDays int
	PerHour    int
	Windows    []string // form of fleet.ParseWindow
	Zone       string
	Fallback   string // one of the Fallback constants
	RetryHours int
}

// Expires is ExpiresDays as a duration; 0: no limit.
func (c *CAPF) Expires() time.Duration { return time.Duration(c.ExpiresDays) * 24 * time.Hour }

// CA is section [ca]: the local issuing CA.
type CA struct {
	CertificateFile string
	KeyFile         string
	ChainFile       string // certificates above it
	MinRSABits      int    // of the keys that it certifies
}

// ADCS is section [adcs]: Microsoft AD CS web enrollment.
type ADCS struct {
	URL                   string
	Template              string
	Username              string
	PasswordFile          string
	Auth                  string // one of the Auth constants
	KeytabFile            string // in place of PasswordFile, with AuthKerberos
	Krb5File              string // a krb5.conf; empty for none
	Realm                 string
	KDCs                  []string // HOST or HOST:PORT; none: those of Krb5File or of DNS
	SPN                   string   // empty: HTTP/ and the host of URL
	ChannelBinding        bool
	CAFile                string // empty: the system's anchors
	UserAgent             string
	ClientCertificateFile string // shown to the web server; empty: none
	ClientKeyFile         string
	AgentCertificateFile  string
	AgentKeyFile          string
	Vouch                 string // one of the Vouch constants
	SignRequests          string // one of the Sign constants
	Requester             string // form of cmc.ParseAccountPattern; empty: nobody
	RequesterNames        string // regular expression of common names
	ConnectTimeout        time.Duration
	LoginTimeout          time.Duration
	SubmitTimeout         time.Duration
	FetchTimeout          time.Duration
	TotalTimeout          time.Duration // of one attempt, everything together
	SkipTemplateCheck     bool
	ConnectTo             string // HOST:PORT to dial instead of the URL's; empty for none
	LostAnswerIDs         int    // looked at in one search for a lost answer
	LostAnswerMissing     int    // unknown IDs in a row that end the search
}

// EST is section [est]: the listener for EST clients.
type EST struct {
	Listen          string // empty: no listener
	CertificateFile string
	KeyFile         string
	UsersFile       string
	ClientCAFile    string
	CRLFiles        []string
	Realm           string
	LabUser         string // the last three are for endpoints.json alone
	LabPasswordFile string
	LabCAFile       string
}

// Profile is how EST requests are served: section [ra] for requests without a label, and what a section [label.NAME]
// does not set itself.
type Profile struct {
	Authority      string // AuthorityADCS or AuthorityLocal
	Template       string // of AD CS; empty: adcs.template
	ValidityDays   int    // of certificates of the local CA; 0: capf.validity_days
	Authentication string // one of the Authenticate constants
	UsersFile      string // empty: est.users_file
	ClientCAFile   string // empty: est.client_ca_file
	CALogin        bool   // passwords of nobody in UsersFile are tried at the CA
	ClientName     string // regular expression; what it finds in a client certificate's names is the client's name
	Clients        []string
	Registrars     []string
	Subject        string   // regular expression; empty: any
	SubjectIsName  bool     // the common name must be the client's name
	SubjectHas     []string // "O=Example"
	Names          []string // what subjectAltName may hold
	Keys           []string
	Usages         []string // extended key usages; empty: any
	ChangeSubject  bool
	Rate           string // form of enroll.ParseRate; empty: no limit
	Approval       bool
	Link           string // one of the Link constants
	ReenrollGrace  time.Duration
	ServerKeygen   string // one of the Keygen constants
	CSRAttrs       string // CSRAttrsAuto, CSRAttrsNone, or DER in base64
	Lines          string // one of the Lines constants
}

// Label is a section [label.NAME]: a profile of its own for requests under /.well-known/est/NAME/.
type Label struct {
	Name string
	Profile
}

// RA is section [ra]: the registration authority behind the EST listener.
type RA struct {
	Profile
	CompatSequence           bool
	TrustedProxies           []string // addresses and CIDR blocks
	ClientCertField          string   // header that they set; empty: either
	RolloverFiles            []string
	TemplateStatus           int // 0: 401 with CompatSequence, else 503
	UnavailableRetry         time.Duration
	RememberDenials          time.Duration
	CMCTimeWindow            time.Duration
	AnswerWithin             time.Duration
	RetryAfter               time.Duration
	PendingRetryAfter        time.Duration
	Remember                 time.Duration
	VoucherCAFile            string
	Vouchers                 []string
	VoucherSubject           string
	ResponderCertificateFile string
	ResponderKeyFile         string
}

// Default returns the configuration of an empty file: every field has its default, paths are relative.
func Default() Config {
	var c Config
	for _, k := range table() {
		k.assign(&c, k.def)
	}
	return c
}

// ServesCAPF reports whether there is a listener for phones.
func (c *Config) ServesCAPF() bool {
	return c.CAPF.Listen != "" || c.CAPF.LegacyListen != "" || c.CAPF.PlainListen != ""
}

// UsesADCS reports whether anything asks AD CS: CAPF directly, or the RA for one of its profiles.
func (c *Config) UsesADCS() bool {
	return c.asksADCS() || c.authorityFor(AuthorityADCS) != ""
}

// asksADCS reports whether CAPF asks AD CS itself.
func (c *Config) asksADCS() bool {
	return c.ServesCAPF() && c.CAPF.Issuer == IssuerOnlineCA && c.CAPF.RAURL == ""
}

// authorityFor returns the first key by which EST requests go to an authority ("ra.authority"), empty when none do.
func (c *Config) authorityFor(name string) string {
	if c.EST.Listen == "" {
		return ""
	}
	for _, p := range c.profiles() {
		if p.Authority == name {
			return p.section + ".authority"
		}
	}
	return ""
}

// UsesLocalCA reports whether anything issues with the CA of section [ca].
func (c *Config) UsesLocalCA() bool {
	return c.ServesCAPF() && c.CAPF.Issuer == IssuerLocal || c.authorityFor(AuthorityLocal) != ""
}

// Origin tells where a key ("capf.listen") was set: "callsign.toml:14:3", "environment CALLSIGN_CAPF_LISTEN", or
// "default". A key that a label has from
// [ra] names it: "ra.subject (callsign.toml:14:3)".
func (c *Config) Origin(key string) string {
	if at, ok := c.origins[key]; ok {
		return at.String()
	}
	if _, name, ok := cutLabel(key); ok {
		return "ra." + name + " (" + c.Origin("ra."+name) + ")"
	}
	return "default"
}

// LogValue implements slog.LogValuer: the keys that differ from their defaults, by section; of labels, those that differ
// from [ra]. A configuration holds no secrets; a password that someone put into a URL, which Check refuses, is left out.
func (c Config) LogValue() slog.Value {
	var groups []slog.Attr
	for _, s := range c.sections() {
		var attrs []any
		for _, k := range s.keys {
			value := k.value(&c)
			if equal(value, k.otherwise(&c)) {
				continue
			}
			if text, ok := value.(string); ok {
				value = withoutPassword(text)
			}
			attrs = append(attrs, slog.Any(k.name, value))
		}
		if len(attrs) > 0 {
			groups = append(groups, slog.Group(s.name, attrs...))
		}
	}
	return slog.GroupValue(append([]slog.Attr{slog.String("file", c.Path)}, groups...)...)
}

// resolve makes the paths of c relative to c.Dir no more.
func (c *Config) resolve() {
	for _, k := range c.table() {
		if k.path == notPath {
			continue
		}
		switch p := k.field(c).(type) {
		case *string:
			if *p != "" {
				*p = c.absolute(*p)
			}
		case *[]string:
			for i, path := range *p {
				(*p)[i] = c.absolute(path)
			}
		}
	}
}

func (c *Config) absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(c.Dir, path)
}
