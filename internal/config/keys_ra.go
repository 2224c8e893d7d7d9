package config

import "time"

func adcsKeys() []key {
	usesADCS := (*Config).UsesADCS
	return []key{
		{
			name: "url", def: "", check: httpsURL, example: "https://ca.example.com/certsrv",
			field: func(c *Config) any { return &c.ADCS.URL },
			doc:   "Address of the web enrollment pages.",
		},
		{
			name: "template", def: "", check: word, example: "CiscoRA",
			field: func(c *Config) any { return &c.ADCS.Template },
			doc:   "Name of the certificate template (not its display name).",
		},
		{
			name: "username", def: "", example: `EXAMPLE\ciscora`,
			field: func(c *Config) any { return &c.ADCS.Username },
			doc:   `Account with the right to enrol: DOMAIN\user or user@domain; with Kerberos user@REALM.`,
		},
		{
			name: "password_file", def: "", path: secretIn, example: "adcs.password",
			field: func(c *Config) any { return &c.ADCS.PasswordFile },
			doc:   "File with its password as the only line.",
		},
		{
			name: "auth", def: AuthNTLM, check: oneOf(AuthNTLM, AuthKerberos, AuthBasic), shown: usesADCS,
			field: func(c *Config) any { return &c.ADCS.Auth },
			doc:   "How to log in: ntlm, kerberos (scheme Negotiate, with a ticket of a domain controller) or basic.",
		},
		{
			name: "keytab_file", def: "", path: secretIn, example: "ciscora.keytab",
			field: func(c *Config) any { return &c.ADCS.KeytabFile },
			doc:   "Keytab of the account, in place of password_file, with auth = \"kerberos\".",
		},
		{
			name: "kerberos_realm", def: "", check: realm, example: "EXAMPLE.COM",
			field: func(c *Config) any { return &c.ADCS.Realm },
			doc:   "Kerberos realm of the account: the DNS name of its Active Directory domain in capital letters. Empty: that of user@REALM in username, or default_realm of krb5_file.",
		},
		{
			name: "kdcs", def: []string{}, check: hosts, example: []string{"dc1.example.com", "dc2.example.com"},
			field: func(c *Config) any { return &c.ADCS.KDCs },
			doc:   "Domain controllers to ask for tickets, HOST or HOST:PORT, in this order. Empty: those of krb5_file, or those that DNS names for the realm.",
		},
		{
			name: "krb5_file", def: "", path: inFile, example: "/etc/krb5.conf",
			field: func(c *Config) any { return &c.ADCS.Krb5File },
			doc:   "A krb5.conf whose realms, domain controllers and encryption types count. Empty: none is read.",
		},
		{
			name: "spn", def: "", check: servicePrincipal, example: "HTTP/ca-web.example.com",
			field: func(c *Config) any { return &c.ADCS.SPN },
			doc:   "Service principal name of the web server, with Kerberos and NTLM. Empty: HTTP/ and the host of url.",
		},
		{
			name: "channel_binding", def: true,
			field: func(c *Config) any { return &c.ADCS.ChannelBinding },
			doc:   "Tie each login by NTLM or Kerberos to its TLS connection, as Extended Protection of IIS demands. Switch it off only where a proxy ends TLS before the web server.",
		},
		{
			name: "ca_file", def: "", path: inFile, example: "iis-ca.pem",
			field: func(c *Config) any { return &c.ADCS.CAFile },
			doc:   "Roots for the web server's certificate, or a self-signed certificate itself; CAs between need not be sent when they stand here, too. Empty: the roots of the operating system.",
		},
		{
			name: "user_agent", def: "", check: header,
			field: func(c *Config) any { return &c.ADCS.UserAgent },
			doc:   "User-Agent of our requests. Empty: our own, or \"CiscoRA 1.0\" with ra.compat_sequence.",
		},
		{
			name: "client_certificate_file", def: "", path: inFile, example: "iis-client.pem",
			field: func(c *Config) any { return &c.ADCS.ClientCertificateFile },
			doc:   "Certificate to show to a web server that demands one, besides the login of username. With TLS 1.3 the server must ask for it when the connection begins (netsh http: clientcertnegotiation=enable). Not tried on a real server.",
		},
		{
			name: "client_key_file", def: "", path: secretIn, example: "iis-client.key",
			field: func(c *Config) any { return &c.ADCS.ClientKeyFile },
			doc:   "Its private key.",
		},
		{
			name: "agent_certificate_file", def: "", path: inFile, example: "agent.pem",
			field: func(c *Config) any { return &c.ADCS.AgentCertificateFile },
			doc:   "Enrollment agent certificate that vouches for phones, which cannot sign a request themselves.",
		},
		{
			name: "agent_key_file", def: "", path: secretIn, example: "agent.key",
			field: func(c *Config) any { return &c.ADCS.AgentKeyFile },
			doc:   "Its private key.",
		},
		{
			name: "vouch", def: VouchCMCSupplied, check: oneOf(VouchCMCSupplied, VouchAgentOnly, VouchOnBehalf),
			field: func(c *Config) any { return &c.ADCS.Vouch },
			doc:   "Form of a vouched request: cmc-supplied, agent-only, or on-behalf (in the name of an account of Active Directory, see requester). Microsoft documents all three; none was tried on a real server.",
		},
		{
			name: "sign_requests", def: SignOff, check: oneOf(SignOff, SignCMC, SignPKCS7),
			field: func(c *Config) any { return &c.ADCS.SignRequests },
			doc:   "Whether the enrollment agent signs requests that devices have signed themselves, for a template that demands an authorized signature: off, cmc, or pkcs7 (in the name of an account, see requester). Not tried on a real server.",
		},
		{
			name: "requester", def: "", check: account, example: `EXAMPLE\{name}$`,
			field: func(c *Config) any { return &c.ADCS.Requester },
			doc:   `The account that a request is for, with vouch = "on-behalf" or sign_requests = "pkcs7": DOMAIN\{name}$ (a computer) or DOMAIN\{name} (a user), in which {name} is the common name of the request. Each device needs that account, and the template builds the subject from it.`,
		},
		{
			name: "requester_names", def: "SEP[0-9A-Fa-f]{12}", check: pattern,
			field: func(c *Config) any { return &c.ADCS.RequesterNames },
			doc:   "Regular expression that the whole common name must match for that. Who may choose a name that it matches gets a certificate of the account: never let it match people or servers.",
		},
		{
			name: "connect_timeout", def: 10 * time.Second, check: lasts(100*time.Millisecond, 10*time.Minute),
			field: func(c *Config) any { return &c.ADCS.ConnectTimeout },
			doc:   "How long connecting and the TLS handshake may take.",
		},
		{
			name: "login_timeout", def: 10 * time.Second, check: lasts(100*time.Millisecond, 10*time.Minute),
			field: func(c *Config) any { return &c.ADCS.LoginTimeout },
			doc:   "How long each request of the login may take.",
		},
		{
			name: "submit_timeout", def: 60 * time.Second, check: lasts(100*time.Millisecond, time.Hour),
			field: func(c *Config) any { return &c.ADCS.SubmitTimeout },
			doc:   "How long the CA may take to answer a request. Nobody waits that long: clients are told to come back.",
		},
		{
			name: "fetch_timeout", def: 10 * time.Second, check: lasts(100*time.Millisecond, 10*time.Minute),
			field: func(c *Config) any { return &c.ADCS.FetchTimeout },
			doc:   "How long fetching a certificate or the CA's chain may take.",
		},
		{
			name: "total_timeout", def: 5 * time.Minute, check: lasts(time.Second, time.Hour),
			field: func(c *Config) any { return &c.ADCS.TotalTimeout },
			doc:   "How long one attempt at the CA may take, everything together: login, request and certificate.",
		},
		{
			name: "skip_template_check", def: false,
			field: func(c *Config) any { return &c.ADCS.SkipTemplateCheck },
			doc:   "Do not look for the template in the list of certrqxt.asp before a request.",
		},
		{
			name: "connect_to", def: "", check: address, example: "10.0.0.5:443",
			field: func(c *Config) any { return &c.ADCS.ConnectTo },
			doc:   "HOST:PORT to connect to instead of the one in url, where DNS does not know the name; the certificate must still fit url.",
		},
		{
			name: "lost_answer_ids", def: 64, check: between(1, 4096),
			field: func(c *Config) any { return &c.ADCS.LostAnswerIDs },
			doc:   "Request IDs that are looked at, 1 to 4096, when the answer to a request was lost and the CA may have taken it all the same. A CA with much other traffic needs more.",
		},
		{
			name: "lost_answer_missing", def: 8, check: between(1, 4096),
			field: func(c *Config) any { return &c.ADCS.LostAnswerMissing },
			doc:   "Request IDs in a row that the CA does not know, 1 to 4096, after which that search ends.",
		},
	}
}

