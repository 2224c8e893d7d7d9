package config

// always shows a key in rendered files whatever its value.
func always(*Config) bool { return true }

func storeKeys() []key {
	return []key{
		{
			name: "path", restart: true, def: "callsign.db", path: outPath, shown: always,
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
			name: "format", restart: true, def: FormatAuto, check: oneOf(FormatAuto, FormatText, FormatJSON),
			field: func(c *Config) any { return &c.Log.Format },
			doc:   "auto (text on a terminal, else JSON), text or json.",
		},
	}
}

func traceKeys() []key {
	return []key{
		{
			name: "dir", restart: true, def: "", path: outPath, example: "logs",
			field: func(c *Config) any { return &c.Trace.Dir },
			doc:   "Directory for capf.txt, nginx.txt and error.log. Empty: none are written. Rotate them by renaming, as logrotate does: the next line makes a new file.",
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
		{
			name: "min_rsa_bits", def: 2048, check: between(512, 4096),
			field: func(c *Config) any { return &c.CA.MinRSABits },
			doc:   "Smallest RSA key of a phone or device that is certified, 512 to 4096 bits. Old phones make 1024 bits in bearable time; keys below 2048 are weak.",
		},
	}
}
