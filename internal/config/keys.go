package config

import "time"

// always shows a key in rendered files whatever its value.
func always(*Config) bool { return true }

func storeKeys() []key {
	return []key{
		{
			name: "path", def: "callsign.db", path: outPath, shown: always,
			field: func(c *Config) any { return &c.Store.Path },
			doc:   "Database file. It is made when it is not there.",
		},
	}
}

func logKeys() []key {
	return []key{
		{
			name: "level", def: "info", check: oneOf("debug", "info", "warn", "error"),
			field: func(c *Config) any { return &c.Log.Level },
			doc:   "Least level that is logged: debug, info, warn or error.",
		},
		{
			name: "format", def: FormatAuto, check: oneOf(FormatAuto, FormatText, FormatJSON),
			field: func(c *Config) any { return &c.Log.Format },
			doc:   "auto (text on a terminal, else JSON), text or json.",
		},
	}
}

func traceKeys() []key {
	return []key{
		{
			name: "dir", def: "", path: outPath, example: "logs",
			field: func(c *Config) any { return &c.Trace.Dir },
			doc:   "Directory for capf.txt, nginx.txt and error.log. Empty: none are written. Rotate them by renaming, as logrotate does: the next line makes a new file.",
		},
	}
}

func capfKeys() []key {
	return []key{
		{
			name: "listen", def: "127.0.0.1:3804", check: address, shown: always,
			field: func(c *Config) any { return &c.CAPF.Listen },
			doc:   "Address that phones connect to. Phones expect port 3804; port 0 takes a free one. Empty: no CAPF here.",
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
			name: "issuer", def: IssuerLocal, check: oneOf(IssuerLocal, IssuerOnlineCA), shown: always,
			field: func(c *Config) any { return &c.CAPF.Issuer },
			doc:   "Who signs: local (the CA of section [ca]) or online-ca (the RA at ra_url; without ra_url the CA of section [adcs]).",
		},
		{
			name: "validity_days", def: 365, check: between(1, 1825),
			field: func(c *Config) any { return &c.CAPF.ValidityDays },
			doc:   "How long a locally signed certificate is valid, 1 to 1825 days. An online CA decides by itself.",
		},
		{
			name: "answer_within", def: 7 * time.Second, check: lasts(100*time.Millisecond, time.Minute),
			field: func(c *Config) any { return &c.CAPF.AnswerWithin },
			doc:   "How long a phone waits for its certificate before the session ends; the operation goes on, and the phone's next call gets the certificate. Phones give up after 8 to 10 s.",
		},
		{
			name: "subject", def: "{name}", check: subjectTemplate,
			field: func(c *Config) any { return &c.CAPF.Subject },
			doc:   "Common name of a phone's certificate: {name} is the device name, {model} its model, as in {model}-{name}.",
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
			name: "key_wait", def: 120 * time.Second, check: lasts(time.Second, time.Hour),
			field: func(c *Config) any { return &c.CAPF.KeyWait },
			doc:   "How long a phone may take to make its key. Old phones need more than a minute for RSA 4096.",
		},
		{
			name: "max_connections", def: 20000, check: between(1, 1_000_000),
			field: func(c *Config) any { return &c.CAPF.MaxConnections },
			doc:   "Connections open at once, 1 to 1000000. Further ones wait in the listen queue of the operating system.",
		},
		{
			name: "handshake_timeout", def: 10 * time.Second, check: lasts(100*time.Millisecond, 10*time.Minute),
			field: func(c *Config) any { return &c.CAPF.HandshakeTimeout },
			doc:   "How long a connection may take for its TLS handshake.",
		},
		{
			name: "ra_url", def: "", check: httpsURL, example: "https://ra.example.com:8084/.well-known/est",
			field: func(c *Config) any { return &c.CAPF.RAURL },
			doc:   "EST address of the registration authority, for issuer = \"online-ca\". Empty: CAPF asks the CA of section [adcs] itself.",
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

func caKeys() []key {
	return []key{
		{
			name: "certificate_file", def: "", path: inFile, example: "ca.pem",
			field: func(c *Config) any { return &c.CA.CertificateFile },
			doc:   "Certificate of the issuing CA: a root of its own, or better a subordinate CA of the enterprise.",
		},
		{
			name: "key_file", def: "", path: secretIn, example: "ca.key",
			field: func(c *Config) any { return &c.CA.KeyFile },
			doc:   "Its private key.",
		},
		{
			name: "chain_file", def: "", path: inFile, example: "ca-chain.pem",
			field: func(c *Config) any { return &c.CA.ChainFile },
			doc:   "Certificates above it, up to the root. Empty for a root.",
		},
	}
}