func estKeys() []key {
	return []key{
		{
			name: "listen", restart: true, def: "", check: address, example: "127.0.0.1:8084",
			field: func(c *Config) any { return &c.EST.Listen },
			doc:   "Address that EST clients connect to, usually port 8084; port 0 takes a free one. Empty: no EST here.",
		},
		{
			name: "certificate_file", def: "", path: inFile, example: "est.pem",
			field: func(c *Config) any { return &c.EST.CertificateFile },
			doc:   "Certificate of the EST server, with the certificates above it.",
		},
		{
			name: "key_file", def: "", path: secretIn, example: "est.key",
			field: func(c *Config) any { return &c.EST.KeyFile },
			doc:   "Its private key.",
		},
		{
			name: "users_file", def: "", path: secretIn, example: "est.users",
			field: func(c *Config) any { return &c.EST.UsersFile },
			doc:   "Users that may enrol with HTTP Basic authentication, one a line: NAME:HASH.",
		},
		{
			name: "client_ca_file", def: "", path: inFile, example: "clients-ca.pem",
			field: func(c *Config) any { return &c.EST.ClientCAFile },
			doc:   "Trust anchors for client certificates that may enrol.",
		},
		{
			name: "crl_files", def: []string{}, path: inFile, example: "clients.crl",
			field: func(c *Config) any { return &c.EST.CRLFiles },
			doc:   "CRLs, in PEM or DER, of the CAs of client certificates and vouchers: who is listed is refused. A changed file is read again by itself.",
		},
		{
			name: "realm", def: "callsign", check: header,
			field: func(c *Config) any { return &c.EST.Realm },
			doc:   "Realm named to clients without credentials.",
		},
		{
			name: "lab_user", restart: true, def: "", example: "device",
			field: func(c *Config) any { return &c.EST.LabUser },
			doc:   "User that endpoints.json names to scripts; it logs in only if it stands in users_file. Leave empty in production.",
		},
		{
			name: "lab_password_file", restart: true, def: "", path: secretIn, example: "est-password.txt",
			field: func(c *Config) any { return &c.EST.LabPasswordFile },
			doc:   "File with that user's password, named in endpoints.json; the server does not read it.",
		},
		{
			name: "lab_ca_file", restart: true, def: "", path: inFile, example: "ca.pem",
			field: func(c *Config) any { return &c.EST.LabCAFile },
			doc:   "Trust anchor of this listener's certificate, named in endpoints.json.",
		},
	}
}

