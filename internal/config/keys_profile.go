package config

import (
	"time"

	"callsign/internal/ra"
)

// profileKeys are the keys of [ra] and of each [label.NAME]: one table for the profile that of points to.
func profileKeys(of func(*Config) *Profile) []key {
	rows := []struct {
		key
		at func(*Profile) any
	}{
		{key{
			name: "authority", def: AuthorityADCS, check: oneOf(AuthorityADCS, AuthorityLocal),
			shown: func(c *Config) bool { return c.EST.Listen != "" },
			doc:   "Who signs: adcs (section [adcs]) or local (section [ca]).",
		}, func(p *Profile) any { return &p.Authority }},
		{key{
			name: "template", def: "", check: word, example: "WebServer",
			doc: "Name of the certificate template (not its display name). Empty: that of adcs.template.",
		}, func(p *Profile) any { return &p.Template }},
		{key{
			name: "validity_days", def: 0, check: between(0, 1825),
			doc: "How long a certificate of the local CA is valid, 1 to 1825 days. 0: as capf.validity_days says.",
		}, func(p *Profile) any { return &p.ValidityDays }},
		{key{
			name: "authentication", def: AuthenticateAny,
			check: oneOf(AuthenticateAny, AuthenticateCertificate, AuthenticatePassword, AuthenticateBoth),
			doc:   "What a client must show of itself: certificate, password, any (one of them) or both. A renewal always needs the certificate that is renewed.",
		}, func(p *Profile) any { return &p.Authentication }},
		{key{
			name: "users_file", def: "", path: secretIn, example: "printers.users",
			doc: "Users that may enrol with a password, in place of those of est.users_file. Empty: those.",
		}, func(p *Profile) any { return &p.UsersFile }},
		{key{
			name: "client_ca_file", def: "", path: inFile, example: "printers-ca.pem",
			doc: "Trust anchors for certificates of clients, in place of those of est.client_ca_file. Empty: those.",
		}, func(p *Profile) any { return &p.ClientCAFile }},
		{key{
			name: "ca_login", def: false,
			doc: "Check the password of a user who is not in users_file by logging in to AD CS with it. compat_sequence does so by itself.",
		}, func(p *Profile) any { return &p.CALogin }},
		{key{
			name: "client_name", def: "", check: clientName, example: `^([^.]+)\.example\.com$`,
			doc: "Regular expression that finds the client's name in its certificate: it is tried on the common name, each DNS name, URI and e-mail address, then on the whole subject. The first group, else all that it matched, is the name. Empty: the common name, or the subject where there is not exactly one.",
		}, func(p *Profile) any { return &p.ClientName }},
		{key{
			name: "clients", def: []string{}, check: globs, example: []string{"printer-*"},
			doc: "Names of clients that may enrol, with * for any characters and ? for one. Empty: every client that authenticates.",
		}, func(p *Profile) any { return &p.Clients }},
		{key{
			name: "registrars", def: []string{}, check: certificates, whole: true, example: []string{"CN=Registrar,O=Example"},
			doc: "Certificates that may send requests of others (extended key usage id-kp-cmcRA, issued by the CA): SHA-256 fingerprints in hex, or subject names as in \"CN=Registrar,O=Example\".",
		}, func(p *Profile) any { return &p.Registrars }},
		{key{
			name: "subject", def: "", check: pattern, example: `[a-z0-9-]+\.example\.com`,
			doc: "Regular expression that the whole common name of a request must match. Empty: any.",
		}, func(p *Profile) any { return &p.Subject }},
		{key{
			name: "subject_is_name", def: false,
			doc: "The common name of a request must be the client's name: that of client_name, or the user's.",
		}, func(p *Profile) any { return &p.SubjectIsName }},
		{key{
			name: "subject_has", def: []string{}, check: subjectHas, whole: true, example: []string{"O=Example", "C=FR"},
			doc: "What the subject of a request must hold beside its common name, as TYPE=VALUE: CN, O, OU, L, ST, C, DC, serialNumber, emailAddress or an object identifier. Attributes of a type that stands here may have no other value.",
		}, func(p *Profile) any { return &p.SubjectHas }},
		{key{
			name: "names", def: []string{"any"}, check: names, example: []string{"subject", "dns:*.example.com", "ip:10.0.0.0/8"},
			doc: "Alternative names that a request may ask for: any, none, subject (the common name), dns:PATTERN, ip:NETWORK, email:PATTERN or uri:PATTERN, with * for any characters and ? for one.",
		}, func(p *Profile) any { return &p.Names }},
		{key{
			name: "keys", def: ra.DefaultKeys(), check: keyKinds,
			doc: "Keys that are certified: rsa:BITS, rsa:LEAST-MOST, p-256, p-384, p-521 or ed25519.",
		}, func(p *Profile) any { return &p.Keys }},
		{key{
			name: "usages", def: []string{}, check: usages, example: []string{"clientAuth", "1.3.6.1.5.5.7.3.17"},
			doc: "Extended key usages that a request may ask for: clientAuth, serverAuth, ipsecEndSystem, emailProtection, codeSigning, timeStamping, OCSPSigning or an object identifier. Empty: any.",
		}, func(p *Profile) any { return &p.Usages }},
		{key{
			name: "change_subject", def: false,
			doc: "Let a renewal ask for other names than those of its certificate (attribute id-cmc-changeSubjectName of RFC 6402).",
		}, func(p *Profile) any { return &p.ChangeSubject }},
		{key{
			name: "rate", def: "", check: rate, example: "10/h",
			doc: "How many requests one client may send, such as 10/h. Empty: no limit.",
		}, func(p *Profile) any { return &p.Rate }},
		{key{
			name: "approval", def: false,
			doc: "Hold each request until an administrator approves it.",
		}, func(p *Profile) any { return &p.Approval }},
		{key{
			name: "link", def: LinkOff, check: oneOf(LinkOff, LinkOptional, LinkRequired),
			doc: "Whether a request must be linked to its TLS connection (RFC 7030 section 3.5): off, optional (a link that is there must be right) or required.",
		}, func(p *Profile) any { return &p.Link }},
		{key{
			name: "reenroll_grace", def: time.Duration(0), check: lasts(0, 10*365*24*time.Hour), example: 720 * time.Hour,
			doc: "How long after its end a certificate may still be renewed with itself.",
		}, func(p *Profile) any { return &p.ReenrollGrace }},
		{key{
			name: "server_keygen", def: KeygenOff, check: oneOf(KeygenOff, KeygenOn, KeygenEncrypted),
			doc: "Make keys for clients that cannot: off, on, or encrypted (only for clients that ask to have the key encrypted for their certificate).",
		}, func(p *Profile) any { return &p.ServerKeygen }},
		{key{
			name: "csrattrs", def: CSRAttrsAuto, check: attributes, example: "MAsGCSqGSIb3DQEJBw==",
			doc: "What clients are told to put into requests: auto (what these keys demand), none, or a CsrAttrs (RFC 8951) as DER in base64.",
		}, func(p *Profile) any { return &p.CSRAttrs }},
		{key{
			name: "lines", def: LinesAuto, check: oneOf(LinesAuto, LinesBroken, LinesSingle),
			doc: "Lines of base64 in answers: broken, single (one long line) or auto (what the client is known to read).",
		}, func(p *Profile) any { return &p.Lines }},
	}
	keys := make([]key, len(rows))
	for i, r := range rows {
		keys[i] = r.key
		keys[i].field = func(c *Config) any { return r.at(of(c)) }
	}
	return keys
}
