package config

import "time"

func capfKeys() []key {
	return []key{
		{
			name: "listen", restart: true, def: "127.0.0.1:3804", check: address, shown: always,
			field: func(c *Config) any { return &c.CAPF.Listen },
			doc:   "Address that phones connect to. Phones expect port 3804; port 0 takes a free one. Empty: no CAPF here.",
		},
		{
			name: "legacy_listen", restart: true, def: "", check: address, example: "127.0.0.1:3805",
			field: func(c *Config) any { return &c.CAPF.LegacyListen },
			doc:   "Address for phones of the 7900 series, which know TLS 1.0 only. The same address as listen lets them in there. Empty: TLS 1.2 is the least everywhere.",
		},
		{
			name: "plain_listen", restart: true, def: "", check: address, example: "127.0.0.1:3806",
			field: func(c *Config) any { return &c.CAPF.PlainListen },
			doc:   "Address for a TLS terminator on this machine, without TLS. It must be a loopback address unless plain_beyond_loopback is set. Empty: none.",
		},
		{
			name: "plain_beyond_loopback", restart: true, def: false,
			field: func(c *Config) any { return &c.CAPF.PlainBeyondLoopback },
			doc:   "Let plain_listen be an address that others reach: what passes there, authentication strings included, can be read and altered on its way.",
		},
		{
			name: "certificate_file", def: "", path: inFile, example: "capf.pem",
			field: func(c *Config) any { return &c.CAPF.CertificateFile },
			doc:   "The CAPF certificate that phones see, with the certificates above it. Phones know it from their CTL or ITL file.",
		},
		{
			name: "key_file", def: "", path: secretIn, example: "capf.key",
			field: func(c *Config) any { return &c.CAPF.KeyFile },
			doc:   "Its private key.",
		},
		{
			name: "issuer", restart: true, def: IssuerLocal, check: oneOf(IssuerLocal, IssuerOnlineCA, IssuerOffline), shown: always,
			field: func(c *Config) any { return &c.CAPF.Issuer },
			doc:   "Who signs: local (the CA of section [ca]), online-ca (the RA at ra_url; without ra_url the CA of section [adcs]) or offline (requests are exported, signed elsewhere and imported: callsign capf csr).",
		},
		{
			name: "offline_ca_file", def: "", path: inFile, example: "offline-ca.pem",
			field: func(c *Config) any { return &c.CAPF.OfflineCAFile },
			doc:   "Certificates of the offline CA, for issuer = \"offline\": the issuing CA first, then those above it. What it signs is checked against them.",
		},
		{
			name: "ca_rate", restart: true, def: "", check: rate, example: "10/s",
			field: func(c *Config) any { return &c.CAPF.CARate },
			doc:   "How fast requests of phones go to the CA at most, such as 10/s, 30/m or 600/h; phones that call meanwhile wait, or get their certificate at their next call. It bounds what an RA in this process asks of AD CS, too. Empty: no limit.",
		},
		{
			name: "validity_days", def: 365, check: between(1, 1825),
			field: func(c *Config) any { return &c.CAPF.ValidityDays },
			doc:   "How long a locally signed certificate is valid, 1 to 1825 days. An online CA decides by itself.",
		},
		{
			name: "answer_within", restart: true, def: 7 * time.Second, check: lasts(100*time.Millisecond, time.Minute),
			field: func(c *Config) any { return &c.CAPF.AnswerWithin },
			doc:   "How long a phone waits for its certificate before the session ends; the operation goes on, and the phone's next call gets the certificate. Phones give up after 8 to 10 s.",
		},
		{
			name: "subject", def: "{name}", check: subjectTemplate,
			field: func(c *Config) any { return &c.CAPF.Subject },
			doc:   "Common name of a phone's certificate: {name} is the device name, {model} its model, as in {model}-{name}.",
		},
		{
			name: "subject_for", def: []string{}, check: subjectsFor, whole: true, example: []string{"CSF*={name}", "model:88*={model}-{name}"},
			field: func(c *Config) any { return &c.CAPF.SubjectFor },
			doc:   "Other common names for groups of devices: PATTERN=TEMPLATE, the first that fits counts. A pattern is one of device names (CSF*) or, after model:, of models.",
		},
		{
			name: "progress_for", def: []string{}, check: groups, example: []string{"SEP*"},
			field: func(c *Config) any { return &c.CAPF.ProgressFor },
			doc:   "Devices that are told \"in progress\" while the CA is asked, as patterns of subject_for, and may wait longer than answer_within. Soft phones and test clients end the session on that message.",
		},
		{
			name: "retry_later_for", def: []string{}, check: groups, example: []string{"model:88*"},
			field: func(c *Config) any { return &c.CAPF.RetryLaterFor },
			doc:   "Devices that are told to call again later, as patterns of subject_for, when the CA does not answer in time. Nobody has published the bytes of that message: try it with one phone.",
		},
		{
			name: "retry_later", def: 60 * time.Second, check: lasts(time.Second, 24*time.Hour),
			field: func(c *Config) any { return &c.CAPF.RetryLater },
			doc:   "After which time devices of retry_later_for are to call again.",
		},
		{
			name: "trust_files", def: []string{}, path: inFile, example: []string{"old-capf.pem"},
			field: func(c *Config) any { return &c.CAPF.TrustFiles },
			doc:   "CAs whose LSCs authenticate a phone (CAPF-trust) besides the one that signs now and those whose LSCs are on record: former CAPF certificates, CAs of another cluster.",
		},
		{
			name: "mic_files", def: []string{}, path: inFile, example: []string{"cisco-manufacturing.pem"},
			field: func(c *Config) any { return &c.CAPF.MICFiles },
			doc:   "Manufacturing CAs whose certificates (MICs) authenticate a phone: roots and the CAs between. SHA-1 signatures are taken below them and nowhere else.",
		},
		{
			name: "distrusted", def: []string{}, check: fingerprints,
			field: func(c *Config) any { return &c.CAPF.Distrusted },
			doc:   "SHA-256 fingerprints of certificates that do not authenticate a phone any more: CAs, with the CAs below them, or single ones of phones. It goes before trust_files, mic_files and what is on record.",
		},
		{
			name: "require_sudi", restart: true, def: false,
			field: func(c *Config) any { return &c.CAPF.RequireSUDI },
			doc:   "Refuse phones that authenticate by certificate without SUDI data, the proof that is bound to the session. Old phones have none.",
		},
		{
			name: "allow_sha1_auth", def: false,
			field: func(c *Config) any { return &c.CAPF.AllowSHA1Auth },
			doc:   "Take phones that sign with SHA-1 alone when they authenticate by certificate, as old ones perhaps do.",
		},
		{
			name: "mic_beside_lsc", def: false,
			field: func(c *Config) any { return &c.CAPF.MICBesideLSC },
			doc:   "Take the MIC of a phone that is to show its LSC, although an LSC is on record: phones that lost theirs help themselves, and so does who has the MIC's key.",
		},
		{
			name: "accept_other_key", def: false,
			field: func(c *Config) any { return &c.CAPF.AcceptOtherKey },
			doc:   "Take a key of another type or size than was asked for: some clients make RSA 2048 whatever they are asked.",
		},
		{
			name: "wrong_strings", def: 5, check: between(1, 1000),
			field: func(c *Config) any { return &c.CAPF.WrongStrings },
			doc:   "Wrong authentication strings after which a phone is locked, 1 to 1000.",
		},
		{
			name: "expires_days", def: 10, check: between(0, 3650),
			field: func(c *Config) any { return &c.CAPF.ExpiresDays },
			doc:   "Days in which a phone must have called after an operation was set (Operation Completes By), 0 to 3650. 0: no limit. Renewals have none.",
		},
		{
			name: "key_wait", restart: true, def: 120 * time.Second, check: lasts(time.Second, time.Hour),
			field: func(c *Config) any { return &c.CAPF.KeyWait },
			doc:   "How long a phone may take to make its key. Old phones need more than a minute for RSA 4096.",
		},
		{
			name: "max_connections", restart: true, def: 20000, check: between(1, 1_000_000),
			field: func(c *Config) any { return &c.CAPF.MaxConnections },
			doc:   "Connections open at once, 1 to 1000000. Further ones wait in the listen queue of the operating system.",
		},
		{
			name: "max_per_address", restart: true, def: 0, check: between(0, 1_000_000),
			field: func(c *Config) any { return &c.CAPF.MaxPerAddress },
			doc:   "Connections open at once from one address, further ones are closed. 0: no limit, because a site with thousands of phones can stand behind one address.",
		},
		{
			name: "handshake_timeout", restart: true, def: 10 * time.Second, check: lasts(100*time.Millisecond, 10*time.Minute),
			field: func(c *Config) any { return &c.CAPF.HandshakeTimeout },
			doc:   "How long a connection may take for its TLS handshake.",
		},
		{
			name: "record_dir", restart: true, def: "", path: outPath, example: "sessions",
			field: func(c *Config) any { return &c.CAPF.RecordDir },
			doc:   "Directory for a file with the messages of each session, without authentication strings, to find out what a phone does. Empty: none are written. They are not removed.",
		},
		{
			name: "ra_url", restart: true, def: "", check: httpsURL, example: "https://ra.example.com:8084/.well-known/est",
			field: func(c *Config) any { return &c.CAPF.RAURL },
			doc:   "EST address of the registration authority, for issuer = \"online-ca\". Empty: CAPF asks the CA of section [adcs] itself.",
		},
		{
			name: "ra_connect_timeout", def: 5 * time.Second, check: lasts(100*time.Millisecond, time.Minute),
			field: func(c *Config) any { return &c.CAPF.RAConnectTimeout },
			doc:   "How long connecting to the RA and the TLS handshake may take.",
		},
		{
			name: "ra_timeout", def: 10 * time.Second, check: lasts(100*time.Millisecond, 10*time.Minute),
			field: func(c *Config) any { return &c.CAPF.RATimeout },
			doc:   "How long one request to the RA may take. The RA answers within its ra.answer_within.",
		},
		{
			name: "ra_ca_file", def: "", path: inFile, example: "ra-ca.pem",
			field: func(c *Config) any { return &c.CAPF.RACAFile },
			doc:   "Roots for the RA's TLS certificate, or a self-signed certificate itself; CAs between need not be sent when they stand here, too.",
		},
		{
			name: "ra_certificate_file", def: "", path: inFile, example: "capf-ra.pem",
			field: func(c *Config) any { return &c.CAPF.RACertificateFile },
			doc:   "Certificate with which CAPF vouches for phones towards the RA (extended key usage id-kp-cmcRA). The RA lists it in ra.vouchers.",
		},
		{
			name: "ra_key_file", def: "", path: secretIn, example: "capf-ra.key",
			field: func(c *Config) any { return &c.CAPF.RAKeyFile },
			doc:   "Its private key.",
		},
		{
			name: "ra_responder_ca_file", def: "", path: inFile, example: "ra-ca.pem",
			field: func(c *Config) any { return &c.CAPF.RAResponderCAFile },
			doc:   "Trust anchors for the certificate with which the RA signs its CMC answers. Empty: those of ra_ca_file.",
		},
	}
}