func raKeys() []key {
	return append(profileKeys(func(c *Config) *Profile { return &c.RA.Profile }), []key{
		{
			name: "compat_sequence", def: false,
			field: func(c *Config) any { return &c.RA.CompatSequence },
			doc:   "Send the seven requests of the Cisco RA for each enrolment, and let the CA check the client's user and password.",
		},
		{
			name: "answer_within", def: 6 * time.Second, check: lasts(100*time.Millisecond, time.Minute),
			field: func(c *Config) any { return &c.RA.AnswerWithin },
			doc:   "How long an EST client waits before it is told to come back. Below capf.answer_within, and below the 10 s of other clients.",
		},
		{
			name: "retry_after", def: 5 * time.Second, check: lasts(time.Second, time.Hour),
			field: func(c *Config) any { return &c.RA.RetryAfter },
			doc:   "When to come back, while the CA has not answered.",
		},
		{
			name: "pending_retry_after", restart: true, def: time.Hour, check: lasts(time.Second, 30*24*time.Hour),
			field: func(c *Config) any { return &c.RA.PendingRetryAfter },
			doc:   "When to come back, while a person at the CA has to approve.",
		},
		{
			name: "remember", def: 168 * time.Hour, check: lasts(time.Minute, 10*365*24*time.Hour),
			field: func(c *Config) any { return &c.RA.Remember },
			doc:   "How long an answer that nobody fetched is kept for the client's next try.",
		},
		{
			name: "voucher_ca_file", def: "", path: inFile, example: "vouchers-ca.pem",
			field: func(c *Config) any { return &c.RA.VoucherCAFile },
			doc:   "Trust anchors for the certificates that may vouch for a device (extended key usage id-kp-cmcRA): better one of our own than the enterprise root.",
		},
		{
			name: "vouchers", def: []string{}, check: certificates, whole: true, example: []string{"CN=CAPF RA"},
			field: func(c *Config) any { return &c.RA.Vouchers },
			doc:   "Who may vouch: SHA-256 fingerprints in hex, or subject names as in \"CN=CAPF RA,O=Example\".",
		},
		{
			name: "voucher_subject", def: `([0-9A-Za-z ._-]+-)?(SEP[0-9A-F]{12}|(CSF|TCT|BOT|TAB|CTI)[0-9A-Z._-]{1,47})`, check: pattern,
			field: func(c *Config) any { return &c.RA.VoucherSubject },
			doc:   "Regular expression that the whole common name in a vouched request must match: by default a phone's name, alone or after a model and a hyphen.",
		},
		{
			name: "responder_certificate_file", def: "", path: inFile, example: "responder.pem",
			field: func(c *Config) any { return &c.RA.ResponderCertificateFile },
			doc:   "Certificate with which the RA signs its CMC answers.",
		},
		{
			name: "responder_key_file", def: "", path: secretIn, example: "responder.key",
			field: func(c *Config) any { return &c.RA.ResponderKeyFile },
			doc:   "Its private key.",
		},
		{
			name: "trusted_proxies", def: []string{}, check: networks, example: []string{"127.0.0.1", "10.0.0.0/24"},
			field: func(c *Config) any { return &c.RA.TrustedProxies },
			doc:   "Addresses and networks of TLS terminators whose word about a client's certificate is taken (header Client-Cert of RFC 9440, or X-SSL-Client-Cert of nginx). The header of anybody else is ignored.",
		},
		{
			name: "client_cert_field", def: "", check: oneOf("Client-Cert", "X-SSL-Client-Cert"), example: "Client-Cert",
			field: func(c *Config) any { return &c.RA.ClientCertField },
			doc:   "The header that the proxies set: Client-Cert or X-SSL-Client-Cert. Name it: of a proxy that sets the one and passes the other on, every client could be anybody. Empty: either is taken.",
		},
		{
			name: "rollover_files", def: []string{}, path: inFile, example: []string{"ca-new-with-old.pem"},
			field: func(c *Config) any { return &c.RA.RolloverFiles },
			doc:   "Certificates that join a CA's former key with its new one (RFC 4210 section 4.4), sent with the CA's certificates to clients that know the former one only.",
		},
		{
			name: "template_status", def: 0, check: status,
			field: func(c *Config) any { return &c.RA.TemplateStatus },
			doc:   "HTTP status for a template that the CA does not offer, 400 to 599. 0: 401 with compat_sequence, as the Cisco RA answers, else 503.",
		},
		{
			name: "unavailable_retry_after", def: 30 * time.Second, check: lasts(time.Second, 24*time.Hour),
			field: func(c *Config) any { return &c.RA.UnavailableRetry },
			doc:   "When to come back, while the CA cannot be reached or a template is missing.",
		},
		{
			name: "remember_denials", def: 5 * time.Minute, check: lasts(0, 365*24*time.Hour),
			field: func(c *Config) any { return &c.RA.RememberDenials },
			doc:   "How long the CA's refusal is repeated to the same request without asking the CA again. 0s: not at all.",
		},
		{
			name: "cmc_time_window", def: 5 * time.Minute, check: lasts(0, 24*time.Hour),
			field: func(c *Config) any { return &c.RA.CMCTimeWindow },
			doc:   "How far the signing time of a full CMC request may be from our clock. 0s: it is not compared.",
		},
	}...)
}
